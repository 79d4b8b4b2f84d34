"""What GCC left in an object: slim or fat, which GCC, how much IR, and the options it was compiled with.

GCC's plugin claims a file when it has a section whose name starts with `.gnu.lto_.symtab` (lto-plugin.c), fat objects too; without one the
object is native, whatever else it holds. Two sections are then worth reading. `.gnu.lto_.lto.HASH` starts with eight bytes, never
compressed and in the target's byte order: major, minor, slim, flags (lto-streamer.h, GCC 10 and later). `.gnu.lto_.opts` holds the options
of every translation unit, one NUL-terminated string each in COLLECT_GCC_OPTIONS quoting; after `ld -r` there are several of both.

The recorded options matter because a `-flto=5` in them starts five LTRANS where the link line says nothing (GCC 12 and later).
"""

from __future__ import annotations

from struct import Struct

from ldshim.ir.elf import GCC_SECTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ldshim.ir.elf import Object, Section
    from ldshim.ir.extent import Extent

_CLAIM, _HEADER, _OPTIONS = GCC_SECTIONS
_HEADERS = {"<": Struct("<hhB"), ">": Struct(">hhB")}

# A translation unit records 100 to 200 bytes; after `ld -r` of 5000 that is the limit.
OPTIONS_LIMIT = 1 << 20
# After `ld -r` an object has a header for each translation unit. They only differ where somebody mixed compilers.
HEADERS_LIMIT = 64


class Traces:
    """What GCC left in one object.

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
    """Read GCC's traces from an object; None when the plugin would not claim it. Raises MalformedError."""
    out = Traces()
    out.size = min(found.gcc_bytes, extent.size)
    headers: list[Section] = []
    claimed = False
    for section in found.sections:
        name = section.name
        if name.startswith(_CLAIM):
            claimed = True
        elif name.startswith(_HEADER):
            headers.append(section)
        elif name == _OPTIONS:
            out.options += section.data(extent, OPTIONS_LIMIT)
    if not claimed:
        return None
    header = _HEADERS[found.order]
    known = False
    for section in headers[:HEADERS_LIMIT]:
        data = section.data(extent, header.size)
        if len(data) == header.size:
            major, _minor, slim = header.unpack(data)
            known = True
            out.major = max(out.major, major)
            out.slim = out.slim or bool(slim)
    if not known:  # GCC 9 and before
        out.slim = not found.code
    return out


def flto_words(options: bytes) -> list[bytes]:
    r"""Return the -flto words of recorded options, in order, repeats included: b"-flto", b"-flto=auto", b"-flto=5".

    options: strings in COLLECT_GCC_OPTIONS quoting ('word' 'wo'\''rd'), NUL-terminated. Inside a word an apostrophe ends the quotes, so
    only a word that starts with -flto right after its opening quote is one; `'-DX='\''-flto'\'''` holds none.
    """
    words = []
    for unit in options.split(b"\0"):
        if b"'-flto" not in unit:
            continue
        at = unit.find(b"'")
        while at >= 0:
            word, at = _quoted(unit, at)
            if word == b"-flto" or word.startswith(b"-flto="):
                words.append(word)
            at = unit.find(b"'", at)
    return words


def _quoted(text: bytes, at: int) -> tuple[bytes, int]:
    r"""Read the word whose opening quote is at `at`: its bytes, and the index behind its closing quote. `'\''` is an apostrophe."""
    parts = []
    while True:
        end = text.find(b"'", at + 1)
        if end < 0:
            return b"", len(text)  # no closing quote: GCC itself calls this fatal
        parts.append(text[at + 1 : end])
        if not text.startswith(b"\\''", end + 1):
            return b"'".join(parts), end + 1
        at = end + 3
