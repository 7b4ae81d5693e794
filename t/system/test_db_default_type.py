"""Systems without Berkeley DB: default_database_type lmdb or cdb, and default_cache_db_type for what daemons write themselves (postconf(5)). The
defaults of alias_database and alias_maps, commands that are told no type, tables that change, caches, and a check that finds nothing."""
import os
import shutil
import smtplib
import time

import pytest

from fakesmtp import EHLO, Server
from instance import Instance, scratch


class World:
    def rcpt(self, address, message=False):
        with smtplib.SMTP(self.inst.host, self.inst.port["smtp"], timeout=60) as s:
            s.ehlo("h")
            s.mail("sender@far.test")
            code = s.rcpt(address)[0]
            if message and code == 250:
                code = s.data("Subject: x\r\n\r\nx\r\n")[0]
            return code

    def build(self, command, *args):
        r = self.inst.command(command, *args)
        assert (r.returncode, r.stderr) == (0, b""), r.stderr

    def dump(self, name):
        """The pairs of a file that daemons write."""
        return self.inst.command("postmap", "-s", f"{self.inst.main['default_cache_db_type']}:{self.inst.data}/{name}").stdout


@pytest.fixture(scope="module", params=["lmdb", "cdb"])
def world(request):
    w = World()
    w.base, w.kind = scratch("postern-type-"), request.param
    w.next_hop = Server(EHLO + ["AUTH PLAIN"], AUTH="235 2.7.0 ok", **{"RCPT TO:<bad@away.test>": "550 5.1.1 unknown"})
    etc = f"{w.base}/i/etc"
    w.inst = Instance(f"{w.base}/i", main={
        "default_database_type": w.kind, "default_cache_db_type": "lmdb", "myorigin": "localhost", "inet_interfaces": "127.0.0.9",
        "alias_database": f"$default_database_type:{etc}/aliases", "alias_maps": "$alias_database",
        "virtual_alias_domains": "virtual.test", "virtual_alias_maps": f"$default_database_type:{etc}/virtual",
        "local_recipient_maps": None, "relayhost": f"[127.0.0.1]:{w.next_hop.port}", "smtp_dns_support_level": "disabled",
        "smtpd_recipient_restrictions": "check_recipient_access $default_database_type:%s/access" % etc,
        "address_verify_map": None, "address_verify_poll_delay": "1s", "address_verify_poll_count": "20",
        "smtp_sasl_auth_enable": "yes", "smtp_sasl_security_options": "", "smtp_sasl_password_maps": f"$default_database_type:{etc}/passwords",
        "smtp_sasl_auth_cache_name": "proxy:$default_cache_db_type:$data_directory/logins", "smtp_sasl_auth_soft_bounce": "no"})
    w.inst.write_config()
    w.inst.write("aliases", "team: one@away.test\n")
    w.inst.write("virtual", "v@virtual.test two@away.test\n")
    w.inst.write("access", "away.test reject_unverified_recipient\n")
    w.inst.write("passwords", f"[127.0.0.1]:{w.next_hop.port} user:secret\n", 0o600)
    w.build("newaliases")
    for name in ("virtual", "access", "passwords"):
        w.build("postmap", f"{etc}/{name}")
    w.inst.start()
    yield w
    w.inst.stop()
    shutil.rmtree(w.base, ignore_errors=True)


def test_the_defaults(world):
    """Not what this instance sets, but what follows from the two types alone."""
    os.mkdir(f"{world.base}/plain")
    with open(f"{world.base}/plain/main.cf", "w", encoding="ascii") as f:
        f.write(f"compatibility_level = 3.6\ndefault_database_type = {world.kind}\ndefault_cache_db_type = lmdb\n")
    r = world.inst.command("postconf", "-c", f"{world.base}/plain", "-h", "-x", "alias_database", "alias_maps", "address_verify_map", "postscreen_cache_map")
    first = [line.split(":")[0] for line in r.stdout.decode().splitlines()]
    assert first == [world.kind, world.kind, "lmdb", "lmdb"], r


def test_built_without_a_type(world):
    etc = world.inst.config
    assert {f for f in os.listdir(etc) if f.endswith((".db", ".lmdb", ".cdb"))} == {f"{n}.{world.kind}" for n in ("aliases", "virtual", "access", "passwords")}
    assert world.inst.command("postmap", "-q", "v@virtual.test", f"{etc}/virtual").stdout == b"two@away.test\n"
    assert world.inst.command("postalias", "-q", "team", f"{etc}/aliases").stdout == b"one@away.test\n"
    world.build("sendmail", "-bi")


def went_to(world, address):
    before = len(world.next_hop.messages)
    assert world.rcpt(address, True) == 250
    end = time.monotonic() + 60
    while len(world.next_hop.messages) == before and time.monotonic() < end:
        time.sleep(0.05)
    return [l for l in world.next_hop.lines if l.startswith("RCPT")][-1]


def test_aliases_and_a_changed_table(world):
    assert "one@away.test" in went_to(world, "team@localhost")
    assert "two@away.test" in went_to(world, "v@virtual.test")
    assert world.rcpt("later@localhost") == 550
    world.inst.write("aliases", "team: three@away.test\nlater: three@away.test\n")
    world.inst.write("virtual", "v@virtual.test four@away.test\n")
    world.build("newaliases")
    world.build("postmap", f"{world.inst.config}/virtual")
    end = time.monotonic() + 60
    while world.rcpt("later@localhost") != 250 and time.monotonic() < end:
        time.sleep(0.1)
    assert "three@away.test" in went_to(world, "later@localhost")
    while "four@away.test" not in went_to(world, "v@virtual.test"):
        assert time.monotonic() < end


def test_caches_are_of_the_other_type(world):
    assert world.rcpt("good@away.test") == 250 and world.rcpt("bad@away.test") == 450
    world.next_hop.replies["AUTH"] = "535 5.7.8 no"
    assert world.rcpt("new@away.test") == 450
    world.inst.wait_log(r"to=<new@away.test>.*SASL authentication failed")
    end = time.monotonic() + 20
    while not (world.dump("verify_cache").count(b"\n") >= 3 and b"user" in world.dump("logins")):
        assert time.monotonic() < end, (world.dump("verify_cache"), world.dump("logins"), world.inst.log()[-3000:])
        time.sleep(0.1)
    assert {b"good@away.test", b"bad@away.test"} <= {line.split(b"\t")[0] for line in world.dump("verify_cache").splitlines()}
    assert {"logins.lmdb", "verify_cache.lmdb"} <= {f for f in os.listdir(world.inst.data) if f.endswith((".db", ".cdb", ".lmdb"))} <= {
        "logins.lmdb", "verify_cache.lmdb", "postscreen_cache.lmdb"}


def test_check_finds_nothing(world):
    r = world.inst.command("postern", "check")
    assert (r.returncode, r.stderr) == (0, b"")
    assert "sandbox: denied" not in world.inst.log() and "unapproved" not in world.inst.log() and ": fatal: " not in world.inst.log()
