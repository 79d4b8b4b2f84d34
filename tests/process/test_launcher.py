"""Hazards of the shell launcher: forks, loops, pins, words that look like -c, and an interpreter that is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.launchers import Dump, build_dump, call, launcher, script
from tests.support.tools import need

PYTHON = getattr(sys, "_base_executable", sys.executable)
SHELLS = [("dash",), ("bash", "--posix"), *([("busybox", "sh")] if shutil.which("busybox") else [])]


@pytest.fixture(scope="session")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the tool that tells what it was given."""
    return build_dump(tmp_path_factory.mktemp("dump"))


@pytest.fixture
def gcc(tmp_path: Path, dump: Path) -> Path:
    """Provide a launcher whose tool is the dump, and whose interpreter is real."""
    return launcher(tmp_path / "farm", "gcc", dump, PYTHON)


@pytest.fixture
def no_python(tmp_path: Path, dump: Path) -> Path:
    """Provide a launcher whose interpreter only says that it was asked."""
    return launcher(tmp_path / "farm", "gcc", dump, script(tmp_path / "python", "echo asked python; exit 9"))


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    "line", ["-c x.c", "-O2 -E -", "x.c -S -o -", "-M x.c", "-fsyntax-only x.c", "--version", "-v", "", "-print-prog-name=ld",
             "-x c - -E", "-o -o -Wall -c", "-cc1 x", "-###  a.o", "-MF x.d -c x.c", "-target arm -Wall -E x.c", "-pipe -c x.c"],
)  # fmt: skip
def test_compiles_and_probes_go_straight(no_python: Path, shell: tuple[str, ...], line: str) -> None:
    """C22, C5: a call that certainly does not link execs the tool in the same process, without Python, its arguments unchanged."""
    words = [need(shell[0]), *shell[1:], str(no_python), *line.split()]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env={"PATH": "/usr/bin:/bin"}) as process:
        said = Dump(process.communicate()[0])
    assert (process.pid, line.encode().split()) == (said.pid, said.argv[1:])


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    "line", ["x.o -o x", "-o -c x.c", "-Xlinker -c x.o", "@words -c", "@words -o -c", "-- -c", "-Wl,-c x.o", "-x c -", "-MF -MD -MF -c",
             "-target -c x.o", "-wrapper -E x.c"],
)  # fmt: skip
def test_everything_doubtful_goes_to_python(no_python: Path, shell: tuple[str, ...], line: str) -> None:
    """C5: a -c that may be another option's value, or may stand behind one in a response file, is Python's to judge."""
    said = call(no_python, *line.split(), env={"PATH": "/usr/bin:/bin"}, shell=(need(shell[0]), *shell[1:]))
    assert (9, b"asked python\n") == (said.returncode, said.stdout)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("last", ["-c", "x.o"])
def test_words_survive(gcc: Path, dump: Path, shell: tuple[str, ...], last: str) -> None:
    """C2, C6: blanks, newlines, glob characters, empty words and bytes that are no UTF-8 arrive as they are; argv[0] is the tool's path."""
    odd = [b"", b"a b", b"nl\nx", b"\xff\xfe", b"*", b"?[a]", b"$HOME", b"back\\slash", b"\\", b"'q'", b'"', b"~", b"\x01\x81\x88", b"-W%s"]
    said = call(gcc, *odd, last, env={"PATH": "/usr/bin:/bin"}, shell=(need(shell[0]), *shell[1:]))
    assert [os.fsencode(dump), *odd, last.encode()] == Dump(said.stdout).argv


@pytest.mark.parametrize("last", ["-c", "x.o"])
def test_path_loses_directories_of_ours_and_no_other(tmp_path: Path, dump: Path, gcc: Path, last: str) -> None:
    """C6: marked directories that hold this name leave the child's PATH, from the shell as from Python; empty entries stay."""
    launcher(tmp_path / "second", "gcc", dump, PYTHON)
    launcher(tmp_path / "linkers", "ld", dump, PYTHON)
    (tmp_path / "tools").mkdir()
    path = f":{gcc.parent}:/usr/bin:{tmp_path}/second:{tmp_path}/linkers::{tmp_path}/tools:"
    said = Dump(call(gcc, last, env={"PATH": path}).stdout)
    assert os.fsencode(f":/usr/bin:{tmp_path}/linkers::{tmp_path}/tools:") == said.get(b"PATH")


@pytest.mark.parametrize("last", ["-c", "x.o"])
def test_a_pin_comes_before_what_is_baked(tmp_path: Path, gcc: Path, last: str) -> None:
    """C6: LDSHIM_REAL_GCC is what runs, from the shell as from Python."""
    pinned = script(tmp_path / "pinned", "echo pinned")
    assert b"pinned\n" == call(gcc, last, env={"PATH": "/usr/bin:/bin", "LDSHIM_REAL_GCC": str(pinned)}).stdout


@pytest.mark.parametrize("pin", ["/nonexistent/gcc", "farm/gcc", "{farm}/gcc"])
def test_a_bad_pin_costs_a_line_and_not_the_call(tmp_path: Path, dump: Path, gcc: Path, monkeypatch: pytest.MonkeyPatch, pin: str) -> None:
    """C6: a pin that is no file, or is ourselves, is named on stderr, also for a compile; the baked tool runs."""
    monkeypatch.chdir(tmp_path)
    said = call(gcc, "-c", env={"PATH": "/usr/bin:/bin", "LDSHIM_REAL_GCC": pin.format(farm=gcc.parent)})
    assert os.fsencode(dump) == Dump(said.stdout).argv[0]
    assert said.stderr.startswith(b"ldshim: LDSHIM_REAL_GCC: ")
    assert 1 == said.stderr.count(b"\n")


def test_disabled_needs_no_python(no_python: Path) -> None:
    """C1: LDSHIM_DISABLE=1 makes a link straight too; 0 does not."""
    assert [b"x.o"] == Dump(call(no_python, "x.o", env={"PATH": "/usr/bin", "LDSHIM_DISABLE": "1"}).stdout).argv[1:]
    assert b"asked python\n" == call(no_python, "x.o", env={"PATH": "/usr/bin", "LDSHIM_DISABLE": "0"}).stdout


@pytest.mark.parametrize("gone", ["interpreter", "package"])
@pytest.mark.parametrize("last", ["-c", "x.o"])
def test_without_interpreter_or_package_the_tool_runs(tmp_path: Path, dump: Path, gone: str, last: str) -> None:
    """C1: a launcher that has outlived Python or ldshim is the tool; a link says so in one line, a compile says nothing."""
    python, package = ("/nonexistent/python3", Path("/")) if gone == "interpreter" else (PYTHON, tmp_path / "nothing")
    path = launcher(tmp_path / "farm", "gcc", dump, python, package)
    said = call(path, last, env={"PATH": f"{path.parent}:/usr/bin"})
    assert (0, [os.fsencode(dump), last.encode()]) == (said.returncode, Dump(said.stdout).argv)
    assert b"/usr/bin" == Dump(said.stdout).get(b"PATH")
    assert (0 if last == "-c" else 1) == said.stderr.count(b"\n")


def test_a_package_that_cannot_be_imported_is_gone(tmp_path: Path, dump: Path) -> None:
    """C1: a broken package costs one line; the tool runs with the signal dispositions it would have had."""
    (tmp_path / "package" / "ldshim").mkdir(parents=True)
    for name in ("__init__.py", "entry.py"):
        (tmp_path / "package" / "ldshim" / name).write_text("from nowhere import nothing\n")
    for name in ("gcc", "ld"):
        said = call(launcher(tmp_path / "farm", name, dump, PYTHON, tmp_path / "package"), "x.o", env={"PATH": "/usr/bin"})
        told = Dump(said.stdout)
        assert ([os.fsencode(dump), b"x.o"], Dump(call(dump, env={}).stdout).ignored) == (told.argv, told.ignored)
        assert said.stderr.startswith(b"ldshim: %b: the package cannot be imported" % name.encode())


@pytest.mark.parametrize("last", ["-c", "x.o"])
@pytest.mark.parametrize("python", [PYTHON, "/nonexistent/python3"], ids=["python", "no python"])
def test_a_baked_tool_that_is_gone_is_looked_for_on_path(tmp_path: Path, python: str, last: str) -> None:
    """C6: the baked path is a memory, PATH is the truth; with neither, status 127 and a line that says where it looked."""
    path = launcher(tmp_path / "farm", "gcc", tmp_path / "gone", python)
    script(tmp_path / "there" / "gcc", "echo from PATH")
    found = call(path, last, env={"PATH": f"{path.parent}:{tmp_path}/there"})
    assert (0, b"from PATH\n") == (found.returncode, found.stdout)
    lost = call(path, last, env={"PATH": f"{path.parent}:/nonexistent"})
    assert 127 == lost.returncode
    assert b"ldshim: gcc: real tool not found: looked in " in lost.stderr


@pytest.mark.parametrize("last", ["-c", "x.o"])
@pytest.mark.parametrize("python", [PYTHON, "/nonexistent/python3"], ids=["python", "no python"])
def test_a_loop_ends(tmp_path: Path, python: str, last: str) -> None:
    """C6: a tool that execs its launcher by path ends with status 111 and both ends named, with Python and without."""
    path = tmp_path / "farm" / "gcc"
    back = script(tmp_path / "back", f'exec {path} "$@"')
    launcher(tmp_path / "farm", "gcc", back, python)
    said = call(path, last, env={"PATH": f"{path.parent}:/usr/bin:/bin"})
    assert 111 == said.returncode
    assert b"loop: the real tool comes back to ldshim: %b <-> " % os.fsencode(back) in said.stderr


@pytest.mark.parametrize("last", ["-c", "x.o"])
@pytest.mark.parametrize("python", [PYTHON, "/nonexistent/python3"], ids=["python", "no python"])
def test_a_loop_of_many_processes_ends(tmp_path: Path, python: str, last: str) -> None:
    """C6: a tool that runs its launcher by path, as a child, ends with status 111 before the machine does."""
    path = tmp_path / "farm" / "gcc"
    back = script(tmp_path / "back", f'echo round; {path} "$@"; exit $?')
    launcher(tmp_path / "farm", "gcc", back, python)
    said = call(path, last, env={"PATH": f"{path.parent}:/usr/bin:/bin"})
    assert (111, 8 * b"round\n") == (said.returncode, said.stdout)
    assert b"ldshim: gcc: loop: the real tool " in said.stderr


def test_the_marker_of_another_process_is_no_loop(gcc: Path) -> None:
    """C6: a marker that was inherited, from us or from a process that had our pid, stops nothing."""
    shell = f'_LDSHIM_VIA="$$.1:{gcc}"; export _LDSHIM_VIA; exec {gcc} -c'
    said = subprocess.run([need("dash"), "-c", shell], env={"PATH": "/usr/bin"}, capture_output=True, check=True)
    assert [b"-c"] == Dump(said.stdout).argv[1:]


@pytest.mark.parametrize("masquerade", ["ccache", "distcc", "icecc"])
@pytest.mark.parametrize("order", ["we first", "we last", "baked"])
def test_compiler_caches_in_either_order(tmp_path: Path, masquerade: str, order: str) -> None:
    """C6: a real compile through a launcher and a masquerade of ccache, distcc or icecc comes out whichever stands first on PATH."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "gcc").symlink_to(need(masquerade))
    real = cache / "gcc" if order == "baked" else Path(need("gcc"))
    path = launcher(tmp_path / "farm", "gcc", real if order != "we first" else tmp_path / "gone", PYTHON)
    first, second = (cache, path.parent) if order == "we last" else (path.parent, cache)
    (tmp_path / "x.c").write_text("int x;\n")
    block = {
        "PATH": f"{first}:{second}:/usr/bin:/bin", "CCACHE_DIR": f"{tmp_path}/c", "HOME": str(tmp_path), "DISTCC_DIR": f"{tmp_path}/d",
        "DISTCC_HOSTS": "localhost", "ICECC": "disable",
    }  # fmt: skip
    said = call("/usr/bin/env", "gcc", "-c", str(tmp_path / "x.c"), "-o", str(tmp_path / "x.o"), env=block)
    assert 0 == said.returncode, said.stderr
    assert (tmp_path / "x.o").read_bytes().startswith(b"\x7fELF")


@pytest.mark.parametrize("last", ["-c", "x.o"])
def test_signals_arrive_as_they_were(gcc: Path, dump: Path, last: str) -> None:
    """C3: what the tool ignores is what the bare tool would: no more, no less, for the signals that no Python had a hand in."""
    for shell in ("", "trap '' HUP; "):
        bare, ours = (
            Dump(subprocess.run([need("dash"), "-c", f"{shell}exec {path} {last}"], env={}, capture_output=True, check=True).stdout).ignored
            for path in (dump, gcc)
        )
        assert bare == ours
