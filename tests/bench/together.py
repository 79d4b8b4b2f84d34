"""Links that start at once and share nothing but a jobserver, or the host's slots: as quick as the best split of the CPUs.

    python -m tests.bench.together [--tools gcc-12,ld.lld-16] [--links 2,8] [--tokens 1,3,7,slots] [--modules 200] [--functions 3]
                                   [--static 1,2,4] [--rounds 3] [--watched 1] [--resume FILE] [--minutes 4] [--only gcc-12]
                                   [--table FILE]

There is no make: so many links are started in one moment. Bare ones get what they take by default, or a number each, every one that could
make sense; those of ldshim share a pool of tokens or the slots of the host, and GCC's own -flto=jobserver shares the pool for comparison.
wall is that of the whole. `allowed`: every link's own thread and the tokens; of slots the CPUs, and one for each link that came when all
were taken, until the others have yielded. Rows are compared within their number of links: what does not look at the pool is the
same beside every pool. By which seconds, and how sure that is: samples.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from contextlib import ExitStack
from functools import partial

from tests.bench import run, samples, workload
from tests.bench.workload import Bench, Workload
from tests.support.pool import Pool

AUTO = "bare, its default"
STATIC = "bare, {} threads each"
JOBSERVER = "bare, -flto=jobserver, {}"
OURS = "ldshim, {}"
TARGET = 1.05


def variants(lld: bool, sources: list[str], static: list[str]) -> list[str]:
    """Name the rows of one group."""
    pools = [source for source in sources if source != "slots"]
    known = [] if lld else [JOBSERVER.format(named(source)) for source in pools]
    return [AUTO, *map(STATIC.format, static), *known, *(OURS.format(named(source)) for source in sources)]


def named(source: str) -> str:
    """Name where threads come from: 3 -> "3 tokens"."""
    return source if source == "slots" else f"{source} token{'s' * (source != '1')}"


class Links(Bench):
    """What runs some links at once."""

    def measure(self, row: samples.Key, number: int) -> dict[str, float]:
        """Run links at once: their figures. row: (tool, "N links", variant)."""
        tool, links, variant = row
        with ExitStack() as stack:
            pool = None
            if variant.endswith(("token", "tokens")):
                pool = stack.enter_context(Pool(b"+" * int(variant.split()[-2])))
            start = partial(self.start, self.loads[tool], int(links.split()[0]), variant, pool)
            return run.timed(start) if samples.timed(number) else run.watched(start)

    def start(self, load: Workload, links: int, variant: str, pool: Pool | None) -> list[subprocess.Popen[bytes]]:
        """Start the links."""
        word = variant.split()[1]
        number = word if word.isdigit() and not variant.startswith("ldshim") else "jobserver" * ("-flto=jobserver" in variant)
        env = {**self.env, "MAKEFLAGS": pool.makeflags} if pool else self.env
        started = []
        for n in range(links):
            (load.place / f"out{n}").unlink(missing_ok=True)
            command = load.command(f"out{n}", number, self.farm if variant.startswith("ldshim") else None)
            fds = pool.pass_fds if pool else ()
            started.append(subprocess.Popen(command, cwd=load.place, env=env, pass_fds=fds, stderr=subprocess.DEVNULL))
        return started


def tables(found: samples.Samples) -> str:
    """Write a table of all rows; those of ldshim beside the best of the others."""
    columns = ["link", "at once", "row", "wall s", "CPU s", "to the best other", f"at most {TARGET}", "threads", "occupied"]
    lines = []
    for group in found.groups():
        rows = sorted((row for row in found.rows() if row[:-1] == group), key=lambda row: found.median(row, "wall"))
        others = [row for row in rows if not row[-1].startswith("ldshim")]
        for row in rows:
            ours = row[-1].startswith("ldshim")
            fine = found.seconds(row)
            threads, occupied, memory = (f"{found.most(row, name):.0f}" for name in ("threads", "occupied", "memory"))
            comparison = found.against(row, others) if ours else None
            compared = [f"{comparison.ratio:.3f}", comparison.said(TARGET)] if comparison else ["", ""]
            most = allowed(row) if ours else 0
            peak = [threads, occupied, f"{samples.said(found.most(row, 'occupied') <= most)} ({most})" if ours else ""]
            lines.append([*row, *fine, *compared, *peak, memory, f"{found.median(row, 'switches'):.0f}"])
    return samples.table([*columns, "allowed", "memory MB", "switches"], lines)


def allowed(row: samples.Key) -> int:
    """Return how many CPUs the links of a row may occupy."""
    links = int(row[1].split()[0])
    return len(os.sched_getaffinity(0)) + links - 1 if row[2].endswith("slots") else links + int(row[2].split()[-2])


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    workload.add_arguments(parser, "gcc-12,ld.lld-16", modules=200, functions=3)
    parser.add_argument("--links", default="2,8")
    parser.add_argument("--tokens", default="1,3,7,slots")
    parser.add_argument("--static", default="1,2,4")
    samples.add_arguments(parser, rounds=3, watched=1)
    options = parser.parse_args()
    plan = [
        (tool, f"{links} links", variant)
        for tool in options.tools.split(",")
        for links in options.links.split(",")
        for variant in variants(tool.startswith("ld.lld"), options.tokens.split(","), options.static.split(","))
    ]
    run.adopt()
    about = f"{options.modules} modules of {options.functions} functions, medians of timed runs, peaks of watched ones"
    samples.main(options, about, plan, samples.rounds(options), lambda place: Links(place, options).measure, tables)


if __name__ == "__main__":
    main()
