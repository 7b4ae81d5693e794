"""proxymap answers from the tables that proxy_read_maps approves, and those that daemons need, and no others, follows replaced files, and says "try later" for tables that
cannot be used; proxywrite changes those of proxy_write_maps (proxymap(8)). Nonsense closes the channel, not the process."""
import os
import shutil
import struct
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import fakeservers  # noqa: E402
from fakemaster import BUILD, Daemon, Reader, record, span  # noqa: E402
from instance import free_ports  # noqa: E402

LOOKUP, UPDATE = 60, 61
FOUND, MISS, RETRY, REFUSED = 0, 1, 2, 3
FOLD, NO_REGSUB = 1, 8


def take(s):
    data = s.recv(200000)
    r = Reader(data[8:])
    return r.num("H"), r.span().decode()


def ask(s, table, key, flags=FOLD):
    s.send(record(LOOKUP, span(table) + span(key) + struct.pack("<I", flags)))
    return take(s)


def update(s, table, key, value="", delete=False):
    s.send(record(UPDATE, span(table) + span(key) + span(value) + struct.pack("<B", delete)))
    return take(s)


def postmap(place, source, text, kind="hash"):
    (place / source).write_text(text)
    subprocess.run([os.path.join(BUILD, "bin/postmap"), f"{kind}:{place}/{source}"], check=True,
                   env=dict(os.environ, MAIL_CONFIG=str(place / "etc")))


@pytest.fixture
def place(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/main.cf").write_text("compatibility_level = 3.6\n")
    (tmp_path / "etc/master.cf").write_text(f"x unix - - n - - smtpd\n -o smtpd_x=texthash:{tmp_path}/over\n")
    (tmp_path / "over").write_text("o ver\n")
    postmap(tmp_path, "t", "Key value\n")
    postmap(tmp_path, "l", "Key lmdb\n", "lmdb")
    return tmp_path


def start(program, place, main_cf):
    return Daemon(program, str(place), main_cf=main_cf)


def test_passwords_are_for_mail_clients_alone(place):
    """A table of smtp_sasl_password_maps, in main.cf or by -o, is refused to servers, also the one within another; that of tls_server_sni_maps to all."""
    (place / "etc/master.cf").write_text(f"x unix - - n - - smtp\n -o smtp_sasl_password_maps=hash:{place}/over\n")
    for name in ("in", "keys"):
        (place / name).write_text("key secret\n")
    postmap(place, "over", "o ver\n")
    d = start("proxymap", place, f"""smtp_sasl_password_maps = hash:{place}/t proxy:unionmap:{{lmdb:{place}/l}}
tls_server_sni_maps = proxy:texthash:{place}/keys
virtual_alias_maps = proxy:texthash:{place}/in
relay_domains = lmdb:{place}/l hash:{place}/over
""")
    secret = [(f"hash:{place}/t", "key"), (f"unionmap:{{lmdb:{place}/l}}", "key"), (f"lmdb:{place}/l", "key"), (f"hash:{place}/over", "o")]
    try:
        for program in ("smtpd", "lmtpd", "trivial-rewrite", "cleanup", "local"):
            s = d.connect(program)
            assert [ask(s, *q)[0] for q in secret] == [REFUSED] * len(secret)
            assert ask(s, f"texthash:{place}/in", "key") == (FOUND, "secret")
            s.close()
        for program in ("smtp", "lmtp", "relay"):
            s = d.connect(program)
            assert [ask(s, *q)[0] for q in secret] == [FOUND] * len(secret)
            assert ask(s, f"texthash:{place}/keys", "key")[0] == REFUSED
            s.close()
    finally:
        d.end()


def test_answers_what_is_configured(place):
    d = start("proxymap", place, f"""own = {place}
virtual_alias_maps = hash:$own/t, proxy:lmdb:{place}/l
transport_maps = proxy:unionmap:{{texthash:{place}/over,static:x}}
relay_domains = proxy:pcre:{{{{/^(a)(b)/ $$2}},{{/./ plain}}}} proxy:fail:x hash:{place}/absent unix:passwd.byname proxy:inline:{{k=v}}
""")
    try:
        s = d.connect()
        assert ask(s, f"hash:{place}/t", "KEY") == (FOUND, "value")
        assert ask(s, f"hash:{place}/t", "KEY", 0) == (MISS, "")
        assert ask(s, f"hash:{place}/t", "none") == (MISS, "")
        assert ask(s, f"lmdb:{place}/l", "key") == (FOUND, "lmdb")
        assert ask(s, f"unionmap:{{texthash:{place}/over,static:x}}", "o") == (FOUND, "ver,x")
        assert ask(s, "unix:passwd.byname", "root")[1].startswith("root:x:0:0:")
        assert ask(s, "fail:x", "k")[0] == RETRY
        assert ask(s, "inline:{k=v}", "k") == (FOUND, "v") and ask(s, "static:x", "k")[0] == REFUSED
        assert ask(s, f"hash:{place}/absent", "k")[0] == RETRY
        assert ask(s, f"texthash:{place}/over", "o")[0] == REFUSED  # within one that is asked as a whole
        assert ask(s, "texthash:/etc/passwd", "k")[0] == REFUSED
        assert ask(s, f"hash:{place}/t\0", "k")[0] == REFUSED
        s.send(record(LOOKUP, b"\xff\xff\xff\xff"))
        assert s.recv(100) == b""
        s = d.connect()
        assert ask(s, f"hash:{place}/t", "key") == (FOUND, "value")
    finally:
        d.end()


def test_proxied_tables_are_those_of_proxy_read_maps(place):
    """What is written with "proxy:" is answered when proxy_read_maps leads to it; without, when a daemon has to ask: a file that it does
    not read itself, wherever it is named, in the default of a parameter, too."""
    for name in "abcdefghi":
        (place / name).write_text(f"o {name}\n")
    postmap(place, "plain", "o plain\n")
    postmap(place, "within", "o within\n")
    (place / "etc/master.cf").write_text(f"x unix - - n - - smtpd\n -o smtpd_x=proxy:texthash:{place}/h\n -o smtpd_y=texthash:{place}/i,hash:{place}/within\n")
    d = start("proxymap", place, f"""own = {place}
listed = {{ proxy:texthash:$own/c }}
proxy_read_maps = proxy:texthash:$own/a unionmap:{{proxy:texthash:$own/b}}, $listed texthash:{place}/d
transport_maps = proxy:texthash:{place}/e unionmap:{{texthash:{place}/f,proxy:texthash:{place}/g,hash:{place}/plain}}
default_database_type = lmdb
""")
    try:
        s = d.connect()
        found = {n: ask(s, f"texthash:{place}/{n}", "o") for n in "abcdefghi"}
        assert {n for n, r in found.items() if r == (FOUND, n)} == set("abc")
        assert {n for n, r in found.items() if r[0] == REFUSED} == set("defghi")
        assert ask(s, f"hash:{place}/plain", "o") == (FOUND, "plain") and ask(s, f"hash:{place}/within", "o") == (FOUND, "within")
        assert ask(s, "lmdb:/etc/aliases", "nobody-of-this-name")[0] in (MISS, RETRY)  # alias_maps, not set
        name = f"texthash:{place}/e"
        assert f'warning: request for unapproved table: "{name}"\n' in d.text()
        assert f"warning: to approve this table for read-only access, list proxy:{name} in main.cf:proxy_read_maps\n" in d.text()
        assert "unknown table" not in d.text() and "unsupported" not in d.text()
    finally:
        d.end()


def test_follows_a_replaced_file(place):
    d = start("proxymap", place, f"virtual_alias_maps = hash:{place}/t hash:{place}/late\n")
    try:
        s = d.connect()
        assert ask(s, f"hash:{place}/t", "key") == (FOUND, "value")
        assert ask(s, f"hash:{place}/late", "key")[0] == RETRY
        postmap(place, "t", "key new\n")
        postmap(place, "late", "key late\n")
        until = time.monotonic() + 20
        want = [(FOUND, "new"), (FOUND, "late")]
        got = None
        while got != want and time.monotonic() < until:
            time.sleep(0.1)
            got = [ask(s, f"hash:{place}/{n}", "key") for n in ("t", "late")]
        assert got == want
    finally:
        d.end()


def test_damaged_files_mean_later(place):
    """An index that is overwritten with garbage or cut while it is in use answers nothing wrong: "later", with its name in the log, until
    a good one takes its place."""
    kinds = {"hash": ".db", "btree": ".db", "lmdb": ".lmdb", "cdb": ".cdb"}
    for kind in kinds:
        postmap(place, kind, "key good\n", kind)
    main = "virtual_alias_maps = " + ", ".join(f"{kind}:{place}/{kind}" for kind in kinds) + "\n"
    d = start("proxymap", place, main)

    def until(kind, want):
        nonlocal d
        end = time.monotonic() + 60
        while True:
            if d.proc.poll() is not None:  # it let a fresh process open the table, as master would start
                assert d.proc.returncode == 0
                d = start("proxymap", place, main)
            try:
                with d.connect() as s:
                    s.settimeout(3)
                    got = ask(s, f"{kind}:{place}/{kind}", "key")
            except (OSError, struct.error):  # it ends
                got = None, ""
            if got in want or got[0] in want:
                return got
            assert time.monotonic() < end, (kind, got, d.text())
            time.sleep(0.1)
    try:
        for kind in kinds:
            assert until(kind, [(FOUND, "good")])
        for damage in (lambda b: b"garbage " * 2000, lambda b: b[:100]):
            for kind, suffix in kinds.items():
                path = f"{place}/{kind}{suffix}"
                with open(path, "rb") as f:
                    whole = f.read()
                with open(path + ".new", "wb") as f:
                    f.write(damage(whole))
                os.rename(path + ".new", path)
            for kind, suffix in kinds.items():
                assert until(kind, [RETRY])[0] == RETRY
                assert f"{place}/{kind}{suffix}" in d.text()
            for kind in kinds:
                postmap(place, kind, "key good\n", kind)
            for kind in kinds:
                assert until(kind, [(FOUND, "good")]) == (FOUND, "good")
    finally:
        d.end()


def test_proxywrite_changes_its_tables(place):
    d = start("proxywrite", place, f"proxy_write_maps = hash:{place}/t\nvirtual_alias_maps = hash:{place}/l\n")
    try:
        s = d.connect("smtpd")  # asks, and changes nothing: the channel ends
        assert ask(s, f"hash:{place}/t", "key") == (FOUND, "value")
        s.send(record(UPDATE, span(f"hash:{place}/t") + span("key") + span("1") + struct.pack("<B", False)))
        assert s.recv(100) == b""
        s = d.connect("verify")
        assert update(s, f"hash:{place}/t", "New", "1")[0] == FOUND
        assert ask(s, f"hash:{place}/t", "new") == (FOUND, "1")
        assert update(s, f"hash:{place}/t", "new", "2")[0] == FOUND
        assert ask(s, f"hash:{place}/t", "new") == (FOUND, "2")
        assert update(s, f"hash:{place}/t", "new", delete=True)[0] == FOUND
        assert update(s, f"hash:{place}/t", "new", delete=True)[0] == MISS
        assert update(s, f"lmdb:{place}/l", "a", "b")[0] == REFUSED
        assert ask(s, f"hash:{place}/t", "key") == (FOUND, "value")
    finally:
        d.end()


@pytest.mark.skipif(not shutil.which("memcached"), reason="memcached is not installed")
def test_caches_are_made_and_shared_with_memcached(place):
    """Caches that are not there yet, by themselves and behind memcached: what is written is there for the next process."""
    m = fakeservers.Memcached(free_ports(1)[0]).start()
    data = place / "data"
    data.mkdir()
    data.chmod(0o777)
    (place / "mc").write_text(f"memcache = inet:127.0.0.1:{m.port}\nkey_format = c:%s\nbackup = proxy:btree:{data}/behind\n")
    main = f"address_verify_map = proxy:btree:{data}/verify\npostscreen_cache_map = memcache:{place}/mc\nlmtp_sasl_auth_cache_name = lmdb:{data}/auth\n"
    names = [f"btree:{data}/verify", f"memcache:{place}/mc", f"lmdb:{data}/auth", f"btree:{data}/behind"]
    try:
        d = start("proxywrite", place, main)
        try:
            s = d.connect("verify")
            for name in names[:3]:
                assert ask(s, name, "key") == (MISS, ""), d.text()
                assert update(s, name, "Key", "1")[0] == FOUND and update(s, name, "key", "2")[0] == FOUND
                assert ask(s, name, "KEY") == (FOUND, "2"), name
            assert m.get("c:key") == "2" and ask(s, names[3], "key") == (FOUND, "2")
            m.talk("delete c:key\r\n")
            assert ask(s, names[1], "key") == (FOUND, "2") and m.get("c:key") == "2"
            assert update(s, names[1], "gone", "x")[0] == FOUND and update(s, names[1], "gone", delete=True)[0] == FOUND
            assert m.get("c:gone") is None and ask(s, names[1], "gone")[0] == MISS
        finally:
            d.end()
        m.stop()
        m.start()  # empty
        d = start("proxywrite", place, main)
        try:
            s = d.connect()
            for name in names:
                assert ask(s, name, "key") == (FOUND, "2"), name
        finally:
            d.end()
    finally:
        m.stop()
