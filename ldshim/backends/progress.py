"""One line on a terminal that says how far the backends of a link are: `[ 312/1204] 2 here, 64 there, 180 from cache`.

Only where stderr is a terminal, after a second, ten times a second at most, and gone before anything else is written there.
"""

from __future__ import annotations

import os

from ..call import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .job import Result

FIRST_SECONDS = 1.0
AGAIN_SECONDS = 0.1
_CLEAR = b"\r\x1b[K"


class Progress:
    """The line, while there is one. jobs: of the link."""

    __slots__ = ("_cached", "_done", "_jobs", "_next", "_shown", "_terminal")

    def __init__(self, jobs: int, term: bytes) -> None:
        """Decide whether there is to be one. term: of $TERM."""
        self._jobs = jobs
        self._done = self._cached = 0
        self._next = clock.now() + FIRST_SECONDS
        self._shown = False
        try:
            self._terminal = term not in (b"", b"dumb") and os.isatty(2)
        except OSError:
            self._terminal = False

    def note(self, result: Result) -> None:
        """Count a job that is done."""
        self._done += 1
        self._cached += result.where == "cache"

    def show(self, here: int, there: int) -> None:
        """Show how many jobs run here and there, unless that was shown a moment ago."""
        now = clock.now()
        if not self._terminal or now < self._next:
            return
        self._next = now + AGAIN_SECONDS
        counts = [(here, "here"), (there, "there"), (self._cached, "from cache")]
        text = ", ".join(f"{count} {what}" for count, what in counts if count)
        self._write(_CLEAR + f"[{self._done:{len(str(self._jobs)) + 1}}/{self._jobs}] {text}".encode())
        self._shown = True

    def clear(self) -> None:
        """Take the line away: something else is to be written, or all is done."""
        if self._shown:
            self._write(_CLEAR)
            self._shown = False

    def _write(self, text: bytes) -> None:
        try:
            os.write(2, text)
        except OSError:
            self._terminal = False
