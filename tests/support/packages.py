"""What the package builds share: a small upstream, a link farm as a package would install it, and the document's snippets.

The problem: a packager copies what ldshim/doc/packaging.md says, so a snippet that was never run is a trap. The consequence: the tests of
Debian, RPM and kbuild take their words from that file. A snippet is the fenced block below `<!-- NAME -->`; the installed places in it are
exchanged for those of the test run, and nothing else.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.program import FIXTURE, sha256
from tests.support.shim import ROOT, handed_over

if TYPE_CHECKING:
    from tests.support.shim import Shim

DOCUMENT = ROOT / "ldshim" / "doc" / "packaging.md"
DEBIAN = FIXTURE.parent / "debian-package"
RPM = FIXTURE.parent / "rpm-package"
INSTALLED_FARM = "/usr/lib/ldshim/bin"


def snippet(name: str, farm: Path | str = INSTALLED_FARM, document: Path = DOCUMENT) -> str:
    """Read one snippet of a document, with our farm in the place of the installed one."""
    text = document.read_text()
    _, marker, rest = text.partition(f"<!-- {name} -->\n```")
    assert marker, f"no snippet {name} in {document}"
    block = rest.partition("\n")[2].partition("```")[0]
    return block.replace(INSTALLED_FARM, str(farm))


def upstream(place: Path) -> Path:
    """Lay out the sources of the upstream that both packages build: the directory."""
    place.mkdir(parents=True)
    for source in (DEBIAN / "Makefile", FIXTURE / "main.c", FIXTURE / "module.c"):
        shutil.copy(source, place)
    return place


def link_farm(shim: Shim, place: Path, *names: str) -> Path:
    """Make a farm with the installed command, for tools that are installed: the directory."""
    subprocess.run([shim.command, "link-farm", str(place), *names], env=shim.environment(), stdout=subprocess.DEVNULL, check=True)
    return place


def output_of(command: list[str], env: dict[str, str], cwd: Path) -> str:
    """Run a build that must succeed: what it printed."""
    done = subprocess.run(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-4000:]
    return said


def hashes(files: list[Path]) -> dict[str, str]:
    """Hash what a build left: {file name: sha256}; an empty answer would compare equal to anything that failed alike."""
    assert files
    return {path.name: sha256(path) for path in files}


def links(log: Path, output: str) -> list[dict[str, Any]]:
    """Read the records of the links that wrote `output`."""
    records = handed_over(log)
    return [record for record in records if ("-o", output) in zip(record["argv"], record["argv"][1:])]


def check_two_links(log: Path) -> None:
    """See that in a build with two jobs the LTO link under make took both from that make, and the one without a make two at most."""
    (under_make,) = links(log, "steps")
    assert ("gcc", 2, "recovered") == tuple(under_make[key] for key in ("lto", "granted", "source"))
    assert under_make["demand"] > 2
    (by_hand,) = links(log, "steps-by-hand")
    assert by_hand["lto"] == "gcc"
    assert by_hand["source"] in ("slots", "none")  # none: where there is one CPU
    assert 1 <= by_hand["granted"] <= 2
