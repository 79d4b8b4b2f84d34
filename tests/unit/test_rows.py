"""Hazard: a matrix that runs fewer rows than its columns promise, or other rows on each worker."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import pairs

COLUMNS = st.lists(st.integers(1, 4).map(lambda size: list(range(size))), min_size=1, max_size=4)


@given(COLUMNS)
def test_every_two_values_of_two_columns_stand_together_in_a_row(columns: list[list[int]]) -> None:
    """No pair is lost, every value of a single column is there, and no row is there twice."""
    found = pairs(*columns)
    for one, two in itertools.combinations(range(len(columns)), 2):
        assert set(itertools.product(columns[one], columns[two])) == {(row[one], row[two]) for row in found}
    assert [set(column) for column in columns] == [set(values) for values in zip(*found)]
    assert len(set(found)) == len(found)
    assert found == pairs(*columns)
