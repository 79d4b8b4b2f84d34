"""Take tokens from somebody's jobserver, and give exactly those bytes back.

A jobserver is a pipe with a byte for every job that may still start. The edge cases follow from each other:
  - The descriptors that MAKEFLAGS names may be anything by now: make up to 4.3 closes them in a recipe without `+` and leaves the words. A
    byte read from fd 3 is then a byte of somebody's file. So a pair counts only if both are ends of one and the same pipe, with the
    right access modes, and not one that somebody between make and us put there; a path only if it is a FIFO, or a character device that
    is neither a terminal nor memory.
  - Reading must not block (a link waits for nobody), and O_NONBLOCK belongs to the open file description, which make shares with us and may
    rely on. So both ends are opened anew through /proc/self/fd: our own description, our own flags, make's are never touched (C13).
  - Everything below make sees the numbers 3 and 4 in MAKEFLAGS. So ours are close-on-exec and stand above 100.
  - A pipe without a writer reads as end of file, one without a reader kills by SIGPIPE. We hold both ends, so neither happens.
  - A server may tell its clients apart by the byte. So bytes are kept and given back as they are (C14).
  - make's last act is to read until nobody holds a write end. So `close` is never forgotten: who opens a Jobserver owns it until then
    (C15).
  - Some servers put in one token at a time, and the next when it is gone (build2, steve). A first read of one byte is thus not yet the
    answer, and is followed by up to 30 ms of grace; see `take`.

Used by the warden through lease.py; source.py calls `find`, in the link's own process: descriptors must be looked at before anything of
ours is opened.
"""

from __future__ import annotations

import os

from ..call.descriptors import raised, waiting
from ..call.environment import slurp
from . import makeflags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

GRACE = 0.03  # seconds; jobserver-lessons §0.7: 7 of 7 tokens of a trickling server with it, 1 of 7 without

FULL_SECONDS = 0.1  # half of what make's exit may wait for us (C15)

# The closed set of reasons why a jobserver that is named cannot be used; makeflags.py has those for none being named.
DRY_RUN = "make only prints what it would do"
CLOSED = "the jobserver's descriptors are closed: the recipe is not marked with +"
NOT_PIPE = "the jobserver's descriptors are not a pipe"
SOCKET = "the jobserver's descriptors are sockets"
TWO_PIPES = "the jobserver's descriptors belong to two different pipes"
STRANGERS = "the jobserver's descriptors are a pipe of another program's: make has a different one under these numbers"
MODES = "the jobserver's descriptors are not open for reading and for writing"
NO_PROC = "the jobserver's pipe cannot be opened anew: /proc/self/fd is not available"
REFUSED = "the jobserver may not be opened by this user"
MISSING = "the jobserver's fifo does not exist (another container, or its make has ended)"
NOT_FIFO = "the jobserver's path is neither a FIFO nor a character device"
TERMINAL = "the jobserver's path is a terminal or a memory device"
UNSERVED = "nobody serves the jobserver's fifo any more"
FAILED = "the jobserver cannot be opened"

_MEMORY_MAJOR = 1  # /dev/null, /dev/zero, /dev/full, /dev/mem: documented in Linux' devices.txt


class Jobserver:
    """A client of one jobserver. Owner: whoever called `connect`; only one process at a time may use it.

    held: tokens we have; name: "pipe 3,4", "fifo /tmp/GMfifo12"; jobs: the -jN said beside it, 0 when unknown; callers_fds: make's own
    descriptors in this process, () for a fifo. Not promised: fairness to blocking readers, and anything after a SIGKILL of the owner (then
    the tokens are gone, as with every client).
    """

    __slots__ = ("_bytes", "_read_fd", "_single", "_write_fd", "callers_fds", "jobs", "name")

    def __init__(self, read_fd: int, write_fd: int, name: str, callers_fds: tuple[int, ...] = (), single: bool = False) -> None:
        """Own read_fd and write_fd (they may be equal), both O_NONBLOCK; single: one byte a system call (a device that counts calls)."""
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._single = single
        self._bytes = bytearray()
        self.name = name
        self.callers_fds = callers_fds
        self.jobs = 0

    @property
    def held(self) -> int:
        """Count the tokens held."""
        return len(self._bytes)

    @property
    def is_device(self) -> bool:
        """Tell whether this is a character device, whose server takes tokens back from the dead."""
        return self._single

    def fds(self) -> list[int]:
        """Return our private descriptors: all close-on-exec, for the warden to keep."""
        return [] if self._read_fd < 0 else sorted({self._read_fd, self._write_fd})

    def tokens_fd(self) -> int:
        """Return the descriptor that polls readable while tokens lie there; -1 for a device, which may not know poll."""
        return -1 if self._single else self._read_fd

    def available(self) -> int:
        """Count the tokens that lie there now, without taking any; 0 or 1 for a device, which does not tell how many."""
        if self._read_fd < 0 or self._single:
            return int(self._read_fd >= 0 and self._readable(0))
        return waiting(self._read_fd)

    def take(self, most: int, grace: float = GRACE) -> int:
        """Take up to `most` tokens that are there now, and return how many.

        grace: seconds, spent only when the first read brought a single token, which is what a trickling server looks like. Without a
        first token there is nothing to wait for: a busy build has none most of the time, and the warden grows the link later. Two at
        once come from a pool that has shown all it has. Each wait is half the one before, so all of them together stay within `grace`,
        and a build that frees a token every few milliseconds is not drained by a patient link.
        """
        if most <= 0 or self._read_fd < 0:
            return 0
        first = taken = self._read(most)
        wait = grace / 2
        while first == 1 and taken < most and wait * 1000 >= 1 and self._readable(wait):
            taken += self._read(most - taken)
            wait /= 2
        return taken

    def give(self, count: int) -> None:
        """Give back `count` of the tokens held (all, when there are fewer), the bytes unchanged, waiting a moment for room if need be.

        Where no room comes, what is left stays in `held`, as it does where OSError is raised: the jobserver is gone (a device's daemon).
        """
        left = min(count, len(self._bytes))
        while left > 0:
            try:
                # The bytes leave our books only when the kernel has them: an error in between loses none and doubles none.
                written = os.write(self._write_fd, self._bytes[: 1 if self._single else left])
            except BlockingIOError:
                # Full: somebody put more in than was ever taken out, so nobody lacks what we cannot add.
                import select  # noqa: PLC0415  almost never, and a module that costs 0.3 ms

                poller = select.poll()
                poller.register(self._write_fd, select.POLLOUT)
                if not poller.poll(FULL_SECONDS * 1000):
                    return
                continue
            del self._bytes[:written]
            left -= written

    def close(self) -> None:
        """Give everything back, then close our descriptors; a second call does nothing."""
        try:
            self.give(self.held)
        finally:
            for fd in self.fds():
                os.close(fd)
            self._read_fd = self._write_fd = -1

    def _read(self, most: int) -> int:
        taken = 0
        while taken < most:
            if self._single and not self._readable(0):
                break  # a device may not know O_NONBLOCK
            try:
                got = os.read(self._read_fd, 1 if self._single else most - taken)
            except OSError:
                break  # EAGAIN: none left, or another client was faster. Anything else: a jobserver that has died has no tokens
            self._bytes += got
            taken += len(got)
            if not got or not self._single:
                break
        return taken

    def _readable(self, seconds: float) -> bool:
        import select  # noqa: PLC0415  as above

        poller = select.poll()
        poller.register(self._read_fd, select.POLLIN)
        return any(event & select.POLLIN for _, event in poller.poll(seconds * 1000))


def find(environment_values: Sequence[tuple[str, bytes]]) -> tuple[Jobserver | None, list[str]]:
    """Connect to the first jobserver that works, and say why the others did not.

    environment_values: (variable, value) in the order to try, ("CARGO_MAKEFLAGS", ...) first: cargo's is alive where make's words are
    stale. Return the client, or None; and one "VARIABLE: reason" for each variable tried in vain.
    """
    reasons: list[str] = []
    for variable, value in environment_values:
        auth = makeflags.parse(value)
        connected = connect(auth)
        if isinstance(connected, Jobserver):
            # What cargo says of itself is not make's to confirm: its pipe may have the numbers of one that make withheld.
            if variable == "CARGO_MAKEFLAGS" or auth.kind != "pipe" or not _is_strangers(auth):
                return connected, reasons
            connected.close()
            connected = STRANGERS
        reasons.append(f"{variable}: {connected}")
    return None, reasons


def _is_strangers(auth: makeflags.Auth, proc: bytes = b"/proc") -> bool:
    """Tell whether the make that gave us these words has another pipe under their numbers, or none: then ours came from somebody between.

    Words that are not that make's (a pool that was started in its recipe has its own), or a make that cannot be asked: the pair stands.
    """
    from . import parent_make  # noqa: PLC0415  a fifo has no numbers that somebody else could have

    run_by = parent_make.find(proc)
    said = parent_make.words(proc, run_by) if isinstance(run_by, parent_make.Recipe) else ""
    if isinstance(run_by, str) or isinstance(said, str):
        return False
    pair = auth.read_fd, auth.write_fd
    if (said.read_fd, said.write_fd, said.jobs) != (*pair, auth.jobs):
        return False
    try:
        theirs = [os.stat(b"%s/%d/fd/%d" % (proc, run_by.make, fd)) for fd in pair]
        return any((end.st_dev, end.st_ino) != (mine.st_dev, mine.st_ino) for end, mine in zip(theirs, map(os.fstat, pair)))
    except FileNotFoundError:
        return parent_make.still(proc, run_by)
    except OSError:
        return False


def connect(auth: makeflags.Auth) -> Jobserver | str:
    """Open what auth names for ourselves: a client, or the reason why not. Reads no byte."""
    if auth.kind == "none":
        return auth.reason
    if auth.dry_run:
        return DRY_RUN
    if auth.kind == "pipe":
        pair = verify_pair(auth.read_fd, auth.write_fd)
        if isinstance(pair, str):
            return pair
        opened = open_pair(b"/proc/self/fd", auth.read_fd, auth.write_fd, pair)
        if isinstance(opened, str):
            return opened
        found: Jobserver | str = Jobserver(*opened, f"pipe {auth.read_fd},{auth.write_fd}", (auth.read_fd, auth.write_fd))
    else:
        found = _connect_path(auth.path)
    if isinstance(found, Jobserver):
        found.jobs = auth.jobs
    return found


def verify_pair(read_fd: int, write_fd: int) -> tuple[int, int] | str:
    """Check that two descriptors of this process are the two ends of one pipe: (device, inode), or the reason why not."""
    try:
        reading, writing = os.fstat(read_fd), os.fstat(write_fd)
    except (OSError, OverflowError):
        return CLOSED
    try:
        modes = [access_mode(b"/proc/self/fdinfo/%d" % fd) for fd in (read_fd, write_fd)]
    except OSError:
        return NO_PROC
    return judge_pair(reading, writing, modes[0], modes[1])


def access_mode(path: bytes) -> int:
    """Read the access mode out of a /proc/PID/fdinfo entry (`flags:` is octal), -1 when it does not say. Raises OSError.

    fcntl says the same of a descriptor of our own, but is a shared object in most Pythons, and a GCC link needs it for nothing else.
    """
    for line in slurp(path).splitlines():
        if line.startswith(b"flags:"):
            return int(line[6:], 8) & os.O_ACCMODE
    return -1


def judge_pair(reading: os.stat_result, writing: os.stat_result, read_mode: int, write_mode: int) -> tuple[int, int] | str:
    """Judge two open files by their status and access modes (O_RDONLY, O_WRONLY, O_RDWR): (device, inode) of the pipe, or the reason."""
    kinds = {reading.st_mode & 0o170000, writing.st_mode & 0o170000}
    if 0o140000 in kinds:
        return SOCKET
    if kinds != {0o010000}:
        return NOT_PIPE
    if (reading.st_dev, reading.st_ino) != (writing.st_dev, writing.st_ino):
        return TWO_PIPES
    if read_mode not in (os.O_RDONLY, os.O_RDWR) or write_mode not in (os.O_WRONLY, os.O_RDWR):
        return MODES
    return reading.st_dev, reading.st_ino


def open_pair(directory: bytes, read_fd: int, write_fd: int, pair: tuple[int, int]) -> tuple[int, int] | str:
    """Open both ends of a pipe anew, below a /proc/PID/fd: our (read, write), or the reason why not.

    pair: the (device, inode) that was verified; both descriptors must still be it, or they are closed again unread.
    """
    ends: list[int] = []
    reason = ""
    try:
        for number, mode in ((read_fd, os.O_RDONLY), (write_fd, os.O_WRONLY)):
            ends.append(_open(b"%s/%d" % (directory, number), mode))
            status = os.fstat(ends[-1])
            if (status.st_dev, status.st_ino) != pair:
                reason = TWO_PIPES
    except OSError as error:
        reason = _why(error, NO_PROC)
    if not reason:
        return ends[0], ends[1]
    for fd in ends:
        os.close(fd)
    return reason


def _connect_path(path: bytes) -> Jobserver | str:
    name = "fifo " + os.fsdecode(path)
    ends: list[int] = []
    reason = ""
    try:
        status = os.stat(path)
        kind = status.st_mode & 0o170000
        if kind == 0o010000:
            # The write end first: without a server that reads it cannot be opened (ENXIO), and our own read end would hide that.
            ends = [_open(path, os.O_WRONLY)]
            ends.append(_open(path, os.O_RDONLY))
        elif kind == 0o020000 and os.major(status.st_rdev) != _MEMORY_MAJOR:
            # A device's tokens belong to the open file description they were taken through, so one serves both directions.
            ends = [_open(path, os.O_RDWR)]
        else:
            reason = NOT_FIFO if kind != 0o020000 else TERMINAL
        reason = reason or _judge_opened(ends, status)
    except (OSError, ValueError) as error:
        reason = _why(error, MISSING)
    if not reason:
        return Jobserver(ends[-1], ends[0], name, single=len(ends) == 1)
    for fd in ends:
        os.close(fd)
    return reason


def _judge_opened(ends: list[int], expected: os.stat_result) -> str:
    """Look at what was opened, since the name may have changed hands after it was looked at."""
    for fd in ends:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino, status.st_mode) != (expected.st_dev, expected.st_ino, expected.st_mode):
            return NOT_FIFO
        if os.isatty(fd):
            return TERMINAL
    return ""


def _open(path: bytes, mode: int) -> int:
    """Open without blocking, without becoming anybody's terminal, close-on-exec, above every number that a MAKEFLAGS names in practice."""
    return raised(os.open(path, mode | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY))


def _why(error: Exception, missing: str) -> str:
    """Name the reason behind a failed open; missing: what ENOENT means here."""
    import errno  # noqa: PLC0415  even what is built in costs 0.15 ms when it is imported

    number = error.errno if isinstance(error, OSError) else errno.ENOENT
    if number in (errno.EACCES, errno.EPERM):
        return REFUSED
    if number == errno.ENXIO:
        return UNSERVED
    return missing if number in (errno.ENOENT, errno.ENOTDIR) else FAILED
