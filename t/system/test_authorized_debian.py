"""authorized_mailq_users, authorized_flush_users and authorized_submit_users beside Debian's Postfix: who is let in, who hears what, with which status. Each
suite has /etc/postfix for itself, as its set-gid commands believe in no other folder that an ordinary user names."""
import os
import re
import shlex
import shutil
import subprocess

import pytest

import peer
from instance import BIN, Instance, scratch, until

pytestmark = pytest.mark.skipif(not peer.HAVE or shutil.which("unshare") is None or shutil.which("setpriv") is None, reason="needs root, Debian's postfix, unshare and setpriv")

LISTS = ["static:anyone", "static:all", "", "nobody", "NoBody", "!nobody, static:all", "daemon nobody", "BASE/names", "!BASE/names, static:anyone", "inline:{nobody=x}",
         "!inline:{nobody=x} static:anyone", "unknown", "!unknown static:all", "root", ".nobody", "nob", "texthash:BASE/names"]
EVERY_COMMAND = ("static:anyone", "!nobody, static:all")
USERS = {"root": 0, "nobody": 65534, "daemon": 1, "nameless": 54321}
COMMANDS = {"list": "postqueue -p", "json": "postqueue -j", "mailq": "mailq", "flush": "postqueue -f", "one": "postqueue -i 3XXXXXXXXX", "site": "postqueue -s far.test", "sendmail -q": "sendmail -q",
            "submit": "sendmail -f a@b.test c@far.test"}


class Side:
    def __init__(self, mta, program):
        self.mta, self.program = mta, program

    def raw(self, command, uid):
        """The command, which may begin with a setting: "env A=b name"."""
        words = shlex.split(command)
        at = 2 if words[0] == "env" else 0
        name, full = words[at], shlex.join([*words[1:at], self.program(words[at]), *words[at + 1:]])
        script = f"mount --bind {self.mta.config} /etc/postfix && exec setpriv --reuid={uid} --regid=65534 --clear-groups -- env -u MAIL_CONFIG {full}"
        if name == "mailq":
            script = script.replace(self.program(name), f"bash -c 'exec -a mailq {self.program('sendmail')}'", 1)
        return subprocess.run(["unshare", "-m", "sh", "-c", script], input=b"Subject: x\n\nx\n", capture_output=True, timeout=60, check=False, cwd="/", env={**os.environ, **peer.QUICK})

    def run(self, command, uid):
        """(status, what is said of permissions)."""
        p = self.raw(command, uid)
        said = re.findall(r"fatal: (User .*|.*not allowed.*)", p.stderr.decode())
        return p.returncode, [re.sub(r"^\S+\[\d+\]: ", "", s) for s in said]


@pytest.fixture(scope="module")
def sides():
    base = scratch("postern-authorized.")
    os.makedirs(f"{base}/bin")
    for name in ("postqueue", "postdrop", "sendmail"):
        shutil.copy(os.path.join(BIN, name), f"{base}/bin")
        if name != "sendmail":
            shutil.chown(f"{base}/bin/{name}", group="postdrop")
            os.chmod(f"{base}/bin/{name}", 0o2755)
    with open(f"{base}/names", "w", encoding="ascii") as f:
        f.write("nobody x\n")
    main = {"defer_transports": "smtp relay local", "inet_interfaces": "127.0.0.1"}
    theirs = peer.Peer(f"{base}/debian", main=main, listen=(), master=())
    ours = Instance(f"{base}/ours", main={**main, "command_directory": f"{base}/bin"}, listen=())
    theirs.start()
    ours.start()
    ours.wait_log("daemon started")
    for d in (base, f"{base}/ours", f"{base}/debian"):
        os.chmod(d, 0o755)
    yield base, Side(theirs, lambda n: "/usr/sbin/" + n), Side(ours, lambda n: f"{base}/bin/{n}")
    theirs.stop()
    ours.stop()
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("value", LISTS)
def test_same_users_are_let_in(sides, value):
    base, *both = sides
    for side in both:
        side.mta.main.update({f"authorized_{what}_users": value.replace("BASE", base) for what in ("mailq", "flush", "submit")})
        side.mta.write_config()
    assert both[1].mta.command("postfix", "reload").returncode == 0  # pickup judges, too, by what it read at its start
    for user, uid in USERS.items():
        for what, command in COMMANDS.items():
            if value not in EVERY_COMMAND and (what not in ("list", "flush", "submit") or user == "root" and value not in ("", "root")):
                continue
            theirs, ours = (side.run(command, uid) for side in both)
            assert theirs == ours or what == "submit" and until(lambda: sides[2].run(command, uid) == theirs), (value, user, what)


KNOWN_DIRS = [{}, {"alternate_config_directories": "BASE/SIDE/other"}, {"alternate_config_directories": "BASE/SIDE/other/"}, {"alternate_config_directories": "/nowhere, BASE/SIDE/other,"},
              {"alternate_config_directories": "$there", "there": "BASE/SIDE/other"}, {"multi_instance_directories": "BASE/SIDE/other"}, {"multi_instance_directories": "/a /b\tBASE/SIDE/other /c"},
              {"alternate_config_directories": "BASE/SIDE"}, {"alternate_config_directories": "all"}]
ELSEWHERE = ["postqueue -c BASE/SIDE/other -p", "postqueue -c BASE/SIDE/other/ -j", "postqueue -c BASE/SIDE/none -p", "sendmail -C BASE/SIDE/other -bp", "env MAIL_CONFIG=BASE/SIDE/other postqueue -p"]


@pytest.mark.parametrize("settings", KNOWN_DIRS, ids=str)
def test_same_directories_are_believed(sides, settings):
    """alternate_config_directories, multi_instance_directories: where an ordinary user may point set-gid commands; sendmail(1) needs
    none to submit. Names in them are not expanded."""
    base, *both = sides
    out = []
    for side, name in zip(both, ("debian", "ours")):
        main, other = dict(side.mta.main), f"{base}/{name}/other"
        words = {k: v.replace("BASE/SIDE", f"{base}/{name}") for k, v in settings.items()}
        side.mta.main.update({**{f"authorized_{what}_users": "static:anyone" for what in ("mailq", "flush", "submit")}, **words})
        side.mta.write_config()
        shutil.copytree(side.mta.config, other, dirs_exist_ok=True)
        side.mta.main = main
        peer.settle(f"{other}/main.cf")
        out.append([])
        for command in ELSEWHERE:
            p = side.raw(command.replace("BASE/SIDE", f"{base}/{name}"), USERS["nobody"])
            out[-1].append((command, p.returncode == 0, sorted(set(re.findall(r"unauthorized .*", p.stderr.decode().replace(f"{base}/{name}", "BASE/SIDE"))))))
    assert out[1] == out[0]
