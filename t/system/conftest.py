"""A failure shows how the logs of the instances that were at work ended."""
import os

import pytest

import fakesmtp
from instance import STARTED, make_users

LINES = 30
# Files that take long: with several at a time they begin first, so that no worker is left alone with one at the end.
SLOW = ["test_%s.py" % name for name in (
    "cleanup verify_debian config_sets config_sets_secured postmulti postconf smtp_client_debian queue commands_oracle mime_cost sandbox router smtp_client_params postern_verbs table_wrong "
    "queue_debian table_changes logs local install master mailboxes_debian smtpd_params_debian smtpd_debian table_again postmap").split()]


def at_work(which):
    if hasattr(which, "proc"):
        return which.proc is not None and which.proc.poll() is None
    return os.path.exists(which.maillog)


def tail(path):
    with open(path, "rb") as f:
        f.seek(max(os.path.getsize(path) - 30000, 0))
        return "".join(line[:400] + "\n" for line in f.read().decode("utf-8", "replace").splitlines()[-LINES:])


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW))


def pytest_configure(config):
    """The system users are there before any worker starts: not every test has an instance that makes them."""
    if not hasattr(config, "workerinput"):
        make_users()


def pytest_runtest_setup():
    STARTED[:] = [s for s in STARTED if at_work(s)]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """A worker runs many files: what one left open would count against the descriptors of the next."""
    if nextitem is None or nextitem.path != item.path:
        for server in list(fakesmtp.OPEN):
            server.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    report = (yield).get_result()
    if report.failed:
        ends = {p: tail(p) for p in dict.fromkeys(s.maillog for s in STARTED) if os.path.exists(p)}
        report.sections += [(f"the end of {p}", t) for p, t in ends.items() if not any(line in report.longreprtext for line in t.splitlines()[-5:])]
