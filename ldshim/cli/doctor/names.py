"""Which tool a name on PATH leads to, and whether ldshim is called on the way.

The problem: a link farm can be ineffective without any sign of it in the output of a build. It may come after /usr/bin on PATH, may have
been made for another name, or may name an interpreter that an upgrade removed. The consequence: each name is looked up as execvp(3) does,
and the file is checked: does it call ldshim, and do the files that it names exist? Then the real tool is found by the function that a link
uses, and identified by its banner.

Ways: `ldshim` PATH leads to ldshim first; `masquerade` PATH leads to ccache or a similar program, which calls ldshim in turn; `behind` the
tool precedes ldshim on PATH, so ldshim is never called; `direct` no file of that name on PATH is ldshim; `absent` there is no such tool.
"""

from __future__ import annotations

import ast
import os
import re

from ...call import banner, real_tool, tool_family
from .. import link_farm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...call.environment import Environment

BASE = (b"gcc", b"cc", b"clang", b"ld", b"ld.lld", b"ld.gold", b"ld.mold", b"mold", b"wild")

# What launcher/text.py writes into a launcher: Python code, and a variable of the shell code.
_PLACES = re.compile(rb"^sys\.path \+= (\[.*\])$", re.MULTILINE)
_BAKED = re.compile(rb"""^run_baked\(b['"].*, (b'[^'\n]*'|b"[^"\n]*")\)""", re.MULTILINE)
_PYTHON = re.compile(rb"^ *_ldshim_python='([^'\n]+)'$", re.MULTILINE)
_MOST = 1 << 16  # bytes of a launcher


class Name:
    """One name.

    way: see above; first: the file that PATH leads to; through: the kind of file that calls ldshim; real: the real tool, b"" for none;
    tool: its identity; note: why its calls run unchanged; problem, action: what is wrong, and what to do about it.
    """

    __slots__ = ("action", "first", "name", "note", "problem", "real", "through", "tool", "way")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.way = "absent"
        self.first = self.real = b""
        self.through = self.note = self.problem = self.action = ""
        self.tool: banner.Tool | None = None


def listed(environment: Environment) -> list[bytes]:
    """List the names to examine: the usual ones, and every other compiler or linker that link-farm would find on PATH."""
    return [*BASE, *sorted(link_farm.on_path(environment) - set(BASE))]


def look(name: bytes, environment: Environment) -> Name:
    """Find the real tool behind one name and identify it (5 s at most). A broken tool raises nothing."""
    found = Name(name)
    candidates = _candidates(name, environment)
    own = real_tool.own_stat()
    ours = [path for path in candidates if real_tool.is_ldshim(path, own)]
    found.first = candidates[0] if candidates else b""
    if ours:
        found.through = _how(ours[0])
        masked = real_tool.is_masquerade(found.first, environment)
        found.way = "ldshim" if ours[0] == found.first else "masquerade" if masked else "behind"
    elif candidates:
        found.way = "direct"
    baked = b""
    if ours:
        launcher = Launcher(ours[0])
        baked = launcher.real
        if launcher.problem:
            found.problem, found.action = launcher.problem, _refresh(ours[0])
    try:
        call = real_tool.stand_in(name, [], environment, baked=baked, met=ours[0] if ours else b"")
    except real_tool.UnfoundError as error:
        if ours:
            found.problem = found.problem or str(error).partition(f"{real_tool.show(name)}: ")[2]
            found.action = found.action or _refresh(ours[0])
        return found
    if call.complaints and not found.problem:
        found.problem = "; ".join(line.partition(": ")[2] for line in call.complaints)
        found.action = "correct the variable"
    found.real = call.real
    found.tool = tool_family.identify(call.real, environment, call.path)
    found.note = _note(found, call.kind)
    if found.way == "behind" and not found.problem:
        found.problem = f"{real_tool.show(found.first)} precedes ldshim on PATH"
        found.action = f"put {real_tool.show(os.path.dirname(ours[0]))} before {real_tool.show(os.path.dirname(found.first))}"
    return found


def _candidates(name: bytes, environment: Environment) -> list[bytes]:
    """List the files that execvp(3) would try, in its order."""
    paths = [os.path.join(real_tool.absolute(directory or b"."), name) for directory in real_tool.path_entries(environment)]
    return [path for path in dict.fromkeys(paths) if os.path.isfile(path) and os.access(path, os.X_OK)]


def _how(path: bytes) -> str:
    if os.path.exists(os.path.join(os.path.dirname(path), real_tool.MARK)):
        return "link farm"
    return "symlink" if os.path.islink(path) else "copy"


def _refresh(path: bytes) -> str:
    directory = os.path.dirname(path)
    if os.path.exists(os.path.join(directory, real_tool.MARK)):
        return f"run ldshim link-farm --refresh {real_tool.show(directory)}"
    return f"install the tool, or remove {real_tool.show(path)}"


def _note(found: Name, kind: str) -> str:
    """Return why a call of this tool would run unchanged, "" when it would not."""
    family = found.tool.family if found.tool is not None else ""
    if not family:
        return "not certain what it is: runs unchanged"
    if (kind == "driver") != (family in ("gcc", "clang")):
        return f"{family} under the name of a {kind}: runs unchanged"
    return ""


class Launcher:
    """The paths in a launcher. real: the tool that it was made for, b"" for none; problem: which of the files is gone."""

    __slots__ = ("problem", "real")

    def __init__(self, path: bytes) -> None:
        self.real = b""
        self.problem = ""
        try:
            with open(path, "rb") as stream:
                text = stream.read(_MOST)
        except OSError as error:
            self.problem = f"{real_tool.show(path)} cannot be read: {error.strerror}"
            return
        interpreter = text[2 : text.find(b"\n")].split()[:1] if text.startswith(b"#!") else []
        plain = text.replace(b"'\\''", b"'")
        interpreter += _PYTHON.findall(plain)
        for program in interpreter:
            if not os.access(program, os.X_OK):
                self.problem = f"the interpreter of {real_tool.show(path)} cannot be run: {real_tool.show(program)}"
        baked, places = _BAKED.findall(plain), _PLACES.findall(plain)
        try:
            self.real = ast.literal_eval(baked[-1].decode("ascii")) if baked else b""
            package = ast.literal_eval(places[0].decode("ascii"))[0] if places else ""
        except (ValueError, SyntaxError, IndexError):
            return  # edited by a user: not checked
        if package and not os.path.isfile(os.path.join(package, "ldshim", "entry.py")):
            self.problem = self.problem or f"the package of {real_tool.show(path)} is gone: {package}"
