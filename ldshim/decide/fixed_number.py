"""Pass a number to a make that shares no jobserver, below a GCC link.

With a GNU make the number holds because GCC sees a private jobserver and runs make without a -j (rewrite.show_private). Any other make then
runs one job, or as many as some -j in our MAKEFLAGS says, or refuses MAKEFLAGS. Two ways are left, and this file chooses:

- No jobserver is visible. GCC runs `$MAKE -f FILE -jN all` with MAKEFLAGS and MFLAGS empty, as without ldshim, so every make understands
  it. But N is GCC's to choose. Up to 11 it reads the link line only; from 14 on the link line wins over what the objects recorded; 12 and
  13 take auto above all, and else the largest number, until an update of theirs. So this way is only taken where each rule that may hold
  gives our number.
- GCC sees the private jobserver, make does not: the auth stands in the value of a variable in MAKEFLAGS, where GCC looks for no more than
  the text, and make finds a macro, as POSIX has it. GCC then gives no -j, so we do, as the last word of $MAKE: it is the word that GCC
  would use. Seen to hold for GNU make 4.3, bmake 20200710 and remake 4.3, with GCC 11 and 12.

Pure: facts in, Edits out.
"""

from __future__ import annotations

from ..call.banner import NEWEST
from .mode import asks_for_jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..call.environment import Environment
    from ..command.argv import Facts, Said
    from ..inputs.findings import Findings
    from .rewrite import Edits

MACRO = b"LDSHIM_JOBSERVER"
_UNKNOWN = -1


class Gcc:
    """What decides how many jobs GCC starts by itself.

    facts: of the link line, or of COLLECT_GCC_OPTIONS; found: what the objects recorded; major: of the GCC that links, NEWEST for unknown;
    online: CPUs online, which is what auto means.
    """

    __slots__ = ("facts", "found", "major", "online")

    def __init__(self, facts: Facts, found: Findings, major: int, online: int) -> None:
        self.facts = facts
        self.found = found
        self.major = major
        self.online = online

    def may_choose(self, number: int) -> set[int]:
        """Return what GCC may start without a jobserver, once the link line's requests are replaced by number; -1 for what nobody knows."""
        facts, major, online = self.facts, self.major, self.online
        line = [b"%d" % number if _is_replaced(facts, said) else said.value for said in facts.flto if said.value is not None]
        recorded = [word[6:] for word in self.found.recorded if word.startswith(b"-flto=")]
        if not self.found.complete or facts.sources or facts.unread:
            recorded.append(b"jobserver")  # nobody knows
        by_line = _number(line[-1:], online)
        overridden = by_line if line else _number(recorded, online)
        rules = {by_line} if major <= 11 else {overridden} if major >= 14 else {overridden, _number(line + recorded, online)}
        return rules if major != NEWEST else rules | {by_line, _number(line + recorded, online)}


def tell(edits: Edits, gcc: Gcc, number: int, auth: bytes, make: Sequence[bytes], environment: Environment) -> None:
    """Add to the edits what passes the number to such a make. auth: the private jobserver's `R,W`; make: the words of $MAKE."""
    # With one job GCC would warn that it compiles serially.
    if number > 1 and gcc.may_choose(number) == {number}:
        hide(edits, environment)
    else:
        show_gcc_only(edits, auth, number, make, environment)


def _is_replaced(facts: Facts, said: Said) -> bool:
    return said.at >= 0 and not facts.sources and asks_for_jobs(said)


def _number(values: Sequence[bytes], online: int) -> int:
    """Merge values of -flto=X as GCC does: auto above all, then the largest number (atoi); jobserver comes to auto or to one job."""
    if b"jobserver" in values:
        return _UNKNOWN
    if b"auto" in values:
        return online
    digits = [value[: len(value) - len(value.lstrip(b"0123456789"))][:9] for value in values]
    return max([1, *(int(text) for text in digits if text)])


def hide(edits: Edits, environment: Environment) -> None:
    """Leave no jobserver to be seen."""
    for name in (b"MAKEFLAGS", b"MFLAGS", b"CARGO_MAKEFLAGS"):
        edits.variables.pop(name, None)
        if name in environment:
            edits.variables[name] = b""


def show_gcc_only(edits: Edits, auth: bytes, number: int, make: Sequence[bytes], environment: Environment) -> None:
    """Name the private jobserver to GCC, and the number to make. auth: `R,W`; make: the words of $MAKE."""
    hide(edits, environment)
    edits.variables[b"MAKEFLAGS"] = MACRO + b"=--jobserver-auth=" + auth
    edits.variables[b"MAKE"] = b" ".join(_quoted(word) for word in [*make, b"-j%d" % number])


def _quoted(word: bytes) -> bytes:
    """Quote one word as libiberty's writeargv does, for its buildargv."""
    special = b" \t\n\r\v\f'\"\\"
    return b"".join(b"\\" * (byte in special) + bytes((byte,)) for byte in word) or b'""'
