r"""A jobserver that the test owns, and recounts.

The problem: a client that loses a token, invents one or gives back another byte than it took does harm that shows only much later, in
somebody else's build. The consequence: every test that hands out a jobserver hands out this one. Its tokens are bytes the test chose
(make's are all `+`), and leaving the `with` block counts them as make does at its own end: it closes its write end, reads until
end of file, and compares. So one run of the count shows lost, extra and changed tokens, and a process that still holds the jobserver.

    with Pool(b"\x00a\xff") as pool:
        subprocess.run([...], env={**env, "MAKEFLAGS": pool.makeflags}, pass_fds=pool.pass_fds)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE = 20.0  # seconds for late returns (a warden that waits for the last LTRANS); a count that is right ends the wait at once


class Pool:
    """A jobserver with the given tokens.

    tokens: one byte each, their values are the identity; style: "pipe" (descriptors 3,4 style) or "fifo" (make 4.4 style); blocking: a
    read end without O_NONBLOCK, as make 4.2 and cargo have it. owner: the test, through the `with` block.
    """

    def __init__(self, tokens: bytes = b"\x00a\xff", style: str = "pipe", blocking: bool = False) -> None:
        self.tokens = tokens
        self.style = style
        self.blocking = blocking
        self._fds: list[int] = []
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Pool:
        """Make the pipe or fifo and fill it."""
        if self.style == "fifo":
            self._directory = tempfile.TemporaryDirectory(prefix="pool")
            self.path = Path(self._directory.name) / "GMfifo"
            os.mkfifo(self.path, 0o600)
            self.read_fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self.write_fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            auth = f"fifo:{self.path}"
            self.pass_fds: tuple[int, ...] = ()
        else:
            self.read_fd, self.write_fd = os.pipe()
            os.set_blocking(self.read_fd, self.blocking)
            auth = f"{self.read_fd},{self.write_fd}"
            self.pass_fds = (self.read_fd, self.write_fd)
        self._fds = [self.read_fd, self.write_fd]
        self._private = os.open(f"/proc/self/fd/{self.read_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._fds.append(self._private)
        self.makeflags = f" -j{len(self.tokens) + 1} --jobserver-auth={auth}"
        self._flags = self._status_flags()
        os.write(self.write_fd, self.tokens)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Recount; a test that failed already keeps its own error."""
        try:
            if kind is None:
                self._recount()
        finally:
            for fd in self._fds:
                os.close(fd)
            self._fds = []
            if self._directory:
                self._directory.cleanup()

    def available(self) -> int:
        """Count the tokens that lie in the pool now, without taking any."""
        return int.from_bytes(fcntl.ioctl(self._private, 0x541B, b"\0\0\0\0"), "little")  # FIONREAD

    def add(self, tokens: bytes) -> None:
        """Put more tokens in, as a make does whose other jobs end; they belong to the pool from here on."""
        self.tokens += tokens
        os.write(self.write_fd, tokens)

    def take(self, count: int) -> bytes:
        """Take up to count tokens out, as another client does; give them back with `give`."""
        try:
            return os.read(self._private, count)
        except BlockingIOError:
            return b""

    def give(self, tokens: bytes) -> None:
        """Put tokens back that `take` returned."""
        os.write(self.write_fd, tokens)

    def settled(self, patience: float = PATIENCE) -> bool:
        """Wait until every token is back; False when some are still out after `patience` seconds."""
        deadline = time.monotonic() + patience
        while self.available() < len(self.tokens):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def _status_flags(self) -> tuple[int, int]:
        return fcntl.fcntl(self.read_fd, fcntl.F_GETFL), fcntl.fcntl(self.write_fd, fcntl.F_GETFL)

    def _recount(self) -> None:
        self.settled()
        flags = self._status_flags()
        os.close(self.write_fd)
        self._fds.remove(self.write_fd)
        left, held = self._read_to_end()
        assert sorted(self.tokens) == sorted(left), f"tokens: {len(self.tokens)} handed out, {len(left)} back: {self.tokens!r} -> {left!r}"
        assert held is False, f"a process still holds the write end of the jobserver {PATIENCE} s after the test: {_holders(self.read_fd)}"
        assert self._flags == flags, "somebody changed the status flags of the jobserver's descriptors"

    def _read_to_end(self) -> tuple[bytes, bool]:
        """Read until nobody can write any more: the tokens, and whether somebody still could at the deadline."""
        left = b""
        deadline = time.monotonic() + PATIENCE
        poll = select.poll()
        poll.register(self._private, select.POLLIN)
        while time.monotonic() < deadline:
            if poll.poll(50):
                data = os.read(self._private, 65536)
                if not data:
                    return left, False
                left += data
        return left, True


def _holders(fd: int) -> list[str]:
    """Name the processes that have the same pipe open for writing."""
    inode = os.fstat(fd).st_ino
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # it may end while we look
            if link.stat().st_ino == inode and link.lstat().st_mode & 0o200:
                found.append(f"{link.parts[2]} {(link.parent.parent / 'cmdline').read_bytes()!r}")
    return found
