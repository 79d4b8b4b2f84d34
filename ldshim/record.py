"""Render what was decided and why, for the log line, `ldshim explain`, its --json and LDSHIM_EXPLAIN.

The keys are an interface (design §5): new keys may be added, and none changes its meaning. Paths and arguments are bytes. In JSON they are
Python's surrogateescape strings, from which every byte can be restored.
"""

from __future__ import annotations

import os
import time

from .call import clock, logfile, processes
from .call.logfile import VERSION
from .call.real_tool import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .analysis import Analysis
    from .call.real_tool import Call
    from .decide.budget import Decision
    from .decide.rewrite import Edits
    from .warden.grant import Grant
    from .warden.history import History

log = logfile.append


def record(call: Call, analysis: Analysis, grant: Grant, edits: Edits, event: str = "") -> dict[str, object]:
    """Return the facts of one call. event: "handover" for the log, "" for explain, which has no time, pid and cwd."""
    out: dict[str, object] = {}
    if event:
        out.update(event=event, version=VERSION, time=round(time.time(), 3), pid=os.getpid(), cwd=_cwd())
    decision, source = analysis.decision, analysis.source
    out.update(
        tool=os.fsdecode(call.real),
        family=analysis.family,
        lto=decision.lto,
        asked=_asked(analysis),
        demand=decision.mode.demand if decision.mode is not None else 1,
        granted=grant.number or 1,
        source=decision.source,
        policy=grant.policy,
        pool=source.lease.pool if source is not None else "",
        pool_size=source.client.jobs if source is not None and source.client is not None else 0,
        queued=round(analysis.queued, 3),
        reason=_reason(decision, grant),
        argv=[os.fsdecode(argument) for argument in call.argv(edits.apply(call.args))],
        env={os.fsdecode(name): None if value is None else os.fsdecode(value) for name, value in _variables(call, edits).items()},
    )
    return out


def _reason(decision: Decision, grant: Grant) -> str:
    return decision.reason + (f"; not confined: {grant.reason}" if grant.reason else "")


def _asked(analysis: Analysis) -> int | str:
    """Return what the caller, or else the objects, asked for: a number, GCC's auto or jobserver, or "default" for none."""
    mode, command, found = analysis.decision.mode, analysis.command, analysis.found
    if mode is None or command is None:
        return "default"
    if mode.asked or mode.lto != "gcc":
        return mode.asked or "default"
    given = [flto.value for flto in command.gcc_facts.flto if flto.value is not None]
    recorded = [option[6:] for option in found.recorded if option.startswith(b"-flto=")] if found is not None else []
    for value in (b"auto", b"jobserver", b"1"):
        if value in (given[-1:] or recorded):
            return 1 if value == b"1" else value.decode()
    return "default"


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # the current directory was removed


def _variables(call: Call, edits: Edits) -> dict[bytes, bytes | None]:
    return {**edits.variables, **({b"PATH": call.path} if call.path is not None else {})}


def epilogue(path: bytes, link: int) -> Callable[[History, float], None]:
    """Return a function that logs the end of a link. The warden calls it after it has returned every token, with its own CPU time.

    path: of the log; link: pid of the process that execs the tool.
    """

    def over(history: History, cpu: float) -> None:
        entry: dict[str, object] = {"event": "end", "version": VERSION, "time": round(time.time(), 3), "pid": link, "peak": history.peak}
        entry.update(wall=round(history.wall(clock.now()), 3), steps=history.steps, waited=round(history.waited, 3), cpu=round(cpu, 3))
        if history.failed:
            entry["reason"] = history.failed
        log(path, entry)

    return over


def lines(call: Call, analysis: Analysis, grant: Grant, edits: Edits, *, confirm: bool = False) -> list[str]:
    """Explain one call for people, as lines of text; see `rows`."""
    return [f"{label:<10}{text}" for label, text in rows(call, analysis, grant, edits, confirm=confirm)]


_ORIGINS = {
    "pin": "from LDSHIM_JOBS",
    "jobserver": "from the jobserver",
    "recovered": "from the jobserver that make withheld",
    "slots": "from the slots of this machine",
    "none": "of its own: nothing is reserved",
}


def rows(call: Call, analysis: Analysis, grant: Grant, edits: Edits, *, confirm: bool = False) -> list[tuple[str, str]]:
    """Explain one call for people: (label, text) for each row.

    confirm: also give pyelftools' result for the first object with IR. Only for `ldshim explain`, because the import takes 32 ms.
    """
    facts = record(call, analysis, grant, edits)
    tool, found, source = analysis.tool, analysis.found, analysis.source
    banner = f" ({show(tool.banner)})" if tool is not None and tool.banner else ""
    out = [("tool", show(call.real))]
    if call.prefix:
        out.append(("prefix", call.prefix))
    if tool is not None:  # else the call passes through without analysis
        out.append(("family", f"{facts['family'] or 'not certain'}{banner}"))
        out.append(("lto", f"{facts['lto']}, at most {facts['demand']} at once"))
        out.extend(("passed", reason) for reason in (source.reasons if source is not None else ()))
        out.append(("granted", f"{facts['granted']}, {_ORIGINS.get(str(facts['source']), '')}"))
    if analysis.promise is not None:
        out.append(("memory", analysis.promise.footprint.described()))
    out.append(("reason", str(facts["reason"])))
    if not processes.is_ours():
        out.append(("proc", f"{processes.FOREIGN}: no link grows or shrinks, no jobserver is recovered, no caller is known to have paid"))
    if found is not None:
        out.extend(("input", reason) for reason in found.reasons)
    if confirm:
        out.extend(("confirm", opinion) for opinion in _second_opinion(analysis))
    out.append(("before", _line(call.args)))
    after = edits.apply(call.args)
    out.append(("after", "the same" if after == call.args else _line(after)))
    for name, value in _variables(call, edits).items():
        if not name.startswith(b"_"):
            out.append(("env", f"{show(name)} " + ("dropped" if value is None else f"= {show(value)}")))
    return out


def _second_opinion(analysis: Analysis) -> list[str]:
    """Return pyelftools' result for the first operand that is an ELF object with IR: one line, or none without such an operand."""
    found, command = analysis.found, analysis.command
    if found is None or command is None or not found.gcc_slim + found.gcc_fat + found.fat_thin + found.fat_full:
        return []
    from .inputs import elf, scan  # noqa: PLC0415  only for `ldshim explain`

    for item in command.facts.inputs:
        one = scan.scan([item], want_libraries=False)
        if one.gcc_slim + one.gcc_fat + one.fat_thin + one.fat_full and _starts_with(item.name, elf.MAGIC):
            return [f"{show(item.name)}: {elf.confirm(item.name)}"]
    return []


def _starts_with(path: bytes, magic: bytes) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(len(magic)) == magic
    except OSError:
        return False


def _line(args: list[bytes]) -> str:
    return " ".join(shown(argument) for argument in args)


def shown(argument: bytes) -> str:
    """Return one argument for people: an empty one as quotes."""
    return show(argument) or "''"
