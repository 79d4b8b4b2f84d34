"""The story of one call, top to bottom.

Find the tool we stand in for; let probes and compiles through at once; find out what the call is and what it is to get (analysis.py);
reserve that, and leave a warden behind that holds it; write the number into the arguments; exec the tool.

Whatever fails on the way, the tool runs with its original arguments and environment, and one line on stderr says what failed.
"""

from __future__ import annotations

import os
import sys

from .call import processes, real_tool
from .call.environment import read_environment, read_settings, slurp
from .warden import handover

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import NoReturn

    from .analysis import Analysis
    from .call.environment import Environment, Settings
    from .call.real_tool import Call
    from .decide.rewrite import Edits
    from .warden.grant import Grant
else:
    import _signal  # the signal module proper builds enums: 4 ms

OWN_NAMES = frozenset((real_tool.OWN_NAME, b"__main__.py"))
COMMANDS = frozenset((b"explain", b"doctor", b"link-farm", b"pool", b"report", b"verify"))
_reported: list[Exception] = []


def prefix_form(args: list[bytes], environment: Environment) -> NoReturn:
    """Run as `ldshim TOOL ARGS…`."""
    while len(args) > 1 and real_tool.program_name(args[0]) == real_tool.OWN_NAME:
        args = args[1:]  # `ldshim ldshim gcc`: a launcher in front of a CC that names us, too
    run(os.path.basename(args[0]), args[1:], environment, args[0] if b"/" in args[0] else b"")


def run_baked(name: bytes, real: bytes) -> NoReturn:
    """Run as a launcher of a link farm, which knows the tool's name, and where it was when the farm was made."""
    default_interrupt()
    argv, environment = gather(name, real)
    run(name, argv[1:], environment, baked=real, own_argv0=argv[0])


def gather(name: bytes = b"", known: bytes = b"") -> tuple[list[bytes], Environment]:
    """Return argv and environment; should that fail, run the tool with what Python has of them (C1)."""
    try:
        return command_line(), read_environment()
    except Exception as error:
        argv = [os.fsencode(argument) for argument in sys.argv]
        if not name and os.path.basename(argv[0]) in OWN_NAMES:
            argv = argv[1:]
            known = argv[0] if argv and b"/" in argv[0] else b""
        if not argv or argv[0] in COMMANDS or argv[0].startswith(b"-"):
            raise  # a command of ours: nobody's build
        run_unchanged(name or os.path.basename(argv[0]), argv[1:], known, error)


def run_unchanged(name: bytes, args: list[bytes], known: bytes, error: Exception) -> NoReturn:
    """Print what failed, and exec the tool with its original arguments."""
    report(name, error)
    from . import fallback  # noqa: PLC0415  never needed, one hopes

    fallback.run(name, args, known)


def default_interrupt() -> None:
    """Let ^C end us, until exec, as it would end the bare tool: without a traceback."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def command_line() -> list[bytes]:
    """Return our argv as the kernel holds it: what Python decoded need not encode back in every locale."""
    try:
        words = slurp(b"/proc/self/cmdline").split(b"\0")[:-1]
    except OSError:
        words = []
    # In front stand the interpreter and its options.
    return words[-len(sys.argv) :] if len(words) >= len(sys.argv) else [os.fsencode(word) for word in sys.argv]


def run(
    name: bytes, args: list[bytes], environment: Environment, tool: bytes = b"", baked: bytes = b"", own_argv0: bytes = b""
) -> NoReturn:
    """Stand in for one call and never return.

    tool: the path that the prefix form gave, b"" for a name; baked: the path in a launcher; own_argv0: of ldshim under a tool's name.
    """
    try:
        stand_in(name, args, environment, tool, baked, own_argv0)
    except Exception as error:  # C1: a failure of ours must not become the build's
        run_unchanged(name, args, tool or baked, error)


def stand_in(name: bytes, args: list[bytes], environment: Environment, tool: bytes, baked: bytes, own_argv0: bytes) -> NoReturn:
    """Do what run does, as long as nothing fails that must not."""
    try:
        call = real_tool.stand_in(name, args, environment, tool, baked, own_argv0)
        below = marked(call, environment)
    except real_tool.UnfoundError as error:
        say(str(error))
        os._exit(error.status)
    grant: Grant | None = None
    args, variables = call.args, below
    try:
        for line in call.complaints:
            say(line)
        settings = read_settings(environment)
        if not call.kind:
            call, args, below = behind_prefix(call, environment, below, settings)
            variables = below
        # A launcher has asked plain_link.py already.
        if not why_not(call, environment, settings) and (baked or not is_certainly_plain(call, environment)):
            for line in settings.complaints:
                say(line)
            from .analysis import analyse  # noqa: PLC0415  compiles and probes stop above

            analysis = analyse(call, environment, settings, promise_memory=True)
            grant = reserve(analysis, environment, settings)
            edits = edits_of(analysis, grant, environment)
            args, variables = edits.apply(call.args), below.changed(edits.variables)
            tell(call, settings, analysis, grant, edits)
    except Exception as error:  # C1
        report(name, error)
        if grant is not None:
            grant.inherited.undo()
        grant, args, variables = None, call.args, below
    try:
        execute(call, args, variables, environment, grant)
    except Exception:
        if grant is not None:
            grant.inherited.undo()
        raise


def marked(call: Call, environment: Environment) -> Environment:
    """Return the environment for the tool: without directories of ours in PATH, with the markers against loops. Raises UnfoundError."""
    edits: dict[bytes, bytes | None] = {
        real_tool.VIA: real_tool.via(call, environment, processes.own_stamp()),
        real_tool.DEPTH: real_tool.depth(call, environment),
    }
    return environment.changed(edits if call.path is None else {**edits, b"PATH": call.path})


def behind_prefix(call: Call, environment: Environment, below: Environment, settings: Settings) -> tuple[Call, list[bytes], Environment]:
    """See through `ccache gcc …` and `nice gcc …` (call/prefix.py).

    Return the call to decide on, its arguments and its environment: of the tool behind a compiler cache; of the same call, with ldshim in
    front of the tool, behind other prefix programs; otherwise what came.
    """
    from .call import prefix  # noqa: PLC0415  only what is no tool by its name gets here

    found = prefix.look(call.name, call.args)
    if isinstance(found, str):
        note, args = f"reason    {found}: passed through", call.args
    else:
        tool = real_tool.Call(real_tool.program_name(call.args[found.at]), call.args[found.at + 1 :])
        if why_not(tool, environment, settings):
            return call, call.args, below
        if found.insert < 0:
            try:
                tool = prefix.through(call, found, below)
            except real_tool.UnfoundError:
                return call, call.args, below  # it is for the cache to say so
            return tool, tool.args, below if tool.path is None else below.changed({b"PATH": tool.path})
        args = prefix.with_ldshim(call.args, found)
        note = f"prefix    {prefix.runs_ldshim(call, found)}" if args else f"reason    {prefix.NO_COMMAND}: passed through"
    if settings.explain and not settings.disable:
        say(f"ldshim: {note}")
    return call, args or call.args, below


def reserve(analysis: Analysis, environment: Environment, settings: Settings) -> Grant:
    """Take what was decided, if anything was."""
    from .reserve.lease import Lease  # noqa: PLC0415  as above
    from .warden import grant  # noqa: PLC0415  as above

    decision, source, epilogue = analysis.decision, analysis.source, None
    lease = source.lease if source is not None else Lease()
    if analysis.promise is not None and (decision.policy != "none" or analysis.promise.is_large):
        from .reserve.memory_ledger import GuardedLease  # noqa: PLC0415  whoever has a promise has imported it

        if decision.policy == "none":
            lease = GuardedLease(Lease(), analysis.promise, follows=False)  # nothing is taken, but the promise is held
        else:
            lease = GuardedLease(lease, analysis.promise, follows=decision.policy != "confine")
    if settings.log and decision.policy != "none":
        from . import record  # noqa: PLC0415  json costs 6 ms

        epilogue = record.epilogue(settings.log, os.getpid())
    callers_fds = source.callers_fds if source is not None else ()
    return grant.reserve(decision, lease, callers_fds, environment, analysis.gcc_major, epilogue)


def edits_of(analysis: Analysis, grant: Grant, environment: Environment) -> Edits:
    """Return the edits that pass what was granted to the tool."""
    from .decide import rewrite  # noqa: PLC0415  as above

    decision, command = analysis.decision, analysis.command
    if not decision.number or not grant.told or command is None:
        return rewrite.Edits()
    edits = rewrite.edits_for(command, decision, grant.told, grant.auth, environment, grant.variables)
    if decision.make is not None and not decision.make.client and analysis.found is not None:
        from .decide import fixed_number  # noqa: PLC0415  nearly every make shares a jobserver

        gcc = fixed_number.Gcc(command.gcc_facts, analysis.found, analysis.gcc_major, os.sysconf("SC_NPROCESSORS_ONLN"))
        fixed_number.pass_number(edits, gcc, grant.told, grant.auth, decision.make.argv, environment)
    return edits


def tell(call: Call, settings: Settings, analysis: Analysis, grant: Grant, edits: Edits) -> None:
    """Log and explain, where that was asked for; never in the way of the link."""
    if settings.log or settings.explain:
        from . import record  # noqa: PLC0415  as above

        if settings.log:
            record.log(settings.log, record.record(call, analysis, grant, edits, "handover"))
        if settings.explain:
            for line in record.lines(call, analysis, grant, edits):
                say("ldshim: " + line)


def why_not(call: Call, environment: Environment, settings: Settings) -> str:
    """Say why this call is passed on unread, "" when it may be a link that we know how to help; compiles and probes are not (C5)."""
    if settings.disable:
        return "LDSHIM_DISABLE=1"
    if not call.kind:
        from .call import prefix  # noqa: PLC0415  only a name of no tool

        return prefix.why_passed(call) or "a name of no tool that ldshim knows"
    from .command import probes  # noqa: PLC0415

    is_driver = call.kind == "driver"
    asked = probes.driver(call.args) if is_driver else probes.linker(call.args)
    if asked:
        return asked
    if handover.is_nested(environment):
        return "a link below one that has its number"
    maker = probes.configure(call.args, processes.current_directory(), is_driver=is_driver)
    return f"a configure probe, {maker}'s" if maker else ""


def is_certainly_plain(call: Call, environment: Environment) -> bool:
    """Tell whether this is certainly a link in which nothing is to be decided: 16 modules fewer, 4 ms."""
    from . import plain_link  # noqa: PLC0415
    from .call import tool_family  # noqa: PLC0415

    family = tool_family.cached_family(call.real, environment)
    if (call.kind == "driver") != (family in ("gcc", "clang")):
        return False
    try:
        return plain_link.is_plain(family, call.args, [b"%b=%b" % pair for pair in environment.pairs])
    except OSError:  # every doubt goes to analysis.py: an argument too long for a file name, one below a file, a socket
        return False


def execute(call: Call, args: list[bytes], environment: Environment, original: Environment, grant: Grant | None) -> NoReturn:
    """Exec the tool; where our edits are what makes that fail (E2BIG), exec it unedited. original: the environment of the call."""
    try:
        if grant is not None:
            grant.inherited.before_exec()
        handover.replace_process(call.program, call.argv(args), environment)
    except (OSError, ValueError) as error:
        failure = error
    try:
        if grant is not None:
            grant.inherited.undo()
        handover.replace_process(call.program, call.argv(call.args), original)
    except (OSError, ValueError) as error:
        failure = error
    reason = failure.strerror if isinstance(failure, OSError) else str(failure)
    say(f"ldshim: {real_tool.show(call.name)}: real tool cannot be executed: {real_tool.show(call.program)}: {reason}")
    os._exit(127 if isinstance(failure, FileNotFoundError) else 126)


def report(name: bytes, error: Exception) -> None:
    """Say what failed, once: the same failure can occur again on the way out."""
    if not _reported:
        _reported.append(error)
        say(complaint(name, error))


def complaint(name: bytes, error: Exception) -> str:
    """Describe a failure of ours in one line: where it was raised, and what it is."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace is not None else "?"
    text = " ".join(str(error).split())
    return f"ldshim: {real_tool.show(name)}: internal error, the tool runs unchanged: {type(error).__name__} at {where}: {text}"


def say(line: str) -> None:
    """Write one line to stderr, or nowhere when that is closed; never to stdout."""
    try:
        os.write(2, line.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass
