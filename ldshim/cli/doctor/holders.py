"""Which links run with a warden now, and what each holds, as /proc shows it.

The problem: a slot is a locked file (reserve/slots.py). To try the lock is to take it, and a link that looks at that moment finds one slot
less. The consequence: nothing is locked here. The kernel lists every lock with its process (/proc/locks, by inode), and every open file of
a process (/proc/PID/fd, with `lock:` in its fdinfo). A process is a holder only if both agree, since two file systems can have the same
inode number.

The holder is a warden. Its pidfd shows the pid of the link (`Pid:` in the fdinfo), so a warden with tokens of a jobserver is found as well
as one with slots. Without a pidfd (before Linux 5.3) the name of its memory promise shows the pid. A process that has files of these names
open in another directory belongs to another user or session, and is left out.

Not seen: links in other PID namespaces, because /proc shows neither them nor their locks; links of other users, who have directories of
their own.
"""

from __future__ import annotations

import os

from ...call import processes
from ...call.environment import slurp
from ...reserve import promises

WARDEN = b"ldshim-warden"  # the name that every warden gives itself (warden/watch.py)
_SLOT, _MARK = b"slot-", b"link-"
_NAMES = (_SLOT, _MARK, promises.PREFIX)
_PIDFD = b"anon_inode:[pidfd]"


class Holder:
    """What one process holds.

    pid: of the warden; link: the pid of its link, 0 when unknown; slots: their numbers; shares: the link holds slots or asks for some;
    waits: it waits for more slots.
    """

    __slots__ = ("link", "pid", "shares", "slots", "waits")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.link = 0
        self.slots: list[int] = []
        self.shares = self.waits = False


def find(directory: bytes) -> list[Holder]:
    """List the running wardens, and any other process that holds a slot in our directory (b"": there is none), by pid."""
    files = _files(directory)
    found = [_look(pid, files, directory) for pid in sorted(_wardens() | _lockers({inode for _, inode in files}))]
    return [held for held in found if held is not None]


def _files(directory: bytes) -> dict[tuple[int, int], bytes]:
    """Return the files that links lock: {(device, inode): name}."""
    out: dict[tuple[int, int], bytes] = {}
    try:
        names = os.listdir(directory) if directory else []
    except OSError:
        return out
    for name in names:
        if name.startswith(_NAMES):
            try:
                status = os.lstat(os.path.join(directory, name))
            except OSError:
                continue
            out[status.st_dev, status.st_ino] = name
    return out


def _wardens() -> set[int]:
    return {pid for pid in processes.all_pids() if processes.comm(pid) == WARDEN}


def _lockers(inodes: set[int]) -> set[int]:
    """Return the processes that hold a flock on any file with one of these inode numbers: `1: FLOCK ADVISORY WRITE 71 fe:01:12 0 EOF`."""
    try:
        lines = slurp(processes.PROC + b"/locks").splitlines()
    except OSError:
        return set()
    out = set()
    for line in lines:
        fields = line.split()
        if len(fields) > 5 and fields[1] == b"FLOCK" and int(fields[5].rpartition(b":")[2]) in inodes:
            out.add(int(fields[4]))
    return out


def _look(pid: int, files: dict[tuple[int, int], bytes], directory: bytes) -> Holder | None:
    """Read which of the files a process has open; None when it is gone, belongs to another user, or holds nothing and is no warden."""
    held = Holder(pid)
    promised = 0
    top = b"%s/%d" % (processes.PROC, pid)
    try:
        numbers = os.listdir(top + b"/fd")
    except OSError:
        return None
    for number in numbers:
        try:
            target = os.readlink(top + b"/fd/" + number)
            if target == _PIDFD:
                held.link = _pid_of(top + b"/fdinfo/" + number)
                continue
            if not os.path.basename(target).startswith(_NAMES):
                continue
            status = os.stat(top + b"/fd/" + number)
            name = files.get((status.st_dev, status.st_ino), b"")
            if not name and not target.endswith(b" (deleted)"):
                return None
            if not name or b"FLOCK" not in slurp(top + b"/fdinfo/" + number):
                continue
        except OSError:
            continue  # it was closed meanwhile
        if name.startswith(_SLOT):
            held.slots.append(int(name[len(_SLOT) :]))
        elif name.startswith(_MARK):
            held.shares = True
            held.waits = _waits(os.path.join(directory, name))
        else:
            promised = int(name[len(promises.PREFIX) :].partition(b".")[0])
    held.link = held.link or promised
    held.slots.sort()
    return held if held.slots or held.shares or processes.comm(pid) == WARDEN else None


def _pid_of(fdinfo: bytes) -> int:
    """Read `Pid:` of a pidfd: the process that it refers to, 0 when that has ended (-1) or is not in our PID namespace."""
    for line in slurp(fdinfo).splitlines():
        if line.startswith(b"Pid:"):
            return max(0, int(line[4:]))
    return 0


def _waits(path: bytes) -> bool:
    try:
        return slurp(path)[:1] == b"w"
    except OSError:
        return False


def command(pid: int) -> bytes:
    """Return the base name of argv[0] of a process, b"" when it is gone."""
    return os.path.basename(processes.command_line(pid).partition(b"\0")[0]) or processes.comm(pid)
