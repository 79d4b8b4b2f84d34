"""Hazard: a command line just below the kernel's limit, which a stand-in makes longer: E2BIG in a process that cannot tell its caller."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.launchers import build_dump, launcher
from tests.support.shim import PYTHON, lay_out

STACK = 1 << 20  # bytes; the limit for arguments and environment is a quarter


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the tool that tells what it was given."""
    place = tmp_path_factory.mktemp("tools")
    shutil.copy(build_dump(place), place / "gcc")
    return place / "gcc"


RUN = """
import os, resource, sys
size, words = int(sys.argv[1]), sys.argv[2:]
resource.setrlimit(resource.RLIMIT_STACK, ({stack}, {stack}))
try:
    os.execve(words[0], words + ["x" * 1023] * (size // 1024) + ["y" * (size % 1024)], dict(os.environ))
except OSError as error:
    os._exit(200 if error.errno == {e2big} else 201)
"""


def outcome(words: list[str], size: int, env: dict[str, str]) -> int:
    """Run a call with so many bytes of arguments, below a limit: its status, 200 where the kernel refused the caller's own exec."""
    code = RUN.format(stack=STACK, e2big=errno.E2BIG)
    run = [PYTHON, "-IS", "-c", code, str(size), *words]
    return subprocess.run(run, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode


@pytest.fixture
def short() -> Iterator[Path]:
    """Provide a directory with a path no longer than that of an installation: pytest's are."""
    with tempfile.TemporaryDirectory(prefix="l", dir="/tmp") as place:
        yield Path(place)


@pytest.mark.parametrize("last", ["-c", "x.o"])
@pytest.mark.parametrize("way", ["farm", "prefix"])
def test_what_is_refused_is_refused_to_the_caller(short: Path, tool: Path, way: str, last: str) -> None:
    """C1: up to the size at which the kernel refuses the caller's own exec, the tool runs; there is no size at which ldshim fails."""
    env = {"PATH": f"{tool.parent}:/usr/bin:/bin", "PWD": os.getcwd(), "LC_ALL": "C.UTF-8"}
    words = [str(launcher(short / "farm", "gcc", tool, PYTHON))] if way == "farm" else [str(lay_out(short / "installed")), "gcc"]
    words.append(last)
    low, high = 0, STACK // 4
    assert (0, 200) == (outcome(words, low, env), outcome(words, high, env))
    while high - low > 1:
        middle = (low + high) // 2
        if outcome(words, middle, env) == 200:
            high = middle
        else:
            low = middle
    around = [high - 1200, *range(high - 300, high + 2, 7)]
    assert {size: 200 if size >= high else 0 for size in around} == {size: outcome(words, size, env) for size in around}
