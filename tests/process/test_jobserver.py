"""Tokens are somebody else's property: taken only from what really is a jobserver, and given back byte for byte (C12, C13, C14)."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import pytest

from ldshim.call.descriptors import waiting
from ldshim.reserve import jobserver
from ldshim.reserve.jobserver import Jobserver, connect, find
from ldshim.reserve.makeflags import ABSENT, WITHHELD, parse
from tests.support import tools
from tests.support.pool import Pool
from tests.support.program import bare_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKENS = b"\x00a\xff+G"
ROOT = Path(__file__).resolve().parents[2]


def client(pool: Pool) -> Jobserver:
    """Connect to a pool; the test owns the client."""
    connected = connect(parse(pool.makeflags.encode()))
    assert isinstance(connected, Jobserver), connected
    return connected


def named(read_fd: int, write_fd: int) -> bytes:
    """Spell an auth for two descriptors."""
    return b" -j4 --jobserver-auth=%d,%d" % (read_fd, write_fd)


@pytest.fixture
def fds() -> Iterator[list[int]]:
    """Collect descriptors to be closed after the test."""
    opened: list[int] = []
    yield opened
    for fd in opened:
        os.close(fd)


@pytest.mark.parametrize("style", ["pipe", "fifo"])
@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("most", [1, 3, 5, 9])
def test_what_is_taken_comes_back_unchanged(style: str, blocking: bool, most: int) -> None:
    r"""C13, C14: exactly the bytes taken return, \x00 and \xff too, and make's own flags stay as they were (Pool checks both)."""
    with Pool(TOKENS, style, blocking) as pool:
        tokens = client(pool)
        taken = tokens.take(most)
        assert (min(most, 5), 5 - taken) == (taken, pool.available())
        tokens.give(1)
        assert (taken - 1, 6 - taken) == (tokens.held, pool.available())
        tokens.close()
        assert 5 == pool.available()


@pytest.mark.parametrize("style", ["pipe", "fifo"])
def test_an_empty_pool_gives_nothing_and_stops_nobody(style: str) -> None:
    """C13: reading never blocks, on a pool whose own read end does block."""
    with Pool(b"", style, blocking=True) as pool:
        tokens = client(pool)
        assert (0, 0) == (tokens.take(4), tokens.held)
        tokens.close()


def test_asking_for_nothing_takes_nothing() -> None:
    """C14: zero and negative wishes leave the pool alone, and giving more than is held gives what is held."""
    with Pool(TOKENS) as pool:
        tokens = client(pool)
        assert [0, 0, 2] == [tokens.take(0), tokens.take(-3), tokens.take(2)]
        tokens.give(-1)
        assert 2 == tokens.held
        tokens.give(99)
        assert (0, 5) == (tokens.held, pool.available())
        tokens.close()


def test_closing_twice_gives_back_once() -> None:
    """C14: nothing is given twice, and a closed client takes and gives nothing."""
    with Pool(TOKENS) as pool:
        tokens = client(pool)
        tokens.take(2)
        tokens.close()
        tokens.close()
        assert (0, [], 0) == (tokens.take(1), tokens.fds(), tokens.held)


@pytest.mark.parametrize("style", ["pipe", "fifo"])
def test_our_descriptors_are_ours_alone(style: str) -> None:
    """C13: private open file descriptions, close-on-exec, at 100 and above; make's numbers are named apart."""
    with Pool(TOKENS, style) as pool:
        tokens = client(pool)
        assert min(tokens.fds()) >= 100
        assert not any(os.get_inheritable(fd) for fd in tokens.fds())
        assert all(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd in tokens.fds())
        assert pool.pass_fds == tokens.callers_fds
        expected = f"pipe {pool.read_fd},{pool.write_fd}" if style == "pipe" else f"fifo {pool.path}"
        assert expected == tokens.name
        tokens.close()


def test_descriptor_0_may_be_a_jobserver() -> None:
    """C12: fd 0 is allowed when it is one end of the pipe (GCC up to 12 refuses it)."""
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from ldshim.reserve import jobserver, makeflags\n"
        "found = jobserver.connect(makeflags.parse(sys.argv[2].encode()))\n"
        "print(found if isinstance(found, str) else (found.name, found.take(3)))\n"
        "found.close()\n"
    )
    with Pool(TOKENS) as pool:
        words = f" --jobserver-auth=0,{pool.write_fd}"
        said = subprocess.run(
            [sys.executable, "-c", code, str(ROOT), words], stdin=pool.read_fd, pass_fds=[pool.write_fd], stdout=subprocess.PIPE, check=True
        )
        assert f"('pipe 0,{pool.write_fd}', 3)" == said.stdout.decode().strip()


def test_the_first_variable_that_works_is_used(fds: list[int]) -> None:
    """C11: CARGO_MAKEFLAGS, MAKEFLAGS, MFLAGS in that order; each one tried in vain has its reason."""
    closed = os.pipe()
    for fd in closed:
        os.close(fd)
    fds += os.pipe()
    with Pool(TOKENS, "fifo") as pool:
        words = pool.makeflags.encode()
        found, reasons = find([("CARGO_MAKEFLAGS", b""), ("MAKEFLAGS", named(fds[0], 2**20)), ("MFLAGS", words)])
        assert isinstance(found, Jobserver)
        assert [f"CARGO_MAKEFLAGS: {ABSENT}", f"MAKEFLAGS: {jobserver.CLOSED}"] == reasons
        found.close()
        found, reasons = find([("CARGO_MAKEFLAGS", words), ("MAKEFLAGS", b" --jobserver-auth=3,4")])
        assert (f"fifo {pool.path}", []) == (found.name if found else "", reasons)
        assert found
        found.close()
    assert (None, [f"MAKEFLAGS: {WITHHELD}"]) == find([("MAKEFLAGS", b" -j4 --jobserver-auth=3,4 --jobserver-auth=-2,-2")])


def trickle(write_fd: int, tokens: bytes, watch_fd: int, stop: threading.Event) -> None:
    """Serve one token at a time: the next goes in when the one before is gone."""
    for number in range(len(tokens)):
        while waiting(watch_fd):
            if stop.wait(0.0005):
                return
        os.write(write_fd, tokens[number : number + 1])


@pytest.mark.parametrize(("grace", "expected"), [(8.0, 5), (0.0, 1)])
def test_a_trickling_server_is_given_its_grace(grace: float, expected: int, fds: list[int]) -> None:
    """C11: one token at a time is waited for while they keep coming, and not at all without grace."""
    read_fd, write_fd = os.pipe()
    fds += [read_fd, write_fd]
    os.write(write_fd, TOKENS[:1])
    tokens = connect(parse(named(read_fd, write_fd)))
    assert isinstance(tokens, Jobserver)
    stop = threading.Event()
    server = threading.Thread(target=trickle, args=(write_fd, TOKENS[1:], read_fd, stop))
    if expected > 1:
        server.start()
    taken = tokens.take(5, grace)
    stop.set()
    if expected > 1:
        server.join()
    assert expected == taken
    tokens.close()
    assert sorted(TOKENS[:expected]) == sorted(os.read(read_fd, 99))


def take(tokens: Jobserver, most: int, grace: float) -> list[int]:
    """Take in a thread: what was taken, in a list, or none when it was still waited for after a minute."""
    taken: list[int] = []
    taker = threading.Thread(target=lambda: taken.append(tokens.take(most, grace)), daemon=True)
    taker.start()
    taker.join(60)
    return list(taken)


@pytest.mark.parametrize("there", [b"", TOKENS[:2]], ids=["an empty pool", "several at once"])
def test_no_grace_is_spent_where_none_can_help(there: bytes) -> None:
    """C11: an empty pool, and one that showed several tokens at once, are not waited for, be the grace ten minutes."""
    with Pool(there) as pool:
        found = client(pool)
        assert [len(there)] == take(found, 5, 600.0)
        found.close()


def test_a_server_that_trickles_for_ever_does_not_hold_the_link(fds: list[int]) -> None:
    """C11: the grace is for all tokens together: one that comes does not buy the next one time."""
    read_fd, write_fd = os.pipe()
    fds += [read_fd, write_fd]
    os.write(write_fd, b"+")
    tokens = connect(parse(named(read_fd, write_fd)))
    assert isinstance(tokens, Jobserver)
    stop = threading.Event()

    def serve() -> None:
        while waiting(read_fd) and not stop.wait(0.001):
            pass  # two tokens at once would be no trickle
        while not stop.wait(0.005):
            os.write(write_fd, b"+")

    server = threading.Thread(target=serve)
    server.start()
    taken = take(tokens, 1 << 20, 0.1)
    stop.set()
    server.join()
    assert 1 == len(taken)
    tokens.close()


def test_a_full_pipe_is_waited_for() -> None:
    """C14: giving back into a pipe that somebody overfilled waits for room and loses nothing."""
    read_fd, write_fd = os.pipe()
    size = fcntl.fcntl(write_fd, 1031, 4096)  # F_SETPIPE_SZ
    os.set_blocking(write_fd, False)
    tokens = connect(parse(named(read_fd, write_fd)))
    assert isinstance(tokens, Jobserver)
    os.write(write_fd, b"abc")
    assert tokens.take(3) == 3
    os.write(write_fd, b"x" * size)
    drained: list[bytes] = []

    def drain() -> None:
        while sum(map(len, drained)) < size + 3:
            drained.append(os.read(read_fd, size))

    reader = threading.Thread(target=drain)
    reader.start()
    tokens.close()
    reader.join()
    assert sorted(b"abc" + b"x" * size) == sorted(b"".join(drained))
    for fd in (read_fd, write_fd):
        os.close(fd)


def test_a_jobserver_that_dies_gives_nothing_and_keeps_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """C14: a device whose daemon has died takes and gives EIO: no token is invented, and what is held stays held."""

    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "gone")

    with Pool(TOKENS) as pool:
        tokens = client(pool)
        tokens.take(2)
        with monkeypatch.context() as patched:
            patched.setattr("os.read", broken)
            patched.setattr("os.write", broken)
            assert 0 == tokens.take(2)
            with pytest.raises(OSError, match="gone"):
                tokens.give(2)
        assert 2 == tokens.held
        tokens.close()


def test_a_device_is_asked_for_one_token_a_call(monkeypatch: pytest.MonkeyPatch, fds: list[int]) -> None:
    """A character device counts calls, so each read and each write moves one byte, through one descriptor."""
    ours, servers = socket.socketpair()  # stands in for the device: one descriptor, both directions
    ours.setblocking(False)
    fds.append(servers.detach())
    os.write(fds[0], b"\x00a\xff")
    sizes: list[int] = []
    real_read, real_write = os.read, os.write

    def read(fd: int, size: int) -> bytes:
        sizes.append(size)
        return real_read(fd, size)

    def write(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return real_write(fd, data)

    tokens = Jobserver(ours.fileno(), ours.detach(), "fifo /dev/steve", single=True)
    with monkeypatch.context() as patched:
        patched.setattr("os.read", read)
        patched.setattr("os.write", write)
        assert [3, 0] == [tokens.take(4), tokens.take(4)]
        assert 1 == len(tokens.fds())
        tokens.close()
    assert {1} == set(sizes)
    assert b"\x00a\xff" == os.read(fds[0], 9)


CLIENT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ldshim.reserve import jobserver
found, reasons = jobserver.find([("MAKEFLAGS", os.environb[b"MAKEFLAGS"]), ("MFLAGS", os.environb[b"MFLAGS"])])
if found is None:
    print("; ".join(reasons))
else:
    print(found.name.split()[0], found.take(9))
    found.close()
"""


@pytest.mark.parametrize(
    ("finder", "style", "plus", "said"),
    [
        (tools.make43, "", "+", "pipe 3"),
        (tools.make43, "", "", f"MAKEFLAGS: {jobserver.CLOSED}; MFLAGS: {jobserver.CLOSED}"),
        (tools.make44, "--jobserver-style=pipe", "+", "pipe 3"),
        (tools.make44, "--jobserver-style=pipe", "", f"MAKEFLAGS: {WITHHELD}; MFLAGS: {WITHHELD}"),
        (tools.make44, "", "+", "fifo 3"),
        (tools.make44, "", "", "fifo 3"),
    ],
)
def test_a_real_make_finds_its_pool_whole(finder: Callable[[], str], style: str, plus: str, said: str, tmp_path: Path) -> None:
    """C12, C14: under make 4.3 and 4.4.1 -j4, all three tokens come and go, and make does not complain at its end."""
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    (tmp_path / "Makefile").write_text(f"all:\n\t{plus}@{sys.executable} -IS {script} {ROOT}\n")
    command = [finder(), "-j4", *style.split()]
    ran = subprocess.run(command, cwd=tmp_path, env=bare_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    assert said == ran.stdout.decode().strip()
