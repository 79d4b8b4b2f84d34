"""Choose whose threads a link may ask for: the first source that works (C11).

A jobserver that MAKEFLAGS names and that is open here; the same jobserver, fetched from the make that withheld it; the host's slots, which
our own links share where nobody hands out tokens. Each that does not work leaves its named reason, for `explain` and the log.

Choosing takes no token: the lease is empty, and the warden fills it.
"""

from __future__ import annotations

import os

from . import jobserver
from .lease import JobserverLease, Lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


PID_ONE = "PID 1 of a PID namespace takes no token: its end kills the warden, too, before one is given back"
_INITIAL = b"pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h: nothing ends this namespace


class Source:
    """What was chosen.

    lease: empty, its `source` is the log's word; client: the jobserver's, None without one; callers_fds: make's own descriptors in this
    process; reasons: why the sources before it do not work.
    """

    __slots__ = ("callers_fds", "client", "lease", "reasons")

    def __init__(self, lease: Lease, reasons: list[str], client: jobserver.Jobserver | None = None) -> None:
        self.lease = lease
        self.reasons = reasons
        self.client = client
        self.callers_fds = client.callers_fds if client is not None else ()

    def let_go(self) -> None:
        """Close the jobserver, and lease nothing; make's descriptors stay known."""
        self.lease.release()
        self.lease, self.client = Lease(), None


def find_jobserver(auths: list[tuple[str, bytes]], *, may_recover: bool) -> Source:
    """Connect to the build's jobserver; the lease's source is "none" when there is none that works.

    auths: (variable, value) in the order to try; may_recover: LDSHIM_RECOVER.
    """
    client, reasons = jobserver.find(auths)
    if client is not None:
        return Source(JobserverLease(client), reasons, client)
    if not may_recover:
        return Source(Lease(), [*reasons, "recovery is turned off by LDSHIM_RECOVER=0"])
    from . import recover  # noqa: PLC0415  no jobserver works: a build without one, or an old make

    recovered = recover.recover()
    if isinstance(recovered, str):
        return Source(Lease(), [*reasons, f"recovery: {recovered}"])
    return Source(JobserverLease(recovered, "recovered"), reasons, recovered)


def refusal(client: jobserver.Jobserver) -> str:
    """Say why this process must not take tokens of a jobserver that works, "" where it may (C14).

    The kernel kills what is left of a PID namespace with its PID 1. A link that is PID 1 has no parent in there, so who serves the
    jobserver is outside and survives the loss. Tokens of a device come back by themselves, and so do slots.
    """
    if os.getpid() != 1 or client.is_device:
        return ""
    try:
        return "" if os.readlink(b"/proc/self/ns/pid") == _INITIAL else PID_ONE
    except OSError:
        return PID_ONE


def share_host(get: Callable[[bytes], bytes], cpus: int, reasons: list[str]) -> Source:
    """Lease slots of this host, at most cpus; without a directory that only we can write, nothing is shared and the reason says so."""
    from . import slots  # noqa: PLC0415  only without a jobserver

    lease = slots.connect(get, cpus)
    if isinstance(lease, str):
        return Source(Lease(), [*reasons, f"slots: {lease}"])
    return Source(lease, reasons)
