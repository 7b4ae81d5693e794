"""Address verification: for each case an smtpd of its own in our suite and in Debian's Postfix, with the same settings and the same next hop. Replies, what the next hop
was asked, and what the log says of every probe have to be the same."""
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import instance  # noqa: E402
import peer  # noqa: E402
from fakesmtp import Server  # noqa: E402
from test_addresses_debian import Session, beside, quiet  # noqa: E402

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or not root")
HOST = "mail.example.test"
VIRTUAL = "valias.test anything\none@valias.test good@hop.test\ntwo@valias.test good@hop.test, bad@hop.test\nlost@valias.test bad@hop.test\nlocal@valias.test known\n"
ALIASES = "known: good@hop.test\nmany: good@hop.test, bad@hop.test\nlist: bad@hop.test\nowner-list: boss@hop.test\ncmd: \"|exit 69\"\n"
RCPTS = ["good@hop.test", "Good@HOP.test", "bad@hop.test", "soft@hop.test", "x@error.test", "x@later.test", "x@gone.test", "x@error4.test", "x@retry5.test", "x@empty.test", "nobody-here@" + HOST, "known@" + HOST, "many@" + HOST, "list@" + HOST, "cmd@" + HOST,
         "one@valias.test", "two@valias.test", "lost@valias.test", "none@valias.test", "local@valias.test", "good+ext@hop.test", '"a b"@hop.test', "x@null.test", "x@refused.test"]
RCPT = {"smtpd_recipient_restrictions": "reject_unverified_recipient, permit"}
SENDER = {"smtpd_sender_restrictions": "reject_unverified_sender, permit"}
# name -> (settings of smtpd, senders, recipients)
CASES = {
    "rcpt": (RCPT, ["s@else.test"], RCPTS),
    "sender": (SENDER, ["", *RCPTS], ["good@hop.test"]),
    "codes": ({**RCPT, **SENDER, "unverified_recipient_reject_code": "550", "unverified_recipient_defer_code": "451", "unverified_sender_reject_code": "553", "unverified_sender_defer_code": "452"},
              ["good@hop.test", "bad@hop.test", "soft@hop.test"], ["good@hop.test", "bad@hop.test", "soft@hop.test", "x@later.test"]),
    "codes2": ({**RCPT, "unverified_recipient_reject_code": "250", "unverified_recipient_defer_code": "250", **SENDER, "unverified_sender_reject_code": "250", "unverified_sender_defer_code": "250"}, ["s@else.test", "bad@hop.test", "soft@hop.test"], ["bad@hop.test", "soft@hop.test"]),
    "reasons": ({**RCPT, **SENDER, "unverified_recipient_reject_reason": "no such address", "unverified_sender_reject_reason": "5.7.8 go away"}, ["good@hop.test", "bad@hop.test"], ["bad@hop.test", "soft@hop.test"]),
    "defer": ({**RCPT, **SENDER, "unverified_recipient_tempfail_action": "defer", "unverified_sender_tempfail_action": "defer"}, ["soft@hop.test"], ["good@hop.test", "soft@hop.test"]),
    "deferif": ({"smtpd_recipient_restrictions": "reject_unverified_recipient, reject", "unverified_recipient_tempfail_action": "defer_if_permit"}, ["s@else.test"], ["good@hop.test", "soft@hop.test"]),
    "reject": ({"reject_tempfail_action": "defer", **RCPT}, ["s@else.test"], ["soft@hop.test"]),
    "warn": ({"smtpd_recipient_restrictions": "warn_if_reject reject_unverified_recipient, permit"}, ["s@else.test"], ["bad@hop.test", "soft@hop.test"]),
    "soft": ({**RCPT, "soft_bounce": "yes", "unverified_recipient_reject_code": "550"}, ["s@else.test"], ["bad@hop.test"]),
}
# Settings of all, one after the other: of verify(8) itself.
WORLDS = {
    "plain": {},
    "sender": {"address_verify_sender": "prober@mine.test", "address_verify_transport_maps": "inline:{ hop.test=error:by-probe }"},
    "null": {"address_verify_sender": ""},
    "notcached": {"address_verify_negative_cache": "no", "address_verify_poll_count": "2"},
    "angle": {"address_verify_sender": "<>", "address_verify_map": ""},
    "data": {"smtp_address_verify_target": "data", "double_bounce_sender": "twice", "address_verify_default_transport": "error:5.4.9 probes stay", "address_verify_virtual_transport": "error:5.4.8 no"},
}


def answer(server, c, line):
    return "550 5.1.1 no such user" if b"<bad@" in line else "450 4.2.0 greylisted" if b"<soft@" in line else "250 2.1.5 ok"


def prepare(system, world, hop):
    system.main.update({
        "virtual_alias_maps": f"texthash:{system.config}/virtual", "alias_maps": f"hash:{system.config}/aliases", "alias_database": "$alias_maps", "local_recipient_maps": "", "myorigin": HOST,
        "transport_maps": f"inline:{{ {{hop.test=smtp:[127.0.0.1]:{hop.port}}} {{error.test=error:5.1.2 not there}} {{later.test=retry:4.4.1 not now}} {{gone.test=discard:silently}} {{error4.test=error:4.7.1 no such code}} {{retry5.test=retry:5.2.1 nor this}} {{empty.test=error:}} {{refused.test=smtp:[127.0.0.1]:1}} {{null.test=smtp:[127.0.0.1]:{hop.port}}} }}",
        "address_verify_poll_delay": "1s", "address_verify_poll_count": "5", "smtpd_reject_unlisted_recipient": "no", "smtpd_relay_restrictions": "permit_mynetworks, reject", "smtp_tls_security_level": "", "smtpd_tls_security_level": "",
        "smtpd_client_connection_rate_limit": "0", "smtpd_error_sleep_time": "0", "smtpd_soft_error_limit": "1000", "smtpd_hard_error_limit": "1000", "notify_classes": "", "default_transport": "error:5.4.4 nowhere",
        "address_verify_negative_refresh_time": "1h", "smtp_destination_concurrency_failed_cohort_limit": "0", "local_destination_concurrency_limit": "1", **world})
    system.write("virtual", VIRTUAL)
    system.write("main.cf", "")
    path = system.write("aliases", ALIASES)
    r = subprocess.run([os.path.join(instance.BIN, "postalias"), "hash:" + path], env=dict(os.environ, MAIL_CONFIG=system.config), capture_output=True, check=False)
    assert r.returncode == 0, r.stderr.decode()
    system.extra_master = [f"127.0.0.1:{system.port[c]} inet n - n - - smtpd" + "".join(" -o { %s = %s }" % kv for kv in settings.items()) for c, (settings, _, _) in CASES.items()]


def clean(text):
    text = re.sub(r"(127\.0\.0\.1\]?:)\d+", r"\1PORT", text)
    return re.sub(r" (delay|delays|conn_use)=[^,]*,", "", text)


def talk(port, pairs):
    s, said = Session(port), {}
    for sender, rcpt in pairs:
        lines = [s.say(f"MAIL FROM:<{sender}>")]
        if lines[0][0] == "2":
            lines.append(s.say(f"RCPT TO:<{rcpt}>"))
        s.say("RSET")
        said[sender, rcpt] = [clean(line) for line in lines]
    s.say("QUIT")
    return said


def run(system, hop, cases):
    """What is known of an address stays known: only of the first case several may be asked at a time, and each of them once. Where what is bad is not kept, the second answer
    counts: the first one depends on whether the probe is done within the second that there is for it."""
    replies = {}
    first = system.main.get("address_verify_negative_cache") != "no"
    for n, case in enumerate(cases):
        pairs = [(sender, rcpt) for sender in CASES[case][1] for rcpt in CASES[case][2]]
        alone = [pairs] if n > 0 else [[p] for p in pairs if p[1] != "Good@HOP.test"]
        with ThreadPoolExecutor(8) as pool:
            answers = [*pool.map(lambda some: talk(system.port[case], some), alone), *([] if n > 0 else [talk(system.port[case], pairs)])]
        for said in reversed(answers) if first else answers:
            replies.update({(case, *pair): lines for pair, lines in said.items()})
    quiet(system)
    probes = {clean(rest) for rest in re.findall(r": \w+: (to=<.*status=.*)$", system.log(), re.M)}
    asked = {re.sub(r" SIZE=\d+", "", line) for line in hop.lines if re.match(r"MAIL|RCPT|DATA", line, re.I)}
    return replies, probes, asked


@pytest.fixture(scope="module", params=WORLDS)
def both(request):
    hops = []
    cases = CASES if request.param == "plain" else ["rcpt"]

    def setup(system, sink):
        hops.append(Server(RCPT=answer))
        prepare(system, WORLDS[request.param], hops[-1])
    yield from beside("verify-", CASES, setup, lambda system, sink: run(system, hops[-1], cases))
    for h in hops:
        h.end()


def test_same_replies(both, request):
    ours, theirs = ({k: [line.replace('<"a b"@', "<a b@") for line in v] for k, v in r[0].items()} for r in both)  # a reply of ours has the address as it was said
    if "notcached" in request.node.name:  # ours says why; Postfix, for ever, that it is being verified
        ours, theirs = ({k: [line[:3] for line in v] for k, v in r.items()} for r in (ours, theirs))
    assert ours.keys() == theirs.keys()
    other = {k: (ours[k], theirs[k]) for k in ours if ours[k] != theirs[k]}
    assert not other, "\n".join(f"{k}\n  ours   {o}\n  theirs {t}" for k, (o, t) in other.items())


def test_same_probes(both):
    """Who was asked for whom, and what came of it. An address is probed once, in whatever case it is written; what is quoted stays so in ORCPT."""
    for ours, theirs in zip(*(r[1:] for r in both)):
        other = {line for line in theirs if "Good@HOP.test" in line}
        assert ours == {line.replace("ORCPT=rfc822;a+20b@", 'ORCPT=rfc822;"a+20b"@') for line in theirs - other}
