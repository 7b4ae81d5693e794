"""Servers that tables ask, played by the test: tcp_table(5), socketmap_table(5), and the real memcached. Each notes what it was asked."""
import os
import shutil
import socket
import subprocess
import threading

from instance import listens, until


class Server:
    """answer(question bytes) -> answer bytes, or None to hang up. `where`: ("127.0.0.1", 0) or a path."""

    def __init__(self, read, answer, where=("127.0.0.1", 0)):
        self.read, self.answer, self.asked, self.connections, self.open = read, answer, [], 0, []
        self.where, self.listener = where, None
        self.start()

    def start(self):
        unix = isinstance(self.where, str)
        if unix and os.path.exists(self.where):
            os.unlink(self.where)
        if unix or self.listener is None:
            self.take(unix)
        if unix:
            os.chmod(self.where, 0o666)
        else:
            self.where = self.listener.getsockname()
            self.port = self.where[1]
        self.listener.listen(20)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def take(self, unix):
        self.listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(self.where)

    def accept(self, listener):
        while True:
            try:
                s = listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self.open.append(s)
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        f = s.makefile("rb")
        try:
            while (question := self.read(f)) is not None:
                self.asked.append(question)
                reply = self.answer(question)
                if reply is None:
                    break
                s.sendall(reply)
        except OSError:
            pass
        s.close()

    def stop(self):
        """From now on nobody listens; a port stays taken, for else another test's server may get it before the next start()."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if not isinstance(self.where, str):
            self.take(False)
        for s in self.open:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.open = []


def read_line(f):
    line = f.readline()
    return line[:-1] if line.endswith(b"\n") else None


def read_netstring(f):
    digits = b""
    while (c := f.read(1)) not in (b":", b""):
        digits += c
    if not digits:
        return None
    data = f.read(int(digits))
    assert f.read(1) == b","
    return data


def netstring(b):
    return b"%d:%s," % (len(b), b)


def tcp(pairs, **kw):
    def answer(q):
        if not q.startswith(b"get "):
            return b"400 what?\n"
        v = pairs.get(q[4:].decode())
        return v if isinstance(v, bytes) else b"500 none\n" if v is None else f"200 {v}\n".encode()
    return Server(read_line, answer, **kw)


def socketmap(pairs, **kw):
    def answer(q):
        v = pairs.get(q.decode())
        return v if isinstance(v, bytes) else netstring(b"NOTFOUND " if v is None else f"OK {v}".encode())
    return Server(read_netstring, answer, **kw)


class Memcached:
    """Debian's memcached on a port of its own."""

    def __init__(self, port):
        self.port, self.proc = port, None

    def start(self):
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        self.proc = subprocess.Popen([shutil.which("memcached"), "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "16", *user])
        if not until(lambda: listens("127.0.0.1", self.port), every=0.02):
            raise RuntimeError("memcached does not answer")
        return self

    def talk(self, text):
        with socket.create_connection(("127.0.0.1", self.port), 10) as s:
            s.sendall(text.encode() + b"quit\r\n")
            return s.makefile().read()

    def get(self, key):
        lines = self.talk(f"get {key}\r\n").split("\n")
        return lines[1] if lines[0].startswith("VALUE") else None

    def stop(self):
        if self.proc:
            self.proc.terminate()
            self.proc.wait()
        self.proc = None
