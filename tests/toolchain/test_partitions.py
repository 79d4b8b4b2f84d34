"""Hazard: full LTO in partitions generates code in a thread each, whatever number the linker is told; two links of -j2 run eight threads.

Partitions are output (C4), so the option stays; what is left is the CPUs that the threads may run on. They are counted, not the threads:
a thread that waits for its CPU is runnable, too.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ldshim.call.environment import Settings
from ldshim.command import anyld, clang, gcc, gnuld, linkline, lld, mold
from ldshim.command.argv import Arguments, Facts, Option
from ldshim.decide import budget, mode
from ldshim.decide.budget import Limits
from ldshim.inputs.findings import Findings
from ldshim.reserve.lease import Lease
from tests.process.test_fallback import REFUSED, explained, refusing
from tests.support import tools
from tests.support.flight import wait_for
from tests.support.pool import Pool
from tests.support.shim import handed_over
from tests.support.spin import Spinning, recounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.program import Program
    from tests.support.shim import Shim

PLUGIN = Path("/usr/lib/llvm-16/lib/LLVMgold.so")
READERS: dict[str, Callable[[Arguments], Facts]] = {
    "lld": lld.facts,
    "mold": mold.facts,
    "gold": lambda words: gnuld.facts(words, gold=True),
    "bfd": lambda words: gnuld.facts(words, gold=False),
    "clang": clang.facts,
    "gcc": gcc.facts,
    "any": lambda words: linkline.facts(words, anyld.TABLE),
}
SAID = [
    ("lld", "--lto-partitions=4 a.o", 4),
    ("lld", "-plugin-opt=lto-partitions=4 a.o", 4),
    ("lld", "--plugin-opt lto-partitions=4 a.o", 4),
    ("lld", "--lto-partitions=2 -plugin-opt=lto-partitions=5 a.o", 5),
    ("lld", "--lto-partitions=08 a.o", 8),
    ("lld", "--lto-partitions=0x4 a.o", 0),
    ("lld", "--lto-partitions=0 a.o", 0),
    ("lld", "-lto-partitions=4 a.o", 0),  # the library `to-partitions=4`
    ("mold", "--lto-partitions=4 a.o", 4),
    ("mold", "-lto-partitions 4 a.o", 4),
    ("mold", "--lto-partitions=4 -plugin-opt=lto-partitions=2 a.o", 2),
    ("gold", "-plugin LLVMgold.so -plugin-opt=lto-partitions=4 a.o", 4),
    ("bfd", "-plugin LLVMgold.so -plugin-opt lto-partitions=03 a.o", 3),
    ("any", "--lto-partitions=4 a.o", 4),
    ("clang", "-flto -flto-partitions=4 a.o", 4),
    ("clang", "-flto -fno-lto -flto-partitions=4 a.o", 0),
    ("clang", "-flto -fuse-ld=lld -Wl,--lto-partitions=3 -flto-partitions=4 a.o", 3),
    ("clang", "-fuse-ld=lld -Xlinker --lto-partitions=3 a.o", 3),
    ("clang", "-flto -Wl,-plugin-opt=lto-partitions=3 a.o", 3),
    ("gcc", "-fuse-ld=lld -Wl,--lto-partitions=3 a.o", 3),
    ("gcc", "-flto --param=lto-partitions=3 a.o", 0),  # GCC's own, which -flto=N bounds
]


@pytest.mark.parametrize(("tool", "line", "partitions"), SAID, ids=lambda value: str(value).replace(" ", "_"))
def test_the_number_of_partitions_is_read_as_the_tool_reads_it(tool: str, line: str, partitions: int) -> None:
    """C20: every spelling that reaches LLVM, the last one, in decimal; what the tool will refuse is no number."""
    words = [word.encode() for word in line.split()]
    assert partitions == READERS[tool](Arguments.plain(words)).partitions


def modules(thin: int = 0, full: int = 0) -> Findings:
    """Make the findings of LLVM modules."""
    found = Findings()
    found.thin, found.full = thin, full
    return found


def test_partitions_are_demand_whatever_threads_says() -> None:
    """C9 C11 C20: the demand is a token a partition; --threads bounds ThinLTO's part alone; a pin and the CPUs bound what is held."""
    facts = Facts()
    facts.partitions, facts.threads = 4, [Option(b"1", 0, b"--threads=")]
    full, thin, both = (mode.for_llvm(facts, modules(*counts)) for counts in ((0, 9), (9, 0), (9, 2)))
    assert [(4, 4, 4), (9, 1, 0), (9, 4, 4)] == [(each.demand, each.useful(), each.unbound) for each in (full, thin, both)]
    settings, pinned, lease = Settings(), Settings(), Lease("jobserver", "pipe 3,4")
    pinned.jobs = 3
    numbers = [
        budget.for_lto(full, settings, lease, Limits(8, "8 CPUs", []), 16).number,
        budget.for_lto(full, settings, lease, Limits(2, "2 CPUs", []), 16).number,
        budget.for_lto(full, pinned, None, Limits(0, "", []), 0).number,
    ]
    assert [4, 2, 3] == numbers
    facts.partitions = 1
    assert (1, 0) == (mode.for_llvm(facts, modules(0, 9)).demand, mode.for_llvm(facts, modules(0, 9)).unbound)


def line_of(linker: str, program: Program, *words: str) -> list[str]:
    """Spell a full LTO link in four partitions, without its program and the name of its output."""
    clang_16 = tools.clang_of(linker) if linker.startswith("ld.lld") else tools.need("clang-16")
    objects = program.objects(clang_16, "-O1", "-fPIC", "-flto=full")
    if linker.startswith("ld.lld"):
        return ["-r", "--threads=1", "--lto-partitions=4", *words, *objects, "-o"]
    if not PLUGIN.exists():
        tools.missing(str(PLUGIN))
    return ["-shared", "-plugin", str(PLUGIN), "-plugin-opt=lto-partitions=4", *words, *objects, "-o"]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Path]:
    """Provide a runtime directory, recounted."""
    yield from recounted(tmp_path / "runtime")


@pytest.mark.parametrize("linker", [*tools.llds(), "ld.gold", "ld.bfd"])
def test_partitions_run_on_as_many_cpus_as_are_held(linker: str, shim: Shim, program: Program, runtime: Path, tmp_path: Path) -> None:
    """C4 C14 C20 C21: four threads on one CPU, on two when a token comes, on one when they rest; the bytes are the bare link's."""
    with Pool(b"\x07") as pool:
        elsewhere = pool.take(1)
        log = tmp_path / "log"
        more = {"XDG_RUNTIME_DIR": str(runtime), "LDSHIM_LOG": str(log)}
        link = Spinning(linker, shim, program, tmp_path / "link", pool, line=line_of(linker, program), **more)
        try:
            link.grow_and_narrow(pool, elsewhere)
        finally:
            link.close()
    assert ("full", 4, "confine") == tuple(handed_over(log)[0][key] for key in ("lto", "demand", "policy"))
    assert link.bare() == link.out.read_bytes()


def test_two_links_of_j2_take_two_cpus(shim: Shim, program: Program, runtime: Path, tmp_path: Path) -> None:
    """C14 C20: two links with nothing but their implicit slots have eight threads, and sit on one CPU each, not on the same."""
    linker = "ld.lld-16"
    with Pool(b"\x07") as pool:
        elsewhere = pool.take(1)  # the other link's: make -j2 has no more
        line = line_of(linker, program)
        links = [Spinning(linker, shim, program, tmp_path / name, pool, line=line, XDG_RUNTIME_DIR=str(runtime)) for name in "ab"]
        try:
            wait_for(lambda: [len(link.mask()) for link in links] == [1, 1] and links[0].mask() != links[1].mask())
            assert [0, 0] == [link.finish() for link in links]
        finally:
            for link in links:
                link.close()
        pool.give(elsewhere)


FIXED = [{"LDSHIM_JOBS": "1"}, {"LDSHIM_MAX_JOBS": "1"}, {"LDSHIM_ELASTIC": "0"}]


@pytest.mark.parametrize("fixed", FIXED, ids="-".join)
def test_a_fixed_number_is_enforced_by_affinity_too(
    fixed: dict[str, str], shim: Shim, program: Program, runtime: Path, tmp_path: Path
) -> None:
    """C20: a pin, a ceiling, and a link that must not be elastic keep to their one CPU; a token that is there later changes nothing."""
    linker = "ld.lld-16"
    with Pool(b"\x07") as pool:
        elsewhere = pool.take(1)
        line, more = line_of(linker, program), {"XDG_RUNTIME_DIR": str(runtime), **fixed}
        link = Spinning(linker, shim, program, tmp_path / "link", pool, line=line, **more)
        try:
            link.wait_for_width(1)
            pool.give(elsewhere)
            assert 1 == pool.available()
            assert 0 == link.finish()
        finally:
            link.close()
    assert link.bare() == link.out.read_bytes()


def explain(shim: Shim, program: Program, pool: Pool, prefix: list[str], **more: str) -> dict[str, Any]:
    """Ask what a link in four partitions would become over a pool."""
    line = line_of("ld.lld-16", program)
    command = [*prefix, shim.command, "explain", "--json", "--", tools.need("ld.lld-16"), *line, "out"]
    env = shim.environment(MAKEFLAGS=pool.makeflags, **more)
    return explained(subprocess.run(command, env=env, pass_fds=pool.pass_fds, check=True, capture_output=True))


def test_where_partitions_cannot_be_confined_the_reason_says_so(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C20 C21: with affinity refused, or LDSHIM_CPUS above the mask, the link holds the tokens there are, and runs its four threads."""
    with Pool(b"a") as pool:
        said = explain(shim, program, pool, refusing(tmp_path))
        larger = explain(shim, program, pool, [], LDSHIM_CPUS="512")
    assert (2, "fixed", True) == (said["granted"], said["policy"], said["reason"].endswith(REFUSED))
    assert "4 partitions, with a thread each that no option limits" in said["reason"]
    mask = len(os.sched_getaffinity(0))
    assert larger["reason"].endswith(f"; not confined: LDSHIM_CPUS=512, and its affinity mask has {mask}")
    assert [2, "fixed"] == [larger["granted"], larger["policy"]]


def test_a_kept_number_leaves_partitions_alone(shim: Shim, program: Program) -> None:
    """C9: under LDSHIM_EXPLICIT=keep nothing is added, taken or confined."""
    with Pool(b"a") as pool:
        said = explain(shim, program, pool, [], LDSHIM_EXPLICIT="keep")
    assert (1, "none") == (said["granted"], said["policy"])
    assert not [word for word in said["argv"][-3:] if word.startswith("--threads")]
