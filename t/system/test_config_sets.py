"""Configurations that people run, as collected: each is started with Debian's Postfix and with ours, the same mail is offered to both, and their
replies are the same, and so is where the mail goes (transport, nexthop, recipient).

What is replaced in both copies: tables become texthash: files of the same place (what SQL, LDAP, socketmap and the like would answer stands in
FOR_PARAMETER), listeners are on the loopback interface, and every delivery agent is discard(8), which logs the nexthop that it was given
(error(8) would as well, but Postfix's serves no service of another name than error and retry). Left out are milters, policy servers, DNS lists, SASL and TLS, whose servers are not here (they have tests of their own).

A few representatives run; all of them when POSTERN_ALL_SETS is set. Of those, these are known to fail (the list is
not complete: most of postfix-readme-examples and iredmail were not run): debian-default/rendered-local-only (not looked into); mailu, which is a template that is not rendered;
docker-mailserver (names a file that is not in the set); proxmox-mail-gateway/rendered (Postfix refuses its empty message_size_limit);
ispconfig/rendered (does not start; the cause is not known); mailu/rendered (Postfix says 451 4.3.0 Temporary lookup failure where we say
450 Domain not found; the cause is not known)."""
import os
import re
import shutil
import smtplib
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import peer  # noqa: E402
from instance import ROOT, Instance, scratch  # noqa: E402

SETS = os.path.join(os.environ.get("POSTERN_SHARED", os.path.join(ROOT, "../shared")), "data/configs")
STANDINS = {"debian-default/rendered-internet-site", "iredmail/rendered-mysql", "postfix-readme-examples/07-backup-mx"}
FOR_PARAMETER = [  # the name of the parameter -> lines of a table that it names
    (r"virtual_mailbox_domains|virtual_domains|destination_domains", "virt.test x\n"),
    (r"virtual_alias_domains", "alias.test x\n"),
    (r"virtual_mailbox_maps|virtual_mailboxes", "ann@virt.test virt.test/ann/\n"),
    (r"virtual_alias_maps|virtual_maps", "all@virt.test ann@virt.test\nout@alias.test far@far.test\n"),
    (r"relay_domains", "relay.test x\n"),
    (r"relay_recipient_maps", "user@relay.test x\n"),
    (r"transport_maps", "relay.test smtp:[inside.relay.test]:2525\nfar.test relay:[far.test]\n"),
    (r"alias_maps|alias_database", "root x\npostmaster x\n"),
    (r"sender_dependent_relayhost_maps", "@virt.test [out.virt.test]:587\n"),
    (r"canonical_maps", "old@virt.test ann@virt.test\n"),
    (r"bcc_maps", "all@virt.test log@far.test\n"),
]
AGENTS = ("smtp", "lmtp", "local", "virtual", "pipe", "error", "discard")
COMMON = "cleanup qmgr rewrite bounce defer trace verify flush proxymap proxywrite showq anvil pickup tlsmgr".split()
TABLE = re.compile(r"(?:proxy:)?\b(mysql|pgsql|ldap|sqlite|socketmap|tcp|hash|btree|lmdb|cdb|dbm|texthash|regexp|pcre|cidr):(?:(?:unix|inet):)?"
                   r"([^\s,{}]*)")


def sets():
    found = []
    for path, _, files in os.walk(SETS):
        name = os.path.relpath(path, SETS)
        if "main.cf" in files and "master.cf" in files and (name in STANDINS or os.environ.get("POSTERN_ALL_SETS")):
            found.append(name)
    return sorted(found) or [None]


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


class Copy:
    """What both instances get: parameters and services, with tables written into a directory."""

    def __init__(self, name, directory):
        self.source, self.dir = os.path.join(SETS, name), directory
        os.makedirs(directory)
        self.main, self.inet, self.unix = {}, {}, {}
        with open(os.path.join(self.source, "main.cf"), encoding="utf-8") as f:
            for line in logical_lines(f.read()):
                key, value = (p.strip() for p in line.split("=", 1))
                if key.endswith("_auth_only") or not key.startswith(("smtpd_tls_", "smtp_tls_", "tls_", "lmtp_tls_")):
                    self.main[key] = self.local(key, value)
        with open(os.path.join(self.source, "master.cf"), encoding="utf-8") as f:
            for line in logical_lines(f.read()):
                self.service(line.split(None, 8))
        self.main.update({
            "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "mynetworks": "127.0.0.2/32", "proxy_interfaces": "", "maillog_file_rotate_suffix": "%Y",
            "smtpd_sasl_auth_enable": "no", "smtpd_tls_security_level": "none", "smtp_tls_security_level": "none", "smtpd_milters": "",
            "non_smtpd_milters": "", "myhostname": self.main.get("myhostname", "mail.example.com"), "smtpd_error_sleep_time": "0", "debug_peer_list": "",
            "smtp_tls_policy_maps": "", "smtpd_forbid_unauth_pipelining": "no", "smtpd_forbid_bare_newline": "no", "import_environment": "MAIL_CONFIG",
            "smtpd_client_connection_rate_limit": "0", "smtpd_upstream_proxy_protocol": "", "postscreen_upstream_proxy_protocol": "", "alternate_config_directories": "",
            "multi_instance_enable": "no", "multi_instance_directories": "", "multi_instance_name": "", "smtpd_tls_wrappermode": "no", "mail_name": "Mail",
            "smtpd_client_message_rate_limit": "0", "smtpd_client_recipient_rate_limit": "0", "address_verify_poll_delay": "1s", "compatibility_level": "3.6"})

    def local(self, key, value):
        value = re.sub(r"(check_policy_service|reject_rbl_client|reject_rhsbl_\w+|check_sasl_access)\s+(\{[^}]*\}|[^\s,]+)", "", value)

        def table(m):
            kind, path = m.groups()
            if "$data_directory" in path or "${data_directory}" in path:
                return m.group()
            return self.table(key, kind, path)
        return TABLE.sub(table, value)

    def table(self, key, kind, path):
        base = re.sub(r"\W+", "_", path.split("/etc/postfix/")[-1]) or "table"
        target = os.path.join(self.dir, base)
        if not os.path.exists(target):
            try:
                with open(os.path.join(self.source, path.split("/etc/postfix/")[-1]), encoding="utf-8") as f:
                    text = f.read()
            except OSError:
                text = None
            if kind not in ("regexp", "pcre", "cidr") and (text is None or kind not in ("hash", "btree", "lmdb", "texthash", "cdb")):
                text = next((t for pattern, t in FOR_PARAMETER if re.search(pattern, key)), "nobody@nowhere.test x\n")
            with open(target, "w", encoding="utf-8") as f:
                f.write(text or "")
        return f"{kind if kind in ('regexp', 'pcre', 'cidr') else 'texthash'}:{target}"

    def options(self, words):
        """The -o settings of a service that mean something here."""
        text, out = " ".join(words), []
        for m in re.finditer(r"-o\s+(?:\{\s*([\w.]+)\s*=\s*(.*?)\s*\}(?=\s|$)|([\w.]+)=(\S*))", text):
            key, value = (m.group(1), m.group(2)) if m.group(1) else (m.group(3), m.group(4))
            if not re.search(r"tls|sasl_(type|path|auth_enable)|milter|proxy_filter|proxy_protocol|content_filter_|syslog_name|mynetworks|_rate_limit", key):
                out.append(f"-o {{ {key} = {self.local(key, value.replace('{', '').replace('}', ''))} }}")
        return " ".join(out)

    @staticmethod
    def agent(name):
        return f"{name} unix - - n - - {'error' if name in ('error', 'retry') else 'discard'} -o syslog_name=postfix/{name}"

    def service(self, w):
        name, kind, program, rest = w[0], w[1], w[7], w[8:]
        port = name.split(":")[-1]
        if kind == "pass" and program == "smtpd" or kind == "inet" and program == "smtpd" and port in ("smtp", "25"):
            self.inet["smtp"] = self.options(rest)
        elif kind == "inet" and program == "smtpd" and port in ("submission", "587"):
            self.inet["submission"] = self.options(rest)
        elif kind == "unix" and program in AGENTS:
            self.unix[name] = self.agent(name)
        elif kind == "unix" and program == "cleanup":
            self.unix[name] = f"{name} unix n - n - 0 cleanup {self.options(rest)}"

    def services(self, standard, ports):
        lines = [l for l in standard if l.split()[0] in COMMON + ["postlog", "resolver", "auth"] and l.split()[0] not in self.unix]
        lines += [f"127.0.0.1:{ports[n]} inet n - n - - smtpd {o}" for n, o in self.inet.items()]
        for name in ("smtp", "relay", "local", "virtual", "lmtp", "error", "retry", "discard"):
            self.unix.setdefault(name, self.agent(name))
        return "\n".join(lines + list(self.unix.values())) + "\n"


class Run:
    """One suite with one copy."""

    OWN = ("queue_directory", "data_directory", "daemon_directory", "command_directory", "config_directory", "maillog_file", "maillog_file_prefixes", "mail_owner",
           "net_owner", "aux_owner", "key_owner", "setgid_group", "meta_directory", "shlib_directory", "sendmail_path", "newaliases_path", "mailq_path")

    def __init__(self, kind, base, copy):
        self.i = kind(base, listen=tuple(copy.inet))
        own = {k: v for k, v in self.i.main.items() if k in self.OWN}
        self.i.main = {**{k: v for k, v in copy.main.items() if k not in self.OWN}, **own}
        inherited = self.i.write_config

        def write_config():
            inherited()
            with open(os.path.join(self.i.config, "master.cf"), encoding="utf-8") as f:
                standard = [l for l in f.read().splitlines() if not l.startswith(" ")]
            self.i.write("master.cf", copy.services(standard, self.i.port))
        self.i.write_config = write_config
        self.i.start()

    def transaction(self, port, source, sender, rcpt):
        """The replies, and the queue id when the mail was taken."""
        replies = []
        try:
            c = smtplib.SMTP("127.0.0.1", port, "client.example.net", timeout=10, source_address=(source, 0))
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
            fatal = re.findall(r"fatal: .*", self.i.log())
            assert not fatal, (type(self.i).__name__, fatal[0])
            replies.append(("end", 0, type(e).__name__))
        return replies, None

    def route(self, qid):
        """(transport, recipient, original recipient, nexthop) of every delivery of a message and of what it became."""
        end = time.monotonic() + 3
        while f": {qid}: removed" not in self.i.log() and time.monotonic() < end:
            time.sleep(0.05)
        out = []
        for m in re.finditer(rf"postfix/([\w.-]+)/(?:error|retry|discard)\[\d+\]: {qid}: to=<([^>]*)>,(?: orig_to=<([^>]*)>,)? relay=none,.* status=(\w+) \((.*)\)", self.i.log()):
            out.append((m.group(1), m.group(2), m.group(3), m.group(4), m.group(5)))
        return sorted(out, key=str) or ["nothing in the log"]


def mail(copy, dest):
    """(service, source address, sender, recipient) of the mail that is offered."""
    stranger, trusted = "127.0.0.1", "127.0.0.2"
    out = [("smtp", source, sender, rcpt) for source, sender, rcpt in [
        (stranger, "a@sender.test", "root@" + dest), (stranger, "a@sender.test", "nosuchuser@" + dest), (stranger, "a@sender.test", "x@elsewhere.test"),
        (stranger, "", "postmaster"), (stranger, "", "postmaster@" + dest), (stranger, "a@sender.test", "ann@virt.test"),
        (stranger, "a@sender.test", "nobody@virt.test"), (trusted, "ann@virt.test", "all@virt.test"), (trusted, "a@sender.test", "x@elsewhere.test"),
        (trusted, "root@" + dest, "root"), (trusted, "a@sender.test", "out@alias.test"), (trusted, "a@sender.test", "user@relay.test"),
        (stranger, "a@sender.test", "who@relay.test"), (trusted, "a@sender.test", "user+ext@example.com"), (trusted, "a@sender.test", "a%elsewhere.test@" + dest)]]
    if "submission" in copy.inet:
        out += [("submission", stranger, "a@sender.test", "x@elsewhere.test"), ("submission", trusted, "ann@virt.test", "ann@virt.test")]
    return out


@pytest.mark.parametrize("name", sets())
def test_same_replies_and_routes(name):
    if name is None or not peer.HAVE:
        pytest.skip("the collected configurations or Debian's postfix are not here")
    base = scratch("postern-set-")
    copy = Copy(name, os.path.join(base, "tables"))
    runs = []
    try:
        for kind in (peer.Peer, Instance):
            runs.append(Run(kind, os.path.join(base, kind.__name__), copy))
        dest = runs[0].i.command("postconf", "-hx", "mydestination").stdout.decode().replace(",", " ").split()
        offered = mail(copy, dest[0] if dest and "." in dest[0] else "example.com")
        answers = [[r.transaction(r.i.port[m[0]], *m[1:]) for m in offered] for r in runs]
        differ = []
        for m, theirs, ours in zip(offered, *answers):
            a, b = ([*reply, *(r.route(qid) if qid else [])] for r, (reply, qid) in zip(runs, (theirs, ours)))
            if a != b:
                differ.append(f"{m}\n  Postfix {a}\n  ours    {b}")
        assert not differ, "\n".join(differ)
    finally:
        for r in runs:
            r.i.stop()
        shutil.rmtree(base, ignore_errors=True)
