"""Links that start together must not all count the same free memory, and a promise must not outlive the link it was made to (C17)."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldshim.call import processes
from ldshim.decide.memory_estimate import Footprint
from ldshim.reserve import memory, memory_ledger, promises
from ldshim.reserve.lease import Lease
from ldshim.reserve.memory_ledger import GuardedLease, Promise

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
GB = 1 << 30
NEED = Footprint(0, GB)

HOLDER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ldshim.decide.memory_estimate import Footprint
from ldshim.reserve import memory
from ldshim.reserve import memory_ledger as ledger
memory.ceilings = lambda: [memory.Ceiling(memory.HOST, int(sys.argv[3]) << 30, 1 << 40)]
ledger.LOCK_SECONDS = 60.0
promise = ledger.Promise(os.fsencode(sys.argv[2]), Footprint(0, 1 << 30), os.getpid())
sys.stdin.readline()
print(promise.resize(int(sys.argv[4])), flush=True)
sys.stdin.read()
"""


class Holder:
    """A process that is told when to promise itself memory, and keeps the promise until it is told to end."""

    def __init__(self, place: Path, available: int, jobs: int) -> None:
        command = [sys.executable, "-c", HOLDER, str(ROOT), str(place), str(available), str(jobs)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def go(self) -> None:
        """Let it ask."""
        assert self.process.stdin
        self.process.stdin.write(b"\n")

    def jobs(self) -> int:
        """Wait for what it was promised."""
        assert self.process.stdout
        return int(self.process.stdout.readline())

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it, by a signal."""
        self.process.send_signal(number)
        self.process.communicate()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Provide a directory of ours; afterwards it holds no promise whose owner lives."""
    directory = tmp_path / "ldshim"
    directory.mkdir(0o700)
    yield directory
    fd = os.open(directory, os.O_RDONLY)
    try:
        assert 0 == memory_ledger.outstanding(fd)
    finally:
        os.close(fd)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Provide a machine whose free memory the test sets, in GB."""
    said = {"GB": 20}
    monkeypatch.setattr(memory, "ceilings", lambda: [memory.Ceiling(memory.HOST, said["GB"] * GB, 64 * GB)])
    return said


def written_needs(path: Path) -> int:
    """Read what a promise says is still to come, in bytes."""
    return promises.parse(b"", path.read_bytes()).needs


def test_sixteen_links_starting_together_do_not_count_the_same_memory(place: Path) -> None:
    """C17: of twenty jobs' memory two links get their eight, one gets the rest, all others the one job that is always theirs."""
    holders = [Holder(place, 20, 8) for _ in range(16)]
    for holder in holders:
        holder.go()
    granted = [holder.jobs() for holder in holders]
    for holder in holders:
        holder.end()
    assert [8, 8, 4, *[1] * 13] == sorted(granted, reverse=True)


def test_a_dead_links_promise_is_free_at_once(place: Path, machine: dict[str, int]) -> None:
    """C17: SIGKILL of whoever holds a promise frees it, and the file goes with the next reader."""
    holder = Holder(place, 20, 18)
    holder.go()
    assert 18 == holder.jobs()
    mine = Promise(bytes(place), NEED, os.getpid())
    assert 2 == mine.resize(8)
    holder.end()
    assert 20 == mine.resize(machine["GB"] + 5)
    mine.close()
    assert ["memory"] == sorted(os.listdir(place))


def test_a_promise_is_written_down_in_bytes_and_shrinks(place: Path, machine: dict[str, int]) -> None:
    """C17: what is given back can be promised to others at once."""
    first, second = Promise(bytes(place), Footprint(GB, 2 * GB), os.getpid()), Promise(bytes(place), NEED, os.getppid())
    assert 4 == first.resize(4)
    (written,) = place.glob("memory-*")
    assert (9 * GB, processes.stamp(os.getpid())) == (written_needs(written), os.fsencode(written.name)[7:])
    machine["GB"] = 12
    assert 3 == second.resize(8)
    assert 1 == first.resize(1)
    assert 8 == second.resize(8)
    for each in (first, second):
        each.close()


def test_what_a_link_uses_already_is_not_counted_twice(place: Path, machine: dict[str, int]) -> None:
    """C17: used memory is gone from MemAvailable already, so only the rest of a promise is taken off."""
    size = 256 << 20
    eater = subprocess.Popen(
        [sys.executable, "-c", f"import sys; a = bytearray(b'x') * {size}; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert eater.stdout
    eater.stdout.readline()
    theirs = Promise(bytes(place), NEED, eater.pid)
    theirs.resize(1)
    theirs.look()
    mine = Promise(bytes(place), NEED, os.getpid())
    left = mine.available()
    own = memory_ledger.used(os.getpid())
    theirs.close()
    eater.kill()
    eater.communicate()
    assert left is not None
    taken = machine["GB"] * GB + own - left
    assert GB - size - (64 << 20) < taken < GB - size + (64 << 20)


@pytest.mark.usefixtures("machine")
def test_a_stopped_holder_of_the_lock_stops_nobody(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C18: a link that cannot read the book runs with one job instead of waiting, and keeps what it was promised before."""
    monkeypatch.setattr(memory_ledger, "LOCK_SECONDS", 0.05)
    before = Promise(bytes(place), NEED, os.getppid())
    assert 3 == before.resize(3)
    with (place / "memory").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mine = Promise(bytes(place), NEED, os.getpid())
        assert (1, 3) == (mine.resize(8), before.resize(8))
    assert 8 == mine.resize(8)
    for each in (mine, before):
        each.close()


def test_where_nobody_can_tell_nothing_is_limited(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C17: without /proc/meminfo and without a cgroup limit the number stands."""
    monkeypatch.setattr(memory, "ceilings", list)
    mine = Promise(bytes(place), NEED, os.getpid())
    assert (None, 50) == (mine.available(), mine.resize(50))
    mine.close()


@pytest.mark.usefixtures("machine")
def test_without_a_directory_the_machine_itself_is_asked() -> None:
    """C17: where nothing can be shared the free memory still bounds the link, and nothing is written."""
    mine = Promise(b"", NEED, os.getpid())
    assert (20, []) == (mine.resize(50), mine.fds())
    mine.close()


@pytest.mark.usefixtures("machine")
def test_junk_in_the_directory_is_passed_over(place: Path) -> None:
    """Whatever stands under a name like a promise's, it neither blocks nor raises."""
    os.mkfifo(place / "memory-1.2")
    (place / "memory-3.4").mkdir()
    (place / "memory-5.6").symlink_to("/dev/zero")
    (place / "memory-").write_text("junk")
    mine = Promise(bytes(place), NEED, os.getpid())
    assert 20 == mine.resize(50)
    mine.close()


class Tokens(Lease):
    """A lease on so many tokens. fewest: what others found there at the worst moment."""

    def __init__(self, there: int) -> None:
        super().__init__("jobserver", "tokens")
        self.there = there
        self.mine = 0
        self.fewest = there

    @property
    def held(self) -> int:
        """Count the tokens held."""
        return self.mine

    def grow(self, most: int) -> int:
        """Take what is there."""
        took = min(most, self.there)
        self.there -= took
        self.fewest = min(self.fewest, self.there)
        self.mine += took
        return took

    def shrink(self, count: int) -> None:
        """Give back."""
        self.there += min(count, self.mine)
        self.mine -= min(count, self.mine)

    def release(self) -> None:
        """Give all back."""
        self.shrink(self.mine)


def test_a_token_without_memory_goes_back_and_is_left_alone_for_a_while(place: Path, machine: dict[str, int]) -> None:
    """C17: memory for three jobs lets a link hold two tokens; then nobody's tokens are touched until it is worth asking again."""
    machine["GB"] = 3
    now = [100.0]
    tokens = Tokens(9)
    guarded = GuardedLease(tokens, Promise(bytes(place), NEED, os.getpid()), clock=lambda: now[0])
    assert (2, 2, 7) == (guarded.grow(5), guarded.held, tokens.there)
    tokens.fewest = tokens.there
    assert (0, 7) == (guarded.grow(1), tokens.fewest)
    machine["GB"] = 4
    now[0] += 1
    assert (1, 3) == (guarded.grow(1), guarded.held)
    guarded.shrink(2)
    assert 2 == guarded.promise.jobs
    guarded.release()
    assert (9, ["memory"]) == (tokens.there, os.listdir(place))


@pytest.mark.usefixtures("machine")
def test_a_link_without_a_token_is_in_the_book_as_well(place: Path) -> None:
    """C17: the implicit thread needs memory too; growing by nothing writes it down."""
    guarded = GuardedLease(Tokens(0), Promise(bytes(place), NEED, os.getpid()))
    guarded.grow(0)
    assert [GB] == [written_needs(path) for path in place.glob("memory-*")]
    guarded.release()


@pytest.mark.usefixtures("machine")
def test_a_promise_for_all_threads_stays_when_tokens_go(place: Path) -> None:
    """C17: a confined lld has all its threads whatever it holds, so its promise neither grows nor shrinks with the tokens."""
    promise = Promise(bytes(place), NEED, os.getpid())
    promise.resize(4)
    guarded = GuardedLease(Tokens(9), promise, follows=False)
    assert (3, 4) == (guarded.grow(3), promise.jobs)
    guarded.shrink(3)
    assert 4 == promise.jobs
    guarded.release()
