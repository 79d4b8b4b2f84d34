"""What stays behind when the linker has taken our place: it holds the tokens, watches the link, and gives every byte back.

A linker cannot return tokens, and after exec nobody is left who can. A parent that waits would change what make sees (a signal's death, job
control) and loses the tokens when it is killed. So a process of its own, in its own session, deaf to every signal that can be ignored,
holds them. The consequences, one by one:

- It takes the tokens itself, after setsid: at no moment does a SIGKILL of the shim or the linker lose one.
- It must know when the link is over although it is no relative of it. The process that make started is watched by pidfd. Killing only
  the driver leaves compilers behind, which still use the threads: they hold the life pipe, inherited by everything below, and the link is
  over when nobody does.
- A tool that closes every descriptor does not end the link: the pidfd says so. A server started under the link that keeps the life pipe
  does not hold it up: once the process is dead, holders count only while they are tools of the link in its own session.
- Whatever is raised in it ends in: masks restored, tokens back, one line in the log. What moves the tokens may fail while the link runs;
  then nothing moves any more, the link runs on every CPU, and what it holds stays held until it is over.
- The shim may change its mind after the warden was left (exec failed, or something of ours did). It writes a byte into the life pipe, which
  nobody else ever does: then the link goes on without tokens, and the warden ends.
- It keeps no descriptor but its own, stdio on /dev/null, cwd /: `make | tee` ends when make does, and make does not wait for us.

After it is over it has 0.2 s to be gone from every jobserver, and needs about one millisecond.
"""

from __future__ import annotations

import gc
import os
import time

from ..call import clock, processes
from ..call.descriptors import open_null
from ..call.real_tool import kind_of, unversioned
from ..reserve.lease import IDLE_SECONDS
from .history import History

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    import signal as _signal
    from collections.abc import Callable
    from typing import Protocol

    from ..reserve.lease import Lease
    from .confinement import Confinement
    from .reservation import Link, Reservation

    class Policy(Protocol):
        """What moves tokens while the link runs."""

        peak: int
        wants: bool  # one more token, which nobody has to give

        def tick(self, now: float) -> float:
            """Act, and return seconds until the next time."""

        def hurry(self) -> None:
            """Ask at the next tick, whenever that was to be: a token was seen."""

        def end(self, survivors: list[int]) -> None:
            """Undo what would outlive the link; survivors still hold its life pipe."""
else:
    import _signal  # the signal module proper builds enums: 4 ms


HOLDERS_SECONDS = 0.05  # how often the holders of the life pipe are looked up once the process is dead
WITHOUT_PIDFD_SECONDS = 0.05
# Who waits for a token sleeps at least so long after each refusal, and from then on wakes when one can be seen: in a busy build tokens show
# up a hundred times a second, and are gone again.
BLIND_SECONDS = 0.1
# Programs that compile for a link; the driver and the linkers are known by real_tool.kind_of.
_TOOLS = frozenset((b"as", b"collect2", b"lto-wrapper", b"lto1", b"cc1", b"cc1plus", b"f951", b"make", b"gmake", b"xgcc", b"rust-lld"))


def serve(link: Link, reservation: Reservation, report_fd: int) -> None:
    """Live the warden's life, in the process that was forked for it: take, report, watch, return.

    report_fd: where `TAKEN POLICY REASON` is written (reservation.Left says what they are); -1: nobody waits for that. A reservation that
    got nothing and never will has nothing to watch.
    """
    lease, pipe = reservation.lease, reservation.pipe
    keep = [link.life_fd, report_fd, *lease.fds()]
    if link.pidfd >= 0:
        keep.append(link.pidfd)
    if pipe is not None:
        keep += [pipe.read_fd, pipe.write_fd]
    history = History(clock.now())
    policy: Policy | None = None
    epilogue = reservation.epilogue
    try:
        become_warden(keep)
        begun = _begin(link, reservation)
        policy = None if isinstance(begun, str) else begun
        held = "fixed" if lease.held or lease.counted else "none"
        word = reservation.policy if policy is not None and reservation.policy in ("valve", "confine") else held
        if report_fd >= 0:
            _report(report_fd, lease.held, word, begun if isinstance(begun, str) else "")
            report_fd = -1
        if word == "none" and policy is None:
            epilogue = None  # nothing was held, and nothing is to be told
        else:
            watch(link, lease, policy, history)
    except BaseException as error:
        history.fail(error)
    if report_fd >= 0:
        # The shim still waits, and says in its own line what failed here.
        attempt(history, lambda: _report(report_fd, 0, "none", history.failed))
        epilogue = None
    try:
        wind_up(link, lease, policy, history, epilogue)
    except BaseException as error:
        history.fail(error)
        wind_up(link, lease, policy, history, epilogue)


def _report(fd: int, held: int, word: str, reason: str) -> None:
    os.write(fd, f"{held} {word} {reason[:400]}".encode("utf-8", "backslashreplace"))
    os.close(fd)


def attempt(history: History, action: Callable[[], object]) -> bool:
    """Do what must not be left undone: once more where it fails, since what is short (memory, descriptors) is so for a moment only."""
    for _ in range(2):
        try:
            action()
        except BaseException as error:
            history.fail(error)
        else:
            return True
    return False


def wind_up(
    link: Link, lease: Lease, policy: Policy | None, history: History, epilogue: Callable[[History, float], None] | None = None
) -> None:
    """Give everything back, restore every mask, write the last line: each of them, whatever fails before; a second call does no harm.

    Tokens first, for somebody waits for them. The descriptors last: make's own end waits for those, and finds the log complete.
    """
    try:
        attempt(history, lambda: lease.shrink(lease.held))
        if policy is not None and not attempt(history, lambda: policy.end(_survivors(link))):
            attempt(history, lambda: policy.end([]))
    finally:
        try:
            if epilogue is not None:
                attempt(history, lambda: epilogue(history, time.process_time()))
        finally:
            release(lease, history)


def _begin(link: Link, reservation: Reservation) -> Policy | str:
    """Take the first tokens, and return what will move them, or why they stay as they are ("": that was the order)."""
    lease, environment = reservation.lease, reservation.environment
    refused = ""
    if reservation.policy == "valve" and reservation.pipe is not None:
        from .gcc_valve import Valve  # noqa: PLC0415  termios, and only GCC needs it

        lease.grow(0)  # where slots are shared, the implicit thread counts as well
        confine_wpa = None if reservation.wpa_asks else _confine_wpa(reservation, lease)
        return Valve(link.pid, reservation.pipe, lease, reservation.most, reservation.pipe.make, confine_wpa)
    if reservation.policy == "confine":
        from .confinement import confine  # noqa: PLC0415  only linkers with a fixed number of threads need it

        # No more than the CPUs there are: sixteen tokens make two CPUs no faster.
        lease.grow(min(reservation.most, len(os.sched_getaffinity(link.pid)) - 1))
        confinement = confine(link.pid, lease, reservation.most, environment.get)
        if not isinstance(confinement, str):
            return confinement
        refused = confinement
    lease.grow(reservation.most - lease.held)
    if reservation.policy == "enclose":
        from ..reserve.wrapped import Kept  # noqa: PLC0415
        from .confinement import confine  # noqa: PLC0415  as above

        confinement = confine(link.pid, Kept(lease.held), lease.held, environment.get)
        if not isinstance(confinement, str):
            return confinement
        refused = confinement
    if reservation.pipe is not None and not reservation.wpa_asks:
        from ..reserve.wrapped import Kept  # noqa: PLC0415
        from .gcc_valve import Writers  # noqa: PLC0415

        return Writers(link.pid, _confine_wpa(reservation, Kept(reservation.most if lease.source == "none" else lease.held)))
    return refused


def _confine_wpa(reservation: Reservation, lease: Lease) -> Callable[[int], Confinement | None]:
    """Return how to confine a WPA by its pid, over the reservation's own lease or what is kept of it."""

    def start(pid: int) -> Confinement | None:
        from .confinement import confine  # noqa: PLC0415  only a GCC up to 12 that streams gets here

        confinement = confine(pid, lease, reservation.most, reservation.environment.get)
        return None if isinstance(confinement, str) else confinement

    return start


def become_warden(keep: list[int]) -> None:
    """Turn this forked child into a warden: its own session, deaf, nothing open but keep. Call it before any token is taken."""
    os.setsid()
    for number in range(1, _signal.NSIG):
        try:
            _signal.signal(number, _signal.SIG_IGN)
        except (OSError, ValueError):
            continue  # SIGKILL, SIGSTOP and the C library's own
    null = open_null()
    if null >= 0:
        for fd in (0, 1, 2):
            os.dup2(null, fd)
    _close_all_but({*((0, 1, 2) if null >= 0 else ()), *keep})
    os.chdir(b"/")
    _name_ourselves()
    # The link turned it off, and will be gone. What is here already is no garbage: to look at it would only copy pages.
    gc.freeze()
    gc.enable()


def _close_all_but(kept: set[int]) -> None:
    try:
        numbers = [int(name) for name in os.listdir(b"/proc/self/fd")]
    except OSError:
        numbers = []
    for fd in numbers:
        if fd not in kept:
            try:
                os.close(fd)
            except OSError:
                continue  # the descriptor that listdir itself used
    if not numbers:
        # Without /proc nobody knows the highest one, and the limit may be a billion: one range for each gap.
        borders = sorted({-1, *kept, 1 << 20})
        for low, high in zip(borders, borders[1:]):
            if high - low > 1:  # CPython 3.11 takes closerange(0, 0) for close_range(0, ~0), which closes all
                os.closerange(low + 1, high)


def _name_ourselves() -> None:
    """Show up as `ldshim-warden` in ps, not as a second gcc."""
    try:
        fd = os.open(b"/proc/self/comm", os.O_WRONLY)
        os.write(fd, b"ldshim-warden")
        os.close(fd)
    except OSError:
        pass


def watch(link: Link, lease: Lease, policy: Policy | None, history: History) -> None:
    """Hold the lease until the link is over or goes on without it; write its course into history. `wind_up` has to follow."""
    history.note(clock.now(), lease.held, wants=False)
    history.use(lease.held if policy is None else 0)
    import select  # noqa: PLC0415  the link is on its way by now

    poll = select.poll()
    poll.register(link.life_fd, select.POLLIN)
    if link.pidfd >= 0:
        poll.register(link.pidfd, select.POLLIN)
    piped, alive, dismissed, missed = True, True, False, 0
    while (piped or alive) and not dismissed:
        delay = min(_tend(lease, history), WITHOUT_PIDFD_SECONDS if link.pidfd < 0 else IDLE_SECONDS) if alive else HOLDERS_SECONDS
        if alive and policy is not None:
            now = clock.now()
            try:
                delay = min(policy.tick(now), delay)
                history.note(now, lease.held, policy.wants)
            except Exception as error:
                _let_go(policy, history, error)
                policy = None
        for fd in _wait(poll, delay, lease, policy if alive else None):
            poll.unregister(fd)
            if fd == link.life_fd:
                piped, dismissed = False, os.read(fd, 1) != b""
            else:
                alive = False
        if alive and link.pidfd < 0:
            # Where /proc says nothing either, the kernel still knows a pid whose parent does not wait for it: the pipe decides.
            alive = processes.lives(link.stamp) and (piped or processes.is_own_namespace())
        if piped and not alive:
            # A child between fork and exec still is what its parent was, a shell perhaps: one look at that moment proves nothing.
            missed = 0 if _held_by_a_tool(link) else missed + 1
            piped = missed < 2
    history.note(clock.now(), lease.held, wants=False)
    history.use(policy.peak if policy is not None else 0)


def _tend(lease: Lease, history: History) -> float:
    """Look after the lease: seconds until the next time; what fails there is noted, and tried again."""
    try:
        return lease.tend(clock.now())
    except Exception as error:
        history.fail(error)
        return 1.0


def _let_go(policy: Policy, history: History, error: Exception) -> None:
    """End a policy that failed, and note why."""
    history.fail(error)
    history.use(policy.peak)
    attempt(history, lambda: policy.end([]))


def _wait(poll: select.poll, seconds: float, lease: Lease, policy: Policy | None) -> list[int]:
    """Wait until one of the registered descriptors is ready, and return those that are.

    A policy that waits for a token is hurried when, after BLIND_SECONDS, one is seen. seconds: at most.
    """
    tokens = lease.tokens_fd() if policy is not None and policy.wants else -1
    if policy is None or tokens < 0 or seconds <= BLIND_SECONDS:
        return [fd for fd, _ in poll.poll(seconds * 1000)]
    ready = [fd for fd, _ in poll.poll(BLIND_SECONDS * 1000)]
    if not ready:
        import select  # noqa: PLC0415  as above

        poll.register(tokens, select.POLLIN)
        ready = [fd for fd, _ in poll.poll((seconds - BLIND_SECONDS) * 1000)]
        poll.unregister(tokens)
    if tokens in ready:
        policy.hurry()
        ready.remove(tokens)
    return ready


def release(lease: Lease, history: History) -> None:
    """Give everything back, and let the descriptors go; where what stands in front of a lease fails, that of the lease itself."""
    attempt(history, lease.release)
    inner = getattr(lease, "lease", None)
    if inner is not None:
        release(inner, history)


def _survivors(link: Link) -> list[int]:
    """List who still holds the life pipe; poll says without a walk through /proc that nobody does."""
    import select  # noqa: PLC0415  as above

    poll = select.poll()
    poll.register(link.life_fd, select.POLLIN)
    return [] if poll.poll(0) else processes.holders(os.fstat(link.life_fd).st_ino)


def _held_by_a_tool(link: Link) -> bool:
    """Tell whether something that still compiles for the dead link holds the life pipe.

    A server that a tool started holds it as well, but it has left for another session or is no tool of a link.
    """
    for pid in processes.holders(os.fstat(link.life_fd).st_ino):
        name = processes.executable(pid)
        if processes.session(pid) == link.session and (is_tool(name) or not name):
            return True
    return False


def is_tool(name: bytes) -> bool:
    """Tell whether an executable's base name is one of a link's tools, with any target prefix and version suffix."""
    name = unversioned(name)
    return name in _TOOLS or name.rpartition(b"-")[2] in _TOOLS or bool(kind_of(name))
