"""A crafted bitstream is skipped in bounded time, and the blocks after it are still found."""

from __future__ import annotations

import os
import struct
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from ldshim.inputs import bitcode
from ldshim.inputs.extent import MalformedError, Meter, open_regular
from tests.support.ir_objects import counts, look

if TYPE_CHECKING:
    from pathlib import Path


class Bits:
    """Write a bitstream as LLVM's BitstreamWriter does."""

    def __init__(self) -> None:
        self.value = int.from_bytes(bitcode.MAGIC, "little")
        self.length = 32

    def fixed(self, value: int, width: int) -> None:
        """Write a number of width bits."""
        self.value |= value << self.length
        self.length += width

    def vbr(self, value: int, width: int) -> None:
        """Write a VBR number."""
        top = 1 << (width - 1)
        while value >= top:
            self.fixed(value & (top - 1) | top, width)
            value >>= width - 1
        self.fixed(value, width)

    def align(self) -> None:
        """Move to the next 32-bit boundary."""
        self.length = (self.length + 31) & ~31

    def enter(self, block: int, words: int, outer: int = 2) -> None:
        """Write ENTER_SUBBLOCK for a block with ids of three bits."""
        self.fixed(1, outer)
        self.vbr(block, 8)
        self.vbr(3, 4)
        self.align()
        self.fixed(words, 32)

    def bytes(self, padding: int = 0) -> bytes:
        """Return what was written, and zeros after it."""
        return self.value.to_bytes((self.length + 7) // 8 + padding, "little")


def test_abbreviations_that_expand_without_end(tmp_path: Path) -> None:
    """C8: an array of 2^32 elements of no width, used many times, takes no time and no memory."""
    bits = Bits()
    bits.enter(8, 5000)
    for literal in (False, True):
        bits.fixed(2, 3)  # DEFINE_ABBREV: array of Fixed(0), or of a literal
        bits.vbr(2, 5)
        bits.fixed(0, 1)
        bits.fixed(3, 3)
        bits.fixed(int(literal), 1)
        if literal:
            bits.vbr(7, 8)
        else:
            bits.fixed(1, 3)
            bits.vbr(0, 5)
    for _ in range(3000):
        bits.fixed(4, 3)
        bits.vbr((1 << 32) - 1, 6)
    bits.enter(20, 0, outer=3)  # the summary behind them is found: they were skipped, not given up
    path = tmp_path / "endless.bc"
    path.write_bytes(bits.bytes(padding=16_000))
    found = look(path)
    assert counts(found) == {"thin": 1}
    assert found.bytes_read < 64 << 10


def test_abbreviations_of_many_empty_operands(tmp_path: Path) -> None:
    """C8: an abbreviation of thirty thousand operands without bits, used a hundred thousand times, is one step for each use."""
    bits = Bits()
    bits.enter(8, 200_000)
    bits.fixed(2, 3)
    bits.vbr(30_000, 5)
    literals = Bits()
    literals.value, literals.length = 0, 0
    for _ in range(30_000):
        literals.fixed(1, 1)
        literals.fixed(1, 8)
    bits.fixed(literals.value, literals.length)
    filler = int.from_bytes(b"\x24\x49\x92" * 20_000, "little")  # 4, 4, 4 ... in ids of three bits
    bits.fixed(filler, 480_000)
    bits.enter(20, 0, outer=3)
    path = tmp_path / "many.bc"
    path.write_bytes(bits.bytes(padding=800_000))
    found = look(path)
    assert counts(found) == {"thin": 1}
    assert found.bytes_read < 1 << 20


def test_numbers_without_end(tmp_path: Path) -> None:
    """C8: a number in which every chunk has the continuation bit is malformed."""
    bits = Bits()
    bits.enter(8, 250_000)
    bits.fixed(3, 3)
    bits.fixed((1 << 29) - 1, 29)
    path = tmp_path / "ones.bc"
    path.write_bytes(bits.bytes() + b"\xff" * 1_100_000)
    extent = open_regular(os.fsencode(path), path.stat().st_size, Meter(1 << 30, 1_000_000))
    try:
        assert "a number without end" in bitcode.read(extent).note
    finally:
        os.close(extent.fd)
    assert look(path).bytes_read < path.stat().st_size


@pytest.mark.parametrize("what", ["records", "blocks", "modules"])
def test_items_without_end(what: str, tmp_path: Path) -> None:
    """C8: records without operands, blocks without content and empty modules count as steps, and reading ends at the bound."""
    head, item = Bits(), Bits()
    item.value = item.length = 0
    if what == "records":
        head.enter(8, 750_000)
        for _ in range(32):  # 15 bits each, a whole number of words together
            item.fixed(3, 3)
            item.vbr(1, 6)
            item.vbr(0, 6)
    elif what == "blocks":
        head.enter(8, 750_000)
        item.enter(77, 0, outer=3)
    else:
        item.enter(13, 0)
    path = tmp_path / "many.bc"
    path.write_bytes(head.bytes() + item.bytes() * (3_000_000 // len(item.bytes())))
    extent = open_regular(os.fsencode(path), path.stat().st_size, Meter(1 << 30, 1_000_000))
    try:
        with pytest.raises(MalformedError, match="too many records") if what == "modules" else nullcontext():
            assert bitcode.read(extent).note == "too many records"
        assert extent.meter.read < path.stat().st_size
    finally:
        os.close(extent.fd)


RECORDS = bytes.fromhex("a304ca500120aa00")  # version and flags, as clang 19 wrote them


@pytest.mark.parametrize("said", range(40))  # 22 and 27 lead to the table and to the end, as a real one's length does
def test_what_only_looks_like_a_summary_is_none(said: int, tmp_path: Path) -> None:
    """C8: the head and records of a ThinLTO summary inside the data of another block do not make a module thin."""

    def head(block: int, words: int, inside: int = 4) -> bytes:
        return struct.pack("<II", 1 | block << 3 | inside << 11, words)

    decoy = head(20, said) + RECORDS
    other = head(15, 20) + (b"\1" * 16 + decoy).ljust(80, b"\1")
    summary = head(24, 6) + RECORDS.ljust(24, b"\0")
    table = head(14, 3) + b"\0" * 12
    inner = other + summary + table + b"\0" * 4
    bits = Bits()
    bits.enter(8, len(inner) // 4)
    path = tmp_path / "decoy.bc"
    path.write_bytes(bits.bytes() + inner)
    assert counts(look(path)) == {"full": 1}
    path.write_bytes(bits.bytes() + inner.replace(summary, head(20, 6) + RECORDS.ljust(24, b"\0")))
    assert counts(look(path)) == {"thin": 1}
