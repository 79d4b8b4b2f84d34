"""Import our modules out of one file, which stands in a link farm beside its launchers.

The problem: an LTO link needs fifty modules of ours, and to find, open, read and unmarshal each `.pyc` costs 0.3 ms: 14 ms of the 21
between Python's own start and the exec (CPython 3.11). The consequence: `ldshim link-farm` writes the code of all of them into one file
(cli/bundle.py), which is read in one go; each module is still unmarshalled and run only when it is imported.

What holds for a `.pyc` holds here: a module comes out of the bundle only while its source has the time and size that it had when the
bundle was made, and only in an interpreter with the same magic number; else it is imported as if there were no bundle. Tracebacks show the
source, for its path is in the code. Before anything of the file is unmarshalled, the launcher looks whether anybody but the launcher's own
owner could have written it (farm.py has those lines).

The file: the interpreter's magic number; the length of what follows, four bytes; the marshalled pair (code of this module, index); the code
of each module. HEAD bytes are enough for a plain link (quick.py); the rest is read, and the file closed, at the first import beyond
EARLY: before anybody looks at the descriptors of make.

Like quick.py it imports nothing that costs anything, not even __future__.
"""

import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

NAME = b".ldshim.code"  # in the farm
HEAD = 1 << 16
EARLY = ("ldshim", "ldshim.quick")
_Spec = type(sys.__spec__)  # importlib is not imported for it


class Bundle:
    """A finder and loader for sys.meta_path. fd: the file, owned by this object; text: what was read from it, from its beginning.

    index: {module: (source, its mtime in whole seconds, its size, whether it is a package, where its code starts and ends)}; the places
    count from the first code.
    """

    __slots__ = ("_codes", "_fd", "_index", "_text")

    def __init__(self, fd: int, text: bytes, index: "dict[str, tuple[str, int, int, bool, int, int]]") -> None:
        self._fd = fd
        self._codes = 8 + int.from_bytes(text[4:8], "little")  # where the first one begins
        self._text = text
        self._index = index

    def find_spec(self, name: str, _path: "Sequence[str] | None" = None, _target: "ModuleType | None" = None) -> "ModuleSpec | None":
        """Describe a module that is here and whose source is what it was; None: the next finder's turn."""
        if name not in self._index:
            return None
        source, mtime, size, is_package, _, end = self._index[name]
        try:
            found = posix.stat(source)
        except OSError:
            return None
        if self._fd >= 0 and (name not in EARLY or self._codes + end > len(self._text)):
            self._read_on()
        if int(found.st_mtime) != mtime or found.st_size != size or self._codes + end > len(self._text):
            return None
        spec = _Spec(name, self, origin=source, is_package=is_package)  # type: ignore[arg-type]  # without its abstract base
        if is_package:
            spec.submodule_search_locations = [source.rpartition("/")[0]]
        return spec

    def create_module(self, spec: "ModuleSpec") -> None:
        """Leave that to Python."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's code."""
        module.__file__, _, _, _, start, end = self._index[module.__name__]
        code = marshal.loads(memoryview(self._text)[self._codes + start : self._codes + end])
        exec(code, module.__dict__)

    def _read_on(self) -> None:
        """Read all of it, and close the file."""
        self._text = posix.pread(self._fd, posix.fstat(self._fd).st_size, 0)
        posix.close(self._fd)
        self._fd = -1


def install(fd: int, text: bytes, index: "dict[str, tuple[str, int, int, bool, int, int]]") -> None:
    """Let imports come out of a bundle; as for Bundle."""
    sys.meta_path.insert(0, Bundle(fd, text, index))
