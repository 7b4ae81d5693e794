"""No daemon has more rights than its one job takes: shown by the kernel's account of each process, and by daemons that try to break out."""
import imaplib
import os
import poplib
import pwd
import re
import shutil
import smtplib
import socket
import ssl
import stat
import subprocess
import tempfile
import time

import pytest

import instance
from instance import Instance

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: the daemons have users of their own")

USER, PASSWORD = "u1@virtual.test", "secret"
CAPS = {"chown": 0, "dac_override": 1, "dac_read_search": 2, "fowner": 3, "kill": 5, "setgid": 6, "setuid": 7, "setpcap": 8,
        "net_bind_service": 10, "sys_chroot": 18, "audit_write": 29}
# Who runs as whom (the design's table of rooms). What is not named here is of the bounce family or of the queue: postern.
OWNER = {**dict.fromkeys(("smtpd", "lmtpd", "smtp", "lmtp", "relay", "imapd", "pop3d", "resolver"), "posternnet"),
         **dict.fromkeys(("trivial-rewrite", "proxymap", "proxywrite", "anvil", "auth", "flush", "verify", "postlogd"), "posternaux"), "tlsmgr": "posternkey"}
NETWORK = ("smtpd", "lmtpd", "smtp", "lmtp", "imapd", "pop3d", "resolver")
# Root's capabilities: master(8), and the one monitor that some daemons have.
MASTER_CAPS = set(CAPS)
ASUSER_CAPS = {"setuid", "setgid", "kill", "chown", "dac_override", "fowner", "setpcap"}
MONITOR_CAPS = {**dict.fromkeys(("imapd", "pop3d", "local", "virtual", "pipe", "spawn"), ASUSER_CAPS), "tlsmgr": {"dac_read_search"},
                "auth": {"dac_read_search"}}
# Directories below the queue that a process may have open: nothing where the network is met.
QUEUE_DIRS = {"cleanup": {"incoming", "pool", "hold", "corrupt", "."}, "pickup": {"maildrop", "corrupt"}, "showq": None, "qmgr": None}

# ---- what the canary may do, by program; everything else has to be denied ----
INET = {"socket-inet", "socket-inet6", "connect-tcp", "connect-call"}
UNIX = {"connect-unix", "connect-call"}
DAEMON = {"resolver": INET, "smtp": INET, "lmtp": INET, "relay": INET, "pickup": {"maildrop-read"}, "cleanup": {"incoming-read"},
          "qmgr": {"queue-read", "queue-write", "incoming-read", "maildrop-read"}, "showq": {"queue-read", "incoming-read", "maildrop-read"},
          "trivial-rewrite": UNIX, "proxymap": UNIX, "local": UNIX}
# Whom a daemon may ask master to be connected to, of four that matter.
PEERS = {"peer-qmgr": {"cleanup", "flush", "showq"}, "peer-tlsmgr": {"smtpd", "lmtpd", "smtp", "lmtp", "relay", "imapd", "pop3d"},
         "peer-auth": {"smtpd", "lmtpd", "imapd", "pop3d"}, "peer-local": {"qmgr", "local"}}
FILES = {"read-file", "write-file", "create-file", "list-directory", "remove-file", "rename-file", "symlink"}
QUEUE = {"queue-read", "queue-write", "maildrop-read", "incoming-read"}
# On the way to being a user: ids, fork, files (root until then); never exec or network where no command is ever run.
FORKS_USERS = FILES | QUEUE | UNIX | {"fork", "kill", "setuid", "setgid", "code-page", "dumpable"}
RUNS_COMMANDS = {"execve", "listen-tcp", "listen-call", "socket-netlink"} | INET
MONITOR = {"imapd": FORKS_USERS, "pop3d": FORKS_USERS, "virtual": FORKS_USERS,
           **dict.fromkeys(("local", "pipe", "spawn"), FORKS_USERS | RUNS_COMMANDS), "tlsmgr": set(),
           "auth": QUEUE - {"queue-write"} | UNIX | {"read-file", "list-directory", "code-page", "dumpable"}}  # without PAM
NEVER = {"ptrace", "read-memory", "mount", "chroot", "user-namespace", "clone-namespace", "bpf", "io-uring", "socket-packet"}


# ---- a suite with everything in it ----

def certificate(directory):
    os.makedirs(directory)
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3", "-keyout", key, "-out", cert, "-subj", "/CN=localhost"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.chmod(key, 0o600)
    return cert, key


def full_suite(base, sink, **main):
    """Every service and listener that is built; a virtual mailbox, a command in an alias, a pipe, a relay."""
    cert, key = certificate(os.path.join(base, "tls"))
    script = os.path.join(base, "slow")
    with open(script, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\ncat >/dev/null\nsleep 3\n")
    os.chmod(script, 0o755)
    filebox = os.path.join(base, "filebox")
    with open(filebox, "wb"):
        os.chmod(filebox, 0o666)
    spool = os.path.join(base, "spool")
    os.mkdir(spool)
    i = Instance(os.path.join(base, "i"), listen=("smtp", "submission", "lmtp", "pop3", "imap"), main={
        "smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key, "smtpd_tls_security_level": "may", "auth_failure_delay": "0s",
        "auth_passwd_file": os.path.join(base, "i/etc/users"), "auth_sasldb_file": "", "auth_pam_service": "",
        "virtual_mailbox_domains": "virtual.test", "virtual_mailbox_base": os.path.join(base, "i/mail"),
        "virtual_mailbox_maps": "inline:{ u1@virtual.test=u1/ }", "virtual_uid_maps": f"static:{instance.VMAIL_UID}",
        "virtual_gid_maps": f"static:{instance.VMAIL_UID}", "alias_maps": "inline:{ {slow=|%s} filebox=%s }" % (script, filebox),
        "mail_spool_directory": spool, "home_mailbox": "", "mail_location": "",
        "transport_maps": f"inline:{{ pipe.test=slowpipe:x, relay.test=smtp:[127.0.0.1]:{sink} }}", **main},
        master=[f"slowpipe unix - n n - - pipe\n  user=nobody argv={script}", f"slowspawn unix - n n - - spawn\n  user=nobody argv={script}"])
    os.makedirs(i.config)
    home = os.path.join(i.mail, "u1")
    os.makedirs(home)
    os.chown(home, i.uid, i.gid)
    i.write("users", f"{USER}:{{PLAIN}}{PASSWORD}:{i.uid}:{i.gid}::{home}::userdb_mail=maildir:{home}\n", 0o600)
    return i


class Sink:
    """A next hop that greets and then says no more: the client stays."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]


def touch_sockets(i):
    """A connection to each socket below private/ and public/ makes master start the process behind it. Returns them: closed, they are gone."""
    open_ones = []
    for where in ("private", "public"):
        for name in sorted(os.listdir(os.path.join(i.queue, where))):
            path = os.path.join(i.queue, where, name)
            for kind in (socket.SOCK_SEQPACKET, socket.SOCK_STREAM, socket.SOCK_DGRAM):
                s = socket.socket(socket.AF_UNIX, kind)
                s.settimeout(5)
                try:
                    if stat.S_ISSOCK(os.stat(path).st_mode):
                        s.connect(path)
                    if kind == socket.SOCK_DGRAM:
                        s.send(b"L11sandbox\0at work")
                    open_ones.append(s)
                    break
                except OSError:
                    s.close()
    return open_ones


def send(i, *rcpts):
    with smtplib.SMTP(i.host, i.port["smtp"]) as s:
        s.starttls(context=ssl._create_unverified_context())
        s.sendmail("a@example.test", list(rcpts), b"Subject: x\r\n\r\nx\r\n")


def use_everything(i):
    """Returns what has to stay alive as long as the processes are looked at."""
    keep = touch_sockets(i)
    send(i, USER, "slow@mail.example.test", "filebox@mail.example.test", "root@mail.example.test", "x@pipe.test", "x@relay.test")
    m = imaplib.IMAP4(i.host, i.port["imap"])
    m.starttls(ssl._create_unverified_context())
    m.login(USER, PASSWORD)
    m.select("INBOX")
    p = poplib.POP3(i.host, i.port["pop3"])
    p.stls(ssl._create_unverified_context())
    p.user(USER)
    p.pass_(PASSWORD)
    return keep + [m, p]


@pytest.fixture(scope="module")
def base():
    d = instance.scratch("postern-sandbox-")
    yield d
    shutil.rmtree(d, ignore_errors=True)


@pytest.fixture(scope="module")
def suite(base):
    os.mkdir(os.path.join(base, "plain"))
    sink = Sink()
    i = full_suite(os.path.join(base, "plain"), sink.port)
    with i:
        keep = use_everything(i)
        yield i
        del keep


# ---- processes ----

class Process:
    def __init__(self, pid, program, role):
        self.pid, self.program, self.role = pid, program, role
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            self.status = dict(l.rstrip("\n").split(":", 1) for l in f)
        self.dump_owner = os.stat(f"/proc/{pid}/environ").st_uid
        self.exe = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        self.fds = {}
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                self.fds[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
            except FileNotFoundError:
                pass

    def ids(self, name):
        return [int(x) for x in self.status[name].split()]

    def caps(self, name):
        n = int(self.status[name], 16)
        return {c for c, bit in CAPS.items() if n >> bit & 1} | {b for b in range(64) if n >> b & 1 and b not in CAPS.values()}

    def __str__(self):
        return f"{self.program} ({self.role}, pid {self.pid})"


def tree(master):
    """pid -> (parent's pid, uid, argv[0]'s name) of all descendants."""
    every = {}
    for t in os.listdir("/proc"):
        try:
            if t.isdigit():
                with open(f"/proc/{t}/stat", encoding="utf-8", errors="replace") as f:
                    ppid = int(f.read().rsplit(")", 1)[1].split()[1])
                with open(f"/proc/{t}/cmdline", encoding="utf-8", errors="replace") as f:
                    argv0 = os.path.basename(f.read().split("\0")[0])
                every[int(t)] = (ppid, os.stat(f"/proc/{t}").st_uid, argv0)
        except (FileNotFoundError, ProcessLookupError):
            pass
    found, todo = {}, [master]
    while todo:
        p = todo.pop()
        for pid, row in every.items():
            if row[0] == p:
                found[pid] = row
                todo.append(pid)
    return found


def processes(i):
    rows, out = tree(i.proc.pid), [Process(i.proc.pid, "master", "master")]
    for pid, (ppid, uid, argv0) in rows.items():
        if ppid == i.proc.pid:
            role, program = "daemon", argv0
        else:
            top = pid
            while rows[top][0] != i.proc.pid:
                top = rows[top][0]
            program = rows[top][2]
            role = "monitor" if rows[pid][0] == top else "user"
        try:
            out.append(Process(pid, program, role))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass  # it ended
    return out


USERS = {(p, "user") for p in ("imapd", "pop3d", "virtual", "local", "pipe", "spawn")}
COMMANDS = {("local", "command"), ("pipe", "command"), ("spawn", "command")}


def expected_roles(i):
    built = {l.split()[7] for l in i.STANDARD if os.path.exists(os.path.join(instance.SBIN, l.split()[7]))} - {"lmtp"}
    built |= {"smtpd", "lmtpd", "imapd", "pop3d"}
    want = {(p, "daemon") for p in built} | {(p, "monitor") for p in MONITOR_CAPS if p in built} | {("pipe", "monitor"), ("spawn", "daemon"), ("spawn", "monitor")}
    return want | USERS


@pytest.fixture(scope="module")
def seen(suite):
    """(program, role) -> the processes met while the suite works."""
    want, got, end = expected_roles(suite), {}, time.monotonic() + 120
    while time.monotonic() < end and not want <= {(p.program, p.role) for p in got.values()}:
        for p in processes(suite):
            if "State" in p.status and p.status["State"].strip()[0] != "Z" and p.status["Seccomp"].strip() == "2":
                got[p.pid] = p
        roles = {(p.program, p.role) for p in got.values()}
        if ("pipe", "user") not in roles:
            send(suite, "slow@mail.example.test", "x@pipe.test", USER)
        if ("spawn", "user") not in roles:  # its program lives for a few seconds, which a busy machine can miss
            touch_sockets(suite)
        time.sleep(0.2)
    missing = want - {(p.program, p.role) for p in got.values()}
    assert not missing, f"never seen at work: {sorted(missing)}\n{suite.log()[-3000:]}"
    return list(got.values())


def starting(pid):
    """Between its start and its sandbox a daemon has read nothing from outside; such a moment is no finding."""
    def confined():
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8") as f:
                return "\nSeccomp:\t2\n" in f.read()
        except (FileNotFoundError, ProcessLookupError):
            return True
    return instance.until(confined)


def test_all_are_confined(suite, seen):
    """Of every process of the suite: no_new_privs, a seccomp filter; nothing slips through without."""
    for p in processes(suite):
        ok = p.status["NoNewPrivs"].strip() == "1" and p.status["Seccomp"].strip() == "2"
        assert ok or starting(p.pid), str(p)


def test_ids(seen):
    """Real, effective, saved and file-system ids are the designed user's, the group his own, and there are no others."""
    for p in seen:
        if p.role == "daemon":
            want = pwd.getpwnam(OWNER.get(p.program, "postern"))
            assert p.ids("Uid") == [want.pw_uid] * 4 and p.ids("Gid") == [want.pw_gid] * 4, str(p)
            assert p.ids("Groups") in ([], [want.pw_gid]), str(p)
        elif p.role == "user":
            want = {instance.VMAIL_UID, pwd.getpwnam("nobody").pw_uid}
            assert set(p.ids("Uid")) <= want and len(set(p.ids("Uid"))) == 1 and 0 not in p.ids("Gid") + p.ids("Groups"), str(p)
        else:
            assert p.ids("Uid") == [0] * 4, str(p)


def test_capabilities(seen):
    """None; master and the root monitors have the documented ones. No set holds more than the bounding set."""
    for p in seen:
        want = MASTER_CAPS if p.role == "master" else MONITOR_CAPS[p.program] if p.role == "monitor" else set()
        for s in ("CapPrm", "CapEff", "CapBnd"):
            assert p.caps(s) == want, f"{p} {s}"
        assert not p.caps("CapInh") and not p.caps("CapAmb"), str(p)


def test_not_dumpable(seen):
    """Memory and environment belong to root: no core file, no ptrace by a process of the same uid."""
    for p in seen:
        if p.exe in (p.program, {"lmtpd": "smtpd", "lmtp": "smtp"}.get(p.program)):
            assert p.dump_owner == 0, str(p)


def test_descriptors(suite, seen):
    """Who meets the network has no file open but the log and his lock; the others only directories of theirs."""
    for p in seen:
        for fd, target in p.fds.items():
            below = os.path.relpath(target, suite.queue) if target.startswith(suite.queue + "/") or target == suite.queue else None
            if below is None:
                if p.role == "daemon" and p.program in NETWORK and fd > 2:  # up to 2 they are master's, here the test's
                    assert target in ("/dev/null", suite.maillog) or ":" in target, f"{p}: {fd} {target}"
                continue
            if p.role in ("master", "daemon") and below.split("/")[0] == "pid":
                continue
            dirs = QUEUE_DIRS.get(p.program, set())
            assert p.role == "daemon" and (dirs is None or below.split("/")[0] in dirs), f"{p}: {fd} {below}"


def key_patterns(key):
    """The secret numbers of an RSA key as memory may hold them: big-endian (files), little-endian limbs (libcrypto), and the text of the file."""
    text = subprocess.run(["openssl", "rsa", "-in", key, "-noout", "-text"], check=True, stdout=subprocess.PIPE).stdout.decode()
    out = {}
    for name in ("privateExponent", "prime1", "prime2"):
        digits = re.search(name + r":\n((?:\s+[0-9a-f:]+\n)+)", text).group(1)
        number = bytes.fromhex(re.sub(r"[\s:]", "", digits)).lstrip(b"\0")
        out[name] = number[8:56]
        out[name + ", limbs"] = number[::-1][8:56]
    with open(key, encoding="ascii") as f:
        out["text"] = f.read().splitlines()[3].encode()
    return out


def resident(pagemap, start, end):
    """The parts of a mapping that hold bytes, as (address, length): most of a sanitizer's mappings was never touched."""
    page, first = 4096, None
    pagemap.seek(start // page * 8)
    entries = memoryview(pagemap.read((end - start) // page * 8)).cast("Q")
    for i, entry in enumerate([*entries, 0]):
        if entry >> 62:  # in memory or swapped out
            first = i if first is None else first
        elif first is not None:
            yield start + first * page, (i - first) * page
            first = None


def scan(pid, patterns):
    found = set()
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem, \
            open(f"/proc/{pid}/pagemap", "rb", 0) as pagemap:
        for line in maps:
            span, mode = line.split()[:2]
            start, end = (int(x, 16) for x in span.split("-"))
            if mode[0] != "r" or "[v" in line or end - start > 1 << 30:  # a sanitizer's shadow
                continue
            for address, n in resident(pagemap, start, end):
                try:
                    mem.seek(address)
                    data = mem.read(n)
                except (OSError, ValueError):
                    continue
                found |= {n for n, p in patterns.items() if p in data}
    return found


def test_private_key_is_in_no_process_that_meets_the_network(suite, seen):
    """After TLS handshakes of smtpd, imapd and pop3d only tlsmgr's memory may hold the key; nor is it in the log."""
    patterns = key_patterns(suite.main["smtpd_tls_key_file"])
    for port in ("smtp", "submission"):
        with smtplib.SMTP(suite.host, suite.port[port]) as s:
            s.starttls(context=ssl._create_unverified_context())
    looked, holders = set(), set()
    for p in processes(suite):
        try:
            found = scan(p.pid, patterns)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        looked.add(p.program)
        if found:
            holders.add(p.program)
            assert p.program == "tlsmgr" and p.role == "daemon", f"{p} holds {found}"
    assert set(NETWORK) - {"lmtp"} <= looked
    assert holders == {"tlsmgr"}, "the scan finds the key where it must be"
    log = suite.log().encode()
    assert not [n for n, pattern in patterns.items() if pattern in log]


# ---- the canary ----

@pytest.fixture(scope="module")
def songs(base):
    """(program, role) -> {try: outcome} of each process of the test build, and the log."""
    if instance.BUILD.rstrip("/").endswith("/san"):
        pytest.skip("with sanitizers the filter is another one (sandbox/filter.c)")
    subprocess.run(["make", "--no-print-directory", "-s", "canary"], cwd=instance.ROOT, check=True, stdout=subprocess.DEVNULL)
    programs = os.path.join(base, "canary-programs")  # where daemons that are not root can reach them
    shutil.copytree(os.path.join(instance.ROOT, "build", "canary"), programs)
    here = os.path.join(base, "canary")
    cage = tempfile.mkdtemp(prefix="pc", dir="/tmp")
    os.mkdir(here)
    os.chmod(cage, 0o777)
    for name, mode in (("readable", 0o666), ("writable", 0o666), ("removable", 0o666), ("renamable", 0o666), ("program", 0o755)):
        path = os.path.join(cage, name)
        with open(path, "wb") as f:
            f.write(b"\x01\x02no known format")
        os.chmod(path, mode)
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.bind(os.path.join(cage, "socket"))
    unix.listen(1000)
    os.chmod(os.path.join(cage, "socket"), 0o777)
    tcp = socket.create_server(("127.0.0.1", 0), backlog=1000)
    sink = Sink()
    victims = []
    for uid in [0, instance.VMAIL_UID, pwd.getpwnam("nobody").pw_uid] + [pwd.getpwnam(u).pw_uid for u in instance.USERS]:
        victims.append((uid, subprocess.Popen(["sleep", "600"], user=uid, group=uid if uid else 0, extra_groups=[])))
    i = full_suite(here, sink.port, daemon_directory=os.path.join(programs, "sbin"))
    i.main["import_environment"] = "POSTERN_CANARY=%s { POSTERN_CANARY_MORE=%d %s %s }" % (
        cage, tcp.getsockname()[1], i.queue, " ".join(f"{u}:{p.pid}" for u, p in victims))
    for d in ("deferred", "maildrop", "incoming"):
        os.makedirs(os.path.join(i.queue, d), 0o700)
        shutil.chown(os.path.join(i.queue, d), "postern", "postern")
        path = os.path.join(i.queue, d, "canary")
        with open(path, "wb"):
            pass
        os.chmod(path, 0o666)
        shutil.chown(path, "postern", "postern")
    want = expected_roles(i) - {("pipe", "user"), ("spawn", "user")} | COMMANDS | {("local", "root")}
    songs, end = {}, time.monotonic() + 180
    with i:
        keep = use_everything(i)
        while time.monotonic() < end and not want <= set(songs):
            songs = read_songs(i.log())
            time.sleep(0.3)
        del keep
        log = i.log()
    for _, p in victims:
        p.kill()
        p.wait()
    shutil.rmtree(cage, ignore_errors=True)
    missing = want - set(songs)
    assert not missing, f"never sang: {sorted(missing)}\n{log[-3000:]}"
    return songs, log


def read_songs(log):
    now, out = {}, {}
    for m in re.finditer(r"\[(\d+)\]: canary: (begin (\S+) (\S+)|end|([a-z0-9-]+): (denied|ALLOWED) \(.*\))$", log, re.M):
        pid = m.group(1)
        if m.group(3):
            now[pid] = (m.group(3), m.group(4), {})
        elif m.group(5):
            now[pid][2][m.group(5)] = m.group(6)
        else:
            program, role, tries = now[pid]
            out.setdefault((program, role), []).append(tries)
    return out


def allowed(tries):
    return {t for t, outcome in tries.items() if outcome == "ALLOWED"}


def test_a_daemon_that_tries_to_break_out_cannot(songs):
    """Files, other daemons' queue files, exec, network, ptrace, kill, ids, chroot, mount, namespaces: denied but for what its one job takes."""
    wrong = []
    for (program, role), all_tries in sorted(songs[0].items()):
        if role != "daemon":
            continue
        for tries in all_tries:
            want = DAEMON.get(program, set()) | {p for p, who in PEERS.items() if program in who}
            if allowed(tries) != want:
                wrong.append(f"{program}: {sorted(allowed(tries))}, not {sorted(want)}")
    assert not wrong, "\n".join(wrong)


def test_a_monitor_that_tries_to_break_out_cannot(songs):
    """The root halves: never ptrace, mounts, namespaces, raw sockets; no exec and no network where no command is ever run."""
    wrong = []
    for (program, role), all_tries in sorted(songs[0].items()):
        if role != "monitor":
            continue
        for tries in all_tries:
            if not allowed(tries) <= MONITOR[program] or allowed(tries) & NEVER:
                wrong.append(f"{program}: {sorted(allowed(tries) - (MONITOR[program] - NEVER))} allowed")
    assert not wrong, "\n".join(wrong)


def test_a_users_process_that_tries_to_break_out_cannot(songs):
    """A process that serves a mailbox sees that mailbox only; one that runs a command can do what that user could, and no more."""
    wrong = []
    for (program, role), all_tries in sorted(songs[0].items()):
        if role not in ("user", "command"):
            continue
        for tries in all_tries:
            ok = set() if role == "user" else RUNS_COMMANDS | FILES | UNIX | {"fork", "kill", "code-page", "dumpable"}
            if not allowed(tries) <= ok:
                wrong.append(f"{program}: {sorted(allowed(tries) - ok)} allowed")
    assert not wrong, "\n".join(wrong)


def test_the_process_that_writes_roots_mailbox_cannot_break_out(songs):
    """uid 0 without capabilities: one mailbox, and nothing else that root owns."""
    found = [tries for (program, role), all_tries in songs[0].items() if role == "root" for tries in all_tries]
    assert found and {p for p, role in songs[0] if role == "root"} == {"local"}
    for tries in found:
        assert allowed(tries) == set()


def test_denials_are_logged(songs):
    """A daemon that does what it never does is seen in the log, by the name of the call."""
    for call in ("execve", "socket", "ptrace", "kill", "mount", "chroot", "setresuid", "openat"):
        assert re.search(rf"warning: sandbox: denied {call}$", songs[1], re.M), call
