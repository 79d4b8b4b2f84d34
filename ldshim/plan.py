"""What to do with one call that may be a link: made without touching a token, carried out afterwards.

Making a plan asks the rooms in their order: which tool this really is, what the line says, what the inputs are, which mode follows, what
bounds the number. Carrying it out reserves, and writes the edits. `ldshim explain` makes the same plan and stops there.
"""

from __future__ import annotations

import os

from .call import tool_family
from .call.environment import ceiling_from_builders
from .call.real_tool import UnfoundError, is_ldshim, own_stat, program_name, stand_in
from .command import read
from .decide import budget, mode
from .reserve import makeflags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import lto_make
    from .call.environment import Environment, Settings
    from .call.real_tool import Call
    from .command.argv import Facts
    from .inputs.findings import Findings
    from .reserve.memory_ledger import Promise
    from .reserve.source import Source

AUTH_VARIABLES = (b"CARGO_MAKEFLAGS", b"MAKEFLAGS", b"MFLAGS")  # the order of jobserver-rs: cargo's own pipe is the one that works


class Plan:
    """One call, understood as far as that was possible.

    family: of the tool; linker: of the linker behind a driver, "" when not certain; collected: what COLLECT_GCC_OPTIONS says to a
    linker below collect2; budget: None when the tool runs as it was called, for `reason`; source: whose threads there are, None for a
    pin; its lease is owned by whoever carries the plan out; promise: of memory, empty, with the same owner, None where none is needed or
    the warden makes it; make: what lto-wrapper will run, None where no job runs beside another; brief: what only the warden needs is left to the warden.
    """

    __slots__ = (
        "brief", "budget", "call", "collected", "environment", "facts", "family", "found", "linker", "make", "mode", "promise", "reason",
        "settings", "source", "tool",
    )  # fmt: skip

    def __init__(self, call: Call, environment: Environment, settings: Settings, *, brief: bool = False) -> None:
        self.brief = brief
        self.call = call
        self.environment = environment
        self.settings = settings
        self.tool: tool_family.Tool | None = None
        self.family = ""
        self.linker = ""
        self.facts: Facts | None = None
        self.collected: Facts | None = None
        self.found: Findings | None = None
        self.mode: mode.Mode | None = None
        self.make: lto_make.Make | None = None
        self.budget: budget.Budget | None = None
        self.source: Source | None = None
        self.promise: Promise | None = None
        self.reason = ""


def make(call: Call, environment: Environment, settings: Settings, *, brief: bool = False) -> Plan:
    """Understand one call. Reads files and runs probes; takes no token and changes nothing. brief: nobody will read the reasons."""
    plan = Plan(call, environment, settings, brief=brief)
    plan.tool = tool_family.identify(call.real, environment, call.path)
    plan.family = plan.tool.family
    if not plan.family:
        plan.reason = "the tool's --version names no family that is known"
        return plan
    if (call.kind == "driver") != (plan.family in ("gcc", "clang")):
        plan.reason = f"{plan.family} under the name of a {call.kind}"
        return plan
    facts = plan.facts = read.read_command(plan.tool, call.args)
    if not facts.links:
        plan.reason = facts.why_not
        return plan
    if call.kind == "linker":
        plan.collected = read.collected_facts(environment)
    found = plan.found = _look_at_inputs(plan, facts)
    decided = plan.mode = _decide_mode(plan, facts, found)
    if decided.lto == "gcc" and decided.demand > 1:
        plan.make = find_make(environment, call.path, gcc_major(plan))
        if plan.make is None:
            decided = plan.mode = mode.without_make()
    if facts.pending and facts.unread and decided.lto != "gcc":
        plan.reason = f"{decided.reason}; a response file that can be read only once may say anything"
        return plan
    linker = plan.linker or plan.family
    kept = _why_the_number_stays(plan, facts, decided) if decided.asked else ""
    if kept:
        # GCC's number holds by nothing but a private jobserver; the others obey their own words.
        plan.budget = budget.Budget(decided.asked, "none", kept) if decided.lto == "gcc" and decided.demand > 1 else None
        plan.reason = f"{decided.reason}; {kept}"
        return plan
    refused = mode.refused(facts, linker == "lld") if linker == "lld" or plan.family == "clang" else ""
    if refused:
        plan.reason = f"{decided.reason}; {refused}"
        return plan
    if linker == "wild" and decided.lto == "none":
        _bound_wild(plan, decided)
    elif decided.lto in ("none", "full") and (linker in ("lld", "mold") or (plan.family == "gold" and facts.threads)):
        _bound_plain_threads(plan, linker, decided)
    elif decided.demand > 1:
        _bound_lto(plan, decided)
    plan.reason = decided.reason + (f"; {plan.budget.reason}" if plan.budget else "")
    if plan.make is not None and plan.make.reason:
        plan.reason += f"; {plan.make.reason}: the number is fixed"
    return plan


def _why_the_number_stays(plan: Plan, facts: Facts, decided: mode.Mode) -> str:
    """Say why an explicit number is left alone, with no token taken under it (C9); "" when it is a ceiling as usual."""
    linker = plan.linker or plan.family
    if decided.lto == "gcc":
        # What the objects recorded is an explicit number too, but nobody who is running now has paid for it.
        said = ["flto"] if any(flto.value for flto in (plan.collected or facts).flto) else []
    elif facts.jobs:
        said = ["jobs"]
    elif facts.threads and not (decided.lto == "thin" and linker in ("gold", "mold", "bfd")):
        said = ["threads"]
    else:
        return ""  # --threads does not bind the jobs of LLVM's plugin
    if plan.settings.keep_explicit:
        return f"LDSHIM_EXPLICIT=keep: {decided.asked} stays, and no token is taken"
    if not said:
        return ""
    from .call import prepaid  # noqa: PLC0415

    payer = prepaid.payer(said)
    return f"{payer} has paid for its {decided.asked}: it stays, and no token is taken" if payer else ""


def _look_at_inputs(plan: Plan, facts: Facts) -> Findings:
    """Scan the inputs as far as they can still decide anything: not at all, until the demand cannot grow or be granted, or whole.

    Who reads them is who decides in _decide_mode.
    """
    settings = plan.settings
    by_gcc: Facts | None = None
    by_llvm = False
    major = modules = 0
    if plan.family == "gcc" and facts.fuse_ld != b"lld":
        by_gcc, major = facts, plan.tool.major if plan.tool is not None else 0
    elif plan.family in ("gcc", "clang", "lld") or _has_plugin(facts, b"LLVMgold"):
        by_llvm = mode.stand_aside(facts) is None
    elif plan.collected is not None and _has_plugin(facts, b"liblto_plugin"):
        by_gcc = plan.collected
        by_gcc.relocatable, by_gcc.unread = facts.relocatable, facts.unread
    if by_gcc is not None and mode.gcc_ignores_inputs(by_gcc):
        by_gcc = None
    if by_gcc is None and not by_llvm:
        from .inputs import findings  # noqa: PLC0415

        return findings.Findings()
    from .inputs import scan  # noqa: PLC0415

    if plan.family in ("lld", "clang"):
        from .reserve import cpus  # noqa: PLC0415  a GCC link below a jobserver counts none

        # A jobserver that does not say how large it is (cargo's): no more than four threads for a CPU could be of use.
        own = cpus.affinity() * (4 if auths(plan.environment) else 1)
        modules = settings.jobs or settings.max_jobs or pool_size(plan.environment) or own
    enough = scan.EnoughOfGcc(*mode.enough_for_gcc(by_gcc, major)) if by_gcc is not None else modules
    return scan.scan(facts.inputs, facts.library_dirs, facts.sysroot, enough)


def _decide_mode(plan: Plan, facts: Facts, found: Findings) -> mode.Mode:
    """Choose the rules by family: GCC's plugin or LLVM's; GCC's IR is inert under lld."""
    if plan.family == "gcc" and facts.fuse_ld != b"lld":
        major = plan.tool.major if plan.tool is not None else 0
        return mode.for_gcc(facts, found, major)
    if plan.family in ("gcc", "clang"):
        return _behind_a_driver(plan, facts, found)
    if plan.family == "lld" or _has_plugin(facts, b"LLVMgold"):
        return mode.for_llvm(facts, found)
    if plan.collected is not None and _has_plugin(facts, b"liblto_plugin"):
        return mode.for_gcc(plan.collected, found, found.gcc_major)
    return mode.without_plugin(facts)


def _has_plugin(facts: Facts, name: bytes) -> bool:
    return any(program_name(plugin.value or b"").startswith(name) for plugin in facts.plugins)


def _behind_a_driver(plan: Plan, facts: Facts, found: Findings) -> mode.Mode:
    """Decide for clang, and for gcc -fuse-ld=lld: LLVM's rules, where the linker behind is certain or -flto-jobs can reach it."""
    decided = mode.for_llvm(facts, found)
    if facts.sources:
        return mode.Mode(decided.lto, 1, "the call also compiles: its words may be recorded, so they stay")
    if decided.lto != "none" or facts.fuse_ld or facts.ld_path:
        plan.linker = linker_family_behind(plan, facts)
    if decided.lto == "thin" and not plan.linker and not (facts.flto and plan.family == "clang"):
        return mode.Mode(decided.lto, 1, "ThinLTO modules, but the linker behind the driver is not certain")
    return decided


def linker_family_behind(plan: Plan, facts: Facts) -> str:
    """Name the family of the linker that a driver would run, "" when it cannot be told (C20)."""
    call, environment = plan.call, plan.environment
    if plan.family == "clang":
        assert plan.tool is not None
        if read.consumed_by_probe(plan.tool, call.args, facts):
            return ""
        linker = tool_family.linker_behind(call.real, call.args, environment, call.path)
    else:
        prefixes = [word for word in call.args if word.startswith(b"-B") and len(word) > 2]
        linker = tool_family.ask(call.real, [*prefixes, b"-print-prog-name=ld." + facts.fuse_ld], environment, call.path).strip()
    if not linker.startswith(b"/"):
        return ""
    if is_ldshim(linker, own_stat()):
        # A -B directory of ours: that call will find its own real tool, and this one asks the same way.
        try:
            linker = stand_in(program_name(linker), [], environment).real
        except UnfoundError:
            return ""
    return tool_family.identify(linker, environment, call.path).family


def find_make(environment: Environment, path: bytes | None = None, major: int = 0) -> lto_make.Make | None:
    """Find the make that lto-wrapper will run; None where it has none. path: as for lto_make.find; major: of the GCC, 0 for unknown."""
    from .call import lto_make  # noqa: PLC0415  only a link that may run jobs side by side needs it

    value = environment.get(b"MAKE") if b"MAKE" in environment else b"make"
    words = value.split()
    if any(byte in value for byte in b"'\"\\"):
        from .command import rspfile  # noqa: PLC0415  $MAKE is one plain word nearly always

        words = rspfile.words(value, "gnu-old" if 0 < major < 15 else "gnu-new")
    return lto_make.find(words, environment, path)


def gcc_major(plan: Plan) -> int:
    """Return the major of the GCC that compiles: the objects say it where the call is the linker's."""
    found = plan.found.gcc_major if plan.found is not None else 0
    return found or (plan.tool.major if plan.tool is not None and plan.family == "gcc" else 0)


def auths(environment: Environment) -> list[tuple[str, bytes]]:
    """List the variables that may name a jobserver, those that are set, in the order they are tried."""
    return [(name.decode(), environment.get(name)) for name in AUTH_VARIABLES if environment.get(name)]


def make_jobs(environment: Environment) -> int:
    """Return the -jN that make says in MAKEFLAGS, 0 for none."""
    return makeflags.parse(environment.get(b"MAKEFLAGS")).jobs


def pool_size(environment: Environment) -> int:
    """Return the most jobs that any jobserver named in the environment has, 0 when one does not say (cargo's words hold a bare -j)."""
    said = [makeflags.parse(value).jobs for _, value in auths(environment)]
    return max(said) if said and all(said) else 0


def limits(environment: Environment) -> budget.Limits:
    """Collect what bounds a number besides demand, tokens and memory."""
    from .reserve import cpus  # noqa: PLC0415  as above

    named = [ceiling_from_builders(environment), (make_jobs(environment), "MAKEFLAGS' -j")]
    return budget.Limits(*cpus.counted(), [(number, origin) for number, origin in named if number])


def _bound_lto(plan: Plan, decided: mode.Mode) -> None:
    """Find whose threads there are, unless they are pinned, and bound the number (C11)."""
    environment, settings = plan.environment, plan.settings
    if settings.jobs:
        plan.budget = budget.for_lto(decided, settings, None, budget.Limits(0, "", []), 0)
        return
    from .reserve import source  # noqa: PLC0415  only a link that may run jobs needs it

    found = source.find_jobserver(auths(environment), may_recover=settings.recover)
    # A jobserver is the build's own word: CPUs are counted, and their cgroups read, only where there is none.
    bounds = limits(environment) if found.client is None else budget.Limits(0, "", [])
    if found.lease.source == "none" and not decided.serial:
        found = source.share_host(environment.get, bounds.cpus, found.reasons)
    plan.source = found
    if not (plan.brief and has_valve(plan)):
        plan.promise = promise(plan, os.getpid())
        bounds.memory = plan.promise.ceiling() if plan.promise is not None else []
    plan.budget = budget.for_lto(decided, settings, found.lease, bounds, found.client.jobs if found.client is not None else 0)


def has_valve(plan: Plan) -> bool:
    """Tell whether a valve will feed the link of this plan, should it get any threads: then its words name no number but told."""
    assert plan.mode is not None
    assert plan.source is not None
    shares = plan.make is not None and plan.make.client
    return plan.mode.lto == "gcc" and shares and plan.settings.elastic and plan.source.lease.source != "none"


def promise(plan: Plan, link: int) -> Promise | None:
    """Open the ledger of memory for the link of a plan, None where nothing is known of its inputs. link: its pid."""
    from .decide import memory_estimate  # noqa: PLC0415  a plain link needs none of it
    from .reserve import memory_ledger  # noqa: PLC0415

    if plan.found is None or plan.mode is None:
        return None
    need = memory_estimate.of_link(plan.mode.lto, plan.found, plan.mode.demand, plan.settings.mem_per_job)
    return memory_ledger.promise(plan.environment.get, need, link)


def _bound_wild(plan: Plan, decided: mode.Mode) -> None:
    """Bound wild's threads where it has no jobserver to ask itself (C10); it takes none that only we could recover for it."""
    if not decided.asked:
        from .reserve import source  # noqa: PLC0415  as above

        found = source.find_jobserver(auths(plan.environment), may_recover=False)
        found.lease.release()
        if found.client is not None:
            decided.reason = f"wild asks the jobserver itself: {found.lease.name}"
            return
    _bound_plain_threads(plan, "wild", decided)


def _bound_plain_threads(plan: Plan, linker: str, decided: mode.Mode) -> None:
    """Bound what a linker's own pool may use, without a token and without a warden (C23)."""
    from .reserve import cpus  # noqa: PLC0415  as above

    most = {"lld": 16, "mold": 32, "wild": budget.UNLIMITED}.get(linker)
    # gold's own choice, once --threads is given, is a thread for every input (gold/options.cc).
    own = min(cpus.affinity(), most) if most else max(2, len(plan.facts.inputs) if plan.facts is not None else 0)
    useful = budget.UNLIMITED
    if linker == "lld" and decided.lto == "none" and plan.found is not None:
        useful = budget.lld_useful(plan.found)
    plan.budget = budget.for_plain(own, decided.asked, plan.settings, limits(plan.environment), useful)
