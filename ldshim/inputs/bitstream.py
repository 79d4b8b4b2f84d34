"""Skip records and blocks in an LLVM bitstream, quickly.

The bitstream has no byte boundaries. A number is a series of chunks (VBR: the top bit of a chunk is set where another chunk follows).
Records have no length in bytes, and abbreviations that the stream defines give the encoding of later records. To find one block in a
module, the length of every record before it must be computed. A module of a thousand functions has a thousand records of twenty numbers,
which is too slow bit by bit in Python. So only the necessary is decoded: the next 384 bits become one int, one mask selects the
continuation bits of all its chunks, and their count gives the length of a run of numbers: 2.7 us a record (zstd: 2154 records, 6 ms).

Abbreviations are compiled to the fewest steps: literals and zero widths are dropped, and adjacent fixed widths are merged. So every step
consumes bits, and no input can cause an endless loop.

Format: llvm.org/docs/BitCodeFormat.html; llvm/include/llvm/Bitstream/BitCodeEnums.h, BitstreamReader.cpp.
"""

from __future__ import annotations

from struct import Struct

from .extent import ExhaustedError, MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .extent import Extent

END_BLOCK = 0
ENTER_SUBBLOCK = 1
DEFINE_ABBREV = 2
UNABBREV_RECORD = 3

_FIXED = 1  # encodings of DEFINE_ABBREV; as steps: (_FIXED, width), (_VBR, width), (_ARRAY_FIXED, width), (_ARRAY_VBR, width), (_BLOB, 0)
_VBR = 2
_ARRAY = 3
_CHAR6 = 4
_BLOB = 5
_ARRAY_FIXED = 6
_ARRAY_VBR = 7

WINDOW = 8192  # bytes a read; the records of a small module
_PEEK = 48  # bytes of one peek: 64 chunks of 6 bits; a function's record takes about 25
_WIDEST = 32  # BitstreamReader's MaxChunkSize
_CHUNKS = [0] + [_PEEK * 8 // width for width in range(1, _WIDEST + 1)]  # in a peek, by width
# The most operands that fit in one peek with their record's head (id, code, count: 44 bits at most), and the top bits of so many vbr6
# chunks.
_SHORT = (_PEEK * 8 - _WIDEST - 12) // 6
_SHORT_CONTINUED = [sum(0x20 << (chunk * 6) for chunk in range(chunks)) for chunks in range(_SHORT + 1)]
_OUTER = Struct("<II")  # ENTER_SUBBLOCK padded to a boundary, and the length in words
_continued: dict[int, int] = {}  # by width, the top bits of all chunks in a peek; made when needed, because nearly all numbers are vbr6


def _count_ones(number: int) -> int:
    return bin(number).count("1")


count_ones: Callable[[int], int] = getattr(int, "bit_count", _count_ones)  # came with Python 3.10


class Cursor:
    """A position in the bits of an extent, and its window on the bytes.

    at: in bits; end: in bits, the end of the extent; steps: how many records and numbers may still be skipped, which bounds the time for
    one file to about a second.
    """

    __slots__ = ("_base", "_limit", "_window", "at", "end", "extent", "steps")

    def __init__(self, extent: Extent, steps: int) -> None:
        self.extent = extent
        self.at = 0
        self.end = extent.size * 8
        self.steps = steps
        self._window = b""
        self._base = 0
        self._limit = -1  # the last byte offset in the window from which to peek
        self._slide(extent.head)

    def peek(self) -> int:
        """Return the next bits, the first as the lowest: at least 384, with zeros after the end. Raises MalformedError at the end."""
        at = self.at
        offset = (at >> 3) - self._base
        if not 0 <= offset <= self._limit:
            if at >= self.end:
                raise MalformedError(f"bitstream ends in the middle at 0x{at >> 3:x}")
            self._base = at >> 3
            self._slide(self.extent.read(self._base, WINDOW))
            if not self._window:
                raise MalformedError(f"truncated bitstream at 0x{self._base:x}")
            offset = 0
        return int.from_bytes(self._window[offset : offset + _PEEK + 1], "little") >> (at & 7)

    def look(self, start: int, stop: int) -> bytes:
        """Return the bytes from start to stop, fewer where the extent ends before. They and a few more become the window."""
        if not self._base <= start <= stop <= self._base + len(self._window):
            self._base = start
            self._slide(self.extent.read(start, stop + _PEEK - start))
        return self._window[start - self._base : stop - self._base]

    def _slide(self, window: bytes) -> None:
        """Set the window, which starts at _base. Where it reaches the end of the extent, a peek may be short."""
        self._window = window
        self._limit = len(window) - 1 if self._base + len(window) >= self.extent.size else len(window) - _PEEK - 1

    def step(self) -> None:
        """Count one record or operand, for this file and for the link."""
        self.steps -= 1
        if self.steps < 0:
            raise MalformedError("too many records")
        self.extent.meter.steps -= 1
        if self.extent.meter.steps < 0:
            raise ExhaustedError("too many bitcode records")

    def fixed(self, width: int) -> int:
        """Read a number of width bits, 1 to 64."""
        value = self.peek() & ((1 << width) - 1)
        self.at += width
        return value

    def vbr(self, width: int) -> int:
        """Read a VBR number of at most 64 bits."""
        bits = self.peek()
        top = 1 << (width - 1)
        value = shift = 0
        while shift < 64:
            chunk = bits & (top + top - 1)
            self.at += width
            value |= (chunk & (top - 1)) << shift
            if not chunk & top:
                return value
            bits >>= width
            shift += width - 1 or 1
        raise MalformedError(f"a number without end at 0x{self.at >> 3:x}")

    def skip_vbrs(self, count: int, width: int) -> None:
        """Skip count VBR numbers.

        If n numbers end within the first c chunks, c - n chunks among those continue. So the least c for a given n is the fixed point of
        c = n + continued(c), reached from below.
        """
        fits = _CHUNKS[width]
        mask = _continued.get(width, 0)
        if not mask:
            mask = _continued[width] = sum(1 << (chunk * width + width - 1) for chunk in range(fits))
        while count > 0:
            if count > fits:
                self.step()
            continued = self.peek() & mask
            batch = chunks = count
            while chunks <= fits:
                needed = batch + count_ones(continued & ((1 << (chunks * width)) - 1))
                if needed == chunks:
                    break
                chunks = needed
            else:  # more than this peek holds: skip all numbers that end in it, up to the last chunk that ends one
                batch = fits - count_ones(continued)
                chunks = fits
                while chunks and continued >> (chunks * width - 1) & 1:
                    chunks -= 1
                if not batch:
                    raise MalformedError(f"a number without end at 0x{self.at >> 3:x}")
            self.at += chunks * width
            count -= batch

    def align(self) -> None:
        """Move to the next 32-bit boundary. The stream starts on one."""
        self.at = (self.at + 31) & ~31

    def next_block(self, width: int, end: int, abbreviations: list[list[tuple[int, int]]]) -> tuple[int, int, int] | None:
        """Skip records up to the next block inside this one, and enter it. Returns the same as `enter`, or None where this block ends.

        width, end: of this block, end in bits; abbreviations: those defined so far; new ones are appended. Most time is spent here. So a
        record of few operands, as nearly all are, takes one peek for its head and its operands together.
        """
        mask = (1 << width) - 1
        while self.at < end:
            self.step()
            bits = self.peek()
            what = bits & mask
            bits >>= width
            if what == UNABBREV_RECORD:
                count = chunks = bits >> 6 & 0x1F
                operands = bits >> 12
                if not bits & 0x820:
                    while chunks <= _SHORT:  # as in skip_vbrs
                        needed = count + count_ones(operands & _SHORT_CONTINUED[chunks])
                        if needed == chunks:
                            break
                        chunks = needed
                    if chunks <= _SHORT:
                        self.at += width + 12 + chunks * 6
                        continue
                self.at += width
                self.vbr(6)
                self.skip_vbrs(self.vbr(6), 6)
                continue
            self.at += width
            if what == ENTER_SUBBLOCK:
                return self._enter(bits)
            if what == END_BLOCK:
                return None
            if what == DEFINE_ABBREV:
                abbreviations.append(self.define())
            else:
                self.skip_known(abbreviations, what)
        raise MalformedError(f"module without an end at 0x{end >> 3:x}")

    def block(self) -> tuple[int, int, int]:
        """Enter the block that starts here, at the top level, where ids have 2 bits. Returns the same as `enter`."""
        offset = (self.at >> 3) - self._base
        if not 0 <= offset <= len(self._window) - 8:
            self.peek()
            offset = (self.at >> 3) - self._base
        if offset <= len(self._window) - 8 and not self.at & 31:
            head, words = _OUTER.unpack_from(self._window, offset)
            if head & 0x2203 == ENTER_SUBBLOCK:  # both numbers in one chunk each, so on a boundary again
                self.step()
                self.at += 64
                return self._entered(head >> 2 & 0x7F, head >> 10 & 0x7, words)
        if self.item(2)[0] != ENTER_SUBBLOCK:
            raise MalformedError(f"no block at 0x{self.at >> 3:x}")
        return self.enter()

    def enter(self) -> tuple[int, int, int]:
        """Read the rest of ENTER_SUBBLOCK: block id, abbreviation id width inside, and where the block ends, in bits."""
        return self._enter(self.peek())

    def _enter(self, bits: int) -> tuple[int, int, int]:
        if bits & 0x880:
            block, width = self.vbr(8), self.vbr(4)
            self.align()
            words = self.fixed(32)
        else:  # each in one chunk, as always in practice
            block, width = bits & 0x7F, bits >> 8 & 0x7
            start = self.at
            self.at = (start + 12 + 31) & ~31
            words = bits >> (self.at - start) & 0xFFFFFFFF
            self.at += 32
        return self._entered(block, width, words)

    def _entered(self, block: int, width: int, words: int) -> tuple[int, int, int]:
        end = self.at + words * 32
        if not 2 <= width <= _WIDEST:
            raise MalformedError(f"block {block} with ids of {width} bits at 0x{self.at >> 3:x}")
        if end > self.end:
            raise MalformedError(f"block {block} is cut off at 0x{self.at >> 3:x}")
        return block, width, end

    def item(self, width: int) -> tuple[int, int, int]:
        """Read the next id of width bits. Returns it; for an unabbreviated record also the code and the number of vbr6 operands."""
        self.step()
        bits = self.peek()
        self.at += width
        what = bits & ((1 << width) - 1)
        if what != UNABBREV_RECORD:
            return what, 0, 0
        bits >>= width
        if bits & 0x820:  # code or count takes more than one chunk, which is rare
            return what, self.vbr(6), self.vbr(6)
        self.at += 12
        return what, bits & 0x1F, bits >> 6 & 0x1F

    def define(self) -> list[tuple[int, int]]:
        """Read the rest of DEFINE_ABBREV, and compile it to steps. Every step consumes bits."""
        steps: list[tuple[int, int]] = []
        left = self.vbr(5)
        while left > 0:
            left -= 1
            self.step()
            kind, width = self._operand()
            if kind == _ARRAY:
                if left != 1:
                    raise MalformedError(f"an array that is not last at 0x{self.at >> 3:x}")
                left = 0
                kind, width = self._operand()
                if kind not in (_FIXED, _VBR):
                    raise MalformedError(f"an array of arrays at 0x{self.at >> 3:x}")
                steps.append((_ARRAY_FIXED if kind == _FIXED else _ARRAY_VBR, width))
            elif kind == _FIXED and steps and steps[-1][0] == _FIXED:
                steps[-1] = (_FIXED, steps[-1][1] + width)
            elif kind != _FIXED or width:
                steps.append((kind, width))
        return steps

    def _operand(self) -> tuple[int, int]:
        """Read one operand of DEFINE_ABBREV. One that takes no bits is returned as Fixed of width 0."""
        bits = self.peek()
        if bits & 1:
            self.at += 1
            self.vbr(8)  # a literal
            return _FIXED, 0
        kind = bits >> 1 & 0x7
        self.at += 4
        if kind in (_FIXED, _VBR):
            width = self.vbr(5)
            if width > _WIDEST:
                raise MalformedError(f"a field of {width} bits at 0x{self.at >> 3:x}")
            return (kind, width) if width else (_FIXED, 0)
        if kind == _CHAR6:
            return _FIXED, 6
        if kind in (_ARRAY, _BLOB):
            return kind, 0
        raise MalformedError(f"unknown encoding {kind} at 0x{self.at >> 3:x}")

    def skip_known(self, abbreviations: list[list[tuple[int, int]]], what: int) -> None:
        """Skip the rest of a record with that abbreviation id."""
        if what - 4 >= len(abbreviations):
            raise MalformedError(f"unknown abbreviation {what} at 0x{self.at >> 3:x}")
        self.skip_abbreviated(abbreviations[what - 4])

    def skip_abbreviated(self, steps: list[tuple[int, int]]) -> None:
        """Skip a record in the encoding of a compiled abbreviation."""
        for kind, width in steps:
            if kind == _FIXED:
                self.at += width
            elif kind == _VBR:
                self.skip_vbrs(1, width)
            elif kind == _ARRAY_FIXED:
                count = self.vbr(6)  # a statement of its own, because vbr changes self.at
                self.at += count * width
            elif kind == _ARRAY_VBR:
                self.skip_vbrs(self.vbr(6), width)
            else:  # blob
                size = self.vbr(6)
                self.align()
                self.at += size * 8
                self.align()
