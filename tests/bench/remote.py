"""The client of the Remote Execution API alone: how near to ideal many workers are kept, and what a job costs here.

    python -m tests.bench.remote [--jobs 1000] [--workers 64,512] [--seconds 10] [--size 0] [--drop 100]

The service is ours and only sleeps (tests/support/remote_service.py); a relay in front of it drops every connection each time that many
more jobs are done (0: no relay). `of ideal`: the time of as many rounds as the workers need, through the time that it took from the first
start to the last result. CPU and peak memory are the client's own, the relay's with it, in a process that does nothing else; `--size` is
the size of each job's input in MiB, each another file. The service shares the CPUs with the client, so on two of them 512 workers show its
limits as well.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ldshim.backends.job import Job, Result
from tests.bench.workload import ROOT
from tests.support import remote_jobs, remote_service


def inputs(place: Path, count: int, size: int) -> list[str]:
    """Make the inputs of the jobs: one for all, or one each, of so many MiB, sparse, each with another number in it."""
    source = remote_jobs.ltrans(place)
    if not size:
        return [source.name] * count
    head = source.read_bytes()
    for n in range(count):
        with open(place / f"in{n}.o", "wb") as stream:
            stream.write(head + n.to_bytes(8, "little"))
            stream.truncate(size << 20)
    return [f"in{n}.o" for n in range(count)]


def client(options: argparse.Namespace) -> None:
    """Do the jobs, in a process of its own: prints seconds, CPU seconds, peak MiB, jobs done there."""
    place = Path(options.place)
    proxy = remote_service.Proxy(options.port) if options.drop else None
    port = proxy.port if proxy else options.port
    patience = str(max(60, int(20 * options.seconds)))
    service = remote_jobs.service_of(
        f"grpc://127.0.0.1:{port}", place / "run", JOBS=str(options.width), CACHE="off", PATIENCE=patience, UPLOAD="64G"
    )
    names = inputs(place, options.jobs, options.size)
    work = [remote_jobs.ltrans_job(place, output=f"out{n}.o", source=name) for n, name in enumerate(names)]
    remote_jobs.one(service, first(work[0]))  # uploads the compiler, which is not what is measured
    before, began = cpu(), time.monotonic()
    for each in work:
        service.start(each)
    there = done = drops = 0
    while done < len(work):
        for _, outcome in service.finished(5):
            done += 1
            if isinstance(outcome, Result):
                there += 1
            else:
                sys.stderr.write(outcome + "\n")
        if proxy and done // options.drop > drops and done < len(work):
            drops += 1
            proxy.drop()
    took, used = time.monotonic() - began, cpu() - before
    service.close()
    if proxy:
        proxy.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(took, used, peak, there)


def first(work: Job) -> Job:
    """Give a job's twin with an output of its own."""
    return Job([b"first.o" if word == work.outputs[0] else word for word in work.argv], work.cwd, work.inputs, [b"first.o"])


def cpu() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(options: argparse.Namespace, workers: int) -> str:
    """Run one row of the table."""
    with tempfile.TemporaryDirectory(prefix="ldshim-bench-", dir=os.environ.get("TMPDIR")) as name:
        place = Path(name)
        answer = remote_jobs.ltrans(place / "answer")
        options_of_service = ("--workers", str(workers), "--seconds", str(options.seconds), "--object", str(answer))
        with remote_service.running(place, *options_of_service) as running:
            words = ["--client", "--port", str(running.port), "--place", str(place / "work"), "--width", str(workers)]
            words += [
                "--jobs",
                str(options.jobs),
                "--seconds",
                str(options.seconds),
                "--size",
                str(options.size),
                "--drop",
                str(options.drop),
            ]
            (place / "work").mkdir()
            command = [sys.executable, "-m", "tests.bench.remote", *words]
            said = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode()
    took, used, peak, there = map(float, said.split())
    ideal = math.ceil(options.jobs / workers) * options.seconds
    figures = f"{ideal:.1f} | {took:.1f} | {ideal / took:.2f} | {1000 * used / options.jobs:.1f} | {peak:.0f}"
    return f"| {options.jobs} | {workers} | {options.jobs * options.size / 1024:.1f} | {there:.0f} | {figures} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--workers", default="64,512")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--size", type=int, default=0, help="MiB of each job's own input; 0: one small one for all")
    parser.add_argument("--drop", type=int, default=100, help="drop the connections after so many jobs; 0: never")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    for name in ("--port", "--width"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        client(options)
        return
    print("| jobs | workers | GB of inputs | done there | ideal s | s | of ideal | client CPU ms a job | peak MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for workers in map(int, options.workers.split(",")):
        print(measure(options, workers), flush=True)


if __name__ == "__main__":
    main()
