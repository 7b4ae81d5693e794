"""Real and malformed mail through the whole suite: what SMTP takes comes back by IMAP and POP3 unchanged but for documented normalisation, and
nothing crashes over it (RFC 5321 2.3.8, RFC 5322 2.1, RFC 3501 7.4.2, RFC 1939 5)."""
import concurrent.futures
import imaplib
import os
import poplib
import re
import shutil
import smtplib

import pytest

from instance import SHARED, mailbox_instance, scratch

DATA = os.path.join(SHARED, "data")
KINDS = ("corpus", "mime")
USER, PASSWORD, DOMAIN = "real", "mail", "example.test"
STRANGER = "127.0.0.77"  # whose headers are not rewritten
NOT_MAIL = (".json", ".tsv", ".yaml", ".yml", ".md", ".txt.expected")
LANES = 4
HEADER_LIMIT = 102400
DROPPED = (b"bcc", b"content-length", b"resent-bcc", b"return-path")  # message_drop_headers


def messages():
    for kind in KINDS:
        for d, _, names in os.walk(os.path.join(DATA, kind)):
            for name in sorted(names):
                if not name.endswith(NOT_MAIL):
                    yield os.path.join(d, name)


def on_the_wire(path):
    """CRLF line ends, and one at the end; a CR on its own stays what it is."""
    with open(path, "rb") as f:
        text = re.sub(rb"\r?\n", b"\r\n", f.read())
    return text if text.endswith(b"\r\n") or not text else text + b"\r\n"


def is_field(line):
    return re.match(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:", line) is not None


def expected(text):
    """What the mailbox shows behind the lines of the way. message_drop_headers are gone, stray CR is a space (cleanup_replace_stray_cr_lf), fields
    end at header_size_limit, From_ lines in front are named, and the empty line between header and body is put in where it is missing."""
    lines = [l.replace(b"\r", b" ") for l in text.split(b"\r\n")[:-1]]
    i = 0
    while i < len(lines) and re.match(rb">*From ", lines[i]):
        lines[i] = b"X-Mailbox-Line: " + lines[i]
        i += 1
    fields, i = [], 0
    while i < len(lines) and (is_field(lines[i]) or (i and lines[i][:1] in (b" ", b"\t"))):
        if is_field(lines[i]):
            fields.append(lines[i])
        else:
            fields[-1] += b"\r\n" + lines[i]
        i += 1
    kept = [f for f in fields if f.split(b":")[0].rstrip().lower() not in DROPPED]
    out = b"".join(cut(f) + b"\r\n" for f in kept)
    rest = lines[i:]
    if rest and rest[0] != b"":
        out += b"\r\n"
    return out + b"".join(l + b"\r\n" for l in rest)


def cut(field):
    """header_size_limit counts the stored form, with LF."""
    stored = field.replace(b"\r\n", b"\n")
    return field if len(stored) < HEADER_LIMIT else stored[:HEADER_LIMIT].replace(b"\n", b"\r\n")


def only_the_way(head):
    return set(re.findall(rb"(?m)^([A-Za-z-]+):", head)) <= {b"Return-Path", b"X-Original-To", b"Delivered-To", b"Received"}


def send_lane(inst, paths):
    """One connection, one message after the other. Returns path -> (queue id or None, reply)."""
    out = {}
    with smtplib.SMTP(inst.host, inst.port["smtp"], timeout=60, source_address=(STRANGER, 0)) as c:
        c.ehlo("client.example")
        for path in paths:
            c.send(f"MAIL FROM:<sender@elsewhere.test> BODY=8BITMIME\r\nRCPT TO:<{USER}@{DOMAIN}>\r\nDATA\r\n".encode())
            replies = [c.getreply() for _ in range(3)]
            assert [r[0] for r in replies] == [250, 250, 354], replies
            c.send(re.sub(rb"(?m)^\.", b"..", on_the_wire(path)) + b".\r\n")
            code, text = c.getreply()
            m = re.search(rb"queued as (\w+)", text)
            out[path] = (m.group(1) if code == 250 else None, text)
    return out


@pytest.fixture(scope="module")
def delivered():
    if not os.path.isdir(DATA):
        pytest.skip("no ../shared/data here: real mail is not tried")
    base = scratch("postern-real-")
    inst = None
    try:
        inst = mailbox_instance(os.path.join(base, "i"), DOMAIN, {USER: PASSWORD}, ("smtp", "imap", "pop3"),
                                main={"mynetworks": "127.0.0.200/32", "mydestination": "", "virtual_mailbox_limit": "0"})
        inst.start()
        paths = list(messages())
        with concurrent.futures.ThreadPoolExecutor(LANES) as pool:
            sent = {}
            for part in pool.map(lambda k: send_lane(inst, paths[k::LANES]), range(LANES)):
                sent.update(part)
        inst.wait_queue_empty(60)
        yield inst, sent
    finally:
        if inst:
            inst.stop()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def by_imap(delivered):
    """queue id -> (bytes, RFC822.SIZE)"""
    m = imaplib.IMAP4(delivered[0].host, delivered[0].port["imap"], timeout=60)
    m.login(f"{USER}@{DOMAIN}", PASSWORD)
    m.select("INBOX", readonly=True)
    out = {}
    for d in m.fetch("1:*", "(RFC822.SIZE BODY.PEEK[])")[1]:
        if isinstance(d, tuple):
            out[queue_id(d[1])] = (d[1], int(re.search(rb"RFC822.SIZE (\d+)", d[0]).group(1)))
    m.logout()
    return out


def queue_id(raw):
    return re.search(rb"\tby mail\.example\.test \(.*?\) with \S+ id (\w+)", raw).group(1)


def test_every_message_is_taken(delivered):
    """No message is refused, but those that have travelled too far (hopcount_limit); each one accepted is delivered once."""
    inst, sent = delivered
    refused = {p: t for p, (q, t) in sent.items() if q is None and b"5.4.0" not in t and b"5.4.6" not in t}
    assert len(sent) > 1000 and not refused, list(refused.items())[:5]
    log = inst.log()
    assert len(re.findall(r"status=sent \(delivered to maildir\)", log)) == len([1 for q, _ in sent.values() if q])
    assert not re.search(r"status=(?:deferred|bounced)", log)


def gaps_closed(message):
    """RFC 5322 section 4.5: blanks before the colon of a field are obsolete, and go."""
    head, end, body = message.partition(b"\r\n\r\n")
    return re.sub(rb"(?m)^([!-9;-~]+)[ \t]+:", rb"\1:", head) + end + body


def test_imap_shows_what_was_sent(delivered, by_imap):
    """RFC 3501 6.4.5: BODY[] is the message as sent behind the lines that the way added, RFC822.SIZE its length."""
    bad = []
    for path, (qid, _) in delivered[1].items():
        if qid is None:
            continue
        raw, size = by_imap[qid]
        want = gaps_closed(expected(on_the_wire(path)).replace(b"\0", b"\x80"))
        if b"\r\n\r\n" not in want and raw.endswith(b"\r\n\r\n"):
            want += b"\r\n"  # a header without body may get its empty line
        if size != len(raw) or not raw.endswith(want) or not only_the_way(raw[:len(raw) - len(want)]):
            bad.append((os.path.relpath(path, DATA), size, len(raw), raw[:2500], want[:1500]))
    assert not bad, (len(bad), [b[0] for b in bad][:40], bad[0])


def test_pop3_shows_the_same(delivered, by_imap):
    """RFC 1939: RETR gives the same bytes as IMAP, LIST their number."""
    inst, sent = delivered
    poplib._MAXLINE = 10_000_000
    p = poplib.POP3(inst.host, inst.port["pop3"], timeout=60)
    p.user(f"{USER}@{DOMAIN}")
    p.pass_(PASSWORD)
    sizes = dict(tuple(map(int, l.split())) for l in p.list()[1])
    assert len(sizes) == len(by_imap) == len([1 for q, _ in sent.values() if q])
    bad = []
    for n, size in sizes.items():
        p._putcmd(f"RETR {n}")
        assert p.file.readline().startswith(b"+OK")
        got = []
        while (line := p.file.readline()) != b".\r\n":
            assert line
            got.append(line[1:] if line.startswith(b".") else line)
        raw = b"".join(got)
        if len(raw) != size or raw.replace(b"\0", b"\x80") != by_imap[queue_id(raw)][0]:
            bad.append((n, size, len(raw), raw[:800]))
    p.quit()
    assert not bad, (len(bad), bad[0])


def test_everything_that_imap_can_ask(delivered):
    """Structure, envelope, parts, decoded search over all of it: every answer is complete and well formed, and nobody dies."""
    inst, _ = delivered
    m = imaplib.IMAP4(inst.host, inst.port["imap"], timeout=120)
    m.login(f"{USER}@{DOMAIN}", PASSWORD)
    count = int(m.select("INBOX")[1][0])
    for what in ("(ENVELOPE BODYSTRUCTURE BODY)", "(BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[2.1.HEADER] BODY.PEEK[TEXT]<100.200>)",
                 "(BODY.PEEK[HEADER.FIELDS (Subject From Content-Type)] BODY.PEEK[HEADER.FIELDS.NOT (Received)])", "ALL", "FULL"):
        code, got = m.fetch("1:*", what)
        assert code == "OK"
        text = b"".join((d[0] + d[1]) if isinstance(d, tuple) else d for d in got)
        assert b"\0" not in text
        assert len([d for d in got if re.match(rb"\d+ \(", d[0] if isinstance(d, tuple) else d)]) == count, what
    for what in ('TEXT "the"', 'BODY "viagra"', 'SUBJECT "re"', 'HEADER "X-Mailer" ""', 'NOT FROM "example"', "SENTBEFORE 1-Jan-2005", "LARGER 20000"):
        assert m.search(None, what)[0] == "OK", what
    m.literal = "\u00fc".encode()
    assert m.search("UTF-8", "TEXT")[0] == "OK"
    m.logout()


def test_nobody_died(delivered):
    """The log has no crash, no kill, no failed invariant."""
    bad = re.findall(r"^.*(?:killed by signal|panic|exit status|fatal:|seccomp|warning: .*(?:terminat|ended)).*$", delivered[0].log(), re.M)
    assert not bad, bad[:5]
