"""Grow and shrink a linker with a fixed number of threads, by its CPU affinity.

lld starts a fixed number of threads and never changes it. A number that is right at the start of a busy build is wrong a minute later. So
lld gets the largest number that could be useful, and is confined: its threads may run on as many CPUs as the link holds (1 + tokens). When
a token becomes free the warden widens the mask of every thread. When threads are idle it narrows the mask and returns the token.

The edge cases:
- The CPUs: first the one that the link runs on, then one of each core before SMT siblings, never outside the mask that the call had, and
  none of another link of ours (cpu_locks.py).
- New threads inherit the mask of their parent, which may be an old one. So the masks are checked again.
- To read the state of every thread is expensive: two dozen files, twenty times a second, take 1 % of a CPU. The CPU time of a whole
  process is one system call. While that equals what the CPUs held can give, no thread is idle, and the threads are read only a few times a
  second. Runnable threads are counted only up to the CPUs that there are: on a full machine, where the CPU time says little, eight links
  of sixteen threads used 4 % of two CPUs for counting them all.
- If another program computes on the same CPUs (another container, a pinned job), a confined link would starve beside idle CPUs. The same
  measurement shows it: threads are runnable and get less than their CPUs can give. Then the confinement ends for good.
- Wardens must not slow the links of a full machine. A link that holds nothing to return is examined half as often. One that is refused a
  CPU is examined, and tries again, at growing intervals (reserve/lease.py).
- A link that holds more than its share of slots returns one at a time. That takes effect at once, because the link need not agree to a
  mask.
- Processes that outlive the link must not stay confined: at the end every mask is what it was.

Only for linkers that were observed to obey an explicit number under any mask (mold 1.10 derives its workers from the mask).
"""

from __future__ import annotations

import os
import time

from ..call import clock, own_directory, processes
from ..call.environment import slurp
from ..reserve.lease import pause
from .cpu_locks import Cpus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..reserve.lease import Lease

TICK_SECONDS = 0.05
LAZY_SECONDS = 0.1  # while there is nothing to return
SCAN_SECONDS = 0.25  # between two reads of all threads while the link uses what it holds
DOUBT_SECONDS = 0.1  # while it does not, although its threads are runnable: the machine is full
YIELD_SECONDS = 0.2  # between two checks whether another link waits for a share of slots
IDLE_SECONDS = 0.2  # with fewer runnable threads than CPUs: a serial phase
STARVED_SECONDS = 1.0
WATCH_SECONDS = 0.5  # the time over which CPU shares are compared: a shorter one varies too much
STARVED_SHARE = 0.6  # of what the CPUs held could give; 0.97 and more was measured for a link alone
IDLE_SHARE = 0.5  # of one other CPU: on a machine without an idle CPU the confinement does no harm
AGAIN_SECONDS = (0.5, 4.0)  # until the masks of all threads are checked again; doubled while all are right
SHARING_SECONDS = 0.1  # between two searches for a free CPU, while another link is on the same one
BIRTHS = 4  # times that the threads of a link are listed, until none is new

ONE_CPU = "it may use one CPU only"
NO_PROC = "/proc does not show its threads"


class Confinement:
    """Confines one link to as many CPUs as it holds. link: pid; most: tokens at most; peak: most tokens held at once; wants: one more."""

    __slots__ = (
        "_again", "_again_after", "_ask_at", "_busy", "_cpu", "_cpus", "_denied_since", "_given_up", "_idle_since", "_idled", "_lease",
        "_link", "_mask", "_most", "_part_at", "_pids", "_runnable", "_scan_at", "_starved_since", "_ticked", "_used", "_watch_at",
        "_watched", "_watched_mask", "_yield_at", "peak", "wants",
    )  # fmt: skip

    def __init__(self, link: int, cpus: Cpus, lease: Lease, most: int) -> None:
        self._link = link
        self._cpus = cpus
        self._lease = lease
        self._most = most
        self._pids = [link]
        self._runnable = 0  # as of the last scan
        self._busy = False
        self._scan_at = 0.0
        self._ticked = 0.0
        self._cpu: dict[int, float] = {}  # pid -> CPU seconds at the last tick
        self._used = 0.0  # CPU seconds since the last check for other programs
        self._idle_since = 0.0
        self._ask_at = self._denied_since = 0.0
        self._mask: frozenset[int] = frozenset()  # set last
        self._again = self._part_at = 0.0
        self._again_after = AGAIN_SECONDS[0] / 2  # `start` has just set them
        self._watched = self._watch_at = 0.0
        self._watched_mask: frozenset[int] = frozenset()  # the idle time outside it was summed last
        self._idled = 0.0
        self._starved_since = 0.0
        self._yield_at = 0.0
        self._given_up = False
        self.peak = lease.held
        self.wants = False

    def tick(self, now: float) -> float:
        """Widen or narrow by the state of the threads; return the seconds until the next call. now: a monotonic clock."""
        used, elapsed = self._cpu_time(), now - self._ticked
        self._ticked = now
        self._used += used
        held = 1 + self._lease.held
        was_busy, self._busy = self._busy, used >= (held - 0.5) * elapsed
        if now >= self._scan_at or (not self._busy and (was_busy or self._runnable < held)):
            self._scan(held)
            self._scan_at = now + (SCAN_SECONDS if self._busy else DOUBT_SECONDS)
        self._move(now, held)
        self.peak = max(self.peak, self._lease.held)
        if now >= self._again:
            self._apply()
        elif now >= self._part_at and not self._given_up and self._cpus.shares:
            # A link that uses its whole mask cannot move, but locks a CPU that became free, for links with other masks.
            self._part_at = now + (SHARING_SECONDS if len(self._mask) < len(self._cpus.mask) else AGAIN_SECONDS[0])
            if self._cpus.resize(1 + self._lease.held) != self._mask:
                self._apply()
        self._check_for_starvation(now)
        if not self._lease.held:
            return max(LAZY_SECONDS, self._ask_at - now)
        full = not self._busy and self._runnable > self._lease.held and not self.wants
        return DOUBT_SECONDS if full else TICK_SECONDS  # nothing changes before the next scan

    def hurry(self) -> None:
        """Try to take at the next tick: a token was seen."""
        self._ask_at = 0.0

    def _move(self, now: float, held: int) -> None:
        """Return a slot to another link, or widen, or narrow: one of them."""
        if now >= self._yield_at:
            self._yield_at = now + YIELD_SECONDS
            if self._lease.held and self._lease.surplus():
                # One at a time: the other link may end meanwhile, and then the rest need not be returned.
                self._give(1)
                self.wants = False
                return
        wanted = min(self._runnable, 1 + self._most) - held
        if wanted > 0:
            self._idle_since = 0.0
            if now >= self._ask_at:
                self._ask(now, wanted)
            return
        self.wants, self._ask_at, self._denied_since = False, 0.0, 0.0
        if self._runnable < held and self._lease.held and not self._busy and self._lease.source != "none":
            self._idle_since = self._idle_since or now
            if now - self._idle_since >= IDLE_SECONDS:
                # To the number of runnable threads in one step: a serial phase after a parallel one is the usual case.
                self._give(held - max(1, self._runnable))
                self._idle_since = 0.0
        else:
            self._idle_since = 0.0

    def _ask(self, now: float, wanted: int) -> None:
        """Widen by the threads that are free; if there is none, try again after a pause."""
        if self._lease.grow(wanted):
            self.wants, self._denied_since = False, 0.0
            self._apply()
            return
        self.wants, self._denied_since = True, self._denied_since or now
        self._ask_at = now + pause(now - self._denied_since)

    def _give(self, count: int) -> None:
        """Leave CPUs first, and return their tokens then: another job may start within a millisecond."""
        self._apply(leaving=count)
        self._lease.shrink(count)

    def _scan(self, held: int) -> None:
        """List the processes of the link, and count its runnable threads, as far as they matter. held: CPUs."""
        self._pids = [self._link, *processes.below(self._link)]
        self._runnable = count_runnable(self._pids, max(held, 1 + self._most))

    def _cpu_time(self) -> float:
        """Return the CPU seconds of the known processes since the last call; a new process counts from the next call on."""
        before, self._cpu = self._cpu, {pid: cpu_seconds(pid) for pid in self._pids}
        return sum(max(0.0, spent - before[pid]) for pid, spent in self._cpu.items() if pid in before)

    def _apply(self, leaving: int = 0) -> None:
        """Set the mask of every thread to as many CPUs as are held. leaving: tokens that are about to be returned."""
        if self._given_up:
            return
        self._mask = self._cpus.resize(1 + self._lease.held - leaving)
        # A thread that starts meanwhile may have the old mask; once all are right, new ones inherit the right one.
        changed = set_masks(self._link, self._mask)
        self._again_after = AGAIN_SECONDS[0] if changed else min(2 * self._again_after, AGAIN_SECONDS[1])
        self._again, self._part_at = self._ticked + self._again_after, self._ticked + SHARING_SECONDS

    def _check_for_starvation(self, now: float) -> None:
        """End the confinement when runnable threads get much less than their CPUs can give, while other CPUs of the mask are idle."""
        if self._given_up or now < self._watch_at:
            return
        self._watch_at = now + WATCH_SECONDS
        mask = frozenset(self._cpus.used)
        idle = idle_seconds(self._cpus.mask - mask)
        elapsed, used, idled = now - self._watched, self._used, idle - self._idled
        # Sums over two different sets of CPUs cannot be compared.
        same, self._watched_mask = mask == self._watched_mask, mask
        self._watched, self._used, self._idled = now, 0.0, idle
        held = min(1 + self._lease.held, len(self._cpus.mask))
        starved = same and used < STARVED_SHARE * held * elapsed and self._runnable >= held and idled > IDLE_SHARE * elapsed
        if not starved:
            self._starved_since = 0.0
            return
        self._starved_since = self._starved_since or now
        if now - self._starved_since >= STARVED_SECONDS:
            self._given_up = True
            self.unconfine()

    def start(self) -> bool:
        """Confine the link to what is held now; False, with nothing changed, if that is refused."""
        wanted = self._cpus.resize(1 + self._lease.held)
        try:
            if set_mask(self._link, wanted):
                set_masks(self._link, wanted)  # a WPA that is confined late has forked already
                return True
        except BaseException:
            self.unconfine()
            raise
        self._cpus.release()
        return False

    def unconfine(self, survivors: Iterable[int] = ()) -> None:
        """Set the mask of every thread of the link, and of its survivors, to the one that the call had."""
        for _ in range(2):  # again for threads that could not be listed or set the first time
            set_masks(self._link, self._cpus.mask, survivors)

    def end(self, survivors: Iterable[int]) -> None:
        """Undo everything at the end of the link. survivors: processes that hold its life pipe."""
        self.unconfine(survivors)
        self._cpus.release()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, with all its threads, running and ended; 0 when it is gone. One system call, no /proc."""
    if not clock.cpu_clocks_are_true():
        fields = processes.stat_fields(pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if len(fields) > 12 else 0.0
    try:
        # clock_getcpuclockid(3) as the kernel has it: the complement of the pid, above three bits that say CPUCLOCK_SCHED.
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def idle_seconds(cpus: Iterable[int]) -> float:
    """Sum the idle time of CPUs since boot, by /proc/stat; 0 when unknown, so that no link counts as starved."""
    wanted = {b"cpu%d" % cpu for cpu in cpus}
    try:
        lines = slurp(processes.PROC + b"/stat").split(b"\n") if wanted else []
    except OSError:
        return 0.0
    fields = [line.split() for line in lines if line.partition(b" ")[0] in wanted]
    return sum(int(field[4]) for field in fields if len(field) > 4) / os.sysconf("SC_CLK_TCK")


def threads_of(pid: int) -> list[bytes]:
    """List the threads of a process, none when it is gone."""
    try:
        return os.listdir(processes.place(pid, b"task"))
    except OSError:
        return []


def count_runnable(pids: Iterable[int], enough: int) -> int:
    """Count the runnable threads of processes (states R and D), up to `enough`.

    The youngest thread of each process is first: the backends of lld are younger than its thread pool, which waits for them.
    """
    found = 0
    for pid in pids:
        for tid in reversed(threads_of(pid)):
            if found >= enough:
                return found
            found += _state(processes.place(pid, b"task/%s/stat" % tid)) in (b"R", b"D")
    return found


def _state(path: bytes) -> bytes:
    """Read the state of a thread, b"" when it is gone. It is in the first 128 bytes, after a name of at most 15 bytes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 128).rpartition(b") ")[2][:1]
    except OSError:
        return b""
    finally:
        os.close(fd)


def set_masks(link: int, mask: frozenset[int], others: Iterable[int] = ()) -> bool:
    """Set the affinity of every thread of a process, of all below it and of others; return whether one of them changed.

    Processes and threads that start meanwhile inherit the mask of their parent, so all are listed again until none is new.
    """
    done: set[bytes] = set()
    changed = False
    for _ in range(BIRTHS):
        born = [tid for pid in (link, *processes.below(link), *others) for tid in threads_of(pid) if tid not in done]
        if not born:
            break
        for tid in born:
            changed = (_differs(int(tid), mask) and set_mask(int(tid), mask)) or changed
        done.update(born)
    return changed


def _differs(tid: int, mask: frozenset[int]) -> bool:
    try:
        return os.sched_getaffinity(tid) != mask
    except OSError:
        return False  # it is gone


def set_mask(tid: int, mask: frozenset[int]) -> bool:
    """Set the affinity of a thread; False when it is gone, or when that is not permitted."""
    try:
        os.sched_setaffinity(tid, mask)
    except OSError:
        return False
    return True


def obstacle(pid: int) -> str:
    """Return why a process cannot be confined, "" when it can: it has one CPU, or /proc or sched_setaffinity is refused.

    Its mask is set to the current value, because only the attempt shows a refusal (by seccomp in a container, for example).
    """
    try:
        mask = os.sched_getaffinity(pid)
        if len(mask) < 2:
            return ONE_CPU
        if not processes.is_ours():
            return processes.FOREIGN
        if len(processes.stat_fields(pid)) < 37 or not threads_of(pid):
            return NO_PROC
        os.sched_setaffinity(pid, mask)
    except OSError as error:
        return f"its affinity cannot be set: {error.strerror}"
    return ""


def confine(link: int, lease: Lease, most: int, get: Callable[[bytes], bytes]) -> Confinement | str:
    """Start to confine a link to what the lease holds; return the reason if that is refused.

    most: tokens at most; get: Environment.get, to find our directory for the locks of CPUs.
    """
    refused = obstacle(link)
    if refused:
        return refused
    mask = os.sched_getaffinity(link)
    fields = processes.stat_fields(link)
    directory = own_directory.directory(get)
    if len(fields) < 37:
        return NO_PROC  # it has ended meanwhile
    cpus = Cpus(mask, int(fields[36]), directory if isinstance(directory, bytes) else b"")
    confinement = Confinement(link, cpus, lease, min(most, len(mask) - 1))
    return confinement if confinement.start() else "its affinity cannot be set"
