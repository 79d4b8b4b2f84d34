"""Which tool a name on PATH leads to, and whether the way there leads through ldshim.

The problem: a link farm that stands behind /usr/bin, was made for another name, or whose interpreter has gone with an upgrade looks like
one that works, and nothing in a build's output says that it is never asked. The consequence: each name is looked up as execvp would,
the file that is met is looked at (is it ours, is what is baked into it still there), and then the real tool behind it is found the way
our own entry finds it, and asked what it is.

Ways: `ldshim` PATH meets ldshim first; `masquerade` it meets ccache or kin, which will find ldshim behind itself; `behind` the tool
stands before ldshim, which is never asked; `direct` no ldshim on PATH has that name; `absent` no such tool.
"""

from __future__ import annotations

import ast
import os
import re

from ..call import banner, real_tool, tool_family
from . import link_farm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.environment import Environment

BASE = (b"gcc", b"cc", b"clang", b"ld", b"ld.lld", b"ld.gold", b"ld.mold", b"mold", b"wild")

# What launcher/text.py bakes in, as it stands in a Python launcher; a shell launcher has the same code inside one quoted word.
_PLACES = re.compile(rb"^sys\.path \+= (\[.*\])$", re.MULTILINE)
_BAKED = re.compile(rb"""^run_baked\(b['"].*, (b'[^'\n]*'|b"[^"\n]*")\)""", re.MULTILINE)
_PYTHON = re.compile(rb"^if \[ -x '([^'\n]+)' \] && \[ -r ", re.MULTILINE)
_MOST = 1 << 16  # bytes of a launcher


class Met:
    """One name.

    way: see above; first: the path that PATH leads to; through: how ldshim stands there; real: the tool in the end, b"" for none; tool:
    what it is; note: what is peculiar about it; problem, action: what is wrong on the way, and what to do.
    """

    __slots__ = ("action", "first", "name", "note", "problem", "real", "through", "tool", "way")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.way = "absent"
        self.first = self.real = b""
        self.through = self.note = self.problem = self.action = ""
        self.tool: banner.Tool | None = None


def names(environment: Environment) -> list[bytes]:
    """List the names to look at: the usual ones, and every other compiler or linker that link-farm would find on PATH."""
    return [*BASE, *sorted(link_farm.on_path(environment) - set(BASE))]


def look(name: bytes, environment: Environment) -> Met:
    """Follow one name to its tool, and ask that what it is (5 s at most). Raises nothing for a tool's sake."""
    met = Met(name)
    candidates = _candidates(name, environment)
    own = real_tool.own_stat()
    ours = [path for path in candidates if real_tool.is_ldshim(path, own)]
    met.first = candidates[0] if candidates else b""
    if ours:
        met.through = _how(ours[0])
        masked = real_tool.is_masquerade(met.first, environment)
        met.way = "ldshim" if ours[0] == met.first else "masquerade" if masked else "behind"
    elif candidates:
        met.way = "direct"
    baked = b""
    if ours:
        launcher = Launcher(ours[0])
        baked = launcher.real
        if launcher.problem:
            met.problem, met.action = launcher.problem, _refresh(ours[0])
    try:
        call = real_tool.stand_in(name, [], environment, baked=baked, met=ours[0] if ours else b"")
    except real_tool.UnfoundError as error:
        if ours:
            met.problem = met.problem or str(error).partition(f"{real_tool.show(name)}: ")[2]
            met.action = met.action or _refresh(ours[0])
        return met
    if call.complaints and not met.problem:
        met.problem = "; ".join(line.partition(": ")[2] for line in call.complaints)
        met.action = "correct the variable"
    met.real = call.real
    met.tool = tool_family.identify(call.real, environment, call.path)
    met.note = _note(met, call.kind)
    if met.way == "behind" and not met.problem:
        met.problem = f"{real_tool.show(met.first)} stands before ldshim on PATH"
        met.action = f"put {real_tool.show(os.path.dirname(ours[0]))} before {real_tool.show(os.path.dirname(met.first))}"
    return met


def _candidates(name: bytes, environment: Environment) -> list[bytes]:
    """List what execvp would try, in its order."""
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


def _note(met: Met, kind: str) -> str:
    """Say why a call of this tool would run unchanged, "" when it would not."""
    family = met.tool.family if met.tool is not None else ""
    if not family:
        return "not certain what it is: runs unchanged"
    if (kind == "driver") != (family in ("gcc", "clang")):
        return f"{family} under the name of a {kind}: runs unchanged"
    return ""


class Launcher:
    """What is baked into an ldshim that PATH leads to. real: the tool it was made for, b"" for none; problem: what of it is gone."""

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
            return  # not as we write them: an edited launcher is its editor's
        if package and not os.path.isfile(os.path.join(package, "ldshim", "entry.py")):
            self.problem = self.problem or f"the package of {real_tool.show(path)} is gone: {package}"
