"""Sources of tables that become wrong while the suite runs, and servers that answer nonsense, of every kind: what is wrong is told with its place,
lines that are right are used as Postfix uses them, all else has to come later, no session is lost, and once it is repaired all is as before, without a
restart or reload. (Content in main.cf itself, as inline: has it, is looked at before a reload: test_reload.py.)"""
import os
import shutil
import signal
import smtplib
import sqlite3
import subprocess

import pytest

import fakeservers
import fakesmtp
from fakeservers import netstring
from instance import BIN, Instance, scratch, until

TEXT, BAD_TEXT = "bad@{k}.test REJECT\nrest@{k}.test REJECT\n", "bad@{k}.test\nrest@{k}.test REJECT\n"
# kind -> the table, a good source, a wrong one, and what the log says of that: {d} the directory, {t} the source. Each rejects bad@KIND.test and
# rest@KIND.test. Of these the lines that are right are used.
LINES = {
    "texthash": ("texthash:{t}", TEXT, BAD_TEXT, "{t}, line 1: expected format: key whitespace value"),
    "regexp": ("regexp:{t}", "/^bad@/ REJECT\n/^rest@/ REJECT\n", "/^(bad@/ REJECT\n/^rest@/ REJECT\n", "regexp map {t}, line 1: Unmatched ( or \\("),
    "pcre": ("pcre:{t}", "/^bad@/ REJECT\n/^rest@/ REJECT\n", "# x\n/^(bad@/ REJECT\n/^rest@/ REJECT\n", "pcre map {t}, line 2: error in regex at offset 6: missing closing parenthesis"),
    "cidr": ("cidr:{t}", "127.0.0.1 REJECT\n", "127.0.0.0/33 OK\n127.0.0.1 REJECT\n", 'cidr map {t}, line 1: bad mask length in "127.0.0.0/33"'),
    "unionmap": ("unionmap:{{texthash:{t}}}", TEXT, BAD_TEXT, "{t}, line 1: expected format"),
    "pipemap": ("pipemap:{{texthash:{t},inline:{{REJECT=REJECT}}}}", TEXT, BAD_TEXT, "{t}, line 1: expected format"),
    "debug": ("debug:texthash:{t}", TEXT, BAD_TEXT, "{t}, line 1: expected format"),
    "proxy": ("proxy:texthash:{t}", TEXT, BAD_TEXT, "{t}, line 1: expected format"),
}
# Of these nothing can be used.
FILES = {
    "sqlite": ("sqlite:{t}", "dbpath = {d}/db\nquery = SELECT v FROM t WHERE k = '%u'\n", "dbpath = {d}/db\nquery = SELECT v FROM t WHERE k = '%q'\n", "{t} line 2: query: unknown expansion %q"),
    "memcache": ("memcache:{t}", "memcache = inet:127.0.0.1:1\nbackup = sqlite:{d}/sqlite.cf\n", "memcache = inet:127.0.0.1:1\nbackup = sqlite:{d}/sqlite.cf\nttl = soon\n", "{t}"),
    "hash": ("hash:{t}", TEXT, b"garbage " * 2000, "{t}.db"),
    "btree": ("btree:{t}", TEXT, 100, "{t}.db"),
    "lmdb": ("lmdb:{t}", TEXT, b"garbage " * 2000, "{t}.lmdb"),
    "cdb": ("cdb:{t}", TEXT, 100, "{t}.cdb"),
}
# Good: the server that is not there is asked. Wrong: that is told instead.
AWAY = {
    "mysql": ("hosts = unix:{d}/nobody\ndbname = mail\nquery = SELECT '%s'\n", "hosts = unix:{d}/nobody\ndbname = mail\nquery = SELECT '%q'\n", "{t} line 3: query: unknown expansion %q"),
    "pgsql": ("hosts = unix:{d}/nobody\ndbname = mail\nquery = SELECT '%s'\n", "hosts = unix:{d}/nobody\ndbname = mail\nquery = SELECT '%s'\nexpansion_limit = many\n",
              '{t} line 4: expansion_limit: "many" is not a number'),
    "ldap": ("server_host = ldapi://nobody\nsearch_base = dc=x\n", "server_host = ldapi://nobody\nsearch_base = dc=x\nbind = perhaps\n", '{t} line 3: bind: "perhaps" is none of'),
}
# What is wrong is the answer.
NONSENSE = {"tcp": (b"no number\n", b"200\n", b"2000000 x\n"), "socketmap": (netstring(b"PERHAPS x"), b"nonsense", netstring(b""))}
INDEXED = {"hash": ".db", "btree": ".db", "lmdb": ".lmdb", "cdb": ".cdb"}
NAMES = [n for n in (*LINES, *FILES)]


class World:
    def path(self, kind):
        return f"{self.base}/{kind}.cf"

    def put(self, path, content):
        """Written as editors do: a new file takes the name."""
        with open(path + ".new", "wb") as f:
            f.write(content)
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)

    def text(self, kind, text):
        self.put(self.path(kind), text.format(d=self.base, k=kind).encode())

    def index(self, kind, content):
        path = self.path(kind)
        if isinstance(content, str):
            self.text(kind, content)
            subprocess.run([os.path.join(BIN, "postmap"), f"{kind}:{path}"], check=True, env={"MAIL_CONFIG": self.base, "PATH": os.environ["PATH"]})
        elif isinstance(content, int):  # so many bytes of it are left
            with open(path + INDEXED[kind], "rb") as f:
                self.put(path + INDEXED[kind], f.read()[:content])
        else:
            self.put(path + INDEXED[kind], content)

    def sources(self, good):
        for kind, (_, right, wrong, _) in (LINES | FILES).items():
            (self.index if kind in INDEXED else self.text)(kind, right if good else wrong)
        for kind, (right, wrong, _) in AWAY.items():
            self.text(kind, right if good else wrong)

    def code(self, address):
        with smtplib.SMTP(self.inst.host, self.inst.port["smtp"], timeout=60) as s:
            s.ehlo("h")
            s.mail("a@a.test")
            return s.rcpt(address)[0]

    def becomes(self, address, code):
        assert until(lambda: self.code(address) == code), (address, code, self.code(address), [l for l in self.inst.log().splitlines() if "warning" in l or "error" in l or "fatal" in l][-12:])

    def says(self, mark, want):
        assert until(lambda: want in self.inst.log()[mark:]), (want, self.inst.log()[mark:])


@pytest.fixture(scope="module")
def world():
    w = World()
    w.base, w.sink = scratch("postern-wrong-"), fakesmtp.Server()
    w.put(f"{w.base}/main.cf", b"compatibility_level = 3.6\n")
    with sqlite3.connect(f"{w.base}/db") as c:
        c.executescript("CREATE TABLE t (k TEXT, v TEXT); INSERT INTO t VALUES ('bad', 'REJECT'), ('rest', 'REJECT'), ('way@route.test', 'smtp:[127.0.0.1]:%d')" % w.sink.port)
    w.server = {"tcp": fakeservers.tcp({"bad@tcp.test": "REJECT"}), "socketmap": fakeservers.socketmap({"access bad@socketmap.test": "REJECT"})}
    w.server_answer = {kind: s.answer for kind, s in w.server.items()}
    table = {k: row[0].format(t=w.path(k)) for k, row in (LINES | FILES).items()} | {k: f"{k}:{w.path(k)}" for k in AWAY}
    table |= {"tcp": f"tcp:127.0.0.1:{w.server['tcp'].port}", "socketmap": f"socketmap:inet:127.0.0.1:{w.server['socketmap'].port}:access"}
    classes = {k: f"check_{'client' if k == 'cidr' else 'recipient'}_access {t}" for k, t in table.items()}
    w.text("route", "dbpath = {d}/db\nquery = SELECT v FROM t WHERE k = '%s'\n")
    w.sources(True)
    w.inst = Instance(os.path.join(w.base, "i"), main={
        "smtpd_restriction_classes": " ".join(classes), "smtpd_recipient_restrictions": "check_recipient_access inline:{" + ", ".join(f"{k}.test={k}" for k in classes) + "}",
        "mydestination": "$myhostname, " + ", ".join(f"{k}.test" for k in classes), "local_recipient_maps": "", "transport_maps": f"sqlite:{w.path('route')}",
        "proxy_read_maps": table["proxy"], "smtp_dns_support_level": "disabled", "notify_classes": "", **classes})
    w.inst.start()
    yield w
    w.inst.stop()
    shutil.rmtree(w.base, ignore_errors=True)


def all_is_well(world):
    for kind in LINES | FILES:
        for name in ("bad", "rest"):
            world.becomes(f"{name}@{kind}.test", 554)
    for kind in AWAY:
        mark = len(world.inst.log())
        assert until(lambda: world.code(f"bad@{kind}.test") == 451 and "nobody" in world.inst.log()[mark:]), (kind, world.inst.log()[mark:])


def test_sources(world):
    all_is_well(world)
    waits = smtplib.SMTP(world.inst.host, world.inst.port["smtp"], timeout=60)
    waits.ehlo("h")
    mark = len(world.inst.log())
    world.sources(False)
    for kind in LINES:
        world.becomes(f"bad@{kind}.test", 554 if kind == "cidr" else 250)
        world.becomes(f"rest@{kind}.test", 554)
    for kind in FILES | AWAY:
        world.becomes(f"bad@{kind}.test", 451)
        world.becomes(f"rest@{kind}.test", 451)
    for kind, row in (LINES | FILES | AWAY).items():
        world.says(mark, row[-1].format(t=world.path(kind)))
    assert waits.mail("a@a.test")[0] == 250  # it began before, and goes on
    waits.quit()
    # gone altogether
    for kind in ("texthash", "pcre", "hash"):
        os.unlink(world.path(kind) + INDEXED.get(kind, ""))
    for kind in ("texthash", "pcre"):
        world.becomes(f"rest@{kind}.test", 451)
        world.says(mark, f"open {world.path(kind)}: No such file or directory")
    world.sources(True)
    all_is_well(world)


@pytest.mark.parametrize("kind", NONSENSE)
def test_answers(world, kind):
    for nonsense in NONSENSE[kind]:
        world.becomes(f"bad@{kind}.test", 554)
        mark = len(world.inst.log())
        world.server[kind].answer = lambda q, b=nonsense: b
        assert world.code(f"bad@{kind}.test") == 451
        world.says(mark, f"warning: {'tcp' if kind == 'tcp' else 'socketmap'}:")
        world.server[kind].answer = world.server_answer[kind]
    world.becomes(f"bad@{kind}.test", 554)


# In force all the same, by a signal that went past the check of "postfix reload": mail waits, and no daemon dies.
UNUSABLE = [  # parameter, value, what RCPT is told, what the log says
    ("smtpd_client_restrictions", "permit_mynetworks, check_client_access {inline:{x=y}", 451, "warning: smtpd_client_restrictions: missing '}'"),
    ("smtpd_client_restrictions", "sleep x", 451, 'warning: smtpd_client_restrictions: sleep: bad number "x"'),
    ("smtpd_client_restrictions", "check_client_access", 451, "warning: smtpd_client_restrictions: restriction check_client_access needs an argument"),
    ("smtpd_client_restrictions", "check_client_access foo", 451, 'error: smtpd_client_restrictions: open dictionary: expecting "type:name" form instead of "foo"'),
    ("smtpd_client_restrictions", "reject_rbl_client", 250, "warning: smtpd_client_restrictions: restriction reject_rbl_client needs an argument"),
    ("mynetworks", "10.0.0.0/8 {", 451, "error: mynetworks: missing '}'"),
    ("mydestination", "/no/such/file", 451, "error: mydestination: open file /no/such/file: No such file or directory"),
    ("virtual_alias_maps", "inline:{", 451, "error: virtual_alias_maps: missing '}'"),
    ("header_checks", "nothing", 250, 'error: header_checks: open dictionary: expecting "type:name" form instead of "nothing"'),
]


@pytest.mark.parametrize("name,value,code,says", UNUSABLE, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(UNUSABLE)])
def test_no_daemon_dies_of_a_list(world, name, value, code, says):
    inst = world.inst
    good = dict(inst.main)
    inst.main |= {name: value, "smtpd_recipient_restrictions": "permit_mynetworks, reject_unauth_destination", "smtpd_tls_security_level": "may"}
    mark = len(inst.log())
    try:
        inst.write_config()
        with open(os.path.join(inst.queue, "pid/master.pid"), encoding="ascii") as f:
            os.kill(int(f.read()), signal.SIGHUP)
        world.says(mark, "reload -- ")
        assert until(lambda: world.code("x@texthash.test") == code and ("smtpd" not in name or says in inst.log()[mark:])), (code, inst.log()[mark:])
        if name == "header_checks":
            assert inst.command("sendmail", "-f", "a@a.test", "x@texthash.test", input=b"Subject: x\n\nx\n").returncode == 0
        world.says(mark, says)
        assert "fatal: " not in inst.log()[mark:]
    finally:
        inst.main = good
        inst.write_config()
        assert inst.command("postfix", "reload").returncode == 0
    world.becomes("bad@regexp.test", 554)


def test_mail_waits_for_the_repair(world):
    """What was taken while the table of routes is wrong stays in the queue, and goes where the repaired one says."""
    world.text("route", "dbpath = {d}/db\nquery = SELECT v FROM t WHERE k = '%q'\n")
    assert until(lambda: world.code("way@route.test") == 451)
    assert world.inst.command("sendmail", "-f", "a@a.test", "way@route.test", input=b"Subject: x\n\nx\n").returncode == 0
    world.inst.wait_log(r'trivial-rewrite\[\d+\]: warning: sqlite:\S+ lookup error for "way@route\.test"')
    assert not world.sink.messages
    world.text("route", "dbpath = {d}/db\nquery = SELECT v FROM t WHERE k = '%s'\n")
    assert world.inst.command("postfix", "reload").returncode == 0  # else ten seconds pass (test_table_again.py)
    assert until(lambda: world.inst.command("postqueue", "-f").returncode == 0 and world.sink.messages, every=1)
    world.inst.wait_queue_empty()
    assert len(world.sink.messages) == 1
