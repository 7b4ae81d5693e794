"""qshape(1): the queue by domain and age, in the table that Debian's qshape prints for an equal queue."""
import os
import shutil
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from instance import BIN, BUILD, SBIN  # noqa: E402

THEIRS = shutil.which("qshape", path="/usr/sbin:/usr/bin:/usr/share/postfix")
MAKE = os.path.join(BUILD, "t", "queue_make")
LONG = "a-name-that-is-longer-than.the-columns-that-are-left.for-names.in-a-table.of-usual.width.test"
# queue, minutes of age, sender, recipients; no age is near the end of a bucket. Names of equal counts differ in length: theirs have no order else.
MAIL = [
    ("incoming", 1, "s@One.test", ["u@a.example.com", "v@A.example.com", "u@other-domain.test"]),
    ("incoming", 7, "", ["u@a.example.com", "u@bb.example.com", "done@" + "gone.test"]),
    ("incoming", 31, "x@three.test", ["u@ccc.example.com", "nodomain", f"r@{LONG}", "1@deep.x.y.test", "1@deeper.x.y.test"]),
    ("incoming", 700, "x@three.test", [f"u{i}@many.test" for i in range(23)]),
    ("active", 100000, "q@one.test", ["u@bb.example.com", "w@a.example.com"]),
    ("deferred", 3, "q@one.test", ["q@later.test"]),
    ("hold", 3, "q@one.test", ["q@held.test"]),
]


def record(kind, text):
    n, length = len(text), b""
    while n > 127:
        length, n = length + bytes([n & 127 | 128]), n >> 7
    return kind.encode() + length + bytes([n]) + text.encode()


def theirs_file(path, minutes, sender, rcpts):
    """A queue file of Postfix with as much in it as their program reads."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    content = record("M", "") + record("N", "Subject: x") + record("X", "") + record("E", "")
    with open(path, "wb") as f:
        f.write(record("C", "%15d %15d %15d %15d %15d %15d" % (12, 0, len(rcpts), 0, 12, 0)) + record("T", f"{int(time.time()) - minutes * 60} 0")
                + record("S", sender) + b"".join(record("D" if r.startswith("done@") else "R", r) for r in rcpts) + content)
    os.chmod(path, 0o700)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    base = tmp_path_factory.mktemp("qshape")
    for side in ("ours", "theirs"):
        for d in ("incoming", "active", "deferred", "hold", "maildrop", "pool"):
            (base / side / "queue" / d).mkdir(parents=True)
        (base / side / "main.cf").write_text(f"compatibility_level = 3.6\nqueue_directory = {base}/{side}/queue\ndaemon_directory = {SBIN}\n")
        (base / side / "master.cf").write_text("")
    for i, (queue, minutes, sender, rcpts) in enumerate(MAIL):
        marked = ["!" + r if r.startswith("done@") else r for r in rcpts]
        subprocess.run([MAKE, base / "ours/queue", queue, f"{i:02X}ABCDEF", str(minutes * 60), sender, *marked], check=True)
        theirs_file(str(base / "theirs/queue" / queue / f"{i:02X}ABCDEF"), minutes, sender, rcpts)
    return base


def ours(world, *args):
    return subprocess.run([os.path.join(BIN, "qshape"), "-c", world / "ours", *args], capture_output=True, text=True, timeout=90, check=False)


CASES = ["", "-s", "-p", "-p -m 1", "-p -m 2", "-p -m 3", "-s -p", "-b 3 -t 1", "-b 1", "-b 20", "-l", "-l -b 4 -t 2", "-w 100", "-w 20", "-m 0 -b 0 -t 0",
         "deferred", "hold deferred incoming active", "maildrop", "-p -m 1 -l -b 12 -w 132 incoming hold"]


def in_order(table):
    """Rows of the same count and length of name have no order of their own there."""
    lines = table.split("\n")
    return lines[:2] + sorted(lines[2:], key=lambda l: (-int(l.split()[1]) if l else 1, len(l.split()[0]) if l else 0, l))


@pytest.mark.skipif(THEIRS is None, reason="Debian's qshape is not here")
@pytest.mark.parametrize("args", CASES)
def test_the_table_is_theirs(world, args):
    p = subprocess.run([THEIRS, "-c", world / "theirs", *args.split()], capture_output=True, text=True, timeout=90, check=False)
    q = ours(world, *args.split())
    assert q.returncode == p.returncode == 0 and q.stderr == ""
    assert in_order(q.stdout) == in_order(p.stdout)


def rows(text):
    return [l.split() for l in text.splitlines()]


def test_ages_and_domains(world):
    t = rows(ours(world, "-b", "4").stdout)
    assert t[0] == ["T", "5", "10", "20", "20+"]
    assert t[1] == ["TOTAL", "35", "3", "2", "0", "30"]
    assert t[2] == ["many.test", "23", "0", "0", "0", "23"]
    assert ["a.example.com", "4", "2", "1", "0", "1"] in t and not [r for r in t if r[0] == "gone.test"]
    assert rows(ours(world, "-s", "-b", "1").stdout)[1] == ["TOTAL", "5", "5"]
    assert ["MAILER-DAEMON", "1", "1"] in rows(ours(world, "-s", "-b", "1").stdout)
    assert [".example.com", "7", "7"] in rows(ours(world, "-p", "-m", "3", "-b", "1").stdout)


def test_directories(world):
    """A path may be the queue's own directory or any other, as one that was copied."""
    shutil.copytree(world / "ours/queue/deferred", world / "copy")
    want = ours(world, "deferred").stdout
    assert rows(want)[2][0] == "later.test"
    assert ours(world, str(world / "ours/queue/deferred")).stdout == want == ours(world, str(world / "copy")).stdout
    p = ours(world, "nonesuch")
    assert p.returncode == 1 and "Can't stat nonesuch" in p.stderr


def test_options(world):
    p = ours(world, "-h")
    assert p.returncode == 0 and p.stdout.startswith("Usage: qshape")
    for wrong in (["-Z"], ["-b", "x"], ["-b", "101"]):
        p = ours(world, *wrong)
        assert p.returncode == 255 and "Usage: qshape" in p.stderr and p.stdout == ""
