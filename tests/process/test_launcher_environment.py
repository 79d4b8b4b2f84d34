"""Hazard: a shell that rewrites the environment on its way to the tool. launcher.sh states what it changes; here it is measured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.process.test_launcher import PYTHON
from tests.support.launchers import Dump, build_dump, call, launcher
from tests.support.tools import need

_NAMES = (
    "HOME=/root LANG=C LC_CTYPE= TERM=dumb SHLVL=3 OLDPWD=/nowhere PS1=$ PS4=+ MAIL=m ENV=/nowhere LINENO=7 word=w tool=t _=/bin/x EMPTY="
)
USUAL = dict(word.split("=") for word in _NAMES.split()) | {"QUOTED": "a'b\"c\\d\ne", "MAKEFLAGS": " -j4 -- A=b", "LDSHIM_LOG": "/nowhere"}

OURS = (b"_LDSHIM_VIA=", b"_LDSHIM_DEPTH=")


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the tool that tells what it was given."""
    return build_dump(tmp_path_factory.mktemp("dump"))


def entries(path: Path, env: dict[str, str], cwd: Path, last: str, shell: tuple[str, ...] = ()) -> list[bytes]:
    """Run a launcher in a directory, and return the tool's environment in a stable order."""
    said = call("/usr/bin/env", "-C", str(cwd), *(f"{name}={value}" for name, value in env.items()), *shell, str(path), last, env={})
    return sorted(Dump(said.stdout).environment)


@pytest.mark.parametrize("last", ["-c", "x.o"])
def test_a_usual_environment_arrives_whole(tmp_path: Path, dump: Path, last: str) -> None:
    """C3: where PWD is right and every name is a sh name, only the markers against loops and PATH differ, for a compile and for a link."""
    path = launcher(tmp_path / "farm", "gcc", dump, PYTHON)
    given = {**USUAL, "PWD": str(tmp_path), "PATH": f"{path.parent}:/usr/bin"}
    found = [entry for entry in entries(path, given, tmp_path, last) if not entry.startswith(OURS)]
    assert sorted(f"{name}={value}".encode() for name, value in {**given, "PATH": "/usr/bin"}.items()) == found


@pytest.mark.parametrize("last", ["-c", "x.o"])
def test_what_dash_changes_is_what_the_header_states(tmp_path: Path, dump: Path, last: str) -> None:
    """C3: dash drops names that are no sh names, corrects or adds PWD, and resets IFS, OPTIND and PPID; nothing else."""
    path = launcher(tmp_path / "farm", "gcc", dump, PYTHON)
    odd = {"a.b": "1", "BASH_FUNC_f%%": "() { :; }", "PWD": "/nowhere", "IFS": ":", "OPTIND": "7", "PPID": "x", **USUAL}
    dash = (need("dash"),)
    found = [entry for entry in entries(path, odd, tmp_path, last, dash) if not entry.startswith((*OURS, b"PPID="))]
    assert (
        sorted(f"{name}={value}".encode() for name, value in {**USUAL, "PWD": str(tmp_path), "IFS": " \t\n", "OPTIND": "1"}.items())
        == found
    )
    bare = [entry for entry in entries(path, {}, tmp_path, last) if not entry.startswith(OURS)]
    assert [b"PWD=" + os.fsencode(tmp_path)] == bare


def test_python_adds_no_locale(tmp_path: Path, dump: Path) -> None:
    """C3: where no variable names a locale, Python exports LC_CTYPE into its own environment, and the tool does not see it."""
    for name in ("gcc", "ld"):
        path = launcher(tmp_path / "farm", name, dump, PYTHON)
        given = {**USUAL, "PWD": str(tmp_path), "LC_ALL": ""}
        del given["LC_CTYPE"], given["LANG"]
        found = [entry for entry in entries(path, given, tmp_path, "x.o") if not entry.startswith(OURS)]
        assert sorted(f"{name}={value}".encode() for name, value in given.items()) == found
