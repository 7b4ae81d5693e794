"""postsuper(1), -s, -S and -p: a queue file is called by its id and lies where that id belongs; nothing that can be delivered is lost on the way, and
unfinished files go. One queue for all: each test puts in order what it put in disorder."""
import json
import os
import re
import shutil
import subprocess
import time

import pytest

from instance import Instance, scratch

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="postsuper is the superuser's")


class Queue:
    def __init__(self):
        self.base = scratch("postern-postsuper.")
        self.inst = Instance(os.path.join(self.base, "i"), listen=(), main={
            "transport_maps": "inline:{ {later.test=retry:4.7.1 later} {sender.test=discard:} }", "header_checks": "pcre:{ {/^X-Cut:/ IGNORE} }", "minimal_backoff_time": "3000s", "maximal_backoff_time": "3000s"})
        self.inst.start(wait=False)
        self.inst.wait_log("daemon started")
        self.ids = [self.submit("r%d@later.test" % i) for i in range(3)]
        for i in self.ids:
            self.inst.wait_log(i + ": to=.*status=deferred")
        self.inst.stop()
        self.top = self.inst.queue

    def submit(self, rcpt, text=b""):
        n = len(re.findall(r"uid=\d+ from=", self.inst.log()))
        assert self.inst.command("sendmail", "-f", "s@sender.test", rcpt, input=text or b"Subject: s\n\nbody of %s\n" % rcpt.encode()).returncode == 0
        return self.inst.wait_log(r"(\w+): uid=\d+ from=", count=n + 1)[n].group(1)

    def names(self, *queues):
        return sorted(os.path.relpath(os.path.join(d, f), self.top) for q in queues or ("incoming", "active", "deferred", "hold")
                      for d, _, files in os.walk(os.path.join(self.top, q)) for f in files)

    def move(self, old, new):
        """Both below the queue directory; directories on the way are made as restoring a backup makes them."""
        self.directory(os.path.dirname(new))
        os.rename(os.path.join(self.top, old), os.path.join(self.top, new))

    def copy(self, old, new):
        shutil.copy2(os.path.join(self.top, old), os.path.join(self.top, new))
        self.own(new)

    def directory(self, name):
        os.makedirs(os.path.join(self.top, name), exist_ok=True)
        self.own(name)

    def own(self, name):
        while name:
            shutil.chown(os.path.join(self.top, name), "postern", "postern")
            name = os.path.dirname(name)

    def write(self, name, text=b"", age_s=0):
        path = os.path.join(self.top, name)
        with open(path, "wb") as f:
            f.write(text)
        self.own(name)
        os.utime(path, (time.time() - age_s,) * 2)

    def run(self, *args):
        p = self.inst.command("postsuper", *args)
        assert p.returncode == 0 and p.stdout == b"", p
        return [l.partition(": ")[2] for l in p.stderr.decode().splitlines()]

    def listing(self):
        return {m["queue_id"]: m for m in map(json.loads, self.inst.command("postqueue", "-j").stdout.decode().splitlines())}


@pytest.fixture(scope="module")
def q():
    made = Queue()
    yield made
    made.inst.stop()
    shutil.rmtree(made.base, ignore_errors=True)


def place(qid):
    return "deferred/%s/%s" % (qid[0], qid)


def test_nothing_to_do(q):
    """A sound queue is left as it is, silently, with and without options."""
    before = q.names()
    assert before == sorted(map(place, q.ids))
    for args in ((), ("-s",), ("-S",), ("-p",), ("-s", "-p", "bounce", "flush"), ("-s", "deferred")):
        assert q.run(*args) == [] and q.names() == before


def test_misplaced_files_are_moved(q):
    """The wrong digit, no digit, hashing of another depth, hashing where there is none; directories that are not needed go, also those that were empty."""
    a, b, c = q.ids
    wrong = "F" if a[0] != "F" else "0"
    q.move(place(a), "deferred/%s/%s" % (wrong, a))
    q.move(place(b), "deferred/" + b)
    q.move(place(c), "deferred/%s/%s/%s" % (c[0], c[1], c))
    q.directory("hold/7")
    said = q.run("-v", "-s")
    assert said[-1] == "Moved to the right directory: 3 messages"
    assert sorted(said[:-1]) == sorted("moved file deferred/%s as %s" % (n, place(i)) for n, i in
                                       (("%s/%s" % (wrong, a), a), (b, b), ("%s/%s/%s" % (c[0], c[1], c), c)))
    assert q.names() == sorted(map(place, q.ids))
    assert not os.path.exists(os.path.join(q.top, "hold/7")) and not os.path.exists(os.path.join(q.top, "deferred", c[0], c[1]))
    q.directory("hold/A")
    q.move(place(a), "hold/A/" + a)
    assert q.run("-s") == ["Moved to the right directory: 1 message"] and "hold/" + a in q.names()
    assert q.run("-H", a)[-1] == "Released from hold: 1 message" and q.names() == sorted(map(place, q.ids))


def test_names_follow_the_header(q):
    """Whatever a file is called, also when the name is no queue id; and what is no queue file stays, with a warning."""
    a, b, _ = q.ids
    q.move(place(a), "deferred/0/AAAAAAAAAAAAAA")
    q.move(place(b), "deferred/backup-1.bak")
    q.write("hold/READ.ME", b"x" * 9000)
    os.symlink("/etc/passwd", os.path.join(q.top, "incoming/ABCDEF0123"))
    said = q.run()
    assert sorted(said) == ["Renamed to match queue id: 2 messages", "warning: bogus file name: hold/READ.ME", "warning: bogus file name: incoming/ABCDEF0123"]
    os.unlink(os.path.join(q.top, "hold/READ.ME"))
    os.unlink(os.path.join(q.top, "incoming/ABCDEF0123"))
    assert q.names() == sorted(map(place, q.ids))


def test_same_message_twice(q):
    """Restored beside itself: one remains."""
    a = q.ids[0]
    q.copy(place(a), "deferred/" + a)
    assert q.run("-s") == ["warning: deferred/%s: removed: the same message is %s" % (a, place(a))]
    assert q.names() == sorted(map(place, q.ids))


def test_another_message_of_the_same_id(q):
    """It gets a new id, and is whole under it: sender, recipients, content, the reason why it waits."""
    a, b, _ = q.ids
    with open(os.path.join(q.top, place(b)), "rb") as f:
        other = f.read()
    kept = other
    q.move(place(a), "hold/" + a)
    assert q.run("-s") == []
    text = renamed_image(q, b, a)
    q.write("deferred/" + a, text)
    q.copy("hold/" + a, place(a))
    said = q.run("-s")
    m = re.fullmatch(r"warning: deferred/%s: another message has its queue id: it is deferred/(\w)/(\w+) from now on" % a, said[0])
    assert m and m.group(2)[0] == m.group(1) and said[1:] == ["Renamed to match queue id: 1 message"]
    listing = q.listing()
    new = listing[m.group(2)]
    assert new["sender"] == "s@sender.test" and [(r["address"], r["delay_reason"]) for r in new["recipients"]] == [("r1@later.test", "later")]
    assert b"body of r1@later.test\n" in q.inst.command("postcat", "-bq", m.group(2)).stdout
    os.unlink(os.path.join(q.top, "hold/" + a))
    assert q.run("-d", m.group(2)) == ["%s: removed" % m.group(2), "Deleted: 1 message"]
    assert q.names() == sorted(map(place, q.ids)) and open(os.path.join(q.top, place(b)), "rb").read() == kept


def crc32c(data):
    table = []
    for i in range(256):
        c = i
        for _ in range(8):
            c = c >> 1 ^ 0x82F63B78 if c & 1 else c >> 1
        table.append(c)
    c = 0xFFFFFFFF
    for byte in data:
        c = table[(c ^ byte) & 0xFF] ^ c >> 8
    return c ^ 0xFFFFFFFF


def renamed_image(q, qid, new):
    """The file of qid with the id `new`, of the same length, in header and envelope, checksums put right (lib/queue/qheader.h)."""
    with open(os.path.join(q.top, place(qid)), "rb") as f:
        b = bytearray(f.read())
    assert len(qid) == len(new)
    b[16:16 + len(new)] = new.encode()
    off, n = int.from_bytes(b[48:56], "little"), int.from_bytes(b[56:60], "little")
    at = b.index(qid.encode(), off, off + n)
    b[at:at + len(new)] = new.encode()
    b[60:64] = crc32c(b[off:off + n]).to_bytes(4, "little")
    b[104:108] = crc32c(b[:104]).to_bytes(4, "little")
    return bytes(b)


def test_checksums(q):
    """-S reads each message whole; a damaged one is told of and left."""
    a = q.ids[0]
    path = os.path.join(q.top, place(a))
    with open(path, "r+b") as f:
        f.seek(4096 + 20)
        f.write(b"\0")
        kept = f.tell()
    assert kept and q.run("-s") == []
    assert q.run("-S") == ["warning: %s: the checksum of the content is wrong" % place(a)] and os.path.exists(path)
    q.run("-d", a)
    q.ids.remove(a)


def test_unfinished_files(q):
    """Those of a day ago, and those whose writer is gone; a writer that is there may be at it. Other hidden files are not ours."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name, age in (("incoming/.new.%d.0" % os.getpid(), 0), ("incoming/.new.%d.1" % os.getpid(), 2 * 86400), ("hold/.new.%d.7" % gone.pid, 60),
                      ("deferred/5/.new.%d.2" % os.getpid(), 2 * 86400), ("pool/.new.1.0", 2 * 86400), ("corrupt/.new.1.1", 2 * 86400), ("incoming/.hidden", 2 * 86400)):
        q.directory(os.path.dirname(name))
        q.write(name, age_s=age)
    assert q.run("-s") == []
    assert q.run("-p", "hold") == ["Purged: 1 temporary file"]
    assert q.run("-v", "-p")[-1] == "Purged: 4 temporary files"
    left = [n for n in q.names("incoming", "deferred", "hold", "pool", "corrupt") if "/." in n]
    assert left == ["incoming/.hidden", "incoming/.new.%d.0" % os.getpid()]
    for n in left:
        os.unlink(os.path.join(q.top, n))


def test_what_it_makes_is_the_owners(q):
    """Work while the suite is down leaves no file that the daemons could not open."""
    b = q.ids[0]
    q.run("-h", b)
    q.run("-H", b)
    st = os.stat(os.path.join(q.top, place(b)))
    assert st.st_uid == os.stat(os.path.join(q.top, "deferred")).st_uid != 0
    assert {os.stat(os.path.join(q.top, "deferred", d)).st_uid for d in os.listdir(os.path.join(q.top, "deferred"))} == {st.st_uid}


def test_maildrop(q):
    """What postdrop left and nobody picked up yet can be deleted, running or not, by id and with ALL; no other operation takes it."""
    for n in range(2):
        assert q.inst.command("sendmail", "-f", "s@sender.test", "m@later.test", input=b"Subject: m\n\nx\n").returncode == 0
    one, two = sorted(os.listdir(os.path.join(q.top, "maildrop")))
    assert q.run("-h", one) == ["Placed on hold: 0 messages"]
    assert q.run("-d", "ALL", "active") == ["Deleted: 0 messages"] and sorted(os.listdir(os.path.join(q.top, "maildrop"))) == [one, two]
    assert q.run("-d", one) == ["%s: removed" % one, "Deleted: 1 message"]
    assert q.run("-d", "ALL", "maildrop") == ["Deleted: 1 message"] and os.listdir(os.path.join(q.top, "maildrop")) == []


def test_while_it_runs(q):
    """What was put into its place is found by qmgr at once; a message in maildrop/ that pickup has not got goes."""
    b = q.ids[0]
    q.inst.drop = {"pickup"}
    q.move(place(b), "deferred/" + b)
    q.inst.start(wait=False)
    q.inst.wait_log("daemon started", count=2)
    assert q.run("-e", b)[-1] == "Force-expired: 0 messages"
    assert q.run("-s") == ["Moved to the right directory: 1 message"]
    assert q.run("-e", b) == [b + ": expired", "Force-expired: 1 message"]
    q.inst.wait_log(b + ": from=<s@sender.test>, status=force-expired")
    assert q.inst.command("sendmail", "-f", "s@sender.test", "m@later.test", input=b"Subject: m\n\nx\n").returncode == 0
    one, = os.listdir(os.path.join(q.top, "maildrop"))
    assert q.run("-d", one) == ["%s: removed" % one, "Deleted: 1 message"] and os.listdir(os.path.join(q.top, "maildrop")) == []
    assert q.run("-d", one) == ["Deleted: 0 messages"]


def requeued(q, qid):
    """The id that the message has now; it was tried under it."""
    new = q.inst.wait_log(r": (\w+): uid=\d+ from=<.*> orig_id=%s$" % qid)[0][1]
    q.inst.wait_log(new + ": to=.*status=deferred")
    assert new != qid and os.listdir(os.path.join(q.top, "maildrop")) == []
    return new


def aged(q, qid, days):
    """Its file says that it came so long ago."""
    path = os.path.join(q.top, place(qid))
    with open(path, "rb") as f:
        b = bytearray(f.read())
    off, n = int.from_bytes(b[48:56], "little"), int.from_bytes(b[56:60], "little")
    at = b.index(qid.encode(), off, off + n) + len(qid)
    then = int.from_bytes(b[at:at + 8], "little") - days * 86400 * 1000000
    b[at:at + 8] = then.to_bytes(8, "little")
    b[60:64] = crc32c(b[off:off + n]).to_bytes(4, "little")
    b[104:108] = crc32c(b[:104]).to_bytes(4, "little")
    with open(path, "wb") as f:
        f.write(b)
    return then // 1000000


def test_requeue(q):
    """-r: pickup and cleanup have the message again, from deferred/ and from hold/, small and large, also one that header checks have cut. It keeps
    sender, recipient, content and time of arrival."""
    q.inst.drop = set()
    q.inst.stop()
    q.inst.start(wait=False)
    q.inst.wait_log("daemon started", count=3)
    large = b"Subject: large\nX-Cut: y\nX-Kept: y\n\n" + b"0123456789abcdef\n" * 30000
    for text, held in ((b"", False), (large, True), (large[:900000 // 3], False)):
        qid = q.submit("again@later.test", text)
        q.inst.wait_log(qid + ": to=.*status=deferred")
        assert not held or q.run("-h", qid)[-1] == "Placed on hold: 1 message"
        was, before = q.inst.command("postcat", "-bhq", qid).stdout, q.listing()[qid]
        assert q.run("-r", qid) == [qid + ": requeued", "Requeued: 1 message"]
        new = requeued(q, qid)
        now, after = q.inst.command("postcat", "-bhq", new).stdout, q.listing()
        assert qid not in after and [after[new][k] for k in ("sender", "arrival_time")] == [before[k] for k in ("sender", "arrival_time")]
        head, sep, rest = now.partition(b"\n\tid %s; " % new.encode())
        assert re.fullmatch(rb"Received: by \S+ \(\w+, from userid %d\)" % os.stat(q.top + "/deferred").st_uid, head) and sep
        assert rest.partition(b"\n")[2] == was and b"X-Cut" not in was
        q.run("-d", new)


def test_requeue_while_it_is_down(q):
    """Requeued messages begin their time in the queue anew (man page of postsuper), and are due at the start, from whatever queue."""
    ids = [q.submit("down%d@later.test" % i) for i in range(3)]
    for i in ids:
        q.inst.wait_log(i + ": to=.*status=deferred")
    q.run("-h", ids[1])
    q.inst.stop()
    arrival = [aged(q, ids[0], 10), aged(q, ids[2], 10)]
    assert q.run("-r", ids[0], "-r", ids[1]) == [ids[0] + ": requeued", ids[1] + ": requeued", "Requeued: 2 messages"]
    assert sorted(os.listdir(os.path.join(q.top, "maildrop"))) == sorted(ids[:2]) and {q.listing()[i]["queue_name"] for i in ids[:2]} == {"maildrop"}
    q.inst.start(wait=False)
    new = [requeued(q, i) for i in ids[:2]]
    assert q.listing()[new[0]]["arrival_time"] == arrival[0]
    q.inst.command("postqueue", "-f")
    q.inst.wait_log(ids[2] + ": from=<s@sender.test>, status=expired, returned to sender")
    q.inst.wait_log(new[0] + ": to=.*status=deferred", count=2)
    assert new[0] + ": from=<s@sender.test>, status=expired" not in q.inst.log()
    q.run("-d", new[0], "-d", new[1])


def test_release_keeps_the_time(q):
    """-H: what was deferred waits for its time; what is due is tried."""
    qid = q.submit("time@later.test")
    q.inst.wait_log(qid + ": to=.*status=deferred")
    due = lambda: re.search(rb"next_attempt_time: (.*)", q.inst.command("postcat", "-eq", qid).stdout)[1]
    before = due()
    assert q.run("-h", qid, "-H", qid)[-1] == "Released from hold: 1 message"
    assert due() == before and q.listing()[qid]["queue_name"] == "deferred"
    q.inst.command("postqueue", "-i", qid)
    q.inst.wait_log(qid + ": to=.*status=deferred", count=2)
    q.run("-d", qid)


def test_name_taken_in_maildrop(q):
    """Somebody's file of the same name is not replaced: the message stays where it is."""
    qid = q.submit("taken@later.test")
    q.inst.wait_log(qid + ": to=.*status=deferred")
    q.inst.stop()
    q.write("maildrop/" + qid, b"another's")
    said = q.run("-r", qid)
    assert said[-1] == "Requeued: 0 messages" and "File exists" in said[0] and q.listing()[qid]["queue_name"] == "deferred"
    os.unlink(os.path.join(q.top, "maildrop", qid))
    q.run("-d", qid)
    q.inst.start(wait=False)


def test_before_the_start(q):
    """postfix start puts the queue in order first: qmgr takes a name that is no id for damage."""
    b = q.ids[1]
    q.inst.stop()
    q.move(place(b), "deferred/copy-of-1")
    try:
        p = q.inst.command("postfix", "start")
        assert p.returncode == 0 and b"postsuper: Renamed to match queue id: 1 message\n" in p.stderr, p.stderr
        assert b in q.listing() and not os.listdir(os.path.join(q.top, "corrupt"))
    finally:
        q.inst.command("postfix", "stop")
