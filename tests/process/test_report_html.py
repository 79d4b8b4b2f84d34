"""The page and the trace of `ldshim report`: whole, self-contained, and harmless whatever a log holds.

The page is read with the standard library's parser, as a browser would read it: what is text must come out as the text of the log, and
nothing of a log may become an element, an attribute, a script or a request. How it looks is checked by hand, in a browser without
network: chromium --headless=new --no-sandbox --disable-gpu --window-size=1280,800 --screenshot=ldshim/doc/report.png file:///…/out.html
"""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ldshim.call.environment import Environment
from ldshim.cli.report import links, page, table, trace, usage
from ldshim.cli.terminal import Screen
from tests.process.test_report import environment
from tests.support.logs import STEPS, Log, of_a_build

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

NAMES = ("tool", "family", "lto", "asked", "source", "policy", "pool", "reason", "cwd")
VOID = {"meta", "link", "input"}
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;@@script@@ \udcff\x00\x1b[31m\u202e"


class Page(html.parser.HTMLParser):
    """A page, parsed. elements: (name, attributes) each; ids, texts, script; open_elements: empty when every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open_elements: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open_elements.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that is closed at once."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Close the element that is open."""
        assert [tag] == self.open_elements[-1:], f"</{tag}> closes {self.open_elements}"
        self.open_elements.pop()

    def handle_data(self, data: str) -> None:
        """Note text."""
        if self.open_elements[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.open_elements[-1:] != ["style"]:
            self.texts.append(data)

    def values(self, attribute: str) -> list[str]:
        """List the values of an attribute."""
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def parsed(data: bytes, **options: bool) -> list[links.Link]:
    """Read a log, sorted by start; complaints are no matter here."""
    reader = links.Reader(lambda *_: None, **options)
    return sorted(reader.read(io.BytesIO(data), "log"), key=lambda link: link.start)


def drawn(log: Log) -> Page:
    """Draw the page of a log."""
    return Page(page.markup(parsed(log.bytes(), keep_command=True), ["build.log"]))


def assert_self_contained(seen: Page) -> None:
    """Assert that every element is closed, every id is one, and nothing is fetched or run but our own script."""
    assert seen.open_elements == []
    ids = seen.values("id")
    assert sorted(set(ids)) == sorted(ids)
    assert ["data:,"] == seen.values("src") + [value for value in seen.values("href") if not value.startswith("#")]
    assert not [name for _, attributes in seen.elements for name in attributes if name.startswith("on")]
    (script,) = ["".join(seen.scripts)]
    (policy,) = (attributes["content"] for name, attributes in seen.elements if "http-equiv" in attributes)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" == policy
    assert 1 == sum(name == "script" for name, _ in seen.elements)


def test_every_link_has_a_bar_and_a_row() -> None:
    """Each link that held something has a bar that leads to its row; one that held nothing has a mark and a row."""
    log = Log()
    for number in range(70):
        log.link(number, number / 2, 4.0, STEPS, f"prog{number}")
    seen = drawn(log.handover(200, 10.0, "lost").handover(201, 11.0, "free", source="none", policy="none", pool=""))
    bars = [value for value in seen.values("href") if value.startswith("#")]
    rows = [value for value in seen.values("id") if re.fullmatch(r"l\d+", value)]
    assert 72 == len(rows)
    assert {f"#{row}" for row in rows} >= set(bars)
    assert 71 == len(bars)
    assert {f"prog{number}" for number in range(70)} | {"lost", "free"} <= set(seen.texts)
    assert_self_contained(seen)


def test_the_page_says_what_the_log_says() -> None:
    """Totals, reason, command line and where a link ran are on the page as text, without a script."""
    log = Log().link(7, 0.0, 4.0, STEPS, "prog", pool_size=12).link(8, 1.0, 2.0, [[0, 2]], "other", family="lld", lto="thin")
    words = "\n".join(drawn(log).texts)
    for expected in ("6 of 12", "15.0", "/usr/bin/gcc-12 -flto=8 a.o -o out/prog", "8 objects with GCC IR", "fifo /tmp/GMfifo1", "1 → 4"):
        assert expected in words


def test_what_a_build_chose_stays_text() -> None:
    """Markup, quotes, our own marks, bytes that are no UTF-8 and control characters in any word come out as text, shown escaped."""
    log = Log().handover(7, 0.0, argv=[HOSTILE, "-o", "/" + HOSTILE.replace("/", "|"), HOSTILE])
    for key in NAMES:
        log.link(8, 1.0, 2.0, STEPS, **{key: HOSTILE})
    seen = drawn(log)
    assert_self_contained(seen)
    shown = links.text(HOSTILE)
    assert shown.endswith("@@script@@ \\xff\\x00\\x1b[31m\\u202e")
    assert any(shown in text for text in seen.texts)
    assert any(shown in title for title in seen.values("title"))


def test_a_log_without_links_is_a_page() -> None:
    """Nothing to show is shown as that."""
    seen = drawn(Log())
    assert_self_contained(seen)
    assert "No link in the log." in seen.texts


def test_the_largest_of_very_many_links_are_drawn() -> None:
    """Beyond a bound the smallest have no bar and no row; the totals count them, and the page says so."""
    log = Log()
    for number in range(page.DRAWN + 50):
        log.link(number, number, 100.0 if number % 2 else 1.0, [[0, 1]], f"prog{number}")
    seen = drawn(log)
    rows = [value for value in seen.values("id") if re.fullmatch(r"l\d+", value)]
    assert page.DRAWN == len(rows)
    assert all(f"prog{number}" in seen.texts for number in range(1, page.DRAWN + 50, 2))
    assert f"{page.DRAWN + 50:,}" in seen.texts
    assert any(f"all {page.DRAWN + 50}" in text for text in seen.texts)


def test_a_link_keeps_the_start_and_the_end_of_a_long_command_line() -> None:
    """Of a thousand objects the page names the first and the last words, and how many are between."""
    argv = ["gcc", *(f"object{number}.o" for number in range(1000)), "-o", "prog"]
    (link,) = parsed(Log().handover(7, 0.0, argv=argv).bytes(), keep_command=True)
    assert link.command.startswith("gcc object0.o ")
    assert link.command.endswith(" object999.o -o prog")
    assert " … 967 arguments … " in link.command


def check_trace(text: str) -> list[dict[str, Any]]:
    """Check a trace against the format's rules, and return its events."""
    whole = json.loads(text)
    assert whole["displayTimeUnit"] in ("ms", "ns")
    named: set[tuple[int, int]] = set()
    for event in whole["traceEvents"]:
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event.get("args", {}), dict)
        assert event["ph"] in "XBiCM"
        if event["ph"] == "M":
            key = {"process_name": "name", "thread_name": "name"}.get(event["name"], "sort_index")
            assert [key] == list(event["args"])
            named.add((event["pid"], event["tid"]))
            continue
        assert isinstance(event["ts"], int)
        if event["ph"] == "X":
            assert event["dur"] >= 0
        if event["ph"] == "C":
            assert all(isinstance(value, int) for value in event["args"].values())
        if event["ph"] == "i":
            assert event["s"] == "t"
        assert (event["pid"], event["tid"]) in named
    return list(whole["traceEvents"])


def test_a_trace_has_a_process_for_each_pool_and_a_lane_for_each_link() -> None:
    """Links are slices of their pool, in microseconds since the first; the counter of a pool is the sum of its links."""
    log = Log().link(7, 0.0, 4.0, STEPS, "one").link(8, 2.0, 1.0, [[0, 2]], "two").handover(9, 3.0, "lost")
    log.link(10, 1.5, 1.0, [[0, 1]], "elsewhere", source="slots", pool="/run/slots").handover(11, 4.0, "free", source="none", pool="")
    events = check_trace("".join(trace.pieces(parsed(log.bytes(), keep_command=True))))
    pools = {event["args"]["name"]: event["pid"] for event in events if event["name"] == "process_name"}
    assert {"jobserver: fifo /tmp/GMfifo1", "slots: /run/slots", "holds no token"} == set(pools)
    make = pools["jobserver: fifo /tmp/GMfifo1"]
    slices = {event["name"]: event for event in events if event["ph"] in "XBi"}
    assert {"one": "X", "two": "X", "elsewhere": "X", "lost": "B", "free": "i"} == {name: event["ph"] for name, event in slices.items()}
    assert (make, 2_000_000, 1_000_000) == tuple(slices["two"][key] for key in ("pid", "ts", "dur"))
    assert "gcc-12 -flto=8" in slices["one"]["args"]["command"]
    counted = [(event["ts"], event["args"]["threads"]) for event in events if event["ph"] == "C" and event["pid"] == make]
    assert [(0, 1), (1_000_000, 4), (2_000_000, 6), (3_000_000, 2), (4_000_000, 0)] == counted
    lanes = [(event["pid"], event["tid"]) for event in slices.values()]
    assert sorted(set(lanes)) == sorted(lanes)


WORD = st.text(st.characters(), max_size=12) | st.just(HOSTILE)
NUMBER = st.integers(-(2**70), 2**70) | st.floats() | st.integers(0, 20)
ANYTHING = st.none() | st.booleans() | NUMBER | WORD | st.lists(NUMBER | WORD | st.lists(NUMBER, max_size=3), max_size=4)
FIGURES = ("demand", "granted", "pool_size", "argv", "peak", "wall", "steps", "waited", "cpu")
SANE = {"time": st.floats(1e9, 2e9), "pid": st.integers(1, 3), "wall": st.floats(0, 1e6), "peak": st.integers(0, 99)}
RECORD = st.fixed_dictionaries(
    {"event": st.sampled_from(["handover", "end", "other"]), "time": SANE["time"] | ANYTHING, "pid": SANE["pid"]},
    optional={key: SANE.get(key, ANYTHING) | ANYTHING for key in (*NAMES, *FIGURES)},
)
LINES = st.lists(RECORD.map(lambda record: json.dumps(record).encode()) | st.binary(max_size=40), max_size=12)


@given(LINES.map(b"\n".join) | st.binary())
@example(Log().link(1, 0.0, 0.0, [[0, 0]]).link(2, 0.0, 1e9, [[5, 1], [4, 2], [1e9, 3]]).bytes())
@example(Log().link(1, 0.0, 1.0, [[0, 1]]).link(2, 3.8e10, 1.0, [[0, 65536]]).bytes())
def test_any_bytes_are_a_log(data: bytes) -> None:
    """Whatever a log holds, every form of the report is made: the page parses and runs no word of it, the trace is JSON by the rules."""
    found = parsed(data, keep_command=True, keep_raw=True)
    seen = Page(page.markup(found, ["log"]))
    assert_self_contained(seen)
    written = set("".join(seen.texts))
    assert all(link.name in "".join(seen.texts) for link in found)
    assert not any("\ud800" <= character <= "\udfff" or character < "\n" for character in written)
    check_trace("".join(trace.pieces(found)))
    for unicode in (True, False):
        lines = list(table.lines(found, Screen(io.StringIO(), Environment([])), table.Spelling(unicode)))
        assert all(line.isprintable() and (unicode or line.isascii()) for line in lines)
    for link in found:
        assert "\n" not in json.dumps(link.raw, allow_nan=False)
    assert usage.Totals(found).links == len(found)


def test_the_page_and_the_trace_are_written_beside_each_other(tmp_path: Path) -> None:
    """One run writes both files, says nothing, and takes the log's name as the title."""
    path = Log().link(7, 0.0, 4.0, STEPS, "prog").write(tmp_path / "<build>.log")
    words = ["--html", str(tmp_path / "out.html"), "--trace", str(tmp_path / "out.json"), str(path)]
    ran = subprocess.run([sys.executable, "-m", "ldshim", "report", *words], capture_output=True, env=environment(), check=True)
    assert (b"", b"") == (ran.stdout, ran.stderr)
    seen = Page((tmp_path / "out.html").read_text())
    assert "Links of <build>.log" in seen.texts
    check_trace((tmp_path / "out.json").read_text())


@pytest.mark.matrix
def test_a_real_build_is_drawn(shim: Shim, program: Program, tmp_path: Path) -> None:
    """The page of a real build has a bar for every LTO link, the size of the pool, and more than one step in some link."""
    path = of_a_build(shim, program, tmp_path, count=6, jobs=4)
    found = parsed(path.read_bytes(), keep_command=True)
    seen = Page(page.markup(found, [str(path)]))
    assert_self_contained(seen)
    assert 6 == len([value for value in seen.values("href") if value.startswith("#")])
    assert any(value == "pool" for value in seen.values("class"))
    assert max(len(link.at) for link in found) > 1
    assert check_trace("".join(trace.pieces(found)))
