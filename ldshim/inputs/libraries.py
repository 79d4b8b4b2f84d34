"""Find the file of `-lfoo` in the -L directories, and read linker scripts in place of libraries.

`libfoo.so` may be a linker script: `libc.so` and `libc++.so` hold GROUP ( ... ). The inputs of a script that only names inputs are read.
Any other script (a kernel's vmlinux.lds) does not matter for LTO.

Only the directories of the command line are searched. A linker's default directories hold no LTO libraries that matter, and depend on the
target.

Sources: bfd/ld ldfile.c ldfile_open_file, ldgram.y; lld/ELF/DriverUtils.cpp searchLibrary, ScriptParser.cpp addFile.
"""

from __future__ import annotations

from .extent import stat_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

SCRIPT_LIMIT = 64 << 10
_INPUTS = (b"INPUT", b"GROUP", b"AS_NEEDED")
_IGNORED = (b"OUTPUT_FORMAT", b"OUTPUT_ARCH", b"SEARCH_DIR", b"TARGET")
_PUNCTUATION = (b"(", b")", b",", b";")


def directories(given: Sequence[bytes], sysroot: bytes) -> list[bytes]:
    """Return the -L directories as paths: a leading `=` or `$SYSROOT` stands for the sysroot."""
    out = []
    for directory in given:
        for mark in (b"=", b"$SYSROOT"):
            if directory.startswith(mark):
                out.append(sysroot + directory[len(mark) :])
                break
        else:
            out.append(directory)
    return out


def find(name: bytes, static: bool, dirs: Sequence[bytes]) -> tuple[bytes, os.stat_result] | None:
    """Find the file of -l<name>: its path and stat, None where there is none.

    In each directory libNAME.so (unless static) comes before libNAME.a. `:NAME` is a file name.
    """
    if name.startswith(b":"):
        candidates = [name[1:]]
    elif static:
        candidates = [b"lib%b.a" % name]
    else:
        candidates = [b"lib%b.so" % name, b"lib%b.a" % name]
    for directory in dirs:
        for candidate in candidates:
            path = b"%b/%b" % (directory, candidate)
            found = stat_regular(path)
            if found is not None:
                return path, found
    return None


def script_inputs(text: bytes) -> list[tuple[bytes, bool]] | None:
    """Return the inputs that a linker script names, as (name, library); None where it does more than that, or is no script."""
    out: list[tuple[bytes, bool]] = []
    if b"\0" in text:
        return None
    tokens = _tokens(text)
    for command in tokens:
        if command == b";":
            continue
        if command not in _INPUTS + _IGNORED or next(tokens, b"") != b"(":
            return None
        inside = _parenthesis(tokens)
        if inside is None:
            return None
        if command in _INPUTS:
            out.extend((token[2:], True) if token.startswith(b"-l") else (token, False) for token in inside if token not in _INPUTS)
    return out


def _parenthesis(tokens: Iterator[bytes]) -> list[bytes] | None:
    """Return the tokens up to the closing parenthesis, without punctuation; None where it is missing."""
    depth = 1
    out: list[bytes] = []
    for token in tokens:
        if token in (b"(", b")"):
            depth += 1 if token == b"(" else -1
            if not depth:
                return out
        elif token not in _PUNCTUATION:
            out.append(token)
    return None


def _tokens(text: bytes) -> Iterator[bytes]:
    """Split a script into names, quoted names and punctuation, without comments."""
    at, end = 0, len(text)
    token = b""
    while at < end:
        char = text[at : at + 1]
        if char == b"/" and text.startswith(b"/*", at):
            close = text.find(b"*/", at + 2)
            at = end if close < 0 else close + 2
            continue
        if char == b'"':
            close = text.find(b'"', at + 1)
            close = end if close < 0 else close
            yield text[at + 1 : close]
            at = close + 1
            continue
        if char in _PUNCTUATION or char.isspace():
            if token:
                yield token
            token = b""
            if not char.isspace():
                yield char
        else:
            token += char
        at += 1
    if token:
        yield token


def script_paths(name: bytes, script: bytes, dirs: Sequence[bytes], sysroot: bytes) -> Iterator[bytes]:
    """Yield the paths at which to look for a file that a script names, best first. script: the script's path."""
    if name.startswith(b"="):
        yield sysroot + name[1:]
    elif name.startswith(b"/"):
        if sysroot and script.startswith(sysroot):  # a script inside the sysroot names files inside the sysroot
            yield sysroot + name
        yield name
    else:
        yield script[: script.rfind(b"/") + 1] + name
        yield name
        for directory in dirs:
            yield b"%b/%b" % (directory, name)
