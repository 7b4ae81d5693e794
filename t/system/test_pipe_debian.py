"""pipe(8) and Debian's: what commands are given (arguments, content, environment, rights), and what their ends and their words come to."""
import json
import os
import re
import shutil
import smtplib

import pytest

import peer
from instance import Instance, free_ports, scratch, until

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="needs root and Debian's postfix")
# Appends what it was given to $DUMP. The first word of its arguments is the case; "exit" ends as the message says.
PROGRAM = r"""#!/usr/bin/python3
import json, os, signal, sys, time
given = {"case": sys.argv[1], "args": sys.argv[2:], "env": dict(os.environ), "cwd": os.getcwd(), "ids": [os.getuid(), os.getgid(), sorted(os.getgroups())], "umask": os.umask(0o22),
         "content": sys.stdin.buffer.read().decode("latin-1")}
with open(os.environ["DUMP"], "a") as f:
    f.write(json.dumps(given) + "\n")
if sys.argv[1] == "exit":
    how, _, text = given["content"].partition("X-Exit: ")[2].partition("\n")[0].partition("/")
    sys.stdout.buffer.write(text.encode("latin-1").decode("unicode_escape").encode("latin-1"))
    sys.stdout.flush()
    if how.startswith("sig"):
        os.kill(os.getpid(), int(how[3:]))
        time.sleep(10)
    os._exit(int(how))
"""
# service -> attributes; mail for SERVICE.test goes through it with the next hop "Next.Hop", several recipients at a time
ONE = ("content", "bsmtp", "crlf", "escapes", "loop", "final")
SERVICES = {
    "plain": "user=nobody argv=P plain $sender $recipient",
    "macros": "user=nobody argv=P macros $sender nexthop=$nexthop user=$user ext=$extension mailbox=$mailbox domain=$domain orig=$original_recipient",
    "client": "user=nobody argv=P client addr=$client_address name=$client_hostname helo=$client_helo proto=$client_protocol method=$sasl_method user=$sasl_username sender=$sasl_sender",
    "forms": "user=nobody argv=P forms ${sender} $(recipient) ${recipient}x$(user)y $$ $$sender a$$b $user$domain",
    "braces": "user=nobody argv=P braces { two words } {$sender} { a $recipient b } {} {  } x{y} \"q $sender\" 'r'",
    "fold": "user=nobody flags=hu argv=P fold $recipient $user $extension $mailbox $domain $nexthop $original_recipient $sender",
    "foldh": "user=nobody flags=h argv=P foldh $recipient $user $domain $nexthop $original_recipient $sender",
    "quote": "user=nobody flags=q argv=P quote $sender $recipient $user $mailbox $original_recipient",
    "quotefold": "user=nobody flags=hqu argv=P quotefold $sender $recipient $original_recipient",
    "null": "user=nobody flags=FR null_sender= argv=P null [$sender] $sender $recipient",
    "named": "user=nobody flags=FRq null_sender=<no-body> argv=P named [$sender] $recipient",
    "unquoted": "user=nobody flags=FR null_sender=<no-body> argv=P unquoted [$sender] $recipient",
    "content": "user=nobody flags=BDFORX> argv=P content",
    "bsmtp": "user=nobody flags=.FqR> argv=P bsmtp",
    "crlf": "user=nobody flags=FB eol=\\r\\n argv=P crlf",
    "escapes": "user=nobody eol=\\t\\101\\\\n\\n argv=P escapes",
    "final": "user=nobody flags=X argv=P final",
    "loop": "user=nobody flags=D argv=P loop",
    "group": "user=nobody:mail directory=/usr argv=P group",
    "size": "user=nobody size=300 argv=P size $recipient",
    "exit": "user=nobody argv=P exit",
    "missing": "user=nobody argv=/nonexistent/program x",
    "denied": "user=nobody argv=/etc/passwd x",
    "nodir": "user=nobody directory=/nonexistent argv=P nodir",
    "noroot": "user=nobody chroot=/nonexistent argv=P noroot",
    "relative": "user=nobody argv=program x",
}
HEAD = "From: a@b.test\nMessage-ID: <1@b.test>\nDate: Sat, 28 Nov 2026 10:00:00 +0000\n"
PLAIN = HEAD + "Subject: x\n\nhello\n"
ODD = HEAD + "Delivered-To: other@loop.test\n\nFrom here\n>From there\n.\n..two\n.x\nlast\n\n"
EXITS = ["0/", "0/all is well", "0/2.1.5 good", "0/2.1.5 two\\nlines", "1/", "1/some words", "1/\\n\\n", "2/5.7.1 not you", "64/", "65/bad", "66/", "67/nobody", "67/4.2.2 full", "68/", "69/5.3.2 busy", "69/",
         "70/", "71/no fork", "72/", "73/", "74/", "75/later", "75/5.1.1 gone", "76/", "77/", "78/conf", "79/", "99/", "127/", "255/4.7.1 no", "sig9/", "sig15/killed me", "sig15/4.1.1 stay",
         "1/long " + "word-" * 150, "1/tab\\there\\x01\\x7f\\xe4", "1/line one\\nline two\\n\\nline four", "67/5.9.99 odd", "67/5.1.1", "67/4.2.2 full\\n", "0/done\\n", "0/2.0.0 done\\n", "0/ before\\n", "0/\\n", "75/\\nlater\\n", "67/5.1.1  two blanks", "67/ 5.1.1 one before", "1/4.7.1\\nmore", "75/4.2.0-dash"]
# name -> sender, recipients, content
MAILS = {
    "plain": ("A@B.test", ["Kim@plain.test"], PLAIN),
    "plain-two": ("a@b.test", ["one@plain.test", "two+x@plain.test", '"a b"@plain.test'], PLAIN),
    "plain-null": ("", ["kim@plain.test"], PLAIN),
    "macros": ("S+e@B.test", ["Kim+Ext@Macros.test", "alias@here.test", "+x@macros.test", "a+b+c@macros.test"], PLAIN),
    "client": ("a@b.test", ["kim@client.test"], PLAIN),
    "forms": ("a@b.test", ["Kim@forms.test", "x@forms.test"], PLAIN),
    "braces": ("a@b.test", ["kim@braces.test", "x@braces.test"], PLAIN),
    "fold": ("Big@B.Test", ["Kim+Ext@FOLD.test", "ALIAS@here.test", '"Q u"@Fold.test'], PLAIN),
    "foldh": ("Big@B.Test", ["Kim+Ext@FOLDH.test"], PLAIN),
    "quote": ('"s p"@b.test', ['"a b"@quote.test', '"a\\"b\\\\c"@quote.test', "x.y@quote.test", '"x..y"@quote.test', '"x@y"@quote.test', "-dash@quote.test"], PLAIN),
    "quotefold": ('"S P"@B.test', ['"A b"@Quotefold.test'], PLAIN),
    "null": ("", ["kim@null.test"], PLAIN), "null-other": ("a@b.test", ["kim@null.test"], PLAIN), "named": ("", ["kim@named.test"], PLAIN), "unquoted": ("", ["kim@unquoted.test"], PLAIN),
    "content": ("A.b@C.test", ["Kim@content.test"], ODD), "content-null": ("", ["kim@content.test"], ODD), "content-quoted": ('"a b"@c.test', ['"K i"@content.test'], ODD),
    "bsmtp": ('"a b"@c.test', ["kim@bsmtp.test"], ODD), "crlf": ("a@b.test", ["kim@crlf.test"], ODD), "escapes": ("a@b.test", ["kim@escapes.test"], ODD),
    "loop": ("a@b.test", ["kim@loop.test"], ODD), "loop-back": ("", ["OTHER@loop.test"], ODD),
    "final": ("a@b.test", ["kim@final.test"], PLAIN), "group": ("a@b.test", ["kim@group.test"], PLAIN),
    "size": ("", ["kim@size.test"], PLAIN + "x" * 70 + "\n" + "y" * 900 + "\n"),
    **{name: ("", [f"kim@{name}.test"], PLAIN) for name in ("missing", "denied", "nodir", "noroot", "relative")},
    **{"exit " + text[:40]: ("", ["kim@exit.test"], f"X-Exit: {text}\n{PLAIN}") for text in EXITS},
}


def prepare(system, base, program):
    dump = os.path.join(system.base, "dump")
    os.makedirs(system.base, exist_ok=True)
    os.chmod(system.base, 0o755)
    with open(dump, "w", encoding="ascii"):
        os.chmod(dump, 0o666)
    system.dump = dump
    system.main.update({
        "transport_maps": "inline:{ " + " ".join(f"{{{s}.test={s}:Next.Hop}}" for s in SERVICES) + " }", "export_environment": f"DUMP={dump} TZ LANG=C",
        "virtual_alias_domains": "here.test", "virtual_alias_maps": "inline:{ alias@here.test=Other+E@macros.test }", "propagate_unmatched_extensions": "", "notify_classes": "",
        "smtpd_relay_restrictions": "permit_mynetworks, reject", "smtpd_reject_unlisted_recipient": "no", "default_destination_concurrency_failed_cohort_limit": "0",
        "default_destination_concurrency_limit": "1", "relayhost": "", "default_transport": "discard:", "local_recipient_maps": "", "allow_min_user": "yes", "minimal_backoff_time": "3000s", "maximal_backoff_time": "3000s", "strict_rfc821_envelopes": "no",
        **{f"{s}_destination_recipient_limit": "1" if s in ONE or s == "exit" else "50" for s in SERVICES}})
    system.extra_master = [f"{name} unix - n n - - pipe\n  " + attributes.replace("argv=P ", f"argv={program} ").replace("argv=program", "argv=" + os.path.basename(program))
                           for name, attributes in SERVICES.items()]


def normal(text):
    text = re.sub(r"^Received: .*\n([ \t].*\n)*", "", text, flags=re.M)
    text = re.sub(r"^Received: .*\r\n([ \t].*\r\n)*", "", text, flags=re.M)
    return re.sub(r"^(From \S.*?  )\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", r"\1DATE", text)


def run(system):
    ids = {}
    for name, (sender, rcpts, text) in MAILS.items():
        with smtplib.SMTP("127.0.0.1", system.port["smtp"], timeout=60, local_hostname="me.test") as s:
            s.ehlo("me.test")
            assert s.docmd(f"MAIL FROM:<{sender}>")[0] == 250
            for r in rcpts:
                code, said = s.docmd(f"RCPT TO:<{r}>")
                assert code == 250, (name, said)
            code, said = s.data(text.replace("\n", "\r\n"))
            assert code == 250, said
            ids[re.search(rb"queued as (\w+)", said)[1].decode()] = name
    wanted = sum(len(m[1]) for m in MAILS.values())
    assert until(lambda: sum(len(re.findall(rf": {q}: to=", system.log())) for q in ids) >= wanted), system.log()[-5000:]
    lines = {}
    for q, rest in re.findall(r": (\w+): (to=<.*)$", system.log(), re.M):
        if q in ids:
            lines.setdefault(ids[q], []).append(re.sub(r" (delay|delays)=[^,]*,", "", rest))
    given = {}
    with open(system.dump, encoding="ascii") as f:
        for line in f:
            g = json.loads(line)
            g["content"] = normal(g["content"]).replace(system.base, "BASE")
            g["env"] = {k: v.replace(system.base, "BASE") for k, v in g["env"].items() if k != "LC_CTYPE"}  # which Python sets itself
            g["cwd"] = g["cwd"].replace(system.base, "BASE")
            given.setdefault(g.pop("case"), []).append(g)
    return {k: sorted(v) for k, v in lines.items()}, given


@pytest.fixture(scope="module")
def both():
    base, result = scratch("pipe-"), []
    os.chmod(base, 0o755)
    program = os.path.join(base, "program")
    with open(program, "w", encoding="ascii") as f:
        f.write(PROGRAM)
    os.chmod(program, 0o755)
    try:
        for name in ("ours", "theirs"):
            system = Instance(os.path.join(base, name), ports={"smtp": free_ports(1)[0]}) if name == "ours" else peer.Peer(os.path.join(base, name))
            prepare(system, base, program)
            system.start()
            try:
                result.append(run(system))
            finally:
                system.stop()
        yield result
    finally:
        shutil.rmtree(base, ignore_errors=True)


# What Postfix cannot start is its own "fatal" line within the command's words; EX_IOERR defers here; Postfix puts what lies behind a status without text in its memory.
OTHERWISE = {
    "missing": r"4\.3\.0, status=deferred \(temporary failure. Command output: cannot execute /nonexistent/program: No such file or directory\s*\)",
    "denied": r"4\.3\.0, status=deferred \(temporary failure. Command output: cannot execute /etc/passwd: Permission denied\s*\)",
    "relative": r"4\.3\.0, status=deferred \(temporary failure. Command output: cannot execute program: No such file or directory\s*\)",
    "nodir": r"4\.3\.0, status=deferred \(temporary failure. Command output: cannot change directory to /nonexistent: No such file or directory\s*\)",
    "noroot": r"4\.3\.0, status=deferred \(cannot run the command: .*\)",
    "exit 74/": r"4\.3\.0, status=deferred \(input/output error\)",
    "exit 67/5.1.1": r"5\.1\.1, status=bounced \(user unknown. Command output: 5.1.1\)",
}


@pytest.mark.parametrize("name", MAILS)
def test_same_result(both, name):
    ours, theirs = (r[0].get(name) for r in both)
    if name in OTHERWISE:
        assert len(ours) == len(theirs) == 1 and re.search("dsn=" + OTHERWISE[name], ours[0]), (ours, theirs)
    else:
        assert ours == theirs


@pytest.mark.parametrize("service", [s for s in SERVICES if s != "exit"])
@pytest.mark.parametrize("what", ["args", "content", "cwd", "ids", "umask", "env"])
def test_same_given(both, service, what):
    """Recipients that come together are in the order of their names in Postfix."""
    ours, theirs = (sorted((sorted(g[what]) if what == "args" else g[what] for g in r[1].get(service, [])), key=str) for r in both)
    assert ours == theirs
