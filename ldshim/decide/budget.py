"""From demand, ceilings and what can be had to one number, with its reason and its origin.

The order matters: a pin (LDSHIM_JOBS) beats everything and touches no jobserver. Everything else is at most the CPUs this process may
use: told sixteen threads on two CPUs, a linker takes the memory of sixteen, is no faster, and fails where processes are limited and the
bare linker works. Where no jobserver works, ceilings of package builders apply, too. Pure.

What a GCC link gets is the table in design §4; the rows are `ceiling`, the columns the three sources.
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
        """Where threads can be had: a lease (reserve/lease.py), of which only the names matter here."""

        source: str
        name: str


UNLIMITED = 1 << 30

# Input that gives lld's own threads something to do, without LTO. Measured with lld 16 and 19, one thread against two: up to 1.2 MB the
# second gains nothing and costs 2 to 10 % more CPU, at 5 MB it saves up to 9 % of the time (23 on a busy machine), at 20 MB 13 to 15.
LLD_BYTES_PER_THREAD = 2 << 20


class Limits:
    """What bounds a number besides demand.

    cpus: CPUs this process may use (reserve/cpus.py); named: [(ceiling, origin)], no zeros, for our own choice where there is no jobserver;
    own: the same for what the linker would choose by itself, [] where nothing more is known; memory: the same for the jobs that memory has
    room for, [] when nobody can tell.
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
        """Return the same limits with those of memory."""
        return Limits(self.cpus, self.cpus_reason, self.named, memory, self.own)


class Budget:
    """The number and where it comes from.

    number: threads at most, the implicit one counted; source: pin, jobserver, recovered, slots or none; reason: one clause. With a
    jobserver, number is the most this link may grow to; how many tokens there are is known only when they are taken. told: the same but
    for what memory allows: for a link behind a valve, which is fed as memory allows.
    """

    __slots__ = ("number", "reason", "source", "told")

    def __init__(self, number: int, source: str, reason: str, told: int = 0) -> None:
        self.number = max(1, number)
        self.source = source
        self.reason = reason
        self.told = max(self.number, told)


class Decision:
    """What one link is to get, decided before anything is taken.

    mode: None for a call that is no link of ours; number: threads at most, the implicit one counted, 0 where the tool runs as it was
    called; before_memory: the same but for the memory limit, which a link behind a valve is told, for it is fed as memory allows; source:
    as Budget; policy: what is to move tokens (warden/reservation.py), "none" where no warden is left; linker: family of the linker that
    runs in the end; make: what GCC's lto-wrapper will run, None where no jobs run side by side; spread: how its backends become processes
    of ours, None where the tool runs them; reason: for people.
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
        self.before_memory = budget.told if budget is not None else 0
        self.source = budget.source if budget is not None else "none"
        self.policy = policy
        self.linker = linker
        self.spread = spread

    @property
    def private(self) -> bool:
        """Tell whether the number is enforced by a private jobserver, because what runs side by side are processes that ask one."""
        return self.lto == "gcc" or self.spread is not None

    @property
    def lto(self) -> str:
        """Return the mode's word for the log."""
        return self.mode.lto if self.mode is not None else "none"


def explicit_kinds(command: Command, linker: str, mode: Mode) -> list[str]:
    """Name the kinds of explicit numbers that bound this link's jobs, of flto, jobs and threads (prepaid.PAYERS); [] for none."""
    if mode.lto == "gcc":
        # What the objects recorded is an explicit number too, but nobody who is running now has paid for it.
        return ["flto"] if any(flto.value for flto in command.gcc_facts.flto) else []
    if mode.unbound:
        return ["partitions"]  # who paid for another number has not paid for the threads that it does not bound
    if command.facts.jobs:
        return ["jobs"]
    if command.facts.threads and not (mode.lto == "thin" and linker in ("gold", "mold", "bfd")):
        return ["threads"]
    return []  # --threads does not bind the jobs of LLVM's plugin


def why_the_number_stays(kinds: list[str], mode: Mode, settings: Settings, payer: str) -> str:
    """Say why an explicit number is left alone, with no token taken under it (C9); "" when it is a ceiling as usual.

    payer: the ancestor that has paid for it (call/prepaid.py), "" for none.
    """
    if not (mode.asked or mode.unbound) or not (kinds or mode.lto == "gcc"):
        return ""
    if settings.keep_explicit:
        return f"LDSHIM_EXPLICIT=keep: {mode.asked or mode.unbound} stays, and no token is taken"
    return f"{payer} has paid for its {mode.asked}: it stays, and no token is taken" if payer else ""


def kept(mode: Mode, why: str, make: Make | None) -> Decision:
    """Decide for a number that stays. GCC's is enforced by nothing but a private jobserver; the other tools obey their own arguments."""
    budget = Budget(mode.asked, "none", why) if mode.lto == "gcc" and mode.demand > 1 else None
    return Decision(mode, f"{mode.reason}; {why}", budget, make=make)


def bounds(command: Command, linker: str, mode: Mode) -> str:
    """Say what of this link is bounded: "jobs" of LTO, "threads" of the linker itself, "" for nothing."""
    if linker == "wild" and mode.lto == "none":
        return "threads"
    if mode.demand > 1:
        return "jobs"
    plain = mode.lto in ("none", "full") and (linker in ("lld", "mold") or (command.family == "gold" and command.facts.threads))
    return "threads" if plain else ""


# family: the first major seen to start as many threads as it is told under a mask of one CPU, 0 for all.
_OBEYS = {
    "lld": 0,  # 14, 15, 16, 19, 21, 23: LLVM takes an explicit number as it is (llvm/lib/Support/Threading.cpp)
    "mold": 3,  # 3.0.0, with and without --fork; 1.10.1 starts no more than the mask has CPUs
    "gold": 0,  # 2.40, its own threads; its LTO is LLVM's
}


def may_confine(linker: Tool, settings: Settings) -> bool:
    """Tell whether a linker, called or behind a driver, was seen to obey an explicit number of threads whatever CPUs it may use."""
    return settings.elastic and linker.family in _OBEYS and linker.major >= _OBEYS[linker.family]


def outgrows(mode: Mode, number: int, affinity: int) -> bool:
    """Tell whether a link starts more threads than its number, on more CPUs. affinity: CPUs of the mask."""
    return mode.unbound > number and affinity > number


def choose_policy(mode: Mode, source: str, before_memory: int, follow: str, obstacle: str, affinity: int = 0) -> str:
    """Choose what is to move the tokens of a link. before_memory: its number, 1 where there is nothing to take.

    follow: how the link could be followed, "valve" or "confine", "" for not at all; obstacle: why it cannot be all the same, "" when it
    can; affinity: CPUs of the mask.
    """
    if source in ("none", "pin") or before_memory == 1:
        return "enclose" if outgrows(mode, before_memory, affinity) and not obstacle else "none"
    if obstacle:
        return "fixed"
    return follow or ("enclose" if mode.unbound else "fixed")


def for_lto(mode: Mode, settings: Settings, lease: Pool | None, limits: Limits, make_jobs: int) -> Budget:
    """Decide the most that an LTO link may use.

    lease: where threads can be had, None or of source "none" where nothing is shared; make_jobs: make's -jN, 0 when unknown. With a lease
    the number is the most the link may grow to; how much there is is known only when it is taken.
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
        return Budget(1, "none", "no jobserver, and nobody asked for more than one job")
    ceilings += [*limits.named, (mode.useful(), "what the link can use")]
    number, origin = _lowest([*ceilings, *limits.memory])
    source = "slots" if lease is not None and lease.source == "slots" else "none"
    return Budget(number, source, f"no jobserver; at most {number} by {origin}{_asked(mode)}", _lowest(ceilings)[0])


def _lowest(ceilings: list[tuple[int, str]]) -> tuple[int, str]:
    """Return the lowest ceiling; of several, the first."""
    return min(ceilings, key=lambda ceiling: ceiling[0])


def _asked(mode: Mode) -> str:
    return "; serial was asked for" if mode.serial else f"; asked for at most {mode.asked}" if mode.asked else ""


_OWN_MOST = {"lld": 16, "mold": 32, "wild": UNLIMITED}  # threads that the newest of a linker starts by itself at most
_LLD_CAPS = 17  # the first lld that stops at 16 (llvm/llvm-project, D147493)


def own_threads(linker: str, major: int, cpus: int, facts: Facts) -> int:
    """Return how many threads a linker would start by itself. major: 0, unknown, counts as the newest; cpus: of the affinity mask."""
    most = _OWN_MOST.get(linker)
    if not most:
        return max(2, len(facts.inputs))  # gold, once --threads is given: a thread for every input (gold/options.cc)
    # mold compresses debug sections on all CPUs (src/main.cc, get_thread_count).
    uncapped = 0 < major < _LLD_CAPS if linker == "lld" else linker == "mold" and facts.compresses
    return cpus if uncapped else min(cpus, most)


def lld_useful(found: Findings) -> int:
    """Return how many threads of its own lld can use without LTO, at least 1, by the size of the input where all of it was seen."""
    unseen = found.other or not found.complete
    inert = found.gcc_slim + found.gcc_fat + found.fat_thin + found.fat_full  # linked as native code, and not in native_bytes
    return UNLIMITED if unseen or inert else 1 + found.native_bytes // LLD_BYTES_PER_THREAD


def for_plain(own_default: int, explicit: int, settings: Settings, limits: Limits, useful: int = UNLIMITED) -> Budget | None:
    """Bound the threads of a link whose LTO, if any, is serial: no token is taken for it (C23).

    Return None when the linker's own choice is within bounds.

    own_default: what the linker would start by itself; explicit: the number on its command line, 0 for none. limits.named holds make's -jN
    whether a jobserver works or not: a build of N jobs has no use for a link of more threads. useful: more would not help this link; it
    lowers a number that must be said anyway, and is no reason to say one where the linker's own choice is within bounds.
    """
    bounds = [*limits.named, (limits.cpus, limits.cpus_reason)]
    if settings.max_jobs:
        bounds.append((settings.max_jobs, "LDSHIM_MAX_JOBS"))
    ceiling, origin = (settings.jobs, "LDSHIM_JOBS") if settings.jobs else min(bounds)
    if (explicit or own_default) <= ceiling:
        return None
    if useful < ceiling and not explicit and not settings.jobs:
        ceiling, origin = useful, "the size of the input"
    return Budget(ceiling, "pin" if settings.jobs else "none", f"threads of the linker itself: {ceiling} by {origin}")
