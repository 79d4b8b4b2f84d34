"""Hazard: a makefile of lto-wrapper's that is half understood, an input that is emptied too early, a make that should have been run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ldshim.backends import gcc
from ldshim.call.environment import Environment
from ldshim.decide.distributable import Spread
from ldshim.decide.rewrite import Edits, run_for_make
from tests.support import tools
from tests.support.backends import alive, below, jobs, wait_for_pids
from tests.support.pool import Pool
from tests.support.program import PARTITIONS, Program, sha256
from tests.support.shim import Shim, handed_over, script

ROOT = Path(__file__).resolve().parent.parent.parent

# As GCC 12.2 and GCC 16.2 wrote them, words left out.
TOUCHING = b"""/tmp/ccA.ltrans0.ltrans.o:
\t@gcc-12  '-xlto' '-c' '-fltrans' '-o' '/tmp/ccA.ltrans0.ltrans.o' '/tmp/ccA.ltrans0.o'
\t@-touch -r /tmp/ccA.ltrans0.o /tmp/ccA.ltrans0.o.tem > /dev/null 2>&1 && mv /tmp/ccA.ltrans0.o.tem /tmp/ccA.ltrans0.o
/tmp/ccA.ltrans1.ltrans.o:
\t@gcc-12  '-xlto' '-c' '-DA=b c' '-fltrans' '-o' '/tmp/ccA.ltrans1.ltrans.o' '/tmp/ccA.ltrans1.o'
\t@-touch -r /tmp/ccA.ltrans1.o /tmp/ccA.ltrans1.o.tem > /dev/null 2>&1 && mv /tmp/ccA.ltrans1.o.tem /tmp/ccA.ltrans1.o
.PHONY: all
all: \\
\t/tmp/ccA.ltrans1.ltrans.o \\
\t/tmp/ccA.ltrans0.ltrans.o
"""
TRUNCATING = b"""/tmp/ccA.ltrans0.ltrans.o:
\t@/usr/bin/gcc '-xlto' '-c' '-fltrans' '-o' '/tmp/ccA.ltrans0.ltrans.o' '/tmp/ccA.ltrans0.o' '-truncate' '/tmp/ccA.ltrans0.o'
.PHONY: all
all: \\
\t/tmp/ccA.ltrans0.ltrans.o
"""


def test_both_shapes_are_read() -> None:
    """GCC 11 and 12 empty the input by touch and mv, later ones by -truncate; the job has neither."""
    touching, truncating = gcc.parse(TOUCHING, b"/w"), gcc.parse(TRUNCATING, b"/w")
    assert touching is not None
    assert truncating is not None
    assert [b"gcc-12", b"-xlto", b"-c", b"-DA=b c", b"-fltrans", b"-o", b"/tmp/ccA.ltrans1.ltrans.o", b"/tmp/ccA.ltrans1.o"] == touching[
        1
    ].job.argv
    assert ["touch", "touch"] == [each.empties for each in touching]
    (only,) = truncating
    assert only.job.argv[-2:] == [b"/tmp/ccA.ltrans0.ltrans.o", b"/tmp/ccA.ltrans0.o"]
    assert only.empties == "truncate"
    assert (only.job.inputs, only.job.outputs, only.job.cwd) == ([b"/tmp/ccA.ltrans0.o"], [b"/tmp/ccA.ltrans0.ltrans.o"], b"/w")


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        (b"'-c'", b"'-DX='\\''"),  # a quote in a word: lto-wrapper does not escape it, so what it means is the shell's business
        (b"'-c'", b"'$(HOME)'"),
        (b"'-c'", b"'a#b'"),
        (b"'-c'", b"-c"),
        (b"'-c' ", b"'-c'"),
        (b"@/usr/bin/gcc", b"@env gcc"),
        (b"@/usr/bin/gcc", b"@/opt/my gcc"),
        (b"\t@/usr", b"\t/usr"),
        (b"'-fltrans'", b"'-fwpa'"),
        (b"'-truncate' '/tmp/ccA.ltrans0.o'", b"'-truncate' '/tmp/other.o'"),
        (b"\t/tmp/ccA.ltrans0.ltrans.o\n", b"\t/tmp/ccA.ltrans0.ltrans.o more\n"),
        (b".PHONY: all\n", b""),
        (b".PHONY", b"\t@touch done\n.PHONY"),
        (b"'-o' '/tmp/ccA.ltrans0.ltrans.o'", b"'-o' '/tmp/ccA.ltrans7.ltrans.o'"),
    ],
)
def test_whatever_is_not_exactly_that_is_for_make(what: bytes, instead: bytes) -> None:
    """A recipe that is read wrongly makes a wrong object with status 0."""
    assert what in TRUNCATING
    assert gcc.parse(TRUNCATING.replace(what, instead), b"/w") is None


@pytest.mark.parametrize("word", [b"-save-temps", b"-fdump-tree-all", b"-march=native", b"@args"])
def test_a_job_that_writes_or_reads_more_stays_here(word: bytes) -> None:
    """Its outputs, or its inputs, are not those that the makefile names."""
    found = gcc.parse(TRUNCATING.replace(b"'-c'", b"'%b'" % word), b"/w")
    assert found is not None
    assert [False] == [each.job.remote for each in found]


@pytest.mark.parametrize("shape", [TOUCHING, TRUNCATING])
def test_an_input_is_emptied_once_its_job_is_done(shape: bytes, tmp_path: Path) -> None:
    """What lto-wrapper asks for to save space: a file of the same name and time, with nothing in it."""
    found = gcc.parse(shape.replace(b"/tmp/cc", bytes(tmp_path) + b"/cc"), b"/w")
    assert found is not None
    path = Path(os.fsdecode(found[0].job.inputs[0]))
    path.write_bytes(b"IR")
    os.utime(path, (1000, 1000))
    gcc.empty(found[0])
    assert path.read_bytes() == b""
    if found[0].empties == "touch":
        assert path.stat().st_mtime == 1000


def test_make_survives_blanks_and_quotes_in_our_path_and_is_no_loop() -> None:
    """$MAKE is split as buildargv splits; ours is not put in front of ours."""
    edits, spread = Edits(), Spread([b"/opt/my python", b"-IS"], b"/a'b")
    run_for_make(edits, spread, Environment([(b"MAKE", b"gmake -s")]))
    own = edits.variables[b"MAKE"]
    assert own == rb"/opt/my\ python -IS /a\'b/make.py"
    assert edits.variables[b"_LDSHIM_MAKE"] == b"gmake -s"
    again = Edits()
    run_for_make(again, spread, Environment([(b"MAKE", own)]))
    assert {} == again.variables


@pytest.mark.parametrize("words", [["--version"], ["-f", "Makefile", "-j2", "all"], ["all"], ["-f", "none.mk", "all"]])
def test_other_calls_go_to_the_callers_own_make(words: list[str], tmp_path: Path) -> None:
    """As they came, with $MAKE as it was."""
    make = script(tmp_path / "my make", 'echo "$MAKE|$_LDSHIM_MAKE|$*"')
    (tmp_path / "Makefile").write_text("all:\n\techo no\n")
    theirs = make.replace(" ", r"\ ") + " -s"
    said = subprocess.run(
        [sys.executable, "-IS", str(ROOT / "ldshim/backends/make.py"), *words],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "MAKE": "ours", "_LDSHIM_MAKE": theirs}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    assert said.stdout.decode() == f"{theirs}||-s {' '.join(words)}\n"


class Links:
    """The same link bare and with its partitions as processes of ours."""

    def __init__(self, shim: Shim, program: Program, place: Path) -> None:
        self.shim = shim
        self.program = program
        self.place = place
        self.log = place / "log"

    def line(self, compiler: str, flags: tuple[str, ...], link: tuple[str, ...] = ()) -> list[str]:
        """Spell the link without the driver."""
        return [*flags, "-flto=4", *PARTITIONS, *link, *self.program.objects(tools.need(compiler), *flags, "-flto"), "-o", "out"]

    def both(self, compiler: str, line: list[str], pool: Pool, **more: str) -> tuple[str, str]:
        """Link both ways: the hashes of both outputs."""
        hashes = []
        for command in (compiler, self.shim.named(compiler)):
            environment = self.shim.environment(MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(self.log), LDSHIM_BACKENDS="process", **more)
            if command == compiler:
                environment = self.shim.environment()
            subprocess.run([command, *line], cwd=self.place, env=environment, pass_fds=pool.pass_fds, check=True)
            hashes.append(sha256(self.place / "out"))
        return hashes[0], hashes[1]


@pytest.fixture
def links(shim: Shim, program: Program, tmp_path: Path) -> Links:
    """Provide a place to link in."""
    return Links(shim, program, tmp_path)


@pytest.mark.parametrize("debug", [(), ("-g",)], ids=["plain", "debug"])
@pytest.mark.parametrize("compiler", list(tools.GCCS.values()))
def test_c4_gcc_gives_the_same_bytes(links: Links, compiler: str, debug: tuple[str, ...]) -> None:
    """C4, C31: every partition is a job of ours, the bytes are those of the plain link, and every token comes back."""
    with Pool(b"\x00ab") as pool:
        bare, ours = links.both(compiler, links.line(compiler, ("-O1", *debug)), pool)
    assert bare == ours
    assert len(jobs(links.log)) >= 8
    assert {("here", 0)} == {(job["where"], job["status"]) for job in jobs(links.log)}


def test_save_temps_and_other_linkers_files_stay(links: Links) -> None:
    """-save-temps leaves the same files beside the output as the plain link."""
    line = links.line(tools.GCC, ("-O1",), ("-save-temps",))
    with Pool(b"a") as pool:
        seen = []
        for command in (tools.GCC, links.shim.named(tools.GCC)):
            environment = links.shim.environment(
                **({} if command == tools.GCC else {"LDSHIM_BACKENDS": "process", "MAKEFLAGS": pool.makeflags})
            )
            subprocess.run([command, *line], cwd=links.place, env=environment, pass_fds=pool.pass_fds, check=True)
            seen.append({path.name: sha256(path) for path in links.place.iterdir() if "res" not in path.suffix and path.name != "log"})
            for path in links.place.iterdir():
                path.unlink()
    assert set(seen[0]) == set(seen[1])
    assert seen[0]["out"] == seen[1]["out"]


@pytest.mark.parametrize("variable", ["LD_LIBRARY_PATH", "LD_PRELOAD"])
def test_c1_what_could_keep_python_from_starting_keeps_make(links: Links, variable: str) -> None:
    """C1: lto-wrapper, and lld, start us with the build's own variables; without us the link runs as ever."""
    line = links.line(tools.GCC, ("-O1",))
    with Pool(b"a") as pool:
        bare, ours = links.both(tools.GCC, line, pool, **{variable: "/nonexistent-dir" if variable == "LD_LIBRARY_PATH" else ""})
    assert bare == ours
    assert [] == jobs(links.log)
    assert f"backends in process: {variable}" in handed_over(links.log)[0]["reason"]


VARIES = ("/tmp/", ".mk", "returned 2", "Waiting for unfinished jobs")  # temporary names, and what depends on how many jobs ran


def test_a_partition_that_fails_is_told_in_makes_words(links: Links) -> None:
    """Status and text are those of the plain link, but for the name of the program that lto-wrapper says it ran."""
    (links.place / "tools").mkdir()
    script(links.place / "tools/as", 'case "$*" in *ltrans1.*) echo "as: no way" >&2; exit 1 ;; esac', 'exec /usr/bin/as "$@"')
    line = links.line(tools.GCC, ("-O1",), (f"-B{links.place}/tools/",))
    said = []
    for command in (tools.GCC, links.shim.named(tools.GCC)):
        environment = links.shim.environment(**({} if command == tools.GCC else {"LDSHIM_BACKENDS": "process", "LDSHIM_JOBS": "1"}))
        one = subprocess.run([command, *line], cwd=links.place, env=environment, capture_output=True, check=False)
        assert one.returncode == 1
        said.append([row for row in one.stderr.decode().splitlines() if not any(word in row for word in VARIES)])
    assert said[0] == said[1]
    assert any("as: no way" in row for row in said[1])


@pytest.mark.parametrize("victim", ["driver", "lto-wrapper", "executor"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_c31_whoever_is_killed_no_compiler_runs_on_and_every_token_returns(links: Links, victim: str, number: int) -> None:
    """C31, C14: by a signal that can be caught, and by one that cannot."""
    (links.place / "tools").mkdir()
    script(links.place / "tools/as", f"echo $$ >> {links.place}/pids", "exec sleep 100")
    line = links.line(tools.GCC, ("-O1",), (f"-B{links.place}/tools/",))
    with Pool(b"abc") as pool:
        environment = links.shim.environment(MAKEFLAGS=pool.makeflags, LDSHIM_BACKENDS="process", LDSHIM_CPUS="4")
        link = subprocess.Popen(
            [links.shim.named(tools.GCC), *line], cwd=links.place, env=environment, pass_fds=pool.pass_fds, stderr=subprocess.DEVNULL
        )
        pids = wait_for_pids(links.place / "pids", 3)
        names = {"driver": [link.pid], "lto-wrapper": below(link.pid, "lto-wrapper"), "executor": below(link.pid, "ldshim-backends")}
        os.kill(names[victim][-1], number)
        link.wait(30)
        if victim == "executor" and number == signal.SIGKILL:
            # The kernel ends gcc, and its `as` is an orphan as below a make that was killed: the tokens are out until it has ended.
            for pid in wait_for_pids(links.place / "pids", 3):
                os.kill(pid, signal.SIGKILL)
        assert [] == alive(pids)
