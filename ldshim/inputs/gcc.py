"""Read GCC's sections of an object: slim or fat, which GCC, how much IR, and the options it was compiled with.

GCC's plugin claims a file with a section whose name starts with `.gnu.lto_.symtab` (lto-plugin.c), also where it is fat. Without one the
object is native, whatever else it holds. Two more sections are read. `.gnu.lto_.lto.HASH` starts with eight bytes, never compressed and in
the target's byte order: major, minor, slim, flags (lto-streamer.h, GCC 10 and later). `.gnu.lto_.opts` holds the options of every
translation unit, a NUL-terminated string for each, quoted as in COLLECT_GCC_OPTIONS. After `ld -r` there are several of both.

The recorded options matter because a recorded `-flto=5` starts five LTRANS jobs where the link has no such option (GCC 12 and later).
"""

from __future__ import annotations

from struct import Struct

from .elf import GCC_PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .extent import Extent

    class Object(Protocol):
        """The sections of an object, from elf.py or coff.py. Sections are numbers; their headers are not checked."""

        excluded: bytes  # for each section 1 if it is SHF_EXCLUDE, else 0

        @property
        def order(self) -> str:
            """The byte order, as a character for struct."""

        def first(self, prefix: bytes) -> int:
            """Return the section whose name starts with prefix and is first, or -1."""

        def last(self, prefix: bytes) -> int:
            """Return the one that is last, or -1."""

        def every(self, prefix: bytes) -> list[int]:
            """Return all of them, in their order."""

        def named(self, index: int, prefix: bytes) -> bool:
            """Return whether the name of this section starts with prefix; False for a negative index."""

        def place(self, index: int) -> tuple[int, int]:
            """Return where the content of a section is, and its size."""

        def content(self, extent: Extent, index: int, limit: int) -> bytes:
            """Read the content of a section, at most limit bytes."""

        def has_code(self) -> bool:
            """Return whether any section holds instructions."""


_CLAIM = b".gnu.lto_.symtab"
_HEADER = b".gnu.lto_.lto."
_OPTIONS = b".gnu.lto_.opts\0"
_HEADERS = {"<": Struct("<hhB"), ">": Struct(">hhB")}

# A translation unit records 100 to 200 bytes, so this is enough for `ld -r` of 5000.
OPTIONS_LIMIT = 1 << 20
# After `ld -r` an object has a header for each translation unit. They differ only where several compilers were used.
HEADERS_LIMIT = 64


class Traces:
    """GCC's sections of one object.

    slim: no native code beside the IR; major: the highest GCC major, 0 before GCC 10; size: bytes of IR as stored (compressed by GCC);
    options: the recorded strings as stored, NUL-terminated.
    """

    __slots__ = ("major", "options", "size", "slim")

    def __init__(self) -> None:
        self.slim = False
        self.major = 0
        self.size = 0
        self.options = b""


def read(extent: Extent, found: Object) -> Traces | None:
    """Read GCC's sections of an object; None where the plugin does not claim it. Raises MalformedError."""
    last = found.excluded.rfind(1)  # usually the options, and immediately before them the symbol tables
    if not found.named(last - 2, _CLAIM) and found.last(_CLAIM) < 0:
        return None
    out = Traces()
    at = last if found.named(last, _OPTIONS) else found.last(_OPTIONS)
    if at >= 0:
        out.options = found.content(extent, at, OPTIONS_LIMIT)
    out.size = min(_size(found, at), extent.size)
    merged = out.options.count(b"\0") != 1  # one string for each unit; `ld -r` joins them in one section
    header = _HEADERS[found.order]
    known = False
    for index in found.every(_HEADER)[:HEADERS_LIMIT] if merged else (found.first(_HEADER),):
        data = found.content(extent, index, header.size) if index >= 0 else b""
        if len(data) == header.size:
            major, _minor, slim = header.unpack(data)
            known = True
            out.major = max(out.major, major)
            out.slim = out.slim or bool(slim)
    if not known:  # GCC 9 and before
        out.slim = not found.has_code()
    return out


def _size(found: Object, last: int) -> int:
    """Return the size of all `.gnu.lto_` sections. last: the one whose name is last, -1 where that is not known.

    GCC writes them in one run, unaligned and therefore without gaps, and so does `ld -r`. So the size is from the start of the first to the
    end of the last, where all between are SHF_EXCLUDE, as no code or data is. Otherwise it is the sum over all of them.
    """
    first = found.excluded.find(1)
    if not found.named(first, GCC_PREFIX):  # early debug information
        first = found.first(GCC_PREFIX)
    if found.excluded.rfind(1) != last:
        last = found.last(GCC_PREFIX)
    if 0 <= first <= last and 0 not in found.excluded[first : last + 1]:
        end, size = found.place(last)
        run = end + size - found.place(first)[0]
        if run > 0:
            return run
    return sum(found.place(index)[1] for index in found.every(GCC_PREFIX))


def flto_options(options: bytes) -> list[bytes]:
    r"""Return the -flto options among recorded options, in order, with repetitions: b"-flto", b"-flto=auto", b"-flto=5".

    options: strings quoted as in COLLECT_GCC_OPTIONS ('-a' '-b'\''c'), NUL-terminated. Only an option that starts with -flto immediately
    after its opening quote counts; `'-DX='\''-flto'\'''` holds none.
    """
    found = []
    for unit in options.split(b"\0"):
        if b"'-flto" not in unit:
            continue
        at = unit.find(b"'")
        while at >= 0:
            option, at = _quoted(unit, at)
            if option == b"-flto" or option.startswith(b"-flto="):
                found.append(option)
            at = unit.find(b"'", at)
    return found


def _quoted(text: bytes, at: int) -> tuple[bytes, int]:
    r"""Read the option whose opening quote is at `at`: its bytes, and the index after its closing quote. `'\''` is an apostrophe."""
    parts = []
    while True:
        end = text.find(b"'", at + 1)
        if end < 0:
            return b"", len(text)  # no closing quote, which is a fatal error in GCC
        parts.append(text[at + 1 : end])
        if not text.startswith(b"\\''", end + 1):
            return b"'".join(parts), end + 1
        at = end + 3
