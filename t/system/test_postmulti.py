"""postmulti(1): several instances on one host are listed, made, changed, run together and taken away."""
import concurrent.futures
import json
import os
import shlex
import shutil
import subprocess

import pytest

import peer
from instance import BIN, SBIN, Instance


@pytest.fixture
def primary(tmp_path):
    i = Instance(str(tmp_path / "p"))
    for up in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        if os.stat(up).st_uid == os.getuid():
            os.chmod(up, 0o755)
    etc = tmp_path / "etc"
    etc.mkdir()
    text = "".join(f"{k} = {v}\n" for k, v in {**i.main, "queue_directory": tmp_path / "queue", "data_directory": tmp_path / "data",
                                               "config_directory": etc, "daemon_directory": SBIN, "command_directory": BIN,
                                               "maillog_file_prefixes": tmp_path, "maillog_file": tmp_path / "log"}.items() if v is not None)
    (etc / "main.cf").write_text("# the primary\n" + text)
    (etc / "master.cf").write_text("smtp inet n - n - - smtpd\npickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n"
                                   "rewrite unix - - n - - trivial-rewrite\n")
    return etc


def run(etc, *args, program="postmulti", check=0):
    env = {k: v for k, v in os.environ.items() if k != "POSTERN_INSTANCE"}
    p = subprocess.run([os.path.join(BIN, program), *map(str, args)], env={**env, "MAIL_CONFIG": str(etc)}, capture_output=True, text=True,
                       timeout=60, check=False)
    assert p.returncode == check, p.stdout + p.stderr
    return p


def listing(etc, *args):
    return [l.split() for l in run(etc, "-l", *args).stdout.splitlines()]


def test_life_of_an_instance(primary, tmp_path):
    assert run(primary, "-l").stdout == f"-               -               y         {primary}\n"
    for args in (["create", "-I", "postfix-a"], ["enable", "-i", "-"], ["disable", "-i", "-"], ["assign", "-i", "-", "-G", "x"]):
        assert "multi_instance_wrapper is empty, run 'postmulti -e init' first." in run(primary, "-e", *args, check=1).stderr
    run(primary, "-e", "init")
    assert "multi_instance_wrapper = ${command_directory}/postmulti -p --" in (primary / "main.cf").read_text()
    run(primary, "-I", "postfix-a", "-G", "mx", "-e", "create")
    run(primary, "-I", "postfix-b", "-e", "create", f"queue_directory={tmp_path}/qb", f"config_directory={tmp_path}/cb")
    run(primary, "-I", "postfix-c", "-G", "mx", "-i", "postfix-b", "-e", "create")
    a, b, c = tmp_path / "postfix-a", tmp_path / "cb", tmp_path / "postfix-c"
    assert listing(primary) == [["-", "-", "y", str(primary)], ["postfix-a", "mx", "n", str(a)], ["postfix-c", "mx", "n", str(c)],
                                ["postfix-b", "-", "n", str(b)]]
    assert [json.loads(l)["name"] for l in run(primary, "-lj", "-g", "mx").stdout.splitlines()] == ["postfix-a", "postfix-c"]
    text = (a / "main.cf").read_text()
    assert f"queue_directory = {tmp_path}/postfix-a\n" in text and "master_service_disable = inet\n" in text and f"daemon_directory = {SBIN}\n" in text
    assert (a / "master.cf").read_text() == (primary / "master.cf").read_text()
    run(primary, "-e", "enable", "-i", "postfix-b")
    run(primary, "-e", "assign", "-i", "postfix-c", "-I", "postfix-d", "-G", "-")
    assert listing(primary, "-i", "postfix-d") == [["postfix-d", "-", "n", str(c)]]
    assert run(primary, "-Rx", "sh", "-c", "echo $multi_instance_name:$MAIL_CONFIG:$queue_directory").stdout.split() == [
        f"postfix-b:{b}:{tmp_path}/qb", f"postfix-d:{c}:{tmp_path}/postfix-c", f"postfix-a:{a}:{tmp_path}/postfix-a", f":{primary}:{tmp_path}/queue"]
    assert run(primary, "-i", "-", "-x", "sh", "-c", "exit 7", check=1).stdout == ""
    run(primary, "-e", "deport", "-i", "postfix-d")
    run(primary, "-a", "-e", "import", f"config_directory={c}")
    assert [x[0] for x in listing(primary)] == ["-", "postfix-d", "postfix-a", "postfix-b"]
    assert "Cannot remove enabled instances" in run(primary, "-e", "destroy", "-i", "postfix-b", check=1).stderr
    run(primary, "-e", "disable", "-i", "postfix-b")
    (tmp_path / "qb" / "hold").mkdir(exist_ok=True)  # root made it with the instance
    (tmp_path / "qb" / "hold" / "x").write_text("")
    assert "there is mail in" in run(primary, "-e", "destroy", "-i", "postfix-b", check=1).stderr
    os.unlink(tmp_path / "qb" / "hold" / "x")
    (b / "access").write_text("kept\n")
    p = run(primary, "-e", "destroy", "-i", "postfix-b")
    assert f"{b} is not removed" in p.stderr and os.listdir(b) == ["access"] and not (tmp_path / "qb").exists()
    assert [x[0] for x in listing(primary)] == ["-", "postfix-d", "postfix-a"]


@pytest.mark.parametrize("args,why", [(["-e", "create", "-I", "b"], "New instance name must start with 'postfix-'"), (["-e", "create"], "Missing config_directory parameter value"),
                                      (["-e", "destroy", "-i", "-"], "Cannot remove the primary instance"), (["-e", "enable"], "Select an instance via '-i name'"),
                                      (["-e", "nosuch"], "Invalid '-e' edit action 'nosuch'"), (["-x", "-i", "postfix-x", "true"], "No matching instances"), (["-p", "-g", "nosuch", "status"], "No matching instances"),
                                      (["-e", "enable", "-i", "postfix-x"], "No instance named postfix-x"), (["-i", "-", "-x", "no-such-command"], "execvp no-such-command: No such file"), (["-l", "-p", "x"], "Specify exactly one of '-e', '-l', '-p', '-x'"),
                                      (["-p"], "Command required with '-p' or '-x' option"), (["-l", "x"], "Command not allowed with '-l'"), ([], "usage:"), (["-pR", "status"], "The '-p' and '-e' options preclude the use of '-R'"), (["-l", "-a", "-g", "x"], "Specify no more than one of '-a', '-g', '-i'"),
                                      (["-e", "create", "-I", "postfix-x", "foo=bar"], "Parameter 'foo' not valid with action create"), (["-e", "create", "-I", "postfix-x", "bar"], "Malformed parameter setting 'bar'"),
                                      (["-e", "create", "-I", "postfix-x", "-i", "-"], "No matching secondary instances"), (["-e", "assign", "-i", "-", "-G", "a b"], "Unsafe characters in '-G a b'"), (["-e", "create", "-I", "postfix-{a"], "Unsafe characters in '-I postfix-{a'"), (["-e", "assign", "-i", "-", "-G", "a\tb"], "Unsafe characters"),
                                      (["-e", "create", "-I", "postfix-" + "a" * 250], "a name is limited to 255 bytes"), (["-e", "create", "config_directory=/a{b"], "an absolute path without blanks is needed"), (["-e", "import", "-I", "postfix-y"], "to import"),
                                      (["-e", "assign", "-i", "-"], "Specify new instance name or group"), (["-l", "-I", "x"], "Cannot assign instance name or group")])
def test_mistakes(primary, args, why):
    run(primary, "-e", "init")
    before = (primary / "main.cf").read_text()
    assert why in run(primary, *args, check=1).stderr
    assert (primary / "main.cf").read_text() == before


def test_two_instances_of_one_directory_are_refused(primary, tmp_path):
    run(primary, "-e", "init")
    run(primary, "-I", "postfix-a", "-e", "create")
    assert "uses the same directory" in run(primary, "-I", "postfix-b", "-e", "create", f"queue_directory={tmp_path}/postfix-a", check=1).stderr
    with open(tmp_path / "postfix-a" / "main.cf", "a", encoding="ascii") as f:
        f.write(f"queue_directory = {tmp_path}/queue\n")
    assert "have the same queue_directory" in run(primary, "-l", check=1).stderr


def test_postfix_speaks_for_all(primary, tmp_path):
    """Without -c the commands of postfix(1) reach every instance that is enabled; start of one that is not is a check."""
    run(primary, "-e", "init")
    subprocess.run([os.path.join(BIN, "postconf"), "-c", str(primary), "-e", "master_service_disable=inet"], check=True)
    for name in ("postfix-a", "postfix-b"):
        run(primary, "-I", name, "-e", "create")
        subprocess.run([os.path.join(BIN, "postconf"), "-c", str(tmp_path / name), "-e", f"maillog_file={tmp_path}/log-{name}",
                        f"maillog_file_prefixes={tmp_path}"], check=True)
    run(primary, "-e", "enable", "-i", "postfix-a")
    try:
        run(primary, "start", program="postfix")
        assert "is running" in run(tmp_path / "postfix-a", "-c", tmp_path / "postfix-a", "status", program="postfix").stderr
        run(primary, "-c", tmp_path / "postfix-b", "status", program="postfix", check=1)
        run(primary, "-c", primary, "status", program="postfix")
        run(primary, "-e", "disable", "-i", "postfix-a")
        assert "is running: stop it first" in run(primary, "-e", "destroy", "-i", "postfix-a", check=1).stderr
        run(primary, "-e", "enable", "-i", "postfix-a")
        run(primary, "status", program="postfix", check=1)  # of one that does not run
        run(primary, "reload", program="postfix")
    finally:
        run(primary, "stop", program="postfix")
    run(primary, "-c", tmp_path / "postfix-a", "status", program="postfix", check=1)


def test_selections_that_match_nothing(primary):
    """-l says nothing and succeeds; what is to be done for each fails, also when only instances are meant that the command is not for."""
    run(primary, "-e", "init")
    run(primary, "-e", "create", "-I", "postfix-a")
    for chosen in (["-i", "nosuch"], ["-g", "nosuch"], ["-i", "/nosuch"]):
        p = run(primary, "-l", *chosen)
        assert (p.stdout, p.stderr) == ("", "")
        assert "No matching instances" in run(primary, *chosen, "-x", "true", check=1).stderr
    assert "No matching instances" in run(primary, "-i", "postfix-a", "-p", "flush", check=1).stderr
    run(primary, "-x", "sh", "-c", "test -z $multi_instance_name", check=1)  # of one of two
    run(primary, "-x", "sh", "-c", "kill -9 $$", check=1)


def test_primary_disabled(primary):
    run(primary, "-e", "init")
    run(primary, "-e", "disable", "-i", "-")
    assert listing(primary) == [["-", "-", "y", str(primary)]]  # alone, it is always in
    assert "multi_instance_enable!=yes, run 'postmulti -e init' first." in run(primary, "-e", "create", "-I", "postfix-a", check=1).stderr
    run(primary, "-e", "init")
    run(primary, "-e", "create", "-I", "postfix-a")
    run(primary, "-e", "disable", "-i", "-")
    assert [l[2] for l in listing(primary)] == ["n", "n"]


def test_commands_of_the_suite_come_first_in_the_path(primary):
    assert run(primary, "-x", "sh", "-c", "command -v postconf").stdout == os.path.join(BIN, "postconf") + "\n"


# Both sides are asked the same. What differs on purpose is not here: a queue with mail is not destroyed, -j is newer than Debian's,
# and the refusals, of which only the status is compared: Postfix writes them to its log when there is no terminal.
SAME = """-l
-l -i nosuch
-l
-lR
-l -g mx
-l -i @/etc/cb
-e enable
-e assign -i postfix-d -I d
-e assign -i postfix-d -G "a b"
-l
-i postfix-cb -x sh -c "exit 7"
-x sh -c "kill -9 $$"
-x sh -c "echo $multi_instance_name:$multi_instance_group:$multi_instance_enable:$config_directory:$queue_directory:$data_directory:$MAIL_CONFIG"
-R -x sh -c "echo $multi_instance_name"
-i nosuch -x true
-i postfix-d -x no-such-command
-pR status
-e nosuch
-e destroy -i -
-l
-e disable -i -
-l
-e enable -i postfix-d
""".splitlines()


def bound(directory):
    """A command line in front of another: it sees etc, spool and lib of `directory` as its own, and nobody else does."""
    d = shlex.quote(str(directory))
    return ["unshare", "-m", "sh", "-c", f"mount --make-rprivate / && mount --bind {d}/spool /var/spool && mount --bind {d}/lib /var/lib && "
            f'mount --bind {d}/etc /etc && exec "$@"', "sh"]


needs_peer = pytest.mark.skipif(not peer.HAVE, reason="Debian's Postfix is not installed, or not root")


@pytest.fixture(name="sides")
def two_sides(primary, tmp_path):
    """Debian's below theirs, in a mount namespace of its own, and ours below ours. ask(line): how each answers."""
    if subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("no mount namespaces here")
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for d in ("etc", "spool/postfix", "lib/postfix"):
        os.makedirs(theirs / d)
    shutil.chown(theirs / "lib/postfix", "postfix")
    for name in ("passwd", "group", "nsswitch.conf", "services", "ld.so.cache", "hosts"):
        if os.path.exists("/etc/" + name):
            shutil.copy("/etc/" + name, theirs / "etc" / name)
    for name in ("postfix", "alternatives"):
        shutil.copytree("/etc/" + name, theirs / "etc" / name, symlinks=True)
    (theirs / "etc/postfix/main.cf").write_text("compatibility_level = 3.6\nmyhostname = mail.example.test\nmydestination =\n")
    shutil.copy(peer.STOCK, theirs / "etc/postfix/master.cf")
    for d in ("etc/postfix", "var/spool/postfix", "var/lib/postfix"):
        os.makedirs(ours / d)
    etc = ours / "etc/postfix"
    text = (primary / "main.cf").read_text().replace(str(primary), str(etc)).replace(f"{tmp_path}/queue", f"{ours}/var/spool/postfix")
    (etc / "main.cf").write_text(text.replace(f"{tmp_path}/data", f"{ours}/var/lib/postfix"))
    shutil.copy(primary / "master.cf", etc)
    plain = {k: v for k, v in os.environ.items() if k not in ("POSTERN_INSTANCE", "MAIL_CONFIG")}

    def ask(line):
        sides = []
        for before, program, env, root in ((bound(theirs), peer.COMMANDS + "/postmulti", plain, ""), ([], BIN + "/postmulti", {**plain, "MAIL_CONFIG": str(etc)}, str(ours))):
            p = subprocess.run([*before, program, *shlex.split(line.replace("@/", root + "/"))], env=env, stdin=subprocess.DEVNULL,
                               capture_output=True, text=True, timeout=60, check=False)
            sides.append((p.returncode, p.stdout.replace(root or "\0", "")))
        return line, *sides
    return theirs, ours, ask


@needs_peer
def test_as_debian_says_it(sides):
    theirs, ours, ask = sides
    for base, conf, spool, lib in (("", theirs / "etc", "/var/spool", "/var/lib"), (ours, ours / "etc", f"{ours}/var/spool", f"{ours}/var/lib")):
        with open(conf / "postfix/main.cf", "a", encoding="ascii") as f:
            f.write(f"multi_instance_wrapper = x\nmulti_instance_enable = yes\nmulti_instance_directories = {base}/etc/a {base}/etc/cb {base}/etc/d\n")
        for name, group, on in (("a", "mx", "no"), ("cb", "", "yes"), ("d", "mx", "no")):
            os.makedirs(conf / name)
            (conf / name / "main.cf").write_text(f"compatibility_level = 3.6\nqueue_directory = {spool}/{name}\ndata_directory = {lib}/{name}\n"
                                                 f"multi_instance_name = postfix-{name}\nmulti_instance_group = {group}\nmulti_instance_enable = {on}\n")
    first = SAME.index("-e disable -i -")  # what is in front of it changes nothing; each refusal of Debian's sleeps a second
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, SAME[:first])) + [ask(line) for line in SAME[first:]]
    wrong = [a for a in answers if a[1] != a[2]]
    assert not wrong, "\n".join(map(repr, wrong))


LIFE = """-e init
-e create -I postfix-a -G mx
-e create -I postfix-b -i postfix-a queue_directory=@/var/spool/bq data_directory=@/var/lib/bd config_directory=@/etc/bc
-e enable -i postfix-a
-e assign -i postfix-b -I postfix-bb -G out
-l
-e deport -i postfix-bb
-e import config_directory=@/etc/bc
-l
-e assign -i postfix-bb -I - -G mx
-e disable -i postfix-a
-e destroy -i postfix-a
-g mx -l
""".splitlines()


def seen(etc, var, root):
    """What is there of the instances: kind, mode and owner of each file, and what main.cf says of it."""
    out = {}
    for top, prefix in ((etc, "etc"), (var[0], "spool"), (var[1], "lib")):
        for d in sorted(os.listdir(top)):
            if (prefix == "etc" and not d.startswith(("postfix-", "bc"))) or d == "postfix":
                continue
            for here, _, files in os.walk(os.path.join(top, d)):
                for path in [here] + [os.path.join(here, f) for f in files]:
                    st, name = os.lstat(path), prefix + path[len(str(top)):]
                    out[name] = oct(st.st_mode), "root" if st.st_uid == 0 else "mail"
                    if name.count("/") > 1 and prefix == "spool":  # of the queue: that it is there; "pool" and "empty" are ours alone
                        out[name] = ()
                        if os.path.basename(name) in ("pool", "empty"):
                            del out[name]
            main = os.path.join(top, d, "main.cf")
            if os.path.exists(main):
                with open(main, encoding="utf-8") as f:
                    lines = [l.strip() for l in f if l[0] not in "# \t\n"]
                wanted = ("multi_instance_", "queue_directory", "data_directory", "master_service_disable", "authorized_submit_users")
                out[prefix + "/" + d] += tuple(sorted(" ".join(l.replace(root, "").split()) for l in lines if l.startswith(wanted)))
    return out


@needs_peer
def test_files_of_a_life_as_debian_leaves_them(sides):
    theirs, ours, ask = sides
    for line in LIFE:
        _, t, o = ask(line)
        assert o == t, line
        assert seen(ours / "etc", (ours / "var/spool", ours / "var/lib"), str(ours)) == seen(theirs / "etc", (theirs / "spool", theirs / "lib"), "\0"), line
