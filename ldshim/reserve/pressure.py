"""Tell whether processes here stall for memory, by the kernel's own measure (PSI, Linux 4.20).

The problem: what is free is an estimate, and so is what a link needs; where both were wrong, the machine pages out the linkers' own code
and inputs, and everything is several times slower long before anybody is killed. The consequence: the share of the last ten seconds in
which some task waited for memory is asked, and above a threshold nothing of ours grows (C26). Our own cgroup's figure where there is one
(v2), since the host's says nothing about a container with a limit; else the host's.

What this does not see: a burst. A linker that allocates faster than the kernel reclaims is killed at a pressure of 0.00 (bfd, within
0.4 s). For that there is the ledger.
"""

from __future__ import annotations

from ..call.environment import slurp
from . import cgroups

LOW_SHARE = 0.5  # of the threshold: below that things go on, so that a figure that moves about the threshold does not switch us each time


class Pressure:
    """Watch one pressure file. high: percent of time, `some avg10`, above which it is high; 0: never."""

    __slots__ = ("_high", "_path", "_was_high")

    def __init__(self, high: int, proc: bytes = b"/proc", root: bytes = b"") -> None:
        self._high = high
        self._path = _path(proc, root) if high else b""
        self._was_high = False

    def now(self) -> float | None:
        """Return the percentage as the kernel says it; None where it is unknown."""
        return percent(self._path) if self._path else None

    def is_high(self) -> bool:
        """Tell whether the pressure is above the threshold, or was and is not yet below the lower one; False where it is unknown."""
        now = self.now()
        self._was_high = now is not None and now >= (self._high * LOW_SHARE if self._was_high else self._high)
        return self._was_high


def _path(proc: bytes, root: bytes) -> bytes:
    own = next((directory for version, directory in cgroups.directories(b"memory", proc, root) if version == 2), b"")
    if own and percent(own + b"/memory.pressure") is not None:
        return own + b"/memory.pressure"
    return proc + b"/pressure/memory"


def percent(path: bytes) -> float | None:
    """Read `some avg10` of a pressure file; None where there is none: an older kernel, or psi=0."""
    try:
        line = slurp(path).partition(b"\n")[0]
    except OSError:  # EOPNOTSUPP, too
        return None
    kind, _, figures = line.partition(b" avg10=")
    number = figures.partition(b" ")[0]
    if kind != b"some" or not number.replace(b".", b"", 1).isdigit():
        return None
    return float(number)
