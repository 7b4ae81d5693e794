"""Configurations that people run, as collected: Debian's Postfix and ours load them (postconf prints the same text, and check takes the same),
start with them, give the same answers to the same sessions, and the mail goes the same ways (transport, nexthop, recipient).

What stands in for the machines that these sets belong to is the same for both suites. SQL, LDAP and socketmap tables ask real servers (BACKENDS;
set_backends.py), with the queries of the set; Modoboa's and Mail-in-a-Box's sets do not hold their queries, which are ours therefore. Indexed tables
are made by Debian's postmap, so ours reads what an installation has. Files that a set names and does not hold are made (FOR_PARAMETER). Policy
servers say DUNNO. Listeners are on the loopback interface, Postfix is not chrooted (it would need files there; ours is as the set says), and every delivery agent is discard(8), which logs the nexthop
that it was given (error(8) would as well, but Postfix's serves no service of another name than error and retry). Where master.cf has postscreen in
front, ours runs that line and Postfix its smtpd. Left out are milters; DNS lists, SASL and TLS are
in test_config_sets_secured.py.

A few sets run by default, all of them (33 with VARIANTS) when POSTERN_ALL_SETS is set. What came of them: no set is answered or routed otherwise than by
Postfix. TEMPLATES are two that both suites refuse; LOADS_OTHERWISE names two with a line that Postfix does not start with; SAID_OTHERWISE what the
commands print on stderr on one side alone. Each has its reason there; what does not stand there is the same."""
import concurrent.futures
import contextlib
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import peer  # noqa: E402
import set_backends  # noqa: E402
from instance import BIN, SBIN, SHARED, Instance, make_users, scratch  # noqa: E402

SETS = os.path.join(SHARED, "data", "configs")
EVERYTHING = bool(os.environ.get("POSTERN_ALL_SETS"))
DEFAULT = {"iredmail/rendered-mysql+ldap", "ispconfig/rendered", "mailinabox/rendered", "mailu/rendered", "postfix-readme-examples/05-firewall-gateway",
           "proxmox-mail-gateway/rendered"}
TEMPLATES = {  # set -> why neither Postfix nor ours loads it
    "iredmail": "its numbers are placeholders: PH_AMAVISD_MAX_SERVERS",
    "mailu": "a template that is not rendered: {% if RELAYUSER %}",
}
VARIANTS = {  # set -> the set that it is made of, pieces of main.cf that replace what stands there, and where tables are
    "iredmail/rendered-mysql+pgsql": ("iredmail/rendered-mysql", "iredmail/main.cf.pgsql", "iredmail/pgsql"),
    "iredmail/rendered-mysql+ldap": ("iredmail/rendered-mysql", "iredmail/main.cf.ldap", "iredmail/ldap"),
    "docker-mailserver+ldap": ("docker-mailserver", {  # what its start script sets with ACCOUNT_PROVISIONER=LDAP
        "virtual_mailbox_domains": "/etc/postfix/vhost, ldap:/etc/postfix/ldap-domains.cf", "virtual_mailbox_maps": "ldap:/etc/postfix/ldap-users.cf",
        "virtual_alias_maps": "ldap:/etc/postfix/ldap-aliases.cf, ldap:/etc/postfix/ldap-groups.cf",
        "smtpd_sender_login_maps": "ldap:/etc/postfix/ldap-senders.cf", "virtual_transport": "lmtp:unix:/var/run/dovecot/lmtp"}, "docker-mailserver"),
}
BACKENDS = {
    "iredmail/rendered-mysql": set_backends.MySql, "iredmail/rendered-mysql+pgsql": set_backends.PgSql, "iredmail/rendered-mysql+ldap": set_backends.Ldap,
    "ispconfig/rendered": set_backends.IspConfig, "modoboa/rendered-amavis": set_backends.Modoboa, "modoboa/rendered-rspamd": set_backends.Modoboa,
    "mailinabox/rendered": set_backends.SqLite, "docker-mailserver+ldap": set_backends.DockerLdap,
}
LOADS_OTHERWISE = {  # set -> main.cf that Postfix gets instead, -o settings that nobody gets, and why
    "ispconfig/rendered": ({"smtputf8_enable": "no"}, set(), 'main.cf ends in "smtputf8_enable = no# Postfix configuration": Postfix is fatal, ours warns and '
                           "takes the word in front of the #, as an installation may hold this for years in a place that nothing reads"),
    "proxmox-mail-gateway/rendered": ({}, {"message_size_limit"}, 'master.cf has "-o message_size_limit=", of which rendering made nothing: Postfix is fatal, '
                                      "ours warns and uses the default; so that the rest is the same, neither gets it"),
}
ADDED = {  # set -> lines of master.cf that rendering lost
    "proxmox-mail-gateway/rendered": "scan unix - - n - 5 lmtp\n",
}
FOR_PARAMETER = [  # the name of the parameter -> lines of a table that it names
    (r"virtual_mailbox_domains|virtual_domains|destination_domains", "virt.test x\n"),
    (r"virtual_alias_domains", "alias.test x\n"),
    (r"virtual_mailbox_maps|virtual_mailboxes", "ann@virt.test virt.test/ann/\n"),
    (r"virtual_alias_maps|virtual_maps", "all@virt.test ann@virt.test\nout@alias.test far@far.test\n"),
    (r"relay_domains", "relay.test x\n"),
    (r"relay_recipient_maps", "user@relay.test x\n"),
    (r"transport_maps", "relay.test smtp:[inside.relay.test]:2525\nfar.test relay:[far.test]\n"),
    (r"alias_maps|alias_database", "root: x\npostmaster: x\nonlyalias: x\n"),
    (r"sender_dependent_relayhost_maps", "@virt.test [out.virt.test]:587\n"),
    (r"canonical_maps", "old@virt.test ann@virt.test\n"),
    (r"bcc_maps", "all@virt.test log@far.test\n"),
    (r"sender_login_maps", "ann@virt.test ann@virt.test\n"),
    (r"myorigin", "mailname.example.com\n"),
]
AGENTS = ("smtp", "lmtp", "local", "virtual", "pipe", "error", "discard")
COMMON = "cleanup qmgr trivial-rewrite bounce verify flush proxymap showq anvil pickup tlsmgr scache postlogd tlsproxy dnsblog".split()
INDEXED = ("hash", "btree", "lmdb", "cdb")
TABLE = re.compile(r"\b(mysql|pgsql|ldap|sqlite|tcp|hash|btree|lmdb|cdb|dbm|texthash|regexp|pcre|cidr):([^\s,{}]*)")
SOCKETMAP = re.compile(r"\bsocketmap:(?:unix:[^\s:,]+|inet:[^\s:,]+:\d+):")
POLICY = re.compile(r"(check_policy_service\s+(?:\{\s*)?)(?:unix|inet):[^\s,}]+")
ELSEWHERE = re.compile(r"(reject_rbl_client|reject_rhsbl_\w+|check_sasl_access)\s+(\{[^}]*\}|[^\s,]+)")
OF_TLS = ("smtpd_tls_", "smtp_tls_", "tls_", "lmtp_tls_")
FILE = re.compile(r"(?<![\w:./-])/etc/(?:postfix/[\w./-]+|mailname)")
NOT_HERE = re.compile(r"tls|sasl_(type|path|auth_enable)|milter|proxy_filter|proxy_protocol|syslog_name|_rate_limit")


def collected():
    """Every set as it is, in order."""
    return sorted(os.path.relpath(path, SETS) for path, _, files in os.walk(SETS) if "main.cf" in files and "master.cf" in files)


def runnable():
    names = [n for n in sorted([*collected(), *VARIANTS]) if n not in TEMPLATES and (EVERYTHING or n in DEFAULT)]
    return names if os.path.isdir(SETS) and names else [None]


def read(*path):
    try:
        with open(os.path.join(SETS, *path), encoding="utf-8") as f:
            return f.read()
    except OSError:
        return None


def logical_lines(text):
    """Lines with those that continue them, without comments."""
    out = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and out:
            out[-1] += " " + line.strip()
        else:
            out.append(line.strip())
    return out


def key_address(key):
    """An address that a key of a table speaks of."""
    if not re.fullmatch(r"[\w.+-]*@?[\w.-]+", key) or "." not in key:
        return None
    return key if re.match(r"[^@]+@", key) else "someone@" + key.lstrip("@.") if not key.startswith(".") else "someone@sub" + key


def settings(text):
    return {k.strip(): v.strip() for k, v in (line.split("=", 1) for line in logical_lines(text))}


class Copy:
    """What both instances get: parameters and services, with tables written into a directory."""
    elsewhere, not_here, real = ELSEWHERE, NOT_HERE, ()  # what is left out of values and of -o settings; transports that deliver by themselves
    SAME = {
        "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "mynetworks": "127.0.0.2/32", "proxy_interfaces": "", "maillog_file_rotate_suffix": "%Y",
        "smtpd_sasl_auth_enable": "no", "smtpd_tls_security_level": "none", "smtp_tls_security_level": "none", "smtpd_milters": "",
        "non_smtpd_milters": "", "smtpd_error_sleep_time": "0", "debug_peer_list": "", "smtp_tls_policy_maps": "", "smtpd_forbid_unauth_pipelining": "no",
        "smtpd_forbid_bare_newline": "no", "import_environment": "MAIL_CONFIG", "smtpd_client_connection_rate_limit": "0",
        "smtpd_client_connection_count_limit": "0", "smtpd_upstream_proxy_protocol": "", "postscreen_upstream_proxy_protocol": "",
        "alternate_config_directories": "", "multi_instance_enable": "no", "multi_instance_directories": "", "multi_instance_name": "", "mail_name": "Mail",
        "smtpd_tls_wrappermode": "no", "smtpd_client_message_rate_limit": "0", "smtpd_client_recipient_rate_limit": "0", "address_verify_poll_delay": "1s"}

    def __init__(self, name, directory, backend, policy, socketmap):
        self.name, self.dir, self.backend, self.policy, self.socketmap = name, directory, backend, policy, socketmap
        self.folder, replaced, self.tables = VARIANTS.get(name, (name, {}, name))
        os.makedirs(directory)
        with open(os.path.join(directory, "main.cf"), "w", encoding="utf-8") as f:  # of postmap alone
            f.write("compatibility_level = 3.6\n")
        peer.settle(os.path.join(directory, "main.cf"))
        self.main, self.inet, self.front, self.chroot, self.named = {}, {}, set(), {}, set()
        main = {**settings(read(self.folder, "main.cf")), **(settings(read(replaced)) if isinstance(replaced, str) else replaced)}
        for key, value in main.items():
            if self.counts(key):
                self.main[key] = self.local(key, value.replace("PH_POSTFIX_LOOKUP_DIR", "/etc/postfix/lookup"))
        if self.main.get("compatibility_level", "0").split(".")[-1] in ("10", "11"):  # of a later Postfix than Debian's
            self.main["compatibility_level"] = "3.6"
        self.entries = [line.split(None, 8) for line in logical_lines(read(self.folder, "master.cf") + ADDED.get(name, ""))]
        self.passed = next((e[8:] for e in self.entries if e[1] == "pass" and e[7] == "smtpd"), [])
        self.for_postfix, self.without, _ = LOADS_OTHERWISE.get(name, ({}, set(), ""))
        for entry in self.entries:
            self.listener(*entry)
        self.main.update(self.SAME)
        self.main.setdefault("myhostname", "mail.example.com")

    @staticmethod
    def counts(key):
        return key.endswith("_auth_only") or not key.startswith(OF_TLS)

    def local(self, key, value):
        def file(m):
            path = os.path.join(self.dir, "file_" + os.path.basename(m.group()))
            with open(path, "w", encoding="utf-8") as f:
                f.write(self.published(m.group()) or "".join(l.split()[0] + "\n" for l in self.standing_in(key).splitlines()))
            return path
        value = self.elsewhere.sub("", value) if self.elsewhere else value
        value = POLICY.sub(rf"\1inet:127.0.0.1:{self.policy.port}", value)
        value = SOCKETMAP.sub(f"socketmap:inet:127.0.0.1:{self.socketmap.port}:", value)
        value = FILE.sub(file, value)
        return TABLE.sub(lambda m: m.group() if "data_directory" in m.group(2) else self.table(key, *m.groups()), value)

    def published(self, path):
        """The text that the set has for a file of /etc/postfix, whose folders are not always kept."""
        inside = path.removeprefix("/etc/postfix/")
        if inside.startswith("/"):
            return None
        return next((t for t in (read(self.tables, inside), read(self.tables, os.path.basename(inside)), read(self.folder, inside)) if t is not None), None)

    @staticmethod
    def standing_in(key):
        return next((t for pattern, t in FOR_PARAMETER if re.search(pattern, key)), "nobody@nowhere.test x\n")

    def table(self, key, kind, path):
        text, aliases = self.published(path), key.startswith("alias_")
        if self.backend and kind == self.backend.kind:
            asked = self.backend.text(os.path.basename(path), text)
            assert asked, f"{self.name}: nothing is known of {kind}:{path}"
            text = asked
        elif kind in ("regexp", "pcre", "cidr"):
            text = text or ""
        else:
            kind = kind if kind in INDEXED else "texthash"
            text = self.standing_in(key) if text is None else text
            text = text if kind in INDEXED or not aliases else text.replace(":", "")
        if kind in INDEXED + ("texthash",):
            self.named |= {key_address(l.split()[0].rstrip(":")) for l in logical_lines(text)} - {None}
        target = os.path.join(self.dir, f"{kind}_{re.sub(r'[^a-zA-Z0-9.]+', '_', path).strip('_')}")
        if not os.path.exists(target):
            with open(target, "w", encoding="utf-8") as f:
                f.write(text)
            if kind in INDEXED:
                subprocess.run(["/usr/sbin/postalias" if aliases else "/usr/sbin/postmap", f"{kind}:{target}"], check=True,
                               env=dict(os.environ, MAIL_CONFIG=self.dir), stderr=subprocess.PIPE)
        return f"{kind}:{target}"

    def options(self, words, networks=False):
        """The -o settings of a service that mean something here."""
        text, out = " ".join(words), []
        for m in re.finditer(r"-o\s+(?:\{\s*([\w.]+)\s*=\s*(.*?)\s*\}(?=\s|$)|([\w.]+)=(\S*))", text):
            key, value = (m.group(1), m.group(2)) if m.group(1) else (m.group(3), m.group(4))
            if not self.not_here.search(key) and (networks or key != "mynetworks") and key not in self.without:
                out.append(f"-o {{ {key} = {self.local(key, value.replace('{', '').replace('}', ''))} }}")
        return " ".join(out)

    def listener(self, name, kind, _private, _unpriv, chroot, _wakeup, _maxproc, program, *rest):
        """The name by which a test calls it: smtp, submission, or its port."""
        port = {"25": "smtp", "587": "submission"}.get(name.split(":")[-1], name.split(":")[-1])
        if kind == "inet" and program in ("smtpd", "postscreen") and self.listens(port, "wrappermode=yes" in " ".join(rest)):
            self.inet[port] = self.passed if program == "postscreen" else rest
            self.chroot[port] = chroot
            if program == "postscreen":
                self.front.add(port)

    @staticmethod
    def listens(port, wrapped):
        return not wrapped and port not in ("465", "smtps", "submissions")

    def services(self, ports, ours):
        lines, names = [], set()
        for port, rest in self.inet.items():
            args = self.options(rest, networks=port not in ("smtp", "submission"))
            if ours and port in self.front:
                lines += [f"127.0.0.1:{ports[port]} inet n - {self.chroot[port]} - 1 postscreen", f"smtpd pass - - {self.chroot[port]} - - smtpd {args}"]
            else:
                lines.append(f"127.0.0.1:{ports[port]} inet n - {self.chroot[port] if ours else 'n'} - - smtpd {args}")
        for e in self.entries:
            if e[1] in ("unix", "fifo", "unix-dgram") and (e[7] in AGENTS or e[7] in COMMON) and e[0] not in names:
                names.add(e[0])
                stub = e[7] in AGENTS and e[0] not in self.real
                lines.append(self.agent(e[0]) if stub else " ".join([*e[:4], e[4] if ours else "n", *e[5:8], self.options(e[8:])]))
        lines += [f"{n} unix - - n - - smtp" for n in self.real if n not in names]
        lines += [self.agent(n) for n in ("smtp", "relay", "local", "virtual", "lmtp", "error", "retry", "discard") if n not in names and n not in self.real]
        if "postlog" not in names:
            lines.append("postlog unix-dgram n - n - 1 postlogd")
        return "\n".join(lines) + "\n"

    @staticmethod
    def agent(name):
        return f"{name} unix - - n - - {'error' if name in ('error', 'retry') else 'discard'} -o syslog_name=postfix/{name}"


class Theirs(peer.Peer):
    """Debian's Postfix without postfix(1), whose checks take seconds."""
    DIRECTORIES = {"postfix": (0o700, "active bounce corrupt defer deferred flush hold incoming saved trace private"),
                   "postdrop": (0o1733, "maildrop public"), "root": (0o755, "pid")}

    def start(self):
        for owner, (mode, names) in self.DIRECTORIES.items():
            for d in (os.path.join(self.queue, n) for n in names.split()):
                os.makedirs(d, exist_ok=True)
                os.chmod(d, mode)
                shutil.chown(d, "root" if owner == "root" else "postfix", "postdrop" if owner == "postdrop" else "root")
        with open(os.path.join(self.base, "stderr"), "wb") as out:
            self.proc = subprocess.Popen(self.through_resolver([os.path.join(peer.DAEMONS, "master"), "-d", "-c", self.config]), stdin=subprocess.DEVNULL,
                                         stdout=out, stderr=out, env=dict(os.environ, MAIL_CONFIG=self.config), start_new_session=True)
        end = time.monotonic() + 60
        for port in self.port.values():
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection((self.host, port), 1).close()
                    break
                if time.monotonic() > end or self.proc.poll() is not None:
                    with open(out.name, encoding="utf-8", errors="replace") as f:
                        raise RuntimeError("Postfix does not answer:\n" + f.read() + self.log())
                time.sleep(0.02)
        return self

    proc = None

    def stop(self):
        if self.proc:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.proc.pid, signal.SIGTERM)
            try:
                self.proc.wait(60)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.proc.pid, signal.SIGKILL)
                self.proc.wait()


class Run:
    """One suite with one copy."""

    OWN = ("queue_directory", "data_directory", "daemon_directory", "command_directory", "config_directory", "maillog_file", "maillog_file_prefixes", "mail_owner",
           "net_owner", "aux_owner", "key_owner", "setgid_group", "meta_directory", "shlib_directory", "sendmail_path", "newaliases_path", "mailq_path")

    def __init__(self, kind, base, copy, **how):
        self.i = kind(base, listen=tuple(copy.inet), **how)
        ours = kind is Instance
        own = {k: v for k, v in self.i.main.items() if k in self.OWN}
        self.i.main = {**{k: v for k, v in copy.main.items() if k not in self.OWN}, **({} if ours else copy.for_postfix), **own}
        self.i.INET = dict.fromkeys(copy.inet, ("smtpd", {}))
        inherited = self.i.write_config

        def write_config():
            inherited()
            self.i.write("master.cf", copy.services(self.i.port, ours))
        self.i.write_config = write_config

    def stop(self):
        """Ends what was started, whatever came of it; whoever is left then is killed, and that is a failure."""
        try:
            self.i.stop()
        finally:
            end = time.monotonic() + 60
            while (left := processes_in(self.i.base)) and time.monotonic() < end:
                time.sleep(0.05)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        assert not left, f"{type(self.i).__name__} left processes behind: {left}"

    def opening(self, port):
        """The greeting, and what EHLO lists."""
        c = smtplib.SMTP(timeout=60, source_address=("127.0.0.1", 0), local_hostname="client.example.net")
        with c:
            greeting = c.connect("127.0.0.1", port)
            code, text = c.docmd("EHLO client.example.net")
            return [greeting, code, sorted(text.decode().split("\n"))]

    def transaction(self, port, source, sender, rcpt):
        """The replies, and the queue id when the mail was taken."""
        replies = []
        try:
            c = smtplib.SMTP("127.0.0.1", port, "client.example.net", timeout=60, source_address=(source, 0))
            for line in ("EHLO client.example.net", f"MAIL FROM:<{sender}>", f"RCPT TO:<{rcpt}>"):
                code, text = c.docmd(line)
                if not line.startswith("EHLO"):
                    replies.append((line.split(":")[0], code, text.decode()))
            if code < 300 and c.docmd("DATA")[0] == 354:
                c.send(f"From: <{sender or 'x@y.test'}>\r\nTo: <{rcpt}>\r\nSubject: x\r\n\r\nx\r\n.\r\n".encode())
                code, text = c.getreply()
                qid = re.search(r"queued as (\w+)", text.decode())
                replies.append(("DATA", code, re.sub(r"queued as \w+", "queued as ID", text.decode())))
                c.quit()
                return replies, qid and qid.group(1)
            c.quit()
        except (smtplib.SMTPException, OSError) as e:
            self.no_fatal()
            replies.append(("end", 0, type(e).__name__))
        return replies, None

    def no_fatal(self):
        fatal = re.findall(r"(?:fatal|panic): .*", self.i.log())
        assert not fatal, (type(self.i).__name__, fatal[0])

    def session(self, offered):
        """Starts, and offers everything: what was answered, and how the mail went."""
        self.i.start()
        openings = [self.opening(port) for port in self.i.port.values()]
        said = [self.transaction(self.i.port[m[0]], *m[1:]) for m in offered]
        self.wait({qid for _, qid in said if qid})
        self.no_fatal()
        return openings, [[*reply, *(self.route(qid) if qid else [])] for reply, qid in said]

    def wait(self, ids, seconds=60):
        """Until all of them are delivered or deferred."""
        end = time.monotonic() + seconds
        while ids and time.monotonic() < end:
            ids = ids - {a or b for a, b in re.findall(r": (\w+): removed|: (\w+): to=.* status=deferred", self.i.log())}
            time.sleep(0.05)

    def route(self, qid):
        """(transport, recipient, original recipient, nexthop) of every delivery of a message and of what it became."""
        out = []
        for m in re.finditer(rf"postfix/([\w.-]+)/(?:error|retry|discard)\[\d+\]: {qid}: to=<([^>]*)>,(?: orig_to=<([^>]*)>,)? relay=none,.* status=(\w+) \((.*)\)", self.i.log()):
            out.append((m.group(1), m.group(2), m.group(3), m.group(4), m.group(5)))
        return sorted(out, key=str) or ["nothing in the log"]


def processes_in(base):
    """Who has its working directory there, or names it on its command line."""
    found = []
    for pid in (int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if base in os.readlink(f"/proc/{pid}/cwd") or base.encode() in f.read():
                    found.append(pid)
    return found


def mail(copy, dest):
    """(service, source address, sender, recipient) of the mail that is offered."""
    stranger, trusted = "127.0.0.1", "127.0.0.2"
    out = [("smtp", source, sender, rcpt) for source, sender, rcpt in [
        (stranger, "a@sender.test", "root@" + dest), (stranger, "a@sender.test", "nosuchuser@" + dest), (stranger, "a@sender.test", "x@elsewhere.test"),
        (stranger, "", "postmaster"), (stranger, "", "postmaster@" + dest), (stranger, "a@sender.test", "ann@virt.test"),
        (stranger, "a@sender.test", "nobody@virt.test"), (trusted, "ann@virt.test", "all@virt.test"), (trusted, "a@sender.test", "x@elsewhere.test"),
        (trusted, "root@" + dest, "root"), (trusted, "a@sender.test", "out@alias.test"), (trusted, "a@sender.test", "user@relay.test"),
        (stranger, "a@sender.test", "who@relay.test"), (trusted, "a@sender.test", "user+ext@example.com"), (trusted, "a@sender.test", "a%elsewhere.test@" + dest),
        (trusted, "a@sender.test", "out@virt.test"), (trusted, "a@sender.test", "ann+list@virt.test"), (trusted, "ann@virt.test", "x@far.test"),
        (trusted, "a@sender.test", "ann@alias.test"), (stranger, "nobody@virt.test", "ann@virt.test"), (trusted, "bad@sender.test", "no@virt.test"),
        (trusted, "a@sender.test", "@relay.test,x@" + dest), (trusted, "old@virt.test", "x@[192.0.2.7]")]]
    for addr in sorted(copy.named)[:10]:  # what the set's own tables speak of
        out += [("smtp", stranger, "a@sender.test", addr), ("smtp", trusted, addr, addr), ("smtp", trusted, addr, "x@elsewhere.test")]
    for port in copy.inet:
        if port != "smtp":
            out += [(port, stranger, "a@sender.test", "x@elsewhere.test"), (port, trusted, "ann@virt.test", "ann@virt.test"),
                    (port, stranger, "a@sender.test", "nobody@virt.test")]
    return out


@contextlib.contextmanager
def prepared(name, kind=Copy):
    """Everything that a set needs, (copy, directory); nothing of it is left afterwards."""
    with contextlib.ExitStack() as stack:
        base = scratch("postern-set-")
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        servers = [set_backends.ThreadServer(h) for h in (set_backends.Policy, set_backends.Socketmap)]
        for s in servers:
            stack.callback(s.stop)
        backend = BACKENDS.get(name)
        if backend:
            backend = backend(os.path.join(base, "backend"))
            stack.callback(backend.stop)
            backend.start()
        yield kind(name, os.path.join(base, "tables"), backend, *servers), base


@pytest.mark.parametrize("name", runnable())
def test_same_replies_and_routes(name):
    if name is None or not peer.HAVE:
        pytest.skip("the collected configurations or Debian's postfix are not here")
    with prepared(name) as (copy, base), contextlib.ExitStack() as stack:
        runs = [Run(kind, os.path.join(base, kind.__name__), copy) for kind in (Theirs, Instance)]
        for r in runs:
            r.i.write_config()
            stack.callback(r.stop)
        dest = runs[0].i.command("postconf", "-hx", "mydestination").stdout.decode().replace(",", " ").split()
        offered = mail(copy, dest[0] if dest and "." in dest[0] else "example.com")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            theirs, ours = pool.map(lambda r: r.session(offered), runs)
        assert ours[0] == theirs[0], f"greeting or EHLO\n  Postfix {theirs[0]}\n  ours    {ours[0]}"
        differ = [f"{m}\n  Postfix {a}\n  ours    {b}" for m, a, b in zip(offered, theirs[1], ours[1]) if a != b]
        assert not differ, "\n".join(differ)


@pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not here")
def test_nothing_is_left_after_a_failure():
    base = scratch("postern-set-")
    started = []
    try:
        with contextlib.ExitStack() as stack, pytest.raises(ZeroDivisionError):
            for kind in (Theirs, Instance):
                i = kind(os.path.join(base, kind.__name__))
                run = Run.__new__(Run)
                run.i = i
                stack.callback(run.stop)
                i.write_config()
                i.start()
                started += processes_in(i.base)
            raise ZeroDivisionError
        assert len(started) >= 2 and not processes_in(base)
    finally:
        shutil.rmtree(base, ignore_errors=True)


# ---- loading ----
SAID_OTHERWISE = [  # what stands on stderr of one side alone
    (r'warning: open "\w+" configuration "/etc/postfix/', "Postfix's postconf opens the tables of the sets, which are not there; ours reads no table"),
    (r'warning: \S+/(?:main|master).cf: support for parameter "\w+" will be removed; instead, ', "of Postfix 3.9, newer than Debian's"),
    (r"warning: .*: #comment after other text is not allowed", "of Postfix 3.9"),
    (r"warning: \S+/(?:main|master).cf line \d+: \w+ is empty \(number expected\)", "Postfix says nothing here, and its daemons do not start"),
]


def postconf(suite, folder, *options):
    r = subprocess.run([os.path.join(suite, "postconf"), "-c", os.path.join(SETS, folder), *options], capture_output=True, text=True, check=False, timeout=60)
    said = [re.sub(r"^\S*postconf: ", "", l) for l in r.stderr.splitlines()]
    return r.returncode, r.stdout, [l for l in said if not any(re.match(p, l) for p, _ in SAID_OTHERWISE)]


@pytest.mark.skipif(not os.path.isdir(SETS) or not peer.HAVE, reason="the collected configurations or Debian's postfix are not here")
@pytest.mark.parametrize("options", ["-n", "-M", *(["-P", "-F", "-nx", "-nH"] if EVERYTHING else [])])
def test_postconf_prints_the_same(options):
    for name in collected():
        theirs, ours = (postconf(s, name, options) for s in ("/usr/sbin", BIN))
        if name in TEMPLATES:
            assert theirs[0] == ours[0] != 0 or theirs == ours, name
            continue
        assert comparable(*ours) == comparable(*theirs), name


def comparable(status, text, said):
    """Ours has its own name and folder where a set leaves that to the default, and a process id is not twice the same."""
    text = text.replace("/var/lib/postern/", "/var/lib/postfix/").replace("ESMTP Postern", "ESMTP Postfix")
    return status, re.sub(r"postconf \d+ & sleep", "postconf PID & sleep", text), said


@pytest.mark.skipif(not os.path.isdir(SETS), reason="the collected configurations are not here")
def test_check_refuses_templates_alone(tmp_path):
    """Without the tables, users and certificates of the machine that a set is of, there is much to warn of, and nothing to refuse."""
    make_users()
    for name in collected():
        copy = tmp_path / name.replace("/", "_")
        shutil.copytree(os.path.join(SETS, name), copy)
        own = {"daemon_directory": SBIN, "command_directory": BIN, "queue_directory": f"{copy}/queue", "data_directory": f"{copy}/data", "maillog_file": ""}
        with open(copy / "main.cf", "a", encoding="utf-8") as f:
            f.write("".join(f"\n{k} = {v}" for k, v in own.items()) + "\n")
        r = subprocess.run([os.path.join(BIN, "postern"), "-c", str(copy), "check"], capture_output=True, text=True, check=False, timeout=120)
        assert (r.returncode != 0) == (name in TEMPLATES), (name, r.stderr)
