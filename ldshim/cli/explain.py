"""`ldshim explain -- TOOL ARGS…`: what a call would become, and why, without reserving or running anything.

Into a pipe go plain lines, the same as LDSHIM_EXPLAIN writes. On a terminal a person compares two command lines that are a screen long and
differ in one word; so there they are one text, in which the words that would go and come are painted, or bracketed as `git diff
--word-diff` does where there is no colour, and of many words that stay only the first and the last are shown. Which words those are is
not guessed by comparing: the edits say it (decide/rewrite.py). The rows stand in the order of the journey (entry.py).
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

_JOURNEY = ("prefix", "tool", "family", "input", "confirm", "lto", "passed", "granted", "reason")
_LONG_LINES = 8  # of the terminal: a text that takes more is cut in its middle
_REASON_LINES = 3  # of any other row: an object with IR has sections with long names
_ROWS = 3  # of one label: a link may name a thousand files that are missing
_KEPT = 6  # words at either end of a long run


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Describe the command line."""
    one = commands.add_parser("explain", help="show what a call would become, and why, without reserving or running anything")
    one.add_argument("--json", action="store_true", help="as one JSON object, with the keys of the log")


def run(options: argparse.Namespace, call: list[bytes], environment: Environment) -> int:
    """Explain one call; return 0, 2 without a call, or the status of real_tool for a missing tool."""
    if not call:
        print("ldshim: explain: needs a call: ldshim explain [--json] -- TOOL ARGS…", file=sys.stderr)
        return 2
    return explain_call(call, environment, as_json=options.json)


def foresee(call: Call, environment: Environment, settings: Settings) -> tuple[Analysis, Grant, Edits]:
    """Say what one call would become, without reserving; a call that is not worth a look stays as it is."""
    reason = entry.why_not(call, environment, settings)
    analysis = Analysis(Decision(None, reason)) if reason else analyse(call, environment, settings, promise_memory=False)
    grant = foresee_grant(analysis.decision, analysis.source.client if analysis.source is not None else None)
    return analysis, grant, entry.edits_of(analysis, grant, environment)


def behind_prefix(call: Call, environment: Environment, settings: Settings) -> Call:
    """Return the call of the tool behind a prefix program, to be explained in its place; the same call where that runs as it is."""
    found = prefix.look(call.name, call.args)
    if isinstance(found, str):
        return call
    try:
        if found.insert < 0:
            tool = prefix.through(call, found, environment)
        else:
            word = call.args[found.at]
            name = real_tool.program_name(word)
            tool = real_tool.stand_in(name, call.args[found.at + 1 :], environment, word if b"/" in word else b"")
            tool.prefix = f"{prefix.runs_ldshim(call, found)}; what it changes is not foreseen here"
    except real_tool.UnfoundError:
        return call
    return call if entry.why_not(tool, environment, settings) else tool


def explain_call(argv: list[bytes], environment: Environment, *, as_json: bool) -> int:
    """Analyse one call and print what would become of it."""
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
        progress.say(f"looking at {real_tool.show(name)} and {len(call.args)} arguments")
        foreseen = foresee(call, environment, settings)
        screen = terminal.Screen(sys.stdout, environment)
        if as_json:
            lines = [json.dumps(record.record(call, *foreseen), indent=2)]
        elif screen.is_terminal:
            lines = for_terminal(screen, call, *foreseen)
        else:
            lines = record.lines(call, *foreseen, confirm=True)
    screen.write(lines)
    return 0


def for_terminal(screen: terminal.Screen, call: Call, analysis: Analysis, grant: Grant, edits: Edits) -> list[str]:
    """Explain one call on a terminal: filled lines behind painted labels, in the order of the journey."""
    rows = record.rows(call, analysis, grant, edits, confirm=True)
    out: list[str] = []
    hidden = 0

    def row(label: str, words: list[tuple[str, str]]) -> None:
        flowed = screen.flow(words, 10)
        out.extend([screen.paint(f"{label:<10}", "head") + flowed[0], *flowed[1:]])

    for wanted in _JOURNEY:
        found = [text for label, text in rows if label == wanted]
        for text in found[:_ROWS]:
            shortened = terminal.middle(text, _REASON_LINES * screen.width)
            hidden += shortened != text
            row(wanted, [(word, _style(wanted, text)) for word in shortened.split(" ")])
        if found[_ROWS:]:
            hidden += 1
            row(wanted, [(f"… {len(found) - _ROWS} more …", "dim")])
    words, left_out = elided(screen, differing(screen, call.args, edits))
    hidden += left_out
    row("words", words or [("none", "dim")])
    if edits.apply(call.args) == call.args:
        row("", [(word, "dim") for word in ("the", "same", "afterwards")])
    for label, text in rows:
        if label == "env":
            shortened = terminal.middle(text, _LONG_LINES * screen.width)
            hidden += shortened != text
            row(label, [(word, "removed" if text.endswith(" dropped") else "added") for word in shortened.split(" ")])
    if hidden:
        out.append(screen.paint("what … stands for: add --json, or `| cat`", "dim"))
    return out


def _style(label: str, text: str) -> str:
    """Paint the number, and what speaks against it."""
    if label == "granted":
        return "" if text.startswith("1,") else "good"
    return "doubt" if label == "passed" or (label == "family" and text.startswith("not certain")) else ""


def differing(screen: terminal.Screen, args: list[bytes], edits: Edits) -> list[tuple[str, str]]:
    """Return the words of a command line before and after its edits as one text: (word, "", "removed" or "added")."""
    out: list[tuple[str, str]] = []
    for index in range(len(args) + 1):
        out += [_marked(screen, word, "added") for word in edits.behind.get(index, ())]
        if index == len(args):
            break
        after = edits.words.get(index, args[index])
        if after == args[index]:
            out.append((record.shown(after), ""))
        else:
            out += [_marked(screen, args[index], "removed"), _marked(screen, after, "added")]
    return out


def _marked(screen: terminal.Screen, word: bytes, style: str) -> tuple[str, str]:
    text = record.shown(word)
    if not screen.coloured:
        text = f"[-{text}-]" if style == "removed" else f"{{+{text}+}}"
    return text, style


def elided(screen: terminal.Screen, words: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], int]:
    """Leave words out of the middle of long runs that stay as they are, where the text is long: what is left, and how many went."""
    if sum(terminal.cells(word) + 1 for word, _ in words) <= _LONG_LINES * screen.width:
        return words, 0
    out: list[tuple[str, str]] = []
    run: list[tuple[str, str]] = []
    hidden = 0
    for word, style in [*words, ("", "end")]:
        if not style:
            run.append((word, style))
            continue
        if len(run) > 2 * _KEPT + 1:
            gone = len(run) - 2 * _KEPT
            run[_KEPT : _KEPT + gone] = [(f"… {gone} words …", "dim")]
            hidden += gone
        out += run
        run = []
        if style != "end":
            out.append((word, style))
    return out, hidden
