"""Read what a tool prints for `--version`: which family it belongs to, and its version. Pure: bytes in, a Tool out.

The banner is written for people, and everybody who builds a toolchain writes into it: a vendor's name stands in front (`Debian LLD 19`),
in brackets behind the name (`gcc (Arm GNU Toolchain 13.3.Rel1 (Build arm-13.24)) 13.3.1`) and in brackets behind the version
(`gcc (GCC) 15.1.1 20250521 (Red Hat 15.1.1-2)`). The consequence: brackets nest and say nothing about the version, with one exception:
gold prints the version of binutils inside them. fixtures/banners.json holds the banners that this was written for, and where each
was seen.

Two rules keep a wrong reading harmless. A family is certain or it is "": another tool's options are fatal. A version that is not certain
is NEWEST, which compares as later than every other, so that no reader of a version has to think of the case (C8).
"""

from __future__ import annotations

NEWEST = 1 << 30
UNKNOWN = (NEWEST,)

_LONGEST = 1000  # bytes of a first line that are read


class Tool:
    """What is certain about a tool.

    family: gcc, clang, lld, bfd, gold, mold, wild, or "" when nothing is; version: its numbers, (NEWEST,) when unknown; gold's is that of
    its binutils, a clang's that of its LLVM; banner: its first line.
    """

    __slots__ = ("banner", "family", "version")

    def __init__(self, banner: bytes) -> None:
        first = banner.split(b"\n", 1)[0][:_LONGEST]
        self.banner = first[:200]
        self.family = _family(first, banner)
        self.version = _version(first, self.family) or UNKNOWN

    @property
    def major(self) -> int:
        """The first number of the version; NEWEST when unknown."""
        return self.version[0]

    @property
    def gcc_major(self) -> int:
        """The first number of a GCC driver's version; NEWEST for any other tool: nobody has asked the driver above a linker."""
        return self.major if self.family == "gcc" else NEWEST

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as the tool prints it, () when unknown."""
        return () if self.version is UNKNOWN else self.version


# family, what only it prints, True where a vendor's name may stand in front, what the line must also say, where seen.
# In the order of asking: wild, mold and lld all claim to be compatible with the GNU linkers.
BANNERS: tuple[tuple[str, bytes, bool, bytes, str], ...] = (
    ("wild", b"Wild ", False, b"compatible with GNU linkers", "0.7: `Wild version`; trunk of 2026: `Wild 0.8.0`, `Wild HASH`"),
    ("mold", b"mold ", False, b"compatible with GNU ld", "1.1 to 3.0; `mold (sold)`"),
    # wasm-ld, ld64.lld and lld-link print no such claim, and speak other command lines.
    ("lld", b"LLD ", True, b"compatible with GNU linkers", "7 to 24"),
    ("gold", b"GNU gold ", False, b"", "binutils 2.22 to 2.44"),
    ("bfd", b"GNU ld ", False, b"", "binutils 2.20 to 2.47"),
    ("clang", b"clang version ", True, b"", "3.8 to 24"),
    ("clang", b"Intel(R) oneAPI DPC++/C++ Compiler ", False, b"", "icx 2024.1; LLVM's number is not printed"),
)

# The number behind `clang version` is their own release's, not LLVM's.
OWN_NUMBERS = (b"Apple ", b"Cray ")

# With `-m` one of these, ld.lld is another linker, which prints the same banner: its options are MinGW's, and up to 16 it refuses
# --threads (lld/Common/DriverDispatcher.cpp, isPETarget; run with 14, 16 and 19).
PE_EMULATIONS = (b"i386pe", b"i386pep", b"thumb2pe", b"arm64pe", b"arm64ecpe")


def _family(first: bytes, banner: bytes) -> str:
    for family, words, vendor, also, _ in BANNERS:
        at = first.find(words)
        if (at == 0 or (vendor and at > 0 and first[at - 1 : at] == b" ")) and also in first:
            return "" if family == "clang" and _is_zig(banner) else family
    return "gcc" if _is_gcc(first, banner) else ""


def _is_gcc(first: bytes, banner: bytes) -> bool:
    """Tell a GCC driver: `NAME (PACKAGE) VERSION`, then the copyright of the FSF. The name is what it was called by, so anything.

    Other programs of the GNU project begin with `GNU`, or print the name of a licence (`ls (GNU coreutils)`), or no package (gnatmake).
    gfortran prints `GNU Fortran` for its name (gcc/gcc.cc, gcc/fortran/gfortranspec.cc).
    """
    second = banner.split(b"\n", 2)[1:2]
    if b" (" not in first or not second or not second[0].startswith(b"Copyright "):
        return False
    if b"Free Software Foundation" not in second[0] or b"License" in banner:
        return False
    return not first.startswith(b"GNU ") or first.startswith(b"GNU Fortran (")


def _is_zig(banner: bytes) -> bool:
    """Tell `zig cc`, which prints clang's banner and refuses `-Wl,--threads=N` (zig 0.17.1).

    Up to LLVM 20 it names ziglang/zig-bootstrap, later only a target that no clang prints: `x86_64-unknown-linux6.18.44-gnu2.36.0`.
    """
    if b"ziglang" in banner:
        return True
    target = banner.partition(b"\nTarget: ")[2].split(b"\n", 1)[0]
    return target.partition(b"-linux")[2][:1].isdigit()


def _version(first: bytes, family: str) -> tuple[int, ...]:
    """Read the version out of a banner's first line, () where it is not certain: the first number behind the name, outside brackets."""
    if not family:
        return ()
    if family == "gcc":
        return _first(_outside(first[first.index(b" (") :]))
    words = next(words for name, words, *_ in BANNERS if name == family and words in first)
    before, _, after = first.partition(words)
    if family == "gold":
        return _first(_outside(after.partition(b"(")[2].rpartition(b")")[0])[::-1])
    if before.endswith(OWN_NUMBERS) or words.startswith(b"Intel"):
        return ()
    return _first(_outside(after))


def _outside(text: bytes) -> list[bytes]:
    """Return the words of text that stand in no bracket."""
    out = bytearray()
    depth = 0
    for byte in text:
        if byte in b"([":
            depth += 1
        elif byte in b")]":
            depth = max(0, depth - 1)
            out += b" "
        elif not depth:
            out.append(byte)
    return bytes(out).split()


def _first(words: list[bytes]) -> tuple[int, ...]:
    return next((found for found in map(numbers, words) if found), ())


def numbers(word: bytes) -> tuple[int, ...]:
    """Read `12.2.0`, `20.0.0git`, `4.9.x`, `12-win32`, `2.35.2-42.el9`; () for a date, a git hash and any other word."""
    found: list[int] = []
    for part in word.split(b"."):
        rest = part.lstrip(b"0123456789")
        digits = part[: len(part) - len(rest)]
        # A release has three digits at most, and nothing grows on it but a dash: 20250521 and 7f5cf00b are no versions.
        if not digits or len(digits) > (9 if found else 3) or (not found and rest[:1] not in b"-+_~"):
            break
        found.append(int(digits))
        if rest:
            break
    return tuple(found)
