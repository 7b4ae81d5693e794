"""postern check finds what Postfix passes in silence: names of tables, certificates, domains in two classes, an open relay, passwords without TLS,
misspelt restrictions and values. Each finding names file and line and says what to do."""
import os
import subprocess
import time

import pytest

from instance import BIN, ROOT, SBIN, SHARED, make_certificates, make_users


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    make_users()
    return tmp_path_factory.mktemp("check")


@pytest.fixture(scope="module")
def certs(base):
    ca, cert, key = make_certificates(str(base / "tls"))
    _, _, other = make_certificates(str(base / "other"))
    return ca, cert, key, other


GOOD = "smtp inet n - n - - smtpd\n"


def test_a_configuration_without_level_is_an_old_one(base):
    """As Postfix says it at start, reload and check."""
    old = ["Postfix is using backwards-compatible default settings", "See compatibility_level in main.cf(5) for details",
           'To disable backwards compatibility use "postconf compatibility_level=3.6" and "postfix reload"']
    said = check(base, "compatibility_level = 0\nsmtpd_relay_restrictions = reject\n")
    assert [line.split(": ", 1)[-1] for line in said if line.split(": ", 1)[-1] in old] == old
    assert not [line for line in check(base, "") if "backwards" in line]


def test_the_configuration_of_the_readme_is_of_today(base):
    """Whoever copies it gets today's defaults, and an smtpd that starts."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        text = f.read().split("A minimal `main.cf`", 1)[1].split("```")[1]
    said = check(base, "compatibility_level = 0\n" + text, status=None)
    assert not [line for line in said if "backwards-compatible" in line or "strangers" in line], said


def check(base, main, master=GOOD, status=0):
    etc = base / "etc"
    etc.mkdir(exist_ok=True)
    head = (f"compatibility_level = 3.6\nqueue_directory = {base}/queue\ndata_directory = {base}/data\ndaemon_directory = {SBIN}\n"
            f"maillog_file = {base}/log\nmaillog_file_prefixes = {base}\nmyhostname = mail.example.test\nalias_maps =\nalias_database =\n")
    (etc / "main.cf").write_text(head + main)
    (etc / "master.cf").write_text(master)
    p = subprocess.run([os.path.join(BIN, "postern"), "-c", str(etc), "check"], capture_output=True, text=True, timeout=60, check=False)
    assert status is None or p.returncode == status, p.stderr
    own = ("same user", "group or other writable", "not owned by root")  # of this machine
    return [l.split("warning: ", 1)[-1].replace(f"{etc}/", "").replace(str(base), "BASE") for l in p.stderr.splitlines()
            if not any(x in l for x in own)]


def test_nothing_to_find(base, certs):
    ca, cert, key, _ = certs
    (base / "t").write_text("a b\n")
    subprocess.run([os.path.join(BIN, "postmap"), f"hash:{base}/t"], check=True)
    assert check(base, f"""smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
smtpd_tls_CAfile = {ca}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_restriction_classes = strict
strict = reject_unverified_sender, permit
smtpd_recipient_restrictions = permit_mynetworks, check_recipient_access hash:{base}/t, strict, sleep 1, reject_rbl_client zen.example,
    warn_if_reject reject_non_fqdn_sender, reject_unauth_destination
virtual_alias_maps = hash:{base}/t inline:{{a=b}} static:x
virtual_alias_domains = v.test
relay_domains = r.test
smtp_tls_session_cache_database = btree:/nowhere/cache
""", GOOD + "x unix - n n - - pipe user=nobody argv=/bin/true\nl unix - - n - - lmtp\n") == []


@pytest.mark.parametrize("main,want", [
    ("transport_maps = hash:/nowhere/t\n", 'main.cf line 10: transport_maps: /nowhere/t.db is missing: write its source, then run "postmap hash:/nowhere/t"'),
    ("virtual_alias_maps = inline:{a=b}, proxy:lmdb:/nowhere/t\n", 'virtual_alias_maps: /nowhere/t.lmdb is missing: write its source, then run "postmap lmdb:/nowhere/t"'),
    ("alias_maps = hash:BASE/src\n", 'alias_maps: BASE/src.db is missing: run "postalias hash:BASE/src"'),
    ("header_checks = regexp:/nowhere/h\n", "header_checks: table regexp:/nowhere/h: No such file or directory: write the file, or take the table out"),
    ("smtpd_recipient_restrictions = check_client_access cidr:/nowhere/c, reject\n", "smtpd_recipient_restrictions: table cidr:/nowhere/c: No such file"),
    ("virtual_mailbox_maps = mysql:/nowhere/m.cf\n", "virtual_mailbox_maps: table mysql:/nowhere/m.cf: No such file"),
    ("canonical_maps = hsah:/etc/c\n", 'canonical_maps: unknown table type "hsah": "postconf -m" lists'),
    ("smtpd_tls_cert_file = /nowhere/c.pem\n", "smtpd_tls_cert_file: /nowhere/c.pem: No such file or directory: correct the name"),
    ("smtpd_tls_chain_files = /nowhere/a.pem, /nowhere/b.pem\n", "smtpd_tls_chain_files: /nowhere/b.pem: No such file"),
    ("smtp_tls_CAfile = /nowhere/ca\n", "smtp_tls_CAfile: /nowhere/ca: No such file"),
    ("smtpd_tls_cert_file = CERT\nsmtpd_tls_key_file = OTHER\n", "main.cf line 11: smtpd_tls_key_file: the key in BASE/other/key.pem does not belong to the certificate in BASE/tls/cert.pem"),
    ("smtpd_tls_cert_file = CERT\nsmtpd_tls_key_file = CERT\n", "smtpd_tls_key_file: BASE/tls/cert.pem holds no private key"),
    ("smtpd_tls_cert_file = KEY\nsmtpd_tls_key_file = KEY\n", "smtpd_tls_cert_file: BASE/tls/key.pem holds no certificate"),
    ("smtpd_tls_security_level = may\n", "TLS is on without a certificate"),
    ("mydestination = $myhostname, a.test\nvirtual_mailbox_domains = b.test, A.test\n",
     "main.cf line 11: virtual_mailbox_domains: domain A.test is in mydestination, too, and only mydestination counts: take it out of one"),
    ("virtual_alias_domains = a.test\nrelay_domains = a.test\n", "relay_domains: domain a.test is in virtual_alias_domains, too"),
    ("relayhost = [mail.example.test]\n", "relayhost: is this host itself"),
    ("smtpd_relay_restrictions = permit_mynetworks\n", "smtpd_relay_restrictions: nothing keeps strangers from relaying"),
    ("smtpd_relay_restrictions = permit_mynetworks, warn_if_reject reject_unauth_destination\n", "nothing keeps strangers from relaying"),
    ("smtpd_relay_restrictions = permit, reject\nsmtpd_recipient_restrictions = permit\n", "an open relay"),
    ("mynetworks = 127.0.0.0/8, 0.0.0.0/0\n", "mynetworks holds 0.0.0.0/0: everybody may relay"),
    ("smtpd_sasl_auth_enable = yes\n", "passwords travel in clear text: there is no TLS"),
    ("smtpd_sasl_auth_enable = yes\nsmtpd_tls_security_level = may\n", "passwords may travel in clear text: set smtpd_tls_auth_only = yes"),
    ("smtpd_recipient_restrictions = permit_mynetwork, reject_unauth_destinations, reject\n",
     'smtpd_recipient_restrictions: unknown restriction "permit_mynetwork"; did you mean permit_mynetworks?'),
    ("smtpd_sender_restrictions = reject_unknown_sender_domian\n", 'unknown restriction "reject_unknown_sender_domian"; did you mean reject_unknown_sender_domain?'),
    ("smtpd_helo_restrictions = reject_invalid_helo_host\n", "did you mean reject_invalid_helo_hostname?"),
    ("smtpd_tls_loglevel = high\n", 'smtpd_tls_loglevel: "high" means nothing here: one of 0 1 2 3 4'),
    ("mydestinaton = a\n", "main.cf: unused parameter: mydestinaton=a (line 10; did you mean mydestination?)"),
])
def test_main_cf(base, certs, main, want):
    _, cert, key, other = certs
    (base / "src").write_text("a: b\n")
    for name, value in (("BASE", str(base)), ("CERT", cert), ("KEY", key), ("OTHER", other)):
        main = main.replace(name, value)
    found = check(base, main, status=None)
    assert any(want in l for l in found), found


@pytest.mark.parametrize("line,want", [
    ("x unix - - n - - nosuchd\n", f"master.cf line 2: service x: there is no program {SBIN}/nosuchd"),
    ("submission inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes\n", "master.cf line 2: service submission: smtpd_sasl_auth_enable: passwords travel in clear text"),
    ("submission inet n - n - - smtpd -o smtpd_relay_restrictions= -o smtpd_recipient_restrictions=permit_mynetworks\n",
     "master.cf line 2: service submission: smtpd_recipient_restrictions: nothing keeps strangers"),
    ("smtps inet n - n - - smtpd -o smtpd_tls_wrappermode=yes -o smtpd_tls_cert_file=/nowhere/x\n", "service smtps: smtpd_tls_cert_file: /nowhere/x: No such file"),
    ("x inet n - n - - smtpd -o smtpd_client_restrictions=permit_mynetwork,reject\n", "service x: smtpd_client_restrictions: unknown restriction"),
    ("x inet n - n - - smtpd -o smtpd_tls_loglevel=high\n", 'service x: smtpd_tls_loglevel: "high" means nothing here'),
])
def test_master_cf(base, line, want):
    found = check(base, "", GOOD + line, status=None)
    assert any(want in l for l in found), found


def test_stale_index(base):
    (base / "old").write_text("a b\n")
    subprocess.run([os.path.join(BIN, "postmap"), f"hash:{base}/old"], check=True)
    os.utime(base / "old", (time.time() + 100, time.time() + 100))
    assert any('old.db is older than its source: run "postmap hash:' in l for l in check(base, f"transport_maps = hash:{base}/old\n"))


def test_errors_end_it(base):
    assert any("main.cf line 10: biff = maybe: yes or no expected" in l for l in check(base, "biff = maybe\n", status=1))
    assert any('main.cf line 10: inet_protocols: "ip6" is none of its words: all ipv4 ipv6' in l for l in check(base, "inet_protocols = ipv4, ip6\n", status=1))
    assert any("master.cf line 2: 2 of 8 columns" in l for l in check(base, "", GOOD + "a b\n", status=1))
    assert any("main.cf line 10: smtpd_helo_restrictions: unknown" in l for l in check(base, "smtpd_helo_restrictions = reject_invalid\n", status=1))
    assert any('main.cf line 10: canonical_maps: unknown table type "hsah"' in l for l in check(base, "canonical_maps = hsah:/etc/c\n", status=1))
    assert any("smtpd_timeout = soon: time expected" in l for l in check(base, "", "smtp inet n - n - - smtpd -o smtpd_timeout=soon\n", status=1))


def test_real_configurations_have_no_errors():
    """What people run is accepted; what is missing on this host gives warnings only."""
    sets = [d for d, _, files in os.walk(os.path.join(SHARED, "data", "configs")) if {"main.cf", "master.cf"} <= set(files)
            and ("rendered" in d or "readme-examples" in d)]
    if not sets:
        pytest.skip("the collection of real configurations is not here")
    for d in sets:
        p = subprocess.run([os.path.join(BIN, "postern"), "-c", d, "check"], capture_output=True, text=True, timeout=60, check=False)
        assert p.returncode == 0, d + p.stderr
