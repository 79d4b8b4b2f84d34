"""The jobserver of `ldshim pool`: a fifo or a pipe with N-1 tokens, and a directory for it.

Programs that ldshim does not know use this jobserver, and the edge cases come from them:
  - A fifo is found by its name, in every environment below: make 4.4, ninja 1.13, cargo, GCC 13 and ldshim understand it. make 4.3 fails
    ("internal error: invalid --jobserver-auth string"); for it there is the pipe, which every make understands.
  - The name is part of MAKEFLAGS, which make splits at blanks and expands at `$`: the name of the directory must have neither.
  - The read end is O_NONBLOCK, as in make since 4.3: GCC 13 waits for ever on a blocking one.
  - When the build is over, a process may still hold tokens: a warden that returns them in a millisecond, or a server that inherited the
    pipe and never ends. Both hold a write end. So the pool closes its own, and the pipe hangs up when no other is left.
  - A killed pool leaves its directory. The directory is locked while the pool lives. The next pool finds it unlocked and removes it,
    unless a build that outlived its pool still has the fifo open.
"""

from __future__ import annotations

import fcntl
import os
import re
import select

from ...call import descriptors, own_directory, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 4096  # jobs: a pipe of one page, which is what a user with many pipes gets, has room for their tokens
_PREFIX = b"pool-"
_FIFO = b"fifo"
_PATH_FOR_MAKEFLAGS = re.compile(rb"[A-Za-z0-9_./+,:@%=~\x80-\xff-]+")
_TOKEN = b"+"  # the byte that make uses


class NoServerError(Exception):
    """No jobserver can be created; the text has the reason and an action."""


class Server:
    """One jobserver. jobs: N, tokens: N-1; style: "fifo" or "pipe"; owner: the process that created it, which calls `close`.

    directory: of the fifo, b"" when there is none.
    """

    def __init__(self, jobs: int, style: str, get: Callable[[bytes], bytes]) -> None:
        """Create and fill it. get: Environment.get. Raises NoServerError."""
        self.jobs = jobs
        self.tokens = jobs - 1
        self.style = style
        self.directory = b""
        self._filled = 0  # ns: mtime after the last token was written
        self._lock = self.read_fd = self.write_fd = -1
        place = _make_directory(get)
        if isinstance(place, tuple):
            self.directory, self._lock = place
        elif style == "fifo":
            raise NoServerError(f"ldshim: pool: no directory for the fifo: {place}; set XDG_RUNTIME_DIR, or use --style=pipe")
        try:
            self._open()
            os.write(self.write_fd, _TOKEN * self.tokens)
            self._filled = os.fstat(self.read_fd).st_mtime_ns
        except OSError as error:
            self.close()
            raise NoServerError(f"ldshim: pool: the {style} cannot be created: {error.strerror}; try --style={_other(style)}") from error

    @property
    def auth(self) -> bytes:
        """Return the value of --jobserver-auth."""
        return b"fifo:" + self.directory + b"/" + _FIFO if self.style == "fifo" else b"%d,%d" % (self.read_fd, self.write_fd)

    @property
    def inherited(self) -> tuple[int, ...]:
        """Return the descriptors that the build must inherit: a pipe has no name."""
        return (self.read_fd, self.write_fd) if self.style == "pipe" else ()

    def available(self) -> int:
        """Count the tokens in it now, whatever their bytes: GCC writes `G`, which is a token, too."""
        return descriptors.waiting(self.read_fd)

    def was_asked(self) -> bool:
        """Return whether a token was ever taken: one is missing, or one came back and changed the mtime of the fifo (a pipe has none)."""
        return self.available() != self.tokens or os.fstat(self.read_fd).st_mtime_ns != self._filled

    def stop_writing(self) -> None:
        """Close our own write end, so that `is_over` tests those of other processes."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def is_over(self) -> bool:
        """Return whether no process has a write end any more."""
        poll = select.poll()
        poll.register(self.read_fd, 0)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    def writers(self) -> list[int]:
        """List the other processes that hold a write end, as far as /proc shows them."""
        wanted = os.fstat(self.read_fd)
        found = set()
        for pid in processes.all_pids():
            top = b"%s/%d/fd/" % (processes.PROC, pid)
            try:
                for number in os.listdir(top):
                    status = os.stat(top + number)
                    if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino) and os.lstat(top + number).st_mode & 0o200:
                        found.add(pid)
            except OSError:
                continue
        return sorted(found - {os.getpid()})

    def close(self) -> None:
        """Close everything and remove the directory; a second call does nothing."""
        for fd in (self.read_fd, self.write_fd):
            if fd >= 0:
                os.close(fd)
        self.read_fd = self.write_fd = -1
        if self._lock >= 0:
            _remove(self.directory, self._lock)
            os.close(self._lock)
            self._lock = -1

    def _open(self) -> None:
        if self.style == "pipe":
            self.read_fd, self.write_fd = descriptors.pipe()
            os.set_blocking(self.read_fd, False)
            return
        os.mkfifo(_FIFO, 0o600, dir_fd=self._lock)
        self.read_fd = descriptors.raised(os.open(_FIFO, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._lock))
        self.write_fd = descriptors.raised(os.open(_FIFO, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._lock))


def _make_directory(get: Callable[[bytes], bytes]) -> tuple[bytes, int] | str:
    """Create our directory and lock it: its path and descriptor, or the reason why not. Remove the directories of dead pools."""
    reasons = []
    temporary = get(b"TMPDIR")
    for where, tmp in ((get, b"/tmp"), (_nothing, b"/tmp"), (_nothing, temporary)):
        if not tmp.startswith(b"/"):
            continue
        above = own_directory.directory(where, tmp=tmp.rstrip(b"/"))
        if isinstance(above, str):
            reasons.append(above)
        elif not _PATH_FOR_MAKEFLAGS.fullmatch(above):
            reasons.append(f"{os.fsdecode(above)} has characters in its name that MAKEFLAGS cannot contain")
        else:
            created = _make_locked(above)
            if isinstance(created, tuple):
                return created
            reasons.append(created)
    return "; ".join(dict.fromkeys(reasons))


def _nothing(_: bytes) -> bytes:
    return b""


def _make_locked(above: bytes) -> tuple[bytes, int] | str:
    path = above + b"/" + _PREFIX + (processes.stamp(os.getpid()) or b"%d.0" % os.getpid())
    try:
        _remove_dead(above)
        while True:
            os.mkdir(path, 0o700)
            fd = descriptors.raised(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
            # Another pool's _remove_dead may have removed it before it was locked.
            if _lock(fd) and _is_at(path, fd):
                return path, fd
            os.close(fd)
            if os.path.isdir(path):
                os.rmdir(path)
    except OSError as error:
        return f"{os.fsdecode(path)}: {error.strerror}"


def _remove_dead(above: bytes) -> None:
    """Remove the directories of killed pools whose fifo no process has open."""
    for name in os.listdir(above):
        if not name.startswith(_PREFIX):
            continue
        try:
            fd = os.open(above + b"/" + name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if _lock(fd) and not _is_in_use(fd):
                _remove(above + b"/" + name, fd)
        finally:
            os.close(fd)


def _lock(fd: int) -> bool:
    """Lock the directory of a pool; False when its pool holds the lock. Raises OSError where locks do not work."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: bytes, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        return False


def _is_in_use(directory: int) -> bool:
    """Return whether a process has the fifo in a pool's directory open for reading: a build that outlived its pool."""
    try:
        os.close(os.open(_FIFO, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory))
    except OSError:
        return False  # ENXIO: none; ENOENT: a pool with a pipe
    return True


def _remove(path: bytes, fd: int) -> None:
    """Remove the directory of a pool, which only we can write. fd: of the directory, locked."""
    try:
        for name in os.listdir(fd):
            os.unlink(name, dir_fd=fd)
        os.rmdir(path)
    except OSError:
        pass  # the next pool removes it


def _other(style: str) -> str:
    return "pipe" if style == "fifo" else "fifo"
