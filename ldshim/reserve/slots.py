"""Share the CPUs of the host among links of ours where there is no jobserver.

The problem: ninja before 1.13, an IDE or a shell loop starts any number of links, and each would use the whole machine. The consequence: a
directory of ours has `count` files slot-0, slot-1 ..., and a link that holds the flock of one has a thread. A lock belongs to an open
file, so the kernel frees it when its holder dies for any reason, and there is nothing to clean up (C16).

The implicit thread of a link always runs (C18). It is a thread like the others, so the first slot of a link is for it and is not counted
in `held`. Only when every slot is taken does a link run without one, and the next slot that it gets is for its implicit thread. So the
links have at most `count` threads, plus one for each link that started when all slots were taken.

If the first link took all slots, a second one would have one thread until the first one ends. So every link has a locked file `link-PID`,
which says whether it waits for a slot. While another link waits, no link grows beyond an even share, and `surplus` makes a link that holds
more return slots.

Links that see different counts (a cgroup with a quota of two on a host of 64, containers that share the directory) use the same files.
Each starts at the top of its own range and goes down. So the links with the small quota never hold more than two together, the host never
has more than 64 threads, and the links with the large range take the slots of the small one last.
"""

from __future__ import annotations

import fcntl
import os

from ..call import own_directory
from .lease import Lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


OTHER_DESCRIPTORS = 32  # a warden has about ten open, and three more while it examines a link


class SlotsLease(Lease):
    """A lease on slots. Owner: the process that calls `grow`. A fork shares the locks, so only one of the two processes may use it."""

    __slots__ = ("_count", "_directory", "_fds", "_mark", "_own", "_path", "_waits")

    def __init__(self, path: bytes, count: int) -> None:
        """Share `count` slots in the directory `path`; no file is opened before the first `grow`."""
        super().__init__("slots", f"{count} slots in {os.fsdecode(path)}", os.fsdecode(path))
        self._path = path
        self._count = count
        self._directory = -1
        self._own: list[tuple[int, int]] = []  # the slot of the implicit thread: (number, descriptor), or empty
        self._fds: list[tuple[int, int]] = []
        self._mark = -1  # our link-PID file, locked
        self._waits = False

    @property
    def held(self) -> int:
        """Count the slots held, without that of the implicit thread."""
        return len(self._fds)

    @property
    def counted(self) -> bool:
        """Return whether the implicit thread has a slot."""
        return bool(self._own)

    def grow(self, most: int) -> int:
        """Lock up to `most` free slots, after one for the implicit thread if it has none; `grow(0)` locks only that one."""
        wanted = max(0, most) + (not self._own)
        if self._directory < 0 and wanted:
            opened = own_directory.open_directory(self._path)
            if isinstance(opened, str):
                return 0
            self._directory = opened
            self._mark = self._lock(b"link-%d" % os.getpid())
        wanted = min(wanted, max(not self._own, min(self._room(), self._descriptors())))
        before = len(self._fds)
        taken = {number for number, _ in self._own + self._fds}
        for number in range(self._count - 1, -1, -1):
            if not wanted:
                break
            fd = -1 if number in taken else self._lock(b"slot-%d" % number)
            if fd >= 0:
                wanted -= 1
                (self._fds if self._own else self._own).append((number, fd))
        self._record_waiting(waits=most > len(self._fds) - before)
        return len(self._fds) - before

    def surplus(self) -> int:
        """Count the slots held beyond an even share, while a link with fewer waits for one."""
        return max(0, -self._room())

    def _descriptors(self) -> int:
        """Count the slots for which there are descriptors: two each, for the slot and the lock of a CPU, besides OTHER_DESCRIPTORS."""
        limit = os.sysconf("SC_OPEN_MAX")
        return self._count if limit < 0 else (limit - OTHER_DESCRIPTORS) // 2 - len(self._own) - len(self._fds)

    def _room(self) -> int:
        """Count the slots that this link may take before other links that wait; a negative number counts those in excess."""
        have = len(self._own) + len(self._fds)
        others = self._others()
        share = max(1, self._count // (len(others) + 1))
        return (share if any(others) else self._count) - have

    def _others(self) -> list[bool]:
        """List the other running links: whether each waits. Remove the files of dead ones."""
        found = []
        try:
            names = os.listdir(self._directory) if self._directory >= 0 else []
        except OSError:
            names = []
        own = f"link-{os.getpid()}"
        for name in names:
            if not name.startswith("link-") or name == own:
                continue
            try:
                fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._directory)
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=self._directory)
            except BlockingIOError:
                found.append(os.pread(fd, 1, 0) == b"w")
            except OSError:
                pass
            finally:
                os.close(fd)
        return found

    def _record_waiting(self, *, waits: bool) -> None:
        if waits != self._waits and self._mark >= 0:
            try:
                os.pwrite(self._mark, b"w" if waits else b"-", 0)
            except OSError:
                return  # a full file system: other links do not see that this one waits
        self._waits = waits

    def shrink(self, count: int) -> None:
        """Unlock `count` slots, the lowest first, which links with a smaller range can use."""
        for _ in range(min(count, len(self._fds))):
            os.close(self._fds.pop()[1])

    def release(self) -> None:
        """Unlock all slots, that of the implicit thread included."""
        for _, fd in self._own + self._fds:
            os.close(fd)
        self._own, self._fds = [], []
        if self._mark >= 0:
            try:
                os.unlink(b"link-%d" % os.getpid(), dir_fd=self._directory)
            except OSError:
                pass
            os.close(self._mark)
            self._mark = -1
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def fds(self) -> list[int]:
        """Return the descriptors of the directory, of link-PID and of each slot."""
        return [fd for fd in (self._directory, self._mark, *(fd for _, fd in self._own + self._fds)) if fd >= 0]

    def _lock(self, name: bytes) -> int:
        """Lock one file: its descriptor, or -1 when another process has the lock (or the file system has no locks)."""
        while True:
            fd = -1
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(name, flags, 0o600, dir_fd=self._directory)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                named = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
                if named.st_ino == os.fstat(fd).st_ino:
                    return fd
            except FileNotFoundError:
                pass
            except OSError:
                if fd >= 0:
                    os.close(fd)
                return -1
            # A program that cleans /tmp removed the file before it was locked, so no other link would see this lock.
            if fd < 0:
                return -1
            os.close(fd)


def connect(get: Callable[[bytes], bytes], count: int) -> SlotsLease | str:
    """Find our directory: an empty lease on slots in it, or the reason why not.

    get: Environment.get; count: of the slots that this process may use, min(affinity, quota).
    """
    path = own_directory.directory(get)
    refused = path if isinstance(path, str) else own_directory.why_no_locks(path)
    return refused if refused or isinstance(path, str) else SlotsLease(path, max(1, count))
