"""Hazard: hundreds of links of a configure script, each of which pays for Python, a slot and a warden; or a real link taken for one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldshim.command import probes
from tests.support import packages, tools
from tests.support.launchers import launcher, script

if TYPE_CHECKING:
    from tests.support.shim import Shim

SHELLS = [("dash",), ("bash", "--posix")]
# As they came to a gcc and an ld that wrote them down: autoconf 2.71, libtool 2.4.7, CMake 3.25, Meson 1.0.1, Linux 5.15.
DRIVER_LINKS = [
    ("-o conftest -O2 -flto=auto conftest.c -lm", "autoconf"),
    ("-O2 -flto=auto conftest.c -lm", "autoconf"),
    ("-o conftest -g -O2 -D_GNU_SOURCE -I . -L /usr/local/lib -Wl,-z,relro -Xlinker --as-needed conftest.cpp -lfoo", "autoconf"),
    ("-shared -fPIC -DPIC conftest.o -v -Wl,-soname -Wl,conftest -o conftest", "autoconf"),
    ("-flto=auto CMakeCCompilerId.c", "CMake"),
    ("-flto=auto CMakeFiles/cmTC_c41d5.dir/own.c.o -o cmTC_c41d5", "CMake"),
    ("-v CMakeFiles/cmTC_1e987.dir/CMakeCXXCompilerABI.cpp.o -o cmTC_1e987", "CMake"),
    ("CMakeFiles/cmTC_1e987.dir/src.c.o -o cmTC_1e987 /usr/lib/libssl.so /usr/lib/libz.so.1.2.13 -ldl", "CMake"),
    ("sanitycheckc.c -o sanitycheckc.exe -D_FILE_OFFSET_BITS=64", "Meson"),
    ("sanitycheckcpp.cc -o sanitycheckcpp.exe", "Meson"),
    (
        "/b/meson-private/tmp4c7w6hx_/testfile.c -o /b/meson-private/tmp4c7w6hx_/output.exe -O0 -Wl,--start-group -lm -Wl,--end-group",
        "Meson",
    ),
    ("-Werror -x c - -o /dev/null", "kbuild"),
    ("-Wl,--hash-style=both -nostdlib -x c /dev/null -o .tmp_123/tmp", "kbuild"),
    ("-m64 /t/___.7rcbfp3g-cgu.0.rcgu.o -o /t/___", "cargo"),
]
LINKER_LINKS = [
    ("-plugin /g/liblto_plugin.so -plugin-opt=-pass-through=-lc -o conftest /l/Scrt1.o -L/g /tmp/ccSUOtqF.o -lm /l/crtn.o", "autoconf"),
    ("-m elf_x86_64 -o conftest /l/crt1.o /l/crti.o /g/crtbegin.o -L /g /tmp/conftest-1a2b3c.o -lc /g/crtend.o /l/crtn.o", "autoconf"),
    ("-r -o conftest conftest.o", "autoconf"),
    ("-o cmTC_c41d5 /l/Scrt1.o CMakeFiles/cmTC_c41d5.dir/own.c.o -lc", "CMake"),
    ("-o /b/meson-private/tmp4c7w6hx_/output.exe /l/Scrt1.o /tmp/ccSUOtqF.o", "Meson"),
]
REAL_LINKS = [  # each a word away from one of those
    "-flto=auto conftest.o a.o -o conftest",
    "-flto=auto a.o -o conftest",
    "-flto=auto conftest.o libbig.a -o conftest",
    "-flto=auto conftest.o @more -o conftest",
    "-flto=auto conftest.c -o prog",
    "-flto=auto conftest.c -o conftest -o prog",
    "-flto=auto conftest.c -oprog",
    "-flto=auto conftest.c --output prog",
    "-flto=auto -o conftest -- conftest.c",
    "-flto=auto conftest-tool.c -o conftest-tool",
    "-flto=auto myconftest.c -o conftest",
    "-flto=auto sub/conftest.c -o conftest",
    "-flto=auto a.c -o cmTC_c41d5",
    "-flto=auto CMakeFiles/prog.dir/a.c.o -o prog",
    "-flto=auto testfile.c -o output.exe",
    "-flto=auto testfile.c",
    "-flto=auto sanitycheck.o a.o -o sanitycheck.exe",
    "-flto=auto -x c - -o prog",
    "-flto=auto -x c -",
    "-flto=auto -x c /dev/null a.o -o prog",
    "-flto=auto -x c /dev/null conftest.c -o prog",
    "-flto=auto a.o -o /dev/null",
    "-flto=auto a.c b.c",
    "-flto=auto -lm -o prog",
    "-flto=auto -Wl,--version a.o",
    "-flto=auto -Wl,-v -o prog a.o",
    "",
    "-flto=auto conftest.c -o conftest" + " -lx" * 100,
]


def configure(line: str, directory: str = "/src", *, is_driver: bool = True) -> str:
    """Ask Python's side who asks by a link."""
    return probes.configure(line.encode().split(), directory.encode(), is_driver=is_driver)


@pytest.mark.parametrize(("line", "maker"), DRIVER_LINKS)
def test_a_driver_s_link_that_only_asks_is_known(line: str, maker: str) -> None:
    """C5: each recorded probe is known by its maker's names."""
    assert maker == configure(line)


@pytest.mark.parametrize(("line", "maker"), LINKER_LINKS)
def test_a_linker_s_link_that_only_asks_is_known(line: str, maker: str) -> None:
    """C5: what a driver makes of a probe is one to the linker below it, too."""
    assert maker == configure(line, is_driver=False)


@pytest.mark.parametrize("line", REAL_LINKS)
def test_a_link_that_somebody_wants_is_none(line: str) -> None:
    """A name on one side only, or one input more: it may be a program, and a large one, that is linked in parallel."""
    assert "" == configure(line)
    assert "" == configure(line, is_driver=False)


@pytest.mark.parametrize(
    ("directory", "maker"),
    [
        ("/b/CMakeFiles/CMakeTmp", "CMake"),
        ("/b/CMakeFiles/CMakeScratch/TryCompile-uU9S0u", "CMake"),
        ("/b/CMakeFiles/_CMakeLTOTest-C/bin", "CMake"),
        ("/b/CMakeFiles", ""),
        ("/b/CMakeTmp", ""),
        ("", ""),
    ],
)
def test_a_project_of_try_compile_is_known_by_its_place(directory: str, maker: str) -> None:
    """C5: the project that CMake tries has names of its own, but is built where nothing else is."""
    assert maker == configure("-flto=auto CMakeFiles/boo.dir/main.c.o -o boo libfoo.a", directory)


PIECES = b"""-o conftest conftest.c conftest.exe cmTC_12345 libcmTC_12345.so CMakeFiles/cmTC_12345.dir/a.c.o - /dev/null a.o -flto -lm -L -x
    c -- @f -oprog --output libz.so libz.so.1 libbig.a sanitycheckc.c sanitycheckc.exe /m/meson-private/tmpx/testfile.c /l/Scrt1.o
    /tmp/ccABCDEF.o /b/meson-private/tmpx/output.exe CMakeCCompilerId.c ___ -Xlinker -z -T -Wl,--version -Wl,-v""".split()
PIECES += [b"", b"a b", b"-Wa:-b", b"*", b"conftest", b"-o", b"conftest.c"]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide launchers for a driver and a linker whose tool and interpreter only say which of them it was."""
    root = tmp_path_factory.mktemp("configure")
    tool, python = script(root / "tool", "echo straight"), script(root / "blank in name" / "python", "echo python")
    for name in ("gcc", "ld"):
        launcher(root / "farm", name, tool, python)
    return root


@pytest.mark.parametrize("name", ["gcc", "ld"])
@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_both_sides_agree_on_what_only_asks(place: Path, shell: tuple[str, ...], name: str) -> None:
    """C5, C22: what goes straight from the shell is what Python lets through, word for word."""
    run = [os.fsencode(word) for word in (tools.need(shell[0]), *shell[1:], str(place / "farm" / name))]
    known = probes.driver if name == "gcc" else probes.linker

    @settings(max_examples=250, deadline=None, derandomize=True, database=None)
    @given(st.lists(st.sampled_from(PIECES), max_size=7))
    def agree(args: list[bytes]) -> None:
        said = subprocess.run([*run, *args], env={"PATH": "/nonexistent"}, cwd="/", stdout=subprocess.PIPE, check=True).stdout
        expected = known(args) or probes.configure(args, b"/", is_driver=name == "gcc")
        assert (b"straight\n" if expected else b"python\n") == said

    agree()


@pytest.mark.parametrize("line", [line for line, _ in DRIVER_LINKS])
def test_every_recorded_probe_goes_straight_from_the_shell(place: Path, line: str) -> None:
    """C22: no Python for any of them."""
    command = [str(place / "farm" / "gcc"), *line.split()]
    assert b"straight\n" == subprocess.run(command, env={"PATH": "/nonexistent"}, cwd="/", stdout=subprocess.PIPE, check=True).stdout


def test_a_try_compile_goes_straight_from_the_shell(place: Path, tmp_path: Path) -> None:
    """C22: the shell knows the place, too."""
    inside = tmp_path / "CMakeFiles" / "CMakeScratch" / "TryCompile-uU9S0u"
    inside.mkdir(parents=True)
    for directory, expected in ((inside, b"straight\n"), (tmp_path, b"python\n")):
        command = [str(place / "farm" / "gcc"), "a.o", "-o", "boo"]
        assert expected == subprocess.run(command, env={"PATH": ""}, cwd=directory, stdout=subprocess.PIPE, check=True).stdout


CONFIGURE_AC = """AC_INIT([p], [1])
AC_PROG_CC
AC_CHECK_FUNCS([printf nosuchfunction])
AC_CHECK_LIB([m], [sin])
AC_C_BIGENDIAN
AC_CHECK_SIZEOF([long])
AC_OUTPUT
"""
CMAKE = """cmake_minimum_required(VERSION 3.16)
project(p C)
include(CheckIPOSupported)
include(CheckSymbolExists)
include(CheckCSourceRuns)
check_ipo_supported(LANGUAGES C)
check_symbol_exists(printf stdio.h WORKS)
check_c_source_runs("int main(void) { return 0; }" RUNS)
try_compile(ALONE ${CMAKE_BINARY_DIR}/own ${CMAKE_SOURCE_DIR}/own.c)
"""
MESON = """project('p', 'c')
cc = meson.get_compiler('c')
cc.links('int main(void) { return 0; }')
cc.run('int main(void) { return 0; }')
cc.find_library('m')
"""
SCRIPTS = {
    "autoconf": (["autoconf"], "configure.ac", CONFIGURE_AC, "autoconf && ./configure CC=gcc CFLAGS='-O2 -flto=auto'"),
    "cmake": (
        ["cmake", "make"],
        "CMakeLists.txt",
        CMAKE,
        "CC=gcc CFLAGS=-flto=auto cmake -G 'Unix Makefiles' -S . -B build",
    ),
    "meson": (["meson", "ninja"], "meson.build", MESON, "CC=gcc meson setup -Db_lto=true build"),
}


@pytest.mark.parametrize("way", ["farm", "links", "B"])
@pytest.mark.parametrize("maker", SCRIPTS)
def test_no_link_of_a_configure_script_takes_or_logs_anything(maker: str, way: str, shim: Shim, tmp_path: Path) -> None:
    """C5: behind a farm, behind symbolic links, and where only ld is ldshim's, configuring leaves no line in the log, and works.

    But for what has no name for a linker: the driver's temporary object, linked to a.out.
    """
    needed, name, text, command = SCRIPTS[maker]
    for program in (*needed, "gcc"):
        tools.need(program)
    tools.need_c_library()
    project = tmp_path / "project"
    project.mkdir()
    (project / name).write_text(text)
    (project / "own.c").write_text("int main(void) { return 0; }\n")
    if way == "farm":
        first = packages.link_farm(shim, tmp_path / "first", "gcc", "ld")
    else:
        first = shim.only(tmp_path / "first", *(["gcc", "ld"] if way == "links" else ["ld"]))
    if way == "B":
        script(tmp_path / "gcc", f'exec {shutil.which("gcc")} -B{first} "$@"')
        first = tmp_path
    log = tmp_path / "log"
    env = shim.environment(PATH=f"{first}:{os.defpath}", LDSHIM_LOG=str(log))
    done = subprocess.run(["sh", "-euc", command], cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert 0 == done.returncode, done.stdout.decode()
    links = [json.loads(line)["argv"] for line in (log.read_text().splitlines() if log.exists() else [])]
    assert [] == [argv for argv in links if way != "B" or "-o" in argv]
