"""Hostile and mistaken .forward files: what comes of each in our local(8) and in Debian's, with the same account and the same files: the result of
every recipient, who gets copies, and which files grow."""
import json
import os
import pwd
import re
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import instance  # noqa: E402
import peer  # noqa: E402
from test_addresses_debian import Session, Sink  # noqa: E402

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or not root")
USER = f"ptn-fwd{os.getpid()}"

# name -> (content of the file, mode, owner or None for the user's). {home} is the user's home, {name} the case's.
FORWARDS = {
    "plain": ("one@far.test\n", 0o644, None),
    "two": ("one@far.test, two@far.test\nthree@far.test\n", 0o644, None),
    "empty": ("", 0o644, None),
    "blank": ("\n \n\n", 0o644, None),
    "comment": ("# nobody\n", 0o644, None),
    "remarked": ("one@far.test # not two@far.test\n", 0o644, None),
    "self": ("{user}\n", 0o644, None),
    "backslash": ("\\{user}, one@far.test\n", 0o644, None),
    "selfext": ("{user}+{name}\n", 0o644, None),
    "other": ("{user}+plain\n", 0o644, None),
    "crlf": ("one@far.test\r\ntwo@far.test\r\n", 0o644, None),
    "nul": ("one@far.test\0two@far.test\n", 0o644, None),
    "noeol": ("one@far.test", 0o644, None),
    "quoted": ("\"a b\"@far.test\n", 0o644, None),
    "unclosed": ("\"one@far.test\n", 0o644, None),
    "comma": (",,,\n", 0o644, None),
    "at": ("@\n", 0o644, None),
    "angle": ("<>\n", 0o644, None),
    "name": ("Some One <one@far.test>\n", 0o644, None),
    "group": ("friends: one@far.test, two@far.test;\n", 0o644, None),
    "indented": ("one@far.test,\n two@far.test\n", 0o644, None),
    "same": ("one@far.test\none@far.test\nONE@FAR.test\n", 0o644, None),
    "worldwritable": ("one@far.test\n", 0o666, None),
    "groupwritable": ("one@far.test\n", 0o664, None),
    "unreadable": ("one@far.test\n", 0o000, None),
    "executable": ("one@far.test\n", 0o755, None),
    "roots": ("one@far.test\n", 0o644, "root"),
    "strangers": ("one@far.test\n", 0o644, "nobody"),
    "file": ("{home}/file\n", 0o644, None),
    "quotedfile": ("\"{home}/with blank\"\n", 0o644, None),
    "etcfile": ("/etc/postern-must-not-exist\n", 0o644, None),
    "passwd": ("/etc/passwd\n", 0o644, None),
    "devnull": ("/dev/null\n", 0o644, None),
    "device": ("/dev/zero\n", 0o644, None),
    "directory": ("{home}/sub\n", 0o644, None),
    "maildir": ("{home}/md/\n", 0o644, None),
    "relative": ("./file\n", 0o644, None),
    "symlinkfile": ("{home}/link-to-file\n", 0o644, None),
    "fifofile": ("{home}/fifo\n", 0o644, None),
    "hardlink": ("{home}/hard\n", 0o644, None),
    "command": ("|cat >{home}/piped\n", 0o644, None),
    "outerquotes": ("|\"cat >{home}/piped3; exit 0\"\n", 0o644, None),
    "quotedcommand": ("\"|cat >{home}/piped2; exit 0\"\n", 0o644, None),
    "failing": ("\"|exit 7\"\n", 0o644, None),
    "nosuchuser": ("\"|exit 67\"\n", 0o644, None),
    "tempfail": ("\"|exit 75\"\n", 0o644, None),
    "killed": ("\"|kill -9 $$\"\n", 0o644, None),
    "nocommand": ("|/no/such/program\n", 0o644, None),
    "emptycommand": ("|\n", 0o644, None),
    "output": ("\"|echo out; echo err >&2; exit 69\"\n", 0o644, None),
    "include": (":include:{home}/list\n", 0o644, None),
    "includenone": (":include:{home}/none\n", 0o644, None),
    "includerelative": (":include:list\n", 0o644, None),
    "includeshadow": (":include:/etc/shadow\n", 0o644, None),
    "includezero": (":include:/dev/zero\n", 0o644, None),
    "includedir": (":include:{home}/sub\n", 0o644, None),
    "includefifo": (":include:{home}/fifo\n", 0o644, None),
    "includeself": (":include:{home}/loop\n", 0o644, None),
    "includeempty": (":include:{home}/void\n", 0o644, None),
    "includecommand": (":include:{home}/cmds\n", 0o644, None),
    "mixed": ("one@far.test, {home}/file3, \"|exit 0\"\n", 0o644, None),
    "wrongmixed": ("one@far.test, \"|exit 7\"\n", 0o644, None),
    "local": ("nobody-of-this-name\n", 0o644, None),
    "route": ("@hop.test:one@far.test\n", 0o644, None),
    "percent": ("one%far.test@mail.example.test\n", 0o644, None),
    "bang": ("far.test!one\n", 0o644, None),
    "eightbit": ("b\u00fcro@far.test\n", 0o644, None),
    "long": ("x" * 3000 + "@far.test\n", 0o644, None),
    "many": (", ".join(f"u{n}@far.test" for n in range(300)) + "\n", 0o644, None),
}
OTHERS = {"list": "one@far.test\ntwo@far.test\n", "loop": ":include:{home}/loop\n", "void": "", "cmds": "\"|exit 0\"\n{home}/file2\n", "target": "", "hard0": ""}


@pytest.fixture(scope="module")
def home():
    base = instance.scratch("forwards-")
    home = os.path.join(base, "home")
    os.mkdir(home, 0o700)
    subprocess.run(["userdel", USER], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["useradd", "--no-log-init", "-M", "-d", home, "-s", "/bin/sh", USER], check=True)
    yield home
    subprocess.run(["userdel", USER], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(base, ignore_errors=True)


def furnish(home):
    pw = pwd.getpwnam(USER)
    for entry in os.listdir(home):
        path = os.path.join(home, entry)
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    files = {"fw." + n: f for n, f in FORWARDS.items()} | {n: (t, 0o644, None) for n, t in OTHERS.items()}
    for name, (text, mode, owner) in files.items():
        path = os.path.join(home, name)
        with open(path, "wb") as f:
            f.write(text.replace("{home}", home).replace("{user}", USER).replace("{name}", name[3:]).encode())
        os.chmod(path, mode)
        who = pwd.getpwnam(owner) if owner else pw
        os.chown(path, who.pw_uid, who.pw_gid)
    os.mkdir(os.path.join(home, "sub"))
    os.mkfifo(os.path.join(home, "fifo"))
    os.symlink(os.path.join(home, "target"), os.path.join(home, "link-to-file"))
    os.link(os.path.join(home, "hard0"), os.path.join(home, "hard"))
    for name in ("sub", "fifo", "link-to-file"):
        os.chown(os.path.join(home, name), pw.pw_uid, pw.pw_gid, follow_symlinks=False)
    os.chown(home, pw.pw_uid, pw.pw_gid)


def clean(text, home):
    text = re.sub(r" (relay|delay|delays|conn_use)=[^,]*,", "", text.replace(home, "HOME").replace(USER, "USER"))
    text = re.sub(r"\((250|forwarded as).*", "", text)
    return re.sub(r'"cat >[^"]*"', '"CAT"', text)


def results(system, sink, home):
    """case -> what its recipient and everybody it led to came to; who got a copy; which files grew."""
    out, log = {}, system.log()
    ident = dict(re.findall(r": (\w+): message-id=<(.*)@case>$", log, re.M))
    for qid, rest in re.findall(r": (\w+): (to=<.*)$", log, re.M):
        if qid in ident and not re.search(r"to=<[^>]*@far\.test>", rest):
            out.setdefault(ident[qid], set()).add(clean(rest, home))
    for _, rcpts, text in sink.got:
        m = re.search(rb"^Message-ID: <(.*)@case>\r$", text, re.M)
        if m:
            out.setdefault(m.group(1).decode(), set()).update("copy " + r.decode("utf-8", "replace") for r in rcpts)
    for name in os.listdir(home):
        path = os.path.join(home, name)
        if os.path.isfile(path) and name not in OTHERS and not name.startswith("fw."):
            with open(path, "rb") as f:
                for case in re.findall(rb"^Message-ID: <(.*)@case>", f.read(), re.M):
                    out.setdefault(case.decode(), set()).add("file " + name)
    for box in ("md/new",):
        for name in os.listdir(os.path.join(home, box)) if os.path.isdir(os.path.join(home, box)) else []:
            with open(os.path.join(home, box, name), "rb") as f:
                out.setdefault(re.search(rb"^Message-ID: <(.*)@case>", f.read(), re.M).group(1).decode(), set()).add("file " + box)
    return out


def settled(system):
    """Each message was tried: nothing is active, and nothing that became of one is on its way."""
    def over():
        queued = [json.loads(l)["queue_name"] for l in system.command("postqueue", "-j").stdout.decode().splitlines()]
        return set(queued) <= {"deferred"} and len(re.findall(r"to=<%s\+" % USER, system.log())) >= len(FORWARDS)
    assert instance.until(over, 120, 0.3), system.command("postqueue", "-p").stdout.decode() + system.log()[-3000:]


@pytest.fixture(scope="module")
def both(home):
    got = []
    for kind in (instance.Instance, peer.Peer):
        furnish(home)
        sink = Sink()
        system = kind(os.path.join(os.path.dirname(home), kind.__name__), main={
            "forward_path": "$home/fw.$extension", "home_mailbox": "inbox", "default_transport": f"smtp:[127.0.0.1]:{sink.port}", "relayhost": "",
            "smtp_tls_security_level": "", "smtpd_tls_security_level": "", "command_time_limit": "20s", "smtputf8_enable": "yes",
            "maximal_queue_lifetime": "1d", "minimal_backoff_time": "1000s", "maximal_backoff_time": "2000s", "queue_run_delay": "1000s",
            "mailbox_delivery_lock": "fcntl", "notify_classes": "", "smtpd_recipient_limit": "1000"})
        try:
            system.start()
            session = Session(system.port["smtp"])
            for name in FORWARDS:
                text = f"From: a@far.test\nTo: b@far.test\nSubject: x\nDate: Sat, 28 Nov 2026 10:00:00 +0000\nMessage-ID: <{name}@case>\n\nx\n"
                for line in ("MAIL FROM:<sender@far.test>", f"RCPT TO:<{USER}+{name}@mail.example.test>", "DATA", text.replace("\n", "\r\n") + "."):
                    reply = session.say(line)
                    assert reply[0] in "23", reply
            settled(system)
            got.append(results(system, sink, home))
        finally:
            system.stop()
            sink.close()
    return got


# Where ours differs on purpose. A word of ours is expected in the result; the rest is Postfix's doing.
DIFFERENT = {
    # a remark is none of the addresses
    "remarked": {"copy one@far.test"},
    # the log names the address that the file has
    "other": {"copy one@far.test"},
    # who is named twice on the way stays in this message instead of becoming one of its own
    "relative": "unknown user", "local": "unknown user",
    # what may be put right is tried again instead of bounced: no file is opened that is not the user's own
    "etcfile": "dsn=4.2.0", "passwd": "dsn=4.2.0", "directory": "dsn=4.2.0", "symlinkfile": "dsn=4.2.0", "fifofile": "dsn=4.2.0", "hardlink": "dsn=4.2.0",
    "device": "dsn=4.2.0", "includenone": "dsn=4.3.5", "includeshadow": "dsn=4.3.5", "includezero": "dsn=4.3.5", "includedir": "dsn=4.3.5",
    "includefifo": "dsn=4.3.5",
    # Postfix drops the mail without a word
    "includeself": "alias database loop", "includeempty": "dsn=4.3.5",
    # a command is one although it has blanks
    "command": "delivered to command: cat >HOME/piped", "emptycommand": "delivered to mailbox",
    # not understood: the mailbox, with a warning
    "nul": "delivered to mailbox", "unclosed": "delivered to mailbox", "at": "delivered to mailbox", "long": "delivered to mailbox",
    # Postfix reads a line in pieces of 2048 and cuts an address in two
    "many": "copy u280@far.test",
    # texts
    "nocommand": "dsn=4.3.0, status=deferred (temporary failure. Command output: cannot execute", "output": "service unavailable. Command output: out err )",
}


@pytest.mark.parametrize("case", FORWARDS)
def test_same(both, case):
    ours, theirs = (r.get(case) for r in both)
    if case in DIFFERENT:
        assert any(DIFFERENT[case] in line if isinstance(DIFFERENT[case], str) else line in DIFFERENT[case] for line in ours)
    else:
        assert ours == theirs
