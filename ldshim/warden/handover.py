"""Exec the real tool, and before that fork a warden if the link holds threads.

exec keeps the call the same for make: it started this pid, and this pid becomes the linker, with the descriptors, the environment, the
signal dispositions and the terminal that the bare call would have. First the changes of Python are undone: it ignores SIGPIPE and SIGXFSZ
and handles SIGINT.

The order when tokens are wanted: a pidfd of this process and a life pipe; then two forks (the intermediate child is reaped here, so the
linker has no child that it does not know); then the warden takes the tokens and reports their number through a pipe. The arguments that
contain the number are written after that. Without a warden the link has one thread and holds nothing.

With a valve the arguments do not depend on the tokens obtained, and a warden that holds only a promise of memory obtains none: such links
do not wait for the report.
"""

from __future__ import annotations

import os

from ..call import processes
from ..call.descriptors import pipe, raised
from ..call.environment import count
from .reservation import Left, Link, dismiss

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Collection
    from typing import NoReturn

    from ..call.environment import Environment
    from .reservation import Reservation
else:
    import _signal  # the signal module proper builds enums: 4 ms

WARDEN_DELAY_SECONDS = 0.003  # with a valve: the warden starts after the exec, so the two do not compete for a core
HELD = b"_LDSHIM_HELD"  # pid.starttime:fd.inode of a pipe: a link of ours above this process has its number


def leave_warden(reservation: Reservation, avoid: Collection[int] = ()) -> Left | None:
    """Fork the warden and wait for its report of the tokens that it took; with a valve, or to hold memory only, there is no report.

    None: no warden, nothing is held. avoid: descriptor numbers that *MAKEFLAGS names.
    """
    # The arguments of GCC do not depend on the tokens obtained, so that link need not wait.
    reports = reservation.policy not in ("valve", "hold")
    life_read = life_write = -1
    try:
        life_read, life_write = pipe(avoid)
        report_read, report_write = (raised(fd, avoid) for fd in os.pipe()) if reports else (-1, -1)
    except OSError:
        for fd in (life_read, life_write):
            if fd >= 0:
                os.close(fd)
        return None
    link = Link(life_read)
    mask = os.sched_getaffinity(0)
    pending = processes.child_is_pending()
    try:
        child = os.fork()
    except OSError:
        child = -1
    if child == 0:
        _second_fork(link, reservation, report_write)
    os.close(life_read)
    if link.pidfd >= 0:
        os.close(link.pidfd)
    try:
        # The intermediate child has forked the warden when its status is 0.
        answer = b"0 %b " % reservation.policy.encode() if child > 0 and processes.reap(child, pending) == 0 else b""
        if reports:
            os.close(report_write)
            answer = os.read(report_read, 512)
            os.close(report_read)
        if not answer:
            os.close(life_write)
            return None
        os.set_inheritable(life_write, True)
        taken, policy, reason = answer.split(b" ", 2)
        return Left(int(taken), policy.decode(), reason.decode(), life_write, mask)
    except BaseException:
        dismiss(life_write, mask)
        raise


def _second_fork(link: Link, reservation: Reservation, report_fd: int) -> NoReturn:
    """Run as the intermediate child: fork the warden and end, so that the warden is no child of the linker.

    This raises nothing. After a failure the link has its own thread only.
    """
    status = 1
    try:
        if os.fork() == 0:
            if report_fd < 0:
                from ..call import clock  # noqa: PLC0415  as below

                clock.sleep(WARDEN_DELAY_SECONDS)
            from . import watch  # noqa: PLC0415  only the warden needs it, and with a valve no link waits for it

            watch.serve(link, reservation, report_fd)
        status = 0
    except BaseException as error:
        if reservation.epilogue is not None:
            from ..call import clock  # noqa: PLC0415  only a warden that writes a log
            from .history import History  # noqa: PLC0415  as above

            history = History(clock.now())
            history.fail(error)
            reservation.epilogue(history, 0.0)
    finally:
        os._exit(status)  # without Python's clean-up, which would flush the streams of the parent process


def marker(fd: int) -> bytes:
    """Return the value of HELD for this process and a pipe that every process below inherits."""
    return b"%s:%d.%d" % (processes.own_stamp(), fd, os.fstat(fd).st_ino)


def is_nested(environment: Environment) -> bool:
    """Return whether a link above us holds threads for this call: its process is running, and its pipe is open here.

    Both conditions are needed. A server that was started below a link has the variable after the end of the link, and a build that closes
    descriptors does not have the pipe.
    """
    above, _, pipe = environment.get(HELD).partition(b":")
    number, _, inode = pipe.partition(b".")
    if not inode:
        return False
    try:
        found = os.fstat(count(number))
    except OSError:
        return False
    return b"%d" % found.st_ino == inode and processes.lives(above)


def replace_process(real: bytes, argv: list[bytes], environment: Environment) -> NoReturn:
    """Exec the real tool as a bare call would. Raises OSError when it cannot be executed."""
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    try:
        os.execve(real, argv, environment)  # type: ignore[arg-type]  # it uses len, keys and values only
    except OSError as error:
        import errno  # noqa: PLC0415  the import of a built-in module costs 0.15 ms

        if error.errno != errno.ENOEXEC:
            raise
        # A script without `#!`: execvp(3), which make and every shell use, runs it by sh.
        os.execve(b"/bin/sh", [b"/bin/sh", real, *argv[1:]], environment)  # type: ignore[arg-type]
