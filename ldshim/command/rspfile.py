r"""Unfold `@file` arguments, each tool in its own quoting, for reading only.

The problem: long lines come in response files, the kernel's module links name their inputs nowhere else, and collect2 hands ld one single
`@file`. Five tokenizers read such files, and they disagree: `'a\b'` is `ab` to GCC 14 and `a\b` to GCC 15, `""` is an empty argument to
libiberty and nothing to LLVM, `a"b c"` is two words to an old mold. The consequence: RULES, one set a dialect, and one tokenizer that
obeys them. Nothing is ever written back: a word from a file has the position IN_FILE, which cannot be edited.

A file that cannot be read stays the literal word it was, as in every tool but mold, which refuses it in its own words. Files that name
themselves are unfolded no deeper than the tool goes. What is left when a bound is hit stays literal, too.
"""

from __future__ import annotations

from .argv import IN_FILE, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Read = Callable[[bytes], "bytes | None"]

MOST_BYTES = 64 << 20  # of all files of one call together; a line of a million objects is smaller
MOST_FILES = 1999  # libiberty's expandargv gives up at the 2000th

SPACES_C = b" \t\n\r\v\f"
SPACES_LLVM = b" \t\n\r"


class Rules:
    """How one dialect reads a response file.

    spaces: what separates words; keep_empty: `""` is a word; posix: quotes and backslashes as in a shell, otherwise a backslash escapes
    everything everywhere; glued: quotes may stand inside a word; depth: how deeply files may nest.
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
    # libiberty buildargv until 2024-07 (GCC 14, binutils 2.42) and since; it bounds no depth, 400 keeps our stack safe.
    "gnu-old": Rules(),
    "gnu-new": Rules(posix=True),
    # llvm::cl::TokenizeGNUCommandLine; a file that is being read is not read again.
    "llvm": Rules(SPACES_LLVM, keep_empty=False),
    "llvm-windows": Rules(SPACES_LLVM + b"\0"),
    # mold's cmdline.cc: 3.0; 1.10 ends a quoted word at its quote, knows no quotes inside words, and does not look for files in files.
    "mold": Rules(depth=10),
    "mold-old": Rules(glued=False, depth=1),
}


def expand(args: Sequence[bytes], dialect: str, read: Read) -> Words:
    """Return args with every response file replaced by its words.

    dialect: a key of RULES; read: returns a file's bytes, or None when it is not to be had.
    """
    expansion = _Expansion(dialect, read)
    for index, arg in enumerate(args):
        expansion.add(arg, index)
    return Words(expansion.text, expansion.at, len(args))


class _Expansion:
    """One unfolding under way: the words so far, and what is left of the bounds."""

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

    def add(self, word: bytes, at: int) -> None:
        """Add one word, or the words of the file it names."""
        inner = self.words_of(word[1:]) if word.startswith(b"@") else None
        if inner is None:
            self.text.append(word)
            self.at.append(at)
            return
        self.open.append(word[1:])
        for inner_word in inner:
            self.add(inner_word, IN_FILE)
        self.open.pop()

    def words_of(self, path: bytes) -> list[bytes] | None:
        """Return the words in a file, None when it is not to be read (again)."""
        if self.files_left <= 0 or len(self.open) >= self.rules.depth:
            return None
        if self.dialect.startswith("llvm") and path in self.open:
            return None
        data = self.read(path)
        if data is None or len(data) > self.bytes_left:
            return None
        self.files_left -= 1
        self.bytes_left -= len(data)
        return words(data, self.dialect)


def words(data: bytes, dialect: str) -> list[bytes]:
    """Split a file's text into words. data: the whole file."""
    rules = RULES[dialect]
    if rules.spaces is not SPACES_C:
        data = _without_bom(data)
        if dialect == "llvm-windows":
            return _windows_words(data)
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
    """Drop LLVM's byte order marks; a file in UTF-16 becomes UTF-8, and stays as it is when it is none."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16").encode()
        except UnicodeError:
            return data
    return data[3:] if data.startswith(b"\xef\xbb\xbf") else data


class _Tokenizer:
    """Split text with quotes: plain runs as a whole, the bytes that mean something one by one."""

    __slots__ = ("out", "rules", "started", "word")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.out: list[bytes] = []
        self.word: list[bytes] = []  # pieces of the word being read
        self.started = False  # a word has begun, though it may be empty

    def run(self, data: bytes) -> list[bytes]:
        """Return the words of data."""
        one_space = bytes.maketrans(self.rules.spaces, b" " * len(self.rules.spaces))
        if self.rules.glued and b"\\" not in data and (b"'" in data) != (b'"' in data):
            return self.between_quotes(data.split(b"'" if b"'" in data else b'"'), one_space)
        # Where the next of each special byte stands: a find starts over only when its byte was consumed.
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
        """Return the words of text that one kind of quote has split: every second part stood inside quotes."""
        for index, part in enumerate(parts):
            if index & 1:
                self.word.append(part)
                self.started = True
            elif part in (b"\n", b" "):
                self.flush()
            elif part:
                self.plain(part.translate(one_space))
        self.flush()
        return self.out

    def plain(self, text: bytes) -> None:
        """Take a run without quotes and backslashes, every separator in it a blank."""
        pieces = text.split(b" ")
        if pieces[0]:
            self.append(pieces[0])
        if len(pieces) > 1:
            self.flush()
            self.out.extend(filter(None, pieces[1:-1]))
            if pieces[-1]:
                self.append(pieces[-1])

    def append(self, piece: bytes) -> None:
        """Add a piece to the word being read."""
        self.word.append(piece)
        self.started = True

    def flush(self) -> None:
        """End the word being read, if there is one."""
        if self.started:
            word = b"".join(self.word)
            if word or self.rules.keep_empty:
                self.out.append(word)
            self.word, self.started = [], False

    def special(self, data: bytes, at: int) -> int:
        """Take the quote or backslash at `at`; return where reading goes on."""
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
        """Take the byte behind a backslash, b"" at the end of the file."""
        self.started = True
        if not byte:
            byte = b"" if self.rules.keep_empty else b"\\"  # libiberty forgets a last backslash, LLVM keeps it
        if not (self.rules.posix and byte == b"\n"):
            self.append(byte)

    def quoted(self, data: bytes, at: int, mark: bytes) -> int:
        """Take what stands between quotes, up to and with the closing one; an open quote ends with the file."""
        end = len(data)
        literal = self.rules.posix and mark == b"'"
        while True:
            close = data.find(mark, at)
            close = close if close >= 0 else end
            slash = -1 if literal else data.find(b"\\", at, close)
            if slash < 0:
                self.word.append(data[at:close])
                return close + 1
            self.word.append(data[at:slash])
            byte = data[slash + 1 : slash + 2]
            if self.rules.posix and byte not in (b"$", b"`", b'"', b"\\", b"\n", b""):
                self.word.append(b"\\")
                at = slash + 1
            else:
                self.escaped(byte)
                at = slash + 2


def _windows_words(data: bytes) -> list[bytes]:
    """Split as llvm::cl::TokenizeWindowsCommandLine: backslashes mean something only in front of a double quote."""
    out: list[bytes] = []
    word = bytearray()
    at, end = 0, len(data)
    started = in_quotes = False
    while at < end:
        byte = data[at : at + 1]
        if byte == b"\\":
            run = len(data) - at - len(data[at:].lstrip(b"\\"))
            at += run
            quote_follows = data[at : at + 1] == b'"'
            word += b"\\" * (run // 2 if quote_follows else run)
            if quote_follows and run % 2:
                word += b'"'
                at += 1
            started = True
            continue
        at += 1
        if byte == b'"':
            if in_quotes and data[at : at + 1] == b'"':
                word += b'"'
                at += 1
            else:
                in_quotes = not in_quotes
            started = True
        elif byte in b" \t\r\n\0" and not in_quotes:
            if started:
                out.append(bytes(word))
            word, started = bytearray(), False
        else:
            word += byte
            started = True
    if started:
        out.append(bytes(word))
    return out
