"""newaliases(1) and Debian's with the same alias_database and default_database_type: what is said, the exit status, and the files that are there afterwards."""
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from instance import BIN, scratch

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="needs root and Debian's postfix")
FILES = {"aliases": "root: one@far.test\nteam: a, b\n", "more": "staff: c, :include:/nowhere\n", "bad": "no colon\nx: y\n x2: z\n: w\n", "empty": "", "re": "/x/ y\n",
         "long": "root: " + "a" * 3000 + "\n", "twice": "a: b\na: c\n", "sql": "hosts = 127.0.0.1\n"}
# name: (alias_database, other settings); "{etc}" is where the files are.
CASES = {
    "one": ("hash:{etc}/aliases", {}), "notype": ("{etc}/aliases", {}), "notypes": ("{etc}/aliases, {etc}/more", {}), "several": ("hash:{etc}/aliases, btree:{etc}/more", {}),
    "blanks": ("  hash:{etc}/aliases\n  hash:{etc}/more ,,", {}), "same": ("hash:{etc}/aliases hash:{etc}/aliases", {}), "types": ("hash:{etc}/aliases btree:{etc}/aliases", {}),
    "missing": ("hash:{etc}/none", {}), "missingfirst": ("hash:{etc}/none, hash:{etc}/aliases", {}), "missinglast": ("hash:{etc}/aliases, hash:{etc}/none", {}),
    "nodir": ("hash:{etc}/no/aliases", {}), "broken": ("hash:{etc}/bad", {}), "brokenfirst": ("hash:{etc}/bad, hash:{etc}/aliases", {}),
    "emptyfile": ("hash:{etc}/empty", {}), "longline": ("hash:{etc}/long", {}), "double": ("hash:{etc}/twice", {}), "nothing": ("", {}),
    "ofmaps": ("$alias_maps", {"alias_maps": "hash:{etc}/aliases"}), "ofothers": ("$alias_maps", {"alias_maps": "hash:{etc}/aliases, regexp:{etc}/re"}), "undefined": ("$nosuch", {}),
    "texthash": ("texthash:{etc}/aliases", {}), "regexp": ("regexp:{etc}/re", {}), "pcre": ("pcre:{etc}/re", {}), "cidr": ("cidr:{etc}/re", {}), "inline": ("inline:{x=y}", {}),
    "static": ("static:x", {}), "unix": ("unix:passwd.byname", {}), "fail": ("fail:x", {}), "tcp": ("tcp:127.0.0.1:1", {}),
    "socketmap": ("socketmap:inet:127.0.0.1:1:x", {}), "environ": ("environ:x", {}), "proxy": ("proxy:hash:{etc}/aliases", {}), "union": ("unionmap:{hash:{etc}/aliases}", {}),
    "pipemap": ("pipemap:{hash:{etc}/aliases}", {}), "memcache": ("memcache:{etc}/sql", {}), "nis": ("nis:mail.aliases", {}), "unknown": ("nosuch:{etc}/aliases", {}), "internal": ("internal:x", {}),
    "nofile": ("hash:", {}), "notypename": (":{etc}/aliases", {}), "space": ("hash: {etc}/aliases", {}), "capital": ("HASH:{etc}/aliases", {}),
    "option": ("-x", {}), "optionlike": ("-N hash:{etc}/aliases", {}), "thenfile": ("regexp:{etc}/re, hash:{etc}/aliases", {}), "filethen": ("hash:{etc}/aliases, regexp:{etc}/re", {}),
    "btree": ("{etc}/aliases", {"default_database_type": "btree"}), "unknowntype": ("{etc}/aliases", {"default_database_type": "nosuch"}),
    "patterntype": ("{etc}/aliases", {"default_database_type": "regexp"}), "typeasked": ("$default_database_type:{etc}/aliases", {"default_database_type": "btree"}),
    "buffer": ("hash:{etc}/aliases", {"berkeley_db_create_buffer_size": "1"}),
    "strangers": ("hash:{etc}/foreign", {}), "readonly": ("hash:{etc}/shut/aliases", {}), "nodirectory": ("hash:{etc}/aliases", {"command_directory": "/nonexistent"}),
}


def words(text, etc):
    """What is said, without the names of the programs' own places."""
    text = re.sub(r"/usr/sbin/|%s/" % re.escape(BIN), "BIN/", text).replace(etc, "ETC").replace("fatal: execv ", "fatal: execute ")
    text = re.sub(r"(unsupported dictionary type: \S*)\. Is the .* package installed\?", r"\1", text)
    return [re.sub(r"^newaliases: (?=warning|fatal)|^postalias: ", "", l) for l in text.splitlines()]


def left(etc):
    """Every file but the settings, with its mode, its owner, and the pairs of a table."""
    out = {}
    for top, _, names in os.walk(etc):
        for name in names:
            path = os.path.join(top, name)
            if name != "main.cf":
                s = os.stat(path)
                out[os.path.relpath(path, etc)] = (s.st_mode, s.st_uid, s.st_gid, pairs(path) if name.endswith(".db") else None)
    return out


def pairs(path):
    kind = "hash" if subprocess.run(["postmap", "-s", "hash:" + path[:-3]], capture_output=True, check=False).returncode == 0 else "btree"
    listed = subprocess.run(["postmap", "-s", f"{kind}:{path[:-3]}"], capture_output=True, text=True, check=True).stdout
    return kind, sorted(re.sub(r"^(YP_LAST_MODIFIED\t)\d+", r"\1N", listed, flags=re.M).splitlines())


def built(base, name, theirs):
    value, more = CASES[name]
    etc = os.path.join(base, name, "theirs" if theirs else "ours")
    os.makedirs(os.path.join(etc, "shut"))
    for f, text in FILES.items():
        with open(os.path.join(etc, f), "w", encoding="ascii") as out:
            out.write(text)
    shutil.copy(os.path.join(etc, "aliases"), os.path.join(etc, "foreign"))
    shutil.copy(os.path.join(etc, "aliases"), os.path.join(etc, "shut", "aliases"))
    shutil.chown(os.path.join(etc, "foreign"), "nobody", "nogroup")
    shutil.chown(os.path.join(etc, "shut", "aliases"), "nobody", "nogroup")
    os.chmod(os.path.join(etc, "shut"), 0o777)
    main = {"compatibility_level": "3.6", "myhostname": "mail.example.test", **({} if theirs else {"command_directory": BIN}), "alias_database": value, **more}
    with open(os.path.join(etc, "main.cf"), "w", encoding="ascii") as out:
        out.write("".join(f"{k} = {v}\n" for k, v in main.items()).replace("{etc}", etc))
    peer.settle(os.path.join(etc, "main.cf"))
    program = "/usr/sbin/sendmail" if theirs else os.path.join(BIN, "newaliases")
    p = subprocess.run(["newaliases"], executable=program, env={"PATH": os.environ["PATH"], "MAIL_CONFIG": etc, **(peer.QUICK if theirs else {})}, capture_output=True, text=True,
                       cwd=etc, check=False, timeout=90)
    return p.returncode, words(p.stdout, etc), words(p.stderr, etc), left(etc)


@pytest.fixture(scope="module")
def both():
    base = scratch("postern-newaliases.")
    with ThreadPoolExecutor(6) as pool:
        calls = {(name, theirs): pool.submit(built, base, name, theirs) for name in CASES for theirs in (False, True)}
        yield {key: call.result() for key, call in calls.items()}
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("name", CASES)
def test_same_tables(both, name):
    assert both[(name, False)] == both[(name, True)]
