"""Names that Postfix has announced to remove: each is still obeyed, and what to write instead is said."""
import os
import subprocess

import pytest

from fakesmtp import EHLO, Server, context
from test_smtp_client import DEFERRED, PASSED, Client, at

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
POSTCONF = os.path.join(os.environ.get("POSTERN_BUILD", os.path.join(ROOT, "build")), "bin", "postconf")

# Name: (a value, the name to write instead or "", whether that has the value then).
NAMES = {
    "authorized_verp_clients": ("192.0.2.1", "smtpd_authorized_verp_clients", True),
    "disable_dns_lookups": ("yes", "smtp_dns_support_level", False),
    "fallback_relay": ("[192.0.2.1]", "smtp_fallback_relay", True),
    "lmtp_cname_overrides_servername": ("no", "", False),
    "lmtp_enforce_tls": ("yes", "lmtp_tls_security_level", False),
    "lmtp_per_record_deadline": ("yes", "lmtp_per_request_deadline", True),
    "lmtp_tls_enforce_peername": ("no", "lmtp_tls_security_level", False),
    "lmtp_tls_per_site": ("static:MAY", "lmtp_tls_policy_maps", False),
    "lmtp_use_tls": ("yes", "lmtp_tls_security_level", False),
    "postscreen_blacklist_action": ("drop", "postscreen_denylist_action", True),
    "postscreen_dnsbl_ttl": ("2", "postscreen_dnsbl_max_ttl", False),  # hours
    "postscreen_dnsbl_whitelist_threshold": ("-2", "postscreen_dnsbl_allowlist_threshold", True),
    "postscreen_enforce_tls": ("no", "postscreen_tls_security_level", False),
    "postscreen_use_tls": ("no", "postscreen_tls_security_level", False),
    "postscreen_whitelist_interfaces": ("192.0.2.1", "postscreen_allowlist_interfaces", True),
    "smtp_cname_overrides_servername": ("no", "", False),
    "smtp_enforce_tls": ("yes", "smtp_tls_security_level", False),
    "smtp_per_record_deadline": ("yes", "smtp_per_request_deadline", True),
    "smtp_tls_enforce_peername": ("no", "smtp_tls_security_level", False),
    "smtp_tls_per_site": ("static:MAY", "smtp_tls_policy_maps", False),
    "smtp_use_tls": ("yes", "smtp_tls_security_level", False),
    "smtpd_client_connection_limit_exceptions": ("192.0.2.1", "smtpd_client_event_limit_exceptions", True),
    "smtpd_enforce_tls": ("yes", "smtpd_tls_security_level", False),
    "smtpd_per_record_deadline": ("yes", "smtpd_per_request_deadline", True),
    "smtpd_tls_dh1024_param_file": ("auto", "", False),
    "smtpd_tls_eecdh_grade": ("strong", "", False),
    "smtpd_use_tls": ("yes", "smtpd_tls_security_level", False),
    "virtual_maps": ("static:a", "virtual_alias_maps", True),
}


RESTRICTIONS = {"check_relay_domains": "permit_mynetworks, reject_unauth_destination", "permit_mx_backup": "relay_domains",
                "permit_naked_ip_address": "permit_mynetworks", "reject_maps_rbl": "reject_rbl_client domain-name"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What postconf -x makes of the names that replace them, and what is said about a main.cf with all of them."""
    d = tmp_path_factory.mktemp("deprecated")
    (d / "main.cf").write_text("compatibility_level = 3.6\n" + "".join(f"{k} = {v}\n" for k, (v, _, _) in NAMES.items())
                               + "smtpd_relay_restrictions = permit_mynetworks,check_relay_domains Permit_mx_backup\n"
                               "smtpd_client_restrictions = permit_naked_ip_address, reject_maps_rbl\n")
    (d / "master.cf").write_text("smtp inet n - n - - smtpd -o smtpd_etrn_restrictions=permit_mx_backup,reject\n")

    def run(*args):
        return subprocess.run([POSTCONF, "-c", d, *args], capture_output=True, text=True, check=True)
    values = dict(l.split(" =", 1) for l in run("-x", *sorted({i for _, i, _ in NAMES.values() if i})).stdout.splitlines())
    return {k: v.strip() for k, v in values.items()}, run("-n").stderr.splitlines(), run("-nq").stderr, f"postconf: warning: {d}/main.cf: "


@pytest.mark.parametrize("name", NAMES)
def test_name_is_read_and_warned_of(shown, name):
    values, said, quiet, prefix = shown
    value, instead, same = NAMES[name]
    advice = f'specify "{instead}"' if instead else "do not specify (leave at default)"
    assert f'{prefix}support for parameter "{name}" will be removed; instead, {advice}' in said
    assert not any(f"unused parameter: {name}=" in l for l in said) and name not in quiet
    if same:
        assert values[instead] == value


@pytest.mark.parametrize("name", RESTRICTIONS)
def test_restriction_is_warned_of(shown, name):
    """What they do is tried beside Postfix's smtpd."""
    _, said, quiet, _ = shown
    warning = f'support for restriction "{name}" will be removed from Postfix; use "{RESTRICTIONS[name]}" instead'
    assert any(l.lower().endswith("_restrictions: " + warning.lower()) and "/main.cf: " in l for l in said) and name not in quiet.lower()
    assert any(l.endswith("/master.cf: smtpd_etrn_restrictions: " + warning) for l in said) == (name == "permit_mx_backup")


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return context(str(tmp_path_factory.mktemp("tls")))


@pytest.fixture
def client(tmp_path):
    made = []

    def make(program, settings):
        made.append(Client(tmp_path, program=program, main_cf="compatibility_level = 3.6\n" + "".join(f"{k} = {v}\n" for k, v in settings.items())))
        return made[-1]
    yield make
    for c in made:
        c.end()


# Settings without their prefix, and what they come to: (whether TLS is asked for, whether a certificate nobody knows is good enough).
LEVELS = [({}, False, True), ({"use_tls": "yes"}, True, True), ({"enforce_tls": "yes", "tls_enforce_peername": "no"}, True, True),
          ({"enforce_tls": "yes"}, True, False), ({"tls_per_site": "inline:{127.0.0.1=MAY}"}, True, True),
          ({"tls_per_site": "inline:{127.0.0.1=MUST_NOPEERMATCH}"}, True, True), ({"tls_per_site": "inline:{127.0.0.1=MUST}"}, True, False),
          ({"use_tls": "yes", "tls_per_site": "inline:{127.0.0.1=NONE}"}, False, True), ({"use_tls": "yes", "tls_security_level": "none"}, False, True)]


@pytest.mark.parametrize("program", ["smtp", "lmtp"])
@pytest.mark.parametrize("settings,asked,delivered", LEVELS)
def test_tls_of_clients(client, tls, program, settings, asked, delivered):
    s = Server(keywords=EHLO + ["STARTTLS"], tls=tls[0], lmtp=program == "lmtp")
    base = {f"{program}_tls_security_level": ""}  # the default of Postfix 3.11 is "may"
    c = client(program, {**base, **{f"{program}_{k}": v for k, v in settings.items()}})
    r = c.deliver(at(s))
    assert r[0][0] == (PASSED if delivered else DEFERRED), c.log()
    assert ("STARTTLS" in s.lines) == asked
