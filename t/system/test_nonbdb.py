"""postern non-bdb: a configuration with hash: and btree: tables becomes one without Berkeley DB that answers the same - main.cf, master.cf -o,
tables described in files of their own, types put together from macros; with copies of what was changed, and nothing to do the second time."""
import os
import subprocess

import pytest

from instance import BIN

MAIN = """# hash:/in/a/comment stays
compatibility_level = 3.6
queue_directory = {d}/queue
maillog_file = {d}/log
maillog_file_prefixes = {d}
alias_maps = hash:{d}/aliases, unix:passwd.byname
alias_database = hash:{d}/aliases
indexed = ${{default_database_type}}:{d}
kind = btree
virtual_alias_maps = hash:{d}/virtual, proxy:btree:{d}/more,
    # a comment inside
    unionmap:{{hash:{d}/one, static:hash}} memcache:{d}/mc.cf
transport_maps = ${{indexed}}/transport
relocated_maps = $kind:{d}/relocated
canonical_maps = hash:{d}/onlydb
smtpd_recipient_restrictions = check_recipient_access {{ hash:{d}/access, default_action = DUNNO }}, permit
address_verify_map = btree:{d}/verify
smtp_sasl_password_maps = texthash:{d}/pw
sender_canonical_maps = hash:{d}/absent
"""
MASTER = """smtp inet n - n - - smtpd
  -o smtpd_sender_restrictions=check_sender_access,hash:{d}/senders
  -o {{ smtpd_client_restrictions = check_client_access btree:{d}/clients, permit }}
"""
PAIRS = {"virtual": "A@b c@d\n", "more": "more x\n", "one": "k v\n", "transport": "ex.test smtp:[h]\n", "relocated": "old new\n", "access": "a@b REJECT\n",
         "senders": "s@t OK\n", "clients": "1.2.3.4 OK\n", "backup": "mc yes\n"}


def run(d, *args):
    env = dict(os.environ, MAIL_CONFIG=str(d), LC_ALL="C")
    return subprocess.run([os.path.join(BIN, args[0]), *args[1:]], cwd=d, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def place(tmp_path):
    d = tmp_path
    (d / "main.cf").write_text(MAIN.format(d=d))
    (d / "master.cf").write_text(MASTER.format(d=d))
    (d / "mc.cf").write_text(f"memcache = inet:127.0.0.1:1\nbackup = proxy:hash:{d}/backup\n")
    (d / "aliases").write_text("root: joe\n")
    (d / "pw").write_text("h u:p\n")
    for name, text in PAIRS.items():
        (d / name).write_text(text)
        assert run(d, "postmap", ("btree:" if name in ("more", "relocated", "clients") else "hash:") + str(d / name)).returncode == 0
    assert run(d, "postalias", f"hash:{d}/aliases").returncode == 0
    (d / "onlydb").write_text("Only Here\n")
    os.chmod(d / "onlydb", 0o640)
    assert run(d, "postmap", "-f", f"hash:{d}/onlydb").returncode == 0
    (d / "onlydb").unlink()
    return d


def test_converts_everything_once(place):
    d = place
    status = run(d, "postern", "non-bdb", "status")
    assert status.returncode == 1 and f"virtual_alias_maps uses hash:{d}/virtual" in status.stderr
    p = run(d, "postern", "non-bdb")
    assert p.returncode == 0, p.stderr
    want = MAIN.format(d=d).replace("hash:", "lmdb:").replace("btree:", "lmdb:").replace("kind = btree", "kind = lmdb")
    want = want.replace("# lmdb:/in", "# hash:/in").replace("static:hash", "static:hash").replace("textlmdb:", "texthash:")
    main = (d / "main.cf").read_text()
    assert main.startswith(want) and "default_database_type = lmdb\n" in main[len(want):]
    assert (d / "master.cf").read_text() == MASTER.format(d=d).replace("hash:", "lmdb:").replace("btree:", "lmdb:")
    assert f"backup = proxy:lmdb:{d}/backup\n" in (d / "mc.cf").read_text()
    copies = sorted(f.name.split(".bdb-")[0] for f in d.iterdir() if ".bdb-" in f.name)
    assert copies == ["main.cf", "master.cf", "mc.cf"]
    assert next(d.glob("main.cf.bdb-*")).read_text() == MAIN.format(d=d)
    for name, text in PAIRS.items():
        key, value = text.split()[0], " ".join(text.split()[1:])
        assert run(d, "postmap", "-q", key, f"lmdb:{d}/{name}").stdout == value + "\n", name
    assert run(d, "postalias", "-q", "root", f"lmdb:{d}/aliases").stdout == "joe\n"
    assert run(d, "postmap", "-s", f"lmdb:{d}/onlydb").stdout == "Only\tHere\n"  # keys as they were, and the mode
    assert os.stat(d / "onlydb.lmdb").st_mode & 0o777 == os.stat(d / "onlydb.db").st_mode & 0o777
    assert not (d / "verify.lmdb").exists() and f"neither {d}/absent nor {d}/absent.db is there" in p.stderr
    # once more: nothing
    before = {f.name: f.read_bytes() for f in d.iterdir() if f.is_file() and f.name != "log"}
    p = run(d, "postern", "non-bdb")
    assert p.returncode == 0 and "nothing to do" in p.stderr
    assert before == {f.name: f.read_bytes() for f in d.iterdir() if f.is_file() and f.name != "log"}
    assert run(d, "postern", "non-bdb", "status").returncode == 0


def test_a_table_that_cannot_be_built_changes_nothing(place):
    d = place
    (d / "virtual").unlink()
    (d / "virtual.db").write_bytes(b"\0" * 5000)
    p = run(d, "postern", "non-bdb")
    assert p.returncode == 1 and f"hash:{d}/virtual: " in p.stderr and "the configuration was not changed" in p.stderr
    assert (d / "main.cf").read_text() == MAIN.format(d=d) and not list(d.glob("*.bdb-*"))


def test_cdb_where_it_is_the_default(place):
    d = place
    with open(d / "main.cf", "a", encoding="ascii") as f:
        f.write("default_database_type = cdb\n")
    run(d, "postmap", f"cdb:{d}/transport")
    p = run(d, "postern", "non-bdb")
    assert p.returncode == 0, p.stderr
    text = (d / "main.cf").read_text()
    assert f"alias_database = cdb:{d}/aliases" in text and f"address_verify_map = lmdb:{d}/verify" in text
    assert run(d, "postmap", "-q", "more", f"cdb:{d}/more").stdout == "x\n"


def test_a_type_that_cannot_be_seen_is_told(place):
    d = place
    with open(d / "main.cf", "a", encoding="ascii") as f:
        f.write("part = ha\nrecipient_canonical_maps = ${part}sh:%s/virtual\n" % d)
    p = run(d, "postern", "non-bdb")
    assert p.returncode == 1 and f"recipient_canonical_maps still uses hash:{d}/virtual" in p.stderr
