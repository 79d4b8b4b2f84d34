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
- It keeps no descriptor but its own, stdio on /dev/null, cwd /: `make | tee` ends when make does, and make does not wait for us.

After it is over it has 0.2 s to be gone from every jobserver, and needs about one millisecond.
"""

from __future__ import annotations

import gc
import os
import time

from ..call import processes
from ..call.real_tool import kind_of, program_name
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
    become_warden(keep)
    history = History(time.monotonic())
    try:
        policy = _begin(link, reservation)
        held = b"fixed" if lease.held or lease.counted else b"none"
        elastic = reservation.policy in ("valve", "confine") and not isinstance(policy, str)
        word, reason = reservation.policy.encode() if elastic else held, policy.encode() if isinstance(policy, str) else b""
        if report_fd >= 0:
            _report(report_fd, lease.held, word, reason)
    except BaseException:
        lease.release()
        raise
    if word == b"none" and isinstance(policy, str):
        lease.release()
        return
    watch(link, lease, None if isinstance(policy, str) else policy, history)
    if reservation.epilogue is not None:
        reservation.epilogue(history, time.process_time())


def _report(fd: int, held: int, word: bytes, reason: bytes) -> None:
    os.write(fd, b"%d %s %s" % (held, word, reason))
    os.close(fd)


def _begin(link: Link, reservation: Reservation) -> Policy | str:
    """Take the first tokens, and return what will move them, or why they stay as they are ("": that was the order)."""
    lease, environment = reservation.lease, reservation.environment
    refused = ""
    if reservation.policy == "valve" and reservation.pipe is not None:
        from .gcc_valve import Valve  # noqa: PLC0415  termios, and only GCC needs it

        lease.grow(0)  # where slots are shared, the implicit thread counts as well
        make = program_name((environment.get(b"MAKE").split() or [b"make"])[0])
        confine_wpa = None if reservation.wpa_asks else _confine_wpa(reservation, lease)
        return Valve(link.pid, reservation.pipe, lease, reservation.most, make, confine_wpa)
    if reservation.policy == "confine":
        from .confinement import confine  # noqa: PLC0415  only linkers with a fixed number of threads need it

        # No more than the CPUs there are: sixteen tokens make two CPUs no faster.
        lease.grow(min(reservation.most, len(os.sched_getaffinity(link.pid)) - 1))
        confinement = confine(link.pid, lease, reservation.most, environment.get)
        if not isinstance(confinement, str):
            return confinement
        refused = confinement
    lease.grow(reservation.most - lease.held)
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
    null = os.open(b"/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    kept = {0, 1, 2, *keep}
    try:
        numbers = [int(name) for name in os.listdir(b"/proc/self/fd")]
    except OSError:
        numbers = list(range(os.sysconf("SC_OPEN_MAX")))
    for fd in numbers:
        if fd not in kept:
            try:
                os.close(fd)
            except OSError:
                continue  # the descriptor that listdir itself used
    os.chdir(b"/")
    _name_ourselves()
    # The link turned it off, and will be gone. What is here already is no garbage: to look at it would only copy pages.
    gc.freeze()
    gc.enable()


def _name_ourselves() -> None:
    """Show up as `ldshim-warden` in ps, not as a second gcc."""
    try:
        fd = os.open(b"/proc/self/comm", os.O_WRONLY)
        os.write(fd, b"ldshim-warden")
        os.close(fd)
    except OSError:
        pass


def watch(link: Link, lease: Lease, policy: Policy | None, history: History) -> None:
    """Hold the lease until the link is over, then release it; write its course into history."""
    history.note(time.monotonic(), lease.held, wants=False)
    history.use(lease.held if policy is None else 0)
    try:
        import select  # noqa: PLC0415  the link is on its way by now

        poll = select.poll()
        poll.register(link.life_fd, select.POLLIN)
        if link.pidfd >= 0:
            poll.register(link.pidfd, select.POLLIN)
        piped, alive, missed = True, True, 0
        while piped or alive:
            delay = WITHOUT_PIDFD_SECONDS if alive and link.pidfd < 0 else None
            if alive and policy is not None:
                now = time.monotonic()
                delay = min(policy.tick(now), delay or 3600.0)
                history.note(now, lease.held, policy.wants)
            if not alive:
                delay = HOLDERS_SECONDS
            for fd in _wait(poll, delay, lease, policy if alive else None):
                poll.unregister(fd)
                if fd == link.life_fd:
                    piped = False
                else:
                    alive = False
            if alive and link.pidfd < 0:
                alive = processes.stamp(link.pid) == link.stamp
            if piped and not alive:
                # A child between fork and exec still is what its parent was, a shell perhaps: one look at that moment proves nothing.
                missed = 0 if _held_by_a_tool(link) else missed + 1
                piped = missed < 2
        history.note(time.monotonic(), lease.held, wants=False)
        history.use(policy.peak if policy is not None else 0)
    finally:
        release(lease)
    if policy is not None:
        policy.end(processes.holders(os.fstat(link.life_fd).st_ino) if _still_held(link) else [])


def _wait(poll: select.poll, seconds: float | None, lease: Lease, policy: Policy | None) -> list[int]:
    """Wait until one of the registered descriptors is ready, and return those that are.

    A policy that waits for a token is hurried when, after BLIND_SECONDS, one is seen. seconds: at most, None for no end.
    """
    tokens = lease.tokens_fd() if policy is not None and policy.wants else -1
    if policy is None or tokens < 0 or seconds is None or seconds <= BLIND_SECONDS:
        return [fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)]
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


def release(lease: Lease) -> None:
    """Give everything back; a jobserver whose server has died takes nothing, and there is nobody left to tell."""
    try:
        lease.release()
    except OSError:
        return


def _still_held(link: Link) -> bool:
    """Tell whether somebody still holds the life pipe: poll says so without a walk through /proc."""
    import select  # noqa: PLC0415  as above

    poll = select.poll()
    poll.register(link.life_fd, select.POLLIN)
    return not poll.poll(0)


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
    stem, dash, version = name.rpartition(b"-")
    if dash and version.replace(b".", b"").isdigit():
        name = stem
    return name in _TOOLS or name.rpartition(b"-")[2] in _TOOLS or bool(kind_of(name))
