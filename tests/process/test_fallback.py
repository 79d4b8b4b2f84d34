"""Hazards of a machine that does not let us confine: a link that counts on growing would keep one CPU, or run threads nobody granted.

The refusals are real where they can be: strace makes the kernel's answer to sched_setaffinity an error for everything below it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldshim.call import processes
from ldshim.warden import confinement
from tests.support import tools
from tests.support.pool import Pool
from tests.support.shim import handed_over

if TYPE_CHECKING:
    import pytest

    from tests.support.program import Program
    from tests.support.shim import Shim

LLD = tools.LLD
REFUSED = "; not confined: its affinity cannot be set: Operation not permitted"


def refusing(place: Path) -> list[str]:
    """Return the words in front of a command that make sched_setaffinity fail in it and below."""
    return [tools.need("strace"), "-f", "-qq", "-o", str(place / "strace"), "--inject=sched_setaffinity:error=EPERM", "-e", "signal=none"]


def link(shim: Shim, program: Program, place: Path, words: list[str], prefix: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run an lld link of the test program over three tokens, one of them taken by somebody else."""
    objects = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    with Pool(b"\x00a\xff") as pool:
        elsewhere = pool.take(1)
        env = shim.on(4, MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(place / "log"))
        command = [*prefix, shim.command, *words, tools.need(LLD), "-r", *objects, "-o", str(place / "out")]
        done = subprocess.run(command, env=env, pass_fds=pool.pass_fds, check=True, capture_output=True)
        pool.give(elsewhere)
    return done


def explained(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    """Read what `explain --json` printed."""
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_where_the_affinity_is_refused_the_number_is_fixed(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C18, C21: sched_setaffinity is refused: the link is told the tokens there are, keeps them, and the log says why."""
    done = link(shim, program, tmp_path, [], refusing(tmp_path))
    (record,) = handed_over(tmp_path / "log")
    assert b"" == done.stderr
    assert (3, "fixed", True) == (record["granted"], record["policy"], record["reason"].endswith(REFUSED))
    assert {"--threads=3", "--thinlto-jobs=3"} <= set(record["argv"])


def test_explain_foresees_the_refusal(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C21: `ldshim explain` says that the link will not be elastic, and why, without a link."""
    said = explained(link(shim, program, tmp_path, ["explain", "--json", "--"], refusing(tmp_path)))
    assert (3, "fixed", True) == (said["granted"], said["policy"], said["reason"].endswith(REFUSED))


def test_a_mask_of_one_cpu_is_foreseen(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C21: where the call may use one CPU only, explain says that nothing is confined; the number is that of the tokens."""
    taskset = [tools.need("taskset"), "-c", str(min(os.sched_getaffinity(0)))]
    said = explained(link(shim, program, tmp_path, ["explain", "--json", "--"], taskset))
    assert ("fixed", True) == (said["policy"], said["reason"].endswith("; not confined: " + confinement.ONE_CPU))


def test_without_proc_nothing_is_confined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """C21: threads that cannot be seen cannot be followed."""
    if len(os.sched_getaffinity(0)) < 2:
        tools.missing("a second CPU")
    assert "" == confinement.obstacle(os.getpid())
    monkeypatch.setattr(processes, "PROC", bytes(tmp_path))
    assert processes.FOREIGN == confinement.obstacle(os.getpid())
