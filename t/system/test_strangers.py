"""Local users may connect to the sockets in public/ and send what they like: the daemons live on, and everybody else is served."""
import os
import re
import shutil
import subprocess
import sys

import pytest

from instance import Instance, scratch, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: strangers are other users")
NOBODY, OTHER = 65534, 54321
NAMES = ("pickup", "qmgr", "showq", "cleanup", "flush")

# Runs as a stranger: argv is the path of the socket and what to do.
STRANGER = r"""
import array, os, random, resource, socket, struct, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
path, what = sys.argv[1:]
random.seed(1)

def dial():
    for kind in (socket.SOCK_SEQPACKET, socket.SOCK_STREAM):
        s = socket.socket(socket.AF_UNIX, kind)
        s.settimeout(60)
        try:
            s.connect(path)
            return s
        except OSError as e:
            s.close()
            if isinstance(e, PermissionError):
                sys.exit("no permission")
    raise SystemExit("no connection")

def offer(*records, fds=()):
    s = dial()
    try:
        for r in records:
            if fds:
                s.sendmsg([r], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
            else:
                s.send(r)
    except OSError:
        pass
    return s

if what == "garbage":
    for n in (1, 7, 8, 9, 100, 4000, 60000, 160 * 1024, 200000):
        offer(random.randbytes(n), random.randbytes(n)).close()
    for kind in range(0, 130):  # a header of ours, and half a body, an empty one, lengths beyond all bounds
        head = struct.pack("<BBHI", 1, 0, kind, 1)
        for body in (b"", b"\xff" * 4, b"\xff" * 40, random.randbytes(300), struct.pack("<I", 1 << 31) + b"x" * 500):
            offer(head + body).close()
        offer(struct.pack("<BBHI", 1, 1, kind, 7) + b"reply").close()
        offer(struct.pack("<BBHI", 1, 0, kind, 0) + b"x" * 64).close()
    zero = os.open("/dev/zero", os.O_RDONLY)
    for count in (1, 4, 5, 200):
        offer(struct.pack("<BBHI", 1, 0, 90, 1) + b"\0" * 64, fds=[zero] * count).close()
    offer(struct.pack("<II32s64s", 0x50535448, 1, b"smtpd", b"smtp")).close()  # master's word, by somebody who is not master
    print("done", flush=True)
else:  # many connections that say nothing, or half of something
    kept, refused = [], 0
    for i in range(1000):
        s = offer(b"\1\0") if what == "half" and i % 2 else dial()
        kept.append(s)
    print("done", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def inst():
    base = scratch("postern-strangers-")
    i = Instance(os.path.join(base, "i"), main={
        "virtual_mailbox_domains": "virtual.test", "virtual_mailbox_base": os.path.join(base, "i", "mail"),
        "virtual_mailbox_maps": "inline:{ u1@virtual.test=u1/ }", "virtual_uid_maps": "static:5000", "virtual_gid_maps": "static:5000",
        "max_idle": "1h"})  # nobody ends because nobody asked
    with i:
        i.wait_socket("public/pickup")
        # The programs started on demand are there before the pids are compared.
        assert i.command("postqueue", "-p").returncode == 0
        submit(i, "first")
        yield i
    shutil.rmtree(base, ignore_errors=True)


def stranger(i, name, what):
    p = subprocess.Popen([sys.executable, "-c", STRANGER, os.path.join(i.queue, "public", name), what], user=NOBODY, group=NOBODY,
                         extra_groups=[] if name == "pickup" else ["postdrop"], cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out = p.stdout.readline()  # the set-gid tools of users come with the group postdrop; pickup is there for all
    return p, out.strip() == b"done"


def submit(i, mark):
    """A third user's mail goes from sendmail(1) to its mailbox."""
    r = i.command("sendmail", "-f", f"{mark}@example.test", "u1@virtual.test", input=b"Subject: x\n\nx\n", user=OTHER, group=OTHER, extra_groups=[])
    assert r.returncode == 0, r.stderr
    qid = i.wait_log(rf"(\w+): from=<{mark}@example\.test>, size=")[0].group(1)
    i.wait_log(rf"{qid}: to=<u1@virtual\.test>, .*status=sent")
    i.wait_log(rf"{qid}: uid={OTHER} ")


def daemons(i):
    """pid -> program of the processes that master has."""
    out = {}
    for t in os.listdir("/proc"):
        try:
            with open(f"/proc/{t}/stat", encoding="utf-8") as f:
                if int(f.read().rsplit(")", 1)[1].split()[1]) == i.proc.pid:
                    with open(f"/proc/{t}/cmdline", encoding="utf-8") as c:
                        out[int(t)] = os.path.basename(c.read().split("\0")[0])
        except (OSError, ValueError):
            pass
    return out


def alive(i, before):
    now = daemons(i)
    gone = {pid: p for pid, p in before.items() if pid not in now and p in NAMES}
    assert not gone, f"ended: {gone}\n{i.log()[-3000:]}"
    assert not re.search(r"panic:|fatal:|killed by signal|exit status [1-9]", i.log()), i.log()[-3000:]


def there(i, name):
    return os.path.exists(os.path.join(i.queue, "public", name))


@pytest.mark.parametrize("name", NAMES)
def test_garbage(inst, name):
    """Random bytes, half records, lengths and types beyond all bounds, descriptors nobody asked for, a forged hello of master."""
    if not there(inst, name):
        pytest.skip(f"no public/{name}")
    before = daemons(inst)
    p, ok = stranger(inst, name, "garbage")
    assert ok or b"no permission" in p.stderr.read()
    p.communicate()
    submit(inst, f"garbage-{name}")
    alive(inst, before)


@pytest.mark.parametrize("what", ["silent", "half"])
@pytest.mark.parametrize("name", NAMES)
def test_a_thousand_connections(inst, name, what):
    """One uid keeps 1000 connections open: it has a bounded number of them, and others submit and list as ever."""
    if not there(inst, name):
        pytest.skip(f"no public/{name}")
    before = daemons(inst)
    p, ok = stranger(inst, name, what)
    try:
        if not ok:
            assert b"no permission" in p.stderr.read()
            return
        submit(inst, f"{what}-{name}")
        assert until(lambda: inst.command("postqueue", "-p", user=OTHER, group="postdrop", extra_groups=[]).stdout.startswith(b"Mail queue is empty"))
        inst.wait_log(rf"warning: uid {NOBODY} has \d+ connections to service {name}: more are refused")
        held = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid, program in daemons(inst).items() if program == name)
        assert held < 600, held
    finally:
        p.communicate()
    alive(inst, before)


def test_the_next_one_is_served(inst):
    """After all that the uid itself is as welcome as before."""
    r = inst.command("sendmail", "-f", "nobody@example.test", "u1@virtual.test", input=b"Subject: x\n\nx\n", user=NOBODY, group=NOBODY, extra_groups=[])
    assert r.returncode == 0
    inst.wait_log(rf"uid={NOBODY} from=<nobody@example\.test>")


def test_a_socket_in_private_is_out_of_reach(inst):
    """Who is not the suite cannot connect there at all."""
    code = "import socket,sys\ntry:\n socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(sys.argv[1])\nexcept PermissionError:\n sys.exit(7)"
    path = os.path.join(inst.queue, "private", "rewrite")
    assert subprocess.run([sys.executable, "-c", code, path], user=NOBODY, group=NOBODY, extra_groups=[], check=False).returncode == 7
