"""Collect what bounds a number besides what the link can use: CPUs, and the ceilings that other tools' variables set (C11)."""

from __future__ import annotations

from ..call.environment import ceiling_from_builders
from ..decide.budget import Limits
from . import cpus, makeflags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.environment import Environment


def collect(environment: Environment) -> Limits:
    """Return the limits of this process, those of memory left out."""
    named = [ceiling_from_builders(environment), (makeflags.parse(environment.get(b"MAKEFLAGS")).jobs, "MAKEFLAGS' -j")]
    return Limits(*cpus.counted(), [(number, origin) for number, origin in named if number])
