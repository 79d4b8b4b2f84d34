"""Hazard: a process too many. A compile call pays for every fork and every exec, and so does each of the ten thousand after it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.launchers import build_dump, launcher
from tests.support.pool import Pool
from tests.support.tools import need

PYTHON = getattr(sys, "_base_executable", sys.executable)


@pytest.fixture(scope="session")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a tool that does nothing of account."""
    return build_dump(tmp_path_factory.mktemp("dump"))


def traced(place: Path, *words: str, env: dict[str, str]) -> tuple[set[str], list[str]]:
    """Run words under strace; return the pids that lived, and what was executed, in order."""
    calls = "trace=execve,execveat,clone,clone3,fork,vfork"
    subprocess.run([need("strace"), "-f", "-qq", "-e", calls, "-o", str(place / "trace"), *words], env=env, check=True, capture_output=True)
    lines = [line.split(None, 1) for line in (place / "trace").read_text().splitlines()]
    executed = [text.split('"')[1] for _, text in lines if text.startswith("execve(") and text.endswith(" = 0")]
    return {pid for pid, _ in lines}, executed


@pytest.mark.parametrize("line", ["-c x.c -o x.o", "-O2 -Wall -S x.c", "--version", "-E -"])
def test_a_compile_is_one_process_and_two_execs(tmp_path: Path, dump: Path, line: str) -> None:
    """C22: a compile or version call executes the launcher's shell and then the tool, forks nothing, and starts no Python."""
    path = launcher(tmp_path / "farm", "gcc", dump, PYTHON)
    pids, executed = traced(tmp_path, str(path), *line.split(), env={"PATH": f"{path.parent}:/usr/bin:/bin"})
    assert (1, [str(path), str(dump)]) == (len(pids), executed)


@pytest.mark.parametrize("family", ["bfd", ""])
def test_a_plain_link_is_one_process_that_takes_no_token(tmp_path: Path, dump: Path, family: str) -> None:
    """C23: a link without LTO executes the shell, Python and then the linker, by the short way and by the long one; no warden, no token."""
    tool = dump
    if not family:
        tool = Path(need("ld.bfd"))
        (tmp_path / "x.c").write_text("int x;\n")
        subprocess.run([need("gcc"), "-c", "x.c", "-o", "x.o"], cwd=tmp_path, check=True)
    path = launcher(tmp_path / "farm", "ld", tool, PYTHON, family=family)
    (tmp_path / "runtime").mkdir(mode=0o700)
    with Pool(b"+++", style="fifo") as pool:
        env = {"PATH": "/usr/bin:/bin", "MAKEFLAGS": pool.makeflags, "XDG_RUNTIME_DIR": str(tmp_path / "runtime")}
        words = [str(path), "-r", str(tmp_path / "x.o"), "-o", str(tmp_path / "out.o")]
        if not family:
            subprocess.run(words, env=env, check=True)  # asks the tool once for its --version
        pids, executed = traced(tmp_path, *words, env=env)
        assert 3 == pool.available()
    assert (1, [str(path), PYTHON, os.fspath(tool)]) == (len(pids), executed)
