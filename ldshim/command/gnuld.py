"""Read the command lines of the two GNU linkers, ld.bfd and gold.

Both accept long options with one dash or two, and a value after `=` or in the next argument. Both leave LTO to a plugin, whose options
follow it. bfd has one thread and no option for more, so only its inputs and its plugin matter. gold uses threads only with `--threads`, and
its counts are separate options: `--thread-count 4 --threads` is four threads, in any order.
"""

from __future__ import annotations

from . import linkline
from .argv import EITHER, EQUALS_OR_SEPARATE, FLAG, SEPARATE, Table, both_dashes, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .argv import Arguments, Facts, Row


def _shared() -> list[Row]:
    """Return the rows that both linkers have."""
    return [
        *rows(EITHER, b"-l", "library", "2.40-2.47"),
        *rows(EQUALS_OR_SEPARATE, b"--library", "library", "2.40-2.47"),
        *rows(EITHER, b"-L", "directory", "2.40-2.47"),
        *rows(EQUALS_OR_SEPARATE, b"--library-path", "directory", "2.40-2.47"),
        *both_dashes(EQUALS_OR_SEPARATE, b"sysroot", "sysroot", "2.40-2.47; bfd only with ="),
        *rows(FLAG, b"-r -i --relocatable -relocatable", "relocatable", "2.40-2.47"),
        *both_dashes(FLAG, b"whole-archive", "whole", "2.40-2.47"),
        *both_dashes(FLAG, b"no-whole-archive", "no-whole", "2.40-2.47"),
        *both_dashes(FLAG, b"Bstatic dn non_shared static", "static", "2.40-2.47"),
        *both_dashes(FLAG, b"Bdynamic dy call_shared", "dynamic", "2.40-2.47"),
        *both_dashes(FLAG, b"push-state", "push", "2.40-2.47"),
        *both_dashes(FLAG, b"pop-state", "pop", "2.40-2.47"),
        *both_dashes(EQUALS_OR_SEPARATE, b"plugin", "plugin", "2.40-2.47"),
        *both_dashes(EQUALS_OR_SEPARATE, b"plugin-opt", "plugin-opt", "2.40-2.47"),
        *both_dashes(FLAG, b"version help", "probe", "2.40-2.47"),
        *both_dashes(
            EQUALS_OR_SEPARATE,
            b"""Map Tbss Tdata Trodata-segment Ttext Ttext-segment assert auxiliary defsym dependency-file dynamic-linker dynamic-list
            entry exclude-libs filter fini hash-style init just-symbols retain-symbols-file rpath rpath-link script section-start
            soname sort-section spare-dynamic-tags trace-symbol undefined unresolved-symbols version-script wrap""",
            seen="2.40-2.47",
        ),
        # -format is `-f ormat` since 2.44; -oformat always was an output's name.
        *rows(EQUALS_OR_SEPARATE, b"--format --export-dynamic-symbol --oformat --orphan-handling --output", seen="2.40-2.47"),
        *rows(SEPARATE, b"-dT", seen="2.40-2.47"),
        *rows(EITHER, b"-F -I -O -R -T -Y -b -e -f -h -m -o -u -y -z", seen="2.40-2.47"),
    ]


BFD = Table(
    [
        *_shared(),
        *both_dashes(FLAG, b"target-help", "probe", "2.40-2.47"),
        *both_dashes(
            EQUALS_OR_SEPARATE,
            b"""Tldata-segment architecture audit default-script depaudit error-handling-script gpsize ignore-unresolved-symbol
            image-base mri-script remap-inputs remap-inputs-file require-defined section-ordering-file task-link version-exports-section""",
            seen="2.40-2.47",
        ),
        *rows(EQUALS_OR_SEPARATE, b"--export-dynamic-symbol-list --out-implib", seen="2.40-2.47"),
        *rows(EITHER, b"-A -P -a -c", seen="2.40-2.47"),
    ]
)

GOLD = Table(
    [
        *_shared(),
        *both_dashes(FLAG, b"start-lib", "start-lib", "1.16"),
        *both_dashes(FLAG, b"end-lib", "end-lib", "1.16"),
        *rows(FLAG, b"--threads", "threads", "1.16"),
        *rows(FLAG, b"--no-threads", "no-threads", "1.16"),
        *both_dashes(EQUALS_OR_SEPARATE, b"thread-count thread-count-initial thread-count-middle thread-count-final", "threads", "1.16"),
        # With one dash, bfd reads these as the short option that they begin with; gold does not.
        *rows(EQUALS_OR_SEPARATE, b"-library", "library", "1.16"),
        *rows(EQUALS_OR_SEPARATE, b"-library-path", "directory", "1.16"),
        *rows(EQUALS_OR_SEPARATE, b"-format -export-dynamic-symbol -orphan-handling -output", seen="1.16"),
        *both_dashes(
            EQUALS_OR_SEPARATE,
            b"""build-id-chunk-size-for-treehash build-id-min-file-size-for-treehash compress-debug-sections debug fuse-ld
            hash-bucket-empty-fraction icf icf-iterations incremental-base incremental-patch keep-unique optimize print-symbol-counts
            rosegment-gap section-ordering-file split-stack-adjust-size stub-group-size target2""",
            seen="1.16",
        ),
    ]
)


def facts(arguments: Arguments, gold: bool) -> Facts:
    """Read a GNU linker's command line.

    gold: `threads` begins with the --threads or --no-threads that is in force, and is empty without one. The counts follow a --threads,
    the highest last.
    """
    if not gold:
        return linkline.facts(arguments, BFD, dashdash_ends=True)
    out = linkline.facts(arguments, GOLD, dashdash_ends=True)
    switches = [option for option in out.threads if option.spelling in (b"--threads", b"--no-threads")]
    counts = [option for option in out.threads if option not in switches]
    counts.sort(key=lambda option: linkline.count(option.value or b""))  # each of its three passes has a count, and the highest is the peak
    in_force = switches[-1:]
    out.threads = in_force + (counts if in_force and in_force[0].value is None else [])
    return out
