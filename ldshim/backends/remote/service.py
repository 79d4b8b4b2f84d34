"""The service from the executor's side: a queue, a thread with an event loop, and what came of each job.

The executor is a loop over descriptors and must never wait for a network, so everything that waits happens in one thread of ours; files are
read and hashed in two more. The two sides share a queue of outcomes, and a pipe that polls readable while there are any.

Patience belongs to the link, not to a job: a job's own clock would count its place in the queue. When no job of this link has finished for
60 s, later for three times the longest that one took, `overdue` names the jobs to run here as well: first those that wait for us, then those
that the service has not started, as far as it says so, then the oldest. So a service without workers holds up nothing for ever.

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

from ..job import Result
from . import action as actions
from . import compiler as compilers
from . import judge
from .blobs import Digests
from .compiler import UnfitError
from .draft import Draft
from .share import Share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from ..job import Job
    from .action import Action, Offer
    from .channel import Channel
    from .compiler import Compiler
    from .settings import Address, Settings
    from .transfer import Transfers

CONNECT_SECONDS = 0.95  # of the second that C30 allows; looking at the answer takes the rest
_AT_LEAST = 0.3  # seconds for the service's first answer, when importing grpc took the rest
_CALL_SECONDS = 60.0  # for a call that moves at most a batch
_CLOSE_SECONDS = 3.0
_USELESS = 8  # refusals in a row, with nothing accepted before, after which a service is not asked any more
_SHORTEST_PATIENCE = 5.0  # seconds: three times the longest, where all have been short
_LOOK_AGAIN = 0.25  # seconds until waiting jobs look for a larger share


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
        from . import channel  # noqa: F401, PLC0415 - 0.23 s
    except ImportError as error:
        return f'{error.name or error} is not installed: pip install "ldshim[remote]"'
    client = Client(settings, log)
    why = client.open(max(_AT_LEAST, end - time.monotonic()))
    if why:
        client.close()
        return why
    return client


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
    """One job on its way. Only the event loop's thread changes it, `dropped` apart."""

    __slots__ = ("dropped", "handle", "job", "operation", "sent", "task", "taken")

    def __init__(self, handle: int, job: Job) -> None:
        self.handle = handle
        self.job = job
        self.task: asyncio.Task[None] | None = None
        self.operation: Any = None
        self.taken = 0.0  # on the monotonic clock; 0.0: it waits for its turn here
        self.sent = 0
        self.dropped = False


class Client:
    """A Service (see the package's docstring) of the Remote Execution API."""

    def __init__(self, settings: Settings, log: Callable[[str], None]) -> None:
        assert settings.address is not None
        self._settings = settings
        self._instance = settings.address.instance
        self._log = log
        name = hashlib.sha256(settings.address.target.encode()).hexdigest()[:12].encode()
        self._share = Share(settings.environment.get, name, settings.jobs, settings.user_jobs or settings.jobs)
        self._digests = Digests(settings.environment.get)
        self._handles = 0
        self._entries: dict[int, Entry] = {}
        self._waiting: deque[Entry] = deque()
        self._running = 0
        self._gone = ""
        self._refused = 0
        self._accepted = 0
        self._last = time.monotonic()
        self._longest = 0.0
        self._shared: dict[object, asyncio.Task[Any]] = {}
        self._look: asyncio.TimerHandle | None = None
        self._done: deque[tuple[Entry, Result | str, list[Draft]]] = deque()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pool = ThreadPoolExecutor(2, "ldshim-remote")
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(self._pool)
        self._loop.set_exception_handler(lambda _, context: log(f"remote: {context.get('message')}: {context.get('exception')!r}"[:500]))
        self._thread = threading.Thread(target=self._loop.run_forever, name="ldshim-remote", daemon=True)
        self._thread.start()
        self._channel: Channel | None = None
        self._transfers: Transfers | None = None
        self._offer: Offer | None = None

    # The executor's side.

    @property
    def width(self) -> int:
        """How many jobs may run there now."""
        return self._share.now()

    @property
    def sent(self) -> int:
        """Bytes uploaded so far."""
        return self._transfers.sent if self._transfers else 0

    def fileno(self) -> int:
        """Give the descriptor that polls readable while finished(0) has something to say."""
        return self._reader

    def start(self, job: Job) -> int:
        """Queue a job."""
        self._handles += 1
        entry = self._entries[self._handles] = Entry(self._handles, job)
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
                out.append((entry.handle, _placed(outcome, drafts)))
            for draft in drafts:
                draft.drop()
        return out

    def overdue(self) -> list[int]:
        """List the jobs to run here as well, the first one first; none while there is patience."""
        limit = self._settings.patience
        if self._accepted:
            limit = max(3 * self._longest, min(_SHORTEST_PATIENCE, limit))
        if time.monotonic() - self._last < limit:
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
        self._shared.clear()
        gc.collect()  # grpc's objects know each other, and its threads end with the last
        os.close(self._reader)
        os.close(self._writer)

    def open(self, seconds: float) -> str:
        """Ask the service what it can do: "" or why it is of no use."""
        asked = asyncio.run_coroutine_threadsafe(self._open(seconds), self._loop)
        try:
            return asked.result(seconds + 0.2)
        except Exception as error:  # a deadline among them
            asked.cancel()
            return f"the service did not answer: {type(error).__name__}"

    # The event loop's side.

    async def _open(self, seconds: float) -> str:
        from . import channel, messages, transfer  # noqa: PLC0415 - see connect

        try:
            self._channel = channel.Channel(self._settings)
        except (OSError, ValueError) as error:
            name = getattr(error, "filename", None)
            return f"a certificate, key or token cannot be used: {os.fsdecode(name) if name else type(error).__name__}"
        request = messages.MESSAGES["GetCapabilitiesRequest"](instance_name=self._instance)
        try:
            said = await self._channel.call("capabilities", request, seconds)
        except channel.grpc.aio.AioRpcError as error:
            return f"the service did not say what it can do: {channel.code_of(error)}"
        if not said.HasField("execution_capabilities") or not said.execution_capabilities.exec_enabled:
            return "the service executes nothing"
        if messages.SHA256 not in said.cache_capabilities.digest_functions:
            return "the service does not know SHA-256"
        settings = self._settings
        high = said.high_api_version
        old = (high.major, high.minor) < (2, 1) and bool(high.major)
        self._offer = actions.Offer(settings.properties, b"", settings.cache, old)
        batch = said.cache_capabilities.max_batch_total_size_bytes
        self._transfers = transfer.Transfers(self._call, self._channel.call, self._instance, batch, settings.upload_limit)
        return ""

    async def _call(self, name: str, request: Any) -> Any:
        """Make a call of the API, again while the connection is broken. request: a message, or a function that begins a stream of them."""
        from .channel import BROKEN, DELAYS, BrokenError, code_of, grpc  # noqa: PLC0415 - see connect

        assert self._channel is not None
        for delay in (*DELAYS, None):
            try:
                if callable(request):
                    return await self._channel.call(name, request())
                return await self._channel.call(name, request, _CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if code_of(error) not in BROKEN:
                    raise
            if delay is not None:
                await asyncio.sleep(delay)
        raise BrokenError

    def _queue(self, entry: Entry) -> None:
        if not self._running and not self._waiting:
            self._last = time.monotonic()  # nothing was under way: patience begins
        self._waiting.append(entry)
        self._admit()

    def _admit(self) -> None:
        """Take up waiting jobs, as many as our share allows."""
        share = self._share.now()
        while self._waiting and self._running < share:
            entry = self._waiting.popleft()
            self._running += 1
            entry.taken = time.monotonic()
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
        outcome: Result | str = "the client failed"
        drafts: list[Draft] = []
        try:
            outcome = await self._remote(entry, drafts)
            self._accepted += 1
            self._refused = 0
            self._longest = max(self._longest, time.monotonic() - entry.taken)
        except asyncio.CancelledError:
            outcome = "cancelled"
        except Exception as error:  # any doubt: it runs here
            outcome = await self._reason(error)
        finally:
            if isinstance(outcome, str):
                for draft in drafts:
                    draft.drop()
                drafts = []
            self._last = time.monotonic() if isinstance(outcome, Result) else self._last
            self._running -= 1
            self._tell(entry, outcome, drafts)
            self._admit()

    async def _reason(self, error: Exception) -> str:
        """Say in one clause why a job comes home, and draw the conclusions."""
        from .channel import BrokenError, code_of, grpc  # noqa: PLC0415 - see connect
        from .transfer import RefusedError  # noqa: PLC0415 - see connect

        if isinstance(error, UnfitError):
            return str(error)
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, RefusedError):
            why = str(error)
        elif isinstance(error, grpc.aio.AioRpcError):
            why = f"the service says {code_of(error)}: {(error.details() or '')[:200]}"
        elif isinstance(error, BrokenError):
            why = "the service does not answer any more"
            if not await self._alive():
                self._give_up(why)
        self._refused += 1
        if self._refused >= _USELESS and not self._accepted:
            self._give_up(f"nothing that the service returned could be used, the last time because {why}")
        return why

    async def _alive(self) -> bool:
        from . import messages  # noqa: PLC0415 - see connect
        from .channel import grpc  # noqa: PLC0415 - see connect

        assert self._channel is not None
        try:
            await self._channel.call("capabilities", messages.MESSAGES["GetCapabilitiesRequest"](instance_name=self._instance), 1.0)
        except grpc.aio.AioRpcError:
            return False
        return True

    def _give_up(self, why: str) -> None:
        """Send everything home."""
        if self._gone:
            return
        self._gone = why
        self._log(f"remote: {why}; everything runs here")
        while self._waiting:
            self._tell(self._waiting.popleft(), why)

    async def _remote(self, entry: Entry, drafts: list[Draft]) -> Result:
        """Do one job there: its result, with the outputs in drafts. Raises whatever is a reason to do it here."""
        from .transfer import RefusedError  # noqa: PLC0415 - see connect

        job = entry.job
        assert self._offer is not None
        compiler, offer = await self._compiler(job)
        machine, made = await self._loop.run_in_executor(None, self._prepared, job, compiler, offer)
        if made.rooted:
            await self._once(("root", id(compiler)), lambda: self._try_root(compiler, offer))
        known = await self._cached(made) if self._settings.cache else None
        if known is not None:
            try:
                return await self._accept(entry, made, known, machine, drafts, "cache")
            except RefusedError:  # kept since it failed unnoticed (C29), or its output is not there any more: once more, for good
                while drafts:
                    drafts.pop().drop()
        response = await self._execute(entry, made, fresh=known is not None or not self._settings.cache)
        where = "cache" if response.cached_result else "there"
        return await self._accept(entry, made, response.result, machine, drafts, where)

    def _prepared(self, job: Job, compiler: Compiler, offer: Offer) -> tuple[judge.Machine, Action]:
        return judge.expected(job, compiler), actions.prepare(job, compiler, self._digests, offer, not self._settings.worker_compiler)

    async def _once(self, key: object, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do something once for all jobs; a job that is cancelled leaves it to the others."""
        if key not in self._shared:
            self._shared[key] = self._loop.create_task(begin())
        return await asyncio.shield(self._shared[key])

    async def _compiler(self, job: Job) -> tuple[Compiler, Offer]:
        """Find the compiler of a job, and what its actions have in common."""
        key = (job.argv[0], compilers.is_gcc(job.argv), *(word for word in job.argv if word.startswith(b"-B")))
        found: tuple[Compiler, Offer] = await self._once(key, lambda: self._find_compiler(job))
        return found

    async def _find_compiler(self, job: Job) -> tuple[Compiler, Offer]:
        offer = self._offer
        assert offer is not None
        found = await self._loop.run_in_executor(None, compilers.read, job.argv, self._settings.environment, self._digests)
        if not self._settings.worker_compiler:
            return found, offer
        said = await self._trial(actions.hash_trial(found, offer))
        if said.result.exit_code or not actions.same_hashes(await self._text(said), found):
            raise UnfitError(f"the worker's {os.fsdecode(job.argv[0])}, or a library of it, is another one")
        return found, actions.Offer(offer.properties, actions.salt_of(found), offer.cached, offer.old_outputs)

    async def _text(self, said: Any) -> bytes:
        assert self._transfers is not None
        return await self._transfers.text(said.result.stdout_raw, said.result.stdout_digest)

    async def _try_root(self, compiler: Compiler, offer: Offer) -> None:
        """See whether a worker makes the tree its root. Raises UnfitError where it does not."""
        said = await self._trial(actions.root_trial(compiler, offer))
        if said.result.exit_code:
            raise UnfitError("absolute names would be the worker's own: it has no root of its own for each action")

    async def _trial(self, made: Action) -> Any:
        return await self._execute(None, made, fresh=True)

    async def _cached(self, made: Action) -> Any:
        """Look into the action cache: the result, None where it has none."""
        from . import messages, transfer  # noqa: PLC0415 - see connect
        from .channel import code_of, grpc  # noqa: PLC0415 - see connect

        request = messages.MESSAGES["GetActionResultRequest"](
            instance_name=self._instance, action_digest=transfer.digest_message(made.digest), inline_stdout=True, inline_stderr=True,
            inline_output_files=[name for name, _ in made.outputs],
        )  # fmt: skip
        try:
            return await self._call("cached", request)
        except grpc.aio.AioRpcError as error:
            if code_of(error) in ("NOT_FOUND", "UNIMPLEMENTED", "PERMISSION_DENIED"):
                return None
            raise

    async def _execute(self, entry: Entry | None, made: Action, fresh: bool) -> Any:
        """Upload what is missing and execute: the ExecuteResponse. Where the service has lost an input since, once more."""
        from .channel import code_of, grpc  # noqa: PLC0415 - see connect
        from .operation import Operation  # noqa: PLC0415 - see connect
        from .transfer import RefusedError  # noqa: PLC0415 - see connect

        assert self._channel is not None
        assert self._transfers is not None
        for again in (True, False):
            sent = await self._transfers.upload(made.blobs)
            operation = Operation(self._channel, self._instance, made.digest, fresh)
            if entry is not None:
                entry.sent += sent
                entry.operation = operation
            try:
                response = await operation.run()
                code = response.status.code
                why = f"the service could not run it: {code} {response.status.message[:200]}"
            except grpc.aio.AioRpcError as error:
                if code_of(error) != "FAILED_PRECONDITION":
                    raise
                code, why = 9, f"the service could not run it: {(error.details() or '')[:200]}"
            if code == 0:
                return response
            if code != 9 or not again:  # FAILED_PRECONDITION (google/rpc/code.proto): an input is not there any more
                raise RefusedError(why)
            self._transfers.forget(made.blobs)
        raise AssertionError

    async def _accept(self, entry: Entry, made: Action, result: Any, machine: judge.Machine, drafts: list[Draft], where: str) -> Result:
        """Fetch and judge a result (C29). Raises RefusedError, OSError."""
        from .transfer import RefusedError  # noqa: PLC0415 - see connect

        assert self._transfers is not None
        if result.exit_code:
            raise RefusedError(f"it ended with {result.exit_code} there")
        stdout = await self._transfers.text(result.stdout_raw, result.stdout_digest)
        stderr = await self._transfers.text(result.stderr_raw, result.stderr_digest)
        objection = judge.text_objection(stdout + stderr)
        if not objection and (stdout or stderr) and compilers.is_gcc(entry.job.argv):
            objection = "it has something to say, which GCC says in the user's language here"
        files = {each.path: each for each in result.output_files}
        for name, path in made.outputs:
            if objection:
                break
            if name not in files:
                objection = "an output is missing"
                break
            draft = Draft(path)
            drafts.append(draft)
            await self._transfers.fetch(files[name].digest, files[name].contents, draft)
            objection = judge.objection(draft.fd, machine)
        if objection:
            raise RefusedError(objection)
        times = result.execution_metadata
        ran = _between(times.worker_start_timestamp, times.worker_completed_timestamp) if where == "there" else 0.0
        queued = max(0.0, time.monotonic() - entry.taken - ran)
        for new, old in made.names:
            stdout, stderr = stdout.replace(new, old), stderr.replace(new, old)
        return Result(0, stdout, stderr, where, queued=queued, ran=ran, sent=entry.sent)

    async def _shut(self) -> None:
        """Cancel every task, and with it what runs there; then drop the connection."""
        if self._look is not None:
            self._look.cancel()
        self._waiting.clear()
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        tasks += list(self._shared.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS - 1)
        if self._channel is not None:
            await self._channel.close()


def _homecoming(entry: Entry) -> tuple[int, float, int]:
    """Order jobs that are overdue: those that wait here, those that the service has not started, the oldest."""
    from .messages import EXECUTING  # noqa: PLC0415 - see connect

    if not entry.taken:
        return (0, 0.0, entry.handle)
    started = entry.operation is not None and entry.operation.stage >= EXECUTING
    return (2 if started else 1, entry.taken, entry.handle)


def _placed(outcome: Result | str, drafts: list[Draft]) -> Result | str:
    """Put the outputs in place; where that fails, the job runs here."""
    try:
        for draft in drafts:
            draft.place()
    except OSError as error:
        return f"an output cannot be put in place: {error.strerror}"
    return outcome


def _between(first: Any, last: Any) -> float:
    """Return the seconds between two timestamps, 0.0 where either is missing."""
    if not first.seconds or not last.seconds:
        return 0.0
    return max(0.0, last.seconds - first.seconds + (last.nanos - first.nanos) / 1e9)
