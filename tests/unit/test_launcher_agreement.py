"""Hazard: the shell launcher and Python classify compiles and links differently."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldshim.command import probes
from tests.support.launchers import launcher, script
from tests.support.tools import need

pytestmark = pytest.mark.matrix  # hundreds of lines for every shell: what it proves is the shell's part, not the interpreter's

SHELLS = [("dash",), ("bash", "--posix"), *([("busybox", "sh")] if shutil.which("busybox") else [])]

LISTS = {
    "gcc": (probes.DRIVER_PROBES, probes.DRIVER_PROBE_PREFIXES, probes.DRIVER_TAKES_NEXT.split(), probes.CC1, probes.driver),
    "ld": (probes.LINKER_PROBES, (), probes.LINKER_TAKES_NEXT.split(), frozenset[bytes](), probes.linker),
}

PLAIN = [
    *(b"", b"a b", b" -o ", b"-o -x", b"-c ", b"\n-c\n", b"\\", b"\xff", b"\x81-c"),
    *b"x.c - -- -Wall -fPIC -fsy -O2 @file * ? [a -D'x -x -W -O -f -v -cc1 --verbose -I -Ix ~ $x".split(),
]

HOT = b"-c -E --version --help -o -Xlinker @file -- x.c -Wall".split()  # where mistakes hide: in how these stand beside each other


def arguments(name: str) -> st.SearchStrategy[list[bytes]]:
    """Return command lines with many arguments that both sides check."""
    known, prefixes, takes_next, _, _ = LISTS[name]
    one = st.one_of(
        *[st.sampled_from(HOT)] * 5,
        st.sampled_from(sorted(known)),
        st.sampled_from(sorted(takes_next)),
        st.sampled_from(PLAIN),
        st.sampled_from([prefix + b"x" for prefix in prefixes] or PLAIN),
        st.binary(min_size=1, max_size=4).filter(lambda word: b"\0" not in word),
    )
    return st.lists(one, max_size=6)


def expected(name: str, args: list[bytes]) -> bool:
    """Return the result that the launcher's header promises: straight, unless each probe follows an argument that may take it."""
    known, prefixes, takes_next, first, _ = LISTS[name]
    if not args or args[0] in first or (len(args) == 1 and args[0] in probes.NO_INPUT):
        return True
    rows = b" " + b" ".join(sorted(takes_next)) + b" "
    for before, word in zip([b"", *args], args):
        if word == b"--":
            return False
        # A word with blanks in it may happen to be a stretch of the list; that costs a look by Python.
        taken = before.startswith(b"@") or (before != b"" and b" " + before + b" " in rows)
        if not taken and (word in known or (prefixes and word.startswith(prefixes))):
            return True
    return False


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide launchers for a driver and a linker whose tool and interpreter print which of them ran."""
    root = tmp_path_factory.mktemp("agreement")
    tool, python = script(root / "tool", "echo straight"), script(root / "blank in name" / "python", "echo python")
    for name in LISTS:
        launcher(root / "farm", name, tool, python)
    return root


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_both_sides_agree(place: Path, shell: tuple[str, ...], name: str) -> None:
    """C5, C22: a call that goes straight is a probe by Python's lists, and every probe goes straight, unless an argument may take it."""
    run = [os.fsencode(word) for word in (need(shell[0]), *shell[1:], str(place / "farm" / name))]

    @settings(max_examples=250, deadline=None, derandomize=True, database=None)
    @given(arguments(name))
    def agree(args: list[bytes]) -> None:
        said = subprocess.run([*run, *args], env={"PATH": "/nonexistent"}, stdout=subprocess.PIPE, check=True).stdout
        straight = said == b"straight\n"
        assert expected(name, args) == straight
        assert not straight or LISTS[name][4](args)

    agree()


@pytest.mark.parametrize("name", LISTS)
def test_every_spelling_is_known_to_the_shell(place: Path, name: str) -> None:
    """C5: each probe alone goes straight, and goes to Python after an argument that takes a value."""
    known, prefixes, takes_next, _, _ = LISTS[name]
    lines = {(b"-Wall", word): b"straight\n" for word in [*known, *(prefix + b"x" for prefix in prefixes)]}
    lines.update({(word, b"--version"): b"python\n" for word in takes_next})
    path = os.fsencode(place / "farm" / name)
    said = {line: subprocess.run([path, *line, b"x.c"], env={"PATH": ""}, stdout=subprocess.PIPE, check=True).stdout for line in lines}
    assert lines == said
