"""An RPM package with LTO, built by rpmbuild with ldshim pinned by a macro file or by a line of the spec.

Its upstream links in a recipe without `+` under %make_build, which says -jN from RPM_BUILD_NCPUS; %build links a second program where no
jobserver is in reach.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import packages, tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shim import Shim


class Spec:
    """The spec and its source in one %_topdir: paths are part of what a build may record."""

    def __init__(self, place: Path, shim: Shim) -> None:
        self.top = place / "top"
        self.home = place / "home"
        self.home.mkdir()
        self.shim = shim
        for program in ("rpmbuild", "rpm", "make", "tar"):
            tools.need(program)
        tools.need_c_library()
        compiler = subprocess.run(["rpm", "--eval", "%{__cc}"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
        self.farm = packages.link_farm(shim, place / "farm", "gcc", compiler)  # Debian's rpm says x86_64-linux-gnu-gcc
        packages.upstream(place / "steps-1.0")
        self.tar = place / "steps-1.0.tar"
        subprocess.run(["tar", "-C", str(place), "--sort=name", "-cf", str(self.tar), "steps-1.0"], check=True)
        self.bare = self.build()

    def build(self, ncpus: int = 2, *, macros: str = "", build_section: str = "", **variables: str) -> dict[str, str]:
        """Build the binary package from scratch: {name: sha256}.

        macros: for ~/.rpmmacros, beside those that make a build reproducible; build_section: the head of %build.
        """
        shutil.rmtree(self.top, ignore_errors=True)
        (self.top / "SOURCES").mkdir(parents=True)
        shutil.copy(self.tar, self.top / "SOURCES")
        spec = (packages.RPM / "steps.spec").read_text()
        assert "\n%build\n" in spec
        if build_section:
            spec = spec.replace("\n%build\n", f"\n{build_section}", 1)
        (self.top / "steps.spec").write_text(spec)
        reproducible = packages.snippet("macros: reproducible")
        (self.home / ".rpmmacros").write_text(f"%_topdir {self.top}\n{reproducible}{macros}")
        env = self.shim.environment(HOME=str(self.home), RPM_BUILD_NCPUS=str(ncpus), **variables)
        said = packages.output_of(["rpmbuild", "-bb", "steps.spec"], env, self.top)
        assert f" -j{ncpus} " in said
        assert "-flto=auto -ffat-lto-objects" in said
        return packages.hashes(sorted(self.top.glob("RPMS/*/*.rpm")))


@pytest.fixture(scope="module")
def spec(shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> Spec:
    """Provide the spec, built without ldshim."""
    return Spec(tmp_path_factory.mktemp("rpm"), shim)


@pytest.mark.parametrize("name", ["macros: PATH", "macros: __cc"])
def test_a_package_built_with_the_macros_is_the_same(name: str, spec: Spec, tmp_path: Path) -> None:
    """C4 C6: the whole .rpm is byte-identical; LTO links took at most RPM_BUILD_NCPUS, from the jobserver or by that ceiling."""
    log = tmp_path / "log"

    built = spec.build(2, macros=packages.snippet(name, spec.farm), LDSHIM_LOG=str(log))

    assert spec.bare == built
    packages.check_two_links(log)


def test_the_line_for_a_spec_does_the_same(spec: Spec, tmp_path: Path) -> None:
    """C4 C11: what packaging.md says for %build pins the farm, and RPM_BUILD_NCPUS=1 is a ceiling where there is no jobserver at all."""
    log = tmp_path / "log"

    built = spec.build(1, build_section=packages.snippet("spec", spec.farm), LDSHIM_LOG=str(log))

    assert spec.bare == built
    records = [*packages.links(log, "steps"), *packages.links(log, "steps-by-hand")]
    assert [("gcc", 1), ("gcc", 1)] == [(record["lto"], record["granted"]) for record in records]
    assert all(record["demand"] > 1 for record in records)
