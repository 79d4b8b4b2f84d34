"""MAKEFLAGS repeats options and ends in the user's text: which parts count, spelling by spelling (C12)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldshim.reserve import makeflags
from ldshim.reserve.makeflags import ABSENT, EMPTY_PATH, MALFORMED, STYLE, WITHHELD
from tests.support import tools
from tests.support.program import bare_environment

# text, where it was seen, kind, (read_fd, write_fd), jobs
PIPES = [
    (b" -j4 --jobserver-auth=3,4", "make 4.2, 4.3", (3, 4), 4),
    (b" --jobserver-fds=3,4 -j", "make 4.0, 4.1", (3, 4), 0),
    (b"-j --jobserver-fds=6,7 --jobserver-auth=6,7", "cargo 1.95", (6, 7), 0),
    (b"k -j4 --jobserver-auth=3,4 --eval=Y=--jobserver-auth=9,9\\ --\\ x", "make 4.3 --eval: quoted blanks do not cut", (3, 4), 4),
    (b" -j4 --jobserver-auth=3,4 -- X=--jobserver-auth=9,9 --jobserver-auth=8,8", "a user's variable", (3, 4), 4),
    (b"-- --jobserver-auth=3,4 --jobserver-auth=5,6", "only variables", (-1, -1), 0),
    (b" -j4 --jobserver-auth=3,4 --jobserver-auth=5,6", "the last wins", (5, 6), 4),
    (b" -j4 --jobserver-auth=-2,-2 --jobserver-auth=5,6", "withheld, then a new one", (5, 6), 4),
    (b" -j4 --jobserver-auth=fifo:/tmp/x --jobserver-fds=5,6", "both options are one", (5, 6), 4),
    (b" -j4 --jobserver-auth=0,1", "descriptor 0 is one like the others", (0, 1), 4),
    (b"\t-j4\t--jobserver-auth=3,4", "tabs are blanks", (3, 4), 4),
    (b"-j2 -j4 -l2.5 -Otarget --jobserver-auth=3,4 --sync-mutex=fnm:/tmp/GmX --shuffle=7", "make 4.4, MFLAGS", (3, 4), 4),
    (b"kj4 --jobserver-auth=3,4", "grouped, with a value", (3, 4), 4),
]


@pytest.mark.parametrize(("text", "pair", "jobs"), [(text, pair, jobs) for text, _, pair, jobs in PIPES], ids=[row[1] for row in PIPES])
def test_the_last_pair_before_the_variables_counts(text: bytes, pair: tuple[int, int], jobs: int) -> None:
    """C12: the last auth wins, ` -- ` ends parsing, and both option names are the same option."""
    auth = makeflags.parse(text)
    assert (pair, jobs) == ((auth.read_fd, auth.write_fd), auth.jobs)
    assert ("none" if pair == (-1, -1) else "pipe") == auth.kind


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b" -j4 --jobserver-auth=fifo:/tmp/GMfifo7", b"/tmp/GMfifo7"),
        (b" -j4 --jobserver-auth=fifo:/tmp/t\\ $x\\\\y/GMfifo7 -- A=b", b"/tmp/t $x\\y/GMfifo7"),
        (b" -j4 --jobserver-auth=3,4 --jobserver-auth=fifo:/a", b"/a"),
        (b" --jobserver-auth=fifo:/tmp/\xff\xfe,4", b"/tmp/\xff\xfe,4"),
        (b" --jobserver-auth=fifo:relative/path", b"relative/path"),
    ],
)
def test_a_fifo_keeps_its_name_whatever_is_in_it(text: bytes, path: bytes) -> None:
    """C12: a path ends at an unescaped space, and make's backslashes are removed."""
    auth = makeflags.parse(text)
    assert ("fifo", path, "") == (auth.kind, auth.path, auth.reason)


@pytest.mark.parametrize("text", [b" -j4 --jobserver-auth=3,4 --jobserver-auth=-2,-2", b" -j4 --jobserver-fds=3,4 --jobserver-auth=-1,-1"])
def test_a_withheld_jobserver_keeps_its_numbers(text: bytes) -> None:
    """C12: `-2,-2` means withheld, and the last non-negative pair is kept for recovery."""
    auth = makeflags.parse(text)
    assert ("none", True, 3, 4, 4, WITHHELD) == (auth.kind, auth.withheld, auth.read_fd, auth.write_fd, auth.jobs, auth.reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", ABSENT),
        (b" -j4", ABSENT),
        (b" -j", ABSENT),
        (b"k", ABSENT),
        (b"V=--jobserver-auth=3,4", ABSENT),
        (b" --jobserver-authority=3,4", ABSENT),
        (b" -j4 --jobserver-auth=-2,-2", WITHHELD),
        (b" --jobserver-auth=fifo:", EMPTY_PATH),
        (b" --jobserver-auth=gmake_semaphore_42", STYLE),
        (b" --jobserver-auth=", MALFORMED),
        (b" --jobserver-auth=3", MALFORMED),
        (b" --jobserver-auth=3,", MALFORMED),
        (b" --jobserver-auth=,4", MALFORMED),
        (b" --jobserver-auth=3,4,5", MALFORMED),
        (b" --jobserver-auth=3,4x", MALFORMED),
        (b" --jobserver-auth=-,-", MALFORMED),
        (b" --jobserver-auth=3,-x", MALFORMED),
        (b" --jobserver-auth=+3,+4", MALFORMED),
        (b" --jobserver-auth=3,99999999999999999999", MALFORMED),
        (b" --jobserver-auth=\xb3,4", MALFORMED),
        (b" --jobserver-auth=3,4 --jobserver-auth=x", STYLE),
    ],
)
def test_text_without_a_jobserver_has_a_reason(text: bytes, reason: str) -> None:
    """C12: a text without a usable auth gives kind none and one sentence of the closed set, and does not count as withheld."""
    auth = makeflags.parse(text)
    assert ("none", reason, False) == (auth.kind, auth.reason, auth.withheld)


@pytest.mark.parametrize(
    ("text", "dry_run"),
    [
        (b"n", True),
        (b"kn -j4 --jobserver-auth=3,4", True),
        (b"-kn -j4", True),
        (b"-n", True),
        (b" -Onone -j4", False),
        (b"-Onone -j4", False),
        (b"-j4 -n", False),
        (b" n", False),
        (b"--no-print-directory", False),
        (b"V=n", False),
        (b"rR", False),
        (b"", False),
    ],
)
def test_only_an_n_among_the_first_flags_means_dry_run(text: bytes, dry_run: bool) -> None:
    """C12: `n` in the first word means dry run; an n in a value, a variable or a later word does not."""
    assert dry_run is makeflags.parse(text).dry_run


@pytest.mark.parametrize("text", [b" -j99999999999", b" -jx", b" -j-1", b" --jobs=", b"j"])
def test_an_unreadable_number_of_jobs_is_none(text: bytes) -> None:
    """A -j without a valid number gives 0, which is no ceiling."""
    assert makeflags.parse(text).jobs == 0


@given(st.lists(st.sampled_from([b" ", b"\\", b"--", b"--jobserver-auth=", b"3,4", b"-2,-2", b"fifo:", b"n", b"-j", b"7", b"=", b"\xff"])))
def test_no_text_makes_the_parser_fail(pieces: list[bytes]) -> None:
    """C12: any text gives an auth whose kind fits its fields."""
    auth = makeflags.parse(b"".join(pieces))
    assert (auth.kind == "none") is bool(auth.reason)
    assert (auth.kind == "fifo") is bool(auth.path)
    assert auth.kind != "pipe" or min(auth.read_fd, auth.write_fd) >= 0


@pytest.mark.parametrize(
    ("finder", "options", "kind", "jobs"),
    [
        (tools.make43, ["-j5"], "pipe", 5),
        (tools.make43, ["-j5", "-k", "-Onone", "--eval=A=--jobserver-auth=9,9"], "pipe", 5),
        (tools.make43, ["-j"], "none", 0),
        (tools.make43, ["-j1"], "none", 1),
        (tools.make44, ["-j5"], "fifo", 5),
        (tools.make44, ["-j5", "B=--jobserver-auth=9,9"], "fifo", 5),
        (tools.make44, ["-j5", "--jobserver-style=pipe"], "none", 5),  # withheld: the recipe below is not marked with +
    ],
)
@pytest.mark.parametrize("variable", ["MAKEFLAGS", "MFLAGS"])
def test_the_makeflags_of_real_makes_are_parsed(
    finder: Callable[[], str], options: list[str], kind: str, jobs: int, variable: str, tmp_path: Path
) -> None:
    """C12: make 4.3 and 4.4.1 themselves, with a space in TMPDIR and text of the user's that looks like an auth."""
    (tmp_path / "Makefile").write_text(f'all:\n\t@printf %s "$${variable}" > said\n')
    odd = tmp_path / "a b"
    odd.mkdir()
    subprocess.run([finder(), *options], cwd=tmp_path, env=bare_environment(TMPDIR=str(odd)), check=True)
    auth = makeflags.parse((tmp_path / "said").read_bytes())
    assert (kind, jobs) == (auth.kind, auth.jobs)
    assert kind != "fifo" or auth.path.startswith(bytes(odd) + b"/GMfifo")
    assert ("pipe" in str(options)) is auth.withheld
