"""Read what gcc's and clang's command lines have in common: sources, inputs, and the arguments for the linker.

A driver's command line also holds the linker's. `-Wl,a,b`, `-Xlinker a` and the inputs reach the linker in their order, as in
`-Wl,--whole-archive a.o -Wl,--no-whole-archive`. So the linker's part is parsed again by the linker's own table, and each of its arguments
has the position of the driver's argument that holds it. Where the linker is not known, `anyld` has the table.
"""

from __future__ import annotations

from .argv import IN_FILE, Arguments, Facts, Match, Operand, Walk, walk
from .linkline import LinkerState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .argv import Table

HEADERS = frozenset(b"h hh hpp hxx H HPP h++ tcc hp".split())


class Dialect:
    """The syntax of one driver.

    table: its rows; dashdash_ends: `--` ends its options; sources: suffixes (without dot) of files that it compiles; actions: by meaning,
    a function for each option that only this driver has.
    """

    __slots__ = ("actions", "dashdash_ends", "sources", "table")

    def __init__(
        self, table: Table, sources: frozenset[bytes], actions: dict[str, Callable[[Reader, Match], None]], dashdash_ends: bool
    ) -> None:
        self.table = table
        self.sources = sources
        self.actions = actions
        self.dashdash_ends = dashdash_ends


class Reader:
    """The state while one driver's command line is read."""

    __slots__ = ("dialect", "facts", "forwarded", "headers", "language", "options", "static")

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.facts = Facts()
        self.forwarded = Arguments([], [], 0)  # the linker's arguments, at positions of the driver's
        self.language = False  # a -x is in force: every file is a source, whatever its name
        self.headers = False  # all sources so far are headers, which are not linked
        self.static = False
        self.options: list[Match] = []  # options whose precedence is decided after the last argument

    def take(self, item: Match | Operand) -> None:
        """Read the next option or input."""
        if not isinstance(item, Match):
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
        """Read an input: a source, or a file for the linker."""
        base = item.text[item.text.rfind(b"/") + 1 :]
        suffix = base[base.rfind(b".") + 1 :] if b"." in base else b""
        header = suffix in HEADERS and not self.language
        if self.language or item.text == b"-" or suffix in self.dialect.sources or header:
            self.headers = header and (self.headers or not self.facts.sources)
            self.facts.sources = True
        else:
            self.forward(item.text, item.at)

    def forward(self, argument: bytes, at: int) -> None:
        """Add one argument for the linker."""
        self.forwarded.text.append(argument)
        self.forwarded.at.append(at)

    def finish(self) -> Facts:
        """Read the linker's arguments, then decide whether there is a link at all."""
        out = self.facts
        state = LinkerState(out)
        state.always_static = self.static
        self.forwarded.count = len(self.forwarded.text)
        walked = _walk_forwarded(self.forwarded, out)
        for item in walked.items:
            if not isinstance(item, Match) and item.text.startswith(b"@"):
                out.unread.append(item.text[1:])
            elif not isinstance(item, Match) or item.row.meaning != "probe":
                state.take(item)
        out.pending = out.pending or walked.pending
        if out.links and not out.inputs and not out.unread and (not out.sources or self.headers):
            out.links, out.why_not = False, "no input files for a link"
        return out


def facts(arguments: Arguments, dialect: Dialect) -> Reader:
    """Read a driver's command line. The caller calls `finish` on the result."""
    reader = Reader(dialect)
    walked = walk(arguments, dialect.table, dialect.dashdash_ends)
    reader.facts.pending = walked.pending
    reader.facts.add_at = walked.add_at
    for item in walked.items:
        reader.take(item)
    return reader


def _walk_forwarded(arguments: Arguments, out: Facts) -> Walk:
    """Parse the linker's arguments by the table of the linker that -fuse-ld or --ld-path names."""
    if not any(argument.startswith(b"-") for argument in arguments.text):
        # Most links forward inputs only. The linkers' tables take 5 ms to import.
        walked = Walk(0)
        walked.items.extend(map(Operand, arguments.text, arguments.at))
        return walked
    name = (out.ld_path or out.fuse_ld).rsplit(b"/", 1)[-1]
    if name.endswith((b"bfd", b"gold")):
        from . import gnuld  # noqa: PLC0415

        return walk(arguments, gnuld.GOLD if name.endswith(b"gold") else gnuld.BFD)
    if name.endswith(b"mold"):
        from . import mold  # noqa: PLC0415

        return walk(arguments, mold.TABLE)
    if name.endswith(b"wild"):
        from . import wild  # noqa: PLC0415

        return walk(arguments, wild.TABLE)
    if name.endswith(b"lld"):
        from . import lld  # noqa: PLC0415

        return walk(arguments, lld.TABLE)
    from . import anyld  # noqa: PLC0415

    return anyld.walk_forwarded(arguments)


def _forward_pieces(reader: Reader, found: Match) -> None:
    for piece in (found.value or b"").split(b","):
        reader.forward(piece, found.at)


def _forward_value(reader: Reader, found: Match) -> None:
    reader.forward(found.value or b"", IN_FILE if found.at == IN_FILE else found.value_at)


def _forward_library(reader: Reader, found: Match) -> None:
    reader.forward(b"-l" + (found.value or b""), found.at)


def _directory(reader: Reader, found: Match) -> None:
    reader.facts.library_dirs.append(found.value or b"")


def _sysroot(reader: Reader, found: Match) -> None:
    reader.facts.sysroot = found.value or b""


def _relocatable(reader: Reader, _: Match) -> None:
    reader.facts.relocatable = True


def _static(reader: Reader, _: Match) -> None:
    reader.static = True


def _language(reader: Reader, found: Match) -> None:
    reader.language = found.value != b"none"


def _fuse_ld(reader: Reader, found: Match) -> None:
    reader.facts.fuse_ld = found.value or b""


def _no_link(reader: Reader, found: Match) -> None:
    reader.facts.links, reader.facts.why_not = False, f"{found.spelling.decode('ascii', 'replace')}: nothing is linked"


ACTIONS: dict[str, Callable[[Reader, Match], None]] = {
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
