"""Run a command beside us as if we were not there: the same job, the same signals, the same end.

`ldshim pool` must stay until the build is over, so it cannot become the build by exec. The command is a child in our own process group, and
what a shell, a terminal or a CI runner does to us must reach it as if it had been started itself:
  - A signal from the terminal (^C, ^Z, a hang-up) goes to every process of the group. The child has it already, and a second
    SIGINT makes GNU make give up its clean-up. So it is not passed on; we only stay.
  - A signal that somebody sent may have been for us alone, as `kill PID`, or for the group, as from timeout(1). The siginfo is the same. So
    a process of our group that does nothing else, the witness, reports every signal it gets: what came there as well was the group's.
  - ^Z stops the child; we stop too, for the shell looks at us.
  - The child ends by a signal: so do we, by the same, after our own work; a core is the child's affair.

Signals are blocked and waited for, never handled: nothing of ours is interrupted anywhere. The child gets the mask and the dispositions
that we were started with.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal

from ..call import clock, descriptors, real_tool
from ..call.environment import slurp
from ..warden import handover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..call.environment import Environment

ENDING: frozenset[int] = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM))
_JOB: frozenset[int] = frozenset((signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT, signal.SIGTSTP))
_PASSED = ENDING | _JOB | frozenset(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
_WATCHED = _PASSED | {int(signal.SIGCHLD)}
_WITNESS_SECONDS = 0.05  # kill() reaches the whole group in one call; what goes over a cgroup takes a process after the other


class StartError(Exception):
    """The command cannot be run; status: 126, or 127 when it is not there."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Foreground:
    """The command, and the signals of the job it stands in. From the first moment, no signal of ENDING ends us.

    owner: the calling process, which must have one thread. Call `start`, `wait`, `leave` in this order.
    """

    def __init__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        self._ignores_children = signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
        if self._ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or nobody would tell us how the child ended
        self.pid = 0
        self._witness = _Witness()

    def start(self, call: list[bytes], environment: Environment, inherit: tuple[int, ...], close: tuple[int, ...]) -> None:
        """Run the command. inherit: descriptors it must have; close: descriptors it must not have. Raises StartError."""
        read_fd, write_fd = os.pipe()
        early = signal.sigpending() & (_PASSED - {signal.SIGTSTP})
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for fd in inherit:
                    os.set_inheritable(fd, True)
                for fd in close:
                    os.set_inheritable(fd, False)
                self._restore()
                _become(call, environment)
            except OSError as error:
                os.write(write_fd, b"%d" % (error.errno or errno.ENOEXEC))
            finally:
                os._exit(127)
        os.close(write_fd)
        number = os.read(read_fd, 16)
        os.close(read_fd)
        if number:
            os.waitpid(self.pid, 0)
            self.pid = 0
            self.give_up()
            missing = int(number) in (errno.ENOENT, errno.ENOTDIR)
            reason = "no such command" if missing else os.strerror(int(number))
            raise StartError(127 if missing else 126, f"ldshim: pool: cannot be run: {real_tool.show(call[0])}: {reason}")
        # What came before the child was there did not reach it.
        for number in early:
            signal.sigtimedwait([number], 0)
            self._send(number)

    def wait(self, seconds: float, look: Callable[[], None], hush: Callable[[], None]) -> int:
        """Wait for the command's end, and return its wait status. look: called every so many seconds; hush: before we are stopped."""
        while True:
            info = signal.sigtimedwait(_WATCHED, seconds)
            if info is not None and info.si_signo != signal.SIGCHLD:
                everybody_has_it = self._witness.has(info.si_signo) or info.si_code > 0  # above 0: from the kernel, so the terminal
                # A ^Z that came while we asked has stopped the child, too: to continue it now would leave it running behind our back.
                stale = info.si_signo == signal.SIGCONT and signal.SIGTSTP in signal.sigpending()
                if not everybody_has_it and not stale:
                    self._send(info.si_signo)
                if info.si_signo == signal.SIGTSTP:
                    hush()
                    self._stop()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return status
            look()

    def is_told_to_end(self, seconds: float) -> bool:
        """Wait so long for somebody who wants us to end: after the command, that is for us alone."""
        return signal.sigtimedwait(ENDING, seconds) is not None

    def leave(self, status: int) -> int:
        """End as the command did: by its signal, at once, or by returning its exit status."""
        self._witness.end()
        if not os.WIFSIGNALED(status):
            return os.WEXITSTATUS(status)
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
        return 128 + number

    def give_up(self) -> None:
        """Undo what was changed in this process: there will be no command."""
        self._witness.end()
        self._restore()

    def _restore(self) -> None:
        if self._ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def _send(self, number: int) -> None:
        os.kill(self.pid, number)  # not reaped yet, so it is still ours

    def _stop(self) -> None:
        """Stop as SIGTSTP stops anybody: not at all where nobody could continue us."""
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTSTP])
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])


class _Witness:
    """A process in our group that does nothing but report each signal that reaches it, until we are gone."""

    def __init__(self) -> None:
        """Fork it; call it while the signals are blocked, so that none falls in between."""
        life_read, self._life = (descriptors.raised(fd) for fd in os.pipe())
        self._reports, report = (descriptors.raised(fd) for fd in os.pipe())
        os.set_blocking(self._reports, False)
        os.set_blocking(report, False)
        self._seen: list[int] = []
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._life)
                _report(report, life_read)
            finally:
                os._exit(0)
        os.close(life_read)
        os.close(report)

    def has(self, number: int) -> bool:
        """Tell whether a signal that we got was sent to it as well."""
        poll = select.poll()
        poll.register(self._reports, select.POLLIN)
        deadline = clock.now() + _WITNESS_SECONDS
        # It may not have had a CPU since: then the signal is still pending there.
        while number not in self._seen and (clock.now() < deadline or self._is_pending(number)):
            if poll.poll(10):
                got = os.read(self._reports, 256)
                if not got:
                    break  # somebody killed it
                self._seen += got
        found = number in self._seen
        # Two that came quickly may be one to us, when the second found the first still pending: only what is pending may come yet.
        self._seen = [one for one in self._seen if one != number] + [number] * (found and number in signal.sigpending())
        return found

    def _is_pending(self, number: int) -> bool:
        try:
            lines = slurp(b"/proc/%d/status" % self._pid).splitlines()
        except OSError:
            return False
        return any(line.startswith((b"SigPnd:", b"ShdPnd:")) and int(line[7:], 16) >> (number - 1) & 1 for line in lines)

    def end(self) -> None:
        """End it; a second call does nothing."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._life)
            os.close(self._reports)
        self._pid = 0


def _report(report: int, life: int) -> None:
    """Be the witness: each signal's number goes into report; until life ends, which is when the pool does."""
    for number in _PASSED:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(report, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED)
    os.read(life, 1)


def _become(call: list[bytes], environment: Environment) -> None:
    """Execute a command as execvp does; raise the OSError that says most."""
    directories = [b""] if b"/" in call[0] else real_tool.path_entries(environment)
    worst = OSError(errno.ENOENT, "")
    for directory in directories:
        try:
            handover.replace_process(os.path.join(directory, call[0]), call, environment)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                worst = error
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                break
    raise worst
