"""Tell whether a clang driver that is asked with -### would read what its link is to read, and can be read only once.

The probe runs the driver with the call's own arguments. It opens response files and configuration files, and whatever they name in turn;
the inputs, and what it hands to the linker, it only looks for (strace of clang 14, 16 and 19). Its standard streams are /dev/null, so that
/dev/stdin and its kin name something else there than in the call. Where the answer is yes, or an option is not known to be harmless,
nobody is asked, and the linker behind is not certain.
"""

from __future__ import annotations

import os

from ..command import read
from .extent import S_IFMT, S_IFREG, is_read_once, read_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.banner import Tool
    from ..command.argv import Facts

# What a driver hands to the linker, or only compares: these options, and what follows them.
_FORWARDED = (b"-Wl,", b"-T", b"-L", b"-l", b"-B", b"-o", b"-Xlinker", b"--output")
CONFIGS_LIMIT = 100  # configuration files within one another


def consumes(tool: Tool, args: list[bytes], facts: Facts) -> bytes:
    """Return an argument by which the probe would read something that is read only once, or that is another thing there; b"" for none.

    facts: of these args.
    """
    inputs = {item.name for item in facts.inputs}
    before = b""
    for word in read.expanded(tool, args, read_regular).text:
        if word.startswith(b"@"):
            paths = [word[1:]]
        elif before == b"--config" or word.startswith(b"--config="):
            paths = _configuration(word.partition(b"=")[2] or word)
        elif word in inputs or word.startswith(_FORWARDED) or before in _FORWARDED:
            paths = []
        else:
            paths = [word, word[2:], word.partition(b"=")[2]]
        if any(is_read_once(path) or _is_stream(path) for path in paths):
            return word
        before = word
    return b""


def _configuration(path: bytes) -> list[bytes]:
    """List what is read with a configuration file: itself, and what its lines name as @file, seen from its own directory."""
    from ..command import rspfile  # noqa: PLC0415  hardly any call has a --config

    paths = [path]
    for name in paths:
        if len(paths) < CONFIGS_LIMIT:
            words = rspfile.words(read_regular(name) or b"", "llvm")
            paths += [os.path.join(os.path.dirname(name), word[1:]) for word in words if word.startswith(b"@")]
    return paths


def _is_stream(path: bytes) -> bool:
    """Tell whether path is the regular file behind one of the standard streams."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return False
    return found.st_mode & S_IFMT == S_IFREG and any(_is_open_as(fd, found) for fd in (0, 1, 2))


def _is_open_as(fd: int, found: os.stat_result) -> bool:
    try:
        stream = os.fstat(fd)
    except OSError:
        return False
    return (stream.st_dev, stream.st_ino) == (found.st_dev, found.st_ino)
