"""A Debian package with LTO, built by dpkg-buildpackage with a link farm first on PATH, from outside or by a line of debian/rules.

Its upstream links in a recipe without `+` under `make -j2`, as dh_auto_build calls it; debian/rules links a second program where no
jobserver is in reach.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support import packages, tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shim import Shim


class SourcePackage:
    """The source package at one path, whatever is built there: paths are part of what a build may record."""

    def __init__(self, place: Path, shim: Shim) -> None:
        self.source = place / "tree" / "steps-1.0"
        self.shim = shim
        for program in ("dpkg-buildpackage", "dh", "make"):
            tools.need(program)
        tools.need_c_library()
        self.farm = packages.link_farm(shim, place / "farm", "gcc", "cc")
        self.bare = self.build()

    def build(self, parallel: int = 2, *, path: str = "", rules: str = "", **variables: str) -> dict[str, str]:
        """Build the binary packages from scratch: {name: sha256}.

        path: what stands first on PATH; rules: lines for the head of debian/rules.
        """
        shutil.rmtree(self.source.parent, ignore_errors=True)
        packages.upstream(self.source)
        shutil.copytree(packages.DEBIAN / "debian", self.source / "debian")
        target = self.source / "debian" / "rules"
        head, _, rest = target.read_text().partition("\n")
        target.write_text(f"{head}\n{rules}{rest}")
        env = self.shim.environment(DEB_BUILD_OPTIONS=f"parallel={parallel}", **variables)
        env["PATH"] = path + os.defpath  # not with the make 4.4 of a virtual environment, which would not have withheld its jobserver
        said = packages.output_of(["dpkg-buildpackage", "-us", "-uc", "-b", "-d"], env, self.source)
        assert "-flto=auto -ffat-lto-objects" in said
        return packages.hashes(sorted(self.source.parent.glob("*.deb")))


@pytest.fixture(scope="module")
def package(shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> SourcePackage:
    """Provide the package, built without ldshim."""
    return SourcePackage(tmp_path_factory.mktemp("debian"), shim)


def test_a_package_built_through_a_farm_on_path_is_the_same(package: SourcePackage, tmp_path: Path) -> None:
    """C4 C6: every .deb is byte-identical; LTO links took at most parallel=2, from the jobserver that make withheld or by that ceiling."""
    log = tmp_path / "log"

    built = package.build(2, path=f"{package.farm}:", LDSHIM_LOG=str(log))

    assert package.bare == built
    packages.check_two_links(log)


@pytest.mark.parametrize(("name", "granted"), [("debian/rules", 1), ("debian/rules: pinned", 3)])
def test_the_lines_for_debian_rules_do_the_same(name: str, granted: int, package: SourcePackage, tmp_path: Path) -> None:
    """C4 C11: packaging.md's lines for debian/rules put the farm first; parallel=1 is a ceiling without any jobserver, but not to a pin."""
    log = tmp_path / "log"

    built = package.build(1, rules=packages.snippet(name, package.farm), LDSHIM_LOG=str(log))

    assert package.bare == built
    records = [*packages.links(log, "steps"), *packages.links(log, "steps-by-hand")]
    assert [("gcc", granted)] * 2 == [(record["lto"], record["granted"]) for record in records]
    assert {granted == 3} == {record["source"] == "pin" for record in records}
    assert all(record["demand"] > 1 for record in records)
