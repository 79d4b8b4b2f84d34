"""How many LTRANS compilations run at once, exactly; and how many threads a linker starts.

The problem: sampling /proc misses a compilation that lives ten milliseconds, and on two CPUs four jobs need not overlap at all. The
consequence: `Gate`, a directory for -B with an `lto1` and an `as` of ours. An LTRANS job logs its start when its lto1 is called, then waits
for the gate (it opens a FIFO for reading; no CPU is spent); it logs its end when its `as` is done, which is before the driver exits and
so before make can start the next. Each log line is one O_APPEND write, so the log is in order, and an interval in the log lies inside
the job's life: overlap in the log is overlap in the world.

While the gate is shut nothing below the link can end, so the number of starts grows to what the link is allowed to run at once and stops
there. The test opens the gate when the number it expects has come *and* a while longer has shown nobody else (`LINGER`, longer than the
0.25 s in which a jobserver's client may notice a token). Too few never reach the number: the gate gives up after `PATIENCE`, and the
peak is what it is. After that the link runs free, still logged, so a late excess shows as well.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from pathlib import Path

LINGER = 0.3
PATIENCE = 20.0

LTO1 = """#!/bin/sh
for word do
  if [ "$word" = -fltrans ]; then
    echo "start $PPID" >>{log}
    : <{gate}
    break
  fi
done
exec {real} "$@"
"""

# Where the driver has its `as` from elsewhere (MinGW's: an absolute path that was built in), the job's log ends with its lto1.
LTO1_ALONE = LTO1.replace('exec {real} "$@"', '{real} "$@"\nstatus=$?\necho "end $PPID" >>{log}\nexit $status')

AS = """#!/bin/sh
{real} "$@"
status=$?
echo "end $PPID" >>{log}
exit $status
"""


class Gate:
    """A -B directory that watches the LTRANS jobs of one link. place: an empty directory of the test's; gcc: the driver whose tools run.

    The paths are baked into the scripts, so the environment of the link stays as it was.
    """

    def __init__(self, place: Path, gcc: str) -> None:
        place.mkdir(parents=True)
        self.place = place
        self.log = place / "log"
        self.log.touch()
        self.gate = place / "gate"
        os.mkfifo(self.gate)
        self._open: int | None = None
        for name, text in (("as", AS), ("lto1", LTO1)):
            real = self._program(gcc, name)
            script = place / name
            script.touch(0o755)
            if name == "as" and self._program(gcc, name, self.flag) != str(script):
                script.unlink()
                continue
            shown = text if (place / "as").exists() else LTO1_ALONE
            script.write_text(shown.format(real=real, log=self.log, gate=self.gate))

    def _program(self, gcc: str, name: str, *flags: str) -> str:
        """Ask the driver where it has a program from."""
        return subprocess.run([gcc, *flags, f"-print-prog-name={name}"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()

    @property
    def flag(self) -> str:
        """Spell the driver's option that puts this directory first."""
        return f"-B{self.place}/"

    def watch(self, link: subprocess.Popen[bytes], expect: Callable[[], int], at_peak: Callable[[], None] | None = None) -> int:
        """Let a started link run to its end: its status.

        expect: how many jobs to wait for before the gate opens, asked again and again (it may depend on what ldshim has logged by then);
        at_peak: called once, when they are all there and nothing can end.
        """
        deadline = time.monotonic() + PATIENCE
        while link.poll() is None and time.monotonic() < deadline:
            alive = self.alive()
            if alive and alive >= expect():
                break
            time.sleep(0.005)
        if link.poll() is None:
            time.sleep(LINGER)
            if at_peak:
                at_peak()
        self.open()
        try:
            return link.wait()
        finally:
            self.shut()

    def open(self) -> None:
        """Let everybody pass, those who wait and those to come."""
        if self._open is None:
            self._open = os.open(self.gate, os.O_RDWR | os.O_CLOEXEC)

    def shut(self) -> None:
        """Make everybody wait from now on."""
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def _events(self) -> list[tuple[str, str]]:
        lines = (line.partition(" ") for line in self.log.read_text().splitlines())
        return [(word, driver) for word, _, driver in lines]

    def alive(self) -> int:
        """Count the LTRANS jobs that have started and not ended."""
        now: set[str] = set()
        for word, driver in self._events():
            (now.add if word == "start" else now.discard)(driver)
        return len(now)

    def peak(self) -> int:
        """Tell the largest number of LTRANS jobs that were alive at once."""
        now: set[str] = set()
        most = 0
        for word, driver in self._events():
            (now.add if word == "start" else now.discard)(driver)
            most = max(most, len(now))
        return most

    def jobs(self) -> int:
        """Count the LTRANS jobs of the link: its partitions."""
        return sum(word == "start" for word, _ in self._events())
