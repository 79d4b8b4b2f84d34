"""What elasticity is worth: a link that starts in a busy build which then drains.

    python -m tests.bench.elastic [--tools ld.lld-16,ld.lld-19,gcc-12] [--busy 8] [--modules 40] [--functions 180] [--rounds 3]
                                  [--resume FILE] [--minutes 4] [--only gcc-12] [--table FILE]

Draining: one token, held by a compile job (a spinning process) for the first BUSY seconds of the link; after that the machine is the
link's alone. The columns are wall seconds, medians: the link with one thread on an idle machine; the best possible, BUSY + (S - BUSY) / 2
for a link of S serial seconds that could spread over both CPUs all the time; ldshim elastic; ldshim with the number it got at the start
(LDSHIM_ELASTIC=0); the bare linker, which does not ask. `used after`: from the moment when the token was free until the warden's log
says that the link had it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import samples, workload
from tests.bench.workload import Bench
from tests.support.pool import Pool

SPIN = [sys.executable, "-IS", "-c", "while True: pass"]
SERIAL, ELASTIC, FIXED, BARE = "one thread, idle machine", "elastic", "fixed at the start", "bare"


class Draining(Bench):
    """What runs one link in a draining build."""

    def __init__(self, place: Path, options: argparse.Namespace) -> None:
        super().__init__(place, options)
        self.busy = options.busy
        self.log = place / "log"

    def measure(self, row: samples.Key, _: int) -> dict[str, float]:
        """Run one link: wall, and `after` where the log tells when the token was used. row: (tool, how)."""
        tool, how = row
        load = self.loads[tool]
        (load.place / "out").unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)
        if how == SERIAL:
            started = time.monotonic()
            subprocess.run(load.command("out", "1"), cwd=load.place, env=self.env, check=True, stderr=subprocess.DEVNULL)
            return {"wall": time.monotonic() - started}
        with Pool(b"+") as pool:
            env = dict(self.env)
            if how != BARE:
                env.update(MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(self.log), LDSHIM_ELASTIC=str(int(how == ELASTIC)))
            wall, freed = self.drain(pool, load.command("out", farm=None if how == BARE else self.farm), load.place, env)
        return {"wall": wall, **used_after(self.log, freed)}

    def drain(self, pool: Pool, command: list[str], place: Path, env: dict[str, str]) -> tuple[float, float]:
        """Link while a job holds the only token for busy seconds: wall time of the link, and when the token was free (time.time)."""
        token = pool.take(1)
        job = subprocess.Popen(SPIN)
        started = time.monotonic()
        link = subprocess.Popen(command, cwd=place, env=env, pass_fds=pool.pass_fds, stderr=subprocess.DEVNULL)
        try:
            link.wait(self.busy)
        except subprocess.TimeoutExpired:
            pass
        job.kill()
        job.wait()
        freed = time.time()
        pool.give(token)
        if link.wait():
            raise SystemExit(f"the link failed: {command[0]}")
        return time.monotonic() - started, freed


def used_after(log: Path, freed: float) -> dict[str, float]:
    """Read from a log of one link how many seconds after `freed` it held a thread more; {} where the log does not tell."""
    events = {one["event"]: one for one in map(json.loads, log.read_text().splitlines())} if log.exists() else {}
    steps = events.get("end", {}).get("steps", [])
    later = [events["handover"]["time"] + seconds - freed for seconds, held in steps if held > 1]
    return {"after": min(after for after in later if after >= 0)} if any(after >= 0 for after in later) else {}


def tables(found: samples.Samples, busy: float) -> str:
    """Write one row for each tool."""
    rows = []
    for (tool,) in found.groups():
        alone, elastic, fixed, bare = (found.median((tool, how), "wall") for how in (SERIAL, ELASTIC, FIXED, BARE))
        best = busy + max(0.0, alone - busy) / 2
        walls = [f"{wall:.1f}" for wall in (alone, best, elastic, fixed, bare)]
        after = f"{found.median((tool, ELASTIC), 'after'):.2f} ({found.most((tool, ELASTIC), 'after'):.2f})"
        rows.append([tool, *walls, f"{elastic / best:.2f}", after])
    columns = ["link", "serial s", "best possible", "elastic", "fixed at the start", "bare", "elastic to best", "used after s (most)"]
    return samples.table(columns, rows)


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    workload.add_arguments(parser, "ld.lld-16,ld.lld-19,gcc-12", modules=40, functions=180)
    parser.add_argument("--busy", type=float, default=8)
    samples.add_arguments(parser, rounds=3)
    options = parser.parse_args()
    plan = [(tool, how) for tool in options.tools.split(",") for how in (SERIAL, ELASTIC, FIXED, BARE)]
    about = f"{options.modules} modules of {options.functions} functions, the token is free after {options.busy:g} s, medians"
    rounds = range(options.rounds)
    samples.main(options, about, plan, rounds, lambda place: Draining(place, options).measure, lambda found: tables(found, options.busy))


if __name__ == "__main__":
    main()
