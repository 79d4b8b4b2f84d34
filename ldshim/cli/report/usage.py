"""The threads that all links held together, over time; and the layout of the links in a picture.

The sum shows whether the machine was used, and whether the links took more threads than there were. So the steps of every link become
changes of one sum on the wall clock. A link without steps in the log (an older ldshim) counts with its peak from start to end, which is an
upper bound, and the totals say so. A link without an end does not count: what it held, and until when, is unknown.

A log may contain builds that are hours apart, and a picture to scale would be nearly empty. `Clock` cuts the time in which no link ran.
"""

from __future__ import annotations

import heapq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .links import Link

    Step = tuple[float, int]  # epoch seconds, threads from then on

# A warden records its steps and its end some milliseconds late (70 were seen on a busy machine). A thread that moves from one link to
# another counts for both during that time.
SHORTEST_PEAK = 0.1  # seconds
_SHORT_BREAK = 20.0  # seconds without a link that are always drawn
_LONG_BREAK = 0.15  # part of the time in which links ran: a longer break is cut
_CUT = 0.03  # part of that time: the width of a cut break in the picture


def end_of(link: Link) -> float:
    """Return the end of a link in epoch seconds; its start when the end is unknown."""
    return link.start + (link.wall or 0.0)


def steps_of(link: Link) -> list[Step]:
    """Return the changes of what a link held, with a 0 at its end; [] when unknown."""
    if link.wall is None:
        return []
    steps: list[Step] = [(link.start + at, held) for at, held in zip(link.at, link.held)] or [(link.start, link.peak)]
    # Between the handover and the first step there is the implicit thread.
    return [*([(link.start, 1)] if steps[0][0] > link.start else []), *steps, (end_of(link), 0)]


def tallest(links: Iterable[Link]) -> int:
    """Return the most threads that one link held, at least 1: the scale of all drawings."""
    return max([1, *(link.most for link in links if link.ended)])


def total(links: Iterable[Link]) -> list[Step]:
    """Add up what links held: (moment, sum from then on) for each change; changes at the same moment are one."""
    changes: dict[float, int] = {}
    for link in links:
        before = 0
        for at, held in steps_of(link):
            changes[at] = changes.get(at, 0) + held - before
            before = held
    out: list[Step] = []
    now = 0
    for at in sorted(changes):
        now += changes[at]
        if not out or out[-1][1] != now:
            out.append((at, now))
    return out


def settled(steps: Sequence[Step]) -> list[Step]:
    """Leave out peaks that are shorter than SHORTEST_PEAK."""
    out: list[Step] = []
    for index, (at, threads) in enumerate(steps):
        until, following = steps[index + 1] if index + 1 < len(steps) else (at + 2 * SHORTEST_PEAK, threads)
        if until - at < SHORTEST_PEAK and threads > following and threads > (out[-1][1] if out else 0):
            continue
        if not out or out[-1][1] != threads:
            out.append((at, threads))
    return out


class Totals:
    """The totals of all links.

    links; ended; lost: no end line, although there was a warden; free: without a warden; wall: seconds of all links added up; busy:
    seconds in which at least one ran; held: thread seconds; most: threads at once, for SHORTEST_PEAK or longer; waited: seconds, None
    when unknown; exact: every link that ended has steps, else held and most are upper bounds.
    """

    def __init__(self, links: Sequence[Link]) -> None:
        ended = [link for link in links if link.ended]
        self.links = len(links)
        self.ended = len(ended)
        self.lost = sum(not link.ended and link.may_end for link in links)
        self.free = self.links - self.ended - self.lost
        self.wall = sum(link.wall or 0.0 for link in ended)
        waits = [link.waited for link in ended if link.waited is not None]
        self.waited = sum(waits) if waits else None
        self.exact = all(link.at for link in ended)
        steps = total(ended)
        self.held = self.busy = 0.0
        for (at, threads), (until, _) in zip(steps, steps[1:]):
            self.held += threads * (until - at)
            self.busy += (until - at) if threads else 0.0
        self.most = max((threads for _, threads in settled(steps)), default=0)

    @property
    def mean(self) -> float:
        """Threads held on average while any link ran."""
        return self.held / self.busy if self.busy else 0.0

    def sentences(self) -> list[str]:
        """Return the totals for people, a clause for each."""
        bound = "" if self.exact else "at most "
        out = [f"{self.links} links, {seconds(self.wall)} of them added up"]
        if self.lost:
            out.append(f"{self.lost} without an end in the log: running, or the warden was killed")
        if self.free:
            out.append(f"{self.free} that held no token")
        if self.ended:
            out.append(f"{bound}{self.held:.1f} thread seconds held")
            out.append(f"{bound}{self.mean:.2f} threads on average while any link ran ({seconds(self.busy)})")
            out.append(f"{bound}{self.most} threads at once")
        if self.waited is not None:
            out.append(f"{seconds(self.waited)} in which a link wanted one more thread and none was free")
        return out


def seconds(value: float) -> str:
    """Format a duration: 0.25 s, 12.3 s, 2:05 min, 3:04 h."""
    if value < 59.95:
        return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def lanes(spans: Sequence[tuple[float, float]], least: float) -> list[int]:
    """Pack spans, sorted by their start, into as few lanes as they need: the lane of each.

    least: the least length of a span, with a gap, so that two successive bars do not touch.
    """
    out: list[int] = []
    free: list[int] = []
    taken: list[tuple[float, int]] = []
    for start, end in spans:
        while taken and taken[0][0] <= start:
            heapq.heappush(free, heapq.heappop(taken)[1])
        lane = heapq.heappop(free) if free else len(taken)
        heapq.heappush(taken, (max(end, start + least), lane))
        out.append(lane)
    return out


class Clock:
    """The time axis of a picture: seconds from its left edge, with long breaks cut.

    parts: (epoch of the start, of the end, place on the axis in seconds) of each stretch between two cuts; length: of the axis.
    """

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        """Make an axis for spans, sorted by their start; there must be one."""
        runs: list[list[float]] = []
        for start, end in spans:
            if runs and start <= runs[-1][1]:
                runs[-1][1] = max(runs[-1][1], end)
            else:
                runs.append([start, end])
        busy = sum(end - start for start, end in runs)
        longest = max(_SHORT_BREAK, busy * _LONG_BREAK)
        joined: list[list[float]] = []
        for start, end in runs:
            if joined and start - joined[-1][1] <= longest:
                joined[-1][1] = end
            else:
                joined.append([start, end])
        # With any number of breaks, the time between them gets two thirds of the picture.
        cut = max(1e-3, min(_CUT, 0.5 / len(joined)) * sum(end - start for start, end in joined))
        self.parts: list[tuple[float, float, float]] = []
        place = 0.0
        for start, end in joined:
            self.parts.append((start, end, place))
            place += end - start + cut
        self.length = max(place - cut, 1e-3)

    def place(self, at: float) -> float:
        """Return the place of a moment (epoch seconds) on the axis, in seconds."""
        low, high = 0, len(self.parts)
        while high - low > 1:
            middle = (low + high) // 2
            if self.parts[middle][0] <= at:
                low = middle
            else:
                high = middle
        start, end, place = self.parts[low]
        return place + min(max(at, start), end) - start
