"""`ldshim link-farm DIR [NAME…]`: write a directory of launchers, for PATH, `-B`, `CC=` and `LD=`.

The problem: every build on the machine trusts a directory that is first on PATH, and the trigger of a package manager rewrites it while
builds run. The consequence: the directory contains only our files, and a marker file (real_tool.MARK) that also lists the names that were
asked for. A directory with any other file is refused, because a marked directory is removed from the PATH of the tools. A file that is no
launcher is never overwritten. A launcher is replaced by rename, and only when its text has changed.

A second call, with more names or none, does the same for all names in the marker file. It removes the launchers of tools that are gone,
and adds those of tools that are new (of any compiler and linker on PATH, if no name was ever given). `--refresh` never creates a
directory.
"""

from __future__ import annotations

import compileall
import importlib.util
import os
import stat
import subprocess
import sys

from .. import plain_link
from ..call import real_tool, tool_family
from ..call.environment import ASIDE
from ..launcher.text import TEMPLATE, Launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..call.environment import Environment

_ALL = b"*"  # in the marker file: every compiler and linker on PATH
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Describe the command line."""
    one = commands.add_parser("link-farm", help="write a directory of launchers named like the tools, for PATH, -B, CC= and LD=")
    one.add_argument("--refresh", action="store_true", help="repeat what created DIR: for the trigger of a package manager")
    one.add_argument("directory", metavar="DIR", help="an empty or new directory, or one that link-farm created")
    one.add_argument("names", metavar="NAME", nargs="*", help="gcc, x86_64-linux-gnu-ld.bfd, …; none: every compiler and linker on PATH")


def run(options: argparse.Namespace, call: list[bytes], environment: Environment) -> int:  # noqa: ARG001  one signature for all
    """Create or refresh the farm of the command line; return 0, or 1 when part of it was not done."""
    names = [os.fsencode(name) for name in options.names]
    return main(os.fsencode(options.directory), names, environment, refresh=options.refresh)


def main(directory: bytes, names: list[bytes], environment: Environment, *, refresh: bool = False) -> int:
    """Create or refresh a farm; return 0, or 1 when part of it was not done."""
    out = Farm(real_tool.absolute(directory), environment)
    try:
        if not out.open(names, refresh=refresh):
            return 1
        out.fill()
    except OSError as error:
        out.complain(error.filename or directory, "cannot be written", os.fsencode(error.strerror or ""))
    precompile()
    for line in out.done:
        print(line)
    return 1 if out.complaints else 0


class Farm:
    """One directory of launchers. directory: absolute; done: the changes, a line each; complaints: the number of lines on stderr."""

    def __init__(self, directory: bytes, environment: Environment) -> None:
        self.directory = directory
        self.environment = environment
        self.asked: set[bytes] = set()
        self.done: list[str] = []
        self.complaints = 0
        self.newest = 0  # mtime of the interpreter in ns: an older launcher tries at each call whether it starts

    def open(self, names: list[bytes], *, refresh: bool) -> bool:
        """Create the directory and its marker file, or read that; record the names. False: refused, nothing was changed."""
        for name in names:
            if not (_LETTERS.issuperset(name) and real_tool.kind_of(name)):
                self.complain(
                    name, "no compiler or linker that ldshim knows", b"gcc, clang, ld, ld.lld, mold and others, with a prefix or a version"
                )
        mark = os.path.join(self.directory, real_tool.MARK)
        marked = os.path.isfile(mark)
        if refresh and not marked:
            self.complain(self.directory, "was not created by link-farm", b"nothing to refresh; leave out --refresh to create it")
        elif not marked and os.path.isdir(self.directory) and os.listdir(self.directory):
            self.complain(self.directory, "is not empty and was not created by link-farm", b"choose a new directory")
        if self.complaints:
            return False
        if marked:
            with open(mark, "rb") as stream:
                self.asked = {line for line in stream.read().split(b"\n") if line and not line.startswith(b"#")}
        self.asked |= set(names or ([] if marked else [_ALL]))
        os.makedirs(self.directory, exist_ok=True)
        head = (
            b"# Made by `ldshim link-farm`, for the names below. ldshim removes such a directory from the PATH of the tools that it runs.\n"
        )
        self.write(real_tool.MARK, head + b"".join(name + b"\n" for name in sorted(self.asked)), 0o644)
        return True

    def fill(self) -> None:
        """Write a launcher for every tool that is asked for and exists; remove the other launchers."""
        with open(TEMPLATE, "rb") as stream:
            template = stream.read()
        python, places, library = interpreter(), import_places(), os.path.dirname(os.fsencode(os.__file__))
        check = not starts(python, self.environment)
        self.newest = max(os.stat(path).st_mtime_ns for path in (python, library))
        wanted = self.asked - {_ALL} | (on_path(self.environment) if _ALL in self.asked else set())
        current = {real_tool.MARK}
        for name in sorted(wanted):
            try:
                call = real_tool.stand_in(name, [], self.environment, met=os.path.join(self.directory, name))
            except real_tool.UnfoundError as error:
                if name in self.asked:
                    self.say(str(error))
                continue
            for line in call.complaints:
                self.say(line)
            launcher = Launcher(name, call.kind, (call.real, real_tool.flavored(call.real, name)), python, places)
            launcher.library, launcher.check = library, check
            launcher.family, launcher.identity = family_of(call, self.environment)
            if self.write(name, launcher.text(template), 0o755):
                self.done.append(f"{real_tool.show(name)} -> {real_tool.show(call.real)}")
            current.add(name)
        for name in sorted(set(os.listdir(self.directory)) - current):
            if self.is_made_by_us(name):
                os.unlink(os.path.join(self.directory, name))
                self.done.append(f"{real_tool.show(name)} removed")

    def write(self, name: bytes, text: bytes, mode: int) -> bool:
        """Write one file by rename, unless it is there unchanged; return whether it was written."""
        path = os.path.join(self.directory, name)
        if os.path.lexists(path):
            if name != real_tool.MARK and not self.is_made_by_us(name):
                self.complain(path, "is no launcher of ours, and is left as it is", name)
                return False
            with open(path, "rb") as stream:
                seen = os.fstat(stream.fileno())
                if stream.read() == text and stat.S_IMODE(seen.st_mode) == mode and seen.st_mtime_ns >= self.newest:
                    return False
        draft = os.path.join(self.directory, b".%d.draft" % os.getpid())
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(text)
                os.fchmod(stream.fileno(), mode)  # despite the umask: builds of other users run these, too
            os.rename(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
        return True

    def is_made_by_us(self, name: bytes) -> bool:
        """Return whether an entry is a launcher that link-farm wrote; a symlink to ldshim is the user's."""
        path = os.path.join(self.directory, name)
        return stat.S_ISREG(os.lstat(path).st_mode) and real_tool.is_ldshim(path)

    def complain(self, subject: bytes | str, problem: str, value: bytes) -> None:
        """Report what was not done."""
        self.say(f"ldshim: {real_tool.show(os.fsencode(subject))}: {problem}: {real_tool.show(value)}")

    def say(self, line: str) -> None:
        """Write one line to stderr, and count it."""
        self.complaints += 1
        print(line, file=sys.stderr)


def family_of(call: real_tool.Call, environment: Environment) -> tuple[str, tuple[int, ...]]:
    """Return the family and the file identity of a tool, for plain_link; "" for a script, whose behaviour can change without its file."""
    with open(call.real, "rb") as stream:
        is_elf = stream.read(4) == b"\x7fELF"
    if not is_elf or not real_tool.kind_of(os.path.basename(real_tool.resolved(call.real))):
        return "", ()
    return tool_family.identify(call.real, environment, call.path).family, plain_link.identity_of(call.real)


def on_path(environment: Environment) -> set[bytes]:
    """Collect the names of every compiler and linker in the directories of PATH."""
    found: set[bytes] = set()
    for directory in real_tool.path_entries(environment):
        try:
            found.update(name for name in os.listdir(directory or b".") if _LETTERS.issuperset(name) and real_tool.kind_of(name))
        except OSError:
            continue
    return found


def interpreter() -> bytes:
    """Return the interpreter for launchers: the base of a virtual environment, which outlives it and starts faster."""
    for path in (getattr(sys, "_base_executable", ""), sys.executable):
        if path and os.path.isabs(path) and os.access(path, os.X_OK):
            return os.fsencode(path)
    raise FileNotFoundError(2, "the interpreter does not know where it is", sys.executable)


def starts(python: bytes, environment: Environment) -> bool:
    """Return whether an interpreter starts without the variables that launchers set aside (it may need one to find libpython)."""
    rest = {name: value for name, value in environment.pairs if name not in ASIDE}
    asked = subprocess.run([python, "-IS", "-c", ""], env=rest, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return asked.returncode == 0


def import_places() -> list[str]:
    """Return the directories that a launcher adds to sys.path, since `-IS` hides them: the parents of our package and of elftools."""
    places = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))]
    spec = importlib.util.find_spec("elftools")
    if spec is not None and spec.origin:
        place = os.path.dirname(os.path.dirname(os.path.abspath(spec.origin)))
        if place not in places:
            places.append(place)
    return places


def precompile() -> None:
    """Write the .pyc files of the package where permitted: without them a link takes four times as long to start."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.access(package, os.W_OK):
        compileall.compile_dir(package, quiet=2)
