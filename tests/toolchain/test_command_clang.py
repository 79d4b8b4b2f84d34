"""clang's last-wins and arities, asked of the real drivers."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest

from ldshim.command import argv, clang
from tests.support.commandline import CLANGS, inputs, plain, run, values

if TYPE_CHECKING:
    from pathlib import Path

MISSING = re.compile(r"argument to '[^']*' is missing \(expected (\d)")


@pytest.mark.parametrize("tool", CLANGS)
def test_options_take_the_words_that_the_driver_gives_them(tool: str) -> None:
    """Every option that the table lets take following words misses as many at the end of the real line, or is none to this version."""
    wrong = []
    for row in clang.TABLE.rows:
        following = argv.FOLLOWING[row.arity]
        if not following or row.meaning == "no-link":
            continue
        for name in row.spellings:
            spelling = name.decode() + ("x86_64" if row.arity == argv.JOINED_AND_SEPARATE else "")
            _, said = run(tool, "-###", "yyy.o", spelling)
            missing = MISSING.search(said)
            known = not re.search(r"unknown argument|no such file|unsupported", said)
            if known and (missing is None or int(missing.group(1)) != following):
                wrong.append((spelling, said))
    assert [] == wrong


@pytest.mark.parametrize("tool", CLANGS)
def test_the_last_lto_switch_decides(tool: str, tmp_path: Path) -> None:
    """Of every pair of switches clang obeys the last, and so do we; jobs reach the linker only with LTO on."""
    (tmp_path / "yyy.o").touch()
    for first, last in itertools.product(["-flto", "-flto=thin", "-flto=full", "-fno-lto"], repeat=2):
        line = f"{first} -flto-jobs=3 {last} yyy.o"
        _, said = run(tool, "-###", *line.split(), cwd=tmp_path)
        facts = clang.facts(plain(line))
        assert (line, "-plugin-opt=jobs=3" in said) == (line, bool(facts.flto))
        assert (line, "-plugin-opt=thinlto" in said) == (line, values(facts.flto) == [b"thin"])
        assert facts.no_lto is not bool(facts.flto)


@pytest.mark.parametrize("tool", CLANGS)
def test_spellings_are_refused_by_the_tool_itself(tool: str, tmp_path: Path) -> None:
    """What clang refuses we read without judging: it will say so in its own words."""
    (tmp_path / "yyy.o").touch()
    for word in ("-flto=4", "-flto=none"):
        _, said = run(tool, "-###", word, "yyy.o", cwd=tmp_path)
        assert (word, True) == (word, "unsupported argument" in said)
        assert [word[6:].encode()] == values(clang.facts(plain(f"{word} yyy.o")).flto)


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("-fuse-ld=gold -fuse-ld=lld a.o", "fuse_ld", b"lld"),
        ("--ld-path=/x/ld.lld a.o", "ld_path", b"/x/ld.lld"),
        ("-fthinlto-distributor=/d a.o", "distributed", True),
        ("-Wl,--thinlto-index-only=x a.o", "index_only", True),
        ("-flto -ffat-lto-objects a.o", "fat_lto", True),
        ("-ffat-lto-objects a.o", "fat_lto", False),
        ("-Wl,--fat-lto-objects a.o", "fat_lto", True),
        ("-target x86_64-linux-gnu a.o", "sources", False),
        ("-Xclang -c a.o", "links", True),
        ("-mllvm -c a.o", "links", True),
        ("-cc1 a.c", "links", False),
        ("-cc1as a.s", "links", False),
        ("a.bc", "sources", True),
        ("a.unknown", "sources", False),
        ("--analyze a.c", "links", False),
        ("a.o -- -c", "links", True),
        ("a.o -Xlinker", "pending", True),
    ],
)
def test_facts_of_a_clang_line(line: str, name: str, expected: object) -> None:
    """The facts that decide a clang link, each from where clang itself reads it."""
    assert expected == getattr(clang.facts(plain(line)), name)


def test_jobs_of_the_driver_come_before_those_it_forwards() -> None:
    """C9: clang puts -flto-jobs in front of everything forwarded, so a -Wl,--thinlto-jobs is the last word wherever it stands."""
    facts = clang.facts(plain("-flto -Wl,--thinlto-jobs=8 -flto-jobs=4 a.o"))
    assert ([b"4", b"8"], [2, 1]) == (values(facts.jobs), [said.at for said in facts.jobs])


@pytest.mark.parametrize(
    ("line", "threads", "jobs"),
    [
        ("-Wl,--threads=4 a.o", [(b"4", 0)], []),
        ("-Wl,--threads,4 a.o", [(b"4", 0)], []),
        ("-Xlinker --threads -Xlinker 4 a.o", [(b"4", 1)], []),
        ("-fuse-ld=mold -Wl,--threads a.o", [(None, 1)], []),
        ("-fuse-ld=gold -Wl,--threads,--thread-count,4 a.o", [(None, 1), (b"4", 1)], []),
        ("-fuse-ld=lld -Wl,-plugin-opt=jobs=2,-plugin-opt,jobs=3 a.o", [], [(b"2", 1), (b"3", 1)]),
        ("-Wl,--thread-count=4 a.o", [(b"4", 0)], []),
    ],
)
def test_numbers_that_a_driver_forwards(line: str, threads: list[tuple[bytes, int]], jobs: list[tuple[bytes, int]]) -> None:
    """C9: the linker's own numbers are read out of -Wl and -Xlinker, at the position of the carrying word."""
    facts = clang.facts(plain(line))
    assert (threads, jobs) == ([(said.value, said.at) for said in facts.threads], [(said.value, said.at) for said in facts.jobs])


def test_forwarded_flags_reach_the_inputs_behind_them() -> None:
    """--whole-archive, -Bstatic and --start-lib hold for the inputs that follow, files and -l alike, until they are undone."""
    line = "a.a -Wl,--whole-archive b.a -lb -Wl,--push-state,--no-whole-archive,-Bstatic c.a -lc -Wl,--pop-state d.a"
    line += " -Wl,--start-lib,e.o,--end-lib"
    expected = ["a.a", "b.a [w]", "-lb [w]", "c.a [s]", "-lc [s]", "d.a [w]", "e.o"]
    assert expected == inputs(clang.facts(plain(line)))


def test_static_holds_for_inputs_before_it() -> None:
    """The driver's own -static stands before all inputs on the linker's line."""
    assert ["-la [s]", "b.o [s]"] == inputs(clang.facts(plain("-la b.o -static")))


def test_an_argument_of_a_forwarded_option_is_no_input() -> None:
    """`-Wl,-rpath,/x` and its kin name no input, whichever linker it will be."""
    line = "-Wl,-rpath,/x -Wl,-soname,libx.so -Xlinker -T -Xlinker s.ld -Wl,--version-script,v -Wl,-z,now a.o"
    assert ["a.o"] == inputs(clang.facts(plain(line)))
