"""Walk the inputs of one link as a linker would find them, and add up what they are.

The story of one input: find its file (a path, or `-lfoo` along -L), stat it, skip it if it was met before, open it if it is a regular file,
and look at its first bytes. The magic decides which reader takes over; an archive hands back members, which are looked at in the same way;
a thin archive and a linker script hand back paths. Whatever goes wrong in one file costs that file: it counts as `other`, with a note.

The bounds, whatever the files say: 256 MiB read for a link (`READ_LIMIT`; per file 16 MiB of section or member names, 64 MiB of section
headers, 1 MiB of recorded options), a million records of bitcode (250 000 in one file), 200 000 members for an archive, four
archives or scripts inside one another, 400 000 files and members for a link. Bytes and records have one meter for everything, so a
bound of one file is never multiplied by the number of files.

When is it enough? ThinLTO: when as many modules as the machine can run jobs were seen, the rest cannot change the answer. Full LTO: a link
that starts with four times as many full modules, 64 at least, is taken for one. FatLTO: as many again, and the rest is taken to be like
the first, unread. GCC: never. The options recorded in the last object count as much as those in the first, and the size of the IR is
a sum; an object costs 30 us where a module costs 100 (tests/bench/ir.py).
"""

from __future__ import annotations

import os

from ldshim.ir import archive, elf, libraries
from ldshim.ir.extent import BITCODE, ExhaustedError, Extent, MalformedError, Meter, open_regular, stat_regular
from ldshim.ir.findings import Findings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldshim.command.argv import Input
    from ldshim.ir.bitcode import Modules

READ_LIMIT = 256 << 20
STEPS_LIMIT = 1_000_000  # three seconds
DEPTH_LIMIT = 4
FULL_ENOUGH = 64
OBJECTS_LIMIT = 400_000


def scan(
    inputs: Sequence[Input], library_dirs: Sequence[bytes] = (), sysroot: bytes = b"", enough: int = 0, want_libraries: bool = True
) -> Findings:
    """Say what the inputs of a link are. Never raises, never blocks, reads at most READ_LIMIT bytes.

    library_dirs: -L, in order, the only places where -l is looked up; sysroot: for `=` in them; enough: stop once that many
    ThinLTO modules were seen (or many more for full LTO), 0 for never; want_libraries: look at -l inputs too.
    """
    walk = _Walk(libraries.directories(library_dirs, sysroot), sysroot, enough)
    out = walk.findings
    try:
        # Operands first: they hold the modules that are certainly linked, so enough is reached sooner.
        for item in inputs:
            if not item.library:
                walk.path(item.name)
        for item in inputs:
            if item.library and want_libraries:
                walk.library(item.name, item.static)
    except _Enough:
        out.complete = False
    except ExhaustedError as error:
        out.complete = False
        out.note(f"stopped early: {error}")
    except Exception as error:
        out.complete = False
        out.note(f"internal: {type(error).__name__}: {error}")
    out.bytes_read = walk.meter.read
    return out


class _Enough(Exception):  # noqa: N818 - no error: the way out of nested archives
    """The answer cannot change any more."""


class _Walk:
    """One scan under way."""

    __slots__ = ("dirs", "enough", "findings", "meter", "objects", "options", "plenty", "seen", "sysroot")

    def __init__(self, dirs: Sequence[bytes], sysroot: bytes, enough: int) -> None:
        self.dirs = dirs
        self.sysroot = sysroot
        self.enough = enough
        self.plenty = max(FULL_ENOUGH, 4 * enough)  # before a link is taken to be all of one kind
        self.findings = Findings()
        self.meter = Meter(READ_LIMIT, STEPS_LIMIT)
        self.objects = 0
        self.seen: set[tuple[int, int]] = set()  # device and inode of the files met: an archive named ten times is read once, a cycle ends
        self.options: set[bytes] = set()  # recorded options met: a thousand objects mostly share one string

    def library(self, name: bytes, static: bool, depth: int = 0) -> None:
        """Look at what -l<name> means; one that is not found lies in a directory that only the linker knows, and is nothing to us."""
        found = libraries.find(name, static, self.dirs)
        if found is not None:
            self._file(found[0], found[1], depth)

    def path(self, path: bytes, depth: int = 0) -> bool:
        """Look at the file at path. Returns whether there is a regular file."""
        found = stat_regular(path)
        if found is None:
            self.findings.other += 1
            return False
        self._file(path, found, depth)
        return True

    def _file(self, path: bytes, found: os.stat_result, depth: int) -> None:
        identity = (found.st_dev, found.st_ino)
        if identity in self.seen:
            return
        self.seen.add(identity)
        try:
            extent = open_regular(path, found.st_size, self.meter)
        except OSError as error:
            self._fault(path, b"", error.strerror or "unreadable")
            return
        try:
            self._extent(extent, path, b"", depth)
        finally:
            os.close(extent.fd)

    def _fault(self, path: bytes, member: bytes, problem: str) -> None:
        self.findings.other += 1
        name = b"%b(%b)" % (path, member) if member else path
        self.findings.note(f"{name.decode('utf-8', 'backslashreplace')}: {problem}")

    def _extent(self, extent: Extent, path: bytes, member: bytes, depth: int) -> None:
        """Look at one file or member, by its magic."""
        self.objects += 1
        if self.objects > OBJECTS_LIMIT:
            raise ExhaustedError(f"{OBJECTS_LIMIT} files")
        head = extent.head
        try:
            if head.startswith(elf.MAGIC):
                self._elf(extent)
            elif head.startswith(BITCODE):
                self._bitcode(extent, path, member)
            elif head.startswith((archive.MAGIC, archive.THIN)):
                self._archive(extent, path, member, depth)
            elif not member:
                self._script(extent, path, depth)
            else:
                self.findings.other += 1
        except MalformedError as error:
            self._fault(path, member, str(error))
        except OSError as error:
            self._fault(path, member, error.strerror or "unreadable")

    def _elf(self, extent: Extent) -> None:
        out = self.findings
        found = elf.read(extent)
        if found.type == elf.ET_DYN:
            out.shared += 1
            return
        claimed = fat = False
        if found.sections:
            claimed = self._gcc(extent, found)
            fat = self._fat(extent, found)
        if not claimed and not fat:
            out.native += 1
            out.native_bytes += extent.size

    def _gcc(self, extent: Extent, found: elf.Object) -> bool:
        """Count what GCC's plugin would claim. Returns whether it would."""
        from ldshim.ir import gcc  # noqa: PLC0415 - the IR readers are half of what a plain link would import here

        out = self.findings
        traces = gcc.read(extent, found)
        if traces is None:
            return False
        if traces.slim:
            out.gcc_slim += 1
        else:
            out.gcc_fat += 1
        out.gcc_bytes += traces.size
        out.gcc_major = max(out.gcc_major, traces.major)
        if traces.options not in self.options:
            self.options.add(traces.options)
            out.recorded.extend(word for word in dict.fromkeys(gcc.flto_words(traces.options)) if word not in out.recorded)
        return True

    def _fat(self, extent: Extent, found: elf.Object) -> bool:
        """Count the modules in `.llvm.lto` sections. Returns whether there are any."""
        out = self.findings
        any_module = False
        for section in found.sections:
            if section.name != elf.FAT_NAME or section.type == elf.SHT_NOBITS or section.flags & elf.SHF_COMPRESSED:
                continue
            inner = extent.part(section.offset, section.size)
            if not inner.head.startswith(BITCODE):
                continue
            any_module = True
            out.fat_bytes += inner.size
            if self.enough and out.fat_thin + out.fat_full >= self.plenty:
                out.complete = False
                out.fat_thin += bool(out.fat_thin)
                out.fat_full += not out.fat_thin
                continue
            from ldshim.ir import bitcode  # noqa: PLC0415 - as above

            modules = bitcode.read(inner)
            out.fat_thin += modules.thin
            out.fat_full += modules.full
            self._flags(modules)
        return any_module

    def _flags(self, modules: Modules) -> None:
        out = self.findings
        out.unified = out.unified or modules.unified
        out.split = out.split or modules.split

    def _bitcode(self, extent: Extent, path: bytes, member: bytes) -> None:
        from ldshim.ir import bitcode  # noqa: PLC0415 - as above

        out = self.findings
        modules = bitcode.read(extent)
        out.thin += modules.thin
        out.full += modules.full
        out.llvm_bytes += extent.size
        self._flags(modules)
        if modules.note:
            name = b"%b(%b)" % (path, member) if member else path
            out.note(f"{name.decode('utf-8', 'backslashreplace')}: {modules.note}")
        if self.enough and (out.thin >= self.enough or out.full >= self.plenty):
            raise _Enough

    def _archive(self, extent: Extent, path: bytes, member: bytes, depth: int) -> None:
        if depth >= DEPTH_LIMIT:
            raise MalformedError(f"archives nested more than {DEPTH_LIMIT} deep")
        directory = path[: path.rfind(b"/") + 1]
        for item in archive.members(extent):
            if item.data is None:
                self.path(item.name if item.name.startswith(b"/") else directory + item.name, depth + 1)
            else:
                self._extent(item.data, path, b"%b(%b" % (member, item.name) if member else item.name, depth + 1)

    def _script(self, extent: Extent, path: bytes, depth: int) -> None:
        self.findings.other += 1
        if extent.size > libraries.SCRIPT_LIMIT or depth >= DEPTH_LIMIT:
            return
        for name, library in libraries.script_inputs(extent.read(0, extent.size)) or ():
            if library:
                self.library(name, static=False, depth=depth + 1)
                continue
            for candidate in libraries.script_paths(name, path, self.dirs, self.sysroot):
                found = stat_regular(candidate)
                if found is not None:
                    self._file(candidate, found, depth + 1)
                    break
