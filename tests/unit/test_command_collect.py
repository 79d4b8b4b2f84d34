"""COLLECT_GCC_OPTIONS: one option changes, and no other byte, in the quoting of the real driver."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldshim.command import collect
from tests.support.commandline import run
from tests.support.tools import gccs

words_of_lines = st.lists(st.binary(min_size=0, max_size=8).filter(lambda word: b"\0" not in word), max_size=8)


def written(words: list[bytes]) -> bytes:
    """Quote options as the driver does."""
    return b" ".join(b"'" + word.replace(b"'", b"'\\''") + b"'" for word in words)


@given(words_of_lines)
def test_splitting_undoes_the_drivers_quoting(words: list[bytes]) -> None:
    """Options of any bytes are the same after quoting and splitting."""
    assert words == collect.split(written(words))


@given(words_of_lines.filter(bool), st.data())
def test_replacing_changes_no_other_byte(words: list[bytes], data: st.DataObject) -> None:
    """Replacing option i gives the value that the driver writes with the other option; replacing it back gives the original."""
    index = data.draw(st.integers(0, len(words) - 1))
    value = written(words)
    changed = collect.replace(value, [(index, b"-flto=2")])
    assert written([*words[:index], b"-flto=2", *words[index + 1 :]]) == changed
    assert value == collect.replace(changed, [(index, words[index])])


@pytest.mark.parametrize("value", [b"'a", b"a", b"'a''b'", b"'a' b", b"'a'\\''", b"'a' 'b", b'"a"'])
def test_foreign_quoting_is_left_alone(value: bytes) -> None:
    """A value that is not in the driver's quoting is not split and not changed."""
    assert (None, value) == (collect.split(value), collect.replace(value, [(0, b"x")]))


def test_odd_spacing_survives() -> None:
    """Spaces between and around the options stay."""
    assert b"  'a'  '-flto=2' " == collect.replace(b"  'a'  '-flto' ", [(1, b"-flto=2")])


@pytest.mark.parametrize("tool", gccs())
def test_the_driver_has_the_same_quoting(tool: str) -> None:
    """The real driver's value, split and quoted again, is the same bytes, also with quotes inside options."""
    _, said = run(tool, "-###", "-flto=4", "-DX='a b'", "-o", "it's", "-I", "a\\b", "yyy.o")
    value = re.findall(r"^COLLECT_GCC_OPTIONS=(.*)$", said, re.MULTILINE)[0].encode()
    words = collect.split(value)
    assert words is not None
    assert b"-flto=4" in words
    assert b"it's" in words
    assert value == written(words)
