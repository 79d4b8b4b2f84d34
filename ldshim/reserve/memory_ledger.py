"""The book of memory that links of ours have been promised and have not used yet.

The problem: sixteen links that start together all read the same MemAvailable, all find room for eight jobs, and the machine dies two
minutes later, when their backends come. The consequence: a link that is given jobs writes down how much memory they will need, and what the
others have written and not yet used is no longer there for it (C17). Once a link's memory is really in use it is gone from MemAvailable
as well, so from each promise what its processes hold already is taken off.

A promise is a file `memory-PID.STARTTIME` in our directory (ours.py). Its content is the number of bytes, its flock is held through one
open file by the shim and, after the fork, by the warden: the kernel drops it with the last of them, however they end. A file without a
lock belongs to nobody, and whoever reads the book next removes it. Reading and writing go on under one more lock, `memory`. Nobody waits
long for that: a process stopped by ^Z may hold it. Then nothing new is promised, and one job is always allowed (C18).

Not known here: links of other users, links without a warden (one job, a pin, no directory), and that a link in a container with a limit
of its own does not share memory with one outside: promises are counted against every limit, which errs on the safe side.
"""

from __future__ import annotations

import fcntl
import os

from ..call import clock, own_directory, processes
from ..call.descriptors import raised
from ..call.environment import count, slurp
from . import memory
from .wrapped import WrappedLease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..decide.memory_estimate import Footprint
    from .lease import Lease

PREFIX = b"memory-"
LOCK = b"memory"
LOCK_SECONDS = 0.25  # a reading under lock is about a millisecond for each promise; whoever holds it longer is stopped
LOOK_SECONDS = 0.001  # between two tries to lock
REFUSED_SECONDS = 0.25  # no memory: asked again so much later


class Promise:
    """What one link may use. Owner: the process that resizes it, the shim before the fork and the warden after it.

    jobs: promised, 0 before the first time; footprint: what a link of n jobs needs; link: its pid, whose tree shows what is used already.
    """

    __slots__ = ("_directory", "_fd", "_link", "_name", "footprint", "jobs")

    def __init__(self, directory: bytes, footprint: Footprint, link: int) -> None:
        """Name a promise in a directory of ours (b"": none, and nothing is shared); nothing is written before the first `resize`."""
        self.footprint = footprint
        self.jobs = 0
        self._link = link
        self._directory = directory
        self._name = PREFIX + (processes.stamp(link) or b"%d." % link)
        self._fd = -1

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
        directory = self._open_directory()
        lock = _lock(directory) if directory >= 0 else -1
        left, known = None, lock >= 0 or not self._directory
        try:
            if known:
                left = self._available(directory, tidy=True)
                self.jobs = max(1, self.jobs, jobs if left is None else min(jobs, self.footprint.jobs_in(left)))
            else:
                self.jobs = max(1, self.jobs)  # unknown what others were promised
            if lock >= 0:
                self._create(directory)
        finally:
            for fd in (lock, directory):
                if fd >= 0:
                    os.close(fd)
        return left, known

    def available(self) -> int | None:
        """Return the bytes that this link may use, other links' promises and its own use taken into account; None when nobody can tell."""
        directory = self._open_directory()
        try:
            return self._available(directory, tidy=False)
        finally:
            if directory >= 0:
                os.close(directory)

    def ceiling(self) -> list[tuple[int, str]]:
        """Say how many jobs there is memory for, what others were promised taken off: [(jobs, clause for people)], [] if nobody knows."""
        left = self.available()
        return [] if left is None else [self.footprint.ceiling(left)]

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

    def _available(self, directory: int, tidy: bool) -> int | None:
        free = memory.available()
        if free is None:
            return None
        # What this link uses already is part of what it was promised.
        return free + used(self._link) - (outstanding(directory, self._name, tidy) if directory >= 0 else 0)

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
        """Write the number anew, in one call and in one width, so that no reader sees half of it."""
        if self._fd >= 0:
            try:
                os.pwrite(self._fd, b"%020d\n" % self.footprint.of(self.jobs), 0)
            except OSError:
                return  # a full file system: what stood there before still counts


class GuardedLease(WrappedLease):
    """A lease whose threads also need memory: what the promise has no room for is given back at once. Owns both; as Lease otherwise."""

    __slots__ = ("_again", "_clock", "_follows", "promise")

    def __init__(self, lease: Lease, promise: Promise, follows: bool = True, clock: Callable[[], float] = clock.now) -> None:
        """Guard a lease. follows: the promise is for the threads held; else it was made for all that the link was told, and stays."""
        super().__init__(lease)
        self.promise = promise
        self._follows = follows
        self._clock = clock
        self._again = -1.0

    def grow(self, most: int) -> int:
        """Take up to `most` more threads, as far as there is memory for them.

        The token first: mostly there is none, and then nothing is read. Where memory is what lacks, nobody's token is touched for a while.
        """
        if most > 0 and self._clock() < self._again:
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

    def shrink(self, count: int) -> None:
        """Give `count` threads back, and what was promised for them."""
        self.lease.shrink(count)
        if self._follows:
            self.promise.resize(1 + self.lease.held)

    def release(self) -> None:
        """Give everything back: threads first, for somebody waits for those."""
        try:
            self.lease.release()
        finally:
            self.promise.close()

    def tokens_fd(self) -> int:
        """Ask the wrapped lease, unless memory is what lacks: then no token helps."""
        return -1 if self._clock() < self._again else self.lease.tokens_fd()

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


def outstanding(directory: int, own: bytes = b"", tidy: bool = False) -> int:
    """Sum what living promises in a directory have not used yet, except `own`: bytes.

    directory: an open descriptor; tidy: remove the promises whose owner is dead, which is safe only under the book's lock.
    """
    total = 0
    try:
        names = [os.fsencode(name) for name in os.listdir(directory)]
    except OSError:
        return 0
    for name in names:
        if not name.startswith(PREFIX) or name == own:
            continue
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if tidy:
                os.unlink(name, dir_fd=directory)
        except BlockingIOError:
            total += _still_to_come(name, os.read(fd, 32))
        except OSError:
            pass
        finally:
            os.close(fd)
    return total


def _still_to_come(name: bytes, content: bytes) -> int:
    """Return what one living promise has not used yet. A link of another PID namespace has used nothing that we can see."""
    digits = content.strip()
    size = int(digits) if digits.isdigit() else 0
    stamp = name[len(PREFIX) :]
    pid = count(stamp.partition(b".")[0])
    return max(0, size - used(pid)) if pid and processes.stamp(pid) == stamp else size


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


def promise(get: Callable[[bytes], bytes], footprint: Footprint, link: int) -> Promise:
    """Open the book for one link; without a directory of ours, or without locks, nothing is shared: the machine's own figures count.

    get: Environment.get; link: pid of the process that becomes the linker.
    """
    directory = own_directory.directory(get)
    if isinstance(directory, str) or own_directory.why_no_locks(directory):
        directory = b""
    return Promise(directory, footprint, link)
