"""Pass a number to a make that is no jobserver client, below a GCC link.

With a GNU make the number is enforced because GCC sees a private jobserver, and runs make without -j (rewrite.show_private). Any other make
then runs one job, or as many as a -j in MAKEFLAGS allows, or rejects MAKEFLAGS. There are two other ways:

- No jobserver is visible. GCC runs `$MAKE -f FILE -jN all` with MAKEFLAGS and MFLAGS empty, as without ldshim, and every make accepts that.
  But GCC chooses N. Up to 11 only the link's own options count. From 14 on they override what the objects record. 12 and 13 prefer auto,
  and else take the largest number, until one of their updates. So this way is taken only where every possible rule gives the same number. -
  GCC sees the private jobserver, make does not: the auth is the value of a macro in MAKEFLAGS. GCC searches MAKEFLAGS for the text, and
  make sees the definition of a macro, as in POSIX. GCC then passes no -j, so it is appended to $MAKE. Seen to work for GNU make 4.3, bmake
  20200710 and remake 4.3, with GCC 11 and 12.

Pure: facts in, Edits out.
"""

from __future__ import annotations

from ..call.banner import NEWEST
from .mode import asks_for_jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..call.environment import Environment
    from ..command.argv import Facts, Option
    from ..inputs.findings import Findings
    from .rewrite import Edits

MACRO = b"LDSHIM_JOBSERVER"
_UNKNOWN = -1


class Gcc:
    """The facts by which GCC chooses its number of jobs.

    facts: of the command line, or of COLLECT_GCC_OPTIONS; found: with the options that the objects record; major: of the GCC that links,
    NEWEST for unknown; online: the number of CPUs online, the value of auto.
    """

    __slots__ = ("facts", "found", "major", "online")

    def __init__(self, facts: Facts, found: Findings, major: int, online: int) -> None:
        self.facts = facts
        self.found = found
        self.major = major
        self.online = online

    def may_choose(self, number: int) -> set[int]:
        """Return the numbers that GCC may choose without a jobserver, once number has replaced the link's requests; -1 for unknown."""
        facts, major, online = self.facts, self.major, self.online
        given = [b"%d" % number if _is_replaced(facts, option) else option.value for option in facts.flto if option.value is not None]
        recorded = [option[6:] for option in self.found.recorded if option.startswith(b"-flto=")]
        if not self.found.complete or facts.sources or facts.unread:
            recorded.append(b"jobserver")  # stands for unknown
        by_options = _number(given[-1:], online)
        overridden = by_options if given else _number(recorded, online)
        rules = {by_options} if major <= 11 else {overridden} if major >= 14 else {overridden, _number(given + recorded, online)}
        return rules if major != NEWEST else rules | {by_options, _number(given + recorded, online)}


def tell(edits: Edits, gcc: Gcc, number: int, auth: bytes, make: Sequence[bytes], environment: Environment) -> None:
    """Add the edits that pass the number to such a make. auth: the private jobserver's `R,W`; make: the words of $MAKE."""
    # With one job GCC would warn about serial compilation.
    if number > 1 and gcc.may_choose(number) == {number}:
        hide(edits, environment)
    else:
        show_gcc_only(edits, auth, number, make, environment)


def _is_replaced(facts: Facts, option: Option) -> bool:
    return option.at >= 0 and not facts.sources and asks_for_jobs(option)


def _number(values: Sequence[bytes], online: int) -> int:
    """Merge values of -flto=X as GCC does: auto, else the largest number (atoi). _UNKNOWN for jobserver, which means auto or one job."""
    if b"jobserver" in values:
        return _UNKNOWN
    if b"auto" in values:
        return online
    digits = [value[: len(value) - len(value.lstrip(b"0123456789"))][:9] for value in values]
    return max([1, *(int(text) for text in digits if text)])


def hide(edits: Edits, environment: Environment) -> None:
    """Hide every jobserver from the tool."""
    for name in (b"MAKEFLAGS", b"MFLAGS", b"CARGO_MAKEFLAGS"):
        edits.variables.pop(name, None)
        if name in environment:
            edits.variables[name] = b""


def show_gcc_only(edits: Edits, auth: bytes, number: int, make: Sequence[bytes], environment: Environment) -> None:
    """Show the private jobserver to GCC only, and pass the number to make. auth: `R,W`; make: the words of $MAKE."""
    hide(edits, environment)
    edits.variables[b"MAKEFLAGS"] = MACRO + b"=--jobserver-auth=" + auth
    edits.variables[b"MAKE"] = b" ".join(_quoted(word) for word in [*make, b"-j%d" % number])


def _quoted(word: bytes) -> bytes:
    """Quote one word as libiberty's writeargv does, for its buildargv."""
    special = b" \t\n\r\v\f'\"\\"
    return b"".join(b"\\" * (byte in special) + bytes((byte,)) for byte in word) or b'""'
