#!/usr/bin/python3
"""Cuts the power. A run of the suite is recorded (writes, flushes and names, by strace); then crash states that a disk may legally be left in are
replayed, under the strict model of POSIX: what was not flushed may be there, not be there, or be there in part, sector by sector; a name is durable
when its directory was flushed, or not at all. Queue and mailboxes count as two file systems without a common order (which includes the case of one).
In each state every message acknowledged before the cut must be complete in the queue or in the mailbox. On some states the suite is started for
real, and every message must then be in the mailbox exactly once; but for those that postsuper -r sends through cleanup again: pickup, which removes
what cleanup has, may have been cut off in between. usage: power.py STATES [SEED]"""
import json
import os
import random
import re
import shutil
import smtplib
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from instance import BUILD, Instance, until  # noqa: E402

SECTOR = 512
CALLS = ("openat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,linkat,link,unlink,unlinkat,rename,renameat,renameat2,"
         "ftruncate,mkdir,mkdirat")


# ---- recording ------------------------------------------------------------------------------------------------------
def instance(base):
    inst = Instance(base, listen=("smtp",), main={
        "maillog_file_prefixes": os.path.dirname(base), "virtual_mailbox_domains": "example.test", "virtual_transport": "virtual",
        "virtual_mailbox_maps": "inline:{user0@example.test=user0/ user1@example.test=user1/}", "smtpd_peername_lookup": "no",
        "minimal_backoff_time": "300s", "queue_run_delay": "1s", "transport_maps": f"texthash:{base}/transport"})
    inst.main["virtual_mailbox_base"] = inst.mail
    inst.main["virtual_uid_maps"] = f"static:{inst.uid}"
    inst.main["virtual_gid_maps"] = f"static:{inst.gid}"
    inst.main["virtual_minimum_uid"] = str(min(inst.uid, 100))
    return inst


def route(inst, text):
    """What the transport table says: half of the mail is deferred by it at first."""
    os.makedirs(inst.base, exist_ok=True)
    with open(os.path.join(inst.base, "transport.new"), "w", encoding="ascii") as f:
        f.write(text)
    os.rename(f.name, os.path.join(inst.base, "transport"))


def requeue(inst):
    """What is deferred is delivered now; eight of it by postsuper -r, with qmgr, pickup and cleanup recorded."""
    def listed():
        return [json.loads(m) for m in inst.command("postqueue", "-j").stdout.decode().splitlines()]
    waiting = lambda: all(m["queue_name"] == "deferred" for m in listed())
    if not until(waiting) or not listed():
        sys.exit("power: nothing is deferred")
    route(inst, "other@example.test retry:\n")
    until(lambda: "/transport has changed" in inst.log(), 5)
    for m in listed()[:8]:
        inst.command("postsuper", "-r", m["queue_id"])
    for _ in range(20):  # until nobody uses the table as it was
        until(waiting, 10)
        if not listed():
            return
        inst.command("postqueue", "-f")
    sys.exit("power: deferred messages are not delivered")


def existing(inst):
    """What lies on disk when the recording begins, and is durable: the pool of slots."""
    found = {}
    for top, _, files in os.walk(os.path.join(inst.queue, "pool")):
        for n in files:
            with open(os.path.join(top, n), "rb") as f:
                found[os.path.join(top, n)] = f.read()
    return found


def send(port, first, count, acked):
    with smtplib.SMTP("127.0.0.1", port, timeout=60, local_hostname="sender.test") as c:
        for i in range(first, first + count):
            token, size = f"P{i:05d}", (300, 4000, 40000, 120000, 400000)[i % 5]
            body = f"From: a@b.test\r\nSubject: {token}\r\n\r\n" + ("y" * 70 + "\r\n") * (size // 72) + f"end {token}\r\n"
            c.mail("a@b.test")
            c.rcpt(f"user{i % 2}@example.test")
            code, text = c.data(body)
            if code == 250:
                acked[text.decode().split()[-1]] = token


def record(base, trace):
    inst = instance(base)
    route(inst, "other@example.test retry:\n")
    inst.start()  # once before: the pool of slots exists, small and large, and the recording holds messages only
    send(inst.port["smtp"], 90000, 5, {})
    for _ in range(600):
        if any(n.startswith("large.") for n in os.listdir(os.path.join(inst.queue, "pool"))):
            break
        time.sleep(0.1)
    else:
        sys.exit("power: no file of large slots was made")
    inst.wait_queue_empty(300)
    inst.stop()
    for n in range(2):
        shutil.rmtree(os.path.join(inst.mail, f"user{n}"), ignore_errors=True)
    route(inst, "user0@example.test nosuch:wait\n")
    before = existing(inst)
    inst.wrap = ["strace", "-f", "-o", trace, "-xx", "-s", "400000", "-y", "-e", "trace=" + CALLS, "-e", "signal=none"]
    inst.start()
    acked = {}  # queue id -> token
    threads = [threading.Thread(target=send, args=(inst.port["smtp"], n * 1000, 16, acked)) for n in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    requeue(inst)
    time.sleep(1.5)
    with open(os.path.join(inst.queue, "pid", "master.pid"), encoding="ascii") as f:
        os.kill(int(f.read()), 15)
    inst.proc.wait(120)
    inst.proc = None
    return inst, acked, before


# ---- the trace ------------------------------------------------------------------------------------------------------
HEX = re.compile(r"\\x([0-9a-f]{2})")


def unhex(s):
    return bytes.fromhex(s.replace("\\x", "")) if "\\x" in s else s.encode("latin-1")


FD = re.compile(r"(\d+|AT_FDCWD)<([^>]*)>(\(deleted\))?")
STR = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def fd_path(m):
    return unhex(m.group(2)).decode("latin-1")


class Trace:
    """Events in order: (kind, ...). Files are named by the path strace shows for their descriptor; an unnamed file (O_TMPFILE) keeps that path, which
    has the inode's number in it: numbers are used again, so each such file gets a number of ours, too."""

    def __init__(self, path, roots):
        self.events, self.roots, self.open = [], roots, {}
        self.alias = {}  # name, or path by which descriptors are shown -> the file
        self.nameless = 0
        with open(path, encoding="latin-1") as f:
            for line in f:
                self.line(line.rstrip("\n"))

    def ours(self, path):
        return any(path == r or path.startswith(r + "/") for r in self.roots)

    def line(self, line):
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            call = rest[:-len("<unfinished ...>")].rstrip()
            self.open[pid] = call
            self.begin(pid, call)
            return
        m = re.match(r"<\.\.\. \w+ resumed>(.*)$", rest)
        if m:
            rest = self.open.pop(pid, "") + m.group(1)
        else:
            self.begin(pid, rest)
        m = re.search(r"\)\s*=\s*(-?\d+|\?)", rest[-400:] if len(rest) > 400 else rest)
        if not m or m.group(1).startswith("-") or m.group(1) == "?":
            self.events.append(("end", pid, False))
            return
        self.finish(pid, rest)

    def begin(self, pid, call):
        if call.startswith(("fsync(", "fdatasync(")):
            m = FD.search(call)
            if m and self.ours(fd_path(m)):
                self.events.append(("sync-begin", pid, self.real(fd_path(m))))

    def real(self, path):
        return self.alias.get(path, path)

    def finish(self, pid, call):
        name = call.split("(", 1)[0]
        getattr(self, "do_" + name, lambda p, c: None)(pid, call)

    def do_fsync(self, pid, call):
        m = FD.search(call)
        if m and self.ours(fd_path(m)):
            self.events.append(("sync-end", pid, self.real(fd_path(m))))

    do_fdatasync = do_fsync

    def data_of(self, call):
        return b"".join(unhex(s) for s in STR.findall(call.split(">", 1)[1]))

    def do_write(self, pid, call):
        m = FD.search(call)
        if not m:
            return
        path = fd_path(m)
        if self.ours(path):
            self.events.append(("write", self.real(path), None, self.data_of(call)))
        elif b"250 2.0.0 Ok: queued as" in (data := self.data_of(call)):
            for q in re.findall(rb"250 2\.0\.0 Ok: queued as ([0-9A-Z]+)", data):
                self.events.append(("ack", q.decode()))

    do_writev = do_write

    def do_pwrite64(self, pid, call):
        m = FD.search(call)
        if m and self.ours(fd_path(m)):
            off = int(re.search(r", (\d+)\)\s*=", call[-60:]).group(1))
            self.events.append(("write", self.real(fd_path(m)), off, self.data_of(call)))

    do_pwritev = do_pwrite64

    def do_pwritev2(self, pid, call):
        m = FD.search(call)
        if m and self.ours(fd_path(m)):
            off = int(re.search(r", (\d+), \w+\)\s*=", call[-80:]).group(1))
            self.events.append(("write", self.real(fd_path(m)), off, self.data_of(call)))

    def do_ftruncate(self, pid, call):
        m = FD.search(call)
        if m and self.ours(fd_path(m)):
            self.events.append(("truncate", self.real(fd_path(m)), int(re.search(r", (\d+)\)\s*=", call).group(1))))

    def name_args(self, call):
        """Pairs (directory, name) of the *at calls: FD<dir>, "name"."""
        out = []
        for m in re.finditer(r'(?:(\d+|AT_FDCWD)<([^>]*)>(?:\(deleted\))?, )?"((?:\\x[0-9a-f]{2})*)"', call):
            d = unhex(m.group(2)).decode("latin-1") if m.group(2) else ""
            n = unhex(m.group(3)).decode("latin-1")
            out.append((d, n))
        return out

    @staticmethod
    def join(d, n):
        return n if n.startswith("/") else (d + "/" + n if n else d)

    def do_linkat(self, pid, call):
        (d1, n1), (d2, n2) = self.name_args(call)[:2]
        m = re.match(r"/proc/self/fd/(\d+)$", n1)
        src, dst = self.join(d1, n1), self.join(d2, n2)
        if m:
            return  # strace shows no path for these; the suite uses AT_EMPTY_PATH
        if self.ours(dst):
            self.alias[dst] = self.real(src)
            self.events.append(("link", dst, self.real(src)))

    def do_link(self, pid, call):
        (_, a), (_, b) = self.name_args(call)[:2]
        if self.ours(b):
            self.alias[b] = self.real(a)
            self.events.append(("link", b, self.real(a)))

    def do_unlinkat(self, pid, call):
        path = self.join(*self.name_args(call)[0])
        if self.ours(path):
            self.events.append(("unlink", path))
            self.alias.pop(path, None)

    do_unlink = do_unlinkat

    def do_renameat(self, pid, call):
        (d1, n1), (d2, n2) = self.name_args(call)[:2]
        a, b = self.join(d1, n1), self.join(d2, n2)
        if self.ours(a) and self.ours(b):
            obj = self.alias.pop(a, a)
            self.alias[b] = obj
            self.events.append(("rename", a, b, obj))

    do_rename = do_renameat2 = do_renameat

    def do_openat(self, pid, call):
        if "O_TMPFILE" in call:
            shown = list(FD.finditer(call))[-1]  # the result
            if self.ours(fd_path(shown)):
                self.nameless += 1
                self.alias[fd_path(shown)] = f"{fd_path(shown)}@{self.nameless}"
            return
        if "O_CREAT" not in call:
            return
        path = self.join(*self.name_args(call)[0])
        if self.ours(path) and path not in self.alias:
            self.events.append(("create", path, path))


# ---- the disk -------------------------------------------------------------------------------------------------------
class File:
    def __init__(self):
        self.durable, self.pending, self.pos = bytearray(), [], 0

    def apply(self, data, op):
        kind, off, bytes_ = op
        if kind == "truncate":
            del data[off:]
            data.extend(b"\0" * (off - len(data)))
            return
        if len(data) < off:
            data.extend(b"\0" * (off - len(data)))
        data[off:off + len(bytes_)] = bytes_

    def write(self, off, data):
        off = self.pos if off is None else off
        self.pending.append(("write", off, data))
        self.pos = off + len(data)

    def sync(self, n):
        for op in self.pending[:n]:
            self.apply(self.durable, op)
        del self.pending[:n]

    def state(self, how, rng):
        data = bytearray(self.durable)
        for op in self.pending:
            if how == "all":
                self.apply(data, op)
            elif how == "random":
                if op[0] == "truncate" or len(op[2]) <= SECTOR:
                    if rng.random() < 0.5:
                        self.apply(data, op)
                    continue
                for at in range(0, len(op[2]), SECTOR):  # torn
                    if rng.random() < 0.5:
                        self.apply(data, ("write", op[1] + at, op[2][at:at + SECTOR]))
        return data


class Disk:
    """Names per directory and contents per file, durable and pending."""

    def __init__(self, before):
        self.files, self.names, self.pending, self.syncing = {}, {}, [], {}
        for path, data in before.items():
            self.names[path] = path
            self.file(path).durable = bytearray(data)

    def file(self, obj):
        return self.files.setdefault(obj, File())

    def event(self, ev):
        kind = ev[0]
        if kind == "write":
            self.file(ev[1]).write(ev[2], ev[3])
        elif kind == "truncate":
            self.file(ev[1]).pending.append(("truncate", ev[2], b""))
        elif kind in ("link", "create"):
            self.file(ev[2])
            self.pending.append(((os.path.dirname(ev[1]),), "link", ev[1], ev[2]))
        elif kind == "unlink":
            self.pending.append(((os.path.dirname(ev[1]),), "unlink", ev[1], None))
        elif kind == "rename":
            self.pending.append(((os.path.dirname(ev[1]), os.path.dirname(ev[2])), "rename", ev[1], (ev[2], ev[3])))
        elif kind == "sync-begin":
            f = self.files.get(ev[2])
            self.syncing[ev[1]] = (ev[2], len(f.pending) if f else 0, list(self.pending))
        elif kind == "sync-end":
            obj, n, names = self.syncing.pop(ev[1], (ev[2], 0, []))
            if obj in self.files:
                self.files[obj].sync(n)
            else:
                for op in names:  # a directory: its names that were there when the call began
                    if obj in op[0] and op in self.pending:
                        self.apply(self.names, op)
                        self.pending.remove(op)

    @staticmethod
    def apply(names, op):
        _, kind, path, arg = op
        if kind == "link":
            names[path] = arg
        elif kind == "unlink":
            names.pop(path, None)
        else:
            names.pop(path, None)
            names[arg[0]] = arg[1]

    def state(self, how_of, rng):
        """how_of(path) -> none, all, random: for each of the two file systems."""
        names = dict(self.names)
        for op in self.pending:
            how = how_of(op[2])
            if how == "all" or (how == "random" and rng.random() < 0.5):
                self.apply(names, op)
        return {p: self.files[o].state(how_of(p), rng) for p, o in names.items() if o in self.files}


# ---- judging --------------------------------------------------------------------------------------------------------
def mailbox_tokens(state, mail):
    found = {}
    for path, data in state.items():
        if path.startswith(mail + "/") and os.path.basename(os.path.dirname(path)) in ("new", "cur"):
            m = re.search(rb"^Subject: (P\d+)$", bytes(data), re.M)
            if m and bytes(data).rstrip().endswith(b"end " + m.group(1)):
                found[m.group(1).decode()] = found.get(m.group(1).decode(), 0) + 1
    return found


def write_state(state, root, to):
    shutil.rmtree(to, ignore_errors=True)
    for d in ("incoming", "active", "deferred", "hold", "corrupt", "pool", "maildrop"):
        os.makedirs(os.path.join(to, d))
    for path, data in state.items():
        if not path.startswith(root + "/") or path.startswith((root + "/pid/", root + "/private/", root + "/public/")):
            continue
        out = os.path.join(to, os.path.relpath(path, root))
        os.makedirs(os.path.dirname(out), exist_ok=True)
        with open(out, "wb") as f:
            if len(data) > 1 << 20:  # the pool: mostly zeros
                f.truncate(len(data))
                for at in range(0, len(data), 4096):
                    piece = data[at:at + 4096]
                    if any(piece):
                        f.seek(at)
                        f.write(piece)
            else:
                f.write(data)


def queue_tokens(directory):
    out = subprocess.run([os.path.join(BUILD, "t", "queue_dump"), directory], stdout=subprocess.PIPE, check=True).stdout.decode("latin-1")
    return {l.split()[0] for l in out.splitlines() if l}


def boot(base, recorded, state, acked, work):
    """The suite itself on the crashed disk."""
    inst = instance(os.path.join(work, "boot"))
    inst.remove()
    os.makedirs(inst.base)
    os.chmod(inst.base, 0o755)
    write_state(state, recorded.queue, inst.queue)
    for path, data in state.items():
        if path.startswith(recorded.mail + "/"):
            out = os.path.join(inst.mail, os.path.relpath(path, recorded.mail))
            os.makedirs(os.path.dirname(out), exist_ok=True)
            with open(out, "wb") as f:
                f.write(data)
    os.makedirs(inst.mail, exist_ok=True)
    if inst.root:
        subprocess.run(["chown", "-R", f"{inst.uid}:{inst.gid}", inst.mail], check=True)
        subprocess.run(["chown", "-R", "postern:postern", inst.queue], check=True)
    route(inst, "other@example.test retry:\n")
    with inst:
        until(lambda: inst.command("postqueue", "-f") and not inst.command("postqueue", "-j").stdout, 300)  # before its time
        time.sleep(0.3)
    found = {}
    for top, _, files in os.walk(inst.mail):
        if os.path.basename(top) in ("new", "cur"):
            for n in files:
                with open(os.path.join(top, n), encoding="latin-1") as f:
                    m = re.search(r"^Subject: (P\d+)$", f.read(), re.M)
                if m:
                    found[m.group(1)] = found.get(m.group(1), 0) + 1
    lost = [t for t in acked if t not in found]
    doubled = [t for t, n in found.items() if n > (1 if int(t[1:]) % 2 else 2)]  # user0's are requeued
    if lost or doubled:
        where = {t: [p for p, d in state.items() if f"Subject: {t}".encode() in d] for t in lost}
        print(f"power: started on a crashed disk: lost {lost}, doubled {doubled}; were in {where}; log {inst.maillog}")
        sys.exit(1)
    inst.remove()


MODELS = {"nothing unflushed": ("none", "none"), "everything": ("all", "all"), "anything": ("random", "random"),
          "queue ahead of mailboxes": ("all", "none"), "mailboxes ahead of queue": ("none", "all")}


def main():
    states = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    rng = random.Random(seed)
    work = tempfile.mkdtemp(prefix="postern-power-")
    os.chmod(work, 0o755)
    inst, acked, before = record(os.path.join(work, "i"), os.path.join(work, "trace"))
    events = Trace(os.path.join(work, "trace"), [inst.queue, inst.mail]).events
    acks = [e[1] for e in events if e[0] == "ack"]
    if len(acks) < len(acked) or not any(e[0] == "link" and e[1].startswith(inst.mail) for e in events):
        print(f"power: the recording is not complete: {len(acks)} of {len(acked)} acknowledgements; {work}")
        sys.exit(1)
    first = next(i for i, e in enumerate(events) if e[0] == "ack")
    points = sorted(rng.choices(range(first, len(events)), k=max(1, states // len(MODELS))))
    boots = set(rng.sample(range(len(points)), min(len(points), int(os.environ.get("BOOTS", max(10, states // 100))))))
    disk, at, done, both, cut = Disk(before), 0, [], 0, 0
    scratch = os.path.join("/dev/shm" if os.access("/dev/shm", os.W_OK) else work, f"postern-power-{os.getpid()}")
    for n, point in enumerate(points):
        while at <= point:
            if events[at][0] == "ack":
                done.append(acked.get(events[at][1]))
            disk.event(events[at])
            at += 1
        want = {t for t in done if t}
        for model, (queue_how, mail_how) in MODELS.items():
            state = disk.state(lambda p: queue_how if p.startswith(inst.queue) else mail_how, rng)
            box = mailbox_tokens(state, inst.mail)
            write_state(state, inst.queue, scratch)
            queued = queue_tokens(scratch)
            lost = want - set(box) - queued
            both += len(set(box) & queued)
            cut += 1
            if lost:
                print(f"power: seed {seed}, event {point} of {len(events)}, model '{model}': lost {sorted(lost)}; recording in {work}, "
                      f"queue in {scratch}")
                sys.exit(1)
            if n in boots and model == "anything":
                boot(work, inst, state, want, work)
    blind = Disk(before)  # control: had nothing been flushed, the harness would see every message lost
    for ev in events:
        if not ev[0].startswith("sync"):
            blind.event(ev)
    state = blind.state(lambda p: "none", rng)
    write_state(state, inst.queue, scratch)
    if set(mailbox_tokens(state, inst.mail)) | queue_tokens(scratch):
        print("power: the control without flushes found messages: the harness is blind")
        sys.exit(1)
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)
    print(f"power: {cut} crash states of {len(events)} recorded operations and {len(acks)} acknowledged messages: 0 lost; started on {len(boots)} of "
          f"them: 0 lost, 0 doubled (in {both} cases a message was in queue and mailbox when the power went)")


if __name__ == "__main__":
    main()
