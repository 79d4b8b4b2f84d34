"""Hazard: a backend that runs twice, or not at all; a token that is kept; a wrong result from elsewhere that is believed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldshim.backends import executor
from ldshim.backends.executor import Executor, LinkOverError
from ldshim.backends.job import Job, Result
from ldshim.backends.watched import Watched
from ldshim.call.environment import Environment
from ldshim.reserve import jobserver, makeflags
from tests.support import tools
from tests.support.backends import alive, jobs, wait_for_pids
from tests.support.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = Environment([(b"PATH", b"/usr/bin:/bin")])


def shell(script: str, place: Path, *, size: int = 0, name: str = "job", remote: bool = True) -> Job:
    """Describe a job that is a shell script with one input of some size and one output."""
    (place / f"{name}.in").write_bytes(b"x" * size)
    return Job([b"sh", b"-c", script.encode()], bytes(place), [f"{name}.in".encode()], [f"{name}.out".encode()], remote, name)


class Elsewhere:
    """A service of the test's own: what becomes of each job is said beforehand, by its name."""

    def __init__(self, answers: dict[str, Result | str], width: int = 4, late: Sequence[str] = ()) -> None:
        self.answers = answers
        self.width = width
        self.late = late
        self.jobs: dict[int, Job] = {}
        self.cancelled: list[str] = []
        self.most = 0
        self._reader, self._writer = os.pipe()
        os.write(self._writer, b"x")

    def fileno(self) -> int:
        """Poll readable always."""
        return self._reader

    def start(self, job: Job) -> int:
        """Queue a job."""
        handle = len(self.jobs) + len(self.cancelled) + 100 * self.most
        while handle in self.jobs:
            handle += 1
        self.jobs[handle] = job
        self.most = max(self.most, len(self.jobs))
        return handle

    def finished(self, seconds: float) -> list[tuple[int, Result | str]]:
        """Answer all that have an answer."""
        assert seconds == 0.0
        done = [handle for handle, job in self.jobs.items() if job.name in self.answers]
        return [(handle, self.answers[self.jobs.pop(handle).name]) for handle in done]

    def overdue(self) -> list[int]:
        """Name those that are to be late."""
        return [handle for handle, job in self.jobs.items() if job.name in self.late]

    def cancel(self, handle: int) -> None:
        """Forget a job."""
        self.cancelled.append(self.jobs.pop(handle).name)

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._reader)
        os.close(self._writer)


class Told:
    """Keep what was shown, in its order. shown: owned by the test."""

    def __init__(self, shown: list[Result]) -> None:
        self.shown = shown

    def runs(self, here: int, there: int) -> None:
        """Take no note."""

    def done(self, job: Job, result: Result) -> None:
        """Take no note."""

    def show(self, result: Result) -> None:
        """Keep it."""
        self.shown.append(result)


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Provide what ends an executor, and leave this process's signals as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)}
    yield Watched()
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def run(
    jobs: list[Job], watched: Watched, pool: Pool | None = None, service: Elsewhere | None = None
) -> tuple[int, list[Result | None], list[Result]]:
    """Run jobs: the status, the results, and what was shown in which order."""
    shown: list[Result] = []
    client = jobserver.connect(makeflags.parse(pool.makeflags.encode())) if pool is not None else None
    tokens = client if isinstance(client, jobserver.Jobserver) else None
    one = Executor(jobs, ENVIRONMENT, tokens, service, watched, Told(shown))
    try:
        return one.run(), one.results, shown
    finally:
        if tokens is not None:
            assert tokens.held == 0
            tokens.close()


def test_texts_are_shown_once_each_in_the_order_of_the_jobs(tmp_path: Path, watched: Watched) -> None:
    """Whatever order they end in, and with stdout and stderr apart."""
    jobs = [shell(f"sleep 0.{3 - index}; echo out{index}; echo err{index} >&2", tmp_path, name=str(index)) for index in range(3)]
    with Pool(b"ab") as pool:
        status, _, shown = run(jobs, watched, pool)
    assert status == 0
    assert [(f"out{index}\n".encode(), f"err{index}\n".encode()) for index in range(3)] == [(each.stdout, each.stderr) for each in shown]


def test_c31_one_token_for_each_job_but_the_first(tmp_path: Path, watched: Watched) -> None:
    """C31: with two tokens three jobs run at once, never four, and the bytes go back as they were."""
    meter = "mkdir run.$$; ls -d run.* | wc -l; sleep 0.3; rmdir run.$$"
    with Pool(b"\x00\xff") as pool:
        status, results, _ = run([shell(meter, tmp_path, name=str(index)) for index in range(7)], watched, pool)
    assert status == 0
    assert max(int(result.stdout) for result in results if result is not None) == 3


def test_c31_without_tokens_jobs_run_one_by_one(tmp_path: Path, watched: Watched) -> None:
    """C18: the implicit slot is always there, and no more is taken."""
    meter = "mkdir run.$$; ls -d run.* | wc -l; sleep 0.05; rmdir run.$$"
    status, results, _ = run([shell(meter, tmp_path, name=str(index)) for index in range(4)], watched)
    assert status == 0
    assert [1] * 4 == [int(result.stdout) for result in results if result is not None]


def test_the_largest_input_starts_first(tmp_path: Path, watched: Watched) -> None:
    """What is started last should be short."""
    jobs = [shell(f"echo {size} >> order", tmp_path, size=size, name=str(size)) for size in (5, 500, 50)]
    assert run(jobs, watched)[0] == 0
    assert (tmp_path / "order").read_text().split() == ["500", "50", "5"]


def test_after_a_failure_nothing_is_started_and_its_status_and_text_are_kept(tmp_path: Path, watched: Watched) -> None:
    """The status is the first failed job's, and what ran is shown."""
    jobs = [shell("echo bad >&2; exit 3", tmp_path, size=9, name="a"), shell("echo never", tmp_path, name="b")]
    status, results, shown = run(jobs, watched)
    assert status == 3
    assert results[1] is None
    assert [b"bad\n"] == [each.stderr for each in shown]


def test_a_program_that_is_missing_is_a_failed_job(tmp_path: Path, watched: Watched) -> None:
    """A shell's status and a line that names it."""
    status, results, _ = run([Job([b"no-such-compiler"], bytes(tmp_path), [], [])], watched)
    assert status == 127
    assert results[0] is not None
    assert b"no-such-compiler" in results[0].stderr


def test_c29_whatever_is_in_doubt_elsewhere_runs_here_and_is_shown_once(tmp_path: Path, watched: Watched) -> None:
    """C29: a reason to doubt, or a failed compile, is never the verdict."""
    jobs = [shell(f"echo here {name}", tmp_path, name=name) for name in "abcd"]
    service = Elsewhere({"a": Result(0, b"there a\n", where="there"), "b": "the output is empty", "c": Result(1, b"no\n"), "d": "gone"})
    # The first, and largest, is taken by the slot here: give it something to do.
    jobs.insert(0, shell("sleep 0.3; echo here first", tmp_path, size=99, name="first"))
    status, _, shown = run(jobs, watched, None, service)
    assert status == 0
    assert [b"here first\n", b"there a\n", b"here b\n", b"here c\n", b"here d\n"] == [each.stdout for each in shown]


def test_a_job_that_may_not_leave_stays(tmp_path: Path, watched: Watched) -> None:
    """What writes beside its output runs here, though there is room elsewhere."""
    jobs = [shell("echo here", tmp_path, name=str(index), remote=False) for index in range(3)]
    service = Elsewhere({str(index): Result(0, b"there\n") for index in range(3)})
    assert [b"here\n"] * 3 == [each.stdout for each in run(jobs, watched, None, service)[2]]
    assert service.most == 0


def test_no_more_than_its_width_is_started_elsewhere(tmp_path: Path, watched: Watched) -> None:
    """The width is the service's own, and needs no token."""
    jobs = [shell("sleep 0.2; echo here", tmp_path, name=str(index)) for index in range(9)]
    service = Elsewhere({str(index): Result(0, b"there\n", where="there") for index in range(9)}, width=2)
    assert run(jobs, watched, None, service)[0] == 0
    assert service.most == 2


def test_what_is_overdue_is_cancelled_before_it_runs_here(tmp_path: Path, watched: Watched) -> None:
    """A service without workers holds nothing up, and only one of the two writes the outputs."""
    jobs = [shell(f"echo here {index}", tmp_path, name=str(index)) for index in range(3)]
    service = Elsewhere({}, late=[str(index) for index in range(3)])
    status, _, shown = run(jobs, watched, None, service)
    assert status == 0
    assert [f"here {index}\n".encode() for index in range(3)] == [each.stdout for each in shown]
    assert len(service.cancelled) == 2  # one had the slot here from the start
    assert service.jobs == {}


def test_c30_a_service_that_raises_is_dropped(tmp_path: Path, watched: Watched, capfd: pytest.CaptureFixture[str]) -> None:
    """C30: an internal error of the client costs one line, and every job runs here."""

    class Broken(Elsewhere):
        def finished(self, seconds: float) -> list[tuple[int, Result | str]]:
            raise KeyError(seconds)

    jobs = [shell(f"sleep 0.1; echo here {index}", tmp_path, name=str(index)) for index in range(5)]
    status, _, shown = run(jobs, watched, None, Broken({}))
    assert status == 0
    assert [f"here {index}\n".encode() for index in range(5)] == [each.stdout for each in shown]
    assert "KeyError" in capfd.readouterr().err


def test_c31_a_signal_ends_children_and_their_children_and_gives_tokens_back(tmp_path: Path, watched: Watched) -> None:
    """C31: what a compiler's driver has started goes with it."""
    script = "sleep 100 & echo $! >> pids; echo $$ >> pids; [ $(wc -l < pids) -lt 6 ] || kill -TERM $PPID; wait"
    jobs = [shell(script, tmp_path, name=str(index)) for index in range(3)]
    with Pool(b"ab") as pool, pytest.raises(LinkOverError) as over:
        run(jobs, watched, pool)
    assert over.value.number == signal.SIGTERM
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 6
    assert [] == alive(pids)


ALONE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ldshim.backends.executor import Executor
from ldshim.backends.job import Job
from ldshim.backends.feeder import Told
from ldshim.backends.progress import Progress
from ldshim.backends.watched import Watched
from ldshim.call.environment import read_environment
from ldshim.reserve import jobserver, makeflags
watched = Watched()
tokens = jobserver.connect(makeflags.parse(os.environb[b"MAKEFLAGS"]))
job = lambda: Job([b"sh", b"-c", b"echo $$ >> pids; exec sleep 100"], os.getcwdb(), [], [])
Executor([job(), job()], read_environment(), tokens, None, watched, Told(b"", 0, Progress(2, b""), failures=True)).run()
"""


def test_c31_the_death_of_the_parent_ends_everything(tmp_path: Path) -> None:
    """C31: lld killed by SIGKILL leaves its distributor behind, which ends its compilers and returns its tokens."""
    with Pool(b"a") as pool:
        parent = subprocess.Popen(
            ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", ALONE, str(ROOT)],
            cwd=tmp_path, env={**os.environ, "MAKEFLAGS": pool.makeflags}, pass_fds=pool.pass_fds,
        )  # fmt: skip
        pids = wait_for_pids(tmp_path / "pids", 2)
        parent.kill()
        parent.wait()
        assert [] == alive(pids)


def test_c31_compilers_do_not_outlive_an_executor_that_is_killed(tmp_path: Path) -> None:
    """C31: nothing can be done any more, and the kernel does it."""
    read_fd, write_fd = os.pipe()
    environment = {**os.environ, "MAKEFLAGS": f" -j2 --jobserver-auth={read_fd},{write_fd}"}
    os.write(write_fd, b"+")
    one = subprocess.Popen([sys.executable, "-c", ALONE, str(ROOT)], cwd=tmp_path, env=environment, pass_fds=(read_fd, write_fd))
    pids = wait_for_pids(tmp_path / "pids", 2)
    one.kill()
    one.wait()
    assert [] == alive(pids)


def test_plainly_stops_at_the_first_failure(tmp_path: Path) -> None:
    """The last resort runs the jobs in order, and says what the first failed one said."""
    jobs = [shell("touch a", tmp_path), shell("exit 4", tmp_path), shell("touch b", tmp_path)]
    assert executor.plainly(jobs, ENVIRONMENT) == 4
    assert (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


INJECTED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ldshim.backends import children, feeder
from ldshim.backends.job import Job
from ldshim.call.environment import read_environment
first = children.Children.start
def start(self, job):
    if job.name == "b":
        raise MemoryError("injected")
    return first(self, job)
children.Children.start = start
def job(name):
    return Job([b"sh", b"-c", b"echo %b >> ran" % name], os.getcwdb(), [], [], name=name.decode())
jobs = [job(name) for name in (b"a", b"b", b"c")]
sys.exit(feeder.carry_out(jobs, read_environment()).end())
"""


def test_c1_an_internal_error_becomes_a_plain_loop_over_what_is_left(tmp_path: Path) -> None:
    """C1: one line says so, every job has run, none of those that were done runs again, and tokens are back."""
    with Pool(b"ab") as pool:
        said = subprocess.run(
            [sys.executable, "-c", INJECTED, str(ROOT)],
            cwd=tmp_path, env={**os.environ, "MAKEFLAGS": pool.makeflags}, pass_fds=pool.pass_fds, capture_output=True, check=True,
        )  # fmt: skip
    assert b"MemoryError" in said.stderr
    assert said.stderr.count(b"\n") == 1
    assert {"a", "b", "c"} == set((tmp_path / "ran").read_text().split())


REMOTE = """
import os, sys, types
sys.path.insert(0, sys.argv[1])
from ldshim.backends import feeder
from ldshim.backends.job import Job, Result
from ldshim.call.environment import read_environment
class Service:
    width = 2
    closed = False
    def __init__(self):
        self.jobs = []
        self.reader, writer = os.pipe()
        os.write(writer, b"x")
    def fileno(self):
        return self.reader
    def start(self, job):
        self.jobs.append(job)
        return len(self.jobs)
    def finished(self, seconds):
        done, self.jobs = self.jobs, []
        good = Result(0, b"there\\n", where="there", sent=5)
        return [(number + 1, "in doubt" if job.name == "b" else good) for number, job in enumerate(done)]
    def overdue(self):
        return []
    def cancel(self, handle):
        raise AssertionError
    def close(self):
        os.write(2, b"closed\\n")
remote = types.ModuleType("ldshim.backends.remote")
remote.read = lambda environment: environment
remote.connect = lambda settings, log: Service() if sys.argv[2] == "there" else sys.argv[2]
sys.modules[remote.__name__] = remote
jobs = [Job([b"sh", b"-c", b"sleep 0.2; echo here"], os.getcwdb(), [], [], name=name) for name in "abcd"]
sys.exit(feeder.carry_out(jobs, read_environment()).end())
"""


@pytest.mark.parametrize(("answer", "here"), [("there", 2), ("no service", 4)])
def test_c29_c30_a_service_is_used_as_far_as_it_goes_and_closed(tmp_path: Path, answer: str, here: int) -> None:
    """C29, C30: what it doubts runs here, without one everything does, and the log says which and why."""
    environment = {**os.environ, "LDSHIM_REMOTE": "grpc://secret@nowhere:1", "LDSHIM_LOG": str(tmp_path / "log")}
    command = [sys.executable, "-c", REMOTE, str(ROOT), answer]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert {"here": here, "there": 4 - here} == {where: said.stdout.split().count(where.encode()) for where in ("here", "there")}
    log = (tmp_path / "log").read_text()
    assert here == sum(entry["where"] == "here" for entry in jobs(tmp_path / "log"))
    assert said.stderr == (b"closed\n" if answer == "there" else b"")
    assert ("no service: everything runs here" in log) is (answer != "there")
    assert "secret" not in log


SLOW = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ldshim.backends import feeder, progress
from ldshim.backends.job import Job
from ldshim.call.environment import read_environment
progress.FIRST_SECONDS = 0.0
jobs = [Job([b"sh", b"-c", b"sleep 0.3; echo said >&2"], os.getcwdb(), [], []) for _ in range(2)]
sys.exit(feeder.carry_out(jobs, read_environment()).end())
"""


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_line_of_progress_is_for_a_terminal_and_gone_before_anything_else(tmp_path: Path, term: str) -> None:
    """It stands alone on its line, and nothing of it is left at the end."""
    reader, writer = tools.terminal()
    environment = {**os.environ, "TERM": term, "MAKEFLAGS": ""}
    subprocess.run([sys.executable, "-c", SLOW, str(ROOT)], cwd=tmp_path, env=environment, stderr=writer, check=True)
    os.close(writer)
    text = b""
    with contextlib.suppress(OSError):  # a terminal without anybody at its other end
        while part := os.read(reader, 4096):
            text += part
    os.close(reader)
    assert (b"/2] 1 here" in text) is (term == "xterm")
    lines = [line.rpartition(b"\x1b[K")[2] for line in text.replace(b"\r\n", b"\n").split(b"\n")]
    assert [b"said", b"said", b""] == lines
