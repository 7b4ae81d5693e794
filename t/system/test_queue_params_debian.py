"""Parameters of the queue beside Debian's Postfix: reports about VERP mail (disable_verp_bounces), too little free space (queue_minfree,
message_size_limit), helpful_warnings and qmgr_clog_warn_time, digits of delays (delay_logging_resolution_limit), max_idle, queue_run_delay. One pair of suites, reloaded."""
import os
import re
import shutil
import smtplib
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from fakesmtp import Server
from instance import Instance, scratch, until
from test_queue_debian import Gate, reload

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="needs root and Debian's postfix")
TEXT = b"From: a@example.org\r\nSubject: x\r\n\r\nhello\r\n"
HUGE = str(10**15)
DIGITS = ("0", "1", "3", "6")
CLASSES = {"virtual_alias_domains": "alias.test, both.test, mail.example.test", "virtual_mailbox_domains": "box.test, both.test", "virtual_mailbox_maps": "",
           "relay_domains": "$mydestination, relay.test, box.test, both.test"}
OWN = "%s@mail.example.test"


def working(mta, program):
    """The processes of that program below master."""
    out = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
                name, rest = f.read().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        if name == program and int(rest.split()[1]) == mta.proc.pid:
            out.append(pid)
    return out


def again(mta, **main):
    """Reloaded, with a qmgr that has read that: what the old one was told while it ended is lost in Postfix."""
    old = set(working(mta, "qmgr"))
    reload(mta, **main)
    assert until(lambda: mta.command("postkick", "public", "qmgr", "I") and set(working(mta, "qmgr")) - old, every=0.2)


def come(mta, condition):
    """Waits for it. Meanwhile pickup and qmgr look for new mail, of which one that was just ending may have been told in vain."""
    for _ in range(60):
        if until(condition, 2):
            return
        for service, what in (("pickup", "W"), ("qmgr", "I")):
            mta.command("postkick", "public", service, what)
    raise AssertionError(mta.log()[-4000:])


def seen(mta, pattern, n):
    come(mta, lambda: len(re.findall(pattern, mta.log())) >= n)


def submit(mta, rcpt, *args, text=TEXT):
    assert mta.command("sendmail", "-f", "list@example.org", *args, *rcpt.split(), input=text).returncode == 0


def empty(mta):
    come(mta, lambda: b"Mail queue is empty" in mta.command("postqueue", "-p").stdout)


def results(mta, since):
    """Recipients and what became of them, from that place of the log on."""
    return sorted(re.findall(r": to=<([^>]*)>,.* status=(\w+)", mta.log()[since:]))


def verp(mta, server):
    """Who gets which reports of a message with three recipients, two of which fail."""
    del server.lines[:], server.messages[:]
    at = len(mta.log())
    submit(mta, "no1@fails.test no2@fails.test ok@sink.test", "-XV")
    seen(mta, r"to=<no[12]@fails\.test>.*status=bounced", len(re.findall(r"to=<no[12]@fails\.test>.*status=bounced", mta.log()[:at])) + 2)
    empty(mta)
    failed = sorted(sorted(re.findall(r"^Final-Recipient: rfc822; (.*)$", m.decode().replace("\r", ""), re.M)) for m in server.messages)
    return results(mta, at), failed, sorted(l.split(" SIZE")[0] for l in server.lines if l.startswith("MAIL"))


def full(mta, server):
    """Mail of all sorts when there is too little room for what comes from the network."""
    at = len(mta.log())
    with smtplib.SMTP("127.0.0.1", mta.port["smtp"], timeout=60) as s:
        with pytest.raises((smtplib.SMTPSenderRefused, smtplib.SMTPDataError)) as e:
            s.sendmail("a@example.org", ["x@sink.test"], TEXT * 3000)  # too much for a slot of the queue's pool
    submit(mta, "team")
    submit(mta, "no1@fails.test", text=TEXT + b"x" * 70 + b"\n" * 70000)
    seen(mta, r"to=<no1@fails\.test>.*status=bounced", len(re.findall(r"to=<no1@fails\.test>.*status=bounced", mta.log()[:at])) + 1)
    come(mta, lambda: len(results(mta, at)) >= 6)
    empty(mta)
    return (e.value.smtp_code, e.value.smtp_error), results(mta, at)


def warned(mta):
    """The warnings of trivial-rewrite and of qmgr while one destination has all that may be active."""
    at, gate = len(mta.log()), mta.gate()
    for k in range(30):
        submit(mta, f"u{k}@gated.test")
    for domain in ("mail.example.test", "alias.test", "box.test", "both.test", "relay.test"):
        submit(mta, "x@" + domain)
    come(mta, lambda: gate.now == 2)
    until(lambda: "is using up" in mta.log()[at:], 1)
    gate.open.set()
    empty(mta)
    log = mta.log()[at:]
    return sorted(set(re.findall(r"trivial-rewrite\[\d+\]: warning: (.*)", log))), sorted(set(re.findall(r"warning: (mail for \S* is using up)", log)))


def digits(mta):
    """The numbers of delay= and delays= of mail that a service with a limit of its own takes."""
    for n in DIGITS:
        submit(mta, f"x@digits{n}.test")
        seen(mta, rf"to=<x@digits{n}\.test>.*status=sent", 1)
    return {n: re.findall(r"[\d.]+", re.search(rf"to=<x@digits{n}\.test>.* delay=(\S+), delays=(\S+),", mta.log()).expand(r"\1 \2")) for n in DIGITS}


def short_times(mta):
    """Whether an idle smtpd ends, and how often mail that is deferred is tried: more than twice, or once."""
    smtplib.SMTP("127.0.0.1", mta.port["smtp"], timeout=60).quit()
    ended = until(lambda: not working(mta, "smtpd"), 40)
    submit(mta, "again@waits.test")
    seen(mta, r"to=<again@waits\.test>.*status=deferred", 3)
    again(mta, minimal_backoff_time="1000s", maximal_backoff_time="1000s")
    submit(mta, "once@waits.test")
    seen(mta, r"to=<once@waits\.test>.*status=deferred", 1)
    until(lambda: "to=<once@waits.test>" in mta.log().split("to=<once@waits.test>", 1)[1], 3)
    return ended, mta.log().count("to=<once@waits.test>")


def one_side(make, base, name):
    server, gated = Server(), Server()
    routes = "{sink.test = smtp:[127.0.0.1]:%d} {gated.test = smtp:[127.0.0.1]:%d} {fails.test = error:5.1.2 no} {waits.test = retry:4.1.2 later} {example.org = smtp:[127.0.0.1]:%d}" % (server.port, gated.port, server.port)
    routes += "".join(" {digits%s.test = digits%s:}" % (n, n) for n in DIGITS) + "".join(" {%s.test = discard:}" % d for d in ("alias", "box", "both", "relay")) + " {mail.example.test = local:}"
    mta = make(f"{base}/{name}", main={
        "transport_maps": "inline:{%s}" % routes, "maillog_file_prefixes": base, "alias_maps": "inline:{ {team = one@sink.test} {x = two@sink.test} {postmaster = post@sink.test} }",
        "notify_classes": "resource", "smtp_tls_security_level": "", "smtp_log_tls_feature_status": "no", "smtp_connection_cache_on_demand": "no",
        "smtp_destination_concurrency_limit": "2", "qmgr_message_active_limit": "20", "qmgr_message_recipient_limit": "20", "smtpd_recipient_restrictions": "permit_mynetworks, reject"},
        master=[f"digits{n} unix - - n - - discard -o delay_logging_resolution_limit={n}" for n in DIGITS])

    def gate():
        gated.replies["BODY"] = g = Gate()
        return g
    mta.gate = gate
    try:
        mta.start()
        out = {"digits": digits(mta), "verp": verp(mta, server)}
        again(mta, disable_verp_bounces="yes")
        out["noverp"] = verp(mta, server)
        again(mta, queue_minfree=HUGE)
        out["minfree"] = full(mta, server)
        again(mta, queue_minfree="0", message_size_limit=HUGE, mailbox_size_limit="0", virtual_mailbox_limit="0")
        out["sizelimit"] = full(mta, server)
        again(mta, message_size_limit="10000000", **CLASSES)
        out["warned"] = warned(mta)
        again(mta, qmgr_clog_warn_time="0")
        out["noclog"] = warned(mta)
        again(mta, qmgr_clog_warn_time="300s", helpful_warnings="no")
        out["nowarnings"] = warned(mta)
        again(mta, max_idle="1s", queue_run_delay="1s", minimal_backoff_time="1s", maximal_backoff_time="1s")
        out["times"] = short_times(mta)
        return out
    finally:
        mta.stop()


@pytest.fixture(scope="module")
def both():
    base = scratch("queue-params.")
    try:
        with ThreadPoolExecutor(2) as pool:
            yield [f.result() for f in [pool.submit(one_side, peer.Peer, base, "theirs"), pool.submit(one_side, Instance, base, "ours")]]
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("case", ["verp", "noverp"])
def test_reports_of_verp_mail(both, case):
    """disable_verp_bounces"""
    theirs, ours = (b[case] for b in both)
    assert ours == theirs and len([r for r in ours[1] if r]) == (2 if case == "verp" else 1)


@pytest.mark.parametrize("case", ["minfree", "sizelimit"])
def test_little_room_concerns_the_network_alone(both, case):
    """queue_minfree, 1.5 * message_size_limit: what is sent from here, forwarded and reported goes on."""
    theirs, ours = (b[case] for b in both)
    assert ours == theirs and ours[0] == (452, b"4.3.1 Insufficient system storage")


@pytest.mark.parametrize("case", ["warned", "noclog", "nowarnings"])
def test_warnings_that_help(both, case):
    """helpful_warnings, qmgr_clog_warn_time; relay_domains may hold mydestination."""
    theirs, ours = (b[case] for b in both)
    assert [re.sub(r":\d+", ":PORT", str(x)) for x in ours] == [re.sub(r":\d+", ":PORT", str(x)) for x in theirs]
    assert (bool(ours[0]), bool(ours[1])) == {"warned": (True, True), "noclog": (True, False), "nowarnings": (False, False)}[case]


def test_short_times(both):
    """max_idle, queue_run_delay with minimal_backoff_time and maximal_backoff_time."""
    assert both[1]["times"] == both[0]["times"] == (True, 1)


@pytest.mark.parametrize("n", DIGITS)
def test_digits_of_delays(both, n):
    """delay_logging_resolution_limit; no number has more than two digits that count."""
    for side in both:
        for number in side["digits"][n]:
            whole, _, rest = number.partition(".")
            assert len(rest) <= int(n) and len((whole + rest).strip("0")) <= 2 and not rest.endswith("0")
    assert n != "6" or any(len(x) > 5 for x in both[1]["digits"][n])
