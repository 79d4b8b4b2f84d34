"""The text of one launcher: what stands in a link farm under a tool's name.

Two kinds, because two things are to be quick. A compiler is called for every object and seldom links, so its launcher is a shell script
(launcher.sh) that execs the real tool for everything but links. A linker is called to link, and a shell in front of Python would only add
to what the link pays, so its launcher is a Python file with the interpreter behind `#!`.

Both carry real_tool.MAGIC, by which any ldshim knows any other's launcher, and everything they need by absolute path: interpreter,
directory of the package, the directory where pyelftools was found (`-IS` hides both), the real tool. When the package is gone,
both exec the real tool; when the interpreter is gone only the shell script can: the kernel knows no second choice behind `#!`, so a
linker's launcher then fails with "not found" until `ldshim link-farm --refresh` has run under the new one.

A launcher turns the collection of garbage off, which would look at every new function and find none (1.4 ms; the warden turns it on
again).

Everything here is pure; `ldshim link-farm` (cli/link_farm.py) writes it down.
"""

from __future__ import annotations

from ..call.real_tool import MAGIC, MARK, variable_for
from ..command import probes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

TEMPLATE = __file__.rpartition("/")[0] + "/launcher.sh"  # the shell launcher, before anything is filled in
SHEBANG_BYTES = 127  # Linux before 5.1 reads no more of a first line (BINPRM_BUF_SIZE)

# `!a` makes ASCII of every path, so that the text means the same in every locale.
PYTHON = """\
sys.path += {places!a}
try:
{quick}    import gc
    gc.disable()
    from ldshim.entry import run_baked
except Exception as failure:
    import _signal, os
    os.write(2, b'ldshim: %b: the package cannot be imported, the tool runs unchanged: %b; run ldshim link-farm --refresh\\n'
             % ({name!a}, ascii(failure).encode()))
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    os.execv({real!a}, [{argv0!a}, *sys.argv[1:]])
run_baked({name!a}, {real!a})
"""
QUICK = """\
    if not any(word.startswith({never!a}) for word in sys.argv):
        from ldshim import plain_link
        plain_link.link({name!a}, ({real!a}, {argv0!a}), {family!a}, {identity!a})
"""
NEVER_PLAIN = {"driver": "-flto", "linker": "-plugin"}  # plain_link.py would say so, too; to import it for that is 0.3 ms


class Launcher:
    """What one launcher is made of.

    name: the tool's; kind: "driver" or "linker"; real: the tool, absolute; argv0: what it is to see as argv[0]; python: the interpreter,
    absolute; places: directories for sys.path, the package's first; family, identity: what the tool was when this was written, for
    plain_link.link; "" when that is not certain.
    """

    __slots__ = ("argv0", "family", "identity", "kind", "name", "places", "python", "real")

    def __init__(self, name: bytes, kind: str, tool: tuple[bytes, bytes], python: bytes, places: list[str]) -> None:
        self.name = name
        self.kind = kind
        self.real, self.argv0 = tool
        self.python = python
        self.places = places
        self.family = ""
        self.identity: tuple[int, ...] = ()

    def text(self, template: bytes) -> bytes:
        """Return the whole file. template: the content of launcher.sh."""
        if self.kind == "linker" and fits_shebang(self.python):
            return self.python_text()
        return self.shell_text(template)

    def python_text(self) -> bytes:
        """Return the Python file that stands in for a linker."""
        head = b"#!" + self.python + b" -IS\n# " + MAGIC + b"\n# Written by `ldshim link-farm`, replaced by `ldshim link-farm --refresh`.\n"
        return head + b"import sys\n" + self._code()

    def shell_text(self, template: bytes) -> bytes:
        """Return the shell script that stands in for a compiler (or for a linker, where the interpreter fits behind no `#!`)."""
        driver = self.kind == "driver"
        known = probes.DRIVER_PROBES if driver else probes.LINKER_PROBES
        prefixes = probes.DRIVER_PROBE_PREFIXES if driver else ()
        takes_next = probes.DRIVER_TAKES_NEXT if driver else probes.LINKER_TAKES_NEXT
        fields = {
            b"@MAGIC@": MAGIC,
            b"@MARK@": MARK,
            b"@NAME@": quoted(self.name),
            b"@VARIABLE@": variable_for(self.name),
            b"@REAL@": quoted(self.real),
            b"@PYTHON@": quoted(self.python),
            # With -c the interpreter's own word stands first in argv; behind it comes the launcher's path, as behind `#!`.
            b"@CODE@": quoted(b"import sys; del sys.argv[0]\n" + self._code()),
            b"@PACKAGE@": quoted(self.places[0].encode("utf-8", "surrogateescape")),
            # `:` stands before what is matched: a pattern without it is one that never matches.
            b"@FIRST@": alternatives(b":" + word for word in probes.CC1) if driver else b"-",
            b"@ALONE@": alternatives([b"0:", *(b"1:" + word for word in probes.NO_INPUT)]),
            b"@SECOND@": second_characters([*known, *prefixes]),
            b"@PROBES@": alternatives([*known, *(prefix + b"*" for prefix in prefixes)]),
            b"@TAKES_NEXT@": b" " + b" ".join(sorted(takes_next.split())) + b" ",
            b"@CONFIGURE_MOST@": b"%d" % probes.CONFIGURE_MOST,
            b"@LINKER_ASKED@": alternatives(probes.LINKER_ASKED.split()),
            b"@OUTPUTS@": alternatives(_configure(probes.OUTPUTS)),
            b"@INPUTS@": alternatives(_configure(probes.INPUTS)),
            b"@PLACES@": alternatives(_configure(probes.PLACES)),
            b"@NEUTRAL@": alternatives((probes.DRIVER_NEUTRAL if driver else probes.LINKER_NEUTRAL).split()),
            b"@NOTHING@": probes.NO_SOURCE,
        }
        return b"\n".join(_filled(line, fields) for line in without_comments(template))

    def _code(self) -> bytes:
        values = {"places": self.places, "name": self.name, "real": self.real, "argv0": self.argv0}
        quick = QUICK.format(never=NEVER_PLAIN[self.kind], family=self.family, identity=self.identity, **values) if self.family else ""
        return PYTHON.format(quick=quick, **values).encode("ascii")


def _configure(column: int) -> list[bytes]:
    """Collect the patterns of one column of the table."""
    return [pattern for _, row in probes.CONFIGURE for pattern in row[column].split()]


def fits_shebang(python: bytes) -> bool:
    """Tell whether an interpreter can stand behind `#!`: the kernel cuts at blanks, and after so many bytes."""
    return len(python) + len(b"#! -IS\n") <= SHEBANG_BYTES and not any(blank in python for blank in b" \t\n")


def without_comments(template: bytes) -> list[bytes]:
    """Return the lines of a shell script without comment lines, except the first three: a shell reads every one at every start."""
    lines = template.split(b"\n")
    return lines[:3] + [line for line in lines[3:] if not line.lstrip().startswith(b"#")]


def _filled(line: bytes, fields: dict[bytes, bytes]) -> bytes:
    """Fill in one line, left to right, so that nothing that was filled in is looked at again."""
    out = b""
    while True:
        start = line.find(b"@")
        end = line.find(b"@", start + 1) + 1
        if start < 0 or not end:
            return out + line
        value = fields.get(line[start:end])
        if value is None:
            end = start + 1
            value = b"@"
        out += line[:start] + value
        line = line[end:]


def quoted(value: bytes) -> bytes:
    """Quote one word for a POSIX shell."""
    return b"'" + value.replace(b"'", b"'\\''") + b"'"


def alternatives(patterns: Iterable[bytes]) -> bytes:
    """Join the patterns of one `case` branch; the same list gives the same bytes."""
    return b" | ".join(sorted(patterns))


def second_characters(words: Iterable[bytes]) -> bytes:
    """Collect the second characters of options for a bracket expression: a dash must stand last in it."""
    found = {word[1:2] for word in words}
    return b"".join(sorted(found - {b"-"})) + (b"-" if b"-" in found else b"")
