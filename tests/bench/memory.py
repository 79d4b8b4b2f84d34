"""Measure what LTO links need, beside what ldshim predicts (C17): the table of ldshim/doc/memory.md.

The problem: nobody documents the memory of an LTRANS job or of a ThinLTO backend, and a number out of the air either lets a link die or
leaves a machine idle. The consequence: real programs and generated ones are linked bare with 1, 2 and 4 jobs, the tree of each link is
sampled, and its largest sum of anonymous memory (Pss_Anon of smaps_rollup, so that what forks share counts once) stands beside the
prediction. File pages are not counted: the kernel drops them, as MemAvailable says.

    python -m tests.bench.memory [--source NAME=DIRECTORY]... [--place DIRECTORY] [--cpus N]

--cpus confines the links, as the warden does with those that hold fewer CPUs than they have threads. A source is a directory of C files
that need no generated header; its object files are kept in the place, so a second run only links.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ldshim.call import processes
from ldshim.command.argv import Input
from ldshim.decide import memory_estimate
from ldshim.inputs import scan
from ldshim.inputs.findings import LTO_PARTITIONS
from tests.support import tools
from tests.support.program import FIXTURE, bare_environment

if TYPE_CHECKING:
    from ldshim.inputs.findings import Findings

TOOLS = ("gcc-11", "gcc-12", "ld.lld-14", "ld.lld-16", "ld.lld-19")
JOBS = (1, 2, 4)
OPTIMISE = "-O1"  # more of it costs time, and no memory worth mentioning: zstd took 62 s at -O2 on a busy machine
SAMPLE_SECONDS = 0.01

CXX = """
#include <algorithm>
#include <map>
#include <regex>
#include <string>
#include <vector>
struct S{n} {{ int a[{n} + 1]; bool operator<(const S{n} &o) const {{ return a[0] < o.a[0]; }} }};
std::map<S{n}, std::string> m{n};
std::vector<S{n}> v{n};
bool f{n}(S{n} &s, const std::string &t) {{
    m{n}[s] = "x{n}"; v{n}.push_back(s); std::sort(v{n}.begin(), v{n}.end());
    return std::regex_match(t, std::regex("a{n}(b|c)*[[:alpha:]]+"));
}}
"""


class Corpus(NamedTuple):
    """One program: its C or C++ files and the compiler's words for them."""

    name: str
    files: list[Path]
    words: list[str]


def corpora(place: Path, sources: list[str]) -> list[Corpus]:
    """List the generated programs, small to large, and the caller's sources (NAME=DIRECTORY)."""
    out = []
    for source in sources:
        name, _, directory_name = source.partition("=")
        root = Path(directory_name)
        includes = [f"-I{path}" for path in (root, root / "include", root.parent / "include") if path.is_dir()]
        plain = [path for path in sorted(root.rglob("*.c")) if "test" not in str(path.relative_to(root))]
        out.append(Corpus(name, plain, includes))
    for count in (24, 96):
        directory = place / f"generated-{count}"
        directory.mkdir(exist_ok=True)
        for number in range(count):
            module = f'#define MODULE {number}\n#include "{FIXTURE}/module.c"\n'
            (directory / f"m{number}.c").write_text(module)
        out.append(Corpus(f"generated C, {count} modules", sorted(directory.glob("*.c")), []))
    for count in (4, 16):
        directory = place / f"cxx-{count}"
        directory.mkdir(exist_ok=True)
        for number in range(count):
            (directory / f"m{number}.cc").write_text(CXX.format(n=number))
        out.append(Corpus(f"C++ templates, {count} modules", sorted(directory.glob("*.cc")), ["-x", "c++"]))
    return out


def compile_all(corpus: Corpus, compiler: str, words: list[str], place: Path) -> list[str]:
    """Compile a program, or find it compiled: the objects. A file that does not compile is left out."""
    command = [compiler, *words, *corpus.words, "-fPIC", "-w", "-c"]
    directory = place / hashlib.sha256("\0".join([corpus.name, *command]).encode()).hexdigest()[:12]
    objects = [directory / f"{number:04}.o" for number in range(len(corpus.files))]
    if not directory.exists():
        directory.mkdir()

        def compile_one(number: int) -> None:
            call = [*command, str(corpus.files[number]), "-o", str(objects[number])]
            subprocess.run(call, env=bare_environment(), stderr=subprocess.DEVNULL, check=False)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(compile_one, range(len(objects))))
    return [str(path) for path in objects if path.exists()]


def peak_of(command: list[str], place: Path) -> tuple[int, float]:
    """Run a link on the CPUs that this process may use: the largest anonymous memory of its tree in bytes, and its wall time."""
    started = time.monotonic()
    link = subprocess.Popen(command, env=bare_environment(TMPDIR=str(place)), stderr=subprocess.PIPE)
    peak = 0
    while link.poll() is None:
        peak = max(peak, sum(anonymous(pid) for pid in [link.pid, *processes.below(link.pid)]))
        time.sleep(SAMPLE_SECONDS)
    if link.returncode:
        said = link.stderr.read().decode() if link.stderr else ""
        raise SystemExit(f"the link failed: {' '.join(command[:6])} ...: {said[-500:]}")
    return peak, time.monotonic() - started


def anonymous(pid: int) -> int:
    """Sum what a process has that no file backs, its share of what it shares with others: bytes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))) * 1024


def link_command(tool: str, objects: list[str], jobs: int, out: Path) -> list[str]:
    """Spell a bare link of a shared library with so many jobs."""
    if tool.startswith("gcc"):
        return [tools.need(tool), OPTIMISE, "-shared", "-Wl,-z,muldefs", f"-flto={jobs}", *objects, "-o", str(out)]
    return [tools.need(tool), "-shared", "-z", "muldefs", f"--threads={jobs}", f"--thinlto-jobs={jobs}", *objects, "-o", str(out)]


def predicted(tool: str, found: Findings) -> memory_estimate.Footprint:
    """Ask ldshim."""
    return memory_estimate.of_link("gcc" if tool.startswith("gcc") else "thin", found, LTO_PARTITIONS)


def main() -> None:
    """Print the table as markdown, a row at a time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", action="append", default=[], metavar="NAME=DIRECTORY")
    parser.add_argument("--place", type=Path, default=None)
    parser.add_argument("--tool", action="append", default=[])
    parser.add_argument("--program", action="append", default=[], metavar="NAME", help="only programs whose names hold this")
    parser.add_argument("--jobs", type=int, nargs="*", default=JOBS)
    parser.add_argument("--cpus", type=int, default=os.cpu_count(), metavar="N", help="of those that this process may use")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.cpus])
    place = chosen.place or Path(tempfile.mkdtemp(prefix="ldshim-memory"))
    place.mkdir(exist_ok=True)
    sys.stdout.write(
        "| program | tool | IR MB | modules | jobs | measured MB | predicted MB | ratio | s |\n|---|---|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    for corpus in corpora(place, chosen.source):
        if chosen.program and not any(name in corpus.name for name in chosen.program):
            continue
        for tool in chosen.tool or TOOLS:
            compiler, words = (tool, [OPTIMISE, "-flto"]) if tool.startswith("gcc") else (tools.clang_of(tool), [OPTIMISE, "-flto=thin"])
            objects = compile_all(corpus, tools.need(compiler), words, place)
            found = scan.scan([Input(os.fsencode(path)) for path in objects])
            need = predicted(tool, found)
            size = found.gcc_bytes or found.llvm_bytes
            for jobs in chosen.jobs:
                measured, seconds = peak_of(link_command(tool, objects, jobs, place / "out.so"), place)
                guess = need.of(jobs)
                sys.stdout.write(
                    f"| {corpus.name} | {tool} | {size / 1e6:.2f} | {len(objects)} | {jobs} | {measured / 1e6:.0f} | {guess / 1e6:.0f}"
                    f" | {guess / max(1, measured):.1f} | {seconds:.1f} |\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
