"""ldshim as a distribution's package: the mask directory follows the compilers that come and go, and nothing stays when it is removed.

The maintainer scripts and file triggers of ldshim/doc/packaging.md are run by the real dpkg and rpm, as root, in an overlay of this
machine's root that exists only for the test.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.support import packages, tools
from tests.support.shim import COMMAND, ROOT

if TYPE_CHECKING:
    from pathlib import Path

OVERLAY = """
set -eu
mount -t tmpfs none "$1"
cd "$1"
mkdir upper work root
mount -t overlay none -o lowerdir=/,upperdir=upper,workdir=work root
mount --rbind /proc root/proc
mount --rbind /dev root/dev
mount --bind "$2" root/mnt
exec chroot root sh -euc "cd /mnt; $3"
"""
SYSTEM_PYTHON = "/usr/bin/python3"
TOOL = "#!/bin/sh\necho a new compiler\n"
# What happens on a machine: each step leaves in a file what the directory then holds.
STORY = """
farm=/usr/lib/ldshim/bin
{install} ./ldshim.package
ls $farm > 1-ldshim-installed
{install} ./tool.package
ls $farm > 2-tool-installed
(PATH=$farm:/usr/bin:/bin; gcc-99 --version; gcc-99 x.o) > 3-tool-called
{remove} gcc-99
ls $farm > 4-tool-removed
{remove} ldshim
find /usr/lib/ldshim /usr/bin/ldshim {place}/ldshim > 5-ldshim-removed 2> /dev/null || true
"""
CONTROL = """Package: {name}
Version: 1.0
Architecture: all
Maintainer: ldshim <ldshim@example.org>
Description: for a test
"""
SPEC = """Name: {name}
Version: 1.0
Release: 1
Summary: for a test
License: MIT
BuildArch: noarch
%description
%{{summary}}.
%install
cp -a {tree}/. %{{buildroot}}
%files
{files}
{scripts}
"""


def in_overlay(place: Path, command: str) -> None:
    """Run a shell command as root, with `place` at /mnt, in an overlay of the root file system that then goes away."""
    unshare = tools.need("unshare")
    mount_point = place.parent / "overlay"
    mount_point.mkdir(exist_ok=True)
    run = [unshare, "--mount", "sh", "-c", OVERLAY, "sh", str(mount_point), str(place)]
    if subprocess.run([*run, "true"], capture_output=True, check=False).returncode:
        tools.missing("the right to mount an overlay of the root file system")
    done = subprocess.run([*run, command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")


def write(path: Path, text: str, mode: int = 0o755) -> None:
    """Write one file of a package."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def python_place() -> str:
    """Ask the system's Python where a distribution puts modules: /usr/lib/python3/dist-packages, or site-packages of its version."""
    ask = "import sys; print([place for place in sys.path if place.startswith('/usr/lib') and place.endswith('-packages')][-1])"
    return subprocess.run([tools.need(SYSTEM_PYTHON), "-I", "-c", ask], stdout=subprocess.PIPE, check=True).stdout.decode().strip()


def trees(place: Path) -> tuple[Path, Path]:
    """Lay out the files of two packages: ldshim's, and a compiler's."""
    modules = place / "ldshim" / python_place().lstrip("/") / "ldshim"
    shutil.copytree(ROOT / "ldshim", modules, ignore=shutil.ignore_patterns("__pycache__"))
    write(place / "ldshim" / "usr/bin/ldshim", COMMAND.read_text())
    write(place / "tool" / "usr/bin/gcc-99", TOOL)
    return place / "ldshim", place / "tool"


def check(place: Path) -> None:
    """See that the directory followed the tool, and that everything went with ldshim."""
    said = {path.name[2:]: path.read_text().split("\n")[:-1] for path in place.glob("[1-5]-*")}
    assert "gcc" in said["ldshim-installed"]
    assert ["gcc-99"] == sorted(set(said["tool-installed"]) - set(said["ldshim-installed"]))
    assert ["a new compiler"] * 2 == said["tool-called"]
    assert said["ldshim-installed"] == said["tool-removed"]
    assert [] == said["ldshim-removed"]


def test_dpkg_triggers_keep_the_directory(tmp_path: Path) -> None:
    """C6: the trigger and the maintainer scripts of packaging.md write a launcher for a compiler that comes, and remove one that goes."""
    for program in ("dpkg-deb", "dpkg", "py3compile", "gcc"):
        tools.need(program)
    out = tmp_path / "mnt"
    out.mkdir()
    for tree, name in zip(trees(tmp_path / "trees"), ("ldshim", "gcc-99")):
        write(tree / "DEBIAN/control", CONTROL.format(name=name), 0o644)
        if name == "ldshim":  # in the place of #DEBHELPER#: what dh_python3 puts there
            for script, python in (("debian/ldshim.postinst", "py3compile -p ldshim"), ("debian/ldshim.prerm", "py3clean -p ldshim")):
                write(tree / "DEBIAN" / script.rpartition(".")[2], packages.snippet(script).replace("#DEBHELPER#", python))
            write(tree / "DEBIAN/triggers", packages.snippet("debian/ldshim.triggers"), 0o644)
        build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(out / f"{tree.name}.package")]
        subprocess.run(build, stdout=subprocess.DEVNULL, check=True)
    in_overlay(out, STORY.format(install="dpkg -i", remove="dpkg -r", place=python_place()))
    check(out)


def test_rpm_file_triggers_keep_the_directory(tmp_path: Path) -> None:
    """C6: the scriptlets and file triggers of packaging.md do the same under rpm."""
    for program in ("rpmbuild", "rpm", "gcc"):
        tools.need(program)
    out = tmp_path / "mnt"
    out.mkdir()
    for tree, name in zip(trees(tmp_path / "trees"), ("ldshim", "gcc-99")):
        tops = [f"{python_place()}/ldshim", "/usr/bin/ldshim"] if name == "ldshim" else ["/usr/bin/gcc-99"]
        scripts = packages.snippet("ldshim.spec") if name == "ldshim" else ""
        subprocess.run([SYSTEM_PYTHON, "-m", "compileall", "-q", "-s", str(tree), str(tree)], check=True)  # as brp-python-bytecompile does
        spec = tmp_path / f"{name}.spec"
        write(spec, SPEC.format(name=name, tree=tree, files="\n".join(tops), scripts=scripts), 0o644)
        said = subprocess.run(
            ["rpmbuild", "-bb", "--define", f"_topdir {tmp_path}/top", "--define", "__os_install_post %{nil}", str(spec)],
            capture_output=True,
            check=False,
        )
        assert said.returncode == 0, said.stderr.decode(errors="replace")
        (built,) = tmp_path.glob(f"top/RPMS/noarch/{name}-*.rpm")
        built.rename(out / f"{tree.name}.package")
    asks_for_force = b"force-debian" in subprocess.run(["rpm", "--help"], stdout=subprocess.PIPE, check=True).stdout
    rpm = "rpm --nodeps" + (" --force-debian" if asks_for_force else "")
    in_overlay(out, STORY.format(install=f"{rpm} -i", remove=f"{rpm} -e", place=python_place()))
    check(out)
