"""smtpd_proxy_filter beside Debian's: for each case a filter that behaves in its way, and the same session with both. What the client hears, what the filter is asked and given,
and what the log says have to be the same."""
import os
import re
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from fakesmtp import HANG, Server
from instance import Instance, free_ports, listening, scratch, until

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="needs root and Debian's postfix")
FORWARD = ["SIZE 1000000", "8BITMIME", "DSN", "SMTPUTF8", "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"]
TEXT = "From: a@b.test\nSubject: x\n\nhello\n.dot\n..two\n\nend\n"
ONE = ["MAIL FROM:<a@b.test>", "RCPT TO:<u@far.test>", "DATA", TEXT]
TWO = ["MAIL FROM:<a@b.test>", "RCPT TO:<u@far.test>", "RCPT TO:<v@far.test>", "DATA", TEXT, *ONE]
# name -> (the filter; None: nobody listens), (parameters of smtpd), what the client says
CASES = {
    "ok": ({}, {}, TWO),
    "noxforward": ({"keywords": ["SIZE", "8BITMIME"]}, {}, ONE),
    "somexforward": ({"keywords": ["XFORWARD NAME PROTO"]}, {}, ONE),
    "longname": ({"keywords": ["XFORWARD HELO"]}, {}, ["EHLO " + "+" * 250, *ONE]),
    "bare": ({"keywords": []}, {}, ONE),
    "options": ({}, {}, ["MAIL FROM:<a@b.test> SIZE=500 BODY=8BITMIME RET=HDRS ENVID=abc", "RCPT TO:<u@far.test> NOTIFY=SUCCESS ORCPT=rfc822;w@far.test", "DATA", TEXT]),
    "null": ({}, {}, ["MAIL FROM:<>", "RCPT TO:<u@far.test>", "DATA", TEXT]),
    "spelled": ({}, {}, ["mail from: <A@B.Test>", "rcpt to: <\"q u\"@Far.Test>", "DATA", TEXT]),
    "orders": ({}, {}, ["RCPT TO:<u@far.test>", "DATA", "MAIL FROM:<a@b.test>", "MAIL FROM:<a@b.test>", "DATA", "RSET", "RCPT TO:<u@far.test>", *ONE, "NOOP", "VRFY u@far.test"]),
    "reset": ({}, {}, ["MAIL FROM:<a@b.test>", "RCPT TO:<u@far.test>", "RSET", *ONE]),
    "again": ({}, {}, ["MAIL FROM:<a@b.test>", "RCPT TO:<u@far.test>", "EHLO again.test", *ONE]),
    "left": ({}, {}, ["MAIL FROM:<a@b.test>", "RCPT TO:<u@far.test>"]),
    "ours": ({}, {"smtpd_recipient_restrictions": "check_recipient_access inline:{ {no@far.test = REJECT not here} {later@far.test = DEFER} {gone@far.test = DISCARD away} {held@far.test = HOLD why} }, permit"},
             ["MAIL FROM:<a@b.test>", "RCPT TO:<no@far.test>", "RCPT TO:<later@far.test>", "RCPT TO:<u@far.test>", "DATA", TEXT, "MAIL FROM:<a@b.test>", "RCPT TO:<held@far.test>", "DATA", TEXT,
              "MAIL FROM:<a@b.test>", "RCPT TO:<no@far.test>", "DATA"]),
    "enddata": ({}, {"smtpd_end_of_data_restrictions": "check_sender_access inline:{ {a@b.test = REJECT at the end} }"}, ONE),
    "data": ({}, {"smtpd_data_restrictions": "check_sender_access inline:{ {a@b.test = 451 not now} }"}, ONE),
    "big": ({}, {"message_size_limit": "100"}, ONE),
    "refused": (None, {}, TWO),
    "greet421": ({"GREETING": "421 4.3.2 busy"}, {}, ONE), "greet554": ({"GREETING": "554 5.7.1 no"}, {}, ONE), "greetnone": ({"GREETING": None}, {}, ONE), "greethang": ({"GREETING": HANG}, {"smtpd_proxy_timeout": "1s"}, ONE),
    "ehlo500": ({"EHLO": "500 what", "HELO": "250 hello"}, {}, ONE), "ehlo421": ({"EHLO": "421 4.3.2 busy"}, {}, ONE), "ehlonone": ({"EHLO": None}, {}, ONE),
    "xforward501": ({"keywords": FORWARD, "XFORWARD": "501 5.5.4 bad"}, {}, ONE), "xforwardnone": ({"XFORWARD": None}, {}, ONE),
    "mail550": ({"MAIL": "550 5.7.1 not from you"}, {}, ONE), "mail451": ({"MAIL": "451 4.3.0 not now"}, {}, ONE), "mail421": ({"MAIL": "421 4.3.2 busy"}, {}, ONE), "mailnone": ({"MAIL": None}, {}, ONE),
    "mailbare": ({"MAIL": "550 no"}, {}, ONE), "mailhang": ({"MAIL": HANG}, {"smtpd_proxy_timeout": "1s"}, ONE),
    "rcpt550": ({"RCPT": "550 5.1.1 nobody"}, {}, ONE), "rcpt450": ({"RCPT": "450 4.2.0 later"}, {}, ONE), "rcpt421": ({"RCPT": "421 4.3.2 busy"}, {}, ONE), "rcptnone": ({"RCPT": None}, {}, TWO),
    "rcptone": ({"RCPT TO:<u@far.test>": "550 5.1.1 not u"}, {}, TWO), "rcpt251": ({"RCPT": "251 2.1.5 will forward"}, {}, ONE), "rcptlines": ({"RCPT": "550-5.1.1 one\r\n550 5.1.1 two"}, {}, ONE),
    "data550": ({"DATA": "550 5.7.1 no data"}, {}, TWO), "data451": ({"DATA": "451 4.3.0 no data"}, {}, ONE), "data250": ({"DATA": "250 2.0.0 what"}, {}, ONE), "datanone": ({"DATA": None}, {}, ONE),
    "body550": ({"BODY": "550 5.7.1 spam"}, {}, TWO), "body451": ({"BODY": "451 4.3.0 later"}, {}, ONE), "body421": ({"BODY": "421 4.3.2 closing"}, {}, TWO), "bodynone": ({"BODY": None}, {}, TWO),
    "bodylines": ({"BODY": "250-2.0.0 one\r\n250 2.0.0 two"}, {}, ONE), "bodybare": ({"BODY": "250 thanks"}, {}, ONE), "body354": ({"BODY": "354 more"}, {}, ONE), "body650": ({"BODY": "650 6.1.1 strange"}, {}, ONE), "bodyflood": ({"BODY": "\r\n".join(["what?"] * 60) + "\r\n250 2.0.0 ok"}, {}, ONE),
    "bodylots": ({"BODY": "550-5.7.1 y\r\n" * 100 + "550 5.7.1 z"}, {}, ONE), "bodyodd": ({"BODY": "what?"}, {"smtpd_proxy_timeout": "1s"}, ONE),
    "bodyhang": ({"BODY": HANG}, {"smtpd_proxy_timeout": "1s"}, ONE), "bodylong": ({"BODY": "550 5.7.1 " + "long " * 150}, {}, ONE), "bodycontrol": ({"BODY": "550 5.7.1 a\x07b\x80c\td"}, {}, ONE),
    "quitnone": ({"QUIT": None}, {}, TWO), "quit500": ({"QUIT": "500 never"}, {}, ONE),
    "ehloname": ({}, {"smtpd_proxy_ehlo": "proxy.example.test"}, ONE),
    "soft": ({"BODY": "550 5.7.1 spam"}, {"soft_bounce": "yes"}, ONE),
    "rejectfooter": ({"BODY": "550 5.7.1 spam"}, {"smtpd_reject_footer": "call us"}, ONE),
}
SPEED = ("ok", "options", "refused", "greet554", "ehlonone", "mail550", "mailnone", "rcpt550", "rcptone", "data451", "datanone", "body550", "bodynone", "reset", "left", "ours", "big", "enddata")
CASES.update({"speed" + name: (CASES[name][0], {**CASES[name][1], "smtpd_proxy_options": "speed_adjust"}, CASES[name][2]) for name in SPEED})


class Talk:
    def __init__(self, port):
        self.s = socket.create_connection(("127.0.0.1", port), 60)
        self.f = self.s.makefile("rwb")
        self.said = []

    def say(self, text):
        """One command, or the text of a message; its reply."""
        if "\n" in text:
            text = "".join(("." * line.startswith(".") + line + "\r\n") for line in text.split("\n")[:-1]) + "."
        try:
            self.f.write(text.encode("latin-1") + b"\r\n" if text else b"")
            self.f.flush()
            while (line := self.f.readline()):
                self.said.append(line.decode("utf-8", "replace").rstrip("\r\n"))
                if line[3:4] != b"-":
                    break
        except OSError:
            line = b""
        if not line:
            self.said.append("<closed>")
        return line[:1]


def session(port, words):
    t = Talk(port)
    t.say("")
    t.say("EHLO client.test")
    t.said = t.said[-1:]
    for word in words:
        if "\n" in word and not t.said[-1].startswith("354"):
            continue
        t.say(word)
        if t.said[-1] == "<closed>":
            break
    t.s.close()
    return t.said


def clean(text, ports):
    for name, port in ports.items():
        text = text.replace(f"127.0.0.1:{port}", name)
    text = re.sub(r"PORT=\d+", "PORT=N", text)
    return re.sub(r"queued as \w+", "queued as ID", re.sub(r"IDENT=\w+", "IDENT=ID", text))


def without_date(message):
    """The trace field has no queue id."""
    return re.sub(rb"\w{3}, +\d+ \w{3} \d{4} [\d:]{8} [+-]\d{4} \(\w+\)", b"DATE", message, count=1).replace(b"(Postern)", b"(Postfix)")


def asked(server):
    """In their order, but where several connections may overlap: the QUIT of one comes when it comes."""
    lines = [clean(line, {}) for line in server.lines] if server else []
    return sorted(lines) if server and server.sessions > 1 else lines


def run(base, name):
    mine = name == "ours"
    filters = {c: Server(**{"keywords": FORWARD, **CASES[c][0]}) if CASES[c][0] is not None else None for c in CASES}
    dead = free_ports(1)[0]
    ports = {c: f.port if f else dead for c, f in filters.items()}
    services = dict(zip(CASES, free_ports(len(CASES))))
    first = {"smtp": free_ports(1)[0]}
    system = Instance(os.path.join(base, name), ports=first) if mine else peer.Peer(os.path.join(base, name))
    system.port = first
    system.main.update({"default_transport": "discard:", "smtpd_relay_restrictions": "permit_mynetworks, reject", "smtpd_reject_unlisted_recipient": "no", "notify_classes": "", "smtpd_error_sleep_time": "0",
                        "smtpd_peername_lookup": "no", "smtpd_client_connection_count_limit": "0", "smtpd_client_connection_rate_limit": "0", "strict_rfc821_envelopes": "no"})
    system.extra_master = [f"127.0.0.1:{services[c]} inet n - n - - smtpd -o syslog_name=c-{c} -o smtpd_proxy_filter=127.0.0.1:{ports[c]}" + "".join(f" -o {{ {k} = {v} }}" for k, v in CASES[c][1].items()) for c in CASES]
    system.start()
    try:
        assert until(lambda: set(services.values()) <= listening())
        with ThreadPoolExecutor(8) as pool:
            said = dict(zip(CASES, pool.map(lambda c: session(services[c], CASES[c][2]), CASES)))
        assert until(lambda: all(re.search(rf"c-{c}/smtpd\[\d+\]: disconnect", system.log()) for c in CASES)), system.log()[-3000:]
        log = {c: [clean(line, {"FILTER": ports[c]}) for line in re.findall(rf"c-{c}/smtpd\[\d+\]: (?!connect|disconnect|warning: hostname)(.*)", system.log())] for c in CASES}
    finally:
        system.stop()
        for f in filters.values():
            if f:
                f.close()
    return {c: {"said": [clean(line, {}) for line in said[c]], "asked": asked(filters[c]),
                "given": [without_date(m if isinstance(m, bytes) else m.encode("latin-1")) for m in filters[c].messages] if filters[c] else None, "log": [re.sub(r"^\w{10,16}: ", "ID: ", line) for line in log[c]]} for c in CASES}


@pytest.fixture(scope="module")
def both():
    base = scratch("proxy-filter-")
    os.chmod(base, 0o755)
    try:
        yield [run(base, name) for name in ("ours", "theirs")]
    finally:
        shutil.rmtree(base, ignore_errors=True)


# A filter gets commands as the grammar has them, whatever the client's spelling. After a connection that was lost the next recipient tries anew. A DATA that was refused ends the
# transaction (RFC 5321, 4.1.1.4), where Postfix calls the next MAIL nested. 354 and 650 are no answers to content, and are none to the client; nor
# are lines that are no reply, some of which Postfix gives to the client, and its warning of an attribute beyond 512 bytes is not ours.
OTHERWISE = {("spelled", "asked"), ("rcptnone", "asked"), ("rcptnone", "log"), ("data550", "said"), ("data550", "asked"), ("data550", "log"), ("body354", "said"), ("body354", "log"),
             ("body650", "said"), ("body650", "log"), ("bodyflood", "said"), ("bodyflood", "asked"), ("bodyflood", "log"), ("longname", "log")}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("what", ["said", "asked", "given", "log"])
def test_same(both, what, case):
    ours, theirs = (r[case][what] for r in both)
    assert (ours == theirs) == ((case, what) not in OTHERWISE)


def test_otherwise(both):
    ours = both[0]
    assert ours["spelled"]["asked"][2:4] == ["MAIL FROM:<A@B.Test>", 'RCPT TO:<"q u"@Far.Test>']
    assert [x for x in ours["rcptnone"]["asked"] if x.startswith("RCPT")] == ["RCPT TO:<u@far.test>", "RCPT TO:<u@far.test>", "RCPT TO:<v@far.test>"]
    assert ours["data550"]["said"][4:] == ["550 5.7.1 no data", "250 2.1.0 Ok", "250 2.1.5 Ok", "550 5.7.1 no data"]
    assert all(ours[case]["said"][-1] == "451 4.3.0 Error: queue file write error" for case in ("body354", "body650", "bodyflood"))
    assert sum("garbage" in line for line in ours["bodyflood"]["log"]) == 50
