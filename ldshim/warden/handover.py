"""Give the call to the real tool: exec in the same process, after leaving a warden behind where tokens are to be held.

exec is what keeps the promise that the call is the same call: make started this pid, and this pid becomes the linker, with the
descriptors, the environment, the signal dispositions and the terminal that a bare call would have. What Python changed on its way up is
undone first: it ignores SIGPIPE and SIGXFSZ and catches SIGINT.

The order when tokens are wanted: a pidfd of ourselves and a life pipe, then two forks (the intermediate child is reaped here, so the
linker meets no child it does not know), then the warden takes what is there and tells the number through a pipe. Only then are the words
written that carry the number. If the warden cannot be left, the link has one thread and holds nothing.

Behind a valve nothing depends on what is taken, and a warden that holds only a promise of memory takes nothing: such links do not wait for
the warden's report.
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

AFTER_YOU_SECONDS = 0.003  # a link that waits for nothing is not to share its core's caches with a warden that could wait
HELD = b"_LDSHIM_HELD"  # pid.starttime:fd.inode of a pipe: below this process a link of ours already has its number


def leave_warden(reservation: Reservation, avoid: Collection[int] = ()) -> Left | None:
    """Fork the warden and wait for the number of tokens it took, unless a valve moves them or none is taken: then none is told.

    None: no warden, nothing is held. avoid: numbers *MAKEFLAGS names.
    """
    # What GCC is told does not depend on what is taken: that link need not wait for it.
    tells = reservation.policy not in ("valve", "hold")
    life_read = life_write = -1
    try:
        life_read, life_write = pipe(avoid)
        report_read, report_write = (raised(fd, avoid) for fd in os.pipe()) if tells else (-1, -1)
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
        if tells:
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
    """Be the intermediate child: fork the warden and end, so that the warden is nobody's child.

    Nothing may be raised past here: whatever fails, the link is left with its own thread.
    """
    status = 1
    try:
        if os.fork() == 0:
            if report_fd < 0:
                from ..call import clock  # noqa: PLC0415  as below

                clock.sleep(AFTER_YOU_SECONDS)
            from . import watch  # noqa: PLC0415  nobody else needs it, and behind a valve nobody waits for it

            watch.serve(link, reservation, report_fd)
        status = 0
    except BaseException as error:
        if reservation.epilogue is not None:
            from .history import History  # noqa: PLC0415  only a warden that is to write a log

            history = History(clock.now())
            history.fail(error)
            reservation.epilogue(history, 0.0)
    finally:
        os._exit(status)  # without Python's own clean-up, which would flush streams that belong to somebody else


def marker(fd: int) -> bytes:
    """Return the value of HELD for this process and a pipe that everything below inherits."""
    return b"%s:%d.%d" % (processes.own_stamp(), fd, os.fstat(fd).st_ino)


def is_nested(environment: Environment) -> bool:
    """Tell whether a link above us holds threads for this call: its process lives, and its pipe is open here.

    Both must hold: a server started under a link keeps the variable when the link is long over, and a build that closes descriptors has
    not got the pipe.
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
    """Become the real tool, as a bare call would have started it. Raises OSError when it cannot be executed."""
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    try:
        os.execve(real, argv, environment)  # type: ignore[arg-type]  # it asks for len, keys and values only
    except OSError as error:
        import errno  # noqa: PLC0415  even what is built in costs 0.15 ms when it is imported

        if error.errno != errno.ENOEXEC:
            raise
        # A script without `#!`: execvp, which make and every shell use, runs it by sh.
        os.execve(b"/bin/sh", [b"/bin/sh", real, *argv[1:]], environment)  # type: ignore[arg-type]
