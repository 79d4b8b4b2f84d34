"""Hazards of writing launchers: other people's files, half a file, a directory that is not ours, tools that come and go."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from ldshim.call import real_tool
from ldshim.call.environment import Environment
from ldshim.cli import link_farm
from ldshim.launcher import text
from tests.support.launchers import ROOT, Dump, build_dump, call, script


class Machine:
    """A PATH of our own with a few tools on it, and a place for a farm."""

    def __init__(self, root: Path) -> None:
        self.tools = root / "tools"
        self.farm = root / "farm"
        for name in ("gcc", "x86_64-linux-gnu-gcc-12", "ld", "ld.lld-16", "clang++", "gcc-ar", "python3", "odd name-ld"):
            script(self.tools / name, f"echo {name}")

    def link_farm(self, *names: str, refresh: bool = False, **variables: str) -> int:
        """Run `ldshim link-farm` in this process."""
        block = {"PATH": f"{self.farm}:{self.tools}", **variables}
        environment = Environment([(name.encode(), value.encode()) for name, value in block.items()])
        return link_farm.main(os.fsencode(self.farm), [name.encode() for name in names], environment, refresh=refresh)

    def entries(self) -> set[str]:
        """List the farm's launchers: everything but the mark."""
        return set(os.listdir(self.farm)) - {os.fsdecode(real_tool.MARK)}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Provide a machine; the package is not compiled again for each test."""
    monkeypatch.setattr(link_farm, "precompile", lambda: None)
    return Machine(tmp_path)


def test_names_asked_for_get_launchers_that_run(machine: Machine) -> None:
    """C6: each name asked for stands in the farm and leads to the tool that was on PATH, by a shell script."""
    assert 0 == machine.link_farm("gcc", "ld.lld-16")
    assert {"gcc", "ld.lld-16"} == machine.entries()
    assert {b"#!/bin/sh"} == {(machine.farm / name).read_bytes()[:9] for name in machine.entries()}
    for name in machine.entries():
        for line in ("--version", "-o x x.o"):
            assert f"{name}\n".encode() == call(machine.farm / name, *line.split(), env={"PATH": "/usr/bin:/bin"}).stdout


def test_without_names_every_compiler_and_linker_on_path(machine: Machine) -> None:
    """Names with prefix and suffix count; kin that neither compile nor link do not, nor names that no tool has."""
    assert 0 == machine.link_farm()
    assert {"gcc", "x86_64-linux-gnu-gcc-12", "ld", "ld.lld-16", "clang++"} == machine.entries()


def test_a_launcher_is_known_as_ours(machine: Machine) -> None:
    """C6: the magic line stands where any ldshim looks for it, in both kinds of launcher, and the directory is marked."""
    machine.link_farm()
    assert {True} == {real_tool.is_ldshim(os.fsencode(machine.farm / name)) for name in machine.entries()}
    assert (machine.farm / os.fsdecode(real_tool.MARK)).is_file()


def test_the_same_again_touches_nothing(machine: Machine) -> None:
    """A second run, with --refresh or without, leaves every file as it is: inode and mtime."""
    machine.link_farm()
    before = {entry.name: (entry.stat().st_ino, entry.stat().st_mtime_ns) for entry in os.scandir(machine.farm)}
    assert (0, 0) == (machine.link_farm(refresh=True), machine.link_farm())
    assert before == {entry.name: (entry.stat().st_ino, entry.stat().st_mtime_ns) for entry in os.scandir(machine.farm)}


def test_refresh_follows_the_tools(machine: Machine) -> None:
    """Tools that went lose their launcher, new ones get one, moved ones are followed; with explicit names, only those."""
    machine.link_farm()
    (machine.tools / "gcc").unlink()
    script(machine.tools / "mold", "echo mold")
    assert 0 == machine.link_farm(refresh=True)
    assert {"x86_64-linux-gnu-gcc-12", "ld", "ld.lld-16", "clang++", "mold"} == machine.entries()


def test_refresh_keeps_to_the_names_asked_for(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """A name asked for whose tool is gone is said, loses its launcher, and gets it back with the tool."""
    machine.link_farm("gcc")
    machine.link_farm("ld")
    (machine.tools / "gcc").rename(machine.tools / "was-gcc-once")
    assert (1, {"ld"}) == (machine.link_farm(refresh=True), machine.entries())
    assert "ldshim: gcc: real tool not found: " in capsys.readouterr().err
    (machine.tools / "was-gcc-once").rename(machine.tools / "gcc")
    assert (0, {"gcc", "ld"}) == (machine.link_farm(refresh=True), machine.entries())


def test_a_directory_of_others_is_refused(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory with anything in it that link-farm did not make is not marked: it would leave the PATH of every build."""
    machine.farm = machine.tools
    before = sorted(os.listdir(machine.tools))
    assert (1, 1) == (machine.link_farm("gcc"), machine.link_farm(refresh=True))
    assert before == sorted(os.listdir(machine.tools))
    assert "is not empty and was not created by link-farm" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["file", "symlink to a launcher", "directory", "dangling link"])
def test_files_of_others_are_never_overwritten_or_removed(machine: Machine, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in the farm and is no launcher that link-farm wrote stays, with one line; everything else is done."""
    machine.link_farm("ld")
    theirs = machine.farm / "gcc"
    if kind == "file":
        theirs.write_text("theirs")
    elif kind == "directory":
        theirs.mkdir()
    else:
        theirs.symlink_to(machine.farm / "ld" if kind.startswith("symlink") else "/nonexistent/ld")
    before = os.lstat(theirs)
    assert (1, {"gcc", "ld", "clang++"}) == (machine.link_farm("gcc", "clang++"), machine.entries())
    assert "/gcc: is no launcher of ours, and is left as it is" in capsys.readouterr().err
    (machine.tools / "gcc").unlink()
    machine.link_farm(refresh=True)
    assert (before.st_ino, before.st_mtime_ns) == (os.lstat(theirs).st_ino, os.lstat(theirs).st_mtime_ns)


@pytest.mark.parametrize("name", ["python3", "gcc-ar", "../gcc", "a\nb-ld", "", "odd name-ld"])
def test_a_name_that_is_no_tool_is_refused(machine: Machine, name: str) -> None:
    """A name that no compiler or linker has is refused before anything is written."""
    assert 1 == machine.link_farm("gcc", name)
    assert not machine.farm.exists()


def test_a_launcher_is_replaced_whole(machine: Machine) -> None:
    """A build that runs a launcher while it is refreshed has the old file or the new one: the old one stays readable, no draft is left."""
    machine.link_farm("gcc")
    with open(machine.farm / "gcc", "rb") as stream:
        before = stream.read()
        machine.link_farm("gcc", LDSHIM_REAL_GCC=str(machine.tools / "clang++"))
        stream.seek(0)
        assert before == stream.read() != (machine.farm / "gcc").read_bytes()
    assert {"gcc"} == machine.entries()
    assert b"clang++\n" == call(machine.farm / "gcc", "-c", env={"PATH": "/usr/bin:/bin"}).stdout


def test_a_failed_write_leaves_the_old_launcher(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs the new text, not the old, and leaves no draft behind."""
    machine.link_farm("gcc")
    before = (machine.farm / "gcc").read_bytes()

    def full(_: bytes, target: bytes) -> None:
        raise OSError(28, "No space left on device", target)

    monkeypatch.setattr(os, "rename", full)
    assert 1 == machine.link_farm("gcc", LDSHIM_REAL_GCC=str(machine.tools / "clang++"))
    assert (before, {"gcc"}) == ((machine.farm / "gcc").read_bytes(), machine.entries())


def test_everybody_may_run_a_farm_made_under_a_tight_umask(machine: Machine) -> None:
    """A farm that root makes is for the users' builds, whatever root's umask is."""
    old = os.umask(0o077)
    try:
        machine.link_farm("gcc")
    finally:
        os.umask(old)
    assert 0o755 == stat.S_IMODE((machine.farm / "gcc").stat().st_mode)
    assert 0o644 == stat.S_IMODE((machine.farm / ".ldshim").stat().st_mode)


def test_a_farm_never_leads_into_another(machine: Machine, tmp_path: Path) -> None:
    """C6: what is baked in is the tool, also when another farm or a link to ldshim stands before it on PATH."""
    machine.link_farm("gcc")
    second = Machine(tmp_path)
    second.farm = tmp_path / "second"
    assert 0 == second.link_farm("gcc", PATH=f"{machine.farm}:{machine.tools}")
    theirs = (second.farm / "gcc").read_text().replace(str(second.farm), str(machine.farm))
    assert (machine.farm / "gcc").read_text() == theirs


def test_paths_of_any_bytes_are_baked_as_they_are(tmp_path: Path) -> None:
    """C2: quotes, blanks, `@NAME@`, and bytes that are no UTF-8 in the path of the tool or the package are only bytes."""
    for number, odd in enumerate(["it's", "'''", 'a "b" c', "\\N\\x \\", "@NAME@ @REAL@", "$(x)\\", "\udcff", "nl\nx"]):
        place = tmp_path / str(number) / odd
        dump = build_dump(place)
        (place / "ldshim").symlink_to(ROOT / "ldshim")
        python = getattr(sys, "_base_executable", sys.executable)
        for name, kind in (("gcc", "driver"), ("ld", "linker")):
            made = text.Launcher(name.encode(), kind, (os.fsencode(dump), os.fsencode(dump)), os.fsencode(python), [str(place)])
            path = tmp_path / str(number) / name
            path.write_bytes(made.text((ROOT / "ldshim" / "launcher" / "launcher.sh").read_bytes()))
            path.chmod(0o755)
            for last in ("--version", "x.o"):
                said = call(path, last, env={"PATH": "/usr/bin", "LC_ALL": "C"})
                assert ([os.fsencode(dump), last.encode()], b"") == (Dump(said.stdout).argv, said.stderr)


def test_the_command_line_and_its_compiled_files(tmp_path: Path) -> None:
    """`ldshim link-farm DIR NAME` writes launchers and, where it may, the package's .pyc files."""
    package = tmp_path / "site" / "ldshim"
    shutil.copytree(ROOT / "ldshim", package, ignore=shutil.ignore_patterns("__pycache__"))
    script(tmp_path / "tools" / "ld", "echo ld")
    block = {"PATH": f"{tmp_path}/tools:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    words = ["-C", str(package.parent), sys.executable, "-m", "ldshim", "link-farm", str(tmp_path / "farm"), "ld"]
    done = call("/usr/bin/env", *words, env=block)
    assert (0, f"ld -> {tmp_path}/tools/ld\n".encode(), b"") == (done.returncode, done.stdout, done.stderr)
    tag = sys.implementation.cache_tag
    missing = [path for path in package.rglob("*.py") if not (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").is_file()]
    assert [] == missing
