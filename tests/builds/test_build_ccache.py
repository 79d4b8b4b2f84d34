"""Two wrappers that both stand on PATH for the same name can call each other for ever."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import builds, tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shim import Shim


@pytest.mark.parametrize("order", ["ccache-prefix", "ccache-in-front", "ccache-behind", "ccache-first"])
def test_compiles_are_cached_and_the_link_is_helped(order: str, tmp_path: Path, shim: Shim) -> None:
    """In every order the second build hits for all nine compiles, and its LTO link has the recovered tokens."""
    for tool in ("ccache", tools.GCC):
        tools.need(tool)
    project = builds.Project(tmp_path, shim, tools.GCC)
    (link,) = project.build(order, "prog", LDFLAGS=builds.LDFLAGS)
    assert ("gcc", "auto", builds.below_make()) == (link["lto"], link["asked"], link["source"])
    assert ("/usr/lib/ccache" if order == "ccache-behind" else "/usr/bin") == os.path.realpath(os.path.dirname(link["tool"]))
    said = subprocess.run(["ccache", "--print-stats"], env=project.environment, stdout=subprocess.PIPE, check=True).stdout.decode()
    counted = dict(line.split("\t") for line in said.splitlines())
    assert "9" == counted["direct_cache_hit"], said
