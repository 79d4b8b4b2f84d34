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


class Footprint:
    """Bytes that a link needs: base + jobs x per_job. origin: a clause with the source of the number, "" for ldshim's estimate."""

    __slots__ = ("base", "origin", "per_job")

    def __init__(self, base: int, per_job: int, origin: str = "") -> None:
        self.base = base
        self.per_job = max(1, per_job)
        self.origin = origin

    def of(self, jobs: int) -> int:
        """Return the bytes that so many jobs need."""
        return self.base + jobs * self.per_job

    def jobs_in(self, size: int) -> int:
        """Return how many jobs fit in so many bytes: 0 or more."""
        return max(0, (size - self.base) // self.per_job)

    def ceiling(self, size: int) -> tuple[int, str]:
        """Return how many jobs so many bytes allow, at least 1 (C18), and a clause for people."""
        jobs = max(1, self.jobs_in(size))
        return jobs, f"memory: {jobs} job{'s' * (jobs != 1)} of {human(self.per_job)} in {human(max(0, size))}{self.origin}"


def of_link(lto: str, found: Findings, demand: int, mem_per_job: int = 0) -> Footprint:
    """Estimate for one link. lto: gcc or thin; demand: of its mode (GCC: partitions); mem_per_job: LDSHIM_MEM_PER_JOB, bytes, 0: unset."""
    if mem_per_job:
        return Footprint(0, mem_per_job, " (LDSHIM_MEM_PER_JOB)")
    return of_gcc(found.in_all(found.gcc_bytes), demand) if lto == "gcc" else of_thin(found)


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
    return Footprint(THIN_BASE + THIN_BASE_PER_BYTE * size_of_all, THIN_JOB + THIN_JOB_PER_BYTE * one)


def human(size: int) -> str:
    """Return a size as text for people."""
    return f"{size / (1 << 30):.1f} GB" if size >= 1 << 30 else f"{size / MB:.0f} MB"
