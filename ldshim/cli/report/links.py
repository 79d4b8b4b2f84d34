"""The links that a log tells of: each handover with its end, read from files that may hold anything.

LDSHIM_LOG is written by many processes over days, each line in one write: a link's line when it is handed over, its warden's when every
token is back. What follows from that:

- The two halves of a link stand apart, joined by a pid; pids come round again. So an end belongs to the latest handover of its pid above
  it in the same file, and a pid that is handed over anew leaves a link that never ended (its warden was killed).
- A link that holds nothing has no warden, and no end will come: it is complete at once.
- A full disk cuts a line, somebody's editor adds one, an older ldshim wrote fewer keys: a line that is no record of ours costs one
  complaint, never the report; a key that is not there is a value that is not known.
- A log may hold a hundred thousand links of a thousand words each. Links are read as a stream, and keep what is shown of them.

Used as:
    reader = Reader(complain)
    for link in reader.read(stream, "build.log"):
        …in the order in which they ended; those without an end when the file is over
"""

from __future__ import annotations

import json
import math
import os
import re
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO, Callable

    Record = dict[str, Any]

LONGEST_LINE = 32 << 20  # bytes; execve takes 2 MiB of argv, and JSON spells a byte with at most six
_LATEST = 4e10  # seconds since the epoch; beyond it localtime gives up on some systems
_MOST_THREADS = 1 << 16
_SIZE_IN_REASON = re.compile(r"at most (\d{1,9}) by (?:make|the jobserver)'s -j")  # budget.py; a link that could use less says another
_FIRST_WORDS, _LAST_WORDS, _LONGEST_WORD = 24, 12, 160  # of a command line, as it is shown


class BadLineError(ValueError):
    """A line that is no record of ours; its text says why."""


class Link:
    """One link.

    start: seconds since the epoch; output: base name of what is linked; command: "" unless kept; asked: "" where an older ldshim did not
    say; ended: the warden said so; wall: seconds, None without an end; peak: threads, the implicit one counted; waited, cpu: seconds, None
    where not said; at, held: the steps, threads held from that many seconds on (both empty where not said); raw: both records, if kept.
    """

    __slots__ = (
        "asked", "at", "command", "cpu", "cwd", "demand", "ended", "family", "granted", "held", "lto", "output", "peak", "pid", "policy",
        "pool", "pool_size", "raw", "reason", "source", "start", "tool", "waited", "wall",
    )  # fmt: skip

    def __init__(self, record: Record, *, keep_command: bool = False, keep_raw: bool = False) -> None:
        """Take a handover's record; raise BadLineError when it lacks what a link is known by."""
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
        said = _SIZE_IN_REASON.search(self.reason)
        self.pool_size = int(
            number(record.get("pool_size"), _MOST_THREADS) or number(int(said.group(1)) if said else 0, _MOST_THREADS) or 0
        )
        self.cwd = text(record.get("cwd"))
        argv = record.get("argv")
        words = [word for word in argv if isinstance(word, str)] if isinstance(argv, list) else []
        self.output = output_name(words)
        self.command = shown_command(words) if keep_command else ""
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
        """Tell whether a warden was left, so that an end is to be expected: not for a pin, and not where nothing is held."""
        return self.policy != "none" and self.source not in ("none", "pin")

    @property
    def first(self) -> int:
        """Threads held at the start: what the first step says, else what the tool was told."""
        return self.held[0] if self.held else self.granted

    @property
    def most(self) -> int:
        """Threads held at most: what the steps say, else the peak of those in use."""
        return max(self.held, default=self.peak)

    @property
    def name(self) -> str:
        """What the link is called where there is room for one word."""
        return self.output or self.tool.rpartition("/")[2] or "?"

    def finish(self, record: Record) -> None:
        """Take the warden's record."""
        said = number(record.get("time"), _LATEST)
        self.ended = True
        self.wall = number(record.get("wall"), 1e9)
        if self.wall is None:
            self.wall = max(0.0, (self.start if said is None else said) - self.start)
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
    """Joins the lines of logs to links. complain: told of each bad line, as `FILE:LINE`, what is wrong; bad: how many there were."""

    def __init__(self, complain: Callable[[str, str], None], *, keep_command: bool = False, keep_raw: bool = False) -> None:
        self.complain = complain
        self.bad = 0
        self._keep_command = keep_command
        self._keep_raw = keep_raw

    def read(self, stream: BinaryIO, name: str, progress: Callable[[int], None] = lambda _: None) -> Iterator[Link]:
        """Yield the links of one log as they are complete; those without an end last. progress: told how many bytes are behind us."""
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
        """Take one line; return the link that it completes."""
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
    """Yield lines; of one that is longer than any record yield a part that is no record."""
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


def _constant(word: str) -> float:
    raise BadLineError(f"{word} is no number")


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
    r"""Return a string as it can be printed: a byte that was no UTF-8 as `\xff`, whatever is not printable escaped; "" for no string."""
    if not isinstance(value, str):
        return ""
    return value if value.isprintable() else "".join(map(_printable, value))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # surrogateescape: a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def output_name(words: list[str]) -> str:
    """Find what a command line links: the base name of the last -o; the response file that may hold it; a.out. "" for no words."""
    found = ""
    for word, following in zip(words[1:], [*words[2:], ""]):
        if word[:1] != "-":
            continue
        if word in ("-o", "--output"):
            found = following or found
        elif word.startswith("--output="):
            found = word[9:]
        elif word.startswith("-o") and word != "-omagic":
            found = word[2:]
    if not found and words:
        found = next((word for word in words if word.startswith("@")), "a.out")
    return text(os.path.basename(found.rstrip("/")) or found)


def shown_command(words: list[str]) -> str:
    """Return a command line for reading: blanks between the words, the middle of a long one left out."""
    left_out = len(words) - _FIRST_WORDS - _LAST_WORDS
    if left_out > 1:
        words = [*words[:_FIRST_WORDS], f"… {left_out} words …", *words[-_LAST_WORDS:]]
    shown = (text(word) or "''" for word in words)
    return " ".join(word if len(word) <= _LONGEST_WORD else word[:_LONGEST_WORD] + "…" for word in shown)
