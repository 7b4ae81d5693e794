"""qmgr(8) and Debian's: how many deliveries at a time and of how many recipients, and what is said of mail that is not tried."""
import os
import re
import shutil
import smtplib
import threading
import time

import pytest

import peer
from fakesmtp import Server
from instance import Instance, scratch

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
}
HELD = ("limit", "initial", "one")


class Gate:
    """Deliveries wait at the end of the data until the gate opens."""

    def __init__(self):
        self.open, self.lock, self.now, self.most = threading.Event(), threading.Lock(), 0, 0

    def __call__(self, server, conn, line):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.open.wait(40)
        with self.lock:
            self.now -= 1
        return "250 2.0.0 ok"

    def settle(self):
        """No more come, for a second."""
        until, most, since = time.monotonic() + 30, -1, time.monotonic()
        while time.monotonic() < until and (self.most != most or most < 1 or time.monotonic() - since < 1):
            if self.most != most:
                most, since = self.most, time.monotonic()
            time.sleep(0.05)
        self.open.set()
        return most


def wait(mta, pattern, n):
    until = time.monotonic() + 40
    while len(re.findall(pattern, mta.log(), re.M)) < n:
        assert time.monotonic() < until, "%s\n%s" % (pattern, mta.log()[-4000:])
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
        send(mta, n + ".test", count=6)
    for n in HELD:
        out[n] = gates[n].settle()
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
    for n in ("dead", "waits", "nosuch"):
        out[n] = reasons(mta, n + ".test")
    return out


@pytest.fixture(scope="module")
def both():
    base = scratch("queue-debian.")
    out = []
    try:
        for make, name in ((peer.Peer, "theirs"), (Instance, "ours")):
            gates = {n: Gate() for n in HELD}
            servers = {n: Server(BODY=gates[n]) if n in HELD else Server() for n in TRANSPORTS}
            servers["dead"].refuse()
            routes = ["{%s.test = %s:[127.0.0.1]:%d}" % (n, n, servers[n].port) for n in TRANSPORTS]
            routes += ["{waits.test = later:[127.0.0.1]:1}", "{nosuch.test = nosuch:x}"]
            main = {"transport_maps": "inline:{%s}" % " ".join(routes), "defer_transports": "later", "smtpd_recipient_restrictions":
                    "permit_mynetworks, reject", "queue_run_delay": "300s", "minimal_backoff_time": "300s", "smtp_tls_security_level": "",
                    "smtp_connection_cache_on_demand": "no", "smtp_log_tls_feature_status": "no", "maillog_file_prefixes": base}
            main.update({"%s_%s" % (n, k): v for n, c in TRANSPORTS.items() for k, v in c.items()})
            mta = make(os.path.join(base, name), main=main, master=["%s unix - - n - - smtp" % n for n in [*TRANSPORTS, "later"]])
            mta.start()
            try:
                out.append(play(mta, servers, gates))
            finally:
                for g in gates.values():
                    g.open.set()
                mta.stop()
        yield out
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("name,most", [("limit", 2), ("initial", 3), ("one", 1)])
def test_deliveries_at_a_time(both, name, most):
    """TRANSPORT_destination_concurrency_limit, _initial_destination_concurrency, _destination_rate_delay."""
    assert both[1][name] == both[0][name] == most


@pytest.mark.parametrize("name,sizes", [("chunk", [1, 2, 2]), ("single", [1] * 5), ("whole", [5])])
def test_recipients_of_a_delivery(both, name, sizes):
    """TRANSPORT_destination_recipient_limit."""
    assert both[1][name] == both[0][name] == sizes


@pytest.mark.parametrize("name", ["dead", "waits", "nosuch"])
def test_mail_that_is_not_tried(both, name):
    """A destination that failed just before, defer_transports, a transport that is not there."""
    assert both[1][name] == both[0][name]
