"""pipe(8): a command of master.cf gets the message with the flags' changes, its arguments by macros, no shell in between."""
import os
import pwd
import re
import shutil
import subprocess

import pytest

from instance import Instance

SCRIPT = """#!/bin/sh
{ for a in "$@"; do printf '[%s]\\n' "$a"; done; id -un; cat; printf END; } >>"$OUT"
case "$1" in temp*) echo later; exit 75;; gone*) exit 67;; slow*) sleep 100;; esac
"""


def instance(tmp_path, line, **main):
    for up in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        if os.stat(up).st_uid == os.getuid():
            os.chmod(up, 0o755)
    script = tmp_path / "script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    drop = tmp_path / "drop"
    drop.mkdir()
    drop.chmod(0o777)
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    return Instance(str(tmp_path), listen=(), master=[f"filter unix - n n - - pipe\n  user={user} " + line.format(script=script)],
                    main={"default_transport": "filter:Next.Hop", "export_environment": f"OUT={drop}/out", "filter_destination_recipient_limit": "10",
                          **main})


def send(inst, rcpts, body=b"hello\n", sender="Sender@Example.TEST", head=b""):
    inst.wait_socket("public/pickup")
    r = inst.command("sendmail", "-i", "-f", sender, *rcpts, input=b"Subject: test\n" + head + b"\n" + body)
    assert r.returncode == 0, r.stderr


def out(tmp_path):
    return (tmp_path / "drop" / "out").read_bytes()


def test_arguments(tmp_path):
    """An argument with the recipient in it is repeated; shell characters stay what they are; folding and quoting as flags say."""
    with instance(tmp_path, "flags=hqu argv={script} x $sender ${{recipient}} to=$user/$extension/$domain $nexthop size:$size $$ ${{client_address:none}}") as inst:
        send(inst, ['Kim+Ext@Far.TEST', '"a b;`id`"@far.test'])
        inst.wait_log(r"relay=filter, .*dsn=2\.0\.0, status=sent \(delivered via filter service\)", count=2)
        lines = out(tmp_path).decode().split("\n")
        args = [x[1:-1] for x in lines if x.startswith("[") and x.endswith("]")]
        assert args[:6] == ["x", "Sender@Example.TEST", "kim+ext@far.test", '"a b;`id`"@far.test', "to=kim/ext/far.test", "to=a b;`id`//far.test"]
        assert args[6] == "next.hop" and re.fullmatch(r"size:\d+", args[7]) and args[8] == "$" and args[9] == "none"
        assert ("nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name) in lines


def test_content_flags(tmp_path):
    """F R O D put lines in front, > quotes From_, . doubles dots, B appends an empty line, eol= sets the line end."""
    with instance(tmp_path, r"flags=FRODB>. eol=\r\n argv={script}", filter_destination_recipient_limit="1") as inst:
        send(inst, ["kim@far.test"], b"From me\n.dot\nFro\nlast\n")
        inst.wait_log(r"status=sent")
        text = out(tmp_path).split(b"\n", 1)[1]
        assert re.match(rb"From Sender@Example.TEST  .*\r\nReturn-Path: <Sender@Example.TEST>\r\nX-Original-To: kim@far.test\r\n"
                        rb"Delivered-To: kim@far.test\r\n", text)
        assert text.endswith(b"\r\n\r\n>From me\r\n..dot\r\nFro\r\nlast\r\n\r\nEND")


def test_status(tmp_path):
    """sysexits(3): 75 defers, 67 bounces with 5.1.1; a message beyond size= bounces with 5.2.3; the time limit defers."""
    with instance(tmp_path, "size=2000 argv={script} $user", pipe_delivery_status_filter="inline:{ {5.1.1 user unknown=5.1.6 gone for good} }", filter_time_limit="5s", filter_destination_recipient_limit="1") as inst:
        send(inst, ["temp@far.test"])
        inst.wait_log(r"dsn=4\.3\.0, status=deferred \(temporary failure\. Command output: later \)")
        send(inst, ["gone@far.test"], sender="")
        inst.wait_log(r"dsn=5\.1\.6, status=bounced \(gone for good\)")
        send(inst, ["big@far.test"], b"x\n" * 2000, sender="")
        inst.wait_log(r"dsn=5\.2\.3, status=bounced \(")
        send(inst, ["slow@far.test"], sender="")
        inst.wait_log(r"dsn=4\.3\.0, status=deferred \(Command time limit exceeded")
    assert out(tmp_path).count(b"[gone]") == 1


def test_loop(tmp_path):
    """Flag D detects what was here before (5.4.6)."""
    with instance(tmp_path, "flags=D argv={script}", filter_destination_recipient_limit="1") as inst:
        send(inst, ["kim@far.test"], sender="", head=b"Delivered-To: kim@far.test\n")
        inst.wait_log(r"dsn=5\.4\.6, status=bounced \(mail forwarding loop for kim@far\.test\)")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_chroot(tmp_path):
    """chroot=: the command sees that directory as /, and directory= is below it; it is still user= without groups of root."""
    jail = tmp_path / "jail"
    for d in ("bin", "spool"):
        (jail / d).mkdir(parents=True)
        os.chmod(jail / d, 0o777)
    os.chmod(jail, 0o755)
    files = {os.path.realpath("/bin/dash"): "/bin/sh"}
    for m in re.finditer(r"(/\S+) \(0x", subprocess.run(["ldd", "/bin/dash"], stdout=subprocess.PIPE, text=True, check=True).stdout):
        files[m.group(1)] = m.group(1)
    for src, dst in files.items():
        os.makedirs(os.path.dirname(f"{jail}{dst}"), exist_ok=True)
        shutil.copy(src, f"{jail}{dst}")
    (jail / "bin" / "take").write_text('#!/bin/sh\nread -r first\necho "$PWD $1 ${first%% *}" >/spool/out\n[ -e /etc/passwd ] && echo outside >>/spool/out\nexit 0\n')
    os.chmod(jail / "bin" / "take", 0o755)
    with instance(tmp_path, f"chroot={jail} directory=/spool argv=/bin/take $user") as inst:
        send(inst, ["kim@far.test"])
        inst.wait_log(r"status=sent \(delivered via filter service\)")
    assert (jail / "spool" / "out").read_text() == "/spool kim Received:\n"
    assert os.stat(jail / "spool" / "out").st_uid == pwd.getpwnam("nobody").pw_uid


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
@pytest.mark.parametrize("user", ["root", "postern"])
def test_refused_user(tmp_path, user):
    """user= root or the mail system's owner: the service does not start."""
    inst = instance(tmp_path, "argv={script}")
    inst.extra_master = [inst.extra_master[0].replace("user=nobody", f"user={user}")]
    with inst:
        send(inst, ["kim@far.test"])
        inst.wait_log(r"fatal: user= command-line attribute specifies")
