"""Tables of installations that people run (iRedMail and ISPConfig with MySQL, as published): their configuration files with their queries, a
database with the tables and columns that the queries name, and mail that goes where these systems send it. Skips without the sets."""
import os
import re
import smtplib
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from dbservers import MariaDb  # noqa: E402
from instance import SHARED, Instance, scratch  # noqa: E402

SETS = os.path.join(SHARED, "data", "configs")
T = "VARCHAR(200) NOT NULL DEFAULT ''"
ONE = "INT NOT NULL DEFAULT 1"
ZERO = "INT NOT NULL DEFAULT 0"
Y = "CHAR(1) NOT NULL DEFAULT 'y'"
N = "CHAR(1) NOT NULL DEFAULT 'n'"

SQL = f"""CREATE DATABASE ired;
CREATE TABLE ired.domain (domain {T}, transport {T}, backupmx {ZERO}, active {ONE});
CREATE TABLE ired.alias_domain (alias_domain {T}, target_domain {T}, active {ONE});
CREATE TABLE ired.mailbox (username {T}, domain {T}, storagenode {T}, maildir {T}, transport {T}, active {ONE}, enabledeliver {ONE}, enablesmtp {ONE});
CREATE TABLE ired.forwardings (address {T}, forwarding {T}, domain {T}, active {ONE});
CREATE TABLE ired.maillists (address {T}, domain {T}, transport {T}, active {ONE});
CREATE TABLE ired.recipient_bcc_user (username {T}, domain {T}, bcc_address {T}, active {ONE});
CREATE TABLE ired.recipient_bcc_domain (domain {T}, bcc_address {T}, active {ONE});
CREATE TABLE ired.sender_bcc_user LIKE ired.recipient_bcc_user;
CREATE TABLE ired.sender_bcc_domain LIKE ired.recipient_bcc_domain;
CREATE TABLE ired.sender_relayhost (account {T}, relayhost {T});
INSERT INTO ired.domain (domain, transport) VALUES ('example.test', 'virtual'), ('quiet.test', 'virtual');
INSERT INTO ired.alias_domain (alias_domain, target_domain) VALUES ('other.test', 'example.test');
INSERT INTO ired.mailbox (username, domain, storagenode, maildir) VALUES ('ann@example.test', 'example.test', 'vmail1', 'example.test/ann'), ('o''neill@example.test', 'example.test', 'vmail1', 'example.test/oneill'), ('log@quiet.test', 'quiet.test', 'vmail1', 'quiet.test/log');
INSERT INTO ired.forwardings (address, forwarding, domain) VALUES ('ann@example.test', 'ann@example.test', 'example.test'), ('o''neill@example.test', 'o''neill@example.test', 'example.test'), ('all@example.test', 'ann@example.test', 'example.test'), ('all@example.test', 'o''neill@example.test', 'example.test'), ('log@quiet.test', 'log@quiet.test', 'quiet.test');
INSERT INTO ired.recipient_bcc_user (username, domain, bcc_address) VALUES ('ann@example.test', 'example.test', 'log@quiet.test');
CREATE DATABASE isp;
CREATE TABLE isp.mail_domain (domain_id INT PRIMARY KEY AUTO_INCREMENT, domain {T}, active {Y}, server_id {ONE}, relay_host {T}, relay_user {T}, relay_pass {T});
CREATE TABLE isp.mail_user (email {T}, login {T}, cc {T}, sender_cc {T}, uid INT DEFAULT 5000, gid INT DEFAULT 5000, forward_in_lda {N}, disabledeliver {N}, disablesmtp {N}, greylisting {N}, postfix {Y}, server_id {ONE});
CREATE TABLE isp.mail_forwarding (source {T}, destination {T}, type {T}, active {Y}, allow_send_as {N}, greylisting {N}, server_id {ONE});
CREATE TABLE isp.mail_access (source {T}, access {T}, type {T}, active {Y}, server_id {ONE});
CREATE TABLE isp.mail_transport (domain {T}, transport {T}, active {Y}, server_id {ONE});
CREATE TABLE isp.mail_relay_domain (domain {T}, active {Y}, server_id {ONE});
CREATE TABLE isp.mail_relay_recipient (source {T}, access {T}, active {Y}, server_id {ONE});
INSERT INTO isp.mail_domain (domain, relay_host, relay_user, relay_pass) VALUES ('isp.test', '[relay.test]:587', 'me', 'pw');
INSERT INTO isp.mail_user (email, login, sender_cc) VALUES ('bob@isp.test', 'bob', 'copy@isp.test, second@isp.test');
INSERT INTO isp.mail_forwarding (source, destination, type) VALUES ('info@isp.test', 'bob@isp.test', 'alias'), ('@alias.test', '@isp.test', 'aliasdomain'), ('@isp.test', 'bob@isp.test', 'catchall');
INSERT INTO isp.mail_access (source, access, type) VALUES ('bad@sender.test', 'REJECT no', 'sender'), ('192.0.2.9', 'REJECT', 'client'), ('no@isp.test', 'REJECT', 'recipient');
INSERT INTO isp.mail_transport (domain, transport) VALUES ('far.test', 'smtp:[far.test]');
INSERT INTO isp.mail_relay_domain (domain) VALUES ('relay.test');
CREATE USER reader@localhost IDENTIFIED BY 'secret';
GRANT SELECT ON ired.* TO reader@localhost;
GRANT SELECT ON isp.* TO reader@localhost;
"""

ISP = [  # table of ISPConfig, key, answer
    ("mysql-virtual_domains", "isp.test", "isp.test"), ("mysql-virtual_domains", "alias.test", None),
    ("mysql-virtual_alias_domains", "%alias.test", None), ("mysql-virtual_alias_domains", "alias.test", "isp.test"),
    ("mysql-virtual_alias_maps", "x@alias.test", "@isp.test"), ("mysql-virtual_alias_maps", "alias.test", None),
    ("mysql-virtual_mailboxes", "bob@isp.test", "isp.test/bob/"), ("mysql-virtual_email2email", "bob@isp.test", "bob@isp.test"),
    ("mysql-virtual_uids", "bob@isp.test", "5000"), ("mysql-virtual_gids", "nobody@isp.test", None),
    ("mysql-virtual_outgoing_bcc", "bob@isp.test", "copy@isp.test"), ("mysql-virtual_transports", "far.test", "smtp:[far.test]"),
    ("mysql-virtual_sender", "bad@sender.test", "REJECT no"), ("mysql-virtual_client", "192.0.2.9", "REJECT"),
    ("mysql-virtual_recipient", "no@isp.test", "REJECT"), ("mysql-virtual_relaydomains", "relay.test", "relay.test"),
    ("mysql-virtual_relayrecipientmaps", "a@relay.test", None), ("mysql-virtual_sender-relayhost", "bob@isp.test", "[relay.test]:587"),
    ("mysql-virtual_sender-relayauth", "bob@isp.test", "me:pw"), ("mysql-virtual_sender_login_maps", "bob@isp.test", "bob@isp.test,bob"),
    ("mysql-virtual_policy_greylist", "bob@isp.test", None), ("mysql-verify_recipients", "isp.test", "reject_unverified_recipient"),
    ("mysql-virtual_mailboxes", "' OR '1'='1@isp.test", None),
]


class RealSets:
    def __init__(self):
        self.base = scratch("postern-real-")
        self.db = MariaDb(os.path.join(self.base, "db"), SQL).start()
        self.inst = Instance(os.path.join(self.base, "i"))

    def take(self, folder, to, dbname):
        """The tables of a set, with our server in the place of theirs."""
        for name in sorted(os.listdir(os.path.join(SETS, folder))):
            if not name.endswith(".cf") or name in ("main.cf", "master.cf"):
                continue
            with open(os.path.join(SETS, folder, name), encoding="utf-8") as f:
                text = f.read()
            for k, v in (("user", "reader"), ("password", "secret"), ("dbname", dbname), ("hosts", "unix:" + self.db.socket)):
                text = re.sub(rf"^{k}\s*=.*$", f"{k} = {v}", text, flags=re.M)
            # ISPConfig's set-up replaces this with an expression of its own
            self.inst.write(f"{to}/{name}", text.replace("{address_without_extension}", "CONCAT(SUBSTRING_INDEX('%u', '+', 1), '@%d')"))


@pytest.fixture(scope="module")
def place():
    if not os.path.isdir(SETS):
        pytest.skip("the collected configurations are not here")
    p = RealSets()
    yield p
    p.inst.stop()
    p.db.stop()
    p.inst.remove()


def test_ispconfig(place):
    place.inst.write_config()
    place.take("ispconfig/rendered", "isp", "isp")
    got = []
    for table, key, _ in ISP + [("mysql-virtual_forwardings", "info@isp.test", ""), ("mysql-virtual_forwardings", "any@isp.test", "")]:
        r = place.inst.command("postmap", "-q", key, f"mysql:{place.inst.config}/isp/{table}.cf")
        assert not r.stderr, r.stderr
        got.append((table, key, r.stdout.decode().rstrip("\n") or None))
    assert got == ISP + [("mysql-virtual_forwardings", "info@isp.test", "bob@isp.test"), ("mysql-virtual_forwardings", "any@isp.test", "bob@isp.test")]


def test_iredmail_delivers(place):
    inst = place.inst
    place.take("iredmail/rendered-mysql/mysql", "ired", "ired")
    with open(os.path.join(SETS, "iredmail/rendered-mysql/main.cf"), encoding="utf-8") as f:
        main = re.sub(r"^#.*\n|^\s*\n", "", f.read(), flags=re.M)
    wanted = "transport_maps sender_dependent_relayhost_maps smtpd_sender_login_maps virtual_mailbox_domains relay_domains virtual_mailbox_maps " \
             "virtual_alias_maps sender_bcc_maps recipient_bcc_maps"
    for name in wanted.split():
        value = re.search(rf"^{name}\s*=((?:.*\n)(?:\s+.*\n)*)", main, re.M).group(1)
        inst.main[name] = " ".join(value.split()).replace("/etc/postfix/mysql/", f"{inst.config}/ired/")
    inst.main.update({"virtual_mailbox_base": inst.mail, "virtual_uid_maps": f"static:{inst.uid}", "virtual_gid_maps": f"static:{inst.gid}",
                      "virtual_minimum_uid": "100"})
    inst.start()
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=60) as s:
        s.sendmail("a@sender.test", ["all@other.test"], "Subject: x\r\n\r\nhello\r\n")
        s.sendmail("a@sender.test", ["ann@example.test"], "Subject: x\r\n\r\nhello\r\n")
        refused = []
        for who in ("nobody@example.test", "nobody@other.test", "' OR 1=1@example.test"):
            s.mail("a@sender.test")
            refused.append(s.rcpt(who if " " not in who else f'"{who.split("@")[0]}"@example.test')[0])
            s.rset()
        assert refused == [550, 550, 550]
    inst.wait_queue_empty(60)
    assert len(re.findall("to=<ann@example.test>.*relay=virtual.*status=sent", inst.log())) == 2
    assert len(re.findall("to=<o'neill@example.test>.*relay=virtual.*status=sent", inst.log())) == 1
    assert len(os.listdir(os.path.join(inst.mail, "vmail1/quiet.test/log/Maildir/new"))) == 1  # recipient_bcc_maps: of what was sent to ann
    assert len(os.listdir(os.path.join(inst.mail, "vmail1/example.test/oneill/Maildir/new"))) == 1
