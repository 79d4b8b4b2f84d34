"""Compute the number of threads of one link from its demand, the ceilings and the source, with the reason.

A pin (LDSHIM_JOBS) overrides everything, and no jobserver is read. Any other number is at most the number of CPUs that this process may
use. A linker with sixteen threads on two CPUs takes the memory of sixteen, is no faster, and fails under a process limit where the bare
linker works. Without a jobserver the ceilings of package builders apply, too. Pure.

For a GCC link this is the table in design §4.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from ..call.banner import Tool
    from ..call.environment import Settings
    from ..call.lto_make import Make
    from ..command.argv import Facts
    from ..command.read import Command
    from ..inputs.findings import Findings
    from .distributable import Spread
    from .mode import Mode

    class Pool(Protocol):
        """A source of threads: a lease (reserve/lease.py), of which only these names matter here."""

        source: str
        name: str


UNLIMITED = 1 << 30

# Bytes of input for which one more thread of lld pays, without LTO. Measured with lld 16 and 19, two threads against one: up to 1.2 MB the
# second saves nothing and takes 2 to 10 % more CPU; at 5 MB it saves up to 9 % of the time (23 on a busy machine), at 20 MB 13 to 15.
LLD_BYTES_PER_THREAD = 2 << 20


class Limits:
    """The ceilings of a number, besides demand.

    cpus: CPUs that this process may use (reserve/cpus.py); named: [(ceiling, origin)], no zeros, where there is no jobserver; own: the same
    for the number that the linker would choose by itself, [] where that is unknown; memory: the same for the jobs that fit in memory, []
    where that is unknown.
    """

    __slots__ = ("cpus", "cpus_reason", "memory", "named", "own")

    def __init__(
        self, cpus: int, cpus_reason: str, named: list[tuple[int, str]], memory: Sequence[tuple[int, str]] = (),
        own: Sequence[tuple[int, str]] = (),
    ) -> None:  # fmt: skip
        self.cpus = cpus
        self.cpus_reason = cpus_reason
        self.named = named
        self.memory = memory
        self.own = own

    def within(self, memory: Sequence[tuple[int, str]]) -> Limits:
        """Return the same limits with these ceilings of memory."""
        return Limits(self.cpus, self.cpus_reason, self.named, memory, self.own)


class Budget:
    """The number and its source.

    number: threads at most, the implicit slot included; source: pin, jobserver, recovered, slots or none; reason: one clause;
    before_memory: `number` before the memory limit. With a jobserver a link may grow up to number; how many tokens there are is known only
    when they are taken.
    """

    __slots__ = ("before_memory", "number", "reason", "source")

    def __init__(self, number: int, source: str, reason: str, before_memory: int = 0) -> None:
        self.number = max(1, number)
        self.source = source
        self.reason = reason
        self.before_memory = max(self.number, before_memory)


class Decision:
    """What one link is to get, decided before anything is taken.

    mode: None for a call that is not analysed as a link; number: threads at most, the implicit slot included, 0 where the arguments stay as
    they are; before_memory: `number` before the memory limit, which is passed to a GCC link with a valve, because the valve enforces the
    memory limit; source: as in Budget; policy: what moves the tokens (warden/reservation.py), "none" without a warden; linker: family of
    the linker that runs in the end; make: the make that GCC's lto-wrapper runs, None where it runs no parallel jobs; spread: how ldshim
    runs the backends as processes, None where the tool runs them; reason: for people.
    """

    __slots__ = ("before_memory", "linker", "make", "mode", "number", "policy", "reason", "source", "spread")

    def __init__(
        self, mode: Mode | None, reason: str, budget: Budget | None = None, policy: str = "none", linker: str = "",
        make: Make | None = None, spread: Spread | None = None,
    ) -> None:  # fmt: skip
        self.mode = mode
        self.make = make
        self.reason = reason
        self.number = budget.number if budget is not None else 0
        self.before_memory = budget.before_memory if budget is not None else 0
        self.source = budget.source if budget is not None else "none"
        self.policy = policy
        self.linker = linker
        self.spread = spread

    @property
    def private(self) -> bool:
        """Return whether a private jobserver enforces the number, because the parallel jobs are processes that are its clients."""
        return self.lto == "gcc" or self.spread is not None

    @property
    def lto(self) -> str:
        """Return the mode's name in the log."""
        return self.mode.lto if self.mode is not None else "none"


def explicit_kinds(command: Command, linker: str, mode: Mode) -> list[str]:
    """Return the kinds of explicit numbers that bound this link's jobs, of flto, jobs and threads (prepaid.PAYERS); [] for none."""
    if mode.lto == "gcc":
        # A number that the objects record is explicit, too, but no running process has reserved it.
        return ["flto"] if any(flto.value for flto in command.gcc_facts.flto) else []
    if mode.unbound:
        return ["partitions"]  # a number that a caller has reserved does not bound these threads
    if command.facts.jobs:
        return ["jobs"]
    if command.facts.threads and not (mode.lto == "thin" and linker in ("gold", "mold", "bfd")):
        return ["threads"]
    return []  # --threads does not bound the jobs of LLVM's plugin


def why_the_number_stays(kinds: list[str], mode: Mode, settings: Settings, payer: str) -> str:
    """Return why an explicit number stays and no token is taken for it (C9); "" where it is a ceiling as usual.

    payer: the ancestor that has reserved it (call/prepaid.py), "" for none.
    """
    if not (mode.asked or mode.unbound) or not (kinds or mode.lto == "gcc"):
        return ""
    if settings.keep_explicit:
        return f"LDSHIM_EXPLICIT=keep: {mode.asked or mode.unbound} stays, and no token is taken"
    return f"{payer} has reserved {mode.asked} threads itself: the number stays, and no token is taken" if payer else ""


def kept(mode: Mode, why: str, make: Make | None) -> Decision:
    """Decide for a number that stays. GCC's needs a private jobserver to be enforced; the other tools follow their own arguments."""
    budget = Budget(mode.asked, "none", why) if mode.lto == "gcc" and mode.demand > 1 else None
    return Decision(mode, f"{mode.reason}; {why}", budget, make=make)


def bounds(command: Command, linker: str, mode: Mode) -> str:
    """Return what is bounded in this link: "jobs" of LTO, "threads" of the linker itself, "" for nothing."""
    if linker == "wild" and mode.lto == "none":
        return "threads"
    if mode.demand > 1:
        return "jobs"
    plain = mode.lto in ("none", "full") and (linker in ("lld", "mold") or (command.family == "gold" and command.facts.threads))
    return "threads" if plain else ""


# family: the first major version seen to start all its explicit threads under a mask of one CPU, 0 for all.
_OBEYS = {
    "lld": 0,  # 14, 15, 16, 19, 21, 23: LLVM takes an explicit number as it is (llvm/lib/Support/Threading.cpp)
    "mold": 3,  # 3.0.0, with and without --fork; 1.10.1 starts no more than the mask has CPUs
    "gold": 0,  # 2.40, its own threads; its LTO is LLVM's
}


def may_confine(linker: Tool, settings: Settings) -> bool:
    """Return whether a linker, also a driver's, starts its explicit number of threads under any affinity."""
    return settings.elastic and linker.family in _OBEYS and linker.major >= _OBEYS[linker.family]


def outgrows(mode: Mode, number: int, affinity: int) -> bool:
    """Return whether a link starts more threads than its number, and may run on more CPUs. affinity: CPUs of the mask."""
    return mode.unbound > number and affinity > number


def choose_policy(mode: Mode, source: str, before_memory: int, follow: str, obstacle: str, affinity: int = 0) -> str:
    """Choose the policy that moves the tokens of a link. before_memory: its number, 1 where no token is needed.

    follow: "valve" or "confine" where the number may change during the link, "" elsewhere; obstacle: why it cannot change nevertheless, ""
    for none; affinity: CPUs of the mask.
    """
    if source in ("none", "pin") or before_memory == 1:
        return "enclose" if outgrows(mode, before_memory, affinity) and not obstacle else "none"
    if obstacle:
        return "fixed"
    return follow or ("enclose" if mode.unbound else "fixed")


def for_lto(mode: Mode, settings: Settings, lease: Pool | None, limits: Limits, make_jobs: int) -> Budget:
    """Decide how many threads an LTO link may use at most.

    lease: the source of threads, None or with source "none" where nothing is shared; make_jobs: make's -jN, 0 where unknown. With a lease a
    link may grow up to the number; how much there is is known only when it is taken.
    """
    if settings.jobs:
        number = 1 if mode.serial else min(settings.jobs, max(mode.asked or UNLIMITED, mode.unbound))
        return Budget(number, "pin", f"LDSHIM_JOBS={settings.jobs}{_asked(mode)}")
    ceilings = [(limits.cpus, limits.cpus_reason), *limits.own]
    if settings.max_jobs:
        ceilings.append((settings.max_jobs, "LDSHIM_MAX_JOBS"))
    if lease is not None and lease.source in ("jobserver", "recovered"):
        if make_jobs:
            ceilings.insert(0, (make_jobs, "the jobserver's -j"))
        ceilings.append((mode.useful(), "what the link can use"))
        number, origin = _lowest([*ceilings, *limits.memory])
        return Budget(number, lease.source, f"{lease.source} {lease.name}, at most {number} by {origin}", _lowest(ceilings)[0])
    if mode.serial:
        return Budget(1, "none", "no jobserver, and no option asks for more than one job")
    ceilings += [*limits.named, (mode.useful(), "what the link can use")]
    number, origin = _lowest([*ceilings, *limits.memory])
    source = "slots" if lease is not None and lease.source == "slots" else "none"
    return Budget(number, source, f"no jobserver; at most {number} by {origin}{_asked(mode)}", _lowest(ceilings)[0])


def _lowest(ceilings: list[tuple[int, str]]) -> tuple[int, str]:
    """Return the lowest ceiling; of several, the first."""
    return min(ceilings, key=lambda ceiling: ceiling[0])


def _asked(mode: Mode) -> str:
    return "; serial was asked for" if mode.serial else f"; asked for at most {mode.asked}" if mode.asked else ""


_OWN_MOST = {"lld": 16, "mold": 32, "wild": UNLIMITED}  # the default maximum of threads in each linker's newest version
_LLD_CAPS = 17  # the first lld that stops at 16 (llvm/llvm-project, D147493)


def own_threads(linker: str, major: int, cpus: int, facts: Facts) -> int:
    """Return how many threads a linker starts by default. major: 0, unknown, counts as the newest; cpus: of the affinity mask."""
    most = _OWN_MOST.get(linker)
    if not most:
        return max(2, len(facts.inputs))  # gold, once --threads is given: a thread for every input (gold/options.cc)
    # mold compresses debug sections on all CPUs (src/main.cc, get_thread_count).
    uncapped = 0 < major < _LLD_CAPS if linker == "lld" else linker == "mold" and facts.compresses
    return cpus if uncapped else min(cpus, most)


def lld_useful(found: Findings) -> int:
    """Return how many threads of its own lld can use without LTO, at least 1, by the size of the input; UNLIMITED where it is unknown."""
    unseen = found.other or not found.complete
    inert = found.gcc_slim + found.gcc_fat + found.fat_thin + found.fat_full  # linked as native code, and not in native_bytes
    return UNLIMITED if unseen or inert else 1 + found.native_bytes // LLD_BYTES_PER_THREAD


def for_plain(own_default: int, explicit: int, settings: Settings, limits: Limits, useful: int = UNLIMITED) -> Budget | None:
    """Bound the threads of a link whose LTO, if any, is serial: no token is taken for it (C23). None where no bound is needed.

    own_default: the linker's default; explicit: the number on its command line, 0 for none; limits.named: here with make's -jN, also where
    a jobserver works, because a build of N jobs should not run a link of more threads; useful: the number of threads beyond which the link
    is not faster. It lowers a number that must be passed anyway. No number is passed where the default is within the other bounds.
    """
    bounds = [*limits.named, (limits.cpus, limits.cpus_reason)]
    if settings.max_jobs:
        bounds.append((settings.max_jobs, "LDSHIM_MAX_JOBS"))
    ceiling, origin = (settings.jobs, "LDSHIM_JOBS") if settings.jobs else min(bounds)
    if (explicit or own_default) <= ceiling:
        return None
    if useful < ceiling and not explicit and not settings.jobs:
        ceiling, origin = useful, "the size of the input"
    return Budget(ceiling, "pin" if settings.jobs else "none", f"the linker's own threads: {ceiling} by {origin}")
