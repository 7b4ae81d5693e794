"""ldap_table(5), mysql_table(5), pgsql_table(5) and sqlite_table(5) beside Debian's postmap(1), which asks the same servers with the same files: what
is taken from a key, which of the stored values are taken and how they are written, limits, groups, and ways to name a server."""
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
from concurrent import futures

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import peer  # noqa: E402
from dbservers import MariaDb, Postgres, Slapd  # noqa: E402
from instance import BIN, scratch  # noqa: E402

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or not root")
ROWS = [("one@example.com", "box@example.test", None), ("two@example.com", "a@example.test", "b@example.test"), ("two@example.com", "c@example.test", ""),
        ("empty@example.com", "", ""), ("null@example.com", None, None), ("user", "plain", None), ("@example.com", "@catch.test", None),
        ("comma@example.com", "x@y.test, z@y.test", None), ("blank@example.com", " in the middle ", None), ("at@example.com", "@", "a@b@c.test"),
        ("dom.sub.example.com", "x.y", None), ("percent@example.com", "50%", None), ("long@example.com", "v" * 4000, None)]
KEYS = ["one@example.com", "two@example.com", "empty@example.com", "null@example.com", "user", "@example.com", "comma@example.com", "blank@example.com",
        "at@example.com", "dom.sub.example.com", "percent@example.com", "long@example.com", "nobody@example.com", "one@sub.example.com", "a@b@example.com",
        "ONE@Example.COM", "example.com", "one@", "@", "@@", "o'n@e.x", "back\\slash@e.x", "gr\u00fcn@e.x", ".example.com", "one+ext@example.com"]
PLAIN = "SELECT goto FROM alias WHERE address = '%s'"
BOTH = "SELECT goto, other FROM alias WHERE address = '%s'"
SQL = [  # settings of a table; all keys are asked
    # these of every kind of database
    dict(query=BOTH), dict(query=BOTH, result_format="%u=%d"), dict(query="SELECT NULL, 'x', '', 'y'"), dict(query="SELECT '100%%'"), dict(query=PLAIN, domain="example.com"),
    dict(table="alias", select_field="goto, other", where_field="address", additional_conditions="AND other IS NOT NULL"),
    # these, where the code is the same for all, of one
    dict(query=PLAIN), dict(query="SELECT other FROM alias WHERE address = '%s'"), dict(query=BOTH, result_format="<%s>"),
    dict(query=BOTH, result_format="%S|%U|%D|%1|%2|%%"), dict(query=PLAIN, result_format="%3"), dict(query=PLAIN, result_format="fixed"), dict(query=PLAIN, result_format=""),
    dict(query="SELECT '%s|%u|%d'"), dict(query="SELECT '%S|%U|%D'"), dict(query="SELECT '%2.%1'"), dict(query="SELECT '%3'"), dict(query="SELECT 'fixed'"),
    dict(query="SELECT '%s' WHERE 1 = 0"), dict(query="SELECT ''"), dict(query="SELECT NULL"),
    dict(query=PLAIN, domain="example.com, sub.example.com"), dict(query=PLAIN, domain="EXAMPLE.com, .sub.example.com"), 
    dict(query="SELECT 'in'", domain="static:x"), dict(query="SELECT 'in'", domain="!regexp:{{/^$/ x}} static:x"), dict(query="SELECT 'in'", domain="!example.com regexp:{{/^$/ x}}"),
    dict(query="SELECT 'in'", domain="inline:{example.com=x}"), dict(query="SELECT 'in'", domain="!example.com"),
    dict(query=PLAIN, expansion_limit="0"), dict(query=PLAIN, expansion_limit="2"), dict(query=BOTH, expansion_limit="4"),
    dict(table="alias", select_field="goto", where_field="address"),
]
EVERY = 6
ERRORS = [  # one key each
    dict(query=BOTH, expansion_limit="1"), dict(query="SELECT nocolumn FROM alias"), dict(query=BOTH, expansion_limit="3"), dict(query="SELEC"), dict(query="SELECT x FROM nowhere"),
    dict(query=PLAIN, result_format="%q"), dict(query="SELECT '%q'"), dict(query="SELECT '%'"), dict(), dict(query=""),
]


OURS, THEIRS = os.path.join(BIN, "postmap"), os.path.join(peer.COMMANDS, "postmap")
MAIN = "compatibility_level = 3.6\nmyhostname = mail.example.test\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n"


class Place:
    def __init__(self, kind):
        self.base, self.kind, self.db, self.files = scratch(f"postern-results-{kind}-"), kind, None, 0
        with open(f"{self.base}/main.cf", "w", encoding="ascii") as f:
            f.write(MAIN)
        peer.settle(f"{self.base}/main.cf")
        os.chmod(self.base, 0o755)

    def settings_file(self, settings):
        self.files += 1
        path = f"{self.base}/t{self.files}.cf"
        with open(path, "w", encoding="utf-8") as f:
            f.write("".join(f"{k} = {v}\n" for k, v in {**self.settings, **settings}.items() if v is not None))
        return path

    def ask(self, programs, table, keys, config=None):
        """Status and answers of each program, and what it says."""
        procs = []
        for program in programs:  # both are at work before the first is waited for
            with tempfile.TemporaryFile() as f:
                f.write("".join(k + "\n" for k in keys).encode())
                f.seek(0)
                procs.append(subprocess.Popen([program, "-q", "-", table], stdin=f, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                              env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "MAIL_CONFIG": config or self.base,
                                                   **(peer.QUICK if program == THEIRS else {})}))
        out = [p.communicate(timeout=120) for p in procs]
        return [((p.returncode, o.decode("utf-8", "replace").splitlines()), e.decode("utf-8", "replace")) for p, (o, e) in zip(procs, out)]

    def ours(self, keys, settings):
        return self.ask([OURS], f"{self.kind}:{self.settings_file(settings)}", keys)[0]

    def both(self, keys, settings):
        (ours, said), (theirs, _) = self.ask([OURS, THEIRS], f"{self.kind}:{self.settings_file(settings)}", keys)
        return ours, theirs, said

    def same(self, cases):
        """Each case: keys, settings. The processes are most of the time that a case takes: several at a time."""
        with futures.ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda case: self.both(*case), cases))
        different = [f"{case[1]}: ours {ours}, Debian's {theirs}: {said}" for case, (ours, theirs, said) in zip(cases, found) if ours != theirs]
        assert not different, "\n".join(different)
        return [ours for ours, _, _ in found]

    def same_in_main_cf(self, keys, settings):
        """The old form: NAME_setting in main.cf, and TYPE:NAME."""
        os.makedirs(f"{self.base}/legacy", exist_ok=True)
        with open(f"{self.base}/legacy/main.cf", "w", encoding="utf-8") as f:
            f.write(MAIN + "".join(f"legacy_{k} = {v}\n" for k, v in {**self.settings, **settings}.items()))
        peer.settle(f"{self.base}/legacy/main.cf")
        (ours, said), (theirs, _) = self.ask([OURS, THEIRS], f"{self.kind}:legacy", keys, f"{self.base}/legacy")
        assert ours == theirs and ours[0] == 0, said


def insert():
    quoted = lambda v: "NULL" if v is None else "'" + v.replace("'", "''") + "'"
    return "".join(f"INSERT INTO alias VALUES ({', '.join(quoted(v) for v in row)});\n" for row in ROWS)


def mysql(p):
    p.db = MariaDb(f"{p.base}/db", "CREATE DATABASE mail;\nUSE mail;\nCREATE TABLE alias (address VARCHAR(200), goto VARCHAR(5000), other VARCHAR(200));\n" + insert()
                   + "CREATE USER reader@localhost IDENTIFIED BY 'pw';\nGRANT SELECT ON mail.* TO reader@localhost;\n"
                   "CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'pw';\nGRANT SELECT ON mail.* TO reader@'127.0.0.1';\n").start()
    p.settings = {"hosts": f"unix:{p.db.socket}", "user": "reader", "password": "pw", "dbname": "mail"}
    p.tcp = f"127.0.0.1:{p.db.port}"


def pgsql(p):
    p.db = Postgres(f"{p.base}/db", "CREATE TABLE alias (address text, goto text, other text);\n" + insert() + "CREATE USER reader PASSWORD 'pw';\nGRANT SELECT ON alias TO reader;\n").start()
    p.settings = {"hosts": f"unix:{p.db.socket}", "user": "reader", "password": "pw", "dbname": "postgres"}
    p.settings["hosts"] = p.tcp = f"127.0.0.1:{p.db.port}"  # Debian's takes a socket for one of the standard port


def sqlite(p):
    with sqlite3.connect(f"{p.base}/db") as c:
        c.executescript("CREATE TABLE alias (address TEXT, goto TEXT, other TEXT);\n" + insert())
    p.settings = {"dbpath": f"{p.base}/db"}


@pytest.fixture(scope="module", params=[mysql, pgsql, sqlite], ids=lambda f: f.__name__)
def sql(request):
    p = Place(request.param.__name__)
    request.param(p)
    yield p
    if p.db:
        p.db.stop()


def test_sql(sql):
    sql.same([(KEYS, case) for case in SQL[:EVERY]])
    assert sql.same([(["two@example.com"], case) for case in ERRORS[:2]]) == [(1, [])] * 2
    sql.same_in_main_cf(KEYS, dict(query=PLAIN, domain="example.com", result_format="<%s>"))


def test_sqlite():
    p = Place("sqlite")
    sqlite(p)
    p.same([(KEYS, case) for case in SQL[EVERY:]] + [(["two@example.com"], case) for case in ERRORS[2:]])


def test_a_dead_server_before_the_other(sql):
    if not sql.db:
        pytest.skip("a file")
    with socket.socket() as taken:  # nobody listens
        taken.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{taken.getsockname()[1]}"
        for hosts in (f"{dead} {sql.tcp}", f"{dead}, inet:{sql.tcp}", f"inet:{dead} {sql.tcp} unix:/nowhere/s"):
            for _ in range(2):  # they are tried in an order of chance
                assert sql.ours(["one@example.com"], dict(query=PLAIN, hosts=hosts))[0] == (0, ["one@example.com\tbox@example.test"])


# ---- LDAP ----
BASE = "dc=example,dc=test"


def entry(dn, *lines):
    return f"dn: {dn},{BASE}\n" + "".join(l + "\n" for l in lines) + "\n"


def person(uid, *lines):
    return entry(f"uid={uid},ou=people", "objectClass: inetOrgPerson", "objectClass: extensibleObject", f"uid: {uid}", "cn: " + uid, "sn: x", *lines)


def group(cn, *lines):
    return entry(f"cn={cn},ou=groups", "objectClass: groupOfNames", "objectClass: extensibleObject", f"mail: {cn}@example.com", *lines)


def member(uid):
    return f"member: uid={uid},ou=people,{BASE}"


LDIF = f"dn: {BASE}\nobjectClass: organization\nobjectClass: dcObject\ndc: example\no: example\n\n" \
    + entry("cn=reader", "objectClass: organizationalRole", "objectClass: simpleSecurityObject", "cn: reader", "userPassword: secret") \
    + entry("ou=people", "objectClass: organizationalUnit", "ou: people") + entry("ou=groups", "objectClass: organizationalUnit", "ou: groups") \
    + person("one", "mail: one@example.com", "description: box@example.test") \
    + person("two", "mail: two@example.com", "description: a@example.test", "description: b@example.test", "title: t@example.test") \
    + person("plain", "mail: user", "description: plain") + person("bare", "mail: bare@example.com") \
    + person("comma", "mail: comma@example.com", "description: x@y.test, z@y.test") \
    + person("star", "mail: star*(x)\\y@example.com", "description: starred@example.test") + person("green", "mail: gr\u00fcn@e.x", "description: green") \
    + person("sub", "mail: dom.sub.example.com", "description: x.y") \
    + group("team", member("one"), member("two")) + group("loner", member("one"), "description: list@example.test") \
    + group("nested", f"member: cn=team,ou=groups,{BASE}", member("plain")) + group("terminal", member("one"), "employeeType: stop@example.test") \
    + group("urls", member("bare"), f"labeledURI: ldap:///{BASE}?mail?sub?(uid=t*)") + group("deep", f"member: cn=nested,ou=groups,{BASE}") \
    + group("barely", member("bare"))
PEOPLE = ["one@example.com", "two@example.com", "user", "bare@example.com", "comma@example.com", "star*(x)\\y@example.com", "gr\u00fcn@e.x", "nobody@example.com",
          "dom.sub.example.com", "*", "one*", "x)(uid=*", "one@sub.example.com", "ONE@example.COM", "@example.com", "example.com"]
GROUPS = ["team@example.com", "loner@example.com", "nested@example.com", "terminal@example.com", "urls@example.com", "deep@example.com", "barely@example.com",
          "one@example.com", "nobody@example.com"]
SPECIAL = dict(special_result_attribute="member")
LDAP = [
    (PEOPLE, dict()), (PEOPLE, dict(result_attribute="title description")), (PEOPLE, dict(result_format="%u|%d")),
    (PEOPLE, dict(result_format="%S;%U;%D;%1")), (PEOPLE, dict(result_filter="<%s>")), (PEOPLE, dict(result_format="")), (PEOPLE, dict(domain="example.com")),
    (PEOPLE, dict(query_filter="(|(mail=%s)(uid=%u))")), (PEOPLE, dict(query_filter="(mail=%u@%d)")), (PEOPLE, dict(query_filter="(mail=*@%d)")),
    (PEOPLE, dict(query_filter="(&(objectClass=dcObject)(dc=%2))", result_attribute="o")), (PEOPLE, dict(query_filter="(uid=one)")), (PEOPLE, dict(query_filter=None)),
    (PEOPLE, dict(search_base="ou=people,dc=%2,dc=test")), (PEOPLE, dict(search_base="uid=%u,ou=people," + BASE, query_filter="(objectClass=*)")),
    (PEOPLE, dict(scope="one", search_base="ou=people," + BASE)), (PEOPLE, dict(scope="base")), 
    (["two@example.com"], dict(expansion_limit="1")), (["two@example.com"], dict(expansion_limit="2")), (["x@y.z"], dict(query_filter="(|(uid=t*)(cn=%u))", size_limit="1")),
    (["x@y.z"], dict(query_filter="(|(uid=t*)(cn=%u))", size_limit="2")), (["one@example.com"], dict(bind="no")), (["one@example.com"], dict(bind_pw="wrong")),
    (["one@example.com"], dict(search_base="dc=nowhere")), (["one@example.com"], dict(query_filter="(mail=%s")), (["one@example.com"], dict(search_base=None)),
    (["one@example.com"], dict(result_attribute="nosuch")), (["one@example.com"], dict(dereference="3", chase_referrals="yes")),
    (["one@example.com"], dict(bind="none", bind_dn="", bind_pw="")),
    (GROUPS, SPECIAL), (GROUPS, dict(SPECIAL, leaf_result_attribute="mail")), (GROUPS, dict(SPECIAL, leaf_result_attribute="mail", result_attribute="")),
    (GROUPS, dict(SPECIAL, terminal_result_attribute="employeeType")), (GROUPS, dict(SPECIAL, terminal_result_attribute="employeeType", leaf_result_attribute="mail")),
    (GROUPS, dict(special_result_attribute="member, labeledURI", result_attribute="description")), (GROUPS, dict(special_result_attribute="labeledURI", result_attribute="mail")),
    (["deep@example.com"], dict(SPECIAL, recursion_limit="1")), (["deep@example.com"], dict(SPECIAL, recursion_limit="2")), (["deep@example.com"], dict(SPECIAL, recursion_limit="3")),
    (GROUPS[:3], dict(SPECIAL, result_format="%u")), (["team@example.com"], dict(SPECIAL, expansion_limit="2")),
]


@pytest.fixture(scope="module")
def ldap():
    p = Place("ldap")
    p.db = Slapd(f"{p.base}/db", BASE, LDIF).start()
    p.settings = {"server_host": p.db.url, "search_base": BASE, "bind": "yes", "bind_dn": f"cn=reader,{BASE}", "bind_pw": "secret", "version": "3",
                  "query_filter": "(mail=%s)", "result_attribute": "description"}
    yield p
    p.db.stop()


def test_ldap(ldap):
    ldap.same(LDAP)


def test_ldap_settings_in_main_cf_and_servers(ldap):
    ldap.same_in_main_cf(PEOPLE, dict())
    host, port = ldap.db.url[7:].split(":")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = taken.getsockname()[1]
        cases = (dict(server_host=host, server_port=port), dict(server_host=f"ldap://127.0.0.1:{dead} {ldap.db.url}"),
                 dict(server_host=f"{ldap.db.url}, ldap://127.0.0.1:{dead}"), dict(server_host=f"127.0.0.1:{dead} {host}:{port}"))
        assert ldap.same([(["one@example.com"], case) for case in cases]) == [(0, ["one@example.com\tbox@example.test"])] * len(cases)
