"""Hazard: a jobserver that only our own client understands. So the real ones run below a pool: make, ninja, cargo, GCC, lld, all at once.

What is counted are jobs that wait at a gate (support/observe.py): while it is shut none can end, so their number grows to what the pool
allows, and stops there.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Callable

import pytest

from tests.support import tools
from tests.support.observe import Gate
from tests.support.program import PARTITIONS, Program
from tests.support.shim import ROOT, Shim, handed_over, script

JOBS = 4


class Jobs(Gate):
    """A gate for jobs that are a script of ours. place: an empty directory; gcc: whose LTRANS jobs the same gate counts, "" for none."""

    def __init__(self, place: Path, gcc: str = "") -> None:
        if gcc:
            super().__init__(place, gcc)
        else:
            place.mkdir(parents=True)
            self.place, self.log, self.gate, self._open = place, place / "log", place / "gate", None
            self.log.touch()
            os.mkfifo(self.gate)
        self.job = script(place / "job", f'echo "start $$" >>{self.log}', f": <{self.gate}", f'echo "end $$" >>{self.log}')


class Build:
    """A build under a pool: exit status, and what stderr got."""

    def __init__(self, shim: Shim, jobs: Jobs, style: str, command: list[str], place: Path, **more: str) -> None:
        err = place / "stderr"
        env = {**shim.on(JOBS, PYTHONPATH=str(ROOT)), **more}
        words = [shim.command, "pool", f"-j{JOBS}", f"--style={style}", "--", *command]
        with open(err, "wb") as stream:
            process = subprocess.Popen(words, env=env, cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stream)
            self.status = jobs.watch(process, lambda: JOBS)
        self.err = err.read_text()


def makefile(place: Path, jobs: Jobs, count: int = 9, name: str = "Makefile") -> None:
    """Write a makefile with a sub-make and more jobs than anybody may run at once."""
    names = " ".join(f"j{number}" for number in range(count))
    (place / name).write_text(f"all: sub k0 k1\nsub: ; +$(MAKE) -f {name} inner\ninner: {names}\n{names} k0 k1: ; @{jobs.job}\n")


@pytest.mark.parametrize("form", ["direct", "below a shell"])
@pytest.mark.parametrize(
    ("make", "style"), [(tools.make43, "pipe"), (tools.make44, "pipe"), (tools.make44, "fifo")], ids=["4.3-pipe", "4.4-pipe", "4.4-fifo"]
)
def test_make_runs_n_jobs(make: Callable[[], str], style: str, form: str, shim: Shim, tmp_path: Path) -> None:
    """A make with a sub-make, as the command or below a shell, runs N jobs, never more, and every token is back (C14)."""
    jobs = Jobs(tmp_path / "gate")
    makefile(tmp_path, jobs)
    command = [make()] if form == "direct" else ["sh", "-c", f"{make()}"]
    build = Build(shim, jobs, style, command, tmp_path)
    assert (0, "", JOBS) == (build.status, build.err, jobs.peak())


def test_ninja_runs_n_jobs(shim: Shim, tmp_path: Path) -> None:
    """Ninja 1.13 without -j is a client of the pool."""
    jobs = Jobs(tmp_path / "gate")
    edges = "".join(f"build e{number}: job\n" for number in range(10))
    (tmp_path / "build.ninja").write_text(f"rule job\n  command = {jobs.job}\n{edges}")
    build = Build(shim, jobs, "fifo", [tools.ninja113(), "--quiet"], tmp_path)
    assert (0, "", JOBS) == (build.status, build.err, jobs.peak())


def crate(place: Path, jobs: Jobs) -> None:
    """Write a crate whose build script, one of cargo's jobs, runs one of ours and shows what it was given."""
    (place / "src").mkdir(parents=True)
    (place / "Cargo.toml").write_text('[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2021"\nbuild = "build.rs"\n')
    (place / "src" / "main.rs").write_text('fn main() { println!("{}", env!("SHOWN")); }\n')
    program = f"""fn main() {{
    assert!(std::process::Command::new("{jobs.job}").status().unwrap().success());
    println!("cargo:rustc-env=SHOWN={{}}", std::env::var("CARGO_MAKEFLAGS").unwrap());
}}
"""
    (place / "build.rs").write_text(program)


def cargo(place: Path) -> list[str]:
    """Spell a build of that crate that needs no network."""
    return [tools.need("cargo"), "build", "--quiet", "--offline", "--manifest-path", str(place / "Cargo.toml")]


@pytest.mark.parametrize("style", ["fifo", "pipe"])
def test_cargo_is_a_client(style: str, shim: Shim, tmp_path: Path) -> None:
    """Cargo joins the pool, hands it to its build scripts, compiles with several codegen units, and gives every token back (C14)."""
    jobs = Jobs(tmp_path / "gate")
    jobs.open()
    crate(tmp_path / "tiny", jobs)
    build = Build(shim, jobs, style, cargo(tmp_path / "tiny"), tmp_path, RUSTFLAGS="-Ccodegen-units=8")
    shown = subprocess.run([tmp_path / "tiny" / "target" / "debug" / "tiny"], stdout=subprocess.PIPE, check=True).stdout.decode()
    assert (0, "", 1) == (build.status, build.err, jobs.jobs())
    auth = "--jobserver-auth=fifo:" if style == "fifo" else "--jobserver-auth=1"
    assert auth in shown


@pytest.mark.parametrize("style", ["fifo", "pipe"])
@pytest.mark.parametrize("gcc", [tools.GCC])
def test_an_lto_link_runs_n_jobs(gcc: str, style: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """GCC's LTRANS jobs come out of the pool, through ldshim's private pipe; nothing is missing afterwards (C14 C19)."""
    jobs = Jobs(tmp_path / "gate", tools.need(gcc))
    objects = program.objects(tools.need(gcc), "-O1", "-flto")
    link = [shim.named(gcc), "-O1", "-flto=auto", *PARTITIONS, jobs.flag, *objects, "-o", str(tmp_path / "prog")]
    log = tmp_path / "log"
    build = Build(shim, jobs, style, link, tmp_path, LDSHIM_LOG=str(log))
    assert (0, "", JOBS) == (build.status, build.err, jobs.peak())
    assert ["jobserver"] == [record["source"] for record in handed_over(log)]


@pytest.mark.parametrize("style", ["fifo", "pipe"])
def test_an_lld_link_gives_back(style: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """An lld link takes its tokens from the pool; afterwards every token is back (C14)."""
    lld = tools.LLD
    jobs = Jobs(tmp_path / "gate")
    jobs.open()
    objects = program.objects(tools.clang_of(lld), "-O1", "-flto=thin", "-Wno-everything")
    log = tmp_path / "log"
    link = [shim.named(lld), "-r", *objects, "-o", str(tmp_path / "prog.o")]
    build = Build(shim, jobs, style, link, tmp_path, LDSHIM_LOG=str(log), LDSHIM_ELASTIC="0")
    assert (0, "") == (build.status, build.err)
    assert [("jobserver", JOBS)] == [(record["source"], record["granted"]) for record in handed_over(log)]


def test_everybody_shares_one_pool(shim: Shim, program: Program, tmp_path: Path) -> None:
    """Ninja at the top; make, cargo, a GCC and an lld LTO link and plain jobs below it: N jobs together, and every token back (C14)."""
    gcc, lld = tools.GCC, tools.LLD
    jobs = Jobs(tmp_path / "gate", tools.need(gcc))
    makefile(tmp_path, jobs, name="inner.mk")
    crate(tmp_path / "tiny", jobs)
    gcc_objects = program.objects(tools.need(gcc), "-O1", "-flto")
    lld_objects = program.objects(tools.clang_of(lld), "-O1", "-flto=thin", "-Wno-everything")
    commands = {
        "make": f"{tools.make44()} -s -f inner.mk",
        "cargo": " ".join(cargo(tmp_path / "tiny")),
        "gcc": " ".join([shim.named(gcc), "-O1", "-flto=auto", *PARTITIONS, jobs.flag, *gcc_objects, "-o", "prog"]),
        "lld": " ".join([shim.named(lld), "-r", *lld_objects, "-o", "prog.o"]),
        **{f"job{number}": jobs.job for number in range(3)},
    }
    text = "".join(f"rule {name}\n  command = {line}\nbuild {name}.stamp: {name}\n" for name, line in commands.items())
    (tmp_path / "build.ninja").write_text(text)
    log = tmp_path / "log"
    build = Build(shim, jobs, "fifo", [tools.ninja113(), "--quiet"], tmp_path, LDSHIM_LOG=str(log))
    assert (0, "", JOBS) == (build.status, build.err, jobs.peak())
    assert {"jobserver"} == {record["source"] for record in handed_over(log)}
