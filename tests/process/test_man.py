"""A man page rots in silence: a variable is added, a command grows an option, and nobody who types `man ldshim` learns of it.

So the page is held against the parser and the table of variables, is formatted by a real man, and is looked for where pip puts it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import venv
from pathlib import Path

import pytest

from ldshim import __version__, record
from ldshim.analysis import Analysis
from ldshim.backends import feeder
from ldshim.backends.job import Job, Result
from ldshim.backends.progress import Progress
from ldshim.backends.remote.settings import VARIABLES as REMOTE
from ldshim.call import real_tool
from ldshim.call.environment import VARIABLES, Environment
from ldshim.cli import main as cli
from ldshim.decide.budget import Decision
from ldshim.decide.rewrite import Edits
from ldshim.warden.grant import Grant
from ldshim.warden.history import History
from tests.support import tools

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "ldshim" / "doc" / "ldshim.1"


def plain() -> str:
    """Read the page without its markup."""
    text = re.sub(r"\\f[RBIP]|\\&|\"", "", PAGE.read_text())
    return re.sub(r"(?m)^\.[A-Z]+ ?", "", text.replace("\\-", "-"))


def options(parser: argparse.ArgumentParser) -> set[str]:
    """List the long options of a parser, --help aside."""
    return {word for action in parser._actions for word in action.option_strings if word.startswith("--") and word != "--help"}


def subparsers() -> dict[str, argparse.ArgumentParser]:
    """Find the parsers of the commands."""
    actions = cli.parser()._actions
    found: dict[str, argparse.ArgumentParser] = next(a for a in actions if isinstance(a, argparse._SubParsersAction)).choices
    return found


def test_every_variable_stands_in_the_page() -> None:
    """Each LDSHIM_* variable that is read is explained."""
    assert [] == [name for name, *_ in (*VARIABLES, *REMOTE) if not re.search(rf"^(BI? )?{name.decode()}=", plain(), re.M)]


@pytest.mark.parametrize("command", sorted(cli.MODULES))
def test_every_command_and_option_stands_in_the_page(command: str) -> None:
    """Each command, and each of its options, is named."""
    text = plain()
    assert f"ldshim {command}" in text
    assert [] == sorted(word for word in options(subparsers()[command]) if word not in text)


def test_every_key_of_the_log_stands_in_the_page(tmp_path: Path) -> None:
    """Each key of the lines of a link and of its jobs is named in the section LOG."""
    log = tmp_path / "log"
    call = real_tool.stand_in(b"sh", [], Environment([(b"PATH", os.fsencode(os.defpath))]))
    handover = record.record(call, Analysis(Decision(None, "")), Grant(), Edits(), "handover")
    record.epilogue(os.fsencode(log), 1)(History(0.0), 0.0)
    feeder.Told(os.fsencode(log), 1, Progress(1, b""), failures=True).done(Job([], b"", [], []), Result(0))
    section = PAGE.read_text().partition(".SH LOG")[2].partition(".SH ")[0]
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"(?m)^\.TP\n\.BR? (.*)$", section))))
    assert {*handover, *(key for line in log.read_text().splitlines() for key in json.loads(line))} == named


def test_the_page_is_of_this_version() -> None:
    """The version in its title is the package's."""
    assert f"ldshim {__version__}" in PAGE.read_text().splitlines()[1]


@pytest.mark.parametrize(
    "command", [["groff", "-man", "-Tutf8", "-ww", "-z"], ["mandoc", "-T", "lint", "-W", "warning"]], ids=lambda c: c[0]
)
def test_formatters_accept_the_page(command: list[str]) -> None:
    """Neither formatter has a warning."""
    done = subprocess.run([tools.need(command[0]), *command[1:], str(PAGE)], capture_output=True, check=False)
    assert b"" == done.stdout + done.stderr


@pytest.mark.matrix
def test_man_finds_the_page_that_pip_installed(tmp_path: Path) -> None:
    """`pip install` puts it where man looks for the pages of a directory on PATH."""
    man = tools.need("man")
    venv.create(tmp_path, with_pip=True)
    subprocess.run([tmp_path / "bin" / "pip", "install", "-q", "--no-deps", ROOT], check=True, capture_output=True)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "MANWIDTH": "80"}
    environment.pop("MANPATH", None)
    done = subprocess.run([man, "-w", "ldshim"], env=environment, capture_output=True, check=False)
    assert str(tmp_path / "share/man/man1/ldshim.1") == done.stdout.decode().strip()
