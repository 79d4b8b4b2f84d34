"""Whether what came back is to be believed (C29).

clang ends with 0 and an empty or tiny object when an import or the index is missing (llvm-project#75441), and an action cache keeps that as
a success. A worker may be of another kind, a file may be cut short. So an object is used only if it is whole, relocatable ELF for the
machine that the job compiles for, and if nothing was said about imports. Anything else: the job runs here.
"""

from __future__ import annotations

import os

from ...inputs import elf
from ...inputs.extent import MalformedError
from .compiler import UnfitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..job import Job
    from .compiler import Compiler

    Machine = tuple[int, int, int]

# What clang says of imports and indexes when it goes on without them (BackendUtil.cpp, LTOBackend.cpp).
SENTENCES = (b"Error loading imported file", b"Error loading index file", b"Error running ThinLTO backend")

# The first part of a target triple: class, byte order, e_machine (llvm/BinaryFormat/ELF.h). Others are not sent.
MACHINES = {
    b"x86_64": (2, 1, 62), b"i386": (1, 1, 3), b"i486": (1, 1, 3), b"i586": (1, 1, 3), b"i686": (1, 1, 3),
    b"aarch64": (2, 1, 183), b"arm64": (2, 1, 183), b"armv6": (1, 1, 40), b"armv7": (1, 1, 40), b"armv7a": (1, 1, 40), b"arm": (1, 1, 40),
    b"thumbv7": (1, 1, 40), b"riscv64": (2, 1, 243), b"riscv32": (1, 1, 243), b"powerpc64le": (2, 1, 21), b"powerpc64": (2, 2, 21),
    b"s390x": (2, 2, 22), b"loongarch64": (2, 1, 258), b"mips64el": (2, 1, 8), b"mipsel": (1, 1, 8),
}  # fmt: skip
_X32 = (1, 1, 62)


def expected(job: Job, compiler: Compiler) -> Machine:
    """Return the machine that the outputs of a job must be for. Raises UnfitError, OSError."""
    if compiler.gcc:
        with open(os.path.join(job.cwd, job.inputs[0]), "rb") as stream:
            try:
                return elf.machine(stream.read(20))
            except MalformedError:
                raise UnfitError(f"{os.fsdecode(job.inputs[0])} is no ELF file") from None
    triples = [word.partition(b"=")[2] for word in job.argv if word.startswith(b"--target=")]
    if not triples:
        return compiler.machine
    if triples[-1].endswith(b"x32"):
        return _X32
    machine = MACHINES.get(triples[-1].partition(b"-")[0])
    if machine is None:
        raise UnfitError(f"the machine of {os.fsdecode(triples[-1])} is not known")
    return machine


def text_objection(text: bytes) -> str:
    """Say why a success with this text is none, "" when it is one."""
    for sentence in SENTENCES:
        if sentence in text:
            return f"it says: {sentence.decode()}"
    return ""


def objection(fd: int, machine: Machine) -> str:
    """Say in one clause why the object behind fd is not to be used, "" when it is."""
    size = os.fstat(fd).st_size
    if not size:
        return "the output is empty"
    head = os.pread(fd, 64, 0)
    try:
        if elf.machine(head) != machine:
            return "the output is for another machine"
        layout = elf.LAYOUTS[head[4:6]]
        if len(head) < layout.header.size:
            return "the output is cut short"
        kind, table, stride, count, _ = layout.header.unpack_from(head)
    except MalformedError:
        return "the output is no ELF file"
    if kind != elf.ET_REL:
        return "the output is no object"
    if stride != layout.section.size or not table or table + stride > size:
        return "the output has no sections"
    headers = os.pread(fd, stride, table)
    count = count or layout.section.unpack(headers)[4]  # more than 65 279 sections: the first header has the number
    if count < 2 or table + count * stride > size:
        return "the output is cut short"
    return _sections(os.pread(fd, count * stride, table), layout, size)


def _sections(headers: bytes, layout: elf.Layout, size: int) -> str:
    sections: Sequence[tuple[int, ...]] = list(layout.section.iter_unpack(headers))
    if any(kind not in (0, elf.SHT_NOBITS) and offset + length > size for _, kind, _, offset, length, _ in sections):
        return "the output is cut short"
    return ""
