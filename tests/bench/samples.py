"""Samples of a benchmark in a file of JSON lines, so that it can run in pieces and be looked at before it is done.

The problem: an hour of builds does not fit into the minutes for which a machine is calm. The consequence: each sample is one line, written
when it was taken: the row it belongs to, the round, the figures. A benchmark that is started again with the same file takes what
is missing; a table is made of what is there.

The machine is a third slower in one minute than in the next. The consequence: rows are interleaved, and a row is compared with another of
the same round. A ratio is said to hold, or not to, only where nine tenths of all draws from the samples agree.

Rounds go one after the other, rows are shuffled within their group (those that are compared with each other), groups within a round: a
noisy minute hits all of a group, never one row alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Key = tuple[str, ...]  # a row; the last word names the row within its group
FEWEST = 3  # rounds that can decide anything
Measure = Callable[[Key, int], "dict[str, float]"]


class Comparison(NamedTuple):
    """One row against the best of others: that row, its wall in seconds, the ratio, between what it lies, and of how many rounds."""

    best: Key
    wall: float
    ratio: float
    low: float
    high: float
    rounds: int

    def said(self, target: float) -> str:
        """Say whether the ratio is at most the target: yes, no, or that these samples do not decide it, as fewer than three never do."""
        verdict = "yes" if self.high <= target else "**no**" if self.low > target else "open"
        if self.rounds < FEWEST:
            verdict = "open"
        return f"{verdict} ({self.low:.2f} to {self.high:.2f})"


class Samples:
    """Everything a file holds. path: made with the first sample."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[tuple[Key, int, dict[str, float]]] = []
        if path.exists():
            for line in path.read_text().splitlines():
                one = json.loads(line)
                self.lines.append((tuple(one["row"]), one["round"], one["figures"]))

    def has(self, row: Key, number: int) -> bool:
        """Tell whether this row was measured in this round."""
        return any((row, number) == line[:2] for line in self.lines)

    def add(self, row: Key, number: int, figures: dict[str, float]) -> None:
        """Keep one sample."""
        self.lines.append((row, number, figures))
        with self.path.open("a") as file:
            file.write(json.dumps({"row": row, "round": number, "figures": figures}) + "\n")

    def rows(self) -> list[Key]:
        """List the rows that have samples."""
        return sorted({row for row, _, _ in self.lines}, key=_natural)

    def groups(self) -> list[Key]:
        """List the groups that have samples, -j8 before -j16."""
        return sorted({row[:-1] for row in self.rows()}, key=_natural)

    def values(self, row: Key, name: str) -> list[float]:
        """List one figure of a row, over all rounds that have it."""
        return [figures[name] for key, _, figures in self.lines if key == row and name in figures]

    def median(self, row: Key, name: str) -> float:
        """Return the median of one figure; NaN when there is none."""
        found = self.values(row, name)
        return statistics.median(found) if found else float("nan")

    def seconds(self, row: Key) -> list[str]:
        """Write the medians that every table of timed runs shows: wall, CPU."""
        return [f"{self.median(row, name):.2f}" for name in ("wall", "cpu")]

    def against(self, row: Key, others: Sequence[Key]) -> Comparison | None:
        """Compare a row with the best of some others by their walls; None without samples.

        The best of five equal rows is the luckiest: so in each round we are compared with the row that was best in all others. The ratio
        is the median over rounds. low, high: of a thousand draws of rounds, with replacement, nine tenths give a median between these.
        """
        ours, rivals = self.values(row, "wall"), {other: self.values(other, "wall") for other in others if self.values(other, "wall")}
        if not rivals or not ours:
            return None
        best = min(rivals, key=lambda rival: self.median(rival, "wall"))
        ratios = [
            wall / rivals[_best_without(rivals, number)][number]
            for number, wall in enumerate(ours)
            if number < min(map(len, rivals.values()))
        ]
        if not ratios:
            return None
        dice = random.Random(1)
        draws = sorted(statistics.median(dice.choices(ratios, k=len(ratios))) for _ in range(1000))
        return Comparison(best, self.median(best, "wall"), statistics.median(ratios), draws[50], draws[949], len(ratios))

    def against_the_middle(self, row: Key, others: Sequence[Key]) -> list[float]:
        """List for each round how this row's wall stands to the median of the others'."""
        rivals = [self.values(other, "wall") for other in others]
        return [ours / statistics.median(walls) for ours, *walls in zip(self.values(row, "wall"), *rivals) if walls]

    def most(self, row: Key, name: str) -> float:
        """Return the largest of one figure; NaN when there is none."""
        return max(self.values(row, name), default=float("nan"))


def _best_without(rivals: dict[Key, list[float]], number: int) -> Key:
    """Return the row with the least median of all rounds but one; of that one, where there is no other."""
    return min(
        rivals, key=lambda rival: statistics.median([wall for at, wall in enumerate(rivals[rival]) if at != number] or rivals[rival])
    )


def _natural(row: Key) -> list[list[str | int]]:
    return [[int(part) if part.isdigit() else part for part in re.split(r"(\d+)", word)] for word in row]


def take(samples: Samples, plan: Sequence[Key], rounds: range, minutes: float, measure: Measure) -> int:
    """Take the samples of a plan that are missing, for so many minutes (0: until all are there). Returns how many are still missing."""
    end = time.monotonic() + minutes * 60 if minutes else float("inf")
    dice = random.Random()
    missing = 0
    for number in rounds:
        groups: dict[Key, list[Key]] = {}
        for row in plan:
            groups.setdefault(row[:-1], []).append(row)
        for group in dice.sample(list(groups), len(groups)):
            for row in dice.sample(groups[group], len(groups[group])):
                if samples.has(row, number):
                    continue
                if time.monotonic() > end:
                    missing += 1
                    continue
                samples.add(row, number, measure(row, number))
    return missing


def add_arguments(parser: argparse.ArgumentParser, rounds: int, watched: int = 0) -> None:
    """Describe what every benchmark of this kind understands. watched: how many rounds are, where any are."""
    parser.add_argument("--rounds", type=int, default=rounds, help="timed rounds; watched ones, where there are any, come on top")
    if watched:
        parser.add_argument("--watched", type=int, default=watched, help="rounds that are watched, for the peaks; they come first")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="keep the samples there, and take only those that are missing")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the table of a file of samples")
    parser.add_argument("--only", default="", metavar="WORDS", help="only rows whose names hold these words, as in `gcc-12 -j8`")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so many, with exit status 0; --resume goes on")
    parser.add_argument("--prepare", action="store_true", help="only compile; needs --resume, the objects stand beside its file")


def timed(number: int) -> bool:
    """Tell whether a round is timed; 0 and those before it are watched."""
    return number > 0


def rounds(options: argparse.Namespace) -> range:
    """Give the numbers of the rounds that were asked for, watched ones first."""
    return range(1 - options.watched, options.rounds + 1)


def chosen(row: Key, only: str) -> bool:
    """Tell whether --only asks for this row."""
    return all(word in " ".join(row).split() for word in only.split())


def head(said: str) -> str:
    """Write the line that stands above a table."""
    return f"\n{said}; {os.cpu_count()} CPUs, Linux {platform.release()}, CPython {platform.python_version()}\n"


def said(holds: bool) -> str:
    """Say yes or no, so that the no is seen."""
    return "yes" if holds else "**no**"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Write Markdown; figures to the right."""
    rows = [[cell.replace("nan", "") for cell in row] for row in rows]
    marks = ["---:" if all(row[n].lstrip("-")[:1].isdigit() or not row[n] for row in rows) else "---" for n in range(len(columns))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [columns, marks, *rows])


def main(
    options: argparse.Namespace,
    about: str,
    plan: Sequence[Key],
    rounds: range,
    prepare: Callable[[Path], Measure],
    tables: Callable[[Samples], str],
) -> None:
    """Do what the arguments of add_arguments ask for: measure what is missing, print what there is.

    about: said above the table; prepare: compiles into a directory, and returns what takes one sample.
    """
    if options.table:
        print(head(about) + "\n" + tables(Samples(options.table)))
        return
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        place = Path(f"{options.resume.absolute()}.d" if options.resume else scratch)
        place.mkdir(exist_ok=True)
        measure = prepare(place)
        if options.prepare:
            return
        found = Samples(options.resume or place / "samples")
        missing = take(found, [row for row in plan if chosen(row, options.only)], rounds, options.minutes, measure)
        print(head(about) + "\n" + tables(found))
    if missing:
        sys.stderr.write(f"{missing} samples are missing: the same command again goes on\n")
