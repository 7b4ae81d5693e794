"""aliases(5): what postalias(1) says of a source and stores, and what comes of mail for every name, in our local(8) and in Debian's, with the same
file: the result of every recipient, who gets copies and from whom, and which files grow."""
import os
import re
import shutil
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import instance  # noqa: E402
import peer  # noqa: E402
from test_addresses_debian import Session, Sink  # noqa: E402

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or not root")
HOST = "mail.example.test"

# Name of the recipient (its local part, when a third member does not tell another) -> lines of the table. {home}: a directory that all may write.
CASES = {
    "plain": "plain: one@far.test\n",
    "two": "two: one@far.test, two@far.test\n",
    "blanks": "blanks: one@far.test two@far.test\n",
    "words": "words: nobody-one nobody-two one@far.test\n",
    "blanksmixed": 'blanksmixed: plain "a b"  one@far.test,three@far.test \\two three@far.test\n',
    "blanksat": "blanksat: one @ far.test two@far.test\n",
    "blanksangle": "blanksangle: <one@far.test> Some Two <two@far.test>\n",
    "blanksfile": 'blanksfile: {home}/file4 one@far.test "{home}/file5"\n',
    "blankscommand": 'blankscommand: "|cat >{home}/piped4" one@far.test\n',
    "blankscommand2": 'blankscommand2: |"cat >{home}/piped5" two@far.test\n',
    "blanksincl": "blanksincl: :include:{home}/blanks\n",
    "semicolon": "semicolon: one@far.test; two@far.test\n",
    "badone": "badone: one@far.test, two@, three@far.test\n",
    "emptyones": "emptyones: one@far.test, <>, (), ;\n",
    "commented": "# commented: two@far.test\ncommented: one@far.test\n # still a comment\n",
    "cont": "cont: one@far.test,\n  two@far.test\n\tthree@far.test\n",
    "contcomment": "contcomment: one@far.test,\n# between\n  two@far.test\n",
    "contblank": "contblank: one@far.test,\n\n  \n  two@far.test\n",
    "contname": "contname:\n  one@far.test\n",
    "remark": "remark: one@far.test # two@far.test\n",
    "paren": "paren: one@far.test (two@far.test)\n",
    "q name": '"q name": one@far.test\n',
    "q:name": '"q:name": one@far.test\n',
    "plainquoted": '"plainquoted": one@far.test\n',
    "quotedvalue": 'quotedvalue: "a b"@far.test\n',
    "quotedwhole": 'quotedwhole: "one@far.test"\n',
    "angle": "angle: Some One <one@far.test>\n",
    "anglename": "<anglename>: one@far.test\n",
    "group": "group: friends: one@far.test, two@far.test;\n",
    "incl": "incl: :include:{home}/list\n",
    "inclrules": "inclrules: :include:{home}/list, three@far.test\n",
    "inclquoted": 'inclquoted: ":include:{home}/list"\n',
    "inclnested": "inclnested: :include:{home}/nested\n",
    "inclself": "inclself: :include:{home}/loop\n",
    "inclnone": "inclnone: :include:{home}/none\n",
    "inclrelative": "inclrelative: :include:list\n",
    "inclvoid": "inclvoid: :include:{home}/void\n",
    "inclcommand": "inclcommand: :include:{home}/cmds\n",
    "incllocal": "incllocal: :include:{home}/locals\n",
    "incldir": "incldir: :include:{home}\n",
    "command": 'command: "|cat >{home}/piped"\n',
    "commandouter": "commandouter: |\"cat >{home}/piped2\"\n",
    "commandescaped": 'commandescaped: |"echo \\"a  b\\" >{home}/echoed; cat >>{home}/piped3", one@far.test\n',
    "commandbare": "commandbare: |{home}/tool\n",
    "commandblank": "commandblank: |{home}/tool a b\n",
    "failing": 'failing: "|exit 7"\n',
    "tempfail": 'tempfail: "|exit 75"\n',
    "nosuchuser": 'nosuchuser: "|exit 67"\n',
    "nocommand": "nocommand: |/no/such/program\n",
    "emptycommand": "emptycommand: |\n",
    "environmentall": 'environmentall: "|env -u PWD -u MAIL_CONFIG >&2; exit 69"\n',
    "environment": "environment: \"|echo $LOCAL $DOMAIN $EXTENSION $RECIPIENT $USER >&2; exit 69\"\n",
    "file": "file: {home}/file\n",
    "quotedfile": 'quotedfile: "{home}/with blank"\n',
    "devnull": "devnull: /dev/null\n",
    "nofile": "nofile: /no/such/directory/file\n",
    "mixed": 'mixed: one@far.test, {home}/file2, "|exit 0"\n',
    "wrongmixed": 'wrongmixed: one@far.test, "|exit 7"\n',
    "lst": "lst: one@far.test, two@far.test\nowner-lst: boss@far.test\n",
    "lst2": "lst2: one@far.test\nowner-lst2: boss@far.test, deputy@far.test\n",
    "lst3": "lst3: one@far.test\nowner-lst3: lst3-request\nlst3-request: boss@far.test\n",
    "lst4": "lst4: :include:{home}/list\nowner-lst4: boss@far.test\n",
    "owner-lst": "",
    "n1": "n1: n2, one@far.test\nn2: n3\nn3: two@far.test, one@far.test\n",
    "l1": "l1: l2\nl2: l1\n",
    "ring1": "ring1: ring2, one@far.test\nring2: ring3\nring3: ring1\n",
    "ringself": "ringself: ring4\nring4: ringself, ring4\n",
    "ringhost": f"ringhost: ring5@{HOST}\nring5: ringhost@{HOST}\n",
    "l3": "l3: l3, one@far.test\n",
    "selfhost": f"selfhost: selfhost@{HOST}\n",
    "unknown": "unknown: nobody-of-this-name\n",
    "UPPER": "Upper: one@far.test\n",
    "uppervalue": "uppervalue: PLAIN, One@FAR.test\n",
    "novalue": "novalue:\n",
    "novalueblank": "novalueblank:   \n",
    "12": "12: one@far.test\n",
    "0": "0: one@far.test\n",
    "tight": "tight:one@far.test\n",
    "loose": "loose   :   one@far.test   \n",
    "tabbed": "tabbed\t:\tone@far.test\n",
    "atdomain": f"atdomain@{HOST}: one@far.test\n",
    "quotedat": '"quotedat@x": one@far.test\n',
    "dup": "dup: one@far.test\ndup: two@far.test\n",
    "dupcase": "dupcase: one@far.test\nDupCase: two@far.test\n",
    "nocolon": "nocolon one@far.test\n",
    "twonames": "twonames, more: one@far.test\n",
    "dots.in.it": "dots.in.it: one@far.test\n",
    "plain+ext": "",
    "ext+one": "ext: two@far.test\next+one: one@far.test\n",
    "ext+two": "",
    "lst+ext": "",
    "b\u00fc": "b\u00fc: one@far.test\n",
    "utf8value": "utf8value: b\u00fcro@far.test\n",
    "crlf": "crlf: one@far.test\r\n",
    "nul": "nul: one@far.test\0two@far.test\n",
    "unclosed": 'unclosed: "one@far.test\n',
    "unopened": "unopened: one@far.test)\n",
    "commas": "commas: ,,one@far.test,,\n",
    "onlycommas": "onlycommas: ,,,\n",
    "at": "at: @far.test\n",
    "bang": "bang: far.test!one\n",
    "percent": f"percent: one%far.test@{HOST}\n",
    "route": "route: @hop.test:one@far.test\n",
    "backslash": "backslash: \\nobody-of-this-name\n",
    "longname": "x" * 300 + ": one@far.test\nlongname: " + "y" * 300 + "@far.test\n",
    "long": "long: " + ", ".join(f"user-number-{n:04}@far.test" for n in range(500)) + "\n",
    "longfold": "longfold: one@far.test" + "".join(f",\n  u{n}@far.test" for n in range(400)) + "\n",
    "toolong": "toolong: " + "z" * 3000 + "@far.test\n",
    "noeol": "noeol: one@far.test",
}
FILES = {"list": "one@far.test\ntwo@far.test\n", "nested": ":include:{home}/list\nthree@far.test\n", "loop": ":include:{home}/loop\n", "void": "# none\n", "blanks": "one@far.test two@far.test\nthree@far.test\n",
         "cmds": '"|exit 0"\n{home}/file3\n', "locals": "plain\n# no\n\n  two, three@far.test\n", "tool": "#!/bin/sh\ncat >>{home}/tool.$#\n"}


def text(case, home):
    return CASES[case].replace("{home}", home).encode()


def built(system, home):
    """What postalias says of each case, in a table of its own, and of all of them in one: messages, by case ("": in one). It succeeds."""
    paths = [system.write(f"t{n:03}", "") for n in range(len(CASES))] + [system.write("aliases", "")]
    texts = [text(c, home) for c in CASES]
    for path, t in zip(paths, [*texts, b"".join(texts)]):
        with open(path, "wb") as f:
            f.write(t)
    r = system.command("postalias", *("hash:" + path for path in paths))
    lines = [re.sub(r"^postalias: ", "", l) for l in r.stderr.decode("utf-8", "replace").splitlines()]
    assert r.returncode == 0 and all("warning: " + system.config in l for l in lines), lines
    return {c: [l.replace(path, "TABLE") for l in lines if path in l] for c, path in zip([*CASES, ""], paths)}


def pairs(command, table):
    lines = command("postalias", "-s", f"hash:{table}").stdout.splitlines()
    return sorted(l for l in lines if not l.startswith((b"@:", b"YP_")))


@pytest.fixture(scope="module")
def home():
    base = instance.scratch("aliases-")
    home = os.path.join(base, "home")
    os.mkdir(home)
    os.chmod(home, 0o777)
    yield home
    shutil.rmtree(base, ignore_errors=True)


def furnish(home):
    for entry in os.listdir(home):
        os.unlink(os.path.join(home, entry))
    for name, content in FILES.items():
        with open(os.path.join(home, name), "w", encoding="utf-8") as f:
            f.write(content.replace("{home}", home))
        os.chmod(os.path.join(home, name), 0o755)


def clean(line, home):
    line = re.sub(r" (relay|delay|delays|conn_use)=[^,]*,", "", line.replace(home, "HOME"))
    return re.sub(r"\((250|forwarded as).*", "", line)


def results(system, sink, home):
    """case -> what its recipients on this host came to; copies with their senders; files that grew."""
    out, log = {}, system.log()
    ident = dict(re.findall(r": (\w+): message-id=<(.*)@case>$", log, re.M))
    for qid, rest in re.findall(r": (\w+): (to=<.*)$", log, re.M):
        if qid in ident and not re.search(r"to=<[^>]*@far\.test>", rest, re.I):
            out.setdefault(ident[qid], set()).add(clean(rest, home))
    for sender, rcpts, message in sink.got:
        m = re.search(rb"^Message-ID: <(.*)@case>\r$", message, re.M)
        if m:
            out.setdefault(m.group(1).decode(), set()).update(f"copy {r.decode('utf-8', 'replace')} from {sender.decode()}" for r in rcpts)
    for name in set(os.listdir(home)) - set(FILES):
        with open(os.path.join(home, name), "rb") as f:
            for case in re.findall(rb"^Message-ID: <(.*)@case>", f.read(), re.M):
                out.setdefault(case.decode(), set()).add("file " + name)
    return out


def settled(system, sent):
    """Every message was tried: each has left, or waits with nobody working on it."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        ids = re.findall(r": (\w+): message-id=<.*@case>$", system.log(), re.M)
        log = system.log()
        if len(set(ids)) >= sent and b"*" not in system.command("postqueue", "-p").stdout and all(
                re.search(rf": {i}: (to=.*status=deferred|removed)", log) for i in ids):
            return
        time.sleep(0.3)
    raise AssertionError(system.command("postqueue", "-p").stdout.decode() + system.log()[-3000:])


@pytest.fixture(scope="module")
def both(home):
    got = []
    for kind in (instance.Instance, peer.Peer):
        furnish(home)
        sink = Sink()
        base = os.path.join(os.path.dirname(home), kind.__name__)
        system = kind(base, main={
            "alias_maps": f"hash:{base}/etc/aliases", "alias_database": "$alias_maps", "default_transport": f"smtp:[127.0.0.1]:{sink.port}", "relayhost": "",
            "smtp_tls_security_level": "", "smtpd_tls_security_level": "", "command_time_limit": "20s", "smtputf8_enable": "yes",
            "maximal_queue_lifetime": "1d", "minimal_backoff_time": "1000s", "maximal_backoff_time": "2000s", "queue_run_delay": "1000s",
            "mailbox_delivery_lock": "fcntl", "notify_classes": "", "smtp_destination_recipient_limit": "1000", "myorigin": HOST})
        try:
            system.write_config()
            tables = built(system, home)
            tables[""] = tables[""], pairs(system.command, os.path.join(system.config, "aliases"))
            system.start()
            session = Session(system.port["smtp"])
            sent = 0
            for n, case in enumerate(CASES):
                local = f'"{case}"' if " " in case or ":" in case else "quotedat" if case == "quotedat" else case
                message = f"From: a@far.test\nTo: b@far.test\nSubject: x\nDate: Sat, 28 Nov 2026 10:00:00 +0000\nMessage-ID: <{n}@case>\n\nx\n"
                utf8 = "" if case.isascii() else " SMTPUTF8"
                for line in (f"MAIL FROM:<sender@far.test>{utf8}", f"RCPT TO:<{local}@{HOST}>", "DATA", message.replace("\n", "\r\n") + "."):
                    reply = session.say(line)
                    assert reply[0] in "23", (case, line, reply)
                sent += 1
            settled(system, sent)
            r = results(system, sink, home)
            got.append({c: (tables[c], r.get(str(n))) for n, c in enumerate(CASES)} | {"": (tables[""], None)})
        finally:
            system.stop()
            sink.close()
    return got


# Where what comes of a name differs: a word of ours. The rest is Postfix's doing.
DIFFERENT = {
    # A list in which nothing is understood waits until it is put right. Postfix sends it to ""@far.test, to half an address, to a command of no words.
    "emptycommand": "dsn=4.3.5", "unopened": "dsn=4.3.5", "at": "dsn=4.3.5", "toolong": "dsn=4.3.5",
    # Postfix drops the mail without a word.
    "inclself": "alias database loop", "inclvoid": "dsn=4.3.5",
    # What may be put right is tried again instead of bounced.
    "inclnone": "dsn=4.3.5", "incldir": "dsn=4.3.5", "nofile": "dsn=4.2.0",
    # A command is one although it has blanks.
    "commandblank": "delivered to command: HOME/tool a b",
    # A NUL is no end of a line: postalias says so, and leaves the name out.
    "nul": "unknown user",
    # The case of a domain stays.
    "uppervalue": "copy One@FAR.test",
    # texts
    "nocommand": "dsn=4.3.0, status=deferred (temporary failure. Command output: cannot execute",
}
NUL = {"nul": "warning: TABLE, line 1: null byte in input -- ignoring this line"}


@pytest.mark.parametrize("case", [*CASES, ""])
def test_postalias(both, case):
    ours, theirs = (r[case][0] for r in both)
    if case in NUL:
        assert ours == [NUL[case]]
    elif case == "":
        told = [[l for l in x[0] if "null byte" not in l] for x in (ours, theirs)]
        assert told[0] == told[1]
        assert ours[1] == [l for l in theirs[1] if not l.startswith(b"nul:")]
    else:
        assert ours == theirs


@pytest.mark.parametrize("case", CASES)
def test_local(both, case):
    ours, theirs = (r[case][1] for r in both)
    assert ours == theirs or (case in DIFFERENT and any(DIFFERENT[case] in line for line in ours))
