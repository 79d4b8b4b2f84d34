"""Leases that stand in front of another, or in its place.

Apart from lease.py because the shim of a GCC link, which leaves its memory to the warden, needs none of them.
"""

from __future__ import annotations

from .lease import Lease


class Kept(Lease):
    """What somebody else holds, or a pin that nobody holds: so many threads, which neither come nor go; its source is "none"."""

    __slots__ = ("_held",)

    def __init__(self, held: int) -> None:
        super().__init__()
        self._held = held

    @property
    def held(self) -> int:
        """Count the threads beyond the implicit one."""
        return self._held


class WrappedLease(Lease):
    """A lease under something more that its threads need, or its holder tells. Owns the lease it wraps; every verb is that one's."""

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
        """Give back to the wrapped lease."""
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
