"""What collected configurations ask: databases with the tables and columns that their queries name, a directory, and two small servers (policy,
socketmap). The facts are the same everywhere: ann@virt.test has a mailbox, all@virt.test is an alias of hers, alias.test is another name or a
domain of aliases, relay.test is relayed, mail of virt.test's people leaves by a host of their own."""
import os
import re
import socketserver
import sqlite3
import threading

from dbservers import MariaDb, Postgres, Slapd

T = "VARCHAR(200) NOT NULL DEFAULT ''"
ONE, ZERO = "INT NOT NULL DEFAULT 1", "INT NOT NULL DEFAULT 0"
Y, N = "CHAR(1) NOT NULL DEFAULT 'y'", "CHAR(1) NOT NULL DEFAULT 'n'"

IREDMAIL = f"""CREATE TABLE domain (domain {T}, transport {T}, backupmx {ZERO}, active {ONE});
CREATE TABLE alias_domain (alias_domain {T}, target_domain {T}, active {ONE});
CREATE TABLE mailbox (username {T}, domain {T}, storagenode {T}, maildir {T}, transport {T}, active {ONE}, enabledeliver {ONE}, enablesmtp {ONE});
CREATE TABLE forwardings (address {T}, forwarding {T}, domain {T}, active {ONE});
CREATE TABLE maillists (address {T}, domain {T}, transport {T}, active {ONE});
CREATE TABLE recipient_bcc_user (username {T}, domain {T}, bcc_address {T}, active {ONE});
CREATE TABLE recipient_bcc_domain (domain {T}, bcc_address {T}, active {ONE});
CREATE TABLE sender_bcc_user (username {T}, domain {T}, bcc_address {T}, active {ONE});
CREATE TABLE sender_bcc_domain (domain {T}, bcc_address {T}, active {ONE});
CREATE TABLE sender_relayhost (account {T}, relayhost {T});
INSERT INTO domain (domain, transport) VALUES ('virt.test', 'dovecot');
INSERT INTO domain (domain, transport, backupmx) VALUES ('relay.test', 'relay:[inside.relay.test]:2525', 1);
INSERT INTO alias_domain (alias_domain, target_domain) VALUES ('alias.test', 'virt.test');
INSERT INTO mailbox (username, domain, storagenode, maildir) VALUES ('ann@virt.test', 'virt.test', 'vmail1', 'virt.test/ann');
INSERT INTO forwardings (address, forwarding, domain) VALUES ('ann@virt.test', 'ann@virt.test', 'virt.test'), ('all@virt.test', 'ann@virt.test', 'virt.test'), ('all@virt.test', 'far@far.test', 'virt.test'), ('out@virt.test', 'far@far.test', 'virt.test');
INSERT INTO recipient_bcc_user (username, domain, bcc_address) VALUES ('ann@virt.test', 'virt.test', 'log@far.test');
INSERT INTO sender_bcc_domain (domain, bcc_address) VALUES ('virt.test', 'sent@far.test');
INSERT INTO sender_relayhost (account, relayhost) VALUES ('@virt.test', '[out.virt.test]:587');
"""

ISPCONFIG = f"""CREATE TABLE mail_domain (domain_id INT PRIMARY KEY AUTO_INCREMENT, domain {T}, active {Y}, server_id {ONE}, relay_host {T}, relay_user {T}, relay_pass {T});
CREATE TABLE mail_user (email {T}, login {T}, cc {T}, sender_cc {T}, uid INT DEFAULT 5000, gid INT DEFAULT 5000, forward_in_lda {N}, disabledeliver {N}, disablesmtp {N}, greylisting {N}, postfix {Y}, server_id {ONE});
CREATE TABLE mail_forwarding (source {T}, destination {T}, type {T}, active {Y}, allow_send_as {N}, greylisting {N}, server_id {ONE});
CREATE TABLE mail_access (source {T}, access {T}, type {T}, active {Y}, server_id {ONE});
CREATE TABLE mail_transport (domain {T}, transport {T}, active {Y}, server_id {ONE});
CREATE TABLE mail_relay_domain (domain {T}, active {Y}, server_id {ONE});
CREATE TABLE mail_relay_recipient (source {T}, access {T}, active {Y}, server_id {ONE});
INSERT INTO mail_domain (domain, relay_host, relay_user, relay_pass) VALUES ('virt.test', '[out.virt.test]:587', 'me', 'pw');
INSERT INTO mail_user (email, login, sender_cc, greylisting) VALUES ('ann@virt.test', 'ann', 'sent@far.test', 'y');
INSERT INTO mail_forwarding (source, destination, type) VALUES ('all@virt.test', 'ann@virt.test', 'alias'), ('@alias.test', '@virt.test', 'aliasdomain'), ('out@virt.test', 'far@far.test', 'forward');
INSERT INTO mail_access (source, access, type) VALUES ('bad@sender.test', 'REJECT', 'sender'), ('no@virt.test', 'REJECT', 'recipient');
INSERT INTO mail_transport (domain, transport) VALUES ('far.test', 'relay:[far.test]'), ('relay.test', 'smtp:[inside.relay.test]:2525');
INSERT INTO mail_relay_domain (domain) VALUES ('relay.test');
INSERT INTO mail_relay_recipient (source, access) VALUES ('user@relay.test', 'OK');
"""

# Of sets that name files which they do not hold: one table (which, key, value) answers all.
FACTS = [
    ("domains", "virt.test", "virt.test"), ("domain-aliases", "alias.test", "alias.test"), ("relaydomains", "relay.test", "relay.test"),
    ("aliases", "all@virt.test", "ann@virt.test"), ("aliases", "ann@virt.test", "ann@virt.test"), ("aliases", "out@alias.test", "far@far.test"),
    ("mailboxes", "ann@virt.test", "virt.test/ann/"), ("transport", "relay.test", "smtp:[inside.relay.test]:2525"), ("login", "ann@virt.test", "ann@virt.test"),
]
FACTS_SQL = f"CREATE TABLE facts (which {T}, k {T}, v {T});\n" + "".join(f"INSERT INTO facts VALUES ('{w}', '{k}', '{v}');\n" for w, k, v in FACTS)


def facts_file(which, **settings):
    return "".join(f"{k} = {v}\n" for k, v in settings.items()) + f"query = SELECT v FROM facts WHERE which = '{which}' AND k = '%s'\n"


MODOBOA = {f"sql-{name}.cf": which for name, which in {
    "domains": "domains", "domain-aliases": "domain-aliases", "aliases": "aliases", "relaydomains": "relaydomains", "transport": "transport",
    "spliteddomains-transport": "nothing", "maintain": "nothing", "relay-recipient-verification": "nothing", "sender-login-map": "login"}.items()}
MAILINABOX = {"virtual-mailbox-domains.cf": "domains", "virtual-mailbox-maps.cf": "mailboxes", "virtual-alias-maps.cf": "aliases", "sender-login-maps.cf": "login"}

SUFFIX = "o=mail,dc=example,dc=test"
ATTRIBUTES = "accountStatus domainStatus enabledService shadowAddress memberOfGroup domainName domainAliasName domainBackupMX mtaTransport " \
    "mailForwardingAddress senderRelayHost userRecipientBccAddress userSenderBccAddress domainRecipientBccAddress domainSenderBccAddress mailEnabled " \
    "mailAliasAddress mailGroupMember".split()
CLASSES = {"mailDomain": "domainName", "mailUser": "mail", "mailAlias": "mail", "mailList": "mail", "mailExternalUser": "mail"}


def schema(renamed=()):
    names = [dict(renamed).get(a, a) for a in ATTRIBUTES]
    out = [f"attributetype ( 1.1.2.1.{i} NAME '{a}' EQUALITY caseIgnoreIA5Match SUBSTR caseIgnoreIA5SubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )"
           for i, a in enumerate(names, 1)]
    out += [f"objectclass ( 1.1.2.2.{i} NAME '{c}' SUP top STRUCTURAL MUST {must} )" for i, (c, must) in enumerate(CLASSES.items(), 1)]
    return "\n".join(out) + "\n"


def entry(dn, *lines):
    return f"dn: {dn}{',' if dn else ''}{SUFFIX}\n" + "".join(l + "\n" for l in lines) + "\n"


ROOT = entry("", "objectClass: organization", "o: mail") + entry("cn=reader", "objectClass: organizationalRole", "objectClass: simpleSecurityObject",
                                                                "cn: reader", "userPassword: secret")
ALIVE = ("objectClass: extensibleObject", "accountStatus: active", "enabledService: mail", "enabledService: deliver", "enabledService: smtp")
IREDMAIL_LDIF = ROOT + entry("domainName=virt.test", "objectClass: mailDomain", *ALIVE, "domainName: virt.test", "domainAliasName: alias.test",
                             "enabledService: domainalias", "enabledService: senderbcc", "mtaTransport: dovecot", "domainSenderBccAddress: sent@far.test",
                             "senderRelayHost: [out.virt.test]:587") \
    + entry("domainName=relay.test", "objectClass: mailDomain", *ALIVE, "domainName: relay.test", "domainBackupMX: yes", "mtaTransport: relay:[inside.relay.test]:2525") \
    + "".join(entry(f"ou={ou},domainName=virt.test", "objectClass: organizationalUnit", f"ou: {ou}") for ou in ("Users", "Aliases")) \
    + entry("mail=ann@virt.test,ou=Users,domainName=virt.test", "objectClass: mailUser", *ALIVE, "mail: ann@virt.test", "shadowAddress: ann@alias.test",
            "memberOfGroup: team@virt.test", "homeDirectory: /var/vmail/virt.test/ann", "enabledService: recipientbcc", "userRecipientBccAddress: log@far.test") \
    + entry("mail=all@virt.test,ou=Aliases,domainName=virt.test", "objectClass: mailAlias", *ALIVE, "mail: all@virt.test",
            "mailForwardingAddress: ann@virt.test", "mailForwardingAddress: far@far.test") \
    + entry("mail=out@virt.test,ou=Aliases,domainName=virt.test", "objectClass: mailAlias", *ALIVE, "mail: out@virt.test", "mailForwardingAddress: far@far.test")
DOCKER_LDIF = ROOT + entry("mail=ann@virt.test", "objectClass: mailUser", "objectClass: extensibleObject", "mail: ann@virt.test", "uid: ann", "mailEnabled: TRUE",
                           "mailAlias: all@virt.test", "mailAlias: out@alias.test", "mailGroupMember: team@virt.test")


class Policy(socketserver.BaseRequestHandler):
    """Says DUNNO to every request of a connection."""

    def handle(self):
        data = b""
        while chunk := self.request.recv(65536):
            data += chunk
            while b"\n\n" in data:
                data = data.split(b"\n\n", 1)[1]
                self.request.sendall(b"action=DUNNO\n\n")


class Socketmap(socketserver.BaseRequestHandler):
    """Answers "NAME KEY" in netstrings from FACTS."""
    NAMES = {"domain": "domains", "alias": "aliases", "mailbox": "mailboxes", "transport": "transport", "senderlogin": "login"}

    def handle(self):
        data = b""
        while chunk := self.request.recv(65536):
            data += chunk
            while m := re.match(rb"(\d+):", data):
                end = m.end() + int(m.group(1))
                if len(data) <= end:
                    break
                name, _, key = data[m.end():end].decode().partition(" ")
                data = data[end + 1:]
                value = next((v for w, k, v in FACTS if w == self.NAMES.get(name) and k == key), None)
                answer = f"OK {value}" if value else "NOTFOUND "
                self.request.sendall(f"{len(answer)}:{answer},".encode())


class ThreadServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()


class Backend:
    """What a set finds behind its tables. start() makes the servers; text(name, published) is what a table's file says then, None when it is not
    one of these."""
    kind = ""

    def __init__(self, base):
        self.base, self.server = base, None

    def start(self):
        return self

    def stop(self):
        if self.server:
            self.server.stop()

    def text(self, name, published):
        raise NotImplementedError


def put(text, **settings):
    for k, v in settings.items():
        text, n = re.subn(rf"^{k}\s*=.*$", f"{k} = {v}", text, flags=re.M)
        if not n:
            text += f"\n{k} = {v}\n"
    return text


class Sql(Backend):
    access = {"user": "reader", "password": "secret", "dbname": "mail"}

    def text(self, name, published):
        return published and put(published, hosts=f"127.0.0.1:{self.server.port}", **self.access)


class MySql(Sql):
    kind, tables = "mysql", IREDMAIL

    def start(self):
        users = "".join(f"CREATE USER reader@'{h}' IDENTIFIED BY 'secret';\nGRANT SELECT ON mail.* TO reader@'{h}';\n" for h in ("localhost", "127.0.0.1"))
        self.server = MariaDb(self.base, "CREATE DATABASE mail;\nUSE mail;\n" + self.tables + users)
        self.server.start()
        return self


class IspConfig(MySql):
    tables = ISPCONFIG

    def text(self, name, published):
        # ISPConfig's set-up replaces this with an expression of its own
        return super().text(name, published and published.replace("{address_without_extension}", "CONCAT(SUBSTRING_INDEX('%u', '+', 1), '@%d')"))


class PgSql(Sql):
    kind, tables = "pgsql", IREDMAIL
    access = {**Sql.access, "dbname": "postgres"}

    def start(self):
        self.server = Postgres(self.base, re.sub(r"\n(?=\s)", " ", self.tables) + "CREATE ROLE reader LOGIN PASSWORD 'secret';\nGRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;\n")
        self.server.start()
        return self


class Modoboa(PgSql):
    tables = FACTS_SQL

    def text(self, name, published):
        return name in MODOBOA and facts_file(MODOBOA[name], hosts=f"127.0.0.1:{self.server.port}", **self.access)


class SqLite(Backend):
    kind = "sqlite"

    def start(self):
        os.makedirs(self.base)
        os.chmod(self.base, 0o755)
        self.file = os.path.join(self.base, "users.sqlite")
        with sqlite3.connect(self.file) as db:
            db.executescript(FACTS_SQL)
        db.close()
        os.chmod(self.file, 0o644)
        return self

    def text(self, name, published):
        return name in MAILINABOX and facts_file(MAILINABOX[name], dbpath=self.file)


class Ldap(Backend):
    kind, ldif, attributes = "ldap", IREDMAIL_LDIF, ()

    def start(self):
        self.server = Slapd(self.base, SUFFIX, self.ldif, schema(self.attributes))
        self.server.start()
        return self

    def text(self, name, published):
        if not published:
            return None
        rendered = published.replace("PH_LDAP_BASEDN", SUFFIX).replace("PH_LDAP_ATTR_GROUP_USERS", "Users").replace("PH_LDAP_BIND_VERSION", "3")
        if "search_base" not in rendered:
            rendered = put(rendered, search_base=SUFFIX)
        return put(rendered, server_host=self.server.url, bind_dn=f"cn=reader,{SUFFIX}", bind_pw="secret")


class DockerLdap(Ldap):
    """The attribute mailAlias has the name of a class of iRedMail's."""
    ldif, attributes = DOCKER_LDIF, (("mailAliasAddress", "mailAlias"),)

    def text(self, name, published):
        return published and put(super().text(name, published), search_base=SUFFIX)
