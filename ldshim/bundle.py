"""Import our modules out of one file, which stands in a link farm beside its launchers.

The problem: an LTO link needs fifty modules of ours, and to find, open, read and unmarshal each `.pyc` costs 0.3 ms: 14 ms of the 21
between Python's own start and the exec (CPython 3.11). The consequence: `ldshim link-farm` writes the code of all of them into one file
(cli/bundle.py), which is read in one go; a module is still unmarshalled and run only when it is imported.

What is left then is Python's way from `import` to the code, 0.04 ms a module, and objects that modules have in common. So modules that are
always needed together form a group: its code is unmarshalled in one go, and the first import of any of them makes and runs all, in an
order in which each finds what it imports already there (0.7 of 5.4 ms each way).

A shared object of Python's own that a link needs stands in the index with its path: to find it by sys.path costs as much as to load it.

What holds for a `.pyc` holds here: a module comes out of the bundle only while its source has the time and size that it had when the
bundle was made, and only in an interpreter with the same magic number; else it is imported as if there were no bundle. Tracebacks show the
source, for its path is in the code. Before anything of the file is unmarshalled, the launcher looks whether anybody but the launcher's own
owner could have written it (launcher/text.py has those lines).

The file: the interpreter's magic number; the length of what follows, four bytes; the marshalled triple (code of this module, index,
groups); the marshalled codes of each group. HEAD bytes are enough for a plain link (plain_link.py). At the first import beyond EARLY it is
closed, before anybody looks at the descriptors of make; from then on it is opened for each group anew, for half of it no link needs, and
to read what is not needed costs 0.3 ms (a page fault for every 4 KB).

Like plain_link.py it imports nothing that costs anything, not even __future__.
"""

import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    Index = dict[str, tuple[str, int, int, bool, int]]
    Groups = list[tuple[list[str], int, int]]

NAME = b".ldshim.code"  # in the farm
HEAD = 1 << 16
EARLY = ("ldshim", "ldshim.plain_link")
_Spec = type(sys.__spec__)  # importlib is not imported for it
_Module = type(sys)


class Bundle:
    """A finder and loader for sys.meta_path. fd: the file, owned by this object; text: its first HEAD bytes.

    index: {module: (source, its mtime in whole seconds, its size, whether it is a package, number of its group, -1 for a shared object)};
    groups: (modules, in the order to run them; where their codes start and end); the places count from the first code.
    """

    __slots__ = ("_codes", "_fd", "_file", "_groups", "_index", "_path", "_start", "_text")

    def __init__(self, fd: int, text: bytes, index: "Index", groups: "Groups") -> None:
        self._fd = fd
        self._path = ""
        self._file = (0, 0, 0)  # device, inode, size
        self._start = 8 + int.from_bytes(text[4:8], "little")  # where the first code begins
        self._text = text
        self._index = index
        self._groups = groups
        self._codes: dict[str, CodeType] = {}  # unmarshalled and not yet run

    def find_spec(self, name: str, _path: "Sequence[str] | None" = None, _target: "ModuleType | None" = None) -> "ModuleSpec | None":
        """Describe a module that is here and whose source is what it was; None: the next finder's turn."""
        if name not in self._index:
            return None
        if self._index[name][4] < 0:
            return self._shared(name)
        if self._fd >= 0 and name not in EARLY:
            self._close()
        spec = self._spec(name)
        if spec is None:
            return None
        if name not in self._codes:
            names, start, end = self._groups[self._index[name][4]]
            text = self._read(self._start + start, self._start + end)
            if not text:
                return None
            self._codes.update(zip(names, marshal.loads(text)))
            if len(names) > 1:
                self._run_group(names)
        return spec

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        """Return the module that its group has made and run by now; None: that is left to Python."""
        return None if spec.name in self._codes else sys.modules.get(spec.name)

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's code, unless its group has done that."""
        if module.__name__ in self._codes:
            self._run(module)

    def _spec(self, name: str) -> "ModuleSpec | None":
        """Describe a module whose source is what it was when the bundle was made; None for any other."""
        source, mtime, size, is_package, _ = self._index[name]
        try:
            found = posix.stat(source)
        except OSError:
            return None
        if int(found.st_mtime) != mtime or found.st_size != size:
            return None
        spec = _Spec(name, self, origin=source, is_package=is_package)  # type: ignore[arg-type]  # without its abstract base
        if is_package:
            spec.submodule_search_locations = [source.rpartition("/")[0]]
        return spec

    def _shared(self, name: str) -> "ModuleSpec | None":
        """Describe a shared object, to be loaded by Python's own loader."""
        spec = self._spec(name)
        if spec is not None:
            from _frozen_importlib_external import ExtensionFileLoader  # noqa: PLC0415  not needed where Python has it built in

            spec.loader = ExtensionFileLoader(name, self._index[name][0])
        return spec

    def _run(self, module: "ModuleType") -> None:
        name = module.__name__
        module.__file__ = self._index[name][0]
        exec(self._codes.pop(name), module.__dict__)

    def _run_group(self, names: "list[str]") -> None:
        """Make and run all modules of a group that are not there yet, unless the source of one has changed: each for itself then."""
        loaded = sys.modules
        specs = [(name, self._spec(name)) for name in names if name not in loaded]
        if None in [spec for _, spec in specs]:
            return
        for name, spec in specs:
            package, _, last = name.rpartition(".")
            if name in loaded or (package and package not in loaded):
                continue  # Python's own import makes the package first, and then comes back
            module = _Module(name)
            module.__spec__ = spec
            module.__loader__ = self  # type: ignore[assignment]  # load_module is what Python itself no longer asks for
            module.__package__ = package
            if spec is not None and spec.submodule_search_locations is not None:
                module.__package__, module.__path__ = name, spec.submodule_search_locations
            loaded[name] = module
            try:
                self._run(module)
            except BaseException:
                del loaded[name]
                raise
            if package:
                setattr(loaded[package], last, module)

    def _close(self) -> None:
        """Close the file; its name is remembered, and what it is."""
        try:
            self._path, self._file = posix.readlink(f"/proc/self/fd/{self._fd}"), _identity(self._fd)
        except OSError:
            pass  # without /proc each module comes out of its own file
        posix.close(self._fd)
        self._fd = -1

    def _read(self, start: int, end: int) -> "bytes | memoryview":
        """Return a part of the file, empty where it is no longer the same file."""
        if end <= len(self._text):
            return memoryview(self._text)[start:end]
        try:
            fd = posix.open(self._path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError:
            return b""
        try:
            text = posix.pread(fd, end - start, start) if _identity(fd) == self._file else b""
        finally:
            posix.close(fd)
        return text if len(text) == end - start else b""


def _identity(fd: int) -> "tuple[int, int, int]":
    found = posix.fstat(fd)
    return found.st_dev, found.st_ino, found.st_size


def install(fd: int, text: bytes, index: "Index", groups: "Groups") -> None:
    """Let imports come out of a bundle; as for Bundle."""
    sys.meta_path.insert(0, Bundle(fd, text, index, groups))
