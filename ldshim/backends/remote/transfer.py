"""Blobs to the service and from it: what is missing there goes in batches, what is large in streams, each blob once a link.

Memory is bounded, whatever the inputs: a batch holds BATCH bytes, so many transfers run at once, and files are read part by part.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid

from . import messages
from .channel import BROKEN, DELAYS, BrokenError, code_of, grpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from typing import Any

    from .blobs import Blob, Digest
    from .draft import Draft

    Call = Callable[..., Any]  # name, request -> awaitable

BATCH = 1 << 20  # bytes of a batch, and of a part of a stream
_AT_ONCE = 4
_MOST_ASKED = 10_000  # digests in one FindMissingBlobs: 0.8 MB
TEXT_LIMIT = 1 << 20  # what a compiler says; more of it is a reason to run it here
_OK = 0


class RefusedError(Exception):
    """Why a job must run here: one clause."""


class Transfers:
    """What is known to be there, and what is on its way. All methods are for the event loop's thread.

    call: makes one call of the API and retries it; open_stream: begins a streamed one; batch: what the service accepts in one message, 0
    for no limit of its own; limit: bytes that this link may upload.
    """

    def __init__(self, call: Call, open_stream: Call, instance: str, batch: int, limit: int) -> None:
        self._call = call
        self._open = open_stream
        self._instance = instance
        self._batch = min(batch or BATCH, BATCH)
        self._limit = limit
        self._there: dict[str, asyncio.Future[None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self.sent = 0

    async def upload(self, blobs: Iterable[Blob]) -> int:
        """See to it that all blobs are there: the bytes that were sent for it. Raises RefusedError, and what call raises."""
        wanted = {blob.digest.hash: blob for blob in blobs}
        sent = 0
        while True:
            mine = [blob for name, blob in wanted.items() if name not in self._there]
            sent += await self._bring(mine)
            others = [self._there[name] for name in wanted if name in self._there and not self._there[name].done()]
            if others:
                await asyncio.wait(others)
            if all(name in self._there for name in wanted):  # else somebody who had begun was cancelled, and it is our turn
                return sent

    def forget(self, blobs: Iterable[Blob]) -> None:
        """Ask again next time: the service says that something is missing."""
        for blob in blobs:
            known = self._there.get(blob.digest.hash)
            if known is not None and known.done():
                del self._there[blob.digest.hash]

    async def _bring(self, blobs: Sequence[Blob]) -> int:
        futures = {blob.digest.hash: asyncio.get_running_loop().create_future() for blob in blobs}
        self._there.update(futures)
        done = False
        try:
            sent = await self._upload_missing(blobs)
            done = True
            return sent
        finally:
            for name, future in futures.items():
                if not done:
                    self._there.pop(name, None)
                future.set_result(None)

    async def _upload_missing(self, blobs: Sequence[Blob]) -> int:
        missing = []
        for at in range(0, len(blobs), _MOST_ASKED):
            part = blobs[at : at + _MOST_ASKED]
            request = messages.MESSAGES["FindMissingBlobsRequest"](instance_name=self._instance)
            for blob in part:
                request.blob_digests.add(hash=blob.digest.hash, size_bytes=blob.digest.size)
            answer = await self._call("missing", request)
            lacking = {digest.hash for digest in answer.missing_blob_digests}
            missing += [blob for blob in part if blob.digest.hash in lacking]
        size = sum(blob.digest.size for blob in missing)
        if self.sent + size > self._limit:
            raise RefusedError(f"more than {self._limit} bytes would be uploaded")
        self.sent += size
        batch: list[Blob] = []
        left = self._batch
        for blob in missing:
            room = blob.digest.size + 200
            if room > self._batch:
                async with self._turns:
                    await self._stream(blob)
                continue
            if room > left:
                await self._send(batch)
                batch, left = [], self._batch
            batch.append(blob)
            left -= room
        await self._send(batch)
        return size

    async def _send(self, batch: Sequence[Blob]) -> None:
        if not batch:
            return
        async with self._turns:
            request = messages.MESSAGES["BatchUpdateBlobsRequest"](instance_name=self._instance)
            for blob in batch:
                each = request.requests.add(data=_content(blob))
                each.digest.hash, each.digest.size_bytes = blob.digest.hash, blob.digest.size
            answer = await self._call("update", request)
        stored = {each.digest.hash for each in answer.responses if each.status.code == _OK}
        if any(blob.digest.hash not in stored for blob in batch):
            raise RefusedError("the service did not store an input")

    async def _stream(self, blob: Blob) -> None:
        name = f"uploads/{uuid.uuid4()}/blobs/{blob.digest.hash}/{blob.digest.size}"
        if self._instance:
            name = f"{self._instance}/{name}"
        answer = await self._call("write", lambda: _parts(blob, name, self._batch))
        if answer.committed_size != blob.digest.size:
            raise RefusedError("the service did not store an input whole")

    async def text(self, raw: bytes, digest: Any) -> bytes:
        """Return what a command wrote, inline or fetched. Raises RefusedError."""
        if raw or not digest.size_bytes:
            return bytes(raw)
        if digest.size_bytes > TEXT_LIMIT:
            raise RefusedError(f"it wrote {digest.size_bytes} bytes of text")
        request = messages.MESSAGES["BatchReadBlobsRequest"](instance_name=self._instance)
        request.digests.add(hash=digest.hash, size_bytes=digest.size_bytes)
        (blob,) = (await self._call("fetch", request)).responses
        if blob.status.code != _OK or hashlib.sha256(blob.data).hexdigest() != digest.hash:
            raise RefusedError("what it wrote cannot be fetched")
        return bytes(blob.data)

    async def fetch(self, digest: Any, contents: bytes, draft: Draft) -> None:
        """Write a blob into draft. contents: what came inline, b"" for nothing. Raises RefusedError, OSError."""
        if contents or not digest.size_bytes:
            draft.write(contents)
            if hashlib.sha256(contents).hexdigest() != digest.hash:
                raise RefusedError("an output is not what its digest says")
            return
        name = f"blobs/{digest.hash}/{digest.size_bytes}"
        request = messages.MESSAGES["ReadRequest"](resource_name=f"{self._instance}/{name}" if self._instance else name)
        for delay in (*DELAYS, None):
            try:
                async with self._turns:
                    whole = await self._read(request, draft)
            except grpc.aio.AioRpcError as error:
                if code_of(error) == "NOT_FOUND":
                    raise RefusedError("an output is not there any more") from None
                if code_of(error) not in BROKEN:
                    raise
            else:
                if whole != digest.hash:
                    raise RefusedError("an output is not what its digest says")
                return
            if delay is not None:
                await asyncio.sleep(delay)
        raise BrokenError

    async def _read(self, request: Any, draft: Draft) -> str:
        """Write a stream into draft, from its beginning: the sha256."""
        draft.empty()
        made = hashlib.sha256()
        async for part in self._open("read", request):
            made.update(part.data)
            draft.write(part.data)
        return made.hexdigest()


def _content(blob: Blob) -> bytes:
    """Return a small blob's bytes; a file that has changed since has another digest, and the service refuses it."""
    if blob.data is not None:
        return blob.data
    with open(blob.path, "rb") as stream:
        return stream.read(blob.digest.size + 1)


async def _parts(blob: Blob, name: str, size: int) -> AsyncIterator[Any]:
    """Yield the messages that upload a large blob."""
    fd = -1
    loop = asyncio.get_running_loop()
    try:
        if blob.data is None:
            fd = os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC)
        at = 0
        while at < blob.digest.size:
            if blob.data is None:
                data = await loop.run_in_executor(None, os.pread, fd, min(size, blob.digest.size - at), at)
            else:
                data = blob.data[at : at + size]
            if not data:
                raise RefusedError("an input became shorter")
            last = at + len(data) >= blob.digest.size
            yield messages.MESSAGES["WriteRequest"](resource_name=name, write_offset=at, data=data, finish_write=last)
            at += len(data)
    finally:
        if fd >= 0:
            os.close(fd)


def digest_message(digest: Digest) -> Any:
    """Return a digest as the API has it."""
    return messages.MESSAGES["Digest"](hash=digest.hash, size_bytes=digest.size)
