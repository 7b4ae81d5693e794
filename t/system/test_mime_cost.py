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


def costs(jobs):
    """The instructions of each job."""
    p = subprocess.run(["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", HELPER, *(str(w) for job in jobs for w in job)],
                       capture_output=True, text=True, check=True)
    counts = [int(n.replace(",", "")) for n in re.findall(r"I\s+refs:\s+([\d,]+)", p.stderr)]
    assert len(counts) == len(jobs) + 1, p.stderr  # the last one is the parent's
    return counts[:-1]


@pytest.mark.skipif(not shutil.which("valgrind") or "san" in BUILD or not os.path.exists(HELPER), reason="needs valgrind, the helper (make helpers), no sanitizer")
def test_cost_is_linear():
    counts, bad = iter(costs([(kind, unit, size) for kind, unit in CASES for size in (0, 10000, 100000)])), []
    for kind, unit in CASES:
        none, one, ten = (next(counts) for _ in range(3))
        if ten - none > 13 * (one - none) + 200000:
            bad.append((kind, unit, one - none, ten - none))
    assert not bad
