"""anvil counts connections and events per service and client, and forgets the connections of a server process that ends (anvil(8))."""
import os
import re
import struct
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from fakemaster import Daemon, Reader, record, span  # noqa: E402
from instance import PATIENCE, until  # noqa: E402

ANVIL = 100
CONNECT, DISCONNECT, MAIL, RCPT, NEWTLS, AUTH, NEWTLS_SEEN = range(1, 8)


@pytest.fixture
def anvil(tmp_path, request):
    d = Daemon("anvil", str(tmp_path), main_cf=getattr(request, "param", ""))
    yield d
    d.kill()


def tell(s, kind, client="192.0.2.1", service="smtp"):
    s.send(record(ANVIL, span(service) + span(client) + struct.pack("<H", kind)))
    r = Reader(s.recv(1000)[8:])
    return r.num("I"), r.num("I")


def test_connections_and_rates(anvil):
    a, b = anvil.connect(), anvil.connect()
    assert tell(a, CONNECT) == (1, 1)
    assert tell(b, CONNECT) == (2, 2)  # over all processes
    assert tell(a, CONNECT, service="submission") == (1, 1)  # each service by itself
    assert tell(a, CONNECT, client="192.0.2.2") == (1, 1)
    assert tell(a, DISCONNECT)[0] == 1
    assert tell(a, DISCONNECT)[0] == 1  # this process has none left: another's are not its to take
    assert tell(b, CONNECT) == (2, 3)
    for kind in (MAIL, RCPT, NEWTLS, AUTH):
        assert [tell(a, kind)[1] for _ in range(3)] == [1, 2, 3]
    assert [tell(a, NEWTLS_SEEN)[1] for _ in range(2)] == [3, 3]  # asking counts nothing
    assert tell(a, NEWTLS_SEEN, client="192.0.2.3") == (0, 0)
    assert tell(a, 99) == (2, 0) or tell(a, 99)[1] == 0


@pytest.mark.parametrize("anvil", ["anvil_rate_time_unit = 2s\n"], indirect=True)
def test_rates_end_with_the_time_unit(anvil):
    s, begin = anvil.connect(), time.monotonic()
    assert [tell(s, MAIL)[1] for _ in range(5)] == [1, 2, 3, 4, 5] or time.monotonic() - begin > 1.5
    end = time.monotonic() + PATIENCE
    while tell(s, RCPT)[1] != 1 or tell(s, MAIL)[1] > 5:
        assert time.monotonic() < end
        time.sleep(2.1)
    assert tell(s, MAIL)[1] <= 3


def test_a_process_that_ends_has_no_connections(anvil):
    a, b = anvil.connect(), anvil.connect()
    for _ in range(5):
        tell(a, CONNECT)
    assert tell(b, CONNECT)[0] == 6
    a.close()
    assert until(lambda: tell(b, MAIL)[0] == 1)


def test_strangers_and_nonsense(anvil):
    s = anvil.connect("pickup")  # not one of those who may ask
    s.send(record(ANVIL, span("smtp") + span("192.0.2.9") + struct.pack("<H", CONNECT)))
    assert s.recv(1000) == b""
    s = anvil.connect()
    s.send(record(ANVIL, b"\xff" * 30))
    assert s.recv(1000) == b""
    assert tell(anvil.connect(), CONNECT, client="192.0.2.9") == (1, 1)


def test_the_log_says_what_the_highest_figures_were(tmp_path):
    d = Daemon("anvil", str(tmp_path), main_cf="anvil_rate_time_unit = 60s\nanvil_status_update_time = 1s\n")
    try:
        s = d.connect()
        for kind in (CONNECT, CONNECT, MAIL, RCPT, RCPT, RCPT, AUTH):
            tell(s, kind)
        want = [r"max connection rate 2/60s for \(smtp:192\.0\.2\.1\) at \w{3} [ \d]\d \d\d:\d\d:\d\d$", r"max recipient rate 3/60s for ",
                r"max message rate 1/60s for ", r"max auth rate 1/60s for ", r"max connection count 2 for \(smtp:192\.0\.2\.1\) at ", r"max cache size 1 at "]
        assert until(lambda: all(re.search("statistics: " + w, d.text(), re.M) for w in want)), d.text()
        told = d.text()
        time.sleep(1.5)
        assert d.text().count("max auth rate") == told.count("max auth rate")  # nothing new, nothing said
    finally:
        d.kill()
