"""A table that local(8), virtual(8) or pipe(8) could not open is tried again while the suite runs: mail waits until it is there, and nobody reloads."""
import os
import re
import shutil
import time

import pytest

from instance import Instance, scratch, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="pipe(8) and virtual(8) run as other users")
TABLES = {"uids": "@virtual.test {uid}\n", "aliases": "team kim@virtual.test\n", "filter": "/^2/ 2.7.9 through the filter\n"}
MAIL = {"virtual": "kim@virtual.test", "local": "team@localhost", "pipe": "any@far.test"}


@pytest.fixture(scope="module")
def world():
    base = scratch("postern-again-")
    inst = Instance(os.path.join(base, "i"), listen=(), master=["filter unix - n n - - pipe\n  user=nobody argv=/bin/true"], main={
        "mydestination": "localhost", "default_transport": "filter:x", "virtual_mailbox_domains": "virtual.test",
        "virtual_mailbox_maps": "inline:{kim@virtual.test=kim/}", "virtual_uid_maps": f"texthash:{base}/uids",
        "alias_maps": f"texthash:{base}/aliases", "alias_database": "", "pipe_delivery_status_filter": f"pcre:{base}/filter"})
    inst.main.update({"virtual_mailbox_base": inst.mail, "virtual_gid_maps": f"static:{inst.gid}", "virtual_minimum_uid": "1"})
    inst.base = base
    inst.start()
    yield inst
    inst.stop()
    shutil.rmtree(base, ignore_errors=True)


def send(inst, rcpt):
    r = inst.command("sendmail", "-i", "-f", "s@example.test", rcpt, input=b"Subject: x\n\nx\n")
    assert r.returncode == 0, r.stderr


def last(inst, rcpt):
    """The latest status of a recipient: (how often it was tried, status, text)."""
    tries = re.findall(rf"(?:orig_)?to=<{re.escape(rcpt)}>.*dsn=([\d.]+), status=(\w+) \((.*)\)", inst.log())
    return (len(tries), *tries[-1]) if tries else (0, "", "", "")


def test_tried_again(world):
    for rcpt in MAIL.values():
        send(world, rcpt)
    for rcpt in (MAIL["virtual"], MAIL["local"]):
        assert until(lambda: last(world, rcpt)[2] == "deferred"), world.log()
    assert until(lambda: last(world, MAIL["pipe"])[2] != ""), world.log()
    for daemon in MAIL:
        assert until(lambda: re.search(rf"/{daemon}\[\d+\]: table \S+ could not be opened -- restarting to try again", world.log())), world.log()
    for name, text in TABLES.items():
        path = os.path.join(world.base, name)
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write(text.format(uid=world.uid))
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)

    def delivered():
        """A process that was started before the tables were there may still answer: it gives way in its turn."""
        assert world.command("postqueue", "-f").returncode == 0
        time.sleep(0.5)
        return all(last(world, MAIL[d])[2] == "sent" for d in ("virtual", "local"))
    assert until(delivered), world.log()

    def filtered():
        send(world, MAIL["pipe"])
        n = last(world, MAIL["pipe"])[0]
        assert until(lambda: last(world, MAIL["pipe"])[0] > n)
        return last(world, MAIL["pipe"])[1:] == ("2.7.9", "sent", "through the filter")
    assert until(filtered), world.log()
    assert "sandbox: denied" not in world.log()
