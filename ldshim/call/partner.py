"""Find the clang that makes the same objects as an lld: of the same build of LLVM.

Another build of the same version goes unnoticed by both (distribution.md §4). So it is one that loads the very file of libLLVM that lld
loads, or one whose banner names the same revision of the sources. Looked for beside lld, then on PATH; only a program counts, never a
script or one of ours, and it is named by the file that it is: what stands on PATH may be a compiler cache.

Only a link whose backends are to run as processes gets here.
"""

from __future__ import annotations

import os

from . import tool_family
from .real_tool import is_ldshim, own_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .banner import Tool
    from .environment import Environment

_LIBRARY = b"libLLVM"
_REVISION_DIGITS = 40


def find(lld: bytes, tool: Tool, environment: Environment) -> tuple[bytes, str]:
    """Return (the clang's path, ""), or (b"", why there is none). lld: absolute; tool: what it says of itself."""
    if b"rust" in os.path.basename(os.path.realpath(lld)) or b"rust" in tool.banner:
        return b"", "rust's own lld has no clang"
    own, tried = own_stat(), 0
    revision, library = _revision(tool.banner), b""
    for path in _candidates(lld, tool.major, environment):
        if is_ldshim(path, own):
            continue
        tried += 1
        other = tool_family.identify(path, environment)
        if other.family != "clang" or other.version != tool.version:
            continue
        if revision and _revision(other.banner):
            if _revision(other.banner) == revision:
                return path, ""
            continue
        library = library or _loaded(lld, environment)
        if library and _same_file(library, _loaded(path, environment)):
            return path, ""
    return b"", f"no clang of lld's own build of LLVM: {tried} looked at, beside it and on PATH"


def _candidates(lld: bytes, major: int, environment: Environment) -> list[bytes]:
    """List programs called clang, each once, by the files that they are."""
    places = [os.path.dirname(lld), os.path.dirname(os.path.realpath(lld)), *environment.get(b"PATH").split(b":")]
    found: dict[bytes, None] = {}
    for place in dict.fromkeys(place for place in places if place.startswith(b"/")):
        for name in (b"clang", b"clang-%d" % major):
            path = os.path.realpath(os.path.join(place, name))
            if os.path.basename(path).startswith(b"clang") and os.access(path, os.X_OK) and _is_elf(path):
                found[path] = None
    return list(found)


def _is_elf(path: bytes) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return os.read(fd, 4) == b"\x7fELF"
    except OSError:
        return False
    finally:
        os.close(fd)


def _revision(banner: bytes) -> bytes:
    """Return the git revision that stands in the first line of a banner, b"" for none: `(https://… 7a941dfb…)`."""
    for word in banner.partition(b"\n")[0].replace(b"(", b" ").replace(b")", b" ").split():
        if len(word) == _REVISION_DIGITS and not word.strip(b"0123456789abcdef"):
            return word
    return b""


def _loaded(path: bytes, environment: Environment) -> bytes:
    """Ask the dynamic loader which file of libLLVM a program loads, as ldd does; b"" for none."""
    said = tool_family.ask(path, [], environment.changed({b"LD_TRACE_LOADED_OBJECTS": b"1"}))
    for line in said.split(b"\n"):
        name, arrow, rest = line.strip().partition(b" => ")
        if arrow and name.startswith(_LIBRARY):
            return rest.rpartition(b" (")[0]
    return b""


def _same_file(one: bytes, other: bytes) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
