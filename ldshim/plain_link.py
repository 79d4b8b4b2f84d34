"""Let a call through that is certainly a plain link, before anything else is loaded.

The problem: most links are no LTO links, and what ldshim needs to find that out costs such a link more than Python's own start: 39 modules,
each a few system calls, an unmarshal and its classes, together as much again as `python3 -IS`. The consequence: this one module, which
imports nothing but what the interpreter has loaded already (so no os, and no __future__; below a make the parser of MAKEFLAGS), and knows
these cases well enough:

    bfd, gold   no -plugin, so nothing that could compile IR is there; no --threads
    mold        no -plugin, no --threads, and its own number of threads is within bounds
    lld         no option of LTO or threads, no library, and every word that names a file names an ELF object
    gcc, clang  no option of LTO, no other linker, no directory of libraries, and every file an ELF object without GCC's IR

and a linker whose inputs have LARGE bytes together is none of them: it may have to wait for memory (C25). That costs a stat for each word.

Everything else, every doubt and every failure returns, and the long way (entry.run_baked) decides. So a word is taken for a file whenever a
file of that name is there, whatever option may stand before it; and any variable of ours in the environment is a reason for the long
way. tests/process/test_quick.py holds this module and the long way against each other.

Which family the tool is was found out by link-farm, and holds while the tool is the same file: device, inode, size, mtime, ctime.
"""

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # the signal module proper builds enums: 4 ms

LARGE = 64 << 20  # bytes of input: below, a plain link neither waits for memory nor leaves a warden
_LONG_WAY = (b"LDSHIM_", b"_LDSHIM_", b"COLLECT_", b"COMPILER_PATH=")  # what may make a difference that is not looked at here
_CEILINGS = (b"DEB_BUILD_OPTIONS=", b"RPM_BUILD_NCPUS=")
_PLUGIN = (b"-pl", b"--pl", b"@")  # GNU's long options may be cut short, and a response file may hold anything
_GOLD_OPTIONS = (*_PLUGIN, b"-thread", b"--thread")
_LLD_OPTIONS = (
    *(b"-l", b"--l", b"-pl", b"--pl", b"@", b"-thinlto", b"--thinlto", b"--fat-lto", b"-flavor", b"-thread", b"--thread", b"-no-thread"),
    *(b"--no-thread", b"--rsp-quoting", b"--reproduce", b"--load-pass-plugin"),
)
_MOLD_OPTIONS = (*_PLUGIN, b"-thread", b"--thread", b"-no-thread", b"--no-thread", b"-thinlto", b"--thinlto", b"-run", b"--run")
_DRIVER_OPTIONS = (
    b"-flto",
    b"--lto",
    b"-fuse-ld",
    b"--use-ld",
    b"--ld-path",
    b"-L",
    b"--library-d",
    b"-x",
    b"--language",
    b"@",
    b"--config",
)
_FORWARDED = (b"@", b"-L", b"--l", b"-pl", b"--pl", b"-thread", b"--thread", b"-thinlto", b"--thinlto", b"--fat-lto")
_GCC_IR = b".gnu.lto_"
_HEADER = ((16, 2), (40, 8), (58, 2), (60, 2), (62, 2))  # e_type, e_shoff, e_shentsize, e_shnum, e_shstrndx: offset and size
_FILES = (
    *((b"ld.bfd", "bfd"), (b"ld.gold", "gold"), (b"ld.lld", "lld"), (b"lld", "lld"), (b"mold", "mold")),
    *((b"gcc", "gcc"), (b"g++", "gcc"), (b"gfortran", "gcc"), (b"clang", "gcc"), (b"clang++", "gcc")),
)  # how the names of files end, version and dash taken off, and by which rule they are judged


def link(name: bytes, tool: tuple[bytes, bytes], family: str, identity: tuple[int, ...]) -> None:
    """Become the tool if this is certainly a plain link, and return otherwise. tool: its path, and its argv[0]."""
    try:
        entries = _slurp(b"/proc/self/environ").split(b"\0")[:-1]
        words = _slurp(b"/proc/self/cmdline").split(b"\0")[:-1]
        if len(words) >= len(sys.argv) > 0 and identity == identity_of(tool[0]):
            own_argv0, *args = words[len(words) - len(sys.argv) :]
            if is_plain(family, args, entries):
                _become(name, tool, own_argv0, args, entries)
    except Exception:  # C1: whatever it was, the long way decides, and says what is to be said
        return


def link_found(tool: str, before: int) -> None:
    """Do what link does for the installed command, which has found the tool and not asked it. before: words in front of the arguments.

    A linker is taken for what the name of its file says, symbolic links resolved; a compiler driver for gcc, whose rule is the strictest.
    Nothing is added to a command line for it: one that is something else would at most be passed through.
    """
    try:
        path = tool.encode("ascii")
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
        try:
            file = posix.readlink(b"/proc/self/fd/%d" % fd).rpartition(b"/")[2]
            is_elf = posix.read(fd, 4) == b"\x7fELF"
        finally:
            posix.close(fd)
        families = [family for end, family in _FILES if file.rstrip(b"0123456789.").rstrip(b"-").endswith(end)]
        if not (is_elf and families):
            return
        entries = _slurp(b"/proc/self/environ").split(b"\0")[:-1]
        words = _slurp(b"/proc/self/cmdline").split(b"\0")[:-1]
        if len(words) >= len(sys.argv) > before:
            own_argv0, *args = words[len(words) - len(sys.argv) + before :]
            if is_plain(families[0], args, entries):
                name = own_argv0.rpartition(b"/")[2]
                if not before:
                    _become(name, (path, path), own_argv0, args, entries)
                elif own_argv0 == name:
                    _become(name, (path, path), b"", args, entries)
                else:  # behind `ldshim` stands the path that would be argv[0] of the bare call
                    _become(name, (path, own_argv0), None, args, entries)
    except Exception:  # C1: as above
        return


def identity_of(path: "bytes | str") -> tuple[int, ...]:
    """Return what changes whenever the file does."""
    found = posix.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_plain(family: str, args: list[bytes], entries: list[bytes]) -> bool:
    """Tell whether the call is certainly a link in which nothing is to be decided. entries: the environment, `name=value` each."""
    if any(entry.startswith(_LONG_WAY) for entry in entries):
        return False
    if family == "bfd":
        return not any(word.startswith(_PLUGIN) for word in args) and _size_of_files(args) < LARGE
    if family == "gold":
        return not any(word.startswith(_GOLD_OPTIONS) for word in args) and _size_of_files(args) < LARGE
    if family == "mold":
        return not any(word.startswith(_MOLD_OPTIONS) for word in args) and _size_of_files(args) < LARGE and _within_bounds(entries)
    if family == "lld":
        return not any(word.startswith(_LLD_OPTIONS) for word in args) and 0 <= _size_of_objects(args) < LARGE and _within_bounds(entries)
    if family in ("gcc", "clang"):
        forwarded = [piece for word in args if word.startswith(b"-Wl,") for piece in word[4:].split(b",")]
        if any(word.startswith(_DRIVER_OPTIONS) for word in args) or any(piece.startswith(_FORWARDED) for piece in forwarded):
            return False
        return _size_of_objects([*args, *forwarded], without=_GCC_IR if family == "gcc" else b"") >= 0
    return False


def _size_of_files(args: list[bytes]) -> int:
    """Sum the sizes of the files that words name: bytes. An old output counts as well, which at worst is the long way for nothing."""
    size = 0
    for word in args:
        if word[:1] != b"-":
            try:
                size += posix.stat(word).st_size
            except (OSError, ValueError):
                continue  # no file, or a word that can name none
    return size


def _size_of_objects(args: list[bytes], without: bytes = b"") -> int:
    """Sum the sizes of the files that words name, -1 where one is no ELF object; without: what no section's name may begin with."""
    before = b""
    size = 0
    for word in args:
        # A script of -T is no object, and what it says about inputs the long way does not read either.
        if word and before not in (b"-T", b"--script", b"-script"):
            one = _size_of_object(word, without)
            if one < 0:
                return -1
            size += one
        before = word
    return size


def _size_of_object(path: bytes, without: bytes) -> int:
    """Return the size of an ELF object, 0 where no file has the name, -1 for anything else.

    Only a regular file is opened: a pipe's writer would lose us as its reader.
    """
    try:
        found = posix.stat(path)
        kind = found.st_mode & 0o170000
        if kind != 0o100000:
            return 0 if kind == 0o040000 else -1
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
    except FileNotFoundError:
        return 0
    try:
        head = posix.read(fd, 64)
        harmless = head.startswith(b"\x7fELF") and not (without and _may_name(fd, head, without))
        return found.st_size if harmless else -1
    finally:
        posix.close(fd)


def _may_name(fd: int, head: bytes, prefix: bytes) -> bool:
    """Tell whether an ELF file may have such a section; True for whatever is not a small 64-bit little-endian object (inputs/elf.py)."""
    if head[4:6] != b"\2\1" or len(head) < 64:
        return True
    kind, table, stride, count, names = (int.from_bytes(head[at : at + size], "little") for at, size in _HEADER)
    if kind in (2, 3):  # ET_EXEC, ET_DYN: linked already
        return False
    header = posix.pread(fd, 64, table + names * 64)
    if stride != 64 or names >= count or len(header) < 64:
        return True
    start, size = int.from_bytes(header[24:32], "little"), int.from_bytes(header[32:40], "little")
    return size > 1 << 20 or prefix in posix.pread(fd, size, start)


def _within_bounds(entries: list[bytes]) -> bool:
    """Tell whether the linker's own number of threads is certainly no more than anybody allows (budget.for_plain)."""
    own = len(posix.sched_getaffinity(0))  # at most: lld from 17 on stops at 16, mold mostly at 32 (budget.own_most)
    for entry in entries:
        if entry.startswith(_CEILINGS):
            return False
        if entry.startswith(b"MAKEFLAGS="):
            from .reserve import makeflags  # noqa: PLC0415  only below a make

            if 0 < makeflags.parse(entry[10:]).jobs < own:
                return False
    return own == 1 or _without_quota()


def _without_quota() -> bool:
    """Tell whether certainly no cgroup above us limits CPU time, where cgroups are mounted as usual (reserve/cgroups.py does the rest)."""
    seen = False
    for line in _slurp(b"/proc/self/cgroup").split(b"\n"):
        _, _, rest = line.partition(b":")
        controllers, _, path = rest.partition(b":")
        if not path or (controllers and b"cpu" not in controllers.split(b",")):
            continue
        if b".." in path:
            return False
        tops = (b"/sys/fs/cgroup/cpu", b"/sys/fs/cgroup/" + controllers) if controllers else (b"/sys/fs/cgroup", b"/sys/fs/cgroup/unified")
        file = b"/cpu.cfs_quota_us" if controllers else b"/cpu.max"
        for top in tops:
            level = path.rstrip(b"/")
            while True:
                try:
                    seen = True
                    if not _slurp(top + level + file).startswith((b"max", b"-1")):
                        return False
                except FileNotFoundError:
                    pass  # the root has no such file, nor has a level to which the controller is not delegated
                if not level:
                    break
                level = level.rpartition(b"/")[0]
    return seen


def _become(name: bytes, tool: tuple[bytes, bytes], own_argv0: "bytes | None", args: list[bytes], entries: list[bytes]) -> None:
    """Exec, with the environment and signals of a bare call, but without our directories in PATH, and with the markers against loops."""
    environment: dict[bytes, bytes] = {}
    for entry in entries:
        variable, equals, value = entry.partition(b"=")
        if not variable or not equals or variable in environment:
            return  # duplicates and oddities keep their places on the long way
        environment[variable] = value
    directories = environment.get(b"PATH", b"").split(b":")
    kept = [place for place in directories if not _leaves(place or b".", name)]
    if len(kept) != len(directories):
        environment[b"PATH"] = b":".join(kept)
    started = _slurp(b"/proc/self/stat").rpartition(b")")[2].split()[19]
    environment[b"_LDSHIM_VIA"] = b"%d.%b:%b" % (posix.getpid(), started, tool[0].replace(b":", b"\\x3a"))
    environment[b"_LDSHIM_DEPTH"] = b"1:" + tool[0]
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    posix.execve(tool[0], [name if _is_found_by(name, own_argv0, directories, kept, tool[0]) else tool[1], *args], environment)


def _leaves(place: bytes, name: bytes) -> bool:
    """Tell whether a directory of PATH is ours: marked, or of nothing but links to the file we were started from."""
    if not _exists(place + b"/" + name):
        return False
    if _exists(place + b"/.ldshim"):
        return True
    own = identity_of(sys.argv[0])
    return identity_of(place + b"/" + name) == own and all(identity_of(place + b"/" + file) == own for file in posix.listdir(place))


def _is_found_by(name: bytes, own_argv0: "bytes | None", directories: list[bytes], kept: list[bytes], real: bytes) -> bool:
    """Tell whether ldshim was found by its name, and the name leads to the tool from here on: then it is argv[0] (real_tool.py).

    own_argv0: of ldshim; b"" for a name behind `ldshim`, None for a path there.
    """
    if own_argv0 is None:
        return False
    if own_argv0 and not any(own_argv0 == (place.rstrip(b"/") + b"/" + name if place else name) for place in directories):
        return False
    first = next((place for place in kept if _exists((place or b".") + b"/" + name)), b"")
    return first.rstrip(b"/") + b"/" + name == real


def _exists(path: bytes) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def _slurp(path: bytes) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        text = part = posix.read(fd, 1 << 16)
        while part:
            part = posix.read(fd, 1 << 16)
            text += part
        return text
    finally:
        posix.close(fd)
