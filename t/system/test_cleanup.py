"""cleanup(8): 0 is answered when the message is on stable storage, whole, with the header that it must have (RFC 5321 4.2.5, RFC 5322 3.6);
a killed process loses nothing that was acknowledged."""
import os
import struct
import subprocess
import threading
import time

import pytest

import fakemaster as fm
from instance import PATIENCE, until

MSG = "From: a@example.org\nTo: b@example.org\nSubject: x\nDate: Sat, 21 Nov 2026 00:00:00 +0000\nMessage-ID: <1@x>\n\nbody\n"
POSTCAT = os.path.join(fm.BUILD, "bin/postcat")


class World:
    def __init__(self, tmp, main_cf=""):
        self.dir, self.main_cf, self.new, self.rescans, self.bounced = str(tmp), main_cf, [], 0, []
        self.start()

    def start(self):
        self.d = fm.Daemon("cleanup", self.dir, {"qmgr": self.qmgr, "rewrite": self.router, "bounce": self.bounce}, self.main_cf)
        self.s = self.d.connect()

    def qmgr(self, kind, body):
        r = fm.Reader(body)
        if kind == fm.QMGR_NEW:
            self.new.append((r.num("H"), r.num("I"), r.num("I"), r.span().decode()))
            return None
        self.rescans += 1
        return struct.pack("<HI", 0, 0) + fm.span("")

    def router(self, kind, body):
        r = fm.Reader(body)
        if kind == fm.EXPAND:
            sender, _, _, n = r.span(), r.num("B"), r.num("B"), r.num("I")
            addrs = [r.span() for _ in range(n)]
            fix = lambda a: a if b"@" in a or not a else a + b"@example.org"
            if b"nowhere" in addrs:  # an answer that would be asked for again and again
                return struct.pack("<H", 0) + fm.span("") + fm.span(sender) + struct.pack("<I", 1) + fm.span("x@example.org") + struct.pack("<IBIII", 0, 0, 0, 0, 0)
            out = []
            for i, a in enumerate(addrs):
                out += [(x, i) for x in ([b"x@example.org", b"y@example.org"] if a == b"list@example.org" else [fix(a)])]
            return (struct.pack("<H", 0) + fm.span("") + fm.span(fix(sender)) + struct.pack("<I", len(out)) +
                    b"".join(fm.span(a) + struct.pack("<IB", i, 0) for a, i in out) + struct.pack("<III", n, 0, 0))
        r.num("B")
        r.num("H")
        n = r.num("I")
        addrs = [r.span() for _ in range(n)]
        return (struct.pack("<H", 0) + fm.span("") + struct.pack("<I", n) +
                b"".join(fm.span(a if b"@" in a else a + b"@example.org") for a in addrs))

    def bounce(self, kind, body):
        self.bounced.append(body)
        return struct.pack("<H", 0) + fm.span("")

    def show(self, qid, *flags):
        env = dict(os.environ, MAIL_CONFIG=self.dir + "/etc")
        p = subprocess.run([POSTCAT, *flags, "-q", qid], capture_output=True, text=True, env=env)
        assert p.returncode == 0, p.stderr
        return p.stdout

    def wait(self, cond):
        return until(cond, every=0.02)


@pytest.fixture
def world(tmp_path, request):
    w = World(tmp_path, getattr(request, "param", ""))
    yield w
    w.d.kill()


def test_answers_of_the_router_lead_to_an_end(world):
    code, _, _ = fm.submit(world.s, "AAAAA123456799", MSG, rcpts=["nowhere"])
    assert code[0] == 451 and not world.new


def test_small_message_in_slot_and_qmgr_told(world):
    code, _, _ = fm.submit(world.s, "AAAAA123456701", MSG)
    assert code[0] == 0, code
    assert world.wait(lambda: world.new) and world.new[0][3] == "AAAAA123456701" and world.new[0][0] == 0
    assert world.show("AAAAA123456701", "-bh") == MSG
    assert "AAAAA123456701: message-id=<1@x>" in world.d.text()


def test_local_mail_is_completed(world):
    code, _, _ = fm.submit(world.s, "AAAAA123456702", "Subject: hi\nTo: root\nBcc: secret@x.example\n\nbody\n", sender="root", rcpts=("root",),
                           flags=4, full_name="Charlie, Root")
    assert code[0] == 0, code
    text = world.show("AAAAA123456702", "-bh")
    head = text.split("\n\n")[0]
    assert "secret" not in text and "To: root@example.org" in head
    assert 'From: "Charlie, Root" <root@example.org>' in head
    assert "\nMessage-Id: <" in head and ".AAAAA123456702@mx.example.org>" in head and "\nDate: " in head
    assert text.endswith("\n\nbody\n")


def test_full_name_beyond_ascii(world):
    """full_name_encoding_charset: RFC 2047 words, so that the field is ASCII."""
    code, _, _ = fm.submit(world.s, "AAAAA12345672A", "Subject: hi\n\nbody\n", sender="root", rcpts=("root",), flags=4, full_name="J\u00f6rg, M")
    assert code[0] == 0 and "From: =?utf-8?Q?J=C3=B6rg=2C_M?= <root@example.org>" in world.show("AAAAA12345672A", "-bh")


def test_remote_mail_is_left_alone(world):
    code, _, _ = fm.submit(world.s, "AAAAA123456703", "Subject: hi\n\nbody\n")
    assert code[0] == 0
    assert world.show("AAAAA123456703", "-bh") == "Subject: hi\n\nbody\n"
    assert "AAAAA123456703: message-id=<>" in world.d.text()


def test_header_ends_with_text(world):
    assert fm.submit(world.s, "AAAAA123456704", "hello there\nworld\n", flags=4)[0][0] == 0
    text = world.show("AAAAA123456704", "-bh")
    assert text.endswith("\n\nhello there\nworld\n") and text.startswith("Message-Id: ")


ENDED = "Subject: x\n\ntext: y\n"
NOT_ENDED = "Subject: x\nno field: y\n"
WHY = "message header was not terminated by empty line"


@pytest.mark.parametrize("action, code, header", [("fix_quietly", 0, "Subject: x\n"), ("add_header", 0, f"Subject: x\nMIME-Error: {WHY}\n"), ("reject", 550, None)])
def test_non_empty_end_of_header(tmp_path, action, code, header):
    w = World(tmp_path, f"non_empty_end_of_header_action = {action}\n")
    try:
        assert fm.submit(w.s, "FFFFF123456701", ENDED)[0][0] == 0  # nothing is wrong with it
        assert w.show("FFFFF123456701", "-bh") == ENDED
        got = fm.submit(w.s, "FFFFF123456702", NOT_ENDED)[0]
        assert got[0] == code
        if code:
            assert got == (550, "5.6.0", WHY)
            assert f"FFFFF123456702: reject: mime-error {WHY}: no field: y from local;" in w.d.text()
        else:
            assert w.show("FFFFF123456702", "-bh") == header + "\nno field: y\n"
        fds = by_file(w, "FFFFF123456703", "Subject: x\n" + "y" * 100 + "\n" + "more\n" * 60000, code)
        if not code:
            assert w.show("FFFFF123456703", "-bh") == header + "\n" + "y" * 100 + "\n" + "more\n" * 60000
        os.close(fds[0])
        only = "Subject: header only\n"  # ends with the message
        assert fm.submit(w.s, "FFFFF123456704", only)[0][0] == 0
    finally:
        w.d.kill()


def test_alias_expansion_and_duplicates(world):
    assert fm.submit(world.s, "AAAAA123456705", MSG, rcpts=("b@example.org", "b@example.org", "c@example.org"))[0][0] == 0
    assert world.show("AAAAA123456705", "-e").count("\nrecipient: ") == 2
    assert fm.submit(world.s, "AAAAA123456715", MSG, rcpts=("list@example.org", "bob"))[0][0] == 0
    text = world.show("AAAAA123456715", "-e")
    assert "original_recipient: list@example.org\nrecipient: x@example.org" in text and "recipient: bob@example.org" in text


def test_duplicates_differ_in_case_alone(world):
    assert fm.submit(world.s, "AAAAA123456788", MSG, rcpts=["One@Example.org", "one@example.org"])[0][0] == 0
    assert world.show("AAAAA123456788", "-e").count("\nrecipient: ") == 1


def test_too_many_hops(world):
    code, _, _ = fm.submit(world.s, "AAAAA123456706", "Received: x\n" * 51 + MSG)
    assert code == (554, "5.4.0", "Error: too many hops")


@pytest.mark.parametrize("world", ["message_size_limit = 2000"], indirect=True)
def test_size_limit(world):
    assert fm.submit(world.s, "AAAAA123456707", MSG + "x" * 2000)[0][:2] == (552, "5.3.4")
    assert fm.submit(world.s, "AAAAA123456708", MSG)[0][0] == 0


def by_file(world, qid, body, refused=0):
    world.s.send(fm.record(fm.FILE, fm.span(qid)))
    code, _, fds = fm.answer(world.s)
    assert code[0] == 0 and len(fds) == 1
    os.pwrite(fds[0], body.encode(), 4096)
    with pytest.raises(OSError):
        os.read(fds[0], 1)
    world.s.send(fm.record(fm.SUBMIT, fm.span(fm.envelope(qid, "a@example.org", ["b@example.org"])) + fm.span("") +
                           struct.pack("<BQ", 1, len(body.encode()))))
    assert fm.answer(world.s)[0][0] == refused
    return fds


@pytest.mark.parametrize("world", ["message_size_limit = 50000000"], indirect=True)
def test_large_message_through_a_file(world):
    body = "Subject: big\nBcc: secret@x.example\n\n" + "line of text\r\n" * 300000
    fds = by_file(world, "AAAAA123456709", body)
    assert os.path.exists(world.dir + "/q/incoming/AAAAA123456709")
    want = body.replace("Bcc: secret@x.example\n", "").replace("\r", " ")
    assert world.show("AAAAA123456709", "-bh") == want
    assert world.show("AAAAA123456709", "-bhr").startswith(body.replace("\r", " "))  # as it is stored, and of what pieces it is made
    pieces = [tuple(map(int, l.split()[1:])) for l in world.show("AAAAA123456709", "-er").splitlines() if l.startswith("pointer_record: ")]
    with open(world.dir + "/q/incoming/AAAAA123456709", "rb") as f:
        stored = f.read()
    assert len(pieces) > 1 and b"".join(stored[off:off + n] for off, n in pieces) == want.encode()
    os.close(fds[0])


def test_message_of_a_large_slot(world):
    """What came through a file and fits: it takes no name, as soon as the file of large slots, which the first of them asks for, is there."""
    body = "Subject: larger\nBcc: secret@x.example\n\n" + "line of text\r\n" * 10000
    os.close(by_file(world, "AAAAA123456730", body)[0])
    assert world.wait(lambda: sorted(os.listdir(world.dir + "/q/pool")) == ["large.1", "slots.0"])
    os.remove(world.dir + "/q/incoming/AAAAA123456730")
    end = time.monotonic() + PATIENCE
    for n in range(10000):  # cleanup may not have noticed yet
        qid = "AAAAA12346%04d" % n
        fds = by_file(world, qid, body)
        if os.listdir(world.dir + "/q/incoming") == [] or time.monotonic() > end:
            break
        os.remove(world.dir + "/q/incoming/" + qid)
        os.close(fds[0])
        time.sleep(0.01)
    want = body.replace("Bcc: secret@x.example\n", "").replace("\r", " ")
    assert world.show(qid, "-bh") == want
    assert world.wait(lambda: any(n[:2] == (0, 256) for n in world.new))
    os.pwrite(fds[0], b"too late", 4096 + 100)  # the client has a file that is nobody's now
    os.close(fds[0])
    assert world.show(qid, "-bh") == want


def test_client_gone_leaves_nothing(world):
    s = world.d.connect()
    s.send(fm.record(fm.FILE, fm.span("AAAAA123456710")))
    _, _, fds = fm.answer(s)
    os.close(fds[0])
    s.close()
    assert fm.submit(world.s, "AAAAA123456711", MSG)[0][0] == 0
    assert os.listdir(world.dir + "/q/incoming") == []


CHECKS = """header_checks = regexp:{dir}/checks
body_checks = regexp:{dir}/body
"""


@pytest.fixture
def checked(tmp_path):
    (tmp_path / "checks").write_text("/^Subject: bad/ REJECT no such thing\n/^Subject: old/ REPLACE Subject: new\n/^X-Drop:/ IGNORE\n"
                                     "/^Subject: hold/ HOLD for a look\n/^Subject: away/ DISCARD\n/^Subject: pre/ PREPEND X-Pre: yes\n"
                                     "/^Subject: redir/ REDIRECT z@example.org\n")
    (tmp_path / "body").write_text("/^evil/ REJECT evil body\n/^swap/ REPLACE swapped\n/^gone/ IGNORE\n")
    w = World(tmp_path, CHECKS.format(dir=tmp_path))
    yield w
    w.d.kill()


def test_checks(checked):
    go = lambda n, text: fm.submit(checked.s, "BBBBB1234567%02d" % n, text)[0]
    assert go(1, "Subject: bad\n\nx\n") == (550, "5.7.1", "no such thing")
    assert go(2, "Subject: x\n\nfine\nevil\n") == (550, "5.7.1", "evil body")
    assert go(3, "Subject: old\nX-Drop: 1\n\none\nswap it\ngone\ntwo\n")[0] == 0
    assert checked.show("BBBBB123456703", "-bh") == "Subject: new\n\none\nswapped\ntwo\n"
    assert go(4, "Subject: hold\n\nx\n")[0] == 0
    assert os.path.exists(checked.dir + "/q/hold/BBBBB123456704")
    assert go(5, "Subject: away\n\nx\n")[0] == 0
    assert go(6, "Subject: pre\n\nx\n")[0] == 0
    assert checked.show("BBBBB123456706", "-h").startswith("X-Pre: yes\nSubject: pre\n")
    assert go(7, "Subject: redir\n\nx\n")[0] == 0
    assert checked.show("BBBBB123456707", "-e").count("\nrecipient: ") == 1
    assert go(10, "Message-ID: <before@id>\nSubject: bad\n\nx\n")[0] == 550  # the id of a refused message is logged when it was seen, as Postfix does
    assert go(11, "Subject: bad\nMessage-ID: <after@id>\n\nx\n")[0] == 550
    assert go(12, "Subject : bad\n\nx\n")[0] == 550  # white space before the colon hides no field, and goes
    assert go(13, "X-Spaced \t: y\n\nx\n")[0] == 0
    assert checked.show("BBBBB123456713", "-h").startswith("X-Spaced: y\n")
    log = checked.d.text()
    assert "BBBBB123456710: message-id=<before@id>" in log and "BBBBB123456711: message-id" not in log
    assert "BBBBB123456701: reject: header Subject: bad from local; from=<a@example.org> to=<b@example.org>: 5.7.1 no such thing" in log
    assert "BBBBB123456705: discard: header Subject: away" in log
    s = checked.d.connect("bounce")  # our own mail is not checked, unless bounce(8) says so (internal_mail_filter_classes)
    assert fm.submit(s, "BBBBB123456708", "Subject: bad\n\nx\n", flags=16)[0][0] == 0
    assert fm.submit(s, "BBBBB123456798", "Subject: bad\n\nx\n")[0][0] == 550


def test_local_submission_that_is_refused_bounces(checked):
    s = checked.d.connect("pickup")
    assert fm.submit(s, "BBBBB123456709", "Subject: bad\n\nx\n", flags=4)[0][0] == 0
    assert len(checked.bounced) == 1
    assert "BBBBB123456709: to=<b@example.org>, relay=none" in checked.d.text()


STRICT = """message_strip_characters = \\001z
message_reject_characters = \\002
strict_7bit_headers = yes
strict_8bitmime_body = yes
strict_mime_encoding_domain = yes
mime_nesting_limit = 2
mime_boundary_length_limit = 3
duplicate_filter_limit = 1
header_from_format = obsolete
header_checks = regexp:{dir}/checks
"""


def test_strict(tmp_path):
    (tmp_path / "checks").write_text("/^Subject: pass/ PASS\n/^Subject: acc/ ACCEPT\n")
    w = World(tmp_path, STRICT.format(dir=tmp_path))
    n = iter(range(100))

    def go(text, s=w.s, **kw):
        w.last = "CCCCC1234567%02d" % next(n)
        return fm.submit(s, w.last, text, **kw)[0]
    try:
        assert go("Subject: az\n\nb\001zc\n")[0] == 0
        assert w.show(w.last, "-bh") == "Subject: a\n\nbc\n"
        assert go("Subject: a\n\nb\002c\n") == (550, "5.7.1", "disallowed character")
        assert ": 5.7.1 disallowed character" in w.d.text()
        assert go("Subject: \u00e9\n\nx\n") == (550, "5.6.0", "improper use of 8-bit data in message header")
        assert go("Subject: x\n\n\u00e9\n") == (550, "5.6.0", "improper use of 8-bit data in message body")
        assert go("Subject: pass\n\n\u00e9\002\n".replace("\002", ""))[0] == 0
        assert go("Subject: acc\nContent-Transfer-Encoding: 8bit\n\n\u00e9\n")[0] == 0
        head = "Content-Type: multipart/mixed; boundary=abcdef\nContent-Transfer-Encoding: %s\n\n--abcXXX\n"
        assert go(head % "base64" + "\nx\n") == (550, "5.6.0", "invalid message/* or multipart/* encoding domain")
        assert go(head % "8bit" + "Content-Type: text/plain\n\n\u00e9\n")[1] == "5.6.0"
        assert go(head % "7bit" + "Content-Transfer-Encoding: 8bit\n\n\u00e9\n")[0] == 0  # three bytes of a boundary are compared
        deep = "".join("Content-Type: multipart/mixed; boundary=%s\n\n--%s\n" % (b, b) for b in ("aaa", "bbb", "ccc"))
        assert go(deep + "\nx\n") == (550, "5.6.0", "MIME nesting exceeds safety limit")
    finally:
        w.d.kill()


@pytest.mark.parametrize("settings, text, want", [
    ("", "To: bare\n\nx\n", "To: bare\n\nx\n"),  # a stranger's header is his
    ("remote_header_rewrite_domain = domain.invalid\n", "To: bare, c@d.example\nSubject: bare\n\nx\n", "To: bare@example.org, c@d.example\nSubject: bare\n\nx\n"),
    ("remote_header_rewrite_domain = domain.invalid\nheader_address_token_limit = 4\n", "To: a, b, c, d, e, f, g\n\nx\n", None)])
def test_remote_header_rewriting(tmp_path, settings, text, want):
    """remote_header_rewrite_domain: addresses of strangers' headers are completed; header_address_token_limit bounds how much of a field is looked at."""
    w = World(tmp_path, settings)
    try:
        assert fm.submit(w.s, "DDDDD123456701", text)[0][0] == 0
        got = w.show("DDDDD123456701", "-bh")
        if want is not None:
            assert got == want
        else:
            assert got.startswith("To: a@example.org, ") and got.split("\n\n")[0].endswith("\tg") and got.count("@example.org") < 7
    finally:
        w.d.kill()


@pytest.mark.parametrize("form, name, want", [
    ("standard", "Charlie Root", "From: Charlie Root <root@example.org>"), ("standard", "Charlie, Root", 'From: "Charlie, Root" <root@example.org>'),
    ("obsolete", "Charlie Root", "From: root@example.org (Charlie Root)"), ("obsolete", "Charlie, Root", "From: root@example.org (Charlie, Root)"),
    ("obsolete", "Char(lie", "From: root@example.org (Char\\(lie)")])
def test_header_from_format(tmp_path, form, name, want):
    w = World(tmp_path, f"header_from_format = {form}\n")
    try:
        assert fm.submit(w.s, "DDDDD123456702", "Subject: x\n\nx\n", sender="root", flags=4, full_name=name)[0][0] == 0
        assert "\n" + want + "\n" in "\n" + w.show("DDDDD123456702", "-h")
    finally:
        w.d.kill()


PART = "Content-Type: %s\n\n--b\n%sX-Z: z\n\nx\n--b--\n"


def test_headers_of_parts(tmp_path):
    """mime_header_checks and nested_header_checks see a field however it is written, and no line that is none."""
    (tmp_path / "mime").write_text("/^Content-Disposition: .*evil/ REJECT evil\n")
    (tmp_path / "nested").write_text("/^Subject: bad/ REJECT bad\n")
    w = World(tmp_path, f"mime_header_checks = regexp:{tmp_path}/mime\nnested_header_checks = regexp:{tmp_path}/nested\n")
    n = iter(range(10, 100))
    go = lambda text: fm.submit(w.s, "CCCCC1234568%02d" % next(n), text)[0][0]
    evil, mixed = "Content-Disposition: attachment; name=evil\n", "multipart/mixed; boundary=b"
    try:
        for kind in (mixed, "multipart (x) / mixed; boundary (z) = b", "multipart/mixed; x-boundary=no; boundary=b", "multipart/mixed; name=\"boundary=c\"; boundary=b",
                     "text/plain\nContent-Type: " + mixed, mixed + "\nContent-Type: text/plain",
                     "multipart/mixed; boundary=no; boundary=b", mixed + "; boundary=no", "multipart/mixed; " + "boundary=no; " * 9 + "boundary*0=b"):
            assert go(PART % (kind, evil)) == 550, kind
        for head in (evil.replace(":", " \t:"), "X: " + "y" * 5000 + "\n" + evil, "X: " + "y" * 2045 + "\n" + evil, evil.replace("name", "x\n\tname")):
            assert go(PART % (mixed, head)) == 550, head
        assert go(PART % (mixed, "no field\n" + evil)) == 0
        assert go(PART % (mixed, "X y: z\n" + evil)) == 0
        bad = "\nSubject : bad\n\nx\n"
        for kind in ("message/rfc822\n", "message (x) / RFC822\n", "message/rfc822\nContent-Transfer-Encoding: base64\n", "message/global\n"):
            assert go("Content-Type: " + kind + bad) == 550, kind
        assert go("Content-Type: message/rfc822x\n" + bad) == 0
        assert go("Content-Type: message/rfc822\n\n>From x\n" + bad[1:]) == 0  # text, as at the beginning of a message
        assert go("Content-Type: multipart/digest; boundary=b\n\n--b\n" + bad) == 550
        assert go("Content-Type: multipart/digest; boundary=b\n\n--b\nContent-Type: text/plain\n" + bad) == 0
        text = PART % (mixed, "Content-Type : text/plain\n")
        assert go(text) == 0  # and what no rule changes stays as it is
        assert w.show("CCCCC1234568%02d" % (next(n) - 1), "-bh") == text
    finally:
        w.d.kill()


def test_no_mime_processing(tmp_path):
    (tmp_path / "body").write_text("/^X-In-Part/ REJECT seen as body\n")
    w = World(tmp_path, "disable_mime_input_processing = yes\nbody_checks = regexp:%s/body\n" % tmp_path)
    try:
        assert fm.submit(w.s, "CCCCC123456790", "Content-Type: multipart/mixed; boundary=b\n\n--b\nX-In-Part: 1\n\nx\n")[0] == (550, "5.7.1", "seen as body")
    finally:
        w.d.kill()


def test_eight_bit_content_becomes_seven(tmp_path):
    """force_mime_input_conversion: what is declared 8bit is quoted-printable before checks see it, also of a message that came through a file."""
    (tmp_path / "body").write_text("/=C3=BC/ PREPEND seen\n")
    w = World(tmp_path, "force_mime_input_conversion = yes\nbody_checks = regexp:%s/body\n" % tmp_path)
    head = "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: %s\n\n"
    done, text = head % "quoted-printable", "gr\u00fcn = a\n"
    try:
        assert fm.submit(w.s, "EEEEE123456701", head % "8bit" + text)[0][0] == 0
        assert w.show("EEEEE123456701", "-bh") == done + "seen\ngr=C3=BCn =3D a\n"
        assert fm.submit(w.s, "EEEEE123456702", "Subject: x\n\n" + text)[0][0] == 0  # says nothing of itself
        assert w.show("EEEEE123456702", "-bh") == "Subject: x\n\n" + text
        fds = by_file(w, "EEEEE123456703", head % "8bit" + text + "more\n" * 60000)
        assert w.show("EEEEE123456703", "-bh") == done + "seen\ngr=C3=BCn =3D a\n" + "more\n" * 60000
        os.close(fds[0])
    finally:
        w.d.kill()


def test_malformed_envelope_is_refused_and_the_process_lives(world):
    world.s.send(fm.record(fm.SUBMIT, fm.span(b"garbage") + fm.span(MSG) + struct.pack("<BQ", 0, 0)))
    assert fm.answer(world.s)[0][0] == 451
    assert fm.submit(world.s, "AAAAA123456712", MSG)[0][0] == 0


@pytest.mark.parametrize("program", ["imapd", "pop3d", "qmgr", "auth"])
def test_who_submits_no_mail_cannot(world, program):
    """A process that was taken over and has no mail to submit is not heard: its channel ends."""
    s = world.d.connect(program)
    s.send(fm.record(fm.SUBMIT, fm.span(fm.envelope("AAAAA123456713", "a@example.org", ("b@example.org",))) + fm.span(MSG) + struct.pack("<BQ", 0, 0)))
    assert s.recv(100) == b""
    assert fm.submit(world.s, "AAAAA123456714", MSG)[0][0] == 0


def test_slots_are_reused_when_done(world):
    """More messages than there are slots, each given back by qmgr: no file is ever needed."""
    with open(world.dir + "/q/pool/slots.0", "r+b") as f:
        for i in range(700):
            assert fm.submit(world.s, "CC%03d123456701" % i, MSG)[0][0] == 0
            assert world.wait(lambda: len(world.new) > i)
            where, slot, gen, _ = world.new[i]
            assert where == 0
            mark_done(f.fileno(), slot, gen)
            world.s2 = getattr(world, "s2", None) or world.d.connect("qmgr")
            world.s2.send(fm.record(fm.SLOTS, struct.pack("<III", 1, slot, gen), 0))
    assert os.listdir(world.dir + "/q/incoming") == []
    assert os.listdir(world.dir + "/q/pool") == ["slots.0"]


def _crc(data):
    c = 0xffffffff
    for b in data:
        c ^= b
        for _ in range(8):
            c = (c >> 1) ^ (0x82f63b78 if c & 1 else 0)
    return c ^ 0xffffffff


def mark_done(fd, slot, gen):
    base = slot % 256 * 72 * 1024
    m = struct.pack("<IIqII", 2, gen, 0, 0, 0)
    os.pwrite(fd, m + struct.pack("<I", _crc(m)), base + 448)


def test_kill_loses_nothing(tmp_path):
    """SIGKILL at random moments under load: every acknowledged message is in the queue, whole."""
    w = World(tmp_path)
    acked, stop = [], threading.Event()

    def feed(k):
        s, n = w.s, 0
        while not stop.is_set():
            try:
                conn = w.d.connect()
                while not stop.is_set():
                    qid = "%05X%05X%04d" % (n, k, n % 10000)
                    n += 1
                    if fm.submit(conn, qid, MSG + "x" * (n % 5000))[0][0] == 0:
                        acked.append(qid)
            except (OSError, AssertionError):
                time.sleep(0.01)

    threads = [threading.Thread(target=feed, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for k in range(5):
        assert w.wait(lambda: len(acked) > 10 * k)
        time.sleep(0.1)
        w.d.kill()
        w.start()
    stop.set()
    for t in threads:
        t.join()
    assert len(acked) > 20
    w.d.kill()
    raw = b"".join(open(w.dir + "/q/pool/" + f, "rb").read() for f in os.listdir(w.dir + "/q/pool"))
    slots = {raw[b + 16:b + 40].split(b"\0")[0].decode() for b in range(0, len(raw), 72 * 1024)}
    files = set(os.listdir(w.dir + "/q/incoming"))
    assert [q for q in acked if q not in slots and q not in files] == []
    for q in acked[-20:]:
        assert w.show(q, "-h").startswith("From: a@example.org")


@pytest.mark.parametrize("calls,code", [("fdatasync", 0), ("fdatasync,fsync", 451), ("pwritev", 451)])
def test_failed_sync_is_never_acknowledged(world, calls, code):
    """A failed fdatasync of the pool: the message goes to a file, the pool file is out of use. fsync fails as well: refused, nothing left."""
    if not os.path.exists("/usr/bin/strace"):
        pytest.skip("strace is not installed")
    st = subprocess.Popen(["strace", "-f", "-o", "/dev/null", "-e", "trace=" + calls, "-e", "inject=%s:error=EIO" % calls,
                           "-p", str(world.d.proc.pid)], stderr=subprocess.PIPE)
    st.stderr.readline()
    time.sleep(0.3)
    assert fm.submit(world.s, "AAAAA123456720", MSG)[0][0] == code
    assert os.listdir(world.dir + "/q/incoming") == (["AAAAA123456720"] if code == 0 else [])
    st.terminate()
    st.wait()
    assert fm.submit(world.s, "AAAAA123456721", MSG)[0][0] == 0
    if "sync" in calls:  # the pool file is not trusted any more, though its sync would succeed now
        assert "AAAAA123456721" in os.listdir(world.dir + "/q/incoming")
    world.d.kill()
    world.start()
    raw = open(world.dir + "/q/pool/slots.0", "rb").read()
    live = [b for b in range(0, len(raw), 72 * 1024) if raw[b + 16:b + 30] == b"AAAAA123456720" and raw[b + 448] == 1]
    assert live == []
