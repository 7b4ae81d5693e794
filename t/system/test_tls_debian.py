"""TLS of smtpd(8) and smtp(8) beside Debian's Postfix: what is negotiated with peers of all ages, which certificates are trusted, and
what the log says of it at each level, line by line."""
import hashlib
import os
import re
import ssl
import subprocess
import warnings

import pytest

from beside import NEEDS, Beside, Talk, differences, log_differences
from fakesmtp import context
from instance import make_certificates
from test_smtp_client_debian import TLS, case, run_ours, run_theirs

pytestmark = NEEDS
warnings.filterwarnings("ignore", "ssl.TLSVersion", DeprecationWarning)

MAIN = {"myhostname": "mail.example.test", "mydestination": "localhost", "compatibility_level": "3.6", "alias_maps": "", "local_recipient_maps": "", "mail_name": "Postfix",
        "import_environment": "SSL_CERT_FILE=<certs>/ca.pem MAIL_CONFIG",  # the authorities of the system, for tls_append_default_CA
        "smtpd_peername_lookup": "no", "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": "<certs>/cert.pem", "smtpd_tls_key_file": "<certs>/key.pem"}
ASK = {"smtpd_tls_ask_ccert": "yes", "smtpd_tls_CAfile": "<certs>/ca.pem"}
OTHERS = {"smtpd_tls_ask_ccert": "yes", "smtpd_tls_CAfile": "<certs>/strange/ca.pem"}
NONE = {"smtpd_tls_cert_file": "none", "smtpd_tls_key_file": ""}
ANON, OLD = "aNULL:@SECLEVEL=0", "ALL:@SECLEVEL=0"
TWO = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
V10, V11, V12, V13 = (dict(version=v) for v in ("TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"))


def hello(**kw):
    return ["EHLO c.test", "STARTTLS", ("tls", kw), "NOOP"]


def said(level, **settings):
    return {"smtpd_tls_loglevel": str(level), **settings}


# name: (settings, dialogues)
CASES = {
    "level0": (said(0), [hello()]),
    "level1": (said(1), [hello(), hello(**V12)]),
    "level2": (said(2), [hello(), hello(**V12), hello(ciphers="DHE-RSA-AES128-SHA", **V12), ["EHLO c.test", "STARTTLS", ("raw", b"garbage\r\n\r\n")]]),
    "certificates": (said(2, **ASK), [hello(cert="", **V12), hello(cert="strange/", **V12), hello(**V12), hello(cert="")]),
    "old": (said(1), [hello(ciphers=OLD, **V10), hello(ciphers=OLD, **V11)]),
    "oldmust": (said(1, smtpd_tls_security_level="encrypt"), [hello(ciphers=OLD, **V10), hello(ciphers=ANON, **V12)]),
    "anonymous": (said(1), [hello(ciphers=ANON, **V12)]),
    "anonymousnot": (said(1, **ASK), [hello(ciphers=ANON, **V12)]),
    "anonymousout": (said(1, smtpd_tls_security_level="encrypt", smtpd_tls_mandatory_exclude_ciphers="aNULL"), [hello(ciphers=ANON, **V12)]),
    "null": (said(2, smtpd_tls_ciphers="null"), [hello(ciphers="eNULL:@SECLEVEL=0", **V12)]),
    "exclude": (said(2, smtpd_tls_exclude_ciphers="aNULL:AES256,, MD5 DES+MD5"), [hello(**V12)]),
    "excludeask": (said(2, smtpd_tls_exclude_ciphers="AES256", **ASK), [hello(**V12)]),
    "preempt": (said(1, tls_preempt_cipherlist="yes"), [hello(ciphers=TWO, **V12)]),
    "preemptnot": (said(1), [hello(ciphers=TWO, **V12)]),
    "medium": (said(2, tls_medium_cipherlist="ECDHE-ECDSA-AES128-GCM-SHA256:!aNULL"), [hello(**V12)]),
    "high": (said(2, smtpd_tls_ciphers="high", tls_high_cipherlist="ECDHE-ECDSA-AES256-GCM-SHA384"), [hello(**V12)]),
    "curve": (said(1, tls_eecdh_auto_curves="nosuch, prime256v1"), [hello()]),
    "some": (said(1, smtpd_tls_protocols="TLSv1.1 TLSv1.2"), [hello(ciphers=OLD, **V10), hello(ciphers=OLD, **V11), hello(**V13), hello()]),
    "numbers": (said(1, smtpd_tls_protocols=">=0303 <=0x303"), [hello(ciphers=OLD, **V11), hello(**V13), hello()]),
    "without": (said(1, smtpd_tls_protocols="!sslv2:!TLSv1.3"), [hello(**V13), hello()]),
    "all": (said(1, smtpd_tls_protocols=""), [hello(ciphers=OLD, **V10), hello()]),
    "tickets": (said(2, tls_ssl_options="NO_TICKET"), [hello(**V12)]),
    "noticketcipher": (said(2, tls_session_ticket_cipher=""), [hello(**V12)]),
    "system": (said(1, tls_append_default_CA="yes", **OTHERS), [hello(cert="", **V12), hello(cert="strange/", **V12)]),
    "systemnot": (said(1, **OTHERS), [hello(cert="", **V12), hello(cert="strange/", **V12)]),
    "systemalone": (said(1, tls_append_default_CA="yes", smtpd_tls_ask_ccert="yes"), [hello(cert="", **V12)]),
    "none": (said(1, **NONE), [hello(ciphers=ANON, **V12), hello()]),
    "nonebelow": (said(1, smtpd_tls_protocols="!TLSv1.3", **NONE), [hello(ciphers=ANON, **V12), hello()]),
    "noneask": (said(1, **ASK, **NONE), [["EHLO c.test", "STARTTLS", "NOOP"]]),
    "empty": (said(1, smtpd_tls_cert_file="", smtpd_tls_key_file=""), [["EHLO c.test", "STARTTLS", "NOOP"]]),
    "missing": (said(1, smtpd_tls_cert_file="/nonexistent"), [["EHLO c.test", "STARTTLS", "NOOP"]]),
    "require": (said(1, smtpd_tls_req_ccert="yes"), [hello()]),
    "other": (said(1, smtpd_tls_cert_file="<certs>/strange/cert.pem", smtpd_tls_key_file="<certs>/strange/key.pem"), [hello()]),
    "chain": (said(1, smtpd_tls_chain_files="<certs>/strange/chain.pem"), [hello()]),
    "noworkarounds": (said(1, tls_disable_workarounds="0xFFFFFFFF"), [hello(), hello(ciphers=OLD, **V10)]),
    "must": (said(1, smtpd_tls_security_level="encrypt"), [["EHLO c.test", "MAIL FROM:<a@b.test>"], ["MAIL FROM:<a@b.test>"]]),
    "depth": (said(1, smtpd_tls_ccert_verifydepth="0", **ASK), [hello(cert="", **V12)]),
}


class Client(Talk):
    certs = None

    def tls(self, version=None, ciphers=None, cert=None):
        c = ssl.create_default_context()
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
        if ciphers:
            c.set_ciphers(ciphers)
        if version:
            c.minimum_version = c.maximum_version = getattr(ssl.TLSVersion, version)
        if cert is not None:
            c.load_cert_chain(f"{self.certs}/{cert}cert.pem", f"{self.certs}/{cert}key.pem")
        self.s = c.wrap_socket(self.s)

    def say(self, what):
        if not (isinstance(what, tuple) and what[0] == "tls"):
            return super().say(what)
        try:
            self.tls(**what[1])
        except OSError as e:
            return f"<no TLS: {getattr(e, 'reason', None)}>"
        return f"<{self.s.version()} {self.s.cipher()[0]} {hashlib.sha256(self.s.getpeercert(True) or b'').hexdigest()}>"


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    d = str(tmp_path_factory.mktemp("certs"))
    for part in (d, os.path.dirname(d), os.path.dirname(os.path.dirname(d))):
        os.chmod(part, 0o755)
    make_certificates(d)
    make_certificates(d + "/strange")
    join(d + "/strange", "chain.pem", "key.pem", "cert.pem")
    Client.certs = d
    return d


def put(settings, certs):
    return {k: v.replace("<certs>", certs) for k, v in settings.items()}


@pytest.fixture(scope="module")
def world(certs):
    services = {**{n: o for n, (o, _) in CASES.items()}, **{f"bytes{n}": said(n) for n in (2, 3, 4)}}
    with Beside(put(MAIN, certs), {n: put(o, certs) for n, o in services.items()}, talk=Client) as b:
        yield b


def plain(lines):
    """What a process says once, of itself, comes when it starts."""
    return [re.sub(r"key expiration: \d+", "key expiration: N", l) for l in lines if l != "initializing the server-side TLS engine"]


@pytest.mark.parametrize("name", list(CASES))
def test_server(world, name):
    """Where there is no certificate, ours does not offer what it cannot do."""
    wrong = []
    for d in CASES[name][1]:
        (theirs, their_log), (ours, our_log) = world.run(name, d)
        wrong += differences(name, d, theirs, ours, known=lambda k, y: k == 1 and name in ("noneask", "empty"))
        wrong += log_differences(name, plain(their_log), plain(our_log))
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("line", ["Need a server cert to request client certs", "No server certs available. TLS won't be enabled", "Can't require client certs unless TLS is required"])
def test_said_at_the_start(world, line):
    for side in world.sides:
        assert f"]: warning: {line}\n" in side.mta.log()


@pytest.mark.parametrize("level, dumped", [(2, False), (3, True), (4, True)])
def test_bytes_in_the_log(world, level, dumped):
    """Levels 3 and 4: what is on the wire, and so no word of the session."""
    ours = world.sides[1]
    _, lines = ours.run(f"bytes{level}", hello(**V12) + ["NOOP"] * 3)
    rows = [l for l in lines if re.fullmatch(r"[0-9a-f]{4}( |\|)[0-9a-f]{2}.*", l)]
    after = lines[next(i for i, l in enumerate(lines) if "TLS connection established" in l):]
    assert bool(rows) == dumped and any(l.startswith("read from unknown[127.0.0.1] (") for l in lines) == dumped
    assert any(l.startswith("write to ") for l in after) == (level == 4)
    assert not any("250 2.0.0" in l or "NOOP" in l for l in rows)


# ---- the client ----

MAY, MUST, SECURE = ({"tls_security_level": level} for level in ("may", "encrypt", "secure"))


def server(kind, *conf, **more):
    """A server with the context of that name, see contexts()."""
    return case({"keywords": TLS, "tls": kind}, conf={k: v for c in (*conf, more) for k, v in c.items()})


def policy(value, **more):
    return server("plain", MAY, {"tls_CAfile": ""}, tls_policy_maps="inline:{{[127.0.0.1]:{port} = %s}}" % value, **more)


def trusting(kind, name, match="fake.example", level="secure"):
    return server(kind, tls_security_level=level, tls_trust_anchor_file=f"<dir>/{name}", tls_CAfile="", tls_secure_cert_match=match, tls_verify_cert_match=match)


CLIENT = {
    "curve": server("curve", MAY),
    "old": server("old", MAY),
    "oldmust": server("old", MUST),
    "oldsecure": server("old", SECURE, tls_secure_cert_match="fake.example"),
    "anonymous": server("anonymous", MAY),
    "anonymousmust": server("anonymous", MUST, tls_mandatory_exclude_ciphers="aNULL"),
    "anonymoussecure": server("anonymous", SECURE, tls_secure_cert_match="fake.example"),
    "null": server("anonymous", MAY, tls_ciphers="null"),
    "level2": server("plain", MAY, tls_loglevel="2"),
    "level2old": server("old", MAY, tls_loglevel="2"),
    "level2secure": server("plain", SECURE, tls_secure_cert_match="fake.example", tls_loglevel="2", tls_exclude_ciphers="MD5:DES", tls_mandatory_exclude_ciphers="RC4"),
    "level2anonymous": server("anonymous", MAY, tls_loglevel="2"),
    "print": policy("fingerprint match=<colons>"),
    "printplain": policy("fingerprint match=<print>"),
    "printupper": policy("fingerprint match=<PRINT>"),
    "printmixed": policy("fingerprint match=<mixed>"),
    "printsome": policy("fingerprint match=" + "11" * 32 + "|<print>"),
    "printtwice": policy("fingerprint match=" + "11" * 32 + " match=<colons>"),
    "printwrong": policy("fingerprint match=" + "11" * 32),
    "printlist": server("plain", {"tls_CAfile": ""}, tls_security_level="fingerprint", tls_fingerprint_cert_match="11" * 32 + ", <print>"),
    "tafile": policy("verify match=fake.example tafile=<dir>/cert.pem"),
    "tafilesecure": policy("secure match=fake.example tafile=<dir>/cert.pem"),
    "tafileother": policy("secure match=fake.example tafile=<dir>/R.pem"),
    "tafiletwo": policy("secure match=fake.example tafile=<dir>/R.pem tafile=<dir>/cert.pem"),
    "tafilename": policy("verify match=other.example tafile=<dir>/cert.pem"),
    "tafileonly": policy("verify match=fake.example tafile=<dir>/R.pem", tls_trust_anchor_file="<dir>/R.pem"),
    "tafilemay": policy("may tafile=<dir>/cert.pem"),
    "tafileencrypt": policy("encrypt tafile=<dir>/cert.pem"),
    "tafileprint": policy("fingerprint match=<print> tafile=<dir>/cert.pem"),
}
# Each anchor against each chain that a server may send: R signed I, I signed L and E (which has expired), S and N signed themselves.
for chain, anchors in {"LI": "R.pem I.pem L.pem R.pub I.pub L.pub RI.pem S.pem", "LIR": "R.pem I.pem L.pem R.pub I.pub L.pub", "L": "R.pem I.pem L.pem R.pub I.pub L.pub RI.pem",
                       "S": "S.pem S.pub R.pem", "N": "N.pem N.pub", "EI": "R.pem E.pem E.pub"}.items():
    for one in anchors.split():
        CLIENT[f"trust{chain}{one.replace('.', '')}".lower()] = trusting(chain, one)
CLIENT.update({f"trustname{one.replace('.', '')}".lower(): trusting("LI", one, "other.example") for one in ("R.pem", "I.pub", "L.pem", "L.pub")})
CLIENT["trustverify"], CLIENT["trustencrypt"], CLIENT["trusttwo"] = trusting("LI", "R.pem", level="verify"), trusting("LI", "R.pem", level="encrypt"), trusting("LI", "S.pem, <dir>/R.pem")
SOME_DEPTHS = ("level2secure",)  # where a chain ends that is not trusted, theirs is told more often than once


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def make_chains(d):
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    leaf, ca = d + "/leaf.ext", d + "/ca.ext"
    for name, text in ((leaf, "subjectAltName=DNS:fake.example\n"), (ca, "basicConstraints=critical,CA:true\nkeyUsage=keyCertSign,cRLSign\n")):
        with open(name, "w", encoding="ascii") as f:
            f.write(text)
    own = ("-addext", "subjectAltName=DNS:fake.example")
    for name, more in (("R", ()), ("S", own), ("N", (*own, "-addext", "basicConstraints=critical,CA:false"))):
        openssl("req", "-x509", *key, "-keyout", f"{d}/{name}.key", "-out", f"{d}/{name}.pem", "-subj", f"/CN={name}", "-days", "3", *more)
    for name, by, ext, days in (("I", "R", ca, "3"), ("L", "I", leaf, "3"), ("E", "I", leaf, "-1")):
        openssl("req", *key, "-keyout", f"{d}/{name}.key", "-out", f"{d}/{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{d}/{name}.csr", "-CA", f"{d}/{by}.pem", "-CAkey", f"{d}/{by}.key", "-CAcreateserial", "-days", days, "-extfile", ext, "-out", f"{d}/{name}.pem")
    for name in "RSNILE":
        openssl("x509", "-in", f"{d}/{name}.pem", "-noout", "-pubkey", "-out", f"{d}/{name}.pub")
    join(d, "RI.pem", "R.pem", "I.pub")


def join(d, to, *parts):
    with open(f"{d}/{to}", "w", encoding="ascii") as f:
        for p in parts:
            with open(f"{d}/{p}", encoding="ascii") as g:
                f.write(g.read())


def contexts(d, plain):
    def own(ciphers=None, version=None, curve=None):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(d + "/cert.pem", d + "/key.pem")
        if ciphers:
            c.set_ciphers(ciphers)
            c.minimum_version = c.maximum_version = version
        if curve:
            c.set_ecdh_curve(curve)
        return c

    def chain(names):
        join(d, names + ".chain", *(n + ".pem" for n in names))
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(f"{d}/{names}.chain", f"{d}/{names[0]}.key")
        return c
    return {"plain": plain, "curve": own(curve="prime256v1"), "old": own(OLD, ssl.TLSVersion.TLSv1), "anonymous": own("aNULL:eNULL:@SECLEVEL=0", ssl.TLSVersion.TLSv1_2),
            **{names: chain(names) for names in ("LI", "LIR", "L", "S", "N", "EI")}}


@pytest.fixture(scope="module")
def clients(certs, tmp_path_factory):
    d = certs + "/client"
    os.mkdir(d)
    tls = context(d)
    make_chains(d)
    kinds = contexts(d, tls[0])
    with open(tls[1], encoding="ascii") as f:
        print_ = subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=ssl.PEM_cert_to_DER_cert(f.read()), capture_output=True, check=True).stdout.decode()[:64]
    colons = ":".join(re.findall("..", print_))
    words = {"<dir>": d, "<print>": print_, "<PRINT>": print_.upper(), "<colons>": colons, "<mixed>": colons[:6] + colons[6:].replace(":", "")}

    def filled(v):
        for a, b in words.items():
            v = v.replace(a, b)
        return v
    cases = {n: {**c, "servers": tuple({**s, "tls": kinds[s["tls"]]} for s in c["servers"]), "conf": {k: filled(v) for k, v in {"tls_fingerprint_digest": "sha256", **c["conf"]}.items()}}
             for n, c in CLIENT.items()}
    return run_theirs(tls, cases), run_ours(tls, cases, str(tmp_path_factory.mktemp("ours")))


@pytest.mark.parametrize("name", list(CLIENT))
def test_client(clients, name):
    theirs, ours = ([l for l in side[1][name] if name not in SOME_DEPTHS or ": depth=" not in l] for side in clients)
    assert ours == theirs
    assert clients[1][0][name].dialogue() == clients[0][0][name].dialogue()
