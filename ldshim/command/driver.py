"""What gcc's and clang's command lines have in common: sources and inputs, and the words they forward to a linker.

A driver's line is two lines in one. `-Wl,a,b`, `-Xlinker a` and the inputs reach the linker in the order in which they are written, so
`-Wl,--whole-archive a.o -Wl,--no-whole-archive` must be read as the linker will: its own table over its own words, each remembering
the word that carried it. Which linker that will be is often unknown here; then `anyld` reads for all of them.
"""

from __future__ import annotations

from .argv import IN_FILE, Facts, Found, Operand, Walk, Words, walk
from .linkline import LinkLine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .argv import Table

HEADERS = frozenset(b"h hh hpp hxx H HPP h++ tcc hp".split())


class Dialect:
    """How one driver reads its line.

    table: its rows; dashdash_ends: `--` ends its options; sources: suffixes (without dot) of files that it compiles; actions: by meaning,
    what to do with an option that only this driver has.
    """

    __slots__ = ("actions", "dashdash_ends", "sources", "table")

    def __init__(
        self, table: Table, sources: frozenset[bytes], actions: dict[str, Callable[[Reader, Found], None]], dashdash_ends: bool
    ) -> None:
        self.table = table
        self.sources = sources
        self.actions = actions
        self.dashdash_ends = dashdash_ends


class Reader:
    """The state of one driver's line while it is read."""

    __slots__ = ("dialect", "facts", "forwarded", "headers", "language", "options", "static")

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.facts = Facts()
        self.forwarded = Words([], [], 0)  # what the linker will see, at the positions of the carrying words
        self.language = False  # a -x is in force: files are sources whatever they are called
        self.headers = False  # all sources so far were headers, which make no object
        self.static = False
        self.options: list[Found] = []  # what a driver wants to look at when all is read

    def take(self, item: Found | Operand) -> None:
        """Take the next thing on the line."""
        if not isinstance(item, Found):
            # Nearly all inputs are objects, and there may be thousands.
            if item.text.endswith((b".o", b".a", b".so")) and not self.language:
                self.forwarded.text.append(item.text)
                self.forwarded.at.append(item.at)
            else:
                self.take_input(item)
            return
        action = ACTIONS.get(item.row.meaning) or self.dialect.actions.get(item.row.meaning)
        if action is not None:
            action(self, item)

    def take_input(self, item: Operand) -> None:
        """Tell sources from what goes to the linker."""
        base = item.text[item.text.rfind(b"/") + 1 :]
        suffix = base[base.rfind(b".") + 1 :] if b"." in base else b""
        header = suffix in HEADERS and not self.language
        if self.language or item.text == b"-" or suffix in self.dialect.sources or header:
            self.headers = header and (self.headers or not self.facts.sources)
            self.facts.sources = True
        else:
            self.forward(item.text, item.at)

    def forward(self, word: bytes, at: int) -> None:
        """Hand one word to the linker."""
        self.forwarded.text.append(word)
        self.forwarded.at.append(at)

    def finish(self) -> Facts:
        """Read the linker's half, then say whether there is a link at all."""
        out = self.facts
        line = LinkLine(out)
        line.always_static = self.static
        self.forwarded.count = len(self.forwarded.text)
        walked = _walk_forwarded(self.forwarded, out)
        for item in walked.items:
            if not isinstance(item, Found) and item.text.startswith(b"@"):
                out.unread.append(item.text[1:])
            elif not isinstance(item, Found) or item.row.meaning != "probe":
                line.take(item)
        out.pending = out.pending or walked.pending
        if out.links and not out.inputs and not out.unread and (not out.sources or self.headers):
            out.links, out.why_not = False, "no input files for a link"
        return out


def facts(words: Words, dialect: Dialect) -> Reader:
    """Read a driver's command line; the caller finishes the Reader."""
    reader = Reader(dialect)
    walked = walk(words, dialect.table, dialect.dashdash_ends)
    reader.facts.pending = walked.pending
    reader.facts.add_at = walked.add_at
    for item in walked.items:
        reader.take(item)
    return reader


def _walk_forwarded(words: Words, out: Facts) -> Walk:
    """Read the linker's half by the table of the linker that -fuse-ld or --ld-path names."""
    if not any(word.startswith(b"-") for word in words.text):
        # Inputs only, as on most lines: the linkers' tables cost a link 5 ms to import.
        walked = Walk(0)
        walked.items.extend(map(Operand, words.text, words.at))
        return walked
    name = (out.ld_path or out.fuse_ld).rsplit(b"/", 1)[-1]
    if name.endswith((b"bfd", b"gold")):
        from . import gnuld  # noqa: PLC0415

        return walk(words, gnuld.GOLD if name.endswith(b"gold") else gnuld.BFD)
    if name.endswith(b"mold"):
        from . import mold  # noqa: PLC0415

        return walk(words, mold.TABLE)
    if name.endswith(b"wild"):
        from . import wild  # noqa: PLC0415

        return walk(words, wild.TABLE)
    if name.endswith(b"lld"):
        from . import lld  # noqa: PLC0415

        return walk(words, lld.TABLE)
    from . import anyld  # noqa: PLC0415

    return anyld.walk_words(words)


def _forward_pieces(reader: Reader, found: Found) -> None:
    for piece in (found.value or b"").split(b","):
        reader.forward(piece, found.at)


def _forward_value(reader: Reader, found: Found) -> None:
    reader.forward(found.value or b"", IN_FILE if found.at == IN_FILE else found.value_at)


def _forward_library(reader: Reader, found: Found) -> None:
    reader.forward(b"-l" + (found.value or b""), found.at)


def _directory(reader: Reader, found: Found) -> None:
    reader.facts.library_dirs.append(found.value or b"")


def _sysroot(reader: Reader, found: Found) -> None:
    reader.facts.sysroot = found.value or b""


def _relocatable(reader: Reader, _: Found) -> None:
    reader.facts.relocatable = True


def _static(reader: Reader, _: Found) -> None:
    reader.static = True


def _language(reader: Reader, found: Found) -> None:
    reader.language = found.value != b"none"


def _fuse_ld(reader: Reader, found: Found) -> None:
    reader.facts.fuse_ld = found.value or b""


def _no_link(reader: Reader, found: Found) -> None:
    reader.facts.links, reader.facts.why_not = False, f"{found.spelling.decode('ascii', 'replace')}: nothing is linked"


ACTIONS: dict[str, Callable[[Reader, Found], None]] = {
    "-Wl": _forward_pieces,
    "-Xlinker": _forward_value,
    "library": _forward_library,
    "directory": _directory,
    "sysroot": _sysroot,
    "relocatable": _relocatable,
    "static": _static,
    "language": _language,
    "fuse-ld": _fuse_ld,
    "no-link": _no_link,
}
