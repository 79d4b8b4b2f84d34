"""Hazard: a link whose backends run on a real service, and gives other bytes than in process, or hangs, or fails where the service does.

buildbox-casd runs the actions; ldshim, lld 23 and gcc are the real ones. `tox -e remote` installs what is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import backends, remote_service, tools
from tests.support.pool import Pool
from tests.support.program import PARTITIONS, Program, sha256
from tests.support.remote_jobs import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.remote_service import Service
    from tests.support.shim import Shim

pytestmark = pytest.mark.remote
ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = 8


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Provide buildbox-casd."""
    remote_service.need_grpc()
    with remote_service.casd(tmp_path_factory.mktemp("casd")) as running:
        yield running


class Place:
    """A directory to link in, bare and with a service."""

    def __init__(self, shim: Shim, path: Path) -> None:
        self.shim = shim
        self.path = path
        self.log = path / "log"

    def thin(self) -> list[str]:
        """Compile ThinLTO modules that call one another: the line of a link of them."""
        llvm = backends.llvm()
        for number in range(MODULES):
            later = (number + 1) % MODULES
            text = f"int f{later}(int);\nint f{number}(int x) {{ return x > {number} ? f{later}(2 * x - {number} - x) : x; }}\n"
            (self.path / f"m{number}.c").write_text(text)
        sources = [f"m{number}.c" for number in range(MODULES)]
        subprocess.run([str(llvm / "clang"), "-O2", "-g", "-fPIC", "-flto=thin", "-c", *sources], cwd=self.path, check=True)
        (self.path / "ld.lld").symlink_to(llvm / "lld")
        return [str(self.path / "ld.lld"), "-shared", *(f"m{number}.o" for number in range(MODULES)), "-o", "out"]

    def bare(self, line: list[str]) -> str:
        """Link in process: the hash of the output."""
        subprocess.run(line, cwd=self.path, env=self.shim.environment(), check=True)
        return sha256(self.path / "out")

    def linked(self, line: list[str], port: int, *, rejected: bool = False, **more: str) -> tuple[str, list[str]]:
        """Link with the service: the hash of the output, and where each job ran."""
        self.log.unlink(missing_ok=True)
        with Pool(b"a") as pool:
            link = self.start(line, port, pool, **more)
            said = link.communicate()
        assert (link.returncode, said) == (0, (b"", b""))
        assert not rejected or "everything runs here" in self.log.read_text()
        return sha256(self.path / "out"), [job["where"] for job in backends.jobs(self.log)]

    def start(self, line: list[str], port: int, pool: Pool, **more: str) -> subprocess.Popen[bytes]:
        """Start a link with the service, with the interpreter of the tests, which has grpc."""
        environment = self.shim.environment(
            LDSHIM_REMOTE=f"grpc://127.0.0.1:{port}", LDSHIM_REMOTE_JOBS="16", LDSHIM_LOG=str(self.log), MAKEFLAGS=pool.makeflags,
            PYTHONPATH=str(ROOT), **more,
        )  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "ldshim", *line], cwd=self.path, env=environment, pass_fds=pool.pass_fds,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


@pytest.fixture
def place(shim: Shim, tmp_path: Path) -> Place:
    """Provide a place to link in."""
    return Place(shim, tmp_path)


def test_c4_lld_s_modules_on_a_service_and_from_its_cache(place: Place, service: Service) -> None:
    """C4, C29: the bytes of the link in process, first from elsewhere, then from the cache; only what the slot here takes runs here."""
    line = place.thin()
    bare = place.bare(line)
    first, where = place.linked(line, service.port)
    assert bare == first
    assert len(where) == MODULES
    assert "there" in where
    second, where = place.linked(line, service.port)
    assert bare == second
    assert "cache" in where


@pytest.mark.parametrize("debug", [(), ("-g",)], ids=["plain", "debug"])
def test_c4_gcc_s_partitions_on_a_service(place: Place, service: Service, program: Program, debug: tuple[str, ...]) -> None:
    """C4: with -g as well, whose compilation directory is the caller's."""
    objects = program.objects(tools.need(tools.GCC), "-O1", *debug, "-flto")
    line = [tools.GCC, "-O1", *debug, "-flto=4", *PARTITIONS, *objects, "-o", "out"]
    bare = place.bare(line)
    ours, where = place.linked(line, service.port)
    assert bare == ours
    assert "there" in where


def test_the_doctor_asks_the_service_what_it_can_do(place: Place, service: Service) -> None:
    """What a link would find; the service answers here."""
    command = [sys.executable, "-m", "ldshim", "doctor", "--json"]
    env = {**os.environ, "LDSHIM_REMOTE": f"grpc://127.0.0.1:{service.port}", "PYTHONPATH": str(ROOT)}
    said = subprocess.run(command, env=env, cwd=place.path, stdout=subprocess.PIPE, check=False)
    assert "" == json.loads(said.stdout)["remote"]["reason"]


def test_c30_no_service_is_as_if_nothing_had_been_set(place: Place) -> None:
    """C30: nobody listens, and every backend runs here."""
    line = place.thin()
    bare = place.bare(line)
    ours, where = place.linked(line, remote_service.free_port(), rejected=True)
    assert bare == ours
    assert ["here"] * MODULES == where


@pytest.mark.parametrize("options", ["--fault empty", "--fault poisoned", "--fault sentence", "--fault full", "--fault die", "--workers 0"])
def test_c29_whatever_the_service_does_the_bytes_and_texts_are_those_of_the_plain_link(
    place: Place, program: Program, tmp_path: Path, options: str
) -> None:
    """C29, C30: outputs that are none, a full server, one that dies in the middle, and one on which nothing ever starts."""
    remote_service.need_grpc()
    line = [tools.GCC, "-O1", "-flto=4", *PARTITIONS, *program.objects(tools.need(tools.GCC), "-O1", "-flto"), "-o", "out"]
    bare = place.bare(line)
    (tmp_path / "service").mkdir()
    with remote_service.running(tmp_path / "service", *options.split()) as service:
        ours, where = place.linked(line, service.port, LDSHIM_REMOTE_PATIENCE="1")
    assert bare == ours
    assert "here" in where


def test_c31_a_link_that_is_killed_cancels_what_runs_elsewhere(place: Place, program: Program, tmp_path: Path) -> None:
    """C31: SIGKILL to the driver; its executor cancels every operation, ends, and every token is back."""
    remote_service.need_grpc()
    objects = program.objects(tools.need(tools.GCC), "-O1", "-flto")
    line = [tools.GCC, "-O1", "-flto=4", *PARTITIONS, *objects, "-o", "out"]
    (tmp_path / "service").mkdir()
    slow = ("--seconds", "60", "--object", objects[0])
    with Pool(b"a") as pool, remote_service.running(tmp_path / "service", *slow) as service:
        link = place.start(line, service.port, pool)
        until(lambda: len(service.events("work")) >= 3)
        executor = backends.below(link.pid, "ldshim-backends")
        link.kill()
        link.communicate(timeout=60)
        assert [] == backends.alive(executor)
        assert len(executor) == 1
        until(lambda: len(service.events("cancel")) >= 3)
