"""Reserve what was decided for one link, and say what came of it.

GCC gets a private jobserver in every case, also with one job and also with a pin, because the number is enforced by nothing else. Who
fills the pipe differs: the warden's valve while a build's jobserver works (the link grows and shrinks with the build), or N-1 tokens at
once. Linkers with a fixed number of threads get what the warden could take at the start.
"""

from __future__ import annotations

import os

from ..reserve import makeflags
from ..reserve.lease import Lease
from . import handover, private_jobserver
from .reservation import Reservation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ..call.environment import Environment
    from ..decide.budget import Decision
    from ..reserve.jobserver import Jobserver
    from .history import History
    from .private_jobserver import Private
    from .reservation import Left

WPA_ASKS = 13  # the first GCC whose WPA takes a token for each of its forks (gcc/lto/lto.cc, 2022-08-10)


class Inherited:
    """What the tool inherits of ours, and what of make's it must not: all must be as before if exec fails, or if something of ours does.

    left: the warden, None without one; pipe: GCC's private jobserver, None without one; lease: this process's side of what is reserved;
    callers_fds: make's own descriptors, hidden from a link that has a private jobserver, so that nothing below holds make's write end.
    """

    __slots__ = ("_callers_fds", "_hidden", "_lease", "left", "pipe")

    def __init__(self, lease: Lease | None = None, callers_fds: Iterable[int] = ()) -> None:
        self.left: Left | None = None
        self.pipe: Private | None = None
        self._lease = lease or Lease()
        self._callers_fds = callers_fds
        self._hidden: list[int] = []

    @property
    def life_fd(self) -> int:
        """Return the descriptor by which everything below is known to belong to this link, -1 where it has none."""
        return self.left.life_fd if self.left is not None else self.pipe.write_fd if self.pipe is not None else -1

    def before_exec(self) -> None:
        """Hide make's descriptors."""
        for fd in self._callers_fds:
            if os.get_inheritable(fd):
                os.set_inheritable(fd, False)
                self._hidden.append(fd)

    def undo(self) -> None:
        """Restore what reserving changed, whatever of that fails: the call runs unedited after all."""
        for step in (self._show, self._dismiss, self._close, self._lease.release):
            try:
                step()
            except Exception:
                continue

    def _show(self) -> None:
        while self._hidden:
            os.set_inheritable(self._hidden.pop(), True)

    def _dismiss(self) -> None:
        left, self.left = self.left, None
        if left is not None:
            left.dismiss()

    def _close(self) -> None:
        pipe, self.pipe = self.pipe, None
        if pipe is not None:
            pipe.close()


class Grant:
    """What was reserved for one link.

    number: threads, the implicit one counted, 0 when nothing was decided; told: the number to pass to the tool; policy: what moves the
    tokens (reservation.Left); reason: why the link is not confined although that was decided, else ""; auth: the private jobserver's
    `R,W`, b"" without one; variables: of ours for the tool; inherited: to be undone if exec fails, owned by this process.
    """

    __slots__ = ("auth", "inherited", "number", "policy", "reason", "told", "variables")

    def __init__(
        self, number: int = 0, told: int = 0, policy: str = "none", reason: str = "", inherited: Inherited | None = None, auth: bytes = b""
    ) -> None:
        self.number = number
        self.told = told or number
        self.policy = policy
        self.reason = reason
        self.inherited = inherited or Inherited()
        self.auth = self.inherited.pipe.auth() if self.inherited.pipe is not None else auth
        fd = self.inherited.life_fd
        self.variables: dict[bytes, bytes | None] = {handover.HELD: handover.marker(fd)} if fd >= 0 else {}


def reserve(
    decision: Decision, lease: Lease, callers_fds: Iterable[int], environment: Environment, gcc_major: int,
    epilogue: Callable[[History, float], None] | None = None,
) -> Grant:  # fmt: skip
    """Reserve what was decided.

    lease: empty, its owner is the warden from here on; callers_fds: make's own descriptors in this process; gcc_major: of the GCC that
    compiles; epilogue: for the warden (reservation.Reservation).
    """
    avoid = named_descriptors(environment.get(name) for name in makeflags.VARIABLES)
    most = max(0, decision.number - 1)
    if decision.policy == "enclose" and lease.source == "none":
        lease = _kept(most, lease)
    wpa_asks = decision.lto != "gcc" or gcc_major >= WPA_ASKS  # there is no WPA but GCC's
    order = Reservation(lease, most, decision.policy, environment, wpa_asks=wpa_asks, epilogue=epilogue)
    inherited = Inherited(lease, callers_fds if decision.private else ())
    if not decision.number:
        return Grant(inherited=_hold(order, inherited, avoid))
    try:
        return (_reserve_private if decision.private else _reserve)(decision, order, inherited, avoid)
    except BaseException:
        inherited.undo()
        raise


def _reserve(decision: Decision, order: Reservation, inherited: Inherited, avoid: Collection[int]) -> Grant:
    """Leave a warden where something is to be taken, and return what it could take at once."""
    if decision.policy == "none":
        return Grant(decision.number, inherited=_hold(order, inherited, avoid))
    left = inherited.left = handover.leave_warden(order, avoid)
    if left is None:
        return Grant(1)
    number = decision.number if left.elastic else 1 + left.taken if left.policy != "none" else 1
    return Grant(number, 0, left.policy, left.reason, inherited)


def _reserve_private(decision: Decision, order: Reservation, inherited: Inherited, avoid: Collection[int]) -> Grant:
    """Fill the private jobserver at once, or leave a warden that feeds it."""
    try:
        pipe = inherited.pipe = private_jobserver.create(avoid, decision.make.name if decision.make is not None else b"")
    except OSError:
        return Grant()  # the kernel gives no descriptor: the number can only be enforced with a pipe
    number, left = decision.number, None
    if decision.policy != "none":
        left = inherited.left = handover.leave_warden(order.with_pipe(pipe), avoid)
        if left is not None and left.elastic:
            return Grant(number, decision.before_memory, left.policy, "", inherited)
        number = 1 + (left.taken if left is not None else 0)
    elif not order.wpa_asks and len(os.sched_getaffinity(0)) > number:
        # Nothing is held, but WPA would fork as many writers as it likes: the warden confines them to the number.
        alone = Reservation(_kept(number - 1, order.lease), number - 1, "fixed", order.environment, pipe)
        left = inherited.left = handover.leave_warden(alone, avoid)
    else:
        _hold(order, inherited, avoid)
    pipe.fill(number - 1)
    return Grant(number, 0, left.policy if left is not None else "none", "", inherited)


def _hold(order: Reservation, inherited: Inherited, avoid: Collection[int]) -> Inherited:
    """Leave a warden that holds only the promise of memory, where there is one that others wait for."""
    if order.lease.counted:
        inherited.left = handover.leave_warden(Reservation(order.lease, 0, "hold", order.environment), avoid)
    return inherited


def _kept(count: int, lease: Lease) -> Lease:
    """Return a lease on threads that nobody counts: its warden holds no token, and confines the link to them. lease: what else it holds."""
    from ..reserve.wrapped import Kept  # noqa: PLC0415  a pin, or a ceiling of one

    return lease.holding(Kept(count))


def foresee(decision: Decision, client: Jobserver | None) -> Grant:
    """Say what `reserve` would grant now, without reserving; `R,W` stands for the private jobserver. client: of a jobserver that works."""
    if not decision.number:
        return Grant()
    number, policy = decision.number, decision.policy
    if client is not None and policy not in ("valve", "confine"):
        number = 1 + min(client.available(), number - 1)
    if policy in ("fixed", "enclose"):
        policy = "fixed" if number > 1 else "none"
    auth = b"R,W" if decision.private else b""
    return Grant(number, decision.before_memory if policy == "valve" else 0, policy, auth=auth)


def named_descriptors(values: Iterable[bytes]) -> set[int]:
    """Collect every number in the *MAKEFLAGS: a descriptor of ours must not be one that somebody will take for a jobserver's."""
    digits = bytes(byte if 48 <= byte <= 57 else 32 for byte in b" ".join(values))
    return {int(number) for number in digits.split() if len(number) < 8}
