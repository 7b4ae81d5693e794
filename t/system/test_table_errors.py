"""Wrong sources and names of tables are told with file and line, and the rest is used (postmap(1), postalias(1), cidr_table(5), regexp_table(5),
pcre_table(5), DATABASE_README's inline, pipemap, unionmap, randmap); one bad line among a million does not matter."""
import os
import subprocess

import pytest

from instance import BIN
from table_cases import CASES


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    d = tmp_path_factory.mktemp("errors")
    (d / "main.cf").write_text("compatibility_level = 3.6\nmyhostname = h.example\n")
    return d


def run(d, program, *args):
    p = subprocess.run([os.path.join(BIN, program), *args], cwd=d, capture_output=True, check=False, timeout=120,
                       env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "MAIL_CONFIG": str(d)})
    return p.returncode, p.stdout.decode("latin1"), [line.split(": ", 1)[-1] for line in p.stderr.decode("latin1").splitlines()]


def case_name(case):
    return f"{case[0]} {case[2] if isinstance(case[2], str) else ' '.join(case[2])}"[:50]


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_told_and_the_rest_used(place, case):
    program, source, args, code, out, messages = case
    for old in place.glob("t*"):
        old.unlink()
    if source is not None:
        (place / "t").write_bytes(source.encode("latin1"))
    assert run(place, program, *(args.split(" ") if isinstance(args, str) else args)) == (code, out, messages)


@pytest.mark.parametrize("kind", ["lmdb", "cdb"])
def test_one_bad_line_in_a_million(place, kind):
    with open(place / "big", "w", encoding="ascii") as f:
        f.writelines("nothing\n" if i == 777776 else f"user{i}@example.com value{i}\n" for i in range(1000000))
    code, _, messages = run(place, "postmap", f"{kind}:big")
    assert code == 0 and messages == ["warning: big, line 777777: expected format: key whitespace value"]
    for i in (0, 777775, 777777, 999999):
        assert run(place, "postmap", "-q", f"user{i}@example.com", f"{kind}:big")[1] == f"value{i}\n"
    assert run(place, "postmap", "-q", "user777776@example.com", f"{kind}:big")[0] == 1
    os.unlink(place / "big")
    os.unlink(place / f"big.{kind}")
