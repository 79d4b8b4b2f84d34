"""Which CPUs a confined link uses, so that two links of ours do not share one while another is idle.

Slots and tokens stand for no particular CPU, but an affinity mask does, and links that all started from the lowest CPU would share it. So
each CPU has a lock of its own, a file `cpu-N` in our directory, separate from the slots. The link that uses the CPU holds the lock, and
the kernel frees it when the warden ends. A link that finds every CPU locked does not wait: it shares one until another is free.

Measured: eight ThinLTO links of lld 16 under `make -j2` on two CPUs take 1.06 times as long without the locks (benchmarks.md).
"""

from __future__ import annotations

import fcntl
import os

from ..reserve.cpus import siblings_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Cpus:
    """The CPUs that a link may use, in the order in which it takes them; each is locked unless another link has the lock.

    mask: the affinity of the call; directory: ours, b"" without one (then nothing is locked, and links may share CPUs).
    """

    __slots__ = ("_directory", "_locks", "_order", "mask", "used")

    def __init__(self, mask: Iterable[int], first: int, directory: bytes = b"") -> None:
        self.mask = frozenset(mask)
        self._order = by_core(self.mask, first)
        self._directory = directory
        self._locks: dict[int, int] = {}
        self.used: list[int] = []

    def resize(self, count: int) -> frozenset[int]:
        """Use count CPUs, at least one and at most those of the mask, unlocked ones first; return the set in use."""
        count = max(1, min(count, len(self.mask)))
        while len(self.used) > count:
            self._unlock(self.used.pop())
        free = [cpu for cpu in self._order if cpu not in self.used]
        self._stop_sharing(free)
        for cpu in free:
            if len(self.used) < count and self._lock(cpu):
                self.used.append(cpu)
        # All others are locked: two links on one CPU are better than one that waits.
        self.used.extend([cpu for cpu in free if cpu not in self.used][: count - len(self.used)])
        return frozenset(self.used)

    def _stop_sharing(self, free: list[int]) -> None:
        """Replace CPUs that other links have locked by free ones, which are removed from the list."""
        for place, cpu in enumerate(self.used):
            if cpu in self._locks or self._lock(cpu):
                continue
            found = next((other for other in free if self._lock(other)), cpu)
            if found != cpu:
                self.used[place] = found
                free.remove(found)

    @property
    def shares(self) -> bool:
        """Return whether this link uses a CPU that another link has locked."""
        return len(self._locks) < len(self.used) and bool(self._directory)

    def release(self) -> None:
        """Unlock every CPU."""
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
            return True  # the file cannot be opened: as without a directory
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except OSError:
            os.close(fd)
            return True  # as above
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
