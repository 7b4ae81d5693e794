"""Parameters of smtp(8) and lmtp(8): trust, offers, time limits, addresses to send from, and the lmtp_* twins, which count for LMTP only."""
import socket
import subprocess

import pytest

from fakesmtp import EHLO, HANG, Server, context
from test_smtp_client import DEFERRED, PASSED, MX, RELAYED, REUSE, A, Client, at, dns, ip, mx  # noqa: F401

TLS = EHLO + ["STARTTLS"]


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server's context, its certificate, and a directory in which that is found by its hash."""
    d = tmp_path_factory.mktemp("tls")
    ctx, cert, _ = context(str(d))
    path = d / "path"
    path.mkdir()
    (path / "own.pem").write_bytes(open(cert, "rb").read())
    subprocess.run(["openssl", "rehash", str(path)], check=True)
    return ctx, cert, path


@pytest.fixture
def client(tmp_path):
    made = []

    def make(program="smtp", peers=None, **settings):
        d = tmp_path / str(len(made))
        d.mkdir()
        made.append(Client(d, program=program, peers=peers, main_cf="".join(f"{k} = {v}\n" for k, v in settings.items())))
        return made[-1]
    yield make
    for c in made:
        c.end()


def policy(server):
    return "inline:{{ [127.0.0.1]:%d=secure match=fake.example }}" % server.port


@pytest.mark.parametrize("program", ["smtp", "lmtp"])
@pytest.mark.parametrize("trust", ["CAfile", "CApath"])
def test_trust(client, tls, program, trust):
    """The policy table asks for a certificate that leads to an authority: the file or the directory has it, or nobody does. What the other
    program trusts does not count."""
    s = Server(keywords=TLS, tls=tls[0], lmtp=program == "lmtp")
    value = tls[1] if trust == "CAfile" else str(tls[2])
    other = "lmtp" if program == "smtp" else "smtp"
    base = {f"{program}_tls_policy_maps": policy(s), f"{program}_tls_loglevel": "1"}
    assert client(program, **base, **{f"{other}_tls_{trust}": value}).deliver(at(s))[0][:2] == (DEFERRED, "4.7.5")
    c = client(program, **base, **{f"{program}_tls_{trust}": value})
    assert c.deliver(at(s))[0][0] == PASSED, c.log()
    assert "Verified TLS connection established" in c.log()


@pytest.mark.parametrize("level", ["none", "may"])
def test_wrapper_mode_is_mandatory(client, tls, level):
    """Nothing is sent in clear text to a server that waits for a handshake, and nobody waits for it."""
    s = Server(tls=tls[0], wrapped=True)
    c = client(smtp_tls_security_level=level, smtp_tls_wrappermode="yes")
    assert c.deliver(at(s))[0][:2] == (DEFERRED, "4.7.5") and not s.sessions
    assert f'warning: smtp_tls_wrappermode requires level encrypt or a stronger one, not "{level}"' in c.log()


@pytest.mark.parametrize("name", ["tls_CAfile", "tls_CApath"])
def test_authorities_that_are_not_there(client, tls, name):
    """Mail goes on, as far as nobody has to be trusted."""
    s = Server(keywords=TLS, tls=tls[0])
    settings = {f"smtp_{name}": "/nonexistent/ca", "smtp_tls_loglevel": "1"}
    c = client(smtp_tls_security_level="may", **settings)
    assert c.deliver(at(s))[0][0] == PASSED and "Untrusted TLS connection established" in c.log(), c.log()
    assert "warning: authorities for server certificates: " in c.log()
    assert client(smtp_tls_security_level="secure", smtp_tls_secure_cert_match="fake.example", **settings).deliver(at(s))[0][:2] == (DEFERRED, "4.7.5")


@pytest.mark.parametrize("level,name,version", [("may", "protocols", "TLSv1.2"), ("may", "mandatory_protocols", "TLSv1.3"),
                                                ("encrypt", "protocols", "TLSv1.3"), ("encrypt", "mandatory_protocols", "TLSv1.2")])
def test_protocols_of_lmtp(client, tls, level, name, version):
    s = Server(keywords=TLS, tls=tls[0], lmtp=True)
    c = client("lmtp", lmtp_tls_security_level=level, lmtp_tls_loglevel="1", smtp_tls_security_level="none", **{f"lmtp_tls_{name}": "<=TLSv1.2"})
    assert c.deliver(at(s))[0][0] == PASSED, c.log()
    assert f": {version} with cipher " in c.log()


@pytest.mark.parametrize("program", ["smtp", "lmtp"])
@pytest.mark.parametrize("level, digest, said", [("3.5", None, True), ("3.5", "md5", False), ("3.6", None, False)])
def test_old_digest_is_told(client, tls, program, level, digest, said):
    s = Server(keywords=TLS, tls=tls[0], lmtp=program == "lmtp")
    more = {f"{program}_tls_fingerprint_digest": digest} if digest else {}
    c = client(program, compatibility_level=level, **{f"{program}_tls_policy_maps": "inline:{{ [127.0.0.1]:%d=fingerprint match=11:22 }}" % s.port}, **more)
    assert c.deliver(at(s))[0][:2] == (DEFERRED, "4.7.5")
    assert (f": using backwards-compatible default setting {program}_tls_fingerprint_digest=md5 to compute certificate fingerprints\n" in c.log()) == said


def test_loglevel_of_lmtp(client, tls):
    s = Server(keywords=TLS, tls=tls[0], lmtp=True)
    c = client("lmtp", lmtp_tls_security_level="may")  # what Client sets is smtp_tls_loglevel
    assert c.deliver(at(s))[0][0] == PASSED
    assert "STARTTLS" in s.lines and "TLS connection established" not in c.log()


@pytest.mark.parametrize("program", ["smtp", "lmtp"])
def test_offer_of_starttls_is_noted(client, program):
    s = Server(keywords=TLS, lmtp=program == "lmtp")
    for value in ("no", "yes"):
        c = client(program, **{f"{program}_tls_security_level": "none", f"{program}_tls_note_starttls_offer": value})
        assert c.deliver(at(s))[0][0] == PASSED
        assert ("Host offered STARTTLS: [127.0.0.1]" in c.log()) == (value == "yes")


@pytest.mark.parametrize("program", ["smtp", "lmtp"])
def test_login_within_tls(client, tls, program):
    """Without TLS nothing is plain enough for PLAIN; within, the second parameter allows it."""
    s = Server(keywords=TLS + ["AUTH PLAIN"], tls=tls[0], lmtp=program == "lmtp", AUTH="235 2.7.0 ok")
    base = {f"{program}_sasl_auth_enable": "yes", f"{program}_sasl_password_maps": "static:user:pass", f"{program}_tls_security_level": "encrypt",
            f"{program}_sasl_security_options": "noanonymous"}
    c = client(program, **base, **{f"{program}_sasl_tls_security_options": "noanonymous, noplaintext"})
    assert c.deliver(at(s))[0][0] == DEFERRED and not any(x.startswith("AUTH") for x in s.lines)
    base[f"{program}_sasl_security_options"] = "noplaintext, noanonymous"
    c = client(program, **base, **{f"{program}_sasl_tls_security_options": "noanonymous"})
    assert c.deliver(at(s))[0][0] == PASSED, c.log()
    assert any(x.startswith("AUTH PLAIN ") for x in s.lines)


@pytest.mark.parametrize("program", ["smtp", "lmtp"])
def test_xforward(client, program):
    """Sent when the parameter says so and as far as the server knows the attributes; addresses of IPv6 are marked."""
    s = Server(keywords=EHLO + ["XFORWARD NAME ADDR PROTO HELO"], lmtp=program == "lmtp")
    origin = {"client_name": "c.example", "client_addr": "2001:db8::7", "client_port": "77", "helo": "h.example", "protocol": "ESMTP"}
    assert client(program).deliver(at(s), **origin)[0][0] == PASSED
    assert not any(x.startswith("XFORWARD") for x in s.lines)
    c = client(program, **{f"{program}_send_xforward_command": "yes"})
    assert c.deliver(at(s), **origin)[0][0] == PASSED
    words = " ".join(x for x in s.lines if x.startswith("XFORWARD ")).split()
    assert [w for w in words if w != "XFORWARD"] == ["NAME=c.example", "ADDR=IPv6:2001:db8::7", "PROTO=ESMTP", "HELO=h.example"]


@pytest.mark.parametrize("program", ["smtp", "lmtp"])
def test_time_until_the_end_of_data_is_answered(client, program):
    s = Server(BODY=HANG) if program == "smtp" else Server(lmtp=True, BODY=[])
    r = client(program, **{f"{program}_data_done_timeout": "1s"}).deliver(at(s))
    assert r[0][:2] == (DEFERRED, "4.4.2") and "timed out while sending end of data -- message may be sent more than once" in r[0][2]


def ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


@pytest.mark.parametrize("program", ["smtp", "lmtp"])
@pytest.mark.skipif(not ipv6(), reason="no ::1")
def test_source_address(client, program):
    """An address of this host is used; one that is none defers, where it is enforced."""
    came_from = []

    def hello(server, conn, line):
        came_from.append(conn.getpeername()[0])
        return "250-fake.example\r\n250 PIPELINING"
    s = Server(host="::1", lmtp=program == "lmtp", EHLO=hello, LHLO=hello)
    for address, delivered in (("::1", True), ("2001:db8::99", False)):
        c = client(program, **{"inet_protocols": "all", f"{program}_bind_address6": address, f"{program}_bind_address_enforce": "yes"})
        r = c.deliver("[::1]:%d" % s.port)
        assert r[0][0] == (RELAYED if delivered else DEFERRED), c.log()
    assert came_from == ["::1"] and "2001:db8::99" in c.log()


@pytest.mark.parametrize("program,settings,found", [
    ("smtp", {}, False), ("smtp", {"disable_dns_lookups": "yes"}, True), ("smtp", {"smtp_host_lookup": "native"}, True),
    ("smtp", {"lmtp_host_lookup": "native"}, False), ("lmtp", {}, False), ("lmtp", {"lmtp_host_lookup": "native"}, True),
    ("lmtp", {"lmtp_host_lookup": "dns, native"}, True), ("lmtp", {"smtp_host_lookup": "native"}, False),
    ("smtp", {"disable_dns_lookups": "yes", "smtp_dns_support_level": "enabled"}, False), ("smtp", {"smtp_dns_support_level": "Disabled"}, True),
    ("smtp", {"disable_dns_lookups": "yes", "smtp_dns_support_level": "enabled", "smtp_host_lookup": "native"}, True)])
def test_where_names_are_looked_up(client, program, settings, found):
    """DNS knows nothing here; who asks for the hosts file first gets an answer from it."""
    known, unknown = (dns({("s.test", A): a} if a else {})["resolver"] for a in ([ip("127.0.0.1")], None))

    def resolver(kind, body):
        return (known if body[-1] else unknown)(kind, body)  # the last field: hosts_first
    s = Server(lmtp=program == "lmtp")
    r = client(program, peers={"resolver": resolver}, inet_protocols="ipv4", **settings).deliver("s.test:%d" % s.port)
    assert (r[0][0] == PASSED) == found, r


@pytest.mark.parametrize("settings,sessions", [({}, 1), ({"lmtp_connection_cache_on_demand": "no"}, 2), ({"smtp_connection_cache_on_demand": "no"}, 1)])
def test_lmtp_connection_cache_on_demand(client, settings, sessions):
    s = Server(lmtp=True)
    c = client("lmtp", **settings)
    for _ in range(2):
        assert c.deliver(at(s), flags=REUSE)[0][0] == PASSED
    assert s.sessions == sessions


def two_sources(in_dns, in_hosts):
    """The peers of a client for which DNS and the hosts file know different records."""
    known, hosts = (dns(answers)["resolver"] for answers in (in_dns, in_hosts))
    return {"resolver": lambda kind, body: (hosts if body[-1] else known)(kind, body)}


@pytest.mark.parametrize("lookup,delivered", [("dns", False), ("native", True), ("dns, native", True)])
def test_mx_hosts_are_looked_up_where_the_parameter_says(client, lookup, delivered):
    """The MX record comes from DNS whatever smtp_host_lookup says; that is for addresses."""
    s = Server()
    peers = two_sources({("d.test", MX): [mx(10, "m.test")]}, {("m.test", A): [ip("127.0.0.1")]})
    r = client(peers=peers, inet_protocols="ipv4", smtp_host_lookup=lookup).deliver("d.test:%d" % s.port)
    assert (r[0][0] == PASSED) == delivered, r


def test_hosts_found_in_dns_are_not_looked_up_elsewhere(client):
    s = Server()
    asked = []
    peers = two_sources({("s.test", A): [ip("127.0.0.1")]}, {})
    both = peers["resolver"]
    peers["resolver"] = lambda kind, body: (asked.append(body[-1]), both(kind, body))[1]
    r = client(peers=peers, inet_protocols="all", smtp_host_lookup="dns, native").deliver("[s.test]:%d" % s.port)
    assert r[0][0] == PASSED and len(asked) == 2 and not any(asked)


def test_attributes_of_policies_that_are_for_reports(client, tls):
    """What plug-ins for MTA-STS add (TLSRPT_README) does no harm."""
    s = Server(keywords=TLS, tls=tls[0])
    value = ("secure match=fake.example servername=hostname policy_type=sts policy_domain=d.test policy_ttl=9 mx_host_pattern=*.d.test enable_rpk=no "
             "{ policy_string = version: STSv1 } { policy_string = mode: enforce } policy_failure=sts-webpki-invalid")
    c = client(smtp_tls_CAfile=tls[1], smtp_tls_enforce_sts_mx_patterns="no", smtp_tls_policy_maps="inline:{ {[127.0.0.1]:%d = %s} }" % (s.port, value))
    assert c.deliver(at(s))[0][0] == PASSED, c.log()
    assert "Verified TLS connection established" in c.log()


@pytest.mark.parametrize("program,key,hop,found", [
    ("smtp", "s.test", "s.test:{port}", False), ("smtp", "s.test:{port}", "s.test:{port}", True), ("smtp", ".test", "s.test:{port}", False), ("smtp", "s.test", "[s.test]:{port}", False),
    ("lmtp", "[s.test]:{port}", "inet:[s.test]:{port}", True), ("lmtp", "inet:[s.test]:{port}", "inet:[s.test]:{port}", False)])
def test_key_of_the_policy_table(client, program, key, hop, found):
    """The next hop as a table of transports writes it, without the type of socket, and nothing else when there are brackets or a port. The server
    offers no TLS: what is required fails."""
    s = Server(lmtp=program == "lmtp")
    c = client(program, peers=dns({("s.test", A): [ip("127.0.0.1")]}), inet_protocols="ipv4",
               **{f"{program}_tls_policy_maps": "inline:{ {%s=encrypt} }" % key.format(port=s.port)})
    r = c.deliver(hop.format(port=s.port))
    assert (r[0][0] == DEFERRED) == found, c.log()


def other_address():
    """An address of this host that is no loopback one, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        own = s.getsockname()[0]
    return None if own.startswith("127.") else own


@pytest.mark.skipif(other_address() is None, reason="no address but loopback")
@pytest.mark.parametrize("settings,own", [({"inet_interfaces": "{own}"}, True), ({"inet_interfaces": "[{own}] 127.0.0.1"}, False), ({"inet_interfaces": "127.0.0.1"}, False),
                                          ({"inet_interfaces": "{own}", "smtp_bind_address": "0.0.0.0"}, False), ({"inet_interfaces": "{own}", "smtp_bind_address": "[127.0.0.1]"}, False)])
def test_source_address_of_a_virtual_host(client, settings, own):
    """inet_interfaces with one address of a family, that is no loopback one: mail leaves from there, unless smtp_bind_address says otherwise."""
    came_from = []

    def hello(server, conn, line):
        came_from.append(conn.getpeername()[0])
        return "250-fake.example\r\n250 PIPELINING"
    s = Server(EHLO=hello)
    c = client(**{k: v.format(own=other_address()) for k, v in settings.items()})
    assert c.deliver(at(s))[0][0] == RELAYED, c.log()
    assert came_from == [other_address() if own else "127.0.0.1"]


@pytest.mark.parametrize("program", ["smtp", "lmtp"])
@pytest.mark.parametrize("level,name,used", [("may", "ciphers", True), ("may", "mandatory_ciphers", False), ("encrypt", "ciphers", False), ("encrypt", "mandatory_ciphers", True)])
def test_grade_of_ciphers(client, tls, program, level, name, used):
    s = Server(keywords=TLS, tls=tls[0], lmtp=program == "lmtp")
    c = client(program, tls_high_cipherlist="ECDHE+AES128", **{f"{program}_tls_{k}": v for k, v in {
        "security_level": level, "protocols": "TLSv1.2", "mandatory_protocols": "TLSv1.2", "loglevel": "1", name: "high"}.items()})
    assert c.deliver(at(s))[0][0] == PASSED, c.log()
    assert ("with cipher ECDHE-RSA-AES128" in c.log()) == used
