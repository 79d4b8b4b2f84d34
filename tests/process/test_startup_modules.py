"""Hazard: an import that creeps in before "this may be LTO", and is paid by every link: json is 6 ms, subprocess 9, pyelftools 32."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.launchers import ROOT, launcher
from tests.support.tools import LLD, beside, need

PYTHON = getattr(sys, "_base_executable", sys.executable)

# What a link may import besides our own: no more than these, and what they bring along.
ALLOWED = {"os", "sys", "errno", "fcntl", "select", "struct", "_signal", "__future__", "gc"}
BROUGHT = {"stat", "_stat", "posixpath", "genericpath", "_collections_abc", "_struct"}

# A compile or a probe that came to Python (`ldshim gcc -c`) stops in entry.
COMPILE = {
    f"ldshim.{name}" for name in (
        "call", "call.descriptors", "call.environment", "call.processes", "call.real_tool", "command", "command.probes", "entry",
        "warden", "warden.handover", "warden.reservation",
    )
}  # fmt: skip
# Only a link that holds tokens, or was asked to talk, needs these.
NOT_PLAIN = {
    "warden.watch", "warden.gcc_valve", "warden.confinement", "warden.history", "record", "launcher.text", "decide.memory_estimate",
    "command.collect", "reserve.source", "reserve.jobserver", "reserve.memory_ledger", "reserve.recover", "reserve.parent_make",
    "reserve.slots",
}  # fmt: skip


def imported(*words: str, cwd: Path, **more: str) -> set[str]:
    """Run Python as a launcher's first line does, and return the modules that it imported before it became something else."""
    place = {"XDG_RUNTIME_DIR": str(cwd), "PATH": "/usr/bin:/bin", **more}
    said = subprocess.run([PYTHON, "-IS", "-X", "importtime", *words], cwd=cwd, env=place, capture_output=True, check=True).stderr
    lines = [line for line in said.decode().splitlines() if line.startswith("import time:") and line.count("|") == 2]
    return {line.rpartition("|")[2].strip() for line in lines} - {"imported package"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Provide a directory with one object and launchers for three tools; its mode is what the runtime directory's must be."""
    (tmp_path / "m.c").write_text("int f(void) { return 0; }\n")
    subprocess.run([need("gcc"), "-c", "m.c", "-o", "m.o"], cwd=tmp_path, check=True)
    tmp_path.chmod(0o700)
    for name, tool in (("ld", "ld.bfd"), ("ld.lld", LLD), ("ld.gold", "ld.gold")):
        launcher(tmp_path / "farm", name, Path(need(tool)), PYTHON)
    return tmp_path


@pytest.mark.parametrize("name", ["ld", "ld.lld", "ld.gold"])
def test_a_plain_link_imports_nothing_slow(place: Path, name: str) -> None:
    """C24: up to the exec, a link without LTO imports os, sys, errno, fcntl, select, struct, _signal and few of our own."""
    words = [str(place / "farm" / name), "-r", "m.o", "-o", "out.o"]
    before = imported("-c", "pass", cwd=place)
    found = imported(*words, cwd=place) - before
    assert (place / "out.o").is_file()
    ours = {module for module in found if module == "ldshim" or module.startswith("ldshim.")}
    assert set() == found - ours - ALLOWED - BROUGHT
    assert "ldshim.analysis" in ours
    assert set() == ours & {f"ldshim.{module}" for module in NOT_PLAIN}
    assert set() == {module for module in ours if module.startswith("ldshim.cli")}
    assert set() == ours & {f"ldshim.command.{family}" for family in ("gcc", "clang", "wild")}


def prefix(place: Path) -> str:
    """Write what pip writes; not where the directory of ours is to be, which has the same name."""
    (place / "bin").mkdir()
    (place / "bin" / "ldshim").write_text(f"import sys; sys.path.append({str(ROOT)!r}); from ldshim.__main__ import main; main()")
    return "bin/ldshim"


@pytest.mark.parametrize(("name", "words"), [("ld.bfd", ["-r", "m.o"]), (LLD, ["-r", "m.o"]), ("gcc", ["-r", "-nostdlib", "m.o"])])
def test_a_plain_link_in_the_prefix_form_plans_nothing(place: Path, name: str, words: list[str]) -> None:
    """C23: `ldshim ld` knows a certainly plain link as a launcher does, once it knows what the tool is."""
    own = prefix(place)
    first, found = (imported(own, need(name), *words, "-o", "out.o", cwd=place) for _ in range(2))
    assert (place / "out.o").is_file()
    assert "ldshim.analysis" in first  # the tool had to be asked what it is
    assert COMPILE | {"ldshim.plain_link", "ldshim.call.tool_family"} <= found
    assert set() == found & {"ldshim.analysis", "ldshim.warden.grant", "ldshim.command.read", "ldshim.decide.mode"}


def test_words_that_no_file_can_have_are_left_to_the_plan(place: Path) -> None:
    """C1: a word too long for a file's name, and one below a file, raise nothing in the prefix form, and the link is looked at as ever."""
    own = prefix(place)
    odd = ["-Wl,--undefined=" + "f" * 300, "-Wl,-rpath-link,m.o/b"]
    for _ in range(2):  # the second time it is known what the tool is
        said = subprocess.run(
            [PYTHON, own, need("gcc"), "-r", "-nostdlib", "m.o", *odd, "-o", "out.o"],
            cwd=place, env={"XDG_RUNTIME_DIR": str(place), "PATH": "/usr/bin:/bin"}, capture_output=True, check=True,
        )  # fmt: skip
        assert said.stderr == b""


def test_a_compile_that_comes_to_python_stops_early(place: Path) -> None:
    """C5: `ldshim gcc -c` reads no table, no input and no hardware: it imports entry and what entry always needs."""
    found = imported(prefix(place), need("gcc"), "-c", "m.c", "-o", "again.o", cwd=place)
    assert (place / "again.o").is_file()
    assert COMPILE | {"ldshim", "ldshim.__main__"} == {module for module in found if module.startswith("ldshim")}
    assert set() == found - imported("-c", "pass", cwd=place) - COMPILE - {"ldshim", "ldshim.__main__"} - ALLOWED - BROUGHT


@pytest.mark.parametrize("asked", [False, True])
def test_c33_a_link_that_does_not_ask_for_backends_imports_nothing_of_them(place: Path, asked: bool) -> None:
    """C33: an LTO link with tokens to take imports what it did before there were any; one that asks imports the choice, and no executor."""
    clang = need(beside(LLD, "ld.lld", "clang"))
    for name in ("a", "b"):
        (place / f"{name}.c").write_text(f"int {name}(void) {{ return 0; }}\n")
        subprocess.run([clang, "-flto=thin", "-c", f"{name}.c"], cwd=place, check=True)
    words = [str(place / "farm" / "ld.lld"), "-shared", "a.o", "b.o", "-o", "out"]
    found = imported(*words, cwd=place, **({"LDSHIM_BACKENDS": "process"} if asked else {}))
    assert "ldshim.warden.grant" in found
    assert ("ldshim.decide.distributable" in found) is asked
    theirs = {module for module in found if module.startswith("ldshim.backends") or module == "ldshim.call.partner"}
    assert ({"ldshim.backends", "ldshim.backends.choice", "ldshim.call.partner"} if asked else set()) == theirs
