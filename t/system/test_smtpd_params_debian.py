"""smtpd(8) beside Debian's, parameter by parameter: reply codes, older names of restrictions, macros, client certificates, PROXY headers, time limits, and what
the header of a message says of its client. Replies and log lines must be the same, byte for byte, but for queue ids and ports."""
import hashlib
import os
import re
import shutil
import ssl
import time

import pytest

from beside import NEEDS, Beside, Talk, differences, log_differences
from fakeauth import AuthServer, b64
from fakesmtp import Server as Sink
from instance import make_certificates

pytestmark = NEEDS

RECORDS = """
host-record=good.test,192.0.2.11
host-record=9.2.0.192.bl.test,127.0.0.4
host-record=8.2.0.192.bl.test,127.0.0.9
host-record=7.2.0.192.bl.test,127.0.1.14
txt-record=9.2.0.192.bl.test,listed for $(cause)
host-record=good.test.rhs.test,127.0.0.2
txt-record=good.test.rhs.test,the domain
""".strip().splitlines()

MAIN = {
    "myhostname": "mail.example.test", "mydomain": "example.test", "mydestination": "localhost, mail.example.test", "mynetworks": "192.0.2.0/28", "relay_domains": "relay.test, sink.test",
    "compatibility_level": "3.6", "alias_maps": "", "alias_database": "", "local_recipient_maps": "inline:{ bob=x, ann=x }", "relay_recipient_maps": "inline:{ ok@relay.test=x, @sink.test=x }",
    "virtual_alias_domains": "alias.test", "virtual_alias_maps": "inline:{ a@alias.test=bob@localhost }", "virtual_mailbox_domains": "box.test",
    "virtual_mailbox_maps": "inline:{ v@box.test=v/ }", "smtpd_error_sleep_time": "0", "smtpd_hard_error_limit": "1000", "smtpd_junk_command_limit": "1000",
    "smtpd_authorized_xclient_hosts": "127.0.0.1", "smtpd_authorized_xforward_hosts": "127.0.0.1", "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    "recipient_delimiter": "+", "smtpd_peername_lookup": "no", "inet_protocols": "all", "mail_name": "Postfix", "biff": "no", "message_size_limit": "100000",
    "smtpd_forbid_unauth_pipelining": "yes", "smtpd_forbid_bare_newline": "normalize", "smtpd_client_connection_count_limit": "0", "smtpd_tls_security_level": "none",
    "smtpd_sasl_type": "dovecot", "smtpd_sasl_security_options": "noanonymous", "smtputf8_enable": "yes", "defer_transports": "local, relay, virtual",
    "smtpd_restriction_classes": "soft, outer, inner, listed", "listed": "check_recipient_access texthash:<certs>/listed", "soft": "warn_if_reject reject_non_fqdn_sender, defer_if_permit", "outer": "inner, permit", "inner": "check_sender_access inline:{ a@good.test=outer2 }",
    "transport_maps": "inline:{ sink.test=smtp:[127.0.0.1]:<sink> }", "smtp_tls_security_level": "none",
}
H, M, R, D = "EHLO client.test", "MAIL FROM:<a@good.test>", "RCPT TO:<bob@localhost>", "DATA"
END, WAIT = ("raw", b".\r\n"), ("raw", b"")  # WAIT: what the server says by itself
TLS = {"smtpd_tls_security_level": "may"}
AUTH = {"smtpd_sasl_auth_enable": "yes"}
PLAIN = "AUTH PLAIN " + b64("\0good\0pass")
CCERT = {**TLS, "smtpd_tls_ask_ccert": "yes", "smtpd_tls_CAfile": "<certs>/ca.pem", "smtpd_tls_fingerprint_digest": "sha256", "smtpd_tls_loglevel": "1"}
SAID = ["STARTTLS", ("tls",), H]
SHOWN = ["STARTTLS", ("tls", "cert"), H]
STRANGE = ["STARTTLS", ("tls", "other"), H]
HELOS = ["client.test", "a_b.test", "single", "[1.2.3]", "a..b", "nx.test"]
EVERYONE = ["bob@localhost", "no@localhost", "ok@relay.test", "no@relay.test", "a@alias.test", "no@alias.test", "v@box.test", "no@box.test", "x@far.test", "short"]


def r(**kw):
    return {("smtpd_" + k + "_restrictions"): v for k, v in kw.items()}


def mail(sender="a@good.test", *rcpts, x=None, helo="client.test", then=()):
    return [*([f"XCLIENT {x}"] if x else []), f"EHLO {helo}", f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{a}>" for a in rcpts or ("bob@localhost",)), *then]


CODES = {"access_map_reject_code": "521", "access_map_defer_code": "451", "invalid_hostname_reject_code": "450", "non_fqdn_reject_code": "550", "unknown_hostname_reject_code": "554",
         "multi_recipient_bounce_reject_code": "451", "plaintext_reject_code": "550", "relay_domains_reject_code": "550", "reject_code": "550", "defer_code": "451", "unknown_address_reject_code": "554",
         "unknown_local_recipient_reject_code": "450", "unknown_relay_recipient_reject_code": "450", "unknown_virtual_alias_reject_code": "451", "unknown_virtual_mailbox_reject_code": "452",
         "maps_rbl_reject_code": "521"}
MACROS = ("client=$client name=$client_name addr=$client_address port=${client_port?set} helo=$helo_name rcpt=$recipient rn=$recipient_name rd=$recipient_domain rev=$reverse_client_name "
          "from=$sender sn=$sender_name sd=$sender_domain")
LOGINS = "inline:{ { own@good.test = good, other }, { alien@good.test = other }, { @dom.test = good } }"
PROXIED = {"smtpd_upstream_proxy_protocol": "haproxy", "smtpd_upstream_proxy_timeout": "2s"}
V2 = b"\r\n\r\n\0\r\nQUIT\n"
V2_4 = bytes([192, 0, 2, 9, 192, 0, 2, 10, 4, 210, 0, 25])
V2_6 = bytes.fromhex("20010db8000000000000000000000001" "20010db8000000000000000000000002" "04d20019")

# name: (settings, dialogues)
CASES = {
    "codes": ({**CODES, **r(helo="reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname, reject_unknown_helo_hostname")}, [mail(helo=h) for h in HELOS]),
    "codesaccess": ({**CODES, **r(sender="check_sender_access inline:{ {r@x.test=REJECT}, {r2@x.test=REJECT no}, {d@x.test=DEFER}, {d2@x.test=DEFER wait}, {p@x.test=DEFER_IF_PERMIT}, {q@x.test=DEFER_IF_REJECT} }, "
                                         "reject_non_fqdn_sender, reject_unknown_sender_domain", recipient="reject_non_fqdn_recipient")},
                    [mail(f"{a}@x.test", "bob@localhost", "x@far.test") for a in ("r", "r2", "d", "d2", "p", "q")] + [mail("short"), mail("a@nx.test"), mail("a@good.test", *EVERYONE)]),
    "codesrcpt": (CODES, [mail("a@good.test", *EVERYONE), mail("a@good.test", *EVERYONE, x="ADDR=192.0.2.5"), [H, *("VRFY " + a for a in EVERYONE)]]),
    "codesmulti": ({**CODES, **r(data="reject_multi_recipient_bounce")}, [mail("", "bob@localhost", "ann@localhost", then=[D])]),
    "codesreject": ({**CODES, **r(client="reject_plaintext_session")}, [mail()]),
    "codesreject2": ({**CODES, **r(recipient="check_recipient_access inline:{ ann@localhost=OK }, defer")}, [mail("a@good.test", "ann@localhost", "bob@localhost")]),
    "codesreject3": ({**CODES, **r(recipient="check_recipient_access inline:{ ann@localhost=OK }, reject"), "soft_bounce": "yes"}, [mail("a@good.test", "ann@localhost", "bob@localhost", "x@far.test", then=["FOO"])]),
    "codesrbl": ({**CODES, **r(client="reject_rbl_client bl.test", sender="reject_rhsbl_sender rhs.test")}, [mail(x="ADDR=192.0.2.9"), mail()]),
    "tempfail": ({"unknown_address_tempfail_action": "defer", "unknown_helo_hostname_tempfail_action": "defer", "reject_tempfail_action": "defer",
                  **r(helo="reject_unknown_helo_hostname", sender="reject_unknown_sender_domain", recipient="permit_mynetworks, reject")}, [mail(), mail("a@nx.test", helo="good.test")]),
    "older": (r(helo="reject_invalid_hostname, reject_non_fqdn_hostname, reject_unknown_hostname", sender="reject_unknown_address"), [mail(helo=h) for h in HELOS] + [mail("a@nx.test", helo="good.test")]),
    "older2": (r(client="reject_unknown_client", recipient="check_relay_domains"), [mail("a@good.test", *EVERYONE, x="ADDR=198.51.100.1 NAME=[UNAVAILABLE]"), mail("a@good.test", *EVERYONE, x="ADDR=198.51.100.1 NAME=c.test")]),
    "older3": (r(recipient="check_recipient_maps, permit_auth_destination, reject"), [mail("a@good.test", *EVERYONE, x="ADDR=192.0.2.5")]),
    "early": (r(data="reject_unauth_pipelining", client="reject_unauth_pipelining"), [mail(then=[D, END])]),
    "classes": (r(sender="soft", recipient="permit_mynetworks, reject"), [mail(), mail("short"), mail(x="ADDR=192.0.2.5"), mail("short", x="ADDR=192.0.2.5")]),
    "classes3": (r(recipient="check_sender_access inline:{ a@good.test=listed }, permit_mynetworks, reject_unauth_destination"), [mail(), mail("b@good.test")]),
    "classes2": (r(sender="outer"), [mail(), mail("b@good.test")]),
    "warnings": (r(client="warn_if_reject reject_rbl_client bl.test", helo="warn_if_reject reject_invalid_helo_hostname", sender="warn_if_reject reject_unknown_sender_domain, warn_if_reject defer",
                   recipient="warn_if_reject reject_unauth_destination, warn_if_reject reject, warn_if_reject defer_if_permit, permit_mynetworks, reject", data="warn_if_reject defer", end_of_data="warn_if_reject reject"),
                 [mail("a@nx.test", "bob@localhost", "x@far.test", x="ADDR=192.0.2.9", helo="a..b", then=[D, END])]),
    "defers": (r(client="defer_if_reject", sender="reject_non_fqdn_sender"), [mail("short"), mail()]),
    "defers2": (r(helo="check_helo_access inline:{ client.test={DEFER_IF_PERMIT first} }", sender="check_sender_access inline:{ a@good.test={DEFER_IF_PERMIT second} }",
                  recipient="check_recipient_access inline:{ ann@localhost={REJECT third}, bob@localhost=OK }, permit_mynetworks, reject"), [mail("a@good.test", "bob@localhost", "ann@localhost", "no@localhost")]),
    "defers3": ({**r(helo="check_helo_access inline:{ client.test={DEFER_IF_PERMIT first} }", sender="check_sender_access inline:{ a@good.test={DEFER_IF_REJECT second} }",
                     recipient="check_recipient_access inline:{ ann@localhost={REJECT third}, bob@localhost=OK }, permit_mynetworks, reject"), "smtpd_delay_reject": "no"},
                [mail("a@good.test", "bob@localhost", "ann@localhost", "no@localhost", then=["RSET", "MAIL FROM:<b@good.test>", R, "EHLO other.test", M, R])]),
    "tables": (r(sender="check_sender_access inline:{ a@good.test=DUNNO } inline:{ a@good.test=REJECT }, check_sender_access inline:{ b@good.test=REJECT }, check_sender_access pcre:{ { /^c@(.*)$$/ REJECT of $$1 } { /^d/ 450 4.1.1 d } }, "
                      "check_sender_access regexp:{ { /^e@(.*)$$/ REJECT of $$1 } }, check_sender_access static:{DEFER all the others}"), [mail(f"{a}@good.test") for a in "abcdef"]),
    "cidr": (r(client="check_client_access cidr:{ { 192.0.2.8/31 REJECT net } { !192.0.2.0/24 450 outside } { 2001:db8::/32 REJECT six } }"), [mail(x="ADDR=" + a) for a in ("192.0.2.9", "192.0.2.1", "198.51.100.1", "IPV6:2001:db8::7")]),
    "sasl": ({**AUTH, **r(sender="check_sasl_access inline:{ { good = REJECT no mail of yours }, { tester = 450 tester }, { ok = OK } }")}, [mail(), [H, PLAIN, M, R], mail(x="LOGIN=tester"), mail(x="LOGIN=ok"), mail(x="LOGIN=Tester"), mail(x="LOGIN=nobody")]),
    **{f"login{n}": ({**AUTH, "smtpd_sender_login_maps": LOGINS, **r(sender=name)}, [[*start, f"MAIL FROM:<{a}>", R] for a in ("own@good.test", "alien@good.test", "free@good.test", "a@dom.test", "own+x@good.test", "") for start in ([H], [H, PLAIN])])
       for n, name in enumerate(("reject_authenticated_sender_login_mismatch", "reject_unauthenticated_sender_login_mismatch", "reject_known_sender_login_mismatch", "reject_sender_login_mismatch"))},
    "loginoff": ({"smtpd_sender_login_maps": LOGINS, **r(sender="reject_sender_login_mismatch, reject_known_sender_login_mismatch")}, [mail("own@good.test"), mail("free@good.test")]),
    "rbls": (r(client="reject_rbl_client bl.test=127.0.[0..1].[9;14], reject_rbl_client bl.test=127.0.0.4", recipient="reject"), [mail(x=f"ADDR=192.0.2.{n}") for n in (7, 8, 9, 10)]),
    "rblmacros": ({**r(client="reject_rbl_client bl.test", sender="reject_rhsbl_sender rhs.test"), "default_rbl_reply": MACROS.replace("client=", "$rbl_code 5.7.8 class=$rbl_class domain=$rbl_domain txt=$rbl_txt what=$rbl_what reason=$rbl_reason client=", 1)},
                  [mail(x="ADDR=192.0.2.9 NAME=c.test"), mail("a+b@good.test", "\"b b\"@localhost", x="ADDR=198.51.100.1"), mail(x="ADDR=192.0.2.8", helo="a<b")]),
    "footmacros": ({"smtpd_reject_footer": MACROS.replace(" rcpt=$recipient rn=$recipient_name rd=$recipient_domain", "") + " server=$server_name", **AUTH}, [mail("a@good.test", "no@localhost", x="ADDR=192.0.2.9 NAME=c.test"), [PLAIN, H, PLAIN, M, "RCPT TO:<no@localhost>", "DATA x"]]),
    "footfilter": ({"smtpd_reject_footer": "helo $helo_name!", "smtpd_expansion_filter": "abcdefghijkl"}, [mail("a@good.test", "no@localhost")]),
    "footdsn": ({"smtpd_reject_footer": "\\c, 550 5.1.1 text\\nsecond line\\n\\cthird", "soft_bounce": "yes"}, [mail("a@good.test", "no@localhost", then=["QUIT"])]),
    "banner": ({"smtpd_banner": "$myhostname ESMTP of ${mail_name}"}, [["QUIT"], ["XCLIENT ADDR=192.0.2.9", "QUIT"]]),
    "portlog": ({"smtpd_client_port_logging": "yes"}, [mail("a@good.test", "no@localhost", "bob@localhost"), mail(x="ADDR=192.0.2.9 PORT=77"), [("raw", b"FOO\r\nNOOP\r\n", 2)]]),
    "override": ({"receive_override_options": "no_unknown_recipient_checks"}, [mail("a@good.test", *EVERYONE)]),
    "nochecks": ({"local_recipient_maps": "", "relay_recipient_maps": ""}, [mail("a@good.test", *EVERYONE)]),
    "verp": ({"smtpd_authorized_verp_clients": "127.0.0.1", "default_verp_delimiters": "+="}, [[H, "MAIL FROM:<a@good.test> XVERP", R, "RSET", "MAIL FROM:<a@good.test> XVERP=-=", "RSET", "MAIL FROM:<a@good.test> XVERP=ab", "MAIL FROM:<a@good.test> XVERP=", "MAIL FROM:<> XVERP", "RSET", "MAIL FROM:<a@good.test> XVERP=+"]]),
    "noverp": ({}, [[H, "MAIL FROM:<a@good.test> XVERP", M]]),
    "noutf8": ({"smtputf8_enable": "no"}, [[H, "MAIL FROM:<a@good.test> SMTPUTF8", M, "RCPT TO:<no@localhost>", "EHLO \u00fc.test", ("raw", b"NOOP \xff\r\n")]]),
    "utf8": ({}, [[H, M, "RCPT TO:<\u00fc@localhost>", "VRFY \u00fc@localhost", "VRFY bob SMTPUTF8", "VRFY \u00fc@localhost SMTPUTF8", "ETRN \u00fc.test", "HELO \u00fc.test", ("raw", b"NOOP \xff\r\n"), ("raw", b"MAIL FROM:<\xfc@good.test>\r\n")],
                  ["EHLO \u00fc.test", "MAIL FROM:<a@\u00fc.test> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<x@\u00fc.test>", "RCPT TO:<bob@localhost> ORCPT=utf-8;\u00fc@x.test", "RCPT TO:<bob@localhost> ORCPT=utf-8;\\x{FC}@x.test"],
                  ["HELO x", "MAIL FROM:<a@good.test> SMTPUTF8", "MAIL FROM:<a@good.test> BODY=8BITMIME SMTPUTF8"]]),
    "strict": ({"strict_rfc821_envelopes": "yes"}, [[H, *(f"MAIL FROM:{a}" for a in ("a@good.test", "<a@good.test", "a@good.test>", "<a@good.test> ", " <a@good.test>", "<\"a\"@good.test>")), "RSET", "MAIL FROM:<>", R,
                                                     "RCPT TO:<Postmaster>", "RCPT TO:postmaster", "RCPT TO:<>", "RCPT TO:<@a.test:bob@localhost>"]]),
    "minuser": ({"allow_min_user": "no"}, [mail("-a@good.test", "-b@localhost")]),
    "unlimited": ({"message_size_limit": "0"}, [[H, "MAIL FROM:<a@good.test> SIZE=99999999", R]]),
    "vrfy": ({**r(recipient="reject_unauth_destination, check_recipient_access inline:{ {ann@localhost=REJECT not ann} }"), "disable_vrfy_command": "no"}, [[H, "VRFY ann", "VRFY <ann@localhost>", "VRFY x@far.test", "VRFY ann@localhost x"]]),
    "timeout": ({"smtpd_timeout": "1s"}, [[WAIT], [H, M, R, WAIT], [H, M, R, D, ("raw", b"x\r\n")], [H, M, R, ("raw", b"BDAT 9\r\nab")]]),
    "starttimeout": ({**TLS, "smtpd_starttls_timeout": "1s"}, [["STARTTLS", WAIT]]),
    "quietloglevel": ({**TLS, "smtpd_tls_loglevel": "0"}, [SAID]),
    "loglevel": ({**TLS, "smtpd_tls_loglevel": "1"}, [SAID]),
    "ccert": ({**CCERT, "relay_clientcerts": "inline:{ <fp>=known }", **r(relay="permit_tls_clientcerts, reject_unauth_destination")},
              [[*start, M, "RCPT TO:<x@far.test>"] for start in ([H], SAID, SHOWN, STRANGE)]),
    "ccertall": ({**CCERT, **r(relay="permit_tls_all_clientcerts, reject_unauth_destination")}, [[*start, M, "RCPT TO:<x@far.test>"] for start in ([H], SAID, SHOWN, STRANGE)]),
    "ccertaccess": ({**CCERT, **r(client="check_ccert_access inline:{ {<fp>=REJECT this certificate} }", sender="check_ccert_access inline:{ {<fp>=450 never seen} }")}, [[*start, M, R] for start in ([H], SAID, SHOWN, STRANGE)]),
    "ccertorder": ({**CCERT, **r(client="check_ccert_access { inline:{ {<fp>=REJECT this certificate} }, { search_order = pubkey_fingerprint } }",
                                 sender="check_ccert_access { inline:{ {<fp>=450 never seen} } { search_order = pubkey_fingerprint, cert_fingerprint } }")}, [[*start, M, R] for start in (SAID, SHOWN)]),
    "ccertreq": ({**CCERT, "smtpd_tls_security_level": "encrypt", "smtpd_tls_req_ccert": "yes"}, [[*SAID, M], [*SHOWN, M, R], [*STRANGE, M]]),
    "haproxy": (PROXIED, [[("first", b"PROXY TCP4 192.0.2.9 192.0.2.10 1234 25\r\n"), *mail("a@good.test", "x@far.test", "no@localhost")], [("first", b"PROXY TCP6 2001:db8::1 2001:db8::2 1234 25\r\n"), *mail("a@good.test", "x@far.test")],
                          *([("first", b"PROXY " + h + b"\r\n"), "NOOP"] for h in (b"TCP4 192.0.2.9 192.0.2.10 1234", b"TCP4 x 192.0.2.10 1 2", b"TCP4 192.0.2.9 192.0.2.10 99999 25", b"TCP4 2001:db8::1 2001:db8::2 1 25",
                                                                                  b"TCP6 192.0.2.9 192.0.2.10 1 25", b"TCP4 192.0.2.9 192.0.2.10 0 0", b"UDP4 192.0.2.9 192.0.2.10 1 25")),
                          [("first", b"EHLO x\r\n"), "NOOP"], [("first", b"\r\n"), "NOOP"], [("first", b"PROXY TCP4 192.0.2.9 192.0.2.10 1234 25\r\nEHLO x\r\n"), "NOOP"], [("first", b"P" * 600), "NOOP"],
                          [("first", V2 + b"\x21\x11\x00\x0c" + V2_4), *mail("a@good.test", "x@far.test")], [("first", V2 + b"\x20\x00\x00\x00"), *mail("a@good.test", "x@far.test")],
                          [("first", V2 + b"\x21\x11\x00\x10" + V2_4 + b"\x04\0\x01x"), "NOOP"], [("first", V2 + b"\x31\x11\x00\x0c" + V2_4), "NOOP"], [("first", V2 + b"\x21\x12\x00\x0c" + V2_4), "NOOP"],
                          [("first", V2 + b"\x21\x11\x00\x08" + V2_4[:8]), "NOOP"], [("first", V2 + b"\x21\x31\x00\x0c" + V2_4), "NOOP"], [("first", b""), WAIT]]),
    "barecodes": ({"smtpd_forbid_bare_newline": "reject", "smtpd_forbid_bare_newline_reject_code": "521", "smtpd_forbid_bare_newline_exclusions": "192.0.2.0/24"},
                  [[H, M, R, D, ("raw", b"a\nb\r\n.\r\n"), "NOOP"], [H, ("raw", b"NOOP\n"), "NOOP"], ["XCLIENT ADDR=192.0.2.9", H, M, R, D, ("raw", b"a\nb\r\n.\r\n"), ("raw", b"NOOP\n")]]),
    "bareparents": ({"smtpd_forbid_bare_newline": "reject", "smtpd_forbid_bare_newline_exclusions": "good.test"}, [[f"XCLIENT NAME={n} ADDR=192.0.2.9", H, ("raw", b"NOOP\n"), "NOOP"] for n in ("c.good.test", "good.test", "bad.test")]),
    "barenoparents": ({"smtpd_forbid_bare_newline": "reject", "smtpd_forbid_bare_newline_exclusions": ".good.test", "parent_domain_matches_subdomains": ""},
                      [[f"XCLIENT NAME={n} ADDR=192.0.2.9", H, ("raw", b"NOOP\n"), "NOOP"] for n in ("c.good.test", "good.test")]),
    "rateparents": ({"smtpd_client_message_rate_limit": "1", "smtpd_client_event_limit_exceptions": "good.test", "parent_domain_matches_subdomains": "smtpd_client_event_limit_exceptions"},
                    [[f"XCLIENT NAME={n} ADDR=192.0.2.33", H, M, "RSET", M, "RSET", M] for n in ("c.good.test", "bad.test")]),
    "tlsverify": ({"smtpd_tls_security_level": "verify"}, [[H, M, *SAID, M, R]]), "tlsfingerprint": ({"smtpd_tls_security_level": "Fingerprint"}, [[H, M, *SAID, M, R]]),
    "nodictionary": ({**AUTH, "smtpd_sasl_security_options": "noanonymous, nodictionary"}, [[H, "AUTH CRAM-MD5", PLAIN]]),
    "noactive": ({**AUTH, "smtpd_sasl_security_options": "noplaintext, noactive"}, [[H, "AUTH CRAM-MD5", PLAIN, "AUTH ANONYMOUS =", ("raw", b"*\r\n")]]),
    "secrecy": ({**AUTH, "smtpd_sasl_security_options": "forward_secrecy, mutual_auth"}, [[H, PLAIN]]),
    "oldorder": ({"compatibility_level": "2", **r(recipient="check_recipient_access inline:{ ann@localhost=REJECT }, permit")}, [mail("a@good.test", "ann@localhost", "bob@localhost", "x@far.test")]),
    "mapskeywords": ({"smtpd_discard_ehlo_keyword_address_maps": "cidr:{ {192.0.2.8/31 pipelining, starttls auth} {192.0.2.7 silent-discard,dsn} }", **AUTH, **TLS}, [[f"XCLIENT ADDR=192.0.2.{n}", H, "STARTTLS x", "AUTH FOO"] for n in (7, 8, 10)]),
    "cmdfilter": ({"smtpd_command_filter": "pcre:{ { /^(?:MAIL|RCPT) .*<([^>]*)>.*evil/ NOOP $$1 } { /^EHLO (\\S+) (.*)$$/ EHLO $$1 } { /^HELP/ RSET } }"}, [["EHLO a b c", "MAIL FROM:<a@good.test> evil", "HELP", " \tHELP", " EHLO x y", M, R]]),
    "forbid": ({"smtpd_forbidden_commands": "CONNECT, GET, regexp:{ {/^[^A-Z]/ x} }, EXPN", "smtpd_noop_commands": "EXPN, TURN"}, [["TURN", "turn x", "expn a"], ["*x"], ["123"], ["Subject: x"], ["x y"], ["get /"]]),
}
# ---- what clients say that no grammar has ----
ODD_HEADERS = [b"PROXY " + h for h in (b"TCP4  192.0.2.9 192.0.2.10 1234 25\r\n", b" TCP4 192.0.2.9 192.0.2.10 1234 25\r\n", b"TCP4 192.0.2.9 192.0.2.10 1234 25 \r\n", b"TCP4\t192.0.2.9\t192.0.2.10\t1234\t25\r\n", b"TCP4 192.0.2.9 192.0.2.10 1234 25\n",
               b"TCP4 192.0.2.9 192.0.2.10 1234 25 more\r\n", b"TCP4\r\n", b"\r\n", b"UNKNOWNX\r\n", b"TCP4 192.0.2.09 192.0.2.10 1234 25\r\n", b"TCP4 192.0.2.9 192.0.2.10 01234 0025\r\n", b"TCP4 192.0.2.9 192.0.2.10 +1 25\r\n",
               b"TCP4 192.0.2.9 192.0.2.10 1a 25\r\n", b"TCP6 2001:DB8::1 2001:db8::2 1 25\r\n", b"TCP6 ::ffff:192.0.2.9 ::ffff:192.0.2.10 1 25\r\n", b"TCP6 2001:db8::1%lo 2001:db8::2 1 25\r\n", b"TCP4 [192.0.2.9] 192.0.2.10 1 25\r\n",
               b"TCP4 0.0.0.0 0.0.0.0 1 25\r\n", b"TCP4 192.0.2.9\0 192.0.2.10 1 2\r\n", b"UNKNOWN " + b"x" * 300 + b"\r\n")]
ODD_HEADERS += [b" PROXY TCP4 192.0.2.9 192.0.2.10 1234 25\r\n", b"proxy tcp4 192.0.2.9 192.0.2.10 1234 25\r\n", b"PROXYTCP4 192.0.2.9 192.0.2.10 1234 25\r\n", b"\0PROXY\r\n"]
ODD_HEADERS += [V2 + h for h in (b"\x20\x11\x00\x0c" + V2_4, b"\x20\x00\x00\x04abcd", b"\x21\x00\x00\x00", b"\x21\x00\x00\x0c" + V2_4, b"\x21\x01\x00\x0c" + V2_4, b"\x21\x10\x00\x0c" + V2_4, b"\x22\x11\x00\x0c" + V2_4, b"\x11\x11\x00\x0c" + V2_4,
                                 b"\x21\x21\x00\x0c" + V2_4, b"\x21\x21\x00\x24" + V2_6, b"\x21\x11\x00\x24" + V2_6, b"\x21\x11\xff\xff" + V2_4 + b"x" * 600, b"\x21\x11\x02\x00" + V2_4 + b"x" * 500, b"\x21\x11\x00\x0c" + bytes(12), b"\x21\x11\x00\x0c" + V2_4 + b"NOOP\r\n")]
SENDERS = ["<<a@good.test>>", "<a@good.test>>", "<>>", "<<>>", " <a@good.test>", "\t<a@good.test>", "a@good.test", " a@good.test", "a@good.test SIZE=10", "<a@good.test> (c)", "Name <a@good.test>", "\"N\" <a@good.test>", "<@x.test:a@good.test>",
           "<@x.test,@y.test:a@good.test>", "@x.test:a@good.test", "<a b@good.test>", "<a@good.test", "", " ", "<a@good.test>SIZE=10", *("<a@good.test>" + p for p in (
               "  SIZE=10", " SIZE", " SIZE=", " SIZE=x", " SIZE=-1", " FOO", " FOO=x", " BODY=", " BODY=x", " body=7bit", " RET=x", " RET=", " RET=HDRS RET=FULL", " ENVID=", " ENVID=a+3Db", " ENVID=a+zz", " ENVID=a=b", " ENVID=a ENVID=b",
               " AUTH=<>", " AUTH=a+b", " =", " SIZE=1 SIZE=2", "\tSIZE=1", " SIZE=1 ")), "<a>", "a", "<a@good.test.>", "<a@[192.0.2.1]>", "<a@[ipv6:::1]>", "<a@1.2.3.4>", "<a@good_x.test>", "<a@-x.test>", "<a@>", "<\"a\"@good.test>", "<\"a b\"@good.test>",
           "<a;b@good.test>", "<a,b@good.test>", "<.a@good.test>", "<a.@good.test>", "<a..b@good.test>", "<" + "x" * 70 + "@good.test>", "<" + "x" * 300 + "@good.test>", "<a@" + "x" * 64 + ".test>", "<bad address@good.test> FOO"]
LOOSE = ["< a@good.test >", "<a@[192.0.2.1>", "<a\\ b@good.test>", "<a@@good.test>", "<a:b@good.test>", "<\"\"@good.test>"]  # strict_rfc821_envelopes takes some of them in Postfix
RECIPIENTS = ["<bob@localhost>" + p for p in ("", " NOTIFY=", " NOTIFY=never", " NOTIFY=NEVER,SUCCESS", " NOTIFY=success,,delay", " NOTIFY=success NOTIFY=delay", " ORCPT=", " ORCPT=x", " ORCPT=;x", " ORCPT=rfc822;a+zz", " ORCPT=rfc822;a+40b",
              " ORCPT=rfc822;SRS0=a=b@x.test", " ORCPT=x;a ORCPT=x;b", " FOO", " FOO=x", " NOTIFY", " ORCPT", " SIZE=1", "x", " =x", " NOTIFY = never")] + [
              "bob@localhost", " <bob@localhost>", "<bob@localhost", "bob@localhost NOTIFY=never", "<<bob@localhost>>", "<@x.test:bob@localhost>", "<bob>", "<postmaster>", "<\"bob\"@localhost>", "<bob@localhost.>", "<bob@LOCALHOST>", "<bob@[127.0.0.1]>",
              "<bob b@localhost>", "<bob%x.test@localhost>", "<x.test!bob@localhost>", "<\"bob@x.test\"@localhost>", "<>"]
VERBS = ["MAIL", "MAIL FROM", "MAIL FROM:", "MAIL TO:<a@good.test>", "MAIL FROM<a@good.test>", "MAIL  FROM:<a@good.test>", "RSET", "MAIL FROM :<a@good.test>", "RSET", "MAIL FROM: ", "MAIL from:<a@good.test>", "RSET", "mail From:<a@good.test>", "RCPT", "RCPT TO", "RCPT TO:",
         "RCPT FROM:<a@good.test>", "RCPT TO : <bob@localhost>", "rcpt to:<bob@localhost>", "RCPT TO:<>", "RCPT TO:< >", "DATA x", "RSET x", "NOOP x", "QUIT x"]
UTF8 = [[H, "MAIL FROM:<\u00fc@good.test>", "RSET", "MAIL FROM:<a@\u00fc.test>", "RSET", ("raw", b"MAIL FROM:<\xfc@good.test>\r\n"), "RSET", M, "RCPT TO:<\u00fc@localhost>", "RCPT TO:<bob@\u00fc.test>", ("raw", b"RCPT TO:<\xfc@localhost>\r\n"), "RCPT TO:<a@xn--tda.test>", "VRFY \u00fc",
         "EHLO \u00fc.test", ("raw", b"EHLO \xfc\r\n"), "HELO \u00fc"],
        [H, "MAIL FROM:<\u00fc@good.test> SMTPUTF8", "RSET", "MAIL FROM:<a@\u00fc.test> SMTPUTF8", "RCPT TO:<\u00fc@localhost>", "RCPT TO:<bob@\u00fc.test>", ("raw", b"RCPT TO:<\xfc@localhost>\r\n"), "RSET", ("raw", b"MAIL FROM:<\xfc@good.test> SMTPUTF8\r\n"), "RSET", "MAIL FROM:<a@good.test> SMTPUTF8=x", "RSET",
         "MAIL FROM:<a@good.test> SMTPUTF8 SMTPUTF8"]]
BLANKS = [["  NOOP", "NOOP  ", "\tNOOP", " EHLO x ", "EHLO  x", "EHLO x  y", "  HELP me ", "HELP", " FOO", "NOOP\t", "  QUIT "]]
SPOKEN = [M, "RCPT TO:<no@localhost>", R, "RCPT TO:<x@far.test>", "RCPT TO:<no+e@localhost>", D, ("raw", b".\r\n"), "FOO", "RCPT TO:<>", "RCPT TO:<no@localhost> FOO", "MAIL FROM:<x@good.test>", "HELO"]
SAID_ODDLY = [[H, *(x for a in SENDERS for x in ("MAIL FROM:" + a, "RSET"))], [H, *VERBS], [H, M, *("RCPT TO:" + a for a in RECIPIENTS)]]
CASES.update({
    "oddproxy": (PROXIED, [[("first", h), M] for h in ODD_HEADERS]),
    "odd": ({}, SAID_ODDLY), "oddstrict": ({"strict_rfc821_envelopes": "yes"}, SAID_ODDLY), "oddloose": ({}, [[H, *(x for a in LOOSE for x in ("MAIL FROM:" + a, "RSET"))]]),
    "undeclared": ({}, UTF8), "undeclaredstrict": ({"strict_smtputf8": "yes"}, UTF8), 
    "blanks": ({}, BLANKS), "blanksfilter": ({"smtpd_command_filter": "pcre:{ { /^HELP(.*)$$/ NOOP $$1 } { /^\\s+(.*)$$/ NOOP was blank } { /(.*\\s)$$/ FOO } }"}, BLANKS),
    "unprintable": ({}, [[H, M, R, D, ("raw", b"a\0b\r\n.\r\n")], [("raw", l + b"\r\n") for l in (b"", b" ", b"\t", b"NOOP\x01", b"NOOP \x7f", b"\xff", b"NOOP\r")]]),
    "longlines": ({"line_length_limit": "600"}, [[H, *("NOOP " + "x" * n for n in (505, 506, 507, 594)), "EHLO " + "x" * 255, "VRFY " + "x" * 255, M, R, D, ("raw", b"x" * 1300 + b"\r\n.\r\n")]]),
    "helos": ({}, [[f"EHLO {n}".rstrip(), M, "RCPT TO:<no@localhost>"] for n in ("", "a b", "[", "<x>", "a\\b", "\"x\"", ";", "[1.2.3.4]", "[IPv6:::1]", "a_b", "x" * 255, ".", "a.", "(c)", "a,b", "a@b", "'", "`id`", "$x", "%s", "a\tb", "*")]),
    "footmaps": ({"smtpd_reject_footer_maps": "pcre:{ { /^450/ soft $$0 } { /User unknown/ who: \\c see $${1}. $recipient } { /^5/ hard for $recipient_name of $sender } } inline:{ {550 5.1.1=x} }", "smtpd_reject_footer": "plain footer $client_address"}, [[H, *SPOKEN]]),
})
# Ours says why in its own words, or differs on purpose (smtpd(8), BUGS).
OWN_WORDS = re.compile("unknown smtpd restriction|ignored: no SASL support|certificate verification failed|restriction class|no such|problem talking|fatal:|process /usr|TLS library problem|haproxy read|will be removed|nested")


class TalkBeside(Talk):
    certs = None

    def tls(self, which=None):
        c = ssl.create_default_context()
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
        c.maximum_version = ssl.TLSVersion.TLSv1_2  # with 1.3 a client learns what is wrong with its certificate one reply later
        if which:
            c.load_cert_chain(f"{self.certs}/{which}.pem", f"{self.certs}/{which}.key")
        self.s = c.wrap_socket(self.s)

    def say(self, what):
        if isinstance(what, tuple) and what[0] == "tls" and len(what) > 1:
            try:
                self.tls(what[1])
            except OSError as e:
                return f"<no TLS: {type(e).__name__}>"
            return "<TLS>"
        return super().say(what)


def fingerprint(path):
    with open(path, encoding="ascii") as f:
        der = ssl.PEM_cert_to_DER_cert(f.read())
    return ":".join(f"{b:02X}" for b in hashlib.sha256(der).digest())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    certs = str(tmp_path_factory.mktemp("certs"))
    make_certificates(certs)
    shutil.copy(certs + "/key.pem", certs + "/cert.key")
    make_certificates(certs + "/strange")
    shutil.copy(certs + "/strange/cert.pem", certs + "/other.pem")
    shutil.copy(certs + "/strange/key.pem", certs + "/other.key")
    TalkBeside.certs = certs
    with open(certs + "/listed", "w", encoding="ascii") as f:  # a class that only a result names has a file
        f.write("bob@localhost REJECT listed\n")
    os.chmod(certs + "/listed", 0o644)
    auth, sink = AuthServer(), Sink()
    main = {**MAIN, "smtpd_sasl_path": f"inet:127.0.0.1:{auth.port}", "smtpd_tls_cert_file": f"{certs}/cert.pem", "smtpd_tls_key_file": f"{certs}/key.pem"}
    main["listed"] = main["listed"].replace("<certs>", certs)
    main["transport_maps"] = main["transport_maps"].replace("<sink>", str(sink.port))
    put = {"<certs>": certs, "<fp>": fingerprint(certs + "/cert.pem")}

    def filled(v):
        for a, b in put.items():
            v = v.replace(a, b)
        return v
    services = {name: {k: filled(v) for k, v in opts.items()} for name, (opts, _) in {**CASES, **HEADERS, "slow": (SLOW, [])}.items()}
    with Beside(main, services, records=RECORDS, talk=TalkBeside, silent=[n for n, o in services.items() if "smtpd_upstream_proxy_protocol" in o]) as b:
        b.sink = sink
        yield b
    auth.stop()


def no_ports(lines):
    lines = [re.sub(r"after BDAT \(\d+ bytes\)", "after BDAT", l) for l in lines]  # theirs counts what is before the message, too
    return [re.sub(r"(\[127\.0\.0\.1\]|\[127\.\d+\.\d+\.\d+\]):\d+", r"\1:PORT", l) for l in lines]


@pytest.mark.parametrize("case", list(CASES))
def test_parameters_act_as_in_debian(world, case):
    wrong = []
    for n, d in enumerate(CASES[case][1]):
        first = d[0][1] if d and isinstance(d[0], tuple) and d[0][0] == "first" else b""
        said = [x for x in d if not (isinstance(x, tuple) and x[0] == "first")]
        (theirs, their_log), (ours, our_log) = world.run(case, said, first=first)
        wrong += differences(f"{case} {n}", said, no_ports(theirs), no_ports(ours))
        wrong += log_differences(f"{case} {n}", *([l for l in no_ports(log) if not OWN_WORDS.search(l)] for log in (their_log, our_log)))
    assert not wrong, "\n" + "\n".join(wrong)


SLOW = {"smtpd_soft_error_limit": "1", "smtpd_error_sleep_time": "1s"}
S = "RCPT TO:<x@sink.test>"
TEXT = ("raw", b"From: a\r\nTo: <b>, c@d\r\nSubject: x\r\n\r\nbody\r\n.\r\n")
# Of a client that XCLIENT names, theirs still writes the header as one of the proxy, when that is on the same host
FULL = ("raw", TEXT[1].replace(b"From: a", b"Message-Id: <x@b.test>\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\nFrom: a@b.test").replace(b"<b>", b"<b@b.test>").replace(b"c@d", b"c@b.test"))
HEADERS = {
    "hplain": ({}, [H, M, S, D, TEXT]), "hhelo": ({}, ["HELO a", "MAIL FROM:<>", S, D, TEXT]), "htwo": ({}, [H, M, S, "RCPT TO:<y@sink.test>", D, TEXT]),
    "hxclient": ({}, ["XCLIENT NAME=c.test ADDR=192.0.2.9 REVERSE_NAME=r.test", "EHLO a_b", M, S, D, FULL]), "hxclient6": ({}, ["XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::9", "EHLO [IPv6:2001:db8::9]", M, S, D, FULL]),
    "hxforward": ({}, [H, "XFORWARD NAME=f.test ADDR=192.0.2.7 HELO=fh.test PROTO=SMTP", M, S, D, TEXT]),
    "hlocal": ({"local_header_rewrite_clients": "permit_mynetworks"}, ["XCLIENT ADDR=192.0.2.9", H, M, S, D, TEXT]),
    "hlocal2": ({"local_header_rewrite_clients": "check_address_map inline:{ 192.0.2.9=x }"}, ["XCLIENT ADDR=192.0.2.9", H, M, S, D, TEXT]),
    "hlocal3": ({"local_header_rewrite_clients": "inline:{ 192.0.2.9=x }"}, ["XCLIENT ADDR=192.0.2.9", H, M, S, D, TEXT]),
    "hlocal4": ({"local_header_rewrite_clients": "permit_sasl_authenticated, check_address_map inline:{ 192.0.2.9=x } inline:{ 192.0.2.8=x }"}, ["XCLIENT ADDR=192.0.2.9", H, M, S, D, TEXT]),
    "hlocal5": ({"local_header_rewrite_clients": "static:all"}, ["XCLIENT ADDR=198.51.100.1", H, M, S, D, TEXT]),
    "hcert": ({**CCERT, "relay_clientcerts": "inline:{ <fp>=known }", "local_header_rewrite_clients": "permit_tls_clientcerts"}, [*SHOWN, M, S, D, TEXT]),
    "hcertother": ({**CCERT, "relay_clientcerts": "inline:{ <fp>=known }", "local_header_rewrite_clients": "permit_tls_clientcerts"}, [*STRANGE, M, S, D, FULL]),
    "hcertall": ({**CCERT, "local_header_rewrite_clients": "permit_tls_all_clientcerts"}, [*SHOWN, M, S, D, TEXT]), "hcertnone": ({**CCERT, "local_header_rewrite_clients": "permit_tls_all_clientcerts"}, [*STRANGE, M, S, D, FULL]),
    "hsasl": ({**AUTH, "smtpd_sasl_authenticated_header": "yes"}, [H, PLAIN, M, S, D, TEXT]), "hnosasl": (AUTH, [H, PLAIN, M, S, D, TEXT]),
    "htls": ({**TLS, "smtpd_tls_received_header": "yes"}, [*SAID, M, S, D, TEXT]), "hnotls": ({**TLS}, [*SAID, M, S, D, TEXT]),
    "htlscert": ({**CCERT, "smtpd_tls_received_header": "yes"}, [*SHOWN, M, S, D, TEXT]), "htlsnocert": ({**CCERT, "smtpd_tls_received_header": "yes"}, [*SAID, M, S, D, TEXT]),
    "htlsother": ({**CCERT, "smtpd_tls_received_header": "yes"}, [*STRANGE, M, S, D, TEXT]), "htlssasl": ({**TLS, **AUTH, "smtpd_tls_received_header": "yes", "smtpd_sasl_authenticated_header": "yes"}, [*SAID, PLAIN, M, S, D, TEXT]),
    "hutf8": ({}, [H, "MAIL FROM:<\u00fc@good.test> SMTPUTF8", S, D, TEXT]), "hprepend": (r(sender="check_sender_access inline:{ {a@good.test=PREPEND X-A: b} }, check_sender_access inline:{ {a@good.test=PREPEND X-C: d} }",
                                                                                      data="check_sender_access inline:{ {a@good.test=PREPEND X-E: f} }"), [H, M, S, D, TEXT]),
    "hfrom": ({}, [H, M, S, D, ("raw", b">From x\r\nFrom y\r\nSubject: z\r\n\r\nbody\r\n.\r\n")]), "hnone": ({}, [H, M, S, D, ("raw", b"no header\r\n.\r\n")]), "hblank": ({}, [H, M, S, D, ("raw", b" folded\r\nSubject: x\r\n\r\n.\r\n")]),
    "hbdat": ({}, [H, M, S, ("raw", b"BDAT 14 LAST\r\nSubject: x\r\n\r\n")]), "hdots": ({}, [H, M, S, D, ("raw", b"Subject: x\r\n\r\n..\r\n.a\r\nb\r\r\ncd\r\n.\r\n")]),
    "hbcc": (r(sender="check_sender_access inline:{ {a@good.test=BCC z@sink.test} }"), [H, M, S, D, TEXT]), "hredirect": (r(sender="check_sender_access inline:{ {a@good.test=REDIRECT z@sink.test} }"), [H, M, S, D, TEXT]),
}


def plain_message(message):
    text = message.decode("latin-1")
    text = re.sub(r"id [0-9A-F]{8,}", "id ID", text)
    text = re.sub(r"; \w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)", "; DATE", text)
    text = re.sub(r"\w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)", "DATE", text)
    text = re.sub(r"<\d{14}\.[0-9A-F]+@", "<DATE.ID@", text)
    return text.split("\n")


@pytest.mark.parametrize("case", list(HEADERS))
def test_a_message_has_the_header_that_debian_gives_it(world, case):
    seen = []
    for side in world.sides:
        at = len(world.sink.messages)
        replies, _ = side.run(case, HEADERS[case][1])
        assert "queued as" in replies[-1], replies
        until = time.monotonic() + 30
        while len(world.sink.messages) == at:
            assert time.monotonic() < until, side.mta.log()[-3000:]
            time.sleep(0.02)
        seen.append(plain_message(world.sink.messages[at]))
    assert seen[0] == seen[1]


def test_every_reply_is_slow_after_errors(world):
    """smtpd_soft_error_limit, smtpd_error_sleep_time: also what is no error waits."""
    for side in world.sides:
        before = time.monotonic()
        replies, _ = side.run("slow", ["FOO", "NOOP"])
        assert time.monotonic() - before > 0.9 and replies[-1] == "250 2.0.0 Ok"
