"""Turn a linker's parsed arguments into Facts, for every linker with GNU ld's syntax.

These linkers share options such as `--whole-archive`, `-Bstatic`, `--push-state` and `-l`. A driver forwards them in `-Wl,` and `-Xlinker`.
How an input is linked depends on all options before it. So one reader holds that state. The families differ only in their tables, whose
rows name the meanings in ACTIONS.
"""

from __future__ import annotations

from ..call.banner import PE_EMULATIONS
from .argv import Facts, Input, Match, Option, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .argv import Arguments, Operand, Table


class LinkerState:
    """The state while one linker's command line is read. facts: the result, which the caller owns."""

    __slots__ = ("always_static", "facts", "in_lib", "saved", "static", "whole")

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.whole = False
        self.static = False
        self.always_static = False  # a driver's -static, which holds for every input, wherever it is written
        self.in_lib = False
        self.saved: list[tuple[bool, bool]] = []

    def take(self, item: Match | Operand) -> None:
        """Read the next option or input."""
        if isinstance(item, Match):
            action = ACTIONS.get(item.row.meaning)
            if action is not None:
                action(self, item)
        else:
            self.add_input(item.text, library=False)

    def add_input(self, name: bytes, library: bool) -> None:
        """Add an input with the flags in force. An object between --start-lib and --end-lib is linked only if needed, like a member."""
        self.facts.inputs.append(Input(name, library, self.whole and not self.in_lib, self.static or self.always_static))


def facts(arguments: Arguments, table: Table, dashdash_ends: bool = False) -> Facts:
    """Read a linker's own command line."""
    walked = walk(arguments, table, dashdash_ends)
    out = Facts()
    state = LinkerState(out)
    for item in walked.items:
        state.take(item)
    out.pending = walked.pending
    out.add_at = walked.add_at
    if out.links and not out.inputs:
        out.links, out.why_not = False, "no input files"
    return out


def _library(state: LinkerState, found: Match) -> None:
    state.add_input(found.value or b"", library=True)


def _directory(state: LinkerState, found: Match) -> None:
    state.facts.library_dirs.append(found.value or b"")


def _push(state: LinkerState, _: Match) -> None:
    state.saved.append((state.whole, state.static))


def _pop(state: LinkerState, _: Match) -> None:
    if state.saved:
        state.whole, state.static = state.saved.pop()


def _plugin_option(state: LinkerState, found: Match) -> None:
    """Read `-plugin-opt=X` and `-plugin-opt X`; lld and LLVMgold read the same X."""
    option = found.option()
    text = option.value or b""
    if text.startswith(b"jobs="):
        spelling = option.spelling if not option.spelling.endswith(b"=") else option.spelling + b"jobs="
        state.facts.jobs.append(Option(text[5:], option.at, spelling))
    elif text.startswith(b"lto-partitions="):
        state.facts.partitions = count(text[15:])
    elif text == b"thinlto-index-only" or text.startswith(b"thinlto-index-only="):
        state.facts.index_only = True
    elif text == b"emit-llvm":
        state.facts.no_codegen = True


def count(value: bytes) -> int:
    """Read a number of partitions as LLVM does: decimal digits; 0 for a value that the tool rejects."""
    return int(value[:9]) if value.isdigit() else 0


def _partitions(state: LinkerState, found: Match) -> None:
    state.facts.partitions = count(found.value or b"")


def _compress(state: LinkerState, found: Match) -> None:
    state.facts.compresses = found.value != b"none"


def _no_threads(state: LinkerState, found: Match) -> None:
    option = found.option()
    option.value = b"1"
    state.facts.threads.append(option)


def _probe(state: LinkerState, found: Match) -> None:
    state.facts.links, state.facts.why_not = False, f"{found.spelling.decode('ascii', 'replace')} prints and exits"


def _run(state: LinkerState, found: Match) -> None:
    state.facts.links, state.facts.why_not = False, f"{found.spelling.decode('ascii', 'replace')} runs a command, which may call the linker"


def _emulation(state: LinkerState, found: Match) -> None:
    if found.value in PE_EMULATIONS:
        state.facts.links, state.facts.why_not = False, f"-m {found.value.decode()}: lld links for MinGW, with other options"


def _flag(name: str, value: bool) -> Callable[[LinkerState, Match], None]:
    """Return an action that sets one flag of the state."""

    def action(state: LinkerState, _: Match) -> None:
        setattr(state, name, value)

    return action


def _fact(name: str, value: object) -> Callable[[LinkerState, Match], None]:
    """Return an action that sets one fact."""

    def action(state: LinkerState, _: Match) -> None:
        setattr(state.facts, name, value)

    return action


def _value(name: str) -> Callable[[LinkerState, Match], None]:
    """Return an action that stores the last value."""

    def action(state: LinkerState, found: Match) -> None:
        setattr(state.facts, name, found.value or b"")

    return action


def _collect(name: str) -> Callable[[LinkerState, Match], None]:
    """Return an action that appends each option, in order."""

    def action(state: LinkerState, found: Match) -> None:
        getattr(state.facts, name).append(found.option())

    return action


ACTIONS: dict[str, Callable[[LinkerState, Match], None]] = {
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
