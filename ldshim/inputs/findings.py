"""Add up the inputs of one link, and compute how many jobs it could use.

A linker links only those members of an archive that are needed, and only the link itself shows which. So every count is an upper bound.
That is harmless: with too high a number the warden returns tokens that it does not need; with too low a number the link is slow.
"""

from __future__ import annotations

# GCC's defaults of --param (params.opt); lto-partitions became 512 in GCC 16 (2025-09-03).
LTO_PARTITIONS = 128
LTO_PARTITIONS_8 = 32
LTO_PARTITIONS_16 = 512
LTO_MIN_PARTITION = 10_000  # estimated instructions

BYTES_PER_THREE_INSNS = 5  # see gcc_partitions; a fraction avoids floats

# Recorded by one object, these override the options of all others (gcc/lto-wrapper.cc, merge_and_complain).
SETTLES = (b"-flto=auto", b"-flto=jobserver")

REASONS_LIMIT = 16  # notes of one link; more would not explain ten thousand invalid objects better


class Findings:
    """The inputs of one link. Counts are modules or objects, sizes are bytes; all are upper bounds where there are archives.

    thin, full: LLVM modules for ThinLTO and for full LTO, in bitcode inputs; unified, split: some module has that flag;
    fat_thin, fat_full, fat_bytes: modules in `.llvm.lto` sections, which count only with `--fat-lto-objects` (the caller decides; unified
    and split speak of these too);
    gcc_slim, gcc_fat: objects that GCC's plugin claims, without and with native code; gcc_bytes: their `.gnu.lto_` sections, as stored;
    gcc_major: the highest GCC major of these objects, 0 where none records it;
    recorded: the distinct -flto options that these objects record, in order (b"-flto", b"-flto=auto", b"-flto=5");
    native, native_bytes: ELF objects without IR; shared: shared libraries;
    other: anything else, such as linker scripts, and missing, unreadable or corrupt files;
    complete: False where the scan ended early, because more inputs cannot change the result, or at a limit (which reasons names);
    seen_bytes: of the objects that were read; unread_bytes: an estimate of those that were not, without libraries;
    bytes_read: by the scan, from all files; reasons: notes for the log;
    unmeasured: a module whose backend was never compared (bitcode.is_measured), "" for none; only where the scan was to look for one.
    """

    __slots__ = (
        "bytes_read", "complete", "fat_bytes", "fat_full", "fat_thin", "full", "gcc_bytes", "gcc_fat", "gcc_major", "gcc_slim",
        "llvm_bytes", "native", "native_bytes", "other", "reasons", "recorded", "seen_bytes", "shared", "split", "thin", "unified",
        "unmeasured", "unread_bytes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.thin = 0
        self.full = 0
        self.unified = False
        self.split = False
        self.fat_thin = 0
        self.fat_full = 0
        self.fat_bytes = 0
        self.gcc_slim = 0
        self.gcc_fat = 0
        self.gcc_bytes = 0
        self.gcc_major = 0
        self.recorded: list[bytes] = []
        self.native = 0
        self.native_bytes = 0
        self.shared = 0
        self.llvm_bytes = 0
        self.seen_bytes = 0
        self.unread_bytes = 0
        self.other = 0
        self.complete = True
        self.bytes_read = 0
        self.reasons: list[str] = []
        self.unmeasured = ""

    def in_all(self, read: int) -> int:
        """Estimate how many bytes of some kind the link has. read: those in the inputs that were read; the others count as similar."""
        return read + self.unread_bytes * read // max(1, self.seen_bytes)

    def note(self, reason: str) -> None:
        """Add a note, up to REASONS_LIMIT."""
        if len(self.reasons) < REASONS_LIMIT:
            self.reasons.append(reason)


def default_partitions(major: int) -> int:
    """Return the default of --param lto-partitions (gcc/params.opt): it grew in GCC 9 and in 16."""
    return LTO_PARTITIONS_16 if major >= 16 else LTO_PARTITIONS if major >= 9 else LTO_PARTITIONS_8


def gcc_partitions(size: int, major: int, partitions: int = 0, min_partition: int = 0) -> int:
    """Return an upper bound, at least 1, of the LTRANS partitions that GCC makes of so many bytes of IR.

    size: Findings.gcc_bytes; major: of the GCC that links; partitions, min_partition: --param lto-partitions and
    lto-min-partition of the arguments, 0 where not given. (--param lto-max-partition, a million instructions, is not modelled.)

    GCC divides the program into lto-partitions parts, none smaller than lto-min-partition estimated instructions (lto-partition.cc,
    lto_balanced_map). An instruction takes at least 5/3 bytes of compressed IR. Measured as the number of LTRANS lines in lto-wrapper's
    makefile, GCC 11, 12 and 16, bytes for each instruction of a partition: 1.7 for functions of 300 identical calls from a macro, 6.3 for
    3000 identical stores, 7.1 for chains of calls, 8.2 for always_inline, 16 to 46 for zstd, brotli and lua at -O2 to -Os, 72 for C++
    templates, 75 for pycryptodome, 256 for tables. So the bound was never too low. For real programs it is 10 to 40 times too high, up to
    lto-partitions: zstd has 16 partitions and a bound of 128, brotli 5 or 6 and 128, lua 5 and 90.
    """
    limit = partitions or default_partitions(major)
    return max(1, min(limit, -(-3 * size // (BYTES_PER_THREE_INSNS * (min_partition or LTO_MIN_PARTITION)))))


def enough_for(partitions: int, min_partition: int = 0) -> int:
    """Return from how many bytes of IR gcc_partitions returns so many partitions."""
    return partitions * BYTES_PER_THREE_INSNS * (min_partition or LTO_MIN_PARTITION) // 3 + 1
