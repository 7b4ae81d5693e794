"""When the suite stops, every client is told and nobody stays behind: SMTP 421 (RFC 5321 3.8), IMAP BYE (RFC 3501 7.1.5), POP3 -ERR."""
import imaplib
import os
import poplib
import shutil
import signal
import smtplib
import socket
import ssl

import pytest

from instance import PATIENCE, mailbox_instance, make_certificates, scratch, until

USER, PASSWORD, DOMAIN = "kim", "secret", "example.test"


@pytest.fixture(name="suite")
def a_suite():
    base = scratch("postern-stop-")
    tls = os.path.join(base, "tls")
    ca, cert, key = make_certificates(tls)[:3]
    inst = mailbox_instance(base + "/i", DOMAIN, {USER: PASSWORD}, ("smtp", "imap", "imaps", "pop3"),
                            main={"smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key})
    inst.ca = ca
    inst.start()
    yield inst
    inst.stop()
    shutil.rmtree(base, ignore_errors=True)


def smtp(inst):
    c = smtplib.SMTP(inst.host, inst.port["smtp"], timeout=60)
    c.ehlo()
    return c, b"421 4.3.2 "


def imap_before_login(inst):
    return imaplib.IMAP4(inst.host, inst.port["imap"]), b"* BYE "


def imap_idle(inst):
    c, bye = imap_before_login(inst)
    c.login(f"{USER}@{DOMAIN}", PASSWORD)
    c.select()
    c.send(b"a IDLE\r\n")
    assert c.readline().startswith(b"+")
    return c, bye


def imap_over_tls(inst):
    context = ssl.create_default_context(cafile=inst.ca)
    context.check_hostname = False
    c = imaplib.IMAP4_SSL(inst.host, inst.port["imaps"], ssl_context=context)
    c.login(f"{USER}@{DOMAIN}", PASSWORD)
    c.select()
    return c, b"* BYE "


def pop3(inst):
    c = poplib.POP3(inst.host, inst.port["pop3"], timeout=60)
    c.user(f"{USER}@{DOMAIN}")
    c.pass_(PASSWORD)
    return c, b"-ERR [SYS/TEMP] "


@pytest.mark.parametrize("client", [smtp, imap_before_login, imap_idle, imap_over_tls, pop3])
def test_a_client_is_told_and_no_process_is_killed(suite, client):
    c, farewell = client(suite)
    suite.stop()
    c.sock.settimeout(PATIENCE)
    got = b""
    try:
        while piece := c.sock.recv(500):
            got += piece
    except (socket.timeout, ConnectionResetError, ssl.SSLError):
        pass
    assert got.startswith(farewell), got
    assert "killed" not in suite.log()


def test_when_master_is_killed_sessions_end_at_once_with_421(suite):
    """A daemon whose master is gone gets no connection to anybody: a question that would need one fails at once, and nobody waits for it."""
    c = smtplib.SMTP(suite.host, suite.port["smtp"], timeout=60)
    c.ehlo()
    c.mail("a@b.test")
    daemons = suite.processes()
    os.kill(suite.proc.pid, signal.SIGKILL)
    suite.proc.wait()
    code, text = c.rcpt(f"{USER}@{DOMAIN}")
    assert code in (250, 421, 451), text
    assert until(lambda: not [p for p in daemons if os.path.exists(f"/proc/{p}")], 30)
