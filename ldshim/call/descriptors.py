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

_FIRST = 101


def waiting(fd: int) -> int:
    """Count the bytes that lie in a pipe or FIFO: its tokens, whatever they are. fd: either end, open. Raises OSError."""
    import fcntl  # noqa: PLC0415  a link that only takes tokens never counts them
    import termios  # noqa: PLC0415

    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def raised(fd: int, avoid: Collection[int] = ()) -> int:
    """Move fd above 100, close-on-exec, and close the original: 0-2 may have been closed, and a pipe of ours must not become stdin.

    Under a descriptor limit too low for that, the number stays as high as the limit lets it.
    """
    # F_DUPFD would find the number by itself, but fcntl is a shared object in most Pythons, and a GCC link needs it for nothing else.
    for first in (_FIRST, 20, 3):
        wanted = first
        while wanted in avoid or _is_open(wanted):
            wanted += 1
        try:
            os.dup2(fd, wanted, inheritable=False)
        except OSError:
            continue
        os.close(fd)
        return wanted
    return fd


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
