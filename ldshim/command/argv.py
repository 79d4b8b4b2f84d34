"""Parse one command line by a table: which options and inputs it holds, and at which positions.

The problem: `-o -flto` names an output file, and so does `-Wl,-o,x`. `-flto` may come from a response file, which ldshim must not rewrite.
So the meaning of an argument depends on the argument before it, and an edit depends on the position of the argument.

The consequence: a table of rows (spelling, arity, meaning), one parser for all tables, and facts that carry positions. An unknown argument
that starts with a dash counts as a flag without a value. Every tool treats an option so that it is about to reject.

One module per family (gcc, clang, lld, gnuld, mold, wild) turns each `Match` into `Facts`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FLAG = 0  # -foo
JOINED = 1  # -fooVALUE, the value may be empty
SEPARATE = 2  # -foo VALUE
EITHER = 3  # -fooVALUE, or -foo VALUE when nothing is joined
EQUALS = 4  # --foo=VALUE
EQUALS_OR_SEPARATE = 5  # --foo=VALUE or --foo VALUE
EQUALS_OR_FLAG = 6  # --foo=VALUE or a bare --foo
SEPARATE_2 = 7  # -foo VALUE VALUE (Darwin's -segaddr and kin, which clang reads on every target)
SEPARATE_3 = 8  # -foo VALUE VALUE VALUE

JOINED_AND_SEPARATE = 9  # -fooVALUE VALUE (clang's -Xarch_ARCH OPTION)

FOLLOWING = (0, 0, 1, 1, 0, 1, 0, 2, 3, 1)  # by arity: how many following arguments an exact spelling takes

IN_FILE = -1  # the position of an argument from a response file or an environment variable: it can be read, not edited


class Row:
    """Spellings with the same arity and meaning. One row for each spelling would be two hundred objects for every link.

    spellings: as written, without value and without `=`; arity: one of the constants above; meaning: a key of the family's actions, ""
    when only the arity matters; seen: the versions that accept them, for the reader and the tests.
    """

    __slots__ = ("arity", "meaning", "seen", "spellings")

    def __init__(self, spellings: list[bytes], arity: int, meaning: str = "", seen: str = "") -> None:
        self.spellings = spellings
        self.arity = arity
        self.meaning = meaning
        self.seen = seen


def rows(arity: int, spellings: bytes, meaning: str = "", seen: str = "") -> list[Row]:
    """Return one row of spellings that are separated by whitespace."""
    return [Row(spellings.split(), arity, meaning, seen)]


def both_dashes(arity: int, names: bytes, meaning: str = "", seen: str = "") -> list[Row]:
    """Return one row for names that have two spellings each: GNU's long options start with one dash or with two."""
    return [Row([dash + name for name in names.split() for dash in (b"--", b"-")], arity, meaning, seen)]


class Table:
    """Rows, indexed: exact spellings in one dict, prefixes in another. The longest prefix is tried first, and the first row wins."""

    __slots__ = ("exact", "joined", "lengths", "rows")

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = tuple(rows)
        self.exact: dict[bytes, Row] = {}
        self.joined: dict[bytes, Row] = {}
        for row in reversed(self.rows):
            self._index(row)
        self.lengths = sorted({len(prefix) for prefix in self.joined}, reverse=True)

    def _index(self, row: Row) -> None:
        if row.arity not in (JOINED, EQUALS, JOINED_AND_SEPARATE):
            self.exact.update(dict.fromkeys(row.spellings, row))
        if row.arity in (JOINED, EITHER, JOINED_AND_SEPARATE):
            self.joined.update(dict.fromkeys(row.spellings, row))
        elif row.arity in (EQUALS, EQUALS_OR_SEPARATE, EQUALS_OR_FLAG):
            self.joined.update({spelling + b"=": row for spelling in row.spellings})

    def find(self, argument: bytes) -> tuple[Row | None, bytes | None, int]:
        """Return the row of one argument, the value joined to it, and how many of the following arguments are its values."""
        row = self.exact.get(argument)
        if row is not None:
            return row, None, FOLLOWING[row.arity]
        for length in self.lengths:
            row = self.joined.get(argument[:length])
            if row is not None:
                return row, argument[length:], 1 if row.arity == JOINED_AND_SEPARATE else 0
        return None, None, 0


class Arguments:
    """A command line without argv[0], response files expanded.

    text: the arguments; at: for each its index in the caller's args, or IN_FILE; count: the number of the caller's args, which differs from
    len(text) where a response file was expanded.
    """

    __slots__ = ("at", "count", "text")

    def __init__(self, text: list[bytes], at: list[int], count: int) -> None:
        self.text = text
        self.at = at
        self.count = count

    @classmethod
    def plain(cls, args: Sequence[bytes]) -> Arguments:
        """Return args as they are, no response file expanded."""
        return cls(list(args), list(range(len(args))), len(args))


class Match:
    """One option that a table row matches.

    row: its table row; spelling: as written, with the `=` that joins a value; value: the joined or separate value (the last of several),
    None for a flag; at: index in args of the argument that holds the *spelling*; value_at: index of the argument that holds the value
    (equal to `at` when joined). Both may be IN_FILE.
    """

    __slots__ = ("at", "row", "spelling", "value", "value_at")

    def __init__(self, row: Row, spelling: bytes, value: bytes | None, at: int, value_at: int) -> None:
        self.row = row
        self.spelling = spelling
        self.value = value
        self.at = at
        self.value_at = value_at

    def option(self) -> Option:
        """Return it as an Option: IN_FILE where the spelling or the value comes from a file."""
        return Option(self.value, IN_FILE if IN_FILE in (self.at, self.value_at) else self.at, self.spelling)


class Walk:
    """The result of parsing: options that have a meaning, and inputs, in the order of the command line."""

    __slots__ = ("add_at", "items", "pending")

    def __init__(self, add_at: int) -> None:
        self.items: list[Match | Operand] = []
        self.pending = False  # nothing may be added: the last option lacks its value, or a `--` comes from a response file
        self.add_at = add_at  # where additions still count as options: the end, or a `--`


class Operand:
    """An argument that is neither an option nor an option's value: an input file."""

    __slots__ = ("at", "text")

    def __init__(self, text: bytes, at: int) -> None:
        self.text = text
        self.at = at


def walk(arguments: Arguments, table: Table, dashdash_ends: bool = False) -> Walk:
    """Parse arguments by table. dashdash_ends: a `--` ends the options (lld, bfd, gold, clang); other tools reject it."""
    out = Walk(arguments.count)
    text, at = arguments.text, arguments.at
    index, end = 0, len(text)
    while index < end:
        argument = text[index]
        if not argument.startswith(b"-") or argument == b"-":
            out.items.append(Operand(argument, at[index]))
            index += 1
            continue
        if argument == b"--" and dashdash_ends:
            out.pending = at[index] == IN_FILE
            out.add_at = arguments.count if out.pending else at[index]
            out.items.extend(Operand(text[rest], at[rest]) for rest in range(index + 1, end))
            break
        row, value, following = table.find(argument)
        where = index
        spelling = argument[: len(argument) - len(value)] if value is not None else argument
        if following:
            index += following
            if index >= end:
                out.pending = True
                break
            value = text[index]
        if row is not None and row.meaning:
            out.items.append(Match(row, spelling, value, at[where], at[index]))
        index += 1
    return out


class Option:
    """One option of a command line.

    value: None for a bare flag; at: index in args of the argument that holds the spelling (a forwarded option: the `-Wl,` argument, or the
    argument after `-Xlinker`), IN_FILE where any of it comes from a response file; spelling: as written, up to the value, with its `=`.
    After a spelling without `=` the value, if any, is the next argument.
    """

    __slots__ = ("at", "spelling", "value")

    def __init__(self, value: bytes | None, at: int, spelling: bytes) -> None:
        self.value = value
        self.at = at
        self.spelling = spelling


class Input:
    """One input of a link, as the command line names it.

    name: a path, or the value of `-l` when library is true (`foo`, or `:libfoo.a`); whole: every archive member is linked
    (`--whole-archive`); static: no shared library is searched for (`-Bstatic`, `-static`).
    """

    __slots__ = ("library", "name", "static", "whole")

    def __init__(self, name: bytes, library: bool = False, whole: bool = False, static: bool = False) -> None:
        self.name = name
        self.library = library
        self.whole = whole
        self.static = static


class Facts:
    """The facts of one command line, for every family. A field that a family does not set has its default.

    All positions are indices into args (argv without argv[0]), or IN_FILE.
    """

    __slots__ = (
        "add_at", "compresses", "distributed", "fat_lto", "flto", "fuse_ld", "index_only", "inputs", "jobs", "ld_path", "library_dirs",
        "linker_output", "linker_plugin", "links", "lto_kind", "no_codegen", "no_lto", "params", "partition", "partitions", "pending",
        "plugins", "relocatable", "sources", "sysroot", "threads", "unread", "why_not",
    )  # fmt: skip

    def __init__(self) -> None:
        self.links = True  # False: a compile, a probe, or nothing to link
        self.why_not = ""  # the reason, one clause, when links is False
        self.inputs: list[Input] = []
        self.library_dirs: list[bytes] = []
        self.sysroot = b""
        self.sources = False  # a driver call that also compiles
        self.relocatable = False  # -r
        self.pending = False  # the last option may lack its value: nothing may be appended
        self.unread: list[bytes] = []  # response files that are not read: pipes, and files for a driver's linker (`-Wl,@f`)
        self.add_at = 0  # where additions go: len(args), or the index of a `--`
        # drivers
        self.flto: list[Option] = []  # every -flto, -flto=X, in order (bare: value None); clang: only the one in force
        self.no_lto = False  # a -fno-lto is in force
        self.partition = b""  # -flto-partition=
        self.linker_output = b""  # -flinker-output=
        self.params: dict[bytes, int] = {}  # --param lto-partitions, lto-min-partition
        self.fuse_ld = b""
        self.ld_path = b""
        self.linker_plugin = True  # False after -fno-use-linker-plugin
        # linkers, and options that drivers forward with -Wl and -Xlinker
        self.plugins: list[Option] = []  # value: the plugin's path
        self.threads: list[Option] = []  # --threads=N, --thread-count N; value None for a bare --threads; b"1" for --no-threads
        self.jobs: list[Option] = []  # --thinlto-jobs=N, -plugin-opt=jobs=N, -flto-jobs=N
        self.partitions = 0  # of full LTO: --lto-partitions=, -plugin-opt=lto-partitions=, -flto-partitions=; 0: not given
        self.compresses = False  # mold's --compress-debug-sections
        self.lto_kind = b""  # --lto=
        self.fat_lto = False  # --fat-lto-objects
        self.index_only = False  # --thinlto-index-only
        self.distributed = False  # --thinlto-distributor=
        self.no_codegen = False  # --lto-emit-llvm and kin

    def loads(self, plugin: bytes) -> bool:
        """Return whether a -plugin has a file name that begins with plugin: LLVMgold, liblto_plugin."""
        return any((option.value or b"").rpartition(b"/")[2].startswith(plugin) for option in self.plugins)
