"""The columns of master.cf as listeners: forms of names and addresses, the types, wake-ups, arguments. One instance, with stand-ins for daemons."""
import os
import shutil
import socket
import stat
import subprocess
import time

import pytest

from instance import PATIENCE, free_ports, make_users, until
from test_master import POSTKICK, ROOT, Client, Scratch


def have_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not have_ipv6(), reason="this host has no IPv6 loopback")


def rewrite(s, **main):
    """Another configuration; what it says of sockets is so a little later."""
    s.main.update(main)
    s.write()
    r = s.postern("reload")
    assert r.returncode == 0, r.stderr + s.log()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    make_users()
    base = str(tmp_path_factory.mktemp("listeners"))
    if ROOT:  # its parents are closed to the suite's users
        base = "/tmp/postern-listeners-%d-%d" % (os.getpid(), time.monotonic_ns())
        os.makedirs(base)
    s = Scratch(base)
    shutil.copy(os.path.join(s.sbin, "qmgr"), os.path.join(s.sbin, "flush"))
    s.ports = free_ports(6)
    p = s.ports
    s.main["inet_protocols"] = "all" if have_ipv6() else "ipv4"
    s.main["relayhost"] = "seen.example.test"
    s.services += [f"127.0.0.1:{p[0]} inet n - n - - smtpd", f"localhost:{p[1]} inet n - n - 3 smtpd",
                   f"{p[2]} inet y n n - - smtpd -v -o myhostname=one.example.test -omydomain=two.example.test -o {{ mynetworks = 192.0.2.0/24, 10.0.0.0/8 }}"
                   "\n    -o { relayhost = }\n# a comment between\n    -o {mail_name=$myhostname {x}}", f"{p[3]} inet n - n - - smtpd -D",
                   "flush fifo n - n 1? 0 flush", "other unix n - n 0 - flush", "priv unix - - y - 1 flush"]
    if have_ipv6():
        s.services.append(f"[::1]:{p[4]} inet n - n - - smtpd")
    s.write()
    try:
        yield s.start()
        s.stop()
    finally:
        shutil.rmtree(base, ignore_errors=True)


def answer(host, port):
    """What the service says there; None when the connection is refused, or the process behind it is about to end."""
    try:
        with socket.create_connection((host, port), PATIENCE) as c, c.makefile("rw") as f:
            f.write("conf myhostname\n")
            f.flush()
            return f.readline()
    except ConnectionRefusedError:
        return None
    except OSError:
        return ""


def soon(host, port, wanted):
    return until(lambda: answer(host, port) == wanted, every=0.02)


def refused(host, port):
    return soon(host, port, None)


def answers(host, port):
    return soon(host, port, "mail.example.test\n")


def test_addresses(running):
    p = running.ports
    for port in (running.port, p[0], p[1]):
        assert answers("127.0.0.1", port)
    for port in (running.port, p[0]):  # neither inet_interfaces nor the name says more
        assert refused("127.0.0.2", port)


@needs_ipv6
def test_ipv6(running):
    p = running.ports
    assert answers("::1", p[4]) and refused("127.0.0.1", p[4]) and refused("::1", p[0])


def test_interfaces(running):
    port = running.port
    try:
        rewrite(running, inet_interfaces="127.0.0.3, 127.0.0.4")
        assert refused("127.0.0.1", port) and answers("127.0.0.3", port) and answers("127.0.0.4", port)
        rewrite(running, inet_interfaces="loopback-only")
        assert answers("127.0.0.1", port) and refused("127.0.0.3", port)
    finally:
        rewrite(running, inet_interfaces="127.0.0.1")
    assert answers("127.0.0.1", port)


@needs_ipv6
def test_interfaces_of_ipv6(running):
    port = running.port
    try:
        for text in ("loopback-only", "[::1], 127.0.0.1", "::1"):
            rewrite(running, inet_interfaces=text)
            assert answers("::1", port), text
            rewrite(running, inet_interfaces="127.0.0.1")
            assert refused("::1", port)
    finally:
        rewrite(running, inet_interfaces="127.0.0.1")
    assert answers("127.0.0.1", port)


def test_all_interfaces(running):
    """The wildcard address cannot be bound beside one that is in use: a reload says so and changes nothing, a start takes it."""
    port = running.port
    try:
        rewrite(running, inet_interfaces="all")
        running.wait_log("Address already in use")
        running.wait_log("reload failed: the configuration in force stays")
        assert answers("127.0.0.1", port) and refused("127.0.0.5", port)
        running.stop()
        running.start()
        assert answers("127.0.0.5", port) and answers("127.0.0.1", running.ports[0]) and refused("127.0.0.5", running.ports[0])
        assert not have_ipv6() or answers("::1", port)
    finally:
        running.stop()
        running.main["inet_interfaces"] = "127.0.0.1"
        running.write()
        running.start()


def test_arguments(running):
    c = Client(running.ports[2])
    assert [c.ask("conf " + n) for n in ("myhostname", "mydomain", "mynetworks", "relayhost", "mail_name")] == [
        "one.example.test", "two.example.test", "192.0.2.0/24, 10.0.0.0/8", "", "one.example.test {x}"]
    c.close()
    assert Client(running.ports[3]).ask("conf relayhost") == "seen.example.test"


def test_sockets_of_the_types(running):
    q = running.queue
    for path in ("public/flush", "public/other", "private/priv"):
        assert stat.S_ISSOCK(os.stat(os.path.join(q, path)).st_mode), path
    assert not os.path.exists(os.path.join(q, "private/flush")) and not os.path.exists(os.path.join(q, "public/priv"))


def test_wakeup_of_a_service_in_use_only(running):
    """N? wakes what has been used; N wakes at once, which pickup and qmgr show."""
    assert not [n for n in running.children().values() if n.endswith("flush")]
    assert subprocess.run([POSTKICK, "-c", running.etc, "public", "flush", "F"], check=False).returncode == 0
    running.wait_log('wakeup "F"')
    assert until(lambda: [l for l in running.log().splitlines() if "flush[" in l and 'wakeup ""' in l]), running.log()[-6000:]
