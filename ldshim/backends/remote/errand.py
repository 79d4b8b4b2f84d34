"""One job done on the service, from its digests to its outputs, and what all jobs of a link share there.

The ladder of one job: its compiler; its action; the action cache, before anything is uploaded; upload and execution; the verdict. What the
cache has and cannot be believed is executed anew, past the cache, which mends it there. Every other doubt is an exception, and means that
the job runs here.

Everything here runs in the event loop's thread, and imports grpc: `service` comes here when something has answered.
"""

from __future__ import annotations

import asyncio
import os
import time

from ..job import Result
from . import action as actions
from . import compiler as compilers
from . import judge, messages
from .channel import BROKEN, DELAYS, BrokenError, Channel, code_of, grpc
from .compiler import UnfitError
from .draft import Draft
from .operation import Operation
from .transfer import RefusedError, Transfers, digest_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from ..job import Job
    from .action import Action, Offer
    from .blobs import Digests
    from .compiler import Compiler
    from .settings import Settings

_CALL_SECONDS = 60.0  # for a call that moves at most a batch
_LOST = 9  # FAILED_PRECONDITION (google/rpc/code.proto): an input is not there any more


class Errand:
    """One job on its way. operation: what runs there, None before; sent: bytes; taken: on the monotonic clock, 0.0 while it waits here."""

    __slots__ = ("job", "operation", "sent", "taken")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.operation: Operation | None = None
        self.sent = 0
        self.taken = 0.0


class Errands:
    """The connection of one link, and what its jobs share. Owner: service.Client, by close()."""

    def __init__(self, settings: Settings, digests: Digests, channel: Channel, said: Any) -> None:
        """Start from what the service says of itself."""
        assert settings.address is not None
        self._settings = settings
        self._instance = settings.address.instance
        self._digests = digests
        self._channel = channel
        self._shared: dict[object, asyncio.Task[Any]] = {}
        high = said.high_api_version
        old = (0, 0) < (high.major, high.minor) < (2, 1)
        self._offer = actions.Offer(settings.properties, b"", settings.cache, old)
        batch = said.cache_capabilities.max_batch_total_size_bytes
        self._transfers = Transfers(self._call, channel.call, self._instance, batch, settings.upload_limit)

    async def close(self) -> None:
        """Cancel what is shared, and with it what runs there; drop the connection."""
        for task in self._shared.values():
            task.cancel()
        if self._shared:
            await asyncio.wait(self._shared.values(), timeout=1)
        self._shared.clear()
        await self._channel.close()

    async def alive(self) -> bool:
        """Tell whether the service still answers."""
        try:
            await capabilities(self._channel, self._instance, 1.0)
        except grpc.aio.AioRpcError:
            return False
        return True

    async def run(self, errand: Errand, drafts: list[Draft]) -> Result:
        """Do one job there: its result, with the outputs in drafts. Raises whatever is a reason to do it here."""
        loop = asyncio.get_running_loop()
        compiler, offer = await self._compiler(errand.job)
        machine, made = await loop.run_in_executor(None, self._prepared, errand.job, compiler, offer)
        if made.rooted:
            await self._once(("root", id(compiler)), lambda: self._try_root(compiler, offer))
        known = await self._cached(made) if self._settings.cache else None
        if known is not None:
            try:
                return await self._accept(errand, made, known, machine, drafts, "cache")
            except RefusedError:
                while drafts:
                    drafts.pop().drop()
        response = await self._execute(errand, made, fresh=known is not None or not self._settings.cache)
        where = "cache" if response.cached_result else "there"
        return await self._accept(errand, made, response.result, machine, drafts, where)

    def _prepared(self, job: Job, compiler: Compiler, offer: Offer) -> tuple[judge.Machine, Action]:
        return judge.expected(job, compiler), actions.prepare(job, compiler, self._digests, offer, not self._settings.worker_compiler)

    async def _once(self, key: object, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do something once for all jobs; a job that is cancelled leaves it to the others."""
        if key not in self._shared:
            self._shared[key] = asyncio.ensure_future(begin())
        return await asyncio.shield(self._shared[key])

    async def _compiler(self, job: Job) -> tuple[Compiler, Offer]:
        """Find the compiler of a job, and what its actions have in common."""
        key = (job.argv[0], compilers.is_gcc(job.argv), *(word for word in job.argv if word.startswith(b"-B")))
        found: tuple[Compiler, Offer] = await self._once(key, lambda: self._find_compiler(job))
        return found

    async def _find_compiler(self, job: Job) -> tuple[Compiler, Offer]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, compilers.read, job.argv, self._settings.environment, self._digests)
        offer = self._offer
        if not self._settings.worker_compiler:
            return found, offer
        result = (await self._execute(None, actions.hash_trial(found, offer), fresh=True)).result
        said = await self._transfers.text(result.stdout_raw, result.stdout_digest)
        if result.exit_code or not compilers.same_hashes(said, found):
            raise UnfitError(f"the worker's {os.fsdecode(job.argv[0])}, or a library of it, is another one")
        return found, actions.Offer(offer.properties, actions.salt_of(found), offer.cached, offer.old_outputs)

    async def _try_root(self, compiler: Compiler, offer: Offer) -> None:
        """See whether a worker makes the tree its root. Raises UnfitError where it does not."""
        response = await self._execute(None, actions.root_trial(compiler, offer), fresh=True)
        if response.result.exit_code:
            raise UnfitError("absolute names would be the worker's own: it has no root of its own for each action")

    async def _cached(self, made: Action) -> Any:
        """Look into the action cache: the result, None where it has none."""
        request = messages.MESSAGES["GetActionResultRequest"](
            instance_name=self._instance, action_digest=digest_message(made.digest), inline_stdout=True, inline_stderr=True,
            inline_output_files=[name for name, _ in made.outputs],
        )  # fmt: skip
        try:
            return await self._call("cached", request)
        except grpc.aio.AioRpcError as error:
            if code_of(error) in ("NOT_FOUND", "UNIMPLEMENTED", "PERMISSION_DENIED"):
                return None
            raise

    async def _execute(self, errand: Errand | None, made: Action, fresh: bool) -> Any:
        """Upload what is missing and execute: the ExecuteResponse. Where the service has lost an input since, once more."""
        response = await self._attempt(errand, made, fresh)
        if response is None:
            self._transfers.forget(made.blobs)
            response = await self._attempt(errand, made, fresh)
        if response is None:
            raise RefusedError("the service lacks an input that it was sent")
        return response

    async def _attempt(self, errand: Errand | None, made: Action, fresh: bool) -> Any:
        sent = await self._transfers.upload(made.blobs)
        operation = Operation(self._channel, self._instance, made.digest, fresh, [name for name, _ in made.outputs])
        if errand is not None:
            errand.sent += sent
            errand.operation = operation
        try:
            response = await operation.run()
        except grpc.aio.AioRpcError as error:
            if code_of(error) == "FAILED_PRECONDITION":
                return None
            raise
        if response.status.code == _LOST:
            return None
        if response.status.code:
            raise RefusedError(f"the service could not run it: {response.status.code} {response.status.message[:200]}")
        return response

    async def _accept(self, errand: Errand, made: Action, result: Any, machine: judge.Machine, drafts: list[Draft], where: str) -> Result:
        """Fetch and judge a result (C29). Raises RefusedError, OSError."""
        if result.exit_code:
            raise RefusedError(f"it ended with {result.exit_code} there")
        stdout = await self._transfers.text(result.stdout_raw, result.stdout_digest)
        stderr = await self._transfers.text(result.stderr_raw, result.stderr_digest)
        objection = judge.text_objection(stdout + stderr)
        if not objection and (stdout or stderr) and compilers.is_gcc(errand.job.argv):
            objection = "it has something to say, which GCC says in the user's language here"
        if objection:
            raise RefusedError(objection)
        files = {each.path: each for each in result.output_files}
        for name, path in made.outputs:
            if name not in files:
                raise RefusedError("an output is missing")
            draft = Draft(path)
            drafts.append(draft)
            await self._transfers.fetch(files[name].digest, files[name].contents, draft)
            objection = judge.objection(draft.fd, machine)
            if objection:
                raise RefusedError(objection)
        times = result.execution_metadata
        ran = _between(times.worker_start_timestamp, times.worker_completed_timestamp) if where == "there" else 0.0
        queued = max(0.0, time.monotonic() - errand.taken - ran)
        for new, old in made.names:
            stdout, stderr = stdout.replace(new, old), stderr.replace(new, old)
        return Result(0, stdout, stderr, where, queued=queued, ran=ran, sent=errand.sent)

    async def _call(self, name: str, request: Any) -> Any:
        """Make a call of the API, again while the connection is broken. request: a message, or a function that begins a stream of them."""
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


async def capabilities(channel: Channel, instance: str, seconds: float) -> Any:
    """Ask the service what it can do. Raises gRPC's errors."""
    return await channel.call("capabilities", messages.MESSAGES["GetCapabilitiesRequest"](instance_name=instance), seconds)


async def begin(settings: Settings, digests: Digests, seconds: float) -> Errands | str:
    """Connect and ask the service what it can do: the errands of a link, or why it is of no use."""
    assert settings.address is not None
    try:
        channel = Channel(settings)
    except (OSError, ValueError) as error:
        name = getattr(error, "filename", None)
        return f"a certificate, key or token cannot be used: {os.fsdecode(name) if name else type(error).__name__}"
    why = ""
    try:
        said = await capabilities(channel, settings.address.instance, seconds)
        if not said.HasField("execution_capabilities") or not said.execution_capabilities.exec_enabled:
            why = "the service executes nothing"
        elif messages.SHA256 not in said.cache_capabilities.digest_functions:
            why = "the service does not know SHA-256"
    except grpc.aio.AioRpcError as error:
        why = f"the service did not say what it can do: {code_of(error)}"
    if why:
        await channel.close()
        return why
    return Errands(settings, digests, channel, said)


def reason(error: Exception) -> str:
    """Say in one clause why a job comes home."""
    if isinstance(error, (RefusedError, UnfitError)):
        return str(error)
    if isinstance(error, BrokenError):
        return "the service does not answer any more"
    if isinstance(error, grpc.aio.AioRpcError):
        return f"the service says {code_of(error)}: {(error.details() or '')[:200]}"
    return f"{type(error).__name__}: {error}"


def _between(first: Any, last: Any) -> float:
    """Return the seconds between two timestamps, 0.0 where either is missing."""
    if not first.seconds or not last.seconds:
        return 0.0
    return max(0.0, float(last.seconds - first.seconds + (last.nanos - first.nanos) / 1e9))
