"""Hazard: a cross compiler for Windows writes COFF, no input seems to hold GCC's IR, and a link runs as many jobs as somebody recorded."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import tools
from tests.support.ir_objects import counts, look, run
from tests.support.observe import Gate
from tests.support.pool import Pool
from tests.support.program import PARTITIONS, Program, sha256
from tests.support.shim import handed_over

if TYPE_CHECKING:
    from tests.support.shim import Shim

PREFIX = "x86_64-w64-mingw32-"
GCC = PREFIX + "gcc"
SOURCE = "int f(int x) { return x + 1; }\n"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("-flto=5", "gcc_slim"),
        ("-flto=5 -Wa,-mbig-obj", "gcc_slim"),
        ("-flto=5 -ffat-lto-objects", "gcc_fat"),
        ("-flto=5 -g", "gcc_slim"),
        ("", "native"),
        ("-g -ffunction-sections", "native"),
    ],
)
def test_objects_are_what_objdump_sees(words: str, kind: str, tmp_path: Path) -> None:
    """C8: the kind, the recorded option and the size of the IR of a COFF object, big-obj or not, are those that binutils finds."""
    (tmp_path / "t.c").write_text(SOURCE)
    path = tmp_path / "t.o"
    run(GCC, "-O1", "-c", *words.split(), tmp_path / "t.c", "-o", path)
    found = look(path)
    sizes = re.findall(r"^ *\d+ \.gnu\.lto_\S+ +([0-9a-f]{8}) ", run(PREFIX + "objdump", "-hw", path).decode(), re.MULTILINE)
    assert {kind: 1} == counts(found)
    assert [b"-flto=5"] * (kind != "native") == found.recorded
    assert sum(int(size, 16) for size in sizes) == found.gcc_bytes


def test_the_libraries_of_windows_are_native() -> None:
    """C8: import libraries and DLLs, as the toolchain ships them, are read to their end and hold no IR."""
    kernel = Path(run(GCC, "-print-file-name=libkernel32.a").decode().strip())
    runtime = Path(run(GCC, "-print-file-name=libgcc_s_seh-1.dll").decode().strip())
    found = look(kernel, runtime)
    assert {"native", "shared"} == set(counts(found))
    assert [] == found.reasons


@pytest.mark.parametrize(("words", "peak"), [({"LDSHIM_JOBS": "1"}, 1), ({"LDSHIM_JOBS": "3"}, 3), ({}, 2)])
def test_the_number_holds_for_windows_too(words: dict[str, str], peak: int, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C4, C19: a MinGW link of objects that recorded -flto=8 runs the jobs it was granted, and writes the bare link's bytes."""
    gate = Gate(tmp_path / "gate", tools.need(GCC))
    objects = program.objects(tools.need(GCC), "-O1", "-flto=8", "-frandom-seed=1")
    line = ["-O1", "-flto=8", "-frandom-seed=1", "-Wl,--no-insert-timestamp", *PARTITIONS, *objects, "-o"]
    log, said = tmp_path / "log", tmp_path / "said"
    with Pool(b"a") as pool, said.open("wb") as stderr:
        env = shim.on(16, MAKEFLAGS=pool.makeflags, LDSHIM_LOG=str(log), **words)
        command = [shim.command, GCC, gate.flag, *line, str(tmp_path / "shim.exe")]
        link = subprocess.Popen(command, env=env, pass_fds=pool.pass_fds, stderr=stderr)
        status = gate.watch(link, lambda: peak)
    assert [0, peak, b""] == [status, gate.peak(), said.read_bytes()]
    assert ["gcc"] == [record["lto"] for record in handed_over(log)]
    subprocess.run([tools.need(GCC), *line, str(tmp_path / "bare.exe")], env=shim.environment(), check=True)
    assert sha256(tmp_path / "bare.exe") == sha256(tmp_path / "shim.exe")
