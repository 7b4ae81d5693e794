"""smtp-source(1) and smtp-sink(1): each option does what its page says, and the two work with one another and with Debian's programs of the same
names (skipped where those are not installed)."""
import contextlib
import functools
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from instance import BIN, PATIENCE, free_ports, until

OURS = {"source": os.path.join(BIN, "smtp-source"), "sink": os.path.join(BIN, "smtp-sink")}
DEBIAN = {"source": "/usr/sbin/smtp-source", "sink": "/usr/sbin/smtp-sink"}
ROOT_NEEDED = pytest.mark.skipif(os.getuid() != 0, reason="needs root")
USER = ["-u", "nobody"] if os.getuid() == 0 else []


@functools.cache
def debians_usage(which):  # it takes a second to say it
    return subprocess.run([DEBIAN[which]], capture_output=True, text=True, check=False).stderr if os.path.exists(DEBIAN[which]) else ""


def debian(which):
    if "_bounce_reply]" not in debians_usage(which) and "rcptcount" not in debians_usage(which):
        pytest.skip("Debian's smtp-%s is not installed" % which)
    return DEBIAN[which]


class Client:
    """Says lines, reads whole replies."""

    def __init__(self, where):
        self.s = socket.socket(socket.AF_UNIX) if isinstance(where, str) else socket.create_connection(where, timeout=PATIENCE)
        self.s.settimeout(PATIENCE)
        if isinstance(where, str):
            self.s.connect(where)
        self.f = self.s.makefile("rwb")

    def reply(self):
        out = []
        while not out or out[-1][3:4] == "-":
            line = self.f.readline().decode()
            if not line:
                return out or None
            assert line.endswith("\r\n")
            out.append(line[:-2])
        return out if len(out) > 1 else out[0]

    def say(self, *lines):
        for text in lines:
            self.f.write(text.encode("latin1") + b"\r\n")
            self.f.flush()
            got = self.reply()
        return got

    def close(self):
        self.f.close()
        self.s.close()


@pytest.fixture
def scratch():
    """A directory that the sink's user may write to (those of pytest are closed to others)."""
    with tempfile.TemporaryDirectory(prefix="postern-sink-") as d:
        os.chmod(d, 0o777)
        yield pathlib.Path(d)


@contextlib.contextmanager
def sink(*options, program=OURS["sink"], address=None, host="127.0.0.1", backlog="100"):
    port = free_ports(1)[0]
    where = address or "%s:%d" % ("[%s]" % host if ":" in host else host, port)
    out = tempfile.TemporaryFile(mode="w+", newline="")  # not a pipe, which -c would fill
    p = subprocess.Popen([program, *USER, *options, where, backlog], stdout=out, stderr=subprocess.STDOUT)
    p.where = where.replace("unix:", "") if where.startswith("unix:") else (host, port)
    p.address = where if ":" in where[:5] or where[0] != ":" else "127.0.0.1" + where
    deadline = time.monotonic() + PATIENCE
    while p.poll() is None and time.monotonic() < deadline:
        if isinstance(p.where, str):
            up = os.path.exists(p.where) and os.stat(p.where).st_mode & 0o777 == 0o666
        else:
            table = open("/proc/net/tcp6" if ":" in host else "/proc/net/tcp", encoding="ascii").read()
            up = re.search(r":%04X [0-9A-F]+:0000 0A" % port, table)
        if up:
            break
        time.sleep(0.02)
    try:
        yield p
    finally:
        if p.poll() is None:
            p.terminate()
        p.wait(PATIENCE)
        out.seek(0)
        p.out = out.read()
        out.close()


def source(*args, program=OURS["source"]):
    p = subprocess.run([program, *args], capture_output=True, timeout=200, check=False)
    p.stdout, p.stderr = p.stdout.decode(), p.stderr.decode()  # as they are: -c ends its figures in CR
    return p


TRANSACTION = ["MAIL FROM:<a@b> SIZE=3", "RCPT TO:<c@d>", "RCPT TO:<e@f>", "DATA", "Subject: x\r\n\r\n..dot\r\nz\r\n."]
HARD, SOFT, CUT = "500 5.3.0 Error: command failed", "450 4.3.0 Error: command failed", "421 4.0.0 Server closing connection"
EHLO = ["250-smtp-sink", "250-PIPELINING", "250-8BITMIME", "250-AUTH PLAIN LOGIN", "250-XCLIENT NAME HELO", "250-XFORWARD NAME ADDR PROTO HELO",
        "250-ENHANCEDSTATUSCODES", "250-DSN", "250 "]


def without(*words):
    return [line for line in EHLO if line[4:].split(" ")[0] not in words or line == "250 "]


NOPIPE = without("PIPELINING")
# options, then what is said and the reply that is expected; a reply of None: the connection is closed
DIALOGUES = [
    ([], [("", "220 smtp-sink ESMTP"), ("EHLO x", EHLO), ("FOO", "500 5.5.1 Error: unknown command"), ("DATA", "503 5.5.1 Error: need RCPT command"),
          ("RCPT TO:<a>", "503 5.5.1 Error: need MAIL command"), ("MAIL FROM:<>", "250 2.1.0 Ok"), ("MAIL FROM:<>", "503 5.5.1 Error: nested MAIL command"),
          ("RCPT TO:<a>", "250 2.1.5 Ok"), ("VRFY a", "250 2.0.0 Ok"), ("NOOP", "250 2.0.0 Ok"), ("RSET", "250 2.1.0 Ok"), ("HELO y", "250 smtp-sink"),
          ("", "500 5.5.2 Error: unknown command"), ("QUIT", "221 Bye"), (None, None)]),
    (["-8", "-a", "-N", "-p", "-C", "-F", "-h", "foo.example"], [("", "220 foo.example ESMTP"), ("EHLO x", ["250-foo.example", "250-ENHANCEDSTATUSCODES", "250 "])]),
    (["-E"], [("", "220 smtp-sink ESMTP"), ("EHLO x", without("ENHANCEDSTATUSCODES"))]),
    (["-e"], [("", "220 smtp-sink"), ("EHLO x", "500 5.5.1 Error: unknown command"), ("HELO x", "250 smtp-sink")]),
    (["-a"], [("", ...), ("EHLO x", without("AUTH")), ("AUTH x", "250 2.0.0 Ok")]),
    (["-C"], [("", ...), ("XCLIENT x", "500 5.5.1 Error: unknown command"), ("XFORWARD x", "250 2.0.0 Ok")]),
    (["-F"], [("", ...), ("XCLIENT x", "250 2.0.0 Ok"), ("XFORWARD x", "500 5.5.1 Error: unknown command")]),
    (["-P"], [("", "220 ********"), ("EHLO x", "500 5.5.1 Error: unknown command")]),
    (["-L"], [("", "220 smtp-sink ESMTP"), ("EHLO x", "500 5.5.1 Error: unknown command"), ("LHLO x", EHLO), *[(t, ...) for t in TRANSACTION],
              (None, "250 2.2.0 Ok"), ("QUIT", "221 Bye")]),
    (["-f", "rcpt NOOP,connect", "-r", "ehlo", "-B", "555 5.5.5 hard"], [("", "555 5.5.5 hard"), ("EHLO x", SOFT), ("MAIL FROM:<>", "250 2.1.0 Ok"),
                                                                      ("RCPT TO:<a>", "555 5.5.5 hard"), ("NOOP", "555 5.5.5 hard"), ("DATA", "503 5.5.1 Error: need RCPT command")]),
    (["-r", "data", "-b", "451 4.1.1 soft"], [("", ...), ("EHLO x", NOPIPE), *[(t, ...) for t in TRANSACTION[:3]], ("DATA", "451 4.1.1 soft")]),
    (["-f", "."], [("", ...), *[(t, ...) for t in TRANSACTION[:4]], (TRANSACTION[4], HARD), ("NOOP", "250 2.0.0 Ok")]),
    (["-L", "-r", "."], [("", ...), *[(t, ...) for t in TRANSACTION[:4]], (TRANSACTION[4], SOFT), (None, SOFT), ("QUIT", "221 Bye")]),
    (["-A", "0"], [("", ...), *[(t, ...) for t in TRANSACTION[:4]], (None, "550 This violates SMTP"), (None, None)]),
    (["-q", "rcpt"], [("", ...), (TRANSACTION[0], "250 2.1.0 Ok"), (TRANSACTION[1], None)]),
    (["-q", "connect"], [("", None)]),
    (["-Q", "."], [("", ...), *[(t, ...) for t in TRANSACTION[:4]], (TRANSACTION[4], CUT), (None, None)]),
    (["-Q", "connect"], [("", CUT), (None, None)]),
    (["-t", "1"], [("", ...), (None, None)]),
]


def dialogue(program, options, steps):
    got = []
    with sink(*options, program=program) as p:
        c = Client(p.where)
        for i, (say, _) in enumerate(steps):
            try:
                if say is not None and i > 0:
                    c.f.write(say.encode() + b"\r\n")
                    c.f.flush()
                got.append(c.reply())
            except ConnectionError:
                got.append(None)
        c.close()
    return got


@pytest.mark.parametrize("options,steps", DIALOGUES, ids=lambda v: " ".join(v) if v and isinstance(v[0], str) else "-")
def test_sink_answers(options, steps):
    got = dialogue(OURS["sink"], options, steps)
    assert [g for g, (_, w) in zip(got, steps) if w is not ...] == [w for _, w in steps if w is not ...]


@pytest.mark.parametrize("options,steps", [d for d in DIALOGUES if d[0] != ["-t", "1"]], ids=lambda v: " ".join(v) if v and isinstance(v[0], str) else "-")
def test_debians_sink_answers_the_same(options, steps):
    assert dialogue(OURS["sink"], options, steps) == dialogue(debian("sink"), options, steps)


@pytest.mark.parametrize("options,at", [(["-w", "1"], 3), (["-W", "mail:1:1"], 0), (["-H", "1"], 4), (["-A", "1"], None)])
def test_sink_delays(options, at):
    with sink(*options) as p:
        c = Client(p.where)
        c.reply()
        for i, line in enumerate(TRANSACTION if at is not None else TRANSACTION[:4]):
            begin = time.monotonic()
            assert c.say(line)[0] in "23"
            assert time.monotonic() - begin >= 0.95 or i != at
        if at is None:
            assert c.reply() == "550 This violates SMTP" and time.monotonic() - begin >= 0.9


def test_sink_dumps_a_file_per_message(scratch):
    with sink("-d", str(scratch / "%Y" / "m."), "-S", r"From x\n\101\\") as p:
        c = Client(p.where)
        c.say("EHLO foo.bar")
        c.reply()
        c.say(*TRANSACTION)
        c.say("MAIL FROM:<cut@x>", "RCPT TO:<c@d>", "DATA")
        c.f.write(b"half")
        c.close()
        c = Client(p.where)
        c.reply()
        c.say("NOOP")
    files = [f for f in (scratch / time.strftime("%Y")).iterdir() if "cut@x" not in f.read_text()]
    assert len(files) == 1 and re.fullmatch(r"m\.[0-9a-f]{1,8}", files[0].name)
    text = files[0].read_text()
    date = text.split("\n")[9]
    assert re.fullmatch(r"\t\w{3}, \d+ \w{3} \d{4} [\d:]{8} [+-]\d{4} \(\w+\)", date)
    assert text == ("From x\nA\\X-Client-Addr: 127.0.0.1\nX-Client-Proto: ESMTP\nX-Helo-Args: foo.bar\nX-Mail-Args: <a@b> SIZE=3\nX-Rcpt-Args: <c@d>\n"
                    "X-Rcpt-Args: <e@f>\nReceived: from foo.bar ([127.0.0.1])\n\tby smtp-sink (smtp-sink) with ESMTP id %s;\n%s\n"
                    "Subject: x\n\n.dot\nz\n\n") % (files[0].name[2:], date)


def dump_of(program, tmp_path, name):
    with sink("-D", str(tmp_path / name), program=program) as p:
        for helo in ("HELO foo", "NOOP"):
            c = Client(p.where)
            c.reply()
            c.say(helo, *TRANSACTION, "QUIT")
            c.close()
    return re.sub(r"id [0-9a-f]+;\n.*", "id", (tmp_path / name).read_text())


def test_sink_dumps_all_into_one_file_as_debians(scratch):
    got = dump_of(OURS["sink"], scratch, "ours")
    assert got.count("Subject: x\n\n.dot\nz\n\n") == 2 and "from foo ([127.0.0.1])" in got and "from [127.0.0.1] ([127.0.0.1])" in got
    assert got == dump_of(debian("sink"), scratch, "debian")


def test_sink_counts_and_ends():
    with sink("-c", "-n", "2", "-v", "-m", "1", "-T", "4096") as p:
        assert source("-m", "2", "-s", "2", p.address).returncode == 0  # -m 1: one after the other
        assert p.wait(PATIENCE) == 0
    assert "sess=2 quit=2 mesg=2\r" in p.out and "smtp-sink: MAIL FROM:<foo@" in p.out and "smtp-sink: disconnect" in p.out
    with sink("-M", "3", "-s", "rcpt, connect") as p:
        assert source("-m", "3", "-d", "-t", "who@x", p.address).returncode == 0
        assert p.wait(PATIENCE) == 0
    assert p.out.count("smtp-sink: RCPT TO:<who@x>") == 3 and p.out.count("smtp-sink: connect") == 1 and "MAIL" not in p.out


def test_families_and_unix_sockets(tmp_path):
    if os.path.exists("/proc/net/if_inet6") and " lo\n" in pathlib.Path("/proc/net/if_inet6").read_text():
        with sink("-6", "-n", "1", host="::1") as p:
            assert source("-6", p.address).returncode == 0 and p.wait(PATIENCE) == 0
    with sink("-4", "-n", "1") as p:
        assert source("-6", p.address).returncode == 1
        assert source("-4", "inet:" + p.address).returncode == 0 and p.wait(PATIENCE) == 0
    with sink("-L", "-n", "1", address="unix:%s/s" % tmp_path) as p:
        assert source("-L", "-r", "3", p.address).returncode == 0 and p.wait(PATIENCE) == 0


@ROOT_NEEDED
def test_sink_gives_up_its_rights(scratch):
    with sink("-R", str(scratch), "-d", "/m.", "-n", "1") as p:
        assert until(lambda: os.stat("/proc/%d" % p.pid).st_uid != 0 or os.readlink("/proc/%d/root" % p.pid) != "/")
        assert source("-m", "1", p.address).returncode == 0 and p.wait(PATIENCE) == 0
    assert len(list(scratch.iterdir())) == 1 and list(scratch.iterdir())[0].owner() == "nobody"
    p = subprocess.run([OURS["sink"], "127.0.0.1:%d" % free_ports(1)[0], "10"], capture_output=True, text=True, timeout=20, check=False)
    assert p.returncode == 1 and "-u option is required if running as root" in p.stderr


# ---- the source against a server that notes everything ----
class Recorder:
    def __init__(self, over=None):
        self.s = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.s.getsockname()[1]
        self.over, self.lines, self.sessions = over or {}, [], 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                c, _ = self.s.accept()
                self.sessions += 1
                threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        f, rcpts, lmtp = c.makefile("rwb"), 0, False
        def answer(verb, text):
            f.write(self.over.get(verb, text).encode() + b"\r\n")
            f.flush()
        with contextlib.suppress(OSError):
            answer("CONNECT", "220 x")
            for line in f:
                line = line.decode()
                self.lines.append(line.rstrip("\r\n"))
                verb = line[:4].strip().upper()
                lmtp, rcpts = lmtp or verb == "LHLO", rcpts + 1 if verb == "RCPT" else rcpts
                answer(verb, {"DATA": "354 go", "QUIT": "221 bye"}.get(verb, "250 ok"))
                if verb == "DATA" and "DATA" not in self.over:
                    while line and line.rstrip("\r\n") != ".":  # other sessions write to the list, too
                        line = f.readline().decode()
                        self.lines.append(line.rstrip("\r\n"))
                    for _ in range(rcpts if lmtp else 1):
                        answer(".", "250 done")
                    rcpts = 0
        c.close()


def traffic(program, args, over=None):
    r = Recorder(over)
    p = source("-M", "me.test", *args, r.address, program=program)
    r.s.close()
    text = [re.sub(r"^(Date: |Message-Id: <).*?(@.*)?$", r"\1\2", line) for line in r.lines]
    return p.returncode, re.sub(r"\S*/smtp-source", "smtp-source", p.stderr), p.stdout, text, r.sessions


CASES = [
    ([], {}), (["-m", "3", "-d", "-r", "2"], {}), (["-m", "2", "-c"], {}), (["-l", "200"], {}), (["-l", "80", "-S", "a subject"], {}), (["-l", "81"], {}),
    (["-o", "-l", "5"], {}), (["-L", "-r", "2"], {}), (["-N", "-m", "2", "-r", "2", "-d"], {}), (["-f", "", "-t", "bob@x.test", "-r", "3"], {}),
    (["-A", "-r", "2"], {"RCPT": "550 no"}), (["-A", "-d", "-m", "2"], {"MAIL": "450 no"}), (["-A"], {".": "550 no"}), (["-A"], {"DATA": "550 no"}),
    (["-A", "-m", "2"], {"MAIL": "421 no"}), (["-A"], {"CONNECT": "550 no"}), ([], {"RCPT": "550 no"}), ([], {"HELO": "450 no"}), ([], {".": "450 no"}),
]


@pytest.mark.parametrize("args,over", [c for c in CASES if c[0]], ids=lambda v: " ".join(v) if isinstance(v, list) else ",".join(v))
def test_debians_source_says_the_same(args, over):
    assert traffic(OURS["source"], args, over) == traffic(debian("source"), args, over)


def test_source_sends(tmp_path):
    head = ["HELO me.test", "MAIL FROM:<foo@me.test>", "RCPT TO:<foo@me.test>", "DATA"]
    status, err, out, lines, _ = traffic(OURS["source"], [])
    assert (status, err, out) == (0, "", "") and lines[:4] == head and lines[-2:] == [".", "QUIT"]
    assert lines[4:9] == ["From: <foo@me.test>", "To: <foo@me.test>", "Date: ", "Message-Id: <@me.test>", ""]
    (tmp_path / "m").write_text("Subject: x\n\n.dot\nlast without end")
    lines = traffic(OURS["source"], ["-F", str(tmp_path / "m")])[3]
    assert lines == head + ["Subject: x", "", "..dot", "last without end", ".", "QUIT"]
    status, err, out, lines, n = traffic(OURS["source"], ["-m", "20", "-s", "5", "-c", "-T", "8192", "-N"])
    assert status == 0 and out == "".join("%d\r" % i for i in range(1, 21)) + "\n" and n == 20 and len({x for x in lines if x.startswith("RCPT")}) == 20
    assert lines.count("QUIT") == 20
    begin = time.monotonic()
    assert traffic(OURS["source"], ["-m", "2", "-d", "-w", "1"])[0] == 0 and time.monotonic() - begin >= 1.9
    assert traffic(OURS["source"], ["-m", "2", "-R", "1"])[0] == 0
    err = traffic(OURS["source"], ["-v"])[1]
    assert "smtp-source: <<< 220 x\nsmtp-source: HELO me.test\n" in err


def test_source_refused():
    status, err, *_ = traffic(OURS["source"], [], {"RCPT": "550 no"})
    assert status == 1 and err == "smtp-source: fatal: recipient rejected: 550 no\n"
    port = free_ports(1)[0]
    p = source("-C", "3", "127.0.0.1:%d" % port)
    assert p.returncode == 1 and p.stderr == "smtp-source: warning: connect: Connection refused\n" * 2 + "smtp-source: fatal: connect: Connection refused\n"
    for args, text in ((["-l", "0", "x"], "bad message length: 0"), (["-T", "65536", "x"], "bad TCP window size: 65536"), ([], "usage: "),
                       (["127.0.0.1:nonsense.port"], "127.0.0.1:nonsense.port: "), (["-F", "/nonexistent", "x"], "open /nonexistent: No such file")):
        p = source(*args)
        assert p.returncode == 1 and "fatal: " + text in p.stderr


@pytest.mark.parametrize("ours_sends", [True, False])
@pytest.mark.parametrize("lmtp", [[], ["-L"]])
def test_with_debians(ours_sends, lmtp):
    other = {w: OURS[w] if (w == "source") == ours_sends else debian(w) for w in OURS}
    with sink("-c", "-n", "10", *lmtp, program=other["sink"]) as p:
        q = source("-s", "10", "-m", "50", "-d", "-l", "20000", "-r", "3", *lmtp, p.address, program=other["source"])
        assert q.returncode == 0, q.stderr
        assert p.wait(PATIENCE) == 0
    assert p.out.endswith("sess=10 quit=10 mesg=50\r")


def test_a_thousand_sessions():
    with sink("-c", "-n", "1000", "-m", "1000", backlog="1000") as p:
        q = source("-s", "1000", "-m", "2000", "-d", "-C", "10", p.address)
        assert q.returncode == 0, q.stderr
        assert p.wait(PATIENCE) == 0
    assert p.out.endswith("sess=1000 quit=1000 mesg=2000\r")


@pytest.mark.parametrize("options", [[], ["-c"], ["-cr", "-s", "5"]], ids=" ".join)
def test_fsstone(tmp_path, options):
    """It says how long it took, leaves nothing behind, and touches no file of another."""
    (tmp_path / "mine").write_text("x")
    p = subprocess.run([os.path.join(BIN, "fsstone"), *options, "20", "7"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert p.returncode == 0 and re.fullmatch(r"elapsed time: \d+\.\d{3}\n", p.stdout) and p.stderr == "" and os.listdir(tmp_path) == ["mine"]
    (tmp_path / "fsstone.000003").symlink_to("mine")
    p = subprocess.run([os.path.join(BIN, "fsstone"), *options, "20", "7"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert p.returncode == 1 and "fsstone.000003" in p.stderr and (tmp_path / "mine").read_text() == "x"
