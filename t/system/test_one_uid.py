"""Started by an ordinary user the whole suite runs as that user: it takes mail, delivers it, and says in the log what this mode costs."""
import imaplib
import os
import pwd
import shutil
import smtplib
import subprocess
import sys
import tempfile

import pytest

import instance

# Runs as the ordinary user: starts the instance and keeps it until stdin ends.
CHILD = """
import os, sys
sys.path.insert(0, sys.argv[2])
from instance import Instance
i = Instance(sys.argv[1], main={"virtual_mailbox_domains": "virtual.test", "virtual_mailbox_base": os.path.join(sys.argv[1], "mail"),
    "virtual_mailbox_maps": "inline:{ u1@virtual.test=u1/ }", "virtual_uid_maps": f"static:{os.getuid()}", "virtual_minimum_uid": "1",
    "virtual_gid_maps": f"static:{os.getgid()}", "home_mailbox": "Maildir/", "auth_passwd_file": os.path.join(sys.argv[1], "etc/users"),
    "auth_pam_service": "", "auth_sasldb_file": ""}, listen=("smtp", "imap"))
i.write("users", "u1@virtual.test:{PLAIN}secret\\nroot@virtual.test:{PLAIN}secret:0:0::/root::userdb_mail=maildir:/root/Maildir\\n")
with i:
    print(i.port["smtp"], i.proc.pid, i.port["imap"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def one():
    """(directory, port, master's pid, uid, IMAP port) of a suite that `nobody` started; whoever is not root is that user himself."""
    user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    base = tempfile.mkdtemp(prefix="postern-oneuid-")
    os.chmod(base, 0o755)
    here = os.path.join(base, "i")
    os.mkdir(here)
    os.chown(here, user.pw_uid, user.pw_gid)
    shutil.copy(instance.__file__, base)  # the tree itself may be closed to that user
    to_be = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] if os.getuid() == 0 else []
    p = subprocess.Popen([*to_be, sys.executable, "-c", CHILD, here, base], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         cwd="/", env=dict(os.environ, POSTERN_BUILD=instance.BUILD, PYTHONDONTWRITEBYTECODE="1"))
    line = p.stdout.readline().split()
    try:
        assert len(line) == 3, "the suite did not start"
        yield here, int(line[0]), int(line[1]), user.pw_uid, int(line[2])
    finally:
        p.stdin.close()
        p.wait(40)
        shutil.rmtree(base, ignore_errors=True)


def wait(what):
    found = instance.until(what)
    assert found
    return found


def log(here):
    with open(os.path.join(here, "maillog"), encoding="utf-8") as f:
        return f.read()


def test_the_warning_is_logged(one):
    """What is lost without root stands in the log once."""
    warning = f"warning: not started as root: all processes run as uid {one[3]}"
    wait(lambda: warning in log(one[0]))
    assert log(one[0]).count(warning) == 1


def test_takes_mail_and_delivers_to_a_maildir(one):
    """SMTP in, Maildir out, all as the one user."""
    here, port, _, uid, _ = one
    with smtplib.SMTP("127.0.0.1", port) as s:
        s.sendmail("a@example.test", ["u1@virtual.test"], b"Subject: one uid\r\n\r\nhello\r\n")
    new = os.path.join(here, "mail", "u1", "new")
    names = wait(lambda: os.path.isdir(new) and os.listdir(new))
    path = os.path.join(new, names[0])
    with open(path, "rb") as f:
        assert b"Subject: one uid\n" in f.read()
    assert os.stat(path).st_uid == uid
    assert "status=sent (delivered to maildir)" in wait(lambda: "status=sent" in log(here) and log(here))


def test_mailboxes_are_served_as_that_uid_and_no_other(one):
    """IMAP log-in by a ticket; one whose entry names another uid is refused by the monitor."""
    with imaplib.IMAP4("127.0.0.1", one[4]) as c:
        c.login("u1@virtual.test", "secret")
        assert c.select()[1] == [b"1"]
    with imaplib.IMAP4("127.0.0.1", one[4]) as c:
        with pytest.raises(imaplib.IMAP4.error):
            c.login("root@virtual.test", "secret")
    wait(lambda: "asuser: refused: uid 0 is not allowed" in log(one[0]))


def test_the_sandbox_holds_without_root(one):
    """All processes have the user's ids, no_new_privs, a seccomp filter, no capabilities."""
    here, _, master, uid, _ = one
    wait(lambda: all(confined == ("1", "2", 0, 0) for _, _, confined in processes_of(master)))  # one that has just been started will be
    seen = processes_of(master)
    assert len(seen) >= 4 and all(ids == [str(uid)] * 4 for _, ids, _ in seen), seen
    assert "sandbox: denied" not in log(here)
    assert "fatal:" not in log(here) and "panic:" not in log(here)


def processes_of(master):
    """(name, uids, (NoNewPrivs, Seccomp, effective and permitted capabilities)) of master and its children."""
    out = []
    for t in os.listdir("/proc"):
        try:
            with open(f"/proc/{t}/status", encoding="utf-8") as f:
                st = dict(l.rstrip("\n").split(":", 1) for l in f)
            with open(f"/proc/{t}/stat", encoding="utf-8") as f:
                ppid = int(f.read().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        if ppid != master and t != str(master):
            continue
        out.append((st["Name"].strip(), st["Uid"].split(), (st["NoNewPrivs"].strip(), st["Seccomp"].strip(), int(st["CapEff"], 16), int(st["CapPrm"], 16))))
    return out
