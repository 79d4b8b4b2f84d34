"""`ldshim explain -- TOOL ARGS…`: show what a call would become, and why; nothing is reserved and nothing runs.

In a pipe the output is the plain lines that LDSHIM_EXPLAIN writes. On a terminal a person compares two command lines that differ in one
argument, and each may fill the screen. So the terminal shows one text: removed and added arguments are coloured, or in brackets without
colour, as `git diff --word-diff` does. Of a long run of unchanged arguments only the first and the last are shown. The edits say which
arguments change (decide/rewrite.py); nothing is compared. The rows are in the order in which a call is decided (entry.py).
"""

from __future__ import annotations

import json
import sys

from .. import entry, record
from ..analysis import Analysis, analyse
from ..call import prefix, real_tool
from ..call.environment import read_settings
from ..decide.budget import Decision
from ..warden.grant import foresee as foresee_grant
from . import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..call.environment import Environment, Settings
    from ..call.real_tool import Call
    from ..decide.rewrite import Edits
    from ..warden.grant import Grant

_ORDER = ("prefix", "tool", "family", "input", "confirm", "lto", "passed", "granted", "memory", "reason")
_LONG_LINES = 8  # of the terminal: a longer text is cut in its middle
_REASON_LINES = 3  # of any other row: the names of sections with IR are long
_ROWS = 3  # of one label: a link may name a thousand files that are missing
_ENDS = 6  # arguments at either end of a long run


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Describe the command line."""
    one = commands.add_parser("explain", help="show what a call would become, and why, without reserving or running anything")
    one.add_argument("--json", action="store_true", help="as one JSON object, with the keys of the log")


def run(options: argparse.Namespace, call: list[bytes], environment: Environment) -> int:
    """Explain one call; return 0, 2 without a call, or 127 for a missing tool (111 for a loop)."""
    if not call:
        print("ldshim: explain: needs a call: ldshim explain [--json] -- TOOL ARGS…", file=sys.stderr)
        return 2
    return explain_call(call, environment, as_json=options.json)


def foresee(call: Call, environment: Environment, settings: Settings) -> tuple[Analysis, Grant, Edits]:
    """Return what one call would become, without reserving. A call that ldshim passes through is not analysed."""
    reason = entry.why_not(call, environment, settings)
    analysis = Analysis(Decision(None, reason)) if reason else analyse(call, environment, settings, promise_memory=False)
    grant = foresee_grant(analysis.decision, analysis.source.client if analysis.source is not None else None)
    return analysis, grant, entry.edits_of(analysis, grant, environment)


def behind_prefix(call: Call, environment: Environment, settings: Settings) -> Call:
    """Return the call of the tool behind a prefix program, to explain it instead; the same call if that tool runs unchanged."""
    found = prefix.look(call.name, call.args)
    if isinstance(found, str):
        return call
    try:
        if found.insert < 0:
            tool = prefix.through(call, found, environment)
        else:
            argument = call.args[found.at]
            name = real_tool.program_name(argument)
            tool = real_tool.stand_in(name, call.args[found.at + 1 :], environment, argument if b"/" in argument else b"")
            tool.prefix = f"{prefix.runs_ldshim(call, found)}; the changes it makes are not shown here"
    except real_tool.UnfoundError:
        return call
    return call if entry.why_not(tool, environment, settings) else tool


def explain_call(argv: list[bytes], environment: Environment, *, as_json: bool) -> int:
    """Analyse one call and print what it would become."""
    name, tool = real_tool.program_name(argv[0]), argv[0] if b"/" in argv[0] else b""
    try:
        call = real_tool.stand_in(name, argv[1:], environment, tool)
    except real_tool.UnfoundError as error:
        print(error, file=sys.stderr)
        return error.status
    settings = read_settings(environment)
    for line in [*call.complaints, *settings.complaints]:
        print(line, file=sys.stderr)
    if not call.kind:
        call = behind_prefix(call, environment, settings)
    with terminal.Progress(environment) as progress:
        progress.say(f"analysing {real_tool.show(name)} and {len(call.args)} arguments")
        forecast = foresee(call, environment, settings)
        screen = terminal.Screen(sys.stdout, environment)
        if as_json:
            lines = [json.dumps(record.record(call, *forecast), indent=2)]
        elif screen.is_terminal:
            lines = for_terminal(screen, call, *forecast)
        else:
            lines = record.lines(call, *forecast, confirm=True)
    screen.write(lines)
    return 0


def for_terminal(screen: terminal.Screen, call: Call, analysis: Analysis, grant: Grant, edits: Edits) -> list[str]:
    """Return the lines for a terminal: filled, with coloured labels, in the order of _ORDER."""
    rows = record.rows(call, analysis, grant, edits, confirm=True)
    out: list[str] = []
    hidden = 0

    def row(label: str, text: list[tuple[str, str]]) -> None:
        flowed = screen.flow(text, 10)
        out.extend([screen.paint(f"{label:<10}", "head") + flowed[0], *flowed[1:]])

    for wanted in _ORDER:
        found = [text for label, text in rows if label == wanted]
        for text in found[:_ROWS]:
            shortened = terminal.middle(text, _REASON_LINES * screen.width)
            hidden += shortened != text
            row(wanted, [(word, _style(wanted, text)) for word in shortened.split(" ")])
        if found[_ROWS:]:
            hidden += 1
            row(wanted, [(f"… {len(found) - _ROWS} more …", "dim")])
    arguments, left_out = elided(screen, differing(screen, call.args, edits))
    hidden += left_out
    row("arguments", arguments or [("none", "dim")])
    if edits.apply(call.args) == call.args:
        row("", [(word, "dim") for word in ("none", "of", "them", "changes")])
    for label, text in rows:
        if label == "env":
            shortened = terminal.middle(text, _LONG_LINES * screen.width)
            hidden += shortened != text
            row(label, [(word, "removed" if text.endswith(" dropped") else "added") for word in shortened.split(" ")])
    if hidden:
        out.append(screen.paint("to see the text in place of …: add --json, or `| cat`", "dim"))
    return out


def _style(label: str, text: str) -> str:
    """Choose the colour of the number granted, and of what prevents one."""
    if label == "granted":
        return "" if text.startswith("1,") else "good"
    return "doubt" if label == "passed" or (label == "family" and text.startswith("not certain")) else ""


def differing(screen: terminal.Screen, args: list[bytes], edits: Edits) -> list[tuple[str, str]]:
    """Return the arguments before and after the edits as one text: (argument, "", "removed" or "added")."""
    out: list[tuple[str, str]] = []
    for index in range(len(args) + 1):
        out += [_marked(screen, argument, "added") for argument in edits.behind.get(index, ())]
        if index == len(args):
            break
        after = edits.words.get(index, args[index])
        if after == args[index]:
            out.append((record.shown(after), ""))
        else:
            out += [_marked(screen, args[index], "removed"), _marked(screen, after, "added")]
    return out


def _marked(screen: terminal.Screen, argument: bytes, style: str) -> tuple[str, str]:
    text = record.shown(argument)
    if not screen.coloured:
        text = f"[-{text}-]" if style == "removed" else f"{{+{text}+}}"
    return text, style


def elided(screen: terminal.Screen, arguments: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], int]:
    """Shorten long runs of unchanged arguments where the text is long. Return the rest, and how many were left out."""
    if sum(terminal.cells(argument) + 1 for argument, _ in arguments) <= _LONG_LINES * screen.width:
        return arguments, 0
    out: list[tuple[str, str]] = []
    run: list[tuple[str, str]] = []
    hidden = 0
    for argument, style in [*arguments, ("", "end")]:
        if not style:
            run.append((argument, style))
            continue
        if len(run) > 2 * _ENDS + 1:
            left_out = len(run) - 2 * _ENDS
            run[_ENDS : _ENDS + left_out] = [(f"… {left_out} arguments …", "dim")]
            hidden += left_out
        out += run
        run = []
        if style != "end":
            out.append((argument, style))
    return out, hidden
