"""The parameters of address rewriting, one by one: for each case an smtpd, a cleanup and a trivial-rewrite of its own in our suite and in Debian's Postfix.
Replies, the envelope and the header that arrive, and what the log says of every recipient have to be the same."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import peer  # noqa: E402
from test_addresses_debian import Session, arrived, beside, configure, outcome, quiet  # noqa: E402

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or not root")

FORMS = ["user@far.test", "user", "user@host", "user@host.", "a!b", "far.test!b", "user%far.test", "user%far.test@mail.example.test", "\"a b\"@far.test", "old", "old+x@mail.example.test"]
MAPPED = ["old+x@mail.example.test", "any+x@was.test", "plain+x", "name+x@mail.example.test", "c1+x@far.test", "bare+x@far.test", "s-only+x@far.test", "r-only+x@far.test",
          "two+x@valias.test", "any+x@va2.test", "local+x@valias.test", "keep+k@far.test", "quoted+x@valias.test", "ext+in@valias.test"]
MASKED = ["u@host.corp.test", "u@a.b.corp.test", "u@corp.test", "u@x.keep.corp.test", "root@host.corp.test", "u@notcorp.test", "U@Host.Corp.Test", "\"u v\"@host.corp.test"]
DELIMITED = ["old+x@mail.example.test", "old-x@mail.example.test", "old_x@mail.example.test", "old-x+y@mail.example.test", "one-x@valias.test", "owner-old@mail.example.test",
             "old-request@mail.example.test", "one_x-y@valias.test", "-x@valias.test", "_old@mail.example.test"]
LIMITS = ["one@valias.test", "two@valias.test", "five@valias.test", "deep@valias.test", "loop1@valias.test", "chain1@valias.test", "grow@valias.test", "self@valias.test", "twice@valias.test"]
UNICODE = ["b\u00fcro@far.test", "user@b\u00fccher.test", "user@xn--bcher-kva.test", "kurt@b\u00fccher.test", "kurt@xn--bcher-kva.test", "kurt+x@b\u00fccher.test", "m\u00fcller@b\u00fccher.test",
           "any@stra\u00dfe.test", "any@xn--strae-oqa.test"]
OWN = ["old@[127.0.0.1]", "bcc@[127.0.0.1]", "bcc@[192.0.2.7]", "a%far.test@[192.0.2.7]", "bcc@[192.0.2.8]"]
ROUTED = ["user%far.test@mail.example.test", "user%relay.test@mail.example.test", "\"user@far.test\"@mail.example.test", "\"user@far.test\"@relay.test", "far.test!user@mail.example.test", "user%far.test@relay.test",
          "user@far.test@relay.test", "user%far.test", "far.test!user", "\"user%far.test\"", "user@relay.test", "user@far.test", "user%far.test@valias.test", "a!b@relay.test", "@relay.test:user@far.test",
          "user@", "user%relay.test@", "user%far.test@", "user@1.2.3.4", "user@[1.2.3.4]", "user@[127.0.0.1]", "user@127.0.0.1", "user%here.test@here.test", "-user@far.test", "-user@here.test"]
QUOTED = ["\"one@valias.test\"@mail.example.test", "\"one@valias.test\"", "\"old@mail.example.test\"@here.test", "\"any@va2.test\"@mail.example.test", "\"one@valias.test\"@far.test",
          "\"user@far.test\"@mail.example.test", "\"user@far.test\"@relay.test", "\"user@far.test\"@valias.test", "\"user%far.test\"@mail.example.test", "\"far.test!user\"@here.test", "one%valias.test@mail.example.test",
          "\"u@vbox.test\"@here.test", "\"one@valias.test\"@valias.test", "\"a b\"@here.test", "\"short\"@here.test"]
STRANGER = {"mynetworks": "192.0.2.0/24", "smtpd_relay_restrictions": "check_recipient_access inline:{ sink@far.test=OK }, reject_unauth_destination", "smtpd_recipient_restrictions": "permit"}
CASES = {  # name -> (settings, addresses)
    "plain": ({}, FORMS),
    "noorigin": ({"append_at_myorigin": "no"}, FORMS),
    "nodomain": ({"append_dot_mydomain": "no"}, FORMS),
    "noforms": ({"swap_bangpath": "no", "allow_percent_hack": "no"}, FORMS),
    "noswap": ({"swap_bangpath": "no"}, ["a!b%c", "a%b!c", "far.test!b", "b%far.test"]),
    "myorigin": ({"myorigin": "far.test"}, FORMS),
    "strange": ({"local_header_rewrite_clients": "", "remote_header_rewrite_domain": "domain.invalid"}, FORMS),
    "table": ({"local_header_rewrite_clients": "check_address_map inline:{127.0.0.1=1}"}, FORMS[:4]),
    "othertable": ({"local_header_rewrite_clients": "check_address_map inline:{127.0.0.2=1}", "remote_header_rewrite_domain": "domain.invalid"}, FORMS[:4]),
    "interfaces": ({"local_header_rewrite_clients": "permit_inet_interfaces"}, FORMS[:4]),
    "ownnames": ({"inet_interfaces": "localhost", "proxy_interfaces": "192.0.2.7", "recipient_bcc_maps": "inline:{{bcc=copy@far.test}}"}, OWN),
    "ownplain": ({"inet_interfaces": "127.0.0.1", "proxy_interfaces": "192.0.2.7", "sender_bcc_maps": "inline:{{bcc=copy@far.test}}"}, OWN),
    "delimiters": ({"recipient_delimiter": "+-_"}, DELIMITED),
    "nodelimiter": ({"recipient_delimiter": ""}, DELIMITED[:5]),
    "special": ({"recipient_delimiter": "-", "owner_request_special": "no"}, DELIMITED[1:7]),
    "noextensions": ({"propagate_unmatched_extensions": ""}, MAPPED),
    "virtualonly": ({"propagate_unmatched_extensions": "virtual"}, MAPPED),
    "canonicalonly": ({"propagate_unmatched_extensions": "canonical"}, MAPPED),
    "classes1": ({"canonical_classes": "envelope_sender, header_recipient"}, MAPPED[:6]),
    "classes2": ({"canonical_classes": "header_sender", "sender_canonical_classes": "header_sender", "recipient_canonical_classes": "header_recipient"}, MAPPED[:8]),
    "classes3": ({"canonical_classes": "envelope_recipient", "sender_canonical_classes": "envelope_sender", "recipient_canonical_classes": "envelope_recipient"}, MAPPED[:8]),
    "masqall": ({"masquerade_classes": "envelope_sender, envelope_recipient, header_sender, header_recipient", "masquerade_exceptions": ""}, MASKED),
    "masqheader": ({"masquerade_classes": "header_recipient"}, MASKED),
    "masqorder": ({"masquerade_domains": "b.corp.test corp.test", "masquerade_exceptions": "Root, u"}, MASKED + ["v@a.b.corp.test"]),
    "nooriginal": ({"enable_original_recipient": "no"}, ["one@valias.test", "two@valias.test", "old", "user@far.test", "staff", "user@host."]),
    "recursion": ({"virtual_alias_recursion_limit": "3"}, LIMITS),
    "expansion": ({"virtual_alias_expansion_limit": "4"}, LIMITS),
    "length": ({"virtual_alias_address_length_limit": "40"}, LIMITS),
    "wide": ({}, ["wide@valias.test"]),  # as many as the limit allows, as long as may be: more than a record
    "unicode": ({}, UNICODE),
    "stranger": (STRANGER, ROUTED),
    "trusting": ({**STRANGER, "allow_untrusted_routing": "yes"}, ROUTED),
    "permitauth": ({**STRANGER, "smtpd_relay_restrictions": "check_recipient_access inline:{ sink@far.test=OK }, permit_auth_destination, reject"}, ROUTED),
    "numeric": ({**STRANGER, "resolve_numeric_domain": "yes"}, ROUTED),
    "nopercent": ({**STRANGER, "allow_percent_hack": "no", "swap_bangpath": "no"}, ROUTED),
    "quoted": ({}, QUOTED),
    "undequoted": ({"resolve_dequoted_address": "no"}, QUOTED),
    "strangerquoted": (STRANGER, QUOTED),
    "strangerundequoted": ({**STRANGER, "resolve_dequoted_address": "no"}, QUOTED + ROUTED),
    "nulldomain": ({**STRANGER, "resolve_null_domain": "yes"}, ROUTED),
    "nulldomainhere": ({"resolve_null_domain": "yes"}, ["user@", "\"a b\"@", "old@", "user%far.test@", "far.test!user@", "user@@"]),
    "minuser": ({"allow_min_user": "yes"}, ROUTED[-2:]),
}
# Settings of one cleanup service alone, as content filters have it: smtpd and trivial-rewrite go by main.cf.
CLEANUP = {
    "c-none": ({"virtual_alias_maps": ""}, ["one@valias.test", "old+x@mail.example.test", "u@a.corp.test"]),
    "c-bare": ({"canonical_maps": "", "sender_canonical_maps": "", "recipient_canonical_maps": "", "masquerade_domains": "", "virtual_alias_maps": ""},
               ["one@valias.test", "old+x@mail.example.test", "u@a.corp.test", "s-only@far.test", "r-only@far.test"]),
    "c-virtual": ({"virtual_alias_maps": "inline:{ {one@valias.test=c1@far.test} {new@mail.example.test=c2} {c2=two@valias.test} {@va2.test=@is.test} }"},
                  ["one@valias.test", "old@mail.example.test", "old+x@mail.example.test", "two@valias.test", "any+x@va2.test", "c2"]),
    "c-canonical": ({"canonical_maps": "inline:{ {one@valias.test=changed@far.test} {u@a.corp.test=v@b.corp.test} }", "sender_canonical_maps": "inline:{ {two@valias.test=s2} }",
                     "recipient_canonical_maps": "inline:{ {two@valias.test=one@valias.test} }"}, ["one@valias.test", "two@valias.test", "u@a.corp.test", "old", "s-only@far.test"]),
    "c-masquerade": ({"masquerade_domains": "a.corp.test corp.test", "masquerade_exceptions": "w", "masquerade_classes": "envelope_sender, envelope_recipient, header_sender"},
                     ["u@x.a.corp.test", "u@x.keep.corp.test", "w@b.corp.test", "root@b.corp.test"]),
    "c-classes": ({"canonical_classes": "header_recipient", "recipient_canonical_classes": "envelope_recipient", "propagate_unmatched_extensions": ""},
                  ["old+x@mail.example.test", "r-only+x@far.test", "one+x@valias.test"]),
    "c-delimiter": ({"recipient_delimiter": "="}, ["old+x@mail.example.test", "old=x@mail.example.test", "one=y@valias.test"]),
    "c-limits": ({"virtual_alias_recursion_limit": "3", "virtual_alias_expansion_limit": "4"}, ["five@valias.test", "chain1@valias.test", "deep@valias.test"]),
    "c-domains": ({"mydestination": "far.test", "myorigin": "is.test"}, ["short", "short@far.test", "short@mail.example.test", "short@is.test", "plain@far.test", "plain@is.test"]),
    "c-copies": ({"always_bcc": "always@far.test", "sender_bcc_maps": "inline:{ {one@valias.test=of-sender@far.test} }", "recipient_bcc_maps": "inline:{ {new+x@mail.example.test=of-rcpt@far.test} }"},
                 ["one@valias.test", "old+x@mail.example.test"]),
    "c-special": ({"recipient_delimiter": "-", "owner_request_special": "no", "recipient_bcc_maps": "inline:{ {new@mail.example.test=copy@far.test} }"},
                  ["owner-old@mail.example.test", "old-request@mail.example.test", "one-request@valias.test", "old-x@mail.example.test"]),
    "c-forms": ({"append_dot_mydomain": "no", "append_at_myorigin": "no", "swap_bangpath": "no", "allow_percent_hack": "no"}, FORMS[:7]),
    "c-strange": ({"remote_header_rewrite_domain": "domain.invalid", "local_header_rewrite_clients": ""}, FORMS[:4]),
    "c-length": ({"virtual_alias_address_length_limit": "40", "virtual_alias_maps": "inline:{ {one@valias.test=a-name-that-is-longer-than-forty-octets@far.test} }"}, ["one@valias.test", "u@far.test"]),
    "c-duplicates": ({"enable_original_recipient": "no", "duplicate_filter_limit": "1"}, ["twice@valias.test", "two@valias.test", "five@valias.test"]),
    "c-names": ({"own_table": "inline:{ {one@valias.test=named@far.test} }", "virtual_alias_maps": "$own_table, inline:{ {two@valias.test=x@far.test} }"}, ["one@valias.test", "two@valias.test"]),
}
# Settings of one smtpd service alone: which recipients are there.
SMTPD = {
    "s-none": ({"virtual_alias_maps": "", "canonical_maps": ""}, ["one@valias.test", "old@mail.example.test"]),
    "s-local": ({"local_recipient_maps": "inline:{ {ann=1} {old=1} }"}, ["ann", "bob", "old+x", "short", "user@far.test"]),
    "s-other": ({"virtual_alias_maps": "inline:{ {three@valias.test=x@far.test} }", "relay_recipient_maps": "inline:{ {u@relay.test=1} }", "virtual_mailbox_maps": "inline:{ {v@vbox.test=1} }"},
                ["one@valias.test", "three@valias.test", "u@relay.test", "w@relay.test", "v@vbox.test", "w@vbox.test"]),
    "s-special": ({"recipient_delimiter": "-", "owner_request_special": "no", "local_recipient_maps": "inline:{ {ann=1} }",
                   "smtpd_recipient_restrictions": "check_recipient_access inline:{ {joe@far.test=REJECT} }, permit_mynetworks, reject"}, ["ann-request", "ann-x", "bob-request", "joe-request@far.test", "owner-ann"]),
    "s-codes": ({"local_recipient_maps": "inline:{ {ann=1} }", "unknown_local_recipient_reject_code": "451", "show_user_unknown_table_name": "no"}, ["bob", "unknown@valias.test"]),
}
MORE = {"virtual": """
five@valias.test   v1@far.test, v2@far.test, v3@far.test, v4@far.test, v5@far.test
loop1@valias.test  loop2@valias.test
loop2@valias.test  loop1@valias.test
chain1@valias.test chain2@valias.test
chain2@valias.test chain3@valias.test
chain3@valias.test chain4@valias.test
chain4@valias.test chain5@valias.test
chain5@valias.test end@far.test
grow@valias.test   x+grow@valias.test
x@valias.test      yy+grow@valias.test
yy@valias.test     x+grow@valias.test
twice@valias.test  t1@far.test, T1@far.test, t1@FAR.test, t1@far.test
kurt@b\u00fccher.test   kurt.u@far.test
""", "canonical": "@stra\u00dfe.test @far.test\nm\u00fcller@b\u00fccher.test mueller@far.test\n"}
LONG = ".".join(c * 60 for c in "abcd") + ".far.test"
MORE["virtual"] += "".join(f"wide{k}@valias.test " + ", ".join(f"{n:064}@{LONG}" for n in range(100 * k, 100 * k + 100)) + "\n" for k in range(10))
MORE["virtual"] += "wide@valias.test " + ", ".join(f"wide{k}@valias.test" for k in range(10)) + "\n"


ALL = {**CASES, **CLEANUP, **SMTPD}


def prepare(system, sink):
    configure(system, sink, {})
    system.extra_master = []
    for name, text in MORE.items():
        path = os.path.join(system.config, name)
        with open(path, encoding="utf-8") as f:
            both = f.read() + text
        system.write(name, both)
    for case, (settings, _) in {**CLEANUP, **SMTPD}.items():
        options = "".join(" -o { %s = %s }" % kv for kv in settings.items())
        front = f"127.0.0.1:{system.port[case]} inet n - n - - smtpd -o syslog_name=postfix/{case} -o cleanup_service_name=cleanup-{case}"
        system.extra_master += [front + options * (case in SMTPD), f"cleanup-{case} unix n - n - 0 cleanup -o syslog_name=postfix/{case}" + options * (case in CLEANUP)]
    for case, (settings, _) in CASES.items():
        options = "".join(" -o { %s = %s }" % kv for kv in settings.items()) + f" -o rewrite_service_name=rewrite-{case}"
        system.extra_master += [f"127.0.0.1:{system.port[case]} inet n - n - - smtpd -o cleanup_service_name=cleanup-{case} -o syslog_name=postfix/{case}" + options,
                                f"cleanup-{case} unix n - n - 0 cleanup" + options, f"rewrite-{case} unix - - n - - trivial-rewrite" + options]


def message(ident, address):
    return (f"From: {address}\r\nTo: Some Body <{address}>, second@far.test\r\nCc: {address} (who), Group: {address}, \"g h\"@far.test;\r\nSender: {address}\r\n"
            f"Reply-To: {address}\r\nErrors-To: {address}\r\nResent-From: {address}\r\nResent-Date: Sat, 28 Nov 2026 10:00:00 +0000\r\nResent-Message-ID: <r@case>\r\nResent-To: {address}\r\nReturn-Receipt-To: {address}\r\nSubject: x\r\nDate: Sat, 28 Nov 2026 10:00:00 +0000\r\n"
            f"Message-ID: <{ident}@case>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nbody\r\n")


def run(system, sink):
    replies = {}
    for case, (_, addresses) in ALL.items():
        session = Session(system.port[case])
        for i, address in enumerate(addresses):
            replies[f"{case}-{i}"] = session.send(f"{case}-{i}", address, message(f"{case}-{i}", address))
        session.say("QUIT")
    quiet(system)
    return replies, arrived(sink), outcome(system.log())


@pytest.fixture(scope="module")
def both():
    yield from beside("settings-", [*CLEANUP, *SMTPD, *CASES], prepare, run)


@pytest.mark.parametrize("case", [f"{c}-{i}" for c, (_, addresses) in ALL.items() for i in range(len(addresses))])
def test_same(both, case):
    ours, theirs = ({"replies": r[0][case], "arrived": r[1].get(case), "log": r[2].get(case)} for r in both)
    name, i = case.rsplit("-", 1)
    assert ours == theirs, ALL[name][1][int(i)]
