"""pop3d(8) against the real suite: RFC 1939 whole, CAPA (RFC 2449), STLS and implicit TLS (RFC 2595, 8314), SASL (RFC 5034), deletions at QUIT only, one
process per user with the user's rights, and Dovecot's log lines."""
import base64
import os
import poplib
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import threading
import time

import pytest

from instance import SBIN, Instance, scratch, until

MESSAGES = [b"From: a@example.org\nSubject: one\n\nhello\n.dot\n..two\nlast",
            b"Subject: two\r\n\r\nl1\r\nl2\r\nl3\r\n",
            b"Subject: three\n\n" + (b"x" * 900 + b"\n") * 80 + b".\n" + b"y\n" * 40000]


def wire(message):
    """The lines a client must see."""
    return message.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")


def octets(message):
    """With CRLF line ends, as it goes over the wire (without stuffed dots): RFC 1939 section 11."""
    return len(message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


@pytest.fixture(scope="module")
def inst():
    base = scratch("postern-pop3-")  # users' processes must be able to walk there: no tmp_path
    users = os.path.join(base, "i", "etc", "users")
    have_mail = all(os.path.exists(os.path.join(SBIN, p)) for p in ("smtpd", "virtual", "qmgr", "cleanup", "trivial-rewrite"))
    i = Instance(os.path.join(base, "i"), listen=("pop3", "pop3s") + (("smtp",) if have_mail else ()), main={
        "auth_passwd_file": users, "auth_sasldb_file": "", "auth_pam_service": "", "auth_failure_delay": "0", "auth_penalty_limit": "0",
        "auth_mechanisms": "plain login cram-md5 scram-sha-256", "pop3d_user_session_limit": "8",
        "smtpd_tls_cert_file": os.path.join(base, "i", "etc", "cert.pem"), "smtpd_tls_key_file": os.path.join(base, "i", "etc", "key.pem"),
        "virtual_mailbox_domains": "virtual.test", "virtual_mailbox_base": os.path.join(base, "i", "mail"),
        "virtual_mailbox_maps": "inline:{ vic@virtual.test=virtual.test/vic/ }", "virtual_uid_maps": None, "virtual_gid_maps": None})
    i.main["virtual_uid_maps"] = f"static:{i.uid}"
    i.main["virtual_gid_maps"] = f"static:{i.gid}"
    i.have_mail, i.told = have_mail, "\0"
    names = ["kim", "lee", "max", "ann", "bob", "far"]
    i.write("users", "".join(f"{n}:{{PLAIN}}secret of {n}:{i.uid}:{i.gid}::{i.mail}/home/{n}::userdb_mail=maildir:{i.mail}/{n}\n" for n in names) +
            f"box:{{PLAIN}}secret of box:{i.uid}:{i.gid}::{i.mail}/home/box::userdb_mail=mbox:{i.mail}/boxes/box:INBOX={i.mail}/spool/box\n"
            "vic@virtual.test:{PLAIN}secret of vic\n" "root:{PLAIN}secret of root:0:0::/root::userdb_mail=maildir:/root/Maildir\n")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", i.config + "/key.pem",
                    "-out", i.config + "/cert.pem", "-subj", "/CN=mail.example.test", "-days", "30", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, stderr=subprocess.DEVNULL)
    os.makedirs(i.mail, exist_ok=True)
    for n in ("spool", "boxes"):
        os.makedirs(os.path.join(i.mail, n))
    i.start()
    yield i
    i.stop()
    log = i.log().replace(i.told, "")
    shutil.rmtree(base)
    assert "sandbox: denied" not in log, re.findall(".*sandbox: denied.*", log)
    assert "panic" not in log
    assert "killed by signal" not in log


def fill(inst, user, messages=MESSAGES):
    """A Maildir with these messages and no others; foreign names, as another program would have written them."""
    path = os.path.join(inst.mail, user)
    for d in ("new", "cur", "tmp"):
        os.makedirs(os.path.join(path, d), exist_ok=True)
        for name in os.listdir(os.path.join(path, d)):
            os.unlink(os.path.join(path, d, name))
    for n, m in enumerate(messages):
        fill.count += 1
        with open(os.path.join(path, "new", f"{fill.count}.M{n}.host"), "wb") as f:
            f.write(m)
    own(inst, path)


fill.count = 1000000


def own(inst, path):
    if inst.root:
        for top, dirs, files in os.walk(path):
            for n in [top] + [os.path.join(top, f) for f in dirs + files]:
                os.chown(n, inst.uid, inst.gid)


def connect(inst):
    return poplib.POP3("127.0.0.1", inst.port["pop3"], timeout=60)


def login(inst, user):
    p = connect(inst)
    p.user(user)
    p.pass_("secret of " + user.split("@")[0])
    return p


def try_login(inst, user):
    try:
        return login(inst, user).quit()
    except poplib.error_proto:
        return None


def raw(inst):
    s = socket.create_connection(("127.0.0.1", inst.port["pop3"]), 60)
    return s, s.makefile("rb")


def context(inst):
    return ssl.create_default_context(cafile=inst.config + "/cert.pem")


def files(inst, user):
    return sorted(os.listdir(os.path.join(inst.mail, user, "new")) + os.listdir(os.path.join(inst.mail, user, "cur")))


def test_commands(inst):
    """RFC 1939 sections 5 and 7: STAT, LIST, RETR, TOP, UIDL, DELE, RSET, NOOP, with sizes that count CRLF."""
    fill(inst, "kim")
    p = login(inst, "kim")
    sizes = [octets(m) for m in MESSAGES]
    assert p.stat() == (3, sum(sizes))
    assert p.list()[1] == [f"{i + 1} {s}".encode() for i, s in enumerate(sizes)]
    assert p.list(2) == f"+OK 2 {sizes[1]}".encode()
    for i, m in enumerate(MESSAGES):
        assert p.retr(i + 1)[1] == wire(m)
    assert p.top(2, 2)[1] == [b"Subject: two", b"", b"l1", b"l2"]
    assert p.top(1, 0)[1] == [b"From: a@example.org", b"Subject: one", b""]
    assert p.top(3, 50000)[1] == wire(MESSAGES[2])
    ids = [l.split()[1] for l in p.uidl()[1]]
    assert len(set(ids)) == 3 and all(re.fullmatch(rb"[0-9a-f]{16}", i) for i in ids)
    assert p.uidl(3).split()[2] == ids[2]
    p.dele(2)
    assert p.stat() == (2, sizes[0] + sizes[2])
    assert [l.split()[0] for l in p.list()[1]] == [b"1", b"3"]
    for call in (p.retr, p.list, p.uidl, p.dele):
        with pytest.raises(poplib.error_proto):
            call(2)
    p.rset()
    assert p.stat()[0] == 3
    p.noop()
    for n in (0, 4, 4294967295):
        with pytest.raises(poplib.error_proto):
            p.retr(n)
    p.quit()
    p = login(inst, "kim")
    assert [l.split()[1] for l in p.uidl()[1]] == ids  # stable across sessions
    p.quit()


def test_deletion_at_quit_only(inst):
    """RFC 1939 sections 3 and 6: a lost connection deletes nothing, QUIT does, and numbers of the rest are new."""
    fill(inst, "kim")
    p = login(inst, "kim")
    p.dele(1)
    p.dele(3)
    p.close()
    inst.wait_log(r"pop3\(kim\)<\d+><[^>]*>: Disconnected: Connection closed ")
    assert len(files(inst, "kim")) == 3
    p = login(inst, "kim")
    assert p.stat()[0] == 3
    p.dele(1)
    p.dele(3)
    assert p.quit() == b"+OK Logging out, messages deleted."
    assert len(files(inst, "kim")) == 1
    p = login(inst, "kim")
    assert p.retr(1)[1] == wire(MESSAGES[1])
    p.quit()


def test_two_sessions(inst):
    """Sessions do not lock each other out; what one deletes, the other misses, and deleting it once more is harmless."""
    fill(inst, "lee")
    a, b = login(inst, "lee"), login(inst, "lee")
    a.dele(1)
    a.quit()
    with pytest.raises(poplib.error_proto, match="SYS/TEMP"):
        b.retr(1)
    assert b.retr(2)[1] == wire(MESSAGES[1])
    b.dele(1)
    b.dele(2)
    b.quit()
    assert len(files(inst, "lee")) == 1


def test_one_process_per_user(inst):
    """All connections of a user are served by one process, which has his uid, no capabilities, and a filter."""
    fill(inst, "max")
    fill(inst, "ann")
    sessions = [login(inst, u) for u in ("max", "max", "ann")]
    lines = inst.wait_log(r"pop3-login: Login: user=<(max|ann)>.* mpid=(\d+), ", count=3)
    of_max, of_ann = ({m.group(2) for m in lines if m.group(1) == u} for u in ("max", "ann"))
    assert len(of_max) == 1 and len(of_ann) == 1 and of_max != of_ann
    (pid,) = of_max
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        status = dict(l.rstrip("\n").split(":\t", 1) for l in f if ":\t" in l)
    assert set(status["Uid"].split()) == {str(inst.uid)}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0
    for p in sessions:
        p.quit()
    assert until(lambda: not os.path.exists(f"/proc/{pid}"))  # it goes when nobody came back


def test_session_limit(inst):
    """pop3d_user_session_limit: the ninth connection of a user is refused with [IN-USE], and one is free again after QUIT."""
    fill(inst, "ann")
    sessions = [login(inst, "ann") for _ in range(8)]
    with pytest.raises(poplib.error_proto, match="IN-USE"):
        login(inst, "ann")
    for p in sessions:
        p.quit()
    assert until(lambda: try_login(inst, "ann"))


def test_wrong_passwords(inst):
    """One answer for a wrong password and for an unknown user, with [AUTH] (RFC 3206); PASS needs a USER of its own."""
    answers = set()
    for user in ("kim", "nobody"):
        p = connect(inst)
        p.user(user)
        with pytest.raises(poplib.error_proto) as e:
            p.pass_("wrong")
        answers.add(e.value.args[0])
        with pytest.raises(poplib.error_proto, match="USER"):
            p.pass_("secret of kim")
        p.user("kim")
        p.pass_("secret of kim")
        p.quit()
    assert answers == {b"-ERR [AUTH] Authentication failed."}


def test_root_is_refused(inst):
    """Nobody's mail is read as root, whatever the users file says."""
    if not inst.root:
        pytest.skip("in one-uid mode the monitor has no root to give")
    with pytest.raises(poplib.error_proto, match="SYS/TEMP"):
        login(inst, "root")


def test_capa(inst):
    """RFC 2449: what is listed is there; STLS is gone under TLS; IMPLEMENTATION."""
    p = connect(inst)
    before = p.capa()
    assert {"TOP", "USER", "UIDL", "RESP-CODES", "PIPELINING", "STLS", "SASL", "AUTH-RESP-CODE", "IMPLEMENTATION"} <= set(before)
    assert before["SASL"] == ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"]
    p.stls(context(inst))
    assert "STLS" not in p.capa()
    with pytest.raises(poplib.error_proto):
        p._shortcmd("STLS")
    fill(inst, "kim")
    p.user("kim")
    p.pass_("secret of kim")
    assert {"TOP", "UIDL", "PIPELINING"} <= set(p.capa())
    assert p.stat()[0] == 3
    assert p.retr(3)[1] == wire(MESSAGES[2])
    p.quit()
    inst.wait_log(r"pop3-login: Login: user=<kim>, method=PLAIN, rip=127\.0\.0\.1, lip=127\.0\.0\.1, mpid=\d+, TLS, session=<[^>]+>$")
    inst.wait_log(r"pop3\(kim\)<\d+><[^>]+>: Disconnected: Logged out top=0/0, retr=1/\d+, del=0/3, size=\d+$")


def test_implicit_tls(inst):
    """RFC 8314: TLS from the first byte on its own port; a client that speaks clear text gets nothing."""
    fill(inst, "kim")
    p = poplib.POP3_SSL("127.0.0.1", inst.port["pop3s"], context=context(inst), timeout=60)
    p.user("kim")
    p.pass_("secret of kim")
    assert p.retr(1)[1] == wire(MESSAGES[0])
    p.quit()
    s = socket.create_connection(("127.0.0.1", inst.port["pop3s"]), 60)
    s.sendall(b"USER kim\r\nPASS secret of kim\r\n")
    assert not s.recv(100).startswith(b"+OK")
    s.close()


def test_injection_before_tls(inst):
    """RFC 2595 section 4: commands sent behind STLS in clear text are neither run nor kept for after the handshake."""
    s, f = raw(inst)
    f.readline()
    s.sendall(b"STLS\r\nUSER kim\r\nPASS secret of kim\r\n")
    rest = f.read()
    assert rest.startswith(b"-ERR") and b"+OK" not in rest
    s.close()


@pytest.mark.parametrize("mech", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_curl(inst, mech):
    """curl logs in with every mechanism, in clear text on loopback and over TLS."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    fill(inst, "kim")
    for url in (f"pop3://127.0.0.1:{inst.port['pop3']}/1", f"pop3s://127.0.0.1:{inst.port['pop3s']}/1"):
        r = subprocess.run(["curl", "-sS", "--cacert", inst.config + "/cert.pem", "--login-options", "AUTH=" + mech, "-u", "kim:secret of kim", url],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert r.returncode == 0, r.stderr
        assert r.stdout.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n") == wire(MESSAGES[0])


def test_sasl_dialogue(inst):
    """RFC 5034: with and without initial response, empty initial response, cancel, bad base64, unknown mechanism; then still a good log-in."""
    fill(inst, "kim")
    s, f = raw(inst)
    f.readline()
    def ask(line):
        s.sendall(line + b"\r\n")
        return f.readline().strip()
    assert ask(b"AUTH PLAIN") == b"+"
    assert ask(b"*").startswith(b"-ERR")
    assert ask(b"AUTH NO-SUCH").startswith(b"-ERR [AUTH]")
    assert ask(b"AUTH PLAIN !!!").startswith(b"-ERR")
    assert ask(b"AUTH PLAIN =").startswith(b"-ERR")
    assert ask(b"AUTH PLAIN") == b"+"
    assert ask(b"not base64").startswith(b"-ERR")
    assert ask(b"AUTH PLAIN " + base64.b64encode(b"\0kim\0wrong")).startswith(b"-ERR [AUTH]")
    assert ask(b"AUTH PLAIN " + base64.b64encode(b"\0kim\0secret of kim")) == b"+OK Logged in."
    assert ask(b"AUTH PLAIN =").startswith(b"-ERR")
    assert ask(b"QUIT").startswith(b"+OK")
    s.close()


def test_pipelining(inst):
    """RFC 2449 section 6.6: a whole session in one packet, log-in included, and half-closed at once."""
    fill(inst, "bob")
    s, f = raw(inst)
    s.sendall(b"CAPA\r\nUSER bob\r\nPASS secret of bob\r\nSTAT\r\nRETR 2\r\nDELE 2\r\nNOOP\r\nQUIT\r\n")
    s.shutdown(socket.SHUT_WR)
    got = f.read()
    assert got.endswith(b"+OK Marked to be deleted.\r\n+OK\r\n+OK Logging out, messages deleted.\r\n"), got
    assert b"l1\r\nl2\r\nl3\r\n.\r\n" in got
    s.close()
    assert len(files(inst, "bob")) == 2


def test_bad_input(inst):
    """Overlong lines, NUL, bare garbage: an -ERR each, an end after too many, before log-in and after it."""
    fill(inst, "kim")
    for before in (b"", b"USER kim\r\nPASS secret of kim\r\n"):
        s, f = raw(inst)
        s.sendall(before + b"X" * 100000 + b"\r\n" + b"ST\0AT\r\n" + b"\xff\xfe\r\n" * 40)
        got = f.read()
        assert b"Too many bad commands" in got
        assert got.count(b"-ERR") <= 25
        s.close()
    p = login(inst, "kim")
    assert p.stat()[0] == 3
    p.quit()


def test_plaintext_needs_tls(tmp_path):
    """A password without TLS from another host is refused before it is asked for, and USER and PLAIN are not offered; CRAM-MD5 is."""
    space, near, far = (f"pop3{w}{os.getpid()}" for w in ("n", "a", "b"))
    net = f"198.18.{os.getpid() // 64 % 256}.{os.getpid() % 64 * 4}"  # of this run
    here, there = (net.rsplit(".", 1)[0] + f".{os.getpid() % 64 * 4 + k}" for k in (1, 2))
    address = next((l.split()[3].split("/")[0] for l in subprocess.run(["ip", "-o", "-4", "addr"], stdout=subprocess.PIPE, check=False).stdout.decode()
                    .splitlines() if " lo " not in l), None)
    if os.getuid() != 0 or subprocess.run(["ip", "netns", "add", space], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("needs root and network namespaces for a second host")
    assert address or True
    def ip(*words):
        subprocess.run(["ip", *words], check=True)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far)
        ip("link", "set", far, "netns", space)
        ip("addr", "add", here + "/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", space, "addr", "add", there + "/30", "dev", far)
        ip("-n", space, "link", "set", far, "up")
        os.chmod(tmp_path, 0o755)
        i = Instance(str(tmp_path / "i"), listen=("pop3",), host=here, main={
            "auth_passwd_file": str(tmp_path / "i" / "etc" / "users"), "auth_sasldb_file": "", "auth_pam_service": "",
            "auth_mechanisms": "plain cram-md5", "inet_interfaces": "all"})
        i.write("users", "kim:{PLAIN}secret:5000:5000::/nowhere\n")
        with i:
            client = ("import socket\ns = socket.create_connection(('%s', %d), 60)\n"
                      "s.sendall(b'CAPA\\r\\nUSER kim\\r\\nPASS secret\\r\\nAUTH PLAIN AGtpbQBzZWNyZXQ=\\r\\nQUIT\\r\\n')\n"
                      "print(s.makefile().read())\n" % (here, i.port["pop3"]))
            out = subprocess.run(["ip", "netns", "exec", space, "/usr/bin/python3", "-c", client], stdout=subprocess.PIPE, check=True).stdout.decode()
            assert "SASL CRAM-MD5\n" in out and "USER\n" not in out, out
            assert out.count("-ERR [AUTH] Plaintext") == 2 and "Logged in" not in out, out
            assert "Login:" not in i.log()
    finally:
        subprocess.run(["ip", "link", "del", near], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["ip", "netns", "del", space], check=False)


def test_mbox(inst):
    """An mbox spool: the same commands, and the file without what was deleted; other folders' place is made when missing."""
    path = os.path.join(inst.mail, "spool", "box")
    with open(path, "wb") as f:
        for n in range(3):
            f.write(b"From a@example.org Sat Nov 21 10:00:00 2026\nSubject: m%d\n\n>From here\n.\n\n" % n)
    own(inst, os.path.join(inst.mail, "spool"))
    own(inst, os.path.join(inst.mail, "boxes"))
    p = login(inst, "box")
    assert p.stat()[0] == 3
    lines = p.retr(2)[1]
    assert lines[0] == b"Subject: m1" and lines[-1] == b"."
    assert sum(len(l) + 2 for l in lines) == int(p.list(2).split()[2])
    p.dele(2)
    p.quit()
    with open(path, "rb") as f:
        assert re.findall(rb"^Subject: (.*)$", f.read(), re.M) == [b"m0", b"m2"]


def test_no_mailbox_yet(inst):
    """A user who never got mail has an empty mailbox, made with his rights."""
    shutil.rmtree(os.path.join(inst.mail, "far"), ignore_errors=True)
    p = login(inst, "far")
    assert p.stat() == (0, 0)
    assert p.list()[1] == [] and p.uidl()[1] == []
    p.quit()
    assert os.stat(os.path.join(inst.mail, "far")).st_uid == inst.uid


def test_smtp_to_pop3(inst):
    """A message that came by SMTP to a virtual mailbox is there for a user of whom auth knows the password only: ids and path come from
    the tables of virtual(8)."""
    if not inst.have_mail:
        pytest.skip("the delivery side is not built")
    body = "Subject: by mail\r\n\r\n.dot\r\nFrom here\r\n"
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=60) as s:
        s.sendmail("a@example.org", ["vic@virtual.test"], body)
    inst.wait_log(r"to=<vic@virtual\.test>.*status=sent")
    p = login(inst, "vic@virtual.test")
    assert p.stat()[0] == 1
    lines = p.retr(1)[1]
    assert lines[-3:] == [b"", b".dot", b"From here"]
    assert sum(len(l) + 2 for l in lines) == p.stat()[1]
    p.dele(1)
    p.quit()


def test_many_clients(inst):
    """40 clients at once, 8 users' worth of work, every one served in full."""
    fill(inst, "kim")
    fill(inst, "lee")
    errors = []
    def client(n):
        try:
            for _ in range(3):
                while True:
                    try:
                        p = login(inst, ("kim", "lee")[n % 2])
                        break
                    except poplib.error_proto as e:
                        if b"IN-USE" not in e.args[0]:
                            raise
                        time.sleep(0.02)
                assert p.retr(3)[1] == wire(MESSAGES[2])
                p.quit()
        except Exception as e:  # told by the main thread
            errors.append(repr(e))
    threads = [threading.Thread(target=client, args=(n,)) for n in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def test_reload_keeps_sessions(inst):
    """A reload drops nobody: an open session goes on, also for deletions, and new ones are served by new processes."""
    fill(inst, "kim")
    p = login(inst, "kim")
    p.dele(1)
    assert inst.command("postern", "reload").returncode == 0
    inst.wait_log("master.*: reload")
    q = login(inst, "kim")
    assert q.stat()[0] == 3
    q.quit()
    assert p.stat()[0] == 2
    p.quit()
    assert len(files(inst, "kim")) == 2


def test_disconnect_lines(inst):
    """The log says why somebody went who never logged in, in the words that log readers know."""
    p = connect(inst)
    p.quit()
    inst.wait_log(r"pop3-login: Disconnected: Aborted login by logging out \(no auth attempts in \d+ secs\): user=<>, rip=127\.0\.0\.1, "
                  r"lip=127\.0\.0\.1, secured, session=<[^>]+>$")
    p = connect(inst)
    p.user("kim")
    with pytest.raises(poplib.error_proto):
        p.pass_("wrong")
    p.close()
    inst.wait_log(r"pop3-login: Disconnected: Connection closed \(auth failed, 1 attempts in \d+ secs\): user=<kim>, method=PLAIN, rip=127\.0\.0\.1, "
                  r"lip=127\.0\.0\.1, secured, session=<[^>]+>$")


def test_mailbox_made_anew(inst):
    """A mailbox that was removed and made again while its user's process still ran: the process sees the former directory only, so
    it gives up, and the next log-in works."""
    fill(inst, "bob")
    login(inst, "bob").quit()
    shutil.rmtree(os.path.join(inst.mail, "bob"))
    fill(inst, "bob", MESSAGES[:1])
    assert until(lambda: try_login(inst, "bob"))
    p = login(inst, "bob")
    assert p.stat()[0] == 1
    p.quit()


def test_user_process_dies(inst):
    """When a user's process is killed, his connections end, and the next log-in gets a new one."""
    fill(inst, "kim")
    lines = r"pop3-login: Login: user=<kim>.* mpid=(\d+)"
    before = len(re.findall(lines, inst.log()))
    p = login(inst, "kim")
    pid = int(inst.wait_log(lines, count=before + 1)[-1].group(1))
    os.kill(pid, 9)
    with pytest.raises((poplib.error_proto, OSError)):
        p.stat()
        p.stat()
    q = login(inst, "kim")
    assert q.stat()[0] == 3
    q.quit()
    inst.told = f"process {pid} of a user killed by signal 9"
    inst.wait_log(inst.told)
