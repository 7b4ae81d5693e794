"""What cleanup(8) does with content, one parameter after the other: for each case an smtpd and a cleanup of its own in our suite and in Debian's Postfix.
Replies, the messages that arrive, the envelopes and what cleanup logs have to be the same."""
import os
import re
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import peer  # noqa: E402
from test_addresses_debian import Session, beside, configure, quiet  # noqa: E402

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or not root")

# Settings of one cleanup service: what it does with content. Each message is sent through it; {id} stands for its Message-ID.
HEAD = "From: a@far.test\nTo: b@far.test\nDate: Sat, 28 Nov 2026 10:00:00 +0000\nMessage-ID: <{id}@case>\n"
MIME = HEAD + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"zz\"\nX-Hit: top\n\npreamble hit\n--zz\nContent-Type: text/plain\nX-Hit: part\n\nhit one\n--zz\nContent-Type: message/rfc822\nX-Hit: part2\n\nSubject: inner\nX-Hit: nested\n\nhit two\n--zz--\nepilogue hit\n"
ACTIONS = "REJECT\nREJECT 5.7.9 not\nREJECT not\nREJECT 4.7.9 odd\nWARN\nWARN w\nINFO i\nFILTER smtp:[127.0.0.1]:{sink}\nFILTER nothing\nFILTER\nDISCARD\nDISCARD d\nHOLD\nHOLD h\nPREPEND X-New: n\nPREPEND new\nPREPEND\nREPLACE X-Other: o\nREPLACE other\nREPLACE\nREDIRECT r@far.test\nREDIRECT r\nREDIRECT\nBCC r@far.test\nBCC r\nBCC\nIGNORE\nIGNORE x\nSTRIP\nSTRIP s\nDUNNO\nOK\nACCEPT\nPASS\nPASS p\nreject lower\nNONE\nNONE n\n550 no\nX-Other: o".split("\n")
CONTENT = {
    "t-header": ({"header_checks": "regexp:{etc}/hactions"}, [HEAD + f"X-Act: {n}\nX-Act: 99\n\nbody\n" for n in range(len(ACTIONS))]),
    "t-body": ({"body_checks": "regexp:{etc}/bactions"}, [HEAD + f"\nfirst\nAct: {n}\nAct: 99\nlast\n" for n in range(len(ACTIONS))]),
    "t-mime": ({"header_checks": "regexp:{{/^X-Hit: (.*)/ WARN h $$1} {/^Content-Type/ WARN ch}}", "mime_header_checks": "regexp:{{/^X-Hit/ WARN m} {/^Content-Type: (.*)/ WARN cm $$1}}",
                "nested_header_checks": "regexp:{{/^X-Hit/ WARN n} {/^Subject/ WARN ns}}", "body_checks": "regexp:{{/hit/ WARN b}}"}, [MIME, HEAD + "X-Hit: x\n\nX-Hit: body\n"]),
    "t-default": ({"header_checks": "regexp:{{/^(X-Hit|Content-.*|Subject): (.*)/ WARN $$1 $$2}}", "body_checks": "regexp:{{/^X-Hit/ WARN b}}"}, [MIME]),
    "t-nomime": ({"header_checks": "regexp:{{/^X-Hit: (.*)/ WARN h $$1}}", "body_checks": "regexp:{{/^(.*[Hh]it.*)/ WARN b $$1}}", "disable_mime_input_processing": "yes"}, [MIME]),
    "t-bound": ({"body_checks": "regexp:{{/^--zz--/ REPLACE --zz-- end} {/^--zz/ WARN b}}", "body_checks_size_limit": "15"}, [MIME, MIME.replace("--zz--\n", "--zz\n--zz--\n")]),
    "t-ends": ({"body_checks": "regexp:{{/^x/ IGNORE}}"}, [HEAD + "\n" + b for b in ("x\n", "x\na\n", "a\nx\n", "x\na\nx\n", "x\nx\n", "a\nx\nb\n", "x" * 5000 + "\n", "x\n" + "a" * 300000 + "\n", "a\n" * 150000 + "x\n", "x\n" * 150000)] + [HEAD.replace("To: b@far.test", "To: b") + "\nx\n", HEAD.replace("To: b@far.test", "To: b") + "\na\nx\n"]),
    "t-limit": ({"body_checks": "regexp:{{/^l/ WARN}}", "body_checks_size_limit": "20"}, [HEAD + "\n" + "l23456\n" * 5, MIME.replace("hit one\n", "l2345\n" * 6).replace("hit two\n", "l2345\n" * 6)]),
    "t-nolimit": ({"body_checks": "regexp:{{/^l/ WARN}}", "body_checks_size_limit": "0"}, [HEAD + "\n" + "l23456\n" * 3]),
    "t-hsize": ({"header_size_limit": "100", "header_checks": "regexp:{{/^X-Big: (.*)/ WARN $$1}}"}, [HEAD + "X-Big: " + "1234567890\n " * 12 + "\n\nb\n", HEAD + "X-Big: " + "y" * 93 + "\n\nb\n", HEAD + "X-Big: " + "y" * 94 + "\n\nb\n", HEAD + "X-Big: " + "y" * 300 + "\n z\n\nb\n"]),
    "t-drop": ({"message_drop_headers": "subject, x-no, resent-bcc"}, [HEAD + "Bcc: c@far.test\nContent-Length: 5\nReturn-Path: <x@y>\nSubject: s\nX-No: x\nResent-Bcc: c@d\n\nb\n"]),
    "t-dropdef": ({}, [HEAD + "Bcc: c@far.test\nContent-Length: 5\nReturn-Path: <x@y>\nSubject: s\nResent-Bcc: c@d\n\nb\n", HEAD + "Delivered-To: x@y\nErrors-To: e@far.test\nReturn-Receipt-To: e@far.test\nStatus: R\n\nb\n"]),
    "t-add": ({"always_add_missing_headers": "yes", "undisclosed_recipients_header": "To: hidden:;", "local_header_rewrite_clients": ""}, ["Message-ID: <{id}@case>\n\nb\n", "Message-ID: <{id}@case>\nResent-To: x@far.test\n\nb\n", "Message-ID: <{id}@case>\nBcc: x@far.test\n\nb\n", "Message-ID: <{id}@case>\nFrom: x\nDate: y\n\nb\n"]),
    "t-undis": ({}, ["Message-ID: <{id}@case>\nDate: d\n\nb\n", "Message-ID: <{id}@case>\nFrom: x\nDate: y\nApparently-To: x\n\nb\n"]),
    "t-undis2": ({"undisclosed_recipients_header": "To: undisclosed"}, ["Message-ID: <{id}@case>\nDate: d\n\nb\n", "Message-ID: <{id}@case>\nApparently-To: d\n\nb\n", "Message-ID: <{id}@case>\nBcc: d\nResent-Bcc: x\n\nb\n"]),
    "t-strict7": ({"strict_7bit_headers": "yes"}, [HEAD + "Subject: b\u00fcro\n\nb\n", HEAD + "\n\u00fc\n"]),
    "t-strict8": ({"strict_8bitmime": "yes"}, [HEAD + "Subject: b\u00fcro\n\nb\n", HEAD + "\n\u00fc\n", HEAD + "MIME-Version: 1.0\nContent-Transfer-Encoding: 7bit\n\n\u00fc\n", HEAD + "Content-Transfer-Encoding: 8bit\n\n\u00fc\n"]
                   + [HEAD + f"MIME-Version: 1.0\nContent-Transfer-Encoding: {e}\n\n\u00fc\n" for e in ("x-foo", '"8bit"', "base64", "binary", "(c) 8bit", "")]),
    "t-strictenc": ({"strict_mime_encoding_domain": "yes"}, [HEAD + f"MIME-Version: 1.0\nContent-Type: {t}\nContent-Transfer-Encoding: {e}\n\nb\n" for t in ("message/rfc822", "multipart/mixed; boundary=z", "message/partial", "message/external-body", "message/delivery-status") for e in ("base64", "8bit", "uuencode", "binary")]),
    "t-nest": ({"mime_nesting_limit": "2"}, [HEAD + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n--b--\n--a--\n"]),
    "t-reject": ({"message_reject_characters": "\\7\\0"}, [HEAD + "\na\7b\n", HEAD + "Subject: a\7b\n\nb\n", HEAD + "\nab\n"]),
    "t-strip": ({"message_strip_characters": "\\7q", "header_checks": "regexp:{{/a(.*)b$$/ WARN $$1}}"}, [HEAD + "\na\7b\n", HEAD + "Subject: aq\7b\n\nb\n"]),
    "t-hops": ({"hopcount_limit": "3"}, [HEAD + "Received: x\n" * 2 + "\nb\n", HEAD + "Received: x\n" * 3 + "\nb\n"]),
    "t-bcc": ({"always_bcc": "al+ways@far.test", "header_checks": "regexp:{{/^Subject: b/ BCC sub+ject@far.test} {/^Subject: r/ REDIRECT re@far.test}}"}, [HEAD + "Subject: b\n\nb\n", HEAD + "Subject: r\n\nb\n"]),
    "t-bcclocal": ({"always_bcc": "old"}, [HEAD + "\nb\n"]),
    "t-opts": ({"receive_override_options": "no_header_body_checks", "header_checks": "regexp:{{/./ REJECT}}"}, [HEAD + "\nb\n"]),
}


def prepare(system, sink):
    configure(system, sink, {"smtpd_client_connection_count_limit": "0"})
    system.extra_master = []
    for kind, name in (("h", "X-Act"), ("b", "Act")):
        lines = [f"/^{name}: {n}$/ {action}\n" for n, action in enumerate(ACTIONS)]
        system.write(kind + "actions", "".join(lines).replace("{sink}", str(sink.port)) + f"/^{name}: 99/ WARN last\n")
    for case, (settings, _) in CONTENT.items():
        options = "".join(" -o { %s = %s }" % (k, v.replace("{etc}", system.config)) for k, v in settings.items())
        front = f"127.0.0.1:{system.port[case]} inet n - n - - smtpd -o syslog_name=postfix/{case} -o cleanup_service_name=cleanup-{case}"
        system.extra_master += [front + options * (case in ("t-add", "t-opts")), f"cleanup-{case} unix n - n - 0 cleanup -o syslog_name=postfix/{case}" + options]


def whole(sink, system):
    """What arrived of each message, and what cleanup said of it, and of the case without a message."""
    out, log = {}, system.log()
    for sender, rcpts, text in sink.got:
        m = re.search(rb"^Message-ID: <(t-.*)@case>\r?$", text, re.M)
        if m:
            text = re.sub(r"^Received: from .*(\r\n[ \t].*)*\r\n", "", text.decode("utf-8", "replace"), flags=re.M)
            text = re.sub(r"(?m)^((?:Resent-)?(?:Date|Message-Id): )(?!Sat, 28).*(:|@mail).*", r"\1NOW", text)
            out.setdefault(m.group(1).decode(), set()).update((sender, r, text) for r in rcpts)
    for qid, ident in re.findall(r": (\w+): message-id=<(t-.*)@case>$", log, re.M):
        said = re.findall(rf"/cleanup\[\d+\]: ((?:warning: )?{qid}: .*)$", log, re.M)
        lines = [re.sub(r"<\d{14}\.", "<NOW.", line.replace(qid, "QID").replace(str(sink.port), "SINK")) for line in said if "message-id=<t-" not in line]
        out.setdefault(ident, set()).update(enumerate(lines))
    for case, said in re.findall(r"postfix/(t-\w+)/cleanup\[\d+\]: (warning: (?![0-9A-Za-z]{6,}: ).*)$", log, re.M):
        out.setdefault(case, []).append(said.replace(system.config, "ETC"))
    return out


def run(system, sink):
    replies = {}
    for case, (_, texts) in CONTENT.items():
        session = Session(system.port[case])
        for i, text in enumerate(texts):
            ident = f"{case}-{i}"
            replies[ident] = session.send(ident, "user@far.test", text.replace("{id}", ident).replace("\n", "\r\n"))
        session.say("QUIT")
    system.command("postsuper", "-d", "ALL", "hold")
    quiet(system)
    return replies, whole(sink, system)


@pytest.fixture(scope="module")
def both():
    yield from beside("content-", list(CONTENT), prepare, run)


# Ours looks for characters before it has read Message-ID, which the lines of the log are known by here.
UNREAD = ["t-reject-0", "t-reject-1"]


@pytest.mark.parametrize("case", [f"{c}-{i}" for c, (_, texts) in CONTENT.items() for i in range(len(texts))])
def test_same_content(both, case):
    ours, theirs = ({"replies": r[0][case], "arrived and said": case not in UNREAD and r[1].get(case)} for r in both)
    assert ours == theirs


def test_same_warnings(both):
    ours, theirs = ({case: r[1].get(case) for case in CONTENT} for r in both)
    assert ours == theirs
