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
"complete -F "*) f=$(echo "$c" | sed 's/.*-F \\([^ ]*\\).*/\\1/'); $f; printf '%s\\n' "${{COMPREPLY[@]}}" ;;
*) compgen -W "$(echo "$c" | sed "s/.*-W '\\([^']*\\)'.*/\\1/")" -- '{words[-1]}' ;;
esac"""
    return set(subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True).stdout.split())


def options_of(name):
    """What the program's getopt() takes."""
    folder, file, pattern = {
        "postfix": ("postern", "postern.c", GETOPT), "postern": ("postern", "postern.c", GETOPT), "mailq": ("sendmail", "options.c", FLAGS), "newaliases": ("sendmail", "options.c", FLAGS),
        "sendmail": ("sendmail", "options.c", FLAGS), "rmail": ("sendmail", "rmail.c", GETOPT),
        "smtp-sink": ("smtp-sink", "main.c", r'qmqp \? "[^"]*"\s+: "([^"]+)"'), "qmqp-sink": ("smtp-sink", "main.c", r'qmqp \? "([^"]*)"'),
        "smtp-source": ("smtp-source", "main.c", r'qmqp \? "[^"]*"\s+: "([^"]+)"'), "qmqp-source": ("smtp-source", "main.c", r'qmqp \? "([^"]*)"'),
        "postmap": ("postmap", "postmap.c", r'\.options = "([^"]+)"'), "postalias": ("postalias", "postalias.c", r'\.options = "([^"]+)"'),
        "posttls-finger": (name, "main.c", GETOPT), "postconf": (name, "main.c", GETOPT)}.get(name, (name, name + ".c", GETOPT))
    with open(os.path.join(ROOT, "cmd", folder, file), encoding="utf-8") as f:
        found = re.findall(pattern, f.read())
    assert found
    return {"-" + c for c in re.sub(r"[+:]", "", "".join(found))} | ({"-q"} if pattern == FLAGS else set())


GETOPT, FLAGS = r'getopt\(\w+, \w+,\s*"([^"]+)"', r"{ '(\w)', (?:true|false), "
REFUSED = {"posttls-finger": {"-X"}, "sendmail": {"-n"}}


@pytest.mark.parametrize("name", COMMANDS)
def test_completion_knows_all_options(etc, name):
    """Every option that the program takes is offered, and none that it does not take."""
    offered = {w[:2] for w in completed(etc, [name, "-"]) if not w.startswith("--")}  # "-qI" is a -q
    if name in ("mailq", "newaliases"):  # sendmail under another name: what has a sense there
        assert offered == {"-C", "-v"} < options_of(name)
    else:
        assert offered == options_of(name) - REFUSED.get(name, set())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_all_options(name):
    """And no other: of "[-abc] [-d key]" those are a, b, c and d."""
    text = subprocess.run([os.path.join(BIN, name), "--help"], capture_output=True, text=True, timeout=90, check=True).stdout
    usage = text[text.index("usage:"):text.rindex("The page")]
    assert max(len(l) for l in usage.splitlines()) <= 100
    named = set()
    for word in re.findall(r"(?:^|(?<=[ |\[]))-([\w#]+)", usage):
        named |= {"-" + word[0]} if name == "sendmail" and word[0] in "bqX" else {"-" + c for c in word}
    assert named == ({"-C", "-v"} if name in ("mailq", "newaliases") else options_of(name) - REFUSED.get(name, set()))
