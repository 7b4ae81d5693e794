"""A private instance of the suite in a scratch directory: used by the system tests, `make try`, the crash harness and the benchmarks.

As root the daemons run as the suite's own users (made once when missing); as an ordinary user in one-uid mode."""
import atexit
import os
import pwd
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Collections of real messages, addresses and configurations; may be missing.
SHARED = os.environ.get("POSTERN_SHARED", os.path.join(os.path.dirname(ROOT), "shared"))
BUILD = os.environ.get("POSTERN_BUILD", os.path.join(ROOT, "build"))
SBIN = os.path.join(BUILD, "sbin")
BIN = os.path.join(BUILD, "bin")
USERS = ("postern", "posternnet", "posternaux", "posternkey")
VMAIL_UID = 5000  # owner of virtual mailboxes in private instances; needs no passwd entry


def readable(what, seconds):
    """Whether there is something to read within `seconds`; any number of a descriptor will do, which select(2) cannot say of itself."""
    p = select.poll()
    p.register(what, select.POLLIN)
    return bool(p.poll(seconds * 1000))


def make_users(say=lambda s: None):
    """As root: the system users and the group that the design names; each is made once."""
    if os.getuid() != 0:
        return
    def have(db, name):
        return subprocess.run(["getent", db, name], stdout=subprocess.DEVNULL, check=False).returncode == 0
    if not have("group", "postdrop"):
        say("making the system group postdrop")
        subprocess.run(["groupadd", "--system", "postdrop"], check=True)
    for u in USERS:
        if not have("passwd", u):
            say(f"making the system user {u}")
            subprocess.run(["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
                            "--shell", "/usr/sbin/nologin", u], check=True)


def reachable(directory):
    """Whether other users can get into `directory`: daemons that are not root have to, on their way to queue and mailboxes."""
    path = os.path.abspath(directory)
    while path != "/":
        if os.path.exists(path) and not os.stat(path).st_mode & 0o001:
            return False
        path = os.path.dirname(path)
    return True


def fresh_dir(directory, say=lambda s: None):
    """An empty `directory`. As root in a tree that only root may enter, it becomes a link to one below the system's temporary directory."""
    if os.path.islink(directory):
        shutil.rmtree(os.path.realpath(directory), ignore_errors=True)
        os.unlink(directory)
    shutil.rmtree(directory, ignore_errors=True)
    parent = os.path.dirname(directory)
    os.makedirs(parent, exist_ok=True)
    if os.getuid() != 0 or reachable(parent):
        os.makedirs(directory)
        return directory
    real = tempfile.mkdtemp(prefix="postern-")
    os.chmod(real, 0o755)
    os.symlink(real, directory)
    say(f"{parent} is closed to other users: {directory} is a link to {real}")
    return real


CHROOT = os.environ.get("POSTERN_CHROOT") == "1"  # all instances as Debian's master.cf has it, instead of test_debian_layout.py's alone
PATIENCE = 60  # seconds that a test waits for what has to come: a slow machine is no failure
STARTED = []  # what logs: instances, and stand-ins of master
GIVEN = set()  # ports that free_ports() has named


def until(condition, seconds=PATIENCE, every=0.05):
    """Waits until condition() is true, and returns what it was last: assert until(lambda: ...)."""
    end = time.monotonic() + seconds
    while not (got := condition()) and time.monotonic() < end:
        time.sleep(every)
    return got


def free_ports(n, host="127.0.0.1"):
    """n TCP ports that nobody listens on. They lie below those that the kernel hands out, so that no connection of another test takes one in
    the meantime, are named once only, and each process of pytest has its own."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        below = max(int(f.read().split()[0]), 12000)
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8
    candidates, ports = [p for p in range(10000 + mine, below, 8) if p not in GIVEN], []
    random.shuffle(candidates)
    while len(ports) < n:
        port = candidates.pop()
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a listener's rule, not that of a connection
            try:
                s.bind((host, port))
            except OSError:
                continue
        GIVEN.add(port)
        ports.append(port)
    return ports


def listening():
    """The ports of all listeners, seen without a connection."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as f:
            ports |= {int(row.split()[1].rsplit(":", 1)[1], 16) for row in f if row.split()[3] == "0A"}
    return ports


def listens(host, port):
    """Whether a connection is taken there."""
    try:
        socket.create_connection((host, port), 10).close()
        return True
    except OSError:
        return False


def make_certificates(directory, domain="example.test", names=()):
    """A CA of our own and a server certificate for mail.DOMAIN, localhost, 127.0.0.1 and more names: (CA file, certificate, key)."""
    os.makedirs(directory, exist_ok=True)
    def p(name):
        return os.path.join(directory, name)
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *ec, "-days", "30", "-keyout", p("ca.key"), "-out", p("ca.pem"), "-subj", "/CN=Try CA")
    openssl("req", *ec, "-keyout", p("key.pem"), "-out", p("csr.pem"), "-subj", f"/CN=mail.{domain}")
    with open(p("ext"), "w", encoding="ascii") as f:
        f.write("subjectAltName=" + ",".join("DNS:" + n for n in (f"mail.{domain}", "localhost", *names)) + ",IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", p("csr.pem"), "-CA", p("ca.pem"), "-CAkey", p("ca.key"), "-CAcreateserial", "-days", "30",
            "-extfile", p("ext"), "-out", p("cert.pem"))
    os.chmod(p("key.pem"), 0o600)
    return p("ca.pem"), p("cert.pem"), p("key.pem")


class Dns:
    """Debian's dnsmasq as the one and only DNS server of an instance: what `records` (lines of its configuration) say and nothing else."""

    def __init__(self, base, records, host="127.0.0.1"):
        self.base, self.records, self.host = base, list(records), host
        self.port = free_ports(1, host)[0]
        self.proc = None

    def start(self):
        conf = os.path.join(self.base, "dnsmasq.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"port={self.port}\nlisten-address={self.host}\nbind-interfaces\nno-resolv\nno-hosts\nlog-facility={self.base}/dnsmasq.log\n"
                    f"pid-file={self.base}/dnsmasq.pid\nlocal=/test/\n" + "".join(r + "\n" for r in self.records))
        self.proc = subprocess.Popen(["dnsmasq", "--keep-in-foreground", f"--conf-file={conf}", "--user=" + pwd.getpwuid(os.getuid()).pw_name],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
        if not until(lambda: self.proc.poll() is not None or listens(self.host, self.port), every=0.02):
            raise RuntimeError("dnsmasq does not answer")
        if self.proc.poll() is not None:
            raise RuntimeError("dnsmasq did not start")
        return self

    def stop(self):
        if self.proc:
            self.proc.terminate()
            self.proc.wait()
        self.proc = None


class Instance:
    """inst = Instance(dir, main={...}, master=[lines]); inst.start(); ...; inst.stop()

    Services get ports: inst.port["smtp"] and so on for each name in `listen`. `main` overrides or adds parameters (None removes)."""

    STANDARD = """pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
resolver unix - - n - 1 resolver
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxywrite
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
auth unix - n n - - auth
postlog unix-dgram n - n - 1 postlogd
""".splitlines()

    INET = {  # name in `listen` -> (program, -o settings)
        "smtp": ("smtpd", {}),
        "submission": ("smtpd", {"syslog_name": "postfix/submission", "smtpd_tls_security_level": "encrypt",
                                 "smtpd_sasl_auth_enable": "yes", "smtpd_relay_restrictions": "",
                                 "smtpd_recipient_restrictions": "permit_sasl_authenticated,reject"}),
        "smtps": ("smtpd", {"syslog_name": "postfix/submissions", "smtpd_tls_wrappermode": "yes",
                            "smtpd_sasl_auth_enable": "yes", "smtpd_relay_restrictions": "",
                            "smtpd_recipient_restrictions": "permit_sasl_authenticated,reject"}),
        "lmtp": ("lmtpd", {}),
        "pop3": ("pop3d", {}),
        "pop3s": ("pop3d", {"pop3d_tls_wrappermode": "yes"}),
        "imap": ("imapd", {}),
        "imaps": ("imapd", {"imapd_tls_wrappermode": "yes"}),
    }

    # What Debian's master.cf has in a chroot.
    CHROOTED = "smtpd pickup cleanup tlsmgr trivial-rewrite bounce verify flush smtp showq error discard lmtp anvil".split()

    def __init__(self, base, main=None, listen=("smtp",), master=(), host="127.0.0.1", drop=(), ports=None, chroot=CHROOT):
        self.base = os.path.abspath(base)
        self.chroot = chroot  # the services that Debian's master.cf has there
        self.host = host
        self.config = os.path.join(self.base, "etc")
        self.queue = os.path.join(self.base, "queue")
        self.data = os.path.join(self.base, "data")
        self.mail = os.path.join(self.base, "mail")
        self.maillog = os.path.join(self.base, "maillog")
        self.root = os.getuid() == 0
        self.uid = VMAIL_UID if self.root else os.getuid()
        self.gid = VMAIL_UID if self.root else os.getgid()
        self.port = dict(ports) if ports else dict(zip(listen, free_ports(len(listen), host)))
        self.listen = listen
        self.extra_master = list(master)
        self.drop = set(drop)
        self.main = {
            "compatibility_level": "3.6",
            "queue_directory": self.queue,
            "data_directory": self.data,
            "daemon_directory": SBIN,
            "command_directory": BIN,
            "config_directory": self.config,
            "maillog_file": self.maillog,
            "maillog_file_prefixes": os.path.dirname(self.base) + ", /dev/stdout",
            "myhostname": "mail.example.test",
            "mydomain": "example.test",
            "mydestination": "$myhostname, localhost.$mydomain, localhost",
            "mynetworks": "127.0.0.0/8",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "recipient_delimiter": "+",
            "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
            "maximal_backoff_time": "30s",
            "minimal_backoff_time": "5s",
            "queue_run_delay": "5s",
        }
        if not self.root:
            me = pwd.getpwuid(os.getuid()).pw_name
            for p in ("mail_owner", "net_owner", "aux_owner", "key_owner"):
                self.main[p] = me
        for k, v in (main or {}).items():
            if v is None:
                self.main.pop(k, None)
            else:
                self.main[k] = v
        self.proc = None
        self.wrap = []  # a command in front of master's: strace, valgrind

    # ---- files ----
    def write(self, name, text, mode=0o644):
        path = os.path.join(self.config, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def write_config(self):
        os.makedirs(self.config, exist_ok=True)
        for d in (self.queue, self.data, self.mail):
            os.makedirs(d, exist_ok=True)
        if self.root:
            os.chown(self.mail, self.uid, self.gid)
            os.chown(self.data, pwd.getpwnam("postern").pw_uid, pwd.getpwnam("postern").pw_gid)
        self.write("main.cf", "".join(f"{k} = {v}\n" for k, v in self.main.items()))
        lines = [l for l in self.STANDARD if l.split()[0] not in self.drop and
                 os.path.exists(os.path.join(SBIN, l.split()[7]))]
        for name in self.listen:
            program, opts = self.INET[name]
            if not os.path.exists(os.path.join(SBIN, program)):
                continue
            args = "".join(f"\n  -o {{ {k} = {v} }}" for k, v in opts.items())
            lines.append(f"{self.host}:{self.port[name]} inet n - n - - {program}{args}")
        if self.chroot:
            lines = [re.sub(r"^((?:\S+ +){4})n( +\S+ +\S+ +(\S+))", lambda m: m[1] + "ny"[m[3] in self.CHROOTED] + m[2], l) for l in lines]
        self.write("master.cf", "\n".join(lines + self.extra_master) + "\n")

    # ---- life ----
    def command(self, name, *args, **kw):
        """Runs one of the suite's commands against this instance."""
        env = dict(os.environ, MAIL_CONFIG=self.config)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        return subprocess.run([os.path.join(BIN, name), *args], env=env, check=False, **kw)

    def start(self, wait=True):
        make_users()
        self.write_config()
        STARTED.append(self)
        self.proc = subprocess.Popen([*self.wrap, os.path.join(SBIN, "master"), "-d", "-c", self.config], stdin=subprocess.DEVNULL,
                                     env=dict(os.environ, MAIL_CONFIG=self.config), start_new_session=True)
        if wait:
            for name in self.listen:
                self.wait_port(self.port[name])
            more = {int(p) for p in re.findall(r"^\S*?(\d+)\s+(?:inet|pass)\s", "\n".join(self.extra_master), re.M)}
            until(lambda: more <= listening() or self.proc.poll() is not None, 20)  # some tests want lines that are no good
            self.wait_queue()
        return self

    def wait_queue(self):
        """Until there is a queue that takes mail; master makes it when it starts."""
        until(lambda: os.path.isdir(os.path.join(self.queue, "maildrop")) or self.proc.poll() is not None, 20, 0.02)

    def wait_port(self, port, seconds=PATIENCE):
        def ended():
            return self.proc and self.proc.poll() is not None
        if not until(lambda: ended() or listens(self.host, port), seconds, 0.02):
            raise RuntimeError(f"port {port} does not answer:\n{self.log()[-6000:]}")
        if ended():
            raise RuntimeError(f"master ended with {self.proc.returncode}:\n{self.log()[-6000:]}")

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(self.proc.pid, signal.SIGKILL)
                self.proc.wait()
                raise
        self.proc = None

    def kill(self):
        """SIGKILL to master and all its children, as a crash does."""
        if self.proc:
            os.killpg(self.proc.pid, signal.SIGKILL)
            self.proc.wait()
        self.proc = None

    def remove(self):
        shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    # ---- looking ----
    def processes(self):
        """Every process below master, monitors' children included."""
        found, todo = [], [self.proc.pid]
        while todo:
            out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(todo.pop())], stdout=subprocess.PIPE, check=False).stdout.split()
            found += [int(p) for p in out]
            todo += [int(p) for p in out]
        return found

    def log(self):
        try:
            with open(self.maillog, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def wait_log(self, pattern, seconds=PATIENCE, count=1):
        """Waits until `count` log lines match; returns the match objects."""
        found = []

        def look():
            found[:] = re.finditer(pattern, self.log(), re.M)
            return len(found) >= count
        assert until(look, seconds), f"no log line /{pattern}/ ({len(found)} of {count}) in:\n{self.log()[-6000:]}"
        return found

    def wait_socket(self, name):
        """Until master listens at queue_directory/NAME."""
        assert until(lambda: os.path.exists(os.path.join(self.queue, name)), every=0.02), self.log()[-6000:]

    def wait_queue_empty(self, seconds=PATIENCE):
        assert until(lambda: b"Mail queue is empty" in self.command("postqueue", "-p").stdout, seconds, 0.1), \
            "the queue is not empty:\n" + self.command("postqueue", "-p").stdout.decode() + self.log()[-4000:]


def mailbox_instance(base, domain, users, listen, main=None, aliases="", virtual="", **kw):
    """An instance, not yet started, that holds the mailboxes of `users` (name -> password) in virtual domain `domain`; delivery, IMAP and POP3 see
    one Maildir. `aliases` and `virtual` are the texts of those tables."""
    inst = Instance(base, listen=listen, main={
        "maillog_file_prefixes": base,
        "myhostname": f"mail.{domain}",
        "mydomain": domain,
        "myorigin": domain,
        "mydestination": f"mail.{domain}, localhost",
        "virtual_mailbox_domains": domain,
        "virtual_transport": "virtual",
        "virtual_mailbox_base": os.path.join(base, "mail"),
        "virtual_mailbox_maps": f"hash:{base}/etc/vmailbox",
        "virtual_alias_maps": f"hash:{base}/etc/virtual",
        "alias_maps": f"hash:{base}/etc/aliases",
        "alias_database": f"hash:{base}/etc/aliases",
        "auth_passwd_file": f"{base}/etc/users",
        "auth_mechanisms": "plain login cram-md5 scram-sha-1 scram-sha-256",
        "auth_failure_delay": "0s",
    }, **kw)
    inst.main.update({"virtual_uid_maps": f"static:{inst.uid}", "virtual_gid_maps": f"static:{inst.gid}",
                      "virtual_minimum_uid": str(min(inst.uid, 100)), **(main or {})})
    inst.write_config()
    lines = ""
    for name, password in users.items():
        home = os.path.join(inst.mail, f"{name}@{domain}")
        os.makedirs(home, exist_ok=True)
        if inst.root:
            os.chown(home, inst.uid, inst.gid)
        lines += f"{name}@{domain}:{{PLAIN}}{password}:{inst.uid}:{inst.gid}::{home}::userdb_mail=maildir:{home}/Maildir\n"
    inst.write("users", lines, 0o600)
    inst.write("vmailbox", "".join(f"{u}@{domain} {u}@{domain}/Maildir/\n" for u in users))
    inst.write("virtual", virtual)
    inst.write("aliases", aliases)
    for command, table in (("postmap", "vmailbox"), ("postmap", "virtual"), ("postalias", "aliases")):
        r = inst.command(command, f"hash:{base}/etc/{table}")
        assert r.returncode == 0, r.stderr.decode()
    return inst


def scratch(prefix):
    """A directory that the suite's users can walk into, as those of pytest are not. What is left of it goes when the tests end, however they end."""
    base = tempfile.mkdtemp(prefix=prefix)
    os.chmod(base, 0o755)
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    return base
