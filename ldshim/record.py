"""Say what was decided and why, in one set of words: the log line, `ldshim explain`, its --json and LDSHIM_EXPLAIN.

The keys are a promise (design §5): they may grow, never change meaning. Paths and arguments are bytes; in JSON they stand as Python's
surrogateescape strings, so that every byte can be had back.
"""

from __future__ import annotations

import json
import os
import time

from .call.real_tool import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .carryout import Outcome
    from .plan import Plan
    from .warden.history import History


def record(plan: Plan, outcome: Outcome, event: str = "") -> dict[str, object]:
    """Return the facts of one call. event: "handover" for the log, "" for explain, which has no time, pid and cwd."""
    out: dict[str, object] = {}
    if event:
        out.update(event=event, time=round(time.time(), 3), pid=os.getpid(), cwd=_cwd())
    mode, budget = plan.mode, plan.budget
    out.update(
        tool=os.fsdecode(plan.call.real),
        family=plan.family,
        lto=mode.lto if mode is not None else "none",
        asked=_asked(plan),
        demand=mode.demand if mode is not None else 1,
        granted=outcome.granted or 1,
        source=budget.source if budget is not None else "none",
        policy=outcome.policy,
        pool=plan.source.lease.pool if budget is not None and plan.source is not None else "",
        reason=plan.reason,
        argv=[os.fsdecode(word) for word in (plan.call.argv0, *outcome.args)],
        env={os.fsdecode(name): None if value is None else os.fsdecode(value) for name, value in _variables(plan, outcome).items()},
    )
    return out


def _asked(plan: Plan) -> int | str:
    """Return what the caller, or else the objects, asked for: a number, or GCC's words auto and jobserver, or "default" for none."""
    if plan.mode is None or plan.facts is None:
        return "default"
    if plan.mode.asked or plan.mode.lto != "gcc":
        return plan.mode.asked or "default"
    said = [flto.value for flto in (plan.collected or plan.facts).flto if flto.value is not None]
    recorded = [word[6:] for word in plan.found.recorded if word.startswith(b"-flto=")] if plan.found is not None else []
    for word in (b"auto", b"jobserver", b"1"):
        if word in (said[-1:] or recorded):
            return 1 if word == b"1" else word.decode()
    return "default"


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # removed while we stand in it


def _variables(plan: Plan, outcome: Outcome) -> dict[bytes, bytes | None]:
    variables = dict(outcome.edits.variables)
    if plan.call.path is not None:
        variables[b"PATH"] = plan.call.path
    return variables


def log(path: bytes, entry: dict[str, object]) -> None:
    """Append one JSON object as one line in one O_APPEND write; a log that cannot be written costs the link nothing."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, json.dumps(entry).encode("ascii") + b"\n")
        finally:
            os.close(fd)
    except OSError:
        return


def epilogue(plan: Plan) -> Callable[[History, float], None]:
    """Return what the warden calls when the link is over and every token is back: it logs the course of the link, and its own CPU time."""
    link = os.getpid()
    path = plan.settings.log

    def over(history: History, cpu: float) -> None:
        entry: dict[str, object] = {"event": "end", "time": round(time.time(), 3), "pid": link, "peak": history.peak}
        entry.update(wall=round(history.wall(time.monotonic()), 3), steps=history.steps, waited=round(history.waited, 3), cpu=round(cpu, 3))
        log(path, entry)

    return over


def lines(plan: Plan, outcome: Outcome, *, confirm: bool = False) -> list[str]:
    """Explain one call for people, in plain lines; see `rows`."""
    return [f"{label:<10}{text}" for label, text in rows(plan, outcome, confirm=confirm)]


_ORIGINS = {
    "pin": "from LDSHIM_JOBS",
    "jobserver": "from the jobserver",
    "recovered": "from the jobserver that make withheld",
    "slots": "from the host's slots",
    "none": "of its own: nothing is reserved",
}


def rows(plan: Plan, outcome: Outcome, *, confirm: bool = False) -> list[tuple[str, str]]:
    """Explain one call for people: (label, text) each.

    confirm: ask pyelftools, too, about the first object with IR; for `ldshim explain` only, a link has no 32 ms to import it.
    """
    facts = record(plan, outcome)
    tool = plan.tool
    banner = f" ({show(tool.banner)})" if tool is not None and tool.banner else ""
    out = [("tool", show(plan.call.real))]
    if tool is not None:  # else the call is passed on unread
        out.append(("family", f"{plan.family or 'not certain'}{banner}"))
        out.append(("lto", f"{facts['lto']}, at most {facts['demand']} at once"))
        out.extend(("passed", reason) for reason in (plan.source.reasons if plan.source is not None else ()))
        out.append(("granted", f"{facts['granted']}, {_ORIGINS.get(str(facts['source']), '')}"))
    out.append(("reason", plan.reason))
    if plan.found is not None:
        out.extend(("input", reason) for reason in plan.found.reasons)
    if confirm:
        out.extend(("confirm", opinion) for opinion in _second_opinion(plan))
    out.append(("before", _line(plan.call.args)))
    out.append(("after", "the same" if outcome.args == plan.call.args else _line(outcome.args)))
    for name, value in _variables(plan, outcome).items():
        if not name.startswith(b"_"):
            out.append(("env", f"{show(name)} " + ("dropped" if value is None else f"= {show(value)}")))
    return out


def _second_opinion(plan: Plan) -> list[str]:
    """Say what pyelftools sees in the first operand that is an ELF object with IR: one line, or none where there is no such operand."""
    found, facts = plan.found, plan.facts
    if found is None or facts is None or not found.gcc_slim + found.gcc_fat + found.fat_thin + found.fat_full:
        return []
    from .inputs import elf, scan  # noqa: PLC0415  where there was something to scan they are imported already

    for item in facts.inputs:
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


def _line(words: list[bytes]) -> str:
    return " ".join(shown(word) for word in words)


def shown(word: bytes) -> str:
    """Show one word of a command line: an empty one as quotes."""
    return show(word) or "''"
