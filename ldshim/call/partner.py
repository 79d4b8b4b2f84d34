"""Find the clang that makes the same objects as an lld: the clang of the same build of LLVM.

Neither program detects another build of the same version. So clang must load the same file of libLLVM as lld, or its banner must name the
same revision of the sources. The search covers the directories of lld, then PATH. Only an ELF program counts, never a script or ldshim, and
the result is its resolved path, because the name on PATH may be a compiler cache.

Only a link whose backends run as processes needs it.
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
    """Return (the clang's path, ""), or (b"", why there is none). lld: an absolute path; tool: its family and version."""
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
    return b"", f"no clang of lld's own build of LLVM: {tried} examined, beside it and on PATH"


def _candidates(lld: bytes, major: int, environment: Environment) -> list[bytes]:
    """Return the resolved paths of programs called clang, each once."""
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
    """Return the git revision in the first line of a banner, b"" for none: `(https://… 7a941dfb…)`."""
    for part in banner.partition(b"\n")[0].replace(b"(", b" ").replace(b")", b" ").split():
        if len(part) == _REVISION_DIGITS and not part.strip(b"0123456789abcdef"):
            return part
    return b""


def _loaded(path: bytes, environment: Environment) -> bytes:
    """Return the file of libLLVM that a program loads, from the dynamic loader as in ldd; b"" for none."""
    listed = tool_family.ask(path, [], environment.changed({b"LD_TRACE_LOADED_OBJECTS": b"1"}))
    for line in listed.split(b"\n"):
        name, arrow, rest = line.strip().partition(b" => ")
        if arrow and name.startswith(_LIBRARY):
            return rest.rpartition(b" (")[0]
    return b""


def _same_file(one: bytes, other: bytes) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
