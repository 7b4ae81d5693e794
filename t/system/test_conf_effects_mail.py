"""Parameters of the addresses of mail: each row names settings, an address in its role, and what it becomes; the same address without the settings
becomes something else."""
import pytest

from test_router import ENV_RCPT, ENV_SENDER, HDR_RCPT, HDR_SENDER, LOCAL, Router

MAPS = ("canonical_maps =\nsender_canonical_maps = inline:{ {a@example.org=sent@example.org} }\n"
        "recipient_canonical_maps = inline:{ {b@example.org=received@example.org} }\n")
ROLES = {"envelope_sender": ENV_SENDER, "header_sender": HDR_SENDER, "envelope_recipient": ENV_RCPT, "header_recipient": HDR_RCPT}
SENDER, RECIPIENT = ("envelope_sender", "header_sender"), ("envelope_recipient", "header_recipient")


@pytest.fixture
def make(tmp_path):
    made = []

    def start(main_cf):
        (tmp_path / str(len(made))).mkdir()
        made.append(Router(tmp_path / str(len(made)), main_cf))
        return made[-1]
    yield start
    for r in made:
        r.kill()


@pytest.mark.parametrize("sender,recipient", [(SENDER, RECIPIENT), (SENDER[:1], RECIPIENT[:1]), (SENDER[1:], RECIPIENT[1:])],
                         ids=["both", "envelope", "header"])
def test_classes_of_canonical_maps(make, sender, recipient):
    r = make(f"{MAPS}sender_canonical_classes = {', '.join(sender)}\nrecipient_canonical_classes = {' '.join(recipient)}\n")
    for role, bit in ROLES.items():
        assert r.rewrite("a@example.org", role=bit) == ("sent@example.org" if role in sender else "a@example.org"), role
        assert r.rewrite("b@example.org", role=bit) == ("received@example.org" if role in recipient else "b@example.org"), role


@pytest.mark.parametrize("value,rewritten", [("yes", "user@host.test"), ("no", "host.test!user@example.org")])
def test_swap_bangpath(make, value, rewritten):
    r = make(f"swap_bangpath = {value}\n")
    assert r.rewrite("host.test!user") == rewritten
    assert (r.resolve("host.test!user@example.org")[1] == LOCAL) == (value == "no")
