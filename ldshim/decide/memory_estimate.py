"""Estimate how much memory an LTO link of so many jobs needs, from the size of its IR (C17). Pure.

The problem: a link that runs out of memory fails the build, and no linker reports its need in advance. The consequence: an estimate of the
form base + jobs x per job. Its constants are measured on real links, so that no link of the table needed more than its estimate. Too high
an estimate slows a link only where memory is short. LDSHIM_MEM_PER_JOB replaces it.

GCC: the base is the memory of WPA, about twice the IR as stored. A job is one LTRANS compiler: 24 MB before it reads anything, and up to
100 bytes for each stored (compressed) byte of its partition (zstd in one partition: 93, in three: 98, lua 20, C++ templates 5, most of
whose IR is duplicates). Partitions of small programs are far larger than the bound in inputs/findings.py, so each counts as at least 100
kB.

ThinLTO: the base is the symbols and the combined index. A job compiles one module with its imports: up to 50 bytes for each byte of bitcode
(zstd, one module: 60). Only the mean size is known, so a job counts as three times the mean, and at most as the whole.

Where the scan ended early, the size of the rest is estimated from the sizes of its files (Findings.in_all).

Full LTO: the merged module, in one process. It does not depend on the number of jobs.

A plain link has two numbers, as multiples of its input: the memory that the linker allocates, and the pages of input and output that it
maps and uses repeatedly. Without room for the latter lld is not killed, but reads its input many times (1.2 s with enough memory, over 60 s
with a third of it).

ldshim/doc/memory.md has the table of estimates and measurements; tests/bench/memory.py makes it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..inputs.findings import Findings

MB = 1 << 20

GCC_BASE = 8 * MB
GCC_BASE_PER_BYTE = 2
GCC_JOB = 24 * MB
GCC_JOB_PER_BYTE = 100
GCC_LEAST_PARTITION = 100_000

THIN_BASE = 40 * MB
THIN_BASE_PER_BYTE = 2
THIN_JOB = 8 * MB
THIN_JOB_PER_BYTE = 50
THIN_LARGEST = 3  # times the mean
LEARNED_MARGIN = 4  # a quarter more than was measured, and
LEARNED_LEAST = 8 * MB  # what a measurement every few hundredths of a second misses at the end of a short link

FULL_BASE = 40 * MB
FULL_PER_BYTE = 60

# family: percent of the size of the input that is allocated, and that is mapped in addition.
PLAIN = {
    "lld": (55, 140),  # .09 and 1.39 with plain debug information, .51 and 1.68 with compressed, .38 and 1.2 compressing it; 16 and 19
    "gold": (30, 150),  # .11 to .31 (.53 with --gc-sections) and 1.1 to 1.5
    "mold": (90, 160),  # .17 to .88 and 1.2 to 1.8
    "bfd": (170, 0),  # .1 (-S) to .95, 1.4 to 1.9 where most of the input is COMDAT groups; it reads, and maps nothing
    "wild": (70, 160),  # not measured: as mold
}


class Footprint:
    """Bytes that a link needs: base + jobs x per_job.

    origin: a clause with the source of the number, "" for ldshim's estimate; files: bytes of file pages that it uses in addition;
    in_one_process: its jobs are threads of one process, whose own limit bounds them.
    """

    __slots__ = ("base", "files", "in_one_process", "origin", "per_job")

    def __init__(self, base: int, per_job: int, origin: str = "", files: int = 0, in_one_process: bool = False) -> None:
        self.base = base
        self.per_job = max(1, per_job)
        self.origin = origin
        self.files = files
        self.in_one_process = in_one_process

    def of(self, jobs: int) -> int:
        """Return the bytes that so many jobs need."""
        return self.base + jobs * self.per_job

    def learned(self, one: int, each: int) -> Footprint:
        """Return the need by last time's measurement. one, each: bytes with one job, and for each of several; 0: not measured.

        Of several jobs each includes a part of the memory that all share, so that their sum is the measured one.
        """
        if not (one or each):
            return self
        per_job = _with_margin(each) if each else min(self.per_job, _with_margin(one))
        base = max(0, _with_margin(one) - per_job)
        return Footprint(base, per_job, f"{self.origin} (as it needed last time)", self.files, self.in_one_process)

    def wants(self, jobs: int) -> int:
        """Return the bytes that so many jobs need, file pages included."""
        return self.of(jobs) + self.files

    def text(self, jobs: int) -> str:
        """Return the need of so many jobs as text for people."""
        return human(self.wants(jobs))

    def described(self) -> str:
        """Return the need of one job and the source of the number, as text for people."""
        return f"{self.text(1)} with one job{self.origin or ' (guessed from its inputs)'}"

    def jobs_in(self, size: int) -> int:
        """Return how many jobs fit in so many bytes: 0 or more."""
        return max(0, (size - self.base) // self.per_job)

    def ceiling(self, size: int) -> tuple[int, str]:
        """Return how many jobs so many bytes allow, at least 1 (C18), and a clause for people."""
        jobs = max(1, self.jobs_in(size))
        return jobs, f"memory: {jobs} job{'s' * (jobs != 1)} of {human(self.per_job)} in {human(max(0, size))}{self.origin}"


def _with_margin(size: int) -> int:
    return size + size // LEARNED_MARGIN + LEARNED_LEAST


def of_link(lto: str, found: Findings, demand: int, mem_per_job: int = 0) -> Footprint:
    """Estimate for an LTO link. lto: gcc, thin, full; demand: of its mode (GCC: partitions); mem_per_job: LDSHIM_MEM_PER_JOB, 0: unset."""
    if mem_per_job:
        return Footprint(0, mem_per_job, " (LDSHIM_MEM_PER_JOB)")
    if lto == "gcc":
        return of_gcc(found.in_all(found.gcc_bytes), demand)
    return of_thin(found) if lto == "thin" else of_full(found)


def of_gcc(size: int, partitions: int) -> Footprint:
    """Estimate for GCC. size: of the IR as stored, bytes; partitions: the most that GCC makes."""
    partition = min(size, max(GCC_LEAST_PARTITION, size // max(1, partitions)))
    return Footprint(GCC_BASE + GCC_BASE_PER_BYTE * size, GCC_JOB + GCC_JOB_PER_BYTE * partition)


def of_thin(found: Findings) -> Footprint:
    """Estimate for ThinLTO, from the modules that were read and the size of those that were not."""
    modules, size = found.thin + found.full, found.llvm_bytes
    if not modules:
        modules, size = found.fat_thin + found.fat_full, found.fat_bytes
    size_of_all = found.in_all(size)
    one = min(size_of_all, THIN_LARGEST * size // max(1, modules))
    return Footprint(THIN_BASE + THIN_BASE_PER_BYTE * size_of_all, THIN_JOB + THIN_JOB_PER_BYTE * one, in_one_process=True)


def of_full(found: Findings) -> Footprint:
    """Estimate for full LTO by LLVM, from the size of its bitcode."""
    return Footprint(FULL_BASE + FULL_PER_BYTE * found.in_all(found.llvm_bytes or found.fat_bytes), 1, in_one_process=True)


def of_plain(family: str, size: int) -> Footprint:
    """Estimate for a link without LTO. size: of its input, bytes."""
    allocated, mapped = PLAIN[family]
    return Footprint(size * allocated // 100, 1, files=size * mapped // 100, in_one_process=True)


def human(size: int) -> str:
    """Return a size as text for people."""
    return f"{size / (1 << 30):.1f} GB" if size >= 1 << 30 else f"{size / MB:.0f} MB"
