"""Open the jobserver that make withheld from this recipe.

The problem: make gives its jobserver only to recipes that are marked with `+`, and the recipes that run LTO links are not (the vmlinux.o
of the kernel, the link scripts of CMake). make up to 4.3, and 4.4 with --jobserver-style=pipe, closes the descriptors and leaves the
variable, 4.4 adds `-2,-2`, and the driver of GCC removes what it cannot use. But the make that runs the recipe waits for it, with both
descriptors open, and the kernel lets a process of the same user open them: /proc/PID/fd/R.

The danger is a pipe of another program. The self-pipe of an event loop on 3 and 4 looks like a jobserver to every test but one, and a byte
that we read from it hangs that program. So only one process is examined, the make that runs this recipe (parent_make.py), and only for the
pair that it named itself. In that make the pair must be the two ends of one pipe with the right access modes. The opened files must be
that pipe, and the same make must still be the parent of the same process afterwards; otherwise the descriptors are closed and nothing is
read.

Source 3 of C11; LDSHIM_RECOVER=0 turns it off. Call it before the warden is forked: the warden is no part of the recipe.
"""

from __future__ import annotations

import os

from . import parent_make
from .jobserver import DRY_RUN, NO_PROC, Jobserver, access_mode, connect, judge_pair, open_pair

# All reasons, apart from those of parent_make.py for the make, and of jobserver.py for its descriptors.
SERIAL = "the make that runs this recipe has no jobserver"
NOT_OPEN = "the make that runs this recipe does not have the jobserver's descriptors open"
ENDED = "the make that runs this recipe has ended"


def recover(proc: bytes = b"/proc") -> Jobserver | str:
    """Open the jobserver of the make that runs this recipe: a client, named after that make, or the reason why not. Reads no byte.

    The client's callers_fds are empty: make's descriptors are not in this process.
    """
    run_by = parent_make.find(proc)
    if isinstance(run_by, str):
        return run_by
    auth = parent_make.makeflags_of(proc, run_by)
    if isinstance(auth, str):
        return auth
    if auth.dry_run:
        return DRY_RUN
    if auth.kind == "fifo":
        return connect(auth)  # the driver of GCC up to 12 removes a fifo, too; any process of this user can open it
    if auth.kind != "pipe" and not auth.withheld:
        return SERIAL
    directory = b"%s/%d/fd" % (proc, run_by.make)
    pair = _verify(directory, auth.read_fd, auth.write_fd)
    if isinstance(pair, str):
        return pair
    opened = open_pair(directory, auth.read_fd, auth.write_fd, pair)
    if isinstance(opened, str):
        return ENDED if opened == NO_PROC else opened
    found = Jobserver(*opened, f"pipe {auth.read_fd},{auth.write_fd} of make {run_by.make}")
    found.jobs = auth.jobs
    if not parent_make.is_unchanged(proc, run_by):
        found.close()
        return ENDED
    return found


def _verify(directory: bytes, read_fd: int, write_fd: int) -> tuple[int, int] | str:
    """Check the pair in the process that has it, by jobserver.judge_pair."""
    try:
        reading, writing = (os.stat(b"%s/%d" % (directory, fd)) for fd in (read_fd, write_fd))
        modes = [access_mode(b"%sinfo/%d" % (directory, fd)) for fd in (read_fd, write_fd)]
    except FileNotFoundError:
        return NOT_OPEN
    except OSError:
        return parent_make.UNREADABLE
    return judge_pair(reading, writing, modes[0], modes[1])
