"""Exec the real tool after ldshim itself has failed, with as little code as possible (C1).

A defect in ldshim must not fail the build, whether it is in the code that reads the environment, finds the tool or execs it. So this module
imports no other module of ldshim. The tool is the known path, or LDSHIM_REAL_<NAME>, or the first file on PATH that is not ldshim. It gets
the arguments and the environment as Python has them.

How it is used: entry calls it after an internal error, before the tool has been execed.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import NoReturn
else:
    import _signal  # the signal module proper builds enums: 4 ms

ASIDE_PREFIX = b"_LDSHIM_ASIDE_"  # as in call/environment.py, which may be what failed
LAST = b"_LDSHIM_LAST"  # pid of a process that has called run before: the second time, the tool that was found is ldshim


def run(name: bytes, args: Sequence[bytes], known: bytes = b"") -> NoReturn:
    """Exec the tool called name. known: its path, b"" where that is not known."""
    environment = dict(os.environb)
    for moved in [variable for variable in environment if variable.startswith(ASIDE_PREFIX)]:
        environment[moved[len(ASIDE_PREFIX) :]] = environment.pop(moved)
    pid = b"%d" % os.getpid()
    if environment.get(LAST) == pid:
        os._exit(111)
    environment[LAST] = pid
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    status = 127
    for real in _candidates(name, known, environment):
        try:
            os.execve(real, [real, *args], environment)
        except OSError as error:
            status = 127 if isinstance(error, FileNotFoundError) else 126
    os._exit(status)


def _candidates(name: bytes, known: bytes, environment: dict[bytes, bytes]) -> list[bytes]:
    variable = b"LDSHIM_REAL_" + bytes(c if 48 <= c <= 57 or 65 <= c <= 90 else 95 for c in name.upper())
    if known or environment.get(variable):
        return [known or environment[variable]]
    own = _resolved(os.fsencode(sys.argv[0]))
    directories = environment.get(b"PATH", b"/bin:/usr/bin").split(b":")
    paths = [os.path.join(directory or b".", name) for directory in directories]
    return [path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK) and _resolved(path) != own and not _is_ldshim(path)]


def _resolved(path: bytes) -> bytes:
    try:
        return os.path.realpath(path)
    except OSError:
        return path  # relative to a current directory that was removed


def _is_ldshim(path: bytes) -> bool:
    """Return whether a file is an ldshim launcher or console script. real_tool.is_ldshim is more exact, but may be what failed."""
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
    except OSError:
        return False
    return head.startswith(b"#!") and b"ldshim" in head
