"""Collect what bounds a number besides what the link can use: CPUs, and the ceilings that other tools' variables set (C11)."""

from __future__ import annotations

from ..call.environment import ceiling_from_builders
from ..decide.budget import Limits
from . import cpus, makeflags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.environment import Environment, Settings


def collect(environment: Environment, settings: Settings) -> Limits:
    """Return the limits of this process, those of memory left out."""
    named = [ceiling_from_builders(environment), (makeflags.parse(environment.get(b"MAKEFLAGS")).jobs, "MAKEFLAGS' -j")]
    return Limits(*cpus.counted(said=settings.cpus), [(number, origin) for number, origin in named if number])


def own_jobs(there: int) -> list[tuple[int, str]]:
    """Return how many ThinLTO jobs LLVM starts without a number: one for each core. there: threads that a jobserver has now, 0 without one.

    SMT makes one job more on each core worth its memory only where somebody has tokens for so many.
    """
    return [(max(cpus.cores(), there), "the physical cores, LLVM's own choice")]
