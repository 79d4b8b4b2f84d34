"""Count the CPUs that this process may use: its affinity mask, and the quota of its cgroup.

The problem: the tools count too many. GCC's `auto` counts every online CPU, whatever the affinity; lld and mold use the mask but not the
quota (llvm/llvm-project#218478); `os.cpu_count()` uses neither. A container with a quota of two CPUs on a machine of 64 then runs 64
threads, which the scheduler stops for most of each period. The count here is the smaller of mask and quota, at least one, with a clause
that names the one that applies. LDSHIM_CPUS replaces the count.

`counted` is the only function that answers the question: links, explain, doctor, the slots and `ldshim pool` call it.
"""

from __future__ import annotations

import os

from ..call.environment import slurp
from . import cgroups

# Where LLVM counts cores for ThinLTO jobs without a number (llvm/lib/Support/Unix/Threading.inc); elsewhere it counts the CPUs of the mask.
_LLVM_COUNTS_CORES = ("x86_64", "i386", "i486", "i586", "i686")
_TOPOLOGY = b"/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list"
_SMT = b"/sys/devices/system/cpu/smt/active"


def affinity() -> int:
    """Count the CPUs in the affinity mask of this thread, 1 when it cannot be read."""
    try:
        return len(os.sched_getaffinity(0))
    except OSError:
        return 1


def quota(proc: bytes = b"/proc", root: bytes = b"") -> float | None:
    """Return the CPU quota of our cgroup in CPUs, the lowest of all levels above us; None without one.

    cgroup v2 has `cpu.max` (quota and period in microseconds, or `max`), v1 `cpu.cfs_quota_us` (-1: none) and `cpu.cfs_period_us`.
    """
    tightest = None
    for version, directory in cgroups.directories(b"cpu", proc, root):
        limit = _v2(directory) if version == 2 else _v1(directory)
        if limit is not None and (tightest is None or limit < tightest):
            tightest = limit
    return tightest


def count(proc: bytes = b"/proc", root: bytes = b"", *, replaced_by: int = 0) -> int:
    """Return how many threads make sense here, at least 1; replaced_by: see `counted`."""
    return counted(proc, root, replaced_by=replaced_by)[0]


def counted(proc: bytes = b"/proc", root: bytes = b"", *, replaced_by: int = 0) -> tuple[int, str]:
    """Return how many threads make sense here, at least 1, and a clause for people with the reason.

    replaced_by: LDSHIM_CPUS, which replaces the count; 0 for none.
    """
    if replaced_by:
        return replaced_by, f"LDSHIM_CPUS={replaced_by}"
    mask, limit = affinity(), quota(proc, root)
    if limit is None or limit >= mask:
        return max(1, mask), f"{mask} CPUs in the affinity mask"
    rounded = -int(-limit // 1)  # rounded up: half a CPU needs a thread, too
    return max(1, rounded), f"a cgroup quota of {limit:.2f} CPUs"


def cores() -> int:
    """Count the physical cores of the affinity mask of this thread, as LLVM does for ThinLTO without a number of jobs."""
    if os.uname().machine not in _LLVM_COUNTS_CORES or _read(_SMT).strip() == b"0":
        return affinity()
    try:
        return max(1, len({min(siblings_of(cpu) or [cpu]) for cpu in os.sched_getaffinity(0)}))
    except OSError:
        return 1


def siblings_of(cpu: int) -> list[int]:
    """List the CPUs that share a core with this one; [] when unknown."""
    found: list[int] = []
    for part in _read(_TOPOLOGY % cpu).split(b","):
        low, _, high = part.strip().partition(b"-")
        if low.isdigit():
            found.extend(range(int(low), int(high or low) + 1))
    return found


def _read(path: bytes) -> bytes:
    try:
        return slurp(path)
    except OSError:
        return b""


def _v2(directory: bytes) -> float | None:
    try:
        fields = slurp(directory + b"/cpu.max").split()
    except OSError:
        return None  # the root cgroup has no such file, nor has one whose parent does not delegate the controller
    if len(fields) != 2 or not fields[0].isdigit() or not fields[1].isdigit() or not int(fields[1]):
        return None
    return int(fields[0]) / int(fields[1])


def _v1(directory: bytes) -> float | None:
    spend, period = cgroups.number(directory + b"/cpu.cfs_quota_us"), cgroups.number(directory + b"/cpu.cfs_period_us")
    return spend / period if spend is not None and spend > 0 and period else None
