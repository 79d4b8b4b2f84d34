"""Leave a warden in which one call raises, then be a shell script: the real handover, without a real linker.

    python injected.py PLACE MOST POLICY SITE ERROR SCRIPT

PLACE: a directory for `sites` (SITE is empty: every call that the warden makes, one a line), `report` (what the shim was told) and `log`
(a line for every end: what failed, or `-`); SITE: `file:line callee` of the call that raises, once; ERROR: the exception's name; SCRIPT:
behind a valve it finds the private jobserver in MAKEFLAGS.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import BuiltinFunctionType, FrameType
from typing import TYPE_CHECKING

from ldshim.call.environment import read_environment
from ldshim.reserve import jobserver, makeflags
from ldshim.reserve.lease import JobserverLease
from ldshim.warden import handover, private_jobserver, watch
from ldshim.warden.reservation import Link, Reservation

if TYPE_CHECKING:
    from ldshim.warden.history import History

ERRORS = {"OSError": OSError(28, "injected"), "MemoryError": MemoryError("injected"), "ValueError": ValueError("injected")}
serve = watch.serve


def tracer(place: Path, site: str, error: str) -> None:
    """Raise in one call of this process that our package makes, or note all of them."""
    seen: set[str] = set()

    def note(frame: FrameType, event: str, what: object) -> None:
        caller = frame if event == "c_call" else frame.f_back
        if event not in ("call", "c_call") or caller is None or f"{os.sep}ldshim{os.sep}" not in caller.f_code.co_filename:
            return
        callee = what.__name__ if isinstance(what, BuiltinFunctionType) else frame.f_code.co_name
        here = f"{os.path.basename(caller.f_code.co_filename)}:{caller.f_lineno} {callee}"
        if here in seen:
            return
        seen.add(here)
        if here == site:
            raise ERRORS[error]  # the interpreter drops a profiler that raises: once is what we want
        if not site:
            with (place / "sites").open("a") as file:
                file.write(here + "\n")

    sys.setprofile(note)


def main() -> None:
    """Do what the command line says."""
    place, most, policy, site, error, script = Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
    client = jobserver.connect(makeflags.parse(os.environb[b"MAKEFLAGS"]))
    assert isinstance(client, jobserver.Jobserver)

    def served(link: Link, reservation: Reservation, report_fd: int) -> None:
        tracer(place, site, error)
        serve(link, reservation, report_fd)

    def over(history: History, _: float) -> None:
        with (place / "log").open("a") as file:
            file.write((history.failed or "-") + "\n")

    watch.serve = served
    below = read_environment()
    pipe = private_jobserver.create() if policy == "valve" else None
    left = handover.leave_warden(Reservation(JobserverLease(client), most, policy, below, pipe, True, over))
    if pipe is not None:
        below = below.changed({b"MAKEFLAGS": b" -j%d --jobserver-auth=%s" % (most + 1, pipe.auth())})
    (place / "report").write_text(f"{left.taken} {left.policy} {left.reason}" if left else "")
    handover.replace_process(b"/bin/sh", [b"sh", b"-c", os.fsencode(script)], below)


if __name__ == "__main__":
    main()
