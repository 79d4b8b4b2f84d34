"""`ldshim COMMAND`: the commands of ldshim itself. A call of a tool does not reach this module (entry.py).

Each command is a module of this package with two functions: `add_parser` describes its command line, `run` runs it. The arguments of a
tool or a build, after `--`, are split off first and not parsed here: they are bytes, and their options are those of the tool.
"""

from __future__ import annotations

import argparse
import os
import sys

from .. import __version__
from . import doctor, explain, link_farm, pool, report, verify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from ..call.environment import Environment

MODULES: dict[str, ModuleType] = {
    "explain": explain,
    "doctor": doctor,
    "link-farm": link_farm,
    "pool": pool,
    "report": report,
    "verify": verify,
}
TAKES_A_CALL = frozenset((b"explain", b"pool", b"verify"))


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
    """Run a command of ldshim; return its exit status, 2 for a wrong command line."""
    own, call = split(args) if args[:1] and args[0] in TAKES_A_CALL else (args, [])
    options = parser().parse_args([os.fsdecode(argument) for argument in own])
    status: int = MODULES[options.command].run(options, call, environment)
    return status


def split(args: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Split our own arguments from the tool's at the first `--`; explain also without one: at the first argument that is no option."""
    if b"--" in args:
        end = args.index(b"--")
        return args[:end], args[end + 1 :]
    if args[0] == b"explain":
        for index, argument in enumerate(args[1:], 1):
            if not argument.startswith(b"-"):
                return args[:index], args[index:]
    return args, []
