"""Find the make that runs this recipe, and the words it gave it.

The problem: what MAKEFLAGS says here may have been changed by everybody between make and us, and the descriptors it names may have been
opened by any of them. Only the make itself knows its jobserver. The consequence: climb from this process to the nearest ancestor that
*is* a make by its /proc/PID/exe, and read the environment of the process that it started. What has to hold on the way:
  - /proc is our own PID namespace's; under another one, every pid in it is a stranger's.
  - every process from us to the make is the same user's, by the `Uid:` line (fakeroot lies to getuid).
  - a make further up is never asked: it has given its jobserver to the nearer one, or the nearer one was told -j1 and has none.
  - a pid alone proves nothing: after acting on what was found, ask `still`.

Used by jobserver.py, to tell make's pipe from a stranger's under the same numbers, and by recover.py, to fetch it.
"""

from __future__ import annotations

import os

from ..call import processes
from ..call.environment import slurp
from . import makeflags

# The closed set of reasons why there is no make to be asked.
FOREIGN_PROC = processes.FOREIGN
NO_MAKE = "no make among the processes that led to this one"
OTHER_USER = "a process between this one and its make runs as another user"
UNREADABLE = "a process between this one and its make may not be looked at"
NO_WORDS = "the make that runs this recipe gave it no MAKEFLAGS"

_MAKES = (b"make", b"gmake", b"gnumake", b"remake")
_DELETED = b" (deleted)"  # what readlink adds when the make was replaced by an upgrade while running
_LINES = (b"PPid", b"Uid")
_DEEPEST = 1000  # more ancestors than any build has; a bound, should /proc change under our feet


class Recipe:
    """The make that ran this recipe, and the chain from there to us.

    make: its pid; started: its start time; first: the process it started, the head of the recipe; chain: from `first` down to us.
    """

    __slots__ = ("chain", "make", "started")

    def __init__(self, make: int, started: bytes, chain: list[int]) -> None:
        self.make = make
        self.started = started
        self.chain = chain


def find(proc: bytes = b"/proc") -> Recipe | str:
    """Climb from this process to the nearest make, or say why there is none to be asked."""
    pid = os.getpid()
    try:
        status = _status(proc, pid) if processes.shows_us(proc) else {}
    except OSError:
        status = {}
    if not status:
        return FOREIGN_PROC
    user = status[b"Uid"]
    chain: list[int] = []
    while len(chain) < _DEEPEST:
        chain.insert(0, pid)
        pid = int(status[b"PPid"] or b"0")
        if pid == 0:
            return NO_MAKE
        try:
            status = _status(proc, pid)
        except OSError:
            return NO_MAKE if pid == 1 else UNREADABLE  # hidepid shows us no process of another user
        if status[b"Uid"] != user:
            return NO_MAKE if pid == 1 else OTHER_USER
        try:
            if _is_make(os.readlink(b"%s/%d/exe" % (proc, pid))):
                return Recipe(pid, _started(proc, pid), chain)
        except OSError:
            return NO_MAKE if pid == 1 else UNREADABLE
    return NO_MAKE


def _is_make(path: bytes) -> bool:
    if path.endswith(_DELETED):
        path = path[: -len(_DELETED)]
    name = path.rpartition(b"/")[2]
    # make-4.3, gmake-4.4.1: what distributions and testers call a second one
    stem, dash, version = name.partition(b"-")
    return name in _MAKES or (stem in _MAKES and bool(dash) and version[:1].isdigit())


def words(proc: bytes, recipe: Recipe) -> makeflags.Auth | str:
    """Read MAKEFLAGS as the make gave it: from the head of the recipe, or the first process below that still has the variable."""
    for pid in recipe.chain:
        try:
            entries = slurp(b"%s/%d/environ" % (proc, pid)).split(b"\0")
        except OSError:
            return UNREADABLE
        for entry in entries:
            if entry.startswith(b"MAKEFLAGS="):
                return makeflags.parse(entry[10:])
    return NO_WORDS


def still(proc: bytes, recipe: Recipe) -> bool:
    """Tell whether the same make is still the parent of the process it started: a pid alone proves nothing."""
    try:
        parent = int(_status(proc, recipe.chain[0])[b"PPid"] or b"0")
        return parent == recipe.make and _started(proc, recipe.make) == recipe.started
    except OSError:
        return False


def _status(proc: bytes, pid: int) -> dict[bytes, bytes]:
    # Three lines of sixty; a name of the process cannot forge one, for the kernel escapes its newlines.
    text = b"\n" + slurp(b"%s/%d/status" % (proc, pid))
    return {name: text.partition(b"\n%s:" % name)[2].partition(b"\n")[0].strip() for name in _LINES}


def _started(proc: bytes, pid: int) -> bytes:
    # The command may hold blanks and brackets; the last bracket ends it. Field 22 of proc(5).
    fields = slurp(b"%s/%d/stat" % (proc, pid)).rpartition(b")")[2].split()
    return fields[19] if len(fields) > 19 else b""
