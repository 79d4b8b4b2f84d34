"""Fetch the jobserver that make withheld from this recipe.

The problem: only recipes marked with `+` get make's jobserver, and the recipes that run LTO links are not (the kernel's vmlinux.o, CMake's
link scripts). make up to 4.3, and 4.4 with --jobserver-style=pipe, closes the descriptors and leaves the words, 4.4 adds `-2,-2`, and
GCC's driver deletes what it cannot use. But the make that ran the recipe is still there, waiting for it, with both descriptors open,
and the kernel lets a process of the same user open them: /proc/PID/fd/R.

The danger is somebody else's pipe: an event loop's self-pipe on 3 and 4 looks like a jobserver to every test but one, and a byte
read from it is a hang in another program. So only one process is asked, and asked for one thing:
  - the nearest ancestor that *is* a make by its /proc/PID/exe. A make further up has given its jobserver to the nearer one, or
    the nearer one was told -j1 and has none: then there is none for us.
  - the numbers are those that this make put into the environment of the recipe it ran, which is read from the process it started.
  - the pair must be, in that make, the two ends of one pipe with the right access modes, and still be that pipe once it is opened.
  - every process from us to it must be the same user's by the `Uid:` line (fakeroot lies to getuid), and /proc must be our own PID
    namespace's: under another one, every pid in it is a stranger's.
  - after opening, the same make must still be the parent of the same process, or the descriptors are closed unread.

Source 3 of C11, off with LDSHIM_RECOVER=0. Call it before the warden forks: the warden is nobody's recipe.
"""

from __future__ import annotations

import os

from ..environ import slurp
from . import makeflags
from .jobserver import DRY_RUN, MODES, NO_PROC, Jobserver, connect, judge_pair, open_pair

# The closed set of reasons, beside those of makeflags.py and jobserver.py for what the make has.
FOREIGN_PROC = "/proc is missing or belongs to another PID namespace"
NO_MAKE = "no make among the processes that led to this one"
OTHER_USER = "a process between this one and its make runs as another user"
UNREADABLE = "a process between this one and its make may not be looked at"
NO_WORDS = "the make that runs this recipe gave it no MAKEFLAGS"
SERIAL = "the make that runs this recipe has no jobserver"
NOT_OPEN = "the make that runs this recipe does not have the jobserver's descriptors open"
ENDED = "the make that runs this recipe has ended"

_MAKES = (b"make", b"gmake", b"gnumake", b"remake")
_DELETED = b" (deleted)"  # what readlink adds when the make was replaced by an upgrade while running
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


def recover(proc: bytes = b"/proc") -> Jobserver | str:
    """Open the jobserver of the make that runs this recipe: a client, named after that make, or the reason why not. Reads no byte.

    The client's callers_fds are empty: make's descriptors are not in this process.
    """
    recipe = find_recipe(proc)
    if isinstance(recipe, str):
        return recipe
    auth = _words(proc, recipe)
    if isinstance(auth, str):
        return auth
    if auth.dry_run:
        return DRY_RUN
    if auth.kind == "fifo":
        return connect(auth)  # GCC's driver up to 12 deletes a fifo, too, and a fifo is nobody's secret
    if auth.kind != "pipe" and not auth.withheld:
        return SERIAL
    directory = b"%s/%d/fd" % (proc, recipe.make)
    pair = _verify(directory, auth.read_fd, auth.write_fd)
    if isinstance(pair, str):
        return pair
    opened = open_pair(directory, auth.read_fd, auth.write_fd, pair)
    if isinstance(opened, str):
        return ENDED if opened == NO_PROC else opened
    found = Jobserver(*opened, f"pipe {auth.read_fd},{auth.write_fd} of make {recipe.make}")
    if not _still(proc, recipe):
        found.close()
        return ENDED
    return found


def find_recipe(proc: bytes = b"/proc") -> Recipe | str:
    """Climb from this process to the nearest make, or say why there is none to be asked."""
    pid = os.getpid()
    try:
        if os.readlink(proc + b"/self") != b"%d" % pid:
            return FOREIGN_PROC
        status = _status(proc, pid)
    except OSError:
        return FOREIGN_PROC
    user = status.get(b"Uid")
    if len(status.get(b"NSpid", b"").split()) > 1:
        return FOREIGN_PROC
    chain: list[int] = []
    while len(chain) < _DEEPEST:
        chain.insert(0, pid)
        pid = int(status.get(b"PPid", b"0"))
        if pid == 0:
            return NO_MAKE
        try:
            status = _status(proc, pid)
        except OSError:
            return NO_MAKE if pid == 1 else UNREADABLE  # hidepid shows us no process of another user
        if status.get(b"Uid") != user:
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


def _words(proc: bytes, recipe: Recipe) -> makeflags.Auth | str:
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


def _verify(directory: bytes, read_fd: int, write_fd: int) -> tuple[int, int] | str:
    """Check the pair in the process that has it, by the same rules as our own (jobserver.judge_pair)."""
    try:
        reading, writing = (os.stat(b"%s/%d" % (directory, fd)) for fd in (read_fd, write_fd))
        modes = [_mode(b"%sinfo/%d" % (directory, fd)) for fd in (read_fd, write_fd)]
    except FileNotFoundError:
        return NOT_OPEN
    except OSError:
        return UNREADABLE
    return judge_pair(reading, writing, modes[0], modes[1]) if min(modes) >= 0 else MODES


def _mode(path: bytes) -> int:
    """Read the access mode out of a /proc/PID/fdinfo entry (`flags:` is octal), -1 when it does not say."""
    for line in slurp(path).splitlines():
        if line.startswith(b"flags:"):
            return int(line[6:], 8) & os.O_ACCMODE
    return -1


def _still(proc: bytes, recipe: Recipe) -> bool:
    """Tell whether the same make is still the parent of the process it started: a pid alone proves nothing."""
    try:
        parent = int(_status(proc, recipe.chain[0]).get(b"PPid", b"0"))
        return parent == recipe.make and _started(proc, recipe.make) == recipe.started
    except OSError:
        return False


def _status(proc: bytes, pid: int) -> dict[bytes, bytes]:
    lines = slurp(b"%s/%d/status" % (proc, pid)).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}


def _started(proc: bytes, pid: int) -> bytes:
    # The command may hold blanks and brackets; the last bracket ends it. Field 22 of proc(5).
    fields = slurp(b"%s/%d/stat" % (proc, pid)).rpartition(b")")[2].split()
    return fields[19] if len(fields) > 19 else b""
