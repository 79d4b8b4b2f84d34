"""A generated program, its objects for one tool, and the link of it: what perbuild, together, elastic and filling all link.

The problem: what a scheduler is worth shows only on links of seconds, with hundreds of modules, and nobody's real program is at hand on
every machine. The consequence: modules of equal functions, as many as asked for, compiled once into a directory that is kept, so that a
benchmark can run in pieces. With `loops` there is one function more that nobody can split: a serial phase at the end of the link, since
LLVM and GCC both begin with the largest.

ldshim is run as users run it: through a link farm, written for this checkout by `ldshim link-farm`, .pyc files included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.support import tools
from tests.support.program import bare_environment

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = getattr(sys, "_base_executable", sys.executable)
# So small a program would be one partition or two; a real one of 200 modules is not.
PARTITIONS = "--param=lto-min-partition=1000"
FUNCTION = (
    "static __attribute__((noinline)) unsigned g{j}(unsigned x) {{ unsigned s = x; for (unsigned k = 0; k < x % 97; k++) "
    "s = s * 31 + (k ^ {j}) + s / (k + {i}); return s; }}\n"
)
LOOP = "for (unsigned k = 0; k < x % {n}; k++) s = s * 31 + (k ^ {n}) + s / (k + {n}); x ^= s;\n"


class Workload:
    """One program for one tool. tool: as in `gcc-12` or `ld.lld-16`; place: where the objects are, and where links run."""

    def __init__(self, root: Path, tool: str, modules: int, functions: int, loops: int = 0) -> None:
        """Compile it below root, unless that was done before."""
        self.tool = tool
        self.lld = tool.startswith("ld.lld")
        self.place = root / f"{tool}-{modules}x{functions}+{loops}"
        done = self.place / "compiled"
        if not done.exists():
            self.place.mkdir(parents=True, exist_ok=True)
            generate(self.place, modules, functions, loops)
            self._compile()
            done.touch()
        self.objects = sorted(path.name for path in self.place.glob("*.o"))

    def _compile(self) -> None:
        driver, flag = (tools.clang_of(self.tool), "=thin") if self.lld else (tools.need(self.tool), "")
        objects = " ".join(path.stem + ".o" for path in self.place.glob("*.c"))
        (self.place / "compile.mk").write_text(f"all: {objects}\n%.o: %.c ; @{driver} -O1 -fPIC -flto{flag} -c $< -o $@\n")
        subprocess.run(["make", "-s", "-j2", "-f", "compile.mk"], cwd=self.place, env=bare_environment(), check=True)

    def command(self, out: str, number: str = "", farm: Path | None = None, words: tuple[str, ...] = ()) -> list[str]:
        """Spell a link.

        number: of threads, "" for the default (GCC: auto); farm: where ldshim stands in, None: bare; words: more options.
        """
        program = str(farm / self.tool) if farm else tools.need(self.tool)
        if self.lld:
            return [program, "-shared", *([f"--threads={number}"] if number else []), *words, *self.objects, "-o", out]
        flags = ["-O1", "-shared", "-nostdlib", PARTITIONS, f"-flto={number or 'auto'}"]
        return [program, *flags, *words, *self.objects, "-o", out]


def generate(place: Path, modules: int, functions: int, loops: int) -> None:
    """Write the C files: each module has so many functions that are not inlined, and one that calls them all."""
    for i in range(1, modules + 1):
        body = "".join(FUNCTION.format(i=i, j=j) for j in range(1, functions + 1))
        calls = "".join(f"s += g{j}(s + {j});" for j in range(1, functions + 1))
        (place / f"m{i}.c").write_text(f"{body}unsigned f{i}(unsigned x) {{ unsigned s = x; {calls} return s; }}\n")
    if loops:
        body = "".join(LOOP.format(n=n + 3) for n in range(loops))
        (place / "large.c").write_text(f"unsigned large(unsigned x) {{ unsigned s = x;\n{body}return s; }}\n")


def make_farm(root: Path, names: list[str]) -> Path:
    """Let `ldshim link-farm` write launchers for these tools."""
    for name in names:
        tools.need(name)
    words = [PYTHON, "-m", "ldshim", "link-farm", str(root / "farm"), *names]
    subprocess.run(words, cwd=ROOT, env=bare_environment(), check=True, stdout=subprocess.DEVNULL)
    return root / "farm"


def environment(root: Path, **more: str) -> dict[str, str]:
    """Give what links are run with: slots, memory ledger and known tools are this benchmark's own."""
    for name in ("run", "tmp"):
        (root / name).mkdir(mode=0o700, exist_ok=True)
    return bare_environment(XDG_RUNTIME_DIR=str(root / "run"), TMPDIR=str(root / "tmp"), **more)


class Bench:
    """Workloads for some tools, and what their links are run with. root: a directory of the benchmark's, kept by --resume."""

    def __init__(self, root: Path, options: argparse.Namespace) -> None:
        self.root = root
        self.loads = {tool: Workload(root, tool, options.modules, options.functions, options.loops) for tool in options.tools.split(",")}
        self.farm = make_farm(root, list(self.loads))
        self.env = environment(root)


def add_arguments(parser: argparse.ArgumentParser, tool_names: str, modules: int, functions: int, loops: int = 0) -> None:
    """Describe which links are made."""
    parser.add_argument("--tools", default=tool_names, help="gcc-N, ld.lld-N (default: %(default)s)")
    parser.add_argument("--modules", type=int, default=modules)
    parser.add_argument("--functions", type=int, default=functions, help="of a module; 3 of 200 modules make a link of about 2 s of CPU")
    parser.add_argument("--loops", type=int, default=loops, help="of one more function that nobody can split")
