"""`ldshim explain` for people: what changes in a command line of a thousand words is what one sees; a pipe gets what it always got."""

from __future__ import annotations

import io
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from ldshim.call import real_tool
from ldshim.call.environment import Environment, read_settings
from ldshim.cli import explain, terminal
from tests.support import screen, tools
from tests.support.program import PARTITIONS
from tests.support.shim import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

COLUMNS = 80
HOW_TO_SEE_ALL = "to see the text in place of …: add --json, or `| cat`"
MANY = 1000


class Explained:
    """One LTO link of GCC, pinned to three jobs so that this machine's CPUs do not show. call: its words."""

    def __init__(self, shim: Shim, program: Program) -> None:
        self.shim = shim
        self.objects = program.objects(tools.need("gcc"), "-O1", "-flto=auto")
        self.call = [tools.need("gcc"), "-flto=auto", *PARTITIONS, *self.objects[:2], "-o", "", "-flto=8"]
        self.env = {**shim.environment(PYTHONPATH=str(ROOT), LDSHIM_JOBS="3", TERM="xterm"), "LC_ALL": "C.UTF-8"}

    def on_terminal(self, call: list[str], columns: int = COLUMNS, /, **env: str) -> screen.Seen:
        """Explain a call on a terminal."""
        return screen.run([self.shim.command, "explain", "--", *call], {**self.env, **env}, columns)

    def in_pipe(self, call: list[str], *options: str, **env: str) -> subprocess.CompletedProcess[bytes]:
        """Explain a call in a pipe."""
        command = [self.shim.command, "explain", *options, "--", *call]
        return subprocess.run(command, env={**self.env, **env}, capture_output=True, check=True, timeout=60)


@pytest.fixture
def explained(shim: Shim, program: Program) -> Explained:
    """Provide the link."""
    return Explained(shim, program)


def text(seen: screen.Seen) -> str:
    """Join what stands on the screen: lines are filled, so words may stand on any."""
    return " ".join(" ".join(seen.lines).split())


def test_replaced_words_are_struck_out_and_painted(explained: Explained) -> None:
    """Both -flto words are shown as they were, struck out in red, and as they will be, in green; an empty word is a pair of quotes."""
    raw = explained.on_terminal(explained.call).raw
    for said in ("auto", "8"):
        assert f"\x1b[9;31m-flto={said}\x1b[0m \x1b[32m-flto=3\x1b[0m" in raw
    assert "-o ''" in text(explained.on_terminal(explained.call))
    assert "\x1b[32mMAKEFLAGS" in raw


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_words_are_bracketed_without_colour(env: dict[str, str], explained: Explained) -> None:
    """Without colour the same words stand in brackets, as in git's word diff, and there is no escape for any of it."""
    seen = explained.on_terminal(explained.call, **env)
    assert "[--flto=auto-] {+-flto=3+}" in text(seen)
    assert "[--flto=8-] {+-flto=3+}" in text(seen)
    assert "\x1b[" not in seen.raw.replace("\r\x1b[K", "")


def test_the_rows_stand_in_the_order_of_the_journey(explained: Explained) -> None:
    """The tool first, then the inputs, what follows from them, the number, and what is written down in the end."""
    seen = explained.on_terminal(explained.call)
    labels = [line.split()[0] for line in seen.lines if not line.startswith(" ")]
    known = [label for label in ("tool", "family", "confirm", "lto", "granted", "reason", "arguments", "env") if label in labels]
    assert known == [label for label in dict.fromkeys(labels) if label in known]
    assert {"tool", "family", "lto", "granted", "reason", "arguments", "env"} <= set(labels)
    assert 0 == seen.status


def test_added_words_stand_where_they_go(explained: Explained, tmp_path: Path) -> None:
    """Words that only come are marked in their place: at the end of a linker's line, behind those that stay."""
    tools.need(tools.LLD)
    source = tmp_path / "t.c"
    source.write_text("int f(void) { return 1; }\n")
    objects = [str(tmp_path / f"{number}.o") for number in range(3)]
    for name in objects:
        subprocess.run([tools.clang_of(tools.LLD), "-flto=thin", "-c", str(source), "-o", name], check=True)
    seen = explained.on_terminal([tools.need(tools.LLD), "-r", *objects, "-o", "x"], 1000, NO_COLOR="1")
    words = next(line for line in seen.lines if line.startswith("arguments"))
    assert ["-r", *objects, "-o", "x", "{+--threads=3+}", "{+--thinlto-jobs=3+}"] == words.split()[1:]


def test_a_long_line_is_cut_in_its_middle(explained: Explained) -> None:
    """Of a thousand objects the first and the last are shown, how many are not, every word that changes, and how to see the rest."""
    call = [*explained.call[:-1], *(f"object{number:04}.o" for number in range(MANY)), explained.call[-1]]
    seen = explained.on_terminal(call, 200, NO_COLOR="1")
    shown = text(seen).partition(" arguments [")[2].partition(" env ")[0]
    shown = "[" + shown  # the row's label, not the word in a reason
    before, _, rest = shown.partition("… ")
    count, _, after = rest.partition(" arguments … ")
    assert len(call) - 1 + 2 == len(before.split()) + int(count) + len(after.split())  # two words are there twice, before and after
    assert ("[--flto=auto-]", "object0999.o [--flto=8-] {+-flto=3+}") == (
        before.split()[0],
        after[-len("object0999.o [--flto=8-] {+-flto=3+}") :],
    )
    assert HOW_TO_SEE_ALL == seen.lines[-1]


def test_no_line_is_longer_than_the_terminal(explained: Explained) -> None:
    """A call that is long in every respect is one screen of 80 columns."""
    seen = explained.on_terminal([*explained.call, *(f"{'long' * 50}{number:04}.o" for number in range(MANY))])
    assert [] == [line for line in seen.lines if terminal.cells(line) > COLUMNS]
    assert len(seen.lines) < 70


def test_a_pipe_gets_every_word(explained: Explained) -> None:
    """In a pipe, before and after are two whole lines, without escapes, marks or anything left out."""
    call = [*explained.call, *(f"object{number:04}.o" for number in range(MANY))]
    done = explained.in_pipe(call)
    rows = [line for line in done.stdout.decode().splitlines() if line.startswith(("before    ", "after     "))]
    words = [word or "''" for word in call[1:]]
    assert [
        "before    " + " ".join(words),
        "after     " + " ".join("-flto=3" if word.startswith("-flto=") else word for word in words),
    ] == rows
    assert (b"", False) == (done.stderr, b"\x1b" in done.stdout)


def test_a_pipe_gets_the_lines_of_ldshim_explain(explained: Explained, tmp_path: Path) -> None:
    """LDSHIM_EXPLAIN at a real link and `explain` in a pipe say the same, but for the numbers of a pipe that only a real link has."""
    call = [explained.call[0], "-flto=auto", *explained.objects, "-o", str(tmp_path / "out")]
    said = explained.in_pipe(call).stdout.splitlines()
    command = [explained.shim.named("gcc"), *call[1:]]
    done = subprocess.run(command, env={**explained.env, "LDSHIM_EXPLAIN": "1"}, capture_output=True, check=True)
    real = [line.partition(b"ldshim: ")[2] for line in done.stderr.splitlines() if line.startswith(b"ldshim: ")]
    labels = (b"lto  ", b"granted", b"reason", b"before", b"after")
    assert [line for line in said if line.startswith(labels)] == [line for line in real if line.startswith(labels)]


def test_json_is_the_same_everywhere(explained: Explained) -> None:
    """On a terminal --json prints the object that a pipe gets, whole."""
    seen = screen.run([explained.shim.command, "explain", "--json", "--", *explained.call], explained.env, COLUMNS)
    assert json.loads(explained.in_pipe(explained.call, "--json").stdout) == json.loads("".join(seen.lines))


def test_a_call_that_stays_as_it_is(explained: Explained) -> None:
    """A compile is shown with its words, none of them marked, and in words that nothing changes."""
    seen = explained.on_terminal([explained.call[0], "-c", "x.c"], NO_COLOR="1")
    assert "-c x.c none of them changes" in text(seen)


def test_a_long_variable_is_cut_in_its_middle(explained: Explained, tmp_path: Path) -> None:
    """A PATH of many screens is shortened on the terminal, and whole in a pipe."""
    farm = explained.shim.only(tmp_path / "only", "gcc")
    path = os.pathsep.join([str(farm), *(f"/nowhere/{number}" for number in range(500)), os.environ["PATH"]])
    call = ["gcc", *explained.call[1:]]
    seen = explained.on_terminal(call, PATH=path)
    assert (True, True) == (HOW_TO_SEE_ALL in text(seen), len(seen.lines) < 40)
    assert b"/nowhere/250:" in explained.in_pipe(call, PATH=path).stdout


def test_marks_come_from_the_edits_themselves(explained: Explained) -> None:
    """Taken without what goes the marked text is the line after, without what comes it is the line before."""
    environment = Environment([(key.encode(), value.encode()) for key, value in explained.env.items()])
    call = real_tool.stand_in(b"gcc", [word.encode() for word in explained.call[1:]], environment, explained.call[0].encode())
    _, _, edits = explain.foresee(call, environment, read_settings(environment))
    coloured = terminal.Screen(io.StringIO(), environment)
    coloured.coloured = True
    marked = explain.differing(coloured, call.args, edits)
    assert [word or b"''" for word in call.args] == [word.encode() for word, style in marked if style != "added"]
    assert [word or b"''" for word in edits.apply(call.args)] == [word.encode() for word, style in marked if style != "removed"]
    assert call.args != edits.apply(call.args)
