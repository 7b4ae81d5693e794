"""SMTP and LMTP servers as a test wants them: every reply can be changed, everything received is kept."""
import os
import socket
import ssl
import threading
import weakref

EHLO = ["PIPELINING", "SIZE 10000000", "8BITMIME", "DSN", "ENHANCEDSTATUSCODES", "SMTPUTF8"]


HANG = object()
OPEN = []  # servers that may hold sockets; whoever runs the tests ends them with the file that made them


def hang_up(s):
    """Whoever waits for it in another thread wakes up, which close() alone does not do."""
    try:
        s.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Gone(Exception):
    """The client went while the server hung; data: what it had sent by then and nobody has read."""

    def __init__(self, data):
        super().__init__()
        self.data = data


class Server:
    """replies: verb (or "GREETING", "BODY", "RCPT user@x") -> reply text, list of replies for LMTP's BODY, None: hang up,
    callable(server, connection, line), HANG: say nothing until the client is gone."""

    def __init__(self, keywords=EHLO, lmtp=False, tls=None, delay=None, host="127.0.0.1", port=0, path=None, wrapped=False, **replies):
        self.keywords, self.lmtp, self.tls, self.replies = list(keywords), lmtp, tls, replies
        self.lines, self.messages, self.sessions, self.segments = [], [], 0, []
        self.transactions = []  # [number of RCPT] for each MAIL, whatever other sessions say meanwhile
        self.wrapped, self.names = wrapped, []  # wrapped: TLS from the start. names: what clients asked for (SNI)
        self.host, self.clients = host, weakref.WeakSet()
        if path:  # a UNIX socket that anybody may connect to
            self.listener, self.port = socket.socket(socket.AF_UNIX), None
            self.listener.bind(path)
            os.chmod(path, 0o666)
            self.listener.listen(100)
        else:
            self.listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
            self.port = self.listener.getsockname()[1]
        OPEN.append(self)
        threading.Thread(target=self.accept, daemon=True).start()

    def refuse(self):
        """From now on nobody listens; the port stays taken, for else another test's server may get it."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.host, self.port))

    def end(self):
        """Nobody listens any more."""
        if self not in OPEN:
            return
        OPEN.remove(self)
        path = self.listener.getsockname() if self.listener.family == socket.AF_UNIX else None
        hang_up(self.listener)
        self.listener.close()
        if path:
            os.unlink(path)

    def close(self):
        """No socket is left."""
        self.end()
        for c in list(self.clients):
            hang_up(c)

    def accept(self):
        listener = self.listener
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            self.sessions += 1
            threading.Thread(target=self.guard, args=(c,), daemon=True).start()

    def guard(self, c):
        buf = bytearray()
        self.clients.add(c)
        try:
            self.session(c, buf)
        except Gone as e:
            self.lines += (buf + e.data).decode("latin-1").split("\r\n")[:-1]
        except (OSError, EOFError):
            pass
        c.close()

    def reply(self, c, verb, line, default):
        path = line.decode("latin-1").split("> ")[0].rstrip(">") + ">"  # "RCPT TO:<a@b>", whatever parameters follow
        r = self.replies.get(path, self.replies.get(verb, default))
        if callable(r):
            r = r(self, c, line)
        if r is HANG:
            c.settimeout(300)
            raise Gone(b"".join(iter(lambda: c.recv(65536), b"")))
        if r is None:
            c.shutdown(socket.SHUT_RDWR)
            raise EOFError
        c.sendall(r.encode("latin-1") + b"\r\n" if r != "" else b"")
        return r

    def start_tls(self, c):
        c = self.tls.wrap_socket(c, server_side=True)
        self.clients.add(c)
        self.names.append(getattr(c, "server_name", None))
        return c

    def session(self, c, buf):
        rcpts, keywords, transaction = 0, list(self.keywords), [0]
        if self.wrapped:
            c = self.start_tls(c)
        self.reply(c, "GREETING", b"", "220 fake ESMTP")
        while True:
            while b"\r\n" not in buf:
                data = c.recv(65536)
                if not data:
                    return
                self.segments.append(data)
                buf += data
            line = bytes(buf[:buf.index(b"\r\n")])
            del buf[:len(line) + 2]
            self.lines.append(line.decode("latin-1"))
            verb = line.split(b" ")[0].upper().decode("latin-1")
            if verb == "MAIL":
                transaction = [0]
                self.transactions.append(transaction)
            transaction[0] += verb == "RCPT"
            if verb in ("EHLO", "LHLO"):
                words = ["fake.example"] + keywords
                self.reply(c, verb, line, "\r\n".join("250%s%s" % ("-" if i + 1 < len(words) else " ", w)
                                                     for i, w in enumerate(words)))
            elif verb == "STARTTLS":
                r = self.reply(c, verb, line, "220 2.0.0 go")
                if r.startswith("220") and self.tls:
                    c = self.start_tls(c)
                    keywords = [k for k in keywords if k != "STARTTLS"]
                    buf.clear()
            elif verb == "RCPT":
                if self.reply(c, verb, line, "250 2.1.5 ok").startswith("2"):
                    rcpts += 1
            elif verb == "DATA":
                r = self.reply(c, verb, line, "354 go" if rcpts else "554 5.5.1 no valid recipients")
                if r.startswith("3"):
                    while not (buf.startswith(b".\r\n") or b"\r\n.\r\n" in buf):
                        data = c.recv(65536)
                        if not data:
                            return
                        buf += data
                    end = 0 if buf.startswith(b".\r\n") else buf.index(b"\r\n.\r\n") + 2
                    self.messages.append(bytes(buf[:end]))
                    del buf[:end + 3]
                    if self.lmtp:
                        answers = self.replies.get("BODY", ["250 2.0.0 delivered"] * rcpts)
                        for a in answers[:rcpts]:
                            if a is None:
                                return
                            c.sendall(a.encode() + b"\r\n")
                    else:
                        self.reply(c, "BODY", b"", "250 2.0.0 Ok: queued as F00")
                rcpts = 0
            elif verb == "QUIT":
                self.reply(c, verb, line, "221 2.0.0 bye")
                return
            else:
                if verb == "RSET":
                    rcpts = 0
                self.reply(c, verb, line, "250 2.0.0 ok")


def context(directory):
    """A server context with a certificate of its own for fake.example and 127.0.0.1."""
    import os
    import subprocess
    key, cert = os.path.join(directory, "key.pem"), os.path.join(directory, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=fake.example", "-addext", "subjectAltName=DNS:fake.example"], check=True, capture_output=True)
    t = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    t.load_cert_chain(cert, key)
    t.sni_callback = lambda sock, name, ctx: setattr(sock, "server_name", name)
    return t, cert, key
