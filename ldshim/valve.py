"""The valve between the build's jobserver and the private pipe of one GCC link.

A GCC link is serial for most of its life: reading, WPA and the final link use one thread, and only make, below lto-wrapper, runs jobs side
by side. Tokens taken at the start would lie idle through WPA and be too few when LTRANS begins. So the valve starts empty and feeds make:

- While a make runs below the link, one spare token lies in the private pipe. Make takes it when it has a job for it, and that is the
  demand signal: another is fetched from outside.
- A spare that lies unused for 200 ms has no taker, and goes back outside; it is offered again ever more rarely.
- Without a make below, nothing may lie in the pipe: under -j2 one spare would be the whole pool.

The invariant: tokens that circulate inside never exceed tokens held outside, because one is taken outside before it is put in, and taken
out before it is given back.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from . import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .private import Private
    from .reserve.lease import Lease

LOOK_SECONDS = 0.04  # how often the tree below the link is searched for a make: five small files, 0.15 ms
FEED_SECONDS = 0.01  # how often the pipe is looked at while one runs
NONE_SECONDS = 0.03  # how often one is asked for outside while there is none
IDLE_SECONDS = 0.2
_OFFER_AGAIN = (0.5, 1.0, 2.0, 4.0)  # seconds between offers of a spare that nobody took


class Valve:
    """Feed one private pipe from one lease. most: tokens inside at most; make_name: what make is called here (the base name of $MAKE)."""

    __slots__ = (
        "_again", "_idle_since", "_inside", "_lease", "_link", "_looked", "_make", "_make_names", "_most", "_offer_at", "_pipe", "_refused",
        "peak",
    )  # fmt: skip

    def __init__(self, link: int, pipe: Private, lease: Lease, most: int, make_name: bytes = b"make") -> None:
        self._link = link  # pid
        self._pipe = pipe
        self._lease = lease
        self._most = most
        self._make_names = {b"make", b"gmake", make_name[:15]}
        self._make = 0  # pid of the make below, 0: none
        self._looked = -1.0
        self._inside = 0  # tokens that are in the pipe or with make
        self._idle_since = 0.0
        self._offer_at = 0.0
        self._refused = 0
        self._again = 0.0
        self.peak = 0  # most tokens seen with make at once

    def tick(self, now: float) -> float:
        """Move tokens as the state of the link asks; return seconds until the next look. now: a monotonic clock."""
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._make = self._find_make()
        waiting = self._waiting()
        self.peak = max(self.peak, self._inside - waiting)
        if not self._make:
            self._back(waiting)
            self._refused, self._offer_at, self._idle_since = 0, 0.0, 0.0
            return LOOK_SECONDS
        if not waiting:
            self._offer(now)
        elif not self._idle_since:
            self._idle_since = now
        elif self._lease.surplus():
            self._back(waiting)  # another link waits for its share: what make has just put back is the first that can be had
        elif now - self._idle_since >= IDLE_SECONDS and processes.children(self._make):
            # Make has begun and does not want it: an idle make that is still reading its makefile would show no children.
            self._back(waiting)
            self._idle_since = 0.0
            self._offer_at = now + _OFFER_AGAIN[min(self._refused, len(_OFFER_AGAIN) - 1)]
            self._refused += 1
        return FEED_SECONDS

    def end(self, survivors: list[int]) -> None:
        """Nothing of the valve outlives the link."""

    def _offer(self, now: float) -> None:
        if self._idle_since:
            # The spare was taken: there is demand.
            self._idle_since, self._refused, self._offer_at = 0.0, 0, 0.0
        if self._inside >= self._most or now < self._offer_at:
            return
        if self._lease.grow(1):
            self._pipe.fill(1)
            self._inside += 1
            self._idle_since = now
        else:
            self._offer_at = now + NONE_SECONDS

    def _back(self, count: int) -> None:
        """Take up to count tokens out of the pipe and give as many back outside; a client may be quicker, then they are fewer."""
        if count <= 0:
            return
        try:
            taken = len(os.read(self._pipe.read_fd, count))
        except BlockingIOError:
            return
        self._inside -= taken
        self._lease.shrink(taken)

    def _waiting(self) -> int:
        answer: tuple[int] = struct.unpack("i", fcntl.ioctl(self._pipe.read_fd, termios.FIONREAD, bytes(4)))
        return answer[0]

    def _find_make(self) -> int:
        if self._make and processes.comm(self._make) in self._make_names and processes.stat_fields(self._make)[:1] != [b"Z"]:
            return self._make
        for pid in processes.below(self._link):
            if processes.comm(pid) in self._make_names:
                return pid
        return 0
