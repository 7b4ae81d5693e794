"""smtpd(8) and lmtpd(8) under master: the dialogue (RFC 5321, 2920, 1870, 3030, 3207, 4954, 3461, 2033), what ends a message, who
may relay, and the log lines that administrators grep."""
import base64
import hashlib
import hmac
import json
import os
import random
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import pytest

from instance import PATIENCE, SBIN, Instance, free_ports, listens, until

USER, PASSWORD = "u1@example.test", "secret one"
ACCESS = ("inline:{ { bad@example.org = REJECT no thanks }, { held@example.org = HOLD }, { gone@example.org = DISCARD }, "
          "{ later@example.org = DEFER_IF_PERMIT wait }, { code@example.org = 451 4.7.9 go away }, { class@example.org = strangers }, "
          "{ .example.com = REJECT }, { any@ = REJECT user }, { pre@example.org = PREPEND X-Seen: yes }, "
          "{ net.example = REJECT net } }")


def certificate(directory):
    os.makedirs(directory, exist_ok=True)
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3",
                    "-keyout", key, "-out", cert, "-subj", "/CN=localhost"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    os.chmod(key, 0o600)
    return cert, key


@pytest.fixture(scope="module")
def scratch():
    """A directory that the suite's users can walk through; pytest's own is closed to them."""
    path = tempfile.mkdtemp(prefix="postern-smtpd.")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def inst(scratch):
    base = os.path.join(scratch, "main")
    cert, key = certificate(os.path.join(base, "tls"))
    users = os.path.join(base, "users")
    i = Instance(base, listen=("smtp", "submission", "smtps", "lmtp"), main={
        "mynetworks": "192.0.2.0/24", "local_recipient_maps": "inline:{ bob=x, ann=x }", "smtpd_peername_lookup": "no",
        "relay_domains": "relay.example", "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": cert,
        "smtpd_tls_key_file": key, "smtpd_tls_loglevel": "1", "smtpd_tls_received_header": "yes",
        "smtpd_sasl_authenticated_header": "yes", "auth_passwd_file": users, "auth_failure_delay": "0",
        "auth_penalty_limit": "0", "auth_mechanisms": "plain login cram-md5 scram-sha-256", "auth_sasldb_file": "",
        "auth_pam_service": "", "smtpd_error_sleep_time": "0", "message_size_limit": "1000000",
        "smtpd_authorized_xclient_hosts": "127.0.0.1", "smtpd_authorized_xforward_hosts": "127.0.0.1",
        "smtpd_restriction_classes": "strangers", "strangers": "reject",
        "smtpd_sender_restrictions": "check_sender_access " + ACCESS,
        "smtpd_recipient_limit": "20", "smtpd_recipient_overshoot_limit": "2", "defer_transports": "local relay",
        "smtpd_tls_auth_only": "yes", "error_notice_recipient": "watch@mail.example.test",
    })
    i.port["watched"], i.port["screened"], i.port["doubtful"] = free_ports(3)
    i.extra_master = [f"{i.host}:{i.port['screened']} inet n - n - 1 postscreen -o smtpd_service_name=back -o postscreen_upstream_proxy_protocol=haproxy",
                      f"{i.host}:{i.port['doubtful']} inet n - n - - smtpd -o rewrite_service_name=broken -o smtpd_sender_restrictions=reject_unknown_sender_domain",
                      "broken unix - - n - - trivial-rewrite -o virtual_mailbox_domains=fail:down",
                      "back pass - - n - - smtpd -o content_filter=retry:[filter.test] -o cleanup_service_name=copier "
                      "-o receive_override_options=no_unknown_recipient_checks,no_address_mappings", "copier unix n - n - 0 cleanup -o always_bcc=copy@localhost",
                      f"{i.host}:{i.port['watched']} inet n - n - - smtpd -o notify_classes=bounce,policy,protocol -o bounce_notice_recipient=told@mail.example.test -o smtpd_history_flush_threshold=12"]
    os.makedirs(i.config, exist_ok=True)
    with open(users, "w", encoding="utf-8") as f:
        f.write(f"{USER}:{{PLAIN}}{PASSWORD}:{i.uid}:{i.gid}::{i.mail}/u1::\n")
    os.chmod(users, 0o644)
    with i:
        yield i


class Client:
    def __init__(self, inst, port="smtp", greet=True, tls=False, source=""):
        self.s = socket.create_connection((inst.host, inst.port[port]), PATIENCE, (source, 0))
        self.buf = b""
        if tls:
            self.start_tls()
        if greet:
            assert self.reply().startswith("220 mail.example.test ")

    def start_tls(self):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.check_hostname = False
        c.verify_mode = ssl.CERT_NONE
        self.s = c.wrap_socket(self.s, server_hostname="localhost")

    def line(self):
        while b"\n" not in self.buf:
            try:
                more = self.s.recv(65536)
            except ConnectionResetError:  # the server had not read all when it went
                more = b""
            if not more:
                return ""
            self.buf += more
        line, self.buf = self.buf.split(b"\n", 1)
        assert line.endswith(b"\r"), line
        return line[:-1].decode()

    def reply(self):
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return "\n".join(lines)

    def send(self, data):
        self.s.sendall(data if isinstance(data, bytes) else data.encode())

    def cmd(self, text):
        self.send(text + "\r\n")
        return self.reply()

    def ehlo(self):
        r = self.cmd("EHLO client.example.org")
        assert r.startswith("250-")
        return r

    def start(self, sender="a@example.org", rcpts=("bob@localhost",)):
        assert self.cmd(f"MAIL FROM:<{sender}>") == "250 2.1.0 Ok"
        for r in rcpts:
            assert self.cmd(f"RCPT TO:<{r}>") == "250 2.1.5 Ok"

    def data(self, content):
        assert self.cmd("DATA").startswith("354 ")
        self.send(content)
        return self.reply()

    def closed(self):
        return self.line() == ""

    def close(self):
        self.s.close()


@pytest.fixture
def c(inst):
    x = Client(inst)
    x.ehlo()
    yield x
    x.close()


def queued(reply):
    m = re.fullmatch(r"250 2\.0\.0 Ok: (?:\d+ bytes )?queued as ([0-9A-F]+)", reply)
    assert m, reply
    return m.group(1)


def stored(inst, qid, before=0):
    """The message as it lies in the queue. It may be on its way from one place to another at that moment."""
    text = until(lambda: find_stored(inst, qid, before))
    assert text, qid + " is not in the queue"
    return text


def find_stored(inst, qid, before):
    """File of its own or slot of the pool; None while it is in neither."""
    for top, _, files in os.walk(inst.queue):
        for f in files:
            path = os.path.join(top, f)
            if f == qid or f.startswith("slots."):
                try:
                    with open(path, "rb") as h:
                        data = h.read()
                except FileNotFoundError:
                    continue
                at = data.find(qid.encode() + b"\n\tfor ") if f != qid else 0
                if f == qid:
                    return data[4096:]
                if at >= 0:
                    start = data.rfind(b"Received: from", 0, at) - before
                    return data[start:start + 70000]
    return None


def test_greeting_and_extensions_in_their_order(inst, c):
    """RFC 5321 section 4.1.1.1: the keywords and their order are those that Postfix announces."""
    assert c.ehlo().split("\n")[1:] == [
        "250-PIPELINING", "250-SIZE 1000000", "250-VRFY", "250-ETRN", "250-STARTTLS",
        "250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT",
        "250-XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT", "250-ENHANCEDSTATUSCODES", "250-8BITMIME", "250-DSN", "250-SMTPUTF8",
        "250 CHUNKING"]
    assert c.cmd("HELO x") == "250 mail.example.test"
    assert c.cmd("MAIL FROM:<a@example.org> SIZE=1 BODY=8BITMIME RET=HDRS ENVID=x") == "250 2.1.0 Ok"  # as Postfix: HELO hides extensions, and takes them
    assert c.cmd("RSET") == "250 2.0.0 Ok"


@pytest.mark.parametrize("command, answer", [
    ("", "500 5.5.2 Error: bad syntax"), ("FOO", "500 5.5.2 Error: command not recognized"),
    ("HELO", "501 Syntax: HELO hostname"), ("EHLO", "501 Syntax: EHLO hostname"),
    ("MAIL", "501 5.5.4 Syntax: MAIL FROM:<address>"), ("MAIL FROM:<a@b..c>", "501 5.1.7 Bad sender address syntax"),
    ("MAIL FROM:<a@b> SIZE=99999999", "552 5.3.4 Message size exceeds fixed limit"),
    ("MAIL FROM:<a@b> X=1", "555 5.5.4 Unsupported option: X=1"),
    ("RCPT TO:<bob@localhost>", "503 5.5.1 Error: need MAIL command"), ("DATA", "503 5.5.1 Error: need RCPT command"),
    ("VRFY", "501 5.5.4 Syntax: VRFY address [SMTPUTF8]"), ("RSET x", "501 5.5.4 Syntax: RSET"),
    ("NOOP x", "250 2.0.0 Ok"), ("ETRN a..b", "501 Error: invalid parameter syntax"),
    ("AUTH PLAIN", "503 5.5.1 Error: authentication not enabled"), ("LHLO x", "500 5.5.2 Error: command not recognized"),
    ("NO\0OP", "500 5.5.2 Error: bad syntax"), ("NOOP \0", "500 5.5.2 Error: bad syntax"),
    ("NOOP " + "x" * 3000, "500 5.5.2 Error: line too long"),
])
def test_wording_of_errors(c, command, answer):
    """The replies are those of Postfix, byte for byte, where both refuse."""
    assert c.cmd(command) == answer
    assert c.cmd("NOOP") == "250 2.0.0 Ok"


@pytest.mark.parametrize("rcpt, answer", [
    ("postmaster@mail.example.test", "250 2.1.5 Ok"), ("Postmaster", "250 2.1.5 Ok"), ("MAILER-DAEMON@mail.example.test", "250 2.1.5 Ok"),
    ("nobody@mail.example.test", "550 5.1.1 "), ("bob@[127.0.0.1]", "250 2.1.5 Ok"), ("bob@[192.0.2.7]", "554 5.7.1 "),
    ("-bob@mail.example.test", "501 5.1.3 Bad recipient address syntax"), ("postmaster@relay.example.org", "554 5.7.1 "),
    ("bob@127.0.0.1", "501 5.1.3 Bad recipient address syntax"),
])
def test_who_is_a_recipient(c, rcpt, answer):
    """RFC 5321 4.5.1: postmaster always is; 4.1.3: an address literal of this host is local, one of mynetworks is not; no name looks like an option."""
    c.cmd("EHLO client.example.org")
    assert c.cmd("MAIL FROM:<a@example.org> AUTH=<>") == "250 2.1.0 Ok"  # AUTH is not offered here: it says nothing
    assert c.cmd(f"RCPT TO:<{rcpt}>").startswith(answer)


def test_postscreen_line_has_the_settings_of_its_pass_service(inst, c):
    """Else mail would go past the content filter. What the filter gets is the address that was asked for, without a look at where it would go, and
    once: no_address_mappings also leaves the copies to the other side of the filter."""
    c.start(rcpts=())
    assert c.cmd("RCPT TO:<nobody%elsewhere.test@mail.example.test>").startswith("554 5.7.1 ")
    first, second = Client(inst, "screened", greet=False), Client(inst, "screened", greet=False)  # the 1 was of postscreen's processes
    for x in (first, second):
        x.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n")
        assert x.reply().startswith("220 ")
    x.ehlo()
    x.start(rcpts=("nobody@mail.example.test", "nobody%elsewhere.test@mail.example.test"))
    qid = queued(x.data(b"\r\nx\r\n.\r\n"))
    inst.wait_log(rf"{qid}: to=<nobody@mail.example.test>, relay=none,.* \(\[filter.test\]\)")
    inst.wait_log(rf"{qid}: to=<nobody%elsewhere.test@mail.example.test>, relay=none,.* \(\[filter.test\]\)")
    assert len(re.findall(rf"{qid}: to=", inst.log())) == 2


def test_no_domain_is_unknown_while_a_table_of_domains_is_down(inst):
    x = Client(inst, "doubtful")
    x.start(sender="a@unheard.test", rcpts=())
    assert x.cmd("RCPT TO:<bob@localhost>") == "451 4.3.0 <a@unheard.test>: Temporary lookup failure"


def test_a_header_is_no_command(inst, c):
    """Whoever sends one speaks another protocol: the session ends, and the log says so."""
    assert c.cmd("Subject: hello") == "221 2.7.0 Error: I can break rules, too. Goodbye."
    inst.wait_log(r"warning: non-SMTP command from unknown\[127\.0\.0\.1\]: Subject: hello$")


def test_mail_is_queued_with_trace_and_log(inst, c):
    """RFC 5321 section 4.4: Received: names client, protocol, id and the one recipient; the log has the lines in order."""
    c.start()
    qid = queued(c.data(b"Subject: x\r\n\r\n..dot\r\nend\r\n.\r\n"))
    text = stored(inst, qid).decode("latin-1")
    assert re.match(r"Received: from client\.example\.org \(unknown \[127\.0\.0\.1\]\)\n\tby mail\.example\.test \(Postern\) with ESMTP "
                    rf"id {qid}\n\tfor <bob@localhost>; \w\w\w, ", text), text[:300]
    assert "\n\n.dot\nend\n" in text
    assert c.cmd("QUIT") == "221 2.0.0 Bye"
    assert c.closed()
    inst.wait_log(rf"smtpd\[\d+\]: {qid}: client=(?:unknown|localhost)\[127\.0\.0\.1\]$")
    inst.wait_log(r"disconnect from (?:unknown|localhost)\[127\.0\.0\.1\] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5$")


def test_pipelining_is_answered_in_order(inst, c):
    """RFC 2920 section 3: a group of commands, one of them refused, and content behind DATA after its 354."""
    c.send("MAIL FROM:<a@example.org>\r\nRCPT TO:<nobody@localhost>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n")
    assert [c.reply()[:9] for _ in range(4)] == ["250 2.1.0", "550 5.1.1", "250 2.1.5", "354 End d"]
    c.send(b"\r\nx\r\n.\r\nMAIL FROM:<>\r\nRSET\r\n")
    queued(c.reply())
    assert c.reply() == "250 2.1.0 Ok"
    assert c.reply() == "250 2.0.0 Ok"


@pytest.mark.parametrize("first, where", [("EHLO x\r\nNOOP\r\n", "EHLO"), ("HELO x\r\nMAIL FROM:<>\r\n", "HELO")])
def test_unauthorized_pipelining_ends_the_session(inst, first, where):
    """RFC 2920 section 3.1: nothing may follow EHLO unasked; the client is sent away."""
    x = Client(inst)
    x.send(first)
    assert x.reply() == "554 5.5.0 Error: SMTP protocol synchronization"
    assert x.closed()
    inst.wait_log(rf"improper command pipelining after {where} from (?:unknown|localhost)\[127\.0\.0\.1\]: ")


def test_data_behind_data_is_refused(inst, c):
    """RFC 5321 section 4.1.1.4: content before the 354 is a broken client, or a proxy that was led astray."""
    c.start()
    c.send("DATA\r\nSubject: x\r\n")
    assert c.reply().startswith("554 5.5.0")
    assert c.closed()


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n",
                                 b"\n.\r", b"\r\n.\r\r\n", b"\r\r\n.\n"])
def test_smuggling_ends_no_message(inst, c, end):
    """RFC 5321 section 4.1.1.4: no look-alike of CRLF.CRLF makes a second message of the rest."""
    c.start()
    assert c.cmd("DATA").startswith("354")
    c.send(b"Subject: x\r\n\r\na" + end + b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<ann@localhost>\r\nDATA\r\nx\r\n.\r\n")
    qid = queued(c.reply())
    assert c.cmd("NOOP") == "250 2.0.0 Ok"
    assert b"MAIL FROM:<evil@example.org>\n" in stored(inst, qid)


def test_http_hangs_up(inst):
    """smtpd_forbidden_commands: a browser that was made to speak to us learns nothing."""
    x = Client(inst)
    x.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert x.reply() == "221 2.7.0 Error: I can break rules, too. Goodbye." or x.buf == b""


def test_too_many_errors(inst):
    """smtpd_hard_error_limit: 421 and the end."""
    x = Client(inst)
    last = ""
    for _ in range(25):
        x.send("FOO\r\n")
        last = x.reply()
        if last.startswith("421"):
            break
    assert last == "421 4.7.0 mail.example.test Error: too many errors" or x.reply().startswith("421 4.7.0")
    inst.wait_log("too many errors after UNKNOWN from")


def test_relay_is_refused_to_strangers(inst, c):
    """Never an open relay: strangers reach our domains only, in no spelling others."""
    c.start(rcpts=())
    for r in ("x@elsewhere.example", "bob%elsewhere.example@localhost", "@localhost:x@elsewhere.example",
              "\"x@elsewhere.example\"@localhost", "elsewhere!x@localhost"):
        assert c.cmd(f"RCPT TO:<{r}>").split()[0] in ("554", "550", "501", "553"), r
    assert c.cmd("RCPT TO:<x@relay.example>") == "250 2.1.5 Ok"
    assert c.cmd("RCPT TO:<postmaster>") == "250 2.1.5 Ok"
    inst.wait_log(r"NOQUEUE: reject: RCPT from (?:unknown|localhost)\[127\.0\.0\.1\]: 554 5\.7\.1 <x@elsewhere\.example>: Relay access denied; "
                  r"from=<a@example\.org> to=<x@elsewhere\.example> proto=ESMTP helo=<client\.example\.org>$")


def test_open_relay_does_not_start(scratch):
    """smtpd ends with Postfix's words when nothing keeps strangers from relaying."""
    i = Instance(os.path.join(scratch, "open"), main={"smtpd_relay_restrictions": "permit_mynetworks",
                                               "smtpd_recipient_restrictions": "warn_if_reject reject"})
    try:
        i.start(wait=False)
        until(lambda: listens(i.host, i.port["smtp"]) and "specify at least one working instance" in i.log(), every=0.1)
        i.wait_log(r"fatal: in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working")
    finally:
        i.stop()


def test_classes_that_name_each_other(scratch):
    """Nobody but smtpd sees it after a bare SIGHUP: they are read once each, and who meets them hears 451; Postfix's smtpd would crash."""
    i = Instance(os.path.join(scratch, "knot"), main={"smtpd_delay_reject": "no"})
    try:
        i.start()
        with smtplib.SMTP(i.host, i.port["smtp"], timeout=60) as before:
            assert before.ehlo("h")[0] == 250
        names = " ".join(f"c{n}" for n in range(200))
        i.main.update({"smtpd_restriction_classes": names, "smtpd_helo_restrictions": "c1", **{f"c{n}": "permit_sasl_authenticated " + names for n in range(200)}})
        i.write_config()
        i.proc.send_signal(signal.SIGHUP)

        def answer():
            with smtplib.SMTP(i.host, i.port["smtp"], timeout=60) as s:
                return s.ehlo("h")[0]
        assert until(lambda: answer() == 451)
        i.wait_log("smtpd.*warning: restrictions nested too deeply")
        assert "killed by signal" not in i.log()
    finally:
        i.stop()


def test_access_tables(inst, c):
    """access(5): results and the order of keys."""
    def sender(a):
        assert c.cmd(f"MAIL FROM:<{a}>") == "250 2.1.0 Ok"
        r = c.cmd("RCPT TO:<bob@localhost>")
        if not r.startswith("250"):
            c.cmd("RSET")
        return r
    assert sender("bad@example.org") == "554 5.7.1 <bad@example.org>: Sender address rejected: no thanks"
    assert sender("bad+x@example.org") == "554 5.7.1 <bad+x@example.org>: Sender address rejected: no thanks"
    assert sender("code@example.org") == "451 4.7.9 <code@example.org>: Sender address rejected: go away"
    assert sender("later@example.org").startswith("450 4.7.1 <later@example.org>: Sender address rejected: wait")
    assert sender("class@example.org") == "554 5.7.1 <class@example.org>: Sender address rejected: Access denied"
    assert sender("any@other.example").endswith("Sender address rejected: user")
    assert sender("x@sub.net.example").endswith("Sender address rejected: net")
    assert sender("x@net.example").endswith("Sender address rejected: net")
    assert sender("pre@example.org") == "250 2.1.5 Ok"
    assert b"X-Seen: yes\nReceived:" in stored(inst, queued(c.data(b"\r\nx\r\n.\r\n")), before=50)
    assert sender("gone@example.org") == "250 2.1.5 Ok"
    queued(c.data(b"\r\nx\r\n.\r\n"))
    inst.wait_log(r": discard: RCPT from .*<gone@example\.org>: Sender address triggers DISCARD action; ")
    assert sender("held@example.org") == "250 2.1.5 Ok"
    qid = queued(c.data(b"\r\nx\r\n.\r\n"))
    assert os.path.exists(os.path.join(inst.queue, "hold", qid))


def test_size_limits(inst, c):
    """RFC 1870 section 6: what is declared and what comes are both held to the limit; the session goes on."""
    c.start()
    assert c.data(b"x" * 70 + b"\r\n" + (b"y" * 98 + b"\r\n") * 10200 + b".\r\n") == "552 5.3.4 Error: message file too big"
    c.start()
    qid = queued(c.data(b"Subject: big\r\n\r\n" + (b"y" * 98 + b"\r\n") * 9000 + b".\r\n"))
    assert stored(inst, qid).count(b"y" * 98 + b"\n") == 9000


def test_recipient_limit(inst, c):
    """smtpd_recipient_limit: 452 for those beyond, and the message goes to those before."""
    c.start(rcpts=["bob@localhost"] * 20)
    assert c.cmd("RCPT TO:<bob@localhost>") == "452 4.5.3 Error: too many recipients"
    queued(c.data(b"\r\nx\r\n.\r\n"))


def test_bdat(inst, c):
    """RFC 3030: chunks make one message; after any error nothing is left of it and the session goes on."""
    c.start()
    assert c.cmd("BDAT 12\r\nSubject: x\r\n"[:-2]) == "250 2.0.0 Ok: 12 bytes"
    assert c.cmd("DATA") == "503 5.5.1 Error: DATA after BDAT"
    assert c.cmd("RCPT TO:<ann@localhost>") == "503 5.5.1 Error: RCPT after BDAT"
    c.send(b"BDAT 10 LAST\r\n\r\n.\r\n..\r\nX")
    qid = queued(c.reply())
    assert b"\nSubject: x\n" in stored(inst, qid) and b"\n\n.\n..\nX\n" in stored(inst, qid)
    c.start()
    c.send(b"BDAT 5\r\nhelloRSET\r\nBDAT 3 LAST\r\nabc")
    assert [c.reply()[:3] for _ in range(3)] == ["250", "250", "503"]
    assert c.cmd("DATA").startswith("503")
    c.send(b"BDAT 999 x\r\n")
    assert c.reply() == "521 5.5.4 Syntax: BDAT count [LAST]"
    assert c.closed()


def test_starttls_forgets_and_refuses_injection(inst):
    """RFC 3207 section 4.2: what was said in clear text is gone, and bytes behind STARTTLS are never executed."""
    x = Client(inst)
    x.ehlo()
    x.send("STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
    r = x.reply()
    assert r.startswith("554 5.5.0")
    x = Client(inst)
    x.ehlo()
    assert x.cmd("STARTTLS") == "220 2.0.0 Ready to start TLS"
    x.start_tls()
    r = x.ehlo()
    assert "STARTTLS" not in r
    x.start()
    text = stored(inst, queued(x.data(b"\r\nx\r\n.\r\n"))).decode("latin-1")
    assert "with ESMTPS id" in text and "(using TLSv1.3 with cipher TLS_" in text and "(No client certificate requested)" in text
    inst.wait_log(r"Anonymous TLS connection established from (?:unknown|localhost)\[127\.0\.0\.1\]: TLSv1\.3 with cipher ")


def plain(user, password):
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def test_submission_and_auth(inst):
    """RFC 4954, 6409: nothing before TLS, nothing before AUTH; then mail goes anywhere, and the trace and the log say who."""
    x = Client(inst, "submission")
    assert "AUTH" not in x.ehlo()
    assert x.cmd("MAIL FROM:<a@example.org>") == "530 5.7.0 Must issue a STARTTLS command first"
    assert x.cmd("STARTTLS").startswith("220")
    x.start_tls()
    assert "250-AUTH " in x.ehlo()
    assert x.cmd("AUTH FOO").startswith("535 5.7.8")
    assert x.cmd("AUTH PLAIN !!") == "535 5.7.8 Error: authentication failed: Invalid base64 data in initial response"
    assert x.cmd("AUTH PLAIN " + plain(USER, "wrong")).startswith("535 5.7.8 Error: authentication failed:")
    inst.wait_log(r"SASL PLAIN authentication failed: .*, sasl_username=u1@example\.test")
    assert x.cmd("MAIL FROM:<a@example.org>").startswith("250")
    assert x.cmd("RCPT TO:<x@elsewhere.example>").startswith("554 5.7.1")
    assert x.cmd("RSET").startswith("250")
    assert x.cmd("AUTH LOGIN").startswith("334 ")
    assert x.cmd("*") == "501 5.7.0 Authentication aborted"
    assert x.cmd("AUTH LOGIN").startswith("334 ")
    assert x.cmd(base64.b64encode(USER.encode()).decode()).startswith("334 ")
    assert x.cmd(base64.b64encode(PASSWORD.encode()).decode()) == "235 2.7.0 Authentication successful"
    assert x.cmd("AUTH PLAIN x").startswith("503")
    x.start(rcpts=("x@elsewhere.example",))
    qid = queued(x.data(b"\r\nx\r\n.\r\n"))
    assert b"\t(Authenticated sender: u1@example.test)\n" in stored(inst, qid)
    assert b"with ESMTPSA id" in stored(inst, qid)
    inst.wait_log(rf"{qid}: client=(?:unknown|localhost)\[127\.0\.0\.1\], sasl_method=LOGIN, sasl_username=u1@example\.test$")


def test_challenge_mechanisms(inst):
    """RFC 2195 and RFC 5802/7677: CRAM-MD5 and SCRAM-SHA-256 as clients speak them, the server's proof included."""
    x = Client(inst, "smtps", tls=True)
    x.ehlo()
    challenge = base64.b64decode(x.cmd("AUTH CRAM-MD5")[4:])
    digest = hmac.new(PASSWORD.encode(), challenge, "md5").hexdigest()
    assert x.cmd(base64.b64encode(f"{USER} {digest}".encode()).decode()) == "235 2.7.0 Authentication successful"
    x = Client(inst, "smtps", tls=True)
    x.ehlo()
    bare = f"n={USER},r=clientnonce"
    first = base64.b64decode(x.cmd("AUTH SCRAM-SHA-256 " + base64.b64encode(("n,," + bare).encode()).decode())[4:]).decode()
    f = dict(p.split("=", 1) for p in first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(f["s"]), int(f["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    last = f"c=biws,r={f['r']}"
    auth = f"{bare},{first},{last}".encode()
    proof = bytes(a ^ b for a, b in zip(key, hmac.digest(hashlib.sha256(key).digest(), auth, "sha256")))
    r = x.cmd(base64.b64encode(f"{last},p={base64.b64encode(proof).decode()}".encode()).decode())
    server = base64.b64encode(hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), auth, "sha256")).decode()
    assert r.startswith("334 ") and base64.b64decode(r[4:]).decode() == "v=" + server
    assert x.cmd("") == "235 2.7.0 Authentication successful"


def test_smtputf8_and_dsn(inst, c):
    """RFC 6531 section 3.3, RFC 3461 section 4: parameters reach the trace and the envelope."""
    assert c.cmd("MAIL FROM:<gr\u00fc\u00dfe@example.org> SMTPUTF8 RET=HDRS ENVID=x+2By BODY=8BITMIME") == "250 2.1.0 Ok"
    assert c.cmd("RCPT TO:<bob@localhost> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bb@x.example") == "250 2.1.5 Ok"
    qid = queued(c.data("Subject: \u00fc\r\n\r\nx\r\n.\r\n"))
    text = stored(inst, qid)
    assert b"with UTF8SMTP id" in text and b"x+y" in text and b"rfc822;b+b@x.example" in text
    c.send(b"MAIL FROM:<a\xe9b@c.example>\r\n")
    assert c.reply() == "500 5.5.2 Error: bad UTF-8 syntax"


def test_wrapper_mode(inst):
    """RFC 8314 section 3.3: TLS from the first byte, AUTH PLAIN with an empty first response."""
    x = Client(inst, "smtps", tls=True)
    r = x.ehlo()
    assert "STARTTLS" not in r and "AUTH" in r
    assert x.cmd("AUTH PLAIN") == "334 "
    assert x.cmd(plain(USER, PASSWORD)) == "235 2.7.0 Authentication successful"
    x.start(rcpts=("x@elsewhere.example", "bob@localhost"))
    queued(x.data(b"\r\nx\r\n.\r\n"))


def test_xclient_and_xforward(inst):
    """A trusted front-end says who the client is; from then on that client is judged."""
    x = Client(inst)
    x.ehlo()
    assert x.cmd("XCLIENT FOO=1") == "501 5.5.4 Bad XCLIENT attribute name: FOO"
    assert x.cmd("XCLIENT ADDR=192.0.2.7 NAME=in.example.org") == "220 mail.example.test ESMTP Postern"
    r = x.ehlo()
    assert "XCLIENT" not in r
    x.start(rcpts=("x@elsewhere.example",))  # 192.0.2.7 is in mynetworks
    qid = queued(x.data(b"\r\nx\r\n.\r\n"))
    inst.wait_log(rf"{qid}: client=in\.example\.org\[192\.0\.2\.7\]$")
    x = Client(inst)
    x.ehlo()
    assert x.cmd("XFORWARD NAME=far.example ADDR=203.0.113.9 IDENT=ABC PROTO=SMTP HELO=h") == "250 2.0.0 Ok"
    x.start()
    qid = queued(x.data(b"\r\nx\r\n.\r\n"))
    inst.wait_log(rf"{qid}: client=(?:unknown|localhost)\[127\.0\.0\.1\], orig_queue_id=ABC, orig_client=far\.example\[203\.0\.113\.9\]$")


def test_lmtp_answers_for_each_recipient(inst):
    """RFC 2033 section 4.2: one reply per accepted recipient; no HELO, no EHLO."""
    x = Client(inst, "lmtp")
    assert x.cmd("EHLO x").startswith("500")
    assert x.cmd("MAIL FROM:<>").startswith("503")
    assert x.cmd("LHLO x").startswith("250-")
    x.start(rcpts=("bob@localhost", "ann@localhost"))
    a = queued(x.data(b"\r\nx\r\n.\r\n"))
    assert queued(x.reply()) == a


def test_lost_connections_are_logged(inst):
    """The log says after which command a client went away."""
    x = Client(inst)
    x.ehlo()
    x.start()
    assert x.cmd("DATA").startswith("354")
    x.send(b"Subject: x\r\n")
    time.sleep(0.2)
    x.close()
    lost = inst.wait_log(r"([0-9A-F]{10,}): lost connection after DATA \(\d+ bytes\) from (?:unknown|localhost)\[127\.0\.0\.1\]$")
    inst.wait_log(f"{lost[0][1]}: canceled$")


def test_a_message_that_is_not_completed_is_canceled(inst):
    """A queue id that no queue will hold is said to be over; one of a message that was taken is not."""
    x = Client(inst)
    x.ehlo()
    x.start(rcpts=("bob@localhost",))
    x.cmd("RSET")
    x.start(rcpts=("bob@localhost",))
    taken = queued(x.data(b"\r\nx\r\n.\r\n"))
    x.cmd("QUIT")
    inst.wait_log(r"smtpd\[\d+\]: [0-9A-F]{10,}: canceled$")
    assert f"{taken}: canceled" not in inst.log()


def test_ends_with_421_for_idle_clients(scratch):
    """RFC 5321 section 3.8: a server that goes down tells those who wait."""
    i = Instance(os.path.join(scratch, "down"))
    i.start()
    x = Client(i)
    x.ehlo()
    i.stop()
    assert x.reply().startswith("421 4.3.2 ")


def test_reload_drops_nobody(scratch):
    """A session that is open while the configuration is read anew goes on to its end."""
    i = Instance(os.path.join(scratch, "reload"))
    with i:
        x = Client(i)
        x.ehlo()
        i.proc.send_signal(signal.SIGHUP)
        i.wait_log("reload")
        y = Client(i)
        y.ehlo()
        time.sleep(0.5)
        x.start(rcpts=("bob@localhost",))
        queued(x.data(b"\r\nx\r\n.\r\n"))
        assert x.cmd("QUIT").startswith("221")


@pytest.mark.parametrize("header, addr", [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n", "192.0.2.7"), (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\x08\xc6\x33\x64\1\x10\0\0\x19", "192.0.2.8"),
    (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.0.0.1"), (b"PROXY TCP4 1.2.3 198.51.100.1 4711 25\r\n", None),
    (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04abcd", None), (b"PROXY " + b"x" * 200 + b"\r\n", None), (b"EHLO x xxxxxxxxxxxxxxxxx\r\n", None)])
def test_proxy_header(balanced, header, addr):
    """The PROXY protocol, versions 1 and 2: the client behind the balancer is the one that is judged; nonsense is told so and cut off."""
    x = Client(balanced, greet=False)
    x.send(header)
    if addr is None:
        assert x.reply() == "421 4.3.0 mail.example.test Server local error"
        assert x.closed()
        return
    assert x.reply().startswith("220 ")
    x.cmd("QUIT")
    balanced.wait_log(rf"connect from unknown\[{re.escape(addr)}\]")


@pytest.fixture(scope="module")
def balanced(scratch):
    with Instance(os.path.join(scratch, "proxy"), main={"smtpd_upstream_proxy_protocol": "haproxy", "smtpd_peername_lookup": "no"}) as i:
        yield i


def test_client_limits(scratch):
    """smtpd_client_connection_count_limit and the rates: counted by anvil(8) over all processes, given back at the end."""
    with Instance(os.path.join(scratch, "limits"), main={
            "mynetworks": "192.0.2.0/24", "smtpd_client_connection_count_limit": "3", "smtpd_client_message_rate_limit": "2",
            "local_recipient_maps": "inline:{ bob=x }"}) as i:
        def admitted():
            """A session; those that are over, as that which looked whether the port answers, may be counted a moment longer."""
            def greeted():
                c = Client(i, greet=False)
                return c if c.reply().startswith("220 ") else c.close()
            return until(greeted)
        open_ = [admitted() for _ in range(3)]
        x = Client(i, greet=False)
        assert x.reply().startswith("421 4.7.0 mail.example.test Error: too many connections from 127.0.0.1")
        open_.pop().close()
        x = admitted()
        x.ehlo()
        assert [x.cmd("MAIL FROM:<>")[:3] + x.cmd("RSET")[:3] for _ in range(3)] == ["250250", "250250", "450250"]
        i.wait_log(r"Connection concurrency limit exceeded: 4 from (?:unknown|localhost)\[127\.0\.0\.1\]|Connection concurrency limit exceeded: 4 from ")


class PolicyServer(threading.Thread):
    """Speaks the policy delegation protocol on a UNIX socket; answers by the sender's local part."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.s = socket.socket(socket.AF_UNIX)
        self.s.bind(path)
        self.s.listen(5)
        self.seen = []
        self.start()

    def run(self):
        while True:
            c, _ = self.s.accept()
            f = c.makefile("rwb")
            attrs = {}
            for line in f:
                if line != b"\n":
                    k, v = line.decode().rstrip("\n").split("=", 1)
                    attrs[k] = v
                    continue
                self.seen.append(attrs)
                action = {"bad": "REJECT by policy", "defer": "DEFER_IF_PERMIT later", "hang": None}.get(
                    attrs["sender"].split("@")[0], "DUNNO")
                attrs = {}
                if action is None:
                    break
                f.write(f"action={action}\n\n".encode())
                f.flush()
            f.close()
            c.close()


def test_policy_service_and_timeout(scratch):
    """check_policy_service asks with Postfix's attributes and does what it is told; silence of a client ends the session."""
    path = os.path.join(scratch, "policy.sock")
    server = PolicyServer(path)
    os.chmod(path, 0o666)
    with Instance(os.path.join(scratch, "policy"), main={
            "smtpd_recipient_restrictions": f"check_policy_service unix:{path}", "smtpd_policy_service_retry_delay": "1s",
            "smtpd_timeout": "4s", "mydestination": "localhost"}) as i:
        x = Client(i)
        x.ehlo()
        x.start("good@example.org")
        x.cmd("RSET")
        for sender, answer in (("bad", "554 5.7.1 <bob@localhost>: Recipient address rejected: by policy"),
                               ("defer", "450 4.7.1 <bob@localhost>: Recipient address rejected: later"),
                               ("hang", "451 4.3.5 <bob@localhost>: Recipient address rejected: Server configuration problem")):
            assert x.cmd(f"MAIL FROM:<{sender}@example.org>").startswith("250")
            assert x.cmd("RCPT TO:<bob@localhost>") == answer
            x.cmd("RSET")
        a = server.seen[0]
        assert (a["request"], a["protocol_state"], a["protocol_name"], a["client_address"], a["helo_name"], a["sender"],
                a["recipient"]) == ("smtpd_access_policy", "RCPT", "ESMTP", "127.0.0.1", "client.example.org", "good@example.org",
                                    "bob@localhost")
        assert x.reply() == "421 4.4.2 mail.example.test Error: timeout exceeded"
        assert x.closed()
        i.wait_log(r"timeout after RSET from ")


class Dns(threading.Thread):
    """Answers A, PTR, MX and TXT from a table; the rest is NXDOMAIN, or SERVFAIL below `broken`."""

    def __init__(self, table, broken=None):
        super().__init__(daemon=True)
        self.table, self.broken = table, broken
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind(("127.0.0.1", 0))
        self.port = self.s.getsockname()[1]
        self.start()

    @staticmethod
    def name(text):
        return b"".join(bytes([len(p)]) + p.encode() for p in text.split(".") if p) + b"\0"

    def run(self):
        while True:
            q, peer = self.s.recvfrom(2000)
            at, labels = 12, []
            while q[at]:
                labels.append(q[at + 1:at + 1 + q[at]].decode())
                at += q[at] + 1
            question = q[12:at + 5]
            kind = int.from_bytes(q[at + 1:at + 3], "big")
            name = ".".join(labels).lower()
            if self.broken and name.endswith(self.broken):
                self.s.sendto(q[:2] + b"\x81\x82" + b"\0\1" + bytes(6) + question, peer)
                continue
            data = self.table.get((name, kind))
            known = any(n == name for n, _ in self.table)
            rdata = b"" if data is None else {1: lambda d: socket.inet_aton(d), 12: self.name, 16: lambda d: bytes([len(d)]) + d.encode(),
                                              15: lambda d: b"\0\x0a" + self.name(d)}[kind](data)
            head = q[:2] + b"\x81" + (b"\x80" if known else b"\x83") + b"\0\1" + (b"\0\1" if data is not None else b"\0\0") + b"\0\0\0\0"
            answer = b"" if data is None else b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1\0\0\0\x3c" + len(rdata).to_bytes(2, "big") + rdata
            self.s.sendto(head + question + answer, peer)


def test_names_and_block_lists(scratch):
    """RFC 5782: a listed address is refused with the list's words; names of clients, HELO and senders are what DNS says."""
    dns = Dns({("9.0.0.127.in-addr.arpa", 12): "client.example.net", ("client.example.net", 1): "127.0.0.9",
               ("9.2.0.192.bl.example", 1): "127.0.0.4", ("9.2.0.192.bl.example", 16): "see the list",
               ("8.2.0.192.bl.example", 1): "127.0.0.9", ("7.2.0.192.in-addr.arpa", 12): "liar.example.net", ("liar.example.net", 1): "127.0.0.66",
               ("good.example", 15): "mx.good.example", ("null.example", 15): ".", ("spam.example.rhs.example", 1): "127.0.0.2",
               ("spam.example", 1): "192.0.2.1"})
    with Instance(os.path.join(scratch, "dns"), main={
            "resolver_nameservers": f"127.0.0.1:{dns.port}", "mynetworks": "203.0.113.0/24", "mydestination": "localhost",
            "smtpd_authorized_xclient_hosts": "127.0.0.9", "smtpd_hard_error_limit": "100", "smtpd_error_sleep_time": "0",
            "smtpd_client_restrictions": "reject_rbl_client bl.example=127.0.0.[2..5]",
            "smtpd_helo_restrictions": "reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname",
            "smtpd_sender_restrictions": "reject_non_fqdn_sender, reject_unknown_sender_domain, reject_rhsbl_sender rhs.example"}) as i:
        def try_it(sender="a@good.example", addr=None, helo="client.example.org"):
            x = Client(i, source="127.0.0.9")  # an address that no hosts file names
            if addr:
                x.cmd(f"XCLIENT ADDR={addr}")
            x.cmd("EHLO " + helo)
            x.cmd(f"MAIL FROM:<{sender}>")
            r = x.cmd("RCPT TO:<bob@localhost>")
            x.cmd("QUIT")
            return r
        assert try_it() == "250 2.1.5 Ok"
        i.wait_log(r"connect from client\.example\.net\[127\.0\.0\.9\]")
        assert try_it(addr="192.0.2.8") == "250 2.1.5 Ok"  # listed with a value that does not count
        assert try_it(addr="192.0.2.9") == \
            "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using bl.example; see the list"
        assert try_it(helo="a_b..c").startswith("501 5.5.2 <a_b..c>: Helo command rejected: Invalid name")
        assert try_it(helo="single") == "504 5.5.2 <single>: Helo command rejected: need fully-qualified hostname"
        assert try_it("a@nowhere.example") == "450 4.1.8 <a@nowhere.example>: Sender address rejected: Domain not found"
        assert try_it("a@null.example").startswith("550 5.7.27 <a@null.example>: Sender address rejected: Domain null.example does not")
        assert try_it("a@short") == "504 5.5.2 <a@short>: Sender address rejected: need fully-qualified address"
        assert try_it("a@spam.example").startswith("554 5.7.1 Service unavailable; Sender address [a@spam.example] blocked using rhs.example")
        assert try_it("") == "250 2.1.5 Ok"


def test_block_list_without_answer(scratch):
    """A DNS list that gives no answer lets mail pass, an allow list makes a refusal one for now; neither is asked again in the session."""
    dns = Dns({}, broken=".dead.example")
    with Instance(os.path.join(scratch, "rbldead"), main={
            "resolver_nameservers": f"127.0.0.1:{dns.port}", "mynetworks": "203.0.113.0/24", "mydestination": "localhost", "smtpd_authorized_xclient_hosts": "127.0.0.9",
            "smtpd_client_restrictions": "reject_rbl_client bl.dead.example", "smtpd_recipient_restrictions": "permit_dnswl_client wl.dead.example, check_recipient_access inline:{no@localhost=REJECT}"}) as i:
        def session():
            x = Client(i, source="127.0.0.9")
            x.cmd("XCLIENT ADDR=192.0.2.9")
            x.cmd("EHLO client.example.org")
            replies = []
            for _ in range(3):
                x.cmd("MAIL FROM:<a@good.example>")
                replies += [x.cmd("RCPT TO:<bob@localhost>"), x.cmd("RCPT TO:<no@localhost>")]
                x.cmd("RSET")
            x.cmd("QUIT")
            return replies
        assert session() == ["250 2.1.5 Ok", "450 4.7.1 Service unavailable; try again later"] * 3
        assert len(re.findall(r"9\.2\.0\.192\.bl\.dead\.example: RBL lookup error: ", i.log())) == 1
        assert len(re.findall(r"9\.2\.0\.192\.wl\.dead\.example: RBL lookup error: ", i.log())) == 1
        session()  # a new one asks again
        assert len(re.findall(r"9\.2\.0\.192\.bl\.dead\.example: RBL lookup error: ", i.log())) == 2


def test_garbage_ends_no_process(inst):
    """Whatever comes: replies or the end, and the next client is served."""
    rnd = random.Random(1)
    words = [b"EHLO x\r\n", b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<bob@localhost>\r\n", b"DATA\r\n", b"\r\n.\r\n", b"BDAT 10\r\n",
             b"BDAT 5 LAST\r\nabcde", b"RSET\r\n", b"VRFY bob\r\n", b"XFORWARD NAME=a\r\n", b"XCLIENT ADDR=[UNAVAILABLE]\r\n", b"AUTH PLAIN\r\n",
             b"\0", b"\xff\xfe\r\n", b"\n", b"\r", b"A" * 3000, b"MAIL FROM:<" + b"(" * 500 + b">\r\n", b"RCPT TO:<\"" + b"\\\"" * 300 + b"@x>\r\n",
             b"STARTTLS\r\n", b"\x16\x03\x01\x02\x00", b"NOOP\r\n", b"HELO y\r\n"]
    for _ in range(300):
        s = socket.create_connection((inst.host, inst.port["smtp"]), PATIENCE)
        try:
            for _ in range(rnd.randrange(1, 12)):
                s.sendall(rnd.choice(words))
                if rnd.random() < 0.4:
                    s.settimeout(0.01)
                    try:
                        s.recv(65536)
                    except TimeoutError:
                        pass
        except OSError:
            pass
        s.close()
    Client(inst).ehlo()
    assert not re.search(r"smtpd.*(killed by|exit status|panic|broken invariant)|process .*/smtpd pid \d+ (killed|exit)", inst.log())


def test_lmtpd_is_installed():
    """One binary, two names."""
    assert os.path.exists(os.path.join(SBIN, "lmtpd"))


def notices(inst, wanted):
    """The transcripts in the queue: deferred, because local is. Waits for so many."""
    end = time.monotonic() + PATIENCE
    while True:
        found = {}  # a message on its way from one place to another may be listed twice
        for line in inst.command("postqueue", "-j", text=True).stdout.splitlines():
            item = json.loads(line)
            if any(r["address"].startswith(("watch@", "told@")) for r in item["recipients"]):
                text = inst.command("postcat", "-q", item["queue_id"], text=True).stdout
                if " In:  EHLO " in text:  # not those of other tests
                    found[item["queue_id"]] = (item, text)
        if len(found) >= wanted or time.monotonic() > end:
            return list(found.values())
        time.sleep(0.1)


def test_postmaster_reads_what_was_said(inst):
    def talk(*steps, quit_at_end=True):
        c = Client(inst, "watched")
        for step in steps + (("QUIT",) if quit_at_end else ()):
            c.cmd(step)
        c.s.close()

    talk("EHLO c", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@mail.example.test>")  # nothing to tell
    talk("EHLO c", "MAIL FROM:<double-bounce@b.example>", "RCPT TO:<x@other.example>")  # a notice that came back
    talk("EHLO c", "MAIL FROM:<a@b.example>", "RCPT TO:<x@other.example>")
    talk("EHLO gone", "MAIL FROM:<a@b.example>", "RCPT TO:<nobody@mail.example.test>")
    talk("EHLO c", "FOO\001", "AUTH PLAIN c2VjcmV0IHRleHQ=", quit_at_end=False)
    talk("EHLO mended", "BAR", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@mail.example.test>", "DATA", "Subject: x\r\n\r\nx\r\n.")  # the mail came all the same
    talk("EHLO long", *["BAR"] * 10, "RSET")
    found = notices(inst, 4)
    assert len(found) == 4 and not any("EHLO mended" in text for _, text in found)
    unknown = next(f for f in found if "EHLO gone" in f[1])
    assert [r["address"] for r in unknown[0]["recipients"]] == ["told@mail.example.test"]
    found.remove(unknown)
    long = next(text for _, text in found if "EHLO long" in text)
    assert long.count(" In:  BAR\n") == 10 and "RSET" not in long and "QUIT" not in long
    found = [f for f in found if f[1] != long]
    policy, protocol = sorted((text for _, text in found), key=lambda t: "FOO" in t)
    assert {item["sender"].split("@")[0] for item, _ in found} == {"double-bounce"}
    assert " SMTP server: errors from " in policy
    assert "\n Out: 220 mail.example.test " in policy and "\n In:  EHLO c\n" in policy
    assert " In:  RCPT TO:<x@other.example>\n Out: 554 5.7.1 <x@other.example>: Relay access denied\n In:  QUIT\n Out: 221 2.0.0 Bye\n" in policy
    assert "Session aborted" not in policy
    assert " In:  FOO?\n Out: 500 5.5.2 Error: command not recognized\n" in protocol
    assert " In:  AUTH PLAIN" in protocol and "c2Vj" not in protocol
    assert "\nSession aborted, reason: lost connection\n" in protocol
