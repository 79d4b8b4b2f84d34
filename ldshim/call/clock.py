"""Measure elapsed seconds, also where libfaketime replaces the clock.

The problem: some builds run under libfaketime, so that their output does not depend on the date. It replaces clock_gettime(2) in every
process of the build, ldshim included. Then time.monotonic() stops, or jumps by an hour, and a timeout that depends on it never comes. Since
CPython 3.11 time.sleep waits until a point of time, which may be years away on such a clock.

The consequence: times(2) gives the elapsed time. It counts ticks of 10 ms since boot, and libfaketime 0.9.10 does not replace it. The clock
is used only between two ticks. Waiting is done in poll(2), whose timeout is a duration.
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
    """A clock that never stops and never goes back. monotonic, elapsed: functions that return the clock and the ticks, in seconds."""

    __slots__ = ("_began", "_elapsed", "_last", "_monotonic")

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, elapsed: Callable[[], float] | None = None) -> None:
        self._monotonic = monotonic
        self._elapsed = elapsed or _elapsed
        self._began = 0.0  # the value of the ticks when the clock was 0
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
    """Return whether the clock moves as time passes. Takes 0.06 s."""
    began = time.monotonic()
    sleep(2 * SLACK_SECONDS)
    return SLACK_SECONDS < time.monotonic() - began < 60


def cpu_clocks_are_true() -> bool:
    """Return whether the clocks that count CPU time are the kernel's: libfaketime replaces those as well. Measured once."""
    if not _true:
        own_clock = ~os.getpid() << 3 | 2  # as in confinement.cpu_seconds
        try:
            # Three times, because a clock that jumps may be right by chance.
            _true.append(all(abs(time.clock_gettime(own_clock) - sum(os.times()[:2])) < CPU_SLACK_SECONDS for _ in range(3)))
        except OSError:
            _true.append(False)
    return _true[0]


def sleep(seconds: float) -> None:
    """Wait for so many seconds, also where the clock is replaced."""
    import select  # noqa: PLC0415  a shared object in most Pythons, and most links never wait

    select.poll().poll(seconds * 1000)
