"""The linkers' tables compared with the real linkers: which options take the next argument, and which spellings of a number they accept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldshim.command import anyld, argv, clang, gcc, gnuld, lld, mold, wild
from tests.support.commandline import LINKERS, LLDS, REFUSED, inputs, plain, run, takes_next, values

if TYPE_CHECKING:
    from ldshim.command.argv import Facts, Table

pytestmark = pytest.mark.matrix  # what it proves is the tools' part, not the interpreter's

TABLES = {"ld.bfd": gnuld.BFD, "ld.gold": gnuld.GOLD, "ld.mold": mold.TABLE}
RECORDED = Path(__file__).parents[2] / "fixtures" / "command"

# Where versions disagree, the table follows the newer.
CHANGED = {"lld-14": ["-error-limit"], "mold-1.10": ["--thinlto-index-only", "-thinlto-index-only"]}


def table_of(tool: str) -> Table:
    """Return the table for an installed linker or a recording."""
    return lld.TABLE if "lld" in tool else TABLES.get(tool.replace("sid-", "ld.").replace("ld.ld.", "ld."), mold.TABLE)


def newer_only(tool: str) -> set[bytes]:
    """Return the spellings that only a newer mold than the installed one has."""
    return {name for row in mold.TABLE.rows if row.seen == "3.0" for name in row.spellings} if tool == "ld.mold" else set()


def facts_of(tool: str, line: str) -> Facts:
    """Read arguments as the linker of that name does."""
    words = plain(line)
    if tool.startswith("ld.lld"):
        return lld.facts(words)
    return mold.facts(words) if tool == "ld.mold" else gnuld.facts(words, gold=tool == "ld.gold")


@pytest.mark.parametrize("tool", LINKERS)
def test_options_take_the_next_argument(tool: str) -> None:
    """Every option that takes the next argument by the table takes a --version, or is unknown to this linker."""
    wrong = []
    # gold looks for `-z --version` as for an option of that name.
    for option in sorted(takes_next(table_of(tool)) - newer_only(tool) - ({b"-z"} if tool == "ld.gold" else set())):
        _, said = run(tool, option, "--version")
        if re.search(r"^(GNU ld|GNU gold|LLD \d|mold \d|.*\bLLD \d)", said, re.MULTILINE) and not REFUSED.search(said):
            wrong.append((option, said))
    assert [] == wrong


@pytest.mark.parametrize("recording", sorted(path.name for path in RECORDED.glob("takes-next-*.txt")))
def test_recorded_options_take_the_next_argument(recording: str) -> None:
    """Every option for which a real tool was recorded to miss a value takes the next argument in the table."""
    tool = recording[len("takes-next-") : -len(".txt")]
    table = {"gcc": gcc.TABLE, "clang": clang.TABLE, "lld": lld.TABLE, "bfd": gnuld.BFD, "gold": gnuld.GOLD, "mold": mold.TABLE}[
        tool.split("-")[0]
    ]
    options = [line for line in (RECORDED / recording).read_text().split("\n") if line and not line.startswith("#")]
    assert [] == [option for option in options if table.find(option.encode())[2] != 1 and option not in CHANGED.get(tool, ())]


@pytest.mark.parametrize(
    ("tool", "line", "taken"),
    [
        *((tool, line, True) for tool in LLDS for line in ("--threads=4", "--threads 4", "--thinlto-jobs=4")),
        *((tool, line, True) for tool in LLDS for line in ("-plugin-opt=jobs=4", "--plugin-opt jobs=4", "--thinlto-jobs=all")),
        *((tool, line, False) for tool in LLDS for line in ("-threads=4", "-thinlto-jobs=4", "--thread-count=4")),
        *((tool, line, False) for tool in LLDS for line in ("--no-threads", "--threads=0", "--thinlto-jobs=jobserver")),
        *(
            ("ld.mold", line, True)
            for line in ("--threads=4", "-threads=4", "--threads", "--thread-count 4", "--thread-count=4", "--no-threads")
        ),
        *(("ld.mold", line, True) for line in ("--thinlto-jobs=4", "--thinlto-jobs 4")),
        *(("ld.mold", line, False) for line in ("--threads=x",)),
        *(
            ("ld.gold", line, True)
            for line in ("--threads", "--thread-count 4", "--thread-count=4", "--no-threads", "--thread-count-final=2")
        ),
        *(("ld.gold", line, False) for line in ("--threads=4", "--thinlto-jobs=4")),
        *(("ld.bfd", line, False) for line in ("--threads=4", "--threads", "--thread-count=4", "--thinlto-jobs=4")),
    ],
)
def test_spellings_of_numbers_are_accepted_or_rejected(tool: str, line: str, taken: bool) -> None:
    """C20: each linker accepts its own spellings and rejects the others', so nothing is added where the linker is not certain."""
    _, said = run(tool, *line.split(), "/nonexistent.o")
    refused = REFUSED.search(said) or re.search(
        r"expected a positive integer|invalid job count|not a number|unrecognized|stoul|parse", said
    )
    assert (line, taken) == (line, not refused)


@pytest.mark.parametrize(
    ("tool", "line", "threads", "jobs"),
    [
        ("ld.lld-19", "--threads=4 a.o --threads 8", [(b"4", 0), (b"8", 2)], []),
        ("ld.lld-19", "--thinlto-jobs=all a.o -plugin-opt=jobs=2", [], [(b"all", 0), (b"2", 2)]),
        ("ld.lld-19", "-plugin-opt jobs=3 a.o --plugin-opt jobs=4", [], [(b"3", 0), (b"4", 3)]),
        ("ld.lld-19", "--threads=08 a.o", [(b"08", 0)], []),
        ("ld.mold", "--threads a.o --thread-count 4 -no-threads", [(None, 0), (b"4", 2), (b"1", 4)], []),
        ("ld.mold", "-thinlto-jobs 2 a.o", [], [(b"2", 0)]),
        ("ld.gold", "--thread-count 4 --threads a.o", [(None, 2), (b"4", 0)], []),
        ("ld.gold", "--thread-count 4 a.o", [], []),
        ("ld.gold", "--threads --no-threads --thread-count=4 a.o", [(b"1", 1)], []),
        ("ld.bfd", "-plugin /x/LLVMgold.so -plugin-opt=jobs=5 a.o", [], [(b"5", 2)]),
    ],
)
def test_numbers_for_a_linker(tool: str, line: str, threads: list[tuple[bytes, int]], jobs: list[tuple[bytes, int]]) -> None:
    """C9: numbers are read without validation, in order, at the position of their spelling."""
    facts = facts_of(tool, line)
    assert (threads, jobs) == ([(said.value, said.at) for said in facts.threads], [(said.value, said.at) for said in facts.jobs])


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("--thinlto-index-only a.o", "index_only", True),
        ("--thinlto-index-only=x a.o", "index_only", True),
        ("-plugin-opt=thinlto-index-only a.o", "index_only", True),
        ("--plugin-opt thinlto-index-only=x a.o", "index_only", True),
        ("--thinlto-emit-index-files a.o", "index_only", False),
        ("--thinlto-distributor=/d a.o", "distributed", True),
        ("--lto-emit-llvm a.o", "no_codegen", True),
        ("--plugin-opt=emit-llvm a.o", "no_codegen", True),
        ("--plugin-opt=emit-asm a.o", "no_codegen", False),
        ("--fat-lto-objects a.o", "fat_lto", True),
        ("--fat-lto-objects --no-fat-lto-objects a.o", "fat_lto", False),
        ("--lto=thin --lto=full a.o", "lto_kind", b"full"),
        ("-r a.o", "relocatable", True),
        ("-o -r a.o", "relocatable", False),
        ("-L/a -L b --library-path=c a.o", "library_dirs", [b"/a", b"b", b"c"]),
        ("-flavor gnu a.o", "links", True),
        ("--version a.o", "links", False),
        ("-v a.o", "links", True),
        ("-v", "links", False),
        ("-o --version a.o", "links", True),
    ],
)
def test_facts_of_lld_arguments(line: str, name: str, expected: object) -> None:
    """The facts that decide an lld link, in every spelling."""
    assert expected == getattr(lld.facts(plain(line)), name)


def test_a_flavor_is_skipped_and_still_counts_for_positions() -> None:
    """`lld -flavor gnu` selects the linker: no input is called gnu, and positions include both arguments."""
    facts = lld.facts(plain("-flavor gnu --threads=4 a.o"))
    assert (["a.o"], [2], 4) == (inputs(facts), [said.at for said in facts.threads], facts.add_at)


@pytest.mark.parametrize("tool", LINKERS)
def test_inputs_in_order_with_the_flags_in_force(tool: str) -> None:
    """Archives after --whole-archive, libraries after -Bstatic, saved and restored states: each input has the flags in force."""
    line = "a.o --whole-archive b.a --push-state --no-whole-archive -Bstatic -lc -l d --pop-state e.a -lf -l:libg.a"
    line += " -T s.ld -e main -z now -m elf_x86_64"
    assert ["a.o", "b.a [w]", "-lc [s]", "-ld [s]", "e.a [w]", "-lf [w]", "-l:libg.a [w]"] == inputs(facts_of(tool, line))


def test_objects_in_a_library_region_are_lazy() -> None:
    """Between --start-lib and --end-lib nothing is linked whole."""
    assert ["a.o [w]", "b.o", "c.o [w]"] == inputs(lld.facts(plain("--whole-archive a.o --start-lib b.o --end-lib c.o")))


@pytest.mark.parametrize("line", ["-run make a.o", "--run make --version", "--version a.o", "--help"])
def test_a_linker_that_does_something_else(line: str) -> None:
    """C5: a mold that runs a build is no link, whatever the build's arguments are."""
    facts = mold.facts(plain(line))
    assert (False, True) == (facts.links, facts.why_not != "")


@pytest.mark.parametrize("spelling", ["-plugin /p.so", "--plugin /p.so", "-plugin=/p.so", "--plugin=/p.so"])
def test_plugins_are_found_where_their_options_must_follow(spelling: str) -> None:
    """C7: a plugin's position is that of its option, and the spelling shows whether the path is the next argument."""
    said = gnuld.facts(plain(f"a.o {spelling}"), gold=False).plugins
    assert [(b"/p.so", 1, spelling.partition("/")[0].strip().encode())] == [(each.value, each.at, each.spelling) for each in said]


@pytest.mark.parametrize("line", ["--threads a.o", "--threads=4 a.o", "--thread-count 4 a.o", "--no-threads a.o"])
def test_wild_is_read_like_the_others(line: str) -> None:
    """C10: wild is a jobserver client unless a count is given, so every spelling of a count is recognized."""
    assert 1 == len(wild.facts(plain(line)).threads)


def test_the_common_table_knows_every_linkers_arguments() -> None:
    """For an unknown linker each option takes the next argument if it does so in any of bfd, gold and lld."""
    forgotten = [
        option
        for table in (gnuld.BFD, gnuld.GOLD, lld.TABLE)
        for option in takes_next(table)
        if argv.FOLLOWING[anyld.TABLE.exact[option].arity] == 0
    ]
    assert [b"--threads"] == forgotten
    assert [b"4"] == values(gcc.facts(plain("-Wl,--threads,4 a.o")).threads)
