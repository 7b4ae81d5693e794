"""The commands against a running suite: VERP all the way (XVERP and sendmail -XV to the agents and the bounces), postsuper(1) on messages that
wait beyond the active limit, sendmail -bs."""
import json
import os
import re
import shutil
import smtplib
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from fakesmtp import Server  # noqa: E402
from instance import BIN, Instance, scratch, until  # noqa: E402

root_only = pytest.mark.skipif(os.getuid() != 0, reason="postsuper is the superuser's")


class World:
    def __init__(self):
        self.server, self.mute = Server(), socket.socket()
        self.mute.bind(("127.0.0.1", 0))
        self.mute.listen(16)
        self.base = scratch("postern-commands.")
        maps = "inline:{ {ok.test=smtp:[127.0.0.1]:%d} {sender.test=smtp:[127.0.0.1]:%d} {bad.test=error:5.7.1 go away} {later.test=retry:4.7.1 later} " \
               "{mute.test=smtp:[127.0.0.1]:%d} }" % (self.server.port, self.server.port, self.mute.getsockname()[1])
        self.inst = Instance(os.path.join(self.base, "i"), main={
            "inet_interfaces": "127.0.0.9", "smtp_tls_security_level": "none", "transport_maps": maps, "qmgr_message_active_limit": "1",
            "minimal_backoff_time": "3000s", "maximal_backoff_time": "3000s", "smtpd_authorized_verp_clients": "127.0.0.1",
            "smtp_destination_recipient_limit": "50", "fast_flush_domains": "flush.test"})
        self.inst.start()

    def sendmail(self, *args, text="Subject: t\n\nbody\n"):
        p = self.inst.command("sendmail", "-i", *args, input=text.encode())
        assert p.returncode == 0, p.stderr

    def seen(self, what, n=1):
        """n lines of the next hop's dialogue that match."""
        def got():
            return [l for l in list(self.server.lines) if re.search(what, l)]
        assert until(lambda: len(got()) >= n), (what, self.server.lines, self.inst.log()[-3000:])
        return got()

    def listing(self):
        return {m["queue_id"]: m for m in map(json.loads, self.inst.command("postqueue", "-j").stdout.decode().splitlines())}


@pytest.fixture(scope="module")
def world():
    w = World()
    yield w
    w.inst.stop()
    w.mute.close()
    shutil.rmtree(w.base, ignore_errors=True)


def test_verp_from_sendmail(world):
    """One delivery a recipient, each with its own sender."""
    world.sendmail("-XV", "-f", "list@sender.test", "a@ok.test", "b@ok.test")
    world.seen(r"MAIL FROM:<list\+a=ok\.test@sender\.test>")
    world.seen(r"MAIL FROM:<list\+b=ok\.test@sender\.test>")
    world.inst.wait_queue_empty()


def test_verp_bounces(world):
    """A failure comes back to the address that tells the recipient, one report each."""
    world.sendmail("-XV-=", "-f", "l2@sender.test", "x@bad.test", "y@bad.test")
    world.seen(r"RCPT TO:<l2-x=bad\.test@sender\.test>")
    world.seen(r"RCPT TO:<l2-y=bad\.test@sender\.test>")
    world.inst.wait_queue_empty()


def test_xverp(world):
    with smtplib.SMTP("127.0.0.1", world.inst.port["smtp"], timeout=60) as c:
        c.ehlo("client.test")
        assert c.has_extn("xverp")
        assert c.docmd("MAIL", "FROM:<l@sender.test> XVERP=ab")[0] == 501
        assert c.docmd("MAIL", "FROM:<> XVERP")[0] == 503
        assert c.docmd("MAIL", "FROM:<l3@sender.test> XVERP")[0] == 250
        assert c.docmd("RCPT", "TO:<q@ok.test>")[0] == 250
        assert c.data("Subject: x\r\n\r\nbody\r\n")[0] == 250
    world.seen(r"MAIL FROM:<l3\+q=ok\.test@sender\.test>")
    world.inst.wait_queue_empty()


def dialogue(world, *lines, eol="\r\n"):
    p = world.inst.command("sendmail", "-bs", input=eol.join([*lines, ""]).encode())
    return p.returncode, p.stdout.decode().split("\r\n")[:-1]


def test_bs(world):
    """SMTP on standard input (RFC 5321): the message goes out as any local one; errors do not end the session."""
    code, out = dialogue(world, "MAIL FROM:<a@sender.test>", "EHLO me", "RCPT TO:<x@ok.test>", "MAIL FROM:<bs@sender.test> BODY=8BITMIME SIZE=100",
                         "RCPT TO:<bs1@ok.test>", "RCPT TO:<bs2@ok.test> FOO=1", "RCPT TO:<a b@ok.test>", "DATA", "Subject: bs", "", "..dot", ".", "NOPE",
                         "RSET", "QUIT", "NOOP")
    assert code == 0
    assert [l[:3] for l in out if l[3] == " "] == ["220", "250", "250", "503", "250", "250", "555", "501", "354", "250", "500", "250", "221"], out
    assert out[0] == "220 mail.example.test ESMTP Postern" or out[0].startswith("220 mail.example.test ESMTP")
    world.seen(r"RCPT TO:<bs1@ok\.test>")
    world.inst.wait_queue_empty()
    assert b"Subject: bs" in world.server.messages[-1] and b"\r\n..dot\r\n" in world.server.messages[-1] or b"\n.dot" in world.server.messages[-1]
    assert "uid=%d from=<bs@sender.test>" % os.getuid() in world.inst.log()


def test_bs_extensions(world):
    """DSN parameters (RFC 3461) go all the way, chunks (RFC 3030) are joined, their CRLF may be torn; ETRN (RFC 1985) is postqueue -s."""
    code, out = dialogue(world, "EHLO me", "MAIL FROM:<b@sender.test> RET=BAD", "MAIL FROM:<b@sender.test> RET=HDRS ENVID=id+2B7 AUTH=<>", "RCPT TO:<d1@ok.test> NOTIFY=NEVER,DELAY",
                         "RCPT TO:<d1@ok.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bx@ok.test", "BDAT 14", "Subject: bdat\rBDAT 11 LAST\r\n\n\r\n.\r\nend",
                         "BDAT 2 LAST", "", "RSET", "ETRN ok.test", "ETRN flush.test", "ETRN", "VRFY root", "QUIT")
    assert code == 0
    assert [l[4:] for l in out if l[3] == "-"] == ["mail.example.test", "PIPELINING", "SIZE 10240000", "VRFY", "ETRN", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8"]
    assert [re.sub(r"queued as \w{14}$", "queued as ID", l) for l in out if l[3] == " "][1:] == [
        "250 CHUNKING", "501 5.5.4 Bad RET parameter syntax", "250 2.1.0 Ok", "501 5.5.4 Error: Bad NOTIFY parameter syntax", "250 2.1.5 Ok", "250 2.0.0 Ok: 14 bytes",
        "250 2.0.0 Ok: 25 bytes queued as ID", "503 5.5.1 Error: need RCPT command", "250 2.0.0 Ok", "458 Unable to queue messages", "250 Queuing started", "500 Syntax: ETRN domain", "252 2.0.0 root", "221 2.0.0 Bye"]
    world.seen(r"MAIL FROM:<b@sender\.test> .*ENVID=id\+2B7 RET=HDRS")
    world.seen(r"RCPT TO:<d1@ok\.test> .*(NOTIFY=SUCCESS,DELAY|ORCPT=rfc822;o\+2Bx@ok\.test) (NOTIFY=SUCCESS,DELAY|ORCPT=rfc822;o\+2Bx@ok\.test)")
    world.inst.wait_queue_empty()
    assert re.search(rb"Subject: bdat\r?\n(.+\n)*\r?\n\.?\.\r?\nend\r?\n$", world.server.messages[-1]), world.server.messages[-1]


def test_bs_ends(world):
    """Line feeds alone are fine among themselves; a dot between ends of the other kind ends no message, and a message cut off is none."""
    n = len(world.server.messages)
    assert [l[:3] for l in dialogue(world, "HELO me", "MAIL FROM:<>", "RCPT TO:<lf@ok.test>", "DATA", "x: y", "", "z", ".", "QUIT", eol="\n")[1]] == \
        ["220", "250", "250", "250", "354", "250", "221"]
    p = world.inst.command("sendmail", "-bs", input=b"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<cut@ok.test>\r\nDATA\r\nx: y\r\n\r\nz\n.\r\nmore\r\n.\nMAIL")
    assert p.returncode == 75 and p.stdout.endswith(b"<CR><LF>.<CR><LF>\r\n")
    world.seen(r"RCPT TO:<lf@ok\.test>")
    world.inst.wait_queue_empty()
    assert len(world.server.messages) == n + 1


@root_only
def test_postsuper_f_expires_and_releases(world):
    world.sendmail("-f", "f1@sender.test", "held@later.test")
    qid = world.inst.wait_log(r"(\w+): to=<held@later\.test>.*status=deferred")[0].group(1)
    world.inst.command("postsuper", "-h", qid)
    p = world.inst.command("postsuper", "-e", qid)  # expired, and still held
    assert b"%s: expired" % qid.encode() in p.stderr and world.listing()[qid]["queue_name"] == "hold" and world.listing()[qid]["forced_expire"]
    p = world.inst.command("postsuper", "-f", "-", input=qid.encode() + b"\n")
    assert p.stderr.endswith(b"postsuper: Force-expired: 1 message\npostsuper: Released from hold: 1 message\n"), p.stderr
    world.inst.wait_log(qid + r": from=<f1@sender\.test>, status=force-expired, returned to sender")
    world.seen(r"RCPT TO:<f1@sender\.test>")
    world.inst.wait_queue_empty()


@root_only
def test_postsuper_beyond_the_active_limit(world):
    """One message is active and its next hop says nothing; the others wait for a place. An operator reaches them all the same, at once, and
    nothing of them is delivered."""
    world.sendmail("-f", "m@sender.test", "m@mute.test")
    first = world.inst.wait_log(r"(\w+): from=<m@sender\.test>, size=.*queue active")[0].group(1)
    for i in range(4):
        world.sendmail("-f", "w%d@sender.test" % i, "w%d@ok.test" % i)
    ids = [world.inst.wait_log(r"cleanup\[\d+\]: (\w+): message-id=.*\n(?:.*\n)*?", count=1) and
           world.inst.wait_log(r"pickup\[\d+\]: (\w+): uid=\d+ from=<w%d@sender\.test>" % i)[0].group(1) for i in range(4)]
    assert until(lambda: set(world.listing()) == {first, *ids}), world.listing()
    for queue, rows in (("active", ["TOTAL", "mute.test"]), ("incoming", ["TOTAL", "ok.test"])):  # qmgr says what it is at
        assert until(lambda: [l.split()[0] for l in world.inst.command("qshape", "-b", "1", queue, text=True).stdout.splitlines()[1:]] == rows)
    p = world.inst.command("postsuper", "-d", ids[0])
    assert b"Deleted: 1 message" in p.stderr
    world.inst.wait_log(ids[0] + ": removed")
    p = world.inst.command("postsuper", "-h", ids[1])
    assert b"Placed on hold: 1 message" in p.stderr
    p = world.inst.command("postsuper", "-e", ids[2])
    assert b"Force-expired: 1 message" in p.stderr
    world.inst.wait_log(ids[2] + r": from=<w2@sender\.test>, status=force-expired")
    assert until(lambda: world.listing().get(ids[1], {}).get("queue_name") == "hold")
    p = world.inst.command("postsuper", "-r", ids[3])  # from a slot of the pool
    assert b"Requeued: 1 message" in p.stderr
    new = world.inst.wait_log(r": (\w+): uid=\d+ from=<w3@sender\.test> orig_id=%s$" % ids[3])[0][1]
    assert until(lambda: new in world.listing() and ids[3] not in world.listing())
    p = world.inst.command("postsuper", "-d", "ALL")
    assert re.search(rb"Deleted: [45] messages", p.stderr), p.stderr
    world.inst.wait_log(new + ": removed")
    assert not [l for l in world.server.lines if re.search(r"RCPT TO:<w\d@ok\.test>", l)]


@root_only
def test_listing_of_aliases_and_failures(world):
    """What the queue shows of a recipient: where the message goes; -j also where it was addressed to, and whether the reason is final: it is, and
    still there, when no report could be written."""
    inst = Instance(os.path.join(world.base, "listing"), listen=(), main={
        "bounce_service_name": "nobounce", "transport_maps": "inline:{ {bad.test=error:5.7.1 go away} {later.test=retry:4.7.1 later} }",
        "virtual_alias_maps": "inline:{ {al@al.test=aliased@later.test} {al2@al.test=gone@bad.test} }", "virtual_alias_domains": "al.test"})
    inst.start(wait=False)
    try:
        inst.wait_log("daemon started")
        assert inst.command("sendmail", "-i", "-f", "j@sender.test", "al@al.test", "al2@al.test", "plain@later.test", input=b"Subject: j\n\nx\n").returncode == 0
        def rcpts():
            got = [json.loads(l) for l in inst.command("postqueue", "-j").stdout.decode().splitlines()]
            return {r["address"]: r for r in got[0]["recipients"]} if got else {}
        wanted = {"gone@bad.test": {"address": "gone@bad.test", "orig_address": "al2@al.test", "bounce_reason": "go away"},
                  "aliased@later.test": {"address": "aliased@later.test", "orig_address": "al@al.test", "delay_reason": "later"},
                  "plain@later.test": {"address": "plain@later.test", "delay_reason": "later"}}
        assert until(lambda: rcpts() == wanted), (rcpts(), inst.log()[-2000:])
        text = inst.command("mailq").stdout.decode()
        assert re.search(r"\n +\(go away\)\n {41}gone@bad\.test\n", text) and "al@al.test" not in text
    finally:
        inst.stop()


@root_only
@pytest.mark.parametrize("users,allowed", [("static:anyone", True), ("", False), ("root, nobody", True), ("!nobody, static:all", False), ("/%s", True), ("!/%s static:all", False),
                                           ("texthash:%s", True), ("inline:{other=x}", False), ("pcre:%s.pcre", True)])
def test_who_may_look(world, users, allowed):
    """authorized_mailq_users and authorized_flush_users: names, !name, files of names, tables; the first that matches decides."""
    d = os.path.join(world.base, "who")
    os.makedirs(d, exist_ok=True)
    shutil.copy(os.path.join(BIN, "postqueue"), os.path.join(d, "postqueue"))
    for name, text in (("list", "nobody x\n"), ("names", "nobody\n"), ("list.pcre", "/^no/ x\n")):
        with open(os.path.join(d, name), "w", encoding="ascii") as f:
            f.write(text)
    users = users.replace("/%s", os.path.join(d, "names")).replace("%s", os.path.join(d, "list"))
    with open(os.path.join(d, "main.cf"), "w", encoding="ascii") as f:
        f.write("queue_directory = %s\nauthorized_mailq_users = %s\nauthorized_flush_users = %s\n" % (d, users, users))
    for option, what in (("-p", b"view"), ("-f", b"flush")):
        p = subprocess.run([os.path.join(d, "postqueue"), option], env={"MAIL_CONFIG": d}, user="nobody", group="nogroup", extra_groups=[], capture_output=True, check=False)
        assert p.returncode == 69 and (b"is not allowed to %s the mail queue" % what in p.stderr) != allowed and (b"mail system is down" in p.stderr) == allowed, p.stderr


@root_only
def test_set_gid_postqueue_trusts_no_foreign_directory(world):
    """Or anybody could bring an authorized_mailq_users of his own."""
    path = os.path.join(world.base, "postqueue")
    shutil.copy(os.path.join(os.environ.get("POSTERN_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build")), "bin", "postqueue"), path)
    shutil.chown(path, group="postdrop")
    os.chmod(path, 0o2755)
    p = subprocess.run([path, "-c", world.inst.config, "-p"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, user="nobody", group="nogroup",
                       extra_groups=[])
    assert p.returncode == 69 and p.stdout == b"" and (b"unauthorized configuration directory" in p.stderr or b"/etc/postfix" in p.stderr), p.stderr
