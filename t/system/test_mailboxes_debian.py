"""Final delivery by local(8) and virtual(8): a table of settings, each a service of its own in master.cf, in our suite and in Debian's Postfix, with the
same account and the same files. What the log says of every recipient, who gets copies, and every file that is left (name, owner, mode, content) have
to be the same."""
import fcntl
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import instance  # noqa: E402
import peer  # noqa: E402
from test_addresses_debian import Session, Sink  # noqa: E402

pytestmark = pytest.mark.skipif(not peer.HAVE, reason="Debian's postfix is not installed, or not root")
USER = f"ptn-box{os.getpid()}"
ENV = "env | grep -v -e ^_= -e ^PWD= -e ^SHLVL= -e ^OLDPWD= -e ^MAIL_CONFIG= -e ^PATH= -e ^MAIL_VERSION= | sort >"
FROM_LINES = "From the start\n>From quoted\n\nFrom here\n.dot\nFrom\n"
OLD = "From old@far.test  Sat Nov 28 10:00:00 2026\nSubject: old\n\nold\n\n"

NO_PLUS = "1234567890!@%-_=:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
OWNED = "inline:{ { no-{c} = w@far.test } { owner-no-{c} = boss@far.test } { no2-{c} = x@far.test } }"
CHAIN = "inline:{ { no-{c} = no2-{c} } { no2-{c} = {spool}/dirs/{c}, r@far.test } }"

# case -> (settings of its service, [recipients; "{u}" the account, "{c}" the case], what else: files in the home (text, mode, owner or None), sender, body)
LOCAL = {
    "spool": ({"mail_spool_directory": "{spool}"}, ["{u}+{c}"], {}),
    "spooldir": ({"mail_spool_directory": "{spool}/dirs/"}, ["{u}+{c}"], {}),
    "mbox": ({"home_mailbox": "mbox"}, ["{u}+{c}", "{U}+{c}@Mail.Example.Test"], {"body": FROM_LINES}),
    "maildir": ({"home_mailbox": "Maildir/"}, ["{u}+{c}"], {"body": FROM_LINES}),
    "nullsender": ({"home_mailbox": "nullbox"}, ["{u}+{c}"], {"sender": ""}),
    "quotedsender": ({"home_mailbox": "quotedbox"}, ["{u}+{c}"], {"sender": "\"a b\"@far.test"}),
    "blanksender": ({"home_mailbox": "blankbox"}, ["{u}+{c}"], {"sender": "\"From x\\\"y\"@far.test"}),
    "returnpath": ({"home_mailbox": "retbox"}, ["{u}+{c}"], {"head": "Return-Path: <forged@far.test>\nDelivered-To: other@far.test\nX-Original-To: z@far.test\n"}),
    "nodelivered": ({"home_mailbox": "nodelbox", "prepend_delivered_header": ""}, ["{u}+{c}"], {}),
    "onlyforward": ({"home_mailbox": "onlybox", "prepend_delivered_header": "forward"}, ["{u}+{c}"], {}),
    "subdir": ({"home_mailbox": "no/such/box"}, ["{u}+{c}"], {}),
    "submaildir": ({"home_mailbox": "no2/such/dir/"}, ["{u}+{c}"], {}),
    "flock": ({"home_mailbox": "flockbox", "mailbox_delivery_lock": "flock"}, ["{u}+{c}"], {}),
    "dotlock": ({"home_mailbox": "dotbox", "mailbox_delivery_lock": "dotlock, fcntl"}, ["{u}+{c}"], {}),
    "locked": ({"home_mailbox": "lockedbox", "mailbox_delivery_lock": "dotlock", "deliver_lock_attempts": "2", "deliver_lock_delay": "1s"}, ["{u}+{c}"],
               {"files": {"lockedbox": (OLD, 0o600, None), "lockedbox.lock": ("1", 0o600, None)}}),
    "held": ({"home_mailbox": "heldbox", "mailbox_delivery_lock": "fcntl", "deliver_lock_attempts": "2", "deliver_lock_delay": "1s"}, ["{u}+{c}"],
             {"files": {"heldbox": (OLD, 0o600, None)}}),
    "full": ({"home_mailbox": "fullbox", "mailbox_size_limit": "2000", "message_size_limit": "2000"}, ["{u}+{c}"], {"files": {"fullbox": (OLD * 30, 0o600, None)}}),
    "appended": ({"home_mailbox": "oldbox"}, ["{u}+{c}"], {"files": {"oldbox": (OLD, 0o640, None)}}),
    "noend": ({"home_mailbox": "noendbox"}, ["{u}+{c}"], {"files": {"noendbox": (OLD[:-1], 0o600, None)}}),
    "strangers": ({"home_mailbox": "strangebox"}, ["{u}+{c}"], {"files": {"strangebox": (OLD, 0o666, "nobody")}}),
    "notstrict": ({"home_mailbox": "strangebox2", "strict_mailbox_ownership": "no"}, ["{u}+{c}"], {"files": {"strangebox2": (OLD, 0o666, "nobody")}}),
    "isdir": ({"home_mailbox": "sub"}, ["{u}+{c}"], {}),
    "isfifo": ({"home_mailbox": "fifo"}, ["{u}+{c}"], {}),
    "command": ({"mailbox_command": "cat >$HOME/cmdout; " + ENV + "$HOME/cmdenv"}, ["{u}+{c}"], {}),
    "commandbig": ({"mailbox_size_limit": "3000", "message_size_limit": "2000", "mailbox_command": "head -c 9000 /dev/zero >$HOME/bigout"}, ["{u}+{c}"], {}),
    "commandx": ({"mailbox_command": "/bin/cat - /no-such-file"}, ["{u}+{c}"], {}),
    "export": ({"mailbox_command": "cat >/dev/null; " + ENV + "$HOME/expenv", "export_environment": "TZ LANG=C MYVAR=seven"}, ["{u}+{c}"], {}),
    "imported": ({"mailbox_command": "cat >/dev/null; " + ENV + "$HOME/impenv", "export_environment": "TZ B C LATER NOSUCH"}, ["{u}+{c}"], {}),
    "importedset": ({"mailbox_command": "cat >/dev/null; " + ENV + "$HOME/setenv", "export_environment": "B=8 { C = five, six } LATER E1=1,E2=2 HOME=/nowhere"}, ["{u}+{c}"], {}),
    "odd": ({"mailbox_command": "cat >/dev/null; " + ENV + "$HOME/oddenv"}, ["\"{u}+{c}+a$b `c` d;e\""], {"sender": "\"x$(y)`z`\"@far.test"}),
    "filter": ({"mailbox_command": "cat >/dev/null; " + ENV + "filtenv", "command_execution_directory": "$home", "command_expansion_filter": "abcdefghijklmnopqrstuvwxyz"}, ["{u}+{c}"], {}),
    "timelimit": ({"mailbox_command": "sleep 9", "command_time_limit": "1s9h"}, ["{u}+{c}"], {}),
    "silent": ({"mailbox_command": "exit 3"}, ["{u}+{c}"], {}),
    "says": ({"mailbox_command": "echo one; echo two >&2; exit 69"}, ["{u}+{c}"], {}),
    "dsn": ({"mailbox_command": "echo 4.7.9 come again; exit 1"}, ["{u}+{c}"], {}),
    "dsnok": ({"mailbox_command": "echo 5.7.9 not so; exit 0"}, ["{u}+{c}"], {}),
    "shell": ({"mailbox_command": "/bin/echo $HOME", "local_command_shell": "/bin/sh -c"}, ["{u}+{c}"], {}),
    "noshell": ({"mailbox_command": "/bin/echo x", "local_command_shell": "/no/such/shell -c"}, ["{u}+{c}"], {}),
    "nosuch": ({"mailbox_command": "/no/such/program"}, ["{u}+{c}"], {}),
    "commandmaps": ({"mailbox_command": "exit 1", "mailbox_command_maps": "inline:{ { {u} = cat >$$HOME/mapout } }"}, ["{u}+{c}"], {}),
    "commandmapserr": ({"mailbox_command": "exit 1", "mailbox_command_maps": "fail:down"}, ["{u}+{c}"], {}),
    "execdir": ({"mailbox_command": "cat >here", "command_execution_directory": "$home/sub"}, ["{u}+{c}"], {}),
    "execdirext": ({"mailbox_command": "cat >there", "command_execution_directory": "$home/sub${extension?/ext}"}, ["{u}+{c}"], {}),
    "execdirbad": ({"mailbox_command": "cat >there", "command_execution_directory": "$home/none"}, ["{u}+{c}"], {}),
    "execdirshut": ({"mailbox_command": "cat >there", "command_execution_directory": "/root"}, ["{u}+{c}"], {}),
    "transport": ({"mailbox_transport": "error:5.2.1 not today", "mailbox_command": "exit 1"}, ["{u}+{c}", "no-{c}"], {}),
    "transportmaps": ({"mailbox_transport_maps": "inline:{ { {u} = error:5.2.2 from the table } }", "mailbox_transport": "error:5.2.1 all", "home_mailbox": "x"}, ["{u}+{c}", "no-{c}"], {}),
    "transportfail": ({"mailbox_transport_maps": "fail:down"}, ["{u}+{c}"], {}),
    "aliasre": ({"alias_maps": "regexp:{ {/^(no)-aliasre/ $$1@far.test} {/^no-aliasre$$/ plain@far.test} }"}, ["no-{c}", "no-{c}x"], {}),
    "fallback": ({"fallback_transport": "error:5.2.3 fallen", "home_mailbox": "fellbox", "luser_relay": "l@far.test"}, ["{u}+{c}", "no-{c}"], {}),
    "fallbackmaps": ({"fallback_transport_maps": "inline:{ { no-fallbackmaps = error:5.2.4 from the table } }", "luser_relay": "l@far.test"}, ["no-{c}", "no2-{c}"], {}),
    "fallbackfail": ({"fallback_transport_maps": "fail:down", "luser_relay": "l@far.test"}, ["no-{c}"], {}),
    "luser": ({"luser_relay": "$user.$local.$extension.$domain.$recipient_delimiter.$shell.$home.end@far.test"}, ["no-{c}+more", "no-{c}"], {}),
    "luserrcpt": ({"luser_relay": "x-$recipient"}, ["no-{c}+more"], {}),
    "lusermaybe": ({"luser_relay": "$user${extension?_with_}${extension:_without}@far.test"}, ["no-{c}+more", "no-{c}"], {}),
    "luserlocal": ({"luser_relay": "still-none"}, ["no-{c}"], {}),
    "luserplus": ({"luser_relay": "l@far.test"}, ["no-{c}+more"], {}),
    "luserfile": ({"luser_relay": "{home}/luserfile"}, ["no-{c}"], {}),
    "lusercmd": ({"luser_relay": "|cat >{home}/lusercmd"}, ["no-{c}"], {}),
    "unknown": ({}, ["no-{c}", "No-{C}+ext", "\"no {c}\""], {}),
    "forwardpath": ({"forward_path": "$home/fwd.none, $home/fwd.${extension}, $home/fwd", "home_mailbox": "inb"}, ["{u}+{c}"],
                    {"files": {"fwd.forwardpath": ("f1@far.test, \\{u}\n", 0o644, None)}}),
    "forwarddelim": ({"forward_path": "$home/fwd2${recipient_delimiter}${extension}", "home_mailbox": "inb2"}, ["{u}+{c}"],
                     {"files": {"fwd2+forwarddelim": ("f2@far.test\n", 0o644, None)}}),
    "forwardext": ({"forward_path": "$home/fwd3", "home_mailbox": "inb3"}, ["{u}+{c}"], {"files": {"fwd3": ("f3@far.test, {u}\n", 0o644, None)}}),
    "forwardprop": ({"forward_path": "$home/fwd4", "propagate_unmatched_extensions": "forward"}, ["{u}+{c}"], {"files": {"fwd4": ("f4@far.test, \"f 5\"@far.test\n", 0o644, None)}}),
    "nocommands": ({"forward_path": "$home/fwd5", "allow_mail_to_commands": "alias"}, ["{u}+{c}"], {"files": {"fwd5": ("\"|cat >{home}/never\"\n", 0o644, None)}}),
    "nofiles": ({"forward_path": "$home/fwd6", "allow_mail_to_files": ""}, ["{u}+{c}"], {"files": {"fwd6": ("{home}/never\n", 0o644, None)}}),
    "forwardenv": ({"forward_path": "$home/fwd7"}, ["{u}+{c}"], {"files": {"fwd7": ("\"|" + ENV + "{home}/fwdenv; cat >{home}/fwdcmd\"\n", 0o644, None)}}),
    "forwardfile": ({"forward_path": "$home/fwd8"}, ["{u}+{c}"], {"files": {"fwd8": ("{home}/plainfile, {home}/dirfile/\n", 0o644, None)}, "body": FROM_LINES}),
    "forwardfilter": ({"forward_path": "$home/fwd9.${extension}", "forward_expansion_filter": NO_PLUS, "home_mailbox": "inb9"}, ["{u}+{c}+x"],
                      {"files": {"fwd9.forwardfilter_x": ("f9@far.test\n", 0o644, None)}}),
    "execfilter": ({"mailbox_command": "cat >there", "command_execution_directory": "$home/${extension}", "execution_directory_expansion_filter": NO_PLUS}, ["{u}+{c}+x"], {}),
    "owner": ({"alias_maps": OWNED}, ["no-{c}", "no-{c}+x"], {}),
    "ownerexpand": ({"alias_maps": OWNED, "expand_owner_alias": "yes"}, ["no-{c}", "no-{c}+x", "no2-{c}"], {}),
    "ownerreset": ({"alias_maps": OWNED, "reset_owner_alias": "yes"}, ["no-{c}"], {}),
    "privs": ({"alias_maps": "inline:{ { no-privs = \"|id -un >{spool}/dirs/privs\" } { no2-privs = {spool}/dirs/privsfile } }", "default_privs": "{u}"}, ["no-{c}", "no2-{c}"], {}),
    "noownforward": ({"forward_path": ""}, ["{u}+{c}"], {"files": {}}),
    "frozen": ({"alias_maps": CHAIN}, ["no-{c}+x"], {}),
    "thawed": ({"alias_maps": CHAIN, "frozen_delivered_to": "no"}, ["no-{c}+x"], {}),
    "frozenforward": ({"alias_maps": "inline:{ no-{c} = {u}+{c} }", "forward_path": "$home/fwd10"}, ["no-{c}"], {"files": {"fwd10": ("{home}/frozenfile, r@far.test\n", 0o644, None)}}),
    "thawedforward": ({"alias_maps": "inline:{ no-{c} = {u}+{c} }", "forward_path": "$home/fwd11", "frozen_delivered_to": "no"}, ["no-{c}"],
                      {"files": {"fwd11": ("{home}/thawedfile, r@far.test\n", 0o644, None)}}),
    "homeless": ({"home_mailbox": "h", "require_home_directory": "yes"}, ["{u}+{c}"], {}),
    "seen": ({"home_mailbox": "seenbox"}, ["{u}+{c}"], {"head": "Delivered-To: {u}+seen@mail.example.test\n"}),
    "seencase": ({"home_mailbox": "seenbox2"}, ["{u}+{c}"], {"head": "Delivered-To: {U}+SEENCASE@MAIL.example.test\n"}),
    "noeol": ({"home_mailbox": "noeolbox"}, ["{u}+{c}"], {"body": ""}),
    "long": ({"home_mailbox": "longbox"}, ["{u}+{c}"], {"body": "x" * 5000 + "\n" + "From " + "y" * 3000 + "\n"}),
}
# Recipients are CASE@vbox.test; "{c}" stands for it.
VIRTUAL = {
    "vmaildir": ({}, "{c}/"),
    "vmbox": ({}, "{c}.mbox"),
    "vdeep": ({}, "deep/er/{c}/"),
    "vdeepbox": ({}, "deep2/er/{c}"),
    "vnone": ({}, None),
    "vfull": ({"virtual_mailbox_limit": "2000", "message_size_limit": "2000"}, "vfull"),
    "vlowuid": ({"virtual_minimum_uid": "70000"}, "{c}"),
    "vbaduid": ({"virtual_uid_maps": "static:abc"}, "{c}"),
    "vuidre": ({"virtual_uid_maps": "regexp:{ {/^(v)uidre/ $$1} {/^vuidre/ 5000} }"}, "{c}/"),
    "vuidone": ({"virtual_uid_maps": "static:1", "virtual_minimum_uid": "1"}, "{c}/"),
    "vnouid": ({"virtual_uid_maps": "inline:{x=1}"}, "{c}"),
    "vbadgid": ({"virtual_gid_maps": "static:x"}, "{c}"),
    "vnogid": ({"virtual_gid_maps": "inline:{x=1}"}, "{c}"),
    "vfail": ({"virtual_mailbox_maps": "fail:down"}, "{c}"),
    "vuidfail": ({"virtual_uid_maps": "fail:down"}, "{c}"),
    "vdotdot": ({}, "../{c}"),
    "vdot": ({"virtual_mailbox_lock": "dotlock"}, "vdot"),
    "vstrange": ({}, "vstrange"),
    "vnotdir": ({}, "vstrange/sub"),
    "vnotmaildir": ({}, "vstrange/sub/"),
}


@pytest.fixture(scope="module")
def place():
    base = instance.scratch("mailboxes-")
    home = os.path.join(base, "home")
    os.mkdir(home, 0o700)
    subprocess.run(["userdel", USER], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["useradd", "--no-log-init", "-M", "-d", home, "-s", "/bin/sh", USER], check=True)
    yield base
    subprocess.run(["userdel", USER], stderr=subprocess.DEVNULL, check=False)
    if not os.environ.get("KEEP"):
        shutil.rmtree(base, ignore_errors=True)


def words(text, place, case=""):
    for name, value in (("{u}", USER), ("{U}", USER.upper()), ("{c}", case), ("{C}", case.upper()), ("{home}", os.path.join(place, "home")), ("{spool}", os.path.join(place, "spool"))):
        text = text.replace(name, value)
    return text


def furnish(place):
    """The same files for both."""
    pw = pwd.getpwnam(USER)
    for d, uid, mode in (("home", pw.pw_uid, 0o700), ("spool", 0, 0o2775), ("vmail", 5000, 0o755)):
        path = os.path.join(place, d)
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path)
        os.chown(path, uid, 8 if d == "spool" else 5000 if uid == 5000 else pw.pw_gid)
        os.chmod(path, mode)
    os.mkdir(os.path.join(place, "spool", "dirs"))
    os.chmod(os.path.join(place, "spool", "dirs"), 0o1777)
    home = os.path.join(place, "home")
    for _, _, more in LOCAL.values():
        for name, (text, mode, owner) in more.get("files", {}).items():
            path = os.path.join(home, name)
            with open(path, "w", encoding="utf-8") as f:
                f.write(words(text, place))
            os.chmod(path, mode)
            who = pwd.getpwnam(owner) if owner else pw
            os.chown(path, who.pw_uid, who.pw_gid)
    os.makedirs(os.path.join(home, "sub", "ext"))
    os.mkfifo(os.path.join(home, "fifo"))
    for name in ("sub", "sub/ext", "fifo"):
        os.chown(os.path.join(home, name), pw.pw_uid, pw.pw_gid)
    for name, uid, text in (("vfull", 5000, OLD * 30), ("vstrange", 65534, OLD)):
        path = os.path.join(place, "vmail", name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chown(path, uid, uid)
        os.chmod(path, 0o600)


def option(name, value):
    return " -o { %s = %s }" % (name, value)


def configure(system, sink, place):
    """A service for each case, and a transport table that leads there."""
    transport, boxes = "", ""
    for case, (options, _, _) in LOCAL.items():
        system.extra_master.append(f"l-{case} unix - n n - - local" + "".join(option(k, words(v, place, case)) for k, v in options.items()))
        transport += f"/^({USER}\\+|no2?[- ]){case}(\\+.*)?@mail/ l-{case}:\n"
    for case, (options, box) in VIRTUAL.items():
        system.extra_master.append(f"v-{case} unix - n n - - virtual" + "".join(option(k, v) for k, v in options.items()))
        transport += f"/^{case}@vbox/ v-{case}:\n"
        boxes += f"{case}@vbox.test {box.replace('{c}', case)}\n" if box else ""
    system.main.update({
        "transport_maps": f"regexp:{system.config}/transport", "virtual_mailbox_domains": "vbox.test", "virtual_mailbox_maps": f"texthash:{system.config}/boxes",
        "virtual_mailbox_base": os.path.join(place, "vmail"), "virtual_uid_maps": "static:5000", "virtual_gid_maps": "static:5000",
        "default_transport": f"smtp:[127.0.0.1]:{sink.port}", "relayhost": "", "smtp_tls_security_level": "", "smtpd_tls_security_level": "", "smtputf8_enable": "yes",
        "minimal_backoff_time": "1000s", "maximal_backoff_time": "2000s", "queue_run_delay": "1000s", "mailbox_delivery_lock": "fcntl", "biff": "no",
        "notify_classes": "", "smtpd_recipient_limit": "1000", "smtpd_reject_unlisted_recipient": "no", "command_time_limit": "20s", "process_min_idle": None,
        "export_environment": "TZ", "import_environment": "MAIL_CONFIG MAIL_LOGTAG B=2 { C = 3  4 } LATER=1 LATER=2 NOSUCH", "smtp_host_lookup": "native", "bounce_service_name": "discard-bounce", "line_length_limit": "2048"})
    system.main = {k: v for k, v in system.main.items() if v is not None and k != "bounce_service_name"}
    system.write("transport", transport)
    system.write("boxes", boxes)


def send(session, case, rcpts, more, place):
    sender = more.get("sender", "sender@far.test")
    text = f"{words(more.get('head', ''), place)}From: a@far.test\nTo: b@far.test\nSubject: x\nDate: Sat, 28 Nov 2026 10:00:00 +0000\nMessage-ID: <{case}@case>\n\n{more.get('body', 'body' + chr(10))}"
    text = re.sub(r"^\.", "..", text, flags=re.M)
    lines = [f"MAIL FROM:<{sender}>"]
    for r in (words(r, place, case) for r in rcpts):
        lines.append(f"RCPT TO:<{r}>" if "@" in r else f"RCPT TO:<{r}@mail.example.test>")
    for line in lines + ["DATA", text.replace("\n", "\r\n") + "."]:
        reply = session.say(line)
        assert reply[0] in "23", (case, line, reply)
    return len(rcpts)


def clean(text, place):
    text = re.sub(r" (relay|delay|delays|conn_use)=[^,]*,", "", text.replace(place, "PLACE").replace(USER, "USER").replace(USER.upper(), "CAPUSER"))
    text = re.sub(r"From (\S+)  .*? Return-Path", r"From \1 Return-Path", re.sub(r"Received: from .*?\(UTC\)", "RECEIVED", text))
    return re.sub(r"\((250|forwarded as).*", "", re.sub(r" \)$", ")", text))  # a line end of what a command says is no blank in ours


def content(path, place):
    with open(path, "rb") as f:
        text = f.read().decode("utf-8", "replace")
    text = text.replace(place, "PLACE").replace(USER, "USER").replace(USER.upper(), "CAPUSER")
    text = re.sub(r"^Received: .*\n([ \t].*\n)*", "", text, flags=re.M)
    return re.sub(r"^(From \S+(?: \S+)?)  \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$", r"\1  DATE", text, flags=re.M)


def files(place):
    """name -> (owner, mode, content). Files of Maildirs have names that say nothing: they count by their folder."""
    out = {}
    for top, dirs, names in os.walk(place):
        for name in sorted(dirs + names):
            path = os.path.join(top, name)
            st = os.lstat(path)
            shown = os.path.relpath(path, place)
            if re.search(r"/new/", shown):
                shown = os.path.dirname(shown) + "/*"
            out.setdefault(shown, []).append((st.st_uid if st.st_uid < 5000 or st.st_uid > 6000 else "vmail", oct(st.st_mode), content(path, place) if stat.S_ISREG(st.st_mode) else ""))
    return out


def results(system, sink, place):
    out, log = {}, system.log()
    ident = dict(re.findall(r": (\w+): message-id=<(.*)@case>$", log, re.M))
    for qid, rest in re.findall(r": (\w+): (to=<.*)$", log, re.M):
        if qid in ident and not re.search(r"to=<[^>]*@far\.test>", rest):
            out.setdefault(ident[qid], set()).add(clean(rest, place))
    for sender, rcpts, text in sink.got:
        m = sender and re.search(rb"^Message-ID: <(.*)@case>\r$", text, re.M)
        if m:
            head = re.sub(r"^Received: .*\r\n([ \t].*\r\n)*", "", text.decode("utf-8", "replace").split("\r\n\r\n")[0], flags=re.M)
            out.setdefault(m.group(1).decode(), set()).update(clean(f"copy {r.decode('utf-8', 'replace')} of {sender.decode('utf-8', 'replace')} {head}", place) for r in rcpts)
    return out, {k: v for d in ("home", "spool", "vmail") for k, v in {d + "/" + n: v for n, v in files(os.path.join(place, d)).items()}.items()}


def settled(system, n):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if len(re.findall(r": to=<.*status=", system.log())) >= n and b"*" not in system.command("postqueue", "-p").stdout:
            return
        time.sleep(0.3)
    raise AssertionError(system.command("postqueue", "-p").stdout.decode() + system.log()[-3000:])


@pytest.fixture(scope="module")
def both(place):
    got = []
    for kind in (instance.Instance, peer.Peer):
        furnish(place)
        sink = Sink()
        system = kind(os.path.join(place, kind.__name__))
        configure(system, sink, place)
        held = open(os.path.join(place, "home", "heldbox"), "r+b")  # noqa: SIM115
        fcntl.lockf(held, fcntl.LOCK_EX)
        try:
            system.start()
            session, n = Session(system.port["smtp"]), 0
            for case, (_, rcpts, more) in LOCAL.items():
                n += send(session, case, rcpts, more, place)
            for case in VIRTUAL:
                n += send(session, case, [case + "@vbox.test"], {"body": FROM_LINES}, place)
            settled(system, n)
            got.append(results(system, sink, place))
        finally:
            held.close()
            system.stop()
            sink.close()
    return got


# Where ours differs on purpose: words of ours.
DIFFERENT = {
    # what an administrator may put right is tried again instead of bounced
    "subdir": "dsn=4.2.0", "isdir": "dsn=4.2.0", "isfifo": "dsn=4.2.0", "timelimit": "dsn=4.3.0, status=deferred (Command time limit exceeded: \"sleep 9\")",
    # texts that say more, or less of what goes on inside
    "noshell": "cannot execute /no/such/shell: No such file or directory", "nosuch": "cannot execute /no/such/program: No such file or directory",
    "execdirbad": "cannot change directory to PLACE/home/none: No such file or directory", "execdirshut": "cannot change directory to /root: Permission denied",
    "execfilter": "cannot change directory to PLACE/home/execfilter_x: No such file or directory",
    "vuidone": "dsn=4.2.0, status=deferred (maildir delivery failed: mkdir PLACE/vmail/vuidone: Permission denied)",
    "vstrange": "destination PLACE/vmail/vstrange is not owned by recipient", "vnotmaildir": "maildir delivery failed: mkdir PLACE/vmail/vstrange/sub: Not a directory",
    # a path never leaves virtual_mailbox_base
    "vdotdot": "dsn=4.3.5, status=deferred (mail system configuration error)",
}


@pytest.mark.parametrize("case", [*LOCAL, *VIRTUAL])
def test_same_outcome(both, case):
    ours, theirs = (r[0].get(case) for r in both)
    if case in DIFFERENT:
        assert any(DIFFERENT[case] in line for line in ours) and ours != theirs
    else:
        assert ours and ours == theirs


# Files that differ on purpose: Postfix leaves blanks in the sender of a From_ line, appends to a message without a last line end, and bounced the mail.
FILES = ("home/blankbox", "home/quotedbox", "home/noendbox")


def test_same_files(both):
    ours, theirs = ({k: v for k, v in r[1].items() if k not in FILES} for r in both)
    different = [f"{n}:\n  ours   {ours.get(n)}\n  theirs {theirs.get(n)}" for n in sorted(ours | theirs) if ours.get(n) != theirs.get(n)]
    assert not different, "\n".join(different)
