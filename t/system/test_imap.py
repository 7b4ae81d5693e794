"""imapd(8) under master: log-in, TLS, the process of a user, and the habits of real clients (RFC 3501, 2177, 4315, 6851, 6154)."""
import imaplib
import os
import re
import shutil
import socket
import ssl
import subprocess

import pytest

from instance import PATIENCE, Instance, readable, scratch, until

USER, PASSWORD = "u1@example.test", "pa ss\"1"
OTHER, OTHERPASS = "u2@example.test", "secret2"
MESSAGE = (b"From: A <a@example.org>\r\nTo: b@example.org\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n"
           b"Date: Sat, 21 Nov 2026 09:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nfirst line\r\nlast line\r\n")


def certificate(directory):
    os.makedirs(directory, exist_ok=True)
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3", "-keyout", key,
                    "-out", cert, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.chmod(key, 0o600)
    return cert, key


@pytest.fixture(scope="module")
def inst():
    base = scratch("postern-imap-")
    cert, key = certificate(os.path.join(base, "tls"))
    i = Instance(os.path.join(base, "i"), listen=("imap", "imaps"), drop={"local", "virtual"}, main={
        "smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key, "auth_passwd_file": os.path.join(base, "i/etc/users"),
        "auth_failure_delay": "0s", "auth_mechanisms": "plain login", "auth_sasldb_file": "", "auth_pam_service": ""})
    os.makedirs(i.config, exist_ok=True)
    lines = ""
    for u, p in ((USER, PASSWORD), (OTHER, OTHERPASS)):
        home = os.path.join(i.mail, u)
        os.makedirs(home)
        os.chown(home, i.uid, i.gid)
        lines += f"{u}:{{PLAIN}}{p}:{i.uid}:{i.gid}::{home}::userdb_mail=maildir:~/Maildir\n"
    i.write("users", lines, 0o600)
    with i:
        yield i
    shutil.rmtree(base, ignore_errors=True)


def maildir(i, user=USER):
    return os.path.join(i.mail, user, "Maildir")


def login(i, user=USER, password=PASSWORD):
    m = imaplib.IMAP4(i.host, i.port["imap"])
    m.login(user, password)
    return m


def empty(m):
    m.select("INBOX")
    m.store("1:*", "+FLAGS.SILENT", "\\Deleted") if m.search(None, "ALL")[1][0] else None
    m.expunge()


def test_login_and_log_lines_have_dovecots_shape(inst):
    """Who logs in, how and from where stands in one line, as fail2ban and logwatch read it; so does the end with its figures."""
    m = login(inst)
    assert "MOVE" in m.capabilities or "MOVE" in m.capability()[1][0].decode()
    m.logout()
    inst.wait_log(r"imap-login: Login: user=<u1@example\.test>, method=PLAIN, rip=127\.0\.0\.1, lip=127\.0\.0\.1, mpid=\d+, secured, session=<\S+>")
    inst.wait_log(r"imap\(u1@example\.test\)<\d+><\S+>: Disconnected: Logged out in=\d+ out=\d+ deleted=0 expunged=0")


def test_wrong_password_is_refused_and_logged(inst):
    """RFC 5530 AUTHENTICATIONFAILED; the session may try again."""
    m = imaplib.IMAP4(inst.host, inst.port["imap"])
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        m.login(USER, "wrong")
    m.login(USER, PASSWORD)
    m.logout()
    m = imaplib.IMAP4(inst.host, inst.port["imap"])
    with pytest.raises(imaplib.IMAP4.error):
        m.login("nobody@example.test", "x")
    m.logout()
    inst.wait_log(r"imap-login: Disconnected: .*\(auth failed, 1 attempts in \d+ secs\): user=<nobody@example\.test>, method=PLAIN, rip=")


def test_plain_password_off_the_host_needs_tls(inst):
    """RFC 3501 6.2.3: LOGINDISABLED and PRIVACYREQUIRED for a client on another address without TLS."""
    s = socket.create_connection((inst.host, inst.port["imap"]), source_address=("127.0.0.77", 0))
    f = s.makefile("rwb")
    greeting = f.readline()
    assert b"LOGINDISABLED" in greeting and b"STARTTLS" in greeting and b"AUTH=PLAIN" not in greeting
    f.write(b"a LOGIN %s x\r\nb AUTHENTICATE PLAIN AHgAeA==\r\n" % USER.encode())
    f.flush()
    lines = [f.readline() for _ in range(4)]
    assert sum(b"NO [PRIVACYREQUIRED]" in l for l in lines) == 2, lines
    s.close()


def test_starttls_and_implicit_tls(inst):
    """RFC 3501 6.2.1, RFC 8314: the same mailbox through both."""
    ctx = ssl._create_unverified_context()
    m = imaplib.IMAP4(inst.host, inst.port["imap"])
    m.starttls(ctx)
    m.login(USER, PASSWORD)
    assert m.select("INBOX")[0] == "OK"
    m.logout()
    inst.wait_log(r"imap-login: Login: user=<u1@example\.test>, .*, TLS, session=")
    m = imaplib.IMAP4_SSL(inst.host, inst.port["imaps"], ssl_context=ctx)
    m.login(USER, PASSWORD)
    empty(m)
    assert m.append("INBOX", None, None, MESSAGE)[0] == "OK"
    m.select("INBOX")
    assert m.fetch("1", "(RFC822)")[1][0][1] == MESSAGE
    m.logout()


def test_commands_before_the_tls_handshake_are_not_taken_for_protected(inst):
    """What follows STARTTLS in clear text ends the session (RFC 2595 section 4)."""
    s = socket.create_connection((inst.host, inst.port["imap"]))
    f = s.makefile("rwb")
    f.readline()
    f.write(b"a STARTTLS\r\nb LOGIN x y\r\n")
    f.flush()
    assert b"a BAD" in f.readline()
    assert f.readline() == b""
    s.close()


def test_pipelined_commands_survive_the_hand_over(inst):
    """Input read by the front together with LOGIN reaches the user's process, in order (RFC 3501 5.5)."""
    s = socket.create_connection((inst.host, inst.port["imap"]))
    f = s.makefile("rwb")
    f.readline()
    f.write(b"z NOOP\r\na AUTHENTICATE PLAIN %s\r\nb SELECT INBOX\r\nc NOOP\r\nd LOGOUT\r\n" %
            __import__("base64").b64encode(b"\0" + USER.encode() + b"\0" + PASSWORD.encode()))
    f.flush()
    tags = [l.split()[0] for l in f.read().splitlines() if not l.startswith(b"*")]
    assert tags == [b"z", b"a", b"b", b"c", b"d"]


def test_one_confined_process_serves_all_sessions_of_a_user(inst):
    """One process per user, with the user's uid, seccomp and no way to new privileges."""
    of_one, of_other = (rf"Login: user=<{u}@.*mpid=(\d+)" for u in ("u1", "u2"))
    before = [len(re.findall(p, inst.log())) for p in (of_one, of_other)]
    a, b, c = login(inst), login(inst), login(inst, OTHER, OTHERPASS)
    pids = [int(x.group(1)) for x in inst.wait_log(of_one, count=before[0] + 2)[-2:]]
    other = int(inst.wait_log(of_other, count=before[1] + 1)[-1].group(1))
    assert pids[0] == pids[1] != other
    status = open(f"/proc/{pids[0]}/status", encoding="ascii").read()
    assert re.search(rf"^Uid:\t{inst.uid}\t{inst.uid}\t{inst.uid}", status, re.M)
    assert re.search(r"^Seccomp:\t2", status, re.M) and re.search(r"^NoNewPrivs:\t1", status, re.M)
    assert re.search(r"^CapEff:\t0+$", status, re.M)
    for m in (a, b, c):
        m.logout()


def test_idle_hears_of_a_delivery_and_of_another_session(inst):
    """RFC 2177: EXISTS for a file that appears in new/, and flags that another session sets."""
    m, other = login(inst), login(inst)
    empty(m)
    m.send(b"i IDLE\r\n")
    assert m.readline().startswith(b"+")
    tmp = os.path.join(maildir(inst), "tmp/1.x.h")
    with open(tmp, "wb") as f:
        f.write(MESSAGE.replace(b"\r\n", b"\n"))
    os.chown(tmp, inst.uid, inst.gid)
    os.rename(tmp, os.path.join(maildir(inst), "new/1.x.h"))
    assert readable(m.sock, PATIENCE)
    assert m.readline() == b"* 1 EXISTS\r\n"
    assert m.readline() == b"* 1 RECENT\r\n"
    other.select("INBOX")
    other.store("1", "+FLAGS", "\\Flagged")
    assert readable(m.sock, PATIENCE)
    assert b"\\Flagged" in m.readline()
    m.send(b"DONE\r\n")
    assert m.readline().startswith(b"i OK")
    m.logout()
    other.logout()
    assert any(n.endswith(":2,F") for n in os.listdir(os.path.join(maildir(inst), "cur")))


def test_uids_of_dovecot_are_kept(inst):
    """A Maildir with dovecot-uidlist and dovecot-keywords keeps UIDVALIDITY, UIDs and keywords (first sight)."""
    root = os.path.join(maildir(inst, OTHER), ".old")
    for d in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(root, d))
    for n, flags in (("1000.a.h", ":2,S"), ("1001.b.h", ":2,Fa"), ("1002.c.h", ":2,")):
        with open(os.path.join(root, "cur", n + flags), "wb") as f:
            f.write(b"Subject: x\n\nbody\n")
    with open(os.path.join(root, "dovecot-uidlist"), "w", encoding="ascii") as f:
        f.write("3 V1234567 N105 G0123456789abcdef0123456789abcdef\n77 :1000.a.h\n101 W20 :1001.b.h\n")
    with open(os.path.join(root, "dovecot-keywords"), "w", encoding="ascii") as f:
        f.write("0 $Label1\n")
    for where, dirs, files in os.walk(maildir(inst, OTHER)):
        for n in [where] + [os.path.join(where, x) for x in files]:
            os.chown(n, inst.uid, inst.gid)
    m = login(inst, OTHER, OTHERPASS)
    assert m.select("old")[1] == [b"3"]
    assert m.response("UIDVALIDITY")[1] == [b"1234567"]
    data = [x.decode() for x in m.fetch("1:3", "(UID FLAGS)")[1]]
    assert ["UID 77 " in data[0], "UID 101 " in data[1], "UID 105 " in data[2]] == [True] * 3, data
    assert "\\Seen" in data[0] and "$Label1" in data[1] and "\\Flagged" in data[1]
    m.close()
    for n in os.listdir(root):  # the index is expendable
        if n.startswith("postern"):
            os.unlink(os.path.join(root, n))
    m.select("old")
    assert m.response("UIDVALIDITY")[1] == [b"1234567"]
    assert [re.search(r"UID (\d+)", x.decode()).group(1) for x in m.fetch("1:3", "(UID)")[1]] == ["77", "101", "105"]
    m.logout()


def test_folders_special_use_copy_and_move(inst):
    """RFC 6154 attributes, RFC 4315 COPYUID, RFC 6851 MOVE, rename of a tree, subscriptions."""
    m = login(inst)
    listing = b"\n".join(m.list()[1])
    for use in (b"\\Drafts", b"\\Sent", b"\\Trash", b"\\Junk"):
        assert use in listing
    empty(m)
    for _ in range(3):
        m.append("INBOX", "\\Seen", None, MESSAGE)
    m.select("INBOX")
    m.create("tree.leaf")
    assert b"[COPYUID" in m.copy("1:2", "tree.leaf")[1][0]
    assert m._simple_command("MOVE", "3", "tree.leaf")[0] == "OK"
    assert m.response("EXPUNGE")[1] == [b"3"]
    assert m.rename("tree", "wood")[0] == "OK"
    assert b"MESSAGES 3" in m.status("wood.leaf", "(MESSAGES)")[1][0]
    m.subscribe("wood.leaf")
    assert any(b"wood.leaf" in x for x in m.lsub('""', "*")[1])
    assert m.delete("wood.leaf")[0] == "OK"
    m.logout()


def test_search_fetch_and_flags(inst):
    """SEARCH in decoded headers with CHARSET UTF-8, partial fetches, ENVELOPE, keywords (RFC 3501 6.4.4, 6.4.5, 6.4.6)."""
    m = login(inst)
    empty(m)
    m.append("INBOX", "$Todo", None, MESSAGE)
    m.select("INBOX")
    m.literal = "GRÜSSE".encode().replace("SS".encode(), "ß".encode())
    assert m._simple_command("SEARCH", "CHARSET", "UTF-8", "SUBJECT")[0] == "OK"
    assert m.response("SEARCH")[1] == [b"1"]
    assert m.search(None, "KEYWORD $Todo BODY \"LAST LINE\" NOT FLAGGED")[1] == [b"1"]
    assert m.search(None, "OR DELETED (FROM nobody)")[1] == [b""]
    assert m.fetch("1", "(BODY.PEEK[TEXT]<6.4>)")[1][0][1] == b"line"
    assert b'("A" NIL "a" "example.org")' in m.fetch("1", "(ENVELOPE)")[1][0]
    assert b"\\Seen" not in m.fetch("1", "(FLAGS)")[1][0]
    assert b"\\Seen" in m.fetch("1", "(BODY[TEXT])")[1][0][0] + m.fetch("1", "(FLAGS)")[1][0]
    assert m._simple_command("SEARCH", "CHARSET", "KLINGON", "ALL")[0] == "NO"
    m.logout()


def test_curl_reads_and_appends(inst, tmp_path):
    """curl's IMAP: LOGIN or AUTHENTICATE with SASL-IR, FETCH by UID, APPEND."""
    if not shutil.which("curl"):
        pytest.skip("no curl")
    m = login(inst)
    empty(m)
    msg = tmp_path / "m"
    msg.write_bytes(MESSAGE)
    url = f"imap://{inst.host}:{inst.port['imap']}/INBOX"
    auth = ["curl", "-sS", "-u", f"{USER}:{PASSWORD}"]
    subprocess.run(auth + ["-T", str(msg), url], check=True, timeout=30)
    m.select("INBOX")
    uid = re.search(rb"UID (\d+)", m.fetch("1", "(UID)")[1][0]).group(1).decode()
    out = subprocess.run(auth + [f"{url};UID={uid}"], check=True, timeout=30, stdout=subprocess.PIPE).stdout
    assert out == MESSAGE
    m.logout()


def test_hostile_input_ends_nothing_but_itself(inst):
    """Huge literals, deep nesting, endless patterns: refused within bounds; other sessions go on."""
    m = login(inst)
    m.select("INBOX")
    s = socket.create_connection((inst.host, inst.port["imap"]))
    f = s.makefile("rwb")
    f.readline()
    f.write(b"a LOGIN {99999999999+}\r\n")
    f.flush()
    assert b"BYE" in f.readline()
    s.close()
    for cmd in (b"SEARCH " + b"(" * 5000, b"LIST \"\" \"" + b"*a" * 3000 + b"\"", b"FETCH " + b"1," * 30000 + b"1 FLAGS",
                b"SEARCH " + b"NOT " * 5000 + b"ALL", b"FETCH 1 (" + b"BODY[] " * 200 + b"FLAGS)"):
        m.send(b"x " + cmd + b"\r\n")
        line = m.readline()
        while not line.startswith(b"x "):
            line = m.readline()
    assert m.noop()[0] == "OK"
    m.logout()


def test_much_input_behind_the_log_in(inst):
    """More than fits beside the descriptor reaches the user's process all the same, in order; so does the longest tag (RFC 3501 5.5)."""
    s = socket.create_connection((inst.host, inst.port["imap"]), 20)
    f = s.makefile("rwb")
    f.readline()
    tag = b"t" * 128
    f.write(tag + b" LOGIN %s {%d+}\r\n%s\r\n" % (USER.encode(), len(PASSWORD), PASSWORD.encode()) + b"".join(b"n%d NOOP\r\n" % n for n in range(6000)) +
            b"z LOGOUT\r\n")
    f.flush()
    tags = [l.split()[0] for l in f.read().splitlines() if not l.startswith(b"*")]
    assert tags == [tag] + [b"n%d" % n for n in range(6000)] + [b"z"]
    s.close()


def test_sessions_of_one_user_are_limited(inst):
    """imapd_user_session_limit (50): the next log-in is refused with LIMIT (RFC 5530), and taken again when one has ended."""
    held = [login(inst, OTHER, OTHERPASS) for _ in range(50)]
    with pytest.raises(imaplib.IMAP4.error, match="LIMIT"):
        login(inst, OTHER, OTHERPASS)
    held.pop().logout()

    def taken():
        try:
            return login(inst, OTHER, OTHERPASS).logout()
        except imaplib.IMAP4.error:  # it is counted until it has ended
            return None
    assert until(taken)
    for m in held:
        m.logout()
