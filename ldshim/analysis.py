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
from .call.real_tool import UnfoundError, is_ldshim, own_stat, program_name, program_on_path, stand_in
from .command import read
from .decide import budget, mode
from .decide.budget import Decision
from .reserve import makeflags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call.environment import Environment, Settings
    from .call.real_tool import Call
    from .command.argv import Words
    from .command.read import Command
    from .decide.distributable import Spread
    from .decide.mode import Mode
    from .inputs.findings import Findings
    from .reserve.memory_ledger import Promise
    from .reserve.source import Source


class Analysis:
    """One call, understood as far as that was possible.

    tool, command, found, source, promise: None where the answer did not need them; source: whose threads there are, its lease is empty and
    belongs to who reserves; promise: of memory, with the same owner.
    """

    __slots__ = ("command", "decision", "found", "promise", "source", "tool")

    def __init__(
        self, decision: Decision, tool: Tool | None = None, command: Command | None = None, found: Findings | None = None,
        source: Source | None = None, promise: Promise | None = None,
    ) -> None:  # fmt: skip
        self.decision = decision
        self.tool = tool
        self.command = command
        self.found = found
        self.source = source
        self.promise = promise

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
    from .inputs.extent import read_regular  # noqa: PLC0415  a call that is not understood reads nothing

    collected = environment.get(b"COLLECT_GCC_OPTIONS") if call.kind == "linker" else b""
    command = read.read_command(tool, call.args, collected, read_regular)
    if not command.facts.links:
        return Analysis(Decision(None, command.facts.why_not), tool, command)
    found = look_at_inputs(command, tool, environment, settings)
    behind_tool = linker_behind(call, command, environment) if mode.depends_on_linker(command, found) else None
    behind = behind_tool.family if behind_tool is not None else ""
    decided = mode.decide(command, found, behind, tool.gcc_major, _make_found(environment))
    linker = behind or tool.family
    stays = _why_the_number_stays(command, linker, decided, settings)
    if stays:
        return Analysis(budget.kept(decided, stays), tool, command, found)
    refused = mode.refused(command.facts, linker == "lld") if linker == "lld" or tool.family == "clang" else ""
    if refused:
        return Analysis(Decision(decided, f"{decided.reason}; {refused}"), tool, command, found)
    bounded = budget.bounds(command, linker, decided)
    if bounded == "jobs":
        before = Analysis(Decision(decided, "", linker=behind), tool, command, found)
        return _bound_jobs(call, before, behind_tool or tool, environment, settings, promise_memory)
    if bounded == "threads":
        return Analysis(_bound_threads(command, linker, behind, decided, found, environment, settings), tool, command, found)
    return Analysis(Decision(decided, decided.reason), tool, command, found)


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
        from .reserve import cpus  # noqa: PLC0415  a GCC link below a jobserver counts none

        # A jobserver that does not say how large it is (cargo's): no more than four threads for a CPU could be of use.
        own = cpus.affinity() * (4 if makeflags.named_in(environment) else 1)
        enough = settings.jobs or settings.max_jobs or makeflags.pool_size(environment) or own
    facts = command.facts
    return scan.scan(facts.inputs, facts.library_dirs, facts.sysroot, enough)


def linker_behind(call: Call, command: Command, environment: Environment) -> Tool | None:
    """Identify the linker that a driver would run, None when it cannot be told (C20)."""
    if command.family == "clang":
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


def _make_found(environment: Environment) -> bool:
    return program_on_path(environment.get(b"MAKE"), environment)


def _why_the_number_stays(command: Command, linker: str, decided: Mode, settings: Settings) -> str:
    kinds = budget.explicit_kinds(command, linker, decided)
    payer = ""
    if decided.asked and kinds and not settings.keep_explicit:
        from .call import prepaid  # noqa: PLC0415  climbing to the ancestors costs some reads of /proc

        payer = prepaid.payer(kinds)
    return budget.why_the_number_stays(kinds, decided, settings, payer)


def _bound_threads(
    command: Command, linker: str, behind: str, decided: Mode, found: Findings, environment: Environment, settings: Settings
) -> Decision:
    """Bound what a linker's own pool may use, without a token and without a warden (C23)."""
    if linker == "wild" and not decided.asked:
        from .reserve import source  # noqa: PLC0415  only a link that may run jobs needs it

        # wild takes no token that only we could recover for it (C10).
        there = source.find_jobserver(makeflags.named_in(environment), may_recover=False)
        there.lease.release()
        if there.client is not None:
            return Decision(decided, f"wild asks the jobserver itself: {there.lease.name}")
    from .reserve import cpus, limits  # noqa: PLC0415  as above

    own = budget.own_threads(linker, cpus.affinity(), len(command.facts.inputs))
    useful = budget.lld_useful(found) if linker == "lld" and decided.lto == "none" else budget.UNLIMITED
    bound = budget.for_plain(own, decided.asked, settings, limits.collect(environment), useful)
    return Decision(decided, decided.reason + (f"; {bound.reason}" if bound else ""), bound, linker=behind)


def _spread(call: Call, before: Analysis, linker: Tool, environment: Environment, settings: Settings) -> tuple[Spread | None, str]:
    """Say how the backends of an LTO link become processes, None where the tool runs them; and a clause for the reason, "" where unasked.

    linker: or the driver that runs it.
    """
    remote = environment.get(b"LDSHIM_REMOTE") != b""
    if not settings.processes and not remote:
        return None, ""
    decided, command = before.decision.mode, before.command
    assert decided is not None
    assert command is not None
    assert before.tool is not None
    import sys  # noqa: PLC0415 - whoever did not ask pays for nothing of this (C33)

    from .decide import distributable  # noqa: PLC0415

    if not sys.executable:
        return None, "; backends in process: the interpreter does not know its own path"
    # A remote service needs packages beside ours, which -S would hide.
    python = [os.fsencode(sys.executable), b"-I" if remote else b"-IS"]
    place = os.path.join(os.path.dirname(os.path.abspath(os.fsencode(__file__))), b"backends")
    if decided.lto == "gcc":
        return distributable.Spread(python, place), "; LTRANS as processes of ldshim's"
    if decided.lto != "thin" or linker.family != "lld":
        return None, "; backends in process: only lld and GCC hand them out"
    line = _linker_line(call, before.tool, command, environment)
    if isinstance(line, str):
        return None, f"; backends in process: {line}"
    from .command import lld  # noqa: PLC0415
    from .inputs import scan  # noqa: PLC0415

    path, words = line
    facts = lld.facts(words)
    found = scan.scan(facts.inputs, facts.library_dirs, facts.sysroot, measured=True)
    verdict = distributable.judge(words, linker.major, command.facts.pending, found)
    if verdict.reason:
        return None, f"; backends in process: {verdict.reason}"
    from .call import partner  # noqa: PLC0415

    compiler, why = partner.find(path, linker, environment)
    if why:
        return None, f"; backends in process: {why}"
    return distributable.Spread(python, place, compiler, verdict.mends), f"; backends as processes of {os.fsdecode(compiler)}"


def _linker_line(call: Call, tool: Tool, command: Command, environment: Environment) -> tuple[bytes, Words] | str:
    """Return the path of lld and the words it will read, those that a driver gives it as well, or why they are not known."""
    from .command.argv import Words  # noqa: PLC0415
    from .inputs.extent import read_regular  # noqa: PLC0415

    if tool.family == "lld":
        return call.real, read.unfolded(tool, call.args, read_regular)
    if tool.family != "clang" or command.facts.unread:
        return "the words that the driver gives to the linker are not known"
    said = tool_family.linker_line(call.real, call.args, environment, call.path)
    if not said or is_ldshim(said[0], own_stat()):
        return "the driver does not say which linker it would run"
    return said[0], Words.plain(said[1:])


def _bound_jobs(call: Call, before: Analysis, linker: Tool, environment: Environment, settings: Settings, promise_memory: bool) -> Analysis:
    """Find whose threads there are, unless they are pinned, and bound the jobs of an LTO link (C11). linker: or the driver that runs it."""
    decided, behind = before.decision.mode, before.decision.linker
    assert decided is not None
    assert before.tool is not None
    assert before.found is not None
    spread, how = _spread(call, before, linker, environment, settings)
    if settings.jobs:
        bound = budget.for_lto(decided, settings, None, budget.Limits(0, "", []), 0)
        decision = Decision(decided, f"{decided.reason}; {bound.reason}{how}", bound, linker=behind, spread=spread)
        return Analysis(decision, before.tool, before.command, before.found)
    from .decide import memory_estimate  # noqa: PLC0415  as above
    from .reserve import limits, memory_ledger, source  # noqa: PLC0415  as above

    there = source.find_jobserver(makeflags.named_in(environment), may_recover=settings.recover)
    refused = source.refusal(there.client) if there.client is not None else ""
    if refused:
        there.let_go()
        decision = Decision(decided, f"{decided.reason}; {refused}", budget.Budget(1, "none", refused), linker=behind)
        return Analysis(decision, before.tool, before.command, before.found, there)
    # A jobserver is the build's own word: CPUs are counted, and their cgroups read, only where there is none.
    bounds = limits.collect(environment) if there.client is None else budget.Limits(0, "", [])
    if there.lease.source == "none" and not decided.serial:
        there = source.share_host(environment.get, bounds.cpus, there.reasons)
    make_jobs = there.client.jobs if there.client is not None else 0
    most = budget.for_lto(decided, settings, there.lease, bounds, make_jobs)
    private = decided.lto == "gcc" or spread is not None
    confinable = budget.may_confine(linker, settings) and not private
    obstacle = ""
    if confinable and there.lease.source != "none" and most.number > 1:
        from .warden import confinement  # noqa: PLC0415  only a linker with something to share gets here

        obstacle = confinement.obstacle(os.getpid())
    elif private and there.lease.source != "none" and not processes.is_ours():
        obstacle = processes.FOREIGN
    policy = budget.choose_policy(private, settings, there.lease.source, most.number, confinable, obstacle)
    need = memory_estimate.of_link(decided.lto, before.found, decided.demand, settings.mem_per_job)
    promise = memory_ledger.promise(environment.get, need, os.getpid())
    # Confined threads run one after the other, but each of them holds a module: memory is taken for all that the linker is told.
    wanted = most.number if policy == "confine" else 1
    room = promise.claim(wanted) if promise_memory else promise.ceiling()
    bound = budget.for_lto(decided, settings, there.lease, bounds.within(room), make_jobs)
    if bound.number == 1 and policy != "valve":
        policy = "none"
    reason = f"{decided.reason}; {bound.reason}" + (f"; not {'elastic' if private else 'confined'}: {obstacle}" if obstacle else "")
    return Analysis(
        Decision(decided, reason + how, bound, policy, behind, spread), before.tool, before.command, before.found, there, promise
    )
