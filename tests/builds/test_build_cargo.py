"""cargo hands its jobserver to rustc, which keeps it from the linker: our links must not hang on it, nor miss the others on the host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support import builds, packages, tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shim import Shim


def build(project: builds.Project, snippet: str) -> list[dict[str, object]]:
    """Build the crate with the snippet as cargo's configuration, bare and through ldshim: what the log says of every link."""
    config = project.place / ".cargo" / "config.toml"
    config.parent.mkdir()
    config.write_text(packages.snippet(snippet, document=builds.DOCUMENT).replace('"shim/', f'"{project.place}/shim/'))
    (project.place / "build.sh").write_text(f"{builds.real('cargo')} build --release --offline -j2\n")
    made = []
    for disable in ("1", ""):
        project.log.unlink(missing_ok=True)
        env = {**project.environment, "PATH": project.path, "RUSTC": builds.real("rustc"), "LDSHIM_DISABLE": disable}
        packages.output_of(["sh", "-eu", "build.sh"], env, project.place)
        made.append((project.place / "target/release/prog").read_bytes())
        assert project.answer("target/release/prog")
        packages.output_of(["rm", "-rf", "target"], env, project.place)
    assert made[0] == made[1]
    return [json.loads(line) for line in project.log.read_text().splitlines()]


def test_plain_link(tmp_path: Path, shim: Shim) -> None:
    """A usual link of rustc is no LTO to the linker, and takes no thread."""
    tools.need("gcc")
    (link,) = build(builds.Project(tmp_path, shim, "gcc"), "cargo")
    assert ("gcc", "none", "none") == (link["family"], link["lto"], link["source"])


def test_lto_in_the_linker(tmp_path: Path, shim: Shim) -> None:
    """-Clinker-plugin-lto: ThinLTO by lld behind clang, with threads of the host's slots."""
    for tool in ("clang-14", "ld.lld-14"):
        tools.need(tool)
    link = build(builds.Project(tmp_path, shim, "clang-14"), "cargo-linker-plugin-lto")[0]
    assert ("clang", "thin", "slots") == (link["family"], link["lto"], link["source"])
