"""The ways in which a link gets called, and one runner for all of them.

The problem: what a link may use depends on who started it (make 4.3 hands its pipe only to `+` recipes, 4.4 makes a fifo that anybody
can open, or nobody at all), so every expectation is a function of the way. The consequence: the ways have names and stand here, once,
each with the sources of tokens that ldshim may report under it; tests go through `run`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Callable

from tests.support import tools
from tests.support.program import FIXTURE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOBS = 4  # make -j4: three tokens and the implicit slot


class Way:
    """One way of calling a link.

    sources: where ldshim may say its number comes from; make: who finds the make, None for no make; target: plus or plain, of
    fixtures/program/Makefile; options: more options for make.
    """

    def __init__(self, sources: set[str], make: Callable[[], str] | None = None, target: str = "", *options: str) -> None:
        self.sources = sources
        self.make = make
        self.target = target
        self.options = options


WAYS = {
    "make43-plus": Way({"jobserver"}, tools.make43, "plus"),
    "make43-plain": Way({"recovered", "slots", "none"}, tools.make43, "plain"),
    "make44-fifo": Way({"jobserver"}, tools.make44, "plain"),
    "make44-pipe": Way({"jobserver"}, tools.make44, "plus", "--jobserver-style=pipe"),
    "no-make": Way({"slots", "none"}),
}


@contextlib.contextmanager
def session(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a link in a process session of its own, for a test that sends signals; a test that fails leaves none of it behind."""
    link = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield link
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(link.pid, signal.SIGKILL)
        raise
    finally:
        link.wait()


class Ran:
    """What one link did: its exit status (make's, under make), its own stderr, and what make said on stdout and stderr."""

    def __init__(self, status: int, stderr: bytes, make_said: bytes) -> None:
        self.status = status
        self.stderr = stderr
        self.make_said = make_said


def run(
    way: Way,
    command: list[str],
    env: dict[str, str],
    place: Path,
    watch: Callable[[subprocess.Popen[bytes]], int] = subprocess.Popen.wait,
    pass_fds: tuple[int, ...] = (),
) -> Ran:
    """Run one link in its way.

    command: of the link itself, no word with a blank; place: a directory for what is said; watch: takes the started process to its end.
    """
    place.mkdir(parents=True, exist_ok=True)
    err, make_err = place / "err", place / "make-err"
    with open(err, "wb") as link_stderr, open(make_err, "wb") as make_output:
        if way.make:
            make = way.make()
            first = place / "make-first"  # lto-wrapper runs the `make` it finds on PATH: let it be this one
            first.mkdir()
            (first / "make").symlink_to(make)
            env = {**env, "PATH": f"{first}{os.pathsep}{env['PATH']}"}
            makefile = str(FIXTURE / "Makefile")
            command = [make, f"-j{JOBS}", *way.options, "-f", makefile, way.target, "LINK=" + " ".join(command), f"ERR={err}"]
        stderr = make_output if way.make else link_stderr
        link = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=make_output, stderr=stderr, pass_fds=pass_fds)
        status = watch(link)
    return Ran(status, err.read_bytes(), make_err.read_bytes())
