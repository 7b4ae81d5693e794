"""imapd(8) word for word, each claim with its clause: what RFC 3501 and its extensions let a client expect of a reply, found by running the same
commands against other servers."""
import os
import re
import shutil
import socket

import pytest

from instance import Instance, scratch

MESSAGES = {  # file name in cur/ -> content
    "1.a:2,S": "From: kim@example.org (Kim Example)\nSender: lee@example.org\nTo: a@b.test (x (y) \\) z), \"Doe, J\" <j@x.test>\nSubject: old name\n\ncaf\u00e9 body\n",
    "2.b:2,": "From: a@b.test\nMIME-Version: 1.0\nContent-Type: text/plain; name*0*=us-ascii'en'This%20is; name*1=\" long.txt\"\n"
              "Content-Disposition: inline; filename*=utf-8''caf%C3%A9.txt\n\nx\n",
    "3.c:2,": "From: a@b.test\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=zz\n\nno part at all\n",
    "4.d:2,": "From: a@b.test\nMIME-Version: 1.0\nContent-Type: text/html\nSubject: caf\u00e9\n\n<p>x</p>\n",
    "5.e:2,": "From kim@example.org Mon Feb  7 21:52:25 1994\nFrom: mbox@b.test\nSubject: out of an mbox\n\nold\n",
}


@pytest.fixture(scope="module")
def inst():
    base = scratch("postern-imaprfc-")
    i = Instance(os.path.join(base, "i"), listen=("imap",), drop={"local", "virtual"}, main={
        "auth_passwd_file": os.path.join(base, "i/etc/users"), "auth_failure_delay": "0s", "auth_mechanisms": "plain", "auth_sasldb_file": "",
        "auth_pam_service": ""})
    i.write("users", "".join(f"{u}:{{PLAIN}}p:{i.uid}:{i.gid}::{i.mail}/{u}::userdb_mail=maildir:~/Maildir\n" for u in ("kim", "lee")), 0o600)
    i.write_config()
    for d in ("new", "cur", "tmp"):
        os.makedirs(f"{i.mail}/kim/Maildir/{d}")
    for name, text in MESSAGES.items():
        with open(f"{i.mail}/kim/Maildir/cur/{name}", "w", encoding="utf-8") as f:
            f.write(text)
    for where, dirs, files in os.walk(i.mail):
        for n in [where] + [os.path.join(where, f) for f in files]:
            os.chown(n, i.uid, i.gid)
    os.makedirs(f"{i.mail}/lee")
    os.chown(f"{i.mail}/lee", i.uid, i.gid)
    with i:
        yield i
        assert "sandbox: denied" not in i.log()
    shutil.rmtree(base, ignore_errors=True)


class Client:
    def __init__(self, i, user):
        self.sock = socket.create_connection((i.host, i.port["imap"]), 20)
        self.file = self.sock.makefile("rb")
        self.file.readline()
        self.n = 0
        self.do(f"LOGIN {user} p")

    def do(self, command):
        """All of the reply; literals of the command go without waiting (LITERAL+)."""
        self.n += 1
        tag = f"t{self.n}".encode()
        self.sock.sendall(tag + b" " + (command if isinstance(command, bytes) else command.encode()) + b"\r\n")
        out = b""
        while True:
            line = self.file.readline()
            assert line, out
            out += line
            m = re.search(rb"\{(\d+)\}\r\n$", line)
            if m:
                out += self.file.read(int(m.group(1)))
            elif line.startswith(tag + b" "):
                return out.replace(tag, b"t")


@pytest.fixture
def kim(inst):
    c = Client(inst, "kim")
    c.do("EXAMINE INBOX")
    yield c
    c.sock.close()


@pytest.fixture
def lee(inst):
    c = Client(inst, "lee")
    yield c
    c.sock.close()


def test_a_comment_names_an_address_without_a_display_name(kim):
    """RFC 5322 A.6.3, for the ENVELOPE of RFC 3501 7.4.2."""
    got = kim.do("FETCH 1 ENVELOPE")
    assert b'(("Kim Example" NIL "kim" "example.org")) ((NIL NIL "lee" "example.org")) (("Kim Example" NIL "kim" "example.org"))' in got
    assert b'("x (y) ) z" NIL "a" "b.test")("Doe, J" NIL "j" "x.test")' in got


def test_bodystructure_joins_continuations_and_keeps_the_character_set(kim):
    """RFC 2231 section 6: continuations are joined. What is not US-ASCII stays coded: nothing else could tell the client its character set."""
    got = kim.do("FETCH 2 BODYSTRUCTURE")
    assert b"(\"name*\" \"us-ascii'en'This%20is%20long.txt\" \"charset\" \"us-ascii\")" in got
    assert b"(\"inline\" (\"filename*\" \"utf-8''caf%C3%A9.txt\"))" in got
    assert all(c < 0x80 for c in got)


def test_text_without_a_character_set_is_us_ascii(kim):
    """RFC 2046 4.1.2; a multipart without parts has one part with all that BODYSTRUCTURE needs."""
    assert b'("TEXT" "PLAIN" ("charset" "us-ascii")' in kim.do("FETCH 1 BODY")
    assert b'("text" "html" ("charset" "us-ascii")' in kim.do("FETCH 4 BODY")
    assert b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL) "mixed" ("boundary" "zz") NIL NIL NIL)' in \
        kim.do("FETCH 3 BODYSTRUCTURE")
    assert b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0) "mixed")' in kim.do("FETCH 3 BODY")


def test_the_first_line_of_an_mbox_ends_no_header(kim):
    """Maildirs that were made from mboxes hold it; the fields behind it are the message's."""
    assert b'"out of an mbox" ((NIL NIL "mbox" "b.test"))' in kim.do("FETCH 5 ENVELOPE")
    assert b"BODY[TEXT] {5}\r\nold\r\n" in kim.do("FETCH 5 BODY.PEEK[TEXT]")
    assert b"}\r\nSubject: out of an mbox\r\n\r\n" in kim.do("FETCH 5 BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
    assert b"* SEARCH 5\r\n" in kim.do("SEARCH FROM mbox@b.test")


def test_search_in_other_character_sets(kim):
    """RFC 3501 6.4.4: the text is converted; an unknown one is refused with [BADCHARSET]."""
    assert b"* SEARCH 4\r\n" in kim.do(b"SEARCH CHARSET ISO-8859-1 SUBJECT {4+}\r\ncaf\xe9")
    assert b"* SEARCH 1\r\n" in kim.do(b"SEARCH CHARSET iso-8859-1 BODY {4+}\r\ncaf\xe9")
    assert b"* SEARCH 1\r\n" in kim.do(b"SEARCH CHARSET UTF-8 BODY {5+}\r\ncaf\xc3\xa9")
    assert b"t NO [BADCHARSET" in kim.do("SEARCH CHARSET X-NONE ALL")
    assert b"t BAD" in kim.do(b"SEARCH CHARSET UTF-8 BODY {4+}\r\ncaf\xe9")


def test_what_is_appended_or_copied_is_recent(lee):
    """RFC 3501 6.3.11 and 6.4.7: with flags as well as without; the first session that selects the mailbox sees it, and no other."""
    lee.do("CREATE rec")
    assert b"APPENDUID" in lee.do(b"APPEND rec (\\Seen kw) {3+}\r\nabc")
    lee.do(b"APPEND rec {3+}\r\nabc")
    assert b"* 2 RECENT\r\n" in lee.do("EXAMINE rec")
    got = lee.do("SELECT rec")
    assert b"* 2 EXISTS\r\n" in got and b"* 2 RECENT\r\n" in got
    assert rb"* 1 FETCH (FLAGS (\Seen \Recent kw))" in lee.do("FETCH 1 FLAGS")
    lee.do("CREATE rec2")
    assert b"COPYUID" in lee.do("COPY 1:2 rec2")
    assert b"(MESSAGES 2 RECENT 2 UNSEEN 1)" in lee.do("STATUS rec2 (MESSAGES RECENT UNSEEN)")
    assert b"* 2 RECENT\r\n" in lee.do("SELECT rec2")
    assert b"* 0 RECENT\r\n" in lee.do("SELECT rec2")
    assert rb"FLAGS (\Seen kw)" in lee.do("FETCH 1 FLAGS")


def test_inbox_has_no_case(lee):
    """RFC 3501 5.1, in names below it and in patterns, too: there is one INBOX."""
    assert b"t OK" in lee.do("CREATE inbox.Sub")
    assert b'* LIST (\\HasNoChildren) "." INBOX.Sub\r\n' in lee.do('LIST "" "InBoX.*"')
    got = lee.do('LIST "" "*"')
    assert b"inbox" not in got and got.count(b"INBOX\r\n") == 1
    assert b'"." INBOX\r\n' in lee.do('LIST "" "in%"')
    assert b"t OK" in lee.do("SELECT Inbox.Sub")
    assert b"t OK" in lee.do("DELETE INBOX.Sub")


@pytest.mark.parametrize("name,good", [
    ("&AOk-", True), ("caf&AOk-s", True), ("a&-b", True), ("&2D3cnQ-", True), ("x &AOk-&-", True),
    ("&AOk", False), ("a&b", False), ("\u00e9", False), ("&AEE-", False), ("&AOk-&AOk-", False), ("&2D0-", False), ("&AOl-", False), ("&AO-", False),
])
def test_names_are_modified_utf7(lee, name, good):
    """RFC 3501 5.1.3: what is no such name is not made, nor given to a mailbox by RENAME."""
    got = lee.do(f'CREATE "{name}"')
    assert (b"t OK" if good else b"t NO [CANNOT]") in got
    if not good:
        lee.do("CREATE utf7")
        assert b"t NO [CANNOT]" in lee.do(f'RENAME utf7 "{name}"')
    else:
        assert b"t OK" in lee.do(f'DELETE "{name}"')


def test_enable_tells_what_is_on(lee):
    """RFC 5161 3.2, RFC 7162 3.1: also when it was on before."""
    for _ in range(2):
        assert b"* ENABLED CONDSTORE\r\n" in lee.do("ENABLE CONDSTORE")
    assert b"* ENABLED\r\n" in lee.do("ENABLE X-NONE")


def test_recursive_match(lee):
    """RFC 5258 3.1, 3.5: never alone; with SUBSCRIBED it tells which names have a subscribed one below that the pattern does not reach."""
    for n in ("top", "top.sub", "other"):
        lee.do(f"CREATE {n}")
    lee.do("SUBSCRIBE top.sub")
    assert b"t BAD" in lee.do('LIST (RECURSIVEMATCH) "" "%"')
    got = lee.do('LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"')
    assert b'* LIST (\\HasChildren) "." top ("CHILDINFO" ("SUBSCRIBED"))\r\n' in got and b"other" not in got
    assert b"CHILDINFO" not in lee.do('LIST (SUBSCRIBED RECURSIVEMATCH) "" "*"')
