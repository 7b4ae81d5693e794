"""multi_instance_directories, _name, _group and _enable: what postmulti(1) lists and runs, beside Debian's, with the same directories in the place of
/etc/postfix."""
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from instance import BIN, scratch

pytestmark = pytest.mark.skipif(not peer.HAVE or shutil.which("unshare") is None, reason="needs root, Debian's postfix and unshare")
INSTANCES = {"a": ("multi_instance_name = postfix-a", "multi_instance_enable = yes", "multi_instance_group = grp"), "b": ("multi_instance_name = postfix-zz",),
             "c": ("multi_instance_group = grp", "multi_instance_enable = yes"), "odd": ("multi_instance_name = nopostfix",), "twin": ("multi_instance_name = postfix-a",)}
PRIMARIES = {
    "none": (), "several": ("multi_instance_directories = BASE/a BASE/b, BASE/c", "multi_instance_wrapper = /usr/sbin/postmulti -p --"),
    "gone": ("multi_instance_directories = BASE/a BASE/gone", "multi_instance_enable = yes"), "relative": ("multi_instance_directories = a",),
    "badname": ("multi_instance_directories = BASE/a", "multi_instance_name = bad name"), "oddname": ("multi_instance_directories = BASE/odd",),
    "twins": ("multi_instance_directories = BASE/a BASE/twin",),
    "name": ("multi_instance_directories = $there", "there = BASE/a", "multi_instance_name = postfix-main", "multi_instance_group = grp"),
}
QUESTIONS = [["-l"], ["-l", "-a"], ["-R", "-l"], ["-l", "-g", "grp"], ["-l", "-g", "-"], ["-l", "-g", "nosuch"], *(["-l", "-i", i] for i in (
    "-", "postfix-a", "a", "zz", "b", "A", "postfix-", "", "BASE/c", "BASE/c/", "/etc/postfix", "nopostfix", "main")), ["-l", "extra"], ["-g", "grp", "-i", "a", "-l"], ["-p", "nosuch"], [],
    ["-x", "printenv", "multi_instance_name", "multi_instance_group", "multi_instance_enable", "config_directory"], ["-R", "-x", "-g", "grp", "printenv", "config_directory"]]


def answers(base, name, program):
    """What postmulti says to each question, and its status."""
    calls = [" ".join(["LD_PRELOAD=" + peer.QUICK["LD_PRELOAD"] if program.startswith("/usr/sbin") else "", program, *(f"'{a.replace('BASE', base)}'" for a in q), "2>/dev/null; echo status $?; echo ---"])
             for q in QUESTIONS]
    script = "\n".join([f"mount --bind {base}/{name} /etc/postfix || exit", *calls])
    p = subprocess.run(["unshare", "-m", "sh", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
                       env={k: v for k, v in os.environ.items() if k not in ("MAIL_CONFIG", "POSTERN_INSTANCE")})
    return p.stdout.split("---\n")


@pytest.fixture(scope="module")
def both():
    base = scratch("postern-multi.")
    for name, lines in {**INSTANCES, **PRIMARIES}.items():
        os.makedirs(f"{base}/{name}")
        main = [f"queue_directory = {base}/queue/{name}", f"data_directory = {base}/data/{name}", *lines]
        for what, text in (("main.cf", "\n".join(["compatibility_level = 3.6", *main]).replace("BASE", base) + "\n"), ("master.cf", "")):
            with open(f"{base}/{name}/{what}", "w", encoding="ascii") as f:
                f.write(text)
        peer.settle(f"{base}/{name}/main.cf")
    with ThreadPoolExecutor(4) as pool:
        calls = {(name, who): pool.submit(answers, base, name, who) for name in PRIMARIES for who in ("/usr/sbin/postmulti", os.path.join(BIN, "postmulti"))}
        yield {(name, who.startswith("/usr/sbin")): call.result() for (name, who), call in calls.items()}
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("name", PRIMARIES)
def test_same_instances(both, name):
    assert len(both[(name, False)]) == len(QUESTIONS) + 1
    for question, ours, theirs in zip(QUESTIONS, both[(name, False)], both[(name, True)]):
        assert ours == theirs, question
