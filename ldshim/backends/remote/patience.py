"""How long a link waits for a service with nothing coming back.

Patience belongs to the link, not to a job: a job's own clock would count its place in the queue. It is over when no job of the link has
finished for 60 s, later for three times the longest that one took (distribution.md §5).
"""

from __future__ import annotations

import time

_SHORTEST = 5.0  # seconds: three times the longest, where all have been short


class Patience:
    """One link's. seconds: until the first job has come back."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()
        self._longest = -1.0  # seconds; negative: none came back

    def begin(self) -> None:
        """Begin anew: nothing was under way until now."""
        self._last = time.monotonic()

    def note(self, took: float) -> None:
        """Note that a job came back with something usable after so many seconds."""
        self._last = time.monotonic()
        self._longest = max(self._longest, took)

    def over(self) -> bool:
        """Tell whether it is over."""
        limit = self._seconds if self._longest < 0 else max(3 * self._longest, min(_SHORTEST, self._seconds))
        return time.monotonic() - self._last >= limit
