"""CMake puts a launcher in front of its links, and its Makefiles run them two processes below a recipe without `+`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import builds, tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shim import Shim


@pytest.mark.parametrize(("generator", "source"), [("Unix Makefiles", builds.below_make()), ("Ninja", "slots")])
def test_launcher_for_gcc(generator: str, source: str, tmp_path: Path, shim: Shim) -> None:
    """The link has make's recovered tokens below a Makefile, the host's slots below Ninja."""
    tools.need("cmake")
    builds.real("ninja")
    project = builds.Project(tmp_path, shim)
    (link,) = project.build("cmake", "build/prog", CC=tools.need(tools.GCC), CMAKE_GENERATOR=generator, LDFLAGS=builds.LDFLAGS)
    assert ("gcc", "auto", source, "valve") == (link["lto"], link["asked"], link["source"], link["policy"])


@pytest.mark.parametrize(("generator", "source"), [("Unix Makefiles", builds.below_make()), ("Ninja", "slots")])
def test_launcher_for_clang_and_lld(generator: str, source: str, tmp_path: Path, shim: Shim) -> None:
    """Behind clang the number is said in clang's words and the linker's."""
    tools.need("cmake")
    tools.need(tools.LLD)
    project = builds.Project(tmp_path, shim)
    (link,) = project.build("cmake", "build/prog", CC=tools.need(tools.CLANG), CMAKE_GENERATOR=generator, LDFLAGS="-fuse-ld=lld")
    assert ("thin", source, "confine") == (link["lto"], link["source"], link["policy"])
    assert [f"-flto-jobs={link['granted']}", f"-Wl,--threads={link['granted']}"] == link["argv"][-2:]


def test_farm_as_the_compiler(tmp_path: Path, shim: Shim) -> None:
    """A launcher of the farm as CMAKE_C_COMPILER: CMake's own look at the compiler works, and the link is helped."""
    tools.need("cmake")
    project = builds.Project(tmp_path, shim, tools.need(tools.GCC).rpartition("/")[2])
    (link,) = project.build("cmake-farm", "build/prog", CMAKE_GENERATOR="Unix Makefiles", LDFLAGS=builds.LDFLAGS)
    assert ("gcc", builds.below_make()) == (link["lto"], link["source"])
