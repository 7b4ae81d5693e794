"""Our commands beside Debian's Postfix while both run, with the same messages in the same queues: standard output, standard error and exit status are
the same, queue ids, sizes and times apart."""
import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from fakesmtp import HANG, Server
from instance import Instance, scratch

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="needs root and Debian's postfix")
USELESS = r"dict_|name_mask|inet_addr|mynetworks|backwards-compatible"


def ids(mta):
    """sender -> (queue, id)."""
    out = mta.command("postqueue", "-j", timeout=60).stdout.decode().splitlines()
    return {m["sender"]: (m["queue_name"], m["queue_id"]) for m in map(json.loads, out)}


def until(what, condition, *more):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, (what, *(m() for m in more))
        time.sleep(0.05)


class Side:
    """One that runs, with a message that is deferred, one on hold, one that a mute server keeps active, and one that waits behind it."""

    def __init__(self, mta):
        self.mta = mta
        self.mute = Server(GREETING=HANG)
        mta.main.update({
            "transport_maps": f"inline:{{ {{later.test=retry:4.7.1 come back}} {{mute.test=smtp:[127.0.0.1]:{self.mute.port}}} }}", "qmgr_message_active_limit": "1",
            "header_checks": "pcre:{{/^X-Hold:/ HOLD}}", "minimal_backoff_time": "3000s", "maximal_backoff_time": "3000s", "queue_run_delay": "3000s",
            "fast_flush_domains": "later.test", "smtp_helo_timeout": "300s", "smtp_tls_security_level": "none", "alias_database": f"hash:{mta.config}/aliases"})
        mta.start()
        self.names = {}
        for sender, to, head in (("deferred@x.test", ["a@later.test", "b@later.test"], ""), ("held@x.test", ["c@later.test"], "X-Hold: y\n"),
                                 ("active@x.test", ["d@mute.test"], ""), ("waiting@x.test", ["e@mute.test"], "")):
            p = mta.command("sendmail", "-i", "-f", sender, *to, input=f"{head}Subject: {sender}\n\nbody\n".encode(), timeout=60)
            assert p.returncode == 0, p.stderr
            want = {"waiting": "incoming"}.get(sender.split("@")[0], {"held": "hold"}.get(sender.split("@")[0], sender.split("@")[0]))
            until(sender, lambda s=sender, w=want: ids(mta).get(s, [""])[0] == w, lambda: ids(mta), mta.log)
            self.names[sender.split("@")[0].upper()] = ids(mta)[sender][1]

    def run(self, command, stdin=b"", **kw):
        name, *args = [re.sub(r"\b(DEFERRED|HELD|ACTIVE|WAITING)\b", lambda m: self.names.get(m[0], m[0]), a) for a in command]
        p = self.mta.command(name, *args, input=stdin, timeout=60, **kw)
        return p.returncode, self.plain(p.stdout), [l for l in dict.fromkeys(self.plain(p.stderr).splitlines()) if not re.search(USELESS, l)]

    def plain(self, text):
        text = text.decode("utf-8", "replace")
        for name, i in self.names.items():
            text = re.sub(rf"\b{i}([*!#]?) *", rf"{name}\1 ", text)
        text = text.replace(self.mta.base, "BASE")
        text = re.sub(r"(?m)^(\w+[*!#]? ) *\d+ \w{3} \w{3} .\d \d\d:\d\d:\d\d", r"\1SIZE TIME", text)
        text = re.sub(r'"(arrival_time|message_size)": \d+', r'"\1": N', text)
        text = re.sub(r"-- \d+ Kbytes", "-- N Kbytes", text)
        head, sep, rest = text.partition("-------\n")  # messages come in the order of the directory
        if sep:
            return head + sep + "\n\n".join(sorted(rest.split("\n\n")))
        return "\n".join(sorted(text.splitlines())) if '"queue_name"' in text else text


@pytest.fixture(scope="module")
def sides():
    base = scratch("postern-running.")
    ours = Instance(os.path.join(base, "ours"), listen=())
    theirs = peer.Peer(os.path.join(base, "theirs"), listen=())
    start = ours.start

    def begin():
        start(wait=False)
        ours.wait_queue()
    ours.start = begin
    made = []
    try:
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(Side, (theirs, ours)))
        yield made
    finally:
        theirs.stop()
        ours.stop()
        shutil.rmtree(base, ignore_errors=True)


COMMANDS = [
    # what shows
    ["postqueue", "-p"], ["mailq"], ["sendmail", "-bp"], ["postqueue", "-j"],
    ["postqueue", "-i", "HELD"], ["postqueue", "-i", "ABCDEF12345"], ["postqueue", "-i", "x/y"], ["postqueue", "-s", "other.test"], ["postqueue", "-s", "later.test"], ["sendmail", "-qRother.test"],
    ["sendmail", "-qIABCDEF12345"],
    ["postkick", "public", "nosuch", "W"], ["postkick", "private", "nosuch", "W"], ["postkick", "public", "qmgr", ""],
    # what changes
    ["postsuper", "-h", "DEFERRED"], ["postsuper", "-h", "DEFERRED"], ["postqueue", "-p"], ["postsuper", "-H", "DEFERRED"], ["postsuper", "-H", "ABCDEF12345"],
    ["postsuper", "-h", "ALL", "deferred"], ["postsuper", "-H", "ALL", "hold"], ["postsuper", "-h", "-"], ["postsuper", "-d", "ABCDEF12345", "-d", "HELD"], ["postqueue", "-j"],
    ["postsuper", "-e", "DEFERRED"], ["postqueue", "-p"],
    # what is refused
    ["newaliases"], ["postsuper", "-d", "WAITING"], ["postqueue", "-p"],
    ["sendmail", "-bv", "-t"], ["sendmail", "-t", "-i"], ["sendmail", "-i", "-f", "x@later.test"],
]


@pytest.mark.parametrize("n", range(len(COMMANDS)), ids=lambda n: f"{n}: " + " ".join(COMMANDS[n]))
def test_the_same(sides, n):
    """In this order, for the commands change the queues."""
    with ThreadPoolExecutor(2) as pool:
        theirs, ours = pool.map(lambda s: s.run(COMMANDS[n], b"DEFERRED\n" if COMMANDS[n][-1] == "-" else b"Subject: none\n\nx\n"), sides)
    assert ours == theirs
