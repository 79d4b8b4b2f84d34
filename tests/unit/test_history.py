"""Hazards of the log's account of a link: a record without bound, time counted twice, a link that needs no second line."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from ldshim.warden import history
from tests.support import tools
from tests.support.flight import wait_for
from tests.support.pool import Pool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

LLD = tools.LLD


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


def records(path: Path) -> list[dict[str, Any]]:
    """Read a log."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def test_a_real_link_writes_both_lines(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C14: the second line comes when every token is back, and tells the course; both carry the keys of the design."""
    log = tmp_path / "log"
    objects = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    with Pool(b"\x00a\xff") as pool:
        env = shim.on(4, MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(log), LDSHIM_ELASTIC="0")
        command = [shim.named(LLD), "-r", "--thinlto-jobs=3", *objects, "-o", str(tmp_path / "out")]
        subprocess.run(command, env=env, pass_fds=pool.pass_fds, check=True, cwd=tmp_path)
        wait_for(lambda: len(records(log)) == 2)
        begin, end = records(log)
        pool_name = f"pipe {pool.read_fd},{pool.write_fd}"
    assert (3, 3, "fixed", pool_name, str(tmp_path)) == tuple(begin[key] for key in ("asked", "granted", "policy", "pool", "cwd"))
    assert (begin["pid"], 3, 0.0, 3) == (end["pid"], end["peak"], end["waited"], end["steps"][0][1])
    assert 0 < end["cpu"] <= end["wall"]


def test_a_link_that_holds_nothing_writes_one_line(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C18: with no token there and nothing that could grow, no warden stays to write an end."""
    log = tmp_path / "log"
    objects = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    with Pool(b"a") as pool:
        elsewhere = pool.take(1)
        env = shim.environment(MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(log), LDSHIM_ELASTIC="0")
        subprocess.run([shim.named(LLD), "-r", *objects, "-o", str(tmp_path / "out")], env=env, pass_fds=pool.pass_fds, check=True)
        pool.give(elsewhere)
    assert [("handover", 1, "none")] == [(record["event"], record["granted"], record["policy"]) for record in records(log)]
