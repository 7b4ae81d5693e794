"""sendmail(1), postdrop(1) and pickup(8): exit status 0 means that the message is on stable storage, by the socket or in maildrop/; the
sender's identity comes from the kernel; recipients as RFC 5322 3.6.3 and 3.6.6 say; every failure is status 75."""
import os
import pwd
import struct
import subprocess

import pytest

import fakemaster as fm
from instance import until

BIN = os.path.join(fm.BUILD, "bin")

LOCAL = 4  # ENVF_LOCAL


class World:
    def __init__(self, tmp, main_cf=""):
        self.dir, self.got, self.code, self.files = str(tmp), [], 0, {}
        self.main_cf = "command_directory = %s\n%s" % (BIN, main_cf)
        self.d = None

    def up(self):
        self.d = fm.Daemon("pickup", self.dir, {"cleanup": self.cleanup}, self.main_cf, "q/public/pickup")

    def down(self):
        """No daemon; only the directories and main.cf."""
        self.up()
        self.d.kill()
        os.unlink(self.d.path)

    def cleanup(self, kind, body):
        if kind == fm.FILE:
            return struct.pack("<H", 452) + fm.span("4.3.1") + fm.span("Insufficient system storage") + b"\0"
        r = fm.Reader(body)
        env, content = r.span(), r.span()
        self.got.append((parse(env), content.decode()))
        return struct.pack("<H", self.code) + fm.span("5.7.1" if self.code else "") + fm.span("no") + fm.span("X")

    def run(self, *args, text="Subject: t\n\nbody\n", name="sendmail", **env):
        return subprocess.run([name, *args], executable=os.path.join(BIN, "sendmail"), input=text.encode(), capture_output=True, timeout=60,
                              env=dict(os.environ, MAIL_CONFIG=self.dir + "/etc", **env))

    def drop(self):
        return sorted(os.listdir(self.dir + "/q/maildrop"))


def parse(b):
    r = fm.Reader(b)
    e = {"qid": r.span().decode(), "arrival": r.num("q"), "sender": r.span().decode(), "flags": r.num("I"), "ret": r.num("H"), "body": r.num("H"),
         "envid": r.span().decode()}
    r.span(), r.num("Q"), r.num("H")
    for _ in range(12):
        r.span()
    e["verp"] = r.span().decode()
    e["name"] = r.span().decode()
    e["rcpts"] = []
    for _ in range(r.num("I")):
        e["rcpts"].append((r.span().decode(), r.span() and 0, r.span() and 0, r.num("H"), r.num("H")))
    return e


@pytest.fixture
def world(tmp_path):
    w = World(tmp_path)
    w.up()
    yield w
    w.d.kill()


def rcpts(w):
    return [r[0] for r in w.got[-1][0]["rcpts"]]


def test_plain(world):
    p = world.run("-f", "me@example.org", "-i", "you@example.org", "Other <two@example.org>, three@example.org")
    assert (p.returncode, p.stderr) == (0, b"")
    env, content = world.got[0]
    assert env["sender"] == "me@example.org" and rcpts(world) == ["you@example.org", "two@example.org", "three@example.org"]
    head = "Received: by mx.example.org (Postern, from userid %d)\n\tid %s; " % (os.getuid(), env["qid"])
    assert content.startswith(head) and content.endswith("\nSubject: t\n\nbody\n")
    assert "%s: uid=%d from=<me@example.org>" % (env["qid"], os.getuid()) in world.d.text()
    assert env["flags"] & 4


@pytest.mark.parametrize("args", [("-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"), ("-odi", "root"), ("-oem", "-oi", "--", "root"),
                                  ("-oi", "-froot", "root"), ("-U", "-G", "-h", "5", "-L", "tag", "-p", "x", "-Am", "root"), ("root", "-i")])
def test_what_callers_pass(world, args):
    assert world.run(*args).returncode == 0
    assert rcpts(world) == ["root"]


def test_extract(world):
    text = "To: A <a@x.example>,\n b@x.example\nCc: c@x.example\nBcc: d@x.example\n\nTo: no@x.example\n"
    assert world.run("-t", "-i", "e@x.example", text=text).returncode == 0
    assert sorted(rcpts(world)) == ["a@x.example", "b@x.example", "c@x.example", "d@x.example", "e@x.example"]
    assert world.run("-ti", text="Resent-To: r@x.example\n" + text).returncode == 0
    assert rcpts(world) == ["r@x.example"]


def test_dot_from_and_crlf(world):
    assert world.run("x", text="From a Sat\n>From b\nSubject: y\r\n\r\none\r\n.\ntwo\n").returncode == 0
    assert world.got[-1][1].endswith("+0000 (UTC)\nSubject: y\n\none\n") or world.got[-1][1].endswith("\nSubject: y\n\none\n")
    assert world.run("-i", "x", text="\na\n.\nb").returncode == 0
    assert world.got[-1][1].endswith("\na\n.\nb\n")


def test_dsn_options(world):
    assert world.run("-N", "success,delay", "-R", "hdrs", "-V", "id1", "x").returncode == 0
    env = world.got[-1][0]
    assert env["ret"] == 2 and env["envid"] == "id1" and env["rcpts"][0][3] == 2 + 8


@pytest.mark.parametrize("args", [(), ("-n", "x"), ("-bz", "x"), ("-t",), ("-X", "f", "x"), ("-bs", "x"), ("-XVab", "x"), ("-qI",), ("-qx",), ("-k",), ("-f",), ("-bv", "-t"), ("-B", "9BIT", "x"), ("-O", "requiretls=yes", "x")])
def test_every_failure_is_75(world, args):
    p = world.run(*args)
    assert p.returncode == 75 and b"sendmail: fatal: " in p.stderr


@pytest.mark.parametrize("sender,taken", [("a b@c", "a"), ("one@x.example, two@x.example", "one@x.example")])
def test_malformed_sender(world, sender, taken):
    """Said as Postfix says it; the mail is sent all the same."""
    p = world.run("-f", sender, "x")
    assert p.returncode == 0 and ("sendmail: warning: -f option specified malformed sender: %s\n" % sender).encode() in p.stderr
    assert taken is None or world.got[-1][0]["sender"] == taken
    for good in ("<>", "", "me", "<me@x.example>", "near!far!joe", '"a b"@x.example'):
        p = world.run("-f", good, "x")
        assert (p.returncode, p.stderr) == (0, b""), good
    for named in ("Me <me@x.example>", "me@x.example (Me)", '"Me, myself" <me@x.example>'):
        p = world.run("-f", named, "x")
        assert (p.returncode, p.stderr, world.got[-1][0]["sender"]) == (0, b"", "me@x.example")


def test_bad_dsn_options_are_ignored(world):
    """As Postfix does: mail is worth more than an option."""
    for args in (("-N", "foo"), ("-R", "x"), ("-V", ""), ("-N", "never,delay")):
        p = world.run(*args, "x")
        assert p.returncode == 0 and b"sendmail: warning: " in p.stderr and b"ignored" in p.stderr
        assert world.got[-1][0]["ret"] == 0 and world.got[-1][0]["rcpts"][0][3] == 0


@pytest.mark.parametrize("args,delims", [(("-XV",), "+="), (("-XV-=",), "-="), (("-V", "=-"), "=-"), (("-V=+",), "=+")])
def test_verp_options(world, args, delims):
    assert world.run(*args, "-f", "l@x.example", "x").returncode == 0
    assert world.got[-1][0]["verp"] == delims


def test_rmail(world):
    """UUCP From_ lines: each adds its host to the path, the last names the user; no such line is status 65, no recipient 64."""
    text = ">From joe Sat Jan  1 00:00:00 2000 remote from near\n>From joe Sat Jan  1 00:00:00 2000 remote from far\nSubject: u\n\nx\n.\ny\n"
    assert world.run("a@x.example", "b", text=text, name="rmail").returncode == 0
    assert world.got[-1][0]["flags"] & LOCAL == 0  # the header is a stranger's, as with -G
    assert world.run("-G", "x").returncode == 0 and world.got.pop()[0]["flags"] & LOCAL == 0
    assert world.run("x").returncode == 0 and world.got.pop()[0]["flags"] & LOCAL == LOCAL
    assert world.got[-1][0]["sender"] == "near!far!joe" and rcpts(world) == ["a@x.example", "b"] and world.got[-1][1].endswith("Subject: u\n\nx\n.\ny\n")
    assert world.run("a", text="Subject: u\n\nx\n", name="rmail").returncode == 65
    assert world.run(name="rmail").returncode == 64


def test_refused(world):
    world.code = 550
    assert world.run("x").returncode == 75
    assert world.drop() == []


def test_later_goes_to_maildrop(world):
    world.code = 451
    assert world.run("x").returncode == 0
    assert len(world.drop()) == 1


def test_large_content_is_refused_with_452_and_kept(world):
    assert world.run("x", text="S: x\n\n" + "y" * 300000).returncode == 0
    assert len(world.drop()) == 1


def test_many_recipients_are_split(world):
    assert world.run(*["u%d@x.example" % i for i in range(2500)]).returncode == 0
    assert [len(e["rcpts"]) for e, _ in world.got] == [1000, 1000, 500]


def test_down_then_up(tmp_path):
    w = World(tmp_path)
    w.down()
    p = w.run("-f", "me", "you", text="Subject: later\n\nbody\n")
    assert p.returncode == 0 and b"unable to look up public/pickup" in p.stderr
    assert len(w.drop()) == 1
    with open(w.dir + "/q/maildrop/FFFFFF00000000", "wb") as f:
        f.write(b"garbage" * 2000)
    os.symlink("/etc/passwd", w.dir + "/q/maildrop/EEEEEE00000000")
    os.mkfifo(w.dir + "/q/maildrop/DDDDDD00000000")
    w.up()
    assert until(lambda: [n for n in w.drop() if not n.startswith("EEEEEE")] == [])
    assert len(w.got) == 1 and w.got[0][0]["sender"] == "me" and w.got[0][1].endswith("Subject: later\n\nbody\n")
    assert "FFFFFF00000000" in os.listdir(w.dir + "/q/corrupt")
    assert "uid=%d from=<me>" % os.getuid() in w.d.text()
    w.d.kill()


def test_forged_fields_are_forgotten(world):
    """A user may not say where the message came from, nor skip checks, nor set states."""
    p = subprocess.run(["/usr/bin/python3", "-c", """
import sys, socket
sys.path.insert(0, %r)
import fakemaster as fm
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(%r)
e = fm.envelope("", "a", ["b"], flags=0xffff, client_name="trusted.example", content_filter="evil:x", redirect="r@x")
s.send(fm.record(fm.PICKUP, fm.span(e) + b"\\0" + fm.span("\\nx\\n") + b"\\0"))
print(fm.answer(s)[0][0])
""" % (os.path.dirname(fm.__file__), world.d.path)], capture_output=True, text=True)
    assert p.stdout == "0\n", p.stderr
    assert world.got[-1][0]["flags"] & ~(1 | 4 | 128 | 256 | 8192 | 32768) == 0


def test_postdrop_takes_no_nonsense(tmp_path):
    w = World(tmp_path)
    w.down()
    for data in (b"", b"PSTDROP1\xff\xff\xff\xff", b"PSTDROP1\4\0\0\0abcd", os.urandom(5000)):
        p = subprocess.run([os.path.join(BIN, "postdrop")], input=data, capture_output=True, env={"MAIL_CONFIG": w.dir + "/etc"})
        assert p.returncode == 75
    assert w.drop() == []


@pytest.mark.parametrize("running", [True, False])
def test_senders_of_a_login_name(tmp_path, running):
    """local_login_sender_maps: user, user@domain (extensions do not count), @domain, <>; anything else is refused, and so is a name without entry. The same
    whether pickup takes it or postdrop; what postdrop took is delivered, whatever the table says later."""
    me = pwd.getpwuid(os.getuid()).pw_name
    w = World(tmp_path, "recipient_delimiter = +\nmyorigin = here.test\nlocal_login_sender_maps = inline:{ { %s = kim, lee@far.test @all.test } }\n" % me)
    w.up() if running else w.down()
    try:
        for sender in ("kim@here.test", "kim+x@here.test", "LEE@far.test", "lee+y@far.test", "anyone@all.test"):
            assert w.run("-f", sender, "r@x.test").returncode == 0, sender
        for sender in ("kim@far.test", "lim@here.test", "lee@all.test.far.test", "", "x@sub.all.test"):
            p = w.run("-f", sender, "r@x.test")
            assert p.returncode == 75 and p.stderr == ("sendmail: fatal: %s(%d): not authorized to use sender='%s'\n" % (me, os.getuid(), sender)).encode(), p.stderr
        assert len(w.got if running else w.drop()) == 5
        p = w.run("-bs", text="EHLO x\r\nMAIL FROM:<kim@far.test>\r\nRCPT TO:<r@x.test>\r\nDATA\r\n\r\n.\r\nQUIT\r\n")
        assert b"\r\n550 5.7.1 not authorized to use sender='kim@far.test'\r\n" in p.stdout
        if not running:
            w.main_cf = "command_directory = %s\nlocal_login_sender_maps = inline:{ { nosuchuser = * } }\nauthorized_submit_users =\n" % BIN
            w.up()
            assert until(lambda: len(w.got) == 5 and w.drop() == [])
    finally:
        w.d.kill()


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("param,value,text", [
    ("local_login_sender_maps", "inline:{ { nosuchuser = * } }", "{me}: not authorized to use sender='kim@here.test'"),
    ("local_login_sender_maps", "texthash:/nonexistent", None), ("local_login_sender_maps", "inline:{", None), ("authorized_submit_users", "", "User {me} is not allowed to submit mail"),
    ("authorized_submit_users", "!{name}, static:all", "User {me} is not allowed to submit mail"), ("authorized_submit_users", ".{name}", "User {me} is not allowed to submit mail"),
    ("authorized_submit_users", "fail:x", None)])
def test_who_may_submit(tmp_path, running, param, value, text):
    """Who may not hears it at once; where a table cannot be asked nobody may."""
    name = pwd.getpwuid(os.getuid()).pw_name
    w = World(tmp_path, "%s = %s\n" % (param, value.replace("{name}", name)))
    w.up() if running else w.down()
    try:
        for args in (("-f", "kim@here.test", "r@x.test"), ("-bs",))[:2 if text and param.startswith("auth") else 1]:
            p = w.run(*args)
            assert p.returncode == 75 and p.stdout == b"" and w.got == [] and w.drop() == []
            assert text is None or p.stderr.decode().endswith("sendmail: fatal: %s\n" % text.replace("{me}", "%s(%d)" % (name, os.getuid()))), p.stderr
    finally:
        w.d.kill()


def test_queued_as(world):
    """The id that the log has, and when the suite is down that of the file in maildrop/."""
    lines = "EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<r@x.test>\r\nDATA\r\nx: y\r\n\r\nz\r\n.\r\nQUIT\r\n"
    p = world.run("-bs", text=lines)
    assert ("\r\n250 2.0.0 Ok: queued as %s\r\n" % "X").encode() in p.stdout
    world.code = 451
    p = world.run("-bs", text=lines)
    assert ("\r\n250 2.0.0 Ok: queued as %s\r\n" % world.drop()[0]).encode() in p.stdout


@pytest.mark.parametrize("value,first,kept", [("always", "\n", False), ("strict", "\r\n", False), ("strict", "\n", True), ("never", "\r\n", True)])
def test_sendmail_fix_line_endings(tmp_path, value, first, kept):
    w = World(tmp_path, f"sendmail_fix_line_endings = {value}\n")
    w.up()
    try:
        assert w.run("r@x.test", text=f"Subject: x{first}{first}one\r\ntwo\n").returncode == 0
        assert ("one\r\ntwo\n" in w.got[0][1]) == kept and ("Subject: x\r" in w.got[0][1]) == (value == "never")
    finally:
        w.d.kill()
