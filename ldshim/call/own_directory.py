"""Find the private directory of this user, which all ldshim processes on the machine share and other users cannot write.

The problem: every link of the user must find the slots, the memory ledger and the cached banners. Under /tmp another user may create the
directory first, and would own it. The consequence: the directory is in $XDG_RUNTIME_DIR where that is set, else it is /tmp/ldshim-UID. It
has mode 0700, and is checked on every call, because it may have been replaced. A directory of another user, one that others can write, or a
symbolic link is rejected with a reason, and is never repaired. Then the features that need it are off.

Under fakeroot geteuid and stat report root for the files of this user and of root. /proc/self/status holds the real user, so the directory
is the same with and without fakeroot. The kernel checks each open by the real user as well.
"""

from __future__ import annotations

import os

from .environment import slurp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAME = b"ldshim"


def directory(get: Callable[[bytes], bytes], proc: bytes = b"/proc", tmp: bytes = b"/tmp") -> bytes | str:
    """Create the directory if needed, and check it: its path, or the reason why there is none.

    get: Environment.get; tmp: the parent where XDG_RUNTIME_DIR is not usable.
    """
    real = real_uid(proc)
    runtime = get(b"XDG_RUNTIME_DIR")
    # The XDG base directory specification ignores a relative path. `sudo -E` leaves the path of another user.
    if runtime.startswith(b"/") and not _objection(runtime, real):
        path = runtime.rstrip(b"/") + b"/" + NAME
    else:
        path = b"%s/%s-%d" % (tmp, NAME, real)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        return f"{os.fsdecode(path)} cannot be made: {error.strerror}"
    return _objection(path, real) or path


def open_directory(path: bytes, proc: bytes = b"/proc") -> int | str:
    """Open a path that `directory` returned, and check what was opened: a close-on-exec descriptor, or the reason why not."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return f"{os.fsdecode(path)} cannot be opened: {error.strerror}"
    objection = _judge(path, os.fstat(fd), real_uid(proc))
    if objection:
        os.close(fd)
        return objection
    return fd


def why_no_locks(path: bytes) -> str:
    """Return why files in the directory cannot be locked (flock(2) fails, or NFS has no lock daemon), "" when they can."""
    import fcntl  # noqa: PLC0415  a shared object in most Pythons; only callers that lock need it

    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return f"{os.fsdecode(path)} cannot be opened: {error.strerror}"
    try:
        # Released at once, and shared: links lock files in the directory, never the directory itself.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return ""
    except OSError as error:
        return f"no file in {os.fsdecode(path)} can be locked: {error.strerror}"
    finally:
        os.close(fd)
    return ""


def real_uid(proc: bytes = b"/proc") -> int:
    """Return the effective user from /proc/self/status; without /proc, from geteuid."""
    try:
        for line in slurp(proc + b"/self/status").splitlines():
            if line.startswith(b"Uid:"):
                return int(line.split()[2])
    except (OSError, ValueError, IndexError):
        pass
    return os.geteuid()


def _objection(path: bytes, real: int) -> str:
    try:
        return _judge(path, os.lstat(path), real)
    except OSError as error:
        return f"{os.fsdecode(path)}: {error.strerror}"


def _judge(path: bytes, status: os.stat_result, real: int) -> str:
    """Return in one clause why the directory is rejected, "" when it is not."""
    name = os.fsdecode(path)
    if status.st_mode & 0o170000 != 0o040000:
        return f"{name} is not a directory"
    if status.st_uid not in (real, os.geteuid()):
        return f"{name} belongs to user {status.st_uid}"
    if status.st_mode & 0o022:
        return f"{name} can be written by others"
    return ""
