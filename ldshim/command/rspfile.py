r"""Expand `@file` arguments by each tool's own quoting rules, for reading only.

Long command lines come in response files. The kernel's module links name their inputs only there, and collect2 passes ld a single `@file`.
Five tokenizers read such files, and they differ: `'a\b'` is `ab` to GCC 14 and `a\b` to GCC 15, `""` is an empty argument to libiberty and
nothing to LLVM, `a"b c"` is two arguments to an old mold. So RULES has a set for each dialect, and one tokenizer follows them. A response
file is never changed: an argument from a file has the position IN_FILE, which cannot be edited.

A file that cannot be read stays a literal argument, as in every tool but mold, which ends with an error. A file that names itself is
expanded as deeply as the tool does it. Beyond a bound an `@file` stays literal, too.
"""

from __future__ import annotations

from .argv import IN_FILE, Arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Read = Callable[[bytes], "bytes | None"]

MOST_BYTES = 64 << 20  # of all files of one call together; the names of a million objects take less
MOST_FILES = 1999  # libiberty's expandargv gives up at the 2000th

SPACES_C = b" \t\n\r\v\f"
SPACES_LLVM = b" \t\n\r"


class Rules:
    """The quoting rules of one dialect.

    spaces: bytes that separate arguments; keep_empty: `""` is an argument; posix: quotes and backslashes as in a shell, otherwise a
    backslash escapes every byte everywhere; glued: quotes may begin inside an argument; depth: how deeply files may nest.
    """

    __slots__ = ("depth", "glued", "keep_empty", "posix", "spaces")

    def __init__(
        self, spaces: bytes = SPACES_C, keep_empty: bool = True, posix: bool = False, glued: bool = True, depth: int = 400
    ) -> None:
        self.spaces = spaces
        self.keep_empty = keep_empty
        self.posix = posix
        self.glued = glued
        self.depth = depth


RULES = {
    # libiberty buildargv until 2024-07 (GCC 14, binutils 2.42) and since. It has no limit of depth; 400 is safe for Python's stack.
    "gnu-old": Rules(),
    "gnu-new": Rules(posix=True),
    # llvm::cl::TokenizeGNUCommandLine; a file is not expanded inside itself.
    "llvm": Rules(SPACES_LLVM, keep_empty=False),
    "llvm-windows": Rules(SPACES_LLVM + b"\0"),
    # mold's cmdline.cc: 3.0. In 1.10 a closing quote ends the argument, quotes inside an argument are literal, and files do not nest.
    "mold": Rules(depth=10),
    "mold-old": Rules(glued=False, depth=1),
}


def expand(args: Sequence[bytes], dialect: str, read: Read) -> Arguments:
    """Return args with every response file replaced by its arguments.

    dialect: a key of RULES; read: returns a file's bytes, or None where it cannot be read.
    """
    expansion = _Expansion(dialect, read)
    for index, arg in enumerate(args):
        expansion.add(arg, index)
    return Arguments(expansion.text, expansion.at, len(args))


class _Expansion:
    """One expansion in progress: the arguments so far, and what is left of the bounds."""

    __slots__ = ("at", "bytes_left", "dialect", "files_left", "open", "read", "rules", "text")

    def __init__(self, dialect: str, read: Read) -> None:
        self.dialect = dialect
        self.rules = RULES[dialect]
        self.read = read
        self.text: list[bytes] = []
        self.at: list[int] = []
        self.open: list[bytes] = []
        self.files_left = MOST_FILES
        self.bytes_left = MOST_BYTES

    def add(self, argument: bytes, at: int) -> None:
        """Add one argument, or the arguments of the file that it names."""
        inner = self.arguments_in(argument[1:]) if argument.startswith(b"@") else None
        if inner is None:
            self.text.append(argument)
            self.at.append(at)
            return
        self.open.append(argument[1:])
        for inner_argument in inner:
            self.add(inner_argument, IN_FILE)
        self.open.pop()

    def arguments_in(self, path: bytes) -> list[bytes] | None:
        """Return the arguments in a file, None where it stays literal."""
        if self.files_left <= 0 or len(self.open) >= self.rules.depth:
            return None
        if self.dialect.startswith("llvm") and path in self.open:
            return None
        data = self.read(path)
        if data is None or len(data) > self.bytes_left:
            return None
        self.files_left -= 1
        self.bytes_left -= len(data)
        return split(data, self.dialect)


def split(data: bytes, dialect: str) -> list[bytes]:
    """Split a file's text into arguments. data: the whole file."""
    rules = RULES[dialect]
    if rules.spaces is not SPACES_C:
        data = _without_bom(data)
        if dialect == "llvm-windows":
            return _split_windows(data)
    else:
        data = data.partition(b"\0")[0]
    # Ten thousand unquoted names take 0.3 ms this way, and 30 ms character by character.
    if (
        b"'" not in data
        and b'"' not in data
        and b"\\" not in data
        and (rules.spaces is SPACES_C or (b"\v" not in data and b"\f" not in data))
    ):
        return data.split()
    return _Tokenizer(rules).run(data)


def _without_bom(data: bytes) -> bytes:
    """Remove a byte order mark as LLVM does. UTF-16 becomes UTF-8; invalid UTF-16 stays as it is."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16").encode()
        except UnicodeError:
            return data
    return data[3:] if data.startswith(b"\xef\xbb\xbf") else data


class _Tokenizer:
    """Split text with quotes: runs of ordinary bytes as a whole, quotes and backslashes one by one."""

    __slots__ = ("argument", "out", "rules", "started")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.out: list[bytes] = []
        self.argument: list[bytes] = []  # pieces of the current argument
        self.started = False  # an argument has begun; it may be empty

    def run(self, data: bytes) -> list[bytes]:
        """Return the arguments of data."""
        one_space = bytes.maketrans(self.rules.spaces, b" " * len(self.rules.spaces))
        if self.rules.glued and b"\\" not in data and (b"'" in data) != (b'"' in data):
            return self.between_quotes(data.split(b"'" if b"'" in data else b'"'), one_space)
        # The next position of each special byte; it is searched again only once that position was passed.
        specials = {b"\\": -1, b"'": -1, b'"': -1}
        at, end = 0, len(data)
        while at < end:
            for special, found in specials.items():
                if found < at:
                    found = data.find(special, at)  # noqa: PLW2901
                    specials[special] = found if found >= 0 else end
            special_at = min(specials.values())
            if special_at > at:
                self.plain(data[at:special_at].translate(one_space))
            if special_at == end:
                break
            at = self.special(data, special_at)
        self.flush()
        return self.out

    def between_quotes(self, parts: list[bytes], one_space: bytes) -> list[bytes]:
        """Return the arguments of text that was split at one kind of quote: every second part is inside quotes."""
        for index, part in enumerate(parts):
            if index & 1:
                self.argument.append(part)
                self.started = True
            elif part in (b"\n", b" "):
                self.flush()
            elif part:
                self.plain(part.translate(one_space))
        self.flush()
        return self.out

    def plain(self, text: bytes) -> None:
        """Read a run without quotes and backslashes; every separator in it is a space."""
        pieces = text.split(b" ")
        if pieces[0]:
            self.append(pieces[0])
        if len(pieces) > 1:
            self.flush()
            self.out.extend(filter(None, pieces[1:-1]))
            if pieces[-1]:
                self.append(pieces[-1])

    def append(self, piece: bytes) -> None:
        """Add a piece to the current argument."""
        self.argument.append(piece)
        self.started = True

    def flush(self) -> None:
        """End the current argument, if there is one."""
        if self.started:
            argument = b"".join(self.argument)
            if argument or self.rules.keep_empty:
                self.out.append(argument)
            self.argument, self.started = [], False

    def special(self, data: bytes, at: int) -> int:
        """Read the quote or backslash at `at`; return the position after it."""
        mark = data[at : at + 1]
        if mark == b"\\":
            self.escaped(data[at + 1 : at + 2])
            return at + 2
        if not self.rules.glued and self.started:
            self.append(mark)
            return at + 1
        self.started = True
        at = self.quoted(data, at + 1, mark)
        if not self.rules.glued:
            self.flush()
        return at

    def escaped(self, byte: bytes) -> None:
        """Read the byte after a backslash, b"" at the end of the file."""
        self.started = True
        if not byte:
            byte = b"" if self.rules.keep_empty else b"\\"  # libiberty drops a last backslash, LLVM does not
        if not (self.rules.posix and byte == b"\n"):
            self.append(byte)

    def quoted(self, data: bytes, at: int, mark: bytes) -> int:
        """Read from behind an opening quote up to its closing one, or to the end of the file; return the position after it."""
        end = len(data)
        literal = self.rules.posix and mark == b"'"
        while True:
            close = data.find(mark, at)
            close = close if close >= 0 else end
            slash = -1 if literal else data.find(b"\\", at, close)
            if slash < 0:
                self.argument.append(data[at:close])
                return close + 1
            self.argument.append(data[at:slash])
            byte = data[slash + 1 : slash + 2]
            if self.rules.posix and byte not in (b"$", b"`", b'"', b"\\", b"\n", b""):
                self.argument.append(b"\\")
                at = slash + 1
            else:
                self.escaped(byte)
                at = slash + 2


def _split_windows(data: bytes) -> list[bytes]:
    """Split as llvm::cl::TokenizeWindowsCommandLine: backslashes are special only before a double quote."""
    out: list[bytes] = []
    argument = bytearray()
    at, end = 0, len(data)
    started = in_quotes = False
    while at < end:
        byte = data[at : at + 1]
        if byte == b"\\":
            run = len(data) - at - len(data[at:].lstrip(b"\\"))
            at += run
            quote_follows = data[at : at + 1] == b'"'
            argument += b"\\" * (run // 2 if quote_follows else run)
            if quote_follows and run % 2:
                argument += b'"'
                at += 1
            started = True
            continue
        at += 1
        if byte == b'"':
            if in_quotes and data[at : at + 1] == b'"':
                argument += b'"'
                at += 1
            else:
                in_quotes = not in_quotes
            started = True
        elif byte in b" \t\r\n\0" and not in_quotes:
            if started:
                out.append(bytes(argument))
            argument, started = bytearray(), False
        else:
            argument += byte
            started = True
    if started:
        out.append(bytes(argument))
    return out
