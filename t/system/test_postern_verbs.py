"""postern(1), called postfix, ends with the exit status that Debian's postfix(1) has for the same verb in the same state, and says the same in the log."""
import grp
import gzip
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import threading
import time

import pytest

from instance import BIN, SBIN, Instance, make_users, scratch
from peer import COMMANDS, HAVE, Peer

needs_peer = pytest.mark.skipif(not HAVE, reason="there is no postfix of Debian to compare with")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="not root")

DOWN = [["status"], ["stop"], ["reload"], ["flush"], ["nosuch"], ["-v", "status"], ["-x"]]
OLD = '''# a comment
smtp      inet  n       -       n       -       -       smtpd
pickup    fifo  n       n       n       60      1       pickup
cleanup   unix  -       -       n       -       0       cleanup
qmgr      fifo  n       -       n       300     1       qmgr
tlsmgr    fifo  -       -       n       300     1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       0       verify
#flush    unix  n       -       n       1000?   0       flush
proxywrite unix -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
  -o smtp_helo_timeout=5
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
'''

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


@needs_peer
@pytest.mark.parametrize("args", DOWN, ids=lambda a: " ".join(a) or "none")
def test_while_it_is_down(both, args):
    theirs, ours = both
    t, o = run(theirs, COMMANDS, args), run(ours, BIN, args)
    assert o[:2] == t[:2], o[2]


@needs_peer
def test_life(both):
    theirs, ours = both
    assert run(ours, BIN, ["start"])[:2] == run(theirs, COMMANDS, ["start"])[:2]
    for args in UP:
        t, o = run(theirs, COMMANDS, args), run(ours, BIN, args)
        assert o[:2] == t[:2], (args, o[2])
    assert run(ours, BIN, ["stop"])[:2] == run(theirs, COMMANDS, ["stop"])[:2] == (0, ["stopping the Postfix mail system"])
    assert run(ours, BIN, ["status"])[:2] == run(theirs, COMMANDS, ["status"])[:2] == (1, ["the Postfix mail system is not running"])


# ---- upgrade-configuration, set-permissions ----

def tree(base, *main):
    """A configuration of our own commands, with nothing that runs."""
    etc = os.path.join(base, "etc")
    os.makedirs(etc)
    with open(etc + "/main.cf", "w", encoding="ascii") as f:
        f.write(f"compatibility_level = 3.6\nqueue_directory = {base}/queue\ndata_directory = {base}/data\nmaillog_file = {base}/log\n"
                f"maillog_file_prefixes = {base}\ndaemon_directory = {SBIN}\n" + "".join(l + "\n" for l in main))
    with open(etc + "/master.cf", "w", encoding="ascii") as f:
        f.write(OLD)
    return etc


def ours(etc, *args):
    return subprocess.run([BIN + "/postfix", "-c", etc, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def services(etc):
    """The columns of each line, without what is written into comments."""
    with open(etc + "/master.cf", encoding="ascii") as f:
        return sorted(tuple(l.split()) for l in f if l.strip() and l[0] not in "# ")


@pytest.fixture
def place():
    make_users()
    base = scratch("postern-verbs.")
    yield base
    shutil.rmtree(base, ignore_errors=True)


def test_upgrade_configuration(place):
    etc = tree(place, f"command_directory = {BIN}")
    r = ours(etc, "upgrade-configuration", "mail_owner=postern", "setgid_group=postdrop")
    assert r.returncode == 0, r.stderr
    assert "tlsmgr/fifo/type=unix" in r.stdout and "relay/unix=relay unix - - n - - smtp" in r.stdout
    names = {(l[0], l[1]) for l in services(etc)}
    assert {("relay", "unix"), ("flush", "unix"), ("trace", "unix"), ("discard", "unix"), ("retry", "unix"), ("tlsmgr", "unix"), ("postlog", "unix-dgram")} <= names
    with open(etc + "/master.cf", encoding="ascii") as f:
        text = f.read()
    assert "# a comment\n" in text and "#flush " in text and "  -o smtp_helo_timeout=5\n" in text  # what is not concerned stays
    with open(etc + "/main.cf", encoding="ascii") as f:
        assert "mail_owner = postern\nsetgid_group = postdrop\n" in f.read()
    again = ours(etc, "upgrade-configuration")
    assert (again.returncode, again.stdout) == (0, "")
    with open(etc + "/master.cf", encoding="ascii") as f:
        assert f.read() == text
    bad = ours(etc, "upgrade-configuration", "nonsense")
    assert bad.returncode == 1 and 'name=value expected, not "nonsense"' in bad.stderr


@needs_peer
def test_upgrade_configuration_beside_debian(place):
    etc = tree(place, f"command_directory = {BIN}")
    theirs = os.path.join(place, "theirs")
    for d in ("etc", "queue", "data"):
        os.makedirs(os.path.join(theirs, d))
    with open(theirs + "/etc/main.cf", "w", encoding="ascii") as f:
        f.write(f"compatibility_level = 3.6\nqueue_directory = {theirs}/queue\ndata_directory = {theirs}/data\nmeta_directory = /etc/postfix\n"
                f"maillog_file = {theirs}/log\nmaillog_file_prefixes = {theirs}\n")
    shutil.copy(etc + "/master.cf", theirs + "/etc/master.cf")
    t = subprocess.run([COMMANDS + "/postfix", "-c", theirs + "/etc", "upgrade-configuration"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert t.returncode == 0, t.stderr
    assert ours(etc, "upgrade-configuration").returncode == 0
    assert services(etc) == services(theirs + "/etc")


@needs_root
def test_set_permissions(place):
    """After a change of owner and group everything belongs to the new ones; a link that somebody put into the queue harms nobody."""
    commands = os.path.join(place, "bin")
    shutil.copytree(BIN, commands, symlinks=True)
    etc = tree(place, f"command_directory = {commands}")
    assert ours(etc, "set-permissions").returncode == 0
    queue, owner, drop = place + "/queue", pwd.getpwnam("postern").pw_uid, grp.getgrnam("postdrop").gr_gid
    kept = os.path.join(place, "kept")
    for path in (queue + "/deferred/A/x", queue + "/hold/y", kept):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii"):
            pass
        os.chown(path, 0, 0)
    os.symlink(kept, queue + "/hold/link")
    os.link(kept, queue + "/hold/second")
    os.symlink(place, queue + "/hold/away")
    for d, mode in (("incoming", 0o777), ("maildrop", 0o755), ("private", 0o777), ("public", 0o700), ("", 0o777), ("pid", 0o700)):
        os.chmod(os.path.join(queue, d), mode)
        os.chown(os.path.join(queue, d), 12345, 12345)
    r = ours(etc, "set-permissions", "setgid_group=postdrop", "mail_owner=postern")
    assert r.returncode == 0, r.stderr

    def seen(path):
        st = os.lstat(path)
        return st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)
    mail_group = pwd.getpwnam("postern").pw_gid
    assert {d: seen(os.path.join(queue, d)) for d in ("incoming", "maildrop", "private", "public", "", "pid")} == {
        "incoming": (owner, mail_group, 0o700), "maildrop": (owner, drop, 0o1730), "private": (0, 0, 0o700), "public": (owner, drop, 0o711), "": (0, 0, 0o755), "pid": (0, 0, 0o755)}
    assert seen(place + "/data") == (owner, mail_group, 0o700)
    assert seen(queue + "/deferred/A/x")[:2] == seen(queue + "/hold/y")[:2] == (owner, mail_group)
    assert seen(kept)[:2] == (0, 0) and seen(place)[0] == 0
    for name in ("postdrop", "postqueue"):
        assert seen(os.path.join(commands, name)) == (0, drop, 0o2755)
    assert seen(os.path.join(commands, "postconf"))[2] & 0o7000 == 0
    assert ours(etc, "set-permissions", "setgid_group=no-such-group").returncode == 1


# ---- what may be asked at a wrong moment ----

@pytest.fixture(scope="module")
def alone():
    make_users()
    base = scratch("postern-verbs.")
    i = Instance(os.path.join(base, "i"), listen=("smtp",), main={"maillog_file_prefixes": base, "maillog_file_rotate_suffix": "%s"},
                 master=["smtpd pass - - n - - smtpd -o smtpd_banner=passed"])
    i.write_config()
    yield i
    if ours(i.config, "status").returncode == 0:
        ours(i.config, "stop")
    shutil.rmtree(base, ignore_errors=True)


def says(i, *args):
    r = ours(i.config, *args)
    return r.returncode, r.stderr


def test_stale_pid_file(alone):
    """The lock counts, not the number: of a process that has died, or of one that is something else."""
    pids = os.path.join(alone.queue, "pid")
    os.makedirs(pids, exist_ok=True)
    for text in (f"{os.getpid()}\n", "999999\n", "nonsense\n", ""):
        with open(pids + "/master.pid", "w", encoding="ascii") as f:
            f.write(text)
        for verb in ("status", "stop", "reload", "abort"):
            code, said = says(alone, verb)
            assert code == 1 and "the Postfix mail system is not running" in said, (text, verb, said)
    assert says(alone, "start")[0] == 0
    assert int(open(pids + "/master.pid", encoding="ascii").read()) != os.getpid()


def test_second_start(alone):
    if says(alone, "status")[0] != 0:
        assert says(alone, "start")[0] == 0
    for verb in ("start", "start-fg"):
        code, said = says(alone, verb)
        assert code == 1 and "the Postfix mail system is already running" in said
    other = os.path.join(alone.base, "other")  # another configuration of the same queue: it is the queue that is locked
    shutil.copytree(alone.config, other)
    for verb in ("start", "start-fg"):
        code, said = says_of(other, verb)
        assert code == 1 and "the Postfix mail system is already running" in said
    with open(other + "/main.cf", "a", encoding="ascii") as f:
        f.write(f"queue_directory = {alone.base}/queue2\ninet_interfaces = 127.0.0.2\n")
    code, said = says_of(other, "start")  # and data_directory is, too
    assert code == 1 and "unable to set exclusive lock" in said and "mail system startup failed" in said, said
    r = subprocess.run([SBIN + "/master", "-c", alone.config, "-d"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    assert r.returncode == 1 and "master.pid: unable to set exclusive lock" in r.stderr
    assert subprocess.run([SBIN + "/master", "-c", alone.config, "-t"], check=False).returncode == 1
    assert says(alone, "status")[0] == 0


def says_of(etc, *args):
    r = ours(etc, *args)
    return r.returncode, r.stderr


@needs_root
def test_ordinary_user(alone):
    if says(alone, "status")[0] != 0:
        assert says(alone, "start")[0] == 0
    for verb in ("reload", "stop", "abort", "start", "flush", "logrotate", "set-permissions"):
        r = subprocess.run([BIN + "/postfix", "-c", alone.config, verb], user="nobody", group="nogroup", extra_groups=[], stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, timeout=60, check=False)
        assert r.returncode != 0 and "fatal" in r.stderr, (verb, r.stderr)
        assert says(alone, "status")[0] == 0


def test_logrotate_loses_no_line(alone):
    """While sessions come and go; a process that began before the rotation goes on in the new file."""
    if says(alone, "status")[0] != 0:
        assert says(alone, "start")[0] == 0
    made, over = [], threading.Event()

    def knock():
        while not over.is_set():
            with socket.create_connection((alone.host, alone.port["smtp"]), 20) as c:
                c.recv(200)
                c.sendall(b"QUIT\r\n")
                while c.recv(200):
                    pass
            made.append(1)
            time.sleep(0.01)
    before = alone.log().count(": connect from")
    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        for _ in range(2):
            assert says(alone, "logrotate")[0] == 0
    finally:
        over.set()
        knocking.join()
    end = time.monotonic() + 20
    while True:
        rotated = [f for f in os.listdir(alone.base) if f.startswith(os.path.basename(alone.maillog) + ".")]
        text = alone.log() + "".join(gzip.open(os.path.join(alone.base, f), "rt").read() for f in rotated)
        if text.count(": disconnect from") >= before + len(made) or time.monotonic() > end:
            break
        time.sleep(0.05)
    assert len(rotated) == 2 and all(re.fullmatch(r"maillog\.\d+\.gz", f) for f in rotated), rotated
    assert text.count(": connect from") == text.count(": disconnect from") == before + len(made)


@pytest.mark.parametrize("settings,args,said", [({"maillog_file": "/dev/stdout"}, [], "there is no log file to rotate"), ({}, ["x"], "usage: postfix logrotate (no arguments)"),
                                                ({"maillog_file_rotate_suffix": ""}, [], "maillog_file_rotate_suffix: bad value")])
def test_logrotate_refusals(place, settings, args, said):
    etc = tree(place, f"command_directory = {BIN}", *(f"{k} = {v}" for k, v in settings.items()))
    code, text = says_of(etc, "logrotate", *args)
    assert code == 1 and said in text


@needs_root
def test_passed_connection_of_another_address(alone):
    """What a postscreen hands to smtpd: the client is the one that it names."""
    if says(alone, "status")[0] != 0:
        assert says(alone, "start")[0] == 0
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 20) as client, socket.socket(socket.AF_UNIX) as carrier:
        accepted = server.accept()[0]
        carrier.connect(os.path.join(alone.queue, "private/smtpd"))
        socket.send_fds(carrier, [b"\0"], [accepted.fileno()])
        carrier.sendall(b"client_address\x00192.0.2.9\x00client_port\x002525\x00server_address\x00192.0.2.1\x00server_port\x0025\x00\x00")
        accepted.close()
        assert client.recv(200) == b"220 passed\r\n"
        client.sendall(b"QUIT\r\n")
        assert client.recv(200).startswith(b"221 ")
    end = time.monotonic() + 20
    while "connect from unknown[192.0.2.9]" not in alone.log():
        assert time.monotonic() < end, alone.log()
        time.sleep(0.05)
