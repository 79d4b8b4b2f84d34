"""Read parts of open files, and count the bytes that one link reads.

An object is a whole file, a member inside an archive, or bitcode in a section of an object in an archive. The readers treat all alike: they
get an `Extent`, which is a descriptor, a start and a size. All reads use pread. Nothing is mapped, so a file that shrinks meanwhile causes
a short read, not a SIGBUS. One `Meter` for the whole link counts every read, which bounds the work whatever sizes the files claim.

Only regular files are opened, after a stat. A FIFO would block, or its writer would lose a byte, and a device may act on open. Where a path
becomes one of these between stat and open, O_NONBLOCK prevents a wait in open, and pread fails.
"""

from __future__ import annotations

import os

S_IFMT = 0o170000
S_IFREG = 0o100000

# Raw bitcode and its wrapper; archives and thin archives. They are here because their readers are imported only where one is found.
BITCODE = (b"BC\xc0\xde", b"\xde\xc0\x17\x0b")
ARCHIVE, THIN_ARCHIVE = b"!<arch>\n", b"!<thin>\n"
# A COFF object begins with IMAGE_FILE_MACHINE_*, little-endian: i386, x86_64, ARM (Thumb-2), ARM64, ARM64EC, ARM64X. No text begins so. The
# last is of anonymous objects: members of import libraries, big-obj, objects of MSVC's LTO. An image (DLL, EXE) begins with `MZ`.
COFF = (b"\x4c\x01", b"\x64\x86", b"\xc4\x01", b"\x64\xaa", b"\x41\xa6", b"\x4e\xa6", b"\0\0\xff\xff")
PE_IMAGE = b"MZ"

RESPONSE_FILE_BYTES = 64 << 20

# The size of the first read: the header, and all of a small object.
HEAD = 4096

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class MalformedError(Exception):
    """Bytes that are invalid for their magic. The text is the note for the log: the problem, and its offset in the file."""


class ExhaustedError(Exception):
    """The meter of the link reached a limit. The text names it."""


class Meter:
    """The work of one link's scan, and its limits. read, limit: bytes; steps: records of bitcode that may still be skipped."""

    __slots__ = ("limit", "read", "steps")

    def __init__(self, limit: int, steps: int) -> None:
        self.limit = limit
        self.read = 0
        self.steps = steps


class Extent:
    """Bytes [start, start + size) of an open file. The caller of open_regular owns the descriptor.

    head: the first bytes, already read, so that magic tests and small objects need no further read.
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
        """Return the extent of size bytes at offset in this one, at most up to its end."""
        size = max(0, min(size, self.size - offset))
        if not head:
            head = self.head[offset : offset + size]
        if len(head) < min(size, 64):  # too short for the magic tests, or for the ELF header
            head = self.read(offset, min(size, HEAD))
        return Extent(self.fd, self.start + offset, size, self.meter, head)


def stat_regular(path: bytes) -> os.stat_result | None:
    """Return the stat of path; None where it does not exist, is not accessible, or is no regular file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return found if found.st_mode & S_IFMT == S_IFREG else None


def is_read_once(path: bytes) -> bool:
    """Return whether path is a pipe, FIFO, socket, terminal or another device: whoever opens or reads it takes data from the tool.

    False for /dev/null, which is always empty.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return False
    kind = found.st_mode & S_IFMT
    return kind not in (S_IFREG, 0o040000) and not (kind == 0o020000 and found.st_rdev == os.makedev(1, 3))


def why_not_regular(path: bytes) -> str:
    """Return why stat_regular returns None."""
    try:
        os.stat(path)
    except OSError as error:
        return error.strerror or "unreadable"
    except ValueError:
        return "a NUL in its name"
    return "no regular file: not read"


def read_regular(path: bytes, most: int = RESPONSE_FILE_BYTES) -> bytes | None:
    """Return the content of a regular file, such as a response file; None where there is none, or it is too large."""
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
        pass  # the path has become a directory or a FIFO
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
