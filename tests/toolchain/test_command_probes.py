"""Calls that certainly do not link are let through unread, and nothing that links is taken for one (C5)."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldshim.command import argv, clang, gcc, gnuld, lld, mold, probes, wild
from tests.support.commandline import CLANGS, LINKERS, plain, run, takes_next
from tests.support.tools import gccs, need

if TYPE_CHECKING:
    from pathlib import Path

PIECES = sorted(
    [
        b"-c",
        b"-S",
        b"--version",
        b"--help",
        b"-v",
        b"-V",
        b"-o",
        b"-Xlinker",
        b"-x",
        b"-MF",
        b"-cc1",
        b"a.o",
        b"a.c",
        b"--",
        b"-E",
        b"-Wl,-c",
        b"-lm",
        b"-T",
        b"-O2",
    ]
)
lines = st.lists(st.sampled_from(PIECES), max_size=6)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-c a.c", True),
        ("a.c -o a.o -c", True),
        ("-o -c a.o", False),
        ("-Xlinker -c a.o", False),
        ("-Wl,-c a.o", False),
        ("-MF -MF -c a.c", True),
        ("-include -E a.c", False),
        ("@f -c a.c", False),
        ("@f -O2 -c a.c", True),
        ("@f -o -c a.c", False),
        ("@f -o -o -c a.c", False),
        ("-o @f -c a.o", False),
        ("a.o -- -c", False),
        ("-o -- -c", False),
        ("-c -- a.c", True),
        ("-x c - -E", True),
        ("-v", True),
        ("", True),
        ("-v a.o", False),
        ("-lm", False),
        ("-dumpdir -E a.o", False),
        ("-dumpversion", True),
        ("-print-prog-name=ld", True),
        ("--help=warnings", True),
        ("-cc1 -triple x", True),
        ("-O2 -cc1", False),
        ("-shared -o libc.so a.o", False),
    ],
)
def test_compiles_and_probes_of_drivers(line: str, expected: bool) -> None:
    """A word means "no link" only where it is certainly an option."""
    assert expected is bool(probes.driver(plain(line).text))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--version", True),
        ("-v", True),
        ("-V", True),
        ("-v a.o", False),
        ("-V a.o", False),
        ("--help a.o", True),
        ("-o --version a.o", False),
        ("-rpath --help a.o", False),
        ("@f --version", False),
        ("-c script a.o", False),
        ("-S -E -M a.o", False),
        ("-T script", False),
        ("-run make all", True),
        ("a.o -run", False),
        ("-r a.o", False),
        ("", True),
    ],
)
def test_probes_of_linkers(line: str, expected: bool) -> None:
    """To a linker `-c -S -E -M -v -V` mean other things."""
    assert expected is bool(probes.linker(plain(line).text))


@given(lines)
def test_no_link_of_a_driver_is_let_through(line: list[bytes]) -> None:
    """Whatever the quick scan calls a probe, the families' own readers do not call a link."""
    if probes.driver(line):
        assert line[:1] == [b"-cc1"] or not gcc.facts(argv.Arguments.plain(line)).links
        assert not clang.facts(argv.Arguments.plain(line)).links


@given(lines)
def test_no_link_of_a_linker_is_let_through(line: list[bytes]) -> None:
    """Whatever the quick scan calls a probe, no linker's own reader calls a link."""
    if probes.linker(line):
        words = argv.Arguments.plain(line)
        for facts in (
            lld.facts(words),
            mold.facts(words),
            wild.facts(words),
            gnuld.facts(words, gold=False),
            gnuld.facts(words, gold=True),
        ):
            assert not facts.links


def test_the_scan_knows_every_option_that_takes_a_word() -> None:
    """The scan's own lists, kept apart so that it imports no table, are those of the tables."""
    assert takes_next(gcc.TABLE) | takes_next(clang.TABLE) <= set(probes.DRIVER_TAKES_NEXT.split())
    linkers = set().union(*(takes_next(table) for table in (lld.TABLE, gnuld.BFD, gnuld.GOLD, mold.TABLE, wild.TABLE)))
    assert linkers <= set(probes.LINKER_TAKES_NEXT.split())


def test_the_scan_imports_no_table() -> None:
    """A compile pays for no family's table."""
    code = (
        "import sys; from ldshim.command import probes; print(sorted(name for name in sys.modules if name.startswith('ldshim.command.')))"
    )
    assert (
        "['ldshim.command.probes']\n" == subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True).stdout
    )


@pytest.mark.parametrize("tool", [*gccs(), CLANGS[-1]])
def test_no_driver_links_at_a_probe(tool: str, tmp_path: Path) -> None:
    """No real driver runs its linker when one of the probe words stands among its options."""
    for name in ("ld", "ld.bfd"):
        fake = tmp_path / name
        fake.write_text(f"#!/bin/sh\necho {name} >>{tmp_path}/linked\n")
        fake.chmod(0o755)
    (tmp_path / "a.o").touch()
    run(tool, f"-B{tmp_path}", "a.o", cwd=tmp_path)
    assert (tmp_path / "linked").exists()
    (tmp_path / "linked").unlink()
    for word in sorted(probes.DRIVER_PROBES - {b"--target-help"}):
        run(tool, f"-B{tmp_path}", word, "a.o", cwd=tmp_path)
        assert (word, False) == (word, (tmp_path / "linked").exists())


@pytest.mark.parametrize("tool", gccs())
def test_gcc_refuses_what_clang_takes_for_a_version(tool: str, tmp_path: Path) -> None:
    """With -V, which takes the next word in clang alone, no gcc links: so what the scan makes of the words behind it costs nothing."""
    fake = tmp_path / "ld"
    fake.write_text(f"#!/bin/sh\necho ld >>{tmp_path}/linked\n")
    fake.chmod(0o755)
    (tmp_path / "a.o").touch()
    for line in ("-V a.o", "-V -T --help a.o", "a.o -V"):
        status, said = run(tool, f"-B{tmp_path}", *line.split(), cwd=tmp_path)
        assert (line, True, True) == (line, status != 0, "unrecognized command-line option" in said)
        assert not (tmp_path / "linked").exists()


@pytest.mark.parametrize("tool", LINKERS)
def test_no_linker_links_at_a_probe(tool: str, tmp_path: Path) -> None:
    """No real linker writes its output when one of the probe words stands among its options, and it does with -v."""
    (tmp_path / "a.s").write_text(".globl _start\n_start: ret\n")
    subprocess.run([need("as"), "-o", "a.o", "a.s"], cwd=tmp_path, check=True)
    for word in sorted(probes.LINKER_PROBES):
        run(tool, word, "a.o", "-o", "out", cwd=tmp_path)
        assert (word, False) == (word, (tmp_path / "out").exists())
    run(tool, "-v", "a.o", "-o", "out", cwd=tmp_path)
    assert (tmp_path / "out").exists()
