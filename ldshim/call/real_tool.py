"""Find the tool we stand in for, and never find ourselves.

We are called `gcc` from a directory on PATH, and the real `gcc` is further along the same PATH, behind another copy of us, a ccache
masquerade directory, or a symlink to us by another route. So a candidate is skipped when it *is* ldshim: the same file by device
and inode (symlinks, hard links), or a script that carries our magic line or imports our entry (copies, launchers, other installs).

What stands before us on PATH (ccache, a wrapper of the user's) has been run already when we are met by a name on PATH: it called us. So
what stands behind our own entry comes first. In the prefix form nothing has been run, and the first of PATH is the tool.

The consequence for what comes after us: ccache, distcc and icecc search PATH themselves and would find us again. A directory
that holds nothing but ldshim entries, or that carries our mark, leaves the child's PATH; any other stays, because it may hold tools
that the build needs.

Where ours stays because it holds other tools too, a ccache behind it finds us again. Below a wrapper that we handed the call to, we
pass over it, so that the call comes out at the real tool. What is still a loop then (a script that calls us by path) is seen as the same
process coming round to the same tool, or as many processes one below the other: exit 111.

The tool sees the argv[0] of the bare call: the name, where it is the name's first match on the PATH that the tool will have (gcc and bfd
search PATH for themselves), else its path. collect2 runs its linker by path.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .environment import Environment

# Every launcher that we write carries this line; any ldshim knows any other's by it.
MAGIC = b"ldshim launcher: https://pypi.org/project/ldshim"
# What pip, uv and distlib write into a console script.
_CONSOLE_SCRIPT = (b"from ldshim.__main__ import", b"from ldshim.entry import")
MARK = b".ldshim"  # a file of this name marks a directory as ours
VIA = b"_LDSHIM_VIA"  # pid.starttime:path:path…: the tools this very process has been handed to
DEPTH = b"_LDSHIM_DEPTH"  # n:path: so many calls, one below the other, were handed to that same tool
_DEEPEST = 8

OWN_NAME = b"ldshim"
# What is certain of a name is only whose command line it has; the family is the tool's own word (tool_family.py).
DRIVERS = frozenset((
    *b"gcc g++ cc c++ gfortran g77 gccgo gdc gm2 gcobol ga68 gccrs gnatgcc".split(),  # one driver (gcc/gcc.cc) for all of GCC's languages
    *b"xgcc xg++".split(),  # the same, in GCC's own build
    *b"c89 c99".split(),  # scripts that exec gcc with -std= (Debian, Fedora, Alpine)
    *b"clang clang++ amdclang amdclang++ icx icpx".split(),  # clang, as LLVM, ROCm and oneAPI name it
))  # fmt: skip
LINKERS = frozenset((b"ld", b"ld.bfd", b"ld.gold", b"ld.lld", b"ld.mold", b"ld.wild", b"lld", b"gold", b"mold", b"wild"))
# Names that end like a tool's, of programs with another command line: lld for WebAssembly, musl's linker script for clang.
OTHERS = frozenset((b"wasm-ld", b"ld.musl-clang"))
NUMBERED = frozenset((b"gcc", b"g++", b"gfortran", b"clang", b"clang++", b"ld.lld"))  # gcc13, clang18: FreeBSD's ports; gcc48: Fedora
THREAD_MODELS = (b"-posix", b"-win32")  # x86_64-w64-mingw32-gcc-12-posix: Debian's gcc-mingw-w64

# Compiler caches. Under a compiler's name (a symbolic link, a hard link, a copy) each searches PATH for the next file of that name; before
# a compiler's name each execs a link with the words, variables and descriptors that it got. (colorgcc runs the path in its rc file.)
CACHES = frozenset((
    b"ccache",  # 4.7; Debian /usr/lib/ccache, Fedora /usr/lib64/ccache, Alpine and Gentoo /usr/lib/ccache/bin
    b"distcc",  # 3.4; Debian /usr/lib/distcc, Gentoo /usr/lib/distcc/bin
    b"icecc",  # 1.4; Debian /usr/lib/icecc/bin
    b"sccache",  # its source: src/cmdline.rs and, what its server does not compile the client runs itself, src/commands.rs
))  # fmt: skip


class UnfoundError(Exception):
    """The real tool cannot be run. status: 127 not found, 126 found but not executable, 111 a loop; the text is one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Call:
    """One call that we stand in for.

    name: the tool's name as called, for LDSHIM_REAL_*; kind: "driver", "linker", or "" for a tool that we do not know; real: absolute
    path, symlinks unresolved; argv0: what the tool will see as argv[0]; args: the rest of argv, untouched; path: the PATH for the child,
    None when it stays as it is; complaints: lines for stderr; through: the compiler cache that is execed instead and runs the tool, b""
    for none, and front: its words up to the tool's; prefix: what the program in front of the tool does (prefix.py), for people.
    """

    __slots__ = ("args", "argv0", "complaints", "front", "kind", "name", "path", "prefix", "real", "through")

    def __init__(self, name: bytes, args: list[bytes]) -> None:
        self.name = name
        self.kind = kind_of(name)
        self.args = args
        self.real = b""
        self.argv0 = b""
        self.path: bytes | None = None
        self.complaints: list[str] = []
        self.through = b""
        self.front: list[bytes] = []
        self.prefix = ""

    @property
    def program(self) -> bytes:
        """The file to exec."""
        return self.through or self.real

    def argv(self, args: list[bytes]) -> list[bytes]:
        """Return the whole argv for the program, with args for the tool."""
        return [self.argv0, *self.front, *args]


def unversioned(name: bytes) -> bytes:
    """Take a version suffix off a program's name: ld.lld of ld.lld-16, gcc of gcc-12.3."""
    stem, dash, version = name.rpartition(b"-")
    return stem if dash and version.replace(b".", b"").isdigit() else name


def kind_of(name: bytes) -> str:
    """Tell driver from linker by a name with any target prefix and version suffix: x86_64-linux-gnu-gcc-12, ld.lld-16, gcc13."""
    for model in THREAD_MODELS:
        if name.endswith(model):
            name = name[: -len(model)]
    name = unversioned(name)
    if name in OTHERS:
        return ""
    if name not in DRIVERS and name not in LINKERS:
        name = name.rpartition(b"-")[2]
        bare = name.rstrip(b"0123456789")
        if bare in NUMBERED:
            name = bare
    return "driver" if name in DRIVERS else "linker" if name in LINKERS else ""


def program_name(path: bytes) -> bytes:
    """Return the last component of a path."""
    return path.rpartition(b"/")[2]


def variable_for(name: bytes) -> bytes:
    """Name the variable that pins the real tool: upper case, every other character an underscore."""
    return b"LDSHIM_REAL_" + bytes(c if 48 <= c <= 57 or 65 <= c <= 90 else 95 for c in name.upper())


def is_ldshim(path: bytes, own: os.stat_result | None = None) -> bool:
    """Tell whether path leads to an ldshim: this one (own: its stat) or any other. An unreadable file is none."""
    try:
        found = os.stat(path)
        if own is not None and found.st_ino == own.st_ino and found.st_dev == own.st_dev:
            return True
        if found.st_mode & 0o170000 != 0o100000:
            return False  # opening a FIFO, and closing it, would take something from its writer
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        head = os.read(fd, 1024)
    except OSError:
        return False
    finally:
        os.close(fd)
    return head.startswith(b"#!") and any(ours in head for ours in (MAGIC, *_CONSOLE_SCRIPT))


def own_stat() -> os.stat_result | None:
    """Stat the script this process was started from, to know links to it."""
    try:
        return os.stat(sys.argv[0])
    except (OSError, ValueError):
        return None


def absolute(path: bytes) -> bytes:
    """Make a path absolute; where the current directory was removed, one below it stays as it is, which the kernel follows as well."""
    try:
        return os.path.abspath(path)
    except OSError:
        return path


def resolved(path: bytes) -> bytes:
    """Follow every symbolic link; what stands below a current directory that was removed is not resolved."""
    try:
        return os.path.realpath(path)
    except OSError:
        return path


class Search:
    """One walk over PATH (and COMPILER_PATH below collect2): where we looked, what we passed over as ourselves."""

    __slots__ = ("blocked", "looked", "ours", "own")

    def __init__(self, own: os.stat_result | None) -> None:
        self.own = own
        self.looked: list[bytes] = []
        self.ours: list[bytes] = []  # directories where the name leads to an ldshim
        self.blocked = b""  # a candidate that exists and cannot be executed

    def find(self, name: bytes, directories: list[bytes], skip: bytes = b"") -> bytes:
        """Return the first executable called name that is not ldshim nor skip, absolute, or b"". Goes on to learn all of `ours`."""
        found = b""
        for directory in directories:
            candidate = _candidate(directory, name)
            if not found:
                self.looked.append(directory or b".")
            if not os.path.isfile(candidate) or candidate == skip:
                continue
            if is_ldshim(candidate, self.own):
                self.ours.append(directory)
            elif os.access(candidate, os.X_OK):
                found = found or candidate
            elif not found:
                self.blocked = self.blocked or candidate
        return found


def _candidate(directory: bytes, name: bytes) -> bytes:
    """Name a file in an entry of PATH, absolute. An empty entry means the current directory, as it does to execvp."""
    # An absolute one is not normalised: what collect2 found behind `..` is what the linker prints of itself.
    return os.path.join(directory if directory.startswith(b"/") else absolute(directory or b"."), name)


def path_entries(environment: Environment) -> list[bytes]:
    """Split PATH as execvp does; without one, glibc's default."""
    return (environment.get(b"PATH") if b"PATH" in environment else b"/bin:/usr/bin").split(b":")


def _is_our_directory(directory: bytes, own: os.stat_result | None) -> bool:
    """Tell whether a directory is ours: it carries our mark, or every entry in it is an ldshim."""
    directory = directory or b"."
    if os.path.exists(os.path.join(directory, MARK)):
        return True
    try:
        return all(is_ldshim(os.path.join(directory, entry), own) for entry in os.listdir(directory))
    except OSError:
        return False


def stand_in(name: bytes, args: list[bytes], environment: Environment, tool: bytes = b"", baked: bytes = b"", met: bytes = b"") -> Call:
    """Resolve the real tool for name.

    tool: a path that the caller gave in the prefix form (`ldshim /usr/bin/gcc …`); used as it is unless it leads back to us. baked: where
    the tool was when a launcher was written; PATH is searched when it is gone. met: the path by which our entry was called, b"" in the
    prefix form. Raises UnfoundError with the status a shell would give.
    """
    call = Call(name, args)
    own = own_stat()
    pinned = _pinned(call, environment, own) if not tool else b""
    search = Search(own)
    entries = path_entries(environment)
    if tool and not is_ldshim(tool, own):
        if not os.path.isfile(tool):
            raise UnfoundError(127, _line(tool, "real tool not found", b"no such file"))
        call.real = absolute(tool)
    elif pinned:
        call.real = absolute(pinned)
        search.find(name, entries)
    elif baked and os.path.isfile(baked) and os.access(baked, os.X_OK) and not is_ldshim(baked, own):
        # Below a cross compiler COMPILER_PATH holds the linker that fits, and the baked one is the machine's own.
        call.real = search.find(name, _compiler_path(environment)) or baked
        search.find(name, entries)
    else:
        behind = max(0, _position(met, entries))
        directories = _compiler_path(environment) + entries[behind:] + entries[:behind]
        call.real = search.find(name, directories)
        if call.real and call.real == _handed_over(environment)[1] and _is_wrapper(call.real):
            call.real = Search(own).find(name, directories, call.real) or call.real
        if not call.real:
            raise _not_found(name, search)
    if not os.access(call.real, os.X_OK):
        raise UnfoundError(126, _line(name, "real tool cannot be executed", call.real))
    kept = [entry for entry in entries if entry not in search.ours or not _is_our_directory(entry, own)]
    if len(kept) != len(entries):
        call.path = b":".join(kept)
    call.argv0 = _argv0(call, tool, met, kept, environment)
    return call


def _argv0(call: Call, tool: bytes, met: bytes, kept: list[bytes], environment: Environment) -> bytes:
    """Choose the argv[0] of the bare call. kept: the PATH that the tool will have; the rest as for stand_in."""
    if tool and absolute(tool) == call.real:
        return tool
    by_name = not tool and (not met or _position(met, path_entries(environment)) >= 0)
    if by_name and b"COLLECT_GCC" not in environment and _first(call.name, kept) == call.real:
        return call.name
    return flavored(call.real, call.name)


def _position(met: bytes, entries: list[bytes]) -> int:
    """Return the place on PATH of the directory where our entry was met, -1 where it was called by a path that is not there.

    execvp writes entry, slash and name (and the name alone behind an empty entry); others leave out a second slash.
    """
    name = program_name(met)
    for place, entry in enumerate(entries):
        if met in ((entry + b"/" + name, entry.rstrip(b"/") + b"/" + name) if entry else (name, b"./" + name)):
            return place
    return -1


def _first(name: bytes, directories: list[bytes]) -> bytes:
    """Return what execvp would find."""
    for directory in directories:
        candidate = _candidate(directory, name)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return b""


def _pinned(call: Call, environment: Environment, own: os.stat_result | None) -> bytes:
    """Return what LDSHIM_REAL_<NAME> says, b"" where it is unset or of no use, which costs a line."""
    variable = variable_for(call.name)
    pinned = environment.get(variable)
    if pinned and not os.path.isfile(pinned):
        call.complaints.append(_line(variable, "no such file, PATH is searched instead", pinned))
        return b""
    if pinned and is_ldshim(pinned, own):
        call.complaints.append(_line(variable, "leads back to ldshim, PATH is searched instead", pinned))
        return b""
    return pinned


def _compiler_path(environment: Environment) -> list[bytes]:
    """Below collect2 the linker it would have run stands in COMPILER_PATH (cross binutils), before PATH (gcc/collect2.cc)."""
    if b"COLLECT_GCC" not in environment:
        return []
    return [entry for entry in environment.get(b"COMPILER_PATH").split(b":") if entry]


def flavored(real: bytes, name: bytes) -> bytes:
    """Return the path that a tool sees as its own; lld picks its flavor from argv[0], and knows none by the names `lld` and `rust-lld`."""
    if os.path.basename(real) in (b"lld", b"rust-lld") and name not in (b"lld", b"rust-lld"):
        return os.path.join(os.path.dirname(real), name)
    return real


def _not_found(name: bytes, search: Search) -> UnfoundError:
    ours = b", ".join(entry or b"." for entry in search.ours)
    looked = b"looked in " + b", ".join(search.looked) + (b" (ldshim itself: " + ours + b")" if ours else b"")
    if search.blocked:
        return UnfoundError(126, _line(name, "real tool cannot be executed", search.blocked + b"; " + looked))
    return UnfoundError(127, _line(name, "real tool not found", looked + b"; set " + variable_for(name)))


def _line(subject: bytes, problem: str, value: bytes) -> str:
    return f"ldshim: {show(subject)}: {problem}: {show(value)}"


def show(value: bytes) -> str:
    """Make bytes printable on one line, whatever they hold."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value.decode("utf-8", "backslashreplace"))


def via(call: Call, environment: Environment, stamp: bytes) -> bytes:
    """Return the loop marker for the child; raise UnfoundError 111 when this process was handed to the same tool before.

    stamp: `pid.starttime` of this process. Handing over is exec, so a loop keeps its pid; a child's inherited marker is not its own.
    """
    seen = environment.get(VIA)
    here = seen.split(b":")[1:] if seen.startswith(stamp + b":") else []
    # Colons separate, so one inside a path is written another way.
    real = call.real.replace(b":", b"\\x3a")
    if real in here:
        both_ends = call.real + b" <-> " + os.fsencode(sys.argv[0])
        raise UnfoundError(111, _line(call.name, "loop: the real tool comes back to ldshim", both_ends))
    return b":".join([stamp, *here, real])


def depth(call: Call, environment: Environment) -> bytes:
    """Return the marker that counts nested calls for the child; raise UnfoundError 111 when they were all handed to the same tool."""
    count, above = _handed_over(environment)
    count = count + 1 if above == call.real else 1
    if count > _DEEPEST:
        both_ends = call.real + b" <-> " + os.fsencode(sys.argv[0])
        raise UnfoundError(111, _line(call.name, "loop: the real tool runs ldshim again and again", both_ends))
    return b"%d:%b" % (count, call.real)


def _handed_over(environment: Environment) -> tuple[int, bytes]:
    """Return how often in a row the calls above this one were handed to a tool, and to which."""
    count, _, path = environment.get(DEPTH).partition(b":")
    return (int(count), path) if count.isdigit() and len(count) < 4 else (0, b"")


def _is_wrapper(path: bytes) -> bool:
    """Tell whether a tool is certainly something else that runs the tool: a link to a program of another name, or a script."""
    if kind_of(program_name(path)) != kind_of(program_name(resolved(path))):
        return True
    try:
        with open(path, "rb", 0) as stream:
            return stream.read(2) == b"#!"
    except OSError:
        return False


def is_masquerade(path: bytes, environment: Environment) -> bool:
    """Tell whether a file is ccache or kin under a compiler's name: a symbolic link, a hard link or a copy."""
    if program_name(resolved(path)) in CACHES:
        return True
    programs = [_first(name, path_entries(environment)) for name in CACHES]
    return any(_same_bytes(path, program) for program in programs if program)


def _same_bytes(one: bytes, other: bytes) -> bool:
    try:
        if os.path.samefile(one, other):
            return True
        if os.path.getsize(one) != os.path.getsize(other):
            return False
        with open(one, "rb") as first, open(other, "rb") as second:
            return first.read() == second.read()
    except OSError:
        return False
