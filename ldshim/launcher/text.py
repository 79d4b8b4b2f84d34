"""The text of a launcher (what stands in a link farm under a tool's name), and of the installed command.

Both are made of launcher.sh, which says why it is a shell script, with Python's part behind it: a launcher carries everything by absolute
path (interpreter, directory of the package, directory where pyelftools was found, for `-IS` hides both, and the real tool), and the
command finds it. Both carry real_tool.MAGIC, by which any ldshim knows any other's. Where Python starts but the package cannot be
imported, Python's part execs the script again, which then runs the tool.

Python's part turns the collection of garbage off, which would look at every new function and find none (1.4 ms; the warden turns it on
again).

Everything here is pure; `ldshim link-farm` (cli/link_farm.py) writes launchers down. The command is a file of the tree, for setup.cfg to
name it: `python -m ldshim.launcher.text > ldshim/launcher/ldshim` writes it, and test_launcher_command.py holds it against this.
"""

from __future__ import annotations

import sys

from ..call.environment import ASIDE, ASIDE_PREFIX
from ..call.real_tool import DRIVERS, LINKERS, MAGIC, MARK, NUMBERED, OTHERS, THREAD_MODELS, kind_of, variable_for
from ..command import probes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

TEMPLATE = __file__.rpartition("/")[0] + "/launcher.sh"  # before anything is filled in
SHEBANG_BYTES = 255  # Linux reads no more of a first line, its end included (BINPRM_BUF_SIZE), and before 5.1 cuts it at 127

# `!a` makes ASCII of every path, so that the text means the same in every locale.
FARM = """\
import sys
sys.path += {places!a}
try:
{forked}{quick}    import gc
    gc.disable()
    from ldshim.entry import run_baked
except Exception as failure:
    hint = 'run ldshim link-farm --refresh'
{restart}run_baked({name!a}, {real!a})
# end of what only Python reads
"""
COMMAND = """\
import sys
try:
    if 'ldshim' in sys._xoptions:
        sys.path.append(sys._xoptions['ldshim'])
{forked}    if 'ldshim_tool' in sys._xoptions and not any(word.startswith(('-flto', '-plugin')) for word in sys.argv):
        from ldshim import plain_link
        plain_link.link_found(sys._xoptions['ldshim_tool'], 1 if sys.argv[0].endswith('/ldshim') else 0)
    import gc
    gc.disable()
    from ldshim.__main__ import main
except Exception as failure:
    hint = 'install ldshim again'
{restart}main()
# end of what only Python reads
"""
# The kernel's copy of the environment, for Python may have exported LC_CTYPE into its own.
RESTART = f"""\
    import _signal, posix
    try:
        with open('/proc/self/environ', 'rb') as block:
            pairs = [entry.split(b'=', 1) for entry in block.read().split(b'\\0') if b'=' in entry[1:]]
    except OSError:
        pairs = [[name, value] for name, value in posix.environ.items()]
    given = dict(pairs)
    for name, value in pairs:
        if name.startswith({ASIDE_PREFIX!a}):
            del given[name]
            given[name[{len(ASIDE_PREFIX)}:]] = value
    given[b'_LDSHIM_GONE'] = str(posix.getpid()).encode()
    try:
        line = 'ldshim: {{}}: the package cannot be imported, the tool runs unchanged: {{}}; {{}}\\n'
        posix.write(2, line.format(ascii(sys.argv[0].rpartition('/')[2])[1:-1], ascii(failure), hint).encode())
    except OSError:
        pass
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    posix.execve('/bin/sh', ['/bin/sh'] + sys.argv, given)
"""
# The shell's own child is not to be met by a tool whose caller blocks SIGCHLD.
FORKED = """\
    if 'ldshim_forked' in sys._xoptions:
        import _signal
        if _signal.SIGCHLD in _signal.sigpending():
            _signal.sigtimedwait([_signal.SIGCHLD], 0)
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
    absolute; places: directories for sys.path, the package's first; library: the interpreter's own modules; check: the interpreter needs
    variables of the caller's to start; family, identity: what the tool was when this was written, for plain_link.link; "" when that is not
    certain.
    """

    __slots__ = ("argv0", "check", "family", "identity", "kind", "library", "name", "places", "python", "real")

    def __init__(self, name: bytes, kind: str, tool: tuple[bytes, bytes], python: bytes, places: list[str]) -> None:
        self.name = name
        self.kind = kind
        self.real, self.argv0 = tool
        self.python = python
        self.places = places
        self.library = b"/"
        self.check = False
        self.family = ""
        self.identity: tuple[int, ...] = ()

    def text(self, template: bytes) -> bytes:
        """Return the whole file. template: the content of launcher.sh."""
        fields = {
            b"@WRITTEN@": b"Written by `ldshim link-farm`, replaced by `link-farm --refresh`; explained in ldshim/launcher/launcher.sh.",
            b"@HINT@": b"run ldshim link-farm --refresh",
            b"@NAME@": quoted(self.name),
            b"@KIND@": self.kind.encode(),
            b"@VARIABLE@": variable_for(self.name),
            b"@REAL@": quoted(self.real),
            b"@DIRECTORY@": quoted(self.real.rpartition(b"/")[0]),
            b"@PYTHON@": quoted(self.python),
            b"@LIBRARY@": quoted(self.library),
            b"@CHECK@": b"yes" if self.check else b"",
            b"@PACKAGE@": quoted(self.places[0].encode("utf-8", "surrogateescape")),
        }
        values = {"places": self.places, "name": self.name, "real": self.real, "argv0": self.argv0}
        quick = QUICK.format(never=NEVER_PLAIN[self.kind], family=self.family, identity=self.identity, **values) if self.family else ""
        code = FARM.format(forked=FORKED, quick=quick, restart=RESTART, **values).encode("ascii")
        return _whole(template, b"farm", [self.kind], fields) + code


def command(template: bytes) -> bytes:
    """Return the whole text of the installed command. template: the content of launcher.sh."""
    usual = [(kind_of(name), name) for name in b"gcc g++ cc c++ clang clang++ ld ld.bfd ld.lld".split()]  # whose letters need no loop
    fields = {
        b"@THREAD_MODELS@": alternatives(b"*" + model for model in THREAD_MODELS),
        b"@OTHERS@": alternatives(OTHERS),
        b"@NUMBERED@": alternatives(name + b":*" for name in NUMBERED),
        b"@WRITTEN@": b"Written by `python -m ldshim.launcher.text`; explained in ldshim/launcher/launcher.sh.",
        b"@HINT@": b"install ldshim again",
        b"@DRIVERS@": alternatives(b"*:" + name for name in DRIVERS),
        b"@LINKERS@": alternatives(b"*:" + name for name in LINKERS),
        b"@UPPER@": b"\n".join(b"%b:%b) _ldshim_variable=%b ;;" % (kind.encode(), name, variable_for(name)) for kind, name in usual),
        b"@LETTERS@": b"\n".join(b"%c) _ldshim_letter=%c ;;" % (letter, letter - 32) for letter in range(97, 123)),
    }
    return _whole(template, b"command", ["driver", "linker"], fields) + COMMAND.format(forked=FORKED, restart=RESTART).encode("ascii")


def _whole(template: bytes, use: bytes, kinds: list[str], fields: dict[bytes, bytes]) -> bytes:
    """Fill in the template for one use, "farm" or "command"; what belongs to a kind of tool comes once for each kind."""
    first = b"#!/bin/sh -"
    common = {
        b"@PADDING@": b"-" + b"b" * (SHEBANG_BYTES - 1 - len(first)),
        b"@MAGIC@": MAGIC,
        b"@MARK@": MARK,
        b"@ASIDE@": b" ".join(ASIDE),
        b"@ASIDE_SET@": b"".join(b"${%b+x}" % name for name in ASIDE),
        **fields,
    }
    out: list[bytes] = []
    section, block = b"both", list[bytes]()
    for line in [*template.split(b"\n"), b"#[both]"]:
        word = line.strip()
        if not word.startswith(b"#["):
            block.append(line)
            continue
        if section in (b"probes", b"links"):
            for kind in kinds:
                out += [_filled(one, {**common, **_lists(kind), b"@KIND@": kind.encode()}) for one in block]
        elif section in (use, b"both"):
            out += [_filled(one, common) for one in block]
        section, block = word[2:-1], []
    text = b"\n".join(out[:3] + [line for line in out[3:] if line and not line.lstrip().startswith(b"#")]) + b"\n"
    # A path may hold any bytes, and Python reads this, too.
    return text if text.isascii() else text.replace(MAGIC, MAGIC + b" coding: latin-1", 1)


def _lists(kind: str) -> dict[bytes, bytes]:
    """Return the fields of a section that is there for each kind of tool."""
    driver = kind == "driver"
    known = probes.DRIVER_PROBES if driver else probes.LINKER_PROBES
    prefixes = probes.DRIVER_PROBE_PREFIXES if driver else ()
    takes_next = probes.DRIVER_TAKES_NEXT if driver else probes.LINKER_TAKES_NEXT
    return {
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


def _configure(column: int) -> list[bytes]:
    """Collect the patterns of one column of the table."""
    return [pattern for _, row in probes.CONFIGURE for pattern in row[column].split()]


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
    """Quote one word for a POSIX shell, never with three quotes in a row, which would end Python's string."""
    return b"'" + value.replace(b"'", b"'\"'\"'") + b"'"


def alternatives(patterns: Iterable[bytes]) -> bytes:
    """Join the patterns of one `case` branch; the same list gives the same bytes."""
    return b" | ".join(sorted(patterns))


def second_characters(words: Iterable[bytes]) -> bytes:
    """Collect the second characters of options for a bracket expression: a dash must stand last in it."""
    found = {word[1:2] for word in words}
    return b"".join(sorted(found - {b"-"})) + (b"-" if b"-" in found else b"")


if __name__ == "__main__":
    with open(TEMPLATE, "rb") as stream:
        sys.stdout.buffer.write(command(stream.read()))
