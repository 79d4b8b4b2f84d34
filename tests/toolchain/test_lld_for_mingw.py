"""Hazard: ld.lld with `-m i386pep` prints lld's banner and is another linker, which refuses --threads up to version 16."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ldshim.call.banner import PE_EMULATIONS
from ldshim.command import lld
from ldshim.command.argv import Arguments
from tests.support import tools
from tests.support.program import bare_environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shim import Shim


@pytest.mark.parametrize("emulation", [*PE_EMULATIONS, b"elf_x86_64"])
@pytest.mark.parametrize("form", ["-m %b", "-m%b"])
def test_the_emulation_chooses_the_linker(form: str, emulation: bytes) -> None:
    """C20: with a PE emulation, spelled in one word or two, the line is not read as that of the ELF linker."""
    words = form.encode().replace(b"%b", emulation).split(b" ")
    assert (emulation == b"elf_x86_64") == lld.facts(Arguments.plain([*words, b"a.o", b"-o", b"a.exe"])).links


@pytest.mark.parametrize("linker", tools.llds())
@pytest.mark.parametrize("form", ["linker", "driver"])
def test_a_link_for_mingw_is_the_bare_one(form: str, linker: str, tmp_path: Path, shim: Shim) -> None:
    """C1 C4: four ThinLTO modules for MinGW link as without ldshim, though a number was asked for, called directly and by clang."""
    real, clang = tools.need(linker), tools.clang_of(linker)
    objects = []
    for name in ("mainCRTStartup", "f", "g", "h"):
        (tmp_path / f"{name}.c").write_text(f"int {name}(void) {{ return 0; }}\n")
        objects.append(f"{name}.o")
        compiled = [clang, "--target=x86_64-w64-mingw32", "-flto=thin", "-c", f"{name}.c", "-o", f"{name}.o"]
        subprocess.run(compiled, cwd=tmp_path, check=True)
    if form == "linker":
        command, words = real, ["-m", "i386pep", "-e", "mainCRTStartup"]
    else:
        words = ["--target=x86_64-w64-mingw32", "-nostdlib", "-Wl,-e,mainCRTStartup", f"-fuse-ld={real}", "-flto=thin", "-w"]
        command = clang
    words += ["-Wl,--no-insert-timestamp"] if form == "driver" else ["--no-insert-timestamp"]
    environment = {**bare_environment(), "XDG_RUNTIME_DIR": str(shim.runtime), "LDSHIM_JOBS": "2"}
    said = []
    for number, call in enumerate(([command], [shim.command, command])):
        done = subprocess.run(
            [*call, *words, *objects, "-o", f"{number}.exe"], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        said.append((done.returncode, done.stderr, (tmp_path / f"{number}.exe").read_bytes()))
    assert said[0] == said[1]
    assert said[0][0] == 0
