"""RFC 3461 section 5.2.7: what becomes of NOTIFY, ORCPT, ENVID and RET when an alias, a list or a .forward stands for others, and what the sender is told of it:
our suite and Debian's Postfix with the same settings. The envelopes that leave, the lines of the log and the reports have to be the same."""
import os
import pwd
import re
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import instance  # noqa: E402
import peer  # noqa: E402
from test_addresses_debian import Session, Sink, beside  # noqa: E402

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or not root")
USER = f"ptn-exp{os.getpid()}"
HOST = "mail.example.test"

VIRTUAL = f"""
valias.test         anything
one@valias.test     x1@dsn.test
two@valias.test     x1@dsn.test, x2@plain.test
self@valias.test    self@valias.test, x3@dsn.test
only@valias.test    only@valias.test
deep@valias.test    two@valias.test, x4@plain.test
bad@valias.test     no@error.test
half@valias.test    no@error.test, x1@plain.test
local@valias.test   {USER}+plain
list@valias.test    lst@{HOST}
ext@valias.test     e1@dsn.test
later@valias.test   wait@later.test, x1@plain.test
"""
CANONICAL = "canon@dsn.test  changed@dsn.test\ncanonv@dsn.test one@valias.test\n"
ALIASES = """
a1: x1@dsn.test
a2: x1@dsn.test, x2@plain.test
amix: {user}+none, x1@dsn.test
afile: /dev/null, x1@plain.test
abad: no@error.test
afail: "|exit 69"
afail7: "|exit 7"
asaid: "|printf 'not  here'; exit 67"
asaiddsn: "|printf '5.7.9 not you'; exit 7"
ahalf: "|exit 69", x1@dsn.test
achain: a1
auser: {user}+none
aempty: /dev/null
acommand: "|exit 0"
lst: x1@dsn.test, x2@plain.test
owner-lst: boss@plain.test
lstmix: {user}+none, x1@dsn.test
owner-lstmix: boss@plain.test
lstfail: "|exit 69", x1@plain.test
owner-lstfail: boss@plain.test
lstchain: lst
avirtual: two@valias.test
ainclude: :include:{home}/list
"""
FORWARDS = {"plain": "x1@dsn.test\n", "two": "x1@dsn.test, x2@plain.test\n", "keep": "\\{user}, x1@plain.test\n", "cmd": "|\"exit 0\"\n", "fail": "|\"exit 69\"\n"}
VIRTUALS = [line.split()[0] for line in VIRTUAL.split("\n") if "@" in line.split(" ")[0]] + ["ext+x@valias.test", "canon@dsn.test", "canonv@dsn.test", "direct@dsn.test", "direct@plain.test"]
LOCALS = [line.split(":")[0] + "@" + HOST for line in ALIASES.split("\n") if line and not line.startswith("owner-")] + ["lst+x@" + HOST] + [f"USER+{n}@{HOST}" for n in (*FORWARDS, "none")]
OPTIONS = ["NOTIFY=SUCCESS", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first+40said.test", "NOTIFY=NEVER", "NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;first+40said.test", ""]
# name -> (settings, recipients, options of RCPT)
CASES = {
    "virtual": ({}, VIRTUALS, OPTIONS),
    "local": ({}, LOCALS, OPTIONS),
    "nooriginal": ({"enable_original_recipient": "no"}, ["one@valias.test", "two@valias.test", "local@valias.test", "canonv@dsn.test"], OPTIONS[:2]),
    "nomaps": ({"receive_override_options": "no_address_mappings"}, ["one@valias.test", "canon@dsn.test"], OPTIONS[:1]),
    "always": ({"always_bcc": "copy@dsn.test"}, ["one@valias.test"], OPTIONS[:1]),
    "bcc": ({"recipient_bcc_maps": "inline:{two@valias.test=deep@valias.test}"}, ["two@valias.test"], OPTIONS[:1]),
}
TABLE = [(name, rcpt, options) for name, (_, rcpts, opts) in CASES.items() for rcpt in rcpts for options in opts]


class DsnSink(Sink):
    """Announces DSN and keeps the commands of the envelope as they were said."""
    extensions = b"250-sink\r\n250-PIPELINING\r\n250-DSN\r\n250 8BITMIME\r\n"
    envelope = staticmethod(lambda line: re.sub(rb" SIZE=\d+", b"", line.split(b":", 1)[1].strip()))


@pytest.fixture(scope="module")
def home():
    base = instance.scratch("expansion-")
    home = os.path.join(base, "home")
    os.mkdir(home, 0o755)
    subprocess.run(["userdel", USER], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["useradd", "--no-log-init", "-M", "-d", home, "-s", "/bin/sh", USER], check=True)
    for name, text in [("fw." + n, t) for n, t in FORWARDS.items()] + [("list", "x1@dsn.test, x2@plain.test\n"), ("file", "")]:
        with open(os.path.join(home, name), "w", encoding="ascii") as f:
            f.write(text.replace("{user}", USER))
        os.chmod(os.path.join(home, name), 0o666 if name == "file" else 0o644)
        os.chown(os.path.join(home, name), pwd.getpwnam(USER).pw_uid, 0)
    os.chown(home, pwd.getpwnam(USER).pw_uid, 0)
    yield home
    subprocess.run(["userdel", USER], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["rm", "-rf", base], check=True)


def prepare(system, sink, dsn, home):
    system.main.update({
        "virtual_alias_maps": f"texthash:{system.config}/virtual", "canonical_maps": f"texthash:{system.config}/canonical", "canonical_classes": "envelope_recipient",
        "alias_maps": f"hash:{system.config}/aliases", "alias_database": "$alias_maps", "forward_path": "$home/fw.$extension", "home_mailbox": "inbox",
        "transport_maps": f"inline:{{ {{dsn.test=smtp:[127.0.0.1]:{dsn.port}}} {{error.test=error:5.7.1 not there}} {{later.test=retry:4.4.1 not now}} {{*=smtp:[127.0.0.1]:{sink.port}}} {{{HOST}=local:}} }}",
        "smtp_tls_security_level": "", "smtpd_tls_security_level": "", "notify_classes": "", "mailbox_delivery_lock": "fcntl", "smtpd_client_connection_rate_limit": "0", "myorigin": HOST,
        "minimal_backoff_time": "1000s", "maximal_backoff_time": "2000s", "queue_run_delay": "1000s", "delay_warning_time": "0"})
    system.write("virtual", VIRTUAL)
    system.write("canonical", CANONICAL)
    system.write("main.cf", "")
    path = system.write("aliases", ALIASES.replace("{user}", USER).replace("{home}", home))
    r = subprocess.run([os.path.join(instance.BIN, "postalias"), "hash:" + path], env=dict(os.environ, MAIL_CONFIG=system.config), capture_output=True, check=False)
    assert r.returncode == 0, r.stderr.decode()
    system.extra_master = []
    for case, (settings, _, _) in CASES.items():
        options = "".join(" -o { %s = %s }" % kv for kv in settings.items())
        system.extra_master += [f"127.0.0.1:{system.port[case]} inet n - n - - smtpd -o cleanup_service_name=cleanup-{case}" + options, f"cleanup-{case} unix n - n - 0 cleanup" + options]


def plain(text):
    """Without what is of one run alone."""
    text = re.sub(r"\b(?:[0-9A-F]{8,}|[B-Zb-z0-9]{9,}z[B-Zb-z0-9]+)\b(?:\.\d+/" + re.escape(HOST) + ")?", "QID", text)
    text = re.sub(r"(Arrival-Date|Last-Attempt-Date|Date): .*", r"\1: DATE", text)
    return re.sub(r"(127\.0\.0\.1\]:)\d+", r"\1PORT", text).replace(USER, "USER").replace("Postern", "Postfix").replace("\r\n", "\n")


def report(text):
    """A report: what people and programs read of it."""
    head = plain(text).split("\n\n", 1)[0]
    if "\nTo: owner-" in head:  # Postfix leaves the list's name out, and names who wrote to it
        text = re.sub(r"(Original-Recipient: |X-\w+-Sender: ).*\r\n", "", text)
    first, second = re.search(r"Content-Description: Notification\n.*?\n\n(.*?)\n--QID.*?Content-Type: message/delivery-status\n\n(.*?)\n--QID", plain(text), re.S).groups()
    return "\n".join(re.findall(r"^(?:To|From|Subject): .*", head, re.M)) + "\n" + re.sub(r"\s+", " ", first[first.find("\n\n<"):]) + "\n" + re.sub(r"\n +", " ", second)


def results(system, sinks):
    """case -> what left, and what was told."""
    out, log = {}, system.log()
    ident = dict(re.findall(r": (\w+): message-id=<(.*)@case>$", log, re.M))
    for qid, rest in re.findall(r": (\w+): (to=<.*|from=<.*)$", log, re.M):
        if qid in ident:
            rest = re.sub(r" (delay|delays|conn_use|size)=[^,]*,", "", rest)
            out.setdefault(ident[qid], []).append("log " + re.sub(r"\(250.*", "", plain(rest)))
    for sink in sinks:
        for sender, rcpts, text in sink.got:
            text = text.decode("utf-8", "replace")
            case = re.search(r"^Message-ID: <(.*)@case>\r$", text, re.M).group(1)
            if sender in (b"", b"<>"):
                out.setdefault(case, []).append("report " + " ".join(r.decode() for r in rcpts) + "\n" + report(text))
            else:
                out.setdefault(case, []).extend(plain(f"sent {type(sink).__name__} {sender.decode()} {r.decode()}") for r in rcpts)
    return {case: sorted(lines) for case, lines in out.items()}


def run(system, sinks):
    replies = {}
    for case in CASES:
        s = Session(system.port[case])
        for n, (name, rcpt, options) in enumerate(TABLE):
            if name == case:
                text = f"From: a@far.test\r\nTo: b@far.test\r\nDate: Sat, 28 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{n}@case>\r\n\r\nx\r\n."
                replies[n] = [re.sub(r"queued as \w+", "queued", s.say(line)) for line in
                              ("MAIL FROM:<sender@plain.test> ENVID=e-1 RET=HDRS", f"RCPT TO:<{rcpt.replace('USER', USER)}> {options}".strip(), "DATA", text)]
        s.say("QUIT")
    assert instance.until(lambda: all(f"message-id=<{n}@case>" in system.log() for n in range(len(TABLE))))
    settled(system)
    return replies, results(system, sinks)


def settled(system):
    def over():
        queued = system.command("postqueue", "-j").stdout.decode()
        return queued.count('"queue_name"') == queued.replace('": "', '":"').count('"queue_name":"deferred"') and len(re.findall(r" \(queue active\)", system.log())) >= len(TABLE)
    assert instance.until(over, every=0.3), system.command("postqueue", "-p").stdout.decode() + system.log()[-3000:]


@pytest.fixture(scope="module")
def both(home):
    dsn = []

    def setup(system, sink):
        dsn.append(DsnSink())
        prepare(system, sink, dsn[-1], home)
    try:
        yield from beside("expansion-", CASES, setup, lambda system, sink: run(system, (sink, dsn[-1])))
    finally:
        for s in dsn:
            s.close()


# A member of a list who has an account gets it at once here; Postfix sends a new message to all members.
AT_ONCE = f"lstmix@{HOST}"


def without_member(said, rcpt):
    return [re.sub(r"(owner-.*nrcpt=)\d", r"\1N", line) if rcpt == AT_ONCE else line for line in said if rcpt != AT_ONCE or not line.startswith("log to=<USER")]


@pytest.mark.parametrize("n", range(len(TABLE)), ids=lambda n: " ".join(TABLE[n]))
def test_same(both, n):
    ours, theirs = ({"replies": r[0][n], "said": without_member(r[1][str(n)], TABLE[n][1])} for r in both)
    assert ours == theirs
