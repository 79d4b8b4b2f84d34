"""Parse a tool's banner, which is the output of `--version`: the tool's family and version. Pure: bytes in, a Tool out.

A banner is text for people, and every vendor of a toolchain adds to it: before the name (`Debian LLD 19`), in parentheses after the name
(`gcc (Arm GNU Toolchain 13.3.Rel1 (Build arm-13.24)) 13.3.1`), in parentheses after the version
(`gcc (GCC) 15.1.1 20250521 (Red Hat 15.1.1-2)`). So parentheses may nest, and what is inside them does not count. gold is the exception: it
prints the version of binutils inside them. fixtures/banners.json holds the known banners, and where each was seen.

Two rules make a wrong result harmless. The family is "" unless it is certain, because another tool's options are errors. A version that is
not certain is NEWEST, which compares as later than every other, so that code which compares versions needs no special case (C8).
"""

from __future__ import annotations

NEWEST = 1 << 30
UNKNOWN = (NEWEST,)

_LONGEST = 1000  # bytes of a first line that are read


class Tool:
    """What is certain about a tool.

    family: gcc, clang, lld, bfd, gold, mold, wild, or "" where it is not certain; version: its numbers, (NEWEST,) when unknown (gold: of
    its binutils; clang: of its LLVM); banner: its first line.
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
        """The first number of a GCC driver's version; NEWEST for any other tool: the driver above a linker is not asked."""
        return self.major if self.family == "gcc" else NEWEST

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as the tool prints it, () when unknown."""
        return () if self.version is UNKNOWN else self.version


# family, text that only it prints, True where a vendor's name may precede it, text that the first line must also hold, where seen.
# The order matters: wild, mold and lld all claim to be compatible with the GNU linkers.
BANNERS: tuple[tuple[str, bytes, bool, bytes, str], ...] = (
    ("wild", b"Wild ", False, b"compatible with GNU linkers", "0.7: `Wild version`; trunk of 2026: `Wild 0.8.0`, `Wild HASH`"),
    ("mold", b"mold ", False, b"compatible with GNU ld", "1.1 to 3.0; `mold (sold)`"),
    # wasm-ld, ld64.lld and lld-link print no such claim, and have other options.
    ("lld", b"LLD ", True, b"compatible with GNU linkers", "7 to 24"),
    ("gold", b"GNU gold ", False, b"", "binutils 2.22 to 2.44"),
    ("bfd", b"GNU ld ", False, b"", "binutils 2.20 to 2.47"),
    ("clang", b"clang version ", True, b"", "3.8 to 24"),
    ("clang", b"Intel(R) oneAPI DPC++/C++ Compiler ", False, b"", "icx 2024.1; LLVM's number is not printed"),
)

# Vendors whose number after `clang version` is of their own release, not of LLVM.
OWN_NUMBERS = (b"Apple ", b"Cray ")

# With `-m` one of these, ld.lld is another linker with the same banner. Its options are MinGW's, and up to version 16 it rejects
# --threads (lld/Common/DriverDispatcher.cpp, isPETarget; run with 14, 16 and 19).
PE_EMULATIONS = (b"i386pe", b"i386pep", b"thumb2pe", b"arm64pe", b"arm64ecpe")


def _family(first: bytes, banner: bytes) -> str:
    for family, text, vendor, also, _ in BANNERS:
        at = first.find(text)
        if (at == 0 or (vendor and at > 0 and first[at - 1 : at] == b" ")) and also in first:
            return "" if family == "clang" and _is_zig(banner) else family
    return "gcc" if _is_gcc(first, banner) else ""


def _is_gcc(first: bytes, banner: bytes) -> bool:
    """Return whether this is a GCC driver: `NAME (PACKAGE) VERSION`, then the copyright of the FSF. The name is argv[0], so it may be any.

    Other programs of the GNU project begin with `GNU`, or print the name of a licence (`ls (GNU coreutils)`), or no package (gnatmake).
    gfortran prints `GNU Fortran` as its name (gcc/gcc.cc, gcc/fortran/gfortranspec.cc).
    """
    second = banner.split(b"\n", 2)[1:2]
    if b" (" not in first or not second or not second[0].startswith(b"Copyright "):
        return False
    if b"Free Software Foundation" not in second[0] or b"License" in banner:
        return False
    return not first.startswith(b"GNU ") or first.startswith(b"GNU Fortran (")


def _is_zig(banner: bytes) -> bool:
    """Return whether this is `zig cc`, which prints clang's banner and rejects `-Wl,--threads=N` (zig 0.17.1).

    Up to LLVM 20 it prints ziglang/zig-bootstrap, later only a target that no clang prints: `x86_64-unknown-linux6.18.44-gnu2.36.0`.
    """
    if b"ziglang" in banner:
        return True
    target = banner.partition(b"\nTarget: ")[2].split(b"\n", 1)[0]
    return target.partition(b"-linux")[2][:1].isdigit()


def _version(first: bytes, family: str) -> tuple[int, ...]:
    """Return the version in a banner's first line: the first number after the name, outside parentheses; () where it is not certain."""
    if not family:
        return ()
    if family == "gcc":
        return _first(_outside(first[first.index(b" (") :]))
    text = next(text for name, text, *_ in BANNERS if name == family and text in first)
    before, _, after = first.partition(text)
    if family == "gold":
        return _first(_outside(after.partition(b"(")[2].rpartition(b")")[0])[::-1])
    if before.endswith(OWN_NUMBERS) or text.startswith(b"Intel"):
        return ()
    return _first(_outside(after))


def _outside(text: bytes) -> list[bytes]:
    """Return the parts of text that are outside parentheses and brackets, split at spaces."""
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


def _first(parts: list[bytes]) -> tuple[int, ...]:
    return next((found for found in map(numbers, parts) if found), ())


def numbers(text: bytes) -> tuple[int, ...]:
    """Parse `12.2.0`, `20.0.0git`, `4.9.x`, `12-win32`, `2.35.2-42.el9`; () for a date, a git hash and any other text."""
    found: list[int] = []
    for part in text.split(b"."):
        rest = part.lstrip(b"0123456789")
        digits = part[: len(part) - len(rest)]
        # The first number has at most three digits, and only - + _ ~ may follow it: 20250521 and 7f5cf00b are no versions.
        if not digits or len(digits) > (9 if found else 3) or (not found and rest[:1] not in b"-+_~"):
            break
        found.append(int(digits))
        if rest:
            break
    return tuple(found)
