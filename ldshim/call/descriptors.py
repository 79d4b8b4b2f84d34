"""Descriptors of ours: out of the way of everything that a build may expect at a low number.

0 to 2 may be closed in this process, and a pipe of ours must not become somebody's stdin; a shell's `exec 3<` must not meet one. So
what ldshim opens for longer than a moment stands above 100, close-on-exec until somebody is to inherit it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

MOST = 1024  # FD_SETSIZE
# A link of ours leaves three to the tool (both ends of a private jobserver, one of the life pipe), and needs twelve at once before that.
# GCC's own processes were seen to need sixteen.
ENOUGH = 48
SCARCE = f"fewer than {ENOUGH} descriptors are free"
_NUMBERS = (range(101, 1001), range(20, 101), range(3, 20))  # in the order of preference
_EBADF = 9  # errno.EBADF everywhere on Linux; even what is built in costs 0.15 ms when it is imported


def waiting(fd: int) -> int:
    """Count the bytes that lie in a pipe or FIFO: its tokens, whatever they are. fd: either end, open. Raises OSError."""
    import fcntl  # noqa: PLC0415  a link that only takes tokens never counts them
    import termios  # noqa: PLC0415

    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def nowhere() -> int:
    """Open what /dev/null is for, without becoming anybody's terminal: a descriptor, close-on-exec, or -1 where nothing can be opened.

    A chroot, or a container with an empty /dev, has none. A file that is in memory only and that nobody else has is read as empty, too.
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
    """Make a pipe that a make may inherit: its read end and its write end, raised. Raises OSError where no number below MOST is free.

    GNU make up to 4.3 waits for its jobserver in select(2), and is killed by the C library where a number does not fit into an fd_set.
    """
    ends = tuple(raised(fd, avoid) for fd in os.pipe())
    if max(ends) < MOST:
        return ends[0], ends[1]
    for fd in ends:
        os.close(fd)
    import errno  # noqa: PLC0415  even what is built in costs 0.15 ms when it is imported

    raise OSError(errno.EMFILE, "no descriptor is free below the size of an fd_set")


def raised(fd: int, avoid: Collection[int] = ()) -> int:
    """Move fd above 100, close-on-exec, and close the original: 0-2 may have been closed, and a pipe of ours must not become stdin.

    Under a descriptor limit too low for that, and where all up to 1000 are taken, the number is lower; where none is free, it stays.
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
    """Tell whether the tool should have every descriptor for itself: fewer than ENOUGH are free below the limit, or below MOST."""
    limit = os.sysconf("SC_OPEN_MAX")
    free = 0
    for number in range(3, MOST if limit < 0 else min(limit, MOST)):
        free += is_free(number)
        if free >= ENOUGH:
            return False
    return True


def is_free(fd: int) -> bool:
    """Tell whether a number is certainly nobody's: the kernel says that it is not open, and not that it cannot say."""
    try:
        os.fstat(fd)
    except OSError as error:
        return error.errno == _EBADF
    return False
