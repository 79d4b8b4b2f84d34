"""Hazards of counting time: a clock that stands, jumps, or counts other seconds, as libfaketime makes it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Callable

import pytest

from ldshim.call import clock
from tests.support import surroundings, tools
from tests.support.shim import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SLACK = clock.SLACK_SECONDS


WAIT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ldshim.call import clock
outside, before, inside = os.times().elapsed, clock.now(), os.times().elapsed
for _ in range(20):
    clock.sleep(0.01)
shortest, passed, longest = os.times().elapsed - inside, clock.now() - before, os.times().elapsed - outside
print(shortest, passed, longest, clock.is_true())
"""


class Times:
    """What a clock is read from: seconds that the test sets."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.faked = 0.0

    def clock(self) -> clock.Clock:
        """Return a clock over both."""
        return clock.Clock(lambda: self.faked, lambda: 5000 + self.passed // 0.01 * 0.01)


def test_a_clock_that_is_right_is_believed_to_the_millisecond() -> None:
    """Between two ticks of 10 ms the clock counts."""
    times = Times()
    it = times.clock()
    began = it.now()
    for _ in range(1000):
        times.passed += 0.001
        times.faked += 0.001
        assert times.passed == pytest.approx(it.now() - began, abs=1e-6)


WAYS: dict[str, Callable[[float, int], float]] = {
    "stands": lambda _, __: 1577836800.0,
    "jumps": lambda passed, turn: passed + (turn % 3 - 1) * 3600,
    "races": lambda passed, _: passed * 1000,
    "creeps": lambda passed, _: passed / 1000,
    "runs back": lambda passed, _: -passed,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_clock_is_corrected(way: str) -> None:
    """Whatever the clock says, what is counted is what passes, and never less than before."""
    times = Times()
    it = times.clock()
    times.faked = WAYS[way](0.0, 0)
    last = began = it.now()
    for turn in range(1, 1000):
        times.passed += 0.007
        times.faked = WAYS[way](times.passed, turn)
        now = it.now()
        assert last <= now
        assert times.passed == pytest.approx(now - began, abs=2 * SLACK)
        last = now


@pytest.mark.parametrize("name", ["frozen-clock", "jumping-clock", "frozen-times"])
def test_time_passes_in_a_real_process(name: str, tmp_path: Path) -> None:
    """A fifth of a second of waiting is one, however the C library's clock is replaced; and the CPU clocks are tried."""
    surroundings.need((name,))
    preload = surroundings.build_preload(tmp_path, tools.need_c_library())
    line = [*surroundings.command((name,), preload), sys.executable, "-c", WAIT, str(ROOT)]
    said = subprocess.run(line, stdout=subprocess.PIPE, check=True, timeout=60).stdout.split()
    shortest, passed, longest = map(float, said[:3])
    assert shortest - 3 * SLACK < passed < longest + 3 * SLACK
    assert b"False" == said[3]


def test_the_clock_of_this_machine_is_true() -> None:
    """Without any of that the clock moves, and a process's CPU time is asked of its clock."""
    assert (True, True) == (clock.is_true(), clock.cpu_clocks_are_true())
    assert os.times().elapsed > 0
