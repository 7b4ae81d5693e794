"""Which keys each use of a table asks, and in which order: access(5), canonical(5), virtual(5), transport(5), relocated(5), generic(5) and the lists of
domains. A server with memcached's protocol (of the types that a daemon asks anew each time, the one that partial keys are asked of) has nearly
nothing, and notes the questions. What is expected stands here, and Debian's Postfix is held against the same table where it is installed. A key
that is asked again (by a cache that is not there, or by another daemon) counts once."""
import os
import re
import shutil
import socket

import pytest

import fakeservers
import fakesmtp
from instance import Instance, scratch, until
from peer import HAVE, Peer

OURS = True  # Postfix asks more, of keys that nobody has: parts of an address literal, "2001:db8:", ":"
PAIRS = {"mailbox_domains vbox.test": "x", "relay_domains relay.test": "x", "relay_domains .relay.test": "x", "mailbox t4v@vbox.test": "v/", "relay_recipient t5v@sub.relay.test": "x",
         "local_recipient @mail.example.test": "x", "local_recipient @origin.test": "x", "mydestination dest.test": "x", "local_recipient t8tom@dest.test": "x",
         "virtual_domains t16valias.test": "x"}
CASES = {  # XCLIENT, HELO, sender, recipient, and whether a message follows
    "plain": (None, "H.sub.helo.test", "Sf0+e@a.f0.test", "Rt0+x@b.sub.To.t0.test", True),
    "ours": (None, "h", "f1@origin.test", "loct1+e@mail.example.test", True),
    "local_from": (None, "h", "joef2+q", "tomt2+d", True),
    "mailbox": (None, "h", "f4s1@f4.test", "t4v+e@vbox.test", True),
    "relay": (None, "h", "f5s1@f5.test", "t5v+e@sub.relay.test", True),
    "quoted": (None, "h", "\"a(bf6+x\"@f6.test", "\"c(dt6+x\"@t6.test", True),
    "literal": (None, "h", "f7s@[192.0.2.1]", "t7r@[192.0.2.77]", True),
    "dest": (None, "h", "f8s@dest.test", "t8tom+a@dest.test", True),
    "exts": (None, "h", "f9s@f9.test", "t9u+a+b@t9.test", False),
    "extonly": (None, "h", "f10s@f10.test", "+at10@t10.test", False),
    "percent": (None, "h", "f12s%o.f12.test@x.f12.test", "t12u%o.t12.test@mail.example.test", False),
    "bang": (None, "h", "f13s@f13.test", "o.t13.test!t13u", False),
    "utf8": (None, "h", "f15sé+e@f15.É.test", "t15ré+x@b.t15.Ü.test", True),
    "virtual": (None, "h", "f16s@f16.test", "t16r+x@t16valias.test", False),
    "v4": ("NAME=Mx.a.b.test ADDR=10.1.2.3 REVERSE_NAME=rev.c.test", "h", "s@x.test", None, False),
    "v6": ("NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1:2 REVERSE_NAME=[UNAVAILABLE]", "h", "s@x.test", None, False),
    "v6b": ("NAME=a.test ADDR=IPV6:2001:db8:1:2:3:4:5:6", "h", "s@x.test", None, False),
    "v6c": ("NAME=a.test ADDR=IPV6:::1", "h", "s@x.test", None, False),
    "helo_lit": (None, "[10.1.2.3]", "s@x.test", None, False),
    "helo_num": (None, "10.1.2.3", "s@x.test", None, False),
    "helo_dot": (None, "a.helo.test.", "s@x.test", None, False),
}
# case, use of the table; keys with "f" or "t" and the number of the case in them ("": all keys); with other parent_domain_matches_subdomains
EXPECTED = [
    ("plain", "canonical", "f", "sf0+e@a.f0.test sf0@a.f0.test @a.f0.test"),
    ("plain", "canonical", "t", "rt0+x@b.sub.to.t0.test rt0@b.sub.to.t0.test @b.sub.to.t0.test"),
    ("plain", "generic", "f", "sf0+e@a.f0.test sf0@a.f0.test @a.f0.test"),
    ("plain", "generic", "t", "rt0+x@b.sub.to.t0.test rt0@b.sub.to.t0.test @b.sub.to.t0.test"),
    ("plain", "helo", "", "h.sub.helo.test sub.helo.test helo.test test", "h.sub.helo.test .sub.helo.test .helo.test .test"),
    ("plain", "mailbox_domains", "t", "b.sub.to.t0.test"),
    ("plain", "recipient", "t", "rt0+x@b.sub.to.t0.test rt0@b.sub.to.t0.test b.sub.to.t0.test sub.to.t0.test to.t0.test t0.test rt0+x@ rt0@", "rt0+x@b.sub.to.t0.test rt0@b.sub.to.t0.test b.sub.to.t0.test .sub.to.t0.test .to.t0.test .t0.test rt0+x@ rt0@"),
    ("plain", "recipient_bcc", "t", "rt0+x@b.sub.to.t0.test rt0@b.sub.to.t0.test @b.sub.to.t0.test"),
    ("plain", "recipient_canonical", "t", "rt0+x@b.sub.to.t0.test rt0@b.sub.to.t0.test @b.sub.to.t0.test"),
    ("plain", "relay_domains", "t", "b.sub.to.t0.test sub.to.t0.test to.t0.test t0.test", "b.sub.to.t0.test .sub.to.t0.test .to.t0.test .t0.test"),
    ("plain", "relocated", "t", "rt0+x@b.sub.to.t0.test rt0@b.sub.to.t0.test @b.sub.to.t0.test"),
    ("plain", "sender", "f", "sf0+e@a.f0.test sf0@a.f0.test a.f0.test f0.test sf0+e@ sf0@", "sf0+e@a.f0.test sf0@a.f0.test a.f0.test .f0.test sf0+e@ sf0@"),
    ("plain", "sender_bcc", "f", "sf0+e@a.f0.test sf0@a.f0.test @a.f0.test"),
    ("plain", "sender_canonical", "f", "sf0+e@a.f0.test sf0@a.f0.test @a.f0.test"),
    ("plain", "sender_relayhost", "f", "sf0+e@a.f0.test sf0@a.f0.test @a.f0.test"),
    ("plain", "transport", "t", "rt0+x@b.sub.to.t0.test rt0@b.sub.to.t0.test b.sub.to.t0.test .sub.to.t0.test .to.t0.test .t0.test", "rt0+x@b.sub.to.t0.test rt0@b.sub.to.t0.test b.sub.to.t0.test sub.to.t0.test to.t0.test t0.test"),
    ("plain", "virtual", "t", "rt0+x@b.sub.to.t0.test rt0@b.sub.to.t0.test @b.sub.to.t0.test"),
    ("plain", "virtual_domains", "t", "b.sub.to.t0.test"),
    ("ours", "canonical", "f", "f1@origin.test f1"),
    ("ours", "canonical", "t", "loct1+e@mail.example.test loct1@mail.example.test loct1+e loct1"),
    ("ours", "generic", "f", "f1@origin.test f1"),
    ("ours", "generic", "t", "loct1+e@mail.example.test loct1@mail.example.test loct1+e loct1"),
    ("ours", "local_recipient", "t", "loct1+e@mail.example.test loct1@mail.example.test loct1+e loct1"),
    ("ours", "recipient_bcc", "t", "loct1+e@mail.example.test loct1@mail.example.test loct1+e loct1"),
    ("ours", "relocated", "t", "loct1+e@mail.example.test loct1@mail.example.test loct1+e loct1"),
    ("ours", "sender_bcc", "f", "f1@origin.test f1"),
    ("ours", "transport", "t", "loct1+e@mail.example.test loct1@mail.example.test"),
    ("ours", "virtual", "t", "loct1+e@mail.example.test loct1@mail.example.test loct1+e loct1"),
    ("local_from", "generic", "f", "joef2+q@origin.test joef2@origin.test joef2+q joef2"),
    ("local_from", "generic", "t", "tomt2+d@origin.test tomt2@origin.test tomt2+d tomt2"),
    ("local_from", "recipient", "t", "tomt2+d@origin.test tomt2@origin.test tomt2+d@ tomt2@"),
    ("local_from", "sender_bcc", "f", "joef2+q@origin.test joef2@origin.test joef2+q joef2"),
    ("local_from", "sender_canonical", "f", "joef2+q@origin.test joef2@origin.test joef2+q joef2"),
    ("mailbox", "mailbox", "t", "t4v+e@vbox.test t4v@vbox.test"),
    ("relay", "relay_recipient", "t", "t5v+e@sub.relay.test t5v@sub.relay.test"),
    ("quoted", "recipient", "t", "\"c(dt6+x\"@t6.test c(dt6+x@t6.test \"c(dt6\"@t6.test c(dt6@t6.test t6.test \"c(dt6+x\"@ c(dt6+x@ \"c(dt6\"@ c(dt6@"),
    ("quoted", "recipient_bcc", "t", "\"c(dt6+x\"@t6.test c(dt6+x@t6.test \"c(dt6\"@t6.test c(dt6@t6.test @t6.test"),
    ("quoted", "relocated", "t", "\"c(dt6+x\"@t6.test c(dt6+x@t6.test \"c(dt6\"@t6.test c(dt6@t6.test @t6.test"),
    ("quoted", "sender", "f", "\"a(bf6+x\"@f6.test a(bf6+x@f6.test \"a(bf6\"@f6.test a(bf6@f6.test f6.test \"a(bf6+x\"@ a(bf6+x@ \"a(bf6\"@ a(bf6@"),
    ("quoted", "sender_bcc", "f", "\"a(bf6+x\"@f6.test a(bf6+x@f6.test \"a(bf6\"@f6.test a(bf6@f6.test @f6.test"),
    ("literal", "canonical", "f", "f7s@[192.0.2.1]"),
    ("literal", "canonical", "t", "t7r@[192.0.2.77]"),
    ("literal", "relocated", "t", "t7r@[192.0.2.77]"),
    ("literal", "virtual", "t", "t7r@[192.0.2.77]"),
    ("dest", "generic", "f", "f8s@dest.test f8s"),
    ("dest", "generic", "t", "t8tom+a@dest.test t8tom@dest.test t8tom+a t8tom"),
    ("dest", "recipient_bcc", "t", "t8tom+a@dest.test t8tom@dest.test t8tom+a t8tom"),
    ("dest", "relocated", "t", "t8tom+a@dest.test t8tom@dest.test t8tom+a t8tom"),
    ("dest", "sender_bcc", "f", "f8s@dest.test f8s"),
    ("exts", "recipient", "t", "t9u+a+b@t9.test t9u@t9.test t9.test t9u+a+b@ t9u@"),
    ("exts", "transport", "t", "t9u+a+b@t9.test t9u@t9.test t9.test"),
    ("extonly", "recipient", "t", "+at10@t10.test t10.test +at10@"),
    ("extonly", "transport", "t", "+at10@t10.test t10.test"),
    ("percent", "recipient", "t", "t12u@o.t12.test o.t12.test t12.test t12u@", "t12u@o.t12.test o.t12.test .t12.test t12u@"),
    ("percent", "transport", "f", "f12s%o.f12.test@x.f12.test x.f12.test .f12.test", "f12s%o.f12.test@x.f12.test x.f12.test f12.test"),
    ("percent", "transport", "t", "t12u@o.t12.test o.t12.test .t12.test", "t12u@o.t12.test o.t12.test t12.test"),
    ("bang", "recipient", "t", "t13u@o.t13.test o.t13.test t13.test t13u@", "t13u@o.t13.test o.t13.test .t13.test t13u@"),
    ("bang", "transport", "t", "t13u@o.t13.test o.t13.test .t13.test", "t13u@o.t13.test o.t13.test t13.test"),
    ("utf8", "recipient", "t", "t15ré+x@b.t15.ü.test t15ré@b.t15.ü.test b.t15.ü.test t15.ü.test t15ré+x@ t15ré@", "t15ré+x@b.t15.ü.test t15ré@b.t15.ü.test b.t15.ü.test .t15.ü.test t15ré+x@ t15ré@"),
    ("utf8", "sender", "f", "f15sé+e@f15.é.test f15sé@f15.é.test f15.é.test f15sé+e@ f15sé@"),
    ("utf8", "transport", "t", "t15ré+x@b.t15.ü.test t15ré@b.t15.ü.test b.t15.ü.test .t15.ü.test", "t15ré+x@b.t15.ü.test t15ré@b.t15.ü.test b.t15.ü.test t15.ü.test"),
    ("utf8", "virtual", "t", "t15ré+x@b.t15.ü.test t15ré@b.t15.ü.test @b.t15.ü.test"),
    ("virtual", "virtual", "t", "t16r+x@t16valias.test t16r@t16valias.test @t16valias.test"),
    ("virtual", "virtual_domains", "t", "t16valias.test"),
    ("v4", "client", "", "mx.a.b.test a.b.test b.test test 10.1.2.3 10.1.2 10.1 10", "mx.a.b.test .a.b.test .b.test .test 10.1.2.3 10.1.2 10.1 10"),
    ("v4", "reverse", "", "rev.c.test c.test test 10.1.2.3 10.1.2 10.1 10", "rev.c.test .c.test .test 10.1.2.3 10.1.2 10.1 10"),
    ("v6", "client", "", "unknown 2001:db8::1:2 2001:db8::1 2001:db8 2001", None, OURS),
    ("v6b", "client", "", "a.test test 2001:db8:1:2:3:4:5:6 2001:db8:1:2:3:4:5 2001:db8:1:2:3:4 2001:db8:1:2:3 2001:db8:1:2 2001:db8:1 2001:db8 2001", "a.test .test 2001:db8:1:2:3:4:5:6 2001:db8:1:2:3:4:5 2001:db8:1:2:3:4 2001:db8:1:2:3 2001:db8:1:2 2001:db8:1 2001:db8 2001"),
    ("v6c", "client", "", "a.test test ::1", "a.test .test ::1", OURS),
    ("helo_lit", "helo", "", "[10.1.2.3]", None, OURS),
    ("helo_num", "helo", "", "10.1.2.3"),
    ("helo_dot", "helo", "", "a.helo.test. helo.test. test.", "a.helo.test. .helo.test. .test. ."),
]


def config(base, server, sink, parents):
    def table(name):
        path = os.path.join(base, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(f"memcache = inet:127.0.0.1:{server.port}\nkey_format = {name}:%s\n")
        return f"memcache:{path}"
    sink = f"[127.0.0.1]:{sink.port}"
    main = {
        "smtpd_client_restrictions": f"check_client_access {table('client')}, check_reverse_client_hostname_access {table('reverse')}",
        "smtpd_helo_restrictions": f"check_helo_access {table('helo')}", "smtpd_sender_restrictions": f"check_sender_access {table('sender')}",
        "smtpd_recipient_restrictions": f"check_recipient_access {table('recipient')}", "smtpd_relay_restrictions": "check_client_access static:OK, reject",
        "mydestination": f"$myhostname, localhost, {table('mydestination')}", "myorigin": "origin.test", "append_dot_mydomain": "no", "relayhost": sink,
        "local_transport": f"smtp:{sink}", "virtual_transport": f"smtp:{sink}", "smtpd_authorized_xclient_hosts": "127.0.0.0/8",
        "smtp_dns_support_level": "disabled", "smtpd_peername_lookup": "no", "inet_protocols": "all"}
    for param, name in (("canonical_maps", "canonical"), ("sender_canonical_maps", "sender_canonical"), ("recipient_canonical_maps", "recipient_canonical"),
                        ("virtual_alias_maps", "virtual"), ("virtual_alias_domains", "virtual_domains"), ("virtual_mailbox_domains", "mailbox_domains"),
                        ("virtual_mailbox_maps", "mailbox"), ("relay_domains", "relay_domains"), ("relay_recipient_maps", "relay_recipient"),
                        ("local_recipient_maps", "local_recipient"), ("transport_maps", "transport"), ("relocated_maps", "relocated"),
                        ("sender_dependent_relayhost_maps", "sender_relayhost"), ("smtp_generic_maps", "generic"), ("sender_bcc_maps", "sender_bcc"),
                        ("recipient_bcc_maps", "recipient_bcc")):
        main[param] = table(name)
    return main | ({"parent_domain_matches_subdomains": parents} if parents else {})


def memcached():
    def answer(question):
        key = question.split(b" ")[1]
        value = PAIRS.get(key.decode().replace(":", " ", 1), "").encode()
        return b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(value), value) if value else b"END\r\n"
    return fakeservers.Server(lambda f: f.readline().rstrip() or None, answer)


def talk(f, s, line=None):
    if line is not None:
        s.sendall(line.encode() + b"\r\n")
    while (reply := f.readline())[3:4] == b"-":
        pass
    return reply.decode()


def converse(box, case, sink):
    xclient, helo, sender, rcpt, message = CASES[case]
    before = len(sink.messages)
    with socket.create_connection((box.host, box.port["smtp"]), 60) as s, s.makefile("rb") as f:
        talk(f, s)
        if xclient:
            talk(f, s, "EHLO x")
            assert talk(f, s, "XCLIENT " + xclient).startswith("220")
        talk(f, s, "EHLO " + helo)
        talk(f, s, f"MAIL FROM:<{sender}>" + (" SMTPUTF8" if not sender.isascii() else ""))
        reply = talk(f, s, f"RCPT TO:<{rcpt or 'z@zz.test'}>")
        if message:
            assert reply.startswith("250"), reply
            talk(f, s, "DATA")
            assert talk(f, s, "Subject: x\r\n\r\nx\r\n.").startswith("250")
        talk(f, s, "QUIT")
    assert not message or until(lambda: len(sink.messages) > before, every=0.01), box.log()[-6000:]


def ask_all(make, parents):
    """{(case, use): keys}"""
    base, server, sink, got = scratch("postern-keys-"), memcached(), fakesmtp.Server(), {}
    box = make(os.path.join(base, "i"), main=config(base, server, sink, parents))
    try:
        box.start()
        for case in CASES:
            start = len(server.asked)
            converse(box, case, sink)
            for q in server.asked[start:]:
                use, key = q.decode().split(" ", 1)[1].split(":", 1)
                keys = got.setdefault((case, use), [])
                if key not in keys:
                    keys.append(key)
    finally:
        box.stop()
        server.stop()
        shutil.rmtree(base, ignore_errors=True)
    return got


def of_role(case, keys, role):
    number = re.search(r"[ft](\d+)", CASES[case][2] + (CASES[case][3] or ""))
    return [k for k in keys if not role or re.search(rf"{role}{number[1]}(?!\d)", k)]


@pytest.mark.parametrize("parents", [None, "transport_maps"])
@pytest.mark.parametrize("make", [Instance, pytest.param(Peer, marks=pytest.mark.skipif(not HAVE, reason="needs Debian's Postfix"))])
def test_keys_in_order(make, parents):
    got, wrong = ask_all(make, parents), []
    for case, use, role, keys, *more in EXPECTED:
        other, ours_alone = more + [None, False][len(more):]
        want = (parents and other or keys).split()
        if make is Peer and ours_alone:
            continue
        have = of_role(case, got.get((case, use), []), role)
        if have != want:
            wrong.append(f"{case} {use}: {have}, not {want}")
    assert not wrong, "\n".join(wrong)
