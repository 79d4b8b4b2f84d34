"""A raise in every function of the pipeline, one at a time: the link happens with its original argv, and no token is lost.

First a call is traced: these are the functions that it goes through. Then it is made once for each of them, with that one raising
(fault.py). What counts is what the real tool saw, whole (recorder.py: arguments,
environment, CPU mask, descriptors, signals), what stands on stderr, and the pool.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import tools
from tests.support.pool import Pool
from tests.support.recorder import Recorder, banner, parse
from tests.support.shim import ROOT

if TYPE_CHECKING:
    from tests.support.program import Program
    from tests.support.shim import Shim

# The functions that catch, report and exec the tool: there is nothing below it to catch what it raises.
ENTRY = {f"ldshim.entry:{name}" for name in ("main", "run", "gather", "run_unchanged", "complaint", "say", "default_interrupt")}
SKELETON = ENTRY | {"ldshim.call.real_tool:show"}
# A mistake while an input is read is an input that is not understood (C8): no line, and the others may still make an LTO link.
READERS = (
    "ldshim.inputs.extent:",
    "ldshim.inputs.elf:",
    "ldshim.inputs.gcc:",
    "ldshim.inputs.bitcode:",
    "ldshim.inputs.bitstream:",
    "ldshim.inputs.summary:",
    "ldshim.inputs.scan:_Walk.",
)
# A child that could not be waited for stays; nobody else may wait for the children that a caller may have left us.
REAPER = ("ldshim.call.processes:reap", "children")
FAULT = str(ROOT / "tests" / "support" / "fault.py")


class Call:
    """One kind of call, and where its parts stand. line: argv of the link, through ldshim."""

    def __init__(self, recorder: Recorder, shim: Shim, line: list[str], place: Path) -> None:
        self.recorder = recorder
        self.place = place
        self.name = os.path.basename(recorder.path)
        self.line = [shim.named(self.name), *line]
        pin = {f"LDSHIM_REAL_{self.name.upper().replace('.', '_')}": recorder.path}
        self.env = shim.environment(**pin, PYTHONPATH=str(ROOT), LDSHIM_LOG=str(place / "log"), LC_ALL="C.UTF-8")

    def run(self, what: str, pool: Pool) -> tuple[int, list[str], list[str], dict[str, Any]]:
        """Run it with one function raising, or traced: status, stderr, functions called or `raised`, what the tool saw."""
        out = self.place / "out"
        out.unlink(missing_ok=True)
        self.recorder.record.unlink(missing_ok=True)
        command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", FAULT, what, str(out), *self.line]
        runtime = Path(tempfile.mkdtemp(dir=self.place))  # nothing remembered from the call before
        done = self._start(command, runtime, pool)
        noted = out.read_text().split() if out.exists() else []
        record = self.recorder.record
        return done.returncode, done.stderr.decode().splitlines(), noted, _seen(record.read_bytes()) if record.exists() else {}

    def bare(self, pool: Pool) -> dict[str, Any]:
        """Run the tool itself: what it saw."""
        self._start([self.recorder.path, *self.line[1:]], self.place, pool)
        return _seen(self.recorder.record.read_bytes())

    def _start(self, command: list[str], runtime: Path, pool: Pool) -> subprocess.CompletedProcess[bytes]:
        env = {**self.env, "MAKEFLAGS": pool.makeflags, "XDG_RUNTIME_DIR": str(runtime)}
        return subprocess.run(command, env=env, pass_fds=pool.pass_fds, capture_output=True, check=False, timeout=60)


def _seen(data: bytes) -> dict[str, Any]:
    """Read a record without what differs from run to run: the pipes of stdout and stderr, the runtime directory, and our loop markers."""
    record = parse(data)
    ours = (b"_LDSHIM_VIA=", b"_LDSHIM_DEPTH=", b"_LDSHIM_LAST=", b"XDG_RUNTIME_DIR=")
    record["environ"] = [entry for entry in record["environ"] if not entry.startswith(ours)]
    record["fds"] = {number: what for number, what in record["fds"].items() if number > 2}
    return record


@pytest.fixture
def calls(shim: Shim, program: Program, tmp_path: Path) -> dict[str, Call]:
    """Prepare a GCC LTO link, a ThinLTO link and a compile."""
    slim = program.objects(tools.need(tools.GCC), "-O1", "-flto")
    thin = program.objects(tools.clang_of(tools.LLD), "-O1", "-fPIC", "-flto=thin")
    gcc = Recorder(tmp_path / "gcc", "gcc", banner(tools.GCC))
    lld = Recorder(tmp_path / "lld", "ld.lld", banner(tools.LLD))
    (tmp_path / "words.rsp").write_text(" ".join(slim))
    return {
        "gcc": Call(gcc, shim, ["-flto=auto", f"@{tmp_path}/words.rsp", "-o", "out"], tmp_path),
        "lld": Call(lld, shim, ["-r", *thin, "-o", "out"], tmp_path),
        "compile": Call(gcc, shim, ["-c", "x.c"], tmp_path),
    }


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["gcc", "lld", "compile"])
def test_a_raise_in_any_function_costs_one_line_and_no_link(kind: str, calls: dict[str, Call]) -> None:
    """C1 C14: whichever function fails, the tool sees what a bare one does, one line says so, and every token comes back."""
    call = calls[kind]
    tokens = b"ab"
    with Pool(tokens) as pool:
        status, said, called, _ = call.run("trace", pool)
        assert (0, []) == (status, said)
    called = [name for name in called if name not in SKELETON and not name.endswith(("__init__", "<lambda>"))]
    assert len(called) > {"gcc": 90, "lld": 80, "compile": 15}[kind], called
    wrong = []
    for name in called:
        with Pool(tokens) as pool:
            bare = call.bare(pool)
            status, said, _, seen = call.run(name, pool)
            settled = pool.settled()
        differ = [key for key in bare if seen.get(key) != bare[key] and (name, key) != REAPER]
        as_it_was = not differ and len(said) == 1 and "injected" in said[0]
        if (status, settled) != (0, True) or not (as_it_was or (name.startswith(READERS) and seen and said == [])):
            wrong.append(f"{name}: status {status}, tokens back: {settled}, not the bare call's: {differ}, said: {said}")
    assert [] == wrong, "\n".join(wrong)
