"""Fetch the jobserver that make withheld from this recipe.

The problem: only recipes marked with `+` get make's jobserver, and the recipes that run LTO links are not (the kernel's vmlinux.o, CMake's
link scripts). make up to 4.3, and 4.4 with --jobserver-style=pipe, closes the descriptors and leaves the words, 4.4 adds `-2,-2`, and
GCC's driver deletes what it cannot use. But the make that ran the recipe is still there, waiting for it, with both descriptors open, and
the kernel lets a process of the same user open them: /proc/PID/fd/R.

The danger is somebody else's pipe: an event loop's self-pipe on 3 and 4 looks like a jobserver to every test but one, and a byte
read from it is a hang in another program. So only one process is asked, the make that runs this recipe (recipe.py), and asked for one
thing: the pair that it named itself. In that make, it must be the two ends of one pipe with the right access modes; it must still be
that pipe once it is opened; and the same make must still be the parent of the same process then, or the descriptors are closed unread.

Source 3 of C11, off with LDSHIM_RECOVER=0. Call it before the warden forks: the warden is nobody's recipe.
"""

from __future__ import annotations

import os

from . import parent_make
from .jobserver import DRY_RUN, NO_PROC, Jobserver, access_mode, connect, judge_pair, open_pair

# The closed set of reasons, beside those of recipe.py for whom to ask, and of jobserver.py for what that make has.
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
    auth = parent_make.words(proc, run_by)
    if isinstance(auth, str):
        return auth
    if auth.dry_run:
        return DRY_RUN
    if auth.kind == "fifo":
        return connect(auth)  # GCC's driver up to 12 deletes a fifo, too, and a fifo is nobody's secret
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
    if not parent_make.still(proc, run_by):
        found.close()
        return ENDED
    return found


def _verify(directory: bytes, read_fd: int, write_fd: int) -> tuple[int, int] | str:
    """Check the pair in the process that has it, by the same rules as our own (jobserver.judge_pair)."""
    try:
        reading, writing = (os.stat(b"%s/%d" % (directory, fd)) for fd in (read_fd, write_fd))
        modes = [access_mode(b"%sinfo/%d" % (directory, fd)) for fd in (read_fd, write_fd)]
    except FileNotFoundError:
        return NOT_OPEN
    except OSError:
        return parent_make.UNREADABLE
    return judge_pair(reading, writing, modes[0], modes[1])
