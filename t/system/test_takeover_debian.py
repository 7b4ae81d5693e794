"""A host changes over from Debian's Postfix: the queue that it left, files of another owner and of another form, goes on under ours."""
import glob
import json
import os
import pwd
import re
import shutil
import smtplib
import subprocess
import tempfile
import time

import pytest

import peer
from fakesmtp import Server
from instance import Instance

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or no root")

TEXT = "From: a@b.test\nSubject: %s\n\nhello\n.dot\n\n"
LONG = "X-Drop: 1\nSubject: change\nX-Pre: 1\n\n" + "long " * 5000 + "\n\nend"
CHECKS = "/^Subject: change/ REPLACE Subject: changed into something that is longer than it was\n/^X-Drop:/ IGNORE\n/^X-Pre:/ PREPEND X-Prepended: y\n"
ACTIONS = ("{redirect@far.test = REDIRECT other@far.test} {filter@far.test = FILTER smtp:[127.0.0.1]:%d} {held@far.test = HOLD} "
           "{prepend@far.test = PREPEND X-More: yes}")
SENT = {  # recipients, content, options of MAIL, of RCPT
    "plain": (["plain@far.test"], TEXT % "plain", [], []),
    "several": (["several@far.test", "box@v.test", "list@x.test"], TEXT % "several", [], []),
    "dsn": (["dsn@far.test"], TEXT % "dsn", ["RET=HDRS", "ENVID=abc+2Bd", "BODY=8BITMIME"], ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;x+2By@z.test"]),
    "redirect": (["redirect@far.test"], TEXT % "redirect", [], []),
    "filter": (["filter@far.test"], TEXT % "filter", [], []),
    "held": (["held@far.test"], TEXT % "held", [], []),
    "prepend": (["prepend@far.test"], TEXT % "prepend", [], []),
    "long": (["long@far.test"], LONG, [], []),
    "utf8": (["ü@far.test"], TEXT % "grüße", ["SMTPUTF8", "BODY=8BITMIME"], []),
}


def under_way(p):
    """The files of messages that are not deferred yet, which the log may say before it is so."""
    return [n for place in ("maildrop", "incoming", "active") for _, _, names in os.walk(os.path.join(p.queue, place)) for n in names]


def of_postfix(base, sink):
    """A peer whose queue has one message in it for each of SENT and more from sendmail(1), all of them deferred or held; stopped."""
    checks = os.path.join(base, "checks")
    with open(checks, "w", encoding="ascii") as f:
        f.write(CHECKS)
    p = peer.Peer(os.path.join(base, "theirs"), main={
        "hash_queue_names": "incoming, active, hold, deferred, defer, bounce", "hash_queue_depth": "3", "defer_transports": "smtp", "header_checks": f"regexp:{checks}", "virtual_alias_domains": "x.test",
        "virtual_alias_maps": "inline:{ {list@x.test = one@far.test, two@far.test} }",
        "virtual_mailbox_domains": "v.test", "virtual_mailbox_base": os.path.join(base, "theirs/mail"),
        "virtual_mailbox_maps": "static:box/", "virtual_uid_maps": "static:5000", "virtual_gid_maps": "static:5000",
        "smtpd_recipient_restrictions": "check_recipient_access inline:{ %s }, permit_mynetworks, reject" % (ACTIONS % sink.port)})
    p.start()
    try:
        for rcpts, text, mail, rcpt in SENT.values():
            with smtplib.SMTP("127.0.0.1", p.port["smtp"], timeout=60) as s:
                s.ehlo("me.test")
                s.sendmail("jö@b.test" if "SMTPUTF8" in mail else "a@b.test", rcpts, text.encode().replace(b"\n", b"\r\n"), mail, rcpt)
        p.command("sendmail", "-C", p.config, "-f", "owner@b.test", "-XV", "verp@far.test", input=b"Subject: verp\n\nbody\n")
        p.command("sendmail", "-C", p.config, "-f", "s@b.test", "-t", input=b"Subject: t\nTo: t1@far.test\nBcc: t2@far.test\n\nbody\n")
        end = time.monotonic() + 60
        while len(re.findall(r"status=deferred", p.log())) < 13 or "status=sent" not in p.log() or under_way(p):
            assert time.monotonic() < end, p.log()
            time.sleep(0.1)
    finally:
        p.stop()
    assert glob.glob(p.queue + "/hold/?/?/?/*") and glob.glob(p.queue + "/deferred/?/?/?/*")
    late = p.command("sendmail", "-C", p.config, "-f", "s@b.test", "-V", "env-1", "late@far.test", input=b"Subject: late\n\n" + b"y" * 3000 + b"\n.\n")
    assert late.returncode == 0
    return p


def theirs_as_text(p):
    """queue id -> the content as Debian's postcat shows it."""
    out = {}
    for place in ("deferred", "hold"):
        for d, _, names in os.walk(os.path.join(p.queue, place)):
            for n in names:
                out[n] = subprocess.run([os.path.join(peer.COMMANDS, "postcat"), "-hb", os.path.join(d, n)], env={"MAIL_CONFIG": p.config},
                                        stdout=subprocess.PIPE, check=True).stdout
    return out


@pytest.fixture(scope="module")
def world():
    base = tempfile.mkdtemp(prefix="takeover-")
    os.chmod(base, 0o755)
    sink = Server()
    p = of_postfix(base, sink)
    contents = theirs_as_text(p)
    i = Instance(os.path.join(base, "ours"), main={"defer_transports": "smtp", "relayhost": f"[127.0.0.1]:{sink.port}"})
    i.write_config()
    shutil.rmtree(i.queue, ignore_errors=True)
    shutil.copytree(p.queue, i.queue, symlinks=True, ignore=lambda d, names: [n for n in names if d.endswith(("private", "public", "pid"))],
                    copy_function=shutil.copy2)
    for d, dirs, files in os.walk(p.queue):  # and to whom they belong
        for n in dirs + files:
            to = os.path.join(i.queue, os.path.relpath(os.path.join(d, n), p.queue))
            if os.path.lexists(to):
                st = os.lstat(os.path.join(d, n))
                os.chown(to, st.st_uid, st.st_gid, follow_symlinks=False)
    before = {n: (d, os.lstat(os.path.join(d, n)).st_mtime) for d, _, names in os.walk(i.queue) for n in names}
    try:
        i.start()
        i.wait_log(r"qmgr\[\d+\]: deferred: took over \d+ messages that Postfix left")
        i.wait_log(r"to=<late@far\.test>.* status=deferred")
        yield i, sink, contents, before
    finally:
        i.stop()
        shutil.rmtree(base, ignore_errors=True)


def listed(i):
    out = i.command("postqueue", "-j").stdout
    return {m["queue_id"]: m for m in map(json.loads, out.splitlines())}


def test_every_message_is_there_under_its_id(world):
    i, _, contents, before = world
    queue = listed(i)
    assert set(contents) < set(queue) and len(queue) == len(contents) + 1  # and the one from maildrop/, which gets an id now
    held = [m for m in queue.values() if m["queue_name"] == "hold"]
    assert [m["recipients"][0]["address"] for m in held] == ["held@far.test"]
    assert {m["queue_name"] for m in queue.values()} == {"hold", "deferred"}
    for q, m in queue.items():
        if q in before:
            assert abs(m["arrival_time"] - before[q][1]) < 600
    assert not os.listdir(os.path.join(i.queue, "corrupt")) and not os.listdir(os.path.join(i.queue, "maildrop"))


def test_recipients_that_are_left(world):
    """Not those that have their mail already; what was rewritten, redirected or extracted is not done again."""
    by = {}
    for m in listed(world[0]).values():
        by[m["sender"] + " " + ",".join(sorted(r["address"] for r in m["recipients"]))] = m
    assert set(by) == {
        "a@b.test plain@far.test", "a@b.test one@far.test,several@far.test,two@far.test", "a@b.test dsn@far.test", "a@b.test other@far.test",
        "a@b.test filter@far.test", "a@b.test held@far.test", "a@b.test prepend@far.test", "a@b.test long@far.test", "jö@b.test ü@far.test",
        "owner@b.test verp@far.test", "s@b.test t1@far.test,t2@far.test", "s@b.test late@far.test"}


def test_content_is_the_same(world):
    i, _, contents, _ = world
    for q, text in contents.items():
        assert i.command("postcat", "-hbq", q).stdout == text, q


def test_everything_belongs_to_mail_owner(world):
    i = world[0]
    owner = pwd.getpwnam("postern").pw_uid
    for name in ("incoming", "active", "deferred", "hold", "corrupt"):
        for d, _, names in os.walk(os.path.join(i.queue, name)):
            assert all(os.lstat(os.path.join(d, n)).st_uid == owner for n in [".", *names])
    assert re.search(r"master\[\d+\]: deferred belonged to uid %d" % pwd.getpwnam("postfix").pw_uid, i.log())


def test_delivered_with_what_was_asked_for(world):
    """Last: the queue is let go, and the next hop gets every option that the first hop was given."""
    i, sink, contents, _ = world
    i.command("postsuper", "-H", "ALL")
    i.command("postconf", "-e", "defer_transports=")
    i.command("postern", "reload")
    end = time.monotonic() + 60
    while listed(i):
        i.command("postqueue", "-f")
        assert time.monotonic() < end, i.log()
        time.sleep(0.5)
    said = {re.sub(r" SIZE=\d+", "", x).encode("latin-1").decode() for x in sink.lines}
    assert not {"MAIL FROM:<a@b.test> BODY=8BITMIME ENVID=abc+2Bd RET=HDRS", "RCPT TO:<dsn@far.test> ORCPT=rfc822;x+2By@z.test NOTIFY=SUCCESS,DELAY",
                   "MAIL FROM:<jö@b.test> BODY=8BITMIME SMTPUTF8", "MAIL FROM:<owner+verp=far.test@b.test>",
                   "RCPT TO:<other@far.test> ORCPT=rfc822;other@far.test", "MAIL FROM:<s@b.test> ENVID=env-1"} - said, said
    assert len(set(sink.messages)) == len(contents) + 1
    assert sum(b"\nSubject: late" in m for m in sink.messages) == 1
