"""maillog_file and its kin beside Debian's Postfix: what postlog(1) writes where, and what "postfix logrotate" does to the file, with both systems down."""
import gzip
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from instance import BIN, SBIN, make_users, scratch

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="needs root and Debian's postfix")
# name: settings. "{b}" is the directory in which all of it is.
WRITTEN = {
    "file": {}, "prefix": {"maillog_file_prefixes": "/var {b}/x"}, "slash": {"maillog_file_prefixes": "{b}/"}, "part": {"maillog_file": "{b}/mail.log", "maillog_file_prefixes": "{b}/mail"},
    "itself": {"maillog_file_prefixes": "{b}/log"}, "several": {"maillog_file_prefixes": "/nowhere, {b}"}, "none": {"maillog_file_prefixes": ""}, "root": {"maillog_file_prefixes": "/"},
    "name": {"maillog_file": "$place/log", "place": "{b}"}, "prefixname": {"maillog_file_prefixes": "$place", "place": "{b}"}, "directory": {"maillog_file": "{b}"},
    "nodirectory": {"maillog_file": "{b}/no/log"}, "relative": {"maillog_file": "log"}, "syslogname": {"syslog_name": "other/name"},
}
ROTATED = {
    "usual": {}, "suffix": {"maillog_file_rotate_suffix": "old"}, "year": {"maillog_file_rotate_suffix": "%Y-%%-%m"}, "emptysuffix": {"maillog_file_rotate_suffix": ""},
    "othercompressor": {"maillog_file_compressor": "/bin/true"}, "failing": {"maillog_file_compressor": "/bin/false"}, "nocompressor": {"maillog_file_compressor": ""},
    "unknowncompressor": {"maillog_file_compressor": "/no/such/program"}, "options": {"maillog_file_compressor": "gzip -9"}, "nofile": {"maillog_file": ""},
    "device": {"maillog_file": "/dev/stdout", "maillog_file_prefixes": "/dev/stdout"}, "elsewhere": {"maillog_file_prefixes": "/var"},
    "nodirectory": {"maillog_file": "{b}/no/log"}, "suffixdirectory": {"maillog_file_rotate_suffix": "no/x"},
}


def set_up(base, theirs, settings):
    b = os.path.join(base, "theirs" if theirs else "ours")
    for d in ("etc", "queue/pid", "data"):
        os.makedirs(os.path.join(b, d))
    main = {"compatibility_level": "3.6", "myhostname": "mail.example.test", "queue_directory": "{b}/queue", "data_directory": "{b}/data", "maillog_file": "{b}/log", "maillog_file_prefixes": "{b}",
            **({} if theirs else {"daemon_directory": SBIN, "command_directory": BIN}), **settings}
    with open(os.path.join(b, "etc/main.cf"), "w", encoding="ascii") as f:
        f.write("".join(f"{k} = {v}\n" for k, v in main.items()).replace("{b}", b))
    with open(os.path.join(b, "etc/master.cf"), "w", encoding="ascii") as f:
        f.write("postlog unix-dgram n - n - 1 postlogd\n")
    peer.settle(os.path.join(b, "etc/main.cf"))
    return b


def run(b, theirs, command, *args):
    path = os.path.join("/usr/sbin" if theirs else BIN, command)
    return subprocess.run([path, "-c", os.path.join(b, "etc"), *args], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(peer.QUICK if theirs else {})}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False, timeout=90)


def files(b):
    """Name, mode and lines of all files that are no settings; names and lines without what tells the time and the process. The mode of a file that the
    command made is newer than Debian's; what it says of itself is not compared."""
    out = {}
    for top, _, names in os.walk(b):
        for name in names:
            path = os.path.join(top, name)
            if os.path.relpath(path, b).split("/")[0] not in ("etc", "queue"):
                with (gzip.open if name.endswith(".gz") else open)(path, "rt", encoding="utf-8") as f:
                    lines = [re.sub(r"^\w{3} [ \d]\d [\d:]{8} |\[\d+\]", "", l) for l in f.read().splitlines()]
                lines = [l for l in lines if not re.search(" postfix(/postfix-script)?: ", l)]
                if lines:
                    out[re.sub(r"\d{8}-\d{6}", "TIME", os.path.relpath(path, b))] = os.stat(path).st_mode & 0o777 if lines == ["a line"] else None, lines
    return out


def written(base, theirs, name):
    b = set_up(os.path.join(base, "w-" + name), theirs, WRITTEN[name])
    p = run(b, theirs, "postlog", "-t", "tag", "hello there")
    return p.returncode, files(b)


def rotated(base, theirs, name):
    b = set_up(os.path.join(base, "r-" + name), theirs, ROTATED[name])
    with open(os.path.join(b, "log"), "w", encoding="ascii") as f:
        f.write("a line\n")
    os.chmod(os.path.join(b, "log"), 0o640)
    p = run(b, theirs, "postfix", "logrotate")
    return p.returncode, files(b)


@pytest.fixture(scope="module")
def both():
    make_users()
    base = scratch("postern-maillog.")
    with ThreadPoolExecutor(4) as pool:
        calls = {(f, name, theirs): pool.submit(f, base, theirs, name) for f, names in ((written, WRITTEN), (rotated, ROTATED)) for name in names for theirs in (False, True)}
        yield {key: call.result() for key, call in calls.items()}
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("name", WRITTEN)
def test_same_line_in_the_same_file(both, name):
    """When it cannot be written, Debian's ends with 1; here the line goes to syslog."""
    ours, theirs = both[(written, name, False)], both[(written, name, True)]
    assert ours[1] == theirs[1] and ours[0] == 0 and (theirs[0] == 0) == bool(ours[1])


@pytest.mark.parametrize("name", ROTATED)
def test_same_rotation(both, name):
    assert both[(rotated, name, False)] == both[(rotated, name, True)]
