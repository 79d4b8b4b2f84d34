"""From demand, ceilings and what can be had to one number, with its reason and its origin.

The order matters: a pin (LDSHIM_JOBS) beats everything and touches no jobserver; a jobserver that works is the build's own word and beats
any count of CPUs; without one, this process may use the CPUs it is allowed on, and ceilings of package builders apply. Pure.

What a GCC link gets is the table in design §4; the rows are `ceiling`, the columns the three sources.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.environment import Settings
    from ..inputs.findings import Findings
    from ..reserve.lease import Lease
    from .mode import Mode

UNLIMITED = 1 << 30

# Input that gives lld's own threads something to do, without LTO. Measured with lld 16 and 19, one thread against two: up to 1.2 MB the
# second gains nothing and costs 2 to 10 % more CPU, at 5 MB it saves up to 9 % of the time (23 on a busy machine), at 20 MB 13 to 15.
LLD_BYTES_PER_THREAD = 2 << 20


class Limits:
    """What bounds a number besides demand.

    cpus: CPUs this process may use (affinity, quota); named: [(ceiling, origin)], no zeros; memory: the same for the jobs that memory has
    room for, [] when nobody can tell. The others bound our own choice only, memory bounds a jobserver's word as well (C17).
    """

    __slots__ = ("cpus", "cpus_reason", "memory", "named")

    def __init__(self, cpus: int, cpus_reason: str, named: list[tuple[int, str]]) -> None:
        self.cpus = cpus
        self.cpus_reason = cpus_reason
        self.named = named
        self.memory: list[tuple[int, str]] = []


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


def for_lto(mode: Mode, settings: Settings, lease: Lease | None, limits: Limits, make_jobs: int) -> Budget:
    """Decide the most that an LTO link may use.

    lease: where threads can be had, None or of source "none" where nothing is shared; make_jobs: make's -jN, 0 when unknown. With a lease
    the number is the most the link may grow to; how much there is is known only when it is taken.
    """
    if settings.jobs:
        number = 1 if mode.serial else min(settings.jobs, mode.asked or UNLIMITED)
        return Budget(number, "pin", f"LDSHIM_JOBS={settings.jobs}{_asked(mode)}")
    ceilings = [(min(mode.demand, mode.asked or UNLIMITED), "what the link can use")]
    if settings.max_jobs:
        ceilings.append((settings.max_jobs, "LDSHIM_MAX_JOBS"))
    if lease is not None and lease.source in ("jobserver", "recovered"):
        if make_jobs:
            ceilings.append((make_jobs, "make's -j"))
        number, origin = min([*ceilings, *limits.memory])
        return Budget(number, lease.source, f"{lease.source} {lease.name}, at most {number} by {origin}", min(ceilings)[0])
    if mode.serial:
        return Budget(1, "none", "no jobserver, and nobody asked for more than one job")
    ceilings += [*limits.named, (limits.cpus, limits.cpus_reason)]
    number, origin = min([*ceilings, *limits.memory])
    source = "slots" if lease is not None and lease.source == "slots" else "none"
    return Budget(number, source, f"no jobserver; at most {number} by {origin}{_asked(mode)}", min(ceilings)[0])


def _asked(mode: Mode) -> str:
    return "; serial was asked for" if mode.serial else f"; asked for at most {mode.asked}" if mode.asked else ""


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
