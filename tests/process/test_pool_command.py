"""Hazards of serving a jobserver: a build that sees it wrongly, a pool in the way of it, a token that is gone and nobody says so."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ldshim.call import environment
from ldshim.cli import pool as command
from ldshim.cli.pool.server import Server
from ldshim.reserve import cpus
from tests.support import tools
from tests.support.pool import Pool
from tests.support.shim import ROOT, Shim, script

pytestmark = pytest.mark.matrix


STYLES = ["fifo", "pipe"]


class Run:
    """What one run of the pool did: exit status (negative: its signal), what it and the build said."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        out, err = process.communicate()
        self.status = process.returncode
        self.out = os.fsdecode(out)
        self.err = err.decode()


def start(shim: Shim, *words: str, pass_fds: tuple[int, ...] = (), cwd: Path | str | None = None, **more: str) -> subprocess.Popen[bytes]:
    """Start `ldshim pool WORDS` as the leader of a process group."""
    command = [shim.command, "pool", *words]
    env = {**shim.environment(PYTHONPATH=str(ROOT)), **more}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True, pass_fds=pass_fds, cwd=cwd
    )


def run(shim: Shim, *words: str, pass_fds: tuple[int, ...] = (), cwd: Path | None = None, **more: str) -> Run:
    """Run `ldshim pool WORDS` to its end."""
    return Run(start(shim, *words, pass_fds=pass_fds, cwd=cwd, **more))


@contextlib.contextmanager
def running(shim: Shim, *words: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `ldshim pool WORDS` beside a test that does things to it; one that fails leaves none of it behind."""
    process = start(shim, *words, pass_fds=(), cwd=None, **more)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(path: Path) -> str:
    """Wait until a file has a whole line: its text."""
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)
    return path.read_text()


def python(text: str) -> list[str]:
    """Spell a command that runs a few lines of Python below the pool, with a client `c` of the jobserver at hand."""
    head = "import os, signal, sys, time; sys.path.insert(0, os.environ['PYTHONPATH'])\nfrom ldshim.reserve import jobserver, makeflags\n"
    return [sys.executable, "-c", head + "c = jobserver.connect(makeflags.parse(os.environb[b'MAKEFLAGS']))\n" + text]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("status", [0, 3, 255])
def test_the_status_is_the_build_s(shim: Shim, style: str, status: int) -> None:
    """The pool exits as its build did, and says nothing."""
    done = run(shim, "-j3", f"--style={style}", "--", "sh", "-c", f"echo out; echo err >&2; exit {status}")
    assert (status, "out\n", "err\n") == (done.status, done.out, done.err)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL, signal.SIGINT])
def test_a_build_that_dies_by_a_signal_takes_the_pool_along(shim: Shim, number: int) -> None:
    """What make or a CI runner sees is the very signal."""
    assert -number == run(shim, "-j3", "--", "sh", "-c", f"kill -{number} $$").status


def test_a_command_that_cannot_be_run_is_named(shim: Shim, tmp_path: Path) -> None:
    """127 for one that is not there, 126 for one that cannot be executed, 2 for none at all."""
    (tmp_path / "text").write_text("no program")
    missing = run(shim, "-j3", "--", "no-such-command-anywhere")
    assert (127, "ldshim: pool: cannot be run: no-such-command-anywhere: no such command\n") == (missing.status, missing.err)
    refused = run(shim, "-j3", "--", str(tmp_path / "text"))
    assert (126, f"ldshim: pool: cannot be run: {tmp_path}/text: Permission denied\n") == (refused.status, refused.err)
    assert 2 == run(shim, "-j3").status
    assert [] == list((shim.runtime / "ldshim").glob("pool-*"))


@pytest.mark.parametrize("word", ["-j0", "-jx", "-j-1", "-j5000", "--style=socket"])
def test_a_wrong_command_line_runs_nothing(shim: Shim, word: str) -> None:
    """Status 2, and a word about what is accepted."""
    done = run(shim, word, "--", "echo", "ran")
    assert (2, "") == (done.status, done.out)
    assert word[-1] in done.err


SHOW = ["sh", "-c", 'printf "%s\\n" "$MAKEFLAGS" "$CARGO_MAKEFLAGS" "${MFLAGS-none}"']


def test_a_fifo_is_named_as_make_names_it(shim: Shim) -> None:
    """MAKEFLAGS as make 4.4 writes it, CARGO_MAKEFLAGS in cargo's spelling, no MFLAGS; in a directory that is only ours, and gone after."""
    done = run(shim, "-j", "5", "--", *SHOW, MFLAGS="-j9")
    makeflags, cargo, mflags = done.out.splitlines()
    place = Path(makeflags.partition("fifo:")[2]).parent
    assert (shim.runtime / "ldshim", True) == (place.parent, place.name.startswith("pool-"))
    auth = f"fifo:{place}/fifo"
    assert [f" -j5 --jobserver-auth={auth}", f"-j5 --jobserver-fds={auth} --jobserver-auth={auth}", "none"] == [makeflags, cargo, mflags]
    assert not place.exists()


def test_a_pipe_is_named_and_inherited(shim: Shim) -> None:
    """The pair R,W in both spellings; its read end does not block, as make's own since 4.3, and it holds N-1 bytes of make's."""
    look = (
        "a = makeflags.parse(os.environb[b'MAKEFLAGS'])\nprint(a.read_fd, a.write_fd, os.get_blocking(a.read_fd), os.read(a.read_fd, 99))"
    )
    put_back = "\nos.write(a.write_fd, b'+++++')\nprint(os.environ['MAKEFLAGS'])"
    first, flags = run(shim, "-j6", "--style=pipe", "--", *python(look + put_back)).out.splitlines()
    pair = ",".join(first.split()[:2])
    assert ("False b'+++++'", f" -j6 --jobserver-fds={pair} --jobserver-auth={pair}") == (first.split(" ", 2)[2], flags)


@pytest.mark.parametrize("words", [[], ["-j"]])
def test_without_a_number_the_cpus_count(shim: Shim, words: list[str]) -> None:
    """-j alone, or nothing: as many jobs as CPUs may be used here."""
    assert run(shim, *words, "--", *SHOW).out.startswith(f" -j{cpus.count()} --jobserver-auth=fifo:")


@pytest.mark.parametrize(
    ("outer", "expected"),
    [
        (b"", b" WORDS"),
        (b" -j4 --jobserver-auth=3,4", b" WORDS"),
        (b" -j4 -l2.5 --jobserver-auth=3,4 --jobserver-auth=-2,-2", b" WORDS -l2.5"),
        (b"krR -j4 --jobserver-fds=3,4 -Otarget -- V=1 W=a\\ b", b"krR WORDS -Otarget -- V=1 W=a\\ b"),
        (b"n", b"n WORDS"),
        (b"-k", b" WORDS -k"),
        (b"-j8", b" WORDS"),
        (b"j8", b" WORDS"),
        (b"kj8", b"k WORDS"),
        (b"-kj 8 -s", b" WORDS -k 8 -s"),
        (b"-j 8 -s", b" WORDS -s"),
        (b"--jobs=8 --jobs 3 --no-print-directory", b" WORDS --no-print-directory"),
        (b" -Ij5 -j5", b" WORDS -Ij5"),
        (b"V=1", b" WORDS V=1"),
        (b" -j2 -- X=--jobserver-auth=9,9 Y=-j3", b" WORDS -- X=--jobserver-auth=9,9 Y=-j3"),
    ],
)
def test_the_caller_s_own_make_options_stay(outer: bytes, expected: bytes) -> None:
    """C12: another -j and jobserver go, wherever they stand; letters stay in front, variables behind --."""
    assert expected == command.flags(outer, b"WORDS")


@pytest.mark.parametrize("style", STYLES)
def test_an_outer_jobserver_is_left_aside_whole(shim: Shim, style: str) -> None:
    """As a make with a -j of its own: one line, N of our own, the outer tokens untouched and its pipe not in the build's hands (C15)."""
    with Pool(b"ab", style=style) as outer:
        look = "a = [os.path.realpath(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')]\nprint(c.available(), *a)"
        done = run(shim, "-j5", "--", *python(look), MAKEFLAGS=outer.makeflags, pass_fds=outer.pass_fds)
        inode = os.fstat(outer.read_fd).st_ino
    assert "4" == done.out.split()[0]
    assert f"[{inode}]" not in done.out
    assert (1, True) == (len(done.err.splitlines()), done.err.startswith(f"ldshim: pool: another jobserver is replaced: {style} "))


def test_a_stale_outer_jobserver_is_dropped_without_a_word(shim: Shim) -> None:
    """Words that name a closed pair are no jobserver."""
    done = run(shim, "-j2", "--", *SHOW, MAKEFLAGS="s -j4 --jobserver-auth=57,58", MFLAGS="-s -j4 --jobserver-auth=57,58")
    assert ("", True) == (done.err, done.out.startswith("s -j2 --jobserver-auth=fifo:"))


def test_a_make_that_dies_on_a_fifo_gets_a_pipe(shim: Shim, tmp_path: Path) -> None:
    """GNU make 4.3 as the command itself: the pipe is chosen; below a shell it dies, and the pool says what may be the reason."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "make").symlink_to(tools.make43())
    (tmp_path / "Makefile").write_text('all: ; @echo "$(MAKEFLAGS)"\n')
    path = f"{tmp_path}/first{os.pathsep}{os.environ['PATH']}"
    direct = run(shim, "-j3", "--", "make", "-C", str(tmp_path), PATH=path)
    assert ("", 0, True) == (direct.err, direct.status, "--jobserver-auth=1" in direct.out)
    below = run(shim, "-j3", "--", "sh", "-c", f"make -C {tmp_path}; exit $?", PATH=path)
    assert (2, True) == (below.status, "--style=pipe" in below.err)


@pytest.mark.parametrize("style", STYLES)
def test_a_token_that_a_killed_stranger_had_is_named_as_missing(shim: Shim, style: str) -> None:
    """C14: nobody can put it back: one line at the end says how many are gone, and the status stays."""
    killed = "c.take(2); os.kill(os.getpid(), 9)"
    words = python(killed)
    done = run(shim, "-j4", f"--style={style}", "--", "sh", "-c", '"$@"; exit 5', "sh", *words)
    line = "ldshim: pool: tokens missing at the end: 2 of 3: a client was killed, outlived the build, or returns too few"
    assert (5, line) == (done.status, done.err.splitlines()[-1])


@pytest.mark.parametrize("style", STYLES)
def test_a_token_too_many_is_named(shim: Shim, style: str) -> None:
    """A client that gives back more than it took is the harder mistake to find."""
    done = run(shim, "-j4", f"--style={style}", "--", *python("os.write(c._write_fd, b'+')"))
    assert (0, "ldshim: pool: too many tokens at the end: 1 more than 3: a client returns more than it takes\n") == (done.status, done.err)


@pytest.mark.parametrize("style", STYLES)
def test_a_foreign_byte_is_a_token_too(shim: Shim, style: str) -> None:
    """GCC gives back `G` for make's `+`; the count is by number."""
    done = run(shim, "-j4", f"--style={style}", "--", *python("n = c.take(3); os.write(c._write_fd, b'GGG'); os._exit(0)"))
    assert (0, "") == (done.status, done.err)


@pytest.mark.parametrize("style", STYLES)
def test_a_server_left_behind_holds_nothing_up_and_is_named(shim: Shim, style: str, tmp_path: Path) -> None:
    """C15: make would wait for it for ever; the pool ends, and says who has the jobserver open still."""
    server = "if os.fork() == 0:\n os.setsid(); [os.dup2(os.open('/dev/null', 2), n) for n in (0, 1, 2)]\n"
    words = python(server + f" open({str(tmp_path / 'pid')!r}, 'w').write(f'{{os.getpid()}}\\n'); time.sleep(60)\ntime.sleep(0.2)")
    done = run(shim, "-j3", f"--style={style}", "--", *words)
    pid = int(wait_for(tmp_path / "pid"))
    os.kill(pid, signal.SIGKILL)
    assert (0, True) == (done.status, done.err.startswith(f"ldshim: pool: still running with the jobserver open: {pid} "))


def test_a_process_that_gives_back_late_is_waited_for(shim: Shim) -> None:
    """C14: a warden that outlives the build by a moment is no lost token."""
    late = "c.take(2)\nif os.fork(): os._exit(0)\nos.setsid(); time.sleep(0.8); c.close()"
    done = run(shim, "-j3", "--", *python(late))
    assert (0, "") == (done.status, done.err)


COUNT_SIGNALS = """
import os, signal
numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
os.write(1, b"ready\\n")
got = 0
while got != signal.SIGRTMIN:
    got = signal.sigwait(numbers)
    os.write(1, b"%d\\n" % got)
"""


@pytest.mark.parametrize("to", ["pool", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_reaches_the_build_exactly_once(shim: Shim, number: int, to: str) -> None:
    """C14: `kill PID` is for us alone and is passed on; a kill of the group is not doubled: make gives its clean-up up at a second one."""
    with running(shim, "-j3", "--", sys.executable, "-c", COUNT_SIGNALS) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        (os.killpg if to == "group" else os.kill)(process.pid, number)
        assert b"%d\n" % number == process.stdout.readline()
        (os.killpg if to == "group" else os.kill)(process.pid, number)
        assert b"%d\n" % number == process.stdout.readline()
        os.kill(process.pid, signal.SIGRTMIN)
        assert b"%d\n" % signal.SIGRTMIN == process.stdout.read()
        assert 0 == process.wait()


def test_what_was_ignored_stays_ignored(shim: Shim) -> None:
    """nohup, and a shell's background jobs: the build starts with the very dispositions and mask that we were started with."""
    look = ["/bin/grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"]
    script = (
        "import os, signal, sys\n"
        "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 17)]\n"
        "[signal.signal(n, signal.SIG_DFL) for n in (13, 25)]  # Python's own doing\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [10])\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    both = [
        subprocess.run(
            [sys.executable, "-c", script, *argv], env=shim.environment(PYTHONPATH=str(ROOT)), capture_output=True, check=True
        ).stdout
        # The installed command is a shell script, and a shell sets an ignored SIGCHLD to its default action (doc/caveats.md).
        for argv in (look, [sys.executable, "-m", "ldshim", "pool", "-j2", "--", *look])
    ]
    assert both[0] == both[1]


def test_a_killed_pool_s_directory_is_removed_by_the_next(shim: Shim, tmp_path: Path) -> None:
    """SIGKILL leaves it behind; a later pool removes it, but not while an orphaned build has the fifo open, nor a living pool's."""
    hold = f"f = os.open(c.name[5:], os.O_RDONLY); open({str(tmp_path / 'dir')!r}, 'w').write(c.name[5:] + '\\n'); time.sleep(60)"
    place = shim.runtime / "ldshim"
    with running(shim, "-j3", "--", *python(hold)) as process:
        left = Path(wait_for(tmp_path / "dir").strip()).parent
        run(shim, "-j2", "--", "true")
        assert [left] == list(place.glob("pool-*"))
        process.kill()
        process.wait()
        run(shim, "-j2", "--", "true")
        assert [left] == list(place.glob("pool-*"))
    run(shim, "-j2", "--", "true")
    assert [] == list(place.glob("pool-*"))


def test_a_place_that_makeflags_cannot_name_is_not_used(shim: Shim, tmp_path: Path) -> None:
    """A blank in XDG_RUNTIME_DIR would cut the fifo's name in two."""
    blank = tmp_path / "a b"
    blank.mkdir(mode=0o700)
    done = run(shim, "-j3", "--", *SHOW, XDG_RUNTIME_DIR=str(blank))
    assert (0, True) == (done.status, str(blank) not in done.out and "fifo:/" in done.out)


WARDEN = """
import os, sys
sys.path.insert(0, os.environ["PYTHONPATH"])
from ldshim.call.environment import read_environment
from ldshim.warden import handover
from ldshim.warden.reservation import Reservation
from ldshim.reserve import jobserver, makeflags
from ldshim.reserve.lease import JobserverLease
environment = read_environment()
lease = JobserverLease(jobserver.connect(makeflags.parse(environment.get(b"MAKEFLAGS"))))
left = handover.leave_warden(Reservation(lease, 3, "fixed", environment))
handover.replace_process(b"/bin/sh", [b"sh", b"-c", os.fsencode(sys.argv[1])], environment)
"""


@pytest.mark.parametrize("style", STYLES)
def test_a_killed_warden_s_tokens_are_counted_as_missing(shim: Shim, style: str, tmp_path: Path) -> None:
    """C14: kill -9 of a warden loses what it held, as with every client; the line at the end says how many, and the status stays."""
    is_ours = f'grep -sqz "^MINE={tmp_path}$" $p/environ && grep -sqx ldshim-warden $p/comm'
    look = f"for p in /proc/[0-9]*; do {is_ours} && kill -9 ${{p#/proc/}}; done"
    link = [sys.executable, "-c", WARDEN, f"sleep 0.1; {look}; sleep 0.1"]
    done = run(shim, "-j5", f"--style={style}", "--", "sh", "-c", '"$@"; exit 5', "sh", *link, MINE=str(tmp_path))
    line = "ldshim: pool: tokens missing at the end: 3 of 4: a client was killed, outlived the build, or returns too few"
    assert (5, [line]) == (done.status, done.err.splitlines())


def test_a_link_that_outlives_the_build_is_named(shim: Shim, tmp_path: Path) -> None:
    """A warden that still holds tokens when the pool's patience is over is named by pid."""
    link = [sys.executable, "-c", WARDEN, f"echo $$ > {tmp_path}/link; sleep 60"]
    background = f'"$@" </dev/null >/dev/null 2>&1 & until [ -s {tmp_path}/link ]; do sleep 0.05; done'
    done = run(shim, "-j5", "--", "sh", "-c", background, "sh", *link)
    pid = wait_for(tmp_path / "link").strip()
    os.kill(int(pid), signal.SIGKILL)
    first, second = done.err.splitlines()
    assert "ldshim: pool: tokens missing at the end: 3 of 4: a client was killed, outlived the build, or returns too few" == first
    assert second.startswith("ldshim: pool: still running with the jobserver open: ")
    assert "ldshim-warden" in second


def test_the_count_is_said_when_asked_for(shim: Shim) -> None:
    """-v says at the end that all is well; and shows no escape sequence where there is no terminal."""
    done = run(shim, "-j3", "-v", "--", "sleep", "0.3")
    assert (0, "ldshim: pool: tokens at the end: all of 2 are back\n") == (done.status, done.err)


def test_dry_run_words_reach_the_build(shim: Shim) -> None:
    """`n` of a caller's MAKEFLAGS stays in front: make -n below makes a dry run."""
    assert run(shim, "-j2", "--", *SHOW, MAKEFLAGS="n").out.startswith("n -j2 ")


def test_the_environment_is_else_the_caller_s(shim: Shim) -> None:
    """Only the variables that name the jobserver differ, duplicates and odd bytes included."""
    done = run(shim, "-j2", "--", "cat", "/proc/self/environ", ODD="\udcff\n", EMPTY="", PWD=os.getcwd())  # a shell sets PWD
    ours = {b"MAKEFLAGS", b"CARGO_MAKEFLAGS"}
    pairs = environment.Environment([(n, v) for n, _, v in (e.partition(b"=") for e in os.fsencode(done.out).split(b"\0")) if n])
    expected = {
        os.fsencode(n): os.fsencode(v) for n, v in shim.environment(PYTHONPATH=str(ROOT), ODD="\udcff\n", EMPTY="", PWD=os.getcwd()).items()
    }
    assert expected == {name: value for name, value in pairs.pairs if name not in ours}


OWN = "ldshim: pool: no process has taken a token: this command has its own number: {}; without it, it shares the 2 jobs of the pool"


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("build", "told"),
    [
        (["make", "-s", "-j4"], "make -s -j4"),
        (["env", "X=1", "make", "-s", "-j", "4", "all"], "make -s -j 4"),
        (["sh", "-c", "true && make -s --jobs=4; true"], "make -s --jobs=4"),
        (["./script"], "make -s -j4"),
        (["make", "-s"], ""),
        (["echo", "-j4"], ""),
    ],
    ids=["itself", "behind env", "in a shell", "in a script", "no number", "no build"],
)
def test_a_build_that_was_told_a_number_of_its_own_is_named(shim: Shim, style: str, build: list[str], told: str, tmp_path: Path) -> None:
    """Nobody asks the pool, and four jobs run: one line says whose number it is. Without a number nothing is said."""
    (tmp_path / "make").symlink_to(tools.make44())  # which reads either style
    (tmp_path / "makefile").write_text("all: ; @sleep 0.5\n")
    script(tmp_path / "script", "make -s -j4")
    done = run(shim, "-j2", f"--style={style}", "--", *build, cwd=tmp_path, PATH=f"{tmp_path}:{os.defpath}")
    said = [line for line in done.err.splitlines() if line.startswith("ldshim: ")]
    assert (0, [OWN.format(told)] if told else []) == (done.status, said)


def test_a_number_is_no_matter_where_the_pool_was_asked(shim: Shim) -> None:
    """C14: a token that was taken and given back is noticed however short the build is."""
    done = run(shim, "-j2", "--", *python("c.take(1); c.give(1)"), "make", "-j4")
    assert (0, "") == (done.status, done.err)


def test_a_fifo_knows_that_it_was_asked(shim: Shim) -> None:
    """Nobody has asked a pool that is full, and somebody has when a token is gone or came back."""
    server = Server(3, "fifo", {b"XDG_RUNTIME_DIR": os.fsencode(shim.runtime)}.get)  # type: ignore[arg-type]
    try:
        before = server.was_asked()
        time.sleep(0.05)  # a file's time is of the last tick
        token = os.read(server.read_fd, 1)
        during = server.was_asked()
        os.write(server.write_fd, token)
        assert (False, True, True) == (before, during, server.was_asked())
    finally:
        server.close()
