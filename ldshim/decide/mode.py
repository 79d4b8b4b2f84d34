"""Decide from the arguments and the inputs whether this is an LTO link, of which kind, and how many jobs it can use at most.

A search for -flto is not enough. It may be missing: lld has no such option, collect2 removes it, and GCC follows the options that the
objects record. It may be there in a link where nothing runs in parallel: `-r` with only IR, -flto-partition=none, index-only links. And
linkers treat the same input differently: lld ignores GCC's IR.

Pure: facts in, a Mode out. Every Mode carries the reason, which is logged, explained and tested.
"""

from __future__ import annotations

from ..inputs import findings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..command.argv import Facts, Option
    from ..command.read import Command
    from ..inputs.findings import Findings


class Mode:
    """The kind of a link.

    lto: none, gcc, thin, full, index-only or distributed, as in the log; demand: the jobs that it can use at most, at least 1; asked: the
    number that the caller or the objects ask for, 0 for no ceiling; serial: only one job is asked for (GCC's bare -flto, -flto=1), and GCC
    runs more only where a jobserver is visible; unbound: threads that no option limits, 0 for none; reason: one clause.
    """

    __slots__ = ("asked", "demand", "lto", "reason", "serial", "unbound")

    def __init__(self, lto: str, demand: int, reason: str, asked: int = 0, serial: bool = False, unbound: int = 0) -> None:
        self.lto = lto
        self.demand = demand
        self.reason = reason
        self.asked = asked
        self.serial = serial
        self.unbound = unbound

    def useful(self) -> int:
        """Return how many threads it can use within the number that was asked for."""
        return max(min(self.demand, self.asked or self.demand), self.unbound)


def reads_inputs(command: Command) -> bool:
    """Return whether the inputs can change the mode of this link."""
    if command.compiler == "gcc":
        return not gcc_ignores_inputs(command.gcc_facts)
    return command.compiler == "llvm" and stand_aside(command.facts) is None


def depends_on_linker(command: Command, found: Findings) -> bool:
    """Return whether the driver's linker must be known: it compiles LLVM's IR, or its own threads are to be bounded."""
    if command.compiler != "llvm" or command.family not in ("gcc", "clang") or command.facts.sources:
        return False
    return bool(command.facts.fuse_ld or command.facts.ld_path) or for_llvm(command.facts, found).lto != "none"


def decide(command: Command, found: Findings, linker: str, major: int) -> Mode:
    """Return the mode of a link.

    linker: family of the driver's linker, "" where it is not certain; major: of a GCC driver (banner.Tool).
    """
    facts = command.facts
    if command.compiler == "gcc":
        return for_gcc(command.gcc_facts, found, gcc_major(found, major))
    if command.compiler != "llvm":
        return without_plugin(facts)
    decided = for_llvm(facts, found)
    if command.family in ("gcc", "clang"):
        if facts.sources:
            return Mode(decided.lto, 1, "the call also compiles: its arguments may be recorded, so they are not changed")
        if decided.lto == "thin" and not linker and not (facts.flto and command.family == "clang"):
            return Mode(decided.lto, 1, "ThinLTO modules, but the driver's linker is not certain")
        if decided.lto == "full" and decided.unbound and not linker:
            return Mode(decided.lto, 1, "full LTO in partitions, but the driver's linker is not certain")
    return decided


def for_gcc(facts: Facts, found: Findings, major: int) -> Mode:
    """Decide for a GCC driver, or for a linker that runs GCC's plugin. major: of the GCC that compiles (gcc_major)."""
    objects = found.gcc_slim + found.gcc_fat
    if facts.no_lto:
        return Mode("none", 1, "-fno-lto is in force: the link has no LTO plugin")
    if not facts.linker_plugin:
        return Mode("none", 1, "-fno-use-linker-plugin: collect2 runs LTO without the plugin, and nothing is changed")
    if not objects and not (facts.flto and (facts.sources or facts.unread)) and found.complete:
        return Mode("none", 1, "no input holds GCC IR")
    if facts.partition in (b"none", b"one"):
        return Mode("gcc", 1, f"-flto-partition={facts.partition.decode()}: one partition")
    if _stays_ir(facts, found):
        return Mode("gcc", 1, "-r with only IR outputs IR: nothing is compiled")
    asked, serial, origin = gcc_asked(facts, found)
    demand = _gcc_partitions(facts, found, major)
    foreign = found.thin + found.full
    count = f"{objects}" if _saw_all(facts, found) else f"{objects} or more"
    beside = f" (GCC's plugin ignores {foreign} modules of LLVM bitcode)" if foreign else ""
    return Mode("gcc", demand, f"{count} objects with GCC IR{beside}, at most {demand} partitions; {origin}", asked, serial)


def without_make() -> Mode:
    """Decide for a GCC link whose lto-wrapper can run neither `$MAKE` nor make."""
    return Mode("gcc", 1, "lto-wrapper has no make to run: partitions are compiled one by one")


def _saw_all(facts: Facts, found: Findings) -> bool:
    return found.complete and not facts.unread


def _stays_ir(facts: Facts, found: Findings) -> bool:
    """Return whether GCC outputs IR: the output is relocatable and the plugin claims every input (lto-plugin.c), or -flinker-output=rel."""
    if facts.linker_output:
        return facts.linker_output == b"rel"
    claimed_all = not (found.native or found.other or found.shared) and _saw_all(facts, found)
    return facts.relocatable and claimed_all and not facts.sources


def gcc_asked(facts: Facts, found: Findings) -> tuple[int, bool, str]:
    """Return (ceiling or 0, serial by request, origin) by the table in design §4.

    The last -flto=X of the arguments decides. Without one, the options that the objects record decide: auto and jobserver override numbers,
    and the largest number overrides the others (gcc/lto-wrapper.cc merge_and_complain).
    """
    given = [flto.value for flto in facts.flto if flto.value is not None]
    if given:
        return (*flto_value(given[-1]), f"the command line has -flto={given[-1].decode('ascii', 'replace')}")
    recorded = [option[6:] for option in found.recorded if option.startswith(b"-flto=")]
    values = [flto_value(value) for value in recorded]
    if any(ceiling == 0 and not serial for ceiling, serial in values):
        return 0, False, "the objects record -flto=auto or jobserver"
    numbers = [ceiling for ceiling, serial in values if not serial]
    if numbers:
        return max(numbers), False, f"the objects record -flto={max(numbers)}"
    return 0, True, "no option asks for more than one job"


def asks_for_jobs(option: Option) -> bool:
    """Return whether a -flto=X asks for more than one job."""
    return not flto_value(option.value or b"")[1]


def flto_value(value: bytes) -> tuple[int, bool]:
    """Return (ceiling or 0, serial) as lto-wrapper reads X: atoi, so that 08 is 8, 3x is 3, and anything else is serial."""
    if value in (b"auto", b"jobserver"):
        return 0, False
    digits = value[: len(value) - len(value.lstrip(b"0123456789"))]
    number = int(digits[:9]) if digits else 0
    return (number, False) if number > 1 else (0, True)


def gcc_major(found: Findings, major: int) -> int:
    """Return the major of the GCC that compiles. major: of the driver by its banner (banner.Tool.gcc_major).

    The objects say it exactly: GCC refuses the IR of another major (gcc/lto-streamer-in.cc).
    """
    return found.gcc_major or major


def _gcc_partitions(facts: Facts, found: Findings, major: int) -> int:
    """Bound the number of LTRANS jobs from above, by the IR's size where that is known (findings.gcc_partitions has the measurements).

    An underestimate would slow the link down, an overestimate costs nothing: make starts no more jobs than there are partitions.
    """
    objects = found.gcc_slim + found.gcc_fat
    most = facts.params.get(b"lto-partitions", 0)
    if not _balanced(facts) or facts.sources:
        # A source that this call compiles adds IR of unknown size.
        return max(2, objects, most or findings.default_partitions(major))
    if not _saw_all(facts, found):
        return most or findings.default_partitions(major)
    return findings.gcc_partitions(found.gcc_bytes, major, most, facts.params.get(b"lto-min-partition", 0))


def _balanced(facts: Facts) -> bool:
    """Return whether the size of the IR bounds the partitions; 1to1 and max make one for each object, and `cache` (GCC 15) joins those."""
    return facts.partition in (b"", b"balanced")


def gcc_ignores_inputs(facts: Facts) -> bool:
    """Return whether the result of for_gcc does not depend on the inputs."""
    return facts.no_lto or not facts.linker_plugin


def enough_for_gcc(facts: Facts, major: int) -> tuple[int, bool]:
    """Return when the scan may end early: after how many bytes of IR, 0 for never, and whether the arguments settle the requested number.

    major: of the driver. Once the IR fills all possible partitions, more objects do not matter. The scan must not end early where the
    inputs decide more than that: whether `-r` outputs IR, and the number of partitions where each object is one.
    """
    if (facts.relocatable and not facts.linker_output) or not _balanced(facts) or facts.sources:
        return 0, False
    partitions = facts.params.get(b"lto-partitions", 0) or findings.default_partitions(major)
    settled = any(flto.value is not None for flto in facts.flto)
    return findings.enough_for(partitions, facts.params.get(b"lto-min-partition", 0)), settled


def for_llvm(facts: Facts, found: Findings) -> Mode:
    """Decide for lld, and for any linker that runs LLVM's plugin.

    Demand: every ThinLTO module counts as one job, also in archives, although a linker links only the members that are needed. So demand is
    never too low, and too high where only a part of a library is used. Demand, and backends run by lld 16 and 19 (--save-temps):

        lua: objects, archive, thin archive, --whole-archive                33  33
        brotli, encoder and decoder: archive, --whole-archive, --start-lib  30  30
        brotli, decoder alone: archive, thin archive                        30  10

    A --thinlto-cache-dir that holds a module saves its backend, which is not known before the link.
    """
    aside = stand_aside(facts)
    if aside is not None:
        return aside
    thin = found.thin + (found.fat_thin if facts.fat_lto else 0)
    full = found.full + (found.fat_full if facts.fat_lto else 0)
    ruled = ""
    if found.unified and facts.lto_kind in (b"full", b"thin"):
        thin, full = (0, thin + full) if facts.lto_kind == b"full" else (thin + full, 0)
        ruled = f"; --lto={facts.lto_kind.decode()} applies to unified bitcode"
    ruled += _inert(facts, found)
    if facts.no_codegen and (thin or full):
        return Mode("thin" if thin else "full", 1, f"the link stops before code generation{ruled}")
    # Full LTO has a thread for each partition, and partitions change the output: no option limits these threads.
    parts = facts.partitions if full and facts.partitions > 1 else 0
    if thin:
        how = f"by {parts} threads, one for each partition" if parts else "serially"
        mixed = f" and {full} modules of full LTO, which are compiled before, {how}" if full else ""
        count = f"{thin}" if found.complete else f"{thin} or more"
        return Mode("thin", max(thin, parts), f"{count} ThinLTO modules{mixed}{ruled}", explicit(facts), unbound=parts)
    if full:
        how = f"{parts} partitions, with a thread each that no option limits" if parts else "one partition, code generation is serial"
        return Mode("full", parts or 1, f"{full} modules of full LTO: {how}{ruled}", explicit(facts), unbound=parts)
    return Mode("none", 1, f"no input holds LLVM bitcode{ruled}", explicit(facts))


def _inert(facts: Facts, found: Findings) -> str:
    """Describe the IR among the inputs that lld or LLVM's plugin ignores, "" for none."""
    gcc, fat = found.gcc_slim + found.gcc_fat, found.fat_thin + found.fat_full
    out = f"; {gcc} objects with GCC IR are ignored: LLVM does not read it" if gcc else ""
    return out + (f"; {fat} FatLTO objects are linked as native code, without --fat-lto-objects" if fat and not facts.fat_lto else "")


def stand_aside(facts: Facts) -> Mode | None:
    """Return the mode of a link whose backends run elsewhere, which is not changed (C10); None for any other link."""
    if facts.index_only:
        return Mode("index-only", 1, "--thinlto-index-only: the backends run elsewhere")
    if facts.distributed:
        return Mode("distributed", 1, "--thinlto-distributor: the backends run elsewhere")
    return None


def without_plugin(facts: Facts) -> Mode:
    """Decide for a linker without a plugin that compiles IR."""
    return Mode("none", 1, "no plugin that compiles IR", explicit(facts))


def refused(facts: Facts, lld: bool) -> str:
    """Return a clause about the number that clang or lld rejects, "" for none. They check only the last one, so nothing may be added.

    lld: lld reads the arguments in the end; the other linkers accept a bare --threads.
    """
    jobs = facts.jobs[-1] if facts.jobs else None
    if jobs is not None and jobs.value not in (b"", b"all", None) and not _is_number(jobs.value or b""):
        return f"{_show(jobs)}: the tool rejects this number, so nothing is changed"
    threads = facts.threads[-1] if facts.threads and lld else None
    # --threads accepts 0x4 and rejects 08, and --thinlto-jobs gets the same text. Only plain numbers are accepted by both.
    if threads is not None and not (_is_number(threads.value or b"") and (threads.value or b"")[:1] != b"0"):
        return f"{_show(threads)}: the tool rejects this number, so nothing is changed"
    return ""


def _is_number(value: bytes) -> bool:
    return value.isdigit() and len(value) < 10


def _show(option: Option) -> str:
    return (option.spelling + (option.value or b"")).decode("ascii", "backslashreplace")


def explicit(facts: Facts) -> int:
    """Return the explicit number, which is a ceiling (C9); 0 for none, for `all` and for a value that the tool rejects.

    --thinlto-jobs overrides --threads in any order (lld/ELF/Driver.cpp).
    """
    for options in (facts.jobs, facts.threads):
        value = options[-1].value if options else None
        if value is not None and value.isdigit() and int(value[:9]) > 0:
            return int(value[:9])
    return 0
