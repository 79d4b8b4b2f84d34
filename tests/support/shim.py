"""The installed command, and a directory of links to it named like the tools it stands in for.

The problem: tests must run what a user runs (the installed command, which starts the interpreter beside it, found through a symlink), and
not a stale copy that an earlier `pip install` left in the environment. The consequence: the environment's own `ldshim` is taken when it and
its package are file for file those of this tree; otherwise the command is laid out as pip would, above the package of this tree.
"""

from __future__ import annotations

import filecmp
import importlib.util
import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from tests.support import tools
from tests.support.program import bare_environment

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("gcc", "g++", "cc", "c++", "clang", "clang++", "ld", "ld.bfd", "ld.gold", "ld.lld", "ld.mold", "mold", "wild")

COMMAND = ROOT / "ldshim" / "launcher" / "ldshim"
PYTHON = getattr(sys, "_base_executable", sys.executable)


def lay_out(place: Path, package: Path = ROOT / "ldshim", python: str = PYTHON) -> Path:
    """Lay the command, an interpreter and the package out below place, as in a virtual environment: the path of the command."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = place / "lib" / version / "site-packages"
    for directory in (place / "bin", site):
        directory.mkdir(parents=True)
    (site / "ldshim").symlink_to(package)
    elftools = importlib.util.find_spec("elftools")
    if elftools is not None and elftools.origin:
        (site / "elftools").symlink_to(Path(elftools.origin).parent)
    (place / "bin" / "python3").symlink_to(python)
    shutil.copy(COMMAND, place / "bin" / "ldshim")
    return place / "bin" / "ldshim"


def _same_package(python: str) -> bool:
    """Tell whether the interpreter's installed ldshim is the one in this tree."""
    ask = [python, "-I", "-c", "import ldshim; print(ldshim.__path__[0])"]
    said = subprocess.run(ask, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if said.returncode:
        return False
    installed, ours = Path(said.stdout.decode().strip()), ROOT / "ldshim"
    sources = [path.relative_to(ours) for path in ours.rglob("*") if path.suffix in (".py", ".sh")]
    return all((installed / name).is_file() and filecmp.cmp(installed / name, ours / name, shallow=False) for name in sources)


class Shim:
    """ldshim as installed. place: an empty directory of the session's.

    command: the path of `ldshim`; links: a directory with one symlink to it for every tool name; runtime: a private XDG_RUNTIME_DIR,
    so that slots and caches are this test run's own and links of other people on the machine do not count.
    """

    def __init__(self, place: Path) -> None:
        script = Path(sysconfig.get_path("scripts")) / "ldshim"
        if importlib.util.find_spec("ldshim.entry") is None:
            raise RuntimeError("ldshim is not importable: run the tests from the top of the source tree, or through tox")
        if not script.is_file() or not filecmp.cmp(script, COMMAND, shallow=False) or not _same_package(sys.executable):
            script = lay_out(place / "installed")
        self.command = str(script)
        self.links = place / "links"
        self.links.mkdir(parents=True)
        for name in dict.fromkeys([*NAMES, *tools.gccs(), *tools.llds(), *map(tools.clang_named, tools.llds()), *tools.CLANGS.values()]):
            (self.links / name).symlink_to(script)
        self.runtime = place / "runtime"
        self.runtime.mkdir(mode=0o700)

    def named(self, tool: str) -> str:
        """Give the link that stands in for a tool: its path, the tool's name unchanged."""
        return str(self.links / tool)

    def only(self, place: Path, *names: str) -> Path:
        """Make a directory that stands in for a few tools only, for -B or PATH."""
        place.mkdir(parents=True)
        for name in names:
            (place / name).symlink_to(self.command)
        return place

    def environment(self, **more: str) -> dict[str, str]:
        """Copy the environment without strangers' settings, with our own runtime directory."""
        return bare_environment(XDG_RUNTIME_DIR=str(self.runtime), **more)

    def on(self, cpus: int, **more: str) -> dict[str, str]:
        """Give the environment of a call that stands for one on a machine of so many CPUs: beyond those here, nothing is confined."""
        return self.environment(LDSHIM_CPUS=str(cpus), **more)


def handed_over(log: Path) -> list[dict[str, Any]]:
    """Read an LDSHIM_LOG file: the records written when links were handed over, in order."""
    records = [json.loads(line) for line in log.read_bytes().splitlines()]
    return [record for record in records if "argv" in record]


def script(path: Path, *lines: str) -> str:
    """Write an executable shell script, a stand-in for a real tool: its path."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)
