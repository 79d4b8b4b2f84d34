"""Rows of a matrix: every pair of values once, or all of them.

The problem: five columns of four values are a thousand links, and a defect seldom needs more than two of the values together. The
consequence: a matrix names its columns, and `rows` deals out as few rows as it can in which any two values of two columns stand together.
A value that matters in threes is a test of its own. LDSHIM_FULL=1 runs the whole product.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

FULL = bool(os.environ.get("LDSHIM_FULL"))


def rows(*columns: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Give the rows that are run: of `pairs`, or of the product under LDSHIM_FULL=1."""
    values = [list(column) for column in columns]
    return list(itertools.product(*values)) if FULL else pairs(*values)


def pairs(*columns: list[Any]) -> list[tuple[Any, ...]]:
    """Choose rows in which every two values of two columns stand together: greedily, and the same each time, as xdist needs it."""
    left = {row: _pairs_of(row) for row in itertools.product(*map(range, map(len, columns)))}
    missing = set().union(*left.values())
    chosen = []
    while missing:
        best = max(left, key=lambda row: len(left[row] & missing))
        missing -= left.pop(best)
        chosen.append(tuple(column[at] for column, at in zip(columns, best)))
    return chosen


def _pairs_of(row: tuple[int, ...]) -> frozenset[tuple[tuple[int, int], ...]]:
    return frozenset(itertools.combinations(enumerate(row), min(2, len(row))))
