"""Find the make that runs this recipe, and the MAKEFLAGS that it set.

The problem: any process between make and us can change MAKEFLAGS, and can open other files under the descriptors that it names. Only the
make itself knows its jobserver. The consequence: follow the parents of this process to the nearest one whose /proc/PID/exe is a make, and
read the environment of the process that it started. The conditions:
  - /proc is that of our own PID namespace; otherwise its pids are other processes.
  - Every process from us to the make belongs to the same user, by the `Uid:` line (fakeroot changes the result of getuid).
  - A make further up is not examined: it gave its jobserver to the nearer make, or the nearer one has -j1 and no jobserver.
  - A pid can be used again: after the result was used, call `is_unchanged`.

jobserver.py uses it to distinguish the pipe of make from another one under the same numbers, and recover.py to open that pipe.
"""

from __future__ import annotations

import os

from ..call import processes
from ..call.environment import slurp
from . import makeflags

# All reasons why there is no such make.
FOREIGN_PROC = processes.FOREIGN
NO_MAKE = "no make among the parents of this process"
OTHER_USER = "a process between this one and its make runs as another user"
UNREADABLE = "this user has no permission to read a process between this one and its make"
NO_MAKEFLAGS = "the make that runs this recipe set no MAKEFLAGS"

_MAKES = (b"make", b"gmake", b"gnumake", b"remake")
_DELETED = b" (deleted)"  # readlink adds it when an upgrade replaced the file of a running make
_LINES = (b"PPid", b"Uid")
_DEEPEST = 1000  # more parents than any build has: a bound, in case /proc changes meanwhile


class Recipe:
    """The make that runs this recipe.

    make: its pid; started: its start time; chain: the pids from the process that it started down to this one.
    """

    __slots__ = ("chain", "make", "started")

    def __init__(self, make: int, started: bytes, chain: list[int]) -> None:
        self.make = make
        self.started = started
        self.chain = chain


def find(proc: bytes = b"/proc") -> Recipe | str:
    """Follow the parents of this process to the nearest make; return it, or the reason why there is none."""
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
            return NO_MAKE if pid == 1 else UNREADABLE  # hidepid hides the processes of other users
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
    # make-4.3, gmake-4.4.1: names of a second make
    stem, dash, version = name.partition(b"-")
    return name in _MAKES or (stem in _MAKES and bool(dash) and version[:1].isdigit())


def makeflags_of(proc: bytes, recipe: Recipe) -> makeflags.Auth | str:
    """Return MAKEFLAGS as the make set it, from the first process of the chain that has the variable, or the reason why not."""
    for pid in recipe.chain:
        try:
            entries = slurp(b"%s/%d/environ" % (proc, pid)).split(b"\0")
        except OSError:
            return UNREADABLE
        for entry in entries:
            if entry.startswith(b"MAKEFLAGS="):
                return makeflags.parse(entry[10:])
    return NO_MAKEFLAGS


def is_unchanged(proc: bytes, recipe: Recipe) -> bool:
    """Return whether the same make, by pid and start time, is the parent of the process that it started."""
    try:
        parent = int(_status(proc, recipe.chain[0])[b"PPid"] or b"0")
        return parent == recipe.make and _started(proc, recipe.make) == recipe.started
    except OSError:
        return False


def _status(proc: bytes, pid: int) -> dict[bytes, bytes]:
    # Two lines of sixty. The name of the process cannot forge one, because the kernel escapes its newlines.
    text = b"\n" + slurp(b"%s/%d/status" % (proc, pid))
    return {name: text.partition(b"\n%s:" % name)[2].partition(b"\n")[0].strip() for name in _LINES}


def _started(proc: bytes, pid: int) -> bytes:
    # The command may contain blanks and brackets; the last bracket ends it. Field 22 of proc(5).
    fields = slurp(b"%s/%d/stat" % (proc, pid)).rpartition(b")")[2].split()
    return fields[19] if len(fields) > 19 else b""
