"""The log that LDSHIM_LOG names: one JSON object a line, appended in one write that never waits."""

from __future__ import annotations

import json
import os

VERSION = 1  # of the keys (the man page has them all, and tests/process/test_man.py looks): another one when a key changes its meaning


def append(path: bytes, entry: dict[str, object]) -> None:
    """Append one JSON object as one line in one O_APPEND write; a log that cannot be written costs the link nothing.

    Nothing here waits: a FIFO that nobody reads cannot be opened for writing, one that is full takes nothing, nor does a stopped terminal.
    """
    line = json.dumps(entry).encode("ascii") + b"\n"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
        try:
            if os.write(fd, line) < len(line):
                os.write(fd, b"\n")  # the file system is full: at least the next line begins as one
        finally:
            os.close(fd)
    except OSError:
        return
