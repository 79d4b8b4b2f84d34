"""What the inputs of one link are, added up, and what that says about how many jobs it could use.

Members of archives are lazy: a linker takes only those that are needed, and nobody knows which before it has run. So every count is an
upper bound. That is the harmless direction: a number too high asks for tokens that the warden gives back, a number too low is a slow link.
"""

from __future__ import annotations

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
    bytes_read: by us, from all files; reasons: notes worth logging.
    """

    __slots__ = (
        "bytes_read", "complete", "fat_bytes", "fat_full", "fat_thin", "full", "gcc_bytes", "gcc_fat", "gcc_major", "gcc_slim",
        "llvm_bytes", "native", "native_bytes", "other", "reasons", "recorded", "shared", "split", "thin", "unified",
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
        self.other = 0
        self.complete = True
        self.bytes_read = 0
        self.reasons: list[str] = []

    def note(self, reason: str) -> None:
        """Keep a reason, unless there are plenty."""
        if len(self.reasons) < REASONS_LIMIT:
            self.reasons.append(reason)
