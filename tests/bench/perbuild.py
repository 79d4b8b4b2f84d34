"""What a whole build costs: several LTO links at once under make, bare and through ldshim, measured in the same run.

    python -m tests.bench.perbuild [--jobs 2,4] [--links 1,4] [--compiler gcc-12] [--linker ld.lld-16] [--functions 150] [--rounds 1]

Each row is one build of LINKS links of the same generated program (200 modules unless told otherwise) under `make -jJOBS`. The columns:
wall and CPU seconds; peak of threads that were runnable at once and of LTRANS compilers alive; summed peak of resident memory (MB);
involuntary context switches. Rows of one table are interleaved, so a noisy neighbour hits all of them.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests import tools

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = os.sysconf("SC_PAGE_SIZE")
FUNCTION = (
    "static __attribute__((noinline)) unsigned g{j}(unsigned x) {{ unsigned s = x; for (unsigned k = 0; k < x % 97; k++) "
    "s = s * 31 + (k ^ {j}) + s / (k + {i}); return s; }}\n"
)


def generate(place: Path, modules: int, functions: int) -> None:
    """Write the program: modules files of functions small functions each, and a main that calls them all."""
    for i in range(1, modules + 1):
        body = "".join(FUNCTION.format(i=i, j=j) for j in range(1, functions + 1))
        calls = "".join(f"s += g{j}(s + {j});" for j in range(1, functions + 1))
        (place / f"m{i}.c").write_text(f"{body}unsigned f{i}(unsigned x) {{ unsigned s = x; {calls} return s; }}\n")
    declared = "".join(f"extern unsigned f{i}(unsigned); s += f{i}(s);" for i in range(1, modules + 1))
    (place / "main.c").write_text(f"int main(void) {{ unsigned s = 0; {declared} return s == 42; }}\n")


def compile_all(place: Path, driver: str, flag: str) -> list[str]:
    """Compile every module with two jobs; return the objects' names."""
    names = sorted(path.stem for path in place.glob("*.c"))
    makefile = place / "compile.mk"
    makefile.write_text(f"all: {' '.join(name + '.o' for name in names)}\n%.o: %.c ; @{driver} -O1 {flag} -c $< -o $@\n")
    subprocess.run(["make", "-s", "-j2", "-f", str(makefile)], cwd=place, check=True)
    return [name + ".o" for name in names]


class Watcher(threading.Thread):
    """Sample the processes below one pid until told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.over = False
        self.runnable = self.ltrans = self.memory = 0

    def run(self) -> None:
        """Sample every 30 ms."""
        while not self.over:
            self.sample()
            time.sleep(0.03)

    def sample(self) -> None:
        """Look once."""
        pids = [self.pid]
        for pid in pids:
            try:
                pids += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            except OSError:
                continue
        runnable = ltrans = memory = 0
        for pid in pids:
            try:
                place = Path(f"/proc/{pid}")
                if b"-fltrans\0" in (place / "cmdline").read_bytes() and (place / "comm").read_text().startswith("lto1"):
                    ltrans += 1
                memory += int((place / "statm").read_text().split()[1]) * PAGE
                for task in (place / "task").iterdir():
                    runnable += (task / "stat").read_text().rpartition(")")[2].split()[0] == "R"
            except OSError:
                continue
        self.runnable, self.ltrans, self.memory = max(self.runnable, runnable), max(self.ltrans, ltrans), max(self.memory, memory)


def measure(place: Path, link: str, jobs: int, links: int, plus: str, make: str) -> list[float]:
    """Run one build; return wall, CPU, peak runnable, peak LTRANS, peak memory in MB, involuntary switches."""
    makefile = place / "link.mk"
    outs = " ".join(f"out{n}" for n in range(links))
    makefile.write_text(f"all: {outs}\nout%: ; {plus}@{link} -o $@\n")
    for n in range(links):
        (place / f"out{n}").unlink(missing_ok=True)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    build = subprocess.Popen([make, "-s", f"-j{jobs}", "-f", str(makefile)], cwd=place, stderr=subprocess.DEVNULL)
    watcher = Watcher(build.pid)
    watcher.start()
    status = build.wait()
    wall = time.monotonic() - started
    watcher.over = True
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status:
        raise SystemExit(f"the build failed: {link}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [wall, cpu, watcher.runnable, watcher.ltrans, watcher.memory / 1e6, after.ru_nivcsw - before.ru_nivcsw]


def variants(arguments: argparse.Namespace, objects: str) -> list[tuple[str, str, str]]:
    """List (name, link command, recipe prefix)."""
    shim = f"env PYTHONPATH={ROOT} {sys.executable} -m ldshim"
    if arguments.linker:
        bare = f"{arguments.linker} -r {objects}"
        fixed = [(f"--threads={n}", f"{bare} --threads={n}", "") for n in arguments.static]
        return [("bare, default threads", bare, ""), *fixed, ("ldshim", f"{shim} {bare}", "+")]
    gcc = f"{arguments.compiler} -O1 {objects}"
    fixed = [(f"bare -flto={n}", f"{gcc} -flto={n}", "") for n in arguments.static]
    return [
        ("bare -flto=auto", f"{gcc} -flto=auto", ""),
        ("bare -flto=jobserver, with +", f"{gcc} -flto=jobserver", "+"),
        *fixed,
        ("ldshim -flto=auto", f"{shim} {gcc} -flto=auto", "+"),
        ("ldshim -flto=auto, without +", f"{shim} {gcc} -flto=auto", ""),
    ]


def main() -> None:
    """Run every row and print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default="4")
    parser.add_argument("--links", default="1,4")
    parser.add_argument("--compiler", default="gcc-12")
    parser.add_argument("--linker", default="", help="an ld.lld: ThinLTO links of objects of the clang of the same version")
    parser.add_argument("--modules", type=int, default=200)
    parser.add_argument("--functions", type=int, default=20)
    parser.add_argument("--static", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    make = tools.make43()
    place = Path(tempfile.mkdtemp(prefix="perbuild"))
    try:
        generate(place, arguments.modules, arguments.functions)
        driver, flag = (tools.clang_of(arguments.linker), "-flto=thin") if arguments.linker else (arguments.compiler, "-flto")
        objects = " ".join(compile_all(place, driver, flag))
        name = arguments.linker or arguments.compiler
        print(f"{name}, {arguments.modules} modules, make 4.3, {os.cpu_count()} CPUs, best of {arguments.rounds}\n")
        print("| make | links at once | link | wall s | CPU s | runnable threads | LTRANS at once | memory MB | switches |")
        print("|---|---|---|---|---|---|---|---|---|")
        for jobs in map(int, arguments.jobs.split(",")):
            for links in map(int, arguments.links.split(",")):
                rows = variants(arguments, objects)
                got = {name: [measure(place, link, jobs, links, plus, make)] for name, link, plus in rows}
                for _ in range(arguments.rounds - 1):
                    for name, link, plus in rows:
                        got[name].append(measure(place, link, jobs, links, plus, make))
                for name, _, _ in rows:
                    wall, cpu, runnable, ltrans, memory, switches = min(got[name])
                    figures = f"{wall:.1f} | {cpu:.1f} | {runnable:.0f} | {ltrans:.0f} | {memory:.0f} | {switches:.0f}"
                    print(f"| -j{jobs} | {links} | {name} | {figures} |", flush=True)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
