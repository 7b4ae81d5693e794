"""postconf(1) shows and changes main.cf and master.cf as Postfix 3.7 does, except for what carries our own names."""
import functools
import json
import os
import re
import resource
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from instance import BIN, ROOT, SHARED

OURS = os.path.join(BIN, "postconf")
THEIRS = "/usr/sbin/postconf"
SETS = os.path.join(SHARED, "data", "configs")

# Defaults that are meant to differ from those of Debian's 3.7, and why.
REASONS = {
    "where this is installed": "command_directory daemon_directory data_directory html_directory mailq_path manpage_directory meta_directory newaliases_path "
                               "readme_directory sample_directory sendmail_path shlib_directory",
    "who and what this is": "mail_name mail_owner mail_release_date mail_version",
    "since 3.11 the type of table is a parameter, default_database_type or default_cache_db_type": "address_verify_map alias_database alias_maps "
                                                                                                   "postscreen_cache_map",
    "since 3.9": "smtpd_forbid_bare_newline smtpd_forbid_unauth_pipelining",
    "since 3.11, by compatibility_level": "smtp_tls_security_level",
    "the older name counts, where Postfix forgets its value": "smtpd_client_event_limit_exceptions",
    "of the process": "process_id",
    "of the machine's interfaces when asked": "mynetworks",
}
DIFFER = re.compile(rf"^({'|'.join(' '.join(REASONS.values()).split())}) =")

MAIN = """compatibility_level = 3.6
myhostname = mail.example.org
mydestination = $myhostname,
# a comment within
\t localhost.$mydomain,

  localhost
x1=$y1
y1=
biff= no
smtpd_banner = $myhostname ${x1?{yes}:{no}} ${nope:{else}} $$
relayhost = ${{10} < {9} ? {a} : {b}}
default_rbl_reply = $rbl_code text
virtual_maps = hash:/a
unused_thing = 1
slow_destination_rate_delay = 2s
"""
MASTER = """smtp inet n - y - - smtpd
  -o { smtpd_banner = a  b } -o x1=2
465 inet n - n - 5 smtpd -v -o smtpd_tls_wrappermode=yes
pickup fifo n - n 60? 1 pickup
# comment
slow unix - - n - - smtp
verylongservicename-andmore unix - n n - - pipe flags=DRhu user=vmail argv=/usr/bin/deliver -d ${recipient} -o file
"""


LOOKS = [["-n"], ["-nf"], ["-nx"], ["-nh"], ["-nH"], ["-M"], ["-Mf"], ["-M", "smtp/inet", "nosuch"],
         ["-M", "*/unix"], ["-C", "user"], ["-n", "-o", "relayhost=z", "-o", "virtual_maps=q"],
         ["mydestination", "nosuch", "biff"], ["-h", "myhostname", "mydomain"], ["-l"], ["-A"],
         ["-F"], ["-FH"], ["-Ff"], ["-F", "*/*/chroot"], ["-F", "smtp/inet", "nosuch"], ["-F", "smtp/inet/nosuch"], ["-Fx"],
         ["-P"], ["-Ph"], ["-PH"], ["-Pf"], ["-Px"], ["-P", "smtp"], ["-P", "smtp/inet/x1", "*/unix"], ["-P", "-o", "x1=q"],
         ["-Mx"], ["-M", "a/b/c"], ["-P", "a/b/c/d"], ["-M", "-P"], ["-e", "-X"], ["-d", "-n"], ["-Mh"], ["-M", "-n"],
         ["-FX", "smtp/inet/chroot"], ["-P#", "smtp/inet/x1"], ["-T", "run-version"], ["-T", "nosuch"]]
# Mistakes of the command line, and questions whose answer has a warning: the same words on standard error, too.
SAID = [["-C", "nosuch"], ["-o", "x"], ["-o", "=x"], ["-b", "-M"], ["-e"], ["-X"], ["-#"], ["-e", "-n", "x=1"], ["-h", "-e", "x=1"], ["-x", "-e", "x=1"],
        ["-f", "-X", "y"], ["-e", "-d", "x=1"], ["-X", "-o", "a=b", "x"], ["-e", "-X"], ["-#X", "a"], ["-#", "a=b"], ["-X", "x=1"], ["-h", "x=1"],
        ["-Me"], ["-MX"], ["-M#"], ["-PX"], ["-P#"], ["-Me", "-h", "smtp/inet=x"], ["-Fe", "-x", "smtp/inet/chroot=y"], ["-M", "-F"], ["-t", "-b"],
        ["-l", "-f"], ["-l", "-M"], ["-a", "-d"], ["-A", "-e"], ["-m", "-n"], ["-l", "-o", "a=b"], ["-T", "run-version", "-d"], ["-e", "-l"], ["-b", "-l"],
        ["-b", "-e"], ["-F", "/inet"], ["-P", "/"], ["-M", "smtp/inet/x"], ["-M", "*/nosuch"], ["-F", "x"], ["-P", "nosuch/inet"], ["-h", "nosuch", "biff"],
        ["-n", "-h"], ["biff"], [""], ["-"]]
DEFAULTS = [["-d"], ["-df"], [], ["-f"], ["-C", "service"], ["-d", "-C", "builtin"]]


def run(program, *args, check=None):
    env = {**os.environ, **peer.QUICK} if program == THEIRS else None
    p = subprocess.run([program, *args], env=env, capture_output=True, text=True, timeout=90, check=False)
    if check is not None:
        assert p.returncode == check, p.stderr
    return p


@functools.lru_cache(maxsize=None)
def has_debian():
    return os.access(THEIRS, os.X_OK) and "3.7." in run(THEIRS, "-dh", "mail_version").stdout


def debian():
    if not has_debian():
        pytest.skip("postfix 3.7 is not installed: nothing to compare with")
    return THEIRS


def at_once(calls):
    """Runs all of [(key, program, args)], several at a time, for most of their time is spent in being started: {key: result}."""
    with ThreadPoolExecutor(6) as pool:
        return dict(zip([c[0] for c in calls], pool.map(lambda c: run(c[1], *c[2]), calls)))


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    d = tmp_path_factory.mktemp("conf")
    (d / "main.cf").write_text(MAIN)
    peer.settle(d / "main.cf")
    (d / "master.cf").write_text(MASTER)
    return d


@pytest.fixture(scope="module")
def looked(conf):
    """What both say to every question of LOOKS."""
    return at_once([((who, *args), who, ["-c", str(conf), *args]) for args in LOOKS + SAID + DEFAULTS for who in (debian(), OURS)])


@pytest.mark.parametrize("args", LOOKS, ids=" ".join)
def test_same_output_for_one_main_cf(looked, args):
    theirs, ours = (looked[(who, *args)] for who in (debian(), OURS))
    assert ours.stdout == theirs.stdout
    assert ours.returncode == theirs.returncode


def words_said(p):
    """What is said, without the line and the name that was meant, which are ours; Debian's undefined and unused names come in no particular order."""
    lines = [re.sub(r" \(line \d+.*\)$", "", l.removeprefix("/usr/sbin/")) for l in p.stderr.splitlines()]
    return sorted(l for l in lines if "will be removed" not in l and "not allowed" not in l and (p.returncode == 0 or ": fatal: " in l))


@pytest.mark.parametrize("args", SAID, ids=" ".join)
def test_same_words_about_mistakes(looked, args):
    theirs, ours = (looked[(who, *args)] for who in (debian(), OURS))
    assert (words_said(ours), ours.stdout, ours.returncode) == (words_said(theirs), theirs.stdout, theirs.returncode)


def test_defaults_need_no_main_cf(tmp_path):
    for args in (["-d", "biff"], ["-dx", "smtpd_timeout"], ["-dh", "relayhost"]):
        theirs, ours = (run(who, "-c", str(tmp_path), *args) for who in (debian(), OURS))
        assert (words_said(ours), ours.stdout, ours.returncode) == (words_said(theirs), theirs.stdout, theirs.returncode)


LEVEL_NAMES = ["append_dot_mydomain", "smtputf8_enable", "mynetworks_style", "relay_domains", "smtpd_relay_restrictions", "smtpd_tls_fingerprint_digest",
               "smtp_tls_fingerprint_digest", "lmtp_tls_fingerprint_digest", "smtpd_relay_before_recipient_restrictions", "respectful_logging"]


def test_same_effects_of_compatibility_level(tmp_path):
    calls = []
    for level in ("0", "1", "2", "3.5", "3.6", "3.6.1", "3.10", "4"):
        d = tmp_path / level
        d.mkdir()
        (d / "main.cf").write_text(f"compatibility_level = {level}\nmyhostname = mail.example.org\n")
        (d / "master.cf").write_text("smtp inet n - - - - smtpd\n")
        calls += [((level, who), who, ["-c", str(d), "-x", *LEVEL_NAMES]) for who in (debian(), OURS)]
    said = at_once(calls)
    for level in {c[0][0] for c in calls}:
        assert said[(level, OURS)].stdout == said[(level, debian())].stdout, level
    # Since 3.11 TLS is tried by default; the level stands for that, too.
    for level, expected in (("3.6", ""), ("3.10", ""), ("3.11", "may"), ("4", "may")):
        assert run(OURS, "-c", str(tmp_path / "0"), "-xh", "-o", f"compatibility_level={level}", "smtp_tls_security_level").stdout.strip() == expected


# mynetworks_style, inet_interfaces, inet_protocols, compatibility_level of a host with these addresses; None: the default.
ADDRESSES = ("10.1.2.3/8", "172.16.5.6/20", "192.168.7.8/29", "198.51.100.9/32", "2001:db8:1::5/64", "fd00::7/48", "fe80::9/64")
NETWORKS = [("host", "all", "all"), ("subnet", "all", "all"), ("class", "all", "all"), (None, "all", "all"), (None, "all", "all", "1"), ("subnet", "all", "ipv4"), ("subnet", "all", "ipv6"),
            ("subnet", "loopback-only", "all"), ("class", "10.1.2.3", "all"), ("subnet", "10.1.2.3, [2001:db8:1::5]", "all"), ("subnet", "10.1.2.3 2001:db8:1::5", "all"),
            ("subnet", "127.0.0.1", "ipv4"), ("host", "127.0.0.1", "ipv4"), ("host", "localhost", "all"), ("subnet", "", "all"), ("subnet", "all", ""), ("subnet", "all", "ipv4, ipv6"),
            ("subnet", "10.1.2.3,", "ipv4"), ("class", "192.168.7.8", "ipv4"), ("class", "172.16.5.6", "ipv4"), ("subnet", "198.51.100.9", "ipv4"), ("${relayhost?{class}:{subnet}}", "all", "ipv4")]
# Debian's ends with an error; here the host alone is trusted.
WRONG_STYLES = ("none", "", "$nosuch", "host, subnet")


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    """(who, case) -> what postconf says of mynetworks on that host."""
    base, asked = tmp_path_factory.mktemp("networks"), []
    for n, (style, interfaces, protocols, *level) in enumerate([*NETWORKS, *((w, "all", "ipv4") for w in WRONG_STYLES)]):
        d = base / str(n)
        d.mkdir()
        (d / "main.cf").write_text("".join(f"{k} = {v}\n" for k, v in {
            "compatibility_level": (level or ["3.6"])[0], "myhostname": "localhost", "mynetworks_style": style, "inet_interfaces": interfaces, "inet_protocols": protocols}.items() if v is not None))
        (d / "master.cf").write_text("")
        peer.settle(d / "main.cf")
        asked += [f"{who} -c {d} -xh mynetworks >{d}/{int(who == OURS)} 2>/dev/null &" for who in (debian(), OURS)]
    made = [f"ip addr add {a} dev lo" + " nodad" * (":" in a) for a in ADDRESSES]
    p = subprocess.run(["unshare", "-n", "sh", "-c", "\n".join(["ip link set lo up", *made, *asked, "wait"])], env={**os.environ, **peer.QUICK}, capture_output=True, text=True, check=False, timeout=90)
    assert p.returncode == 0, p.stderr
    return base


@pytest.mark.skipif(not peer.HAVE, reason="needs root and Debian's postfix")
@pytest.mark.parametrize("n", range(len(NETWORKS)), ids=lambda n: " ".join(map(str, NETWORKS[n])))
def test_same_trusted_networks(trusted, n):
    """mynetworks_style: what mynetworks is when nobody says."""
    assert (trusted / str(n) / "1").read_text() == (trusted / str(n) / "0").read_text()


@pytest.mark.skipif(not peer.HAVE, reason="needs root and Debian's postfix")
def test_wrong_style_trusts_the_host_alone(trusted):
    for n in range(len(WRONG_STYLES)):
        said = (trusted / str(len(NETWORKS) + n) / "1").read_text()
        assert said == "127.0.0.1/32 " + " ".join(a.split("/")[0] + "/32" for a in ADDRESSES if "." in a) + "\n"


@pytest.mark.parametrize("args", DEFAULTS, ids=" ".join)
def test_same_defaults(looked, args):
    theirs, ours = (looked[(who, *args)] for who in (debian(), OURS))
    assert ours.returncode == theirs.returncode == 0

    def settings(p):  # a folded value continues on indented lines
        return {l.split(" ", 1)[0]: l for l in p.stdout.splitlines() if not l.startswith(" ") and not DIFFER.match(l)}
    got = settings(ours)
    for name, line in settings(theirs).items():
        assert got.get(name) == line


def sets():
    found = []
    for path, _, files in os.walk(SETS):
        if "main.cf" in files and "master.cf" in files:
            found.append(os.path.relpath(path, SETS))
    return sorted(found) or [None]


SET_LOOKS = (["-n"], ["-nfx"], ["-Mfx"], ["-F"], ["-Pfx"])


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    calls = []
    for name in sets():
        if name is None:
            pytest.skip("the collection of real configurations is not here")
        d = tmp_path_factory.mktemp("set")
        for f in ("main.cf", "master.cf"):
            with open(os.path.join(SETS, name, f), "rb") as src:
                (d / f).write_bytes(src.read())
        calls += [((name, who, *args), who, ["-c", str(d), *args]) for args in SET_LOOKS for who in (debian(), OURS)]
    return at_once(calls)


@pytest.mark.parametrize("name", sets())
def test_same_output_for_real_configurations(real, name):
    own = re.compile(r"/var/lib/postern|\bPostern\b|(?<=postconf )\d+")

    def common(p):  # $data_directory, $mail_name and $process_id (in debugger_command) differ
        return own.sub(lambda m: {"/": "/var/lib/postfix", "P": "Postfix"}.get(m.group()[0], "PID"), p.stdout)
    for args in SET_LOOKS:
        theirs, ours = (real[(name, who, *args)] for who in (debian(), OURS))
        assert ours.returncode == theirs.returncode
        if theirs.returncode == 0:
            assert common(ours) == common(theirs)


EDIT = "relayhost = a\n  b,\n# c\n\n   d\nuser_x= 1\n#mydomain = x\nmydestination = $user_x\nx = 1\n# in\n  2\nx=3\nlast = 1\n"


EDITS = [["relayhost=z"], ["-e", "x =  y  z ", "new=1"], ["-X", "x", "relayhost"], ["-#", "x", "relayhost"],
         ["-e", "foo"], ["-e", "=x"], ["a b=c"], ["-X", "x=1"], ["mydomain=q"], ["x="],
         ["-e", "x=1", "x=2"], ["-X", "nosuch"], ["-e", "a=1\nb=2"]]


def edited(base, args_list, main, master):
    """Every list of arguments by both, each in a directory of its own: {(program, args): (directory, exit status)}"""
    calls = []
    for n, args in enumerate(args_list):
        for who in (debian(), OURS):
            d = base / f"{n}-{'theirs' if who == THEIRS else 'ours'}"
            d.mkdir()
            (d / "main.cf").write_text(main)
            (d / "master.cf").write_text(master)
            os.chmod(d / "main.cf", 0o640)
            calls.append(((who, *args), who, ["-c", str(d), *args], d))
    done = at_once([c[:3] for c in calls])
    return {c[0]: (c[3], done[c[0]].returncode) for c in calls}


@pytest.fixture(scope="module")
def edits(tmp_path_factory):
    return edited(tmp_path_factory.mktemp("edits"), EDITS, EDIT, "")


@pytest.mark.parametrize("args", EDITS, ids=repr)
def test_same_edits(edits, args):
    results = []
    for who in (debian(), OURS):
        d, status = edits[(who, *args)]
        results.append(((d / "main.cf").read_text(), status))
        assert sorted(os.listdir(d)) == ["main.cf", "master.cf"]
    assert results[0] == results[1]
    assert os.stat(d / "main.cf").st_mode & 0o777 == 0o640  # Postfix would make it 644


def test_edit_keeps_symbolic_link_mode_and_missing_newline(tmp_path):
    (tmp_path / "real.cf").write_text("# head\na = 1\nb = 2")
    os.chmod(tmp_path / "real.cf", 0o604)
    os.symlink("real.cf", tmp_path / "main.cf")
    run(OURS, "-c", str(tmp_path), "a = 3", check=0)
    assert os.path.islink(tmp_path / "main.cf")
    assert (tmp_path / "real.cf").read_text() == "# head\na = 3\nb = 2"
    assert os.stat(tmp_path / "real.cf").st_mode & 0o777 == 0o604
    run(OURS, "-c", str(tmp_path), "c=4", check=0)
    assert (tmp_path / "real.cf").read_text() == "# head\na = 3\nb = 2\nc = 4\n"


MASTER_EDIT = """# head
smtp inet n - y - - smtpd -v
  -o syslog_name=postfix/$service_name
  -o { smtpd_banner = a  b } -o my_y=${my_x}

submission inet n - y - - smtpd
  -o smtpd_tls_security_level=encrypt
u unix - - n - - pipe flags=D user=x argv=/bin/x -o y ${foo}

# before cleanup
cleanup unix n - y - 0 cleanup
"""


MASTER_EDITS = [["-M", "smtp/inet=smtp inet n - n - - smtpd -o a=b"], ["-Me", "foo/unix=foo unix - - n - - pipe x"], ["-M#", "smtp/inet"],
                ["-MX", "smtp/inet"], ["-M#", "*/unix"], ["-M", "foo/unix=bar unix - - n - - x"], ["-M", "foo=x"],
                ["-M", "smtp/inet="], ["-MX", "smtp"], ["-MX", "nosuch/inet"],
                ["-F", "smtp/inet/chroot=n"], ["-F", "*/inet/chroot=n"], ["-F", "smtp/inet/command=smtpd -o c=d"],
                ["-F", "smtp/inet/service=zz"], ["-F", "smtp/inet/chroot=q"], ["-F", "nosuch/inet/chroot=y"], ["-F", "smtp/inet/nosuch=y"],
                ["-P", "smtp/inet/foo=bar"], ["-P", "smtp/inet/smtpd_banner=q", "smtp/inet/new=1"],
                ["-P", "u/unix/foo=1"], ["-PX", "smtp/inet/my_y"], ["-PX", "smtp/inet/nosuch"],
                ["-PX", "*/inet/*"], ["-P", "*/inet/z=1"], ["-P", "smtp/inet=x"],
                ["-P", "smtp/inet/x=1\nevil unix - - n - - pipe"], ["-M", "smtp/inet=smtp inet n - n - - smtpd\n -o a=b"], ["-F", "smtp/inet/command=smtpd\n-v"],
                ["-P", "smtp/inet/x y=1"], ["-P", "smtp/inet/x=a}b c"], ["-P", "smtp/inet/x={a b"], ["-P", "smtp/inet/x=#1"], ["-P", "smtp/inet/x="],
                ["-F", "smtp/inet/service=foo bar"], ["-F", "smtp/inet/*=n"], ["-F", "smtp/inet=n"], ["-F", "smtp/inet/process_limit=x"], ["-M", "f/unix=f unix - - n - - pipe user=a argv=/bin/x #f {#g h}"]]


@pytest.fixture(scope="module")
def master_edits(tmp_path_factory):
    return edited(tmp_path_factory.mktemp("master-edits"), MASTER_EDITS, "", MASTER_EDIT)


@pytest.mark.parametrize("args", MASTER_EDITS, ids=" ".join)
def test_same_edits_of_master_cf(master_edits, args):
    results = []
    for who in (debian(), OURS):
        d, status = master_edits[(who, *args)]
        services = [l for l in (d / "master.cf").read_text().splitlines() if l and not l.startswith("# ")]
        results.append((services, status))
    assert results[0] == results[1]
    assert sorted(os.listdir(d)) == ["main.cf", "master.cf"]


def test_edit_of_master_cf_keeps_comments_in_their_place(tmp_path):
    (tmp_path / "main.cf").write_text("")
    (tmp_path / "master.cf").write_text("# a\nsmtp inet n - y - - smtpd\n# within\n  -o x=1\n\n# b\npickup fifo n - n 60 1 pickup\n# c")
    os.chmod(tmp_path / "master.cf", 0o604)
    run(OURS, "-c", str(tmp_path), "-P", "smtp/inet/x={ b c }", check=0)
    assert (tmp_path / "master.cf").read_text() == ("# a\nsmtp       inet  n       -       y       -       -       smtpd\n    -o {x={ b c }}\n# within\n\n"
                                                    "# b\npickup fifo n - n 60 1 pickup\n# c\n")
    assert os.stat(tmp_path / "master.cf").st_mode & 0o777 == 0o604
    before = (tmp_path / "master.cf").read_text()
    p = run(OURS, "-c", str(tmp_path), "-M", "smtp/inet=smtp inet n - n - - smtpd -o", check=1)
    assert "name=value expected after -o" in p.stderr
    assert (tmp_path / "master.cf").read_text() == before


# Each ends with status 1, its reason on standard error, and the file as it was.
REFUSED = [("smtp/inet/x=a}b c", "P", "nothing was changed: the new master.cf line 1: text after '}' in \"{x=a}b c}\""),
           ("smtp/inet/x={a b", "P", "nothing was changed: the new master.cf line 1: missing '}' in \"{x={a b}\""),
           ("smtp/inet/x=1\nevil unix - - n - - pipe", "P", "-Me, -Fe, -Pe, -X, or -# accept no multi-line input"),
           ("smtp/inet/x y=1", "P", "missing '=' after attribute name: \"smtp/inet/x y=1\""),
           ("smtp/inet/service=foo bar", "F", "-Fe does not accept whitespace in non-command field: \"smtp/inet/service=foo bar\""),
           ("smtp/inet/wakeup=", "F", "-Fe does not accept an empty field, \"-\" is its default: \"smtp/inet/wakeup=\"")]


@pytest.mark.parametrize("request_, option, why", REFUSED, ids=[r[0].replace("\n", "/") for r in REFUSED])
def test_what_could_not_be_read_again_is_not_written(tmp_path, request_, option, why):
    (tmp_path / "main.cf").write_text("")
    (tmp_path / "master.cf").write_text(text := "smtp inet n - y - - smtpd\n  -o a=b\npickup fifo n - n 60 1 pickup\n")
    assert run(OURS, "-c", str(tmp_path), "-" + option, request_, check=1).stderr == f"postconf: fatal: {why}\n"
    assert (tmp_path / "master.cf").read_text() == text and sorted(os.listdir(tmp_path)) == ["main.cf", "master.cf"]


@pytest.mark.parametrize("length", range(6, 16))
def test_no_word_becomes_a_comment_where_a_line_is_folded(tmp_path, length):
    (tmp_path / "main.cf").write_text("")
    (tmp_path / "master.cf").write_text("# head\n")
    command = f"pipe user={'x' * length} #y z"
    run(OURS, "-c", str(tmp_path), "-M", "u/unix=u unix - - n - - " + command, check=0)
    assert run(OURS, "-c", str(tmp_path), "-Fh", "u/unix/command", check=0).stdout == command + "\n"


def test_json(conf):
    def lines(*args):
        return [json.loads(l) for l in run(OURS, "-c", str(conf), "-qj", *args, check=0).stdout.splitlines()]
    assert {"name": "biff", "value": "no"} in lines("-n")
    assert lines("-x", "relayhost") == [{"name": "relayhost", "value": "b"}]
    assert lines("-M", "slow") == [{"service": "slow", "type": "unix", "private": "-", "unprivileged": "-", "chroot": "n", "wakeup": "-",
                                    "process_limit": "-", "command": "smtp"}]
    assert lines("-F", "smtp/inet/chroot") == [{"service": "smtp", "type": "inet", "field": "chroot", "value": "y"}]
    assert lines("-P", "smtp/inet/smtpd_banner") == [{"service": "smtp", "type": "inet", "name": "smtpd_banner", "value": "a  b"}]


def test_mistakes_are_named(tmp_path):
    main, master = tmp_path / "main.cf", tmp_path / "master.cf"
    main.write_text("mydestinaton = a\nsmtpd_timeout = soon\nbiff = no\nbiff = yes\nmydestination = a # b\n"
                    "smtpd_use_tls = yes\nvirtual_maps = hash:/x\n")
    master.write_text("smtp inet n - n - - smtpd -o smtpd_banr=x -o smtpd_enforce_tls=no -o smtpd_hard_error_limit=x\n")
    p = run(OURS, "-c", str(tmp_path), "-n", check=0)
    assert sorted(p.stderr.splitlines()) == sorted(f"postconf: warning: {l}" for l in [
        f"{main}, line 4: overriding earlier entry: biff=no",
        f"{main}: unused parameter: mydestinaton=a (line 1; did you mean mydestination?)",
        f"{main} line 2: smtpd_timeout = soon: time expected: a number and s, m, h, d or w",
        f"{main}: #comment after other text is not allowed: # b...",
        f'{main}: support for parameter "smtpd_use_tls" will be removed; instead, specify "smtpd_tls_security_level"',
        f'{main}: support for parameter "virtual_maps" will be removed; instead, specify "virtual_alias_maps"',
        f"{master}: unused parameter: smtpd_banr=x (line 1; did you mean smtpd_banner?)",
        f'{master}: support for parameter "smtpd_enforce_tls" will be removed; instead, specify "smtpd_tls_security_level"',
        f"{master} line 1: smtpd_hard_error_limit = x: number expected"])
    p = run(OURS, "-c", str(tmp_path), "-nq", check=0)
    assert "unused" not in p.stderr and "removed" not in p.stderr and "number expected" in p.stderr
    main.write_text("a = 1\nnonsense\n")
    p = run(OURS, "-c", str(tmp_path), "-n", check=1)
    assert p.stderr == f"postconf: fatal: {main} line 2: '=' missing after the name: \"nonsense\"\n"
    main.write_text("relayhost = $a\na = $b\nb = $a\n")
    p = run(OURS, "-c", str(tmp_path), "-nx", check=1)
    assert "refers to itself" in p.stderr
    run(OURS, "-c", str(tmp_path / "nowhere"), check=1)


TEMPLATES = """# every text
failure_template = <<WORD
Charset: utf-8
From: Mail <MAILER-DAEMON>
Subject:   Undelivered
Postmaster-Subject: Copy: undelivered

At $myhostname: $maximal_queue_lifetime_days days, $$5
 EOF

last
WORD

delay_template = <<X Y
Subject: Delayed
From: MAILER-DAEMON (Mail)

Late by $delay_warning_time_hours or ${delay_warning_time_minutes} on $(mydomain)
X Y
success_template = <<E
From: a
Subject: b

x
E
"""


BOUNCES = [["-t"], ["-b"], ["-b", "given"], ["-t", "given"], ["-b", "-t"], ["-b", "-d"], ["-t", "-M"], ["-t", "-n"], ["-b", "-x"],
           ["-t", "a", "b"], ["-b", "nosuch"], ["-t", "-e"], ["-b", "-o", "myhostname=other.test", "given"]]


@pytest.fixture(scope="module")
def bounces(tmp_path_factory):
    d = tmp_path_factory.mktemp("bounces")
    (d / "main.cf").write_text(f"myhostname = mail.example.test\ndelay_warning_time = 3h\nbounce_template_file = {d}/bounce.cf\n")
    (d / "master.cf").write_text("")
    (d / "bounce.cf").write_text(TEMPLATES)
    (d / "given").write_text(TEMPLATES.replace("Undelivered", "Given").replace("Late", "Given"))
    return at_once([((who, *args), who, ["-c", str(d), *[str(d / a) if a in ("given", "nosuch") else a for a in args]])
                    for args in BOUNCES for who in (debian(), OURS)])


@pytest.mark.parametrize("args", BOUNCES, ids=" ".join)
def test_same_bounce_texts(bounces, args):
    """What is ours is the built-in wording: the file gives all but the last text, and of that the headers are compared."""
    theirs, ours = (bounces[(who, *args)] for who in (debian(), OURS))
    assert ours.returncode == theirs.returncode
    assert ours.stdout.split("This is the mail system")[0] == theirs.stdout.split("This is the mail system")[0]
    assert ours.stdout.endswith("EOF\n") == theirs.stdout.endswith("EOF\n")


def test_built_in_bounce_texts(tmp_path):
    (tmp_path / "main.cf").write_text("myhostname = mail.example.test\nmaximal_queue_lifetime = 36h\ndelay_warning_time = 90m\nbounce_template_file = /nonexistent\n")
    (tmp_path / "master.cf").write_text("")
    theirs, ours = (run(p, "-c", str(tmp_path), "-t", "") for p in (debian(), OURS))

    def frame(p):
        return [l for l in p.stdout.splitlines() if re.match(r"\w+_template = <<EOF|[\w-]+: |EOF$|This is the mail system", l)]
    assert frame(ours) == frame(theirs)
    text = run(OURS, "-c", str(tmp_path), "-b", "", check=0).stdout
    assert re.findall(r"^\w+ = <<EOF", text, re.M) == [f"expanded_{k}_text = <<EOF" for k in ("failure", "delay", "success", "verify")]
    assert "host mail.example.test." in text and "2 hour(s)" in text and "2 day(s)" in text and "$" not in text
    (tmp_path / "bad").write_text("failure_template = <<EOF\nSubject: x\nNo-Such: y\n\nz\nEOF\n")
    assert "bad: line 3" in run(OURS, "-c", str(tmp_path), "-t", str(tmp_path / "bad"), check=1).stderr


def test_time_grows_with_the_number_of_services_only(tmp_path):
    """Five times as many services: not 25 times the work."""
    def seconds(n):
        (tmp_path / "main.cf").write_text("compatibility_level = 3.6\ns7_destination_recipient_limit = 3\n")
        (tmp_path / "master.cf").write_text("".join(f"s{i} unix - - n - - smtp -o smtp_bind_address=192.0.2.1\n" for i in range(n)))
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        r = subprocess.run([OURS, "-c", tmp_path, "-n"], capture_output=True, text=True, check=True)
        assert "s7_destination_recipient_limit = 3" in r.stdout.splitlines() and r.stderr == ""
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert seconds(9900) < 12 * max(seconds(1980), 0.05)


def test_parameter_documentation_is_current():
    path = os.path.join(ROOT, "docs", "parameters.md")
    with open(path, encoding="utf-8") as f:
        assert f.read() == run(OURS, "--doc", "md", check=0).stdout, "run make docs"
