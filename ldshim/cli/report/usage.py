"""How many threads all links held together, over time; and where each link stands in a picture of it.

One link's steps say little: whether the machine was used, and whether anybody took more than there was, shows in the sum. So the steps
of every link become changes of one sum on the wall clock. A link whose log has no steps (an older ldshim) counts with its peak from start
to end, which is the most that it can have held, and the sums say that they are a bound. A link without an end counts nothing:
nobody knows what it held, or until when.

A log may hold builds that are hours apart, and a picture to scale would be empty. `Clock` cuts the hours in which no link ran.
"""

from __future__ import annotations

import heapq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .links import Link

    Step = tuple[float, int]  # epoch seconds, threads from then on

# A warden notes what it takes, gives and ends with a delay of some milliseconds (70 were seen on a busy machine): a thread that went from
# one link to another stands with both for that long.
BRIEF = 0.1
_SHORT_BREAK = 20.0  # seconds without a link that are always drawn
_LONG_BREAK = 0.15  # part of the time in which links ran, beyond which a break is cut
_CUT = 0.03  # part of that time, which a cut break takes in the picture


def end_of(link: Link) -> float:
    """Return when a link was over, in epoch seconds; its start when it is not known."""
    return link.start + (link.wall or 0.0)


def steps_of(link: Link) -> list[Step]:
    """Return what a link held, changes only, a 0 at its end; [] where nobody knows."""
    if link.wall is None:
        return []
    steps: list[Step] = [(link.start + at, held) for at, held in zip(link.at, link.held)] or [(link.start, link.peak)]
    # Between the handover and the first step there is the implicit thread.
    return [*([(link.start, 1)] if steps[0][0] > link.start else []), *steps, (end_of(link), 0)]


def tallest(links: Iterable[Link]) -> int:
    """Return the most threads that one link held, at least 1: the scale that all are drawn to."""
    return max([1, *(link.most for link in links if link.ended)])


def total(links: Iterable[Link]) -> list[Step]:
    """Add up what links held: the sum from each moment of a change on; what happens in the same moment is one change."""
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
    """Leave out peaks of less than BRIEF seconds, see there."""
    out: list[Step] = []
    for index, (at, threads) in enumerate(steps):
        until, following = steps[index + 1] if index + 1 < len(steps) else (at + 2 * BRIEF, threads)
        if until - at < BRIEF and threads > following and threads > (out[-1][1] if out else 0):
            continue
        if not out or out[-1][1] != threads:
            out.append((at, threads))
    return out


class Totals:
    """What all links come to.

    links, ended, lost (an end should have come), free (hold nothing, so none will); wall: seconds of all links added up; busy: seconds in
    which at least one ran; held: thread seconds; most: threads at once, for BRIEF or longer; waited: seconds, None where no link says;
    exact: every link that ended has steps, else held and most are bounds from above.
    """

    def __init__(self, links: Sequence[Link]) -> None:
        ended = [link for link in links if link.ended]
        self.links = len(links)
        self.ended = len(ended)
        self.lost = sum(not link.ended and link.may_end for link in links)
        self.free = self.links - self.ended - self.lost
        self.wall = sum(link.wall or 0.0 for link in ended)
        said = [link.waited for link in ended if link.waited is not None]
        self.waited = sum(said) if said else None
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
        """Return the totals for people, a clause each."""
        bound = "" if self.exact else "at most "
        out = [f"{self.links} links, {seconds(self.wall)} of them added up"]
        if self.lost:
            out.append(f"{self.lost} without an end in the log: still running, or the warden was killed")
        if self.free:
            out.append(f"{self.free} that held no token")
        if self.ended:
            out.append(f"{bound}{self.held:.1f} thread seconds held")
            out.append(f"{bound}{self.mean:.2f} threads on average while any link ran ({seconds(self.busy)})")
            out.append(f"{bound}{self.most} threads at once")
        if self.waited is not None:
            out.append(f"{seconds(self.waited)} in which a link wanted one more and none was free")
        return out


def seconds(value: float) -> str:
    """Spell a duration: 0.25 s, 12.3 s, 2:05 min, 3:04 h."""
    if value < 59.95:
        return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def lanes(spans: Sequence[tuple[float, float]], least: float) -> list[int]:
    """Pack spans, sorted by their start, into as few lanes as they need: the lane of each.

    least: what a span takes at least, room for a gap included, so that two bars that follow each other do not touch.
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
        # However many breaks there are, what is between them keeps two thirds of the picture.
        cut = max(1e-3, min(_CUT, 0.5 / len(joined)) * sum(end - start for start, end in joined))
        self.parts: list[tuple[float, float, float]] = []
        place = 0.0
        for start, end in joined:
            self.parts.append((start, end, place))
            place += end - start + cut
        self.length = max(place - cut, 1e-3)

    def place(self, at: float) -> float:
        """Return where a moment (epoch seconds) stands on the axis, in seconds."""
        low, high = 0, len(self.parts)
        while high - low > 1:
            middle = (low + high) // 2
            if self.parts[middle][0] <= at:
                low = middle
            else:
                high = middle
        start, end, place = self.parts[low]
        return place + min(max(at, start), end) - start
