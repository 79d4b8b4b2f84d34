"""What the inputs of one link are, added up, and what that says about how many jobs it could use.

Members of archives are lazy: a linker takes only those that are needed, and nobody knows which before it has run. So every count is an
upper bound. That is the harmless direction: a number too high asks for tokens that the warden gives back, a number too low is a slow link.
"""

from __future__ import annotations

# What GCC uses where --param says nothing (params.opt); lto-partitions became 512 in GCC 16 (2025-09-03).
LTO_PARTITIONS = 128
LTO_PARTITIONS_8 = 32
LTO_PARTITIONS_16 = 512
LTO_MIN_PARTITION = 10_000  # estimated instructions

BYTES_PER_THREE_INSNS = 5  # see gcc_partitions; a fraction, so that no float gets in

# Recorded by one object, these win over whatever the others recorded (gcc/lto-wrapper.cc, merge_and_complain).
ENDS_THE_QUESTION = (b"-flto=auto", b"-flto=jobserver")

REASONS_LIMIT = 16  # notes kept; a link of ten thousand broken objects needs no more to be understood


class Findings:
    """The inputs of one link. Counts are modules or objects, sizes are bytes; all are upper bounds where archives are lazy.

    thin, full: LLVM modules for ThinLTO and for full LTO, in bitcode inputs; unified, split: some module has that flag;
    fat_thin, fat_full, fat_bytes: modules in `.llvm.lto` sections, which count only with `--fat-lto-objects` (the caller decides; unified
    and split speak of these too);
    gcc_slim, gcc_fat: objects that GCC's plugin would claim, with and without native code; gcc_bytes: their `.gnu.lto_` sections, as
    stored;
    gcc_major: the highest GCC major seen in one, 0 when none says;
    recorded: the distinct -flto words these objects recorded, in order of first sight (b"-flto", b"-flto=auto", b"-flto=5");
    native, native_bytes: ELF objects without IR; shared: shared libraries;
    other: anything else, such as linker scripts, and what is missing, unreadable or corrupt;
    complete: False when reading stopped because the answer could not change any more, or at a bound (then reasons says which);
    seen_bytes: of the objects that were looked at, unread_bytes: an estimate of those that were not, without libraries;
    bytes_read: by us, from all files; reasons: notes worth logging;
    unmeasured: a module whose backend nobody compared (bitcode.is_measured), "" for none; only where that was asked for.
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
        """Estimate how many bytes of some kind the link has, from those that were read: the rest is taken to be like what was seen."""
        return read + self.unread_bytes * read // max(1, self.seen_bytes)

    def note(self, reason: str) -> None:
        """Keep a reason, unless there are plenty."""
        if len(self.reasons) < REASONS_LIMIT:
            self.reasons.append(reason)


def default_partitions(major: int) -> int:
    """Return the default of --param lto-partitions (gcc/params.opt): it grew in GCC 9 and in 16."""
    return LTO_PARTITIONS_16 if major >= 16 else LTO_PARTITIONS if major >= 9 else LTO_PARTITIONS_8


def gcc_partitions(size: int, major: int, partitions: int = 0, min_partition: int = 0) -> int:
    """Return an upper bound on the LTRANS partitions that GCC makes of so many bytes of IR: 1 or more.

    size: Findings.gcc_bytes; major: of the GCC that links; partitions, min_partition: --param lto-partitions and
    lto-min-partition from the link line, 0 when not given. (--param lto-max-partition, a million instructions, is not modelled.)

    The rule: GCC cuts the program in lto-partitions parts, but none smaller than lto-min-partition estimated instructions
    (lto-partition.cc, lto_balanced_map), and an instruction takes 5/3 bytes of compressed IR or more. Measured by the number of LTRANS
    lines in lto-wrapper's makefile, GCC 11, 12 and 16, bytes for each instruction of a partition: 1.7 for functions of 300 identical
    calls out of a macro, 6.3 for 3000 identical stores, 7.1 for chains of calls, 8.2 for always_inline, 16 to 46 for zstd, brotli and
    lua at -O2 to -Os, 72 for C++ templates, 75 for pycryptodome, 256 for tables. So the bound was never too low, and is 10 to 40 times
    too high for real programs until lto-partitions cuts it off: zstd made 16 partitions where it says 128, brotli 5 or 6 where it
    says 128, lua 5 where it says 90.
    """
    limit = partitions or default_partitions(major)
    return max(1, min(limit, -(-3 * size // (BYTES_PER_THREE_INSNS * (min_partition or LTO_MIN_PARTITION)))))


def enough_for(partitions: int, min_partition: int = 0) -> int:
    """Return how many bytes of IR bring gcc_partitions to so many partitions."""
    return partitions * BYTES_PER_THREE_INSNS * (min_partition or LTO_MIN_PARTITION) // 3 + 1
