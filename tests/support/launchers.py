"""Launchers in a directory of their own, and a real tool that tells everything it was given.

The problem: a launcher passes a call on, so what it did shows only in the process behind it; and a shell or a Python there would change
what it is to report. The consequence: the tool is a C program of a few lines that prints pid, ignored signals, argv and environment.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ldshim import plain_link
from ldshim.call import real_tool
from ldshim.launcher.text import Launcher
from tests.support.tools import need_c_library

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (ROOT / "ldshim" / "launcher" / "launcher.sh").read_bytes()

DUMP = r"""
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv) {
    unsigned long ignored = 0;
    for (int number = 1; number < 32; number++) {
        struct sigaction now;
        if (!sigaction(number, 0, &now) && now.sa_handler == SIG_IGN) ignored |= 1ul << number;
    }
    printf("%d%c%lu%c%d%c", getpid(), 0, ignored, 0, argc, 0);
    for (char **word = argv; *word; word++) { fputs(*word, stdout); putchar(0); }
    for (char **word = environ; *word; word++) { fputs(*word, stdout); putchar(0); }
    return 0;
}
"""


class Dump:
    """What the tool was given. ignored: bit n for signal n; environment: entries as they stood."""

    def __init__(self, text: bytes) -> None:
        words = text.split(b"\0")[:-1]
        self.pid, self.ignored, argc = (int(word) for word in words[:3])
        self.argv = words[3 : 3 + argc]
        self.environment = words[3 + argc :]

    def get(self, name: bytes) -> bytes | None:
        """Return a variable, None when it is not there."""
        found = [entry.partition(b"=")[2] for entry in self.environment if entry.startswith(name + b"=")]
        return found[0] if found else None


def build_dump(place: Path) -> Path:
    """Compile the tool that tells what it was given."""
    place.mkdir(parents=True, exist_ok=True)
    source = place / "dump.c"
    source.write_text(DUMP)
    subprocess.run([need_c_library(), "-O1", "-o", str(place / "dump"), str(source)], check=True, env={"PATH": os.environ["PATH"]})
    return place / "dump"


def script(path: Path, text: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def launcher(directory: Path, name: str, real: Path, python: Path | str, package: Path = ROOT, family: str = "") -> Path:
    """Write one launcher into a marked directory, with whatever it is to find baked in. family: as link-farm would have found it out."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / os.fsdecode(real_tool.MARK)).touch()
    tool = os.fsencode(real)
    made = Launcher(name.encode(), real_tool.kind_of(name.encode()), (tool, tool), os.fsencode(python), [str(package)])
    if family:
        made.family, made.identity = family, plain_link.identity_of(tool)
    path = directory / name
    path.write_bytes(made.text(TEMPLATE))
    path.chmod(0o755)
    return path


def call(path: Path | str, *args: bytes | str, env: dict[str, str], shell: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
    """Run a launcher, by its own `#!` or by another shell, with exactly that environment."""
    return subprocess.run([*shell, str(path), *args], env=env, capture_output=True, timeout=60, check=False)
