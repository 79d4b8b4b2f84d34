"""The service from the executor's side: a queue, a thread with an event loop, and what came of each job.

The executor is a loop over descriptors and must never wait for a network, so everything that waits happens in one thread of ours; files are
read and hashed in two more. The two sides share a queue of outcomes, and a pipe that polls readable while there are any.

When the link's patience is over, `overdue` names the jobs to run here as well: first those that wait for us, then those that the service
has not started, as far as it says so, then the oldest. So a service without workers holds up nothing for ever.

A service that is gone is gone for this link: every job comes home at once. So is one that has returned nothing usable eight times in a row.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import select
import socket
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from .blobs import Digests
from .compiler import UnfitError
from .patience import Patience
from .share import Share
from .told import Told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..job import Job, Result
    from .draft import Draft
    from .errand import Errand, Errands
    from .settings import Address, Settings

CONNECT_SECONDS = 0.95  # of the second that C30 allows; looking at the answer takes the rest
_AT_LEAST = 0.3  # seconds for the service's first answer, when importing grpc took the rest
_CLOSE_SECONDS = 5.0  # for what listens: a service that hangs costs 1 s
_USELESS = 8  # refusals in a row, with nothing accepted before, after which a service is not asked any more
_LOOK_AGAIN = 0.25  # seconds until waiting jobs look for a larger share
# It talks on stderr, where a link says nothing (C3). And its handlers at fork(2) made children of Python 3.9 die of SIGSEGV before they
# became what they were to be (grpcio 1.80, seen five times in some sixty); without them none did, and we fork nothing that uses grpc.
_FOR_GRPC = {"GRPC_VERBOSITY": "NONE", "GRPC_ENABLE_FORK_SUPPORT": "0"}
_EXECUTING = 3  # ExecutionStage.Value


def connect(settings: Settings, log: Callable[[str], None]) -> Client | str:
    """Reach the service: the client, or why there is none."""
    address = settings.address
    assert address is not None
    if settings.token and not address.secure:
        return "LDSHIM_REMOTE_TOKEN needs grpcs://: a token is not sent in the clear"
    if bool(settings.key) != bool(settings.certificate):
        return "LDSHIM_REMOTE_CERT and LDSHIM_REMOTE_KEY need each other"
    end = time.monotonic() + CONNECT_SECONDS
    unreached = reach(address, CONNECT_SECONDS)
    if unreached:
        return unreached
    try:
        _import_grpc()
    except ImportError as error:
        return f'{error.name or error} is not installed: pip install "ldshim[remote]"'
    client = Client(settings, log)
    why = client.open(max(_AT_LEAST, end - time.monotonic()))
    if why:
        client.close()
        return why
    return client


def _import_grpc() -> None:
    """Import what imports grpc, with the variables that it reads then; local jobs inherit the environment as it was. Raises ImportError."""
    before = {name: os.environ.get(name) for name in _FOR_GRPC}
    os.environ.update({name: before[name] or value for name, value in _FOR_GRPC.items()})
    try:
        from . import errand  # noqa: F401, PLC0415 - 0.23 s
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]


def reach(address: Address, seconds: float) -> str:
    """See whether anything listens there: "" or why not. In a thread, because a name service may take longer than it is given."""
    said: list[str] = []

    def look() -> None:
        try:
            socket.create_connection((address.host, address.port), seconds).close()
            said.append("")
        except OSError as error:
            said.append(f"{address.target}: {error.strerror or error}")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(seconds)
    return said[0] if said else f"{address.target}: no answer within {seconds:.1f} s"


class Entry:
    """One job. errand: its way there; task: what does it, None while it waits here; dropped: the executor has cancelled it."""

    __slots__ = ("dropped", "errand", "handle", "task")

    def __init__(self, handle: int, errand: Errand) -> None:
        self.handle = handle
        self.errand = errand
        self.task: asyncio.Task[None] | None = None
        self.dropped = False


class Client:
    """A Service (see the package's docstring) of the Remote Execution API. Without an underscore: for the executor's thread."""

    def __init__(self, settings: Settings, log: Callable[[str], None]) -> None:
        assert settings.address is not None
        self._settings = settings
        self._log = log
        name = hashlib.sha256(settings.address.target.encode()).hexdigest()[:12].encode()
        self._share = Share(settings.environment.get, name, settings.jobs, settings.user_jobs or settings.jobs)
        self._digests = Digests(settings.environment.get)
        self._errands: Errands | None = None
        self._handles = 0
        self._entries: dict[int, Entry] = {}
        self._waiting: deque[Entry] = deque()
        self._running = 0
        self._gone = ""
        self._refused = 0
        self._accepted = 0
        self._patience = Patience(settings.patience)
        self._told = Told(log)
        self._look: asyncio.TimerHandle | None = None
        self._done: deque[tuple[Entry, Result | str, list[Draft]]] = deque()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pool = ThreadPoolExecutor(2, "ldshim-remote")
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(self._pool)
        self._loop.set_exception_handler(lambda _, said: log(f"remote: {said.get('message')}: {said.get('exception')!r}"[:500]))
        self._thread = threading.Thread(target=self._loop.run_forever, name="ldshim-remote", daemon=True)
        self._thread.start()

    @property
    def width(self) -> int:
        """How many jobs may run there now."""
        return self._share.now()

    def fileno(self) -> int:
        """Give the descriptor that polls readable while finished(0) has something to say."""
        return self._reader

    def open(self, seconds: float) -> str:
        """Ask the service what it can do: "" or why it is of no use."""
        from .errand import begin  # noqa: PLC0415 - see connect

        asked = asyncio.run_coroutine_threadsafe(begin(self._settings, self._digests, seconds), self._loop)
        try:
            found = asked.result(seconds + 0.2)
        except Exception as error:  # a deadline among them
            asked.cancel()
            return f"the service did not answer: {type(error).__name__}"
        if isinstance(found, str):
            return found
        self._errands = found
        return ""

    def start(self, job: Job) -> int:
        """Queue a job."""
        from .errand import Errand  # noqa: PLC0415 - see connect

        self._handles += 1
        entry = self._entries[self._handles] = Entry(self._handles, Errand(job))
        if not job.remote:
            self._tell(entry, "it is not to run elsewhere")
        elif self._gone:
            self._tell(entry, self._gone)
        else:
            self._loop.call_soon_threadsafe(self._queue, entry)
        return entry.handle

    def finished(self, seconds: float) -> list[tuple[int, Result | str]]:
        """Wait so long at most, and put the outputs of what has succeeded in place."""
        if not self._done:
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)
            poll.poll(max(0.0, seconds) * 1000)
        try:
            os.read(self._reader, 1 << 16)
        except BlockingIOError:
            pass
        out: list[tuple[int, Result | str]] = []
        while self._done:
            entry, outcome, drafts = self._done.popleft()
            self._entries.pop(entry.handle, None)
            if not entry.dropped:
                outcome = _placed(outcome, drafts)
                if isinstance(outcome, str):
                    self._told.tell(entry.errand.job, outcome)
                out.append((entry.handle, outcome))
            for draft in drafts:
                draft.drop()
        return out

    def overdue(self) -> list[int]:
        """List the jobs to run here as well, the one to start first in front; none while there is patience."""
        if not self._patience.over():
            return []
        left = [entry for entry in self._entries.values() if not entry.dropped]
        return [entry.handle for entry in sorted(left, key=_homecoming)]

    def cancel(self, handle: int) -> None:
        """Forget a job."""
        entry = self._entries.get(handle)
        if entry is not None and not entry.dropped:
            entry.dropped = True
            self._loop.call_soon_threadsafe(self._drop, entry)

    def close(self) -> None:
        """Cancel what is left, end the threads, remove every file of ours."""
        if self._loop.is_closed():
            return
        for entry in list(self._entries.values()):
            entry.dropped = True
        self._digests.stop()
        try:
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(_CLOSE_SECONDS)
        except Exception as error:  # the loop must end, whatever it was doing
            self._log(f"remote: closing: {type(error).__name__}")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)
        self._pool.shutdown(wait=True, cancel_futures=True)
        if not self._thread.is_alive():
            self._loop.close()
        while self._done:
            for draft in self._done.popleft()[2]:
                draft.drop()
        self._share.close()
        self._entries.clear()  # what was cancelled still holds its call
        self._errands = None
        gc.collect()  # grpc's objects know each other, and its threads end with the last
        os.close(self._reader)
        os.close(self._writer)

    # From here on: the event loop's thread.

    def _queue(self, entry: Entry) -> None:
        if not self._running and not self._waiting:
            self._patience.begin()
        self._waiting.append(entry)
        self._admit()

    def _admit(self) -> None:
        """Take up waiting jobs, as many as our share allows."""
        share = self._share.now()
        while self._waiting and self._running < share:
            entry = self._waiting.popleft()
            self._running += 1
            entry.errand.taken = time.monotonic()
            entry.task = self._loop.create_task(self._work(entry))
        if self._waiting and self._look is None:
            self._look = self._loop.call_later(_LOOK_AGAIN, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self._admit()

    def _drop(self, entry: Entry) -> None:
        if entry.task is not None:
            entry.task.cancel()
        elif entry in self._waiting:
            self._waiting.remove(entry)
            self._tell(entry, "")  # finished() forgets it

    def _tell(self, entry: Entry, outcome: Result | str, drafts: list[Draft] | None = None) -> None:
        """Hand an outcome to the executor. Any thread may."""
        self._done.append((entry, outcome, drafts or []))
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            pass  # it polls readable as it is

    async def _work(self, entry: Entry) -> None:
        """Do one job, and tell what came of it, whatever happens."""
        outcome: Result | str = self._gone
        drafts: list[Draft] = []
        try:
            if not self._gone:
                assert self._errands is not None
                outcome = await self._errands.run(entry.errand, drafts)
                self._accepted += 1
                self._patience.note(time.monotonic() - entry.errand.taken)
        except asyncio.CancelledError:
            outcome = "cancelled"
        except Exception as error:  # any doubt: it runs here
            outcome = await self._conclude(error)
        finally:
            if isinstance(outcome, str):
                while drafts:
                    drafts.pop().drop()
            self._running -= 1
            self._tell(entry, outcome, drafts)
            self._admit()

    async def _conclude(self, error: Exception) -> str:
        """Say in one clause why a job comes home, and whether the others had better come, too."""
        from .channel import BrokenError  # noqa: PLC0415 - see connect
        from .errand import reason  # noqa: PLC0415 - see connect

        why = reason(error)
        if isinstance(error, UnfitError):
            return why
        assert self._errands is not None
        self._refused += 1
        if isinstance(error, BrokenError) and not self._gone and not await self._errands.alive():
            self._give_up(why)
        elif self._refused >= _USELESS and not self._accepted:
            self._give_up(f"nothing that the service returned could be used, the last time because {why}")
        return why

    def _give_up(self, why: str) -> None:
        """Send everything home."""
        if self._gone:
            return
        self._gone = why
        self._log(f"remote: {why}: everything runs here")
        while self._waiting:
            self._tell(self._waiting.popleft(), why)

    async def _shut(self) -> None:
        """Cancel every task, and with it what runs there; then drop the connection."""
        if self._look is not None:
            self._look.cancel()
        self._waiting.clear()
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS - 2)
        if self._errands is not None:
            await self._errands.close()


def _homecoming(entry: Entry) -> tuple[int, float, int]:
    """Order jobs that are overdue: those that wait here, those that the service has not started, the oldest."""
    errand = entry.errand
    if not errand.taken:
        return (0, 0.0, entry.handle)
    started = errand.operation is not None and errand.operation.stage >= _EXECUTING
    return (2 if started else 1, errand.taken, entry.handle)


def _placed(outcome: Result | str, drafts: list[Draft]) -> Result | str:
    """Put the outputs in place; where that fails, the job runs here."""
    try:
        for draft in drafts:
            draft.place()
    except OSError as error:
        return f"an output cannot be put in place: {error.strerror}"
    return outcome
