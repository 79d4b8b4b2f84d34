"""Decide whether the backends of one link run as processes of ldshim, and find what that needs.

Only what is known to give the same bytes is handed out (decide/distributable.py, C28); everything else stays in the tool's own process, and
the reason names the argument. analysis.py asks when LDSHIM_BACKENDS or LDSHIM_REMOTE is set, and never otherwise (C33).
"""

from __future__ import annotations

import os
import sys

from ..call import partner, tool_family
from ..call.real_tool import is_ldshim, own_stat
from ..command import lld, read
from ..command.argv import Arguments
from ..decide import distributable
from ..inputs import scan
from ..inputs.extent import read_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.banner import Tool
    from ..call.environment import Environment
    from ..call.lto_make import Make
    from ..call.real_tool import Call
    from ..command.read import Command
    from ..decide.distributable import Spread
    from ..decide.mode import Mode

_KEEPS_PYTHON_FROM_STARTING = (b"LD_LIBRARY_PATH", b"LD_PRELOAD", b"LD_AUDIT")


def choose(
    call: Call, tool: Tool, linker: Tool, command: Command, decided: Mode, make: Make | None, environment: Environment
) -> tuple[Spread | None, str]:
    """Return how the backends become processes, None where the tool runs them, and a clause for the reason.

    tool: of the call; linker: the linker that runs in the end, or the driver that runs it; make: of a GCC link.
    """
    barred = [name.decode() for name in _KEEPS_PYTHON_FROM_STARTING if name in environment]
    if barred:  # the tool starts our interpreter with them, and a distributor that does not start fails the link
        return None, f"; backends in process: {barred[0]} could keep the interpreter from starting"
    if not sys.executable:
        return None, "; backends in process: the interpreter does not know its own path"
    # A remote service needs packages beside ours, which -S would hide.
    python = [os.fsencode(sys.executable), b"-I" if environment.get(b"LDSHIM_REMOTE") else b"-IS"]
    place = os.path.dirname(os.path.abspath(os.fsencode(__file__)))
    if decided.lto == "gcc":
        if make is None or not make.client:
            return None, "; LTRANS jobs stay with make, which can share no jobserver"
        return distributable.Spread(python, place), "; LTRANS jobs run as processes of ldshim"
    if decided.lto != "thin" or linker.family != "lld":
        return None, "; backends in process: only lld and GCC hand them out"
    found = _arguments_of_linker(call, tool, command, environment)
    if isinstance(found, str):
        return None, f"; backends in process: {found}"
    path, arguments = found
    facts = lld.facts(arguments)
    inputs = scan.scan(facts.inputs, facts.library_dirs, facts.sysroot, measured=True)
    verdict = distributable.judge(arguments, linker.major, command.facts.pending, inputs)
    if verdict.reason:
        return None, f"; backends in process: {verdict.reason}"
    compiler, why = partner.find(path, linker, environment)
    if why:
        return None, f"; backends in process: {why}"
    return distributable.Spread(python, place, compiler, verdict.mends), f"; backends run as processes of {os.fsdecode(compiler)}"


def _arguments_of_linker(call: Call, tool: Tool, command: Command, environment: Environment) -> tuple[bytes, Arguments] | str:
    """Return the path of lld and the arguments that it reads, those of a driver included, or why they are not known."""
    if tool.family == "lld":
        return call.real, read.expanded(tool, call.args, read_regular)
    if tool.family != "clang" or command.facts.unread:
        return "the arguments that the driver passes to the linker are not known"
    argv = tool_family.linker_line(call.real, call.args, environment, call.path)
    if not argv or is_ldshim(argv[0], own_stat()):
        return "the driver does not say which linker it would run"
    return argv[0], Arguments.plain(argv[1:])
