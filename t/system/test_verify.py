"""verify(8): reject_unverified_recipient and _sender ask with probes that are never delivered (RFC 5321 3.6.2 and 4.2.2 for the replies,
RFC 3463 for X.1.1 and X.1.7)."""
import os
import pwd
import re
import shutil
import smtplib
import sys
import threading
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from fakesmtp import Server  # noqa: E402
from instance import Instance, mailbox_instance, scratch  # noqa: E402

MAIN = {"inet_interfaces": "127.0.0.9", "smtp_tls_security_level": "none", "smtp_connect_timeout": "5s",
        "smtpd_recipient_restrictions": "reject_unverified_recipient", "address_verify_poll_delay": "1s",
        "address_verify_poll_count": "50", "address_verify_negative_refresh_time": "1h", "smtpd_reject_unlisted_recipient": "no"}


@pytest.fixture
def make():
    made, bases = [], []

    def go(main=None, users=None, start=True, **kw):
        base = scratch("postern-verify.")
        bases.append(base)
        if users:
            inst = mailbox_instance(base, "example.test", users, ("smtp",), main={**MAIN, **(main or {})}, **kw)
        else:
            inst = Instance(base, main={**MAIN, **(main or {})}, **kw)
        made.append(inst)
        return inst.start() if start else inst
    yield go
    for i in made:
        i.stop()
    for b in bases:
        shutil.rmtree(b, ignore_errors=True)


def to(s, domain="far.test"):
    return "inline:{ {%s=smtp:[127.0.0.1]:%d} }" % (domain, s.port)


def rcpt(inst, addr, sender="s@sender.test"):
    """The reply to RCPT, as (code, text)."""
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=90) as c:
        c.ehlo("client.test")
        code, reply = c.docmd("MAIL", "FROM:<%s>" % sender)
        assert code == 250, reply
        code, reply = c.docmd("RCPT", "TO:<%s>" % addr)
        return code, reply.decode()


def asked(s, addr):
    return sum(line.upper().startswith("RCPT TO:<%s>" % addr.upper()) for line in s.lines)


def bad_is_unknown(server, c, line):
    return "550 5.1.1 no such user" if b"<bad@far.test>" in line else "250 2.1.5 ok"


def files_in(directory):
    return [f for _, _, names in os.walk(directory) for f in names]


def test_next_hop(make):
    """The next hop's answer to RCPT decides; a second question is answered from memory; no DATA is ever sent."""
    s = Server(RCPT=bad_is_unknown)
    inst = make({"transport_maps": to(s)})
    assert rcpt(inst, "good@far.test")[0] == 250
    code, text = rcpt(inst, "bad@far.test")
    assert code == 450
    assert text.startswith("4.1.1 <bad@far.test>: Recipient address rejected: unverified address: host ")
    assert "said: 550 5.1.1 no such user" in text
    assert rcpt(inst, "GOOD@far.test")[0] == 250
    assert rcpt(inst, "bad@far.test") == (code, text)
    assert asked(s, "good@far.test") == 1 and asked(s, "bad@far.test") == 1
    assert any(line.startswith("MAIL FROM:<double-bounce@mail.example.test>") for line in s.lines)
    assert not s.messages and "DATA" not in s.lines
    inst.wait_log("to=<good@far.test>.*status=deliverable")
    inst.wait_log("to=<bad@far.test>.*status=undeliverable")
    inst.wait_queue_empty()
    assert "sender non-delivery notification" not in inst.log()


def test_codes_and_reason(make):
    """unverified_recipient_reject_code gives its class to the enhanced code, too; _reject_reason hides the probe's text."""
    s = Server(RCPT="550 5.1.1 no such user")
    inst = make({"transport_maps": to(s), "unverified_recipient_reject_code": "550",
                 "unverified_recipient_reject_reason": "Address lookup failed"})
    assert rcpt(inst, "bad@far.test") == (550, "5.1.1 <bad@far.test>: Recipient address rejected: undeliverable address: Address lookup failed")


def test_trouble(make):
    """A 4xx of the next hop is no verdict: 450 in the end, with defer_code, and not before other restrictions refuse."""
    s = Server(RCPT="451 4.3.0 later")
    inst = make({"transport_maps": to(s), "unverified_recipient_defer_code": "451"})
    code, text = rcpt(inst, "who@far.test")
    assert code == 451 and "4.1.1 <who@far.test>: Recipient address rejected: unverified address: host " in text
    inst.wait_queue_empty()


def test_in_progress(make):
    """A next hop that does not answer in time: the client is told to come again, and finds the result then."""
    go = threading.Event()

    def slow(server, c, line):
        go.wait(30)
        return "250 2.1.5 ok"
    s = Server(RCPT=slow)
    inst = make({"transport_maps": to(s), "address_verify_poll_count": "1"})
    code, text = rcpt(inst, "slow@far.test")
    assert (code, text) == (450, "4.1.1 <slow@far.test>: Recipient address rejected: unverified address: Address verification in progress")
    assert rcpt(inst, "slow@far.test")[0] == 450
    go.set()
    inst.wait_log("to=<slow@far.test>.*status=deliverable")
    inst.wait_queue_empty()
    assert rcpt(inst, "slow@far.test")[0] == 250
    assert asked(s, "slow@far.test") == 1


def test_sender(make):
    """reject_unverified_sender: X.1.7; the null sender and the sender of probes are not asked about."""
    s = Server(RCPT=bad_is_unknown)
    inst = make({"transport_maps": to(s), "smtpd_recipient_restrictions": "reject_unverified_sender"})
    assert rcpt(inst, "x@far.test", "good@far.test")[0] == 250
    code, text = rcpt(inst, "x@far.test", "bad@far.test")
    assert code == 450 and text.startswith("4.1.7 <bad@far.test>: Sender address rejected: unverified address: ")
    n = len(s.lines)
    assert rcpt(inst, "x@far.test", "")[0] == 250
    assert rcpt(inst, "x@far.test", "double-bounce@far.test")[0] == 250
    assert len(s.lines) == n


def test_negative_cache_off(make):
    """address_verify_negative_cache = no: each question makes a probe."""
    s = Server(RCPT="550 5.1.1 no such user")
    inst = make({"transport_maps": to(s), "address_verify_negative_cache": "no"})
    assert rcpt(inst, "bad@far.test")[0] == 450
    code, text = rcpt(inst, "bad@far.test")
    assert code == 450 and "unverified" in text
    assert asked(s, "bad@far.test") >= 2


def test_refresh_and_success_stays(make):
    """After its refresh time a success is asked again, and a failure then does not replace it before it expires."""
    s = Server()
    inst = make({"transport_maps": to(s), "address_verify_positive_refresh_time": "1s"})
    assert rcpt(inst, "r@far.test")[0] == 250
    s.replies["RCPT"] = "550 5.1.1 gone"
    inst.wait_log("to=<r@far.test>.*status=deliverable")
    time.sleep(2.1)
    assert rcpt(inst, "r@far.test")[0] == 250
    inst.wait_log("to=<r@far.test>.*status=undeliverable")
    inst.wait_queue_empty()
    assert rcpt(inst, "r@far.test")[0] == 250


def test_sender_that_changes(make):
    """address_verify_sender_ttl: the local part has a part of its own for a while; both are ours, and are not probed."""
    s = Server()
    inst = make({"transport_maps": to(s), "address_verify_sender_ttl": "8053s", "local_recipient_maps": "inline:{ {nobody-else=1} }",
                 "smtpd_reject_unlisted_recipient": "yes"})
    assert rcpt(inst, "r@far.test")[0] == 250
    (m,) = {x for x in (re.match("MAIL FROM:<(double-bounce[0-9B-Z]{3,8})@mail.example.test>", line) for line in s.lines) if x}
    assert rcpt(inst, m.group(1) + "@mail.example.test")[0] == 250
    assert rcpt(inst, "double-bounceX@mail.example.test")[0] >= 400
    inst.wait_queue_empty()


def test_what_is_known_survives(make):
    """address_verify_map: a restart forgets nothing; what has expired is cleaned away, and asked again."""
    s = Server(RCPT=bad_is_unknown)
    inst = make({"transport_maps": to(s), "address_verify_map": "proxy:btree:$data_directory/verify_cache", "address_verify_negative_expire_time": "3s",
                 "address_verify_negative_refresh_time": "3s"})
    assert rcpt(inst, "Good@far.test")[0] == 250
    assert rcpt(inst, "bad@far.test")[0] == 450
    assert os.path.exists(os.path.join(inst.data, "verify_cache.db")), inst.log()
    inst.wait_queue_empty()
    inst.stop()
    inst.main["address_verify_cache_cleanup_interval"] = "1s"
    inst.start()
    assert rcpt(inst, "good@far.test")[0] == 250
    assert asked(s, "good@far.test") == 1
    inst.wait_log(r"verify\[\d+\]: cache btree:.*/verify_cache cleanup: retained=[12] dropped=1 entries")
    assert rcpt(inst, "bad@far.test")[0] == 450
    assert asked(s, "bad@far.test") >= 2
    assert "results are kept in memory only" not in inst.log()


@pytest.mark.parametrize("owner, mode", [("root", 0o755), ("postern", 0o700), ("nobody", 0o700)])
@pytest.mark.parametrize("kind", ["btree", "lmdb"])
def test_table_outside_of_data_directory(make, kind, owner, mode):
    """address_verify_map may be anywhere, whoever the directory belongs to: proxywrite(8) opens it before it gives its rights up."""
    if os.getuid() != 0:
        pytest.skip("not root: directories of others")
    s, base = Server(), scratch("verify-")
    os.chmod(base, mode)
    os.chown(base, pwd.getpwnam(owner).pw_uid, -1)
    inst = make({"transport_maps": to(s), "address_verify_map": f"{kind}:{base}/verify"})
    assert rcpt(inst, "good@far.test")[0] == 250
    inst.wait_queue_empty()
    inst.stop()
    inst.start()
    assert rcpt(inst, "good@far.test")[0] == 250 and asked(s, "good@far.test") == 1
    assert os.listdir(base) == [{"btree": "verify.db", "lmdb": "verify.lmdb"}[kind]] and "results are kept in memory only" not in inst.log()


def test_table_in_a_directory_that_cannot_be_written(make):
    """As /etc under the unit: the table is in data_directory then, and nothing known is lost."""
    if os.getuid() != 0:
        pytest.skip("not root: nothing can be mounted")
    s, base = Server(), scratch("verify-")
    inst = make({"transport_maps": to(s), "address_verify_map": f"proxy:btree:{base}/kept", "proxy_write_maps": "$address_verify_map"}, start=False)
    inst.wrap = ["unshare", "-m", "sh", "-c", f'mount --bind {base} {base} && mount -o remount,bind,ro {base} && exec "$@"', "-"]
    for _ in range(2):
        inst.start()
        assert rcpt(inst, "good@far.test")[0] == 250
        inst.wait_queue_empty()
        inst.stop()
    assert asked(s, "good@far.test") == 1 and os.listdir(base) == [] and os.path.exists(os.path.join(inst.data, "kept.db"))
    assert f"table btree:{base}/kept is in a directory that cannot be written: it is btree:{inst.data}/kept instead" in inst.log()
    assert "results are kept in memory only" not in inst.log()


def test_mailboxes_and_aliases(make):
    """Virtual mailboxes, local users and aliases: found or not, and nothing is delivered, forwarded, filtered or copied."""
    s = Server()
    inst = make({"transport_maps": to(s), "always_bcc": "a@example.test", "local_recipient_maps": "",
                 "enable_original_recipient": "no", "content_filter": "smtp:[127.0.0.1]:%d" % s.port},
                users={"a": "x"}, virtual="both@example.test a@example.test, nobody-here@example.test\n",
                aliases="run: \"|/bin/false\"\nfwd: x@far.test\n")
    for addr, code in (("a@example.test", 250), ("both@example.test", 250), ("none@example.test", 450),
                       ("run@mail.example.test", 250), ("fwd@mail.example.test", 250), ("no-such-user-here@mail.example.test", 450)):
        got = rcpt(inst, addr)
        assert got[0] == code, (addr, got, inst.log())
        assert code == 250 or "unverified address: unknown user" in got[1]
    inst.wait_queue_empty()
    assert files_in(inst.mail) == [] and not s.messages
    assert not re.search("status=(sent|bounced)", inst.log())
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=30) as c:  # logs name the alias of mail as well
        c.sendmail("s@sender.test", "both@example.test", "Subject: x\r\n\r\nx\r\n")
    inst.wait_log("to=<a@example.test>, orig_to=<both@example.test>, relay=127.0.0.1.*status=sent")


def test_discard_and_error(make):
    """discard(8) and error(8) as destinations of probes."""
    inst = make({"transport_maps": "inline:{ {far.test=discard:} {gone.test=error:5.1.2 no longer here} }"})
    assert rcpt(inst, "a@far.test")[0] == 250
    code, text = rcpt(inst, "a@gone.test")
    assert code == 450 and text.endswith("unverified address: no longer here")
    inst.wait_log("to=<a@far.test>.*status=deliverable")


def test_no_service(make):
    """Without verify(8): 450, and the mail is not lost."""
    inst = make({"address_verify_service_name": "nothing"})
    code, text = rcpt(inst, "a@far.test")
    assert code == 450 and "unverified address: address verification problem" in text
