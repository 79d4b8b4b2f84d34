"""`ldshim verify -- TOOL ARGS…`: run one link bare and once more through ldshim, and compare what came out.

The problem: a packager asks whether ldshim changes the binary, and nobody can answer for an unknown command line. The consequence: both
links run, one after the other, with the same arguments and `-o SCRATCH` behind them (of several -o the tools take the last), so the
caller's own output stays as it is. Both write to the same path, because a tool may put the name of its output into the output. Then the
bytes, the status and the text are compared. What else a link writes (a map, `-save-temps`) is written twice and not compared.

The second link gets what any link gets: tokens of the jobserver, or slots. Its standard input is empty, as that of the first.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile

from .. import entry
from ..call.environment import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any, BinaryIO

    from ..call.environment import Environment

SAME, DIFFERENT, UNUSABLE = 0, 1, 2
MOST = 20  # rows about sections and symbols
_CHUNK = 1 << 20
_TEMPORARY = re.compile(rb"/cc[A-Za-z0-9]{6}\.")


class Outcome:
    """What one link left behind. out: its wait status; path: of its output, "" if it wrote none."""

    __slots__ = ("out", "path", "stderr", "stdout")

    def __init__(self, out: int, stdout: bytes, stderr: bytes, path: str) -> None:
        self.out = out
        self.stdout = stdout
        self.stderr = stderr
        self.path = path


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Describe the command line."""
    one = commands.add_parser(
        "verify",
        help="run a link bare and through ldshim, and compare the outputs, the exit status and the messages",
        usage="ldshim verify [--process] [--remote ADDRESS] [--jobs N] [--keep DIR] -- TOOL ARG…",
    )
    one.add_argument("--process", action="store_true", help="with LDSHIM_BACKENDS=process")
    one.add_argument("--remote", metavar="ADDRESS", help="with LDSHIM_REMOTE=ADDRESS")
    one.add_argument("--jobs", metavar="N", help="with LDSHIM_JOBS=N")
    one.add_argument("--keep", metavar="DIR", help="leave both outputs in this directory, as bare and ldshim")


def run(options: argparse.Namespace, call: list[bytes], environment: Environment) -> int:
    """Run both links; return 0 if nothing differs, 1 if something does or the bare link fails, 2 if they cannot be run."""
    if not call:
        entry.say("ldshim: verify: needs a link: ldshim verify [OPTION…] -- TOOL ARG…")
        return UNUSABLE
    if options.jobs is not None and not count(os.fsencode(options.jobs)):
        entry.say(f"ldshim: verify: --jobs needs a number above zero: {options.jobs}")
        return UNUSABLE
    given = {b"LDSHIM_BACKENDS": "process" if options.process else None, b"LDSHIM_REMOTE": options.remote, b"LDSHIM_JOBS": options.jobs}
    changes = {name: os.fsencode(value) for name, value in given.items() if value is not None}
    try:
        with tempfile.TemporaryDirectory(prefix="ldshim-verify-") as place:
            log = os.path.join(place, "log")
            bare = link(place, "bare", call, environment.changed({b"LDSHIM_DISABLE": b"1"}))
            ours = link(place, "ldshim", call, environment.changed({**changes, b"LDSHIM_DISABLE": None, b"LDSHIM_LOG": os.fsencode(log)}))
            differences = compare(bare, ours)
            for line in [what_it_was(log), *differences]:
                print(line)
            if not differences and not bare.out:
                print(f"same: {size(bare)}, status and messages")
            if options.keep is not None:
                keep(options.keep, bare, ours)
    except OSError as error:
        entry.say(f"ldshim: verify: {error.strerror}: {error.filename}")
        return UNUSABLE
    if bare.out:
        print(f"the bare link fails, so no output was compared: {status(bare)}", flush=True)
        sys.stderr.buffer.write(bare.stderr)
    return DIFFERENT if differences or bare.out else SAME


def link(place: str, name: str, call: list[bytes], environment: Environment) -> Outcome:
    """Run one link in a child, and move its output aside."""
    output = os.path.join(place, "output")
    texts = [os.path.join(place, f"{name}.{stream}") for stream in ("out", "err")]
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, text in enumerate(texts, 1):
                os.dup2(os.open(text, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
            entry.prefix_form([*call, b"-o", os.fsencode(output)], environment)
        finally:
            os._exit(127)
    _, out = os.waitpid(child, 0)
    path = ""
    if os.path.lexists(output):
        path = os.path.join(place, f"{name}.output")
        os.rename(output, path)
    return Outcome(out, _read(texts[0]), _read(texts[1]), path)


def compare(bare: Outcome, ours: Outcome) -> list[str]:
    """Name each difference in a line."""
    found = []
    if bare.out != ours.out:
        found.append(f"status: bare {status(bare)}, through ldshim {status(ours)}")
    for stream, one, other in (("stdout", bare.stdout, ours.stdout), ("stderr", bare.stderr, ours.stderr)):
        first, second = first_difference(one, other)
        if first != second:
            found.append(f"{stream}: bare {first}, through ldshim {second}")
    if bool(bare.path) != bool(ours.path):
        found.append(f"output: bare {'written' if bare.path else 'none'}, through ldshim {'written' if ours.path else 'none'}")
    elif bare.path:
        at = differs_at(bare.path, ours.path)
        if at >= 0:
            found.append(f"output: differs from byte {at}; bare {size(bare)}, through ldshim {size(ours)}")
            found += inside(bare.path, ours.path)
    return found


def differs_at(bare: str, ours: str) -> int:
    """Return the offset of the first byte that differs, -1 if none does."""
    at = 0
    with open(bare, "rb") as one, open(ours, "rb") as other:
        while True:
            first, second = one.read(_CHUNK), other.read(_CHUNK)
            if first != second:
                pairs = zip(first, second)
                return at + next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
            if not first:
                return -1
            at += len(first)


def inside(bare: str, ours: str) -> list[str]:
    """Name the sections and symbols of two ELF files that differ; nothing for other files, and for damaged ones a line."""
    for path in (bare, ours):
        with open(path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                return []
    from elftools.common.exceptions import ELFError  # noqa: PLC0415  only when something differs

    try:
        with open(bare, "rb") as one, open(ours, "rb") as other:
            pairs = [(kind, read(one), read(other)) for kind, read in (("section", sections), ("symbol", symbols))]
    except (ELFError, ValueError, KeyError) as error:
        return [f"sections: not compared, {error or type(error).__name__}"]
    found = []
    for kind, before, after in pairs:
        for name in [*before, *(name for name in after if name not in before)]:
            if name not in after:
                found.append(f"{kind} {name}: only in bare")
            elif name not in before:
                found.append(f"{kind} {name}: only through ldshim")
            elif before[name] != after[name]:
                found.append(f"{kind} {name}: differs")
    return found if len(found) <= MOST else [*found[:MOST], f"… {len(found) - MOST} more …"]


def sections(file: BinaryIO) -> dict[str, object]:
    """Map each section's name to its contents; of several sections of one name, to all of them."""
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415

    found: dict[str, list[object]] = {}
    for section in ELFFile(file).iter_sections():
        contents = b"" if section["sh_type"] == "SHT_NOBITS" else section.data()
        found.setdefault(section.name, []).append((section["sh_type"], section["sh_flags"], section["sh_size"], contents))
    return dict(found)


def symbols(file: BinaryIO) -> dict[str, object]:
    """Map each symbol's name to its sizes and kinds, without values: one more byte of code moves all that follow."""
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415
    from elftools.elf.sections import SymbolTableSection  # noqa: PLC0415

    found: dict[str, list[object]] = {}
    for section in ELFFile(file).iter_sections():
        if isinstance(section, SymbolTableSection):
            for symbol in section.iter_symbols():
                kind = symbol["st_info"]
                found.setdefault(symbol.name, []).append((symbol["st_size"], kind["bind"], kind["type"], symbol["st_other"]["visibility"]))
    return dict(found)


def first_difference(one: bytes, other: bytes) -> tuple[str, str]:
    """Return the first line that differs in each of two texts, "" twice if none does. The random names of GCC's files are no difference."""
    lines, others = (_TEMPORARY.sub(b"/ccXXXXXX.", text).split(b"\n") for text in (one, other))
    for index in range(max(len(lines), len(others))):
        first, second = (text[index] if index < len(text) else b"" for text in (lines, others))
        if first != second:
            return repr(os.fsdecode(first)), repr(os.fsdecode(second))
    return "", ""


def what_it_was(log: str) -> str:
    """Say in a line what the second link was, from its log: a link that ldshim passes through proves nothing about the others."""
    links = []
    for line in _read(log).splitlines():
        event = json.loads(line)
        if event.get("event") == "handover":
            links.append(f"{os.path.basename(event['tool'])}, LTO {event['lto']}, granted {event['granted']} from {event['source']}")
    return "through ldshim: " + ("; ".join(links) or "passed through unchanged, as nothing in it is ldshim's")


def status(outcome: Outcome) -> str:
    """Describe a wait status."""
    return f"signal {os.WTERMSIG(outcome.out)}" if os.WIFSIGNALED(outcome.out) else f"status {os.WEXITSTATUS(outcome.out)}"


def size(outcome: Outcome) -> str:
    """Describe the output of a link by its size."""
    return f"{os.path.getsize(outcome.path)} bytes" if outcome.path else "no output"


def keep(directory: str, bare: Outcome, ours: Outcome) -> None:
    """Copy both outputs into a directory of the caller's, which is made if need be."""
    os.makedirs(directory, exist_ok=True)
    for name, outcome in (("bare", bare), ("ldshim", ours)):
        if outcome.path:
            shutil.copy2(outcome.path, os.path.join(directory, name))


def _read(path: str) -> bytes:
    """Read a file; nothing if it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
