"""Recognize a caller that has paid for its explicit number: one that reserved the threads itself.

An explicit number is a ceiling, and ldshim reserves threads below it. But build2 takes threads from its own scheduler and then passes
-flto=N or -flto-jobs=N, and rustc takes tokens from cargo's jobserver and then passes --threads=N to lld. A second reservation would count
every thread twice. The arguments do not show who chose the number. So the nearest ancestor that is no driver, no shell and no prefix
program decides.

How it is used: analysis calls `payer` only for a link with an explicit number, because it reads /proc for each ancestor.
"""

from __future__ import annotations

import os

from . import processes
from .prefix import PREFIXES
from .real_tool import CACHES, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

# program, the numbers that it pays for, and text of its own command line that shows a person's number (b"" for none)
PAYERS: tuple[tuple[bytes, frozenset[str], bytes], ...] = (
    (b"b", frozenset(("flto", "jobs", "threads")), b""),  # build2, libbuild2/cc/link-rule.cxx: from its own scheduler
    (b"rustc", frozenset(("threads",)), b"--threads"),  # rust-lang/rust PR 159675; a -Clink-arg is a person's
)
# Programs between such a caller and its linker that choose no number.
_BETWEEN = frozenset((*b"sh dash bash ash ksh zsh busybox collect2".split(), *PREFIXES, *CACHES))
_DEEPEST = 32


def payer(kinds_given: Collection[str], pid: int = 0) -> str:
    """Return the name of the ancestor that has paid for a number, "" for none.

    kinds_given: kinds of explicit numbers on the command line, of flto, jobs, threads; pid: 0 for this process.
    """
    number = pid or os.getpid()
    for _ in range(_DEEPEST):
        number = processes.parent(number)
        program = processes.executable(number) if number > 1 else b""
        if not program:
            return ""
        for name, kinds, disproof in PAYERS:
            if program == name:
                written = disproof != b"" and disproof in processes.command_line(number)
                return name.decode() if kinds.issuperset(kinds_given) and not written else ""
        if program not in _BETWEEN and not kind_of(program):
            return ""
    return ""
