"""Where something that every machine has is missing or wrong, each call does what the bare tool does there (C1).

Which calls: alone, each of the seven in every one of the surroundings, in a form and with a source of threads such that every pair of
surroundings, call, form and source is there (rows.py); in pairs, both LTO links and one of the other calls in turn. LDSHIM_FULL=1 makes
every call, and alone in every form with every source.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import surroundings, tools
from tests.support.observe import LINGER, Gate
from tests.support.pool import Pool
from tests.support.program import PARTITIONS as LARGE
from tests.support.program import sha256
from tests.support.rows import FULL, rows
from tests.support.shim import handed_over
from tests.support.spin import Spinning

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

GCC, LLD = "gcc-12", "ld.lld-16"
FORMS = ("prefix", "symlink", "farm")
LTO = ("LTO link", "linker's LTO link")
OTHERS = ("probe", "compile", "plain link", "linker's probe", "linker's plain link")
CALLS = (*OTHERS, *LTO)
SOURCES = {
    "main": "int first(int); int second(int); int main(int count, char **words) { (void)words; return first(count) + second(count) - 5; }",
    "first": "int first(int x) { return 2 * x; }",
    "second": "int second(int x) { return x + 2; }",
}
PARTITIONS = ("--param=lto-partitions=3", "--param=lto-min-partition=1")


# One of each kind: what is refused with another error, or moves otherwise, is tried alone.
KINDS = [name for name in surroundings.NAMES if name not in ("no-dev-pts", "flock-unknown", "pidfd-refused", "frozen-times", "no-memfd")]
PAIRS = [*itertools.combinations(KINDS, 2), ("no-dev", "no-memfd")]


class Bench:
    """A few calls, in every form. place: where their inputs are; calls: name of the call -> (tool, arguments); each writes {out}."""

    def __init__(self, shim: Shim, place: Path) -> None:
        tools.need(GCC)
        tools.need(LLD)
        self.shim = shim
        self.place = place
        self.preload = surroundings.build_preload(place, tools.need_c_library())
        self.farm = place / "farm"
        env = shim.environment()
        subprocess.run([shim.command, "link-farm", str(self.farm), GCC, LLD], env=env, check=True, stdout=subprocess.DEVNULL)
        clang = tools.clang_of(LLD)
        for name, text in SOURCES.items():
            (place / f"{name}.c").write_text(text)
            for kind, call in (("plain", [GCC]), ("gcc", [GCC, "-flto", f"-frandom-seed={name}"]), ("thin", [clang, "-flto=thin"])):
                output = str(place / f"{kind}-{name}.o")
                subprocess.run([*call, "-O1", "-fPIC", "-c", str(place / f"{name}.c"), "-o", output], env=env, check=True)
        self.calls = {
            "probe": (GCC, ["--version"]),
            "compile": (GCC, ["-O1", "-c", str(place / "first.c"), "-o", "{out}"]),
            "plain link": (GCC, [*self._objects("plain"), "-o", "{out}"]),
            "LTO link": (GCC, ["-O1", "-flto=auto", *PARTITIONS, *self._objects("gcc"), "-o", "{out}"]),
            "linker's probe": (LLD, ["--version"]),
            "linker's plain link": (LLD, ["-shared", *self._objects("plain"), "-o", "{out}"]),
            "linker's LTO link": (LLD, ["-shared", *self._objects("thin"), "-o", "{out}"]),
        }

    def _objects(self, kind: str) -> list[str]:
        return [str(self.place / f"{kind}-{name}.o") for name in SOURCES]

    def through(self, form: str, tool: str) -> list[str]:
        """Spell how a tool is called in a form; "bare" is the tool itself."""
        if form == "prefix":
            return [self.shim.command, tool]
        return [{"bare": tools.need(tool), "symlink": self.shim.named(tool), "farm": str(self.farm / tool)}[form]]

    def run(
        self, name: str, form: str, where: tuple[str, ...] | list[str], pool: Pool | None = None, **more: str
    ) -> tuple[int, bytes, bytes, str]:
        """Make a call in surroundings, or behind words that make them: status, stdout, stderr, and the bytes written, hashed."""
        tool, args = self.calls[name]
        out = self.place / "out"
        out.unlink(missing_ok=True)
        env = {**self.shim.environment(LC_ALL="C"), **more}
        if pool is not None:
            env["MAKEFLAGS"] = pool.makeflags
        front = surroundings.command(where, self.preload) if isinstance(where, tuple) else where
        line = [*front, *self.through(form, tool), *(word.format(out=out) for word in args)]
        done = subprocess.run(line, env=env, capture_output=True, check=False, timeout=60, pass_fds=pool.pass_fds if pool else ())
        return done.returncode, done.stdout, _comparable(done.stderr), sha256(out) if out.exists() else ""


def _comparable(stderr: bytes) -> bytes:
    """Take out what two bare calls differ in, and what a shell says of a removed directory before it reads its script (doc/caveats.md)."""
    said = re.sub(rb"/cc[A-Za-z0-9]{6}|modification time [0-9.e+]+ s", b"", stderr)
    return said.replace(b"sh: 0: getcwd() failed: No such file or directory\n", b"")


@pytest.fixture(scope="module")
def bench(shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Provide the calls and their inputs."""
    return Bench(shim, tmp_path_factory.mktemp("bench"))


ALONE = rows(surroundings.NAMES, CALLS, FORMS, ("pipe", "fifo", "slots"))


@pytest.mark.parametrize("name", surroundings.NAMES)
def test_alone(name: str, bench: Bench) -> None:
    """C1, C14: status, stdout, stderr and output are the bare tool's, with a jobserver of either kind, and every token is back."""
    surroundings.need((name,))
    for call, form, style in [row[1:] for row in ALONE if row[0] == name]:
        expected = bench.run(call, "bare", (name,))
        if style == "slots":
            found = bench.run(call, form, (name,))
        else:
            with Pool(style=style) as pool:
                found = bench.run(call, form, (name,), pool)
        assert (call, form, style, expected) == (call, form, style, found)


@pytest.mark.parametrize("names", PAIRS, ids="+".join)
def test_in_pairs(names: tuple[str, str], bench: Bench) -> None:
    """C1, C14: the same of every two at once; which form and which source of threads goes round."""
    surroundings.need(names)
    turn = surroundings.NAMES.index(names[0]) + surroundings.NAMES.index(names[1])
    for number, call in enumerate(CALLS if FULL else (OTHERS[turn % len(OTHERS)], *LTO), turn):
        expected = bench.run(call, "bare", names)
        form = FORMS[number % len(FORMS)]
        with Pool(style=("pipe", "fifo")[number % 2]) as pool:
            found = bench.run(call, form, names, pool if number % 5 else None)
        assert (call, form, expected) == (call, form, found)


ELASTIC = [
    ("frozen-clock",), ("frozen-times",), ("jumping-clock",), ("no-children",), ("no-pidfd",), ("no-dev",), ("no-flock",), ("cwd-removed",),
    ("no-children", "frozen-clock"), ("no-children", "no-pidfd"), ("no-dev", "jumping-clock"),
]  # fmt: skip


@pytest.mark.parametrize("names", ELASTIC, ids="+".join)
def test_a_gcc_link_grows_by_a_token(names: tuple[str, ...], bench: Bench, program: Program, tmp_path: Path) -> None:
    """C14, C21: two LTRANS jobs run at once over one token, which the valve fetched; and the log tells how long it took."""
    surroundings.need(names)
    gate, log, out = Gate(tmp_path / "gate", tools.need(GCC)), tmp_path / "log", tmp_path / "out"
    line = [
        bench.shim.named(GCC),
        "-O1",
        "-flto=auto",
        gate.flag,
        *LARGE,
        *program.objects(tools.need(GCC), "-O1", "-flto"),
        "-o",
        str(out),
    ]
    began = time.monotonic()
    with Pool(b"\x07") as pool:
        env = bench.shim.environment(MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(log), LC_ALL="C")
        command = [*surroundings.command(names, bench.preload), *line]
        link = subprocess.Popen(command, env=env, pass_fds=pool.pass_fds, stderr=subprocess.DEVNULL)
        assert 0 == gate.watch(link, lambda: 2)
        gate.open()
    assert 2 == gate.peak()
    assert ["valve"] == [record["policy"] for record in handed_over(log)]
    end = json.loads(log.read_bytes().splitlines()[-1])
    assert ("end", 2, True) == (end["event"], end["peak"], LINGER < end["wall"] < 1 + time.monotonic() - began)


@pytest.mark.parametrize("name", ["frozen-clock", "jumping-clock", "no-children", "no-pidfd"])
def test_a_confined_link_stays_confined_and_grows_by_a_token(name: str, bench: Bench, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C14, C21: threads that compute on one CPU are no starved ones, whatever the clocks say; with the token they are on two."""
    surroundings.need((name,))
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    with Pool(b"\x07") as pool:
        elsewhere = pool.take(1)
        preload = {"LD_PRELOAD": f"{tmp_path}/link/spin.so:{bench.preload}", **surroundings.variables(name)}
        if name == "frozen-clock":
            preload["LD_PRELOAD"] = f"{tmp_path}/link/spin.so:{surroundings.faketime()}"
        link = Spinning(LLD, shim, program, tmp_path / "link", pool, None, XDG_RUNTIME_DIR=str(runtime), **preload)
        try:
            link.wait_for_width(1)
            settle_until = os.times().elapsed + 2.5
            while os.times().elapsed < settle_until:
                time.sleep(0.1)
                assert 1 == len(link.mask())
            pool.give(elsewhere)
            link.wait_for_width(2)
            assert 0 == link.finish()
        finally:
            link.close()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no-proc", "/proc is missing"), ("no-flock", "can be locked: No locks available"), ("flock-unknown", "can be locked: Function not"),
     ("few-descriptors", "descriptors are free")],
)  # fmt: skip
def test_what_is_missing_is_named(name: str, reason: str, bench: Bench) -> None:
    """C1: `ldshim explain` says what keeps a link from being helped, and the link runs as it was called or with all that it may use."""
    surroundings.need((name,))
    tool, args = bench.calls["LTO link"]
    line = [*surroundings.command((name,), bench.preload), bench.shim.command, "explain", "--", tool, *args]
    done = subprocess.run(line, env=bench.shim.environment(LC_ALL="C"), capture_output=True, check=True, timeout=60)
    assert reason in done.stdout.decode()
    assert b"" == done.stderr


def test_a_locked_book_of_memory_holds_nobody_up_under_a_clock_that_stands(bench: Bench, tmp_path: Path) -> None:
    """C17, C25: somebody who was stopped has the ledger's lock: the link goes on with one job, and ends."""
    surroundings.need(("frozen-clock",))
    runtime = tmp_path / "ldshim"
    runtime.mkdir(mode=0o700)
    expected = bench.run("linker's LTO link", "bare", ())
    with open(runtime / "memory", "w+b") as book:
        fcntl.flock(book, fcntl.LOCK_EX)
        assert expected == bench.run("linker's LTO link", "prefix", ("frozen-clock",), XDG_RUNTIME_DIR=str(tmp_path))


def test_a_pool_without_locks_says_why_and_serves_a_pipe(bench: Bench) -> None:
    """Where nothing can be locked no fifo of ours is safe: one line with what to do; `--style=pipe` needs no lock."""
    surroundings.need(("no-flock",))
    front = [*surroundings.command(("no-flock",), bench.preload), bench.shim.command, "pool", "-j", "2"]
    env = bench.shim.environment(LC_ALL="C")
    refused = subprocess.run([*front, "--", "true"], env=env, capture_output=True, check=False, timeout=60)
    assert (120, True, 1) == (refused.returncode, b"No locks available" in refused.stderr, refused.stderr.count(b"\n"))
    served = subprocess.run(
        [*front, "--style=pipe", "--", "sh", "-c", "echo $MAKEFLAGS"], env=env, capture_output=True, check=True, timeout=60
    )
    assert b"--jobserver-auth=" in served.stdout
