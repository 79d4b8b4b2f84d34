"""Backends of real links, as jobs: what lto-wrapper and lld would hand out, made once a session."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ldshim.backends import remote
from ldshim.backends.job import Job, Result
from ldshim.call.environment import Environment
from tests.support.tools import need

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ldshim.backends.remote import Service

SOURCES = {
    "a.c": "int f(int); int main(int c, char **v) { return f(c) + (v == 0); }\n",
    "b.c": "int f(int x) { int s = 0; for (int i = 0; i < x; i++) s += i * x; return s; }\n",
}


def ltrans(place: Path, gcc: str = "gcc-12", *flags: str) -> Path:
    """Make the input of an LTRANS job in place: its path."""
    place.mkdir(parents=True, exist_ok=True)
    for name, text in SOURCES.items():
        (place / name).write_text(text)
    subprocess.run([need(gcc), "-O2", "-flto", *flags, "-c", *SOURCES], cwd=place, check=True)
    subprocess.run([need(gcc), "-flto", "-flto-partition=max", "-save-temps", "a.o", "b.o", "-o", "prog"], cwd=place, check=True)
    return place / "prog.ltrans0.o"


def ltrans_job(place: Path, gcc: str = "gcc-12", *flags: str, output: str = "there.o", source: str = "prog.ltrans0.o") -> Job:
    """Say how lto-wrapper has an LTRANS input compiled (recorded from GCC 11 and 12; distribution.md §2)."""
    words = ["-xlto", "-c", "-fno-openmp", "-fno-openacc", "-fPIC", "-fcf-protection=none", *flags, "-O2", "-mtune=generic"]
    words += ["-march=x86-64", "-dumpdir", "prog.", "-dumpbase", "./prog.ltrans0.ltrans", "-fltrans", "-o", output, source]
    return job([need(gcc), *words], place, [source], [output])


def job(argv: Sequence[str], cwd: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Job:
    """Make a job of text."""
    return Job([os.fsencode(word) for word in argv], os.fsencode(cwd), [*map(os.fsencode, inputs)], [*map(os.fsencode, outputs)])


def here(work: Job) -> bytes:
    """Run a job here: the sha256 of its output, which is removed."""
    subprocess.run(work.argv, cwd=work.cwd, check=True)
    return taken(work)


def taken(work: Job) -> bytes:
    """Hash the output of a job, and remove it."""
    path = Path(os.fsdecode(work.cwd), os.fsdecode(work.outputs[0]))
    data = path.read_bytes()
    path.unlink()
    assert data
    return hashlib.sha256(data).digest()


def connect(address: str, runtime: Path, **variables: str) -> Service | str:
    """Connect as a link would whose environment says so. runtime: $XDG_RUNTIME_DIR."""
    runtime.mkdir(mode=0o700, exist_ok=True)
    pairs = {**os.environb, b"LDSHIM_REMOTE": address.encode(), b"XDG_RUNTIME_DIR": os.fsencode(runtime)}
    pairs.update({f"LDSHIM_REMOTE_{name}".encode(): value.encode() for name, value in variables.items()})
    return remote.connect(remote.read(Environment(list(pairs.items()))), print)


def service_of(address: str, runtime: Path, **variables: str) -> Service:
    """Connect, and see that it worked."""
    found = connect(address, runtime, **variables)
    assert not isinstance(found, str), found
    return found


def all_of(service: Service, jobs: Sequence[Job], seconds: float = 60.0) -> list[Result | str]:
    """Start jobs and wait for all: what came of them, in their order."""
    handles = [service.start(each) for each in jobs]
    found: dict[int, Result | str] = {}
    end = time.monotonic() + seconds
    while len(found) < len(handles) and time.monotonic() < end:
        found.update(service.finished(0.5))
    return [found[handle] for handle in handles]


def one(service: Service, work: Job, seconds: float = 60.0) -> Result | str:
    """Do one job."""
    return all_of(service, [work], seconds)[0]


def where(outcome: Result | str) -> str:
    """Say where a job ran, or why it did not."""
    return outcome if isinstance(outcome, str) else outcome.where


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def thinlto_jobs(llvm: Path, place: Path, objects: Sequence[str], *options: str) -> tuple[Path, list[Job]]:
    """Link bitcode with lld's own threads, and have it hand its backends out: the plain output, and the jobs, with inputs kept."""
    keeper = place / "keeper"
    keeper.write_text('#!/bin/sh\ncp "$1" jobs.json\nmkdir -p kept\ncp *.thinlto.bc kept\nexit 1\n')
    keeper.chmod(0o755)
    link = [str(llvm / "ld.lld"), *options, *objects]
    subprocess.run([*link, "--thinlto-jobs=2", "-o", "plain.so"], cwd=place, check=True)
    handed = [f"--thinlto-distributor={keeper}", f"--thinlto-remote-compiler={llvm / 'clang'}", "-o", "handed.so"]
    subprocess.run([*link, *handed], cwd=place, stderr=subprocess.DEVNULL, check=False)
    said = json.loads((place / "jobs.json").read_text())
    for index in (place / "kept").iterdir():
        index.replace(place / index.name)
    jobs = [
        job([*said["common"]["args"], *each["args"]], place, [*said["common"]["inputs"], *each["inputs"]], each["outputs"])
        for each in said["jobs"]
    ]
    return place / "plain.so", jobs
