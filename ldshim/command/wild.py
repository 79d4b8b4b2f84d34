"""Read the command line of wild.

wild has GNU ld's syntax: long options with one dash or two, a value after `=` or in the next argument. It is a jobserver client, unless a
thread count is given: then it uses that many threads and takes no token (libwild/src/args.rs, activate_thread_pool).
"""

from __future__ import annotations

from . import linkline
from .argv import EITHER, EQUALS_OR_FLAG, EQUALS_OR_SEPARATE, FLAG, Table, both_dashes, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .argv import Arguments, Facts

TABLE = Table(
    [
        *rows(EITHER, b"-l", "library", "0.8"),
        *rows(EITHER, b"-L", "directory", "0.8"),
        *both_dashes(EQUALS_OR_SEPARATE, b"sysroot", "sysroot", "0.8"),
        *rows(FLAG, b"-r --relocatable -relocatable", "relocatable", "0.8"),
        *both_dashes(FLAG, b"whole-archive", "whole", "0.8"),
        *both_dashes(FLAG, b"no-whole-archive", "no-whole", "0.8"),
        *both_dashes(FLAG, b"Bstatic static", "static", "0.8"),
        *both_dashes(FLAG, b"Bdynamic", "dynamic", "0.8"),
        *both_dashes(FLAG, b"push-state", "push", "0.8"),
        *both_dashes(FLAG, b"pop-state", "pop", "0.8"),
        *both_dashes(FLAG, b"start-lib", "start-lib", "0.8"),
        *both_dashes(FLAG, b"end-lib", "end-lib", "0.8"),
        *both_dashes(EQUALS_OR_SEPARATE, b"plugin", "plugin", "0.9"),
        *both_dashes(EQUALS_OR_SEPARATE, b"plugin-opt", "plugin-opt", "0.9"),
        *both_dashes(EQUALS_OR_FLAG, b"threads", "threads", "0.8; a bare one means the default"),
        *both_dashes(EQUALS_OR_SEPARATE, b"thread-count", "threads", "0.8"),
        *both_dashes(FLAG, b"no-threads", "no-threads", "0.8"),
        *both_dashes(FLAG, b"version help", "probe", "0.8"),
        *both_dashes(
            EQUALS_OR_SEPARATE,
            b"""Map auxiliary compress-debug-sections debug-address debug-fuel defsym dependency-file dynamic-linker dynamic-list entry
            exclude-libs export-dynamic-symbol export-dynamic-symbol-list fini gc-stats-ignore hash-style icf image-base init output
            pack-dyn-relocs retain-symbols-file rpath rpath-link script section-start soname undefined unresolved-symbols version-script
            wild-experiments wrap write-gc-stats""",
            seen="0.8 (libwild/src/args/elf.rs)",
        ),
        *rows(EITHER, b"-F -I -O -R -T -e -f -h -m -o -u -y -z", seen="0.8"),
    ]
)


def facts(arguments: Arguments) -> Facts:
    """Read a wild command line."""
    return linkline.facts(arguments, TABLE)
