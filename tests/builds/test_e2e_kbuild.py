"""A kernel-shaped build with ldshim as CC and LD: every file it leaves is the one the bare tools leave.

The makefile in fixtures/kbuild has the kernel's habits: probes at parse time, `$(CC) -c; $(LD) -r` in one recipe, inputs that are only in a
response file, a thin archive, a big `$(LD) -r --whole-archive` without `+`. A probe that answers differently changes a flag and so a file.
Every pair of toolchain, make and form of call is built (rows.py); LDSHIM_FULL=1 builds the product.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import tools
from tests.support.program import FIXTURE, sha256
from tests.support.rows import rows
from tests.support.shim import Shim, handed_over
from tests.support.ways import JOBS

if TYPE_CHECKING:
    from pathlib import Path

MAKEFILE = FIXTURE.parent / "kbuild" / "Makefile"
TOOLCHAINS = {
    f"thin-{number}": (tools.clang_named(lld), lld, tools.beside(lld, "ld.lld", "llvm-ar"), "-flto=thin")
    for number, lld in tools.LLDS.items()
}
TOOLCHAINS["gcc-plain"] = (tools.GCC, "ld.bfd", "ar", "-fno-lto")
LINKS = 12  # eight modules of one object, two composite ones, vmlinux.o, vmlinux
MAKES = {"make43": tools.make43, "make44": tools.make44}
FORMS = ["name", "prefix"]


def build(make: str, place: Path, cc: str, ld: str, rest: tuple[str, str], env: dict[str, str]) -> dict[str, str]:
    """Build in a directory of that name below place: {file name: sha256} of all that is left there."""
    directory = place / "build"
    directory.mkdir(parents=True)
    words = [f"CC={cc}", f"LD={ld}", f"AR={rest[0]}", f"KCFLAGS={rest[1]}"]
    command = [make, f"-j{JOBS}", "-f", str(MAKEFILE), *words]
    done = subprocess.run(command, cwd=directory, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    quiet_success = (0, b"")
    assert quiet_success == (done.returncode, done.stdout)
    return {path.name: sha256(path) for path in directory.iterdir()}


@pytest.fixture(scope="module")
def bare() -> dict[str, dict[str, str]]:
    """Keep the bare builds by toolchain, each done when first asked for."""
    return {}


@pytest.mark.parametrize(("toolchain", "make", "form"), rows(TOOLCHAINS, MAKES, FORMS))
def test_a_kernel_shaped_build_leaves_the_same_files(
    toolchain: str, make: str, form: str, shim: Shim, bare: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    """Probes, objects, modules, the thin archive, vmlinux.o and vmlinux are those of the bare tools, and make says nothing (C3 C4 C5)."""
    cc, ld, *rest = TOOLCHAINS[toolchain]
    for program in (cc, ld, rest[0]):
        tools.need(program)
    tools.need_c_library(cc)
    ar = (rest[0], rest[1])
    if toolchain not in bare:
        bare[toolchain] = build(tools.need("make"), tmp_path / "bare", cc, ld, ar, shim.environment())
    wrapped = (shim.named(cc), shim.named(ld)) if form == "name" else (f"{shim.command} {cc}", f"{shim.command} {ld}")
    log = tmp_path / "log"

    files = build(MAKES[make](), tmp_path / "shim", *wrapped, ar, shim.on(JOBS, LDSHIM_LOG=str(log)))

    assert bare[toolchain] == files
    links = [record for record in handed_over(log) if "-o" in record["argv"]]
    if toolchain.startswith("thin"):
        vmlinux_o = [record for record in links if "vmlinux.o" in record["argv"] and "--whole-archive" in record["argv"]]
        assert ["thin"] == [record["lto"] for record in vmlinux_o]
        assert vmlinux_o[0]["demand"] >= JOBS
        assert all(1 <= record["granted"] <= JOBS for record in links)
        if make == "make44":
            assert {"jobserver"} == {record["source"] for record in vmlinux_o}
    assert not [record for record in links if "-c" in record["argv"]]
    assert LINKS == len(links)
