#!/usr/bin/python3
"""Messages flow while random daemons, master included, are killed with SIGKILL. Afterwards every acknowledged message is accounted for: none lost,
no local delivery doubled. usage: kill.py SECONDS [SEED]"""
import os
import random
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from instance import Instance  # noqa: E402
from instance import until as until_true  # noqa: E402

SENDERS = 4


class Sender(threading.Thread):
    """One SMTP client after another; notes what was acknowledged. A message whose fate is unknown (the connection broke after the dot) may arrive."""

    def __init__(self, n, port, until):
        super().__init__()
        self.n, self.port, self.until = n, port, until
        self.acked, self.unknown, self.refused = set(), set(), 0

    def run(self):
        count = 0
        while time.monotonic() < self.until:
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=20, local_hostname="sender.test") as c:
                    for _ in range(random.randint(1, 5)):
                        token = f"T{self.n}x{count:06d}"
                        count += 1
                        size = random.choice((200, 2000, 30000, 150000))
                        body = f"From: a@b.test\r\nSubject: {token}\r\n\r\n" + ("x" * 70 + "\r\n") * (size // 72) + f"end {token}\r\n"
                        c.mail("a@b.test")
                        if c.rcpt(f"user{count % 3}@example.test")[0] != 250:
                            self.refused += 1
                            c.rset()
                            continue
                        self.unknown.add(token)
                        if c.data(body)[0] == 250:
                            self.acked.add(token)
                        self.unknown.discard(token)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.01)


def killer(inst, until, kills, rng):
    next_master = time.monotonic() + 4
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.05, 0.3))
        if time.monotonic() > next_master:  # the supervisor itself: all its children are left behind, then it is started again
            next_master = time.monotonic() + rng.uniform(4, 10)
            victims = inst.processes()
            os.kill(inst.proc.pid, signal.SIGKILL)
            inst.proc.wait()
            kills["master"] = kills.get("master", 0) + 1
            left = lambda: [p for p in victims if os.path.exists(f"/proc/{p}")]
            if not until_true(lambda: not left()):  # what it left behind notices, and ends by itself
                subprocess.run(["ps", "-o", "pid,args", "-p", ",".join(map(str, left()))], check=False)
                raise AssertionError("processes still run although master was killed long ago")
            inst.start()
            continue
        procs = inst.processes()
        if procs:
            victim = rng.choice(procs)
            try:
                name = open(f"/proc/{victim}/comm", encoding="ascii").read().strip()
                os.kill(victim, signal.SIGKILL)
                kills[name] = kills.get(name, 0) + 1
            except OSError:
                pass


def delivered(inst):
    """token -> number of complete copies in the mailboxes; incomplete ones are an error at once."""
    found = {}
    for root, _, files in os.walk(inst.mail):
        if os.path.basename(root) not in ("new", "cur"):
            continue
        for name in files:
            with open(os.path.join(root, name), encoding="latin-1") as f:
                text = f.read()
            token = text.split("Subject: ", 1)[1].split("\n", 1)[0].strip()
            assert text.rstrip().endswith(f"end {token}"), f"incomplete message {name}"
            found[token] = found.get(token, 0) + 1
    return found


def main():
    seconds = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    rng = random.Random(seed)
    base = tempfile.mkdtemp(prefix="postern-kill-")
    os.chmod(base, 0o755)
    main_cf = {
        "maillog_file_prefixes": "/tmp", "virtual_mailbox_domains": "example.test", "virtual_transport": "virtual",
        "virtual_mailbox_maps": "inline:{user0@example.test=user0/ user1@example.test=user1/ user2@example.test=user2/}",
        "smtpd_peername_lookup": "no", "minimal_backoff_time": "1s", "maximal_backoff_time": "3s", "queue_run_delay": "1s",
        "transport_retry_time": "1s", "smtpd_client_connection_count_limit": "0",
    }
    inst = Instance(os.path.join(base, "i"), listen=("smtp",), main=main_cf)
    inst.main["virtual_mailbox_base"] = inst.mail
    inst.main["virtual_uid_maps"] = f"static:{inst.uid}"
    inst.main["virtual_gid_maps"] = f"static:{inst.gid}"
    inst.main["virtual_minimum_uid"] = str(min(inst.uid, 100))
    inst.start()
    kills = {}
    until = time.monotonic() + seconds
    senders = [Sender(n, inst.port["smtp"], until) for n in range(SENDERS)]
    for s in senders:
        s.start()
    try:
        killer(inst, until, kills, rng)
        for s in senders:
            s.join()
        t = time.monotonic()
        inst.wait_queue_empty(300)
        drained = time.monotonic() - t
        time.sleep(0.5)
        found = delivered(inst)
    except BaseException:
        print(f"seed {seed}; log: {inst.maillog}")
        inst.kill()
        raise
    acked = set().union(*(s.acked for s in senders))
    lost = acked - set(found)
    doubled = [t for t, n in found.items() if n > 1]
    inst.stop()
    print(f"kill: {sum(kills.values())} kills ({kills}), {len(acked)} acknowledged, {len(found)} delivered, {len(lost)} lost, "
          f"{len(doubled)} doubled, drained in {drained:.1f}s")
    if lost or doubled or len(acked) < 10:
        print(f"seed {seed}; lost {sorted(lost)[:10]}; doubled {sorted(doubled)[:10]}; log: {inst.maillog}")
        sys.exit(1)
    subprocess.run(["rm", "-rf", base], check=False)


if __name__ == "__main__":
    main()
