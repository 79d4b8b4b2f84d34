"""The valve between the build's jobserver and the private pipe of one GCC link.

A GCC link is serial for most of its life: reading, WPA and the final link use one thread. Two of its processes run jobs side by side: the
make below lto-wrapper, which compiles the partitions, and WPA itself, which forks to write the partitions out. Since GCC 13 it takes a
token for every fork. Tokens taken at the start would lie idle through WPA and be too few when LTRANS begins. So the valve starts empty
and feeds whichever of the two is at work, the client:

- A third takes the place of make, or is lld's distributor: our own executor of backends (backends/), which runs one process a token.
- While there is a client, one spare token lies in the private pipe. The client takes it when it has a job for it, and that is the demand
  signal: another is fetched from outside.
- A spare that lies unused for 200 ms has no taker, and goes back outside; it is offered again ever more rarely. WPA looks for a token
  between two sets of partitions only, and finds it if it is there almost always: the token is offered again after one polling interval.
- Without a client nothing may lie in the pipe: under -j2 one spare would be the whole pool. WPA counts from its first partition on: what
  it does before that is serial, and longest.
- GCC up to 12 forks up to 32 writers as soon as it sees a jobserver, and asks nobody (seen with 12.2: six partitions, six at once). There
  is nothing to feed, so these are confined to as many CPUs as are held, as the threads of lld are, from the first look that meets them.
- A token with a client cannot be called back: make gives it up when its job ends. So a link that holds more than its share of slots
  yields them as its jobs end, and no sooner; nothing else can be done without stopping compilers half way.

The invariant: tokens that circulate inside never exceed tokens held outside, because one is taken outside before it is put in, and taken
out before it is given back.
"""

from __future__ import annotations

import os

from ..call import processes
from ..call.descriptors import waiting as count_waiting
from ..reserve.lease import ASK_SECONDS, pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..reserve.lease import Lease
    from .confinement import Confinement
    from .private_jobserver import Private

    Confine = Callable[[int], "Confinement | None"]

# How often the tree below the link is searched for a client: a dozen small files, 0.2 ms. What is missed at the start of one is a small
# part of the time that the link has taken by then.
LOOK_SHARE = 0.02
LOOK_SECONDS = (0.02, 0.1)  # at least, at most
CHECK_SECONDS = 0.05  # how often the client is asked whether it still is one
FEED_SECONDS = 0.01  # how often the pipe is looked at while tokens move
CALM_SECONDS = 0.03  # and while none did for ten looks
IDLE_SECONDS = 0.2
_OFFER_AGAIN = (0.5, 1.0, 2.0, 4.0)  # seconds between offers of a spare that make did not take
_WPA = b"lto1-wpa"  # its forks call themselves lto1-wpa-streaming
_EXECUTOR = b"ldshim-backends"  # backends/feeder.py, in the place of make or as lld's distributor, while it has jobs
_COMPILES = b"\0-f\0"  # `make -f TEMPORARY all`; before WPA lto-wrapper asks for the --version, to know that there is a make


class Valve:
    """Feed one private pipe from one lease.

    most: tokens inside at most; make_name: what make is called here (the base name of $MAKE); confine: how to confine a WPA that takes no
    tokens, by its pid, None for one that does; None is also its answer where that cannot be done.
    """

    __slots__ = (
        "_began", "_client", "_confine", "_denied_since", "_idle_since", "_inside", "_is_ours", "_is_wpa", "_lease", "_link", "_looked",
        "_make_names", "_most", "_moved", "_offer_at", "_pipe", "_refused", "_writers", "peak", "wants",
    )  # fmt: skip

    def __init__(
        self, link: int, pipe: Private, lease: Lease, most: int, make_name: bytes = b"make", confine: Confine | None = None
    ) -> None:
        self._link = link  # pid
        self._pipe = pipe
        self._lease = lease
        self._most = most
        self._make_names = {b"make", b"gmake", make_name[:15]}
        self._confine = confine
        self._writers: Confinement | None = None  # a WPA that forked without asking
        self._client = 0  # pid, 0: none
        self._is_wpa = self._is_ours = False
        self._looked = self._began = -1.0
        self._moved = 0.0  # when tokens last went in or out
        self._inside = 0  # tokens that are in the pipe or with the client
        self._idle_since = 0.0
        self._denied_since = 0.0  # when somebody said for the first time that there is none, and nobody had one since
        self._offer_at = 0.0
        self._refused = 0
        self.peak = 0  # most tokens seen with a client at once
        self.wants = False

    def tick(self, now: float) -> float:
        """Move tokens as the state of the link asks; return seconds until the next look. now: a monotonic clock."""
        self._began = now if self._began < 0 else self._began
        look = min(max(LOOK_SECONDS[0], LOOK_SHARE * (now - self._began)), LOOK_SECONDS[1])
        if now - self._looked >= (CHECK_SECONDS if self._client else look) or self._looked < 0:
            self._looked = now
            self._client = self._find_client()
        if self._writers is not None:
            delay = self._writers.tick(now)
            self.peak, self.wants = max(self.peak, self._lease.held), self._writers.wants
            return delay
        waiting = count_waiting(self._pipe.read_fd)
        self.peak = max(self.peak, self._inside - waiting)
        feeds = self._client and not (self._is_wpa and self._confine is not None)
        if waiting or not feeds:
            self.wants = False
        if not feeds:
            self._back(waiting)
            self._refused, self._offer_at, self._idle_since, self._denied_since = 0, 0.0, 0.0, 0.0
            return look
        if not waiting:
            self._offer(now)
        elif not self._idle_since:
            self._idle_since = self._moved = now
        elif self._lease.surplus():
            self._back(waiting)  # another link waits for its share: what make has just put back is the first that can be had
        elif now - self._idle_since >= IDLE_SECONDS and self._has_begun():
            # The client does not want it.
            self._back(waiting)
            self._idle_since = self._denied_since = 0.0
            again = _OFFER_AGAIN[min(self._refused, len(_OFFER_AGAIN) - 1)]
            self._offer_at = now + (ASK_SECONDS[0] if self._is_wpa else again)
            self._refused += 1
        calm = max(CALM_SECONDS, self._offer_at - now) if self._denied_since else CALM_SECONDS
        return FEED_SECONDS if now - self._moved < 10 * FEED_SECONDS else calm

    def hurry(self) -> None:
        """Ask at the next tick, if the last was refused: a token was seen."""
        if self._writers is not None:
            self._writers.hurry()
        elif self._denied_since:
            self._offer_at = 0.0

    def end(self, survivors: list[int]) -> None:
        """Offer nothing any more, and give writers that outlive the link their CPUs back; nothing else of the valve does."""
        if self._writers is not None:
            self._writers.end(survivors)
        self._back(count_waiting(self._pipe.read_fd))

    def _offer(self, now: float) -> None:
        if self._idle_since:
            # The spare was taken: there is demand.
            self._moved = now
            self._idle_since, self._refused, self._offer_at = 0.0, 0, 0.0
        if self._inside >= self._most or now < self._offer_at:
            return
        if self._lease.grow(1):
            self._pipe.fill(1)
            self._inside += 1
            self._idle_since = self._moved = now
            self._denied_since = 0.0
            self.wants = False
        else:
            # A make that runs fewer jobs than it may has no use for one more.
            self.wants = self._is_wpa or len(processes.children(self._client)) > self._inside
            self._denied_since = self._denied_since or now
            self._offer_at = now + pause(now - self._denied_since)

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

    def _has_begun(self) -> bool:
        """Tell whether the client would have taken a token by now: a make that is still reading its makefile has no children.

        Our executor has begun once it has its name, and has no children while all its jobs run elsewhere.
        """
        return self._is_wpa or self._is_ours or bool(processes.children(self._client))

    def _find_client(self) -> int:
        """Return the pid of what runs jobs side by side, now or in a moment; confine it if it is one that takes no tokens."""
        if self._client and self._is_client(self._client):
            return self._client
        if self._writers is not None:
            self._writers.end([])
            self._writers = None
            self._lease.shrink(self._lease.held - self._inside)
        for pid in processes.below(self._link):
            if self._is_client(pid):
                if self._is_wpa and self._confine is not None:
                    # What a make before it left in the pipe is not the confinement's to give back.
                    self._back(count_waiting(self._pipe.read_fd))
                    self._writers = self._confine(pid)
                return pid
        return 0

    def _is_client(self, pid: int) -> bool:
        name = processes.comm(pid)
        self._is_wpa = name == _WPA
        if self._is_wpa:
            if self._confine is not None:
                return True  # its forks inherit the mask only if it has one before them
            # It waits while its forks write: one token brings it nothing, the second is the first that does.
            return self._most > 1 and is_streaming(pid)
        self._is_ours = name == _EXECUTOR
        if self._is_ours:
            return processes.stat_fields(pid)[:1] != [b"Z"]
        return name in self._make_names and processes.stat_fields(pid)[:1] != [b"Z"] and _COMPILES in processes.command_line(pid)


class Writers:
    """Confine a WPA that forks without asking, where the number of threads is fixed. confine: as for Valve."""

    __slots__ = ("_confine", "_confined", "_link", "_pid", "peak", "wants")

    def __init__(self, link: int, confine: Confine) -> None:
        self._link = link
        self._confine = confine
        self._confined: Confinement | None = None
        self._pid = 0  # of the WPA seen last
        self.peak = 0
        self.wants = False

    def tick(self, now: float) -> float:
        """Look for a WPA; return seconds until the next look. now: a monotonic clock."""
        if not self._pid or processes.comm(self._pid) != _WPA:
            self.end([])
            found = (pid for pid in processes.below(self._link) if processes.comm(pid) == _WPA)
            self._pid = next(found, 0)
            self._confined = self._confine(self._pid) if self._pid else None
        return self._confined.tick(now) if self._confined is not None else LOOK_SECONDS[0]

    def hurry(self) -> None:
        """Pass it on to the confinement, where there is one."""
        if self._confined is not None:
            self._confined.hurry()

    def end(self, survivors: list[int]) -> None:
        """Give writers that outlive the link their CPUs back."""
        if self._confined is not None:
            self._confined.end(survivors)
            self._confined = None


def is_streaming(pid: int) -> bool:
    """Tell whether a WPA process writes partitions out: it has forked for one, or has one open, named `...ltrans7.o` by itself."""
    if processes.children(pid):
        return True
    names = (os.path.basename(target) for target in processes.opened(pid))
    return any(name.endswith(b".o") and b".ltrans" in name for name in names)
