"""The picture in the page: the threads of all links as a stacked area, and below it a bar for each link, on one time axis.

All positions are percentages of the axis, so the browser lays the picture out at any width without a script, text keeps its size, and
zooming makes the plot wider. The shapes are stretched SVG; the labels are HTML, which can be cut with an ellipsis.

A band of the upper chart is one link while there are few, so that the bar of a link can be found in it; with more than BANDS links it is a
family.
"""

from __future__ import annotations

import html
import time

from . import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .links import Link

FAMILIES = ("gcc", "lld", "clang", "mold", "gold", "bfd", "wild")  # the page has a colour for each; all else is "other"
BANDS = 60
_POINTS = 1500  # of the upper chart: more are not visible
_SCALE = 100000  # units of the picture's width
_LABELLED = 60  # up to so many links, each gets room for its name
_LOW_LANES = 40  # with more lanes, each is low
_NAME_ROOM = 0.06  # of the width: below it there is no room for a name
_CUT_ROOM = 0.01
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
_DAYS = tuple(86400 * scale * count for scale in (1, 10, 100, 1000, 10000) for count in (1, 2, 5))


def colour(link: Link) -> str:
    """Return the class that gives a link its colour."""
    return link.family if link.family in FAMILIES else "other"


def threads(link: Link) -> str:
    """Return the threads that a link held, at its start and at most."""
    if not link.ended:
        return str(link.granted)
    return f"{link.first} → {link.most}" if link.first != link.most else str(link.most)


def spark(link: Link, most: int, style: str = "") -> str:
    """Draw the threads of a link as an SVG that fills its box; the full height is `most` threads."""
    steps = usage.steps_of(link)
    if not steps or not link.wall:
        return ""
    path = f"M0 {most}"
    for at, held in steps:
        path += f"H{(at - link.start) / link.wall * 1000:.0f}V{most - held}"
    return f'<svg {style} viewBox="0 0 1000 {most}" preserveAspectRatio="none" aria-hidden="true"><path d="{path}Z"/></svg>'


class Picture:
    """The picture of links. links: all, sorted by their start; drawn: those that get a bar, and their ids in the page."""

    def __init__(self, links: Sequence[Link], drawn: Sequence[tuple[str, Link]]) -> None:
        self.links = links
        self.drawn = drawn
        self.latest = max(usage.end_of(link) for link in links)
        clock = self.clock = usage.Clock([(link.start, self._until(link)) for link in links])
        # Room at the right, for the name of the link that ends last.
        self.length = clock.length * 1.02
        self.most = usage.tallest(links)
        self.sizes: dict[str, tuple[int, float, float]] = {}
        for link in links:
            if link.pool and link.pool_size:
                size, start, end = self.sizes.get(link.pool, (0, link.start, link.start))
                self.sizes[link.pool] = max(size, link.pool_size), min(start, link.start), max(end, self._until(link))

    def _until(self, link: Link) -> float:
        return usage.end_of(link) if link.ended else self.latest if link.may_end else link.start

    def part(self, at: float) -> float:
        """Return the position of a moment, from 0 at the left edge to 1 at the right."""
        return self.clock.place(at) / self.length

    def markup(self) -> str:
        """Return the whole picture."""
        top = usage.Totals(self.links).most
        top = max([1, top, *(size for size, _, _ in self.sizes.values())])
        every = next(step for scale in (1, 10, 100, 1000, 10**4, 10**5) for step in (scale, 2 * scale, 5 * scale) if top / step <= 5)
        levels = range(every, top + 1, every)
        top_edge = top * 1.06
        gutter = "".join(f'<span class="y" style="bottom:{_percent(level / top_edge)}">{level}</span>' for level in (0, *levels))
        grid = "".join(f'<div class="level" style="bottom:{_percent(level / top_edge)}"></div>' for level in levels)
        return (
            f'<div class="chart"><div class="gutter" aria-hidden="true"><div style="top:0;height:var(--sum)">{gutter}</div></div>\n'
            f'<div class="scroll" tabindex="0" role="group" aria-label="Timeline, scrolls when zoomed"><div class="plot">\n'
            f"{self._axis()}\n"
            f'<div class="sum">{grid}{self._bands(top_edge)}{self._limits(top_edge)}</div>\n'
            f"{self._lanes()}\n{self._free()}</div></div></div>"
        )

    def _axis(self) -> str:
        """Return the ticks at three levels of detail, which the page shows as it is zoomed, and the cuts."""
        out = []
        parts = self.clock.parts
        for (start, end, place), (following, _, onward) in zip(parts, parts[1:]):
            left, right = (place + end - start) / self.length, onward / self.length
            gap = usage.seconds(following - end)
            label = f"<span>{gap}</span>" if right - left > _CUT_ROOM else ""
            place_of_cut = f"left:{_percent(left)};width:{_percent(right - left)}"
            out.append(f'<div class="cut" style="{place_of_cut}" title="{gap} without a link">{label}</div>')
        edges = {place / self.length for _, _, place in parts}
        for level, at, label in self._ticks():
            edge = " edge" if at in edges else ""
            out.append(f'<div class="tick t{level}{edge}" style="left:{_percent(at)}"><span>{label}</span></div>')
        return "\n".join(out)

    def _ticks(self) -> list[tuple[int, float, str]]:
        known = _STEPS + _DAYS
        coarse = next((step for step in known if self.length / step <= 9), known[-1])
        steps = [coarse]
        while len(steps) < 3:
            steps.append(next((step for step in known[::-1] if step <= steps[-1] / 4 and _divides(step, steps[-1])), steps[-1]))
        out = []
        for start, end, _ in self.clock.parts:
            by_the_clock = len(self.clock.parts) > 1
            # Ticks are at whole minutes and hours of local time.
            origin = start - (start + time.localtime(start).tm_gmtoff) % coarse if by_the_clock else start
            for index in range(int((end - origin) / steps[2]) + 1):
                at = origin + index * steps[2]
                if at >= start:
                    level = next(level for level, step in enumerate(steps) if _divides(step, index * steps[2]))
                    label = (
                        time.strftime("%H:%M:%S", time.localtime(at)) if by_the_clock else _elapsed(at - start, steps[level], self.length)
                    )
                    out.append((level, self.part(at), label))
        return out

    def _bands(self, top: float) -> str:
        """Return the stacked area."""
        ended = [link for link in self.links if link.ended]
        groups: list[tuple[str, str, str, list[Link]]]
        names = {id(link): name for name, link in self.drawn}
        if len(ended) <= BANDS:
            # The longest at the bottom: a shorter link above does not move it.
            order = sorted(ended, key=lambda link: (colour(link), -(link.wall or 0.0)))
            groups = [(colour(link), names.get(id(link), ""), link.name, [link]) for link in order]
        else:
            groups = [(family, "", family, [link for link in ended if colour(link) == family]) for family in (*FAMILIES, "other")]
        times = sampled([at for at, _ in usage.settled(usage.total(ended))])
        floor = [0] * len(times)
        out = []
        for family, link_id, name, members in groups:
            held = _at_times(usage.total(members), times)
            path = _band([self.part(at) for at in times], floor, held, top)
            floor = [below + mine for below, mine in zip(floor, held)]
            if path:
                data = f' data-link="{link_id}"' if link_id else ""
                out.append(f'<path class="{family}"{data} d="{path}"><title>{html.escape(name)}</title></path>')
        most = max(floor, default=0)
        about = f'<title id="sum-title">Threads held by all links over time</title><desc id="sum-desc">At most {most} at once.</desc>'
        fine = "" if len(ended) <= BANDS else ' class="fine"'
        svg = f'<svg{fine} viewBox="0 0 {_SCALE} 1000" preserveAspectRatio="none" role="img" aria-labelledby="sum-title sum-desc">'
        return f"{svg}{about}{''.join(out)}</svg>"

    def _limits(self, top: float) -> str:
        out = ""
        for pool, (size, start, end) in self.sizes.items():
            left, right = self.part(start), self.part(end)
            title = html.escape(f"{size} threads in {pool}")
            place = f"bottom:{_percent(size / top)};left:{_percent(left)};width:{_percent(max(right - left, 0.002))}"
            out += f'<div class="pool" style="{place}" title="{title}"></div>'
        return out

    def _lanes(self) -> str:
        """Return a bar for each link that held something, packed into lanes."""
        bars = [(name, link) for name, link in self.drawn if link.ended or link.may_end]
        spans = [(self.part(link.start), self.part(self._until(link))) for _, link in bars]
        lanes = usage.lanes(spans, 0.1 if len(bars) <= _LABELLED else 0.004)
        count = max(lanes, default=-1) + 1
        room: dict[int, float] = {}
        following = [1.0] * len(bars)
        for index in range(len(bars) - 1, -1, -1):
            following[index] = room.get(lanes[index], 1.0)
            room[lanes[index]] = spans[index][0]
        out = [self._bar(name, link, span, lane, until - span[0]) for (name, link), span, lane, until in zip(bars, spans, lanes, following)]
        low = " low" if count > _LOW_LANES else ""
        return f'<div class="lanes{low}" style="height:calc(var(--lane) * {count})">\n' + "\n".join(out) + "</div>"

    def _bar(self, name: str, link: Link, span: tuple[float, float], lane: int, room: float) -> str:
        width = min(span[1] - span[0], room)
        classes = f"link {colour(link)}" + ("" if link.ended else " lost") + (" tight" if room < _NAME_ROOM else "")
        place = f"left:{_percent(span[0])};width:{_percent(room)};top:calc(var(--lane) * {lane})"
        title = html.escape("\n".join(facts(link)))
        bar = f'<span class="bar" style="width:{_percent(width / room if room else 1)}">{spark(link, self.most)}</span>'
        label = f'<span class="name"><b>{html.escape(link.name)}</b><em>{threads(link)}</em></span>'
        return f'<a class="{classes}" href="#{name}" title="{title}" style="{place}">{bar}{label}</a>'

    def _free(self) -> str:
        """Return a mark for each link that held no token: only its start is known."""
        marks = [
            f'<i class="{colour(link)}" style="left:{_percent(self.part(link.start))}" title="{html.escape(link.name)}"></i>'
            for _, link in self.drawn
            if not link.ended and not link.may_end
        ]
        return f'<div class="free">{"".join(marks)}</div>' if marks else ""


def facts(link: Link) -> list[str]:
    """Describe a link, a line for each fact."""
    asked = ", no number asked for" if link.asked == "default" else f", asked for {link.asked}" if link.asked else ""
    lto = "no LTO" if link.lto == "none" else "LTO" if link.lto == link.family else f"{link.lto} LTO"
    out = [f"{link.family or 'unknown tool'}, {lto}{asked}, demand {link.demand}, granted {link.granted}"]
    if link.ended:
        held = usage.total([link])
        used = sum(count * (until - at) for (at, count), (until, _) in zip(held, held[1:]))
        waited = f", {usage.seconds(link.waited)} of them waiting for one more" if link.waited else ""
        bound = "" if link.at else "at most "
        busy = f" ({link.peak} in use at most)" if link.peak != link.most else ""
        one = "thread" if link.most == 1 else "threads"
        out.append(f"{threads(link)} {one}{busy}, {bound}{used:.1f} thread seconds in {usage.seconds(link.wall or 0)}{waited}")
    elif link.may_end:
        out.append("no end in the log: it is running, or its warden was killed")
    out.append(f"from {link.source}" + (f": {link.pool}" if link.pool else ""))
    return [*out, link.reason] if link.reason else out


def sampled(times: list[float]) -> list[float]:
    """Reduce a list of moments to as many as are visible."""
    if len(times) <= _POINTS:
        return times
    return [times[index * (len(times) - 1) // (_POINTS - 1)] for index in range(_POINTS)]


def _at_times(steps: list[usage.Step], times: list[float]) -> list[int]:
    """Return the value of a series at each of some moments, both in order."""
    out, index, now = [], 0, 0
    for at in times:
        while index < len(steps) and steps[index][0] <= at:
            now = steps[index][1]
            index += 1
        out.append(now)
    return out


def _band(places: list[float], floor: list[int], held: list[int], top: float) -> str:
    """Return the path of one band, a closed piece for each stretch in which it holds anything."""
    out = []
    index = 0
    while index < len(held):
        if not held[index]:
            index += 1
            continue
        first = index
        while index < len(held) and held[index]:
            index += 1
        edge = [round(place * _SCALE) for place in places[first : index + 1]]
        if len(edge) == index - first:
            edge.append(edge[-1])
        heights = [(round(1000 - 1000 * (floor[at] + held[at]) / top), round(1000 - 1000 * floor[at] / top)) for at in range(first, index)]
        out.append(f"M{edge[0]} {heights[0][1]}")
        out.extend(f"V{upper}H{until}" for (upper, _), until in zip(heights, edge[1:]))
        out.extend(f"V{lower}H{since}" for (_, lower), since in zip(heights[::-1], edge[-2::-1]))
        out.append("Z")
    return "".join(out)


def _percent(part: float) -> str:
    return f"{part * 100:.4f}".rstrip("0").rstrip(".") + "%"


def clock_time(at: float, step: float) -> str:
    """Format a moment in local time, as precise as a step of the axis needs."""
    return time.strftime("%H:%M:%S", time.localtime(at)) + (f"{at % 1:.2f}"[1:] if step < 1 else "")


def _divides(step: float, value: float) -> bool:
    rest = value / step
    return abs(rest - round(rest)) < 1e-6


def _elapsed(value: float, step: float, length: float) -> str:
    """Format a time since the start. length: of the axis, in seconds."""
    if length < 120:
        return f"{round(value, 2):g} s"
    hours, rest = divmod(value + 1e-6, 3600)
    shown = f"{int(rest // 60):02}:{rest % 60:0{2 if step >= 1 else 5}.{0 if step >= 1 else 2}f}"
    return f"{int(hours)}:{shown}" if hours else shown.lstrip("0") if not shown.startswith("00") else shown[1:]
