"""What surrounds a collected configuration that uses DNS, SASL and TLS: a DNS server that lists some clients, fails for others and sends all mail to one
address; the servers there; a server that knows passwords; certificates.

Loopback addresses stand for machines of the Internet: NET.53 is the DNS server of one suite and NET.54 that of the other, so that each has mail
servers of its own (SUITES). The last number of a client's address says what DNS makes of it (CLIENTS)."""
import os
import re
import socket
import struct
import subprocess
import threading

from beside import NET
from fakesmtp import EHLO, Server as Sink
from instance import make_certificates

SUITES = {"Theirs": (f"{NET}.53", f"{NET}.7", f"{NET}.9"), "Instance": (f"{NET}.54", f"{NET}.8", f"{NET}.10")}  # DNS server, mail server, one without TLS
CLIENTS = {30: "good", 31: "listed", 32: "nameless", 33: "ptrfails", 34: "listfails", 35: "forged", 36: "forwardfails", 37: "nowhere", 38: "noaddress"}
USERS = {"ann@virt.test": "secret", "bob@virt.test": "secret"}
A, PTR, MX, TXT = 1, 12, 15, 16
FAIL, NX = "SERVFAIL", "NXDOMAIN"


def labels(name):
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".") if x) + b"\0"


def of_client(name):
    """(number, zone) of a name that begins with a client's address, backwards."""
    m = re.match(r"(\d+)\." + re.escape(".".join(reversed(NET.split(".")))) + r"\.(.+)", name)
    return (CLIENTS.get(int(m.group(1))), m.group(2)) if m else (None, name)


class Names:
    """The DNS server of one suite: answers of name and type."""

    def __init__(self, host, mail, clear):
        self.mail, self.clear = mail, clear
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((host, 53))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            q, peer = self.udp.recvfrom(4096)
            if not q:
                return
            self.udp.sendto(self.answer(q), peer)

    def stop(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"", self.udp.getsockname())
        self.thread.join()
        self.udp.close()

    def answer(self, q):
        words, at = [], 12
        while q[at]:
            words.append(q[at + 1:at + 1 + q[at]].decode("latin-1"))
            at += 1 + q[at]
        kind = struct.unpack(">H", q[at + 1:at + 3])[0]
        found = self.look_up(".".join(words).lower(), kind)
        code = {FAIL: 2, NX: 3}[found] if isinstance(found, str) else 0
        data = [] if isinstance(found, str) else found
        head = q[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(data), 0, 0)
        return head + q[12:at + 5] + b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 300, len(d)) + d for d in data)

    def look_up(self, name, kind):
        client, zone = of_client(name)
        if zone == "in-addr.arpa":
            return {None: NX, "nameless": NX, "ptrfails": FAIL}.get(client, [labels(f"{client}.client.test")] if kind == PTR else [])
        if zone != name or re.search(r"(?:spamhaus|sorbs|dnswl)\.org$", name):
            return self.listed("fail" if client == "listfails" or name.startswith("failing.") else client == "listed" or name.startswith("listed."), name, kind)
        if name.endswith(".client.test"):
            who = name.split(".")[0]
            number = next((n for n, w in CLIENTS.items() if w == who), 0)
            if who in ("forwardfails", "nowhere", "nothing"):
                return FAIL if who == "forwardfails" else NX
            return [] if kind != A or who == "noaddress" else [socket.inet_aton(f"{NET}.{99 if who == 'forged' else number}")]
        if name.startswith(("failing.", "nothing.")):
            return FAIL if name.startswith("failing.") else NX
        if kind == A:
            return [socket.inet_aton(self.clear if name.startswith("clear.") else self.mail)]
        return []

    @staticmethod
    def listed(how, name, kind):
        if how == "fail":
            return FAIL
        if not how:
            return NX
        return [socket.inet_aton("127.0.1.2" if "dbl." in name else "127.0.0.4")] if kind == A else [b"\x0bbad company"] if kind == TXT else []


class Mail:
    """The mail servers of one suite, with TLS and AUTH, and one that has neither."""
    PORTS = (25, 587, 2525)

    def __init__(self, tls, address, clear):
        words = [*EHLO, "STARTTLS", "AUTH PLAIN LOGIN"]
        self.sinks = {f"mail:{port}": Sink(words, tls=tls, host=address, port=port) for port in self.PORTS}
        self.sinks["clear:25"] = Sink(host=clear, port=25)

    def stop(self):
        for s in self.sinks.values():
            s.end()

    def received(self):
        """What each server was told, and the messages, without what no two suites have in common."""
        said = sorted((name, re.sub(r" SIZE=\d+", "", line)) for name, s in self.sinks.items() for line in s.lines if re.match(r"AUTH |STARTTLS|MAIL|RCPT", line))
        return said, sorted((name, plain_message(m.decode("latin-1"))) for name, s in self.sinks.items() for m in s.messages)


def plain_message(text):
    text = re.sub(r"(?<=\bid )[0-9A-Za-z]+(?=[;\s])", "ID", text)
    text = re.sub(r"\w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4} \(\w+\)", "DATE", text)
    return re.sub(r"<(?:\d{14}\.[0-9A-F]+|[0-9A-Za-z]{11,20})@", lambda m: "<TIME.ID@" if "." in m[0] else "<ID@", text)


class Certificates:
    """Of a CA of the test's own: for this host, and for those that it sends to."""
    NAMES = ("mail.example.com", "out.virt.test", "far.test", "secure.test", "inside.relay.test", "mail.isp.example")

    def __init__(self, directory):
        self.ca, self.cert, self.key = make_certificates(directory, names=self.NAMES)
        self.chain, self.dh, self.path = (os.path.join(directory, n) for n in ("chain.pem", "dh.pem", "authorities"))
        os.mkdir(self.path)
        with open(self.chain, "w", encoding="ascii") as out:
            for name in (self.key, self.cert):
                with open(name, encoding="ascii") as f:
                    out.write(f.read())
        os.chmod(self.chain, 0o600)
        subprocess.run(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", self.dh], check=True, capture_output=True)

    def value(self, key):
        """What a parameter names that is a file of TLS; None: it is none."""
        return next((v for pattern, v in ((r"(cert|key|chain)_files?$", self.chain), (r"_CAfile$", self.ca), (r"_CApath$", self.path),
                                          (r"_dh\w*_param_file$", self.dh)) if re.search(pattern, key)), None)
