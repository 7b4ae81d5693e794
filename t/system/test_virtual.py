"""virtual(8) delivers into mailboxes named by tables, as their uid, once, and says what Postfix says when it cannot (RFC 3464 status codes)."""
import os
import re
import signal
import subprocess
import time

import pytest

from instance import PATIENCE, Instance, until

DOMAIN = "virtual.test"


def instance(tmp_path, **main):
    os.chmod(tmp_path, 0o755)
    for up in (tmp_path.parent, tmp_path.parent.parent):
        if os.stat(up).st_uid == os.getuid():
            os.chmod(up, 0o755)
    inst = Instance(str(tmp_path), listen=(), main={})
    inst.main.update({
        "virtual_mailbox_domains": DOMAIN,
        "virtual_mailbox_base": inst.mail,
        "virtual_mailbox_maps": "inline:{{kim@virtual.test=kim/Maildir/} {mbox@virtual.test=spool/mbox} {bad@virtual.test=../up/} "
                                "{lost@virtual.test=lost/}}",
        "virtual_uid_maps": f"inline:{{{{lost@virtual.test=x}} {{@virtual.test={inst.uid}}}}}",
        "virtual_gid_maps": f"static:{inst.gid}",
        "virtual_minimum_uid": str(min(inst.uid, 100)),
        **main})
    return inst


def send(inst, rcpt, body=b"hello\n", sender="sender@example.test"):
    inst.wait_socket("public/pickup")
    r = inst.command("sendmail", "-i", "-f", sender, *([rcpt] if isinstance(rcpt, str) else rcpt), input=b"Subject: test\n\n" + body)
    assert r.returncode == 0, r.stderr


def files(inst, *path):
    d = os.path.join(inst.mail, *path, "new")
    return [os.path.join(d, f) for f in sorted(os.listdir(d))] if os.path.isdir(d) else []


def read(path):
    with open(path, "rb") as f:
        return f.read()


def test_maildir(tmp_path):
    """A message becomes a file of the mailbox user with Return-Path, X-Original-To and Delivered-To in front (RFC 5321 4.4)."""
    with instance(tmp_path) as inst:
        send(inst, "kim@virtual.test")
        inst.wait_log(r"to=<kim@virtual\.test>, relay=virtual, delay=[\d.]+, delays=[\d./]+, dsn=2\.0\.0, "
                      r"status=sent \(delivered to maildir\)")
        (path,) = files(inst, "kim", "Maildir")
        st = os.stat(path)
        assert (st.st_uid, st.st_gid, st.st_mode & 0o777) == (inst.uid, inst.gid, 0o600)
        text = read(path)
        assert text.startswith(b"Return-Path: <sender@example.test>\nX-Original-To: kim@virtual.test\nDelivered-To: kim@virtual.test\n")
        assert text.endswith(b"\n\nhello\n")
        inst.wait_queue_empty()


def test_extension_and_catch_all(tmp_path):
    """user+ext@domain, then user@domain, then @domain are looked up (virtual(8), TABLE SEARCH ORDER)."""
    maps = "inline:{{kim@virtual.test=kim/} {kim+list@virtual.test=list/} {@virtual.test=rest/}}"
    with instance(tmp_path, virtual_mailbox_maps=maps) as inst:
        for rcpt in ("kim+list@virtual.test", "kim+x@virtual.test", "who@virtual.test"):
            send(inst, rcpt)
        inst.wait_log(r"status=sent \(delivered to maildir\)", count=3)
        assert b"Delivered-To: kim+list@virtual.test\n" in read(files(inst, "list")[0])
        assert b"Delivered-To: kim+x@virtual.test\n" in read(files(inst, "kim")[0])
        assert b"Delivered-To: who@virtual.test\n" in read(files(inst, "rest")[0])


def test_mbox(tmp_path):
    """A path without final slash is an mbox: From_ line, quoting, missing directory made (RFC 4155)."""
    inst = instance(tmp_path)
    with inst:
        os.makedirs(os.path.join(inst.mail, "spool"))
        if inst.root:
            os.chown(os.path.join(inst.mail, "spool"), inst.uid, inst.gid)
        send(inst, "mbox@virtual.test", b"a\n\nFrom here\n")
        inst.wait_log(r"status=sent \(delivered to mailbox\)")
        text = read(os.path.join(inst.mail, "spool", "mbox"))
        assert re.match(rb"From sender@example\.test  \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\nReturn-Path: ", text)
        assert text.endswith(b"\n>From here\n\n")


def test_large_message(tmp_path):
    """A message too large for a slot arrives byte for byte by its descriptor, one of a large slot by a copy in memory."""
    with instance(tmp_path) as inst:
        body = b"".join(b"%08d " % i + b"x" * 60 + b"\n" for i in range(5000))
        send(inst, "kim@virtual.test", body)
        inst.wait_log(r"status=sent \(delivered to maildir\)")
        assert read(files(inst, "kim", "Maildir")[0]).endswith(b"\n\n" + body)
        send(inst, "kim@virtual.test", body[:140000])  # it asks for the file of large slots
        inst.wait_log(r"status=sent \(delivered to maildir\)", count=2)
        pool, n, end = b"", 2, time.monotonic() + PATIENCE
        while body[100000:101000] not in pool and time.monotonic() < end:
            before = set(files(inst, "kim", "Maildir"))
            send(inst, "kim@virtual.test", body[:210000])
            n += 1
            inst.wait_log(r"status=sent \(delivered to maildir\)", count=n)
            assert read((set(files(inst, "kim", "Maildir")) - before).pop()).endswith(b"\n\n" + body[:210000])
            if os.path.exists(inst.queue + "/pool/large.1"):
                with open(inst.queue + "/pool/large.1", "rb") as f:
                    pool = f.read()
        assert body[100000:101000] in pool


def test_failures(tmp_path):
    """Unknown users bounce 5.1.1, mail over the limit 5.2.2; a wrong configuration defers 4.3.5."""
    with instance(tmp_path, message_size_limit="100000", virtual_mailbox_limit="100000",
                  virtual_delivery_status_filter="inline:{ {4.3.5 mail system configuration error=4.3.5 our fault} }") as inst:
        send(inst, "nobody@virtual.test", sender="")
        inst.wait_log(r'to=<nobody@virtual\.test>, relay=virtual, .*dsn=5\.1\.1, status=bounced \(unknown user: "nobody@virtual\.test"\)')
        send(inst, "bad@virtual.test")
        inst.wait_log(r"to=<bad@virtual\.test>.*dsn=4\.3\.5, status=deferred \(our fault\)")
        send(inst, "lost@virtual.test")
        inst.wait_log(r"to=<lost@virtual\.test>.*dsn=4\.3\.5, status=deferred \(our fault\)")
        send(inst, "kim@virtual.test", b"x" * 60 + b"\n" + b"y\n" * 49900, sender="")
        inst.wait_log(r"dsn=5\.2\.2, status=bounced \(maildir delivery failed: error writing message: File too large\)")
        assert not os.path.exists(os.path.join(inst.base, "up"))
        assert files(inst, "kim", "Maildir") == []


def test_no_permission(tmp_path):
    """A mailbox directory that the uid may not write to defers with 4.2.0; the mail arrives once it may."""
    with instance(tmp_path) as inst:
        os.makedirs(os.path.join(inst.mail, "kim"))
        os.chmod(os.path.join(inst.mail, "kim"), 0o555)
        send(inst, "kim@virtual.test")
        inst.wait_log(r"dsn=4\.2\.0, status=deferred \(maildir delivery failed: .*Permission denied\)")
        os.chmod(os.path.join(inst.mail, "kim"), 0o777)
        inst.command("postqueue", "-f")
        inst.wait_log(r"status=sent \(delivered to maildir\)")


def agents(inst):
    out = subprocess.run(["ps", "-eo", "pid=,ppid=,pgid=,comm="], stdout=subprocess.PIPE, check=True).stdout.decode()
    rows = [line.split(None, 3) for line in out.splitlines()]
    return [int(r[0]) for r in rows if r[3].strip() == "virtual" and int(r[2]) == inst.proc.pid]


def test_killed_agent_delivers_once(tmp_path):
    """Agents killed while mail flows: qmgr asks again and every message arrives exactly once."""
    with instance(tmp_path) as inst:
        for i in range(60):
            send(inst, "kim@virtual.test", b"number %d\n" % i)
            if i % 10 == 5:
                for pid in agents(inst):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
        inst.command("postqueue", "-f")
        until(lambda: inst.command("postqueue", "-f") and len(files(inst, "kim", "Maildir")) >= 60, every=0.5)
        inst.wait_queue_empty()
        bodies = [read(f).rsplit(b"\n\n", 1)[1] for f in files(inst, "kim", "Maildir")]
        assert sorted(bodies) == sorted(b"number %d\n" % i for i in range(60))


def test_many_recipients(tmp_path):
    """One message to many mailboxes: each gets its own copy and log line."""
    maps = "inline:{" + " ".join(f"{{u{i}@virtual.test=u{i}/}}" for i in range(40)) + "}"
    with instance(tmp_path, virtual_mailbox_maps=maps) as inst:
        send(inst, [f"u{i}@virtual.test" for i in range(40)])
        inst.wait_log(r"status=sent \(delivered to maildir\)", count=40)
        for i in range(40):
            (f,) = files(inst, f"u{i}")
            assert b"Delivered-To: u%d@virtual.test\n" % i in read(f)


def test_sandbox(tmp_path):
    """The front and the child of the recipient run without rights: seccomp filter, no new privileges, no capabilities."""
    with instance(tmp_path) as inst:
        send(inst, "kim@virtual.test")
        inst.wait_log(r"status=sent")
        assert until(lambda: len(agents(inst)) == 3)
        pids = agents(inst)  # front, monitor, child
        uids = set()
        for pid in pids:
            with open(f"/proc/{pid}/status", encoding="ascii") as f:
                st = dict(l.split(":\t", 1) for l in f.read().splitlines() if ":\t" in l)
            assert st["Seccomp"].strip() == "2" and st["NoNewPrivs"].strip() == "1"
            uid = int(st["Uid"].split()[0])
            uids.add(uid)
            if uid:
                assert int(st["CapEff"], 16) == 0
        assert inst.uid in uids
        if not inst.root:
            pytest.skip("one uid only")
        assert len(uids) == 3
