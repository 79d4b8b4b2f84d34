"""`ldshim doctor`: show what a link would find here, and what keeps links from getting their threads.

ldshim writes nothing by default (C3), so a build does not show that its links bypass it. This command examines everything that a link
examines. In a recipe it sees the jobserver of that recipe. It is read-only: it takes no token and no lock, and writes no file except the
cache of banners. Each tool is run with `--version`, which takes 5 s for one that does not answer.

Exit status: 0 when links get their threads; 2 for a wrong command line; 1 when something needs attention. Each such problem is printed with
an action. The problems are:
    no name on PATH leads to ldshim, or a tool precedes it on PATH, or a file that a launcher names is gone
    LDSHIM_REMOTE is set, and no service answers there
    LDSHIM_DISABLE=1 is set, or a variable of ours has a malformed value
    a jobserver is named but cannot be used, and none can be recovered
    there is no jobserver, and no directory for slots
    compiled files (.pyc) are missing and cannot be written; no make for GCC to run its partitions; the kernel lacks a feature

--json prints one object. Keys may be added; their meaning does not change:
    ready        whether the exit status is 0
    attention    [{about: [names], problem, action}]: what needs attention
    next         what an LTO link that can use any number of threads would get now: threads (null: it runs unchanged), most (null: no
                 ceiling is known), source (as in the log), reason
    tools        [{name, way, first, through, real, resolved, family, version: [numbers], banner, note, problem, action}]: way is one of
                 ldshim, masquerade, behind, direct, absent (names.py); first: the file that PATH leads to; through: link farm, symlink or
                 copy; real: the real tool, symlinks unresolved; note: why its calls run unchanged; version: [] when unknown
    jobservers   [{from, named, usable, jobserver, tokens, jobs, reason}], in the order in which they are tried; from: the variable, or
                 recovery; tokens: in it now; jobs: N of make's -jN, 0 when unknown; reason: why it is not usable
    cpus         affinity, quota (CPUs, null: none), counted, reason
    memory       available, cgroup_limit (null: none), promised: bytes; promised: to other links, and not used by them yet; waiting:
                 [{link, command, wants: bytes, seconds}]: links that wait for memory, in their order; pressure: percent of the last ten
                 seconds in which something here waited for memory (null: the kernel does not say)
    slots        directory, reason (why there is none), count, held, waiting (links), links: [{warden, link, command, slots: [numbers],
                 shares, waits}]: every link that runs with a warden; a link that shares no slots holds tokens of a jobserver
    remote       null when LDSHIM_REMOTE is not set; else address (without secrets), jobs (at once), reason (why backends run here; empty
                 when the service answered; a command of `exec:` is looked for and not run)
    settings     variables: {name: value}, complaints: [text]
    installation version, python, python_version, package, compiled: {fresh, stale, missing, writable}, make (can be found)
    kernel       release; whether these work: proc, children (/proc lists a process's), pidfd, flock, sched_setaffinity, descriptors (enough
                 are free), null (/dev/null), clock (it advances as time passes), cwd (the current directory exists)
"""

from __future__ import annotations

import json
import os
import sys

from ...call import descriptors
from ...call.environment import read_settings
from ...call.real_tool import resolved, show
from ...reserve import jobserver, makeflags
from .. import terminal
from . import display, names, surroundings

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ...call.environment import Environment

    Report = dict[str, Any]

_LEADS_TO_LDSHIM = ("ldshim", "masquerade")
FEATURES = {
    "proc": "/proc is missing, and every tool runs unchanged, or it is another PID namespace's: no jobserver can be recovered",
    "children": "the kernel lists no children (CONFIG_PROC_CHILDREN): wardens search all of /proc, which costs more",
    "pidfd": "no pidfd (Linux before 5.3): a warden notices the end of a link late",
    "flock": "the file system of the slots has no flock: without a jobserver links share nothing",
    "sched_setaffinity": "sched_setaffinity is refused: links of lld cannot grow",
    "descriptors": f"{descriptors.SCARCE}: every tool runs unchanged",
    "null": "/dev/null cannot be opened: some compilers need it",
    "clock": "the clock stops or jumps (libfaketime): the times in the log are wrong",
    "cwd": "the current directory was removed: relative paths lead nowhere",
}


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Describe the command line."""
    one = commands.add_parser(
        "doctor",
        help="show what a link would find here: tools, jobserver, CPUs, memory, slots; and what is in the way",
        epilog="Exit status: 0 when links would be helped, 1 when something needs attention, which is named.",
    )
    one.add_argument("--json", action="store_true", help="as one JSON object")


def run(options: argparse.Namespace, call: list[bytes], environment: Environment) -> int:  # noqa: ARG001  one signature for all
    """Examine everything, print the report, and return 0 or 1."""
    with terminal.Progress(environment) as progress:
        report = examine(environment, progress)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        screen = terminal.Screen(sys.stdout, environment)
        screen.write(display.Display(screen).fill(report))
    return 0 if report["ready"] else 1


def examine(environment: Environment, progress: terminal.Progress) -> Report:
    """Examine everything; return the object that --json prints."""
    settings = read_settings(environment)
    report: Report = {"ready": False, "attention": [], "next": {}}
    jobservers = surroundings.jobservers(environment, settings)  # first: see surroundings.py
    progress.say("examining the machine")
    report["tools"] = _tools(environment, progress)
    report["jobservers"] = jobservers
    report["cpus"] = surroundings.processors(settings)
    report["memory"] = surroundings.memory_room(environment)
    report["slots"] = surroundings.slots(environment, report["cpus"]["counted"])
    report["remote"] = surroundings.remote_service(environment, progress)
    report["settings"] = surroundings.settings_in_force(environment, settings)
    report["installation"] = surroundings.installation(environment)
    report["kernel"] = surroundings.kernel(report["slots"]["directory"])
    report["next"] = surroundings.next_link(environment, settings, report)
    report["attention"] = attention(report)
    report["ready"] = not report["attention"]
    return report


def _tools(environment: Environment, progress: terminal.Progress) -> list[Report]:
    out = []
    listed = names.listed(environment)
    for number, name in enumerate(listed, 1):
        progress.say(f"asking {show(name)} what it is", number, len(listed), at_once=True)
        found = names.look(name, environment)
        out.append(
            {
                "name": os.fsdecode(name),
                "way": found.way,
                "first": os.fsdecode(found.first),
                "through": found.through,
                "real": os.fsdecode(found.real),
                "resolved": os.fsdecode(resolved(found.real)) if found.real else "",
                "family": found.tool.family if found.tool is not None else "",
                "version": list(found.tool.numbers) if found.tool is not None else [],
                "banner": show(found.tool.banner) if found.tool is not None else "",
                "note": found.note,
                "problem": found.problem,
                "action": found.action,
            }
        )
    return out


def attention(report: Report) -> list[Report]:
    """List the problems that keep links from getting their threads, the most important first: [{about, problem, action}]."""
    return [*_of_settings(report), *_of_tools(report), *_of_sources(report), *_of_remote(report), *_of_installation(report)]


def _point(about: str, problem: str, action: str) -> Report:
    return {"about": [about], "problem": problem, "action": action}


def _of_settings(report: Report) -> list[Report]:
    out = []
    if report["next"]["threads"] is None and "LDSHIM_DISABLE" in report["settings"]["variables"]:
        out.append(_point("LDSHIM_DISABLE", "ldshim is turned off", "unset LDSHIM_DISABLE"))
    for complaint in report["settings"]["complaints"]:
        about, _, problem = complaint.partition(": ")
        out.append(_point(about, problem, f"correct or unset {about}"))
    return out


def _of_tools(report: Report) -> list[Report]:
    """Group the tools whose problem has the same action: a link farm that is too late on PATH is one problem, not forty."""
    groups: dict[str, Report] = {}
    for tool in report["tools"]:
        if tool["problem"]:
            groups.setdefault(tool["action"], {"about": [], "problem": tool["problem"], "action": tool["action"]})["about"].append(
                tool["name"]
            )
    out = list(groups.values())
    if not any(tool["way"] in (*_LEADS_TO_LDSHIM, "behind") for tool in report["tools"]):
        out.append(
            _point("PATH", "no name on it leads to ldshim", "run ldshim link-farm DIR and put DIR first on PATH, or call ldshim TOOL …")
        )
    return out


def _of_sources(report: Report) -> list[Report]:
    """List what is wrong with the sources of threads; a pin needs none."""
    if report["next"]["source"] == "pin" or any(each["usable"] for each in report["jobservers"]):
        return []
    out = []
    named = [each for each in report["jobservers"] if each["named"] and each["reason"] != jobserver.DRY_RUN]
    if named:
        out.append(_point(named[0]["from"], named[0]["reason"], _for_jobserver(named[0])))
    slots = report["slots"]
    if not slots["directory"]:
        action = "give this user a directory of its own: XDG_RUNTIME_DIR, or /tmp/ldshim-UID with mode 0700"
        out.append(_point("slots", slots["reason"], action))
    return out


def _of_remote(report: Report) -> list[Report]:
    found = report["remote"]
    if found is None or not found["reason"]:
        return []
    return [_point("LDSHIM_REMOTE", f"all backends run here: {found['reason']}", "correct or unset LDSHIM_REMOTE, or start the service")]


def _for_jobserver(candidate: Report) -> str:
    """Return the action for a jobserver that is named and not usable."""
    reason, variable = candidate["reason"], candidate["from"]
    if reason in (jobserver.CLOSED, makeflags.WITHHELD):
        return "mark the recipe with +, or use make 4.4; until then links share slots, at most as many as make's -j"
    if reason == jobserver.REFUSED:
        return "run as the user who runs make"
    return f"unset {variable}, or start this below a make that is running; until then links share slots"


def _of_installation(report: Report) -> list[Report]:
    out = []
    found = report["installation"]
    compiled = found["compiled"]
    if compiled["stale"] + compiled["missing"] and not compiled["writable"]:
        action = f"as its owner: {found['python']} -m compileall {found['package']}"
        out.append(_point("package", "compiled files (.pyc) are missing: links take four times as long to start", action))
    if not found["make"] and any(tool["family"] == "gcc" and tool["way"] in _LEADS_TO_LDSHIM for tool in report["tools"]):
        out.append(_point("make", "not found: GCC compiles its partitions one after the other", "install make, or set MAKE"))
    missing = [problem for feature, problem in FEATURES.items() if not report["kernel"][feature]]
    out.extend(_point("kernel", problem, "provide it in the kernel or the container") for problem in missing)
    return out
