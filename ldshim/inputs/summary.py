"""Find the summary of a module from the module's end.

The problem: the summary block shows whether a module is for ThinLTO, and it comes after almost everything else. To parse up to it takes 60
to 100 us for the smallest module, and milliseconds for a large one. The consequence: a shortcut. The length of a module is known. LLVM
writes the summary after the last function, and after the summary at most a symbol table and the hash of the module
(ModuleBitcodeWriter::write). So the end of the module is searched backwards for the summary's first record. A match counts only on a 32-bit
boundary, after the header of such a block and before the summary's second record. From the end of the block to the end of the module every
bit must belong to a block or record that may be there. Without such a match there is no answer, and `bitcode` parses the module.

In random data the ten fixed bytes occur once in 2^80 positions, and even then the length between them would not lead to the module's end.
"""

from __future__ import annotations

from struct import Struct

from .bitstream import count_ones

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .bitstream import Cursor

THIN = 20
FULL = 24
# ENTER_SUBBLOCK in ids of 3 bits, the block, ids of 4 bits inside, zeros up to the boundary: as LLVM writes these blocks.
_HEADS = {b"\xa1\x20\0\0": THIN, b"\xc1\x20\0\0": FULL}
_VALUE_SYMTAB = 0x2071
_VERSION = 0x04A3  # UNABBREV_RECORD of 4 bits, FS_VERSION (10), one operand
_FIRST = b"\xa3\x04"  # the same, as bytes
_FLAGS = 3 | 20 << 4 | 1 << 10  # UNABBREV_RECORD, FS_FLAGS, one operand
_HASH = 3 | 17 << 3 | 5 << 9  # UNABBREV_RECORD of 3 bits, MODULE_CODE_HASH, five operands
_HASH_HEAD = 15  # bits
_HASH_BYTES = 32  # five numbers of 32 bits take 35 chunks of 6 bits at most, END_BLOCK 3 bits more
_HASH_CONTINUED = sum(0x20 << (chunk * 6) for chunk in range(35))
_FLAGS_AT = 38  # bits from the version record to the operand of FS_FLAGS, where the version takes one chunk

# The searched part of a module: an eighth of it (the summary and all after it take 1 to 4 % of zstd, brotli, lua and C++), then half (20 %
# of a file of one-line functions); at least LEAST and at most MOST bytes.
PARTS = (3, 1)
LEAST = 4 << 10
MOST = 256 << 10
TRIES = 256  # positions of these two bytes; random data has one in 65 536
_WORD = Struct("<I")
_RECORDS = Struct("<Q")


def quick(cursor: Cursor, end: int) -> tuple[int, int] | None:
    """Return id and flags of the summary of the module that the cursor has entered, None for no answer. end: of the module, in bits."""
    entered, stop = cursor.at, end >> 3
    whole = stop - (entered >> 3)
    for shift in PARTS:
        length = min(whole, max(LEAST, min(whole >> shift, MOST)))
        base = stop - length & ~3
        data = cursor.look(base, stop)
        if len(data) != stop - base:
            break
        block, at = _last_summary(data)
        if block:
            cursor.at = (base + at) * 8 + _FLAGS_AT
            return block, cursor.vbr(6)
        if length in (whole, MOST):
            break
    cursor.at = entered
    return None


def _last_summary(data: bytes) -> tuple[int, int]:
    """Find the summary in the last bytes of a module, which start on a 32-bit boundary: its id, or 0, and the offset of its contents.

    The last match counts, because nothing that could contain the same bytes comes after the summary.
    """
    at = data.rfind(_FIRST)
    for _ in range(TRIES):
        if at < 8:
            break
        if not at & 3:
            block = _HEADS.get(data[at - 8 : at - 4])
            if block and _is_summary(data, at):
                return block, at
        at = data.rfind(_FIRST, 0, at)
    return 0, 0


def _is_summary(data: bytes, at: int) -> bool:
    """Return whether the bytes at `at` are the start of a summary's contents, and the block ends where a summary may end."""
    if at + 8 > len(data):
        return False
    (records,) = _RECORDS.unpack_from(data, at)
    if records & 0x20FFFF != _VERSION or records >> 22 & 0xFFFF != _FLAGS:
        return False
    return _ends(data, at + 4 * _WORD.unpack_from(data, at - 4)[0])


def _ends(data: bytes, at: int) -> bool:
    """Return whether data from `at` on is the end of a module: a symbol table, a hash, END_BLOCK, each at most once."""
    end = len(data)
    if at + 8 <= end and _WORD.unpack_from(data, at)[0] == _VALUE_SYMTAB:
        at += 8 + 4 * _WORD.unpack_from(data, at + 4)[0]
    if not at + 4 <= end <= at + _HASH_BYTES:
        return False
    bits = int.from_bytes(data[at:], "little")
    if not bits:
        return end == at + 4
    if bits & 0x7FFF != _HASH:
        return False
    bits >>= _HASH_HEAD
    # The chunks are one for each number, and one for each continuation bit. END_BLOCK and padding are zeros.
    length = 6 * (5 + count_ones(bits & _HASH_CONTINUED))
    return not bits >> length and (at * 8 + _HASH_HEAD + length + 3 + 31) // 32 * 32 == end * 8
