"""The jobserver that GCC sees, which enforces N.

GCC since 10 ignores the number in -flto=N when MAKEFLAGS names a jobserver that it can use. 12.2 takes the larger of N and what the
objects recorded, GCC 11 with make 4.3 fails on a `fifo:` auth, and make 4.4.1 as a client loses its tokens on SIGTERM. The consequence: a
GCC link sees only our jobserver, an anonymous pipe with N-1 tokens, in the spelling that every GCC and every make understands. Whatever
the objects recorded, lto-wrapper then runs make without -j, and make takes the tokens in the pipe.

The read end is O_NONBLOCK: GCC 13 and later wait for ever on a blocking one (lto1 holds the tokens that it waits for). Both ends are
inheritable, and above 100, where `exec 3<` in a shell does not replace them.

grant.py creates it, decide/rewrite.py names it in MAKEFLAGS, and either the warden moves its tokens (gcc_valve.py) or it is filled once.
"""

from __future__ import annotations

import os

from ..call.descriptors import pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


class Private:
    """An anonymous pipe that is a jobserver.

    read_fd is non-blocking; owner: the process tree of the link, which inherits both ends; make: the name of the make that is its
    client.
    """

    __slots__ = ("make", "read_fd", "write_fd")

    def __init__(self, read_fd: int, write_fd: int, make: bytes = b"") -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.make = make

    def fill(self, tokens: int) -> None:
        """Write tokens: N-1 for a link that may run N jobs. Any pipe has room for 4096, so this cannot block."""
        os.write(self.write_fd, b"+" * min(tokens, 4096))

    def auth(self) -> bytes:
        """Return the auth for MAKEFLAGS: `R,W`."""
        return b"%d,%d" % (self.read_fd, self.write_fd)

    def close(self) -> None:
        """Close both ends, when the link runs unedited."""
        os.close(self.read_fd)
        os.close(self.write_fd)


def create(avoid: Collection[int] = (), make: bytes = b"") -> Private:
    """Create the pipe. avoid: descriptor numbers that some *MAKEFLAGS names, which ours must not have. Raises OSError.

    make: see Private.
    """
    read_fd, write_fd = pipe(avoid)
    os.set_blocking(read_fd, False)
    os.set_inheritable(read_fd, True)
    os.set_inheritable(write_fd, True)
    return Private(read_fd, write_fd, make)
