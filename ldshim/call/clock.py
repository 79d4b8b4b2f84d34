"""Seconds that pass, whatever the clock says.

The problem: builds run under libfaketime, so that what they write does not depend on the day. It replaces clock_gettime(2) in every
process of the build, in ours as well, and then time.monotonic() stands, or jumps by an hour. A timeout that is compared with a clock that
stands never comes; and since CPython 3.11 time.sleep waits for a point of time, which with such a clock may be years away.

The consequence: times(2), which counts ticks of 10 ms since boot and is not replaced (libfaketime 0.9.10), says how much time has passed,
and the clock only what lies between two ticks. And who waits does so in poll(2), whose timeout is a length of time.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SLACK_SECONDS = 0.03  # two readings of a tick of 10 ms, and one tick to spare
CPU_SLACK_SECONDS = 0.5  # user and system time are estimates where the kernel counts ticks


class Clock:
    """A clock that never stands and never goes back. monotonic, elapsed: where seconds and ticks are read (both in seconds)."""

    __slots__ = ("_began", "_elapsed", "_last", "_monotonic")

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, elapsed: Callable[[], float] | None = None) -> None:
        self._monotonic = monotonic
        self._elapsed = elapsed or _elapsed
        self._began = 0.0  # what the ticks were when the clock was 0
        self._last = -1.0

    def now(self) -> float:
        """Return the seconds since some moment before the first call; it follows the ticks within SLACK_SECONDS."""
        seconds, ticks = self._monotonic(), self._elapsed()
        if self._last < 0 or abs(self._began + seconds - ticks) > SLACK_SECONDS:
            self._began = ticks - seconds
        self._last = max(self._last, self._began + seconds)
        return self._last


def _elapsed() -> float:
    return os.times().elapsed


now = Clock().now
_true: list[bool] = []


def is_true() -> bool:
    """Tell whether the clock moves as time passes; it takes a moment."""
    began = time.monotonic()
    sleep(2 * SLACK_SECONDS)
    return SLACK_SECONDS < time.monotonic() - began < 60


def cpu_clocks_are_true() -> bool:
    """Tell whether the clocks that count CPU time are the kernel's: libfaketime replaces those as well. Found out once."""
    if not _true:
        ours = ~os.getpid() << 3 | 2  # as in confinement.cpu_seconds
        try:
            # Three times, for a clock that jumps may be right by chance.
            _true.append(all(abs(time.clock_gettime(ours) - sum(os.times()[:2])) < CPU_SLACK_SECONDS for _ in range(3)))
        except OSError:
            _true.append(False)
    return _true[0]


def sleep(seconds: float) -> None:
    """Wait for so long, whatever the clock says."""
    import select  # noqa: PLC0415  a shared object in most Pythons, and most links never wait

    select.poll().poll(seconds * 1000)
