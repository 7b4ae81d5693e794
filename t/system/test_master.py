"""master(8) and the frame of a daemon: start, stop, restart, back-off, reload, privileges, broker, triggers. The daemons are stand-ins
(daemon_echo.c), so that each can be told to crash, to ask for a peer or to try what is forbidden."""
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time

import pytest

from instance import BUILD, PATIENCE, STARTED, free_ports, make_users, until

ECHO = os.path.join(BUILD, "t", "echo")
MASTER = os.path.join(BUILD, "sbin", "master")
POSTERN = os.path.join(BUILD, "bin", "postern")
POSTKICK = os.path.join(BUILD, "bin", "postkick")
POSTLOG = os.path.join(BUILD, "bin", "postlog")
ROOT = os.getuid() == 0
STAND_INS = ("smtpd", "qmgr", "cleanup", "pickup", "auth")


class Client:
    """One connection to the stand-in for smtpd."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.sock.settimeout(PATIENCE)
        self.file = self.sock.makefile("rw")

    def ask(self, line):
        self.file.write(line + "\n")
        self.file.flush()
        return self.file.readline().rstrip("\n")

    def send(self, line):
        self.file.write(line + "\n")
        self.file.flush()

    def close(self):
        self.file.close()
        self.sock.close()


class Scratch:
    def __init__(self, base):
        self.base = str(base)
        os.chmod(self.base, 0o755)
        self.etc, self.sbin, self.queue = (os.path.join(self.base, d) for d in ("etc", "sbin", "queue"))
        self.maillog = os.path.join(self.base, "maillog")
        for d in (self.etc, self.sbin):
            os.makedirs(d, exist_ok=True)
        for p in STAND_INS:
            shutil.copy(ECHO, os.path.join(self.sbin, p))
        shutil.copy(MASTER, os.path.join(self.sbin, "master"))
        self.port, self.port2 = free_ports(2)
        self.main = {"queue_directory": self.queue, "data_directory": os.path.join(self.base, "data"),
                     "daemon_directory": self.sbin, "maillog_file": self.maillog, "maillog_file_prefixes": self.base,
                     "inet_interfaces": "127.0.0.1", "myhostname": "mail.example.test", "service_throttle_time": "2s",
                     "smtpd_relay_restrictions": "reject"}
        if not ROOT:
            me = pwd.getpwuid(os.getuid()).pw_name
            self.main.update({p: me for p in ("mail_owner", "net_owner", "aux_owner", "key_owner")})
        self.services = [f"{self.port} inet n - y - - smtpd", "pickup unix n - n 60 1 pickup",
                         "cleanup unix n - y - 0 cleanup", "qmgr unix n - n 300 1 qmgr", "auth unix - - n - - auth"]
        self.write()

    def write(self):
        with open(os.path.join(self.etc, "main.cf"), "w", encoding="ascii") as f:
            f.writelines(f"{k} = {v}\n" for k, v in self.main.items())
        with open(os.path.join(self.etc, "master.cf"), "w", encoding="ascii") as f:
            f.writelines(line + "\n" for line in self.services)

    def postern(self, *args):
        return subprocess.run([POSTERN, "-c", self.etc, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120, check=False)

    def start(self):
        r = self.postern("start")
        assert r.returncode == 0, r.stderr + self.log()
        STARTED.append(self)
        return self

    def stop(self):
        if self.pid():
            self.postern("stop")

    def pid(self):
        return self.postern("status").returncode == 0 and int(open(self.queue + "/pid/master.pid", encoding="ascii").read())

    def log(self):
        try:
            return open(self.maillog, encoding="utf-8", errors="replace").read()
        except FileNotFoundError:
            return ""

    def wait_log(self, text, count=1):
        assert until(lambda: self.log().count(text) >= count, every=0.02), f"no {count} lines with {text!r} in\n{self.log()[-6000:]}"

    def children(self):
        out = subprocess.run(["ps", "--ppid", str(self.pid()), "-o", "pid=,args="], capture_output=True, text=True, check=False).stdout
        return {int(l.split()[0]): l.split()[1] for l in out.splitlines()}

    def child(self, program):
        return next((pid for pid, name in self.children().items() if os.path.basename(name) == program), None)


@pytest.fixture
def scratch(tmp_path):
    make_users()
    base = tmp_path
    if ROOT:  # the parents of tmp_path are closed to the suite's users
        base = "/tmp/postern-master-%d-%d" % (os.getpid(), time.monotonic_ns())
        os.makedirs(base)
    try:
        s = Scratch(base)
        yield s
        s.stop()
    finally:
        shutil.rmtree(str(base), ignore_errors=True)


def wait_gone(pid):
    assert until(lambda: not os.path.exists(f"/proc/{pid}"), every=0.02)


def test_start_status_stop(scratch):
    r = scratch.postern("status")
    assert r.returncode == 1 and "the Postfix mail system is not running" in r.stderr
    assert scratch.postern("stop").returncode == 1
    assert scratch.postern("reload").returncode == 1
    scratch.start()
    r = scratch.postern("status")
    assert r.returncode == 0 and f"the Postfix mail system is running: PID: {scratch.pid()}" in r.stderr
    again = scratch.postern("start")
    assert again.returncode == 1 and "already running" in again.stderr
    assert subprocess.run([MASTER, "-c", scratch.etc, "-t"], check=False).returncode == 1
    c = Client(scratch.port)
    assert c.ask("hello there") == "hello there"
    c.close()
    pid = scratch.pid()
    r = scratch.postern("stop")
    assert r.returncode == 0 and scratch.postern("status").returncode == 1
    wait_gone(pid)
    assert not os.path.exists(scratch.queue + "/public/pickup")


def test_start_refuses_a_wrong_configuration_by_file_and_line(scratch):
    scratch.services.append("broken unix n - n")
    scratch.write()
    r = scratch.postern("start")
    assert r.returncode == 1 and "master.cf" in r.stderr and "line 6" in r.stderr
    scratch.services.pop()
    scratch.main["max_idle"] = "soon"
    scratch.write()
    r = scratch.postern("start")
    assert r.returncode == 1 and "main.cf" in r.stderr and "max_idle" in r.stderr
    del scratch.main["max_idle"]
    scratch.write()


def test_start_fails_when_a_port_is_taken(scratch):
    with socket.create_server(("127.0.0.1", scratch.port)):
        r = scratch.postern("start")
    assert r.returncode == 1 and "Address already in use" in r.stderr


def test_wakeup_at_start_and_by_trigger(scratch):
    scratch.start()
    scratch.wait_log('pickup[', 1)
    scratch.wait_log('wakeup ""', 2)  # pickup and qmgr
    r = subprocess.run([POSTKICK, "-c", scratch.etc, "public", "pickup", "W"], check=False)
    assert r.returncode == 0
    scratch.wait_log('wakeup "W"')
    assert subprocess.run([POSTKICK, "-c", scratch.etc, "public", "nothing", "W"], check=False,
                          stderr=subprocess.DEVNULL).returncode == 1


def test_killed_daemon_is_back_at_once(scratch):
    """Its service is not throttled, which would take a time that is beyond the patience of this test."""
    scratch.main["service_throttle_time"] = "600s"
    scratch.write()
    scratch.start()
    scratch.wait_log("qmgr[")
    old = scratch.child("qmgr")
    os.kill(old, signal.SIGKILL)
    assert until(lambda: scratch.child("qmgr") not in (None, old), every=0.01)
    new = scratch.child("qmgr")
    scratch.wait_log(f"qmgr pid {old} killed by signal 9")
    scratch.wait_log(f"qmgr[{new}]: started")
    # a session on a fresh process after a crash of the one before
    c = Client(scratch.port)
    first = c.ask("pid")
    c.send("exit 3")
    assert c.file.readline() == ""
    d = Client(scratch.port)
    assert d.ask("pid") != first
    scratch.wait_log(f"smtpd pid {first} exit status 3")


def test_crash_loop_is_throttled_and_recovers(scratch):
    scratch.start()
    begin = time.monotonic()
    for _ in range(3):
        c = Client(scratch.port)
        c.ask("exit 3")
        c.close()
    scratch.wait_log("smtpd: bad command startup -- throttling")
    c = Client(scratch.port)
    assert c.ask("hello") .strip() == "hello"
    assert time.monotonic() - begin >= 0.9  # master/backoff.c: a second for the first time


def test_program_that_never_starts_is_throttled_others_serve(scratch):
    scratch.services.append(f"{scratch.port2} inet n - n - - smtpd -o soft_bounce=yes")
    scratch.write()
    scratch.start()
    broken = socket.create_connection(("127.0.0.1", scratch.port2))
    scratch.wait_log("throttling", 2)
    assert scratch.log().count("exit status 1") < 6
    assert Client(scratch.port).ask("hello x") == "hello x"
    broken.close()


def test_reload_keeps_sessions_and_takes_the_new_configuration(scratch):
    scratch.start()
    c = Client(scratch.port)
    old = c.ask("pid")
    scratch.main["myhostname"] = "other.example.test"
    scratch.services.append(f"127.0.0.1:{scratch.port2} inet n - n - 2 smtpd")
    scratch.services.remove("cleanup unix n - y - 0 cleanup")
    scratch.write()
    pid = scratch.pid()
    assert scratch.postern("reload").returncode == 0
    scratch.wait_log("reload -- version")
    scratch.wait_log("qmgr[", 4)
    assert c.ask("hello again") == "hello again" and c.ask("conf myhostname") == "mail.example.test"
    def is_new():
        """The former process may take a session until it hears of the reload."""
        d = Client(scratch.port)
        return d.ask("pid") != old and d.ask("conf myhostname") == "other.example.test"
    assert until(is_new)
    assert Client(scratch.port2).ask("args") .startswith(f"name=127.0.0.1:{scratch.port2} ")
    assert until(lambda: not os.path.exists(scratch.queue + "/public/cleanup"))
    c.close()
    wait_gone(int(old))
    assert scratch.pid() == pid
    assert until(lambda: [n for n in scratch.children().values() if n.endswith("qmgr")] == ["qmgr"]), scratch.children()  # one at a time


def test_reload_with_an_error_keeps_the_configuration_in_force(scratch):
    scratch.start()
    c = Client(scratch.port)
    good = c.ask("pid")
    scratch.services.append("nonsense")
    scratch.write()
    assert scratch.postern("reload").returncode == 1
    os.kill(scratch.pid(), signal.SIGHUP)
    scratch.wait_log("reload failed")
    assert "master.cf" in scratch.log() and "line 6" in scratch.log()
    scratch.services[-1] = f"{scratch.port2} inet n - n - - smtpd"
    scratch.write()
    with socket.create_server(("127.0.0.1", scratch.port2)):
        os.kill(scratch.pid(), signal.SIGHUP)
        scratch.wait_log("reload failed", 2)
    assert Client(scratch.port).ask("pid") == good and c.ask("hello x") == "hello x"
    os.kill(scratch.pid(), signal.SIGHUP)
    assert until(lambda: Client(scratch.port).ask("pid") != good)
    assert Client(scratch.port2).ask("hello x") == "hello x"


def test_broker_connects_peers_only(scratch):
    sock = scratch.base + "/policy"
    scratch.main["smtpd_recipient_restrictions"] = f"check_policy_service unix:{sock}, reject"
    scratch.write()
    scratch.start()
    with socket.socket(socket.AF_UNIX) as policy:
        policy.bind(sock)
        policy.listen()
        c = Client(scratch.port)
        assert c.ask("connect cleanup") == "ok"
        assert c.ask("connect auth") == "ok"
        assert c.ask("connect qmgr") == "denied"
        assert c.ask("connect nothing") == "try again later"
        assert c.ask(f"connect {sock}") == "ok"
        assert c.ask("connect /run/other.sock") == "denied"
        assert c.ask("connect public/qmgr") == "denied"


def test_broker_connects_to_configured_ports_only(scratch):
    """inet:TEXT ADDRESS PORT: the text is in the configuration, and neither address nor port contradicts it."""
    with socket.socket() as policy:
        policy.bind(("127.0.0.1", 0))
        policy.listen()
        port = policy.getsockname()[1]
        scratch.main["port_of_policy"] = str(port)
        scratch.main["smtpd_recipient_restrictions"] = (f"check_policy_service inet:127.0.0.1:{port}, "
                                                        f"check_policy_service {{ inet:localhost:$port_of_policy, timeout=3s }}, reject")
        scratch.write()
        scratch.start()
        c = Client(scratch.port)
        assert c.ask(f"connect inet:127.0.0.1:{port} 127.0.0.1 {port}") == "ok"
        assert c.ask(f"connect inet:localhost:{port} 127.0.0.1 {port}") == "ok"  # written with a macro
        for asked in (f"127.0.0.1:{port} 127.0.0.1 {port + 1}", f"127.0.0.1:{port} 192.0.2.1 {port}", f"localhost:{port} 192.0.2.1 {port}",
                      f"127.0.0.1:{port + 1} 127.0.0.1 {port + 1}", f"0.0.1:{port} 127.0.0.1 {port}", f"{port} 192.0.2.1 {port}",
                      f"127.0.0.1:{port} nonsense {port}", f"127.0.0.1:{port}", "timeout=3s 127.0.0.1 25", "reject 127.0.0.1 25", f"{port} 127.0.0.1 {port}"):
            assert c.ask("connect inet:" + asked) == "denied", asked


def test_daemon_holds_nothing(scratch):
    scratch.start()
    c = Client(scratch.port)
    pid = c.ask("pid")
    status = dict(l.split(":\t", 1) for l in open(f"/proc/{pid}/status", encoding="ascii").read().splitlines() if ":\t" in l)
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    for cap in ("CapPrm", "CapEff", "CapInh", "CapAmb") + (("CapBnd",) if ROOT else ()):
        assert int(status[cap], 16) == 0
    if ROOT:
        assert c.ask("uid") == str(pwd.getpwnam("posternnet").pw_uid)
    assert c.ask("open /etc/passwd") != "open"
    assert c.ask("kill") != "alive"
    scratch.wait_log("sandbox: denied kill")


def test_sessions_beyond_maxproc_wait_and_are_told(scratch):
    scratch.services[0] = f"{scratch.port} inet n - y - 2 smtpd"
    scratch.write()
    scratch.start()
    a, b = Client(scratch.port), Client(scratch.port)
    assert a.ask("hello a") and b.ask("hello b")
    c = Client(scratch.port)
    c.sock.settimeout(0.5)
    with pytest.raises(OSError):
        c.ask("hello c")
    scratch.wait_log('has reached its process limit "2"')
    a.close()
    d = c.sock
    d.settimeout(PATIENCE)
    assert d.recv(100) == b"hello c\n"


def test_children_end_when_master_is_killed_and_a_new_master_starts(scratch):
    scratch.start()
    scratch.wait_log("qmgr[", 2)
    old = list(scratch.children())
    os.kill(scratch.pid(), signal.SIGKILL)
    for pid in old:
        wait_gone(pid)
    scratch.start()
    scratch.wait_log("daemon started", 2)
    assert Client(scratch.port).ask("hello x") == "hello x"


def test_log_file_is_opened_anew(scratch):
    scratch.start()
    c = Client(scratch.port)
    c.ask("pid")
    r = scratch.postern("logrotate")
    assert r.returncode == 0, r.stderr
    assert [f for f in os.listdir(scratch.base) if f.startswith("maillog.") and f.endswith(".gz")]
    c.ask("kill")  # makes it log a line
    scratch.wait_log("sandbox: denied kill")


def test_postlog_writes_the_line(scratch):
    r = subprocess.run([POSTLOG, "-c", scratch.etc, "-t", "postfix/script", "-p", "warn", "two", "words"], check=False,
                       capture_output=True, text=True)
    assert r.returncode == 0 and "warning: two words" in r.stderr
    assert "postfix/script[" in scratch.log() and "warning: two words" in scratch.log()


def test_systemd_notification_and_inherited_listener(scratch):
    path = scratch.base + "/notify"
    note = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    note.bind(path)
    note.settimeout(PATIENCE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        scratch.services.append(f"{scratch.port2} inet n - n - - smtpd")
        scratch.write()
        script = (f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={scratch.port2} NOTIFY_SOCKET={path} '
                  f'WATCHDOG_USEC=200000 exec {scratch.sbin}/master -c {scratch.etc} -d')
        p = subprocess.Popen(["bash", "-c", script], pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        got = ""
        while "READY=1" not in got:
            got = note.recv(1000).decode()
        while "WATCHDOG=1" not in got:
            got = note.recv(1000).decode()
        assert Client(port).ask("hello x") == "hello x"
        with pytest.raises(ConnectionRefusedError):
            Client(scratch.port2)
        p.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in got:
            got = note.recv(1000).decode()
        assert p.wait(PATIENCE) == 0
    note.close()


@pytest.mark.skipif(not ROOT, reason="runs the same tests as another user")
def test_without_root(scratch):
    """One-uid mode: everything works as an ordinary user, with a warning."""
    shutil.chown(scratch.base, "nobody")
    for d in (scratch.etc, scratch.sbin):
        shutil.chown(d, "nobody")
    for p in ("mail_owner", "net_owner", "aux_owner", "key_owner"):
        scratch.main[p] = "nobody"
    scratch.write()

    def run(*args):
        return subprocess.run([POSTERN, "-c", scratch.etc, *args], user="nobody", group="nogroup", extra_groups=[],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    r = run("start")
    assert r.returncode == 0, r.stderr + scratch.log()
    c = Client(scratch.port)
    assert c.ask("uid") == str(pwd.getpwnam("nobody").pw_uid)
    assert c.ask("open /etc/passwd") != "open" and c.ask("kill") != "alive"
    assert "not started as root" in scratch.log()
    c.close()
    assert run("stop").returncode == 0
