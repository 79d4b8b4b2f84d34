"""Never meet ourselves: stacked with other masquerades in both orders, reached by two paths, linked, copied, or pinned to ourselves.

Every call ends at the real tool, with what the real tool makes, or with status 111 and one line that names both ends. A loop that is
neither would run for ever, so every call has a deadline.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import tools
from tests.support.program import PARTITIONS, Program, bare_environment, sha256
from tests.support.shim import handed_over

if TYPE_CHECKING:
    from tests.support.shim import Shim

DEADLINE = 60.0
# program, its masquerade directory, a name that stands in it, variables that keep it on this machine
MASQUERADES = {
    "ccache": ("ccache", "/usr/lib/ccache", tools.GCC, {"CCACHE_DIR": "{place}/ccache"}),
    "ccache disabled": ("ccache", "/usr/lib/ccache", tools.GCC, {"CCACHE_DISABLE": "1"}),
    "distcc": ("distcc", "/usr/lib/distcc", tools.GCC, {"DISTCC_HOSTS": "localhost", "DISTCC_DIR": "{place}/distcc"}),
    "icecc": ("icecc", "/usr/lib/icecc/bin", "gcc", {"ICECC": "disable"}),
}


def source(place: Path) -> Path:
    """Write a source file."""
    path = place / "t.c"
    path.write_text("int main(void) { return 0; }\n")
    return path


def call(command: list[str], env: dict[str, str], place: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a command within the deadline."""
    return subprocess.run(command, env=env, cwd=place, capture_output=True, check=False, timeout=DEADLINE)


def on_path(shim: Shim, *directories: object, **more: str) -> dict[str, str]:
    """Make an environment with directories in front of the system's."""
    return shim.environment(PATH=os.pathsep.join([*map(str, directories), os.defpath]), **more)


@pytest.mark.matrix
@pytest.mark.parametrize("order", ["ldshim first", "ldshim behind", "ldshim in a mixed directory first", "twice"])
@pytest.mark.parametrize("masquerade", MASQUERADES)
def test_stacked_with_another_masquerade(masquerade: str, order: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C6: with ccache, distcc and icecc, in front of us or behind us, compiles and LTO links come out at the real compiler."""
    which, directory, name, variables = MASQUERADES[masquerade]
    tools.need(which)
    ours = shim.only(tmp_path / "ours", name, "x86_64-linux-gnu-" + name)  # distcc calls a gcc by its target's name
    if order == "ldshim in a mixed directory first":
        (ours / "another-tool").symlink_to("/bin/true")
    paths = {"ldshim first": [ours, directory], "ldshim behind": [directory, ours], "twice": [ours, directory, ours]}.get(
        order, [ours, directory]
    )
    env = on_path(shim, *paths, LDSHIM_LOG=str(tmp_path / "log"), **{key: text.format(place=tmp_path) for key, text in variables.items()})
    (tmp_path / "distcc").mkdir()
    tool = shutil.which(name, path=env["PATH"])
    assert tool is not None
    text = source(tmp_path)
    bare = call([tools.need(name), "-O1", "-c", str(text), "-o", "bare.o"], bare_environment(), tmp_path)
    done = call([tool, "-O1", "-c", str(text), "-o", "ours.o"], env, tmp_path)
    assert (bare.returncode, bare.stderr) == (done.returncode, done.stderr)
    assert sha256(tmp_path / "bare.o") == sha256(tmp_path / "ours.o")
    objects = program.objects(tools.need(name), "-O1", "-flto")
    line = ["-O1", "-flto=2", *PARTITIONS, *objects, "-o", "out"]
    done = call([tool, *line], env, tmp_path)
    assert (0, b"") == (done.returncode, done.stderr)
    log = tmp_path / "log"
    # distcc links by the compiler's own path, so behind it no link comes to us.
    assert log.exists() or (which, order) == ("distcc", "ldshim behind")
    assert {"gcc"} >= {record["lto"] for record in (handed_over(log) if log.exists() else [])}


@pytest.mark.parametrize("how", ["symlink", "two paths to one farm", "hard link", "copy", "link to a link"])
def test_another_entry_of_ours_further_along_path(how: str, shim: Shim, tmp_path: Path) -> None:
    """C6: however a second ldshim is reached, the first real tool behind it runs."""
    first, second = shim.only(tmp_path / "first", "gcc"), tmp_path / "second"
    if how == "two paths to one farm":
        second.symlink_to(first)
    else:
        second.mkdir()
    if how == "symlink":
        (second / "gcc").symlink_to(shim.command)
    elif how == "hard link":
        os.link(shim.command, second / "gcc")
    elif how == "copy":
        shutil.copy(shim.command, second / "gcc")
    elif how == "link to a link":
        (second / "gcc").symlink_to(first / "gcc")
    env = on_path(shim, first, second)
    for command in ([str(first / "gcc")], [str(second / "gcc")], [shim.command, "gcc"], [shim.command, str(second / "gcc")]):
        done = call([*command, "-c", str(source(tmp_path)), "-o", "out.o"], env, tmp_path)
        assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "path", ["{ours}::{system}", ":{ours}:{system}", "{ours}:.:{system}", "ours:{system}:", "ours/../ours:{system}", "{ours}/:{system}"]
)
def test_empty_and_relative_path_entries(path: str, shim: Shim, tmp_path: Path) -> None:
    """C6: an empty entry is the current directory and a relative one starts there; standing in our own directory is no trap."""
    ours = shim.only(tmp_path / "ours", "gcc")
    env = shim.environment(PATH=path.format(ours=ours, system=os.defpath))
    text = source(tmp_path)
    for place in (tmp_path, ours):
        done = call([str(ours / "gcc"), "-c", str(text), "-o", str(tmp_path / "out.o")], env, place)
        assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("how", ["the command", "the link that is called", "another link", "a copy"])
def test_pinned_to_ourselves(how: str, shim: Shim, tmp_path: Path) -> None:
    """C6: LDSHIM_REAL_* that leads back to ldshim costs one line, and the real tool runs."""
    ours, other = shim.only(tmp_path / "ours", "gcc"), shim.only(tmp_path / "other", "gcc")
    copy = shutil.copy(shim.command, tmp_path / "copy")
    pin = {"the command": shim.command, "the link that is called": ours / "gcc", "another link": other / "gcc", "a copy": copy}[how]
    env = on_path(shim, ours, LDSHIM_REAL_GCC=str(pin))
    done = call([str(ours / "gcc"), "-c", str(source(tmp_path)), "-o", "out.o"], env, tmp_path)
    assert (0, f"ldshim: LDSHIM_REAL_GCC: leads back to ldshim, PATH is searched instead: {pin}\n") == (
        done.returncode,
        done.stderr.decode(),
    )


@pytest.mark.parametrize("way", ["exec", "a child"])
@pytest.mark.parametrize("call_line", [["-c", "t.c"], ["a.o", "-flto=4", "-o", "out"]], ids=["compile", "link"])
def test_a_script_that_calls_us_again_is_a_loop(way: str, call_line: list[str], shim: Shim, tmp_path: Path) -> None:
    """C6: a pinned script that runs ldshim again, as the same process or as a child, ends with 111 and a line naming both ends."""
    ours = shim.only(tmp_path / "ours", "gcc")
    script = tmp_path / "script"
    script.write_text(f'#!/bin/sh\n{"exec " if way == "exec" else ""}{ours}/gcc "$@"\nexit $?\n')
    script.chmod(0o755)
    env = on_path(shim, ours, LDSHIM_REAL_GCC=str(script))
    done = call([str(ours / "gcc"), *call_line], env, tmp_path)
    said = done.stderr.decode().splitlines()
    assert (111, b"") == (done.returncode, done.stdout)
    assert [True] == [line.startswith("ldshim: gcc: loop: ") and f"{script} <-> " in line for line in said]


def test_two_scripts_that_call_each_other_through_us_are_a_loop(shim: Shim, tmp_path: Path) -> None:
    """C6: a round of two tools, each of which runs the other by our name, ends with 111 as well."""
    ours = shim.only(tmp_path / "ours", "gcc", "cc")
    pins = {}
    for name, other in (("gcc", "cc"), ("cc", "gcc")):
        script = tmp_path / f"script-{name}"
        script.write_text(f'#!/bin/sh\nexec {ours}/{other} "$@"\n')
        script.chmod(0o755)
        pins[f"LDSHIM_REAL_{name.upper()}"] = str(script)
    done = call([str(ours / "gcc"), "-c", "t.c"], on_path(shim, ours, **pins), tmp_path)
    assert (111, 1) == (done.returncode, done.stderr.count(b"\n"))


def counting_wrapper(place: Path, name: str, real: str) -> Path:
    """Write a wrapper as Buildroot's: a link to a program of another name, which notes each run and execs a compiler by its path."""
    place.mkdir()
    (place / "toolchain-wrapper").write_text(f'#!/bin/sh\n[ "$*" = --version ] || echo run >>{place}/runs\nexec {real} -DWRAPPED "$@"\n')
    (place / "toolchain-wrapper").chmod(0o755)
    (place / name).symlink_to("toolchain-wrapper")
    return place


@pytest.mark.parametrize("way", ["prefix, farm behind", "prefix, links behind", "by name, farm behind", "farm made with it"])
def test_a_wrapper_of_the_users_runs_once(way: str, shim: Shim, tmp_path: Path) -> None:
    """C6: a wrapper that stands first on PATH is the tool, wherever an ldshim stands behind it; nothing of its own is passed over."""
    wrapper = counting_wrapper(tmp_path / "host", "gcc", tools.need("gcc"))
    ours = tmp_path / "ours"
    if "farm" in way:
        env = on_path(shim, *([wrapper] if way == "farm made with it" else []))
        subprocess.run([shim.command, "link-farm", str(ours), "gcc"], env=env, stdout=subprocess.DEVNULL, check=True)
    else:
        shim.only(ours, "gcc")
    text = tmp_path / "w.c"
    text.write_text("#ifndef WRAPPED\n#error passed over\n#endif\nint main(void) { return 0; }\n")
    command = [shim.command, "gcc"] if way.startswith("prefix") else ["gcc"]
    env = on_path(shim, *([ours, wrapper] if way == "farm made with it" else [wrapper, ours]))
    for line in (["-c", str(text), "-o", "w.o"], [str(text), "-nostdlib", "-shared", "-fPIC", "-o", "w"]):
        (wrapper / "runs").unlink(missing_ok=True)
        done = call(["/usr/bin/env", f"PATH={env['PATH']}", *command, *line], env, tmp_path)
        assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
        assert "run\n" == (wrapper / "runs").read_text()


@pytest.mark.parametrize("how", ["a script that searches PATH", "a copy of ccache", "a hard link to ccache"])
@pytest.mark.parametrize("place", ["in a directory of ours alone", "in a mixed directory"])
def test_what_called_us_by_name_is_not_called_again(how: str, place: str, shim: Shim, tmp_path: Path) -> None:
    """C6: a wrapper or a cache in front of us that searches PATH for the next of its name comes out at the compiler, and runs once."""
    front = tmp_path / "front"
    front.mkdir()
    if how.startswith("a script"):
        lines = [
            "#!/bin/sh",
            f"echo run >>{tmp_path}/runs",
            f'for d in $(echo "$PATH" | tr : " "); do [ "$d" = {front} ] || [ ! -x "$d/gcc" ] ||',
        ]
        (front / "gcc").write_text("\n".join([*lines, 'exec "$d/gcc" "$@"; done', ""]))
        (front / "gcc").chmod(0o755)
    elif how.startswith("a copy"):
        shutil.copy(tools.need("ccache"), front / "gcc")
    else:
        try:
            os.link(tools.need("ccache"), front / "gcc")
        except OSError:
            pytest.skip("no hard link from here to ccache")
    ours = shim.only(tmp_path / "ours", "gcc")
    if place == "in a mixed directory":
        (ours / "another-tool").symlink_to("/bin/true")
    env = on_path(shim, front, ours, CCACHE_DIR=str(tmp_path / "cache"))
    line = ["-c", str(source(tmp_path)), "-o", "t.o"]
    for command in (["gcc"], [shim.command, "gcc"]):
        done = call(["/usr/bin/env", f"PATH={env['PATH']}", *command, *line], env, tmp_path)
        assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
    if how.startswith("a script"):
        assert "run\n" * 2 == (tmp_path / "runs").read_text()


def test_ldshim_in_front_of_ldshim_is_one_ldshim(shim: Shim, tmp_path: Path) -> None:
    """C1: a linker launcher in front of a CC that names ldshim too is no tool called ldshim."""
    done = call([shim.command, shim.command, "gcc", "-c", str(source(tmp_path)), "-o", "t.o"], on_path(shim), tmp_path)
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
