"""What a number, a time and a yes or no of main.cf may look like (postconf(5)): a setting with which Debian's postlog(1) ends with an error is refused by
"postfix check", and none that it takes is; an empty one is warned of here."""
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from instance import BIN, SBIN, make_users, scratch

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="needs root and Debian's postfix")
NAMES = ["ipc_timeout", "fork_attempts", "helpful_warnings"]  # all programs of Postfix read them
EMPTY = ["", " ", "$nosuch", "${nosuch?x}"]
VALUES = ["0", "-1", "5", "05", "5s", "5m", "5x", "5 s", "5S", "5w", "5days", "5min", "30sec", "2hours", "1hour", "1d12h", "5mo", "5s5", "5d,", "5d.", "5 d", "d", "5D", "5-", "5%", "s5", "1.5", "0x10",
          "0days", "3600000h", "24856d", "2147483647", "2147483648", "99999999999999999999", "- 5", "+ 5", "++5", "$max_servers", "${max_servers}s", "$$", "yes", "Yes", "NO", "no", "true", "1", "y",
          "yes no", "5\ts"]


def taken(base, name, value, theirs):
    b = os.path.join(base, f"{name}-{VALUES.index(value) if value in VALUES else 'empty' + str(EMPTY.index(value))}", "theirs" if theirs else "ours")
    for d in ("etc", "queue/pid", "data"):
        os.makedirs(os.path.join(b, d))
    main = {"compatibility_level": "3.6", "myhostname": "mail.example.test", "queue_directory": f"{b}/queue", "data_directory": f"{b}/data", "maillog_file": f"{b}/log", "maillog_file_prefixes": b,
            **({} if theirs else {"daemon_directory": SBIN, "command_directory": BIN}), "max_servers": "7", name: value}
    with open(f"{b}/etc/main.cf", "w", encoding="ascii") as f:
        f.write("".join(f"{k} = {v}\n" for k, v in main.items()))
    with open(f"{b}/etc/master.cf", "w", encoding="ascii"):
        pass
    peer.settle(f"{b}/etc/main.cf")
    command = ["/usr/sbin/postlog", "-c", f"{b}/etc", "hello"] if theirs else [os.path.join(BIN, "postfix"), "-c", f"{b}/etc", "check"]
    return subprocess.run(command, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(peer.QUICK if theirs else {})}, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          timeout=90).returncode == 0


@pytest.fixture(scope="module")
def both():
    make_users()
    base = scratch("postern-values.")
    with ThreadPoolExecutor(4) as pool:
        calls = {(name, value, theirs): pool.submit(taken, base, name, value, theirs) for name in NAMES for value in VALUES + EMPTY for theirs in (False, True)}
        yield {key: call.result() for key, call in calls.items()}
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("name", NAMES)
def test_same_values_are_taken(both, name):
    assert [v for v in VALUES if both[(name, v, False)]] == [v for v in VALUES if both[(name, v, True)]]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_empty_is_the_default(both, name):
    assert all(both[(name, v, False)] and not both[(name, v, True)] for v in EMPTY)
