"""Hazard: an explanation that does not say which call, which file or which number it speaks of."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldshim.call.environment import Environment
from tests.support import tools

if TYPE_CHECKING:
    from tests.support.shim import Shim


class Explained:
    """`ldshim explain` of a call of gcc, in a directory of its own."""

    def __init__(self, shim: Shim, place: Path) -> None:
        self.shim = shim
        self.place = place
        self.tool = tools.need("gcc")

    def rows(self, *words: str, **more: str) -> dict[str, list[str]]:
        """Explain a call: what each label says."""
        command = [self.shim.command, "explain", "--", self.tool, *words]
        done = subprocess.run(command, env=self.shim.environment(**more), cwd=self.place, stdout=subprocess.PIPE, check=True, text=True)
        out: dict[str, list[str]] = {}
        for line in done.stdout.splitlines():
            out.setdefault(line[:10].strip(), []).append(line[10:])
        return out


@pytest.fixture
def explained(shim: Shim, tmp_path: Path) -> Explained:
    """Provide a way to explain calls."""
    return Explained(shim, tmp_path)


@pytest.mark.parametrize(
    ("line", "more", "expected"),
    [
        ("-c a.c", {}, "a compile"),
        ("-E a.c", {}, "a compile"),
        ("-cc1 a.c", {}, "a compile"),
        ("--version", {}, "a call that only asks the tool something"),
        ("-print-prog-name=ld", {}, "a call that only asks the tool something"),
        ("-v", {}, "a call that only asks the tool something"),
        ("-flto=auto conftest.c -o conftest", {}, "a configure probe, autoconf's"),
        ("CMakeFiles/cmTC_c41d5.dir/own.c.o -o cmTC_c41d5", {}, "a configure probe, CMake's"),
        ("-x c - -o /dev/null", {}, "a configure probe, kbuild's"),
        ("a.o", {"LDSHIM_DISABLE": "1"}, "LDSHIM_DISABLE=1"),
    ],
)
def test_a_call_that_is_passed_on_unread_says_why(line: str, more: dict[str, str], expected: str, explained: Explained) -> None:
    """C5: the reason is one of several, and says which; about family, LTO and number, which nobody has looked at, nothing is said."""
    said = explained.rows(*line.split(), **more)
    assert [expected] == said["reason"]
    assert {"tool", "reason", "before", "after"} == said.keys()


def test_a_link_below_one_that_has_its_number_says_so(explained: Explained) -> None:
    """A link that runs below one of ours is passed on for that reason."""
    from ldshim import entry  # noqa: PLC0415
    from ldshim.call import environment, real_tool  # noqa: PLC0415
    from ldshim.warden import handover  # noqa: PLC0415

    read_fd, write_fd = os.pipe()
    try:
        nested = Environment([(handover.HELD, handover.marker(write_fd))])
        call = real_tool.stand_in(b"gcc", [b"a.o"], nested, os.fsencode(explained.tool))
        assert "a link below one that has its number" == entry.why_not(call, nested, environment.read_settings(nested))
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_an_input_that_cannot_be_read_is_named(explained: Explained) -> None:
    """C8: of each input that is missing or no regular file explain says which, and what is wrong with it; a pipe is not opened."""
    (explained.place / "directory").mkdir()
    os.mkfifo(explained.place / "fifo")
    said = explained.rows("-flto=auto", "missing.o", "directory", "fifo", "-o", "x")
    assert [
        "missing.o: No such file or directory",
        "directory: no regular file: not read",
        "fifo: no regular file: not read",
    ] == said["input"]


@pytest.mark.parametrize(
    ("recorded", "more", "expected"),
    [("-fno-lto", {}, "1, of its own: nothing is reserved"), ("-flto", {"LDSHIM_JOBS": "3"}, "3, from LDSHIM_JOBS")],
)
def test_what_was_granted_says_from_where(recorded: str, more: dict[str, str], expected: str, explained: Explained) -> None:
    """A number comes from somebody, and one that nobody gave is the link's own."""
    (explained.place / "a.c").write_text("int f(int x) { return x; } int g(int x) { return x + 1; } int h(int x) { return x + 2; }\n")
    subprocess.run([explained.tool, recorded, "-c", "a.c"], cwd=explained.place, check=True)
    line = ["-flto=auto", "--param=lto-min-partition=1", "a.o", "-o", "x"]
    assert [expected] == explained.rows(*line, **more)["granted"]
