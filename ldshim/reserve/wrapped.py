"""Leases that add a condition to another lease, or replace one.

They are apart from lease.py because ldshim itself needs none of them for a GCC link, whose memory the warden limits.
"""

from __future__ import annotations

from .lease import Lease


class Kept(Lease):
    """A constant number of threads, which another process holds or which a pin sets; its source is "none"."""

    __slots__ = ("_held",)

    def __init__(self, held: int) -> None:
        super().__init__()
        self._held = held

    @property
    def held(self) -> int:
        """Count the threads without the implicit one."""
        return self._held


class WrappedLease(Lease):
    """A lease with a further condition. Owns the lease that it wraps; each method calls that of the wrapped lease."""

    __slots__ = ("lease",)

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease.source, lease.name, lease.pool)
        self.lease = lease

    @property
    def held(self) -> int:
        """Count what the wrapped lease holds."""
        return self.lease.held

    @property
    def counted(self) -> bool:
        """Ask the wrapped lease."""
        return self.lease.counted

    def grow(self, most: int) -> int:
        """Take from the wrapped lease."""
        return self.lease.grow(most)

    def surplus(self) -> int:
        """Ask the wrapped lease."""
        return self.lease.surplus()

    def shrink(self, count: int) -> None:
        """Return to the wrapped lease."""
        self.lease.shrink(count)

    def release(self) -> None:
        """Release the wrapped lease."""
        self.lease.release()

    def tend(self, now: float) -> float:
        """Look after the wrapped lease."""
        return self.lease.tend(now)

    def tokens_fd(self) -> int:
        """Ask the wrapped lease."""
        return self.lease.tokens_fd()

    def fds(self) -> list[int]:
        """Return the wrapped lease's descriptors."""
        return self.lease.fds()
