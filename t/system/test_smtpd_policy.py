"""smtpd(8) and Debian's ask the same of a policy server: every attribute, in the same order, at every state of the protocol; and what each makes of answers,
of silence and of what verify(8) finds out about addresses."""
import re

import pytest

from beside import NEEDS, Beside, differences, log_differences
from fakeauth import AuthServer, b64
from fakeservers import Server
from instance import make_certificates

pytestmark = NEEDS
H, M, R, D, END = "EHLO client.test", "MAIL FROM:<a@good.test>", "RCPT TO:<bob@localhost>", "DATA", ("raw", b"Subject: x\r\n\r\nbody\r\n.\r\n")
MAIN = {
    "myhostname": "mail.example.test", "mydomain": "example.test", "mydestination": "localhost, mail.example.test", "mynetworks": "127.0.0.0/8",
    "compatibility_level": "3.6", "local_recipient_maps": "inline:{ bob=x, ann=x }", "alias_maps": "", "alias_database": "", "smtputf8_enable": "yes",
    "smtpd_authorized_xclient_hosts": "127.0.0.1", "smtpd_peername_lookup": "no", "inet_protocols": "all", "mail_name": "Postfix", "biff": "no",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination", "relay_domains": "relay.test", "fast_flush_domains": "relay.test",
    "smtpd_sasl_type": "dovecot", "smtpd_sasl_auth_enable": "yes", "smtpd_tls_security_level": "may", "smtpd_tls_ask_ccert": "yes",
    "smtpd_policy_service_retry_delay": "1s", "smtpd_policy_service_try_limit": "1", "smtpd_policy_service_timeout": "30s", "recipient_delimiter": "+",
    "address_verify_poll_delay": "1s", "address_verify_poll_count": "20", "address_verify_map": "", "smtpd_error_sleep_time": "0",
    "transport_maps": "inline:{ { good.test = discard: }, { fail.test = error:5.1.1 no such user here }, { later.test = retry:4.2.1 come back }, "
                      "{ localhost = discard: }, { slow.test = nothing: }, { relay.test = discard: } }",
}


class Policy(Server):
    """Notes each request as a list of (name, value); `answer` is what comes back."""

    def __init__(self, answer="action=DUNNO\n\n"):
        self.text = answer
        super().__init__(self.request, lambda q: self.text.encode() if self.text is not None else None)

    def request(self, f):
        lines = []
        while (line := f.readline()) not in (b"", b"\n"):
            lines.append(tuple(line.decode().rstrip("\n").split("=", 1)))
        return lines or None


def everywhere(port):
    return {f"smtpd_{k}_restrictions": f"check_policy_service inet:127.0.0.1:{port}" + (", permit_mynetworks, reject" if k in ("relay", "recipient") else "")
            for k in ("client", "helo", "sender", "relay", "recipient", "data", "end_of_data", "etrn")}


SESSIONS = {
    "plain": [H, M, R, "RCPT TO:<ann@localhost>", D, END, "QUIT"],
    "one": [H, "MAIL FROM:<a@good.test> SIZE=1000 BODY=8BITMIME", "RCPT TO:<bob+x@localhost>", D, END],
    "null": ["HELO x", "MAIL FROM:<>", R, "RSET", "VRFY bob", "MAIL FROM:<\"a b\"@good.test>", "RCPT TO:<\"b\"@localhost>"],
    "etrn": [H, "ETRN relay.test"],
    "bdat": [H, M, R, ("raw", b"BDAT 5\r\nabcd\n"), ("raw", b"BDAT 5 LAST\r\nabcd\n")],
    "xclient": ["XCLIENT NAME=c.test ADDR=192.0.2.7 PORT=77 LOGIN=me DESTADDR=192.0.2.8 DESTPORT=26 HELO=x.test PROTO=ESMTP REVERSE_NAME=r.test", M, R],
    "auth": [H, "AUTH PLAIN " + b64("\0good\0pass"), "MAIL FROM:<a@good.test> AUTH=<>", R, "RSET", "MAIL FROM:<a@good.test> AUTH=b@good.test", R],
    "tls": [H, "STARTTLS", ("tls",), H, M, R, D, END],
    "utf8": [H, "MAIL FROM:<\u00fc@good.test> SMTPUTF8", R],
    "tlsauth": [H, "STARTTLS", ("tls",), H, "AUTH PLAIN " + b64("\0good\0pass"), M, R, "RCPT TO:<ann@localhost>", D, END],
    "long": [H, "MAIL FROM:<" + "a" * 60 + "+ext=x@" + "d" * 60 + "." + "e" * 60 + ".good.test> SIZE=1000", R],
    "utf8auth": ["XCLIENT NAME=c.test ADDR=IPV6:2001:db8::7 LOGIN=m+C3+BCe", "EHLO \u00fc.test", "MAIL FROM:<\u00fc@\u00fc.test> SMTPUTF8 BODY=8BITMIME", R],
}
ANSWERS = {
    "ok": "action=OK\n\n", "reject": "action=REJECT by policy\n\n", "code": "action=450 4.7.1 wait\n\n", "defer": "action=DEFER_IF_PERMIT Service is greylisted\n\n",
    "more": "foo=bar\naction=521 5.7.1 go away\n\n", "empty": "\n", "none": "foo=bar\n\n", "odd": "action=\n\n", "restriction": "action=reject_unauth_destination\n\n",
    "unknown": "action=no_such_thing\n\n", "prepend": "action=PREPEND X-A: b\n\n", "hold": "action=HOLD because\n\n", "warn": "action=WARN look\n\n", "gone": None, "bad": "what\n\n",
}
AT_DATA = ("reject", "hold", "gone", "prepend")
# Settings of services that ask verify(8), and what is said to them
VERIFY = {
    "vsender": ({"smtpd_sender_restrictions": "reject_unverified_sender"}, ["a@good.test", "a@fail.test", "a@later.test", "", "bob@localhost", "double-bounce@mail.example.test", "postmaster"]),
    "vsender2": ({"smtpd_sender_restrictions": "reject_unverified_sender", "unverified_sender_reject_code": "550", "unverified_sender_reject_reason": "not known to us", "unverified_sender_defer_code": "451",
                  "unverified_sender_tempfail_action": "defer"}, ["a@fail.test", "a@later.test"]),
    "vrcpt": ({"smtpd_recipient_restrictions": "reject_unverified_recipient"}, ["bob@localhost", "a@good.test", "a@fail.test", "a@later.test", "bob+x@localhost"]),
    "vrcpt2": ({"smtpd_recipient_restrictions": "reject_unverified_recipient, reject", "unverified_recipient_reject_code": "550", "unverified_recipient_reject_reason": "no such mailbox",
                "unverified_recipient_defer_code": "452", "unverified_recipient_tempfail_action": "defer"}, ["a@fail.test", "a@later.test"]),
    "vwarn": ({"smtpd_recipient_restrictions": "warn_if_reject reject_unverified_recipient"}, ["a@fail.test", "a@later.test"]),
    "vpermit": ({"smtpd_recipient_restrictions": "reject_unverified_recipient, permit"}, ["a@later.test"]),
    "vreject": ({"smtpd_recipient_restrictions": "reject_unverified_recipient, reject"}, ["a@later.test", "a@good.test"]),
    "vpolls": ({"smtpd_recipient_restrictions": "reject_unverified_recipient", "address_verify_poll_count": "1"}, ["b@slow.test"]),
}


class World:
    def __init__(self, certs):
        self.asked = [Policy(), Policy()]      # theirs, ours
        self.answers = {n: Policy(a) for n, a in ANSWERS.items()}
        self.auth = AuthServer()
        make_certificates(certs)
        main = {**MAIN, "smtpd_sasl_path": f"inet:127.0.0.1:{self.auth.port}", "smtpd_tls_cert_file": f"{certs}/cert.pem", "smtpd_tls_key_file": f"{certs}/key.pem"}
        services = {"state": {k: v.replace(str(self.asked[0].port), "<port>") for k, v in everywhere(self.asked[0].port).items()}}
        services["early"] = {**services["state"], "smtpd_delay_reject": "no"}
        services["context"] = {"smtpd_recipient_restrictions": "check_policy_service { inet:127.0.0.1:<port>, policy_context=sub mission }, permit_mynetworks, reject"
                               .replace("policy_context=sub mission", "{ policy_context = sub mission }"), "stress": "yes"}
        for n, p in self.answers.items():
            services["a" + n] = {"smtpd_recipient_restrictions": f"check_policy_service inet:127.0.0.1:{p.port}, permit_mynetworks, reject"}
            if n in AT_DATA:
                services["d" + n] = {"smtpd_data_restrictions": f"check_policy_service inet:127.0.0.1:{p.port}"}
        services["default"] = {"smtpd_recipient_restrictions": f"check_policy_service {{ inet:127.0.0.1:{self.answers['gone'].port}, default_action = 554 5.7.1 no policy }}"
                               .replace("default_action = 554 5.7.1 no policy", "{ default_action = 554 5.7.1 no policy }")}
        services.update({n: o for n, (o, _) in VERIFY.items()})
        self.both = Beside(main, services, ports=[p.port for p in self.asked])

    def start(self):
        self.both.__enter__()
        return self

    def stop(self):
        self.both.__exit__()
        for s in (*self.asked, *self.answers.values(), self.auth):
            s.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(str(tmp_path_factory.mktemp("certs"))).start()
    yield w
    w.stop()


TROUBLE = re.compile("missing attribute action|problem talking to server|has empty value")  # with reasons of our own
NEWER = ("tls_sni", "compatibility_level", "mail_version")  # than Debian's


def alike(request):
    """A request without what is of this moment, this process or this mail system."""
    own = {"instance": r"^[0-9a-f.]+$", "queue_id": r"^[0-9A-F]+$", "client_port": r"^\d{5}$", "mail_version": ".", "server_address": r"^127\."}
    return [(k, "*" if k in own and re.search(own[k], v) else v) for k, v in request]


def ask(world, service, dialogue):
    """(replies, requests) of both sides."""
    out = []
    for side, policy in zip(world.both.sides, world.asked):
        policy.asked.clear()
        replies, _ = side.run(service, dialogue)
        out.append((replies, [alike(q) for q in policy.asked]))
    return out


@pytest.mark.parametrize("service", ["state", "early", "context"])
@pytest.mark.parametrize("name", list(SESSIONS))
def test_what_a_policy_server_is_asked(world, service, name):
    (theirs, asked_by_them), (ours, asked_by_us) = ask(world, service, SESSIONS[name])
    wrong = differences(name, SESSIONS[name], theirs, ours)
    for n, (a, b) in enumerate(zip(asked_by_them, asked_by_us)):
        b = [x for x in b if x[0] not in NEWER or x[0] in dict(a)]
        wrong += [f"request {n} ({dict(a).get('protocol_state')}): theirs {x}, ours {y}" for x, y in zip(a, b) if x != y]
        if len(a) != len(b):
            wrong.append(f"request {n}: not in both {set(dict(a)) ^ set(dict(b))}")
    assert not wrong, "\n" + "\n".join(wrong)
    assert [dict(a)["protocol_state"] for a in asked_by_them] == [dict(b)["protocol_state"] for b in asked_by_us]
    assert asked_by_us or (service, name) == ("context", "etrn")


@pytest.mark.parametrize("name", ["a" + n for n in ANSWERS] + ["d" + n for n in AT_DATA] + ["default"])
def test_what_is_made_of_an_answer(world, name):
    d = [H, M, R, "RCPT TO:<x@far.test>", D, END]
    (theirs, their_log), (ours, our_log) = world.both.run(name, d)
    wrong = differences(name, d, theirs, ours)
    wrong += log_differences(name, *([l for l in log if not TROUBLE.search(l)] for log in (their_log, our_log)))
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", list(VERIFY))
def test_addresses_that_are_verified(world, name):
    wrong = []
    for n, addr in enumerate(VERIFY[name][1]):
        d = [H, f"MAIL FROM:<{addr}>", R] if name.startswith("vsender") else [H, M, f"RCPT TO:<{addr}>"]
        (theirs, their_log), (ours, our_log) = world.both.run(name, d)
        wrong += differences(f"{name} {n}", d, theirs, ours) + log_differences(f"{name} {n}", their_log, our_log)
    assert not wrong, "\n" + "\n".join(wrong)
