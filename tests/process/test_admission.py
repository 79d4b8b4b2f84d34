"""A link that does not fit waits for those that run instead of dying with them, and never for the dead, the stopped, or for ever (C25)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldshim.call import clock
from ldshim.decide.memory_estimate import Footprint
from ldshim.reserve import admission, memory, memory_ledger
from ldshim.reserve.admission import GO
from ldshim.reserve.memory import HOST, Ceiling
from ldshim.reserve.memory_ledger import Promise
from ldshim.reserve.promises import Entry, parse, render
from tests.support import surroundings, tools
from tests.support.container import Container
from tests.support.flight import wait_for
from tests.support.pool import Pool
from tests.support.program import bare_environment
from tests.support.shim import ROOT
from tests.support.waiting import OBJECT, Links

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shim import Shim

GB = 1 << 30
NOW = 1000.0


def entry(name: str, size: int, since: float = NOW, *, waits: bool = False, cgroups: tuple[bytes, ...] = ()) -> Entry:
    """Make another link's promise of so many GB; it is in another PID namespace, so that nobody looks whether it lives."""
    return Entry(name.encode(), waits, size * GB, size * GB, since, b"elsewhere", cgroups)


def promise(size: int, place: Path | None = None) -> Promise:
    """Make the promise of a link that needs so many GB for a job."""
    return Promise(bytes(place) if place else b"", Footprint(0, size * GB), os.getpid())


def judge(size: int, *others: Entry, left: int = 10, pressed: bool = False, later: float = 1.0, cgroup: int | None = None) -> int:
    """Judge a link of so many GB that came after the others. left: GB of the machine; cgroup: GB of the cgroup b"1:1" that we are in."""
    mine = promise(size)
    moved = [
        Entry(each.stamp, each.waits, each.needs, each.wants, mine.since + each.since - NOW - 1, b"x", each.cgroups) for each in others
    ]
    ceilings = [Ceiling(HOST, left * GB, 64 * GB)] + ([Ceiling(b"1:1", cgroup * GB, 64 * GB)] if cgroup is not None else [])
    return admission.place(mine, ceilings, moved, pressed, mine.since + later)


def test_what_fits_beside_the_others_goes() -> None:
    """C25: memory that others were promised and have not used is not there; the rest is."""
    assert (GO, 0) == (judge(4, entry("a", 6)), judge(5, entry("a", 6)))


def test_alone_a_link_goes_whatever_it_needs() -> None:
    """C25: nobody can make room for it."""
    assert GO == judge(100)


def test_pressure_delays_only_beside_others() -> None:
    """C26: while the machine stalls nobody is admitted, unless nobody runs."""
    assert (0, GO) == (judge(1, entry("a", 1), pressed=True), judge(1, pressed=True))


def test_without_a_running_link_the_first_that_came_goes() -> None:
    """C25: sixteen waiters do not all go when the last running link ends."""
    assert 2 == judge(1, entry("a", 1, waits=True), entry("b", 1, waits=True))


def test_first_come_first_served() -> None:
    """C25: of two that fit one after the other, the one that came later leaves the room to the first."""
    assert (1, GO) == (judge(3, entry("a", 5), entry("b", 4, waits=True)), judge(1, entry("a", 5), entry("b", 4, waits=True)))


def test_a_small_link_passes_a_large_one_but_not_for_ever() -> None:
    """C25: a large link that cannot start yet lets others pass for a while; then nobody starts before it."""
    others = (entry("a", 5), entry("b", 9, waits=True))
    assert (GO, 1) == (judge(2, *others), judge(2, *others, later=admission.PASS_SECONDS + 1))


def test_who_came_later_is_nobodys_concern() -> None:
    """C25: a waiter waits for waiters that came before it only."""
    assert GO == judge(4, entry("a", 5), entry("b", 5, NOW + 5, waits=True))


def test_another_containers_promise_counts_against_the_machine_only() -> None:
    """C17, C25: a link outside our limit neither takes room below it nor can make any; one inside does both."""
    outside, inside = entry("a", 6), entry("b", 3, cgroups=(b"1:1",))
    assert GO == judge(3, outside, left=10, cgroup=4)
    assert 0 == judge(3, outside, left=8, cgroup=4)
    assert 0 == judge(3, inside, left=20, cgroup=4)
    assert GO == judge(5, outside, left=20, cgroup=4)


def test_a_promise_reads_as_it_was_written() -> None:
    """A line says who waits, for how much, since when, and below which limits; junk says nothing."""
    read = parse(b"7.8", render(True, 5, 6, 12.345, (b"1:2", b"3:4")))
    assert (7, True, 5, 6, 12.345, (b"1:2", b"3:4"), True) == (
        read.link,
        read.waits,
        read.needs,
        read.wants,
        read.since,
        read.cgroups,
        read.here,
    )
    assert (False, 0, ()) == (parse(b"x", b"junk").waits, parse(b"x", b"w x y z 1").needs, parse(b"", b"").cgroups)
    assert len(render(False, 1, 1, 1.0, tuple(b"%d:%d" % (n, n) for n in range(999)))) <= 1024


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide a machine with 10 GB free."""
    monkeypatch.setattr(memory, "ceilings", lambda: [Ceiling(HOST, 10 * GB, 64 * GB)])


@pytest.mark.usefixtures("machine")
def test_a_person_at_a_terminal_is_told_once_and_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C25: the line comes on a terminal only, once; after LDSHIM_WAIT seconds the link goes."""
    said: list[str] = []
    monkeypatch.setattr(admission, "SAY_SECONDS", 0.1)
    monkeypatch.setattr(Promise, "_entries", lambda *_, **__: [entry("1.1", 9)])
    for terminal, expected in ((False, 0), (True, 1)):
        monkeypatch.setattr(os, "isatty", lambda _fd, answer=terminal: answer)
        mine = promise(5, tmp_path)
        assert 1.0 <= admission.admit(mine, 1, said.append)
        assert (1, expected) == (mine.jobs, len(said))
        mine.close()
    assert "waits for 5.0 GB of memory, for 1 s at most (LDSHIM_WAIT)" == said[0]


@pytest.mark.usefixtures("machine")
def test_a_link_that_cannot_read_the_ledger_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C25: a process stopped with the lock in its hand stops nobody."""
    import fcntl  # noqa: PLC0415

    monkeypatch.setattr(memory_ledger, "LOCK_SECONDS", 0.05)
    with (tmp_path / "memory").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert 0.0 == admission.admit(promise(5, tmp_path), 300, print)


@pytest.mark.usefixtures("machine")
def test_a_small_link_is_below_the_floor() -> None:
    """C25: 64 MB, or a 32nd of the total where that is less; a probe needs less."""
    assert (64 << 20, 32 << 20) == (memory.floor(memory.ceilings()), memory.floor([Ceiling(b"1:1", 0, GB)]))
    assert (False, True) == tuple(Promise(b"", Footprint(0, size << 20), 1).is_large for size in (63, 64))


@pytest.mark.usefixtures("machine")
def test_a_driver_that_has_promised_has_promised_for_its_linker(tmp_path: Path) -> None:
    """C25: a link neither waits for an ancestor nor writes down what the ancestor has written."""
    above = Promise(bytes(tmp_path), Footprint(0, 9 * GB), os.getppid())
    above.resize(1)
    mine = promise(9, tmp_path)
    assert (0.0, []) == (admission.admit(mine, 300, print), mine.fds())
    assert 10 * GB <= (mine.available() or 0)
    above.close()


@pytest.fixture
def links(tmp_path: Path, shim: Shim) -> Iterator[Links]:
    """Provide links of which one fits."""
    found = Links(tmp_path, shim)
    yield found
    found.close()


def queued(links: Links) -> list[float]:
    """Read how long each link waited, in the order they were handed over."""
    return [each["queued"] for each in map(json.loads, links.log.read_text().splitlines()) if each["event"] == "handover"]


def test_the_second_waits_until_the_first_is_over(links: Links) -> None:
    """C25: it waits by name, says in the ledger for how much, holds no token, and the log has the seconds."""
    with Pool(b"abc") as pool:
        first = links.start()
        first.wait_to_run()
        second = links.start(MAKEFLAGS=pool.makeflags)
        second.wait_to_wait()
        (waiter,) = [each for each in links.promises() if each.waits]
        assert (second.process.pid, links.size, 3) == (waiter.link, waiter.wants, pool.available())
        assert 0 == first.end()
        second.wait_to_run()
        assert 0 == second.end()
    first_waited, second_waited = queued(links)
    assert (True, True) == (first_waited == 0.0, second_waited > 0.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_ends_a_waiter_as_it_would_end_the_tool(links: Links, number: signal.Signals) -> None:
    """C25, C3: the status is the signal's, and the next in the queue has its turn."""
    first = links.start()
    first.wait_to_run()
    second, third = links.start(), links.start()
    second.wait_to_wait()
    third.wait_to_wait()
    second.process.send_signal(number)
    assert -number == second.process.wait(60)
    assert 0 == first.end()
    third.wait_to_run()
    assert 0 == third.end()


@pytest.mark.parametrize("victim", ["the link", "its warden"])
def test_nobody_waits_for_the_dead(links: Links, victim: str) -> None:
    """C25: SIGKILL to the link that is waited for, or to its warden, lets the next one on."""
    first = links.start()
    first.wait_to_run()
    second = links.start()
    second.wait_to_wait()
    (warden,) = links.wardens()
    os.kill(first.process.pid if victim == "the link" else warden, signal.SIGKILL)
    second.wait_to_run()
    assert 0 == second.end()


def test_nobody_waits_for_a_stopped_link(links: Links) -> None:
    """C25: ^Z of the link that runs lets the next one on."""
    first = links.start()
    first.wait_to_run()
    second = links.start()
    second.wait_to_wait()
    first.process.send_signal(signal.SIGSTOP)
    second.wait_to_run()
    first.process.send_signal(signal.SIGCONT)
    assert [0, 0] == [second.end(), first.end()]


def test_a_stopped_waiter_loses_its_turn(links: Links) -> None:
    """C25: who is stopped by ^Z while it waits holds nobody up, and goes on when it is continued."""
    first = links.start()
    first.wait_to_run()
    second = links.start()
    second.wait_to_wait()
    third = links.start()
    third.wait_to_wait()
    second.process.send_signal(signal.SIGSTOP)
    assert 0 == first.end()
    third.wait_to_run()
    second.process.send_signal(signal.SIGCONT)
    assert 0 == third.end()
    second.wait_to_run()
    assert 0 == second.end()


@pytest.mark.parametrize("seconds", ["0", "1"])
@pytest.mark.parametrize("clocks", [(), ("frozen-clock",), ("frozen-times",)], ids=["clock", "frozen-clock", "frozen-times"])
def test_nobody_waits_longer_than_asked(links: Links, seconds: str, clocks: tuple[str, ...], tmp_path: Path) -> None:
    """C25: after LDSHIM_WAIT seconds a link goes while the other still runs, however the clock stands; after 0 at once."""
    surroundings.need(clocks)
    before = surroundings.command(clocks, surroundings.build_preload(tmp_path, tools.need_c_library())) if clocks else []
    first = links.start()
    first.wait_to_run()
    second = links.start(before=tuple(before), LDSHIM_WAIT=seconds)
    second.wait_to_run()
    assert [0, 0] == [second.end(), first.end()]
    assert (seconds != "0") == (queued(links)[1] > 0)


def sparse(place: Path, size: int) -> str:
    """Make an object without IR that is said to be so large, and takes no room."""
    path = place / f"large-{size}.o"
    path.write_bytes((ROOT / "fixtures" / "ir" / "native.o").read_bytes())
    os.truncate(path, size)
    return str(path)


def test_a_plain_link_waits_as_well(links: Links, tmp_path: Path) -> None:
    """C25: two plain links whose inputs and outputs do not fit into memory together run one after the other."""
    large = sparse(tmp_path, links.size)
    first = links.start(large)
    first.wait_to_run()
    second = links.start(large)
    second.wait_to_wait()
    assert 0 == first.end()
    second.wait_to_run()
    assert 0 == second.end()


@pytest.mark.parametrize(("size", "expected"), [(32 << 20, 0), (256 << 20, 1)])
def test_only_a_large_plain_link_leaves_a_warden(links: Links, tmp_path: Path, size: int, expected: int) -> None:
    """C23, C25: below the floor a plain link pays for nothing; above it a warden holds its promise."""
    link = links.start(sparse(tmp_path, size))
    link.wait_to_run()
    wait_for(lambda: len(links.wardens()) == expected)
    assert (expected, expected) == (len(links.wardens()), len(links.promises()))
    assert 0 == link.end()


def test_a_link_below_this_process_does_not_wait_for_it(links: Links) -> None:
    """C25: this process, an ancestor of the link, has promised everything to itself."""
    mine = Promise(bytes(links.runtime / "ldshim"), Footprint(0, links.size), os.getpid())
    mine.resize(1)
    link = links.start()
    link.wait_to_run()
    assert [os.getpid()] == [each.link for each in links.promises()]
    assert 0 == link.end()
    mine.close()


def test_two_processes_agree_on_who_came_first() -> None:
    """C25: links order themselves by seconds that are the same for all processes of the machine."""
    assert 0 == pytest.approx(clock.now() - os.times().elapsed, abs=3 * clock.SLACK_SECONDS)


@pytest.mark.parametrize("beside", ["in the same container", "outside"])
def test_a_real_limit_binds_those_in_it_and_nobody_else(shim: Shim, tmp_path: Path, beside: str) -> None:
    """C17, C25: in a memory cgroup of 400 MB the second link of 300 MB waits for one that is in it, and for none that is not."""
    size = 300 << 20
    found = Links(tmp_path, shim)
    try:
        with Container(400 << 20) as container:
            first = found.start(before=container.command() if beside == "in the same container" else (), LDSHIM_MEM_PER_JOB=str(size))
            first.wait_to_run()
            (running,) = found.promises()
            assert (container.identity in running.cgroups) == (beside == "in the same container")
            second = found.start(before=container.command(), LDSHIM_MEM_PER_JOB=str(size))
            if beside == "in the same container":
                second.wait_to_wait()
                assert 0 == first.end()
            second.wait_to_run()
            assert 0 == second.end()
            if beside == "outside":
                assert 0 == first.end()
            wait_for(lambda: not found.wardens())
    finally:
        found.close()


def test_explain_says_whose_number_the_need_is(links: Links) -> None:
    """C27: guessed, as it needed last time, or said by LDSHIM_MEM_PER_JOB; and explain itself neither waits nor promises."""
    ask = [links.command, "explain", "--", links.tool, str(OBJECT), "-o", str(links.place / "out")]
    env = bare_environment(XDG_RUNTIME_DIR=str(links.runtime))

    def memory_row(**more: str) -> str:
        said = subprocess.run(ask, env={**env, **more}, capture_output=True, check=True).stdout.decode()
        (row,) = [line for line in said.splitlines() if line.startswith("memory ")]
        return row.partition("with one job ")[2]

    assert ("(guessed from its inputs)", "(LDSHIM_MEM_PER_JOB)") == (memory_row(), memory_row(LDSHIM_MEM_PER_JOB="900G"))
    assert [] == links.promises()
