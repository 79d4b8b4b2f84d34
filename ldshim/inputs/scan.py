"""Find the inputs of one link as a linker does, and add them up.

For each input: find its file (a path, or `-lfoo` in the -L directories), stat it, skip it where it was read before, open it if it is a
regular file, and read its first bytes. The magic selects the reader. Members of an archive are read in the same way, and so are the files
that a thin archive or a linker script names. A file with an error counts as `other`, with a note.

The limits for one link: 256 MiB read (`READ_LIMIT`; per file 16 MiB of section or member names, 64 MiB of section headers, 1 MiB of
recorded options), a million records of bitcode (250 000 in one file), 200 000 members in an archive, four nested archives or scripts, 400
000 files and members.

The scan ends early where more inputs cannot change the decision. ThinLTO: once there are as many modules as the machine can run jobs. GCC:
once the requested number is settled (by the link's options, or by an object that records auto or jobserver, which overrides all others) and
the IR fills all possible partitions. Otherwise every input is read, because the last one may decide as much as the first.

The memory estimate needs the size of the inputs that are not read. So SAMPLE of these files, evenly spread, are stat'ed; a thin archive's
headers hold the sizes. The share of IR is taken from the inputs that were read. Measured after one module or a twentieth of the IR: lua,
brotli, C++ templates and generated programs, GCC 12 and LLVM 14 to 19, were estimated at 97 to 100 % of their size. Unread native objects
count as IR; unread thin archives and libraries do not count.
"""

from __future__ import annotations

import os

from . import elf, libraries
from .extent import (
    ARCHIVE,
    BITCODE,
    COFF,
    PE_IMAGE,
    THIN_ARCHIVE,
    ExhaustedError,
    Extent,
    MalformedError,
    Meter,
    open_regular,
    stat_regular,
    why_not_regular,
)
from .findings import SETTLES, Findings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..command.argv import Input
    from .bitcode import Modules
    from .gcc import Object, Traces

READ_LIMIT = 256 << 20
STEPS_LIMIT = 1_000_000  # three seconds
DEPTH_LIMIT = 4
OBJECTS_LIMIT = 400_000
SAMPLE = 256  # half a millisecond
LEAST = 64  # objects of GCC that are always read, in two milliseconds: a small link as a whole, a large one enough for an estimate


def scan(
    inputs: Sequence[Input],
    library_dirs: Sequence[bytes] = (),
    sysroot: bytes = b"",
    enough: int | EnoughOfGcc = 0,
    want_libraries: bool = True,
    measured: bool = False,
) -> Findings:
    """Read the inputs of a link. Never raises, never blocks, reads at most READ_LIMIT bytes.

    library_dirs: the values of -L, in order; sysroot: for `=` in them; want_libraries: read -l inputs, too; enough: stop after so many
    ThinLTO modules, 0 for never, or once there is enough of GCC's IR; measured: look for a module whose backend was never compared
    (Findings.unmeasured).
    """
    walk = _Walk(libraries.directories(library_dirs, sysroot), sysroot, enough, measured)
    out = walk.findings
    try:
        # Operands first: most modules are there, so the scan ends sooner.
        for index, item in enumerate(inputs):
            if not item.library:
                walk.path(item.name)
                if walk.done:
                    walk.leave([rest.name for rest in inputs[index + 1 :] if not rest.library])
                    break
        for item in inputs:
            if item.library and want_libraries and not walk.done:
                walk.library(item.name, item.static)
        out.complete = not walk.done
    except ExhaustedError as error:
        out.complete = False
        out.note(f"stopped early: {error}")
    except Exception as error:
        out.complete = False
        out.note(f"internal: {type(error).__name__}: {error}")
    out.bytes_read = walk.meter.read
    return out


class EnoughOfGcc:
    """When the scan of a GCC link may stop: after `size` bytes of IR, 0 for never, once the requested number of jobs is settled.

    asked: the link's options settle it. LEAST objects are always read. bool() is False, because it is no number of ThinLTO modules.
    """

    __slots__ = ("asked", "size")

    def __init__(self, size: int, asked: bool) -> None:
        self.size = size
        self.asked = asked

    def __bool__(self) -> bool:
        return False


class _Walk:
    """One scan in progress. done: more inputs cannot change the decision."""

    __slots__ = (
        "asked", "dirs", "done", "enough", "enough_gcc", "findings", "measured", "meter", "objects", "options", "read_bitcode", "read_gcc",
        "seen", "sysroot",
    )  # fmt: skip

    def __init__(self, dirs: Sequence[bytes], sysroot: bytes, enough: int | EnoughOfGcc, measured: bool) -> None:
        self.measured = measured
        self.dirs = dirs
        self.sysroot = sysroot
        self.enough = self.enough_gcc = 0
        self.asked = False
        if isinstance(enough, EnoughOfGcc):
            self.enough_gcc, self.asked = enough.size, enough.asked
        else:
            self.enough = enough
        self.done = False
        self.findings = Findings()
        self.meter = Meter(READ_LIMIT, STEPS_LIMIT)
        self.objects = 0
        self.seen: set[tuple[int, int]] = set()  # device and inode of the files read: each file is read once, and cycles end
        # The IR readers are imported when needed, and cached because even a repeated import statement takes 1 us.
        self.read_bitcode: Callable[[Extent], Modules] | None = None
        self.read_gcc: Callable[[Extent, Object], Traces | None] | None = None
        self.options: set[bytes] = set()  # recorded options so far; a thousand objects mostly share one string

    def library(self, name: bytes, static: bool, depth: int = 0) -> None:
        """Read the file of -l<name>. One that is not found is in a default directory of the linker, and is ignored."""
        found = libraries.find(name, static, self.dirs)
        if found is not None:
            self._file(found[0], found[1], depth)

    def path(self, path: bytes, depth: int = 0) -> None:
        """Read the file at path."""
        found = stat_regular(path)
        if found is None:
            self.findings.other += 1
            self.findings.note(f"{path.decode('utf-8', 'backslashreplace')}: {why_not_regular(path)}")
        else:
            self._file(path, found, depth)

    def leave(self, paths: Sequence[bytes]) -> None:
        """Estimate the size of these files from a sample, without reading them."""
        sample = paths[:: -(-len(paths) // SAMPLE) or 1]
        sizes = [found.st_size for found in map(stat_regular, sample) if found is not None]
        self.findings.unread_bytes += sum(sizes) * len(paths) // max(1, len(sample))

    def _file(self, path: bytes, found: os.stat_result, depth: int) -> None:
        identity = (found.st_dev, found.st_ino)
        if identity in self.seen:
            return
        self.seen.add(identity)
        try:
            extent = open_regular(path, found.st_size, self.meter)
        except OSError as error:
            self._fault(path, b"", error)
            return
        try:
            self._extent(extent, path, b"", depth)
        finally:
            os.close(extent.fd)

    def _fault(self, path: bytes, member: bytes, error: MalformedError | OSError) -> None:
        self.findings.other += 1
        problem = (error.strerror or "unreadable") if isinstance(error, OSError) else str(error)
        self.findings.note(f"{_shown(path, member)}: {problem}")

    def _extent(self, extent: Extent, path: bytes, member: bytes, depth: int) -> None:
        """Read one file or member with the reader for its magic."""
        self.objects += 1
        if self.objects > OBJECTS_LIMIT:
            raise ExhaustedError(f"{OBJECTS_LIMIT} files")
        head = extent.head
        try:
            if head.startswith(elf.MAGIC):
                self._elf(extent, path, member)
            elif head.startswith(BITCODE):
                self._bitcode(extent, path, member)
            elif head.startswith((ARCHIVE, THIN_ARCHIVE)):
                self._archive(extent, path, member, depth)
            elif head.startswith(COFF):
                self._coff(extent)
            elif head.startswith(PE_IMAGE):
                self.findings.shared += 1
            elif not member:
                self._script(extent, path, depth)
            else:
                self.findings.other += 1
        except (MalformedError, OSError) as error:
            self._fault(path, member, error)

    def _elf(self, extent: Extent, path: bytes, member: bytes) -> None:
        out = self.findings
        out.seen_bytes += extent.size
        found = elf.read(extent)
        if found is elf.SHARED:
            out.shared += 1
            return
        claimed = found.gcc and self._gcc(extent, found)
        fat = found.fat and self._fat(extent, found, path, member)
        if not claimed and not fat:
            out.native += 1
            out.native_bytes += extent.size

    def _coff(self, extent: Extent) -> None:
        from . import coff  # noqa: PLC0415  only MinGW's and Cygwin's links need it

        out = self.findings
        out.seen_bytes += extent.size
        found = coff.read(extent)
        if found is None or not self._gcc(extent, found):
            out.native += 1
            out.native_bytes += extent.size

    def _gcc(self, extent: Extent, found: Object) -> bool:
        """Count an object that GCC's plugin claims. Returns whether it does."""
        if self.read_gcc is None:
            from .gcc import read  # noqa: PLC0415

            self.read_gcc = read
        out = self.findings
        traces = self.read_gcc(extent, found)
        if traces is None:
            return False
        if traces.slim:
            out.gcc_slim += 1
        else:
            out.gcc_fat += 1
        out.gcc_bytes += traces.size
        out.gcc_major = max(out.gcc_major, traces.major)
        if traces.options not in self.options:
            from .gcc import flto_options  # noqa: PLC0415

            self.options.add(traces.options)
            out.recorded.extend(option for option in dict.fromkeys(flto_options(traces.options)) if option not in out.recorded)
            self.asked = self.asked or any(option in SETTLES for option in out.recorded)
        if self.asked and self.enough_gcc and out.gcc_bytes >= self.enough_gcc and out.gcc_slim + out.gcc_fat >= LEAST:
            self.done = True
        return True

    def _fat(self, extent: Extent, found: elf.Object, path: bytes, member: bytes) -> bool:
        """Count the modules in `.llvm.lto` sections. Returns whether there are any."""
        out = self.findings
        any_module = False
        for index in found.every(elf.FAT_NAME):
            _, kind, flags, offset, size, _ = found.header(index)
            if kind == elf.SHT_NOBITS or flags & elf.SHF_COMPRESSED:
                continue
            inner = extent.part(offset, size)
            if not inner.head.startswith(BITCODE):
                continue
            any_module = True
            out.fat_bytes += inner.size
            modules = self._modules(inner, path, member)
            out.fat_thin += modules.thin
            out.fat_full += modules.full
        return any_module

    def _modules(self, extent: Extent, path: bytes, member: bytes) -> Modules:
        if self.read_bitcode is None:
            from .bitcode import read  # noqa: PLC0415

            self.read_bitcode = read
        modules = self.read_bitcode(extent)
        out = self.findings
        if self.measured and not out.unmeasured:
            from .bitcode import is_measured  # noqa: PLC0415  only a link whose backends may run as processes

            out.unmeasured = "" if is_measured(extent) else _shown(path, member)
        out.unified = out.unified or modules.unified
        out.split = out.split or modules.split
        return modules

    def _bitcode(self, extent: Extent, path: bytes, member: bytes) -> None:
        out = self.findings
        modules = self._modules(extent, path, member)
        out.thin += modules.thin
        out.full += modules.full
        out.llvm_bytes += extent.size
        out.seen_bytes += extent.size
        if modules.note:
            out.note(f"{_shown(path, member)}: {modules.note}")
        if self.enough and out.thin >= self.enough:
            self.done = True

    def _archive(self, extent: Extent, path: bytes, member: bytes, depth: int) -> None:
        from . import archive  # noqa: PLC0415  only an archive needs it

        if depth >= DEPTH_LIMIT:
            raise MalformedError(f"archives nested more than {DEPTH_LIMIT} deep")
        directory = path[: path.rfind(b"/") + 1]
        for item in archive.members(extent):
            if item.data is not None:
                self._extent(item.data, path, b"%b(%b" % (member, item.name) if member else item.name, depth + 1)
            else:
                self.path(item.name if item.name.startswith(b"/") else directory + item.name, depth + 1)
            if self.done:
                self.findings.unread_bytes += archive.size_of_rest(extent, item)
                return

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


def _shown(path: bytes, member: bytes) -> str:
    return (b"%b(%b)" % (path, member) if member else path).decode("utf-8", "backslashreplace")
