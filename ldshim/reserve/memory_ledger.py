"""The book of memory that links of ours have been promised and have not used yet.

The problem: sixteen links that start together all read the same MemAvailable, all find room for eight jobs, and the machine dies two
minutes later, when their backends come. The consequence: a link that is given jobs writes down how much memory they will need, and what the
others have written and not yet used is no longer there for it (C17). Once a link's memory is really in use it is gone from MemAvailable
as well, so the owner of a promise takes off what the link's processes hold already, twice a second.

A promise is a file in our directory (promises.py), its flock held through one open file by the shim and, after the fork, by the warden:
the kernel drops it with the last of them, however they end. A file without a lock belongs to nobody, and whoever reads the book next
removes it. Reading and writing go on under one more lock, `memory`. Nobody waits long for that: a process stopped by ^Z may hold it. Then
nothing new is promised, and one job is always allowed (C18).

What was promised counts against every ceiling that both links share: the machine, and cgroups that both are in. The promise of an
ancestor is our own: gcc and the linker that it starts may both be stand-ins, and gcc's promise is its linker's. Who waits to be admitted
(admission.py) has been promised nothing.

Not known here: links of other users, and links without a warden (below the floor of admission.py, or without a directory).
"""

from __future__ import annotations

import fcntl
import os

from ..call import clock, own_directory, processes
from ..call.descriptors import raised
from ..call.environment import slurp
from . import memory, peaks, promises
from .wrapped import WrappedLease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..decide.memory_estimate import Footprint
    from .lease import Lease
    from .memory import Ceiling
    from .pressure import Pressure
    from .promises import Entry

LOCK = b"memory"
LOCK_SECONDS = 0.25  # a reading under lock is about a millisecond for each promise; whoever holds it longer is stopped
LOOK_SECONDS = 0.001  # between two tries to lock
REFUSED_SECONDS = 0.25  # no memory: asked again so much later
# How often a warden looks what its link uses: two files for each process, 0.1 ms.
USED_SHARE = 0.05
USED_SECONDS = (0.05, 0.5)  # at least, at most


class Promise:
    """What one link may use. Owner: the process that resizes it, the shim before the fork and the warden after it.

    jobs: promised, 0 before the first time; footprint: what a link of n jobs needs; link: its pid, whose tree shows what is used already;
    """

    __slots__ = (
        "_ancestors", "_cgroups", "_directory", "_fd", "_key", "_large", "_link", "_meter", "_name", "_pressure", "_since", "_threshold",
        "_used", "_waits", "footprint", "jobs",
    )  # fmt: skip

    def __init__(self, directory: bytes, footprint: Footprint, link: int, threshold: int = 0, key: peaks.Key | None = None) -> None:
        """Name a promise in a directory of ours (b"": none, and nothing is shared); nothing is written before the first `resize`.

        threshold: percent of time stalled for memory above which nothing grows (pressure.py), 0: nobody looks; key: by which what it needed
        is kept, None: it is not.
        """
        self.footprint = footprint
        self.jobs = 0
        self._link = link
        self._directory = directory
        self._name = promises.PREFIX + (processes.stamp(link) or b"%d." % link)
        self._fd = -1
        self._threshold = threshold
        self._key = key
        self._meter = peaks.Meter()
        self._pressure: Pressure | None = None  # not looked at yet
        self._large: bool | None = None  # not asked yet
        self._waits = False
        self._since = int(clock.now() * 1000) / 1000  # as it is written down: two links must agree on who came first
        self._used = 0  # bytes, as of the last look
        self._cgroups: tuple[bytes, ...] = ()
        self._ancestors: list[int] = []

    @property
    def is_shared(self) -> bool:
        """Tell whether there is a book at all."""
        return bool(self._directory)

    @property
    def is_large(self) -> bool:
        """Tell whether this link is one that may have to wait, and that others wait for."""
        if self._large is None:
            self._large = self.footprint.wants(1) >= memory.floor(memory.ceilings())
        return self._large

    @property
    def since(self) -> float:
        """Return when this link came, in seconds of call/clock.py; its place in the queue."""
        return self._since

    @property
    def stamp(self) -> bytes:
        """Return the pid and start time of the link."""
        return self._name[len(promises.PREFIX) :]

    def claim(self, jobs: int) -> list[tuple[int, str]]:
        """Promise memory for so many jobs, as far as there is room: [(jobs that fit, clause for people)], [] if nobody knows."""
        left, known = self._promise(jobs)
        if not known:
            return [(self.jobs, "memory: the ledger of promises is locked by a stopped process")]
        return [] if left is None else [self.footprint.ceiling(left)]

    def resize(self, jobs: int) -> int:
        """Promise memory for so many jobs, or for as many as there is room for; return how many, at least 1. Fewer than now always are."""
        if jobs <= self.jobs:
            self.jobs = max(1, jobs)
            self._write()
        else:
            self._promise(jobs)
        return self.jobs

    def _promise(self, jobs: int) -> tuple[int | None, bool]:
        """Grow to so many jobs as far as there is room: (bytes there were, None when nobody can tell; whether the ledger could be read)."""
        left: list[int | None] = []

        def grow(ceilings: list[Ceiling], entries: list[Entry]) -> int:
            left.append(self._left(ceilings, entries))
            return max(1, self.jobs, jobs if left[0] is None else min(jobs, self.footprint.jobs_in(left[0])))

        known = self.write(grow)
        if not known:
            self.jobs = max(1, self.jobs)  # unknown what others were promised
        return (left[0], True) if left else (None, known)

    def write(self, judge: Callable[[list[Ceiling], list[Entry]], int]) -> bool:
        """Write the promise anew as a judge says, under the book's lock; False when that cannot be had in time, and nothing changed.

        judge: is given the ceilings and the promises of others, ancestors left out, and returns the jobs to promise, 0 to wait.
        """
        directory = self._open_directory()
        lock = _lock(directory) if directory >= 0 else -1
        try:
            if lock < 0 and self._directory:
                return False
            ceilings = memory.ceilings()
            entries = self._entries(directory, tidy=True)
            others = self._without_ancestors(entries)
            self.jobs = judge(ceilings, others)
            self._waits = not self.jobs
            # The promise of a link above us is ours: it is not made twice.
            if lock >= 0 and (self._fd >= 0 or len(others) == len(entries)):
                self._cgroups = tuple(each.identity for each in ceilings if each.identity != memory.HOST)
                self._create(directory)
            return True
        finally:
            for fd in (lock, directory):
                if fd >= 0:
                    os.close(fd)

    def available(self) -> int | None:
        """Return the bytes that this link may use, other links' promises and its own use taken into account; None when nobody can tell."""
        directory = self._open_directory()
        try:
            return self._left(memory.ceilings(), self._without_ancestors(self._entries(directory)))
        finally:
            if directory >= 0:
                os.close(directory)

    def others(self) -> list[Entry]:
        """List the promises of other links, ancestors left out."""
        directory = self._open_directory()
        try:
            return self._without_ancestors(self._entries(directory))
        finally:
            if directory >= 0:
                os.close(directory)

    def ceiling(self) -> list[tuple[int, str]]:
        """Say how many jobs there is memory for, what others were promised taken off: [(jobs, clause for people)], [] if nobody knows."""
        left = self.available()
        return [] if left is None else [self.footprint.ceiling(left)]

    def stalls(self) -> bool:
        """Tell whether processes here stall for memory."""
        if not self._threshold:
            return False
        if self._pressure is None:
            from .pressure import Pressure  # noqa: PLC0415  most links are over, or on their way, before anybody asks

            self._pressure = Pressure(self._threshold)
        return self._pressure.is_high()

    def is_pressed(self) -> bool:
        """Tell whether processes stall for memory while another admitted link runs; alone, a link makes room for nobody (C26)."""
        return self.stalls() and any(not each.waits and each.is_active() for each in self.others())

    def look(self, jobs: int = 1) -> None:
        """Look what the link uses with so many jobs, take that off what is still to come, and note it for the next time."""
        if self._fd >= 0:
            self._used = used(self._link)
            self._meter.note(self._used, jobs)
            self._write()

    def remember(self) -> None:
        """Keep what the link needed, for the next one like it."""
        if self._key is not None:
            try:
                self._key.remember(self._meter.one, self._meter.each)
            except OSError:
                return  # the next one goes by a guess

    def fds(self) -> list[int]:
        """Return the descriptor that holds the promise, for the warden to keep."""
        return [self._fd] if self._fd >= 0 else []

    def close(self) -> None:
        """End the promise; a second call does nothing."""
        if self._fd < 0:
            return
        try:
            os.ftruncate(self._fd, 0)
            os.unlink(os.path.join(self._directory, self._name))
        except OSError:
            pass  # without a lock the file means nothing
        os.close(self._fd)
        self._fd = -1

    def _left(self, ceilings: list[Ceiling], entries: list[Entry]) -> int | None:
        """Return the bytes that this link may use in all. What it uses already is part of what it was promised."""
        left = least_left(ceilings, ((each, each.needs) for each in entries if not each.waits))
        of_process = memory.of_process() if self.footprint.in_one_process else None
        found = [] if left is None else [left + used(self._link)]
        return min([*found, *([] if of_process is None else [of_process])], default=None)

    def _entries(self, directory: int, tidy: bool = False) -> list[Entry]:
        return promises.read(directory, self._name, tidy) if directory >= 0 else []

    def _without_ancestors(self, entries: list[Entry]) -> list[Entry]:
        if entries and not self._ancestors:
            self._ancestors = ancestors(self._link)
        return [each for each in entries if not (each.here and each.link in self._ancestors)]

    def _open_directory(self) -> int:
        if not self._directory:
            return -1
        opened = own_directory.open_directory(self._directory)
        return opened if isinstance(opened, int) else -1

    def _create(self, directory: int) -> None:
        """Write the promise down, under the book's lock: a reader between our open and our flock would take it for a dead one."""
        if self._fd < 0:
            try:
                fd = os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=directory)
            except OSError:
                return  # nothing can be written here: the others see only what we use
            # A reader without the book's lock (`available`) may have it locked for the moment of its look.
            if not _locked(fd):
                os.close(fd)
                return
            self._fd = raised(fd)
        self._write()

    def _write(self) -> None:
        """Write the line anew, in one call and in one length, so that no reader sees half of it."""
        if self._fd >= 0:
            needs = max(0, self.footprint.of(max(1, self.jobs)) - self._used)
            line = promises.render(self._waits, needs, needs + self.footprint.files, self._since, self._cgroups)
            try:
                os.pwrite(self._fd, line, 0)
            except OSError:
                return  # a full file system: what stood there before still counts


def least_left(ceilings: list[Ceiling], taken: Iterable[tuple[Entry, int]]) -> int | None:
    """Return the least that is left below any ceiling, without what others below it still take: bytes, maybe negative; None: no ceiling."""
    pairs = list(taken)
    return min((each.left - sum(size for entry, size in pairs if entry.shares(each.identity)) for each in ceilings), default=None)


def ancestors(pid: int) -> list[int]:
    """List the ancestors of a process, as far as /proc shows them, nearest first."""
    found: list[int] = []
    above = processes.parent(pid)
    while above > 1 and above not in found:
        found.append(above)
        above = processes.parent(above)
    return found


class GuardedLease(WrappedLease):
    """A lease whose threads also need memory: what the promise has no room for is given back at once. Owns both; as Lease otherwise."""

    __slots__ = ("_again", "_began", "_clock", "_follows", "_look_at", "_pressed", "promise")

    def __init__(self, lease: Lease, promise: Promise, follows: bool = True, clock: Callable[[], float] = clock.now) -> None:
        """Guard a lease. follows: the promise is for the threads held; else it was made for all that the link was told, and stays."""
        super().__init__(lease)
        self.promise = promise
        self._follows = follows
        self._clock = clock
        self._again = -1.0
        self._look_at = self._began = -1.0
        self._pressed = False

    @property
    def counted(self) -> bool:
        """Tell whether somebody must stay for the implicit thread: a slot, or memory that others wait for."""
        return self.lease.counted or (self.promise.is_large and bool(self.promise.fds()))

    def grow(self, most: int) -> int:
        """Take up to `most` more threads, as far as there is memory for them.

        The token first: mostly there is none, and then nothing is read. Where memory is what lacks, nobody's token is touched for a while.
        """
        if most > 0 and (self._pressed or self._clock() < self._again):
            return 0
        took = self.lease.grow(most)
        if self._follows and (took or not self.promise.jobs):
            room = self.promise.resize(1 + self.lease.held) - 1
            excess = min(took, max(0, self.lease.held - room))
            if excess:
                self.lease.shrink(excess)
                self._again = self._clock() + REFUSED_SECONDS
            took -= excess
        return took

    def surplus(self) -> int:
        """Count everything held while the machine stalls for memory, where a thread less is memory less; else ask the wrapped lease."""
        return self.lease.held if self._pressed and self._follows else self.lease.surplus()

    def tend(self, now: float) -> float:
        """Look what the link uses and whether the machine stalls for memory, a few times a second."""
        if now >= self._look_at:
            self._began = now if self._began < 0 else self._began
            # A link of two seconds is to be seen as well.
            self._look_at = now + min(max(USED_SECONDS[0], USED_SHARE * (now - self._began)), USED_SECONDS[1])
            self.promise.look(1 + self.lease.held if self._follows else max(1, self.promise.jobs))
            self._pressed = self.promise.is_pressed()
        return min(self._look_at - now, self.lease.tend(now))

    def shrink(self, count: int) -> None:
        """Give `count` threads back, and what was promised for them."""
        self.lease.shrink(count)
        if self._follows:
            self.promise.resize(1 + self.lease.held)

    def release(self) -> None:
        """Give everything back: threads first, for somebody waits for those."""
        try:
            self.lease.release()
            self.promise.remember()
        finally:
            self.promise.close()

    def tokens_fd(self) -> int:
        """Ask the wrapped lease, unless memory is what lacks: then no token helps."""
        return -1 if self._pressed or self._clock() < self._again else self.lease.tokens_fd()

    def holding(self, inner: Lease) -> Lease:
        """Return a lease on what `inner` has, which holds this promise as it is."""
        return GuardedLease(inner, self.promise, follows=False)

    def fds(self) -> list[int]:
        """Return the descriptors of both."""
        return [*self.lease.fds(), *self.promise.fds()]


def used(link: int) -> int:
    """Sum the memory that a link's processes hold now and that no file backs: bytes."""
    total = 0
    for pid in [link, *processes.below(link)]:
        try:
            status = slurp(processes.place(pid, b"status"))
        except OSError:
            continue
        # A zombie's has no such lines, and a name cannot pass for one: its newlines are escaped.
        for key in (b"\nRssAnon:", b"\nRssShmem:"):
            number = status.partition(key)[2].partition(b" kB")[0]
            total += int(number) if number else 0
    return total * 1024


def outstanding(directory: int, tidy: bool = False) -> int:
    """Sum what living promises in a directory, an open descriptor, have not used yet: bytes."""
    return sum(each.needs for each in promises.read(directory, b"", tidy) if not each.waits)


def _lock(directory: int) -> int:
    """Lock the book: a descriptor, or -1 when that takes longer than any living reader needs."""
    try:
        fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError:
        return -1
    if _locked(fd):
        return fd
    os.close(fd)
    return -1


def _locked(fd: int) -> bool:
    """Lock an open file for ourselves; False when that takes longer than any living holder needs, or no lock can be had at all."""
    for _ in range(round(LOCK_SECONDS / LOOK_SECONDS)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            clock.sleep(LOOK_SECONDS)
        except OSError:
            return False
        else:
            return True
    return False


def promise(
    get: Callable[[bytes], bytes], footprint: Footprint, link: int, threshold: int = 0, name: tuple[bytes, bytes] | None = None
) -> Promise:
    """Open the book for one link; without a directory of ours, or without locks, nothing is shared: the machine's own figures count.

    get: Environment.get; link: pid of the process that becomes the linker; threshold: LDSHIM_PRESSURE; name: the tool and the output by
    which what the link needed last time is found, None where the guess is to stand.
    """
    directory = own_directory.directory(get)
    if isinstance(directory, str) or own_directory.why_no_locks(directory):
        directory = b""
    if not (name and directory):
        return Promise(directory, footprint, link, threshold)
    key = peaks.Key(directory, *name, footprint.of(1))
    return Promise(directory, footprint.learned(*key.recall()), link, threshold, key)
