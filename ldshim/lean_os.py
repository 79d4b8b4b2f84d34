"""What a link needs of the os module, at the price of posix, which every interpreter has loaded.

The problem: `import os` costs 2 ms of an LTO link's 12 between Python's own start and the exec (CPython 3.11): 1.5 of them are the abstract
classes of collections.abc, for the sake of os.environ. The consequence: in the bundle of a link farm (cli/bundle.py) `import os` is written
as an import of this module. The sources say `import os`, and that is what they get everywhere else.

What is here is posix itself, and those functions of os.path that a link calls. Whatever else is asked for comes from the real os, which
is imported then and not sooner: nothing that os has is missing here.
"""

import posix
import sys

# What `from posix import *` would bring, in a tenth of its 0.2 ms; and _exit, which a star leaves out. Its environ has bytes, os's has not.
_names = {name: value for name, value in posix.__dict__.items() if name[:1] != "_" and name != "environ"}
globals().update(_names, _exit=posix._exit)  # noqa: SLF001  os has it under this name, too

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import AnyStr


def __getattr__(name: str) -> object:
    """Take anything else from the real module, and keep it."""
    import os  # noqa: PLC0415  what this module is there to avoid

    value = globals()[name] = getattr(os, name)
    return value


def fsencode(filename: "AnyStr") -> bytes:
    """Encode a path as os.fsencode does."""
    name = posix.fspath(filename)
    return name if isinstance(name, bytes) else name.encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def fsdecode(filename: "AnyStr") -> str:
    """Decode a path as os.fsdecode does."""
    name = posix.fspath(filename)
    return name if isinstance(name, str) else name.decode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


_NOT_PLAIN = frozenset((b"", b".", b"..", "", ".", ".."))  # parts of a path that os.path.abspath takes out


class _Path:
    """os.path, as far as a link uses it. The strings are those of os.path for every argument (tests/test_lean_os.py)."""

    __slots__ = ()

    def __getattr__(self, name: str) -> object:
        """Take anything else from the real module."""
        import os  # noqa: PLC0415  as above

        return getattr(os.path, name)

    @staticmethod
    def basename(path: "AnyStr") -> "AnyStr":
        return path.rpartition(b"/" if isinstance(path, bytes) else "/")[2]

    @staticmethod
    def dirname(path: "AnyStr") -> "AnyStr":
        slash = b"/" if isinstance(path, bytes) else "/"
        head, found, _ = path.rpartition(slash)
        return head.rstrip(slash) or head + found

    @staticmethod
    def join(path: "AnyStr", *more: "AnyStr") -> "AnyStr":
        slash = b"/" if isinstance(path, bytes) else "/"
        for part in more:
            if part.startswith(slash):
                path = part
            else:
                path += part if not path or path.endswith(slash) else slash + part
        return path

    @staticmethod
    def abspath(path: "AnyStr") -> "AnyStr":
        first, *parts = path.split(b"/" if isinstance(path, bytes) else "/")
        if parts and not first and _NOT_PLAIN.isdisjoint(parts):
            return path
        import os  # noqa: PLC0415  as above

        return os.path.abspath(path)

    @staticmethod
    def exists(path: "bytes | str | int") -> bool:
        try:
            posix.stat(path)
        except (OSError, ValueError):
            return False
        return True

    @staticmethod
    def isfile(path: "bytes | str | int") -> bool:
        return _kind(path) == 0o100000

    @staticmethod
    def isdir(path: "bytes | str | int") -> bool:
        return _kind(path) == 0o040000


def _kind(path: "bytes | str | int") -> int:
    """Return the type of a file as the bits of st_mode, 0 when there is none."""
    try:
        return posix.stat(path).st_mode & 0o170000
    except (OSError, ValueError):
        return 0


path = _Path()
