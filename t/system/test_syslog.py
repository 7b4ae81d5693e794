"""Without maillog_file lines go to /dev/log, where master and all that it starts have one that the test listens on: they stand as syslog(3) would send them, and a syslog daemon that was
started anew gets what comes then, also from processes that a sandbox keeps from connecting."""
import os
import re
import shutil
import smtplib
import socket
import subprocess

import pytest

from instance import Instance, scratch, until

DEVICES = "null zero full random urandom tty"
# /dev of its own: a few devices of the real one, and the name under test.
PRIVATE = """set -e; d=$1; shift
mount -t tmpfs none $d
for n in %s; do [ -e /dev/$n ] && touch $d/$n && mount --bind /dev/$n $d/$n; done
ln -s $d.log $d/log
mount --rbind $d /dev
exec "$@" """ % DEVICES


def may_unshare():
    return os.getuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not may_unshare(), reason="a mount namespace of its own is needed")


class Syslogd:
    def __init__(self, path):
        self.path, self.lines = path, []
        self.s = None
        self.start()

    def start(self):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.s.bind(self.path)
        os.chmod(self.path, 0o666)
        self.s.settimeout(0.05)

    def end(self):
        self.s.close()
        os.unlink(self.path)

    def has(self, pattern):
        try:
            while True:
                self.lines.append(self.s.recv(65536).decode())
        except TimeoutError:
            pass
        return any(re.search(pattern, l) for l in self.lines)


@pytest.fixture
def place():
    base = scratch("postern-syslog.")
    os.mkdir(os.path.join(base, "dev"))
    log = Syslogd(os.path.join(base, "dev.log"))
    inst = Instance(os.path.join(base, "i"), listen=("smtp",), main={"maillog_file": "", "syslog_facility": "local3", "mynetworks": "192.0.2.1"})
    inst.wrap = ["unshare", "-m", "--propagation", "private", "sh", "-c", PRIVATE, "sh", os.path.join(base, "dev")]
    inst.start()
    yield inst, log
    inst.stop()
    log.s.close()
    shutil.rmtree(base, ignore_errors=True)


def test_lines_and_a_new_daemon(place):
    inst, log = place
    with smtplib.SMTP(inst.host, inst.port["smtp"], timeout=30) as s:
        s.ehlo("one.example")
        assert until(lambda: log.has(r"^<158>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d postfix/smtpd\[\d+\]: connect from \S+\[127\.\S+\]$")), log.lines
        assert any(re.search(r"^<158>.{15} postfix/master\[\d+\]: daemon started -- version \S+, configuration \S+/etc$", l) for l in log.lines), log.lines
        log.end()
        assert s.mail("a@lost.example")[0] == 250 and s.rcpt("b@elsewhere.example")[0] == 554  # a line that nobody gets, and a socket is asked for
        log.start()
        log.lines.clear()

        def again():
            s.rset()
            s.mail("a@found.example")
            assert s.rcpt("c@elsewhere.example")[0] == 554
            return log.has(r"^<158>.{15} postfix/smtpd\[\d+\]: NOQUEUE: reject: RCPT from .*<c@elsewhere.example>")
        assert until(again, every=0.3), log.lines
        assert any(re.search(r"^<15[68]>.{15} postfix/smtpd\[\d+\]: warning: \d+ log lines dropped$", l) for l in log.lines), log.lines
