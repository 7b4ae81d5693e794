"""Keys of Ed25519 and Ed448 (RFC 8410): tlsmgr(8) signs with them for servers and clients, alone and beside an RSA key."""
import os
import re
import smtplib
import subprocess

import pytest

from instance import Instance, free_ports, scratch, until
from test_smtpd_tls import fingerprint, openssl


def chain(directory, name, kind):
    """One file with key and certificate of `kind`, and the certificate alone."""
    cert, key, whole = (os.path.join(directory, name + end) for end in (".crt", ".key", ".pem"))
    openssl("req", "-x509", "-newkey", kind, "-nodes", "-days", "3", "-keyout", key, "-out", cert, "-subj", f"/CN={name}")
    with open(whole, "w", encoding="ascii") as f:
        f.write("".join(open(part, encoding="ascii").read() for part in (key, cert)))
    os.chmod(whole, 0o600)
    return whole, cert, key


@pytest.fixture(scope="module")
def world():
    base = scratch("postern-eddsa.")
    made = {n: chain(base, n, kind) for n, kind in (("ed25519", "ed25519"), ("ed448", "ed448"), ("rsa", "rsa:2048"), ("client", "ed25519"), ("friend", "ed448"))}
    services = {"both": {"smtpd_tls_chain_files": f"{made['ed25519'][0]}, {made['rsa'][0]}"}, "ed448": {"smtpd_tls_chain_files": made["ed448"][0]},
                "known": {"smtpd_tls_chain_files": made["ed25519"][0], "smtpd_tls_ask_ccert": "yes", "smtpd_data_restrictions": "check_client_access static:HOLD", "smtpd_recipient_restrictions": "permit_tls_clientcerts, reject",
                          "relay_clientcerts": f"inline:{{ {{ {fingerprint(made['client'][1])} = x }}, {{ {fingerprint(made['friend'][1])} = x }} }}"}}
    i = Instance(os.path.join(base, "main"), listen=("smtp",), main={
        "smtpd_peername_lookup": "no", "mydestination": "localhost", "local_recipient_maps": "", "smtpd_tls_security_level": "may", "smtpd_tls_loglevel": "1",
        "smtpd_tls_fingerprint_digest": "sha256",
        "smtp_tls_security_level": "encrypt", "smtp_tls_loglevel": "1", "smtp_tls_chain_files": made["client"][0]})
    i.port.update(zip(services, free_ports(len(services))))
    i.extra_master = [f"127.0.0.1:{i.port[n]} inet n - n - - smtpd" + "".join(f"\n  -o {{ {k} = {v} }}" for k, v in o.items()) for n, o in services.items()]
    i.main["transport_maps"] = f"inline:{{ far.test=smtp:[127.0.0.1]:{i.port['known']} }}"
    i.write_config()
    i.made = made
    with i:
        for p in i.port.values():
            i.wait_port(p)
        yield i


def handshake(world, service, version, *args):
    r = subprocess.run(["openssl", "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{world.port[service]}", f"-{version}", *args],
                       input="QUIT\r\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    return r.stdout


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
@pytest.mark.parametrize("service, name, offered, kind", [("both", "ed25519", "ed25519:RSA-PSS+SHA256", "ed25519"), ("both", "rsa", "RSA-PSS+SHA256", "RSA-PSS"),
                                                          ("ed448", "ed448", "ed448", "ed448")])
def test_server(world, version, service, name, offered, kind):
    said = handshake(world, service, version, "-sigalgs", offered, "-CAfile", world.made[name][1])
    assert f"subject=CN = {name}" in said and "Verify return code: 0 (ok)" in said and f"Peer signature type: {kind}" in said


def test_certificate_of_a_client_is_verified(world):
    """By a server that has a key of that kind, whose own signing is replaced."""
    said = handshake(world, "known", "tls1_3", "-cert", world.made["friend"][1], "-key", world.made["friend"][2])
    assert "250 CHUNKING" in said or "221" in said
    assert until(lambda: re.search(r"TLS connection established from .*client-signature ED448", world.log()))


def test_client(world):
    """smtp_tls_chain_files: known by its fingerprint, it may send."""
    with smtplib.SMTP("127.0.0.1", world.port["smtp"], timeout=30) as c:
        c.sendmail("a@localhost", "b@far.test", "Subject: x\r\n\r\nx\r\n")
    world.wait_log(r"TLS connection established to 127\.0\.0\.1.*client-signature ED25519")
    world.wait_log(r"to=<b@far\.test>, relay=127\.0\.0\.1.*status=sent")
