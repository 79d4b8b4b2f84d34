"""How many jobs of one link may run on the service at once, among all links of this user on this host.

A service is shared, and make runs several links at once. Each link keeps a file of its own, under flock, in our own directory; the number
of files that are locked is the number of links, and each takes an equal part of the user's ceiling. The kernel unlocks the file of a link
that was killed, and the next one to count removes it. A new link gets its part as the jobs of the others end.
"""

from __future__ import annotations

import fcntl
import os
import time

from ...call import own_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK = 0.25  # seconds between two counts
_PREFIX = b"remote-link-"


class Share:
    """One link's part. jobs: its own ceiling; user: that of all links together; get: Environment.get, for our own directory."""

    def __init__(self, get: Callable[[bytes], bytes], service: bytes, jobs: int, user: int) -> None:
        self._jobs = jobs
        self._user = user
        self._prefix = _PREFIX + service + b"-"
        self._looked = float("-inf")
        self._now = min(jobs, user)
        self._fd = -1
        self._path = b""
        found = own_directory.directory(get)
        self._directory = found if isinstance(found, bytes) else b""
        if self._directory:
            self._enter()

    def _enter(self) -> None:
        name = b"%s%d-%s" % (self._prefix, os.getpid(), os.urandom(4).hex().encode())
        path = os.path.join(self._directory, name)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return
        self._fd, self._path = fd, path

    def now(self) -> int:
        """Return how many jobs this link may run there now, 1 at least."""
        if self._fd >= 0 and time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            self._now = max(1, min(self._jobs, self._user // max(1, self._links())))
        return self._now

    def _links(self) -> int:
        """Count the files that are locked, our own included, and remove those that are not."""
        count = 0
        for name in os.listdir(self._directory):
            if not name.startswith(self._prefix):
                continue
            path = os.path.join(self._directory, name)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                if time.time() - os.fstat(fd).st_mtime > 1:  # one that is being made is not locked yet
                    os.unlink(path)
            except BlockingIOError:
                count += 1
            except OSError:
                pass
            finally:
                os.close(fd)
        return count

    def close(self) -> None:
        """Leave."""
        if self._fd >= 0:
            try:
                os.unlink(self._path)
            except OSError:
                pass
            os.close(self._fd)
            self._fd = -1
