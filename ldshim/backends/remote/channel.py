"""The connection to the service: gRPC's asyncio channel, and one function for each call of the API.

Importing grpc costs 0.23 s and 45 MB, so this module is imported when something has answered at the address. grpc obeys a
proxy from the environment unless told otherwise; the address is the one that was given.
"""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from . import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .settings import Settings

OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 16 << 20),
)

__all__ = ["BROKEN", "DELAYS", "BrokenError", "Channel", "code_of", "grpc"]

# Seconds before each further attempt: a dropped connection costs 0.1 s; a service that is restarted has 3 s.
DELAYS = (0.1, 0.2, 0.4, 0.8, 1.5)
# A connection that breaks shows as any of these, by the moment at which it does.
BROKEN = ("UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN", "ABORTED")
_TASK_SECONDS = 1.0


class BrokenError(Exception):
    """The connection did not come back within all DELAYS."""


def secret(path: bytes) -> bytes:
    """Read a file that holds a certificate, a key or a token. Raises OSError; the error names the file, not what is in it."""
    with open(path, "rb") as stream:
        return stream.read(1 << 20)


class Channel:
    """One connection. To be made and used in the thread of the event loop. Raises OSError, ValueError for secrets that cannot be read."""

    def __init__(self, settings: Settings) -> None:
        address = settings.address
        assert address is not None
        grpc.aio.init_grpc_aio()
        self._metadata: tuple[tuple[str, str], ...] = ()
        if settings.token:
            self._metadata = (("authorization", "Bearer " + secret(settings.token).decode("ascii").strip()),)
        if address.secure:
            ca, key, certificate = (secret(path) if path else None for path in (settings.ca, settings.key, settings.certificate))
            credentials = grpc.ssl_channel_credentials(ca, key, certificate)
            self._channel = grpc.aio.secure_channel(address.target, credentials, options=OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(address.target, options=OPTIONS)
        self._calls = {}
        for name, (path, _, answer, many_in, many_out) in messages.CALLS.items():
            kind = f"{'stream' if many_in else 'unary'}_{'stream' if many_out else 'unary'}"
            self._calls[name] = getattr(self._channel, kind)(
                path, request_serializer=_serialize, response_deserializer=messages.MESSAGES[answer].FromString
            )

    def call(self, name: str, request: Any, timeout: float | None = None) -> Any:
        """Begin a call: awaitable, or an asynchronous iterator where the response is a stream. timeout: seconds for all of it."""
        return self._calls[name](request, timeout=timeout, metadata=self._metadata)

    async def close(self) -> None:
        """Drop the connection, and end grpc's thread."""
        await self._channel.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:  # grpc's own, one for each call: unless they are seen to their end, its thread stays
            await asyncio.wait(left, timeout=_TASK_SECONDS)
        self._calls.clear()
        del self._channel  # grpc counts its users, and this is one
        grpc.aio.shutdown_grpc_aio()


def _serialize(message: Any) -> bytes:
    out: bytes = message.SerializeToString()
    return out


def code_of(error: Any) -> str:
    """Return the name of a status code, such as NOT_FOUND."""
    return str(error.code().name)
