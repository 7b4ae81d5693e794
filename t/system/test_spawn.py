"""spawn(8): a command per connection, as the user of its line; policy servers of the delegation protocol run so (SMTPD_POLICY_README)."""
import os
import pwd
import shutil
import smtplib
import socket
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from instance import Instance, free_ports, scratch  # noqa: E402

POLICY = """#!/bin/sh
while read -r line; do
	case $line in
	recipient=*) who=${line#recipient=};;
	"") echo "action=REJECT $who by $(id -un) in $ENVVAR"; echo;;
	esac
done
echo end >>"$OUT"
"""
ECHO = """#!/bin/sh
read -r first
[ "$first" = sleep ] && exec sleep 30
[ "$first" = fail ] && exit 3
cat
echo "$first $# $1 $(ls /proc/self/fd | wc -l)"
"""


@pytest.fixture(scope="module")
def inst():
    base = scratch("postern-spawn.")
    os.mkdir(os.path.join(base, "drop"))
    os.chmod(os.path.join(base, "drop"), 0o777)
    for name, text in (("policy", POLICY), ("echo", ECHO)):
        with open(os.path.join(base, name), "w") as f:
            f.write(text)
        os.chmod(os.path.join(base, name), 0o755)
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    (port,) = free_ports(1)
    i = Instance(os.path.join(base, "i"), master=[
        f"policy unix - n n - 0 spawn\n  user={user} argv={base}/policy", f"127.0.0.1:{port} inet n n n - 2 spawn\n  user={user} argv={base}/echo {{a b}}"],
        main={"inet_interfaces": "127.0.0.9", "smtpd_recipient_restrictions": "check_policy_service unix:private/policy", "command_time_limit": "3s",
              "export_environment": f"ENVVAR=here OUT={base}/drop/out"})
    i.user, i.echo, i.out = user, port, os.path.join(base, "drop", "out")
    i.start()
    yield i
    i.stop()
    shutil.rmtree(base, ignore_errors=True)


def talk(inst, data):
    with socket.create_connection(("127.0.0.1", inst.echo), 10) as s:
        s.settimeout(60)
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        got = b""
        while True:
            try:
                piece = s.recv(4096)
            except ConnectionResetError:
                piece = b""
            if not piece:
                return got
            got += piece


def test_policy_server(inst):
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=60) as c:
        c.ehlo("client.test")
        assert c.docmd("MAIL", "FROM:<s@sender.test>")[0] == 250
        for who in ("a@far.test", "b@far.test"):  # over one connection
            code, text = c.docmd("RCPT", "TO:<%s>" % who)
            assert code == 554 and (" %s by %s in here" % (who, inst.user)).encode() in text, text


def test_connection_is_the_commands_own(inst):
    """A client that says no more gets its answer; the command has no descriptor but the connection."""
    assert talk(inst, b"one\ntwo\nthree\n") == b"two\nthree\none 1 a b 4\n"


def test_limits_and_status(inst):
    assert talk(inst, b"fail\n") == b""
    inst.wait_log(r"spawn\[\d+\]: warning: command .*/echo exit status 3")
    assert talk(inst, b"sleep\n") == b""
    inst.wait_log(r"spawn\[\d+\]: warning: command time limit exceeded: .*/echo")
    assert talk(inst, b"x\n") == b"x 1 a b 4\n"


def test_attributes_of_pipe_are_refused(inst):
    """As Postfix's spawn(8): what it has no use for is no attribute, and the service does not start."""
    wrong = ["flags=DRhu", "eol=x", "size=1000", "null_sender=x", "chroot=/", "DRhu", "color=red"]
    ports = free_ports(len(wrong))
    with Instance(os.path.join(inst.base, "wrong"), listen=(), main={"inet_interfaces": "127.0.0.9"}, master=[
            f"127.0.0.1:{port} inet n n n - 2 spawn\n  {a} user={inst.user} argv=/bin/cat" for a, port in zip(wrong, ports)]) as i:
        for a, port in zip(wrong, ports):
            i.wait_port(port)
            i.wait_log(rf"spawn\[\d+\]: fatal: unknown attribute name: {a} ")
