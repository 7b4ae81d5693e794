"""Parameters that hold for every program do what postconf(5) says: OpenSSL's configuration and options, names of ports, peers whose dialogue is
logged, tables that cannot be opened, the environment. And no parameter that is said to be implemented is one that nothing reads."""
import base64
import os
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import time

import pytest

from instance import Instance, free_ports, make_certificates, scratch

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OPENSSL = """openssl_conf = {fallback}
mail = settings
[settings]
ssl_conf = ssl
[ssl]
system_default = policy
[policy]
Ciphersuites = TLS_CHACHA20_POLY1305_SHA256
[nothing]
"""


MUST = {"smtpd_tls_security_level": "encrypt"}
A128, A256 = "ECDHE+AES128", "ECDHE+AES256"
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
# Parameters of smtpd's TLS: (settings of the listener, what a client offers, what its handshake comes to: None, or a part of the cipher's name).
HANDSHAKES = (
    ({}, (V12, A128), "AES128"),
    ({"smtpd_tls_protocols": ">=TLSv1.3"}, (V12, None), None),
    ({"smtpd_tls_protocols": ">=TLSv1.3"}, (V13, None), "TLS_"),
    ({"smtpd_tls_protocols": "!SSLv2, !SSLv3, !TLSv1.3"}, (V13, None), None),
    ({"smtpd_tls_protocols": ">=0x0304"}, (V12, None), None),
    ({"smtpd_tls_protocols": ">=303:<=0303"}, (V13, None), None),
    ({"smtpd_tls_protocols": ">=0x303 <=0305"}, (V13, None), "TLS_"),
    ({"smtpd_tls_protocols": "!SSLv2, !SSLv3, !TLSv1.3"}, (V12, None), ""),
    ({"smtpd_tls_protocols": ">=TLSv1.3", **MUST}, (V12, None), ""),
    ({"smtpd_tls_mandatory_protocols": ">=TLSv1.3", **MUST}, (V12, None), None),
    ({"smtpd_tls_mandatory_protocols": ">=TLSv1.3"}, (V12, None), ""),
    ({"tls_medium_cipherlist": "AES256"}, (V12, A128), None),
    ({"tls_medium_cipherlist": "AES256"}, (V12, A256), "AES256"),
    ({"tls_medium_cipherlist": "AES256", "smtpd_tls_ciphers": "high"}, (V12, A128), "AES128"),
    ({"tls_high_cipherlist": "AES256", "smtpd_tls_ciphers": "high"}, (V12, A128), None),
    ({"tls_high_cipherlist": "AES256", "smtpd_tls_ciphers": "High"}, (V12, A128), None),
    ({"tls_medium_cipherlist": "AES256", "smtpd_tls_ciphers": "export"}, (V12, A128), None),
    ({"tls_high_cipherlist": "AES256", "smtpd_tls_ciphers": "high", **MUST}, (V12, A128), "AES128"),
    ({"tls_high_cipherlist": "AES256", "smtpd_tls_mandatory_ciphers": "high", **MUST}, (V12, A128), None),
    ({"tls_high_cipherlist": "AES256", "smtpd_tls_mandatory_ciphers": "high"}, (V12, A128), "AES128"),
    ({"smtpd_tls_exclude_ciphers": "AES128"}, (V12, A128), None),
    ({"smtpd_tls_exclude_ciphers": "AES128"}, (V12, A256), "AES256"),
    ({"smtpd_tls_exclude_ciphers": "AES128", **MUST}, (V12, A128), None),
    ({"smtpd_tls_mandatory_exclude_ciphers": "AES128", **MUST}, (V12, A128), None),
    ({"smtpd_tls_mandatory_exclude_ciphers": "AES128"}, (V12, A128), "AES128"),
    ({"tls_preempt_cipherlist": "yes"}, (V12, f"{A128}:{A256}"), "AES256"),
    ({"tls_preempt_cipherlist": "no"}, (V12, f"{A128}:{A256}"), "AES128"),
)


def listener(settings):
    """The name of the listener with these settings."""
    return " ".join(f"{k}={v}" for k, v in settings.items()) or "no settings"


@pytest.fixture(scope="module")
def world():
    base = scratch("postern-effects.")
    _, cert, key = make_certificates(os.path.join(base, "tls"))
    for name, fallback in (("default.cnf", "settings"), ("named.cnf", "nothing")):
        with open(os.path.join(base, name), "w", encoding="ascii") as f:
            f.write(OPENSSL.format(fallback=fallback))
    services = {
        "plain": {},
        "configured": {"tls_config_file": f"{base}/default.cnf"},
        "named": {"tls_config_file": f"{base}/named.cnf", "tls_config_name": "mail"},
        "none": {"tls_config_file": "none"},
        "missing": {"tls_config_file": f"{base}/nothing.cnf"},
        "no_ticket": {"tls_ssl_options": "no_ticket, NO_COMPRESSION"},
        "mask": {"tls_ssl_options": "0x4000"},  # SSL_OP_NO_TICKET
        "cipher": {"tls_session_ticket_cipher": "aes-128-cbc"},
        "no_cipher": {"tls_session_ticket_cipher": ""},
        "bad_cipher": {"tls_session_ticket_cipher": "aes-256-gcm"},
        "ffdhe": {"tls_eecdh_auto_curves": "", "tls_ffdhe_auto_groups": "nosuchgroup ffdhe3072"},
        "curves": {"tls_eecdh_auto_curves": "secp384r1", "tls_ffdhe_auto_groups": ""},
        "told": {"debug_peer_list": "127.0.0.0/8", "smtpd_sasl_auth_enable": "yes", "smtpd_tls_auth_only": "no"},
        "others_told": {"debug_peer_list": "192.0.2.0/24 example.com"},
        "fatal": {"daemon_table_open_error_is_fatal": "yes", "smtpd_client_restrictions": "check_client_access,regexp:/nonexistent/a"},
        "defers": {"smtpd_client_restrictions": "check_client_access,regexp:/nonexistent/b", "smtpd_delay_reject": "no"},
    }
    services.update({listener(settings): settings for settings, _, _ in HANDSHAKES})
    ports = dict(zip(services, free_ports(len(services))))
    known = free_ports(1)[0]
    lines = [f"127.0.0.1:{ports[n]} inet n - n - - smtpd" + "".join(f" -o {{ {k} = {v} }}" for k, v in opts.items())
             for n, opts in services.items()]
    inst = Instance(os.path.join(base, "p"), listen=(), main={
        "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key, "inet_interfaces": "127.0.0.1",
        "known_tcp_ports": f"smtp=25, my-own = test_port={known}", "service_throttle_time": "1s",
        "smtpd_recipient_restrictions": "permit_mynetworks, reject"},
        master=[*lines, "my-own inet n - n - - smtpd"])
    os.environ["CONF_EFFECTS_NOT_IMPORTED"] = "x"
    inst.start(wait=False)
    inst.wait_port(ports["plain"])
    inst.ports, inst.known = ports, known
    yield inst
    inst.stop()
    shutil.rmtree(base, ignore_errors=True)


def starttls(inst, name, version=None, session=None, ciphers=None):
    """A connection after STARTTLS, and the session that a later one could resume."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    if version:
        ctx.minimum_version = ctx.maximum_version = version
    if ciphers:
        ctx.set_ciphers(ciphers)
    if session is not None:
        ctx = session[0]
    raw = socket.create_connection(("127.0.0.1", inst.ports[name]), 10)
    f = raw.makefile("rb")
    for text, end in ((None, b"220 "), (b"EHLO client.test\r\n", b"250 "), (b"STARTTLS\r\n", b"220 ")):
        if text:
            raw.sendall(text)
        while True:
            line = f.readline()
            assert line, f"{name}: the connection ends"
            if line[:4] == end:
                break
    tls = ctx.wrap_socket(raw, server_hostname="mail.example.test", session=session[1] if session else None)
    tls.sendall(b"EHLO client.test\r\n")
    assert tls.recv(4096).startswith(b"250")
    return tls, (ctx, tls.session)


def test_openssl_loads_the_configuration_that_is_named(world):
    suites = {}
    for name in ("plain", "none", "configured", "named"):
        tls, _ = starttls(world, name, ssl.TLSVersion.TLSv1_3)
        suites[name] = tls.cipher()[0]
        tls.close()
    assert suites["configured"] == suites["named"] == "TLS_CHACHA20_POLY1305_SHA256"
    assert suites["plain"] != suites["configured"] and suites["none"] != suites["configured"]


@pytest.mark.parametrize("settings,offer,got", HANDSHAKES, ids=[f"{listener(s)}:{o[0].name}:{o[1]}" for s, o, _ in HANDSHAKES])
def test_protocols_and_ciphers(world, settings, offer, got):
    if got is None:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            starttls(world, listener(settings), offer[0], ciphers=offer[1])
    else:
        tls, _ = starttls(world, listener(settings), offer[0], ciphers=offer[1])
        assert got in tls.cipher()[0]
        tls.close()


def test_without_its_configuration_there_is_no_tls(world):
    s = socket.create_connection(("127.0.0.1", world.ports["missing"]), 10)
    world.wait_log(r"warning: tls_config_file: cannot load the settings \"openssl_conf\" of .*/nothing.cnf: disabling TLS support")
    s.close()


@pytest.mark.parametrize("name,resumed", [("plain", True), ("cipher", True), ("no_ticket", False), ("mask", False), ("no_cipher", False), ("bad_cipher", False)])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_session_tickets(world, name, resumed, version):
    tls, session = starttls(world, name, version)
    assert (session[1] is not None and session[1].has_ticket) == resumed
    tls.close()
    if session[1] is not None:
        tls, _ = starttls(world, name, session=session)
        assert tls.session_reused == resumed
        tls.close()


def test_unsuitable_ticket_cipher_is_named(world):
    world.wait_log(r'warning: tls_session_ticket_cipher: unsuitable cipher "aes-256-gcm": no session tickets')


@pytest.mark.parametrize("name,groups,said", [("ffdhe", "ffdhe3072", "DH, 3072 bits"), ("ffdhe", "X25519", None), ("curves", "P-384", "ECDH, "),
                                              ("curves", "X25519:ffdhe2048", None), ("plain", "ffdhe2048", "DH, 2048 bits"), ("plain", "X25519", "X25519")])
def test_groups_for_key_exchange(world, name, groups, said):
    p = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{world.ports[name]}", "-starttls", "smtp", "-tls1_3", "-groups", groups],
                       input="QUIT\r\n", capture_output=True, text=True, timeout=60, check=False)
    assert (f"Server Temp Key: {said}" in p.stdout if said else "Server Temp Key" not in p.stdout), p.stdout + p.stderr


def test_known_tcp_ports_names_a_listener(world):
    world.wait_port(world.known)
    with smtplib.SMTP("127.0.0.1", world.known, timeout=60) as c:
        assert c.ehlo()[0] == 250


def test_dialogue_of_debug_peers_is_logged_without_passwords(world):
    secret = base64.b64encode(b"\0user\0hidden").decode()
    for name in ("told", "others_told"):
        with smtplib.SMTP("127.0.0.1", world.ports[name], timeout=60) as c:
            c.docmd("EHLO", f"{name}.test")
            c.docmd("AUTH", f"PLAIN {secret}")
            c.docmd("RSET")
    world.wait_log(r"smtpd\[\d+\]: < \S+\[127.0.0.1\]: EHLO told.test$")
    world.wait_log(r"smtpd\[\d+\]: > \S+\[127.0.0.1\]: 220 mail.example.test")
    world.wait_log(r"smtpd\[\d+\]: < \S+\[127.0.0.1\]: AUTH PLAIN ?$")
    world.wait_log(r"smtpd\[\d+\]: < \S+\[127.0.0.1\]: QUIT$")
    time.sleep(0.1)
    assert secret not in world.log() and "others_told" not in world.log()


def test_table_that_cannot_be_opened(world):
    with smtplib.SMTP(timeout=60) as c:
        assert c.connect("127.0.0.1", world.ports["defers"])[0] == 451
    s = socket.create_connection(("127.0.0.1", world.ports["fatal"]), 10)
    world.wait_log(r"fatal: .*/nonexistent/a")
    s.close()
    assert re.search(r"error: .*/nonexistent/b", world.log())


def test_processes_get_the_imported_environment_only(world):
    pid = next(p for p in world.processes() if b"qmgr" in open(f"/proc/{p}/cmdline", "rb").read())
    names = {e.split(b"=")[0] for e in open(f"/proc/{pid}/environ", "rb").read().split(b"\0") if e}
    assert names - {b"ASAN_OPTIONS", b"UBSAN_OPTIONS"} >= {b"PATH", b"MAIL_CONFIG", b"MAIL_LOGTAG", b"LANG"}
    assert b"CONF_EFFECTS_NOT_IMPORTED" not in names and b"HOME" not in names


# ---- the table itself ----

PREFIXES = ("smtp_", "lmtp_", "imapd_", "pop3d_", "address_verify_", "smtpd_policy_service_", "local_", "smtpd_", "default_")
NOT_CODE = ("cmd/postern/lint", "lib/conf/params", "lib/conf/deprecated.c", "lib/conf/names.c", "cmd/postern/bdbwords")
SHOWN_ONLY = {"mail_release_date"}  # for $mail_release_date of other values


def rows():
    with open(os.path.join(ROOT, "lib", "conf", "params.def"), encoding="utf-8") as f:
        return re.findall(r'^P\("(\w+)", P_\w+, (?:\w+ )?"((?:[^"\\]|\\.)*)".*, (PS_\w+), "((?:[^"\\]|\\.)*)"\)$', f.read(), re.M)


def words_of_the_code():
    found = set()
    for top, dirs, files in os.walk(ROOT):
        dirs[:] = [d for d in dirs if not d.startswith((".", "build")) and os.path.join(top, d) != os.path.join(ROOT, "t")]
        for name in files:
            path = os.path.relpath(os.path.join(top, name), ROOT)
            if name.endswith((".c", ".h")) and not path.startswith(NOT_CODE):
                with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                    text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
                found |= set(re.findall(r'"(\w+)"', text))
    return found


def test_what_is_said_to_be_implemented_is_read():
    """A parameter that counts as implemented is read by its name, or by what follows a prefix (smtp_ and lmtp_ share code), or stands in the default of
    one that is read."""
    table, words = rows(), words_of_the_code()
    assert len(table) > 900
    read = {n for n, *_ in table if n in words or any(n.startswith(p) and (n[len(p):] in words or n[len(p) - 1:] in words) for p in PREFIXES)}
    while True:
        more = {ref for n, default, *_ in table if n in read for ref in re.findall(r"\$[({]?(\w+)", default)} - read
        if not more:
            break
        read |= more
    assert sorted(n for n, _, state, _ in table if state == "PS_DONE" and n not in read | SHOWN_ONLY) == []


def test_what_is_without_effect_says_why():
    assert [n for n, _, state, meaning in rows() if state != "PS_DONE" and not meaning] == []
    # What code reads by its full name does something.
    only_copied = {"html_directory", "manpage_directory", "meta_directory", "readme_directory", "sample_directory", "shlib_directory"}
    words = words_of_the_code()
    assert {n for n, _, state, _ in rows() if state == "PS_IGNORED" and n in words} <= only_copied
