"""What all links of a report come to, and where each stands in its picture: sums, lanes and the time axis."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ldshim.cli.report import usage
from tests.support.logs import STEPS, Log, read


def test_sums_are_exact() -> None:
    """Thread seconds, the mean while any link ran, and the most at once follow from the steps of all links."""
    log = Log().link(7, 0.0, 4.0, STEPS).link(8, 2.0, 1.0, [[0.5, 3]]).link(9, 10.0, 1.0, [[0, 2]])
    found, _ = read(log)
    totals = usage.Totals(found)
    held = (1 + 4 * 2 + 2) + (0.5 + 3 * 0.5) + 2
    assert (3, 3, 6.0, 5.0, 1.5) == (totals.links, totals.ended, totals.wall, totals.busy, totals.waited)
    assert pytest.approx(held) == totals.held
    assert pytest.approx(held / 5) == totals.mean
    assert 4 + 3 == totals.most


def test_a_thread_that_was_passed_on_counts_once() -> None:
    """A warden notes things some milliseconds late: so short an overlap of two links is no second thread."""
    found, _ = read(Log().link(7, 0.0, 2.0, [[0, 1]]).link(8, 1.95, 1.0, [[0, 1]]))
    assert 1 == usage.Totals(found).most
    late, _ = read(Log().link(7, 0.0, 2.0, [[0, 1]]).link(8, 1.8, 1.0, [[0, 1]]))
    assert 2 == usage.Totals(late).most


SPANS = st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 100)), min_size=1, max_size=60)


@given(SPANS, st.floats(0, 10))
def test_bars_in_one_lane_do_not_overlap(spans: list[tuple[float, float]], least: float) -> None:
    """Each lane has one link at a time, and there are no more lanes than links at once."""
    timed = sorted((start, start + length) for start, length in spans)
    lanes = usage.lanes(timed, least)
    wide = [(start, max(end, start + least)) for start, end in timed]
    for lane in set(lanes):
        mine = [span for span, own in zip(wide, lanes) if own == lane]
        assert all(before[1] <= after[0] for before, after in zip(mine, mine[1:]))
    at_once = max(sum(start <= moment and (moment < end or moment == start) for start, end in wide) for moment, _ in wide)
    assert max(lanes) + 1 <= at_once


@given(SPANS)
@example([(0.0, 1e-180), (21.0, 0.0)])
def test_the_clock_keeps_order_and_links_whole(spans: list[tuple[float, float]]) -> None:
    """Places on the axis are in the order of time, from 0 to its length, and what lies within a link is to scale."""
    timed = sorted((start, start + length) for start, length in spans)
    clock = usage.Clock(timed)
    moments = sorted(moment for span in timed for moment in span)
    places = [clock.place(moment) for moment in moments]
    assert sorted(places) == places
    assert places[0] == 0.0
    assert places[-1] <= clock.length + 1e-6
    for start, end in timed:
        assert pytest.approx(end - start, abs=1e-6) == clock.place(end) - clock.place(start)


def test_a_long_break_is_cut() -> None:
    """An hour without a link takes a small part of the axis."""
    clock = usage.Clock([(0.0, 30.0), (3600.0, 3660.0)])
    assert clock.length < 100
