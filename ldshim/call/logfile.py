"""Append to the log that LDSHIM_LOG names: one JSON object on each line, in one write that never waits."""

from __future__ import annotations

import json
import os

VERSION = 1  # of the keys, which the man page lists (tests/process/test_man.py compares); it grows when a key changes its meaning


def append(path: bytes, entry: dict[str, object]) -> None:
    """Append one JSON object as one line in one O_APPEND write. A log that cannot be written has no effect on the link.

    Nothing here waits: to open a FIFO without a reader fails, and so does a write to a full FIFO or to a stopped terminal.
    """
    line = json.dumps(entry).encode("ascii") + b"\n"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
        try:
            if os.write(fd, line) < len(line):
                os.write(fd, b"\n")  # the file system is full: the next entry starts on its own line
        finally:
            os.close(fd)
    except OSError:
        return
