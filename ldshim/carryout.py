"""Carry a plan out, up to the exec: reserve, and write the number down.

GCC gets its private jobserver in every case, also with one job and also with a pin, because the number holds by nothing else. Who fills
the pipe differs: the warden's valve while a build's jobserver works (the link grows and shrinks with the build), or N-1 tokens at once.
Linkers with a fixed number of threads get what the warden could take at the start.
"""

from __future__ import annotations

import os

from .decide import rewrite
from .plan import AUTH_VARIABLES, gcc_major, has_valve, promise
from .reserve.lease import Lease
from .warden import handover, private_jobserver

WPA_ASKS = 13  # the first GCC whose WPA takes a token for each of its forks (gcc/lto/lto.cc, 2022-08-10)

# family: the first major seen to start as many threads as it is told under a mask of one CPU, 0 for all. Behind a driver nobody knows it.
_OBEYS = {
    "lld": 0,  # 14, 15, 16, 19, 21, 23: LLVM takes an explicit number as it is (llvm/lib/Support/Threading.cpp)
    "mold": 3,  # 3.0.0, with and without --fork; 1.10.1 starts no more than the mask has CPUs
    "gold": 0,  # 2.40, its own threads; its LTO is LLVM's
}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .call.environment import Environment
    from .plan import Plan
    from .reserve.memory_ledger import Promise


class Outcome:
    """What a plan came to.

    granted: threads, the implicit one counted, 0 when nothing was decided; policy: what moves them (handover.Left); args, environment:
    for the tool.

    It also holds what must be undone if the tool cannot be executed that way.
    """

    __slots__ = ("_hidden", "_pipe", "_to_hide", "args", "edits", "environment", "granted", "policy")

    def __init__(self, args: list[bytes], environment: Environment) -> None:
        self.args = args
        self.environment = environment
        self.granted = 0
        self.policy = "none"
        self.edits = rewrite.Edits()
        self._pipe: private_jobserver.Private | None = None
        self._to_hide: tuple[int, ...] = ()
        self._hidden: list[int] = []

    def use_private(self, pipe: private_jobserver.Private, callers_fds: tuple[int, ...]) -> None:
        """Show the link pipe instead of the build's jobserver, whose descriptors in this process are callers_fds."""
        self._pipe = pipe
        self._to_hide = callers_fds

    def before_exec(self) -> None:
        """Hide make's own descriptors from a link that has a private jobserver, so that nothing below holds make's write end."""
        for fd in self._to_hide:
            if os.get_inheritable(fd):
                os.set_inheritable(fd, False)
                self._hidden.append(fd)

    def undo(self) -> None:
        """Restore what carrying out changed in this process: the call runs unedited after all."""
        for fd in self._hidden:
            os.set_inheritable(fd, True)
        if self._pipe is not None:
            self._pipe.close()
        self._hidden, self._pipe = [], None


def carry_out(plan: Plan, outcome: Outcome) -> None:
    """Reserve for the plan, and write into outcome what the tool is to be given."""
    if plan.budget is None or plan.mode is None:
        return
    avoid = named_descriptors(plan.environment)
    held: handover.Left | None = None
    auth = b""
    outcome.granted = plan.budget.number
    if plan.mode.lto == "gcc":
        pipe = private_jobserver.create(avoid)
        outcome.use_private(pipe, plan.source.callers_fds if plan.source is not None else ())
        held = _feed(plan, outcome, pipe, avoid)
        auth = pipe.auth()
        inherited = held.life_fd if held is not None else pipe.write_fd
        outcome.edits.variables[handover.HELD] = handover.marker(inherited)
    elif _shares(plan):
        policy = _policy(plan)
        if policy == "confine" and plan.promise is not None:
            # Confined threads run one after the other, but each of them holds a module: memory is taken for all that it is told.
            outcome.granted = plan.promise.resize(plan.budget.number)
            if outcome.granted < plan.budget.number:
                plan.budget.number = outcome.granted
                plan.reason += f"; {outcome.granted}, for the memory was promised to others meanwhile"
        held = handover.leave_warden(_reservation(plan, policy), avoid)
        if held is None or not held.elastic:
            outcome.granted = 1 + (held.taken if held is not None else 0)
        if held is not None:
            outcome.edits.variables[handover.HELD] = handover.marker(held.life_fd)
            _say_not_confined(plan, held.reason)
    try:
        write_edits(plan, outcome, auth, plan.budget.told if held is not None and held.policy == "valve" else outcome.granted)
    finally:
        if held is not None:
            held.reap()
            outcome.policy = held.policy
            if held.policy == "none":
                outcome.granted = 1


def preview(plan: Plan, outcome: Outcome) -> None:
    """Write into outcome what carry_out would, as far as that can be told without reserving; `R,W` stands for the private pipe."""
    if plan.budget is None or plan.mode is None:
        return
    outcome.granted = plan.budget.number
    if _shares(plan):
        outcome.policy = _policy(plan)
    client = plan.source.client if plan.source is not None else None
    if client is not None and outcome.policy not in ("valve", "confine"):
        outcome.granted = 1 + min(client.available(), plan.budget.number - 1)
        if outcome.granted < 2:
            outcome.policy = "none"
    number = plan.budget.told if outcome.policy == "valve" else outcome.granted
    write_edits(plan, outcome, b"R,W" if plan.mode.lto == "gcc" else b"", number)


def _feed(plan: Plan, outcome: Outcome, pipe: private_jobserver.Private, avoid: set[int]) -> handover.Left | None:
    """Fill GCC's private jobserver at once, or leave a warden that feeds it."""
    held = None
    if _shares(plan):
        held = handover.leave_warden(_reservation(plan, _policy(plan), pipe), avoid)
        if held is not None and held.elastic:
            return held
        outcome.granted = 1 + (held.taken if held is not None else 0)
    elif gcc_major(plan) < WPA_ASKS and len(os.sched_getaffinity(0)) > outcome.granted:
        # Nothing is held, but WPA would fork as many writers as it likes: the warden confines them to the number.
        alone = handover.Reservation(Lease(), outcome.granted - 1, "fixed", plan.environment, pipe)
        held = handover.leave_warden(alone, avoid)
    pipe.fill(outcome.granted - 1)
    return held


def write_edits(plan: Plan, outcome: Outcome, auth: bytes, number: int) -> None:
    """Write a number in the tool's own words. auth: the private jobserver's, b"" when there is none."""
    facts, edits = plan.facts, outcome.edits
    assert facts is not None
    assert plan.mode is not None
    thin = plan.mode.lto == "thin"
    if auth:
        _show_jobserver(plan, edits, auth, number)
        if plan.collected is None:
            rewrite.for_gcc(edits, facts, number)
        else:
            rewrite.for_collected(edits, plan.collected, number, plan.environment.get(b"COLLECT_GCC_OPTIONS"))
    elif plan.family in ("clang", "gcc"):
        rewrite.for_driver(edits, facts, number, thin, plan.linker, clang=plan.family == "clang")
    else:
        rewrite.for_linker(edits, facts, number, plan.family, thin)
    outcome.args = edits.apply(plan.call.args)
    outcome.environment = outcome.environment.changed(edits.variables)


def _show_jobserver(plan: Plan, edits: rewrite.Edits, auth: bytes, number: int) -> None:
    """Let the private jobserver be seen by whoever obeys it. auth: `R,W`."""
    make, facts = plan.make, plan.collected or plan.facts
    if make is None or make.client:
        rewrite.show_private(edits, auth, number, plan.environment)
        return
    from .decide import fixed_number  # noqa: PLC0415  few makes are no clients

    assert facts is not None
    assert plan.found is not None
    online = os.sysconf("SC_NPROCESSORS_ONLN")
    # With one job GCC would warn that it compiles serially.
    if number > 1 and fixed_number.numbers_gcc_may_choose(facts, plan.found, gcc_major(plan), number, online) == {number}:
        fixed_number.hide(edits, plan.environment)
    else:
        fixed_number.show_gcc_only(edits, auth, number, make.words, plan.environment)


def _shares(plan: Plan) -> bool:
    """Tell whether there is something to take from others, and a use for it."""
    assert plan.budget is not None
    if plan.source is None or plan.source.lease.source == "none":
        return False
    return (plan.budget.told if has_valve(plan) else plan.budget.number) > 1


def _policy(plan: Plan) -> str:
    """Choose what is to move the tokens of a link that shares some (handover.Reservation)."""
    if has_valve(plan):
        return "valve"
    return "fixed" if _falls_back(plan) else "confine"


def _reservation(plan: Plan, policy: str, pipe: private_jobserver.Private | None = None) -> handover.Reservation:
    assert plan.source is not None
    assert plan.budget is not None
    lease = plan.source.lease
    out = handover.Reservation(lease, plan.budget.number - 1, policy, plan.environment, pipe)
    if plan.promise is not None:
        _guard(out, plan.promise)
    elif plan.brief and policy == "valve":
        out.prepare = _bounded_by_memory(plan, os.getpid())
    out.make = plan.make.name if plan.make is not None else b""
    out.wpa_asks = gcc_major(plan) >= WPA_ASKS
    if plan.settings.log:
        from . import record  # noqa: PLC0415  json costs 6 ms, and only the log needs it

        out.epilogue = record.epilogue(plan)
    return out


def _guard(reservation: handover.Reservation, promised: Promise) -> None:
    from .reserve import memory_ledger  # noqa: PLC0415  whoever has a promise has imported it

    reservation.lease = memory_ledger.GuardedLease(reservation.lease, promised, follows=reservation.policy != "confine")


def _bounded_by_memory(plan: Plan, link: int) -> Callable[[handover.Reservation], None]:
    """Return how the warden does what plan.make does for links without a valve: look at the memory before the first token is taken."""

    def prepare(reservation: handover.Reservation) -> None:
        promised = promise(plan, link)
        if promised is not None:
            _guard(reservation, promised)
            reservation.most = min([reservation.most, *(jobs - 1 for jobs, _ in promised.ceiling())])

    return prepare


def may_confine(plan: Plan) -> bool:
    """Tell whether the linker of this plan was seen to obey an explicit number of threads whatever CPUs it may use."""
    if not plan.settings.elastic:
        return False
    if plan.linker:
        return plan.linker in _OBEYS and _OBEYS[plan.linker] == 0
    return plan.family in _OBEYS and plan.tool is not None and plan.tool.major >= _OBEYS[plan.family]


def _falls_back(plan: Plan) -> bool:
    """Tell whether this link keeps the number it starts with; where it could have been elastic, the plan's reason says why it is not."""
    if not may_confine(plan):
        return True
    from .warden import confinement  # noqa: PLC0415  only a linker with something to share gets here

    obstacle = confinement.obstacle(os.getpid())
    _say_not_confined(plan, obstacle)
    return bool(obstacle)


def _say_not_confined(plan: Plan, reason: str) -> None:
    if reason:
        plan.reason += f"; not confined: {reason}"


def named_descriptors(environment: Environment) -> set[int]:
    """Collect every number in the *MAKEFLAGS: a descriptor of ours must not be one that somebody will take for a jobserver's."""
    text = b" ".join(environment.get(name) for name in AUTH_VARIABLES)
    digits = bytes(byte if 48 <= byte <= 57 else 32 for byte in text)
    return {int(number) for number in digits.split() if len(number) < 8}
