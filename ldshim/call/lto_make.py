"""Know the make that lto-wrapper will run: whether it can share a jobserver, or has to be given a number.

GCC runs one `make -f TEMPORARY all` below a link, and which make that is the build decides: the first word of $MAKE, or `make`, found along
PATH. Only GNU make from 4.2 on takes tokens from a pipe named by --jobserver-auth. GNU make up to 4.1 does not know that word, and runs as
many jobs as the -jN beside it says, whatever the pipe holds; bmake refuses it and is lost to the link, with two lines on stderr.

So the make is asked for its --version, as lto-wrapper does itself; one that cannot be run, or fails then, is never used. The answer is kept
like a tool's. Words behind the program may hold a -j that wins over everything in MAKEFLAGS: such a make counts as no client either.
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
    """What lto-wrapper will run.

    words: of $MAKE; name: of the program as the kernel will show it; client: it shares a jobserver; reason: why not, one clause.
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
    """Find and ask the make that these words of $MAKE mean; None where lto-wrapper finds none that works.

    path: the PATH it will run with, where that differs from the environment's.
    """
    program = on_path(words[0], environment, path) if words else b""
    if not program:
        return None
    banner = tool_family.version_text(program, environment, path, is_make)
    return None if banner is None else Make(words, banner)


def on_path(program: bytes, environment: Environment, path: bytes | None = None) -> bytes:
    """Return the file that execvp would run for program, b"" for none."""
    directories = path_entries(environment) if path is None else path.split(b":")
    for directory in [b""] if b"/" in program else directories:
        candidate = os.path.join(directory or b".", program)
        if program and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return b""


def is_make(name: bytes) -> bool:
    """Tell whether a file of that name is a make, and no binary of many names that is called so: make, gmake, bmake, remake."""
    return name.rstrip(b"-.0123456789").endswith(b"make")
