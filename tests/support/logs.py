"""Logs for the tests of `ldshim report`: written by hand, word by word, or by real links.

The problem: what a report must survive (keys that an older ldshim did not write, pids that come round again, a line cut by a full disk) no
build produces on demand, and what it must show right only a build produces. The consequence: `Log` spells records, each key as
the test wants it; `of_a_build` lets make run real links of gcc and lld through ldshim and returns what they wrote.
"""

from __future__ import annotations

import io
import json
import subprocess
from typing import TYPE_CHECKING, Any

from ldshim.cli.report import links
from tests.support import tools
from tests.support.flight import wait_for
from tests.support.program import PARTITIONS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

NOON = 1_795_262_400.0  # 2026-11-21 12:00 UTC
STEPS: list[list[float]] = [[0, 1], [1, 4], [3, 2]]  # of a link of four seconds


class Log:
    """A log under construction. lines: as bytes, without their newlines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def handover(self, pid: int, at: float, output: str = "prog", **more: Any) -> Log:
        """Add a handover, seconds after noon; a key that is None is left out."""
        record = {
            "event": "handover",
            "time": NOON + at,
            "pid": pid,
            "cwd": "/src",
            "tool": "/usr/bin/gcc-12",
            "family": "gcc",
            "lto": "gcc",
            "asked": "auto",
            "demand": 24,
            "granted": 8,
            "source": "jobserver",
            "policy": "valve",
            "pool": "fifo /tmp/GMfifo1",
            "pool_size": 8,
            "reason": "8 objects with GCC IR; jobserver fifo /tmp/GMfifo1, at most 8 by the jobserver's -j",
            "argv": ["/usr/bin/gcc-12", "-flto=8", "a.o", "-o", f"out/{output}"],
            "env": {"MAKEFLAGS": " -j8 --jobserver-auth=103,104"},
        }
        return self._add({**record, **more})

    def end(self, pid: int, at: float, wall: float, steps: list[list[float]] | None, **more: Any) -> Log:
        """Add an end, seconds after noon."""
        peak = max((int(held) for _, held in steps), default=1) if steps else 1
        record = {"event": "end", "time": NOON + at, "pid": pid, "peak": peak, "wall": wall, "steps": steps, "waited": 0.5, "cpu": 0.01}
        return self._add({**record, **more})

    def link(self, pid: int, at: float, wall: float, steps: list[list[float]] | None, output: str = "prog", **more: Any) -> Log:
        """Add both lines of a link."""
        return self.handover(pid, at, output, **more).end(pid, at + wall, wall, steps)

    def raw(self, line: bytes) -> Log:
        """Add a line as it is."""
        self.lines.append(line)
        return self

    def write(self, path: Path) -> Path:
        """Write the log: its path."""
        path.write_bytes(self.bytes())
        return path

    def bytes(self) -> bytes:
        """Return the log."""
        return b"".join(line + b"\n" for line in self.lines)

    def _add(self, record: dict[str, Any]) -> Log:
        self.lines.append(json.dumps({key: value for key, value in record.items() if value is not None}).encode())
        return self


def read(log: Log, **options: bool) -> tuple[list[links.Link], list[str]]:
    """Read a log: its links in the order in which they are complete, and the complaints."""
    complaints: list[str] = []
    reader = links.Reader(lambda where, what: complaints.append(f"{where}: {what}"), **options)
    return list(reader.read(io.BytesIO(log.bytes()), "log")), complaints


def of_a_build(shim: Shim, program: Program, place: Path, count: int = 8, jobs: int = 8) -> Path:
    """Run so many links under `make -jN` (4.4, a fifo), gcc 12 and lld 16 in turn, and a plain one: the log they wrote."""
    gcc, lld = tools.GCC, tools.LLD
    slim = program.objects(tools.need(gcc), "-O1", "-flto=auto")
    thin = program.objects(tools.clang_of(lld), "-O1", "-fPIC", "-flto=thin")
    rules = [f"all: plain {' '.join(f'prog{number}' for number in range(count))}", f"plain: ; @{shim.named(gcc)} -xc {place}/plain.c -o $@"]
    (place / "plain.c").write_text("int main(void) { return 0; }\n")
    for number in range(count):
        lines = (f"{gcc} {' '.join(PARTITIONS)} -flto=auto {' '.join(slim)}", f"{lld} -shared {' '.join(thin)}")
        rules.append(f"prog{number}: ; @{shim.links}/{lines[number % 2]} -o $@")
    (place / "Makefile").write_text("\n".join(rules) + "\n")
    log = place / "build.log"
    subprocess.run([tools.make44(), f"-j{jobs}"], cwd=place, env=shim.environment(LDSHIM_LOG=str(log)), check=True)
    # make does not wait for the warden of its last link, which writes when every token is back.
    wait_for(lambda: log.read_bytes().count(b'"event": "end"') == count)
    return log
