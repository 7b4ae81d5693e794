"""qmqp-source(1) and qmqp-sink(1) (https://cr.yp.to/proto/qmqp.html): what goes over the wire, what is said of each answer, and the two with one another and
with Debian's programs of the same names (left out where those are not installed)."""
import os
import re
import socket
import subprocess
import threading
import time

import pytest

from instance import BIN, free_ports

OURS = {"source": os.path.join(BIN, "qmqp-source"), "sink": os.path.join(BIN, "qmqp-sink")}
DEBIAN = {k: p for k in ("source", "sink") if os.path.exists(p := "/usr/sbin/qmqp-" + k)}
SIDES = [pytest.param(OURS, id="ours"), pytest.param(DEBIAN, id="debian", marks=pytest.mark.skipif(len(DEBIAN) < 2, reason="Debian's tools are not installed"))]


def netstring(*parts):
    return b"".join(b"%d:%s," % (len(p), p) for p in parts)


class Sink:
    def __init__(self, program, *options):
        self.port = free_ports(1)[0]
        self.p = subprocess.Popen([program, *options, "127.0.0.1:%d" % self.port, "10"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.02)

    def ask(self, data, end=False):
        with socket.create_connection(("127.0.0.1", self.port), 20) as s:
            s.sendall(data)
            if end:
                s.shutdown(socket.SHUT_WR)
            return s.makefile("rb").read()

    def stop(self):
        self.p.terminate()
        return self.p.communicate()


@pytest.mark.parametrize("side", SIDES)
def test_sink(side):
    """Whatever is in the netstring: taken. What is none: no answer."""
    sink = Sink(side["sink"], "-c")
    try:
        assert sink.ask(netstring(netstring(b"x: y\n\nz\n", b"a@b", b"c@d"))) == b"3:KOk,"
        assert sink.ask(netstring(b"z" * 200000)) == b"3:KOk,"
        assert sink.ask(b"abc") == b"" and sink.ask(b"50:abc", end=True) == b""
    finally:
        out, err = sink.stop()
    assert b"netstring format error" in err and b"lost connection" in err


def test_sink_ends_by_itself():
    sink = Sink(OURS["sink"], "-x", "1")
    assert sink.p.wait(20) == 0
    sink.stop()


def exchange(program, answer, *args):
    """What the source said of an answer, and what it sent."""
    got = []
    with socket.socket() as l:
        l.bind(("127.0.0.1", 0))
        l.listen(5)
        l.settimeout(20)

        def serve():
            with l.accept()[0] as c, c.makefile("rb") as f:
                head = b""
                while not head.endswith(b":"):
                    head += f.read(1)
                got.append(f.read(int(head[:-1]) + 1))
                c.sendall(answer)
        t = threading.Thread(target=serve)
        t.start()
        p = subprocess.run([program, *args, "127.0.0.1:%d" % l.getsockname()[1]], capture_output=True, timeout=30, check=False)
        t.join()
    text = re.sub(rb"\d\d:\d\d:\d\d |<\w+@foo\.test>\n\n", b"T", got[0])
    return p.returncode, p.stdout, p.stderr.decode().replace("/usr/sbin/", ""), text


CASES = [(b"2:Kk,",), (b"2:Kk,", "-c", "-r", "3", "-f", "a@b", "-t", "c@d"), (b"4:Dbad,",), (b"4:Zbad,", "-l", "200"), (b"4:Xbad,", "-l", "10"), (b"4:Kb",), (b"",), (b"x",),
         (b"3:Kok;",)]


@pytest.mark.skipif(len(DEBIAN) < 2, reason="Debian's tools are not installed")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_source_as_debians(case):
    answer, *args = case
    ours, theirs = (exchange(side["source"], answer, "-M", "foo.test", *args) for side in (OURS, DEBIAN))
    head = ours[3].index(b"Date: ") if "-l" not in args else 20  # how the text goes on is of no interest; its length is
    assert ours[:3] == theirs[:3] and ours[3][:head] == theirs[3][:head] and abs(len(ours[3]) - len(theirs[3])) <= 4  # Message-Id has a pid


def test_source_sends():
    code, out, err, text = exchange(OURS["source"], b"2:Kk,", "-M", "foo.test", "-r", "2", "-f", "a@b", "-c")
    assert (code, out, err) == (0, b"1\r\n", "") and text.endswith(netstring(b"a@b", b"0foo@foo.test", b"1foo@foo.test") + b",")
    assert exchange(OURS["source"], b"4:Dbad,", "-M", "foo.test")[:3] == (1, b"", "qmqp-source: fatal: unrecoverable error: bad\n")
    p = subprocess.run([OURS["source"], "-x"], capture_output=True, text=True, check=False)
    assert p.returncode == 1 and "usage: qmqp-source" in p.stderr


@pytest.mark.parametrize("source,sink", [(OURS, OURS), pytest.param(OURS, DEBIAN, marks=SIDES[1].marks), pytest.param(DEBIAN, OURS, marks=SIDES[1].marks)])
def test_together(source, sink):
    s = Sink(sink["sink"], "-c")
    try:
        p = subprocess.run([source["source"], "-c", "-m", "50", "-s", "5", "-l", "5000", "127.0.0.1:%d" % s.port], capture_output=True, timeout=60, check=False)
        assert p.returncode == 0 and p.stdout.endswith(b"50\r\n")
    finally:
        s.stop()
