"""Under memory pressure nothing grows and spare tokens go back, but a link that runs alone makes room for nobody (C26)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ldshim.decide.memory_estimate import Footprint
from ldshim.reserve import memory
from ldshim.reserve.lease import IDLE_SECONDS, Lease
from ldshim.reserve.memory_ledger import GuardedLease, Promise
from ldshim.reserve.pressure import Pressure, percent
from ldshim.reserve.promises import Entry
from tests.unit.test_hardware import Machine
from tests.unit.test_ledger import Tokens

if TYPE_CHECKING:
    from pathlib import Path

GB = 1 << 30
TEXT = "some avg10={} avg60=0.00 avg300=0.00 total=0\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Provide a machine whose host stalls for a fifth of the time."""
    found = Machine(tmp_path)
    found.file("proc/pressure/memory", TEXT.format("20.00"))
    return found


def seen(machine: Machine, high: int = 10) -> Pressure:
    """Watch the pressure on this machine."""
    return Pressure(high, machine.proc, bytes(machine.root))


def test_the_hosts_pressure_counts_where_no_cgroup_has_its_own(machine: Machine) -> None:
    """C26: without cgroups of version 2 the machine's figure is all there is."""
    machine.v1("memory", "/docker/x")
    machine.file("sys/fs/cgroup/memory/docker/x/tasks", "")
    assert (20.0, True) == (seen(machine).now(), seen(machine).is_high())


def test_our_own_cgroups_pressure_replaces_the_hosts(machine: Machine) -> None:
    """C26: a container that has memory does not stop because the host stalls, nor go on because the host does not."""
    machine.v2("/build/one")
    machine.file("sys/fs/cgroup/build/one/memory.pressure", TEXT.format("0.50"))
    machine.file("sys/fs/cgroup/build/memory.pressure", TEXT.format("50.00"))
    assert (0.5, False) == (seen(machine).now(), seen(machine).is_high())


def test_what_was_high_is_high_until_it_is_low(machine: Machine) -> None:
    """C26: between half the threshold and the threshold things stay as they are."""
    watched = seen(machine)
    said = []
    for figure in ("7.00", "10.00", "7.00", "5.00", "4.99", "7.00"):
        machine.file("proc/pressure/memory", TEXT.format(figure))
        said.append(watched.is_high())
    assert [False, True, True, True, False, False] == said


@pytest.mark.parametrize("text", ["", "junk\n", "some\n", "some avg10=x avg60=1\n", "full avg10=20.00\n"])
def test_what_is_not_understood_is_no_pressure(machine: Machine, text: str) -> None:
    """C26: a kernel that says something else, or nothing, changes nothing."""
    machine.file("proc/pressure/memory", text)
    assert (None, False) == (percent(machine.proc + b"/pressure/memory"), seen(machine).is_high())
    (machine.root / "proc/pressure/memory").unlink()
    assert (None, False) == (seen(machine).now(), seen(machine).is_high())


def test_it_can_be_turned_off(machine: Machine) -> None:
    """C26: LDSHIM_PRESSURE=off looks nowhere."""
    assert (None, False) == (seen(machine, 0).now(), seen(machine, 0).is_high())


class Pressed(Promise):
    """A promise on a machine that stalls, or does not, as the test says, beside other links that the test names."""

    stalling = False
    beside: list[Entry]

    def stalls(self) -> bool:
        """Answer for the kernel."""
        return self.stalling

    def others(self) -> list[Entry]:
        """Answer for the ledger."""
        return self.beside


@pytest.fixture
def pressed(monkeypatch: pytest.MonkeyPatch) -> Pressed:
    """Provide a promise of a link beside which another runs, on a machine of 20 GB."""
    monkeypatch.setattr(memory, "ceilings", lambda: [memory.Ceiling(memory.HOST, 20 * GB, 64 * GB)])
    promise = Pressed(b"", Footprint(0, GB), os.getpid())
    promise.beside = [Entry(b"1.1", False, GB, GB, 0.0, b"elsewhere", ())]
    return promise


def test_under_pressure_nothing_grows_and_what_make_puts_back_goes_back(pressed: Pressed) -> None:
    """C26: no token is taken, all that are held are surplus, nobody wakes for a token; below the threshold it goes on."""
    guarded = GuardedLease(Tokens(9), pressed)
    guarded.tend(0.0)
    assert (3, 0) == (guarded.grow(3), guarded.surplus())
    pressed.stalling = True
    guarded.tend(1.0)
    assert (0, 3, 3, -1) == (guarded.grow(1), guarded.held, guarded.surplus(), guarded.tokens_fd())
    pressed.stalling = False
    guarded.tend(2.0)
    assert (1, 0) == (guarded.grow(1), guarded.surplus())
    guarded.release()


def test_alone_a_link_grows_whatever_the_pressure(pressed: Pressed) -> None:
    """C26: a waiter takes no memory and counts for nothing; only a link that runs is one to make room for."""
    guarded = GuardedLease(Tokens(9), pressed)
    pressed.stalling = True
    pressed.beside = [Entry(b"1.1", True, GB, GB, 0.0, b"elsewhere", ())]
    guarded.tend(0.0)
    assert (2, 0) == (guarded.grow(2), guarded.surplus())
    guarded.release()


def test_threads_that_run_already_stay(pressed: Pressed) -> None:
    """C26: a confined lld has all its threads and their memory: to narrow it would give nothing back but time."""
    pressed.stalling = True
    tokens = Tokens(3)
    tokens.grow(3)
    guarded = GuardedLease(tokens, pressed, follows=False)
    guarded.tend(0.0)
    assert (0, 0, 3) == (guarded.grow(1), guarded.surplus(), guarded.held)
    guarded.release()


def test_a_lease_without_a_promise_has_nothing_to_look_after() -> None:
    """A warden that holds tokens only is not woken for anything else."""
    assert IDLE_SECONDS == Lease().tend(1.0)


def test_this_machines_pressure_can_be_read() -> None:
    """C26: where the kernel has PSI its figure is a percentage."""
    if not os.path.exists("/proc/pressure/memory"):
        pytest.skip("not on this machine: pressure stall information (CONFIG_PSI)")
    assert 0.0 <= (Pressure(10).now() or 0.0) <= 100.0
