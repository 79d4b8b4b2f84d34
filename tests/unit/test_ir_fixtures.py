"""The files of fixtures/ir: each real one has the kind in its name, each corruption has a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ir_objects import counts, look

FIXTURES = Path(__file__).parents[2] / "fixtures" / "ir"
FULL = {"full": 1}
THIN = {"thin": 1}
OTHER = {"other": 1}

EXPECTED: dict[str, dict[str, int]] = {
    "thin.o": THIN,
    "full.o": FULL,
    "plain.bc": FULL,
    "unified.o": THIN,
    "wrapped.bc": THIN,
    "fat-thin.o": {"fat_thin": 1},
    "native.o": {"native": 1},
    "native-i386.o": {"native": 1},
    "native-powerpc.o": {"native": 1},
    "slim.o": {"gcc_slim": 1},
    "fat.o": {"gcc_fat": 1},
    "merged.o": {"gcc_slim": 1},
    "gnu.a": {"thin": 1, "native": 1, "gcc_slim": 1},
    "bsd.a": {"thin": 1, "native": 1},
    "thin-archive.a": {"thin": 1, "native": 1},
    "thin-cut-in-the-module.o": OTHER,
    "thin-cut-in-a-header.o": OTHER,
    "thin-block-longer-than-the-file.o": OTHER,
    "thin-module-that-ends-at-once.o": THIN,  # its end still says so; LLVM refuses it
    "wrapped-beyond-the-end.bc": OTHER,
    "wrapped-cut.bc": OTHER,
    "slim-cut-before-the-sections.o": OTHER,
    "slim-more-sections-than-there-are.o": OTHER,
    "slim-names-beyond-the-sections.o": OTHER,
    "slim-sections-beyond-the-end.o": OTHER,
    "gnu-size-that-is-no-number.a": OTHER,
    "gnu-size-that-is-negative.a": OTHER,
    "gnu-size-beyond-the-end.a": {"thin": 1, "other": 1},  # what is there of the member is looked at
    "gnu-name-beyond-the-table.a": OTHER,
    "gnu-header-without-its-end.a": OTHER,
    "gnu-cut-in-a-header.a": OTHER,
    "gnu-cut-in-a-member.a": {"other": 2},
    "bsd-name-longer-than-the-member.a": {"thin": 1, "other": 1},
    "coff-slim.o": {"gcc_slim": 1},
    "coff-fat.o": {"gcc_fat": 1},
    "coff-big.o": {"gcc_slim": 1},
    "coff-merged.o": {"gcc_slim": 1},
    "coff-slim-of-arm64.o": {"gcc_slim": 1},
    "coff-slim-name-in-base64.o": {"gcc_slim": 1},
    "coff-native.o": {"native": 1},
    "coff-native-i386.o": {"native": 1},
    "coff-native-arm64.o": {"native": 1},
    "coff-native-armnt.o": {"native": 1},
    "coff.a": {"gcc_slim": 1, "gcc_fat": 1, "native": 1},
    "coff-import.dll.a": {"native": 4},
    "coff-slim-name-beyond-the-strings.o": {"native": 1},  # it was the name by which GCC's plugin claims a file
    "coff-slim-name-that-is-no-number.o": {"native": 1},
    "coff-slim-cut-in-the-header.o": OTHER,
    "coff-slim-cut-in-the-sections.o": OTHER,
    "coff-slim-cut-in-the-strings.o": OTHER,
    "coff-slim-more-sections-than-there-are.o": OTHER,
    "coff-slim-symbols-beyond-the-end.o": OTHER,
    "coff-slim-strings-beyond-the-end.o": OTHER,
    "coff-big-more-sections-than-there-are.o": OTHER,
    "coff-big-cut-in-the-header.o": OTHER,
    "coff-big-of-an-unknown-class.o": {"native": 1},  # whatever MSVC left there
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_stored_files(name: str) -> None:
    """C8: real files are classified, corrupt ones are not LTO and leave a note, and hardly more than the size of each is read."""
    path = FIXTURES / name
    found = look(path)
    assert EXPECTED[name] == counts(found)
    assert ("other" in EXPECTED[name]) == bool(found.reasons)
    assert found.complete
    assert not [reason for reason in found.reasons if reason.startswith("internal")]
    assert found.bytes_read <= 3 * path.stat().st_size + 8192


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("coff-slim.o", [b"-flto=5"]),
        ("coff-big.o", [b"-flto=5"]),
        ("coff-fat.o", [b"-flto=auto"]),
        ("coff-merged.o", [b"-flto=5", b"-flto=auto"]),
        ("coff.a", [b"-flto=5", b"-flto=auto"]),
    ],
)
def test_what_coff_objects_recorded(name: str, recorded: list[bytes]) -> None:
    """C8: GCC's version and the -flto options of its objects are read from COFF as from ELF."""
    found = look(FIXTURES / name)
    assert (12, recorded) == (found.gcc_major, found.recorded)


def test_every_file_is_expected() -> None:
    """C8: every fixture is used by a test."""
    there = {path.name for path in FIXTURES.iterdir() if path.suffix in (".o", ".a", ".bc")}
    assert set(EXPECTED) == there
