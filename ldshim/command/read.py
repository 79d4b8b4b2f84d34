"""Read one command line as its tool will: the right table, the right quoting, files read without harm.

The tables and parsers under `command` are pure; this is the hand that feeds them. It reads a response file only when reading it twice is
possible: `@/dev/fd/63` is a pipe, and what we took out of it the tool would miss.
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
    words = argv.Words.plain(args)
    if any(word.startswith(b"@") for word in args):
        from . import rspfile  # noqa: PLC0415

        words = rspfile.expand(args, rsp_dialect(tool, args), read_regular_file)
    facts = parse(tool.family, words)
    # Positions of additions are the caller's: words out of a response file do not count.
    facts.add_at = min(facts.add_at, len(args))
    return facts


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
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):  # ValueError: a NUL in a name that a response file gave
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
