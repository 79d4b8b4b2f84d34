"""The threads of one link, from any source.

The warden grows and shrinks a reservation while the link runs. It does not depend on whether a thread is a byte of a pipe of make or a
locked file. So every source has the same few methods, and a link without a source uses the base class, which never has any thread to give.

Ownership: the process that calls `grow` holds what it returns. The lease may be created before the fork, but only the warden takes, after
setsid(2), so that no signal to the process group of the link can come between taking a token and its return (C14).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .jobserver import Jobserver


ASK_SHARE = 0.05
ASK_SECONDS = (0.03, 0.2)  # least and most; with one tick more, within the 0.25 s of C21

IDLE_SECONDS = 3600.0  # nothing is due


def pause(denied: float) -> float:
    """Return the seconds to wait before the next try to take a thread. denied: seconds since the first of the tries that failed.

    When many links want one token, their tries take CPU time from their compilers: eight links that tried thirty times a second used 4 %
    of two CPUs. The pause is a small part of the time that the link has waited. It is shorter where `Lease.tokens_fd` wakes the warden.
    """
    return min(max(ASK_SECONDS[0], ASK_SHARE * denied), ASK_SECONDS[1])


class Lease:
    """The base class, and the lease of a link without a source, which has only its implicit thread (C18).

    source: "none", "pin", "jobserver", "recovered" or "slots", as in the log; name: of the source, for people; pool: the same string for
    all links that share the source: the name of the jobserver, or a directory.
    """

    __slots__ = ("name", "pool", "source")

    def __init__(self, source: str = "none", name: str = "", pool: str = "") -> None:
        self.source = source
        self.name = name
        self.pool = pool or name

    @property
    def held(self) -> int:
        """Count the threads held beyond the implicit one."""
        return 0

    @property
    def counted(self) -> bool:
        """Return whether the implicit thread holds something that must be returned (a slot)."""
        return False

    def grow(self, most: int) -> int:  # noqa: ARG002 - the signature of every lease; there is nothing to take
        """Take up to `most` more threads without waiting; return how many. Never raises OSError."""
        return 0

    def surplus(self) -> int:
        """Count the threads held beyond an even share, while a link with fewer waits for one."""
        return 0

    def shrink(self, count: int) -> None:
        """Return `count` threads, or all if fewer are held."""

    def release(self) -> None:
        """Return all threads and close every descriptor; a second call does nothing."""

    def tend(self, now: float) -> float:  # noqa: ARG002 - the verb's signature; there is nothing to look after
        """Do what is due besides taking and giving; return the seconds until the next time. now: a monotonic clock."""
        return IDLE_SECONDS

    def holding(self, inner: Lease) -> Lease:
        """Return `inner`, together with what else this lease holds and must go on holding."""
        return inner

    def tokens_fd(self) -> int:
        """Return a descriptor that is readable while there is a thread to take; -1 without one."""
        return -1

    def fds(self) -> list[int]:
        """Return the descriptors that must stay open (all close-on-exec); each call of the methods above may change them."""
        return []


class JobserverLease(Lease):
    """A lease on tokens of a jobserver. Owns the client. source: "jobserver" or "recovered"."""

    __slots__ = ("jobserver",)

    def __init__(self, jobserver: Jobserver, source: str = "jobserver") -> None:
        super().__init__(source, jobserver.name)
        self.jobserver = jobserver

    @property
    def held(self) -> int:
        """Count the tokens held."""
        return self.jobserver.held

    def grow(self, most: int) -> int:
        """Take up to `most` tokens that are free now."""
        return self.jobserver.take(most)

    def shrink(self, count: int) -> None:
        """Return `count` tokens as they were read. Raises OSError when the jobserver is gone; the rest stays held."""
        self.jobserver.give(count)

    def release(self) -> None:
        """Return every token, then close the descriptors of the jobserver, for which make waits at its exit (C15)."""
        self.jobserver.close()

    def tokens_fd(self) -> int:
        """Return the read end of the client."""
        return self.jobserver.tokens_fd()

    def fds(self) -> list[int]:
        """Return the descriptors of the client."""
        return self.jobserver.fds()
