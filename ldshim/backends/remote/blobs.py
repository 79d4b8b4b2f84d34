"""Digests of what an action is made of, and where each blob is to be read when the service lacks it.

A link's jobs share nearly everything: the compiler, and the modules that they import from. So a file is hashed once a link, found again by
its stat, and the digests of the compiler's files are kept from link to link (hashing clang 23 costs 0.22 s): in a file in our own
directory, under device, inode, size, mtime and ctime. A file that changed within the last two seconds is not kept: it may change again
within one tick of its clock.
"""

from __future__ import annotations

import hashlib
import os
import time

from ...call import own_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PART = 1 << 20  # bytes hashed at a time
_KEPT = b"remote-digests"
_MOST_KEPT = 1 << 18  # bytes of that file; then it is begun anew
_SETTLED = 2.0  # seconds


class Digest:
    """sha256 in hexadecimal, and the size in bytes. Equal and hashed by the former."""

    __slots__ = ("hash", "size")

    def __init__(self, value: str, size: int) -> None:
        self.hash = value
        self.size = size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)


class Blob:
    """A blob and where it comes from: data, or the file at path where data is None."""

    __slots__ = ("data", "digest", "path")

    def __init__(self, digest: Digest, data: bytes | None = None, path: bytes = b"") -> None:
        self.digest = digest
        self.data = data
        self.path = path


def of_bytes(data: bytes) -> Blob:
    """Make the blob of some bytes."""
    return Blob(Digest(hashlib.sha256(data).hexdigest(), len(data)), data)


class Digests:
    """The digests of files, each read once. get: Environment.get, for our own directory. Any thread may call it."""

    def __init__(self, get: Callable[[bytes], bytes]) -> None:
        self._known: dict[bytes, Digest] = {}
        directory = own_directory.directory(get)
        self._file = os.path.join(directory, _KEPT) if isinstance(directory, bytes) else b""
        self._kept: dict[bytes, Digest] | None = None
        self._stopped = False

    def stop(self) -> None:
        """Make what is being hashed fail, so that its thread ends."""
        self._stopped = True

    def of_file(self, path: bytes, keep: bool = False) -> Blob:
        """Hash a regular file, unless it is known. keep: from link to link. Raises OSError."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(fd)
            if found.st_mode & 0o170000 != 0o100000:
                raise OSError(f"{os.fsdecode(path)} is no regular file")
            key = _key(found)
            digest = self._known.get(key) or (self._recall(key) if keep else None)
            if digest is None:
                digest = self._hashed(fd)
                if _key(os.fstat(fd)) != key or digest.size != found.st_size:
                    raise OSError(f"{os.fsdecode(path)} changes while it is read")
                if keep and time.time() - max(found.st_mtime, found.st_ctime) > _SETTLED:
                    self._remember(key, digest)
            self._known[key] = digest
        finally:
            os.close(fd)
        return Blob(digest, path=path)

    def _hashed(self, fd: int) -> Digest:
        """Hash what is left of a file."""
        made = hashlib.sha256()
        size = 0
        while not self._stopped:
            part = os.read(fd, PART)
            if not part:
                return Digest(made.hexdigest(), size)
            size += len(part)
            made.update(part)
        raise OSError("the link is over")

    def _recall(self, key: bytes) -> Digest | None:
        """Look into the file that we keep; a line that is not whole is none."""
        if self._kept is None:
            self._kept = {}
            try:
                with open(self._file, "rb") as stream:
                    lines = stream.read(_MOST_KEPT * 2).split(b"\n")[:-1]
            except OSError:
                lines = []
            for line in lines:
                name, _, value = line.partition(b" ")
                if len(value) == 64 and name.count(b"-") == 4:
                    self._kept[name] = Digest(value.decode("ascii", "replace"), int(name.split(b"-")[2], 16))
        return self._kept.get(key)

    def _remember(self, key: bytes, digest: Digest) -> None:
        """Append one line; where that fails, the next link hashes again."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self._file, flags, 0o600)
            try:
                if os.fstat(fd).st_size > _MOST_KEPT:
                    os.ftruncate(fd, 0)
                os.write(fd, key + b" " + digest.hash.encode() + b"\n")
            finally:
                os.close(fd)
        except OSError:
            return


def _key(found: os.stat_result) -> bytes:
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return b"-".join(b"%x" % number for number in numbers)
