"""Measure what waiting for memory saves: links in a memory cgroup of a third of what they need together (C25 to C27).

The problem: whether links die of their memory, and what it costs to let them live, shows only where memory is really short. So so many
links of one kind start at once in a cgroup whose limit is a share of the sum of their bare peaks: bare; bare from a static pool of 1, 2, 4
or 8, which is what ninja's link pools are, and somebody has to find the number by trying; with ldshim. Configurations take turns within a
round, so that what else the machine does falls on all.

    python -m tests.bench.pressure [--kind KIND]... [--links N] [--rounds N] [--pools N...] [--share F] [--place DIRECTORY]

A kind is gcc, thin, lld or bfd, or mixed: a quarter of each. Needs root, or a delegated memory cgroup.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench.memory import CXX
from tests.support import tools
from tests.support.container import Container
from tests.support.program import bare_environment
from tests.support.shim import Shim

AGAIN = "ldshim, the second time"
KINDS = ("gcc", "thin", "lld", "bfd")
MB = 1 << 20


class Result(NamedTuple):
    """One round of one configuration."""

    links: int
    wall: float
    cpu: float
    peak: int
    faults: int
    kills: int


def compile_one(place: Path, name: str, *command: str) -> str:
    """Compile the C++ module with some compiler, or find it compiled: the object."""
    out = place / f"{name}.o"
    if not out.exists():
        (place / "m.cc").write_text("".join(CXX.format(n=number) for number in range(2)))
        subprocess.run([*command, "-fPIC", "-w", "-c", str(place / "m.cc"), "-o", str(out)], env=bare_environment(), check=True)
    return str(out)


def commands(place: Path, copies: int) -> dict[str, list[str]]:
    """Return a link of each kind, without its output. copies: how often the object with debug information is linked."""
    gcc, lld = tools.need(tools.GCC), tools.need(tools.LLD)
    clang = tools.clang_of(tools.LLD)
    native = compile_one(place, "native", "g++", "-g", "-O0")
    names = []
    for number in range(copies):
        copy = place / f"copy{number}.o"
        if not copy.exists():
            os.link(native, copy)
        names.append(str(copy))
    thin = [compile_one(place, name, clang, "-O1", "-flto=thin") for name in ("thin", "thin-again")]
    # A static program that calls what is not there: no C library is read, and nothing is compiled for one.
    alone = ["-e", "0", "--unresolved-symbols=ignore-all", "--defsym=__dso_handle=0", "-z", "muldefs"]
    return {
        "gcc": [gcc, "-shared", "-O1", "-flto=auto", compile_one(place, "gcc", gcc, "-O1", "-flto", "-x", "c++")],
        "thin": [lld, *alone, *thin],
        "lld": [lld, *alone, *names],
        "bfd": [tools.need("ld.bfd"), *alone, *names],
    }


def run(links: list[list[str]], at_once: int, limit: int, environment: dict[str, str], place: Path) -> Result:
    """Run links, so many at once, in a cgroup with a limit."""
    succeeded: list[int] = []
    todo = iter(list(enumerate(links)))
    lock = threading.Lock()
    with Container(limit) as container:

        def work() -> None:
            while True:
                with lock:
                    number, command = next(todo, (-1, []))
                if number < 0:
                    return
                call = container.command(*command, "-o", str(place / f"out{number}"))
                done = subprocess.run(call, env=environment, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=False)
                if not done.returncode:
                    succeeded.append(number)

        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        threads = [threading.Thread(target=work) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Result(len(succeeded), wall, cpu, container.peak(), container.major_faults(), container.kills())


def bare_peak(command: list[str], environment: dict[str, str], place: Path) -> int:
    """Run one link alone: its anonymous memory and the pages that it comes back to, as the kernel counts them."""
    result = run([command], 1, 1 << 40, environment, place)
    if not result.links:
        raise SystemExit(f"the link fails where there is memory: {' '.join(command[:6])}")
    return result.peak


def main() -> None:
    """Print a table as markdown for each kind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kind", action="append", default=[], choices=[*KINDS, "mixed"])
    parser.add_argument("--links", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pools", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--share", type=float, default=1 / 3, help="of the sum of the bare peaks")
    parser.add_argument("--copies", type=int, default=40, help="of an object of 3.6 MB, for the plain links")
    parser.add_argument("--place", type=Path, default=None)
    chosen = parser.parse_args()
    place = chosen.place or Path(tempfile.mkdtemp(prefix="ldshim-pressure"))
    place.mkdir(exist_ok=True)
    shim = Shim(Path(tempfile.mkdtemp(prefix="shim", dir=place)))
    environment = bare_environment(XDG_RUNTIME_DIR=str(shim.runtime), TMPDIR=str(place))
    kinds = commands(place, chosen.copies)
    for kind in chosen.kind or [*KINDS, "mixed"]:
        links = [kinds[kind] if kind in kinds else kinds[each] for each in itertools.islice(itertools.cycle(KINDS), chosen.links)]
        peaks = {tuple(command): 0 for command in links}
        for command in peaks:
            peaks[command] = bare_peak(list(command), environment, place)
        limit = int(sum(peaks[tuple(command)] for command in links) * chosen.share)
        configurations = {"bare": (links, len(links))}
        configurations.update({f"bare, a pool of {pool}": (links, pool) for pool in chosen.pools})
        for name in ("ldshim", AGAIN):
            configurations[name] = ([[shim.command, *command] for command in links], len(links))
        results: dict[str, list[Result]] = {name: [] for name in configurations}
        for _ in range(chosen.rounds):
            for name, (commanded, at_once) in configurations.items():
                if name != AGAIN:
                    (shim.runtime / "ldshim" / "peaks").unlink(missing_ok=True)
                results[name].append(run(commanded, at_once, limit, environment, place))
        sys.stdout.write(f"\n{kind}: {len(links)} links in {limit / MB:.0f} MB, {chosen.rounds} rounds\n\n")
        sys.stdout.write(
            "| links | succeeded | wall s (least to most) | CPU s | peak MB | major faults | OOM kills |\n|---|--:|--:|--:|--:|--:|--:|\n"
        )
        for name, rounds in results.items():
            walls = [each.wall for each in rounds]
            middle = [statistics.median(getattr(each, field) for each in rounds) for field in ("cpu", "peak", "faults", "kills")]
            sys.stdout.write(
                f"| {name} | {min(each.links for each in rounds)} of {len(links)} | {statistics.median(walls):.1f} ({min(walls):.1f} to"
                f" {max(walls):.1f}) | {middle[0]:.1f} | {middle[1] / MB:.0f} | {middle[2]:.0f} | {middle[3]:.0f} |\n"
            )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
