"""A failure shows how the logs of the instances that were at work ended."""
import os

import pytest

from instance import STARTED

LINES = 30


def at_work(which):
    if hasattr(which, "proc"):
        return which.proc is not None and which.proc.poll() is None
    return os.path.exists(which.maillog)


def tail(path):
    with open(path, "rb") as f:
        f.seek(max(os.path.getsize(path) - 30000, 0))
        return "".join(line[:400] + "\n" for line in f.read().decode("utf-8", "replace").splitlines()[-LINES:])


def pytest_runtest_setup():
    STARTED[:] = [s for s in STARTED if at_work(s)]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    report = (yield).get_result()
    if report.failed:
        ends = {p: tail(p) for p in dict.fromkeys(s.maillog for s in STARTED) if os.path.exists(p)}
        report.sections += [(f"the end of {p}", t) for p, t in ends.items() if not any(line in report.longreprtext for line in t.splitlines()[-5:])]
