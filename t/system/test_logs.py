"""The log as log readers expect it, and the same events as JSON lines (event_log(5))."""
import collections
import json
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import fakesmtp
import peer
from beside import NET, LowDns
from fakeauth import AuthServer, b64
from fakeservers import Server as Table
from fakesmtp import Server
from instance import BIN, PATIENCE, ROOT, Dns, Instance, mailbox_instance, make_certificates, scratch, until

HEADER_CHECKS = """/^Subject: refuse/ REJECT not that subject
/^Subject: odd/ WARN odd
/^Subject: keep/ HOLD why
/^Subject: away/ REDIRECT w@virt.test
/^Subject: vanish/ DISCARD unseen
"""
ACCESS = """warn@sink.test WARN look out
defer@sink.test DEFER later please
info@sink.test INFO well
away@sink.test REDIRECT u@virt.test
filter@sink.test FILTER discard:x
copy@sink.test BCC w@virt.test
hold@sink.test HOLD for a look
drop@sink.test DISCARD unwanted
rbl@sink.test reject_rbl_client bl.test
rhsbl@sink.test reject_rhsbl_sender dbl.test
helo@sink.test reject_unknown_helo_hostname
domain@sink.test reject_unknown_sender_domain
policy@sink.test ask_policy
far@far.test reject_unauth_destination
"""
RECORDS = ("address=/1.0.0.127.bl.test/127.0.0.2", 'txt-record=1.0.0.127.bl.test,"listed, see bl.test"', "address=/x.test.dbl.test/127.0.0.2", "address=/x.test/127.0.0.1")
ME = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
ALIASES = 'inline:{{command=|"cat >/dev/null"}, {boom=|"exit 67"}, {later=|"exit 75"}, {file=/dev/null}, {loop=command, file}}'
MASTER = [f"script unix - n n - - pipe flags=Rq user={ME} argv=/bin/sh -c ${{nexthop}}"]


def policy_request(f):
    lines = list(iter(lambda: f.readline().strip(), b""))
    return lines or None


class Around:
    """What the traffic needs of others: DNS, a server of mail and one with TLS, of policy, of passwords."""

    def __init__(self, base):
        replies = {"RCPT TO:<no@sink.test>": "550 5.1.1 no such user", "RCPT TO:<later@sink.test>": "451 4.2.0 come back"}
        self.plain = Server(**replies)
        tls = os.path.join(base, "sink")
        os.mkdir(tls)
        self.tls = Server(keywords=[*fakesmtp.EHLO, "STARTTLS"], tls=fakesmtp.context(tls)[0])
        self.policy = Table(policy_request, lambda _: b"action=REJECT policy says no\n\n")
        self.auth = AuthServer()
        self.dns = LowDns(base, RECORDS, NET + ".53") if os.getuid() == 0 else Dns(base, RECORDS)
        self.dns.start()


def settings(base, around, uid):
    """Works for ours and Postfix alike."""
    _, cert, key = make_certificates(os.path.join(base, "tls"))
    base = os.path.join(base, f"tables{len(os.listdir(base))}")  # a table that is written again would be read again
    os.makedirs(base + "/spool")
    os.chmod(base + "/spool", 0o1777)
    for name, text in (("header_checks", HEADER_CHECKS), ("access", ACCESS)):
        with open(os.path.join(base, name), "w", encoding="ascii") as f:
            f.write(text)
    return {
        "virtual_mailbox_domains": "virt.test", "virtual_mailbox_maps": "inline:{u@virt.test=u/,w@virt.test=w/}",
        "virtual_alias_maps": "inline:{alias@virt.test=u@virt.test}",
        "virtual_uid_maps": f"static:{uid}", "virtual_gid_maps": f"static:{uid}", "virtual_minimum_uid": str(min(uid, 100)),
        "relay_domains": "sink.test, tls.test, dead.test", "local_recipient_maps": "inline:{command=x,boom=x,later=x,file=x,loop=x,%s=x}" % ME, "alias_maps": ALIASES, "mail_spool_directory": f"{base}/spool",
        "transport_maps": f"inline:{{sink.test=smtp:[127.0.0.1]:{around.plain.port},tls.test=smtp:[127.0.0.1]:{around.tls.port},dead.test=smtp:[127.0.0.1]:1,"
                          "x.test=discard:report,{ok@pipe.test=script:cat}, {no@pipe.test=script:exit 69}, {later@pipe.test=script:exit 75}}",
        "smtp_tls_security_level": "may", "smtp_tls_loglevel": "1",
        "smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": f"inet:127.0.0.1:{around.auth.port}", "smtpd_sasl_security_options": "noanonymous",
        "smtpd_restriction_classes": "ask_policy", "ask_policy": f"check_policy_service inet:127.0.0.1:{around.policy.port}",
        "smtpd_forbid_unauth_pipelining": "yes", "smtpd_peername_lookup": "no",
        "smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key, "smtpd_tls_security_level": "may", "smtpd_tls_loglevel": "1",
        "smtpd_recipient_restrictions": f"check_recipient_access texthash:{base}/access", "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "smtpd_helo_restrictions": "check_helo_access inline:{{badhelo.test=REJECT bad greeting}}",
        "smtpd_sender_restrictions": "check_sender_access inline:{{spam@x.test=REJECT bad sender}}, reject_non_fqdn_sender",
        "smtpd_hard_error_limit": "5", "smtpd_error_sleep_time": "0", "smtpd_timeout": "3s", "header_checks": f"regexp:{base}/header_checks",
        "minimal_backoff_time": "300s", "queue_run_delay": "300s", "message_size_limit": "100000", "mailbox_size_limit": "0",
    }


class Client:
    def __init__(self, i, *commands, port="smtp"):
        self.s = socket.create_connection((i.host, i.port[port]), 20)
        self.f = self.s.makefile("rb")
        self.reply()
        self.say(*commands)

    def reply(self):
        while True:
            line = self.f.readline()
            if not line or line[3:4] != b"-":
                return line.decode("latin-1").rstrip()

    def say(self, *commands):
        r = ""
        for c in commands:
            self.s.sendall(c.encode("latin-1") + b"\r\n")
            r = self.reply()
        return r

    def mail(self, to, subject, sender="a@x.test"):
        self.say(f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>")
        if self.say("DATA").startswith("354"):
            self.say(f"Message-ID: <{subject}@x.test>\r\nSubject: {subject}\r\n\r\ntext\r\n.")

    def tls(self):
        assert self.say("STARTTLS").startswith("220 ")
        c = ssl.create_default_context()
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
        self.f.close()
        self.s = c.wrap_socket(self.s)
        self.f = self.s.makefile("rb")

    def drop(self):
        self.f.close()
        self.s.close()


def traffic(i):
    """One of everything that a log reader counts."""
    c = Client(i, "EHLO me.test")
    for to, subject in (("u@virt.test", "one"), ("alias@virt.test", "two"), ("ok@sink.test", "three"), ("no@sink.test", "four"),
                        ("later@sink.test", "five"), ("x@dead.test", "six"), ("warn@sink.test", "seven"), ("info@sink.test", "eight"),
                        ("away@sink.test", "nine"), ("filter@sink.test", "ten"), ("copy@sink.test", "eleven"), ("u@virt.test", "odd"),
                        ("u@virt.test", "keep"), ("u@virt.test", "away"), ("u@virt.test", "refuse"), ("u@virt.test", "vanish"), ("hold@sink.test", "held"),
                        ("drop@sink.test", "dropped"), ("x@tls.test", "secret"), ("ok@pipe.test", "pipe"), ("no@pipe.test", "pipeno"), ("later@pipe.test", "pipelater"),
                        *((f"{n}@mail.example.test", n) for n in ("command", "boom", "later", "file", "loop")), (f"{ME}@mail.example.test", "spool")):
        c.mail(to, subject)
        time.sleep(0.1)
    c.say("QUIT")
    Client(i, "EHLO me.test", "MAIL FROM:<a@x.test>", "RCPT TO:<nouser@virt.test>", "RCPT TO:<nouser@mail.example.test>",
           "RCPT TO:<defer@sink.test>", "RSET", "VRFY u@virt.test", "NOOP", "QUIT").drop()
    Client(i, "EHLO badhelo.test", "MAIL FROM:<a@x.test>", "RCPT TO:<u@virt.test>", "QUIT").drop()
    Client(i, "EHLO me.test", "MAIL FROM:<spam@x.test>", "RCPT TO:<u@virt.test>", "RSET", "MAIL FROM:<nodomain>", "RCPT TO:<u@virt.test>", "QUIT").drop()
    Client(i, "EHLO me.test", "RCPT TO:<x>", "DATA", "FOO", "MAIL", "RCPT", "BAR").drop()  # too many errors
    Client(i, "HELO me.test", "MAIL FROM:<a@x.test>").drop()
    Client(i, "EHLO me.test", "MAIL FROM:<a@x.test> SIZE=99999999", "QUIT").drop()
    Client(i, "GET / HTTP/1.0").drop()
    Client(i, "EHLO me.test", "Subject: not now").drop()
    c = Client(i, "EHLO me.test", "MAIL FROM:<a@x.test>")
    for to in ("rbl@sink.test", "rhsbl@sink.test", "helo@sink.test", "policy@sink.test"):
        c.say(f"RCPT TO:<{to}>", "NOOP")
    c.say("QUIT")
    c.drop()
    Client(i, "EHLO me.test", "MAIL FROM:<a@nowhere.test>", "RCPT TO:<domain@sink.test>", "RSET", "MAIL FROM:<a@x.test>", "RCPT TO:<far@far.test>", "QUIT").drop()
    c = Client(i, "EHLO me.test", "AUTH PLAIN " + b64("\0good\0bad"), "AUTH LOGIN", b64("good"), b64("bad"))
    c.say("AUTH CRAM-MD5", b64("good 0123456789abcdef"), "AUTH FOO", "RSET", "QUIT")
    c.drop()
    Client(i, "EHLO me.test", "AUTH LOGIN", "*", "AUTH LOGIN", "%%%").drop()
    c = Client(i, "EHLO me.test")
    c.tls()
    c.say("EHLO me.test", "AUTH PLAIN " + b64("\0good\0pass"))
    c.mail("ok@sink.test", "authenticated")
    c.say("QUIT")
    c.drop()
    c = Client(i)
    c.s.sendall(b"HELO me.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<u@virt.test>\r\n")
    try:
        while c.reply():
            pass
    except ConnectionResetError:  # some of it was not read
        pass
    c.drop()
    c = Client(i, "EHLO me.test")
    c.say("MAIL FROM:<a@x.test>", "RCPT TO:<u@virt.test>", "DATA")
    assert c.say("Message-ID: <big@x.test>\r\n\r\n" + 2000 * ("x" * 70 + "\r\n") + ".").startswith("552 5.3.4 ")
    c.say("QUIT")
    c.drop()
    c = Client(i, "EHLO me.test", "STARTTLS")
    c.s.sendall(b"no handshake\r\n\r\n")
    time.sleep(0.3)
    c.drop()
    c = Client(i, "EHLO me.test")  # silent
    assert c.reply().startswith("421 4.4.2 ")
    i.command("sendmail", "-f", "a@x.test", "u@virt.test", input=b"Message-ID: <local@x.test>\n\nbody\n")


def handling(i):
    """What postsuper does with a message that waits, and with one that is held."""
    def queue_id(name):
        return re.search(rf": (\w+): message-id=<{name}@", i.log())[1]
    keep = queue_id("keep")
    assert i.command("postsuper", "-H", keep).returncode == 0
    i.command("postqueue", "-i", keep)  # ours has been tried already
    assert until(lambda: f": {keep}: removed" in i.log()), i.log()[-6000:]
    assert i.command("postsuper", "-h", queue_id("later")).returncode == 0
    assert i.command("postsuper", "-d", queue_id("later"), "-d", queue_id("six")).returncode == 0
    assert until(lambda: "Deleted: 2 messages" in i.log()), i.log()[-6000:]


def finished(i):
    """Whether every message of the traffic, and every report about one, was tried."""
    log = i.log()
    over = set(re.findall(r": (\w+): removed$|: (\w+): to=.* status=deferred", log, re.M))
    over = {a or b for a, b in over} | set(re.findall(r": (\w+): (?:hold|discard|reject): header", log)) | set(re.findall(r": (\w+): message-id=<(?:held|dropped|big)@", log))
    begun = set(re.findall(r"/cleanup\[\d+\]: (\w+): message-id=", log))
    return len(begun) >= 17 and begun <= over and len(re.findall(r"status=sent \(delivered to maildir\)", log)) >= 7


def lines(i):
    """The log without what differs from run to run."""
    names, out = {}, []
    for line in i.log().splitlines():
        line = re.sub(r"^\w{3} [ \d]\d [\d:]{8} \S+ ", "", line)
        line = re.sub(r"^(\S+)\[\d+\]:", r"\1:", line)
        line = re.sub(r"\bdelay=[\d.]+, delays=[\d./]+", "delay=N, delays=N", line)
        line = re.sub(r" conn_use=\d+,", "", line)  # as time has it
        line = re.sub(r"\]:\d{4,5}\b", "]:PORT", re.sub(r"\bsize=\d+", "size=N", line)).replace("localhost[", "unknown[")
        line = re.sub(r"(error:0A00010B:SSL routines::wrong version number:)\S*", r"\1", line)
        m = re.search(r": ([0-9A-Za-z]+): message-id=<(\w+)@x\.test>", line)
        if m:
            names[m[1]] = m[2].upper()
        out.append(line)
    out = [re.sub(r"\b[0-9A-F]{9,16}\b", lambda m: names.get(m[0], "QID"), x) for x in out]
    return [re.sub(r"message-id=<\S+@mail\.example\.test>", "message-id=<OURS>", x) for x in out]


@pytest.fixture(scope="module")
def base():
    d = scratch("postern-logs.")
    yield d
    shutil.rmtree(d, ignore_errors=True)


@pytest.fixture(scope="module")
def around(base):
    a = Around(base)
    yield a
    a.dns.stop()


@pytest.fixture(scope="module")
def ours(base, around):
    i = Instance(os.path.join(base, "ours"), master=MASTER)
    i.main.update(settings(base, around, i.uid))
    i.main.update({"virtual_mailbox_base": i.mail, "event_log": os.path.join(base, "ours", "events"), "maillog_file_permissions": "0644",
                   "resolver_nameservers": f"{around.dns.host}:{around.dns.port}"})
    i.start()
    try:
        traffic(i)
        assert until(lambda: finished(i)), i.log()[-6000:]
        handling(i)
        yield i
    finally:
        i.stop()


@pytest.fixture(scope="module")
def theirs(base, around):
    if not peer.HAVE:
        pytest.skip("Debian's postfix is not installed (or this is not root)")
    p = peer.Peer(os.path.join(base, "theirs"), resolver=around.dns.host, master=MASTER)
    p.main.update(settings(base, around, 5000))
    p.main["virtual_mailbox_base"] = p.mail
    p.start()
    try:
        traffic(p)
        assert until(lambda: finished(p)), p.log()[-6000:]
        handling(p)
        yield p
    finally:
        p.stop()


WANTED = r"""
postfix/smtpd: connect from unknown\[127.0.0.1\]
postfix/smtpd: ONE: client=unknown\[127.0.0.1\]
postfix/cleanup: ONE: message-id=<one@x.test>
postfix/qmgr: ONE: from=<a@x.test>, size=N, nrcpt=1 \(queue active\)
postfix/virtual: ONE: to=<u@virt.test>, relay=virtual, delay=N, delays=N, dsn=2.0.0, status=sent \(delivered to maildir\)
postfix/qmgr: ONE: removed
postfix/virtual: TWO: to=<u@virt.test>, orig_to=<alias@virt.test>, relay=virtual, delay=N, delays=N, dsn=2.0.0, status=sent \(delivered to maildir\)
postfix/smtp: THREE: to=<ok@sink.test>, relay=127.0.0.1\[127.0.0.1\]:PORT, delay=N, delays=N, dsn=2.0.0, status=sent \(250 .*\)
postfix/smtp: FOUR: to=<no@sink.test>, relay=127.0.0.1\[127.0.0.1\]:PORT, delay=N, delays=N, dsn=5.1.1, status=bounced \(host 127.0.0.1\[127.0.0.1\] said: 550 5.1.1 no such user \(in reply to RCPT TO command\)\)
postfix/bounce: FOUR: sender non-delivery notification: QID
postfix/smtp: FIVE: to=<later@sink.test>, relay=127.0.0.1\[127.0.0.1\]:PORT, delay=N, delays=N, dsn=4.2.0, status=deferred \(host 127.0.0.1\[127.0.0.1\] said: 451 4.2.0 come back \(in reply to RCPT TO command\)\)
postfix/smtp: connect to 127.0.0.1\[127.0.0.1\]:1: Connection refused
postfix/smtp: SIX: to=<x@dead.test>, relay=none, delay=N, delays=N, dsn=4.4.1, status=deferred \(connect to 127.0.0.1\[127.0.0.1\]:1: Connection refused\)
postfix/smtpd: NOQUEUE: warn: RCPT from unknown\[127.0.0.1\]: look out; from=<a@x.test> to=<warn@sink.test> proto=ESMTP helo=<me.test>
postfix/smtpd: NOQUEUE: info: RCPT from unknown\[127.0.0.1\]: well; from=<a@x.test> to=<info@sink.test> proto=ESMTP helo=<me.test>
postfix/smtpd: NOQUEUE: redirect: RCPT from unknown\[127.0.0.1\]: <away@sink.test>: Recipient address triggers REDIRECT u@virt.test; from=<a@x.test> to=<away@sink.test> proto=ESMTP helo=<me.test>
postfix/virtual: NINE: to=<u@virt.test>, orig_to=<away@sink.test>, relay=virtual, .* status=sent \(delivered to maildir\)
postfix/smtpd: NOQUEUE: filter: RCPT from unknown\[127.0.0.1\]: <filter@sink.test>: Recipient address triggers FILTER discard:x; from=<a@x.test> to=<filter@sink.test> proto=ESMTP helo=<me.test>
postfix/discard: TEN: to=<filter@sink.test>, relay=none, .* dsn=2.0.0, status=sent \(x\)
postfix/smtpd: NOQUEUE: bcc: RCPT from unknown\[127.0.0.1\]: <copy@sink.test>: Recipient address triggers BCC w@virt.test; from=<a@x.test> to=<copy@sink.test> proto=ESMTP helo=<me.test>
postfix/virtual: ELEVEN: to=<w@virt.test>, relay=virtual, .*
postfix/cleanup: ODD: warning: header Subject: odd from unknown\[127.0.0.1\]; from=<a@x.test> to=<u@virt.test> proto=ESMTP helo=<me.test>: odd
postfix/cleanup: KEEP: hold: header Subject: keep from unknown\[127.0.0.1\]; from=<a@x.test> to=<u@virt.test> proto=ESMTP helo=<me.test>: why
postfix/virtual: AWAY: to=<w@virt.test>, orig_to=<u@virt.test>, relay=virtual, .*
postfix/cleanup: REFUSE: reject: header Subject: refuse from unknown\[127.0.0.1\]; from=<a@x.test> to=<u@virt.test> proto=ESMTP helo=<me.test>: 5.7.1 not that subject
postfix/smtpd: NOQUEUE: reject: RCPT from unknown\[127.0.0.1\]: 550 5.1.1 <nouser@virt.test>: Recipient address rejected: User unknown in virtual mailbox table; from=<a@x.test> to=<nouser@virt.test> proto=ESMTP helo=<me.test>
postfix/cleanup: VANISH: discard: header Subject: vanish from unknown\[127.0.0.1\]; from=<a@x.test> to=<u@virt.test> proto=ESMTP helo=<me.test>: unseen
postfix/smtpd: NOQUEUE: hold: RCPT from unknown\[127.0.0.1\]: <hold@sink.test>: Recipient address for a look; from=<a@x.test> to=<hold@sink.test> proto=ESMTP helo=<me.test>
postfix/smtpd: NOQUEUE: discard: RCPT from unknown\[127.0.0.1\]: <drop@sink.test>: Recipient address unwanted; from=<a@x.test> to=<drop@sink.test> proto=ESMTP helo=<me.test>
postfix/smtpd: NOQUEUE: reject: RCPT from unknown\[127.0.0.1\]: 554 5.7.1 <spam@x.test>: Sender address rejected: bad sender; from=<spam@x.test> to=<u@virt.test> proto=ESMTP helo=<me.test>
postfix/smtpd: NOQUEUE: reject: RCPT from unknown\[127.0.0.1\]: 504 5.5.2 <nodomain>: Sender address rejected: need fully-qualified address; from=<nodomain> to=<u@virt.test> proto=ESMTP helo=<me.test>
postfix/smtpd: too many errors after RCPT from unknown\[127.0.0.1\]
postfix/smtpd: NOQUEUE: reject: RCPT from unknown\[127.0.0.1\]: 450 4.7.1 <defer@sink.test>: Recipient address rejected: later please; from=<a@x.test> to=<defer@sink.test> proto=ESMTP helo=<me.test>
postfix/smtpd: disconnect from unknown\[127.0.0.1\] ehlo=1 mail=1 rcpt=0/3 rset=1 noop=1 vrfy=1 quit=1 commands=6/9
postfix/smtpd: NOQUEUE: reject: RCPT from unknown\[127.0.0.1\]: 554 5.7.1 <badhelo.test>: Helo command rejected: bad greeting; from=<a@x.test> to=<u@virt.test> proto=ESMTP helo=<badhelo.test>
postfix/smtpd: lost connection after MAIL from unknown\[127.0.0.1\]
postfix/smtpd: NOQUEUE: reject: MAIL from unknown\[127.0.0.1\]: 552 5.3.4 Message size exceeds fixed limit; from=<a@x.test> proto=ESMTP helo=<me.test>
postfix/smtpd: warning: non-SMTP command from unknown\[127.0.0.1\]: GET / HTTP/1.0
postfix/smtpd: warning: non-SMTP command from unknown\[127.0.0.1\]: Subject: not now
postfix/smtpd: SSL_accept error from unknown\[127.0.0.1\]: -1
postfix/smtpd: warning: TLS library problem: error:0A00010B:SSL routines::wrong version number:
postfix/smtpd: lost connection after STARTTLS from unknown\[127.0.0.1\]
postfix/smtpd: timeout after EHLO from unknown\[127.0.0.1\]
postfix/pickup: LOCAL: uid=\d+ from=<a@x.test>
postfix/smtpd: NOQUEUE: reject: RCPT from unknown\[127.0.0.1\]: 554 5.7.1 Service unavailable; Client host \[127.0.0.1\] blocked using bl.test; listed.*; from=<a@x.test> to=<rbl@sink.test> .*
postfix/smtpd: NOQUEUE: reject: RCPT from unknown\[127.0.0.1\]: 554 5.7.1 <policy@sink.test>: Recipient address rejected: policy says no; .*
postfix/smtpd: NOQUEUE: reject: RCPT from unknown\[127.0.0.1\]: 554 5.7.1 <far@far.test>: Relay access denied; .*
postfix/smtpd: warning: unknown\[127.0.0.1\]: SASL PLAIN authentication failed: .*
postfix/smtpd: warning: unknown\[127.0.0.1\]: SASL LOGIN authentication failed: .*
postfix/smtpd: AUTHENTICATED: client=unknown\[127.0.0.1\], sasl_method=PLAIN, sasl_username=good
postfix/smtpd: Anonymous TLS connection established from unknown\[127.0.0.1\]: TLSv1.3 with cipher .*
postfix/smtp: Untrusted TLS connection established to 127.0.0.1\[127.0.0.1\]:PORT: TLSv1.3 with cipher .*
postfix/smtpd: improper command pipelining after HELO from unknown\[127.0.0.1\]: .*
postfix/local: COMMAND: to=<command@mail.example.test>, relay=local, .* status=sent \(delivered to command: cat >/dev/null\)
postfix/local: FILE: to=<file@mail.example.test>, relay=local, .* status=sent \(delivered to file: /dev/null\)
postfix/local: SPOOL: to=<.*>, relay=local, .* status=sent \(delivered to mailbox\)
postfix/pipe: PIPENO: to=<no@pipe.test>, relay=script, .* status=bounced .*
postfix/postsuper: KEEP: released from hold
postfix/postsuper: LATER: placed on hold
postfix/postsuper: SIX: removed
""".strip().splitlines()


def test_lines(ours):
    """Line by line as Postfix writes them."""
    have = lines(ours)
    assert not [w for w in WANTED if not any(re.fullmatch(w, line) for line in have)], "\n".join(have)


def test_postfix_writes_these_lines(theirs):
    """The table above is what Debian's Postfix writes for the same traffic."""
    have = lines(theirs)
    assert not [w for w in WANTED if not any(re.fullmatch(w, line) for line in have)], "\n".join(have)


def known(i):
    """The log without the line about its own workings that Postfix adds to a message that was too big."""
    return "".join(line for line in i.log().splitlines(True) if "mail_stream_cleanup: close error" not in line).encode()


def report(program, *args, log):
    if shutil.which(program) is None:
        pytest.skip(program + " is not installed")
    return subprocess.run([program, *args], input=log, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout.decode()


def numbers(text):
    """Counts and what they count; sizes, hours and delays differ with the run."""
    found = collections.Counter()
    sections = [x for x in text.split("\n\n") if "by message size" not in x]
    for line in re.sub(r" [0-9A-F]{9,16}: ", " ID: ", "\n".join(sections)).splitlines():
        m = re.match(r"\s+(\d+)\s+([A-Za-z_].*?)(?:\s+\(.*\))?\s*$", line)
        if m and "bytes" not in m[2] and "daemon started" not in m[2]:
            found[re.sub(r"localhost|unknown|\[127\.0\.0\.1\]|\(\)", "", m[2])] += int(m[1])
    return found


def test_pflogsumm_counts_the_same(ours, theirs):
    a, b = (numbers(report("pflogsumm", "--detail=20", log=known(i))) for i in (ours, theirs))
    assert a["received"] > 10 and a["rejected"] >= 5
    assert a == b


def test_pflogsumm_reads_it(ours):
    """What it counts is what was sent."""
    n = numbers(report("pflogsumm", log=known(ours)))
    assert n["delivered"] >= 12 and n["bounced"] >= 1 and n["rejected"] >= 5 and n["deferred"] >= 2


LOGWATCH = "/usr/share/logwatch/scripts/services/postfix"


def test_logwatch_counts_the_same(ours, theirs):
    """Its postfix script: the same numbers, and no line that it does not know at Postfix's."""
    if not os.path.exists(LOGWATCH):
        pytest.skip("logwatch is not installed")
    def summary(i):
        env = dict(os.environ, PERL5LIB="/usr/share/logwatch/lib", LOGWATCH_DETAIL_LEVEL="5")
        out = subprocess.run(["perl", LOGWATCH, "--detail", "5"], input=known(i), env=env, stdout=subprocess.PIPE, check=True).stdout.decode()
        counts = dict(re.findall(r"^ +\d+ +([A-Z][\w /()-]*?) {2,}([\d.%]+)$", out.split("Unmatched")[0], re.M))
        return {k: v for k, v in counts.items() if "ytes" not in k and k not in ("Postfix start", "Postfix stop")}
    assert summary(ours) == summary(theirs) and len(summary(ours)) > 10


def test_fail2ban_finds_what_it_finds_at_postfix(base, ours, theirs):
    """Each mode of Debian's filter matches as many lines of our log."""
    if shutil.which("fail2ban-regex") is None:
        pytest.skip("fail2ban is not installed")
    modes = ("normal", "more", "auth", "rbl", "ddos", "extra", "aggressive", "errors")
    both = os.path.join(base, "both")  # in one file, for to be started is most of what the program does
    with open(both, "w", encoding="utf-8") as f:
        f.writelines(re.sub(r"(?m)^(.{15} )\S+", r"\1" + name, i.log()) for name, i in (("ours", ours), ("theirs", theirs)))
    def matched(mode):
        out = subprocess.run(["fail2ban-regex", "--print-all-matched", both, f"postfix[mode={mode}]"], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, check=False).stdout.decode()
        lines = re.findall(r"^\|  .{15} (ours|theirs) ", out, re.M)
        assert len(lines) == int(re.search(r"(\d+) matched", out)[1]), out
        return lines.count("ours"), lines.count("theirs")
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(modes, pool.map(matched, modes)))
    assert all(a == b > 0 for a, b in found.values()), found


@pytest.fixture(scope="module")
def boxes(base):
    """Log-ins to mailboxes: good, wrong, none; and mail that is given up. Stopped."""
    d = os.path.join(base, "boxes")
    i = mailbox_instance(d, "virt.test", {"u": "right"}, ("imap", "pop3"), main={
        "event_log": os.path.join(d, "events"), "transport_maps": "inline:{dead.test=smtp:[127.0.0.1]:1}", "maximal_queue_lifetime": "0"})
    with i:
        for user in ("u@virt.test", "nobody@virt.test"):
            Client(i, f"a LOGIN {user} wrong", "b LOGOUT", port="imap").drop()
            Client(i, f"USER {user}", "PASS wrong", "QUIT", port="pop3").drop()
        Client(i, "a LOGOUT", port="imap").drop()
        Client(i, "QUIT", port="pop3").drop()
        Client(i, port="imap").drop()
        Client(i, port="pop3").drop()
        Client(i, "USER u@virt.test", "PASS right", "QUIT", port="pop3").drop()
        assert i.command("sendmail", "-f", "u@virt.test", "x@dead.test", input=b"\nbody\n").returncode == 0
        i.wait_log(r"-login: .* \(auth failed, 1 attempts in \d+ secs\): user=<\S+>, method=\S+, rip=127\.0\.0\.1, ", count=4)
        i.wait_log(r"(imap|pop3)-login: .* \(no auth attempts in \d+ secs\): user=<>, rip=127\.0\.0\.1, ", count=4)
        assert until(lambda: {"login", "logout", "auth_failure", "expired"} <= {e["event"] for e in events(i.main["event_log"])}), i.log()[-6000:]
    return i


def test_fail2ban_reads_failed_logins_of_mailboxes(boxes):
    """Debian's filter for Dovecot, told what our daemons are called, knows the lines of imapd and pop3d."""
    if shutil.which("fail2ban-regex") is None:
        pytest.skip("fail2ban is not installed")
    silent = len(re.findall("no auth attempts", boxes.log()))  # the look at whether the ports answer is one, too
    for mode, wanted in (("normal", 4), ("aggressive", 4 + silent)):
        out = subprocess.run(["fail2ban-regex", boxes.maillog, f'dovecot[mode={mode}, _daemon="postfix/(?:imapd|pop3d)"]'], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, check=False).stdout.decode()
        assert int(re.search(r"(\d+) matched", out)[1]) == wanted, out


# ---- event_log ----

def events(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def documented():
    """event_log(5): event -> members."""
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../man/event_log.5")
    with open(page, encoding="utf-8") as f:
        text = f.read().split(".SH EVENTS", 1)[1].split(".SH", 1)[0]
    return {m[1]: set(re.findall(r"[a-z_]+", m[2])) for m in re.finditer(r"^\.IP (\w+)\n((?:(?!\.IP ).*\n)*)", text, re.M)}


COMMON = {"v", "time", "host", "instance", "service", "pid", "event", "dropped"}


def test_events_are_as_documented(ours):
    """Each line is a JSON object whose members event_log(5) names."""
    known, seen = documented(), collections.Counter()
    for e in events(ours.main["event_log"]):
        assert e["v"] == 1 and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", e["time"]) and e["instance"] == "postfix"
        assert set(e) - COMMON <= known[e["event"]], e
        seen[e["event"]] += 1
    assert {"connect", "disconnect", "lost", "message", "restriction", "message_id", "content_check", "queued", "delivery", "notification",
            "removed", "problem"} <= set(seen)


TYPES = {"TEXT": str, "CSTR": str, "NUMBER": int, "SECONDS": (int, float), "FLAG": bool}


def written():
    """The events of the code: event -> {member: its Python type}."""
    found = collections.defaultdict(dict)
    for d, _, names in os.walk(ROOT):
        if os.path.relpath(d, ROOT).split(os.sep)[0] in ("build", "t", ".git"):
            continue
        for n in names:
            if n.endswith(".c"):
                with open(os.path.join(d, n), encoding="utf-8") as f:
                    for m in re.finditer(r'\bEVENT\("(\w+)",(.*?)\);\n', f.read(), re.S):
                        found[m[1]].update((name, TYPES[kind]) for kind, name in re.findall(r'\bEV_(\w+)\("(\w+)"', m[2]))
    return found


def test_every_event_of_the_code_is_documented():
    """With each of its members; and no event is documented that nobody writes."""
    known, code = documented(), written()
    assert set(known) == set(code)
    assert not {(e, m) for e, members in code.items() for m in members if m not in known[e]}


def test_members_have_their_types(ours, boxes):
    """Of each kind that was written: text is a string, what is counted a whole number, seconds a number, a flag true."""
    code = written()
    told = events(ours.main["event_log"]) + events(boxes.main["event_log"])
    assert {"login", "logout", "auth_failure", "tls", "expired"} <= {e["event"] for e in told}
    for e in told:
        assert isinstance(e["pid"], int) and all(isinstance(e[k], str) for k in ("time", "host", "instance", "service", "event")), e
        for k in set(e) - COMMON:
            assert isinstance(e[k], code[e["event"]][k]) and (code[e["event"]][k] is bool) == isinstance(e[k], bool), (k, e)


def test_events_and_lines_tell_the_same(ours):
    """As many deliveries, with the same ids, recipients and outcomes."""
    told = {(e["queue_id"], e["recipient"], e["status"]) for e in events(ours.main["event_log"]) if e["event"] == "delivery"}
    logged = set(re.findall(r"\]: (\w+): to=<([^>]*)>.* status=(\w+) \(", ours.log()))
    assert told == logged and len(told) > 10


def test_hostile_bytes_stay_in_their_member(ours):
    """A greeting full of quotes, escapes and broken UTF-8 is one member of one object."""
    before = len(events(ours.main["event_log"]))
    c = Client(ours, 'EHLO a"},{"event":"x\\', "MAIL FROM:<a@x.test>", "RCPT TO:<nouser@virt.test>")
    c.say("RSET", 'EHLO \xff\xfe\xc3\x28"', "MAIL FROM:<a@x.test>", "RCPT TO:<nouser@virt.test>", "QUIT")
    c.drop()
    def new():
        return [e["recipient"] for e in events(ours.main["event_log"])[before:] if e["event"] == "restriction"]
    assert until(lambda: len(new()) == 2) and new() == ["nouser@virt.test"] * 2
    assert not [e for e in events(ours.main["event_log"]) if e["event"] == "x"]


def test_rotation_takes_both_files(ours):
    """postern logrotate: what follows stands in new files, the old ones are compressed, every process has the new ones."""
    files = (ours.maillog, ours.main["event_log"])
    r = ours.command("postern", "logrotate")
    assert r.returncode == 0, r.stderr.decode()
    c = Client(ours, "EHLO me.test")
    c.mail("u@virt.test", "after")
    c.say("QUIT")
    ours.wait_log(r"relay=virtual, .* status=sent")
    assert not re.search("message-id=<one@x.test>", ours.log())
    assert until(lambda: {"message", "message_id", "queued", "delivery", "removed", "disconnect"} <= {e["event"] for e in events(files[1])})
    for f in files:
        old = [n for n in os.listdir(os.path.dirname(f)) if n.startswith(os.path.basename(f) + ".") and n.endswith(".gz")]
        assert len(old) == 1, os.listdir(os.path.dirname(f))
        assert os.stat(f).st_mode & 0o777 == 0o644  # maillog_file_permissions; the umask of master is narrower


def test_journald_gets_events(base):
    """Its native protocol: fields of a datagram, the object in MESSAGE."""
    path = os.path.join(base, "journal")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(path)
    os.chmod(path, 0o666)
    s.settimeout(20)
    i = Instance(os.path.join(base, "journald"), main={"event_log": "journald:" + path})
    with i:
        Client(i, "EHLO me.test", "QUIT").drop()
        while True:
            fields = dict(line.split("=", 1) for line in s.recv(65536).decode().splitlines())
            if fields["POSTERN_EVENT"] == "disconnect" and "ehlo" in fields["MESSAGE"]:
                break
    assert fields["SYSLOG_IDENTIFIER"] == "postfix/smtpd" and json.loads(fields["MESSAGE"])["protocol"] == "ESMTP"


@pytest.mark.parametrize("init", [False, True])
def test_container(base, init):
    """maillog_file = /dev/stdout and start-fg, also as process 1 of a container: every daemon's lines come out of master's standard output, and so do
    those of a command that somebody starts in there with an output of its own."""
    wrap = []
    if init:
        wrap = ["unshare", "--pid", "--fork", "--mount-proc"]
        if os.getuid() != 0 or subprocess.run([*wrap, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            pytest.skip("no PID namespace can be made here")
    i = Instance(os.path.join(base, f"container{init:d}"), main={"maillog_file": "/dev/stdout"})
    i.write_config()
    p = subprocess.Popen([*wrap, os.path.join(BIN, "postern"), "-c", i.config, "start-fg"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         env=dict(os.environ, MAIL_CONFIG=i.config), start_new_session=True)
    out = []
    reader = threading.Thread(target=lambda: out.extend(map(bytes.decode, p.stdout)), daemon=True)
    reader.start()
    try:
        i.wait_port(i.port["smtp"])
        c = Client(i, "EHLO me.test", "MAIL FROM:<a@x.test>", "RCPT TO:<b@elsewhere.test>", "DATA")
        assert c.say("Subject: x\r\n\r\nx\r\n.").startswith("250 ")
        c.say("QUIT")
        assert i.command("postlog", "-t", "cron", "from a command").stdout == b""
        at_work = (r" cron\[\d+\]: from a command$", "master.*: daemon started", r"smtpd\[\d+\]: connect from", r"cleanup\[\d+\]: \w+: message-id=", r"qmgr\[\d+\]: \w+: from=<a@x.test>")
        until(lambda: all(re.search(line, "".join(out), re.M) for line in at_work))
    finally:
        os.killpg(p.pid, signal.SIGTERM)
        p.wait(PATIENCE)
        reader.join(PATIENCE)
    for line in (*at_work, "terminating on signal 15"):
        assert re.search(line, "".join(out), re.M), out
