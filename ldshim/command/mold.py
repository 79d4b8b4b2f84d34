"""Read the command line of mold.

mold compares each argument with its options one by one. An option of one letter has a joined value, or takes the next argument. A longer
option accepts one dash or two, except where it begins with `o` (`-omagic` is `-o magic`). `--thinlto-jobs=N` and `-plugin-opt=jobs=N` both
go to the LTO plugin, so they have one meaning here.
"""

from __future__ import annotations

from . import linkline
from .argv import EITHER, EQUALS_OR_FLAG, EQUALS_OR_SEPARATE, FLAG, Table, both_dashes, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .argv import Arguments, Facts

TABLE = Table(
    [
        *rows(EITHER, b"-l", "library", "1.10-3.0"),
        *rows(EQUALS_OR_SEPARATE, b"--library", "library", "1.10-3.0"),
        *rows(EQUALS_OR_SEPARATE, b"-library", "library", "3.0"),
        *rows(EITHER, b"-L", "directory", "1.10-3.0"),
        *both_dashes(EQUALS_OR_SEPARATE, b"library-path", "directory", "1.10-3.0"),
        *both_dashes(EQUALS_OR_SEPARATE, b"sysroot", "sysroot", "1.10-3.0"),
        *both_dashes(FLAG, b"r relocatable", "relocatable", "1.10-3.0"),
        *both_dashes(FLAG, b"whole-archive", "whole", "1.10-3.0"),
        *both_dashes(FLAG, b"no-whole-archive", "no-whole", "1.10-3.0"),
        *both_dashes(FLAG, b"Bstatic dn non_shared static", "static", "1.10-3.0"),
        *both_dashes(FLAG, b"Bdynamic dy call_shared", "dynamic", "1.10-3.0"),
        *both_dashes(FLAG, b"push-state", "push", "1.10-3.0"),
        *both_dashes(FLAG, b"pop-state", "pop", "1.10-3.0"),
        *both_dashes(FLAG, b"start-lib", "start-lib", "1.10-3.0"),
        *both_dashes(FLAG, b"end-lib", "end-lib", "1.10-3.0"),
        *both_dashes(EQUALS_OR_SEPARATE, b"plugin", "plugin", "1.10-3.0"),
        *both_dashes(EQUALS_OR_SEPARATE, b"plugin-opt", "plugin-opt", "1.10-3.0"),
        *both_dashes(EQUALS_OR_FLAG, b"threads", "threads", "1.10-3.0; a bare one resets to the default"),
        *both_dashes(EQUALS_OR_SEPARATE, b"thread-count", "threads", "1.10-3.0"),
        *both_dashes(FLAG, b"no-threads", "no-threads", "1.10-3.0"),
        *both_dashes(EQUALS_OR_SEPARATE, b"thinlto-jobs", "jobs", "1.10-3.0"),
        *both_dashes(EQUALS_OR_SEPARATE, b"lto-partitions", "partitions", "1.10-3.0"),
        *both_dashes(EQUALS_OR_SEPARATE, b"compress-debug-sections", "compress", "1.10-3.0"),
        *both_dashes(FLAG, b"version help", "probe", "1.10-3.0"),
        *both_dashes(EQUALS_OR_SEPARATE, b"run", "run", "1.10-3.0; the command and its arguments follow"),
        *both_dashes(
            EQUALS_OR_SEPARATE,
            b"""Map Tbss Tdata Ttext audit auxiliary chroot defsym depaudit dependency-file directory
            dynamic-linker dynamic-list exclude-libs filler fini format hash-style icf image-base init lto-cs-profile-file lto-obj-path
            lto-pseudo-probe-for-profiling lto-sample-profile max-cache-size mllvm package-metadata physical-image-base
            require-defined retain-symbols-file rpath rpath-link script section-align section-order section-start soname sort-section
            spare-dynamic-tags spare-program-headers thinlto-cache-dir thinlto-cache-policy thinlto-object-suffix-replace
            thinlto-prefix-replace trace-symbol unique unresolved-symbols version-script wrap""",
            seen="1.10-3.0",
        ),
        # With one dash, 1.10 reads these as the short option that they begin with.
        *rows(
            EQUALS_OR_SEPARATE,
            b"--Ttext-segment --entry --export-dynamic-symbol --export-dynamic-symbol-list --filter --fuse-ld --undefined --undefined-glob",
            seen="1.10-3.0",
        ),
        *rows(
            EQUALS_OR_SEPARATE,
            b"-Ttext-segment -entry -export-dynamic-symbol -export-dynamic-symbol-list -filter -fuse-ld -undefined -undefined-glob",
            seen="3.0",
        ),
        *both_dashes(EQUALS_OR_FLAG, b"thinlto-index-only", "index-only", "3.0; 1.10 takes the next argument"),
        *rows(
            EQUALS_OR_SEPARATE,
            b"--oformat --opt-remarks-filename --opt-remarks-format --opt-remarks-hotness-threshold --opt-remarks-passes --output",
            seen="1.10-3.0",
        ),
        *rows(EITHER, b"-C -F -I -O -P -R -T -b -e -f -h -m -o -u -y -z", seen="1.10-3.0"),
    ]
)


def facts(arguments: Arguments) -> Facts:
    """Read a mold command line."""
    return linkline.facts(arguments, TABLE)
