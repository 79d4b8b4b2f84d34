"""The report as a trace in Chrome's trace event format, for ui.perfetto.dev, chrome://tracing and similar viewers.

A viewer shows the links beside the phases of a build from another trace, and can search them and query them with SQL. A process of the
trace is a pool (a jobserver, the slots of the host, or none), a thread of it is a link, and a counter of the process is the threads that
its links hold together. Times are microseconds since the first link; `otherData` has the time of that.

The format: "Trace Event Format", docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU, its JSON object form. `ph` is X
for a link that ended, B for one that did not, i for one that holds nothing, C for the counter, M for the names.
"""

from __future__ import annotations

import json
import time

from ... import __version__
from . import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .links import Link

    Event = dict[str, object]


def pieces(links: Sequence[Link]) -> Iterator[str]:
    """Yield the text of the trace, an event a line. links: sorted by their start."""
    origin = links[0].start if links else 0.0
    began = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(origin))
    other = {"producer": f"ldshim {__version__}", "start": began, "start_seconds_since_epoch": origin}
    yield f'{{"displayTimeUnit": "ms", "otherData": {json.dumps(other)}, "traceEvents": ['
    separator = "\n"
    for event in events(links, origin):
        yield separator + json.dumps(event)
        separator = ",\n"
    yield "\n]}\n"


def events(links: Sequence[Link], origin: float) -> Iterator[Event]:
    """Yield the events: names first, then the links, then the counters."""
    pools: dict[str, list[tuple[int, Link]]] = {}
    for lane, link in enumerate(links, 1):
        pools.setdefault(_pool(link), []).append((lane, link))
    for process, (pool, members) in enumerate(pools.items(), 1):
        yield {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": pool}}
        yield {"ph": "M", "name": "process_sort_index", "pid": process, "tid": 0, "args": {"sort_index": process}}
        for lane, link in members:
            yield {"ph": "M", "name": "thread_name", "pid": process, "tid": lane, "args": {"name": f"{link.name} ({link.pid})"}}
            yield {"ph": "M", "name": "thread_sort_index", "pid": process, "tid": lane, "args": {"sort_index": lane}}
        for lane, link in members:
            yield _slice(link, process, lane, origin)
        for at, held in usage.total(link for _, link in members):
            yield {"ph": "C", "name": "threads held", "pid": process, "tid": 0, "ts": _us(at, origin), "args": {"threads": held}}


def _pool(link: Link) -> str:
    if link.pool:
        return link.pool if link.pool.startswith(link.source) else f"{link.source}: {link.pool}"
    return "holds no token" if link.source == "none" else link.source


def _slice(link: Link, process: int, lane: int, origin: float) -> Event:
    args: dict[str, object] = {
        "family": link.family,
        "lto": link.lto,
        "asked": link.asked,
        "demand": link.demand,
        "granted": link.granted,
        "source": link.source,
        "reason": link.reason,
        "tool": link.tool,
        "process": link.pid,
        "cwd": link.cwd,
        "command": link.command,
    }
    event: Event = {"name": link.name, "cat": link.family or "link", "pid": process, "tid": lane, "ts": _us(link.start, origin)}
    if link.wall is None:
        event["ph"] = "B" if link.may_end else "i"
        if not link.may_end:
            event["s"] = "t"
    else:
        args.update(held_at_start=link.first, peak=link.peak)
        if link.waited is not None:
            args["waited_seconds"] = link.waited
        event.update(ph="X", dur=max(0, _us(usage.end_of(link), link.start)))
    event["args"] = args
    return event


def _us(at: float, origin: float) -> int:
    return round((at - origin) * 1e6)
