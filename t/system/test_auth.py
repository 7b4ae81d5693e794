"""The authentication server: every mechanism with right and wrong passwords (RFC 4616, 2195, 5802, 7677), one answer for unknown users and wrong
passwords, its protocol under misuse, tickets that are good once, and recovery when the process with the credentials dies."""
import base64
import hashlib
import hmac
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess

import pytest

from instance import PATIENCE, Instance, until

MECHS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")
ROOT = os.getuid() == 0
TICKET = r"\d+\.[0-9a-f]{32}"


def b64(b):
    return base64.b64encode(b if isinstance(b, bytes) else b.encode()).decode()


class Client:
    """One connection of the authentication protocol; at(n) is the exchange with id n."""

    def __init__(self, inst):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(os.path.join(inst.queue, "private", "auth"))
        self.buffer = b""
        self.send("VERSION\t1\t2", f"CPID\t{os.getpid()}")
        self.greeting = []
        while not self.greeting or self.greeting[-1] != "DONE":
            self.greeting.append(self.line())
        self.cookie = [l.split("\t")[1] for l in self.greeting if l.startswith("COOKIE\t")][0]

    def send(self, *lines):
        self.sock.sendall("".join(l + "\n" for l in lines).encode())

    def line(self):
        while b"\n" not in self.buffer:
            got = self.sock.recv(65536)
            if not got:
                raise EOFError
            self.buffer += got
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def closed(self):
        try:
            while True:
                self.line()
        except (EOFError, ConnectionResetError):
            return True

    def plain(self, n, user, password, service="pop3", authz=""):
        self.send(f"AUTH\t{n}\tPLAIN\tservice={service}\tsecured\trip=192.0.2.{n % 200 + 1}\tresp=" + b64(f"{authz}\0{user}\0{password}"))

    def close(self):
        self.sock.close()


def exchange(c, n, mech, user, password, service="imap"):
    """A whole exchange; the last line of the server."""
    c.send(f"AUTH\t{n}\t{mech}\tservice={service}\tsecured\trip=127.0.0.1\tlip=127.0.0.1" +
           ("\tresp=" + b64(f"\0{user}\0{password}") if mech == "PLAIN" else ""))
    state = {}
    while True:
        line = c.line()
        kind, number, *rest = line.split("\t")
        assert int(number) == n
        if kind != "CONT":
            if kind == "OK" and mech.startswith("SCRAM"):
                final = [base64.b64decode(f[5:]).decode() for f in rest if f.startswith("resp=")]
                assert not final or final[0] == state["expect"]
            return line
        challenge = base64.b64decode(rest[0])
        c.send(f"CONT\t{n}\t" + b64(answer(mech, user, password, challenge, state)))


def answer(mech, user, password, challenge, state):
    if mech == "LOGIN":
        state["n"] = state.get("n", 0) + 1
        return user if state["n"] == 1 else password
    if mech == "CRAM-MD5":
        return user + " " + hmac.new(password.encode(), challenge, "md5").hexdigest()
    name = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}[mech]
    if "bare" not in state:
        state["bare"] = f"n={user},r={secrets.token_hex(12)}"
        return "n,," + state["bare"]
    if "expect" in state:  # the server's signature came as a challenge
        assert challenge.decode() == state["expect"]
        return ""
    first = challenge.decode()
    field = dict(f.split("=", 1) for f in first.split(","))
    salted = hashlib.pbkdf2_hmac(name, password.encode(), base64.b64decode(field["s"]), int(field["i"]))
    def mac(key, text):
        return hmac.new(key, text, name).digest()
    without = "c=biws,r=" + field["r"]
    whole = f"{state['bare']},{first},{without}".encode()
    key = mac(salted, b"Client Key")
    signature = mac(hashlib.new(name, key).digest(), whole)
    state["expect"] = "v=" + b64(mac(mac(salted, b"Server Key"), whole))
    return without + ",p=" + b64(bytes(a ^ b for a, b in zip(key, signature)))


@pytest.fixture(scope="module")
def inst(tmp_path_factory):
    base = str(tmp_path_factory.mktemp("auth"))
    os.chmod(base, 0o755)
    i = Instance(os.path.join(base, "i"), listen=(), main={
        "auth_passwd_file": os.path.join(base, "i", "etc", "users"),
        "auth_sasldb_file": os.path.join(base, "i", "etc", "sasldb2"),
        "auth_pam_service": "", "auth_failure_delay": "0", "auth_penalty_limit": "0", "smtpd_sasl_local_domain": "realm.test",
        "auth_mechanisms": "plain login cram-md5 scram-sha-1 scram-sha-256",
        "mail_uid": "5000", "mail_gid": "5001", "mail_location": "maildir:/nowhere/%u"})
    sha512 = subprocess.run(["openssl", "passwd", "-6", "secret"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    i.write("users", f"kim:{{PLAIN}}secret\nlee:{sha512}:1234:1235::/home/lee::userdb_mail=mbox:/x:INBOX=/y\n"
                     f"bad:{{NO-SUCH}}x\ntab:{{PLAIN}}se\u00e9 cr,=et\n")
    have = shutil.which("saslpasswd2") is not None
    if have:
        for realm, user in (("example.test", "sam"), ("realm.test", "rae"), (socket.gethostname(), "host")):
            subprocess.run(["saslpasswd2", "-p", "-c", "-f", i.main["auth_sasldb_file"], "-u", realm, user], input=b"saslsecret", check=True)
        os.chmod(i.main["auth_sasldb_file"], 0o600)
    i.have_sasldb = have
    i.start()
    i.wait_socket("private/auth")
    yield i
    i.stop()
    assert "sandbox: denied" not in i.log()
    assert "panic" not in i.log()


@pytest.fixture
def client(inst):
    c = Client(inst)
    yield c
    c.close()


def test_greeting(client):
    """VERSION first, the mechanisms with their kind, DONE last."""
    assert client.greeting[0] == "VERSION\t1\t2"
    mechs = {l.split("\t")[1]: l.split("\t")[2:] for l in client.greeting if l.startswith("MECH")}
    assert set(mechs) == set(MECHS)
    assert mechs["PLAIN"] == mechs["LOGIN"] == ["plaintext"]
    assert len(client.cookie) == 32


@pytest.mark.parametrize("mech", MECHS)
def test_mechanism(client, mech):
    """Right password: OK with the user's name. Wrong password and unknown user: FAIL, after as many messages and in the same words."""
    assert exchange(client, 1, mech, "kim", "secret").split("\t")[:3] == ["OK", "1", "user=kim"]
    assert exchange(client, 2, mech, "KIM", "secret").split("\t")[:3] == ["OK", "2", "user=kim"]
    wrong = exchange(client, 3, mech, "kim", "wrong")
    unknown = exchange(client, 4, mech, "nobody", "secret")
    assert wrong == "FAIL\t3\tuser=kim"
    assert unknown == "FAIL\t4\tuser=nobody"
    assert exchange(client, 5, mech, "kim", "").startswith("FAIL\t5")


def test_hashed_password(client):
    """A crypt(3) hash serves PLAIN and LOGIN; a mechanism that needs the password itself fails as for a wrong one."""
    assert exchange(client, 1, "PLAIN", "lee", "secret").startswith("OK\t1\tuser=lee")
    assert exchange(client, 2, "LOGIN", "lee", "secret").startswith("OK\t2\tuser=lee")
    assert exchange(client, 3, "PLAIN", "lee", "secre").startswith("FAIL\t3")
    assert exchange(client, 4, "SCRAM-SHA-256", "lee", "secret") == "FAIL\t4\tuser=lee"
    assert exchange(client, 5, "PLAIN", "bad", "x") == "FAIL\t5\tuser=bad"


def test_authorization_identity(client):
    """Nobody acts for others (RFC 4616 section 2)."""
    client.plain(1, "kim", "secret", authz="kim")
    assert client.line().startswith("OK\t1\tuser=kim")
    client.plain(2, "kim", "secret", authz="lee")
    assert client.line().startswith("FAIL\t2")


def test_malformed_requests(client, inst):
    """What is wrong with one exchange fails that exchange; nonsense ends the connection, and neither touches other connections."""
    client.send("AUTH\t1\tNO-SUCH\tservice=x")
    assert client.line().startswith("FAIL\t1\t")
    client.send("AUTH\t2\tPLAIN\tservice=" + "x" * 100)
    assert client.line().startswith("FAIL\t2\t")
    client.send("AUTH\t3\tPLAIN\tservice=x\tresp=!!!")
    assert client.line().startswith("FAIL\t3\t")
    client.send("AUTH\t4")
    assert client.line().startswith("FAIL\t4\t")
    client.send("CONT\t77\tAAAA")
    assert client.line().startswith("FAIL\t77\t")
    client.send("AUTH\t5\tPLAIN\tservice=x\tresp=" + b64("kim"))
    assert client.line().startswith("FAIL\t5")
    client.send("AUTH\t6\tPLAIN\tservice=x\tresp=" + b64("\0\0\0\0\0"))
    assert client.line().startswith("FAIL\t6")
    client.send("AUTH\t7\tLOGIN\tservice=x")
    assert client.line().startswith("CONT\t7")
    client.send("CONT\t7\t***")
    assert client.line().startswith("FAIL\t7")
    client.send("SOMETHING\tnew", "", "CANCEL\t99")
    assert exchange(client, 8, "PLAIN", "kim", "secret").startswith("OK")
    for nonsense in ("AUTH", "AUTH\t0\tPLAIN", "AUTH\tx\tPLAIN", "AUTH\t99999999999\tPLAIN", "CONT", "CANCEL\t-1", "VERSION\t2\t0", "CPID",
                     "REQUEST\t1", "x" * 100000):
        other = Client(inst)
        other.send(nonsense)
        assert other.closed(), nonsense
        other.close()
    assert exchange(client, 9, "PLAIN", "kim", "secret").startswith("OK")


def test_cancel_and_id_reuse(client):
    """CANCEL ends an exchange without an answer, and its id may be used again; an id in use is refused."""
    client.send("AUTH\t1\tLOGIN\tservice=x")
    assert client.line().startswith("CONT\t1")
    client.send("AUTH\t1\tLOGIN\tservice=x")
    assert client.line().startswith("FAIL\t1")
    client.send("CANCEL\t1")
    assert exchange(client, 1, "PLAIN", "kim", "secret").startswith("OK")


def test_misuse_during_the_failure_delay(tmp_path):
    """While a failure is being held back its exchange can be cancelled, but neither continued nor replaced; others go on."""
    os.chmod(tmp_path, 0o755)
    with Instance(str(tmp_path / "i"), listen=(), main={"auth_passwd_file": str(tmp_path / "i" / "etc" / "users"), "auth_sasldb_file": "",
                                                          "auth_pam_service": "", "auth_failure_delay": "4s"}) as i:
        i.write("users", "kim:{PLAIN}secret\n")
        i.wait_socket("private/auth")
        c = Client(i)
        for n in range(1, 21):
            c.plain(n, "kim", "wrong")
        assert exchange(Client(i), 1, "PLAIN", "kim", "secret").startswith("OK")  # the checks themselves are done; what follows falls into the delay
        c.send(*(f"CONT\t{n}\tAAAA" for n in range(1, 11)), *(f"CANCEL\t{n}" for n in range(1, 11)))
        for n in range(1, 11):
            c.plain(n, "kim", "secret")
        c.plain(50, "kim", "secret")
        lines = []
        while sum(l.startswith("FAIL") for l in lines) < 30 or not any(l.startswith("OK\t50") for l in lines):
            lines.append(c.line())
        assert sum(l == f"FAIL\t{n}\tuser=kim" for l in lines for n in range(11, 21)) == 10
        assert not any(l == f"FAIL\t{n}\tuser=kim" for l in lines for n in range(1, 11))  # cancelled: no answer of their own
        assert not any(l.startswith("OK") and not l.startswith("OK\t50\t") for l in lines)
        c.close()


def test_tickets(client, inst):
    """A success can be turned into ids and mailbox once, on the connection it was won on, with that connection's cookie."""
    assert exchange(client, 1, "PLAIN", "kim", "secret").startswith("OK")
    other = Client(inst)
    other.send(f"REQUEST\t1\t1\t1\t{other.cookie}")
    assert other.line().startswith("FAIL\t1")
    other.send(f"REQUEST\t2\t1\t1\t{client.cookie}")
    assert other.line().startswith("FAIL\t2")
    other.close()
    client.send(f"REQUEST\t9\t1\t1\t{'0' * 32}")
    assert client.line().startswith("FAIL\t9")
    client.send(f"REQUEST\t10\t1\t1\t{client.cookie}")
    assert re.fullmatch(rf"USER\t10\tkim\tuid=5000\tgid=5001\tmail=maildir:/nowhere/%u\tticket={TICKET}", client.line())
    client.send(f"REQUEST\t11\t1\t1\t{client.cookie}")
    assert client.line().startswith("FAIL\t11")
    assert exchange(client, 2, "PLAIN", "lee", "secret").startswith("OK")
    client.send(f"REQUEST\t12\t1\t2\t{client.cookie}")
    assert re.fullmatch(rf"USER\t12\tlee\tuid=1234\tgid=1235\thome=/home/lee\tmail=mbox:/x:INBOX=/y\tticket={TICKET}", client.line())
    client.send("AUTH\t3\tLOGIN\tservice=x")
    assert client.line().startswith("CONT\t3")
    client.send(f"REQUEST\t13\t1\t3\t{client.cookie}")  # not a success yet
    assert client.line().startswith("FAIL\t13")


def redeem(inst, ticket, service, path=None):
    """As the monitor of `service` asks auth: (rc, user, uid), or None when auth hangs up. struct ticket_question, struct ticket_answer."""
    server, secret = ticket.split(".")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(20)
        s.connect(path or os.path.join(inst.queue, "private", "ticket." + server))  # auth sees who we are by now
        try:
            s.send(struct.pack("<I16s16s", 0x5449434b, bytes.fromhex(secret), service.encode()))
            got = s.recv(4096)
        except (BrokenPipeError, ConnectionResetError):
            return None
    if not got:
        return None
    magic, rc, echo, user, ident = struct.unpack_from("<Ii16s128sI", got)
    assert magic == 0x5449434b and echo.hex() == secret
    return rc, user.split(b"\0")[0].decode(), ident


def test_tickets_for_monitors(client, inst):
    """What a monitor hands in tells it whose process to start, once, for the service that the log-in was for; nobody else may ask."""
    def ticket(n, user, service):
        assert exchange(client, n, "PLAIN", user, "secret", service).startswith("OK")
        client.send(f"REQUEST\t{n}\t1\t{n}\t{client.cookie}")
        return client.line().rsplit("\tticket=", 1)[1]
    t, other = ticket(1, "lee", "imap"), ticket(2, "kim", "pop3")
    assert t != other
    forged = t[:-1] + ("0" if t[-1] != "0" else "1")
    assert redeem(inst, forged, "imap")[:2] == (4, "")
    assert redeem(inst, t, "pop3")[:2] == (4, "")
    if ROOT:
        private, name = os.path.join(inst.queue, "private"), "ticket." + t.split(".")[0]
        os.chmod(private, 0o711)  # only to get there at all
        os.chmod(os.path.join(private, name), 0o777)
        before = os.getcwd()
        os.chdir(private)
        os.seteuid(12345)
        try:
            assert redeem(inst, t, "imap", name) is None
        finally:
            os.seteuid(0)
            os.chdir(before)
            os.chmod(private, 0o700)
            os.chmod(os.path.join(private, name), 0o600)
        inst.wait_log("warning: tickets: a stranger asks: disconnected")
    assert redeem(inst, t, "imap") == (0, "lee", 1234)
    assert redeem(inst, t, "imap")[:2] == (4, "")
    assert redeem(inst, other, "pop3") == (0, "kim", 5000)
    assert len(inst.wait_log("warning: tickets: (imap|pop3): no such ticket, or spent", count=3)) == 3


def test_many_at_once(client):
    """200 exchanges in flight on one connection: each gets its own answer."""
    for n in range(1, 201):
        client.plain(n, "kim", "secret" if n % 2 else "wrong")
    got = {}
    while len(got) < 200:
        kind, number, *_ = client.line().split("\t")
        got[int(number)] = kind
    assert all(got[n] == ("OK" if n % 2 else "FAIL") for n in got)


def test_client_that_does_not_read(client, inst):
    """A client that asks and asks and never takes an answer is cut off in the end; it stops nobody else, and nothing is sent twice or torn."""
    deaf = Client(inst)
    deaf.sock.settimeout(0.5)
    sent = 0
    try:
        for n in range(1, 200000):
            deaf.send(f"CONT\t{n}\tAAAA")
            sent = n
    except OSError:
        pass
    assert exchange(client, 1, "PLAIN", "kim", "secret").startswith("OK")
    deaf.sock.settimeout(PATIENCE)
    seen = 0
    try:
        while seen < sent - 1:
            line = deaf.line().split("\t")
            seen += 1
            assert line[:2] == ["FAIL", str(seen)]
    except (EOFError, ConnectionError):
        pass
    assert seen > 0
    deaf.close()


def test_sasldb(client, inst):
    """Cyrus SASL's own database, written by saslpasswd2."""
    if not inst.have_sasldb:
        pytest.skip("saslpasswd2 is not installed")
    for mech in MECHS:
        assert exchange(client, 1, mech, "sam@example.test", "saslsecret").startswith("OK\t1\tuser=sam@example.test"), mech
        assert exchange(client, 2, mech, "sam@example.test", "wrong").startswith("FAIL\t2"), mech
        client.send("CANCEL\t1")
    assert exchange(client, 3, "PLAIN", "sam", "saslsecret").startswith("FAIL\t3")
    for n, user in enumerate(("rae", "rae@realm.test", "host"), 4):  # smtpd_sasl_local_domain, then the machine's name
        assert exchange(client, n, "PLAIN", user, "saslsecret").startswith(f"OK\t{n}\tuser={user}")
    assert exchange(client, 9, "PLAIN", "rae@example.test", "saslsecret").startswith("FAIL\t9")


def test_users_file_changes(client, inst):
    """A changed users file counts at once."""
    path = inst.main["auth_passwd_file"]
    with open(path, encoding="utf-8") as f:
        old = f.read()
    assert exchange(client, 1, "PLAIN", "new", "x").startswith("FAIL")
    with open(path, "a", encoding="utf-8") as f:
        f.write("new:{PLAIN}x\n")
    assert exchange(client, 2, "PLAIN", "new", "x").startswith("OK")
    os.rename(path, path + ".away")
    assert "temp" in exchange(client, 3, "PLAIN", "new", "x").split("\t")
    with open(path, "w", encoding="utf-8") as f:
        f.write(old)
    assert exchange(client, 4, "PLAIN", "new", "x").startswith("FAIL\t4\tuser=new")
    assert exchange(client, 5, "PLAIN", "kim", "secret").startswith("OK")


def parent(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        return int(f.read().rsplit(")", 1)[1].split()[1])


def keeper_pid(inst):
    """The child of a child of this instance's master, by its name."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as f:
                if f.read().strip() == "auth-keeper" and parent(parent(pid)) == inst.proc.pid:
                    return int(pid)
        except OSError:
            continue
    return None


def test_keeper_dies(inst):
    """When the process with the credentials ends, log-ins under way fail temporarily, and a fresh one takes over."""
    c = Client(inst)
    assert exchange(c, 1, "PLAIN", "kim", "secret").startswith("OK")
    os.kill(keeper_pid(inst), signal.SIGKILL)
    try:
        c.plain(2, "kim", "secret")
        assert "temp" in c.line().split("\t")
    except (EOFError, ConnectionError):
        pass
    c.close()

    def logged_in():
        try:
            return exchange(Client(inst), 1, "PLAIN", "kim", "secret").startswith("OK")
        except (EOFError, ConnectionError):
            return False
    assert until(logged_in), inst.log()


def test_reload_lets_idle_clients_go(inst):
    """After a reload the former process ends although clients keep their connections open."""
    c = Client(inst)
    assert exchange(c, 1, "PLAIN", "kim", "secret").startswith("OK")
    before = keeper_pid(inst)
    c.send("CANCEL\t1")
    assert inst.command("postern", "reload").returncode == 0
    assert c.closed()
    c.close()
    assert until(lambda: not os.path.exists(f"/proc/{before}"))
    c = Client(inst)
    assert exchange(c, 1, "PLAIN", "kim", "secret").startswith("OK")
    c.close()


@pytest.mark.skipif(not ROOT, reason="system accounts and PAM need root")
def test_pam(tmp_path):
    """System accounts through PAM; a user who is not there looks like a wrong password."""
    os.chmod(tmp_path, 0o755)
    user, service = f"posternpam{os.getpid()}", f"posterntest{os.getpid()}"
    subprocess.run(["userdel", user], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["useradd", "-M", "-d", "/nonexistent", "-s", "/usr/sbin/nologin", user], check=True)
    try:
        subprocess.run(["chpasswd"], input=f"{user}:pamsecret\n".encode(), check=True)
        with open(f"/etc/pam.d/{service}", "w", encoding="ascii") as f:
            f.write("auth required pam_unix.so\naccount required pam_unix.so\n")
        uid = pwd.getpwnam(user).pw_uid
        with Instance(str(tmp_path / "i"), listen=(), main={"auth_pam_service": service, "auth_sasldb_file": "", "auth_failure_delay": "0",
                                                              "auth_penalty_limit": "0"}) as i:
            i.wait_socket("private/auth")
            c = Client(i)
            assert exchange(c, 1, "PLAIN", user, "pamsecret").startswith(f"OK\t1\tuser={user}"), i.log()
            c.send(f"REQUEST\t1\t1\t1\t{c.cookie}")
            assert f"\tuid={uid}\t" in c.line()
            assert exchange(c, 2, "LOGIN", user, "pamsecret").startswith("OK")
            assert exchange(c, 3, "PLAIN", user, "wrong") == f"FAIL\t3\tuser={user}"
            assert exchange(c, 4, "PLAIN", "posternnobody", "wrong") == "FAIL\t4\tuser=posternnobody"
            c.close()
            assert "sandbox: denied" not in i.log()
    finally:
        subprocess.run(["userdel", user], check=False)
        os.unlink(f"/etc/pam.d/{service}")
