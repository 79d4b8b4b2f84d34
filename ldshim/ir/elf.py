"""Which sections of an ELF object hold IR, found by hand; pyelftools where by hand is not enough.

A link has a thousand objects and nearly none matters. pyelftools takes 400 to 1500 us for each, after 32 ms to import; a header, one
section header and the section names, looked at with struct, take 5. So the names decide: an object whose name table contains neither
`.gnu.lto_` nor `.llvm.lto` is native, without a look at its sections. (clang shares that table with the symbol names; a symbol of such a
name only costs the walk over the sections.) Only then the section headers are walked. Where that shared table is large, it is the other
way round: headers first, and the names of those few sections that are marked SHF_EXCLUDE, as all IR is. Assemblers write the names right
before the headers, at the end of the file, so one read mostly gets both.

What the walk finds is read raw too, since GCC never compresses its header or its options. If somebody else did (SHF_COMPRESSED),
`inflated` asks pyelftools. `confirm` asks it for the whole verdict, a second opinion for `ldshim explain`.

`.llvmbc` (-fembed-bitcode) is no LTO input for any ELF linker and is not looked for.
"""

from __future__ import annotations

from struct import Struct

from ldshim.ir.extent import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ldshim.ir.extent import Extent

MAGIC = b"\x7fELF"
GCC_PREFIX = b".gnu.lto_"
GCC_SECTIONS = (b".gnu.lto_.symtab", b".gnu.lto_.lto.", b".gnu.lto_.opts")  # those that gcc.py reads
FAT_NAME = b".llvm.lto"

ET_REL = 1
ET_EXEC = 2
ET_DYN = 3
SHN_XINDEX = 0xFFFF
SHF_EXECINSTR = 0x4
SHF_EXCLUDE = 0x80000000
SHF_COMPRESSED = 0x800
SHT_NOBITS = 8

# A name table beyond this is not read where the section headers are smaller: clang keeps all symbol names in it (zstd: 47 KB; C++, with
# its mangled names, far more).
NAMES_LARGE = 64 << 10
NAMES_LIMIT = 16 << 20
# A section table up to this size is read whole, with so many bytes before it, on the chance that they are the names.
TABLE_SMALL = 8 << 10
NAMES_BEFORE = 2 << 10
SECTIONS_LIMIT = 1 << 20
INFLATE_LIMIT = 1 << 20


class Layout:
    """Where things are for one (class, byte order).

    header: e_type, e_shoff, e_shentsize, e_shnum, e_shstrndx; section: sh_name, sh_type, sh_flags, sh_offset, sh_size, sh_link (gABI).
    """

    __slots__ = ("header", "order", "section")

    def __init__(self, order: str, header: str, section: str) -> None:
        self.order = order
        self.header = Struct(order + header)
        self.section = Struct(order + section)


_HEADER32, _SECTION32 = "16xH14xI10xHHH", "III4xIII12x"
_HEADER64, _SECTION64 = "16xH22xQ10xHHH", "IIQ8xQQI20x"
LAYOUTS = {  # keyed on EI_CLASS, EI_DATA
    b"\1\1": Layout("<", _HEADER32, _SECTION32),
    b"\1\2": Layout(">", _HEADER32, _SECTION32),
    b"\2\1": Layout("<", _HEADER64, _SECTION64),
    b"\2\2": Layout(">", _HEADER64, _SECTION64),
}


class Section:
    """One section, as its header says: nothing is checked against the size of the file."""

    __slots__ = ("flags", "index", "name", "offset", "size", "type")

    def __init__(self, index: int, name: bytes, kind: int, flags: int, offset: int, size: int) -> None:
        self.index = index
        self.name = name
        self.type = kind
        self.flags = flags
        self.offset = offset
        self.size = size

    def data(self, extent: Extent, limit: int) -> bytes:
        """Read the content, at most limit bytes, inflated where it is compressed."""
        if self.flags & SHF_COMPRESSED:
            return inflated(extent, self.index, limit)
        return b"" if self.type == SHT_NOBITS else extent.read(self.offset, min(self.size, limit))


class Object:
    """An ELF object.

    type: e_type; order: "<" or ">"; sections: those of interest, `.llvm.lto` and GCC_SECTIONS; gcc_bytes: the sizes of all `.gnu.lto_`
    sections; code: whether any code stands beside these, known only where there are some.
    """

    __slots__ = ("code", "gcc_bytes", "order", "sections", "type")

    def __init__(self, kind: int, order: str) -> None:
        self.type = kind
        self.order = order
        self.sections: list[Section] = []
        self.gcc_bytes = 0
        self.code = False


def read(extent: Extent) -> Object:
    """Read an object whose magic is ELF. Raises MalformedError."""
    head = extent.head
    layout = LAYOUTS.get(head[4:6])
    if layout is None or len(head) < layout.header.size:
        raise MalformedError("truncated ELF header" if len(head) < 64 else "unknown ELF class or byte order")
    kind, table, stride, count, names_index = layout.header.unpack_from(head)
    out = Object(kind, layout.order)
    if kind in (ET_DYN, ET_EXEC) or not table:
        return out
    section = layout.section
    if stride != section.size:
        raise MalformedError(f"section headers of {stride} bytes")
    if not count or names_index == SHN_XINDEX:  # more than 65 279 sections: the first, else empty, header has the numbers
        first = section.unpack(extent.exactly(table, stride, "section header"))
        count = count or first[4]
        names_index = first[5] if names_index == SHN_XINDEX else names_index
    if names_index >= count or count > SECTIONS_LIMIT:
        raise MalformedError(f"{count} sections, with the names in section {names_index}")
    _find_ir(out, extent, section, table, count, names_index)
    return out


def _find_ir(out: Object, extent: Extent, section: Struct, table: int, count: int, names_index: int) -> None:
    """Decide by the section names whether to walk the count section headers at offset table, and do so."""
    stride = section.size
    length = count * stride
    start, tail = table + names_index * stride, b""
    if length <= TABLE_SMALL:
        start = max(0, table - NAMES_BEFORE)
        tail = extent.exactly(start, table + length - start, "section table")
        header = section.unpack_from(tail, table - start + names_index * stride)
    else:
        header = section.unpack(extent.exactly(start, stride, "section header"))
    offset, size = header[3], header[4]
    if size > NAMES_LARGE and length < size:
        headers = tail[table - start :] or extent.exactly(table, length, "section table")
        _walk_excluded(out, section, headers, extent.part(offset, size))
        return
    if size > NAMES_LIMIT:
        raise MalformedError(f"section names of {size} bytes")
    if start <= offset and offset + size <= start + len(tail):
        names = tail[offset - start : offset - start + size]
    else:
        names = extent.exactly(offset, size, "section names") if size else b""
    if GCC_PREFIX in names or FAT_NAME in names:
        _walk(out, section, tail[table - start :] or extent.exactly(table, length, "section table"), names)


def _walk(out: Object, section: Struct, headers: bytes, names: bytes) -> None:
    claimed = _occurrences(names, GCC_PREFIX)
    # The others of GCC's sections are the bodies of functions: one each, and most of them.
    kept = {at for at in claimed if names.startswith(GCC_SECTIONS, at)} | _occurrences(names, FAT_NAME)
    total = 0
    for index, (name, kind, flags, offset, size, _) in enumerate(section.iter_unpack(headers)):
        if name in claimed:
            total += size
        elif flags & SHF_EXECINSTR and size:
            out.code = True
        if name in kept:
            end = names.find(b"\0", name)
            out.sections.append(Section(index, names[name : end if end >= 0 else len(names)], kind, flags, offset, size))
    out.gcc_bytes = total


def _occurrences(names: bytes, word: bytes) -> set[int]:
    """Return where word stands in names: also in the middle of one, for a name may be the end of another (.rela.text, .text)."""
    out = set()
    at = names.find(word)
    while at >= 0:
        out.add(at)
        at = names.find(word, at + 1)
    return out


def _walk_excluded(out: Object, section: Struct, headers: bytes, names: Extent) -> None:
    """Walk the headers without the names: GCC and LLVM mark their IR SHF_EXCLUDE, and few other sections are; only those names are read."""
    for index, (name, kind, flags, offset, size, _) in enumerate(section.iter_unpack(headers)):
        if not flags & SHF_EXCLUDE:
            out.code = out.code or bool(flags & SHF_EXECINSTR and size)
            continue
        text = names.read(name, 64).split(b"\0", 1)[0]
        if text.startswith(GCC_PREFIX):
            out.gcc_bytes += size
        if text.startswith((FAT_NAME, *GCC_SECTIONS)):
            out.sections.append(Section(index, text, kind, flags, offset, size))


def inflated(extent: Extent, index: int, limit: int) -> bytes:
    """Return the content of a compressed section, by pyelftools. Raises MalformedError."""
    if extent.size > NAMES_LIMIT:
        raise MalformedError(f"compressed section {index} in an object of {extent.size} bytes")
    data = extent.exactly(0, extent.size, "object")
    try:
        import io  # noqa: PLC0415 - this function and confirm are the only users, and rare

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
    """Say in one line what pyelftools sees in the file at path: class, type, the sections that hold IR. Never raises."""
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
