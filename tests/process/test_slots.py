"""Without a jobserver our own links share the host: never more slots than there are, freed by the kernel (C16, C18)."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldshim.call.environment import Environment
from ldshim.reserve import slots
from ldshim.reserve.slots import SlotsLease

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Provide a directory of ours, and recount it afterwards: every slot file in it can be locked again."""
    directory = tmp_path / "slots"
    directory.mkdir(0o700)
    yield directory
    assert [] == [name for name in directory.iterdir() if is_locked(name)]


def is_locked(path: Path) -> bool:
    """Tell whether somebody has the lock of a file."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def lease(place: Path, count: int) -> SlotsLease:
    """Lease slots in a directory, nothing taken yet."""
    return SlotsLease(bytes(place), count)


def test_the_implicit_thread_takes_the_first_slot(place: Path) -> None:
    """C16, C18: four slots are the implicit thread and three more, for all links together."""
    first, second = lease(place, 4), lease(place, 4)
    assert (2, True) == (first.grow(2), first.counted)
    assert (0, True) == (second.grow(5), second.counted)
    assert (0, 0) == (first.grow(1), second.grow(1))
    first.release()
    assert 3 == second.grow(9)
    second.release()


def test_a_late_link_settles_its_debt_first(place: Path) -> None:
    """C16, C18: a link that found every slot taken runs anyway, and its next slot stands for the thread it runs already."""
    first, second = lease(place, 2), lease(place, 2)
    assert 1 == first.grow(9)
    assert (0, False) == (second.grow(1), second.counted)
    first.shrink(1)
    assert (0, True) == (second.grow(1), second.counted)
    first.release()
    assert 1 == second.grow(9)
    second.release()


def test_growing_by_nothing_counts_only_the_implicit_thread(place: Path) -> None:
    """C16: grow(0) claims the link's own slot and no more, and only once."""
    found = lease(place, 4)
    assert [0, 0] == [found.grow(0), found.grow(0)]
    directory_mark_slot = 3
    assert (0, True, directory_mark_slot) == (found.held, found.counted, len(found.fds()))
    found.release()
    assert ([], False) == (found.fds(), found.counted)


def test_shrinking_gives_others_room(place: Path) -> None:
    """C16: what is given back can be had at once, and giving back more than is held leaves the implicit slot alone."""
    first, second = lease(place, 4), lease(place, 4)
    assert 3 == first.grow(3)
    first.shrink(2)
    assert 1 == first.held
    assert 1 == second.grow(3)
    first.shrink(99)
    assert (0, True) == (first.held, first.counted)
    first.release()
    first.release()
    second.release()


def test_a_small_quota_holds_within_a_large_host(place: Path) -> None:
    """C16: links of a cgroup with two slots never hold three together, those of the host never more than six with them."""
    host, small, smaller = lease(place, 6), lease(place, 2), lease(place, 2)
    assert 3 == host.grow(3)  # the implicit one and three: slots 5 to 2, the low ones stay for the small links
    assert (1, 0) == (small.grow(4), smaller.grow(4))
    assert (True, False) == (small.counted, smaller.counted)
    assert 0 == host.grow(4)
    small.release()
    assert 2 == host.grow(4)
    for each in (host, smaller):
        each.release()


HOLDER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ldshim.reserve.slots import SlotsLease
lease = SlotsLease(os.fsencode(sys.argv[2]), int(sys.argv[3]))
print(lease.grow(int(sys.argv[4])), flush=True)
sys.stdin.read()
"""


def holder(place: Path, count: int, most: int) -> subprocess.Popen[bytes]:
    """Start a process that locks slots and waits for the end of its stdin."""
    command = [sys.executable, "-c", HOLDER, str(ROOT), str(place), str(count), str(most)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_the_kernel_frees_what_a_killed_holder_had(place: Path) -> None:
    """C16: SIGKILL to the holder frees its slots, and nothing is left to clean up."""
    with holder(place, 4, 2) as process:
        assert process.stdout
        assert b"2\n" == process.stdout.readline()
        found = lease(place, 4)
        assert 0 == found.grow(4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (3, True) == (found.grow(4), found.counted)
        found.release()


def test_a_crowd_never_holds_more_than_there_is(place: Path) -> None:
    """C16: twelve processes at once over five slots share exactly five, their implicit threads counted where there was room."""
    crowd = [holder(place, 5, 2) for _ in range(12)]
    try:
        said = [process.stdout.readline() for process in crowd if process.stdout]
        assert [f"slot-{number}" for number in range(5)] == sorted(name.name for name in place.glob("slot-*") if is_locked(name))
        assert sum(map(int, said)) < 5
    finally:
        for process in crowd:
            process.communicate()


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_slot_file_removed_in_between_is_not_a_slot(made_anew: bool, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C16: a cleaner of /tmp that removes a file between open and lock must not make two slots out of one."""
    real = fcntl.flock
    removed: list[str] = []

    def cleaned(fd: int, operation: int) -> None:
        real(fd, operation)
        if not removed:
            removed.append("slot-0")
            (place / "slot-0").unlink()
            if made_anew:  # by the next link, which is about to lock it
                (place / "slot-0").touch()

    first, second = lease(place, 1), lease(place, 1)
    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", cleaned)
        first.grow(1)
        second.grow(1)
    assert (["slot-0"], True, False) == (removed, first.counted, second.counted)
    first.release()
    second.release()


def test_a_directory_that_became_unusable_gives_no_slot(place: Path) -> None:
    """C16: verified each time: a directory that others can write by now is not used, and the link runs on its own thread."""
    place.chmod(0o770)
    found = lease(place, 4)
    assert (0, False, []) == (found.grow(4), found.counted, found.fds())
    found.release()


def test_connect_leases_in_our_directory(tmp_path: Path) -> None:
    """C16: the way the warden goes: find the directory, lease, and say where; nothing that is opened is inherited."""
    tmp_path.chmod(0o700)
    found = slots.connect(Environment([(b"XDG_RUNTIME_DIR", bytes(tmp_path))]).get, 3)
    assert isinstance(found, SlotsLease)
    assert ("slots", f"3 slots in {tmp_path}/ldshim") == (found.source, found.name)
    assert (2, 2) == (found.grow(9), found.held)
    assert not any(os.get_inheritable(fd) for fd in found.fds())
    found.release()


def in_child(path: bytes, count: int, most: int) -> tuple[int, int]:
    """Hold slots in another process: (pid, what it got); it holds them until it is killed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            lease = slots.SlotsLease(path, count)
            os.write(writer, b"%d" % lease.grow(most))
            time.sleep(60)
        finally:
            os._exit(0)
    os.close(writer)
    got = int(os.read(reader, 16))
    os.close(reader)
    return pid, got


def test_a_second_link_gets_its_even_share(tmp_path: Path) -> None:
    """C16: who holds everything is told of the surplus while another waits, does not grow again, and may when the other is gone."""
    path = os.fsencode(tmp_path)
    first = slots.SlotsLease(path, 8)
    assert (first.grow(7), first.surplus()) == (7, 0)
    pid, got = in_child(path, 8, 7)
    try:
        assert (got, first.surplus()) == (0, 4)
        first.shrink(4)
        assert (first.surplus(), first.grow(7)) == (0, 0)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert (first.surplus(), first.grow(7)) == (0, 4)
    first.release()
    assert [name for name in os.listdir(tmp_path) if name.startswith("link-")] == []
