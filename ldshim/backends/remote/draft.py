"""An output on its way: a file without a name, which gets its name when all of it has been judged.

A job may run here and there at once, and the first to finish wins. So nothing appears under an output's name but a whole file, by rename,
and only when the executor takes the result. A file without a name (O_TMPFILE, open(2)) is gone when we are killed. Where the file system
has none (NFS), it has a name of ours, which a SIGKILL leaves behind.
"""

from __future__ import annotations

import os

_FLAGS = os.O_RDWR | os.O_CLOEXEC
_MODE = 0o666  # as a compiler's; the umask applies


class Draft:
    """One output. path: its final name, absolute; fd: open for writing and reading. Owner: who made it, until place() or drop()."""

    __slots__ = ("_name", "fd", "path")

    def __init__(self, path: bytes) -> None:
        self.path = path
        self._name = b""
        try:
            self.fd = os.open(os.path.dirname(path), _FLAGS | os.O_TMPFILE, _MODE)
        except OSError:
            name = self._free_name()
            self.fd = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
            self._name = name

    def _free_name(self) -> bytes:
        return b"%s.ldshim-%s" % (self.path, os.urandom(6).hex().encode())

    def empty(self) -> None:
        """Begin again."""
        os.lseek(self.fd, 0, os.SEEK_SET)
        os.ftruncate(self.fd, 0)

    def write(self, data: bytes) -> None:
        """Append data. Raises OSError, a full disk among them."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]

    def place(self) -> None:
        """Give it its name, in place of whatever has it. Raises OSError."""
        name = self._name
        if not name:
            name = self._free_name()
            # With a directory, this is linkat(2) with AT_SYMLINK_FOLLOW; without, Python calls link(2), which does not follow.
            os.link(b"/proc/self/fd/%d" % self.fd, name, src_dir_fd=self.fd, follow_symlinks=True)
            self._name = name
        os.rename(name, self.path)
        self._name = b""

    def drop(self) -> None:
        """Close it, and remove what it left under a name of ours."""
        if self._name:
            try:
                os.unlink(self._name)
            except OSError:
                pass
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
