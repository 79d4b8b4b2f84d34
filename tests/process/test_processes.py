"""Hazards of looking at other processes: a kernel that lists no children, no /proc at all."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from ldshim.call import processes
from ldshim.call.environment import Environment, read_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TREE = "sleep 60 & sh -c 'sleep 60 & echo; wait' & wait"


@pytest.fixture
def tree() -> Iterator[int]:
    """Provide a shell with two children and a grandchild: its pid."""
    with subprocess.Popen(["sh", "-c", TREE], stdout=subprocess.PIPE, start_new_session=True) as top:
        try:
            assert top.stdout
            top.stdout.readline()
            yield top.pid
        finally:
            os.killpg(top.pid, 9)


def test_children_are_found_by_their_parent_where_the_kernel_lists_none(tree: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """C21: without CONFIG_PROC_CHILDREN the same processes are found below a link."""
    listed = sorted(processes.children(tree)), sorted(processes.below(tree))
    monkeypatch.setattr(processes, "lists_children", lambda: False)
    assert (2, 3) == (len(listed[0]), len(listed[1]))
    assert listed == (sorted(processes.children(tree)), sorted(processes.below(tree)))


def test_without_proc_every_question_has_an_answer(tree: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C1: nothing, zero, empty; and nothing is raised."""
    monkeypatch.setattr(processes, "PROC", bytes(tmp_path / "nowhere"))
    assert (False, False, [], [], [], {}) == (
        processes.is_there(), processes.lists_children(), processes.children(tree), processes.below(tree), processes.all_pids(),
        processes.by_parent(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"A": "1", "LC_CTYPE": "C.UTF-8"}, {"A": "1"}),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, {"LANG": "C"}),
        ({"LC_CTYPE": "C.UTF-8", "A": "1"}, {"LC_CTYPE": "C.UTF-8", "A": "1"}),
        ({"LANG": "en_US.UTF-8", "LC_CTYPE": "C.UTF-8"}, {"LANG": "en_US.UTF-8", "LC_CTYPE": "C.UTF-8"}),
        ({"LC_ALL": "C", "LC_CTYPE": "C.UTF-8"}, {"LC_ALL": "C", "LC_CTYPE": "C.UTF-8"}),
        ({"A": "1", "LC_CTYPE": "de_DE.UTF-8"}, {"A": "1", "LC_CTYPE": "de_DE.UTF-8"}),
    ],
)
def test_without_proc_the_environment_is_what_it_was_before_python(
    given: dict[str, str], expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C3: the LC_CTYPE that Python exports where the locale is C is taken out again; one that the caller gave stays."""
    monkeypatch.setattr(os, "environb", {os.fsencode(name): os.fsencode(value) for name, value in given.items()})
    found = read_environment(bytes(tmp_path))
    assert Environment([(os.fsencode(name), os.fsencode(value)) for name, value in expected.items()]).pairs == found.pairs
