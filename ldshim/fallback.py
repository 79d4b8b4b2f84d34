"""Run the tool although ldshim itself has failed, with as little as can fail again (C1).

A mistake of ours must not become the build's, wherever it is: in reading the environment, in finding the tool, in handing over. So what is
done here leans on none of those rooms: the path that is known, or pinned, or the first on PATH that is no ldshim; the words and
variables as Python has them; exec.

How it is used: entry calls it with the failure, for a call whose line has not been given to the tool yet.
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

ASIDE_PREFIX = b"_LDSHIM_ASIDE_"  # as call.environment has it
LAST = b"_LDSHIM_LAST"  # pid of a process that has been here: the second time, the tool that was found is ldshim


def run(name: bytes, args: Sequence[bytes], known: bytes = b"") -> NoReturn:
    """Become the tool called name. known: where it is, if anybody has found that out."""
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
    return [path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK) and _resolved(path) != own and not _is_ours(path)]


def _resolved(path: bytes) -> bytes:
    try:
        return os.path.realpath(path)
    except OSError:
        return path  # relative to a current directory that was removed


def _is_ours(path: bytes) -> bool:
    """Tell whether a file is a launcher or a console script of ours; real_tool.py, which says it better, may be what failed."""
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
    except OSError:
        return False
    return head.startswith(b"#!") and b"ldshim" in head
