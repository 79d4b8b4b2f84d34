"""The parser of arguments: the meaning of an argument depends on the one before it, and an edit has its position."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldshim.command import argv, gcc, lld, mold
from tests.support.commandline import inputs, plain, values

TABLE = argv.Table(
    [
        *argv.rows(argv.EITHER, b"-o"),
        *argv.rows(argv.EQUALS_OR_FLAG, b"-flto", "flto"),
        *argv.rows(argv.SEPARATE, b"-x", "x"),
        *argv.rows(argv.SEPARATE_3, b"-sect"),
        *argv.rows(argv.JOINED_AND_SEPARATE, b"-Xarch_"),
    ]
)


def found(line: str) -> list[tuple[bytes, bytes | None, int]]:
    """Return (spelling, value, position) of each option, inputs as (name, None, position)."""
    items = argv.walk(plain(line), TABLE).items
    return [(item.spelling, item.value, item.at) if isinstance(item, argv.Match) else (item.text, None, item.at) for item in items]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-o -flto a.o", [(b"a.o", None, 2)]),
        ("-oout -flto", [(b"-flto", None, 1)]),
        ("-flto=4 a.o", [(b"-flto=", b"4", 0), (b"a.o", None, 1)]),
        ("-flto= -flton", [(b"-flto=", b"", 0)]),
        ("-x c -", [(b"-x", b"c", 0), (b"-", None, 2)]),
        ("-sect 1 2 3 a.o", [(b"a.o", None, 4)]),
        ("-Xarch_i386 -o a.o", [(b"a.o", None, 2)]),
        ("-unknown a.o", [(b"a.o", None, 1)]),
    ],
)
def test_the_value_of_an_option_is_neither_option_nor_input(line: str, expected: list[tuple[bytes, bytes | None, int]]) -> None:
    """An option's value is never an input or an option, and positions are those of the caller's arguments."""
    assert expected == found(line)


@pytest.mark.parametrize("line", ["-o", "a.o -x", "-sect 1 2", "-Xarch_i386"])
def test_nothing_is_appended_after_an_option_that_lacks_its_value(line: str) -> None:
    """C7: nothing is appended after an option that would take it as its value."""
    assert argv.walk(plain(line), TABLE).pending


def test_additions_go_before_a_double_dash() -> None:
    """C7: after `--` everything is an input, so additions go before it."""
    facts = lld.facts(plain("a.o -- -o b.o"))
    assert (1, ["a.o", "-o", "b.o"], False) == (facts.add_at, inputs(facts), facts.pending)


def test_a_double_dash_from_a_file_forbids_additions() -> None:
    """C7: where `--` comes from a response file, no position in the caller's arguments is before it."""
    words = argv.Arguments([b"a.o", b"--", b"b.o"], [0, argv.IN_FILE, argv.IN_FILE], 2)
    assert argv.walk(words, TABLE, dashdash_ends=True).pending


def test_additions_go_after_every_argument_of_the_caller() -> None:
    """With an empty response file there are fewer arguments than args; additions still go to the end of args."""
    words = argv.Arguments([b"-o", b"out", b"a.o"], [1, 2, 3], 4)
    assert 4 == lld.facts(words).add_at


def test_a_value_from_a_file_cannot_be_edited() -> None:
    """C7: an option whose value is in a response file has no position."""
    words = argv.Arguments([b"--threads", b"4", b"a.o"], [0, argv.IN_FILE, 2], 3)
    said = lld.facts(words).threads
    assert [(b"4", argv.IN_FILE)] == [(each.value, each.at) for each in said]


def test_a_single_dash_is_no_prefix() -> None:
    """Only the spellings of a table count: `-threads=4` is no thread count in lld, and is one in mold."""
    assert ([], [b"4"]) == (values(lld.facts(plain("-threads=4 a.o")).threads), values(mold.facts(plain("-threads=4 a.o")).threads))


@given(st.lists(st.binary(max_size=12).filter(lambda word: b"\0" not in word), max_size=12))
def test_any_bytes_are_parsed(words: list[bytes]) -> None:
    """C2: no arguments raise, and every position is one of the caller's."""
    for facts in (gcc.facts(argv.Arguments.plain(words)), lld.facts(argv.Arguments.plain(words)), mold.facts(argv.Arguments.plain(words))):
        assert {said.at for said in [*facts.flto, *facts.threads, *facts.jobs, *facts.plugins]} <= set(range(len(words)))
        assert 0 <= facts.add_at <= len(words)
