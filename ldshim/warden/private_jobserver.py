"""The jobserver we show to GCC, so that N means N.

GCC since 10 ignores the number in -flto=N as soon as MAKEFLAGS names a jobserver it likes, 12.2 takes the larger of it and what the
objects recorded, GCC 11 with make 4.3 dies on a `fifo:` auth, and make 4.4.1 as a client loses its tokens on SIGTERM. The consequence: a
GCC link sees one jobserver only, ours: an anonymous pipe, in the spelling that every GCC and every make understands, holding N-1 tokens.
Whatever the objects recorded, lto-wrapper then runs make without -j, and make takes what is in the pipe.

The read end is O_NONBLOCK: GCC 13 and later wait for ever on a blocking one (lto1 holds the tokens it waits for). Both ends are
inheritable, and stand above 100, where no shell's `exec 3<` comes by.

How it is used: grant.py makes one, decide/rewrite.py names it in MAKEFLAGS, the warden feeds it (gcc_valve.py) or it is filled once and
left alone.
"""

from __future__ import annotations

import os

from ..call.descriptors import pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


class Private:
    """An anonymous pipe that speaks jobserver.

    read_fd is non-blocking; owner: the process tree of the link, which inherits both ends; make: the name of the make that will be its
    client.
    """

    __slots__ = ("make", "read_fd", "write_fd")

    def __init__(self, read_fd: int, write_fd: int, make: bytes = b"") -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.make = make

    def fill(self, tokens: int) -> None:
        """Put tokens in: N-1 for a link that may run N jobs. 4096 is far below any pipe's capacity, so this cannot block."""
        os.write(self.write_fd, b"+" * min(tokens, 4096))

    def auth(self) -> bytes:
        """Spell it for MAKEFLAGS: `R,W`."""
        return b"%d,%d" % (self.read_fd, self.write_fd)

    def close(self) -> None:
        """Close both ends: the link runs unedited after all."""
        os.close(self.read_fd)
        os.close(self.write_fd)


def create(avoid: Collection[int] = (), make: bytes = b"") -> Private:
    """Make the pipe. avoid: descriptor numbers that some *MAKEFLAGS names, so that nobody takes ours for theirs. Raises OSError.

    make: as Private.
    """
    read_fd, write_fd = pipe(avoid)
    os.set_blocking(read_fd, False)
    os.set_inheritable(read_fd, True)
    os.set_inheritable(write_fd, True)
    return Private(read_fd, write_fd, make)
