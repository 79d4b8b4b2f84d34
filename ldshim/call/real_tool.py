"""Find the real tool, and never ldshim itself.

ldshim is called `gcc` in a directory on PATH, and the real `gcc` is in a later directory of PATH. Between them may be other copies of
ldshim, links to it, or a directory of ccache masquerades. A candidate is skipped if it is ldshim: the same file by device and inode
(symlinks, hard links), or a script with the magic line or an import of the entry point (copies, launchers, other installations).

Entries of PATH before ldshim's own (ccache, a user's wrapper) have run already when ldshim is called by a name on PATH. So the search
starts after ldshim's entry. In the prefix form nothing has run, and the search starts at the first entry.

ccache, distcc and icecc search PATH themselves and may find ldshim again. So a directory that holds only ldshim, or has the mark, is
removed from the tool's PATH. A directory with other tools stays, and there a loop is possible: ldshim, ccache, ldshim. So a wrapper to
which ldshim passed the call is skipped the second time. Any other loop ends with 111: the same process execs the same tool again, or eight
calls, one below the other, exec it.

The tool sees the argv[0] of the bare call: its name, where it is the first match of the name on its PATH (gcc and bfd search PATH for
themselves), else its path. collect2 runs its linker by path.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .environment import Environment

# Every launcher holds this line, by which any ldshim recognizes it.
MAGIC = b"ldshim launcher: https://pypi.org/project/ldshim"
# Text in a console script from pip, uv and distlib.
_CONSOLE_SCRIPT = (b"from ldshim.__main__ import", b"from ldshim.entry import")
MARK = b".ldshim"  # a file of this name marks a directory as a link farm
VIA = b"_LDSHIM_VIA"  # pid.starttime:path:path…: the tools that this process has execed
DEPTH = b"_LDSHIM_DEPTH"  # n:path: n calls, one below the other, execed that tool
_DEEPEST = 8

OWN_NAME = b"ldshim"
# A name decides only the kind of command line; the banner decides the family (tool_family.py).
DRIVERS = frozenset((
    *b"gcc g++ cc c++ gfortran g77 gccgo gdc gm2 gcobol ga68 gccrs gnatgcc".split(),  # one driver (gcc/gcc.cc) for all of GCC's languages
    *b"xgcc xg++".split(),  # the same, in GCC's own build
    *b"c89 c99".split(),  # scripts that exec gcc with -std= (Debian, Fedora, Alpine)
    *b"clang clang++ amdclang amdclang++ icx icpx".split(),  # clang, as LLVM, ROCm and oneAPI name it
))  # fmt: skip
LINKERS = frozenset((b"ld", b"ld.bfd", b"ld.gold", b"ld.lld", b"ld.mold", b"ld.wild", b"lld", b"gold", b"mold", b"wild"))
# Names with a tool's suffix, of programs with another command line: lld for WebAssembly, musl's linker script for clang.
OTHERS = frozenset((b"wasm-ld", b"ld.musl-clang"))
NUMBERED = frozenset((b"gcc", b"g++", b"gfortran", b"clang", b"clang++", b"ld.lld"))  # gcc13, clang18: FreeBSD's ports; gcc48: Fedora
THREAD_MODELS = (b"-posix", b"-win32")  # x86_64-w64-mingw32-gcc-12-posix: Debian's gcc-mingw-w64

# Compiler caches. Under a compiler's name (a symbolic link, a hard link, a copy) each searches PATH for the next file of that name. Before
# a compiler's name each execs a link with the arguments, variables and descriptors that it got. (colorgcc runs the path in its rc file.)
CACHES = frozenset((
    b"ccache",  # 4.7; Debian /usr/lib/ccache, Fedora /usr/lib64/ccache, Alpine and Gentoo /usr/lib/ccache/bin
    b"distcc",  # 3.4; Debian /usr/lib/distcc, Gentoo /usr/lib/distcc/bin
    b"icecc",  # 1.4; Debian /usr/lib/icecc/bin
    b"sccache",  # src/cmdline.rs; the client runs what its server does not compile: src/commands.rs
))  # fmt: skip


class UnfoundError(Exception):
    """The real tool cannot be run. status: 127 not found, 126 found but not executable, 111 a loop; the text is one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Call:
    """One call that ldshim stands in for.

    name: the tool's name as called, for LDSHIM_REAL_*; kind: "driver", "linker", or "" for an unknown tool; real: absolute path, symlinks
    unresolved; argv0: argv[0] of the tool; args: the rest of argv, unchanged; path: PATH for the tool, None where it stays as it is;
    complaints: lines for stderr; through: the compiler cache that is execed instead of the tool and runs it, b"" for none; front: the
    cache's arguments up to the tool's name; prefix: what the program before the tool does (prefix.py), for people.
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
        """The path to exec."""
        return self.through or self.real

    def argv(self, args: list[bytes]) -> list[bytes]:
        """Return the whole argv of the program, with these args for the tool."""
        return [self.argv0, *self.front, *args]


def unversioned(name: bytes) -> bytes:
    """Return a program's name without its version suffix: ld.lld for ld.lld-16, gcc for gcc-12.3."""
    stem, dash, version = name.rpartition(b"-")
    return stem if dash and version.replace(b".", b"").isdigit() else name


def kind_of(name: bytes) -> str:
    """Return "driver", "linker" or "" for a name with any target prefix and version suffix: x86_64-linux-gnu-gcc-12, ld.lld-16, gcc13."""
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
    """Return the variable that names the real tool: upper case, every other character an underscore."""
    return b"LDSHIM_REAL_" + bytes(c if 48 <= c <= 57 or 65 <= c <= 90 else 95 for c in name.upper())


def is_ldshim(path: bytes, own: os.stat_result | None = None) -> bool:
    """Return whether path leads to an ldshim: this one (own: its stat) or any other. False for an unreadable file."""
    try:
        found = os.stat(path)
        if own is not None and found.st_ino == own.st_ino and found.st_dev == own.st_dev:
            return True
        if found.st_mode & 0o170000 != 0o100000:
            return False  # to open a FIFO and close it would disturb its writer
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        head = os.read(fd, 1024)
    except OSError:
        return False
    finally:
        os.close(fd)
    return head.startswith(b"#!") and any(text in head for text in (MAGIC, *_CONSOLE_SCRIPT))


def own_stat() -> os.stat_result | None:
    """Return the stat of the script that started this process, by which links to it are recognized."""
    try:
        return os.stat(sys.argv[0])
    except (OSError, ValueError):
        return None


def absolute(path: bytes) -> bytes:
    """Return a path as absolute; a relative one is unchanged where the current directory was removed (the kernel still follows it)."""
    try:
        return os.path.abspath(path)
    except OSError:
        return path


def resolved(path: bytes) -> bytes:
    """Return a path with every symbolic link resolved; a relative one is unchanged where the current directory was removed."""
    try:
        return os.path.realpath(path)
    except OSError:
        return path


class Search:
    """One search of PATH (and of COMPILER_PATH below collect2): the directories searched, and those where the name leads to ldshim."""

    __slots__ = ("blocked", "looked", "own", "own_directories")

    def __init__(self, own: os.stat_result | None) -> None:
        self.own = own
        self.looked: list[bytes] = []
        self.own_directories: list[bytes] = []  # directories where the name leads to an ldshim
        self.blocked = b""  # a candidate that exists and cannot be executed

    def find(self, name: bytes, directories: list[bytes], skip: bytes = b"") -> bytes:
        """Return the first executable called name, not ldshim and not skip, absolute, or b"". Also completes `own_directories`."""
        found = b""
        for directory in directories:
            candidate = _candidate(directory, name)
            if not found:
                self.looked.append(directory or b".")
            if not os.path.isfile(candidate) or candidate == skip:
                continue
            if is_ldshim(candidate, self.own):
                self.own_directories.append(directory)
            elif os.access(candidate, os.X_OK):
                found = found or candidate
            elif not found:
                self.blocked = self.blocked or candidate
        return found


def _candidate(directory: bytes, name: bytes) -> bytes:
    """Return the absolute path of a file in an entry of PATH. An empty entry is the current directory, as for execvp."""
    # An absolute path is not normalized: the linker prints the path that collect2 found, with `..` in it.
    return os.path.join(directory if directory.startswith(b"/") else absolute(directory or b"."), name)


def path_entries(environment: Environment) -> list[bytes]:
    """Split PATH as execvp does; where it is unset, glibc's default."""
    return (environment.get(b"PATH") if b"PATH" in environment else b"/bin:/usr/bin").split(b":")


def _is_farm(directory: bytes, own: os.stat_result | None) -> bool:
    """Return whether a directory is a link farm: it has the mark, or every entry in it is an ldshim."""
    directory = directory or b"."
    if os.path.exists(os.path.join(directory, MARK)):
        return True
    try:
        return all(is_ldshim(os.path.join(directory, entry), own) for entry in os.listdir(directory))
    except OSError:
        return False


def stand_in(name: bytes, args: list[bytes], environment: Environment, tool: bytes = b"", baked: bytes = b"", met: bytes = b"") -> Call:
    """Find the real tool for name.

    tool: a path from the prefix form (`ldshim /usr/bin/gcc …`), used as it is unless it leads to ldshim; baked: the tool's path when the
    launcher was written, PATH is searched where it no longer exists; met: ldshim's own argv[0], b"" in the prefix form. Raises UnfoundError
    with the status that a shell would return.
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
        # Below a cross compiler COMPILER_PATH holds the linker for its target, and the baked one is for this machine.
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
    remaining = [entry for entry in entries if entry not in search.own_directories or not _is_farm(entry, own)]
    if len(remaining) != len(entries):
        call.path = b":".join(remaining)
    call.argv0 = _argv0(call, tool, met, remaining, environment)
    return call


def _argv0(call: Call, tool: bytes, met: bytes, remaining: list[bytes], environment: Environment) -> bytes:
    """Return the argv[0] of the bare call. remaining: the tool's PATH; the other arguments as for stand_in."""
    if tool and absolute(tool) == call.real:
        return tool
    by_name = not tool and (not met or _position(met, path_entries(environment)) >= 0)
    if by_name and b"COLLECT_GCC" not in environment and _first(call.name, remaining) == call.real:
        return call.name
    return flavored(call.real, call.name)


def _position(met: bytes, entries: list[bytes]) -> int:
    """Return the index on PATH of the directory through which ldshim was called, -1 where it was called by another path.

    execvp joins entry, slash and name (for an empty entry, the name alone); other callers leave out a second slash.
    """
    name = program_name(met)
    for place, entry in enumerate(entries):
        if met in ((entry + b"/" + name, entry.rstrip(b"/") + b"/" + name) if entry else (name, b"./" + name)):
            return place
    return -1


def _first(name: bytes, directories: list[bytes]) -> bytes:
    """Return the file that execvp finds, b"" for none."""
    for directory in directories:
        candidate = _candidate(directory, name)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return b""


def _pinned(call: Call, environment: Environment, own: os.stat_result | None) -> bytes:
    """Return the path in LDSHIM_REAL_<NAME>, b"" where it is unset, or not usable, which adds a complaint."""
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
    """Return COMPILER_PATH, which collect2 searches for its linker before PATH (cross binutils; gcc/collect2.cc); [] elsewhere."""
    if b"COLLECT_GCC" not in environment:
        return []
    return [entry for entry in environment.get(b"COMPILER_PATH").split(b":") if entry]


def flavored(real: bytes, name: bytes) -> bytes:
    """Return the argv[0] for a path. lld takes its flavor from argv[0], and the names `lld` and `rust-lld` stand for none."""
    if os.path.basename(real) in (b"lld", b"rust-lld") and name not in (b"lld", b"rust-lld"):
        return os.path.join(os.path.dirname(real), name)
    return real


def _not_found(name: bytes, search: Search) -> UnfoundError:
    own = b", ".join(entry or b"." for entry in search.own_directories)
    looked = b"looked in " + b", ".join(search.looked) + (b" (ldshim itself: " + own + b")" if own else b"")
    if search.blocked:
        return UnfoundError(126, _line(name, "real tool cannot be executed", search.blocked + b"; " + looked))
    return UnfoundError(127, _line(name, "real tool not found", looked + b"; set " + variable_for(name)))


def _line(subject: bytes, problem: str, value: bytes) -> str:
    return f"ldshim: {show(subject)}: {problem}: {show(value)}"


def show(value: bytes) -> str:
    """Return any bytes as text that is printable on one line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value.decode("utf-8", "backslashreplace"))


def via(call: Call, environment: Environment, stamp: bytes) -> bytes:
    """Return the loop marker for the tool. Raises UnfoundError 111 where this process has execed the same tool before.

    stamp: `pid.starttime` of this process. exec does not change the pid, so the marker of a loop has this stamp; an inherited marker has
    another.
    """
    seen = environment.get(VIA)
    here = seen.split(b":")[1:] if seen.startswith(stamp + b":") else []
    # Colons separate the paths, so a colon inside a path is escaped.
    real = call.real.replace(b":", b"\\x3a")
    if real in here:
        both_ends = call.real + b" <-> " + os.fsencode(sys.argv[0])
        raise UnfoundError(111, _line(call.name, "loop: the real tool comes back to ldshim", both_ends))
    return b":".join([stamp, *here, real])


def depth(call: Call, environment: Environment) -> bytes:
    """Return the marker that counts nested calls, for the tool. Raises UnfoundError 111 where too many in a row exec the same tool."""
    count, above = _handed_over(environment)
    count = count + 1 if above == call.real else 1
    if count > _DEEPEST:
        both_ends = call.real + b" <-> " + os.fsencode(sys.argv[0])
        raise UnfoundError(111, _line(call.name, "loop: the real tool runs ldshim again and again", both_ends))
    return b"%d:%b" % (count, call.real)


def _handed_over(environment: Environment) -> tuple[int, bytes]:
    """Return how many calls in a row above this one execed the same tool, and that tool."""
    count, _, path = environment.get(DEPTH).partition(b":")
    return (int(count), path) if count.isdigit() and len(count) < 4 else (0, b"")


def _is_wrapper(path: bytes) -> bool:
    """Return whether a file certainly is a wrapper that runs the tool: a link to a program of another kind, or a script."""
    if kind_of(program_name(path)) != kind_of(program_name(resolved(path))):
        return True
    try:
        with open(path, "rb", 0) as stream:
            return stream.read(2) == b"#!"
    except OSError:
        return False


def is_masquerade(path: bytes, environment: Environment) -> bool:
    """Return whether a file is a compiler cache under a compiler's name: a symbolic link, a hard link or a copy."""
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
