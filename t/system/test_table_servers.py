"""Tables that are servers - tcp_table(5), socketmap_table(5), memcache_table(5) - answer as with Postfix: in postmap(1), and in a whole
instance, where sandboxed daemons ask them through proxymap(8). A dead server is "try later" with the reason, a restarted one answers
again, and connections are kept."""
import os
import pathlib
import shutil
import smtplib
import subprocess

import pytest

import fakeservers
import peer
from fakeservers import netstring
from instance import BUILD, Instance, free_ports, scratch, until

OURS, THEIRS = os.path.join(BUILD, "bin/postmap"), "/usr/sbin/postmap"
HAVE_THEIRS = os.path.exists(THEIRS) and b"Postern" not in open(THEIRS, "rb").read()
needs_memcached = pytest.mark.skipif(not shutil.which("memcached"), reason="memcached is not installed")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\n")
    return tmp_path


def postmap(place, *args, program=OURS, stdin=""):
    env = dict(os.environ, MAIL_CONFIG=str(place), LC_ALL="C", **(peer.QUICK if program == THEIRS else {}))
    peer.settle(place / "main.cf")
    p = subprocess.run([program, *args], cwd=place, input=stdin, capture_output=True, text=True, env=env, timeout=60)
    return p.returncode, p.stdout, p.stderr


def both(place, *args):
    """Ours; with Postfix installed, held against its answer."""
    mine = postmap(place, *args)
    if HAVE_THEIRS:
        assert mine[:2] == postmap(place, *args, program=THEIRS)[:2], args
    return mine


ODD = "a b%\u00e9\t"


def test_tcp_protocol(place):
    s = fakeservers.tcp({"plain": "value", "KEY": "Upper", "a%20b%25%C3%A9%09": "odd%20v%25%0Ax", "broken": b"400 out%20of order\n",
                         "junk": b"hello\n", "two": b"2000 x\n", "pct": b"200 a%zz\n", "tab": b"200\tx y \n", "long": b"200 " + b"x" * 4091 + b"\n",
                         "longer": b"200 " + b"x" * 4092 + b"\n"})
    t = f"tcp:127.0.0.1:{s.port}"
    assert both(place, "-q", "plain", t)[:2] == (0, "value\n")
    assert both(place, "-q", "KEY", t)[:2] == (0, "Upper\n")
    assert both(place, "-q", ODD, t)[:2] == (0, "odd v%\nx\n")
    assert both(place, "-q", "none", t)[:2] == (1, "")
    assert both(place, "-q", "tab", t)[:2] == (0, "x y\n") if not HAVE_THEIRS else True
    assert len(postmap(place, "-q", "long", t)[1]) == 4092
    mine = [q for q in s.asked]
    assert b"get a%20b%25%C3%A9%09" in mine
    for key, why in (("broken", "the server says: out of order"), ("junk", 'malformed reply of the server: "hello"'), ("two", "malformed reply"),
                     ("pct", "malformed %XX"), ("longer", "line longer than 4095 bytes")):
        code, out, err = postmap(place, "-q", key, t)
        assert (code, out) == (1, "") and f"fatal: table {t}: query error: {t}: " in err and why in err, key
    s.connections = 0
    assert postmap(place, "-q", "-", t, stdin="plain\nKEY\nnone\nplain\n")[1] == "plain\tvalue\nKEY\tUpper\nplain\tvalue\n"
    assert s.connections == 1
    s.stop()
    code, _, err = postmap(place, "-q", "plain", t)
    assert code == 1 and "Connection refused" in err


@pytest.mark.parametrize("kind", ["inet", "unix"])
def test_socketmap_protocol(place, kind):
    where = str(place / "s") if kind == "unix" else ("127.0.0.1", 0)
    s = fakeservers.socketmap({"n plain": "value", "n KEY": "Upper", "n temp": netstring(b"TEMP not now"), "n late": netstring(b"TIMEOUT too slow"),
                               "n perm": netstring(b"PERM you may not"), "n junk": netstring(b"MAYBE x"), "n bare": netstring(b"NOTFOUND"),
                               "n frame": b"abc", "n zero": b"03:OK ,", "n end": b"5:OK ab;", "n huge": b"999999999:OK ", "n over": b"100001:" + b"OK x" * 30000,
                               "n big": netstring(b"OK " + b"x" * 99997), "n gone": None}, where=where)
    t = f"socketmap:unix:{where}:n" if kind == "unix" else f"socketmap:inet:127.0.0.1:{s.port}:n"
    assert both(place, "-q", "plain", t)[:2] == (0, "value\n")
    assert both(place, "-q", "KEY", t)[:2] == (0, "Upper\n")
    assert both(place, "-q", "none", t)[:2] == (1, "")
    assert len(both(place, "-q", "big", t)[1]) == 99998
    for key, why in (("temp", "the server says: not now"), ("late", "the server says: too slow"), ("perm", "the server says: you may not"),
                     ("junk", 'unexpected reply of the server: "MAYBE x"'), ("frame", "malformed netstring"), ("zero", "malformed netstring"),
                     ("end", "malformed netstring"), ("huge", "longer than 100000 bytes"), ("over", "longer than 100000 bytes")):
        code, out, err = postmap(place, "-q", key, t)
        assert (code, out) == (1, "") and f"fatal: table {t}: query error: {t}: " in err and why in err, (key, err)
    assert postmap(place, "-q", "bare", t)[0] == 1
    (place / "main.cf").write_text("compatibility_level = 3.6\nsocketmap_max_reply_size = 8\n")
    assert postmap(place, "-q", "KEY", t)[1] == "Upper\n"
    assert "longer than 8 bytes" in postmap(place, "-q", "big", t)[2]
    s.connections = 0
    assert postmap(place, "-q", "-", t, stdin="plain\nKEY\nnone\n")[1] == "plain\tvalue\nKEY\tUpper\n"
    assert s.connections == 1
    s.stop()


def memcache_file(place, port, **settings):
    path = place / "mc.cf"
    path.write_text(f"# a comment\nmemcache = inet:127.0.0.1:{port}\n" + "".join(f"{k} = {v}\n" for k, v in settings.items()))
    return f"memcache:{path}"


@needs_memcached
def test_memcache_with_and_without_backup(place):
    m = fakeservers.Memcached(free_ports(1)[0]).start()
    try:
        t = memcache_file(place, m.port, key_format="x:%s", flags=7, ttl=100)
        assert both(place, "-q", "key", t)[:2] == (1, "")
        m.talk("set x:key 0 0 5\r\nvalue\r\nset x:big 0 0 3000\r\n" + "y" * 3000 + "\r\n")
        assert both(place, "-q", "KEY", t)[:2] == (0, "value\n")
        assert both(place, "-f", "-q", "KEY", t)[:2] == (1, "")
        assert len(both(place, "-q", "big", t)[1]) == 3001
        small = memcache_file(place, m.port, key_format="x:%s", data_size_limit=100)
        assert "longer than data_size_limit" in postmap(place, "-q", "big", small)[2]
        # an address, its parts, a list of domains
        m.talk("set u:joe.d:example.com.com.example 0 0 2\r\nok\r\n")
        t = memcache_file(place, m.port, key_format="u:%u.d:%d.%1.%2", domain="example.com, other.test")
        assert both(place, "-q", "joe@example.com", t)[:2] == (0, "ok\n")
        for key in ("joe", "@example.com", "joe@example.net", "example.com"):
            assert both(place, "-q", key, t)[:2] == (1, ""), key
        # the settings in main.cf
        (place / "main.cf").write_text(f"compatibility_level = 3.6\nport = {m.port}\nmc_memcache = inet:127.0.0.1:$port\nmc_key_format = x:%s\n"
                                       "bad_ttl = never\n")
        assert both(place, "-q", "key", "memcache:mc")[:2] == (0, "value\n")
        assert 'main.cf, line 5: bad_ttl: bad value "never" of ttl' in postmap(place, "-q", "key", "memcache:bad")[2]
        (place / "main.cf").write_text("compatibility_level = 3.6\n")
        # a table behind it: what was found there is remembered
        (place / "b").write_text("bk from backup\nsp\\ ace z\n")
        postmap(place, "hash:b")
        t = memcache_file(place, m.port, key_format="b:%s", backup=f"hash:{place}/b")
        assert postmap(place, "-q", "bk", t)[:2] == (0, "from backup\n")
        assert m.get("b:bk") == "from backup"
        m.talk("set b:bk 0 0 6\r\ncached\r\n")
        assert postmap(place, "-q", "bk", t)[:2] == (0, "cached\n")
        assert postmap(place, "-d", "bk", t)[0] == 0 and m.get("b:bk") is None
        assert postmap(place, "-q", "bk", t)[:2] == (1, "")
        assert postmap(place, "-s", t)[0] == 0
        m.stop()
        (place / "b").write_text("bk again\n")
        postmap(place, "hash:b")
        code, out, err = postmap(place, "-q", "bk", t)
        assert (code, out) == (0, "again\n") and "Connection refused" in err
        alone = memcache_file(place, m.port)
        code, out, err = postmap(place, "-q", "bk", alone)
        assert (code, out) == (1, "") and "Connection refused" in err
    finally:
        m.stop()


BAD = [
    ("tcp:", "expecting \"type:name\" form"), ("tcp:no-such-service", "host or service not found"), ("tcp:host:", "no usable port"), ("tcp:host:99999", "no usable port"), ("tcp:host:0", "no usable port"),
    ("tcp:ho st:25", "no usable host name"), ("tcp:[::1:25", "no closing ']'"), ("tcp:[::1]25", "text after ']'"), ("tcp:[::1]", "no usable port"),
    ("socketmap:", "expecting \"type:name\" form"), ("socketmap:x", "requires server:socketmap argument"), ("socketmap:x:", "requires server:socketmap argument"),
    ("socketmap:foo:bar:baz", "unknown transport"), ("socketmap:unix:x", "unknown transport"), ("socketmap:unix::x", "no pathname"),
    ("socketmap:unix:/" + "x" * 200 + ":n", "pathname too long"), ("socketmap:inet:127.0.0.1:n", "no usable port"), ("socketmap:inet:h:70000:n", "no usable port"),
    ("memcache:/nonexistent", "open /nonexistent: No such file"), ("memcache:/", "Is a directory"),
]


@pytest.mark.parametrize("name,why", BAD)
def test_bad_names(place, name, why):
    code, out, err = postmap(place, "-q", "key", name)
    assert (code, out) == (1, "") and why in err, err


@pytest.mark.parametrize("line,why", [
    ("timeout = x", 'mc.cf, line 1: bad value "x" of timeout'), ("timeout = 0", "of timeout"), ("max_try = 0", "of max_try"), ("max_try = 99", "of max_try"),
    ("ttl = -1", "of ttl"), ("data_size_limit = 0", "of data_size_limit"), ("line_size_limit = big", "of line_size_limit"), ("retry_pause = 99", "of retry_pause"),
    ("flags = 5000000000", "of flags"), ("key_format = %q", "unknown %-expansion"), ("key_format = a%", "unknown %-expansion"),
    ("memcache = 127.0.0.1", "unknown transport"), ("memcache = inet:h:0", "no usable port"), ("backup = hash:/nonexistent/x", "No such file"), ("backup = x", 'expecting "type:name" form')])
def test_bad_memcache_files(place, line, why):
    (place / "mc.cf").write_text(line + "\n")
    code, out, err = postmap(place, "-q", "key", f"memcache:{place}/mc.cf")
    assert (code, out) == (1, "") and why in err, err


# ---- in an instance ----
@pytest.fixture(scope="module")
def world():
    base = scratch("postern-servers-")
    w = type("World", (), {})()
    w.tcp = fakeservers.tcp({"blocked@client.test": "REJECT go away", "slow@client.test": b"400 database is down\n"})
    w.sm = fakeservers.socketmap({"alias info@valias.test": "u1@vbox.test", "box u1@vbox.test": "u1/", "dom valias.test": "x", "dom vbox.test": "x"},
                                 where=os.path.join(base, "sm"))
    sm = f"socketmap:unix:{base}/sm"
    w.inst = Instance(os.path.join(base, "i"), main={
        "smtpd_helo_restrictions": f"check_helo_access pcre:{base}/helo", "header_checks": f"regexp:{base}/headers",
        "smtpd_sender_restrictions": f"check_sender_access tcp:127.0.0.1:{w.tcp.port}",
        "virtual_alias_domains": "", "virtual_alias_maps": f"{sm}:alias", "virtual_mailbox_domains": f"{sm}:dom", "virtual_mailbox_maps": f"{sm}:box",
        "virtual_transport": "discard", "proxymap_service_name": "proxymap"})
    w.helo, w.headers = pathlib.Path(base, "helo"), pathlib.Path(base, "headers")
    w.helo.write_text("/^evil/ REJECT first list\n")
    w.headers.write_text("/^Subject: bad/ REJECT first rules\n")
    w.inst.start()
    yield w
    w.inst.stop()
    w.tcp.stop()
    w.sm.stop()
    shutil.rmtree(base, ignore_errors=True)


def rcpt(w, sender, to):
    with smtplib.SMTP(w.inst.host, w.inst.port["smtp"], timeout=60) as s:
        s.ehlo()
        s.mail(sender)
        code, text = s.rcpt(to)
        s.rset()
        return code, text.decode()


def log(w):
    return pathlib.Path(w.inst.maillog).read_text()


def test_smtpd_asks_tcp(world):
    assert rcpt(world, "ok@client.test", "info@valias.test")[0] == 250
    code, text = rcpt(world, "blocked@client.test", "info@valias.test")
    assert code == 554 and "go away" in text
    code, _ = rcpt(world, "slow@client.test", "info@valias.test")
    assert code == 451
    assert "the server says: database is down" in log(world)
    whole = [q for q in world.tcp.asked if q.startswith(b"get ")]
    assert b"get ok@client.test" in whole and not [q for q in whole if q in (b"get client.test", b"get ok@")]  # no partial keys


def test_router_asks_socketmap(world):
    assert rcpt(world, "ok@client.test", "nobody@vbox.test")[0] == 550
    with smtplib.SMTP(world.inst.host, world.inst.port["smtp"], timeout=60) as s:
        s.sendmail("ok@client.test", ["info@valias.test"], b"Subject: x\r\n\r\nx\r\n")
    world.inst.wait_log("to=<u1@vbox.test>")


def test_connections_are_kept_and_a_restart_is_survived(world):
    before = world.tcp.connections
    for _ in range(5):
        assert rcpt(world, "ok@client.test", "info@valias.test")[0] == 250
    assert world.tcp.connections <= before + 1
    world.tcp.stop()
    code, _ = rcpt(world, "blocked@client.test", "info@valias.test")
    assert code == 451
    assert f"connect to inet:127.0.0.1:{world.tcp.port}: Connection refused" in log(world)
    world.tcp.start()
    assert rcpt(world, "blocked@client.test", "info@valias.test")[0] == 554
    assert rcpt(world, "ok@client.test", "info@valias.test")[0] == 250


def replies(w, helo="h", subject="x"):
    with smtplib.SMTP(w.inst.host, w.inst.port["smtp"], timeout=60) as s:
        s.ehlo(helo)
        s.mail("ok@client.test")
        code, text = s.rcpt("info@valias.test")
        if code == 250:
            code, text = s.data(f"Subject: {subject}\r\n\r\nx\r\n")
        return f"{code} {text.decode()}"


def test_a_changed_pattern_table_is_read_again_and_no_session_lost(world):
    assert "first list" in replies(world, helo="evil") and "first rules" in replies(world, subject="bad")
    assert replies(world, helo="worse").startswith("250") and replies(world, subject="worse").startswith("250")
    old = smtplib.SMTP(world.inst.host, world.inst.port["smtp"], timeout=60)
    old.ehlo("worse")
    old.mail("ok@client.test")
    # one is replaced as editors do, the other written to; a line that is wrong is told, the rest counts
    new = world.helo.with_name("helo.new")
    new.write_text("/^evil/ REJECT second list\n/(/ x\n/^worse/ REJECT second list\n")
    os.rename(new, world.helo)
    with open(world.headers, "a", encoding="ascii") as f:
        f.write("/^Subject: worse/ REJECT second rules\n")
    assert until(lambda: "second list" in replies(world, helo="worse"))
    assert until(lambda: "second rules" in replies(world, subject="worse"))
    assert f"pcre map {world.helo}, line 2: " in log(world) and f"table pcre:{world.helo} has changed -- restarting" in log(world)
    assert old.rcpt("info@valias.test")[0] == 250 and old.data("Subject: x\r\n\r\nx\r\n")[0] == 250
    old.quit()
    assert "sandbox: denied" not in log(world)
