"""clang and lld, end to end: ThinLTO, full LTO and plain objects, lld called directly and through drivers; threads counted, bytes compared.

lld is no client of a jobserver, so its number is fixed when it starts. What is expected of it: as many threads as the bare linker
starts when it is told `--threads=N --thinlto-jobs=N`, where N is what the way of calling allows, and the very bytes of the bare link.
Which rows run (rows.py): every pair of version, form of call and way for ThinLTO, 25 links; every pair of version, kind, form and two ways
for full LTO and plain objects, 15. LDSHIM_FULL=1 runs the products, 75 and 60.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tools
from tests.support.pool import Pool
from tests.support.program import Program, bare_environment, sha256
from tests.support.rows import rows
from tests.support.shim import Shim, handed_over, script
from tests.support.threads import Threads, started
from tests.support.ways import JOBS, WAYS, run

LLDS = list(tools.LLDS.values())
COMPILE = {"thin": "-flto=thin", "full": "-flto=full", "plain": "-fno-lto"}
FORMS = ["relocatable", "shared", "prefix", "driver", "B"]


class Case:
    """One link. form: who is called and how; see `Bench.command`."""

    def __init__(self, lld: str, kind: str, form: str, way: str) -> None:
        self.lld = lld
        self.kind = kind
        self.form = form
        self.way = way

    def __str__(self) -> str:
        return "_".join([self.lld, self.kind, self.form, self.way])

    @property
    def by_driver(self) -> bool:
        """Tell whether the line is a clang driver's."""
        return self.form in ("driver", "B")


class Bench:
    """What every test here needs: the shim, the program, the thread counter."""

    def __init__(self, shim: Shim, program: Program, place: Path) -> None:
        self.shim = shim
        self.program = program
        self.place = place
        self.threads = Threads(place)
        self.kept: dict[tuple[str, ...], tuple[int, str, bytes]] = {}

    def line(self, case: Case, out: Path, *more: str) -> list[str]:
        """Spell a link without its program."""
        objects = self.program.objects(tools.clang_of(case.lld), "-O1", "-fPIC", COMPILE[case.kind])
        if case.by_driver:
            words = ["-fuse-ld=lld", *([COMPILE[case.kind]] if case.kind != "plain" else []), *(f"-Wl,{word}" for word in more)]
        else:
            words = ["-shared" if case.form == "shared" else "-r", *more]
        return [*words, *objects, "-o", str(out)]

    def real(self, case: Case) -> str:
        """Find the program that a bare call of this form runs."""
        return tools.clang_of(case.lld) if case.by_driver else tools.need(case.lld)

    def command(self, case: Case, out: Path) -> list[str]:
        """Spell the call with ldshim in it: as the linker by its link, as the prefix, as the driver, or as ld.lld in a bare driver's -B."""
        if case.form == "B":
            linkers = self.place / "B" / case.lld
            if not linkers.exists():
                self.shim.only(linkers, "ld.lld")
            return [self.real(case), f"-B{linkers}", *self.line(case, out)]
        if case.form == "prefix":
            return [self.shim.command, case.lld, *self.line(case, out)]
        return [self.shim.named(tools.clang_named(case.lld) if case.by_driver else case.lld), *self.line(case, out)]

    def environment(self, case: Case, **more: str) -> dict[str, str]:
        """Give the environment of a call with ldshim in it; ld.lld without a version is not installed here, so it is named."""
        if case.form == "B":
            more["LDSHIM_REAL_LD_LLD"] = tools.need(case.lld)
        return {**self.shim.on(JOBS), **more}

    def bare(self, case: Case, number: int = 0) -> tuple[int, str, bytes]:
        """Link without ldshim, told N when number is not 0: threads started, sha256, stderr. Done once for each line."""
        told = [f"--threads={number}", *([f"--thinlto-jobs={number}"] if case.kind == "thin" else [])] if number else []
        out = self.place / f"bare{len(self.kept)}"  # a new one: lld starts one more thread to delete an output that exists
        command = [self.real(case), *self.line(case, Path("{}"), *told)]
        key = tuple(command)
        if key not in self.kept:
            log = out.with_suffix(".threads")
            environment = bare_environment(**self.threads.environment(log))
            done = subprocess.run([*command[:-1], str(out)], env=environment, stderr=subprocess.PIPE, check=True)
            self.kept[key] = started(log), sha256(out), done.stderr
        return self.kept[key]


@pytest.fixture(scope="module")
def bench(shim: Shim, program: Program, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Provide the shim, the program and the counter."""
    return Bench(shim, program, tmp_path_factory.mktemp("lld"))


@pytest.mark.parametrize("case", [Case(*row) for row in rows(LLDS, ["thin"], FORMS, WAYS)], ids=str)
def test_a_thinlto_link_has_the_threads_it_was_granted(case: Case, bench: Bench, tmp_path: Path) -> None:
    """A ThinLTO link has N backend threads, same bytes, same stderr, every token back, whoever calls lld (C3 C4 C14 C20)."""
    log, threads, out = tmp_path / "log", tmp_path / "threads", tmp_path / "out"
    env = bench.environment(case, LDSHIM_LOG=str(log), **bench.threads.environment(threads))

    ran = run(WAYS[case.way], bench.command(case, out), env, tmp_path / "run")

    quiet_success = (0, b"")
    assert quiet_success == (ran.status, ran.make_said)
    record = handed_over(log)[0]
    assert record["source"] in WAYS[case.way].sources
    number = JOBS  # of make, or the CPUs: there are more modules than that
    assert ["thin", number] == [record["lto"], record["granted"]]
    assert (number, *bench.bare(case, number)) == (number, started(threads), sha256(out), ran.stderr)


@pytest.mark.parametrize("case", [Case(*row) for row in rows(LLDS, ["full", "plain"], FORMS, ["make43-plus", "no-make"])], ids=str)
def test_a_link_without_parallel_lto_takes_no_token(case: Case, bench: Bench, tmp_path: Path) -> None:
    """Full LTO and plain links keep their bytes and stderr, start no more threads than bare, and take no token (C4 C14 C23)."""
    log, threads, out = tmp_path / "log", tmp_path / "threads", tmp_path / "out"
    env = bench.environment(case, LDSHIM_LOG=str(log), **bench.threads.environment(threads))

    ran = run(WAYS[case.way], bench.command(case, out), env, tmp_path / "run")

    quiet_success = (0, b"")
    assert quiet_success == (ran.status, ran.make_said)
    most, digest, stderr = bench.bare(case)
    assert (digest, stderr) == (sha256(out), ran.stderr)
    assert started(threads) <= most
    assert not [record for record in handed_over(log) if record["source"] not in ("none", "slots")]


@pytest.mark.parametrize("kind", COMPILE)
@pytest.mark.parametrize("lld", LLDS)
def test_only_a_thinlto_link_finds_tokens_missing(lld: str, kind: str, bench: Bench, tmp_path: Path) -> None:
    """When the linker starts, the pool is untouched for a plain and a full LTO link, and drawn on for a ThinLTO link (C14 C23)."""
    case = Case(lld, kind, "relocatable", "no-make")
    seen = tmp_path / "seen"
    with Pool(b"abc") as pool:
        count = f"import fcntl; print(fcntl.ioctl({pool.read_fd}, 0x541B, bytes(4))[0])"  # FIONREAD
        look = f"[ \"$1\" = --version ] || {sys.executable} -c '{count}' >{seen}"
        looking = script(tmp_path / "looking", look, f'exec {tools.need(lld)} "$@"')
        variable = "LDSHIM_REAL_" + lld.upper().replace(".", "_").replace("-", "_")
        env = bench.environment(case, MAKEFLAGS=pool.makeflags, **{variable: looking})
        subprocess.run(bench.command(case, tmp_path / "out"), env=env, pass_fds=pool.pass_fds, check=True)
    drawn_on = len(pool.tokens) - int(seen.read_text())
    assert (kind == "thin") == bool(drawn_on)


@pytest.mark.parametrize("lld", LLDS)
def test_tokens_come_back_from_lld(lld: str, bench: Bench, tmp_path: Path) -> None:
    """Lld cannot return a token; somebody does, the very bytes, at once, for a pipe and a fifo (C14 C15)."""
    case = Case(lld, "thin", "relocatable", "no-make")
    for style in ("pipe", "fifo"):
        log, out = tmp_path / style, tmp_path / f"{style}.o"
        with Pool(b"\x00b\xffdef", style) as pool:
            env = bench.environment(case, MAKEFLAGS=pool.makeflags, **{**bench.threads.environment(log), "LDSHIM_CPUS": "8"})
            subprocess.run(bench.command(case, out), env=env, pass_fds=pool.pass_fds, check=True)
        assert bench.bare(case, 7)[0] == started(log)


@pytest.mark.parametrize("lld", LLDS)
def test_explicit_numbers_only_shrink(lld: str, bench: Bench, tmp_path: Path) -> None:
    """--thinlto-jobs=2 beside three free tokens stays 2; --threads=6 becomes 4; both take only what they use (C9)."""
    case = Case(lld, "thin", "relocatable", "no-make")
    for told, number in (("--thinlto-jobs=2", 2), ("--threads=6", 4)):
        log, threads, out = (tmp_path / f"{name}{number}" for name in ("log", "threads", "out"))
        with Pool(b"abc") as pool:
            env = bench.environment(case, MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(log), **bench.threads.environment(threads))
            subprocess.run([*bench.command(case, out), told], env=env, pass_fds=pool.pass_fds, check=True)
        assert number == handed_over(log)[0]["granted"]
        assert bench.bare(case, number)[0] == started(threads)


@pytest.mark.parametrize("lld", LLDS)
def test_the_count_tells_one_number_from_the_next(lld: str, bench: Bench) -> None:
    """A bare ThinLTO link told N starts a different number of threads for each N: so the comparison can see ldshim wrong."""
    case = Case(lld, "thin", "relocatable", "no-make")
    counts = [bench.bare(case, number)[0] for number in (1, 2, 4, 5)]
    assert sorted(set(counts)) == counts
