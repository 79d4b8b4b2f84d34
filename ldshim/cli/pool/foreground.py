"""Run a command as a child, so that signals, job control and the end are as if it had been started directly.

`ldshim pool` must run until the build is over, so it cannot exec the build. The command is a child in our process group. What a shell, a
terminal or a CI runner does to us must have the same effect on the child:
  - A signal from the terminal (^C, ^Z, a hang-up) goes to every process of the group. The child has it already, and a second SIGINT makes
    GNU make give up its clean-up. So we do not pass it on.
  - A signal from a process may be for us alone, as from `kill PID`, or for the group, as from timeout(1). The siginfo is the same. So a
    second child, the witness, reports every signal that it gets. A signal that the witness got was sent to the group.
  - ^Z stops the child; we stop too, because the shell waits for us.
  - When the child dies by a signal, we finish our work and then die by the same signal; only the child dumps core.

Signals are blocked and waited for, never handled, so they interrupt none of our system calls. The child gets the signal mask and the
dispositions that we were started with.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal

from ...call import clock, descriptors, real_tool
from ...call.environment import slurp
from ...warden import handover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ...call.environment import Environment

ENDING: frozenset[int] = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM))
_JOB: frozenset[int] = frozenset((signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT, signal.SIGTSTP))
_PASSED = ENDING | _JOB | frozenset(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
_WATCHED = _PASSED | {int(signal.SIGCHLD)}
_WITNESS_SECONDS = 0.05  # kill() signals the group in one call; a signal to each process of a cgroup takes longer


class StartError(Exception):
    """The command cannot be run; status: 126, or 127 when it does not exist."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Foreground:
    """The command, and the signals of its job. From here on no signal in ENDING ends this process.

    owner: the calling process, which must have one thread. Call `start`, `wait`, `leave` in this order.
    """

    def __init__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        self._ignores_children = signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
        if self._ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # otherwise the kernel discards the exit status of the child
        self.pid = 0
        self._witness = _Witness()

    def start(self, call: list[bytes], environment: Environment, inherit: tuple[int, ...], close: tuple[int, ...]) -> None:
        """Start the command. inherit: descriptors that it gets; close: descriptors that it does not get. Raises StartError."""
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
                _exec(call, environment)
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
        # Signals from before the fork did not reach the child.
        for number in early:
            signal.sigtimedwait([number], 0)
            self._send(number)

    def wait(self, seconds: float, look: Callable[[], None], hush: Callable[[], None]) -> int:
        """Wait for the end of the command, and return its wait status. look: called every `seconds`; hush: called before we stop."""
        while True:
            info = signal.sigtimedwait(_WATCHED, seconds)
            if info is not None and info.si_signo != signal.SIGCHLD:
                group_has_it = self._witness.has(info.si_signo) or info.si_code > 0  # above 0: from the kernel, so from the terminal
                # A ^Z has arrived meanwhile and stopped the child, too. A SIGCONT now would let it run in the background.
                stale = info.si_signo == signal.SIGCONT and signal.SIGTSTP in signal.sigpending()
                if not group_has_it and not stale:
                    self._send(info.si_signo)
                if info.si_signo == signal.SIGTSTP:
                    hush()
                    self._stop()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return status
            look()

    def gets_ending_signal(self, seconds: float) -> bool:
        """Wait for a signal that asks us to end; call it after the end of the command."""
        return signal.sigtimedwait(ENDING, seconds) is not None

    def leave(self, status: int) -> int:
        """End as the command did: die by its signal, or return its exit status."""
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
        """Undo the changes to this process: the command is not run."""
        self._witness.end()
        self._restore()

    def _restore(self) -> None:
        if self._ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def _send(self, number: int) -> None:
        os.kill(self.pid, number)  # not reaped, so the pid is still that of the child

    def _stop(self) -> None:
        """Stop by SIGTSTP. The kernel ignores it in an orphaned process group, which no shell could continue."""
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTSTP])
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])


class _Witness:
    """A process in our group that reports each signal that it gets, until we end."""

    def __init__(self) -> None:
        """Fork it; call this while the signals are blocked, so that none is lost."""
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
        """Return whether the witness got a signal that we got."""
        poll = select.poll()
        poll.register(self._reports, select.POLLIN)
        deadline = clock.now() + _WITNESS_SECONDS
        # If it has not run since, the signal is still pending there.
        while number not in self._seen and (clock.now() < deadline or self._is_pending(number)):
            if poll.poll(10):
                got = os.read(self._reports, 256)
                if not got:
                    break  # the witness was killed
                self._seen += got
        found = number in self._seen
        # Two signals in quick succession may be one to us, if the first was pending when the second came. Keep one only if it is pending.
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
    """Run as the witness: write the number of each signal to report, until life is at end of file, when the pool ends."""
    for number in _PASSED:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(report, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED)
    os.read(life, 1)


def _exec(call: list[bytes], environment: Environment) -> None:
    """Exec a command as execvp(3) does; raise the most specific OSError."""
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
