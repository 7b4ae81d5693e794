"""Parameters of smtp(8) and lmtp(8) that change what is sent, or what becomes of an answer."""
import base64
import re
import socket
import ssl
import struct
import subprocess
import time

import pytest

from fakemaster import Reader, span
from fakesmtp import EHLO, Server, context
from instance import make_certificates, until
from test_smtp_client import A, AAAA, BOUNCED, DEFERRED, PASSED, MX, RELAYED, SENT, at, client, dns, ip, mx  # noqa: F401

MULTI = (b"From: a@example.org\nSubject: top\nX-Gone: 1\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
         b"--b\nContent-Type: text/plain; name=x.exe\n\nsecret one\nplain\n"
         b"--b\nContent-Type: message/rfc822\n\nSubject: inner\nX-Gone: 2\n\nsecret two\n--b--\n")


def wire(text):
    return text.replace(b"\n", b"\r\n")


def test_header_checks(client):
    """header_checks(5) at delivery: the copy that leaves changes, and the log tells; attached headers have a table of their own."""
    s = Server()
    c = client(main_cf="smtp_header_checks = regexp:{{/^X-Gone:/ IGNORE} {/^Subject:/ REPLACE Subject: new}"
               " {/^From:/ PREPEND X-New: yes} {/^MIME-V/ WARN seen} {/^Content-/ REJECT no}}\n")
    assert c.deliver(at(s), content=MULTI)[0][0] == PASSED, c.log()
    want = MULTI.replace(b"From:", b"X-New: yes\nFrom:", 1).replace(b"Subject: top", b"Subject: new").replace(b"X-Gone: 1\n", b"")
    assert s.messages == [wire(want)]
    for line in ("ABCDEF0123: replace: header Subject: top: Subject: new", "ABCDEF0123: prepend: header From: a@example.org: X-New: yes",
                 "ABCDEF0123: warning: header MIME-Version: 1.0: seen", "unsupported command in header checks at delivery: REJECT no"):
        assert line in c.log()


def test_checks_of_parts_and_bodies(client):
    """Headers of parts, of attached messages, and lines of bodies, each with its own table; then smtp_generic_maps."""
    s = Server()
    c = client(main_cf="smtp_mime_header_checks = regexp:{{/name=x.exe/ REPLACE Content-Type: text/plain} {/^Subject/ IGNORE}}\n"
               "smtp_nested_header_checks = regexp:{{/^X-Gone:/ STRIP}}\n"
               "smtp_body_checks = regexp:{{/^secret one/ REPLACE hidden} {/^secret two/ IGNORE}}\n"
               "smtp_generic_maps = inline:{a@example.org=world@example.com}\n")
    assert c.deliver(at(s), content=MULTI)[0][0] == PASSED, c.log()
    want = MULTI.replace(b"; name=x.exe", b"").replace(b"X-Gone: 2\n", b"").replace(b"secret one", b"hidden")
    want = want.replace(b"secret two\n", b"").replace(b"a@example.org", b"world@example.com")
    assert s.messages == [wire(want)]
    assert "ABCDEF0123: strip: header X-Gone: 2" in c.log()


def test_body_checks_size_limit(client):
    s = Server()
    c = client(main_cf="smtp_body_checks = regexp:{{/^x/ IGNORE}}\nbody_checks_size_limit = 10\n")
    c.deliver(at(s), content=b"Subject: y\n\nx2345678\nx2345678\nx2345678\n")
    assert s.messages == [b"Subject: y\r\n\r\nx2345678\r\n"]


def test_table_of_checks_that_fails_defers(client):
    s = Server()
    c = client(main_cf="smtp_header_checks = fail:always\n")
    assert c.deliver(at(s))[0][:2] == (DEFERRED, "4.3.0") and s.messages == []


def test_reply_filter(client):
    """smtp_reply_filter sees every line, the greeting's and EHLO's included, and decides code and status."""
    s = Server(**{"RCPT TO:<b@example.net>": "550 5.7.1 come back later"})
    c = client(main_cf="smtp_reply_filter = regexp:{{/^550 5.7.1 (come back.*)/ 450 4.7.1 $$1} {/^250-PIPELINING/ 250-X}}\n")
    r = c.deliver(at(s))
    assert r[0][:2] == (DEFERRED, "4.7.1") and "said: 450 4.7.1 come back later (in reply to RCPT" in r[0][2]
    assert not any("DATA" in x for x in s.lines)  # without PIPELINING it is not sent ahead


@pytest.mark.parametrize("rule,reply,status,dsn", [
    ("/^5.1.1 .*full/ 4.2.2 mailbox full", "550 5.1.1 full", DEFERRED, "4.2.2"),
    ("/^4.2.0 .*never/ 5.7.1 never", "450 4.2.0 never", BOUNCED, "5.7.1"),
    ("/^5.1.1 / 2.0.0 fine", "550 5.1.1 full", BOUNCED, "5.1.1")])
def test_delivery_status_filter(client, rule, reply, status, dsn):
    """A failure may change its class, but never becomes a success."""
    s = Server(RCPT=reply)
    c = client(main_cf="smtp_delivery_status_filter = regexp:{{%s}}\n" % rule)
    assert c.deliver(at(s))[0][:2] == (status, dsn)
    assert "dsn=%s, status=%s (" % (dsn, {DEFERRED: "deferred", BOUNCED: "bounced"}[status]) in c.log()


@pytest.mark.parametrize("greeting,setting,verb", [
    ("220 x ESMTP", "smtp_never_send_ehlo = yes", "HELO"), ("220 x SMTP", "smtp_always_send_ehlo = no", "HELO"),
    ("220 x esmtp", "smtp_always_send_ehlo = no", "EHLO"), ("220 x SMTP", "", "EHLO")])
def test_which_hello(client, greeting, setting, verb):
    s = Server(GREETING=greeting)
    c = client(main_cf=setting + "\n")
    assert c.deliver(at(s))[0][0] in (RELAYED, PASSED)
    assert s.lines[0] == verb + " mx.example.org"


def test_login_parameters(client):
    """smtp_sasl_password_result_delimiter, smtp_send_dummy_mail_auth, send_cyrus_sasl_authzid."""
    s = Server(keywords=EHLO + ["AUTH PLAIN"], AUTH="235 2.7.0 ok")
    c = client(main_cf="smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\nsmtp_send_dummy_mail_auth = yes\n"
               "smtp_sasl_password_result_delimiter = |\nsend_cyrus_sasl_authzid = yes\nsmtp_sasl_password_maps = inline:{127.0.0.1=us:er|pass}\n")
    assert c.deliver(at(s))[0][0] == PASSED, c.log()
    auth = [x for x in s.lines if x.startswith("AUTH ")][0].split()
    assert base64.b64decode(auth[2]) == b"us:er\0us:er\0pass"
    assert any(x.startswith("MAIL FROM:<a@example.org>") and " AUTH=<>" in x for x in s.lines)


def test_authzid(client):
    """send_cyrus_sasl_authzid: RFC 4616 section 2, the identity to act as."""
    s = Server(keywords=EHLO + ["AUTH PLAIN"], AUTH="235 2.7.0 ok")
    c = client(main_cf="smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\nsend_cyrus_sasl_authzid = yes\n"
               "smtp_sasl_password_maps = static:user:pass\n")
    c.deliver(at(s))
    auth = [x for x in s.lines if x.startswith("AUTH ")][0].split()
    assert base64.b64decode(auth[2]) == b"user\0user\0pass"


def test_other_sites_are_not_for_an_mx(client):
    """A domain that this host is an MX of has better MX hosts or nobody: no other destination, no fall-back relay."""
    s = Server()
    answers = dns({("x.test", MX): [mx(10, "me.test")], ("me.test", A): [ip("127.0.0.9")], ("me.test", AAAA): "nx"})
    c = client(peers=answers, main_cf="smtp_fallback_relay = [127.0.0.1]:%d\n" % s.port)
    assert c.deliver("x.test")[0][:2] == (BOUNCED, "5.4.6") and s.sessions == 0


@pytest.mark.parametrize("peers,told", [("127.0.0.0/8", True), ("example.com, !127.0.0.1", False)])
def test_debug_peer_list(client, peers, told):
    """The dialogue with a server of debug_peer_list is logged, but not what logs in."""
    s = Server(keywords=EHLO + ["AUTH PLAIN"], AUTH="235 2.7.0 ok")
    c = client(main_cf=f"debug_peer_list = {peers}\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\n"
               "smtp_sasl_password_maps = inline:{127.0.0.1=user:hidden}\n")
    assert c.deliver(at(s))[0][0] == PASSED, c.log()
    for line in ("< 127.0.0.1[127.0.0.1]: 220 ", "> 127.0.0.1[127.0.0.1]: EHLO mx.example.org", "> 127.0.0.1[127.0.0.1]: MAIL FROM:<a@example.org>"):
        assert (line in c.log()) == told, c.log()
    assert base64.b64encode(b"\0user\0hidden").decode() not in c.log()


def test_no_dummy_auth_without_login(client):
    s = Server(keywords=EHLO + ["AUTH PLAIN"])
    c = client(main_cf="smtp_send_dummy_mail_auth = yes\n")
    c.deliver(at(s))
    assert not any("AUTH=" in x for x in s.lines)


@pytest.mark.parametrize("enforce,status", [("yes", DEFERRED), ("no", PASSED)])
def test_bind_address_enforce(client, enforce, status):
    s = Server()
    c = client(main_cf="smtp_bind_address = 192.0.2.77\nsmtp_bind_address_enforce = %s\n" % enforce)
    assert c.deliver(at(s))[0][0] == status
    assert "cannot use source address 192.0.2.77" in c.log()


def test_lmtp_assume_final(client):
    s = Server(keywords=[], lmtp=True, BODY=["250 2.0.0 ok"])
    c = client(program="lmtp", main_cf="lmtp_assume_final = yes\n")
    assert c.deliver("inet:127.0.0.1:%d" % s.port)[0][0] == SENT


def test_ignore_mx_lookup_error(client):
    s = Server()
    answers = dns({("x.test", MX): "fail", ("x.test", A): [ip("127.0.0.1")], ("x.test", AAAA): "nx"})
    c = client(peers=answers, main_cf="ignore_mx_lookup_error = yes\n")
    assert c.deliver("x.test:%d" % s.port)[0][0] == PASSED


def test_defer_if_no_mx_address_found(client):
    answers = dns({("x.test", MX): [mx(10, "a.test")], ("a.test", A): "nx", ("a.test", AAAA): "nx"})
    c = client(peers=answers, main_cf="smtp_defer_if_no_mx_address_found = yes\n")
    assert c.deliver("x.test")[0][:2] == (DEFERRED, "4.4.4")


@pytest.mark.parametrize("balance,status", [("yes", PASSED), ("no", DEFERRED)])
def test_balance_inet_protocols(client, balance, status):
    """Five addresses that nobody answers at and a limit of five: the sixth, of the other family, is tried all the same."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    s = Server()
    dead = [socket.inet_pton(socket.AF_INET6, "::1")] * 5
    answers = dns({("x.test", MX): [mx(10, "a.test")], ("a.test", A): [ip("127.0.0.1")], ("a.test", AAAA): dead})
    c = client(peers=answers, main_cf="smtp_balance_inet_protocols = %s\nsmtp_address_preference = ipv6\ninet_protocols = all\n"
               "smtp_mx_address_limit = 5\n" % balance)
    assert c.deliver("x.test:%d" % s.port)[0][0] == status, c.log()


@pytest.mark.parametrize("keywords", [EHLO, []])
@pytest.mark.parametrize("reply,status,dsn", [("354 go", (RELAYED, PASSED), "2.0.0"), ("550 5.7.1 no", (BOUNCED,), "5.7.1")])
def test_probe_up_to_data(client, keywords, reply, status, dsn):
    """smtp_address_verify_target: the reply to DATA decides, and no message arises."""
    s = Server(keywords=keywords, DATA=reply)
    c = client(main_cf="smtp_address_verify_target = data\n")
    r = c.deliver(at(s), flags=1)
    assert r[0][0] in status and r[0][1] == dsn and s.messages == [], c.log()


def test_port_names(client):
    """known_tcp_ports: in next hops, and nothing else is guessed."""
    s = Server()
    c = client(main_cf="known_tcp_ports = mine=yours=%d\n" % s.port)
    assert c.deliver("[127.0.0.1]:yours")[0][0] == PASSED
    assert c.deliver("[127.0.0.1]:theirs")[0][:2] == (DEFERRED, "4.3.5")


def test_dns_reply_filter(client):
    """Records of a table are as if they were not there; when none is left the mail waits."""
    s = Server()
    answers = dns({("x.test", MX): [mx(10, "bad.test"), mx(20, "good.test")], ("bad.test", A): [ip("127.0.0.3")],
                   ("good.test", A): [ip("127.0.0.1")], ("y.test", MX): [mx(10, "bad.test")]})
    c = client(peers=answers, main_cf="inet_protocols = ipv4\n"
               "smtp_dns_reply_filter = regexp:{{/^[xy].test. 60 IN MX 10 bad.test.$$/ IGNORE} {/. IN A 192.0.2/ DROP}}\n")
    assert c.deliver("x.test:%d" % s.port)[0][6] == "good.test[127.0.0.1]:%d" % s.port
    assert "ignoring DNS RR: x.test. 60 IN MX 10 bad.test." in c.log()
    assert c.deliver("y.test")[0][:3] == (
        DEFERRED, "4.7.0", "Error looking up name=y.test type=MX: DNS reply filter drops all results")


@pytest.mark.parametrize("options,status", [("", BOUNCED), ("res_dnsrch", PASSED), ("res_defnames", PASSED)])
def test_dns_resolver_options(client, monkeypatch, options, status):
    """The search list of resolv.conf(5), here that of LOCALDOMAIN."""
    s = Server()
    monkeypatch.setenv("LOCALDOMAIN", "near.test far.test")
    answers = dns({("host", MX): "nx", ("host", A): "nx", ("host.near.test", MX): [mx(10, "a.test")], ("a.test", A): [ip("127.0.0.1")]})
    c = client(peers=answers, main_cf="inet_protocols = ipv4\nsmtp_dns_resolver_options = %s\n" % options)
    assert c.deliver("host:%d" % s.port)[0][0] == status, c.log()


@pytest.mark.parametrize("yes,path", [("yes", '<"a b"@example.net>'), ("no", "<a b@example.net>")])
def test_quote_rfc821_envelope(client, yes, path):
    s = Server()
    c = client(main_cf="smtp_quote_rfc821_envelope = %s\n" % yes)
    c.deliver(at(s), rcpts=('"a b"@example.net',))
    assert s.lines[2].split(" ORCPT=")[0] == "RCPT TO:" + path


@pytest.mark.parametrize("yes,status", [("yes", DEFERRED), ("no", PASSED)])
def test_per_request_deadline(client, yes, status):
    """A reply that comes line by line, each in time, but not all of them."""
    def slowly(server, conn, line):
        for _ in range(3):
            conn.sendall(b"250-x\r\n")
            time.sleep(1.2)
        return "250 ok"
    s = Server(MAIL=slowly)
    c = client(main_cf="smtp_mail_timeout = 3s\nsmtp_per_request_deadline = %s\n" % yes)
    assert c.deliver(at(s))[0][0] == status


def test_min_data_rate(client, tmp_path):
    """A server that reads too slowly for smtp_min_data_rate, but never stops."""
    def slow(server, conn, line):
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        conn.sendall(b"354 go\r\n")
        for _ in range(100):
            if not conn.recv(1000):
                break
            time.sleep(0.2)
        return None
    s = Server(DATA=slow, keywords=[])
    c = client(main_cf="smtp_data_xfer_timeout = 2s\nsmtp_per_request_deadline = yes\nsmtp_min_data_rate = 1000000\n")
    (tmp_path / "large").write_bytes(b"Subject: x\n\n" + (b"y" * 76 + b"\n") * 200000)
    with open(tmp_path / "large", "rb") as f:
        c.send(at(s), b"", ("b@example.net",), fd=f.fileno())
        r = c.result()
    assert r[0][0] == DEFERRED and "timed out while sending message body" in r[0][2], r


@pytest.mark.parametrize("level,said,server", [
    ("encrypt", ", tls=encrypt, dsn=2.0.0, status=sent", {"keywords": EHLO + ["STARTTLS"]}),
    ("may", ", tls=may, dsn=2.0.0, status=sent", {"keywords": EHLO + ["STARTTLS"]}),
    ("may", ", tls=may:none, dsn=2.0.0, status=sent", {}),
    ("may", ", tls=may:none, dsn=2.0.0, status=sent", {"keywords": EHLO + ["STARTTLS"], "STARTTLS": "454 4.7.0 no"}),
    ("may", ", tls=may?, dsn=4.3.2, status=deferred", {"GREETING": "421 4.3.2 busy"}),
    ("encrypt", ", tls=encrypt?, dsn=4.3.2, status=deferred", {"GREETING": "421 4.3.2 busy"}),
    ("encrypt", ", tls=encrypt, dsn=4.7.4, status=deferred", {}),
    ("none", ", delays=[^,]*, dsn=2.0.0, status=sent", {"keywords": EHLO + ["STARTTLS"]})])
def test_tls_level_in_the_log(client, tmp_path, level, said, server):
    """smtp_log_tls_feature_status: the level, whether it was settled, and what became of it."""
    tls, _, _ = context(str(tmp_path))
    s = Server(**{"tls": tls, **server})
    c = client(main_cf="smtp_log_tls_feature_status = yes\nsmtp_tls_security_level = %s\n" % level)
    c.deliver(at(s))
    assert re.search(said.replace("?", r"\?"), c.log()), c.log()


def sessions(table):
    """A stand-in for tlsmgr(8) that keeps sessions, and has no certificates."""
    def serve(kind, body):
        r = Reader(body)
        if kind != 73:
            return struct.pack("<HQ", 454, 0) + span("") + span("none")
        op, key, session = r.num("H"), r.span(), r.span()
        if op == 1:
            return span(table.get(key, b""))
        table.update({key: session} if op == 2 else {key: b""})
        return span("")
    return {"tlsmgr": serve}


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("cache,reused", [("btree:/var/lib/x/scache", True), ("", False)])
def test_tls_session_cache(client, tmp_path, version, cache, reused):
    """smtp_tls_session_cache_database: the second connection resumes the session of the first, and one to another server does not."""
    tls, _, _ = context(str(tmp_path))
    s, other = Server(keywords=EHLO + ["STARTTLS"], tls=tls), Server(keywords=EHLO + ["STARTTLS"], tls=tls)
    table = {}
    c = client(peers=sessions(table), main_cf="smtp_tls_security_level = encrypt\nsmtp_tls_mandatory_protocols = %s\n"
               "smtp_tls_session_cache_database = %s\n" % (version, cache))
    for server in (s, s, other):
        assert c.deliver(at(server))[0][0] == PASSED, c.log()
        until = time.monotonic() + 20
        while reused and len(table) < (1 if server is s else 2) and time.monotonic() < until:
            time.sleep(0.02)
    told = re.findall(r"TLS connection (\w+) to 127.0.0.1.127.0.0.1.:(\d+): %s" % version, c.log())
    assert told == [("established", str(s.port)), ("reused" if reused else "established", str(s.port)), ("established", str(other.port))]
    assert len(table) == (2 if reused else 0)


def test_tls_session_that_is_none(client, tmp_path):
    """What tlsmgr gives is not believed: a full handshake follows."""
    tls, _, _ = context(str(tmp_path))
    s = Server(keywords=EHLO + ["STARTTLS"], tls=tls)

    class All(dict):
        def get(self, key, default=None):
            return b"no session"
    c = client(peers=sessions(All()), main_cf="smtp_tls_security_level = encrypt\nsmtp_tls_session_cache_database = btree:/x\n")
    assert c.deliver(at(s))[0][0] == PASSED and "TLS connection established" in c.log(), c.log()


def test_cname_overrides_servername(client):
    s = Server()
    answers = dns({("a.test", A): [ip("127.0.0.1")]})
    c = client(peers=answers, main_cf="inet_protocols = ipv4\nsmtp_cname_overrides_servername = yes\n")
    assert c.deliver("[a.test]:%d" % s.port)[0][6] == "a.test[127.0.0.1]:%d" % s.port


def test_pix_workarounds(client):
    """A greeting of asterisks: HELO, and a pause before the dot once the message has waited for some time."""
    s = Server(GREETING="220 ***************")
    c = client(main_cf="smtp_pix_workaround_delay_time = 2s\nsmtp_pix_workaround_threshold_time = 100s\n"
               "smtp_pix_workaround_maps = inline:{127.0.0.7=delay_dotcrlf}\n")
    assert c.deliver(at(s))[0][0] in (RELAYED, PASSED) and s.lines[0].startswith("HELO")
    assert "ABCDEF0123: enabling PIX workarounds: disable_esmtp for 127.0.0.1[127.0.0.1]:%d" % s.port in c.log()
    began = time.monotonic()
    c.deliver(at(s), arrival=int((time.time() - 1000) * 1e6))
    assert time.monotonic() - began >= 2
    assert ": enabling PIX workarounds: disable_esmtp delay_dotcrlf for " in c.log()
    other = Server(GREETING="220 ***************", host="127.0.0.7")
    c.deliver("[127.0.0.7]:%d" % other.port)
    assert other.lines[0].startswith("EHLO")


MAP_LOOKUP, MAP_UPDATE = 60, 61


def writer(table):
    """A stand-in for proxywrite(8)."""
    def serve(kind, body):
        r = Reader(body)
        name, key = r.span().decode(), r.span().decode()
        assert name == "btree:/cache"
        if kind == MAP_UPDATE:
            table[key] = r.span()
        return struct.pack("<H", 0 if key in table else 1) + span(table.get(key, b""))
    return serve


def test_sasl_auth_cache(client):
    """What a server refused with 535 is not tried again with the same password; the table holds no password."""
    table = {}
    s = Server(keywords=EHLO + ["AUTH PLAIN"], AUTH="535 5.7.8 wrong")
    c = client(peers={"proxywrite": writer(table)}, main_cf="smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\n"
               "smtp_sasl_password_maps = static:user:secret\nsmtp_sasl_auth_cache_name = proxy:btree:/cache\n")
    first, second = c.deliver(at(s))[0], c.deliver(at(s))[0]
    assert first[:2] == second[:2] == (DEFERRED, "4.7.8")
    assert second[2] == "SASL [CACHED] authentication failed; server 127.0.0.1[127.0.0.1] said: 535 5.7.8 wrong"
    assert len([x for x in s.lines if x.startswith("AUTH")]) == 1
    assert list(table) == ["127.0.0.1;user"] and b"secret" not in table["127.0.0.1;user"]
    when, rest = table["127.0.0.1;user"].split(b" ", 1)
    table["127.0.0.1;user"] = b"%d %s" % (int(when) - 91 * 86400, rest)  # smtp_sasl_auth_cache_time
    c.deliver(at(s))
    assert len([x for x in s.lines if x.startswith("AUTH")]) == 2


SRV = 33


def srv(pref, weight, port, name):
    return struct.pack(">HHH", pref, weight, port) + b"".join(bytes([len(x)]) + x.encode() for x in name.split(".") if x) + b"\0"


def test_use_srv_lookup(client):
    """RFC 2782: the least priority first, the record's own port; next hops in brackets have no SRV look-up."""
    s = Server()
    gone = Server()
    gone.refuse()
    answers = dns({("_submission._tcp.x.test", SRV): [srv(20, 5, s.port, "b.test"), srv(10, 5, gone.port, "a.test")],
                   ("a.test", A): [ip("127.0.0.1")], ("b.test", A): [ip("127.0.0.1")],
                   ("_submission._tcp.none.test", SRV): [srv(0, 0, 0, "")], ("_submission._tcp.nx.test", SRV): "nx",
                   ("_submission._tcp.fail.test", SRV): "fail"})
    c = client(peers=answers, main_cf="inet_protocols = ipv4\nuse_srv_lookup = submission\n")
    assert c.deliver("x.test:submission")[0][6] == "b.test[127.0.0.1]:%d" % s.port, c.log()
    assert "connect to a.test[127.0.0.1]:%d: Connection refused" % gone.port in c.log()
    assert c.deliver("none.test:submission")[0][:2] == (BOUNCED, "5.4.4")
    assert c.deliver("nx.test:submission")[0][:2] == (BOUNCED, "5.4.4")
    assert c.deliver("fail.test:submission")[0][:2] == (DEFERRED, "4.4.3")


def test_srv_fallback(client):
    """allow_srv_lookup_fallback, ignore_srv_lookup_error: as if there were no SRV."""
    s = Server()
    answers = dns({("_mine._tcp.nx.test", SRV): "nx", ("_mine._tcp.fail.test", SRV): "fail",
                   ("nx.test", MX): [mx(1, "a.test")], ("fail.test", MX): [mx(1, "a.test")], ("a.test", A): [ip("127.0.0.1")]})
    c = client(peers=answers, main_cf="inet_protocols = ipv4\nuse_srv_lookup = mine\nknown_tcp_ports = mine=%d\n"
               "allow_srv_lookup_fallback = yes\nignore_srv_lookup_error = yes\n" % s.port)
    assert c.deliver("nx.test:mine")[0][0] == PASSED
    assert c.deliver("fail.test:mine")[0][0] == PASSED


def test_transcript_for_the_postmaster(client):
    """notify_classes: a reply that tells of a protocol fault, and no password of a log-in."""
    mails = []

    def cleanup(kind, body):
        r = Reader(body)
        r.span()
        mails.append(r.span().decode())
        return struct.pack("<H", 0) + span("") + span("")
    s = Server(keywords=EHLO + ["AUTH PLAIN"], AUTH="235 2.7.0 ok", MAIL="501 5.5.4 bad syntax")
    c = client(peers={"cleanup": cleanup}, main_cf="notify_classes = protocol\nsmtp_sasl_auth_enable = yes\n"
               "smtp_sasl_security_options = noanonymous\nsmtp_sasl_password_maps = static:user:secret\n")
    assert c.deliver(at(s))[0][:2] == (BOUNCED, "5.5.4")
    c.deliver(at(s), sender="double-bounce@mx.example.org")  # a notice, about which there is none
    good = Server()
    c.deliver(at(good))
    assert until(lambda: mails)
    time.sleep(0.3)
    assert len(mails) == 1
    where = "127.0.0.1[127.0.0.1]:%d" % s.port
    assert "SMTP client: errors from %s\n" % where in mails[0] and "Unexpected response from %s." % where in mails[0]
    assert " Out: MAIL FROM:<a@example.org>" in mails[0] and " In:  501 5.5.4 bad syntax\n" in mails[0]
    assert " Out: AUTH PLAIN\n" in mails[0].replace("PLAIN \n", "PLAIN\n")
    assert base64.b64encode(b"\0user\0secret").decode() not in mails[0]


def test_transcripts_of_the_asked_class_only(client):
    def cleanup(kind, body):
        raise AssertionError
    s = Server(MAIL="501 5.5.4 bad syntax")
    c = client(peers={"cleanup": cleanup}, main_cf="notify_classes = resource, software\n")
    c.deliver(at(s))
    assert "postmaster notification" not in c.log()


@pytest.mark.parametrize("pattern,enforce,hosts", [
    ("mx_host_pattern=*.other.test mx_host_pattern=Fake.example", "yes", ["fake.example"]), ("mx_host_pattern=.example", "yes", ["fake.example"]),
    ("mx_host_pattern=*.mx.test", "yes", ["a.mx.test"]), ("mx_host_pattern=*.test mx_host_pattern=example", "yes", []),
    ("mx_host_pattern=*.other.test", "no", ["a.mx.test", "fake.example"]), ("", "yes", ["a.mx.test", "fake.example"])])
def test_sts_patterns(client, tmp_path, pattern, enforce, hosts):
    """RFC 8461 section 5: with policy_type=sts no session with an MX host that fits no pattern, and a certificate of that host's own, not what match= says."""
    tls, cert, _ = context(str(tmp_path))
    a = Server(keywords=EHLO + ["STARTTLS"], tls=tls)
    b = Server(keywords=EHLO + ["STARTTLS"], tls=tls, host="127.0.0.2", port=a.port)
    answers = dns({("x.test", MX): [mx(10, "a.mx.test"), mx(20, "fake.example")], ("a.mx.test", A): [ip("127.0.0.1")], ("fake.example", A): [ip("127.0.0.2")]})
    c = client(peers=answers, main_cf="inet_protocols = ipv4\nsmtp_tls_CAfile = %s\nsmtp_tls_enforce_sts_mx_patterns = %s\n" % (cert, enforce) +
               "smtp_tls_policy_maps = inline:{ { x.test:%d = secure match=x.test:mail.x.test servername=hostname policy_type=sts policy_domain=x.test "
               "policy_ttl=60 { policy_string = version: STSv1 } { policy_string = mode: enforce } %s } }\n" % (a.port, pattern))
    r = c.deliver("x.test:%d" % a.port)
    assert [n for n, s in (("a.mx.test", a), ("fake.example", b)) if s.sessions] == hosts, c.log()
    if hosts == ["fake.example"]:  # though match= has other names
        assert r[0][0] == PASSED and "Verified TLS connection" in c.log(), c.log()
    else:
        assert r[0][:2] == (DEFERRED, "4.7.5"), c.log()
    assert ("matches no pattern of the domain's STS policy" in c.log()) == (len(hosts) < 2)


@pytest.mark.parametrize("block", ["no", "yes"])
def test_early_replies_under_tls(client, tmp_path, block):
    """smtp_tls_block_early_mail_reply: what comes behind the reply to EHLO was asked for by somebody else (CVE-2009-3555)."""
    tls, _, _ = context(str(tmp_path))

    def ehlo(server, c, line):
        if isinstance(c, ssl.SSLSocket):
            return "250 fake.example\r\n250 2.1.0 sender\r\n250 2.1.5 recipient\r\n354 go"
        return "250-fake.example\r\n250 STARTTLS"
    s = Server(keywords=EHLO + ["STARTTLS"], tls=tls, EHLO=ehlo)
    c = client(main_cf="smtp_tls_security_level = encrypt\nsmtp_tls_block_early_mail_reply = %s\n" % block)
    r = c.deliver(at(s))
    if block == "yes":
        assert r[0][:2] == (DEFERRED, "4.7.0") and not any(l.startswith("MAIL") for l in s.lines), c.log()
        assert "replies under TLS to commands that were not sent" in c.log()
    else:
        assert any(l.startswith("MAIL") for l in s.lines), c.log()


@pytest.mark.parametrize("secure,tlsa,keywords,dsn", [
    (False, [b"\x03\x01\x01" + bytes(32)], EHLO, "2.0.0"), (True, "nx", EHLO, "2.0.0"), (True, [b"\x03\x01\x01" + bytes(32)], EHLO, "4.7.4"),
    (True, "fail", EHLO, "4.7.4"), (True, [b"\x03\x01\x01" + bytes(32)], EHLO + ["STARTTLS"], "2.0.0")])
def test_level_dane(client, tmp_path, secure, tlsa, keywords, dsn):
    """A host with TLSA records in a signed zone has to speak TLS; all others are as with "may"."""
    tls, _, _ = context(str(tmp_path))
    s = Server(keywords=keywords, tls=tls)
    answers = dns({("a.test", A): [ip("127.0.0.1")], ("_%d._tcp.a.test" % s.port, 52): tlsa}, secure)
    c = client(peers=answers, main_cf="inet_protocols = ipv4\nsmtp_tls_security_level = dane\n")
    assert c.deliver("[a.test]:%d" % s.port)[0][1] == dsn, c.log()


@pytest.mark.parametrize("trusted,verified", [("ca.pem", True), ("ca.pub", True), ("other/ca.pem other/ca.pub, ca.pub", True), ("other/ca.pem, other/ca.pub", False), ("", False)])
def test_trust_anchor_file(client, tmp_path, trusted, verified):
    """smtp_tls_trust_anchor_file: certificates and keys that the chain has to lead to; the authorities of smtp_tls_CAfile do not count then."""
    made = {}
    for where in ("", "other"):
        made[where] = make_certificates(str(tmp_path / where))
        key = subprocess.run(["openssl", "x509", "-in", made[where][0], "-noout", "-pubkey"], check=True, capture_output=True).stdout
        (tmp_path / where / "ca.pub").write_bytes(key)
    t = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    t.load_cert_chain(*made[""][1:])
    s = Server(keywords=EHLO + ["STARTTLS"], tls=t)
    files = re.sub(r"[\w/.]+", lambda m: f"{tmp_path}/{m[0]}", trusted)
    c = client(main_cf="smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = mail.example.test\nsmtp_tls_CAfile = %s\n"
               "smtp_tls_trust_anchor_file = %s\n" % (made["" if "other" in trusted else "other"][0], files))
    r = c.deliver(at(s))
    assert (r[0][0] == PASSED) == verified and ("Verified TLS connection" in c.log()) == verified, c.log()
