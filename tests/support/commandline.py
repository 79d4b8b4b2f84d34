"""What the tests of `ldshim.command` share: real tools asked how they read a word, and the answers they give.

A tool is asked in ways that never link: a driver with -###, a linker with `--version` behind the option in question, which it prints
unless the option took the word.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from typing import TYPE_CHECKING

from ldshim.command import argv
from tests.support.tools import clang_named, llds, need

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ldshim.command.argv import Arguments, Facts, Table

LLDS = llds()
CLANGS = [clang_named(lld) for lld in LLDS]
LINKERS = ["ld.bfd", "ld.gold", *LLDS, "ld.mold"]
REFUSED = re.compile(
    r"unrecogni[sz]ed|unknown (argument|option|command)|unsupported|invalid option|is not a valid|unexpected|not supported", re.IGNORECASE
)
C_LOCALE = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def run(tool: str, *args: str | bytes, cwd: Path | None = None) -> tuple[int, str]:
    """Run an installed tool in the C locale; its status, and all that it said. Without cwd it runs in a scratch directory."""
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [need(tool), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=C_LOCALE,
            cwd=cwd or scratch,
            check=False,
            timeout=60,
        )
    return done.returncode, done.stdout.decode(errors="surrogateescape")


def plain(line: str) -> Arguments:
    """Return the words of a line written for reading: separated by blanks."""
    return argv.Arguments.plain(line.encode().split())


def takes_next(table: Table) -> set[bytes]:
    """List the spellings that take one following word when nothing is joined to them."""
    taking = (row for row in table.rows if argv.FOLLOWING[row.arity] == 1 and row.arity != argv.JOINED_AND_SEPARATE)
    return {spelling for row in taking for spelling in row.spellings}


def inputs(facts: Facts) -> list[str]:
    """Return the inputs as one would write them: `-lfoo`, or a name, with what holds for each: w(hole), s(tatic)."""
    marks = [("w" if given.whole else "") + ("s" if given.static else "") for given in facts.inputs]
    names = [("-l" if given.library else "") + given.name.decode() for given in facts.inputs]
    return [name + (f" [{mark}]" if mark else "") for name, mark in zip(names, marks)]


def values(said: Iterable[argv.Option]) -> list[bytes | None]:
    """Return the values said, in order."""
    return [each.value for each in said]
