#!/usr/bin/env python3
"""Fuzz the readers of ldshim/ir with atheris: bitcode, ELF with GCC's sections, archives.

    python tests/fuzz/fuzz_ir.py bitcode|elf|coff|archive [libFuzzer options] [corpus directories]
    python tests/fuzz/fuzz_ir.py elf -max_total_time=600

The fixtures are the seeds. A reader may raise MalformedError, and nothing else; a run of the whole scan may raise nothing and must keep to
its bounds. A crasher goes to fixtures/ir as `crash-<what was wrong>`, with its row in test_ir_fixtures.py.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["ldshim"]):
    from ldshim.command.argv import Input
    from ldshim.inputs import archive, bitcode, coff, elf, gcc
    from ldshim.inputs.extent import ARCHIVE, COFF, THIN_ARCHIVE, Extent, MalformedError, Meter, open_regular
    from ldshim.inputs.scan import scan

SEEDS = {
    "bitcode": ("thin.o", "full.o", "plain.bc", "unified.o", "wrapped.bc", "thin-module-that-ends-at-once.o"),
    "elf": ("slim.o", "fat.o", "merged.o", "native.o", "native-i386.o", "native-powerpc.o", "fat-thin.o"),
    "coff": ("coff-slim.o", "coff-fat.o", "coff-big.o", "coff-merged.o", "coff-native.o", "coff-slim-name-in-base64.o"),
    "archive": ("gnu.a", "bsd.a", "thin-archive.a", "coff.a", "coff-import.dll.a"),
}


def bitcode_once(extent: Extent) -> None:
    """Read one input as bitcode."""
    if extent.head.startswith((bitcode.MAGIC, bitcode.WRAPPER)):
        found = bitcode.read(extent)
        assert found.thin + found.full <= bitcode.MODULES_LIMIT


def elf_once(extent: Extent) -> None:
    """Read one input as an object, with what GCC left in it."""
    if extent.head.startswith(elf.MAGIC):
        traces_once(extent, elf.read(extent))


def coff_once(extent: Extent) -> None:
    """Do the same with a COFF object."""
    if extent.head.startswith(COFF):
        found = coff.read(extent)
        if found is not None:
            traces_once(extent, found)


def traces_once(extent: Extent, found: gcc.Object) -> None:
    """Read what GCC left."""
    traces = gcc.read(extent, found)
    if traces is not None:
        gcc.flto_options(traces.options)
        assert traces.size <= extent.size


def archive_once(extent: Extent) -> None:
    """List one input as an archive."""
    if extent.head.startswith((ARCHIVE, THIN_ARCHIVE)):
        for member in archive.members(extent):
            assert member.data is None or member.data.size <= extent.size


READERS = {"bitcode": bitcode_once, "elf": elf_once, "coff": coff_once, "archive": archive_once}


def main() -> None:
    """Fuzz the reader named first, then the scan around it, on every input."""
    reader = READERS[sys.argv.pop(1)]
    name = next(key for key, value in READERS.items() if value is reader)
    directory = Path(tempfile.mkdtemp(prefix="fuzz-ir-"))
    corpus = directory / "corpus"
    corpus.mkdir()
    for seed in SEEDS[name]:
        (corpus / seed).write_bytes((ROOT / "fixtures" / "ir" / seed).read_bytes())
    path = os.fsencode(directory / "input")

    def once(data: bytes) -> None:
        Path(os.fsdecode(path)).write_bytes(data)
        extent = open_regular(path, len(data), Meter(1 << 30, 1_000_000))
        try:
            reader(extent)
        except MalformedError:
            pass
        finally:
            os.close(extent.fd)
        found = scan([Input(path)])
        assert not [reason for reason in found.reasons if reason.startswith("internal")], found.reasons
        assert found.bytes_read <= 64 * len(data) + (64 << 10), (found.bytes_read, len(data))

    atheris.Setup([*sys.argv, str(corpus), "-max_len=16384", "-timeout=10"], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
