"""How the cost of one call grows: with the objects on the line, the tokens in the jobserver, the links at once.

    python -m tests.bench.scaling [--rounds 15] [--only objects] [--patience 0.2]

The tool is a C program that does nothing (percall.py makes it, and the link farm), so what is timed is ldshim: from the start of the call
until the tool has ended; for links at once, until all have. Every round runs every point once, shuffled; a sample waits until
nobody else runs, and for the wardens of the one before. A line is fitted through the medians by least squares: its slope is what one more
costs, and the largest distance of a median from the line, as a share of the largest median, says whether it is a line.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench import run, samples
from tests.bench.percall import Place, calm
from tests.support.pool import Pool
from tests.support.tools import CLANGS, need

OBJECTS = (10, 30, 100, 300, 1000, 3000)
TOKENS = (1, 2, 4, 8, 16, 32, 64)
LINKS = (1, 2, 4, 8, 16, 32)
SOURCE = "int f(int x) { return x + 1; }\n"
KINDS = {"plain": ["gcc", "-O1"], "slim": ["gcc", "-O1", "-flto=auto"], "thin": [CLANGS[max(CLANGS)], "-O1", "-flto=thin"]}


class Point(NamedTuple):
    """One thing that is timed: `number` of what its series counts. tokens: in the jobserver, 0: none; links: at once; argv: of each."""

    series: str
    number: int
    argv: list[str]
    tokens: int = 0
    links: int = 1
    variables: tuple[tuple[str, str], ...] = ()


def objects(place: Place) -> dict[str, list[str]]:
    """Compile one object of each kind, and copy it: the paths."""
    (place.root / "one.c").write_text(SOURCE)
    found = {}
    for kind, (compiler, *flags) in KINDS.items():
        directory = place.root / kind
        directory.mkdir()
        first = directory / "0.o"
        subprocess.run([need(compiler), *flags, "-c", str(place.root / "one.c"), "-o", str(first)], check=True)
        paths = [first, *(directory / f"{number}.o" for number in range(1, OBJECTS[-1]))]
        for path in paths[1:]:
            shutil.copy(first, path)
        found[kind] = list(map(str, paths))
    return found


def all_points(place: Place) -> list[Point]:
    """Write down what is timed."""
    farm, made = f"{place.farm}/", objects(place)
    gcc, lld = [farm + "gcc", "-flto=auto", "-o", "out"], [farm + "ld.lld", "-o", "out"]
    larger = (("LDSHIM_CPUS", str(TOKENS[-1])),)  # than this machine: its own CPUs would bound the tokens
    fixed = (*larger, ("LDSHIM_ELASTIC", "0"))
    out = [Point("objects, plain: ld.lld", count, [*lld, *made["plain"][:count]]) for count in OBJECTS]
    out += [Point("objects, GCC slim: gcc", count, [*gcc, *made["slim"][:count]]) for count in OBJECTS]
    out += [Point("objects, ThinLTO: ld.lld", count, [*lld, *made["thin"][:count]]) for count in OBJECTS]
    out += [Point("tokens, all taken: ld.lld, fixed", count, [*lld, *made["thin"][:100]], count, 1, fixed) for count in TOKENS]
    out += [Point("tokens, none used: gcc, elastic", count, [*gcc, *made["slim"][:100]], count, 1, larger) for count in TOKENS]
    out += [Point("links at once, slots: gcc", count, [*gcc, *made["slim"][:10]], 0, count) for count in LINKS]
    out += [Point("links at once, 16 tokens: ld.lld", count, [*lld, *made["thin"][:10]], 16, count) for count in LINKS]
    return out


def sample(point: Point, env: dict[str, str], patience: float) -> float:
    """Time one point once: milliseconds."""
    with ExitStack() as stack:
        env = {**env, **dict(point.variables)}
        if point.tokens:
            env["MAKEFLAGS"] = stack.enter_context(Pool(b"+" * point.tokens, style="fifo")).makeflags
        calm(patience)
        actions = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
        started = time.perf_counter()
        pids = [os.posix_spawn(point.argv[0], point.argv, env, file_actions=actions) for _ in range(point.links)]
        statuses = [os.waitpid(pid, 0)[1] for pid in pids]
        took = (time.perf_counter() - started) * 1000
        run.reap()
    if any(statuses):
        raise SystemExit(f"{point.series}, {point.number}: {statuses}")
    return took


def fit(xs: list[int], ys: list[float]) -> tuple[float, float, float]:
    """Fit a line by least squares: intercept, slope, and the largest distance of a y from it."""
    x, y = statistics.fmean(xs), statistics.fmean(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)
    start = y - slope * x
    return start, slope, max(abs(b - start - slope * a) for a, b in zip(xs, ys))


def table(points: list[Point], taken: list[list[float]]) -> str:
    """Write one row for each series."""
    rows = []
    for series in dict.fromkeys(point.series for point in points):
        medians = {point.number: statistics.median(ms) for point, ms in zip(points, taken) if point.series == series}
        start, slope, distance = fit(list(medians), list(medians.values()))
        figures = ", ".join(f"{count}: {median:.1f}" for count, median in medians.items())
        fitted = [f"{start:.1f}", f"{slope * 1000:.1f}", f"{distance:.1f}", f"{distance / max(medians.values()):.1%}"]
        rows.append([series, *fitted, figures])
    return samples.table(["series", "at none ms", "one more us", "largest distance ms", "of the largest", "medians ms"], rows)


def main() -> None:
    """Measure, and print the table."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--rounds", type=int, default=15)
    reader.add_argument("--only", default="", help="only series whose names hold this")
    reader.add_argument("--patience", type=float, default=0.2, help="seconds to wait for a calm machine, for each sample")
    options = reader.parse_args()
    run.adopt()
    with tempfile.TemporaryDirectory(prefix="scaling") as root:
        place = Place(Path(root))
        every = [point for point in all_points(place) if options.only in point.series]
        taken: list[list[float]] = [[] for _ in every]
        os.chdir(root)
        for number in range(options.rounds + 1):
            for index in random.sample(range(len(every)), len(every)):
                took = sample(every[index], place.env, options.patience)
                if number:  # the first round fills caches
                    taken[index].append(took)
        os.chdir("/")
    print(samples.head(f"medians of {options.rounds} rounds"))
    print(table(every, taken))


if __name__ == "__main__":
    main()
