"""postfix tls: TLS is switched on with a key and certificate made for it; new ones are made, put in force, shown as request and as TLSA record."""
import hashlib
import os
import re
import subprocess

import pytest

from instance import BIN, SBIN


@pytest.fixture
def etc(tmp_path):
    (tmp_path / "main.cf").write_text(f"# mine\nmyhostname = mail.example.test\ncommand_directory = {BIN}\ndaemon_directory = {SBIN}\nqueue_directory = {tmp_path}/q\n"
                                      f"maillog_file = {tmp_path}/log\nmaillog_file_prefixes = {tmp_path}\n")
    (tmp_path / "master.cf").write_text("")
    return tmp_path


def tls(etc, *args, check=0):
    p = subprocess.run([os.path.join(BIN, "postfix"), "-c", str(etc), "tls", *args], capture_output=True, text=True, timeout=60, check=False)
    assert p.returncode == check, p.stderr
    return p


def setting(etc, name):
    return subprocess.run([os.path.join(BIN, "postconf"), "-c", str(etc), "-h", name], capture_output=True, text=True, check=True).stdout.strip()


def openssl(*args, **kw):
    return subprocess.run(["openssl", *args], capture_output=True, text=True, check=True, **kw).stdout


def test_client(etc):
    tls(etc, "all-default-client")
    tls(etc, "enable-client")
    assert setting(etc, "smtp_tls_security_level") == "may"
    assert "\nsmtp_tls_session_cache_database = btree:${data_directory}/smtp_scache\n" in (etc / "main.cf").read_text()
    tls(etc, "all-default-client", check=1)
    before = (etc / "main.cf").read_text()
    assert "nothing is changed" in tls(etc, "enable-client").stdout and (etc / "main.cf").read_text() == before
    tls(etc, "all-default-server")


@pytest.mark.parametrize("algorithm,ec", [("rsa", ""), ("ecdsa", "ec")])
def test_server(etc, algorithm, ec):
    tls(etc, "enable-server", "-a", algorithm, "mx.example.test", "other.example.test")
    cert, key = setting(etc, f"smtpd_tls_{ec}cert_file"), setting(etc, f"smtpd_tls_{ec}key_file")
    assert setting(etc, "smtpd_tls_security_level") == "may" and re.fullmatch(rf"{etc}/{ec}cert-\d{{8}}-\d{{6}}\.pem", cert)
    assert os.stat(key).st_mode & 0o777 == 0o600
    text = openssl("x509", "-in", cert, "-noout", "-text")
    assert "CN = mx.example.test" in text and "DNS:mx.example.test, DNS:other.example.test" in text and "CA:FALSE" in text
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text
    openssl("verify", "-CAfile", cert, cert)
    csr = tls(etc, "output-server-csr", "-k", algorithm).stdout
    text = openssl("req", "-noout", "-text", "-verify", input=csr)
    assert "DNS:mail.example.test" in text and "Subject: \n" in text and "TLS Web Server Authentication" in text and "CA:TRUE" not in text and "CA:FALSE" not in text
    spki = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], capture_output=True, check=True).stdout
    want = f"; {key}\n_25._tcp.mail.example.test. IN TLSA 3 1 1 {hashlib.sha256(spki).hexdigest()}\n"
    assert tls(etc, "output-server-tlsa", algorithm).stdout == want
    assert "not at their defaults" in tls(etc, "enable-server").stdout and setting(etc, f"smtpd_tls_{ec}cert_file") == cert
    assert "# mine\n" in (etc / "main.cf").read_text()


def test_new_key_is_put_in_force_by_hand(etc):
    key, cert, *_ = tls(etc, "new-server-key", "-b", "2048").stdout.splitlines()
    assert setting(etc, "smtpd_tls_cert_file") == ""
    tls(etc, "deploy-server-cert", os.path.basename(cert), key)
    assert setting(etc, "smtpd_tls_cert_file") == cert and setting(etc, "smtpd_tls_key_file") == key
    os.rename(cert, etc / "first.pem")
    os.rename(key, etc / "firstkey.pem")
    key2, cert2, *_ = tls(etc, "new-server-key").stdout.splitlines()
    assert "does not belong to" in tls(etc, "deploy-server-cert", cert2, "firstkey.pem", check=1).stderr
    assert os.path.exists(key2)


@pytest.mark.parametrize("args,why", [([], "usage: postfix tls"), (["nosuch"], "usage: postfix tls"), (["enable-server", "-a", "dsa"], "rsa or ecdsa"),
                                      (["new-server-key", "-b", "7"], "1024 to 16384"), (["new-server-key", "-a", "ecdsa", "-b", "x"], "unknown curve"),
                                      (["new-server-key", "a b"], "not a host name"), (["deploy-server-cert", "x"], "usage:"),
                                      (["deploy-server-cert", "x", "y"], "No such file"), (["output-server-csr"], "no key of this kind")])
def test_mistakes(etc, args, why):
    before = sorted(os.listdir(etc))
    assert why in tls(etc, *args, check=1).stderr
    assert [f for f in sorted(os.listdir(etc)) if f != "log"] == [f for f in before if f != "log"]
