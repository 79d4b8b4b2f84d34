"""What knowing an LTO link from its inputs costs: time and bytes read for each object, against opening the same files.

    python -m tests.bench.ir [--rounds 15]

The problem: a thousand objects are read before every link, and a machine's noise is as large as the cost. The consequence: every round runs
the scan and, right before it, a reference on the same files: stat, open, one read of 4 KB, close, in Python, which no reader can do
without. CPU time, best of the rounds; what matters is the ratio of the two. Native and GCC objects are small and large, for a small one
is read whole by its first read. `first` is the same scan as the first deed of a fresh interpreter, our own imports included: what a
link pays beyond the interpreter's start.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ldshim.command.argv import Input
from ldshim.inputs.findings import LTO_PARTITIONS, enough_for
from ldshim.inputs.scan import EnoughOfGcc, scan
from tests.support.tools import CLANGS, GCCS, beside, need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldshim.inputs.findings import Findings

ROOT = Path(__file__).parents[2]
SMALL = "int f(int x) { return x + 1; }\n"
LARGE = "".join(f"int function_{n}(int x) {{ static int t_{n}[{n + 1}]; return t_{n}[x] += x * {n}; }}\n" for n in range(60))
THOUSAND = 1000


# What a fresh interpreter does; argv: root of the tree, list of the inputs, enough, enough_gcc.
FIRST = """
import sys, time
sys.path.insert(0, sys.argv[1])
from ldshim.command.argv import Input
inputs = [Input(name) for name in open(sys.argv[2], "rb").read().splitlines()]
start = time.process_time()
from ldshim.inputs.scan import EnoughOfGcc, scan
scan(inputs, enough=int(sys.argv[3]) or EnoughOfGcc(int(sys.argv[4]), asked=False))
print(time.process_time() - start)
"""


class Case:
    """One row. inputs: what the link names; files: what the reference opens; enough: modules; enough_gcc: bytes."""

    def __init__(self, name: str, inputs: Sequence[Path], files: Sequence[Path], enough: int = 0, enough_gcc: int = 0) -> None:
        self.name = name
        self.inputs = [Input(os.fsencode(path)) for path in inputs]
        self.files = [os.fsencode(path) for path in files]
        self.enough = enough
        self.enough_gcc = enough_gcc
        self.scan = self.reference = self.first = float("inf")  # seconds of CPU
        self.found: Findings | None = None

    def round(self) -> None:
        """Run the reference and the scan once."""
        start = time.process_time()
        for path in self.files:
            os.stat(path)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            os.pread(fd, 4096, 0)
            os.close(fd)
        between = time.process_time()
        self.found = scan(self.inputs, enough=self.enough or EnoughOfGcc(self.enough_gcc, asked=False))
        self.reference = min(self.reference, between - start)
        self.scan = min(self.scan, time.process_time() - between)

    def once_fresh(self, place: Path) -> None:
        """Run the scan in an interpreter of its own."""
        (place / "inputs").write_bytes(b"\n".join(item.name for item in self.inputs))
        words = [str(ROOT), str(place / "inputs"), str(self.enough), str(self.enough_gcc)]
        said = subprocess.run([sys.executable, "-IS", "-c", FIRST, *words], check=True, stdout=subprocess.PIPE).stdout
        self.first = min(self.first, float(said))

    def row(self) -> str:
        """Write the row as Markdown."""
        assert self.found is not None
        figures = f"{self.first * 1000:.1f} | {self.scan * 1000:.1f} | {self.reference * 1000:.1f} | {self.scan / self.reference:.1f}"
        per = f"{self.scan * 1e6 / len(self.files):.1f} | {self.found.bytes_read / len(self.files):.0f}"
        return f"| {self.name} | {figures} | {per} |"


def copies(root: Path, name: str, compiler: str, flags: Sequence[str], text: str, count: int = THOUSAND) -> list[Path]:
    """Compile once, and copy the object count times."""
    directory = root / name
    directory.mkdir()
    (directory / "t.c").write_text(text)
    one = directory / "t.o"
    subprocess.run([need(compiler), "-O1", *flags, "-c", str(directory / "t.c"), "-o", str(one)], check=True)
    paths = [directory / f"{number}.o" for number in range(count)]
    for path in paths:
        shutil.copy(one, path)
    return paths


def cases(root: Path) -> list[Case]:
    """Make the inputs, and write down the rows."""
    gcc, clang = GCCS[max(GCCS)], CLANGS[max(CLANGS)]
    archiver = beside(clang, "clang", "llvm-ar")
    plain = copies(root, "plain", gcc, [], SMALL, 5 * THOUSAND)
    thin = copies(root, "thin", clang, ["-flto=thin"], SMALL)
    (root / "names").write_text("\n".join(map(str, plain)))
    archive = root / "thin.a"
    subprocess.run([need(archiver), "rcS", "--thin", str(archive), f"@{root}/names"], check=True)
    rows = [Case("1000 plain objects", plain[:THOUSAND], plain[:THOUSAND])]
    made: dict[str, list[Path]] = {}
    for name, compiler, flags, text in (
        ("1000 plain objects, large", gcc, ["-g", "-ffunction-sections"], LARGE),
        ("1000 plain objects of clang, large", clang, ["-g"], LARGE),
        ("1000 GCC slim objects", gcc, ["-flto=auto"], SMALL),
        ("1000 GCC slim objects, large", gcc, ["-flto=auto"], LARGE),
        ("1000 modules of full LTO", clang, ["-flto"], SMALL),
        ("1000 modules of full LTO, large", clang, ["-flto"], LARGE),
    ):
        made[name] = paths = copies(root, name, compiler, flags, text)
        rows.append(Case(name, paths, paths))
    slim = made["1000 GCC slim objects, large"]
    rows += [
        Case("1000 GCC slim objects, large, 128 partitions are enough", slim, slim, enough_gcc=enough_for(LTO_PARTITIONS)),
        Case("1000 ThinLTO modules, all read", thin, thin),
        Case("1000 ThinLTO modules, 16 are enough", thin, thin, enough=16),
        Case("thin archive of 5000 plain objects", [archive], plain),
    ]
    return rows


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bench-ir") as directory:
        rows = cases(Path(directory))
        for _ in range(rounds):
            for case in rows:
                case.round()
                case.once_fresh(Path(directory))
    print(f"\n{rounds} rounds, CPython {platform.python_version()}, {os.cpu_count()} CPUs, CPU time, the best of each\n")
    print("| inputs | first ms | scan ms | reference ms | ratio | us an object | bytes an object |\n|---|---:|---:|---:|---:|---:|---:|")
    for case in rows:
        print(case.row())


if __name__ == "__main__":
    main()
