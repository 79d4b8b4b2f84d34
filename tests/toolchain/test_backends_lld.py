"""Hazard: a ThinLTO link whose backends run as processes and give other bytes, another status, or leave something behind.

Those with real links need clang and lld 23, out of wheels: `tox -e remote`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ldshim.backends import lld
from ldshim.call.environment import Environment
from ldshim.decide import distributable
from tests.support import backends, tools
from tests.support.backends import alive, below, jobs, wait_for_pids
from tests.support.pool import Pool
from tests.support.program import sha256
from tests.support.shim import Shim, handed_over, script

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = 6

DOCUMENT = {
    "common": {"linker_output": "out", "args": ["/clang", "-c", "-O2"], "inputs": ["profile"]},
    "jobs": [{"args": ["a (1).o", "-o", "n.o"], "inputs": ["a (1).o", "a.bc", "b.o"], "outputs": ["n.o"]}],
}


def test_lld_s_file_becomes_jobs() -> None:
    """The command is the common part and the job's own, in lld's directory; what all share is an input of each."""
    (job,) = lld.jobs_of(json.dumps(DOCUMENT).encode(), b"/w")
    assert [b"/clang", b"-c", b"-O2", b"a (1).o", b"-o", b"n.o"] == job.argv
    assert [b"a (1).o", b"a.bc", b"b.o", b"profile"] == job.inputs
    assert ([b"n.o"], b"/w", True) == (job.outputs, job.cwd, job.remote)


def test_what_steers_clang_from_outside_is_dropped() -> None:
    """CCC_OVERRIDE_OPTIONS changed bytes; inside lld it means nothing."""
    kept = lld.without_steering(Environment([(b"PATH", b"/bin"), (b"CCC_OVERRIDE_OPTIONS", b"+-O0"), (b"HOME", b"/")]))
    assert [(b"PATH", b"/bin"), (b"HOME", b"/")] == kept.pairs


def test_a_package_that_cannot_be_imported_costs_a_line(tmp_path: Path) -> None:
    """C1: the distributor runs what lld wrote down, one job after the other."""
    (tmp_path / "distributor.py").write_bytes((ROOT / "ldshim/backends/distributor.py").read_bytes())
    document = {"common": {"args": ["sh", "-c"]}, "jobs": [{"args": ["touch a"]}, {"args": ["exit 3"]}, {"args": ["touch b"]}]}
    (tmp_path / "jobs.json").write_text(json.dumps(document))
    said = subprocess.run([sys.executable, "-IS", "distributor.py", "jobs.json"], cwd=tmp_path, capture_output=True, check=False)
    assert said.returncode == 3
    assert (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()
    assert b"one by one" in said.stderr


class Thin:
    """ThinLTO objects with calls between them, an archive whose name has a blank, a thin archive, and a place to link in."""

    def __init__(self, shim: Shim, place: Path) -> None:
        self.shim = shim
        self.place = place
        self.llvm = backends.llvm()
        self.log = place / "log"
        self.lld = place / "tools" / "ld.lld"
        self.lld.parent.mkdir()
        self.lld.symlink_to(self.llvm / "lld")

    def compile(self, *flags: str, suffix: str = ".o") -> list[str]:
        """Compile the modules: main and the others, each of which calls the next."""
        for number in range(MODULES):
            later = (number + 1) % MODULES
            text = f"int f{later}(int);\nstatic int twice(int x) {{ return 2 * x; }}\n__thread int t{number};\n"
            text += f"int f{number}(int x) {{ t{number}++; return x > {number} ? f{later}(twice(x) - {number} - x) : x + t{number}; }}\n"
            if not number:
                text += "int main(void) { return f1(9); }\n"
            (self.place / f"m{number}.c").write_text(text)
            command = [str(self.llvm / "clang"), "-flto=thin", *flags, "-c", f"m{number}.c", "-o", f"m{number}{suffix}"]
            subprocess.run(command, cwd=self.place, check=True)
        return [f"m{number}{suffix}" for number in range(MODULES)]

    def archive(self, name: str, flags: str, *members: str) -> str:
        """Make an archive."""
        subprocess.run([str(self.llvm / "llvm-ar"), flags, name, *members], cwd=self.place, check=True)
        return name

    def run(self, line: list[str], *, ours: bool, pool: Pool | None = None, **more: str) -> subprocess.CompletedProcess[bytes]:
        """Link bare, or through ldshim with backends as processes."""
        environment = self.shim.environment(**more)
        if ours:
            environment.update(LDSHIM_BACKENDS="process", LDSHIM_LOG=str(self.log))
        if pool is not None:
            environment["MAKEFLAGS"] = pool.makeflags
        command = [*([self.shim.command] if ours else []), str(self.lld), *line, "-o", "out"]
        fds = pool.pass_fds if pool is not None else ()
        return subprocess.run(command, cwd=self.place, env=environment, pass_fds=fds, capture_output=True, check=False)

    def drive(self, line: list[str], *, ours: bool) -> subprocess.CompletedProcess[bytes]:
        """Link by way of clang, bare or through ldshim."""
        environment = self.shim.environment(**({"LDSHIM_BACKENDS": "process", "LDSHIM_LOG": str(self.log)} if ours else {}))
        command = [*([self.shim.command] if ours else []), str(self.llvm / "clang"), f"--ld-path={self.lld}", *line, "-o", "out"]
        return subprocess.run(command, cwd=self.place, env=environment, capture_output=True, check=False)

    def compare(self, line: list[str], *, distributed: int) -> str:
        """Link both ways and expect the same bytes, status and text, so many jobs, and every token back: the reason that was logged."""
        bare = self.run(line, ours=False)
        before = sha256(self.place / "out")
        with Pool(b"\x00a") as pool:
            ours = self.run(line, ours=True, pool=pool)
        assert (bare.returncode, bare.stdout, bare.stderr) == (ours.returncode, ours.stdout, ours.stderr)
        assert before == sha256(self.place / "out")
        assert distributed == len(jobs(self.log))
        assert [] == leftovers(self.place)
        return str(handed_over(self.log)[0]["reason"])


@pytest.fixture
def thin(shim: Shim, tmp_path: Path) -> Thin:
    """Provide objects and a place."""
    return Thin(shim, tmp_path)


EXECUTABLE = ["-e", "main"]
SHARED = ["-shared"]
STATIC_PIE = ["-pie", "-static", "--no-dynamic-linker", "-e", "main"]
SHAPES = [
    pytest.param(("-O2", "-fPIC"), SHARED, id="shared"),
    pytest.param(("-O2",), STATIC_PIE, id="static-pie"),
    pytest.param(("-O2", "-fno-pie"), EXECUTABLE, id="no-pie"),
    pytest.param(("-O2",), EXECUTABLE, id="no-pie of PIE objects"),
    pytest.param(("-O2", "-g", "-fPIC"), SHARED, id="debug"),
    pytest.param(("-O0", "-fPIC"), SHARED, id="O0"),
    pytest.param(("-Os", "-fPIC", "-march=x86-64-v3"), SHARED, id="v3"),
    pytest.param(("-O2", "-fPIC", "-fsplit-lto-unit", "-fwhole-program-vtables", "-fvisibility=hidden"), SHARED, id="split"),
    pytest.param(("-O2", "-ffat-lto-objects"), [*STATIC_PIE, "--fat-lto-objects"], id="fat"),
    pytest.param(("-O2", "-mcmodel=large", "-fPIC"), SHARED, id="large"),
]


@pytest.mark.remote
@pytest.mark.parametrize(("flags", "line"), SHAPES)
def test_c28_backends_as_processes_give_the_same_bytes(thin: Thin, flags: tuple[str, ...], line: list[str]) -> None:
    """C28, C31: the same bytes, status and text as in process, one job a module, every token back, nothing left behind."""
    thin.compare([*line, *thin.compile(*flags)], distributed=MODULES)


# A value for every row of the list that takes any.
VALUES = {
    b"jobs=*": "jobs=2", b"mcpu=*": "mcpu=x86-64-v3", b"-pass-through=*": "-pass-through=-lc", b"-fresolution=*": "-fresolution=r.res",
    b"-import-instr-limit=*": "-import-instr-limit=3",
}  # fmt: skip
ANY = {b"thinlto-jobs": "2", b"thinlto-cache-dir": "cache", b"thinlto-cache-policy": "prune_after=1h"}


def spelled(row: distributable.Row) -> list[str]:
    """Write a row of the list as lld takes it."""
    value = ANY[row.option] if row.value == b"*" else VALUES.get(row.value, row.value.decode())
    name = row.option.decode()
    if row.option == b"mllvm":
        return ["-mllvm", value]
    return [f"--{name}{value}" if name == "lto-O" else f"--{name}={value}" if value else f"--{name}"]


def table() -> str:
    """Write the list as the document shows it."""
    lines = ["| option of lld | compared with lld and clang | added for the compiler |", "|---|---|---|"]
    for row in distributable.ROWS:
        option, value = row.option.decode(), row.value.decode()
        separator = " " if option == "mllvm" else "" if option == "lto-O" or not value else "="
        mend = " ".join(f"`{word.decode()}`" for word in row.mend)
        lines.append(f"| `{'-' if option == 'mllvm' else '--'}{option}{separator}{value}` | {row.seen} | {mend} |")
    return "\n".join(lines)


def test_the_document_has_the_list() -> None:
    """What remote.md promises is what is compared below."""
    assert table() in (ROOT / "ldshim" / "doc" / "remote.md").read_text()


@pytest.mark.remote
@pytest.mark.parametrize("row", distributable.ROWS, ids=lambda row: f"{row.option.decode()} {row.value.decode()}")
@pytest.mark.parametrize("shape", [SHARED, EXECUTABLE], ids=["shared", "executable"])
def test_c28_every_row_of_the_list_is_true(thin: Thin, row: distributable.Row, shape: list[str]) -> None:
    """C28: what the list says of an option was seen with this lld, with its mend, for both kinds of output."""
    flags = ("-O2", "-fPIC") if shape is SHARED else ("-O2",)
    line = [*shape, *spelled(row), *thin.compile(*flags)]
    if row.option == b"thinlto-cache-dir":
        thin.run(line, ours=True)
        (thin.log).unlink()
        thin.compare(line, distributed=0)
    else:
        thin.compare(line, distributed=MODULES)


@pytest.mark.remote
@pytest.mark.parametrize(
    "words",
    ["-r", "--lto-O1", "--lto-O0", "--lto-CGO0", "--lto-newpm-passes=default<O1>", "-mllvm -enable-tlsdesc", "--fatal-warnings",
     "-mllvm -inline-threshold=5", "-plugin-opt=-mattr=+avx2", "--save-temps", "--lto-basic-block-address-map", "--no-such-option"],
)  # fmt: skip
def test_c28_every_other_line_stays_in_process_and_the_reason_names_the_argument(thin: Thin, words: str) -> None:
    """C28: known to differ, or not known at all."""
    objects = thin.compile("-O2", "-fPIC")
    thin.run([*SHARED[: words != "-r"], *words.split(), *objects], ours=True)
    (record,) = handed_over(thin.log)
    assert f"backends in process: {words}" in record["reason"]
    assert [] == [word for word in record["argv"] if word.startswith("--thinlto-distributor")]


@pytest.mark.remote
def test_c28_a_module_without_a_cpu_of_its_own_stays_in_process(thin: Thin) -> None:
    """C28: clang would compile it for another CPU than lld does, with status 0; a module without code does no harm."""
    (thin.place / "data.c").write_text("int data = 3;\n")
    subprocess.run([str(thin.llvm / "clang"), "-flto=thin", "-fPIC", "-c", "data.c"], cwd=thin.place, check=True)
    objects = [*thin.compile("-O2", "-fPIC"), "data.o"]
    thin.compare([*SHARED, *objects], distributed=MODULES + 1)
    plain = thin.place / "plain.ll"
    plain.write_text('target triple = "x86_64-unknown-linux-gnu"\ndefine i32 @f(i32 %0) { ret i32 %0 }\n')
    command = [str(thin.llvm / "clang"), "-flto=thin", "-c", "plain.ll", "-o", "plain.o", "-Xclang", "-target-cpu", "-Xclang", "x86-64"]
    subprocess.run([*command, "-Wno-override-module"], cwd=thin.place, check=True)
    thin.log.unlink()
    assert "backends in process: plain.o" in thin.compare([*SHARED, *objects, "plain.o"], distributed=0)


@pytest.mark.remote
@pytest.mark.parametrize(
    ("flags", "distributed"),
    [
        (["-O2", "-shared"], MODULES),
        (["-O3", "-shared", "-flto-jobs=2"], MODULES),
        (["-O2", "-no-pie", "-nostartfiles", "-e", "main"], MODULES),
        (["-O1", "-shared"], 0),
        (["-O2", "-shared", "-Wl,--lto-O1"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_link_by_way_of_clang_is_judged_by_what_clang_gives_to_lld(thin: Thin, flags: list[str], distributed: int) -> None:
    """C28: clang's -O becomes lld's --lto-O; the words come from `clang -###`."""
    line = ["-flto=thin", "-nostdlib", *flags, *thin.compile("-O2", "-fPIC")]
    bare = thin.drive(line, ours=False)
    before = sha256(thin.place / "out")
    ours = thin.drive(line, ours=True)
    assert (bare.returncode, bare.stdout, bare.stderr) == (ours.returncode, ours.stdout, ours.stderr)
    assert before == sha256(thin.place / "out")
    assert distributed == len(jobs(thin.log))


@pytest.mark.remote
@pytest.mark.parametrize("kind", ["rcs", "rcsT"], ids=["archive", "thin archive"])
def test_archives_and_names_with_blanks(thin: Thin, kind: str) -> None:
    """Members are written out by lld, under names with blanks and brackets."""
    first, second, *objects = thin.compile("-O2", "-fPIC")
    (thin.place / second).rename(thin.place / "s p.o")
    thin.compare([*SHARED, first, "s p.o", thin.archive("lib a (1).a", kind, *objects)], distributed=MODULES)


@pytest.mark.remote
def test_c10_a_distributor_of_the_caller_s_own_is_left_alone(thin: Thin) -> None:
    """C10: its arguments stay as they are."""
    own = script(thin.place / "own", "exit 1")
    said = thin.run([*SHARED, f"--thinlto-distributor={own}", *thin.compile("-O2", "-fPIC")], ours=True)
    (record,) = handed_over(thin.log)
    assert record["lto"] == "distributed"
    assert 1 == sum(word.startswith("--thinlto-distributor") for word in record["argv"])
    assert said.returncode == 1


@pytest.mark.remote
def test_c33_who_does_not_ask_gets_lld_as_ever(thin: Thin) -> None:
    """C33: no word of it on the line, and the reason does not mention it."""
    objects = thin.compile("-O2", "-fPIC")
    thin.run([*SHARED, *objects], ours=True, LDSHIM_BACKENDS="")
    environment = thin.shim.environment(LDSHIM_LOG=str(thin.log))
    thin.log.unlink(missing_ok=True)
    subprocess.run([thin.shim.command, str(thin.lld), *SHARED, *objects, "-o", "out"], cwd=thin.place, env=environment, check=True)
    (record,) = handed_over(thin.log)
    assert "backends" not in record["reason"]
    assert [] == [word for word in record["argv"] if word.startswith("--thinlto-distributor")]


@pytest.mark.remote
def test_the_environment_of_the_call_does_not_reach_the_code(thin: Thin) -> None:
    """CCC_OVERRIDE_OPTIONS is nothing to lld, so it is nothing to its backends."""
    line = [*SHARED, *thin.compile("-O2", "-fPIC")]
    thin.run(line, ours=False)
    before = sha256(thin.place / "out")
    thin.run(line, ours=True, CCC_OVERRIDE_OPTIONS="x-O2 +-O0")
    assert before == sha256(thin.place / "out")
    assert len(jobs(thin.log)) == MODULES


@pytest.mark.remote
@pytest.mark.parametrize("victim", ["lld", "executor"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_c31_whoever_is_killed_no_backend_runs_on_and_every_token_returns(thin: Thin, victim: str, number: int) -> None:
    """C31, C14: by a signal that can be caught, and by one that cannot; what lld could not remove is removed."""
    objects = thin.compile("-O2", "-fPIC")
    # A clang of the same build, by what it says of itself, that never ends.
    text = SLEEPER % (str(thin.llvm / "clang"), str(thin.place / "pids"))
    (thin.place / "clang.c").write_text(text)
    subprocess.run([tools.need("gcc"), "clang.c", "-o", "tools/clang"], cwd=thin.place, check=True)
    with Pool(b"ab") as pool:
        environment = thin.shim.environment(MAKEFLAGS=pool.makeflags, LDSHIM_BACKENDS="process", LDSHIM_CPUS="4")
        command = [thin.shim.command, str(thin.lld), *SHARED, *objects, "-o", "out"]
        link = subprocess.Popen(command, cwd=thin.place, env=environment, pass_fds=pool.pass_fds, stderr=subprocess.DEVNULL)
        pids = wait_for_pids(thin.place / "pids", 3)
        os.kill({"lld": link.pid, "executor": below(link.pid, "ldshim-backends")[0]}[victim], number)
        link.wait(60)
        assert [] == alive(pids)
    assert [] == leftovers(thin.place)


SLEEPER = """
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "--version")) execv("%s", argv);
    FILE *pids = fopen("%s", "a");
    fprintf(pids, "%%d\\n", getpid());
    fclose(pids);
    sleep(100);
}
"""


def leftovers(place: Path) -> list[str]:
    """List files of lld's that are still there; its distributor may be removing the last of them."""
    for _ in range(200):
        found = [path.name for path in place.iterdir() if "native" in path.name or "dist-file" in path.name]
        if not found:
            break
        time.sleep(0.05)
    return found
