"""Find the make that lto-wrapper runs, and decide whether it is a jobserver client or needs a number.

GCC runs one `make -f TEMPORARY all` below a link. Its program is the first word of $MAKE, or `make`, found on PATH. Only GNU make 4.2 and
later takes tokens from the pipe that --jobserver-auth names. GNU make up to 4.1 ignores that option, and runs as many jobs as the -jN
beside it allows, whatever the pipe holds. bmake rejects the option, and the link fails with two lines on stderr.

So ldshim runs the make with --version, as lto-wrapper does. lto-wrapper never uses a make that fails then. The banner is cached like a
tool's. Arguments in $MAKE may hold a -j that overrides MAKEFLAGS, so a make with arguments does not count as a client either.
"""

from __future__ import annotations

import os

from . import banner as banners
from . import tool_family
from .real_tool import path_entries, program_name, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .environment import Environment

_GNU = b"GNU Make "
CLIENT_SINCE = (4, 2)  # NEWS of 4.2: --jobserver-fds is called --jobserver-auth, and is documented


class Make:
    """The make that lto-wrapper runs.

    words: of $MAKE; name: the program's file name, as in /proc/PID/comm; client: it is a jobserver client; reason: why not, one clause.
    """

    __slots__ = ("client", "name", "reason", "words")

    def __init__(self, words: Sequence[bytes], banner: bytes) -> None:
        self.words = list(words)
        self.name = program_name(self.words[0])
        self.reason = _why_no_client(self.words, banner)
        self.client = not self.reason


def _why_no_client(words: list[bytes], banner: bytes) -> str:
    first = banner.split(b"\n", 1)[0].strip()
    if not first.startswith(_GNU):
        return f"{show(words[0])} is no GNU make"
    version = banners.numbers(first[len(_GNU) :].partition(b" ")[0])
    if version and version < CLIENT_SINCE:  # an unknown version is the newest
        return f"{show(first)} knows no --jobserver-auth"
    return "$MAKE has arguments" if len(words) > 1 else ""


def find(words: Sequence[bytes], environment: Environment, path: bytes | None = None) -> Make | None:
    """Find the make that these words of $MAKE name, and run it with --version; None where lto-wrapper finds none that works.

    path: the PATH it will run with, where that differs from the environment's.
    """
    program = on_path(words[0], environment, path) if words else b""
    if not program:
        return None
    banner = tool_family.version_text(program, environment, path, is_make)
    return None if banner is None else Make(words, banner)


def on_path(program: bytes, environment: Environment, path: bytes | None = None) -> bytes:
    """Return the file that execvp runs for program, b"" for none."""
    directories = path_entries(environment) if path is None else path.split(b":")
    for directory in [b""] if b"/" in program else directories:
        candidate = os.path.join(directory or b".", program)
        if program and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return b""


def is_make(name: bytes) -> bool:
    """Return whether a file name is a make's (make, gmake, bmake, remake), and not of a program that has many names."""
    return name.rstrip(b"-.0123456789").endswith(b"make")
