"""mysql: tables against MariaDB (mysql_table(5)): every form of the configuration, quoting of hostile keys, several servers, TLS, and a
suite whose daemons have no right to connect themselves and still deliver; a server that is away means "later", never "not found"."""
import os
import re
import smtplib
import struct
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from dbservers import MariaDb, Place, rcpt  # noqa: E402
from fakemaster import Daemon, record, span  # noqa: E402
from instance import make_certificates, readable, until  # noqa: E402
from test_proxymap import FOUND, LOOKUP, ask, take  # noqa: E402

SQL = """SET NAMES utf8mb4;
CREATE DATABASE mail CHARACTER SET utf8mb4;
CREATE TABLE mail.alias (address VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, goto VARCHAR(200), other VARCHAR(200));
INSERT INTO mail.alias VALUES ('one@example.com', 'box@example.test', NULL), ('two@example.com', 'a@example.test', 'b@example.test'), ('two@example.com', 'c@example.test', '');
INSERT INTO mail.alias VALUES ('o''brien@example.com', 'quoted', NULL), ('back\\\\slash@example.com', 'slashed', NULL), ('d"q@example.com', 'dquoted', NULL), ('grün@example.com', 'green', NULL), ('user', 'plain', NULL), ('example.com', 'domain', NULL), ('%', 'percent', NULL);
CREATE TABLE mail.box (address VARCHAR(200), path VARCHAR(200));
INSERT INTO mail.box VALUES ('box@example.test', 'example.test/box/Maildir/');
CREATE DEFINER=root@localhost PROCEDURE mail.one(IN k VARCHAR(200)) SELECT goto FROM mail.alias WHERE address = k;
CREATE DEFINER=root@localhost PROCEDURE mail.none(IN k VARCHAR(200)) SET @x = k;
CREATE DEFINER=root@localhost PROCEDURE mail.twice(IN k VARCHAR(200)) BEGIN SELECT 1; SELECT 2; END;
CREATE USER reader@localhost IDENTIFIED BY 'se#cret';
CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'se#cret';
GRANT SELECT, EXECUTE ON mail.* TO reader@localhost;
GRANT SELECT, EXECUTE ON mail.* TO reader@'127.0.0.1';
"""


class MysqlPlace(Place):
    kind = "mysql"

    def __init__(self):
        super().__init__()
        self.tls = make_certificates(os.path.join(self.base, "tls"))
        os.chmod(self.tls[2], 0o644)
        self.db = MariaDb(os.path.join(self.base, "db"), SQL)
        ca, cert, key = self.tls
        self.db.start(f"--ssl-ca={ca}", f"--ssl-cert={cert}", f"--ssl-key={key}")
        open(self.db.init, "w").close()  # once is enough
        self.settings = {"hosts": "unix:" + self.db.socket, "user": "reader", "password": "se#cret", "dbname": "mail", "retry_interval": "1"}
        self.configure({
            "virtual_mailbox_maps": f"proxy:mysql:{self.base}/i/etc/box.cf",
            "transport_maps": "mysql:route", "route_hosts": "unix:" + self.db.socket, "route_user": "reader", "route_password": "se#cret",
            "route_dbname": "mail", "route_query": "SELECT 'error:5.1.2 gone' FROM alias WHERE address = 'user' AND '%s' = 'gone.test'"})
        self.table("alias.cf", query="SELECT goto FROM alias WHERE address = '%s'")
        self.table("box.cf", query="SELECT path FROM box WHERE address = '%s'", hosts=f"127.0.0.1:{self.db.port}", tls_CAfile=ca,
                   tls_verify_cert="yes")


@pytest.fixture(scope="module")
def place():
    p = MysqlPlace()
    yield p
    p.end()


ALL = "SELECT goto, other FROM alias WHERE address = '%s'"
CASES = [  # settings, key, answer (None: not found; a pattern: the message)
    (dict(query=ALL), "one@example.com", "box@example.test"),
    (dict(query=ALL), "two@example.com", "empty lookup result for: \"two@example.com\" -- ignored"),
    (dict(query="SELECT goto FROM alias WHERE address = '%s' ORDER BY goto"), "two@example.com", "a@example.test,c@example.test"),
    (dict(query=ALL), "nobody@example.com", None),
    (dict(query=None, table="alias", select_field="goto", where_field="address", additional_conditions="AND goto LIKE 'b%%'"),
     "one@example.com", "box@example.test"),
    (dict(query="SELECT '%u', '%d', '%s', '%U', '%D', '%S', '%1', '%2', '%%'"), "u@a.b", "u,a.b,u@a.b,u,a.b,u@a.b,b,a,%"),
    (dict(query="SELECT '%3'"), "u@a.b", None),
    (dict(query="SELECT '%d'"), "u", None),
    (dict(query="SELECT '%u'"), "u", "u"),
    (dict(query="SELECT '%u'"), "@a.b", None),
    (dict(query="SELECT 'x'", domain="example.org, example.com"), "a@example.com", "x"),
    (dict(query="SELECT 'x'", domain="example.org example.com"), "a@example.net", None),
    (dict(query="SELECT 'x'", domain="example.com"), "example.com", None),
    (dict(query="SELECT 'x'", domain="example.com"), "@example.com", None),
    (dict(query=ALL, result_format="smtp:[%s]"), "one@example.com", "smtp:[box@example.test]"),
    (dict(query=ALL, result_format="%U-%u:%d-%D%%%2"), "one@example.com", "one-box:example.test-example.com%example"),
    (dict(query="SELECT 'novalue'", result_format="%d"), "one@example.com", None),
    (dict(query="SELECT goto FROM alias WHERE address = '%s'", expansion_limit="1"), "two@example.com", "expansion_limit"),
    (dict(query="CALL one('%s')"), "one@example.com", "box@example.test"),
    (dict(query="CALL none('%s')"), "one@example.com", "no result set"),
    (dict(query="CALL none('%s')", require_result_set="no"), "one@example.com", None),
    (dict(query="CALL twice('%s')"), "one@example.com", "multiple result sets"),
    (dict(query="SELEC 1"), "one@example.com", "syntax"),
    (dict(query="SELECT 1 FROM absent"), "one@example.com", "absent"),
    (dict(query="SELECT 1", password="wrong"), "k", "Access denied"),
    (dict(query="SELECT 1", hosts="unix:/nowhere/s"), "k", "connect to mysql server unix:/nowhere/s"),
    # what a key may hold
    (dict(query=ALL), "o'brien@example.com", "quoted"),
    (dict(query=ALL), "back\\slash@example.com", "slashed"),
    (dict(query='SELECT goto FROM alias WHERE address = "%s"'), 'd"q@example.com', "dquoted"),
    (dict(query=ALL), "grün@example.com", "green"),
    (dict(query=ALL), "' OR '1'='1", None),
    (dict(query=ALL), "\\' OR 1=1 -- ", None),
    (dict(query='SELECT goto FROM alias WHERE address = "%s"'), '" OR ""="', None),
    (dict(query='SELECT goto FROM alias WHERE address = "%s"'), '\\" OR 1=1 #', None),
    (dict(query="SELECT goto FROM alias WHERE address = CONVERT('%s' USING utf8mb4)", charset="gbk"), "縗' OR 1=1 -- ", None),
    (dict(query="SELECT goto FROM alias WHERE '%s' = address AND %s = 1"), "1 OR 1", None),
    (dict(query="SELECT %s"), "7", "7"),
    (dict(query="SELECT `%s` FROM alias LIMIT 1"), "goto` FROM alias; -- ", None),
    (dict(query="SELECT '\\\\\\%s'"), "' OR 1 -- ", None),
    (dict(query="SELECT '\\%s'"), "'), 1 -- ", None),
    (dict(query="SELECT '\\'%s'"), "it's", "'it's"),
    (dict(query="SELECT 'x''%s'"), "it's", "x'it's"),
    (dict(query=ALL, charset="nonsense"), "k", "nonsense"),
    # mistakes
    (dict(query="SELECT 1", dbname=None), "k", r"t\.cf: dbname: must be set"),
    (dict(query=None), "k", r"t\.cf: table: must be set"),
    (dict(query="SELECT '%q'"), "k", r"t\.cf line 7: query: unknown expansion %q"),
    (dict(query="SELECT 1", expansion_limit="-1"), "k", r"line 8: expansion_limit: \"-1\" is not a number"),
    (dict(query="SELECT 1", raw="nonsense\n"), "k", r"t\.cf line 8: '=' missing"),
    (dict(query="SELECT 1", raw="host = x\n"), "k", r"line 8: unknown parameter host ignored; is hosts meant"),
    (dict(query="SELECT 1", raw="port = 3306\n"), "k", "1"),
]


@pytest.mark.parametrize("n", range(len(CASES)))
def test_answers(place, n):
    settings, key, want = CASES[n]
    got = place.ask(key, **settings)
    assert got == want or (want and got and re.search(want, got)), got


def test_bytes_that_are_no_text(place):
    place.table(query="SELECT 'found'")
    for key in (b"\xff\xfe@example.com", b"\xbf' OR 1=1 -- ", b"a\xc3"):
        r = place.inst.command("postmap", "-q", key, f"mysql:{place.inst.config}/t.cf")
        assert r.returncode == 1 and not r.stdout, r.stderr


def test_tcp_tls_and_option_file(place):
    ca = place.tls[0]
    tcp = f"inet:127.0.0.1:{place.db.port}"
    status = "SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'"
    assert place.ask("k", query="SELECT 'tcp'", hosts=tcp) == "tcp"
    assert "_" in place.ask("k", query=status, hosts=tcp, tls_CAfile=ca, tls_verify_cert="yes")
    place.inst.write("my.cnf", "[client]\nuser = reader\npassword = wrong\n[mail]\npassword = \"se#cret\"\n")
    conf = os.path.join(place.inst.config, "my.cnf")
    assert place.ask("k", query="SELECT 'file'", user=None, password=None, option_file=conf, option_group="mail") == "file"
    assert "Access denied" in place.ask("k", query="SELECT 'file'", user=None, password=None, option_file=conf)


def test_the_next_server(place):
    r = place.ask("k", query="SELECT 'second'", hosts=f"unix:/nowhere/s, 127.0.0.1:{place.db.port}")
    assert "second" in r or "connect to mysql server unix:/nowhere/s" in r
    out = place.inst.command("postmap", "-q", "k", f"mysql:{place.inst.config}/t.cf").stdout
    assert out == b"second\n"


def test_missing_module_and_types(place):
    assert {"mysql", "pgsql", "sqlite", "ldap"} <= set(place.inst.command("postconf", "-m").stdout.decode().split())
    place.inst.write("dynamicmaps.cf", "# type so function\nmysql postfix-mysql.so dict_mysql_open\nfrob\tpostern-frob.so\tx\n")
    err = place.inst.command("postmap", "-q", "k", "frob:/x").stderr.decode()
    assert re.search("unsupported dictionary type: frob: the module .*/postern-frob.so that dynamicmaps.cf names is not installed", err)
    meta = os.path.join(place.base, "meta")
    os.makedirs(meta + "/dynamicmaps.cf.d")
    with open(meta + "/dynamicmaps.cf.d/x.cf", "w", encoding="ascii") as f:
        f.write("frob /nowhere/frob.so\n")
    place.inst.main["meta_directory"] = meta
    place.inst.write_config()
    assert "the module /nowhere/frob.so that dynamicmaps.cf names" in place.inst.command("postmap", "-q", "k", "frob:/x").stderr.decode()
    assert "unsupported dictionary type: nix" in place.inst.command("postmap", "-q", "k", "nix:/x").stderr.decode()


def test_slow_and_dead_servers_hold_nobody_up(place, tmp_path):
    slow = place.table("slow.cf", query="SELECT SLEEP(2)")
    fast = place.table("fast.cf", query="SELECT 'fast'")
    other = place.table("other.cf", query="SELECT 'other'", hosts=f"unix:/nowhere/s 127.0.0.1:{place.db.port}", retry_interval="60s")
    d = Daemon("proxymap", str(tmp_path), main_cf=f"virtual_alias_maps = mysql:{slow} mysql:{fast} mysql:{other}\n")
    try:
        s, waiting = d.connect(), [d.connect() for _ in range(3)]
        for w in waiting:
            w.send(record(LOOKUP, span("mysql:" + slow) + span("k") + struct.pack("<I", 1)))
        assert ask(s, "mysql:" + fast, "k") == (FOUND, "fast")
        for _ in range(20):
            assert ask(s, "mysql:" + other, "k") == (FOUND, "other")
        assert not any(readable(w, 0) for w in waiting)
        assert all(take(w) == (FOUND, "0") for w in waiting)
        assert d.text().count("connect to mysql server unix:/nowhere/s") == 1
    finally:
        d.end()


def test_delivers_and_waits_for_the_server(place):
    inst = place.inst
    place.table("alias.cf", mode=0o640, query="SELECT goto FROM alias WHERE address = '%s'")
    inst.start()
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=60) as s:
        refused = s.sendmail("", ["one@example.com", "x@gone.test"], "Subject: x\r\n\r\nhello\r\n")
        assert refused == {"x@gone.test": (550, b"5.1.2 <x@gone.test>: Recipient address rejected: gone")}
    inst.wait_log("to=<box@example.test>.*status=sent")
    assert os.listdir(os.path.join(inst.mail, "example.test/box/Maildir/new"))
    assert rcpt(inst, "nobody@example.com")[0] == 550
    place.db.stop()
    code, text = rcpt(inst, "one@example.com")
    assert code == 451, text
    assert rcpt(inst, "other@example.com")[0] == 451
    inst.wait_log("alias.cf lookup error: .*mysql server unix:")
    place.db.start()
    assert until(lambda: rcpt(inst, "one@example.com")[0] == 250)
    assert rcpt(inst, "one@example.com")[0] == 250
    assert rcpt(inst, "nobody@example.com")[0] == 550
    assert "sandbox: denied" not in inst.log()
