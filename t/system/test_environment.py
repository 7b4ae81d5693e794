"""import_environment and export_environment (postconf(5)): names, NAME=value and { NAME = value }, for daemons, commands and what pipe(8) runs."""
import datetime
import os
import pwd
import re
import shutil
import zoneinfo

import pytest

from instance import Instance, scratch

SCRIPT = """#!/bin/sh
/usr/bin/env >$OUT
"""


@pytest.fixture(scope="module")
def inst():
    base = scratch("postern-environment.")
    with open(f"{base}/show", "w", encoding="ascii") as f:
        f.write(SCRIPT)
    os.chmod(f"{base}/show", 0o755)
    os.mkdir(f"{base}/out")
    os.chmod(f"{base}/out", 0o777)
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    i = Instance(f"{base}/i", listen=(), master=[f"show unix - n n - - pipe user={user} argv={base}/show"], main={
        "transport_maps": "inline:{ show.test=show: }", "import_environment": "MAIL_CONFIG NOT_THERE { TZ = Asia/Tokyo } LATER=1 LATER=2 { SPACED = a  b, c }",
        "export_environment": "TZ LATER SPACED NOT_THERE { OTHER = x = y } E1=1,E2=2 PATH=/usr/bin:/bin:/x " + f"OUT={base}/out/env"})
    i.start()
    i.wait_log("daemon started")
    i.out = f"{base}/out/env"
    yield i
    i.stop()
    shutil.rmtree(base, ignore_errors=True)


def test_commands_of_pipe(inst):
    assert inst.command("sendmail", "-f", "a@b.test", "x@show.test", input=b"Subject: x\n\nx\n").returncode == 0
    inst.wait_log("status=sent")
    with open(inst.out, encoding="ascii") as f:
        env = dict(l.rstrip("\n").split("=", 1) for l in f)
    for name in ("PWD", "_", "SHLVL", "OUT"):
        env.pop(name, None)
    assert env == {"TZ": "Asia/Tokyo", "LATER": "2", "SPACED": "a  b, c", "OTHER": "x = y", "E1": "1", "E2": "2", "PATH": "/usr/bin:/bin:/x"}


def test_time_of_the_log(inst):
    """Of master, its processes and commands alike: none of them has a TZ from who started it."""
    inst.command("postlog", "-t", "mine", "a line")
    inst.wait_log("a line")
    now = datetime.datetime.now(zoneinfo.ZoneInfo("Asia/Tokyo"))
    hours = {int(re.match(r"\w+ +\d+ (\d+):", l)[1]) for l in inst.log().splitlines()}
    assert hours <= {now.hour, (now.hour - 1) % 24}
