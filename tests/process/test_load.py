"""Sixty-four links at once over one pool, half of them killed: never overdrawn, whole at the end, and nobody starves (C14, C16, C18)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bench import load
from tests.support.flight import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.load  # `tox -e load`

SECONDS = 30.0  # for each of the two; tests/bench/load.py takes ten minutes


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Provide a runtime directory of our own; afterwards no process that was started with it is alive."""
    tmp_path.chmod(0o700)
    yield tmp_path
    wanted = f"FLIGHT={tmp_path}".encode()

    def left() -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in path.read_bytes().split(b"\0"):
                    found.append(path.parts[2])
            except OSError:
                continue
        return found

    wait_for(lambda: left() == [])


def test_a_jobserver_is_never_overdrawn_and_whole_at_the_end(place: Path) -> None:
    """C14: sixteen tokens, byte for byte; at no sampled moment do living links hold more, and every link ends."""
    found = load.over_a_jobserver(SECONDS, place)
    assert ([], found.links) == (found.complaints, found.ended)
    assert 8 <= found.most <= len(load.TOKENS), "fewer than eight would mean that nobody competed"


def test_slots_are_never_overdrawn_and_free_at_the_end(place: Path) -> None:
    """C16: eight slots, the implicit threads of those who got more included; the kernel frees what was killed."""
    found = load.over_slots(SECONDS, place)
    assert ([], found.links) == (found.complaints, found.ended)
    assert load.SLOTS == found.most
    wait_for(lambda: load.locked(place) == [])
