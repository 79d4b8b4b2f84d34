"""The values that ldshim and its warden share: what to hold, for which process, and what was taken.

They are apart from handover.py, which forks the warden, and watch.py, which is the warden, because both use them.
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

DISMISSED_SECONDS = 2.0  # a dismissed warden ends within about a millisecond; a stopped one (SIGSTOP) is not waited for longer


class Reservation:
    """What a warden is to hold for one link.

    lease: the source of the tokens; most: tokens at most; policy: "hold" takes no token and
    keeps what the lease holds besides (a promise of memory); "fixed" takes tokens once; "enclose" does the same and confines the link
    to as many CPUs, for threads that no number limits; "valve" moves tokens to the private pipe of GCC; "confine" sets the CPUs of the
    linker as its threads need them; pipe: the private pipe of GCC; wpa_asks: the WPA of GCC takes a token for each of its forks;
    environment: of the call, to find our directory; epilogue: called by the warden after it has returned everything, with the history of
    the link and the CPU seconds of the warden.
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
    """The process that make started, as the warden watches it: pid, start time, session, pidfd (-1: none), read end of the life pipe."""

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
            self.pidfd = -1  # Linux before 5.3: watch.py compares the start time at intervals


class Left:
    """A running warden.

    taken: tokens held for the link now; policy: "valve" or "confine" if their number changes, "fixed", or "none" if nothing is held;
    reason: why the policy is not the one of the reservation, else ""; life_fd: the write end of the life pipe, which the tool inherits.
    """

    __slots__ = ("_mask", "life_fd", "policy", "reason", "taken")

    def __init__(self, taken: int, policy: str, reason: str, life_fd: int, mask: set[int]) -> None:
        """Describe a warden. mask: the affinity of this process before the warden could confine it."""
        self.taken = taken
        self.policy = policy
        self.reason = reason
        self.life_fd = life_fd
        self._mask = mask

    def dismiss(self) -> None:
        """End the warden, because the call runs without it: it returns everything. Wait for that, and restore our affinity."""
        dismiss(self.life_fd, self._mask)

    @property
    def elastic(self) -> bool:
        """Return whether the number of tokens changes with the needs of the link."""
        return self.policy in ("valve", "confine")


def dismiss(life_fd: int, mask: set[int]) -> None:
    """End a warden through its life pipe, wait for its end, and close the pipe. mask: the affinity to restore.

    A warden that does not end in time (because of SIGSTOP) returns its tokens when the link is over.
    """
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)  # it may have ended already; replace_process sets the default again
    try:
        os.write(life_fd, b"-")
        import select  # noqa: PLC0415  rarely needed

        poll = select.poll()
        poll.register(life_fd, 0)  # POLLERR: no process has the read end any more
        poll.poll(DISMISSED_SECONDS * 1000)
    except OSError:
        pass
    finally:
        os.close(life_fd)
        if os.sched_getaffinity(0) != mask:
            os.sched_setaffinity(0, mask)
