"""The jobserver that `ldshim pool` serves: a fifo or a pipe with N-1 tokens, and a directory beside it.

Not every build has a make at its top to hand out tokens, so `ldshim pool` does it. What it serves is used by programs that it knows nothing
about, and the edge cases are theirs:
  - A fifo is found by its name, in every environment below: make 4.4, ninja 1.13, cargo, GCC 13 and ldshim understand it. make 4.3 dies on
    it ("internal error: invalid --jobserver-auth string"), and for that there is the pipe, which every make understands.
  - The name stands in MAKEFLAGS, which is cut at blanks and expanded at `$`: the directory must have a harmless name.
  - The read end is O_NONBLOCK, as in make since 4.3: GCC 13 waits for ever on a blocking one.
  - When the build is over something may still hold tokens: a warden that returns them in a millisecond, or a server that inherited the pipe
    and never ends. Both hold a write end. So ours is closed and the pipe hangs up when nobody is left.
  - A killed pool leaves its directory. It is locked while the pool lives, so the next pool can tell, and removes it, unless an
    orphaned build still has the fifo open.
"""

from __future__ import annotations

import fcntl
import os
import re
import select

from ..call import descriptors, own_directory, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 4096  # jobs: a pipe of one page, all that a user of many pipes gets, still holds their tokens
_PREFIX = b"pool-"
_FIFO = b"fifo"
_HARMLESS = re.compile(rb"[A-Za-z0-9_./+,:@%=~\x80-\xff-]+")
_TOKEN = b"+"  # make's own


class UnservedError(Exception):
    """No jobserver can be made here; the text says why, and what to do."""


class Served:
    """One jobserver. jobs: N, tokens: N-1; style: "fifo" or "pipe"; owner: the process that made it, which calls `close`.

    directory: ours, where the fifo stands, b"" when there is none.
    """

    def __init__(self, jobs: int, style: str, get: Callable[[bytes], bytes]) -> None:
        """Make and fill it. get: Environment.get. Raises UnservedError."""
        self.jobs = jobs
        self.tokens = jobs - 1
        self.style = style
        self.directory = b""
        self._filled = 0  # ns: when the last token was put in
        self._lock = self.read_fd = self.write_fd = -1
        place = _make_directory(get)
        if isinstance(place, tuple):
            self.directory, self._lock = place
        elif style == "fifo":
            raise UnservedError(f"ldshim: pool: no place for the fifo: {place}; set XDG_RUNTIME_DIR, or use --style=pipe")
        try:
            self._open()
            os.write(self.write_fd, _TOKEN * self.tokens)
            self._filled = os.fstat(self.read_fd).st_mtime_ns
        except OSError as error:
            self.close()
            raise UnservedError(f"ldshim: pool: the {style} cannot be made: {error.strerror}; try --style={_other(style)}") from error

    @property
    def auth(self) -> bytes:
        """Spell it as the value of --jobserver-auth."""
        return b"fifo:" + self.directory + b"/" + _FIFO if self.style == "fifo" else b"%d,%d" % (self.read_fd, self.write_fd)

    @property
    def inherited(self) -> tuple[int, ...]:
        """Return the descriptors that everything below must have: a pipe is found by no name."""
        return (self.read_fd, self.write_fd) if self.style == "pipe" else ()

    def available(self) -> int:
        """Count the tokens that lie there now, whatever their bytes; GCC writes `G`, and that is a token, too."""
        return descriptors.waiting(self.read_fd)

    def was_asked(self) -> bool:
        """Tell whether somebody has taken a token: one is gone, or came back, which changes a fifo's time; a pipe has none."""
        return self.available() != self.tokens or os.fstat(self.read_fd).st_mtime_ns != self._filled

    def stop_writing(self) -> None:
        """Close our own write end, so that `is_over` tells about everybody else's."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def is_over(self) -> bool:
        """Tell whether nobody can write a token any more."""
        poll = select.poll()
        poll.register(self.read_fd, 0)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    def writers(self) -> list[int]:
        """Name the processes that hold a write end, as far as we may look, without this one."""
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
    """Make our directory, and lock it: its path and the descriptor, or the reason why not. Removes those of dead pools."""
    reasons = []
    temporary = get(b"TMPDIR")
    for where, tmp in ((get, b"/tmp"), (_nothing, b"/tmp"), (_nothing, temporary)):
        if not tmp.startswith(b"/"):
            continue
        above = own_directory.directory(where, tmp=tmp.rstrip(b"/"))
        if isinstance(above, str):
            reasons.append(above)
        elif not _HARMLESS.fullmatch(above):
            reasons.append(f"{os.fsdecode(above)} has letters in its name that MAKEFLAGS cannot carry")
        else:
            made = _make_locked(above)
            if isinstance(made, tuple):
                return made
            reasons.append(made)
    return "; ".join(dict.fromkeys(reasons))


def _nothing(_: bytes) -> bytes:
    return b""


def _make_locked(above: bytes) -> tuple[bytes, int] | str:
    path = above + b"/" + _PREFIX + (processes.stamp(os.getpid()) or b"%d.0" % os.getpid())
    try:
        _tidy(above)
        while True:
            os.mkdir(path, 0o700)
            fd = descriptors.raised(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
            # Another pool's _tidy may have taken it for a dead one's before the lock was on it.
            if _is_locked(fd) and _is_at(path, fd):
                return path, fd
            os.close(fd)
            if os.path.isdir(path):
                os.rmdir(path)
    except OSError as error:
        return f"{os.fsdecode(path)}: {error.strerror}"


def _tidy(above: bytes) -> None:
    """Remove the directories of pools that were killed, as far as nobody uses their fifo."""
    for name in os.listdir(above):
        if not name.startswith(_PREFIX):
            continue
        try:
            fd = os.open(above + b"/" + name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if _is_locked(fd) and not _is_in_use(fd):
                _remove(above + b"/" + name, fd)
        finally:
            os.close(fd)


def _is_locked(fd: int) -> bool:
    """Lock a pool's directory for ourselves, unless its pool has it. Raises OSError where nothing can be locked."""
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
    """Tell whether somebody reads the fifo in a pool's directory: a build that outlived its pool."""
    try:
        os.close(os.open(_FIFO, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory))
    except OSError:
        return False  # ENXIO: nobody; ENOENT: a pool with a pipe
    return True


def _remove(path: bytes, fd: int) -> None:
    """Remove a pool's directory, which only we can write; fd: open and locked."""
    try:
        for name in os.listdir(fd):
            os.unlink(name, dir_fd=fd)
        os.rmdir(path)
    except OSError:
        pass  # the next pool removes it


def _other(style: str) -> str:
    return "pipe" if style == "fifo" else "fifo"
