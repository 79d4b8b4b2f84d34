"""Say how much memory a link may still take, before the kernel would have to take it from somebody.

The problem: an LTO link that runs out of memory takes the whole build with it, and MemAvailable alone is the host's answer: inside a
container the cgroup's limit comes first, and its use counts page cache that would be dropped without anybody noticing. So: the smallest
of MemAvailable and, for every level of the cgroup above us, limit minus use plus the file cache that can be dropped. Swap does not
count: a link that swaps has lost.

This is what is free, not what is ours: other links have been promised part of it (C17), which is the ledger's business. Each ceiling has
an identity, because a link in another container shares the machine with us and not its limit: what it was promised counts against the
first only. A limit on one process (setrlimit(2)) is nobody's but that process's, and matters where the jobs are threads.
"""

from __future__ import annotations

import os

from ..call.environment import slurp
from . import cgroups

NO_LIMIT = 1 << 62  # v1 says "none" as 0x7FFFFFFFFFFFF000
HOST = b""
FLOOR = 64 << 20
FLOOR_SHARE = 32


class Ceiling:
    """One bound on memory, in bytes. identity: HOST, or `device:inode` of the cgroup's directory; left: to be had now, maybe negative."""

    __slots__ = ("identity", "left", "total")

    def __init__(self, identity: bytes, left: int, total: int) -> None:
        self.identity = identity
        self.left = left
        self.total = total


def available(proc: bytes = b"/proc", root: bytes = b"") -> int | None:
    """Return the bytes that can be had now, 0 or more; None when neither /proc/meminfo nor a cgroup limit can be read."""
    found = ceilings(proc, root)
    return max(0, min(each.left for each in found)) if found else None


def ceilings(proc: bytes = b"/proc", root: bytes = b"") -> list[Ceiling]:
    """List what bounds us: the machine, and every level of the cgroups above us that has a limit; [] when nobody can tell."""
    found = [_of_host(proc), *(_of_cgroup(directory, version) for version, directory in cgroups.directories(b"memory", proc, root))]
    return [each for each in found if each is not None]


def floor(bounds: list[Ceiling]) -> int:
    """Return the bytes below which a link is small: it never waits, and no warden stays for it. It depends on the total only."""
    return min([FLOOR, *(each.total // FLOOR_SHARE for each in bounds)])


def of_process(proc: bytes = b"/proc") -> int | None:
    """Return the bytes that one process of ours may map (RLIMIT_AS) or allocate (RLIMIT_DATA), the lower of both; None without a limit."""
    try:
        lines = slurp(proc + b"/self/limits").splitlines()
    except OSError:
        return None
    soft = [line[26:].split()[0] for line in lines if line.startswith((b"Max address space ", b"Max data size ")) and line[26:].split()]
    return min((int(number) for number in soft if number.isdigit()), default=None)


def _of_host(proc: bytes) -> Ceiling | None:
    said = _fields(proc + b"/meminfo")
    left = said.get(b"MemAvailable:")
    return None if left is None else Ceiling(HOST, left * 1024, said.get(b"MemTotal:", left) * 1024)


def _of_cgroup(directory: bytes, version: int) -> Ceiling | None:
    if version == 2:
        # Above memory.high the kernel stalls us until it has reclaimed: no better than the hard limit.
        limits = [cgroups.number(directory + name) for name in (b"/memory.max", b"/memory.high")]
        use_name, prefix = b"/memory.current", b""
    else:
        limits = [cgroups.number(directory + b"/memory.limit_in_bytes")]
        use_name, prefix = b"/memory.usage_in_bytes", b"total_"
    set_limits = [limit for limit in limits if limit is not None and 0 <= limit < NO_LIMIT]
    use = cgroups.number(directory + use_name) if set_limits else None
    if use is None:
        return None
    stat = _fields(directory + b"/memory.stat")
    # Both file lists, for the kernel empties either before it kills; tmpfs is on neither, so what cannot be dropped is not counted.
    cache = stat.get(prefix + b"inactive_file", 0) + stat.get(prefix + b"active_file", 0)
    try:
        place = os.stat(directory)
    except OSError:
        return None
    return Ceiling(b"%d:%d" % (place.st_dev, place.st_ino), min(set_limits) - use + cache, min(set_limits))


def _fields(path: bytes) -> dict[bytes, int]:
    """Read lines of `name number ...`; {} when the file cannot be read."""
    try:
        lines = slurp(path).splitlines()
    except OSError:
        return {}
    pairs = [line.split() for line in lines]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdigit()}
