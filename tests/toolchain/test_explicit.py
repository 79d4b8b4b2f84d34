"""Explicit numbers: a ceiling that shrinks to what was granted and never grows, or a number that stays, being paid for or kept (C9).

With recording tools, the installed command and a real pool: what the tool is told, and how many tokens lie in the pool while it runs. The
decisions behind it are in the golden records; here is what they come to.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ldshim.call import prepaid
from tests.support import tools
from tests.support.pool import Pool
from tests.support.recorder import Recorder, banner

if TYPE_CHECKING:
    from tests.support.program import Program
    from tests.support.shim import Shim

TOKENS = b"ab"  # make -j3


class Bench:
    """Recorders for the three tools, and objects for them."""

    def __init__(self, shim: Shim, program: Program, place: Path) -> None:
        self.shim = shim
        self.tools = {
            "gcc": Recorder(place / "gcc", "gcc", banner(tools.GCC)),
            "ld.lld": Recorder(place / "lld", "ld.lld", banner(tools.LLD)),
            "ld.gold": Recorder(place / "gold", "ld.gold", banner("ld.gold")),
        }
        gcc = tools.need(tools.GCC)
        clang = [tools.clang_of(tools.LLD), "-O1", "-fPIC"]
        self.objects = {
            "slim": program.objects(gcc, "-O1", "-flto"),
            "recorded": program.objects(gcc, "-O1", "-flto=5"),
            "thin": program.objects(*clang, "-flto=thin"),
            "native": program.objects(gcc, "-O1"),
        }

    def link(
        self, tool: str, words: list[str], kind: str, pool: Pool | None = None, callers: tuple[str, ...] = (), **env: str
    ) -> dict[str, Any]:
        """Link objects of a kind with some words: what the tool saw. callers: programs, each of which runs the next."""
        recorder = self.tools[tool]
        pins = {f"LDSHIM_REAL_{name.upper().replace('.', '_')}": recorder.path for name, recorder in self.tools.items()}
        makeflags = {"MAKEFLAGS": pool.makeflags} if pool else {}
        command = [self.shim.named(tool), *words, *self.objects[kind], "-o", "out"]
        if callers:
            # The link's words go by a variable: they must not stand on the callers' own command lines.
            env["LINK"], text = " ".join(command), "$LINK; exit $?"
            for caller in reversed(callers[1:]):
                text = f"{caller} -c '{text}'; exit $?"
            command = [callers[0], "-c", text]
        return recorder.run(command, env=self.shim.environment(**pins, **makeflags, **env), pass_fds=pool.pass_fds if pool else ())


@pytest.fixture(scope="module")
def bench(shim: Shim, program: Program, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Compile the recorders and the objects."""
    return Bench(shim, program, tmp_path_factory.mktemp("explicit"))


def jobs(record: dict[str, Any]) -> list[str]:
    """List what the tool was told about jobs and threads, in order."""
    stems = ("-flto", "--threads", "--thinlto-jobs", "--thread-count", "-plugin-opt=jobs", "-j")
    words = [os.fsdecode(word) for word in record["argv"][1:]]
    gcc = record["argv"][0].endswith(b"gcc")
    makeflags = [os.fsdecode(entry[10:]) for entry in record["environ"] if gcc and entry.startswith(b"MAKEFLAGS=")]
    return [word for word in [*words, *(word for text in makeflags for word in text.split())] if word.startswith(stems)]


CEILINGS = [
    ("gcc", ["-flto=8"], "slim", ["-flto=3", "-j3"]),
    ("gcc", ["-flto=2"], "slim", ["-flto=2", "-j2"]),
    ("gcc", [], "recorded", ["-j3"]),
    ("ld.lld", ["--thinlto-jobs=8"], "thin", ["--thinlto-jobs=8", "--threads=3", "--thinlto-jobs=3"]),
    ("ld.lld", ["--threads=2"], "thin", ["--threads=2", "--threads=2", "--thinlto-jobs=2"]),
    ("ld.lld", ["--thinlto-jobs=all"], "thin", ["--thinlto-jobs=all", "--threads=3", "--thinlto-jobs=3"]),
    ("ld.lld", ["--thinlto-jobs=0"], "thin", ["--thinlto-jobs=0", "--threads=3", "--thinlto-jobs=3"]),
    ("ld.lld", ["--threads=9"], "native", ["--threads=9", "--threads=3"]),
    ("ld.gold", ["--threads", "--thread-count=9"], "native", ["--threads", "--thread-count=9", "--thread-count=3"]),
    (
        "ld.gold",
        ["--threads", "--thread-count=2", "--thread-count-middle=9"],
        "native",
        ["--threads", "--thread-count=2", "--thread-count-middle=9", "--thread-count=3", "--thread-count-middle=3"],
    ),
]


@pytest.mark.parametrize(
    ("tool", "words", "kind", "told"), CEILINGS, ids=lambda value: "-".join(value) if isinstance(value, list) else value
)
def test_a_number_is_a_ceiling(tool: str, words: list[str], kind: str, told: list[str], bench: Bench) -> None:
    """C9: below make -j3, eight become three and two stay two; `all` and `0` are no ceiling; plain links keep to make's -j."""
    with Pool(TOKENS) as pool:
        said = jobs(bench.link(tool, words, kind, pool, LDSHIM_ELASTIC="0", LDSHIM_CPUS="8"))
    assert told == said


KEPT = [
    ("gcc", ["-flto=8"], "slim", ["-flto=8", "-j8"]),
    ("gcc", [], "recorded", ["-j5"]),
    ("ld.lld", ["--thinlto-jobs=8"], "thin", ["--thinlto-jobs=8"]),
    ("ld.lld", ["--threads=9"], "native", ["--threads=9"]),
    ("ld.gold", ["--threads", "--thread-count=9"], "native", ["--threads", "--thread-count=9"]),
]


@pytest.mark.parametrize(("tool", "words", "kind", "told"), KEPT, ids=lambda value: "-".join(value) if isinstance(value, list) else value)
def test_a_kept_number_stays_and_takes_no_token(tool: str, words: list[str], kind: str, told: list[str], bench: Bench) -> None:
    """C9: with LDSHIM_EXPLICIT=keep the tool is told its own number, and no warden is left to hold anything."""
    with Pool(TOKENS) as pool:
        record = bench.link(tool, words, kind, pool, LDSHIM_EXPLICIT="keep")
    pipes = [number for number, what in record["fds"].items() if number > 100 and what[2].startswith(b"pipe:")]
    assert (told, 2 if tool == "gcc" else 0) == (jobs(record), len(pipes)), (
        "GCC's private jobserver is two ends; a warden would be one more"
    )


REFUSED = [
    ["--threads=0"],
    ["--threads=x"],
    ["--threads=-1"],
    ["--threads=08"],
    ["--thinlto-jobs=jobserver"],
    ["--thinlto-jobs=-2"],
    ["--threads="],
]


@pytest.mark.parametrize("words", REFUSED, ids="-".join)
def test_what_lld_refuses_it_still_refuses(words: list[str], bench: Bench, shim: Shim, tmp_path: Path) -> None:
    """C1 C9: an invalid number gets the real lld's own message and status; a number of ours behind it would have hidden it."""
    line = ["-r", *words, *bench.objects["thin"], "-o", str(tmp_path / "out")]
    real = tools.need(tools.LLD)
    bare = subprocess.run([real, *line], capture_output=True, check=False)
    with Pool(TOKENS) as pool:
        env = shim.environment(MAKEFLAGS=pool.makeflags)
        ours = subprocess.run([shim.named(tools.LLD), *line], env=env, pass_fds=pool.pass_fds, capture_output=True, check=False)
    assert bare.returncode != 0
    assert (bare.returncode, bare.stdout, bare.stderr) == (ours.returncode, ours.stdout, ours.stderr)


def payer_program(place: Path, name: str) -> str:
    """Make a program of that name by its /proc/PID/exe, that runs its arguments as a child: a copy of a shell."""
    path = place / name
    path.write_bytes(Path("/bin/dash").read_bytes())
    path.chmod(0o755)
    return str(path)


PAID = [
    ("rustc", "ld.lld", ["--threads=8"], "thin", True),
    ("rustc sh", "ld.lld", ["--threads=8"], "thin", True),
    ("rustc gcc", "ld.lld", ["--threads=8"], "thin", True),
    ("rustc ninja", "ld.lld", ["--threads=8"], "thin", False),
    ("rustc", "ld.lld", ["--thinlto-jobs=8"], "thin", False),
    ("rustc", "gcc", ["-flto=8"], "slim", False),
    ("b", "gcc", ["-flto=8"], "slim", True),
    ("b sh", "ld.lld", ["--thinlto-jobs=8"], "thin", True),
    ("b", "gcc", [], "recorded", False),
    ("ninja", "gcc", ["-flto=8"], "slim", False),
]


@pytest.mark.parametrize(("callers", "tool", "words", "kind", "paid_for"), PAID)
def test_a_caller_that_has_paid(callers: str, tool: str, words: list[str], kind: str, paid_for: bool, bench: Bench, tmp_path: Path) -> None:
    """C9: below rustc (for --threads) or build2 the number stays and no token is taken; a shell or a driver between changes nothing."""
    with Pool(TOKENS) as pool:
        programs = tuple(payer_program(tmp_path, name) for name in callers.split())
        said = jobs(bench.link(tool, words, kind, pool, callers=programs, LDSHIM_ELASTIC="0", LDSHIM_CPUS="8"))
    last = {word.partition("=")[0]: word for word in said}
    stem = words[0].partition("=")[0] if words else "-j3"
    assert (f"{stem}={8 if paid_for else 3}" if words else "-j3") == last[stem]


def test_a_number_on_the_payers_own_line_is_a_persons(tmp_path: Path) -> None:
    """C9: `rustc -Clink-arg=-Wl,--threads=8` has not paid for what its user wrote."""
    ask = f"import sys; sys.path[:0] = {sys.path!r}; from ldshim.call import prepaid; print(prepaid.payer(['threads']))"
    rustc = payer_program(tmp_path, "rustc")
    for arguments, expected in ([["x"], "rustc"], [["x", "-Clink-arg=-Wl,--threads=8"], ""]):
        command = [rustc, "-c", f'{sys.executable} -c "$ASK"; exit $?', *arguments]
        said = subprocess.run(command, env={"ASK": ask}, stdout=subprocess.PIPE, check=True).stdout.decode()
        assert expected == said.strip()


def test_nobody_has_paid_here() -> None:
    """C9: a test run is no build system that pays."""
    assert prepaid.payer(["flto"]) == ""
