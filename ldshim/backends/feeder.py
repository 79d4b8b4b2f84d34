"""What the feeders share: from a list of jobs to an outcome.

Opens what the executor needs (tokens, the service, the link above us), runs it, and closes everything whatever happens.
"""

from __future__ import annotations

import os
import time

from ..call import logfile
from ..call.environment import count, read_settings
from ..reserve import jobserver, makeflags
from .executor import Executor, LinkOverError, complain, plainly, write_out
from .progress import Progress
from .watched import HELD, Watched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..call.environment import Environment
    from .job import Job, Result
    from .remote import Service

EXECUTOR = b"ldshim-backends"  # what the kernel calls us, in its 15 bytes: the valve knows its client by it (warden/gcc_valve.py)


class Outcome:
    """What became of the jobs of a link.

    status: of the first job that failed, 0 for none; done: whether each was; link_died: it ended before they did; number: the signal that
    ended us, 0 for none.
    """

    __slots__ = ("_watched", "done", "link_died", "number", "status")

    def __init__(self, watched: Watched, jobs: int) -> None:
        self.status = 0
        self.done = [False] * jobs
        self.link_died = False
        self.number = 0
        self._watched = watched

    def end(self) -> int:
        """Return the status to exit with, or end by the signal that was meant for us."""
        if self.number:
            self._watched.die(self.number)
        return 1 if self.link_died else self.status if self.status >= 0 else 128 - self.status


def carry_out(jobs: Sequence[Job], environment: Environment, *, retries: bool = False) -> Outcome:
    """Run jobs.

    environment: of the call, and of the jobs; retries: the caller runs again what is not done and shows its words, so a job that
    fails is not shown, and after a failure of ours nothing runs plainly.
    """
    name_ourselves()
    watched = Watched(environment.get(HELD))
    outcome = Outcome(watched, len(jobs))
    settings = read_settings(environment)
    link = count(environment.get(HELD).partition(b".")[0]) or os.getppid()  # under the same pid as its other lines
    log = _logger(settings.log, link, environment)
    tokens = service = executor = None
    try:
        found = jobserver.connect(makeflags.parse(environment.get(b"MAKEFLAGS")))
        tokens = found if isinstance(found, jobserver.Jobserver) else None
        service = _service(environment, log)
        told = Told(settings.log, link, Progress(len(jobs), environment.get(b"TERM")), failures=not retries)
        executor = Executor(jobs, environment, tokens, service, watched, told)
        try:
            outcome.status = executor.run()
        finally:
            told.progress.clear()
    except LinkOverError as over:
        outcome.number, outcome.link_died = over.number, not over.number
    except Exception as error:
        complain("backends", error, "make runs them" if retries else "they run one by one")
        outcome.status = 1
        if not retries:
            left = executor.left() if executor is not None else range(len(jobs))
            outcome.status = plainly([jobs[index] for index in left], environment)
    finally:
        _close(service, tokens)
    if executor is not None:
        outcome.done = [result is not None and result.status == 0 for result in executor.results]
    return outcome


def name_ourselves() -> None:
    """Show up in ps under our own name, by which the valve knows that tokens are wanted."""
    try:
        with open(b"/proc/self/comm", "wb") as stream:
            stream.write(EXECUTOR)
    except OSError:
        pass


def _close(service: Service | None, tokens: jobserver.Jobserver | None) -> None:
    for each in (service, tokens):
        try:
            if each is not None:
                each.close()
        except Exception:
            continue


def _service(environment: Environment, log: Callable[[str], None]) -> Service | None:
    """Connect to the remote service that the call asks for; None without one, and then the log says why (C30)."""
    if not environment.get(b"LDSHIM_REMOTE"):
        return None
    try:
        from . import remote  # noqa: PLC0415 - who does not ask for it imports nothing of it

        found: Service | str = remote.connect(remote.read(environment), log)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    if isinstance(found, str):
        log(f"remote: {found}: everything runs here")
        return None
    return found


def _logger(path: bytes, link: int, environment: Environment) -> Callable[[str], None]:
    """Return what writes a line of the service's into the log, and to stderr where explaining was asked for."""
    explain = environment.get(b"LDSHIM_EXPLAIN") == b"1"

    def log(line: str) -> None:
        if path:
            logfile.append(path, {**_head("backends", link), "reason": line})
        if explain:
            os.write(2, f"ldshim: {line}\n".encode("utf-8", "backslashreplace"))

    return log


class Told:
    """What the user is told of the jobs: their texts, a line on a terminal, and lines in the log.

    log: its path, b"" for none; link: pid; failures: whether the text of a job that failed is shown.
    """

    __slots__ = ("_failures", "_link", "_log", "progress")

    def __init__(self, log: bytes, link: int, progress: Progress, *, failures: bool) -> None:
        self._log = log
        self._link = link
        self._failures = failures
        self.progress = progress

    def runs(self, here: int, there: int) -> None:
        """Show how many jobs run."""
        self.progress.show(here, there)

    def done(self, job: Job, result: Result) -> None:
        """Count a job, and log it."""
        self.progress.note(result)
        if self._log:
            entry = {**_head("job", self._link), "name": job.name, "where": result.where, "status": result.status}
            entry.update(queued=round(result.queued, 3), ran=round(result.ran, 3), sent=result.sent)
            logfile.append(self._log, entry)

    def show(self, result: Result) -> None:
        """Show what a job said."""
        if (result.stdout or result.stderr) and (self._failures or result.status == 0):
            self.progress.clear()
            write_out(result)


def _head(event: str, link: int) -> dict[str, object]:
    return {"event": event, "version": logfile.VERSION, "time": round(time.time(), 3), "pid": link}
