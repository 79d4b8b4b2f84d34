"""Hazard: surroundings in which a bare tool runs and Python, or a shell's test, does not.

Every case runs by a launcher of a farm and by the installed command, in its prefix form and by a link.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ldshim import fallback
from ldshim.call import environment
from tests.support import tools
from tests.support.launchers import ROOT, Dump, build_dump, call, launcher, script
from tests.support.shim import PYTHON, lay_out

WAYS = ["farm", "prefix", "path", "symbolic link", "hard link"]
TOOLS = [("gcc", "-c"), ("gcc", "x.o"), ("ld", "--version"), ("ld", "x.o")]

# The system calls that old seccomp filters answer with EPERM, and gVisor with ENOSYS: faccessat2 is 439 everywhere.
REFUSE = """
import ctypes, os, struct, sys
number, code = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
rows = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | code), (0x06, 0, 0, 0x7FFF0000)]
text = b"".join(struct.pack("=HBBI", *row) for row in rows)
block = ctypes.create_string_buffer(text)
program = struct.pack("@HP", len(rows), ctypes.addressof(block))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0):
    sys.exit("no seccomp")
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the tool that tells what it was given."""
    return build_dump(tmp_path_factory.mktemp("dump"))


class Place:
    """One way to call ldshim for the dump. path: a PATH on which the dump stands as the tool."""

    def __init__(self, root: Path, dump: Path, way: str, name: str, python: str = PYTHON) -> None:
        tool = root / "tools" / name
        tool.parent.mkdir()
        shutil.copy(dump, tool)
        self.root = root
        self.tool = name if way == "prefix" else str(tool)  # as argv[0]
        self.path = f"{tool.parent}:{root}/installed/bin:/usr/bin:/bin"
        self.python = Path(python)
        if way == "farm":
            self.words = [str(launcher(root / "farm", name, tool, python))]
            return
        command = lay_out(root / "installed", python=python)
        link = root / "links" / name
        link.parent.mkdir()
        if way == "symbolic link":
            link.symlink_to(command)
        elif way == "hard link":
            link.hardlink_to(command) if sys.version_info >= (3, 10) else os.link(command, link)
        self.words = {"prefix": [str(command), name], "path": [str(command), str(tool)]}.get(way, [str(link)])

    def call(self, *args: str, before: tuple[str, ...] = (), cwd: Path | None = None, more: dict[str, str] | None = None) -> Dump:
        """Call ldshim: what the tool was given. Nothing may be said, and the status be anything but the tool's."""
        env = {"PATH": self.path, **(more or {})}
        done = subprocess.run([*before, *self.words, *args], env=env, cwd=cwd, capture_output=True, timeout=60, check=False)
        assert (0, b"") == (done.returncode, done.stderr)
        return Dump(done.stdout)


@pytest.mark.parametrize("code", [1, 38], ids=["EPERM", "ENOSYS"])
@pytest.mark.parametrize(("name", "last"), TOOLS)
@pytest.mark.parametrize("way", WAYS)
def test_faccessat2_is_refused(tmp_path: Path, dump: Path, way: str, name: str, last: str, code: int) -> None:
    """C1: under an old seccomp filter a shell's `[ -x ]` answers no; the tool runs, without a word."""
    place = Place(tmp_path, dump, way, name)
    refused = (PYTHON, "-c", REFUSE, "439", str(code))
    if subprocess.run([*refused, "/bin/true"], capture_output=True, check=False).returncode:
        tools.missing("the right to set a seccomp filter")
    assert [place.tool.encode(), last.encode()] == place.call(last, before=refused).argv


def broken_library(place: Path) -> str:
    """Make a directory with libraries that no interpreter can live with, by the names it may look for."""
    place.mkdir()
    found = subprocess.run(["ldd", PYTHON], capture_output=True, check=True).stdout.decode()
    names = {line.split()[0] for line in found.splitlines() if "=>" in line} - {"libc.so.6", "libpthread.so.0", "libdl.so.2"}
    (place / "x.c").write_text("int nothing;\n")
    for name in sorted(names):
        flags = ["-shared", "-fPIC", f"-Wl,-soname,{name}"]
        subprocess.run([tools.need_c_library(), *flags, str(place / "x.c"), "-o", str(place / name)], check=True)
    if not names:
        tools.missing("an interpreter that needs a library")
    return str(place)


@pytest.mark.parametrize(("name", "last"), TOOLS)
@pytest.mark.parametrize("way", WAYS)
def test_a_library_path_that_python_cannot_live_with(tmp_path: Path, dump: Path, way: str, name: str, last: str) -> None:
    """C1, C3: LD_LIBRARY_PATH of an EDA tool keeps no Python from starting, and reaches the tool as it was."""
    place = Place(tmp_path, dump, way, name)
    bad = broken_library(tmp_path / "bad")
    said = place.call(last, more={"LD_LIBRARY_PATH": bad})
    assert ([place.tool.encode(), last.encode()], bad.encode()) == (said.argv, said.get(b"LD_LIBRARY_PATH"))
    assert [] == [entry for entry in said.environment if entry.startswith(environment.ASIDE_PREFIX)]


PRELOAD = """
#include <stdlib.h>
#include <string.h>
extern char *program_invocation_short_name;
__attribute__((constructor)) static void start(void) { if (!strncmp(program_invocation_short_name, "python", 6)) abort(); }
"""


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "LD_AUDIT"])
@pytest.mark.parametrize("way", WAYS)
def test_a_preloaded_library_that_kills_python(tmp_path: Path, dump: Path, way: str, variable: str) -> None:
    """C1, C3: what is preloaded into every process of a build dies in Python, and not in the call; the tool has it still."""
    place = Place(tmp_path, dump, way, "ld")
    (tmp_path / "x.c").write_text(PRELOAD + "unsigned la_version(unsigned v) { return v; }\n")
    library = str(tmp_path / "kill.so")
    subprocess.run([tools.need_c_library(), "-D_GNU_SOURCE", "-shared", "-fPIC", str(tmp_path / "x.c"), "-o", library], check=True)
    said = place.call("x.o", more={variable: library})
    assert library.encode() == said.get(variable.encode())


def test_every_variable_that_is_moved_comes_back(tmp_path: Path, dump: Path) -> None:
    """C3: each variable of the table reaches the tool with its value, an empty one too, by the short way and by the long one."""
    values = {name.decode(): b"" if name in (b"LD_DEBUG", b"LD_AUDIT", b"LD_PROFILE") else b"0" for name in environment.ASIDE}
    for name in ("LD_SHOW_AUXV", "LD_VERBOSE", "LD_DEBUG", "LD_PROFILE", "LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_TRACE"):
        values[name] = b""
    del values["LD_SHOW_AUXV"]  # prints to the shell's stdout whatever its value is
    for way in ("farm", "prefix"):
        (tmp_path / way).mkdir()
        said = Place(tmp_path / way, dump, way, "ld").call("x.o", more={name: value.decode() for name, value in values.items()})
        assert values == {name: said.get(name.encode()) for name in values}


def test_the_last_resort_gives_names_back() -> None:
    """C1: the fallback knows the same prefix, and a variable that a preloaded library has put there again goes."""
    assert fallback.ASIDE_PREFIX == environment.ASIDE_PREFIX
    given = [(b"LD_PRELOAD", b"again"), (b"_LDSHIM_ASIDE_LD_PRELOAD", b"callers"), (b"A", b"1"), (b"A", b"2")]
    assert [(b"LD_PRELOAD", b"callers"), (b"A", b"1"), (b"A", b"2")] == environment.as_given(given)


@pytest.mark.parametrize("variable", ["PYTHONPATH={0}", "PYTHONHOME=/opt/bundled", "PYTHONHASHSEED=x", "PYTHONIOENCODING=x", "PYTHONUTF8=2",
                                      "PYTHONSTARTUP={0}/ldshim.py", "PYTHONVERBOSE=1", "PYTHONINSPECT=1", "PYTHONWARNINGS=error",
                                      "PYTHONMALLOC=nonsense", "PYTHONPLATLIBDIR=none", "PYTHONSAFEPATH="])  # fmt: skip
@pytest.mark.parametrize("way", WAYS)
def test_pythons_variables_belong_to_the_build(tmp_path: Path, dump: Path, way: str, variable: str) -> None:
    """C1, C3: no form imports what PYTHONPATH or the current directory hold, or dies of a variable; the tool has it still."""
    place = Place(tmp_path, dump, way, "gcc")
    (tmp_path / "theirs").mkdir()
    for module in ("ldshim", "sitecustomize", "usercustomize", "os", "posix", "fcntl", "select", "struct", "errno", "gc", "encodings"):
        (tmp_path / "theirs" / f"{module}.py").write_text("print('foreign code ran')\n")
    name, _, value = variable.format(tmp_path / "theirs").partition("=")
    said = place.call("x.o", cwd=tmp_path / "theirs", more={name: value})
    assert ([place.tool.encode(), b"x.o"], value.encode()) == (said.argv, said.get(name.encode()))


@pytest.mark.parametrize("name", ["fcntl", "select", "struct", "argparse"])
def test_python_m_imports_nothing_from_the_current_directory(tmp_path: Path, name: str) -> None:
    """C1: `python -m ldshim` cannot choose what is first on its path, but takes the current directory off it before it imports anything."""
    (tmp_path / f"{name}.py").write_text("print('foreign code ran')\n")
    done = subprocess.run(
        [sys.executable, "-m", "ldshim", "--version"],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}, capture_output=True, check=False,
    )  # fmt: skip
    assert (0, b"ldshim") == (done.returncode, done.stdout[:6])


BROKEN = {
    "exits": "#!/bin/sh\nexit 1\n",
    "crashes": "#!/bin/sh\nkill -SEGV $$\n",
    "python 2": "#!/bin/sh\ncase $1 in -I*) echo Unknown option: -I >&2; exit 2 ;; esac\n",
    "no program": "\0\1\2",
}


@pytest.mark.parametrize("how", [*BROKEN, "gone", "dangling", "directory", "not executable"])
def test_a_farms_interpreter_is_not_what_it_was(tmp_path: Path, dump: Path, how: str) -> None:
    """C1: an interpreter that went, or was exchanged for one that does not start, costs a line, and the tool runs."""
    python = script(tmp_path / "bin" / "python3", f'exec {PYTHON} "$@"')
    path = launcher(tmp_path / "farm", "ld", dump, python)
    assert b"" == call(path, "x.o", env={"PATH": "/usr/bin:/bin"}).stderr
    python.unlink()
    if how == "dangling":
        python.symlink_to("/nonexistent/python3.11")
    elif how == "directory":
        python.mkdir()
    elif how != "gone":
        python.write_text(BROKEN.get(how, "#!/bin/sh\n"))
        python.chmod(0o755 if how in BROKEN else 0o644)
    said = call(path, "x.o", env={"PATH": "/usr/bin:/bin"})
    if how == "not executable" and os.geteuid() == 0:
        assert said.returncode == 0  # nobody may execute it, root neither
    assert (0, [os.fsencode(dump), b"x.o"]) == (said.returncode, Dump(said.stdout).argv)
    assert said.stderr.startswith(b"ldshim: ld: interpreter or package is gone, the tool runs unchanged: ")
    assert 1 == said.stderr.count(b"\n")


@pytest.mark.parametrize("how", ["gone", "no module", "syntax", "dies of an import"])
@pytest.mark.parametrize("way", WAYS)
def test_a_package_that_is_not_what_it_was(tmp_path: Path, dump: Path, way: str, how: str) -> None:
    """C1, C3: a package that went, or cannot be imported, costs a line; the tool has the call's own environment and signals."""
    package = tmp_path / "package" / "ldshim"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name in ("entry.py", "__main__.py"):
        (package / name).write_text({"syntax": "match x:\n", "dies of an import": "import nowhere\n"}.get(how, "run = 0\n"))
    if how == "gone":
        shutil.rmtree(package)
    tool = tmp_path / "tools" / "ld"
    tool.parent.mkdir()
    shutil.copy(dump, tool)
    if way == "farm":
        words = [str(launcher(tmp_path / "farm", "ld", tool, PYTHON, package.parent))]
    else:
        command = lay_out(tmp_path / "installed", package)
        (tmp_path / "ld").symlink_to(command)
        words = {"prefix": [str(command), "ld"], "path": [str(command), str(tool)]}.get(way, [str(tmp_path / "ld")])
    given = {"PATH": f"{tool.parent}:/usr/bin:/bin", "LD_LIBRARY_PATH": "/nowhere", "PWD": os.getcwd()}
    done = subprocess.run([*words, "x.o", ""], env=given, capture_output=True, check=False)
    said = Dump(done.stdout)
    assert (0, [b"ld" if way == "prefix" else os.fsencode(tool), b"x.o", b""]) == (done.returncode, said.argv)
    ours = (b"_LDSHIM_VIA=", b"_LDSHIM_DEPTH=")
    assert sorted(f"{name}={value}".encode() for name, value in given.items()) == sorted(
        entry for entry in said.environment if not entry.startswith(ours)
    )
    assert Dump(call(dump, env={}).stdout).ignored == said.ignored
    assert 1 == done.stderr.count(b"\n"), done.stderr


@pytest.mark.parametrize("last", ["-c", "x.o"])
@pytest.mark.parametrize("path", ["{tools}", ":/usr/bin", "tools:/usr/bin", "./tools", "/nonexistent::{tools}"])
@pytest.mark.parametrize("way", ["prefix", "symbolic link"])
def test_path_with_empty_and_relative_entries(tmp_path: Path, dump: Path, way: str, path: str, last: str) -> None:
    """C6: an empty entry of PATH is the current directory, and a relative one begins there; the tool runs."""
    place = Place(tmp_path, dump, way, "gcc")
    cwd = tmp_path / "tools" if path.startswith(":") else tmp_path
    done = subprocess.run(
        [*place.words, last], env={"PATH": path.format(tools=tmp_path / "tools")}, cwd=cwd, capture_output=True, check=False
    )
    assert (0, b"") == (done.returncode, done.stderr)
    assert Dump(done.stdout).argv[0] in (b"gcc", os.fsencode(tmp_path / "tools/gcc")) or os.path.samefile(
        tmp_path / "tools/gcc", Dump(done.stdout).argv[0]
    )


@pytest.mark.parametrize("last", ["-c", "x.o"])
@pytest.mark.parametrize("tool", ["tools/gcc", "./tools/gcc", "../{root}/tools/gcc"])
def test_a_tool_by_a_relative_path(tmp_path: Path, dump: Path, tool: str, last: str) -> None:
    """C6: the prefix form takes a relative path from the current directory."""
    place = Place(tmp_path, dump, "prefix", "gcc")
    done = subprocess.run(
        [place.words[0], tool.format(root=tmp_path.name), last],
        env={"PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    said = Dump(done.stdout).argv
    assert (last.encode(), True) == (said[1], os.path.samefile(tmp_path / "tools/gcc", tmp_path / os.fsdecode(said[0])))


@pytest.mark.parametrize(("name", "last"), TOOLS)
@pytest.mark.parametrize("way", ["farm", "prefix", "path", "symbolic link"])
def test_the_current_directory_is_gone(tmp_path: Path, dump: Path, way: str, name: str, last: str) -> None:
    """C1: in a directory that was removed, with a PWD that lies, the tool runs; what dash says of it itself is not ours."""
    place = Place(tmp_path, dump, way, name)
    (tmp_path / "gone").mkdir()
    line = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    words = ["sh", "-c", line, "sh", str(tmp_path / "gone"), *place.words, last]
    done = subprocess.run(words, env={"PATH": place.path, "PWD": "/nonexistent"}, capture_output=True, check=False)
    assert (0, [os.fsencode(place.tool), last.encode()]) == (done.returncode, Dump(done.stdout).argv)
    assert [] == [row for row in done.stderr.splitlines() if b"getcwd() failed" not in row and b"shell-init" not in row]
