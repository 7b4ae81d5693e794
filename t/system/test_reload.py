"""A reload is one act: a configuration with a mistake is refused with file and line, by postern(1) and by master(8) itself; the one in force stays and
sessions go on. One instance meets every kind of mistake in turn."""
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

import pytest

from instance import BIN, BUILD, free_ports, listens, make_users, until
from test_master import POSTERN, Client, Scratch

POSTCONF = os.path.join(BIN, "postconf")


@pytest.fixture(scope="module")
def running():
    make_users()
    base = "/tmp/postern-reload-%d-%d" % (os.getpid(), time.monotonic_ns())
    os.makedirs(base)
    s = Scratch(base)
    s.start()
    s.sockets = {n: os.stat(os.path.join(s.queue, "public", n)).st_ino for n in os.listdir(os.path.join(s.queue, "public"))}
    s.master = s.pid()
    s.good = Client(s.port)
    s.good_pid = s.good.ask("pid")
    s.spare, s.taken = free_ports(2)
    s.holder = socket.create_server(("127.0.0.1", s.taken))
    yield s
    s.good.close()
    s.holder.close()
    s.stop()
    shutil.rmtree(base, ignore_errors=True)


def main(text, said):
    return "main.cf", text, said


def master(text, said):
    return "master.cf", text, said


MISTAKES = [
    # main.cf: lines
    main("nonsense", r"main.cf line {line}: '=' missing after the name"),
    main("= value", r"main.cf line {line}: name missing before '='"),
    main("a = b\0c", r"main.cf line {line}: contains a NUL byte"),
    # values
    main("smtpd_timeout = soon", r"main.cf line {line}: smtpd_timeout = soon: time expected"),
    main("smtpd_timeout = 5q", r"main.cf line {line}: smtpd_timeout = 5q: time expected"),
    main("smtpd_hard_error_limit = many", r"main.cf line {line}: smtpd_hard_error_limit = many: number expected"),
    main("smtpd_hard_error_limit = 0", r"main.cf line {line}: smtpd_hard_error_limit = 0: less than the smallest value allowed \(at least 1\)"),
    main("message_size_limit = 99999999999999999999", r"main.cf line {line}: message_size_limit = 9+: number too large"),
    main("smtpd_delay_reject = maybe", r"main.cf line {line}: smtpd_delay_reject = maybe: yes or no expected"),
    main("user_number = many\nsmtpd_hard_error_limit = $user_number", r"main.cf line {line2}: smtpd_hard_error_limit = many: number expected"),
    main("smtpd_tls_security_level = mandatory", r'main.cf line {line}: smtpd_tls_security_level: "mandatory" is none of its words: none may encrypt'),
    main("smtpd_tls_protocols = >=TLSv1.2, !SSLv9", r'main.cf line {line}: smtpd_tls_protocols: "!SSLv9" is none of its words: SSLv2 SSLv3 TLSv1 TLSv1.1 TLSv1.2 TLSv1.3'),
    main("inet_protocols = ipv4, ipx", r'main.cf line {line}: inet_protocols: "ipx" is none of its words'),
    main("smtpd_sasl_security_options = noanonymos", r'main.cf line {line}: smtpd_sasl_security_options: "noanonymos" is none of its words'),
    main("virtual_mailbox_lock = file", r'main.cf line {line}: virtual_mailbox_lock: "file" is none of its words: fcntl flock dotlock'),
    main("known_tcp_ports = smtp=25 lmtp=24", r"main.cf line {line}: known_tcp_ports: bad name of a port"),
    main("compatibility_level = new", r"main.cf line {line}: compatibility_level = new: a level like 3.6 expected"),
    # references
    main("user_a = $user_b\nuser_b = $user_a", r"main.cf line {line}: user_a: .*refers to itself"),
    main("relayhost = ${{user", r"main.cf line {line}: relayhost: unfinished reference"),
    main("relayhost = ${{{{a}} = {{b}} ? c}}", r"main.cf line {line}: relayhost: comparison operator expected"),
    # sockets
    main("inet_interfaces = no-such-host.invalid", r"master.cf line 1: service \d+: no-such-host.invalid:\d+: "),
    main("inet_interfaces = 192.0.2.77", r"master.cf line 1: service \d+: bind 192.0.2.77 port \d+: Cannot assign requested address"),
    main("inet_protocols = ipv6", r"master.cf line 1: service \d+: 127.0.0.1: no usable address with inet_protocols = ipv6"),
    # words of lists that daemons have
    main("info_log_address_format = loud", r'main.cf line {line}: info_log_address_format: "loud" is none of its words'),
    main("non_empty_end_of_header_action = warn", r'main.cf line {line}: non_empty_end_of_header_action: "warn" is none of its words'),
    # tables
    main("alias_maps = hasch:/etc/aliases", r'main.cf line {line}: alias_maps: unknown table type "hasch"'),
    main("smtpd_sender_restrictions = check_sender_access regex:/a/b", r'main.cf line {line}: smtpd_sender_restrictions: unknown table type "regex"'),
    main("queue_directory = /nonexistent", r"queue_directory cannot change without a restart|mail system is not running"),
    # master.cf
    master("nonsense", r"master.cf line {line}: 1 of 8 columns, the type column is missing"),
    master("a unix - - n - -", r"master.cf line {line}: 7 of 8 columns, the command column is missing"),
    master("a udp n - n - - smtpd", r'master.cf line {line}: type column: "udp" \(inet, unix, unix-dgram, fifo or pass\)'),
    master("a unix yes - n - - cleanup", r'master.cf line {line}: private column: "yes" \(y, n or -\)'),
    master("a unix - Y n - - cleanup", r'master.cf line {line}: unpriv column: "Y"'),
    master("a unix - - chroot - - cleanup", r'master.cf line {line}: chroot column: "chroot"'),
    master("a unix - - n ? - cleanup", r'master.cf line {line}: wakeup column: "\?" \(seconds, perhaps with \?, or -\)'),
    master("a unix - - n 5s - cleanup", r'master.cf line {line}: wakeup column: "5s"'),
    master("a unix - - n - -1 cleanup", r'master.cf line {line}: maxproc column: "-1" \(a number or -\)'),
    master("a unix - - n - - -v cleanup", r"master.cf line {line}: command column: .*\(a program name\)"),
    master("a unix - - n - - cleanup -o", r"master.cf line {line}: name=value expected after -o"),
    master("a unix - - n - - cleanup -o biff", r'master.cf line {line}: name=value expected after -o, not "biff"'),
    master("a unix - - n - - cleanup -o {{ biff = no", r"master.cf line {line}: missing '}}'"),
    master("a unix - - n - - cleanup -o max_idle=soon", r"master.cf line {line}: max_idle = soon: time expected"),
    master("{spare} inet n - n - - smtpd\n  -o {{ smtpd_tls_security_level = mandatory }}", r'master.cf line {line}: smtpd_tls_security_level: "mandatory" is none'),
    master("a/b unix - - n - - cleanup", r"master.cf line {line}: bad service name a/b"),
    master("{taken} inet n - n - - smtpd", r"master.cf line {line}: service {taken}: bind 127.0.0.1 port {taken}: Address already in use"),
    master("127.0.0.1:{port} inet n - n - - smtpd", r"master.cf line {line}: service 127.0.0.1:{port}: inet:127.0.0.1 port {port} is an address of service {port} in line 1, too"),
    master("pickup unix-dgram n - n 60 1 pickup\nnonsense", r"master.cf line {line2}: 1 of 8 columns"),
    master("cleanup unix-dgram n - n - 0 cleanup\n{taken} inet n - n - - smtpd", r"master.cf line {line2}: service {taken}: bind"),
    master("no-such-port inet n - n - - smtpd", r"master.cf line {line}: service no-such-port: 127.0.0.1:no-such-port: Servname"),
    master("70000 inet n - n - - smtpd", r'master.cf line {line}: service 70000: bad port number "70000"'),
    master("0 inet n - n - - smtpd", r'master.cf line {line}: service 0: bad port number "0"'),
    master("no-such-host.invalid:{spare} inet n - n - - smtpd", r"master.cf line {line}: service no-such-host.invalid:\d+: no-such-host.invalid:\d+: "),
]
# Lists, tables and values that postern(1) looks at for the services that read them: these could not begin, or would answer everybody with an
# error. master(8) knows nothing of them.
def chain(n):
    """c1 to cN, each with nothing in it but the next, twice."""
    return ("smtpd_helo_restrictions = c1\nsmtpd_restriction_classes = " + " ".join(f"c{i}" for i in range(1, n + 1)) +
            "".join(f"\nc{i} = c{i + 1} c{i + 1}" for i in range(1, n)) + f"\nc{n} = permit_mynetworks")


def local(settings, said):
    return master("loc unix - - n - - local\n  -o local_transport=loc:x -o mydestination=$myhostname " + settings, r"master.cf line {line}: service loc: " + said)


def virtual(settings, said):
    return master("virt unix - - n - - virtual\n  -o virtual_transport=virt -o virtual_mailbox_domains=v.test " + settings, r"master.cf line {line}: service virt: " + said)


def pipe(attributes, said):
    return master("p unix - n n - - pipe\n  " + attributes, r"master.cf line {line}: service p: " + said)


def spawn(attributes, said):
    return master("p unix - n n - - spawn -v\n  -o command_time_limit=5 " + attributes, r"master.cf line {line}: service p: " + said)


LISTS = [
    main("smtpd_recipient_restrictions = permit_mynetworks, check_client_access {{inline:{{x=y}}", r"main.cf line {line}: smtpd_recipient_restrictions: missing '}}' in \"{{inline"),
    main("smtpd_client_restrictions = check_client_access inline:{{x}}", r"main.cf line {line}: smtpd_client_restrictions: inline map: .*missing '='"),
    main("smtpd_helo_restrictions = reject_unknown_helo_hostnam", r'main.cf line {line}: smtpd_helo_restrictions: unknown restriction "reject_unknown_helo_hostnam"; did you mean reject_unknown_helo_hostname\?'),
    main("smtpd_helo_restrictions = reject_unauth_destination 999", r'main.cf line {line}: smtpd_helo_restrictions: unknown restriction "999"'),
    main("smtpd_helo_restrictions = check_helo_access", r"main.cf line {line}: smtpd_helo_restrictions: check_helo_access needs an argument"),
    main("smtpd_helo_restrictions = check_helo_access foo", r'main.cf line {line}: smtpd_helo_restrictions: expecting "type:name" form instead of "foo"'),
    main("smtpd_helo_restrictions = hash:", r'main.cf line {line}: smtpd_helo_restrictions: expecting "type:name" form instead of "hash:"'),
    main("smtpd_helo_restrictions = permit check_helo_access hash:", r'main.cf line {line}: smtpd_helo_restrictions: expecting "type:name" form'),
    main("smtpd_data_restrictions = sleep x", r"main.cf line {line}: smtpd_data_restrictions: sleep x: seconds expected, 3600 at most"),
    main("smtpd_data_restrictions = sleep", r"main.cf line {line}: smtpd_data_restrictions: sleep needs an argument"),
    main("smtpd_data_restrictions = check_policy_service", r"main.cf line {line}: smtpd_data_restrictions: check_policy_service needs an argument"),
    main("smtpd_data_restrictions = check_policy_service nowhere", r"main.cf line {line}: smtpd_data_restrictions: check_policy_service nowhere: bad host or port"),
    main("smtpd_data_restrictions = check_policy_service {{ inet:127.0.0.1:9, timeout=x }}", r"main.cf line {line}: smtpd_data_restrictions: .*bad attribute timeout=x"),
    main("smtpd_data_restrictions = check_policy_service {{ inet:127.0.0.1:9, patience=1 }}", r"main.cf line {line}: smtpd_data_restrictions: .*bad attribute patience=1"),
    main("smtpd_client_restrictions = reject_rbl_client list.test=127.0.0.[2", r'main.cf line {line}: smtpd_client_restrictions: reject_rbl_client .*bad filter behind "="'),
    main("smtpd_restriction_classes = kind", r"main.cf line {line}: smtpd_restriction_classes: restriction class kind needs a definition"),
    main("smtpd_restriction_classes = kind\nkind = reject_nobody\nsmtpd_helo_restrictions = kind", r'main.cf line {line2}: kind: unknown restriction "reject_nobody"'),
    main("smtpd_restriction_classes = kind sort\nkind = sort\nsort = kind\nsmtpd_helo_restrictions = kind", r"main.cf line {line3}: sort: restriction class kind contains itself: take it out of"),
    main("smtpd_restriction_classes = kind\nkind = permit_mynetworks kind\nsmtpd_helo_restrictions = kind", r"main.cf line {line2}: kind: restriction class kind contains itself"),
    main(chain(21), r"main.cf line \d+: c20: restriction classes are nested more than 20 deep at c21"),
    main("smtpd_relay_restrictions = permit_mynetworks", r"main.cf line {line}: smtpd_relay_restrictions: nothing keeps strangers from relaying"),
    main("mynetworks = 127.0.0.0/8, 10.0.0.1/8", r"main.cf line {line}: mynetworks: non-null host address bits"),
    main("mynetworks = 127.0.0.0/33", r'main.cf line {line}: mynetworks: bad mask length in "127.0.0.0/33"'),
    main("mydestination = a.test, !", r'main.cf line {line}: mydestination: no pattern after "!"'),
    main("relay_domains = a.test, {{b.test", r"main.cf line {line}: relay_domains: missing '}}'"),
    main("transport_maps = /etc/postfix/transport", r'main.cf line {line}: transport_maps: expecting "type:name" form'),
    main("virtual_alias_maps = unionmap:{{inline:{{a=b}}, {{pipemap:{{nosuch:x}}}}}}", r'main.cf line {line}: virtual_alias_maps: unknown table type "nosuch"'),
    main("masquerade_domains = {{a.test", r"main.cf line {line}: masquerade_domains: missing '}}'"),
    main("header_checks = static:{{x", r"main.cf line {line}: header_checks: missing '}}'"),
    main("smtpd_noop_commands = /no/such/file", r"main.cf line {line}: smtpd_noop_commands: .*/no/such/file"),
    main("smtpd_proxy_filter = nowhere", r"main.cf line {line}: smtpd_proxy_filter: bad host or port: nowhere"),
    main("tls_config_file = /no/such/file", r"main.cf line {line}: tls_config_file: /no/such/file: No such file"),
    master("{spare} inet n - n - - smtpd\n  -o smtpd_client_restrictions=$mua_client\n  -o mua_client=permit_sasl,reject", r'master.cf line {line}: service {spare}: smtpd_client_restrictions: unknown restriction "permit_sasl"'),
    master("{spare} inet n - n - - smtpd\n  -o {{ smtpd_sender_restrictions = check_sender_access {{inline:{{x=y}} }}", r"master.cf line {line}: missing '}}'"),
    master("{spare} inet n - n - - smtpd\n  -o smtpd_relay_restrictions= -o smtpd_recipient_restrictions=permit", r"master.cf line {line}: service {spare}: smtpd_recipient_restrictions: nothing keeps strangers"),
    master("a unix - - n - - smtp -o smtp_bind_address=here", r'master.cf line {line}: service a: smtp_bind_address: an IPv4 address expected, not "here"'),
    master("a unix - - n - - smtp -o smtp_tcp_port=no-such", r'master.cf line {line}: service a: smtp_tcp_port: unknown port "no-such"'),
    main("export_environment = TZ {{ A = b", r"main.cf line {line}: export_environment: missing '}}'"),
    main("export_environment = TZ {{A B}}", r'main.cf line {line}: export_environment: bad word "A B": NAME, NAME=value or {{ NAME = value }} expected'),
    main("import_environment = TZ =x", r'main.cf line {line}: import_environment: bad word "=x": NAME, NAME=value'),
    main("data_directory = spool", r'main.cf line {line}: data_directory: an absolute path expected, not "spool"'),
    main("command_directory = sbin", r'main.cf line {line}: command_directory: an absolute path expected, not "sbin"'),
    # agents
    main("allow_mail_to_files = alias, forwards", r'main.cf line {line}: allow_mail_to_files: "forwards" is none of its words: alias forward include'),
    main("allow_mail_to_commands = all", r'main.cf line {line}: allow_mail_to_commands: "all" is none of its words: alias forward include'),
    main("prepend_delivered_header = mailbox", r'main.cf line {line}: prepend_delivered_header: "mailbox" is none of its words: command file forward'),
    main("propagate_unmatched_extensions = all", r'main.cf line {line}: propagate_unmatched_extensions: "all" is none of its words'),
    local("-o mailbox_size_limit=1000", r"mailbox_size_limit: 1000 is less than message_size_limit: 10240000 or more, or 0 for no limit"),
    local("-o message_size_limit=60000000", r"mailbox_size_limit: 51200000 is less than message_size_limit: 60000000 or more"),
    local("-o message_size_limit=0", r"mailbox_size_limit: 51200000, while message_size_limit is 0, which is no limit: 0 here, too"),
    local("-o default_privs=no-such-user", r'default_privs: no-such-user: unknown user name: "no-such-user": the name of a user without rights expected, as nobody'),
    local("-o default_privs=root", r"default_privs: root: root privileges: the name of a user without rights"),
    virtual("-o virtual_mailbox_limit=1000", r"virtual_mailbox_limit: 1000 is less than message_size_limit: 10240000 or more"),
    virtual("-o virtual_mailbox_base=mail", r"virtual_mailbox_base: mail: an absolute path expected"),
    virtual("-o virtual_uid_maps=static:vmail", r"virtual_uid_maps: bad uid in static:vmail: a number expected, 100 or more"),
    virtual("-o virtual_uid_maps=static:99", r"virtual_uid_maps: bad uid in static:99: a number expected, 100 or more"),
    virtual("-o virtual_gid_maps=static:0", r"virtual_gid_maps: bad gid in static:0: a number expected, 1 or more"),
    pipe("argv=/bin/true", r"missing user= command-line attribute"),
    pipe("user=nobody", r"missing argv= command-line attribute"),
    pipe("user=nobody argv=", r"argv=: no command: argv=/path/of/command expected"),
    pipe("user=nobody flags=DRZ argv=/bin/true", r"unknown flag: Z \(flags= has the letters BDFORXhqu.>"),
    pipe("user=nobody frob=x argv=/bin/true", r"unknown attribute name: frob=x \(flags= user= directory= chroot= eol= null_sender= size= argv= expected"),
    pipe("user=nobody size=1k argv=/bin/true", r"size=1k: a number of bytes expected"),
    pipe("user=nobody chroot=jail argv=/bin/true", r"chroot=jail: an absolute path expected"),
    pipe("user=nobody argv=/bin/true ${{rcpt}}", r'unknown macro name: "rcpt"'),
    pipe("user=root argv=/bin/true", r"user= command-line attribute specifies root privileges"),
    spawn("user=nobody flags=R argv=/bin/true", r"unknown attribute name: flags=R \(user= directory= argv= expected"),
    spawn("user=nobody", r"missing argv= command-line attribute"),
    spawn("argv=/bin/true", r"missing user= command-line attribute"),
    spawn("user=root argv=/bin/true", r"user= command-line attribute specifies root privileges"),
]
if os.getuid() == 0:
    LISTS += [
        main("mail_owner = no-such-user", r'main.cf line {line}: mail_owner: unknown user name: "no-such-user": the name of a user of its own expected'),
        main("net_owner = root", r"main.cf line {line}: net_owner: must not be root: the name of a user of its own expected"),
        main("setgid_group = no-such-group", r"main.cf line {line}: setgid_group: no-such-group: unknown group name: the name of a group of its own expected"),
        main("setgid_group = root", r"main.cf line {line}: setgid_group: root: group id 0: the name of a group of its own expected"),
        pipe("user=postern argv=/bin/true", r"user= command-line attribute specifies mail system owner postern"),
        pipe("user=posternnet argv=/bin/true", r"user= command-line attribute specifies mail system owner posternnet \(net_owner\)"),
        pipe("user=nobody:root argv=/bin/true", r"user= command-line attribute specifies privileged group id 0"),
        pipe("user=nobody:postdrop argv=/bin/true", r"user= command-line attribute specifies mail system postdrop group id"),
        spawn("user=nobody:postern argv=/bin/true", r"user= command-line attribute specifies mail system owner postern group id"),
        local("-o default_privs=postern", r"default_privs: postern: mail system owner postern \(mail_owner\)"),
    ]
BY_POSTERN_ONLY = "unknown table type"  # master knows nothing of tables
BY_MASTER_ONLY = ("service ", "queue_directory", "bad service name")


def check_unharmed(s):
    assert s.sockets == {n: os.stat(os.path.join(s.queue, "public", n)).st_ino for n in os.listdir(os.path.join(s.queue, "public"))}
    assert s.good.ask("hello there") == "hello there"
    fresh = Client(s.port)
    assert fresh.ask("pid") == s.good_pid and fresh.ask("conf myhostname") == "mail.example.test"
    fresh.close()


def refused_by_signal(s, said):
    before = s.log()
    os.kill(s.master, signal.SIGHUP)
    s.wait_log("reload failed: the configuration in force stays", before.count("reload failed") + 1)
    assert re.search(said, s.log()[len(before):]), (said, s.log()[len(before):])


@pytest.mark.parametrize("file,text,said", MISTAKES, ids=[re.sub(r"\W+", "-", t)[:50].strip("-") for _, t, _ in MISTAKES])
def test_mistake_is_refused(running, file, text, said):
    s = running
    path = os.path.join(s.etc, file)
    with open(path, encoding="ascii") as f:
        good = f.read()
    line = good.count("\n") + 1
    fill = {"port": s.port, "line": line, "line2": line + 1, "spare": s.spare, "taken": s.taken}
    said = said.format(**fill) if "{" in said else said
    try:
        with open(path, "w", encoding="ascii") as f:
            f.write(good + text.format(**fill) + "\n# after it\n")
        before = s.log().count("reload failed: ")
        r = s.postern("reload")
        if re.search(said, r.stderr):
            assert r.returncode == 1
        else:
            assert any(w in said for w in BY_MASTER_ONLY), r.stderr
            if r.returncode == 0:  # master heard of it: a signal before it has answered would be lost
                s.wait_log("reload failed: the configuration in force stays", before + 1)
        if BY_POSTERN_ONLY not in said:
            refused_by_signal(s, said)
        check_unharmed(s)
    finally:
        with open(path, "w", encoding="ascii") as f:
            f.write(good)


@pytest.mark.parametrize("file,text,said", LISTS, ids=[re.sub(r"\W+", "-", t)[:70].strip("-") for _, t, _ in LISTS])
def test_what_no_daemon_could_use_is_refused(running, file, text, said):
    s = running
    path = os.path.join(s.etc, file)
    with open(path, encoding="ascii") as f:
        good = f.read()
    line = good.count("\n") + 1
    fill = {"line": line, "line2": line + 1, "line3": line + 2, "spare": s.spare}
    try:
        with open(path, "w", encoding="ascii") as f:
            f.write(good + text.format(**fill) + "\n# after it\n")
        for verb in ("reload", "check"):
            r = s.postern(verb)
            assert r.returncode == 1 and re.search("(error|fatal): .*" + said.format(**fill), r.stderr) and len(re.findall("error: ", r.stderr)) <= 2, r.stderr
        check_unharmed(s)
    finally:
        with open(path, "w", encoding="ascii") as f:
            f.write(good)


USABLE = [
    "smtpd_helo_restrictions = permit, reject_nobody",
    "smtpd_helo_restrictions = reject, check_helo_access",
    "smtpd_helo_restrictions = reject_rbl_client",
    "smtpd_restriction_classes = kind\nkind = reject_nobody",
    "smtpd_recipient_restrictions = permit_mynetworks, warn_if_reject reject_unauth_destination, inline:{{x=reject}}",
    "alias_maps = hash:/no/such/file, nis:mail.aliases\nmydestination = /no/such/file",
    "lmtp_bind_address = here\nimapd_tls_chain_files = {{x",
    chain(20),
    "mailbox_size_limit = 1000\nvirtual_mailbox_limit = 1000\ndefault_privs = root\nvirtual_mailbox_base = x",  # no service has use for it
    "smtpd_tls_security_level = may\nsmtpd_tls_protocols = !SSLv3:>=0303\nsmtpd_tls_CAfile = /no/such/file",
]


def test_what_postfix_runs_well_with_is_taken(running):
    s = running
    path = os.path.join(s.etc, "main.cf")
    with open(path, encoding="ascii") as f:
        good = f.read()
    try:
        for text in USABLE:
            with open(path, "w", encoding="ascii") as f:
                f.write(good + text.format() + "\n")
            r = s.postern("check")
            assert r.returncode == 0 and "error: " not in r.stderr, (text, r.stderr)
    finally:
        with open(path, "w", encoding="ascii") as f:
            f.write(good)


def test_accounts_of_other_packages(running):
    """The master.cf that everybody has names commands of packages that few have; of one that mail goes to there is a warning."""
    s = running
    path = os.path.join(s.etc, "master.cf")
    with open(path, encoding="ascii") as f:
        good = f.read()
    try:
        for settings, warned in (("", False), ("\n  -o default_transport=list", True), ("\n  -o content_filter=list:x", True)):
            with open(path, "w", encoding="ascii") as f:
                f.write(good + f"list unix - n n - - pipe{settings}\n  user=no-such-user flags=FRX argv=/usr/lib/x ${{nexthop}} ${{user}}\n")
            r = s.postern("check")
            assert r.returncode == 0 and ('service list: user= command-line attribute: unknown user name: "no-such-user": make' in r.stderr) == warned, r.stderr
    finally:
        with open(path, "w", encoding="ascii") as f:
            f.write(good)


def test_files_that_cannot_be_read(running):
    s = running
    for file in ("main.cf", "master.cf"):
        path = os.path.join(s.etc, file)
        os.rename(path, path + ".away")
        refused_by_signal(s, rf"{file}.*No such file or directory")
        os.mkdir(path)
        refused_by_signal(s, rf"{file}.*(directory|regular file)")
        os.rmdir(path)
        os.symlink(file, path)
        refused_by_signal(s, rf"{file}.*symbolic links")
        os.unlink(path)
        if os.getuid() != 0:
            os.chmod(path + ".away", 0)
            os.rename(path + ".away", path)
            refused_by_signal(s, rf"{file}.*Permission denied")
            os.chmod(path, 0o644)
            os.rename(path, path + ".away")
        check_unharmed(s)
        os.rename(path + ".away", path)


def peak_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))


HUGE = {
    "a value of 10,000 lines": ("main.cf", "big =" + "".join(f"\n  d{i}.example.org," for i in range(10000)) + "\nrelay_domains = $big\n", None),
    "10,000 settings, each in terms of the one before": ("main.cf", "n0 = x\n" + "".join(f"n{i} = $n{i - 1}\n" for i in range(1, 50)) +
                                                       "".join(f"m{i} = $n{i % 50}\n" for i in range(10000)), None),
    "10,000 comments within one value": ("main.cf", "relay_domains = a\n" + "# remark\n  b\n" * 10000, None),
    "a service with 9,000 settings": ("master.cf", "{spare} inet n - n - - smtpd" + "".join(f"\n  -o x{i}=y" for i in range(4500)) + "\n", None),
    "a value of 10 MiB": ("main.cf", "relayhost = " + "x" * (10 << 20) + "\n", "main.cf: a configuration file is limited to 10485760 bytes"),
    "a value of 4 MiB in lines": ("main.cf", "\nrelayhost = x" + ("\n  " + "y" * 997) * (4 << 10) + "\n", "main.cf line {line2}: a logical line is limited to 1048576 bytes"),
    "a value that doubles 40 times": ("main.cf", "e0 = x\n" + "".join(f"e{i} = $e{i - 1}$e{i - 1}\n" for i in range(1, 41)), "e17: a value is limited to 100000 references to other parameters"),
    "a chain of 1,000 names": ("main.cf", "c0 = x\n" + "".join(f"c{i} = ${{c{i - 1}}}\n" for i in range(1, 1001)), "c66: references are nested more than 64 deep"),
    "10,000 parentheses": ("main.cf", "relayhost = " + "${{a?{" * 10000 + "\n", "main.cf line {line}: relayhost: "),
    "a master.cf of 11 MiB": ("master.cf", "# x\n" * (11 << 18), "master.cf: a configuration file is limited to 10485760 bytes"),
    "20,000 services": ("master.cf", "".join(f"s{i} unix - - n - - cleanup\n" for i in range(20000)), "master.cf line 10001: limited to 10000 services"),
    "one argument of 2 MiB": ("master.cf", "{spare} inet n - n - - smtpd -o x=" + "y" * (2 << 20) + "\n", "master.cf line {line}: a logical line is limited to 1048576 bytes"),
}


@pytest.mark.parametrize("what", HUGE, ids=[re.sub(r"\W+", "-", w) for w in HUGE])
def test_size_is_bounded(running, what):
    """Memory and time stay bounded; what is too large is said so, at a reload and at a start."""
    s = running
    file, text, said = HUGE[what]
    path = os.path.join(s.etc, file)
    with open(path, encoding="ascii") as f:
        good = f.read()
    fill = {"line": good.count("\n") + 1, "line2": good.count("\n") + 2}
    before = s.log()
    try:
        with open(path, "w", encoding="ascii") as f:
            f.write(good + text.replace("{spare}", str(s.spare)))
        os.kill(s.master, signal.SIGHUP)
        if said:
            said = said.format(**fill)
            s.wait_log("reload failed: the configuration in force stays", before.count("reload failed") + 1)
            assert said in s.log()[len(before):], s.log()[len(before):][:2000]
            check_unharmed(s)
            r = s.postern("reload")
            assert r.returncode == 1 and said in r.stderr, r.stderr[:1000]
        else:
            s.wait_log("qmgr[", before.count("qmgr[") + 1)  # a fresh one
            assert "reload failed" not in s.log()[len(before):]
            assert s.good.ask("hello there") == "hello there"
    finally:
        with open(path, "w", encoding="ascii") as f:
            f.write(good)
    assert peak_kib(s.master) < 200 << 10
    if not said:
        s.good.close()
        assert s.postern("reload").returncode == 0
        s.good = Client(s.port)
        s.good_pid = s.good.ask("pid")


COLD = {k: HUGE[k] for k in ("a value of 10,000 lines", "10,000 settings, each in terms of the one before", "a value of 10 MiB", "a value of 4 MiB in lines",
                             "a master.cf of 11 MiB", "20,000 services")}
COLD["10 MiB of comments"] = ("main.cf", ("# " + "c" * 97 + "\n") * 104000, None)
COLD["10 MiB of comments in master.cf"] = ("master.cf", ("# " + "c" * 97 + "\n") * 104000, None)
SANITIZED = "asan" in BUILD or "san" in os.path.basename(BUILD)


def limited(*args):
    """Within 512 MiB, which no answer needs."""
    bound = None if SANITIZED else lambda: resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
    return subprocess.run(args, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False, preexec_fn=bound)


@pytest.fixture(scope="module")
def cold():
    make_users()
    base = "/tmp/postern-cold-%d-%d" % (os.getpid(), time.monotonic_ns())
    os.makedirs(base)
    s = Scratch(base)
    s.spare = free_ports(1)[0]
    yield s
    s.stop()
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("what", COLD, ids=[re.sub(r"\W+", "-", w) for w in COLD])
def test_size_is_bounded_at_a_cold_start(cold, what):
    """check, postconf and start answer alike: with file and line, or by doing what they are for."""
    s = cold
    file, text, said = COLD[what]
    s.write()
    path = os.path.join(s.etc, file)
    with open(path, encoding="ascii") as f:
        good = f.read()
    said = said.format(line=good.count("\n") + 1, line2=good.count("\n") + 2) if said else None
    with open(path, "w", encoding="ascii") as f:
        f.write(good + text.replace("{spare}", str(s.spare)))
    by_start = limited(POSTERN, "-c", s.etc, "start")
    try:
        for r in (limited(POSTERN, "-c", s.etc, "check"), by_start):
            if said:
                assert r.returncode == 1 and said in r.stderr, r.stderr[:2000]
            else:
                assert r.returncode == 0, r.stderr[:2000]
        r = limited(POSTCONF, "-c", s.etc, "-h", "queue_directory")
        assert (r.returncode, r.stdout) == (0, s.queue + "\n") or said and r.returncode == 1 and said in r.stderr, r.stderr[:2000]
        assert s.pid() if not said else not s.pid()
        if not said:
            c = Client(s.port)
            assert c.ask("hello there") == "hello there"
            if "comments in" in what or what.endswith("comments"):
                with open(f"/proc/{c.ask('pid')}/smaps_rollup", encoding="ascii") as f:
                    held = int(re.search(r"Private_Dirty:\s+(\d+)", f.read()).group(1))
                assert SANITIZED or held < 6 << 10  # KiB: what a daemon has read, and does not need, it does not keep
            c.close()
    finally:
        s.stop()


def test_of_two_entries_for_a_service_the_last_counts(running):
    """And a socket may change its type: its name is that of the new one from then on."""
    s = running
    public = os.path.join(s.queue, "public")
    before = os.stat(public + "/cleanup").st_ino
    s.services += [f"{s.spare} inet n - n - 1 smtpd", f"{s.spare} inet n - n - 1 smtpd -o myhostname=second.example.test", "cleanup unix-dgram n - n - 0 cleanup"]
    s.services.remove("cleanup unix n - y - 0 cleanup")
    s.write()
    assert s.postern("reload").returncode == 0
    s.wait_log(f'master.cf line 5: duplicate entry for service "{s.spare}": that of line 6 counts')
    assert until(lambda: listens("127.0.0.1", s.spare))
    c = Client(s.spare)
    assert c.ask("conf myhostname") == "second.example.test"
    c.close()
    assert until(lambda: os.stat(public + "/cleanup").st_ino != before and "cleanup.next" not in os.listdir(public))
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    probe.connect(public + "/cleanup")
    probe.close()


def test_a_right_configuration_is_taken_after_all_that(running):
    s = running
    s.main["myhostname"] = "other.example.test"
    s.write()
    assert s.postern("reload").returncode == 0
    assert until(lambda: Client(s.port).ask("conf myhostname") == "other.example.test")
    assert s.good.ask("hello once more") == "hello once more" and s.good.ask("conf myhostname") == "mail.example.test"
