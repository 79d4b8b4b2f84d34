"""Programs that run the command behind their options: `nice -n 5 gcc …`, `env X=1 gcc …`, `ccache gcc …`.

The problem: CC="ldshim ccache gcc" names a compiler, but the first word behind ldshim is no tool that it knows, so every link would pass
through with whatever number it asks for. The consequence: the words in front of the tool are read by this table, and two things follow.

A compiler cache (CACHES) runs a link as it is called. So ldshim decides as for the tool itself, and execs the cache with the edited words.
Any other prefix program (PREFIXES) may change what a decision depends on: variables, PATH, CPUs, limits. So ldshim is put in front of the
tool, `nice -n 5 ldshim gcc …`, and decides there. A call that is no link runs as it was written: the cache sees the compiler that it knows.

What is not certain (an option that is not listed, a program behind it that is no tool) passes through, and `explain` says why.
Programs that change the user, the root directory or the namespace are left out: ldshim need not exist there.
"""

from __future__ import annotations

import os
import sys

from .real_tool import CACHES, OWN_NAME, kind_of, program_name, show, stand_in, unversioned, variable_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .environment import Environment
    from .real_tool import Call

# name: short options as getopt has them (`n:` takes a value, `n::` only an attached one), long options (`=` takes a value, `?` only an
# attached one), operands before the command. Where seen: the program's --help, of the version named.
_PRLIMIT = b"""output= noheadings raw verbose core? data? nice? fsize? sigpending? memlock? rss? nofile? msgqueue? rtprio? stack? cpu?
    nproc? as? locks? rttime?"""
_SETARCH = b"""32bit fdpic-funcptrs short-inode addr-compat-layout addr-no-randomize whole-seconds sticky-timeouts read-implies-exec
    mmap-page-zero 3gb 4gb uname-2.6 verbose"""
_NUMACTL = b"all localalloc balancing interleave= preferred= preferred-many= physcpubind= cpunodebind= membind="
_ENV = b"ignore-environment unset= chdir= debug block-signal? default-signal? ignore-signal? list-signal-handling"
PREFIXES: dict[bytes, tuple[bytes, bytes, int]] = {
    b"nice": (b"n:0123456789", b"adjustment=", 0),  # coreutils 9.1; `nice -5` is the old spelling
    b"env": (b"iu:C:v", _ENV, 0),  # coreutils 9.1; without -S, which splits words
    b"nohup": (b"", b"", 0),  # coreutils 9.1
    b"stdbuf": (b"i:o:e:", b"input= output= error=", 0),  # coreutils 9.1
    b"timeout": (b"k:s:vfp", b"kill-after= signal= verbose foreground preserve-status", 1),  # coreutils 9.1; -f and -p 9.5
    b"time": (b"apqvf:o:", b"append portability quiet verbose format= output=", 0),  # time 1.9
    b"numactl": (b"albi:p:P:C:N:m:", _NUMACTL, 0),  # numactl 2.0.16
    b"taskset": (b"ac", b"all-tasks cpu-list", 1),  # util-linux 2.38, and all below
    b"ionice": (b"c:n:t", b"class= classdata= ignore", 0),
    b"chrt": (b"abdfiorRvT:P:D:", b"all-tasks batch deadline fifo idle other rr reset-on-fork verbose", 1),
    b"setsid": (b"cfw", b"ctty fork wait", 0),
    b"flock": (b"sxnFow:E:", b"shared exclusive nonblock no-fork close verbose timeout= conflict-exit-code=", 1),
    b"prlimit": (b"o:c::d::e::f::i::l::m::n::q::r::s::t::u::v::x::y::", _PRLIMIT, 0),
    **dict.fromkeys((b"setarch", b"linux32", b"linux64", b"i386", b"x86_64"), (b"BFILRSTXZ3v", _SETARCH, 0)),
}
_ASSIGNING = frozenset((b"env", b"ccache"))  # NAME=VALUE in front of the command; ccache from 4.8

# Kin of the tools that are passed through, and why.
NO_TOOLS: dict[bytes, str] = {
    b"gnatmake": "it runs gcc for its links: put gcc into a directory of launchers on PATH",
    b"gnatlink": "it runs gcc for its links: put gcc into a directory of launchers on PATH",
    b"gprbuild": "it runs gcc for its links: put gcc into a directory of launchers on PATH",
    b"hipcc": "it runs its own clang: name amdclang++ instead",
    b"nvcc": "it runs the host's compiler for its links: put gcc into a directory of launchers on PATH",
    b"rustc": "it runs its linker for its links: name that with -Clinker=",
    b"zig": "it has clang's banner, links by itself, and refuses clang's options for threads",
    b"flang": "it was not tried",
    b"flang-new": "it was not tried",
    b"clang-cl": "it has the command line of MSVC's compiler",
    b"lld-link": "it has the command line of MSVC's linker",
    b"ld64.lld": "it has the command line of Apple's linker",
    b"wasm-ld": "it links WebAssembly, and was not tried",
}


NO_COMMAND = "ldshim was not started by its own command, so it cannot be put in front of the tool"


class Behind:
    """A tool behind prefix programs. at: where its name stands in args; insert: where ldshim is to be put, -1 behind a compiler cache."""

    __slots__ = ("at", "insert")

    def __init__(self, at: int, insert: int) -> None:
        self.at = at
        self.insert = insert


def look(name: bytes, args: list[bytes]) -> Behind | str:
    """Find the tool that a call of a prefix program comes to, or say why the call is passed through. name: of the program called."""
    if name not in PREFIXES and name not in CACHES:
        why = NO_TOOLS.get(unversioned(name)) or "it is no compiler, linker or prefix program that ldshim knows by name"
        return f"{show(name)}: {why}"
    at, cached = 0, -1
    while True:
        if name in CACHES:
            cached = at if cached < 0 else cached
        elif cached >= 0:
            return f"{show(name)} behind a compiler cache: nobody knows what that makes of it"
        found = _skip(name, args, at)
        if isinstance(found, str):
            return found
        if found >= len(args):
            return f"{show(name)}: no command behind it"
        command = program_name(args[found])
        if command == OWN_NAME:
            return f"{show(name)}: ldshim stands behind it, and decides there"
        at = found + 1
        if kind_of(command):
            return Behind(found, -1 if cached == 0 else cached - 1 if cached > 0 else found)
        if command not in PREFIXES and command not in CACHES:
            return f"{show(name)}: the command behind it is no tool that ldshim knows by name: {show(args[found])}"
        name = command


def why_passed(call: Call) -> str:
    """Say why a call is passed through whose program is no tool; "" for a tool, and for a prefix program in front of one."""
    found = "" if call.kind else look(call.name, call.args)
    return f"{found}: passed through" if found and isinstance(found, str) else ""


def _skip(name: bytes, args: list[bytes], at: int) -> int | str:
    """Return where the command stands behind a prefix program's own words, which begin at `at`; a reason where that is not certain."""
    if name in CACHES:
        shorts = longs = b""
        operands = 0
        if args[at : at + 1] and args[at].startswith(b"-"):
            return f"{show(name)}: its own option, or a compiler that it chooses: {show(args[at])}"
    else:
        shorts, longs, operands = PREFIXES[name]
    if name == b"setarch" and at < len(args) and not args[at].startswith(b"-") and not kind_of(program_name(args[at])):
        at += 1  # the architecture
    known = longs.split()
    while at < len(args) and args[at].startswith(b"-") and args[at] != b"-":
        word = args[at]
        at += 1
        if word == b"--":
            break
        takes = _long(word[2:], known) if word.startswith(b"--") else _short(word[1:], shorts)
        if takes < 0:
            return f"{show(name)}: an option that ldshim does not look behind: {show(word)}"
        at += takes
    if name in _ASSIGNING:
        while at < len(args) and (b"=" in args[at] or args[at] == b"-"):
            at += 1
    return at + operands


def _long(text: bytes, known: list[bytes]) -> int:
    """Tell how many words an option of two dashes takes behind it; -1 where it is not known."""
    name, equals, _ = text.partition(b"=")
    if name + b"=" in known:
        return 0 if equals else 1
    return 0 if name + b"?" in known or (name in known and not equals) else -1


def _short(letters: bytes, known: bytes) -> int:
    """Tell the same of letters behind one dash."""
    for index in range(len(letters)):
        place = known.find(letters[index : index + 1])
        if place < 0 or letters[index : index + 1] == b":":
            return -1
        if known[place + 1 : place + 3] == b"::":
            return 0
        if known[place + 1 : place + 2] == b":":
            return 0 if index + 1 < len(letters) else 1
    return 0


def with_ldshim(args: list[bytes], behind: Behind) -> list[bytes]:
    """Return the words of a prefix program with ldshim in front of the tool; [] where this process was not started by its command."""
    own = os.fsencode(sys.argv[0])
    if program_name(own) != OWN_NAME or not (os.path.isfile(own) and os.access(own, os.X_OK)):
        return []
    return [*args[: behind.insert], os.path.abspath(own), *args[behind.insert :]]


def through(call: Call, behind: Behind, environment: Environment) -> Call:
    """Return the call of the tool behind a compiler cache, to be execed through it. Raises UnfoundError where the tool is not there.

    A pin (LDSHIM_REAL_*) does not hold: the cache searches PATH itself.
    """
    word = call.args[behind.at]
    name = program_name(word)
    unpinned = environment.changed({variable_for(name): None})
    tool = stand_in(name, call.args[behind.at + 1 :], unpinned, word if b"/" in word else b"")
    tool.through, tool.argv0, tool.front = call.real, call.argv0, call.args[: behind.at + 1]
    tool.prefix = f"{show(call.name)}: runs the tool with the words decided on"
    return tool


def runs_ldshim(call: Call, behind: Behind) -> str:
    """Say for people what becomes of a call in which ldshim is put in front of the tool."""
    return f"{show(call.name)}: runs ldshim in front of {show(call.args[behind.at])}, and that decides"
