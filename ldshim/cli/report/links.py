"""The links in a log: each handover with its end, read from files that may contain anything.

Many processes write to LDSHIM_LOG over days, each line in one write: a line of the link when its tool is executed, and one of its warden
when every token is back. The consequences:

- The two lines of a link are apart and are joined by the pid, and pids are used again. So an end belongs to the latest handover of its pid
  above it in the same file. A second handover of a pid means that the first link never ended (its warden was killed).
- A link that holds nothing has no warden and no end line: it is complete at once.
- A full disk truncates a line, an editor adds one, an older ldshim wrote fewer keys. A line that is no record of ours is reported and
  skipped; a missing key is an unknown value.
- A log may hold a hundred thousand links of a thousand arguments each. Links are read as a stream, and store only what is shown.

Used as:
    reader = Reader(complain)
    for link in reader.read(stream, "build.log"):
        …in the order in which they ended; those without an end when the file is over
"""

from __future__ import annotations

import json
import math
import os
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO, Callable

    Record = dict[str, Any]

LONGEST_LINE = 32 << 20  # bytes; execve takes 2 MiB of argv, and JSON spells a byte with at most six
_LATEST = 4e10  # seconds since the epoch; localtime fails beyond it on some systems
_MOST_THREADS = 1 << 16
_FIRST, _LAST, _LONGEST = 24, 12, 160  # arguments at the start and end of a command line, and characters of one, that are shown


class BadLineError(ValueError):
    """A line that is no record of ours; the text has the reason."""


class Link:
    """One link.

    start: seconds since the epoch; output: base name of the output file; command: "" unless keep_command; asked: "" when unknown; ended:
    there is an end line; wall: seconds, None without an end; peak: threads, the implicit one counted; waited, cpu: seconds, None when
    unknown; at, held: the steps, threads held from that many seconds on (both empty when unknown); raw: both records, if keep_raw.
    """

    __slots__ = (
        "asked", "at", "command", "cpu", "cwd", "demand", "ended", "family", "granted", "held", "lto", "output", "peak", "pid", "policy",
        "pool", "pool_size", "raw", "reason", "source", "start", "tool", "waited", "wall",
    )  # fmt: skip

    def __init__(self, record: Record, *, keep_command: bool = False, keep_raw: bool = False) -> None:
        """Read the record of a handover; raise BadLineError without a time or a pid."""
        start, pid = number(record.get("time"), _LATEST), number(record.get("pid"), 1 << 32)
        if start is None or pid is None:
            raise BadLineError("a handover without time or pid")
        self.start = start
        self.pid = int(pid)
        self.tool = text(record.get("tool"))
        self.family = text(record.get("family"))
        self.lto = text(record.get("lto")) or "none"
        self.demand = int(number(record.get("demand"), 1 << 32) or 1)
        self.granted = int(number(record.get("granted"), _MOST_THREADS) or 1)
        self.source = text(record.get("source")) or "none"
        self.reason = text(record.get("reason"))
        asked = record.get("asked")
        self.asked = text(asked) if isinstance(asked, str) or number(asked, 1 << 32) is None else str(asked)
        self.policy = text(record.get("policy"))
        self.pool = text(record.get("pool"))
        self.pool_size = int(number(record.get("pool_size"), _MOST_THREADS) or 0)
        self.cwd = text(record.get("cwd"))
        argv = record.get("argv")
        strings = [argument for argument in argv if isinstance(argument, str)] if isinstance(argv, list) else []
        self.output = output_name(strings)
        self.command = shown_command(strings) if keep_command else ""
        self.ended = False
        self.wall: float | None = None
        self.peak = self.granted
        self.waited: float | None = None
        self.cpu: float | None = None
        self.at = array("d")
        self.held = array("l")
        self.raw: Record | None = None
        if keep_raw:
            self.raw = {"output": self.output, **{key: value for key, value in record.items() if key != "event"}}

    @property
    def may_end(self) -> bool:
        """Return whether the link has a warden, which writes an end line: not with a pin, and not when nothing is held."""
        return self.policy != "none" and self.source not in ("none", "pin")

    @property
    def first(self) -> int:
        """Threads held at the start: by the first step, else the number granted."""
        return self.held[0] if self.held else self.granted

    @property
    def most(self) -> int:
        """Most threads held at once: by the steps, else the peak of those in use."""
        return max(self.held, default=self.peak)

    @property
    def name(self) -> str:
        """A short name of the link."""
        return self.output or self.tool.rpartition("/")[2] or "?"

    def finish(self, record: Record) -> None:
        """Read the record of the warden."""
        time = number(record.get("time"), _LATEST)
        self.ended = True
        self.wall = number(record.get("wall"), 1e9)
        if self.wall is None:
            self.wall = max(0.0, (self.start if time is None else time) - self.start)
        self.waited, self.cpu = number(record.get("waited"), 1e9), number(record.get("cpu"), 1e9)
        steps = record.get("steps")
        for step in steps if isinstance(steps, list) else []:
            at, held = (number(one, 1e9) for one in step) if isinstance(step, list) and len(step) == 2 else (None, None)
            if at is not None and held is not None and held <= _MOST_THREADS and at <= self.wall and (not self.at or at >= self.at[-1]):
                self.at.append(at)
                self.held.append(int(held))
        self.peak = int(number(record.get("peak"), _MOST_THREADS) or 0) or max(self.held, default=self.granted)
        if self.raw is not None:
            self.raw.update((key, value) for key, value in record.items() if key not in ("event", "time", "pid"))
            self.raw["ended"] = record.get("time")


class Reader:
    """Joins the lines of logs to links. complain: called for each bad line with `FILE:LINE` and the reason; bad: their count."""

    def __init__(self, complain: Callable[[str, str], None], *, keep_command: bool = False, keep_raw: bool = False) -> None:
        self.complain = complain
        self.bad = 0
        self._keep_command = keep_command
        self._keep_raw = keep_raw

    def read(self, stream: BinaryIO, name: str, progress: Callable[[int], None] = lambda _: None) -> Iterator[Link]:
        """Yield the links of one log as they are complete; those without an end last. progress: called with the number of bytes read."""
        running: dict[int, Link] = {}
        done = 0
        for at, line in enumerate(lines(stream), 1):
            done += len(line)
            if at & 0xFF == 0:
                progress(done)
            try:
                complete = self._take(line, running)
            except BadLineError as error:
                self.bad += 1
                self.complain(f"{name}:{at}", str(error))
                continue
            if complete is not None:
                yield complete
        yield from running.values()

    def _take(self, line: bytes, running: dict[int, Link]) -> Link | None:
        """Read one line; return the link that it completes."""
        if not line.strip():
            return None
        record = parse(line)
        event = record.get("event")
        if event == "handover":
            link = Link(record, keep_command=self._keep_command, keep_raw=self._keep_raw)
            earlier = running.pop(link.pid, None)
            if not link.may_end:
                running.update({earlier.pid: earlier} if earlier is not None else {})
                return link
            running[link.pid] = link
            return earlier
        if event == "end":
            pid = number(record.get("pid"), 1 << 32)
            ended = running.pop(int(pid), None) if pid is not None else None
            if ended is None:
                raise BadLineError("an end whose handover is not above it")
            ended.finish(record)
            return ended
        if event in ("job", "backends"):
            return None  # of backends that ran as processes: what they are to the link, its end sums up
        raise BadLineError("neither a handover nor an end")


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield lines; of a line that is longer than any record, yield a part that is no record."""
    while True:
        line = stream.readline(LONGEST_LINE)
        if not line:
            return
        rest = line
        while not rest.endswith(b"\n") and len(rest) == LONGEST_LINE:
            rest = stream.readline(LONGEST_LINE)
            line = line[:80]
        yield line


def _integer(digits: str) -> int:
    if len(digits) > 18:
        raise BadLineError("a number that is too large")
    return int(digits)


def _float(digits: str) -> float:
    if math.isfinite(float(digits)):
        return float(digits)
    raise BadLineError("a number that is too large")


def _constant(name: str) -> float:
    raise BadLineError(f"{name} is no number")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_constant)


def parse(line: bytes) -> Record:
    """Return the JSON object of one line; raise BadLineError when there is none."""
    try:
        record = _DECODER.decode(line.decode("utf-8"))
    except BadLineError:
        raise
    except RecursionError:
        raise BadLineError("nested too deeply") from None
    except ValueError:
        raise BadLineError("no JSON" if line.endswith(b"\n") else "no JSON, and no end of line: cut off?") from None
    if not isinstance(record, dict):
        raise BadLineError("no JSON object")
    return record


def number(value: object, most: float) -> float | None:
    """Return a number from 0 to most, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        return None
    return value


def text(value: object) -> str:
    r"""Return a printable string: a byte that is not UTF-8 as `\xff`, control characters escaped; "" for any other type."""
    if not isinstance(value, str):
        return ""
    return value if value.isprintable() else "".join(map(_printable, value))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # surrogateescape: a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def output_name(argv: list[str]) -> str:
    """Find the output of a link: the base name of the last -o, else the response file that may contain it, else a.out. "" for no argv."""
    found = ""
    for argument, following in zip(argv[1:], [*argv[2:], ""]):
        if argument[:1] != "-":
            continue
        if argument in ("-o", "--output"):
            found = following or found
        elif argument.startswith("--output="):
            found = argument[9:]
        elif argument.startswith("-o") and argument != "-omagic":
            found = argument[2:]
    if not found and argv:
        found = next((argument for argument in argv if argument.startswith("@")), "a.out")
    return text(os.path.basename(found.rstrip("/")) or found)


def shown_command(argv: list[str]) -> str:
    """Return a command line for people: blanks between the arguments, the middle of a long one left out."""
    left_out = len(argv) - _FIRST - _LAST
    if left_out > 1:
        argv = [*argv[:_FIRST], f"… {left_out} arguments …", *argv[-_LAST:]]
    shown = (text(argument) or "''" for argument in argv)
    return " ".join(argument if len(argument) <= _LONGEST else argument[:_LONGEST] + "…" for argument in shown)
