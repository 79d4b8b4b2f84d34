"""Find the sections of an ELF object that hold IR, with struct; pyelftools is used only for compressed sections and for `explain`.

A link may have a thousand objects, and few hold IR. pyelftools takes 400 to 1500 us for each, and 32 ms to import; struct takes 4 us for a
header and the section names. So the name table decides: an object is native where the table contains neither `.gnu.lto_` nor `.llvm.lto`.
(clang keeps symbol names in the same table. A symbol of such a name only causes a search for a section.) Where the table is larger than the
section headers, the headers are read first, and then the names of the few sections with SHF_EXCLUDE, which all IR has. Assemblers write the
names immediately before the headers, at the end of the file, so one read usually gets both.

A GCC object has a section for every function, and three of them matter. So headers are unpacked only on demand. A section is found by the
header that starts with the offset of its name. One slice has the same byte of every header (`headers[at::stride]`), so no loop is needed.

Contents are read as stored, because GCC never compresses its header or its options. For a section that another tool has compressed
(SHF_COMPRESSED) `inflated` uses pyelftools. `confirm` has pyelftools' result for the whole object, for `ldshim explain`.

`.llvmbc` (-fembed-bitcode) is no LTO input for any ELF linker, and is ignored.
"""

from __future__ import annotations

from struct import Struct

from .extent import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .extent import Extent

MAGIC = b"\x7fELF"
GCC_PREFIX = b".gnu.lto_"
FAT_NAME = b".llvm.lto\0"

ET_REL = 1
ET_EXEC = 2
ET_DYN = 3
SHN_XINDEX = 0xFFFF
SHF_EXECINSTR = 0x4
SHF_EXCLUDE = 0x80000000
SHF_COMPRESSED = 0x800
SHT_NOBITS = 8

# A larger name table is not read where the section headers are smaller: clang keeps all symbol names in it (zstd: 47 KB; C++, with its
# mangled names, far more).
NAMES_LARGE = 64 << 10
NAMES_LIMIT = 16 << 20
# A section table up to this size is read whole, with so many bytes before it, which often are the names and GCC's options.
TABLE_SMALL = 8 << 10
BEFORE_TABLE = 4 << 10
SECTIONS_LIMIT = 1 << 20
LOOKUPS_LIMIT = 64  # headers compared for one name before all are unpacked; so many share a byte only in a crafted file
INFLATE_LIMIT = 1 << 20


class Layout:
    """The layout of the headers for one (class, byte order).

    header: e_type, e_shoff, e_shentsize, e_shnum, e_shstrndx; section: sh_name, sh_type, sh_flags, sh_offset, sh_size, sh_link (gABI);
    name: sh_name alone, which comes first; low: its lowest byte; exclude: the byte of a section header whose top bit is SHF_EXCLUDE.
    """

    __slots__ = ("exclude", "header", "low", "name", "order", "section")

    def __init__(self, order: str, header: str, section: str, exclude: int) -> None:
        self.order = order
        self.header = Struct(order + header)
        self.section = Struct(order + section)
        self.name = Struct(order + "I")
        self.low = 0 if order == "<" else 3
        self.exclude = exclude


_HEADER32, _SECTION32 = "16xH14xI10xHHH", "III4xIII12x"
_HEADER64, _SECTION64 = "16xH22xQ10xHHH", "IIQ8xQQI20x"
LAYOUTS = {  # keyed on EI_CLASS, EI_DATA
    b"\1\1": Layout("<", _HEADER32, _SECTION32, 11),
    b"\1\2": Layout(">", _HEADER32, _SECTION32, 8),
    b"\2\1": Layout("<", _HEADER64, _SECTION64, 11),
    b"\2\2": Layout(">", _HEADER64, _SECTION64, 12),
}
_TOP_BITS = bytes(byte >> 7 for byte in range(256))


class Object:
    """An ELF object, and its sections by name. Sections are numbers here; their headers are not checked.

    kind: e_type; gcc, fat: whether some name contains `.gnu.lto_` or `.llvm.lto`, the rest is empty where none does; headers, names: as in
    the file, the names b"" where the table is too large to read; excluded: for each section 1 if it is SHF_EXCLUDE, else 0; few: (section,
    name and the bytes after it) of the excluded sections, where names is b""; tail: other bytes read from the file, from tail_at on.
    """

    __slots__ = ("excluded", "fat", "few", "gcc", "headers", "kind", "layout", "names", "stride", "tail", "tail_at")

    def __init__(
        self, kind: int, layout: Layout, headers: bytes = b"", names: bytes = b"", *, gcc: bool = False, fat: bool = False
    ) -> None:
        self.kind = kind
        self.layout = layout
        self.stride = stride = layout.section.size
        self.headers = headers
        self.names = names
        self.gcc = gcc
        self.fat = fat
        self.excluded = headers[layout.exclude :: stride].translate(_TOP_BITS)
        self.few: list[tuple[int, bytes]] = []
        self.tail = b""
        self.tail_at = 0

    def first(self, prefix: bytes) -> int:
        """Return the section whose name starts with prefix (is prefix, where that ends in NUL) and is first in the table, or -1."""
        return self._one(self.names.find(prefix), prefix)

    def last(self, prefix: bytes) -> int:
        """Return the one whose name is last in the table, or -1."""
        return self._one(self.names.rfind(prefix), prefix)

    def _one(self, name: int, prefix: bytes) -> int:
        if name < 0 and self.names:
            return -1
        found = self._with_name(name, 1) or self.every(
            prefix
        )  # `every`: a symbol has that name, or it is the end of another name, or there is no table
        return found[0] if found else -1

    def _with_name(self, name: int, most: int) -> list[int]:
        """Return the sections whose sh_name is name, at most `most`; [] after LOOKUPS_LIMIT false matches."""
        layout, headers, stride = self.layout, self.headers, self.stride
        out: list[int] = []
        if name < 0:
            return out
        start, low, lows = layout.name.pack(name), name & 0xFF, headers[layout.low :: stride]
        misses = 0
        index = lows.find(low)
        while index >= 0:
            if headers.startswith(start, index * stride):
                out.append(index)
                if len(out) == most:
                    break
            else:
                misses += 1
                if misses > LOOKUPS_LIMIT:
                    return []
            index = lows.find(low, index + 1)
        return out

    def every(self, prefix: bytes) -> list[int]:
        """Return all sections whose names start with prefix, in their order."""
        if not self.names:
            return [index for index, name in self.few if name.startswith(prefix)]
        at = self.names.find(prefix)
        if at < 0:
            return []
        if self.names.find(prefix, at + 1) < 0:
            found = self._with_name(at, SECTIONS_LIMIT)
            if found:
                return found
        starts = set()
        while at >= 0:  # in the middle of a name, too, because a name may be the end of another: .rela.text, .text
            starts.add(at)
            at = self.names.find(prefix, at + 1)
        return [index for index, header in enumerate(self.layout.section.iter_unpack(self.headers)) if header[0] in starts]

    def named(self, index: int, prefix: bytes) -> bool:
        """Return whether the name of this section starts with prefix; False where the name table was not read."""
        return index >= 0 and self.names.startswith(prefix, self.header(index)[0])

    def header(self, index: int) -> tuple[int, ...]:
        """Return the header of a section: sh_name, sh_type, sh_flags, sh_offset, sh_size, sh_link."""
        return self.layout.section.unpack_from(self.headers, index * self.stride)

    @property
    def order(self) -> str:
        """The byte order, as a character for struct."""
        return self.layout.order

    def place(self, index: int) -> tuple[int, int]:
        """Return where the content of a section is, and its size."""
        _, _, _, offset, size, _ = self.header(index)
        return offset, size

    def content(self, extent: Extent, index: int, limit: int) -> bytes:
        """Read the content of a section, at most limit bytes, inflated where it is compressed."""
        _, kind, flags, offset, size, _ = self.header(index)
        if kind == SHT_NOBITS:
            return b""
        if flags & SHF_COMPRESSED:
            return inflated(extent, index, limit)
        size = min(size, limit)
        at = offset - self.tail_at
        if at < 0 or at + size > len(self.tail):
            return extent.read(offset, size)
        return self.tail[at : at + size]

    def has_code(self) -> bool:
        """Return whether any section holds instructions."""
        return any(flags & SHF_EXECINSTR and size for _, _, flags, _, size, _ in self.layout.section.iter_unpack(self.headers))


# The result for nearly every input. Never changed.
NATIVE = Object(ET_REL, LAYOUTS[b"\2\1"])
SHARED = Object(ET_DYN, LAYOUTS[b"\2\1"])


def read(extent: Extent) -> Object:
    """Read an object whose magic is ELF: NATIVE, SHARED, or an Object with names of IR. Raises MalformedError."""
    head = extent.head
    layout = LAYOUTS.get(head[4:6])
    if layout is None or len(head) < layout.header.size:
        raise MalformedError("truncated ELF header" if len(head) < 64 else "unknown ELF class or byte order")
    kind, table, stride, count, names_index = layout.header.unpack_from(head)
    if kind == ET_DYN:
        return SHARED
    if kind == ET_EXEC or not table:
        return NATIVE
    section = layout.section
    if stride != section.size:
        raise MalformedError(f"section headers of {stride} bytes")
    if not count or names_index == SHN_XINDEX:  # more than 65 279 sections: the first header, which is otherwise empty, has the numbers
        first = section.unpack(extent.exactly(table, stride, "section header"))
        count = count or first[4]
        names_index = first[5] if names_index == SHN_XINDEX else names_index
    if names_index >= count or count > SECTIONS_LIMIT:
        raise MalformedError(f"{count} sections, with the names in section {names_index}")
    return _by_names(extent, kind, layout, table, count * stride, table + names_index * stride)


def _by_names(extent: Extent, kind: int, layout: Layout, table: int, length: int, names_at: int) -> Object:
    """Decide by the section names. table, length: offset and size of the section headers; names_at: offset of the names' header. Bytes."""
    if table + length <= len(extent.head):
        start, tail = 0, extent.head
    elif length <= TABLE_SMALL:
        start = table - BEFORE_TABLE if table > BEFORE_TABLE else 0
        tail = extent.exactly(start, table + length - start, "section table")
    else:
        start = names_at
        tail = extent.exactly(start, layout.section.size, "section header")
    _, _, _, offset, size, _ = layout.section.unpack_from(tail, names_at - start)
    at = offset - start
    if size > NAMES_LARGE and length < size:
        return _by_flags(extent.part(offset, size), kind, layout, extent.exactly(table, length, "section table"))
    if size > NAMES_LIMIT:
        raise MalformedError(f"section names of {size} bytes")
    names = tail[at : at + size] if 0 <= at <= len(tail) - size else extent.exactly(offset, size, "section names")
    gcc, fat = GCC_PREFIX in names, FAT_NAME in names
    if not gcc and not fat:
        return NATIVE
    at = table - start
    headers = tail[at : at + length] if start < names_at else extent.exactly(table, length, "section table")
    out = Object(kind, layout, headers, names, gcc=gcc, fat=fat)
    out.tail, out.tail_at = tail, start
    return out


def _by_flags(names: Extent, kind: int, layout: Layout, headers: bytes) -> Object:
    """Decide without the name table: GCC and LLVM mark their IR SHF_EXCLUDE, and few other sections; only those names are read."""
    out = Object(kind, layout, headers)
    index = out.excluded.find(1)
    while index >= 0:
        text = names.read(out.header(index)[0], 64)
        out.few.append((index, text))
        out.gcc = out.gcc or text.startswith(GCC_PREFIX)
        out.fat = out.fat or text.startswith(FAT_NAME)
        index = out.excluded.find(1, index + 1)
    return out if out.gcc or out.fat else NATIVE


def inflated(extent: Extent, index: int, limit: int) -> bytes:
    """Return the content of a compressed section, by pyelftools. Raises MalformedError."""
    if extent.size > NAMES_LIMIT:
        raise MalformedError(f"compressed section {index} in an object of {extent.size} bytes")
    data = extent.exactly(0, extent.size, "object")
    try:
        import io  # noqa: PLC0415  rarely needed

        from elftools.elf.elffile import ELFFile  # noqa: PLC0415

        section = ELFFile(io.BytesIO(data)).get_section(index)
        if section.data_size > limit:
            raise MalformedError(f"compressed section {index} claims {section.data_size} bytes")
        content: bytes = section.data()
    except MalformedError:
        raise
    except Exception as error:  # pyelftools raises whatever construct, zlib and struct raise; not installed: ImportError
        raise MalformedError(f"compressed section {index}: {type(error).__name__}") from error
    return content


def confirm(path: bytes) -> str:
    """Return pyelftools' result for the file at path in one line: class, type, the sections that hold IR. Never raises."""
    try:
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415
    except ImportError:
        return "pyelftools is not installed"
    try:
        with open(path, "rb") as stream:
            elf = ELFFile(stream)
            prefixes = (GCC_PREFIX.decode(), FAT_NAME.decode())
            names = sorted({section.name for section in elf.iter_sections() if section.name.startswith(prefixes)})
            order = "little" if elf.little_endian else "big"
            return f"ELF{elf.elfclass} {order}-endian {elf['e_type']}, IR sections: {' '.join(names) or 'none'}"
    except Exception as error:
        return f"pyelftools: {type(error).__name__}: {error}"


class Dynamic:
    """The fields of a program or library that the dynamic loader reads.

    machine: e_ident's class and byte order, and e_machine; interpreter: of PT_INTERP, b"" without; needed: sonames in their order; rpath,
    runpath: as in the file, `$ORIGIN` not expanded, empty entries dropped.
    """

    __slots__ = ("interpreter", "machine", "needed", "rpath", "runpath")

    def __init__(self, machine: tuple[int, int, int]) -> None:
        self.machine = machine
        self.interpreter = b""
        self.needed: list[bytes] = []
        self.rpath: list[bytes] = []
        self.runpath: list[bytes] = []


def machine(head: bytes) -> tuple[int, int, int]:
    """Return class, byte order and e_machine of an ELF file whose first 20 bytes at least are given. Raises MalformedError."""
    if not head.startswith(MAGIC) or head[4:6] not in LAYOUTS or len(head) < 20:
        raise MalformedError("no ELF file")
    return head[4], head[5], int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")


def dynamic(path: bytes) -> Dynamic:
    """Read these fields of a program or library, by pyelftools. Raises OSError, ImportError, MalformedError."""
    from elftools.elf.dynamic import DynamicSegment  # noqa: PLC0415 - 32 ms, and only remote backends need it
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415
    from elftools.elf.segments import InterpSegment  # noqa: PLC0415

    with open(path, "rb") as stream:
        out = Dynamic(machine(stream.read(20)))
        try:
            for segment in ELFFile(stream).iter_segments():
                if isinstance(segment, InterpSegment):
                    out.interpreter = segment.get_interp_name().encode()
                elif isinstance(segment, DynamicSegment):
                    for tag in segment.iter_tags():
                        field = str(tag.entry.d_tag)[3:].lower()  # DT_NEEDED: pyelftools resolves the string under this name
                        if field == "needed":
                            out.needed.append(getattr(tag, field).encode())
                        elif field in ("rpath", "runpath"):
                            getattr(out, field).extend(each for each in getattr(tag, field).encode().split(b":") if each)
        except Exception as error:  # as above
            raise MalformedError(f"dynamic section: {type(error).__name__}") from error
    return out
