"""What a terminal can show, so that a pipe gets none of it.

A person reads the output of a command at 80 columns, and a script reads it in a pipe. A script must not get an escape sequence, a line
that was cut, or a progress line. So everything that depends on the reader is decided here, once for each stream:

  colour     only on a terminal that supports it (TERM is neither unset nor "dumb"), and not with NO_COLOR (https://no-color.org: any value
             but an empty one). Colour is never the only sign: it paints words that have the same meaning.
  width      the columns of the terminal; 0 in a pipe, where nothing is cut.
  progress   one line on stderr, rewritten in place and erased at the end. It is shown only if stderr is a terminal that can rewrite a
             line, and this process is in its foreground: a background job must not write over a prompt.

Used as:
    screen = terminal.Screen(sys.stdout, environment)
    screen.write([screen.paint("missing", "bad")])
    with terminal.Progress(environment) as progress:
        for number, name in enumerate(names, 1):
            progress.say(f"asking {name}", number, len(names))
"""

from __future__ import annotations

import os
import sys
import unicodedata

from ..call import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import TextIO

    from ..call.environment import Environment

USUAL_WIDTH = 80  # of a terminal without a size: a serial line, or a pty
_BETWEEN = 0.05  # seconds between two drawings: nobody reads faster changes
_ERASE = "\r\x1b[K"
_STYLES = {
    "head": "\x1b[1m",
    "good": "\x1b[32m",
    "bad": "\x1b[1;31m",
    "doubt": "\x1b[33m",
    "dim": "\x1b[2m",
    "added": "\x1b[32m",
    "removed": "\x1b[9;31m",
}
_PLAIN = "\x1b[0m"


class Screen:
    """What one stream can show. is_terminal; width: columns, 0 without a terminal; coloured: whether colours are written."""

    __slots__ = ("coloured", "is_terminal", "stream", "width")

    def __init__(self, stream: TextIO, environment: Environment) -> None:
        self.stream = stream
        self.is_terminal = _is_terminal(stream)
        self.width = _columns(stream) if self.is_terminal else 0
        self.coloured = self.is_terminal and understands_escapes(environment) and not environment.get(b"NO_COLOR")

    def paint(self, text: str, style: str) -> str:
        """Return text in a style (head, good, bad, doubt, dim, added, removed), or unchanged without colour."""
        return f"{_STYLES[style]}{text}{_PLAIN}" if self.coloured and text else text

    def flow(self, words: Iterable[tuple[str, str]], indent: int = 0) -> list[str]:
        """Fill lines with (word, style or ""), painted. Each line but the first is indented by `indent` blanks.

        Without a terminal the result is one line. A word that is longer than a line is broken: a path has no blanks.
        """
        room = max(20, self.width - indent)
        lines: list[list[tuple[str, str]]] = [[]]
        used = 0
        for word, style in words:
            for piece in _pieces(word, room) if self.width else [word]:
                size = cells(piece)
                if lines[-1] and self.width and used + 1 + size > room:
                    lines.append([])
                used = size if not lines[-1] else used + 1 + size
                if lines[-1] and lines[-1][-1][1] == style:
                    lines[-1][-1] = (f"{lines[-1][-1][0]} {piece}", style)  # one pair of escapes for all of them
                else:
                    lines[-1].append((piece, style))
        painted = [" ".join(self.paint(text, style) if style else text for text, style in line) for line in lines]
        return [" " * indent * bool(number) + line for number, line in enumerate(painted)]

    def write(self, lines: Iterable[str]) -> None:
        """Write whole lines, in UTF-8 in any locale: a path that the locale cannot encode must not end in a traceback."""
        self.stream.flush()
        self.stream.buffer.write("".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace"))
        self.stream.flush()


class Progress:
    """A progress line on stderr, erased at the end; nothing where stderr is no terminal. A context manager."""

    __slots__ = ("_drawn", "_next", "_screen", "_shows")

    def __init__(self, environment: Environment, stream: TextIO | None = None) -> None:
        self._screen = Screen(sys.stderr if stream is None else stream, environment)
        self._shows = self._screen.is_terminal and understands_escapes(environment)
        self._drawn = False
        self._next = 0.0

    def say(self, text: str, done: int = 0, total: int = 0, at_once: bool = False) -> None:
        """Replace the line by text, after `done/total` where a total is given.

        A text less than 0.05 s after the last one is dropped, unless at_once: for few steps, each of which may be slow.
        """
        now = clock.now()
        if not self._shows or (now < self._next and not at_once) or not _in_foreground(self._screen.stream):
            return
        counted = f"{done}/{total} {text}" if total else text
        # One column stays free: some terminals wrap in the last one, and a wrapped line cannot be erased.
        self._draw(_ERASE + fit(counted, self._screen.width - 1))
        self._drawn = True
        self._next = now + _BETWEEN

    def erase(self) -> None:
        """Erase the line; call this before anything else is written to the terminal."""
        if self._drawn:
            self._draw(_ERASE)
        self._drawn = False
        self._next = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.erase()

    def _draw(self, text: str) -> None:
        try:
            # In one system call, after a flush: buffered text would appear in the middle of the line.
            self._screen.stream.flush()
            os.write(self._screen.stream.fileno(), text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            self._shows = False  # the terminal has gone


def understands_escapes(environment: Environment) -> bool:
    """Return whether TERM names a terminal with escape sequences: cron sets none, the shell of Emacs sets dumb."""
    return environment.get(b"TERM") not in (b"", b"dumb", b"unknown")


def printable(text: str) -> str:
    """Escape control characters: a path may contain any byte."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def cells(text: str) -> int:
    """Count the columns that text takes: two for wide characters, none for combining ones."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, width: int) -> str:
    """Cut text at its end to at most width columns, with `…` in place of the rest."""
    if cells(text) <= width:
        return text
    out, left = "", width - 1
    for character in text:
        left -= cells(character)
        if left < 0:
            break
        out += character
    return out + "…" if width > 0 else ""


def middle(text: str, width: int) -> str:
    """Cut text to at most width columns, with `…` in place of its middle: both ends of a path matter. width 0: no limit."""
    if not width or cells(text) <= width:
        return text
    room = max(0, 2 * width // 3)
    tail = text[len(text) - room :]
    while tail and cells(tail) > room:
        tail = tail[1:]
    return fit(text, width - cells(tail)) + tail


def _pieces(word: str, room: int) -> list[str]:
    """Break a word into pieces of at most room columns."""
    if cells(word) <= room:
        return [word]
    out = [""]
    for character in word:
        if cells(out[-1]) + cells(character) > room:
            out.append("")
        out[-1] += character
    return out


def _is_terminal(stream: TextIO) -> bool:
    try:
        return os.isatty(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False  # closed, None, or no file at all


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH
    except (OSError, ValueError):
        return USUAL_WIDTH


def _in_foreground(stream: TextIO) -> bool:
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
