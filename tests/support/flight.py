"""A real link in flight below a real make, held at a known point, with everything that belongs to it in view.

The problem: whether a token is lost shows only between the death of a link and the end of its make, which then counts for itself; and a
link that is killed some milliseconds too early or too late proves nothing. The consequence: make runs two jobs, the link and a keeper
that does nothing until it is told to end, so make is still there when the tokens are counted in its own pipe (FIONREAD, through
/proc/PID/fd, so that nobody's description is touched). GCC waits at a gate with all its LTRANS jobs alive (observe.py). lld waits on an
input that is a FIFO.

Every process of a flight carries its place in the environment, wardens included, so what is left of it is found in /proc whoever
its parent is by now, and whatever else runs on the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from tests.support import tools
from tests.support.observe import Gate
from tests.support.program import PARTITIONS

if TYPE_CHECKING:
    from tests.support.program import Program
    from tests.support.shim import Shim

PATIENCE = 90.0
TOKENS = 4  # make -j5: the keeper runs in the implicit slot, the link on one token, three are left for its threads
MAKES: dict[str, tuple[Callable[[], str], tuple[str, ...]]] = {
    "make43-pipe": (tools.make43, ()),
    "make44-fifo": (tools.make44, ()),
    "make44-pipe": (tools.make44, ("--jobserver-style=pipe",)),
}
GCC, LLD = tools.GCC, tools.LLD
MAKEFILE = """all: keeper link
.PHONY: all keeper link
keeper:
\t@: <{place}/keeper
link:
\t+@$(LINK)
"""


def wait_for(what: Callable[[], bool], patience: float = PATIENCE) -> float:
    """Wait until a condition holds; return how many seconds that took."""
    started = time.monotonic()
    while not what():
        assert time.monotonic() < started + patience, "what the test waits for does not happen"
        time.sleep(0.002)
    return time.monotonic() - started


def marked(place: Path) -> dict[int, str]:
    """Find the living processes whose environment says FLIGHT=place: pid -> comm."""
    wanted = f"FLIGHT={place}".encode()
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found[int(path.parts[2])] = (path.parent / "comm").read_text().strip()
        except OSError:
            continue
    return found


class Flight:
    """One make with one link in it.

    make: a key of MAKES; command: of the link; ready: tells whether the link is where it is to be held; go: lets it end normally.
    """

    def __init__(self, make: str, command: list[str], place: Path, environment: dict[str, str], ready: Callable[[], bool]) -> None:
        self.place = place
        path, options = MAKES[make]
        (place / "first").mkdir(parents=True)
        (place / "first" / "make").symlink_to(path())  # what lto-wrapper runs
        os.mkfifo(place / "keeper")
        (place / "Makefile").write_text(MAKEFILE.format(place=place))
        env = {**environment, "FLIGHT": str(place), "TMPDIR": str(place), "PATH": f"{place / 'first'}{os.pathsep}{environment['PATH']}"}
        words = [path(), "-j5", *options, "-f", str(place / "Makefile"), "LINK=" + " ".join(command)]
        with open(place / "said", "wb") as said:
            self.make = subprocess.Popen(
                words, env=env, cwd=place, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
        self._keeper = -1
        self._pipe = -1
        try:
            wait_for(lambda: ready() or self.make.poll() is not None or "internal error" in self.said())
            assert self.make.poll() is None, self.said()
            assert "internal error" not in self.said()
        except BaseException:
            self.close()
            raise
        self._pipe = self._open_jobserver()
        self.flags = self._status_flags()

    def said(self) -> str:
        """Read what make and the link have printed."""
        return (self.place / "said").read_text(errors="replace")

    def link(self) -> int:
        """Return the pid of the link: the child of make that is not the keeper."""
        children = Path(f"/proc/{self.make.pid}/task/{self.make.pid}/children").read_text().split()
        (pid,) = [int(child) for child in children if b"keeper" not in Path(f"/proc/{child}/cmdline").read_bytes()]
        return pid

    def _ends(self) -> list[int]:
        """List make's descriptors that are its jobserver: the pipe or FIFO it has open for reading and writing."""
        ends: dict[str, list[int]] = {}
        for path in Path(f"/proc/{self.make.pid}/fd").iterdir():
            target = os.readlink(path)
            if target.startswith("pipe:") or "GMfifo" in target:
                ends.setdefault(target, []).append(int(path.name))
        (pair,) = [numbers for numbers in ends.values() if len(numbers) > 1]
        return sorted(pair)

    def _open_jobserver(self) -> int:
        return os.open(f"/proc/{self.make.pid}/fd/{self._ends()[0]}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def _status_flags(self) -> list[str]:
        infos = [Path(f"/proc/{self.make.pid}/fdinfo/{fd}").read_text() for fd in self._ends()]
        return [line for info in infos for line in info.splitlines() if line.startswith("flags:")]

    def flags_now(self) -> list[str]:
        """Read the status flags of make's own descriptors, as the kernel writes them."""
        return self._status_flags()

    def tokens(self) -> int:
        """Count the tokens that lie in make's jobserver."""
        return int.from_bytes(fcntl.ioctl(self._pipe, 0x541B, b"\0\0\0\0"), "little")  # FIONREAD

    def marked(self) -> dict[int, str]:
        """Find the living processes of this flight: pid -> comm."""
        return marked(self.place)

    def link_processes(self) -> dict[int, str]:
        """Find what runs of the link itself: neither make, nor the keeper, nor a warden."""
        marked = {pid: comm for pid, comm in self.marked().items() if pid != self.make.pid and comm != "ldshim-warden"}
        return {pid: comm for pid, comm in marked.items() if not _is_keeper(pid)}

    def wardens(self) -> list[int]:
        """Find the wardens of this flight."""
        return [pid for pid, comm in self.marked().items() if comm == "ldshim-warden"]

    def zombies(self) -> list[int]:
        """Find dead children that the link would have to reap although it never started them."""
        out = []
        for child in Path(f"/proc/{self.link()}/task/{self.link()}/children").read_text().split():
            try:
                state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state == "Z":
                out.append(int(child))
        return out

    def count(self, expected: int) -> float:
        """Wait until nothing of the link runs, then until so many tokens are back: seconds between the two."""
        wait_for(lambda: not self.link_processes())
        took = wait_for(lambda: self.tokens() >= expected)
        times = os.environ.get("LDSHIM_TEST_TIMES")
        if times:
            with open(times, "a") as file:
                file.write(f"{took:.4f} {self.place.name}\n")
        return took

    def release_keeper(self) -> int:
        """Let the keeper end, and make with it: make's status."""
        if self._keeper < 0:
            self._keeper = os.open(self.place / "keeper", os.O_RDWR | os.O_CLOEXEC)
        return self.make.wait(PATIENCE)

    def close(self) -> None:
        """End whatever is left: a test that failed leaves nothing behind."""
        for fd in (self._pipe, self._keeper):
            if fd >= 0:
                os.close(fd)
        deadline = time.monotonic() + PATIENCE
        # Again and again: what is being started while we look shows up the next time.
        while self.marked() and time.monotonic() < deadline:
            for pid in self.marked():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            self.make.poll()
        self.make.wait()


def _is_keeper(pid: int) -> bool:
    try:
        return b"/keeper" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True  # gone


class GccFlight(Flight):
    """A GCC link with as many LTRANS jobs alive as it may run. jobs: how many that is; tool: the driver, "" for the shim's."""

    def __init__(self, make: str, shim: Shim, program: Program, place: Path, jobs: int = TOKENS, tool: str = "", **more: str) -> None:
        self.gate = Gate(place / "gate", tools.need(GCC))
        objects = program.objects(tools.need(GCC), "-O1", "-flto")
        line = ["-O1", "-flto=auto", *PARTITIONS, self.gate.flag, *objects, "-o", str(place / "out")]
        super().__init__(make, [tool or shim.named(GCC), *line], place, {**shim.on(TOKENS), **more}, lambda: self.gate.alive() >= jobs)

    def go(self) -> None:
        """Let every LTRANS job end."""
        self.gate.open()

    def fail(self) -> None:
        """Make the link fail: one of its compilers is killed, as by the OOM killer."""
        victim = next(pid for pid, comm in self.marked().items() if comm == "lto1")
        os.kill(victim, 9)
        self.gate.open()

    def close(self) -> None:
        """End it."""
        self.gate.shut()
        super().close()


class LldFlight(Flight):
    """A real lld that holds three tokens and waits for the contents of its last input. tool: the linker, "" for the shim's."""

    def __init__(self, make: str, shim: Shim, program: Program, place: Path, jobs: int = 0, tool: str = "", **more: str) -> None:
        del jobs  # there is no gate to count them at
        place.mkdir()
        self.input = place / "last.o"
        os.mkfifo(self.input)
        self.write_fd = -1
        self.objects = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
        line = ["-r", *self.objects[1:], str(self.input), "-o", str(place / "out")]
        # A confined lld that waits gives its tokens back, which is right and proves nothing here.
        env = {**shim.on(TOKENS, LDSHIM_ELASTIC="0"), **more}
        super().__init__(make, [tool or shim.named(LLD), *line], place, env, self._is_waiting)

    def _is_waiting(self) -> bool:
        try:
            self.write_fd = os.open(self.input, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False  # ENXIO: nobody has opened it for reading
        return True

    def go(self) -> None:
        """Let lld have its last input."""
        data = Path(self.objects[0]).read_bytes()
        os.set_blocking(self.write_fd, True)
        try:
            while data:
                data = data[os.write(self.write_fd, data) :]
        except BrokenPipeError:
            pass  # it is dead already
        self.shut()

    def fail(self) -> None:
        """Make the link fail: its last input is no object."""
        os.write(self.write_fd, b"no object at all, but a line of text\n")
        self.shut()

    def shut(self) -> None:
        """End the input."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def close(self) -> None:
        """End it."""
        self.shut()
        super().close()
