"""The collected configurations (test_config_sets.py) with what they say of DNS lists, SASL and TLS, in both suites: clients that DNS knows, does not know,
lists or fails for; AUTH in clear text and under TLS, right and wrong; senders that are somebody else's; wrapped sessions; and the way out, with
smtp_tls_*, policies and smtp_sasl_*. Replies, log lines, and what the next hop gets must be the same.

What surrounds a set is in set_world.py. Transports smtp and relay deliver, all others are discard(8). Content filters are left out, for no message leaves
the host then. KNOWN has what is otherwise, with its reason."""
import base64
import concurrent.futures
import contextlib
import os
import re
import shutil
import ssl
import socket

import pytest

import beside
import set_world
import test_config_sets as sets
from fakeauth import AuthServer
from instance import Instance, until

DEFAULT = {"mailinabox/rendered"}
USED = re.compile(r"rbl|rhsbl|dnswl|reject_unknown|sasl|tls|wrapper")
KNOWN = [  # (sets, regular expression of a difference, why)
    ("", r" log - warning: dict_nis_init: ", "of the machine"),
    ("", r" log - warning: restriction `\w+_login_mismatch' ignored: no SASL support", "once a message, on each service without SASL: ours says nothing"),
    ("", r" log [-+] warning: .*SASL NOSUCH authentication failed: Invalid authentication mechanism, sasl_username=", "Postfix names the user of the attempt before"),
    ("", r" log \+ improper command pipelining after STARTTLS", "which Postfix drops without a word"),
    ("", r" log - using backwards-compatible default setting ", "ours names such settings in check"),
    ("", r" log \+ warning: .*: RBL lookup error: .* try again$", "once a message: what failed is asked again, where Postfix remembers it for the session"),
    ("", r"smtp's log log [-+] warning: (smtp_connect_addr: bind|cannot use source address) ", "words of its own"),
    ("", r"smtp's log log [-+] warning: (DNSSEC validation may be|reason: dnssec_probe|smtp_tls_security_level: TLSA records)", "ours does not check TLSA records"),
]
LOGGED = re.compile(r"\w+: to=|warning: |SSL_connect error|.*TLS connection (established|reused)|.*certificate verification failed|.*offered STARTTLS")  # at every smtp_tls_loglevel
HOSTS = re.compile(r"\b(" + "|".join(re.escape(a) for pair in set_world.SUITES.values() for a in pair) + r")\b")


def runnable():
    if not os.path.isdir(sets.SETS):
        return [None]
    def uses(name):
        folder = sets.VARIANTS.get(name, (name,))[0]
        return any(USED.search(l) for f in ("main.cf", "master.cf") for l in sets.logical_lines(sets.read(folder, f)) if not l.startswith("tlsmgr"))
    return [n for n in sorted(sets.collected()) if n not in sets.TEMPLATES and uses(n) and (sets.EVERYTHING or n in DEFAULT)] or [None]


class Secured(sets.Copy):
    """A copy that keeps DNS lists, SASL and TLS."""
    elsewhere, not_here, real = None, re.compile(r"milter|proxy_filter|proxy_protocol|_rate_limit|content_filter"), ("smtp", "relay")
    SAME = {k: v for k, v in sets.Copy.SAME.items() if not re.search("tls|sasl", k)} | {
        "content_filter": "", "smtp_connection_cache_on_demand": "no", "smtp_tls_connection_reuse": "no", "smtp_destination_recipient_limit": "1",
        "relay_destination_recipient_limit": "1"}

    def __init__(self, name, directory, *servers):
        self.certificates = set_world.Certificates(directory + ".tls")
        super().__init__(name, directory, *servers)
        if self.main.get("smtpd_sasl_type", "cyrus") == "cyrus":  # what is done on the machine itself
            self.main.update({"smtpd_sasl_type": "dovecot", "smtpd_sasl_path": "private/auth"})

    @staticmethod
    def counts(key):
        return True

    @staticmethod
    def listens(port, wrapped):
        return True

    def local(self, key, value):
        if value.startswith("$"):
            return super().local(key, value)
        if key.endswith("session_cache_database"):
            return "btree:${data_directory}/" + key
        if key == "smtpd_sasl_path" and value.startswith("/"):
            return os.path.join(os.path.dirname(self.dir), "auth")
        if key == "tls_server_sni_maps":
            return self.names(value)
        return (value and self.certificates.value(key)) or super().local(key, value)

    def names(self, value):
        kind = value.split(":")[0]
        target = os.path.join(self.dir, "sni")
        with open(target, "w", encoding="ascii") as f:
            f.write(f"one.test {self.certificates.chain}\n")
        sets.subprocess.run(["/usr/sbin/postmap", "-F", f"{kind}:{target}"], check=True, env=dict(os.environ, MAIL_CONFIG=self.dir), capture_output=True)
        return f"{kind}:{target}"

    def wrapped(self):
        """The listeners that speak TLS from the start."""
        entries = {"587": "submission"}
        out = set()
        for e in self.entries:
            if e[1] == "inet" and "smtpd_tls_wrappermode=yes" in " ".join(e[8:]):
                out.add(entries.get(e[0].split(":")[-1], e[0].split(":")[-1]))
        return out


class Talk(beside.Talk):
    """As a client of some address, with some name for SNI."""
    source, sni = "127.0.0.1", None

    def __init__(self, host, port, wrapped=False):
        self.s = socket.create_connection((host, port), 60, source_address=(type(self).source, 0))
        self.s.settimeout(60)
        self.buf = b""
        if wrapped:
            self.tls()

    def say(self, what):
        if what == ("tls",) and not self.last.startswith("220"):
            return "<no TLS>"
        self.last = super().say(what)
        return self.last

    last = ""

    def tls(self):
        c = ssl.create_default_context()
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
        self.s = c.wrap_socket(self.s, server_hostname=type(self).sni)


# ---- what is said ----
H = "EHLO helo.client.test"
TLS = ["STARTTLS", ("tls",), H]


def plain(user, password):
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def b64(text):
    return base64.b64encode(text.encode()).decode()


GOOD, WRONG = plain("ann@virt.test", "secret"), plain("ann@virt.test", "guess")
LOGIN = ["AUTH LOGIN", b64("bob@virt.test"), b64("secret")]


def mail(sender, *rcpts, token="x"):
    """A message, which ends without harm where it is refused."""
    return [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{r}>" for r in rcpts), "DATA",
            ("raw", f"From: <{sender or 'x@y.test'}>\r\nTo: <{rcpts[0]}>\r\nSubject: {token}\r\n\r\n{token}\r\n.\r\n".encode())]


def dialogues(copy, dest):
    """(name, service, source, steps)."""
    out = []
    for service in copy.inet:
        wrapped = service in copy.wrapped()
        safe = [H] if wrapped else [H, *TLS]
        def add(name, *steps, source="127.0.0.1"):
            out.append((f"{service} {name}", service, source, list(steps)))
        add("clear", H, WRONG, GOOD, *mail("ann@virt.test", "x@elsewhere.test", token="clear"), "QUIT")
        add("safe, no user", *safe, *mail("a@sender.test", "ann@virt.test"), *mail("a@sender.test", "x@elsewhere.test"), "QUIT")
        add("safe", *safe, WRONG, "AUTH NOSUCH", "AUTH PLAIN ====", GOOD, GOOD, *mail("ann@virt.test", "x@elsewhere.test", token="own"), "STARTTLS",
            *mail("bob@virt.test", "x@elsewhere.test", token="other"), *mail("ann@virt.test", "user@far.test", "y@secure.test", "z@clear.test", token="more"), "QUIT")
        add("login", *safe, *LOGIN, *mail("ann@virt.test", "x@elsewhere.test", token="not bob"), *mail("bob@virt.test", "ann@virt.test"), "QUIT")
        add("trusted", *safe, *mail("ann@virt.test", "x@elsewhere.test", "user@relay.test", token="trusted"), *mail("a@sender.test", "z@clear.test"), "QUIT", source="127.0.0.2")
        if not wrapped:
            add("TLS from the start", ("raw", b"\x16\x03\x01\0\xf4\x01\0x\r\n"), "NOOP")
            add("gone in STARTTLS", H, "STARTTLS")
            add("text behind STARTTLS", H, ("raw", b"STARTTLS\r\nNOOP\r\n", 1), "QUIT")
        if service == "smtp":
            for number, who in set_world.CLIENTS.items():
                for helo in ("helo.client.test", "nothing.client.test.") if who == "good" else ("helo.client.test",):
                    add(f"{who} {helo}", f"EHLO {helo}", *mail("a@sender.test", "ann@virt.test"), *mail("a@listed.test", "root@" + dest), "QUIT", source=f"{set_world.NET}.{number}")
            for helo, sender, rcpt in (("nothing.test", "a@sender.test", "ann@virt.test"), ("failing.test", "a@sender.test", "ann@virt.test"), ("helo.client.test", "a@nothing.test", "ann@virt.test"),
                                       ("helo.client.test", "a@failing.test", "ann@virt.test"), ("helo.client.test", "a@sender.test", "ann@nothing.test"),
                                       ("helo.client.test", "a@sender.test", "ann@failing.test"), ("helo.client.test", "ann@virt.test", "ann@virt.test")):
                add(f"names {helo} {sender} {rcpt}", f"EHLO {helo}", *mail(sender, rcpt), "QUIT", source=f"{set_world.NET}.30")
    return out


class Side:
    """One suite with its world."""

    def __init__(self, kind, base, copy, stack):
        dns, address, clear = set_world.SUITES[kind.__name__]
        names = set_world.Names(dns, address, clear)
        stack.callback(names.stop)
        self.copy, self.where = copy, (address, clear)
        self.mail = set_world.Mail(context(copy.certificates), address, clear)
        stack.callback(self.mail.stop)
        self.run = sets.Run(kind, os.path.join(base, kind.__name__), copy, **({"resolver": dns} if kind is sets.Theirs else {}))
        i = self.run.i
        if kind is Instance:
            i.main["resolver_nameservers"] = f"{dns}:53"
        i.write_config()
        stack.callback(self.run.stop)
        self.talk = type("Talk" + kind.__name__, (Talk,), {})
        self.side = beside.Side(i, self.talk)

    def auth_server(self, stack):
        path = {p for p in [self.copy.main["smtpd_sasl_path"]] if not p.startswith("/")}
        for p in path:
            where = os.path.join(self.run.i.queue, p)
            os.makedirs(os.path.dirname(where), exist_ok=True)
            server = AuthServer(set_world.USERS, where)
            stack.callback(server.stop)

    def all(self, said):
        wrapped, out = self.copy.wrapped(), []
        self.run.i.start()
        lines = []
        def over():  # the connections by which start() saw that all listen
            lines.extend(self.side.new_lines())
            return sum(l.startswith("disconnect from") for l in lines) >= len(self.run.i.port)
        assert until(over, every=0.02), self.run.i.log()
        for _, service, source, steps in said:
            self.talk.source = source
            replies, lines = self.side.run(service, steps, service in wrapped)
            out.append(([self.same(r) for r in replies], [self.same(l) for l in lines]))
        self.run.no_fatal()
        return out

    def same(self, text):
        """Without what tells the suites apart: addresses, and the order of what EHLO lists."""
        for suite in set_world.SUITES.values():
            for address, word in zip(suite, ("DNS", "MAIL", "CLEAR")):
                text = re.sub(rf"\b{re.escape(address)}\b", word, text)
        text = re.sub(r"^[0-9A-Za-z]{10,20}: (?=client=)", "ID: ", text)
        if text.startswith("250-") and "PIPELINING" in text or "250-SIZE" in text:
            text = "\n".join(sorted(l[4:] for l in text.split("\n")))
        return text

    def delivered(self):
        """What the log says of the deliveries, and what servers got."""
        log = self.run.i.log()
        ids = set(re.findall(r"/cleanup\[\d+\]: (\w+): message-id=", log))
        def left():
            now = self.run.i.log()
            done = {a or b for a, b in re.findall(r": (\w+): removed|: (\w+): to=.* status=deferred", now)}
            return not ids - done
        assert until(left), self.run.i.log()[-5000:]
        lines = re.findall(r"postfix/(?:[\w-]+/)?smtp\[\d+\]: (.*)", self.run.i.log())
        lines = [re.sub(r"^[0-9A-Za-z]+: (to=)", r"\1", l) for l in lines if LOGGED.match(l)]
        lines = [re.sub(r"delay=.*?, delays=[\d./]+", "delay", l) for l in lines]
        lines = [re.sub(r"connection (?:established|reused) (.*?)(?: server-signature.*)?$", r"connection \1", l) for l in lines]  # who comes first makes the session
        lines = sorted(self.same(beside.plain_log(l)) for l in lines)
        said, messages = self.mail.received()
        return lines, said, [(n, self.same(m)) for n, m in messages]


def context(certificates):
    t = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    t.load_cert_chain(certificates.chain)
    t.sni_callback = lambda sock, name, ctx: setattr(sock, "server_name", name)
    return t


def known(name, line):
    return any(re.search(s, name) and re.search(pattern, line) for s, pattern, _ in KNOWN)


@pytest.mark.parametrize("name", runnable())
def test_same_under_dns_sasl_and_tls(name):
    if name is None or shutil.which("unshare") is None or not sets.peer.HAVE:
        pytest.skip("the collected configurations or Debian's postfix are not here")
    with sets.prepared(name, Secured) as (copy, base), contextlib.ExitStack() as stack:
        if copy.main["smtpd_sasl_path"].startswith("/"):
            server = AuthServer(set_world.USERS, copy.main["smtpd_sasl_path"])
            stack.callback(server.stop)
        sides = [Side(kind, base, copy, stack) for kind in (sets.Theirs, Instance)]
        for s in sides:
            s.auth_server(stack)
        dest = sides[0].run.i.command("postconf", "-hx", "mydestination").stdout.decode().replace(",", " ").split()
        said = dialogues(copy, dest[0] if dest and "." in dest[0] else "example.com")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            theirs, ours = pool.map(lambda s: s.all(said), sides)
            differ = []
            for (what, _, _, steps), a, b in zip(said, theirs, ours):
                differ += beside.differences(what, steps, a[0], b[0]) + beside.log_differences(what, a[1], b[1])
            theirs, ours = pool.map(Side.delivered, sides)
        for what, a, b in zip(("smtp's log", "said to servers", "delivered"), theirs, ours):
            differ += beside.log_differences(what, [str(x) for x in a], [str(x) for x in b])
        differ = [d for d in differ if not known(name, d)]
        assert not differ, "\n".join(differ)
