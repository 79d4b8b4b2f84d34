"""How long a compile job waits for a token that a link holds and does not use: a build that fills up around a link.

    python -m tests.bench.filling [--tools gcc-12,ld.lld-16] [--tokens 1,3] [--modules 60] [--functions 4] [--loops 800] [--rounds 5]
                                  [--resume FILE] [--minutes 4] [--only gcc-12] [--table FILE]

The link has serial phases: reading and the analysis of the whole program at its start, and at its end one module with a function that
nobody can split (both compilers begin with the largest). The states of its threads are sampled; from the moment when one at most is ready
to run and the pool is empty, a client of the pool asks for a token, as make does for its next compile job. `longest wait` is until it
gets one or the link is parallel again, whichever comes first; `token given`: in so many of the phases it got one. `longest phase` shows
what a link that keeps its tokens would cost: so does LDSHIM_ELASTIC=0, for comparison. At most 0.3 s are promised.
"""

from __future__ import annotations

import argparse
import subprocess
import time

from tests.bench import run, samples, workload
from tests.bench.workload import Bench
from tests.support.pool import Pool

TARGET = 0.3
SAMPLE_SECONDS = 0.005
ELASTIC, FIXED = "elastic", "fixed at the start"


class Client:
    """One that wants a token while the link is serial. waits: of each phase, seconds; served: phases in which it got one."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.waits: list[float] = []
        self.phases: list[float] = []
        self.served = 0
        self._since = 0.0
        self._token = b""

    def see(self, threads: int) -> None:
        """Act on what the link shows now. threads: of it that are ready to run, 2 and more: nobody waits, the link uses what it has."""
        now = time.monotonic()
        if threads > 1:
            self.end(now)
        elif not self._since and self.pool.available() == 0:
            self._since = now
        if self._since and not self._token:
            self._token = self.pool.take(1)
            if self._token:
                self.served += 1
                self.waits.append(now - self._since)

    def end(self, now: float) -> None:
        """End a phase: a job that got nothing has waited in vain all the time."""
        if not self._since:
            return
        self.phases.append(now - self._since)
        if self._token:
            self.pool.give(self._token)
        else:
            self.waits.append(now - self._since)
        self._since, self._token = 0.0, b""


class Filling(Bench):
    """What runs one link beside a job that waits."""

    def measure(self, row: samples.Key, _: int) -> dict[str, float]:
        """Run one link: what the client met. row: (tool, "N tokens", how)."""
        tool, tokens, how = row
        load = self.loads[tool]
        (load.place / "out").unlink(missing_ok=True)
        with Pool(b"+" * int(tokens.split()[0])) as pool:
            env = {**self.env, "MAKEFLAGS": pool.makeflags, "LDSHIM_ELASTIC": str(int(how == ELASTIC))}
            command = load.command("out", farm=self.farm)
            link = subprocess.Popen(command, cwd=load.place, env=env, pass_fds=pool.pass_fds, stderr=subprocess.DEVNULL)
            client = Client(pool)
            while link.poll() is None:
                client.see(run.look([link.pid], 0).threads)
                time.sleep(SAMPLE_SECONDS)
            client.end(time.monotonic())
        if link.returncode:
            raise SystemExit(f"the link failed: {command[0]}")
        longest, phase = max(client.waits, default=0.0), max(client.phases, default=0.0)
        return {"wait": longest, "phase": phase, "phases": len(client.phases), "served": client.served}


def tables(found: samples.Samples) -> str:
    """Write one row for each tool, pool and way."""
    rows = []
    for row in found.rows():
        counts = [f"{sum(found.values(row, name)):.0f}" for name in ("phases", "served")]
        most = found.most(row, "wait")
        waits = [f"{found.median(row, 'wait'):.2f}", f"{most:.2f}", f"{found.most(row, 'phase'):.2f}"]
        verdict = samples.said(most <= TARGET) if row[-1] == ELASTIC else ""
        rows.append([*row, *counts, *waits, verdict if counts[0] != "0" else "the pool was never empty"])
    columns = ["link", "pool", "ldshim", "serial phases", "token given", "longest wait s, median", "most", "longest phase s"]
    return samples.table([*columns, f"at most {TARGET} s"], rows)


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    workload.add_arguments(parser, "gcc-12,ld.lld-16", modules=60, functions=4, loops=800)
    parser.add_argument("--tokens", default="1,3")
    samples.add_arguments(parser, rounds=5)
    options = parser.parse_args()
    plan = [
        (tool, f"{tokens} token{'s' * (tokens != '1')}", how)
        for tool in options.tools.split(",")
        for tokens in options.tokens.split(",")
        for how in (ELASTIC, FIXED)
    ]
    about = f"{options.modules} modules of {options.functions} functions, one function of {options.loops} loops, {options.rounds} rounds"
    samples.main(options, about, plan, range(options.rounds), lambda place: Filling(place, options).measure, tables)


if __name__ == "__main__":
    main()
