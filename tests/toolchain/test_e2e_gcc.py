"""GCC LTO links, end to end: real gcc, real make, the number of LTRANS jobs observed, the pool recounted, the bytes compared.

Which rows run: every pair of two values of compiler, recorded flag, link flag, way of calling and form of call, some 23 links (rows.py);
below a bare driver every pair of compiler, recorded flag, link flag and way, 15 links. LDSHIM_FULL=1 runs the products, 480 and 60. The
whole table "What a GCC link gets" of the design is proven without links, in tests/unit/test_mode_budget.py; here it is written as a
function of where the tokens came from: `expected`.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import tools
from tests.support.observe import Gate
from tests.support.pool import Pool
from tests.support.program import PARTITIONS, Program, bare_environment, sha256
from tests.support.rows import FULL, rows
from tests.support.shim import Shim, handed_over
from tests.support.ways import JOBS, WAYS, run

if TYPE_CHECKING:
    from pathlib import Path

COMPILERS = list(tools.GCCS.values())
RECORDED = ["-flto", "-flto=auto", "-flto=jobserver", "-flto=5"]
LINK = ["", "-flto=auto", "-flto=jobserver", "-flto=3"]
FORMS = ["prefix", "name", "path"]
LEAST_PARTITIONS = 8
NOTES = (b"using serial compilation of", b"option documentation for more information", b"jobserver is not available")


def expected(recorded: str, link: str, source: str) -> int:
    """Say how many LTRANS jobs run at once: the table of design section 4, for more partitions than any number here."""
    asked = (link if "=" in link else recorded).partition("=")[2]
    number = int(asked) if asked.isdigit() else 0
    if source in ("jobserver", "recovered"):
        return min(number or JOBS, JOBS)
    return min(number or JOBS, JOBS) if asked else 1


def without_notes(stderr: bytes) -> list[bytes]:
    """Drop GCC's own lines about serial compilation and a missing jobserver."""
    return [line for line in stderr.splitlines() if not any(note in line for note in NOTES)]


class Case:
    """One row of the matrix."""

    def __init__(self, gcc: str, recorded: str, link: str, way: str, form: str) -> None:
        self.gcc = gcc
        self.recorded = recorded
        self.link = link
        self.way = way
        self.form = form

    def __str__(self) -> str:
        return "_".join([self.gcc, self.recorded, self.link or "none", self.way, self.form])

    def expected(self, log: Path) -> int:
        """Say how many jobs ought to run, given the source that ldshim logged before its first one."""
        return expected(self.recorded, self.link, handed_over(log)[0]["source"])


class Bench:
    """What every test here needs: the shim, the program, and bare links, each done once, to compare with."""

    def __init__(self, shim: Shim, program: Program, place: Path) -> None:
        self.shim = shim
        self.program = program
        self.place = place
        self.bare: dict[tuple[str, str, str], tuple[str, bytes]] = {}

    def objects(self, gcc: str, recorded: str) -> list[str]:
        """Provide the program's objects."""
        return self.program.objects(tools.need(gcc), "-O1", recorded)

    def line(self, gcc: str, recorded: str, link: str, *more: str) -> list[str]:
        """Spell a link up to -o, without the driver."""
        return ["-O1", *([link] if link else []), *PARTITIONS, *more, *self.objects(gcc, recorded), "-o"]

    def bare_link(self, gcc: str, recorded: str, link: str) -> tuple[str, bytes]:
        """Link with the bare driver, no make about: the sha256 of the program, and stderr."""
        key = (gcc, recorded, link)
        if key not in self.bare:
            out = self.place / f"{len(self.bare)}"
            command = [tools.need(gcc), *self.line(gcc, recorded, link), str(out)]
            done = subprocess.run(command, env=bare_environment(), stderr=subprocess.PIPE, check=True)
            self.bare[key] = sha256(out), done.stderr
        return self.bare[key]


@pytest.fixture(scope="module")
def bench(shim: Shim, program: Program, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Provide the shim, the program and the bare links."""
    return Bench(shim, program, tmp_path_factory.mktemp("bare"))


@pytest.mark.parametrize("case", [Case(*row) for row in rows(COMPILERS, RECORDED, LINK, WAYS, FORMS)], ids=str)
def test_a_gcc_link_runs_exactly_what_the_table_says(case: Case, bench: Bench, tmp_path: Path) -> None:
    """A driver call runs the table's number of LTRANS jobs, never more; same bytes, same stderr, every token back (C3 C4 C11 C14 C19)."""
    gate, log, out = Gate(tmp_path / "gate", tools.need(case.gcc)), tmp_path / "log", tmp_path / "prog"
    env = bench.shim.on(JOBS, LDSHIM_LOG=str(log))
    if case.form == "path":
        env["PATH"] = f"{bench.shim.links}:{env['PATH']}"
    driver = {"prefix": [bench.shim.command, case.gcc], "name": [bench.shim.named(case.gcc)], "path": [case.gcc]}[case.form]
    command = [*driver, *bench.line(case.gcc, case.recorded, case.link, gate.flag), str(out)]
    way = WAYS[case.way]

    ran = run(way, command, env, tmp_path / "run", lambda link: gate.watch(link, lambda: case.expected(log)))

    digest, stderr = bench.bare_link(case.gcc, case.recorded, case.link)
    quiet_success = (0, b"")
    assert quiet_success == (ran.status, ran.make_said)
    assert handed_over(log)[0]["source"] in way.sources
    number = case.expected(log)
    assert number == gate.peak()
    assert gate.jobs() >= LEAST_PARTITIONS
    assert digest == sha256(out)
    assert without_notes(stderr) == without_notes(ran.stderr)
    assert without_notes(ran.stderr) == ran.stderr.splitlines()


B_ROWS = [
    Case(gcc, recorded, link, way, "B")
    for gcc, recorded, link, way in rows(COMPILERS, ["-flto", "-flto=5"], ["", "-flto=auto", "-flto=3"], WAYS)
]


@pytest.mark.parametrize("case", B_ROWS, ids=str)
def test_standing_in_for_ld_below_a_bare_driver_gives_the_same_number(case: Case, bench: Bench, tmp_path: Path) -> None:
    """An `ld` in a -B directory, where -flto is only in COLLECT_GCC_OPTIONS, holds the link to the table's number as well (C19 C4 C14)."""
    real, way = tools.need(case.gcc), WAYS[case.way]
    # by the time ld runs, the driver has dropped the words it cannot use (GCC 10 to 12: every fifo), so that ours may be gone
    sources = way.sources if case.way != "make44-fifo" else {"jobserver", "recovered", "slots", "none"}
    gate, log, out = Gate(tmp_path / "gate", real), tmp_path / "log", tmp_path / "prog"
    linker = bench.shim.only(tmp_path / "linker", "ld")
    command = [real, *bench.line(case.gcc, case.recorded, case.link, f"-B{linker}/", gate.flag), str(out)]
    env = bench.shim.on(JOBS, LDSHIM_LOG=str(log))

    ran = run(way, command, env, tmp_path / "run", lambda link: gate.watch(link, lambda: case.expected(log)))

    digest, stderr = bench.bare_link(case.gcc, case.recorded, case.link)
    quiet_success = (0, b"")
    assert quiet_success == (ran.status, ran.make_said)
    assert handed_over(log)[0]["source"] in sources
    assert case.expected(log) == gate.peak()
    assert digest == sha256(out)
    assert without_notes(stderr) == without_notes(ran.stderr)


@pytest.mark.parametrize("style", ["pipe", "pipe-blocking", "fifo"])
@pytest.mark.parametrize("tokens", [b"", b"\x00", b"\x00a\xff", b"gfedcba"], ids=len)
def test_tokens_come_back_as_the_bytes_that_were_taken(tokens: bytes, style: str, bench: Bench, tmp_path: Path) -> None:
    """With a pool of any size and kind the link runs tokens + 1 jobs, and the very same bytes are back afterwards (C13 C14 C15 C18)."""
    most = len(tokens) + 1
    for gcc in COMPILERS if FULL else [COMPILERS[(len(tokens) + len(style)) // 2 % len(COMPILERS)]]:
        gate = Gate(tmp_path / gcc / "gate", tools.need(gcc))
        command = [bench.shim.named(gcc), *bench.line(gcc, "-flto", "-flto=auto", gate.flag), str(tmp_path / "prog")]
        with Pool(tokens, style.partition("-")[0], blocking=style.endswith("blocking")) as pool:
            link = subprocess.Popen(command, env=bench.shim.on(8, MAKEFLAGS=pool.makeflags), pass_fds=pool.pass_fds)
            status = gate.watch(link, lambda: most)
        assert [0, most] == [status, gate.peak()]


@pytest.mark.parametrize("gcc", COMPILERS)
def test_a_pinned_number_takes_no_token(gcc: str, bench: Bench, tmp_path: Path) -> None:
    """LDSHIM_JOBS=6 runs six jobs beside a jobserver of three tokens, all of which stay where they are (C11)."""
    gate = Gate(tmp_path / "gate", tools.need(gcc))
    command = [bench.shim.named(gcc), *bench.line(gcc, "-flto", "-flto=auto", gate.flag), str(tmp_path / "prog")]
    left: list[int] = []
    with Pool(b"abc") as pool:
        env = bench.shim.on(8, MAKEFLAGS=pool.makeflags, LDSHIM_JOBS="6")
        link = subprocess.Popen(command, env=env, pass_fds=pool.pass_fds)
        status = gate.watch(link, lambda: 6, at_peak=lambda: left.append(pool.available()))
    status_peak_left = [0, 6, 3]
    assert status_peak_left == [status, gate.peak(), *left]


@pytest.mark.parametrize("flag", ["-flto-partition=none", "-r"])
@pytest.mark.parametrize("gcc", COMPILERS)
def test_a_link_that_cannot_be_parallel_takes_no_token(gcc: str, flag: str, bench: Bench, tmp_path: Path) -> None:
    """Where GCC makes no partitions nothing is reserved, and the output is the bare driver's (C4, design section 6)."""
    command = ["-O1", "-flto=auto", "-frandom-seed=1", flag, *bench.objects(gcc, "-flto"), "-o"]
    log = tmp_path / "log"
    subprocess.run([tools.need(gcc), *command, str(tmp_path / "bare")], env=bare_environment(), check=True)
    with Pool(b"abc") as pool:
        env = bench.shim.on(8, MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(log))
        subprocess.run([bench.shim.named(gcc), *command, str(tmp_path / "prog")], env=env, pass_fds=pool.pass_fds, check=True)
    alone = [1]
    assert alone == [record["granted"] for record in handed_over(log)]
    assert sha256(tmp_path / "bare") == sha256(tmp_path / "prog")


@pytest.mark.parametrize("gcc", COMPILERS)
def test_two_links_share_one_pool(gcc: str, bench: Bench, tmp_path: Path) -> None:
    """Two links at once run tokens + 2 jobs together: each its implicit slot, the tokens between them, and none twice (C14 C18)."""
    gate = Gate(tmp_path / "gate", tools.need(gcc))
    command = [bench.shim.named(gcc), *bench.line(gcc, "-flto", "-flto=auto", gate.flag)]
    with Pool(b"abc") as pool:
        env = bench.shim.on(8, MAKEFLAGS=pool.makeflags)
        links = [subprocess.Popen([*command, str(tmp_path / name)], env=env, pass_fds=pool.pass_fds) for name in ("one", "two")]
        gate.watch(links[0], lambda: 5)
        gate.open()
        both_well = [0, 0]
        assert both_well == [link.wait() for link in links]
        gate.shut()
    together = 5
    assert together == gate.peak()


@pytest.mark.parametrize(("flag", "tokens", "peak"), [("-flto", b"", 1), ("-flto=3", b"", 3), ("-flto=6", b"", 6), ("-flto", b"+++", 4)])
@pytest.mark.parametrize("gcc", COMPILERS)
def test_the_observation_itself_is_exact(gcc: str, flag: str, tokens: bytes, peak: int, bench: Bench, tmp_path: Path) -> None:
    """The gate sees what a bare gcc is known to run, N for -flto=N and tokens + 1 under a jobserver: so it can see ldshim wrong."""
    gate = Gate(tmp_path / "gate", tools.need(gcc))
    command = [tools.need(gcc), *bench.line(gcc, "-flto", flag, gate.flag), str(tmp_path / "prog")]
    with Pool(tokens) as pool:
        env = bare_environment(**({"MAKEFLAGS": pool.makeflags} if tokens else {}))
        link = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, pass_fds=pool.pass_fds)
        status = gate.watch(link, lambda: peak)
    assert [0, peak] == [status, gate.peak()]


@pytest.mark.parametrize("make", ["make43", "make44", "no make"])
@pytest.mark.parametrize("gcc", COMPILERS)
def test_the_make_that_the_environment_names_runs_the_table_s_number(gcc: str, make: str, bench: Bench, tmp_path: Path) -> None:
    """$MAKE decides who runs LTRANS: a make runs tokens + 1 jobs, what is no make leaves the link serial, as it does bare (C19)."""
    program = tools.make43() if make == "make43" else tools.make44() if make == "make44" else tools.need("false")
    most = 1 if make == "no make" else 4
    gate = Gate(tmp_path / "gate", tools.need(gcc))
    command = [bench.shim.named(gcc), *bench.line(gcc, "-flto", "-flto=auto", gate.flag), str(tmp_path / "prog")]
    with Pool(b"abc") as pool:
        env = bench.shim.on(8, MAKEFLAGS=pool.makeflags, MAKE=program)
        link = subprocess.Popen(command, env=env, pass_fds=pool.pass_fds, stderr=subprocess.DEVNULL)
        status = gate.watch(link, lambda: most)
    assert [0, most] == [status, gate.peak()]
    assert bench.bare_link(gcc, "-flto", "-flto=auto")[0] == sha256(tmp_path / "prog")
