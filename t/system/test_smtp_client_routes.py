"""Where smtp(8) and lmtp(8) go, beside Debian's: the order of MX hosts, hosts that are not there, loops, limits, fall-back relays, kept
connections, probes, UNIX sockets. Both have the same DNS and the same servers, one after the other."""
import os
import re
import shutil
import smtplib
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from beside import NEEDS, NET, LowDns
from fakesmtp import EHLO, Server
from instance import Instance, free_ports, scratch

pytestmark = NEEDS
P = 2525  # of servers: their addresses are this run's own
TEXT = b"From: a@example.org\r\nSubject: x\r\n\r\nhello\r\n"
BUSY, LATER = {"GREETING": "421 4.3.2 busy"}, {"RCPT": "450 4.2.0 later"}
ME = "127.0.0.1"  # inet_interfaces


def name_wire(name):
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".") if x) + b"\0"


def rr(name, kind, data):
    return "dns-rr=%s,%d,%s" % (name, kind, data.hex())


def mx(name, pref, target):
    return rr(name, 15, struct.pack(">H", pref) + name_wire(target))


def route(*servers, mxs=None, more=(), conf=None, nexthop="{d}:{p}", port=P, rcpts=("u",), count=1, lmtp=False, probe=False, unix=False):
    """servers: one a host, h0, h1, ... (None: nobody listens; "none": no address either). mxs: (preference, host name or number),
    default all hosts in order. more: lines of dnsmasq. {d} domain, {p} port, {0} address of h0. count: messages, one after the other."""
    return {"servers": servers or ({},), "mxs": mxs, "more": more, "conf": dict(conf or {}), "nexthop": nexthop, "port": port, "rcpts": rcpts,
            "count": count, "lmtp": lmtp, "probe": probe, "unix": unix}


CASES = {
    "one": route(),
    "order": route(BUSY, BUSY, {}, mxs=[(30, 2), (10, 0), (20, 1)]),
    "ordertwo": route(LATER, LATER, {}, mxs=[(20, 1), (30, 2), (10, 0)]),
    "equal": route(BUSY, BUSY, BUSY, mxs=[(10, 0), (10, 1), (10, 2)], conf={"randomize_addresses": "no"}),
    "nomx": route({}, mxs=[], more=("host-record={d},{0}",)),
    "nothing": route(None, mxs=[], more=("host-record=x.{d},{0}",)),
    "nxdomain": route(None, mxs=[], nexthop="no.{d}:{p}"),
    "noaddress": route("none", "none"),
    "noaddressone": route("none", {}),
    "noaddresssoft": route("none", conf={"defer_if_no_mx_address_found": "yes"}),
    "dnsfails": route(None, mxs=[], nexthop="x.refused:{p}"),
    "mxfails": route(None, mxs=[(10, "h.refused")]),
    "mxfailsone": route({}, mxs=[(10, "h.refused"), (20, 0)]),
    "mxfailsother": route("none", mxs=[(10, "h.refused"), (20, 0)]),
    "ignorefail": route(None, mxs=[], nexthop="x.refused:{p}", conf={"@ignore_mx_lookup_error": "yes"}),
    "hostfails": route(None, mxs=[], nexthop="[x.refused]:{p}"),
    "hostgone": route(None, mxs=[], nexthop="[no.{d}]:{p}"),
    "nullmx": route(None, mxs=[(0, "")]),
    "nullmxfallback": route({}, mxs=[(0, "")], conf={"fallback_relay": "[{0}]:{p}"}),
    "twonull": route({}, mxs=[(0, ""), (10, 0)]),
    "mxcname": route({}, mxs=[(10, "c.{d}")], more=("cname=c.{d},h0.{d}",)),
    "cname": route({}, mxs=[(10, 0)], nexthop="c.{d}:{p}", more=("cname=c.{d},{d}", "host-record={d},{0}")),
    "cnamehost": route({}, nexthop="[c.{d}]:{p}", more=("cname=c.{d},h0.{d}",)),
    "cnamename": route({}, nexthop="[c.{d}]:{p}", more=("cname=c.{d},h0.{d}",), conf={"cname_overrides_servername": "yes"}),
    "cnamemxname": route({}, mxs=[(10, "c.{d}")], more=("cname=c.{d},h0.{d}",), conf={"cname_overrides_servername": "yes"}),
    "mxnumeric": route({}, mxs=[(10, "{0}")]),
    "mxnumericbad": route({}, mxs=[(10, "1.2.3.4.5"), (20, 0)]),
    "mxallodd": route({}, mxs=[(10, "-x.{d}")]),
    "mxodd": route({}, mxs=[(10, "-x.{d}"), (20, 0)]),
    "mxunderscore": route({}, mxs=[(10, "a_b.{d}")], more=("host-record=a_b.{d},{0}",)),
    "literal": route({}, nexthop="[{0}]:{p}"),
    "literalbare": route({}, nexthop="{0}:{p}"),
    "hostnodns": route({}, mxs=[], nexthop="{d}:{p}", conf={"host_lookup": "native"}),
    "native": route({}, mxs=[], nexthop="[localhost]:1", conf={"host_lookup": "native"}),
    "nativedns": route({}, nexthop="[h0.{d}]:{p}", conf={"host_lookup": "native, dns"}),
    "nativeboth": route({}, nexthop="[localhost]:{p}", conf={"host_lookup": "dns, native"}, more=("host-record=localhost,{0}",)),
    "nativename": route({}, nexthop="[h0.{d}]:{p}", conf={"host_lookup": "native"}),
    "nativenx": route({}, nexthop="[no.{d}]:{p}", conf={"host_lookup": "native"}),
    "nativebothnx": route({}, nexthop="[no.{d}]:{p}", conf={"host_lookup": "native, dns"}),
    "nativefails": route({}, nexthop="[x.refused]:{p}", conf={"host_lookup": "native"}),
    "nodns": route(None, nexthop="{d}:{p}", conf={"dns_support_level": "disabled"}),
    "refuse": route(None, None, {}),
    "refuseall": route(None, None),
    "addresslimit": route(None, None, {}, conf={"mx_address_limit": "2"}),
    "addresslimitzero": route(BUSY, BUSY, BUSY, BUSY, BUSY, {}, conf={"mx_address_limit": "0", "mx_session_limit": "0"}),
    "addressesfive": route(None, None, None, None, None, {}),
    "sessionlimit": route(LATER, LATER, {}, conf={"mx_session_limit": "2"}),
    "sessionlimitone": route({"EHLO": "421 4.3.0 no"}, {}, conf={"mx_session_limit": "1"}),
    "manyaddresses": route(BUSY, BUSY, {}, mxs=[(10, "m.{d}")], more=("host-record=m.{d},{0}", "host-record=m.{d},{1}", "host-record=m.{d},{2}")),
    "self": route(None, mxs=[(10, "me.{d}")], more=("host-record=me.{d}," + ME,), nexthop="{d}"),
    "selfsecond": route({}, None, mxs=[(10, 0), (20, "me.{d}"), (30, 1)], more=("host-record=me.{d}," + ME,), nexthop="{d}", port=25),
    "selfseconddead": route(None, {}, mxs=[(10, 0), (20, "me.{d}"), (30, 1)], more=("host-record=me.{d}," + ME,), nexthop="{d}", port=25),
    "selfequal": route({}, mxs=[(10, 0), (10, "me.{d}")], more=("host-record=me.{d}," + ME,), nexthop="{d}", port=25),
    "selfbetternone": route("none", mxs=[(10, 0), (20, "me.{d}")], more=("host-record=me.{d}," + ME,), nexthop="{d}"),
    "selfport": route(None, mxs=[(10, "me.{d}")], more=("host-record=me.{d}," + ME,)),
    "selfhost": route(None, mxs=[], more=("host-record=me.{d}," + ME,), nexthop="[me.{d}]"),
    "selfaddress": route(None, mxs=[], more=("host-record={d}," + ME,), nexthop="{d}"),
    "selfproxy": route(None, mxs=[(10, "me.{d}")], more=("host-record=me.{d},%s.8" % NET,), nexthop="{d}"),
    "selffallback": route({}, mxs=[(10, "me.{d}")], more=("host-record=me.{d}," + ME,), nexthop="{d}", conf={"fallback_relay": "[{0}]:2525"}),
    "bestmx": route(None, mxs=[(10, "me.{d}")], more=("host-record=me.{d}," + ME,), nexthop="{d}", conf={"@best_mx_transport": "discard"}),
    "selfname": route({"EHLO": "250 mail.example.test"}, mxs=[(10, 0)], nexthop="{d}", port=25),
    "selfnameport": route({"EHLO": "250 mail.example.test"}),
    "fallback": route(BUSY, {}, mxs=[(10, 0)], conf={"fallback_relay": "[{1}]:{p}"}),
    "fallbackmx": route(BUSY, {}, mxs=[(10, 0)], more=("host-record=f.{d},{1}", "{mx f.{d} f.{d}}"), conf={"fallback_relay": "f.{d}:{p}"}),
    "fallbacktwo": route(BUSY, BUSY, {}, mxs=[(10, 0)], conf={"fallback_relay": "[{1}]:{p}, [{2}]:{p}"}),
    "fallbacknx": route({}, mxs=[], nexthop="no.{d}:{p}", conf={"fallback_relay": "[{0}]:{p}"}),
    "fallbacksoft": route({}, mxs=[], nexthop="x.refused:{p}", conf={"fallback_relay": "[{0}]:{p}"}),
    "fallbackhard": route({"MAIL": "550 5.7.1 no"}, {}, mxs=[(10, 0)], conf={"fallback_relay": "[{1}]:{p}"}),
    "fallbackdead": route(None, None, mxs=[(10, 0)], conf={"fallback_relay": "[{1}]:{p}"}),
    "fallbackpart": route({"RCPT TO:<v@fallbackpart.test>": "450 4.2.0 later"}, {}, mxs=[(10, 0)], rcpts=("u", "v"), conf={"fallback_relay": "[{1}]:{p}"}),
    "twohops": route(BUSY, {}, nexthop="[{0}]:{p}, [{1}]:{p}"),
    "twohopsnx": route({}, nexthop="no.{d}:{p}, [{0}]:{p}"),
    "v6": route(None, {"host": "::1"}, mxs=[(10, "v.{d}")], more=("host-record=v.{d},{0},::1",), conf={"address_preference": "ipv6"}),
    "v4": route({}, {"host": "::1"}, mxs=[(10, "v.{d}")], more=("host-record=v.{d},{0},::1",), conf={"address_preference": "ipv4"}),
    "vpref": route(BUSY, {"host": "::1"}, mxs=[(10, 0), (20, "v.{d}")], more=("host-record=v.{d},::1",), conf={"address_preference": "ipv6"}),
    "bind": route({}, conf={"bind_address": NET + ".7"}),
    "bindbad": route({}, conf={"bind_address": "192.0.2.77"}),
    "bindenforced": route({}, conf={"bind_address": "192.0.2.77", "bind_address_enforce": "yes"}),
    "kept": route({}, count=3, conf={"connection_cache_destinations": "{d}", "connection_cache_time_limit": "30s"}),
    "keptliteral": route({}, count=2, nexthop="[{0}]:{p}", conf={"connection_cache_destinations": "[{0}], {0}"}),
    "keptby": route({}, count=2, conf={"connection_cache_destinations": "{d}", "connection_cache_time_limit": "30s"}),
    "keptcount": route({}, count=4, conf={"connection_cache_destinations": "{d}", "connection_reuse_count_limit": "2"}),
    "keptrcpt": route({"RCPT": "450 4.2.0 later"}, count=2, conf={"connection_cache_destinations": "{d}"}),
    "keptbody": route({"BODY": "452 4.3.1 full"}, count=2, conf={"connection_cache_destinations": "{d}"}),
    "keptdead": route({"BODY": "250 2.0.0 Ok"}, {}, count=2, conf={"connection_cache_destinations": "{d}"}),
    "notkept": route({}, count=2),
    "probe": route({}, probe=True),
    "probeno": route({"RCPT": "550 5.1.1 nobody"}, probe=True),
    "probelater": route(LATER, probe=True),
    "probemail": route({"MAIL": "550 5.7.1 not you"}, probe=True),
    "probegone": route({"RCPT": None}, probe=True),
    "probebusy": route(BUSY, {}, probe=True),
    "probetwo": route(LATER, {}, probe=True),
    "probedead": route(None, probe=True),
    "probenx": route(None, mxs=[], nexthop="no.{d}:{p}", probe=True),
    "probedata": route({}, probe=True, conf={"address_verify_target": "data"}),
    "probedatano": route({"DATA": "554 5.7.1 no"}, probe=True, conf={"address_verify_target": "data"}),
    "probeone": route({"keywords": [k for k in EHLO if k != "PIPELINING"]}, probe=True),
    "lmtpinet": route({"lmtp": True}, lmtp=True, nexthop="inet:h0.{d}:{p}"),
    "lmtpbare": route({"lmtp": True}, lmtp=True, nexthop="h0.{d}:{p}"),
    "lmtpmx": route({"lmtp": True}, lmtp=True, nexthop="inet:{d}:{p}"),
    "lmtpunix": route({"lmtp": True}, lmtp=True, unix=True, nexthop="unix:{u}"),
    "lmtpunixno": route({"lmtp": True, "RCPT": "550 5.1.1 nobody"}, lmtp=True, unix=True, nexthop="unix:{u}"),
    "lmtpunixmany": route({"lmtp": True, "BODY": ["250 2.0.0 ok", "452 4.2.2 full"]}, lmtp=True, unix=True, nexthop="unix:{u}", rcpts=("u", "v")),
    "lmtpunixgone": route({"lmtp": True}, lmtp=True, unix=True, nexthop="unix:{u}.no"),
    "lmtpunixbusy": route({"lmtp": True, "GREETING": "421 4.3.2 busy"}, lmtp=True, unix=True, nexthop="unix:{u}"),
    "lmtpunixlost": route({"lmtp": True, "BODY": [None]}, lmtp=True, unix=True, nexthop="unix:{u}"),
    "lmtpunixkept": route({"lmtp": True}, lmtp=True, unix=True, nexthop="unix:{u}", count=2, conf={"connection_cache_destinations": "static:all"}),
    "lmtpunixprobe": route({"lmtp": True}, lmtp=True, unix=True, nexthop="unix:{u}", probe=True),
}


class Place:
    """The servers of a case, at addresses of its own."""
    next = 64

    def __init__(self, name, base):
        self.name, self.case, c = name, CASES[name], CASES[name]
        self.addr, self.servers = [], []
        for s in c["servers"]:
            if isinstance(s, dict) and "host" in s:
                self.addr.append(s["host"])
                continue
            self.addr.append("%s.%d" % (NET, Place.next))
            Place.next += 1
        self.port = free_ports(1)[0] if "::1" in self.addr else c["port"]
        self.fields = {"d": name + ".test", "p": self.port, "u": os.path.join(base, name + ".sock"), **{str(i): a for i, a in enumerate(self.addr)}}
        self.nexthop = self.fill(c["nexthop"])
        self.rcpts = ["%s@%s.test" % (r, name) for r in c["rcpts"]]

    def fill(self, text):
        for k, v in self.fields.items():
            text = text.replace("{%s}" % k, str(v))
        return text

    def records(self):
        d = self.fields["d"]
        hosts = ["host-record=h%d.%s,%s" % (i, d, a) for i, (a, s) in enumerate(zip(self.addr, self.case["servers"])) if s != "none" and ":" not in a]
        mxs = self.case["mxs"] if self.case["mxs"] is not None else [(10 * i + 10, i) for i in range(len(self.addr))]
        mxs = [mx(d, p, "h%d.%s" % (t, d) if isinstance(t, int) else self.fill(t)) for p, t in mxs]
        more = [self.fill(m) for m in self.case["more"]]
        return hosts + mxs + [mx(m[4:-1].split()[0], 10, m[4:-1].split()[1]) if m.startswith("{mx ") else m for m in more]

    def open(self):
        self.servers = []
        for a, s in zip(self.addr, self.case["servers"]):
            if isinstance(s, dict):
                kw = {"path": self.fields["u"]} if self.case["unix"] else {"host": a, "port": self.port}
                self.servers.append(Server(**{**s, **kw}))

    def close(self):
        out = [(s.sessions, [re.sub(r"SIZE=\d+| ORCPT=\S+", "", x) for x in s.lines if x != "QUIT"]) for s in self.servers]
        for s in self.servers:
            s.end()
        return out


def log_lines(log, places):
    """name -> the lines about it, without what is of one system."""
    out, names, found = {n: [] for n in places}, {}, []
    for m in re.finditer(r"(?:smtp|lmtp|c-\w+)\[\d+\]: (.*)$", log, re.M):
        t = m.group(1)
        q = re.match(r"([0-9A-F]{8,}): ", t)
        name = re.search(r"to=<[^>]*@(\w+)\.test>", t)
        if q and name:
            names[q.group(1)] = name.group(1)
        found.append((t, q and q.group(1)))
    at = {a: p.name for p in places.values() for a in p.addr if ":" not in a}
    for t, q in found:
        name = names.get(q)
        if name is None:
            where = [at[a] for a in re.findall(r"\[([\d.]+)\]", t) if a in at]
            domain = re.search(r"\b(\w+)\.test\b", t)
            name = where[0] if where else domain.group(1) if domain else None
        if name not in out:
            continue
        t = re.sub(r"^[0-9A-F]{8,}: ", "QID: ", t)
        t = re.sub(r"delay=[\d.]+, delays=[\d./]+, ", "", t)
        out[name].append(t)
    return out


MAIN = {"default_process_limit": "200", "inet_interfaces": ME, "inet_protocols": "all", "proxy_interfaces": NET + ".8",
        "smtp_tls_security_level": "", "smtp_address_preference": "ipv4", "smtp_randomize_addresses": "no", "smtp_connect_timeout": "5s",
        "smtpd_relay_restrictions": "permit_mynetworks, reject", "smtpd_recipient_restrictions":
        "check_recipient_access inline:{%s}" % " ".join("{%s.test = reject_unverified_recipient}" % n for n, c in CASES.items() if c["probe"]),
        "address_verify_map": "", "address_verify_poll_count": "60", "address_verify_poll_delay": "1s", "smtpd_peername_lookup": "no",
        "smtp_connection_cache_on_demand": "no", "smtp_log_tls_feature_status": "no", "queue_run_delay": "300s", "minimal_backoff_time": "300s"}


def submit(mta, p):
    """The reply to RCPT of a probe; of others nothing."""
    replies = []
    with smtplib.SMTP("127.0.0.1", mta.port["smtp"], timeout=60) as s:
        s.ehlo("client.example")
        for n in range(p.case["count"]):
            if n > 0:
                wait(mta, p, n)
            s.mail("a@example.org")
            for r in p.rcpts:
                replies.append(s.rcpt(r)[1].decode())
                assert p.case["probe"] or replies[-1].startswith("2.1.5"), replies
            if not p.case["probe"]:
                s.data(TEXT)
    return replies if p.case["probe"] else []


def wait(mta, p, n):
    until = time.monotonic() + 40
    while sum(mta.log().count("to=<%s>" % r) for r in p.rcpts) < n * len(p.rcpts):
        assert time.monotonic() < until, "%s\n%s" % (p.name, mta.log()[-3000:])
        time.sleep(0.05)


def run(mta, places):
    for p in places.values():
        p.open()
    try:
        mta.start()
        with ThreadPoolExecutor(12) as pool:
            replies = dict(zip(places, pool.map(lambda p: submit(mta, p), places.values())))
        for p in places.values():
            wait(mta, p, p.case["count"])
    finally:
        mta.stop()
        said = {n: p.close() for n, p in places.items()}
    return log_lines(mta.log(), places), said, replies


@pytest.fixture(scope="module")
def both():
    base = scratch("client-routes.")
    Place.next = 64
    places = {n: Place(n, base) for n in CASES}
    assert Place.next < 250
    dns = LowDns(base, ["no-round-robin"] + sum((p.records() for p in places.values()), []), NET + ".53").start()
    master, routes = [], []
    for n, p in places.items():
        program, prefix = ("lmtp", "lmtp_") if p.case["lmtp"] else ("smtp", "smtp_")
        options = {k[1:] if k[0] == "@" else "smtp_" + k if k == "address_verify_target" else prefix + k: p.fill(v) for k, v in p.case["conf"].items()}
        master.append("c-%s unix - - n - 1 %s %s" % (n, program, " ".join("-o {%s=%s}" % o for o in options.items())))
        routes.append("{%s.test = c-%s:%s}" % (n, n, p.nexthop))
    main = dict(MAIN, transport_maps="inline:{%s}" % " ".join(routes))
    try:
        yield [run(m, places) for m in (
            peer.Peer(os.path.join(base, "debian"), main=main, master=master, resolver=dns.host),
            Instance(os.path.join(base, "ours"), main=dict(main, resolver_nameservers=dns.host + ":53", maillog_file_prefixes=base), master=master))]
    finally:
        dns.stop()
        shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("name", CASES)
def test_same_log(both, name):
    assert both[1][0][name] == both[0][0][name]


@pytest.mark.parametrize("name", CASES)
def test_same_commands(both, name):
    """But for RSET: before a kept connection is used again it is not asked whether it lives, which would be a round trip."""
    ours, theirs = ([(n, [x for x in lines if x != "RSET"]) for n, lines in b[1][name]] for b in reversed(both))
    assert ours == theirs


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c["probe"]])
def test_same_answer_to_the_client(both, name):
    assert both[1][2][name] == both[0][2][name]
