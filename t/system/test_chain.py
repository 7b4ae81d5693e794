"""Two suites and a DNS server: from submission to the mailbox on the other side, and every way in which that can go wrong
(RFC 5321, 3461, 3464, 3207, 6531, 7505, 3030)."""
import email
import email.policy
import imaplib
import os
import re
import shutil
import smtplib
import socket
import ssl
import time

import pytest

from fakesmtp import EHLO, Server
from instance import Dns, Instance, free_ports, mailbox_instance, make_certificates, scratch

HERE, THERE = "example.test", "remote.test"
PASSWORDS = {"alice": "wonderland", "bob": "builder", "carol": "singer", "jürgen": "umlaut"}
LIMIT = 40
MX = ["mx-host=remote.test,mx1.remote.test,10", "host-record=mx1.remote.test,127.0.0.1",
      "mx-host=example.test,mail.example.test,10", "host-record=mail.example.test,127.0.0.1",
      "host-record=f2.test,127.0.0.2", "host-record=f3.test,127.0.0.3", "host-record=f4.test,127.0.0.4", "host-record=dead.test,127.0.0.9",
      "host-record=late.test,127.0.0.5", "host-record=aonly.test,127.0.0.3", "cname=alias.test,aonly.test",
      "mx-host=pref.test,f3.test,20", "mx-host=pref.test,f2.test,5", "mx-host=fallback.test,dead.test,5", "mx-host=fallback.test,f3.test,10",
      "mx-host=busy.test,f4.test,5", "mx-host=busy.test,f3.test,10", "mx-host=down.test,late.test,5",
      "mx-host=null.test,.,0", "mx-host=broken.test,nowhere.test,5"]


class Net:
    """a: ours (example.test), b: theirs (remote.test, unless MX says otherwise); f2..f4: servers of a test's own on b's port."""

    def __init__(self, base):
        self.base = base
        self.dns = Dns(base, MX)
        self.ca, cert, key = make_certificates(os.path.join(base, "tls"), HERE, ["mx1.remote.test"])
        (self.smtp,) = free_ports(1)
        common = {"smtpd_tls_security_level": "may", "smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key, "smtpd_tls_loglevel": "1",
                  "smtp_tls_security_level": "may", "smtp_tls_CAfile": self.ca, "smtp_tls_loglevel": "1",
                  "resolver_nameservers": f"127.0.0.1:{self.dns.port}", "smtpd_sasl_auth_enable": "yes", "smtpd_tls_auth_only": "yes",
                  "smtputf8_enable": "yes", "mynetworks": "127.0.0.1/32", "smtpd_tls_received_header": "yes"}
        self.a = mailbox_instance(os.path.join(base, "a"), HERE, {u: PASSWORDS[u] for u in ("alice", "bob")}, ("smtp", "submission", "imap", "pop3"), main={
            **common, "smtp_tcp_port": str(self.smtp), "message_size_limit": "20000000", "virtual_mailbox_limit": "0",
            "transport_maps": f"inline:{{loop.test=smtp:[127.0.0.1]:{self.smtp}}}", "relay_domains": "loop.test"},
            virtual=(f"sales@{HERE} alice@{HERE}, bob@{HERE}\nring1@{HERE} ring2@{HERE}\nring2@{HERE} ring1@{HERE}\n"
                     f"same@{HERE} same@{HERE}\nmixed@{HERE} carol@{THERE}, bob@{HERE}\n"),
            aliases=f"team: alice@{HERE}, bob@{HERE}\nloopa: loopb@mail.{HERE}\nloopb: loopa@mail.{HERE}\nown: own@mail.{HERE}, bob@{HERE}\n")
        self.b = mailbox_instance(os.path.join(base, "b"), THERE, {u: PASSWORDS[u] for u in ("carol", "jürgen")}, ("smtp", "imap", "pop3"), main={
            **common, "myhostname": "mx1.remote.test", "mydestination": "", "smtp_tcp_port": str(self.a.port["smtp"]), "virtual_mailbox_limit": "0",
            "transport_maps": f"inline:{{loop.test=smtp:[127.0.0.1]:{self.a.port['smtp']}}}", "relay_domains": "loop.test", "hopcount_limit": "12"},
            ports=dict(zip(("smtp", "imap", "pop3"), (self.smtp, *free_ports(2)))))
        self.fakes = []

    def fake(self, n, **kw):
        s = Server(host=f"127.0.0.{n}", port=self.smtp, **kw)
        self.fakes.append(s)
        return s

    def close_fakes(self):
        for s in self.fakes:
            s.end()
        self.fakes = []

    def client(self, inst=None, door="smtp"):
        inst = inst or self.a
        c = smtplib.SMTP(inst.host, inst.port[door], timeout=LIMIT)
        c.ehlo("client.example")
        return c

    def send(self, rcpts, content=None, sender=f"alice@{HERE}", mail=(), rcpt=(), inst=None):
        """Raw content (CRLF) by SMTP from a trusted host; returns the queue id."""
        with self.client(inst) as c:
            assert c.mail(sender, list(mail))[0] == 250
            for r in [rcpts] if isinstance(rcpts, str) else rcpts:
                code, text = c.docmd("RCPT", f"TO:<{r}>" + "".join(" " + o for o in rcpt))
                assert code == 250, text
            code, text = data(c, content if content is not None else letter())
            assert code == 250, text
        return re.search(rb"queued as (\w+)", text).group(1).decode()

    def status(self, qid, rcpt, inst=None, seconds=LIMIT):
        """The log line of a delivery of that message: a match with (relay, dsn, status, text)."""
        inst = inst or self.a
        return inst.wait_log(rf"{qid}: to=<{re.escape(rcpt)}>, (?:orig_to=<[^>]*>, )?relay=(\S+), .*dsn=([\d.]+), status=(\w+) \((.*)\)$", seconds)[-1].groups()

    def mailbox(self, user):
        """All messages of that user by IMAP, as raw bytes, oldest first."""
        inst, domain = (self.a, HERE) if user in ("alice", "bob") else (self.b, THERE)
        m = imaplib.IMAP4(inst.host, inst.port["imap"], timeout=LIMIT)
        m.starttls(ssl.create_default_context(cafile=self.ca))
        m.authenticate("PLAIN", lambda _: f"\0{user}@{domain}\0{PASSWORDS[user]}".encode())
        m.select("INBOX", readonly=True)
        got = m.fetch("1:*", "(BODY.PEEK[])")[1] if m.search(None, "ALL")[1][0] else []
        m.logout()
        return [g[1] for g in got if isinstance(g, tuple)]

    def find(self, user, what, seconds=LIMIT):
        """The newest message of user that contains the bytes `what`, when it is there."""
        end = time.monotonic() + seconds
        while True:
            found = [t for t in self.mailbox(user) if what in t]
            if found:
                return found[-1]
            assert time.monotonic() < end, (what, self.a.log()[-3000:], self.b.log()[-3000:])
            time.sleep(0.1)

    def wait_gone(self, qid, inst=None):
        (inst or self.a).wait_log(rf"{qid}: removed", LIMIT)


def data(c, content):
    """DATA with dots doubled and nothing else changed."""
    assert c.docmd("DATA")[0] == 354
    c.send(re.sub(rb"(?m)^\.", b"..", content) + (b"" if content.endswith(b"\r\n") or not content else b"\r\n") + b".\r\n")
    return c.getreply()


def letter(mark="a letter", body=b"text\r\n", to=f"carol@{THERE}"):
    return (f"From: alice@{HERE}\r\nTo: {to}\r\nSubject: {mark}\r\nDate: Sat, 21 Nov 2026 09:00:00 +0000\r\n"
            f"Message-ID: <{abs(hash((mark, body)))}@client.example>\r\n\r\n").encode() + body


def report(raw):
    """The parts of a delivery status notification: text, the per-recipient fields of the first recipient, the returned message."""
    m = email.message_from_bytes(raw, policy=email.policy.default)
    assert m.get_content_type() == "multipart/report" and m["Content-Type"].params["report-type"] == "delivery-status", raw[:2000]
    text, status, returned = m.get_payload()
    assert status.get_content_type() in ("message/delivery-status", "message/global-delivery-status")
    return text.get_content(), status.get_payload()[1], returned


@pytest.fixture(scope="module")
def world():
    if not shutil.which("dnsmasq"):
        pytest.skip("dnsmasq is not installed (conf/packages.check: dnsmasq-base)")
    base = scratch("postern-chain-")
    n = None
    try:
        n = Net(base)
        n.dns.start()
        n.b.start()
        n.a.start()
        yield n
        for inst in (n.a, n.b):
            bad = re.findall(r"^.*(?:killed by signal|panic:|exit status|fatal:|Assertion|seccomp).*$", inst.log(), re.M)
            assert not bad, "\n".join(bad[:10])
    finally:
        if n:
            n.close_fakes()
            for part in (n.a, n.b, n.dns):
                try:
                    part.stop()
                except Exception:  # the others have to end all the same
                    pass
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def net(world):
    yield world
    world.close_fakes()


# ---- routing by DNS ----
def test_mx_preference(net):
    """RFC 5321 5.1: the lowest preference first."""
    f2, f3 = net.fake(2), net.fake(3)
    qid = net.send("x@pref.test")
    relay, dsn, status, _ = net.status(qid, "x@pref.test")
    assert (relay, dsn, status) == (f"f2.test[127.0.0.2]:{net.smtp}", "2.0.0", "sent") and len(f2.messages) == 1 and not f3.messages


def test_mx_fallback_when_the_first_is_dead_or_busy(net):
    """RFC 5321 5.1: a host that refuses the connection or greets with 421 is passed over; the mail is not delayed."""
    f3, f4 = net.fake(3), net.fake(4, GREETING="421 4.3.2 not now")
    q1, q2 = net.send("x@fallback.test"), net.send("x@busy.test")
    assert net.status(q1, "x@fallback.test")[:3] == (f"f3.test[127.0.0.3]:{net.smtp}", "2.0.0", "sent")
    assert net.status(q2, "x@busy.test")[:3] == (f"f3.test[127.0.0.3]:{net.smtp}", "2.0.0", "sent")
    assert len(f3.messages) == 2 and f4.sessions == 1


def test_address_record_without_mx_and_alias(net):
    """RFC 5321 5.1: no MX, the host itself; a CNAME is followed."""
    f3 = net.fake(3)
    assert net.status(net.send("x@aonly.test"), "x@aonly.test")[2] == "sent"
    assert net.status(net.send("x@alias.test"), "x@alias.test")[2] == "sent"
    assert len(f3.messages) == 2
    assert any("<x@alias.test>" in l for l in f3.lines if l.startswith("RCPT"))


def test_null_mx(net):
    """RFC 7505: a domain that takes no mail is refused at once with 5.1.10."""
    with net.client() as c:
        c.mail(f"alice@{HERE}")
        code, text = c.rcpt("x@null.test")
    if code == 250:
        qid = net.send("x@null.test")
        _, dsn, status, text = net.status(qid, "x@null.test")
        assert (dsn, status) == ("5.1.0", "bounced") or (dsn, status) == ("5.1.10", "bounced"), (dsn, status, text)
        assert "null.test" in text and "does not accept mail" in text
    else:
        assert code in (550, 556) and b"5.1.10" in text


def test_domain_that_does_not_exist(net):
    """RFC 5321 5.1: NXDOMAIN is final; an MX that points nowhere is, too."""
    for domain in ("nx.test", "broken.test"):
        qid = net.send(f"x@{domain}")
        _, dsn, status, text = net.status(qid, f"x@{domain}")
        assert status == "bounced" and dsn == "5.4.4", (dsn, status, text)
        assert "Host not found" in text or "not found" in text
        text, fields, _ = report(net.find("alice", b"x@" + domain.encode()))
        assert fields["Action"] == "failed" and fields["Status"] == "5.4.4" and fields["Final-Recipient"].replace(" ", "") == f"rfc822;x@{domain}"


def test_host_down_then_up(net):
    """RFC 5321 4.5.4: what cannot be delivered waits; when the host is back, a flush delivers it at once."""
    qid = net.send("dave@down.test", letter("after the pause"))
    relay, dsn, status, text = net.status(qid, "dave@down.test")
    assert (relay, dsn, status) == ("none", "4.4.1", "deferred") and "Connection refused" in text
    assert b"dave@down.test" in net.a.command("postqueue", "-p").stdout
    base = os.path.join(net.base, "late")
    late = Instance(base, host="127.0.0.5", ports={"smtp": net.smtp}, main={
        "myhostname": "late.test", "mydestination": "", "virtual_mailbox_domains": "down.test", "virtual_transport": "virtual",
        "virtual_mailbox_base": os.path.join(base, "mail"), "virtual_mailbox_maps": "inline:{dave@down.test=dave/Maildir/}",
        "resolver_nameservers": f"127.0.0.1:{net.dns.port}"})
    late.main.update({"virtual_uid_maps": f"static:{late.uid}", "virtual_gid_maps": f"static:{late.gid}", "virtual_minimum_uid": str(min(late.uid, 100))})
    try:
        late.start()
        net.a.command("postqueue", "-f")
        net.a.wait_log(rf"{qid}: to=<dave@down.test>, relay=late.test\[127\.0\.0\.5\]:\d+, .*status=sent", LIMIT)
        late.wait_log(r"to=<dave@down.test>, relay=virtual, .*status=sent", LIMIT)
    finally:
        late.stop()
    net.wait_gone(qid)


def test_restart_with_mail_in_the_queue(net):
    """What waits survives a stop and a start of the suite and is delivered once (RFC 5321 4.5.4.1, 6.1)."""
    f3 = net.fake(3, MAIL="450 4.7.1 come back", keywords=["SIZE 10000000"])
    qid = net.send("x@aonly.test", letter("over a restart"))
    assert net.status(qid, "x@aonly.test")[2] == "deferred"
    net.a.stop()
    f3.replies["MAIL"] = "250 2.1.0 ok"
    net.a.start()
    net.a.command("postqueue", "-f")
    net.a.wait_log(rf"{qid}: to=<x@aonly.test>, .*status=sent", LIMIT)
    net.wait_gone(qid)
    assert len(f3.messages) == 1


# ---- loops ----
def test_relay_loop_is_found_by_hops(net):
    """RFC 5321 6.3: two servers that send to each other stop at the hop limit; the sender learns of it."""
    net.send("x@loop.test", letter("round and round"))
    raw = net.find("alice", b"round and round")
    text, fields, _ = report(raw)
    assert fields["Status"].startswith("5.4") and "too many hops" in text.lower(), raw.decode(errors="replace")


@pytest.mark.parametrize("name", [f"ring1@{HERE}", f"loopa@mail.{HERE}"])
def test_alias_loops_end(net, name):
    """Aliases that name each other: refused, bounced or deferred with a word about it, never without end."""
    with net.client() as c:
        c.mail(f"alice@{HERE}")
        code, _ = c.rcpt(name)
        if code == 250:
            code, text = data(c, letter(f"loop {name}"))
        if code != 250:
            assert 400 <= code < 600
            return
    qid = re.search(rb"queued as (\w+)", text).group(1).decode()
    (m,) = net.a.wait_log(rf"{qid}: to=<[^>]*>,.*status=(\w+) \((.*)\)", LIMIT)[:1]
    assert m.group(1) in ("bounced", "deferred") and re.search(r"loop|nesting|unknown|recursion", m.group(2)), m.group(0)
    if m.group(1) == "deferred":
        net.a.command("postsuper", "-d", qid)


def test_alias_that_names_itself(net):
    """An address that stands in its own expansion is delivered to, once (as backup entries in virtual and alias tables do)."""
    qid = net.send(f"own@mail.{HERE}", letter("own alias"))
    net.wait_gone(qid)
    net.find("bob", b"own alias")
    assert len([t for t in net.mailbox("bob") if b"own alias" in t and b"Subject: own alias" in t]) == 1


# ---- failures that come from the other side ----
def test_remote_refusal_in_the_notification(net):
    """RFC 3464 2.3: the other side's words, all lines of them, in Diagnostic-Code and in the text; Remote-MTA names it."""
    net.fake(3, **{"RCPT TO:<gone@aonly.test>": "550-5.7.26 We do not know\r\n550 5.7.26 this person, see https://aonly.test/?q=1", "RCPT": "250 2.1.5 ok"},
             keywords=["PIPELINING"])
    qid = net.send(["gone@aonly.test", "fine@aonly.test"], letter("to one who is gone"))
    assert net.status(qid, "fine@aonly.test")[2] == "sent"
    _, dsn, status, text = net.status(qid, "gone@aonly.test")
    assert (dsn, status) == ("5.7.26", "bounced")
    assert "host aonly.test[127.0.0.3] said: 550-5.7.26 We do not know 550 5.7.26 this person, see https://aonly.test/?q=1 (in reply to RCPT TO command)" in text
    text, fields, returned = report(net.find("alice", b"gone@aonly.test"))
    code = re.sub(r"\s+", " ", fields["Diagnostic-Code"])
    assert code.startswith("smtp; 550") and "5.7.26 We do not know" in code and "this person, see https://aonly.test/?q=1" in code
    assert fields["Action"] == "failed" and fields["Status"] == "5.7.26" and "aonly.test" in fields["Remote-MTA"]
    assert returned.get_content_type() in ("message/rfc822", "text/rfc822-headers") and "fine@aonly.test" not in str(fields)
    assert "to one who is gone" in returned.as_string()


def test_unknown_user_on_the_other_side(net):
    """The refusal of the second suite becomes a report by the first, and the null sender's report is never bounced again (RFC 5321 6.1)."""
    qid = net.send(f"nobody@{THERE}", letter("to nobody"))
    _, dsn, status, text = net.status(qid, f"nobody@{THERE}")
    assert (dsn, status) == ("5.1.1", "bounced") and "User unknown in virtual mailbox table" in text
    text, fields, _ = report(net.find("alice", b"nobody@remote.test"))
    assert "5.1.1" in fields["Diagnostic-Code"] and "User unknown in virtual mailbox table" in fields["Diagnostic-Code"].replace("\n", "")
    qid = net.send(f"nobody@{THERE}", letter("report to nobody"), sender="")
    assert net.status(qid, f"nobody@{THERE}")[2] == "bounced"
    net.wait_gone(qid)
    assert not re.search(rf"{qid}: sender non-delivery notification", net.a.log())


def test_size_limits(net):
    """RFC 1870: too large for us is refused at MAIL and after DATA; too large for the next host is bounced without sending it."""
    with net.client() as c:
        code, text = c.mail(f"alice@{HERE}", ["SIZE=20000001"])
        assert code == 552 and b"5.3.4" in text
        assert c.mail(f"alice@{HERE}")[0] == 250 and c.rcpt(f"bob@{HERE}")[0] == 250
        code, text = data(c, letter("far too large", b"x" * 70 + b"\r\n") + (b"y" * 998 + b"\r\n") * 20100)
        assert code == 552 and b"5.3.4" in text, text
        assert c.noop()[0] == 250
    qid = net.send(f"carol@{THERE}", letter("too large there", (b"z" * 98 + b"\r\n") * 110000))
    _, dsn, status, text = net.status(qid, f"carol@{THERE}")
    assert (dsn, status) == ("5.3.4", "bounced") and "size" in text, text
    _, fields, _ = report(net.find("alice", b"too large there"))
    assert fields["Status"] == "5.3.4"


# ---- TLS ----
def test_opportunistic_tls(net):
    """RFC 3207: TLS where it is offered, with log lines on both sides; in the clear where it is not."""
    qid = net.send(f"carol@{THERE}", letter("under TLS"))
    assert net.status(qid, f"carol@{THERE}")[2] == "sent"
    net.a.wait_log(rf"smtp\[\d+\]: (?:Trusted|Verified|Untrusted|Anonymous) TLS connection established to mx1\.remote\.test\[127\.0\.0\.1\]:{net.smtp}: TLSv1\.3 with cipher \S+ \(\d+/\d+ bits\)")
    net.b.wait_log(r"smtpd\[\d+\]: Anonymous TLS connection established from \S+\[127\.0\.0\.1\]: TLSv1\.3 with cipher")
    raw = net.find("carol", b"Subject: under TLS")
    assert re.search(rb"Received: from mail\.example\.test \(.*?\)\r\n\t\(using TLSv1\.3 with cipher \S+ \(\d+/\d+ bits\)", raw), raw[:1200]
    assert b"with ESMTPS id" in raw
    f3 = net.fake(3, keywords=EHLO)
    assert net.status(net.send("x@aonly.test"), "x@aonly.test")[2] == "sent"
    assert "STARTTLS" not in f3.lines


# ---- content ----
def added(raw, content):
    """What stands before the content: only the lines that the way added."""
    assert raw.endswith(content), (raw[:1500], content[:300])
    head = raw[:len(raw) - len(content)]
    names = re.findall(rb"(?m)^([A-Za-z-]+):", head)
    assert set(names) <= {b"Return-Path", b"X-Original-To", b"Delivered-To", b"Received"}, head
    return head


def test_large_message_through_the_whole_chain(net):
    """5 MB by submission, relayed under TLS, delivered, and read by IMAP and POP3: byte for byte."""
    import base64
    body = base64.encodebytes(os.urandom(3900000)).replace(b"\n", b"\r\n") + b".\r\n..\r\nFrom x\r\n>From y\r\n"
    content = letter("five megabytes", body)
    assert len(content) > 5000000
    with net.client(door="submission") as c:
        c.starttls(context=ssl.create_default_context(cafile=net.ca))
        c.ehlo("client.example")
        c.user, c.password = f"alice@{HERE}", PASSWORDS["alice"]
        assert c.auth("PLAIN", c.auth_plain)[0] == 235
        assert c.mail(f"alice@{HERE}", [f"SIZE={len(content)}"])[0] == 250 and c.rcpt(f"carol@{THERE}")[0] == 250
        code, text = data(c, content)
        assert code == 250, text
    raw = net.find("carol", b"Subject: five megabytes")
    head = added(raw, content)
    assert head.count(b"Received:") == 2 and b"with ESMTPSA id" in head and b"Return-Path: <alice@example.test>" in head
    import poplib
    poplib._MAXLINE = 1000000
    p = poplib.POP3(net.b.host, net.b.port["pop3"], timeout=LIMIT)
    p.stls(context=ssl.create_default_context(cafile=net.ca))
    p.user(f"carol@{THERE}")
    p.pass_(PASSWORDS["carol"])
    n, size = max((tuple(map(int, l.split())) for l in p.list()[1]), key=lambda x: x[1])
    got = b"".join(l + b"\r\n" for l in p.retr(n)[1])
    p.quit()
    assert got == raw and size == len(raw)


CONTENTS = {
    "dots": b".\r\n..\r\n...x\r\n. \r\n.\r\n",
    "eight bits": "Grüße\r\n".encode() + bytes(range(128, 256)) + b"\r\n",
    "trailing blanks": b"a  \r\n\t\r\n \r\n\r\n\r\n",
    "From lines": b"From me\r\n>From you\r\nFrom \r\n",
    "control characters": bytes(c for c in range(1, 32) if c not in (10, 13)) + b"\x7f\r\n",
    "empty body": b"",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_content_comes_through(net, name):
    """RFC 5321 4.5.2, RFC 6152: nothing is changed between the servers and the mailbox."""
    content = letter(f"content {name}", CONTENTS[name])
    net.send(f"carol@{THERE}", content, mail=["BODY=8BITMIME"])
    added(net.find("carol", f"Subject: content {name}".encode()), content)


def test_long_lines(net):
    """RFC 5321 4.5.3.1.6: here a line of any length is kept; on the way to others it is broken at 998 with CRLF SPACE, as documented
    (smtp_line_length_limit)."""
    line = b"".join(b"%06d." % i for i in range(1000))
    content = letter("long lines", line + b"\r\nshort\r\n" + b"z" * 998 + b"\r\n")
    net.send([f"bob@{HERE}", f"carol@{THERE}"], content)
    added(net.find("bob", b"Subject: long lines"), content)
    raw = net.find("carol", b"Subject: long lines")
    body = raw.split(b"\r\n\r\n", 1)[1]
    assert max(map(len, body.split(b"\r\n"))) <= 998
    lines = body.split(b"\r\n")
    k = lines.index(b"short")
    assert lines[0] + b"".join(l[1:] for l in lines[1:k]) == line and all(l.startswith(b" ") for l in lines[1:k])
    assert lines[k + 1] == b"z" * 998


def test_nul_bytes(net):
    """RFC 5321 4.1.1.4, RFC 3501 9 (CHAR8): a NUL is kept in the mailbox file and in POP3; IMAP must not show one, and the size stays true."""
    content = letter("with nul", b"a\0b\0\0\r\n\0\r\n")
    net.send(f"bob@{HERE}", content)
    raw = net.find("bob", b"Subject: with nul")
    new = os.path.join(net.a.mail, f"bob@{HERE}", "Maildir")
    files = []
    for d in ("new", "cur"):
        for f in os.listdir(os.path.join(new, d)):
            with open(os.path.join(new, d, f), "rb") as h:
                files.append(h.read())
    (stored,) = [f for f in files if b"Subject: with nul" in f]
    assert stored.endswith(b"\n\na\0b\0\0\n\0\n")
    assert b"\0" not in raw and raw.endswith(b"\r\n\r\na\x80b\x80\x80\r\n\x80\r\n"), raw[-60:]


def test_no_header(net):
    """RFC 5322 3.6: text without a header gets one, and stays text; so does nothing at all."""
    q1 = net.send(f"bob@{HERE}", b"just text, unheaded\r\nand more\r\n")
    q2 = net.send(f"bob@{HERE}", b"")
    for q in (q1, q2):
        assert net.status(q, f"bob@{HERE}")[2] == "sent"
    raw = net.find("bob", b"just text, unheaded")
    head, body = raw.split(b"\r\n\r\n", 1)
    assert body == b"just text, unheaded\r\nand more\r\n" and b"\r\nDate: " in head and b"\r\nMessage-Id: " in head
    raw = net.find("bob", q2.encode())
    assert raw.split(b"\r\n\r\n", 1)[1] == b"" or raw.endswith(b"\r\n")


def test_bare_line_ends_cannot_smuggle(net):
    """RFC 5321 2.3.8, 4.1.1.4: from strangers only CRLF.CRLF ends the content; what looks like a second message stays inside the first, here
    and on the way out."""
    commands = b"MAIL FROM:<x@evil.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"
    for i, end in enumerate((b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n")):
        mark = f"smuggler {i}"
        c = smtplib.SMTP(net.a.host, net.a.port["submission"], timeout=LIMIT, source_address=("127.0.0.77", 0))
        try:
            c.starttls(context=ssl.create_default_context(cafile=net.ca))
            c.ehlo("client.example")
            c.login(f"alice@{HERE}", PASSWORDS["alice"])
            c.mail(f"alice@{HERE}")
            assert c.rcpt(f"carol@{THERE}")[0] == 250 and c.rcpt(f"bob@{HERE}")[0] == 250
            assert c.docmd("DATA")[0] == 354
            c.send(letter(mark, b"one" + end + commands) + b".\r\n")
            code, text = c.getreply()
            assert code == 250, (end, code, text)
            assert c.docmd("NOOP") == (250, b"2.0.0 Ok"), end
        finally:
            c.close()
        for user in ("carol", "bob"):
            raw = net.find(user, f"Subject: {mark}".encode())
            assert b"MAIL FROM:<x@evil.test>" in raw and b"Subject: smuggled" in raw, (end, raw)
    for user in ("carol", "bob"):
        assert not [t for t in net.mailbox(user) if b"Subject: smuggled" in t.split(b"\r\n\r\n")[0]]


def test_bdat(net):
    """RFC 3030: content in chunks, cut anywhere (also between CR and LF), with lines that are dots; the same bytes arrive."""
    content = letter("in chunks", b".\r\nx\r\n..\r\n" + b"y" * 70000 + b"\r\nend\r\n")
    with net.client() as c:
        assert c.has_extn("chunking")
        c.mail(f"alice@{HERE}", ["BODY=8BITMIME"])
        c.rcpt(f"bob@{HERE}")
        cr = content.index(b"\r\n.\r\n") + 1
        cuts = [0, 1, cr, cr + 2, cr + 3, 40000, len(content)]
        for x, y in zip(cuts, cuts[1:]):
            c.send(b"BDAT %d%s\r\n" % (y - x, b" LAST" if y == len(content) else b"") + content[x:y])
            code, text = c.getreply()
            assert code == 250, text
    added(net.find("bob", b"Subject: in chunks"), content)


# ---- extensions ----
def test_utf8_mailbox(net):
    """RFC 6531: a UTF-8 mailbox name through both servers."""
    rcpt = f"jürgen@{THERE}"
    with net.client() as c:
        assert c.has_extn("smtputf8")
        c.command_encoding = "utf-8"
        assert c.mail(f"alice@{HERE}", ["SMTPUTF8", "BODY=8BITMIME"])[0] == 250
        code, text = c.docmd("RCPT", f"TO:<{rcpt}>")
        assert code == 250, text
        code, text = data(c, letter("für Jürgen", "süß\r\n".encode(), to=rcpt))
        assert code == 250, text
    raw = net.find("jürgen", "Subject: für Jürgen".encode())
    assert raw.endswith("süß\r\n".encode()) and f"Delivered-To: {rcpt}".encode() in raw
    net.fake(3, keywords=["PIPELINING", "8BITMIME"])
    with net.client() as c:
        c.command_encoding = "utf-8"
        c.mail(f"alice@{HERE}", ["SMTPUTF8"])
        assert c.docmd("RCPT", "TO:<jürgen@aonly.test>")[0] == 250
        code, text = data(c, letter("where UTF-8 is unknown"))
        assert code == 250
    qid = re.search(rb"queued as (\w+)", text).group(1).decode()
    _, dsn, status, text = net.status(qid, "jürgen@aonly.test")
    assert (dsn, status) == ("5.6.7", "bounced") and "SMTPUTF8" in text  # RFC 6531 3.5


def test_success_notifications(net):
    """RFC 3461: NOTIFY=SUCCESS: "delivered" from the last server with ORCPT and ENVID; "relayed" where the next host knows no DSN."""
    net.send(f"carol@{THERE}", letter("notify me"), mail=["ENVID=e+2B1", "RET=HDRS"], rcpt=["NOTIFY=SUCCESS", "ORCPT=rfc822;Carol+2Bx@old.test"])
    raw = net.find("alice", b"Original-Envelope-Id: e+1")
    _, fields, returned = report(raw)
    assert fields["Action"] == "delivered" and fields["Status"].startswith("2.") and b"Reporting-MTA: dns; mx1.remote.test" in raw
    assert fields["Original-Recipient"].replace(" ", "") == "rfc822;Carol+x@old.test"
    assert returned.get_content_type() == "text/rfc822-headers"
    net.fake(3, keywords=["PIPELINING"])
    net.send("x@aonly.test", letter("relayed"), rcpt=["NOTIFY=SUCCESS,FAILURE"])
    text, fields, _ = report(net.find("alice", b"Action: relayed"))
    assert fields["Action"] == "relayed" and "250 2.0.0 Ok: queued as F00" in " ".join(text.split()) and "aonly.test" in fields["Remote-MTA"]
    assert fields["Final-Recipient"].replace(" ", "") == "rfc822;x@aonly.test" and fields["Status"] == "2.0.0"
    qid = net.send(f"nobody@{THERE}", letter("never"), rcpt=["NOTIFY=NEVER"])
    assert net.status(qid, f"nobody@{THERE}")[2] == "bounced"
    net.wait_gone(qid)
    assert not re.search(rf"{qid}: sender non-delivery notification", net.a.log())


def test_address_extension_and_case(net):
    """recipient_delimiter: user+extension reaches the user; the full address stands in Delivered-To; case of the domain does not matter."""
    qid = net.send(f"bob+lists.x@{HERE.upper()}", letter("extended"))
    assert net.status(qid, f"bob+lists.x@{HERE.upper()}")[2] == "sent"
    raw = net.find("bob", b"Subject: extended")
    assert re.search(rb"(?im)^Delivered-To: bob\+lists\.x@example\.test\r$", raw)


def test_alias_to_both_sides(net):
    """One message, one recipient here and one there: both get it, once."""
    qid = net.send(f"mixed@{HERE}", letter("mixed company"))
    assert net.status(qid, f"carol@{THERE}")[2] == "sent" and net.status(qid, f"bob@{HERE}")[2] == "sent"
    for user in ("bob", "carol"):
        assert b"X-Original-To: " in net.find(user, b"Subject: mixed company")
    net.send([f"sales@{HERE}", f"alice@{HERE}", f"team@mail.{HERE}"], letter("to many names"))
    net.find("bob", b"Subject: to many names")
    net.a.wait_queue_empty(LIMIT)
    assert len([t for t in net.mailbox("alice") if b"Subject: to many names" in t]) <= 2


def test_queue_is_empty_at_the_end(net):
    """Nothing of all this is left behind in either queue, nor was any mail put aside as corrupt."""
    net.a.wait_queue_empty(LIMIT)
    net.b.wait_queue_empty(LIMIT)
    for inst in (net.a, net.b):
        for name in ("corrupt", "hold", "incoming", "active"):
            d = os.path.join(inst.queue, name)
            assert not os.path.isdir(d) or not [f for _, _, fs in os.walk(d) for f in fs], d
