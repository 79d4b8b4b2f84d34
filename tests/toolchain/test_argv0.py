"""Hazard: a tool that sees another argv[0] than in the bare call, and prints it, or looks for its own files by it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import tools
from tests.support.program import PARTITIONS, Program, bare_environment, sha256

if TYPE_CHECKING:
    from tests.support.shim import Shim

GCC = "gcc-12"
WAYS = ["prefix", "symlink", "farm", "another farm's path", "prefix with a path"]


def first(name: str) -> str:
    """Give the path to which a name leads on the PATH of these tests; /bin may stand there before /usr/bin."""
    tools.need(name)
    return shutil.which(name, path=os.defpath) or tools.missing(name)


class Way:
    """One way to call a tool that PATH leads to. front: words in front of the arguments; env: the environment; bare: what is typed bare."""

    def __init__(self, how: str, name: str, shim: Shim, place: Path) -> None:
        self.env = shim.environment(PATH=os.defpath)
        self.bare = name
        if how == "prefix":
            self.front = [shim.command, name]
            return
        if how == "prefix with a path":
            self.bare = first(name)
            self.front = [shim.command, self.bare]
            return
        ours = place / "ours"
        if how == "symlink":
            shim.only(ours, name)
        else:
            subprocess.run([shim.command, "link-farm", str(ours), name], env=self.env, stdout=subprocess.DEVNULL, check=True)
        if how == "another farm's path":
            self.bare = first(name)
            self.front = [str(ours / name)]
            return
        self.front = [name]
        self.env["PATH"] = f"{ours}{os.pathsep}{os.defpath}"

    def both(self, *args: str, place: Path) -> list[tuple[int, bytes, bytes]]:
        """Run bare and through ldshim, each found by execvp as make does it: status, stdout, stderr."""
        out = []
        for command, env in (([self.bare, *args], bare_environment(PATH=os.defpath)), ([*self.front, *args], self.env)):
            # By env, which searches the PATH that it sets.
            line = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in env.items()), *command]
            done = subprocess.run(line, cwd=place, capture_output=True, check=False)
            out.append((done.returncode, done.stdout, done.stderr))
        return out


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", ["ld.bfd", "ld.gold", "ld.lld-16", "mold", GCC, "clang-16", "c99"])
@pytest.mark.parametrize("line", [["no-such.o"], ["--help"]], ids=["a failing link", "--help"])
def test_messages_begin_as_the_bare_tools_do(name: str, line: list[str], how: str, shim: Shim, tmp_path: Path) -> None:
    """C3 C6: a failing link's stderr and --help's stdout are the bare call's to the byte, however the tool was reached."""
    tools.need(name)
    bare, ours = Way(how, name, shim, tmp_path).both(*line, place=tmp_path)
    assert bare == ours


@pytest.mark.parametrize("how", ["prefix", "symlink", "prefix with a path"])
def test_gcc_v_names_gcc_as_it_was_called(how: str, shim: Shim, tmp_path: Path) -> None:
    """C6: COLLECT_GCC= in `gcc -v` is what was typed; but for a compiler's launcher, which is a shell script and execs by path."""
    tools.need(GCC)
    bare, ours = Way(how, GCC, shim, tmp_path).both("-v", place=tmp_path)
    assert bare == ours


@pytest.mark.parametrize("how", WAYS)
def test_an_lto_link_by_name_finds_its_own_compiler(how: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C4 C6: lto-wrapper runs COLLECT_GCC, a bare name, through PATH: no inner compile comes back to ldshim, and the bytes are the same."""
    objects = program.objects(tools.need(GCC), "-O1", "-flto")
    way = Way(how, GCC, shim, tmp_path)
    way.env.update(LDSHIM_JOBS="2", LDSHIM_LOG=str(tmp_path / "log"))
    line = ["-O1", "-flto=2", *PARTITIONS, *objects, "-o", "out"]
    digests = []
    for command, env in (([tools.need(GCC)], bare_environment()), (way.front, way.env)):
        subprocess.run(["/usr/bin/env", *(f"{name}={value}" for name, value in env.items()), *command, *line], cwd=tmp_path, check=True)
        digests.append(sha256(tmp_path / "out"))
    assert digests[0] == digests[1]
    assert 1 == (tmp_path / "log").read_text().count('"handover"')


@pytest.mark.parametrize("kind", ["mixed", "pure"])
def test_a_name_that_leads_back_to_us_is_not_argv0(kind: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C6: from a directory that stays on PATH, gcc is called by its path: by name its inner compiles would come to ldshim each."""
    objects = program.objects(tools.need(GCC), "-O1", "-flto")
    ours = shim.only(tmp_path / "ours", GCC)
    if kind == "mixed":
        (ours / "another-tool").symlink_to("/bin/true")
    env = shim.environment(PATH=f"{ours}:{os.defpath}", LDSHIM_JOBS="2")
    line = [str(ours / GCC), "-v", "-O1", "-flto=2", *PARTITIONS, *objects, "-o", "out"]
    said = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, check=True).stderr
    named = {word for word in said.split() if word.startswith(b"COLLECT_GCC=")}
    assert {b"COLLECT_GCC=" + (os.fsencode(first(GCC)) if kind == "mixed" else GCC.encode())} == named


def test_lld_by_name_keeps_its_flavor(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C6: lld reads its flavor from argv[0]: ld.lld by name, by path, and a pinned `lld` all link as ld.lld does."""
    thin = program.objects(tools.clang_of("ld.lld-16"), "-O1", "-fPIC", "-flto=thin")
    env = shim.environment(PATH=os.defpath, LDSHIM_JOBS="1")
    lld = str(Path(tools.need("ld.lld-16")).resolve())
    digests = set()
    for front, more in (
        ([tools.need("ld.lld-16")], {}),
        ([shim.command, "ld.lld-16"], {}),
        ([shim.command, "ld.lld"], {"LDSHIM_REAL_LD_LLD": lld}),
    ):
        subprocess.run([*front, "-r", *thin, "-o", "out"], cwd=tmp_path, env={**env, **more}, check=True)
        digests.add(sha256(tmp_path / "out"))
    assert 1 == len(digests)
