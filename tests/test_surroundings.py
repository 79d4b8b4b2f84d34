"""Where something that every machine has is missing or wrong, each call does what the bare tool does there; alone and in pairs (C1)."""

from __future__ import annotations

import itertools
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests import surroundings, tools
from tests.pool import Pool
from tests.program import sha256

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shim import Shim

pytestmark = pytest.mark.matrix

GCC, LLD = "gcc-12", "ld.lld-16"
FORMS = ("prefix", "symlink", "farm")
SOURCES = {
    "main": "int first(int); int second(int); int main(int count, char **words) { (void)words; return first(count) + second(count) - 5; }",
    "first": "int first(int x) { return 2 * x; }",
    "second": "int second(int x) { return x + 2; }",
}
PARTITIONS = ("--param=lto-partitions=3", "--param=lto-min-partition=1")


# One of each kind: what is refused with another error, or moves otherwise, is tried alone.
KINDS = [name for name in surroundings.NAMES if name not in ("no-dev-pts", "flock-unknown", "pidfd-refused", "frozen-times")]
PAIRS = list(itertools.combinations(KINDS, 2))


class Bench:
    """A few calls, in every form. place: where their inputs are; calls: name of the call -> (tool, arguments); each writes {out}."""

    def __init__(self, shim: Shim, place: Path) -> None:
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

    def run(self, name: str, form: str, names: tuple[str, ...], pool: Pool | None = None, **more: str) -> tuple[int, bytes, bytes, str]:
        """Make a call in those surroundings: status, stdout, stderr, and the bytes written, hashed."""
        tool, args = self.calls[name]
        out = self.place / "out"
        out.unlink(missing_ok=True)
        env = self.shim.environment(LC_ALL="C", **more)
        if pool is not None:
            env["MAKEFLAGS"] = pool.makeflags
        line = [*surroundings.command(names, self.preload), *self.through(form, tool), *(word.format(out=out) for word in args)]
        done = subprocess.run(line, env=env, capture_output=True, check=False, timeout=60, pass_fds=pool.pass_fds if pool else ())
        return done.returncode, done.stdout, _comparable(done.stderr), sha256(out) if out.exists() else ""


def _comparable(stderr: bytes) -> bytes:
    """Take out what two bare calls differ in, and what a shell says of a removed directory before it reads its script (doc/caveats.md)."""
    said = re.sub(rb"/cc[A-Za-z0-9]{6}|modification time [0-9.e+]+ s", b"", stderr)
    return said.replace(b"sh: 0: getcwd() failed: No such file or directory\n", b"")


@pytest.fixture(scope="module")
def bench(shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Provide the calls and their inputs."""
    tools.need(GCC)
    tools.need(LLD)
    return Bench(shim, tmp_path_factory.mktemp("bench"))


def given(names: tuple[str, ...]) -> None:
    """Skip, by name, what this machine cannot give."""
    for lacking in filter(None, map(surroundings.obstacle, names)):
        tools.missing(lacking)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", surroundings.NAMES)
def test_alone(name: str, form: str, bench: Bench) -> None:
    """C1, C14: status, stdout, stderr and output are the bare tool's, with a jobserver of either kind, and every token is back."""
    given((name,))
    for call in bench.calls:
        expected = bench.run(call, "bare", (name,))
        for style in ("pipe", "fifo"):
            with Pool(style=style) as pool:
                assert (call, style, expected) == (call, style, bench.run(call, form, (name,), pool))
        assert (call, "slots", expected) == (call, "slots", bench.run(call, form, (name,)))


@pytest.mark.parametrize("names", PAIRS, ids="+".join)
def test_in_pairs(names: tuple[str, str], bench: Bench) -> None:
    """C1, C14: the same of every two at once; which form and which source of threads goes round."""
    given(names)
    turn = surroundings.NAMES.index(names[0]) + surroundings.NAMES.index(names[1])
    for number, call in enumerate(bench.calls, turn):
        expected = bench.run(call, "bare", names)
        form = FORMS[number % len(FORMS)]
        with Pool(style=("pipe", "fifo")[number % 2]) as pool:
            found = bench.run(call, form, names, pool if number % 5 else None)
        assert (call, form, expected) == (call, form, found)
