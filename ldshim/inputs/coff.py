"""Find the sections of a COFF object that hold IR, as MinGW's and Cygwin's GCC write them.

A section header has eight bytes for the name. A longer name, as all names of IR are, is in the string table after the symbols, and the
header has its offset: `/123` in decimal digits, or `//AAAAAA` in base64 where it has more than seven digits. So an object is native where
no header begins with a slash. For any other object the string table is read once, and searched for `.gnu.lto_`.

An object begins with one of three headers: COFF's own (20 bytes, at most 65 535 sections); the header of big-obj (56 bytes, -Wa,-mbig-obj),
which looks like a member of an import library (`machine` 0, `sections` 0xFFFF) except for its class id; and the header of such a member,
which has no sections. The machine number alone does not prove a COFF object: the tables must be there as well.

`Object` has the interface that gcc.py needs, as elf.Object has. Sources: Microsoft's PE format document; bfd/coffgen.c, bfd/coffcode.h;
llvm/lib/Object/COFFObjectFile.cpp.
"""

from __future__ import annotations

from struct import Struct

from .elf import GCC_PREFIX, NAMES_LIMIT, SECTIONS_LIMIT
from .extent import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .extent import Extent

_ANONYMOUS = b"\0\0\xff\xff"
_BIG_OBJ = b"\xc7\xa1\xba\xd1\xee\xba\xa9\x4b\xaf\x20\xfa\xf6\x6a\xa4\xdc\xb8"

_HEADER = Struct("<2xH4xIIH2x")  # sections, where the symbols are, how many, size of the optional header
_BIG_HEADER = Struct("<44xIII")  # sections, where the symbols are, how many
_SECTION = Struct("<8s8xII12xI")  # name, size, where, flags
_SYMBOL, _BIG_SYMBOL = 18, 20
_SIZE = Struct("<I")  # of the string table, these four bytes included

SCN_CODE = 0x20

_DIGITS = {digit: value for value, digit in enumerate(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}


class Object:
    """A COFF object with names of IR in it. Sections are numbers; their headers are not checked.

    order: for struct, COFF is little-endian; excluded: zeros, because contents are aligned in COFF, so a run of sections does not give the
    size of the IR; names: long names, each with a NUL at its end, b"" for short ones; headers: name as stored, size, offset, flags.
    """

    __slots__ = ("excluded", "headers", "names", "order")

    def __init__(self, headers: list[tuple[bytes, int, int, int]], names: list[bytes]) -> None:
        self.order = "<"
        self.headers = headers
        self.names = names
        self.excluded = bytes(len(headers))

    def first(self, prefix: bytes) -> int:
        """Return the first section whose name starts with prefix (is prefix, where that ends in NUL), or -1."""
        return next(iter(self.every(prefix)), -1)

    def last(self, prefix: bytes) -> int:
        """Return the last one, or -1."""
        return (self.every(prefix) or [-1])[-1]

    def every(self, prefix: bytes) -> list[int]:
        """Return all of them, in their order."""
        return [index for index, name in enumerate(self.names) if name.startswith(prefix)]

    def named(self, index: int, prefix: bytes) -> bool:
        """Return whether the name of this section starts with prefix."""
        return index >= 0 and self.names[index].startswith(prefix)

    def place(self, index: int) -> tuple[int, int]:
        """Return where the content of a section is, and its size."""
        _, size, where, _ = self.headers[index]
        return where, size

    def content(self, extent: Extent, index: int, limit: int) -> bytes:
        """Read the content of a section, at most limit bytes; nothing where it has none in the file."""
        where, size = self.place(index)
        return extent.read(where, min(size, limit)) if where else b""

    def has_code(self) -> bool:
        """Return whether any section holds instructions."""
        return any(flags & SCN_CODE and size for _, size, _, flags in self.headers)


def read(extent: Extent) -> Object | None:
    """Read an object that begins with a machine or as an anonymous one; None for a native one. Raises MalformedError."""
    head = extent.head
    if head.startswith(_ANONYMOUS):
        if head[12:28] != _BIG_OBJ:
            return None  # a member of an import library, which names a function of a DLL, or no object of GCC's
        if len(head) < _BIG_HEADER.size:
            raise MalformedError("truncated COFF header")
        count, symbols_at, symbols = _BIG_HEADER.unpack_from(head)
        start, strings_at = _BIG_HEADER.size, symbols_at + symbols * _BIG_SYMBOL
    else:
        if len(head) < _HEADER.size:
            raise MalformedError("truncated COFF header")
        count, symbols_at, symbols, optional = _HEADER.unpack_from(head)
        start, strings_at = _HEADER.size + optional, symbols_at + symbols * _SYMBOL
    if count > SECTIONS_LIMIT:
        raise MalformedError(f"{count} COFF sections")
    table = extent.exactly(start, count * _SECTION.size, "COFF section table")
    headers = list(_SECTION.iter_unpack(table))
    if not symbols_at or not any(name.startswith(b"/") for name, _, _, _ in headers):
        return None
    (size,) = _SIZE.unpack(extent.exactly(strings_at, _SIZE.size, "COFF string table"))
    if size > NAMES_LIMIT:
        raise MalformedError(f"COFF string table of {size} bytes")
    strings = extent.exactly(strings_at, size, "COFF string table")
    if GCC_PREFIX not in strings:
        return None
    return Object(headers, [_name(name, strings) for name, _, _, _ in headers])


def _name(stored: bytes, strings: bytes) -> bytes:
    """Return a long name with a NUL at its end; b"" for a short name, which is never IR, and for an invalid one."""
    if not stored.startswith(b"/"):
        return b""
    digits = stored[1:].rstrip(b"\0")
    if digits.startswith(b"/"):
        at = 0
        for digit in digits[1:]:
            at = at * 64 + _DIGITS.get(digit, 0)
    elif digits.isdigit():
        at = int(digits)
    else:
        return b""
    return strings[at : strings.find(b"\0", at) + 1]
