"""A terminal of so many columns, with a real command in its foreground, and what a person would see on it in the end.

The problem: what a command does on a terminal shows only on one (isatty, its width, the foreground process group), and the bytes that
come out of it are not what stands there when the command is over: lines are rewritten and erased. The consequence: the command runs on a
pty of its own, as the leader of a session whose controlling terminal that pty is; and its output is played back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios

from tests.support import tools

PATIENCE = 60.0  # seconds without a byte, after which the command is killed: a test must not hang
_LEADER = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
_SEQUENCE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Seen:
    """What came out. status: the command's exit status; raw: every byte; lines: what stands on the screen afterwards, without colours."""

    def __init__(self, status: int, raw: bytes) -> None:
        self.status = status
        self.raw = raw.decode()
        self.lines = play(self.raw)


def run(command: list[str], env: dict[str, str], columns: int = 80, cwd: str | os.PathLike[str] | None = None) -> Seen:
    """Run a command on a terminal of its own, its three streams, to its end."""
    master, slave = tools.terminal()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, master)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-c", _LEADER, *command], stdin=slave, stdout=slave, stderr=slave, env=env, cwd=cwd, start_new_session=True
        )
        os.close(slave)
        raw = b""
        with contextlib.suppress(OSError):  # EIO: the last process has closed the terminal
            while select.select([master], [], [], PATIENCE)[0]:
                raw += os.read(master, 65536)
            os.killpg(process.pid, signal.SIGKILL)
        return Seen(process.wait(), raw)


def play(raw: str) -> list[str]:
    """Play output back: carriage return, line feed, erase to the end of the line; colours are dropped, any other sequence is an error."""
    lines, column = [""], 0
    at = 0
    while at < len(raw):
        found = _SEQUENCE.match(raw, at)
        assert found, f"not understood: {raw[at : at + 20]!r}"
        at = found.end()
        number, letter, control, text = found.groups()
        if text:
            line = lines[-1].ljust(column)
            lines[-1] = line[:column] + text + line[column + len(text) :]
            column += len(text)
        elif control == "\n":
            lines.append("")  # a terminal in its usual mode writes a carriage return before it
        elif control == "\r":
            column = 0
        elif letter == "K":
            assert not number, "only erasing to the end of the line is played back"
            lines[-1] = lines[-1][:column]
        else:
            assert letter == "m", f"more than colours: {found.group()!r}"
    return lines[:-1] if lines[-1] == "" else lines
