"""LTO backends on a remote execution service: a native client of the Remote Execution API v2, or a command as prefix (C28 to C33).

How it is used, by an executor that also runs jobs here:

    settings = remote.read(environment)      the LDSHIM_REMOTE* variables; remote.asked(environment) tells whether to
    service = remote.connect(settings, log)  a Service, or a str: why there is none; takes at most 1 s (C30)
    handle = service.start(job)              queues it; it is uploaded, run and fetched in a thread of the service's own
    service.finished(0.5)                    [(handle, Result)] with the outputs in place, or [(handle, "why it must run here")]
    service.overdue()                        handles to run here as well, the one to start first in front; mostly none
    service.cancel(handle); service.close()

Promises: a Result with status 0 means that every output is in its place, whole and plausible (C29); a Result is never a failed compile:
whatever is not a plain success comes back as a str, the job runs here, and its verdict is shown. Outputs are put in place inside
finished(), by rename, so after cancel(handle) nothing of that job appears. No exception leaves finished() or start(). After close() no
operation of ours runs on the service as far as it listens, and no thread or process of ours is left. (After a
cancelled stream, an idle thread of grpc may stay until the process ends.)

  settings.py   the variables                                 action.py     a job as an action: a tree, names that do not change
  service.py    the queue, and the executor's side of it      compiler.py   the compiler's files, and how they run from anywhere
  errand.py     one job on the service, step by step          blobs.py      digests
  operation.py  Execute, WaitExecution, CancelOperation       transfer.py   uploads and downloads
  channel.py    the connection                                judge.py      whether an output is to be believed
  messages.py   the API's messages                            draft.py      an output that has no name yet
  prefix.py     `exec:`                                       arguments.py  which arguments keep a job here
  share.py      how many at once, among links                 patience.py   how long to wait
  told.py       why jobs ran here, for the log
"""

from __future__ import annotations

from .settings import asked, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from ..job import Job, Result
    from .settings import Settings

    class Service(Protocol):
        """A place to run jobs, from the executor's side. All methods are for one thread."""

        @property
        def width(self) -> int:
            """How many jobs are worth starting at once, now; what is started beyond that waits inside."""

        def fileno(self) -> int:
            """Give a descriptor that polls readable while finished(0) has something to say."""

        def start(self, job: Job) -> int:
            """Queue a job: its handle. Takes microseconds."""

        def finished(self, seconds: float) -> Sequence[tuple[int, Result | str]]:
            """Wait so long at most for jobs to be done; str: why this one must run here."""

        def overdue(self) -> Sequence[int]:
            """List, once patience with the service is over, the jobs to run here as well; the first to finish wins."""

        def cancel(self, handle: int) -> None:
            """Forget a job: finished() does not name it any more, and what runs of it is cancelled."""

        def close(self) -> None:
            """Cancel everything that is left, and stop."""


__all__ = ["asked", "connect", "read"]


def connect(settings: Settings, log: Callable[[str], None]) -> Service | str:
    """Reach the service that settings name, within 1 s: the service, or in one clause why everything runs here. Never raises.

    log: takes one line, never a secret.
    """
    try:
        if settings.complaints:
            return settings.complaints[0]
        if settings.address is None:
            return "LDSHIM_REMOTE is not set"
        if settings.address.prefix:
            from . import prefix  # noqa: PLC0415 - imported by who asks for it

            return prefix.connect(settings, log)
        from . import service  # noqa: PLC0415 - as above; and grpc comes later still, when something answers

        return service.connect(settings, log)
    except Exception as error:  # any failure of ours means: here
        return f"the client failed: {type(error).__name__}: {error}"
