"""What one link held from moment to moment, as the warden writes it down for the log's last line.

A log that says 1 at the start and 8 at the most does not tell whether a link grew at once or had to beg for a minute, and that is what
somebody who looks for slow links wants to know. So each change of what is held is a step, and the time in which the link wanted one
more thread than there was is added up. A step costs nothing worth a switch to turn it off; a link of an hour under a nervous build
could have thousands, so beyond STEPS every other one goes, again and again: the shape stays.
"""

from __future__ import annotations

STEPS = 512


class History:
    """The course of one reservation.

    steps: [seconds since the handover, threads held, the implicit one counted], one for each change; waited: seconds in which the link
    wanted one more thread and none was free; peak: threads in use at once at most, the implicit one counted; failed: what was raised in
    the warden first, "" for nothing. now: a monotonic clock.
    """

    __slots__ = ("_began", "_noted", "_wanted", "failed", "peak", "steps", "waited")

    def __init__(self, now: float) -> None:
        self._began = now
        self._noted = now
        self._wanted = False
        self.steps: list[list[float]] = []
        self.waited = 0.0
        self.peak = 1
        self.failed = ""

    def note(self, now: float, tokens: int, wants: bool) -> None:
        """Write down what is held now: so many tokens beside the implicit thread. wants: one more, which nobody has to give."""
        if self._wanted:
            self.waited += now - self._noted
        self._noted = now
        self._wanted = wants
        if not self.steps or self.steps[-1][1] != 1 + tokens:
            self.steps.append([round(now - self._began, 3), 1 + tokens])
            if len(self.steps) > STEPS:
                del self.steps[1::2]

    def use(self, tokens: int) -> None:
        """Count tokens that were in use at once."""
        self.peak = max(self.peak, 1 + tokens)

    def fail(self, error: BaseException) -> None:
        """Note what was raised, and where; the first counts, for the others may follow from it."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else ""
        self.failed = self.failed or f"{type(error).__name__}{where}: {error}"

    def wall(self, now: float) -> float:
        """Return the seconds since the handover."""
        return now - self._began
