"""A cgroup with a limit on memory, of either version, for real: what tests and benchmarks put links into.

Needs root, or a delegated directory, and a memory controller: where there is none, tests skip by name. In one of version 1 the kernel
counts what the bench wants to know under other names than in one of version 2; here they have one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ldshim.reserve import cgroups
from tests.support import tools

if TYPE_CHECKING:
    from types import TracebackType

# version: the limit, the peak, a file and its key for major faults, one for OOM kills
_FILES = {
    1: ("memory.limit_in_bytes", "memory.max_usage_in_bytes", ("memory.stat", "total_pgmajfault"), ("memory.oom_control", "oom_kill")),
    2: ("memory.max", "memory.peak", ("memory.stat", "pgmajfault"), ("memory.events", "oom_kill")),
}


def find() -> tuple[int, Path]:
    """Return (version, directory) in which we may make a cgroup with a limit, or skip the test."""
    places = [(version, Path(os.fsdecode(name))) for version, name in cgroups.directories(b"memory")]
    found = [
        (version, place)
        for version, place in places
        if os.access(place, os.W_OK) and (version == 1 or "memory" in _read(place / "cgroup.subtree_control").split())
    ]
    return found[0] if found else tools.missing("a memory cgroup that may be divided (root, or delegation)")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


class Container:
    """A cgroup of its own with a limit in bytes, below ours; a context manager."""

    def __init__(self, limit: int) -> None:
        version, above = find()
        self._limit, self._peak, self._faults, self._kills = _FILES[version]
        self.place = above / f"ldshim-test-{os.getpid()}-{time.monotonic_ns()}"
        self.place.mkdir()
        (self.place / self._limit).write_text(str(limit))

    def __enter__(self) -> Container:
        return self

    def enter(self) -> None:
        """Put the calling process into it, between fork and exec."""
        (self.place / "cgroup.procs").write_text(str(os.getpid()))

    def command(self, *words: str) -> list[str]:
        """Return a command that runs in it."""
        return ["/bin/sh", "-c", f'echo $$ > "{self.place}/cgroup.procs" && exec "$@"', "sh", *words]

    @property
    def identity(self) -> bytes:
        """Name it as a promise does."""
        found = self.place.stat()
        return b"%d:%d" % (found.st_dev, found.st_ino)

    def peak(self) -> int:
        """Return the most bytes that were used at once, page cache included."""
        return int(_read(self.place / self._peak) or 0)

    def count(self, what: tuple[str, str]) -> int:
        """Read one key of one file."""
        pairs = dict(line.split()[:2] for line in _read(self.place / what[0]).splitlines() if len(line.split()) > 1)
        return int(pairs.get(what[1], 0))

    def major_faults(self) -> int:
        """Count the pages that had to be read in again."""
        return self.count(self._faults)

    def kills(self) -> int:
        """Count the processes that the kernel killed for their memory."""
        return self.count(self._kills)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove it, once its last process is gone."""
        for _ in range(500):
            try:
                self.place.rmdir()
            except OSError:
                time.sleep(0.02)
            else:
                return
