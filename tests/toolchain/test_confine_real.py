"""Hazards of confining real linkers: threads that stay narrow, two links on one CPU, a share never given up, strangers beside us."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ldshim.call.environment import Environment
from ldshim.reserve.lease import Lease
from ldshim.warden import confinement as confinement_module
from tests.support import tools
from tests.support.flight import wait_for
from tests.support.pool import Pool
from tests.support.spin import Spinning, locked, recounted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

LINKERS = [*tools.llds(), "ld.gold"]
FIRST = tools.llds()[0]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Path]:
    """Provide a runtime directory, recounted."""
    yield from recounted(tmp_path / "runtime")


@pytest.mark.parametrize("style", ["pipe", "fifo"])
@pytest.mark.parametrize("linker", LINKERS)
def test_a_real_link_grows_and_narrows(linker: str, style: str, shim: Shim, program: Program, runtime: Path, tmp_path: Path) -> None:
    """C4, C14, C20, C21: every thread is widened when a token comes, narrowed when they rest, and the bytes are those of the bare link."""
    with Pool(b"\x07", style=style) as pool:
        elsewhere = pool.take(1)
        link = Spinning(linker, shim, program, tmp_path / "link", pool, XDG_RUNTIME_DIR=str(runtime))
        try:
            link.grow_and_narrow(pool, elsewhere)
        finally:
            link.close()
    assert link.bare() == link.out.read_bytes()


@pytest.mark.parametrize("linker", LINKERS)
def test_two_links_that_start_apart_end_with_half_the_machine_each(
    linker: str, shim: Shim, program: Program, runtime: Path, tmp_path: Path
) -> None:
    """C16, C21: over slots the first yields when the second comes, they sit on different CPUs, and who is left has everything again."""
    links = [Spinning(linker, shim, program, tmp_path / "first", XDG_RUNTIME_DIR=str(runtime))]
    try:
        links[0].wait_for_width(2)
        links.append(Spinning(linker, shim, program, tmp_path / "second", XDG_RUNTIME_DIR=str(runtime)))
        wait_for(lambda: [len(link.mask()) for link in links] == [1, 1] and links[0].mask() != links[1].mask())
        wait_for(lambda: locked(runtime, "slot-") == ["slot-0", "slot-1"])
        assert 0 == links[0].finish()
        links[1].wait_for_width(2)
        assert 0 == links[1].finish()
    finally:
        for link in links:
            link.close()


class Nothing(Lease):
    """A lease that never has anything to give."""


def test_a_stranger_on_the_same_cpu_ends_the_confinement(
    shim: Shim, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C21: pinned spinners take most of the one CPU of a real link while another idles: its threads get the whole mask back for good."""
    # Whether the other CPU idles is this machine's business; that ours is contested is the test's.
    monkeypatch.setattr(confinement_module, "idle_seconds", lambda _: time.monotonic())
    link = Spinning(FIRST, shim, program, tmp_path / "link", LDSHIM_JOBS="2")
    spinners: list[subprocess.Popen[bytes]] = []
    try:
        link.wait_for_width(2)
        confinement = confinement_module.confine(link.process.pid, Nothing(), 1, Environment([]).get)
        assert not isinstance(confinement, str)
        confinement.tick(time.monotonic())
        (cpu,) = link.mask()
        pinned = [tools.need("taskset"), "-c", str(cpu), sys.executable, "-c", "while True: pass"]
        spinners += [subprocess.Popen(pinned) for _ in range(3)]
        deadline = time.monotonic() + 60
        while len(link.mask()) < 2 and time.monotonic() < deadline:
            time.sleep(confinement.tick(time.monotonic()))
        assert 2 == len(link.mask())
        confinement.tick(time.monotonic() + 10)
        assert 2 == len(link.mask())
        confinement.end([])
        assert 0 == link.finish()
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
        link.close()


def test_what_a_cpu_idles_is_read_from_the_kernel() -> None:
    """The idle time of the CPUs of a mask grows with time at most so fast, and a CPU that is not there adds nothing."""
    cpus = os.sched_getaffinity(0)
    started, before = time.monotonic(), confinement_module.idle_seconds(cpus)
    time.sleep(0.2)
    grew, passed = confinement_module.idle_seconds(cpus) - before, time.monotonic() - started
    assert 0.0 == confinement_module.idle_seconds([1 << 20]) == confinement_module.idle_seconds([])
    assert 0.0 <= grew <= passed * len(cpus) + 0.1


OBEYED = 8


@pytest.mark.parametrize("linker", ["mold", "ld.gold"])
def test_only_a_linker_that_obeys_a_number_on_one_cpu_is_confined(linker: str, program: Program, tmp_path: Path) -> None:
    """C20: under a mask of one CPU gold and mold 3 start the threads they are told; mold 1.10 does not, and keeps a fixed number."""
    real = tools.need(linker)
    number = [f"--threads={OBEYED}"] if linker == "mold" else ["--threads", f"--thread-count={OBEYED}"]
    objects = program.objects(tools.need("gcc"), "-O1", "-fPIC")
    one_cpu = [tools.need("taskset"), "-c", str(min(os.sched_getaffinity(0)))]
    log = tmp_path / "strace"
    strace = [tools.need("strace"), "-f", "-o", str(log), "-e", "trace=clone,clone3"]
    subprocess.run([*one_cpu, *strace, real, "-shared", *number, *objects, "-o", str(tmp_path / "out")], check=True)
    obeys = linker == "ld.gold" or tools.version(real) >= (3,)
    assert (OBEYED - 1 if obeys else 0) == log.read_text().count("CLONE_THREAD")
