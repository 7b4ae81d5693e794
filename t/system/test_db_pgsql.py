"""pgsql: tables against PostgreSQL (pgsql_table(5)): servers by name, socket and URI, functions, quoting of hostile keys also within E'...', and
delivery through the lookup daemon across a restart of the server."""
import os
import re
import smtplib
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from dbservers import Place, Postgres, rcpt  # noqa: E402
from instance import until  # noqa: E402

SQL = r"""CREATE TABLE alias (address text, goto text, other text);
INSERT INTO alias VALUES ('one@example.com', 'box@example.test', NULL), ('two@example.com', 'a@example.test', 'b@example.test'), ('two@example.com', 'c@example.test', NULL);
INSERT INTO alias VALUES ('o''brien@example.com', 'quoted', NULL), ('back\slash@example.com', 'slashed', NULL), ('grün@example.com', 'green', NULL);
CREATE TABLE box (address text, path text);
INSERT INTO box VALUES ('box@example.test', 'example.test/box/Maildir/');
CREATE FUNCTION find(k text) RETURNS SETOF text LANGUAGE sql AS 'SELECT goto FROM alias WHERE address = k';
CREATE USER reader PASSWORD 'secret';
GRANT SELECT ON alias, box TO reader;
"""


class PgsqlPlace(Place):
    kind = "pgsql"

    def __init__(self):
        super().__init__()
        self.db = Postgres(os.path.join(self.base, "db"), SQL).start()
        self.local = "unix:" + self.db.socket
        self.settings = {"hosts": self.local, "user": "reader", "password": "secret", "dbname": "postgres", "retry_interval": "1"}
        self.configure({"virtual_mailbox_maps": f"pgsql:{self.base}/i/etc/box.cf",
                        "smtpd_recipient_restrictions": f"check_recipient_access pgsql:{self.base}/i/etc/access.cf"})
        self.table("alias.cf", query="SELECT goto FROM alias WHERE address = '%s'")
        self.table("box.cf", query="SELECT path FROM box WHERE address = '%s'")
        self.table("access.cf", query="SELECT 'REJECT not this one' WHERE '%s' = 'no@example.com'")


@pytest.fixture(scope="module")
def place():
    p = PgsqlPlace()
    yield p
    p.end()


ALL = "SELECT goto, other FROM alias WHERE address = '%s'"
CASES = [
    (dict(query="SELECT E'x''%s'"), "a\\", None),
    (dict(query="SELECT E'\\'%s'"), "it's", "'it's"),
    (dict(query="SELECT 'x''%s'"), "it's\\", "x'it's\\"),
    (dict(query=ALL), "one@example.com", "box@example.test"),
    (dict(query=ALL), "two@example.com", "a@example.test,b@example.test,c@example.test"),
    (dict(query=ALL), "nobody@example.com", None),
    (dict(query=None, select_function="find"), "two@example.com", "a@example.test,c@example.test"),
    (dict(query=None, table="alias", select_field="goto", where_field="address"), "one@example.com", "box@example.test"),
    (dict(query=ALL, domain="example.org"), "one@example.com", None),
    (dict(query=ALL, result_format="smtp:[%d]"), "one@example.com", "smtp:[example.test]"),
    (dict(query=ALL, expansion_limit="2"), "two@example.com", "expansion_limit"),
    (dict(query="SELECT '%u', '%1'"), "u@a.b", "u,b"),
    (dict(query="SELEC"), "k", "syntax error"),
    (dict(query="SET x.y TO 1"), "k", "no rows"),
    (dict(query="SELECT 1", password="wrong"), "k", "password authentication failed"),
    (dict(query="SELECT 1", encoding="LATIN1"), "k", "1"),
    (dict(query="SELECT 1", encoding="nonsense"), "k", "nonsense"),
    (dict(query="SELECT 1", dbname=None), "k", r"t\.cf: dbname: must be set"),
    (dict(query="SELECT 1", hosts="unix:/nowhere"), "k", "connect to pgsql server unix:/nowhere"),
    # what a key may hold
    (dict(query=ALL), "o'brien@example.com", "quoted"),
    (dict(query=ALL), "back\\slash@example.com", "slashed"),
    (dict(query=ALL), "grün@example.com", "green"),
    (dict(query=ALL), "' OR '1'='1", None),
    (dict(query=ALL), "\\' OR 1=1 -- ", None),
    (dict(query="SELECT goto FROM alias WHERE address = E'%s'"), "\\' OR 1=1 -- ", None),
    (dict(query="SELECT goto FROM alias WHERE address = E'%s'"), "o'brien@example.com", "quoted"),
    (dict(query="SELECT goto FROM alias WHERE address = $$%s$$"), "one@example.com", "box@example.test"),
    (dict(query="SELECT goto FROM alias WHERE address = $$%s$$"), "$$ OR true --", None),
    (dict(query="SELECT \"%s\" FROM alias LIMIT 1"), "goto\" FROM alias; --", None),
]


@pytest.mark.parametrize("n", range(len(CASES)))
def test_answers(place, n):
    settings, key, want = CASES[n]
    got = place.ask(key, **settings)
    assert got == want or (want and got and re.search(want, got)), got


def test_ways_to_the_server(place):
    port, base = place.db.port, place.db.base
    for hosts in (f"127.0.0.1:{port}", f"inet:127.0.0.1:{port}", f"{base}/.s.PGSQL.{port}"):
        assert place.ask("k", query="SELECT 'there'", hosts=hosts) == "there"
    uri = f"postgresql://reader:secret@127.0.0.1:{port}/postgres?connect_timeout=5"
    assert place.ask("k", query="SELECT 'by uri'", hosts=uri, user=None, password=None, dbname=None) == "by uri"
    place.ask("k", query="SELECT 'second'", hosts=f"unix:/nowhere 127.0.0.1:{port}")
    assert place.inst.command("postmap", "-q", "k", f"pgsql:{place.inst.config}/t.cf").stdout == b"second\n"


def test_bytes_that_are_no_text(place):
    place.table(query="SELECT 'found'")
    for key in (b"\xff\xfe@example.com", b"\xbf' OR 1=1 -- "):
        r = place.inst.command("postmap", "-q", key, f"pgsql:{place.inst.config}/t.cf")
        assert r.returncode == 1 and not r.stdout, r.stderr


def test_delivers_across_a_restart(place):
    inst = place.inst
    inst.start()

    def send():
        with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=90) as s:
            s.sendmail("a@sender.test", ["one@example.com"], "Subject: x\r\n\r\nhello\r\n")

    send()
    inst.wait_log("to=<box@example.test>.*status=sent")
    assert rcpt(inst, "no@example.com")[0] == 554
    place.db.stop()
    place.db.start()
    send()  # the connections that are there are dead: nobody notices
    inst.wait_log("to=<box@example.test>.*status=sent", count=2)
    place.db.stop()
    assert rcpt(inst, "new@example.com")[0] == 451
    inst.wait_log("access.cf lookup error: .*connect to pgsql server")
    place.db.start()
    assert until(lambda: rcpt(inst, "one@example.com")[0] == 250)
    send()
    assert rcpt(inst, "new@example.com")[0] == 550
    assert "sandbox: denied" not in inst.log()
