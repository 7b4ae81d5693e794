"""resolver(8): answers from servers of every kind (RFC 1035, 2308, 5452, 6891, 7766)."""
import socket
import struct
import threading
import time

import pytest

from fakemaster import Daemon, Reader, record, span

DNS_QUERY = 80
ANSWER, NX, NODATA, AGAIN, INVALID = 0, 1, 2, 3, 4


def labels(name):
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".") if x) + b"\0"


def message(query, answers=(), flags=0x8180, authority=(), n=12):
    end = query.index(b"\0", 12) + 5
    qtype = query[end - 4:end - 2]
    m = query[:2] + struct.pack(">HHHHH", flags, 1, len(answers), len(authority), 0) + query[12:end]
    for data in answers:
        m += b"\xc0\x0c" + qtype + b"\0\1" + struct.pack(">IH", 300, len(data)) + data
    for data in authority:
        m += b"\xc0\x0c\0\6\0\1" + struct.pack(">IH", 300, len(data)) + data
    return m


SOA = labels("ns.test") + labels("root.test") + struct.pack(">IIIII", 1, 2, 3, 4, 60)


class Dns:
    """answer(query, tcp) -> list of datagrams."""

    def __init__(self, answer):
        self.answer, self.queries, self.sources = answer, [], []
        while True:
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind(("127.0.0.1", 0))
            self.port = self.udp.getsockname()[1]
            try:
                self.tcp = socket.create_server(("127.0.0.1", self.port))
                break
            except OSError:
                self.udp.close()
        threading.Thread(target=self.serve_udp, daemon=True).start()
        threading.Thread(target=self.serve_tcp, daemon=True).start()

    def serve_udp(self):
        while True:
            q, peer = self.udp.recvfrom(2000)
            self.queries.append(q)
            self.sources.append(peer[1])
            for m in self.answer(q, False):
                self.udp.sendto(m, peer)

    def serve_tcp(self):
        while True:
            c, _ = self.tcp.accept()
            n = struct.unpack(">H", c.recv(2))[0]
            for m in self.answer(c.recv(n), True):
                c.sendall(struct.pack(">H", len(m)))
                for i in range(0, len(m), 1000):
                    c.sendall(m[i:i + 1000])
            c.close()


@pytest.fixture
def resolver(tmp_path):
    made = []

    def make(*servers, options="timeout:20 attempts:2"):
        (tmp_path / "resolv.conf").write_text("options %s\n" % options)
        d = Daemon("resolver", str(tmp_path), main_cf="resolver_conf = %s/resolv.conf\nresolver_nameservers = %s\n"
                   % (tmp_path, ", ".join("127.0.0.1:%d" % s.port for s in servers)))
        made.append(d)
        return d.connect("smtp")
    yield make
    for d in made:
        try:
            d.end()
        except OSError:  # it had retired
            d.kill()


def ask(s, name, qtype=1, hosts=False, serial=1, hosts_first=False):
    s.send(record(DNS_QUERY, span(name) + struct.pack("<HBB", qtype, hosts, hosts_first), serial))


def reply(s):
    r = Reader(s.recv(200000)[8:])
    return r.num("H"), r.num("B"), r.num("I"), r.span(), r.span()


def query(s, name, qtype=1, hosts=False, hosts_first=False):
    ask(s, name, qtype, hosts, 1, hosts_first)
    return reply(s)


def test_answer_and_cache(resolver):
    """RFC 1035 section 7.4; ids and ports differ (RFC 5452 section 9.2)."""
    d = Dns(lambda q, tcp: [message(q, [b"\1\2\3\4"])])
    s = resolver(d)
    status, secure, ttl, m, _ = query(s, "a.test")
    assert (status, secure) == (ANSWER, 0) and ttl == 300 and m.endswith(b"\0\4\1\2\3\4")
    assert query(s, "A.test.")[0] == ANSWER and len(d.queries) == 1
    for i in range(20):
        query(s, "x%d.test" % i)
    assert len(set(q[:2] for q in d.queries)) > 15 and len(set(d.sources)) > 15


def test_negative_answers_are_kept(resolver):
    """RFC 2308 section 5: as long as the SOA says; without a SOA not at all."""
    d = Dns(lambda q, tcp: [message(q, flags=0x8183, authority=[SOA] if b"soa" in q else [])])
    s = resolver(d)
    assert query(s, "soa.test")[:3] == (NX, 0, 60) and query(s, "soa.test")[0] == NX and len(d.queries) == 1
    assert query(s, "none.test")[0] == NX and query(s, "none.test")[0] == NX and len(d.queries) == 3


def test_no_data(resolver):
    s = resolver(Dns(lambda q, tcp: [message(q)]))
    assert query(s, "a.test", 15)[0] == NODATA


def test_forgeries_are_ignored(resolver):
    """RFC 5452 section 9.1: wrong id, wrong question, no answer at all, then the right one."""
    def answer(q, tcp):
        good = message(q, [b"\1\1\1\1"])
        bad = [bytes([q[0] ^ 1]) + good[1:], message(q[:12] + labels("evil.test") + q[-15:-11], [b"\6\6\6\6"]), q, b"", b"x" * 5]
        return bad + [good]
    s = resolver(Dns(answer))
    assert query(s, "a.test")[3].endswith(b"\1\1\1\1")


def test_truncated_answers_come_over_tcp(resolver):
    """RFC 7766 section 5."""
    big = [struct.pack(">I", i) for i in range(2000)]
    d = Dns(lambda q, tcp: [message(q, big)] if tcp else [message(q, flags=0x8380)])
    s = resolver(d)
    status, _, _, m, _ = query(s, "a.test")
    assert status == ANSWER and len(m) > 30000


def test_next_server_when_one_fails(resolver):
    s = resolver(Dns(lambda q, tcp: [message(q, flags=0x8182)]), Dns(lambda q, tcp: [message(q, [b"\1\1\1\1"])]))
    assert query(s, "a.test")[0] == ANSWER


def test_lost_packets_are_sent_again(resolver):
    count = []

    def answer(q, tcp):
        count.append(1)
        return [message(q, [b"\1\1\1\1"])] if len(count) > 1 else []
    s = resolver(Dns(answer), options="timeout:1 attempts:5")
    assert query(s, "a.test")[0] == ANSWER


def test_failure_is_temporary(resolver):
    s = resolver(Dns(lambda q, tcp: [message(q, flags=0x8182)]))
    assert query(s, "a.test")[0] == AGAIN


def test_server_without_edns(resolver):
    """RFC 6891 section 7."""
    d = Dns(lambda q, tcp: [message(q, flags=0x8181)] if q[11] else [message(q, [b"\1\1\1\1"])])
    assert query(resolver(d), "a.test")[0] == ANSWER


def test_equal_questions_are_joined(resolver):
    def answer(q, tcp):
        time.sleep(0.3)
        return [message(q, [b"\1\1\1\1"])]
    d = Dns(answer)
    s = resolver(d)
    for i in range(30):
        ask(s, "a.test", serial=i + 1)
    assert [reply(s)[0] for _ in range(30)] == [ANSWER] * 30 and len(d.queries) == 1


def test_names_that_are_none(resolver):
    s = resolver(Dns(lambda q, tcp: [message(q, [b"\1\1\1\1"])]))
    for name in ("", "a..b", "x" * 64 + ".test", "a b.test", "a\\032b.test", ".".join(["x" * 60] * 5), "a\0b"):
        assert query(s, name)[0] == INVALID, name
    assert query(s, "ok.test")[0] == ANSWER


def test_malformed_answers_end_nothing(resolver):
    def answer(q, tcp):
        m = message(q, [b"\1\1\1\1"])
        return [m[:-3]] if b"cut" in q else [m[:12] + q[12:q.index(b"\0", 12) + 5] + b"\xc0\xff" * 20]
    s = resolver(Dns(answer))
    assert query(s, "cut.test")[0] == INVALID and query(s, "loop.test")[0] == INVALID


def test_trust_ad(resolver):
    """RFC 6840 section 5.7: the AD bit counts only when resolv.conf says that the server may be believed."""
    d = Dns(lambda q, tcp: [message(q, [b"\1\1\1\1"], flags=0x81a0)])
    assert query(resolver(d), "a.test")[1] == 0 and d.queries[0][3] & 0x20 == 0


def test_trust_ad_on(resolver):
    d = Dns(lambda q, tcp: [message(q, [b"\1\1\1\1"], flags=0x81a0)])
    assert query(resolver(d, options="trust-ad timeout:1"), "a.test")[1] == 1 and d.queries[0][3] & 0x20


def test_hosts_file(resolver):
    s = resolver(Dns(lambda q, tcp: []))
    status, _, _, m, _ = query(s, "LocalHost", 1, True)
    assert status == ANSWER and m.endswith(b"\0\4\x7f\0\0\1")
    assert query(s, "nobody.test", 1, True)[0] == NX
    status, _, _, m, _ = query(s, "1.0.0.127.in-addr.arpa", 12, True)
    assert status == ANSWER and m.endswith(b"\x09localhost\0")
    assert query(s, "9.0.0.127.in-addr.arpa", 12, True)[0] == NX


def test_hosts_file_comes_first(resolver):
    """What the file does not know is asked of the servers."""
    d = Dns(lambda q, tcp: [message(q, [b"\1\1\1\1"])])
    s = resolver(d)
    assert query(s, "localhost", hosts_first=True)[3].endswith(b"\0\4\x7f\0\0\1") and not d.queries
    assert query(s, "a.test", hosts_first=True)[3].endswith(b"\0\4\1\1\1\1") and len(d.queries) == 1


def test_changed_resolv_conf_retires_the_process(resolver, tmp_path):
    """A fresh process reads the file again."""
    d = Dns(lambda q, tcp: [message(q, [b"\1\1\1\1"])])
    s = resolver(d)
    assert query(s, "a.test")[0] == ANSWER
    (tmp_path / "new").write_text("options timeout:1\n")
    (tmp_path / "new").rename(tmp_path / "resolv.conf")
    assert s.recv(100) == b""
