"""Objects with IR in them, made by the real compilers, for the tests of ldshim/ir.

The readers are only worth something if they agree with the compilers that are there, so every test object is compiled, not described. A
clang compiles for any target without a sysroot, which is where the other byte order and the other ELF class come from. `said` runs an
oracle and hands back what it says.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ldshim.command.argv import Input
from ldshim.inputs.scan import scan
from tests.support import tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldshim.inputs.findings import Findings
    from ldshim.inputs.scan import EnoughOfGcc

# A virtual table is what makes -fsplit-lto-unit produce a second module, the functions are what a summary summarises.
SOURCE = """
struct A { virtual int f(); virtual ~A(); };
int A::f() { return 1; }
A::~A() {}
struct B : A { int f() override; };
int B::f() { return 2; }
int g(A* a) { return a->f(); }
int main() { B b; return g(&b); }
"""
C_SOURCE = """
int f(int x) { return x + 1; }
int g(int x) { return f(x) * f(x + 2); }
int main(void) { return g(3); }
"""
CLANGS = tuple(tools.CLANGS)
GCCS = tuple(tools.GCCS)
# For tests that need one of them; LLVM's and GCC's newest read what the others wrote.
CLANG = CLANGS[-1]
GCC = GCCS[-1]
# Both classes, both byte orders.
TARGETS = ("x86_64-linux-gnu", "i386-linux-gnu", "aarch64-linux-gnu", "powerpc64-linux-gnu", "powerpc-linux-gnu", "s390x-linux-gnu")


def source(directory: Path, text: str = SOURCE, name: str = "t.cpp") -> Path:
    """Write a source file."""
    path = directory / name
    path.write_text(text)
    return path


def run(*command: str | Path, cwd: Path | None = None) -> bytes:
    """Run a tool that must succeed; returns its stdout. It sees no jobserver of ours."""
    env = {name: value for name, value in os.environ.items() if not name.endswith("MAKEFLAGS") and name != "MFLAGS"}
    words = [tools.need(str(command[0])), *map(str, command[1:])]
    return subprocess.run(words, check=True, capture_output=True, cwd=cwd, env=env, timeout=120).stdout


def clang(version: int, directory: Path, *flags: str, target: str = TARGETS[0], text: str = SOURCE, name: str = "t") -> Path:
    """Compile with one clang; returns the object."""
    out = directory / f"{name}.o"
    run(tools.CLANGS[version], f"--target={target}", "-O1", "-c", *flags, source(directory, text, f"{name}.cpp"), "-o", out)
    return out


def reader(version: int) -> int:
    """Return the version of the LLVM tools that go with a clang; Debian 12's CI has those of 14, 16 and 19 only."""
    return 16 if version == 15 else version


def llvm(stem: str, version: int = CLANG) -> str:
    """Name one of the LLVM tools of a version, as `llvm-ar-19`."""
    return tools.beside(tools.CLANGS.get(version, f"clang-{version}"), "clang", stem)


def gcc(version: int, directory: Path, *flags: str, text: str = C_SOURCE, name: str = "t") -> Path:
    """Compile C with one GCC; returns the object."""
    out = directory / f"{name}.o"
    run(tools.GCCS[version], "-O1", "-c", *flags, source(directory, text, f"{name}.c"), "-o", out)
    return out


def look(*paths: Path | str | bytes, dirs: Sequence[Path] = (), enough: int | EnoughOfGcc = 0) -> Findings:
    """Scan these paths as operands of a link; a word that starts with -l is a library."""
    inputs = []
    for path in paths:
        word = os.fsencode(path)
        inputs.append(Input(word[2:], library=True) if word.startswith(b"-l") else Input(word))
    return scan(inputs, [os.fsencode(directory) for directory in dirs], enough=enough)


def counts(found: Findings) -> dict[str, int]:
    """Return what the findings count, zeros left out; sizes are not counts."""
    names = ("thin", "full", "fat_thin", "fat_full", "gcc_slim", "gcc_fat", "native", "shared", "other")
    return {name: getattr(found, name) for name in names if getattr(found, name)}
