"""What a whole build costs: several LTO links at once under make, bare and through ldshim, measured in the same run.

    python -m tests.bench.perbuild [--tools gcc-12,ld.lld-16] [--jobs 2,8,16] [--links 1,4,8] [--modules 200] [--functions 3]
                                   [--rounds 3] [--watched 1] [--resume FILE] [--minutes 4] [--only "gcc-12 -j8"] [--table FILE]

Each row is a build of so many links of the same generated program under `make -jN`, GNU make 4.3: bare with the tool's own number,
bare with make's jobserver (`+` in the recipe; GCC alone knows it), with every number that could make sense, and ldshim with and
without `+`. Wall, CPU and switches are medians of timed builds. The peaks are those of more builds of each row that are watched
(run.py says how): threads that wanted to run at once, CPUs that they could occupy, the LTRANS compilers of GCC that were alive at
once, counted exactly at a gate that stands open (tests/support/observe.py), and memory, which differs by some per cent with the partitions
that happen to meet: one watched build shows less than the peak. The threads of one process count for no more than the
CPUs that it may use, for the kernel can run no more of them; make, sh and the watcher do not count. That number, and LTRANS, are what
is compared with -j at the end. Memory is compared with that of the bare link, which one link alone cannot undercut: 2 % are allowed. Where
-jN stands for a machine of N CPUs that is not at hand, the bare link is the one with N threads, for that is what it takes there.
By which seconds walls are compared, and how sure that is: samples.py.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
from functools import partial

from tests.bench import run, samples, workload
from tests.bench.workload import Bench, Workload
from tests.support import tools
from tests.support.observe import Gate

AUTO = "bare, its default"
JOBSERVER = "bare, -flto=jobserver, with +"
OURS = ("ldshim, with +", "ldshim, without +")
STATIC = "bare, {} threads"
TARGET = 1.03
MEMORY = 1.02


def variants(lld: bool, jobs: int) -> list[str]:
    """Name the rows of one group."""
    static = [STATIC.format(number) for number in sorted({1, 2, jobs})]
    return [AUTO, *([] if lld else [JOBSERVER]), *static, *OURS]


class Builds(Bench):
    """What runs one build."""

    def measure(self, row: samples.Key, number: int) -> dict[str, float]:
        """Run one build: its figures. row: (tool, -jN, "N links", variant)."""
        tool, jobs, links, variant = row
        load = self.loads[tool]
        if samples.timed(number):
            return run.timed(partial(self.start, load, jobs, int(links.split()[0]), variant))
        place = self.root / "gate"
        shutil.rmtree(place, ignore_errors=True)
        gate = None if load.lld else Gate(place, tool)
        if gate:
            gate.open()
        figures = run.watched(partial(self.start, load, jobs, int(links.split()[0]), variant, (gate.flag,) if gate else ()))
        if gate:
            gate.shut()
            figures["ltrans"] = gate.peak()
        return figures

    def start(self, load: Workload, jobs: str, links: int, variant: str, words: tuple[str, ...] = ()) -> list[subprocess.Popen[bytes]]:
        """Start one make. words: more words for each link."""
        number = {AUTO: "", JOBSERVER: "jobserver"}.get(variant, variant.split()[1] if variant.startswith("bare") else "")
        command = load.command("$@", number, self.farm if variant in OURS else None, words)
        outs = [f"out{n}" for n in range(links)]
        for out in outs:
            (load.place / out).unlink(missing_ok=True)  # or the linker would delete it, by a thread of its own
        plus = "+" * variant.endswith(", with +")
        (load.place / "link.mk").write_text(f"all: {' '.join(outs)}\nout%: ; {plus}@{' '.join(command)}\n")
        words_of_make = [tools.make43(), "-s", jobs, "-f", "link.mk"]
        return [subprocess.Popen(words_of_make, cwd=load.place, env=self.env, stderr=subprocess.DEVNULL)]


def tables(found: samples.Samples) -> str:
    """Write a table of all rows, and one that compares ldshim with the best of the others."""
    columns = ["link", "make", "at once", "row", "wall s", "CPU s", "threads", "occupied CPUs", "LTRANS", "memory MB", "switches"]
    lines, verdicts = [], []
    for group in found.groups():
        rows = sorted((row for row in found.rows() if row[:-1] == group), key=lambda row: found.median(row, "wall"))
        for row in rows:
            fine = found.seconds(row)
            peaks = [f"{found.most(row, name):.0f}" for name in ("threads", "occupied", "ltrans", "memory")]
            lines.append([*row, *fine, *peaks, f"{found.median(row, 'switches'):.0f}"])
        verdicts += [verdict(found, (*group, ours), rows) for ours in OURS if (*group, ours) in rows]
    head = [
        "link",
        "make",
        "at once",
        "ldshim",
        "best other",
        "its wall s",
        "ratio",
        f"at most {TARGET}",
        "peak at most -j",
        "memory",
    ]
    return "\n\n".join((samples.table(columns, lines), samples.table([*head, "at most bare's"], verdicts), costs(found)))


def costs(found: samples.Samples) -> str:
    """Write how ldshim stands to the middle of the bare rows, all rounds and -jN of as many links taken together.

    A row's own verdict is mostly luck where its rivals are equal; over all of them luck evens out, and what is left is what ldshim costs.
    """
    ratios: dict[samples.Key, list[float]] = {}
    for group in found.groups():
        others = [row for row in found.rows() if row[:-1] == group and row[-1] not in OURS]
        for ours in OURS:
            ratios.setdefault((group[0], group[2]), []).extend(found.against_the_middle((*group, ours), others))
    lines = []
    for key, every in ratios.items():
        if len(every) >= samples.FEWEST:
            logs = [math.log(ratio) for ratio in every]
            lines.append(
                [*key, f"{math.exp(statistics.mean(logs)):.3f}", f"{statistics.stdev(logs) / len(logs) ** 0.5:.3f}", str(len(logs))]
            )
    return samples.table(["link", "at once", "to the middle of the bare rows", "standard error", "builds"], lines)


def verdict(found: samples.Samples, ours: samples.Key, rows: list[samples.Key]) -> list[str]:
    """Compare one row of ldshim's with the others of its group."""
    most = int(ours[1][2:])
    peak = max(found.most(ours, "occupied"), *found.values(ours, "ltrans"), 0)
    # On a machine of N CPUs, which is what -jN stands for, the tool's own number is N.
    auto = AUTO if most <= (os.cpu_count() or 1) else STATIC.format(most)
    memory, bare = found.most(ours, "memory"), found.most((*ours[:-1], auto), "memory")
    compared = found.against(ours, [row for row in rows if row[-1] not in OURS])
    walls = (
        [f"{compared.wall:.2f}", f"{found.median(ours, 'wall'):.2f}", f"{compared.ratio:.3f}", compared.said(TARGET)]
        if compared
        else [""] * 4
    )
    return [
        *ours[:3], ours[3].partition(", ")[2], compared.best[-1] if compared else "", *walls, f"{samples.said(peak <= most)} ({peak:.0f})",
        f"{memory:.0f} of {bare:.0f}", samples.said(memory <= MEMORY * bare),
    ]  # fmt: skip


def main() -> None:
    """Measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    workload.add_arguments(parser, "gcc-12,ld.lld-16", modules=200, functions=3)
    parser.add_argument("--jobs", default="2,8,16")
    parser.add_argument("--links", default="1,4,8")
    samples.add_arguments(parser, rounds=3, watched=1)
    options = parser.parse_args()
    plan = [
        (tool, f"-j{jobs}", f"{links} link{'s' * (links != '1')}", variant)
        for tool in options.tools.split(",")
        for jobs in options.jobs.split(",")
        for links in options.links.split(",")
        for variant in variants(tool.startswith("ld.lld"), int(jobs))
    ]
    run.adopt()
    about = f"{options.modules} modules of {options.functions} functions, make 4.3, medians of timed builds, peaks of watched ones"
    samples.main(options, about, plan, samples.rounds(options), lambda place: Builds(place, options).measure, tables)


if __name__ == "__main__":
    main()
