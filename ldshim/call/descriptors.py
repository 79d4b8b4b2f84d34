"""Choose numbers for ldshim's descriptors that collide with no number that a build uses.

0 to 2 may be closed in this process, and a pipe that ldshim opens must not become the stdin of a child. A shell's `exec 3<` must not find
one at 3. So each descriptor that stays open for longer has a number above 100, and is close-on-exec until a child is to inherit it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

MOST = 1024  # FD_SETSIZE
# ldshim leaves three open in the tool (both ends of a private jobserver, one of the life pipe), and needs twelve at once before that.
# GCC's own processes need up to sixteen (seen).
ENOUGH = 48
SCARCE = f"fewer than {ENOUGH} descriptors are free"
_NUMBERS = (range(101, 1001), range(20, 101), range(3, 20))  # in the order of preference
_EBADF = 9  # errno.EBADF on Linux; importing even a built-in module takes 0.15 ms


def waiting(fd: int) -> int:
    """Return the number of bytes in a pipe or FIFO, which are its tokens. fd: either end, open. Raises OSError."""
    import fcntl  # noqa: PLC0415  a link that only takes tokens never counts them
    import termios  # noqa: PLC0415

    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def nowhere() -> int:
    """Open /dev/null, or an empty file in memory where there is none: a close-on-exec descriptor, or -1 where neither can be opened.

    A chroot, or a container with an empty /dev, has no /dev/null.
    """
    try:
        return os.open(b"/dev/null", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        pass
    try:
        return os.memfd_create("nowhere", os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        return -1


def pipe(avoid: Collection[int] = ()) -> tuple[int, int]:
    """Make a pipe that a make may inherit, and return its read end and write end. Raises OSError where no number below MOST is free.

    GNU make up to 4.3 waits for its jobserver in select(2), and the C library aborts it where a number does not fit into an fd_set.
    """
    ends = tuple(raised(fd, avoid) for fd in os.pipe())
    if max(ends) < MOST:
        return ends[0], ends[1]
    for fd in ends:
        os.close(fd)
    import errno  # noqa: PLC0415  importing even a built-in module takes 0.15 ms

    raise OSError(errno.EMFILE, "no descriptor is free below the size of an fd_set")


def raised(fd: int, avoid: Collection[int] = ()) -> int:
    """Move fd to a number above 100, close-on-exec, close the original, and return the new number.

    The number is lower where the descriptor limit is too low for that, and where all numbers up to 1000 are taken. Where none is free, fd
    is returned.
    """
    # F_DUPFD would find the number by itself, but fcntl is a shared object in most Pythons, and a GCC link needs it for nothing else.
    for numbers in _NUMBERS:
        wanted = next((number for number in numbers if number not in avoid and is_free(number)), -1)
        if wanted < 0:
            continue
        try:
            os.dup2(fd, wanted, inheritable=False)
        except OSError:
            continue  # above the limit
        os.close(fd)
        return wanted
    return fd


def are_scarce() -> bool:
    """Return whether fewer than ENOUGH descriptors are free below the limit, or below MOST: then ldshim leaves them all to the tool."""
    limit = os.sysconf("SC_OPEN_MAX")
    free = 0
    for number in range(3, MOST if limit < 0 else min(limit, MOST)):
        free += is_free(number)
        if free >= ENOUGH:
            return False
    return True


def is_free(fd: int) -> bool:
    """Return whether a number is certainly not open: fstat fails with EBADF, and not with another error."""
    try:
        os.fstat(fd)
    except OSError as error:
        return error.errno == _EBADF
    return False
