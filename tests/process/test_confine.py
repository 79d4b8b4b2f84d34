"""Hazards of confining a linker's threads: CPUs of others, idle ones held, threads that stay confined for ever."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ldshim.call import processes
from ldshim.reserve import lease
from ldshim.reserve.wrapped import Kept
from ldshim.warden import confinement, cpu_locks
from tests.support import tools
from tests.support.link import Link
from tests.support.pool import Pool

SPIN = "while :; do :; done"


def until(answer: Callable[[], object], expected: object, patience: float = 20.0) -> object:
    """Ask until the expected answer comes or patience (seconds) ends; return the last answer."""
    deadline = time.monotonic() + patience
    while answer() != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer()


def widest(link: Link) -> int:
    """Count the CPUs that the link's process may use."""
    return len(os.sched_getaffinity(link.process.pid))


@pytest.fixture(autouse=True)
def _two_cpus() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        tools.missing("a second CPU")


def test_cores_come_before_their_siblings() -> None:
    """The CPU it runs on first, then one of each other core, then the SMT siblings, all inside the mask."""
    siblings = {0: [0, 4], 4: [0, 4], 1: [1, 5], 5: [1, 5], 2: [2], 3: [3]}
    assert [5, 0, 2, 3, 1, 4] == cpu_locks.by_core([0, 1, 2, 3, 4, 5], 5, lambda cpu: siblings[cpu])
    assert [1, 4] == cpu_locks.by_core([1, 4], 0, lambda cpu: siblings[cpu])


def test_links_at_once_choose_different_cpus(tmp_path: Path) -> None:
    """Two links that start on the same CPU do not end up on it together; a third finds every name taken and still gets one."""
    directory = os.fsencode(tmp_path)
    one, two, three = (cpu_locks.Cpus({3, 5}, 3, directory) for _ in range(3))
    assert [frozenset({3}), frozenset({5})] == [one.resize(1), two.resize(1)]
    assert len(three.resize(1)) == 1
    two.release()
    assert frozenset({3, 5}) == one.resize(2)
    assert frozenset({3}) == one.resize(1)
    assert frozenset({5}) == two.resize(1)
    for cpus in (one, two, three):
        cpus.release()
        assert cpus.fds() == []


def test_a_link_that_had_to_share_a_cpu_moves_to_the_first_that_is_free(tmp_path: Path) -> None:
    """All names were taken when it came: as soon as the other one gives a name up, the two are on different CPUs."""
    directory = os.fsencode(tmp_path)
    one, two = (cpu_locks.Cpus({3, 5}, 3, directory) for _ in range(2))
    assert [frozenset({3, 5}), frozenset({3})] == [one.resize(2), two.resize(1)]
    assert ([], False, True) == (two.fds(), one.shares, two.shares)
    assert [frozenset({3}), frozenset({5})] == [one.resize(1), two.resize(1)]
    assert (1, False) == (len(two.fds()), two.shares)
    one.release()
    assert frozenset({3, 5}) == two.resize(2)
    two.release()


def test_never_more_cpus_than_the_mask(tmp_path: Path) -> None:
    """Sixteen tokens on two CPUs make no third one."""
    cpus = cpu_locks.Cpus({0, 1}, 0, os.fsencode(tmp_path))
    assert frozenset({0, 1}) == cpus.resize(16)
    cpus.release()


class Watching(lease.Lease):
    """One thread held, which somebody waits for if surplus says so; notes how many CPUs a process may use when it is given back."""

    def __init__(self, pid: int, surplus: int) -> None:
        super().__init__("slots", "test")
        self.pid = pid
        self.out = 1
        self.spare = surplus
        self.seen: list[int] = []

    @property
    def held(self) -> int:
        """Count what is out."""
        return self.out

    def surplus(self) -> int:
        """Say what the test says."""
        return self.spare

    def shrink(self, count: int) -> None:
        """Look at the process."""
        self.out -= count
        self.seen.append(len(os.sched_getaffinity(self.pid)))


@pytest.mark.parametrize("surplus", [0, 1])
def test_a_link_has_left_the_cpu_before_it_gives_its_token_back(surplus: int, tmp_path: Path) -> None:
    """C14: whoever takes the token is at work at once, and until the mask is narrow two would use it; 0: a serial phase, 1: it yields."""
    with subprocess.Popen(["sleep", "60"]) as idle:
        held = Watching(idle.pid, surplus)
        one = confinement.Confinement(idle.pid, cpu_locks.Cpus(os.sched_getaffinity(idle.pid), 0, os.fsencode(tmp_path)), held, 1)
        assert one.start()
        assert 2 == len(os.sched_getaffinity(idle.pid))
        for step in range(1, 5):
            one.tick(step * confinement.IDLE_SECONDS)
        one.end([])
        idle.kill()
    assert [1] == held.seen


def test_a_process_that_is_born_while_the_masks_are_set_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """A WPA forks while the warden goes from thread to thread: what was born with the old mask would keep it for half a second."""
    with subprocess.Popen(["sleep", "60"]) as parent, subprocess.Popen(["sleep", "60"]) as late:
        listings = iter([[], [late.pid], [late.pid]])
        monkeypatch.setattr(processes, "below", lambda _: next(listings))
        one = frozenset(sorted(os.sched_getaffinity(0))[:1])
        confinement.set_masks(parent.pid, one)
        masks = [os.sched_getaffinity(child.pid) for child in (parent, late)]
        parent.kill()
        late.kill()
    assert [one, one] == masks


def still(pid: int, held: lease.Lease, directory: Path) -> confinement.Confinement:
    """Confine a process to one CPU and as many more as are held."""
    one = confinement.Confinement(pid, cpu_locks.Cpus(os.sched_getaffinity(pid), 0, os.fsencode(directory)), held, 1)
    assert one.start()
    return one


def test_threads_that_nobody_can_have_are_not_given_up(tmp_path: Path) -> None:
    """A WPA of GCC 12 under a fixed number is serial at first: its writers, when it forks them, find the CPUs that were kept for them."""
    with subprocess.Popen(["sleep", "60"]) as idle:
        one = still(idle.pid, Kept(1), tmp_path)
        widths = []
        for step in range(1, 60):
            one.tick(step * confinement.TICK_SECONDS)
            widths.append(len(os.sched_getaffinity(idle.pid)))
        one.end([])
        idle.kill()
    assert {2} == set(widths)


def test_a_thread_that_leaves_its_cpus_is_confined_again(tmp_path: Path) -> None:
    """C20: what was born with an old mask, or set its own, is met within seconds, however long all masks have been right before."""
    everything = os.sched_getaffinity(0)
    with subprocess.Popen(["sleep", "60"]) as idle:
        one = still(idle.pid, lease.Lease(), tmp_path)
        for step in range(600):
            one.tick(step * 0.1)
        os.sched_setaffinity(idle.pid, everything)
        for step in range(600, 650):
            one.tick(step * 0.1)
        width = len(os.sched_getaffinity(idle.pid))
        one.end([])
        idle.kill()
    assert 1 == width


def test_who_has_every_cpu_takes_the_name_of_one_that_is_left(tmp_path: Path) -> None:
    """Or a link with another mask would take the CPU for free."""
    mask = os.sched_getaffinity(0)
    other = cpu_locks.Cpus(mask, min(mask), os.fsencode(tmp_path))
    other.resize(1)
    with subprocess.Popen(["sleep", "60"]) as idle:
        one = still(idle.pid, Kept(len(mask) - 1), tmp_path)
        # All masks are right: the next look at them is a second away.
        one.tick(10.0)
        one.tick(10.0 + confinement.AGAIN_SECONDS[0])
        other.release()
        one.tick(10.0 + confinement.AGAIN_SECONDS[0] + 2 * confinement.SHARING_SECONDS)
        other.resize(1)
        taken = other.shares
        other.release()
        one.end([])
        idle.kill()
    assert taken


def test_a_link_that_yields_stays_confined_on_a_machine_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C16: no CPU idles; that more CPUs have idled longer since boot than the few before is no reason to give the confinement up."""
    now = 0.0
    widths: list[int] = []

    def set_masks(_: int, mask: frozenset[int], __: object = ()) -> bool:
        widths.append(len(mask))
        return True

    monkeypatch.setattr(confinement, "set_masks", set_masks)
    monkeypatch.setattr(confinement, "count_runnable", lambda *_: 8)
    monkeypatch.setattr(confinement, "cpu_seconds", lambda _: 0.3 * now)
    monkeypatch.setattr(confinement, "idle_seconds", lambda cpus: 1000.0 * len(cpus))
    held = Watching(os.getpid(), 1)
    held.out = 7
    one = confinement.Confinement(os.getpid(), cpu_locks.Cpus(range(8), 0, os.fsencode(tmp_path)), held, 7)
    for step in range(100):
        now = 0.05 * step
        held.spare = int(held.out > 0)
        one.tick(now)
    assert (0, [7, 6, 5, 4, 3, 2, 1]) == (held.out, sorted(set(widths), reverse=True))
    assert widths == sorted(widths, reverse=True)


def test_a_link_without_tokens_is_confined_and_grows_with_the_first(tmp_path: Path) -> None:
    """C21: told it is elastic, it runs on one CPU; a token that becomes free widens every process below it; at the end all are back."""
    with Pool(b"\x07") as pool:
        held = pool.take(1)
        link = Link(pool, tmp_path, f"({SPIN}) & ({SPIN}) & wait", most=3, policy="confine")
        assert link.told() == ["0", "True"]
        assert until(lambda: widest(link), 1) == 1
        pool.give(held)
        assert until(lambda: widest(link), 2) == 2
        assert pool.available() == 0
        os.killpg(link.process.pid, 9)
        link.process.wait()


def test_a_serial_phase_gives_tokens_back_and_a_parallel_one_takes_them_again(tmp_path: Path) -> None:
    """C21: with one thread runnable the second CPU's token is outside again; when two run it returns."""
    script = f"({SPIN}) & one=$!; while [ ! -e go ]; do sleep 0.05; done; ({SPIN}) & wait $one"
    with Pool(b"\x07") as pool:
        link = Link(pool, tmp_path, script, policy="confine")
        assert link.told() == ["1", "True"]
        assert until(pool.available, 1) == 1
        assert until(lambda: widest(link), 1) == 1
        (tmp_path / "go").touch()
        assert until(pool.available, 0) == 0
        assert until(lambda: widest(link), 2) == 2
        os.killpg(link.process.pid, 9)
        link.process.wait()


@pytest.mark.parametrize("number", [0, 9, 15, 11], ids=["no signal", "SIGKILL", "SIGTERM", "SIGSEGV"])
def test_what_outlives_the_link_is_not_left_confined(number: int, tmp_path: Path) -> None:
    """C14: a server started below a confined link runs on every CPU again once the link is over, however it ended."""
    with Pool(b"\x07", style="fifo") as pool:
        held = pool.take(1)
        script = f"setsid sleep 30 & echo $! > server.new; mv server.new server; sleep 0.3; kill -{number} $$"
        link = Link(pool, tmp_path, script, policy="confine")
        link.told()
        assert -number == link.process.wait()
        server = int((tmp_path / "server").read_text())
        everything = len(os.sched_getaffinity(0))
        freed = until(lambda: len(os.sched_getaffinity(server)), everything)
        os.kill(server, 9)
        pool.give(held)
    assert everything == freed


def test_one_cpu_is_not_confined(tmp_path: Path) -> None:
    """Where the mask is a single CPU there is nothing to widen: the number is fixed."""
    mask = os.sched_getaffinity(0)
    with Pool(b"\x07") as pool:
        os.sched_setaffinity(0, {min(mask)})
        try:
            link = Link(pool, tmp_path, "exit 0", policy="confine")
        finally:
            os.sched_setaffinity(0, mask)
        assert link.told() == ["1", "False"]
        link.process.wait()
