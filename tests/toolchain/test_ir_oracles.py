"""Other readers than those in test_ir_llvm and test_ir_gcc agree: llvm-lto2 and llvm-nm on LLVM's IR, pyelftools and llvm-nm on GCC's.

The compilers are those that are promised, or those that newest.sh names; the targets are both ELF classes in both byte orders.
"""

from __future__ import annotations

import itertools
import re
import struct
from typing import TYPE_CHECKING

import pytest
from elftools.elf.elffile import ELFFile

from tests.support.ir_objects import CLANG, CLANGS, GCC, GCCS, TARGETS, clang, counts, llvm, look, reader, run
from tests.support.ir_objects import gcc as compile_gcc

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "thin": ("-flto=thin",),
    "full": ("-flto",),
    "plain": ("-emit-llvm",),
    "split": ("-flto=thin", "-fsplit-lto-unit", "-fvisibility=hidden", "-fwhole-program-vtables"),
    "unified": ("-flto=full", "-funified-lto"),
}
KNOWS_UNIFIED = 17  # the first clang with -funified-lto and -ffat-lto-objects


def symbols(version: int, path: Path) -> list[tuple[str, str, str]]:
    """List (name, type, value) of the symbols of one file, as llvm-nm says them."""
    rows = [line.split() for line in run(llvm("llvm-nm", version), path).decode().splitlines()]
    return [(row[-1], row[-2], row[0] if len(row) > 2 else "") for row in rows if len(row) >= 2]


def is_ir(version: int, path: Path) -> bool:
    """Tell whether llvm-nm reads the file as IR: then no symbol has a value, only dashes."""
    defined = [value for _, _, value in symbols(version, path) if value]
    return bool(defined) and all(set(value) == {"-"} for value in defined)


def kinds_by_lto2(version: int, path: Path) -> dict[str, int]:
    """Let llvm-lto2 compile a file: task 0 is the full LTO part, every other one a ThinLTO module."""
    resolutions: list[
        str
    ] = []  # one for each time that a module of the file names the symbol, in that order; the first definition prevails
    for undefined, name in re.findall(r"^[DHP]([U-])[A-Z-]{6} (\S+)$", run(llvm("llvm-lto2", version), "dump-symtab", path).decode(), re.M):
        prevails = undefined == "-" and f"-r={path},{name},plx" not in resolutions
        resolutions.append(f"-r={path},{name},{'plx' if prevails else ''}")
    run(llvm("llvm-lto2", version), "run", "-o", path.parent / "task", path, *resolutions)
    tasks = {int(out.suffix[1:]) for out in path.parent.glob("task.*")}
    for out in path.parent.glob("task.*"):
        out.unlink()
    return {name: number for name, number in (("thin", len(tasks - {0})), ("full", int(0 in tasks))) if number}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("version", CLANGS)
def test_lto2_compiles_what_we_count(version: int, target: str, tmp_path: Path) -> None:
    """C8: llvm-lto2 starts a backend for each thin module we count and one for the full part; llvm-nm calls the same files IR."""
    tools = reader(version)
    for kind, flags in KINDS.items():
        if kind == "unified" and version < KNOWS_UNIFIED:
            continue
        path = clang(version, tmp_path, *flags, target=target, name=kind)
        assert kinds_by_lto2(tools, path) == counts(look(path)), kind
        assert is_ir(tools, path), kind
    native = clang(version, tmp_path, target=target, name="native")
    assert counts(look(native)) == {"native": 1}
    assert not is_ir(tools, native)


@pytest.mark.parametrize("target", [TARGETS[0], TARGETS[2], TARGETS[3], TARGETS[4]])
@pytest.mark.parametrize("version", [version for version in CLANGS if version >= KNOWS_UNIFIED])
def test_lto2_agrees_about_what_fat_objects_carry(version: int, target: str, tmp_path: Path) -> None:
    """C8: what stands in `.llvm.lto` is the module that llvm-lto2 would compile, and llvm-nm looks through to it."""
    for kind, flag in (("thin", "-flto=thin"), ("full", "-flto")):
        path = clang(version, tmp_path, flag, "-ffat-lto-objects", target=target, name=kind)
        assert counts(look(path)) == {f"fat_{kind}": 1}
        assert is_ir(version, path)
        with path.open("rb") as stream:
            section = ELFFile(stream).get_section_by_name(".llvm.lto")
            assert section is not None
            inside = tmp_path / "inside.bc"
            inside.write_bytes(section.data())
        assert kinds_by_lto2(version, inside) == {kind: 1} == counts(look(inside))


def test_nm_lists_the_members_we_classify(tmp_path: Path) -> None:
    """C8: llvm-nm finds IR and native code in the same members of an archive."""
    parts = [
        clang(CLANG, tmp_path, "-flto=thin", name="thin"),
        clang(CLANG, tmp_path, "-flto", name="full"),
        clang(CLANG, tmp_path, name="no"),
    ]
    archive = tmp_path / "lib.a"
    run(llvm("llvm-ar"), "rcs", archive, *parts)
    said = {
        line.split(": ")[0].rpartition(":")[2]: line.split(": ")[1][0]
        for line in run(llvm("llvm-nm"), "-A", "-U", archive).decode().splitlines()
    }
    assert said == {"thin.o": "-", "full.o": "-", "no.o": "0"}
    assert counts(look(archive)) == {"thin": 1, "full": 1, "native": 1}


class Seen:
    """What pyelftools sees of GCC's traces. units: translation units, by their recorded strings; headers: (major, slim) of each."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as stream:
            sections = list(ELFFile(stream).iter_sections())
            order = "<" if ELFFile(stream).little_endian else ">"
            named = [(section.name, section) for section in sections]
            self.claimed = any(name.startswith(".gnu.lto_.symtab") for name, _ in named)
            self.size = sum(section["sh_size"] for name, section in named if name.startswith(".gnu.lto_"))
            headers = [section.data() for name, section in named if name.startswith(".gnu.lto_.lto.")]
            self.headers = [(struct.unpack_from(order + "h", data)[0], bool(data[4])) for data in headers]
            self.units = [unit for name, section in named if name == ".gnu.lto_.opts" for unit in section.data().split(b"\0")[:-1]]


def agree(version: int, path: Path) -> None:
    """Compare our reading of one GCC object with that of pyelftools and llvm-nm."""
    seen, found = Seen(path), look(path)
    slim = any(slim for _, slim in seen.headers)
    assert {"native" if not seen.claimed else "gcc_slim" if slim else "gcc_fat": 1} == counts(found)
    if seen.claimed:
        assert seen.size == found.gcc_bytes
        assert max(major for major, _ in seen.headers) == found.gcc_major == version
        assert {word for unit in seen.units for word in (b"-flto", b"-flto=3", b"-flto=auto") if b"'%b'" % word in unit} == set(
            found.recorded
        )
    assert slim == any(name == "__gnu_lto_slim" for name, _, _ in symbols(reader(CLANG), path))


@pytest.mark.parametrize("machine", ["-m64", "-m32"])
@pytest.mark.parametrize("version", GCCS)
def test_gcc_objects_and_their_merges(version: int, machine: str, tmp_path: Path) -> None:
    """C8: slim, fat and plain objects, and every pair of them after `ld -r`, in both ELF classes, as pyelftools and llvm-nm see them."""
    emulation = "elf_i386" if machine == "-m32" else "elf_x86_64"
    flags = {"slim": ("-flto=3",), "fat": ("-flto=auto", "-ffat-lto-objects"), "bare": ("-flto",), "native": ()}
    parts = {
        name: compile_gcc(version, tmp_path, *words, machine, name=name, text=f"int {name}(int x) {{ return x + 1; }}")
        for name, words in flags.items()
    }
    for path in parts.values():
        agree(version, path)
    for one, two in itertools.permutations(parts, 2):
        merged = tmp_path / f"{one}-{two}.o"
        run("ld.bfd", "-m", emulation, "-r", "-o", merged, parts[one], parts[two])
        agree(version, merged)
    everything = tmp_path / "all.o"
    run("ld.bfd", "-m", emulation, "-r", "-o", everything, *parts.values())
    agree(version, everything)
    assert len(Seen(everything).units) == 3


@pytest.mark.parametrize("version", GCCS)
def test_gcc_relocatable_outputs(version: int, tmp_path: Path) -> None:
    """C8: what `gcc -r` gives of slim, fat and mixed inputs, by each -flinker-output, is what pyelftools and llvm-nm see in it."""
    slim = compile_gcc(version, tmp_path, "-flto", name="slim", text="int slim(int x) { return x + 1; }")
    fat = compile_gcc(version, tmp_path, "-flto", "-ffat-lto-objects", name="fat", text="int fat(int x) { return x + 2; }")
    native = compile_gcc(version, tmp_path, name="native", text="int native(int x) { return x + 3; }")
    for name, inputs, how in (
        ("rel", [slim, fat], ["-flinker-output=rel"]),
        ("nolto-rel", [slim, fat], ["-flinker-output=nolto-rel"]),
        ("claimed", [slim, fat], []),
        ("mixed", [slim, native], []),
    ):
        out = tmp_path / f"{name}.out.o"
        run(f"gcc-{version}", "-O1", "-flto", "-r", *how, *inputs, "-o", out)
        agree(version, out)
        assert (name in ("rel", "claimed")) == Seen(out).claimed, name


def test_the_highest_of_several_gccs_is_reported(tmp_path: Path) -> None:
    """C8: of objects of the oldest and the newest GCC the newer one's major is reported: it decides the default of lto-partitions."""
    parts = [compile_gcc(version, tmp_path, "-flto", name=f"by{version}") for version in (GCC, GCCS[0])]
    run("ar", "rcs", tmp_path / "lib.a", *parts)
    assert (GCC, 2) == (look(tmp_path / "lib.a").gcc_major, look(tmp_path / "lib.a").gcc_slim)
