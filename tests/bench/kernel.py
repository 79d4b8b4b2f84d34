"""What a real link costs: vmlinux of Debian's linux-source under kbuild, with ThinLTO, bare and through ldshim.

    python -m tests.bench.kernel [--source /usr/src/linux-source-6.1.tar.xz] [--config tinyconfig] [--llvm -16] [--jobs 2,8]
                                 [--rounds 3] [--resume FILE] [--minutes 30] [--only=-j2] [--table FILE]

Unpacked, configured with CONFIG_LTO_CLANG_THIN and built once, bare; that takes minutes and 2 GB, so give it a --resume. A sample removes
what was linked and runs `make vmlinux` again: kbuild's walk over the tree, and the link of vmlinux.o, which compiles the kernel in a
recipe without `+`. The rows: kbuild as it is, with every number of threads that could make sense (`ld.lld --threads=N`), and ldshim as a
prefix and as an entry of a link farm. kbuild does over whatever another LD= has made, so LD= is one script of two lines in every row, and
only what it execs is the row's. Seconds and ratios are those of samples.py.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

from tests.bench import run, samples
from tests.bench.workload import PYTHON, ROOT, environment, make_farm
from tests.support import tools

OPTIONS = {"-e": ("64BIT", "LTO_CLANG_THIN"), "-d": ("LTO_NONE",)}
AUTO = "bare, its default"
STATIC = "bare, {} threads"
OURS = ("ldshim, prefix", "ldshim, farm")
TARGET = 1.03


def variants(jobs: int) -> list[str]:
    """Name the rows of one group."""
    return [AUTO, *(STATIC.format(number) for number in sorted({1, 2, jobs})), *OURS]


class Kernel:
    """One kernel tree below place, and what links it."""

    def __init__(self, place: Path, options: argparse.Namespace) -> None:
        self.linker = f"ld.lld{options.llvm}"
        self.tree = place / "tree"
        self.out = place / "out"
        self.farm = make_farm(place, [self.linker])
        self.env = environment(place, KBUILD_OUTPUT=str(self.out))
        self.ld = place / "ld"
        self.make = [tools.make43(), "-s", f"LLVM={options.llvm}", f"LD={self.ld}"]
        prefix = place / "ldshim"
        prefix.write_text(f"#!{PYTHON}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom ldshim.__main__ import main\nmain()\n")
        prefix.chmod(0o755)
        self.prefix = str(prefix)
        self.become(AUTO)
        if not (place / "built").exists():
            self.prepare(options)
            (place / "built").touch()

    def prepare(self, options: argparse.Namespace) -> None:
        """Unpack, configure and build it once."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.tree.mkdir(exist_ok=True)
        self.out.mkdir()
        self.call("tar", "-xf", str(options.source), "-C", str(self.tree), "--strip-components=1")
        self.call(*self.make, options.config)
        for option, names in OPTIONS.items():
            for name in names:
                self.call("scripts/config", "--file", str(self.out / ".config"), option, name)
        self.call(*self.make, "olddefconfig")
        if "CONFIG_LTO_CLANG_THIN=y" not in (self.out / ".config").read_text():
            raise SystemExit("this configuration does not take CONFIG_LTO_CLANG_THIN")
        self.call(*self.make, f"-j{os.cpu_count()}", "vmlinux")

    def call(self, *words: str) -> None:
        """Run one command at the top of the tree, which must succeed."""
        subprocess.run(words, cwd=self.tree, env=self.env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def measure(self, row: samples.Key, number: int) -> dict[str, float]:
        """Link once: its figures. row: (linker, -jN, variant)."""
        start = partial(self.start, row[1])
        self.become(row[2])
        for name in ("vmlinux.o", "vmlinux"):
            (self.out / name).unlink(missing_ok=True)
        return run.timed(start) if samples.timed(number) else run.watched(start)

    def become(self, variant: str) -> None:
        """Make LD= what a row wants."""
        linker = tools.need(self.linker)
        if variant in OURS:
            linker = str(self.farm / self.linker) if variant.endswith("farm") else f"{self.prefix} {linker}"
        elif variant != AUTO:
            linker += f" --threads={variant.split()[1]}"
        self.ld.write_text(f'#!/bin/sh\nexec {linker} "$@"\n')
        self.ld.chmod(0o755)

    def start(self, jobs: str) -> list[subprocess.Popen[bytes]]:
        """Start make."""
        words = [*self.make, jobs, "vmlinux"]
        return [subprocess.Popen(words, cwd=self.tree, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]


def tables(found: samples.Samples) -> str:
    """Write a table of all rows; those of ldshim beside the best of the others."""
    columns = ["linker", "make", "row", "wall s", "CPU s", "to the best other", f"at most {TARGET}", "occupied CPUs", "memory MB"]
    lines = []
    for group in found.groups():
        rows = sorted((row for row in found.rows() if row[:-1] == group), key=lambda row: found.median(row, "wall"))
        for row in rows:
            fine = found.seconds(row)
            compared = found.against(row, [other for other in rows if other[-1] not in OURS]) if row[-1] in OURS else None
            said = [f"{compared.ratio:.3f}", compared.said(TARGET)] if compared else ["", ""]
            lines.append([*row, *fine, *said, *(f"{found.most(row, name):.0f}" for name in ("occupied", "memory"))])
    return samples.table(columns, lines)


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("/usr/src/linux-source-6.1.tar.xz"), help="a tar file of a kernel's source")
    parser.add_argument("--config", default="tinyconfig", help="a make target that configures (default: %(default)s)")
    parser.add_argument("--llvm", default="-16", help="suffix of clang's and lld's names (default: %(default)s)")
    parser.add_argument("--jobs", default="2,8")
    samples.add_arguments(parser, rounds=3, watched=1)
    options = parser.parse_args()
    plan = [(f"ld.lld{options.llvm}", f"-j{jobs}", variant) for jobs in options.jobs.split(",") for variant in variants(int(jobs))]
    run.adopt()
    about = f"{options.source.name}, {options.config} with ThinLTO, make 4.3, medians of timed links of vmlinux, peaks of watched ones"
    samples.main(options, about, plan, samples.rounds(options), lambda place: Kernel(place, options).measure, tables)


if __name__ == "__main__":
    main()
