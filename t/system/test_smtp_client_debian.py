"""smtp(8) and Debian's, against the same servers: the commands that are sent, and what the log says of the delivery."""
import os
import re
import shutil
import smtplib
import tempfile
import time

import pytest

import peer
from fakesmtp import EHLO, Server
from test_smtp_client import Client

NO_PIPELINING = [k for k in EHLO if k != "PIPELINING"]
CASES = {
    "plain": {},
    "busy": {"GREETING": "421 4.3.2 busy"},
    "unwanted": {"GREETING": "554 5.7.1 go away"},
    "silent": {"GREETING": None},
    "noehlo": {"EHLO": "502 5.5.1 what", "HELO": "250 hello"},
    "nohello": {"EHLO": "550 5.7.1 not you", "HELO": "550 5.7.1 not you"},
    "later": {"EHLO": "450 4.7.1 later"},
    "ehlogone": {"EHLO": None},
    "mailno": {"MAIL": "550 5.7.1 bad sender"},
    "mailsoft": {"MAIL": "451 4.3.0 not now"},
    "mailgone": {"MAIL": None},
    "rcptno": {"RCPT": "550-5.1.1 no\r\n550 5.1.1 such user"},
    "rcptsoft": {"RCPT": "450 4.2.0 greylisted"},
    "rcptbare": {"RCPT": "550 nobody"},
    "rcptgone": {"RCPT": None},
    "datano": {"DATA": "554 5.5.1 no data"},
    "datasoft": {"DATA": "451 4.5.0 no data now"},
    "datagone": {"DATA": None},
    "bodyno": {"BODY": "550 5.7.1 spam"},
    "bodysoft": {"BODY": "452 4.3.1 disk full"},
    "bodygone": {"BODY": None},
    "bodybare": {"BODY": "250 thanks"},
    "onebyone": {"keywords": NO_PIPELINING},
    "onerefused": {"keywords": NO_PIPELINING, "RCPT": "550 5.1.1 no"},
    "mailrefused": {"keywords": NO_PIPELINING, "MAIL": "550 5.7.1 no"},
    "datarefused": {"keywords": NO_PIPELINING, "DATA": "451 4.3.0 no"},
    "small": {"keywords": ["PIPELINING", "SIZE 10"]},
    "quitgone": {"QUIT": None},
}
STATUS = re.compile(r"to=<u@(\w+)\.test>.*dsn=([\d.]+), status=(\w+) \((.*)\)$", re.M)


def said(lines):
    """Without what differs between two mail systems of other names and message sizes."""
    out = [re.sub(r" (SIZE|RET|ENVID|ORCPT|NOTIFY|BODY)=\S+", "", x) for x in lines]
    return [re.sub(r"^(EHLO|HELO) .*", r"\1 me", x) for x in out if x != "QUIT"]


def results(log):
    return {name: (dsn, status, re.sub(r"message size \d+", "message size N", text)) for name, dsn, status, text in STATUS.findall(log)}


@pytest.fixture(scope="module")
def theirs():
    if not peer.HAVE:
        pytest.skip("Debian's postfix is not installed, or no root")
    servers = {n: Server(**dict(c)) for n, c in CASES.items()}
    routes = " ".join("{%s.test = smtp:[127.0.0.1]:%d}" % (n, s.port) for n, s in servers.items())
    base = tempfile.mkdtemp(prefix="client-debian-")
    os.chmod(base, 0o755)  # Postfix runs as another user
    p = peer.Peer(os.path.join(base, "theirs"), main={"transport_maps": "inline:{%s}" % routes, "smtp_tls_security_level": ""})
    try:
        p.start()
        with smtplib.SMTP("127.0.0.1", p.port["smtp"], timeout=60) as s:
            for n in CASES:
                s.sendmail("a@example.org", ["u@%s.test" % n], "From: a@example.org\nSubject: x\n\nhello\n")
        until = time.monotonic() + 60
        while len(results(p.log())) < len(CASES) and time.monotonic() < until:
            time.sleep(0.1)
        yield servers, results(p.log())
    finally:
        p.stop()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    servers = {n: Server(**dict(c)) for n, c in CASES.items()}
    c = Client(tmp_path_factory.mktemp("ours"))
    try:
        for n, s in servers.items():
            c.deliver("[127.0.0.1]:%d" % s.port, rcpts=["u@%s.test" % n])
        yield servers, results(c.log())
    finally:
        c.end()


@pytest.mark.parametrize("name", CASES)
def test_same_result(theirs, ours, name):
    assert ours[1][name] == theirs[1][name]


@pytest.mark.parametrize("name", CASES)
def test_same_commands(theirs, ours, name):
    assert said(ours[0][name].lines) == said(theirs[0][name].lines)
