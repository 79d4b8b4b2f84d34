"""Count the modules of LLVM bitcode, for ThinLTO and for full LTO.

A module is thin where its first summary block is block 20. It is full where that is block 24, or where there is none (BitcodeReader.cpp,
getLTOInfo). No header holds this. The summary comes after the functions, and between the blocks of a module are records without a length.
So the module is parsed at its top level: `bitstream` skips records quickly, and blocks by their length. The summary's FS_FLAGS record holds
the flags 0x8 EnableSplitLTOUnit and 0x200 UnifiedLTO.

A file may hold several modules (`-fsplit-lto-unit` makes a thin and a full one, `llvm-cat -b` any number), each after its identification
block. It may have a wrapper: a header of five 32-bit numbers with offset and size of the stream inside.
"""

from __future__ import annotations

from struct import Struct

from .bitstream import DEFINE_ABBREV, END_BLOCK, ENTER_SUBBLOCK, UNABBREV_RECORD, Cursor
from .extent import BITCODE, MalformedError
from .summary import FULL, THIN, quick

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .extent import Extent

MAGIC, WRAPPER = BITCODE
_WRAPPER = Struct("<8xII")  # magic, version, offset, size, cputype

_MODULE = 8
_FS_FLAGS = 20
SPLIT = 0x8
UNIFIED = 0x200

# 250 000 skipped records take less than a second (2.7 us each, measured): a module of 120 000 functions. A longer module counts as full.
STEPS = 250_000
MODULES_LIMIT = 4096
_FLAGS_WITHIN = 64  # FS_FLAGS is the second record of a summary


class Modules:
    """The contents of one bitcode file. note: where and why reading stopped before the end; "" where it did not."""

    __slots__ = ("full", "note", "split", "thin", "unified")

    def __init__(self) -> None:
        self.thin = 0
        self.full = 0
        self.split = False
        self.unified = False
        self.note = ""


def read(extent: Extent) -> Modules:
    """Count the modules of bitcode, raw or wrapped. Modules before an invalid part count. Raises MalformedError where there is none."""
    if extent.head.startswith(WRAPPER):
        extent = _unwrap(extent)
    out = Modules()
    cursor = Cursor(extent, STEPS)
    cursor.at = 32  # after the magic
    try:
        while cursor.end - cursor.at >= 64 and out.thin + out.full < MODULES_LIMIT:  # fewer than 8 bytes are padding, as in LLVM
            block, width, end = cursor.block()
            if block == _MODULE:
                _count(out, cursor, width, end)
            cursor.at = end
    except MalformedError as error:
        if not out.thin + out.full:
            raise
        out.note = str(error)
    return out


def _unwrap(extent: Extent) -> Extent:
    head = extent.head
    if len(head) < _WRAPPER.size:
        raise MalformedError("truncated bitcode wrapper")
    offset, size = _WRAPPER.unpack_from(head)
    if offset + size > extent.size:
        raise MalformedError(f"bitcode wrapper claims {size} bytes at {offset}")
    inner = extent.part(offset, size)
    if inner.read(0, 4) != MAGIC:
        raise MalformedError("no bitcode in the wrapper")
    return inner


def _count(out: Modules, cursor: Cursor, width: int, end: int) -> None:
    """Count the module that the cursor has entered: thin, or full where its summary is full, missing or invalid."""
    kind, flags = 0, 0
    try:
        kind, flags = (quick(cursor, end) if width == 3 else None) or _summary(cursor, width, end)
    except MalformedError as error:
        out.note = str(error)
    if kind == THIN:
        out.thin += 1
    else:
        out.full += 1
    out.split = out.split or bool(flags & SPLIT)
    out.unified = out.unified or bool(flags & UNIFIED)


def _summary(cursor: Cursor, width: int, end: int) -> tuple[int, int]:
    """Return id and flags of a module's first summary block, 0 and 0 where it has none."""
    abbreviations: list[list[tuple[int, int]]] = []
    while True:
        entered = cursor.next_block(width, end, abbreviations)
        if entered is None:
            return 0, 0
        block, inner, after = entered
        if block in (THIN, FULL):
            return block, _flags(cursor, inner, after)
        cursor.at = after


def _flags(cursor: Cursor, width: int, end: int) -> int:
    """Return the FS_FLAGS of the summary that the cursor has entered, 0 where it has none (LLVM 7 and earlier)."""
    abbreviations: list[list[tuple[int, int]]] = []
    for _ in range(_FLAGS_WITHIN):
        what, code, count = cursor.item(width) if cursor.at < end else (END_BLOCK, 0, 0)
        if what == UNABBREV_RECORD:
            if code == _FS_FLAGS and count:
                return cursor.vbr(6)
            cursor.skip_vbrs(count, 6)
        elif what == DEFINE_ABBREV:
            abbreviations.append(cursor.define())
        elif what in (END_BLOCK, ENTER_SUBBLOCK):
            break
        else:
            cursor.skip_known(abbreviations, what)
    return 0


_FUNCTION_BLOCK = 12
_NAMES_WITHIN = 256 << 10  # attributes and the triple come before types and constants


def is_measured(extent: Extent) -> bool:
    """Return whether backends of such modules were compared: it is for x86-64, and its functions name their CPU, or it has no functions.

    For a function without the attribute "target-cpu" clang chooses another CPU than lld (seen with 23). Text in a record takes VBR numbers
    of 6 bits for each character, so the search is for that run of bits, at each of the eight bit positions of a byte.
    """
    try:
        head = extent.read(0, min(extent.size, _NAMES_WITHIN))
        if not _holds(head, b"x86_64-"):
            return False
        return _holds(head, b"target-cpu") or not _has_functions(extent)
    except (MalformedError, OSError):
        return False


def _holds(data: bytes, text: bytes) -> bool:
    bits = width = 0
    for character in text:
        for chunk in (character & 31 | 32, character >> 5):
            bits |= chunk << width
            width += 6
    for shift in range(8):
        # Without the bytes at both ends, which other records share.
        whole = (bits << shift).to_bytes((width + shift + 7) // 8, "little")
        if whole[1 if shift else 0 : (width + shift) // 8] in data:
            return True
    return False


def _has_functions(extent: Extent) -> bool:
    cursor = Cursor(_unwrap(extent) if extent.head.startswith(WRAPPER) else extent, STEPS)
    cursor.at = 32
    while cursor.end - cursor.at >= 64:
        block, width, end = cursor.block()
        abbreviations: list[list[tuple[int, int]]] = []
        while block == _MODULE:
            entered = cursor.next_block(width, end, abbreviations)
            if entered is None:
                break
            inner, _, cursor.at = entered
            if inner == _FUNCTION_BLOCK:
                return True
        cursor.at = end
    return False
