"""`ldshim --version`, `ldshim explain`: what people type. A call of a tool never comes here (entry.py)."""

from __future__ import annotations

import argparse
import json
import os
import sys

from .. import __version__, carryout, entry, environ, explain, findtool, plan
from . import link_farm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..environ import Environment, Settings
    from ..findtool import Call


def parser() -> argparse.ArgumentParser:
    """Build the parser. The tool's words come behind `--` and are never parsed here."""
    top = argparse.ArgumentParser(
        prog="ldshim",
        description="Run a linker or a compiler driver with the threads that it may use.",
        epilog="ldshim TOOL ARGS… runs TOOL; a link to this command named gcc, ld.lld, … does the same. LDSHIM_DISABLE=1 turns it off.",
    )
    top.add_argument("--version", action="version", version=f"ldshim {__version__} (Python {sys.version.split()[0]}, {sys.executable})")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("explain", help="show what a call would become, and why, without reserving or running anything")
    one.add_argument("--json", action="store_true", help="as one JSON object, with the keys of the log")
    link_farm.add_parser(commands)
    return top


def main(args: list[bytes], environment: Environment) -> int:
    """Run one of our own commands; return its exit status: 0, 2 for a wrong command line, or findtool's own for a missing tool."""
    own, tool = split(args) if args[:1] == [b"explain"] else (args, [])
    options = parser().parse_args([os.fsdecode(word) for word in own])
    if options.command == "link-farm":
        names = [os.fsencode(name) for name in options.names]
        return link_farm.main(os.fsencode(options.directory), names, environment, refresh=options.refresh)
    if not tool:
        parser().error("explain needs a call: ldshim explain [--json] -- TOOL ARGS…")
    return explain_call(tool, environment, as_json=options.json)


def split(args: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Cut our own words from the tool's at the first `--`; without one, at the first word behind the command that is no option."""
    if b"--" in args:
        cut = args.index(b"--")
        return args[:cut], args[cut + 1 :]
    for index, word in enumerate(args[1:], 1):
        if not word.startswith(b"-"):
            return args[:index], args[index:]
    return args, []


def foresee(call: Call, environment: Environment, settings: Settings) -> tuple[plan.Plan, carryout.Outcome]:
    """Make the plan of one call and what it would come to, without reserving; a call that is not worth a look stays as it is."""
    outcome = carryout.Outcome(call.args, environment)
    if not entry.is_worth_a_look(call, environment, settings):
        return plan.Plan(call, environment, settings), outcome
    understood = plan.make(call, environment, settings)
    carryout.preview(understood, outcome)
    return understood, outcome


def explain_call(words: list[bytes], environment: Environment, *, as_json: bool) -> int:
    """Make the plan of one call and print it."""
    name, tool = findtool.program_name(words[0]), words[0] if b"/" in words[0] else b""
    try:
        call = findtool.stand_in(name, words[1:], environment, tool)
    except findtool.UnfoundError as error:
        print(error, file=sys.stderr)
        return error.status
    settings = environ.settings(environment)
    for line in [*call.complaints, *settings.complaints]:
        print(line, file=sys.stderr)
    understood, outcome = foresee(call, environment, settings)
    if as_json:
        print(json.dumps(explain.record(understood, outcome), indent=2))
    else:
        sys.stdout.buffer.write("\n".join(explain.lines(understood, outcome, confirm=True)).encode("utf-8", "backslashreplace") + b"\n")
    return 0
