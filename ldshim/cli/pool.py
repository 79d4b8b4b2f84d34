"""`ldshim pool -j N -- CMD…`: a jobserver for a build whose top hands out no tokens: ninja, Meson, CMake, cargo, a shell script.

The problem: make serves a jobserver to what it starts, but where make is not at the top nobody does, and each make, cargo and LTO link
below counts the CPUs for itself. The consequence: this command serves one (served.py), names it to everything below, and is otherwise not
there (foreground.py): the signals, the job control and the exit status are CMD's.

What is named where:
    MAKEFLAGS       as make writes it; words of the caller's own stay, another jobserver and its -j go
    CARGO_MAKEFLAGS in cargo's spelling, since cargo and ldshim ask it first
    MFLAGS          is dropped: it could only name another jobserver

A pool that is started below another jobserver does as a make with its own -j does: it serves N of its own, and says so in one line.

A build tool that is told a number of its own (`ninja -j4`, `cmake --build DIR -j4`, `make -j4`) takes no part in any jobserver. Where
nobody has asked for a token until the end, the pool says so, and which command line was the reason.

At the end it counts. A build that loses tokens becomes slower and slower and nobody knows why; so what is missing is named, with what is
known about it. All this goes to stderr, one line each, and only when something is wrong; the exit status stays CMD's.
"""

from __future__ import annotations

import os
import re
import subprocess

from ..call import processes, real_tool
from ..call.environment import read_settings
from ..entry import say
from ..reserve import cpus, jobserver, makeflags
from . import terminal
from .foreground import Foreground, StartError
from .served import MOST, Served, UnservedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..call.environment import Environment

LOOK_SECONDS = 0.2  # how often the tokens are counted for a terminal
SETTLE_SECONDS = 0.3  # a warden gives back and is gone in 0.2 s; who is still there after that is a server
PATIENCE_SECONDS = 5.0  # for tokens that are still with somebody alive
UNSERVED = 120
# A build tool with a number on its command line, also in a string that a shell runs. make 4.3 and 4.4.1 then make a jobserver of their own,
# and ninja 1.13 is no client of any.
_TOLD = re.compile(
    rb"(?:^|[\s/;&|('\"])"
    rb"((?:g?make|ninja|ninja-build|samu|cmake|meson)(?=\s)[^;&|]*?\s(-j\s*[0-9]*|--(?:jobs|parallel)(?:[= ]\s*[0-9]+)?))"
    rb"(?![^\s;&|)'\"])"
)


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Describe the command line."""
    one = commands.add_parser(
        "pool",
        help="run a build under a jobserver of its own, and count the tokens at the end",
        usage="ldshim pool [-j [N]] [--style=fifo|pipe] [-v] -- COMMAND [ARG…]",
    )
    one.add_argument("-j", "--jobs", type=_jobs, nargs="?", const=0, default=0, metavar="N", help="jobs at once; no N: the CPUs counted")
    one.add_argument(
        "--style", choices=["fifo", "pipe"], help="how it is found: fifo, by its name (the default), or pipe, for make up to 4.3"
    )
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
        served = Served(options.jobs or cpus.count(said=read_settings(environment).cpus), style, environment.get)
    except UnservedError as error:
        job.give_up()
        say(str(error))
        return UNSERVED
    try:
        job.start(call, below(served, environment), served.inherited, outer)
        watch = Watch(served, job, call, environment, options.verbose)
        status = job.wait(LOOK_SECONDS, watch.look, watch.progress.erase)
        watch.settle()
        watch.conclude()
    except StartError as error:
        say(str(error))
        return error.status
    finally:
        served.close()
    if style == "fifo" and os.WIFEXITED(status) and os.WEXITSTATUS(status) in (1, 2):
        hint_at_old_make(environment)
    return job.leave(status)


class Watch:
    """What happens to the tokens while the build runs, and what there is to say about it."""

    def __init__(self, served: Served, job: Foreground, call: list[bytes], environment: Environment, verbose: bool) -> None:
        self.served = served
        self.asked = False  # for a token
        self.told = number_of_its_own(call)
        self.job = job
        self.verbose = verbose
        self.progress = terminal.Progress(environment)

    def look(self) -> None:
        """Notice who asks, and show on a terminal what is in use."""
        self.asked = self.asked or self.served.was_asked()
        if not self.asked and not self.told:
            # Read until somebody asks: a build that is a client does so as soon as it has two things to do.
            lines = (processes.command_line(pid).split(b"\0") for pid in processes.below(os.getpid()))
            self.told = next((told for told in map(number_of_its_own, lines) if told), "")
        if self.verbose:
            self.progress.say(f"of {self.served.tokens} tokens in use: {self.served.tokens - self.served.available()}")

    def settle(self) -> None:
        """Wait until nobody can give a token back any more, or who could is a server, or nobody's patience lasts."""
        self.asked = self.asked or self.served.was_asked()
        self.served.stop_writing()
        waited, pause = 0.0, 0.001
        while not self.served.is_over() and waited < (PATIENCE_SECONDS if self.missing() > 0 else SETTLE_SECONDS):
            if self.job.is_told_to_end(pause):
                break
            waited += pause
            pause = min(0.05, pause * 2)
            self.look()
        self.look()
        self.progress.erase()

    def missing(self) -> int:
        """Count the tokens that are not there; negative: as many are too many."""
        return self.served.tokens - self.served.available()

    def conclude(self) -> None:
        """Say what is wrong, a line each; with -v also that nothing is."""
        missing, total = self.missing(), self.served.tokens
        if missing > 0:
            self.say(f"tokens missing at the end: {missing} of {total}: a client was killed, outlived the build, or gives back too few")
        elif missing < 0:
            self.say(f"tokens too many at the end: {-missing} beyond {total}: a client gives back more than it takes")
        elif self.verbose:
            self.say(f"tokens at the end: all of {total} are back")
        if total and self.told and not self.asked:
            self.say(
                f"nobody has asked for a token: told a number of its own: {self.told}; without it, it shares the {total + 1} of the pool"
            )
        if not self.served.is_over():
            names = ", ".join(f"{pid} {real_tool.show(processes.comm(pid))}" for pid in self.served.writers())
            if names:
                self.say(f"left behind with the jobserver open: {names}; start servers before the build, or without MAKEFLAGS")

    def say(self, text: str) -> None:
        """Say one line, above the progress line."""
        self.progress.erase()
        say("ldshim: pool: " + text)


def number_of_its_own(words: list[bytes]) -> str:
    """Return the command in a command line that tells a build tool a number, up to that number; "" when none does."""
    found = _TOLD.search(b" ".join(words))
    return real_tool.show(found[1]) if found else ""


def below(served: Served, environment: Environment) -> Environment:
    """Return the environment of a build that is to find a jobserver."""
    both = b"--jobserver-fds=%s --jobserver-auth=%s" % (served.auth, served.auth)
    # make up to 4.1 knows only the first spelling; later ones drop it. A fifo needs 4.4 anyway.
    words = both if served.style == "pipe" else b"--jobserver-auth=" + served.auth
    return environment.changed(
        {
            b"MAKEFLAGS": flags(environment.get(b"MAKEFLAGS"), b"-j%d %s" % (served.jobs, words)),
            b"CARGO_MAKEFLAGS": b"-j%d %s" % (served.jobs, both),
            b"MFLAGS": None,
        }
    )


def flags(outer: bytes, words: bytes) -> bytes:
    """Return a MAKEFLAGS in which words stand for every -j and jobserver of outer; the caller's other options and variables stay.

    The first word's letters stay in front (`k`), and what is behind `--` (variables) stays behind.
    """
    tokens = re.findall(rb"(?:\\.|[^\\ \t])+", outer, re.DOTALL)
    cut = tokens.index(b"--") if b"--" in tokens else len(tokens)
    kept: list[bytes] = []
    letters = b""
    for index, token in enumerate(tokens[:cut]):
        first = index == 0 and outer[:1] not in (b" ", b"\t")
        after_bare_j = token.isdigit() and index > 0 and tokens[index - 1] in (b"-j", b"--jobs")
        if after_bare_j or re.match(rb"--job(s(=|$)|server-(auth|fds)=)", token):
            continue
        if first and b"=" not in token and not token.startswith(b"-"):
            letters = without_jobs(token)
        elif token.startswith(b"-") and not token.startswith(b"--"):
            kept += [word for word in [b"-" + without_jobs(token[1:])] if word != b"-"]
        else:
            kept.append(token)
    return b" ".join([letters, words, *kept, *tokens[cut:]])


def without_jobs(letters: bytes) -> bytes:
    """Take -j and its number out of a group of make's one-letter flags; another that takes a value ends the group."""
    return re.sub(rb"^([^CEIWflojO]*)j\d*", rb"\1", letters)


def leave_outer(environment: Environment) -> tuple[int, ...]:
    """Say that a jobserver which works here is left aside, as make does; return its descriptors, which nothing below may keep open."""
    client, _ = jobserver.find(makeflags.named_in(environment))
    if client is None:
        return ()
    say(f"ldshim: pool: another jobserver is left aside: {client.name}; the build gets this pool's instead")
    client.close()
    return client.callers_fds


def is_old_make(command: bytes, environment: Environment) -> bool:
    """Tell whether a command is a GNU make that dies on a fifo."""
    return real_tool.program_name(command) in (b"make", b"gmake") and (0,) < make_version(command, environment) < (4, 4)


def make_version(make: bytes, environment: Environment) -> tuple[int, ...]:
    """Ask a make for its version: (4, 3); () when it does not say."""
    try:
        asked = subprocess.run(
            [make, b"--version"], env=dict(environment.pairs), stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.match(rb"GNU Make (\d+)\.(\d+)", asked.stdout)
    return (int(found[1]), int(found[2])) if found else ()


def hint_at_old_make(environment: Environment) -> None:
    """Say why a build may have failed that found a fifo and an old make: its own words are `internal error: invalid … string`."""
    version = make_version(b"make", environment)
    if (0,) < version < (4, 4):
        say(f"ldshim: pool: the make on PATH cannot read a fifo: {version[0]}.{version[1]}; if that is why the build failed: --style=pipe")


def _jobs(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MOST:
        import argparse  # noqa: PLC0415

        raise argparse.ArgumentTypeError(f"accepted are 1 to {MOST}: {text!a}")
    return int(text)
