"""Run every benchmark, and write one Markdown file: `python -m tests.bench [--quick] [--only NAME] [--out FILE]`.

Each one is a command of its own (`python -m tests.bench.NAME`), run after the other with sizes that end within about forty minutes, or
three with --quick, which shows that they run and not what they measure. The file names the command above each table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.workload import ROOT

TABLES: dict[str, tuple[str, str, str]] = {  # name: (title, words, words of --quick)
    "percall": ("What one call costs", "--rounds 60", "--rounds 2 --patience 0.01"),
    "scaling": ("How the cost of a call grows", "--rounds 15", "--rounds 1 --patience 0.01"),
    "configure": ("What a configure script costs", "--rounds 5", "--rounds 1"),
    "ir": ("What reading the inputs costs", "--rounds 15", "--rounds 1"),
    "perbuild": (
        "What a whole build costs",
        "--functions 2 --rounds 2",
        "--modules 12 --functions 4 --jobs 2 --links 2 --rounds 1",
    ),
    "together": (
        "Links at once",
        "--functions 2 --rounds 2",
        "--modules 12 --functions 4 --links 2 --tokens 1,slots --static 2 --rounds 1",
    ),
    "elastic": ("A build that drains", "--rounds 1", "--tools gcc-12,ld.lld-16 --modules 12 --functions 20 --busy 1 --rounds 1"),
    "filling": ("A build that fills up", "--rounds 3", "--modules 12 --functions 4 --loops 100 --tokens 1 --rounds 1"),
}


def main() -> None:
    """Run them, write the file; exit status 1 when one has failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, about three minutes")
    parser.add_argument("--only", action="append", choices=list(TABLES), help="only this one; again for more")
    parser.add_argument("--out", type=Path, default=Path("bench.md"))
    options = parser.parse_args()
    out, failed = [f"# Benchmarks, {time.strftime('%Y-%m-%d', time.gmtime())}\n"], []
    for name in options.only or TABLES:
        title, *sizes = TABLES[name]
        words = ["-m", f"tests.bench.{name}", *sizes[options.quick].split()]
        started = time.monotonic()
        done = subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, check=False)
        sys.stderr.write(f"{name}: status {done.returncode}, {time.monotonic() - started:.0f} s\n")
        if done.returncode:
            failed.append(name)
        out.append(f"## {title}\n\n`python {' '.join(words)}`\n{done.stdout.decode()}")
        options.out.write_text("\n".join(out))
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
