"""Share the host's CPUs among our own links where nobody hands out tokens.

The problem: ninja before 1.13, an IDE or a shell loop start as many links as they like, and each of them would take the whole machine. The
consequence: `count` files slot-0, slot-1 ... in a directory of ours; who holds the flock of one has a thread. A lock belongs to an open
file, so the kernel frees it when the holder dies, however it dies, and nothing is ever left to clean up (C16).

The implicit thread of a link runs anyway (C18), but it is a thread like the others, so the first slot a link gets stands for it and is
not counted in `held`. Only when every slot is taken does a link run uncounted, and then its next slot settles that debt first: the
threads of all links are at most `count`, plus one for each link that came too late.

First come, first served would leave a link that starts second with one thread until the first one ends. So every link keeps a file
`link-PID` locked, which says whether it waits for a slot; while another waits, nobody grows beyond an even share, and who holds more is
told so by `surplus` and yields.

Links that see different counts (a cgroup with a quota of two on a host of 64, containers that share the directory) use the same files:
everybody starts at the top of his own range and goes down. So the links under the small quota never hold more than two together, the
host never sees more than 64, and the large ones come down to the small ones' slots last.
"""

from __future__ import annotations

import fcntl
import os

from ..call import own_directory
from .lease import Lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


OTHER_DESCRIPTORS = 32  # a warden has about ten open, and three more while it looks at a link


class SlotsLease(Lease):
    """A lease on slots. Owner: the process that calls `grow`; a fork shares the locks, so only one of the two may go on using it."""

    __slots__ = ("_count", "_directory", "_fds", "_mark", "_own", "_path", "_waits")

    def __init__(self, path: bytes, count: int) -> None:
        """Share `count` slots in the directory `path`; nothing is opened before the first `grow`."""
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
        """Count the slots held beyond the one of the implicit thread."""
        return len(self._fds)

    @property
    def counted(self) -> bool:
        """Tell whether the implicit thread has a slot, too."""
        return bool(self._own)

    def grow(self, most: int) -> int:
        """Lock up to `most` free slots, after one for the implicit thread if it has none yet; `grow(0)` gets only that one."""
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
        self._say_waiting(waits=most > len(self._fds) - before)
        return len(self._fds) - before

    def surplus(self) -> int:
        """Count the slots held beyond an even share, while a link that has less waits for one."""
        return max(0, -self._room())

    def _descriptors(self) -> int:
        """Count the slots that there are descriptors for: one each, and one for a CPU's name; the warden needs some to look at the link."""
        limit = os.sysconf("SC_OPEN_MAX")
        return self._count if limit < 0 else (limit - OTHER_DESCRIPTORS) // 2 - len(self._own) - len(self._fds)

    def _room(self) -> int:
        """Count the slots we may still take before another link that waits should have them; negative: as many are too many."""
        have = len(self._own) + len(self._fds)
        others = self._others()
        share = max(1, self._count // (len(others) + 1))
        return (share if any(others) else self._count) - have

    def _others(self) -> list[bool]:
        """List the other links that live, each with whether it waits; the files of dead ones are swept."""
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

    def _say_waiting(self, *, waits: bool) -> None:
        if waits != self._waits and self._mark >= 0:
            try:
                os.pwrite(self._mark, b"w" if waits else b"-", 0)
            except OSError:
                return  # a full file system: the others do not learn it
        self._waits = waits

    def shrink(self, count: int) -> None:
        """Unlock `count` slots, those of the other links' range (the lowest) first."""
        for _ in range(min(count, len(self._fds))):
            os.close(self._fds.pop()[1])

    def release(self) -> None:
        """Unlock everything, the implicit thread's slot included."""
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
        """Return the directory's descriptor and one for each slot."""
        return [fd for fd in (self._directory, self._mark, *(fd for _, fd in self._own + self._fds)) if fd >= 0]

    def _lock(self, name: bytes) -> int:
        """Lock one slot: its descriptor, or -1 when somebody else has it (or the file system knows no locks)."""
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
            # A cleaner of /tmp removed the file between open and lock: what we locked is a slot that nobody else will ever see.
            if fd < 0:
                return -1
            os.close(fd)


def connect(get: Callable[[bytes], bytes], count: int) -> SlotsLease | str:
    """Find our directory and lease slots in it: the lease, still empty, or the reason why not.

    get: Environment.get; count: how many slots this process may see, min(affinity, quota).
    """
    path = own_directory.directory(get)
    refused = path if isinstance(path, str) else own_directory.why_no_locks(path)
    return refused if refused or isinstance(path, str) else SlotsLease(path, max(1, count))
