"""Hazard: told sixteen threads on two CPUs, a linker takes the memory of sixteen, is no faster, and dies where processes are limited."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ldshim.call.environment import Settings
from ldshim.decide import budget, mode
from ldshim.decide.budget import Limits
from ldshim.reserve import cpus, limits
from ldshim.reserve.lease import Lease
from tests.support import tools
from tests.support.pool import Pool
from tests.support.program import PARTITIONS
from tests.support.shim import handed_over
from tests.support.spin import two_cpus
from tests.support.threads import Threads, started

if TYPE_CHECKING:
    from tests.support.program import Program
    from tests.support.shim import Shim

LLD = "ld.lld-16"
SIXTEEN = b"+" * 15
TOPOLOGY = b"/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list"


def test_a_jobserver_is_bounded_by_the_cpus_and_a_pin_is_not() -> None:
    """C11: every source is bounded by the CPUs, LDSHIM_JOBS alone is not; the reason names them."""
    decided = mode.Mode("gcc", 128, "")
    settings, pinned, bounds = Settings(), Settings(), Limits(2, "2 CPUs", [])
    pinned.jobs = 16
    got = [budget.for_lto(decided, settings, Lease(source), bounds, 16) for source in ("jobserver", "recovered", "slots", "none")]
    assert [2, 2, 2, 2] == [each.number for each in got]
    assert [2, 2, 2, 2] == [each.before_memory for each in got]
    assert got[0].reason.endswith("at most 2 by 2 CPUs")
    assert 16 == budget.for_lto(decided, pinned, None, bounds, 16).number


def test_ldshim_cpus_replaces_the_count() -> None:
    """C11: the number and its reason are the variable's, above the mask and below it."""
    assert [(512, "LDSHIM_CPUS=512"), (1, "LDSHIM_CPUS=1")] == [cpus.counted(replaced_by=512), cpus.counted(replaced_by=1)]


# machine, SMT as the kernel has it, CPUs of the mask, threads of a core -> cores
CORES = [
    ("x86_64", b"1\n", {0, 1, 2, 3, 4, 5, 6, 7}, {0: b"0,4", 1: b"1,5", 2: b"2,6", 3: b"3,7"}, 4),
    ("x86_64", b"1\n", {0, 4, 5}, {0: b"0,4", 1: b"1,5"}, 2),
    ("x86_64", b"1\n", {0, 1, 2, 3}, {0: b"0-1", 2: b"2-3"}, 2),
    ("x86_64", b"0\n", {0, 1, 2, 3}, {0: b"0-1", 2: b"2-3"}, 4),
    ("x86_64", b"", {0, 1, 2}, {}, 3),
    ("ppc64le", b"1\n", {0, 1, 2, 3, 4, 5, 6, 7}, {0: b"0-7"}, 8),
]


@pytest.mark.parametrize(("machine", "smt", "mask", "siblings", "expected"), CORES)
def test_cores_are_counted_as_llvm_does(
    machine: str, smt: bytes, mask: set[int], siblings: dict[int, bytes], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C11: the distinct cores of the mask on x86, where SMT is on; elsewhere LLVM starts a job for every CPU."""
    files = {b"/sys/devices/system/cpu/smt/active": smt}
    for text in siblings.values():
        low, dash, high = text.partition(b"-")
        members = range(int(low), int(high) + 1) if dash else map(int, text.split(b","))
        files.update({TOPOLOGY % cpu: text + b"\n" for cpu in members})
    monkeypatch.setattr(cpus, "_read", lambda path: files.get(path, b""))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: mask)
    monkeypatch.setattr("os.uname", lambda: os.uname_result(("Linux", "", "", "", machine)))
    assert expected == cpus.cores()


def test_more_jobs_than_cores_need_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """C11: LLVM's own choice stands without a jobserver and with few tokens there; more tokens than cores lift it."""
    monkeypatch.setattr(cpus, "cores", lambda: 8)
    assert [8, 8, 12] == [limits.own_jobs(there)[0][0] for there in (0, 3, 12)]


def explained(shim: Shim, line: list[str], pool: Pool | None = None, **more: str) -> dict[str, Any]:
    """Ask what a call on two CPUs would become."""
    env = {**shim.environment(**({"MAKEFLAGS": pool.makeflags} if pool else {})), **more}
    command = [*two_cpus(), shim.command, "explain", "--json", "--", *line]
    done = subprocess.run(command, env=env, pass_fds=pool.pass_fds if pool else (), check=True, capture_output=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_sixteen_tokens_on_two_cpus_are_two_threads(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C11 C19 C20: lld is told two threads, GCC two jobs; with LDSHIM_CPUS=16 both are told what the jobserver has."""
    thin = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    slim = program.objects(tools.need("gcc-12"), "-O1", "-flto")
    lld = [tools.need(LLD), "-r", *thin, "-o", str(tmp_path / "out")]
    gcc = [tools.need("gcc-12"), "-O1", "-flto=auto", *PARTITIONS, *slim, "-o", str(tmp_path / "out")]
    with Pool(SIXTEEN) as pool:
        got = [explained(shim, line, pool, LDSHIM_CPUS=number) for line in (lld, gcc) for number in ("", "16")]
    assert ["--threads=2", "--thinlto-jobs=2"] == got[0]["argv"][-2:]
    assert ["confine", "fixed"] == [got[0]["policy"], got[1]["policy"]]
    assert "; not confined: LDSHIM_CPUS=16, and its affinity mask has 2" in got[1]["reason"]
    assert min(16, len(thin)) == got[1]["granted"]
    assert ["-j2", "-j10"] == [said["env"]["MAKEFLAGS"].split()[0] for said in got[2:]]  # ten partitions


def test_slots_and_doctor_and_pool_follow_the_variable(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C11 C16: LDSHIM_CPUS is what the slots are counted by, and what doctor and `pool` say."""
    thin = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    said = explained(shim, [tools.need(LLD), "-r", *thin, "-o", str(tmp_path / "out")], LDSHIM_CPUS="3")
    assert ("slots", 3, "fixed") == (said["source"], said["granted"], said["policy"])
    env = shim.on(3)
    doctor = json.loads(subprocess.run([shim.command, "doctor", "--json"], env=env, stdout=subprocess.PIPE, check=False).stdout)
    assert (3, "LDSHIM_CPUS=3", 3) == (doctor["cpus"]["counted"], doctor["cpus"]["reason"], doctor["slots"]["count"])
    pool = subprocess.run([shim.command, "pool", "--", "sh", "-c", "echo $MAKEFLAGS"], env=env, stdout=subprocess.PIPE, check=True)
    assert pool.stdout.startswith(b"-j3 ")


def test_below_the_mask_a_link_is_confined_as_ever(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C20 C21: LDSHIM_CPUS=2 on two CPUs changes nothing."""
    thin = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    with Pool(SIXTEEN) as pool:
        said = explained(shim, [tools.need(LLD), "-r", *thin, "-o", str(tmp_path / "out")], pool, LDSHIM_CPUS="2")
    assert (2, "confine", False) == (said["granted"], said["policy"], "not confined" in said["reason"])


@pytest.mark.parametrize("lld", tools.llds())
def test_no_more_threads_start_than_bare(lld: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C11: below a jobserver of sixteen on two CPUs, lld starts the threads that it starts bare: the same limits let it live."""
    threads = Threads(tmp_path)
    line = ["-r", *program.objects(tools.clang_of(lld), "-O1", "-fPIC", "-flto=thin"), "-o"]
    logs = [tmp_path / "bare.log", tmp_path / "ours.log"]
    bare = [*two_cpus(), tools.need(lld), *line, str(tmp_path / "bare")]
    subprocess.run(bare, env=shim.environment(**threads.environment(logs[0])), check=True)
    with Pool(SIXTEEN) as pool:
        env = shim.environment(MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(tmp_path / "log"), **threads.environment(logs[1]))
        ours = [*two_cpus(), shim.command, tools.need(lld), *line, str(tmp_path / "ours")]
        subprocess.run(ours, env=env, pass_fds=pool.pass_fds, check=True)
    assert 2 == handed_over(tmp_path / "log")[0]["granted"]
    assert started(logs[0]) >= started(logs[1]) > 0
    assert (tmp_path / "bare").read_bytes() == (tmp_path / "ours").read_bytes()


def test_a_link_lives_under_a_limit_of_address_space(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C11: `ulimit -v` that is enough for the bare linker's two threads, and not for sixteen, is enough behind ldshim."""
    line = [tools.need(LLD), "-r", *program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin"), "-o", str(tmp_path / "out")]
    limit = (
        "from resource import *; import os, sys; setrlimit(RLIMIT_AS, (int(sys.argv[1]) << 20,) * 2); os.execv(sys.argv[2], sys.argv[2:])"
    )

    def lives(size: int, *command: str, pool: Pool | None = None) -> bool:
        env = shim.environment(**({"MAKEFLAGS": pool.makeflags} if pool else {}))
        limited = [*two_cpus(), sys.executable, "-c", limit, str(size), *command]
        return not subprocess.run(limited, env=env, pass_fds=pool.pass_fds if pool else (), capture_output=True, check=False).returncode

    low, high = 1, 1 << 14
    while high - low > 32:
        middle = (low + high) // 2
        low, high = (low, middle) if lives(middle, *line) else (middle, high)
    with Pool(SIXTEEN) as pool:
        assert lives(high + 64, shim.command, *line, pool=pool)
