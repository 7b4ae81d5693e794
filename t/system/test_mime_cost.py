"""Ten times the hostile input costs the parsers of mail at most about ten times the instructions (counted by valgrind, no clock)."""
import os
import re
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from instance import BUILD  # noqa: E402

HELPER = os.path.join(BUILD, "t/mime_cost")
CASES = [("list", u) for u in ("(", "<", "a ", "a@b ", "a:", '"', "(\\", '"a" ', "[", ";", "<@")] + \
    [("decode", u) for u in ("=?a?Q?x", "=?utf-8?Q?a?= ", "=?u?B?", "a =")] + \
    [("multipart", u) for u in ("--b~", "--~", "--b~Content-Type: message/rfc822~~", "--b~Content-Type: multipart/x; boundary=c~~--c~")] + \
    [("message", u) for u in ("Content-Type: multipart/mixed; boundary=b~", "Content-Type: message/rfc822~~", "Content-Disposition: a; b=\"c\"~")] + \
    [("header", u) for u in ("a:~", "a: ~ ~")] + [("params", u) for u in ("a/b;a*0=1", "a/b;(", "a/b;x=\"")]


def cost(kind, unit, size):
    p = subprocess.run(["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", HELPER, kind, unit, str(size)],
                       capture_output=True, text=True, check=True)
    return int(re.search(r"I\s+refs:\s+([\d,]+)", p.stderr).group(1).replace(",", ""))


@pytest.mark.skipif(not shutil.which("valgrind") or "san" in BUILD or not os.path.exists(HELPER), reason="needs valgrind, the helper (make helpers), no sanitizer")
def test_cost_is_linear():
    none = cost("header", "x", 0)
    bad = []
    for kind, unit in CASES:
        one, ten = cost(kind, unit, 10000) - none, cost(kind, unit, 100000) - none
        if ten > 13 * one + 200000:
            bad.append((kind, unit, one, ten))
    assert not bad
