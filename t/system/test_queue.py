"""The queue at work: qmgr, bounce, error, discard, showq, postqueue and postsuper in a private instance (RFC 5321 4.5.4, RFC 3461, 3464,
6522, 6533; postqueue(1), postsuper(1))."""
import contextlib
import email
import email.policy
import glob
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from fakesmtp import Server  # noqa: E402
from instance import PATIENCE, Instance, free_ports, scratch, until  # noqa: E402

MSG = "Subject: hello\r\nFrom: s@example.test\r\nTo: r@far.test\r\n\r\nbody\r\n"
THEIRS = "/usr/sbin/postqueue"
BASE = {"inet_interfaces": "127.0.0.9", "smtp_tls_security_level": "none", "smtp_connect_timeout": "5s",
        "smtpd_reject_unlisted_recipient": "no"}  # mail whose transport is error: or retry: has to get in


@pytest.fixture
def make():
    made = []
    base = scratch("postern-queue.")  # pytest's own directories are closed to the suite's users

    def go(main=None, **kw):
        inst = Instance(os.path.join(base, "i%d" % len(made)), main={**BASE, **(main or {})}, **kw)
        made.append(inst)
        return inst.start()
    yield go
    for i in made:
        i.stop()
    shutil.rmtree(base, ignore_errors=True)


def send(inst, rcpts, sender="s@sender.test", text=MSG, mail=(), rcpt=()):
    """The queue id."""
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=60) as c:
        c.ehlo("client.test")
        code, reply = c.docmd("MAIL", "FROM:<%s>%s" % (sender, "".join(" " + o for o in mail)))
        assert code == 250, reply
        for r in [rcpts] if isinstance(rcpts, str) else rcpts:
            code, reply = c.docmd("RCPT", "TO:<%s>%s" % (r, "".join(" " + o for o in rcpt)))
            assert code == 250, reply
        code, reply = c.data(text)
        assert code == 250, reply
        return re.search(rb"queued as (\w+)", reply).group(1).decode()


def transports(**t):
    return "inline:{ %s }" % " ".join("{%s=%s}" % (k.replace("_", "."), v) for k, v in t.items())


def to_server(s):
    return "smtp:[127.0.0.1]:%d" % s.port


def settle(cond, seconds=PATIENCE, what="condition"):
    assert until(cond, seconds), what() if callable(what) else what


def report_of(server, n=0):
    settle(lambda: len(server.messages) > n, what="no report came")
    return email.message_from_bytes(server.messages[n], policy=email.policy.default)


def fields(report):
    """(per message, [per recipient]) of the machine-readable part."""
    groups = report.get_payload()[1].get_payload()
    return groups[0], groups[1:]


# ---- bounces ----
def test_permanent_error_makes_a_report(make):
    """RFC 3464, 6522: three parts, the fields that must be there, null reverse-path, Auto-Submitted (RFC 3834)."""
    back = Server()
    inst = make({"transport_maps": transports(far_test="error:5.7.1 go away", sender_test=to_server(back))})
    qid = send(inst, ["r@far.test", "r2@far.test"], mail=["ENVID=a+2Bb", "RET=FULL"], rcpt=["ORCPT=rfc822;or+2Big@x.test"])
    r = report_of(back)
    assert "MAIL FROM:<>" in " ".join(back.lines) and "RCPT TO:<s@sender.test>" in " ".join(back.lines)
    assert r.get_content_type() == "multipart/report" and r.get_param("report-type") == "delivery-status"
    assert r["Auto-Submitted"] == "auto-replied" and r["From"].startswith("MAILER-DAEMON@") or "MAILER-DAEMON@" in r["From"]
    assert r["To"] == "s@sender.test" and r["Date"] and r["Message-Id"] and r["MIME-Version"] == "1.0"
    parts = r.get_payload()
    assert [p.get_content_type() for p in parts] == ["text/plain", "message/delivery-status", "message/rfc822"]
    msg, rcpts = fields(r)
    assert msg["Reporting-MTA"] == "dns; mail.example.test" and msg["Original-Envelope-Id"] == "a+b" and msg["Arrival-Date"]
    assert len(rcpts) == 2
    assert rcpts[0]["Final-Recipient"] == "rfc822; r@far.test" and rcpts[0]["Action"] == "failed" and rcpts[0]["Status"] == "5.7.1"
    assert rcpts[0]["Original-Recipient"] == "rfc822;or+ig@x.test" and "go away" in rcpts[0]["Diagnostic-Code"]
    assert parts[2].get_payload()[0]["Subject"] == "hello"
    inst.wait_log(r"bounce\[\d+\]: %s: sender non-delivery notification: \w+" % qid)
    inst.wait_log(r"%s: to=<r@far.test>, orig_to=<[^>]*>, relay=none.* status=bounced \(go away\)|%s: to=<r@far.test>, relay=none.*dsn=5.7.1, status=bounced \(go away\)" % (qid, qid))
    inst.wait_log(r"qmgr\[\d+\]: %s: removed" % qid)


def test_ret_hdrs_and_notify(make):
    """RFC 3461 4.1, 4.3: RET=HDRS returns the header alone; NEVER is silent; SUCCESS reports what was delivered here."""
    back = Server()
    inst = make({"transport_maps": transports(far_test="error:5.7.1 go away", gone_test="discard:", sender_test=to_server(back))})
    send(inst, "r@far.test", mail=["RET=HDRS"], rcpt=["NOTIFY=FAILURE"])
    r = report_of(back)
    assert r.get_payload()[2].get_content_type() == "text/rfc822-headers" and b"body" not in back.messages[0].split(b"rfc822-headers")[1]
    never = send(inst, "r@far.test", rcpt=["NOTIFY=NEVER"])
    inst.wait_log("%s: removed" % never)
    send(inst, "r@far.test", rcpt=["NOTIFY=SUCCESS"])  # it failed, and failures were not asked for
    inst.wait_log("status=bounced", count=3)
    ok = send(inst, "r@gone.test", rcpt=["NOTIFY=SUCCESS"])
    r = report_of(back, 1)
    msg, rcpts = fields(r)
    assert rcpts[0]["Action"] == "delivered" and rcpts[0]["Status"].startswith("2.")
    assert rcpts[0]["Diagnostic-Code"] == "X-Postern; gone.test"
    inst.wait_log("%s: removed" % ok)
    time.sleep(0.5)
    assert len(back.messages) == 2


def test_double_bounce_ends(make):
    """RFC 5321 4.5.5, 6.1: a report never makes a report to its sender; with 2bounce, which bounce implies, the postmaster gets one, and that is the end."""
    post = Server()
    tm = {"transport_maps": transports(far_test="error:5.7.1 no", sender_test="error:5.1.1 no sender", pm_test="error:5.1.1 no postmaster")}
    inst = make(tm)
    send(inst, "r@far.test")
    inst.wait_log("status=bounced", count=2)
    inst.wait_queue_empty()
    assert inst.log().count("message-id=<") == 2  # the message and one report
    inst2 = make({**tm, "notify_classes": "2bounce", "2bounce_notice_recipient": "postmaster@ok.test",
                  "transport_maps": transports(far_test="error:5.7.1 no", sender_test="error:5.1.1 no sender", ok_test=to_server(post))})
    send(inst2, "r@far.test")
    report_of(post)
    assert "MAIL FROM:<double-bounce@" in " ".join(post.lines)
    assert b"\r\nSubject: Postmaster Copy: Undelivered Mail\r\n" in post.messages[0] and b"\r\nAuto-Submitted: auto-generated\r\n" in post.messages[0]
    inst2.wait_log("postmaster non-delivery notification: ")
    inst3 = make({**tm, "notify_classes": "bounce", "2bounce_notice_recipient": "postmaster@pm.test"})
    send(inst3, "r@far.test")
    inst3.wait_log("status=bounced", count=3)
    inst3.wait_queue_empty()


def test_utf8_reports(make):
    """RFC 6533: message/global-delivery-status, utf-8 address types."""
    back = Server()
    inst = make({"transport_maps": transports(far_test="error:5.7.1 no", sender_test=to_server(back))})
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=60) as c:
        c.ehlo("client.test")
        assert c.docmd("MAIL", "FROM:<s@sender.test> SMTPUTF8 BODY=8BITMIME")[0] == 250
        c.sock.sendall("RCPT TO:<j\u00f6rg@far.test>\r\n".encode())
        assert c.getreply()[0] == 250
        assert c.data("Subject: gr\u00fc\u00dfe\r\n\r\nx\r\n".encode())[0] == 250
    r = report_of(back)
    assert [p.get_content_type() for p in r.get_payload()] == ["text/plain", "message/global-delivery-status", "message/global"]
    assert b"Final-Recipient: utf-8; j\xc3\xb6rg@far.test" in back.messages[0]
    assert "SMTPUTF8" in " ".join(back.lines)


def test_many_failed_recipients_are_all_reported(make):
    """No recipient is forgotten because one report is full."""
    back = Server()
    inst = make({"transport_maps": transports(far_test="error:5.7.1 go away", sender_test=to_server(back)), "smtpd_recipient_limit": "5000"})
    want = {"recipient-%04d@far.test" % i for i in range(900)}
    send(inst, sorted(want))
    seen = set()

    def all_seen():
        for m in list(back.messages):
            seen.update(x.decode() for x in re.findall(rb"^Final-Recipient: rfc822; (\S+)", m, re.M))
        return seen == want
    settle(all_seen, what="reports are missing")
    inst.wait_queue_empty()


# ---- deferral ----
def test_retry_with_growing_delay_then_expiry(make):
    """RFC 5321 4.5.4.1: attempts grow apart; what stays undeliverable is returned as failed, with the last reason."""
    back, bad = Server(), Server(**{"RCPT": "451 4.2.1 try later"})
    inst = make({"transport_maps": transports(far_test=to_server(bad), sender_test=to_server(back)), "minimal_backoff_time": "1s", "maximal_backoff_time": "100s",
                 "queue_run_delay": "1s", "maximal_queue_lifetime": "8s"})
    qid = send(inst, "r@far.test")
    r = report_of(back)
    msg, rcpts = fields(r)
    assert rcpts[0]["Action"] == "failed" and rcpts[0]["Status"] == "4.2.1" and "try later" in rcpts[0]["Diagnostic-Code"]
    assert rcpts[0]["Remote-MTA"]
    inst.wait_log("%s: from=<s@sender.test>, status=expired, returned to sender" % qid)
    delays = [float(m.group(1)) for m in re.finditer(r"%s: to=<r@far.test>.*delay=([\d.]+).*status=deferred" % qid, inst.log())]
    gaps = [b - a for a, b in zip(delays, delays[1:])]
    assert len(delays) >= 3 and gaps[-1] > gaps[0]


def test_delay_warning_once_and_only_when_wanted(make):
    """RFC 3461 4.1 DELAY: one warning with Will-Retry-Until; NOTIFY=FAILURE gets none."""
    back, bad = Server(), Server(**{"RCPT": "451 4.2.1 try later"})
    inst = make({"transport_maps": transports(far_test=to_server(bad), sender_test=to_server(back)), "minimal_backoff_time": "1s", "maximal_backoff_time": "1s",
                 "queue_run_delay": "1s", "delay_warning_time": "2s"})
    send(inst, "quiet@far.test", rcpt=["NOTIFY=FAILURE"])
    qid = send(inst, "r@far.test")
    r = report_of(back)
    msg, rcpts = fields(r)
    assert rcpts[0]["Action"] == "delayed" and rcpts[0]["Status"].startswith("4.") and rcpts[0]["Will-Retry-Until"]
    assert r.get_payload()[2].get_content_type() == "text/rfc822-headers"
    inst.wait_log(r"%s: sender delay notification: \w+" % qid)
    inst.wait_log("%s: to=<r@far.test>.*status=deferred" % qid, count=5)
    assert len(back.messages) == 1


def test_a_dead_destination_does_not_delay_others(make):
    dead = socket.create_server(("127.0.0.1", 0), backlog=0)  # takes connections, says nothing
    good = Server()
    inst = make({"transport_maps": "inline:{ {dead.test=smtp:[127.0.0.1]:%d} {good.test=%s} }" % (dead.getsockname()[1], to_server(good)),
                 "smtp_helo_timeout": "300s", "smtp_connect_timeout": "300s"})
    for i in range(30):
        send(inst, "r%d@dead.test" % i)
    for i in range(10):
        send(inst, "r%d@good.test" % i)
    settle(lambda: len(good.messages) == 10, what="good mail waits for a dead host")
    dead.close()


def test_refused_destination_is_suspended(make):
    """After a cohort of failed connections mail for it is deferred without trying (QSHAPE_README)."""
    dead = Server()
    dead.refuse()
    inst = make({"transport_maps": "inline:{ {dead.test=%s} {nobody.test=nosuch:} }" % to_server(dead),
                 "minimal_backoff_time": "300s", "maximal_backoff_time": "300s"})
    for i in range(12):
        send(inst, "r%d@dead.test" % i)
    inst.wait_log("status=deferred", count=12)
    inst.wait_log(r"delivery temporarily suspended: ")
    for i in range(3):  # a transport that master.cf does not have: nothing waits for it in the active queue
        send(inst, "r%d@nobody.test" % i)
    inst.wait_log(r"@nobody.test>, relay=none, .*dsn=4.3.0, status=deferred \(mail transport unavailable\)", count=3)
    send(inst, "late@nobody.test")
    inst.wait_log(r"late@nobody.test>, relay=none, .*dsn=4.3.0, status=deferred \(mail transport unavailable\)")
    inst.wait_log("connect to transport private/nosuch")
    assert inst.log().count("connect to transport private/nosuch") <= 3


def test_fair_among_destinations(make):
    """1000 messages for 100 destinations, one of them with half of all: the others do not wait for its end."""
    order = []
    lock = threading.Lock()

    def note(server, c, line):
        with lock:
            order.append(line.decode().split("@")[1].split(">")[0])
        return "250 2.1.5 ok"
    s = Server(RCPT=note, host="0.0.0.0")
    hosts = ["d%d.test" % i for i in range(100)]
    table = " ".join("{%s=smtp:[127.0.%d.%d]:%d}" % (h, 1 + i // 100, 1 + i % 100, s.port) for i, h in enumerate(hosts))
    inst = make({"transport_maps": "inline:{ %s }" % table, "default_destination_concurrency_limit": "2", "initial_destination_concurrency": "1"})
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=60) as c:
        c.ehlo("x.test")
        for i in range(500):
            c.sendmail("s@sender.test", ["r%d@d0.test" % i], MSG)
        for i in range(500):
            c.sendmail("s@sender.test", ["r%d@%s" % (i, hosts[1 + i % 99])], MSG)
    settle(lambda: len(s.messages) == 1000, 300, lambda: "mail is missing: %d" % len(s.messages))
    assert len(set(order)) == 100 and len(order) == 1000
    inst.wait_queue_empty()


def test_qmgr_killed_while_delivering(make):
    """What was accepted is delivered although qmgr dies in the middle; master starts another."""
    s = Server()
    inst = make({"transport_maps": transports(far_test=to_server(s))})
    ids = []
    for i in range(60):
        ids.append(send(inst, "r%d@far.test" % i))
        if i % 20 == 10:
            for pid in subprocess.run(["ps", "--ppid", str(inst.proc.pid), "-o", "pid=,comm="], capture_output=True, text=True, check=False).stdout.splitlines():
                if pid.split()[1] == "qmgr":
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid.split()[0]), signal.SIGKILL)
    inst.wait_queue_empty(60)
    text = b"".join(s.messages)
    got = {l for l in s.lines if l.startswith("RCPT")}
    assert {"r%d" % i for i in range(60)} == {re.search(r"<(r\d+)@", l).group(1) for l in got}
    assert text


# ---- postqueue, postsuper ----
@pytest.fixture
def stuck(make):
    inst = make({"transport_maps": transports(far_test="retry:4.7.1 not now", other_test="retry:4.7.2 nor there"), "minimal_backoff_time": "3000s",
                 "maximal_backoff_time": "3000s"})
    return inst


def listing(inst):
    out = inst.command("postqueue", "-j").stdout.decode()
    return {m["queue_id"]: m for m in map(json.loads, out.splitlines())}


def wait_state(inst, want):
    def same():
        return {k: v["queue_name"] for k, v in listing(inst).items()} == want
    settle(same, what=lambda: "wanted %s, have %s" % (want, listing(inst)))


def test_mailq_shape(stuck):
    """The columns that scripts cut (postqueue(1), observed with Debian's): id 11 wide with its mark, size right, ctime, sender; reasons end at
    column 78; one blank line between; the sum."""
    assert stuck.command("postqueue", "-p").stdout == b"Mail queue is empty\n"
    assert stuck.command("postqueue", "-j").stdout == b""
    a = send(stuck, ["r1@far.test", "r2@far.test", "x@other.test"])
    b = send(stuck, "r3@far.test", sender="")
    wait_state(stuck, {a: "deferred", b: "deferred"})
    text = stuck.command("postqueue", "-p").stdout.decode()
    out = text.split("\n")
    assert out[0] == "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------"
    i = next(k for k, l in enumerate(out) if l.startswith(a))
    assert re.fullmatch(r"%-11s +\d+ (Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ \d]\d \d\d:\d\d:\d\d  s@sender.test" % a, out[i])
    assert out[i + 1].endswith("(not now)") and len(out[i + 1]) == 78
    assert out[i + 2] == " " * 41 + "r1@far.test"
    assert out[i + 3].strip() == "r2@far.test" and "(nor there)" in out[i + 4] and out[i + 5].strip() == "x@other.test"
    assert re.fullmatch(r"-- \d+ Kbytes in 2 Requests\.", out[-2])
    if os.path.exists(THEIRS) and os.getuid() == 0:  # Debian's postqueue reads our showq and prints the same
        theirs = os.path.join(stuck.base, "theirs")
        os.makedirs(theirs)
        with open(theirs + "/main.cf", "w") as f:
            f.write("compatibility_level = 3.6\nqueue_directory = %s\n" % stuck.queue)
        env = dict(os.environ, MAIL_CONFIG=theirs)
        p = subprocess.run([THEIRS, "-p"], env=env, capture_output=True, text=True, check=False)
        assert p.stdout == text, p.stderr
        assert subprocess.run([THEIRS, "-j"], env=env, capture_output=True, check=False).stdout == stuck.command("postqueue", "-j").stdout
    j = listing(stuck)[a]
    assert j["sender"] == "s@sender.test" and j["forced_expire"] is False and abs(j["arrival_time"] - time.time()) < 100
    assert [r["address"] for r in j["recipients"]] == ["r1@far.test", "r2@far.test", "x@other.test"]
    assert j["recipients"][0]["delay_reason"] == "not now"
    assert listing(stuck)[b]["sender"] == "MAILER-DAEMON"


def test_flush_all_one_and_site(stuck):
    a, b = send(stuck, "r@far.test"), send(stuck, "r@other.test")
    wait_state(stuck, {a: "deferred", b: "deferred"})

    def tries(q):
        return len(re.findall("%s: to=.*status=deferred" % q, stuck.log()))
    assert stuck.command("postqueue", "-i", a).returncode == 0
    settle(lambda: tries(a) == 2)
    assert tries(b) == 1
    wait_state(stuck, {a: "deferred", b: "deferred"})
    assert stuck.command("postqueue", "-f").returncode == 0
    settle(lambda: tries(a) == 3 and tries(b) == 2)
    assert stuck.command("postqueue", "-i", "0123456789A").returncode == 0  # unknown: silent
    p = stuck.command("postqueue", "-i", "../x")
    assert p.returncode == 69 and p.stderr
    assert stuck.command("postqueue").returncode == 69


def sup(inst, *args, stdin=None):
    return inst.command("postsuper", *args, input=stdin)


def requeued(inst, qid):
    """The id that it has after postsuper -r, when it was tried under that."""
    new = inst.wait_log(r": (\w+): uid=\d+ from=<s@sender\.test> orig_id=%s$" % qid)[0][1]
    inst.wait_log("%s: to=.*status=deferred" % new)
    return new


@pytest.mark.skipif(os.getuid() != 0, reason="postsuper is the superuser's")
def test_postsuper_running(stuck):
    ids = [send(stuck, "r%d@far.test" % i) for i in range(6)]
    wait_state(stuck, {i: "deferred" for i in ids})
    p = sup(stuck, "-h", ids[0])
    assert p.returncode == 0 and b"%s: placed on hold" % ids[0].encode() in p.stderr and b"Placed on hold: 1 message" in p.stderr
    wait_state(stuck, {ids[0]: "hold", **{i: "deferred" for i in ids[1:]}})
    assert (ids[0] + "!").encode() in stuck.command("postqueue", "-p").stdout
    p = sup(stuck, "-H", ids[0])
    assert b"Released from hold: 1 message" in p.stderr
    wait_state(stuck, {i: "deferred" for i in ids})  # until its time comes
    p = sup(stuck, "-d", "-", stdin=("%s\n%s\n" % (ids[0], ids[1])).encode())
    assert b"Deleted: 2 messages" in p.stderr
    wait_state(stuck, {i: "deferred" for i in ids[2:]})
    assert b"Deleted: 0 messages" in sup(stuck, "-d", ids[0]).stderr
    p = sup(stuck, "-d", "nonsense!")
    assert p.returncode == 0 and b"invalid mail queue id" in p.stderr
    p = sup(stuck, "-r", ids[2])
    assert b"Requeued: 1 message" in p.stderr
    again = requeued(stuck, ids[2])
    wait_state(stuck, {again: "deferred", **{i: "deferred" for i in ids[3:]}})
    p = sup(stuck, "-e", ids[3])
    assert b"Force-expired: 1 message" in p.stderr
    stuck.wait_log("%s: from=<s@sender.test>, status=force-expired, returned to sender" % ids[3])
    assert b"Placed on hold: " in sup(stuck, "-h", "ALL").stderr
    settle(lambda: sup(stuck, "-h", "ALL") and all(m["queue_name"] == "hold" for m in listing(stuck).values()))  # the report may come later
    assert sup(stuck, "-d", "all").returncode == 0 and len(listing(stuck)) > 0  # upper case alone means all
    assert b"Deleted: " in sup(stuck, "-d", "ALL").stderr
    settle(lambda: not listing(stuck))
    assert stuck.command("postqueue", "-p").stdout == b"Mail queue is empty\n"


def started(inst, service):
    """The process of a service of master.cf."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid, encoding="utf-8", errors="replace") as f, open("/proc/%s/cmdline" % pid, encoding="utf-8", errors="replace") as g:
                if int(f.read().rsplit(")", 1)[1].split()[1]) == inst.proc.pid and "-n\0%s\0" % service in g.read():
                    return int(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return None


@pytest.mark.skipif(os.getuid() != 0, reason="postsuper is the superuser's")
@pytest.mark.parametrize("options,left", [(["-d"], None), (["-h"], "hold"), (["-h", "-H"], "deferred")], ids=str)
def test_postsuper_while_the_end_is_written(make, options, left):
    """Whoever is told that a message was deleted, held or released finds it so, also when its warning of delay is on its way at that moment."""
    inst = make({"transport_maps": transports(far_test="retry:4.7.1 not now"), "minimal_backoff_time": "3000s", "maximal_backoff_time": "3000s", "delay_warning_time": "1s"})
    first, second = send(inst, "r1@far.test"), send(inst, "r2@far.test")
    wait_state(inst, {first: "deferred", second: "deferred"})
    time.sleep(1)  # old enough
    assert inst.command("postqueue", "-i", first).returncode == 0
    inst.wait_log("%s: sender delay notification" % first)
    defer = started(inst, "defer")
    os.kill(defer, signal.SIGSTOP)
    try:
        assert inst.command("postqueue", "-i", second).returncode == 0
        inst.wait_log("%s: to=.*status=deferred" % second, count=2)
        assert all(sup(inst, o, second).stderr.endswith(b": 1 message\n") for o in options)
    finally:
        os.kill(defer, signal.SIGCONT)
    settle(lambda: listing(inst).get(second, {}).get("queue_name") == left, what=lambda: listing(inst))
    inst.wait_log("%s: sender delay notification" % second)
    settle(lambda: listing(inst).get(second, {}).get("queue_name") == left, what=lambda: listing(inst))


@pytest.mark.skipif(os.getuid() != 0, reason="postsuper is the superuser's")
def test_postsuper_while_down_and_hold_survives(stuck):
    ids = [send(stuck, "r%d@far.test" % i) for i in range(4)]
    wait_state(stuck, {i: "deferred" for i in ids})
    stuck.stop()
    assert stuck.command("postqueue", "-f").returncode == 69
    p = stuck.command("postqueue", "-p")
    assert p.returncode == 0 and all(i.encode() in p.stdout for i in ids) and p.stderr  # root reads the directories itself
    assert b"Placed on hold: 1 message" in sup(stuck, "-h", ids[0]).stderr
    assert b"Deleted: 1 message" in sup(stuck, "-d", ids[1]).stderr
    assert b"Deleted: 0 messages" in sup(stuck, "-d", ids[1]).stderr
    assert b"Requeued: 1 message" in sup(stuck, "-r", ids[2]).stderr
    stuck.start()
    again = requeued(stuck, ids[2])
    wait_state(stuck, {ids[0]: "hold", again: "deferred", ids[3]: "deferred"})
    stuck.stop()
    assert b"Released from hold: 1 message" in sup(stuck, "-H", "ALL").stderr
    stuck.start()
    wait_state(stuck, {ids[0]: "deferred", again: "deferred", ids[3]: "deferred"})
    stuck.command("postqueue", "-f")
    stuck.wait_log("%s: to=.*status=deferred" % ids[0], count=2)


def test_flush_for_a_site(make):
    """fast_flush_domains: ETRN (RFC 1985) and postqueue -s try the mail of that site alone; others are told that it is not configured."""
    inst = make({"transport_maps": transports(far_test="retry:4.7.1 not now", other_test="retry:4.7.2 nor there"), "minimal_backoff_time": "3000s",
                 "maximal_backoff_time": "3000s", "fast_flush_domains": "far.test, .etrn.test"})
    a, b = send(inst, "r@far.test"), send(inst, "r@other.test")
    wait_state(inst, {a: "deferred", b: "deferred"})
    assert inst.command("postqueue", "-s", "far.test").returncode == 0
    inst.wait_log("%s: to=.*status=deferred" % a, count=2)
    wait_state(inst, {a: "deferred", b: "deferred"})
    p = inst.command("postqueue", "-s", "other.test")
    assert p.returncode == 69 and b"not configured" in p.stderr
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=60) as c:
        c.ehlo("x.test")
        assert c.docmd("ETRN", "far.test")[0] == 250
        assert c.docmd("ETRN", "other.test")[0] == 459
    inst.wait_log("%s: to=.*status=deferred" % a, count=3)
    assert len(re.findall("%s: to=.*status=deferred" % b, inst.log())) == 1


# ---- damage ----
def test_damaged_files_stop_nothing(stuck):
    """A damaged queue file goes to corrupt/ with a log line; the rest goes on."""
    ids = [send(stuck, "r%d@far.test" % i) for i in range(3)]
    wait_state(stuck, {i: "deferred" for i in ids})
    stuck.stop()
    bad = glob.glob(stuck.queue + "/deferred/*/" + ids[0])
    assert len(bad) == 1
    with open(bad[0], "r+b") as f:
        f.seek(0)
        f.write(b"\xff" * 4096)
    with open(os.path.join(stuck.queue, "incoming", "not-a-queue-id"), "w") as f:
        f.write("x")
    stuck.start()
    stuck.wait_log("%s: damaged queue file: .*moved to corrupt" % ids[0])
    settle(lambda: os.path.exists(stuck.queue + "/corrupt/" + ids[0]))
    stuck.wait_log("not-a-queue-id: not a queue file: moved to corrupt")
    wait_state(stuck, {i: "deferred" for i in ids[1:]})
    new = send(stuck, "r9@far.test")
    wait_state(stuck, {i: "deferred" for i in ids[1:] + [new]})


def test_verify_only_delivers_nothing(make):
    """sendmail -bv: a report, no delivery."""
    s, back = Server(), Server()
    inst = make({"transport_maps": transports(far_test=to_server(s), sender_test=to_server(back))})
    p = inst.command("sendmail", "-bv", "-f", "s@sender.test", "r@far.test", input=b"")
    assert p.returncode == 0, p.stderr
    r = report_of(back)
    assert r.get_content_type() == "multipart/report"
    inst.wait_log("status=deliverable")
    assert not s.messages
    inst.wait_queue_empty()


def test_recipient_limit_and_clog_warning(make):
    """qmgr_message_recipient_limit bounds what is worked on; a destination that takes all of it is named in the log (QSHAPE_README), and the rest comes after."""
    dead, good = socket.create_server(("127.0.0.1", 0), backlog=8), Server()  # takes connections, says nothing
    port = dead.getsockname()[1]
    inst = make({"transport_maps": "inline:{ {dead.test=smtp:[127.0.0.1]:%d} {good.test=%s} }" % (port, to_server(good)), "qmgr_message_recipient_limit": "3",
                 "default_extra_recipient_limit": "0", "smtp_helo_timeout": "6s", "smtp_destination_concurrency_limit": "1", "minimal_backoff_time": "300s", "maximal_backoff_time": "300s"})
    for who in "abc":
        send(inst, who + "@dead.test")
    inst.wait_log(r"\(queue active\)", count=3)
    first = dead.accept()[0]
    time.sleep(0.5)  # the others stand before their destination, too
    send(inst, "r@good.test")
    inst.wait_log(r"qmgr\[\d+\]: warning: mail for \[127\.0\.0\.1\]:%d is using up 2 of 3 active queue entries$" % port)
    inst.wait_log(r"qmgr\[\d+\]: warning: you may need to increase the concurrency limit of transport smtp, ")
    inst.wait_log("to=<r@good.test>.*status=sent")
    assert len(good.messages) == 1
    log = inst.log()
    assert log.index("to=<a@dead.test>") < log.index("to=<r@good.test>")
    first.close()
    dead.close()


def test_few_recipients_pass_what_fills_the_active_queue(make):
    """qmgr_message_recipient_minimum, default_extra_recipient_limit: a list that takes all room keeps nobody waiting but the next list."""
    dead, good = socket.create_server(("127.0.0.1", 0), backlog=8), Server()  # takes connections, says nothing
    routes = "inline:{ {dead.test=smtp:[127.0.0.1]:%d} {good.test=%s} }" % (dead.getsockname()[1], to_server(good))
    inst = make({"transport_maps": routes, "qmgr_message_recipient_limit": "3", "qmgr_message_recipient_minimum": "2", "minimal_backoff_time": "300s"})
    send(inst, ["u%d@dead.test" % i for i in range(5)])
    first = dead.accept()[0]
    listed = send(inst, ["u%d@good.test" % i for i in range(3)])
    few = [send(inst, ["a@good.test", "b@good.test"]) for _ in range(3)]
    for qid in few:
        inst.wait_log("%s: removed" % qid)
    assert len(good.messages) == 3
    assert not re.search(r"%s: .*\(queue active\)" % listed, inst.log())
    first.close()
    dead.close()
    inst.wait_log("%s: removed" % listed)
    assert len(good.messages) == 4


def test_mail_is_slowed_down_when_more_comes_than_is_delivered(make):
    """in_flow_delay: a pause before each message while there are some for which the active queue has no room; reports have none."""
    dead = socket.create_server(("127.0.0.1", 0), backlog=8)
    inst = make({"transport_maps": "inline:{ {dead.test=smtp:[127.0.0.1]:%d} }" % dead.getsockname()[1], "qmgr_message_active_limit": "1",
                 "in_flow_delay": "2s", "smtp_helo_timeout": "100s"})
    send(inst, "a@dead.test")
    first = dead.accept()[0]

    def slow():
        start = time.monotonic()
        send(inst, "b@dead.test")
        return time.monotonic() - start >= 2
    settle(slow)
    first.close()
    dead.close()


def test_no_answer_where_a_recipient_goes(make):
    """qmgr_ipc_timeout: trivial-rewrite cannot start, its table is gone; the mail is deferred with a line for each recipient, after one wait."""
    inst = make({"transport_maps": "inline:{ {far.test=retry:not yet} }", "daemon_table_open_error_is_fatal": "yes", "qmgr_ipc_timeout": "2s"})
    qid = send(inst, ["r%d@far.test" % i for i in range(40)])
    wait_state(inst, {qid: "deferred"})
    inst.stop()
    inst.main["transport_maps"] = "hash:%s/nosuch" % inst.config
    inst.start(wait=False)
    settle(lambda: inst.command("postqueue", "-f").returncode == 0)
    inst.wait_log(r"%s: to=<r\d+@far.test>, relay=none, .*dsn=4.3.0, status=deferred \(address resolver failure\)" % qid, count=40)


def test_requeued_message_and_the_limit_of_today(make):
    """message_size_limit is for what comes in: postsuper -r of a message that was let in when there was another limit sends it on its way."""
    good = Server(RCPT="451 4.2.0 later")
    inst = make({"transport_maps": "inline:{ {good.test=%s} }" % to_server(good)})
    qid = send(inst, "r@good.test", text=MSG + "x" * 70 + "\r\n" + "y\r\n" * 2000)
    wait_state(inst, {qid: "deferred"})
    inst.stop()
    inst.main["message_size_limit"] = "2000"
    inst.start()
    good.replies["RCPT"] = "250 2.1.5 ok"
    assert sup(inst, "-r", qid).returncode == 0
    settle(lambda: len(good.messages) == 1, what=inst.log)
    inst.wait_queue_empty()


def test_reports_do_not_outlive_mail(make):
    """bounce_queue_lifetime is not more than maximal_queue_lifetime: a report that cannot be delivered is over at once, too."""
    inst = make({"transport_maps": "inline:{ {far.test=retry:4.2.0 not yet} }", "bounce_queue_lifetime": "5d", "maximal_queue_lifetime": "0"})
    inst.wait_log(r"qmgr\[\d+\]: warning: bounce_queue_lifetime is larger than maximal_queue_lifetime - adjusting bounce_queue_lifetime$")
    qid = send(inst, "r@far.test", sender="")
    inst.wait_log(r"%s: from=<>, status=expired, returned to sender" % qid)


def test_long_queue_ids(make):
    """enable_long_queue_ids: of mail from outside, of local mail, of reports; the setting is that of the cleanup service that gets the message."""
    port = free_ports(1)[0]
    inst = make({"transport_maps": "inline:{ {no.test=error:no such user} {sender.test=discard:} }"},
                master=["long unix n - n - 0 cleanup -o enable_long_queue_ids=yes", "127.0.0.1:%d inet n - n - - smtpd -o cleanup_service_name=long" % port])
    short, long = r"[0-9A-F]{14}", r"(?=\w*[a-z])[0-9A-Zb-df-hj-np-tv-z]{10,}z\w+"
    assert re.fullmatch(short, send(inst, "r@no.test"))
    inst.wait_log(r"sender non-delivery notification: %s$" % short)
    first = dict(inst.port)
    inst.port["smtp"] = port
    assert re.fullmatch(long, send(inst, "r@no.test"))
    inst.port = first
    inst.stop()
    inst.main["enable_long_queue_ids"] = "yes"
    inst.start()
    assert re.fullmatch(long, send(inst, "r@no.test"))
    inst.wait_log(r"sender non-delivery notification: %s$" % long)
    assert inst.command("sendmail", "-f", "s@sender.test", "r@sender.test", input=b"Subject: x\n\nx\n").returncode == 0
    inst.wait_log(r"pickup\[\d+\]: %s: uid=" % long)


def agents(inst, service):
    """The processes of a service."""
    for d in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % d, encoding="ascii") as stat, open("/proc/%s/cmdline" % d, "rb") as cmdline:
                if stat.read().rsplit(")", 1)[1].split()[1] == str(inst.proc.pid) and b"-n\0%s\0" % service.encode() in cmdline.read():
                    yield int(d)
        except OSError:
            pass


def test_agent_that_dies(make):
    """Killed at the end of the data whenever it is asked: asked once more (it may have been replaced), then its mail is deferred, and what comes
    within transport_retry_time, too. Each time the server may have taken the message."""
    server = Server()
    inst = make({"transport_maps": "inline:{ {dies.test=dies:[127.0.0.1]:%d} }" % server.port, "minimal_backoff_time": "300s"},
                master=["dies unix - - n - - smtp"])

    def kill(*_):
        for pid in agents(inst, "dies"):
            os.kill(pid, signal.SIGKILL)
    server.replies["BODY"] = kill
    send(inst, "a@dies.test")
    inst.wait_log(r"warning: transport private/dies: ")
    inst.wait_log(r"to=<a@dies.test>, relay=none, .*dsn=4.3.0, status=deferred \(unknown mail transport error\)")
    assert len(server.messages) == 2
    send(inst, ["b@dies.test", "c@dies.test"])
    inst.wait_log(r"to=<[bc]@dies.test>, relay=none, .*dsn=4.3.0, status=deferred \(mail transport unavailable\)", count=2)


def test_smtputf8_is_detected_by_class(make):
    """smtputf8_autodetect_classes: sendmail(1) says nothing about it, so its mail is looked at; what an SMTP client did not ask for is not (SMTPUTF8_README)."""
    said = []

    def note(server, c, line):
        said.append(line)
        return "250 2.1.0 ok"
    s = Server(MAIL=note)
    inst = make({"transport_maps": transports(far_test=to_server(s))})
    text = "Subject: gr\u00fc\u00df\n\nx\n".encode()
    for n, (content, by_client, wanted) in enumerate(((text, False, True), (b"Subject: x\n\n" + text, False, False), (text, True, False))):
        rcpt = "r%d@far.test" % n
        if by_client:
            send(inst, rcpt, text=content)
        else:
            assert inst.command("sendmail", "-i", "-f", "s@sender.test", rcpt, input=content).returncode == 0
        inst.wait_log(r"to=<%s>.*status=sent" % rcpt)
        assert (b"SMTPUTF8" in said[-1]) == wanted, said


def test_services_by_other_names(make):
    """pickup_service_name: sendmail finds it, as every user; error_service_name: what no transport takes goes to the service of that name; queue_service_name:
    cleanup tells it of mail; cleanup_service_name: pickup's own."""
    inst = make({"queue_service_name": "schedule", "bounce_service_name": "bounces", "error_service_name": "gone", "pickup_service_name": "taker", "virtual_alias_domains": "alias.test", "virtual_alias_maps": "inline:{ one@alias.test=s@sender.test }"},
                master=["gone unix - - n - - error", "taker unix n - n 60 1 pickup -o cleanup_service_name=local-cleanup", "local-cleanup unix n - n - 0 cleanup -o syslog_name=postfix/lc", "bounces unix - - n - 0 bounce", "schedule unix n - n 300 1 qmgr"], drop=("error", "pickup", "qmgr"))
    taker = os.path.join(inst.queue, "public/taker")
    assert until(lambda: os.path.exists(taker) and os.stat(taker).st_mode & 0o777 == 0o666)
    assert inst.command("sendmail", "-i", "-f", "<>", "nobody@alias.test", input=b"Subject: x\n\nx\n").returncode == 0
    inst.wait_log(r"to=<nobody@alias\.test>.*relay=none.*dsn=5\.1\.1, status=bounced \(User unknown in virtual alias table\)$")
    inst.wait_log(r"postfix/lc/cleanup\[\d+\]: \w+: message-id=")
    assert inst.command("postconf", "-h", "error_service_name").stdout == b"gone\n"


@pytest.mark.parametrize("rest", [b"", bytes(8261), "cut"], ids=["empty", "zeros", "cut"])
@pytest.mark.parametrize("where", ["deferred", "hold"])
def test_crash_between_name_and_content(make, where, rest):
    """The power went when the file of a message that was to leave its slot had its name, but not its content: the slot is the message."""
    inst = make({"transport_maps": transports(ok_test="discard:")})
    inst.stop()
    inst.drop = {"qmgr"}
    inst.start()
    assert inst.command("sendmail", "-f", "s@sender.test", "r@ok.test", input=b"Subject: torn\n\nx\n").returncode == 0
    qid = inst.wait_log(r"cleanup\[\d+\]: (\w+): message-id=")[0][1]
    inst.stop()
    if rest == "cut":  # as far as the header
        with open(os.path.join(inst.queue, "pool/slots.0"), "rb") as f:
            pool = f.read()
        at = pool.rindex(b"PSTRNQ1\n", 0, pool.index(qid.encode()))
        rest = pool[at:at + 128] + bytes(4096)
    path = os.path.join(inst.queue, where, qid[0] if where == "deferred" else "", qid)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(rest)
    owner = os.stat(inst.queue + "/pool")
    for d in (os.path.dirname(path), path):
        os.chown(d, owner.st_uid, owner.st_gid)
    inst.drop = set()
    inst.start(wait=False)
    inst.wait_log(f"{qid}: to=<r@ok.test>.*status=sent")
    inst.wait_log(f"{qid}: removed")
    assert not os.path.exists(path) and os.listdir(os.path.join(inst.queue, "corrupt")) == []
    inst.stop()
    inst.start(wait=False)
    inst.wait_log("daemon started", count=4)
    settle(lambda: inst.command("postqueue", "-j").stdout == b"")
    assert len(re.findall("status=sent", inst.log())) == 1


def test_many_aliases_of_long_addresses(make):
    """What the answers about a thousand recipients hold fits into records, whatever the aliases stand for."""
    far = "a" * 60 + "." + "b" * 60 + ".far.test"
    base = scratch("postern-aliases.")
    aliases = os.path.join(base, "aliases")
    with open(aliases, "w", encoding="ascii") as f:
        f.write("/^(u[0-9]+)@x+[.]al[.]test$/ $1@%s\n" % far)
    inst = make({"virtual_alias_maps": "pcre:" + aliases, "default_transport": "discard:"})
    qid = send(inst, ["u%d@%s.al.test" % (i, "x" * 50) for i in range(1000)])
    inst.wait_log(qid + ": removed")
    assert len(re.findall(r"%s: to=<u\d+@%s>, orig_to=<u\d+@x+\.al\.test>.*status=sent" % (qid, re.escape(far)), inst.log())) == 1000
    shutil.rmtree(base)


@pytest.mark.parametrize("transport", ["smtp", "lmtp"])
def test_many_recipients_at_once(make, transport):
    """A delivery is no larger than its record, and what is said of its recipients never larger than the answer's: nobody gets it twice."""
    said = "5.1.1 " + "no such user here, " * 25
    taken = "250 2.0.0 " + "it is here now, " * 25
    far, back = Server(lmtp=transport == "lmtp", RCPT=lambda server, conn, line: "250 2.1.5 ok" if b"good" in line else "550 " + said,
                       BODY=[taken] * 350 if transport == "lmtp" else taken), Server()
    inst = make({"transport_maps": "inline:{ {far.test=%s:[127.0.0.1]:%d} {sender.test=%s} }" % (transport, far.port, to_server(back)), "default_destination_recipient_limit": "1000",
                 "message_size_limit": "1000000"})
    qid = send(inst, ["%s%0100d@far.test" % ("good" if i % 2 else "bad", i) for i in range(700)], text=MSG + "x" * 60 + "\r\n" + ("y" * 70 + "\r\n") * 700)
    inst.wait_log(qid + ": removed")
    log = inst.log()
    assert len(re.findall(qid + ": to=<good.*status=sent", log)) == 350 and len(re.findall(qid + ": to=<bad.*status=bounced", log)) == 350
    assert sum(n for n, in far.transactions) == 700 and len(far.transactions) < 20 and "warning" not in log


def test_requeued_before_the_first_attempt(make):
    """That an alias stood for others is reported once (RFC 3461 section 5.2.7), whether the message went through cleanup(8) once more or not."""
    far, back = Server(), Server()
    inst = make({"transport_maps": transports(far_test=to_server(far), sender_test=to_server(back)), "virtual_alias_maps": "inline:{ {list@al.test=a@far.test, b@far.test} }",
                 "smtpd_recipient_restrictions": "check_recipient_access inline:{ {list@al.test=HOLD} }, permit_mynetworks, reject"})
    qid = send(inst, "list@al.test", rcpt=["NOTIFY=SUCCESS", "ORCPT=rfc822;list@al.test"])
    assert b"Requeued: 1 message" in inst.command("postsuper", "-r", qid).stderr
    _, per_rcpt = fields(report_of(back))
    assert [(g["Action"], g["Original-Recipient"]) for g in per_rcpt] == [("expanded", "rfc822;list@al.test")]
    settle(lambda: inst.command("postqueue", "-j").stdout == b"")
    assert len(far.messages) == 1 and len(back.messages) == 1 and [n for n, in far.transactions] == [2]


def test_overrides_of_pickup(make):
    """receive_override_options of the pickup service: no alias, no copy and no check for mail from this host; mail from elsewhere has them."""
    inst = make({"virtual_alias_maps": "inline:{ {a@al.test=b@far.test} }", "always_bcc": "copy@far.test", "header_checks": "regexp:{{/^Subject: no/ REJECT}}", "default_transport": "discard:"},
                master=["pickup unix n - n 60 1 pickup -o receive_override_options=no_address_mappings,NO_header_body_checks"], drop=("pickup",))
    assert inst.command("sendmail", "-f", "s@far.test", "a@al.test", input=b"Subject: no\n\nx\n").returncode == 0
    qid = inst.wait_log(r"pickup\[\d+\]: (\w+): uid=")[0].group(1)
    inst.wait_log(qid + ": removed")
    assert re.findall(qid + r": to=<([^>]*)>, (?:orig_to|relay)", inst.log()) == ["a@al.test"]
    qid = send(inst, "a@al.test")
    inst.wait_log(qid + ": removed")
    assert re.findall(qid + r": to=<([^>]*)>", inst.log()) == ["b@far.test", "copy@far.test"]


def test_flush_while_the_queue_is_read_at_the_start(make):
    """What is found in deferred/ only afterwards is tried as well. strace makes every look into a directory take long."""
    inst = make({"transport_maps": transports(far_test="retry:4.7.1 not now"), "minimal_backoff_time": "3000s", "maximal_backoff_time": "3000s"})
    ids = [send(inst, "r@far.test") for _ in range(3)]
    wait_state(inst, {i: "deferred" for i in ids})
    inst.stop()
    before = len(inst.log())
    inst.wrap = ["strace", "-f", "-o", "/dev/null", "-e", "trace=getdents64", "-e", "inject=getdents64:delay_enter=100000", "-e", "signal=none"]
    inst.start()
    try:
        assert until(lambda: inst.command("postqueue", "-f").returncode == 0)
        assert until(lambda: all(len(re.findall("%s: to=.*status=deferred" % i, inst.log()[before:])) == 1 for i in ids)), inst.log()[before:]
    finally:
        with open(os.path.join(inst.queue, "pid", "master.pid"), encoding="ascii") as f:
            os.kill(int(f.read()), signal.SIGTERM)
        inst.proc.wait(PATIENCE)
