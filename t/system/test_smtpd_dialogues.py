"""smtpd(8) beside Debian's: dialogues of AUTH, STARTTLS, BDAT, XCLIENT and XFORWARD, line ends, limits. Replies and log lines must be the same, byte for
byte, but for queue ids. Not asked, for ours is otherwise on purpose: data that comes with success in AUTH (ours sends it), a failure of
the authentication server for now (454 in ours), commands in clear text behind STARTTLS (refused in ours)."""
import pytest

from beside import NEEDS, Beside, differences, log_differences
from fakeauth import AuthServer, b64
from instance import make_certificates

pytestmark = NEEDS

MAIN = {
    "myhostname": "mail.example.test", "mydomain": "example.test", "mydestination": "localhost, mail.example.test", "mynetworks": "192.0.2.0/28", "relay_domains": "relay.test",
    "compatibility_level": "3.6", "local_recipient_maps": "inline:{ bob=x, ann=x }", "alias_maps": "", "alias_database": "", "smtputf8_enable": "yes",
    "smtpd_authorized_xclient_hosts": "127.0.0.1", "smtpd_authorized_xforward_hosts": "127.0.0.1", "smtpd_error_sleep_time": "0",
    "smtpd_hard_error_limit": "1000", "smtpd_junk_command_limit": "1000", "smtpd_peername_lookup": "no", "inet_protocols": "all", "message_size_limit": "100000",
    "defer_transports": "local, smtp", "smtpd_relay_restrictions": "permit_sasl_authenticated, reject_unauth_destination", "mail_name": "Postfix",
    "smtpd_forbid_unauth_pipelining": "yes", "smtpd_forbid_bare_newline": "normalize", "smtpd_client_connection_count_limit": "0",
    "smtpd_sasl_type": "dovecot", "smtpd_tls_security_level": "none", "smtpd_sasl_security_options": "noanonymous",
}
H, M, R, D = "EHLO client.test", "MAIL FROM:<a@good.test>", "RCPT TO:<bob@localhost>", "DATA"
END = ("raw", b".\r\n")
AUTH = {"smtpd_sasl_auth_enable": "yes"}
COUNTED = {"smtpd_client_event_limit_exceptions": "", "smtpd_authorized_xclient_hosts": ""}
TLS = {"smtpd_tls_security_level": "may"}
PLAIN = "AUTH PLAIN " + b64("\0good\0pass")


def msg(body):
    return [H, M, R, D, ("raw", body)]


BODIES = [b"a\r\n.\r\n", b"a\nb\r\n.\r\n", b"a\n.\r\n\r\n.\r\n", b"a\r\n.\n\r\n.\r\n", b"a\n.\n\r\n.\r\n", b"a\rb\r\n.\r\n", b"a\r.\r\n\r\n.\r\n", b"a\r\r\n.\r\n",
          b"a\r\n.\r\r\n\r\n.\r\n", b"..a\r\n.b\r\n.\r\n", b"a\0b\r\n.\r\n", b"\r\n.\r\n", b".\r\n", b"a: b\n c\r\n\n\r\n.\r\n", b"a\r\n\r.\r\n.\r\n"]
BARE = [msg(b) for b in BODIES] + [[("raw", b"EHLO x\n"), M], [H, ("raw", b"NOOP\n"), "NOOP"], [H, ("raw", b"NOOP\r\r\n"), "NOOP"], [H, ("raw", b"MAIL FROM:<a@good.test>\r\nRCPT TO:<bob@localhost>\n", 2), "RSET"],
                                    [H, M, R, ("raw", b"BDAT 4\r\na\nb\n"), ("raw", b"BDAT 0 LAST\r\n")], [H, M, R, ("raw", b"BDAT 5 LAST\r\na\r\nb\n")]]


LENIENT = [d for d in BARE if d != msg(BODIES[8])]  # CR CR LF is no line end, also there


def bare(mode, **kw):
    return {"smtpd_forbid_bare_newline": mode, **{("smtpd_forbid_bare_newline_" + k): v for k, v in kw.items()}}


# name: (settings, dialogues)
CASES = {
    "auth": (AUTH, [
        [PLAIN, H, PLAIN, M, "RCPT TO:<x@far.test>"],
        [H, "AUTH", "AUTH ", "AUTH x y z", "AUTH FOO", "AUTH FOO bar", "AUTH PLAIN !", "AUTH PLAIN " + b64("\0good\0wrong"), "AUTH plain " + b64("\0good\0pass"), PLAIN,
         H, M, "RCPT TO:<x@far.test>", "RSET", "QUIT"],
        ["HELO x", PLAIN, "NOOP"],
        [H, M, PLAIN, "RSET", PLAIN],
        [H, "AUTH PLAIN", "*", "AUTH PLAIN", b64("\0good\0pass")],
        [H, "AUTH PLAIN", "", "AUTH PLAIN =", "AUTH PLAIN", "not base64", "AUTH PLAIN", b64("\0bad\0bad")],
        [H, "AUTH LOGIN", b64("good"), b64("pass"), "AUTH LOGIN"],
        [H, "AUTH LOGIN " + b64("good"), b64("pass")],
        [H, "AUTH LOGIN", b64("good"), b64("wrong"), "AUTH LOGIN", "*", "AUTH LOGIN", b64("good"), "*"],
        [H, "AUTH LOGIN", "%%%", "AUTH LOGIN", b64("good"), "%"],
        [H, "AUTH CRAM-MD5", b64("good 0123"), "AUTH CRAM-MD5 " + b64("x")],
        [H, "AUTH ANONYMOUS " + b64("x"), "AUTH SECRET " + b64("x")],
        [H, "AUTH SCRIPT " + b64("more one"), b64("more two"), b64("ok somebody"), M, "RCPT TO:<x@far.test>"],
        [H, "AUTH SCRIPT " + b64("fail user=u1"), "AUTH SCRIPT " + b64("fail user=u1;reason=locked until noon"), "AUTH SCRIPT " + b64("fail authz"), "AUTH SCRIPT " + b64("fail user=u1;code=temp_fail"), "AUTH SCRIPT " + b64("fail reason=;user=x")],
        [H, "AUTH SCRIPT " + b64("fail user=\u00fcx")],
        [H, "AUTH SCRIPT " + b64("ok we\u00fcrd"), M, R],
        [H, "AUTH PLAIN", ("raw", b"A" * 13000 + b"\r\n"), "NOOP"],
        [H, ("raw", b"AUTH LOGIN\r\n" + b64("good").encode() + b"\r\n", 2), b64("pass")],
        [H, "AUTH  PLAIN   " + b64("\0good\0pass")],
        [H, "XCLIENT LOGIN=tester", H, PLAIN, "XCLIENT LOGIN=[UNAVAILABLE]", H, PLAIN],
    ]),
    "authbroken": ({**AUTH, "broken_sasl_auth_clients": "yes"}, [[H, "HELO x", PLAIN]]),
    "noauth": ({}, [[PLAIN, H, PLAIN, "AUTH", "MAIL FROM:<a@good.test> AUTH=<>"]]),
    "authexcept": ({**AUTH, "smtpd_sasl_exceptions_networks": "127.0.0.1"}, [[H, PLAIN, "MAIL FROM:<a@good.test> AUTH=<>"], ["XCLIENT ADDR=192.0.2.77", H, PLAIN]]),
    "authdiscard": ({**AUTH, "smtpd_discard_ehlo_keywords": "auth"}, [[H, PLAIN, "MAIL FROM:<a@good.test> AUTH=<>"]]),
    "authplainforbidden": ({**AUTH, **TLS, "smtpd_sasl_security_options": "noanonymous, noplaintext", "smtpd_sasl_tls_security_options": "noanonymous"}, [
        [H, PLAIN, "AUTH CRAM-MD5", "*", "STARTTLS", ("tls",), H, PLAIN]]),
    "authtls": ({**AUTH, **TLS, "smtpd_tls_auth_only": "yes"}, [[PLAIN, H, PLAIN, "AUTH", "MAIL FROM:<a@good.test> AUTH=<>", "RSET", "STARTTLS", ("tls",), PLAIN, H, PLAIN, "STARTTLS"]]),
    "authlimit": ({**AUTH, "smtpd_sasl_response_limit": "12400"}, [[H, "AUTH PLAIN", "A" * 12288, "AUTH PLAIN", "A" * 12404, "AUTH LOGIN", b64("good"), b64("pass")]]),
    "authfilter": ({**AUTH, "smtpd_sasl_mechanism_filter": "!login, static:rest"}, [[H, PLAIN]]),
    "authheader": ({**AUTH, "smtpd_sasl_authenticated_header": "yes"}, [[H, PLAIN, M, R, "MAIL FROM:<b@good.test>", D, END, "MAIL FROM:<b@good.test> AUTH=a+40b"]]),
    "starttls": (TLS, [
        ["STARTTLS", ("tls",), H], ["HELO x", "STARTTLS", ("tls",), M],
        [H, "STARTTLS x", "STARTTLS", ("tls",), "NOOP", M, H, "STARTTLS", M, R, D, END],
        [H, M, "STARTTLS", ("tls",), R, "EHLO y", M],
        [H, "STARTTLS", ("raw", b"NOOP\r\n")],
        [H, "starttls", ("tls",), "XCLIENT ADDR=192.0.2.7", H, "STARTTLS"],
    ]),
    "notls": ({}, [[H, "STARTTLS", "STARTTLS x"]]),
    "discardtls": ({**TLS, "smtpd_discard_ehlo_keywords": "starttls"}, [[H, "STARTTLS", "NOOP"]]),
    "encrypt": ({"smtpd_tls_security_level": "encrypt"}, [
        [M, H, M, R, D, "RSET", "VRFY bob", "ETRN x", "AUTH PLAIN", "BDAT 0 LAST", "FOO", "NOOP", "HELO x", M, "XFORWARD NAME=x", "QUIT"],
        [H, "STARTTLS", ("tls",), H, M, R, D, END, "QUIT"],
        ["XCLIENT ADDR=192.0.2.7", M, H]]),
    "wrapped": ({"smtpd_tls_wrappermode": "yes", "smtpd_tls_security_level": "encrypt", **AUTH}, [[H, "STARTTLS", PLAIN, M, "QUIT"]]),
    "tlsreq": ({"smtpd_tls_security_level": "encrypt", "smtpd_tls_req_ccert": "yes", "smtpd_tls_CAfile": "<certs>/ca.pem"}, [[H, "STARTTLS", ("tls",), H, M]]),
    "bdat": ({}, [
        [H, M, R, ("raw", b"BDAT 3\r\na\r\n"), ("raw", b"BDAT 3 LAST\r\nb\r\n"), "QUIT"],
        [H, M, R, "BDAT 0 LAST"], [H, M, R, "BDAT 0", "BDAT 0 last"], [H, M, R, ("raw", b"BDAT 3 LAST\r\nabc")],
        [H, ("raw", b"BDAT 3 LAST\r\nabc"), "NOOP", M], [H, M, ("raw", b"BDAT 3\r\nabc"), ("raw", b"BDAT 2 LAST\r\nde"), M, "RSET", M, R],
        [H, M, R, "BDAT"], [H, M, R, "BDAT x"], [H, M, R, "BDAT 1 FIRST"], [H, M, R, "BDAT 1 LAST x"], [H, M, R, "BDAT -1"], [H, M, R, "BDAT 99999999999999999999"],
        [H, M, R, ("raw", b"BDAT 2\r\nab"), R, M, D, "VRFY bob", "NOOP", "STARTTLS", "HELO x", M], [H, M, R, D, END, ("raw", b"BDAT 1 LAST\r\nx")],
        [H, M, R, ("raw", b"BDAT 2\r\nab"), "RSET", M, R, ("raw", b"BDAT 1 LAST\r\nx")],
        [H, M, R, ("raw", b"BDAT 100001 LAST\r\n" + b"x" * 100001),  "RSET", M],
        [H, M, R, ("raw", b"BDAT 60000\r\n" + b"x" * 60000), ("raw", b"BDAT 60000 LAST\r\n" + b"x" * 60000), "RSET"],
        [H, M, "RCPT TO:<no@localhost>", ("raw", b"BDAT 3 LAST\r\nabc")],
        [H, ("raw", b"MAIL FROM:<a@good.test>\r\nRCPT TO:<bob@localhost>\r\nBDAT 3\r\na\r\nBDAT 0 LAST\r\n", 4)],
        ["HELO x", M, R, ("raw", b"BDAT 3 LAST\r\nabc")],
        [H, ("raw", b"BDAT 3\r\nabc"), R, M, D, "DATA x", ("raw", b"BDAT 2 LAST\r\nde"), M, R], ["BDAT 0", "BDAT 0", M, "RSET", M, "BDAT 0", R, M, D, "BDAT 0", ("raw", b"BDAT 1\r\nx"), "BDAT 0 LAST", M, R],
        [H, M, ("raw", b"BDAT 3\r\nabc"), "XCLIENT NAME=x.test", "XFORWARD NAME=x.test", "ETRN relay.test", "XCLIENT x", "AUTH x", R, M, D, ("raw", b"BDAT 1\r\nx"), H, M, R],
        [H, ("raw", b"BDAT 3\r\nabc"), "XCLIENT NAME=x.test", H, M, R], [H, M, R, ("raw", b"BDAT 3\r\nabc"), "EHLO"],
    ]),
    "paths": ({}, [
        [H, M, "RCPT TO:<a b@x> FOO", "RCPT TO:<a..b@[1.2.3]> NOTIFY=x", "RCPT TO:a@[x]> ORCPT=x", "RCPT TO: <a b@x>  NOTIFY=NEVER", R], [H, "MAIL FROM:<<a b@[x]>>", "MAIL FROM: a@[x] RET=FULL", "MAIL FROM: <a@[x]> \t RET=FULL  ", "MAIL FROM:<a@[x]>"],
        [H, M, "RCPT TO:<x@[::1]>", "RCPT TO:<x@[IPv6:::1]>", "RCPT TO:<x@[IPv6:1.2.3.4]>", "RCPT TO:<x@[ipv6:2001:db8::5]>"], [H, "VRFY x@\u00e9.test", "VRFY x@\u00e9.test SMTPUTF8", "VRFY bob@localhost"],
        [H, "MAIL FROM:<a@good.test> SIZE=99999999999999999999", "MAIL FROM:<a@good.test> ENVID=" + "x" * 101, "RSET", M, "RCPT TO:<bob@localhost> ORCPT=rfc822;" + "a" * 600],
        ["XCLIENT NAME=25", "XCLIENT NAME=1.2.3.4", "XCLIENT REVERSE_NAME=999", "XFORWARD NAME=25", "XFORWARD IDENT=ABC", H, M, R, "RSET", "XFORWARD IDENT=[UNAVAILABLE]", M, R],
    ]),
    "helounknown": ({"smtpd_delay_reject": "no", "smtpd_helo_restrictions": "reject_unknown_helo_hostname"}, [["HELO x;y", "HELO 1.2", "HELO (x)", "EHLO #5", "HELO 1.2.3.4", "HELO 5", "HELO \u00e9.x", "HELO a..b"]]),
    "helonow": ({"smtpd_delay_reject": "no", "smtpd_helo_restrictions": "reject_invalid_helo_hostname"}, [
        ["EHLO [::1]", "HELO 1.2", "HELO 127.0.0.1", "HELO 1.2.3.4.", "HELO 5", "EHLO [IPv6:::1]", "EHLO a..b"], [H, M, "EHLO a..b", M, "HELO -x", R, D, END, "EHLO 1.2", M], ["EHLO a..b", M, "RSET", H, "EHLO a..b", M, R],
    ]),
    "xclient": ({}, [
        ["XCLIENT", "XCLIENT ", "XCLIENT x", "XCLIENT =x", "XCLIENT NAME=", "XCLIENT FOO=1", "XCLIENT NAME=a..b", "XCLIENT NAME=a b", "XCLIENT ADDR=x", "XCLIENT ADDR=1.2.3", "XCLIENT PORT=x",
         "XCLIENT PROTO=FOO", "XCLIENT HELO=", "XCLIENT DESTADDR=x", "XCLIENT DESTPORT=x", "XCLIENT NAME=+40", "XCLIENT REVERSE_NAME=-a"], ["XCLIENT HELO=a+3db=c LOGIN=b=x+2by", H, M, "RCPT TO:<x@far.test>"],
        ["XCLIENT NAME=host.test ADDR=192.0.2.99 PORT=77 PROTO=ESMTP HELO=me.test", "NOOP", M, "RCPT TO:<x@far.test>"],
        ["XCLIENT PROTO=SMTP HELO=me.test", M, "RCPT TO:<x@far.test>"],
        [H, "XCLIENT ADDR=192.0.2.99", M, "RCPT TO:<x@far.test>", "RSET", "XCLIENT NAME=y.test", "EHLO z", M, "RCPT TO:<x@far.test>"],
        [H, M, "XCLIENT NAME=x.test"], ["XCLIENT ADDR=IPV6:2001:db8::1", H, M, "RCPT TO:<x@far.test>"], ["XCLIENT ADDR=2001:db8::1"],
        ["XCLIENT ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL] PORT=[UNAVAILABLE] HELO=[UNAVAILABLE]", H, M, "RCPT TO:<x@far.test>"],
        ["XCLIENT name=x.test addr=192.0.2.5", H], ["XCLIENT NAME=x.test FOO=bar", H, M, "RCPT TO:<x@far.test>"],
        ["XCLIENT LOGIN=tester", H, M, "RCPT TO:<x@far.test>"], ["XCLIENT LOGIN=te+20st", H, M, "RCPT TO:<x@far.test>"],
        ["XCLIENT HELO=a+20b", M, "RCPT TO:<x@far.test>"], ["XCLIENT PROTO=[UNAVAILABLE]"],
        ["XCLIENT DESTADDR=::1", "XCLIENT DESTADDR=IPv6:::1", "XCLIENT DESTADDR=[192.0.2.1]", "XCLIENT ADDR=[192.0.2.1]"],
    ]),
    "xforward": ({"smtpd_sasl_auth_enable": "no"}, [
        ["XFORWARD", "XFORWARD x", "XFORWARD FOO=1", "XFORWARD NAME=a..b", "XFORWARD ADDR=x", "XFORWARD PORT=x", "XFORWARD PROTO=FOO", "XFORWARD HELO=x", "XFORWARD IDENT=A1B2C3D4E5", "XFORWARD SOURCE=x",
         "XFORWARD SOURCE=LOCAL", "XFORWARD NAME="],
        [H, "XFORWARD NAME=spike.test ADDR=168.100.189.2 PORT=1234 PROTO=ESMTP", "XFORWARD HELO=spike.test IDENT=ABCDEF0123 SOURCE=REMOTE", M, R, D, END, M, R],
        [H, "XFORWARD NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] HELO=[UNAVAILABLE] IDENT=[UNAVAILABLE]", M, R], [H, M, "XFORWARD NAME=x"],
        [H, "XFORWARD NAME=one.test", M, "RSET", M, R], [H, "XFORWARD IDENT=" + "A" * 300], [H, "XFORWARD PROTO=SMTP NAME=[TEMPUNAVAIL]", M, R],
        ["XCLIENT ADDR=192.0.2.7", H, "XFORWARD NAME=x.test", M, R],
        [H, "XFORWARD ADDR=2001:db8::1", "XFORWARD ADDR=[192.0.2.1]", "XFORWARD NAME=x.test ADDR=IPv6:2001:db8::1 IDENT=a+3Eb+20c HELO=+3Cx+3E", M, R],
    ]),
    "strangers": ({"smtpd_authorized_xclient_hosts": "", "smtpd_authorized_xforward_hosts": ""}, [["XCLIENT NAME=x", "XFORWARD NAME=x", "XCLIENT", "XFORWARD", H]]),
    "bareyes": (bare("yes"), BARE), "barenormalize": (bare("normalize"), BARE), "barereject": (bare("reject"), BARE),
    "bareno": (bare("no"), LENIENT), "bareexcept": (bare("reject", exclusions="127.0.0.0/8"), LENIENT), "barecode": (bare("reject", reject_code="521"), BARE[:6] + BARE[-6:]),
    "pipes": ({"smtpd_forbid_unauth_pipelining": "yes"}, [
        [("raw", b"EHLO x\r\nNOOP\r\n", 2), "NOOP"], [("raw", b"HELO x\r\nMAIL FROM:<a@good.test>\r\n", 2), "NOOP"], [H, ("raw", b"NOOP\r\nNOOP\r\n", 2)], ["HELO x", ("raw", b"MAIL FROM:<a@good.test>\r\nRCPT TO:<bob@localhost>\r\n", 2)],
        [H, ("raw", b"MAIL FROM:<a@good.test>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n", 3), ("raw", b".\r\nQUIT\r\n", 2)], [H, ("raw", b"MAIL FROM:<a@good.test>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\nx\r\n.\r\n", 3)],
        [H, M, R, ("raw", b"DATA\r\na\\\tb\xff\r\n.\r\n", 2)], [H, ("raw", b"RSET\r\nRSET\r\nQUIT\r\n", 3)], [H, ("raw", b"VRFY bob\r\nNOOP\r\n", 2)], [H, ("raw", b"QUIT\r\nNOOP\r\n", 2)], [H, ("raw", b"FOO\r\nNOOP\r\n", 2)]]),
    "nopipes": ({"smtpd_forbid_unauth_pipelining": "no"}, [
        [("raw", b"EHLO x\r\nNOOP\r\n", 2), "NOOP"], [("raw", b"HELO x\r\nMAIL FROM:<a@good.test>\r\n", 2), "NOOP"], ["HELO x", ("raw", b"MAIL FROM:<a@good.test>\r\nRCPT TO:<bob@localhost>\r\n", 2)],
        [H, ("raw", b"MAIL FROM:<a@good.test>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\nx\r\n.\r\n", 4)]]),
    "rcpts": ({"smtpd_recipient_limit": "2", "smtpd_recipient_overshoot_limit": "2", "smtpd_hard_error_limit": "3"}, [
        [H, M, R, "RCPT TO:<ann@localhost>", R, R, R, R, R, D], [H, M, R, R, R, D, END, M, R], [H, M, R, R, R, R, D, END, "NOOP"]]),
    "errors": ({"smtpd_hard_error_limit": "3", "smtpd_soft_error_limit": "2", "smtpd_error_sleep_time": "0"}, [["FOO", H, "FOO", "FOO", "NOOP"], [H, M, R, "FOO", "FOO", D, END, "FOO", "FOO", "FOO"], ["RSET", "VRFY", "ETRN", "MAIL", "RCPT"]]),
    "junk": ({"smtpd_junk_command_limit": "2", "smtpd_hard_error_limit": "3"}, [["NOOP"] * 8, [H, "RSET", "NOOP", M, R, D, END, *["RSET"] * 8], [H] * 8, ["VRFY bob"] * 8]),
    "rates": ({"smtpd_client_connection_rate_limit": "0", "smtpd_client_message_rate_limit": "2", "smtpd_client_recipient_rate_limit": "3", **COUNTED}, [
        [H, M, R, "RSET", M, R, R, R, "RSET", M, M, R], [H, M]]),
    "ratesx": ({"smtpd_client_message_rate_limit": "1", "smtpd_client_event_limit_exceptions": ""}, [[H, M, "RSET", M, "RSET", M, "RSET", "XCLIENT ADDR=192.0.2.33", H, M, "RSET", M, M]]),
    "authrates": ({**AUTH, "smtpd_client_auth_rate_limit": "2", **COUNTED}, [[H, "AUTH FOO", "AUTH PLAIN " + b64("\0x\0y"), PLAIN, PLAIN, "AUTH"]]),
    "tlsrates": ({**TLS, "smtpd_client_new_tls_session_rate_limit": "1", **COUNTED}, [[H, "STARTTLS", ("tls",), H]] * 2 + [[H, "STARTTLS", M, "NOOP"]]),
    "connections": ({"smtpd_client_connection_rate_limit": "3", **COUNTED}, [["NOOP"], ["NOOP"], ["NOOP"], ["NOOP"]]),
    "discards": ({"smtpd_discard_ehlo_keywords": "pipelining size vrfy etrn starttls auth xclient xforward", **TLS, **AUTH}, [[H, "HELO x"]]),
    "discards2": ({"smtpd_discard_ehlo_keywords": "8bitmime dsn chunking", **TLS, **AUTH}, [[H, "HELO x"]]),
    "permits": ({"smtpd_log_access_permit_actions": "static:all", "smtpd_client_restrictions": "permit_mynetworks", "smtpd_helo_restrictions": "check_helo_access inline:{ client.test=OK }",
                 "smtpd_sender_restrictions": "check_sender_access inline:{ a@good.test=OK, b@good.test=permit_mynetworks }", "smtpd_data_restrictions": "permit",
                 "smtpd_end_of_data_restrictions": "permit"}, [["XCLIENT ADDR=192.0.2.5", H, M, R, D, END, "MAIL FROM:<b@good.test>", R], [H, M, R, "VRFY bob"], ["HELO other.test", M, R]]),
    "permits2": ({**AUTH, "smtpd_log_access_permit_actions": "permit_mynetworks, check_recipient_access, permit_sasl_authenticated", "smtpd_client_restrictions": "permit_mynetworks",
                  "smtpd_recipient_restrictions": "permit_inet_interfaces, check_recipient_access inline:{ bob@localhost=OK, ann@localhost=200 }, permit_auth_destination, reject"},
                 [["XCLIENT ADDR=192.0.2.5", H, M, R, "RCPT TO:<ann@localhost>"], [H, PLAIN, M, R]]),
    "permits3": ({"smtpd_log_access_permit_actions": "static:all", "smtpd_recipient_restrictions": "permit_auth_destination, reject", "smtpd_relay_restrictions": "permit_mx_backup, permit_inet_interfaces, reject",
                  "smtpd_etrn_restrictions": "permit", "smtpd_delay_reject": "no", "smtpd_client_restrictions": "permit_sasl_authenticated", "smtpd_helo_restrictions": "permit_inet_interfaces"},
                 [[H, M, R, "ETRN relay.test"]]),
    "delayopen": ({"smtpd_delay_open_until_valid_rcpt": "no"}, [[H, M, "RCPT TO:<no@localhost>", R, "RSET", M, D, "RSET", "MAIL FROM:<b@good.test> SIZE=9999999"], [H, PLAIN, "XFORWARD NAME=x.test ADDR=1.2.3.4", M]]),
    "helos": ({}, [["EHLO x", "HELO y", M, "RCPT TO:<no@localhost>"], ["HELO y", M, "EHLO x", "RCPT TO:<no@localhost>", M, "RCPT TO:<no@localhost>"]]),
}

DEBUGGED = ["127.0.0.1", "127.0.0.0/8", "!127.0.0.1, 127.0.0.0/8", "127.0.0.0/30, 192.0.2.0/24", "unknown", "!unknown, static:all", "client.test", "static:all", "inline:{127.0.0.1=x}", "$mynetworks", "192.0.2.9", "", "<certs>/peers"]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    certs = tmp_path_factory.mktemp("certs")
    make_certificates(str(certs))
    auth = AuthServer()
    main = {**MAIN, "smtpd_sasl_path": f"inet:127.0.0.1:{auth.port}", "smtpd_tls_cert_file": f"{certs}/cert.pem", "smtpd_tls_key_file": f"{certs}/key.pem"}
    (certs / "peers").write_text("10.0.0.0/8\n127.0.0.1\n")
    services = {"debugged": {**AUTH, "debug_peer_list": "127.0.0.1"}}
    services |= {"debug " + v: {"debug_peer_list": v.replace("<certs>", str(certs)), "debug_peer_level": str(1 + n % 3)} for n, v in enumerate(DEBUGGED)}
    services |= {name: {k: v.replace("<certs>", str(certs)) for k, v in opts.items()} for name, (opts, _) in CASES.items()}
    with Beside(main, services) as b:
        yield b
    auth.stop()


@pytest.mark.parametrize("case", list(CASES))
def test_dialogues_are_those_of_debian(both, case):
    wrong = []
    for n, d in enumerate(CASES[case][1]):
        (theirs, their_log), (ours, our_log) = both.run(case, d, wrapped=case == "wrapped")
        wrong += differences(f"{case} {n}", d, theirs, ours)
        wrong += log_differences(f"{case} {n}", their_log, our_log)
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("value", DEBUGGED)
def test_same_peers_are_debugged(both, value):
    """debug_peer_list: whose dialogue is logged; debug_peer_level, whatever it is, has no other one here. After XCLIENT the
    client counts that it names, in Postfix the one that is connected."""
    theirs, ours = ([l.rstrip() for l in log if l[:2] in ("> ", "< ")] for _, log in both.run("debug " + value, [H, M, "NOOP x"]))
    assert ours == theirs


def test_sessions_of_debug_peers_are_in_the_log(both):
    """debug_peer_list: every line, but no secret."""
    ours = both.sides[1]
    replies, log = ours.run("debugged", [H, "AUTH PLAIN " + b64("\0good\0wrong"), "XCLIENT ADDR=192.0.2.9", "NOOP"])
    assert replies[2].startswith("535 ")
    for line in ("> unknown[127.0.0.1]: 220 mail.example.test ESMTP Postfix", f"< unknown[127.0.0.1]: {H}", "> unknown[127.0.0.1]: 250-PIPELINING",
                 "< unknown[127.0.0.1]: AUTH PLAIN "):
        assert any(l.rstrip() == line.rstrip() for l in log), (line, log)
    assert not any("NOOP" in l and l.startswith("<") for l in log)  # the other address is not listed
    assert b64("\0good\0wrong") not in "".join(log)
