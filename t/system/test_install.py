"""`make install` puts every program, module, page and configuration file where hosts expect it (FHS), keeps configuration that is there, and
`make uninstall` leaves nothing but configuration. In a scratch DESTDIR: nothing of the host is touched."""
import os
import shutil
import stat
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import peer  # noqa: E402
from instance import BIN, BUILD, ROOT, SBIN, make_users  # noqa: E402

TOOL = os.path.join(ROOT, "t/tool/install")


def run(*args):
    return subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True, check=False)


def tree(base):
    out = set()
    for top, dirs, files in os.walk(base):
        out |= {os.path.relpath(os.path.join(top, f), base) for f in files + [d for d in dirs if os.path.islink(os.path.join(top, d))]}
    return out


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """One for all, in the order of this file: the last to use it takes it away."""
    base = tmp_path_factory.mktemp("install")
    p = run(BUILD, base, "/usr", "/etc")
    assert p.returncode == 0, p.stderr
    return base


def test_everything_is_where_it_belongs(installed):
    have = tree(installed)
    for d in os.listdir(SBIN):
        assert "usr/lib/postern/" + d in have, d
    for m in os.listdir(os.path.join(BUILD, "modules")):
        assert "usr/lib/postern/" + m in have
    want = {"usr/sbin/sendmail", "usr/lib/sendmail", "usr/bin/mailq", "usr/bin/newaliases", "usr/sbin/postfix", "usr/sbin/postern", "usr/sbin/postconf",
            "usr/sbin/postqueue", "usr/sbin/postdrop", "usr/sbin/postsuper", "usr/sbin/postmap", "usr/sbin/postalias", "usr/sbin/postcat", "usr/sbin/postlog",
            "usr/sbin/smtp-source", "usr/sbin/smtp-sink",
            "etc/postfix/main.cf", "etc/postfix/master.cf", "etc/pam.d/postern", "usr/lib/systemd/system/postern.service", "usr/lib/sysusers.d/postern.conf",
            "usr/lib/tmpfiles.d/postern.conf"}
    assert not want - have, want - have
    for page in os.listdir(os.path.join(ROOT, "man")):
        if page[-2:-1] == ".":
            assert "usr/share/man/man%s/%s" % (page[-1], page) in have
    for name in ("postqueue", "postdrop"):
        assert stat.S_IMODE(os.stat(installed / "usr/sbin" / name).st_mode) == 0o2755
    for link in ("usr/lib/sendmail", "usr/bin/mailq", "usr/bin/newaliases"):
        assert os.path.realpath(installed / link) == str(installed / "usr/sbin/sendmail")
    assert os.path.realpath(installed / "usr/sbin/postfix") == str(installed / "usr/sbin/postern")
    unit = (installed / "usr/lib/systemd/system/postern.service").read_text()
    assert "Type=notify" in unit and "/usr/lib/postern/master" in unit and "@" not in unit.replace("@system-service", "").replace("@chown", "").replace("@setuid", "")
    for top, dirs, files in os.walk(installed):
        for f in files:
            p = os.path.join(top, f)
            assert os.path.islink(p) or not os.stat(p).st_mode & 0o022, p  # nobody else may write programs
    assert not [f for f in have if f.endswith(".new")]


# What scripts, users and packages of a Postfix host call, and where they look for it: (directory, names), each with a page.
COMMANDS = [("usr/sbin", "postfix postconf postmap postalias postqueue postsuper postcat postdrop sendmail postlog postkick postlock postmulti posttls-finger smtp-source smtp-sink "
             "qmqp-source qmqp-sink qshape fsstone"), ("usr/bin", "mailq newaliases rmail")]
DAEMONS = ("anvil bounce cleanup discard error flush lmtp local master pickup pipe proxymap qmgr showq smtp smtpd spawn tlsmgr trivial-rewrite verify virtual")
PAGES = "5/postconf 5/master 5/main.cf 5/master.cf 8/defer 8/trace 8/retry 8/relay 1/postern 8/resolver 8/imapd 8/pop3d 8/lmtpd 8/auth"


def test_names_of_postfix(installed):
    """Every program has its name, mode and page."""
    have = tree(installed)
    for where, names in COMMANDS:
        for name in names.split():
            path = installed / where / name
            assert stat.S_IMODE(path.stat().st_mode) == (0o2755 if name in ("postqueue", "postdrop") else 0o755), name
            assert os.path.realpath(path).startswith(str(installed)) and "usr/share/man/man1/%s.1" % name in have, name
    for name in DAEMONS.split():
        assert stat.S_IMODE((installed / "usr/lib/postern" / name).stat().st_mode) == 0o755 and "usr/share/man/man8/%s.8" % name in have, name
    for page in PAGES.split():
        path = installed / "usr/share/man" / ("man%s/%s.%s" % (page[0], page[2:], page[0]))
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, page
    assert not [f for f in have if "/sbin/" in f and f.rsplit("/", 1)[1] not in " ".join(n for _, n in COMMANDS).split() + ["postern"]]


def test_programs_work_from_there(installed):
    p = subprocess.run([installed / "usr/sbin/postconf", "-c", installed / "etc/postfix", "-h", "mail_name"], capture_output=True, text=True, check=False)
    assert p.returncode == 0 and p.stdout.strip(), p.stderr


def test_configuration_stays(installed):
    (installed / "etc/postfix/main.cf").write_text("myhostname = mine.test\n")
    assert run(BUILD, installed, "/usr", "/etc").returncode == 0
    assert (installed / "etc/postfix/main.cf").read_text() == "myhostname = mine.test\n"


def test_uninstall_leaves_configuration_alone(installed):
    other = installed / "usr/bin/of-another"
    other.write_text("x")
    p = run("--remove", installed, "/usr", "/etc")
    assert p.returncode == 0, p.stderr
    assert tree(installed) == {"usr/bin/of-another", "etc/postfix/main.cf", "etc/postfix/master.cf", "etc/pam.d/postern"}
    assert not os.path.exists(installed / "usr/lib/postern") and not os.path.exists(installed / "usr/share")
    assert run("--remove", installed, "/usr", "/etc").returncode != 0  # nothing that it installed


def test_other_prefix(tmp_path):
    assert run(BUILD, tmp_path, "/opt/postern", "/opt/postern/etc").returncode == 0
    assert all(f.startswith("opt/postern/") for f in tree(tmp_path))
    assert run("--remove", tmp_path, "/opt/postern", "/opt/postern/etc").returncode == 0
    assert tree(tmp_path) == {"opt/postern/etc/postfix/main.cf", "opt/postern/etc/postfix/master.cf", "opt/postern/etc/pam.d/postern"}


def test_files_of_packages_are_diverted_and_come_back(tmp_path):
    """On the host itself: what a package has under our names stands beside ours, and is back after uninstall; dpkg's database is one of the test's own."""
    if os.getuid() != 0 or not shutil.which("dpkg-divert"):
        pytest.skip("as root on Debian only")
    make_users()
    prefix, admin, stubs = tmp_path / "usr", tmp_path / "admin", tmp_path / "stubs"
    for d in (prefix / "sbin", prefix / "share/bash-completion/completions", admin / "info", admin / "updates", stubs):
        d.mkdir(parents=True)
    theirs = [prefix / "sbin/sendmail", prefix / "share/bash-completion/completions/postern"]
    for f in theirs:
        f.write_text("theirs")
    (admin / "status").write_text("Package: other\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nMaintainer: a <a@b>\nDescription: x\n\n")
    (admin / "info/other.list").write_text("".join("%s\n" % f for f in theirs))
    for name in ("systemctl", "systemd-tmpfiles"):
        (stubs / name).write_text("#!/bin/sh\n")
        (stubs / name).chmod(0o755)
    env = dict(os.environ, DPKG_ADMINDIR=str(admin), PATH=f"{stubs}:{os.environ['PATH']}", **peer.QUICK)

    def tool(*args):
        return subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True, check=True, env=env).stdout
    for again in (False, True):
        out = tool(BUILD, "", prefix, tmp_path / "etc")
        assert ("2 files of Debian's packages" in out) != again
        for f in theirs:
            assert f.with_name(f.name + ".distrib").read_text() == "theirs"
        assert subprocess.run([theirs[0], "--version"], capture_output=True, check=True).stdout.startswith(b"sendmail")
    tool("--remove", "", prefix, tmp_path / "etc")
    assert [f.read_text() for f in theirs] == ["theirs"] * 2
    assert tree(prefix) == {"sbin/sendmail", "share/bash-completion/completions/postern"}
    assert not subprocess.run(["dpkg-divert", "--list"], capture_output=True, check=True, env=env).stdout
