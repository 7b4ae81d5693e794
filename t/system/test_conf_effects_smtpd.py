"""Parameters around smtpd(8) that nothing else tries: older names of TLS levels, trust by directory, the time limit of the before-queue filter,
exceptions for bare line feeds, the form of queue IDs, the life of bounces, the transport of probes."""
import os
import re
import shutil
import smtplib
import socket
import ssl
import subprocess

import pytest

from fakesmtp import HANG, Server
from instance import Instance, free_ports, make_certificates, scratch

NO_LEVEL = {"smtpd_tls_security_level": ""}
ASK = {"smtpd_tls_ask_ccert": "yes", "smtpd_recipient_restrictions": "permit_tls_all_clientcerts, reject"}


@pytest.fixture(scope="module")
def world():
    base = scratch("postern-effects-smtpd.")
    ca, cert, key = make_certificates(os.path.join(base, "tls"))
    path = os.path.join(base, "tls", "path")
    os.mkdir(path)
    shutil.copy(ca, os.path.join(path, "ca.pem"))
    subprocess.run(["openssl", "rehash", path], check=True)
    slow, gone = Server(GREETING=HANG), Server()
    gone.refuse()
    services = {
        "plain": {}, "use": {**NO_LEVEL, "smtpd_use_tls": "yes"}, "enforce": {**NO_LEVEL, "smtpd_enforce_tls": "yes"},
        "off": NO_LEVEL, "trusts": {**ASK, "smtpd_tls_CApath": path}, "trusts_nobody": ASK, "names": {**ASK, "smtpd_tls_CAfile": ca},
        "filter": {"smtpd_proxy_filter": f"127.0.0.1:{slow.port}", "smtpd_proxy_timeout": "1s"},
        "bare": {"smtpd_forbid_bare_newline": "reject", "smtpd_forbid_bare_newline_exclusions": ""},
        "bare_allowed": {"smtpd_forbid_bare_newline": "reject", "smtpd_forbid_bare_newline_exclusions": "192.0.2.1, 127.0.0.0/8"},
        "long": {"enable_long_queue_ids": "yes"},
        "probes": {"smtpd_recipient_restrictions": "reject_unverified_recipient, permit", "unverified_recipient_reject_code": "550"},
    }
    ports = dict(zip(services, free_ports(len(services))))
    inst = Instance(os.path.join(base, "p"), listen=(), main={
        "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key, "smtpd_peername_lookup": "no",
        "transport_maps": "inline:{ {later.test = smtp:[127.0.0.1]:%d} }" % gone.port, "bounce_queue_lifetime": "0", "virtual_mailbox_domains": "virt.test",
        "virtual_mailbox_maps": "static:x", "virtual_transport": "discard:", "address_verify_virtual_transport": "error:5.1.1 the probe goes elsewhere",
        "address_verify_map": "", "address_verify_poll_delay": "1s", "address_verify_poll_count": "20", "smtpd_data_restrictions": ""},
        master=[f"127.0.0.1:{ports[n]} inet n - n - - smtpd" + "".join(f" -o {{ {k} = {v} }}" for k, v in o.items()) for n, o in services.items()])
    inst.start(wait=False)
    for p in ports.values():
        inst.wait_port(p)
    inst.ports, inst.own = ports, (cert, key)
    yield inst
    inst.stop()
    shutil.rmtree(base, ignore_errors=True)


def connect(world, name):
    s = smtplib.SMTP("127.0.0.1", world.ports[name], "client.example.org", 30)
    s.ehlo()
    return s


@pytest.mark.parametrize("name,offered,answer", [("off", False, 250), ("use", True, 250), ("enforce", True, 530)])
def test_older_names_of_tls_levels(world, name, offered, answer):
    with connect(world, name) as s:
        assert (s.has_extn("starttls"), s.mail("a@example.org")[0]) == (offered, answer)


@pytest.mark.parametrize("name,answer", [("trusts", 250), ("trusts_nobody", 554)])
def test_certificate_of_an_authority_in_a_directory(world, name, answer):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    ctx.load_cert_chain(*world.own)
    with connect(world, name) as s:
        s.starttls(context=ctx)
        s.ehlo()
        s.mail("a@example.org")
        assert s.rcpt("b@localhost")[0] == answer


def test_filter_that_says_nothing(world):
    """smtpd waits no longer than smtpd_proxy_timeout, whose default is longer than this test has patience."""
    with connect(world, "filter") as s:
        codes = [s.mail("a@example.org")[0], s.rcpt("b@virt.test")[0]]
        codes.append(s.docmd("DATA")[0] if codes[-1] == 250 else 0)
        assert any(400 <= c < 500 for c in codes), codes


@pytest.mark.parametrize("name,answer", [("bare", b"550 5.5.2 "), ("bare_allowed", b"250 2.0.0 Ok: queued as ")])
def test_bare_newlines_of_excepted_clients(world, name, answer):
    with socket.create_connection(("127.0.0.1", world.ports[name]), 30) as s:
        f = s.makefile("rwb")
        assert f.readline().startswith(b"220 ")
        for line in (b"HELO c.example.org\r\n", b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<b@virt.test>\r\n", b"DATA\r\n"):
            f.write(line)
            f.flush()
            assert f.readline()[:1] in b"23"
        f.write(b"Subject: x\r\n\r\none\ntwo\r\n.\r\n")
        f.flush()
        assert f.readline().startswith(answer)


def queue_id(world, name, sender="a@example.org", rcpt="b@virt.test"):
    with connect(world, name) as s:
        assert (s.mail(sender)[0], s.rcpt(rcpt)[0]) == (250, 250)
        return re.search(r"queued as (\w+)", s.data("Subject: x\r\n\r\nx\r\n")[1].decode())[1]


def test_form_of_queue_ids(world):
    assert re.fullmatch("[0-9A-F]{6,}", queue_id(world, "plain"))
    qid = queue_id(world, "long")
    assert re.fullmatch("[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]+", qid)  # time: 52 digits, z is one
    assert world.wait_log(f": {qid}: removed")


def test_bounces_live_as_long_as_they_may(world):
    """The first failure of a bounce is its last; other mail stays."""
    other, bounce = (queue_id(world, "plain", sender, "b@later.test") for sender in ("a@example.org", ""))
    assert world.wait_log(f": {bounce}: from=<>, status=expired, returned to sender")
    assert world.wait_log(f": {other}: to=<b@later.test>, .*status=deferred")
    assert f"{other}: from=<a@example.org>, status=expired" not in world.log()


def test_transport_of_probes(world):
    with connect(world, "probes") as s:
        s.mail("a@example.org")
        code, text = s.rcpt("probed@virt.test")
        assert code == 550 and b"the probe goes elsewhere" in text
    assert world.wait_log(f": {queue_id(world, 'plain', rcpt='probed@virt.test')}: to=<probed@virt.test>, relay=none, .*status=sent")


@pytest.mark.parametrize("name,told", [("names", True), ("trusts", False), ("plain", False)])
def test_clients_are_told_which_authorities_count(world, name, told):
    """Those of smtpd_tls_CAfile, and not those of smtpd_tls_CApath."""
    p = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{world.ports[name]}", "-starttls", "smtp"], input="QUIT\r\n", capture_output=True, text=True,
                       timeout=60, check=False)
    assert ("Acceptable client certificate CA names" in p.stdout) == told, p.stdout + p.stderr
