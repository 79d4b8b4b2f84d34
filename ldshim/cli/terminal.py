"""What a terminal can show; and nothing of it where there is none.

The same command is read by a person at 80 columns and by a script in a pipe, and a script must never meet an escape sequence, a line that
was cut, or a word about progress. So everything that depends on the reader is decided here, once for each stream:

  colour     only on a terminal that can (TERM is neither unset nor "dumb"), and not against NO_COLOR (https://no-color.org: any value but
             an empty one). Colour never carries a meaning alone: it paints words that say it already.
  width      the terminal's columns; 0 in a pipe, which means that nothing is cut.
  progress   one line on stderr, rewritten in place and erased at the end, so that nothing of it is left above the answer. Only where
             stderr is a terminal that can rewrite a line, and this process stands in its foreground: a job that was put into the
             background must not write over somebody's prompt.

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

USUAL_WIDTH = 80  # of a terminal that does not say: a serial line, a pty nobody sized
_BETWEEN = 0.05  # seconds from one drawing to the next: what changes faster is not read anyway
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
    """What one stream can show. is_terminal; width: columns, 0 where there is no terminal; coloured: whether escapes are understood."""

    __slots__ = ("coloured", "is_terminal", "stream", "width")

    def __init__(self, stream: TextIO, environment: Environment) -> None:
        self.stream = stream
        self.is_terminal = _is_terminal(stream)
        self.width = _columns(stream) if self.is_terminal else 0
        self.coloured = self.is_terminal and understands_escapes(environment) and not environment.get(b"NO_COLOR")

    def paint(self, text: str, style: str) -> str:
        """Return text in a style (head, good, bad, doubt, dim, added, removed), or as it is where nothing is coloured."""
        return f"{_STYLES[style]}{text}{_PLAIN}" if self.coloured and text else text

    def flow(self, words: Iterable[tuple[str, str]], indent: int = 0) -> list[str]:
        """Fill lines with (word, style or ""), painted; from the second line on behind `indent` blanks, which the first has already.

        One line where there is no terminal. A word that is too long for a line is broken: a path has no blanks.
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
        """Write whole lines, in UTF-8 whatever the locale says: a path that the locale cannot spell must not end in a traceback."""
        self.stream.flush()
        self.stream.buffer.write("".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace"))
        self.stream.flush()


class Progress:
    """One line on stderr that says what is being done, gone at the end; silent where stderr is no terminal. A context manager."""

    __slots__ = ("_drawn", "_next", "_screen", "_shows")

    def __init__(self, environment: Environment, stream: TextIO | None = None) -> None:
        self._screen = Screen(sys.stderr if stream is None else stream, environment)
        self._shows = self._screen.is_terminal and understands_escapes(environment)
        self._drawn = False
        self._next = 0.0

    def say(self, text: str, done: int = 0, total: int = 0, at_once: bool = False) -> None:
        """Show text in place of what stood there, after `done/total` where a total is known.

        Too soon after the last one nothing is shown, unless at_once: for steps that are few, each of which may take long.
        """
        now = clock.now()
        if not self._shows or (now < self._next and not at_once) or not _in_foreground(self._screen.stream):
            return
        counted = f"{done}/{total} {text}" if total else text
        # One column stays free: in the last one some terminals wrap, and a wrapped line cannot be erased.
        self._draw(_ERASE + fit(counted, self._screen.width - 1))
        self._drawn = True
        self._next = now + _BETWEEN

    def erase(self) -> None:
        """Leave the line as it was before; also before anything else is written to the terminal."""
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
            # In one system call, past Python's buffers: what the stream holds back would come out in the middle of a line.
            self._screen.stream.flush()
            os.write(self._screen.stream.fileno(), text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            self._shows = False  # the terminal has gone


def understands_escapes(environment: Environment) -> bool:
    """Tell whether TERM names a terminal that can do more than print: the kernel and cron give none, Emacs' shell says dumb."""
    return environment.get(b"TERM") not in (b"", b"dumb", b"unknown")


def printable(text: str) -> str:
    """Spell out what would move the cursor or ring the bell: a path may hold any byte."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def cells(text: str) -> int:
    """Count the columns that text takes: two for wide characters, none for combining ones."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, width: int) -> str:
    """Cut text at its end to at most width columns, with `…` in place of what went."""
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
    """Cut text to at most width columns, with `…` for what went from its middle: both ends of a path say most. width 0: no limit."""
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
