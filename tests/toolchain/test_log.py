"""Hazards of the log of a real link: an end that is written before every token is back, a link that needs no second line."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from tests.support import tools
from tests.support.flight import wait_for
from tests.support.pool import Pool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

LLD = tools.LLD


def records(path: Path) -> list[dict[str, Any]]:
    """Read a log."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def test_a_real_link_writes_both_lines(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C14: the second line comes when every token is back, and tells the course; both carry the keys of the design."""
    log = tmp_path / "log"
    objects = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    with Pool(b"\x00a\xff") as pool:
        env = shim.on(4, MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(log), LDSHIM_ELASTIC="0")
        command = [shim.named(LLD), "-r", "--thinlto-jobs=3", *objects, "-o", str(tmp_path / "out")]
        subprocess.run(command, env=env, pass_fds=pool.pass_fds, check=True, cwd=tmp_path)
        wait_for(lambda: len(records(log)) == 2)
        begin, end = records(log)
        pool_name = f"pipe {pool.read_fd},{pool.write_fd}"
        size = len(pool.tokens) + 1
    told = tuple(begin[key] for key in ("asked", "granted", "policy", "pool", "pool_size", "cwd"))
    assert (3, 3, "fixed", pool_name, size, str(tmp_path)) == told
    assert (begin["pid"], 3, 0.0, 3) == (end["pid"], end["peak"], end["waited"], end["steps"][0][1])
    assert 0 < end["cpu"] <= end["wall"]


def test_a_link_that_holds_nothing_writes_one_line(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C18: with no token there and nothing that could grow, no warden stays to write an end."""
    log = tmp_path / "log"
    objects = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    with Pool(b"a") as pool:
        elsewhere = pool.take(1)
        env = shim.environment(MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(log), LDSHIM_ELASTIC="0")
        subprocess.run([shim.named(LLD), "-r", *objects, "-o", str(tmp_path / "out")], env=env, pass_fds=pool.pass_fds, check=True)
        pool.give(elsewhere)
    assert [("handover", 1, "none")] == [(record["event"], record["granted"], record["policy"]) for record in records(log)]
