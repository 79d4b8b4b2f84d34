"""Each of our own commands on each interpreter: what they do in detail is shown once, in the matrix."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from ldshim.cli.main import MODULES
from tests.support import tools
from tests.support.logs import STEPS, Log
from tests.support.shim import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shim import Shim


def test_every_command_does_its_work(shim: Shim, tmp_path: Path) -> None:
    """A command that an interpreter cannot import or run is seen there."""
    tools.need("ld")
    log = tmp_path / "log"
    log.write_bytes(Log().link(7, 0.0, 1.0, STEPS, "output").bytes())
    farm = tmp_path / "farm"
    words = {
        "link-farm": [str(farm), "ld"],
        "doctor": ["--json"],
        "explain": ["--", "ld", "-o", "x", "main.o"],
        "pool": ["-j2", "--", "sh", "-c", 'printf %s "$MAKEFLAGS"'],
        "report": [str(log)],
        "verify": ["--", "ld", "-r", "-b", "binary", str(log)],
    }
    assert words.keys() == MODULES.keys()
    said = {}
    for command, rest in words.items():
        # The farm stands first on PATH as soon as it is there: the doctor then has nothing to complain of.
        env = shim.environment(PYTHONPATH=str(ROOT), PATH=f"{farm}:/usr/bin:/bin")
        line = [sys.executable, "-m", "ldshim", command, *rest]
        done = subprocess.run(line, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, (command, done.stdout)
        said[command] = done.stdout.decode()
    assert (farm / "ld").exists()
    assert any(tool["name"] == "ld" for tool in json.loads(said["doctor"])["tools"])
    assert "main.o" in said["explain"]
    assert "-j2" in said["pool"]
    assert "output" in said["report"]
    assert "same: " in said["verify"]
