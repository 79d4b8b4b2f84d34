"""The link above us: whether it lives, and what it and the terminal tell us.

lld and lto-wrapper leave what they have started behind when they are killed. So whoever asked for this link is watched by pidfd: our
parent, and the process that holds the link's marker (handover.HELD), which for GCC is the driver four processes above. A signal to
ourselves ends the link as well.

Everything that can happen wakes one poll: a pidfd, or the pipe that Python writes a byte into for every signal (set_wakeup_fd).
"""

from __future__ import annotations

import os

from ..call import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import FrameType
else:
    import _signal

HELD = b"_LDSHIM_HELD"  # as warden/handover.py writes it: pid.starttime:…
_ENDING = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")


class Watched:
    """What ends this process before its time. Owner of its descriptors; make one, before the first child."""

    __slots__ = ("_dispositions", "_mask", "_number", "_parent", "_pidfds", "_stamps", "_wake")

    def __init__(self, held: bytes = b"") -> None:
        """Watch our parent and the process that a marker names. held: the value of HELD."""
        self._number = 0
        self._parent = os.getppid()
        self._stamps = [stamp for stamp in (processes.stamp(self._parent), held.partition(b":")[0]) if stamp]
        self._pidfds: list[int] = []
        for stamp in self._stamps:
            try:
                fd = os.pidfd_open(int(stamp.partition(b".")[0]))
            except (AttributeError, OSError, ValueError):
                continue  # over() asks /proc
            self._pidfds.append(fd)
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = reader
        self._dispositions: dict[int, object] = {}
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, [])
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._catch(_signal.SIGCHLD)  # ignored, it would hide how children end
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGCHLD])
        for name in _ENDING:
            number = getattr(_signal, name)
            if _signal.getsignal(number) is not _signal.SIG_IGN:  # nohup
                self._catch(number)

    def _catch(self, number: int) -> None:
        self._dispositions[number] = _signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        if number != _signal.SIGCHLD:
            self._number = number

    def fds(self) -> list[int]:
        """Return what polls readable when something has happened."""
        return [self._wake, *self._pidfds]

    def drain(self) -> None:
        """Take the bytes of signals that were seen."""
        try:
            while os.read(self._wake, 4096):
                pass
        except BlockingIOError:
            pass

    def over(self) -> int | None:
        """Say whether to end: the number of a signal, 0 when the link has died, None while it goes on."""
        if self._number:
            return self._number
        lives = os.getppid() == self._parent and all(processes.lives(stamp) for stamp in self._stamps)
        return None if lives else 0

    def restore_signals(self) -> None:
        """Give a child, before exec, the dispositions and the mask that we were given; for what Python changes, the default."""
        _signal.set_wakeup_fd(-1)
        restore_defaults()
        for number, before in self._dispositions.items():
            _signal.signal(number, _signal.SIG_IGN if before is _signal.SIG_IGN else _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)

    def die(self, number: int) -> None:
        """End by a signal, as a program that does not catch it."""
        _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)


def restore_defaults() -> None:
    """Undo what Python itself changed on its way up, before an exec."""
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
