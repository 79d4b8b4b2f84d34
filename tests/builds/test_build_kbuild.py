"""A real kernel with ThinLTO under make 4.3, with ldshim as LD= in both ways: a prefix with a blank in it, and an entry of a link farm.

Debian's linux-source-6.1, tinyconfig with CONFIG_LTO_CLANG_THIN and a few modules. Three whole builds at one path, about ten minutes: not
part of a plain run (`tox -e kbuild`). kbuild asks `$(LD) --version` and `$(LD) -v` through scripts/ld-version.sh and Kconfig, links modules
out of response files, and runs the big one, vmlinux.o, in a recipe without `+`: there make 4.3 withholds its jobserver.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import packages, tools
from tests.support.program import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shim import Shim

pytestmark = pytest.mark.kbuild

SOURCE = Path("/usr/src/linux-source-6.1.tar.xz")
JOBS = 3  # as in the snippets
OPTIONS = {"-e": ("64BIT", "MODULES", "LTO_CLANG_THIN"), "-d": ("LTO_NONE",), "-m": ("CRYPTO", "CRC7", "LIBCRC32C")}
MODULES = 9
FIXED = {  # Documentation/kbuild/reproducible-builds.rst
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "user",
    "KBUILD_BUILD_HOST": "host",
    "KBUILD_BUILD_VERSION": "1",
}


class Built:
    """What one build left and said. files: {path below the output: sha256}; config: text; complaints: stderr, its lines sorted."""

    def __init__(self, output: Path, stderr: bytes) -> None:
        wanted = [path for path in output.rglob("*") if path.suffix in (".o", ".ko", ".a") or path.name in ("vmlinux", "bzImage")]
        self.files = {str(path.relative_to(output)): sha256(path) for path in wanted if path.is_file()}
        self.config = (output / ".config").read_text()
        self.complaints = sorted(stderr.decode(errors="replace").splitlines())


class Kernel:
    """A kernel tree and one output directory. place: about 3 GB are needed there for a while."""

    def __init__(self, place: Path, shim: Shim) -> None:
        for program in ("clang-16", "ld.lld-16", "llvm-ar-16", "bc", "bison", "flex", "tar", "xz"):
            tools.need(program)
        if not SOURCE.is_file():
            tools.missing(f"{SOURCE} (linux-source-6.1)")
        first = place / "first"  # the snippets run the one on PATH, and kbuild its MAKE
        first.mkdir()
        (first / "make").symlink_to(tools.make43())
        self.output = place / "output"
        path = os.pathsep.join([str(first), os.path.dirname(shim.command), os.environ["PATH"]])
        self.env = shim.environment(PATH=path, KBUILD_OUTPUT=str(self.output), **FIXED)
        subprocess.run(["tar", "-xf", str(SOURCE), "-C", str(place)], check=True)
        self.source = place / "linux-source-6.1"
        self.output.mkdir()
        self.run("make LLVM=-16 tinyconfig")
        for option, names in OPTIONS.items():
            for name in names:
                self.run(f"scripts/config --file {self.output}/.config {option} {name}")
        self.run("make LLVM=-16 olddefconfig")
        self.config = (self.output / ".config").read_text()
        assert "\nCONFIG_LTO_CLANG_THIN=y\n" in self.config
        assert "\nCONFIG_LIBCRC32C=m\n" in self.config
        self.bare = self.build(f"make LLVM=-16 -j{JOBS}")

    def run(self, command: str, **variables: str) -> bytes:
        """Run a shell command at the top of the tree, which must succeed: its stderr."""
        done = subprocess.run(["sh", "-ec", command], cwd=self.source, env={**self.env, **variables}, capture_output=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:].decode(errors="replace")
        return done.stderr

    def build(self, command: str, **variables: str) -> Built:
        """Build everything from scratch, with the same configuration in the same directory."""
        shutil.rmtree(self.output)
        self.output.mkdir()
        (self.output / ".config").write_text(self.config)
        return Built(self.output, self.run(command, **variables))


@pytest.fixture(scope="module")
def kernel(shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Provide a kernel, built without ldshim; gigabytes, so nothing of it is left behind."""
    place = tmp_path_factory.mktemp("kernel")
    try:
        yield Kernel(place, shim)
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("name", ["kbuild: prefix", "kbuild: farm"])
def test_a_kernel_with_thinlto_is_the_same(name: str, kernel: Kernel, shim: Shim, tmp_path: Path) -> None:
    """C3 C4: every object, module, vmlinux and bzImage is that of the bare linker; vmlinux.o is linked with tokens that make withheld."""
    log = tmp_path / "log"
    farm = packages.link_farm(shim, tmp_path / "farm", "ld.lld-16")

    built = kernel.build(packages.snippet(name, farm), LDSHIM_LOG=str(log))

    assert (kernel.bare.config, kernel.bare.complaints) == (built.config, built.complaints)
    assert kernel.bare.files == built.files
    assert MODULES == len([path for path in built.files if path.endswith(".ko")])
    (vmlinux_o,) = packages.links(log, "vmlinux.o")
    assert ("thin", "recovered") == tuple(vmlinux_o[key] for key in ("lto", "source"))
    assert 1 < vmlinux_o["granted"] <= JOBS
    assert "--whole-archive" in vmlinux_o["argv"]
    peaks = [record["peak"] for record in map(json.loads, log.read_bytes().splitlines()) if record["event"] == "end"]
    assert 1 <= max(peaks) <= JOBS
