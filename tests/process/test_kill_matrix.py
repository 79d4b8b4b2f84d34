"""Real links below real makes, and everything that can happen to them: every token is back when the last process of the link is gone.

Make 4.3 (a pipe) and 4.4.1 (a FIFO, and a pipe), GCC with all its LTRANS jobs alive and lld with its tokens taken. After each case the
tokens are counted in make's own jobserver, make counts again for itself, no process of ours is alive, and make's descriptors are as before.
Every pair of linker, make and signal is run (rows.py).
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Callable, Union

import pytest

from tests.support.flight import GCC, LLD, MAKES, TOKENS, GccFlight, LldFlight, wait_for
from tests.support.rows import rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

pytestmark = pytest.mark.matrix

AnyFlight = Union[GccFlight, LldFlight]
Start = Callable[[str], AnyFlight]
DEADLY = [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
LINKERS = [GCC, LLD]
POLITE = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def name_of(value: object) -> str | None:
    """Name signals in test ids."""
    return value.name if isinstance(value, signal.Signals) else None


@pytest.fixture
def start(request: pytest.FixtureRequest, shim: Shim, program: Program, tmp_path: Path) -> Iterator[Start]:
    """Provide a way to start one link in flight, of GCC and of lld; what it leaves behind is ended."""
    kind = GccFlight if request.param == GCC else LldFlight
    begun: list[AnyFlight] = []

    def begin(make: str) -> AnyFlight:
        begun.append(kind(make, shim, program, tmp_path / "flight"))
        return begun[-1]

    yield begin
    for flight in begun:
        flight.close()


def in_flight(flight: AnyFlight) -> None:
    """Check what holds while the link runs: its three tokens are out, it has no child it does not know, make's flags are untouched."""
    wait_for(lambda: flight.tokens() == 0)
    assert ([], flight.flags) == (flight.zombies(), flight.flags_now())
    assert 1 == len(flight.wardens())


def landed(flight: AnyFlight, at_least: int = TOKENS) -> int:
    """Check that everything is back and nobody of ours is left: make's status.

    at_least: TOKENS where make itself is well. One that was hit by a signal may keep its own token for the link, and closes its jobserver.
    """
    flight.count(at_least)
    if at_least == TOKENS:
        assert flight.flags == flight.flags_now()
    status = flight.release_keeper()
    assert "INTERNAL" not in flight.said()
    wait_for(lambda: flight.marked() == {})
    return status


@pytest.mark.parametrize(("start", "make"), rows(LINKERS, MAKES), indirect=["start"])
def test_a_link_that_ends_normally(make: str, start: Start) -> None:
    """C14, C15: a link that succeeds has given everything back before make counts."""
    flight = start(make)
    in_flight(flight)
    flight.go()
    assert 0 == landed(flight)


@pytest.mark.parametrize(("start", "make"), rows(LINKERS, MAKES), indirect=["start"])
def test_a_link_that_fails(make: str, start: Start) -> None:
    """C14: a link that fails gives everything back while make still waits for its other jobs."""
    flight = start(make)
    in_flight(flight)
    flight.fail()
    assert 2 == landed(flight)


@pytest.mark.parametrize(("start", "make", "number"), rows(LINKERS, MAKES, DEADLY), indirect=["start"], ids=name_of)
def test_a_signal_to_the_linker_alone(make: str, number: signal.Signals, start: Start) -> None:
    """C3, C14: the driver or linker dies by a signal; what it leaves behind keeps its tokens until it ends, and make says which signal."""
    flight = start(make)
    in_flight(flight)
    link = flight.link()
    # LLVM's handler takes a SIGSEGV that was sent for a fault that will happen again; the second one ends it.
    wait_for(lambda: ended(link, number, flight))
    left = [comm for comm in flight.link_processes().values() if comm == "lto1"]
    # Make has its own token back by now, or soon; the link's three are out as long as its compilers run.
    assert not left or flight.tokens() <= 1
    if isinstance(flight, GccFlight):
        assert TOKENS == len(left)
        flight.go()
    assert 2 == landed(flight)
    assert (signal.strsignal(number) or "?") in flight.said()


def ended(link: int, number: signal.Signals, flight: AnyFlight) -> bool:
    """Send a signal, and tell whether the link is gone a moment later."""
    if link in flight.marked():
        os.kill(link, number)
        time.sleep(0.02)
    return link not in flight.marked()


@pytest.mark.parametrize(("start", "make", "number"), rows(LINKERS, MAKES, POLITE), indirect=["start"], ids=name_of)
def test_a_signal_to_the_whole_group(make: str, number: signal.Signals, start: Start) -> None:
    """C14: ^C, a closed terminal or an angry user: make, link and compilers die together, the warden stays until the tokens are back."""
    flight = start(make)
    in_flight(flight)
    os.killpg(flight.make.pid, number)
    # Make dies with its token for the link, or gives it back first: that one is its own business.
    assert landed(flight, TOKENS - 1) in (-number, 2)


@pytest.mark.parametrize(("start", "make", "number"), rows(LINKERS, MAKES, POLITE), indirect=["start"], ids=name_of)
def test_a_signal_to_make_alone(make: str, number: signal.Signals, start: Start) -> None:
    """C14: make passes SIGTERM on to the link and waits for it after the others; the link's tokens are back in each case."""
    flight = start(make)
    in_flight(flight)
    flight.make.send_signal(number)
    time.sleep(0.05)
    flight.go()
    assert landed(flight, TOKENS - 1) in (-number, 2)


@pytest.mark.parametrize(("start", "make"), rows(LINKERS, MAKES), indirect=["start"])
def test_a_link_that_is_stopped_and_continued(make: str, start: Start) -> None:
    """C14: ^Z takes nothing back from a link that has it, and loses nothing."""
    flight = start(make)
    in_flight(flight)
    os.killpg(flight.make.pid, signal.SIGSTOP)
    time.sleep(0.5)  # time in which a careless warden would take a stopped link for one that is over
    assert 0 == flight.tokens()
    os.killpg(flight.make.pid, signal.SIGCONT)
    flight.go()
    assert 0 == landed(flight)


@pytest.mark.parametrize("make", MAKES)
def test_the_link_has_what_a_bare_link_has(make: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C3, C13, C19: besides the bare call's descriptors lld holds our life pipe; GCC a life pipe and a private one, and none of make's."""
    seen: dict[str, dict[str, str]] = {}
    for kind, bare in ((GccFlight, GCC), (LldFlight, LLD)):
        for tool in ("", bare):
            place = tmp_path / f"{kind.__name__}-{tool}"
            # A bare GCC 12 does not know a FIFO, and runs as many jobs as it likes.
            held = 1 if tool else TOKENS
            flight = kind(make, shim, program, place, jobs=held, tool=tool)
            try:
                seen[f"{bare}{' bare' * bool(tool)}"] = descriptors(flight)
                flight.go()
                assert 0 == landed(flight)
            finally:
                flight.close()
    ours = {name: [target for number, target in fds.items() if int(number) > 100] for name, fds in seen.items()}
    theirs = {name: {number for number in fds if int(number) <= 100} for name, fds in seen.items()}
    assert (theirs[f"{LLD} bare"], 1) == (theirs[LLD], len(ours[LLD]))
    assert (3, 2) == (len(ours[GCC]), len(set(ours[GCC])))
    assert {"0", "1", "2"} == theirs[GCC]
    assert [] == ours[f"{GCC} bare"] == ours[f"{LLD} bare"]


def descriptors(flight: AnyFlight) -> dict[str, str]:
    """List what the link's first process has open, without the input that it may be about to open: number -> target."""
    place = f"/proc/{flight.link()}/fd"
    found = {number: os.readlink(f"{place}/{number}") for number in os.listdir(place)}
    return {number: target for number, target in found.items() if not target.endswith("/last.o")}
