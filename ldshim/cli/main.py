"""`ldshim COMMAND`: what people type. A call of a tool never comes here (entry.py).

Each command is a module of this package with two functions: `add_parser` describes its command line, `run` does it. The words of a tool
or a build, behind `--`, are cut off first and never parsed here: they are bytes, and nobody's options but the tool's.
"""

from __future__ import annotations

import argparse
import os
import sys

from .. import __version__
from . import doctor, explain, link_farm, pool, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from ..call.environment import Environment

MODULES: dict[str, ModuleType] = {"explain": explain, "doctor": doctor, "link-farm": link_farm, "pool": pool, "report": report}
TAKES_A_CALL = frozenset((b"explain", b"pool"))


def parser() -> argparse.ArgumentParser:
    """Build the parser of every command."""
    top = argparse.ArgumentParser(
        prog="ldshim",
        description="Run a linker or a compiler driver with the threads that it may use.",
        epilog="ldshim TOOL ARGS… runs TOOL; a link to this command named gcc, ld.lld, … does the same. LDSHIM_DISABLE=1 turns it off. "
        "`man ldshim` has the rest.",
    )
    top.add_argument("--version", action="version", version=f"ldshim {__version__} (Python {sys.version.split()[0]}, {sys.executable})")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in MODULES.values():
        module.add_parser(commands)
    return top


def main(args: list[bytes], environment: Environment) -> int:
    """Run one of our own commands; return its exit status: 2 for a wrong command line, else the command's own."""
    own, call = split(args) if args[:1] and args[0] in TAKES_A_CALL else (args, [])
    options = parser().parse_args([os.fsdecode(word) for word in own])
    status: int = MODULES[options.command].run(options, call, environment)
    return status


def split(args: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Cut our own words from the tool's at the first `--`; explain does without one, too: at the first word that is no option."""
    if b"--" in args:
        cut = args.index(b"--")
        return args[:cut], args[cut + 1 :]
    if args[0] == b"explain":
        for index, word in enumerate(args[1:], 1):
            if not word.startswith(b"-"):
                return args[:index], args[index:]
    return args, []
