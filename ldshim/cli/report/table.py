"""The report as a table for a terminal: a line for each link, and the totals.

A line of 80 columns has no room for everything, so columns shrink in a fixed order. The name of the output is first, since it is the
longest and its start is the most useful part. In a pipe nothing is cut. A terminal whose locale is not UTF-8 gets the table in ASCII.
"""

from __future__ import annotations

import textwrap
import time

from .. import terminal
from . import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...call.environment import Environment
    from .links import Link

HEADS = ("start", "output", "lto", "family", "asked", "threads", "over time", "wall s", "waited", "source")
OUTPUT, LTO, FAMILY, ASKED, SPARK, SOURCE = 1, 2, 3, 4, 6, 9
_NUMBERS = (7, 8)
# (column, its least width), in the order in which they are cut
_CUT = ((SPARK, 9), (OUTPUT, 12), (LTO, 4), (ASKED, 5), (OUTPUT, 6), (FAMILY, 4), (SOURCE, 6))
_WIDEST_SPARK = 24
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = ".:-=+*#@"


class Spelling:
    """The characters of the table. unicode: the locale is UTF-8; else everything is ASCII."""

    def __init__(self, unicode: bool) -> None:
        self.unicode = unicode
        self.bars = _BARS if unicode else _PLAIN_BARS
        self.arrow = "→" if unicode else "->"
        self.dots = "…" if unicode else "..."

    def text(self, text: str) -> str:
        """Return text as this terminal can show it."""
        return text if self.unicode else text.replace("…", "...").encode("ascii", "backslashreplace").decode("ascii")

    def cut(self, text: str, width: int) -> str:
        """Cut text at its end to width columns."""
        if self.unicode:
            return terminal.fit(text, width)
        return text if len(text) <= width else text[: max(0, width - 3)] + self.dots[: max(0, width)]


def speaks_utf8(environment: Environment) -> bool:
    """Return whether the locale is UTF-8, by the first of LC_ALL, LC_CTYPE and LANG that is set."""
    for name in (b"LC_ALL", b"LC_CTYPE", b"LANG"):
        if environment.get(name):
            return environment.get(name).lower().replace(b"-", b"").partition(b".")[2].startswith(b"utf8")
    return False


def _cells(text: str) -> int:
    return len(text) if text.isascii() else terminal.cells(text)


def spark(link: Link, width: int, most: int, bars: str) -> str:
    """Draw the threads of a link over time, in `width` characters; the tallest bar is `most` threads. "" when unknown."""
    if not link.wall or not link.at:
        return ""
    out, step = "", 0
    for column in range(width):
        until = link.wall * (column + 1) / width
        highest = link.held[step]
        while step + 1 < len(link.at) and link.at[step + 1] < until:
            step += 1
            highest = max(highest, link.held[step])
        out += bars[max(0, -(-highest * len(bars) // most) - 1)] if highest else " "
    return out


def cells(link: Link, spelling: Spelling, most: int) -> list[str]:
    """Return a link's columns."""
    threads = (
        str(link.granted) if not link.ended else f"{link.first}{spelling.arrow}{link.most}" if link.first != link.most else str(link.most)
    )
    wall = "no end" if link.may_end else ""
    return [
        time.strftime("%H:%M:%S", time.localtime(link.start)),
        spelling.text(link.name),
        spelling.text(link.lto),
        spelling.text(link.family),
        spelling.text(link.asked),
        threads,
        spark(link, _WIDEST_SPARK, most, spelling.bars),
        wall if link.wall is None else f"{link.wall:.2f}",
        "" if link.waited is None else f"{link.waited:.2f}",
        spelling.text(link.source),
    ]


def widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the width of each column, cut in order until a line fits into `width`; 0: nothing is cut."""
    out = [max(_cells(row[column]) for row in rows) for column in range(len(HEADS))]
    if width:
        for column, least in _CUT:
            out[column] -= min(max(0, out[column] - least), max(0, sum(out) + len(out) - 1 - width))
    return out


def write(links: Sequence[Link], screen: terminal.Screen, environment: Environment) -> None:
    """Write the table and the totals of links, which are sorted by their start."""
    spelling = Spelling(speaks_utf8(environment))
    screen.write(lines(links, screen, spelling))


def lines(links: Sequence[Link], screen: terminal.Screen, spelling: Spelling) -> Iterator[str]:
    """Yield the lines of the table: a heading for each day, a line for each link, the totals."""
    most = usage.tallest(links)
    rows = [cells(link, spelling, most) for link in links]
    wide = widths([HEADS, *rows], screen.width)

    def line(row: Sequence[str]) -> str:
        shown = []
        for column, (cell, width) in enumerate(zip(row, wide)):
            fitted = spelling.cut(cell, width)
            gap = " " * (width - _cells(fitted))
            shown.append(gap + fitted if column in _NUMBERS else fitted + gap)
        return " ".join(shown).rstrip()

    yield screen.paint(line(HEADS), "head")
    day = ""
    for link, row in zip(links, rows):
        today = time.strftime("%a %Y-%m-%d", time.localtime(link.start))
        if today != day:
            yield screen.paint(today, "dim")
            day = today
        if link.wall and wide[SPARK] != _WIDEST_SPARK:
            row[SPARK] = spark(link, wide[SPARK], most, spelling.bars)
        yield screen.paint(line(row), "doubt") if not link.ended and link.may_end else line(row)
    yield ""
    totals = "; ".join(usage.Totals(links).sentences()) + "."
    yield from textwrap.wrap(spelling.text(totals), screen.width - 1 if screen.width else 140)
