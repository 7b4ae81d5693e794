"""A front of imapd that was taken over reaches nobody's process: the test copies the descriptors of the running front, which is all that code in it
would have, and tries each with each record it knows. (lib/asuser/asuser.h, by ticket; docs/ARCHITECTURE.md, "Work as a user")"""
import base64
import ctypes
import imaplib
import os
import re
import socket
import ssl
import struct
import time

import pytest

import instance

KIM, LEE, PASSWORD = "kim@example.test", "lee@example.test", "secret"
PIDFD_GETFD = 438
TICKET, LOGIN = 0x41535554, 0x4c4f4732  # ASUSER_MAGIC_TICKET, LOGIN_MAGIC


@pytest.fixture(scope="module")
def inst():
    base = instance.scratch("postern-takeover-")
    _, cert, key = instance.make_certificates(os.path.join(base, "tls"))
    i = instance.mailbox_instance(os.path.join(base, "i"), "example.test", {"kim": PASSWORD, "lee": PASSWORD}, ("imap",),
                                  main={"smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key})
    with i:
        yield i
    instance.shutil.rmtree(base, ignore_errors=True)


def stolen(pid):
    """Copies of all sockets of process `pid`."""
    libc, handle, sockets = ctypes.CDLL(None, use_errno=True), os.pidfd_open(pid), []
    for n in map(int, os.listdir(f"/proc/{pid}/fd")):
        if not os.readlink(f"/proc/{pid}/fd/{n}").startswith("socket:"):
            continue
        fd = libc.syscall(PIDFD_GETFD, handle, n, 0)
        if fd < 0:
            pytest.skip("descriptors of another process cannot be had here: " + os.strerror(ctypes.get_errno()))
        sockets.append(socket.socket(fileno=fd))
    os.close(handle)
    return sockets


def channels_of(sockets, master):
    """Those that keep records apart, without what master made (to itself and to other daemons): the monitor's, and users' processes' if there were any."""
    def maker(s):
        return struct.unpack("iii", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return [s for s in sockets if s.family == socket.AF_UNIX and s.type & 15 == socket.SOCK_SEQPACKET and maker(s) != master]


def login_record():
    return struct.pack("<II64s64s64s132s", LOGIN, 0, b"taken-over", b"192.0.2.1", b"192.0.2.2", b"x")


def ticket_record(ticket):
    server, secret = ticket.split(".")
    return struct.pack("<II16s", TICKET, int(server), bytes.fromhex(secret)) + login_record()


def attach(channel, record, seconds=instance.PATIENCE):
    """Sends the far end of a connection of our own with `record`: (rc of the answer or None, the connection)."""
    ours, theirs = socket.socketpair()
    ours.settimeout(seconds)
    try:
        socket.send_fds(channel, [record], [theirs.fileno()], socket.MSG_DONTWAIT)
    except OSError:
        pass
    theirs.close()
    try:
        answer = ours.recv(12)
    except OSError:
        answer = b""
    return (struct.unpack("<Iii", answer)[1] if len(answer) == 12 else None), ours


def new_ticket(i, user, service="imap"):
    """What auth gives to a front for a client that has just logged in as `user`."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.path.join(i.queue, "private/auth"))
        f = s.makefile("rw", encoding="utf-8")
        f.write("VERSION\t1\t2\nCPID\t1\n")
        f.flush()
        cookie = next(line[7:-1] for line in f if line.startswith("COOKIE\t"))
        while f.readline() != "DONE\n":
            pass
        secret = base64.b64encode(f"\0{user}\0{PASSWORD}".encode()).decode()
        f.write(f"AUTH\t1\tPLAIN\tservice={service}\tsecured\trip=127.0.0.1\tresp={secret}\n")
        f.flush()
        assert f.readline().startswith("OK\t1")
        f.write(f"REQUEST\t2\t1\t1\t{cookie}\n")
        f.flush()
        return f.readline().rstrip("\n").rsplit("\tticket=", 1)[1]


def ask(connection, command):
    connection.sendall(b"a " + command + b"\r\n")
    got = b""
    while not re.search(rb"^a .*\r\n", got, re.M):
        part = connection.recv(65536)
        assert part, got
        got += part
    return got


@pytest.mark.skipif(os.getuid() != 0, reason="as root only: another process's descriptors are copied")
def test_a_front_that_was_taken_over_reaches_nobody_who_is_logged_in(inst):
    """No descriptor of the front leads to kim's process but kim's own connections; the monitor takes a connection with a fresh ticket only, once,
    and then it goes to the ticket's user."""
    plain, tls = imaplib.IMAP4(inst.host, inst.port["imap"]), imaplib.IMAP4(inst.host, inst.port["imap"])
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls.starttls(context)
    for m in (plain, tls):
        m.login(KIM, PASSWORD)
    plain.create("ofkim")
    lines = inst.wait_log(r"imapd\[(\d+)\]: imap-login: Login: user=<kim@.*mpid=(\d+)", count=2)
    front, kim = {int(m.group(1)) for m in lines}, {int(m.group(2)) for m in lines}
    assert len(front) == len(kim) == 1
    sockets = stolen(front.pop())
    channels = channels_of(sockets, inst.proc.pid)
    assert channels

    def try_everywhere(record):
        """rc of the answers, from the channels that answer a connection with a word."""
        answers = []
        for channel in channels:
            rc, ours = attach(channel, record)
            answers.append(rc)
            ours.close()
        return [rc for rc in answers if rc is not None]

    # The record that a user's process takes, sent wherever records go: only the monitor answers, and refuses (8: RC_DENIED).
    assert try_everywhere(login_record()) == [8]
    ticket = new_ticket(inst, LEE)
    forged = ticket[:-1] + ("0" if ticket[-1] != "0" else "1")
    assert try_everywhere(ticket_record(forged)) == [8]
    # A log-in that took place is let in, as the user that logged in, whatever the connection says.
    reached = [(rc, ours) for rc, ours in (attach(c, ticket_record(ticket)) for c in channels[::-1]) if rc == 0]
    assert len(reached) == 1
    assert b"ofkim" not in ask(reached[0][1], b"LIST \"\" *")
    assert b"a OK" in ask(reached[0][1], b"SELECT INBOX")
    # Once.
    assert try_everywhere(ticket_record(ticket)) == [8]
    # Another service's does not count.
    assert try_everywhere(ticket_record(new_ticket(inst, LEE, "pop3"))) == [8]
    assert plain.list()[1] and tls.noop()[0] == "OK"
    assert not re.search(r"taken-over.*kim|kim.*taken-over", inst.log())
    for s in sockets:
        s.close()
    reached[0][1].close()
    for m in (plain, tls):
        m.logout()


@pytest.mark.skipif(os.getuid() != 0, reason="as root only: the monitor is found by its uid")
def test_sessions_end_with_the_monitor_and_a_new_front_serves(inst):
    """Nobody stays behind out of master's reach: when the monitor dies its users' processes say good-bye, and the next log-in gets a new front."""
    lines = r"Login: user=<kim@.*mpid=(\d+)"
    before = len(re.findall(lines, inst.log()))
    m = imaplib.IMAP4(inst.host, inst.port["imap"])
    m.login(KIM, PASSWORD)
    kim = int(inst.wait_log(lines, count=before + 1)[-1].group(1))
    with open(f"/proc/{kim}/stat", encoding="ascii") as f:
        monitor = int(f.read().rsplit(")", 1)[1].split()[1])
    assert os.stat(f"/proc/{monitor}").st_uid == 0
    os.kill(monitor, 9)
    end = time.monotonic() + instance.PATIENCE
    with pytest.raises(imaplib.IMAP4.abort):
        while time.monotonic() < end:  # it needs a moment to notice
            m.noop()
    end = time.monotonic() + instance.PATIENCE
    while True:  # the first one may still meet the old front
        n = imaplib.IMAP4(inst.host, inst.port["imap"])
        try:
            n.login(KIM, PASSWORD)
            break
        except (imaplib.IMAP4.error, OSError):
            assert time.monotonic() < end
            time.sleep(0.1)
    n.logout()
