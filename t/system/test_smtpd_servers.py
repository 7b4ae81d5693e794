"""smtpd(8) and the servers of others that it asks: policy servers over TCP and with attributes of their own, the filter before the
queue (smtpd_proxy_filter), what master connects to, and what not."""
import base64
import os
import re
import shutil
import socket
import threading
import time

import pytest

from instance import Instance, free_ports, scratch
from test_smtpd import Client


class Server(threading.Thread):
    """Listens on a TCP port; talk(file) serves each connection."""

    def __init__(self):
        super().__init__(daemon=True)
        self.s = socket.socket()
        self.s.bind(("127.0.0.1", 0))
        self.s.listen(20)
        self.port = self.s.getsockname()[1]
        self.connections = 0
        self.start()

    def run(self):
        while True:
            c, _ = self.s.accept()
            self.connections += 1
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        f = c.makefile("rwb")
        try:
            self.talk(f)
        except OSError:
            pass
        for x in (f, c):
            try:
                x.close()
            except OSError:
                pass


class Policy(Server):
    def __init__(self):
        self.seen = []
        super().__init__()

    def talk(self, f):
        attrs = {}
        for line in f:
            if line != b"\n":
                k, v = line.decode().rstrip("\n").split("=", 1)
                attrs[k] = v
                continue
            self.seen.append(attrs)
            local = attrs["sender"].split("@")[0]
            if local == "hang":
                return
            f.write(b"action=" + {"bad": b"REJECT by policy", "code": b"450 4.7.1 wait a little"}.get(local, b"DUNNO") + b"\n\n")
            f.flush()
            attrs = {}


class Filter(Server):
    """An SMTP server that takes all mail but what says VIRUS, and refuses recipients named no."""

    def __init__(self):
        self.mail = []
        super().__init__()

    def talk(self, f):
        def say(text):
            f.write(text + b"\r\n")
            f.flush()
        said, data = [], None
        say(b"220 filter ESMTP")
        for line in f:
            line = line.rstrip(b"\r\n")
            if data is not None:
                if line == b".":
                    self.mail.append((said, data))
                    say(b"550 5.7.1 virus found" if b"VIRUS" in b"\n".join(data) else b"250 2.0.0 Ok: filtered as F1")
                    said, data = [], None
                else:
                    data.append(line[1:] if line.startswith(b".") else line)
                continue
            said.append(line.decode())
            if line.startswith(b"EHLO"):
                say(b"250-filter\r\n250-XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n250 8BITMIME")
            elif line == b"DATA":
                data = []
                say(b"354 go on")
            elif line == b"QUIT":
                return
            else:
                say(b"550 5.1.1 the filter does not like no" if line.startswith(b"RCPT TO:<no@") else b"250 2.0.0 Ok")


class Auth(Server):
    """A Dovecot authentication server that knows one password."""

    def talk(self, f):
        f.write(b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t" + b"0" * 32 + b"\nDONE\n")
        f.flush()
        for line in f:
            w = line.decode().rstrip("\n").split("\t")
            if w[0] != "AUTH":
                continue
            resp = base64.b64decode([x for x in w if x.startswith("resp=")][0][5:])
            f.write(f"OK\t{w[1]}\tuser=u1\n".encode() if resp == b"\0u1\0secret" else f"FAIL\t{w[1]}\tuser=u1\n".encode())
            f.flush()


@pytest.fixture(scope="module")
def world():
    base = scratch("postern-servers.")
    policy, proxy, auth = Policy(), Filter(), Auth()
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))  # nobody listens: refused
    away = closed.getsockname()[1]
    services = {
        "tcp": {"smtpd_recipient_restrictions": f"check_policy_service inet:localhost:{policy.port}"},
        "attr": {"smtpd_recipient_restrictions": f"check_policy_service {{ inet:127.0.0.1:{policy.port}, timeout=30s, try_limit=1, "
                                                 "{ default_action = DEFER policy is away }, policy_context=submission }, permit"},
        "away": {"smtpd_recipient_restrictions": f"check_policy_service {{ inet:127.0.0.1:{away}, try_limit=1, default_action=DUNNO }}, permit"},
        "filter": {"smtpd_proxy_filter": f"127.0.0.1:{proxy.port}", "smtpd_authorized_xforward_hosts": "127.0.0.1"},
        "speed": {"smtpd_proxy_filter": f"inet:localhost:{proxy.port}", "smtpd_proxy_options": "speed_adjust"},
        "nofilter": {"smtpd_proxy_filter": f"inet:127.0.0.1:{away}"},
        "auth": {"smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": f"inet:127.0.0.1:{auth.port}"},
        "hide": {"smtpd_hide_client_session": "yes", "smtpd_data_restrictions": "check_client_access static:HOLD"},
        "prefix": {"smtpd_client_ipv4_prefix_length": "24", "smtpd_client_connection_count_limit": "1", "smtpd_client_event_limit_exceptions": ""},
        "deadline": {"smtpd_per_request_deadline": "yes", "smtpd_timeout": "2s", "smtpd_min_data_rate": "1000"},
        "port": {"smtpd_client_port_logging": "yes"},
        "rewrite": {"smtpd_reject_filter_maps": "pcre:{ { /^550 5\\.1\\.1 .*/ 450 4.2.0 not yet } }"},
    }
    i = Instance(os.path.join(base, "main"), listen=(), host="127.0.0.1", main={
        "smtpd_peername_lookup": "no", "mydestination": "localhost", "local_recipient_maps": "inline:{ bob=x, ann=x, no=x }", "defer_transports": "local",
        "maillog_file_prefixes": base, "smtpd_error_sleep_time": "0"})
    i.port = dict(zip(services, free_ports(len(services))))
    i.extra_master = [f"127.0.0.1:{i.port[n]} inet n - n - - smtpd" + "".join(f"\n  -o {{ {k} = {v} }}" for k, v in o.items()) for n, o in services.items()]
    with i:
        for p in i.port.values():
            i.wait_port(p)
        i.policy, i.filter = policy, proxy
        yield i
    closed.close()
    shutil.rmtree(base, ignore_errors=True)


def client(world, service):
    c = Client(world, service)
    c.ehlo()
    return c


def rcpt(c, sender, to="bob@localhost"):
    c.cmd("RSET")
    assert c.cmd(f"MAIL FROM:<{sender}@example.org>") == "250 2.1.0 Ok"
    return c.cmd(f"RCPT TO:<{to}>")


def test_policy_over_tcp(world):
    """inet:host:port, with a host name; one connection serves many questions."""
    c = client(world, "tcp")
    before = world.policy.connections
    assert rcpt(c, "good") == "250 2.1.5 Ok"
    assert rcpt(c, "bad") == "554 5.7.1 <bob@localhost>: Recipient address rejected: by policy"
    assert rcpt(c, "code") == "450 4.7.1 <bob@localhost>: Recipient address rejected: wait a little"
    assert world.policy.connections == before + 1
    assert world.policy.seen[-1]["policy_context"] == "" and world.policy.seen[-1]["tls_sni"] == ""


def test_attributes_of_one_policy_service(world):
    """{ server, name=value ... }: what stands there counts for this server alone."""
    c = client(world, "attr")
    assert rcpt(c, "good") == "250 2.1.5 Ok"
    assert world.policy.seen[-1]["policy_context"] == "submission"
    assert rcpt(c, "hang") == "450 4.7.1 <bob@localhost>: Recipient address rejected: policy is away"
    c = client(world, "away")
    assert rcpt(c, "good") == "250 2.1.5 Ok"
    world.wait_log(r"problem talking to server 127\.0\.0\.1:\d+: .*Connection refused")


def test_filter_before_the_queue(world):
    """Its verdict on recipients and content is the client's; the trace field stands first; the filter hears of the real client."""
    c = client(world, "filter")
    assert rcpt(c, "a") == "250 2.1.5 Ok"
    assert c.cmd("RCPT TO:<no@localhost>") == "550 5.1.1 the filter does not like no"
    assert c.cmd("RCPT TO:<ann@localhost>") == "250 2.1.5 Ok"
    assert c.data("Subject: x\r\n\r\n..dot\r\nend\r\n.\r\n") == "250 2.0.0 Ok: filtered as F1"
    said, data = world.filter.mail[-1]
    assert said[0] == "EHLO mail.example.test"
    assert re.fullmatch(r"XFORWARD NAME=\[UNAVAILABLE\] ADDR=127\.0\.0\.1 PORT=\d+ HELO=client\.example\.org IDENT=\[UNAVAILABLE\] PROTO=ESMTP SOURCE=\w+", said[1])
    assert said[2:] == ["MAIL FROM:<a@example.org>", "RCPT TO:<bob@localhost>", "RCPT TO:<no@localhost>", "RCPT TO:<ann@localhost>", "DATA"]
    assert data[0].startswith(b"Received: from client.example.org ") and data[-4:] == [b"Subject: x", b"", b".dot", b"end"]
    assert rcpt(c, "a") == "250 2.1.5 Ok"
    assert c.data("Subject: y\r\n\r\nVIRUS\r\n.\r\n") == "550 5.7.1 virus found"
    world.wait_log(r"proxy-accept: END-OF-MESSAGE: 250 2\.0\.0 Ok: filtered as F1; from=<a@example\.org> to=<bob@localhost> ")
    world.wait_log(r"proxy-reject: END-OF-MESSAGE: 550 5\.7\.1 virus found; from=<a@example\.org> to=<bob@localhost> ")
    assert b"Mail queue is empty" in world.command("postqueue", "-p").stdout


def test_forwarded_mail_gets_no_second_trace(world):
    c = client(world, "filter")
    assert c.cmd("XFORWARD NAME=far.example ADDR=192.0.2.7 HELO=far SOURCE=REMOTE") == "250 2.0.0 Ok"
    assert rcpt(c, "a") == "250 2.1.5 Ok"
    assert c.data("Subject: z\r\n\r\nend\r\n.\r\n") == "250 2.0.0 Ok: filtered as F1"
    said, data = world.filter.mail[-1]
    assert "NAME=far.example ADDR=192.0.2.7" in said[1] and data == [b"Subject: z", b"", b"end"]


def test_speed_adjust_asks_when_the_message_is_here(world):
    c = client(world, "speed")
    before = world.filter.connections
    assert rcpt(c, "a") == "250 2.1.5 Ok"
    assert c.cmd("RCPT TO:<ann@localhost>") == "250 2.1.5 Ok"
    assert c.cmd("DATA").startswith("354 ")
    c.send("Subject: slow\r\n\r\n" + "x" * 70 + "\r\n" * 1000)
    assert world.filter.connections == before
    c.send(".\r\n")
    assert c.reply() == "250 2.0.0 Ok: filtered as F1"
    assert world.filter.connections == before + 1
    assert rcpt(c, "a", "no@localhost") == "250 2.1.5 Ok"
    assert c.data("x\r\n.\r\n") == "550 5.1.1 the filter does not like no"
    big = ("y" * 78 + "\r\n") * 40000  # more than is kept: streamed from then on
    assert rcpt(c, "a") == "250 2.1.5 Ok"
    assert c.data(big + ".\r\n") == "250 2.0.0 Ok: filtered as F1"
    assert len(world.filter.mail[-1][1]) > 40000


def test_a_filter_that_is_away_loses_nothing(world):
    c = client(world, "nofilter")
    assert rcpt(c, "a") == "451 4.3.0 Error: queue file write error"
    world.wait_log(r"warning: connect to proxy filter inet:127\.0\.0\.1:\d+: Connection refused$")


def test_reject_filter(world):
    """smtpd_reject_filter_maps (Postfix 3.11) puts another refusal in the place of one."""
    c = client(world, "rewrite")
    assert rcpt(c, "a", "nobody@localhost") == "450 4.2.0 not yet"
    assert rcpt(c, "a") == "250 2.1.5 Ok"


def test_authentication_over_tcp(world):
    """smtpd_sasl_path = inet:host:port, as Dovecot in another container has it."""
    c = client(world, "auth")
    assert c.cmd("AUTH PLAIN " + base64.b64encode(b"\0u1\0wrong").decode()).startswith("535 5.7.8 ")
    assert c.cmd("AUTH PLAIN " + base64.b64encode(b"\0u1\0secret").decode()) == "235 2.7.0 Authentication successful"


def test_hidden_client_session(world):
    c = client(world, "hide")
    assert rcpt(c, "a") == "250 2.1.5 Ok"
    qid = c.data("Subject: x\r\n\r\nend\r\n.\r\n").split()[-1]
    out = world.command("postcat", "-hq", qid).stdout.decode()
    assert f"Received: by mail.example.test (Postern) id {qid}\n\tfor <bob@localhost>; " in out
    assert "127.0.0.1" not in out.split("Subject:")[0].split("Received:")[1]


def test_a_network_is_one_client(world):
    """smtpd_client_ipv4_prefix_length: the limits count 127.0.7.5 and 127.0.7.6 together, and 127.0.8.1 apart."""
    def connect(source):
        s = socket.create_connection((world.host, world.port["prefix"]), 20, (source, 0))
        return s, s.makefile("rb").readline().decode()
    a, first = connect("127.0.7.5")
    b, second = connect("127.0.7.6")
    c, third = connect("127.0.8.1")
    assert first.startswith("220 ") and third.startswith("220 ")
    assert second.startswith("421 4.7.0 mail.example.test Error: too many connections from 127.0.7.6")
    for s in (a, b, c):
        s.close()


def test_deadline_of_a_message(world):
    """smtpd_per_request_deadline: a client that sends a few bytes now and then is not waited for."""
    c = client(world, "deadline")
    assert rcpt(c, "a") == "250 2.1.5 Ok"
    assert c.cmd("DATA").startswith("354 ")
    end = time.monotonic() + 60
    c.s.settimeout(0.2)
    got = b""
    while not got and time.monotonic() < end:
        try:
            c.send("x\r\n")
            got = c.s.recv(1000)
        except TimeoutError:
            pass
    assert got.startswith(b"421 4.4.2 mail.example.test Error: timeout exceeded"), got


def test_port_of_the_client_is_logged(world):
    c = Client(world, "port")
    world.wait_log(rf"connect from unknown\[127\.0\.0\.1\]:{c.s.getsockname()[1]}$")
