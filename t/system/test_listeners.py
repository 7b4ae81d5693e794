"""The columns of master.cf as listeners: forms of names and addresses, the types, wake-ups, arguments. One instance, with stand-ins for daemons."""
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
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
                   "flush fifo n - n 1? 0 flush", "other unix n - n 0 - flush", "priv unix - - y - 1 flush",
                   "handed pass - - n - - smtpd -o myhostname=passed.example.test"]
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


def waits(host, port):
    """A client that has connected, and said something, before anybody accepts it."""
    c = socket.create_connection((host, port), 10)
    c.settimeout(20)
    c.sendall(b"conf relayhost\n")
    return c


def held(s, port):
    """Stops the process that accepts on `port`, so that who connects now waits in the queue of the listener."""
    c = Client(port)
    pid = int(c.ask("pid"))
    os.kill(pid, signal.SIGSTOP)
    return c, pid


@pytest.mark.parametrize("wide", ["inet_interfaces", "0.0.0.0"])
def test_from_one_address_to_all_and_back(running, wide):
    """Nobody who had connected before the reload is lost, and at no moment is nobody there."""
    s, port = running, running.port
    before = s.log().count("reload failed")
    own, lines = f"{port} inet n - y - - smtpd", list(s.services)

    def turn(everywhere, **main):
        if wide == "0.0.0.0":
            s.services[s.services.index(own) if own in s.services else 0] = f"0.0.0.0:{port} inet n - y - - smtpd" if everywhere else own
        else:
            main["inet_interfaces"] = "all" if everywhere else "127.0.0.1"
        rewrite(s, **main)
    refusals, over = [], threading.Event()

    def knock():
        while not over.is_set():
            try:
                socket.create_connection(("127.0.0.1", port), 10).close()
            except OSError as e:
                refusals.append(e)
            time.sleep(0.002)
    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        for everywhere, relayhost in ((True, "wide.example.test"), (False, "narrow.example.test"), (True, "again.example.test"), (False, "seen.example.test")):
            session, pid = held(s, port)
            waiting = [waits("127.0.0.1", port) for _ in range(20)]
            try:
                turn(everywhere, relayhost=relayhost)
                assert all(c.recv(100).decode() == relayhost + "\n" for c in waiting)
            finally:
                os.kill(pid, signal.SIGCONT)
            assert session.ask("hello there") == "hello there"
            session.close()
            assert soon("127.0.0.5", port, "mail.example.test\n" if everywhere else None), s.log()
            for c in waiting:
                c.close()
            assert answers("127.0.0.1", port)
        assert s.log().count("reload failed") == before, [l for l in s.log().splitlines() if "error: " in l]
    finally:
        over.set()
        knocking.join()
        s.services[:] = lines
        rewrite(s, inet_interfaces="127.0.0.1", relayhost="seen.example.test")
    assert not refusals


def test_one_address_beside_all(running):
    """Two services on one port: the more exact address gets its own clients, also after a start and when the other one goes away."""
    s, lines = running, list(running.services)
    port = s.ports[5]
    try:
        s.services += [f"127.0.0.6:{port} inet n - n - - smtpd -o myhostname=six.example.test", f"0.0.0.0:{port} inet n - n - - smtpd"]
        rewrite(s)
        for _ in range(2):
            assert soon("127.0.0.6", port, "six.example.test\n") and answers("127.0.0.5", port)
            s.stop()
            s.start()
        del s.services[-2]
        rewrite(s)
        assert answers("127.0.0.6", port)
        s.services[-1] = f"127.0.0.6:{port} inet n - n - - smtpd -o myhostname=six.example.test"
        rewrite(s)
        assert refused("127.0.0.5", port) and soon("127.0.0.6", port, "six.example.test\n")
    finally:
        s.services[:] = lines
        rewrite(s)


def test_a_failed_reload_leaves_the_old_sockets(running):
    """Another program has the port on one of the addresses: the wildcard cannot be had."""
    s = running
    taken = socket.create_server(("127.0.0.7", s.port))
    before = s.log().count("reload failed")
    try:
        rewrite(s, inet_interfaces="all")
        s.wait_log("reload failed: the configuration in force stays", before + 1)
        assert "Address already in use" in s.log()
        assert answer("127.0.0.1", s.port) == "mail.example.test\n" and refused("127.0.0.5", s.port)
    finally:
        taken.close()
        rewrite(s, inet_interfaces="127.0.0.1")


def test_an_address_that_goes_away_is_refused_while_its_sessions_last(running):
    s, lines = running, list(running.services)
    try:
        s.services.append(f"127.0.0.8:{s.ports[5]} inet n - n - - smtpd")
        rewrite(s)
        assert answers("127.0.0.8", s.ports[5])
        with socket.create_connection(("127.0.0.8", s.ports[5]), 10) as c, c.makefile("rw") as f:
            f.write("hello\n")
            f.flush()
            assert f.readline().strip() == "hello"
            s.services[:] = lines
            rewrite(s)
            assert refused("127.0.0.8", s.ports[5])
            f.write("again\n")
            f.flush()
            assert f.readline().strip() == "again"
    finally:
        s.services[:] = lines


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


def hand(s, pieces, fds):
    """Plays postscreen: the descriptor with the first piece, then the others."""
    u = socket.socket(socket.AF_UNIX)
    u.settimeout(20)
    u.connect(os.path.join(s.queue, "private/handed"))
    for i, piece in enumerate(pieces):
        if i == 0 and fds:
            socket.send_fds(u, [piece], fds)
        else:
            u.sendall(piece)
        time.sleep(0.01)
    return u


FULL = b"client_address\0192.0.2.9\0client_port\0" b"2525\0server_address\0192.0.2.1\0server_port\0" b"25\0\0"


@pytest.mark.parametrize("pieces,ends", [([b"\0", FULL], False), ([b"\0\0"], False), ([b"\0" + FULL[:20], FULL[20:]], False), ([b"\0"], True)], ids=["as-postscreen", "no-attributes", "cut", "end"])
def test_pass(running, pieces, ends):
    """A connection that another program has accepted is served as one that came to a listener of one's own."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 20) as client:
        ours = server.accept()[0]
        u = hand(running, pieces, [ours.fileno()])
        ours.close()
        if ends:
            u.shutdown(socket.SHUT_WR)
        with client.makefile("rw") as f:
            f.write("conf myhostname\n")
            f.flush()
            assert f.readline() == "passed.example.test\n"
        assert u.recv(10) == b""  # the carrier is closed once the descriptor is in other hands
        u.close()


@pytest.mark.parametrize("pieces,with_fd", [([b"\0", b"name"], True), ([b"\0" + b"x" * 3000], True), ([b"\0"], False), ([b"\0", b"client_address\0nonsense\0\0"], True), ([b"\0", b"client_port\0" b"99999\0\0"], True)],
                         ids=["unfinished", "endless", "none", "bad-address", "bad-port"])
def test_pass_of_nonsense(running, pieces, with_fd):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 20) as client:
        ours = server.accept()[0]
        try:
            u = hand(running, pieces, [ours.fileno()] if with_fd else [])
            u.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was told enough
        ours.close()
        assert client.recv(10) == b""  # nobody holds the other end any more
    test_pass(running, [b"\0\0"], False)
