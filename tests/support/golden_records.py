"""Golden records: real command lines, and what ldshim makes of them, as data that a person can review.

The problem: a change in one table or one rule shows its effect on lines that nobody thought of. The consequence: tests/golden/*.json, one
file for each kind of build, a record for each line: where it comes from, the tool, argv, environment, what the inputs are, what is granted
-> family, mode, argv and environment handed over, reason. `pytest tests/unit/test_golden.py --update-golden` rewrites them; the diff is
the review.

    name, from    which line this is, and the project, file or tool that writes it
    tool          [name it is called by, what its --version prints]
    argv, env     without argv[0]; only the variables that matter
    inputs        {names as they stand on the line: what they are}; see KINDS; `thin*12` is an archive of twelve
    files         {response file: its text}
    linker        [path, banner] of the linker behind a driver
    granted       [source, name, tokens] of what can be had; a record without one has the host's slots
    cpus, cores, paid_by, make    the host's CPUs (16), its cores (the CPUs), the ancestor that paid for an explicit number (""), what make
                  says ("GNU Make 4.3")
    expect        the answer, with the keys of `ldshim explain --json`

`answer` asks the very plan that a call goes through, with every door to the system closed by `Doors`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldshim import analysis
from ldshim import record as journal
from ldshim.call import lto_make, prepaid, real_tool, tool_family
from ldshim.call.banner import Tool
from ldshim.call.environment import Environment, read_settings
from ldshim.cli import explain as cli
from ldshim.inputs import extent, scan
from ldshim.inputs.findings import Findings
from ldshim.reserve import cpus, makeflags, memory_ledger, source
from ldshim.reserve.lease import Lease
from ldshim.reserve.source import Source
from ldshim.warden import confinement

if TYPE_CHECKING:
    import pytest

    from ldshim.call.real_tool import Call
    from ldshim.command.argv import Input

    Record = dict[str, Any]

PLACE = Path(__file__).resolve().parents[1] / "golden"
CPUS = 16
# `kind[recorded words]*count`
ITEM = re.compile(r"(?P<kind>[a-z_]+)(?:\[(?P<recorded>[^]]*)\])?(?:@(?P<major>\d+))?(?:\*(?P<count>\d+))?$")
KINDS = ("thin", "unified", "full", "fat_thin", "fat_full", "gcc_slim", "gcc_fat", "native", "shared", "other")
# The sum in Findings that a kind adds to, and the bytes of one: what real modules of a thousand lines have.
SIZES = {
    "thin": ("llvm_bytes", 200_000),
    "full": ("llvm_bytes", 200_000),
    "fat_thin": ("fat_bytes", 200_000),
    "fat_full": ("fat_bytes", 200_000),
    "gcc_slim": ("gcc_bytes", 1_000_000),
    "gcc_fat": ("gcc_bytes", 1_000_000),
    "native": ("native_bytes", 100_000),
}
# Not part of a record's answer: where a path of ours stands, and what only this call's process can know.
ANSWER = ("family", "lto", "asked", "demand", "granted", "source", "policy", "reason", "argv", "env")


def files() -> list[Path]:
    """List the files of records."""
    return sorted(PLACE.glob("*.json"))


def load() -> dict[str, Record]:
    """Read every record: {file/name: record}."""
    return {f"{path.stem}/{record['name']}": record for path in files() for record in json.loads(path.read_text())}


def save(path: Path, records: list[Record]) -> None:
    """Write a file of records, a key a line, so that a diff shows which part of an answer changed."""
    blocks = []
    for record in records:
        lines = [f"    {json.dumps(key)}: {_value(value)}" for key, value in record.items()]
        blocks.append("  {\n" + ",\n".join(lines) + "\n  }")
    path.write_text("[\n" + ",\n".join(blocks) + "\n]\n")


def _value(value: object) -> str:
    if not isinstance(value, dict) or not value:
        return json.dumps(value)
    return "{\n" + ",\n".join(f"      {json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()) + "\n    }"


def items(spec: str) -> list[tuple[str, list[str], int, int]]:
    """Read what one input is: [(kind, recorded words, GCC major, count)]."""
    out = []
    for word in spec.split(" "):
        found = ITEM.match(word)
        assert found is not None, word
        assert found["kind"] in KINDS
        out.append(
            (
                found["kind"],
                [item for item in (found["recorded"] or "").split(",") if item],
                int(found["major"] or 12),
                int(found["count"] or 1),
            )
        )
    return out


def inputs(record: Record) -> dict[str, str]:
    """Return {one name: what it is}; a key of a record may name several inputs."""
    return {name: spec for names, spec in record.get("inputs", {}).items() for name in names.split(" ")}


def findings(record: Record, given: list[Input], enough: int) -> Findings:
    """Add up what a scan of these inputs finds; it stops like a scan when the answer cannot change any more."""
    out = Findings()
    what = inputs(record)
    for item in given:
        name = ("-l" if item.library else "") + os.fsdecode(item.name)
        for kind, recorded, major, count in items(what.get(name, "shared" if item.library else "other")):
            if kind == "unified":
                out.unified, kind = True, "thin"  # noqa: PLW2901
            setattr(out, kind, getattr(out, kind) + count)
            if kind in SIZES:
                size, each = SIZES[kind]
                setattr(out, size, getattr(out, size) + each * count)
            if kind.startswith("gcc"):
                out.gcc_major = max(out.gcc_major, major)
                out.recorded += [word.encode() for word in recorded if word.encode() not in out.recorded]
            if enough and out.thin >= enough:
                out.thin, out.complete = enough, False
                return out
    return out


class Client:
    """A jobserver that answers how many tokens lie there. jobs: the -jN beside its auth, 0 for none."""

    callers_fds: tuple[int, ...] = ()

    def __init__(self, tokens: int, jobs: int) -> None:
        self.tokens = tokens
        self.jobs = jobs

    def available(self) -> int:
        """Count the tokens, as the real client does."""
        return self.tokens


class Plenty:
    """A ledger of more memory than any link needs."""

    def ceiling(self) -> list[tuple[int, str]]:
        """Say that nothing bounds."""
        return []


class Doors:
    """Every door to the system through which a plan goes, closed and answered from a record."""

    def __init__(self, record: Record, patch: pytest.MonkeyPatch) -> None:
        self.record = record
        self.banner = record["tool"][1]
        self.linker = record.get("linker", ["", ""])
        number = record.get("cpus", CPUS)
        contents = {name.encode(): text.encode() for name, text in record.get("files", {}).items()}
        patch.setattr(tool_family, "identify", self.identify)
        patch.setattr(tool_family, "linker_behind", lambda *_: self.linker[0].encode())
        patch.setattr(tool_family, "ask", lambda *_, **__: self.linker[0].encode() + b"\n")
        patch.setattr(analysis, "is_ldshim", lambda *_: False)
        banner = record.get("make", "GNU Make 4.3")
        patch.setattr(lto_make, "find", lambda words, *_: lto_make.Make(words, banner.encode()) if banner else None)
        patch.setattr(extent, "read_regular", contents.get)
        patch.setattr(scan, "scan", lambda given, _dirs, _root, enough=0: findings(record, given, enough))
        patch.setattr(cpus, "affinity", lambda: number)
        patch.setattr(cpus, "quota", lambda *_: None)
        patch.setattr(cpus, "cores", lambda: record.get("cores", number))
        patch.setattr(source, "find_jobserver", self.find_jobserver)
        patch.setattr(source, "share_host", lambda _get, count, reasons: Source(Lease("slots", f"{count} slots"), reasons))
        patch.setattr(memory_ledger, "promise", lambda *_: Plenty())
        patch.setattr(confinement, "obstacle", lambda _: "")
        patch.setattr(prepaid, "payer", lambda _said: record.get("paid_by", ""))

    def identify(self, real: bytes, *_: object) -> Tool:
        """Answer for the tool, or for the linker behind it."""
        return Tool((self.linker[1] if real == self.linker[0].encode() else self.banner).encode())

    def find_jobserver(self, _auths: object, *, may_recover: bool) -> Source:
        """Grant what the record grants."""
        origin, name, tokens = self.record.get("granted", ["slots", "", 0])
        if origin == "slots" or (origin == "recovered" and not may_recover):
            return Source(Lease(), ["no jobserver"])
        variables = self.record.get("env", {})
        value = variables.get("CARGO_MAKEFLAGS") or variables.get("MAKEFLAGS", "")
        jobs = makeflags.parse(value.encode()).jobs
        return Source(Lease(origin, name), [], Client(tokens, jobs))  # type: ignore[arg-type]


def the_call(record: Record) -> Call:
    """Make the call that real_tool.py would."""
    call = real_tool.Call(record["tool"][0].encode(), [os.fsencode(word) for word in record["argv"]])
    call.real = call.argv0 = b"/usr/bin/" + call.name
    return call


def answer(record: Record, patch: pytest.MonkeyPatch) -> Record:
    """Ask ldshim: the answer, in the shape of `expect`."""
    Doors(record, patch)
    call = the_call(record)
    environment = Environment([(os.fsencode(name), os.fsencode(value)) for name, value in record.get("env", {}).items()])
    said = journal.record(call, *cli.foresee(call, environment, read_settings(environment)))
    return {key: said[key][1:] if key == "argv" else said[key] for key in ANSWER}  # type: ignore[index]
