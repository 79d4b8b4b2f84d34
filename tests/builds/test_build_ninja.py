"""Ninja has no jobserver up to 1.12, and is only a client of one from 1.13: somebody else must make it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import builds, tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shim import Shim


def project(tmp_path: Path, shim: Shim) -> builds.Project:
    """Set up the hand-written build.ninja for a farm's gcc."""
    tools.need(tools.GCC)
    out = builds.Project(tmp_path, shim, tools.GCC)
    (out.place / "vars.ninja").write_text(f"cc = shim/{tools.GCC}\nflags = -O2 -flto=auto\nldflags = {builds.LDFLAGS}\n")
    return out


def test_old_ninja_has_none(tmp_path: Path, shim: Shim) -> None:
    """Below ninja 1.11 a link shares the host's slots."""
    builds.real("ninja")
    (link,) = project(tmp_path, shim).build("ninja-alone", "prog")
    assert ("gcc", "slots") == (link["lto"], link["source"])


def test_new_ninja_in_a_pool_of_ours(tmp_path: Path, shim: Shim) -> None:
    """`ldshim pool -j 4 -- ninja`: ninja's compiles and the link share the pool's fifo, and no token is missing at its end."""
    ninja = tools.ninja113()
    out = project(tmp_path, shim)
    out.path = f"{ninja.rpartition('/')[0]}:{out.path}"
    (link,) = out.build("ninja", "prog")
    assert ("gcc", "jobserver", "valve") == (link["lto"], link["source"], link["policy"])
    assert "fifo" in link["pool"]
    assert "" == out.said.replace("ninja: ", "").partition("ldshim:")[2]


def test_new_ninja_below_make(tmp_path: Path, shim: Shim) -> None:
    """A `+` recipe of make 4.4.1 hands its fifo to ninja 1.13, which hands it to the link."""
    ninja, make = tools.ninja113(), tools.make44()
    out = project(tmp_path, shim)
    out.path = f"{make.rpartition('/')[0]}:{ninja.rpartition('/')[0]}:{out.path}"
    (link,) = out.build("ninja-below-make", "prog")
    assert ("gcc", "jobserver", "valve") == (link["lto"], link["source"], link["policy"])
