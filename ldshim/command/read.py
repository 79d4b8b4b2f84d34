"""Read the arguments of one call as its tool reads them: by the family's table, and by its quoting rules for response files.

Everything here is pure. The caller passes the function that reads a response file (inputs/extent.py has one that never opens a file which
can be read only once, such as a pipe).
"""

from __future__ import annotations

from . import argv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..call.banner import Tool
    from .argv import Arguments, Facts


class Command:
    """The meaning of one call's arguments.

    family: of the tool; facts: of its own arguments; collected: of COLLECT_GCC_OPTIONS, for a linker below collect2, whose own arguments
    hold no -flto, None elsewhere; compiler: which IR this link compiles, "gcc", "llvm", or "" for none.
    """

    __slots__ = ("collected", "compiler", "facts", "family")

    def __init__(self, family: str, facts: Facts, collected: Facts | None = None) -> None:
        self.family = family
        self.facts = facts
        self.collected = collected
        self.compiler = _compiler(family, facts, collected)

    @property
    def gcc_facts(self) -> Facts:
        """Return the facts that decide GCC's LTO."""
        return self.collected or self.facts


def _compiler(family: str, facts: Facts, collected: Facts | None) -> str:
    """Return which IR is compiled: lld ignores GCC's IR, and GCC's plugin ignores LLVM's."""
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

    collect_gcc_options: the variable's value for a linker, b"" for a driver; read_file: returns the content of a response file, None for
    one that cannot be read twice; is_read_once: returns whether a file is of that kind. Only the tool may read such a file, and its last
    argument may be an option that lacks its value, so nothing is added to that command line.
    """
    arguments = expanded(tool, args, read_file)
    facts = parse(tool.family, arguments)
    # Additions have a position in the caller's args: arguments from a response file do not count.
    facts.add_at = min(facts.add_at, len(args))
    once = [argument[1:] for argument in arguments.text if argument.startswith(b"@") and is_read_once(argument[1:])]
    if once:
        facts.unread += [name for name in once if name not in facts.unread]
        facts.pending = True
    collected = _collected(collect_gcc_options) if collect_gcc_options else None
    if collected is not None:
        collected.relocatable, collected.unread = facts.relocatable, facts.unread
    return Command(tool.family, facts, collected)


def expanded(tool: Tool, args: list[bytes], read_file: Callable[[bytes], bytes | None]) -> Arguments:
    """Return args with every response file replaced by its arguments; read_file: as for read_command."""
    if not any(argument.startswith(b"@") for argument in args):
        return argv.Arguments.plain(args)
    from . import rspfile  # noqa: PLC0415

    return rspfile.expand(args, rsp_dialect(tool, args), read_file)


def parse(family: str, arguments: Arguments) -> Facts:
    """Read arguments by one family's table; only that family's module is imported."""
    if family == "gcc":
        from . import gcc  # noqa: PLC0415

        return gcc.facts(arguments)
    if family == "clang":
        from . import clang  # noqa: PLC0415

        return clang.facts(arguments)
    if family == "lld":
        from . import lld  # noqa: PLC0415

        return lld.facts(arguments)
    if family == "mold":
        from . import mold  # noqa: PLC0415

        return mold.facts(arguments)
    if family == "wild":
        from . import wild  # noqa: PLC0415

        return wild.facts(arguments)
    from . import gnuld  # noqa: PLC0415

    return gnuld.facts(arguments, gold=family == "gold")


# family, first version with the dialect, dialect. The first row that fits counts, so an unknown version has the newest dialect.
# Seen: toolchain.md 1.11, 3.4, 4. libiberty changed on 2024-07-16, and a snapshot of binutils 2.44 has the version 2.43.50.
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
    """Return the quoting rules of this tool's response files, a key of rspfile.RULES."""
    if tool.family in ("clang", "lld"):
        # It counts only outside response files, and the last one wins (lld/ELF/DriverUtils.cpp getQuotingStyle).
        styles = [argument[14:] for argument in args if argument.startswith(b"--rsp-quoting=")]
        styles += [value for argument, value in zip(args, args[1:]) if argument == b"--rsp-quoting"]
        if styles[-1:] == [b"windows"]:
            return "llvm-windows"
    return next(dialect for family, since, dialect in DIALECTS if family == tool.family and tool.version >= since)


def _collected(value: bytes) -> Facts | None:
    """Read COLLECT_GCC_OPTIONS; None when it is malformed."""
    from . import collect, gcc  # noqa: PLC0415

    options = collect.split(value)
    return None if options is None else gcc.collect_facts(options)
