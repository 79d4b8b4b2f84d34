"""The story of one call, top to bottom.

Find the tool we stand in for; let probes and compiles through at once; learn what the tool is, what the line says and what the inputs
are; decide whether this is an LTO link and how many jobs it could use; find whose threads there are; leave a warden behind that holds
them; write the number in the tool's own words; become the tool.

Whatever fails on the way, the tool runs with its original arguments and environment, and one line on stderr says what failed.
"""

from __future__ import annotations

import gc
import os
import sys

from .call import processes, real_tool
from .call.environment import read_environment, read_settings, slurp
from .warden import handover

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import NoReturn

    from .call.environment import Environment, Settings
    from .call.real_tool import Call
    from .carryout import Outcome
    from .plan import Plan
else:
    import _signal  # the signal module proper builds enums: 4 ms

OWN_NAMES = frozenset((b"ldshim", b"__main__.py"))
_reported: list[Exception] = []
COMMANDS = frozenset((b"explain", b"doctor", b"link-farm", b"pool", b"report"))


def main() -> NoReturn:
    """Run as the console script, under our own name or a tool's."""
    gc.disable()  # nothing that a link does makes garbage in circles, and to look for it costs 1.4 ms (the launchers do it themselves)
    default_interrupt()
    argv, environment = gather()
    name = os.path.basename(argv[0])
    if name not in OWN_NAMES:
        run(name, argv[1:], environment)
    if len(argv) < 2 or argv[1].startswith(b"-") or argv[1] in COMMANDS:
        from .cli import main as cli  # noqa: PLC0415  argparse costs a link 6 ms

        gc.enable()
        sys.exit(cli.main(argv[1:], environment))
    run(os.path.basename(argv[1]), argv[2:], environment, argv[1] if b"/" in argv[1] else b"")


def run_baked(name: bytes, real: bytes) -> NoReturn:
    """Run as a launcher of a link farm, which knows the tool's name, and where it was when the farm was made."""
    default_interrupt()
    argv, environment = gather(name, real)
    run(name, argv[1:], environment, baked=real)


def gather(name: bytes = b"", known: bytes = b"") -> tuple[list[bytes], Environment]:
    """Return argv and environment; should that fail, run the tool with what Python has of them (C1)."""
    try:
        return command_line(), read_environment()
    except Exception as error:
        words = [os.fsencode(word) for word in sys.argv]
        if not name and os.path.basename(words[0]) in OWN_NAMES:
            words = words[1:]
            known = words[0] if words and b"/" in words[0] else b""
        if not words or words[0] in COMMANDS or words[0].startswith(b"-"):
            raise  # a command of ours: nobody's build
        become(name or os.path.basename(words[0]), words[1:], known, error)


def become(name: bytes, args: list[bytes], known: bytes, error: Exception) -> NoReturn:
    """Say what failed, and become the tool all the same."""
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


def run(name: bytes, args: list[bytes], environment: Environment, tool: bytes = b"", baked: bytes = b"") -> NoReturn:
    """Stand in for one call and never return. tool: the path that the prefix form gave, b"" for a name; baked: the path in a launcher."""
    try:
        stand_in(name, args, environment, tool, baked)
    except Exception as error:  # C1: a failure of ours must not become the build's
        become(name, args, tool or baked, error)


def stand_in(name: bytes, args: list[bytes], environment: Environment, tool: bytes, baked: bytes) -> NoReturn:
    """Do what run does, as long as nothing fails that must not."""
    try:
        call = real_tool.stand_in(name, args, environment, tool, baked)
        edits: dict[bytes, bytes | None] = {
            real_tool.VIA: real_tool.via(call, environment, processes.own_stamp()),
            real_tool.DEPTH: real_tool.depth(call, environment),
        }
    except real_tool.UnfoundError as error:
        say(str(error))
        os._exit(error.status)
    if call.path is not None:
        edits[b"PATH"] = call.path
    below = environment.changed(edits)
    outcome: Outcome | None = None
    try:
        for line in call.complaints:
            say(line)
        settings = read_settings(environment)
        # A launcher has asked plain_link.py already.
        if not why_not(call, environment, settings) and (baked or not is_certainly_plain(call, environment)):
            for line in settings.complaints:
                say(line)
            from . import carryout, plan  # noqa: PLC0415  compiles and probes stop above

            outcome = carryout.Outcome(args, below)
            understood = plan.make(call, environment, settings, brief=not (settings.log or settings.explain))
            carryout.carry_out(understood, outcome)
            tell(understood, outcome)
    except Exception as error:  # C1
        report(name, error)
        if outcome is not None:
            outcome.undo()
        outcome = None
    execute(call, below, environment, outcome)


def tell(plan: Plan, outcome: Outcome) -> None:
    """Log and explain, where that was asked for; never in the way of the link."""
    if plan.settings.log or plan.settings.explain:
        from . import record  # noqa: PLC0415  json costs 6 ms

        if plan.settings.log:
            record.log(plan.settings.log, record.record(plan, outcome, "handover"))
        if plan.settings.explain:
            for line in record.lines(plan, outcome):
                say("ldshim: " + line)


def why_not(call: Call, environment: Environment, settings: Settings) -> str:
    """Say why this call is passed on unread, "" when it may be a link that we know how to help; compiles and probes are not (C5)."""
    if settings.disable:
        return "LDSHIM_DISABLE=1"
    if not call.kind:
        return "a name of no tool that ldshim knows"
    from .command import probes  # noqa: PLC0415

    is_driver = call.kind == "driver"
    asked = probes.driver(call.args) if is_driver else probes.linker(call.args)
    if asked:
        return asked
    if handover.is_nested(environment):
        return "a link below one that has its number"
    maker = probes.configure(call.args, current_directory(), is_driver=is_driver)
    return f"a configure probe, {maker}'s" if maker else ""


def current_directory() -> bytes:
    """Return it, b"" when it has been removed."""
    try:
        return os.getcwdb()
    except OSError:
        return b""


def is_certainly_plain(call: Call, environment: Environment) -> bool:
    """Tell whether this is certainly a link in which nothing is to be decided: 16 modules fewer, 4 ms where no farm has bundled them."""
    from . import plain_link  # noqa: PLC0415
    from .call import tool_family  # noqa: PLC0415

    family = tool_family.kept(call.real, environment)
    if (call.kind == "driver") != (family in ("gcc", "clang")):
        return False
    try:
        return plain_link.is_plain(family, call.args, [b"%b=%b" % pair for pair in environment.pairs])
    except OSError:  # every doubt is for the plan: a word that is too long to name a file, one below a file, a socket
        return False


def execute(call: Call, below: Environment, original: Environment, outcome: Outcome | None = None) -> NoReturn:
    """Become the tool; where our edits are what makes it fail (E2BIG), become it unedited."""
    try:
        if outcome is None:
            handover.replace_process(call.real, [call.argv0, *call.args], below)
        outcome.before_exec()
        handover.replace_process(call.real, [call.argv0, *outcome.args], outcome.environment)
    except (OSError, ValueError) as error:
        failure = error
    except Exception:
        if outcome is not None:
            outcome.undo()
        raise
    try:
        if outcome is not None:
            outcome.undo()
        handover.replace_process(call.real, [call.argv0, *call.args], original)
    except (OSError, ValueError) as error:
        failure = error
    reason = failure.strerror if isinstance(failure, OSError) else str(failure)
    say(f"ldshim: {real_tool.show(call.name)}: real tool cannot be executed: {real_tool.show(call.real)}: {reason}")
    os._exit(127 if isinstance(failure, FileNotFoundError) else 126)


def report(name: bytes, error: Exception) -> None:
    """Say what failed, once: the same mistake may be met again on the way out."""
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
