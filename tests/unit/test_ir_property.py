"""No bytes make the scan raise, block, or read without bound: real files, mutated, truncated, joined, and random bytes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ldshim.command.argv import Input
from ldshim.inputs import bitcode, gcc, libraries
from ldshim.inputs.bitstream import Cursor
from ldshim.inputs.extent import Extent, MalformedError, Meter
from ldshim.inputs.scan import scan

FIXTURES = Path(__file__).parents[2] / "fixtures" / "ir"
REAL = {path.name: path.read_bytes() for path in sorted(FIXTURES.iterdir()) if path.suffix in (".o", ".a", ".bc")}
BIG = REAL["coff-big.o"][:44]

edits = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.one_of(st.binary(min_size=1, max_size=8), st.just(b"\xff" * 8), st.just(b"\0" * 8))), max_size=12
)


def check(data: bytes) -> None:
    """Scan the bytes as an object, and check the promises of the result."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as stream:
        stream.write(data)
        stream.flush()
        found = scan([Input(os.fsencode(stream.name))])
    assert not [reason for reason in found.reasons if reason.startswith("internal")], found.reasons
    assert found.complete
    assert found.bytes_read <= 40 * len(data) + (64 << 10)
    assert found.gcc_bytes <= 2 * len(data)
    assert all(word.startswith(b"-flto") for word in found.recorded)
    modules = found.thin + found.full + found.fat_thin + found.fat_full
    assert modules <= len(data) // 8


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(sorted(REAL)), edits, st.one_of(st.none(), st.integers(0, 1 << 16)))
def test_mutated_files(name: str, changes: list[tuple[int, bytes]], keep: int | None) -> None:
    """C8: a real file with some bytes overwritten, and perhaps truncated, has a result."""
    data = bytearray(REAL[name])
    for at, replacement in changes:
        start = at % len(data)
        data[start : start + len(replacement)] = replacement
    check(bytes(data if keep is None else data[: keep % (len(data) + 1)]))


@pytest.mark.parametrize(
    "name", ["thin.o", "slim.o", "gnu.a", "bsd.a", "wrapped.bc", "fat-thin.o", "native-powerpc.o", "coff-slim.o", "coff-big.o", "coff.a"]
)
def test_every_truncation(name: str) -> None:
    """C8: a file truncated at any byte has a result."""
    data = REAL[name]
    for length in range(0, len(data), 7):
        check(data[:length])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [b"", b"\x7fELF\2\1\1", b"\x7fELF\1\2\1", b"BC\xc0\xde", b"!<arch>\n", b"!<thin>\n", b"\xde\xc0\x17\x0b", b"\x64\x86", BIG, b"MZ"]
    ),
    st.binary(max_size=400),
)
def test_random_bytes_after_a_magic(magic: bytes, noise: bytes) -> None:
    """C8: random bytes after any magic have a result."""
    check(magic + noise)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(sorted(REAL)), min_size=2, max_size=4))
def test_joined_files(names: list[str]) -> None:
    """C8: several real files in one have a result."""
    check(b"".join(REAL[name] for name in names))


words = st.lists(st.binary(max_size=12).filter(lambda word: b"\0" not in word), max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.lists(words, max_size=3))
@example([[b"-flto=3", b"'-flto=4'"], [b"-flto"]])
def test_quoted_options_are_read_back(units: list[list[bytes]]) -> None:
    """C8: flto_options reads what GCC's quoting writes: exactly the options -flto and -flto=X."""
    quoted = b"".join(b" ".join(b"'" + word.replace(b"'", b"'\\''") + b"'" for word in unit) + b"\0" for unit in units)
    expected = [word for unit in units for word in unit if word == b"-flto" or word.startswith(b"-flto=")]
    assert expected == gcc.flto_options(quoted)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_text_as_a_script(text: bytes) -> None:
    """C8: any bytes are a list of inputs or none."""
    for name, library in libraries.script_inputs(text) or []:
        assert isinstance(name, bytes)
        assert isinstance(library, bool)


def cursor(data: bytes) -> Cursor:
    """Open a cursor on bytes in memory, which the head holds whole."""
    return Cursor(Extent(-1, 0, len(data), Meter(0, 1 << 30), data), bitcode.STEPS)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=80), st.integers(2, 32), st.integers(0, 31))
def test_skipping_numbers_is_reading_them(numbers: list[int], width: int, lead: int) -> None:
    """C8: skip_vbrs ends at the position where reading the numbers one by one ends, for every width."""
    value, length = 0, lead
    top = 1 << (width - 1)
    for number in numbers:
        rest = number
        while rest >= top:
            value |= (rest & (top - 1) | top) << length
            rest >>= width - 1
            length += width
        value |= rest << length
        length += width
    data = value.to_bytes(length // 8 + 64, "little")
    reading, skipping = cursor(data), cursor(data)
    reading.at = skipping.at = lead
    assert numbers == [reading.vbr(width) for _ in numbers]
    skipping.skip_vbrs(len(numbers), width)
    assert length == reading.at == skipping.at


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 1 << 40), st.integers(1, 32))
def test_skipping_beyond_the_end_is_an_error(data: bytes, count: int, width: int) -> None:
    """C8: however many numbers a record claims, skipping ends at the end of the file."""
    here = cursor(data)
    try:
        here.skip_vbrs(count, width)
        assert count <= len(data) * 8 + 512
    except MalformedError:
        pass
