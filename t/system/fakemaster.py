"""A stand-in for master(8) around one daemon: starts it as masterproto.h says, answers its wishes for connections with peers
played by the test, and talks to it over its socket as any program. Speaks the records of lib/ipc."""
import array
import fcntl
import os
import socket
import struct
import subprocess
import threading

from instance import PATIENCE, STARTED

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("POSTERN_BUILD", os.path.join(ROOT, "build"))
MP_READY, MP_CONNECT, MP_CONNECTED, MP_DRAIN, MP_WAKEUP = 1, 5, 64, 66, 67
RECORD = struct.Struct("<IIq160s")
SUBMIT, FILE, ABORT, SLOTS, QMGR_NEW, QMGR_CONTROL, REWRITE, EXPAND, BOUNCE_SEND, PICKUP = 10, 11, 12, 13, 20, 21, 30, 33, 50, 90


def span(b):
    if isinstance(b, str):
        b = b.encode()
    return struct.pack("<I", len(b)) + b


class Reader:
    def __init__(self, b):
        self.b, self.i = b, 0

    def num(self, fmt):
        v = struct.unpack_from("<" + fmt, self.b, self.i)[0]
        self.i += struct.calcsize("<" + fmt)
        return v

    def span(self):
        n = self.num("I")
        v = self.b[self.i:self.i + n]
        self.i += n
        return v


def envelope(qid, sender, rcpts, flags=0, **text):
    names = ["client_name", "client_addr", "client_port", "helo", "protocol", "rev_client_name", "sasl_method", "sasl_username",
             "sasl_sender", "ident", "content_filter", "redirect", "verp", "full_name"]
    b = span(qid) + struct.pack("<q", text.get("arrival", 1700000000 * 10**6)) + span(sender)
    b += struct.pack("<IHH", flags, 0, 0) + span("") + span("") + struct.pack("<QH", 0, 0)
    for n in names:
        b += span(text.get(n, ""))
    b += struct.pack("<I", len(rcpts))
    for r in rcpts:
        b += span(r) + span("") + span("") + struct.pack("<HH", 0, 0)
    return b


def record(kind, body, serial=1, reply=False):
    return struct.pack("<BBHI", 1, 1 if reply else 0, kind, serial) + body


def received(s, size):
    try:
        return s.recv(size)
    except OSError:
        return b""


class Daemon:
    """peers: name -> function(kind, body) -> reply body or None."""

    def __init__(self, program, directory, peers=None, main_cf="", at="sock"):
        self.dir, self.peers, self.maillog = directory, peers or {}, os.path.join(directory, "log")
        for d in "incoming pool hold corrupt active deferred maildrop public private".split():
            os.makedirs(os.path.join(directory, "q", d), exist_ok=True)
        os.makedirs(os.path.join(directory, "etc"), exist_ok=True)
        with open(os.path.join(directory, "etc", "main.cf"), "w") as f:
            f.write("compatibility_level = 3.6\nqueue_directory = %s/q\nmyhostname = mx.example.org\nmaillog_file = %s\n%s\n"
                    % (directory, self.maillog, main_cf))
        self.path = os.path.join(directory, at)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(100)
        self.channel, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        logfd = os.open(self.maillog, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        null = os.open(os.devnull, os.O_WRONLY)
        keep = [os.dup(x) for x in (child.fileno(), logfd, null, self.listener.fileno())]

        def place():
            high = [fcntl.fcntl(k, fcntl.F_DUPFD, 10) for k in keep]
            for i, h in enumerate(high):
                os.dup2(h, 3 + i)

        argv = [os.path.join(BUILD, "sbin", program), "-n", program, "-t", "unix", "-S", "1", "-L", "7", "-u"]
        self.proc = subprocess.Popen(argv, preexec_fn=place, close_fds=False,
                                     env=dict(os.environ, MAIL_CONFIG=os.path.join(directory, "etc")))
        for k in keep + [logfd, null]:
            os.close(k)
        child.close()
        STARTED.append(self)
        self.ready = threading.Event()
        threading.Thread(target=self.serve_channel, daemon=True).start()
        assert self.ready.wait(PATIENCE), self.text()

    def text(self):
        with open(self.maillog) as f:
            return f.read()

    def serve_channel(self):
        while data := received(self.channel, 200):
            kind, serial, _, name = RECORD.unpack(data)
            if kind == MP_READY:
                self.ready.set()
            if kind != MP_CONNECT:
                continue
            name = name.split(b"\0")[0].decode()
            if name not in self.peers:
                self.channel.send(RECORD.pack(MP_CONNECTED, serial, 111, b""))
                continue
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.channel.sendmsg([RECORD.pack(MP_CONNECTED, serial, 0, b"")],
                                 [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))])
            theirs.close()
            threading.Thread(target=self.serve_peer, args=(ours, self.peers[name]), daemon=True).start()

    @staticmethod
    def serve_peer(s, fn):
        with s:
            while data := received(s, 200000):
                _, _, kind, serial = struct.unpack_from("<BBHI", data)
                answer = fn(kind, data[8:])
                try:
                    if answer is not None:
                        s.send(record(kind, answer, serial, True))
                except OSError:
                    return

    def connect(self, program="smtpd", service=None):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        s.connect(self.path)
        s.send(struct.pack("<II32s160s", 0x50535448, os.getpid(), program.encode(), (service or program).encode()))
        s.settimeout(PATIENCE)
        return s

    def tell(self, kind):
        self.channel.send(RECORD.pack(kind, 0, 0, b""))

    def kill(self):
        self.proc.kill()
        self.proc.wait()
        self.listener.close()

    def end(self):
        self.tell(MP_DRAIN)
        try:
            self.proc.wait(PATIENCE)
        finally:
            self.kill()


def submit(s, qid, content, sender="a@example.org", rcpts=("b@example.org",), serial=1, **kw):
    s.send(record(SUBMIT, span(envelope(qid, sender, rcpts, **kw)) + span(content) + struct.pack("<BQ", 0, 0), serial))
    return answer(s)


def answer(s):
    data, fds, _, _ = socket.recv_fds(s, 200000, 4)
    assert data, "the daemon closed the connection"
    r = Reader(data[8:])
    return (r.num("H"), r.span().decode(), r.span().decode()), r, fds
