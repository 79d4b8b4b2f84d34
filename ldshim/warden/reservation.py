"""What a warden is to hold, for which process, and what came of it.

Apart from handover.py, which forks the warden, and watch.py, which is the warden, because both read these values.
"""

from __future__ import annotations

import os

from ..call import processes
from ..call.descriptors import raised

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable

    from ..call.environment import Environment
    from ..reserve.lease import Lease
    from .history import History
    from .private_jobserver import Private
else:
    import _signal  # the signal module proper builds enums: 4 ms

DISMISSED_SECONDS = 2.0  # a warden that is told to end needs about a millisecond; one that somebody stopped is not waited for


class Reservation:
    """What a warden shall hold for one link.

    lease: where tokens come from; most: tokens at most; policy: "hold" takes none and keeps what the lease holds besides (a promise of
    memory), "fixed" takes once and keeps, "enclose" does, too, and confines the link
    to so many CPUs, for threads that no number bounds (what a lease that nobody counts holds included), "valve" feeds GCC's private pipe,
    "confine" follows the threads of a linker by the CPUs it may use; pipe: GCC's private pipe; wpa_asks: GCC's WPA takes a token for each
    of its forks; environment: of the call, for names ($MAKE, our directory); epilogue: called by the warden when all is returned, with the
    course of the link and the CPU seconds of the warden.
    """

    __slots__ = ("environment", "epilogue", "lease", "most", "pipe", "policy", "wpa_asks")

    def __init__(
        self, lease: Lease, most: int, policy: str, environment: Environment, pipe: Private | None = None,
        wpa_asks: bool = False, epilogue: Callable[[History, float], None] | None = None,
    ) -> None:  # fmt: skip
        self.lease = lease
        self.most = most
        self.policy = policy
        self.environment = environment
        self.pipe = pipe
        self.wpa_asks = wpa_asks
        self.epilogue = epilogue

    def with_pipe(self, pipe: Private) -> Reservation:
        """Return the same reservation for a link with a private pipe."""
        return Reservation(self.lease, self.most, self.policy, self.environment, pipe, self.wpa_asks, self.epilogue)


class Link:
    """The process that make started, as it can be watched: pid, start time stamp, session, pidfd (-1: none), the life pipe's read end."""

    __slots__ = ("life_fd", "pid", "pidfd", "session", "stamp")

    def __init__(self, life_fd: int) -> None:
        """Describe the calling process; call it before the first fork. life_fd: owner is the warden."""
        self.pid = os.getpid()
        self.stamp = processes.own_stamp()
        self.session = os.getsid(0)
        self.life_fd = life_fd
        try:
            self.pidfd = raised(os.pidfd_open(self.pid))
        except (AttributeError, OSError):
            self.pidfd = -1  # Linux before 5.3: the start time is compared now and then (warden/watch.py)


class Left:
    """A warden that was left behind.

    taken: tokens held for the link now; policy: what will move them, "valve" or "confine", or "fixed", or "none" where nothing is held;
    reason: why they are fixed although something else was ordered, else ""; life_fd: the life pipe's write end, to be inherited.
    """

    __slots__ = ("_mask", "life_fd", "policy", "reason", "taken")

    def __init__(self, taken: int, policy: str, reason: str, life_fd: int, mask: set[int]) -> None:
        """Describe a warden. mask: of this process before it could be confined."""
        self.taken = taken
        self.policy = policy
        self.reason = reason
        self.life_fd = life_fd
        self._mask = mask

    def dismiss(self) -> None:
        """Have the warden give everything back and end, since the call runs without it; wait for that, and undo what it did to us."""
        dismiss(self.life_fd, self._mask)

    @property
    def elastic(self) -> bool:
        """Tell whether the tokens will follow the needs of the link."""
        return self.policy in ("valve", "confine")


def dismiss(life_fd: int, mask: set[int]) -> None:
    """Tell a warden by its life pipe to end, wait until it has, and close the pipe; mask: to be this process's again.

    A warden that does not end in time (somebody stopped it) gives its tokens back when the link is over, as ever.
    """
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)  # it may have ended already; replace_process sets the default again
    try:
        os.write(life_fd, b"-")
        import select  # noqa: PLC0415  a call that runs as planned needs none of this

        poll = select.poll()
        poll.register(life_fd, 0)  # POLLERR: nobody has the read end any more
        poll.poll(DISMISSED_SECONDS * 1000)
    except OSError:
        pass
    finally:
        os.close(life_fd)
        if os.sched_getaffinity(0) != mask:
            os.sched_setaffinity(0, mask)
