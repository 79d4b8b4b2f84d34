"""`ldshim pool -j N -- CMD…`: run a build below a jobserver, for builds whose top is no make: ninja, Meson, CMake, cargo, a shell script.

The problem: make provides a jobserver to its recipes, but in a build without make at the top nothing does. Then each make, cargo and LTO
link below counts the CPUs for itself. The consequence: this command creates a jobserver (server.py) and names it in the environment of
CMD. Apart from that it is transparent (foreground.py): signals, job control and the exit status are those of CMD.

The variables:
    MAKEFLAGS       as make writes it; the caller's other options stay, its -j and its jobserver are removed
    CARGO_MAKEFLAGS in cargo's spelling, because cargo and ldshim read it first
    MFLAGS          removed, because it could only name another jobserver

Below another jobserver, a pool does what a make with its own -j does: it creates a jobserver of N jobs, and prints one line about it.

A build tool that has a number on its command line (`ninja -j4`, `cmake --build DIR -j4`, `make -j4`) uses no jobserver. If no process has
taken a token by the end of the build, the pool prints that command line.

At the end the pool counts its tokens. A build that loses tokens becomes slower and shows no reason, so the pool prints how many are
missing and which processes may have them. These messages go to stderr, one line each, and only when something is wrong; the exit status is
still CMD's.
"""

from __future__ import annotations

import os
import re
import subprocess

from ...call import processes, real_tool
from ...call.environment import read_settings
from ...entry import say
from ...reserve import cpus, jobserver, makeflags
from .. import terminal
from .foreground import Foreground, StartError
from .server import MOST, NoServerError, Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ...call.environment import Environment

LOOK_SECONDS = 0.2  # between two counts of the tokens
SETTLE_SECONDS = 0.3  # a warden returns its tokens and ends within 0.2 s; a process that lives longer is a server
MISSING_SECONDS = 5.0  # for tokens that a running process still holds
NO_SERVER = 120
# A build tool with a number on its command line, also in a string that a shell runs. make 4.3 and 4.4.1 then create another jobserver, and
# ninja 1.13 uses none.
_OWN_NUMBER = re.compile(
    rb"(?:^|[\s/;&|('\"])"
    rb"((?:g?make|ninja|ninja-build|samu|cmake|meson)(?=\s)[^;&|]*?\s(-j\s*[0-9]*|--(?:jobs|parallel)(?:[= ]\s*[0-9]+)?))"
    rb"(?![^\s;&|)'\"])"
)


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Describe the command line."""
    one = commands.add_parser(
        "pool",
        help="run a build below a new jobserver, and count the tokens at the end",
        usage="ldshim pool [-j [N]] [--style=fifo|pipe] [-v] -- COMMAND [ARG…]",
    )
    one.add_argument("-j", "--jobs", type=_jobs, nargs="?", const=0, default=0, metavar="N", help="jobs at once; no N: the CPUs counted")
    one.add_argument("--style", choices=["fifo", "pipe"], help="fifo, found by its name (the default), or pipe, for make up to 4.3")
    one.add_argument("-v", "--verbose", action="store_true", help="show the tokens in use on a terminal, and the count at the end")


def run(options: argparse.Namespace, call: list[bytes], environment: Environment) -> int:
    """Run a build; return its exit status (or end by its signal), 2 without a command, 126 or 127 for one that cannot be run."""
    if not call:
        say("ldshim: pool: needs a command: ldshim pool -j N -- COMMAND [ARG…]")
        return 2
    style = options.style or ("pipe" if is_old_make(call[0], environment) else "fifo")
    outer = leave_outer(environment)
    job = Foreground()
    try:
        server = Server(options.jobs or cpus.count(replaced_by=read_settings(environment).cpus), style, environment.get)
    except NoServerError as error:
        job.give_up()
        say(str(error))
        return NO_SERVER
    try:
        job.start(call, below(server, environment), server.inherited, outer)
        watch = Watch(server, job, call, environment, options.verbose)
        status = job.wait(LOOK_SECONDS, watch.look, watch.progress.erase)
        watch.settle()
        watch.conclude()
    except StartError as error:
        say(str(error))
        return error.status
    finally:
        server.close()
    if style == "fifo" and os.WIFEXITED(status) and os.WEXITSTATUS(status) in (1, 2):
        hint_at_old_make(environment)
    return job.leave(status)


class Watch:
    """Watches the tokens while the build runs. asked: a process has taken a token; own_number: see number_of_its_own."""

    def __init__(self, server: Server, job: Foreground, call: list[bytes], environment: Environment, verbose: bool) -> None:
        self.server = server
        self.asked = False
        self.own_number = number_of_its_own(call)
        self.job = job
        self.verbose = verbose
        self.progress = terminal.Progress(environment)

    def look(self) -> None:
        """Notice whether a token was taken, and show on a terminal how many are in use."""
        self.asked = self.asked or self.server.was_asked()
        if not self.asked and not self.own_number:
            # Only until a token is taken: a client takes one as soon as it has two jobs.
            command_lines = (processes.command_line(pid).split(b"\0") for pid in processes.below(os.getpid()))
            self.own_number = next(filter(None, map(number_of_its_own, command_lines)), "")
        if self.verbose:
            self.progress.say(f"of {self.server.tokens} tokens in use: {self.server.tokens - self.server.available()}")

    def settle(self) -> None:
        """Wait until no process can return a token any more, at most MISSING_SECONDS, or SETTLE_SECONDS when none is missing."""
        self.asked = self.asked or self.server.was_asked()
        self.server.stop_writing()
        waited, pause = 0.0, 0.001
        while not self.server.is_over() and waited < (MISSING_SECONDS if self.missing() > 0 else SETTLE_SECONDS):
            if self.job.gets_ending_signal(pause):
                break
            waited += pause
            pause = min(0.05, pause * 2)
            self.look()
        self.look()
        self.progress.erase()

    def missing(self) -> int:
        """Count the tokens that are missing; a negative number counts those in excess."""
        return self.server.tokens - self.server.available()

    def conclude(self) -> None:
        """Print each problem on a line; with -v also that there is none."""
        missing, total = self.missing(), self.server.tokens
        if missing > 0:
            self.say(f"tokens missing at the end: {missing} of {total}: a client was killed, outlived the build, or returns too few")
        elif missing < 0:
            self.say(f"too many tokens at the end: {-missing} more than {total}: a client returns more than it takes")
        elif self.verbose:
            self.say(f"tokens at the end: all of {total} are back")
        if total and self.own_number and not self.asked:
            self.say(
                f"no process has taken a token: "
                f"this command has its own number: {self.own_number}; without it, it shares the {total + 1} jobs of the pool"
            )
        if not self.server.is_over():
            names = ", ".join(f"{pid} {real_tool.show(processes.comm(pid))}" for pid in self.server.writers())
            if names:
                self.say(f"still running with the jobserver open: {names}; start servers before the build, or without MAKEFLAGS")

    def say(self, text: str) -> None:
        """Print one line, above the progress line."""
        self.progress.erase()
        say("ldshim: pool: " + text)


def number_of_its_own(argv: list[bytes]) -> str:
    """Return the part of a command line that gives a build tool a number of jobs, up to that number; "" without one."""
    found = _OWN_NUMBER.search(b" ".join(argv))
    return real_tool.show(found[1]) if found else ""


def below(server: Server, environment: Environment) -> Environment:
    """Return the environment of the build, which names the jobserver."""
    both = b"--jobserver-fds=%s --jobserver-auth=%s" % (server.auth, server.auth)
    # make up to 4.1 knows only the first spelling; later makes remove it. A fifo needs make 4.4 anyway.
    auth = both if server.style == "pipe" else b"--jobserver-auth=" + server.auth
    return environment.changed(
        {
            b"MAKEFLAGS": flags(environment.get(b"MAKEFLAGS"), b"-j%d %s" % (server.jobs, auth)),
            b"CARGO_MAKEFLAGS": b"-j%d %s" % (server.jobs, both),
            b"MFLAGS": None,
        }
    )


def flags(outer: bytes, options: bytes) -> bytes:
    """Return the MAKEFLAGS of the caller with `options` in place of each -j and jobserver; its other options and variables stay.

    The letters of the first word (`k`) stay first, and the variables after `--` stay last.
    """
    words = re.findall(rb"(?:\\.|[^\\ \t])+", outer, re.DOTALL)
    end = words.index(b"--") if b"--" in words else len(words)
    others: list[bytes] = []
    letters = b""
    for index, word in enumerate(words[:end]):
        first = index == 0 and outer[:1] not in (b" ", b"\t")
        after_bare_j = word.isdigit() and index > 0 and words[index - 1] in (b"-j", b"--jobs")
        if after_bare_j or re.match(rb"--job(s(=|$)|server-(auth|fds)=)", word):
            continue
        if first and b"=" not in word and not word.startswith(b"-"):
            letters = without_jobs(word)
        elif word.startswith(b"-") and not word.startswith(b"--"):
            rest = without_jobs(word[1:])
            others += [b"-" + rest] if rest else []
        else:
            others.append(word)
    return b" ".join([letters, options, *others, *words[end:]])


def without_jobs(letters: bytes) -> bytes:
    """Remove -j and its number from a group of make's one-letter options; another option with a value ends the group."""
    return re.sub(rb"^([^CEIWflojO]*)j\d*", rb"\1", letters)


def leave_outer(environment: Environment) -> tuple[int, ...]:
    """Print a line when a usable jobserver is replaced, as make does; return its descriptors, which the build must not inherit."""
    client, _ = jobserver.find(makeflags.named_in(environment))
    if client is None:
        return ()
    say(f"ldshim: pool: another jobserver is replaced: {client.name}; the build gets that of this pool")
    client.close()
    return client.callers_fds


def is_old_make(command: bytes, environment: Environment) -> bool:
    """Return whether a command is a GNU make that fails on a fifo."""
    return real_tool.program_name(command) in (b"make", b"gmake") and (0,) < make_version(command, environment) < (4, 4)


def make_version(make: bytes, environment: Environment) -> tuple[int, ...]:
    """Return the version of a make, (4, 3), or () when its banner has none."""
    try:
        asked = subprocess.run(
            [make, b"--version"], env=dict(environment.pairs), stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.match(rb"GNU Make (\d+)\.(\d+)", asked.stdout)
    return (int(found[1]), int(found[2])) if found else ()


def hint_at_old_make(environment: Environment) -> None:
    """Print a hint when a build failed below a fifo with an old make, whose message is `internal error: invalid … string`."""
    version = make_version(b"make", environment)
    if (0,) < version < (4, 4):
        say(f"ldshim: pool: the make on PATH cannot read a fifo: {version[0]}.{version[1]}; if that is why the build failed: --style=pipe")


def _jobs(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MOST:
        import argparse  # noqa: PLC0415

        raise argparse.ArgumentTypeError(f"accepted are 1 to {MOST}: {text!a}")
    return int(text)
