"""Read one command line as its tool will: the right table, the right quoting, files read without harm.

The tables and parsers under `command` are pure; this is the hand that feeds them. It reads a response file only when reading it twice is
possible: `@/dev/fd/63` is a pipe, and what we took out of it the tool would miss. Even to open a FIFO and close it again lets a writer go on
who then has no reader. So a path is looked at before it is opened, and what may stand in such a file nobody knows before the tool does: no
option is added to that line, for the file's last word may wait for a value.
"""

from __future__ import annotations

import os

from . import argv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.environment import Environment
    from ..call.tool_family import Tool
    from .argv import Facts, Words

RESPONSE_FILE_BYTES = 64 << 20


def read_command(tool: Tool, args: list[bytes]) -> Facts:
    """Read the line by the family's table, response files unfolded in the tool's own quoting (C7)."""
    words = unfolded(tool, args)
    facts = parse(tool.family, words)
    # Positions of additions are the caller's: words out of a response file do not count.
    facts.add_at = min(facts.add_at, len(args))
    once = [word[1:] for word in words.text if word.startswith(b"@") and is_read_once(word[1:])]
    if once:
        facts.unread += once
        facts.pending = True
    return facts


def unfolded(tool: Tool, args: list[bytes]) -> Words:
    """Return args with the words of response files in their places; one that cannot be read twice stays as it is."""
    if not any(word.startswith(b"@") for word in args):
        return argv.Words.plain(args)
    from . import rspfile  # noqa: PLC0415

    return rspfile.expand(args, rsp_dialect(tool, args), read_regular_file)


def is_read_once(path: bytes) -> bool:
    """Tell whether path is a pipe, FIFO, socket, terminal or another device: reading it, or opening it, takes something from the tool."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return False
    kind = found.st_mode & 0o170000
    return kind not in (0o100000, 0o040000) and not (kind == 0o020000 and found.st_rdev == os.makedev(1, 3))  # /dev/null


# What a clang driver hands to the linker, or only compares: it opens none of these when it is asked with -### (strace, 14, 16, 19).
_FORWARDED = (b"-Wl,", b"-T", b"-L", b"-l", b"-B", b"-o", b"-Xlinker", b"--output")


def consumed_by_probe(tool: Tool, args: list[bytes], facts: Facts) -> bytes:
    """Return a word by which a clang driver that is asked with -### would read what can be read only once, b"" for none.

    Inputs are no such words: it only asks whether they exist. facts: of these args.
    """
    inputs = {item.name for item in facts.inputs}
    before = b""
    for word in unfolded(tool, args).text:
        if word.startswith(b"@"):
            named = [word[1:]]
        elif before == b"--config" or word.startswith(b"--config="):
            named = _read_with(word.partition(b"=")[2] or word)
        elif word in inputs or word.startswith(_FORWARDED) or before in _FORWARDED:
            named = []
        else:
            named = [word, word[2:], word.partition(b"=")[2]]
        if any(_differs_in_probe(path) for path in named):
            return word
        before = word
    return b""


def _read_with(config: bytes) -> list[bytes]:
    """List what is read with a configuration file of clang's: itself, and what its lines name as @file, from its own directory."""
    from . import rspfile  # noqa: PLC0415

    names = [config]
    for name in names:
        if len(names) < rspfile.MOST_FILES:
            words = rspfile.words(read_regular_file(name) or b"", "llvm")
            names += [os.path.join(os.path.dirname(name), word[1:]) for word in words if word.startswith(b"@")]
    return names


def _differs_in_probe(path: bytes) -> bool:
    """Tell whether path is read once, or is one of the streams, which are /dev/null in a probe."""
    if is_read_once(path):
        return True
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return False
    return found.st_mode & 0o170000 == 0o100000 and any(_is_stream(fd, found) for fd in (0, 1, 2))


def _is_stream(fd: int, found: os.stat_result) -> bool:
    try:
        stream = os.fstat(fd)
    except OSError:
        return False
    return (stream.st_dev, stream.st_ino) == (found.st_dev, found.st_ino)


def parse(family: str, words: Words) -> Facts:
    """Parse words by one family's table; only that family's module is imported."""
    if family == "gcc":
        from . import gcc  # noqa: PLC0415

        return gcc.facts(words)
    if family == "clang":
        from . import clang  # noqa: PLC0415

        return clang.facts(words)
    if family == "lld":
        from . import lld  # noqa: PLC0415

        return lld.facts(words)
    if family == "mold":
        from . import mold  # noqa: PLC0415

        return mold.facts(words)
    if family == "wild":
        from . import wild  # noqa: PLC0415

        return wild.facts(words)
    from . import gnuld  # noqa: PLC0415

    return gnuld.facts(words, gold=family == "gold")


# family, first version that speaks the dialect, dialect; the first row that fits. Seen: toolchain.md 1.11, 3.4, 4.
DIALECTS: tuple[tuple[str, tuple[int, ...], str], ...] = (
    ("gcc", (15,), "gnu-new"),
    ("gcc", (), "gnu-old"),
    ("bfd", (2, 44), "gnu-new"),
    ("gold", (2, 44), "gnu-new"),
    ("bfd", (), "gnu-old"),
    ("gold", (), "gnu-old"),
    ("mold", (2,), "mold"),
    ("mold", (), "mold-old"),
    ("wild", (), "gnu-old"),
    ("clang", (), "llvm"),
    ("lld", (), "llvm"),
)


def rsp_dialect(tool: Tool, args: list[bytes]) -> str:
    """Name the quoting that this tool uses inside response files."""
    if tool.family in ("clang", "lld"):
        # Only seen outside response files, the last one wins (lld/ELF/DriverUtils.cpp getQuotingStyle).
        said = [word[14:] for word in args if word.startswith(b"--rsp-quoting=")]
        said += [value for word, value in zip(args, args[1:]) if word == b"--rsp-quoting"]
        if said[-1:] == [b"windows"]:
            return "llvm-windows"
    return next(dialect for family, since, dialect in DIALECTS if family == tool.family and tool.version >= since)


def read_regular_file(path: bytes) -> bytes | None:
    """Read a response file; None when it is none that can be read twice: a pipe would be empty when the tool comes to it."""
    if is_read_once(path):
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if found.st_mode & 0o170000 != 0o100000 or found.st_size > RESPONSE_FILE_BYTES:
            return None
        parts: list[bytes] = []
        while sum(map(len, parts)) <= RESPONSE_FILE_BYTES:
            part = os.read(fd, 1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
        return None
    except OSError:
        return None
    finally:
        os.close(fd)


def collected_facts(environment: Environment) -> Facts | None:
    """Read COLLECT_GCC_OPTIONS for a linker below collect2: -flto never reaches its argv. None when there is none, or it is malformed."""
    value = environment.get(b"COLLECT_GCC_OPTIONS")
    if not value:
        return None
    from . import collect, gcc  # noqa: PLC0415

    options = collect.split(value)
    return None if options is None else gcc.collect_facts(options)
