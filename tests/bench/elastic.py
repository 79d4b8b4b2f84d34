"""What elasticity is worth: a link that starts in a busy build which then drains.

    python -m tests.bench.elastic [--tool ld.lld-16] [--tool gcc-12] [--busy 8] [--modules 48] [--functions 120]

Draining: one token, held by a compile job (a spinning process) for the first BUSY seconds of the link; after that the machine is the
link's alone. The columns are wall seconds: the bare linker (which does not ask), ldshim with the number it got at the start
(LDSHIM_ELASTIC=0), ldshim elastic, and the best possible, BUSY + (S - BUSY) / 2 for a link of S serial seconds (measured with one
thread in the same run) that could spread over both CPUs all the time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import tools
from tests.bench.perbuild import compile_all, generate
from tests.pool import Pool

ROOT = Path(__file__).resolve().parent.parent.parent
SPIN = [sys.executable, "-IS", "-c", "while True: pass"]


def command_of(tool: str, objects: list[str]) -> list[str]:
    """Spell the link: ThinLTO by lld, or LTRANS by gcc."""
    if tool.startswith("ld.lld"):
        return [tool, "-shared", "-o", "out", *objects]
    return [tool, "-O1", "-shared", "-nostdlib", "-flto=auto", "-o", "out", *objects]


def draining(place: Path, command: list[str], variables: dict[str, str], busy: float, *, shimmed: bool) -> float:
    """Link while a job holds the only token for busy seconds; return the wall time of the link."""
    front = [sys.executable, "-m", "ldshim"] if shimmed else []
    with Pool(b"+") as pool:
        token = pool.take(1)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(place), **variables}
        if shimmed:
            environment["MAKEFLAGS"] = pool.makeflags
        job = subprocess.Popen(SPIN)
        started = time.monotonic()
        link = subprocess.Popen([*front, *command], cwd=place, env=environment, pass_fds=pool.pass_fds, stderr=subprocess.DEVNULL)
        try:
            link.wait(busy)
        except subprocess.TimeoutExpired:
            pass
        job.kill()
        job.wait()
        pool.give(token)
        status = link.wait()
        wall = time.monotonic() - started
    if status:
        raise SystemExit(f"the link failed: {command[0]}")
    return wall


def serial(place: Path, tool: str, command: list[str]) -> float:
    """Link with one thread on an idle machine; return the wall time."""
    one = [*command, "--threads=1"] if tool.startswith("ld.lld") else [word.replace("=auto", "=1") for word in command]
    started = time.monotonic()
    subprocess.run(one, cwd=place, check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def main() -> None:
    """Run every tool and print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", action="append")
    parser.add_argument("--busy", type=float, default=8)
    parser.add_argument("--modules", type=int, default=48)
    parser.add_argument("--functions", type=int, default=120)
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="elastic"))
    print("| link | serial s | best possible | elastic | fixed at the start | bare |")
    print("|---|---|---|---|---|---|")
    try:
        for tool in arguments.tool or ["ld.lld-16", "ld.lld-19", "gcc-12"]:
            here = place / tool
            here.mkdir(mode=0o700)
            generate(here, arguments.modules, arguments.functions)
            driver, flag = (tools.clang_of(tool), "-fPIC -flto=thin") if tool.startswith("ld.lld") else (tool, "-fPIC -flto")
            command = command_of(tool, compile_all(here, driver, flag))
            alone = serial(here, tool, command)
            best = arguments.busy + max(0.0, alone - arguments.busy) / 2
            elastic = draining(here, command, {}, arguments.busy, shimmed=True)
            fixed = draining(here, command, {"LDSHIM_ELASTIC": "0"}, arguments.busy, shimmed=True)
            bare = draining(here, command, {}, arguments.busy, shimmed=False)
            print(f"| {tool} | {alone:.1f} | {best:.1f} | {elastic:.1f} | {fixed:.1f} | {bare:.1f} |", flush=True)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
