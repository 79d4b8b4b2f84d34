"""What one link holds, whoever owns it.

The warden grows and shrinks a reservation for as long as the link lives. It does not care whether a thread is a byte of make's pipe or a
locked file, and must not: the way back is the same for both. So there is one small set of verbs, and the one without a source answers
them too, with nothing.

Ownership: the process that calls `grow` holds what it returns. Open the lease before the fork if you like, but take in the warden only,
after setsid, so that no signal to the link's process group can fall between a token and the one who gives it back (C14).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .jobserver import Jobserver


ASK_SHARE = 0.05
ASK_SECONDS = (0.03, 0.2)  # at least, at most; with a tick on top still within C21's quarter of a second

IDLE_SECONDS = 3600.0  # nothing is due


def pause(denied: float) -> float:
    """Return how many seconds to wait before asking for a thread again. denied: seconds since the first refusal of a row.

    Where many links beg for one token, what they spend on asking is what their compilers lack: eight of them that asked thirty times a
    second took 4 % of two CPUs. What comes late by this is a small share of the wait there was anyway, and less where the descriptor of
    `Lease.tokens_fd` wakes us.
    """
    return min(max(ASK_SECONDS[0], ASK_SHARE * denied), ASK_SECONDS[1])


class Lease:
    """A lease on nothing, and the verbs of every other: only the caller's own implicit thread, which needs no token (C18).

    source: "none", "pin", "jobserver", "recovered" or "slots", as the log says it; name: which one, for people; pool: which one, the same
    for all who share it: a jobserver's name or a directory.
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
        """Tell whether the implicit thread itself takes something that must be given back (a slot)."""
        return False

    def grow(self, most: int) -> int:  # noqa: ARG002 - the verb's signature; there is nothing to take
        """Take up to `most` more threads without waiting for any; return how many came. Never raises OSError."""
        return 0

    def surplus(self) -> int:
        """Count the threads held beyond a fair share, while somebody who has less waits for one."""
        return 0

    def shrink(self, count: int) -> None:
        """Give `count` threads back, or all when fewer are held."""

    def release(self) -> None:
        """Give everything back and close every descriptor; a second call does nothing."""

    def tend(self, now: float) -> float:  # noqa: ARG002 - the verb's signature; there is nothing to look after
        """Do what is due besides taking and giving; return the seconds until the next time. now: a monotonic clock."""
        return IDLE_SECONDS

    def holding(self, inner: Lease) -> Lease:
        """Return `inner`, together with what else this lease holds and must go on holding."""
        return inner

    def tokens_fd(self) -> int:
        """Return a descriptor that is readable while there is something to take; -1 where none is."""
        return -1

    def fds(self) -> list[int]:
        """Return the descriptors that must stay open while something is held (all close-on-exec); they may change with every call above."""
        return []


class JobserverLease(Lease):
    """A lease on tokens of a jobserver. Owns the client it is given. source: "jobserver" or "recovered"."""

    __slots__ = ("jobserver",)

    def __init__(self, jobserver: Jobserver, source: str = "jobserver") -> None:
        super().__init__(source, jobserver.name)
        self.jobserver = jobserver

    @property
    def held(self) -> int:
        """Count the tokens held."""
        return self.jobserver.held

    def grow(self, most: int) -> int:
        """Take up to `most` tokens that are there now."""
        return self.jobserver.take(most)

    def shrink(self, count: int) -> None:
        """Give `count` tokens back as they were read. OSError: the jobserver is gone, the rest is still held."""
        self.jobserver.give(count)

    def release(self) -> None:
        """Give every token back, then let the jobserver's descriptors go: its make waits for that (C15)."""
        self.jobserver.close()

    def tokens_fd(self) -> int:
        """Return the client's read end."""
        return self.jobserver.tokens_fd()

    def fds(self) -> list[int]:
        """Return the client's private descriptors."""
        return self.jobserver.fds()
