"""Every daemon that reads tables notices that one has changed, lets a fresh process read it, and lets sessions end in peace; a table that is gone or
unusable afterwards means "try later", with a line in the log."""
import imaplib
import os
import shutil
import smtplib
import subprocess
import sys

import pytest

import fakesmtp
from instance import mailbox_instance, scratch, until


class World:
    pass


def text(world, name, lines):
    """Written as editors do: a new file takes the name."""
    path = os.path.join(world.base, name)
    with open(path + ".new", "w", encoding="ascii") as f:
        f.write(lines)
    os.chmod(path + ".new", 0o644)
    os.rename(path + ".new", path)


@pytest.fixture(scope="module")
def world():
    w = World()
    w.base, w.sink = scratch("postern-changes-"), fakesmtp.Server()
    t = {n: f"texthash:{w.base}/{n}" for n in ("access", "dest", "bcc", "generic", "flush", "uids", "boxes")}
    w.inst = mailbox_instance(os.path.join(w.base, "i"), "box.test", {"joe": "pw"}, ("smtp", "imap"), main={
        "smtpd_sender_restrictions": f"check_sender_access {t['access']}", "mydestination": f"$myhostname, {t['dest']}", "sender_bcc_maps": t["bcc"],
        "smtp_generic_maps": t["generic"], "fast_flush_domains": t["flush"], "relayhost": f"[127.0.0.1]:{w.sink.port}", "smtp_dns_support_level": "disabled",
        "local_transport": f"smtp:[127.0.0.1]:{w.sink.port}"})
    for name, line in (("access", "a@a.test OK\n"), ("dest", "d.test x\n"), ("bcc", "none@none.test c@c.test\n"), ("generic", "none@none.test c@c.test\n"),
                       ("flush", "f.test x\n"), ("uids", "joe@box.test 1\n"), ("boxes", "joe@box.test joe/\n")):
        text(w, name, line)
    w.inst.main["virtual_mailbox_maps"] = t["boxes"]
    w.inst.start()
    yield w
    w.inst.stop()
    shutil.rmtree(w.base, ignore_errors=True)


def rcpt(w, sender, to, message=False):
    with smtplib.SMTP(w.inst.host, w.inst.port["smtp"], timeout=60) as s:
        s.ehlo("h")
        s.mail(sender)
        code = s.rcpt(to)[0]
        if message and code == 250:
            code = s.data("Subject: x\r\n\r\nx\r\n")[0]
        return code


def restarts(w, daemon, name):
    return until(lambda: f"table texthash:{w.base}/{name} has changed -- restarting" in "".join(
        l for l in w.inst.log().splitlines() if f"/{daemon}[" in l))


def sent_as(w, sender):
    """Sends a message; the sender that the next host saw."""
    w.inst.wait_queue_empty()
    before = len(w.sink.messages)
    assert rcpt(w, sender, "u@away.test", True) == 250
    assert until(lambda: len(w.sink.messages) > before)
    return [l for l in w.sink.lines if l.upper().startswith("MAIL FROM")][-1]


def test_smtpd_router_cleanup(world):
    assert rcpt(world, "b@b.test", "u@d.test", True) == 250
    old = smtplib.SMTP(world.inst.host, world.inst.port["smtp"], timeout=60)
    old.ehlo("h")
    old.mail("b@b.test")
    text(world, "access", "b@b.test REJECT\n")
    text(world, "bcc", "c@c.test copy@bcc.test\n")
    assert until(lambda: rcpt(world, "b@b.test", "u@d.test") == 554)
    assert restarts(world, "smtpd", "access") and restarts(world, "cleanup", "bcc")
    assert old.rcpt("u@d.test")[0] == 250 and old.data("Subject: x\r\n\r\nx\r\n")[0] == 250
    old.quit()

    def copied():
        before = len(world.sink.lines)
        sent_as(world, "c@c.test")
        return any("copy@bcc.test" in l for l in world.sink.lines[before:])
    assert until(copied)
    os.unlink(os.path.join(world.base, "bcc"))  # gone: no message is taken that would lack its copy
    assert until(lambda: rcpt(world, "c@c.test", "u@d.test", True) == 451)
    text(world, "bcc", "c@c.test copy@bcc.test\n")
    assert until(lambda: rcpt(world, "c@c.test", "u@d.test", True) == 250)
    os.unlink(os.path.join(world.base, "access"))
    assert until(lambda: rcpt(world, "a@a.test", "u@d.test") == 451)
    assert f"open {world.base}/access: No such file or directory" in world.inst.log()
    text(world, "access", "a@a.test OK\n")
    assert until(lambda: rcpt(world, "a@a.test", "u@d.test") == 250)


def test_list_of_domains_of_the_router(world):
    text(world, "dest", "e.test x\n")
    assert restarts(world, "trivial-rewrite", "dest")
    os.unlink(os.path.join(world.base, "dest"))
    assert until(lambda: rcpt(world, "a@a.test", "u@e.test") == 451)
    text(world, "dest", "d.test x\n")
    assert until(lambda: rcpt(world, "a@a.test", "u@d.test") == 250)


def test_smtp(world):
    assert until(lambda: rcpt(world, "g@g.test", "u@away.test", True) == 250)  # what was asked of the router before may still end
    assert "g@g.test" in sent_as(world, "g@g.test")
    text(world, "generic", "g@g.test new@new.test\n")
    assert restarts(world, "smtp", "generic")
    assert until(lambda: "new@new.test" in sent_as(world, "g@g.test"))


def test_flush(world):
    ask = lambda site: world.inst.command("postqueue", "-s", site)
    assert ask("f.test").returncode == 0
    text(world, "flush", "h.test x\n")
    assert restarts(world, "flush", "flush")
    assert until(lambda: ask("h.test").returncode == 0)


def test_auth_and_what_it_tells_imapd(world):
    def login():
        with imaplib.IMAP4(world.inst.host, world.inst.port["imap"]) as c:
            return c.login("joe@box.test", "pw")[0]
    assert login() == "OK"
    text(world, "boxes", "joe@box.test other/\n")
    assert restarts(world, "auth", "boxes")
    assert until(lambda: login() == "OK")
    assert "sandbox: denied" not in world.inst.log()


USERS = """
import os, shutil, sys, time
sys.path.insert(0, sys.argv[1])
from dbservers import rcpt
from instance import Instance
with Instance(sys.argv[2], main={"local_recipient_maps": "proxy:unix:passwd.byname"}) as i:
    before = [rcpt(i, who + "@localhost")[0] for who in ("root", "newcomer")]
    shutil.copy("/etc/passwd", "/etc/passwd.new")
    with open("/etc/passwd.new", "a") as f:
        f.write("newcomer:x:4711:4711::/:/bin/sh\\n")
    os.rename("/etc/passwd.new", "/etc/passwd")
    end = time.monotonic() + 60
    while (code := rcpt(i, "newcomer@localhost")[0]) != 250 and time.monotonic() < end:
        assert code in (450, 451, 550), code
        time.sleep(0.2)
    print(before, code, rcpt(i, "nobody-at-all@localhost")[0])
"""


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
def test_a_new_user_is_known():
    """useradd(8) puts a new file in the place of /etc/passwd, which a sandbox that opened the old one does not let in. The /etc here is the test's own."""
    base = scratch("postern-users-")
    try:
        shutil.copytree("/etc", os.path.join(base, "etc"), symlinks=True, ignore=lambda d, names: [n for n in names if "shadow" in n or n == "ssl"])
        with open(os.path.join(base, "run.py"), "w", encoding="ascii") as f:
            f.write(USERS)
        r = subprocess.run(["unshare", "-m", "sh", "-c", 'mount --bind "$1/etc" /etc && exec "$3" "$1/run.py" "$2" "$1/i"', "sh", base,
                            os.path.dirname(os.path.abspath(__file__)), sys.executable],
                           capture_output=True, text=True, timeout=120, check=False)
        if "unshare failed" in r.stderr or "mount: " in r.stderr:
            pytest.skip("no mount namespaces here: " + r.stderr.strip())
        assert r.stdout == "[250, 550] 250 550\n", r.stdout + r.stderr
    finally:
        shutil.rmtree(base, ignore_errors=True)
