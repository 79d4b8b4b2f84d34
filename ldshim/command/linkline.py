"""Turn what a walk found on a linker's line into Facts: the part that all GNU-like linkers share.

The problem: the same words steer all of these linkers (`--whole-archive`, `-Bstatic`, `--push-state`, `-l`), a driver forwards them out of
`-Wl,` and `-Xlinker`, and what one of them does to an input depends on all that came before. The consequence: one reader with that
state; the families differ in their tables only, whose rows name the meanings in ACTIONS.
"""

from __future__ import annotations

from ..call.banner import PE_EMULATIONS
from .argv import Facts, Found, Input, Said, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .argv import Operand, Table, Words


class LinkLine:
    """The state of one linker's line while it is read. facts: what is filled in; owner: the caller."""

    __slots__ = ("always_static", "facts", "in_lib", "saved", "static", "whole")

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.whole = False
        self.static = False
        self.always_static = False  # a driver's -static, which stands before every input wherever it was written
        self.in_lib = False
        self.saved: list[tuple[bool, bool]] = []

    def take(self, item: Found | Operand) -> None:
        """Take the next thing on the line."""
        if isinstance(item, Found):
            action = ACTIONS.get(item.row.meaning)
            if action is not None:
                action(self, item)
        else:
            self.add_input(item.text, library=False)

    def add_input(self, name: bytes, library: bool) -> None:
        """Add an input under the flags that are in force; an object between --start-lib and --end-lib is as lazy as an archive's member."""
        self.facts.inputs.append(Input(name, library, self.whole and not self.in_lib, self.static or self.always_static))


def facts(words: Words, table: Table, dashdash_ends: bool = False) -> Facts:
    """Read a linker's own command line."""
    walked = walk(words, table, dashdash_ends)
    out = Facts()
    line = LinkLine(out)
    for item in walked.items:
        line.take(item)
    out.pending = walked.pending
    out.add_at = walked.add_at
    if out.links and not out.inputs:
        out.links, out.why_not = False, "no input files"
    return out


def _library(line: LinkLine, found: Found) -> None:
    line.add_input(found.value or b"", library=True)


def _directory(line: LinkLine, found: Found) -> None:
    line.facts.library_dirs.append(found.value or b"")


def _push(line: LinkLine, _: Found) -> None:
    line.saved.append((line.whole, line.static))


def _pop(line: LinkLine, _: Found) -> None:
    if line.saved:
        line.whole, line.static = line.saved.pop()


def _plugin_option(line: LinkLine, found: Found) -> None:
    """Read `-plugin-opt=X` and `-plugin-opt X`; lld and LLVMgold read the same X."""
    said = found.said()
    option = said.value or b""
    if option.startswith(b"jobs="):
        spelling = said.spelling if not said.spelling.endswith(b"=") else said.spelling + b"jobs="
        line.facts.jobs.append(Said(option[5:], said.at, spelling))
    elif option.startswith(b"lto-partitions="):
        line.facts.partitions = count(option[15:])
    elif option == b"thinlto-index-only" or option.startswith(b"thinlto-index-only="):
        line.facts.index_only = True
    elif option == b"emit-llvm":
        line.facts.no_codegen = True


def count(value: bytes) -> int:
    """Read a number of partitions as LLVM does: decimal digits; 0 for what the tool will refuse."""
    return int(value[:9]) if value.isdigit() else 0


def _partitions(line: LinkLine, found: Found) -> None:
    line.facts.partitions = count(found.value or b"")


def _compress(line: LinkLine, found: Found) -> None:
    line.facts.compresses = found.value != b"none"


def _no_threads(line: LinkLine, found: Found) -> None:
    said = found.said()
    said.value = b"1"
    line.facts.threads.append(said)


def _probe(line: LinkLine, found: Found) -> None:
    line.facts.links, line.facts.why_not = False, f"{found.spelling.decode('ascii', 'replace')} prints and exits"


def _run(line: LinkLine, found: Found) -> None:
    line.facts.links, line.facts.why_not = False, f"{found.spelling.decode('ascii', 'replace')} runs a command, which may call the linker"


def _emulation(line: LinkLine, found: Found) -> None:
    if found.value in PE_EMULATIONS:
        line.facts.links, line.facts.why_not = False, f"-m {found.value.decode()}: lld links for MinGW, with other options"


def _flag(name: str, value: bool) -> Callable[[LinkLine, Found], None]:
    """Make an action that sets one of the line's own flags."""

    def action(line: LinkLine, _: Found) -> None:
        setattr(line, name, value)

    return action


def _fact(name: str, value: object) -> Callable[[LinkLine, Found], None]:
    """Make an action that sets one fact."""

    def action(line: LinkLine, _: Found) -> None:
        setattr(line.facts, name, value)

    return action


def _value(name: str) -> Callable[[LinkLine, Found], None]:
    """Make an action that keeps the last value said."""

    def action(line: LinkLine, found: Found) -> None:
        setattr(line.facts, name, found.value or b"")

    return action


def _collect(name: str) -> Callable[[LinkLine, Found], None]:
    """Make an action that collects everything said, in order."""

    def action(line: LinkLine, found: Found) -> None:
        getattr(line.facts, name).append(found.said())

    return action


ACTIONS: dict[str, Callable[[LinkLine, Found], None]] = {
    "emulation": _emulation,
    "library": _library,
    "directory": _directory,
    "sysroot": _value("sysroot"),
    "relocatable": _fact("relocatable", True),
    "whole": _flag("whole", True),
    "no-whole": _flag("whole", False),
    "static": _flag("static", True),
    "dynamic": _flag("static", False),
    "push": _push,
    "pop": _pop,
    "start-lib": _flag("in_lib", True),
    "end-lib": _flag("in_lib", False),
    "plugin": _collect("plugins"),
    "plugin-opt": _plugin_option,
    "threads": _collect("threads"),
    "no-threads": _no_threads,
    "jobs": _collect("jobs"),
    "partitions": _partitions,
    "compress": _compress,
    "lto": _value("lto_kind"),
    "fat": _fact("fat_lto", True),
    "no-fat": _fact("fat_lto", False),
    "index-only": _fact("index_only", True),
    "distributor": _fact("distributed", True),
    "emit-llvm": _fact("no_codegen", True),
    "probe": _probe,
    "run": _run,
}
