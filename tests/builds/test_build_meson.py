"""Meson asks its compiler a dozen questions before it builds, and writes its thread number into the link line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import builds, tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shim import Shim


def test_lto_by_gcc(tmp_path: Path, shim: Shim) -> None:
    """b_lto=true with a farm's gcc under ninja 1.11: the host's slots, for what the objects recorded."""
    builds.real("meson")
    builds.real("ninja")
    tools.need(tools.GCC)
    project = builds.Project(tmp_path, shim, tools.GCC)
    (link,) = project.build("meson", "build/prog", LDFLAGS=builds.LDFLAGS)
    assert ("gcc", "slots", "valve") == (link["lto"], link["source"], link["policy"])


def test_thin_lto_by_clang_and_lld(tmp_path: Path, shim: Shim) -> None:
    """b_lto_threads=2 is a ceiling that ldshim keeps."""
    builds.real("meson")
    for tool in (tools.CLANG, tools.LLD):
        tools.need(tool)
    project = builds.Project(tmp_path, shim, tools.CLANG)
    (link,) = project.build("meson-thin", "build/prog")
    assert ("thin", 2, "slots") == (link["lto"], link["asked"], link["source"])
    assert link["granted"] <= 2
