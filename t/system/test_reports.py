"""Reports and schedule parameters in one instance: bounce(5) templates, copies for the postmaster (notify_classes), reports that refer to their message,
the end of a delay (confirm_delay_cleared), defer_transports and postqueue -f, transport rate delays, "-" addresses, default_filter_nexthop."""
import os
import shutil
import smtplib
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from fakesmtp import Server  # noqa: E402
from instance import Instance, scratch  # noqa: E402
from test_queue import BASE, fields, report_of, send, settle, to_server, wait_state  # noqa: E402

TEMPLATES = """# comment
failure_template = <<END
Charset: us-ascii
From: MAILER-DAEMON (The Post Office)
Subject: No luck
Postmaster-Subject: Copy: no luck

Host $myhostname gave up after $maximal_queue_lifetime_hours hours ($$mail_name).
END

delay_template = <<EOF
Charset: us-ascii
From: Late <late@office.test>
Subject: Not yet
Postmaster-Subject: Copy: not yet

Late by $delay_warning_time_seconds seconds.
EOF
"""
MSG = "Subject: hello\r\nFrom: s@example.test\r\nTo: r@far.test\r\nMessage-ID: <one@example.test>\r\n\r\nbody\r\n"
# Agents of their own with soft_bounce: the service, its next hop, and what the log says of what would bounce.
SOFT = {
    "error": ("error", "5.1.2 no such place", "4.1.2", "no such place"),
    "smtp": ("smtp", "", "4.7.1", r"host 127.0.0.1\[127.0.0.1\] said: 550 5.7.1 not you \(in reply to RCPT TO command\)"),
    "local": ("local", "", "4.1.1", 'unknown user: "no-such-account"'),
    "virtual": ("virtual", "", "4.1.1", 'unknown user: "no-such-account@virtual.soft.test"'),
    "pipe": ("pipe user=nobody argv=/bin/false", "", "4.3.0", "Command died with status 1: .*"),
}


class World:
    pass


@pytest.fixture(scope="module")
def w():
    w = World()
    w.base = scratch("postern-reports.")
    w.back, w.pm, w.held, w.times = Server(), Server(), Server(), []
    w.late = "451 4.2.1 later"
    w.later = Server(RCPT=lambda server, c, line: w.late)

    def note(server, c, line):
        w.times.append(time.monotonic())
        return "250 2.1.5 ok"
    w.paced, w.no = Server(RCPT=note), Server(RCPT="550 5.7.1 not you")
    table = {"far.test": "error:5.7.1 go away", "sender.test": to_server(w.back), "pm.test": to_server(w.pm), "late.test": to_server(w.later),
             "held.test": "held:[127.0.0.1]:%d" % w.held.port, "p1.test": "paced:[127.0.0.1]:%d" % w.paced.port, "p2.test": "paced:[localhost]:%d" % w.paced.port,
             "ours.test": "smtp:[127.0.0.9]", "p3.test": "paced:[127.0.0.1]:%d" % w.paced.port,
             **{f"{name}.soft.test": f"soft-{name}:{hop}" for name, (_, hop, _, _) in SOFT.items()}, "smtp.soft.test": "soft-smtp:[127.0.0.1]:%d" % w.no.port}
    w.inst = Instance(os.path.join(w.base, "i"), master=["held unix - - n - - smtp", "paced unix - - n - - smtp", *(
        f"soft-{name} unix - n n - - {program.replace(' ', ' -o soft_bounce=yes ', 1) if ' ' in program else program + ' -o soft_bounce=yes'}" for name, (program, _, _, _) in SOFT.items())], main={
        **BASE, "transport_maps": "inline:{ %s }" % " ".join("{%s=%s}" % i for i in table.items()),
        "bounce_template_file": os.path.join(w.base, "bounce.cf"), "notify_classes": "bounce, delay, 2bounce", "bounce_notice_recipient": "bounces@pm.test",
        "delay_notice_recipient": "delays@pm.test", "enable_threaded_bounces": "yes", "delay_warning_time": "1s", "confirm_delay_cleared": "yes",
        "maximal_queue_lifetime": "90m", "minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "queue_run_delay": "1s", "defer_transports": "held", "best_mx_transport": "discard:taken over",
        "internal_mail_filter_classes": "bounce", "header_checks": "regexp:{ {/^Subject: (Copy: )?no luck/ PREPEND X-Checked: yes} }",
        "paced_transport_rate_delay": "2s", "smtp_host_lookup": "native, dns"})
    with open(os.path.join(w.base, "bounce.cf"), "w") as f:
        f.write(TEMPLATES)
    w.inst.start()
    yield w
    w.inst.stop()
    shutil.rmtree(w.base, ignore_errors=True)


def test_failure_by_template_and_its_copy(w):
    qid = send(w.inst, "r@far.test", text=MSG)
    r = report_of(w.back)
    assert r["Subject"] == "No luck" and r["From"] == "The Post Office <MAILER-DAEMON@mail.example.test>"
    assert r["X-Checked"] == "yes"  # internal_mail_filter_classes: bounce, and not notify
    assert r["References"] == "<one@example.test>" and r["In-Reply-To"] == "<one@example.test>"
    text = r.get_payload()[0].get_payload().replace("\r", "")
    assert text.startswith("Host mail.example.test gave up after 2 hours ($mail_name).\n") and "<r@far.test>: go away" in text
    assert r.get_payload()[2].get_content_type() == "message/rfc822"
    copy = report_of(w.pm)
    assert "X-Checked" not in copy
    assert copy["Subject"] == "Copy: no luck" and copy["To"] == "bounces@pm.test" and copy["References"] == "<one@example.test>" and copy["Auto-Submitted"] == "auto-generated"
    assert "gave up" not in copy.get_payload()[0].get_payload() and fields(copy)[1][0]["Original-Recipient"] == "rfc822;r@far.test"
    assert copy.get_payload()[2].get_payload().startswith("Return-Path: <s@sender.test>")
    assert copy.get_payload()[2].get_content_type() == "text/rfc822-headers"
    assert "MAIL FROM:<double-bounce@mail.example.test>" in " ".join(w.pm.lines)
    w.inst.wait_log(r"%s: sender non-delivery notification: \w+" % qid)
    w.inst.wait_log(r"%s: postmaster non-delivery notification: \w+" % qid)


def test_delay_and_its_end(w):
    n, p = len(w.back.messages), len(w.pm.messages)
    qid = send(w.inst, "r@late.test")
    r = report_of(w.back, n)
    assert r["Subject"] == "Not yet" and r["From"] == "Late <late@office.test>" and r.get_payload()[0].get_payload().startswith("Late by 1 seconds.")
    assert report_of(w.pm, p)["Subject"] == "Copy: not yet"
    w.inst.wait_log(r"%s: postmaster delay notification: \w+" % qid)
    w.late = "250 2.1.5 ok"
    r = report_of(w.back, n + 1)
    assert r["Subject"] == "Successful Mail Delivery Report" and fields(r)[1][0]["Action"] in ("relayed", "delivered")
    w.inst.wait_log("%s: removed" % qid)


def test_deferred_transport_waits_for_a_flush(w):
    qid = send(w.inst, "r@held.test")
    w.inst.wait_log(r"%s: to=<r@held.test>, relay=none.*dsn=4.3.2, status=deferred \(deferred transport\)" % qid, count=2)
    assert not w.held.messages
    wait_state(w.inst, {qid: "deferred"})  # one on its way back to the deferred queue is not flushed
    assert w.inst.command("postqueue", "-f").returncode == 0
    settle(lambda: w.held.messages, what="the flush delivered nothing")
    w.inst.wait_log("%s: removed" % qid)


def test_transport_rate_delay_is_for_all_its_destinations(w):
    for host in ("p1.test", "p2.test", "p3.test"):
        send(w.inst, "r@" + host)
    settle(lambda: len(w.times) == 3, what="mail is missing")
    assert w.times[2] - w.times[0] > 2.6  # with a delay for each of them it were two seconds


def test_mail_for_this_host_by_its_mx(w):
    """best_mx_transport: what the SMTP client finds to be ours goes to that transport; when that gives it back, it has failed."""
    qid = send(w.inst, "r@ours.test")
    w.inst.wait_log(r"%s: to=<r@ours.test>, relay=none.*status=sent \(taken over\)" % qid)
    w.inst.wait_log("%s: removed" % qid)


def test_address_that_starts_with_a_minus(w):
    with smtplib.SMTP(w.inst.host, w.inst.port["smtp"]) as c:
        c.helo("x")
        c.docmd("MAIL", "FROM:<a@sender.test>")
        assert c.docmd("RCPT", "TO:<-r@held.test>")[0] == 501
    r = w.inst.command("sendmail", "-f", "a@sender.test", "--", "-r@held.test", input=b"Subject: x\n\nx\n")
    assert r.returncode == 0, r.stderr
    w.inst.wait_log(r": to=<-r@held.test>.*dsn=5.1.3, status=bounced \(bad address syntax\)")


@pytest.mark.parametrize("name", SOFT)
def test_soft_bounce_of_delivery_agents(w, name):
    """soft_bounce: what would bounce waits, and its sender hears nothing."""
    _, _, dsn, reason = SOFT[name]
    qid = send(w.inst, f"no-such-account@{name}.soft.test")
    w.inst.wait_log(rf"{qid}: to=<no-such-account@{name}.soft.test>.* dsn={dsn}, status=SOFTBOUNCE \({reason}\)", count=2)  # it is tried again
    assert f"{qid}: sender non-delivery" not in w.inst.log()
    w.inst.command("postsuper", "-d", qid)
