"""Run meter.c beside what is measured, so that a slow minute of the machine can be told from a slow program (meter.c says how)."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.tools import need

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = __file__.replace(".py", ".c")
START_SECONDS = 0.02  # until its threads are on their CPUs


class Reading(NamedTuple):
    """What the meter saw. speed: the mean CPU's, pieces a millisecond, 0 where real-time priority is refused; cpu: seconds it took."""

    speed: float
    cpu: float


class Meter:
    """A meter, compiled into a directory. Owner of one process between start and stop."""

    def __init__(self, place: Path) -> None:
        self.program = str(place / "meter")
        subprocess.run([need("gcc"), "-O1", SOURCE, "-o", self.program, "-lpthread"], check=True)
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to measure."""
        self._running = subprocess.Popen([self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        time.sleep(START_SECONDS)

    def stop(self) -> Reading:
        """End it, and return the mean since start."""
        running, self._running = self._running, None
        assert running is not None
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.close()
        with running.stdout as stream:
            said = stream.read().split()
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        return Reading(float(said[1]) if said else 0.0, usage.ru_utime + usage.ru_stime)
