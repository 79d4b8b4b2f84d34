"""Decide whether `clang -###` would read a file that can be read only once, such as a pipe.

The probe runs the driver with the call's own arguments. It opens response files and configuration files, and the files that they name. It
does not open the inputs, or files that it passes to the linker (strace of clang 14, 16 and 19). Its standard streams are /dev/null, so
/dev/stdin is another file in the probe than in the call. Where the probe would read such a file, or an option is not known to be harmless,
there is no probe, and the driver's linker is not certain.
"""

from __future__ import annotations

import os

from ..command import read
from .extent import S_IFMT, S_IFREG, is_read_once, read_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.banner import Tool
    from ..command.argv import Facts

# Options whose values a driver passes to the linker, or never opens.
_FORWARDED = (b"-Wl,", b"-T", b"-L", b"-l", b"-B", b"-o", b"-Xlinker", b"--output")
CONFIGS_LIMIT = 100  # configuration files within one another


def consumes(tool: Tool, args: list[bytes], facts: Facts) -> bytes:
    """Return an argument that makes the probe read a file which can be read only once, or which differs in the probe; b"" for none.

    facts: of these args.
    """
    inputs = {item.name for item in facts.inputs}
    before = b""
    for argument in read.expanded(tool, args, read_regular).text:
        if argument.startswith(b"@"):
            paths = [argument[1:]]
        elif before == b"--config" or argument.startswith(b"--config="):
            paths = _configuration(argument.partition(b"=")[2] or argument)
        elif argument in inputs or argument.startswith(_FORWARDED) or before in _FORWARDED:
            paths = []
        else:
            paths = [argument, argument[2:], argument.partition(b"=")[2]]
        if any(is_read_once(path) or _is_stream(path) for path in paths):
            return argument
        before = argument
    return b""


def _configuration(path: bytes) -> list[bytes]:
    """Return the files that are read with a configuration file: itself, and each @file in it, relative to its own directory."""
    from ..command import rspfile  # noqa: PLC0415  hardly any call has a --config

    paths = [path]
    for name in paths:
        if len(paths) < CONFIGS_LIMIT:
            arguments = rspfile.split(read_regular(name) or b"", "llvm")
            paths += [os.path.join(os.path.dirname(name), each[1:]) for each in arguments if each.startswith(b"@")]
    return paths


def _is_stream(path: bytes) -> bool:
    """Return whether path is a regular file that is open as one of the standard streams."""
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
