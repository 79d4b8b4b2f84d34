"""What GCC left in its objects: slim, fat, merged, recorded; as readelf and pyelftools see it."""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from elftools.elf.elffile import ELFFile

from ldshim.inputs import elf, gcc, scan
from ldshim.inputs.findings import default_partitions, gcc_partitions
from ldshim.inputs.scan import EnoughOfGcc
from tests.support import tools
from tests.support.ir_objects import CLANG, GCC, GCCS, counts, look, run
from tests.support.ir_objects import gcc as compile_gcc

if TYPE_CHECKING:
    from pathlib import Path


def ir_size(path: Path) -> int:
    """Sum the `.gnu.lto_` sections by readelf."""
    listing = run("readelf", "-SW", path).decode()
    return sum(int(size, 16) for size in re.findall(r" \.gnu\.lto_\S+ +\w+ +[0-9a-f]+ [0-9a-f]+ ([0-9a-f]+) ", listing))


def recorded_strings(path: Path) -> bytes:
    """Read `.gnu.lto_.opts` by pyelftools."""
    with path.open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(".gnu.lto_.opts")
        assert section is not None
        data: bytes = section.data()
    return data


@pytest.mark.parametrize("word", ["-flto", "-flto=auto", "-flto=5", "-flto=jobserver"])
@pytest.mark.parametrize("version", GCCS)
def test_slim_objects_and_what_they_recorded(version: int, word: str, tmp_path: Path) -> None:
    """C8: a slim object is found by its sections, with GCC's major, the size of its IR, and the -flto word it was compiled with."""
    path = compile_gcc(version, tmp_path, word)
    found = look(path)
    assert counts(found) == {"gcc_slim": 1}
    assert [word.encode()] == found.recorded
    assert b"'%b'" % word.encode() in recorded_strings(path)
    assert version == found.gcc_major
    assert ir_size(path) == found.gcc_bytes > 0
    assert b"__gnu_lto_slim" in run("readelf", "-sW", path)


@pytest.mark.parametrize("version", GCCS)
def test_fat_objects_are_claimed_too(version: int, tmp_path: Path) -> None:
    """C8: -ffat-lto-objects carries code beside the IR, and the plugin claims it all the same."""
    path = compile_gcc(version, tmp_path, "-flto=3", "-ffat-lto-objects")
    found = look(path)
    assert counts(found) == {"gcc_fat": 1}
    assert [b"-flto=3"] == found.recorded
    assert ir_size(path) == found.gcc_bytes
    assert b"__gnu_lto_slim" not in run("readelf", "-sW", path)


@pytest.mark.parametrize("version", GCCS)
def test_debug_information_is_no_ir(version: int, tmp_path: Path) -> None:
    """C8: with -g the early debug sections (`.gnu.debuglto_`) do not count as IR, and compressing them changes nothing."""
    for flags in (["-g"], ["-g", "-gz"]):
        path = compile_gcc(version, tmp_path, "-flto", *flags)
        assert counts(look(path)) == {"gcc_slim": 1}
        assert ir_size(path) == look(path).gcc_bytes


@pytest.mark.parametrize("version", GCCS)
def test_merged_objects_keep_every_recorded_word(version: int, tmp_path: Path) -> None:
    """C8: after `ld -r` one object holds the strings of every translation unit, and all their words are reported, in order, once."""
    parts = [
        compile_gcc(version, tmp_path, word, text=f"int f{n}() {{ return {n}; }}", name=f"p{n}")
        for n, word in enumerate(["-flto=7", "-flto", "-flto=auto", "-flto"])
    ]
    merged = tmp_path / "merged.o"
    run("ld.bfd", "-r", "-o", merged, *parts)
    found = look(merged)
    assert counts(found) == {"gcc_slim": 1}
    assert [b"-flto=7", b"-flto", b"-flto=auto"] == found.recorded
    assert recorded_strings(merged).count(b"\0") == 4
    assert look(*parts).recorded == found.recorded


@pytest.mark.parametrize("version", GCCS)
def test_relocatable_lto_links(version: int, tmp_path: Path) -> None:
    """C8: `gcc -r` gives IR again with -flinker-output=rel, and native code with nolto-rel."""
    part = compile_gcc(version, tmp_path, "-flto")
    for kind, expected in (("rel", {"gcc_slim": 1}), ("nolto-rel", {"native": 1})):
        out = tmp_path / f"{kind}.o"
        run(tools.GCCS[version], "-flto", "-O1", "-r", f"-flinker-output={kind}", part, "-o", out)
        assert expected == counts(look(out))


@pytest.mark.parametrize("version", GCCS)
def test_plain_objects_and_libraries(version: int, tmp_path: Path) -> None:
    """C8: objects without IR are native, executables too, and shared libraries are counted apart."""
    plain = compile_gcc(version, tmp_path, "-fPIC", "-ffunction-sections", "-g")
    shared = tmp_path / "lib.so"
    run(tools.GCCS[version], "-shared", "-nostdlib", "-o", shared, plain)
    found = look(plain, shared)
    assert counts(found) == {"native": 1, "shared": 1}
    assert plain.stat().st_size == found.native_bytes
    assert found.recorded == []


def test_objects_without_the_symbol_table_section_are_native(tmp_path: Path) -> None:
    """C8: the plugin claims by `.gnu.lto_.symtab`; an object stripped of it is linked as native code."""
    path = compile_gcc(GCC, tmp_path, "-flto", "-ffat-lto-objects")
    run("objcopy", "--wildcard", "-R", ".gnu.lto_.symtab*", path)
    assert counts(look(path)) == {"native": 1}


def test_a_symbol_named_like_a_section_is_no_ir(tmp_path: Path) -> None:
    """C8: clang keeps symbol names and section names in one table; only section names count."""
    source = tmp_path / "t.s"
    source.write_text('.globl ".gnu.lto_.symtab.x"\n".gnu.lto_.symtab.x":\n.quad 0\n')
    run(tools.CLANGS[CLANG], "-c", source, "-o", tmp_path / "t.o")
    assert b".gnu.lto_.symtab.x" in (tmp_path / "t.o").read_bytes()
    assert counts(look(tmp_path / "t.o")) == {"native": 1}


def compress(path: Path, name: str, claimed: int | None = None) -> None:
    """Compress one section of an x86-64 object in place (SHF_COMPRESSED, gABI), which no tool does to any but debug sections."""
    with path.open("rb") as stream:
        file = ELFFile(stream)
        index = file.get_section_index(name) or 0
        header = file["e_shoff"] + index * file["e_shentsize"]
        content = file.get_section(index).data()
    data = bytearray(path.read_bytes())
    packed = struct.pack("<IIQQ", 1, 0, len(content) if claimed is None else claimed, 1) + zlib.compress(content)
    (flags,) = struct.unpack_from("<Q", data, header + 8)
    struct.pack_into("<Q", data, header + 8, flags | elf.SHF_COMPRESSED)
    struct.pack_into("<QQ", data, header + 24, len(data), len(packed))
    path.write_bytes(data + packed)


def test_compressed_options_are_asked_of_pyelftools(tmp_path: Path) -> None:
    """C8: options that somebody compressed are still read; GCC itself never does, so pyelftools may take its time."""
    path = compile_gcc(GCC, tmp_path, "-flto=6")
    compress(path, ".gnu.lto_.opts")
    assert [b"-flto=6"] == look(path).recorded
    assert counts(look(path)) == {"gcc_slim": 1}


def test_a_compressed_section_of_an_absurd_size_is_left_alone(tmp_path: Path) -> None:
    """C8: a compressed section that claims a terabyte is a note, not an allocation."""
    path = compile_gcc(GCC, tmp_path, "-flto=6")
    compress(path, ".gnu.lto_.opts", claimed=1 << 40)
    found = look(path)
    assert counts(found) == {"other": 1}
    assert "claims 1099511627776 bytes" in found.reasons[0]


def test_a_settled_question_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C24: with enough IR, reading ends when the link line or an object settles what is asked; a recorded number or bare -flto does not."""
    parts = {word: [compile_gcc(GCC, tmp_path, word, name=f"{word}{n}") for n in range(2)] for word in ("-flto", "-flto=4", "-flto=auto")}
    silent = [*parts["-flto"], *parts["-flto=4"]]
    enough = look(*parts["-flto"]).gcc_bytes
    assert look(*silent, enough=EnoughOfGcc(enough, asked=True)).complete  # a few objects are read whole
    monkeypatch.setattr(scan, "LEAST", 1)
    whole = look(*silent, enough=EnoughOfGcc(enough, asked=False))
    assert (4, True, [b"-flto", b"-flto=4"]) == (whole.gcc_slim, whole.complete, whole.recorded)
    said = look(*silent, enough=EnoughOfGcc(enough, asked=True))
    assert (2, False) == (said.gcc_slim, said.complete)
    assert said.in_all(said.gcc_bytes) == pytest.approx(whole.gcc_bytes, rel=0.05)
    recorded = look(*parts["-flto=auto"], *silent, enough=EnoughOfGcc(enough, asked=False))
    assert (2, False, [b"-flto=auto"]) == (recorded.gcc_slim, recorded.complete, recorded.recorded)


def test_sizes_of_objects_that_are_no_single_run(tmp_path: Path) -> None:
    """C8: where debug sections or strangers break the run of IR sections, the sizes are still summed as readelf sums them."""
    path = compile_gcc(GCC, tmp_path, "-flto", "-g", "-ffat-lto-objects")
    moved = tmp_path / "moved.o"
    run("objcopy", "--add-section", f".gnu.lto_.extra={path}", "--set-section-flags", ".gnu.lto_.extra=readonly", path, moved)
    assert ir_size(path) == look(path).gcc_bytes
    assert ir_size(moved) == look(moved).gcc_bytes > path.stat().st_size


@pytest.mark.parametrize("params", [[], ["--param=lto-min-partition=100"], ["--param=lto-min-partition=10", "--param=lto-partitions=7"]])
@pytest.mark.parametrize("version", GCCS)
def test_gcc_makes_no_more_partitions_than_we_allow_for(version: int, params: list[str], tmp_path: Path) -> None:
    """C8: the bound on the LTRANS jobs of a link, from the size of its IR, is never below what GCC makes of it."""
    text = "".join(
        f"int f{n}(int* p, int x) {{ for (int i = 0; i < x; i++) p[i] ^= p[x - i] * {n} + i % {n + 3}; return p[x]; }}\n"
        for n in range(120)
    )
    part = compile_gcc(version, tmp_path, "-flto", "-fPIC", text=text)
    run(tools.GCCS[version], "-flto=1", "-O1", "-shared", "-nostdlib", "-save-temps", *params, part, "-o", "out.so", cwd=tmp_path)
    made = len(list(tmp_path.glob("*.ltrans[0-9]*.ltrans.o")))
    said = {name: int(value) for name, _, value in (param[8:].partition("=") for param in params)}
    found = look(part)
    bound = gcc_partitions(found.gcc_bytes, found.gcc_major, said.get("lto-partitions", 0), said.get("lto-min-partition", 0))
    assert 1 <= made <= bound
    assert made > 1 or not params
    assert bound <= said.get("lto-partitions", default_partitions(version))


def test_the_default_number_of_partitions_follows_the_compiler() -> None:
    """C8: lto-partitions is 128, and 512 from GCC 16 on; no IR, or very little, is one job."""
    assert gcc_partitions(1 << 40, 12) == 128
    assert gcc_partitions(1 << 40, 16) == 512
    assert gcc_partitions(1 << 40, 16, partitions=3) == 3
    assert gcc_partitions(0, 12) == gcc_partitions(1000, 12) == 1
    assert gcc_partitions(33_334, 12) == 3


def test_confirmation_names_the_sections(tmp_path: Path) -> None:
    """C8: the second opinion for `ldshim explain` names class, byte order and the sections, and never raises."""
    assert ".gnu.lto_.opts" in elf.confirm(bytes(compile_gcc(GCC, tmp_path, "-flto")))
    assert "IR sections: none" in elf.confirm(bytes(compile_gcc(GCC, tmp_path)))
    assert elf.confirm(b"/").startswith("pyelftools: ")
    assert elf.confirm(b"/nonexistent").startswith("pyelftools: ")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"'-flto=3' '-O2'\0", [b"-flto=3"]),
        (b"'-O2' '-flto'\0'-flto=auto'\0", [b"-flto", b"-flto=auto"]),
        (b"'-flto-partition=none' '-flto-compression-level=3' '-fltrans'\0", []),
        (b"'-DX='\\''-flto=9'\\''' '-flto=2'\0", [b"-flto=2"]),
        (b"'-flto=2' '-DX= '\\'''\0'-flto=4", [b"-flto=2"]),
        (b"'-flto=\xff' '' '-flto='\0", [b"-flto=\xff", b"-flto="]),
        (b"", []),
        (b"'", []),
        (b"-flto", []),
    ],
)
def test_recorded_words_are_split_by_gccs_quoting(options: bytes, expected: list[bytes]) -> None:
    r"""C8: words are quoted with apostrophes, an apostrophe inside is `'\''`, and a missing closing quote ends the string."""
    assert expected == gcc.flto_options(options)
