"""postern(1), called postfix, ends with the exit status that Debian's postfix(1) has for the same verb in the same state, and says the same in the log."""
import os
import re
import shutil
import subprocess

import pytest

from instance import BIN, Instance, make_users, scratch
from peer import COMMANDS, HAVE, Peer

pytestmark = pytest.mark.skipif(not HAVE, reason="there is no postfix of Debian to compare with")

DOWN = [["status"], ["stop"], ["reload"], ["flush"], ["nosuch"], ["-v", "status"], ["-x"]]
UP = [["start"], ["start-fg"], ["status"], ["reload"], ["nosuch"]]


@pytest.fixture(scope="module")
def both():
    make_users()
    base = scratch("postern-verbs.")
    theirs = Peer(os.path.join(base, "theirs"))
    theirs.write_config()
    ours = Instance(os.path.join(base, "ours"), listen=("smtp",), main={"maillog_file_prefixes": base})
    ours.write_config()
    yield theirs, ours
    for who, program in ((theirs, COMMANDS), (ours, BIN)):
        if run(who, program, ["status"])[0] == 0:
            run(who, program, ["stop"])
    shutil.rmtree(base, ignore_errors=True)


def run(who, program, args):
    """Exit status, and what postfix-script says in the log (the other one says nothing on standard error unless that is a terminal)."""
    before = len(who.log())
    p = subprocess.run([os.path.join(program, "postfix"), "-c", who.config, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, timeout=60, check=False)
    said = re.findall(r"postfix-script\[\d+\]: (.*)", who.log()[before:])
    said = [re.sub(r"PID: \d+", "PID: N", re.sub(r"(unknown command: '[\w-]*'\.).*", r"\1", l)) for l in said]
    return p.returncode, [l for l in said if not l.startswith("warning: ") and "usage: postfix tls" not in l], p.stderr


@pytest.mark.parametrize("args", DOWN, ids=lambda a: " ".join(a) or "none")
def test_while_it_is_down(both, args):
    theirs, ours = both
    t, o = run(theirs, COMMANDS, args), run(ours, BIN, args)
    assert o[:2] == t[:2], o[2]


def test_life(both):
    theirs, ours = both
    assert run(ours, BIN, ["start"])[:2] == run(theirs, COMMANDS, ["start"])[:2]
    for args in UP:
        t, o = run(theirs, COMMANDS, args), run(ours, BIN, args)
        assert o[:2] == t[:2], (args, o[2])
    assert run(ours, BIN, ["stop"])[:2] == run(theirs, COMMANDS, ["stop"])[:2] == (0, ["stopping the Postfix mail system"])
    assert run(ours, BIN, ["status"])[:2] == run(theirs, COMMANDS, ["status"])[:2] == (1, ["the Postfix mail system is not running"])
