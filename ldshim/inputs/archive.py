"""List the members of an archive: their names, and where their bytes are.

Four dialects share one header of 60 bytes. GNU and SysV end short names with `/`, and put long ones in a table (`//`) to which `/123` is an
offset. BSD writes `#1/len` and puts the name before the data. A thin archive has the same headers without the data, and its names are paths
relative to the archive. Symbol tables (`/`, `/SYM64/`, `__.SYMDEF`) are members that are skipped. An archive does not record the type of a
member, so `scan` classifies each.

Sources: llvm/lib/Object/Archive.cpp and bfd/archive.c. What they ignore (a date that is no number) is ignored here, too. After an invalid
size or name the list ends, because the position of the next member is unknown.
"""

from __future__ import annotations

from .extent import ARCHIVE, HEAD, THIN_ARCHIVE, MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .extent import Extent

_HEADER = 60
_END = b"`\n"
_TABLES = (b"/SYM64/", b"/<", b"__.SYMDEF")  # and "/"; "/<" are COFF's, "__.SYMDEF" has variants: _64, SORTED

MEMBERS_LIMIT = 200_000
NAMES_LIMIT = 16 << 20
SAMPLE = 256  # headers
_MEMBER_HEAD = 1024  # read with the header: the ELF header, or enough of a small module
_THIN_WINDOW = 16 << 10  # one read in a thin archive, whose headers follow each other


class Member:
    """One member.

    data: its bytes, or None in a thin archive, where name is the path from the archive's directory to the file; after: offset of the next
    header in the archive.
    """

    __slots__ = ("after", "data", "name")

    def __init__(self, name: bytes, data: Extent | None, after: int) -> None:
        self.name = name
        self.data = data
        self.after = after


class _Heads:
    """The headers of the members, each with the first bytes of the data. In a thin archive, without data, one read has many headers."""

    __slots__ = ("base", "extent", "thin", "window")

    def __init__(self, extent: Extent, thin: bool) -> None:
        self.extent = extent
        self.thin = thin
        self.base = 0
        self.window = b""

    def at(self, offset: int) -> bytes:
        if not self.thin:
            return self.extent.read(offset, _HEADER + _MEMBER_HEAD)
        at = offset - self.base
        if at + _HEADER > len(self.window):  # offsets only grow
            self.base, self.window, at = offset, self.extent.read(offset, _THIN_WINDOW), 0
        return self.window[at : at + _HEADER]


def members(extent: Extent) -> Iterator[Member]:
    """Yield the members in order, without symbol tables. Raises MalformedError where the archive is invalid."""
    thin = extent.head.startswith(THIN_ARCHIVE)
    heads = _Heads(extent, thin)
    names = b""
    at = len(ARCHIVE)
    for _ in range(MEMBERS_LIMIT):
        head = heads.at(at)
        if len(head) < _HEADER or head[58:60] != _END:
            if not head.strip(b"\0\n"):  # the end, or padding
                return
            raise MalformedError(f"truncated member header at 0x{at:x}")
        size = _number(head[48:58], at)
        field = head[:16].rstrip(b" ")
        start = at + _HEADER
        at = start
        if field == b"//":
            names = extent.exactly(start, size, "member names") if size <= NAMES_LIMIT else b""
        elif field != b"/" and not field.startswith(_TABLES):
            name, skip = _name(extent, field, names, start, size)
            if not name.startswith(_TABLES):
                data = None if thin else extent.part(start + skip, size - skip, head[_HEADER + skip : _HEADER + size])
                yield Member(name, data, start if thin else start + size + (size & 1))
            if thin:
                continue
        if start + size > extent.size:
            raise MalformedError(f"member at 0x{start - _HEADER:x} is cut off")
        at = start + size + (size & 1)
    raise MalformedError(f"more than {MEMBERS_LIMIT} members")


def size_of_rest(extent: Extent, member: Member) -> int:
    """Estimate the size of all members after one, in bytes. For a thin archive: from SAMPLE headers, evenly spread."""
    if not extent.head.startswith(THIN_ARCHIVE):
        return max(0, extent.size - member.after)
    headers = extent.read(member.after, NAMES_LIMIT)
    count = len(headers) // _HEADER
    starts = range(0, count * _HEADER, _HEADER * (-(-count // SAMPLE) or 1))
    sizes = [headers[at + 48 : at + 58].strip(b" ") for at in starts if headers[at + 58 : at + 60] == _END]
    return sum(int(size) for size in sizes if size.isdigit()) * count // max(1, len(starts))


def _number(field: bytes, at: int) -> int:
    """Parse a decimal field; int() alone accepts signs, underscores and non-ASCII digits."""
    digits = field.strip(b" ")
    if not digits.isdigit():
        raise MalformedError(f"size or offset that is no number near 0x{at:x}")
    return int(digits)


def _name(extent: Extent, field: bytes, names: bytes, start: int, size: int) -> tuple[bytes, int]:
    """Return a member's name, and the number of bytes that the name takes of its data.

    `name/` is GNU and SysV, `name` BSD, `/123` an offset into the table of long names (bfd writes `/123:456` for a member of an archive
    inside a thin archive). `#1/len` means that the name precedes the data.
    """
    if field.startswith(b"#1/"):
        length = _number(field[3:], start)
        if length > min(size, HEAD):
            raise MalformedError(f"member name of {length} bytes at 0x{start:x}")
        return extent.exactly(start, length, "member name").rstrip(b"\0"), length
    if not field.startswith(b"/"):
        return field[:-1] if field.endswith(b"/") else field, 0
    offset = _number(field[1:].split(b":", 1)[0], start)
    if offset >= len(names):
        raise MalformedError(f"member name beyond the table at 0x{start:x}")
    end = names.find(b"\n", offset)
    name = names[offset : end if end >= 0 else len(names)].split(b"\0", 1)[0]  # COFF ends names with a NUL, the others with "/\n"
    return name[:-1] if name.endswith(b"/") else name, 0
