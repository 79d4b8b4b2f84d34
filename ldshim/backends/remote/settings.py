"""What the LDSHIM_REMOTE* variables say, read once, in the manner of call.environment.

They stand in a table of their own because nobody who does not ask for remote execution pays for reading them. A malformed value yields one
line and turns remote execution off: the default of an address would be another service, the default of a certificate would be none.
Files that hold secrets are named here and read when the channel is made; no value of ours holds what is in them.
"""

from __future__ import annotations

import os

from ...call.environment import path, positive, read_variables, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ...call.environment import Environment

PATIENCE = 60.0  # seconds in which no job of the link finished (distribution.md §5)
UPLOAD_LIMIT = 16 << 30  # bytes that one link may upload unless told otherwise


class Address:
    """Where the service is. host: as getaddrinfo takes it; instance: the API's instance_name, mostly empty; prefix: that of `exec:`."""

    __slots__ = ("host", "instance", "port", "prefix", "secure")

    def __init__(self, host: str = "", port: int = 0, instance: str = "", secure: bool = False, prefix: bytes = b"") -> None:
        self.host = host
        self.port = port
        self.instance = instance
        self.secure = secure
        self.prefix = prefix

    @property
    def target(self) -> str:
        """Return the address as gRPC takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: bytes) -> Address:
    if value.startswith(b"exec:"):
        if not value[5:].strip():
            raise ValueError
        return Address(prefix=value[5:].strip())
    scheme, colon, rest = value.decode("ascii").partition("://")
    where, _, instance = rest.partition("/")
    host, _, port = where.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError
    if scheme not in ("grpc", "grpcs") or not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError
    return Address(host, int(port), instance.strip("/"), scheme == "grpcs")


def _seconds(value: bytes) -> float:
    return float(positive(value))


def _cache(value: bytes) -> bool:
    if value not in (b"on", b"off"):
        raise ValueError
    return value == b"on"


def _compiler(value: bytes) -> bool:
    if value not in (b"upload", b"worker"):
        raise ValueError
    return value == b"worker"


def _properties(value: bytes) -> tuple[tuple[str, str], ...]:
    """Read NAME=VALUE,NAME=VALUE; sorted by name and value, as the API demands."""
    found = []
    for word in value.decode().split(","):
        name, equals, what = word.partition("=")
        if not name or not equals:
            raise ValueError
        found.append((name, what))
    return tuple(sorted(found))


# variable, attribute of Settings, reader, what is accepted
VARIABLES: tuple[tuple[bytes, str, Callable[[bytes], object], str], ...] = (
    (b"LDSHIM_REMOTE", "address", _address, "grpc://HOST:PORT[/INSTANCE], grpcs://HOST:PORT[/INSTANCE], or exec: COMMAND"),
    (b"LDSHIM_REMOTE_JOBS", "jobs", positive, "a whole number from 1 to 999999"),
    (b"LDSHIM_REMOTE_USER_JOBS", "user_jobs", positive, "a whole number from 1 to 999999"),
    (b"LDSHIM_REMOTE_CACHE", "cache", _cache, "on or off"),
    (b"LDSHIM_REMOTE_COMPILER", "worker_compiler", _compiler, "upload or worker"),
    (b"LDSHIM_REMOTE_PROPERTIES", "properties", _properties, "NAME=VALUE,NAME=VALUE"),
    (b"LDSHIM_REMOTE_UPLOAD", "upload_limit", size, "bytes, or a number with K, M or G"),
    (b"LDSHIM_REMOTE_PATIENCE", "patience", _seconds, "seconds, a whole number from 1 to 999999"),
    (b"LDSHIM_REMOTE_CA", "ca", path, "the path of a file"),
    (b"LDSHIM_REMOTE_CERT", "certificate", path, "the path of a file"),
    (b"LDSHIM_REMOTE_KEY", "key", path, "the path of a file"),
    (b"LDSHIM_REMOTE_TOKEN", "token", path, "the path of a file"),
)


class Settings:
    """What the variables say. complaints: one line for each malformed value, ready for stderr; any of them turns the service off."""

    __slots__ = (
        "address", "ca", "cache", "certificate", "complaints", "environment", "jobs", "key", "patience", "properties", "token",
        "upload_limit", "user_jobs", "worker_compiler",
    )  # fmt: skip

    def __init__(self, environment: Environment) -> None:
        self.environment = environment  # of the call: where our own directory is, and what the local compiler would see
        self.address: Address | None = None
        self.jobs = 4 * (os.cpu_count() or 1)
        self.user_jobs = 0  # 0: as jobs
        self.cache = True
        self.worker_compiler = False
        self.properties: tuple[tuple[str, str], ...] = ()
        self.upload_limit = UPLOAD_LIMIT
        self.patience = PATIENCE
        self.ca = b""  # absolute paths; b"": none
        self.certificate = b""
        self.key = b""
        self.token = b""
        self.complaints: list[str] = []


def asked(environment: Environment) -> bool:
    """Tell whether this call asks for remote execution at all; an empty value counts as unset."""
    return bool(environment.get(b"LDSHIM_REMOTE"))


def read(environment: Environment) -> Settings:
    """Read every LDSHIM_REMOTE* variable."""
    out = Settings(environment)
    out.complaints = read_variables(out, VARIABLES, environment, "nothing runs remotely")
    return out
