"""tlsmgr(8): certificates are given, keys never; renewed pairs are used at once, broken ones refused; tickets differ per service; clients find the
sessions of their own program."""
import os
import struct
import subprocess
import time

import pytest

from fakemaster import Daemon, Reader, record, span
from instance import until

CERT, SIGN, TICKETS, SESSION = 70, 71, 72, 73
FIND, KEEP, FORGET = 1, 2, 3


def pair(directory, name, kind="rsa"):
    key, cert = "%s/%s.key" % (directory, name), "%s/%s.crt" % (directory, name)
    new = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-keyout", key + "~", "-out", cert + "~", "-days", "2", "-subj",
                    "/CN=" + name] + new, check=True, capture_output=True)
    os.rename(key + "~", key)
    os.rename(cert + "~", cert)
    return cert, key


@pytest.fixture
def tlsmgr(tmp_path):
    made = []

    def make(main_cf, master_cf=None):
        if master_cf:
            (tmp_path / "etc").mkdir()
            (tmp_path / "etc" / "master.cf").write_text(master_cf)
        made.append(Daemon("tlsmgr", str(tmp_path), main_cf=main_cf))
        return made[-1]
    yield make
    for d in made:
        d.end()


def call(s, kind, body):
    s.send(record(kind, body))
    return Reader(s.recv(200000)[8:])


def cert(s, chain="smtpd", have=0):
    r = call(s, CERT, span(chain) + struct.pack("<Q", have))
    return r.num("H"), r.num("Q"), r.span(), r.span().decode()


def sign(s, generation, op, padding, data):
    r = call(s, SIGN, struct.pack("<QHH", generation, op, padding) + span(data))
    return r.num("H"), r.span()


def raw_check(cert_file, sig, data, directory):
    """The signature opens to `data` with the certificate's public key."""
    pub, s = os.path.join(directory, "pub"), os.path.join(directory, "sig")
    with open(pub, "wb") as f:
        f.write(subprocess.run(["openssl", "x509", "-in", cert_file, "-pubkey", "-noout"], check=True, capture_output=True).stdout)
    with open(s, "wb") as f:
        f.write(sig)
    return subprocess.run(["openssl", "pkeyutl", "-verifyrecover", "-pubin", "-inkey", pub, "-in", s], check=True,
                          capture_output=True).stdout == data


def test_gives_certificates_and_signs(tlsmgr, tmp_path):
    c, k = pair(tmp_path, "one")
    d = tlsmgr("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n" % (c, k))
    s = d.connect("smtpd")
    code, generation, pem, _ = cert(s)
    assert code == 0 and pem.decode() == open(c).read() and b"PRIVATE" not in pem
    assert cert(s, have=generation) == (0, generation, b"", "")
    assert cert(s, "smtpd:1")[0] != 0
    code, sig = sign(s, generation, 1, 1, b"x" * 32)
    assert code == 0 and raw_check(c, sig, b"x" * 32, str(tmp_path))
    assert sign(s, generation, 1, 3, b"\0" + b"y" * 255)[0] == 0


def test_only_its_own_key_and_only_signatures(tlsmgr, tmp_path):
    c, k = pair(tmp_path, "one")
    d = tlsmgr("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n" % (c, k))
    s = d.connect("smtpd")
    generation = cert(s)[1]
    for op, padding, data in ((2, 1, b"x" * 256), (1, 4, b"x"), (4, 0, b"x"), (1, 3, b"x" * 257), (3, 0, b"x" * 32), (9, 0, b""), (1, 1, b"")):
        assert sign(s, generation, op, padding, data) == (454, b"")
    assert sign(s, generation + 1, 1, 1, b"x")[0] != 0
    other = d.connect("smtp")
    assert cert(other)[0] != 0 and sign(other, generation, 1, 1, b"x")[0] != 0
    assert cert(d.connect("imapd"), "imapd")[0] == 0  # default: that of smtpd
    assert "has not" in d.text()


def test_two_kinds_of_keys(tlsmgr, tmp_path):
    c, k = pair(tmp_path, "one")
    ec, ek = pair(tmp_path, "two", "ec")
    d = tlsmgr("smtpd_tls_chain_files = %s %s %s %s\nsmtpd_tls_cert_file = /nonexistent\n" % (ek, ec, k, c))
    assert "warning: smtpd_tls_cert_file has no effect, because smtpd_tls_chain_files is set" in d.text()
    s = d.connect("smtpd")
    assert cert(s)[2].decode() == open(ec).read() and cert(s, "smtpd:1")[2].decode() == open(c).read()
    code, sig = sign(s, cert(s)[1], 3, 0, b"z" * 32)
    assert code == 0 and sig[0] == 0x30


def test_renewal(tlsmgr, tmp_path):
    c, k = pair(tmp_path, "one")
    d = tlsmgr("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n" % (c, k))
    s = d.connect("smtpd")
    first = cert(s)
    time.sleep(1.1)
    pair(tmp_path, "one")
    second = cert(s)
    assert second[1] != first[1] and second[2].decode() == open(c).read()
    assert sign(s, first[1], 1, 1, b"x")[0] == 0  # a handshake that began with the former one
    os.rename(k, k + ".away")
    time.sleep(1.1)
    assert cert(s) == second and "the former one stays in use" in d.text()
    with open(k, "w") as f:
        f.write(open(pair(tmp_path, "two")[1]).read())
    time.sleep(1.1)
    assert cert(s) == second and "does not fit its private key" in d.text()
    os.rename(k + ".away", k)
    time.sleep(1.1)
    assert cert(s)[2] == second[2]


def test_certificates_of_a_service(tlsmgr, tmp_path):
    """-o smtpd_tls_cert_file=... in master.cf counts for that service alone, whose key is nobody else's."""
    c, k = pair(tmp_path, "one")
    c2, k2 = pair(tmp_path, "two", "ec")
    d = tlsmgr("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n" % (c, k), master_cf="smtp inet n - n - - smtpd -o smtpd_tls_security_level=may\n"
               "submission inet n - n - - smtpd\n -o smtpd_tls_cert_file=%s -o smtpd_tls_key_file=%s\nsubs inet n - n - - smtpd -o smtpd_tls_chain_files=%s,%s\n" % (c2, k2, k2, c2))
    for service, file in (("smtp", c), ("submission", c2), ("subs", c2), ("other", c)):
        s = d.connect("smtpd", service)
        assert cert(s)[2].decode() == open(file).read()
    own = cert(d.connect("smtpd", "submission"))[1]
    assert sign(d.connect("smtpd", "subs"), own, 3, 0, b"z" * 32)[0] == 0  # the same key
    assert sign(d.connect("smtpd", "smtp"), own, 3, 0, b"z" * 32)[0] != 0


def test_no_tickets(tlsmgr):
    d = tlsmgr("smtpd_tls_session_cache_timeout = 0\n")
    r = call(d.connect("smtpd"), TICKETS, span("smtp"))
    assert r.span() == b"" and r.span() == b""


@pytest.mark.parametrize("bad", ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_broken_files(tlsmgr, tmp_path, bad):
    c, k = pair(tmp_path, "one")
    with open(c, "w") as f:
        f.write(bad)
    d = tlsmgr("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n" % (c, k))
    code, _, pem, text = cert(d.connect("smtpd"))
    assert code != 0 and pem == b"" and text and d.proc.poll() is None


def test_no_certificate(tlsmgr):
    d = tlsmgr("")
    assert cert(d.connect("smtpd"))[3] == "no certificate is configured"


def test_ticket_keys_differ(tlsmgr):
    d = tlsmgr("")

    def keys(program, service):
        r = call(d.connect(program), TICKETS, span(service))
        return r.span(), r.span(), r.num("q")
    one = keys("smtpd", "smtp")
    assert len(one[0]) == 80 and one[1] == b"" and 0 < one[2] <= 3601
    assert keys("smtpd", "smtp")[:2] == one[:2]
    assert len({keys(p, s)[0] for p, s in (("smtpd", "smtp"), ("smtpd", "submission"), ("imapd", "smtp"))}) == 3


def test_process_cannot_read_files(tlsmgr, tmp_path):
    """The monitor is a process of its own; the one that holds keys has a filter and no way to open a file."""
    c, k = pair(tmp_path, "one")
    d = tlsmgr("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n" % (c, k))
    children = subprocess.run(["ps", "--ppid", str(d.proc.pid), "-o", "pid="], capture_output=True, text=True).stdout.split()
    assert len(children) == 1
    for pid in [str(d.proc.pid)] + children:
        assert until(lambda: "Seccomp:\t2" in (status := open("/proc/%s/status" % pid).read()) and "NoNewPrivs:\t1" in status)


def session(s, op, key, bytes_="", life=60):
    return call(s, SESSION, struct.pack("<H", op) + span(key) + span(bytes_) + struct.pack("<q", life)).span()


def test_sessions_of_clients(tlsmgr):
    """smtp_tls_session_cache_database: the last one counts, another program has none of it, and they age."""
    d = tlsmgr("")
    smtp, lmtp = d.connect("smtp"), d.connect("lmtp")
    assert session(smtp, FIND, "a") == b""
    assert session(smtp, KEEP, "a", "one") == session(smtp, KEEP, "a", "two") == session(smtp, KEEP, "b", "three") == b""
    assert session(smtp, FIND, "a") == b"two" and session(smtp, FIND, "b") == b"three" and session(lmtp, FIND, "a") == b""
    session(smtp, FORGET, "a")
    assert session(smtp, FIND, "a") == b"" and session(smtp, FIND, "b") == b"three"
    session(smtp, KEEP, "b", "four", life=0)
    assert session(smtp, FIND, "b") == b""
    session(smtp, KEEP, "c", "five", life=1)
    assert until(lambda: session(smtp, FIND, "c") == b"")


def test_sessions_are_limited_in_number(tlsmgr):
    s = tlsmgr("").connect("smtp")
    for n in range(5001):
        session(s, KEEP, "k%d" % n, "x")
    assert session(s, FIND, "k0") == b"" and session(s, FIND, "k1") == session(s, FIND, "k5000") == b"x"


def test_servers_get_no_sessions_of_clients(tlsmgr):
    s = tlsmgr("").connect("smtpd")
    s.send(record(SESSION, struct.pack("<H", FIND) + span("a") + span("") + struct.pack("<q", 0)))
    assert s.recv(1000) == b""
