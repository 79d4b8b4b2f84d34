"""A link must not be given more jobs than there is memory for, whoever offers the threads (C17)."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from ldshim.call.environment import Settings
from ldshim.decide import budget, memory_estimate
from ldshim.decide.budget import Limits
from ldshim.decide.memory_estimate import Footprint
from ldshim.decide.mode import Mode
from ldshim.inputs.findings import Findings
from ldshim.reserve import memory, promises
from ldshim.reserve.lease import Lease
from tests.support import tools
from tests.support.flight import LLD, GccFlight, LldFlight, wait_for
from tests.support.observe import LINGER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

MB, GB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (10 * GB, (8, "memory: 8 jobs of 1.0 GB in 10.0 GB")),
        (3 * GB, (1, "memory: 1 job of 1.0 GB in 3.0 GB")),
        (700 * MB, (1, "memory: 1 job of 1.0 GB in 700 MB")),
        (-5, (1, "memory: 1 job of 1.0 GB in 0 MB")),
    ],
)
def test_the_ceiling_is_what_is_left_after_the_base(size: int, expected: tuple[int, str]) -> None:
    """C17, C18: what the link itself needs comes off first, then each job its part; one job is always allowed."""
    assert expected == Footprint(2 * GB, GB).ceiling(size)


def test_a_number_of_the_users_replaces_the_estimate() -> None:
    """C17: LDSHIM_MEM_PER_JOB is what a job costs, and nothing else is counted."""
    found = Findings()
    found.gcc_bytes = found.llvm_bytes = 1 << 40
    need = memory_estimate.of_link("gcc", found, 128, GB)
    assert (GB, 4 * GB, 4) == (need.of(1), need.of(4), need.ceiling(4 * GB)[0])


@pytest.mark.parametrize("source", ["jobserver", "recovered", "slots", "none"])
def test_memory_bounds_every_source(source: str) -> None:
    """C17: a jobserver's tokens stand for CPUs, so memory bounds them as well as our own choice."""
    limits = Limits(64, "64 CPUs", [])
    limits.memory = [(3, "memory: 3 jobs of 1.2 GB in 4.0 GB")]
    found = budget.for_lto(Mode("thin", 100, ""), Settings(), Lease(source, "x"), limits, 32)
    assert (3, True) == (found.number, "memory: 3 jobs of 1.2 GB in 4.0 GB" in found.reason)


def test_a_pin_is_the_users_own_business() -> None:
    """C11, C17: LDSHIM_JOBS is obeyed whatever the memory is."""
    settings = Settings()
    settings.jobs = 9
    limits = Limits(64, "64 CPUs", [])
    limits.memory = [(3, "memory")]
    assert 9 == budget.for_lto(Mode("thin", 100, ""), settings, None, limits, 0).number


@pytest.fixture
def third() -> str:
    """Provide a size for LDSHIM_MEM_PER_JOB of which two jobs fit in this machine's memory and three do not, whoever else breathes."""
    left = memory.available()
    assert left is not None
    return str(left * 2 // 5)


def explained(shim: Shim, program: Program, place: Path, **more: str) -> dict[str, object]:
    """Ask `ldshim explain` about a ThinLTO link of the test program."""
    objects = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    command = [shim.command, "explain", "--json", "--", tools.need(LLD), "-r", *objects, "-o", str(place / "out")]
    answer = subprocess.run(command, env={**shim.environment(), **more}, stdout=subprocess.PIPE, check=True).stdout
    said: dict[str, object] = json.loads(answer)
    return said


def test_explain_says_that_memory_is_what_bounds_the_link(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C17: the reason names the jobs, the size of one and the memory there is; the pin shows neither."""
    said = explained(shim, program, tmp_path, LDSHIM_MEM_PER_JOB="900G")
    assert (1, True) == (said["granted"], "memory: 1 job of 900.0 GB in" in str(said["reason"]))
    pinned = explained(shim, program, tmp_path, LDSHIM_MEM_PER_JOB="900G", LDSHIM_JOBS="5")
    assert (5, False) == (pinned["granted"], "memory" in str(pinned["reason"]))


def test_gcc_runs_no_more_jobs_than_memory_allows(shim: Shim, program: Program, third: str, tmp_path: Path) -> None:
    """C17: with three tokens to be had and memory for two jobs, two LTRANS jobs run and two tokens are left to others."""
    flight = GccFlight("make44-fifo", shim, program, tmp_path / "flight", jobs=2, LDSHIM_MEM_PER_JOB=third)
    try:
        time.sleep(LINGER)
        left = flight.tokens()
        flight.go()
        flight.count(4)
        assert 0 == flight.release_keeper()
        assert (2, 2) == (flight.gate.peak(), left)
    finally:
        flight.close()


def promised(runtime: Path) -> list[int]:
    """Read the book: what every promise says, in bytes."""
    return [promises.parse(b"", path.read_bytes()).needs for path in (runtime / "ldshim").glob("memory-*")]


def test_links_in_flight_share_the_memory(shim: Shim, program: Program, third: str, tmp_path: Path) -> None:
    """C17: while a link that was promised two jobs runs, the next is granted one; when it is over nothing is promised any more."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(0o700)
    flight = LldFlight("make43-pipe", shim, program, tmp_path / "flight", XDG_RUNTIME_DIR=str(runtime), LDSHIM_MEM_PER_JOB=third)
    try:
        first = promised(runtime)
        beside = explained(shim, program, tmp_path, XDG_RUNTIME_DIR=str(runtime), LDSHIM_MEM_PER_JOB=third)
        flight.go()
        wait_for(lambda: not list((runtime / "ldshim").glob("memory-*")))
        assert 0 == flight.release_keeper()
    finally:
        flight.close()
    assert [2 * int(third)] == pytest.approx(first, abs=64 * MB)  # what the link uses already is taken off
    assert (1, True) == (beside["granted"], "memory: 1 job" in str(beside["reason"]))
