"""Compute the edits that pass the number to the tool: as few arguments and variables as possible.

A number is passed in the tool's own option, or not at all: --threads=4 is an error in bfd and gold, --thread-count in lld, -flto=4 in
clang. Where the last of several options wins, one with the number is appended. Where it does not (GCC), the option is replaced in place. No
edit changes the output: no number of partitions, no -flto where there was none, nothing in a call that also compiles.

Pure: facts and a number in, Edits out. Nothing is appended to a command line whose last option lacks its value.
"""

from __future__ import annotations

from .mode import asks_for_jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.environment import Environment
    from ..command.argv import Facts, Option
    from ..command.read import Command
    from .budget import Decision
    from .distributable import Spread


class Edits:
    """Changes to one call.

    words: {index in args: the argument that replaces it}; behind: {index in args: arguments to insert before it}; variables: {name: new
    value, None to remove it}.
    """

    __slots__ = ("behind", "variables", "words")

    def __init__(self) -> None:
        self.words: dict[int, bytes] = {}
        self.behind: dict[int, list[bytes]] = {}
        self.variables: dict[bytes, bytes | None] = {}

    def __bool__(self) -> bool:
        return bool(self.words or self.behind or self.variables)

    def apply(self, args: list[bytes]) -> list[bytes]:
        """Return args with the edits; no other argument changes."""
        out: list[bytes] = []
        for index, argument in enumerate(args):
            out.extend(self.behind.get(index, ()))
            out.append(self.words.get(index, argument))
        out.extend(self.behind.get(len(args), ()))
        return out

    def add(self, facts: Facts, arguments: list[bytes]) -> None:
        """Add arguments at facts.add_at, unless the last option would take them as its value."""
        if not facts.pending:
            self.behind.setdefault(facts.add_at, []).extend(arguments)


def edits_for(
    command: Command, decision: Decision, number: int, auth: bytes, environment: Environment, variables: dict[bytes, bytes | None]
) -> Edits:
    """Return the edits that pass a number to the tool.

    auth: the private jobserver's `R,W`, b"" where there is none; environment: of the call; variables: ldshim's own, for the tool.
    """
    edits, facts, thin, linker = Edits(), command.facts, decision.lto == "thin", decision.linker
    edits.variables.update(variables)
    asked = decision.mode.asked if decision.mode is not None else 0
    if decision.lto == "full" and 0 < asked <= number:
        return edits  # the linker's own threads are within the number, and no option limits the others
    number = min(number, asked or number)  # number includes threads that no option limits, so it may be above asked (C9)
    if auth:
        show_private(edits, auth, number, environment)
        if decision.lto != "gcc" and command.family == "clang":
            for_driver(edits, facts, number, thin=False, linker=linker)
        elif decision.lto != "gcc":
            for_linker(edits, facts, number, command.family, thin=False)
        elif command.collected is None:
            for_gcc(edits, facts, number)
        else:
            for_collected(edits, command.collected, number, environment.get(b"COLLECT_GCC_OPTIONS"))
    elif command.family in ("clang", "gcc"):
        for_driver(edits, facts, number, thin, linker, clang=command.family == "clang")
    else:
        for_linker(edits, facts, number, command.family, thin)
    if auth and decision.spread is not None:
        if decision.lto == "gcc":
            run_for_make(edits, decision.spread, environment)
        else:
            hand_out(edits, facts, decision.spread, driver=command.family == "clang")
    return edits


MAKE = b"_LDSHIM_MAKE"  # the value of $MAKE, for makefiles other than lto-wrapper's (backends/gcc.py)
_SPECIAL = b" \t\n\v\f\r'\"\\"


def run_for_make(edits: Edits, spread: Spread, environment: Environment) -> None:
    """Make lto-wrapper run ldshim as its make. It splits $MAKE as libiberty's buildargv does: a backslash escapes any byte.

    It first runs the first word of $MAKE with --version, which the interpreter answers by itself.
    """
    own = [_escaped(word) for word in (*spread.python, spread.place + b"/make.py")]
    make = environment.get(b"MAKE")
    if own[-1] not in make:  # else it is ldshim's already, from an earlier link
        edits.variables[MAKE] = make or None
        edits.variables[b"MAKE"] = b" ".join(own)


def _escaped(word: bytes) -> bytes:
    return b"".join(b"\\%c" % byte if byte in _SPECIAL else b"%c" % byte for byte in word)


def hand_out(edits: Edits, facts: Facts, spread: Spread, *, driver: bool) -> None:
    """Make lld run its ThinLTO backends through ldshim's distributor. Neither lld nor a driver uses a shell for it."""
    option = b"--thinlto-distributor"
    additions = [
        b"%b=%b" % (option, spread.python[0]),
        *(b"%b-arg=%b" % (option, argument) for argument in (*spread.python[1:], spread.place + b"/distributor.py")),
        b"--thinlto-remote-compiler=" + spread.compiler,
        *(b"--thinlto-remote-compiler-arg=" + argument for argument in spread.mends),
    ]
    edits.add(facts, [each for argument in additions for each in ((b"-Xlinker", argument) if driver else (argument,))])


def for_gcc(edits: Edits, facts: Facts, number: int) -> None:
    """Replace the options that ask for parallel LTRANS jobs on a GCC driver's command line by the number.

    Nothing is replaced in a call that also compiles, because its options are recorded in the object. The private jobserver enforces the
    number.
    """
    if facts.sources:
        return
    for option in facts.flto:
        if option.at >= 0 and asks_for_jobs(option):
            edits.words[option.at] = b"-flto=%d" % number


def for_collected(edits: Edits, facts: Facts, number: int, collect_gcc_options: bytes) -> None:
    """Do the same in COLLECT_GCC_OPTIONS, for a linker below collect2. No other byte of it changes. facts: of those options."""
    replacements = [(option.at, b"-flto=%d" % number) for option in facts.flto if asks_for_jobs(option)]
    if replacements:
        from ..command import collect  # noqa: PLC0415  only a linker below collect2 needs it

        edits.variables[b"COLLECT_GCC_OPTIONS"] = collect.replace(collect_gcc_options, replacements)


def show_private(edits: Edits, auth: bytes, number: int, environment: Environment) -> None:
    """Name the private jobserver in every variable that may name another one.

    MAKEFLAGS holds nothing else: an inherited -l or --eval could change the number or fail the link (GCC also empties it for its make).
    """
    flags = b"-j%d --jobserver-auth=%s" % (number, auth)
    edits.variables[b"MAKEFLAGS"] = b" " + flags
    for name in (b"MFLAGS", b"CARGO_MAKEFLAGS"):
        if name in environment:
            edits.variables[name] = flags


def for_linker(edits: Edits, facts: Facts, number: int, family: str, thin: bool) -> None:
    """Pass the number to a linker that is called directly. thin: it runs ThinLTO backends; else the number bounds its own threads."""
    if family == "lld":
        # --thinlto-jobs overrides --threads in any order, so an earlier one must be overridden, too (lld/ELF/Driver.cpp).
        edits.add(facts, [b"--threads=%d" % number, *([b"--thinlto-jobs=%d" % number] if thin or facts.jobs else [])])
    elif family in ("mold", "wild"):
        edits.add(facts, [b"--threads=%d" % number])
    elif family == "gold" and facts.threads:
        # A pass with a count of its own ignores --thread-count (gold/options.cc, finalize).
        counts = [option.spelling.strip(b"-=") for option in facts.threads if b"-count" in option.spelling]
        names = dict.fromkeys([b"thread-count", *counts])
        edits.add(facts, [b"--%b=%d" % (name, number) for name in names])
    if thin and family in ("bfd", "gold", "mold"):
        _for_plugin(edits, facts, number)


def _for_plugin(edits: Edits, facts: Facts, number: int) -> None:
    """Insert jobs=N directly after LLVM's plugin: it applies to the -plugin before it, and liblto_plugin would take it for a file.

    A number that is there already would come after it, and the last one wins, so each number is replaced in place.
    """
    for option in facts.jobs:
        if option.at < 0:
            # It is in a response file, so only a later option overrides it; that applies to the right plugin only where there is one.
            edits.add(facts, [b"-plugin-opt=jobs=%d" % number] if len(facts.plugins) == 1 else [])
            return
    if facts.jobs:
        for option in facts.jobs:
            _replace_value(edits, option, number)
        return
    for plugin in facts.plugins:
        if plugin.at >= 0 and (plugin.value or b"").rpartition(b"/")[2].startswith(b"LLVMgold"):
            separate = plugin.spelling in (b"-plugin", b"--plugin")
            edits.behind.setdefault(plugin.at + (2 if separate else 1), []).append(b"-plugin-opt=jobs=%d" % number)


def _replace_value(edits: Edits, option: Option, number: int) -> None:
    """Replace an explicit number, joined (`--thinlto-jobs=8`) or in the next argument (`-plugin-opt jobs=8`)."""
    if option.spelling.endswith(b"="):
        edits.words[option.at] = option.spelling + b"%d" % number
    else:
        edits.words[option.at + 1] = (b"jobs=%d" if option.spelling.endswith(b"plugin-opt") else b"%d") % number


def for_driver(edits: Edits, facts: Facts, number: int, thin: bool, linker: str, clang: bool = True) -> None:
    """Pass the number to a clang driver, or to gcc -fuse-ld=lld, which has no -flto-jobs. linker: its family, "" where not certain."""
    jobs_by_driver = clang and bool(facts.flto)
    additions = [b"-flto-jobs=%d" % number] if thin and jobs_by_driver else []
    if linker in ("lld", "mold"):
        additions.append(b"-Wl,--threads=%d" % number)
        if linker == "lld" and thin and (facts.jobs or not jobs_by_driver):
            additions.append(b"-Wl,--thinlto-jobs=%d" % number)
    if thin and linker in ("bfd", "gold", "mold") and any(not option.spelling.startswith(b"-flto") for option in facts.jobs):
        # clang passes the number of -flto-jobs first, so a forwarded number would override it. The only plugin is clang's own.
        additions.append(b"-Wl,-plugin-opt=jobs=%d" % number)
    if additions and not facts.sources:
        edits.add(facts, additions)
