"""What a configure script costs with a directory of ldshim's first on PATH, against the bare tools.

    python -m tests.bench.configure [--source DIR] [--rounds 7] [--resume FILE] [--minutes 4] [--only WORDS] [--table FILE]

A configure script compiles and links some hundred tiny sources, and asks each tool for its version. None of them has a use for ldshim, so
what it adds is pure cost. DIR: of a package with a configure script (GNU hello, sed); without it, a script of a hundred checks is
made by autoconf. With `-flto=auto` in CFLAGS, as distributions have it, and without. Configure runs in a fresh directory each time.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import samples
from tests.bench.workload import ROOT
from tests.support.program import bare_environment
from tests.support.tools import need

BARE, FARM = "bare", "farm first on PATH"
FLAGS = {"-O2": "-O2", "-O2 -flto=auto": "-O2 -flto=auto -ffat-lto-objects"}
TARGET = 1.05
FUNCTIONS = (
    "abort access alarm atexit atoi bcmp bcopy bsearch calloc chdir chmod chown clock close connect ctime dup dup2 execve exit fclose "
    "fcntl fdopen feof fflush fgetc fgets fopen fork fprintf fputc fputs fread free freopen fseek fstat ftell fwrite getc getcwd getenv "
    "getgid getopt getpid getppid gettimeofday getuid isatty kill link listen localtime longjmp lseek malloc memchr memcmp memcpy "
    "memmove memset mkdir mktime nosuch1 nosuch2 nosuch3 open pause perror pipe poll popen printf putenv qsort raise read realloc "
    "remove rename rmdir select setenv signal sleep snprintf socket sprintf stat strcat strchr strcmp strcpy strdup strerror strlen"
)
SCRIPT = f"AC_INIT([checks], [1])\nAC_PROG_CC\nAC_CHECK_FUNCS([{FUNCTIONS}])\nAC_CHECK_LIB([m], [sin])\nAC_OUTPUT\n"


class Configure:
    """One package, and a farm. place: a directory that lives as long as the benchmark."""

    def __init__(self, place: Path, source: Path | None) -> None:
        self.source = source or place / "checks"
        self.place = place
        if source is None:
            self.source.mkdir(exist_ok=True)
            (self.source / "configure.ac").write_text(SCRIPT)
            subprocess.run([need("autoconf")], cwd=self.source, check=True)
        self.farm = place / "farm"
        shutil.rmtree(self.farm, ignore_errors=True)
        words = [sys.executable, "-m", "ldshim", "link-farm", str(self.farm), "gcc", "cc", "g++", "c++", "ld"]
        subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    def measure(self, row: samples.Key, _: int) -> dict[str, float]:
        """Configure once: seconds of wall and CPU."""
        flags, how = row
        path = f"{self.farm}:{os.defpath}" if how == FARM else os.defpath
        with tempfile.TemporaryDirectory(dir=self.place) as build:
            env = bare_environment(PATH=path, XDG_RUNTIME_DIR=build)
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            words = [str(self.source.absolute() / "configure"), "CC=gcc", f"CFLAGS={FLAGS[flags]}", f"LDFLAGS={FLAGS[flags]}"]
            subprocess.run(words, cwd=build, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def tables(found: samples.Samples) -> str:
    """Write the table: both ways, and how the farm stands to the bare tools."""
    rows = []
    for row in found.rows():
        compared = found.against(row, [(*row[:-1], BARE)]) if row[-1] == FARM else None
        rows.append([*row, *found.seconds(row), *([f"{compared.ratio:.3f}", compared.said(TARGET)] if compared else ["", ""])])
    return samples.table(["CFLAGS", "tools", "wall s", "CPU s", "to bare", f"at most {TARGET}"], rows)


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, metavar="DIR", help="of a package that has a configure script")
    samples.add_arguments(parser, rounds=7)
    options = parser.parse_args()
    plan = [(flags, how) for flags in FLAGS for how in (BARE, FARM)]
    about = f"configure of {options.source.name if options.source else 'a hundred checks'}, {options.rounds} rounds"
    samples.main(options, about, plan, range(options.rounds), lambda place: Configure(place, options.source).measure, tables)


if __name__ == "__main__":
    main()
