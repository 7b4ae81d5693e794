"""Addresses from end to end: a table of them, in envelope and header, goes through our suite and through Debian's Postfix with the same settings
(canonical, virtual, generic, masquerading, extensions, owner aliases, relocated, routes). Replies, the envelope and the header that arrive, and
what the log says of every recipient have to be the same."""
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import instance  # noqa: E402
import peer  # noqa: E402
from fakesmtp import hang_up  # noqa: E402

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or not root")

TABLES = {
    "canonical": r"""
old@mail.example.test       new@mail.example.test
@was.test                   @is.test
plain                       First.Last
name                        other@far.test
swap1@far.test              swap2@far.test
c1@far.test                 c2@far.test
c2@far.test                 c3@far.test
self@far.test               self@far.test
"quoted me"@far.test        quoted.me@far.test
quoted me@far.test          quoted.me@far.test
toquoted@far.test           "to quoted"@far.test
list@far.test               one@far.test, two@far.test
ext+known@far.test          known@far.test
bare@far.test               bare
b\u00fcro@far.test          office@far.test
""",
    "sender": "s-only@far.test as-sender@far.test\n",
    "rcpt": "r-only@far.test as-rcpt@far.test\n",
    "virtual": """
valias.test       anything
one@valias.test   x1@far.test
two@valias.test   x1@far.test, x2@far.test
deep@valias.test  two@valias.test, one@valias.test
self@valias.test  self@valias.test, x3@far.test
local@valias.test vlocal
@va2.test         @far.test
@va3.test         catch@far.test
ext+in@valias.test special@far.test
ext@valias.test   plain.ext@far.test
group@valias.test "A B" <x4@far.test>, x5@far.test (five), <x6@far.test>
quoted@valias.test "a b"@far.test
upper@valias.test UPPER@Far.Test
keep@far.test     kept@far.test
short             x7@far.test
bang@valias.test  far.test!u8
pct@valias.test   u9%far.test
route@valias.test "<@hop.test:u10@far.test>"
nolocal@valias.test @far.test
""",
    "generic": """
local1@mail.example.test   public@isp.test
@in.example.test           @isp.test
ext1@mail.example.test     ext.public@isp.test
"q q"@mail.example.test    qq@isp.test
q q@mail.example.test      qq@isp.test
""",
    "relocated": "gone@mail.example.test  there@far.test\n@moved.test far.test\ngone2 elsewhere\n",
    "transport": "error.test   error:5.7.1 not there\nuser.vbox.test :[127.0.0.1]:{sink}\n*   smtp:[127.0.0.1]:{sink}\n",
}
ALIASES = """
staff: x1@far.test, x2@far.test
owner-staff: boss@far.test
team: x1@far.test
owner-team: owner-all
owner-all: chief@far.test
club: x3@far.test
club-request: reqs@far.test
aliased: x4@far.test, "x five"@far.test
plused: x6@far.test
plused+detail: x7@far.test
chain: aliased, staff
loopa: loopb
loopb: loopa
vlocal: x8@far.test
"quoted alias": x9@far.test
Upper: x10@far.test
postmaster: pm@far.test
mailer-daemon: postmaster
"""

MAIN = {
    "myorigin": "$myhostname",
    "mydestination": "$myhostname, localhost.$mydomain, localhost, here.test",
    "append_dot_mydomain": "yes",
    "local_header_rewrite_clients": "permit_mynetworks",
    "recipient_delimiter": "+",
    "canonical_maps": "texthash:{etc}/canonical",
    "sender_canonical_maps": "texthash:{etc}/sender",
    "recipient_canonical_maps": "texthash:{etc}/rcpt",
    "virtual_alias_maps": "texthash:{etc}/virtual",
    "virtual_mailbox_domains": "vbox.test",
    "relay_domains": "relay.test, user.vbox.test",
    "smtp_generic_maps": "texthash:{etc}/generic",
    "relocated_maps": "texthash:{etc}/relocated",
    "transport_maps": "texthash:{etc}/transport",
    "masquerade_domains": "!keep.corp.test corp.test",
    "masquerade_exceptions": "root, postmaster",
    "alias_maps": "hash:{etc}/aliases",
    "mailbox_transport": "smtp:[127.0.0.1]:{sink}",
    "virtual_transport": "smtp:[127.0.0.1]:{sink}",
    "local_transport": "local:$myhostname",
    "smtp_host_lookup": "native",
    "smtp_address_preference": "ipv4",
    "smtp_tls_security_level": "",
    "smtputf8_enable": "yes",
    "remote_header_rewrite_domain": "",
    "owner_request_special": "yes",
    "smtpd_client_connection_rate_limit": "0",
    "smtpd_recipient_restrictions": "permit_mynetworks, reject",
    "smtpd_error_sleep_time": "0",
    "smtpd_soft_error_limit": "1000",
    "smtpd_hard_error_limit": "1000",
    "smtpd_junk_command_limit": "1000",
    "strict_rfc821_envelopes": "no",
    "delay_warning_time": "0",
    "notify_classes": "",
    "smtp_line_length_limit": "0",
    "disable_mime_output_conversion": "yes",
}

# What is put into MAIL FROM, RCPT TO, From:, To:, Cc: and Reply-To:. "~": malformed, so that in a header nobody knows what is meant: Postfix breaks it
# up into what could be meant, ours leaves it as it is; only the envelope is compared.
TABLE = r"""
user@far.test
user@host
user
user@
User@FAR.Test
a!b
far.test!b
far.test!host!b
x!y@far.test
far.test!u@mail.example.test
far.test!u@here.test
user%far.test
user%b.test%far.test
user%far.test@mail.example.test
user%far.test@here.test
user%far.test@other.test
%far.test@mail.example.test
!far.test@mail.example.test
a%b!c@mail.example.test
~ @a.test,@b.test:user@far.test
~ @a.test:user@far.test
~ @mail.example.test:user@far.test
~ @a.test:user
"a b"@far.test
"a@b"@far.test
"a@far.test"@mail.example.test
"a%far.test"@mail.example.test
"far.test!a"@mail.example.test
"plainquoted"@far.test
"a\"b"@far.test
"a\b"@far.test
""@far.test
""@mail.example.test
"a,b"@far.test
"q q"@mail.example.test
"quoted me"@far.test
toquoted@far.test
user@[127.0.0.1]
user@[192.0.2.7]
user@[IPv6:2001:db8::1]
user@1.2.3.4
user@b..test
user@.b.test
user@b.test..
a..b@far.test
.a@far.test
a.@far.test
user@-x.test
user@x-.test
user@ex_ample.test
a@b@far.test
a@far.test@mail.example.test
user+ext@far.test
user+ext+more@far.test
+ext@far.test
user+@far.test
owner-list@far.test
list-request@far.test
old@mail.example.test
old+x@mail.example.test
old
old+x
any@was.test
any+x@was.test
plain@mail.example.test
plain+x
name
name+x@mail.example.test
c1@far.test
c1+x@far.test
self@far.test
self+x@far.test
ext+known@far.test
ext+other@far.test
bare@far.test
bare+x@far.test
list@far.test
s-only@far.test
r-only@far.test
r-only+x@far.test
u@host.corp.test
u@a.b.corp.test
u@corp.test
u@x.keep.corp.test
root@host.corp.test
Root@host.corp.test
u@notcorp.test
local1@mail.example.test
local1+x@mail.example.test
ext1+y@mail.example.test
anyone@in.example.test
one@valias.test
two@valias.test
deep@valias.test
self@valias.test
local@valias.test
any@va2.test
any+x@va2.test
any+x@va3.test
ext+in@valias.test
ext+out@valias.test
group@valias.test
quoted@valias.test
quoted+x@valias.test
upper@valias.test
keep@far.test
keep+k@far.test
short
short@here.test
bang@valias.test
pct@valias.test
route@valias.test
nolocal@valias.test
unknown@valias.test
gone@mail.example.test
gone+x@mail.example.test
gone2
who@moved.test
who@error.test
u@vbox.test
u@relay.test
u@user.vbox.test
staff
staff+x@here.test
team
club
club-request
owner-staff
owner-staff+x@here.test
club-request+x
aliased
plused+detail
plused+other
chain
loopa
Upper
UPPER@here.test
"quoted alias"
"quoted alias"@here.test
postmaster
MAILER-DAEMON
nobody
nobody+ext@here.test
double-bounce
user@localhost
user@LOCALHOST.example.test
user@Mail.Example.Test
büro@far.test
user@bücher.test
user@xn--bcher-kva.test
a=b@far.test
a/b@far.test
a'b@far.test
a{b}@far.test
-a@far.test
a--b@far.test
a`b@far.test
a|b@far.test
"a"."b"@far.test
~ a."b c"@far.test
~ a\@b@far.test
~ "unclosed@far.test
~ a"b@far.test
~ a@[1.2.3.4
~ a,b@far.test
~ a;b@far.test
~ a:b@far.test
user @far.test
~ a b@far.test
~ a[b]@far.test
~ a@far.test"
~ a|b @far.test
~ user"@far.test"@mail.example.test
%
!
~ @
user%
!user
user@@far.test
MAILER-DAEMON@mail.example.test
MAILER-DAEMON@far.test
double-bounce@mail.example.test
double-bounce@far.test
""".strip().split("\n")
ADDRESSES = [a.removeprefix("~ ") for a in TABLE]


class Sink:
    """Takes everything and keeps (sender, recipients, message)."""
    extensions = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"

    @staticmethod
    def envelope(line):
        """What is kept of MAIL and RCPT."""
        return re.search(rb":<(.*)>", line).group(1)

    def __init__(self):
        self.got = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        """Nobody listens any more: to close the socket alone leaves the thread that waits at it, which takes one more connection."""
        hang_up(self.listener)
        self.listener.close()

    def accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        with c, c.makefile("rwb") as f:
            f.write(b"220 sink ESMTP\r\n")
            sender, rcpts = b"", []
            while True:
                f.flush()
                line = f.readline()
                verb = line[:4].upper()
                if not line:
                    return
                if verb == b"EHLO":
                    f.write(self.extensions)
                    continue
                if verb == b"MAIL":
                    sender, rcpts = self.envelope(line), []
                elif verb == b"RCPT":
                    rcpts.append(self.envelope(line))
                elif verb == b"DATA":
                    f.write(b"354 go\r\n")
                    f.flush()
                    text = b""
                    while not (text == b".\r\n" or text.endswith(b"\r\n.\r\n")):
                        more = f.readline()
                        if not more:
                            return
                        text += more
                    self.got.append((sender, tuple(rcpts), text[:-3]))
                f.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 2.0.0 ok\r\n")
                if verb == b"QUIT":
                    f.flush()
                    return


def configure(system, sink, extra):
    """Settings and tables, the same for both but for the places."""
    words = {"etc": system.config, "sink": sink.port}
    system.main.update({k: v.replace("{etc}", words["etc"]).replace("{sink}", str(words["sink"])) for k, v in {**MAIN, **extra}.items()})
    for name, text in TABLES.items():
        system.write(name, text.replace("{sink}", str(sink.port)))
    path = system.write("aliases", ALIASES)
    system.write("main.cf", "")
    r = subprocess.run([os.path.join(instance.BIN, "postalias"), "hash:" + path], env=dict(os.environ, MAIL_CONFIG=system.config), capture_output=True, check=False)
    assert r.returncode == 0, r.stderr.decode()
    system.extra_master += [f"127.0.0.1:{system.port['remote']} inet n - n - - smtpd -o local_header_rewrite_clients= -o syslog_name=postfix/remote"]


def message(ident, address):
    """Every header field that holds addresses, in several of the forms that mail has them in."""
    return (f"From: {address}\r\nTo: Some Body <{address}>, second@far.test (a comment)\r\nCc: {address} (who), Group: {address}, g@far.test;, \"Q, N\" <n@far.test>\r\n"
            f"Reply-To: {address}\r\nX-Other: {address}\r\nSubject: {address}\r\nDate: Sat, 28 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{ident}@case>\r\n"
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nbody\r\n")


# Lists whose lines have to be broken anew: the addresses grow when their domain is added.
FOLDED = ("From: a\r\nTo: " + ", ".join("u" * n for n in range(1, 40)) + "\r\nCc: " + ",".join(f"\"N, {n}\" <{'v' * n}>" for n in range(1, 30)) +
          "\r\nReply-To: one@far.test,\r\n two (c, d),\r\n\tthree@far.test,four\r\nSubject: x\r\nMessage-ID: <fold@case>\r\nDate: Sat, 28 Nov 2026 10:00:00 +0000\r\n\r\nbody\r\n")
# Lengths of the lines of messages: where Postfix counts a line end as one octet more, and messages that do not fit into memory.
SIZES = [[0], [127], [128], [2047], [2048], [2049], [5000], [10] * 100, [130] * 20, [60] * 3000, [150] * 4000]
# Lists of recipients, on the command line and for sendmail -t, that no grammar allows and people write.
LISTS = ["ua@far.test ub@far.test", "a b", "a b@far.test", "a@far.test b", '"a b"', 'a "b"', "a, b c", "x <a@far.test> b", "a.b c.d", "a@far.test;b@far.test", "<a@far.test> <b@far.test>", "a (c) b", "a .  b", "a @ far.test b",
         "Full Name", "G: a b;", '"a" b', "a> b", "a@ b", "a b <c@far.test> d e", "a b, c d", "  a  ", "|x y", "a   b ", '"a b" c@far.test']
SUBMITTED = b"""From: Local One <local1>
To: old, name+x (who), Group: one@valias.test, "a b"@far.test;, user@host
Cc: u@a.corp.test, user%far.test, short
Bcc: hidden@far.test
Subject: sendmail
Message-ID: <sendmail@case>
Date: Sat, 28 Nov 2026 10:00:00 +0000

body
"""


# sendmail -f, as callers have it: what is the sender, what From: is made of it, and which complaint is there.
SENDERS = ["", "<>", "(only)", "()", "G:;", ",", "<> (c)", "\"\"", "a b", "a b@c.test", "a @ c.test", "Name <a@b.test>", "\"Q N\" <a@b.test>", "(c) a@b.test (d)", "G: a@b.test;", "G:a@b.test, <c@d.test>;", "G:<a@b.test>;",
           "a@b.test, c@d.test", "<a@b.test> <c@d.test>", "x <a@b.test> y", "a@b.test <c@d.test>", "\"a b\"@c.test", "<\"a b\"@c.test>", "a@b@c.test", "<a@b.test", "@x.test:a@b.test", "x.test!b", "a%b.test", "a\\ b@c.test", "a\\@b@c.test",
           "'a b'@c.test", "a@b.test,", "a:b", "\"a", "a(b", "a)b", " \ta@b.test ", "a@[1.2.3.4]", "a@"]
NAMES = ["", "Me", "A \"B\" <c>", "a.b", "(x) & y", "back\\slash", " A  B ", "tab\there", "a\nb", "x" * 300]
SENDMAIL = [["-f", f] for f in SENDERS] + [["-F", n, "-f", "me@b.test"] for n in NAMES] + [["-r", "Name <a@b.test>"], ["-fme@b.test", "-FMe"], ["-fa@b.test", "-fc@d.test"], ["-F", "X"], ["-G"], ["-G", "-f", "<>"], ["-G", "-t", "-F", "X"]]


class Session:
    """A session with smtpd, whose replies are kept."""

    def __init__(self, port):
        self.s = socket.create_connection(("127.0.0.1", port), 60)
        self.f = self.s.makefile("rwb")
        self.reply()
        self.say("EHLO client.test")

    def reply(self):
        lines = []
        while not lines or lines[-1][3:4] == b"-":
            lines.append(self.f.readline())
            assert lines[-1], "the server hung up"
        return lines[-1].decode("utf-8", "replace").strip()

    def say(self, line):
        self.f.write(line.encode() + b"\r\n")
        self.f.flush()
        return self.reply()

    def send(self, ident, address, text=None):
        """A message from and to `address`, as far as it is taken: the replies."""
        utf8 = "" if address.isascii() else " SMTPUTF8"
        replies = [self.say(f"MAIL FROM:<{address}>{utf8}")]
        if replies[0][0] != "2":
            self.say("MAIL FROM:<sender@far.test>" + utf8)
        replies.append(self.say(f"RCPT TO:<{address}>"))
        if replies[1][0] != "2":
            self.say("RCPT TO:<sink@far.test>")
        self.say("DATA")
        self.f.write((text or message(ident, address)).encode() + b".\r\n")
        self.f.flush()
        replies.append(re.sub(r"queued as \w+", "queued", self.reply()))
        self.say("RSET")
        return replies


def outcome(log):
    """What the log says of each recipient of each message: message id -> lines."""
    ident, out = dict(re.findall(r": (\w+): message-id=<(.*)@case>$", log, re.M)), {}
    for qid, rest in re.findall(r": (\w+): (to=<.*)$", log, re.M):
        if qid in ident:
            rest = re.sub(r" (relay|delay|delays|conn_use)=[^,]*,", "", rest)
            rest = re.sub(r"\((250|forwarded as|delivery via).*", "", rest)
            out.setdefault(ident[qid], set()).add(rest)
    return out


def arrived(sink):
    """What came out: message id -> ({(sender, recipient)}, {header})."""
    out = {}
    for sender, rcpts, text in sink.got:
        head = text.decode("utf-8", "replace").split("\r\n\r\n")[0]
        m = re.search(r"^Message-ID: <(.*)@case>\r?$", head, re.M)
        if m:
            head = re.sub(r"^Received: .*(\r\n[ \t].*)*\r\n", "", head, flags=re.M)
            envelopes, headers = out.setdefault(m.group(1), (set(), set()))
            envelopes |= {(sender.decode("utf-8", "replace"), r.decode("utf-8", "replace")) for r in rcpts}
            headers.add(head.replace("\r\n", "\n"))
    return out


def counted(log, sink):
    """size= of the messages of SIZES beyond what arrived: how lines are counted."""
    out = {}
    for sender, _, text in sink.got:
        m = re.search(rb"^Message-ID: <(size-\d+)@case>\r$", text, re.M)
        if m:
            qid = re.search(r": (\w+): message-id=<%s@case>$" % m.group(1).decode(), log, re.M).group(1)
            out[m.group(1).decode()] = int(re.search(r": %s: from=<.*>, size=(\d+)," % qid, log).group(1)) - len(text)
    return out


def quiet(system):
    """Waits until the queue holds nothing that is on its way."""
    assert instance.until(lambda: b"Mail queue is empty" in system.command("postqueue", "-p").stdout, every=0.2), (
        "the queue is not empty:\n" + system.command("postqueue", "-p").stdout.decode() + system.log()[-4000:])


def send_as(system, n):
    text = f"To: to@far.test\nDate: Sat, 28 Nov 2026 10:00:00 +0000\nMessage-ID: <as-{n}@case>\n\nx\n"
    if "-G" in SENDMAIL[n]:  # nothing is added, nothing completed
        text = "Cc: old, user@host, x%far.test\nResent-To: old\n" + text
    r = system.command("sendmail", "-i", *SENDMAIL[n], "to@far.test", input=text.encode())
    return r.returncode, r.stderr.decode()


def submit_list(system, n, header):
    text = f"From: q@far.test\nDate: Sat, 28 Nov 2026 10:00:00 +0000\nMessage-ID: <list-{'t' if header else 'c'}{n}@case>\n"
    text = f"To: {LISTS[n]}\n{text}" if header else text
    r = system.command("sendmail", *(["-t"] if header else [LISTS[n]]), input=(text + "\nx\n").encode())
    return r.returncode, r.stderr.decode()


def run(system, sink):
    replies = {}
    for context in ("smtp", "remote"):
        s = Session(system.port[context])
        for i, a in enumerate(ADDRESSES):
            replies[f"{context}-{i}"] = s.send(f"{context}-{i}", a)
    s.say("QUIT")
    for n, lines in enumerate(SIZES):
        text = f"From: a@far.test\r\nTo: b@far.test\r\nDate: Sat, 28 Nov 2026 10:00:00 +0000\r\nMessage-ID: <size-{n}@case>\r\n\r\n" + "".join("x" * k + "\r\n" for k in lines)
        Session(system.port["smtp"]).send(f"size-{n}", "user@far.test", text)
    Session(system.port["smtp"]).send("fold", "user", FOLDED)
    r = system.command("sendmail", "-t", "-i", "-f", "local1", input=SUBMITTED)
    assert r.returncode == 0, r.stderr.decode()
    system.command("postqueue", "-f")
    with ThreadPoolExecutor(4) as pool:
        replies["sendmail"] = list(pool.map(lambda n: send_as(system, n), range(len(SENDMAIL))))
        replies["lists"] = list(pool.map(lambda n: (submit_list(system, n, False), submit_list(system, n, True)), range(len(LISTS))))
    system.command("postqueue", "-f")
    assert instance.until(lambda: all(f"message-id=<{m}@case>" in system.log() for m in ["sendmail"] + [f"as-{n}" for n in range(len(SENDMAIL))] + [f"list-{c}{n}" for c in "ct" for n in range(len(LISTS))]))
    quiet(system)
    return replies, arrived(sink), outcome(system.log()), counted(system.log(), sink)


def beside(prefix, cases, prepare, run):
    """[of ours, of Debian's]: what run(system, sink) gives of a suite that prepare(system, sink) has set up. system.port names a port for each case."""
    base, result = instance.scratch(prefix), []
    try:
        for name in ("ours", "theirs"):
            ports = dict(zip(["smtp", "remote", *cases], instance.free_ports(len(cases) + 2)))
            listen = {"smtp": ports["smtp"]}
            system = instance.Instance(os.path.join(base, name), ports=listen) if name == "ours" else peer.Peer(os.path.join(base, name))
            sink = Sink()
            system.port = ports
            prepare(system, sink)
            system.port = listen
            try:
                system.start()
                system.port = ports
                assert instance.until(lambda: {ports[c] for c in cases} <= instance.listening())
                result.append(run(system, sink))
            finally:
                system.stop()
                sink.close()
        yield result
    finally:
        if not os.environ.get("KEEP"):
            shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def both():
    yield from beside("addresses-", [], lambda system, sink: configure(system, sink, {}), run)


@pytest.mark.parametrize("case", ["fold", "sendmail"])
def test_same_by_hand(both, case):
    ours, theirs = ({"arrived": r[1].get(case), "log": r[2].get(case)} for r in both)
    assert ours["arrived"] and ours == theirs


@pytest.mark.parametrize("n", range(len(SENDMAIL)), ids=lambda n: " ".join(SENDMAIL[n]))
def test_same_sender(both, n):
    """Envelope, header and complaint; the From: of a message from nobody is a whole address with a name here."""
    ours, theirs = ({"said": r[0]["sendmail"][n], "arrived": r[1].get(f"as-{n}")} for r in both)
    if ("", "to@far.test") in theirs["arrived"][0] and "-G" not in SENDMAIL[n]:
        assert "From: Mail Delivery System <MAILER-DAEMON@mail.example.test>" in ours["arrived"][1].pop()
        theirs["arrived"][1].clear()
    assert ours == theirs


@pytest.mark.parametrize("n", range(len(LISTS)), ids=lambda n: LISTS[n])
def test_same_recipients(both, n):
    """The header is another matter: a list that is none stays as it is here."""
    ours, theirs = ([(r[0]["lists"][n][i], r[1][f"list-{c}{n}"][0], r[2][f"list-{c}{n}"]) for i, c in enumerate("ct")] for r in both)
    assert ours == theirs


def test_same_size(both):
    ours, theirs = (r[3] for r in both)
    assert len(ours) == len(SIZES) and ours == theirs


def cases():
    return [f"{c}-{i}" for c in ("smtp", "remote") for i in range(len(ADDRESSES))]


@pytest.mark.parametrize("case", cases())
def test_same(both, case):
    envelope_only = TABLE[int(case.split("-")[1])].startswith("~")
    ours, theirs = ({"replies": r[0][case], "arrived": (r[1].get(case) or (None,))[:1] if envelope_only else r[1].get(case), "log": r[2].get(case)} for r in both)
    assert ours == theirs, ADDRESSES[int(case.split("-")[1])]
