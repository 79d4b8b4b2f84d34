"""Find out a tool's family from its banner, not from its name, and run other probes.

/usr/bin/ld may be bfd, gold, lld or mold, and cc may be clang. An option of one is an error in another. So nothing is added to a command
line before the tool's own `--version` has shown its family. That costs a process. So the banner is cached in the user's private directory,
under a key that changes with the file: device, inode, size, mtime and ctime. A script, or a masquerade such as ccache's (one program with
many names), may change its banner without a change of the file, so its banner is not cached.
"""

from __future__ import annotations

import os

from . import own_directory, processes
from .banner import PE_EMULATIONS, Tool
from .descriptors import nowhere
from .real_tool import kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .environment import Environment

PROBE_SECONDS = 5.0  # a tool that prints nothing for so long is not certain, so it is passed through
_MOST_BANNER = 4095  # bytes of a banner that are cached
_END = b"\0"  # the last byte of a complete cache entry; no banner holds one


def identify(real: bytes, environment: Environment, path: bytes | None = None) -> Tool:
    """Return the family and version of the tool at real (an absolute path). path: PATH for the tool, where it differs. Never raises."""
    return Tool(version_text(real, environment, path) or b"")


def version_text(
    real: bytes, environment: Environment, path: bytes | None = None, is_known: Callable[[bytes], object] = kind_of
) -> bytes | None:
    """Return the output of a program's --version, None where it cannot be run or fails. Arguments: as for identify.

    is_known: whether a file of that base name is the program itself, so that its banner may be cached.
    """
    name = _cache_name(real, environment, is_known)
    text = _recall(name) if name else b""
    if text:
        return text
    answer = run(real, [b"--version"], environment, path)
    if name and answer and (is_known is not kind_of or Tool(answer).family):
        _remember(name, answer)
    return answer


def kept(real: bytes, environment: Environment) -> str:
    """Return the family of a tool whose banner is cached, "" where it is not."""
    name = _cache_name(real, environment)
    return Tool(_recall(name)).family if name else ""


def _cache_name(real: bytes, environment: Environment, is_known: Callable[[bytes], object] = kind_of) -> bytes:
    """Return the path of a tool's cache entry, b"" where there can be none."""
    key = _cache_key(real, is_known)
    directory = own_directory.directory(environment.get) if key else ""
    return b"" if isinstance(directory, str) else os.path.join(directory, key)


def _cache_key(real: bytes, is_known: Callable[[bytes], object]) -> bytes:
    """Return the name of a tool's cache entry, b"" where its banner may change without a change of the file."""
    try:
        found = os.stat(real)
        fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            magic = os.read(fd, 4)
            real_name = os.path.basename(os.readlink(b"/proc/self/fd/%d" % fd))  # with symlinks resolved by the kernel
        finally:
            os.close(fd)
    except OSError:
        return b""
    if magic != b"\x7fELF" or not is_known(real_name):
        return b""
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    # The name is part of the key: one lld binary is ld.lld, wasm-ld and ld64.lld by its name alone.
    return b"tool-" + b"-".join(b"%x" % number for number in numbers) + b"-" + os.path.basename(real)[:100]


def _recall(name: bytes) -> bytes:
    """Read a cache entry; b"" where there is none, or none that is complete (another process may be writing it)."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        text = os.read(fd, _MOST_BANNER + 1)
    except OSError:
        return b""
    finally:
        os.close(fd)
    return text[:-1] if text.endswith(_END) else b""


def _remember(name: bytes, banner: bytes) -> None:
    """Write the entry in place. Its last byte shows a reader that it is complete, so no temporary file is needed that could remain.

    Two processes that write the same entry at once write the same bytes. On a full disk the entry is removed.
    """
    text = banner.replace(_END, b"")[:_MOST_BANNER] + _END
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            complete = os.write(fd, text) == len(text)
        except OSError:
            complete = False
        finally:
            os.close(fd)
        if not complete:
            os.unlink(name)
    except OSError:
        return


def ask(real: bytes, args: list[bytes], environment: Environment, path: bytes | None = None, stream: int = 1) -> bytes:
    """Return the result of run, b"" on any failure."""
    return run(real, args, environment, path, stream) or b""


def run(real: bytes, args: list[bytes], environment: Environment, path: bytes | None = None, stream: int = 1) -> bytes | None:
    """Run real with args and return what it prints on stream (1 or 2), at most 64 KiB; None on any failure or after PROBE_SECONDS.

    The tool sees LC_ALL=C, /dev/null as its other streams, and LDSHIM_DISABLE=1, so that an ldshim further down answers as the tool would.
    """
    edits: dict[bytes, bytes | None] = {b"LC_ALL": b"C", b"LDSHIM_DISABLE": b"1", b"MAKEFLAGS": None, b"COLLECT_GCC_OPTIONS": None}
    if path is not None:
        edits[b"PATH"] = path
    import fcntl  # noqa: PLC0415  needed only where the banner is not cached

    pending = processes.child_is_pending()
    block = environment.changed(edits)
    try:
        reader, writer = os.pipe()
    except OSError:
        return b""
    null = nowhere()
    try:
        # 0-2 may be closed in this process. Then null or writer has one of these numbers, and a dup2 to it would close it.
        high = {fd: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (null, writer) if fd >= 0}
        targets = {stream: writer} if null < 0 else {0: null, 1: null, 2: null, stream: writer}
        actions = [(os.POSIX_SPAWN_DUP2, high[source], target) for target, source in targets.items()]
        try:
            pid = os.posix_spawn(real, [real, *args], dict(zip(block.keys(), block.values())), file_actions=actions)
        finally:
            for fd in high.values():
                os.close(fd)
    except OSError:
        os.close(reader)
        return None
    finally:
        os.close(writer)
        if null >= 0:
            os.close(null)
    text = None
    try:
        text = _read_with_deadline(reader)
    finally:
        os.close(reader)
        if text is None:
            os.kill(pid, 9)
        status = processes.reap(pid, pending)
    return text if status == 0 else None


def _read_with_deadline(fd: int) -> bytes | None:
    import select  # noqa: PLC0415  as above

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    text = b""
    while len(text) < 1 << 16:
        if not poll.poll(PROBE_SECONDS * 1000):
            return None
        part = os.read(fd, 1 << 14)
        if not part:
            return text
        text += part
    return text


def linker_behind(real: bytes, args: list[bytes], environment: Environment, path: bytes | None = None) -> bytes:
    """Run a clang driver with `-###` to learn which linker this command line runs: its path, b"" where it is not certain.

    The last line of the output is the link; its first quoted word is the program (clang/lib/Driver/Job.cpp). A path with escapes is not
    certain. Neither is an lld that links for MinGW, whose options its banner does not show.
    """
    line = _last_line(real, args, environment, path)
    first = line.strip().split(b'"')
    if any(b'"-m" "%b"' % emulation in line for emulation in PE_EMULATIONS):
        return b""
    return first[1] if len(first) > 2 and first[0] == b"" and first[1].startswith(b"/") and b"\\" not in first[1] else b""


def _last_line(real: bytes, args: list[bytes], environment: Environment, path: bytes | None) -> bytes:
    return ask(real, [b"-###", *args], environment, path, stream=2).rstrip(b"\n").rpartition(b"\n")[2]


def linker_line(real: bytes, args: list[bytes], environment: Environment, path: bytes | None = None) -> list[bytes]:
    r"""Run the driver in the same way, and return the linker's whole argv; [] where it is not certain.

    Every argument is in double quotes, with a backslash before `"`, `\` and `$` (llvm/lib/Support/Program.cpp, printArg).
    """
    rest = _last_line(real, args, environment, path).strip()
    argv = []
    while rest:
        if not rest.startswith(b'"'):
            return []
        argument, at = b"", 1
        while rest[at : at + 1] not in (b'"', b""):
            at += rest[at : at + 1] == b"\\"
            argument += rest[at : at + 1]
            at += 1
        if not rest[at : at + 1]:
            return []
        argv.append(argument)
        rest = rest[at + 1 :].lstrip(b" ")
    return argv if argv and argv[0].startswith(b"/") else []
