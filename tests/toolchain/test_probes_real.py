"""Probe calls give what the bare tool gives: stdout, stderr and status, for every installed compiler and linker; and real detections.

Configure scripts, kbuild, CMake and Meson decide from these answers what a compiler is. A word of ours on stdout, or a different usage
message, is another compiler to them.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import tools
from tests.support.program import bare_environment

if TYPE_CHECKING:
    from tests.support.shim import Shim

DRIVERS = ["gcc", "g++", "cc", "c++", *tools.gccs(), *map(tools.clang_named, tools.llds())]
LINKERS = ["ld", "ld.bfd", "ld.gold", "ld.mold", "mold", *tools.llds()]
PROBES = [
    ["--version"], ["-v"], ["-V"], ["--help"], ["-dumpversion"], ["-dumpmachine"], ["-print-prog-name=ld"], ["-print-search-dirs"],
    ["-###"], [], ["--no-such-option"], ["-E", "-P", "-x", "c", os.devnull], ["--verbose"], ["-Wl,--version"], ["-v", "-E", os.devnull],
    ["-version"], ["-qversion"], ["--print-supported-emulations"], ["-dM", "-E", "-xc", os.devnull], ["a\nb", "", "no such file"],
]  # fmt: skip


CMAKE = """
cmake_minimum_required(VERSION 3.16)
project(p C)
include(CheckIPOSupported)
check_ipo_supported(RESULT ipo OUTPUT why LANGUAGES C)
include(CheckCSourceCompiles)
check_c_source_compiles("int main(void) { return 0; }" WORKS)
add_executable(p p.c)
foreach(v CMAKE_C_COMPILER_ID CMAKE_C_COMPILER_VERSION CMAKE_C_IMPLICIT_LINK_DIRECTORIES CMAKE_C_IMPLICIT_LINK_LIBRARIES
        CMAKE_C_IMPLICIT_INCLUDE_DIRECTORIES CMAKE_C_ABI_COMPILED CMAKE_C_COMPILER_ABI ipo WORKS)
  message(STATUS "ANSWER ${v}=${${v}}")
endforeach()
"""
MESON = """
project('p', 'c')
cc = meson.get_compiler('c')
message('ANSWER', cc.get_id(), cc.version(), cc.get_linker_id(), cc.get_define('__VERSION__'))
message('ANSWER', cc.has_link_argument('-Wl,--no-such-option'), cc.has_argument('-mno-such'), cc.links('int main(void) { return 0; }'))
executable('p', 'p.c')
"""


def says(command: list[str], env: dict[str, str], place: Path) -> tuple[int, bytes, bytes]:
    """Run a probe: status, stdout, stderr, without the names of the tool's own temporary files, which differ between two bare runs."""
    env = {**env, "TMPDIR": str(place), "LC_ALL": "C"}
    done = subprocess.run(command, env=env, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    return done.returncode, steady(done.stdout), steady(done.stderr)


def steady(text: bytes) -> bytes:
    """Cut out /tmp names like cc4jYIPi.res and a process's own pid."""
    return b"\n".join(line for line in text.split(b"\n") if b"/cc" not in line)


@pytest.mark.parametrize("tool", dict.fromkeys([*DRIVERS, *LINKERS]))
def test_a_probe_gets_the_bare_answer(tool: str, shim: Shim, tmp_path: Path) -> None:
    """C5: every probe of every installed tool: the same status, stdout and stderr, to the byte."""
    real = tools.need(tool)
    env = shim.environment()
    differing = []
    for probe in PROBES:
        bare, ours = (says([command, *probe], env, tmp_path) for command in (real, shim.named(tool)))
        if bare != ours:
            differing.append((probe, bare, ours))
    assert [] == differing


def test_there_is_a_link_for_every_tool(shim: Shim) -> None:
    """The comparison above is one with ldshim: each name leads to it, and to nothing else."""
    assert [] == [tool for tool in {*DRIVERS, *LINKERS} if not os.path.samefile(shim.named(tool), shim.command)]


@pytest.mark.parametrize("probe", ["cc-version", "ld-version", "cc-option", "ld-option"])
@pytest.mark.parametrize("tool", [tools.GCC, tools.CLANG, "ld.bfd", tools.LLD])
def test_the_kernels_probes(probe: str, tool: str, shim: Shim, tmp_path: Path) -> None:
    """C5: the pipelines of the kernel's scripts/cc-version.sh, ld-version.sh and Makefile.compiler, by a shell."""
    scripts = {
        "cc-version": "printf '__GNUC__ __GNUC_MINOR__ __clang_major__\\n' | \"$T\" -E -P -x c - 2>&1 | tail -1",
        "ld-version": 'set -- $(LC_ALL=C "$T" --version | sed -n 1p); echo "$@"; while [ $# -gt 1 ]; do shift; done; echo "${1%%-*}"',
        "cc-option": 'for o in -fno-stack-protector -mno-such -Wall; do "$T" -Werror $o -c -x c /dev/null -o p.o 2>&1; echo $?; done',
        "ld-option": 'for o in "-z noexecstack" --no-such --build-id; do "$T" $o -v >/dev/null 2>&1; echo $?; done',
    }
    bare, ours = (
        says(["/bin/sh", "-c", scripts[probe]], {**shim.environment(), "T": command}, tmp_path)
        for command in (tools.need(tool), shim.named(tool))
    )
    assert bare == ours


def by_name(shim: Shim, first: Path | None, **more: str) -> dict[str, str]:
    """Make an environment in which `gcc`, `clang` and `ld` lead to ldshim, or to the bare tools."""
    env = shim.environment(**more) if first else bare_environment(**more)
    return {**env, "PATH": f"{first}{os.pathsep}{env['PATH']}"} if first else env


@pytest.mark.parametrize("compiler", [tools.GCC, tools.CLANG])
def test_cmake_detects_the_same_compiler(compiler: str, shim: Shim, tmp_path: Path) -> None:
    """C5: CMake configures and builds a project with the same answers: compiler, version, ABI, implicit directories, IPO, linker."""
    cmake = tools.need("cmake")
    tools.need(compiler)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE)
    (tmp_path / "p.c").write_text("int main(void) { return 0; }\n")
    said = []
    for first in (None, shim.links):
        build = tmp_path / ("ours" if first else "bare")
        env = by_name(shim, first)
        command = [cmake, "-G", "Unix Makefiles", f"-DCMAKE_C_COMPILER={compiler}", "-S", str(tmp_path), "-B", str(build)]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
        said.append([line for line in done.stdout.splitlines() if b"ANSWER" in line])
        subprocess.run([cmake, "--build", str(build)], env=env, stdout=subprocess.DEVNULL, check=True)
        assert (build / "p").exists()
    assert len(said[0]) == 9
    assert said[0] == said[1]


def meson() -> str:
    """Find meson: beside this interpreter, or on PATH."""
    own = os.path.join(sysconfig.get_path("scripts"), "meson")
    return own if os.access(own, os.X_OK) else tools.need("meson")


@pytest.mark.parametrize("compiler", [tools.GCC, tools.CLANG])
def test_meson_detects_the_same_compiler(compiler: str, shim: Shim, tmp_path: Path) -> None:
    """C5: Meson configures and builds a project with the same answers: compiler, version, linker, its version, LTO."""
    command = [meson(), "setup", "-Db_lto=true"]
    tools.need("ninja")
    tools.need(compiler)
    (tmp_path / "meson.build").write_text(MESON)
    (tmp_path / "p.c").write_text("int main(void) { return 0; }\n")
    said = []
    for first in (None, shim.links):
        build = tmp_path / ("ours" if first else "bare")
        env = by_name(shim, first, CC=compiler)
        done = subprocess.run([*command, str(tmp_path), str(build)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout
        said.append([line for line in done.stdout.splitlines() if b"ANSWER" in line or b"linker for" in line])
        subprocess.run(["ninja", "-C", str(build)], env=env, stdout=subprocess.DEVNULL, check=True)
    assert len(said[0]) == 3
    assert said[0] == said[1]


def test_autoconf_s_way_of_looking(shim: Shim, tmp_path: Path) -> None:
    """C5: what every configure script asks: does it link, what is the suffix, is it GNU, is stderr empty, does the result run."""
    tools.need_c_library(tools.GCC)
    (tmp_path / "conftest.c").write_text("int main(void) { return 0; }\n")
    for command in (tools.need(tools.GCC), shim.named(tools.GCC)):
        for line in (["-o", "conftest", "-g", "-O2", "-flto=auto", "conftest.c", "-lm"], ["-E", "conftest.c"], ["-c", "-g", "conftest.c"]):
            assert (0, b"") == says([command, *line], shim.environment(), tmp_path)[::2]
        assert subprocess.run([str(tmp_path / "conftest")], check=False).returncode == 0
        (tmp_path / "conftest").unlink()
