"""A project that each build system builds, by the words that ldshim/doc/builds.md gives to its users.

The problem: a snippet in a document that nobody runs is wrong one day, and what a build system does between make and the linker (it drops
descriptors, reorders words, calls the compiler thirty times to look at it) cannot be imagined. The consequence: each test takes its
snippet from the document, runs it in a shell, in a project of eight modules, with the real tools; and looks at the log for what the
link got. The product must be the one that the same build makes with LDSHIM_DISABLE=1, byte for byte, in the same directory.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import packages, tools
from tests.support.program import FIXTURE, PARTITIONS
from tests.support.shim import ROOT

if TYPE_CHECKING:
    from tests.support.shim import Shim

MODULES = 8
FILES = FIXTURE.parent / "builds"
DOCUMENT = ROOT / "ldshim" / "doc" / "builds.md"
LDFLAGS = " ".join(PARTITIONS)  # so small a program would be one partition


class Project:
    """One project directory. place: empty, of the test's; names: the tools that stand in the link farm `shim` inside it."""

    def __init__(self, place: Path, shim: Shim, *names: str) -> None:
        tools.need_c_library()
        self.place = place / "project"
        shutil.copytree(FILES, self.place)
        for number in range(MODULES):
            (self.place / f"m{number}.c").write_text(f'#define MODULE {number}\n#include "{FIXTURE}/module.c"\n')
        table = " ".join(f"X({number})" for number in range(MODULES))
        (self.place / "main.c").write_text(f'#define MODULES {table}\n#include "{FIXTURE}/main.c"\n')
        self.log = place / "log"
        self.said = ""  # by the last snippet that ran
        commands = place / "commands"  # of ours, alone: the place it is installed to may hold a make of its own, as tox's does
        commands.mkdir()
        (commands / "ldshim").symlink_to(shim.command)
        self.path = f"{commands}:{os.defpath}"
        self.environment = shim.environment(LDSHIM_LOG=str(self.log), CCACHE_DIR=str(place / "ccache"), CARGO_HOME=str(place / "cargo"))
        if names:
            packages.link_farm(shim, self.place / "shim", *names)

    def run(self, snippet: str, **environment: str) -> None:
        """Run a snippet of the document in the project, as `sh -eu` does; where it names gcc-12 or clang-16, with the version tested."""
        env = {**self.environment, "PATH": self.path, **environment}
        self.said = packages.output_of(["sh", "-euc", as_installed(packages.snippet(snippet, document=DOCUMENT))], env, self.place)

    def build(self, snippet: str, *products: str, **environment: str) -> list[dict[str, Any]]:
        """Build bare, clean, build through ldshim in the same place: what the log says of the LTO links. The products must be the same."""
        made: list[list[bytes]] = []
        pristine = self.place.with_name("pristine")
        shutil.copytree(self.place, pristine, symlinks=True)
        for disable in ("1", ""):
            shutil.rmtree(self.place)
            shutil.copytree(pristine, self.place, symlinks=True)
            self.log.unlink(missing_ok=True)
            self.run(snippet, LDSHIM_DISABLE=disable, **environment)
            made.append([(self.place / product).read_bytes() for product in products])
        assert made[0] == made[1], f"{products} are others through ldshim"
        assert self.answer(products[-1])
        return self.links()

    def answer(self, product: str) -> str:
        """Run the product, or libtool's wrapper of it: the number it prints."""
        return subprocess.run([self.place / product.replace(".libs/", "")], check=True, stdout=subprocess.PIPE).stdout.decode().strip()

    def links(self) -> list[dict[str, Any]]:
        """Read from the log the links that ran LTO."""
        records = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [record for record in records if record["event"] == "handover" and record["lto"] != "none"]


def as_installed(snippet: str) -> str:
    """Put the tested versions of the tools in the place of those that the document names."""
    for documented, stem, tested in (("12", "gcc", tools.GCC), ("16", "clang", tools.CLANG)):
        for name in ("", "-ar", "-nm", "-ranlib"):
            snippet = snippet.replace(f"{stem}{name}-{documented}", tools.beside(tested, stem, stem + name))
    return snippet


def below_make() -> str:
    """Say where a link gets its tokens below a recipe without `+`: the distribution's make before 4.4 has only a pipe, and withholds it."""
    return "jobserver" if tools.version(real("make")) >= (4, 4) else "recovered"


def real(name: str) -> str:
    """Find the distribution's own tool, not one that a wheel put beside the interpreter."""
    found = shutil.which(name, path=os.defpath)
    if found is None:
        tools.missing(name)
    return found
