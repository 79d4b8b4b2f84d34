"""Let a linker with a fixed number of threads grow and shrink all the same, by the CPUs it may run on.

lld starts as many threads as it is told, once, and keeps them to its end. A number that is right at the start of a busy build is wrong a
minute later. So it is told the most that could ever be useful, and confined: its threads may run on as many CPUs as are held (1 + tokens).
When a token becomes free the warden widens the mask of every thread, when threads fall idle it narrows it and gives the token back.

The edge cases follow from that:
- Which CPUs: the one it runs on first, then one core after another before their SMT siblings, never outside the mask it was given.
  Links of ours that run at once would else pile up on CPU 0; a CPU has a name, and its name a lock in our directory, apart from the slots.
- Threads are born all the time and inherit the mask of their parent, which may be the old one: the masks are looked at again.
- Where somebody else computes on the same CPUs (another container, a pinned job) a confined link would starve beside idle CPUs. The
  threads' own run time shows it: they are runnable and get less than their CPUs could give. Then the confinement is given up for good.
- What outlives the link must not stay confined: at the end every mask is what it was.

Only for linkers that were seen to obey an explicit number whatever the mask is (mold 1.10 derives its workers from the mask).
"""

from __future__ import annotations

import fcntl
import os

from . import processes
from .environ import slurp
from .reserve import ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .reserve.lease import Lease

TICK_SECONDS = 0.05
YIELD_SECONDS = 0.2  # how often a link that holds more than its share asks whether another waits
IDLE_SECONDS = 0.2  # fewer runnable threads than CPUs for that long: a serial phase
STARVED_SECONDS = 1.0
STARVED_SHARE = 0.6  # of what the CPUs held could have given; measured alone: 0.97 and more
IDLE_SHARE = 0.5  # of one CPU beside ours: on a machine that is full everywhere the confinement does no harm
AGAIN_SECONDS = 0.5  # how often the masks of all threads are looked at again
TOPOLOGY = b"/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list"


class Cpus:
    """The CPUs a link may ever use, in the order in which it takes them; names are locked as far as others of ours leave them.

    mask: the affinity that the call was given; directory: ours, b"" where there is none (then nothing is locked, and links may meet).
    """

    __slots__ = ("_directory", "_locks", "_order", "mask", "used")

    def __init__(self, mask: Iterable[int], first: int, directory: bytes = b"") -> None:
        self.mask = frozenset(mask)
        self._order = by_core(self.mask, first)
        self._directory = directory
        self._locks: dict[int, int] = {}
        self.used: list[int] = []

    def resize(self, count: int) -> frozenset[int]:
        """Use count CPUs, at least one and at most the mask's: unlocked names first; return the set now in use."""
        count = max(1, min(count, len(self.mask)))
        while len(self.used) > count:
            self._unlock(self.used.pop())
        free = [cpu for cpu in self._order if cpu not in self.used]
        for cpu in free:
            if len(self.used) < count and self._lock(cpu):
                self.used.append(cpu)
        # All names are taken: two links on one CPU are better than one that waits.
        self.used.extend([cpu for cpu in free if cpu not in self.used][: count - len(self.used)])
        return frozenset(self.used)

    def release(self) -> None:
        """Unlock every name."""
        while self.used:
            self._unlock(self.used.pop())

    def fds(self) -> list[int]:
        """Return the descriptors of the locks."""
        return list(self._locks.values())

    def _lock(self, cpu: int) -> bool:
        if not self._directory:
            return True
        try:
            path = os.path.join(self._directory, b"cpu-%d" % cpu)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return True  # no lock to be had: as without a directory
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._locks[cpu] = fd
        return True

    def _unlock(self, cpu: int) -> None:
        fd = self._locks.pop(cpu, -1)
        if fd >= 0:
            os.close(fd)


def by_core(mask: Iterable[int], first: int, siblings: Callable[[int], list[int]] | None = None) -> list[int]:
    """Order CPUs: `first`, then one of each other core, then the SMT siblings."""
    ask = siblings or siblings_of
    left = sorted(mask)
    if first in left:
        left.remove(first)
        left.insert(0, first)
    cores: list[int] = []
    rest: list[int] = []
    seen: set[int] = set()
    for cpu in left:
        core = min(ask(cpu) or [cpu])
        (rest if core in seen else cores).append(cpu)
        seen.add(core)
    return cores + rest


def siblings_of(cpu: int) -> list[int]:
    """Read which CPUs share a core with this one; [] where the kernel does not say."""
    try:
        text = slurp(TOPOLOGY % cpu)
    except OSError:
        return []
    found: list[int] = []
    for part in text.strip().split(b","):
        low, _, high = part.partition(b"-")
        found.extend(range(int(low), int(high or low) + 1))
    return found


class Confinement:
    """Keep one link on as many CPUs as it holds. link: pid; most: tokens at most; peak: most tokens held at once."""

    __slots__ = (
        "_again",
        "_cpus",
        "_given_up",
        "_idle_since",
        "_idled",
        "_lease",
        "_link",
        "_looked",
        "_most",
        "_ran",
        "_ran_at",
        "_starved_since",
        "_yield_at",
        "peak",
    )

    def __init__(self, link: int, cpus: Cpus, lease: Lease, most: int) -> None:
        self._link = link
        self._cpus = cpus
        self._lease = lease
        self._most = most
        self._idle_since = 0.0
        self._looked = 0.0
        self._again = 0.0
        self._ran = 0
        self._ran_at = 0.0
        self._idled = 0.0
        self._starved_since = 0.0
        self._yield_at = 0.0
        self._given_up = False
        self.peak = lease.held

    def tick(self, now: float) -> float:
        """Widen or narrow as the threads of the link show; return seconds until the next look. now: a monotonic clock."""
        threads = threads_of([self._link, *processes.below(self._link)])
        runnable = sum(1 for _, state, _ in threads if state in (b"R", b"D"))
        held = 1 + self._lease.held
        if now >= self._yield_at:
            self._yield_at = now + YIELD_SECONDS
            if self._lease.held and self._lease.surplus():
                # One at a time: the other link may end meanwhile, and then there is nothing to yield.
                self._lease.shrink(1)
                self._apply(threads)
                return TICK_SECONDS
        if runnable > held and self._lease.grow(min(runnable - held, self._most - self._lease.held)):
            self._apply(threads)
            self._idle_since = 0.0
        elif runnable < held and self._lease.held:
            self._idle_since = self._idle_since or now
            if now - self._idle_since >= IDLE_SECONDS:
                # Down to what runs, in one step: a serial phase after a wide one is the usual case.
                self._lease.shrink(held - max(1, runnable))
                self._apply(threads)
                self._idle_since = 0.0
        else:
            self._idle_since = 0.0
        if now >= self._again and not self._given_up:
            self._again = now + AGAIN_SECONDS
            self._apply(threads)
        self._watch_for_others(now, threads, runnable)
        self.peak = max(self.peak, self._lease.held)
        return TICK_SECONDS

    def _apply(self, threads: list[tuple[int, bytes, int]]) -> None:
        if self._given_up:
            return
        wanted = self._cpus.resize(1 + self._lease.held)
        for tid, _, _ in threads:
            set_mask(tid, wanted)

    def _watch_for_others(self, now: float, threads: list[tuple[int, bytes, int]], runnable: int) -> None:
        """Give the confinement up when runnable threads get much less than their CPUs could give, while other CPUs of the mask idle."""
        ran = sum(time for _, _, time in threads)
        idle = idle_seconds(self._cpus.mask.difference(self._cpus.used))
        elapsed, used, idled = now - self._ran_at, (ran - self._ran) / 1e9, idle - self._idled
        self._ran, self._ran_at, self._idled = ran, now, idle
        held = min(1 + self._lease.held, len(self._cpus.mask))
        starved = 0 <= used < STARVED_SHARE * held * elapsed and runnable >= held and idled > IDLE_SHARE * elapsed
        if self._given_up or elapsed <= 0 or not starved:
            self._starved_since = 0.0
            return
        self._starved_since = self._starved_since or now
        if now - self._starved_since >= STARVED_SECONDS:
            self._given_up = True
            self.unconfine()

    def start(self) -> bool:
        """Confine the link to what is held now; False, with nothing changed, where that is refused."""
        threads = threads_of([self._link])
        if not threads or not set_mask(self._link, self._cpus.resize(1 + self._lease.held)):
            self._cpus.release()
            return False
        return True

    def unconfine(self, survivors: Iterable[int] = ()) -> None:
        """Give every thread of the link, and of what outlives it, the mask back that the call was given."""
        for tid, _, _ in threads_of([self._link, *processes.below(self._link), *survivors]):
            set_mask(tid, self._cpus.mask)

    def end(self, survivors: Iterable[int]) -> None:
        """Undo everything: the link is over. survivors: processes that still hold its life pipe."""
        self.unconfine(survivors)
        self._cpus.release()


def idle_seconds(cpus: Iterable[int]) -> float:
    """Sum the time that CPUs have been idle since boot, by /proc/stat; 0 where the kernel does not say, so that nothing is concluded."""
    wanted = {b"cpu%d" % cpu for cpu in cpus}
    try:
        lines = slurp(processes.PROC + b"/stat").split(b"\n")
    except OSError:
        return 0.0
    fields = [line.split() for line in lines if line.partition(b" ")[0] in wanted]
    return sum(int(field[4]) for field in fields if len(field) > 4) / os.sysconf("SC_CLK_TCK")


def threads_of(pids: Iterable[int]) -> list[tuple[int, bytes, int]]:
    """List the threads of processes: (tid, state, nanoseconds run). What is gone meanwhile is left out."""
    found = []
    for pid in pids:
        try:
            tids = os.listdir(b"%s/%d/task" % (processes.PROC, pid))
        except OSError:
            continue
        for tid in tids:
            place = b"%s/%d/task/%s" % (processes.PROC, pid, tid)
            try:
                state = slurp(place + b"/stat").rpartition(b")")[2].split(None, 1)[0]
                ran = int(slurp(place + b"/schedstat").split()[0])
            except (OSError, IndexError, ValueError):
                continue
            found.append((int(tid), state, ran))
    return found


def set_mask(tid: int, mask: frozenset[int]) -> bool:
    """Set one thread's affinity where it differs; False when it is gone or not ours to touch."""
    try:
        if os.sched_getaffinity(tid) != mask:
            os.sched_setaffinity(tid, mask)
    except OSError:
        return False
    return True


def confine(link: int, lease: Lease, most: int, get: Callable[[bytes], bytes]) -> Confinement | None:
    """Start to confine a link to what the lease holds; None where /proc or sched_setaffinity is refused, or one CPU is all.

    most: tokens at most; get: Environment.get, to find our directory for the CPU names.
    """
    try:
        mask = os.sched_getaffinity(link)
    except OSError:
        return None
    fields = processes.stat_fields(link)
    if len(mask) < 2 or len(fields) < 37:
        return None
    directory = ours.directory(get)
    cpus = Cpus(mask, int(fields[36]), directory if isinstance(directory, bytes) else b"")
    confinement = Confinement(link, cpus, lease, min(most, len(mask) - 1))
    return confinement if confinement.start() else None
