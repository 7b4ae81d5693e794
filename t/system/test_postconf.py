"""postconf(1) shows and changes main.cf and shows master.cf as Postfix 3.7 does, except for what carries our own names."""
import os
import re
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OURS = os.path.join(os.environ.get("POSTERN_BUILD", os.path.join(ROOT, "build")), "bin", "postconf")
THEIRS = "/usr/sbin/postconf"
SETS = os.path.join(os.path.dirname(ROOT), "shared", "data", "configs")

# Defaults that are meant to differ.
DIFFER = re.compile(r"^(alias_maps|alias_database|smtpd_forbid_bare_newline|smtpd_forbid_unauth_pipelining|command_directory|compatibility_level|daemon_directory|data_directory|html_directory|mail_name|"
                    r"mail_owner|mail_release_date|mail_version|mailq_path|manpage_directory|meta_directory|mynetworks|"
                    r"newaliases_path|process_id|readme_directory|sample_directory|sendmail_path|shlib_directory) =")

MAIN = """compatibility_level = 3.6
myhostname = mail.example.org
mydestination = $myhostname,
# a comment within
\t localhost.$mydomain,

  localhost
x1=$y1
y1=
biff= no
smtpd_banner = $myhostname ${x1?{yes}:{no}} ${nope:{else}} $$
relayhost = ${{10} < {9} ? {a} : {b}}
default_rbl_reply = $rbl_code text
virtual_maps = hash:/a
unused_thing = 1
slow_destination_rate_delay = 2s
"""
MASTER = """smtp inet n - y - - smtpd
  -o { smtpd_banner = a  b } -o x1=2
465 inet n - n - 5 smtpd -v -o smtpd_tls_wrappermode=yes
pickup fifo n - n 60? 1 pickup
# comment
slow unix - - n - - smtp
verylongservicename-andmore unix - n n - - pipe flags=DRhu user=vmail argv=/usr/bin/deliver -d ${recipient} -o file
"""


def run(program, *args, check=None):
    p = subprocess.run([program, *args], capture_output=True, text=True, timeout=30, check=False)
    if check is not None:
        assert p.returncode == check, p.stderr
    return p


def debian():
    if not os.access(THEIRS, os.X_OK) or "3.7." not in run(THEIRS, "-dh", "mail_version").stdout:
        pytest.skip("postfix 3.7 is not installed: nothing to compare with")
    return THEIRS


@pytest.fixture
def conf(tmp_path):
    (tmp_path / "main.cf").write_text(MAIN)
    (tmp_path / "master.cf").write_text(MASTER)
    return tmp_path


@pytest.mark.parametrize("args", [["-n"], ["-nf"], ["-nx"], ["-nh"], ["-nH"], ["-M"], ["-Mf"], ["-M", "smtp/inet", "nosuch"],
                                  ["-M", "*/unix"], ["-C", "user"], ["-n", "-o", "relayhost=z", "-o", "virtual_maps=q"],
                                  ["mydestination", "nosuch", "biff"], ["-h", "myhostname", "mydomain"], ["-l"], ["-A"]], ids=" ".join)
def test_same_output_for_one_main_cf(conf, args):
    theirs = run(debian(), "-c", str(conf), *args)
    ours = run(OURS, "-c", str(conf), *args)
    assert ours.stdout == theirs.stdout
    assert ours.returncode == theirs.returncode


@pytest.mark.parametrize("args", [["-d"], ["-df"], [], ["-f"], ["-C", "service"], ["-d", "-C", "builtin"]], ids=" ".join)
def test_same_defaults(conf, args):
    theirs = run(debian(), "-c", str(conf), *args)
    ours = run(OURS, "-c", str(conf), *args)
    assert ours.returncode == theirs.returncode == 0

    def settings(p):  # a folded value continues on indented lines
        return {l.split(" ", 1)[0]: l for l in p.stdout.splitlines() if not l.startswith(" ") and not DIFFER.match(l)}
    got = settings(ours)
    for name, line in settings(theirs).items():
        assert got.get(name) == line


def sets():
    found = []
    for path, _, files in os.walk(SETS):
        if "main.cf" in files and "master.cf" in files:
            found.append(os.path.relpath(path, SETS))
    return sorted(found) or [None]


@pytest.mark.parametrize("name", sets())
def test_same_output_for_real_configurations(name, tmp_path):
    if name is None:
        pytest.skip("the collection of real configurations is not here")
    for f in ("main.cf", "master.cf"):
        with open(os.path.join(SETS, name, f), "rb") as src:
            (tmp_path / f).write_bytes(src.read())
    for args in (["-n"], ["-nf"], ["-M"], ["-Mf"], ["-C", "user"]):
        theirs = run(debian(), "-c", str(tmp_path), *args)
        ours = run(OURS, "-c", str(tmp_path), *args)
        assert ours.returncode == theirs.returncode
        if theirs.returncode == 0:
            assert ours.stdout == theirs.stdout


EDIT = "relayhost = a\n  b,\n# c\n\n   d\nuser_x= 1\n#mydomain = x\nmydestination = $user_x\nx = 1\n# in\n  2\nx=3\nlast = 1\n"


@pytest.mark.parametrize("args", [["relayhost=z"], ["-e", "x =  y  z ", "new=1"], ["-X", "x", "relayhost"], ["-#", "x", "relayhost"],
                                  ["-e", "foo"], ["-e", "=x"], ["a b=c"], ["-X", "x=1"], ["mydomain=q"], ["x="],
                                  ["-e", "x=1", "x=2"], ["-X", "nosuch"], ["-e", "a=1\nb=2"]], ids=repr)
def test_same_edits(tmp_path, args):
    results = []
    for program in (debian(), OURS):
        d = tmp_path / os.path.basename(os.path.dirname(program))
        d.mkdir()
        (d / "main.cf").write_text(EDIT)
        (d / "master.cf").write_text("")
        os.chmod(d / "main.cf", 0o640)
        p = run(program, "-c", str(d), *args)
        results.append(((d / "main.cf").read_text(), p.returncode))
        assert sorted(os.listdir(d)) == ["main.cf", "master.cf"]
    assert results[0] == results[1]
    assert os.stat(d / "main.cf").st_mode & 0o777 == 0o640  # Postfix would make it 644


def test_edit_keeps_symbolic_link_mode_and_missing_newline(tmp_path):
    (tmp_path / "real.cf").write_text("# head\na = 1\nb = 2")
    os.chmod(tmp_path / "real.cf", 0o604)
    os.symlink("real.cf", tmp_path / "main.cf")
    run(OURS, "-c", str(tmp_path), "a = 3", check=0)
    assert os.path.islink(tmp_path / "main.cf")
    assert (tmp_path / "real.cf").read_text() == "# head\na = 3\nb = 2"
    assert os.stat(tmp_path / "real.cf").st_mode & 0o777 == 0o604
    run(OURS, "-c", str(tmp_path), "c=4", check=0)
    assert (tmp_path / "real.cf").read_text() == "# head\na = 3\nb = 2\nc = 4\n"


def test_mistakes_are_named(tmp_path):
    (tmp_path / "main.cf").write_text("mydestinaton = a\nsmtpd_timeout = soon\n")
    (tmp_path / "master.cf").write_text("smtp inet n - n - - smtpd -o smtpd_banr=x\n")
    p = run(OURS, "-c", str(tmp_path), "-n", check=0)
    assert f"{tmp_path}/main.cf line 1: unknown parameter mydestinaton; did you mean mydestination?" in p.stderr
    assert f"{tmp_path}/main.cf line 2: smtpd_timeout = soon: time expected" in p.stderr
    assert f"{tmp_path}/master.cf line 1: unknown parameter smtpd_banr; did you mean smtpd_banner?" in p.stderr
    (tmp_path / "main.cf").write_text("a = 1\nnonsense\n")
    p = run(OURS, "-c", str(tmp_path), "-n", check=1)
    assert p.stderr == f"postconf: fatal: {tmp_path}/main.cf line 2: '=' missing after the name: \"nonsense\"\n"
    (tmp_path / "main.cf").write_text("relayhost = $a\na = $b\nb = $a\n")
    p = run(OURS, "-c", str(tmp_path), "-nx", check=1)
    assert "refers to itself" in p.stderr
    run(OURS, "-c", str(tmp_path / "nowhere"), check=1)


@pytest.mark.parametrize("args", [["-F"], ["-P"], ["-b"], ["-t"], ["-T", "compile-version"], ["-Me", "smtp/inet=x"]], ids=" ".join)
def test_what_is_missing_says_so(conf, args):
    p = run(OURS, "-c", str(conf), *args, check=1)
    assert "is not supported yet" in p.stderr


def test_parameter_documentation_is_current():
    path = os.path.join(ROOT, "docs", "parameters.md")
    with open(path, encoding="utf-8") as f:
        assert f.read() == run(OURS, "--doc", "md", check=0).stdout, "run make docs"
