"""Hazard: a program between the shell and the build that swallows ^C, doubles it, or leaves the shell without a prompt after ^Z."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from ldshim.call import processes
from tests.support import tools
from tests.support.flight import wait_for

if TYPE_CHECKING:
    from tests.support.shim import Shim

# A shell with job control, as small as it can be: one job in the foreground of a terminal of its own; any line means `fg`.
SHELL = """
import os, signal, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    status = os.waitpid(job, os.WUNTRACED)[1]
    os.tcsetpgrp(0, os.getpgrp())
    if not os.WIFSTOPPED(status):
        break
    print("stopped by", os.WSTOPSIG(status), flush=True)
    sys.stdin.readline()
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
print("ended", -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)
"""

REPORT = """
import os, signal
numbers = {signal.SIGINT, signal.SIGQUIT, signal.SIGCONT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
got = 0
while got != signal.SIGTERM:
    got = int(signal.sigwait(numbers))
    print("got", got, flush=True)
"""


class Terminal:
    """A terminal with our small shell and one job in it. said: everything that was shown."""

    def __init__(self, shim: Shim, *words: str) -> None:
        self.master, slave = tools.terminal()
        self.said = ""
        command = [sys.executable, "-c", SHELL, shim.command, "pool", *words]
        env = shim.environment(TERM="xterm", COLUMNS="80")
        self.shell = subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)

    def see(self, text: str) -> None:
        """Wait until text is shown."""
        deadline = time.monotonic() + 20
        while text not in self.said:
            assert time.monotonic() < deadline, f"{text!r} was never shown: {self.said!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.said += os.read(self.master, 4096).decode()

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def job(self) -> int:
        """Tell the pid of the pool: it leads the group in the foreground."""
        return os.tcgetpgrp(self.master)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Collect the terminals of a test, and hang them up."""
    opened: list[Terminal] = []
    yield opened
    for one in opened:
        os.close(one.master)
        one.shell.kill()
        one.shell.wait()


def test_a_key_reaches_the_build_once(shim: Shim, terminals: list[Terminal]) -> None:
    """C14: the terminal gave ^C to the build itself, so the pool does not pass them on; what is sent to the pool alone it does."""
    terminal = Terminal(shim, "-j3", "--", sys.executable, "-c", REPORT)
    terminals.append(terminal)
    terminal.see("ready")
    for key, text in ((b"\x03", "got 2"), (b"\x1c", "got 3"), (b"\x03", "got 2")):
        terminal.said = ""
        terminal.type(key)
        terminal.see(text)
        assert 1 == terminal.said.count("got")
    terminal.said = ""
    os.kill(terminal.job(), signal.SIGTERM)
    terminal.see("ended 0\r\n")
    assert ["got", "15", "ended", "0"] == terminal.said.split()


def test_a_build_interrupted_at_the_terminal_ends_by_that_signal(shim: Shim, terminals: list[Terminal]) -> None:
    """^C ends the build, and the pool by the same signal: a shell loop around it stops; nothing is printed."""
    terminal = Terminal(shim, "-j3", "--", "sh", "-c", "echo up; exec sleep 60")
    terminals.append(terminal)
    terminal.see("up")
    terminal.said = ""
    terminal.type(b"\x03")
    terminal.see("ended -2\r\n")
    assert ["^C", "ended", "-2"] == terminal.said.replace("^C", "^C ").split()


def test_stop_and_continue_are_the_job_s(shim: Shim, terminals: list[Terminal]) -> None:
    """^Z stops the build and the pool, so that the shell has its prompt; `fg` continues both, twice, and the end is still the build's."""
    terminal = Terminal(shim, "-j3", "--", "sh", "-c", "echo pid $$ .; exec sleep 60")
    terminals.append(terminal)
    terminal.see(" .")
    build, pool = int(terminal.said.split()[1]), terminal.job()
    for _ in range(2):
        terminal.said = ""
        terminal.type(b"\x1a")
        terminal.see(f"stopped by {int(signal.SIGTSTP)}")
        wait_for(lambda: state(build) == state(pool) == b"T")
        terminal.type(b"fg\n")
        wait_for(lambda: b"T" not in (state(build), state(pool)) and terminal.job() == pool)
    terminal.said = ""
    terminal.type(b"\x03")
    terminal.see("ended -2")


def state(pid: int) -> bytes:
    """Return the state letter of a process: T is stopped."""
    return processes.stat_fields(pid)[0]


def test_verbose_shows_the_tokens_in_use_and_erases_them(shim: Shim, terminals: list[Terminal]) -> None:
    """-v keeps one line with the tokens that are out; at the end it is gone and the count stands there. Without -v there is nothing."""
    hold = (
        "import os, sys; from ldshim.reserve import jobserver, makeflags\n"
        "c = jobserver.connect(makeflags.parse(os.environb[b'MAKEFLAGS'])); c.take(2); sys.stdin.readline(); c.close()"
    )
    terminal = Terminal(shim, "-j4", "-v", "--", sys.executable, "-c", hold)
    terminals.append(terminal)
    terminal.see("of 3 tokens in use: 2")
    terminal.type(b"\n")
    terminal.see("ended 0\r\n")
    assert "ldshim: pool: tokens at the end: all of 3 are back" == terminal.said.split("\x1b[K")[-1].split("\r\n")[-3]
