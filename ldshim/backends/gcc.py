"""GCC's LTRANS jobs, out of the makefile that lto-wrapper writes for `$MAKE -f FILE -jN all` (GCC 11 to 16).

Each target is one partition. Its recipe is one call of the driver, argv[0] unquoted, every other word in single quotes, written as it is
(lto-wrapper.cc):

    /tmp/ccX.ltrans0.ltrans.o:
            @gcc-12  '-xlto' '-c' … '-fltrans' '-o' '/tmp/ccX.ltrans0.ltrans.o' '/tmp/ccX.ltrans0.o'
            @-touch -r IN IN.tem > /dev/null 2>&1 && mv IN.tem IN           (GCC 11, 12.2: what empties IN)

and in its place `'-truncate' 'IN'` at the end of the call from GCC 13 on. IN is the only input. Emptied, it cannot be compiled a second
time, so the emptying is done here, once the job has succeeded.

Whatever is not exactly that (a word with a quote or a `$` in it, another recipe) goes to the caller's own make, and so does the makefile
once a job has failed: make starts what has no output yet and nothing else, and says in its own words what is wrong.
"""

from __future__ import annotations

import os
import sys

from ..call.environment import read_environment
from . import feeder, watched
from .job import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from ..call.environment import Environment

_MAKE = b"_LDSHIM_MAKE"  # as decide/rewrite.py sets it
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-")
# What writes files beside the output, or says something about this machine: such a job runs here.
_STAYS = tuple(b"""
    -save-temps -fdump -fprofile -fopt-info -fstack-usage -fcallgraph-info -gsplit-dwarf -ftime- -time -fplugin -wrapper -specs -v -Q
    -fmem-report @ -march=native -mtune=native -mcpu=native
""".split())  # fmt: skip


class Partition:
    """One LTRANS job. empties: how its input is emptied once it is done: "touch", "truncate", or "" where it stays."""

    __slots__ = ("empties", "job")

    def __init__(self, job: Job, empties: str) -> None:
        self.job = job
        self.empties = empties


def run(args: Sequence[bytes]) -> NoReturn:
    """Run lto-wrapper's makefile and exit, or exec the caller's make. args: behind $MAKE."""
    environment = read_environment()
    makefile = _makefile(args)
    partitions = _read(makefile) if makefile else None
    if partitions is not None:
        jobs = [each.job for each in partitions]
        outcome = feeder.carry_out(jobs, environment.changed({b"MAKE": environment.get(_MAKE) or None, _MAKE: None}), retries=True)
        if outcome.number or outcome.link_died:
            os._exit(outcome.end())
        for each, done in zip(partitions, outcome.done):
            if done:
                empty(each)
            else:
                _remove(each.job.outputs)  # half an object is up to date to make
        if all(outcome.done):
            sys.stdout.flush()
            os._exit(0)
    _become_make(args, environment)


def _makefile(args: Sequence[bytes]) -> bytes:
    """Return the makefile of a call that is lto-wrapper's, b"" for any other."""
    if len(args) < 3 or args[0] != b"-f" or args[-1] != b"all":
        return b""
    return args[1] if all(word.startswith(b"-j") and (word[2:] or b"1").isdigit() for word in args[2:-1]) else b""


def _read(makefile: bytes) -> list[Partition] | None:
    try:
        with open(makefile, "rb") as stream:
            return parse(stream.read(), os.getcwdb())
    except OSError:
        return None


def parse(text: bytes, cwd: bytes) -> list[Partition] | None:
    """Read a makefile of lto-wrapper's: its partitions; None for anything else. Pure."""
    if b"\n.PHONY: all\nall:" not in text or b"$" in text or b"#" in text:
        return None
    rules, _, needed = text.partition(b"\n.PHONY: all\nall:")
    found: list[Partition] = []
    target = b""
    for line in rules.split(b"\n"):
        if line.startswith(b"\t@-touch"):
            if not found or not _touches(line, found[-1]):
                return None
            found[-1].empties = "touch"
        elif line.startswith(b"\t@"):
            partition = _partition(line[2:], cwd)
            if partition is None or not target or partition.job.outputs != [target]:
                return None
            found.append(partition)
            target = b""
        elif line.endswith(b":") and not line.startswith(b"\t"):
            target = line[:-1]
        else:
            return None
    # What is needed stands in GCC's own order, the largest partition first.
    wanted = sorted(needed.replace(b"\\\n", b" ").split())
    return found if found and wanted == sorted(each.job.outputs[0] for each in found) else None


def _partition(call: bytes, cwd: bytes) -> Partition | None:
    program, blank, rest = call.partition(b" ")
    pieces = rest.strip(b" ").split(b"'")
    # Quotes split the words from the blanks between them: an even number of quotes, single blanks at every even place.
    if not blank or not program or set(program) - _PLAIN or len(pieces) % 2 == 0 or pieces[0] or pieces[-1]:
        return None
    if any(gap.strip(b" ") or not gap for gap in pieces[2:-1:2]):
        return None
    argv = [program, *pieces[1::2]]
    empties = ""
    if b"-truncate" in argv[:-1]:
        at = argv.index(b"-truncate")
        if at != len(argv) - 2 or argv[-1] != argv[at - 1]:
            return None
        argv, empties = argv[:at], "truncate"
    if b"-fltrans" not in argv or argv[-3:-2] != [b"-o"] or any(b"\n" in word for word in argv):
        return None
    stays = any(word.startswith(_STAYS) for word in argv[1:])
    return Partition(Job(argv, cwd, [argv[-1]], [argv[-2]], remote=not stays, name=_name(argv[-2])), empties)


def _name(output: bytes) -> str:
    """Shorten `/tmp/ccX.ltrans12.ltrans.o` to what tells it from the others."""
    parts = os.path.basename(output).split(b".")
    return os.fsdecode(next((part for part in parts if part.startswith(b"ltrans")), parts[0]))


def _touches(line: bytes, partition: Partition) -> bool:
    path = partition.job.inputs[0]
    return line == b"\t@-touch -r %b %b.tem > /dev/null 2>&1 && mv %b.tem %b" % (path, path, path, path)


def empty(partition: Partition) -> None:
    """Empty the input of a job that is done, as lto-wrapper asks for; it costs space, so a failure is none."""
    path = partition.job.inputs[0]
    try:
        if partition.empties:
            times = os.stat(path)
            os.truncate(path, 0)
            if partition.empties == "touch":
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    except OSError:
        pass


def _remove(paths: Sequence[bytes]) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except OSError:
            continue


def _become_make(args: Sequence[bytes], environment: Environment) -> NoReturn:
    """Exec the caller's make with the call as it came. Raises OSError where it cannot be executed."""
    from ..command import rspfile  # noqa: PLC0415

    watched.restore_defaults()
    make = environment.get(_MAKE)
    words = rspfile.split(make, "gnu-old") or [b"make"]
    changed = environment.changed({b"MAKE": make or None, _MAKE: None})
    os.execvpe(words[0], [*words, *args], dict(zip(changed.keys(), changed.values())))
