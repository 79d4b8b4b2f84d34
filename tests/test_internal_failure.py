"""A raise in every function of the pipeline, one at a time: the link happens with its original argv, and no token is lost.

First a call is traced: these are the functions that it goes through. Then it is made once for each of them, with that one raising
(fault.py). What counts is what the real tool saw (recorder.py), what stands on stderr, and the pool.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import tools
from tests.pool import Pool
from tests.recorder import Recorder, banner
from tests.shim import ROOT

if TYPE_CHECKING:
    from tests.program import Program
    from tests.shim import Shim

# The skeleton that catches, reports and becomes the tool: there is nothing below it to catch what it raises.
ENTRY = {f"ldshim.entry:{name}" for name in ("main", "run", "gather", "become", "complaint", "say", "default_interrupt")}
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
FAULT = str(Path(__file__).with_name("fault.py"))


class Call:
    """One kind of call, and where its parts stand. line: argv of the link, through ldshim."""

    def __init__(self, recorder: Recorder, shim: Shim, line: list[str], place: Path) -> None:
        self.recorder = recorder
        self.place = place
        self.name = os.path.basename(recorder.path)
        self.line = [shim.named(self.name), *line]
        pin = {f"LDSHIM_REAL_{self.name.upper().replace('.', '_')}": recorder.path}
        self.env = shim.environment(**pin, PYTHONPATH=str(ROOT), LDSHIM_LOG=str(place / "log"), LC_ALL="C.UTF-8")

    def run(self, what: str, pool: Pool) -> tuple[int, list[str], list[str], list[str]]:
        """Run it with one function raising, or traced: status, stderr, functions called or `raised`, argv that the tool saw."""
        out = self.place / "out"
        out.unlink(missing_ok=True)
        self.recorder.record.unlink(missing_ok=True)
        command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", FAULT, what, str(out), *self.line]
        runtime = Path(tempfile.mkdtemp(dir=self.place))  # nothing remembered from the call before
        env = {**self.env, "MAKEFLAGS": pool.makeflags, "XDG_RUNTIME_DIR": str(runtime)}
        done = subprocess.run(command, env=env, pass_fds=pool.pass_fds, capture_output=True, check=False, timeout=60)
        noted = out.read_text().split() if out.exists() else []
        record = self.recorder.record
        argv = record.read_bytes().partition(b"\n")[2].partition(b"\nenviron ")[0].split(b"\0")[:-1] if record.exists() else []
        return done.returncode, done.stderr.decode().splitlines(), noted, [os.fsdecode(word) for word in argv]


@pytest.fixture
def calls(shim: Shim, program: Program, tmp_path: Path) -> dict[str, Call]:
    """Prepare a GCC LTO link, a ThinLTO link and a compile."""
    slim = program.objects(tools.need("gcc-12"), "-O1", "-flto")
    thin = program.objects(tools.clang_of("ld.lld-16"), "-O1", "-fPIC", "-flto=thin")
    gcc = Recorder(tmp_path / "gcc", "gcc", banner("gcc-12"))
    lld = Recorder(tmp_path / "lld", "ld.lld", banner("ld.lld-16"))
    (tmp_path / "words.rsp").write_text(" ".join(slim))
    return {
        "gcc": Call(gcc, shim, ["-flto=auto", f"@{tmp_path}/words.rsp", "-o", "out"], tmp_path),
        "lld": Call(lld, shim, ["-r", *thin, "-o", "out"], tmp_path),
        "compile": Call(gcc, shim, ["-c", "x.c"], tmp_path),
    }


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["gcc", "lld", "compile"])
def test_a_raise_in_any_function_costs_one_line_and_no_link(kind: str, calls: dict[str, Call]) -> None:
    """C1 C14: whichever function fails, the tool runs with its original words, one line says so, and every token comes back."""
    call = calls[kind]
    tokens = b"ab"
    with Pool(tokens) as pool:
        status, said, called, _ = call.run("trace", pool)
        assert (0, []) == (status, said)
    called = [name for name in called if name not in SKELETON and not name.endswith(("__init__", "<lambda>"))]
    assert len(called) > {"gcc": 90, "lld": 80, "compile": 15}[kind], called
    wrong = []
    original = [call.recorder.path, *call.line[1:]]
    for name in called:
        with Pool(tokens) as pool:
            status, said, _, argv = call.run(name, pool)
            settled = pool.settled()
        as_it_was = argv == original and len(said) == 1 and "injected" in said[0]
        if (status, settled) != (0, True) or not (as_it_was or (name.startswith(READERS) and argv and said == [])):
            wrong.append(f"{name}: status {status}, tokens back: {settled}, original argv: {argv == original}, said: {said}")
    assert [] == wrong, "\n".join(wrong)
