r"""`LDSHIM_REMOTE="exec: COMMAND"`: a command that runs another elsewhere, on a shared file system or on files that it is told.

    exec: srun -N1 {command}
    exec: trexe --input-path={inputs} --output-path={outputs} {command}
    exec: ssh node "cd /build && {command}"

COMMAND is split as GCC splits a response file: at blanks; '…' and "…" group; a backslash keeps the next character. Then

  an argument that is {command}            becomes the arguments of the backend, one each
  an argument that is {inputs}, {outputs}  becomes one argument for each file
  an argument with {inputs}, {outputs} in it is repeated for each file, with the name in its place
  an argument with {command} in it         gets the whole backend as one text in which a POSIX shell finds the same arguments: each in '…'

A COMMAND without {command} has it at its end. No other braces mean anything, and what is put in is not looked at again.

The process writes to a draft beside the output; what ends with 0 is judged as a service's result is, and renamed when the executor takes
it. The compiler is the other machine's: a trial has it hash its own copy first (C32), so /usr/bin/sha256sum must run there.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections import deque

from ...command import rspfile
from ...command.collect import quote
from ..job import Result
from . import compiler as compilers
from . import judge
from .arguments import check, exchanged
from .blobs import Digests
from .compiler import UnfitError
from .patience import Patience
from .share import Share
from .told import Told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    from ...call.environment import Environment
    from ..job import Job
    from .compiler import Compiler
    from .settings import Settings

COMMAND, INPUTS, OUTPUTS = b"{command}", b"{inputs}", b"{outputs}"
_TERM_SECONDS = 1.0  # from SIGTERM, on which srun cancels what it runs, to SIGKILL
_TEXT_LIMIT = 1 << 20
_FAILURES = 8  # in a row, with nothing accepted before, after which the command is not used any more


def expanded(template: Sequence[bytes], argv: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> list[bytes]:
    """Return the command line that runs argv."""
    out: list[bytes] = []
    if not any(COMMAND in word for word in template):
        template = [*template, COMMAND]
    for word in template:
        if word == COMMAND:
            out += argv
        elif COMMAND in word:
            out.append(word.replace(COMMAND, b" ".join(map(quote, argv))))
        elif INPUTS in word:
            out += [word.replace(INPUTS, path) for path in inputs]
        elif OUTPUTS in word:
            out += [word.replace(OUTPUTS, path) for path in outputs]
        else:
            out.append(word)
    return out


def connect(settings: Settings, log: Callable[[str], None]) -> Runner | str:
    """Find the command: a runner, or why there is none."""
    assert settings.address is not None
    template = rspfile.split(settings.address.prefix, "gnu-new")
    try:
        compilers.located(template[0], settings.environment)
    except UnfitError as error:
        return str(error)
    return Runner(settings, template, log)


class Entry:
    """One job on its way; job None: the trial of a compiler."""

    __slots__ = ("compiler", "drafts", "handle", "job", "key", "killed", "pidfd", "process", "queued", "taken", "text")

    def __init__(self, handle: int, job: Job | None, key: bytes = b"", compiler: Compiler | None = None) -> None:
        self.handle = handle
        self.job = job
        self.key = key  # of a trial: whose
        self.compiler = compiler
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.text: list[IO[bytes]] = []
        self.drafts: list[tuple[bytes, bytes]] = []  # name of the draft, final name; absolute
        self.queued = time.monotonic()
        self.taken = 0.0
        self.killed = 0.0


class Runner:
    """A Service (see the package's docstring) of processes."""

    def __init__(self, settings: Settings, template: Sequence[bytes], log: Callable[[str], None]) -> None:
        self._settings = settings
        self._template = template
        self._log = log
        self._environment = _environment(settings.environment)
        self._share = Share(settings.environment.get, b"exec", settings.jobs, settings.user_jobs or settings.jobs)
        self._digests = Digests(settings.environment.get)
        self._compilers: dict[bytes, Compiler | str | None] = {}  # by argv[0]; None: its trial is under way
        self._handles = 0
        self._waiting: deque[Entry] = deque()
        self._running: dict[int, Entry] = {}  # by pidfd
        self._done: deque[tuple[Entry, Result | str]] = deque()
        self._gone = ""
        self._failures = 0
        self._patience = Patience(settings.patience)
        self._told = Told(log)
        self._epoll = select.epoll()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # readable: finished(0) has something to do
        self._epoll.register(self._reader, select.EPOLLIN)

    @property
    def width(self) -> int:
        """How many jobs may run now."""
        return self._share.now()

    def fileno(self) -> int:
        """Give the descriptor that polls readable when a process has ended."""
        return self._epoll.fileno()

    def start(self, job: Job) -> int:
        """Queue a job."""
        self._handles += 1
        if not self._running and not self._waiting:
            self._patience.begin()
        self._waiting.append(Entry(self._handles, job))
        self._nudge()  # whatever takes time is done in finished()
        return self._handles

    def _nudge(self) -> None:
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            pass  # it is readable as it is

    def finished(self, seconds: float) -> list[tuple[int, Result | str]]:
        """Wait so long at most, and put the outputs of what has succeeded in place."""
        self._admit()
        for fd, _ in self._epoll.poll(0 if self._done else max(0.0, seconds)):
            if fd in self._running:
                self._reap(self._running.pop(fd))
        self._insist()
        self._admit()
        try:
            os.read(self._reader, 1 << 16)
        except BlockingIOError:
            pass
        out: list[tuple[int, Result | str]] = []
        while self._done:
            entry, outcome = self._done.popleft()
            if entry.job is not None and not entry.killed:
                outcome = _placed(entry, outcome)
                if isinstance(outcome, str):
                    self._told.tell(entry.job, outcome)
                out.append((entry.handle, outcome))
            _drop(entry)
        return out

    def overdue(self) -> list[int]:
        """List the jobs to run here as well: those that wait first, then the oldest."""
        if not self._patience.over():
            return []
        running = sorted((entry for entry in self._running.values() if entry.job is not None and not entry.killed), key=lambda e: e.taken)
        return [entry.handle for entry in (*self._waiting, *running)]

    def cancel(self, handle: int) -> None:
        """Forget a job."""
        for entry in list(self._waiting):
            if entry.handle == handle:
                self._waiting.remove(entry)
        for entry in self._running.values():
            if entry.handle == handle and not entry.killed:
                _kill(entry, signal.SIGTERM)

    def close(self) -> None:
        """End what is left, and remove every draft."""
        if self._epoll.closed:
            return
        self._waiting.clear()
        self._epoll.unregister(self._reader)
        for entry in self._running.values():
            _kill(entry, signal.SIGTERM)
        end = time.monotonic() + _TERM_SECONDS
        while self._running:
            for fd, _ in self._epoll.poll(max(0.0, end - time.monotonic())):
                if fd in self._running:
                    self._reap(self._running.pop(fd))
            if time.monotonic() >= end:
                for entry in self._running.values():
                    _kill(entry, signal.SIGKILL)
                end = time.monotonic() + _TERM_SECONDS
        while self._done:
            _drop(self._done.popleft()[0])
        self._share.close()
        self._epoll.close()
        os.close(self._reader)
        os.close(self._writer)

    def _admit(self) -> None:
        """Start waiting jobs whose compiler is known to be the same there, as many as our share allows."""
        for entry in list(self._waiting):
            if len(self._running) >= self._share.now():
                return
            assert entry.job is not None
            why = self._gone
            if not why:
                try:
                    compiler = self._compiler(entry.job)
                    if compiler is None:
                        continue
                    self._launch(entry, compiler)
                except (UnfitError, OSError, ImportError, ValueError) as error:  # MalformedError is a ValueError
                    why = str(error)
            self._waiting.remove(entry)
            if why:
                self._done.append((entry, why))

    def _compiler(self, job: Job) -> Compiler | None:
        """Return a job's compiler, None while its trial runs. Raises UnfitError, OSError."""
        if not job.remote:
            raise UnfitError("it is not to run elsewhere")
        check(job)
        key = job.argv[0]
        if key not in self._compilers:
            self._compilers[key] = "it could not be read"
            found = compilers.read(job.argv, self._settings.environment, self._digests)
            self._compilers[key] = None
            self._spawn(Entry(0, None, key, found), expanded(self._template, compilers.hash_command(found), [], []), b"/")
        known = self._compilers[key]
        if isinstance(known, str):
            raise UnfitError(known)
        return known

    def _launch(self, entry: Entry, compiler: Compiler) -> None:
        job = entry.job
        assert job is not None
        drafts = {path: b"%s.ldshim-%s" % (path, os.urandom(6).hex().encode()) for path in job.outputs}
        argv = [job.argv[0], *(exchanged(word, drafts) for word in job.argv[1:])]
        if not compiler.gcc and b"--no-default-config" not in argv:
            argv.insert(1, b"--no-default-config")
        entry.compiler = compiler
        entry.drafts = [(os.path.join(job.cwd, draft), os.path.join(job.cwd, path)) for path, draft in drafts.items()]
        self._spawn(entry, expanded(self._template, argv, job.inputs, list(drafts.values())), job.cwd)

    def _spawn(self, entry: Entry, argv: Sequence[bytes], cwd: bytes) -> None:
        entry.taken = time.monotonic()
        entry.text = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]  # noqa: SIM115 - _reap closes them
        entry.process = subprocess.Popen(
            argv, cwd=cwd, env=self._environment, stdin=subprocess.DEVNULL, stdout=entry.text[0], stderr=entry.text[1],
            start_new_session=True,
        )  # fmt: skip
        entry.pidfd = os.pidfd_open(entry.process.pid)
        self._running[entry.pidfd] = entry
        self._epoll.register(entry.pidfd, select.EPOLLIN)

    def _reap(self, entry: Entry) -> None:
        """Take note of a process that has ended."""
        assert entry.process is not None
        self._epoll.unregister(entry.pidfd)
        os.close(entry.pidfd)
        status = entry.process.wait()
        texts = []
        for stream in entry.text:
            stream.seek(0)
            texts.append(stream.read(_TEXT_LIMIT + 1))
            stream.close()
        if entry.job is None:
            self._judge_compiler(entry, status, texts[0])
            return
        outcome = self._outcome(entry, status, texts)
        if isinstance(outcome, Result):
            self._failures = -1
            self._patience.note(time.monotonic() - entry.taken)
        elif self._failures >= 0 and not entry.killed:
            self._failures += 1
            if self._failures >= _FAILURES:
                self._gone = f"nothing that the command did could be used, the last time because {outcome}"
                self._log(f"remote: {self._gone}: everything runs here")
        self._done.append((entry, outcome))

    def _judge_compiler(self, entry: Entry, status: int, said: bytes) -> None:
        found = entry.compiler
        assert found is not None
        same = status == 0 and compilers.same_hashes(said, found)
        self._compilers[entry.key] = found if same else f"{os.fsdecode(found.program)} there, or a library of it, is another one"

    def _outcome(self, entry: Entry, status: int, texts: Sequence[bytes]) -> Result | str:
        """Judge one job (C29)."""
        assert entry.job is not None
        assert entry.compiler is not None
        if status:
            return f"the command ended with {status}"
        if any(len(text) > _TEXT_LIMIT for text in texts):
            return "it wrote too much text"
        objection = judge.text_objection(texts[0] + texts[1])
        try:
            machine = judge.expected(entry.job, entry.compiler)
            for draft, _ in entry.drafts:
                fd = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
                objection = objection or judge.objection(fd, machine)
                os.close(fd)
        except FileNotFoundError:
            objection = objection or "an output is missing"
        except (OSError, UnfitError) as error:
            objection = objection or str(error)
        took = time.monotonic() - entry.taken
        return objection or Result(0, texts[0], texts[1], "there", queued=entry.taken - entry.queued, ran=took)

    def _insist(self) -> None:
        """Send SIGKILL where SIGTERM has not been enough."""
        for entry in self._running.values():
            if entry.killed and time.monotonic() - entry.killed > _TERM_SECONDS:
                _kill(entry, signal.SIGKILL)


def _environment(environment: Environment) -> dict[bytes, bytes]:
    """Return what the command sees: ours, without what changes clang's arguments, and with the launchers that it meets switched off."""
    left = {name: value for name, value in environment.pairs if name != b"CCC_OVERRIDE_OPTIONS" and not name.startswith(b"LDSHIM_REMOTE")}
    return {**left, b"LDSHIM_DISABLE": b"1"}


def _kill(entry: Entry, number: int) -> None:
    entry.killed = time.monotonic()
    assert entry.process is not None
    try:
        os.killpg(entry.process.pid, number)
    except ProcessLookupError:
        pass


def _placed(entry: Entry, outcome: Result | str) -> Result | str:
    if isinstance(outcome, str):
        return outcome
    try:
        for draft, path in entry.drafts:
            os.rename(draft, path)
    except OSError as error:
        return f"an output cannot be put in place: {error.strerror}"
    return outcome


def _drop(entry: Entry) -> None:
    for draft, _ in entry.drafts:
        try:
            os.unlink(draft)
        except OSError:
            pass
