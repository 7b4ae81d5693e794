"""Defaults of former times, which hold below some compatibility_level: who acts by one says so in the log, in the words and at the moments of Debian's."""
import os
import signal
import ssl

import pytest

from beside import NEEDS, Beside, Talk, differences
from instance import make_certificates, until

pytestmark = NEEDS

MAIN = {"compatibility_level": "0", "myhostname": "mail.example.test", "mydomain": "example.test", "mydestination": "mail.example.test, dest.test", "mynetworks": None, "smtpd_relay_restrictions": None,
        "alias_maps": "", "alias_database": "", "local_recipient_maps": "", "mail_name": "Postfix", "smtpd_peername_lookup": "no", "smtpd_authorized_xclient_hosts": "127.0.0.0/8",
        "virtual_alias_domains": "alias.test", "virtual_alias_maps": "inline:{ a@alias.test=x@dest.test }", "defer_transports": "local, smtp, relay", "smtpd_recipient_restrictions": "check_recipient_access inline:{ x@far.test=OK }, permit_mynetworks, reject_unauth_destination",
        "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": "<certs>/cert.pem", "smtpd_tls_key_file": "<certs>/key.pem", "smtpd_tls_CAfile": "<certs>/ca.pem", "smtpd_tls_ask_ccert": "yes"}
H, M = "EHLO c.test", "MAIL FROM:<a@b.test>"
FAR = "XCLIENT ADDR=198.51.100.9 NAME=far.test"
TLS = [H, "STARTTLS", ("tls",), H]


def to(*rcpts):
    return [f"RCPT TO:<{r}>" for r in rcpts]


MANY = to("x@dest.test", "x@sub.dest.test", "x@far.test", "a@alias.test", "postmaster", "x@[198.51.100.7]")
CASES = {
    "relay": ({}, [[FAR, H, M, *MANY], [H, M, *MANY], [FAR, H, M, *MANY[2:3], *MANY[2:3]]]),
    "relayset": ({"smtpd_relay_restrictions": ""}, [[FAR, H, M, *MANY]]),
    "relayreject": ({"smtpd_recipient_restrictions": "reject_unauth_destination"}, [[FAR, H, M, *MANY]]),
    "relaypermit": ({"smtpd_recipient_restrictions": "permit_mynetworks, check_recipient_access inline:{ x@far.test=OK }, reject_unauth_destination"}, [[FAR, H, M, *MANY]]),
    "domains": ({"smtpd_recipient_restrictions": "permit_mynetworks, reject_unauth_destination"}, [[FAR, H, M, *to("x@sub.dest.test", "x@dest.test")]]),
    "etrn": ({"fast_flush_domains": "static:all"}, [[H, "ETRN dest.test", "ETRN sub.dest.test", "ETRN far.test"]]),
    "order": ({"smtpd_relay_restrictions": "reject_unauth_destination", "smtpd_recipient_restrictions": "reject"}, [[FAR, H, M, *to("x@dest.test", "x@far.test")]]),
    "print": ({"smtpd_recipient_restrictions": "check_ccert_access inline:{ x=REJECT }, permit_mynetworks, reject"}, [[*TLS, M, *to("x@dest.test", "y@dest.test")], [H, M, *to("x@dest.test")]]),
    "printrelay": ({"relay_clientcerts": "inline:{ x=y }", "smtpd_recipient_restrictions": "permit_tls_clientcerts, permit_mynetworks, reject"}, [[*TLS, M, *to("x@dest.test", "y@dest.test")]]),
    "printall": ({"smtpd_recipient_restrictions": "permit_tls_all_clientcerts, reject"}, [[*TLS, M, *to("x@dest.test")]]),
    "printset": ({"smtpd_tls_fingerprint_digest": "md5", "smtpd_recipient_restrictions": "check_ccert_access inline:{ x=REJECT }, permit_mynetworks, reject"}, [[*TLS, M, *to("x@dest.test")]]),
}
OLD = "using backwards-compatible default setting "


class Client(Talk):
    certs = None

    def tls(self):
        c = ssl.create_default_context()
        c.check_hostname, c.verify_mode, c.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
        c.load_cert_chain(self.certs + "/cert.pem", self.certs + "/key.pem")
        self.s = c.wrap_socket(self.s)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    certs = str(tmp_path_factory.mktemp("certs"))
    for part in (certs, os.path.dirname(certs), os.path.dirname(os.path.dirname(certs))):
        os.chmod(part, 0o755)
    make_certificates(certs)
    Client.certs = certs
    with Beside({k: v and v.replace("<certs>", certs) for k, v in MAIN.items()}, {n: o for n, (o, _) in CASES.items()}, talk=Client) as b:
        yield b


def told(lines):
    """Each once: theirs says some as often as it asks, and names the domain as well as the address."""
    return list(dict.fromkeys(l for l in lines if OLD in l and " to accept mail for address " not in l))


@pytest.mark.parametrize("name", list(CASES))
def test_server(world, name):
    for d in CASES[name][1]:
        (theirs, their_log), (ours, our_log) = world.run(name, d)
        assert not differences(name, d, theirs, ours)
        assert told(our_log) == told(their_log)


def test_chroot(world):
    """The lines of master.cf that leave the column at its default."""
    for side in world.sides:
        name = os.path.join(side.mta.config, "master.cf")
        with open(name, "a", encoding="ascii") as f:
            f.write("private unix - n - - - discard\n")
        with open(name, encoding="ascii") as f:
            line = len(f.read().splitlines())
        side.mta.command("postfix", "reload") if side is world.sides[1] else os.kill(side.mta.proc.pid, signal.SIGHUP)
        assert until(lambda: f"]: {name}: line {line}: {OLD}chroot=y\n" in side.mta.log()), side.mta.log()[-2000:]
        assert side.mta.log().count(f"{OLD}chroot=y") == 1
