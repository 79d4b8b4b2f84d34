"""Let a linker with a fixed number of threads grow and shrink all the same, by the CPUs it may run on.

lld starts as many threads as it is told, once, and keeps them to its end. A number that is right at the start of a busy build is wrong a
minute later. So it is told the most that could ever be useful, and confined: its threads may run on as many CPUs as are held (1 + tokens).
When a token becomes free the warden widens the mask of every thread, when threads fall idle it narrows it and gives the token back.

The edge cases follow from that:
- Which CPUs: the one it runs on first, then one core after another before their SMT siblings, never outside the mask it was given, and not
  those of other links of ours (warden/cpu_locks.py).
- Threads are born all the time and inherit the mask of their parent, which may be the old one: the masks are looked at again.
- Looking at every thread costs: two dozen files, twenty times a second, are 1 % of a CPU. But the CPU time of a whole process is one
  system call. While it is what the CPUs held can give, nobody is idle, and the threads are looked at a few times a second only. And
  nobody asks how many are runnable beyond the CPUs that there are: on a full machine, where the CPU time says little, eight links of
  sixteen threads spent 4 % of two CPUs on counting them all.
- Where somebody else computes on the same CPUs (another container, a pinned job) a confined link would starve beside idle CPUs. The
  same figure shows it: threads are runnable and get less than their CPUs could give. Then the confinement is given up for good.
- Links on a full machine must not be slowed by their own wardens: who holds nothing that could be given back is looked at half as often,
  and, where it is refused a CPU, asks and is looked at ever more rarely (reserve/lease.py).
- A link that holds more than its share of slots yields one at a time, which is at once: a mask needs nobody's consent.
- What outlives the link must not stay confined: at the end every mask is what it was.

Only for linkers that were seen to obey an explicit number whatever the mask is (mold 1.10 derives its workers from the mask).
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
LAZY_SECONDS = 0.1  # while there is nothing to give back
SCAN_SECONDS = 0.25  # how often all threads are looked at while the link uses what it holds
DOUBT_SECONDS = 0.1  # while it does not, although its threads could run: the machine is full
YIELD_SECONDS = 0.2  # how often a link that holds more than its share asks whether another waits
IDLE_SECONDS = 0.2  # fewer runnable threads than CPUs for that long: a serial phase
STARVED_SECONDS = 1.0
WATCH_SECONDS = 0.5  # what is compared with what: a share of a CPU is even over so long a time only
STARVED_SHARE = 0.6  # of what the CPUs held could have given; measured alone: 0.97 and more
IDLE_SHARE = 0.5  # of one CPU beside ours: on a machine that is full everywhere the confinement does no harm
AGAIN_SECONDS = (0.5, 4.0)  # until the masks of all threads are looked at again after they were set; twice as late while all are right
SHARING_SECONDS = 0.1  # while another link is on the same CPU: how often a free one is looked for, at most
BIRTHS = 4  # how often the threads of a link are listed until none is new

ONE_CPU = "it may use one CPU only"
NO_PROC = "/proc does not show its threads"


class Confinement:
    """Keep one link on as many CPUs as it holds. link: pid; most: tokens at most; peak: most tokens held at once; wants: one more."""

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
        self._used = 0.0  # CPU seconds since the last look for strangers
        self._idle_since = 0.0
        self._ask_at = self._denied_since = 0.0
        self._mask: frozenset[int] = frozenset()  # set last
        self._again = self._part_at = 0.0
        self._again_after = AGAIN_SECONDS[0] / 2  # `start` has set them just before
        self._watched = self._watch_at = 0.0
        self._watched_mask: frozenset[int] = frozenset()  # whose others' idle time was summed last
        self._idled = 0.0
        self._starved_since = 0.0
        self._yield_at = 0.0
        self._given_up = False
        self.peak = lease.held
        self.wants = False

    def tick(self, now: float) -> float:
        """Widen or narrow as the threads of the link show; return seconds until the next look. now: a monotonic clock."""
        used, elapsed = self._burnt(), now - self._ticked
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
            # Who has the whole mask cannot move, but takes the name of a CPU that is free by now: others, with other masks, go by it.
            self._part_at = now + (SHARING_SECONDS if len(self._mask) < len(self._cpus.mask) else AGAIN_SECONDS[0])
            if self._cpus.resize(1 + self._lease.held) != self._mask:
                self._apply()
        self._watch_for_others(now)
        if not self._lease.held:
            return max(LAZY_SECONDS, self._ask_at - now)
        full = not self._busy and self._runnable > self._lease.held and not self.wants
        return DOUBT_SECONDS if full else TICK_SECONDS  # nothing is learned before the next scan

    def hurry(self) -> None:
        """Ask at the next tick: a token was seen."""
        self._ask_at = 0.0

    def _move(self, now: float, held: int) -> None:
        """Yield, widen, or narrow: one of them at a time."""
        if now >= self._yield_at:
            self._yield_at = now + YIELD_SECONDS
            if self._lease.held and self._lease.surplus():
                # One at a time: the other link may end meanwhile, and then there is nothing to yield.
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
                # Down to what runs, in one step: a serial phase after a wide one is the usual case.
                self._give(held - max(1, self._runnable))
                self._idle_since = 0.0
        else:
            self._idle_since = 0.0

    def _ask(self, now: float, wanted: int) -> None:
        """Widen by what there is; where there is nothing, ask again after a while."""
        if self._lease.grow(wanted):
            self.wants, self._denied_since = False, 0.0
            self._apply()
            return
        self.wants, self._denied_since = True, self._denied_since or now
        self._ask_at = now + pause(now - self._denied_since)

    def _give(self, count: int) -> None:
        """Leave CPUs, and then give what paid for them back: the next who takes it is at work within a millisecond."""
        self._apply(leaving=count)
        self._lease.shrink(count)

    def _scan(self, held: int) -> None:
        """Look at the processes of the link, and at as many threads as can tell what to do. held: CPUs."""
        self._pids = [self._link, *processes.below(self._link)]
        self._runnable = count_runnable(self._pids, max(held, 1 + self._most))

    def _burnt(self) -> float:
        """Return the CPU seconds of all processes known since the last time; one that is new counts from the next time on."""
        before, self._cpu = self._cpu, {pid: cpu_seconds(pid) for pid in self._pids}
        return sum(max(0.0, spent - before[pid]) for pid, spent in self._cpu.items() if pid in before)

    def _apply(self, leaving: int = 0) -> None:
        """Confine all there is to as many CPUs as are held, without those that are about to be given back."""
        if self._given_up:
            return
        self._mask = self._cpus.resize(1 + self._lease.held - leaving)
        # Who is born while this goes on may have the old mask; once all are right, those who follow inherit the right one.
        changed = set_masks(self._link, self._mask)
        self._again_after = AGAIN_SECONDS[0] if changed else min(2 * self._again_after, AGAIN_SECONDS[1])
        self._again, self._part_at = self._ticked + self._again_after, self._ticked + SHARING_SECONDS

    def _watch_for_others(self, now: float) -> None:
        """Give the confinement up when runnable threads get much less than their CPUs could give, while other CPUs of the mask idle."""
        if self._given_up or now < self._watch_at:
            return
        self._watch_at = now + WATCH_SECONDS
        mask = frozenset(self._cpus.used)
        idle = idle_seconds(self._cpus.mask - mask)
        elapsed, used, idled = now - self._watched, self._used, idle - self._idled
        # The sums of two different sets of CPUs say nothing about either.
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
        """Confine the link to what is held now; False, with nothing changed, where that is refused."""
        wanted = self._cpus.resize(1 + self._lease.held)
        try:
            if set_mask(self._link, wanted):
                set_masks(self._link, wanted)  # a WPA that is met late has forked already
                return True
        except BaseException:
            self.unconfine()
            raise
        self._cpus.release()
        return False

    def unconfine(self, survivors: Iterable[int] = ()) -> None:
        """Give every thread of the link, and of what outlives it, the mask back that the call was given."""
        for _ in range(2):  # who could not be listed, or set, the first time
            set_masks(self._link, self._cpus.mask, survivors)

    def end(self, survivors: Iterable[int]) -> None:
        """Undo everything: the link is over. survivors: processes that still hold its life pipe."""
        self.unconfine(survivors)
        self._cpus.release()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, of all its threads, living and dead; 0 when it is gone. One system call, no /proc."""
    if not clock.cpu_clocks_are_true():
        fields = processes.stat_fields(pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if len(fields) > 12 else 0.0
    try:
        # clock_getcpuclockid(3) as the kernel has it: the complement of the pid, above three bits that say CPUCLOCK_SCHED.
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def idle_seconds(cpus: Iterable[int]) -> float:
    """Sum the time that CPUs have been idle since boot, by /proc/stat; 0 where the kernel does not say, so that nothing is concluded."""
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
    """Count the threads of processes that run or could (states R and D), up to `enough`.

    Of each process the youngest first: lld's backends are younger than its pool, which waits for them.
    """
    found = 0
    for pid in pids:
        for tid in reversed(threads_of(pid)):
            if found >= enough:
                return found
            found += _state(processes.place(pid, b"task/%s/stat" % tid)) in (b"R", b"D")
    return found


def _state(path: bytes) -> bytes:
    """Read one thread's state, b"" when it is gone. It stands in the first read, behind a name of 15 bytes at most."""
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
    """Set the affinity of every thread of a process, of all below it and of others; return whether one was set that was different.

    Processes and threads that are born meanwhile inherit what their parent had, so all are listed until none is new.
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
    """Set one thread's affinity; False when it is gone or not ours to touch."""
    try:
        os.sched_setaffinity(tid, mask)
    except OSError:
        return False
    return True


def obstacle(pid: int) -> str:
    """Say why a process cannot be confined, "" when it can: one CPU is all it has, or /proc or sched_setaffinity is refused.

    Its mask is set to what it is already, since nothing but the attempt shows a refusal (seccomp in a container, say).
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
    """Start to confine a link to what the lease holds; return why not where that is refused.

    most: tokens at most; get: Environment.get, to find our directory for the CPU names.
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
