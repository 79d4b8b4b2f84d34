"""The report of `ldshim doctor` as text for people.

80 columns are enough; in a pipe nothing is cut. A word, not a colour, shows each state. The most important part is last, where the
terminal shows it when the command ends: what a link would get, what needs attention, and a line that sums up.
"""

from __future__ import annotations

from ...decide import memory_estimate
from .. import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Report = dict[str, Any]

_MOST_NAME = 26  # columns: x86_64-linux-gnu-gcc-12 has 23
# way -> the word, its style
_WAYS = {
    "ldshim": ("ldshim", "good"),
    "masquerade": ("ldshim", "good"),
    "behind": ("BEHIND", "bad"),
    "direct": ("direct", "dim"),
    "absent": ("absent", "dim"),
}
_ABOUT = 3  # names of tools in one problem


class Display:
    """One report. screen: of the stream that it is written to."""

    def __init__(self, screen: terminal.Screen) -> None:
        self.screen = screen
        self.lines: list[str] = []

    def fill(self, report: Report) -> list[str]:
        """Return the lines of the whole report."""
        self._tools(report["tools"])
        self._installation(report)
        self._jobservers(report["jobservers"])
        self._machine(report)
        self._next(report["next"])
        self._attention(report["attention"])
        return self.lines

    def head(self, text: str) -> None:
        """Begin a section."""
        if self.lines:
            self.lines.append("")
        self.lines.append(self.screen.paint(text, "head"))

    def row(self, label: str, *parts: tuple[str, str], width: int = 10) -> None:
        """Add a row, on as many lines as it takes: a label, and text in parts of (text, style or "")."""
        words = [(word, style) for text, style in parts for word in terminal.printable(text).split(" ") if word]
        first = f"  {label:<{width}} "
        flowed = self.screen.flow(words, len(first))
        self.lines += [first + flowed[0], *flowed[1:]]

    def _tools(self, tools: list[Report]) -> None:
        self.head("Tools: name, whether PATH leads to ldshim first, real tool")
        whats = [_what(tool) for tool in tools]
        names = max(min(_MOST_NAME, terminal.cells(tool["name"])) for tool in tools)
        column = max(map(len, whats))
        for tool, what in zip(tools, whats):
            word, style = ("BROKEN", "bad") if tool["problem"] and tool["way"] != "behind" else _WAYS[tool["way"]]
            name = terminal.middle(tool["name"], names if self.screen.width else 0)
            front = f"  {_padded(name, names)} {self.screen.paint(word, style)} {_padded(what, column)} "
            room = max(12, self.screen.width - (2 + names + 1 + len(word) + 1 + column + 1)) if self.screen.width else 0
            self.lines.append((front + _where(tool, room)).rstrip())
            if tool["note"] and tool["way"] != "direct":
                flowed = self.screen.flow([(word, "dim") for word in tool["note"].split(" ")], names + 3)
                self.lines += [" " * (names + 3) + flowed[0], *flowed[1:]]

    def _installation(self, report: Report) -> None:
        found, kernel, settings = report["installation"], report["kernel"], report["settings"]
        self.head(f"ldshim {found['version']}")
        self.row("python", (f"{found['python_version']} {found['python']}", ""))
        compiled = found["compiled"]
        bad = compiled["stale"] + compiled["missing"]
        state = f"{compiled['fresh']} compiled files fresh, {compiled['stale']} stale, {compiled['missing']} missing"
        if bad and compiled["writable"]:
            state += ", written at the next use"
        self.row("package", (f"{found['package']}:", ""), (state, "bad" if bad and not compiled["writable"] else ""))
        features = [name for name, works in kernel.items() if works and name != "release"]
        lacking = [name for name, works in kernel.items() if not works]
        self.row(
            "kernel",
            (f"Linux {kernel['release']}: {', '.join(features) or 'nothing works'}", ""),
            (f"MISSING: {', '.join(lacking)}" if lacking else "", "bad"),
        )
        variables = [f"{name}={value}" for name, value in settings["variables"].items()]
        self.row("settings", (" ".join(variables) or "none", ""))
        for complaint in settings["complaints"]:
            self.row("", (f"BAD {complaint}", "bad"))

    def _jobservers(self, candidates: list[Report]) -> None:
        self.head("Jobservers, in the order in which a link tries them")
        usable, chosen = any(each["usable"] for each in candidates), False
        for each in candidates:
            if each["usable"]:
                there = f"{each['jobserver']}, {each['tokens']} tokens in it now" + (f", of -j{each['jobs']}" if each["jobs"] else "")
                self.row(each["from"], ("also usable:" if chosen else "usable:", "dim" if chosen else "good"), (there, ""), width=15)
                chosen = True
            elif each["named"]:
                self.row(each["from"], ("NOT USABLE:", "doubt" if usable else "bad"), (each["reason"], ""), width=15)
            else:
                self.row(each["from"], (each["reason"], "dim"), width=15)

    def _machine(self, report: Report) -> None:
        self.head("Machine")
        cpus, memory, slots = report["cpus"], report["memory"], report["slots"]
        quota = "no cgroup quota" if cpus["quota"] is None else f"a cgroup quota of {cpus['quota']}"
        replaced = f" by {cpus['reason']}" if cpus["reason"].startswith("LDSHIM_CPUS") else ""
        self.row("CPUs", (f"{cpus['counted']} counted{replaced}: {cpus['affinity']} in the affinity mask, {quota}", ""))
        limit = (
            "no cgroup limit" if memory["cgroup_limit"] is None else f"a cgroup limit of {memory_estimate.human(memory['cgroup_limit'])}"
        )
        free = "UNKNOWN" if memory["available"] is None else memory_estimate.human(memory["available"])
        self.row("memory", (f"{free} available, {limit}, {memory_estimate.human(memory['promised'])} promised to other links", ""))
        for link in memory["waiting"]:
            what = f"pid {link['link']} {link['command']}".rstrip()
            self.row("waits", (f"{what}: for {memory_estimate.human(link['wants'])} of memory, {link['seconds']:.0f} s so far", ""))
        if not slots["directory"]:
            self.row("slots", ("NONE:", "bad"), (slots["reason"], ""))
        else:
            counts = f"{slots['count']} in {slots['directory']}: {slots['held']} held, {slots['waiting']} links wait for more"
            self.row("slots", (counts, ""))
        for link in slots["links"]:
            what = f"pid {link['link']} {link['command']}".rstrip() if link["link"] else "unknown, or ended"
            held = (
                f"slots {', '.join(map(str, link['slots']))}" if link["slots"] else "no slot" if link["shares"] else "tokens of a jobserver"
            )
            self.row("link", (f"{what}: {held}{', waits for more' if link['waits'] else ''} (held by pid {link['warden']})", ""))

        remote = report["remote"]
        if remote is not None:
            word = ("NOT USABLE:", "bad") if remote["reason"] else ("usable:", "good")
            what = remote["reason"] or f"{remote['address']}, at most {remote['jobs']} jobs of a link at once"
            self.row("remote", word, (what, ""))

    def _next(self, found: Report) -> None:
        self.head("An LTO link that starts now")
        if found["threads"] is None:
            self.row("gets", ("NOTHING:", "bad"), (found["reason"], ""))
            return
        most = f"at most {found['most']} later" if found["most"] > found["threads"] else ""
        self.row("gets", (_threads(found["threads"]) + (f", {most}" if most else ""), "head"))
        self.row("from", (found["source"] if found["source"] != "none" else "no source: nothing is shared", ""))
        self.row("reason", (found["reason"], ""))

    def _attention(self, points: list[Report]) -> None:
        if points:
            self.head("Needs attention")
        for number, point in enumerate(points, 1):
            more = len(point["about"]) - _ABOUT
            about = ", ".join(point["about"][:_ABOUT]) + (f" and {more} more" if more > 0 else "")
            self.row(f"{number}.", (f"{about}:", "bad"), (point["problem"], ""), width=2)
            self.row("", ("->", ""), (point["action"], ""), width=2)
        self.lines.append("")
        if points:
            count = f"{len(points)} thing{'s' * (len(points) != 1)}"
            self.lines += self.screen.flow([("attention:", "bad"), *_plain(f"{count} to do, listed above; first: {points[0]['action']}")])
        else:
            self.lines += self.screen.flow([("ready:", "good"), *_plain("links on this PATH get their threads")])


def _what(tool: Report) -> str:
    """Return the family and version of a tool."""
    if not tool["real"]:
        return ""
    return f"{tool['family']} {'.'.join(map(str, tool['version']))}".rstrip() if tool["family"] else "not certain"


def _plain(text: str) -> list[tuple[str, str]]:
    return [(word, "") for word in text.split(" ")]


def _threads(number: int) -> str:
    return f"{number} thread{'s' * (number != 1)}"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - terminal.cells(text))


def _where(tool: Report, room: int) -> str:
    """Return the path of a tool, the program that precedes it, and its resolved path if there is room; room 0: no limit."""
    path = str(tool["real"]) + (f" (through {tool['first']})" if tool["way"] == "masquerade" else "")
    path = terminal.printable(path)
    resolved = f"{path} -> {terminal.printable(tool['resolved'])}" if tool["resolved"] not in ("", tool["real"]) else path
    return resolved if not room or terminal.cells(resolved) <= room else terminal.middle(path, room)
