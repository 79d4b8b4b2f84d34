"""Other processes, as /proc shows them: who is below a link, what they are, who still holds a pipe.

Everything here may be asked about a process that is gone a microsecond later, so every question has an answer for that: nothing, zero,
empty. A /proc that is not there gives the same answers, and so does one that was mounted in another PID namespace (`unshare -pf` without
`--mount-proc`): its numbers are those of other processes. Whoever reads /proc by number asks `is_ours` first.
"""

from __future__ import annotations

import os

from .environment import count, slurp

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterator
else:
    import _signal  # the signal module proper builds enums: 4 ms

PROC = b"/proc"
NO_PROC = "/proc is missing: neither the links that share this machine nor the processes of this one can be seen"
FOREIGN = "/proc is missing or belongs to another PID namespace"
_asked: dict[bytes, bool] = {}


def is_there() -> bool:
    """Tell whether /proc is mounted; a chroot may have none."""
    return os.path.exists(PROC + b"/self")


def shows_us(proc: bytes) -> bool:
    """Tell whether the numbers in a /proc are those of our PID namespace: it calls us by our pid, and knows no other pid of ours."""
    try:
        if os.readlink(proc + b"/self") != b"%d" % os.getpid():
            return False
        # Two namespaces may call us by the same number. NSpid names all from the one that /proc belongs to (Linux 4.1) down to our own.
        names = slurp(proc + b"/self/status").partition(b"\nNSpid:")[2].partition(b"\n")[0]
    except OSError:
        return False
    return len(names.split()) < 2


def is_ours() -> bool:
    """Tell whether /proc may be read by number; asked once, for a fork stays in its namespace."""
    if PROC not in _asked:
        _asked[PROC] = shows_us(PROC)
    return _asked[PROC]


def place(pid: int, entry: bytes) -> bytes:
    """Name what /proc says of a process. Raises FileNotFoundError where its numbers are not ours."""
    if not is_ours():
        raise FileNotFoundError
    return b"%s/%d/%s" % (PROC, pid, entry)


def stat_fields(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat behind the command (state first), or [] when the process is gone."""
    try:
        return _fields(place(pid, b"stat"))
    except OSError:
        return []


def _fields(path: bytes) -> list[bytes]:
    # The command may hold blanks and brackets; the last bracket ends it.
    return slurp(path).rpartition(b")")[2].split()


def stamp(pid: int) -> bytes:
    """Name a process so that a later one with the same pid is another: `pid.starttime`; b"" when it is gone."""
    fields = stat_fields(pid)
    return b"%d.%s" % (pid, fields[19]) if len(fields) > 19 and fields[0] != b"Z" else b""


def current_directory() -> bytes:
    """Return that of this process, b"" when it has been removed."""
    try:
        return os.getcwdb()
    except OSError:
        return b""


_own: list[tuple[int, bytes]] = []


def own_stamp() -> bytes:
    """Name this process as `stamp` does, by /proc/self; without /proc `pid.`. Read once, for the name stays what it is."""
    pid = os.getpid()
    if not _own or _own[0][0] != pid:
        try:
            started = _fields(PROC + b"/self/stat")[19]
        except (OSError, IndexError):
            started = b""
        _own[:] = [(pid, b"%d.%s" % (pid, started))]
    return _own[0][1]


def lives(stamp: bytes) -> bool:
    """Tell whether a process lives, by its stamp; one that /proc does not show but the kernel knows does: death must be proved."""
    pid, _, started = stamp.partition(b".")
    number = count(pid)
    if not number:
        return False
    fields = stat_fields(number)
    if len(fields) > 19:
        return fields[0] not in (b"Z", b"X") and fields[19] == started
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def child_is_pending() -> bool:
    """Tell whether a SIGCHLD waits that our caller blocks; ask before a fork, for reap."""
    return _signal.SIGCHLD in _signal.sigpending()


def reap(child: int, pending: bool) -> int:
    """Wait for a child of ours, and return its status; 0 where SIGCHLD is ignored: the kernel reaped it, and does not say.

    Where SIGCHLD is blocked its signal is taken away: the tool has no such child, and would find it waiting. pending: what
    child_is_pending said before the fork; then it stays.
    """
    try:
        status = os.waitpid(child, 0)[1]
    except ChildProcessError:
        status = 0
    if not pending and child_is_pending():
        _signal.sigtimedwait([_signal.SIGCHLD], 0)
    return status


def parent(pid: int) -> int:
    """Return the parent of a process, 0 when it is gone."""
    fields = stat_fields(pid)
    return int(fields[1]) if len(fields) > 1 else 0


def session(pid: int) -> int:
    """Return the session id of a process, 0 when it is gone."""
    fields = stat_fields(pid)
    return int(fields[3]) if len(fields) > 3 else 0


def comm(pid: int) -> bytes:
    """Return the kernel's name of a process (15 bytes at most), b"" when it is gone."""
    try:
        return slurp(place(pid, b"comm")).rstrip(b"\n")
    except OSError:
        return b""


def command_line(pid: int) -> bytes:
    """Return the words of a process, each ended by a NUL, b"" when it is gone."""
    try:
        return slurp(place(pid, b"cmdline"))
    except OSError:
        return b""


def executable(pid: int) -> bytes:
    """Return the base name of what a process runs, b"" when it is gone or somebody else's."""
    try:
        return os.path.basename(os.readlink(place(pid, b"exe")))
    except OSError:
        return b""


def children(pid: int) -> list[int]:
    """Return the children of a process's main thread: none of the tools below a GCC link starts processes from another."""
    if not lists_children():
        return by_parent().get(pid, [])
    try:
        return [int(child) for child in slurp(place(pid, b"task/%d/children" % pid)).split()]
    except OSError:
        return []


_lists: dict[bytes, bool] = {}


def lists_children() -> bool:
    """Tell whether the kernel lists the children of a process (CONFIG_PROC_CHILDREN); found out once, by our own list."""
    if PROC not in _lists:
        try:
            slurp(b"%s/self/task/%d/children" % (PROC, os.getpid()))
        except OSError:
            _lists[PROC] = False
        else:
            _lists[PROC] = True
    return _lists[PROC]


def by_parent() -> dict[int, list[int]]:
    """Map each process that has children to them, by the parent that every process names: a read of /proc/PID/stat for each, 15 us."""
    found: dict[int, list[int]] = {}
    for pid in all_pids():
        found.setdefault(parent(pid), []).append(pid)
    return found


def all_pids() -> list[int]:
    """List every process that /proc shows, none without it."""
    try:
        return [int(name) for name in os.listdir(PROC) if name.isdigit()]
    except OSError:
        return []


def below(pid: int, most: int = 4096) -> list[int]:
    """Return every descendant of pid, parents first, at most `most`."""
    known = None if lists_children() else by_parent()
    found = children(pid) if known is None else known.get(pid, [])
    for parent in found:
        if len(found) >= most:
            break
        found.extend(children(parent) if known is None else known.get(parent, []))
    return found


def holders(inode: int) -> list[int]:
    """Return the processes that hold a pipe open, as far as we may look, without this one."""
    wanted = b"pipe:[%d]" % inode
    own = os.getpid()
    pids = all_pids() if is_ours() else []
    return [pid for pid in pids if pid != own and _holds(pid, wanted)]


def _holds(pid: int, wanted: bytes) -> bool:
    return any(target == wanted for target in opened(pid))


def opened(pid: int) -> Iterator[bytes]:
    """Yield what the descriptors of a process stand for, as /proc spells it: paths, `pipe:[4711]`; nothing when it is gone or not ours."""
    try:
        directory = place(pid, b"fd")
        numbers = os.listdir(directory)
    except OSError:
        return
    for number in numbers:
        try:
            yield os.readlink(directory + b"/" + number)
        except OSError:
            continue
