"""Links that hold memory or wait for it, for as long as a test wants, without a linker that needs any.

The problem: whether a link waits depends on how much memory there is at that moment, and a real link of ten gigabytes is no test. The
consequence: a shell script that says of itself that it is lld, and ends when it is told to; each link is said to need most of what the
machine has (LDSHIM_MEM_PER_JOB, or a sparse object), so that one fits and two do not, whoever else breathes.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ldshim.reserve import memory, promises
from tests.support.flight import wait_for
from tests.support.program import bare_environment
from tests.support.shim import ROOT, script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.shim import Shim

OBJECT = ROOT / "fixtures" / "ir" / "thin.o"
NAME = b"ldshim-waits"


class Link:
    """One link, started by `Links.start`."""

    def __init__(self, place: Path, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._place = place

    def runs(self) -> bool:
        """Tell whether the linker has started."""
        return (self._place / "started").exists()

    def waits(self) -> bool:
        """Tell whether it shows itself in ps as one that waits."""
        try:
            return Path(f"/proc/{self.process.pid}/comm").read_bytes().strip() == NAME
        except OSError:
            return False

    def wait_to_wait(self) -> None:
        """Wait until it waits."""
        wait_for(lambda: self.waits() or self.runs() or self.process.poll() is not None)
        assert (False, True) == (self.runs(), self.waits())

    def wait_to_run(self) -> None:
        """Wait until its linker runs."""
        wait_for(lambda: self.runs() or self.process.poll() is not None)
        assert self.runs()

    def end(self) -> int:
        """Let its linker end: the status."""
        with open(self._place / "gate", "r+b", buffering=0) as gate:
            gate.write(b"\n")
            return self.process.wait(60)


class Links:
    """Links that share one directory of ours. most: the share of the memory that each is said to need."""

    def __init__(self, place: Path, shim: Shim, share: float = 0.6) -> None:
        left = memory.available()
        assert left is not None
        self.size = int(left * share)
        self.place = place
        self.runtime = place / "runtime"
        self.runtime.mkdir(0o700, parents=True)
        (self.runtime / "ldshim").mkdir(0o700)
        self.log = place / "log"
        self.command = shim.command
        self._links: list[Link] = []
        tool = 'case "$*" in *--version*) echo "LLD 16.0.6 (compatible with GNU linkers)"; exit;; esac'
        self.tool = script(place / "ld.lld", tool, ': > "$PLACE/started"', 'read line < "$PLACE/gate"')

    def start(self, *objects: str, before: Sequence[str] = (), stderr: int | None = None, **more: str) -> Link:
        """Start a link of these objects, by default of one that makes it an LTO link; before: words before the command."""
        place = self.place / str(len(self._links))
        place.mkdir()
        os.mkfifo(place / "gate")
        said = {"LDSHIM_MEM_PER_JOB": str(self.size)} if not objects else {}
        own = {"PLACE": str(place), "XDG_RUNTIME_DIR": str(self.runtime), "LDSHIM_LOG": str(self.log)}
        command = [*before, self.command, self.tool, *(objects or [str(OBJECT)]), "-o", str(place / "out")]
        link = Link(place, subprocess.Popen(command, env=bare_environment(**{**own, **said, **more}), stderr=stderr, cwd=place))
        self._links.append(link)
        return link

    def promises(self) -> list[promises.Entry]:
        """Read the ledger."""
        fd = os.open(self.runtime / "ldshim", os.O_RDONLY)
        try:
            return promises.read(fd)
        finally:
            os.close(fd)

    def wardens(self) -> list[int]:
        """List the wardens of these links."""
        wanted = f"XDG_RUNTIME_DIR={self.runtime}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in path.read_bytes().split(b"\0") and (path.parent / "comm").read_text().strip() == "ldshim-warden":
                    found.append(int(path.parts[2]))
            except OSError:
                continue
        return found

    def close(self) -> None:
        """End what is left, and see that nothing stays promised and no warden behind."""
        for link in self._links:
            if link.process.poll() is None:
                link.process.send_signal(signal.SIGKILL)
                link.process.wait(60)
        wait_for(lambda: not (self.wardens() or self.promises()))  # a process that ends loses its environment before its locks
