"""`ldshim report`: what is read from a log that may hold anything, and what all links come to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ldshim.cli.report import links, usage
from tests.support import screen
from tests.support.logs import NOON, STEPS, Log, of_a_build, read
from tests.support.program import Program, bare_environment
from tests.support.shim import ROOT, Shim

if TYPE_CHECKING:
    from pathlib import Path


def environment(**more: str) -> dict[str, str]:
    """Give the environment of a report: times in UTC, words in UTF-8."""
    return bare_environment(**{"PYTHONPATH": str(ROOT), "TZ": "UTC", "LC_ALL": "C.UTF-8", "TERM": "xterm", **more})


def report(*words: str | Path, stdin: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run `ldshim report`."""
    command = [sys.executable, "-m", "ldshim", "report", *map(str, words)]
    return subprocess.run(command, input=stdin, capture_output=True, env=environment(**more), check=False)


def test_both_lines_of_a_link_are_joined() -> None:
    """A link has what its handover and its end say; what is not said is not known."""
    log = Log().handover(7, 0.0, "prog").handover(8, 0.5, "other", source="slots").end(7, 4.0, 4.0, STEPS, peak=3)
    (one, two), complaints = read(log)
    assert ("prog", NOON, 4.0, 1, 4, 3, 0.5) == (one.output, one.start, one.wall, one.first, one.most, one.peak, one.waited)
    assert ("other", False, None, True) == (two.output, two.ended, two.wall, two.may_end)
    assert complaints == []


def test_an_end_belongs_to_the_latest_handover_of_its_pid() -> None:
    """A pid that came round again leaves the earlier link without an end, and the later one has it."""
    log = Log().handover(7, 0.0, "first").handover(7, 10.0, "second").end(7, 12.0, 2.0, STEPS)
    found, _ = read(log)
    assert {"first": False, "second": True} == {link.output: link.ended for link in found}


def test_a_link_that_holds_nothing_takes_no_end_from_another() -> None:
    """A link without a warden is complete at once, even if it came under the pid of one that is still to end."""
    log = Log().handover(7, 0.0, "held").handover(7, 1.0, "free", source="none", policy="none").end(7, 4.0, 4.0, STEPS)
    found, _ = read(log)
    assert [("free", False), ("held", True)] == [(link.output, link.ended) for link in found]


def test_a_link_comes_as_soon_as_it_ended() -> None:
    """Links are read as a stream: one is there while the log is still being written."""
    read_end, write_end = os.pipe()
    os.write(write_end, Log().link(7, 0.0, 1.0, STEPS, "early").bytes())
    with open(read_end, "rb") as stream:
        found = links.Reader(lambda *_: None).read(stream, "log")
        assert next(found).output == "early"
        os.close(write_end)


def test_lines_of_an_older_ldshim_are_read() -> None:
    """Without asked, policy, pool, cwd, steps, waited and cpu a link still has its number, peak and wall, and the sums are bounds."""
    absent: dict[str, Any] = dict.fromkeys(("asked", "policy", "pool", "cwd"))
    log = Log().handover(7, 0.0, **absent).end(7, 2.0, 2.0, None, peak=3, waited=None, cpu=None)
    (link,), complaints = read(log)
    totals = usage.Totals([link])
    assert ("", "", None, 8, 3, 2.0) == (link.asked, link.pool, link.waited, link.first, link.most, link.wall)
    assert (6.0, 3, False, None) == (totals.held, totals.most, totals.exact, totals.waited)
    assert complaints == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"Segmentation fault", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[1, 2]", "no JSON object"),
        (b"{}", "neither a handover nor an end"),
        (b'{"event": "handover", "pid": 3}', "a handover without time or pid"),
        (b'{"event": "handover", "pid": true, "time": "now"}', "a handover without time or pid"),
        (b'{"event": "handover", "pid": 3, "time": -1}', "a handover without time or pid"),
        (b'{"event": "handover", "pid": 3, "time": NaN}', "NaN is no number"),
        (b'{"event": "handover", "pid": 3, "time": 1e999}', "a number that is too large"),
        (b'{"event": "handover", "pid": ' + b"9" * 100000 + b"}", "a number that is too large"),
        (b"[" * 200000, "nested too deeply"),
        (b'{"event": "end", "pid": 99, "time": 1}', "an end whose handover is not above it"),
        (b'{"event": "end", "pid": {}, "time": 1}', "an end whose handover is not above it"),
    ],
)
def test_a_bad_line_costs_one_complaint(line: bytes, what: str) -> None:
    """A line that is none of ours is named with its number and its fault, and the links around it are read."""
    log = Log().handover(7, 0.0).raw(line).raw(b"").end(7, 1.0, 1.0, STEPS)
    found, complaints = read(log)
    assert [f"log:2: {what}"] == complaints
    assert [True] == [link.ended for link in found]


def test_a_line_without_end_is_one_bad_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a line longer than any record no more is kept than is needed to refuse it, and the next line is read."""
    monkeypatch.setattr(links, "LONGEST_LINE", 4096)
    log = Log().raw(b'{"event": "' + b"x" * 10000).link(7, 0.0, 1.0, STEPS)
    found, complaints = read(log)
    assert ["log:1: no JSON, and no end of line: cut off?"] == complaints
    assert [True] == [link.ended for link in found]


def test_the_report_names_bad_lines_and_sums_them_up(tmp_path: Path) -> None:
    """Bad lines are on stderr as FILE:LINE, a cut last line is said to be one, the sum is last, and the status is 0."""
    path = Log().link(7, 0.0, 1.0, STEPS, "prog").raw(b"garbage").write(tmp_path / "log")
    with open(path, "ab") as stream:
        stream.write(b'{"event": "hando')
    ran = report(path)
    fault = "skipped, this is no line of an ldshim log: no JSON"
    expected = [
        f"ldshim: {path}:3: {fault}",
        f"ldshim: {path}:4: {fault}, and no end of line: cut off?",
        "ldshim: report: 2 lines were skipped; the rest is shown",
    ]
    assert (0, expected) == (ran.returncode, ran.stderr.decode().splitlines())
    assert b"prog" in ran.stdout


def test_a_log_of_nothing_but_garbage_names_some_lines(tmp_path: Path) -> None:
    """Of very many bad lines the first are named, and all are counted."""
    (tmp_path / "log").write_bytes(b"x\n" * 1000)
    said = report(tmp_path / "log").stderr.decode().splitlines()
    assert "ldshim: report: 1000 lines were skipped; the rest is shown" in said
    assert len(said) < 30


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["gcc", "-o", "out/prog", "a.o"], "prog"),
        (["gcc", "-oprog", "a.o"], "prog"),
        (["ld.lld", "-o", "a", "--output=b", "x.o"], "b"),
        (["ld", "-omagic", "x.o"], "a.out"),
        (["gcc", "x.o", "-o"], "a.out"),
        (["gcc", "@dir/objects.rsp"], "objects.rsp"),
        (["gcc", "-o", "vmlinux.o\n\x1b[31m\udcff"], "vmlinux.o\\n\\x1b[31m\\xff"),
        ([], ""),
    ],
)
def test_the_output_is_what_the_command_line_links(words: list[str], name: str) -> None:
    """The last -o names a link, by its base name, with nothing in it that a terminal would obey."""
    assert name == links.output_name(words)


def test_the_table_fits_80_columns(tmp_path: Path) -> None:
    """On a terminal no line is wider than it, whatever the names are; no escape of theirs gets through."""
    log = Log()
    for number in range(8):
        name = f"\x1b]0;{number}\x07{'a very long name 長い名前 ' * 4}"
        log.link(7, number * 86400.0, 12345.0, STEPS, name, lto="distributed", asked="jobserver", source="recovered", family="gcc")
    path = log.handover(8, 900000.0, "lost").write(tmp_path / "log")
    seen = screen.run([sys.executable, "-m", "ldshim", "report", str(path)], environment(), 80)
    wide = max(sum(2 if ord(c) > 0x2FFF else 1 for c in line) for line in seen.lines)
    assert (0, True) == (seen.status, wide <= 80)
    assert "recovered" in seen.lines[2]
    assert "no end" in "".join(seen.lines)


def test_nothing_is_cut_in_a_pipe(tmp_path: Path) -> None:
    """A script gets whole names and times."""
    name = "a-name-of-more-than-eighty-columns-" * 4
    path = Log().link(7, 0.0, 4.0, STEPS, name).write(tmp_path / "log")
    said = report(path).stdout.decode()
    assert name in said
    assert "1→4" in said
    assert "Sat 2026-11-21\n12:00:00 " in said


def test_a_locale_without_utf8_gets_ascii(tmp_path: Path) -> None:
    """Under LC_ALL=C bars, arrows and foreign names are spelled in ASCII."""
    path = Log().link(7, 0.0, 4.0, STEPS, "прога").write(tmp_path / "log")
    said = report(path, LC_ALL="C").stdout
    assert said.isascii()
    assert b"1->4" in said
    assert b"@@@" in said


def test_json_joins_both_records(tmp_path: Path) -> None:
    """--json prints a line for each link with the keys of both records, those that the report does not know included."""
    path = Log().link(7, 0.0, 4.0, STEPS, "prog", later="x").handover(8, 1.0, "lost").write(tmp_path / "log")
    one, two = (json.loads(line) for line in report("--json", path).stdout.splitlines())
    assert ("prog", 7, NOON, 4.0, STEPS, NOON + 4.0, "x") == tuple(
        one[key] for key in ("output", "pid", "time", "wall", "steps", "ended", "later")
    )
    assert ("lost", None) == (two["output"], two.get("ended"))


def test_a_log_is_read_from_standard_input() -> None:
    """`-` is standard input, also beside a file."""
    ran = report("-", stdin=Log().link(7, 0.0, 4.0, STEPS, "prog").raw(b"x").bytes())
    assert b"prog" in ran.stdout
    assert b"ldshim: standard input:3: skipped" in ran.stderr


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    """A missing log costs status 2, an output that cannot be written 100, and a line each; the other logs are shown."""
    path = Log().link(7, 0.0, 4.0, STEPS, "prog").write(tmp_path / "log")
    missing = report(tmp_path / "none", path)
    assert (2, True) == (missing.returncode, b"prog" in missing.stdout)
    assert f"ldshim: {tmp_path}/none: cannot be read: No such file or directory\n".encode() == missing.stderr
    for option in ("--html", "--trace"):
        nothing = report(option, tmp_path / "page", tmp_path)
        assert (2, f"ldshim: {tmp_path}: cannot be read: Is a directory\n".encode()) == (nothing.returncode, nothing.stderr)
        assert not (tmp_path / "page").exists()
        refused = report(option, tmp_path / "no" / "file", path)
        assert 100 == refused.returncode
        assert f"ldshim: {tmp_path}/no/file: cannot be written: No such file or directory\n".encode() == refused.stderr


def test_an_empty_log_says_what_to_look_at(tmp_path: Path) -> None:
    """A log without a link is no failure, and the next question is put."""
    (tmp_path / "log").touch()
    ran = report(tmp_path / "log")
    assert (0, b"") == (ran.returncode, ran.stdout)
    assert b"was LDSHIM_LOG set in the environment of the build?" in ran.stderr


def test_a_reader_that_stops_is_no_error(tmp_path: Path) -> None:
    """`ldshim report log | head -1` ends quietly."""
    log = Log()
    for number in range(3000):
        log.link(number, number, 1.0, STEPS, "a-name-that-fills-the-pipe" * 3)
    path = log.write(tmp_path / "log")
    for option in ("", "--json"):
        command = f"{sys.executable} -m ldshim report {option} {path} | head -1"
        ran = subprocess.run(["sh", "-c", command], capture_output=True, env=environment(), check=False)
        assert (1, b"") == (len(ran.stdout.splitlines()), ran.stderr)


def test_a_wrong_command_line_is_2(tmp_path: Path) -> None:
    """Without a log, and with an unknown option, the status is argparse's."""
    assert [2, 2] == [report().returncode, report("--xml", tmp_path).returncode]


def test_reading_shows_progress_on_a_terminal_and_leaves_nothing(tmp_path: Path) -> None:
    """A long log says how far it is; when the table stands, the line is gone."""
    log = Log()
    for number in range(2000):
        log.link(number, number, 1.0, STEPS)
    path = log.write(tmp_path / "log")
    seen = screen.run([sys.executable, "-m", "ldshim", "report", str(path)], environment(), 80)
    assert f"reading {path}"[:40] in seen.raw
    assert not any("reading" in line for line in seen.lines)


@pytest.mark.matrix
def test_a_real_build_is_reported(shim: Shim, program: Program, tmp_path: Path) -> None:
    """Eight LTO links of gcc and lld under make -j8: each has its end, its steps and the size of the pool; a plain one held nothing."""
    path = of_a_build(shim, program, tmp_path)
    with open(path, "rb") as stream:
        found = list(links.Reader(lambda *said: pytest.fail(str(said))).read(stream, "log"))
    held = [link for link in found if link.may_end]
    assert {f"prog{number}" for number in range(8)} == {link.output for link in held}
    assert ["plain"] == [link.output for link in found if not link.may_end]
    assert all(link.ended and link.at and link.waited is not None for link in held)
    assert {8} == {link.pool_size for link in held}
    table = report(path).stdout.decode()
    assert all(f"prog{number} " in table for number in range(8))
