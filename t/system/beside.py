"""Servers of ours and of Debian's Postfix with the same main.cf, the same DNS and the same dialogues: what is said and what is logged."""
import os
import re
import shutil
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from instance import Dns, Instance, scratch

NET = f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 256}"  # loopback addresses of this run: no port of it is anybody else's
NEEDS = pytest.mark.skipif(not peer.HAVE or shutil.which("dnsmasq") is None or shutil.which("unshare") is None,
                           reason="needs root, Debian's postfix, dnsmasq and unshare")


class LowDns(Dns):
    """On the port that libresolv asks."""

    def start(self):
        self.port = 53
        return super().start()


class Talk:
    def __init__(self, host, port, wrapped=False):
        self.s = socket.create_connection((host, port), 30)
        self.s.settimeout(8)
        self.buf = b""
        if wrapped:
            self.tls()

    def tls(self):
        c = ssl.create_default_context()
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
        self.s = c.wrap_socket(self.s)

    def reply(self):
        lines = []
        while True:
            while b"\n" not in self.buf:
                try:
                    more = self.s.recv(65536)
                except TimeoutError:
                    return "\n".join(lines + ["<silent>", "<closed>"])
                except OSError:
                    more = b""
                if not more:
                    return "\n".join(lines + ["<closed>"])
                self.buf += more
            line, self.buf = self.buf.split(b"\n", 1)
            lines.append(line.decode("utf-8", "replace").rstrip("\r"))
            if lines[-1][3:4] != "-":
                return "\n".join(lines)

    def say(self, what):
        """A command; ("raw", bytes); ("raw", bytes, n) with n replies; ("tls",): the handshake."""
        if isinstance(what, tuple) and what[0] == "tls":
            try:
                self.tls()
            except OSError as e:
                return f"<no TLS: {type(e).__name__}>"
            return "<TLS>"
        raw, n = (what + "\r\n").encode() if isinstance(what, str) else what[1], what[2] if isinstance(what, tuple) and len(what) > 2 else 1
        try:
            self.s.sendall(raw)
        except OSError:
            pass
        out = []
        while len(out) < n and not (out and out[-1].endswith("<closed>")):
            out.append(self.reply())
        return "\n".join(out)


def plain(text):
    """A reply without what is this message's or this mail system's own."""
    return re.sub(r"queued as \w+", "queued as ID", text)


def plain_log(line):
    line = re.sub(r"^(warning: |NOQUEUE: )?[0-9A-F]{8,}: ", r"\1ID: ", line)
    line = re.sub(r"(error:\w+:SSL routines::[^:]*:).*", r"\1", line)
    line = re.sub(r"^ID: (?=(?:lost connection|timeout|too many errors) after )", "", line)  # newer than Debian's
    line = re.sub(r"orig_queue_id=[0-9A-F]{8,}", "orig_queue_id=ID", plain(line))
    return line.replace(NET + ".2", NET + ".1")


class Side:
    """One of the two, and how its log is read."""

    def __init__(self, mta, talk=Talk):
        self.mta, self.talk, self.at = mta, talk, 0

    def new_lines(self):
        """What smtpd logged since the last call."""
        if not os.path.exists(self.mta.maillog):
            return []
        with open(self.mta.maillog, "rb") as f:
            f.seek(self.at)
            new = f.read()
        new = new[:new.rfind(b"\n") + 1]
        self.at += len(new)
        new = new.decode("utf-8", "replace")
        lines = [plain_log(m.group(1)) for m in re.finditer(r"^.*?postfix/(?:\w+/)?smtpd\[\d+\]: (.*)$", new, re.M)]
        return [l for l in lines if l != "ID: canceled"]  # newer than Debian's

    def settle(self, silent=()):
        """Every service has answered, and its session is over; but for those that say nothing by themselves."""
        lines, until = [], time.monotonic() + 60
        ports = [p for name, p in self.mta.port.items() if name not in silent]
        for p in ports:
            while True:
                try:
                    socket.create_connection((self.mta.host, p), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < until, "no answer:\n" + self.mta.log()
                    time.sleep(0.02)
        while sum(l.startswith("disconnect from") for l in lines) < len(ports) and time.monotonic() < until:
            time.sleep(0.02)
            lines += self.new_lines()

    def run(self, service, dialogue, wrapped=False, first=b""):
        """(replies, log lines) of a dialogue with a service, to the end of the session. `first` is sent before anything is read."""
        self.new_lines()
        t = self.talk(self.mta.host, self.mta.port[service], wrapped)
        t.s.sendall(first)
        out = [t.reply()]
        for step in dialogue:
            if out[-1].endswith("<closed>"):
                break
            out.append(t.say(step))
        t.s.close()
        lines, until = [], time.monotonic() + 60
        while not any(l.startswith("disconnect from") for l in lines):
            if time.monotonic() > until:
                lines.append("(no end of the session in the log)")
                break
            time.sleep(0.005)
            lines += self.new_lines()
        return [plain(o) for o in out], lines


class Beside:
    """with Beside(main, {service: -o settings}, records=[dnsmasq lines]) as b: b.sides is (theirs, ours). "<port>" in the settings is the
    port of a server that each side has for itself: ports[0] of theirs, ports[1] of ours."""

    def __init__(self, main, services, records=(), ports=(0, 0), talk=Talk, silent=()):
        main = {"inet_interfaces": "all", **main}
        self.main, self.services, self.records, self.ports = main, services, records, ports
        self.talk, self.silent = talk, silent  # how it is talked to; services that wait for the client

    def lines(self, side, port):
        return [f"{NET}.{side}:{port[n]} inet n - n - - smtpd" + "".join(f"\n  -o {{ {k} = {v.replace('<port>', str(self.ports[side - 1]))} }}" for k, v in o.items())
                for n, o in self.services.items()]

    def __enter__(self):
        self.base = scratch("postern-debian.")
        self.dns = LowDns(self.base, self.records, NET + ".53").start()
        port = {name: 20001 + n for n, name in enumerate(self.services)}
        theirs = peer.Peer(os.path.join(self.base, "debian"), main=self.main, listen=(), host=NET + ".1", resolver=self.dns.host, master=self.lines(1, port))
        ours = Instance(os.path.join(self.base, "ours"), listen=(), host=NET + ".2", master=self.lines(2, port), main={
            **self.main, "resolver_nameservers": f"{self.dns.host}:53", "maillog_file_prefixes": self.base})
        self.sides = Side(theirs, self.talk), Side(ours, self.talk)
        try:
            theirs.start()
            ours.start()
            theirs.port = ours.port = port
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda s: s.settle(self.silent), self.sides))
        except Exception:
            self.__exit__()
            raise
        return self

    def run(self, *args, **kw):
        """Both sides at a time: [theirs, ours]."""
        with ThreadPoolExecutor(2) as pool:
            return [f.result() for f in [pool.submit(s.run, *args, **kw) for s in self.sides]]

    def __exit__(self, *exc):
        for s in self.sides:
            s.mta.stop()
        self.dns.stop()
        shutil.rmtree(self.base, ignore_errors=True)


def differences(name, dialogue, theirs, ours, known=lambda k, y: False):
    """The replies that differ, to be read."""
    out = []
    for k in range(max(len(theirs), len(ours))):
        x, y = (v[k] if k < len(v) else "(none)" for v in (theirs, ours))
        if x != y and not known(k, y):
            said = "(greeting)" if k == 0 else dialogue[k - 1]
            out.append(f"{name}.{k} {str(said)[:70]!r}  [{' | '.join(str(d)[:40] for d in dialogue[:2])}]\n   theirs {x}\n   ours   {y}")
    return out


def log_differences(name, theirs, ours):
    """The log lines that differ, in order."""
    import difflib
    return [f"{name} log {l}" for l in difflib.ndiff(theirs, ours) if l[0] in "+-"]
