"""A run of bytes in an open file, and the meter that counts what is read.

An object is a whole file, or a member in the middle of an archive, or bitcode in a section of an object in an archive. The readers should
not care, so they get an `Extent`: a descriptor, a start, a size. All reads go through pread (nothing moves, nothing is mapped: a file that
shrinks underneath is a short read, not a SIGBUS) and through one `Meter` for the whole link, which is what bounds the work whatever the
files claim.

Only regular files are opened, after a stat: a FIFO would block or lose its writer a byte, a device can act on a mere open. Should the
path become one between stat and open, O_NONBLOCK keeps the open from waiting, and pread on it fails.
"""

from __future__ import annotations

import os

S_IFMT = 0o170000
S_IFREG = 0o100000

# Raw bitcode and its wrapper; archives and thin ones. Here because what reads them is only imported for an input that starts so.
BITCODE = (b"BC\xc0\xde", b"\xde\xc0\x17\x0b")
ARCHIVE, THIN_ARCHIVE = b"!<arch>\n", b"!<thin>\n"
# IMAGE_FILE_MACHINE_*, little-endian, begins a COFF object: i386, x86_64, ARM (Thumb-2), ARM64, ARM64EC, ARM64X. No text begins so. An
# anonymous object has none: a member of an import library, big-obj, what MSVC's own LTO leaves. An image (DLL, EXE) begins as DOS did.
COFF = (b"\x4c\x01", b"\x64\x86", b"\xc4\x01", b"\x64\xaa", b"\x41\xa6", b"\x4e\xa6", b"\0\0\xff\xff")
PE_IMAGE = b"MZ"

RESPONSE_FILE_BYTES = 64 << 20

# One read gets the header, and all of a small object.
HEAD = 4096

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class MalformedError(Exception):
    """Bytes that are not what their magic says. The text is the note for the log: what, and where in the file."""


class ExhaustedError(Exception):
    """The meter of the whole link ran out. The text says of what."""


class Meter:
    """What the scan of one link has cost so far, and may cost. read, limit: bytes; steps: records of bitcode that may still be skipped."""

    __slots__ = ("limit", "read", "steps")

    def __init__(self, limit: int, steps: int) -> None:
        self.limit = limit
        self.read = 0
        self.steps = steps


class Extent:
    """Bytes [start, start + size) of an open file; the descriptor belongs to whoever opened it.

    head: the first bytes, already read, so that magic tests and small objects cost no further call.
    """

    __slots__ = ("fd", "head", "meter", "size", "start")

    def __init__(self, fd: int, start: int, size: int, meter: Meter, head: bytes = b"") -> None:
        self.fd = fd
        self.start = start
        self.size = size
        self.meter = meter
        self.head = head[:size] if len(head) > size else head

    def read(self, offset: int, length: int) -> bytes:
        """Read up to length bytes at offset; fewer at the end of the extent, or when the file is shorter than it was. Raises OSError."""
        size = self.size
        if offset < 0 or offset >= size:
            return b""
        if offset + length > size:
            length = size - offset
        if offset + length <= len(self.head):
            return self.head[offset : offset + length]
        meter = self.meter
        if meter.read + length > meter.limit:
            raise ExhaustedError(f"{meter.read} bytes read")
        data = os.pread(self.fd, length, self.start + offset)
        meter.read += len(data)
        return data

    def exactly(self, offset: int, length: int, what: str) -> bytes:
        """Read all of length bytes at offset, or raise MalformedError naming what was cut off."""
        data = self.read(offset, length) if length <= self.size else b""
        if len(data) != length:
            raise MalformedError(f"truncated {what} at 0x{offset:x}")
        return data

    def part(self, offset: int, size: int, head: bytes = b"") -> Extent:
        """Return the extent of size bytes at offset in this one, cut to what is there."""
        size = max(0, min(size, self.size - offset))
        if not head:
            head = self.head[offset : offset + size]
        if len(head) < min(size, 64):  # too short for the magic tests, or for the ELF header
            head = self.read(offset, min(size, HEAD))
        return Extent(self.fd, self.start + offset, size, self.meter, head)


def stat_regular(path: bytes) -> os.stat_result | None:
    """Stat path; None when it does not exist, may not be looked at, or is no regular file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return found if found.st_mode & S_IFMT == S_IFREG else None


def is_read_once(path: bytes) -> bool:
    """Tell whether path is a pipe, FIFO, socket, terminal or another device: reading it, or opening it, takes something from the tool.

    /dev/null is none: everybody finds the same there.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return False
    kind = found.st_mode & S_IFMT
    return kind not in (S_IFREG, 0o040000) and not (kind == 0o020000 and found.st_rdev == os.makedev(1, 3))


def why_not_regular(path: bytes) -> str:
    """Say why stat_regular has nothing."""
    try:
        os.stat(path)
    except OSError as error:
        return error.strerror or "unreadable"
    except ValueError:
        return "a NUL in its name"
    return "no regular file: not read"


def read_regular(path: bytes, most: int = RESPONSE_FILE_BYTES) -> bytes | None:
    """Read a whole regular file, a response file say; None when there is none, or it is too large."""
    if stat_regular(path) is None:
        return None
    try:
        fd = os.open(path, _FLAGS)
    except OSError:
        return None
    text = b""
    try:
        while len(text) <= most:
            part = os.read(fd, 1 << 20)
            if not part:
                return text
            text += part
    except OSError:
        pass  # it became a directory or a FIFO meanwhile
    finally:
        os.close(fd)
    return None


def open_regular(path: bytes, size: int, meter: Meter) -> Extent:
    """Open the regular file of that size and read its head. The caller closes extent.fd. Raises OSError."""
    if meter.read + HEAD > meter.limit:
        raise ExhaustedError(f"{meter.read} bytes read")
    fd = os.open(path, _FLAGS)
    try:
        head = os.pread(fd, HEAD, 0)
    except BaseException:
        os.close(fd)
        raise
    meter.read += len(head)
    return Extent(fd, 0, size, meter, head)
