"""Read other processes from /proc: the descendants of a link, their programs, and which of them hold a pipe open.

Any process may end at any moment. So each function returns zero or an empty value for a process that no longer exists. It returns the same
where /proc is missing, and where /proc belongs to another PID namespace (`unshare -pf` without `--mount-proc`), because the pids there are
those of other processes. Code that reads /proc/PID directly calls `is_ours` first.
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
    """Return whether /proc is mounted; a chroot may have none."""
    return os.path.exists(PROC + b"/self")


def shows_us(proc: bytes) -> bool:
    """Return whether a /proc belongs to the PID namespace of this process: it shows getpid() as the process's only pid."""
    try:
        if os.readlink(proc + b"/self") != b"%d" % os.getpid():
            return False
        # The pid may be the same in two namespaces. NSpid lists the pids from the namespace of /proc (Linux 4.1) down to the process's own.
        names = slurp(proc + b"/self/status").partition(b"\nNSpid:")[2].partition(b"\n")[0]
    except OSError:
        return False
    return len(names.split()) < 2


def is_ours() -> bool:
    """Return whether /proc belongs to the PID namespace of this process. Read once, because a fork stays in its namespace."""
    if PROC not in _asked:
        _asked[PROC] = shows_us(PROC)
    return _asked[PROC]


def place(pid: int, entry: bytes) -> bytes:
    """Return the path of /proc/PID/entry. Raises FileNotFoundError where /proc belongs to another PID namespace."""
    if not is_ours():
        raise FileNotFoundError
    return b"%s/%d/%s" % (PROC, pid, entry)


def stat_fields(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat after the command (state first), [] where the process does not exist."""
    try:
        return _fields(place(pid, b"stat"))
    except OSError:
        return []


def _fields(path: bytes) -> list[bytes]:
    # The command may hold spaces and parentheses; the last parenthesis ends it.
    return slurp(path).rpartition(b")")[2].split()


def stamp(pid: int) -> bytes:
    """Return `pid.starttime`, which differs for a later process with the same pid; b"" where the process does not exist."""
    fields = stat_fields(pid)
    return b"%d.%s" % (pid, fields[19]) if len(fields) > 19 and fields[0] != b"Z" else b""


def current_directory() -> bytes:
    """Return the current directory of this process, b"" where it was removed."""
    try:
        return os.getcwdb()
    except OSError:
        return b""


_own: list[tuple[int, bytes]] = []


def own_stamp() -> bytes:
    """Return the stamp of this process, from /proc/self; without /proc `pid.`. Read once, because it does not change."""
    pid = os.getpid()
    if not _own or _own[0][0] != pid:
        try:
            started = _fields(PROC + b"/self/stat")[19]
        except (OSError, IndexError):
            started = b""
        _own[:] = [(pid, b"%d.%s" % (pid, started))]
    return _own[0][1]


def lives(stamp: bytes) -> bool:
    """Return whether the process with this stamp is alive. One that /proc does not show but kill finds counts as alive."""
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
    """Return whether a SIGCHLD is pending because the caller blocks it. Called before a fork, for reap."""
    return _signal.SIGCHLD in _signal.sigpending()


def reap(child: int, pending: bool) -> int:
    """Wait for a child and return its status; 0 where SIGCHLD is ignored, because the kernel then gives no status.

    Where SIGCHLD is blocked, the child's pending signal is removed, because the tool has no such child. It stays where one was pending
    before. pending: the result of child_is_pending before the fork.
    """
    try:
        status = os.waitpid(child, 0)[1]
    except ChildProcessError:
        status = 0
    if not pending and child_is_pending():
        _signal.sigtimedwait([_signal.SIGCHLD], 0)
    return status


def parent(pid: int) -> int:
    """Return the parent of a process, 0 where the process does not exist."""
    fields = stat_fields(pid)
    return int(fields[1]) if len(fields) > 1 else 0


def session(pid: int) -> int:
    """Return the session id of a process, 0 where the process does not exist."""
    fields = stat_fields(pid)
    return int(fields[3]) if len(fields) > 3 else 0


def comm(pid: int) -> bytes:
    """Return /proc/PID/comm (15 bytes at most), b"" where the process does not exist."""
    try:
        return slurp(place(pid, b"comm")).rstrip(b"\n")
    except OSError:
        return b""


def command_line(pid: int) -> bytes:
    """Return the argv of a process, each argument ended by a NUL, b"" where the process does not exist."""
    try:
        return slurp(place(pid, b"cmdline"))
    except OSError:
        return b""


def executable(pid: int) -> bytes:
    """Return the base name of a process's executable, b"" where the process does not exist or belongs to another user."""
    try:
        return os.path.basename(os.readlink(place(pid, b"exe")))
    except OSError:
        return b""


def children(pid: int) -> list[int]:
    """Return the children of a process's main thread. No tool below a GCC link starts processes from another thread."""
    if not lists_children():
        return by_parent().get(pid, [])
    try:
        return [int(child) for child in slurp(place(pid, b"task/%d/children" % pid)).split()]
    except OSError:
        return []


_lists: dict[bytes, bool] = {}


def lists_children() -> bool:
    """Return whether the kernel lists the children of a process (CONFIG_PROC_CHILDREN). Tested once, on this process."""
    if PROC not in _lists:
        try:
            slurp(b"%s/self/task/%d/children" % (PROC, os.getpid()))
        except OSError:
            _lists[PROC] = False
        else:
            _lists[PROC] = True
    return _lists[PROC]


def by_parent() -> dict[int, list[int]]:
    """Map each parent to its children, from /proc/PID/stat of every process: 15 us for each."""
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
    """Return the processes that hold a pipe open, as far as permissions allow, without this one."""
    wanted = b"pipe:[%d]" % inode
    own = os.getpid()
    pids = all_pids() if is_ours() else []
    return [pid for pid in pids if pid != own and _holds(pid, wanted)]


def _holds(pid: int, wanted: bytes) -> bool:
    return any(target == wanted for target in opened(pid))


def opened(pid: int) -> Iterator[bytes]:
    """Yield the links in /proc/PID/fd: paths, `pipe:[4711]`; nothing where the process does not exist or belongs to another user."""
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
