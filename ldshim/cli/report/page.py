r"""The report as one HTML page: totals, the picture, and a table with the reason and command line of each link.

The page is opened on machines without network, sent by mail and stored beside build logs. So it is one file that loads no other, and a
Content-Security-Policy in it permits only our own script, by its hash. A build, perhaps a malicious one, chose the content of the log: all
of it is escaped, none of it is part of a script, and a byte that is not UTF-8 is shown as `\xff`.

Without JavaScript the page is complete; with it, it can zoom, filter and sort. The number of bars and rows is at most DRAWN, because
browsers are slow with a hundred thousand; the totals and the upper chart count all links.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
import time

from ... import __version__
from . import picture, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .links import Link

DRAWN = 2000
HEADS = ("start", "output", "lto", "family", "asked", "threads", "over time", "wall s", "waited s", "source")
_NUMBERS = ("wall s", "waited s")
_OVERLAP = "A thread that moves from one link to another may count for both for a moment, because each warden records it separately."
_HERE = os.path.dirname(os.path.abspath(__file__))


def markup(links: Sequence[Link], logs: Sequence[str]) -> str:
    """Return the page. links: sorted by their start; logs: names of the files they come from."""
    drawn = [(f"l{index}", link) for index, link in enumerate(largest(links))]
    drawing = picture.Picture(links, drawn) if links else None
    totals, tallest = usage.Totals(links), usage.tallest(links)
    script = _read("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "script": script,
        "script-hash": f"sha256-{digest}",
        "title": html.escape("Links of " + (", ".join(os.path.basename(log) for log in logs[:3]) + (" …" if len(logs) > 3 else ""))),
        "when": html.escape(_when(links)),
        "tiles": _tiles(totals, [size for size, _, _ in drawing.sizes.values()] if drawing is not None else []),
        "keys": _keys(links),
        "chart": drawing.markup() if drawing is not None else '<p class="note">No link in the log.</p>',
        "note": _note(links, drawn, totals),
        "heads": "".join(f'<th scope="col"{_class(head)}>{head}</th>' for head in HEADS),
        "rows": "\n".join(_row(name, link, tallest) for name, link in drawn),
        "footer": f"ldshim {__version__}. Times are local. The threads of a link count its implicit one. {_OVERLAP}",
    }
    # In one pass: a `@@` inside a value is text.
    return re.sub("@@([a-z-]+)@@", lambda found: parts[found.group(1)], _read("page.html"))


def largest(links: Sequence[Link]) -> list[Link]:
    """Return the links to show, in their order: all, or those with the most thread seconds."""
    if len(links) <= DRAWN:
        return list(links)
    by_size = sorted(range(len(links)), key=lambda index: -(links[index].wall or 0.0) * links[index].peak)
    return [links[index] for index in sorted(by_size[:DRAWN])]


def _read(name: str) -> str:
    with open(os.path.join(_HERE, name), encoding="utf-8") as stream:
        return stream.read()


def _when(links: Sequence[Link]) -> str:
    if not links:
        return "nothing"
    end = max(usage.end_of(link) for link in links)
    day = "%A, %d %B %Y, %H:%M:%S"
    same = time.localtime(links[0].start)[:3] == time.localtime(end)[:3]
    return time.strftime(day, time.localtime(links[0].start)) + " to " + time.strftime("%H:%M:%S" if same else day, time.localtime(end))


def _tiles(totals: usage.Totals, pools: Sequence[int]) -> str:
    bound = "" if totals.exact else "≤ "
    of_pool = f" of {pools[0]}" if len(pools) == 1 else ""
    tiles = [
        (f"{totals.links:,}", "links" + (f", {totals.lost} without an end" if totals.lost else "")),
        (usage.seconds(totals.busy), "in which a link ran"),
        (f"{bound}{totals.most}{of_pool}", "threads at once, at most"),
        (f"{bound}{totals.mean:.2f}", "threads held on average"),
        (f"{bound}{totals.held:,.1f}", "thread seconds held"),
    ]
    if totals.waited is not None:
        tiles.append((usage.seconds(totals.waited), "waiting for one more thread"))
    return "\n".join(f'<div class="tile"><b>{value}</b><span>{label}</span></div>' for value, label in tiles)


def _keys(links: Sequence[Link]) -> str:
    count: dict[str, int] = {}
    for link in links:
        count[picture.colour(link)] = count.get(picture.colour(link), 0) + 1
    out = [f'<li class="{family}"><i></i>{family} {count[family]}</li>' for family in (*picture.FAMILIES, "other") if family in count]
    if any(link.pool_size for link in links):
        out.append('<li class="limit"><i></i>threads in the pool</li>')
    return "\n".join(out)


def _note(links: Sequence[Link], drawn: Sequence[tuple[str, Link]], totals: usage.Totals) -> str:
    notes = []
    if len(drawn) < len(links):
        notes.append(f"The {len(drawn)} largest links are shown; the upper chart and the totals count all {len(links)}.")
    if not totals.exact:
        notes.append("Some links have no steps in the log (an older ldshim): they count with their peak, so the numbers are upper bounds.")
    if totals.lost:
        notes.append("A link without an end is running, or its warden was killed; the upper chart does not count it.")
    if totals.free:
        notes.append("The marks at the bottom are links that held no token: only their start is known.")
    return f'<p class="note">{" ".join(notes)}</p>' if notes else ""


def _class(head: str) -> str:
    return ' class="n"' if head in _NUMBERS else ""


def _row(name: str, link: Link, most: int) -> str:
    """Return the two rows of a link in the table: its numbers, and its reason, which opens to the command line."""
    wall = "no end" if link.may_end else ""
    cells = [
        f'<td data-key="{link.start}">{time.strftime("%H:%M:%S", time.localtime(link.start))}</td>',
        f"<td><strong>{html.escape(link.name)}</strong></td>",
        f"<td>{html.escape(link.lto)}</td>",
        f'<td><span class="family">{html.escape(link.family)}</span></td>',
        f"<td>{html.escape(link.asked)}</td>",
        f'<td data-key="{link.most}">{picture.threads(link)}</td>',
        f'<td data-key="{link.most}">' + picture.spark(link, most, 'class="spark"') + "</td>",
        f'<td class="n">{wall if link.wall is None else f"{link.wall:.2f}"}</td>',
        f'<td class="n">{"" if link.waited is None else f"{link.waited:.2f}"}</td>',
        f"<td>{html.escape(link.source)}</td>",
    ]
    about = [f"{label} {value}" for label, value in (("process", str(link.pid)), ("in", link.cwd), ("pool", link.pool)) if value]
    why = (
        f"<details><summary>{html.escape(link.reason or 'no reason in the log')}</summary>"
        f"<p>{html.escape(', '.join(about))}</p><p><code>{html.escape(link.command)}</code></p></details>"
    )
    return (
        f'<tbody id="{name}" class="{picture.colour(link)}"><tr>{"".join(cells)}</tr>'
        f'<tr><td class="why" colspan="{len(HEADS)}">{why}</td></tr></tbody>'
    )
