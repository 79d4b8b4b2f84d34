"""libtool reorders words, links a library before it links the program, and drops options that it does not know."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.support import builds, tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shim import Shim


def test_shared_library_and_program_by_libtool(tmp_path: Path, shim: Shim) -> None:
    """The library has recovered tokens of the make that runs libtool; the program, one object, needs none."""
    for tool in ("autoreconf", "libtoolize", "automake", tools.GCC):
        tools.need(tool)
    project = builds.Project(tmp_path, shim, tools.GCC)
    subprocess.run(["autoreconf", "-fi"], cwd=project.place, check=True, capture_output=True)
    products = (".libs/libsteps.so.0.0.0", ".libs/prog")
    links = project.build("autotools", *products)
    # configure links a dozen programs of its own, to look at the compiler.
    got = {product: [link["source"] for link in links if product in link["argv"]] for product in products}
    assert {products[0]: [builds.below_make()], products[1]: ["none"]} == got
