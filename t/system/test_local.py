"""local(8): aliases, .forward, commands, files and mailboxes of system accounts, each with the recipient's rights; texts and status codes as Postfix
has them. Needs root (throw-away accounts are made and removed)."""
import os
import pwd
import re
import shutil
import subprocess

import pytest

from instance import Instance, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to make accounts")
KIM, LEE = f"ptn-kim{os.getpid()}", f"ptn-lee{os.getpid()}"  # a run of its own: several may go on at once


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """Two accounts with homes in a scratch directory."""
    base = tmp_path_factory.mktemp("homes")
    for up in (base, base.parent):
        os.chmod(up, 0o755)
    os.chmod(base.parent.parent, 0o755)
    for u in (KIM, LEE):
        subprocess.run(["userdel", u], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["useradd", "--no-log-init", "-M", "-d", str(base / u), "-s", "/bin/sh", u], check=True)
    yield base
    for u in (KIM, LEE):
        subprocess.run(["userdel", u], stderr=subprocess.DEVNULL, check=False)


@pytest.fixture
def homes(users):
    for u in (KIM, LEE):
        pw = pwd.getpwnam(u)
        shutil.rmtree(users / u, ignore_errors=True)
        os.mkdir(users / u)
        os.chown(users / u, pw.pw_uid, pw.pw_gid)
        os.chmod(users / u, 0o700)
    return users


def instance(tmp_path, aliases="", **main):
    for up in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        os.chmod(up, 0o755)
    inst = Instance(str(tmp_path), listen=(), main={"home_mailbox": "Maildir/", **main})
    inst.main["virtual_mailbox_domains"] = "virtual.test"
    inst.main["virtual_mailbox_base"] = inst.mail
    inst.main["virtual_mailbox_maps"] = "static:x/"
    inst.main["virtual_uid_maps"] = f"static:{inst.uid}"
    inst.main["virtual_gid_maps"] = f"static:{inst.gid}"
    if aliases:
        inst.main["alias_maps"] = f"hash:{inst.config}/aliases"
        inst.write("aliases", aliases.format(base=tmp_path))
        inst.write_config()
        r = inst.command("postalias", f"hash:{inst.config}/aliases")
        assert r.returncode == 0, r.stderr
    return inst


def send(inst, rcpt, body=b"hello\n", sender="sender@example.test", head=b""):
    inst.wait_socket("public/pickup")
    r = inst.command("sendmail", "-i", "-f", sender, rcpt + "@mail.example.test", input=b"Subject: test\n" + head + b"\n" + body)
    assert r.returncode == 0, r.stderr


def put(path, text, user, mode=0o644):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    pw = pwd.getpwnam(user)
    os.chown(path, pw.pw_uid, pw.pw_gid)
    os.chmod(path, mode)


def maildir(home, user=KIM, name="Maildir"):
    d = home / user / name / "new"
    return sorted(d.iterdir()) if d.is_dir() else []


def test_mailbox_in_home(tmp_path, homes):
    """home_mailbox: a Maildir of the user's, with his rights; extension and case of the address do not matter."""
    with instance(tmp_path) as inst:
        send(inst, KIM.upper() + "+ext")
        inst.wait_log(rf"to=<{KIM.upper()}\+ext@mail\.example\.test>, relay=local, .*dsn=2\.0\.0, status=sent \(delivered to maildir\)")
        (f,) = maildir(homes)
        assert f.stat().st_uid == pwd.getpwnam(KIM).pw_uid
        assert f.read_bytes().startswith(b"Return-Path: <sender@example.test>\nX-Original-To: " + KIM.upper().encode() +
                                         b"+ext@mail.example.test\nDelivered-To: " + KIM.encode() + b"+ext@mail.example.test\n")


def test_mbox_side_by_side(tmp_path, homes):
    """Deliveries to one mbox at the same time, with no lock but fcntl's, which knows no threads: every one is in it."""
    with instance(tmp_path, home_mailbox="mbox", mailbox_delivery_lock="fcntl", local_destination_concurrency_limit="40") as inst:
        inst.wait_socket("public/pickup")
        names = [f"{KIM}+{n}@mail.example.test" for n in range(60)]
        r = inst.command("sendmail", "-i", "-f", "sender@example.test", *names, input=b"Subject: test\n\n" + b"x" * 70 * 1024 + b"\n")
        assert r.returncode == 0, r.stderr
        for name in names:
            inst.wait_log(rf"to=<{re.escape(name)}>.*status=sent \(delivered to mailbox\)")
        text = (homes / KIM / "mbox").read_text()
        assert sorted(re.findall(r"^X-Original-To: (.*)$", text, re.M)) == sorted(names)


def test_spool(tmp_path, homes):
    """mail_spool_directory: an mbox in a directory of group mail, as /var/mail is."""
    spool = tmp_path / "spool"
    spool.mkdir()
    os.chown(spool, 0, 8)
    os.chmod(spool, 0o2775)
    with instance(tmp_path, home_mailbox="", mail_spool_directory=str(spool)) as inst:
        send(inst, KIM)
        inst.wait_log(r"status=sent \(delivered to mailbox\)")
        st = os.stat(spool / KIM)
        assert (st.st_uid, st.st_mode & 0o777) == (pwd.getpwnam(KIM).pw_uid, 0o600)
        assert (spool / KIM).read_bytes().startswith(b"From sender@example.test  ")
        os.chown(spool / KIM, pwd.getpwnam(LEE).pw_uid, 8)
        os.chmod(spool / KIM, 0o660)
        send(inst, KIM)
        inst.wait_log(rf"status=deferred \(cannot update mailbox {spool}/{KIM} for user {KIM}\. destination {spool}/{KIM} is not owned by recipient\)")


def gone(path):
    """The lock is taken away after the answer."""
    return until(lambda: not path.exists())


def test_root_mailbox(tmp_path, homes):
    """Root without an alias has a mailbox like everybody (postfix local(8)); a trap in its place is not stepped into, and the lock is kept."""
    spool = tmp_path / "spool"
    spool.mkdir()
    os.chown(spool, 0, 8)
    os.chmod(spool, 0o2775)
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    box, dot = spool / "root", spool / "root.lock"
    with instance(tmp_path, home_mailbox="", mail_spool_directory=str(spool), deliver_lock_attempts="2", minimal_backoff_time="1s", maximal_backoff_time="1s",
                  queue_run_delay="1s") as inst:
        for n in range(3):
            send(inst, "Root+%d" % n, head=b"X-N: %d\n" % n)
        inst.wait_log(r"to=<Root\+\d@mail\.example\.test>, relay=local, .*dsn=2\.0\.0, status=sent \(delivered to mailbox\)$", count=3)
        st = os.stat(box)
        assert (st.st_uid, st.st_mode & 0o777) == (0, 0o600) and gone(dot)
        text = box.read_bytes()
        assert text.startswith(b"From sender@example.test  ") and text.count(b"\nX-N: ") == 3 and text.count(b"\nReturn-Path: <sender@example.test>\n") == 3
        dot.write_bytes(b"1")
        send(inst, "root")
        inst.wait_log(rf"root's mailbox: unable to create lock file {box}\.lock: File exists$")
        inst.wait_log(rf"to=<root@mail\.example\.test>.* dsn=4\.2\.0, status=deferred \(cannot update mailbox {box} for user root\. "
                      rf"unable to create lock file {box}\.lock: File exists\)$")
        assert dot.exists() and box.read_bytes() == text
        dot.unlink()
        box.rename(spool / "kept")
        box.symlink_to(victim)
        inst.wait_log(rf"root's mailbox: open {box}: ")
        box.unlink()
        os.link(victim, box)
        inst.wait_log(rf"root's mailbox: {box} is not a file of root's own$")
        inst.wait_log(rf"to=<root@.* status=deferred \(cannot update mailbox {box} for user root\. {box} is not a file of root's own\)$")
        box.unlink()
        box.write_bytes(b"")
        os.chown(box, pwd.getpwnam(KIM).pw_uid, 8)
        os.chmod(box, 0o666)
        n = inst.log().count("is not a file of root's own")
        inst.wait_log(r"is not a file of root's own$", count=n + 1)
        assert victim.read_bytes() == b"" and box.read_bytes() == b""
        box.unlink()
        inst.wait_log(r"to=<root@mail\.example\.test>.* status=sent \(delivered to mailbox\)$")
        assert gone(dot) and box.stat().st_uid == 0


def test_root_forward(tmp_path, homes):
    """Root's .forward is read as root, and nothing else of root's; what it names is done as default_privs. One that is not to be trusted is not followed."""
    spool, drop, fw = tmp_path / "spool", tmp_path / "drop", tmp_path / "fw"
    for d in (spool, drop, fw):
        d.mkdir()
    os.chmod(drop, 0o777)
    put(fw / "root", f'\\root, {KIM}, {drop}/file, "|id -un >{drop}/cmd", :include:{fw}/secret\n', "root", 0o600)
    put(fw / "secret", f"{LEE}\n", "root", 0o600)
    put(fw / "root+ext", f"{LEE}\n", "root", 0o600)
    with instance(tmp_path, home_mailbox="", mail_spool_directory=f"{spool}/", forward_path=f"{fw}/$user$recipient_delimiter$extension, {fw}/$user",
                  mailbox_command="", allow_mail_to_files="alias, forward, include") as inst:
        os.chmod(spool, 0o1777)
        send(inst, "root+ext")
        inst.wait_log(r"status=sent \(delivered to maildir\)$", count=2)
        inst.wait_log(rf"status=sent \(delivered to file: {drop}/file\)$")
        inst.wait_log(r"status=sent \(delivered to command: id -un")
        inst.wait_log(rf"cannot open include file {fw}/secret: ")
        assert (drop / "cmd").read_text() == "nobody\n" and (drop / "file").stat().st_uid == pwd.getpwnam("nobody").pw_uid
        assert len(list((spool / "root" / "new").iterdir())) == 1 and len(list((spool / KIM / "new").iterdir())) == 1 and not (spool / LEE).exists()
    for spoil, line in ((lambda: os.chmod(fw / "root", 0o666), "is world writable"),
                        (lambda: os.chown(fw / "root", pwd.getpwnam(KIM).pw_uid, 0), "(has bad owner uid|is world writable)"),
                        (lambda: ((fw / "root").unlink(), (fw / "root").symlink_to("/etc/shadow")), "is not a regular file")):
        spoil()
        inst.write("main.cf", "")
        with instance(tmp_path, home_mailbox="", mail_spool_directory=f"{spool}/", forward_path=f"{fw}/$user") as inst:
            n = inst.log().count("(delivered to maildir)")
            send(inst, "root")
            inst.wait_log(rf"file {fw}/root {line}")
            inst.wait_log(r"to=<root@.*status=sent \(delivered to maildir\)$", count=1)
            assert n >= 2


@pytest.fixture
def toor():
    """A second account of uid 0."""
    name = f"ptn-toor{os.getpid()}"
    subprocess.run(["userdel", "-f", name], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["useradd", "--no-log-init", "-o", "-u", "0", "-g", "0", "-M", "-d", "/nonexistent", "-s", "/bin/sh", name], check=True)
    yield name
    subprocess.run(["userdel", "-f", name], stderr=subprocess.DEVNULL, check=False)


def test_second_account_of_uid_0(tmp_path, homes, toor):
    """It has a mailbox and a .forward of its own, beside root's; what that names is done as default_privs."""
    spool, fw, drop = tmp_path / "spool", tmp_path / "fw", tmp_path / "drop"
    for d in (spool, fw, drop):
        d.mkdir()
    os.chmod(drop, 0o777)
    os.chmod(fw, 0o755)
    (fw / toor).write_text(f'\\{toor}, "|id -un >{drop}/cmd"\n')
    with instance(tmp_path, home_mailbox="", mail_spool_directory=str(spool), forward_path=f"{fw}/$user") as inst:
        for who in (toor, "root"):
            send(inst, who, body=b"for %s\n" % who.encode())
            inst.wait_log(rf"to=<{who}@mail\.example\.test>, relay=local, .*dsn=2\.0\.0, status=sent \(delivered to mailbox\)$")
        inst.wait_log(rf"to=<{toor}@.*status=sent \(delivered to command: ")
        assert (drop / "cmd").read_text() == "nobody\n"
        for who in (toor, "root"):
            st, text = os.stat(spool / who), (spool / who).read_bytes()
            assert (st.st_uid, st.st_mode & 0o777) == (0, 0o600) and text.count(b"\nfor %s\n" % who.encode()) == 1 and text.count(b"\nFrom ") == 0


def test_root_maildir_and_what_is_not_roots(tmp_path, homes):
    """A spool of Maildirs; commands and files of root's alias are default_privs'; postmaster and mailer-daemon without alias are discarded."""
    spool, drop = tmp_path / "spool", tmp_path / "drop"
    spool.mkdir()
    drop.mkdir()
    os.chmod(drop, 0o777)
    with instance(tmp_path, aliases='rooty: \\root, {base}/drop/file, "|id -un >{base}/drop/cmd"\n', home_mailbox="",
                  mail_spool_directory=f"{spool}/") as inst:
        send(inst, "root")
        inst.wait_log(r"to=<root@.* status=sent \(delivered to maildir\)$")
        (f,) = (spool / "root" / "new").iterdir()
        assert f.stat().st_uid == 0 and (spool / "root").stat().st_mode & 0o777 == 0o700
        send(inst, "rooty")
        inst.wait_log(r"to=<rooty@.* status=sent \(delivered to file: ")
        inst.wait_log(r"to=<rooty@.* status=sent \(delivered to command: ")
        inst.wait_log(r"orig_to=<rooty@.* status=sent \(delivered to maildir\)$|to=<rooty@.* status=sent \(delivered to maildir\)$")
        assert len(list((spool / "root" / "new").iterdir())) == 2
        assert (drop / "cmd").read_text() == "nobody\n" and (drop / "file").stat().st_uid == pwd.getpwnam("nobody").pw_uid
        for who in ("postmaster", "MAILER-DAEMON"):
            send(inst, who)
            inst.wait_log(rf"required alias not found: {who.lower()}$")
            inst.wait_log(rf"to=<{who}@.*dsn=2\.0\.0, status=sent \(discarded\)$")


def test_unknown_user(tmp_path, homes):
    """Nobody of that name: 5.1.1 (RFC 3463 3.2). A filter makes one failure another, and no failure a success."""
    rules = r"regexp:{{ {{/^5\.1\.1 unknown user: .filtered/ 4.2.0 come back}} {{/^5\.1\.1 unknown user: .cheat/ 2.0.0 fine}} {{/^(2[^ ]*) (delivered to maildir)/ $$1 $$2 indeed}} }}"
    with instance(tmp_path, local_delivery_status_filter=rules.replace("{{", "{").replace("}}", "}")) as inst:
        send(inst, "filtered")
        inst.wait_log(r"dsn=4\.2\.0, status=deferred \(come back\)")
        send(inst, "cheat", sender="")
        inst.wait_log(r'dsn=5\.1\.1, status=bounced \(unknown user: "cheat"\)')
        inst.wait_log(r'delivery status filter: result "2\.0\.0 fine" does not fit')
        send(inst, KIM)
        inst.wait_log(r"dsn=2\.0\.0, status=sent \(delivered to maildir indeed\)")
        send(inst, "no-such-user-here", sender="")
        inst.wait_log(r'dsn=5\.1\.1, status=bounced \(unknown user: "no-such-user-here"\)')


def test_aliases(tmp_path, homes):
    """aliases(5): lists, one's own name, files, commands, :include:, and an alias that leads to another domain."""
    aliases = f"""team: {KIM}, {LEE}, other@virtual.test
{LEE}: {LEE}, {KIM}
file: {{base}}/drop/file
cmd: "|cat >{{base}}/drop/cmd; id -un >>{{base}}/drop/cmd"
null: /dev/null
list: :include:{{base}}/list
owner-list: {LEE}
"""
    drop = tmp_path / "drop"
    drop.mkdir()
    os.chmod(drop, 0o777)
    (tmp_path / "list").write_text(f"# members\n{KIM}\n\nno-such-user-here\n")
    with instance(tmp_path, aliases) as inst:
        send(inst, "team")
        inst.wait_log(r"status=sent \(delivered to maildir\)", count=3)
        inst.wait_log(rf"to=<{KIM}@mail\.example\.test>, orig_to=<team@mail\.example\.test>, relay=local")
        inst.wait_log(r"to=<team@mail\.example\.test>.*status=sent \(forwarded as (\w+)\)")
        inst.wait_queue_empty()
        assert len(maildir(homes)) == 1 and len(maildir(homes, LEE)) == 1
        assert b"Delivered-To: team@mail.example.test\n" in maildir(homes)[0].read_bytes()  # frozen_delivered_to
        (fwd,) = os.scandir(os.path.join(inst.mail, "x", "new"))
        with open(fwd, "rb") as f:
            assert b"\nDelivered-To: team@mail.example.test\n" in f.read()
        send(inst, "file")
        inst.wait_log(rf"status=sent \(delivered to file: {drop}/file\)")
        assert b"Delivered-To: file@mail.example.test\n" in (drop / "file").read_bytes()
        assert os.stat(drop / "file").st_uid == pwd.getpwnam("nobody").pw_uid
        send(inst, "cmd")
        inst.wait_log(r"status=sent \(delivered to command: cat >")
        text = (drop / "cmd").read_bytes()
        assert text.startswith(b"From sender@example.test  ") and text.endswith(b"\nhello\nnobody\n")
        send(inst, "null")
        inst.wait_log(r"status=sent \(delivered to file: /dev/null\)")
        send(inst, "list")
        inst.wait_log(r'orig_to=<list@mail\.example\.test>.*status=bounced \(unknown user: "no-such-user-here"\)')
        inst.wait_queue_empty()
        assert len(maildir(homes)) == 3  # team, list, and the bounce that lee's alias passes on
        assert any(b"Return-Path: <owner-list@mail.example.test>" in f.read_bytes() for f in maildir(homes))


def test_alias_restrictions(tmp_path, homes):
    """allow_mail_to_commands and _files: a command in an :include: file needs leave of its own."""
    (tmp_path / "list").write_text("|/bin/true\n/tmp/postern-must-not-exist\n")
    with instance(tmp_path, "list: :include:{base}/list\n") as inst:
        send(inst, "list", sender="")
        inst.wait_log(r"dsn=5\.7\.1, status=bounced \(mail to command is restricted\)")
        inst.wait_log(r"dsn=5\.7\.1, status=bounced \(mail to file is restricted\)")
        assert not os.path.exists("/tmp/postern-must-not-exist")


def test_forward(tmp_path, homes):
    """.forward: read as the user; his own name means his mailbox; with extension the file of that name is looked for first."""
    put(homes / KIM / ".forward", f"\\{KIM}, away@virtual.test\n# comment\n", KIM)
    put(homes / KIM / ".forward+cmd", '"|cat >out; echo $EXTENSION $USER $RECIPIENT >>out"\n', KIM)
    with instance(tmp_path) as inst:
        send(inst, KIM)
        inst.wait_log(r"status=sent \(forwarded as ")
        inst.wait_queue_empty()
        assert len(maildir(homes)) == 1
        send(inst, KIM + "+cmd")
        inst.wait_log(r"status=sent \(delivered to command: cat")
        assert (homes / KIM / "out").read_bytes().endswith(f"hello\ncmd {KIM} {KIM}+cmd@mail.example.test\n".encode())
        assert os.stat(homes / KIM / "out").st_uid == pwd.getpwnam(KIM).pw_uid
        assert len(maildir(homes)) == 1


def test_forward_outside_of_the_home(tmp_path, homes):
    """forward_path = /var/forward/$user."""
    os.mkdir(tmp_path / "fw", 0o755)
    os.chmod(tmp_path / "fw", 0o755)
    put(tmp_path / "fw" / KIM, f"{LEE}\n", KIM)
    with instance(tmp_path, forward_path=f"{tmp_path}/fw/$user, $home/.forward") as inst:
        send(inst, KIM)
        inst.wait_log(rf"to=<{LEE}@mail\.example\.test>.*status=sent \(delivered to maildir\)")
        assert len(maildir(homes, LEE)) == 1 and not maildir(homes)


def test_forward_not_trusted(tmp_path, homes):
    """A .forward that others may write, or of another owner, is not followed: mailbox, and a warning."""
    put(homes / KIM / ".forward", "away@virtual.test\n", KIM, 0o666)
    put(homes / LEE / ".forward", "away@virtual.test\n", KIM)
    with instance(tmp_path) as inst:
        send(inst, KIM)
        inst.wait_log(r"is world writable")
        send(inst, LEE)
        inst.wait_log(r"has bad owner uid")
        inst.wait_log(r"status=sent \(delivered to maildir\)", count=2)
        assert "forwarded" not in inst.log()


def test_loop(tmp_path, homes):
    """A message that was delivered to this recipient before comes back with 5.4.6 (Delivered-To)."""
    with instance(tmp_path) as inst:
        send(inst, KIM, sender="", head=f"Delivered-To: {KIM}@mail.example.test\n".encode())
        inst.wait_log(rf"dsn=5\.4\.6, status=bounced \(mail forwarding loop for {KIM}@mail\.example\.test\)")
        assert maildir(homes) == []


def test_forward_loop_ends(tmp_path, homes):
    """Two users who forward to each other by way of another message: the loop ends by itself."""
    put(homes / KIM / ".forward", f"{LEE}\n", KIM)
    put(homes / LEE / ".forward", f"{KIM}\n", LEE)
    with instance(tmp_path) as inst:
        send(inst, KIM)
        inst.wait_queue_empty()


def test_mailbox_command(tmp_path, homes):
    """mailbox_command: shell characters in the address never reach the shell; exit status by sysexits(3)."""
    script = tmp_path / "deliver"
    script.write_text('#!/bin/sh\ncat >/dev/null\ncase "$EXTENSION" in temp) echo busy; exit 75;; no) echo 5.2.1 disabled; exit 1;; kill) kill -9 $$;; esac\n'
                      'echo "$SENDER/$RECIPIENT/$HOME/$(id -un)" >>"$HOME/seen"\n')
    script.chmod(0o755)
    with instance(tmp_path, mailbox_command=f'{script} "$EXTENSION"', command_time_limit="10s") as inst:
        send(inst, KIM, sender="a$(touch${IFS}/tmp/postern-pwned)`id`@example.test")
        inst.wait_log(rf'status=sent \(delivered to command: {script} "\$EXTENSION"\)')
        seen = (homes / KIM / "seen").read_text()
        assert seen.endswith(f"/{KIM}@mail.example.test/{homes / KIM}/{KIM}\n") and "$" not in seen and "`" not in seen
        assert not os.path.exists("/tmp/postern-pwned")
        send(inst, KIM + "+temp")
        inst.wait_log(r"dsn=4\.3\.0, status=deferred \(temporary failure\. Command output: busy \)")
        send(inst, KIM + "+no", sender="")
        inst.wait_log(r"dsn=5\.2\.1, status=bounced \(disabled \)")
        send(inst, KIM + "+kill", sender="")
        inst.wait_log(r'dsn=5\.3\.0, status=bounced \(Command died with status 137: "')


def test_command_time_limit(tmp_path, homes):
    """A command that does not end is killed with all it started; the mail is deferred."""
    with instance(tmp_path, mailbox_command="sleep 600 & sleep 500", command_time_limit="1s") as inst:
        send(inst, KIM)
        inst.wait_log(r"dsn=4\.3\.0, status=deferred \(Command time limit exceeded")


def test_transports(tmp_path, homes):
    """mailbox_transport, fallback_transport and luser_relay, in this order of precedence."""
    with instance(tmp_path, mailbox_transport_maps=f"inline:{{{{{KIM} = discard:by transport}}}}", fallback_transport_maps="inline:{{gone = discard:by fallback}}",
                  luser_relay=f"{LEE}+$user") as inst:
        send(inst, KIM)
        inst.wait_log(rf"to=<{KIM}@mail\.example\.test>, relay=none, .*status=sent \(by transport\)")
        send(inst, "gone")
        inst.wait_log(r"status=sent \(by fallback\)")
        send(inst, "stranger")
        inst.wait_log(rf"to=<{LEE}\+stranger@mail\.example\.test>, orig_to=<stranger@mail\.example\.test>, .*delivered to maildir")
        assert maildir(homes) == [] and len(maildir(homes, LEE)) == 1


def test_luser_relay_is_an_address(tmp_path, homes):
    """luser_relay with the stranger's name in it never becomes a command, a file or a second address."""
    with instance(tmp_path, luser_relay="$user") as inst:
        for name in ('"|touch /tmp/postern-pwned"', '"/tmp/postern-pwned"', '":include:/etc/passwd"', '"a,b"'):
            send(inst, name, sender="")
        inst.wait_log(r"status=bounced \(", count=4)
        assert "delivered" not in inst.log() and not os.path.exists("/tmp/postern-pwned")


def test_propagated_extension(tmp_path, homes):
    """propagate_unmatched_extensions: kim+ext by an alias becomes lee+ext, where alias is listed."""
    with instance(tmp_path, f"boss: {LEE}\n", propagate_unmatched_extensions="canonical, virtual, alias") as inst:
        send(inst, "boss+work")
        inst.wait_log(rf"to=<{LEE}\+work@mail\.example\.test>, orig_to=<boss\+work@mail\.example\.test>, .*delivered to maildir")


def test_large_message_and_forward(tmp_path, homes):
    """A message in a file of its own is delivered and forwarded byte for byte."""
    put(homes / KIM / ".forward", f"\\{KIM}, away@virtual.test\n", KIM)
    body = b"".join(b"%08d " % i + b"x" * 60 + b"\n" for i in range(5000))
    with instance(tmp_path) as inst:
        send(inst, KIM, body)
        inst.wait_log(r"status=sent \(forwarded as ")
        inst.wait_queue_empty()
        assert maildir(homes)[0].read_bytes().endswith(b"\n\n" + body)
        (f,) = os.scandir(os.path.join(inst.mail, "x", "new"))
        with open(f, "rb") as fd:
            assert fd.read().endswith(b"\n\n" + body)


def test_home_of_another(tmp_path, homes):
    """The child that is a user cannot leave what belongs to him: a /file in .forward in somebody else's home is refused."""
    put(homes / KIM / ".forward", f"{homes}/{LEE}/stolen\n", KIM)
    with instance(tmp_path) as inst:
        send(inst, KIM)
        inst.wait_log(r"status=deferred \(cannot append message to file .*Permission denied\)")
        assert not (homes / LEE / "stolen").exists()


# name, value in the alias table, log lines (a status, and a warning where there is one)
WRONG_ALIASES = [
    ("blank", " ", ["alias_maps lookup of blank returns an empty string result$", r"dsn=4\.3\.0, status=deferred \(alias database unavailable\)"]),
    ("commas", ",,,", ["no recipient in alias lookup result for commas$", r"dsn=4\.3\.0, status=deferred \(alias database unavailable\)"]),
    ("bar", "|", ["no recipient in alias lookup result for bar$", r"status=deferred \(mail system configuration error\)"]),
    ("quotedbar", '"|"', [r'orig_to=<quotedbar@mail\.example\.test>.*status=bounced \(unknown user: "\|"\)']),
    ("openquote", '"unfinished', ["no recipient in alias lookup result for openquote$", r"status=deferred \(mail system configuration error\)"]),
    ("atonly", "@", ["no recipient in alias lookup result for atonly$", r"status=deferred \(mail system configuration error\)"]),
    ("slash", "/", ["no recipient in alias lookup result for slash$", r"status=deferred \(mail system configuration error\)"]),
    ("bell", "a\x07b", ["no recipient in alias lookup result for bell$", r"status=deferred \(mail system configuration error\)"]),
    ("relinc", ":include:list", [r":include:list uses a relative path$", r"dsn=5\.3\.5, status=bounced \(mail system configuration error\)"]),
    ("emptyinc", ":include:", ["no recipient in alias lookup result for emptyinc$", r"status=deferred \(mail system configuration error\)"]),
    ("noinc", ":include:{base}/none", [r"cannot open include file {base}/none: {base}/none does not exist$", r"dsn=4\.3\.5, status=deferred \("]),
    ("dirinc", ":include:{base}/drop", [r"cannot open include file {base}/drop: :include: file {base}/drop is not a regular file$", r"status=deferred \("]),
    ("fifoinc", ":include:{base}/fifo", [r"cannot open include file {base}/fifo: .* is not a regular file$", r"status=deferred \("]),
    ("linkinc", ":include:{base}/link", [r"cannot open include file {base}/link: .* is not a regular file$", r"status=deferred \("]),
    ("openinc", ":include:{base}/open", [r"cannot open include file {base}/open: .* is world writable$", r"status=deferred \("]),
    ("secretinc", ":include:/etc/shadow", [r"cannot open include file /etc/shadow: ", r"dsn=4\.3\.5, status=deferred \("]),
    ("voidinc", ":include:{base}/empty", [r"dsn=4\.3\.5, status=deferred \(mail system configuration error\)"]),
    ("updir", "/tmp/../etc/x", [r"dsn=5\.3\.5, status=bounced \(mail system configuration error\)"]),
    ("rootfile", "/etc/postern-must-not-exist", [r"dsn=4\.2\.0, status=deferred \(cannot append message to file /etc/postern-must-not-exist: .*Permission denied"]),
    ("tofile", "/etc/passwd", [r"status=deferred \(cannot append message to file /etc/passwd: destination /etc/passwd is not owned by recipient"]),
    ("todir", "{base}/drop", [r"(status=deferred|status=bounced) \(cannot append message to file {base}/drop: "]),
    ("nocmd", '"|{base}/no-such-program"', [r"dsn=4\.3\.0, status=deferred \(temporary failure\. Command output: cannot execute {base}/no-such-program: No such file or directory"]),
    ("killed", '"|kill -9 $$$$"', [r"dsn=4\.3\.0, status=deferred \(Command died with signal 9: \"kill -9"]),
    ("failcmd", '"|exit 1"', [r"dsn=5\.3\.0, status=bounced \(Command died with status 1: \"exit 1\""]),
    ("setuid", '"|id -u; exit 75"', [r"dsn=4\.3\.0, status=deferred \(temporary failure\. Command output: 65534 \)"]),
    ("loop1", "loop2", ["alias database loop for loop2$", r"to=<loop2@mail\.example\.test>, orig_to=<loop1@.* dsn=5\.4\.6, status=bounced \(alias database loop for loop2\)"]),
    ("blanks", "/dev/null nobody-one", [r"to=<blanks@mail\.example\.test>.*status=sent \(delivered to file: /dev/null\)", r'orig_to=<blanks@.*status=bounced \(unknown user: "nobody-one"\)']),
    ("badone", "two@, /dev/null", ["alias badone: 1 addresses are not understood$", r"to=<badone@mail\.example\.test>.*status=sent \(delivered to file: /dev/null\)",
                               r"dsn=5\.1\.3, status=bounced \(bad recipient address syntax: two@\)"]),
    ("quotedcmd", '|"echo $$USER $$LOGNAME; exit 75"', [r"dsn=4\.3\.0, status=deferred \(temporary failure\. Command output: quotedcmd quotedcmd \)"]),
    ("self", "self", [r'to=<self@mail\.example\.test>.*status=bounced \(unknown user: "self"\)']),
    ("dupes", f"{KIM}, {KIM}, {KIM.upper()}, {KIM}@mail.example.test", [r"orig_to=<dupes@mail\.example\.test>.*status=sent \(delivered to maildir\)"]),
    ("long", "x" * 1200, ["no recipient in alias lookup result for long$", r"status=deferred \("]),
]


def test_wrong_aliases(tmp_path, homes):
    """What a mistaken or hostile alias table holds is said in the log, harms no other alias, and reaches nothing that default_privs may not."""
    drop = tmp_path / "drop"
    drop.mkdir()
    os.chmod(drop, 0o777)
    os.mkfifo(tmp_path / "fifo", 0o644)
    for name, mode, text in (("open", 0o666, f"{KIM}\n"), ("empty", 0o644, "# nobody\n\n"), ("target", 0o644, f"{KIM}\n")):
        (tmp_path / name).write_text(text)
        os.chmod(tmp_path / name, mode)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    table = "".join(f"/^{n}$/ {v.format(base=tmp_path)}\n" for n, v, _ in WRONG_ALIASES) + "/^loop2$/ loop1\n"
    with instance(tmp_path, alias_maps=f"regexp:{tmp_path}/wrong", command_time_limit="10s") as inst:
        (tmp_path / "wrong").write_text(table)
        r = inst.command("sendmail", "-i", "-f", "sender@example.test", *[n + "@mail.example.test" for n, _, _ in WRONG_ALIASES], input=b"Subject: x\n\nx\n")
        assert r.returncode == 0, r.stderr
        missing = []
        for name, _, lines in WRONG_ALIASES:
            for line in lines:
                line = line.replace("{base}", re.escape(str(tmp_path)))
                if "status=" in line and "=<" not in line:
                    line = rf"to=<{name}@mail\.example\.test>.*" + line
                try:
                    inst.wait_log(line)
                except AssertionError:
                    missing.append((name, line, re.findall(rf".*{name}.*", inst.log())[-3:]))
        assert not missing, "\n".join(str(m) for m in missing)
        assert len(maildir(homes)) == 1 and not os.path.exists("/etc/postern-must-not-exist")
