"""smtputf8_enable and smtputf8_autodetect_classes: for each case a cleanup of its own in our suite and in Debian's Postfix. What MAIL says to a next hop that takes SMTPUTF8, and what the log
says of each message have to be the same."""
import os
import re
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import peer  # noqa: E402
from test_addresses_debian import Session, Sink, beside, quiet  # noqa: E402

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or not root")
CASES = {"default": {}, "smtpd": {"smtputf8_autodetect_classes": "smtpd"}, "all": {"smtputf8_autodetect_classes": "all"}, "others": {"smtputf8_autodetect_classes": "sendmail, bounce, forward, verify"},
         "empty": {"smtputf8_autodetect_classes": "bounce"}, "off": {"smtputf8_enable": "no", "smtputf8_autodetect_classes": "all"}}
# (SMTPUTF8 is said, sender, recipient, subject, body)
MAILS = [(u, s, r, h, b) for u in (False, True) for s in ("a@far.test", "\u00e4@far.test") for r in ("b@far.test", "\u00f6@far.test", "b@b\u00fccher.test") for h in ("x", "\u00fc") for b in ("x", "\u00fc")]


class Utf8Sink(Sink):
    """Keeps the parameters of MAIL."""
    envelope = staticmethod(lambda line: re.sub(rb" SIZE=\d+", b"", line.split(b":", 1)[1].strip()))


def prepare(system, sink, hop):
    system.main.update({"default_transport": f"smtp:[127.0.0.1]:{hop.port}", "smtp_tls_security_level": "", "smtpd_tls_security_level": "", "smtputf8_enable": "yes", "smtpd_error_sleep_time": "0",
                        "smtpd_soft_error_limit": "1000", "smtpd_hard_error_limit": "1000", "smtpd_junk_command_limit": "1000", "notify_classes": ""})
    system.write("main.cf", "")
    system.extra_master = []
    for case, settings in CASES.items():
        options = "".join(" -o { %s = %s }" % kv for kv in settings.items())
        system.extra_master += [f"127.0.0.1:{system.port[case]} inet n - n - - smtpd -o cleanup_service_name=cleanup-{case}" + options, f"cleanup-{case} unix n - n - 0 cleanup" + options]


def run(system, hop):
    replies = {}
    for case in CASES:
        s = Session(system.port[case])
        for n, (utf8, sender, rcpt, subject, body) in enumerate(MAILS):
            text = (f"From: a@far.test\r\nTo: b@far.test\r\nSubject: {subject}\r\nDate: Sat, 28 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{case}-{n}@case>\r\nMIME-Version: 1.0\r\n"
                    f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{body}\r\n.")
            said = []
            for line in (f"MAIL FROM:<{sender}> BODY=8BITMIME" + " SMTPUTF8" * utf8, f"RCPT TO:<{rcpt}>", "DATA", text):
                said.append(re.sub(r"queued as \w+", "queued", s.say(line)))
                if said[-1][0] not in "23":
                    s.say("RSET")
                    break
            replies[f"{case}-{n}"] = said
        s.say("QUIT")
    quiet(system)
    out = {}
    for sender, rcpts, text in hop.got:
        m = re.search(rb"^Message-ID: <(.*)@case>\r$", text, re.M)
        if m:
            out.setdefault(m.group(1).decode(), set()).add((sender.decode(), tuple(r.decode() for r in rcpts)))
    return replies, out


@pytest.fixture(scope="module")
def both():
    hops = []

    def setup(system, sink):
        hops.append(Utf8Sink())
        prepare(system, sink, hops[-1])
    yield from beside("utf8-", CASES, setup, lambda system, sink: run(system, hops[-1]))
    for h in hops:
        h.close()


@pytest.mark.parametrize("case", [f"{c}-{n}" for c in CASES for n in range(len(MAILS))])
def test_same(both, case):
    ours, theirs = ((r[0][case], r[1].get(case)) for r in both)
    mail = MAILS[int(case.rsplit("-", 1)[1])]
    if case.startswith("off-") and not (mail[1] + mail[2]).isascii():  # smtpd(8), BUGS
        assert ours[0][-1][:4] in ("501 ", "555 ") and ours[1] is None
    else:
        assert ours == theirs, mail
