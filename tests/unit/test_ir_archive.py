"""Archives, libraries and linker scripts lead to the same members that ar and the linkers find."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ldshim.command.argv import Input
from ldshim.inputs import archive, libraries
from ldshim.inputs.extent import Meter, open_regular
from ldshim.inputs.scan import scan
from tests.support import tools
from tests.support.ir_objects import CLANG, GCC, clang, counts, llvm, look, run
from tests.support.ir_objects import gcc as compile_gcc

if TYPE_CHECKING:
    from pathlib import Path

ALL = {"thin": 1, "full": 1, "gcc_slim": 1, "native": 1}


@pytest.fixture
def objects(tmp_path: Path) -> list[Path]:
    """One object of each kind, with short, odd-sized and very long names."""
    return [
        clang(CLANG, tmp_path, "-flto=thin", name="thin"),
        clang(CLANG, tmp_path, "-flto", name="a_name_that_is_far_too_long_for_a_header"),
        compile_gcc(GCC, tmp_path, "-flto=3", name="another name that is too long for the header"),
        compile_gcc(GCC, tmp_path, "-fPIC", name="native"),
    ]


def names(path: Path) -> list[bytes]:
    """Return the members of an archive by inputs/archive.py."""
    extent = open_regular(os.fsencode(path), path.stat().st_size, Meter(1 << 30, 1 << 30))
    try:
        return [member.name for member in archive.members(extent)]
    finally:
        os.close(extent.fd)


@pytest.mark.parametrize("tool", [["ar", "rcs"], ["ar", "rcS"], [tools.beside(tools.GCCS[GCC], "gcc", "gcc-ar"), "rcs"]])
def test_gnu_archives(tool: list[str], objects: list[Path], tmp_path: Path) -> None:
    """C8: members of a GNU archive are classified like files, with or without a symbol table, and listed like `ar t`."""
    path = tmp_path / "lib.a"
    run(*tool, path, *objects)
    assert ALL == counts(look(path))
    assert [b"-flto=3"] == look(path).recorded
    assert run("ar", "t", path).splitlines() == names(path)


@pytest.mark.parametrize("dialect", ["gnu", "bsd", "darwin", "coff"])
def test_llvm_ar_dialects(dialect: str, objects: list[Path], tmp_path: Path) -> None:
    """C8: every dialect that llvm-ar writes is read, long names included."""
    path = tmp_path / "lib.a"
    run(llvm("llvm-ar"), f"--format={dialect}", "rcs", path, *objects)
    assert ALL == counts(look(path))
    assert run(llvm("llvm-ar"), "t", path).splitlines() == names(path)


def test_sixty_four_bit_symbol_tables(objects: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C8: `/SYM64/` is a symbol table, not a member."""
    path = tmp_path / "lib.a"
    monkeypatch.setenv("SYM64_THRESHOLD", "1")
    run(llvm("llvm-ar"), "rcs", path, *objects)
    assert b"/SYM64/" in path.read_bytes()[:80]
    assert ALL == counts(look(path))


@pytest.mark.parametrize("tool", [["ar", "rcsT"], [llvm("llvm-ar"), "rcs", "--thin"]])
def test_thin_archives_name_files_beside_them(tool: list[str], objects: list[Path], tmp_path: Path) -> None:
    """C8: members of a thin archive are files relative to the archive, not to the current directory."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    path = tmp_path / "deep" / "er" / "lib.a"
    run(*tool, path.relative_to(tmp_path), *[each.name for each in objects], cwd=tmp_path)
    assert path.read_bytes().startswith(b"!<thin>\n")
    assert ALL == counts(look(path))
    assert [os.path.relpath(each, path.parent).encode() for each in objects] == names(path)
    moved = tmp_path / "moved.a"
    path.rename(moved)
    assert counts(look(moved)) == {"other": 4}


def test_archives_inside_thin_archives(objects: list[Path], tmp_path: Path) -> None:
    """C8: a thin archive made of archives (the kernel's vmlinux.a of built-in.a) counts every object once."""
    for index, each in enumerate(objects):
        run("ar", "rcsT", tmp_path / f"built-in{index}.a", each)
    run("ar", "rcs", tmp_path / "plain.a", objects[0])
    path = tmp_path / "vmlinux.a"
    run("ar", "rcsTP", path, *[tmp_path / f"built-in{index}.a" for index in range(4)])
    assert ALL == counts(look(path))
    run("ar", "rcsT", tmp_path / "outer.a", path, tmp_path / "plain.a")
    assert {**ALL, "thin": 2} == counts(look(tmp_path / "outer.a"))


def test_an_archive_named_twice_counts_once(objects: list[Path], tmp_path: Path) -> None:
    """C8: build systems repeat libraries because of the linker's order; each module still counts once."""
    path = tmp_path / "libtwice.a"
    run("ar", "rcs", path, *objects)
    assert ALL == counts(look(path, path, "-ltwice", dirs=[tmp_path]))


def test_cyclic_thin_archives_end(tmp_path: Path) -> None:
    """C8: thin archives that name each other are read once each."""
    header = b"%-16s%-12d%-6d%-6d%-8o%-10d`\n"
    for one, two in (("a", "b"), ("b", "a")):
        name = f"{two}.a/\n".encode()
        table = header % (b"//", 0, 0, 0, 0, len(name)) + name + b"\n" * (len(name) & 1)
        (tmp_path / f"{one}.a").write_bytes(b"!<thin>\n" + table + header % (b"/0", 0, 0, 0, 0, 8))
    found = look(tmp_path / "a.a")
    assert counts(found) == {}
    assert found.complete
    assert found.bytes_read < 1000


@pytest.mark.parametrize(
    ("word", "static", "expected"),
    [
        (b"x", False, b"one/libx.so"),
        (b"x", True, b"one/libx.a"),
        (b"y", False, b"one/liby.a"),
        (b":z.o", False, b"two/z.o"),
        (b"absent", False, None),
        (b"nul\0", False, None),
    ],
)
def test_libraries_are_searched_in_order(word: bytes, static: bool, expected: bytes | None, tmp_path: Path) -> None:
    """C8: in each directory the shared library comes first, with -Bstatic only the archive counts, and the first directory wins."""
    for name in ("one/libx.so", "one/libx.a", "two/libx.so", "one/liby.a", "two/liby.so", "two/z.o"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    root = os.fsencode(tmp_path)
    found = libraries.find(word, static, [root + b"/one", root + b"/two"])
    assert expected == (found and found[0][len(root) + 1 :])


def test_library_inputs_reach_the_counts(objects: list[Path], tmp_path: Path) -> None:
    """C8: -l leads to an archive or a shared library; without -L nothing is searched, and the caller may skip libraries."""
    (tmp_path / "lib").mkdir()
    run("ar", "rcs", tmp_path / "lib" / "libfoo.a", *objects)
    run(tools.GCCS[GCC], "-shared", "-nostdlib", "-o", tmp_path / "lib" / "libbar.so", objects[3])
    assert {**ALL, "shared": 1} == counts(look("-lfoo", "-lbar", dirs=[tmp_path / "lib"]))
    assert counts(look("-lfoo", "-lbar")) == {}
    under_sysroot = scan([Input(b"foo", library=True)], [b"=/lib"], sysroot=os.fsencode(tmp_path))
    assert ALL == counts(under_sysroot)
    assert counts(scan([Input(b"foo", library=True)], [os.fsencode(tmp_path / "lib")], want_libraries=False)) == {}


def test_linker_scripts_that_name_inputs_are_read(objects: list[Path], tmp_path: Path) -> None:
    """C8: libfoo.so may be a script; INPUT and GROUP are read, with paths, names beside the script, names in -L, and -l."""
    (tmp_path / "lib").mkdir()
    run("ar", "rcs", tmp_path / "lib" / "libreal.a", *objects[:2])
    script = '/* GNU ld script */ OUTPUT_FORMAT(elf64-x86-64)\nGROUP ( libreal.a AS_NEEDED ( -lnothing ) ) INPUT("%s", %s)\n'
    quoted = objects[2]
    (tmp_path / "lib" / "libfoo.so").write_text(script % (quoted, objects[3]))
    assert {**ALL, "other": 1} == counts(look("-lfoo", dirs=[tmp_path / "lib"]))


def test_linker_scripts_that_do_more_are_not_read(objects: list[Path], tmp_path: Path) -> None:
    """C8: a script with SECTIONS does not matter for LTO; a script that names itself is read once."""
    program = tmp_path / "vmlinux.lds"
    program.write_text(f"INPUT({objects[0]})\nSECTIONS {{ .text : {{ *(.text) }} }}\n")
    assert counts(look(program)) == {"other": 1}
    loop = tmp_path / "loop.lds"
    loop.write_text("GROUP(loop.lds loop.lds -lloop)")
    assert counts(look(loop, dirs=[tmp_path])) == {"other": 1}


@pytest.mark.parametrize(
    "text",
    [
        b"INPUT",
        b"INPUT(",
        b"GROUP(a.o",
        b"INPUT a.o",
        b"/*",
        b'INPUT("a',
        b"{",
        b"\0",
        b"INPUT(a.o) PROVIDE(x = 1);",
        b"((((",
        b"\xff\xfe(",
        b")",
    ],
)
def test_broken_scripts_name_nothing(text: bytes) -> None:
    """C8: an incomplete script names no inputs."""
    assert libraries.script_inputs(text) is None or libraries.script_inputs(text) == []
