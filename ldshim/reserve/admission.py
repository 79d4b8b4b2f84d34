"""Let a link that does not fit wait for those that run, before it takes anything (C25).

The problem: a link needs at least the memory of one job, and a build starts as many links as it has jobs. With each of them bounded to
one job they still die together, and static answers (a pool of two links in ninja) are wrong on every other machine. The consequence: a
link whose one job does not fit into what is available, less what others were promised and have not used, waits, in the process that will
become the linker, until one of those others is over. It holds nothing but its caller's slot; ^C, ^Z, SIGTERM and SIGHUP find a process
that does with them what the linker would do.

The edge cases follow from "never a deadlock, never for ever":
- It waits for admitted links that live and are not stopped, and that share the ceiling it does not fit under. If there is none it goes,
  whatever the memory is: nobody could make room. So at least one link runs, and each that ends lets another on.
- Not for an ancestor, which waits for us; not for another waiter, except by order: who came first is first. One that is stopped by ^Z has
  no place in the order until it goes on.
- A small link may pass a large one that cannot start yet, as a shopper with one item does. After PASS_SECONDS it may not: then nobody
  who came later starts, the running ones end, and the large one has the machine.
- After LDSHIM_WAIT seconds it goes in any case: an estimate is a guess, and a build that stands is worse than one that may fail.
- Where processes stall for memory (pressure.py) nobody is admitted beside others, whatever the estimates say.
- Whoever holds the book's lock and is stopped stops nobody: who cannot look goes.

Many wait, and each look costs a file for each link: who stands further back looks more rarely.
"""

from __future__ import annotations

import os

from ..call import clock
from .memory_ledger import least_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .memory import Ceiling
    from .memory_ledger import Promise
    from .promises import Entry

LOOK_SECONDS = 0.1  # between two looks of the first in the queue; of the n-th n times as much
LOOK_SECONDS_MOST = 2.0
PASS_SECONDS = 30.0  # how long a link that does not fit lets smaller ones pass
SAY_SECONDS = 10.0  # until a person at a terminal is told
GO = -1
NAME = b"ldshim-waits"


def place(promise: Promise, ceilings: list[Ceiling], others: list[Entry], pressed: bool, now: float) -> int:
    """Judge one link: GO, or how many stand before it in the queue. others: no ancestor of it; pressed: the machine stalls for memory."""
    active = [each for each in others if each.is_active()]
    running = [each for each in active if not each.waits]
    before = [each for each in active if each.waits and (each.since, each.stamp) < (promise.since, promise.stamp)]
    if not running:
        return len(before) or GO
    taken = [(each, each.wants) for each in others if not each.waits]
    wants = promise.footprint.wants(1)
    if pressed or _is_blocked(ceilings, taken, running, wants):
        return len(before)
    # What would fit, or has let others pass for long enough, comes first; the rest of those before us cannot start, and lose nothing by it.
    first = [each for each in before if now - each.since > PASS_SECONDS or not _is_blocked(ceilings, taken, running, each.wants)]
    reserved = [*taken, *((each, each.wants) for each in first)]
    return len(before) if first and _is_blocked(ceilings, reserved, [*running, *first], wants) else GO


def _is_blocked(ceilings: list[Ceiling], taken: list[tuple[Entry, int]], by: list[Entry], wants: int) -> bool:
    """Tell whether some ceiling has no room for so many bytes, and one of `by` is below it, who will make room."""
    for ceiling in ceilings:
        left = least_left([ceiling], taken)
        if left is not None and left < wants and any(each.shares(ceiling.identity) for each in by):
            return True
    return False


def admit(promise: Promise, seconds: int, say: Callable[[str], None]) -> float:
    """Wait until the link may start, and promise it the memory of one job; return the seconds that it waited.

    seconds: at most; say: writes one line for a person.
    """
    if not promise.is_shared:
        return 0.0
    waited, said, was, found = 0.0, False, b"", GO

    def judge(ceilings: list[Ceiling], others: list[Entry]) -> int:
        nonlocal found
        found = GO if waited >= seconds else place(promise, ceilings, others, promise.stalls(), clock.now())
        return 1 if found == GO else 0

    while promise.write(judge) and found != GO:
        was = was or name_ourselves(NAME)
        if not said and waited >= SAY_SECONDS:
            said = True
            if os.isatty(2):
                say(f"waits for {promise.footprint.text(1)} of memory, for {seconds} s at most (LDSHIM_WAIT)")
        pause = min(LOOK_SECONDS * (1 + found), LOOK_SECONDS_MOST, seconds - waited)
        clock.sleep(pause)
        # What was slept has passed in any case, however the clock stands.
        waited = max(waited + pause, clock.now() - promise.since)
    if was:
        name_ourselves(was)
    return waited


def name_ourselves(name: bytes) -> bytes:
    """Show up in ps under a name; return the one before, b"" where that cannot be."""
    try:
        fd = os.open(b"/proc/self/comm", os.O_RDWR | os.O_CLOEXEC)
        try:
            before = os.read(fd, 16).rstrip(b"\n")
            os.write(fd, name)
        finally:
            os.close(fd)
    except OSError:
        return b""
    return before
