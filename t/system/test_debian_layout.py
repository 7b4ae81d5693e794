"""The services that Debian's master.cf puts into a chroot work there (POSTERN_CHROOT=1 runs every instance of the tests so)."""
import json
import os
import smtplib

import pytest

from fakesmtp import Server
from instance import Instance, free_ports, listens, scratch

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root enters a chroot")


def program(pid):
    with open(f"/proc/{pid}/cmdline", encoding="ascii") as f:
        return os.path.basename(f.read().split("\0")[0])


def test_mail_goes_through_and_is_listed():
    """Into the queue, into its listing, to the next hop, and a bounce back, by processes whose root is the queue directory or, where they meet the network, an empty one."""
    sink = Server(RCPT="450 4.2.0 later")
    with Instance(scratch("postern-layout-"), main={"relayhost": f"[127.0.0.1]:{sink.port}"}, chroot=True) as i:
        with smtplib.SMTP("127.0.0.1", i.port["smtp"], timeout=60) as s:
            s.sendmail("root@localhost", ["a@far.test", "b@far.test"], b"Subject: x\r\n\r\nhello\r\n")
            i.wait_log(r"to=<b@far\.test>.* status=deferred")
            listed = [json.loads(x) for x in i.command("postqueue", "-j").stdout.splitlines()]
            assert [[r["address"] for r in m["recipients"]] for m in listed] == [["a@far.test", "b@far.test"]]
            assert "said: 450 4.2.0 later" in listed[0]["recipients"][0]["delay_reason"]
            roots = {program(pid): os.readlink(f"/proc/{pid}/root") for pid in i.processes()}
        sink.replies = {"RCPT TO:<b@far.test>": "550 5.1.1 unknown"}
        i.command("postqueue", "-f")
        i.wait_log(r"to=<a@far\.test>.* status=sent")
        i.wait_log(r"postfix/bounce\[\d+\]: \w+: sender non-delivery notification")
        i.wait_queue_empty()
        assert len(sink.messages) == 1
    queue = os.path.realpath(i.queue)
    assert {n for n, root in roots.items() if root == queue} >= {"pickup", "cleanup", "showq", "trivial-rewrite"}, roots


def test_a_host_without_network():
    """inet_protocols empty, as Debian's installer may leave it: nothing listens, local mail is delivered, other mail waits."""
    port = free_ports(1)[0]
    with Instance(scratch("postern-layout-"), main={"inet_protocols": "", "fallback_transport": "discard"}, listen=(), chroot=True,
                  master=[f"127.0.0.1:{port} inet n - y - - smtpd"]) as i:
        i.wait_log(rf"master\[\d+\]: warning: service 127\.0\.0\.1:{port} listens nowhere: inet_protocols is empty")
        assert not listens("127.0.0.1", port)
        i.command("sendmail", "-f", "a@localhost", "u@far.test", "nosuchuser@localhost", input=b"Subject: x\n\nx\n")
        i.wait_log(r"to=<u@far\.test>, relay=none, .*dsn=4\.4\.4, status=deferred \(all network protocols are disabled\)")
        i.wait_log(r"to=<nosuchuser@localhost>, relay=none, .*status=sent \(fallback_transport\)|to=<nosuchuser@localhost>.*status=sent")
