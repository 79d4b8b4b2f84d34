"""Find the tool after prefix programs, which run the command after their options: `nice -n 5 gcc …`, `env X=1 gcc …`, `ccache gcc …`.

The problem: in CC="ldshim ccache gcc" the program after ldshim is no tool, so every link would pass through with the number that it asks
for. The consequence: this table has the options of such programs, and there are two cases.

A compiler cache (CACHES) runs a link with the arguments that it got. So ldshim decides as for the tool itself, and execs the cache with the
edited arguments. Any other prefix program (PREFIXES) may change what a decision depends on: variables, PATH, CPUs, limits. So ldshim
inserts itself before the tool, `nice -n 5 ldshim gcc …`, and decides there. A call that is no link is not changed at all.

An unknown option, or a command that is no tool, passes through, and `explain` says why. Programs that change the user, the root directory
or the namespace are not in the table, because ldshim may not exist there.
"""

from __future__ import annotations

import os
import sys

from .real_tool import CACHES, OWN_NAME, kind_of, program_name, show, stand_in, unversioned, variable_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .environment import Environment
    from .real_tool import Call

# name: short options as for getopt (`n:` takes a value, `n::` only a joined one), long options (`=` takes a value, `?` only a joined one),
# operands before the command. Where seen: the program's --help, of the version named.
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

# Programs like the tools that are passed through, and why.
NO_TOOLS: dict[bytes, str] = {
    b"gnatmake": "it runs gcc for its links: put gcc into a directory of launchers on PATH",
    b"gnatlink": "it runs gcc for its links: put gcc into a directory of launchers on PATH",
    b"gprbuild": "it runs gcc for its links: put gcc into a directory of launchers on PATH",
    b"hipcc": "it runs its own clang: name amdclang++ instead",
    b"nvcc": "it runs the system's compiler for its links: put gcc into a directory of launchers on PATH",
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
    """A tool after prefix programs. at: index of its name in args; insert: index at which to insert ldshim, -1 after a compiler cache."""

    __slots__ = ("at", "insert")

    def __init__(self, at: int, insert: int) -> None:
        self.at = at
        self.insert = insert


def look(name: bytes, args: list[bytes]) -> Behind | str:
    """Find the tool that a prefix program runs, or return why the call is passed through. name: of the prefix program."""
    if name not in PREFIXES and name not in CACHES:
        why = NO_TOOLS.get(unversioned(name)) or "it is no compiler, linker or prefix program that ldshim knows by name"
        return f"{show(name)}: {why}"
    at, cached = 0, -1
    while True:
        if name in CACHES:
            cached = at if cached < 0 else cached
        elif cached >= 0:
            return f"{show(name)} after a compiler cache: it is not known how the cache runs that"
        found = _skip(name, args, at)
        if isinstance(found, str):
            return found
        if found >= len(args):
            return f"{show(name)}: no command follows it"
        command = program_name(args[found])
        if command == OWN_NAME:
            return f"{show(name)}: it runs ldshim, which decides there"
        at = found + 1
        if kind_of(command):
            return Behind(found, -1 if cached == 0 else cached - 1 if cached > 0 else found)
        if command not in PREFIXES and command not in CACHES:
            return f"{show(name)}: it runs no tool that ldshim knows by name: {show(args[found])}"
        name = command


def why_passed(call: Call) -> str:
    """Return why a call is passed through whose program is no tool; "" for a tool, and for a prefix program before one."""
    found = "" if call.kind else look(call.name, call.args)
    return f"{found}: passed through" if found and isinstance(found, str) else ""


def _skip(name: bytes, args: list[bytes], at: int) -> int | str:
    """Return the index of the command after a prefix program's own arguments, which begin at `at`; a reason where it is not certain."""
    if name in CACHES:
        shorts = longs = b""
        operands = 0
        if args[at : at + 1] and args[at].startswith(b"-"):
            return f"{show(name)}: an option of its own, or a compiler of its choice: {show(args[at])}"
    else:
        shorts, longs, operands = PREFIXES[name]
    if name == b"setarch" and at < len(args) and not args[at].startswith(b"-") and not kind_of(program_name(args[at])):
        at += 1  # the architecture
    known = longs.split()
    while at < len(args) and args[at].startswith(b"-") and args[at] != b"-":
        option = args[at]
        at += 1
        if option == b"--":
            break
        takes = _long(option[2:], known) if option.startswith(b"--") else _short(option[1:], shorts)
        if takes < 0:
            return f"{show(name)}: an option that ldshim does not know: {show(option)}"
        at += takes
    if name in _ASSIGNING:
        while at < len(args) and (b"=" in args[at] or args[at] == b"-"):
            at += 1
    return at + operands


def _long(text: bytes, known: list[bytes]) -> int:
    """Return how many of the following arguments an option with two dashes takes; -1 where the option is unknown."""
    name, equals, _ = text.partition(b"=")
    if name + b"=" in known:
        return 0 if equals else 1
    return 0 if name + b"?" in known or (name in known and not equals) else -1


def _short(letters: bytes, known: bytes) -> int:
    """Return the same for letters after one dash."""
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
    """Return the arguments of a prefix program with ldshim before the tool; [] where the command `ldshim` did not start this process."""
    own = os.fsencode(sys.argv[0])
    if program_name(own) != OWN_NAME or not (os.path.isfile(own) and os.access(own, os.X_OK)):
        return []
    return [*args[: behind.insert], os.path.abspath(own), *args[behind.insert :]]


def through(call: Call, behind: Behind, environment: Environment) -> Call:
    """Return the call of the tool after a compiler cache, with the cache as the program to exec. Raises UnfoundError without the tool.

    LDSHIM_REAL_* is ignored: the cache searches PATH itself.
    """
    program = call.args[behind.at]
    name = program_name(program)
    unpinned = environment.changed({variable_for(name): None})
    tool = stand_in(name, call.args[behind.at + 1 :], unpinned, program if b"/" in program else b"")
    tool.through, tool.argv0, tool.front = call.real, call.argv0, call.args[: behind.at + 1]
    tool.prefix = f"{show(call.name)}: runs the tool with the edited arguments"
    return tool


def runs_ldshim(call: Call, behind: Behind) -> str:
    """Describe for people a call in which ldshim is inserted before the tool."""
    return f"{show(call.name)}: runs ldshim, which decides for {show(call.args[behind.at])}"
