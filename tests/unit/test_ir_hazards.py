"""Any file in a build tree gives a result: bounded, without blocking, without an exception."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldshim.command.argv import Input
from ldshim.inputs import elf, scan
from ldshim.inputs.extent import MalformedError, Meter, open_regular
from tests.support.ir_objects import CLANG, GCC, clang, counts, look, run
from tests.support.ir_objects import gcc as compile_gcc

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = Path(__file__).parents[2] / "fixtures" / "ir"


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("directory", lambda path: path.mkdir()),
        ("fifo", os.mkfifo),
        ("device", lambda path: path.symlink_to("/dev/zero")),
        ("terminal", lambda path: path.symlink_to("/dev/tty")),
        ("missing", lambda path: path.symlink_to("/nonexistent")),
        ("loop", lambda path: path.symlink_to(path.name)),
        ("through a file", lambda path: path.symlink_to("/etc/hostname/x")),
        ("socket", lambda path: socket.socket(socket.AF_UNIX).bind(str(path))),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_regular_file_is_never_opened(
    name: str, make: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C8: directories, FIFOs, devices and dangling links count as `other` without being opened, as operands and as libraries."""
    path = tmp_path / "libx.so"
    make(path)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail(f"opened a {name}"))
    found = look(path, "-lx", dirs=[tmp_path])
    assert counts(found) == {"other": 1}
    assert found.bytes_read == 0


def test_a_path_that_becomes_a_fifo_does_not_block(tmp_path: Path) -> None:
    """C8: where a FIFO replaces the file between stat and open, the open returns and the read fails."""
    path = os.fsencode(tmp_path / "late")
    os.mkfifo(path)
    with pytest.raises(OSError, match="Illegal seek"):
        open_regular(path, 4096, Meter(1 << 20, 1))
    assert not [fd for fd in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{fd}") == os.fsdecode(path)]


def test_unreadable_files_are_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C8: a file that may not be opened is `other`, with the reason (the refusal is simulated, because root may open anything)."""
    path = tmp_path / "secret.o"
    path.write_bytes(b"\x7fELF")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    found = look(path)
    assert counts(found) == {"other": 1}
    assert [f"{path}: Permission denied"] == found.reasons


@pytest.mark.parametrize("start", [b"", b"\x7fELF\2\1\1", b"BC\xc0\xde", b"!<arch>\n", b"!<thin>\n", b"\xde\xc0\x17\x0b", b"INPUT("])
def test_huge_sparse_files_cost_little(start: bytes, tmp_path: Path) -> None:
    """C8: five gigabytes of zeros after any magic need a few kilobytes of reads."""
    path = tmp_path / "sparse.o"
    with path.open("wb") as stream:
        stream.write(start)
        stream.truncate(5 << 30)
    found = look(path)
    assert counts(found) in ({"other": 1}, {"native": 1}, {})
    assert found.bytes_read < 64 << 10


def elf_object(count: int, names: int, name: bytes = b".gnu.lto_.symtab.1", *, shnum: int | None = None, type_: int = 1) -> bytes:
    """Build an ELF64 object of `count` sections with one name, the names in section `names`, with extended numbering where needed."""
    strings = b"\0" + name + b"\0"
    table = 64 + len(strings)
    extended = count >= 0xFF00
    header = b"\x7fELF\2\1\1" + b"\0" * 9 + struct.pack("<HHIQQQIHHHHHH", type_, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 0, 0)
    header = header[:60] + struct.pack("<HH", (0 if extended else count) if shnum is None else shnum, 0xFFFF if extended else names)
    first = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, count if extended else 0, names if extended else 0, 0, 0, 0)
    other = struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, 64, 0, 0, 0, 1, 0)
    last = struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, 64, len(strings), 0, 0, 1, 0)
    rows = [first] + [other] * (count - 1)
    rows[names] = last
    return header + strings + b"".join(rows)


@pytest.mark.parametrize("count", [3, 0xFEFF, 0xFF00, 70_000])
def test_more_sections_than_the_header_can_hold(count: int, tmp_path: Path) -> None:
    """C8: from 65 280 sections on, their number and the index of the names are in the first section header (SHN_XINDEX)."""
    path = tmp_path / "many.o"
    path.write_bytes(elf_object(count, count - 1))
    assert b"Number of section headers" in run("readelf", "-h", path)
    assert counts(look(path)) == {"gcc_slim": 1}


def test_a_real_object_of_seventy_thousand_sections(tmp_path: Path) -> None:
    """C8: the assembler's extended numbering is read, with IR after section 65 280."""
    lines = [f'.section .text.f{n},"ax",@progbits\n.byte 0' for n in range(66_000)]
    lines.append('.section .gnu.lto_.symtab.abc,"e",@progbits\n.byte 1')
    source = tmp_path / "t.s"
    source.write_text("\n".join(lines) + "\n")
    run("as", source, "-o", tmp_path / "t.o")
    assert counts(look(tmp_path / "t.o")) == {"gcc_fat": 1}


@pytest.mark.parametrize(
    ("what", "patch", "expected"),
    [
        ("more sections than the file has", lambda data: data[:60] + b"\xff\xfe" + data[62:], "other"),
        ("names in a section that is not there", lambda data: data[:62] + b"\x50\0" + data[64:], "other"),
        ("section headers of a strange size", lambda data: data[:58] + b"\x41\0" + data[60:], "other"),
        ("a section table beyond the end", lambda data: data[:40] + b"\xff" * 8 + data[48:], "other"),
        ("no section table", lambda data: data[:40] + b"\0" * 8 + data[48:], "native"),
        ("an unknown class", lambda data: data[:4] + b"\3" + data[5:], "other"),
        ("an unknown byte order", lambda data: data[:5] + b"\0" + data[6:], "other"),
        ("a header cut off", lambda data: data[:40], "other"),
        ("a core file", lambda data: data[:16] + b"\4\0" + data[18:], "gcc_slim"),
    ],
)
def test_contradictory_elf_headers(what: str, patch: Callable[[bytes], bytes], expected: str, tmp_path: Path) -> None:
    """C8: a header that contradicts the file is `other` with a note, never an exception, never a large read."""
    path = tmp_path / "lie.o"
    path.write_bytes(patch(elf_object(4, 3)))
    found = look(path)
    assert counts(found) == {expected: 1}, what
    assert (expected == "other") == bool(found.reasons)
    assert found.bytes_read < 8192


def test_names_larger_than_any_compiler_writes(tmp_path: Path) -> None:
    """C8: of a gigabyte of section names only those are read that can matter."""
    data = bytearray(elf_object(3, 2))
    struct.pack_into("<Q", data, len(data) - 32, 1 << 30)
    path = tmp_path / "names.o"
    path.write_bytes(data)
    os.truncate(path, 2 << 30)
    found = look(path)
    assert counts(found) == {"native": 1}
    assert found.bytes_read < 8192


def test_the_bound_on_records_is_one_for_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C8: a link of very many modules that must be parsed stops at the bound, and its result is not complete."""
    path = clang(CLANG, tmp_path, "-emit-llvm")
    copies = []
    for index in range(8):
        copies.append(tmp_path / f"copy{index}.o")
        copies[-1].write_bytes(path.read_bytes())
    monkeypatch.setattr(scan, "STEPS_LIMIT", 200)
    found = look(*copies)
    assert 0 < found.full < 8
    assert not found.complete
    assert ["stopped early: too many bitcode records"] == found.reasons


def test_the_bound_on_bytes_is_one_for_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C8: no link reads more than the bound, however many files it has."""
    path = compile_gcc(GCC, tmp_path, "-flto")
    copies = []
    for index in range(8):
        copies.append(tmp_path / f"copy{index}.o")
        copies[-1].write_bytes(path.read_bytes())
    monkeypatch.setattr(scan, "READ_LIMIT", 20_000)
    found = look(*copies)
    assert 0 < found.gcc_slim < 8
    assert not found.complete
    assert found.bytes_read <= 20_000


def test_an_internal_error_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C1: an unexpected exception ends the scan, not the link."""
    path = compile_gcc(GCC, tmp_path)

    def broken(_: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(elf, "read", broken)
    found = look(path)
    assert not found.complete
    assert ["internal: KeyError: 'bug'"] == found.reasons


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    """C8: a file that is shorter than its stat is a truncated file."""
    path = compile_gcc(GCC, tmp_path, "-flto")
    data = path.read_bytes()
    extent = open_regular(os.fsencode(path), len(data), Meter(1 << 30, 1))
    try:
        os.truncate(path, 4096)
        with pytest.raises(MalformedError, match="truncated"):
            elf.read(extent)
    finally:
        os.close(extent.fd)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    """C8: every descriptor is closed, for any kind of file."""
    before = sorted(os.listdir("/proc/self/fd"))
    look(*FIXTURES.iterdir(), tmp_path, "-lnothing", dirs=[tmp_path])
    assert before == sorted(os.listdir("/proc/self/fd"))


def test_strange_names_do_not_matter() -> None:
    """C8: empty names, names with NUL or invalid UTF-8, and very long names are files that do not exist."""
    names = [b"", b"\0", b"a\0b", b"\xff\xfe", b"x" * 5000, b"/" * 5000, b"-"]
    found = scan.scan([Input(name) for name in names] + [Input(name, library=True) for name in names], [b"", b"\0", b"\xff"], b"\0")
    assert found.complete
    assert found.native == found.gcc_slim == found.thin == 0


def test_notes_are_few(tmp_path: Path) -> None:
    """C8: ten thousand invalid objects cause a few notes."""
    for index in range(100):
        (tmp_path / f"{index}.o").write_bytes(b"\x7fELF")
    found = look(*tmp_path.iterdir())
    assert (100, 16) == (found.other, len(found.reasons))
