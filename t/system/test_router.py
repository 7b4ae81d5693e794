"""trivial-rewrite: addresses to standard form and to class, transport, next hop and recipient as Postfix does (ADDRESS_REWRITING_README,
ADDRESS_CLASS_README, transport(5), virtual(5), canonical(5), relocated(5)). Where Debian's Postfix is installed its own trivial-rewrite is
asked the same questions with the same main.cf; a table that fails means 451, never a wrong answer."""
import os
import pwd
import random
import re
import socket
import struct
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import peer  # noqa: E402
from fakemaster import Daemon, Reader, record, span  # noqa: E402
from instance import scratch, until  # noqa: E402

THEIRS = "/usr/lib/postfix/sbin/trivial-rewrite"
REWRITE, RESOLVE, VALIDATE, EXPAND = 30, 31, 32, 33
LOCAL, VALIAS, VBOX, RELAY, DEFAULT = range(5)
ENV_SENDER, ENV_RCPT, HDR_SENDER, HDR_RCPT = 1, 2, 4, 8

BASE = """mydomain = example.org
myorigin = example.org
mydestination = mx.example.org, localhost, example.org
append_dot_mydomain = yes
relay_domains = relay.test
virtual_alias_domains = valias.test
virtual_mailbox_domains = vbox.test
recipient_delimiter = +
parent_domain_matches_subdomains = relay_domains
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
"""


class Router(Daemon):
    def __init__(self, directory, main_cf="", master_cf=""):
        if master_cf:
            os.makedirs(os.path.join(str(directory), "etc"), exist_ok=True)
            with open(os.path.join(str(directory), "etc", "master.cf"), "w", encoding="ascii") as f:
                f.write(master_cf)
        super().__init__("trivial-rewrite", str(directory), main_cf=BASE + main_cf)
        self.s = self.connect("qmgr")

    def ask(self, kind, body):
        self.s.send(record(kind, body))
        data = self.s.recv(1 << 20)
        assert data, self.text()
        return Reader(data[8:])

    def rewrite(self, addr, local=True, role=0):
        r = self.ask(REWRITE, struct.pack("<BHI", local, role, 1) + span(addr))
        code, text = r.num("H"), r.span()
        if code:
            return code
        assert r.num("I") == 1
        return r.span().decode()

    def resolve(self, addr, sender="s@elsewhere.test", probe=False):
        r = self.ask(RESOLVE, span(sender) + span(addr) + struct.pack("<B", probe))
        code, dsn, text, cls = r.num("H"), r.span(), r.span(), r.num("H")
        transport, nexthop, rcpt = (r.span().decode() for _ in range(3))
        return (code, cls, transport, nexthop, rcpt)

    def validate(self, addr, sender=""):
        r = self.ask(VALIDATE, span(sender) + span(addr) + b"\0")
        code, dsn, text, cls, auth, routed = r.num("H"), r.span().decode(), r.span().decode(), r.num("H"), r.num("B"), r.num("B")
        return code, dsn, text, cls, bool(auth), bool(routed)

    def expand(self, *rcpts, sender="s@elsewhere.test", no_mappings=False, said=(0, 0)):
        r = self.ask(EXPAND, span(sender) + struct.pack("<BBI", no_mappings, 1, len(rcpts)) + b"".join(span(a) for a in rcpts) + struct.pack("<II", *said))
        code, text, who = r.num("H"), r.span().decode(), r.span().decode()
        out = [(r.span().decode(), r.num("I"), r.num("B")) for _ in range(r.num("I"))]
        self.done, self.said = r.num("I"), (r.num("I"), r.num("I"))
        self.aliases = [x[:2] for x in out if x[2]]
        return (code, text) if code else (who, [x[:2] for x in out if not x[2]])


class Postfix:
    """Debian's trivial-rewrite with the same main.cf, on a socket pair."""

    def __init__(self, directory, main_cf=""):
        self.etc = os.path.join(str(directory), "theirs")
        q = os.path.join(str(directory), "theirs-q")
        for d in ("private", "public", "pid"):
            os.makedirs(os.path.join(q, d), exist_ok=True)
        os.makedirs(self.etc, exist_ok=True)
        data = os.path.join(str(directory), "theirs-data")
        os.makedirs(data, exist_ok=True)
        if os.getuid() == 0:
            os.chown(data, pwd.getpwnam("postfix").pw_uid, -1)
        with open(os.path.join(self.etc, "main.cf"), "w") as f:
            f.write("compatibility_level = 3.6\nqueue_directory = %s\ndata_directory = %s\nmyhostname = mx.example.org\n" % (q, data))
            f.write(BASE + main_cf)
        open(os.path.join(self.etc, "master.cf"), "w").close()

    def ask(self, **attrs):
        ours, theirs = socket.socketpair()
        p = subprocess.Popen([THEIRS, "-S", "-n", "rewrite", "-t", "unix", "-u"], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL,
                             env=dict(os.environ, MAIL_CONFIG=self.etc))
        theirs.close()
        ours.settimeout(60)
        try:
            ours.sendall(b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in attrs.items()) + b"\0")
            data = b""
            while not data.endswith(b"\0\0"):
                got = ours.recv(65536)
                if not got:
                    return None
                data += got
        finally:
            ours.close()
            p.kill()
            p.wait()
        f = data.decode().split("\0")
        return f[:-2]

    def rewrite(self, addr, rule="local"):
        f = self.ask(request="rewrite", rule=rule, address=addr)
        return f[f.index("address") + 1]

    def resolve(self, addr, sender="s@elsewhere.test"):
        f = self.ask(request="resolve", sender=sender, address=addr, **{"class": "0"})
        bits = int(f[-1])
        cls = {256: LOCAL, 512: VALIAS, 1024: VBOX, 2048: RELAY, 4096: DEFAULT}.get(bits & 0x1f00)
        if f[f.index("transport") + 1] == "CHANNEL NOT UPDATED":
            return (cls, "error")  # its way to say: no address
        return (cls, f[f.index("transport") + 1], f[f.index("nexthop") + 1], f[f.index("recipient") + 1])


def unquote(addr):
    """Internal form, in which Postfix asks to resolve."""
    local, at, domain = addr.rpartition("@")
    if local[:1] == '"' and local[-1:] == '"':
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    return local + at + domain


oracle = pytest.mark.skipif(not os.path.exists(THEIRS) or os.getuid() != 0, reason="Debian's Postfix is not installed, or not root")


@pytest.fixture
def make(tmp_path):
    made = []

    def go(main_cf="", master_cf=""):
        made.append(Router(tmp_path / "r", main_cf, master_cf) if os.makedirs(tmp_path / "r", exist_ok=True) is None else None)
        return made[-1]
    yield go
    for d in made:
        d.kill()


ADDRESSES = ["user@example.com", "user@host", "user", "user@", "user@host.", "user@example.com.", "a!b", "a!b!c", "a!b@c.test", "user%b.test",
             "user%b.test%c.test", "user%b.test@mx.example.org", "@a.test,@b.test:user@c.test", "@a.test:user", '"a b"@c.test', '"a@b"@c.test', '"a!b"',
             '"a%b"@mx.example.org', "user@[127.0.0.1]", "user@[192.0.2.7]", "user+ext@example.org", "User@EXAMPLE.org", "user@sub.relay.test",
             "a@b@c.test", "a@b.test@mx.example.org", "x!y@mx.example.org", "user@localhost", "user@b..test", "user%x@y.test",
             "postmaster", "user@valias.test", "user@vbox.test", "user@relay.test", "user@-x.test", "user@ex_ample.test"]


@oracle
def test_rewriting_as_postfix(make, tmp_path):
    ours, theirs = make(), Postfix(tmp_path)
    diff = [(a, ours.rewrite(a), theirs.rewrite(a)) for a in ADDRESSES + MORE + ODD if ours.rewrite(a) != theirs.rewrite(a)]
    assert not diff, "\n".join("%s: ours %s, theirs %s" % d for d in diff)


# Of such pieces, at random, no address is made; what becomes of them is still the same, or of a kind that trivial-rewrite(8), BUGS names.
PIECES = ["a", "b", "far.test", "host", "@", "@", "%", "!", ".", "..", ",", ":", ";", "<", ">", "(", ")", "[", "]", "\"", "\\", " ", "\t", "\n", "\r", "x y", "\"q q\"", "\"\"",
          "(c)", "[1.2.3.4]", "@b.test", "a@far.test", "|", "&", "+e", "\\@", "\\ "]
KINDS = {  # of (what was written, what Postfix makes of it)
    "a tab or line end in a comment": lambda s, theirs: "(" in s and re.search(r"[\t\r\n]", s),
    "nothing before a ! or %": lambda s, theirs: re.match(r'(\s|""|\\@|\[\]|:)*[!%]', s),
    "a route that leads to nobody": lambda s, theirs: re.match(r'(\s|""|\\ )*@[^:]*:', s),
    "an @ that is quoted": lambda s, theirs: re.search(r'\\@|"[^"]*@|\([^)]*@|\[[^]]*@|@\\$', s),
    "a backslash at the end of words": lambda s, theirs: re.search(r"\\\s*$", s),
    "a domain of signs that no domain has": lambda s, theirs: re.search(r"[,;<>: ]", theirs.rpartition("@")[2]),
    "a < where a part begins": lambda s, theirs: re.search(r"[!%@]\s*<", s),
    "a domain that is an empty word": lambda s, theirs: re.search(r'[@%]\s*"[^"]*"?$', s),
    "an escaped dot at the end of a domain": lambda s, theirs: s.endswith("\\."),
}


class Rewriter:
    """The rewrite service of a running Postfix; a process of it ends when it has answered enough."""

    def __init__(self, base):
        settings = dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in BASE.split("\n") if line)
        self.system = peer.Peer(base, main={**settings, "myhostname": "mx.example.org"}, listen=()).start()
        self.path, self.s = os.path.join(self.system.queue, "private/rewrite"), None
        assert until(lambda: os.path.exists(self.path))

    def read(self):
        data = b""
        while not data.endswith(b"\0\0"):
            got = self.s.recv(65536)
            if not got:
                raise OSError("it has ended")
            data += got
        return data.split(b"\0")

    def connect(self):
        self.close()
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60)
        self.s.connect(self.path)
        self.read()  # the name of the protocol

    def rewrite(self, address):
        for _ in range(5):
            try:
                if self.s is None:
                    self.connect()
                self.s.sendall(b"request\0rewrite\0rule\0local\0address\0" + address.encode() + b"\0\0")
                f = self.read()
                return f[f.index(b"address") + 1].decode()
            except OSError:
                self.close()
        return None

    def close(self):
        if self.s:
            self.s.close()
        self.s = None


def rewritten_by_postfix(samples):
    theirs = Rewriter(scratch("nonsense-"))
    try:
        return [theirs.rewrite(a) for a in samples]
    finally:
        theirs.close()
        theirs.system.stop()


@oracle
def test_rewriting_of_nonsense_as_postfix(make):
    ours, rnd = make(), random.Random(7)
    samples = [s for s in dict.fromkeys("".join(rnd.choice(PIECES) for _ in range(rnd.randint(1, 7))) for _ in range(2500)) if s.strip()]
    other = [(s, mine, his) for s, mine, his in zip(samples, map(ours.rewrite, samples), rewritten_by_postfix(samples)) if mine != his]
    unnamed = [o for o in other if not any(k(o[0], o[2]) for k in KINDS.values())]
    assert not unnamed, "\n".join("%r: ours %s, theirs %s" % o for o in unnamed)
    assert len(samples) > 2000 and len(other) < 150
    assert all(any(k(s, his) for s, _, his in other) for k in KINDS.values())


@oracle
def test_rewriting_of_strangers_as_postfix(make, tmp_path):
    conf = "remote_header_rewrite_domain = domain.invalid\n"
    ours, theirs = make(conf), Postfix(tmp_path, conf)
    sample = ["user", "user@host", "user@host.", "user@far.test", "user@", "a!b", "a%b", '"a b"', "user@[192.0.2.7]", "a..b"]
    assert [ours.rewrite(a, local=False) for a in sample] == [theirs.rewrite(a, "remote") for a in sample]


CONFIGS = {
    "plain": "",
    "relayhost": "relayhost = [gw.test]:2525\n",
    "no percent hack": "allow_percent_hack = no\nswap_bangpath = no\n",
    "transports": "transport_maps = inline:{ {user@example.com=slow:} {.sub.test=smtp:[s.test]} {relay.test=:[r.test]} {x.test=local:} "
                  "{user@y.test=:[y.gw]:26} {vbox.test=lmtp:unix:/x} {valias.test=smtp:[va]} {*=smtp:[star.test]} {example.org=error:5.7.1 no} }\n",
    "transports that give reasons": "default_transport = error:5.7.1 why\nrelay_transport = retry\ntransport_maps = inline:{ {user@x.test=:} {user@y.test=error:} {a@sub.test=error} "
                                    "{user@example.com=retry:} {who@moved.test=:4.1.2 other} {relay.test=:} {sub.relay.test=smtp:} }\n",
    "transports with parents": "parent_domain_matches_subdomains = transport_maps\ntransport_maps = inline:{ {sub.test=smtp:[s.test]} {user+ext@z.test=a:b} {user@z.test=c:d} }\nrelayhost = rh.test\n",
    "by sender": "sender_dependent_relayhost_maps = inline:{ {s@elsewhere.test=[one]} {@two.test=[two]} {none@elsewhere.test=DUNNO} }\nrelayhost = rh.test\n"
                 "sender_dependent_default_transport_maps = inline:{ {t@elsewhere.test=other} {u@elsewhere.test=other:[hop]} }\n",
    "no substitution": "transport_maps = regexp:{ {/^.*@(x)\\.test$$/ a:$$1} {/@x\\.test$$/ b:fixed} }\nrelayhost = rh.test\n"
                       "sender_dependent_relayhost_maps = regexp:{ {/^s@(.*)$$/ [$$1]} }\nsender_dependent_default_transport_maps = pcre:{ {/^t@(.*)$$/ c:$$1} }\n",
    "relocated": "relocated_maps = inline:{ {user@example.com=new@x.test} {@moved.test=gone.test} {localuser=elsewhere} }\n",
    "transport nexthop": "default_transport = smtp:[always.test]\nrelay_transport = relay:[rly.test]\nlocal_transport = lmtp:unix:private/x\nvirtual_transport = lmtp:[v.test]\nrelayhost = rh.test\n",
    "null sender's keys": "sender_dependent_relayhost_maps = inline:{ {null=[nullhop]} }\nempty_address_relayhost_maps_lookup_key = null\n"
                          "sender_dependent_default_transport_maps = inline:{ {nobody=other} }\nempty_address_default_transport_maps_lookup_key = nobody\n",
    "domains": "resolve_null_domain = yes\nresolve_numeric_domain = yes\nappend_at_myorigin = no\nappend_dot_mydomain = no\n",
    "quoted routing": "resolve_dequoted_address = no\n",
}
MORE = ["user@1.2.3.4", "user@1.2.3", "user@[1.2.3]", "user@[::1]", "user@[mx.example.org]", '""@mx.example.org', '""@relay.test', "@mx.example.org", "%a@relay.test",
        "a%b!c@mx.example.org", "u@x.test@mx.example.org", "x.test!u@mx.example.org", "mx.example.org!x.test!u", "u%x.test%mx.example.org", "u%[127.0.0.1]", "a..b@example.com",
        ".a@example.com", "a.@example.com", "+x@example.org", "owner-l@example.org", "-a@example.com", "a=b@example.com", "a/b@example.com", "user@x-.test", "user@.x.test",
        "MAILER-DAEMON", "user@MX.Example.ORG.", "a!b@[127.0.0.1]", "a%b@relay.test", '"a!b"@relay.test', "a@sub.test", "a@x.sub.test", "user@x.test", "user@y.test", "user+ext@z.test", "user+other@z.test", "who@moved.test", "localuser@example.org", "localuser+x@example.org"]
# malformed, and brought into the same form
ODD = ['"plain"', '"\\e\\s\\c"@example.com', '"back\\slash"', "!def!xyz%abc", "%abc", "!abc", "abc%", "abc!", 'partially."quoted"', "first.last.", "abc\\", "Abc\\@def@example.com",
       'Doug\\ \\"Ace\\"@example.com', '"test"test@example.com', '"test"."test"@example.com', "test@ example .com", " test@example.com", "test@example.com ", "test@[1.2.3.4",
       '"test@example.com', 'test"@example.com', "\u00fcml@example.com", '"\u00fcml"@example.com', "user@@example.com",
       # comments, literals and operators: each a word or a sign of its own
       "test@example.com(a comment)", "(a comment) test@example.com", "a(b(c)d)e@example.com", "a(b@example.com", "test@(example.com", "test@example.com (x\\)",
       "a[b]@example.com", "[a@example.com", "a@far[b]", "a@[1]2]", "a,b@example.com", ",a@example.com", "a,@example.com", "a@example.com,", "a<b@example.com", "a@<example.com",
       "a<<b>@example.com", "a:b@example.com", "a;b@example.com", "a | b@example.com", "a ) b@example.com", "a ] b@example.com", "a@ex ample", "a@\"example.com", "a@example.com\"",
       "@", "%", "!", "\"a\tb\"@example.com", "a@[1\t2]", " @a.test:b@example.com", "a%b(c@d.test", "far.test!a(b@c.test", "a@b(c.d)", '"a\\', "a[b\\", '""<a@example.com', '@far.test"@mx.example.org', "@[1.2.3.4](-@far.test", "@[a@far.test",
       "a@b.test\"@host", "a@b\"@far.test", "a\\ <b@far.test", "\\ <)["]
SYNTAX = ("plain", "no percent hack", "domains", "quoted routing")  # the others are about tables
SAMPLES = ["user@example.com", "user", "user@valias.test", "user@vbox.test", "user@relay.test", "user@sub.relay.test", "user@[192.0.2.7]", "user+ext@example.org",
           "a@sub.test", "a@x.sub.test", "user@x.test", "user@y.test", "user+ext@z.test", "user+other@z.test", "who@moved.test", "localuser@example.org", "localuser+x@example.org"]
SENDERS = ["s@elsewhere.test", "x@two.test", "none@elsewhere.test", "t@elsewhere.test", "u@elsewhere.test", ""]


@oracle
@pytest.mark.parametrize("name", CONFIGS)
def test_resolving_as_postfix(make, tmp_path, name):
    ours, theirs = make(CONFIGS[name]), Postfix(tmp_path, CONFIGS[name])
    diff = []
    inside = (lambda addr: addr) if name == "quoted routing" else unquote  # resolve_dequoted_address decides in which form it is asked
    for a in [x for x in ADDRESSES + MORE if inside is unquote or x[:2] != '""'] if name in SYNTAX else SAMPLES:
        a = ours.rewrite(a)
        if inside is not unquote and a.startswith('""'):
            continue
        for sender in SENDERS if "sender" in name and a in ("user@example.com", "user@relay.test", "user@vbox.test") else SENDERS[:1]:
            code, cls, transport, nexthop, rcpt = ours.resolve(a, sender)
            his = theirs.resolve(inside(a), sender)
            his = his[:3] + tuple(unquote(x) for x in his[3:])
            mine = (cls, transport, nexthop, unquote(rcpt))[:len(his)]
            if code or mine != his:
                diff.append("%s from %s: ours %s %s, theirs %s" % (a, sender, code, mine, his))
    assert not diff, "\n".join(diff)


# ---- facts of the manuals, without the oracle ----
def test_probes_have_routes_of_their_own(make):
    r = make("relayhost = [gw.test]\naddress_verify_relayhost =\naddress_verify_local_transport = lmtp:unix:l\n"
             "address_verify_transport_maps = inline:{ {t.test=probe:hop} }\n")
    assert r.resolve("u@x.test")[2:4] == ("smtp", "[gw.test]") and r.resolve("u@x.test", probe=True)[2:4] == ("smtp", "x.test")
    assert r.resolve("u@example.org", probe=True)[2:4] == ("lmtp", "unix:l") and r.resolve("u@example.org")[2] == "local"
    assert r.resolve("u@t.test", probe=True)[2:4] == ("probe", "hop") and r.resolve("u@t.test")[2:4] == ("smtp", "[gw.test]")


def test_domains_in_unicode_and_in_ascii_are_the_same(make):
    r = make("virtual_mailbox_domains = b\u00fccher.test\nrelay_domains = xn--fa-hia.test\n")
    assert r.resolve("u@xn--bcher-kva.test")[1] == VBOX == r.resolve("u@b\u00fccher.test")[1]
    assert r.resolve("u@fa\u00df.test")[1] == RELAY == r.resolve("u@xn--fa-hia.test")[1]


def test_a_domain_in_two_classes_is_warned_of(make):
    r = make("virtual_mailbox_domains = example.org, box.test\nrelay_domains = example.org, box.test, relay.test\n")
    r.rewrite("a@b.test")
    assert re.findall(r"do not list domain (.*)", r.text()) == ["example.org in BOTH mydestination and virtual_mailbox_domains", "box.test in BOTH virtual_mailbox_domains and relay_domains"]


def test_relocated_without_a_prefix(make):
    r = make("relocated_maps = inline:{ {m@x.test=4.2.2 Gone fishing} }\nrelocated_prefix_enable = no\n")
    assert r.resolve("m@x.test")[2:4] == ("error", "5.1.6 4.2.2 Gone fishing") or r.resolve("m@x.test")[3] == "4.2.2 Gone fishing"


def test_canonical_and_masquerading(make):
    r = make("canonical_maps = inline:{ {old@example.org=new@example.org} {@was.test=@is.test} {plain=First.Last} {loop@example.org=loop@example.org} "
             "{@was2.test=all@is.test} {c1@was.test=c2@was.test} {c2@was.test=c3@is.test} {l1@was.test=l2@was.test} {l2@was.test=l1@was.test} }\n"
             "sender_canonical_maps = inline:{ {s@example.org=sender@example.org} }\nrecipient_canonical_maps = inline:{ {r@example.org=rcpt@example.org} }\n"
             "masquerade_domains = !keep.corp.test corp.test\nmasquerade_exceptions = root\nmasquerade_classes = envelope_sender, header_sender\n"
             "propagate_unmatched_extensions = canonical, virtual\n")
    assert r.rewrite("old@example.org") == "old@example.org"  # no role, no mapping
    assert r.rewrite("old@example.org", role=ENV_RCPT) == "new@example.org"
    assert r.rewrite("old+x@example.org", role=ENV_RCPT) == "new+x@example.org"  # the extension is kept
    assert r.rewrite("user@was.test", role=HDR_RCPT) == "user@is.test"
    assert r.rewrite("plain", role=HDR_SENDER) == "First.Last@example.org"
    assert r.rewrite("s@example.org", role=ENV_SENDER) == "sender@example.org"
    assert r.rewrite("s@example.org", role=ENV_RCPT) == "s@example.org"
    assert r.rewrite("r@example.org", role=HDR_RCPT) == "rcpt@example.org"
    assert r.rewrite("u@a.corp.test", role=HDR_SENDER) == "u@corp.test"
    assert r.rewrite("u@a.corp.test", role=HDR_RCPT) == "u@a.corp.test"
    assert r.rewrite("u@x.keep.corp.test", role=HDR_SENDER) == "u@x.keep.corp.test"
    assert r.rewrite("root@a.corp.test", role=ENV_SENDER) == "root@a.corp.test"
    assert r.rewrite("u@notcorp.test", role=ENV_SENDER) == "u@notcorp.test"
    assert r.rewrite("user", local=False) == "user"  # remote context: left alone
    assert r.rewrite("z+e@was2.test", role=ENV_RCPT) == "all@is.test"  # who takes a whole domain takes no extensions
    assert r.rewrite("c1@was.test", role=ENV_RCPT) == "c3@is.test"  # results are looked up again
    assert r.rewrite("l1@was.test", role=ENV_RCPT) == 451


def test_virtual_alias_expansion(make):
    r = make("virtual_alias_maps = inline:{ {a@example.org=b@example.org, c@far.test} {b@example.org=d@far.test} {self@example.org=self@example.org, e@far.test} "
             "{@all.test=@example.org} {list@x.test=u1, u2 (a comment), u1} {loop1@x.test=loop2@x.test} {loop2@x.test=loop1@x.test} "
             "{ext@x.test=real@y.test} {\"quoted user\"@x.test=q@y.test} {quoted user@x.test=q@y.test} {grow@x.test=x+grow@x.test} {x+grow@x.test=xx+grow@x.test} }\n"
             "virtual_alias_recursion_limit = 10\nvirtual_alias_expansion_limit = 20\n")
    who, out = r.expand("a@example.org")
    assert who == "s@elsewhere.test" and out == [("d@far.test", 0), ("c@far.test", 0)]
    assert r.expand("self@example.org")[1] == [("e@far.test", 0), ("self@example.org", 0)] or \
        sorted(r.expand("self@example.org")[1]) == [("e@far.test", 0), ("self@example.org", 0)]
    assert r.aliases == [("self@example.org", 0)]
    assert r.expand("user@all.test")[1] == [("user@example.org", 0)]
    assert sorted(r.expand("list@x.test")[1]) == [("u1@example.org", 0), ("u2@example.org", 0)]
    assert r.expand("ext+more@x.test")[1] == [("real+more@y.test", 0)]
    assert r.expand('"quoted user"@x.test')[1] == [("q@y.test", 0)]
    assert r.expand("z@far.test", "a@example.org")[1][0] == ("z@far.test", 0)
    assert r.aliases == [("a@example.org", 1)]
    assert r.expand("a@example.org", no_mappings=True)[1] == [("a@example.org", 0)]
    code, text = r.expand("loop1@x.test")
    assert code == 451 and "4." in text
    assert r.rewrite("still@alive.test") == "still@alive.test"


def test_an_answer_holds_what_fits(make, tmp_path):
    """What an alias stands for is answered in pieces when it is more than a record; when it is another by then, the message waits."""
    to = [f"{n:0200}@far.test" for n in range(1000)]
    table = tmp_path / "virtual"
    table.write_text("".join(f"l{k}@valias.test {','.join(to[k:k + 250])}\n" for k in (0, 250, 500, 750)) + "many@valias.test l0@valias.test,l250@valias.test,l500@valias.test,l750@valias.test\n",
                     encoding="ascii")
    r = make(f"virtual_alias_maps = texthash:{table}\n")
    rest, got, said, answers = ["one@far.test", "many@valias.test", "two@far.test"], [], (0, 0), 0
    while rest:
        _, items = r.expand(*rest, said=said)
        got += [(a, rest[k]) for a, k in items]
        assert r.done or items
        rest, said, answers = rest[r.done:], r.said, answers + 1
    assert got == [("one@far.test", "one@far.test")] + [(a, "many@valias.test") for a in to] + [("two@far.test", "two@far.test")] and answers == 2
    assert r.expand("many@valias.test", said=(3, 1))[0] == 451 and r.expand("one@far.test", said=(2, 0))[0] == 451


SERVICES = """cleanup     unix n - - - 0 cleanup
bare        unix n - - - 0 cleanup -o canonical_maps= -o sender_canonical_maps= -o recipient_canonical_maps= -o masquerade_domains= -o virtual_alias_maps=
novirtual   unix n - - - 0 cleanup -o virtual_alias_maps=
other       unix n - - - 0 cleanup -o { virtual_alias_maps = inline:{ {c@x.test=other@far.test} } } -o masquerade_domains=a.far.test -o masquerade_classes=envelope_sender,envelope_recipient
names       unix n - - - 0 cleanup -o mine=inline:{c@x.test=mine@far.test} -o virtual_alias_maps=$mine -o canonical_maps=
broken      unix n - - - 0 cleanup -o virtual_alias_maps=nosuchtype:/x
twice       unix n - - - 0 cleanup -o virtual_alias_maps=
twice       unix n - - - 0 /usr/lib/any/cleanup -o { virtual_alias_maps = inline:{ {c@x.test=last@far.test} } }
smtp        inet n - n - - smtpd
127.0.0.1:10025 inet n - n - - smtpd -o local_recipient_maps=
submission  inet n - n - - smtpd -o { local_recipient_maps = inline:{ {ann=1} } } -o unknown_local_recipient_reject_code=450
other       inet n - n - - smtpd -o virtual_alias_maps=
screened    inet n - n - 1 postscreen
screened2   inet n - n - 1 postscreen -o smtpd_service_name=behind
smtpd       pass - - n - - smtpd -o local_recipient_maps=
behind      pass - - n - - smtpd -o { local_recipient_maps = inline:{ {eve=1} } }
"""


def test_settings_of_the_service_that_asks(make):
    """What Postfix's cleanup and smtpd read themselves counts as master.cf sets it for the service that master says is asking; who has no settings of
    its own, or is not there, has main.cf's. One that is broken keeps nobody else from answers."""
    r = make("virtual_alias_maps = inline:{ {c@x.test=d@a.far.test} {ann@example.org=ann@far.test} }\ncanonical_maps = inline:{ {b@x.test=c@x.test} }\nmasquerade_domains = far.test\n"
             "recipient_canonical_maps = inline:{ {a@x.test=b@x.test} }\nsender_canonical_maps = inline:{ {s@x.test=t@a.far.test} }\nlocal_recipient_maps = inline:{ {bob=1} }\n",
             SERVICES)
    got = {}
    for name in ("cleanup", "bare", "novirtual", "other", "names", "broken", "twice", "nobody"):
        r.s = r.connect("cleanup", name)
        got[name] = r.expand("a@x.test", sender="s@x.test")
    assert got == {"cleanup": ("t@far.test", [("d@a.far.test", 0)]), "bare": ("s@x.test", [("a@x.test", 0)]), "novirtual": ("t@far.test", [("c@x.test", 0)]),
                   "other": ("t@a.far.test", [("other@far.test", 0)]), "names": ("t@far.test", [("b@x.test", 0)]),
                   "broken": (451, "4.3.0 virtual_alias_maps look-up failed"), "twice": ("t@far.test", [("last@far.test", 0)]),
                   "nobody": ("t@far.test", [("d@a.far.test", 0)])}
    r.s = r.connect("cleanup", "bare")
    assert r.rewrite("b@x.test", role=HDR_RCPT) == "b@x.test" and r.rewrite("u@a.far.test", role=HDR_SENDER) == "u@a.far.test"
    r.s = r.connect("cleanup", "other")
    assert r.rewrite("b@x.test", role=HDR_RCPT) == "c@x.test" and r.rewrite("u@b.a.far.test", role=ENV_RCPT) == "u@a.far.test"
    r.s = r.connect("smtpd", "cleanup")  # not that service
    assert r.expand("a@x.test", sender="s@x.test") == got["nobody"]
    codes = {}
    for name in ("smtp", "127.0.0.1:10025", "submission", "other", "screened", "screened2"):
        r.s = r.connect("smtpd", name)
        codes[name] = [r.validate(a + "@example.org")[0] for a in ("bob", "ann", "eve")]
    assert codes == {"smtp": [0, 0, 550], "127.0.0.1:10025": [0, 0, 0], "submission": [450, 0, 450], "other": [0, 550, 550],
                     "screened": [0, 0, 0], "screened2": [550, 0, 0]}


def test_virtual_alias_limits(make):
    many = " ".join("u%d@far.test" % i for i in range(30)).replace(" ", ", ")
    r = make("virtual_alias_maps = inline:{ {big@x.test=%s} {ok@x.test=u1@far.test, u2@far.test} }\nvirtual_alias_expansion_limit = 20\n" % many)
    assert r.expand("big@x.test")[0] == 451
    assert len(r.expand("ok@x.test")[1]) == 2


def test_numeric_domains(make):
    """A number is no name of a host: malformed, or, with resolve_numeric_domain, the literal."""
    assert make("").validate("user@127.0.0.1")[:2] == (501, "5.1.3")
    r = make("resolve_numeric_domain = yes\n")
    assert r.validate("user@127.0.0.1")[0] == 0
    assert r.validate("user@127.0.0.1")[4] is True  # local, as user@[127.0.0.1]


def test_unknown_recipients(make):
    r = make("local_recipient_maps = inline:{ {known=1} {whole@example.org=1} }\nvirtual_alias_maps = inline:{ {v@valias.test=known@example.org} }\n"
             "virtual_mailbox_maps = inline:{ {m@vbox.test=m/} }\nrelay_recipient_maps = inline:{ {r@relay.test=1} }\nrelocated_maps = inline:{ {moved@example.org=new@x.test} }\n"
             "unknown_local_recipient_reject_code = 550\n")
    for good in ("known@example.org", "known+x@example.org", "whole@example.org", "known@localhost", "v@valias.test", "m@vbox.test", "m+e@vbox.test",
                 "r@relay.test", "any@else.test", "known"):
        assert r.validate(good)[0] == 0, (good, r.validate(good))
    for bad, what in (("no@example.org", "local recipient"), ("no@valias.test", "virtual alias"), ("no@vbox.test", "virtual mailbox"),
                      ("no@relay.test", "relay recipient")):
        code, dsn, text, cls, auth, routed = r.validate(bad)
        assert (code, dsn, auth) == (550, "5.1.1", True) and what in text, bad
    assert r.validate("any@else.test")[3:5] == (DEFAULT, False)
    assert r.validate("user%else.test@relay.test")[5] is True  # sender-specified routing
    assert r.validate('"user@else.test"@relay.test')[5] is True
    assert r.validate("user@relay.test")[5] is False
    assert r.validate("a@b..c")[0] in (501, 550, 553)


def test_tables_may_name_addresses_of_myorigin_by_local_part(make):
    """Also where myorigin is no local domain: the firewall of STANDARD_CONFIGURATION_README has "postmaster" in virtual_alias_maps for its relay domain."""
    r = make("myorigin = relay.test\nvirtual_alias_maps = inline:{ {postmaster=postmaster@relay.test} }\nrelay_recipient_maps = inline:{ {r@relay.test=1} {plain=1} }\n")
    assert [r.validate(a + "@relay.test")[0] for a in ("postmaster", "r", "plain", "no")] == [0, 0, 0, 550]


def test_untrusted_routing_may_be_allowed(make):
    r = make("allow_untrusted_routing = yes\n")
    assert r.validate("user%else.test@relay.test")[5] is False


def test_relocated_is_refused_with_the_new_place(make):
    r = make("relocated_maps = inline:{ {moved@example.org=new@x.test} }\n")
    code, cls, transport, nexthop, rcpt = r.resolve("moved@example.org")
    assert transport == "error" and nexthop == "5.1.6 User has moved to new@x.test"


def test_failing_table_means_try_again(make):
    r = make("virtual_alias_maps = fail:down\ntransport_maps = fail:down\ncanonical_maps = fail:down\nlocal_recipient_maps = fail:down\n")
    assert r.resolve("user@example.com")[0] == 451
    assert r.validate("user@example.org")[0] == 451
    assert r.expand("user@example.org")[0] == 451
    assert r.rewrite("user@example.org", role=ENV_RCPT) == 451
    assert r.rewrite("user@example.org") == "user@example.org"


def test_null_and_hostile_addresses(make):
    r = make()
    assert r.resolve("")[1:] == (LOCAL, "local", "mx.example.org", "MAILER-DAEMON@example.org") or r.resolve("")[4].startswith("MAILER-DAEMON@")
    for bad in ("@", "@@", "@:", "a@", "!", "%", "!@x", "%@mx.example.org", "@mx.example.org", '"', '"@mx.example.org', "a" * 900 + "@x.test", "a%" * 500 + "@mx.example.org",
                "!" * 500 + "@mx.example.org", "\u00e9@\u00fc.test", "a@" + "b." * 120 + "c", "a\n@x.test"):
        code, cls, transport, nexthop, rcpt = r.resolve(bad)
        assert code or transport, bad
        r.rewrite(bad)
        r.validate(bad)
        r.expand(bad)
    assert r.proc.poll() is None
