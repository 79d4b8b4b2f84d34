"""Hazards of code that does not come out of its own .pyc: stale, foreign, cut off, written by others, not what its source makes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ldshim import bundle
from ldshim.cli import bundle as writer
from tests.launchers import ROOT, Dump, build_dump, call
from tests.tools import missing, need

PYTHON = getattr(sys, "_base_executable", sys.executable)
LINE = ("-flto-partition=none", "-flto=auto", "-o", "out", "x.o")  # looked at all the way, and nothing to reserve

# Stands for the launcher's own lines.
OPEN = """
import marshal, os, sys
before = os.listdir("/proc/self/fd")
fd = os.open(sys.argv[1], os.O_RDONLY)
text = os.read(fd, {head})
code, index, groups = marshal.loads(text[8:])
ours = {{}}
exec(code, ours)
ours["install"](fd, text, index, groups)
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make what `place` provides, once; beside it lies a copy, for a farm works only where it was made."""
    place = tmp_path_factory.mktemp("bundle") / "place"
    shutil.copytree(ROOT / "ldshim", place / "lib" / "ldshim", ignore=shutil.ignore_patterns("__pycache__"))
    build_dump(place / "tools").rename(place / "tools" / "gcc")
    env = {"PATH": "/usr/bin:/bin", "LDSHIM_REAL_GCC": str(place / "tools" / "gcc"), "PYTHONPATH": str(place / "lib")}
    subprocess.run([PYTHON, "-m", "ldshim", "link-farm", str(place / "farm"), "gcc"], env=env, check=True, cwd="/", capture_output=True)
    return Path(shutil.copytree(place, place.with_name("kept"), symlinks=True))


@pytest.fixture
def place(kept: Path) -> Path:
    """Provide a copy of the package, and a farm that was made by it, with one compiler that tells what it was given."""
    place = kept.with_name("place")
    shutil.rmtree(place)
    return Path(shutil.copytree(kept, place, symlinks=True))


def imported_from_files(place: Path) -> set[str]:
    """Make a call that is looked at, and return which of our own modules were read one by one; the tool must have got its words."""
    words = [need("strace"), "-f", "-qq", "-e", "trace=openat", "-o", str(place / "trace"), str(place / "farm" / "gcc"), *LINE]
    env = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(place)}
    said = subprocess.run(words, env=env, cwd=place, capture_output=True, check=True)
    assert ([*map(os.fsencode, LINE)], b"") == (Dump(said.stdout).argv[1:], said.stderr)
    opened = [line.split('"')[1] for line in (place / "trace").read_text().splitlines() if '"' in line and "ENOENT" not in line]
    return {Path(path).name.split(".")[0] for path in opened if path.startswith(str(place / "lib" / "ldshim")) and path.endswith(".pyc")}


def test_a_link_reads_one_file(place: Path) -> None:
    """C24: every module of ours that a link needs comes out of the farm's bundle, none out of a .pyc."""
    assert set() == imported_from_files(place)


def test_a_module_whose_source_changed_is_read_anew(place: Path) -> None:
    """C1: one source with another time is imported as if there were no bundle, and only that one."""
    os.utime(place / "lib" / "ldshim" / "plan.py", (1, 1))
    assert {"plan"} == imported_from_files(place)


@pytest.mark.parametrize(
    "harm", ["another magic", "group may write", "empty", "cut in the head", "cut in the codes", "garbage", "gone", "refused"]
)
def test_a_bundle_that_cannot_be_trusted_is_ignored(place: Path, harm: str) -> None:
    """C1: what is foreign, damaged, missing or open to others costs nothing but time: the call goes through, without a word."""
    path = place / "farm" / os.fsdecode(bundle.NAME)
    good = path.read_bytes()
    harmed = {
        "another magic": b"\0\0\r\n" + good[4:], "empty": b"", "cut in the head": good[:1000], "cut in the codes": good[: len(good) // 4],
        "garbage": good[:8] + b"\xff" * 100_000,
    }  # fmt: skip
    if harm in harmed:
        path.write_bytes(harmed[harm])
    elif harm == "group may write":
        path.chmod(0o664)
    else:
        path.unlink()
        if harm == "refused":
            path.mkdir()
    assert imported_from_files(place)


def test_a_bundle_of_another_user_is_ignored(place: Path) -> None:
    """C16: code that the launcher's owner did not write is not run, whoever runs the launcher."""
    if os.geteuid():
        missing("root: nobody else can give a file away")
    os.chown(place / "farm" / os.fsdecode(bundle.NAME), 12345, -1)
    assert "plan" in imported_from_files(place)


def test_refresh_mends_and_changes_nothing_else(place: Path) -> None:
    """C1: a refresh writes a stale bundle anew, and says nothing and writes nothing where it is right."""
    path = place / "farm" / os.fsdecode(bundle.NAME)
    env = {"PATH": "/usr/bin:/bin", "LDSHIM_REAL_GCC": str(place / "tools" / "gcc"), "PYTHONPATH": str(place / "lib")}
    again = [PYTHON, "-m", "ldshim", "link-farm", "--refresh", str(place / "farm")]
    before = path.stat().st_ino
    said = subprocess.run(again, env=env, cwd="/", capture_output=True, check=True)
    assert (b"", b"", before) == (said.stdout, said.stderr, path.stat().st_ino)
    os.utime(place / "lib" / "ldshim" / "plan.py", (1, 1))
    subprocess.run(again, env=env, cwd="/", capture_output=True, check=True)
    assert set() == imported_from_files(place)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a bundle of this tree."""
    path = tmp_path_factory.mktemp("built") / "bundle"
    path.write_bytes(writer.build(str(ROOT / "ldshim")))
    return path


def run_with_bundle(built: Path, text: str) -> str:
    """Run Python code in which imports come out of a bundle of this tree."""
    words = [PYTHON, "-IS", "-c", OPEN.format(head=bundle.HEAD) + text, str(built)]
    return subprocess.run(words, capture_output=True, check=True, text=True, cwd="/").stdout


def test_a_bundled_module_is_what_its_source_makes(built: Path) -> None:
    """C1: each module has the same names, and functions of the same signature, as when it is imported from its source."""
    text = f"""
def look(names):
    import importlib
    out = {{}}
    for name in names:
        module = importlib.import_module(name)
        for key, value in sorted(vars(module).items()):
            # A package shows those of its modules that were imported by then.
            left_out = ("__builtins__", "__cached__", "__doc__", "__loader__", "__spec__", "annotations", "__annotations__")
            if f"{{name}}.{{key}}" not in names and key not in left_out:
                code = getattr(value, "__code__", None)
                out[name, key] = (type(value).__name__, code and (code.co_varnames, code.co_firstlineno, code.co_filename))
    return out
index = [name for name in index if name.startswith("ldshim")]
mine = look(index)
loaders = {{type(sys.modules[name].__loader__).__name__ for name in index}}
for name in index:
    del sys.modules[name]
del sys.meta_path[0]
sys.path.append({str(ROOT)!r})
theirs = look(index)
print(loaders, sorted(set(mine.items()) ^ set(theirs.items())))
"""
    assert "{'Bundle'} []\n" == run_with_bundle(built, text)


@pytest.mark.parametrize(("tool", "others"), [("gcc", {"lld", "clang", "mold"}), ("lld", {"gcc", "clang"}), ("clang", {"gcc", "lld"})])
def test_a_group_brings_no_other_tools_table(built: Path, tool: str, others: set[str]) -> None:
    """C24: what runs together because most links need it is needed by them: the table of one family brings none of another's."""
    said = run_with_bundle(built, f"import ldshim.plan, ldshim.carryout, ldshim.command.{tool}\nprint(*sys.modules)\n")
    assert set() == set(said.split()) & {f"ldshim.command.{other}" for other in others}
    assert {f"ldshim.command.{tool}", "ldshim.command.read", "ldshim.decide.budget"} <= set(said.split())


def test_a_group_is_run_in_one_go(built: Path) -> None:
    """C24: the first import of one module makes all of its group, and each is the module that later imports find."""
    text = """
import ldshim.plan
early = sys.modules["ldshim.carryout"]
from ldshim import carryout
import ldshim.decide.rewrite
print(carryout is early, ldshim.decide.rewrite is carryout.rewrite, carryout.__spec__.name, carryout.__package__)
"""
    assert "True True ldshim.carryout ldshim\n" == run_with_bundle(built, text)


def test_a_module_of_a_group_that_fails_is_not_left_behind(built: Path) -> None:
    """C1: when the code of one raises, its import raises that, and what was half made is gone."""
    text = """
sys.modules["gc"] = None
try:
    import ldshim.entry
except ImportError as error:
    print(error.name, [name for name in ("ldshim.warden.handover", "ldshim.entry", "ldshim.call.environment") if name in sys.modules])
"""
    assert "gc ['ldshim.warden.handover', 'ldshim.call.environment']\n" == run_with_bundle(built, text)


def test_a_traceback_shows_the_source(built: Path) -> None:
    """C1: a mistake of ours is reported with file, line and text as ever."""
    text = """
import traceback
from ldshim.decide import budget
try:
    budget.Budget("many", "", "")
except TypeError:
    print(traceback.format_exc())
"""
    said = run_with_bundle(built, text)
    assert f'File "{ROOT}/ldshim/decide/budget.py", line ' in said
    assert "self.number = max(1, number)" in said


def test_a_shared_object_is_loaded_from_where_it_stood(built: Path) -> None:
    """C24: what Python has in files of its own comes by its path, is what Python finds itself, and no directory is searched for it."""
    text = """
import _struct, fcntl, select, sys, termios
ours = [_struct, fcntl, select, termios]
there = {module.__name__: module.__spec__.origin for module in ours}
listed = [path for path in sys.path_importer_cache if path.endswith("lib-dynload")]
del sys.meta_path[0]
for name in there:
    del sys.modules[name]
import _struct, fcntl, select, termios
theirs = {module.__name__: module.__spec__.origin for module in (_struct, fcntl, select, termios)}
print(listed, there == theirs, _struct.calcsize("<hhB"))
"""
    assert "[] True 5\n" == run_with_bundle(built, text)


def test_the_file_is_closed_before_descriptors_are_looked_at(built: Path) -> None:
    """C12: a number that MAKEFLAGS names and that is closed here must not be the bundle's when entry looks at it."""
    assert "True\n" == run_with_bundle(built, 'import ldshim.entry\nprint(before == os.listdir("/proc/self/fd"))\n')


def test_the_early_modules_lie_in_the_head(built: Path) -> None:
    """C23: the first read of the file is all that a plain link needs."""
    text = 'import ldshim.plain_link as p\nprint(len(before) + 1 == len(os.listdir("/proc/self/fd")), type(p.__loader__).__name__)\n'
    assert "True Bundle\n" == run_with_bundle(built, text)
    assert importlib.util.MAGIC_NUMBER == built.read_bytes()[:4]


def test_a_compile_needs_no_bundle(place: Path) -> None:
    """C22: the shell script reads none."""
    shutil.rmtree(place / "lib")
    (place / "farm" / os.fsdecode(bundle.NAME)).unlink()
    said = call(place / "farm" / "gcc", "-c", "x.c", env={"PATH": "/usr/bin:/bin"})
    assert ([b"-c", b"x.c"], b"") == (Dump(said.stdout).argv[1:], said.stderr)
