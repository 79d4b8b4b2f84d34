"""The CPUs and the memory that a process may use: affinity, quotas and limits of both cgroup versions, on simulated trees (C16, C17)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ldshim.reserve import cgroups, cpus, memory

ROOT = Path(__file__).resolve().parents[2]
V2 = "29 23 0:26 {shown} {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 {shown} {point} rw,relatime - cgroup cgroup rw,{controllers}\n"
NO_LIMIT = "9223372036854771712\n"  # v1's word for none
MB = 1 << 20


class Machine:
    """A root directory with a /proc and cgroup mounts, filled by the test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file("proc/self/cgroup", "")
        self.file("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/root rw\n")

    def file(self, name: str, text: str) -> None:
        """Write one file, with its directories."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def mount(self, kind: str, **fields: str) -> None:
        """Add a mount to mountinfo: V1 or V2."""
        path = self.root / "proc/self/mountinfo"
        path.write_text(path.read_text() + kind.format(**fields))

    def member(self, line: str) -> None:
        """Add a line to /proc/self/cgroup."""
        path = self.root / "proc/self/cgroup"
        path.write_text(path.read_text() + line + "\n")

    def v2(self, path: str, shown: str = "/", point: str = "/sys/fs/cgroup") -> None:
        """Put this process into a cgroup of version 2."""
        self.member("0::" + path)
        self.mount(V2, shown=shown, point=point)

    def v1(self, controllers: str, path: str, shown: str = "/") -> None:
        """Put this process into a cgroup of version 1."""
        self.member(f"4:{controllers}:{path}")
        self.mount(V1, shown=shown, point="/sys/fs/cgroup/" + controllers, controllers=controllers)

    @property
    def proc(self) -> bytes:
        """Return the path of the /proc."""
        return bytes(self.root / "proc")

    def quota(self) -> float | None:
        """Return the quota on this machine."""
        return cpus.quota(self.proc, bytes(self.root))

    def of_process(self) -> int | None:
        """Ask for the limits of one process."""
        return memory.of_process(self.proc)

    def available(self) -> int | None:
        """Return the memory of this machine."""
        return memory.available(self.proc, bytes(self.root))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Provide a machine without cgroups."""
    return Machine(tmp_path)


def test_no_cgroup_means_no_quota(machine: Machine) -> None:
    """C16: without cgroups only the affinity mask counts, and a missing /proc is no error."""
    assert machine.quota() is None
    assert cpus.quota(bytes(machine.root / "nowhere")) is None
    assert cpus.affinity() == cpus.count(machine.proc, bytes(machine.root))


@pytest.mark.parametrize(
    ("leaf", "parent", "expected"),
    [
        ("150000 100000", "max 100000", 1.5),
        ("max 100000", "150000 100000", 1.5),
        ("400000 100000", "150000 100000", 1.5),
        ("150000 100000", "400000 100000", 1.5),
        ("max 100000", "max 100000", None),
        ("50000 200000", "max 100000", 0.25),
        ("", "150000 100000", 1.5),
        ("nonsense 100000", "150000 0", None),
    ],
)
def test_the_tightest_level_of_version_2_counts(machine: Machine, leaf: str, parent: str, expected: float | None) -> None:
    """C16: cpu.max on any level above the process is a limit; text that is no quota limits nothing."""
    machine.v2("/user.slice/build.scope")
    machine.file("sys/fs/cgroup/user.slice/build.scope/cpu.max", leaf + "\n")
    machine.file("sys/fs/cgroup/user.slice/cpu.max", parent + "\n")
    assert expected == machine.quota()


@pytest.mark.parametrize(
    ("leaf", "parent", "expected"),
    [
        (("-1", "100000"), ("250000", "100000"), 2.5),
        (("50000", "100000"), ("-1", "100000"), 0.5),
        (("-1", "100000"), ("-1", "100000"), None),
    ],
)
def test_the_tightest_level_of_version_1_counts(
    machine: Machine, leaf: tuple[str, str], parent: tuple[str, str], expected: float | None
) -> None:
    """C16: cpu.cfs_quota_us on any level above the process is a limit; -1 is none."""
    machine.v1("cpu,cpuacct", "/docker/abc")
    for place, (quota, period) in (("docker/abc", leaf), ("docker", parent)):
        machine.file(f"sys/fs/cgroup/cpu,cpuacct/{place}/cpu.cfs_quota_us", quota + "\n")
        machine.file(f"sys/fs/cgroup/cpu,cpuacct/{place}/cpu.cfs_period_us", period + "\n")
    assert expected == machine.quota()


def test_a_hybrid_machine_has_quotas_in_both(machine: Machine) -> None:
    """C16: with version 1 and version 2 mounted, either may hold the quota."""
    machine.v1("cpu", "/a")
    machine.v2("/b", point="/sys/fs/cgroup/unified")
    machine.file("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "300000\n")
    machine.file("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
    machine.file("sys/fs/cgroup/unified/b/cpu.max", "700000 100000\n")
    assert 3.0 == machine.quota()
    machine.file("sys/fs/cgroup/unified/b/cpu.max", "200000 100000\n")
    assert 2.0 == machine.quota()


def test_a_cpuset_is_no_cpu_controller(machine: Machine) -> None:
    """A controller is matched by its whole name: what is in the cpuset or cpuacct hierarchy is not a quota."""
    machine.v1("cpuset", "/a")
    machine.file("sys/fs/cgroup/cpuset/a/cpu.cfs_quota_us", "100000\n")
    machine.file("sys/fs/cgroup/cpuset/a/cpu.cfs_period_us", "100000\n")
    assert machine.quota() is None


@pytest.mark.parametrize(
    ("path", "shown"),
    [("/docker/abc", "/docker/abc"), ("/", "/"), ("/../../host", "/"), ("/elsewhere", "/docker/abc"), ("/docker", "/docker/abc")],
)
def test_a_container_sees_its_own_limit_at_the_mount(machine: Machine, path: str, shown: str) -> None:
    """C16: in a container the mount shows only its part of the hierarchy, with or without a cgroup namespace."""
    machine.v2(path, shown)
    machine.file("sys/fs/cgroup/cpu.max", "200000 100000\n")
    assert 2.0 == machine.quota()


def test_a_mount_with_blanks_in_its_name_is_found(machine: Machine) -> None:
    """The file mountinfo escapes spaces and backslashes as octal numbers."""
    machine.v2("/x y", "/", r"/my\040cg\134roups")
    machine.file("my cg\\roups/x y/cpu.max", "200000 100000\n")
    assert 2.0 == machine.quota()


def test_the_mount_that_shows_the_process_counts(machine: Machine) -> None:
    """C16: of two mounts of one hierarchy, the one that shows the process's directory counts, in any order."""
    machine.mount(V2, shown="/other", point="/mnt/part")
    machine.v2("/mine")
    machine.file("mnt/part/cpu.max", "100000 100000\n")
    machine.file("sys/fs/cgroup/mine/cpu.max", "300000 100000\n")
    assert [(2, bytes(machine.root / "sys/fs/cgroup/mine")), (2, bytes(machine.root / "sys/fs/cgroup"))] == cgroups.directories(
        b"cpu", machine.proc, bytes(machine.root)
    )
    assert 3.0 == machine.quota()


@pytest.mark.parametrize(("spend", "expected"), [("10000", 1), ("100000", 1), ("100001", 2), ("max", 2)])
def test_a_fraction_of_a_cpu_counts_as_one(machine: Machine, spend: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """C16, C18: the quota is rounded up, never below one, and never above the affinity mask; the clause names which decided."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 7})
    machine.v2("/")
    machine.file("sys/fs/cgroup/cpu.max", f"{spend} 100000\n")
    number, reason = cpus.counted(machine.proc, bytes(machine.root))
    assert expected == number == cpus.count(machine.proc, bytes(machine.root))
    assert ("affinity" if spend == "max" else "quota") in reason


def test_the_affinity_mask_counts() -> None:
    """C16: under taskset the mask counts, which GCC's auto ignores."""
    code = f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); from ldshim.reserve import cpus; print(cpus.count())"
    first = min(os.sched_getaffinity(0))
    said = subprocess.run(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{first}]); " + code], stdout=subprocess.PIPE, check=True
    ).stdout
    assert b"1\n" == said


def test_memory_is_what_the_machine_has(machine: Machine) -> None:
    """C17: without a limit MemAvailable counts; without /proc the memory is unknown, which is not zero."""
    machine.file("proc/meminfo", "MemTotal:       9999 kB\nMemFree: 1 kB\nMemAvailable:   2048 kB\n")
    assert 2 * MB == machine.available()
    machine.file("proc/meminfo", "MemTotal:       9999 kB\n")
    assert machine.available() is None


@pytest.mark.parametrize(
    ("limit", "high", "use", "inactive", "active", "expected"),
    [
        (f"{100 * MB}", "max", 60 * MB, 0, 0, 40 * MB),
        (f"{100 * MB}", "max", 60 * MB, 20 * MB, 5 * MB, 65 * MB),
        (f"{100 * MB}", f"{80 * MB}", 60 * MB, 0, 0, 20 * MB),
        ("max", f"{80 * MB}", 60 * MB, 0, 0, 20 * MB),
        (f"{100 * MB}", "max", 130 * MB, 10 * MB, 0, 0),
        ("max", "max", 60 * MB, 0, 0, 900 * MB),
        (f"{9000 * MB}", "max", 0, 0, 0, 900 * MB),
        ("0", "max", 0, 0, 0, 0),
    ],
)
def test_version_2_limits_memory(machine: Machine, limit: str, high: str, use: int, inactive: int, active: int, expected: int) -> None:
    """C17: the limit less the use plus the cache that can be dropped, never below zero, never above the machine's."""
    machine.file("proc/meminfo", f"MemAvailable: {900 * 1024} kB\n")
    machine.v2("/a")
    machine.file("sys/fs/cgroup/a/memory.max", limit + "\n")
    machine.file("sys/fs/cgroup/a/memory.high", high + "\n")
    machine.file("sys/fs/cgroup/a/memory.current", f"{use}\n")
    machine.file("sys/fs/cgroup/a/memory.stat", f"anon 5\nfile 77\nshmem 9\ninactive_file {inactive}\nactive_file {active}\n")
    assert expected == machine.available()


def test_version_1_limits_memory_on_every_level(machine: Machine) -> None:
    """C17: the parent's limit counts as well, with the cache of its whole subtree."""
    machine.file("proc/meminfo", f"MemAvailable: {900 * 1024} kB\n")
    machine.v1("memory", "/a/b")
    for place, limit, use in (("a/b", NO_LIMIT, 1), ("a", f"{300 * MB}", 200 * MB), ("", NO_LIMIT, 5)):
        machine.file(f"sys/fs/cgroup/memory/{place}/memory.limit_in_bytes", limit)
        machine.file(f"sys/fs/cgroup/memory/{place}/memory.usage_in_bytes", f"{use}\n")
    machine.file("sys/fs/cgroup/memory/a/memory.stat", f"active_file 1\ntotal_active_file {30 * MB}\ntotal_inactive_file {10 * MB}\n")
    assert 140 * MB == machine.available()


def test_a_limit_without_meminfo_is_enough(machine: Machine) -> None:
    """C17: each of the two sources alone gives a result."""
    machine.v2("/")
    machine.file("sys/fs/cgroup/memory.max", f"{7 * MB}\n")
    machine.file("sys/fs/cgroup/memory.current", f"{MB}\n")
    assert 6 * MB == machine.available()


def test_this_machine_has_memory() -> None:
    """C17: on the real machine the result is between zero and all its memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < (memory.available() or 0) <= total


LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max data size             {data:<21}unlimited            bytes
Max resident set          100                  unlimited            bytes
Max address space         {space:<21}unlimited            bytes
"""


@pytest.mark.parametrize(
    ("data", "space", "expected"),
    [("unlimited", "unlimited", None), ("1000", "unlimited", 1000), ("unlimited", "2000", 2000), ("3000", "2000", 2000)],
)
def test_a_process_may_be_limited_by_itself(machine: Machine, data: str, space: str, expected: int | None) -> None:
    """C17: RLIMIT_DATA and RLIMIT_AS bound the jobs that are threads of one process; without /proc nobody can tell."""
    machine.file("proc/self/limits", LIMITS.format(data=data, space=space))
    assert expected == machine.of_process()
    assert memory.of_process(bytes(machine.root / "nowhere")) is None


def test_every_ceiling_has_a_name_that_others_know(machine: Machine) -> None:
    """C17: the machine, and each level with a limit by device and inode, the same for whoever looks."""
    machine.file("proc/meminfo", "MemTotal: 64 kB\nMemAvailable: 32 kB\n")
    machine.v2("/build/one")
    for level, limit in (("build", "max"), ("build/one", "40960")):
        machine.file(f"sys/fs/cgroup/{level}/memory.max", limit)
        machine.file(f"sys/fs/cgroup/{level}/memory.current", "10240")
    host, inner = memory.ceilings(machine.proc, bytes(machine.root))
    place = (machine.root / "sys/fs/cgroup/build/one").stat()
    assert (memory.HOST, 32 * 1024, 64 * 1024) == (host.identity, host.left, host.total)
    assert (b"%d:%d" % (place.st_dev, place.st_ino), 30720, 40960) == (inner.identity, inner.left, inner.total)
