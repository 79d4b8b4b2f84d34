"""Say how much memory a link may still take, before the kernel would have to take it from somebody.

The problem: an LTO link that runs out of memory takes the whole build with it, and MemAvailable alone is the host's answer: inside a
container the cgroup's limit comes first, and its use counts page cache that would be dropped without anybody noticing. So: the smallest
of MemAvailable and, for every level of the cgroup above us, limit minus use plus the file cache that can be dropped. Swap does not
count: a link that swaps has lost.

This is what is free, not what is ours: other links have been promised part of it (C17), which is the ledger's business.
"""

from __future__ import annotations

from ..call.environment import slurp
from . import cgroups

NO_LIMIT = 1 << 62  # v1 says "none" as 0x7FFFFFFFFFFFF000


def available(proc: bytes = b"/proc", root: bytes = b"") -> int | None:
    """Return the bytes that can be had now, 0 or more; None when neither /proc/meminfo nor a cgroup limit can be read."""
    found = [left for left in (_of_host(proc), _of_cgroups(proc, root)) if left is not None]
    return max(0, min(found)) if found else None


def _of_host(proc: bytes) -> int | None:
    kilobytes = _fields(proc + b"/meminfo").get(b"MemAvailable:")
    return None if kilobytes is None else kilobytes * 1024


def _of_cgroups(proc: bytes, root: bytes) -> int | None:
    """Return the least that is left on any level, None without a limit."""
    least = None
    for version, directory in cgroups.directories(b"memory", proc, root):
        left = _left(directory, version)
        if left is not None and (least is None or left < least):
            least = left
    return least


def _left(directory: bytes, version: int) -> int | None:
    if version == 2:
        # Above memory.high the kernel stalls us until it has reclaimed: no better than the hard limit.
        limits = [cgroups.number(directory + name) for name in (b"/memory.max", b"/memory.high")]
        use_name, prefix = b"/memory.current", b""
    else:
        limits = [cgroups.number(directory + b"/memory.limit_in_bytes")]
        use_name, prefix = b"/memory.usage_in_bytes", b"total_"
    use = cgroups.number(directory + use_name)
    set_limits = [limit for limit in limits if limit is not None and 0 <= limit < NO_LIMIT]
    if use is None or not set_limits:
        return None
    stat = _fields(directory + b"/memory.stat")
    # Both file lists, for the kernel empties either before it kills; tmpfs is on neither, so what cannot be dropped is not counted.
    cache = stat.get(prefix + b"inactive_file", 0) + stat.get(prefix + b"active_file", 0)
    return min(set_limits) - use + cache


def _fields(path: bytes) -> dict[bytes, int]:
    """Read lines of `name number ...`; {} when the file cannot be read."""
    try:
        lines = slurp(path).splitlines()
    except OSError:
        return {}
    pairs = [line.split() for line in lines]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdigit()}
