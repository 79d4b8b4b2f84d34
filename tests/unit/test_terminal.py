"""What a terminal gets, nobody else does: colour, cut lines, progress; and of progress nothing is left."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ldshim.call.environment import Environment
from ldshim.cli import terminal
from tests.support import screen

ROOT = Path(__file__).resolve().parents[2]
COLOURS = {"TERM": "xterm-256color", "PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}

TALKER = """
import sys
from ldshim.call.environment import read_environment
from ldshim.cli import terminal
environment = read_environment()
screen = terminal.Screen(sys.stdout, environment)
with terminal.Progress(environment) as progress:
    for number in range(1, 4):
        progress.say("asking " + "long " * 40, number, 3, at_once=True)
    if sys.argv[1:] == ["in between"]:
        progress.erase()
        screen.write(["in between"])
        progress.say("again")
screen.write([f"{screen.width} columns, {screen.paint('painted', 'bad')}"])
"""
RAISES = TALKER.replace("    if sys", "    raise KeyboardInterrupt\n    if sys")


def talk(*words: str, program: str = TALKER, columns: int = 80, env: dict[str, str] | None = None) -> screen.Seen:
    """Run the talker on a terminal."""
    return screen.run([sys.executable, "-c", program, *words], {**COLOURS, **(env or {})}, columns)


def test_colour_and_width_of_a_terminal() -> None:
    """On a terminal that can, text is painted, and the width is the terminal's."""
    seen = talk(columns=97)
    assert ["97 columns, painted"] == seen.lines
    assert "97 columns, \x1b[1;31mpainted\x1b[0m\r\n" in seen.raw


def test_a_terminal_that_does_not_say_has_80_columns() -> None:
    """A serial line, or a pty that nobody sized, is taken to be usual."""
    assert ["80 columns, painted"] == talk(columns=0).lines


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}])
def test_no_colour_where_it_is_not_wanted(env: dict[str, str]) -> None:
    """NO_COLOR, and a terminal that only prints, get words without escapes around them."""
    assert talk(env=env).raw.endswith("80 columns, painted\r\n")


def test_an_empty_no_color_says_nothing() -> None:
    """no-color.org: the variable counts when it is not an empty string."""
    assert "\x1b[1;31mpainted" in talk(env={"NO_COLOR": ""}).raw


def test_progress_is_one_line_that_goes_away() -> None:
    """Every step was shown, cut so that it cannot wrap, and nothing of it is left beside what was written in between."""
    seen = talk("in between", columns=40)
    assert ["in between", "40 columns, painted"] == seen.lines
    shown = [part for part in seen.raw.split("\r\x1b[K") if "asking" in part]
    assert ["1/3", "2/3", "3/3"] == [part[:3] for part in shown]
    assert {39} == {len(part) for part in shown}


def test_progress_is_erased_by_an_exception_too() -> None:
    """^C in the middle leaves a traceback of its own, and no line of progress."""
    assert not any("asking" in line for line in talk(program=RAISES).lines)


@pytest.mark.parametrize("term", ["dumb", ""])
def test_no_progress_on_a_terminal_that_cannot_erase(term: str) -> None:
    """What could not be taken back is not written."""
    assert "80 columns, painted\r\n" == talk(env={"TERM": term}).raw


def test_no_progress_from_the_background() -> None:
    """A job in the background does not write over the prompt: neither text nor a stop by the terminal."""
    shell = 'set -m; "$0" -c "$1" & wait $!; echo status $?'
    seen = screen.run(["sh", "-c", shell, sys.executable, TALKER], COLOURS)
    assert ["80 columns, painted", "status 0"] == seen.lines
    assert "asking" not in seen.raw


def test_a_pipe_gets_nothing_of_it() -> None:
    """In a pipe there is no progress, no colour and no width, whatever TERM says."""
    done = subprocess.run([sys.executable, "-c", TALKER], env=COLOURS, capture_output=True, check=True)
    assert (b"0 columns, painted\n", b"") == (done.stdout, done.stderr)


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-"])
def test_closed_streams_are_no_terminal(closed: str) -> None:
    """A command whose streams are closed goes on in silence: Python has None in their place."""
    program = "from ldshim.cli import terminal; from ldshim.call import environment as e; terminal.Progress(e.read_environment()).say('x')"
    done = subprocess.run(["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, program], env=COLOURS, check=False)
    assert 0 == done.returncode


def screen_of(columns: int) -> terminal.Screen:
    """Make a screen that is as wide as a test needs it."""
    out = terminal.Screen(io.StringIO(), Environment([]))
    out.width = columns
    return out


@pytest.mark.parametrize(
    ("words", "indent", "expected"),
    [
        ("aaaa bbbb cccc dddd eeee", 4, ["aaaa bbbb cccc dddd", "    eeee"]),
        ("x" * 45, 4, ["x" * 20, "    " + "x" * 20, "    xxxxx"]),
        ("漢字" * 6, 4, ["漢字" * 5, "    漢字"]),
        ("", 4, [""]),
    ],
)
def test_lines_are_filled_to_the_width(words: str, indent: int, expected: list[str]) -> None:
    """Words are kept whole as long as they fit, wide characters count twice, and the lines hang behind the label."""
    assert expected == screen_of(24).flow([(word, "") for word in words.split(" ")], indent)


def test_nothing_is_broken_without_a_terminal() -> None:
    """A pipe gets one line, however long."""
    assert ["a " + "b" * 500 + " c"] == screen_of(0).flow([("a", "bad"), ("b" * 500, ""), ("c", "")], 10)


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("/usr/lib/llvm-16/bin/ld.lld", 99, "/usr/lib/llvm-16/bin/ld.lld"),
        ("/usr/lib/llvm-16/bin/ld.lld", 18, "/usr/…6/bin/ld.lld"),
        ("/usr/lib/llvm-16/bin/ld.lld", 0, "/usr/lib/llvm-16/bin/ld.lld"),
        ("漢字漢字漢字", 7, "漢…漢字"),
        ("no room", 1, "…"),
        ("less than none", -9, ""),
    ],
)
def test_the_middle_is_what_goes(text: str, width: int, expected: str) -> None:
    """A long path keeps both its ends and fits."""
    found = terminal.middle(text, width)
    assert expected == found
    assert not width or terminal.cells(found) <= max(0, width)
