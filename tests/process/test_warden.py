"""Hazards after exec: whoever dies, by whatever signal, with whoever still running, every token comes back, and none too early.

Each test starts a small stand-in for the shim that leaves a warden and becomes a shell script: the real handover without a real linker.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ldshim.call import processes
from ldshim.reserve import jobserver, makeflags
from ldshim.reserve.lease import JobserverLease
from ldshim.warden import reservation, watch
from ldshim.warden.history import History
from tests.support.link import Link
from tests.support.pool import Pool
from tests.support.shim import ROOT


@pytest.fixture(params=["pipe", "fifo"])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """Provide a counted jobserver of both styles."""
    with Pool(b"\x00a\xff+", style=request.param) as counted:
        yield counted


def test_takes_what_is_there_and_returns_it(pool: Pool, tmp_path: Path) -> None:
    """C14: at most what was asked for, bytes unchanged (the pool recounts), all back after a normal exit; the status is the tool's."""
    link = Link(pool, tmp_path, "sleep 0.3; exit 42")
    assert (link.taken(), pool.available()) == (3, 1)
    assert link.process.wait() == 42
    assert pool.settled(2)


def test_an_empty_pool_gives_nothing_and_leaves_nobody(pool: Pool, tmp_path: Path) -> None:
    """C18: with no token there the link runs with its implicit thread, and no warden stays."""
    taken = pool.take(4)
    link = Link(pool, tmp_path, "exit 0")
    assert link.taken() == 0
    link.process.wait()
    assert wardens(pool) == []
    pool.give(taken)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_link_that_dies_by_a_signal_returns_everything(pool: Pool, tmp_path: Path, number: int) -> None:
    """C3, C14: make sees the very signal; every token is back."""
    link = Link(pool, tmp_path, "exec sleep 30")
    assert link.taken() == 3
    os.kill(link.process.pid, number)
    assert link.process.wait() == -number
    assert pool.settled(2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_to_the_whole_group_does_not_reach_the_warden(pool: Pool, tmp_path: Path, number: int) -> None:
    """C14: ^C at the terminal goes to the group; the warden is in a session of its own."""
    link = Link(pool, tmp_path, "sleep 30 | sleep 30")
    assert link.taken() == 3
    os.killpg(link.process.pid, number)
    assert link.process.wait() == -number
    assert pool.settled(2)


def tool(place: Path, name: str) -> str:
    """Copy a program under the name of a tool of the link, since tools are known by what they run."""
    return shutil.copy("/bin/sleep", str(place / name))


def runs(written: Path, name: str) -> bool:
    """Tell whether the process whose pid was written runs that program by now; between fork and exec it is a shell still."""
    pid = written.read_text().strip()
    return pid != "" and os.readlink(f"/proc/{pid}/exe").endswith("/" + name)


def test_compilers_that_outlive_their_driver_keep_the_tokens(pool: Pool, tmp_path: Path) -> None:
    """C14: SIGKILL to the driver leaves LTRANS compilers behind; their threads are in use until they end."""
    tool(tmp_path, "lto1")
    link = Link(pool, tmp_path, "./lto1 2 & echo $! > started; wait")
    assert link.taken() == 3
    while not ((tmp_path / "started").exists() and runs(tmp_path / "started", "lto1")):
        time.sleep(0.01)
    link.process.kill()
    link.process.wait()
    time.sleep(0.5)
    assert pool.available() == 1
    assert pool.settled(10)


def test_a_tool_that_closes_every_descriptor_still_holds_its_tokens(pool: Pool, tmp_path: Path) -> None:
    """C14: the life pipe is closed, but the process lives, and pidfd says so."""
    closer = "import os, time; os.closerange(3, 4096); open('closed', 'w').close(); time.sleep(1)"
    link = Link(pool, tmp_path, f'exec "{sys.executable}" -c "{closer}"')
    assert link.taken() == 3
    while not (tmp_path / "closed").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    assert pool.available() == 1
    link.process.wait()
    assert pool.settled(2)


@pytest.mark.parametrize("server", ["setsid ./lto1 30 &", "sleep 30 &"], ids=["in a session of its own", "no tool of a link"])
def test_a_server_that_keeps_the_life_pipe_holds_nothing_up(pool: Pool, tmp_path: Path, server: str) -> None:
    """C15: something that was started under the link and stays, with every descriptor, costs the build no token and no time."""
    tool(tmp_path, "lto1")
    link = Link(pool, tmp_path, f"{server} echo $! > server; sleep 0.2")
    link.taken()
    link.process.wait()
    # A server that inherited make's own descriptors is its own harm, bare or not; what is counted here are the tokens.
    returned = pool.settled(3)
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if os.readlink(path) == str(tmp_path):
                os.kill(int(path.parts[2]), signal.SIGKILL)
        except OSError:
            continue
    assert returned


@pytest.mark.parametrize("stage", ["before fork", "before exec"])
def test_a_shim_killed_at_any_stage_loses_nothing(pool: Pool, tmp_path: Path, stage: str) -> None:
    """C14: the warden takes the tokens, so a SIGKILL of the shim between any two steps leaves none with a dead process."""
    link = Link(pool, tmp_path, "exit 0", stage=stage)
    assert link.process.wait() == -signal.SIGKILL
    assert pool.settled(2)


@pytest.mark.parametrize("policy", ["valve", "confine", "fixed"])
def test_a_warden_that_cannot_be_forked_holds_nothing(pool: Pool, tmp_path: Path, policy: str) -> None:
    """C14, C18: where the second fork is refused (a limit of processes) nothing is taken, the link runs and is told so, no child stays."""
    link = Link(pool, tmp_path, "wait; exit 7", stage="second fork fails", policy=policy)
    assert (["none", "none"], 7, 4) == (link.told(), link.process.wait(), pool.available())
    assert wardens(pool) == []


class Waiter:
    """A policy that waits for a token for an hour, and ends the link when it is hurried."""

    def __init__(self, pool: Pool, link: subprocess.Popen[bytes], life: int) -> None:
        self.pool, self.link, self.life = pool, link, life
        self.taken = pool.take(1)
        self.peak, self.wants, self.hurried = 0, True, False

    def tick(self, _: float) -> float:
        """Let somebody give the token back, then wait; end the link once that was seen."""
        if not self.hurried:
            self.pool.give(self.taken)
        elif self.life >= 0:
            self.link.kill()
            os.close(self.life)
            self.life = -1
        return 3600

    def hurry(self) -> None:
        """Remember it."""
        self.hurried = True

    def end(self, _: list[int]) -> None:
        """Leave everything as it is."""


def test_a_warden_that_waits_wakes_when_a_token_is_there() -> None:
    """C21: however long the next time to ask is away, a token that can be seen is asked for at once."""
    with Pool(b"+") as pool, subprocess.Popen(["sleep", "60"]) as child:
        client = jobserver.connect(makeflags.parse(os.fsencode(pool.makeflags)))
        assert isinstance(client, jobserver.Jobserver)
        ours, theirs = os.pipe()
        link = reservation.Link(ours)
        os.close(link.pidfd)
        link.pid, link.pidfd = child.pid, os.pidfd_open(child.pid)
        policy, lease, history = Waiter(pool, child, theirs), JobserverLease(client), History(0.0)
        watch.watch(link, lease, policy, history)
        watch.wind_up(link, lease, policy, history)
        assert policy.hurried
        os.close(link.pidfd)
        os.close(ours)


def wardens(pool: Pool) -> list[int]:
    """Name the processes other than this one that hold the pool's write end: the wardens, once the link runs without it."""
    inode = os.fstat(pool.read_fd).st_ino
    found = set()
    for pid in processes.all_pids():
        if pid == os.getpid() or processes.comm(pid) != b"ldshim-warden":
            continue
        try:
            if any(path.stat().st_ino == inode for path in Path(f"/proc/{pid}/fd").iterdir()):
                found.add(pid)
        except OSError:
            continue
    return sorted(found)


def test_the_warden_keeps_nothing_of_ours_or_makes(tmp_path: Path) -> None:
    """C15: stdio on /dev/null, cwd /, a session of its own, and no descriptor of make's: only private ones, all above 99."""
    with Pool(b"abc") as pool:
        link = Link(pool, tmp_path, "exec sleep 1")
        assert link.taken() == 3
        (watch,) = wardens(pool)
        place = Path("/proc") / str(watch)
        numbers = sorted(int(path.name) for path in (place / "fd").iterdir())
        assert [os.readlink(place / "fd" / str(number)) for number in numbers[:3]] == ["/dev/null"] * 3
        assert min(numbers[3:]) >= 100
        assert os.readlink(place / "cwd") == "/"
        assert os.getsid(watch) == watch
        assert os.getppid() != watch
        link.process.wait()


def test_the_link_inherits_only_the_life_pipe(tmp_path: Path) -> None:
    """C3: besides what a bare call has, the linker holds one descriptor of ours, and none of the warden's or the reservation's."""
    with Pool(b"abc", style="fifo") as pool:
        link = Link(pool, tmp_path, "ls -l /proc/self/fd > fds; sleep 0.1")
        link.process.wait()
    numbers = [int(line.split(" -> ")[0].split()[-1]) for line in (tmp_path / "fds").read_text().splitlines() if " -> " in line]
    assert len([number for number in numbers if number > 99]) == 1
    assert [number for number in numbers if 3 < number < 100] == []


def test_sigchld_ignored_by_the_caller_does_no_harm(tmp_path: Path) -> None:
    """A build started with SIGCHLD ignored has its children reaped by the kernel: the handover takes that for granted."""
    with Pool(b"abc") as pool:
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            link = Link(pool, tmp_path, "exit 0")
            assert link.taken() == 3
        finally:
            signal.signal(signal.SIGCHLD, before)
        link.process.wait()


@pytest.mark.parametrize("policy", ["fixed", "confine", "valve"])
def test_a_warden_that_is_dismissed_returns_everything_while_the_link_runs(policy: str, tmp_path: Path) -> None:
    """C1 C14: exec failed, or something of ours did: the call runs bare, on every CPU, without a descriptor of ours, and holds nothing."""
    with Pool(b"abc", style="fifo") as pool:
        script = "nproc > cpus; ls -l /proc/self/fd > fds; while [ ! -e over ]; do sleep 0.05; done"
        link = Link(pool, tmp_path, script, stage="dismissed", policy=policy)
        link.told()
        assert pool.settled(5)
        assert wardens(pool) == []
        (tmp_path / "over").touch()
        assert 0 == link.process.wait()
    numbers = [int(line.split(" -> ")[0].split()[-1]) for line in (tmp_path / "fds").read_text().splitlines() if " -> " in line]
    assert [] == [number for number in numbers if number > 99]
    assert len(os.sched_getaffinity(0)) == int((tmp_path / "cpus").read_text())


@pytest.mark.parametrize("policy", ["fixed", "confine"])
def test_a_warden_without_pidfd_and_proc_ends_with_its_link(policy: str, tmp_path: Path) -> None:
    """C15: nothing tells of a death but the kernel's own answer and the life pipe; a server that keeps the pipe holds nothing up."""
    blind = (
        "import os\nfrom ldshim.call import processes\nif hasattr(os, 'pidfd_open'): del os.pidfd_open\nprocesses.PROC = b'/nonexistent'\n"
    )
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{blind}")
    with Pool(b"abc", style="fifo") as pool:
        os.environ["PYTHONPATH"] = str(tmp_path)
        try:
            link = Link(pool, tmp_path, "setsid sleep 30 & echo $! > server; sleep 0.3", policy=policy)
            assert link.taken() == 3
            assert pool.available() == 0
        finally:
            del os.environ["PYTHONPATH"]
        assert 0 == link.process.wait()
        returned = pool.settled(5)
        os.kill(int((tmp_path / "server").read_text()), signal.SIGKILL)
    assert returned


def test_a_jobserver_that_somebody_filled_does_not_hold_the_warden(tmp_path: Path) -> None:
    """C14 C15: where no byte fits in, nobody lacks the one that we hold: the warden ends."""
    with Pool(b"+", style="fifo") as pool:
        link = Link(pool, tmp_path, "while [ ! -e over ]; do sleep 0.05; done")
        assert link.taken() == 1
        filler = os.open(pool.path, os.O_WRONLY | os.O_NONBLOCK)
        put = 0
        try:
            while True:
                put += os.write(filler, b"+" * 4096)
        except BlockingIOError:
            os.close(filler)
        (tmp_path / "over").touch()
        link.process.wait()
        deadline = time.monotonic() + 20
        while wardens(pool) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert [] == wardens(pool)
        while put > 0:
            put -= len(pool.take(put))
        pool.give(b"+")
