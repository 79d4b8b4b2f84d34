"""What the real tool inherits, compared whole with the bare call: environment, signals, descriptors, and everything else a process has.

Each test runs one command twice, once the tool and once ldshim in front of it, under the same conditions, and compares two records that a
program in C wrote down (recorder.py). Three kinds of call are enough: a compile, which goes through at once, a plain link, which is looked
at, and an LTO link, which gets a warden, a jobserver and words.
"""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest

from tests.support import tools
from tests.support.pool import Pool
from tests.support.recorder import MAY_DIFFER, Recorder, banner, compared, without_links_pipes

if TYPE_CHECKING:
    from tests.support.program import Program
    from tests.support.shim import Shim

KINDS = ("compile", "plain", "gcc", "thin")
LOCALES = [{}, {"LANG": "C"}, {"LC_ALL": "C.UTF-8"}, {"LANG": "de_DE.ISO-8859-1", "LC_CTYPE": "POSIX"}]


class Bench:
    """Recorders that stand in for gcc and ld.lld, and the lines for them."""

    def __init__(self, shim: Shim, program: Program, place: Path) -> None:
        self.shim = shim
        self.place = place
        self.numbers = itertools.count()
        self.gcc = Recorder(place / "gcc", "gcc", banner(tools.GCC))
        self.lld = Recorder(place / "lld", "ld.lld", banner(tools.LLD))
        native = program.objects(tools.need(tools.GCC), "-O1")
        slim = program.objects(tools.need(tools.GCC), "-O1", "-flto")
        thin = program.objects(tools.clang_of(tools.LLD), "-O1", "-fPIC", "-flto=thin")
        self.lines = {
            "compile": (self.gcc, ["-O2", "-c", "x.c", "-o", "x.o"]),
            "plain": (self.gcc, [*native, "-o", "out"]),
            "gcc": (self.gcc, ["-flto=auto", *slim, "-o", "out"]),
            "thin": (self.lld, ["-r", *thin, "-o", "out"]),
        }

    def environment(self, **more: str) -> dict[str, str]:
        """Make a small environment that pins both tools; slots of its own, for the warden of the test before may still hold one."""
        runtime = self.place / f"run{next(self.numbers)}"
        runtime.mkdir(mode=0o700)
        pins = {"LDSHIM_REAL_GCC": self.gcc.path, "LDSHIM_REAL_LD_LLD": self.lld.path, "XDG_RUNTIME_DIR": str(runtime)}
        return {"PATH": os.defpath, "PWD": os.getcwd(), **pins, **more}

    def both(self, kind: str, env: dict[str, str], **how: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Run a line bare and through ldshim: two records, without what may differ."""
        recorder, line = self.lines[kind]
        bare = recorder.run([recorder.path, *line], env=env, **how)
        ours = recorder.run([self.shim.named(os.path.basename(recorder.path)), *line], env=env, **how)
        if kind in ("gcc", "thin"):
            assert ours["environ"] != bare["environ"], "the LTO link was not recognised: nothing is tested"
            ours["argv"], bare["argv"] = words_between(ours["argv"]), words_between(bare["argv"])
            return without_links_pipes(bare), without_links_pipes(ours)
        return compared(bare), compared(ours)


def words_between(argv: list[bytes]) -> list[bytes]:
    """Drop the words about jobs; test_fidelity_words.py looks at those."""
    return [word for word in argv if not word.startswith((b"-flto=", b"--threads=", b"--thinlto-jobs="))]


@pytest.fixture(scope="module")
def bench(shim: Shim, program: Program, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Compile the recorders."""
    return Bench(shim, program, tmp_path_factory.mktemp("fidelity"))


@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: "-".join(locale.values()) or "unset")
@pytest.mark.parametrize("kind", KINDS)
def test_the_environment_is_the_bare_calls(kind: str, locale: dict[str, str], bench: Bench) -> None:
    """C3: variable for variable, in every locale; Python's coercion to C.UTF-8 leaves no trace."""
    bare, ours = bench.both(kind, bench.environment(**locale, EMPTY="", ODD="a=b\n\udcff"))
    assert {k: (bare[k], ours[k]) for k in bare if bare[k] != ours[k]} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_only_named_variables_differ(kind: str, bench: Bench) -> None:
    """C3: what is added or changed is one of the variables that name a jobserver, PATH, or a marker of ours."""
    recorder, line = bench.lines[kind]
    env = bench.environment(MAKEFLAGS="", MFLAGS="", CARGO_MAKEFLAGS="", COLLECT_GCC_OPTIONS="", LDSHIM_JOBS="2")
    bare = recorder.run([recorder.path, *line], env=env)["environ"]
    ours = recorder.run([bench.shim.named(os.path.basename(recorder.path)), *line], env=env)["environ"]
    names = {entry.partition(b"=")[0] for entry in set(bare) ^ set(ours)}
    assert set() == {name for name in names if name not in MAY_DIFFER and not name.startswith(b"_LDSHIM_")}


def ignore(*numbers: signal.Signals) -> Callable[[], object]:
    """Make a preparation that ignores signals."""
    return lambda: [signal.signal(number, signal.SIG_IGN) for number in numbers]


def block(*numbers: signal.Signals) -> Callable[[], object]:
    """Make a preparation that blocks signals."""
    return lambda: signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def closing(fds: set[int]) -> Callable[[], None]:
    """Make a preparation that closes descriptors."""

    def close() -> None:
        for fd in fds:
            os.close(fd)

    return close


PREPARATIONS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "nohup": ignore(signal.SIGHUP),
    "background": ignore(signal.SIGINT, signal.SIGQUIT),
    "SIGCHLD ignored": ignore(signal.SIGCHLD),
    "SIGTERM ignored": ignore(signal.SIGTERM, signal.SIGUSR1),
    "signals blocked": block(signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGCHLD),
    "umask": lambda: os.umask(0o027),
    "nice": lambda: os.nice(3),
    "no core": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "soft limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, 400)),
    "few descriptors": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    "one cpu": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    "own group": lambda: os.setpgid(0, 0),
    "own session": os.setsid,
}


@pytest.mark.parametrize("preparation", PREPARATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_everything_inherited_is_the_bare_calls(kind: str, preparation: str, bench: Bench, tmp_path: Path) -> None:
    """C3: signal dispositions and masks, limits, umask, nice, affinity, cwd, group, session, timers, children: as in the bare call."""
    before = PREPARATIONS[preparation]
    bare, ours = bench.both(kind, bench.environment(LDSHIM_JOBS="2", PWD=str(tmp_path)), cwd=tmp_path, preexec_fn=before)
    if preparation == "SIGCHLD ignored":  # a shell waits for children itself, and execs with the default action
        head, _, after = bare["status"].partition("SigIgn:\t")
        bare["status"] = f"{head}SigIgn:\t{int(after[:16], 16) & ~(1 << signal.SIGCHLD - 1):016x}{after[16:]}"
    assert {k: (bare[k], ours[k]) for k in bare if bare[k] != ours[k]} == {}


@pytest.mark.parametrize("kind", ["gcc", "thin"])
def test_the_wardens_birth_leaves_no_signal_behind(kind: str, bench: Bench, tmp_path: Path) -> None:
    """C3: where the caller blocks SIGCHLD, that of the child that forks the warden does not wait for the tool."""
    blocked = PREPARATIONS["signals blocked"]
    with Pool(b"ab") as pool:
        env = bench.environment(MAKEFLAGS=pool.makeflags, PWD=str(tmp_path))
        bare, ours = bench.both(kind, env, cwd=tmp_path, preexec_fn=blocked, pass_fds=pool.pass_fds)
    waiting = [[line for line in one["status"].splitlines() if line.startswith(("SigPnd", "ShdPnd"))] for one in (bare, ours)]
    assert waiting[0] == waiting[1]
    assert 2 == len(waiting[0])


@pytest.mark.parametrize("closed", [set(some) for count in range(4) for some in itertools.combinations((0, 1, 2), count)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_closed_standard_descriptors_stay_closed(kind: str, closed: set[int], bench: Bench) -> None:
    """C3: whichever of stdin, stdout and stderr are closed, nothing of ours sits in their place, and the link happens."""
    bare, ours = bench.both(kind, bench.environment(LDSHIM_JOBS="2"), preexec_fn=closing(closed))
    assert closed.isdisjoint(ours["fds"])
    assert {k: (bare[k], ours[k]) for k in bare if bare[k] != ours[k]} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_descriptors_are_handed_on(kind: str, bench: Bench, tmp_path: Path) -> None:
    """C3: files, pipes and directories that the caller left open arrive with their numbers, offsets' files and flags."""
    reader, writer = os.pipe()
    with open(tmp_path / "file", "w+") as file:
        directory = os.open(tmp_path, os.O_RDONLY)
        bare, ours = bench.both(kind, bench.environment(LDSHIM_JOBS="2"), pass_fds=(reader, writer, file.fileno(), directory))
    for fd in (reader, writer, directory):
        os.close(fd)
    assert {k: (bare[k], ours[k]) for k in bare if bare[k] != ours[k]} == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", ["pipe", "fifo"])
def test_a_jobserver_is_hidden_from_gcc_alone(style: str, kind: str, bench: Bench) -> None:
    """C3 C19: below make, too, only a GCC LTO link lacks make's own descriptors, which its private jobserver replaces."""
    recorder, line = bench.lines[kind]
    with Pool(b"ab", style=style) as pool:
        env = bench.environment(MAKEFLAGS=pool.makeflags)
        bare = recorder.run([recorder.path, *line], env=env, pass_fds=pool.pass_fds)
        ours = recorder.run([bench.shim.named(os.path.basename(recorder.path)), *line], env=env, pass_fds=pool.pass_fds)
        hidden = set(pool.pass_fds) if kind == "gcc" else set()
        low = {number: what for number, what in ours["fds"].items() if number < 101}
    assert {number: what for number, what in bare["fds"].items() if number not in hidden} == low


@pytest.mark.parametrize("kind", KINDS)
def test_stdin_is_read_by_the_tool_alone(kind: str, bench: Bench, tmp_path: Path) -> None:
    """C3: not a byte of stdin is consumed on the way."""
    _, line = bench.lines[kind]
    pipe = Recorder(tmp_path / "r", "ld.lld" if kind == "thin" else "gcc", banner(tools.LLD if kind == "thin" else tools.GCC), stdin=True)
    name = os.path.basename(pipe.path)
    env = bench.environment(LDSHIM_JOBS="2", **{f"LDSHIM_REAL_{name.upper().replace('.', '_')}": pipe.path})
    assert pipe.run([bench.shim.named(name), *line], env=env, input=b"every byte")["stdin"] == "every byte"


@pytest.mark.parametrize("kind", KINDS)
def test_the_controlling_terminal_stays(kind: str, bench: Bench) -> None:
    """C3: on a terminal the tool is in the foreground group with the same terminal, as the bare call is."""
    for end in tools.terminal():
        os.close(end)
    recorder, line = bench.lines[kind]
    code = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:], lambda fd: os.read(fd, 1024))))"
    jobs = []
    for command in (recorder.path, bench.shim.named(os.path.basename(recorder.path))):
        how = {"env": bench.environment(LDSHIM_JOBS="2"), "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        record = recorder.run([sys.executable, "-c", code, command, *line], **how)
        job = record["job"].split()
        jobs.append([job[1], job[3], int(job[5]) > 0, job[7]])
    assert jobs[0] == jobs[1]
    assert jobs[1] == ["1", "1", True, "1"]


def test_a_reader_that_leaves_ends_the_linker_by_sigpipe(shim: Shim) -> None:
    """C3: `ld --verbose | true` dies by SIGPIPE, silently, as it does bare."""
    for command in (tools.need("ld.bfd"), shim.named("ld.bfd")):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([command, "--verbose"], stdout=writer, stderr=subprocess.PIPE, env=shim.environment(), check=False)
        os.close(writer)
        assert (-signal.SIGPIPE, b"") == (done.returncode, done.stderr)


def test_an_interrupt_ends_the_tool_as_it_ends_the_bare_one(shim: Shim, tmp_path: Path) -> None:
    """C3: ^C at the real tool is death by SIGINT, not a Python traceback."""
    tool = tmp_path / "gcc"
    tool.write_text("#!/bin/sh\nkill -INT $$\nsleep 5\n")
    tool.chmod(0o755)
    done = subprocess.run(
        [shim.named("gcc"), "-c", "x.c"], env=shim.environment(LDSHIM_REAL_GCC=str(tool)), capture_output=True, check=False
    )
    assert (-signal.SIGINT, b"", b"") == (done.returncode, done.stdout, done.stderr)
