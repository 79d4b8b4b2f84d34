"""Hazard: a register that says too much adds a byte that nobody took; one that says too little loses a killed warden's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ldshim.call import processes
from ldshim.reserve import jobserver, makeflags, register
from ldshim.reserve.lease import JobserverLease, Lease
from tests.pool import Pool


@pytest.fixture(params=["pipe", "fifo"])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """Provide a counted jobserver of both styles."""
    with Pool(b"abcd", style=request.param) as counted:
        yield counted


@pytest.fixture
def place(tmp_path: Path) -> bytes:
    """Provide a directory as a pool makes it."""
    directory = tmp_path / "pool"
    directory.mkdir(mode=0o700)
    return os.fsencode(directory)


def client(pool: Pool) -> JobserverLease:
    """Connect to the pool, as a shim does."""
    found = jobserver.connect(makeflags.parse(pool.makeflags.encode()))
    assert isinstance(found, jobserver.Jobserver)
    return JobserverLease(found)


def wrap(lease: Lease, variable: bytes) -> Lease:
    """Offer a lease to the pool that the variable names."""
    return register.registered(lease, {register.VARIABLE: variable}.get, b"ld.lld")  # type: ignore[arg-type]


def said(place: bytes) -> list[int]:
    """Read the numbers that stand in the register."""
    return [entry.tokens for entry in register.entries(place)]


def test_the_number_follows_what_is_held(pool: Pool, place: bytes) -> None:
    """Taken tokens stand in one file named after the warden, with the link and the tool; after the release there is none."""
    lease = wrap(client(pool), register.value(place, pool.read_fd))
    assert [] == said(place)
    lease.grow(3)
    own = processes.stamp(os.getpid())
    assert [(own, 3, own, b"ld.lld")] == [(e.warden, e.tokens, e.link, e.tool) for e in register.entries(place)]
    lease.shrink(2)
    assert [1] == said(place)
    lease.grow(1)
    assert [2] == said(place)
    lease.release()
    assert [] == os.listdir(place)


def test_a_lease_on_nothing_has_no_file(pool: Pool, place: bytes) -> None:
    """A warden that got no token writes nothing."""
    taken = pool.take(4)
    lease = wrap(client(pool), register.value(place, pool.read_fd))
    assert 0 == lease.grow(2)
    assert [] == os.listdir(place)
    pool.give(taken)
    lease.release()


class Watched(JobserverLease):
    """A lease that compares, around every move of a token, what the register says with what is held. excess: where it said more."""

    def __init__(self, inner: JobserverLease, place: bytes) -> None:
        super().__init__(inner.jobserver)
        self.place = place
        self.most_said: list[tuple[int, int]] = []

    def note(self) -> None:
        """Remember what the register says now, and what is held."""
        self.most_said.append((sum(said(self.place)), self.held))

    def grow(self, most: int) -> int:
        """Take, and look before and after."""
        self.note()
        took = super().grow(most)
        self.note()
        return took

    def shrink(self, count: int) -> None:
        """Give, and look before and after: what is about to go must not be in the number any more."""
        self.most_said.append((sum(said(self.place)), self.held - min(count, self.held)))
        super().shrink(count)
        self.note()

    def release(self) -> None:
        """Give everything, and look before."""
        self.most_said.append((sum(said(self.place)), 0))
        super().release()


def test_the_number_is_never_more_than_what_is_held(pool: Pool, place: bytes) -> None:
    """C14: raised after a take and lowered before a return, so that at no instant a refill could bring a byte too many."""
    watched = Watched(client(pool), place)
    lease = wrap(watched, register.value(place, pool.read_fd))
    for step in (2, -1, 3, -2, 1, -9, 4):
        lease.grow(step) if step > 0 else lease.shrink(-step)
    lease.release()
    assert [] == [pair for pair in watched.most_said if pair[0] > pair[1]]
    assert 0 < max(number for number, _ in watched.most_said)


def test_a_number_that_cannot_be_lowered_goes_away(pool: Pool, place: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk refuses the smaller number, the file is removed: a token is lost then, if the warden dies, and none invented."""
    lease = wrap(client(pool), register.value(place, pool.read_fd))
    lease.grow(3)

    def refuse(*_: object) -> int:
        raise OSError(5, "injected")

    monkeypatch.setattr(os, "pwrite", refuse)
    lease.shrink(1)
    assert [] == os.listdir(place)
    lease.release()


def test_a_return_that_fails_stays_in_the_number(pool: Pool, place: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens that the jobserver did not take back are still held, and the register says so again."""
    inner = client(pool)
    lease = wrap(inner, register.value(place, pool.read_fd))
    lease.grow(3)

    def refuse(_: int) -> None:
        raise OSError(5, "injected")

    with monkeypatch.context() as patched:
        patched.setattr(jobserver.Jobserver, "give", refuse)
        with pytest.raises((OSError, TypeError)):
            lease.shrink(1)
    assert [3] == said(place)
    lease.release()


def strangers(place: bytes, pool: Pool) -> dict[str, bytes]:
    """Make variables that are not this jobserver's, or not this process's."""
    right = register.value(place, pool.read_fd)
    head, _, namespace = right.rpartition(b".")
    other_pipe, end = os.pipe()
    other = register.value(place, other_pipe)
    os.close(other_pipe)
    os.close(end)
    return {
        "another jobserver": other,
        "another PID namespace": head + b".%d" % (int(namespace) + 1),
        "no directory": right.rpartition(b":")[2],
        "a relative directory": b"pool:" + right.rpartition(b":")[2],
        "nonsense": b"/:::",
        "empty": b"",
    }


@pytest.mark.parametrize("why", ["another jobserver", "another PID namespace", "no directory", "a relative directory", "nonsense", "empty"])
def test_a_stale_variable_registers_nobody(pool: Pool, place: bytes, why: str) -> None:
    """A pool that is over, another make's jobserver, a container: the lease stays as it was."""
    lease = client(pool)
    assert lease is wrap(lease, strangers(place, pool)[why])
    lease.release()


def test_slots_are_no_pools_tokens(place: bytes, pool: Pool) -> None:
    """A lease on something else than a jobserver is not registered."""
    lease = Lease("slots")
    assert lease is wrap(lease, register.value(place, pool.read_fd))


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_directory_that_others_could_read_or_write_is_not_used(pool: Pool, place: bytes, mode: int) -> None:
    """Only a directory of mode 0700 is a pool's: the lease works, and nothing is written."""
    os.chmod(place, mode)
    lease = wrap(client(pool), register.value(place, pool.read_fd))
    assert 2 == lease.grow(2)
    assert [] == os.listdir(place)
    lease.release()


WARDEN = """
import os, sys, time
from ldshim.call.environment import read_environment
from ldshim.call import processes
from ldshim.reserve import jobserver, makeflags, register
from ldshim.reserve.lease import JobserverLease
lease = JobserverLease(jobserver.connect(makeflags.parse(os.environb[b"MAKEFLAGS"])))
lease = register.registered(lease, read_environment().get, b"ld.lld")
if os.environ["LINK"]:
    lease._tail = os.environb[b"LINK"] + b" ld.lld\\n"
lease.grow(3)
print("held", flush=True)
time.sleep(60)
"""


def warden(pool: Pool, place: bytes, link: bytes = b"") -> subprocess.Popen[bytes]:
    """Start a process that holds three tokens and has written them down. link: whom they are for, itself unless said."""
    variable = register.value(place, pool.read_fd).decode()
    more = {
        "MAKEFLAGS": pool.makeflags,
        register.VARIABLE.decode(): variable,
        "LINK": link.decode(),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", WARDEN]
    process = subprocess.Popen(command, env={**os.environ, **more}, pass_fds=pool.pass_fds, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert b"held\n" == process.stdout.readline()
    process.stdout.close()
    return process


def test_a_killed_warden_s_tokens_are_settled_once(pool: Pool, place: bytes) -> None:
    """C14: while it lives nothing is settled; after SIGKILL its number comes out, once, and the file is gone."""
    holder = warden(pool, place)
    assert ([], [3]) == (register.settled(place), said(place))
    holder.send_signal(signal.SIGKILL)
    wait_for_death(holder.pid)  # a zombie holds nothing either
    assert [(3, b"ld.lld")] == [(entry.tokens, entry.tool) for entry in register.settled(place)]
    assert ([], []) == (register.settled(place), os.listdir(place))
    holder.wait()
    pool.give(b"abc")


def test_tokens_wait_for_the_link_that_runs_on_them(pool: Pool, place: bytes) -> None:
    """C14: the warden was killed, its link still computes with three threads; what it held comes back when the link is over."""
    link = subprocess.Popen(["sleep", "60"])
    holder = warden(pool, place, processes.stamp(link.pid))
    holder.kill()
    holder.wait()
    assert ([], [3]) == (register.settled(place), said(place))
    link.kill()
    link.wait()
    assert [3] == [entry.tokens for entry in register.settled(place)]
    pool.give(b"abc")


def test_a_pid_that_somebody_else_has_now_is_dead(place: bytes) -> None:
    """The start time tells a process from a later one with its pid."""
    Path(os.fsdecode(place), f"{os.getpid()}.1").write_bytes(b"000002 1.1 gcc\n")
    assert [2] == [entry.tokens for entry in register.settled(place)]


@pytest.mark.parametrize("content", [b"", b"2", b"000002", b"00000x 1.1 gcc\n", b"-00002 1.1 gcc\n", b"000002 1.1 gc", b"\xff" * 300])
def test_what_is_no_entry_holds_nothing(place: bytes, content: bytes) -> None:
    """A file that was cut off or damaged is worth no token."""
    Path(os.fsdecode(place), f"{os.getpid()}.1").write_bytes(content)
    assert [0] == [entry.tokens for entry in register.settled(place)]


def test_a_process_that_proc_does_not_show_is_not_dead(place: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc for a moment (EMFILE, hidepid): the kernel knows the pid, so nothing is proved and nothing settled."""
    Path(os.fsdecode(place), processes.stamp(os.getpid()).decode()).write_bytes(b"000002 1.1 gcc\n")
    monkeypatch.setattr(processes, "PROC", b"/nonexistent")
    assert [] == register.settled(place)


def wait_for_death(pid: int) -> None:
    """Wait until a process is a zombie or gone."""
    while processes.stamp(pid):
        time.sleep(0.005)
