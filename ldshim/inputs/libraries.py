"""Where `-lfoo` leads: the search along -L, and the linker scripts that stand where a library was expected.

`libfoo.so` need not be a library: `libc.so` and `libc++.so` are scripts that say GROUP ( ... ). A script that only names inputs is
followed. Any other (a kernel's vmlinux.lds) is a program for the linker, and says nothing about LTO.

Only the directories of the command line are searched. A linker's built-in ones hold no LTO libraries that anybody would miss, and guessing
them means guessing the target.

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
    """Find the file that -l<name> means, with its stat.

    In each directory libNAME.so (unless static) comes before libNAME.a; `:NAME` is a file name.
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
    """Return what a linker script names, as (name, library); None when it does more than name inputs, or is no script at all."""
    out: list[tuple[bytes, bool]] = []
    if b"\0" in text:
        return None
    words = _words(text)
    for command in words:
        if command == b";":
            continue
        if command not in _INPUTS + _IGNORED or next(words, b"") != b"(":
            return None
        inside = _parenthesis(words)
        if inside is None:
            return None
        if command in _INPUTS:
            out.extend((word[2:], True) if word.startswith(b"-l") else (word, False) for word in inside if word not in _INPUTS)
    return out


def _parenthesis(words: Iterator[bytes]) -> list[bytes] | None:
    """Take the words up to the closing parenthesis, inner punctuation left out; None when it never comes."""
    depth = 1
    out: list[bytes] = []
    for word in words:
        if word in (b"(", b")"):
            depth += 1 if word == b"(" else -1
            if not depth:
                return out
        elif word not in _PUNCTUATION:
            out.append(word)
    return None


def _words(text: bytes) -> Iterator[bytes]:
    """Split a script into words, quoted names and punctuation; comments are dropped."""
    at, end = 0, len(text)
    word = b""
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
            if word:
                yield word
            word = b""
            if not char.isspace():
                yield char
        else:
            word += char
        at += 1
    if word:
        yield word


def script_paths(name: bytes, script: bytes, dirs: Sequence[bytes], sysroot: bytes) -> Iterator[bytes]:
    """Yield where a file named by the script at that path may be, best first."""
    if name.startswith(b"="):
        yield sysroot + name[1:]
    elif name.startswith(b"/"):
        if sysroot and script.startswith(sysroot):  # a script inside the sysroot means files inside the sysroot
            yield sysroot + name
        yield name
    else:
        yield script[: script.rfind(b"/") + 1] + name
        yield name
        for directory in dirs:
            yield b"%b/%b" % (directory, name)
