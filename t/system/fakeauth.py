"""An authentication server as Dovecot's, played by the test: it knows one password, and a mechanism that does as it is told."""
import base64

from fakeservers import Server, read_line

GREETING = ("VERSION\t1\t2\n"
            "MECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nMECH\tCRAM-MD5\tdictionary\tactive\nMECH\tANONYMOUS\tanonymous\n"
            "MECH\tSECRET\tprivate\nMECH\tSCRIPT\tforward-secrecy\tmutual-auth\n"
            "SPID\t1\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef\nDONE\n").encode()


def b64(text):
    return base64.b64encode(text.encode()).decode()


class AuthServer(Server):
    def __init__(self, users=None, where=("127.0.0.1", 0)):
        self.users = users or {"good": "pass"}
        super().__init__(read_line, None, where)

    def serve(self, s):
        talk = Exchanges(self.users)
        f = s.makefile("rb")
        try:
            s.sendall(GREETING)
            if not (read_line(f) or b"").startswith(b"VERSION\t1\t"):  # Dovecot talks to nobody who begins otherwise
                s.close()
                return
            while (line := read_line(f)) is not None:
                s.sendall(talk.reply(line))
        except OSError:
            pass
        s.close()


class Exchanges:
    """Those of one connection. PLAIN and LOGIN know the users with their passwords. SCRIPT does what its responses say: "more TEXT" is a challenge, "ok USER",
    "fail", "fail NAME=VALUE;...": the end."""

    def __init__(self, users):
        self.talks, self.users = {}, users

    def reply(self, line):
        word, *rest = line.decode("latin-1").split("\t")
        if word == "AUTH":
            number, mech, *params = rest
            mech = mech.upper()
            resp = [p[5:] for p in params if p.startswith("resp=")]
            self.talks[number] = [mech]
            return self.decoded(number, resp[0], "in initial response") if resp else self.step(number, None).encode()
        if word == "CONT":
            return self.decoded(*rest[:2], "in continued response")
        return b""

    def decoded(self, number, text, where):
        try:
            data = base64.b64decode("" if text == "=" else text, validate=True).decode("utf-8", "replace")
        except ValueError:
            return f"FAIL\t{number}\treason=Invalid base64 data {where}\n".encode()
        return self.step(number, data).encode()

    def step(self, number, data):
        talk = self.talks[number]
        mech = talk[0]
        if data is None:
            return self.more(number, {"LOGIN": "Username:", "CRAM-MD5": "<1.2@x>"}.get(mech, ""))
        talk.append(data)
        if mech == "PLAIN":
            return self.end(number, self.known(data.split("\0")[-2:]), data.split("\0")[-2] if "\0" in data else None)
        if mech == "LOGIN":
            return self.more(number, "Password:") if len(talk) == 2 else self.end(number, self.known(talk[1:]), talk[1])
        if mech == "SCRIPT":
            return self.script(number, data)
        return self.end(number, mech == "ANONYMOUS", "anonymous")

    def known(self, pair):
        return len(pair) == 2 and self.users.get(pair[0]) == pair[1]

    def more(self, number, text):
        return f"CONT\t{number}\t{b64(text)}\n"

    def end(self, number, ok, user):
        return f"{'OK' if ok else 'FAIL'}\t{number}" + (f"\tuser={user}" if user else "") + "\n"

    def script(self, number, data):
        word, _, rest = data.partition(" ")
        if word == "more":
            return self.more(number, rest)
        if word == "ok":
            return self.end(number, True, rest)
        return f"FAIL\t{number}" + "".join("\t" + w for w in rest.split(";") if w) + "\n"
