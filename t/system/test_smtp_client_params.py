"""Parameters of smtp(8) and lmtp(8) that change what is sent, or what becomes of an answer."""
import base64
import socket

import pytest

from fakesmtp import EHLO, Server
from test_smtp_client import A, AAAA, BOUNCED, DEFERRED, EXPANDED, MX, RELAYED, SENT, at, client, dns, ip, mx  # noqa: F401

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
    assert c.deliver(at(s), content=MULTI)[0][0] == EXPANDED, c.log()
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
    assert c.deliver(at(s), content=MULTI)[0][0] == EXPANDED, c.log()
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
    assert c.deliver(at(s))[0][0] in (RELAYED, EXPANDED)
    assert s.lines[0] == verb + " mx.example.org"


def test_login_parameters(client):
    """smtp_sasl_password_result_delimiter, smtp_send_dummy_mail_auth, send_cyrus_sasl_authzid."""
    s = Server(keywords=EHLO + ["AUTH PLAIN"], AUTH="235 2.7.0 ok")
    c = client(main_cf="smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\nsmtp_send_dummy_mail_auth = yes\n"
               "smtp_sasl_password_result_delimiter = |\nsend_cyrus_sasl_authzid = yes\nsmtp_sasl_password_maps = inline:{127.0.0.1=us:er|pass}\n")
    assert c.deliver(at(s))[0][0] == EXPANDED, c.log()
    auth = [x for x in s.lines if x.startswith("AUTH ")][0].split()
    assert base64.b64decode(auth[2]) == b"us:er\0us:er\0pass"
    assert any(x.startswith("MAIL FROM:<a@example.org>") and " AUTH=<>" in x for x in s.lines)


@pytest.mark.parametrize("peers,told", [("127.0.0.0/8", True), ("example.com, !127.0.0.1", False)])
def test_debug_peer_list(client, peers, told):
    """The dialogue with a server of debug_peer_list is logged, but not what logs in."""
    s = Server(keywords=EHLO + ["AUTH PLAIN"], AUTH="235 2.7.0 ok")
    c = client(main_cf=f"debug_peer_list = {peers}\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\n"
               "smtp_sasl_password_maps = inline:{127.0.0.1=user:hidden}\n")
    assert c.deliver(at(s))[0][0] == EXPANDED, c.log()
    for line in ("< 127.0.0.1[127.0.0.1]: 220 ", "> 127.0.0.1[127.0.0.1]: EHLO mx.example.org", "> 127.0.0.1[127.0.0.1]: MAIL FROM:<a@example.org>"):
        assert (line in c.log()) == told, c.log()
    assert base64.b64encode(b"\0user\0hidden").decode() not in c.log()


def test_no_dummy_auth_without_login(client):
    s = Server(keywords=EHLO + ["AUTH PLAIN"])
    c = client(main_cf="smtp_send_dummy_mail_auth = yes\n")
    c.deliver(at(s))
    assert not any("AUTH=" in x for x in s.lines)


@pytest.mark.parametrize("enforce,status", [("yes", DEFERRED), ("no", EXPANDED)])
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
    assert c.deliver("x.test:%d" % s.port)[0][0] == EXPANDED


def test_defer_if_no_mx_address_found(client):
    answers = dns({("x.test", MX): [mx(10, "a.test")], ("a.test", A): "nx", ("a.test", AAAA): "nx"})
    c = client(peers=answers, main_cf="smtp_defer_if_no_mx_address_found = yes\n")
    assert c.deliver("x.test")[0][:2] == (DEFERRED, "4.4.4")


@pytest.mark.parametrize("balance,status", [("yes", EXPANDED), ("no", DEFERRED)])
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
@pytest.mark.parametrize("reply,status,dsn", [("354 go", (RELAYED, EXPANDED), "2.0.0"), ("550 5.7.1 no", (BOUNCED,), "5.7.1")])
def test_probe_up_to_data(client, keywords, reply, status, dsn):
    """smtp_address_verify_target: the reply to DATA decides, and no message arises."""
    s = Server(keywords=keywords, DATA=reply)
    c = client(main_cf="smtp_address_verify_target = data\n")
    r = c.deliver(at(s), flags=1)
    assert r[0][0] in status and r[0][1] == dsn and s.messages == [], c.log()
