"""The words and variables that tell the tool its number: as few as possible, and nothing else is touched.

A number is told in the tool's own spelling, or not at all: --threads=4 is fatal to bfd and gold, --thread-count to lld, -flto=4 to
clang. What is already there is shrunk by what comes later where the tool takes the last word, and replaced in place where it does not
(GCC).
Nothing here changes a byte of the output: no partitions, no -flto where there was none, nothing in a call that also compiles.

Pure: facts and a number in, Edits out. A line that ends in an option waiting for its value gets no additions.
"""

from __future__ import annotations

from .mode import asks_for_jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.environment import Environment
    from ..command.argv import Facts, Said
    from ..command.read import Command
    from .budget import Decision
    from .distributable import Spread


class Edits:
    """Changes to one call.

    words: {index in args: new word}; behind: {index in args: words to insert before it}; variables: {name: new value, or None to drop it}.
    """

    __slots__ = ("behind", "variables", "words")

    def __init__(self) -> None:
        self.words: dict[int, bytes] = {}
        self.behind: dict[int, list[bytes]] = {}
        self.variables: dict[bytes, bytes | None] = {}

    def __bool__(self) -> bool:
        return bool(self.words or self.behind or self.variables)

    def apply(self, args: list[bytes]) -> list[bytes]:
        """Return args with the edits in; everything else keeps its place and its bytes."""
        out: list[bytes] = []
        for index, word in enumerate(args):
            out.extend(self.behind.get(index, ()))
            out.append(self.words.get(index, word))
        out.extend(self.behind.get(len(args), ()))
        return out

    def add(self, facts: Facts, words: list[bytes]) -> None:
        """Append words where additions go, unless the line's last option would swallow them."""
        if not facts.pending:
            self.behind.setdefault(facts.add_at, []).extend(words)


def edits_for(
    command: Command, decision: Decision, number: int, auth: bytes, environment: Environment, variables: dict[bytes, bytes | None]
) -> Edits:
    """Return the edits that pass a number to the tool.

    auth: the private jobserver's `R,W`, b"" where there is none; environment: of the call; variables: of ours, for the tool.
    """
    edits, facts, thin, linker = Edits(), command.facts, decision.lto == "thin", decision.linker
    edits.variables.update(variables)
    asked = decision.mode.asked if decision.mode is not None else 0
    if decision.lto == "full" and 0 < asked <= number:
        return edits  # the linker's own threads are few enough, and no number bounds the others
    number = min(number, asked or number)  # threads that no number bounds may be more than was asked for (C9)
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


MAKE = b"_LDSHIM_MAKE"  # what $MAKE was, for what is not lto-wrapper's makefile (backends/gcc.py)
_SPECIAL = b" \t\n\v\f\r'\"\\"


def run_for_make(edits: Edits, spread: Spread, environment: Environment) -> None:
    """Have lto-wrapper run us for make. It splits $MAKE as libiberty's buildargv does: a backslash makes any byte plain.

    First it asks whether there is a make, by the first word and --version alone: the interpreter answers that without starting.
    """
    own = [_escaped(word) for word in (*spread.python, spread.place + b"/make.py")]
    make = environment.get(b"MAKE")
    if own[-1] not in make:  # else it is ours already, out of a link that is over
        edits.variables[MAKE] = make or None
        edits.variables[b"MAKE"] = b" ".join(own)


def _escaped(word: bytes) -> bytes:
    return b"".join(b"\\%c" % byte if byte in _SPECIAL else b"%c" % byte for byte in word)


def hand_out(edits: Edits, facts: Facts, spread: Spread, *, driver: bool) -> None:
    """Have lld hand its ThinLTO backends out to us; neither it nor a driver passes a word through a shell."""
    option = b"--thinlto-distributor"
    words = [
        b"%b=%b" % (option, spread.python[0]),
        *(b"%b-arg=%b" % (option, word) for word in (*spread.python[1:], spread.place + b"/distributor.py")),
        b"--thinlto-remote-compiler=" + spread.compiler,
        *(b"--thinlto-remote-compiler-arg=" + word for word in spread.mends),
    ]
    edits.add(facts, [each for word in words for each in ((b"-Xlinker", word) if driver else (word,))])


def for_gcc(edits: Edits, facts: Facts, number: int) -> None:
    """Replace what asks for parallel LTRANS on a GCC driver's command line by the number.

    A call that also compiles keeps its words: they are recorded in the object it makes on the way. The private jobserver holds the number.
    """
    if facts.sources:
        return
    for said in facts.flto:
        if said.at >= 0 and asks_for_jobs(said):
            edits.words[said.at] = b"-flto=%d" % number


def for_collected(edits: Edits, facts: Facts, number: int, collect_gcc_options: bytes) -> None:
    """Do the same inside COLLECT_GCC_OPTIONS, for a linker below collect2; its quoting stays to the byte. facts: of those options."""
    replacements = [(said.at, b"-flto=%d" % number) for said in facts.flto if asks_for_jobs(said)]
    if replacements:
        from ..command import collect  # noqa: PLC0415  only a linker below collect2 gets here

        edits.variables[b"COLLECT_GCC_OPTIONS"] = collect.replace(collect_gcc_options, replacements)


def show_private(edits: Edits, auth: bytes, number: int, environment: Environment) -> None:
    """Name the private jobserver in every variable that might name another.

    MAKEFLAGS holds nothing else: an inherited -l or --eval would break the number or the link (bare GCC empties it for its make, too).
    """
    words = b"-j%d --jobserver-auth=%s" % (number, auth)
    edits.variables[b"MAKEFLAGS"] = b" " + words
    for name in (b"MFLAGS", b"CARGO_MAKEFLAGS"):
        if name in environment:
            edits.variables[name] = words


def for_linker(edits: Edits, facts: Facts, number: int, family: str, thin: bool) -> None:
    """Tell a linker that is called directly. thin: it will run ThinLTO backends; otherwise only its own threads are bounded."""
    if family == "lld":
        # --thinlto-jobs wins over --threads in any order, so an earlier one must be beaten too (lld/ELF/Driver.cpp).
        edits.add(facts, [b"--threads=%d" % number, *([b"--thinlto-jobs=%d" % number] if thin or facts.jobs else [])])
    elif family in ("mold", "wild"):
        edits.add(facts, [b"--threads=%d" % number])
    elif family == "gold" and facts.threads:
        # A pass with a count of its own does not obey --thread-count (gold/options.cc, finalize).
        names = dict.fromkeys([b"thread-count", *(said.spelling.strip(b"-=") for said in facts.threads if b"-count" in said.spelling)])
        edits.add(facts, [b"--%b=%d" % (name, number) for name in names])
    if thin and family in ("bfd", "gold", "mold"):
        _tell_plugin(edits, facts, number)


def _tell_plugin(edits: Edits, facts: Facts, number: int) -> None:
    """Put jobs=N right behind LLVM's own plugin: it belongs to the -plugin before it, and liblto_plugin would take it for a file.

    A number that is there already comes later, and the plugin takes the last word, so it is replaced where it stands.
    """
    for said in facts.jobs:
        if said.at < 0:
            # Out of a response file: only a later word beats it, and only a single plugin makes sure whose word that is.
            edits.add(facts, [b"-plugin-opt=jobs=%d" % number] if len(facts.plugins) == 1 else [])
            return
    if facts.jobs:
        for said in facts.jobs:
            _replace_value(edits, said, number)
        return
    for plugin in facts.plugins:
        if plugin.at >= 0 and (plugin.value or b"").rpartition(b"/")[2].startswith(b"LLVMgold"):
            separate = plugin.spelling in (b"-plugin", b"--plugin")
            edits.behind.setdefault(plugin.at + (2 if separate else 1), []).append(b"-plugin-opt=jobs=%d" % number)


def _replace_value(edits: Edits, said: Said, number: int) -> None:
    """Replace an explicit number by ours, joined (`--thinlto-jobs=8`) or in the next word (`-plugin-opt jobs=8`)."""
    if said.spelling.endswith(b"="):
        edits.words[said.at] = said.spelling + b"%d" % number
    else:
        edits.words[said.at + 1] = (b"jobs=%d" if said.spelling.endswith(b"plugin-opt") else b"%d") % number


def for_driver(edits: Edits, facts: Facts, number: int, thin: bool, linker: str, clang: bool = True) -> None:
    """Tell a clang driver, or gcc -fuse-ld=lld, which knows no -flto-jobs. linker: the linker's family, "" when that is not certain."""
    jobs_by_driver = clang and bool(facts.flto)
    words = [b"-flto-jobs=%d" % number] if thin and jobs_by_driver else []
    if linker in ("lld", "mold"):
        words.append(b"-Wl,--threads=%d" % number)
        if linker == "lld" and thin and (facts.jobs or not jobs_by_driver):
            words.append(b"-Wl,--thinlto-jobs=%d" % number)
    if thin and linker in ("bfd", "gold", "mold") and any(not said.spelling.startswith(b"-flto") for said in facts.jobs):
        # clang puts its own -flto-jobs first, so a forwarded number behind it would win; the plugin is clang's own, the only one.
        words.append(b"-Wl,-plugin-opt=jobs=%d" % number)
    if words and not facts.sources:
        edits.add(facts, words)
