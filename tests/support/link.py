"""A small stand-in for the shim that leaves a warden and becomes a shell script: the real handover, without a real linker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.pool import Pool


ROOT = Path(__file__).resolve().parents[2]
SHIM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ldshim.call.environment import read_environment
from ldshim.warden import handover
from ldshim.warden.reservation import Reservation
from ldshim.reserve import jobserver, makeflags
from ldshim.reserve.lease import JobserverLease
client = jobserver.connect(makeflags.parse(os.environb[b"MAKEFLAGS"]))
if os.environ.get("STAGE") == "before fork":
    os.kill(os.getpid(), 9)
if os.environ.get("STAGE") == "second fork fails":
    first = os.fork
    def refuse():
        raise BlockingIOError
    def fork():
        os.fork = refuse
        return first()
    os.fork = fork
left = handover.leave_warden(Reservation(JobserverLease(client), int(sys.argv[2]), os.environ["POLICY"], read_environment()))
if os.environ.get("STAGE") == "before exec":
    os.kill(os.getpid(), 9)
if os.environ.get("STAGE") == "dismissed":
    left.dismiss()
with open(sys.argv[3], "w") as report:
    report.write(f"{left.taken} {left.elastic}" if left else "none none")
handover.replace_process(b"/bin/sh", [b"sh", b"-c", os.fsencode(sys.argv[4])], read_environment())
"""


class Link:
    """A running link. script: after exec; most: tokens it asks for; stage: where the shim is to be killed; policy: the warden's."""

    def __init__(self, pool: Pool, place: Path, script: str, most: int = 3, stage: str = "", policy: str = "fixed") -> None:
        self.report = place / "report"
        environment = {**os.environ, "MAKEFLAGS": pool.makeflags, "STAGE": stage, "POLICY": policy, "XDG_RUNTIME_DIR": str(place)}
        command = [sys.executable, "-c", SHIM, str(ROOT), str(most), str(self.report), script]
        self.process = subprocess.Popen(command, env=environment, pass_fds=pool.pass_fds, start_new_session=True, cwd=place)

    def told(self) -> list[str]:
        """Wait until the link runs, and return what the shim was told: tokens taken, and whether they are elastic."""
        deadline = time.monotonic() + 20
        while not (self.report.exists() and len(self.report.read_text().split()) == 2):
            assert time.monotonic() < deadline, "the link never started"
            time.sleep(0.01)
        return self.report.read_text().split()

    def taken(self) -> int:
        """Wait until the link runs, and return the tokens it was told."""
        return int(self.told()[0])
