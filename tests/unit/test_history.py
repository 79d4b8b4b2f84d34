"""Hazards of the log's account of a link: a record without bound, time counted twice."""

from __future__ import annotations

from ldshim.warden import history


def test_each_change_is_a_step_with_the_implicit_thread() -> None:
    """What does not change is no step; the first is what was held at the start."""
    course = history.History(100.0)
    for seconds, tokens in ((100.0, 2), (100.5, 2), (101.25, 3), (102.0, 0)):
        course.note(seconds, tokens, wants=False)
    assert [[0.0, 3], [1.25, 4], [2.0, 1]] == course.steps


def test_waiting_ends_with_the_look_that_sees_it_end() -> None:
    """Time counts as waited from a look that wanted more to the next look, whatever that one sees."""
    course = history.History(0.0)
    for seconds, wants in ((0.0, False), (1.0, True), (1.5, True), (2.0, False), (5.0, False)):
        course.note(seconds, 1, wants=wants)
    assert course.waited == 1.0


def test_a_restless_link_keeps_its_shape_in_bounded_space() -> None:
    """Beyond 512 steps every other one goes: the first stays, the order stays, and the end is near the end."""
    course = history.History(0.0)
    for number in range(5000):
        course.note(float(number), number, wants=False)
    times = [step[0] for step in course.steps]
    assert len(times) <= history.STEPS
    assert sorted(times) == times
    assert (0.0, True) == (times[0], times[-1] > 4900)
