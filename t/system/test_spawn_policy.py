"""spawn(8) as the policy server of smtpd, and what is refused in its line."""
import os
import pwd
import smtplib
import socket

import pytest

from instance import Instance, free_ports

POLICY = """#!/bin/sh
while read -r line; do
  case "$line" in
  recipient=*) recipient=${line#recipient=};;
  "") case "$recipient" in no@*) echo "action=REJECT policy says $1 $(id -un)";; *) echo action=DUNNO;; esac; echo;;
  esac
done
"""
ECHO = "#!/bin/sh\nread -r line; echo \"$line $TZ $1\"; echo err >&2; case $line in slow) sleep 100;; bad) exit 3;; esac\n"
USER = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def inst(tmp_path_factory):
    base = tmp_path_factory.mktemp("spawn")
    for up in (base, base.parent, base.parent.parent):
        if os.stat(up).st_uid == os.getuid():
            os.chmod(up, 0o755)
    port = free_ports(1)[0]
    policy, echo = script(base / "policy.sh", POLICY), script(base / "echo.sh", ECHO)
    with Instance(str(base), master=[f"policy unix - n n - 0 spawn user={USER} argv={policy} {{a b}}",
                                     f"127.0.0.1:{port} inet n n n - 2 spawn\n  user={USER} argv={echo} x"],
                  main={"smtpd_recipient_restrictions": "check_policy_service unix:private/policy", "export_environment": "TZ=there"}) as i:
        i.port["echo"] = port
        yield i


def talk(sock, line):
    with sock as s:
        s.settimeout(60)
        s.sendall(line + b"\n")
        got = b""
        while chunk := s.recv(1000):
            got += chunk
    return got


def test_policy_server(inst):
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=60) as s:
        s.ehlo("client.test")
        s.mail("a@example.test")
        assert s.rcpt("postmaster@example.test")[0] == 250
        assert s.rcpt("no@example.test") == (554, f"5.7.1 <no@example.test>: Recipient address rejected: policy says a b {USER}".encode())


def test_connection_is_stdin_stdout_and_stderr(inst):
    def connect():
        return socket.create_connection(("127.0.0.1", inst.port["echo"]), 20)
    assert talk(connect(), b"hello") == b"hello there x\nerr\n"
    assert talk(connect(), b"bad") == b"bad there x\nerr\n"
    inst.wait_log(r"warning: command .*/echo\.sh exit status 3")


@pytest.mark.parametrize("line,why", [("argv=/bin/true", "missing user= command-line attribute"), ("user=root argv=/bin/true", "root privileges"),
                                      (f"user={USER}", "missing argv=")])
def test_wrong_attributes(tmp_path, line, why):
    if os.getuid() != 0 and "root" in line:
        pytest.skip("needs root")
    with Instance(str(tmp_path), listen=(), master=[f"bad unix n n n - 2 spawn {line}"]) as i:
        s = socket.socket(socket.AF_UNIX)
        i.wait_socket("public/bad")
        s.connect(os.path.join(i.queue, "public", "bad"))
        i.wait_log(f"fatal: .*{why}")
        s.close()
