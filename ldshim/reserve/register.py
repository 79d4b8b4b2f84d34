"""The register of a pool: how many of its tokens each of our wardens has, so that those of a dead one can be put back.

The problem: a token is a byte that its holder took out of a pipe. Kill the holder by SIGKILL, and the build is one job narrower until it
ends; nobody can tell a lost token from one in use. `ldshim pool` (cli/pool.py) owns a jobserver and could put the byte back, if only it
knew. The consequence: it names a directory in `_LDSHIM_POOL`, and every warden of ours that holds tokens of this very pool keeps a file
there, `PID.STARTTIME`: the tokens held, the link they are for, the tool. The pool looks at the files of wardens that are dead.

A byte too many is worse than one too few: nobody would ever notice it. So the number is conservative at every instant. It is raised
after tokens were taken and lowered before they are given back; it may say less than is held, never more. A SIGKILL in between loses what
the file does not say, and the pool's count at the end shows that. And what a dead warden held is put back when its link is over, too:
until then the link's threads are still running on it.

The variable outlives its pool, and is inherited by whatever is started below: another make's jobserver, a container. It says which
pipe or fifo is the pool's, by device and inode, and in which PID namespace it was written. A warden that holds tokens of another
jobserver, or whose pid means nothing to the pool, writes nothing; so does one that finds a directory others could write to.

How it is used: carryout wraps the lease on a jobserver with `registered`; the pool asks `entries`.
"""

from __future__ import annotations

import os

from ..call import own_directory, processes
from ..call.environment import slurp
from .lease import JobserverLease
from .wrapped import WrappedLease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .lease import Lease

VARIABLE = b"_LDSHIM_POOL"  # DIRECTORY:DEVICE.INODE.NAMESPACE

_MOST = 999999  # what six digits hold; a pool has at most 4095 tokens


def value(directory: bytes, fd: int) -> bytes:
    """Spell the variable for a pool. directory: only we can write it; fd: the jobserver's pipe or fifo. b"" where /proc does not tell."""
    namespace = _namespace()
    status = os.fstat(fd)
    return b"%s:%d.%d.%s" % (directory, status.st_dev, status.st_ino, namespace) if namespace else b""


def registered(lease: Lease, get: Callable[[bytes], bytes], tool: bytes = b"") -> Lease:
    """Wrap a lease whose tokens are a pool's, for the calling process's link; every other comes back as it is.

    get: Environment.get; tool: its name, for people.
    """
    directory, _, pool = get(VARIABLE).rpartition(b":")
    if not directory.startswith(b"/") or not isinstance(lease, JobserverLease):
        return lease
    if all(value(directory, fd) == directory + b":" + pool for fd in lease.fds()):
        return RegisteredLease(lease, directory, processes.own_stamp(), tool)
    return lease


class RegisteredLease(WrappedLease):
    """A lease on tokens of a pool that is told how many are held. Owns the lease it wraps; the file belongs to who calls `grow` first.

    directory: the pool's; link: the `pid.starttime` that the tokens are for; tool: its name, for people.
    """

    __slots__ = ("_directory", "_fd", "_path", "_said", "_tail")

    def __init__(self, lease: Lease, directory: bytes, link: bytes, tool: bytes) -> None:
        super().__init__(lease)
        self._directory = directory
        self._tail = b"%s %s\n" % (link, tool.replace(b"\n", b"?")[:200])
        self._path = b""
        self._fd = -1
        self._said = 0

    def grow(self, most: int) -> int:
        """Take up to `most` tokens that are there now, then write down how many are held."""
        took = self.lease.grow(most)
        if took and not self._path:
            self._create()
        self._say(self.lease.held)
        return took

    def shrink(self, count: int) -> None:
        """Write down that `count` tokens fewer are held, then give them back. OSError: as the wrapped lease."""
        self._say(max(0, self.lease.held - count))
        try:
            self.lease.shrink(count)
        finally:
            self._say(self.lease.held)

    def release(self) -> None:
        """Strike the entry out, then give everything back."""
        self._say(0)
        try:
            self.lease.release()
        finally:
            if self._fd >= 0:
                self._remove()
                os.close(self._fd)
                self._fd = -1

    def fds(self) -> list[int]:
        """Return the descriptors of the lease, and the one of the entry."""
        return [*self.lease.fds(), *([self._fd] if self._fd >= 0 else [])]

    def _create(self) -> None:
        """Make our file, in the process whose pid is to be watched; without one, tokens are as safe as with any other client."""
        own = processes.own_stamp()
        self._path = self._directory + b"/" + own
        directory = own_directory.open_directory(self._directory)
        if not isinstance(directory, int):
            return
        try:
            if own and not os.fstat(directory).st_mode & 0o077:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._fd = os.open(own, flags, 0o600, dir_fd=directory)
        except OSError:
            pass  # the pool has ended, or the file system is full
        finally:
            os.close(directory)

    def _say(self, tokens: int) -> None:
        if self._fd < 0 or tokens == self._said:
            return
        try:
            # One width: what is written anew replaces all that stood there.
            os.pwrite(self._fd, b"%06d %s" % (min(tokens, _MOST), self._tail), 0)
            self._said = tokens
        except OSError:
            if tokens < self._said:
                self._remove()  # a number that may be too high must not stay

    def _remove(self) -> None:
        try:
            os.unlink(self._path)
        except OSError:
            pass  # the pool has ended


class Entry:
    """What one warden wrote down. warden, link: `pid.starttime`; tokens: at least so many were held; tool: the link's, for people."""

    __slots__ = ("link", "tokens", "tool", "warden")

    def __init__(self, warden: bytes, content: bytes) -> None:
        """Read one file's content; what is no entry holds no tokens."""
        count, _, rest = content.partition(b" ")
        self.warden = warden
        self.tokens = int(count) if len(count) == 6 and count.isdigit() and rest.endswith(b"\n") else 0
        self.link, _, self.tool = rest.rstrip(b"\n").partition(b" ")

    def is_dead(self) -> bool:
        """Tell whether the warden has ended: its pid is gone, or somebody else's."""
        return not processes.lives(self.warden)

    def is_settled(self) -> bool:
        """Tell whether its tokens are nobody's any more: it is dead, and so is the link that runs on them."""
        return self.is_dead() and not processes.lives(self.link)


def entries(directory: bytes) -> list[Entry]:
    """Read the register of a pool in our own PID namespace. A living warden's number is a moment's."""
    found = []
    for name in sorted(os.listdir(directory)):
        pid, _, started = name.partition(b".")
        if pid.isdigit() and started.isdigit():
            try:
                found.append(Entry(name, slurp(directory + b"/" + name)))
            except OSError:
                continue  # it has ended meanwhile
    return found


def settled(directory: bytes) -> list[Entry]:
    """Return the entries whose tokens can be put back, and strike them out: who calls this puts them back, once."""
    found = []
    for entry in entries(directory):
        if not entry.is_settled():
            continue
        path = directory + b"/" + entry.warden
        try:
            # Read again: what was read before may be what the warden wrote before its last change.
            last = Entry(entry.warden, slurp(path))
            os.unlink(path)
        except OSError:
            continue
        found.append(last)
    return found


def _namespace() -> bytes:
    """Name the PID namespace that our pid and /proc belong to, b"" when that cannot be told."""
    if not processes.is_ours():
        return b""
    try:
        return b"%d" % os.stat(b"/proc/self/ns/pid").st_ino
    except OSError:
        return b""
