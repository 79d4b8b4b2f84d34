"""The jobs that run here, as child processes: what they say is kept, and none outlives us.

Each is forked with what the linker gave us (environment, stdin, signal dispositions), and with its stdout and stderr in memory files, so
that the texts of several jobs do not mix. Python's own changes to signals are undone before exec.

None outlives us: when we are told to end, everything below is sent SIGTERM, which every compiler takes to remove what it was writing, and
SIGKILL two seconds later. When we are killed so that nothing can be done any more, the kernel sends it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import os

from ..call import clock, processes
from .job import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import NoReturn

    from ..call.environment import Environment
    from .job import Job
    from .watched import Watched
else:
    import _signal

GRACE_SECONDS = 2.0  # for compilers to remove what they were writing
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as a shell says it


class Children:
    """Child processes of ours. environment: theirs; watched: knows the signal dispositions that they are to have."""

    __slots__ = ("_environment", "_prctl", "_running", "_watched")

    def __init__(self, environment: Environment, watched: Watched) -> None:
        self._environment = environment
        self._watched = watched
        self._running: dict[int, tuple[int, int, float]] = {}  # pid: memory files of stdout and stderr, start
        self._prctl = _prctl()

    def start(self, job: Job) -> int:
        """Start a job: its pid. One that cannot be executed ends with 127 or 126, as in a shell. Raises OSError: nothing was started."""
        out = os.memfd_create("stdout", os.MFD_CLOEXEC)
        err = -1
        try:
            err = os.memfd_create("stderr", os.MFD_CLOEXEC)
            parent = os.getpid()
            pid = os.fork()
        except OSError:
            os.close(out)
            if err >= 0:
                os.close(err)
            raise
        if pid == 0:
            self._become(job, out, err, parent)
        self._running[pid] = (out, err, clock.now())
        return pid

    def _become(self, job: Job, out: int, err: int, parent: int) -> NoReturn:
        status = _NOT_EXECUTABLE
        try:
            if self._prctl is not None:
                self._prctl(_PR_SET_PDEATHSIG, int(_signal.SIGTERM), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(status)  # we died before the kernel knew what to do then
            self._watched.restore_signals()
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.chdir(job.cwd)
            search = self._environment.get(b"PATH", os.defpath.encode())
            for place in [b""] if b"/" in job.argv[0] else search.split(b":"):
                try:
                    os.execve(os.path.join(place, job.argv[0]), job.argv, self._environment)  # type: ignore[arg-type]  # as in handover.py
                except FileNotFoundError:
                    status = _NOT_FOUND
                except NotADirectoryError:
                    continue
            os.write(2, b"ldshim: %b: cannot be executed\n" % job.argv[0])
        except OSError as error:
            os.write(2, b"ldshim: %b: cannot be executed: %b\n" % (job.argv[0], (error.strerror or "").encode()))
        finally:
            os._exit(status)

    def ended(self) -> list[tuple[int, Result]]:
        """Reap the children that have ended: [(pid, result)]."""
        found = []
        for pid in list(self._running):
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                done, status = pid, 1 << 8  # somebody else reaped it: nobody knows, so it has failed
            if done:
                found.append((pid, self._result(pid, status)))
        return found

    def _result(self, pid: int, status: int) -> Result:
        out, err, began = self._running.pop(pid)
        texts = []
        for fd in (out, err):
            texts.append(os.pread(fd, os.fstat(fd).st_size, 0))
            os.close(fd)
        number = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        return Result(number, texts[0], texts[1], "here", ran=clock.now() - began)

    def end(self) -> None:
        """End every child and what is below it, and reap the children."""
        deadline = clock.now() + GRACE_SECONDS
        self._kill(_signal.SIGTERM)
        while self._running and clock.now() < deadline:
            self.ended()
            if self._running:
                clock.sleep(0.005)
        self._kill(_signal.SIGKILL)
        for pid in list(self._running):
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
            for fd in self._running.pop(pid)[:2]:
                os.close(fd)

    def _kill(self, number: int) -> None:
        for pid in list(self._running):
            # What is below first: gcc, once it is gone, does not tell where its lto1 is.
            for each in (*processes.below(pid), pid):
                try:
                    os.kill(each, number)
                except OSError:
                    continue


def _prctl() -> Callable[..., int] | None:
    """Return the C library's prctl, None where it cannot be had: then a kill -9 of ours leaves compilers behind, as that of make does."""
    try:
        import ctypes  # noqa: PLC0415 - nothing else here needs it

        found: Callable[..., int] = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return found
