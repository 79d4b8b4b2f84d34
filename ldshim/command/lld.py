"""Read the command line of ld.lld (ELF), also as `lld -flavor gnu` and `rust-lld -flavor gnu`.

lld has no abbreviations. Its older options, from GNU ld, accept one dash. Newer options need two: `-threads=4` is an error. In
`--thinlto-jobs 4` the 4 is an input. So each row gives the exact form (lld/ELF/Options.td: Eq, EEq, F, J), and the tests compare the rows
with every installed version.
"""

from __future__ import annotations

from . import linkline
from .argv import EITHER, EQUALS, EQUALS_OR_FLAG, EQUALS_OR_SEPARATE, FLAG, JOINED, SEPARATE, Arguments, Table, both_dashes, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .argv import Facts

TABLE = Table(
    [
        # Options that matter here.
        *rows(EITHER, b"-l", "library", "14-23"),
        *both_dashes(EQUALS_OR_SEPARATE, b"library", "library", "14-23"),
        *rows(EITHER, b"-L", "directory", "14-23"),
        *both_dashes(EQUALS_OR_SEPARATE, b"library-path", "directory", "14-23"),
        *both_dashes(EQUALS_OR_SEPARATE, b"sysroot", "sysroot", "14-23"),
        *rows(FLAG, b"-r --relocatable -relocatable", "relocatable", "14-23"),
        *both_dashes(FLAG, b"whole-archive", "whole", "14-23"),
        *both_dashes(FLAG, b"no-whole-archive", "no-whole", "14-23"),
        *both_dashes(FLAG, b"Bstatic dn non_shared static", "static", "14-23"),
        *both_dashes(FLAG, b"Bdynamic dy call_shared", "dynamic", "14-23"),
        *both_dashes(FLAG, b"push-state", "push", "14-23"),
        *both_dashes(FLAG, b"pop-state", "pop", "14-23"),
        *both_dashes(FLAG, b"start-lib", "start-lib", "14-23"),
        *both_dashes(FLAG, b"end-lib", "end-lib", "14-23"),
        *both_dashes(EQUALS_OR_SEPARATE, b"plugin", "plugin", "14-23"),
        *both_dashes(EQUALS_OR_SEPARATE, b"plugin-opt", "plugin-opt", "14-23; the form of two arguments by concatLTOPluginOptions"),
        *rows(EQUALS_OR_SEPARATE, b"--threads", "threads", "14-23"),
        *rows(EQUALS, b"--thinlto-jobs", "jobs", "14-23"),
        *rows(EQUALS, b"--lto-partitions", "partitions", "14-23"),
        *rows(EQUALS, b"--lto", "lto", "17-23"),
        *rows(FLAG, b"--fat-lto-objects", "fat", "17-23"),
        *rows(FLAG, b"--no-fat-lto-objects", "no-fat", "17-23"),
        *rows(EQUALS_OR_FLAG, b"--thinlto-index-only", "index-only", "14-23"),
        *rows(EQUALS, b"--thinlto-distributor", "distributor", "21-23"),
        *rows(FLAG, b"--lto-emit-llvm", "emit-llvm", "17-23"),
        *both_dashes(FLAG, b"version help", "probe", "14-23"),
        # Options with a value, also in the next argument, with one dash or two.
        *both_dashes(
            EQUALS_OR_SEPARATE,
            b"""Map Tbss Tdata Ttext Ttext-segment auxiliary call-graph-ordering-file compress-debug-sections defsym dynamic-linker
            dynamic-list entry exclude-libs filter fini format hash-style init just-symbols keep-unique mips-got-size mllvm
            orphan-handling print-symbol-order retain-symbols-file rpath rpath-link script section-start soname sort-section
            split-stack-adjust-size target2 trace-symbol undefined unresolved-symbols version-script wrap""",
            seen="14-23",
        ),
        # The same, with two dashes only.
        *rows(
            EQUALS_OR_SEPARATE,
            b"""--android-memtag-mode --compress-sections --default-script --dependency-file --error-handling-script --error-limit
            --export-dynamic-symbol --export-dynamic-symbol-list --image-base --in-implib --irpgo-profile --load-pass-plugin
            --lto-known-safe-vtables --oformat --opt-remarks-hotness-threshold --out-implib --output --pack-dyn-relocs --remap-inputs
            --reproduce --rsp-quoting --shuffle-sections --symbol-ordering-file --thinlto-cache-policy --thinlto-distributor-arg
            --thinlto-remote-compiler-arg --thinlto-remote-compiler-prepend-arg --time-trace-granularity --undefined-glob
            --warn-backrefs-exclude --why-live""",
            seen="14-23, some since 15-22",
        ),
        *rows(SEPARATE, b"--chroot --opt-remarks-filename --opt-remarks-format --opt-remarks-passes -F -b -dT -f", seen="14-23"),
        *rows(EITHER, b"-G -O -R -T -e -h -o -u -y -z", seen="14-23"),
        *rows(EITHER, b"-m", "emulation", "14-23"),
        # Long options that would otherwise match a joined short option. That matters only for -l and -L above.
        *rows(JOINED, b"--lto-O --lto-CGO", seen="14-23"),
    ]
)


def facts(arguments: Arguments) -> Facts:
    """Read an ld.lld command line. A leading `-flavor gnu` (or ld, ld.lld), which selects the linker, is skipped."""
    skip = 2 if len(arguments.text) > 1 and arguments.text[0] == b"-flavor" else 0
    if skip:
        arguments = Arguments(arguments.text[skip:], arguments.at[skip:], arguments.count)
    return linkline.facts(arguments, TABLE, dashdash_ends=True)
