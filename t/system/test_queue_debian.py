"""qmgr(8) and Debian's: how many deliveries at a time and of how many recipients, what is said of mail that is not tried, is late, expires, and
what postsuper(1) does to it. Both run at the same time; what depends on time is asked for (a flush), never waited for."""
import json
import os
import re
import shutil
import signal
import smtplib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from fakesmtp import Server
from instance import Instance, scratch, until

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="needs root and Debian's postfix")
TEXT = b"From: a@example.org\r\nSubject: x\r\n\r\nhello\r\n"
# transport -> parameters; domains are TRANSPORT.test
TRANSPORTS = {
    "limit": {"destination_concurrency_limit": "2"},
    "initial": {"initial_destination_concurrency": "3"},
    "one": {"destination_rate_delay": "1s"},
    "chunk": {"destination_recipient_limit": "2"},
    "single": {"destination_recipient_limit": "1"},
    "whole": {},
    "dead": {"destination_concurrency_failed_cohort_limit": "1"},
    "mailbox": {"destination_recipient_limit": "1", "destination_concurrency_limit": "1"},
    "never": {"destination_concurrency_failed_cohort_limit": "0"},
    "late": {},
    "narrow": {},
    "list": {"destination_recipient_limit": "1"},
    "strict": {"destination_recipient_limit": "1", "delivery_slot_cost": "0"},
    "eager": {"destination_recipient_limit": "1", "delivery_slot_cost": "2", "delivery_slot_loan": "0", "delivery_slot_discount": "0"},
    "short": {"destination_recipient_limit": "1", "minimum_delivery_slots": "20"},
    "slow": {"transport_rate_delay": "1s"},
    "double": {"initial_destination_concurrency": "2"},
    "cohort": {"initial_destination_concurrency": "2", "destination_concurrency_positive_feedback": "1 / concurrency"},
    "part": {"initial_destination_concurrency": "2", "destination_concurrency_positive_feedback": "0.3"},
    "quarter": {"initial_destination_concurrency": "2", "destination_concurrency_positive_feedback": "1/4"},
    "wrong": {"initial_destination_concurrency": "2", "destination_concurrency_positive_feedback": "3"},
    "loses": {"initial_destination_concurrency": "6", "destination_concurrency_failed_cohort_limit": "0"},
    "yields": {"initial_destination_concurrency": "6", "destination_concurrency_failed_cohort_limit": "0",
               "destination_concurrency_negative_feedback": "1 / concurrency"},
    "halves": {"initial_destination_concurrency": "6", "destination_concurrency_failed_cohort_limit": "0",
               "destination_concurrency_negative_feedback": "0.5"},
    "dies": {"initial_destination_concurrency": "4", "destination_concurrency_failed_cohort_limit": "2",
             "destination_concurrency_negative_feedback": "1 / concurrency"},
}
MAXPROC = {"narrow": "2", "list": "1", "strict": "1", "eager": "1", "short": "1"}
LISTS = ("list", "strict", "eager", "short")
HELD = ("limit", "initial", "one", "mailbox", "narrow", "slow")
GROW, SHRINK = ("double", "cohort", "part", "quarter", "wrong"), ("loses", "yields", "halves", "dies")  # what deliveries end in


class Turnstile:
    """Deliveries wait until they are let through, some at a time."""

    def __init__(self, reply):
        self.reply, self.now, self.passes, self.changed, self.cond = reply, 0, 0, 0, threading.Condition()

    def __call__(self, server, conn, line):
        with self.cond:
            self.now, self.changed = self.now + 1, time.monotonic()
            self.cond.wait_for(lambda: self.passes > 0, 60)
            self.now, self.passes, self.changed = self.now - 1, self.passes - 1, time.monotonic()
        return self.reply

    def let(self, n):
        with self.cond:
            self.passes += n
            self.cond.notify_all()


class Gate:
    """Deliveries wait at the end of the data until the gate opens."""

    def __init__(self):
        self.open, self.lock, self.now, self.most, self.changed = threading.Event(), threading.Lock(), 0, 0, 0

    def __call__(self, server, conn, line):
        with self.lock:
            self.now += 1
            if self.now > self.most:
                self.most, self.changed = self.now, time.monotonic()
        self.open.wait(40)
        with self.lock:
            self.now -= 1
        return "250 2.0.0 ok"

    def settle(self):
        """No more come, for a second."""
        end = time.monotonic() + 30
        while time.monotonic() < end and (self.most < 1 or time.monotonic() - self.changed < 1):
            time.sleep(0.05)
        self.open.set()
        return self.most


SOON = 120  # longer than a delivery may be held at a gate or a turnstile: what waits behind one is late, not lost


def wait(mta, pattern, n):
    end = time.monotonic() + SOON
    while len(re.findall(pattern, mta.log(), re.M)) < n:
        assert time.monotonic() < end, "%s\n%s" % (pattern, mta.log()[-4000:])
        time.sleep(0.05)


def send(mta, domain, rcpts=1, count=1):
    with smtplib.SMTP("127.0.0.1", mta.port["smtp"], timeout=60) as s:
        for _ in range(count):
            s.sendmail("a@example.org", ["u%d@%s" % (i, domain) for i in range(rcpts)], TEXT)


def reasons(mta, domain):
    """Results of recipients of the domain, without times, ids and ports."""
    found = re.findall(r"\w+: (to=<[^>]*@%s>.*)$" % re.escape(domain), mta.log(), re.M)
    found = [re.sub(r"delay=[\d.]+, (delays=[\d./]+, )?", "", x) for x in found]
    return sorted(re.sub(r"\]:\d+", "]:PORT", x) for x in found)


def play(mta, servers, gates):
    """What one of the two does with all of it."""
    out = {}
    for n in HELD:
        send(mta, n + ".test", rcpts=3 if n == "mailbox" else 1, count=6)
    for n in HELD:
        out[n] = gates[n].settle()
    for n in LISTS:
        out[n] = overtake(mta, n, servers[n], gates[n])
    for n in ("chunk", "single", "whole"):
        send(mta, n + ".test", rcpts=5)
        wait(mta, r"to=<u\d@%s\.test>.*status=sent" % n, 5)
        out[n] = sorted(n for n, in servers[n].transactions)
    send(mta, "dead.test")
    wait(mta, r"to=<u0@dead.test>", 1)
    send(mta, "dead.test", rcpts=2)
    wait(mta, r"to=<u\d@dead.test>", 3)
    for n in ("waits", "nosuch"):
        send(mta, n + ".test")
        wait(mta, r"to=<u0@%s.test>" % n, 1)
    for k in range(5):  # one after the other
        send(mta, "never.test")
        wait(mta, r"to=<u0@never.test>", k + 1)
    for n in ("dead", "waits", "nosuch", "never"):
        out[n] = reasons(mta, n + ".test")
    return out


def overtake(mta, name, server, gate):
    """One delivery at a time: a list with 60 recipients, then small messages while its first delivery goes on. Where the small ones come."""
    send(mta, name + ".test", rcpts=60)
    assert until(lambda: gate.now == 1, SOON)
    for k, rcpts in enumerate((1, 1, 1, 1, 1, 2)):
        with smtplib.SMTP("127.0.0.1", mta.port["smtp"], timeout=60) as s:
            s.sendmail("small%d@example.org" % k, ["small%d%d@%s.test" % (k, i, name) for i in range(rcpts)], TEXT)
        wait(mta, r"from=<small%d@example.org>.*queue active" % k, LISTS.index(name) + 1)
    gate.open.set()
    wait(mta, r"to=<\w+@%s\.test>.*status=sent" % name, 67)
    order = [l[len("RCPT TO:<"):].split("@")[0] for l in server.lines if l.startswith("RCPT")]
    return [(i, who) for i, who in enumerate(order) if who.startswith("small")]


def feedback(mta, stiles):
    """How many deliveries there are at a time at first, after one has ended, and another ... of mail that is there already."""
    out = {n: [] for n in stiles}
    for n in stiles:
        send(mta, n + ".test", count=30 if n in GROW else 20)
    for _ in range(10):
        assert until(lambda: all(s.passes == 0 and time.monotonic() - s.changed > 1 for s in stiles.values()))
        for n, s in stiles.items():
            out[n].append(s.now)
            s.let(min(1, s.now))
    for s in stiles.values():
        s.let(1000)
    return out


def verp(mta, server):
    """What is said to a sender who asks for VERP, with which delimiters, and the senders that a server sees."""
    said = []
    with smtplib.SMTP("127.0.0.1", mta.port["smtp"], timeout=60) as s:
        s.ehlo("x.test")
        for o in ("XVERP", "XVERP=+=", "XVERP=#=", "XVERP=+", "XVERP=+=-", "XVERP=ab", "XVERP="):
            said.append((o, s.docmd("MAIL", "FROM:<list@example.org> " + o)))
            s.rset()
    for o in ("-XV", "-XV#=", "-XVab", "-XV+"):
        p = mta.command("sendmail", "-f", "list@example.org", o, "verp@whole.test", input=TEXT)
        said.append((o, p.returncode, p.stderr))
    wait(mta, r"to=<verp@whole\.test>.*status=sent", 2)
    return said, sorted(l.split(" SIZE")[0] for l in server.lines if l.startswith("MAIL FROM:<list"))


def reload(mta, **main):
    """qmgr may still be the old one for a moment: who flushes afterwards does so until it works."""
    n = len(re.findall(r"/master\[\d+\]: reload", mta.log()))
    mta.main.update(main)
    if isinstance(mta, peer.Peer):
        mta.write_main()
    else:
        mta.write_config()
    os.kill(mta.proc.pid, signal.SIGHUP)
    wait(mta, r"/master\[\d+\]: reload", n + 1)


def flush(mta, pattern, n):
    """Attempts at once, until the log says so n times."""
    end = time.monotonic() + 40
    while len(re.findall(pattern, mta.log(), re.M)) < n:
        assert time.monotonic() < end, "%s\n%s" % (pattern, mta.log()[-4000:])
        mta.command("postqueue", "-f")
        until(lambda: len(re.findall(pattern, mta.log(), re.M)) >= n, 3)


def queue_id(mta, rcpt):
    return re.search(r": (\w+): to=<%s>" % re.escape(rcpt), mta.log())[1]


def plain(text):
    return re.sub(r"\]:\d+", "]:PORT", text).replace("X-Postern", "X-Postfix").replace("delivery temporarily suspended: ", "")


def story(mta, qid):
    """What the log says of a message: each thing once, for nobody knows how often it was flushed, and when it was late."""
    out = set()
    for l in mta.log().splitlines():
        if re.search(r": %s: | orig_id=%s$" % (qid, qid), l) and "skipped, still being delivered" not in l:
            l = re.sub(r"^.* postfix/(\w+)\[\d+\]: ", r"\1: ", l)
            l = re.sub(r"\b(?=\w*\d)[0-9A-F]{10,}\b", "ID", plain(l))
            l = re.sub(r"delay=[\d.]+, delays=[\d./]+, |@mail.example.test>|message-id=<[\w.]+|\bsize=\d+, |uid=\d+ ", "", l)
            out.add(re.sub(r"^(?:error|retry|qmgr|smtp): (ID: to=.*relay=none)", r"\1", l))  # who says so, and whether it was tried, is no matter
    return sorted(out)


def reports(server):
    """What became of which recipient, by the reports that the sender got."""
    out = set()
    for m in server.messages:
        text = re.sub(r"\n[ \t]+", " ", plain(m.decode("latin-1").replace("\r", "")))
        subject, rcpt, *rest = [re.findall(r"^%s: (.*)$" % f, text, re.M) for f in ("Subject", "Final-Recipient", "Action", "Status", "Diagnostic-Code")]
        if len(rcpt) == 1 and rcpt[0].split()[-1] in (*LATE, "once13@never.test") and not (rest[0] == ["delayed"] and "waits" in rcpt[0]):
            out.add((subject[0], rcpt[0], str(rest), "Will-Retry-Until: " in text))
    return sorted(out)


LATE = ("u0@dead.test", "u0@waits.test", "u0@nosuch.test", "u0@late.test")


def where(mta, qid):
    found = [m for m in map(json.loads, mta.command("postqueue", "-j").stdout.splitlines()) if m["queue_id"] == qid]
    return found[0]["queue_name"] if found else None


def times(mta, servers):
    """Mail that waits, by what it is told of: late, over, expired."""
    out, deferred = {}, r": to=<u\d@%s\.test>.*status=deferred"
    send(mta, "late.test")
    wait(mta, deferred % "late", 1)
    reload(mta, qmgr_message_active_limit="2", qmgr_message_recipient_limit="3")
    ids = {r: queue_id(mta, r) for r in LATE}
    for qid in ids.values():
        flush(mta, ": %s: sender delay notification: " % qid, 1)
    assert until(lambda: all(where(mta, qid) == "deferred" for qid in ids.values()), SOON)  # that it was told of is written down, too
    servers["late"].replies["RCPT"] = "250 2.1.5 ok"
    flush(mta, ": %s: removed" % ids["u0@late.test"], 1)
    send(mta, "whole.test", rcpts=5, count=4)  # more than may be active
    wait(mta, r"to=<u\d@whole\.test>.*status=sent", 25)
    requeue(mta, out)
    reload(mta, maximal_queue_lifetime="0")
    for rcpt, qid in ids.items():
        flush(mta, ": %s: removed" % qid, 1)
        out[rcpt] = story(mta, qid)
    for sender in ("a@example.org", ""):
        rcpt = "once%d@never.test" % len(sender)
        with smtplib.SMTP("127.0.0.1", mta.port["smtp"], timeout=60) as s:
            s.sendmail(sender, [rcpt], TEXT)
        wait(mta, r": to=<%s>" % rcpt, 1)
        qid = queue_id(mta, rcpt)
        wait(mta, ": %s: removed" % qid, 1)
        out[rcpt] = len(re.findall(r"to=<%s>" % rcpt, mta.log())), story(mta, qid)
    empty(mta)
    wait(mta, r"to=<a@example\.org>.*status=sent", len(re.findall("sender .*notification: ", mta.log())))
    out["reports"] = reports(servers["sink"])
    return out


def empty(mta):
    end = time.monotonic() + 40
    while mta.command("postqueue", "-j").stdout:
        assert time.monotonic() < end, mta.command("postqueue", "-p").stdout
        mta.command("postqueue", "-f")
        time.sleep(0.2)


def listed(mta, qid):
    """(queue, recipients) of a message; () none."""
    found = [m for m in map(json.loads, mta.command("postqueue", "-j").stdout.decode().splitlines()) if m["queue_id"] == qid]
    return () if not found else (found[0]["queue_name"], sorted(r["address"] for r in found[0]["recipients"]))


def requeue(mta, out):
    """postsuper -r of a message with two recipients, one of which is delivered; the other has an alias since. Then what it says about hold."""
    with smtplib.SMTP("127.0.0.1", mta.port["smtp"], timeout=60) as s:
        s.sendmail("a@example.org", ["u0@whole.test", "old@never.test"], TEXT)
    wait(mta, r": to=<old@never\.test>.*status=deferred", 1)
    qid = queue_id(mta, "old@never.test")
    wait(mta, r": %s: to=<u0@whole\.test>.*status=sent" % qid, 1)
    flush(mta, ": %s: sender delay notification: " % qid, 1)  # the sender is not told again after that
    assert until(lambda: listed(mta, qid)[:1] == ("deferred",), SOON)  # on its way between two directories it is in none
    out["hold"] = [mta.command("postsuper", "-h", qid).stderr, listed(mta, qid), mta.command("postsuper", "-H", qid).stderr, listed(mta, qid)]
    alias(mta, "old@never.test new@whole.test\n")
    new = qid
    while True:  # until nobody uses the table as it was any more
        said = mta.command("postsuper", "-r", new).stderr.decode()
        mta.command("postkick", "public", "pickup", "W")
        wait(mta, " orig_id=%s$" % new, 1)
        old, new = new, re.search(r": (\w+): uid=\d+ .* orig_id=%s$" % new, mta.log(), re.M)[1]
        wait(mta, ": %s: (?:removed|to=.*status=deferred)" % new, 1)
        if ": %s: removed" % new in mta.log():
            break
    out["requeue"] = [re.sub(old, "ID", said), *story(mta, new), "before:", *story(mta, qid)]
    out["hold"] = [re.sub(qid, "ID", str(l)) for l in out["hold"]]


def alias(mta, text):
    mta.write_config()
    assert mta.command("postmap", "hash:" + mta.write("virtual", text)).returncode == 0


def mta_of(make, base, name, servers):
    routes = ["{%s.test = %s:[127.0.0.1]:%d}" % (n, n, servers[n].port) for n in TRANSPORTS]
    routes += ["{waits.test = later:[127.0.0.1]:%d}" % servers["dead"].port, "{nosuch.test = nosuch:x}", "{example.org = smtp:[127.0.0.1]:%d}" % servers["sink"].port]
    main = {"transport_maps": "inline:{%s}" % " ".join(routes), "defer_transports": "later", "smtpd_recipient_restrictions":
            "permit_mynetworks, reject", "queue_run_delay": "300s", "minimal_backoff_time": "300s", "smtp_tls_security_level": "",
            "smtp_connection_cache_on_demand": "no", "smtp_log_tls_feature_status": "no", "maillog_file_prefixes": base, "bounce_queue_lifetime": "0",
            "delay_warning_time": "1s", "confirm_delay_cleared": "yes", "notify_classes": "",
            "smtpd_authorized_verp_clients": "127.0.0.1", "default_verp_delimiters": "-=", "verp_delimiter_filter": "-=+#"}
    main.update({"%s_%s" % (n, k): v for n, c in TRANSPORTS.items() for k, v in c.items()})
    main["virtual_alias_maps"] = "hash:%s" % os.path.join(base, name, "etc/virtual")
    return make(os.path.join(base, name), main=main, master=["%s unix - - n - %s smtp" % (n, MAXPROC.get(n, "-")) for n in [*TRANSPORTS, "later"]])


def one_side(make, base, name):
    gates = {n: Gate() for n in (*HELD, *LISTS)}
    stiles = {n: Turnstile("250 2.0.0 ok") for n in GROW} | {n: Turnstile("421 4.3.2 no") for n in SHRINK}
    servers = {n: Server(BODY=gates[n]) if n in gates else Server() for n in [*TRANSPORTS, "sink"]}
    for n, stile in stiles.items():
        servers[n].replies["BODY" if n in GROW else "GREETING"] = stile
    servers["late"].replies["RCPT"] = "451 4.2.0 later"
    for n in ("dead", "never"):
        servers[n].refuse()
    mta = mta_of(make, base, name, servers)
    alias(mta, "nobody@never.test x@whole.test\n")
    try:
        mta.start()
        out = play(mta, servers, gates)
        out.update(feedback(mta, stiles), verp=verp(mta, servers["whole"]))
        out.update(times(mta, servers))
        return out
    finally:
        for g in gates.values():
            g.open.set()
        for s in stiles.values():
            s.let(1000)
        mta.stop()


@pytest.fixture(scope="module")
def both():
    base = scratch("queue-debian.")
    try:
        with ThreadPoolExecutor(2) as pool:
            yield [f.result() for f in [pool.submit(one_side, peer.Peer, base, "theirs"), pool.submit(one_side, Instance, base, "ours")]]
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("name,most", [("limit", 2), ("initial", 3), ("one", 1), ("mailbox", 3), ("narrow", 2), ("slow", 1)])
def test_deliveries_at_a_time(both, name, most):
    """TRANSPORT_destination_concurrency_limit, _initial_destination_concurrency, _destination_rate_delay, maxproc of master.cf; with
    _destination_recipient_limit = 1 they are those of each recipient."""
    assert both[1][name] == both[0][name] == most


@pytest.mark.parametrize("name", LISTS)
def test_small_messages_overtake_a_list(both, name):
    """TRANSPORT_delivery_slot_cost, _loan, _discount, _minimum_delivery_slots (SCHEDULER_README)."""
    assert both[1][name] == both[0][name]


def test_verp_delimiters(both):
    """default_verp_delimiters, verp_delimiter_filter."""
    assert both[1]["verp"] == both[0]["verp"]
    assert both[1]["verp"][1] == ["MAIL FROM:<list#verp=whole.test@example.org>", "MAIL FROM:<list-verp=whole.test@example.org>"]


@pytest.mark.parametrize("name", [*GROW, *SHRINK])
def test_feedback(both, name):
    """TRANSPORT_destination_concurrency_positive_feedback, _negative_feedback, _failed_cohort_limit: deliveries at a time, as one by one ends."""
    assert both[1][name] == both[0][name]


@pytest.mark.parametrize("name,sizes", [("chunk", [1, 2, 2]), ("single", [1] * 5), ("whole", [5])])
def test_recipients_of_a_delivery(both, name, sizes):
    """TRANSPORT_destination_recipient_limit."""
    assert both[1][name] == both[0][name] == sizes


@pytest.mark.parametrize("name", ["dead", "waits", "nosuch", "never"])
def test_mail_that_is_not_tried(both, name):
    """A destination that failed just before, defer_transports, a transport that is not there; how many failures make a destination dead
    (TRANSPORT_destination_concurrency_failed_cohort_limit)."""
    assert both[1][name] == both[0][name]


@pytest.mark.parametrize("name", LATE)
def test_late_mail(both, name):
    """Flushed: tried again whatever defers it, told of once (delay_warning_time), told of again when it is delivered (confirm_delay_cleared), returned
    when its time is over (maximal_queue_lifetime)."""
    assert both[1][name] == both[0][name]


def test_no_time_in_the_queue(both):
    """maximal_queue_lifetime = 0, bounce_queue_lifetime = 0: one attempt."""
    for rcpt in ("once13@never.test", "once0@never.test"):
        assert both[1][rcpt] == both[0][rcpt] and both[1][rcpt][0] == 1


def test_reports(both):
    """What the sender is told of all that."""
    assert both[1]["reports"] == both[0]["reports"]


def test_hold(both):
    """postsuper -h, -H: the message waits for its time again."""
    assert both[1]["hold"] == both[0]["hold"]


def test_requeue(both):
    """postsuper -r: pickup and cleanup have the message again, the alias of today counts, what is delivered is not delivered again."""
    assert both[1]["requeue"] == both[0]["requeue"]
