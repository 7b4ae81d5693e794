"""smtp(8) and lmtp(8) against servers of every kind: what is sent, what is logged, and what qmgr is told (RFC 5321, 2033, 2920,
3207, 3461)."""
import os
import socket
import struct
import time

import pytest

from fakemaster import Daemon, Reader, record, span
from fakesmtp import EHLO, HANG, Server, context
from instance import until

DELIVER, DNS_QUERY = 40, 80
SENT, DEFERRED, BOUNCED, RELAYED, PASSED = 1, 2, 3, 4, 7
VERIFY, REUSE = 1, 4
MESSAGE = b"From: a@example.org\nTo: b@example.net\nSubject: x\n\nhello\n.dot\n"


def envelope(qid, sender, body=0, flags=0, ret=0, envid="", arrival=None, **text):
    names = ["client_name", "client_addr", "client_port", "helo", "protocol", "rev_client_name", "sasl_method", "sasl_username",
             "sasl_sender", "ident", "content_filter", "redirect", "verp", "full_name"]
    b = span(qid) + struct.pack("<q", arrival or int(time.time() * 1e6)) + span(sender)
    b += struct.pack("<IHH", flags, ret, body) + span(envid) + span("<m@x>") + struct.pack("<QH", len(MESSAGE), 0)
    for n in names:
        b += span(text.get(n, ""))
    return b + struct.pack("<I", 0)


class Client:
    def __init__(self, directory, main_cf="", program="smtp", peers=None):
        self.d = Daemon(program, str(directory), main_cf="inet_interfaces = 127.0.0.9\nsmtp_tls_loglevel = 1\n" + main_cf,
                        peers=peers)
        self.s = self.d.connect("qmgr")

    def deliver(self, nexthop, content=MESSAGE, rcpts=("b@example.net",), sender="a@example.org", flags=0, notify=0, orcpt="",
                orig="", env_flags=0, **env):
        self.send(nexthop, content, rcpts, sender, flags, notify, orcpt, orig, env_flags=env_flags, **env)
        return self.result()

    def send(self, nexthop, content, rcpts, sender="a@example.org", flags=0, notify=0, orcpt="", orig="", fd=None, env_flags=0,
             qid="ABCDEF0123", **env):
        b = span("smtp") + span(nexthop) + span(envelope(qid, sender, flags=env_flags, **env)) + struct.pack("<I", len(rcpts))
        for i, r in enumerate(rcpts):
            b += struct.pack("<I", i) + span(r) + span(orig) + span(orcpt) + struct.pack("<H", notify)
        extents = struct.pack("<I", 0) if fd is None else struct.pack("<IQQ", 1, 0, os.fstat(fd).st_size)
        b += span(content) + (b"\0" if fd is None else b"\1") + extents + struct.pack("<Hq", flags, int(time.time() * 1e6))
        if fd is None:
            self.s.send(record(DELIVER, b))
        else:
            socket.send_fds(self.s, [record(DELIVER, b)], [fd])

    def result(self):
        data = self.s.recv(200000)
        assert data, self.d.text()
        r = Reader(data[8:])
        out = {}
        for _ in range(r.num("I")):
            i, status = r.num("I"), r.num("H")
            out[i] = (status,) + tuple(r.span().decode(errors="replace") for _ in range(6))
            assert r.num("H") == 0  # an alias it is not
        self.dead = r.num("B") == 1
        return out

    def log(self):
        return self.d.text()

    def end(self):
        self.s.close()
        self.d.end()


@pytest.fixture
def client(tmp_path):
    made = []

    def make(**kw):
        made.append(Client(tmp_path, **kw))
        return made[-1]
    yield make
    for c in made:
        c.end()


def at(server):
    return "[127.0.0.1]:%d" % server.port


def test_message_arrives_as_sent_with_dots_doubled_and_one_round_trip(client):
    """RFC 5321 section 4.5.2; RFC 2920: MAIL, RCPT and DATA in one segment."""
    s, c = Server(), client()
    r = c.deliver(at(s))
    assert r[0][0] == RELAYED or r[0][0] == PASSED
    assert r[0][1:3] == ("2.0.0", "250 2.0.0 Ok: queued as F00")
    assert s.messages == [MESSAGE.replace(b"\n", b"\r\n").replace(b"\r\n.dot", b"\r\n..dot")]
    assert any(x.startswith(b"MAIL FROM:<a@example.org> SIZE=") and x.endswith(b"DATA\r\n") for x in s.segments)
    assert ("ABCDEF0123: to=<b@example.net>, relay=127.0.0.1[127.0.0.1]:%d, delay=" % s.port) in c.log()
    assert "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as F00)" in c.log()


def test_no_line_end_but_crlf_leaves(client):
    """RFC 5321 section 2.3.8: a bare CR, a NUL, and ends of data built from them do not reach the server as such."""
    s, c = Server(), client()
    evil = b"Subject: x\n\na\r.\rb\n\r.\r\n\0.\n\r\n.\r\nMAIL FROM:<evil@x>\nlast"
    c.deliver(at(s), content=evil)
    body = s.messages[0]
    assert body.replace(b"\r\n", b"").count(b"\r") == 0 and body.count(b"\n") == body.count(b"\r\n") and b"\0" not in body
    assert not any(line == b"." for line in body.split(b"\r\n"))
    assert body.endswith(b"MAIL FROM:<evil@x>\r\nlast\r\n") and s.sessions == 1


def test_long_lines_are_cut(client):
    """RFC 5321 section 4.5.3.1.6, smtp_line_length_limit."""
    s, c = Server(), client()
    c.deliver(at(s), content=b"Subject: x\n\n" + b"y" * 60000 + b"\n")
    assert max(len(x) for x in s.messages[0].split(b"\r\n")) == 998
    assert s.messages[0].replace(b"\r\n ", b"").count(b"y") == 60000


def test_server_without_esmtp(client):
    """RFC 5321 section 3.2: EHLO refused, HELO taken; one command at a time, no parameters."""
    s, c = Server(EHLO="502 what", HELO="250 hello"), client()
    r = c.deliver(at(s), rcpts=("b@example.net", "c@example.net"))
    assert [x[0] for x in r.values()] == [RELAYED, RELAYED]
    assert s.lines[:5] == ["EHLO mx.example.org", "HELO mx.example.org", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>",
                           "RCPT TO:<c@example.net>"]


def test_recipients_fail_one_by_one(client):
    """RFC 5321 section 4.2.1: 5xx bounces, 4xx defers, 2xx goes on."""
    s = Server(**{"RCPT TO:<bad@x>": "550 5.1.1 no such user", "RCPT TO:<slow@x>": "450 4.2.0 greylisted"})
    c = client()
    r = c.deliver(at(s), rcpts=("bad@x", "good@x", "slow@x"))
    assert [r[i][0] for i in range(3)] == [BOUNCED, PASSED, DEFERRED]
    where = "127.0.0.1[127.0.0.1]"
    assert r[0][1] == "5.1.1" and r[0][2] == "host %s said: 550 5.1.1 no such user (in reply to RCPT TO command)" % where
    assert r[0][3:6] == ("smtp", "550 5.1.1 no such user", "127.0.0.1")
    assert r[2][1] == "4.2.0" and len(s.messages) == 1
    assert "status=bounced (host" in c.log() and "status=deferred (host" in c.log()


def test_all_recipients_refused_and_data_taken(client):
    """RFC 2920 section 3.1: nothing but a dot is sent."""
    s, c = Server(RCPT="550 no", DATA="354 go"), client()
    r = c.deliver(at(s), rcpts=("a@x", "b@x"))
    assert [x[0] for x in r.values()] == [BOUNCED, BOUNCED]
    assert until(lambda: s.messages) == [b""]


def test_mail_refused(client):
    s, c = Server(MAIL="554 5.7.1 go away", RCPT="503 no", DATA="503 no"), client()
    r = c.deliver(at(s))
    assert r[0][0] == BOUNCED and r[0][2].endswith("said: 554 5.7.1 go away (in reply to MAIL FROM command)")


@pytest.mark.parametrize("where,doing", [
    ("GREETING", "receiving the initial server greeting"), ("EHLO", "performing the EHLO handshake"),
    ("MAIL", "sending MAIL FROM"), ("DATA", "sending DATA command"),
    ("BODY", "sending end of data -- message may be sent more than once")])
def test_lost_connection(client, where, doing):
    """A server that leaves at any point defers the mail, and nothing is taken for delivered."""
    s, c = Server(**{where: None}), client()
    r = c.deliver(at(s))
    assert r[0][:2] == (DEFERRED, "4.4.2") and doing in r[0][2], r


@pytest.mark.parametrize("reply", ["garbage", "250", "999 x", "\x00\xff" * 1000, "250-x\r\n" * 400 + "250 x", "250-a\r\n550 b",
                                   "2" * 100000], ids=range(7))
def test_evil_replies(client, reply):
    """HARDENING: no reply makes the process end; the next delivery works."""
    s, good, c = Server(EHLO=reply), Server(), client(main_cf="smtp_helo_timeout = 2s\n")
    r = c.deliver(at(s))
    assert r[0][0] == DEFERRED or (reply[:3] in ("250", "999") and r[0][0] in (RELAYED, PASSED))  # some are odd, but replies
    assert c.deliver(at(good))[0][0] == PASSED


def test_slow_server_times_out(client):
    s, c = Server(MAIL=HANG), client(main_cf="smtp_mail_timeout = 1s\n")
    r = c.deliver(at(s))
    assert r[0][:2] == (DEFERRED, "4.4.2") and "timed out while sending MAIL FROM" in r[0][2]


def test_refused_connection(client):
    s, c = Server(), client()
    port = s.port
    s.refuse()
    r = c.deliver("[127.0.0.1]:%d" % port)
    assert r[0][:3] == (DEFERRED, "4.4.1", "connect to 127.0.0.1[127.0.0.1]:%d: Connection refused" % port)
    assert c.dead and ": connect to 127.0.0.1[127.0.0.1]:%d: Connection refused" % port in c.log() and "relay=none" in c.log()


def test_greeting_5xx_is_tried_elsewhere_and_deferred(client):
    s, c = Server(GREETING="554 no mail here"), client()
    r = c.deliver(at(s))
    assert r[0][0] == DEFERRED and "refused to talk to me: 554 no mail here" in r[0][2]


def test_connection_is_reused(client):
    """DELF_CONN_REUSE: several deliveries over one connection; the last says so in the log."""
    s, c = Server(), client()
    for _ in range(3):
        assert c.deliver(at(s), flags=REUSE)[0][0] == PASSED
    assert s.sessions == 1 and len(s.messages) == 3 and "conn_use=3, delay=" in c.log()


def test_kept_connection_that_died_costs_nothing(client):
    count = []

    def leave(server, conn, line):
        count.append(1)
        return None if len(count) == 2 else "250 ok"
    s, c = Server(MAIL=leave), client()
    assert c.deliver(at(s), flags=REUSE)[0][0] == PASSED
    assert c.deliver(at(s), flags=REUSE)[0][0] == PASSED
    assert s.sessions == 2


def test_size_limit(client):
    """RFC 1870 section 6.1."""
    s, c = Server(keywords=["SIZE 20"]), client()
    r = c.deliver(at(s))
    assert r[0][:2] == (BOUNCED, "5.3.4") and "exceeds size limit 20 of server" in r[0][2]


def test_8bit_is_converted(client):
    """RFC 6152 section 3, RFC 2045 section 6.7."""
    s, c = Server(keywords=["PIPELINING"]), client()
    c.deliver(at(s), body=1, content="Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
              "Content-Transfer-Encoding: 8bit\n\ngrüße = x \n".encode())
    m = s.messages[0]
    assert b"Content-Transfer-Encoding: quoted-printable\r\n" in m and b"8bit" not in m
    assert b"gr=C3=BC=C3=9Fe =3D x=20\r\n" in m


def test_dsn_parameters(client):
    """RFC 3461 sections 4.1 to 4.4."""
    s, c = Server(), client()
    c.deliver(at(s), notify=6, orcpt="rfc822;x+y@z", ret=2, envid="id=1")
    assert "RET=HDRS" in s.lines[1] and "ENVID=id+3D1" in s.lines[1]
    assert s.lines[2] == "RCPT TO:<b@example.net> ORCPT=rfc822;x+2By@z NOTIFY=SUCCESS,FAILURE"
    s = Server()
    c.deliver(at(s), rcpts=["b+c@example.net"])
    assert s.lines[2] == "RCPT TO:<b+c@example.net> ORCPT=rfc822;b+2Bc@example.net"


def test_smtputf8_needed(client):
    """RFC 6531 section 3.2."""
    s, c = Server(keywords=["8BITMIME"]), client()
    r = c.deliver(at(s), rcpts=("grüße@x",), flags=0)
    assert r[0][:2] == (BOUNCED, "5.6.7") and s.messages == []


def test_probe(client):
    s, c = Server(), client()
    r = c.deliver(at(s), flags=VERIFY)
    assert r[0][0] == PASSED and s.messages == [] and "status=deliverable (250 2.1.5 ok)" in c.log()


def test_lmtp_answers_for_each_recipient(client):
    """RFC 2033 section 4.2."""
    s = Server(lmtp=True, BODY=["250 2.0.0 one", "452 4.2.2 full", "550 5.2.1 gone"])
    c = client(program="lmtp")
    r = c.deliver("inet:127.0.0.1:%d" % s.port, rcpts=("a@x", "b@x", "c@x"))
    assert [r[i][:2] for i in range(3)] == [(PASSED, "2.0.0"), (DEFERRED, "4.2.2"), (BOUNCED, "5.2.1")]
    assert s.lines[0] == "LHLO mx.example.org"


def test_auth(client, tmp_path):
    """RFC 4954: PLAIN with an initial response."""
    s = Server(keywords=EHLO + ["AUTH PLAIN LOGIN"], AUTH="235 2.7.0 ok")
    c = client(main_cf="smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\n"
               "smtp_sasl_password_maps = inline:{127.0.0.1=user:pass}\n")
    assert c.deliver(at(s))[0][0] == PASSED, c.log()
    import base64
    auth = [x for x in s.lines if x.startswith("AUTH ")][0].split()
    assert auth[1] == "PLAIN" and base64.b64decode(auth[2]) == b"\0user\0pass"


def test_auth_refused_is_deferred(client):
    s = Server(keywords=EHLO + ["AUTH PLAIN"], AUTH="535 5.7.8 no")
    c = client(main_cf="smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\n"
               "smtp_sasl_password_maps = inline:{127.0.0.1=user:pass}\n")
    r = c.deliver(at(s))
    assert r[0][:2] == (DEFERRED, "4.7.8") and "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 535 5.7.8 no" in r[0][2]


def test_starttls(client, tmp_path):
    """RFC 3207: EHLO again inside."""
    tls, _, _ = context(str(tmp_path))
    s, c = Server(keywords=EHLO + ["STARTTLS"], tls=tls), client(main_cf="smtp_tls_security_level = may\n")
    assert c.deliver(at(s))[0][0] == PASSED, c.log()
    assert s.lines[:3] == ["EHLO mx.example.org", "STARTTLS", "EHLO mx.example.org"]
    assert "Untrusted TLS connection established to 127.0.0.1[127.0.0.1]:%d: TLSv1.3 with cipher TLS_" % s.port in c.log()
    assert "(256/256 bits) key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256" in c.log()


def test_starttls_injection(client, tmp_path):
    """RFC 3207 section 6: text behind the reply to STARTTLS is not believed, whatever the level."""
    tls, _, _ = context(str(tmp_path))
    s = Server(keywords=EHLO + ["STARTTLS"], tls=tls, STARTTLS="220 go\r\n250-evil\r\n250 AUTH PLAIN")
    c = client(main_cf="smtp_tls_security_level = may\n")
    r = c.deliver(at(s))
    assert r[0][:2] == (DEFERRED, "4.7.5") and s.messages == []


def test_tls_required_not_offered(client):
    s, c = Server(), client(main_cf="smtp_tls_security_level = encrypt\n")
    r = c.deliver(at(s))
    assert r[0][:3] == (DEFERRED, "4.7.4", "TLS is required, but was not offered by host 127.0.0.1[127.0.0.1]")


def test_tls_secure(client, tmp_path):
    """RFC 6125: the wrong name does not get the mail; the right one is Verified."""
    tls, cert, _ = context(str(tmp_path))
    base = "smtp_tls_security_level = secure\nsmtp_tls_CAfile = %s\n" % cert
    s = Server(keywords=EHLO + ["STARTTLS"], tls=tls)
    c = client(main_cf=base + "smtp_tls_policy_maps = inline:{ { [127.0.0.1]:%d=secure match=fake.example } }\n" % s.port)
    assert c.deliver(at(s))[0][0] == PASSED, c.log()
    assert "Verified TLS connection established" in c.log()
    other = Server(keywords=EHLO + ["STARTTLS"], tls=tls)
    r = c.deliver(at(other))
    assert r[0][:3] == (DEFERRED, "4.7.5", "Server certificate not verified") and other.messages == []


def dns(answers, secure=False):
    """answers: (name, type) -> list of rdata, "nx", "fail". secure: DNSSEC vouches for them."""
    def serve(kind, body):
        assert kind == DNS_QUERY
        r = Reader(body)
        name, qtype = r.span().decode(), r.num("H")
        a = answers.get((name, qtype), [])
        wire = b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0"
        if a == "nx" or a == "fail" or not a:
            return struct.pack("<HBI", {"nx": 1, "fail": 3}.get(a if isinstance(a, str) else "", 2), 0, 0) + span("") + span("x")
        m = struct.pack(">HHHHHH", 1, 0x8180, 1, len(a), 0, 0) + wire + struct.pack(">HH", qtype, 1)
        for x in a:
            m += b"\xc0\x0c" + struct.pack(">HHIH", qtype, 1, 60, len(x)) + x
        return struct.pack("<HBI", 0, secure, 60) + span(m) + span("")
    return {"resolver": serve}


def mx(pref, name):
    return struct.pack(">H", pref) + b"".join(bytes([len(x)]) + x.encode() for x in name.split(".") if x) + b"\0"


A, MX, AAAA = 1, 15, 28


def ip(s):
    return socket.inet_aton(s)


def test_mx_in_order_of_preference(client):
    """RFC 5321 section 5.1: the better host first; when it refuses for now, the next one."""
    bad = Server(RCPT="450 4.2.0 later")
    Server(host="127.0.0.2", port=bad.port)
    peers = dns({("x.test", MX): [mx(20, "b.test"), mx(10, "a.test")], ("a.test", A): [ip("127.0.0.1")],
                 ("b.test", A): [ip("127.0.0.2")]})
    c = client(peers=peers)
    r = c.deliver("x.test:%d" % bad.port)
    assert r[0][0] == PASSED and r[0][6] == "b.test[127.0.0.2]:%d" % bad.port, c.log()
    assert "ABCDEF0123: host a.test[127.0.0.1] said: 450 4.2.0 later (in reply to RCPT TO command)" in c.log()


@pytest.mark.parametrize("answers,status,dsn,text", [
    ({("x.test", MX): "nx", ("x.test", A): "nx", ("x.test", AAAA): "nx"}, BOUNCED, "5.4.4",
     "Host or domain name not found. Name service error for name=x.test type=AAAA: Host not found"),
    ({("x.test", MX): "fail"}, DEFERRED, "4.4.3",
     "Host or domain name not found. Name service error for name=x.test type=MX: Host not found, try again"),
    ({("x.test", MX): [b"\0\0\0"]}, BOUNCED, "5.1.0", "Domain x.test does not accept mail (nullMX)"),
    ({("x.test", MX): [mx(10, "me.test"), mx(20, "o.test")], ("me.test", A): [ip("127.0.0.9")],
      ("o.test", A): [ip("127.0.0.1")]}, BOUNCED, "5.4.6", "mail for x.test loops back to myself")])
def test_destinations_that_cannot_be(client, answers, status, dsn, text):
    """RFC 5321 section 5.1, RFC 7505."""
    c = client(peers=dns(answers))
    assert c.deliver("x.test")[0][:3] == (status, dsn, text)


def test_fallback_relay(client):
    s = Server()
    c = client(peers=dns({("x.test", MX): "fail"}), main_cf="smtp_fallback_relay = [127.0.0.1]:%d\n" % s.port)
    assert c.deliver("x.test")[0][0] == PASSED


def test_generic_maps(client):
    """generic(5): envelope and address headers."""
    s = Server()
    c = client(main_cf="smtp_generic_maps = inline:{a@example.org=world@example.com}\n")
    c.deliver(at(s), content=b"From: \"A\" <a@example.org> (c)\nTo: b@example.net,\n a@example.org\n\na@example.org\n")
    assert s.lines[1].startswith("MAIL FROM:<world@example.com>")
    assert s.messages[0] == (b"From: \"A\" <world@example.com> (c)\r\nTo: b@example.net, world@example.com\r\n\r\n"
                             b"a@example.org\r\n")


def test_many_deliveries_at_once(client):
    """One process serves many requests: 200 in flight."""
    s, c = Server(), client()
    for i in range(200):
        c.send(at(s), MESSAGE, ("b%d@example.net" % i,), flags=REUSE)
    for i in range(200):
        assert c.result()[0][0] == PASSED
    assert len(s.messages) == 200 and c.d.proc.poll() is None
