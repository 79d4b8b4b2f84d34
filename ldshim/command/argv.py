"""Walk one command line by a table, and say what it says and where.

The problem: `-o -flto` names an output file, `-Wl,-o,x` too, and `-flto` may come out of a response file that we must never rewrite. So a
word's meaning depends on the word before it, and an edit depends on where the word stands. The consequence: a table of rows (spelling,
arity, meaning), one walker for all of them, and facts that carry positions. A word that no row names and that starts with a dash
is taken as a flag without a value, which is what every tool here does with an option it is about to refuse.

Used by one module per family (gcc, clang, lld, gnuld, mold, wild), each of which turns `Found` options into `Facts`.
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

FOLLOWING = (0, 0, 1, 1, 0, 1, 0, 2, 3, 1)  # by arity: how many following words an exact spelling takes

IN_FILE = -1  # a position inside a response file or an environment variable: readable, not editable


class Row:
    """Spellings that are read alike. A row for each would be two hundred objects for every link.

    spellings: as written, without value and without `=`; arity: one of the constants above; meaning: what the family's module calls them,
    "" when only the arity matters; seen: the versions seen to accept them, for the reader and the tests.
    """

    __slots__ = ("arity", "meaning", "seen", "spellings")

    def __init__(self, spellings: list[bytes], arity: int, meaning: str = "", seen: str = "") -> None:
        self.spellings = spellings
        self.arity = arity
        self.meaning = meaning
        self.seen = seen


def rows(arity: int, spellings: bytes, meaning: str = "", seen: str = "") -> list[Row]:
    """Make the row of spellings that are separated by whitespace."""
    return [Row(spellings.split(), arity, meaning, seen)]


def both_dashes(arity: int, names: bytes, meaning: str = "", seen: str = "") -> list[Row]:
    """Make the row of names of which each has two spellings: GNU's long options work behind one dash and behind two."""
    return [Row([dash + name for name in names.split() for dash in (b"--", b"-")], arity, meaning, seen)]


class Table:
    """Rows, indexed for the walk: exact spellings in one dict, joined prefixes longest first in another. The first row of several wins."""

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

    def find(self, word: bytes) -> tuple[Row | None, bytes | None, int]:
        """Look one word up: its row, the value joined to it, and how many of the following words are its values."""
        row = self.exact.get(word)
        if row is not None:
            return row, None, FOLLOWING[row.arity]
        for length in self.lengths:
            row = self.joined.get(word[:length])
            if row is not None:
                return row, word[length:], 1 if row.arity == JOINED_AND_SEPARATE else 0
        return None, None, 0


class Words:
    """A command line behind argv[0], response files unfolded.

    text: the words; at: for each its index in the caller's args, or IN_FILE; count: how many args the caller gave, which may be more than
    len(text) or less, for a response file holds any number of words.
    """

    __slots__ = ("at", "count", "text")

    def __init__(self, text: list[bytes], at: list[int], count: int) -> None:
        self.text = text
        self.at = at
        self.count = count

    @classmethod
    def plain(cls, args: Sequence[bytes]) -> Words:
        """Take args as they are, nothing unfolded."""
        return cls(list(args), list(range(len(args))), len(args))


class Found:
    """One option as the walk met it.

    row: its table row; spelling: as written, with the `=` that joins a value; value: joined or separate value (the last, where there are
    several), None for a flag; at: index in args of the word that holds the *spelling*; value_at: index of the word that holds the value
    (equal to `at` when joined); either may be IN_FILE.
    """

    __slots__ = ("at", "row", "spelling", "value", "value_at")

    def __init__(self, row: Row, spelling: bytes, value: bytes | None, at: int, value_at: int) -> None:
        self.row = row
        self.spelling = spelling
        self.value = value
        self.at = at
        self.value_at = value_at

    def said(self) -> Said:
        """Return it as something the line says; out of a file as soon as one of its words is."""
        return Said(self.value, IN_FILE if IN_FILE in (self.at, self.value_at) else self.at, self.spelling)


class Walk:
    """What the walk found, in order: options with a meaning and inputs, interleaved as (Found | Operand)."""

    __slots__ = ("add_at", "items", "pending")

    def __init__(self, add_at: int) -> None:
        self.items: list[Found | Operand] = []
        self.pending = False  # nothing may be added: the line ends in an option that waits for its value, or behind a file's `--`
        self.add_at = add_at  # where additions are still options: the end, or a `--`


class Operand:
    """A word that is no option and no option's value: an input file."""

    __slots__ = ("at", "text")

    def __init__(self, text: bytes, at: int) -> None:
        self.text = text
        self.at = at


def walk(words: Words, table: Table, dashdash_ends: bool = False) -> Walk:
    """Read words by table. dashdash_ends: a `--` ends the options (lld, bfd, gold, clang); others refuse it."""
    out = Walk(words.count)
    text, at = words.text, words.at
    index, end = 0, len(text)
    while index < end:
        word = text[index]
        if not word.startswith(b"-") or word == b"-":
            out.items.append(Operand(word, at[index]))
            index += 1
            continue
        if word == b"--" and dashdash_ends:
            out.pending = at[index] == IN_FILE
            out.add_at = words.count if out.pending else at[index]
            out.items.extend(Operand(text[rest], at[rest]) for rest in range(index + 1, end))
            break
        row, value, following = table.find(word)
        where = index
        spelling = word[: len(word) - len(value)] if value is not None else word
        if following:
            index += following
            if index >= end:
                out.pending = True
                break
            value = text[index]
        if row is not None and row.meaning:
            out.items.append(Found(row, spelling, value, at[where], at[index]))
        index += 1
    return out


class Said:
    """One thing a command line says.

    value: None for a bare flag; at: index in args of the word that holds the spelling (when a driver forwards it, of the `-Wl,` word or the
    word behind `-Xlinker`), IN_FILE when any of it stands in a response file; spelling: as written, up to the value and with its `=`, so
    that a spelling without `=` says that the value, if any, is the next word.
    """

    __slots__ = ("at", "spelling", "value")

    def __init__(self, value: bytes | None, at: int, spelling: bytes) -> None:
        self.value = value
        self.at = at
        self.spelling = spelling


class Input:
    """One input of a link, as the command line names it.

    name: a path, or what follows `-l` when library is true (`foo`, or `:libfoo.a`); whole: every archive member is linked
    (`--whole-archive`); static: shared libraries are not looked for (`-Bstatic`, `-static`).
    """

    __slots__ = ("library", "name", "static", "whole")

    def __init__(self, name: bytes, library: bool = False, whole: bool = False, static: bool = False) -> None:
        self.name = name
        self.library = library
        self.whole = whole
        self.static = static


class Facts:
    """What one command line says, whatever its family; fields that a family does not know keep their defaults.

    All positions are indices into args (argv without argv[0]), or IN_FILE.
    """

    __slots__ = (
        "add_at", "compresses", "distributed", "fat_lto", "flto", "fuse_ld", "index_only", "inputs", "jobs", "ld_path", "library_dirs",
        "linker_output", "linker_plugin", "links", "lto_kind", "no_codegen", "no_lto", "params", "partition", "partitions", "pending",
        "plugins", "relocatable", "sources", "sysroot", "threads", "unread", "why_not",
    )  # fmt: skip

    def __init__(self) -> None:
        self.links = True  # False: a compile, a probe, or nothing to link
        self.why_not = ""  # one clause, when links is False
        self.inputs: list[Input] = []
        self.library_dirs: list[bytes] = []
        self.sysroot = b""
        self.sources = False  # a driver call that also compiles
        self.relocatable = False  # -r
        self.pending = False  # may end in an option that waits for its value: nothing may be appended
        self.unread: list[bytes] = []  # response files that we do not read: pipes, and those for the linker behind a driver (`-Wl,@f`)
        self.add_at = 0  # where additions go: len(args), or the index of a `--`
        # drivers
        self.flto: list[Said] = []  # every -flto, -flto=X, in order (bare: value None); clang: the deciding one only
        self.no_lto = False  # a -fno-lto is in force
        self.partition = b""  # -flto-partition=
        self.linker_output = b""  # -flinker-output=
        self.params: dict[bytes, int] = {}  # --param lto-partitions, lto-min-partition
        self.fuse_ld = b""
        self.ld_path = b""
        self.linker_plugin = True  # False after -fno-use-linker-plugin
        # linkers, and what drivers forward with -Wl and -Xlinker
        self.plugins: list[Said] = []  # value: the plugin's path
        self.threads: list[Said] = []  # --threads=N, --thread-count N; value None for a bare --threads; b"1" for --no-threads
        self.jobs: list[Said] = []  # --thinlto-jobs=N, -plugin-opt=jobs=N, -flto-jobs=N
        self.partitions = 0  # of full LTO: --lto-partitions=, -plugin-opt=lto-partitions=, -flto-partitions=; 0: none is said
        self.compresses = False  # mold's --compress-debug-sections
        self.lto_kind = b""  # --lto=
        self.fat_lto = False  # --fat-lto-objects
        self.index_only = False  # --thinlto-index-only
        self.distributed = False  # --thinlto-distributor=
        self.no_codegen = False  # --lto-emit-llvm and kin

    def loads(self, plugin: bytes) -> bool:
        """Tell whether a -plugin is given whose file name begins so: LLVMgold, liblto_plugin."""
        return any((said.value or b"").rpartition(b"/")[2].startswith(plugin) for said in self.plugins)
