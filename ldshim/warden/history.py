"""The threads of one link over time, which the warden records for the last line of the log.

A log with 1 at the start and 8 at the most does not show whether a link grew at once or waited for a minute, which a person who looks for
slow links needs to know. So each change of the number held is a step, and the time in which the link wanted one more thread is added up. A
step is too cheap to need a switch. A link of an hour could have thousands, so beyond STEPS every second one is removed, again and again:
the shape stays.
"""

from __future__ import annotations

STEPS = 512


class History:
    """The threads of one link over time.

    steps: [seconds since the handover, threads held, the implicit one counted], one for each change; waited: seconds in which the link
    wanted one more thread and none was free; peak: threads in use at once at most, the implicit one counted; failed: the first exception in
    the warden, "" for none. now: a monotonic clock.
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
        """Record the tokens held now, without the implicit thread. wants: the link wants one more, and none is free."""
        if self._wanted:
            self.waited += now - self._noted
        self._noted = now
        self._wanted = wants
        if not self.steps or self.steps[-1][1] != 1 + tokens:
            self.steps.append([round(now - self._began, 3), 1 + tokens])
            if len(self.steps) > STEPS:
                del self.steps[1::2]

    def use(self, tokens: int) -> None:
        """Record the tokens in use at once, for the peak."""
        self.peak = max(self.peak, 1 + tokens)

    def fail(self, error: BaseException) -> None:
        """Record an exception and its place; only the first, because others may follow from it."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else ""
        self.failed = self.failed or f"{type(error).__name__}{where}: {error}"

    def wall(self, now: float) -> float:
        """Return the seconds since the handover."""
        return now - self._began
