"""Carry a plan out, up to the exec: reserve, and write the number down.

GCC gets its private jobserver in every case, also with one job and also with a pin, because the number holds by nothing else. Who fills
the pipe differs: the warden's valve while a build's jobserver works (the link grows and shrinks with the build), or N-1 tokens at once.
Linkers with a fixed number of threads get what the warden could take at the start.
"""

from __future__ import annotations

import os

from . import handover, private, rewrite
from .plan import AUTH_VARIABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .environ import Environment
    from .plan import Plan


class Outcome:
    """What a plan came to. granted: threads, the implicit one counted, 0 when nothing was decided; args, environment: for the tool.

    It also holds what must be undone if the tool cannot be executed that way.
    """

    __slots__ = ("_hidden", "_pipe", "_to_hide", "args", "edits", "environment", "granted")

    def __init__(self, args: list[bytes], environment: Environment) -> None:
        self.args = args
        self.environment = environment
        self.granted = 0
        self.edits = rewrite.Edits()
        self._pipe: private.Private | None = None
        self._to_hide: tuple[int, ...] = ()
        self._hidden: list[int] = []

    def use_private(self, pipe: private.Private, callers_fds: tuple[int, ...]) -> None:
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
        pipe = private.create(avoid)
        outcome.use_private(pipe, plan.source.callers_fds if plan.source is not None else ())
        held = _feed(plan, outcome, pipe, avoid)
        auth = pipe.auth()
        inherited = held.life_fd if held is not None else pipe.write_fd
        outcome.edits.variables[handover.HELD] = handover.marker(inherited)
    elif _shares(plan):
        if may_confine(plan) and plan.promise is not None:
            # Confined threads run one after the other, but each of them holds a module: memory is taken for all that it is told.
            outcome.granted = plan.promise.resize(plan.budget.number)
            if outcome.granted < plan.budget.number:
                plan.budget.number = outcome.granted
                plan.reason += f"; {outcome.granted}, for the memory was promised to others meanwhile"
        held = handover.leave_warden(_reservation(plan, "confine" if may_confine(plan) else "fixed"), avoid)
        if held is None or not held.elastic:
            outcome.granted = 1 + (held.taken if held is not None else 0)
        if held is not None:
            outcome.edits.variables[handover.HELD] = handover.marker(held.life_fd)
    write_edits(plan, outcome, auth)


def preview(plan: Plan, outcome: Outcome) -> None:
    """Write into outcome what carry_out would, as far as that can be told without reserving; `R,W` stands for the private pipe."""
    if plan.budget is None or plan.mode is None:
        return
    outcome.granted = plan.budget.number
    elastic = may_confine(plan) or (plan.mode.lto == "gcc" and plan.settings.elastic)
    client = plan.source.client if plan.source is not None else None
    if client is not None and not elastic:
        outcome.granted = 1 + min(client.available(), plan.budget.number - 1)
    write_edits(plan, outcome, b"R,W" if plan.mode.lto == "gcc" else b"")


def _feed(plan: Plan, outcome: Outcome, pipe: private.Private, avoid: set[int]) -> handover.Left | None:
    """Fill GCC's private jobserver at once, or leave a warden that feeds it."""
    held = None
    if _shares(plan):
        policy = "valve" if plan.settings.elastic else "fixed"
        held = handover.leave_warden(_reservation(plan, policy, pipe), avoid)
        if held is not None and held.elastic:
            return held
        outcome.granted = 1 + (held.taken if held is not None else 0)
    pipe.fill(outcome.granted - 1)
    return held


def write_edits(plan: Plan, outcome: Outcome, auth: bytes) -> None:
    """Write the number that was granted in the tool's own words. auth: the private jobserver's, b"" when there is none."""
    facts, edits, number = plan.facts, outcome.edits, outcome.granted
    assert facts is not None
    assert plan.mode is not None
    thin = plan.mode.lto == "thin"
    if auth:
        rewrite.show_private(edits, auth, number, plan.environment)
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


def _shares(plan: Plan) -> bool:
    """Tell whether there is something to take from others, and a use for it."""
    assert plan.budget is not None
    return plan.source is not None and plan.source.lease.source != "none" and plan.budget.number > 1


def _reservation(plan: Plan, policy: str, pipe: private.Private | None = None) -> handover.Reservation:
    assert plan.source is not None
    assert plan.budget is not None
    lease = plan.source.lease
    if plan.promise is not None:
        from .reserve import ledger  # noqa: PLC0415

        lease = ledger.GuardedLease(lease, plan.promise, follows=policy != "confine")
    out = handover.Reservation(lease, plan.budget.number - 1, policy, plan.environment, pipe)
    if plan.settings.log:
        from . import explain  # noqa: PLC0415  json costs 6 ms, and only the log needs it

        out.epilogue = explain.epilogue(plan)
    return out


def may_confine(plan: Plan) -> bool:
    """Tell whether the linker of this plan was seen to obey an explicit number of threads whatever CPUs it may use: lld 14 to 19."""
    return plan.settings.elastic and (plan.linker or plan.family) == "lld"


def named_descriptors(environment: Environment) -> set[int]:
    """Collect every number in the *MAKEFLAGS: a descriptor of ours must not be one that somebody will take for a jobserver's."""
    text = b" ".join(environment.get(name) for name in AUTH_VARIABLES)
    digits = bytes(byte if 48 <= byte <= 57 else 32 for byte in text)
    return {int(number) for number in digits.split() if len(number) < 8}
