"""Mail clients people use, against a running suite: curl, mutt, mbsync, fetchmail, Python's own, and a script with Thunderbird's habits
(RFC 3501, 1939, 6409, 8314)."""
import email.message
import email.utils
import fcntl
import imaplib
import os
import poplib
import pty
import re
import shutil
import signal
import smtplib
import socket
import ssl
import struct
import subprocess
import termios
import time

import pytest

from instance import BIN, mailbox_instance, make_certificates, readable, scratch

DOMAIN = "example.test"
PASSWORDS = {u: f"pw-{u} \"x" if u == "py" else f"pw-{u}" for u in ("curl", "mutt", "isync", "fetch", "bird", "py", "peer")}
LIMIT = 60  # seconds that a client may take


class House:
    """The suite with all its doors, and what a client needs to know of it."""

    def __init__(self, base):
        self.base = base
        self.ca, cert, key = make_certificates(os.path.join(base, "tls"), DOMAIN)
        self.inst = mailbox_instance(os.path.join(base, "i"), DOMAIN, PASSWORDS,
                                     ("smtp", "submission", "smtps", "imap", "imaps", "pop3", "pop3s"), main={
                                         "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key,
                                         "smtpd_sasl_auth_enable": "yes", "smtpd_tls_auth_only": "yes"})
        self.host, self.port = self.inst.host, self.inst.port

    def tls(self):
        return ssl.create_default_context(cafile=self.ca)

    def send(self, user, subject, body=b"body\r\n", sender="friend@elsewhere.test"):
        """By SMTP, and waits until it lies in the mailbox."""
        with smtplib.SMTP(self.host, self.port["smtp"], timeout=LIMIT) as c:
            c.sendmail(sender, [address(user)], b"From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nMessage-ID: %s\r\nDate: Sat, 21 Nov 2026 09:00:00 +0000\r\n\r\n%s" % (
                sender.encode(), address(user).encode(), subject.encode(), email.utils.make_msgid().encode(), body))
            code, text = c.docmd("NOOP")
            assert code == 250, text
        end = time.monotonic() + LIMIT
        while subject not in self.subjects(user):
            assert time.monotonic() < end, self.inst.log()[-3000:]
            time.sleep(0.05)

    def imap(self, user, box="INBOX"):
        m = imaplib.IMAP4_SSL(self.host, self.port["imaps"], ssl_context=self.tls(), timeout=LIMIT)
        m.login(address(user), PASSWORDS[user])
        if box:
            assert m.select(box)[0] == "OK"
        return m

    def subjects(self, user, box="INBOX"):
        m = self.imap(user, box)
        try:
            data = m.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1] if m.search(None, "ALL")[1][0] else []
            return [d[1].decode("utf-8", "replace").strip().removeprefix("Subject: ") for d in data if isinstance(d, tuple)]
        finally:
            m.logout()

    def flags(self, user, subject, box="INBOX"):
        m = self.imap(user, box)
        try:
            (n,) = m.search(None, "SUBJECT", f'"{subject}"')[1][0].split()
            return {f.decode() for f in imaplib.ParseFlags(m.fetch(n, "(FLAGS)")[1][0])} - {"\\Recent"}
        finally:
            m.logout()


def address(user):
    return f"{user}@{DOMAIN}"


@pytest.fixture(scope="module")
def house():
    base = scratch("postern-clients-")
    h = None
    try:
        h = House(base)
        h.inst.start()
        yield h
        assert_nothing_died(h.inst)
    finally:
        if h:
            h.inst.stop()
        shutil.rmtree(base, ignore_errors=True)


def assert_nothing_died(inst):
    bad = re.findall(r"^.*(?:killed by signal|panic:|exit status|fatal:|Assertion|seccomp).*$", inst.log(), re.M)
    assert not bad, "\n".join(bad[:10])


def need(program):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed (conf/packages.check)")


def run(house, *cmd, ok=True, env=None, **kw):
    """A client with its output in files, a home of its own, and a time limit."""
    home = os.path.join(house.base, "home")
    os.makedirs(home, mode=0o700, exist_ok=True)
    kw.setdefault("stdin", subprocess.DEVNULL if "input" not in kw else None)
    if "input" in kw:
        del kw["stdin"]
    with open(os.path.join(house.base, "out"), "w+b") as out, open(os.path.join(house.base, "err"), "w+b") as err:
        r = subprocess.run(cmd, stdout=out, stderr=err, timeout=LIMIT, check=False, cwd=home,
                           env=dict(os.environ, HOME=home, LC_ALL="C.UTF-8", **(env or {})), **kw)
        out.seek(0)
        err.seek(0)
        r.stdout, r.stderr = out.read(), err.read()
    if ok:
        assert r.returncode == 0, (cmd, r.returncode, r.stdout[-2000:], r.stderr[-2000:], house.inst.log()[-2000:])
    return r


# ---- curl ----
def curl(house, *args, **kw):
    need("curl")
    return run(house, "curl", "-sS", "--max-time", "30", "--cacert", house.ca, "--user", f"{address('curl')}:{PASSWORDS['curl']}", *args, **kw)


def letter(house, name, subject):
    path = os.path.join(house.base, name)
    with open(path, "wb") as f:
        f.write(b"From: <curl@example.test>\r\nTo: <curl@example.test>\r\nSubject: %s\r\n\r\nline\r\n.\r\n..dots\r\nlast line without end" % subject.encode())
    return path


@pytest.mark.parametrize("door,scheme,extra", [("submission", "smtp", ["--ssl-reqd"]), ("smtps", "smtps", []),
                                               ("smtps", "smtps", ["--login-options", "AUTH=LOGIN"]),
                                               ("smtps", "smtps", ["--login-options", "AUTH=PLAIN", "--sasl-ir"]),
                                               ("smtps", "smtps", ["--login-options", "AUTH=CRAM-MD5"])])
def test_curl_submits(house, door, scheme, extra):
    """RFC 6409, 4954: curl's SMTP upload with STARTTLS and over TLS, with each mechanism; dots and the missing last line end survive."""
    subject = f"curl {door} {'-'.join(extra)}".replace("=", "").strip()
    curl(house, *extra, "--url", f"{scheme}://{house.host}:{house.port[door]}/client.example", "--mail-from", address("curl"),
         "--mail-rcpt", address("curl"), "--upload-file", letter(house, "letter", subject))
    end = time.monotonic() + LIMIT
    while subject not in house.subjects("curl"):
        assert time.monotonic() < end, house.inst.log()[-3000:]
        time.sleep(0.05)
    m = house.imap("curl")
    n = m.search(None, "SUBJECT", f'"{subject}"')[1][0].split()[-1]
    assert m.fetch(n, "(BODY.PEEK[TEXT])")[1][0][1] == b"line\r\n.\r\n..dots\r\nlast line without end\r\n"
    m.logout()


def test_curl_reads_and_writes_by_imap(house):
    """RFC 3501: LIST, APPEND, FETCH by number, UID and section, SEARCH, STORE, EXPUNGE, CREATE as curl sends them."""
    url = f"imaps://{house.host}:{house.port['imaps']}/"
    clear = f"imap://{house.host}:{house.port['imap']}/"
    assert b'"." INBOX' in curl(house, url).stdout
    assert b'"." INBOX' in curl(house, "--ssl-reqd", clear).stdout
    curl(house, url, "-X", "CREATE curlbox")
    curl(house, url + "curlbox", "-T", letter(house, "letter", "appended"))
    with open(os.path.join(house.base, "letter"), "rb") as f:
        want = f.read()
    assert curl(house, url + "curlbox;MAILINDEX=1").stdout == want
    uid = re.search(rb"SEARCH (\d+)", curl(house, url + "curlbox", "-X", "UID SEARCH ALL").stdout).group(1).decode()
    assert curl(house, url + f"curlbox;UID={uid}").stdout == want
    assert curl(house, url + f"curlbox;UID={uid};SECTION=TEXT").stdout == want.split(b"\r\n\r\n", 1)[1]
    assert b"SEARCH 1" in curl(house, url + "curlbox?SUBJECT%20appended").stdout
    assert b"\\Flagged" in curl(house, url + "curlbox", "-X", "STORE 1 +FLAGS \\Flagged").stdout
    curl(house, url + "curlbox", "-X", "STORE 1 +FLAGS (\\Deleted)")
    assert b"* 1 EXPUNGE" in curl(house, url + "curlbox", "-X", "EXPUNGE").stdout
    assert b"EXISTS" not in curl(house, url, "-X", "DELETE curlbox").stdout
    assert curl(house, url + "curlbox;MAILINDEX=1", ok=False).returncode != 0


def test_curl_reads_and_deletes_by_pop3(house):
    """RFC 1939, 2595: LIST, UIDL, RETR, TOP, DELE over TLS and STLS."""
    house.send("curl", "for pop", b"one\r\n.two\r\n")
    url = f"pop3s://{house.host}:{house.port['pop3s']}/"
    lines = curl(house, url).stdout.split(b"\r\n")
    n = max(int(l.split()[0]) for l in lines if l)
    text = curl(house, url + str(n)).stdout
    assert b"Subject: for pop\r\n" in text and text.endswith(b"\r\n\r\none\r\n.two\r\n")
    assert len(text) == int([l for l in lines if l.startswith(b"%d " % n)][0].split()[1])
    assert curl(house, "--ssl-reqd", f"pop3://{house.host}:{house.port['pop3']}/{n}").stdout == text
    assert curl(house, url, "-X", f"TOP {n} 1").stdout.endswith(b"\r\n\r\none\r\n")
    assert len([l for l in curl(house, url, "-X", "UIDL").stdout.split(b"\r\n") if l]) == n
    curl(house, url + str(n), "-X", "DELE", "-I")
    assert "for pop" not in house.subjects("curl")


# ---- mutt ----
def muttrc(house, name="muttrc", **more):
    path = os.path.join(house.base, name)
    settings = {"from": address("mutt"), "realname": "M. Utt", "use_from": "yes", "envelope_from": "yes", "hostname": "client.example", "copy": "no",
                "ssl_force_tls": "yes", "ssl_verify_host": "yes", "certificate_file": house.ca, "ssl_ca_certificates_file": house.ca, "smtp_pass": PASSWORDS["mutt"],
                "imap_user": address("mutt"), "imap_pass": PASSWORDS["mutt"], "quit": "yes", "delete": "yes", "move": "no", "confirmappend": "no",
                "confirmcreate": "no", "send_charset": "us-ascii:utf-8", "timeout": "10", "mail_check": "0", "mark_old": "no", "header_cache": "", "wait_key": "no", "beep": "no",
                "imap_check_subscribed": "no", "folder": house.base, "sleep_time": "0", **more}
    with open(path, "w", encoding="utf-8") as f:
        f.write("".join(f'set {k}="{v}"\n' for k, v in settings.items()))
    return path


@pytest.mark.parametrize("how", ["smtps", "submission", "sendmail"])
def test_mutt_sends(house, how):
    """mutt -s ... < text, by SMTP with log-in and by sendmail(1); an attachment and a name beyond ASCII come along."""
    need("mutt")
    if how == "sendmail":
        script = os.path.join(house.base, "sendmail")
        with open(script, "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\nMAIL_CONFIG={house.inst.config} exec {BIN}/sendmail "$@"\n')
        os.chmod(script, 0o755)
        rc = muttrc(house, sendmail=f"{script} -oem -oi")
    else:
        user = address("mutt").replace("@", "%40")
        rc = muttrc(house, smtp_url=f"{'smtps' if how == 'smtps' else 'smtp'}://{user}@{house.host}:{house.port[how]}/")
    attach = os.path.join(house.base, "attachment.bin")
    with open(attach, "wb") as f:
        f.write(bytes(range(256)) * 400)
    subject = f"mutt {how} grüße"
    run(house, "mutt", "-F", rc, "-s", subject, "-a", attach, "--", address("mutt"), input="Grüße\n.\nFrom here\n".encode())
    end = time.monotonic() + LIMIT
    while True:
        m = house.imap("mutt")
        n = m.search(None, "HEADER", "SUBJECT", f'"mutt {how}"')[1][0].split()
        raw = m.fetch(n[-1], "(BODY.PEEK[])")[1][0][1] if n else b""
        m.logout()
        if raw:
            break
        assert time.monotonic() < end, house.inst.log()[-3000:]
        time.sleep(0.1)
    parsed = email.message_from_bytes(raw)
    assert str(email.header.make_header(email.header.decode_header(parsed["Subject"]))) == subject
    text, binary = parsed.get_payload()
    assert text.get_payload(decode=True).decode().replace("\r\n", "\n") == "Grüße\n.\nFrom here\n"
    assert binary.get_payload(decode=True) == bytes(range(256)) * 400


def visible(drawn):
    return re.sub(rb" {3,}|~ +", b"\n", re.sub(rb"\x1b(?:\[[0-9;?]*[A-Za-z]|[()=>][B0]?)", b" ", drawn)).decode("utf-8", "replace")


def screen(house, *cmd):
    """Runs a full-screen program on a pseudo terminal until it ends; returns what it drew."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", HOME=os.path.join(house.base, "home"), LC_ALL="C.UTF-8")
        os.execvp(cmd[0], cmd)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    drawn, end = b"", time.monotonic() + LIMIT
    try:
        while time.monotonic() < end:
            if readable(fd, 1):
                try:
                    got = os.read(fd, 65536)
                except OSError:
                    got = b""
                if not got:
                    return visible(drawn)
                drawn += got
        raise AssertionError(f"{cmd} did not end:\n{visible(drawn)[-3000:]}\n{house.inst.log()[-2000:]}")
    finally:
        os.close(fd)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(pid, 0)


def test_mutt_reads_by_imap(house):
    """mutt -f imaps://: opens the mailbox, copies all to a file, makes a folder with a copy, flags one, deletes one; the server sees it."""
    need("mutt")
    for i in range(3):
        house.send("mutt", f"reading {i}", b"text %d\r\n" % i)
    os.makedirs(os.path.join(house.base, "home"), mode=0o700, exist_ok=True)
    copy = os.path.join(house.base, "copy.mbox")
    url = f"imaps://{house.host}:{house.port['imaps']}/"
    keys = ("<tag-pattern>~sreading<enter><tag-prefix><copy-message>" + copy + "<enter>"
            "<tag-prefix><copy-message>" + url + "muttcopy<enter>"
            "<untag-pattern>~A<enter><search>~sreading.1<enter><flag-message><search>~sreading.2<enter><delete-message><sync-mailbox><quit>")
    drawn = screen(house, "mutt", "-F", muttrc(house), "-f", url + "INBOX", "-e", f'push "{keys}"')
    assert os.path.exists(copy), (drawn[-3000:], house.inst.log()[-3000:])
    with open(copy, "rb") as f:
        text = f.read()
    assert [text.count(b"\nSubject: reading %d\n" % i) for i in range(3)] == [1, 1, 1]
    assert sorted(house.subjects("mutt", "muttcopy")) == ["reading 0", "reading 1", "reading 2"]
    assert "\\Flagged" in house.flags("mutt", "reading 1")
    assert "reading 2" not in house.subjects("mutt")


def test_mutt_reads_by_pop3(house):
    """mutt -f pops:// copies a message to a file (RFC 1939, 2595)."""
    need("mutt")
    house.send("mutt", "by pop", b"pop text\r\n")
    os.makedirs(os.path.join(house.base, "home"), mode=0o700, exist_ok=True)
    copy = os.path.join(house.base, "pop.mbox")
    rc = muttrc(house, pop_user=address("mutt"), pop_pass=PASSWORDS["mutt"], pop_delete="no")
    drawn = screen(house, "mutt", "-F", rc, "-f", f"pops://{house.host}:{house.port['pop3s']}/", "-e",
                   f'push "<limit>~sby.pop<enter><copy-message>{copy}<enter><quit>"')
    assert os.path.exists(copy), (drawn[-3000:], house.inst.log()[-3000:])
    with open(copy, "rb") as f:
        assert b"\npop text\n" in f.read()


# ---- mbsync ----
def local_messages(folder):
    out = {}
    for sub in ("new", "cur"):
        d = os.path.join(folder, sub)
        for name in os.listdir(d) if os.path.isdir(d) else ():
            with open(os.path.join(d, name), "rb") as f:
                text = f.read()
            subject = re.search(rb"^Subject: (.*?)\r?$", text, re.M).group(1).decode()
            out[subject] = (os.path.join(d, name), set(name.rpartition(":2,")[2]) if ":2," in name else set())
    return out


def test_mbsync_both_ways(house):
    """isync: mail, flags, folders and expunges go both ways; a second run has nothing to do (UIDPLUS, RFC 4315)."""
    need("mbsync")
    mine = os.path.join(house.base, "sync")
    os.makedirs(mine, exist_ok=True)
    rc = os.path.join(house.base, "mbsyncrc")

    def config(ssltype, port):
        with open(rc, "w", encoding="ascii") as f:
            f.write(f"IMAPAccount a\nHost localhost\nPort {port}\nUser {address('isync')}\nPass {PASSWORDS['isync']}\nSSLType {ssltype}\n"
                    f"CertificateFile {house.ca}\nSystemCertificates no\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nPath {mine}/\nInbox {mine}/INBOX\n"
                    f"SubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *\n")

    def sync():
        return run(house, "mbsync", "-c", rc, "-a").stdout

    config("IMAPS", house.port["imaps"])
    for i in range(4):
        house.send("isync", f"sync {i}", b"x" * 900 + b"\r\n" + b"long line " * 300 + b"\r\n")
    sync()
    inbox = os.path.join(mine, "INBOX")
    assert sorted(local_messages(inbox)) == [f"sync {i}" for i in range(4)]

    # here: one is read and answered, one is thrown away, one is written; there: one is flagged, one expunged, a folder is made
    have = local_messages(inbox)
    path = have["sync 0"][0]
    os.rename(path, os.path.join(inbox, "cur", os.path.basename(path).partition(":2,")[0] + ":2,RS"))
    path = have["sync 1"][0]
    os.rename(path, os.path.join(inbox, "cur", os.path.basename(path).partition(":2,")[0] + ":2,ST"))
    with open(os.path.join(inbox, "cur", "1.mine:2,DS"), "wb") as f:
        f.write(b"From: me\nSubject: written here\nMessage-ID: <here@client>\n\n8bit \xc3\xa9 text\n")
    m = house.imap("isync")
    def number(subject):
        return m.search(None, "SUBJECT", f'"{subject}"')[1][0]
    m.store(number("sync 2"), "+FLAGS", "(\\Flagged)")
    m.store(number("sync 3"), "+FLAGS", "(\\Deleted)")
    m.expunge()
    m.create("there/sub" if b'"/"' in m.list()[1][0] else "there.sub")
    m.logout()
    config("STARTTLS", house.port["imap"])
    sync()
    assert sorted(local_messages(inbox)) == ["sync 0", "sync 2", "written here"]
    assert "F" in local_messages(inbox)["sync 2"][1]
    assert sorted(house.subjects("isync")) == ["sync 0", "sync 2", "written here"]
    assert house.flags("isync", "sync 0") == {"\\Answered", "\\Seen"}
    assert house.flags("isync", "written here") == {"\\Draft", "\\Seen"}
    m = house.imap("isync")
    (n,) = m.search(None, "SUBJECT", '"written here"')[1][0].split()
    assert m.fetch(n, "(BODY.PEEK[TEXT])")[1][0][1] == b"8bit \xc3\xa9 text\r\n"
    m.logout()
    assert any("sub" in d for _, ds, _ in os.walk(mine) for d in ds), os.listdir(mine)

    # a new folder here with a message goes there; nothing is left to do afterwards
    for sub in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(mine, "made-here", sub))
    with open(os.path.join(mine, "made-here", "new", "2.mine"), "wb") as f:
        f.write(b"From: me\nSubject: in a new folder\n\ntext\n")
    sync()
    assert house.subjects("isync", "made-here") == ["in a new folder"]
    before = {s: v for s, v in local_messages(inbox).items()}
    sync()
    assert local_messages(inbox) == before and sorted(house.subjects("isync")) == ["sync 0", "sync 2", "written here"]


# ---- fetchmail ----
def fetchmail(house, text, *args, codes=(0,)):
    need("fetchmail")
    rc = os.path.join(house.base, "fetchmailrc")
    with open(rc, "w", encoding="ascii") as f:
        f.write(text)
    os.chmod(rc, 0o600)
    r = run(house, "fetchmail", "-f", rc, "--nosyslog", "--nodetach", "-d0", "--pidfile", os.path.join(house.base, "fetchmail.pid"),
            "-i", os.path.join(house.base, "fetchids"), "-v", *args, ok=False)
    assert r.returncode in codes, (r.returncode, r.stdout[-3000:], r.stderr[-2000:])
    return r.stdout


@pytest.mark.parametrize("protocol,door,tls", [("pop3", "pop3s", "ssl"), ("pop3", "pop3", 'sslproto "TLS1.2+"'),
                                               ("imap", "imaps", "ssl"), ("imap", "imap", 'sslproto "TLS1.2+"')])
def test_fetchmail_collects_and_deletes(house, protocol, door, tls):
    """fetchmail takes all mail, hands it to an MDA, and leaves an empty mailbox; a second run finds no mail (exit 1)."""
    got = os.path.join(house.base, f"got-{door}")
    for i in range(3):
        house.send("fetch", f"{door} {i}", b"first\r\n.dot\r\nFrom me\r\n")
    text = (f'poll localhost service {house.port[door]} protocol {protocol} user "{address("fetch")}" password "{PASSWORDS["fetch"]}" '
            f'{tls} sslcertck sslcertfile "{house.ca}" mda "cat >> {got}" nokeep fetchall\n')
    fetchmail(house, text)
    with open(got, "rb") as f:
        mail = f.read()
    assert [mail.count(b"Subject: %s %d\n" % (door.encode(), i)) for i in range(3)] == [1, 1, 1] and mail.count(b"\nfirst\n.dot\n") == 3
    assert house.subjects("fetch") == []
    fetchmail(house, text, codes=(1,))


def test_fetchmail_keeps_and_remembers(house):
    """RFC 1939 UIDL: with keep, what was seen is not fetched again; what is new is; delivery by SMTP into another mailbox."""
    house.send("fetch", "kept 0")
    text = (f'poll localhost service {house.port["pop3s"]} protocol pop3 uidl user "{address("fetch")}" password "{PASSWORDS["fetch"]}" '
            f'ssl sslcertck sslcertfile "{house.ca}" smtphost "{house.host}/{house.port["smtp"]}" smtpname "{address("peer")}" keep\n')
    fetchmail(house, text)
    fetchmail(house, text, codes=(1,))
    house.send("fetch", "kept 1")
    fetchmail(house, text)
    end = time.monotonic() + LIMIT
    while sorted(house.subjects("peer")) != ["kept 0", "kept 1"]:
        assert time.monotonic() < end, (house.subjects("peer"), house.inst.log()[-3000:])
        time.sleep(0.05)
    assert sorted(house.subjects("fetch")) == ["kept 0", "kept 1"]


# ---- Python ----
def test_python_libraries(house):
    """imaplib, poplib and smtplib: a password with blanks and quotes, every mechanism they have, and the same message through all of them."""
    user, password = address("py"), PASSWORDS["py"]
    msg = email.message.EmailMessage()
    msg["From"], msg["To"], msg["Subject"], msg["Message-ID"] = user, user, "python", "<python@client>"
    msg.set_content("é" * 200 + "\nend\n", cte="8bit")
    with smtplib.SMTP(house.host, house.port["submission"], timeout=LIMIT) as c:
        c.starttls(context=house.tls())
        c.login(user, password)
        assert c.send_message(msg) == {}
    with smtplib.SMTP_SSL(house.host, house.port["smtps"], timeout=LIMIT, context=house.tls()) as c:
        c.ehlo()
        c.user, c.password = user, password
        assert c.auth("LOGIN", c.auth_login)[0] == 235
    end = time.monotonic() + LIMIT
    while "python" not in house.subjects("py"):
        assert time.monotonic() < end, house.inst.log()[-3000:]
        time.sleep(0.05)
    m = house.imap("py")
    raw = m.fetch("1", "(BODY.PEEK[])")[1][0][1]
    assert int(re.search(rb"RFC822.SIZE (\d+)", m.fetch("1", "(RFC822.SIZE)")[1][0]).group(1)) == len(raw)
    m.logout()
    assert email.message_from_bytes(raw, policy=email.policy.default).get_content().replace("\r\n", "\n") == "é" * 200 + "\nend\n"
    m = imaplib.IMAP4(house.host, house.port["imap"], timeout=LIMIT)
    m.starttls(house.tls())
    m.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
    m.logout()
    m = imaplib.IMAP4_SSL(house.host, house.port["imaps"], ssl_context=house.tls(), timeout=LIMIT)
    m.login_cram_md5(user, password)
    m.logout()
    p = poplib.POP3_SSL(house.host, house.port["pop3s"], context=house.tls(), timeout=LIMIT)
    p.user(user)
    p.pass_(password)
    assert b"".join(l + b"\r\n" for l in p.retr(1)[1]) == raw
    assert p.list(1).endswith(b" %d" % len(raw))
    p.quit()


# ---- Thunderbird ----
class Wire:
    """An IMAP connection that sends what it is told and collects the untagged lines; literals are joined to their line."""

    def __init__(self, house, user):
        self.s = house.tls().wrap_socket(socket.create_connection((house.host, house.port["imaps"]), LIMIT), server_hostname="localhost")
        self.f = self.s.makefile("rb")
        self.n = 0
        assert self.f.readline().startswith(b"* OK")
        self.do(f'LOGIN "{address(user)}" "{PASSWORDS[user]}"')

    def line(self):
        text = self.f.readline()
        assert text, "the server hung up"
        while (m := re.search(rb"\{(\d+)\}\r\n$", text)):
            text += self.f.read(int(m.group(1))) + self.f.readline()
        return text

    def until(self, start):
        got = []
        while not (got and got[-1].startswith(start)):
            got.append(self.line())
        return got

    def do(self, command, literal=None, want=b"OK"):
        self.n += 1
        tag = b"%d" % self.n
        self.s.sendall(tag + b" " + command.encode() + (b" {%d}" % len(literal) if literal is not None else b"") + b"\r\n")
        if literal is not None:
            self.until(b"+ ")
            self.s.sendall(literal + b"\r\n")
        got = self.until(tag + b" ")
        assert got[-1].startswith(tag + b" " + want), (command, got[-1])
        return got

    def close(self):
        self.f.close()
        self.s.close()


def test_thunderbirds_habits(house):
    """The sequence of a Thunderbird session: discovery, folder list, first look, IDLE while mail comes, APPEND to Sent, MOVE to Trash, UID EXPUNGE
    (RFC 2971, 5161, 2342, 5258, 6154, 2177, 4315, 6851)."""
    w = Wire(house, "bird")
    caps = set(b"".join(w.do("CAPABILITY")).split())
    assert {b"IDLE", b"NAMESPACE", b"UIDPLUS", b"MOVE", b"ID", b"ENABLE", b"SPECIAL-USE", b"CONDSTORE"} <= caps, caps
    assert w.do('ID ("name" "Thunderbird" "version" "115.0")')[0].startswith(b"* ID ")
    w.do("ENABLE CONDSTORE UTF8=ACCEPT" if b"UTF8=ACCEPT" in caps else "ENABLE CONDSTORE")
    ns = w.do("NAMESPACE")[0]
    sep = re.search(rb'\(\("" "(.)"\)\)', ns).group(1).decode()
    w.do('LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)')
    w.do('LIST "" "*" RETURN (SPECIAL-USE)')
    special = b"".join(w.do('LIST (SPECIAL-USE) "" "*"'))
    assert b"\\Sent" in special and b"\\Trash" in special and b"\\Drafts" in special
    assert b"INBOX" in b"".join(w.do('LIST "" "INBOX"'))
    w.do('LSUB "" "*"')
    for name in ("Projects", f"Projects{sep}2026", "Entw&APw-rfe"):
        w.do(f'CREATE "{name}"')
        w.do(f'SUBSCRIBE "{name}"')
    subscribed = b"".join(w.do('LIST (SUBSCRIBED) "" "*"'))
    assert all(x in subscribed for x in (b"Projects" + sep.encode() + b"2026", b"Entw&APw-rfe")) or b"Entw\xc3\xbcrfe" in subscribed
    for box in ("INBOX", "Sent", "Trash", "Projects"):
        (line,) = [l for l in w.do(f'STATUS "{box}" (UIDNEXT MESSAGES UNSEEN RECENT)') if l.startswith(b"* STATUS")]
        assert b"MESSAGES 0" in line
    for i in range(5):
        house.send("bird", f"bird {i}", b"text\r\n" * 20)
    got = b"".join(w.do('SELECT "INBOX"'))
    assert b"* 5 EXISTS" in got and b"HIGHESTMODSEQ" in got and b"\\*" in got
    flags = [l for l in w.do("UID FETCH 1:* (FLAGS)") if b"FETCH" in l]
    uids = [int(re.search(rb"UID (\d+)", l).group(1)) for l in flags]
    assert len(uids) == 5 and uids == sorted(set(uids))
    heads = w.do(f"UID FETCH {uids[0]}:{uids[-1]} (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID "
                 "Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])")
    assert [re.search(rb"Subject: (.*?)\r\n", l).group(1).decode() for l in heads[:-1]] == [f"bird {i}" for i in range(5)]
    body = w.do(f"UID FETCH {uids[0]} (UID RFC822.SIZE BODY.PEEK[])")[0]
    assert body.endswith(b"text\r\n" * 20 + b")\r\n")
    part = w.do(f"UID FETCH {uids[0]} (UID BODY.PEEK[]<10.20>)")[0]
    assert b"BODY[]<10> {20}" in part
    w.do(f"UID STORE {uids[0]} +FLAGS (\\Seen)")
    w.do(f"UID STORE {uids[1]} +FLAGS ($label1 NonJunk)")
    assert b"$label1" in b"".join(w.do(f"UID FETCH {uids[1]} (FLAGS)"))

    # IDLE: what comes and what others do is told at once
    w.s.sendall(b"i1 IDLE\r\n")
    w.until(b"+ ")
    house.send("bird", "bird 5")
    w.until(b"* 6 EXISTS")
    other = Wire(house, "bird")
    other.do("SELECT INBOX")
    other.do(f"UID STORE {uids[2]} +FLAGS.SILENT (\\Flagged)")
    w.until(b"* 3 FETCH")
    w.s.sendall(b"DONE\r\n")
    w.until(b"i1 OK")

    sent = b"From: <bird@example.test>\r\nTo: <x@example.test>\r\nSubject: sent by me\r\n\r\nbody\r\n"
    done = w.do('APPEND "Sent" (\\Seen)', sent)[-1]
    assert b"APPENDUID" in done
    assert house.flags("bird", "sent by me", "Sent") == {"\\Seen"}
    moved = b"".join(w.do(f"UID MOVE {uids[3]} Trash"))
    assert b"COPYUID" in moved and b"* 4 EXPUNGE" in moved
    assert house.subjects("bird", "Trash") == ["bird 3"]
    w.do(f"UID STORE {uids[4]} +FLAGS (\\Deleted)")
    other.do(f"UID STORE {uids[0]} +FLAGS (\\Deleted)")
    expunged = w.do(f"UID EXPUNGE {uids[4]}")
    assert [l for l in expunged if b"EXPUNGE" in l and l.startswith(b"* ")] == [b"* 4 EXPUNGE\r\n"]  # RFC 4315 2.1: not the other one
    assert sorted(house.subjects("bird")) == ["bird 0", "bird 1", "bird 2", "bird 5"]
    w.do(f'RENAME "Projects{sep}2026" "Projects{sep}2027"')
    w.do(f'DELETE "Projects{sep}2027"')
    w.do("CLOSE")
    other.do("LOGOUT")
    other.close()
    w.do("LOGOUT")
    w.close()


def test_many_connections_of_one_user(house):
    """Each of twelve connections on one mailbox sees what the others do; no one waits for another."""
    house.send("peer", "shared")
    wires = [Wire(house, "peer") for _ in range(12)]
    for w in wires:
        w.do("SELECT INBOX")
    for w in wires[1:]:
        w.s.sendall(b"i IDLE\r\n")
        w.until(b"+ ")
    for i, w in enumerate(wires[:1] * 4):
        w.do(f"STORE 1 +FLAGS (word{i})")
    for w in wires[1:]:
        while b"word3" not in w.line():
            pass
        w.s.sendall(b"DONE\r\n")
        w.until(b"i OK")
    for i, w in enumerate(wires):
        w.do("APPEND INBOX", b"Subject: by %d\r\n\r\n%d\r\n" % (i, i))
    for w in wires:
        w.do("NOOP")
        assert b"SEARCH" in w.do("UID SEARCH SUBJECT \"by 11\"")[0]
        w.do("LOGOUT")
        w.close()
    assert {f"by {i}" for i in range(12)} <= set(house.subjects("peer"))
