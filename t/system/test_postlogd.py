"""postlogd(8): the lines of those who may not open maillog_file reach it all the same, and nobody forges those of others."""
import array
import os
import re
import shutil
import socket
import subprocess
import time

import pytest

from instance import BIN, Instance, scratch, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: an ordinary user is somebody else")
NOBODY = 65534


@pytest.fixture(scope="module")
def inst():
    base = scratch("postern-postlogd-")
    os.chmod(base, 0o755)
    programs = os.path.join(base, "bin")  # where an ordinary user can reach them
    os.mkdir(programs)
    for name in ("postlog", "sendmail", "postmap"):
        shutil.copy(os.path.join(BIN, name), programs)
    script = os.path.join(base, "script")
    with open(script, "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\ncat >/dev/null\n{programs}/postlog -t from-pipe 'a command at work'\n")
    os.chmod(script, 0o755)
    i = Instance(os.path.join(base, "i"), main={"maillog_file_prefixes": base, "transport_maps": "inline:{pipe.test=script:x}", "import_environment": f"MAIL_CONFIG={base}/i/etc"},
                 master=[f"script unix - n n - - pipe\n  flags=q user=nobody argv=/usr/bin/env MAIL_CONFIG={base}/i/etc {script}"])
    i.programs = programs
    with i:
        yield i
    shutil.rmtree(base, ignore_errors=True)


def user(i, name, *args, **kw):
    return subprocess.run([os.path.join(i.programs, name), *args], env={"PATH": os.environ["PATH"], "MAIL_CONFIG": i.config}, user=NOBODY, group=NOBODY, extra_groups=[],
                          capture_output=True, check=False, **kw)


def test_a_users_lines(inst):
    """Tag and text arrive, with the sender's real process id and uid; standard error has them, too."""
    r = user(inst, "postlog", "-t", "x", "some", "text")
    assert (r.returncode, r.stderr) == (0, b"x: some text\n")
    inst.wait_log(r"^\w{3} .\d \S{8} mail x\[\d+\]: \[uid=65534\] some text$")
    p = subprocess.Popen([os.path.join(inst.programs, "postlog"), "-p", "warn", "who"], env={"MAIL_CONFIG": inst.config}, user=NOBODY, group=NOBODY, extra_groups=[], stderr=subprocess.DEVNULL)
    assert p.wait() == 0
    inst.wait_log(rf" postfix/postlog\[{p.pid}\]: warning: \[uid=65534\] who$")


def test_roots_lines_are_as_before(inst):
    assert inst.command("postlog", "-t", "postfix/anything", "by root").returncode == 0
    assert re.search(r"mail postfix/anything\[\d+\]: by root$", inst.log(), re.M)  # written before the command ended


def test_commands_of_users(inst):
    r = user(inst, "sendmail", "-t", input=b"Subject: nobody\n\nx\n")
    assert r.returncode == 75 and r.stderr.startswith(b"sendmail: fatal: ")
    inst.wait_log(r" postfix/sendmail\[\d+\]: fatal: \[uid=65534\] .*No recipient addresses found")
    assert user(inst, "postmap", "-q", "x", "texthash:/nonexistent/table").returncode == 1
    inst.wait_log(r" postfix/postmap\[\d+\]: fatal: \[uid=65534\] open /nonexistent/table")


def test_a_command_of_pipe(inst):
    """It runs as a user without set-gid rights, and its lines arrive."""
    assert user(inst, "sendmail", "-f", "a@x.test", "b@pipe.test", input=b"Subject: x\n\nx\n").returncode == 0
    inst.wait_log(r" from-pipe\[\d+\]: \[uid=65534\] a command at work$")


def test_nothing_is_forged(inst):
    """One line each, whatever it holds; no daemon's name, no process id or text in the tag."""
    user(inst, "postlog", "-t", "postfix/smtpd", "NOQUEUE: reject: RCPT from x[192.0.2.1]: 554")
    inst.wait_log(r" postfix/postlog\[\d+\]: \[uid=65534 as postfix/smtpd\] NOQUEUE: reject: RCPT from x\[192.0.2.1\]: 554$")
    user(inst, "postlog", "-t", "x[1]: y\nNov 29 01:02:03 mail postfix/smtpd", "z")
    inst.wait_log(r" x\?1\?\?\?y\?Nov\?29\?01\?02\?03\?mail\?postfix/smtpd\[\d+\]: \[uid=65534\] z$")
    user(inst, "postlog", "one\rNov 29 01:02:03 mail postfix/smtpd[1]: forged\x1b[2J\x85 \u2028two")
    inst.wait_log(r" postfix/postlog\[\d+\]: \[uid=65534\] one\?Nov 29 01:02:03 mail postfix/smtpd\[1\]: forged\?\[2J\S+ \?+two$")
    user(inst, "postlog", input=b"z" * 100000 + b"\nafter\n")
    inst.wait_log(r" \[uid=65534\] after$")
    assert max(map(len, inst.log().splitlines())) < 2100 and not re.search(r"^(?!\w{3} [ \d]\d \S{8} mail )", inst.log().rstrip("\n"), re.M)


def postlogd(i):
    out = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(i.proc.pid)], stdout=subprocess.PIPE, check=True).stdout.decode()
    return int(re.search(r"(\d+) postlogd$", out, re.M)[1])


def test_hostile_datagrams(inst):
    """What is no line is said and dropped; descriptors that come along stay nowhere."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect(os.path.join(inst.queue, "public", "postlog"))
    pid = postlogd(inst)
    before = len(os.listdir(f"/proc/{pid}/fd"))
    for junk in (b"", b"x", b"L11", b"\0" * 9000, b"L19x\0y"):
        s.send(junk)
    for _ in range(20):
        s.sendmsg([b"L11tag\0with a descriptor"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno()]))])
    inst.wait_log(r" tag\[\d+\]: with a descriptor$", count=20)
    assert len(re.findall(rf"warning: pid {os.getpid()} of uid 0 sent what is no log line$", inst.log(), re.M)) == 5
    assert len(os.listdir(f"/proc/{pid}/fd")) == before and postlogd(inst) == pid


def test_rotation(inst):
    user(inst, "postlog", "before the rotation")
    inst.wait_log("before the rotation")
    pid = postlogd(inst)
    assert inst.command("postern", "logrotate").returncode == 0

    def written():  # the new descriptor is on its way to the process
        user(inst, "postlog", "behind the rotation")
        return "[uid=65534] behind the rotation" in inst.log()
    assert until(written) and "before the rotation" not in inst.log() and postlogd(inst) == pid


def test_a_flood_is_bounded(inst):
    """One user has a thousand lines at once; then few. The others go on."""
    began = time.monotonic()

    def flooded():
        assert user(inst, "postlog", input=b"flood\n" * 2000).returncode == 0
        return re.search(r"postfix/postlogd\[\d+\]: warning: uid 65534 writes more lines than are taken: some are dropped$", inst.log(), re.M)
    assert until(flooded)
    subprocess.run([os.path.join(inst.programs, "postlog"), "another user"], env={"MAIL_CONFIG": inst.config}, user=65533, group=65533, extra_groups=[], capture_output=True, check=True)
    inst.wait_log(r"\[uid=65533\] another user$")
    assert len(re.findall(r"\[uid=65534\] flood", inst.log())) <= 1000 + 20 * (time.monotonic() - began + 1)


def test_a_crash_is_mended(inst):
    os.kill(postlogd(inst), 9)

    def written():
        subprocess.run([os.path.join(inst.programs, "postlog"), "next process"], env={"MAIL_CONFIG": inst.config}, user=65532, group=65532, extra_groups=[], capture_output=True, check=True)
        return "[uid=65532] next process" in inst.log()
    assert until(written)


def test_when_stopped_lines_go_to_stderr(inst):
    inst.stop()
    r = user(inst, "postlog", "-t", "x", "nobody listens")
    assert (r.returncode, r.stderr) == (0, b"x: nobody listens\n")
    assert user(inst, "sendmail", "-t", input=b"\nx\n").stderr.startswith(b"sendmail: fatal: ")
    assert "nobody listens" not in inst.log()
