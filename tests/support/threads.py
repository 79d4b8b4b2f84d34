"""How many threads a linker starts, exactly.

The problem: a backend thread lives as long as a module of the test program takes, a few milliseconds, so sampling /proc misses it; strace
sees it, but a pool of LLVM's starts its next thread only when none is idle, so quick modules hide the number it is allowed. The
consequence: fixtures/program/threads.c, preloaded, logs every pthread_create of an lld and makes each new thread wait until the whole
queue is there. Then the count is a function of the linker and of --threads and --thinlto-jobs alone: lld 14 to 19 start N threads for
their own pool (none for N = 1), N for ThinLTO, and one to delete an output that exists already, so there must be none. Tests do not
rely on that sum: they compare with a bare link that was told N.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.support import tools
from tests.support.program import FIXTURE

if TYPE_CHECKING:
    from pathlib import Path


class Threads:
    """The preloaded counter. place: a directory of the session's, where the library is built."""

    def __init__(self, place: Path) -> None:
        self.library = place / "threads.so"
        command = [tools.need_c_library(), "-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
        subprocess.run([*command, str(FIXTURE / "threads.c"), "-o", str(self.library), "-ldl"], check=True)

    def environment(self, log: Path) -> dict[str, str]:
        """Give the variables that make linkers below log into a file."""
        return {"LD_PRELOAD": str(self.library), "THREADS_LOG": str(log)}


def started(log: Path) -> int:
    """Count the threads a log tells of."""
    return log.read_bytes().count(b"thread\n") if log.exists() else 0
