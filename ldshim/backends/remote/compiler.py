"""The compiler as part of the action: which files it is, and how it runs from wherever they stand (C32).

Another build of the same version writes other code, unnoticed, so the worker's own compiler is not to be used. What runs is what would run
here: the program, the programs that it starts itself, their libraries and the dynamic loader, uploaded under names of ours. The libraries
are found as the loader finds them (ld.so(8)), by reading ELF: ldd would run the program, and it says nothing about a library path.

Every name that the action runs is relative to its directory. A worker that does not change its root would take an absolute name for its
own compiler. So the loader is called by hand, with our directory as its library path:

    .ldshim/cc/ld.so --library-path .ldshim/cc/lib .ldshim/cc/clang …          clang runs cc1 in its own process
    .ldshim/cc/ld.so --library-path .ldshim/cc/lib .ldshim/cc/gcc -B.ldshim/cc/ -wrapper .ldshim/cc/ld.so,--library-path,.ldshim/cc/lib …

A library's DT_RUNPATH comes after the library path, and everything needed stands there. DT_RPATH comes before it: one that is absolute is a
reason to stay here.

With LDSHIM_REMOTE_COMPILER=worker nothing is uploaded, and a trial action has the worker hash its own copy of the same files.
"""

from __future__ import annotations

import os
from struct import Struct

from ...call.tool_family import ask
from ...inputs import elf
from ...inputs.extent import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...call.environment import Environment
    from .blobs import Blob, Digests

PLACE = b".ldshim/"  # in the action's working directory: all names of ours
HOME = PLACE + b"cc/"
LOADER = HOME + b"ld.so"
LIBRARIES = HOME + b"lib"

CACHE = b"/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_ENTRY = Struct("=iIIIQ")  # flags, offset of the soname, offset of the path, OS version, hardware capabilities (elf/dl-cache.h)
_CACHE_HEADER = 48
# What ld.so looks through last; multiarch directories stand in the cache on every system that has them.
SYSTEM = (b"/lib64", b"/usr/lib64", b"/lib", b"/usr/lib")
_PARTS = (b"lto1", b"as")  # what gcc starts for LTRANS


class UnfitError(Exception):
    """Why a compiler cannot be uploaded, or a job not be sent: one clause."""


class File:
    """One file of the compiler. name: below HOME; path: here; blob: its digest and where to read it."""

    __slots__ = ("blob", "name", "path")

    def __init__(self, name: bytes, path: bytes, blob: Blob) -> None:
        self.name = name
        self.path = path
        self.blob = blob


class Compiler:
    """What a compiler consists of.

    program: argv[0], absolute; start: the arguments that run it from HOME, in place of argv[0]; machine: of the program itself; gcc: or
    clang; loaded: by a dynamic loader, which is among the files.
    """

    __slots__ = ("files", "gcc", "loaded", "machine", "program", "start")

    def __init__(
        self, program: bytes, files: list[File], start: list[bytes], machine: tuple[int, int, int], *, gcc: bool, loaded: bool
    ) -> None:
        self.program = program
        self.files = files
        self.start = start
        self.machine = machine
        self.gcc = gcc
        self.loaded = loaded


def is_gcc(argv: Sequence[bytes]) -> bool:
    """Tell an LTRANS job of GCC from a ThinLTO backend of clang. Raises UnfitError for what is neither."""
    if b"-fltrans" in argv:
        return True
    if any(word.startswith(b"-fthinlto-index=") for word in argv):
        return False
    raise UnfitError("neither an LTRANS job nor a ThinLTO backend")


def read(argv: Sequence[bytes], environment: Environment, digests: Digests) -> Compiler:
    """Find the compiler of a job. Raises UnfitError, MalformedError, OSError, ImportError (without pyelftools)."""
    gcc = is_gcc(argv)
    program = located(argv[0], environment)
    programs = {b"gcc" if gcc else os.path.basename(argv[0]): program}
    if gcc:
        places = [word for word in argv[1:] if word.startswith(b"-B") and len(word) > 2]
        for part in _PARTS:
            said = ask(program, [*places, b"-print-prog-name=" + part], environment).strip()
            programs[part] = located(said or part, environment)
    library_path = [each for each in environment.get(b"LD_LIBRARY_PATH").split(b":") if each]
    found = Closure(library_path)
    for path in programs.values():
        found.add_program(path)
    listed = list(programs.items())
    if found.loader:
        listed.append((b"ld.so", found.loader))
    listed += [(b"lib/" + name, path) for name, path in found.libraries.items()]
    files = [File(name, path, digests.of_file(path, keep=True)) for name, path in listed]
    first = HOME + next(iter(programs))
    start = [LOADER, b"--library-path", LIBRARIES, first] if found.loader else [first]
    if gcc:
        start.append(b"-B" + HOME)
        if found.loader:
            start += [b"-wrapper", b",".join((LOADER, b"--library-path", LIBRARIES))]
    return Compiler(program, sorted(files, key=lambda file: file.name), start, found.machine, gcc=gcc, loaded=bool(found.loader))


def located(name: bytes, environment: Environment) -> bytes:
    """Find a program as execvp does. Raises UnfitError."""
    places = [b""] if b"/" in name else environment.get(b"PATH").split(b":")
    for place in places:
        path = os.path.join(place, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return os.path.abspath(path)
    raise UnfitError(f"{os.fsdecode(name)} is not found")


class Closure:
    """The libraries that some programs need, by their sonames, found as ld.so(8) finds them, and the loader."""

    def __init__(self, library_path: Sequence[bytes]) -> None:
        self.library_path = library_path
        self.libraries: dict[bytes, bytes] = {}
        self.loader = b""
        self.machine = (0, 0, 0)
        self.cache = read_cache()
        self._seen: dict[bytes, elf.Dynamic | None] = {}  # pyelftools takes 5 ms a file, and every library needs libc

    def add_program(self, path: bytes) -> None:
        """Add what a program needs. Raises UnfitError, MalformedError, OSError."""
        asked = elf.dynamic(path)
        if self.machine not in ((0, 0, 0), asked.machine):
            raise UnfitError(f"{os.fsdecode(path)} is for another machine")
        if asked.needed and not asked.interpreter:
            raise UnfitError(f"{os.fsdecode(path)} names no dynamic loader")
        if asked.interpreter and self.loader not in (b"", asked.interpreter):
            raise UnfitError(f"{os.fsdecode(path)} has another dynamic loader")
        if not asked.interpreter and self.loader:
            raise UnfitError(f"{os.fsdecode(path)} is static and others are not")
        self.machine = asked.machine
        self.loader = asked.interpreter
        self._add_needed(path, asked, [])

    def _read(self, path: bytes) -> elf.Dynamic | None:
        """Read a candidate, None where it is no library."""
        if path not in self._seen:
            try:
                self._seen[path] = elf.dynamic(path)
            except (OSError, MalformedError):
                self._seen[path] = None
        return self._seen[path]

    def _add_needed(self, path: bytes, asked: elf.Dynamic, inherited: list[bytes]) -> None:
        """Add what one object needs, and what those need. inherited: the DT_RPATH of those that loaded it, expanded."""
        origin = os.path.dirname(os.path.realpath(path))
        if any(not entry.startswith((b"$ORIGIN", b"${ORIGIN}")) for entry in asked.rpath):
            raise UnfitError(f"{os.fsdecode(path)} has an absolute DT_RPATH")
        rpath = [] if asked.runpath else [*_expanded(asked.rpath, origin), *inherited]
        places = [*rpath, *self.library_path, *_expanded(asked.runpath, origin)]
        for name in asked.needed:
            if name == os.path.basename(self.loader):
                continue
            found, read = self._search(name, places)
            known = self.libraries.get(name)
            if known is None:
                self.libraries[name] = found
                self._add_needed(found, read, rpath)
            elif not os.path.samefile(known, found):
                raise UnfitError(f"two libraries are called {os.fsdecode(name)}")

    def _search(self, name: bytes, places: Sequence[bytes]) -> tuple[bytes, elf.Dynamic]:
        """Find a library for this machine: its path, and what it asks for."""
        if b"/" in name:
            raise UnfitError(f"a library is needed by its path, {os.fsdecode(name)}")
        candidates = [os.path.join(place, name) for place in places]
        candidates += self.cache.get(name, [])
        candidates += [os.path.join(place, name) for place in SYSTEM]
        for path in candidates:
            read = self._read(path)
            if read is not None and read.machine == self.machine:
                return path, read
        raise UnfitError(f"the library {os.fsdecode(name)} is not found")


def _expanded(places: Sequence[bytes], origin: bytes) -> list[bytes]:
    return [place.replace(b"${ORIGIN}", origin).replace(b"$ORIGIN", origin) for place in places]


def read_cache(path: bytes = CACHE) -> dict[bytes, list[bytes]]:
    """Read ldconfig's cache: the paths of each soname in their order, those for special hardware apart. Empty where there is none."""
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError:
        return {}
    start = data.find(_CACHE_MAGIC)  # behind a table of the old format, where there is one
    if start < 0 or len(data) < start + _CACHE_HEADER:
        return {}
    count = int.from_bytes(data[start + 20 : start + 24], "little" if Struct("=H").pack(1)[0] else "big")
    out: dict[bytes, list[bytes]] = {}
    for name, where in _entries(data, start, min(count, (len(data) - start - _CACHE_HEADER) // _CACHE_ENTRY.size)):
        out.setdefault(name, []).append(where)
    return out


def _entries(data: bytes, start: int, count: int) -> Iterator[tuple[bytes, bytes]]:
    for at in range(start + _CACHE_HEADER, start + _CACHE_HEADER + count * _CACHE_ENTRY.size, _CACHE_ENTRY.size):
        _, name, where, _, capabilities = _CACHE_ENTRY.unpack_from(data, at)
        if capabilities == 0:
            texts = [data[start + offset : data.find(b"\0", start + offset)] for offset in (name, where)]
            yield texts[0], texts[1]


def hash_command(compiler: Compiler) -> list[bytes]:
    """Return the command by which another machine hashes its own copy of the compiler."""
    return [b"/usr/bin/sha256sum", b"--", *(file.path for file in compiler.files)]


def same_hashes(said: bytes, compiler: Compiler) -> bool:
    """Tell whether sha256sum's answer names the compiler's own digests, in their order."""
    lines = said.split(b"\n")[:-1]
    return [line[:64].decode("ascii", "replace") for line in lines] == [file.blob.digest.hash for file in compiler.files]
