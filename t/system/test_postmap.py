"""postmap and postalias make and answer the same tables as Debian's Postfix does (postmap(1), postalias(1), regexp_table(5), pcre_table(5),
cidr_table(5)); without Postfix installed each case is held against the answer written here."""
import os
import pathlib
import subprocess

import pytest

import peer

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", ROOT / "build"))
OURS = {name: str(BUILD / "bin" / name) for name in ("postmap", "postalias")}
THEIRS = {name: "/usr/sbin/" + name for name in ("postmap", "postalias")}
HAVE_THEIRS = all(os.path.exists(p) and b"Postern" not in open(p, "rb").read() for p in THEIRS.values())

SOURCE = '''# comment
plain value  with  spaces
"quoted key"@x val
"unbal val
key
k2\tv2
 cont
  # comment
 more

dup one
DUP two
alias: value
\\"esc val
"sp ace" v
'''
ALIASES = '''root: a,   b ,c
Foo@bar: x
"quoted name": y
noval:
cmd: |"/bin/sh -c foo", "|cmd arg"
multi: a@b.c,
  "John Doe" <j@d.e>,
 (comment) user (c2)
DUP: b
dup: a
a b: y
bs: \\root, a
unq: "unclosed
back: a\\ b
lit: a@[1.2.3.4]
'''
REGEXP = r'''/^(a+)(b)?x$/ got $1-${2}-$(1) $$
/neg/i NEG
!/[0-9]/ nodigit
if /2/
/23/ in23
endif
if !/3/
/9/ not3
endif
/(/ x
/x/q y
/3/ three $9
/39/ found
'''
CIDR = '''10.0.0.0/8 ten
!192.168.0.0/16 notlan
if 192.168.1.0/24
192.168.1.7 seven
endif
192.168.0.1/16 bad
[2001:db8::]/32 six
192.168.0.0/16 lan
'''


@pytest.fixture
def place(tmp_path):
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\nmyhostname = host.example\n")
    peer.settle(tmp_path / "main.cf")
    for name, text in (("src", SOURCE), ("al", ALIASES), ("re", REGEXP), ("ci", CIDR)):
        (tmp_path / name).write_text(text)
    return tmp_path


def run(programs, place, *args, stdin=""):
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "MAIL_CONFIG": str(place), **(peer.QUICK if programs is THEIRS else {})}
    p = subprocess.run([programs[args[0]], *args[1:]], cwd=place, input=stdin, capture_output=True, text=True, env=env, timeout=60,
                       errors="surrogateescape")
    return p.returncode, p.stdout, [line.split(": ", 1)[-1] for line in p.stderr.splitlines()]


def same(place, *args, stdin="", code=None, out=None, messages=True):
    ours = run(OURS, place, *args, stdin=stdin)
    if HAVE_THEIRS:
        theirs = run(THEIRS, place, *args, stdin=stdin)
        assert ours[:2] == theirs[:2], args
        if messages:
            assert ours[2] == theirs[2], args
    if code is not None:
        assert ours[0] == code, (args, ours)
    if out is not None:
        assert ours[1] == out, (args, ours)
    return ours


def test_builds_with_the_same_warnings(place):
    same(place, "postmap", "src", code=0)
    same(place, "postalias", "al", code=0)


@pytest.mark.parametrize("kind", ["btree", "lmdb"])
def test_order_of_the_source(place, kind):
    """Such tables are made in the order of their keys: of equal keys the first of the source counts, with -r the last, and all others are told."""
    (place / "src").write_text("z 1\nB 2\na 3\nb 4\nC x\n c\nbad\nZ 5\nb 6\n")
    for options, told, want in (("", ["b", "b", "z"], "a\t3 b\t2 c\tx c z\t1"), ("-r", [], "a\t3 b\t6 c\tx c z\t5"), ("-w", [], "a\t3 b\t2 c\tx c z\t1"),
                                ("-f", ["b"], "B\t2 C\tx c Z\t5 a\t3 b\t4 z\t1")):
        code, _, messages = run(OURS, place, "postmap", *options.split(), f"{kind}:src")
        suffix = "src.db" if kind == "btree" else "lmdb:src"
        want_told = ["warning: src, line 7: expected format: key whitespace value"] + [f'warning: {suffix}: duplicate entry: "{k}"' for k in told]
        assert code == 0 and messages == want_told
        assert " ".join(listing(OURS, place, "postmap", f"{kind}:src")) == want
        if HAVE_THEIRS:
            theirs = run(THEIRS, place, "postmap", *options.split(), f"{kind}:src")[2]
            assert sorted(theirs) == sorted(messages) and " ".join(listing(THEIRS, place, "postmap", f"{kind}:src")) == want


def listing(programs, place, tool, table):
    code, out, _ = run(programs, place, tool, "-s", table)
    assert code == 0
    return sorted(line for line in out.splitlines() if "YP_LAST" not in line)


LETTERS = ["ÄÖÜ", "Straße", "ΣΟΦΟΣ", "ЖУК", "İx", "ﬁn", "Ǆ", "É", "ŉ", "ſ", "Ϲ", "Ⴀ", "ꭰ", "Ⓐ", "Ａ", "ϴ", "K", "𐐀"]


def test_unicode_keys_are_folded(place):
    (place / "u").write_text("".join(f"{k}@x {i}\n" for i, k in enumerate(LETTERS)), encoding="utf-8")
    same(place, "postmap", "hash:u", code=0)
    mine = listing(OURS, place, "postmap", "hash:u")
    assert "strasse@x\t1" in mine and "äöü@x\t0" in mine
    if HAVE_THEIRS:
        assert listing(THEIRS, place, "postmap", "hash:u") == mine
    same(place, "postmap", "-q", "STRASSE@X", "hash:u", code=0, out="1\n")
    same(place, "postmap", "-q", "äÖü@x", "texthash:u", code=0, out="0\n")
    same(place, "postmap", "-f", "-q", "äÖü@x", "hash:u", code=1, out="")
    (place / "main.cf").write_text("compatibility_level = 3.6\nsmtputf8_enable = no\n")
    same(place, "postmap", "-q", "äÖü@x", "texthash:u", code=1, out="")
    same(place, "postmap", "-q", "ÄÖÜ@X", "texthash:u", code=0, out="0\n")


def test_pairs_as_json(place):
    (place / "j").write_text('k "v"\\\\x\t\u00e9\nother 2\n', encoding="utf-8")
    run(OURS, place, "postmap", "hash:j")
    assert run(OURS, place, "postmap", "-j", "-q", "k", "hash:j") == (0, '{"k": "\\"v\\"\\\\\\\\x\\u0009\u00e9"}\n', [])
    assert run(OURS, place, "postmap", "-j", "-q", "-", "hash:j", stdin="other\nnone\n")[1] == '{"other": "2"}\n'
    assert sorted(run(OURS, place, "postmap", "-j", "-s", "hash:j")[1].splitlines())[1] == '{"other": "2"}'
    assert run(OURS, place, "postalias", "-j", "-q", "root", "inline:{root=joe}")[1] == '{"root": "joe"}\n'


@pytest.mark.parametrize("kind", ["hash", "btree", "lmdb", "cdb"])
@pytest.mark.parametrize("tool,source", [("postmap", "src"), ("postalias", "al")])
def test_files_are_exchangeable(place, kind, tool, source):
    assert run(OURS, place, tool, f"{kind}:{source}")[0] == 0
    mine = listing(OURS, place, tool, f"{kind}:{source}")
    assert any("one" in line for line in mine) or any("a, b, c" in line for line in mine)
    if not HAVE_THEIRS or run(THEIRS, place, "postmap", "-q", "x", f"{kind}:nofile")[2][:1] == [f"fatal: unsupported dictionary type: {kind}"]:
        return
    if kind == "cdb":  # which Postfix does not list; the bytes are the same
        made = (place / f"{source}.cdb").read_bytes()
        key = "k2" if tool == "postmap" else "root"
        assert run(THEIRS, place, tool, "-q", key, f"cdb:{source}")[0] == 0
        assert run(THEIRS, place, tool, f"cdb:{source}")[0] == 0
        assert tool == "postalias" or (place / f"{source}.cdb").read_bytes() == made
        assert listing(OURS, place, tool, f"cdb:{source}") == mine
        return
    assert listing(THEIRS, place, tool, f"{kind}:{source}") == mine
    assert run(THEIRS, place, tool, f"{kind}:{source}")[0] == 0
    assert listing(OURS, place, tool, f"{kind}:{source}") == mine
    assert listing(THEIRS, place, tool, f"{kind}:{source}") == mine


@pytest.mark.parametrize("options", ["-N", "-n", "-Nr", "-f"])
@pytest.mark.parametrize("tool,kind,source", [("postmap", "hash", "src"), ("postalias", "btree", "al"), ("postalias", "lmdb", "al")])
def test_options_give_the_same_file(place, tool, kind, source, options):
    """With and without terminating NUL, and with keys as they are written: read and changed alike, whoever made it. (The marks that postalias
    adds once more with each change may be there in both forms.)"""
    table, seen = f"{kind}:{source}", []

    def pairs(programs):
        return [line for line in listing(programs, place, tool, table) if not line.startswith(("@:", "YP_"))]
    for maker, other in ((OURS, THEIRS), (THEIRS, OURS)) if HAVE_THEIRS else ((OURS, OURS),):
        assert run(maker, place, tool, options, table)[0] == 0
        for reader in (maker, other):
            seen.append((pairs(reader), run(reader, place, tool, "-q", "-", table, stdin="DUP\nk2\n@\nroot\n")[1]))
        line = "added: x\n" if tool == "postalias" else "added x\n"
        assert run(other, place, tool, "-i", table, stdin=line)[0] == 0 and run(other, place, tool, "-d", "dup", table)[0] == 0
        assert run(maker, place, tool, "-q", "added", table)[1] == "x\n"
        seen[-1] += (pairs(maker),)
        seen[-2] += (pairs(other),)
    assert all(one == seen[0] for one in seen), seen


def test_queries(place):
    run(OURS, place, "postmap", "src")
    same(place, "postmap", "-q", "plain", "src", code=0, out="value  with  spaces\n")
    same(place, "postmap", "-q", "PLAIN", "src", code=0)
    same(place, "postmap", "-f", "-q", "PLAIN", "src", code=1, out="")
    same(place, "postmap", "-q", "nokey", "src", code=1, out="")
    same(place, "postmap", "-q", "-", "src", stdin="plain\ndup\nnope\n", code=0, out="plain\tvalue  with  spaces\ndup\tone\n")
    same(place, "postmap", "-q", "x", "hash:nofile", code=1)
    same(place, "postmap", "-q", "x", "nosuch:src", code=1)
    same(place, "postmap", "nofile", code=1)
    same(place, "postmap", "regexp:src", code=1)
    same(place, "postmap", "-d", "a", "-q", "b", "src", code=1)
    same(place, "postmap", code=1, messages=False)
    same(place, "postmap", "-q", "x", "static:abc", code=0, out="abc\n")
    same(place, "postmap", "-q", "ROOT", "unix:passwd.byname", code=0)
    same(place, "postmap", "-q", "c", "inline:{a=b,{c = d e}}", code=0, out="d e\n")
    same(place, "postmap", "-q", "x", "unionmap:{static:a,static:b}", code=0, out="a,b\n")
    same(place, "postmap", "-q", "x", "pipemap:{inline:{x=y},inline:{y=z}}", code=0, out="z\n")
    same(place, "postmap", "-q", "plain", "texthash:src", code=0, messages=False)


@pytest.mark.parametrize("key", ["aax", "abx", "neg", "NEG", "foo", "1", "23", "24", "9", "39", "3"])
@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_patterns(place, kind, key):
    same(place, "postmap", "-q", key, f"{kind}:re")


@pytest.mark.parametrize("key,value", [("10.1.1.1", "ten"), ("192.168.1.7", "seven"), ("192.168.1.8", "lan"), ("2001:db8::5", "six"),
                                       ("2001:db9::1", None), ("8.8.8.8", "notlan"), ("foo", None), ("[10.1.1.1]", None)])
def test_cidr(place, key, value):
    same(place, "postmap", "-q", key, "cidr:ci", code=0 if value else 1, out=value + "\n" if value else "")


def test_changes(place):
    for tool in (OURS, THEIRS) if HAVE_THEIRS else (OURS,):
        def do(*args, stdin=""):
            return run(tool, place, "postmap", *args, stdin=stdin)[:2]
        assert do("src")[0] == 0
        assert do("-d", "dup", "src") == (0, "")
        assert do("-d", "dup", "src") == (1, "")
        assert do("-i", "src", stdin="inc val\nplain x\n") == (0, "")
        assert do("-q", "inc", "src") == (0, "val\n")
        assert do("-q", "plain", "src") == (0, "value  with  spaces\n")
        assert do("-ir", "src", stdin="plain x\n") == (0, "")
        assert do("-q", "plain", "src") == (0, "x\n")
        assert do("-d", "-", "src", stdin="inc\nnone\n") == (0, "")
        assert do("-q", "inc", "src") == (1, "")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o444])
def test_mode_is_the_sources(place, mode):
    (place / "src").chmod(mode)
    assert run(OURS, place, "postmap", "src")[0] == 0
    mine = (place / "src.db").stat().st_mode & 0o777
    assert mine == 0o644 & (mode | 0o600)
    if HAVE_THEIRS:
        (place / "src.db").unlink()
        run(THEIRS, place, "postmap", "src")
        assert (place / "src.db").stat().st_mode & 0o777 == mine


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user's source")
def test_root_becomes_the_owner(place):
    os.chmod(place, 0o777)
    for parent in list(place.parents)[:-2]:
        os.chmod(parent, os.stat(parent).st_mode | 0o055)
    os.chown(place / "src", 65534, 65534)
    assert run(OURS, place, "postmap", "src")[0] == 0
    assert (place / "src.db").stat().st_uid == 65534


def test_nothing_is_left_behind(place):
    run(OURS, place, "postmap", "src", "btree:src", "lmdb:src")
    run(OURS, place, "postmap", "-d", "dup", "src")
    run(OURS, place, "postmap", "hash:nofile")
    assert sorted(p.name for p in place.iterdir()) == ["al", "ci", "main.cf", "re", "src", "src.db", "src.lmdb"]


def test_db_config_is_never_read(place):
    """CVE-2017-10140: a DB_CONFIG in the working directory must not matter."""
    (place / "DB_CONFIG").write_text("set_lg_dir /nonexistent\nnonsense here\n")
    assert run(OURS, place, "postmap", "src")[0] == 0
    assert run(OURS, place, "postmap", "-q", "plain", "src") == (0, "value  with  spaces\n", [])


NESTED = """Subject: top
Content-Type: multipart/mixed; boundary="outer"

preamble
--outer
X-Part: one
 folded

body one
--outer
Content-Type: message/rfc822

Subject: nested
Content-Type: multipart/alternative; boundary=inner

--inner

no header
--inner
Content-Type: text/html
Content-Transfer-Encoding: base64

PGI+
--inner--
after
--outer
Content-Type: multipart/digest; boundary=dig

--dig

Subject: digested

digest body
--dig--
--outer
Content-Type: message/partial

Subject: partial
--outer--
epilogue
"""


def test_message_keys(place):
    message = "Subject: foo\n bar\nTo: x\n\nbody1\nbody2\n"
    same(place, "postmap", "-hq", "-", "pcre:{{/^(.+)/ =$1=}}", stdin=message, code=0,
         out="Subject: foo\n bar\t=Subject: foo\n bar=\nTo: x\t=To: x=\n")
    same(place, "postmap", "-bq", "-", "pcre:{{/^(.+)/s =$1=}}", stdin=message, code=0)
    same(place, "postmap", "-hq", "-", "pcre:{{/^(.+)/ =$1=}}", stdin="Subject \t: foo\n\nx\n", code=0, out="Subject: foo\t=Subject: foo=\n")
    same(place, "postmap", "-hbmq", "-", "pcre:{{/^(.+)/s =$1=}}", stdin=NESTED, code=0)


def parts(content_type, boundary="b", head="Content-Type: text/plain\n"):
    return f"MIME-Version: 1.0\n{content_type}\n\n--{boundary}\n{head}\nx\n--{boundary}--\nend\n"


INNER = "Subject : a\nX-y\t: v\n\nbody\n"
# message -> header lines that "-hm" asks
MESSAGES = {
    "mbox": ("From me\nSubject: a\n\nb\n", []),
    "mbox_quoted": (">From me\nSubject: a\n\nb\n", []),
    "mbox_later": ("Subject: a\nFrom me\nTo: x\n\n\nb\n", ["Subject: a"]),
    "base64": ("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n" + INNER,
               ["Content-Type: message/rfc822", "Content-Transfer-Encoding: base64", "Subject: a", "X-y: v"]),
    "mbox_within": ("Content-Type: message/rfc822\n\n>From x y\n" + INNER, ["Content-Type: message/rfc822"]),
    "blanks": (parts("Content-Type : multipart/mixed; boundary=b", head="X-a : b\nContent-Type\t: text/plain\n"),
               ["MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "X-a: b", "Content-Type: text/plain"]),
    "no_field": (parts("Content-Type: multipart/mixed; boundary=b", head="X a: b\nContent-Type: text/plain\n"),
                 ["MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b"]),
    "digest": (parts("Content-Type: multipart/digest; boundary=b", head="\nSubject: d\n"),
               ["MIME-Version: 1.0", "Content-Type: multipart/digest; boundary=b", "Subject: d"]),
    "empty": ("\n\nb\n", []),
}
for one in ("multipart (x) / mixed (y); boundary (z) = b (w)", "multipart/mixed; x-boundary=no; boundary=b", 'multipart/mixed; name="boundary=no"; boundary=b',
            "text/plain\nContent-Type: multipart/mixed; boundary=b", "multipart/mixed; boundary=b\nContent-Type: text/plain", "multipart/; boundary=b", "multipart; boundary=b",
            "multipart/mixed; boundary=c\nContent-Type: multipart/mixed; boundary=b", 'multipart/mixed; boundary="b'):
    MESSAGES[one] = (parts("Content-Type: " + one), ["MIME-Version: 1.0", *("Content-Type: " + one).replace("\nC", "\0C").split("\0"), "Content-Type: text/plain"])


@pytest.mark.parametrize("case", MESSAGES)
def test_message_structure(place, case):
    """What is header and what is body, where mailers disagree; and the empty line, which patterns are asked, too."""
    message, header = MESSAGES[case]
    table = "pcre:{{/^(.*)$/s =}}"
    got = same(place, "postmap", "-hmq", "-", table, stdin=message)
    assert got[1] == "".join(h + "\t=\n" for h in header)
    for options in ("-hbmq", "-bmq", "-bq"):
        assert "\n\t=\n" in "\n" + same(place, "postmap", options, "-", table, stdin=message, code=0)[1]


@pytest.mark.parametrize("table, out", [("regexp:{{/^$/ x}}", "x"), ("pcre:{{/^$/ x}}", "x"), ("static:x", "x"), ("unionmap:{static:x}", "x"), ("pipemap:{static:a,static:x}", "x"),
                                        ("randmap:{x}", "x"), ("inline:{a=x}", None), ("cidr:{{0.0.0.0/0 x}}", None), ("hash:src", None)])
def test_empty_key(place, table, out):
    run(OURS, place, "postmap", "hash:src")
    same(place, "postmap", "-q", "-", table, stdin="\n", code=0 if out else 1, out=f"\t{out}\n" if out else "")


def test_base64_files(place):
    (place / "f1").write_text("one\n")
    (place / "fs").write_text("k f1 f1\n")
    same(place, "postmap", "-F", "fs", code=0)
    same(place, "postmap", "-Fq", "k", "fs", code=0)
    same(place, "postmap", "-q", "k", "fs", code=0)
