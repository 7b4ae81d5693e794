"""Every command answers --help and --version, and bash completes its options and arguments."""
import os
import re
import subprocess

import pytest

from instance import BIN, ROOT, SBIN

COMMANDS = sorted(os.listdir(BIN))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_version(name):
    def run(option):
        return subprocess.run([os.path.join(BIN, name), option], capture_output=True, text=True, timeout=90, check=False, stdin=subprocess.DEVNULL)
    p = run("--help")
    assert p.returncode == 0 and p.stderr == "" and f"{name}(1)" in p.stdout
    v = run("--version")
    assert v.returncode == 0 and v.stderr == "" and v.stdout.startswith(f"{name} (Postern) ") and len(v.stdout.split()) == 3


@pytest.fixture(scope="module")
def etc(tmp_path_factory):
    d = tmp_path_factory.mktemp("completion")
    (d / "main.cf").write_text(f"myhostname = a.test\ndaemon_directory = {SBIN}\nqueue_directory = {d}/q\n")
    (d / "master.cf").write_text("smtp inet n - n - - smtpd -o smtpd_banner=x\ncleanup unix n - n - 0 cleanup\n")
    return d


@pytest.mark.parametrize("line,want,other", [
    ("postfix st", {"start", "start-fg", "stop", "status"}, "reload"), ("postern re", {"reload"}, "start"), ("postfix start ", set(), "start"),
    ("postfix -", {"-c", "-v", "-D"}, "start"), ("postconf --", {"--help", "--version"}, "-n"), ("postconf smtpd_ban", {"smtpd_banner"}, "smtpd_timeout"),
    ("postconf -C b", {"builtin"}, "user"), ("postconf -T c", {"compile-version"}, "run-version"), ("postconf -c ETC -P smtp", {"smtp/inet/smtpd_banner"}, "smtp"),
    ("postconf -c ETC -F smtp/inet/ch", {"smtp/inet/chroot"}, "smtp/inet/wakeup"), ("postconf -c ETC -M c", {"cleanup/unix"}, "smtp/inet"),
    ("postmulti -e de", {"destroy", "deport"}, "init"), ("postqueue -", {"-p", "-j", "-f"}, "-d"), ("postsuper -d A", {"ALL"}, "-"),
    ("postsuper h", {"hold"}, "active"), ("posttls-finger -l ver", {"verify"}, "secure"), ("qshape de", {"deferred"}, "hold"), ("postlog -p w", {"warn", "warning"}, "info"), ("postlock -l f", {"flock", "fcntl"}, "dotlock"),
    ("smtp-sink -q r", {"rcpt", "rset"}, "data"), ("smtp-source -d -", {"-s", "-m", "-F"}, "-q"), ("smtp-sink -", {"-q", "-D"}, "-l"),
    ("postmap ha", {"hash:"}, "regexp:"), ("postcat -", {"-q", "-h"}, "-n"), ("postkick -c ETC public c", {"cleanup"}, "smtp")])
def test_completion(etc, line, want, other):
    words = line.replace("ETC", str(etc)).split(" ")
    script = f"""PATH={BIN}:$PATH MAIL_CONFIG={etc}; export MAIL_CONFIG
source {ROOT}/conf/completion.bash
COMP_WORDS=({" ".join(f"'{w}'" for w in words)}); COMP_CWORD={len(words) - 1}
f=$(complete -p {words[0]} | sed 's/.*-F \\([^ ]*\\).*/\\1/'); $f
printf '%s\\n' "${{COMPREPLY[@]}}" """
    p = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=90, check=True)
    got = {w for w in p.stdout.split("\n") if w}
    assert p.stderr == "" and want <= got and other not in got and (want or not got)


def completed(etc, words):
    script = f"""PATH={BIN}:$PATH MAIL_CONFIG={etc}; export MAIL_CONFIG
source {ROOT}/conf/completion.bash
COMP_WORDS=({" ".join(f"'{w}'" for w in words)}); COMP_CWORD={len(words) - 1}
c=$(complete -p {words[0]})
case $c in
*" -F "*) f=$(echo "$c" | sed 's/.*-F \\([^ ]*\\).*/\\1/'); $f; printf '%s\\n' "${{COMPREPLY[@]}}" ;;
*) compgen -W "$(echo "$c" | sed "s/.*-W '\\([^']*\\)'.*/\\1/")" -- '{words[-1]}' ;;
esac"""
    return set(subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True).stdout.split())


def options_of(name):
    """What the program's getopt() takes."""
    folder = os.path.join(ROOT, "cmd", {"postfix": "postern"}.get(name, name.replace("qmqp", "smtp")))
    found = set()
    for f in (sorted(os.listdir(folder)) if os.path.isdir(folder) else ()):
        if f.endswith(".c") and (not name.startswith("qmqp") or f.startswith("qmqp")) and (not name.startswith("smtp") or not f.startswith("qmqp")):
            with open(os.path.join(folder, f), encoding="utf-8") as text:
                for m in re.finditer(r'getopt\(\w+, \w+, *"([^"]+)"', text.read()):
                    found |= {"-" + c for c in re.sub(r"[+:]", "", m[1])}
    return found


REFUSED = {"posttls-finger": {"-X"}, "postfix": {"-f"}}


@pytest.mark.parametrize("name", COMMANDS)
def test_completion_knows_all_options(etc, name):
    """Every option that the program takes is offered, and none that it does not take."""
    offered = {w for w in completed(etc, [name, "-"]) if not w.startswith("--")}
    known = options_of(name) if name != "sendmail" else set()  # that getopt() is rmail's
    if not known:
        pytest.skip("the program reads its options by a table of its own")
    assert offered == known - REFUSED.get(name, set())
