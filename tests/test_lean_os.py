"""Hazard: a stand-in for the os module that answers otherwise than os does, or that a link needs and that brings os in after all."""

from __future__ import annotations

import ast
import os
import posix
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldshim import lean_os
from ldshim.cli import bundle as writer
from tests.launchers import ROOT
from tests.program import bare_environment
from tests.tools import CLANG, LLD, need

PYTHON = getattr(sys, "_base_executable", sys.executable)
PATHS = st.text(st.sampled_from("/.ab\0\udcff"), max_size=8)
TAKES_ONE = ("basename", "dirname", "abspath", "exists", "isfile", "isdir")


def answer(module: object, name: str, *args: object) -> object:
    """Call a function of a module: what it returns, or the type of what it raises."""
    try:
        return getattr(module, name)(*args)
    except (ValueError, TypeError) as error:
        return type(error)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(PATHS, PATHS)
def test_paths_are_what_os_makes_of_them(first: str, second: str) -> None:
    """C1: every function of os.path that is written anew gives what os.path gives, for str and for bytes."""
    for one, two in ((first, second), (os.fsencode(first), os.fsencode(second))):
        for name in TAKES_ONE:
            assert answer(os.path, name, one) == answer(lean_os.path, name, one), name
        assert answer(os.path, "join", one, two, two) == answer(lean_os.path, "join", one, two, two)
        for name in ("fsencode", "fsdecode"):
            assert getattr(os, name)(one) == getattr(lean_os, name)(one)


@pytest.mark.parametrize("path", [b"/usr/bin", "/usr/bin/env", b"/usr/bin/nothing", "/dev/null", b"/proc/self/fd/0"])
def test_files_are_what_os_finds(path: bytes | str) -> None:
    """C1: what is there, and what kind of file it is."""
    for name in ("exists", "isfile", "isdir", "realpath"):
        assert getattr(os.path, name)(path) == getattr(lean_os.path, name)(path)


def test_every_name_is_the_one_of_os() -> None:
    """C1: posix has what os has under the same name, but for `environ`; whatever it has not comes from os."""
    names = [name for name in dir(posix) if not name.startswith("_")]
    assert len(names) > 200
    assert [] == [name for name in [*names, "_exit", "environb", "makedirs", "sep"] if getattr(lean_os, name) is not getattr(os, name)]
    with pytest.raises(AttributeError):
        _ = lean_os.no_such_name


def test_the_bundle_imports_it_in_place_of_os() -> None:
    """C24: `import os` and `from struct import Struct` of our sources become leaner ones, other names on the line stay."""
    tree = ast.fix_missing_locations(
        writer._Trimmed().visit(ast.parse("import os, sys\nfrom struct import Struct\nfrom . import os as own\n"))
    )
    assert "from ldshim import lean_os as os\nimport sys\nfrom _struct import Struct\nfrom . import os as own" == ast.unparse(tree)


def test_an_lto_link_imports_no_os(tmp_path: Path) -> None:
    """C24: a ThinLTO link that holds something comes to its exec without os, which alone costs it 2 ms."""
    tmp_path.chmod(0o700)
    env = bare_environment(XDG_RUNTIME_DIR=str(tmp_path))
    for name in "fgh":
        (tmp_path / f"{name}.c").write_text(f"int {name}(int x) {{ return x * {ord(name)}; }}\n")
        subprocess.run([need(CLANG), "-flto=thin", "-fPIC", "-O1", "-c", f"{name}.c"], cwd=tmp_path, env=env, check=True)
    need(LLD)
    words = [PYTHON, "-m", "ldshim", "link-farm", str(tmp_path / "farm"), LLD]
    subprocess.run(words, cwd=ROOT, env=env, check=True, capture_output=True)
    link = [str(tmp_path / "farm" / LLD), "-shared", "-o", "out.so", "f.o", "g.o", "h.o"]
    imported = []
    for words in (["-c", "pass"], link):
        traced = [PYTHON, "-IS", "-X", "importtime", *words]
        said = subprocess.run(traced, cwd=tmp_path, env={**env, "_LDSHIM_X": "the long way"}, capture_output=True, check=True).stderr
        imported.append({line.rpartition("|")[2].strip() for line in said.decode().splitlines() if line.startswith("import time:")})
    found = imported[1] - imported[0]
    assert (tmp_path / "out.so").is_file()
    assert {"fcntl", "_struct"} <= found | set(sys.builtin_module_names)
    assert set() == found & {"os", "struct", "stat", "posixpath"}
