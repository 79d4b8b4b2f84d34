"""`ldshim doctor`: say whether links would be helped here, and what is in the way if not.

A build that runs its links unhelped says nothing, by design (C3). So there is one command that looks at everything a link would look at,
from where the user stands: called in a recipe, it sees that recipe's jobserver. Read-only: no token is taken, no lock, and no file is
written but the cache of banners of versions. Each tool is asked for its version, which takes 5 s where one does not answer.

Exit status: 0 when links would be helped; 2 for a wrong command line; 1 when something needs attention, which is named with what to
do. That is one of:
    no name on PATH leads to ldshim, or a tool stands before it, or what a launcher has baked in is gone
    LDSHIM_DISABLE=1, or a variable of ours that is not understood
    a jobserver is named, but cannot be used, and none can be recovered
    there is no jobserver, and no directory to share slots in
    no compiled files where they cannot be written either; no make for GCC to run its partitions; a feature of the kernel is missing

--json prints one object. Keys may be added, and do not change their meaning:
    ready        whether the exit status is 0
    attention    [{about: [names], problem, action}]: what needs attention
    next         what an LTO link that can use any number of threads would get now: threads (null: it runs unchanged), most (null: no
                 ceiling is known), source (as in the log), reason
    tools        [{name, way, first, through, real, resolved, family, version: [numbers], banner, note, problem, action}]: way is one of
                 ldshim, masquerade, behind, direct, absent (met.py); first: what PATH leads to; through: link farm, symlink or copy; real:
                 the tool that runs in the end, symlinks unresolved; note: why its calls run unchanged; version: [] when unknown
    jobservers   [{from, named, usable, jobserver, tokens, jobs, reason}], in the order they are tried; from: the variable, or recovery;
                 tokens: that lie there now; jobs: N of make's -jN, 0 when unknown; reason: why it is not usable
    cpus         affinity, quota (CPUs, null: none), counted, reason
    memory       available, cgroup_limit (null: none), promised: bytes; promised: to other links, and not used by them yet; waiting:
                 [{link, command, wants: bytes, seconds}]: links that wait for memory, in their order; pressure: percent of the last ten
                 seconds in which something here waited for memory (null: the kernel does not say)
    slots        directory, reason (why there is none), count, held, waiting (links), links: [{warden, link, command, slots: [numbers],
                 shares, waits}]: every link that runs with a warden; those that share no slots hold tokens of a jobserver
    settings     variables: {name: value}, complaints: [text]
    installation version, python, python_version, package, compiled: {fresh, stale, missing, writable}, make (can be found)
    kernel       release; whether these work: proc, children (/proc lists a process's), pidfd, flock, sched_setaffinity, descriptors (enough
                 are free), null (/dev/null), clock (it moves as time passes), cwd (the current directory exists)
"""

from __future__ import annotations

import json
import os
import sys

from ..call import descriptors
from ..call.environment import read_settings
from ..call.real_tool import resolved, show
from ..reserve import jobserver, makeflags
from . import host, met, page, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..call.environment import Environment

    Report = dict[str, Any]

_HELPED = ("ldshim", "masquerade")
FEATURES = {
    "proc": "/proc is missing, and every tool runs unchanged, or it is another PID namespace's: no jobserver can be recovered",
    "children": "the kernel lists no children (CONFIG_PROC_CHILDREN): wardens search all of /proc, which costs more",
    "pidfd": "no pidfd (Linux before 5.3): a link's end is noticed late",
    "flock": "the slots' file system knows no flock: nothing is shared without a jobserver",
    "sched_setaffinity": "sched_setaffinity is refused: links of lld cannot grow",
    "descriptors": f"{descriptors.SCARCE}: every tool runs unchanged",
    "null": "/dev/null cannot be opened: some compilers need it",
    "clock": "the clock stands or jumps (libfaketime): the times in the log are not those of the clock",
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
    """Look, print what was found, and return 0 or 1."""
    with terminal.Progress(environment) as progress:
        report = examine(environment, progress)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        screen = terminal.Screen(sys.stdout, environment)
        screen.write(page.Page(screen).fill(report))
    return 0 if report["ready"] else 1


def examine(environment: Environment, progress: terminal.Progress) -> Report:
    """Look at everything; return the object that --json prints."""
    settings = read_settings(environment)
    report: Report = {"ready": False, "attention": [], "next": {}}
    jobservers = host.jobservers(environment, settings)  # before anything of ours is open
    progress.say("looking at the host")
    report["tools"] = _tools(environment, progress)
    report["jobservers"] = jobservers
    report["cpus"] = host.processors(settings)
    report["memory"] = host.memory_room(environment)
    report["slots"] = host.slots(environment, report["cpus"]["counted"])
    report["settings"] = host.settings_in_force(environment, settings)
    report["installation"] = host.installation(environment)
    report["kernel"] = host.kernel(report["slots"]["directory"])
    report["next"] = host.next_link(environment, settings, report)
    report["attention"] = attention(report)
    report["ready"] = not report["attention"]
    return report


def _tools(environment: Environment, progress: terminal.Progress) -> list[Report]:
    out = []
    names = met.names(environment)
    for number, name in enumerate(names, 1):
        progress.say(f"asking {show(name)} what it is", number, len(names), at_once=True)
        found = met.look(name, environment)
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
    """Name what keeps links from being helped, the most important first: [{about, problem, action}]."""
    return [*_of_settings(report), *_of_tools(report), *_of_sources(report), *_of_installation(report)]


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
    """Put tools with the same thing to do together: a farm that stands too far back is one thing, not forty."""
    groups: dict[str, Report] = {}
    for tool in report["tools"]:
        if tool["problem"]:
            groups.setdefault(tool["action"], {"about": [], **_said(tool)})["about"].append(tool["name"])
    out = list(groups.values())
    if not any(tool["way"] in (*_HELPED, "behind") for tool in report["tools"]):
        out.append(
            _point("PATH", "no name on it leads to ldshim", "run ldshim link-farm DIR and put DIR first on PATH, or call ldshim TOOL …")
        )
    return out


def _said(tool: Report) -> Report:
    return {"problem": tool["problem"], "action": tool["action"]}


def _of_sources(report: Report) -> list[Report]:
    """Say what is wrong with whoever hands out threads; a pin needs nobody."""
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


def _for_jobserver(candidate: Report) -> str:
    """Say what to do about a jobserver that is named and not usable."""
    reason, variable = candidate["reason"], candidate["from"]
    if reason in (jobserver.CLOSED, makeflags.WITHHELD):
        return "mark the recipe with +, or use make 4.4; until then links share slots, at most as many as make's -j"
    if reason == jobserver.REFUSED:
        return "run as the user who runs make"
    return f"unset {variable}, or start this under a make that lives; until then links share slots"


def _of_installation(report: Report) -> list[Report]:
    out = []
    found = report["installation"]
    compiled = found["compiled"]
    if compiled["stale"] + compiled["missing"] and not compiled["writable"]:
        action = f"as its owner: {found['python']} -m compileall {found['package']}"
        out.append(_point("package", "compiled files are missing: links start four times slower", action))
    if not found["make"] and any(tool["family"] == "gcc" and tool["way"] in _HELPED for tool in report["tools"]):
        out.append(_point("make", "not found: GCC compiles its partitions one by one", "install make, or set MAKE"))
    lacking = [problem for feature, problem in FEATURES.items() if not report["kernel"][feature]]
    out.extend(_point("kernel", problem, "give the machine or the container what is missing") for problem in lacking)
    return out
