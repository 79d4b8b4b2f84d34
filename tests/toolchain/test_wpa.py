"""Hazards of WPA, GCC's serial part: it writes its partitions out by forks of its own, for which GCC 13 and later takes tokens.

fixtures/program/partitions.c, preloaded, says which process wrote which partition, and holds the first until the test has seen what WPA is
given meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import tools
from tests.support.flight import wait_for
from tests.support.observe import LINGER
from tests.support.pool import Pool
from tests.support.program import FIXTURE, PARTITIONS, sha256

if TYPE_CHECKING:
    from tests.support.program import Program
    from tests.support.shim import Shim

ASKS = 13  # the first GCC whose WPA takes a token for each fork


class Writers:
    """The preloaded log. place: an empty directory of the test's."""

    def __init__(self, place: Path) -> None:
        self.log = place / "partitions"
        self.gate = place / "partitions.gate"
        os.mkfifo(self.gate)
        self.library = place / "partitions.so"
        command = [tools.need_c_library(), "-shared", "-fPIC", "-O1", "-Wall", "-Werror", str(FIXTURE / "partitions.c")]
        subprocess.run([*command, "-o", str(self.library), "-ldl"], check=True)

    def environment(self) -> dict[str, str]:
        """Give the variables that make every WPA below log and wait."""
        return {"LD_PRELOAD": str(self.library), "PARTITIONS_LOG": str(self.log), "PARTITIONS_GATE": str(self.gate)}

    def pids(self) -> list[int]:
        """List who wrote the partitions that have been begun, in the order of the partitions."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [int(pid) for _, pid in sorted((int(line.split()[1]), line.split()[0]) for line in lines)]

    def finish(self, link: subprocess.Popen[bytes], pool: Pool, elsewhere: bytes) -> int:
        """Give the other jobs' tokens back, let the link go, and wait for it: its status."""
        pool.give(elsewhere)
        gate = os.open(self.gate, os.O_RDWR | os.O_CLOEXEC)
        status = link.wait()
        os.close(gate)
        return status


@pytest.mark.parametrize("style", ["pipe", "fifo"])
@pytest.mark.parametrize("gcc", tools.gccs())
def test_the_writers_of_wpa_hold_no_more_than_there_is(gcc: str, style: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C14, C19, C21: GCC 13 is offered a token once WPA writes, and forks with it; one that forks unasked is confined to the CPUs held."""
    real, writers = tools.need(gcc), Writers(tmp_path)
    asks = tools.version(real)[0] >= ASKS
    if not asks and len(os.sched_getaffinity(0)) < 2:
        tools.missing("a second CPU")
    objects = program.objects(real, "-O1", "-flto")
    line = ["-O1", "-flto=auto", *PARTITIONS, *objects, "-o"]
    with Pool(b"\x00a\xff", style=style) as pool:
        elsewhere = pool.take(0 if asks else 3)
        env = shim.environment(MAKEFLAGS=pool.makeflags, **writers.environment())
        link = subprocess.Popen([shim.named(gcc), *line, str(tmp_path / "out")], env=env, pass_fds=pool.pass_fds)
        try:
            wait_for(lambda: len(writers.pids()) > 0)
            if asks:
                wait_for(lambda: pool.available() == 2)
            else:
                wait_for(lambda: len(os.sched_getaffinity(writers.pids()[0])) == 1)
        finally:
            status = writers.finish(link, pool, elsewhere)
    success, several = 0, len(set(writers.pids())) > 1
    assert (success, True) == (status, several)
    subprocess.run([real, *line, str(tmp_path / "bare")], env=shim.environment(), check=True)
    assert sha256(tmp_path / "bare") == sha256(tmp_path / "out")


@pytest.mark.parametrize("fixed", ["LDSHIM_JOBS=1", "LDSHIM_ELASTIC=0"])
@pytest.mark.parametrize("gcc", [gcc for gcc in tools.gccs() if tools.major(gcc) < ASKS] or ["gcc-12"])
def test_writers_that_fork_unasked_are_confined_to_a_fixed_number(
    gcc: str, fixed: str, shim: Shim, program: Program, tmp_path: Path
) -> None:
    """C14, C19: a pin of 1, or an empty jobserver and LDSHIM_ELASTIC=0: a warden that holds nothing keeps the writers on one CPU."""
    real, writers = tools.need(gcc), Writers(tmp_path)
    if len(os.sched_getaffinity(0)) < 2:
        tools.missing("a second CPU")
    line = ["-O1", "-flto=auto", *PARTITIONS, *program.objects(real, "-O1", "-flto"), "-o", str(tmp_path / "out")]
    with Pool(b"\x00a\xff") as pool:
        elsewhere = pool.take(3)
        name, _, value = fixed.partition("=")
        env = shim.environment(MAKEFLAGS=pool.makeflags, **writers.environment(), **{name: value})
        link = subprocess.Popen([shim.named(gcc), *line], env=env, pass_fds=pool.pass_fds)
        try:
            wait_for(lambda: len(writers.pids()) > 0)
            wait_for(lambda: len(os.sched_getaffinity(writers.pids()[0])) == 1)
        finally:
            status = writers.finish(link, pool, elsewhere)
    assert 0 == status


@pytest.mark.parametrize("gcc", tools.gccs())
def test_the_make_that_says_its_version_before_wpa_takes_nothing(gcc: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C21: lto-wrapper asks `make --version`, to know that there is one; a token lent to that would not be with anybody's job."""
    gate, asked, make = tmp_path / "gate", tmp_path / "asked", tmp_path / "make"
    os.mkfifo(gate)
    make.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {{ : >{asked}; : <{gate}; }}\nexec {tools.need("make")} "$@"\n')
    make.chmod(0o755)
    line = ["-O1", "-flto=auto", *PARTITIONS, *program.objects(tools.need(gcc), "-O1", "-flto"), "-o", str(tmp_path / "out")]
    with Pool(b"\x00a\xff") as pool:
        env = shim.environment(MAKEFLAGS=pool.makeflags, MAKE=str(make))
        link = subprocess.Popen([shim.named(gcc), *line], env=env, pass_fds=pool.pass_fds)
        try:
            wait_for(asked.exists)
            time.sleep(LINGER)
            assert 3 == pool.available()
        finally:
            opened = os.open(gate, os.O_RDWR | os.O_CLOEXEC)
            status = link.wait()
            os.close(opened)
    assert 0 == status
