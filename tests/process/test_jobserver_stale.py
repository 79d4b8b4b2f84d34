"""A jobserver that is named may be anything by now: what is refused, for which reason, and that refusing costs nobody a byte (C12, C13)."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ldshim.reserve import jobserver
from ldshim.reserve.jobserver import connect, verify_pair
from ldshim.reserve.makeflags import parse
from tests.process.test_jobserver import CLIENT, ROOT, TOKENS, fds, named
from tests.support import tools
from tests.support.pool import Pool
from tests.support.program import bare_environment

__all__ = ["fds"]  # a fixture: pytest finds it by this name


def stale(kind: str, fds: list[int], tmp_path: Path) -> tuple[int, int]:
    """Make a pair of descriptors that is no jobserver."""
    log = tmp_path / "log"
    log.write_bytes(b"not yours")
    if kind == "closed":
        pair = os.pipe()
        for fd in pair:
            os.close(fd)
        return pair
    if kind == "huge":
        return 999999998, 999999999
    first, second = os.pipe(), os.pipe()
    os.write(first[1], b"stranger")
    fds += [*first, *second]
    if kind == "half a pair":
        fds.append(os.open(log, os.O_RDWR))
        return fds[-1], first[1]
    if kind == "read end only":
        fds.append(os.open(log, os.O_RDWR))
        return first[0], fds[-1]
    if kind == "regular files":
        fds += [os.open(log, os.O_RDONLY), os.open(log, os.O_WRONLY)]
        return fds[-2], fds[-1]
    if kind == "sockets":
        left, right = socket.socketpair()
        fds += [left.detach(), right.detach()]
        return fds[-2], fds[-1]
    if kind == "terminal":
        fds += tools.terminal()
        return fds[-2], fds[-1]
    return {"two pipes": (first[0], second[1]), "swapped": (first[1], first[0]), "read ends": (first[0], first[0])}[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("closed", jobserver.CLOSED),
        ("huge", jobserver.CLOSED),
        ("half a pair", jobserver.NOT_PIPE),
        ("read end only", jobserver.NOT_PIPE),
        ("regular files", jobserver.NOT_PIPE),
        ("terminal", jobserver.NOT_PIPE),
        ("sockets", jobserver.SOCKET),
        ("two pipes", jobserver.TWO_PIPES),
        ("swapped", jobserver.MODES),
        ("read ends", jobserver.MODES),
    ],
)
def test_a_stale_pair_is_refused_unread(kind: str, reason: str, fds: list[int], tmp_path: Path) -> None:
    """C12: a pair counts only as both ends of one pipe; a stale one costs nobody a byte or a file position."""
    pair = stale(kind, fds, tmp_path)
    before = [os.lseek(fd, 0, os.SEEK_CUR) if kind == "regular files" else 0 for fd in pair]
    opened = len(os.listdir("/proc/self/fd"))
    assert reason == verify_pair(*pair)
    assert reason == connect(parse(named(*pair)))
    assert opened == len(os.listdir("/proc/self/fd"))
    assert before == [os.lseek(fd, 0, os.SEEK_CUR) if kind == "regular files" else 0 for fd in pair]
    assert len(fds) < 2 or os.read(fds[0], 99) == b"stranger"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", jobserver.MISSING),
        ("below a file", jobserver.MISSING),
        ("regular", jobserver.NOT_FIFO),
        ("directory", jobserver.NOT_FIFO),
        ("socket", jobserver.NOT_FIFO),
        ("unserved", jobserver.NO_SERVER),
        ("/dev/null", jobserver.TERMINAL),
        ("/dev/zero", jobserver.TERMINAL),
        ("terminal", jobserver.TERMINAL),
    ],
)
def test_a_path_that_nobody_serves_is_refused(kind: str, reason: str, fds: list[int], tmp_path: Path) -> None:
    """C12: a path counts only as a FIFO with somebody behind it, or a device that can be a jobserver; and it is never waited for."""
    path = tmp_path / "x"
    if kind == "below a file":
        path.touch()
        path = path / "y"
    elif kind == "regular":
        path.write_bytes(b"+++")
    elif kind == "directory":
        path.mkdir()
    elif kind == "unserved":
        os.mkfifo(path)
    elif kind == "terminal":
        fds += tools.terminal()
        path = Path(os.ttyname(fds[1]))
    elif kind.startswith("/dev"):
        path = Path(kind)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    opened = len(os.listdir("/proc/self/fd"))
    assert reason == connect(parse(b" -j4 --jobserver-auth=fifo:" + bytes(path)))
    assert opened == len(os.listdir("/proc/self/fd"))


def test_a_fifo_of_another_user_is_refused(tmp_path: Path) -> None:
    """C12: what may not be opened has its own reason."""
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o600)
    tmp_path.chmod(0o755)
    assert jobserver.REFUSED in as_nobody(tmp_path, f"connect(makeflags.parse(b' --jobserver-auth=fifo:{path}'))")


def test_a_pipe_of_another_user_is_refused() -> None:
    """C13: descriptors that came through sudo work, but cannot be opened anew: refused, and make's flags are left alone."""
    with Pool(TOKENS) as pool:
        assert jobserver.REFUSED in as_nobody(Path("/"), f"connect(makeflags.parse({pool.makeflags!r}.encode()))", *pool.pass_fds)


def as_nobody(place: Path, expression: str, *pass_fds: int) -> str:
    """Evaluate an expression of ldshim.reserve.jobserver as another user; what it prints."""
    if os.geteuid() != 0:
        tools.missing("root, to become another user")
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from ldshim.reserve.jobserver import *; from ldshim.reserve import makeflags\n"
        f"os.chdir({str(place)!r}); os.setgid(65534); os.setuid(65534)\n"
        f"print({expression})"
    )
    return subprocess.run([sys.executable, "-c", code], pass_fds=pass_fds, stdout=subprocess.PIPE, check=True).stdout.decode()


def test_without_proc_a_pipe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """C13: no /proc, no private description: refused, rather than reading through make's own."""
    real = os.open

    def no_proc(path: bytes, flags: int) -> int:
        if path.startswith(b"/proc/"):
            raise FileNotFoundError(errno.ENOENT, "no /proc", path)
        return real(path, flags)

    with Pool(TOKENS) as pool, monkeypatch.context() as patched:
        patched.setattr("os.open", no_proc)
        assert jobserver.NO_PROC == connect(parse(pool.makeflags.encode()))


def test_a_dry_run_takes_no_token() -> None:
    """C12: `n` in the first word means that nothing is to be run: no client, with the reason."""
    with Pool(TOKENS) as pool:
        assert jobserver.DRY_RUN == connect(parse(b"kn" + pool.makeflags.encode()))


def test_a_regular_file_on_makes_numbers_is_not_read(tmp_path: Path) -> None:
    """C12: in a recipe of make 4.3 without `+`, the shell may have its own files on 3 and 4: none of their bytes is read."""
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    (tmp_path / "Makefile").write_text(f"all:\n\t@exec 3</etc/passwd 4>log; {sys.executable} -IS {script} {ROOT}; head -c4 <&3\n")
    ran = subprocess.run([tools.make43(), "-j4"], cwd=tmp_path, env=bare_environment(), stdout=subprocess.PIPE, check=True)
    expected = f"MAKEFLAGS: {jobserver.NOT_PIPE}; MFLAGS: {jobserver.NOT_PIPE}\n" + Path("/etc/passwd").read_text()[:4]
    assert expected == ran.stdout.decode()
    assert (tmp_path / "log").read_bytes() == b""
