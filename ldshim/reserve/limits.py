"""Collect the limits on a number apart from the demand: CPUs, and the ceilings in variables of other tools (C11)."""

from __future__ import annotations

from ..call.environment import ceiling_from_builders
from ..decide.budget import Limits
from . import cpus, makeflags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.environment import Environment, Settings


def collect(environment: Environment, settings: Settings) -> Limits:
    """Return the limits of this process, without those of memory."""
    named = [ceiling_from_builders(environment), (makeflags.parse(environment.get(b"MAKEFLAGS")).jobs, "MAKEFLAGS' -j")]
    return Limits(*cpus.counted(replaced_by=settings.cpus), [(number, origin) for number, origin in named if number])


def own_jobs(there: int) -> list[tuple[int, str]]:
    """Return how many ThinLTO jobs LLVM starts without a number: one for each core. there: threads free in a jobserver, 0 without one.

    A second job on a core with SMT is worth its memory only if the jobserver has tokens for it.
    """
    return [(max(cpus.cores(), there), "the physical cores, LLVM's own choice")]
