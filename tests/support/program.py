"""A C program of 24 modules, compiled once a session for each compiler and each set of flags.

The problem: the matrix of LTO links (compilers x recorded -flto x link line x make) is hundreds of links, and each needs objects. The
consequence: two small sources in fixtures/program, compiled with -DMODULE=n, kept by (compiler, flags); and `--param`s that make GCC cut
so small a program into many partitions, so that a link is a second and still has something to run in parallel.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.tools import need_c_library

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "program"
MODULES = 24
PARTITIONS = ("--param=lto-partitions=10", "--param=lto-min-partition=200")  # at least 8 LTRANS jobs, proven by test_e2e_gcc


class Program:
    """Objects of the test program. root: a directory that lives as long as the session and belongs to us."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._kept: dict[tuple[str, ...], list[str]] = {}

    def objects(self, compiler: str, *flags: str) -> list[str]:
        """Compile the program, or reuse the objects of the same compiler and flags: their paths, main.o first."""
        key = (compiler, *flags)
        if key not in self._kept:
            need_c_library(compiler)
            self._kept[key] = self._compile(key, self.root / hashlib.sha256("\0".join(key).encode()).hexdigest()[:12])
        return self._kept[key]

    def _compile(self, command: tuple[str, ...], place: Path) -> list[str]:
        place.mkdir(parents=True)
        table = " ".join(f"X({number})" for number in range(MODULES))
        calls = [[*command, f"-DMODULES={table}", "-c", str(FIXTURE / "main.c"), "-o", str(place / "main.o")]]
        calls += [
            [*command, f"-DMODULE={number}", "-c", str(FIXTURE / "module.c"), "-o", str(place / f"m{number:02}.o")]
            for number in range(MODULES)
        ]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(lambda call: subprocess.run(call, check=True, env=bare_environment()), calls))
        return [call[-1] for call in calls]


def bare_environment(**more: str) -> dict[str, str]:
    """Copy the environment without anything that would steer a compiler, a make or ldshim from outside the test."""
    drop = ("LDSHIM_", "MAKE", "MFLAGS", "GNUMAKEFLAGS", "CARGO_MAKEFLAGS", "COLLECT_", "COMPILER_PATH", "GCC_", "DEB_BUILD", "RPM_BUILD")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    return {**kept, **more}


def sha256(path: str | Path) -> str:
    """Hash a file whole."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
