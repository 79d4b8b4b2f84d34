"""One action on the service, from Execute to its response, over as many streams as it takes.

A stream that breaks does not end the operation: WaitExecution takes it up again under its name; a service that has forgotten the name gets
Execute again. Dropping a stream does not cancel anything either, so who gives up says so with CancelOperation, and waits for the name first
where it has not come yet.
"""

from __future__ import annotations

import asyncio

from . import messages
from .channel import BROKEN, DELAYS, BrokenError, code_of, grpc
from .transfer import RefusedError, digest_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .blobs import Digest
    from .channel import Channel

_NAME_SECONDS = 0.5  # for the first message of a stream that is to be cancelled
_CANCEL_SECONDS = 1.0
_OK = 0


class Operation:
    """An action under way.

    fresh: past the action cache; outputs: their names in the action, to come with the response where the service likes; stage: the API's
    ExecutionStage, 0 while the service has not said.
    """

    def __init__(self, channel: Channel, instance: str, digest: Digest, fresh: bool, outputs: Sequence[str]) -> None:
        self._channel = channel
        self._request = messages.MESSAGES["ExecuteRequest"](
            instance_name=instance, skip_cache_lookup=fresh, action_digest=digest_message(digest), inline_stdout=True, inline_stderr=True,
            inline_output_files=outputs,
        )  # fmt: skip
        self._named = asyncio.Event()
        self._reader: asyncio.Task[Any] | None = None
        self.name = ""
        self.stage = 0

    async def run(self) -> Any:
        """Return the ExecuteResponse. Raises BrokenError, RefusedError and gRPC's errors; cancelled, it cancels the operation there."""
        self._reader = asyncio.ensure_future(self._read())
        try:
            return await asyncio.shield(self._reader)
        except asyncio.CancelledError:
            await self._cancel()
            raise

    async def _read(self) -> Any:
        failures = 0
        while True:
            try:
                if self.name:
                    stream = self._channel.call("wait", messages.MESSAGES["WaitExecutionRequest"](name=self.name))
                else:
                    stream = self._channel.call("execute", self._request)
                async for said in stream:
                    failures = 0
                    self._note(said)
                    if said.done:
                        return _response(said)
            except grpc.aio.AioRpcError as error:
                code = code_of(error)
                if code == "NOT_FOUND" and self.name:
                    self.name = ""
                elif code not in BROKEN:
                    raise
            if failures == len(DELAYS):
                raise BrokenError
            await asyncio.sleep(DELAYS[failures])
            failures += 1

    def _note(self, said: Any) -> None:
        if said.name:
            self.name = said.name
            self._named.set()
        if said.metadata.type_url.endswith(".ExecuteOperationMetadata"):
            self.stage = messages.MESSAGES["ExecuteOperationMetadata"].FromString(said.metadata.value).stage

    async def _cancel(self) -> None:
        """Cancel what runs there, as far as it listens; never raises."""
        assert self._reader is not None
        try:
            if not self._reader.done() and not self._named.is_set():
                await asyncio.wait_for(self._named.wait(), _NAME_SECONDS)
            if not self._reader.done():
                await self._channel.call("cancel", messages.MESSAGES["CancelOperationRequest"](name=self.name), _CANCEL_SECONDS)
        except (asyncio.TimeoutError, grpc.aio.AioRpcError):
            pass
        finally:
            self._reader.cancel()
            await asyncio.wait([self._reader])
            if not self._reader.cancelled():
                self._reader.exception()  # seen


def _response(said: Any) -> Any:
    """Unpack what a finished operation says. Raises RefusedError."""
    if said.error.code != _OK:
        raise RefusedError(f"the operation failed: {said.error.code} {said.error.message[:200]}")
    if not said.response.type_url.endswith(".ExecuteResponse"):
        raise RefusedError("the operation ended without a response")
    return messages.MESSAGES["ExecuteResponse"].FromString(said.response.value)
