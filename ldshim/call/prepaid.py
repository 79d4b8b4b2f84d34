"""Know the caller that has paid for its number already.

An explicit number is a ceiling, and we reserve under it. But some callers reserve before they write it down: build2 takes threads from its
own scheduler and writes -flto=N or -flto-jobs=N, rustc takes tokens from cargo's jobserver and writes --threads=N for lld. To reserve
under that number once more would count every thread twice, and shrink the link to what is left. Nothing in the words tells such a number
from one that a person wrote, so the ancestor does: the nearest process that is no driver, no shell and nobody's front end.

How it is used: plan asks when a line holds an explicit number, never otherwise, because climbing costs some reads of /proc.
"""

from __future__ import annotations

import os

from . import processes
from .prefix import PREFIXES
from .real_tool import CACHES, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

# program, the numbers that it pays for, and a word of its own command line that shows a person's number ("" for none)
PAYERS: tuple[tuple[bytes, frozenset[str], bytes], ...] = (
    (b"b", frozenset(("flto", "jobs", "threads")), b""),  # build2, libbuild2/cc/link-rule.cxx: from its own scheduler
    (b"rustc", frozenset(("threads",)), b"--threads"),  # rust-lang/rust PR 159675; a -Clink-arg is a person's
)
# Who stands between such a caller and its linker without a will of its own.
_BETWEEN = frozenset((*b"sh dash bash ash ksh zsh busybox collect2".split(), *PREFIXES, *CACHES))
_DEEPEST = 32


def payer(said: Collection[str], pid: int = 0) -> str:
    """Name the ancestor that has paid for a number; "" when none has. said: kinds of the number, of flto, jobs, threads; pid: 0 for us."""
    number = pid or os.getpid()
    for _ in range(_DEEPEST):
        number = processes.parent(number)
        program = processes.executable(number) if number > 1 else b""
        if not program:
            return ""
        for name, kinds, disproof in PAYERS:
            if program == name:
                written = disproof != b"" and disproof in processes.command_line(number)
                return name.decode() if kinds.issuperset(said) and not written else ""
        if program not in _BETWEEN and not kind_of(program):
            return ""
    return ""
