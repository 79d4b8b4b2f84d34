"""`ldshim explain --json` gives a golden record's answer: the installed command, real inputs, and tools that print the record's banner.

What golden_records.py answers from the record is here what it is in life: a program to be asked for its version, response files and
objects on disk, archives with thousands of members, a jobserver with so many tokens. Every eighth record that names only files of its own
directory is asked; LDSHIM_FULL=1 asks all.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import golden_records, tools
from tests.support.ir_objects import SOURCE
from tests.support.pool import Pool
from tests.support.shim import ROOT

if TYPE_CHECKING:
    from tests.support.shim import Shim

CLANG, GXX = "clang-19", "g++-12"
FLAGS = {
    "thin": [CLANG, "-flto=thin"],
    "unified": [CLANG, "-flto=thin", "-funified-lto"],
    "full": [CLANG, "-flto=full"],
    "fat_thin": [CLANG, "-flto=thin", "-ffat-lto-objects"],
    "gcc_slim": [GXX],
    "gcc_fat": [GXX, "-ffat-lto-objects"],
    "native": [GXX],
    "shared": [GXX, "-fPIC", "-shared", "-nostdlib"],
}
FAKE = """#!/bin/sh
for word do
  case $word in
    --version) cat {banner}; exit 0;;
    -\\#\\#\\#) echo ' "{linker}" "-o" "a.out"' >&2; exit 0;;
    -print-prog-name=*) echo {linker}; exit 0;;
  esac
done
exit 9
"""


def eligible(record: dict[str, Any]) -> bool:
    """Tell whether a record can be acted out here: all its files are its own, and nothing depends on how many CPUs there are."""
    names = [*golden_records.inputs(record), *record.get("files", {})]
    if any(name.startswith(("/", "-")) for name in names) or {"cpus", "paid_by", "make"} & set(record):
        return False
    if (
        sum(count for spec in golden_records.inputs(record).values() for kind, _, _, count in golden_records.items(spec) if "gcc" in kind)
        > 20
    ):
        return False  # a megabyte each
    own_pool = "the linker's own threads" in record["expect"]["reason"] or (
        record["expect"]["family"] in ("lld", "mold", "clang") and record["expect"]["lto"] in ("none", "full")
    )
    handed_out = record.get("granted", ["slots"])[0] == "jobserver" or "LDSHIM_JOBS" in record.get("env", {})
    return not own_pool and (handed_out or record["expect"]["lto"] == "none")


ELIGIBLE = [name for name, record in golden_records.load().items() if eligible(record)]
SAMPLE = ELIGIBLE if os.environ.get("LDSHIM_FULL") == "1" else ELIGIBLE[::8]


class Objects:
    """One real object of every kind, compiled when first asked for. place: a directory of the session's."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.source = place / "t.cpp"
        # A megabyte that does not compress: IR enough for more partitions than any record grants.
        text = random.Random(1).randbytes(500_000).hex()
        self.source.write_text(SOURCE)
        self.large = place / "large.cpp"
        self.large.write_text(SOURCE + 'char table[] = "' + "\\x" + "\\x".join(text[i : i + 2] for i in range(0, len(text), 2)) + '";\n')

    def one(self, kind: str, recorded: list[str]) -> bytes:
        """Compile one object, or reuse it: its bytes."""
        if kind == "other":
            return b"/* neither an object nor an archive */\n"
        path = self.place / "-".join([kind, *recorded]).replace("=", "")
        if not path.exists():
            command, *flags = FLAGS[kind]
            lto = (recorded or ["-flto"]) if kind.startswith("gcc") else []
            flags += [] if kind == "shared" else ["-c"]
            source = self.large if lto else self.source
            subprocess.run([tools.need(command), "-O1", *flags, *lto, str(source), "-o", str(path)], check=True)
        return path.read_bytes()

    def write(self, path: Path, spec: str) -> None:
        """Write one input: an object, or an archive of many."""
        members = [self.one(kind, recorded) for kind, recorded, _, count in golden_records.items(spec) for _ in range(count)]
        path.parent.mkdir(parents=True, exist_ok=True)
        if len(members) == 1 and path.suffix not in (".a", ".rlib"):
            path.write_bytes(members[0])
            return
        with open(path, "wb") as archive:
            archive.write(b"!<arch>\n")
            for number, data in enumerate(members):
                archive.write(
                    b"%-16s%-12d%-6d%-6d%-8o%-10d`\n" % (b"m%d.o/" % number, 0, 0, 0, 0o644, len(data)) + data + b"\n" * (len(data) & 1)
                )


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """Provide the objects."""
    return Objects(tmp_path_factory.mktemp("objects"))


def fake(path: Path, banner: str, linker: Path) -> Path:
    """Write a tool that says its banner, and which linker it would run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = path.with_name(path.name + ".banner")
    said.write_text(banner + "\n")
    path.write_text(FAKE.format(banner=said, linker=linker))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", SAMPLE)
def test_explain_gives_the_records_answer(name: str, shim: Shim, objects: Objects, tmp_path: Path) -> None:
    """C8 C20: with real inputs and a tool that answers as the record's, `explain --json` prints its answer for these CPUs."""
    record = {**golden_records.load()[name], "cpus": len(os.sched_getaffinity(0))}
    with pytest.MonkeyPatch.context() as patch:
        expected = golden_records.answer(record, patch)
    work = tmp_path / "work"
    work.mkdir()
    for input_name, spec in golden_records.inputs(record).items():
        if not input_name.startswith("-l"):
            objects.write(work / os.fsdecode(os.fsencode(input_name)), spec)
    for file_name, text in record.get("files", {}).items():
        (work / file_name).parent.mkdir(parents=True, exist_ok=True)
        (work / file_name).write_text(text)
    path, banner = record.get("linker", ["ld", ""])
    linker = fake(tmp_path / "linker" / os.path.basename(path), banner, Path("/nonexistent"))
    tool = fake(tmp_path / "tools" / record["tool"][0], record["tool"][1], linker)
    _, named, tokens = record.get("granted", ["", "", 0])
    with Pool(b"+" * tokens, style="fifo" if named.startswith("fifo") else "pipe") as pool:
        if pool.style == "fifo":
            ours, theirs = str(pool.path), named[5:]
        else:
            ours, theirs = f"{pool.read_fd},{pool.write_fd}", named[5:] or "3,4"
        env = {key: value.replace(theirs, ours) if key.endswith("FLAGS") else value for key, value in record.get("env", {}).items()}
        env.update(LDSHIM_MEM_PER_JOB="1")  # this machine's memory is no part of a record
        env.update(PATH=os.environ["PATH"], XDG_RUNTIME_DIR=str(shim.runtime), LC_ALL="C.UTF-8", PYTHONPATH=str(ROOT))
        command = [shim.command, "explain", "--json", "--", str(tool), *record["argv"]]
        done = subprocess.run(command, env=env, cwd=work, stdout=subprocess.PIPE, check=True, pass_fds=pool.pass_fds)
    said = json.loads(done.stdout)
    answer = {key: said[key][1:] if key == "argv" else said[key] for key in golden_records.ANSWER}
    answer["reason"] = answer["reason"].replace(f"{pool.style} {ours}", f"{pool.style} {theirs}")
    assert sized(expected) == sized(answer)


def sized(answer: dict[str, Any]) -> dict[str, Any]:
    """Leave out what depends on the size of GCC's IR: a record has round sizes, objects have real ones."""
    if answer["lto"] != "gcc" or answer["demand"] == 1:
        return answer
    return {**answer, "demand": "many", "reason": re.sub(r"at most \d+ partitions", "at most N partitions", answer["reason"])}
