"""Why jobs ran here, told once for each reason: a link of a thousand jobs mostly has one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..job import Job

_MOST = 20  # reasons; a service whose every answer is another is not worth more lines


class Told:
    """The reasons that were logged. log: takes one line."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._reasons: set[str] = set()

    def tell(self, job: Job, why: str) -> None:
        """Log a reason, with the first job that it kept here."""
        if why not in self._reasons and len(self._reasons) < _MOST:
            self._reasons.add(why)
            name = job.name or b" ".join(job.outputs).decode("utf-8", "backslashreplace")
            self._log(f"remote: {name} runs here: {why}")
