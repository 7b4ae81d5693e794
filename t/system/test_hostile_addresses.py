"""Every address of the collections of ../shared/data/address, well-formed, obsolete or hostile, as sender and as recipient: each is answered at once and
the session goes on; what is taken arrives as that address. With Debian's Postfix at hand its replies and what arrives are the same."""
import json
import os
import re
import xml.etree.ElementTree

import pytest

import instance
import peer
from test_addresses_debian import Session, arrived, beside, configure, quiet

DATA = os.path.join(instance.SHARED, "data", "address")
pytestmark = [pytest.mark.skipif(not os.path.isdir(DATA), reason="no ../shared/data here: its addresses are not tried"),
              pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or not root")]


def read(*name):
    with open(os.path.join(DATA, *name), encoding="utf-8") as f:
        return f.read()


def collected():
    found = [t.findtext("address") or "" for t in xml.etree.ElementTree.fromstring(read("isemail", "tests.xml")).iter("test")]
    found = ["".join(chr(ord(c) - 0x2400) if 0x2400 <= ord(c) < 0x2420 else c for c in a) for a in found]
    found += [a for a, _ in json.loads(read("hapijs-isemail", "tests.json"))]
    for name in ("abridged_localpart_valid", "abridged_localpart_invalid", "mailbox_valid", "mailbox_invalid"):
        found += [line for line in read("flanker", name + ".txt").split("\n") if line.strip()[:1] not in ("", "#")]
    for name in ("email", "idn-email"):
        found += [t["data"] for s in json.loads(read("json-schema-test-suite", name + ".json")) for t in s["tests"] if isinstance(t["data"], str)]
    return sorted({a for a in found if not re.search("[\r\n]", a)})


ADDRESSES = collected() if os.path.isdir(DATA) else []


class Raw(Session):
    """Says also what is no UTF-8."""

    def say(self, line):
        self.f.write(line.encode("utf-8", "surrogatepass") + b"\r\n")
        self.f.flush()
        return self.reply()


# Refused here and not by Postfix (smtpd(8), BUGS), or the reverse.
UNLIKE = {
    "a comment": r"[(]",
    "a control character": r"[\x00-\x1f\x7f]",
    "@domain without a local part": r"^@",
    "a backslash outside of quotes": r"^[^\"]*\\",
    "no host name: brackets within a name": r"^\[test\]$",
    "a domain that is too long for the DNS, as it is or in ASCII": r"@[^@]{240,}$",
    "seven groups of IPv6 that are eight, or six that are none": r"^test@\[IPv6:[0-9:]+:255\.255\.255\.255\]$",
    "quoted, and no domain: a name here, whatever is in the quotes": r"^\".*@.*\"$",
    "words in quotes and without, and no domain": r"^partially\.\"quoted\"$",
}


def unlike(address):
    return next((why for why, pattern in UNLIKE.items() if re.search(pattern, address)), None)


def ask(session, ident, address):
    """Its replies as sender and as recipient; taken or not, the session goes on."""
    utf8 = "" if address.isascii() else " SMTPUTF8"
    replies = [session.say(f"MAIL FROM:<{address}>{utf8}"), session.say("RSET")]
    session.say("MAIL FROM:<sender@far.test>" + utf8)
    replies += [session.say(f"RCPT TO:<{address}>")]
    if replies[-1][0] == "2":
        session.say("DATA")
        replies += [re.sub(r"queued as \w+", "queued", session.say(f"Message-ID: <{ident}@case>\r\n\r\nx\r\n."))]
    session.say("RSET")
    return replies


def run(system, sink):
    session = Raw(system.port["smtp"])
    replies = [ask(session, str(i), a) for i, a in enumerate(ADDRESSES)]
    quiet(system)
    return replies, arrived(sink), system.log()


@pytest.fixture(scope="module")
def both():
    yield from beside("hostile-", [], lambda system, sink: configure(system, sink, {}), run)


@pytest.mark.parametrize("n", range(len(ADDRESSES)), ids=[ascii(a) for a in ADDRESSES])
def test_same(both, n):
    ours, theirs = ({"replies": r[0][n], "arrived": (r[1].get(str(n)) or (None,))[0]} for r in both)
    if ours != theirs and unlike(ADDRESSES[n]):
        assert all(r[0] in "25" for r in ours["replies"]) and bool(ours["arrived"]) == (ours["replies"][2][0] == "2")
    else:
        assert ours == theirs


def test_nothing_died(both):
    assert not re.search("killed by signal|exited with|panic|fatal", both[0][2])
