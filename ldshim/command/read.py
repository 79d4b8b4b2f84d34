"""Read the arguments of one call as its tool will: the right table, the right quoting.

Everything here is pure: a response file's content comes through a function that the caller hands in (inputs/extent.py has one that reads
nothing that can be read only once).
"""

from __future__ import annotations

from . import argv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..call.banner import Tool
    from .argv import Facts, Words


class Command:
    """What the arguments of one call say.

    family: of the tool that reads them; facts: of its own arguments; collected: of COLLECT_GCC_OPTIONS, for a linker below collect2, whose
    own arguments say nothing of -flto, None elsewhere; compiler: whose IR this link compiles, "gcc", "llvm", or "" where nobody would.
    """

    __slots__ = ("collected", "compiler", "facts", "family")

    def __init__(self, family: str, facts: Facts, collected: Facts | None = None) -> None:
        self.family = family
        self.facts = facts
        self.collected = collected
        self.compiler = _compiler(family, facts, collected)

    @property
    def gcc_facts(self) -> Facts:
        """Return the facts that GCC's LTO goes by."""
        return self.collected or self.facts


def _compiler(family: str, facts: Facts, collected: Facts | None) -> str:
    """Name the plugin that compiles: GCC's IR is inert under lld, and LLVM's under GCC's plugin."""
    if family == "gcc" and facts.fuse_ld != b"lld":
        return "gcc"
    if family in ("gcc", "clang", "lld") or facts.loads(b"LLVMgold"):
        return "llvm"
    return "gcc" if collected is not None and facts.loads(b"liblto_plugin") else ""


def read_command(
    tool: Tool, args: list[bytes], collect_gcc_options: bytes,
    read_file: Callable[[bytes], bytes | None], is_read_once: Callable[[bytes], bool] = lambda _: False,
) -> Command:  # fmt: skip
    """Read the arguments by the family's table, response files expanded in the tool's own quoting (C7).

    collect_gcc_options: the variable's value for a linker, b"" for a driver; read_file: returns a response file's content, None for one
    that cannot be read twice; is_read_once: tells which is of that kind. Nobody but the tool knows what stands in such a file, and its last
    argument may be an option that waits for its value, so nothing is added to that line.
    """
    words = expanded(tool, args, read_file)
    facts = parse(tool.family, words)
    # Positions of additions are the caller's: arguments out of a response file do not count.
    facts.add_at = min(facts.add_at, len(args))
    once = [word[1:] for word in words.text if word.startswith(b"@") and is_read_once(word[1:])]
    if once:
        facts.unread += [name for name in once if name not in facts.unread]
        facts.pending = True
    collected = _collected(collect_gcc_options) if collect_gcc_options else None
    if collected is not None:
        collected.relocatable, collected.unread = facts.relocatable, facts.unread
    return Command(tool.family, facts, collected)


def expanded(tool: Tool, args: list[bytes], read_file: Callable[[bytes], bytes | None]) -> Words:
    """Return args with the words of response files in their places; read_file: as for read_command."""
    if not any(word.startswith(b"@") for word in args):
        return argv.Words.plain(args)
    from . import rspfile  # noqa: PLC0415

    return rspfile.expand(args, rsp_dialect(tool, args), read_file)


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


# family, first version that speaks the dialect, dialect; the first row that fits, so an unknown version speaks the newest.
# Seen: toolchain.md 1.11, 3.4, 4; libiberty changed on 2024-07-16, and a snapshot of binutils 2.44 calls itself 2.43.50.
DIALECTS: tuple[tuple[str, tuple[int, ...], str], ...] = (
    ("gcc", (15,), "gnu-new"),
    ("gcc", (), "gnu-old"),
    ("bfd", (2, 43, 50), "gnu-new"),
    ("gold", (2, 43, 50), "gnu-new"),
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


def _collected(value: bytes) -> Facts | None:
    """Read COLLECT_GCC_OPTIONS; None when it is malformed."""
    from . import collect, gcc  # noqa: PLC0415

    options = collect.split(value)
    return None if options is None else gcc.collect_facts(options)
