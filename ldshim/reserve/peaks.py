"""What links needed last time: a small table in our directory, by tool, output and size (C27).

The problem: the guess from the size of the input is five to ten times too high for some programs, and a build that waits by it waits for
nothing. The consequence: the warden, which looks at the link's memory anyway, leaves its peak behind, and the next link of the same tool to
the same output goes by that, with a margin (decide/memory_estimate.py).

The table is one file of RECORDS lines of one length; a link's line is chosen by its hash, so a newer link that falls on the same line is
what pushes an older one out, and the file never grows. Each line is written by one call and carries its own check: of a line that was
written half, or by two at once, nothing is believed. What is kept is the peak of the last links: a lower one lets it sink by an eighth.

A program that has grown must not go by what it was: the magnitude of the guess is part of the hash, so twice the input is another link.
A link that was killed leaves no new output, and nothing is learned from it. Where the memory is wrong all the same, it costs waiting, or
what there was before: nothing else goes by it.
"""

from __future__ import annotations

import os

NAME = b"peaks"
RECORDS = 4096
_LENGTH = 76  # bytes of a line
_SINKS = 8


class Key:
    """One link as it is found again. directory: of ours; output: path; guess: bytes for one job, of which only the magnitude matters."""

    __slots__ = ("_before", "_digest", "_directory", "_output")

    def __init__(self, directory: bytes, tool: bytes, output: bytes, guess: int) -> None:
        self._directory = directory
        self._output = output
        self._digest = digest(b"%b\0%b\0%d" % (tool, output, guess.bit_length()))
        self._before = _identity(output)

    def recall(self) -> tuple[int, int]:
        """Return bytes: what the link needed with one job, and for each job when it had several; 0 for what is not known."""
        try:
            fd = os.open(self._directory + b"/" + NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return 0, 0
        try:
            return self._read(fd)
        except OSError:
            return 0, 0
        finally:
            os.close(fd)

    def remember(self, one: int, each: int) -> None:
        """Keep what the link needed, if it has made its output. Raises OSError where it cannot be written."""
        now = _identity(self._output)
        if not (one or each) or not now or now == self._before:
            return
        fd = os.open(self._directory + b"/" + NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            was = self._read(fd)
            numbers = [max(new, old - old // _SINKS) for new, old in zip((one, each), was)]
            body = b"%016x %020d %020d" % (self._digest, *numbers)
            os.pwrite(fd, b"%b %016x\n" % (body, digest(body)), self._digest % RECORDS * _LENGTH)
        finally:
            os.close(fd)

    def _read(self, fd: int) -> tuple[int, int]:
        line = os.pread(fd, _LENGTH, self._digest % RECORDS * _LENGTH)
        body, _, check = line.rstrip(b"\n").rpartition(b" ")
        fields = body.split(b" ")
        if len(fields) != 3 or fields[0] != b"%016x" % self._digest or check != b"%016x" % digest(body):
            return 0, 0
        return int(fields[1]), int(fields[2])


class Meter:
    """The peaks of one link while it runs, in bytes. one: while it had one job; each: for each job while it had several."""

    __slots__ = ("each", "one")

    def __init__(self) -> None:
        self.one = 0
        self.each = 0

    def note(self, used: int, jobs: int) -> None:
        """Note what the link uses now, with so many jobs."""
        if jobs > 1:
            self.each = max(self.each, used // jobs)
        else:
            self.one = max(self.one, used)


def digest(text: bytes) -> int:
    """Hash by FNV-1a, 64 bits: hashlib costs an import, and Python's own hash is another one in each process."""
    value = 0xCBF29CE484222325
    for byte in text:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def _identity(path: bytes) -> tuple[int, ...]:
    """Return what changes when an output is made anew, () where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
