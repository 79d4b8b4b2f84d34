"""A client of a jobserver: take tokens, and return exactly those bytes.

A jobserver is a pipe that holds one byte for each job that may still start. The edge cases follow from each other:
  - The descriptors that MAKEFLAGS names may be other files by now: make up to 4.3 closes them in a recipe without `+` and leaves the
    variable. A byte read from fd 3 is then a byte of another file. So a pair counts only if both are ends of the same pipe, with the right
    access modes, and the pipe is not one that a process between make and us opened. A path counts only if it is a FIFO, or a character
    device that is neither a terminal nor memory.
  - Reading must not block, because a link never waits for a token. O_NONBLOCK belongs to the open file description, which make shares with
    us and may rely on. So both ends are opened again through /proc/self/fd. The new descriptions have our own flags, and make's are
    unchanged (C13).
  - Every process below make finds the numbers 3 and 4 in MAKEFLAGS. So our descriptors are close-on-exec and above 100.
  - A pipe without a writer reads as end of file, and writing to one without a reader raises SIGPIPE. We hold both ends, so neither
    happens.
  - A server may distinguish its clients by the byte. So bytes are stored and returned unchanged (C14).
  - At its exit make reads until no process has a write end. So the owner of a Jobserver always calls `close` (C15).
  - Some servers put in one token at a time, and the next when that is taken (build2, steve). So after a first read of one byte the client
    waits up to 30 ms for more; see `take`.

The warden uses it through lease.py. source.py calls `find` in the process of the link, before ldshim opens any other file: the descriptors
must be checked first.
"""

from __future__ import annotations

import os

from ..call.descriptors import raised, waiting
from ..call.environment import slurp
from . import makeflags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

GRACE = 0.03  # seconds; with it, 7 of 7 tokens of a server that puts in one at a time, without it 1 of 7

FULL_SECONDS = 0.1  # half of the 0.2 s by which ldshim may delay the exit of make (C15)

# All reasons why a named jobserver cannot be used. makeflags.py has the reasons why none is named.
DRY_RUN = "make was called with -n and only prints recipes"
CLOSED = "the jobserver's descriptors are closed: the recipe is not marked with +"
NOT_PIPE = "the jobserver's descriptors are not a pipe"
SOCKET = "the jobserver's descriptors are sockets"
TWO_PIPES = "the jobserver's descriptors belong to two different pipes"
OTHER_PIPE = "the jobserver's descriptors are a pipe of another program: make has a different pipe under these numbers"
MODES = "the jobserver's descriptors are not open for reading and for writing"
NO_PROC = "the jobserver's pipe cannot be opened again: /proc/self/fd is not available"
REFUSED = "this user has no permission to open the jobserver"
MISSING = "the jobserver's fifo does not exist (another container, or its make has ended)"
NOT_FIFO = "the jobserver's path is neither a FIFO nor a character device"
TERMINAL = "the jobserver's path is a terminal or a memory device"
NO_SERVER = "no process has the jobserver's fifo open any more"
FAILED = "the jobserver cannot be opened"

_MEMORY_MAJOR = 1  # /dev/null, /dev/zero, /dev/full, /dev/mem: see devices.txt of Linux


class Jobserver:
    """A client of one jobserver. Owner: the caller of `connect`; only one process at a time may use it.

    held: tokens that we hold; name: "pipe 3,4", "fifo /tmp/GMfifo12"; jobs: N of the -jN beside it, 0 when unknown; callers_fds: the
    descriptors of make in this process, () for a fifo. Not promised: fairness to blocking readers, and the return of tokens after a SIGKILL
    of the owner (as with every client).
    """

    __slots__ = ("_bytes", "_read_fd", "_single", "_write_fd", "callers_fds", "jobs", "name")

    def __init__(self, read_fd: int, write_fd: int, name: str, callers_fds: tuple[int, ...] = (), single: bool = False) -> None:
        """Own read_fd and write_fd (they may be equal), both O_NONBLOCK; single: one byte in each system call (for a device)."""
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
        """Return whether this is a character device, whose server takes back the tokens of a dead client."""
        return self._single

    def fds(self) -> list[int]:
        """Return our own descriptors, all close-on-exec, which the warden must not close."""
        return [] if self._read_fd < 0 else sorted({self._read_fd, self._write_fd})

    def tokens_fd(self) -> int:
        """Return the descriptor that is readable while there are tokens; -1 for a device, which may not support poll."""
        return -1 if self._single else self._read_fd

    def available(self) -> int:
        """Count the tokens that are free now, and take none; 0 or 1 for a device, which does not report the number."""
        if self._read_fd < 0 or self._single:
            return int(self._read_fd >= 0 and self._readable(0))
        return waiting(self._read_fd)

    def take(self, most: int, grace: float = GRACE) -> int:
        """Take up to `most` tokens that are free now, and return how many.

        grace: seconds to wait for more, only if the first read returned one token, because the server may put in one at a time. Without a
        first token there is no wait: a busy build has none most of the time, and the warden grows the link later. Two tokens at once
        come from a server that puts in all of them. Each wait is half the last one, so the sum is at most `grace`, and a link does not
        take every token of a build that frees one every few milliseconds.
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
        """Return `count` of the tokens held (all, if there are fewer), the bytes unchanged. Wait up to FULL_SECONDS if the pipe is full.

        Tokens that cannot be written stay in `held`. Raises OSError when the jobserver is gone (the daemon of a device).
        """
        left = min(count, len(self._bytes))
        while left > 0:
            try:
                # The bytes leave `held` only after the write, so an error neither loses nor doubles one.
                written = os.write(self._write_fd, self._bytes[: 1 if self._single else left])
            except BlockingIOError:
                # Full: a client returned more than it took, so no job is missing the tokens that we cannot add.
                import select  # noqa: PLC0415  rarely needed, and its import costs 0.3 ms

                poller = select.poll()
                poller.register(self._write_fd, select.POLLOUT)
                if not poller.poll(FULL_SECONDS * 1000):
                    return
                continue
            del self._bytes[:written]
            left -= written

    def close(self) -> None:
        """Return all tokens, then close our descriptors; a second call does nothing."""
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
                break  # a device may ignore O_NONBLOCK
            try:
                got = os.read(self._read_fd, 1 if self._single else most - taken)
            except OSError:
                break  # EAGAIN: none left, or another client was faster. Any other error: the jobserver is dead and has no tokens
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
    """Connect to the first jobserver that works.

    environment_values: (variable, value) in the order to try, ("CARGO_MAKEFLAGS", ...) first: the jobserver of cargo is open where that in
    MAKEFLAGS is stale. Return the client or None, and one "VARIABLE: reason" for each variable that did not work.
    """
    reasons: list[str] = []
    for variable, value in environment_values:
        auth = makeflags.parse(value)
        connected = connect(auth)
        if isinstance(connected, Jobserver):
            # make cannot confirm the pipe of cargo, which may have the numbers of one that make withheld.
            if variable == "CARGO_MAKEFLAGS" or auth.kind != "pipe" or not _is_other_pipe(auth):
                return connected, reasons
            connected.close()
            connected = OTHER_PIPE
        reasons.append(f"{variable}: {connected}")
    return None, reasons


def _is_other_pipe(auth: makeflags.Auth, proc: bytes = b"/proc") -> bool:
    """Return whether the make that set this MAKEFLAGS has another pipe under these numbers, or none.

    Then a process between make and us opened our pipe. False if another program set the variable (a pool in a recipe of that make), or if
    the make cannot be examined.
    """
    from . import parent_make  # noqa: PLC0415  a fifo needs no such check

    run_by = parent_make.find(proc)
    set_by_make = parent_make.makeflags_of(proc, run_by) if isinstance(run_by, parent_make.Recipe) else ""
    if isinstance(run_by, str) or isinstance(set_by_make, str):
        return False
    pair = auth.read_fd, auth.write_fd
    if (set_by_make.read_fd, set_by_make.write_fd, set_by_make.jobs) != (*pair, auth.jobs):
        return False
    try:
        of_make = [os.stat(b"%s/%d/fd/%d" % (proc, run_by.make, fd)) for fd in pair]
        return any((end.st_dev, end.st_ino) != (own.st_dev, own.st_ino) for end, own in zip(of_make, map(os.fstat, pair)))
    except FileNotFoundError:
        return parent_make.is_unchanged(proc, run_by)
    except OSError:
        return False


def connect(auth: makeflags.Auth) -> Jobserver | str:
    """Open the jobserver that auth names: a client, or the reason why not. Reads no byte."""
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
    """Read the access mode out of a /proc/PID/fdinfo entry (`flags:` is octal), -1 without one. Raises OSError.

    fcntl could return it for our own descriptors, but is a shared object in most Pythons, and a GCC link has no other use for it.
    """
    for line in slurp(path).splitlines():
        if line.startswith(b"flags:"):
            return int(line[6:], 8) & os.O_ACCMODE
    return -1


def judge_pair(reading: os.stat_result, writing: os.stat_result, read_mode: int, write_mode: int) -> tuple[int, int] | str:
    """Check the status and access modes (O_RDONLY, O_WRONLY, O_RDWR) of two open files: (device, inode) of the pipe, or the reason."""
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
    """Open both ends of a pipe again, through a /proc/PID/fd: the new (read, write), or the reason why not.

    pair: the (device, inode) that was verified. If an opened file is another one, both are closed and nothing is read.
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
            # The write end first: without a reader, which is the server, this fails with ENXIO; our own read end would hide that.
            ends = [_open(path, os.O_WRONLY)]
            ends.append(_open(path, os.O_RDONLY))
        elif kind == 0o020000 and os.major(status.st_rdev) != _MEMORY_MAJOR:
            # The tokens of a device belong to the open file description that they were read from, so one serves both directions.
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
    """Check the opened files, because the path may lead to another file since it was examined."""
    for fd in ends:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino, status.st_mode) != (expected.st_dev, expected.st_ino, expected.st_mode):
            return NOT_FIFO
        if os.isatty(fd):
            return TERMINAL
    return ""


def _open(path: bytes, mode: int) -> int:
    """Open with O_NONBLOCK, O_NOCTTY and O_CLOEXEC, at a number above those that MAKEFLAGS names in practice."""
    return raised(os.open(path, mode | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY))


def _why(error: Exception, missing: str) -> str:
    """Return the reason of a failed open. missing: the reason for ENOENT."""
    import errno  # noqa: PLC0415  the import of a built-in module costs 0.15 ms

    number = error.errno if isinstance(error, OSError) else errno.ENOENT
    if number in (errno.EACCES, errno.EPERM):
        return REFUSED
    if number == errno.ENXIO:
        return NO_SERVER
    return missing if number in (errno.ENOENT, errno.ENOTDIR) else FAILED
