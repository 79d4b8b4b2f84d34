"""Run the backends of one link: here, one token each, or there, on a service with a width of its own.

The problem: a linker that hands its backends out waits for one process, and fails the link when that process does. It does not say how many
may run, and it does not stop them when it dies. The consequence: a loop over descriptors, one thread, that

- takes one token for each job here beyond the first, as a client of the private pipe which the warden's valve feeds (warden/gcc_valve.py).
  The first job runs on the thread that the linker itself does not use now. The tokens are the warden's: however this process ends, none is
  lost. Memory is asked for where the warden takes a token (GuardedLease), so no start has to ask again;
- starts the largest input first: what is started last should be short;
- keeps what a job says, and shows it once, in the order of the jobs, whatever order they end in;
- fills the service up to its width, and runs here whatever it does not take. A job of which anything is in doubt runs here, and what it
  says here is what is shown (C29). A job that is overdue there is cancelled before it starts here: only one of the two writes the outputs;
- ends everything below it when the link above dies or a signal asks for it: children first, then what runs there.

Used by the feeders: distributor.py for lld, make.py for lto-wrapper. Any failure of ours raises; the feeder then runs what is left plainly.
"""

from __future__ import annotations

import os
import select

from ..call import clock
from .children import Children
from .job import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from ..call.environment import Environment
    from ..reserve.jobserver import Jobserver
    from .job import Job
    from .remote import Service
    from .watched import Watched

    class Told(Protocol):
        """Who is told what happens."""

        def runs(self, here: int, there: int) -> None:
            """Learn how many jobs run here and there, now and then."""

        def done(self, job: Job, result: Result) -> None:
            """Learn that a job is done, once for each."""

        def show(self, result: Result) -> None:
            """Show what a job said, in the order of the jobs."""


LOOK_SECONDS = 1.0  # how often the service is asked for what is overdue, and a link without a pidfd whether it lives
TOKEN_SECONDS = 0.05  # how often a jobserver whose descriptor cannot be polled is asked


class LinkOverError(Exception):
    """The link has died, or a signal asks us to end. number: of the signal, 0 when the link has died."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Executor:
    """The jobs of one link, and where each of them is.

    results: in the order of the jobs, None for one that was not run; owner of the children, not of tokens, service and watched.
    """

    __slots__ = (
        "_children", "_failed", "_here", "_home", "_jobs", "_next", "_queued", "_service", "_there",
        "_tokens", "_told", "_waiting", "_watched", "results",
    )  # fmt: skip

    def __init__(
        self, jobs: Sequence[Job], environment: Environment, tokens: Jobserver | None, service: Service | None, watched: Watched,
        told: Told,
    ) -> None:  # fmt: skip
        """Prepare; nothing is started. told: who is told what happens."""
        self._jobs = jobs
        self._tokens = tokens
        self._service = service
        self._watched = watched
        self._told = told
        self._children = Children(environment, watched)
        self.results: list[Result | None] = [None] * len(jobs)
        sizes = [_size(job) for job in jobs]
        order = sorted(range(len(jobs)), key=lambda index: (sizes[index], -index))  # taken from the end: the largest stands last
        self._waiting = [index for index in order if service is None or jobs[index].remote]  # for either place
        self._home = [index for index in order if service is not None and not jobs[index].remote]  # for here
        self._here: dict[int, int] = {}  # pid: index
        self._there: dict[int, int] = {}  # handle: index
        self._queued = clock.now()
        self._next = 0  # the first job whose text was not shown
        self._failed = False

    def run(self) -> int:
        """Run all jobs: the status of the first in their order that failed, 0 for none. After a failure no job is started.

        Raises LinkOverError when the link is over, with nothing left running.
        """
        try:
            while True:
                self._start()
                self._tell()
                if not self._here and not self._there and (self._failed or not (self._home or self._waiting)):
                    break
                self._told.runs(len(self._here), len(self._there))
                self._wait()
        except BaseException:
            self._abandon()
            raise
        return next((result.status for result in self.results if result is not None and result.status), 0)

    def left(self) -> list[int]:
        """List the jobs that have no result, after a failure of ours."""
        return [index for index, result in enumerate(self.results) if result is None]

    def _start(self) -> None:
        """Start what may start: here up to the tokens, there up to its width."""
        if not self._failed:
            self._start_here()
            self._start_there()
        self._settle()

    def _start_there(self) -> None:
        if self._service is None:
            return
        try:
            for _ in range(self._service.width - len(self._there)):
                if not self._waiting:
                    return
                self._there[self._service.start(self._jobs[self._waiting[-1]])] = self._waiting[-1]
                self._waiting.pop()
        except Exception as error:
            self._lose(error)

    def _start_here(self) -> None:
        while self._home or self._waiting or self._bring_home():
            if self._here and not self._more():
                return
            index = (self._home or self._waiting).pop()
            self._here[self._children.start(self._jobs[index])] = index

    def _bring_home(self) -> bool:
        """Take back one job that the service has had for too long; it is cancelled there, for only one of the two may write the outputs."""
        if self._service is None or not self._there:
            return False
        try:
            for handle in self._service.overdue():
                if handle in self._there and (not self._here or self._more()):
                    self._service.cancel(handle)
                    self._home.append(self._there.pop(handle))
                    return True
        except Exception as error:
            self._lose(error)
        return bool(self._home)

    def _lose(self, error: Exception) -> None:
        """Go on without a service that failed in a way that it promised not to: all its jobs come home."""
        complain("remote", error, "its jobs run here")
        self._service = None
        self._home += self._there.values()
        self._there.clear()
        self._home += self._waiting
        self._waiting.clear()

    def _more(self) -> bool:
        """Have a token for one more job here than there are now."""
        return self._tokens is not None and (self._tokens.held >= len(self._here) or self._tokens.take(1, 0.0) == 1)

    def _settle(self) -> None:
        """Give back what no job here uses: the first of them needs no token."""
        if self._tokens is not None:
            spare = self._tokens.held - max(0, len(self._here) - 1)
            if spare > 0:
                self._tokens.give(spare)

    def _wait(self) -> None:
        """Sleep until a child ends, a token shows up, the service has something, or the link is over; take note of what ended."""
        poll = select.poll()
        for fd in self._watched.fds():
            poll.register(fd, select.POLLIN)
        seconds = LOOK_SECONDS
        if not self._failed and self._here and (self._home or self._waiting) and self._tokens is not None:
            fd = self._tokens.tokens_fd()
            if fd >= 0:
                poll.register(fd, select.POLLIN)
            else:
                seconds = TOKEN_SECONDS
        if self._service is not None and self._there:
            poll.register(self._service.fileno(), select.POLLIN)
        poll.poll(seconds * 1000)
        self._watched.drain()
        number = self._watched.over()
        if number is not None:
            raise LinkOverError(number)
        for pid, result in self._children.ended():
            self._done(self._here.pop(pid), result)
        for handle, said in self._said():
            index = self._there.pop(handle, -1)
            if index >= 0 and isinstance(said, Result) and said.status == 0:
                self._done(index, said)
            elif index >= 0:
                self._home.append(index)

    def _said(self) -> Sequence[tuple[int, Result | str]]:
        if self._service is None or not self._there:
            return ()
        try:
            return self._service.finished(0.0)
        except Exception as error:
            self._lose(error)
            return ()

    def _done(self, index: int, result: Result) -> None:
        if result.where == "here":
            result.queued = max(0.0, clock.now() - self._queued - result.ran)
        self.results[index] = result
        self._told.done(self._jobs[index], result)
        if result.status and not self._failed:
            self._failed = True
            self._cancel()

    def _tell(self) -> None:
        """Show what the jobs said, up to the first that is not done; after a failure, of all that will ever be done."""
        while self._next < len(self.results):
            result = self.results[self._next]
            if result is None:
                if not self._failed or self._here:
                    return
            else:
                self._told.show(result)
            self._next += 1

    def _abandon(self) -> None:
        """End what runs here, and give every token back; what runs there ends when its owner closes the service, which is next."""
        for step in (self._children.end, self._give_all):
            try:
                step()
            except Exception:
                continue

    def _cancel(self) -> None:
        there, self._there = self._there, {}
        if self._service is not None:
            for handle in there:
                self._service.cancel(handle)

    def _give_all(self) -> None:
        self._here.clear()
        if self._tokens is not None:
            self._tokens.give(self._tokens.held)


def _size(job: Job) -> int:
    """Measure a job by its first input, 0 where that cannot be seen: the rest is what it imports from, a part of each."""
    try:
        return os.stat(os.path.join(job.cwd, job.inputs[0])).st_size
    except (OSError, IndexError):
        return 0


def plainly(jobs: Sequence[Job], environment: Environment) -> int:
    """Run jobs one after the other with nothing of the above: the status of the first that fails, after which none is started."""
    for job in jobs:
        pid = os.fork()
        if pid == 0:
            try:
                os.chdir(job.cwd)
                os.execvpe(job.argv[0], job.argv, dict(environment.pairs))
            finally:
                os._exit(127)
        status = os.waitpid(pid, 0)[1]
        if status:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    return 0


def write_out(result: Result) -> None:
    """Write what a job said to our stdout and stderr; nobody to read it is no failure of the link."""
    for fd, text in ((1, result.stdout), (2, result.stderr)):
        try:
            at = 0
            while at < len(text):
                at += os.write(fd, text[at : at + (1 << 16)])
        except OSError:
            continue


def complain(what: str, error: BaseException, instead: str) -> None:
    """Say in one line that we failed and what happens instead (C1)."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace is not None else "?"
    try:
        line = f"ldshim: {what}: internal error, {instead}: {type(error).__name__} at {where}: {' '.join(str(error).split())}\n"
        os.write(2, line.encode("utf-8", "backslashreplace"))
    except OSError:
        pass
