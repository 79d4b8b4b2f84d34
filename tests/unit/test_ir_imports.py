"""Hazard: pyelftools takes 32 ms to import, and only `ldshim explain` may use it. Each test runs a new interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ldshim.inputs import elf
from tests.support import tools
from tests.support.ir_objects import GCC
from tests.support.ir_objects import gcc as compile_gcc


def test_plain_links_do_not_import_pyelftools(tmp_path: Path) -> None:
    """C24: native objects, GCC's and LLVM's are classified without pyelftools."""
    paths = [compile_gcc(GCC, tmp_path, *flags, name=f"n{n}") for n, flags in enumerate([[], ["-flto"], ["-flto=2", "-ffat-lto-objects"]])]
    program = (
        "import sys; before = set(sys.modules); from ldshim.inputs.scan import scan; from ldshim.command.argv import Input;"
        "found = scan([Input(path.encode()) for path in sys.argv[1:]]);"
        "print(found.native, found.gcc_slim, found.gcc_fat, {'elftools', 'typing', 're'} & (set(sys.modules) - before))"
    )
    root = str(Path(elf.__file__).parents[2])
    said = subprocess.run([sys.executable, "-c", program, *map(str, paths)], check=True, stdout=subprocess.PIPE, cwd=root).stdout.decode()
    assert said.strip() == "1 1 1 set()"


def modules_imported(*words: str | Path, cwd: Path) -> tuple[str, str]:
    """Run one of ldshim's commands; returns its stdout, and the output of -X importtime: one line for each module."""
    root = str(Path(elf.__file__).parents[2])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": root, "HOME": str(cwd), "XDG_RUNTIME_DIR": str(cwd)}
    command = [sys.executable, "-X", "importtime", "-m", "ldshim", *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, cwd=cwd, env=environment)
    return done.stdout.decode(), done.stderr.decode()


def test_only_explain_uses_pyelftools(tmp_path: Path) -> None:
    """C24: a plain link and its explanation import no pyelftools; `explain` of objects with IR has its result, in one line."""
    native = compile_gcc(GCC, tmp_path, name="native")
    slim = compile_gcc(GCC, tmp_path, "-flto", name="slim", text="int other(void) { return 1; }")
    lld = tools.need(tools.LLD)
    for words in ((lld, "-r", "-o", tmp_path / "out.o", native), ("explain", "--", lld, "-r", "-o", "x", native)):
        said, imported = modules_imported(*words, cwd=tmp_path)
        assert "ldshim.call.real_tool" in imported
        assert "elftools" not in imported
        assert "confirm" not in said
    assert (tmp_path / "out.o").exists()
    said, imported = modules_imported("explain", "--", tools.GCCS[GCC], "-flto=auto", native, slim, "-o", "x", cwd=tmp_path)
    assert "elftools.elf.elffile" in imported
    confirmed = [line for line in said.splitlines() if line.startswith("confirm ")]
    assert len(confirmed) == 1
    assert f"{slim}: ELF64 little-endian ET_REL, IR sections: .gnu.lto_" in confirmed[0]
