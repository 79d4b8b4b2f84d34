"""A real link whose threads compute until the test lets them go.

The problem: a confined link is to be looked at while it has threads that could use another CPU, and the test program keeps lld busy for a
tenth of a second. The consequence: fixtures/program/spin.c, preloaded, adds threads to the linker that spin, or rest, until the test lets
it go on; then it ends as any other, and its output is what it is without all this.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import tools
from tests.support.flight import marked, wait_for
from tests.support.program import FIXTURE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.pool import Pool
    from tests.support.program import Program
    from tests.support.shim import Shim


def two_cpus() -> list[str]:
    """Return the words in front of a command that give it two CPUs."""
    mask = sorted(os.sched_getaffinity(0))
    if len(mask) < 2:
        tools.missing("a second CPU")
    return [tools.need("taskset"), "-c", f"{mask[0]},{mask[1]}"]


class Spinning:
    """One link of the test program by an lld (or ld.gold with LLVM's plugin), on two CPUs, in a session of its own.

    pool: a jobserver, None for the host's slots; place: an empty directory of the test's; line: without its program and the name of its
    output, None for a ThinLTO link; more: variables.
    """

    def __init__(
        self,
        linker: str,
        shim: Shim,
        program: Program,
        place: Path,
        pool: Pool | None = None,
        line: list[str] | None = None,
        **more: str,
    ) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self.out = place / "out"
        self.line = spelled(linker, program) if line is None else line
        library = place / "spin.so"
        command = [
            tools.need_c_library(),
            "-shared",
            "-fPIC",
            "-O1",
            "-Wall",
            "-Werror",
            str(FIXTURE / "spin.c"),
            "-o",
            str(library),
            "-ldl",
        ]
        subprocess.run(command, check=True)
        env = {**shim.environment(LD_PRELOAD=str(library), SPIN=str(place), FLIGHT=str(place)), **more}
        if pool is not None:
            env["MAKEFLAGS"] = pool.makeflags
        self.real = tools.need(linker)
        self.process = subprocess.Popen(
            [*two_cpus(), shim.command, self.real, *self.line, str(self.out)],
            env=env,
            pass_fds=pool.pass_fds if pool is not None else (),
            start_new_session=True,
        )

    def mask(self) -> set[int]:
        """Return the CPUs that the threads of the link may use, all together; before they are there, none."""
        try:
            tids = [int(tid) for tid in os.listdir(f"/proc/{self.process.pid}/task")]
            return set().union(*map(os.sched_getaffinity, tids)) if len(tids) > 2 else set()
        except OSError:
            return set()

    def wait_for_width(self, cpus: int) -> None:
        """Wait until the threads may use so many CPUs."""
        wait_for(lambda: len(self.mask()) == cpus)

    def rest(self) -> None:
        """Make the threads idle."""
        (self.place / "rest").touch()

    def finish(self) -> int:
        """Let the link go on to its end: its status."""
        (self.place / "go").touch()
        return self.process.wait()

    def bare(self) -> bytes:
        """Link without ldshim: the bytes."""
        out = self.place / "bare"
        subprocess.run([self.real, *self.line, str(out)], check=True)
        return out.read_bytes()

    def grow_and_narrow(self, pool: Pool, token: bytes) -> None:
        """See that the link has one CPU, two once its pool has the token, gives that back when its threads rest, and ends well."""
        self.wait_for_width(1)
        pool.give(token)
        self.wait_for_width(2)
        assert 0 == pool.available()
        self.rest()
        wait_for(lambda: pool.available() == 1)
        self.wait_for_width(1)
        assert 0 == self.finish()

    def close(self) -> None:
        """End what is left of a link whose test failed, and wait for its warden."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        wait_for(lambda: marked(self.place) == {})


def spelled(linker: str, program: Program) -> list[str]:
    """Spell a link without its program and the name of its output."""
    if linker != "ld.gold":
        return ["-r", *program.objects(tools.clang_of(linker), "-O1", "-fPIC", "-flto=thin"), "-o"]
    plugin = Path(f"/usr/lib/llvm-{tools.major(tools.LLD)}/lib/LLVMgold.so")
    if not plugin.exists():
        tools.missing(str(plugin))
    return ["-shared", "-plugin", str(plugin), *program.objects(tools.clang_of(tools.LLD), "-O1", "-fPIC", "-flto=thin"), "-o"]


def recounted(place: Path) -> Iterator[Path]:
    """Make a runtime directory of one test's own, for a fixture to yield from; afterwards no slot and no CPU in it may be locked."""
    place.mkdir(mode=0o700)
    yield place
    wait_for(lambda: (locked(place, "cpu-"), locked(place, "slot-")) == ([], []))


def locked(runtime: Path, kind: str) -> list[str]:
    """Name the locks of a kind (`cpu-`, `slot-`) in a runtime directory that somebody holds."""
    found = []
    for path in (runtime / "ldshim").glob(f"{kind}*"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(path.name)
    return sorted(found)
