"""Hazards of feeding GCC's private pipe: tokens nobody uses, tokens too many, a spare held through the serial phases."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ldshim.call import descriptors, processes
from ldshim.reserve.lease import Lease
from ldshim.warden import gcc_valve, private_jobserver


class Counted(Lease):
    """A lease over a counted pool, which asserts that it is never over-drawn nor over-returned."""

    def __init__(self, pool: int) -> None:
        super().__init__("jobserver", "test")
        self.free = pool
        self.out = 0

    @property
    def held(self) -> int:
        """Count what is out."""
        return self.out

    def grow(self, most: int) -> int:
        """Take what is there."""
        got = min(most, self.free)
        self.free -= got
        self.out += got
        return got

    def shrink(self, count: int) -> None:
        """Give back."""
        assert self.out >= count
        self.free += count
        self.out -= count


class Below:
    """The process tree below a link, as the test says it is."""

    def __init__(self) -> None:
        self.make = self.wpa = self.executor = False
        self.words = b"make\0-f\0/tmp/x.mk\0all\0"
        self.jobs = 1

    def comms(self) -> dict[int, bytes]:
        """Name the processes by pid."""
        return {
            **({11: b"make"} if self.make else {}),
            **({12: b"lto1-wpa"} if self.wpa else {}),
            **({13: b"ldshim-backends"} if self.executor else {}),
        }


@pytest.fixture
def below(monkeypatch: pytest.MonkeyPatch) -> Below:
    """Put a pretended tree in the place of /proc: pid 10 is the link, 11 its make when there is one, 12 its WPA."""
    tree = Below()
    monkeypatch.setattr(processes, "below", lambda _: list(tree.comms()))
    monkeypatch.setattr(processes, "comm", lambda pid: tree.comms().get(pid, b""))
    monkeypatch.setattr(processes, "command_line", lambda _: tree.words)
    monkeypatch.setattr(processes, "stat_fields", lambda _: [b"S"])
    monkeypatch.setattr(processes, "children", lambda _: list(range(tree.jobs)))
    return tree


@pytest.fixture
def pipe() -> Iterator[private_jobserver.Private]:
    """Make a private pipe and close it."""
    made = private_jobserver.create()
    yield made
    made.close()


@pytest.mark.usefixtures("below")
def test_serial_phases_hold_nothing(pipe: private_jobserver.Private) -> None:
    """Without a make below the link no token is taken, however long that lasts."""
    lease = Counted(4)
    feeding = gcc_valve.Valve(10, pipe, lease, 4)
    for step in range(100):
        feeding.tick(step * 0.1)
    assert 4 == lease.free


def test_one_spare_is_offered_and_the_next_follows_when_it_is_taken(below: Below, pipe: private_jobserver.Private) -> None:
    """C21: a token that make takes is the demand signal; growth ends at what the link may use."""
    lease = Counted(8)
    below.make = True
    feeding = gcc_valve.Valve(10, pipe, lease, 3)
    now, held = 0.0, []
    for _ in range(6):
        feeding.tick(now)
        held.append(lease.held)
        try:
            os.read(pipe.read_fd, 1)  # make takes it
        except BlockingIOError:
            pass
        now += 0.01
    assert [1, 2, 3, 3, 3, 3] == held
    assert feeding.peak == 3


def test_c31_an_executor_whose_jobs_all_run_elsewhere_is_left_no_spare(below: Below, pipe: private_jobserver.Private) -> None:
    """C31: it is a client from its first moment, also without a child, and what it does not take goes back outside."""
    lease = Counted(1)
    below.executor, below.jobs = True, 0
    feeding = gcc_valve.Valve(10, pipe, lease, 3)
    held = []
    for step in range(60):
        feeding.tick(step * 0.01)
        held.append(lease.held)
    assert held[0] == 1
    assert held[-1] == 0


def test_a_spare_that_nobody_takes_is_outside_most_of_the_time(below: Below, pipe: private_jobserver.Private) -> None:
    """C21: make runs and wants no second job: of ten seconds the only token is there for others in eight, and is offered all the same."""
    lease = Counted(1)
    below.make = True
    feeding = gcc_valve.Valve(10, pipe, lease, 3)
    outside = []
    for step in range(1000):
        feeding.tick(step * 0.01)
        outside.append(lease.free)
    assert 800 < sum(outside) < 1000


def test_tokens_of_jobs_that_ended_go_back(below: Below, pipe: private_jobserver.Private) -> None:
    """At the tail of LTRANS make returns tokens to the private pipe; they reach the build while the last job still runs."""
    lease = Counted(4)
    below.make = True
    feeding = gcc_valve.Valve(10, pipe, lease, 4)
    now = 0.0
    for _ in range(4):
        feeding.tick(now)
        os.read(pipe.read_fd, 1)
        now += 0.01
    assert lease.free == 0
    os.write(pipe.write_fd, b"+++")
    for _ in range(30):
        feeding.tick(now)
        now += 0.01
    assert (3, 1) == (lease.free, lease.held)


def test_when_make_is_gone_nothing_stays_in_the_pipe(below: Below, pipe: private_jobserver.Private) -> None:
    """The final link is serial again: what make put back leaves the private pipe at the next look."""
    lease = Counted(2)
    below.make = True
    feeding = gcc_valve.Valve(10, pipe, lease, 2)
    feeding.tick(0.0)
    below.make = False
    feeding.tick(1.0)
    assert (lease.free, lease.held) == (2, 0)


def test_a_make_that_is_asked_for_its_version_is_offered_nothing(below: Below, pipe: private_jobserver.Private) -> None:
    """lto-wrapper runs `make --version` before WPA, to know that there is one; an empty command line is an exec that is not done yet."""
    lease = Counted(1)
    below.make = True
    for words in (b"", b"make\0--version\0"):
        below.words = words
        feeding = gcc_valve.Valve(10, pipe, lease, 2)
        feeding.tick(0.0)
        assert 1 == lease.free


def test_what_a_make_left_in_the_pipe_is_taken_out_before_wpa_is_confined(below: Below, pipe: private_jobserver.Private) -> None:
    """C14: the confinement gives back what it holds and does not use; a token that lies in the pipe meanwhile would be used by two."""
    lease = Counted(1)
    below.make = True
    held_at_start = []

    def confine(_: int) -> None:
        held_at_start.append((lease.held, descriptors.waiting(pipe.read_fd)))

    feeding = gcc_valve.Valve(10, pipe, lease, 2, confine=confine)
    feeding.tick(0.0)
    assert 1 == descriptors.waiting(pipe.read_fd)
    below.make, below.wpa = False, True
    feeding.tick(1.0)
    assert [(0, 0)] == held_at_start


def test_private_pipe_is_non_blocking_inheritable_and_unnamed() -> None:
    """C19: GCC 13 hangs on a blocking read end; the numbers stand above 100 and are none that MAKEFLAGS names."""
    made = private_jobserver.create(avoid={101, 102, 104})
    try:
        assert {made.read_fd, made.write_fd}.isdisjoint({101, 102, 104})
        assert min(made.read_fd, made.write_fd) > 100
        assert (os.get_blocking(made.read_fd), os.get_inheritable(made.read_fd), os.get_inheritable(made.write_fd)) == (False, True, True)
        assert b"%d,%d" % (made.read_fd, made.write_fd) == made.auth()
    finally:
        made.close()
