"""info_log_address_format: a local part that needs quotes is logged with them (external) or without (internal), in the lines of every daemon."""
import os
import re
import shutil
import smtplib

import pytest

from instance import Instance, scratch

SHOWN = {"external": ('"a b"@from.test', '"c d"@far.test', '"e f"@alias.test'), "internal": ("a b@from.test", "c d@far.test", "e f@alias.test")}


@pytest.mark.parametrize("form", SHOWN)
def test_lines(form):
    base = scratch("postern-shown-")
    sender, rcpt, orig = SHOWN[form]
    try:
        with Instance(os.path.join(base, "i"), main={
                "default_transport": "discard:", "info_log_address_format": form, "smtpd_recipient_restrictions": "reject",
                "virtual_alias_domains": "alias.test", "virtual_alias_maps": r"""pcre:{{/@alias\.test/ "c d"@far.test}}"""}) as i:
            with smtplib.SMTP(i.host, i.port["smtp"], timeout=60) as s:
                s.ehlo("h.test")
                assert s.docmd(f'MAIL FROM:<{SHOWN["external"][0]}>')[0] == 250
                assert s.docmd(f'RCPT TO:<{SHOWN["external"][1]}>')[0] == 554
            r = i.command("sendmail", "-i", "-f", SHOWN["external"][0], SHOWN["external"][2], input=b"Subject: x\n\nx\n")
            assert r.returncode == 0, r.stderr
            f, t, o = (re.escape(a) for a in (sender, rcpt, orig))
            for line in (rf"/smtpd\[\d+\]: .*reject: RCPT .*; from=<{f}> to=<{t}> proto=", rf"/pickup\[\d+\]: .* from=<{f}>", rf"/qmgr\[\d+\]: .* from=<{f}>, size=",
                         rf"/discard\[\d+\]: .* to=<{t}>, orig_to=<{o}>, relay=none, .*status=sent"):
                i.wait_log(line)
    finally:
        shutil.rmtree(base, ignore_errors=True)
