"""Hazards of PID namespaces: a warden that the kernel kills with its namespace, and a /proc whose numbers are other processes'."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldshim.call import processes
from ldshim.reserve import jobserver, makeflags, source
from tests.support import tools
from tests.support.pool import Pool
from tests.support.recorder import Recorder, banner
from tests.support.shim import ROOT
from tests.toolchain.test_recover_real import may_unshare

if TYPE_CHECKING:
    from tests.support.program import Program
    from tests.support.shim import Shim

NAMESPACE = ("--pid", "--fork", "--mount-proc")


class Case:
    """One kind of link, of a tool that only records how it was called."""

    def __init__(self, tool: str, compiler: tuple[str, ...], place: Path, program: Program, shim: Shim) -> None:
        if os.geteuid() != 0:
            tools.missing("root, to make a PID namespace")
        real, self.name = tool, tool.rpartition("-")[0]
        self.recorder = Recorder(place / "tool", self.name, banner(real))
        objects = program.objects(*compiler)
        self.command = [shim.named(self.name), *(["-flto=auto"] if self.name == "gcc" else []), *objects, "-o", "out"]
        pin = {f"LDSHIM_REAL_{self.name.upper().replace('.', '_')}": self.recorder.path}
        self.env = shim.environment(**pin, LDSHIM_EXPLAIN="1")

    def run(self, pool: Pool, *prefix: str) -> tuple[list[bytes], str]:
        """Run it: the arguments that the tool saw, and what was said."""
        self.recorder.record.unlink(missing_ok=True)
        env = {**self.env, "MAKEFLAGS": pool.makeflags}
        done = subprocess.run([*prefix, *self.command], env=env, pass_fds=pool.pass_fds, stderr=subprocess.PIPE, check=True)
        return self.recorder.record.read_bytes().partition(b"\nenviron ")[0].split(b"\0"), done.stderr.decode()


@pytest.fixture(params=["gcc-12", "ld.lld-16"])
def case(request: pytest.FixtureRequest, tmp_path: Path, program: Program, shim: Shim) -> Case:
    """Provide a link of GCC's and one of lld's."""
    tool = request.param
    compiler = (tools.need(tool), "-O1", "-flto") if tool == "gcc-12" else (tools.clang_of(tool), "-O1", "-fPIC", "-flto=thin")
    return Case(tool, compiler, tmp_path, program, shim)


@pytest.mark.parametrize("style", ["pipe", "fifo"])
def test_a_link_that_is_pid_1_takes_no_token(case: Case, style: str) -> None:
    """C14: its end kills the warden with the namespace; it runs one job, says why, and the pool is whole after each of several."""
    unshare = may_unshare(*NAMESPACE)
    one = b"-flto=1" if case.name == "gcc" else b"--threads=1"
    with Pool(b"abc", style) as pool:
        for _ in range(3):
            argv, said = case.run(pool, unshare, *NAMESPACE)
            assert (True, True, 3) == (one in argv, source.PID_ONE in said, pool.available())


def test_a_link_whose_make_is_inside_holds_tokens(case: Case) -> None:
    """C11 C14: mock, sbuild, a container's build: the link is not PID 1, and the namespace outlives it."""
    unshare = may_unshare(*NAMESPACE)
    with Pool(b"abc", "fifo") as pool:
        argv, said = case.run(pool, unshare, *NAMESPACE, "sh", "-c", '"$@"; status=$?; sleep 1; exit $status', "sh")
        assert (False, False) == (b"--threads=1" in argv or b"-flto=1" in argv, source.PID_ONE in said)


def test_pid_1_may_hold_what_comes_back_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """C14: a character device takes tokens back from the dead; in the machine's own namespace nothing kills the warden."""
    with Pool(b"abc") as pool:
        client = jobserver.connect(makeflags.parse(pool.makeflags.encode()))
        assert isinstance(client, jobserver.Jobserver)
        assert "" == source.refusal(client)
        monkeypatch.setattr(os, "getpid", lambda: 1)
        monkeypatch.setattr(os, "readlink", lambda _: b"pid:[4026531999]")
        assert source.PID_ONE == source.refusal(client)
        monkeypatch.setattr(jobserver.Jobserver, "is_device", property(lambda _: True))
        assert "" == source.refusal(client)
        monkeypatch.setattr(jobserver.Jobserver, "is_device", property(lambda _: False))
        monkeypatch.setattr(os, "readlink", lambda _: b"pid:[4026531836]")
        assert "" == source.refusal(client)
        monkeypatch.undo()
        client.close()


def test_under_a_foreign_proc_nothing_is_read_by_number_and_explain_says_so(case: Case) -> None:
    """C14: the number is fixed, no stranger is confined or taken for a child, and what is off is named."""
    unshare = may_unshare("--pid", "--fork")
    keep = ("sh", "-c", '"$@"; status=$?; sleep 1; exit $status', "sh")
    with Pool(b"abc", "fifo") as pool:
        argv, said = case.run(pool, unshare, "--pid", "--fork", *keep)
        assert pool.settled(5)
    number = b"-flto=4" if case.name == "gcc" else b"--threads=4"
    if len(os.sched_getaffinity(0)) >= 4:
        assert number in argv
    word = "elastic" if case.name == "gcc" else "confined"
    assert f"not {word}: {processes.FOREIGN}" in said
    assert f"ldshim: proc      {processes.FOREIGN}" in said


def test_every_question_by_number_has_no_answer_under_a_foreign_proc(tmp_path: Path) -> None:
    """C14: pid 1 is here the namespace's own first process, and there the machine's: neither its name nor its children are told."""
    if os.geteuid() != 0:
        tools.missing("root, to make a PID namespace")
    asks = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from ldshim.call import prepaid, processes\n"
        "from ldshim.reserve import memory_ledger\n"
        "from ldshim.warden import confinement\n"
        "own = processes.own_stamp()\n"
        "inside = processes.is_own_namespace()\n"
        "print([inside, processes.comm(1), processes.children(1), processes.holders(1), processes.parent(os.getpid()),\n"
        "       confinement.threads_of(1), confinement.obstacle(os.getpid()) == processes.FOREIGN, memory_ledger.used(1),\n"
        "       prepaid.payer(['flto']), processes.lives(own), processes.lives(b'4000000.1')])\n"
    )
    script = tmp_path / "ask.py"
    script.write_text(asks)
    unshare = may_unshare("--pid", "--fork")
    done = subprocess.run([unshare, "--pid", "--fork", sys.executable, str(script), str(ROOT)], stdout=subprocess.PIPE, check=True)
    assert "[False, b'', [], [], 0, [], True, 0, '', True, False]" == done.stdout.decode().strip()
