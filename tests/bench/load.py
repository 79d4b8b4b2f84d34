"""Keep many links in flight over one pool and kill half of them: never overdrawn, whole at the end, every link ends.

The problem: a race in the reservation shows once in ten thousand links, and links one by one prove nothing about it. The consequence:
64 links are kept in flight over 16 tokens of a jobserver, and over 8 slots of the host. Each is the real handover: a shim that leaves a
warden, which takes what is there, and becomes a `sleep`. Half of them are killed, as shim, as link or as a group, at random moments.

What is sampled: the numbers told to links that have started, summed over those that are alive after the list was complete. They are all
alive at once, so the sum is one that really was, and may never exceed the pool. Tokens go back after the death of a link, never before.
Slots are mostly held by the implicit threads of eight links, which are told nothing; so their locks in /proc/locks are counted as well.

    python -m tests.bench.load [SECONDS]        (ten minutes for each source, unless told otherwise)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

from tests.support.pool import Pool

ROOT = Path(__file__).resolve().parent.parent.parent
LINKS = 64
TOKENS = bytes(range(0, 256, 16))  # sixteen different ones
SLOTS = 8
SAMPLE_SECONDS = 0.02
PATIENCE = 60.0
KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

SHIM = """
import _signal, os, sys
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # as entry does
sys.path.insert(0, sys.argv[1])
from ldshim.call.environment import read_environment
from ldshim.warden import handover
from ldshim.warden.reservation import Reservation
from ldshim.reserve import jobserver, makeflags, slots
from ldshim.reserve.lease import JobserverLease
_, _, report, most, policy, seconds, count = sys.argv
environment = read_environment()
auth = environment.get(b"MAKEFLAGS")
lease = JobserverLease(jobserver.connect(makeflags.parse(auth))) if auth else slots.connect(environment.get, int(count))
left = handover.leave_warden(Reservation(lease, int(most), policy, environment))
if policy == "fixed":
    # Not before the link is one: what is told is what it uses from here on.
    fd = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(fd, b"%d." % (left.taken if left else 0))
handover.replace_process(b"/bin/sleep", [b"sleep", seconds.encode()], environment)
"""


class Running:
    """One link: its process, what it may be told, and when and how it is to be killed (None: not at all)."""

    def __init__(self, place: Path, number: int, environment: dict[str, str], pass_fds: tuple[int, ...], dice: random.Random) -> None:
        self.report = place / f"report-{number}"
        policy = "fixed" if dice.random() < 0.8 else "confine"
        words = [str(self.report), str(dice.randint(1, 6)), policy, f"{dice.uniform(0.05, 2.0):.3f}", str(SLOTS)]
        self.process = subprocess.Popen(
            [sys.executable, "-ISc", SHIM, str(ROOT), *words],
            env=environment,
            pass_fds=pass_fds,
            start_new_session=True,
            stderr=subprocess.PIPE,
        )
        self.kill_at = time.monotonic() + dice.uniform(0.0, 1.5) if dice.random() < 0.5 else None
        self.kill = (os.killpg if dice.random() < 0.5 else os.kill, dice.choice(KILLS))

    def told(self) -> int:
        """Return the tokens this link was told, 0 before it was told any."""
        try:
            text = self.report.read_text()
        except OSError:
            return 0
        return int(text[:-1]) if text.endswith(".") else 0

    def act(self, now: float) -> int:
        """Kill it if its time has come: 1 when it was."""
        if self.kill_at is None or now < self.kill_at:
            return 0
        self.kill_at = None
        with contextlib.suppress(ProcessLookupError):
            self.kill[0](self.process.pid, self.kill[1])
        return 1


Held = Callable[[list[Running]], int]


class Figures:
    """What a run came to. most: the largest sum that was ever held at once; held: the mean; complaints: what links said on stderr."""

    def __init__(self) -> None:
        self.links = 0
        self.ended = 0
        self.killed = 0
        self.samples = 0
        self.most = 0
        self.sum = 0
        self.complaints: list[bytes] = []

    def sample(self, held: int) -> None:
        """Count one moment."""
        self.samples += 1
        self.sum += held
        self.most = max(self.most, held)

    def row(self, source: str, size: int) -> str:
        """Write one row of the table."""
        mean = self.sum / max(1, self.samples)
        return f"| {source} | {size} | {self.links} | {self.killed} | {self.ended} | {self.samples} | {self.most} | {mean:.1f} |"


def run(seconds: float, environment: dict[str, str], pass_fds: tuple[int, ...], place: Path, held: Held, seed: int) -> Figures:
    """Keep LINKS links in flight for so long, then wait for each of them. held: what is held now, asked with the links in flight."""
    dice = random.Random(seed)
    figures = Figures()
    running: list[Running] = []
    end = time.monotonic() + seconds
    while running or time.monotonic() < end:
        now = time.monotonic()
        assert now < end + PATIENCE, f"links that never end: {[each.process.pid for each in running]}"
        for _ in range(min(8, LINKS - len(running)) if now < end else 0):
            running.append(Running(place, figures.links, environment, pass_fds, dice))
            figures.links += 1
        figures.killed += sum(each.act(now) for each in running)
        figures.sample(held(running))
        for each in [each for each in running if each.process.returncode is not None]:
            running.remove(each)
            figures.ended += 1
            said = each.process.stderr.read() if each.process.stderr else b""
            if said and b"KeyboardInterrupt" not in said:  # before our first line: the interpreter's own words
                figures.complaints.append(said)
            if each.process.stderr:
                each.process.stderr.close()
            each.report.unlink(missing_ok=True)
        time.sleep(SAMPLE_SECONDS)
    return figures


def told_to_the_living(running: list[Running]) -> list[int]:
    """List what links were told, of those that are alive after everything was read."""
    told = [(each, each.told()) for each in running]
    return [number for each, number in told if each.process.poll() is None]


def over_a_jobserver(seconds: float, place: Path, seed: int = 1) -> Figures:
    """Run over sixteen different tokens; the pool recounts them, and who still holds it, at the end."""
    with Pool(TOKENS) as pool:
        environment = {"PATH": os.environ["PATH"], "MAKEFLAGS": pool.makeflags, "FLIGHT": str(place), "XDG_RUNTIME_DIR": str(place)}
        return run(seconds, environment, pool.pass_fds, place, lambda running: sum(told_to_the_living(running)), seed)


def over_slots(seconds: float, place: Path, seed: int = 2) -> Figures:
    """Run over eight slots. A link that was told none may run uncounted, the others hold one more than they were told."""
    environment = {"PATH": os.environ["PATH"], "FLIGHT": str(place), "XDG_RUNTIME_DIR": str(place)}

    def held(running: list[Running]) -> int:
        return max(locks(place), sum(told + 1 for told in told_to_the_living(running) if told))

    return run(seconds, environment, (), place, held, seed)


def locks(place: Path) -> int:
    """Count the locks on slots in a runtime directory, as the kernel lists them; two on one slot would count twice."""
    inodes = {path.stat().st_ino for path in (place / "ldshim").glob("slot-*")}
    found = 0
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and int(fields[5].rpartition(":")[2]) in inodes:
            found += 1
    return found


def locked(place: Path) -> list[str]:
    """Name the slots in a runtime directory that somebody holds."""
    found = []
    for path in (place / "ldshim").glob("slot-*"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(path.name)
    return found


def main() -> None:
    """Print the table as markdown."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    sys.stdout.write(
        "| source | size | links | killed | ended | samples | most held at once | mean held |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    for source, size, work in (("jobserver", len(TOKENS), over_a_jobserver), ("slots", SLOTS, over_slots)):
        with tempfile.TemporaryDirectory(prefix="ldshim-load") as name:
            figures = work(seconds, Path(name))
            sys.stdout.write(figures.row(source, size) + "\n")
            sys.stdout.flush()
            if figures.most > size or figures.ended != figures.links or figures.complaints:
                raise SystemExit(f"broken: {figures.complaints[:3]}")
            time.sleep(1)  # wardens of links killed at the very end
            if locked(Path(name)):
                raise SystemExit(f"slots still held: {locked(Path(name))}")


if __name__ == "__main__":
    main()
