"""A guess is replaced by what the same link needed last time, and a broken memory is none (C27)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ldshim.decide.memory_estimate import MB, Footprint
from ldshim.reserve import memory_ledger, peaks
from ldshim.reserve.lease import Lease
from ldshim.reserve.memory_ledger import GuardedLease
from ldshim.reserve.peaks import Key

GUESS = 500 * MB


def key(place: Path, output: str = "out", guess: int = GUESS, tool: bytes = b"/usr/bin/ld") -> Key:
    """Name a link to an output in a directory."""
    return Key(bytes(place), tool, bytes(place / output), guess)


def learn(place: Path, one: int, each: int = 0, output: str = "out") -> None:
    """Let a link make its output and leave behind what it needed."""
    link = key(place, output)
    (place / output).write_text(f"{one} {each} {os.urandom(4).hex()}")
    link.remember(one, each)


def test_what_was_needed_last_time_comes_back(tmp_path: Path) -> None:
    """C27: for the same tool, output and magnitude of the guess; for anything else nothing is known."""
    assert (0, 0) == key(tmp_path).recall()
    learn(tmp_path, 7 * MB, 3 * MB)
    found = [key(tmp_path), key(tmp_path, "other"), key(tmp_path, guess=2 * GUESS), key(tmp_path, tool=b"/usr/bin/gold")]
    assert [(7 * MB, 3 * MB), (0, 0), (0, 0), (0, 0)] == [each.recall() for each in found]


def test_a_lower_peak_sinks_slowly_and_a_higher_one_counts_at_once(tmp_path: Path) -> None:
    """C27: one small link between large ones does not make the next large one die."""
    learn(tmp_path, 800 * MB)
    learn(tmp_path, 1 * MB)
    assert (700 * MB, 0) == key(tmp_path).recall()
    learn(tmp_path, 900 * MB)
    assert (900 * MB, 0) == key(tmp_path).recall()


def test_a_link_that_made_no_output_teaches_nothing(tmp_path: Path) -> None:
    """C27: what was killed on its way has not shown what it needs."""
    (tmp_path / "out").write_text("of the link before")
    key(tmp_path).remember(1, 1)
    (tmp_path / "out").unlink()
    key(tmp_path).remember(1, 1)
    assert (0, 0) == key(tmp_path).recall()


@pytest.mark.parametrize("damage", ["cut", "torn", "junk", "directory", "fifo", "symbolic link"])
def test_a_broken_table_knows_nothing(tmp_path: Path, damage: str) -> None:
    """C27: a line written half, by two at once, or by somebody else is not believed, and costs nothing."""
    learn(tmp_path, 5 * MB)
    table = tmp_path / "peaks"
    text = table.read_bytes()
    table.unlink()
    if damage == "directory":
        table.mkdir()
    elif damage == "fifo":
        os.mkfifo(table)
    elif damage == "symbolic link":
        table.symlink_to("/dev/zero")
    else:
        table.write_bytes({"cut": text[:-30], "torn": text.replace(b"0", b"1", 20), "junk": b"\xff" * len(text)}[damage])
    assert (0, 0) == key(tmp_path).recall()


def test_the_table_does_not_grow(tmp_path: Path) -> None:
    """C27: a thousand links later it is as long as it may be, and the last of them is in it."""
    for number in range(1000):
        learn(tmp_path, number + 1, output=f"out{number}")
    assert (tmp_path / "peaks").stat().st_size <= peaks.RECORDS * 76
    assert (1000, 0) == key(tmp_path, "out999").recall()


def test_many_write_at_once(tmp_path: Path) -> None:
    """C27: links that end together leave every one of theirs behind, or nothing."""
    names = [f"out{number}" for number in range(40)]
    threads = [threading.Thread(target=learn, args=(tmp_path, 1 + number, 0, name)) for number, name in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(key(tmp_path, name).recall() in ((1 + number, 0), (0, 0)) for number, name in enumerate(names))
    assert 30 < sum(key(tmp_path, name).recall() != (0, 0) for name in names)


@pytest.mark.parametrize(
    ("one", "each", "jobs", "expected"),
    [(0, 0, 1, 300), (100, 0, 1, 133), (100, 0, 2, 233), (40, 0, 2, 116), (400, 100, 1, 508), (400, 100, 3, 774), (0, 100, 2, 266)],
)
def test_a_footprint_by_what_was_seen(one: int, each: int, jobs: int, expected: int) -> None:
    """C27: with one job what it took, a quarter and 8 MB more; each further one what a job took, or the guess."""
    found = Footprint(200 * MB, 100 * MB).learned(one * MB, each * MB)
    assert (expected * MB, bool(one or each)) == (found.of(jobs), "last time" in found.origin)


def test_a_warden_leaves_behind_what_its_link_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C27: the peak of what was seen, by the jobs at that moment; the next link of its kind is judged by it, and its reason says so."""
    (tmp_path / "ldshim").mkdir(0o700)
    place = {b"XDG_RUNTIME_DIR": bytes(tmp_path)}

    def opened() -> memory_ledger.Promise:
        return memory_ledger.promise(
            lambda name: place.get(name, b""), Footprint(0, GUESS), os.getpid(), 0, (b"/ld", bytes(tmp_path / "o"))
        )

    guarded = GuardedLease(Lease(), opened())
    guarded.grow(0)
    for now, used in ((0.0, 20), (1.0, 60), (2.0, 40)):
        monkeypatch.setattr(memory_ledger, "used", lambda _link, size=used: size * MB)
        guarded.tend(now)
    (tmp_path / "o").write_text("made")
    guarded.release()
    again = opened()
    assert (83 * MB, " (as it needed last time)") == (again.footprint.of(1), again.footprint.origin)
