"""posttls-finger(1): the dialogue, the certificate and the verdict, in the lines that Debian's program prints of the same server."""
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from instance import BIN, SBIN, free_ports, make_certificates  # noqa: E402

THEIRS = shutil.which("posttls-finger", path="/usr/sbin")


def serve(sock, mode, context):
    """One conversation; `mode`: starttls, plain (without it), wrapped, refused (454 to STARTTLS), old (no EHLO)."""
    tls = mode == "wrapped"
    try:
        if tls:
            sock = context.wrap_socket(sock, server_side=True)
        sock.settimeout(20)
        sock.sendall(b"220 mail.example.test ESMTP\r\n")
        lines = sock.makefile("rb")
        while line := lines.readline():
            verb = line.split()[0].upper()
            if verb in (b"EHLO", b"LHLO") and mode == "old":
                sock.sendall(b"502 no\r\n")
            elif verb in (b"EHLO", b"LHLO"):
                sock.sendall(b"250-mail.example.test hello\r\n" + (b"250-STARTTLS\r\n" if not tls and mode != "plain" else b"") + b"250 " + line.split()[1] + b"\r\n")
            elif verb == b"STARTTLS" and mode == "refused":
                sock.sendall(b"454 4.7.0 not now\r\n")
            elif verb == b"STARTTLS":
                sock.sendall(b"220 2.0.0 Ready\r\n")
                sock, tls = context.wrap_socket(sock, server_side=True), True
                lines = sock.makefile("rb")
            else:
                sock.sendall(b"221 2.0.0 Bye\r\n")
                return
    except OSError:
        pass
    finally:
        sock.close()


class World:
    def __init__(self, base):
        self.base = base
        self.ca, self.cert, self.key = make_certificates(str(base / "c"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        self.port = {"dead": free_ports(1)[0]}
        self.listeners = [self.listen(mode, context) for mode in ("starttls", "plain", "wrapped", "refused", "old")]
        (base / "main.cf").write_text(f"compatibility_level = 3.6\nmyhostname = me.example.test\ndaemon_directory = {SBIN}\n")
        (base / "master.cf").write_text("")
        p = subprocess.run(["openssl", "x509", "-in", self.cert, "-noout", "-fingerprint", "-sha256"], capture_output=True, text=True, check=True)
        self.fingerprint = p.stdout.strip().split("=")[1]

    def listen(self, mode, context):
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        s.listen(16)
        self.port[mode] = s.getsockname()[1]

        def accept():
            while True:
                try:
                    c = s.accept()[0]
                except OSError:
                    return
                threading.Thread(target=serve, args=(c, mode, context), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        return s

    def run(self, program, args):
        other = ("01" if self.fingerprint.startswith("00") else "00") + self.fingerprint[2:]
        words = {"CA": self.ca, "FP": self.fingerprint, "OTHERFP": other, "KEY": self.key, "CERT": self.cert}
        args = re.sub(r"\b[A-Z]+\b", lambda m: words.get(m[0], m[0]), args)
        args = re.sub(r"@(\w+)", lambda m: "[127.0.0.1]:%d" % self.port[m.group(1)], args)
        return subprocess.run([program, *args.split()], env=dict(os.environ, MAIL_CONFIG=str(self.base)), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=90, check=False)

    def ours(self, args):
        return self.run(os.path.join(BIN, "posttls-finger"), args)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("finger"))
    yield w
    for s in w.listeners:
        s.close()


CASES = ["-l secure @starttls", "-l may @starttls", "-l encrypt -c @starttls", "-l verify -F CA @starttls mail.example.test", "-c -l verify -F CA @starttls other.test",
         "-c -l secure -A CA @starttls .example.test", "-c -l may -F CA @starttls", "-c -l fingerprint @starttls FP", "-c -l fingerprint @starttls OTHERFP",
         "-c -L none -C -l encrypt @starttls", "-l may @plain", "-w -l encrypt @wrapped", "-l encrypt @refused", "-l may @old", "-l may @dead", "-l bogus @starttls",
         "-l none @starttls", "-c -l may -p <=TLSv1.2 @starttls", "-S -l may inet:@starttls", "-S -l may unix:/nonesuch", "-a ipv6 -l may -o myhostname=x.test @starttls",
         "-c -l may -k CERT -K KEY -s mail.example.test @starttls", "-h foo x", "-M foo x", "-a foo x", "[::1"]


@pytest.mark.skipif(THEIRS is None, reason="Debian's posttls-finger is not here")
@pytest.mark.parametrize("args", CASES)
def test_the_lines_are_theirs(world, args):
    p, q = world.run(THEIRS, args), world.ours(args)
    both = p.stdout + p.stderr
    assert (q.returncode, q.stdout + q.stderr) == (p.returncode, "".join(l + "\n" for l in both.splitlines() if "dnssec" not in l.lower()))


def test_verdicts(world):
    def word(args):
        return re.search(r"(\w+) TLS connection established to 127\.0\.0\.1\[127\.0\.0\.1\]:\d+: TLSv1\.[23] with cipher ", world.ours(args).stdout).group(1)
    assert word("-c @starttls") == "Untrusted"
    assert word("-c -l encrypt -F CA @starttls") == "Trusted"
    assert word("-c -F CA @starttls other.test mail.example.test") == "Verified"
    assert word("-c -F CA @starttls other.test") == "Untrusted"
    assert word("-c -l fingerprint @starttls FP") == "Verified"
    p = world.ours("@starttls")
    assert p.returncode == 0 and f"fingerprint={world.fingerprint}," in p.stdout and "subject_CN=mail.example.test, issuer_CN=Try CA" in p.stdout
    assert "posttls-finger: > EHLO me.example.test\n" in p.stdout and p.stdout.endswith("posttls-finger: < 221 2.0.0 Bye\n")


def test_sessions_are_resumed(world):
    p = world.ours("-c -l encrypt -r 1 @starttls")
    assert "Reconnecting after 1 seconds" in p.stdout and ": Reusing old session" in p.stdout and p.stdout.count(" TLS connection established") == 2


def test_what_is_refused(world):
    for args, what in (("-l dane @starttls", "DANE is not supported"), ("-l dane-only @starttls", "DANE is not supported"), ("-X @starttls", "no tlsproxy"),
                       ("-g best @starttls", "cipher grade"), ("-F /nonesuch @starttls", "/nonesuch"), ("", "usage: posttls-finger"), ("-Z x", "usage: posttls-finger")):
        p = world.ours(args)
        assert p.returncode == 1 and what in p.stdout + p.stderr and "Connected" not in p.stdout, (args, p)


MX = ["mx-host=x.test,b.x.test,20", "mx-host=x.test,a.x.test,10", "host-record=a.x.test,127.0.0.1", "host-record=b.x.test,127.0.0.2", "host-record=nomx.test,127.0.0.3",
      "mx-host=null.test,.,0"]


def test_mx_hosts_in_their_order(world):
    """In a network of its own, whose only name server is ours and where nobody takes connections."""
    if os.getuid() != 0 or shutil.which("dnsmasq") is None or subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs namespaces and dnsmasq")
    (world.base / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    options = " ".join("--" + r for r in MX)
    finger = os.path.join(BIN, "posttls-finger")
    script = f"""ip link set lo up && mount --bind {world.base}/resolv.conf /etc/resolv.conf || exit 77
dnsmasq --keep-in-foreground --conf-file=/dev/null --listen-address=127.0.0.1 --bind-interfaces --no-resolv --no-hosts --user=root --pid-file= --local=/test/ {options} 2>/dev/null &
for i in $(seq 100); do {finger} -l may nomx.test | grep -q refused && break; sleep 0.1; done
for d in x.test nomx.test null.test none.test; do {finger} -l may $d; done; kill $!"""
    p = subprocess.run(["unshare", "-n", "-m", "bash", "-c", script], env=dict(os.environ, MAIL_CONFIG=str(world.base)), capture_output=True, text=True, timeout=60, check=False)
    if p.returncode == 77:
        pytest.skip("no network of its own: " + p.stderr)
    got = [l.removeprefix("posttls-finger: ") for l in p.stdout.splitlines()]
    assert got == [f"Failed to establish session to {d} via {h}: connect to {h}[127.0.0.{n}]:25: Connection refused"
                   for d, h, n in (("x.test", "a.x.test", 1), ("x.test", "b.x.test", 2), ("nomx.test", "nomx.test", 3))] + [
        "Destination address lookup failed: Domain null.test does not accept mail (nullMX)",
        "Destination address lookup failed: Host or domain name not found. Name service error for name=none.test type=AAAA: Host not found"]
