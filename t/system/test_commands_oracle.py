"""Our commands beside Debian's Postfix, with the same arguments and both systems down: standard output, exit status and the lines on standard error
are the same. Skipped where Postfix is not installed."""
import os
import pty
import pwd
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import peer  # noqa: E402
from instance import BIN, Instance, make_users, scratch  # noqa: E402

if not peer.HAVE or "postfix" not in {p.pw_name for p in pwd.getpwall()}:
    pytest.skip("needs Debian's postfix, and root", allow_module_level=True)

THEIRS = {n: p for n in sorted(os.listdir(BIN)) for p in ("/usr/sbin/" + n, "/usr/bin/" + n) if os.path.exists(p)}


def masked(listing):
    """Queue ids with their column, sizes, times."""
    text = re.sub(r"^[0-9A-F]{10,16}[*!#]? +\d+ \w{3} \w{3} .\d \d\d:\d\d:\d\d ", "ID ", listing, flags=re.M)
    text = re.sub(r'"queue_id": "\w+"|"(arrival_time|message_size)": \d+', "N", text)
    text = re.sub(r"^-- \d+ Kbytes", "-- N Kbytes", text, flags=re.M)
    head, sep, rest = text.partition("-------\n")  # messages come in the order of the directory
    blocks = sorted((rest if sep else head).split("\n\n" if sep else "\n"))
    return (head + sep if sep else "") + "|".join(b.strip("\n") for b in blocks)


class Pair:
    def __init__(self):
        self.base = scratch("postern-oracle.")
        make_users()
        self.ours = Instance(os.path.join(self.base, "ours"), main={"alias_database": ""}, listen=())
        self.ours.write_config()
        self.ours.start(wait=False)  # once: it makes the queue's directories
        self.ours.wait_log("starting|started")
        self.ours.stop()
        self.theirs = peer.Peer(os.path.join(self.base, "theirs"), listen=())
        self.theirs.main.pop("maillog_file")  # while nothing runs, no file either: the lines are those of standard error
        self.theirs.write_config()
        self.theirs.make_queue()
        self.etc, self.queue = self.theirs.config, self.theirs.queue

    def run(self, theirs, command, stdin, user=None):
        name, *args = [a.replace("BASE", self.base) for a in command]
        path = THEIRS.get(name) if theirs else os.path.join(BIN, name)
        p = subprocess.run([name, *args], executable=path, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=90, user=user,
                           group=user and "nogroup", extra_groups=[] if user else None, cwd="/",
                           env={"PATH": os.environ["PATH"], "MAIL_CONFIG": self.etc if theirs else self.ours.config, **(peer.QUICK if theirs else {})})
        return p.returncode, p.stdout.decode(), shape(p.stderr.decode())


def shape(text):
    """Lines in their order, each once (Postfix reads its options twice); the detail in parentheses after "down", and Postfix's own complaints about
    sockets, are not compared."""
    out = []
    for line in text.splitlines():
        if re.match(r"Usage:|.*\.pl: invalid|.*: unknown option|Unknown option", line, re.I):
            return ["usage"]
        line = re.sub(r"(usage: (smtp|qmqp|posttls|post(map|alias))\S*).*", r"\1", line)
        line = re.sub(r"(mail system is down|accessing queue directly).*", r"\1", line)
        if re.search(r"connect to public/|unable to look up|backwards-compatible", line) or line in out:
            continue
        out.append(line)
    return out


@pytest.fixture(scope="module")
def pair():
    p = Pair()
    yield p
    p.ours.stop()
    shutil.rmtree(p.base, ignore_errors=True)


TEXT = b"Subject: t\n\nbody\n"
SENDMAIL = [
    [], ["-n", "x"], ["-bz", "x"], ["-Bfoo", "x"], ["-N", "foo", "x"], ["-N", "never,delay", "x"], ["-Rx", "x"], ["-V", "", "x"], ["-XVab", "x"], ["-XV+=", "x"],
    ["-X", "f", "x"], ["-qx"], ["-k"], ["-f"], ["-t"], ["-F"], ["-o"], ["-h"], ["-bp", "x"], ["-bi", "x"], ["-bs", "x"], ["-bd", "x"], ["-q", "x"], ["-qI"],
    ["-qR"], ["-bv", "-t", "x"], ["-bv", "x"], ["-v", "x"], ["-O", "foo", "x"], ["-oQ", "x"], ["-Am", "x"], ["-L", "tag", "x"], ["-bh"], ["-bH"],
    ["-bm", "x"], ["-bt"], ["-f", "", "x"], ["-f", "<>", "x"], ["-F", "Me", "-fme", "-oi", "-oem", "x"], ["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"],
    ["-t", "-i", "-fme", "x"], ["-i", "--", "-x"], ["-U", "-G", "-m", "-x", "-c", "x"], ["-C", "/nonexistent", "x"], ["-I", "x"], ["-bp"], ["-q"], ["-qIABCDEF12"],
    ["-qRfoo.test"], ["-qRa@b"], ["-R", "hdrs", "-N", "success", "-V", "abc", "x"], ["-e", "m", "-p", "x", "-r", "me", "x"],
    ["-q-1"], ["-qS"], ["-qSx"], ["-qIa/b"], ["-qI-"], ["-qR"], ["-qR@"], ["-q", "-q"], ["-bl", "x"], ["-bD", "x"], ["-bhx"], ["-b"], ["-B", "7BIT", "x"],
    ["-B", "9BIT", "x"], ["-B"], ["-N"], ["-N", "", "x"], ["-N", "SUCCESS,failure", "x"], ["-N", "never", "x"], ["-Nsuccess", "-Rfull", "-Vid", "x"], ["-R"],
    ["-R", "FULL", "x"], ["-V"], ["-V", "a b", "x"], ["-XV", "x"], ["-XV-=", "x"], ["-X"], ["-Xfile"], ["-O"], ["-O", "smtputf8=yes", "x"], ["-OFoo=bar", "x"], ["-oA"],
    ["-oAhash:/x", "x"], ["-oA/x", "-bp"], ["-om", "x"], ["-oX", "x"], ["-o7", "x"], ["-o8", "x"], ["-odb", "-oee", "x"], ["-oMrlocal", "x"], ["-oi", "-t"], ["-t", "-f", "<me@x.test>"], ["-f<me>", "x"],
    ["-f", "me@x.test (c)", "x"], ["-f", "a@x.test, b@x.test", "x"], ["-f", "Me <me@x.test>", "x"], ["-r", "me", "x"], ["-F", "", "x"], ["-F", "A \"B\" <c>", "x"], ["-h", "17", "x"], ["-hx", "x"], ["-A", "x"],
    ["-Ac", "x"], ["-Ax", "x"], ["-L"], ["-L", "", "x"], ["-n"], ["-m", "x"], ["-G", "x"], ["-U", "x"], ["-c", "x"], ["-x", "x"], ["-p"], ["-e"], ["-I"], ["-IHASH", "x"],
    ["-D", "x"], ["-Z", "x"], ["-s", "x"], ["--", "x"], ["--"], ["-bm"], ["-bm", "-bv", "x"], ["-bs", "-t"], ["-bp", "-bi"], 
    ["a@x.test,b@x.test"], ["-i", "\"a b\"@x.test"], ["-i", "a@x.test (c), G: b, c;"], ["-f", "x" * 600, "x"], ["-C"],
]
OTHERS = [
    ["mailq"], ["mailq", "x"], ["mailq", "-Z"], ["mailq", "-q"], ["newaliases"], ["newaliases", "x"], ["newaliases", "-Z"],
    ["rmail"], ["rmail", "-x"], ["rmail", "a b"],
    ["postqueue", "-pj"], ["postqueue", "-f", "-s", "x"], ["postqueue", "-p", "-i", "ABCDEF12345"], ["postqueue", "-j", "x"], ["postqueue", "-i", "ABCDEF12345"], ["postqueue", "-i", ""],
    ["postqueue", "-s", "[1.2.3.4]"], ["postqueue", "-c"],
    ["postdrop", "-x"],
    ["postqueue"], ["postqueue", "-p"], ["postqueue", "-j"], ["postqueue", "-p", "-f"], ["postqueue", "-x"], ["postqueue", "-i"], ["postqueue", "-i", "a/b"],
    ["postqueue", "-i", "abc"], ["postqueue", "-f"], ["postqueue", "-s", "foo.test"], ["postqueue", "-s", "a@b"], ["postqueue", "-s", ""], ["postqueue", "-p", "x"],
    ["postqueue", "-c", "/nonexistent", "-p"],
    ["postsuper"], ["postsuper", "-x"], ["postsuper", "-d"], ["postsuper", "-d", "abc"], ["postsuper", "-d", "ABCDEF12345"], ["postsuper", "-d", "ALL"],
    ["postsuper", "-d", "all"], ["postsuper", "-d", "ALL", "nosuch"], ["postsuper", "-d", "ALL", "deferred", "hold"], ["postsuper", "-f", "ALL"], ["postsuper", "-p"],
    ["postsuper", "-s"], ["postsuper", "-S"], ["postsuper", "-H", "ALL", "-h", "ALL", "-d", "ALL", "-r", "ALL", "-e", "ALL"], ["postsuper", "-d", "a/b", "-d", "a b"],
    ["postsuper", "-h", "-"], ["postsuper", "-c", "/nonexistent", "-p"], ["postsuper", "-d", "-"], ["postsuper", "-d", "-", "-h", "-"], ["postsuper", "-e", "ABCDEF12345"],
    ["postsuper", "-f", "ABCDEF12345"], ["postsuper", "-r", "ABCDEF12345"], ["postsuper", "-H", "ABCDEF12345"], ["postsuper", "-h", "ABCDEF12345"], ["postsuper", "-r", "ALL", "incoming"],
    ["postsuper", "-r", "ALL", "maildrop"], ["postsuper", "-h", "ALL", "hold"], ["postsuper", "-H", "ALL", "deferred"], ["postsuper", "-e", "ALL", "active"], ["postsuper", "-d", "ALL", "a/b"],
    ["postsuper", "-p", "incoming"], ["postsuper", "-s", "corrupt"], ["postsuper", "-s", "nosuch"], ["postsuper", "-d", "ALL", "defer"], ["postsuper", "-d", "ALL", "bounce"],
    ["postsuper", "-d", ""], ["postsuper", "-r", "bcdfghjklm1"], ["postsuper", "ALL"], ["postsuper", "deferred"],
    ["postcat", "-x"], ["postcat", "-q"], ["postcat", "-q", "abc"], ["postcat", "-q", "ABCDEF1234"], ["postcat", "/nonexistent"], ["postcat", "/etc/passwd"],
    ["postcat", "-q", "../x"],
    ["postlog"], ["postlog", "-p", "foo", "x"], ["postlog", "-x"], ["postlog", "-p", "warn", "hello", "world"], ["postlog", "-p", "error", "-t", "tag/x", "e"],
    ["postlog", "-p", "fatal", "x"],
    ["postlock"], ["postlock", "BASE/mbox"], ["postlock", "-l", "foo", "BASE/mbox", "true"], ["postlock", "BASE/mbox", "sh", "-c", "exit 3"],
    ["postlock", "BASE/mbox", "/nonexistent"], ["postlock", "-l", "dotlock", "BASE/mbox", "ls", "BASE/mbox", "BASE/mbox.lock"],
    ["postlock", "-l", "fcntl,  dotlock", "BASE/mbox", "sh", "-c", "kill -9 $$"],
    ["postlock", "-c", "/nonexistent", "BASE/mbox", "true"], ["postlock", "-v"], ["postlock", "-x"], ["postlock", "-l", "", "BASE/mbox", "true"], ["postlock", "-l", "flock", "BASE/mbox", "true"],
    ["postlock", "-l", "flock,fcntl", "BASE/mbox", "false"], ["postlock", "-l", "FCNTL", "BASE/mbox", "true"], ["postlock", "BASE/no/mbox", "true"], ["postlock", "BASE", "true"],
    ["postlock", "-l", "fcntl", "BASE/no/mbox", "true"], ["postlock", "-l", "dotlock", "BASE/no/mbox", "true"], ["postlock", "-l", "dotlock", "BASE/new", "true"],
    ["postlock", "BASE/mbox", "sh", "-c", "exit 75"], ["postlock", "BASE/mbox", "sh", "-c", "kill -TERM $$"], ["postlock", "/dev/null", "true"],
    ["postlog", "-c", "/nonexistent", "x"], ["postlog", "-p"], ["postlog", "-t"], ["postlog", "-p", "panic", "x"], ["postlog", "-p", "INFO", "x"], ["postlog", "-p", "warning", "x"], ["postlog", "-iv", "x"],
    ["postlog", "-t", "", "x"],
    ["postcat", "-c", "/nonexistent", "x"], ["postcat", "-q", ""], ["postcat", "-q", "ABCDEF1234", "x/y"], ["postcat", "-bhe", "/etc/passwd"],
    ["postkick", "public", "qmgr", ""], ["postkick", "private", "nosuch", "W"], ["postkick", "public", "pickup", "W"], ["postkick", "inet", "smtp", "W"], 
    ["postkick", "", "qmgr", "W"], ["postkick", "-c", "/nonexistent", "public", "qmgr", "W"], ["postkick", "-v"], ["postkick", "PUBLIC", "qmgr", "W"],
    ["qmqp-sink"], ["qmqp-sink", "-x"], ["qmqp-source"], ["qmqp-source", "-x"], ["smtp-sink"], ["smtp-sink", "-Z"], ["smtp-source"], ["smtp-source", "-Z"], 
    ["smtp-sink", "x"], ["smtp-sink", "-m", "x", "127.0.0.1:1", "1"], ["smtp-sink", "-q", "foo", "127.0.0.1:1", "1"], ["smtp-sink", "-f", "foo", "127.0.0.1:1", "1"],
    ["smtp-source", "-m", "0", "x"], ["smtp-source", "-s", "x", "x"], ["smtp-source", "-l", "x", "x"], ["smtp-source", "-r", "0", "x"], ["smtp-source", "-F", "/nonexistent", "x"],
    ["smtp-source", "-4", "127.0.0.1:1"], ["smtp-source", "unix:/nonexistent"], ["postmap"], ["postmap", "-x"], ["postalias"], ["postalias", "-x"],
    ["postkick"], ["postkick", "public"], ["postkick", "a", "b", "c", "d"], ["postkick", "foo", "qmgr", "W"], ["postkick", "-x"],
]


# Those that change what others of the list look at run alone, in their order: the queue's messages, locks.
def alone(command):
    return command[0] in ("postsuper", "postlock", "mailq", "newaliases") or (command[0] == "postqueue" and "-c" not in command)


@pytest.fixture(scope="module")
def sent(pair):
    """sendmail's runs, several at a time: most of Debian's sleep for a second before they end with an error. Those that show the queue wait until none
    is at work."""
    def both(args):
        with ThreadPoolExecutor(2) as two:
            return list(two.map(lambda t: pair.run(t, ["sendmail", *args], TEXT), (False, True)))
    looks = [a for a in SENDMAIL if {"-bp", "-q", "-bi", "-bs"} & set(a)]
    rest = [a for a in SENDMAIL if a not in looks]
    with ThreadPoolExecutor(6) as pool:
        out = dict(zip(map(tuple, rest), pool.map(both, rest)))
    return out | {tuple(a): both(a) for a in looks}


@pytest.fixture(scope="module")
def others(pair, sent):
    def both(command):
        stdin = b"x/y\n../z\n" if command[-1] == "-" else b""
        with ThreadPoolExecutor(2) as two:
            return list(two.map(lambda t: pair.run(t, command, stdin), (False, True)))
    out = {tuple(c): both(c) for c in OTHERS if alone(c)}
    free = [c for c in OTHERS if not alone(c)]
    with ThreadPoolExecutor(6) as pool:
        return out | dict(zip(map(tuple, free), pool.map(both, free)))


@pytest.mark.parametrize("args", SENDMAIL, ids=" ".join)
def test_sendmail(sent, args):
    ours, theirs = sent[tuple(args)]
    assert (ours[0], masked(ours[1]), ours[2]) == (theirs[0], masked(theirs[1]), theirs[2])


@pytest.mark.parametrize("command", OTHERS, ids=" ".join)
def test_others(others, command):
    ours, theirs = others[tuple(command)]
    if command[0] == "postlog":  # since 3.8 its lines go to standard error, terminal or not
        ours, theirs = ours[:2], theirs[:2]
    elif ours[1] and not command[0] == "postlock":  # ids, times and our larger Received: field differ
        ours, theirs = (ours[0], masked(ours[1]), ours[2]), (theirs[0], masked(theirs[1]), theirs[2])
    assert ours == theirs


def masked_lines(text):
    """Of postcat: the name of the file, times; what each side has alone."""
    text = re.sub(r"\S+/maildrop/\w+", "FILE", text)
    text = re.sub(r"(time: )\w{3} .*", r"\1T", text)
    return [l for l in text.splitlines() if not re.search(r"message_size:|original_recipient:|=(local|remote)$|attribute: (queue_id|log_message_origin)=", l)]


@pytest.fixture(scope="module")
def dropped(pair):
    """The same message in both maildrops: (our file, their file)."""
    text = b"Subject: s\n folded\nX-Y : z\nno header\n\nbody\n.\n\nend\n"
    out = []
    for theirs in (False, True):
        drop = os.path.join(pair.queue if theirs else pair.ours.queue, "maildrop")
        before = set(os.listdir(drop))
        assert pair.run(theirs, ["sendmail", "-i", "-F", "Me", "-f", "me@x.test", "-R", "hdrs", "-N", "success,delay", "-V", "abc", "a@x.test", "b@x.test"], text)[0] == 0
        name, = set(os.listdir(drop)) - before
        out.append(os.path.join(drop, name))
    yield out
    for f in out:
        os.unlink(f)


@pytest.mark.parametrize("options", ["", "-b", "-h", "-bh", "-e", "-eh", "-eb", "-d", "-db", "-hd", "-dr", "-v -h"])
def test_postcat(pair, dropped, options):
    ours, theirs = (pair.run(t, ["postcat", *options.split(), dropped[t]], b"") for t in (False, True))
    assert (ours[0], masked_lines(ours[1])) == (theirs[0], masked_lines(theirs[1]))


def test_postcat_reads_a_pipe(pair, dropped):
    with open(dropped[0], "rb") as f:
        content = f.read()
    p = subprocess.Popen([os.path.join(BIN, "postcat"), "-b"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert p.communicate(content)[0] == b"no header\n\nbody\n.\n\nend\n" and p.returncode == 0


def test_postcat_offsets(pair, dropped):
    """-o: where a line begins in the file; -s: from there on; -f: whose line it is."""
    with open(dropped[0], "rb") as f:
        content = f.read()
    out = pair.run(False, ["postcat", "-bho", dropped[0]], b"")[1]
    lines = [re.fullmatch(r" *(\d+) (.*)", l).groups() for l in out.splitlines()]
    assert lines and all(content[int(off):].startswith(text.encode() + b"\n") for off, text in lines)
    at = next(i for i, l in enumerate(out.splitlines()) if l.endswith(" body"))
    assert pair.run(False, ["postcat", "-bho", "-s", lines[at][0], dropped[0]], b"")[1].splitlines() == out.splitlines()[at:]
    assert pair.run(False, ["postcat", "-o", "-s", lines[at][0], dropped[0]], b"")[1].splitlines()[0] == out.splitlines()[at]
    assert pair.run(False, ["postcat", "-f", "-h", dropped[0]], b"")[1].splitlines() == [dropped[0] + ": " + l for l in ("Subject: s", " folded", "X-Y : z")]
    assert all(l.startswith(dropped[0] + ": ") for l in pair.run(False, ["postcat", "-f", dropped[0]], b"")[1].splitlines()[1:])


def drawn(screen):
    """All that was written to a terminal that nobody writes to any more; one read may find the beginning alone."""
    text = b""
    try:
        while more := os.read(screen, 65536):
            text += more
    except OSError:  # EIO: the end
        pass
    os.close(screen)
    return text


@pytest.mark.parametrize("args,env", [
    ([], {}), (["-t", "foo/bar", "-p", "warn"], {}), (["-t", "a/b/c", "x"], {}), (["-p", "error", "a", " b", "c d"], {}), (["-p", "fatal", "x"], {}), (["-i", ""], {}),
    (["hi"], {"MAIL_LOGTAG": "env"}), (["-t", "u", "hi"], {"MAIL_LOGTAG": "env/q"}), (["-t", "long", "z" * 3000], {})], ids=str)
def test_postlog_lines(pair, args, env):
    """What stands in the log and on a terminal: tag, priority, blanks of the text, control characters. Far beyond a line's length the rest is cut."""
    out = []
    for theirs in (False, True):
        base = os.path.join(pair.base, "log%d" % theirs)
        for d in ("etc", "q/pid", "q/public"):
            os.makedirs(os.path.join(base, d), exist_ok=True)
        with open(os.path.join(base, "etc/main.cf"), "w", encoding="ascii") as f:
            f.write(f"compatibility_level = 3.6\nqueue_directory = {base}/q\ndata_directory = {base}\nmaillog_file = {base}/log\nmaillog_file_prefixes = {pair.base}\n")
        peer.settle(os.path.join(base, "etc/main.cf"))
        open(os.path.join(base, "log"), "wb").close()
        os.chmod(os.path.join(base, "log"), 0o644)
        screen, terminal = pty.openpty()
        p = subprocess.run([THEIRS["postlog"] if theirs else os.path.join(BIN, "postlog"), *args], input=b"one\ntwo \\\n  three  \n\n\tx\x01y\xff\xc3\xa4\nlast", stdout=subprocess.PIPE,
                           stderr=terminal, env={"PATH": os.environ["PATH"], "MAIL_CONFIG": base + "/etc", **(peer.QUICK if theirs else {}), **env}, check=False)
        os.close(terminal)
        shown = [l[:1900] for l in drawn(screen).splitlines()]
        with open(os.path.join(base, "log"), "rb") as f:
            out.append((p.returncode, p.stdout, shown, [re.sub(rb"^.{15} \S+ |\[\d+\]", b"", l)[:1900] for l in f.read().splitlines()]))
    assert out[0] == out[1]


DIALOGUES = [
    ["EHLO c", "HELO", "EHLO", "HELO x", "HELP", "NOOP", "NOOP x", "EXPN x", "FOO", "foo bar", "", "  ", "AUTH PLAIN x", "STARTTLS", "XCLIENT NAME=x", "XFORWARD NAME=x", "RSET x"],
    ["RSET", "QUIT x", "MAIL", "MAIL FROM", "MAIL FROM:", "MAIL FROM:x", "RSET", "MAIL FROM:<x", "RSET", "MAIL FROM:<a@b> SIZE=99999999999", "MAIL FROM:<a@b> SIZE=x",
     "MAIL FROM:<a@b> BODY=8BITMIME", "MAIL FROM:<a@b>", "RSET", "MAIL FROM:<a@b> BODY=FOO", "MAIL FROM:<a@b> FOO=BAR"],
    ["MAIL FROM:<> RET=FULL ENVID=x", "RCPT", "RCPT TO:", "RCPT TO:<>", "RCPT TO:<a@b> NOTIFY=FOO", "RCPT TO:<a@b> NOTIFY=NEVER,DELAY", "RCPT TO:<a@b> ORCPT=x",
     "RCPT TO:<a@b> ORCPT=rfc822;x", "RCPT TO:<\"a b\"@c>", "RCPT TO:<a@[1.2.3.4]>", "RCPT TO:<@x:a@b>"],
    ["MAIL FROM:<c@d>", "RCPT TO:a@b", "RCPT TO:<local>", "RCPT TO:<postmaster>", "RCPT TO:<a@b> x", "DATA x", "BDAT", "BDAT x"],
    ["RCPT TO:<x>", "DATA", "MAIL FROM:<a@b>", "DATA", "RCPT TO:<c@d>", "DATA", "Subject: x", "", "y", ".", "MAIL FROM:<a@b>", "BDAT 3", "abcRCPT TO:<x@y>", "DATA", "BDAT 3 LAST",
     "abcRSET", "MAIL FROM:<a@b> SMTPUTF8", "RCPT TO:<a@b>", "DATA", ".", "MAIL FROM:<a@b> SIZE=1 BODY=7BIT", "RCPT TO:<a@b>", "BDAT 2 LAST", "xyMAIL FROM:<a@b>", "RCPT TO:<a@b>",
     "BDAT 11 LAST", "x: y", "", "z", "QUIT"],
    ["GET / HTTP/1.0", "QUIT"],
    ["EHLO x", "MAIL FROM:<" + "a" * 300 + "@b>", "RCPT TO:<" + "a" * 300 + "@b>", "MAIL FROM:<a@" + "b" * 300 + ">", "x" * 3000, "QUIT"],
    ["FOO"] * 30,
]


@pytest.mark.parametrize("lines", DIALOGUES, ids=lambda l: l[0].split()[0])
def test_sendmail_bs(pair, lines):
    """The dialogue of a local user, while the suite is down: replies and status."""
    out = []
    for theirs in (False, True):
        etc = os.path.join(pair.base, "bs%d" % theirs)
        if not os.path.exists(etc):
            shutil.copytree(pair.etc if theirs else pair.ours.config, etc)
            with open(os.path.join(etc, "main.cf"), "a", encoding="ascii") as f:  # theirs would ask proxymap, and slow down errors
                f.write("local_recipient_maps =\nsmtpd_error_sleep_time = 0\nsmtpd_junk_command_limit = 1000\n")
            peer.settle(os.path.join(etc, "main.cf"))
        path = THEIRS["sendmail"] if theirs else os.path.join(BIN, "sendmail")
        p = subprocess.run(["sendmail", "-bs"], executable=path, input="".join(l + "\r\n" for l in lines).encode(), capture_output=True, timeout=60, check=False,
                           env={"PATH": os.environ["PATH"], "MAIL_CONFIG": etc, **(peer.QUICK if theirs else {})})
        out.append((p.returncode, re.sub(r"queued as \w+", "queued as ID", p.stdout.decode()).replace("Postern", "Postfix").split("\r\n")))
    assert out[0] == out[1]
