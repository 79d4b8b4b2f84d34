"""One run of some processes and everything below them: timed and let alone, or watched.

The problem: who samples /proc thirty times a second takes the CPU that he measures. The consequence: two kinds of runs. A timed one is let
alone, and its figures are the kernel's: wall, CPU and involuntary context switches of everything below, wardens of ldshim included, because
this process adopts what its children leave behind (PR_SET_CHILD_SUBREAPER), waits for it, and leaves nobody alive. A watched one gives
the peaks: threads that wanted to run, CPUs they could occupy, memory.

threads: threads in state R at both ends of ten milliseconds, so that neither one that ends and one that follows it nor a driver that is
about to wait for what it has started are counted beside those that compute. make, shells and the watcher do not count, nor does a driver
or a linker that has a child: on a full machine it is runnable for long before it gets the CPU on which to wait. Nor does the child of a
shim, which forks the warden and ends.
occupied: the same, but the threads of one process count for no more than the CPUs that they may use (the union of their masks): the
kernel can run no more of a confined linker. GCC's WPA and what it forks to write partitions count as one process.
memory: what no file backs, summed; what forks share counts once (memory.py); it costs a millisecond a process, so it is looked at less
often.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import threading
import time
from typing import Callable, NamedTuple

from ldshim.call import processes
from ldshim.call.real_tool import kind_of
from tests.bench.memory import anonymous

Started = Callable[[], "list[subprocess.Popen[bytes]]"]
SAMPLE_SECONDS = 0.02
GAP_SECONDS = 0.01
MEMORY_SECONDS = 0.1
PR_SET_CHILD_SUBREAPER = 36
WPA = b"lto1-wpa"  # its forks are lto1-wpa-streaming
DRIVERS = frozenset((b"collect2", b"lto-wrapper"))  # and the compilers' own, by real_tool.kind_of
NOT_COUNTED = frozenset((b"make", b"gmake", b"sh", b"dash", b"bash", b"env"))


class Moment(NamedTuple):
    """What was running at one moment."""

    threads: int
    occupied: int


def look(roots: list[int], gap: float = GAP_SECONDS) -> Moment:
    """Look at these processes and all below them, twice, so many seconds apart."""
    ready: list[tuple[int, int, bytes]] = []
    for pid in tree(roots):
        try:
            tids = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        ready += [(pid, int(tid), born) for tid in tids for born in [_ready(pid, int(tid))] if born]
    time.sleep(gap)
    running: dict[int, list[int]] = {}
    for pid, tid, born in ready:
        if _ready(pid, tid) == born and not _only_waits(pid):
            running.setdefault(unforked(pid), []).append(tid)
    occupied = sum(min(len(tids), len(_cpus(tids))) for tids in running.values())
    return Moment(sum(map(len, running.values())), occupied)


def _only_waits(pid: int) -> bool:
    """Tell whether a process is none of those that compute."""
    name = processes.executable(pid)
    if name.startswith(b"python"):
        # A shim is started by us or by make; its child may find that its parent is another tool already.
        parent = processes.parent(pid)
        return parent != os.getpid() and processes.executable(parent) not in NOT_COUNTED
    return name in NOT_COUNTED or ((name in DRIVERS or bool(kind_of(name))) and bool(processes.children(pid)))


def unforked(pid: int) -> int:
    """Return the WPA process that one of its forks belongs to; any other process as it is."""
    while processes.comm(pid).startswith(WPA):
        parent = processes.parent(pid)
        if not processes.comm(parent).startswith(WPA):
            break
        pid = parent
    return pid


def tree(roots: list[int]) -> list[int]:
    """List these processes and all below them."""
    return [pid for root in roots for pid in (root, *processes.below(root))]


def _ready(pid: int, tid: int) -> bytes:
    """Return the start time of a thread in state R, b"" for every other."""
    try:
        with open(f"/proc/{pid}/task/{tid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return b""
    return fields[19] if fields[0] == b"R" else b""


def _cpus(tids: list[int]) -> set[int]:
    found: set[int] = set()
    for tid in tids:
        with contextlib.suppress(OSError):
            found |= os.sched_getaffinity(tid)
    return found


class Watcher(threading.Thread):
    """Look again and again, from `with` to its end, and keep the peaks."""

    def __init__(self, roots: list[int]) -> None:
        super().__init__(daemon=True)
        self.roots = roots
        self.peak = Moment(0, 0)
        self.memory = 0  # bytes
        self._over = False

    def run(self) -> None:
        """Look; as root ahead of the crowd, or a full machine would be looked at ever more seldom."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -10)
        weigh_at = 0.0
        while not self._over:
            self.peak = Moment(*map(max, self.peak, look(self.roots)))
            if time.monotonic() > weigh_at:
                self.memory = max(self.memory, sum(map(anonymous, tree(self.roots))))
                weigh_at = time.monotonic() + MEMORY_SECONDS
            time.sleep(SAMPLE_SECONDS)

    def __enter__(self) -> Watcher:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._over = True
        self.join()


def adopt() -> None:
    """Become the parent of everything that is left behind below this process."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> None:
    """Wait for what was adopted: wardens end a moment after their link."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def finish(running: list[subprocess.Popen[bytes]]) -> None:
    """Wait for all of them; end the benchmark where one has failed."""
    statuses = [one.wait() for one in running]
    for one, status in zip(running, statuses):
        if status:
            raise SystemExit(f"status {status}: {one.args!r:.500}")


def timed(start: Started) -> dict[str, float]:
    """Run without looking. start: starts the processes. Returns wall and cpu in seconds, and involuntary switches."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    finish(start())
    wall = time.monotonic() - began
    reap()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "switches": after.ru_nivcsw - before.ru_nivcsw}


def watched(start: Started) -> dict[str, float]:
    """Run under a watcher. Returns the peaks: threads, occupied, memory in MB."""
    running = start()
    with Watcher([one.pid for one in running]) as watcher:
        finish(running)
    reap()
    return {"threads": watcher.peak.threads, "occupied": watcher.peak.occupied, "memory": watcher.memory / 1e6}
