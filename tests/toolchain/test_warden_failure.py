"""Hazards inside the warden: whatever call of its life raises, masks are restored, tokens come back, and the log tells of it.

First a warden notes every call that it makes (injected.py). Then one life is lived for each of them, with that call raising once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import tools
from tests.support.pool import Pool
from tests.support.shim import ROOT

DRIVER = str(ROOT / "tests" / "support" / "injected.py")
ERRORS = ("OSError", "MemoryError", "ValueError")
SURVIVES = "setsid sleep 60 > /dev/null 2>&1 & echo $! > survivor"
SCRIPTS = {
    "fixed": f"{SURVIVES}; sleep 0.1",
    "confine": f"{SURVIVES}; (while :; do :; done) & spin=$!; sleep 0.15; kill $spin; wait $spin; sleep 0.3",
    "valve": f"{SURVIVES}; printf 'all: a b c\\na b c:\\n\\t@sleep 0.1\\n' > rules; make -f rules all > made",
}


def live(place: Path, policy: str, site: str = "", error: str = "OSError") -> list[str]:
    """Live one life: what is wrong after it."""
    place.mkdir()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(place)}
    wrong = []
    with Pool(b"\x07a", "fifo") as pool:
        environ["MAKEFLAGS"] = pool.makeflags
        command = [sys.executable, DRIVER, str(place), "1", policy, site, error, SCRIPTS[policy]]
        status = subprocess.run(command, env=environ, cwd=place, check=False, timeout=60).returncode
        if status:
            wrong.append(f"status {status}")
        if not pool.settled(5):
            wrong.append(f"{pool.available()} of 2 tokens are back")
            pool.give(pool.tokens[pool.available() :])
    survivor = int((place / "survivor").read_text())
    deadline = time.monotonic() + 5
    while os.sched_getaffinity(survivor) != os.sched_getaffinity(0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if os.sched_getaffinity(survivor) != os.sched_getaffinity(0):
        wrong.append("what outlives the link is confined")
    os.kill(survivor, 9)
    said = (place / "report").read_text() + ((place / "log").read_text() if (place / "log").exists() else "")
    told_of_nothing = said.startswith("0 none") and "injected" not in said
    if not said or told_of_nothing:
        wrong.append(f"nothing tells of it: {said!r}")
    return wrong


@pytest.mark.parametrize("policy", list(SCRIPTS))
def test_a_raise_in_any_call_of_the_warden_ends_as_every_link_does(policy: str, tmp_path: Path) -> None:
    """C14: the link's status is its own, every token is back, what outlives it has its CPUs, and a line or the shim's reason tells."""
    if policy == "confine" and len(os.sched_getaffinity(0)) < 2:
        tools.missing("a second CPU")
    if policy == "valve":
        tools.need("make")
    assert [] == live(tmp_path / "traced", policy)
    sites = (tmp_path / "traced" / "sites").read_text().splitlines()
    assert len(sites) > 60, sites
    with ThreadPoolExecutor(6) as threads:
        runs = [
            (site, threads.submit(live, tmp_path / str(number), policy, site, ERRORS[number % len(ERRORS)]))
            for number, site in enumerate(sites)
        ]
    wrong = [f"{site}: {run.result()}" for site, run in runs if run.result()]
    assert [] == wrong, "\n".join(wrong)
