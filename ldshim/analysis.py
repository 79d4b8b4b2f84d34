"""Find out what one call is and what it is to get, before anything is taken.

Call -> Command -> Inputs -> Decision: each step is one function from values to a value (design §3). The pure ones are in `command` and
`decide`; what they need from the system (the tool's family, the inputs, the linker behind a driver, who has paid for a number, what
threads there are, how much memory) is asked here, in this order and only as far as the answer can still matter. A link and `ldshim
explain` run the same steps; the one difference is that a link writes down the memory it will use.
"""

from __future__ import annotations

import os

from .call import descriptors, processes, tool_family
from .call.banner import NEWEST, Tool
from .call.real_tool import UnfoundError, is_ldshim, own_stat, program_name, stand_in
from .command import read
from .decide import budget, mode
from .decide.budget import Decision
from .reserve import makeflags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call.environment import Environment, Settings
    from .call.lto_make import Make
    from .call.real_tool import Call
    from .command.read import Command
    from .decide.distributable import Spread
    from .decide.mode import Mode
    from .inputs.findings import Findings
    from .reserve.memory_ledger import Promise
    from .reserve.source import Source

_MAY_SAY_ANYTHING = "a response file that can be read only once may say anything"


class Analysis:
    """One call, understood as far as that was possible.

    tool, command, found, source, promise: None where the answer did not need them; source: whose threads there are, its lease is empty and
    belongs to who reserves; promise: of memory, with the same owner; queued: seconds that the link waited for memory (C25).
    """

    __slots__ = ("command", "decision", "found", "promise", "queued", "source", "tool")

    def __init__(
        self, decision: Decision, tool: Tool | None = None, command: Command | None = None, found: Findings | None = None,
        source: Source | None = None, promise: Promise | None = None, queued: float = 0.0,
    ) -> None:  # fmt: skip
        self.decision = decision
        self.tool = tool
        self.command = command
        self.found = found
        self.source = source
        self.promise = promise
        self.queued = queued

    def decided(self, decision: Decision, source: Source | None = None) -> Analysis:
        """Return the same with a decision, and with whose threads there are."""
        return Analysis(decision, self.tool, self.command, self.found, source, self.promise, self.queued)

    @property
    def family(self) -> str:
        """Return the tool's family, "" when it is not certain."""
        return self.tool.family if self.tool is not None else ""

    @property
    def gcc_major(self) -> int:
        """Return the major of the GCC that compiles."""
        driver = self.tool.gcc_major if self.tool is not None else NEWEST
        return mode.gcc_major(self.found, driver) if self.found is not None else driver


def analyse(call: Call, environment: Environment, settings: Settings, *, promise_memory: bool) -> Analysis:
    """Understand one call. Reads files and runs probes; takes no token. promise_memory: write down what the link will use."""
    refused = untouched()
    if refused:
        return Analysis(Decision(None, refused))
    tool = tool_family.identify(call.real, environment, call.path)
    refused = _not_understood(call, tool)
    if refused:
        return Analysis(Decision(None, refused), tool)
    from .inputs.extent import is_read_once, read_regular  # noqa: PLC0415  a call that is not understood reads nothing

    collected = environment.get(b"COLLECT_GCC_OPTIONS") if call.kind == "linker" else b""
    command = read.read_command(tool, call.args, collected, read_regular, is_read_once)
    if not command.facts.links:
        return Analysis(Decision(None, command.facts.why_not), tool, command)
    found = look_at_inputs(command, tool, environment, settings)
    behind_tool = linker_behind(call, command, tool, environment) if mode.depends_on_linker(command, found) else None
    behind = behind_tool.family if behind_tool is not None else ""
    decided = mode.decide(command, found, behind, tool.gcc_major)
    make = None
    if decided.lto == "gcc" and decided.demand > 1:
        make = find_make(environment, call.path, mode.gcc_major(found, tool.gcc_major))
        decided = decided if make is not None else mode.without_make()
    elif command.facts.pending and command.facts.unread:
        return Analysis(Decision(decided, f"{decided.reason}; {_MAY_SAY_ANYTHING}"), tool, command, found)
    linker = behind or tool.family
    refused = mode.refused(command.facts, linker == "lld") if linker == "lld" or tool.family == "clang" else ""
    stays = _why_the_number_stays(command, linker, decided, settings)
    if refused and not stays:
        return Analysis(Decision(decided, f"{decided.reason}; {refused}"), tool, command, found)
    promise = None if refused else _open_promise(call, command, decided, found, environment, settings)
    queued = _admit(promise, call, settings) if promise_memory else 0.0
    before = Analysis(Decision(decided, decided.reason, linker=behind, make=make), tool, command, found, None, promise, queued)
    if stays:
        _room(before, decided.asked or 1, promise_memory)
        return before.decided(budget.kept(decided, stays, make))
    bounded = budget.bounds(command, linker, decided)
    if bounded == "jobs":
        spread, how = _spread(call, before, behind_tool or tool, make, environment, settings)
        before = before.decided(Decision(decided, how, linker=behind, make=make, spread=spread))
        return _bound_jobs(before, behind_tool or tool, environment, settings, promise_memory)
    if bounded == "threads":
        return before.decided(_bound_threads(command, behind, behind_tool or tool, decided, found, environment, settings))
    return before.decided(Decision(decided, decided.reason))


def _open_promise(
    call: Call, command: Command, decided: Mode, found: Findings, environment: Environment, settings: Settings
) -> Promise | None:
    """Open the ledger for a link that needs memory worth a promise: any LTO link, and a large one in the linker itself."""
    size = 0
    if decided.lto == "none":
        from . import plain_link  # noqa: PLC0415  a launcher has imported it already

        size = _size_of_inputs(command) if call.kind == "linker" else 0
        if size < plain_link.LARGE:
            return None
    from .decide import memory_estimate  # noqa: PLC0415  as above
    from .reserve import memory_ledger  # noqa: PLC0415  as above

    if size:
        need = memory_estimate.of_plain(command.family, size)
    else:
        need = memory_estimate.of_link(decided.lto, found, decided.demand, settings.mem_per_job)
    name = None if settings.mem_per_job and not size else (call.real, os.path.join(processes.current_directory(), _output(call.args)))
    return memory_ledger.promise(environment.get, need, os.getpid(), settings.pressure, name)


def _output(args: list[bytes]) -> bytes:
    """Return the output that a command line names, as far as it does so in the usual way: a name by which the link is found again."""
    found = b"a.out"
    for before, word in zip([b"", *args], args):
        if before == b"-o":
            found = word
        elif word.startswith((b"-o", b"--output=")) and word != b"-o":
            found = word.partition(b"=")[2] if word.startswith(b"--") else word[2:]
    return found


def _size_of_inputs(command: Command) -> int:
    """Sum the sizes of the files that a linker is given: bytes. An archive counts whole; what -l names is not looked for."""
    from .inputs.extent import stat_regular  # noqa: PLC0415  as above

    found = (stat_regular(item.name) for item in command.facts.inputs if not item.library)
    return sum(each.st_size for each in found if each is not None)


def _admit(promise: Promise | None, call: Call, settings: Settings) -> float:
    """Wait until there is memory for the link: seconds."""
    if promise is None or not promise.is_large:
        return 0.0
    from .reserve import admission  # noqa: PLC0415  as above

    def say(text: str) -> None:
        try:
            os.write(2, b"ldshim: %b: %b\n" % (call.name, text.encode()))
        except OSError:
            return

    return admission.admit(promise, settings.wait, say)


def untouched() -> str:
    """Say why nothing can be done for any call in these surroundings, "" where something can."""
    if not processes.is_there():
        return processes.NO_PROC
    return descriptors.SCARCE if descriptors.are_scarce() else ""


def _not_understood(call: Call, tool: Tool) -> str:
    if not tool.family:
        return "the tool's --version names no family that is known"
    return f"{tool.family} under the name of a {call.kind}" if (call.kind == "driver") != (tool.family in ("gcc", "clang")) else ""


def look_at_inputs(command: Command, tool: Tool, environment: Environment, settings: Settings) -> Findings:
    """Scan the inputs as far as they can still decide anything: not at all, until the demand cannot grow or be granted, or whole."""
    if not mode.reads_inputs(command):
        from .inputs.findings import Findings  # noqa: PLC0415

        return Findings()
    from .inputs import scan  # noqa: PLC0415

    enough: int | scan.EnoughOfGcc = 0
    if command.compiler == "gcc":
        enough = scan.EnoughOfGcc(*mode.enough_for_gcc(command.gcc_facts, tool.gcc_major))
    elif tool.family in ("lld", "clang"):
        from .reserve import cpus  # noqa: PLC0415  GCC's IR is counted by its size

        bounds = (settings.max_jobs, makeflags.pool_size(environment), settings.cpus or cpus.affinity())
        # Where full LTO is generated in partitions, a single module of it counts, wherever it stands.
        enough = 0 if command.facts.partitions > 1 else settings.jobs or min(bound for bound in bounds if bound)
    facts = command.facts
    return scan.scan(facts.inputs, facts.library_dirs, facts.sysroot, enough)


def linker_behind(call: Call, command: Command, tool: Tool, environment: Environment) -> Tool | None:
    """Identify the linker that a driver would run, None when it cannot be told (C20)."""
    if command.family == "clang":
        from .inputs import probe  # noqa: PLC0415  only clang is asked with its own arguments

        if probe.consumes(tool, call.args, command.facts):
            return None
        linker = tool_family.linker_behind(call.real, call.args, environment, call.path)
    elif b"mingw" in os.path.basename(os.path.realpath(call.real)):
        return None  # banner.PE_EMULATIONS; gcc's own banner does not tell its target
    else:
        prefixes = [argument for argument in call.args if argument.startswith(b"-B") and len(argument) > 2]
        linker = tool_family.ask(call.real, [*prefixes, b"-print-prog-name=ld." + command.facts.fuse_ld], environment, call.path).strip()
    if not linker.startswith(b"/"):
        return None
    if is_ldshim(linker, own_stat()):
        # A -B directory of ours: that call will find its own real tool, and this one asks the same way.
        try:
            linker = stand_in(program_name(linker), [], environment, met=linker).real
        except UnfoundError:
            return None
    found = tool_family.identify(linker, environment, call.path)
    return found if found.family else None


def find_make(environment: Environment, path: bytes | None = None, major: int = NEWEST) -> Make | None:
    """Find the make that lto-wrapper will run; None where it has none. path: as for lto_make.find; major: of the GCC."""
    from .call import lto_make  # noqa: PLC0415  only a link that may run jobs side by side needs it

    value = environment.get(b"MAKE") if b"MAKE" in environment else b"make"
    words = value.split()
    if any(byte in value for byte in b"'\"\\"):
        from .command import rspfile  # noqa: PLC0415  $MAKE is one plain word nearly always

        words = rspfile.split(value, "gnu-old" if major < 15 else "gnu-new")
    return lto_make.find(words, environment, path)


def _why_the_number_stays(command: Command, linker: str, decided: Mode, settings: Settings) -> str:
    kinds = budget.explicit_kinds(command, linker, decided)
    payer = ""
    if decided.asked and kinds and not settings.keep_explicit:
        from .call import prepaid  # noqa: PLC0415  climbing to the ancestors costs some reads of /proc

        payer = prepaid.payer(kinds)
    return budget.why_the_number_stays(kinds, decided, settings, payer)


def _bound_threads(
    command: Command, behind: str, tool: Tool, decided: Mode, found: Findings, environment: Environment, settings: Settings
) -> Decision:
    """Bound what a linker's own pool may use, without a token and without a warden (C23). tool: the linker; its driver where unknown."""
    linker = behind or command.family
    if linker == "wild" and not decided.asked:
        from .reserve import source  # noqa: PLC0415  only a link that may run jobs needs it

        # wild takes no token that only we could recover for it (C10).
        there = source.find_jobserver(makeflags.named_in(environment), may_recover=False)
        there.lease.release()
        if there.client is not None:
            return Decision(decided, f"wild asks the jobserver itself: {there.lease.name}")
    from .reserve import cpus, limits  # noqa: PLC0415  as above

    own = budget.own_threads(linker, tool.major, cpus.affinity(), command.facts)
    useful = budget.lld_useful(found) if linker == "lld" and decided.lto == "none" else budget.UNLIMITED
    bound = budget.for_plain(own, decided.asked, settings, limits.collect(environment, settings), useful)
    return Decision(decided, decided.reason + (f"; {bound.reason}" if bound else ""), bound, linker=behind)


def _spread(
    call: Call, before: Analysis, linker: Tool, make: Make | None, environment: Environment, settings: Settings
) -> tuple[Spread | None, str]:
    """Return how the backends become processes of ldshim, None where the tool runs them, and a clause for the reason."""
    if not (settings.processes or environment.get(b"LDSHIM_REMOTE")):
        return None, ""
    from .backends import choice  # noqa: PLC0415  whoever did not ask pays for nothing of this (C33)

    decided = before.decision.mode
    assert before.tool is not None
    assert before.command is not None
    assert decided is not None
    return choice.choose(call, before.tool, linker, before.command, decided, make, environment)


def _bound_jobs(before: Analysis, linker: Tool, environment: Environment, settings: Settings, promise_memory: bool) -> Analysis:
    """Find whose threads there are, unless they are pinned, and bound the jobs of an LTO link (C11). linker: or the driver that runs it."""
    decided, behind, make, private = before.decision.mode, before.decision.linker, before.decision.make, before.decision.private
    spread, how = before.decision.spread, before.decision.reason
    fixed = f"; {make.reason}: the number is fixed" if make is not None and make.reason else ""
    assert decided is not None
    if settings.jobs:
        bound = budget.for_lto(decided, settings, None, budget.Limits(0, "", []), 0)
        obstacle = _obstacle(settings) if _outgrows(decided, bound.number) else ""
        policy = budget.choose_policy(decided, "pin", bound.number, "", obstacle, _affinity(decided))
        reason = f"{decided.reason}; {bound.reason}{fixed}{_not_followed(private, obstacle)}{how}"
        _room(before, bound.number, promise_memory)  # a pin is obeyed; that there is no room for it concerns the others
        return before.decided(Decision(decided, reason, bound, policy, behind, make, spread))
    from .reserve import limits, source  # noqa: PLC0415  as above

    there = source.find_jobserver(makeflags.named_in(environment), may_recover=settings.recover)
    refused = source.refusal(there.client) if there.client is not None else ""
    if refused:
        there.let_go()
        decision = Decision(decided, f"{decided.reason}; {refused}", budget.Budget(1, "none", refused), linker=behind)
        return before.decided(decision, there)
    bounds = limits.collect(environment, settings)
    if decided.lto == "thin" and not (decided.asked or settings.cpus):
        bounds.own = limits.own_jobs(1 + there.client.available() if there.client is not None else 0)
    if there.lease.source == "none" and not decided.serial:
        there = source.share_host(environment.get, bounds.cpus, there.reasons)
    make_jobs = there.client.jobs if there.client is not None else 0
    most = budget.for_lto(decided, settings, there.lease, bounds, make_jobs)
    # On one CPU, too, LLVM starts a thread a partition: lld 14, 16 and 19; bfd and gold 2.40, mold 1.10 with LLVMgold 16.
    confinable = settings.elastic if decided.unbound else budget.may_confine(linker, settings)
    follows = there.lease.source != "none" and most.number > 1 and not private
    obstacle = ""
    if (follows and (confinable or decided.unbound)) or _outgrows(decided, most.number):
        obstacle = _obstacle(settings)
    elif private and there.lease.source != "none" and not processes.is_ours():
        obstacle = processes.FOREIGN
    follow = "confine" if confinable else ""
    if private:
        follow = "valve" if settings.elastic and (spread is not None or (make is not None and make.client)) else ""
    policy = budget.choose_policy(decided, there.lease.source, most.number, follow, obstacle, _affinity(decided))
    # Confined threads run one after the other, but each of them holds a module: memory is taken for all that the linker is told.
    room = _room(before, most.number if policy == "confine" else 1, promise_memory)
    bound = budget.for_lto(decided, settings, there.lease, bounds.within(room), make_jobs)
    if bound.number == 1 and policy not in ("valve", "enclose"):
        policy = "none"
    reason = f"{decided.reason}; {bound.reason}{fixed}{_not_followed(private, obstacle)}{how}"
    return before.decided(Decision(decided, reason, bound, policy, behind, make, spread), there)


def _room(before: Analysis, jobs: int, promise_memory: bool) -> list[tuple[int, str]]:
    """Say how many jobs there is memory for, [] where that bounds nothing; promise_memory: write so many down, as far as there is room."""
    if before.promise is None:
        return []
    room = before.promise.claim(jobs) if promise_memory else before.promise.ceiling()
    return [] if before.decision.lto == "full" else room  # what full LTO takes, its partitions included, no number changes


def _affinity(decided: Mode) -> int:
    """Count the CPUs of the mask where threads that no number bounds could use them; 0 elsewhere."""
    from .reserve import cpus  # noqa: PLC0415  as above

    return cpus.affinity() if decided.unbound else 0


def _outgrows(decided: Mode, number: int) -> bool:
    return budget.outgrows(decided, number, _affinity(decided))


def _obstacle(settings: Settings) -> str:
    """Say why this process cannot be confined, "" when it can: the kernel refuses, or LDSHIM_CPUS is above what a mask could name."""
    from .reserve import cpus  # noqa: PLC0415  as above
    from .warden import confinement  # noqa: PLC0415  only a linker with something to share, or more threads than its number, gets here

    mask = cpus.affinity()
    larger = f"LDSHIM_CPUS={settings.cpus}, and its affinity mask has {mask}" if settings.cpus > mask else ""
    return confinement.obstacle(os.getpid()) or larger


def _not_followed(private: bool, obstacle: str) -> str:
    return f"; not {'elastic' if private else 'confined'}: {obstacle}" if obstacle else ""
