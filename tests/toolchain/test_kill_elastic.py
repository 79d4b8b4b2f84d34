"""Hazards of a link that dies while its reservation moves: a token half way, a mask half set, a CPU's name that nobody gives back.

Real lld and GCC links over counted pools, killed just after they grew, just after they shrank, and while the policy only ticks, by every
signal, the link alone and its whole group: every pair of moment, signal and victim, 15 links of each (rows.py). Afterwards the pool is
recounted (pool.py), no CPU name is locked and no process is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING, Callable

import pytest

from tests.support import tools
from tests.support.flight import GCC, LLD, marked, wait_for
from tests.support.observe import Gate
from tests.support.pool import Pool
from tests.support.program import PARTITIONS
from tests.support.rows import rows
from tests.support.spin import Spinning, recounted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV, signal.SIGHUP]
MOMENTS = ["just grown", "just shrunk", "ticking"]
KILLS: dict[str, Callable[[int, int], None]] = {"the link": os.kill, "the group": os.killpg}
TOKENS = b"\x00a\xff"


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Path]:
    """Provide a runtime directory, recounted."""
    yield from recounted(tmp_path / "runtime")


@pytest.mark.parametrize(("moment", "number", "whom"), rows(MOMENTS, SIGNALS, KILLS), ids=lambda value: getattr(value, "name", value))
def test_a_confined_link_killed_while_it_moves(
    moment: str, number: signal.Signals, whom: str, shim: Shim, program: Program, runtime: Path, tmp_path: Path
) -> None:
    """C3, C14, C21: make sees the signal, the tokens are back as they were, and the CPU's name is free."""
    with Pool(TOKENS, style=("pipe", "fifo")[number % 2]) as pool:
        elsewhere = pool.take(len(TOKENS))
        link = Spinning(LLD, shim, program, tmp_path / "link", pool, XDG_RUNTIME_DIR=str(runtime))
        try:
            link.wait_for_width(1)
            if moment != "ticking":
                pool.give(elsewhere)
                elsewhere = b""
                link.wait_for_width(2)
            if moment == "just shrunk":
                link.rest()
                wait_for(lambda: pool.available() == len(TOKENS))
            # LLVM's handler takes a SIGSEGV that was sent for a fault that will happen again; the second one ends it.
            while link.process.poll() is None:
                KILLS[whom](link.process.pid, number)
                try:
                    link.process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
            assert -number == link.process.returncode
            wait_for(lambda: marked(link.place) == {})
        finally:
            pool.give(elsewhere)
            link.close()


@pytest.mark.parametrize(("moment", "number", "whom"), rows(MOMENTS, SIGNALS, KILLS), ids=lambda value: getattr(value, "name", value))
def test_a_gcc_link_killed_while_its_valve_moves(
    moment: str, number: signal.Signals, whom: str, shim: Shim, program: Program, tmp_path: Path
) -> None:
    """C3, C14, C21: compilers that outlive a driver keep their tokens to their end; then every one is back."""
    real = tools.need(GCC)
    gate = Gate(tmp_path / "gate", real)
    objects = program.objects(real, "-O1", "-flto")
    command = [shim.named(GCC), "-O1", "-flto=auto", *PARTITIONS, gate.flag, *objects, "-o", str(tmp_path / "out")]
    with Pool(TOKENS, style=("pipe", "fifo")[number % 2]) as pool:
        elsewhere = pool.take(1 if moment == "just grown" else 0)
        env = shim.on(1 + len(TOKENS), MAKEFLAGS=pool.makeflags, TMPDIR=str(tmp_path))
        link = subprocess.Popen(command, env=env, pass_fds=pool.pass_fds, start_new_session=True, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: gate.alive() == 1 + len(TOKENS) - len(elsewhere))
            if moment == "just grown":
                pool.give(elsewhere)
                elsewhere = b""
                wait_for(lambda: gate.alive() == 1 + len(TOKENS))
            elif moment == "just shrunk":
                gate.open()
                wait_for(lambda: pool.available() > 0 or link.poll() is not None)
            if link.poll() is None:
                KILLS[whom](link.pid, number)
            # Between the last token's return and the signal a quick link may have ended.
            assert link.wait() in ((-number,) if moment != "just shrunk" else (-number, 0))
        finally:
            pool.give(elsewhere)
            gate.open()
            link.wait()
            gate_closed = pool.settled(60)
            gate.shut()
        assert gate_closed
