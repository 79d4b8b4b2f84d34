"""Choose the source of the threads of a link: the first one that works (C11).

The sources: a jobserver that MAKEFLAGS names and that is open here; the same jobserver, opened in the make that withheld it; the slots of
the host, which links of ours share where there is no jobserver. Each source that does not work has a named reason, for `explain` and the
log.

Choosing takes no token: the lease is empty, and the warden fills it.
"""

from __future__ import annotations

import os

from . import jobserver
from .lease import JobserverLease, Lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


PID_ONE = "PID 1 of a PID namespace takes no token: its end kills the warden before that returns one"
_INITIAL = b"pid:[4026531836]"  # PROC_PID_INIT_INO in include/linux/proc_ns.h of the kernel: this namespace never ends


class Source:
    """The chosen source.

    lease: empty; client: of the jobserver, None without one; callers_fds: the descriptors of make in this process; reasons: why the earlier
    sources do not work.
    """

    __slots__ = ("callers_fds", "client", "lease", "reasons")

    def __init__(self, lease: Lease, reasons: list[str], client: jobserver.Jobserver | None = None) -> None:
        self.lease = lease
        self.reasons = reasons
        self.client = client
        self.callers_fds = client.callers_fds if client is not None else ()

    def let_go(self) -> None:
        """Close the jobserver and use an empty lease; callers_fds stays."""
        self.lease.release()
        self.lease, self.client = Lease(), None


def find_jobserver(auths: list[tuple[str, bytes]], *, may_recover: bool) -> Source:
    """Connect to the jobserver of the build; the source of the lease is "none" when none works.

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
    """Return why this process must not take tokens of a jobserver that works, "" when it may (C14).

    When PID 1 of a PID namespace ends, the kernel kills every other process in it, the warden too. A link that is PID 1 has its make
    outside, which would miss the tokens. The server of a device takes its tokens back, and the kernel frees slots.
    """
    if os.getpid() != 1 or client.is_device:
        return ""
    try:
        return "" if os.readlink(b"/proc/self/ns/pid") == _INITIAL else PID_ONE
    except OSError:
        return PID_ONE


def share_host(get: Callable[[bytes], bytes], cpus: int, reasons: list[str]) -> Source:
    """Lease slots of this host, at most cpus; an empty lease and a reason without a directory that only we can write."""
    from . import slots  # noqa: PLC0415  only without a jobserver

    lease = slots.connect(get, cpus)
    if isinstance(lease, str):
        return Source(Lease(), [*reasons, f"slots: {lease}"])
    return Source(lease, reasons)
