"""sqlite: tables (sqlite_table(5)): answers, quoting, a file that is replaced, and one that only root may read, asked by daemons that are not."""
import os
import re
import smtplib
import sqlite3
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from dbservers import Place, rcpt  # noqa: E402
from instance import until  # noqa: E402


def make(path, rows):
    new = path + ".new"
    db = sqlite3.connect(new)
    db.execute("CREATE TABLE alias (address TEXT, goto TEXT)")
    db.executemany("INSERT INTO alias VALUES (?, ?)", rows)
    db.commit()
    db.close()
    os.chmod(new, 0o600)
    os.rename(new, path)


class SqlitePlace(Place):
    kind = "sqlite"

    def __init__(self):
        super().__init__()
        self.path = os.path.join(self.base, "mail.sqlite")
        make(self.path, [("one@example.com", "box@example.test"), ("two@example.com", "a@example.test"), ("two@example.com", "b@example.test"),
                         ("o'brien@example.com", "quoted"), ("null@example.com", None), ('"x"', "dquoted")])
        self.settings = {"dbpath": self.path}
        self.configure({
            "virtual_alias_maps": f"sqlite:{self.base}/i/etc/alias.cf sqlite:{self.base}/i/etc/wal.cf", "virtual_mailbox_maps": "inline:{box@example.test=box/}",
            "smtpd_sender_restrictions": f"check_sender_access sqlite:{self.base}/i/etc/sender.cf"})
        self.table("alias.cf", query="SELECT goto FROM alias WHERE address = '%s'")
        self.table("wal.cf", query="SELECT goto FROM alias WHERE address = '%s'", dbpath=self.path + "-2")
        self.table("sender.cf", query="SELECT 'REJECT you' WHERE '%s' = 'bad@sender.test'")


@pytest.fixture(scope="module")
def place():
    p = SqlitePlace()
    yield p
    p.end()


ALL = "SELECT goto, 'not this' FROM alias WHERE address = '%s'"
CASES = [
    (dict(query=ALL), "one@example.com", "box@example.test"),
    (dict(query=ALL), "two@example.com", "a@example.test,b@example.test"),
    (dict(query=ALL), "null@example.com", None),
    (dict(query=ALL), "o'brien@example.com", "quoted"),
    (dict(query=ALL), "' OR '1'='1", None),
    (dict(query=ALL, domain="example.net"), "one@example.com", None),
    (dict(query=None, table="alias", select_field="goto", where_field="address"), "one@example.com", "box@example.test"),
    (dict(query='SELECT goto FROM alias WHERE "%s" = 1'), '1" OR "1', None),
    (dict(query="WITH RECURSIVE r(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM r) SELECT x FROM r", expansion_limit="5"), "k", "expansion_limit"),
    (dict(query="SELEC"), "k", "syntax error"),
    (dict(query="INSERT INTO alias VALUES ('a', 'b')"), "k", "readonly"),
    (dict(query="SELECT 1", dbpath=None), "k", r"t\.cf: dbpath: must be set"),
    (dict(query="SELECT 1", dbpath="/nowhere/x"), "k", "/nowhere/x: unable to open"),
]


@pytest.mark.parametrize("n", range(len(CASES)))
def test_answers(place, n):
    settings, key, want = CASES[n]
    got = place.ask(key, **settings)
    assert got == want or (want and got and re.search(want, got)), got


def test_delivers_and_follows_the_file(place):
    inst = place.inst
    make(place.path + "-2", [("wal@example.com", "box@example.test")])
    writer = sqlite3.connect(place.path + "-2")
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO alias VALUES ('wal2@example.com', 'box@example.test')")
    writer.commit()
    inst.start()
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=60) as s:
        s.sendmail("a@sender.test", ["one@example.com"], "Subject: x\r\n\r\nhello\r\n")
    inst.wait_log("to=<box@example.test>.*status=sent")
    assert rcpt(inst, "one@example.com", "bad@sender.test")[0] == 554
    assert rcpt(inst, "late@example.com")[0] == 550
    assert rcpt(inst, "wal2@example.com")[0] == 250
    writer.execute("INSERT INTO alias VALUES ('wal3@example.com', 'box@example.test')")
    writer.commit()
    writer.close()
    assert rcpt(inst, "wal3@example.com")[0] == 250
    make(place.path, [("new@example.com", "box@example.test")])
    assert until(lambda: rcpt(inst, "new@example.com")[0] == 250)
    os.rename(place.path, place.path + ".away")
    db = sqlite3.connect(place.path + ".away")
    db.execute("DROP TABLE alias")
    db.commit()
    assert rcpt(inst, "another@example.com")[0] == 451
    assert "sandbox: denied" not in inst.log()
