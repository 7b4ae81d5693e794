"""smtpd(8), TLS: certificates by the name that the client asks for, and certificates of clients."""
import os
import re
import shutil
import socket
import ssl
import subprocess

import pytest

from instance import Instance, free_ports, listens, scratch, until


def openssl(*args):
    return subprocess.run(["openssl", *args], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()


def pair(directory, name, ca=None):
    """A certificate for `name`, by itself or by `ca`; (certificate, key)."""
    os.makedirs(directory, exist_ok=True)
    cert, key, csr = (os.path.join(directory, name + end) for end in (".crt", ".key", ".csr"))
    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    if ca is None:
        openssl("req", "-x509", *ec, "-days", "3", "-keyout", key, "-out", cert, "-subj", f"/CN={name}")
    else:
        openssl("req", *ec, "-keyout", key, "-out", csr, "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", csr, "-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial", "-days", "3", "-out", cert)
    os.chmod(key, 0o600)
    return cert, key


def fingerprint(cert, of_key=False):
    if not of_key:
        return openssl("x509", "-in", cert, "-noout", "-fingerprint", "-sha256").strip().split("=")[1]
    pub = openssl("x509", "-in", cert, "-noout", "-pubkey")
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pub.encode(), stdout=subprocess.PIPE, check=True).stdout
    out = subprocess.run(["openssl", "dgst", "-sha256", "-c"], input=der, stdout=subprocess.PIPE, check=True).stdout.decode()
    return out.strip().split()[-1].upper()


@pytest.fixture(scope="module")
def world():
    base = scratch("postern-smtpd-tls.")
    d = os.path.join(base, "tls")
    ca = pair(d, "Test CA")
    made = {n: pair(d, n) for n in ("mail.example.test", "one.example.test", "wild.example.org", "file.example.net", "stranger")}
    made.update({n: pair(d, n, ca) for n in ("friend", "known", "keyed")})
    chain = {}
    for n in ("one.example.test", "wild.example.org", "file.example.net"):
        chain[n] = os.path.join(d, n + ".pem")
        with open(chain[n], "w", encoding="ascii") as f:
            for part in reversed(made[n]):
                with open(part, encoding="ascii") as g:
                    f.write(g.read())
        os.chmod(chain[n], 0o600)
    ask = {"smtpd_tls_ask_ccert": "yes", "smtpd_tls_CAfile": ca[0], "smtpd_tls_received_header": "yes", "smtpd_tls_loglevel": "1"}
    services = {
        "plain": {},
        "clients": {**ask, "relay_clientcerts": f"inline:{{ {{ {fingerprint(made['known'][0])} = x }}, {{ {fingerprint(made['keyed'][0], True)} = x }} }}",
                    "smtpd_recipient_restrictions": "permit_tls_clientcerts, reject"},
        "all": {**ask, "smtpd_recipient_restrictions": "permit_tls_all_clientcerts, reject"},
        "access": {**ask, "smtpd_recipient_restrictions":
                   f"check_ccert_access inline:{{ {{ {fingerprint(made['friend'][0])} = 450 4.7.9 not you }} }}, permit"},
        "badca": {**ask, "smtpd_tls_CAfile": "/nonexistent/ca.pem", "smtpd_recipient_restrictions": "permit_tls_all_clientcerts, reject"},
        "rate": {"smtpd_client_new_tls_session_rate_limit": "1", "smtpd_client_event_limit_exceptions": ""},
        "noticket": {"tls_ssl_options": "no_ticket, 0x4"}, "noticket2": {"tls_session_ticket_cipher": ""}, "ticket": {"tls_session_ticket_cipher": "aes-128-cbc"},
        "config": {"tls_config_file": os.path.join(base, "openssl.cnf"), "tls_config_name": "mail"},
        "names": {"tls_server_sni_maps": f"inline:{{ {{ one.example.test = {chain['file.example.net']} }} }}"}, "nonames": {"tls_server_sni_maps": ""},
        "required": {**ask, "smtpd_tls_req_ccert": "yes", "smtpd_tls_security_level": "encrypt"},
    }
    with open(os.path.join(base, "openssl.cnf"), "w", encoding="ascii") as f:
        f.write("openssl_conf = other\nmail = modules\n[other]\n[modules]\nssl_conf = kinds\n[kinds]\nsystem_default = limits\n[limits]\nMaxProtocol = TLSv1.2\n")
    sni = os.path.join(base, "sni")
    with open(sni, "w", encoding="ascii") as f:
        f.write(f"one.example.test {chain['one.example.test']}\n.example.org {chain['wild.example.org']}\n")
    os.chmod(sni, 0o600)
    i = Instance(os.path.join(base, "main"), listen=(), main={
        "smtpd_peername_lookup": "no", "mydestination": "localhost", "local_recipient_maps": "", "maillog_file_prefixes": base,
        "smtpd_data_restrictions": "check_client_access static:HOLD",
        "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": made["mail.example.test"][0], "smtpd_tls_key_file": made["mail.example.test"][1],
        "tls_server_sni_maps": f"hash:{sni}, inline:{{ {{ file.example.net = {chain['file.example.net']} }} }}", "smtpd_tls_fingerprint_digest": "sha256"})
    i.port = dict(zip(services, free_ports(len(services))))
    i.extra_master = [f"127.0.0.1:{i.port[n]} inet n - n - - smtpd" + "".join(f"\n  -o {{ {k} = {v} }}" for k, v in o.items()) for n, o in services.items()]
    i.write_config()
    r = i.command("postmap", "-F", f"hash:{sni}")
    assert r.returncode == 0, r.stderr
    i.made, i.sni = made, sni
    with i:
        for p in i.port.values():
            i.wait_port(p)
        yield i
    shutil.rmtree(base, ignore_errors=True)


class Tls:
    """A client that has done STARTTLS."""

    def __init__(self, world, service, name="localhost", own=None):
        self.s = socket.create_connection((world.host, world.port[service]), 20)
        self.f = self.s.makefile("rb")
        assert self.reply().startswith("220 ")
        self.cmd("EHLO client.example.org")
        assert self.cmd("STARTTLS").startswith("220 ")
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
        if own:
            c.load_cert_chain(*world.made[own])
        self.s = c.wrap_socket(self.s, server_hostname=name)
        self.f = self.s.makefile("rb")

    def reply(self):
        while True:
            line = self.f.readline().decode().rstrip("\r\n")
            if line[3:4] != "-":
                return line

    def cmd(self, text):
        self.s.sendall(text.encode() + b"\r\n")
        return self.reply()

    def rcpt(self):
        self.cmd("EHLO client.example.org")
        assert self.cmd("MAIL FROM:<a@example.org>") == "250 2.1.0 Ok"
        return self.cmd("RCPT TO:<bob@localhost>")

    def subject(self):
        der = self.s.getpeercert(True)
        out = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-nameopt", "multiline"], input=der, stdout=subprocess.PIPE, check=True)
        return out.stdout.decode().split("= ")[-1].strip()


@pytest.mark.parametrize("name, answer", [("localhost", "mail.example.test"), ("one.example.test", "one.example.test"), ("ONE.Example.Test", "one.example.test"),
                                          ("a.b.example.org", "wild.example.org"), ("example.org", "mail.example.test"),
                                          ("file.example.net", "file.example.net"), ("unknown.example.net", "mail.example.test")])
def test_certificate_by_name(world, name, answer):
    """tls_server_sni_maps: the name itself, then its parents; other names get what all get. The session works with that key."""
    t = Tls(world, "plain", name)
    assert t.subject() == answer
    assert t.rcpt() == "250 2.1.5 Ok"


@pytest.mark.parametrize("service, name, answer", [("names", "one.example.test", "file.example.net"), ("names", "file.example.net", "mail.example.test"),
                                                   ("nonames", "one.example.test", "mail.example.test"), ("plain", "one.example.test", "one.example.test")])
def test_names_of_one_service(world, service, name, answer):
    """-o tls_server_sni_maps counts for its service alone."""
    t = Tls(world, service, name)
    assert t.subject() == answer
    assert t.rcpt() == "250 2.1.5 Ok"


def test_a_table_that_was_made_anew_is_used(world):
    with open(world.sni, "a", encoding="ascii") as f:
        f.write(f"new.example.test {os.path.dirname(world.made['stranger'][0])}/one.example.test.pem\n")
    assert world.command("postmap", "-F", f"hash:{world.sni}").returncode == 0
    assert until(lambda: Tls(world, "plain", "new.example.test").subject() == "one.example.test")
    assert Tls(world, "plain").subject() == "mail.example.test"


@pytest.mark.parametrize("service, own, answer", [
    ("clients", "known", "250 2.1.5 Ok"), ("clients", "keyed", "250 2.1.5 Ok"), ("clients", "friend", "554 5.7.1 <bob@localhost>: Recipient address rejected: Access denied"),
    ("clients", None, "554 5.7.1 <bob@localhost>: Recipient address rejected: Access denied"),
    ("all", "friend", "250 2.1.5 Ok"), ("all", "stranger", "554 5.7.1 <bob@localhost>: Recipient address rejected: Access denied"),
    ("access", "friend", "450 4.7.9 <friend>: Client certificate rejected: not you"), ("access", "known", "250 2.1.5 Ok"), ("access", None, "250 2.1.5 Ok"),
    ("required", "friend", "250 2.1.5 Ok"), ("badca", "friend", "554 5.7.1 <bob@localhost>: Recipient address rejected: Access denied")])
def test_client_certificates(world, service, own, answer):
    assert Tls(world, service, own=own).rcpt().replace("unknown[", "localhost[") == answer


def test_certificate_demanded(world):
    """smtpd_tls_req_ccert: who has none, or one of a stranger, is sent away."""
    for own, story in ((None, "No client certificate presented"), ("stranger", "Client certificate not trusted")):
        assert Tls(world, "required", own=own).reply().startswith("421 4.7.1 ")
        world.wait_log(f"NOQUEUE: abort: TLS from .*: {story}")


def test_new_sessions_are_counted(world):
    assert Tls(world, "rate").rcpt() == "250 2.1.5 Ok"
    assert Tls(world, "rate").reply() == "421 4.7.0 mail.example.test Error: too many new TLS sessions from unknown[127.0.0.1]"


def test_trace_field_tells_of_the_certificate(world):
    for own, line in (("friend", '(Client CN "friend", Issuer "Test CA" (verified OK))'), ("stranger", '(Client CN "stranger", Issuer "stranger" (not verified))'),
                      (None, "(Client did not present a certificate)")):
        t = Tls(world, "access" if own != "friend" else "all", own=own)
        assert t.rcpt() == "250 2.1.5 Ok"
        assert t.cmd("DATA").startswith("354 ")
        r = t.cmd("Subject: x\r\n\r\n.")
        qid = r.split()[-1]
        out = world.command("postcat", "-hq", qid).stdout.decode()
        assert line in out, out
    world.wait_log("Trusted TLS connection established from")
    world.wait_log("Untrusted TLS connection established from")


@pytest.mark.parametrize("service, tickets, version", [("plain", 1, "TLSv1.3"), ("ticket", 1, "TLSv1.3"), ("noticket", None, "TLSv1.3"), ("noticket2", 0, "TLSv1.3"), ("config", 1, "TLSv1.2")])
def test_the_library_as_main_cf_wants_it(world, service, tickets, version):
    """tls_ssl_options, tls_session_ticket_cipher, tls_config_file and tls_config_name."""
    t = Tls(world, service)
    assert t.rcpt() == "250 2.1.5 Ok"
    assert t.s.version() == version
    if tickets is not None:
        assert bool(t.s.session and t.s.session.has_ticket) == bool(tickets)


@pytest.mark.parametrize("name, value, how", [("tls_ssl_options", "no_such_option", "warning"), ("tls_config_file", "/nonexistent/openssl.cnf", "fatal"),
                                              ("tls_config_file", "relative", "fatal"), ("tls_session_ticket_cipher", "aes-256-gcm", "warning")])
def test_what_the_library_cannot_do_is_told(world, name, value, how):
    """Without its configuration file nothing starts; which value it was is told."""
    i = Instance(scratch("postern-smtpd-tls."), main={**world.main, name: value, "maillog_file": None, "maillog_file_prefixes": None})
    i.main.update(queue_directory=i.queue, data_directory=i.data, config_directory=i.config, maillog_file=i.maillog, maillog_file_prefixes=os.path.dirname(i.base))
    try:
        if how == "fatal":
            i.write_config()
            r = i.command("postfix", "check")
            assert r.returncode == 1 and re.search(rf"error: .*main.cf line \d+: {name}: ", r.stderr.decode()), r.stderr
            return
        i.start(wait=False)
        assert until(lambda: listens(i.host, i.port["smtp"]))
        i.wait_log(f"{how}: .*{name}")
    finally:
        i.stop()
        i.remove()
