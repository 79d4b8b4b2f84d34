"""The directory that our processes on this host share, and that nobody else can write.

The problem: slots, the memory ledger and the cache of tool versions must be found by every link of this user, and a name under /tmp is an
invitation: whoever makes the directory first owns what is in it. The consequence: the place is the user's own $XDG_RUNTIME_DIR where
there is one, else /tmp/ldshim-UID; it is made with mode 0700, and looked at anew on every call, since it may have been replaced in
between. One that somebody else made, or can write, or that is a symbolic link, is refused with a reason and never repaired: then the
feature that wanted it is off.

Under fakeroot, geteuid and the owner that stat reports are inventions (everything of ours, and everything of root's, is shown as root's).
The user who really runs this stands in /proc/self/status, so the directory is the same with and without it; the kernel's
own checks still hold for every open.
"""

from __future__ import annotations

import os

from .environment import slurp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAME = b"ldshim"


def directory(get: Callable[[bytes], bytes], proc: bytes = b"/proc", tmp: bytes = b"/tmp") -> bytes | str:
    """Make sure that the directory is there and ours alone: its path, or the reason why there is none.

    get: Environment.get; tmp: where the fallback stands.
    """
    real = real_uid(proc)
    runtime = get(b"XDG_RUNTIME_DIR")
    # A relative one is to be ignored (XDG base directory specification); one of another user is what `sudo -E` leaves behind.
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
    """Open a path that `directory` returned, and verify what was opened: a close-on-exec descriptor, or the reason why not."""
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
    """Say why no file in a directory of ours can be locked (flock(2) is refused, or NFS has no lock daemon), "" when one can."""
    import fcntl  # noqa: PLC0415  a shared object in most Pythons; only who means to lock asks

    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return f"{os.fsdecode(path)} cannot be opened: {error.strerror}"
    try:
        # For a moment, and shared: links lock the files in it, and nobody the directory itself.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return ""
    except OSError as error:
        return f"no file in {os.fsdecode(path)} can be locked: {error.strerror}"
    finally:
        os.close(fd)
    return ""


def real_uid(proc: bytes = b"/proc") -> int:
    """Return the effective user as the kernel knows it; without /proc, as the C library says."""
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
    """Say in one clause what is wrong with a directory of ours, "" when nothing is."""
    name = os.fsdecode(path)
    if status.st_mode & 0o170000 != 0o040000:
        return f"{name} is not a directory"
    if status.st_uid not in (real, os.geteuid()):
        return f"{name} belongs to user {status.st_uid}"
    if status.st_mode & 0o022:
        return f"{name} can be written by others"
    return ""
