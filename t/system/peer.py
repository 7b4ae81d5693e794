"""A private instance of Debian's Postfix, for tests that hold ours against it. Nothing of it is needed to pass: HAVE says whether it is there."""
import grp
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time

from instance import BUILD, STARTED, free_ports

DAEMONS = "/usr/lib/postfix/sbin"
COMMANDS = "/usr/sbin"
STOCK = "/usr/share/postfix/master.cf.dist"
QUICK = {"LD_PRELOAD": os.path.join(BUILD, "t", "quick.so")}  # for the environment of its commands, which sleep before they end with an error
if "ASAN_OPTIONS" in os.environ:  # ours, of a build with sanitizers, would not start with it
    QUICK["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
CLOCK = re.compile(r"\]: warning: (file system clock is \d+ seconds (ahead of|behind) local clock|resetting file time stamps - this hurts performance)$")
HAVE = os.getuid() == 0 and os.path.exists(os.path.join(DAEMONS, "master")) and os.path.exists(STOCK)


def settle(path):
    """Postfix reads main.cf again and again, with pauses, until its last change lies some seconds back: let it be so."""
    then = time.time() - 60
    os.utime(path, (then, then))


class Peer:
    """peer = Peer(dir, main={...}); peer.start(); ...; peer.stop(). The attributes are those of instance.Instance. `resolver`: the address of the
    DNS server that it asks (port 53), and nobody else on this machine."""

    def __init__(self, base, main=None, listen=("smtp",), master=(), host="127.0.0.1", resolver=None):
        self.base, self.host = os.path.abspath(base), host
        self.config, self.queue, self.data, self.mail = (os.path.join(self.base, d) for d in ("etc", "queue", "data", "mail"))
        self.maillog = os.path.join(self.base, "maillog")
        self.port = dict(zip(listen, free_ports(len(listen), host)))
        self.extra_master, self.resolver, self.proc = list(master), resolver, None
        self.main = {
            "compatibility_level": "3.6",
            "queue_directory": self.queue,
            "data_directory": self.data,
            "maillog_file": self.maillog,
            "maillog_file_prefixes": os.path.dirname(self.base),
            "myhostname": "mail.example.test",
            "mydomain": "example.test",
            "mydestination": "$myhostname, localhost.$mydomain, localhost",
            "mynetworks": "127.0.0.0/8",
            "inet_protocols": "ipv4",
            "inet_interfaces": host,
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "recipient_delimiter": "+",
            "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
        }
        self.main.update(main or {})

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.config, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        settle(path)
        return path

    def write_config(self):
        for d in (self.config, self.queue, self.data, self.mail):
            os.makedirs(d, exist_ok=True)
        shutil.chown(self.data, "postfix")
        os.chown(self.mail, 5000, 5000)
        self.write_main()
        lines = []
        with open(STOCK, encoding="ascii") as f:
            for w in (l.split() for l in f if l.strip() and l[0] not in "# \t"):
                w[4] = "n"
                if w[:2] != ["smtp", "inet"]:
                    lines.append(" ".join(w))
        lines.append("postlog unix-dgram n - n - 1 postlogd")
        lines += [f"{self.host}:{port} inet n - n - - smtpd" for name, port in self.port.items() if name == "smtp"]
        self.write("master.cf", "\n".join(dict.fromkeys(lines + self.extra_master)) + "\n")

    def write_main(self):
        self.write("main.cf", "".join(f"{k} = {v}\n" for k, v in self.main.items() if v is not None))

    def command(self, name, *args, **kw):
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        path = os.path.join(COMMANDS, {"mailq": "sendmail", "newaliases": "sendmail"}.get(name, name))  # Debian has them elsewhere, as links
        return subprocess.run([name, *args], executable=path, env=dict(os.environ, MAIL_CONFIG=self.config), check=False, **kw)

    def make_queue(self):
        """The directories that "postfix start" makes, without what else it looks after."""
        postfix, drop = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postdrop").gr_gid
        for d in "active bounce corrupt defer deferred flush hold incoming private saved trace maildrop public".split():
            os.makedirs(os.path.join(self.queue, d))
            os.chown(os.path.join(self.queue, d), postfix, drop if d in ("maildrop", "public") else -1)
            os.chmod(os.path.join(self.queue, d), {"maildrop": 0o1730, "public": 0o2710}.get(d, 0o700))
        os.makedirs(os.path.join(self.queue, "pid"))

    def through_resolver(self, args):
        """A command whose process asks the DNS server of this instance, if it has one."""
        if not self.resolver:
            return args
        where = self.write("resolv.conf", f"nameserver {self.resolver}\n")
        return ["unshare", "-m", "sh", "-c", f"mount --bind {where} /etc/resolv.conf && exec " + shlex.join(args)]

    def start(self):
        self.write_config()
        self.make_queue()
        STARTED.append(self)
        args = self.through_resolver([f"{DAEMONS}/master", "-c", self.config, "-d"])
        self.proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, start_new_session=True, env={"PATH": os.environ["PATH"], "MAIL_CONFIG": self.config})
        end = time.monotonic() + 60
        for port in self.port.values():
            while True:
                try:
                    socket.create_connection((self.host, port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > end or self.proc.poll() is not None:
                        raise RuntimeError("Postfix does not answer:\n" + self.log()) from None
                    time.sleep(0.05)
        return self

    def stop(self):
        if self.proc:
            os.killpg(self.proc.pid, signal.SIGTERM)
            self.proc.wait()
        self.proc = None

    def log(self):
        """Its log, without what it says of the machine's clocks, which a second may tick between."""
        try:
            with open(self.maillog, encoding="utf-8", errors="replace") as f:
                return "".join(line for line in f if not CLOCK.search(line))
        except FileNotFoundError:
            return ""
