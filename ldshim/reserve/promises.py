"""What stands in one promise of memory, and how all of them are read. The book itself is memory_ledger.py.

A promise is a file `memory-PID.STARTTIME` in our directory, locked by flock through one open file for as long as its owner lives. One line:

    r 00000000000536870912 00000000000671088640 0000000123456 4026531836 26:4711,26:1

It runs (r), or waits to be admitted (w); the bytes it will still allocate; the same with the file pages that it wants to keep; when it
came, in milliseconds of call/clock.py, which are the same for all processes of a machine; its PID namespace; and the cgroups with a limit
that it is accounted in, by device and inode. The owner writes what is still to come, since only it can see what its processes use.
"""

from __future__ import annotations

import fcntl
import os

from ..call import processes
from ..call.environment import count
from .memory import HOST

PREFIX = b"memory-"
_MOST = 1024  # bytes of one promise: two dozen cgroups
_namespace: list[bytes] = []


class Entry:
    """One promise of a living owner.

    link: pid, as its own PID namespace counts; waits: it is not admitted yet; needs: bytes still to be allocated; wants: the same, and file
    pages; since: when it came, seconds; here: its PID namespace is ours; cgroups: `device:inode` of each.
    """

    __slots__ = ("cgroups", "here", "link", "needs", "since", "stamp", "waits", "wants")

    def __init__(
        self, stamp: bytes, waits: bool, needs: int, wants: int, since: float, namespace: bytes, cgroups: tuple[bytes, ...]
    ) -> None:
        self.stamp = stamp
        self.link = count(stamp.partition(b".")[0])
        self.waits = waits
        self.needs = needs
        self.wants = wants
        self.since = since
        self.here = namespace == own_namespace() and processes.is_ours()
        self.cgroups = cgroups

    def shares(self, identity: bytes) -> bool:
        """Tell whether a ceiling bounds this link, too: the machine, or a cgroup that it is in."""
        return identity == HOST or identity in self.cgroups

    def is_active(self) -> bool:
        """Tell whether its process lives and is not stopped; one that cannot be seen from here is taken for active: its lock is held."""
        if not self.here:
            return True
        fields = processes.stat_fields(self.link)
        return len(fields) > 19 and fields[0] not in (b"Z", b"X", b"T", b"t") and self.stamp.endswith(b"." + fields[19])


def own_namespace() -> bytes:
    """Name our PID namespace by its inode, b"0" where /proc does not say."""
    if not _namespace:
        try:
            _namespace.append(os.readlink(processes.PROC + b"/self/ns/pid")[5:-1] or b"0")
        except OSError:
            _namespace.append(b"0")
    return _namespace[0]


def render(waits: bool, needs: int, wants: int, since: float, cgroups: tuple[bytes, ...]) -> bytes:
    """Write one promise, always in the same length for one link, so that no reader sees a line that is half of two."""
    line = b"%c %020d %020d %013d %b %b" % (b"w" if waits else b"r", needs, wants, int(since * 1000), own_namespace(), b",".join(cgroups))
    return line[: _MOST - 1].rpartition(b",")[0] + b"\n" if len(line) >= _MOST else line + b"\n"


def parse(stamp: bytes, line: bytes) -> Entry:
    """Read one promise; what is not understood counts as one that runs and needs nothing more."""
    fields = line.split()
    if len(fields) < 5 or not all(field.isdigit() for field in fields[1:4]):
        return Entry(stamp, False, 0, 0, 0.0, b"", ())
    cgroups = tuple(fields[5].split(b",")) if len(fields) > 5 else ()
    return Entry(stamp, fields[0] == b"w", int(fields[1]), int(fields[2]), int(fields[3]) / 1000, fields[4], cgroups)


def read(directory: int, own: bytes = b"", tidy: bool = False) -> list[Entry]:
    """List the promises in a directory whose owners live, except `own` (a file's name).

    directory: an open descriptor; tidy: remove the promises whose owner is dead, which is safe only under the book's lock.
    """
    found: list[Entry] = []
    try:
        names = [os.fsencode(name) for name in os.listdir(directory)]
    except OSError:
        return found
    for name in names:
        if not name.startswith(PREFIX) or name == own:
            continue
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if tidy:
                os.unlink(name, dir_fd=directory)
        except BlockingIOError:
            found.append(parse(name[len(PREFIX) :], os.read(fd, _MOST)))
        except OSError:
            pass
        finally:
            os.close(fd)
    return found
