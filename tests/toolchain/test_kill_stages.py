"""SIGKILL at every stage of our own start-up, one stage after the other: no token is lost, and none is taken for nobody.

The stages are reached by fault injection: a driver imports ldshim, makes one function kill at the right moment, and then does
what the console script does. The victim is always the process that make started: the shim, up to exec. Every pair of stage, style of
jobserver and fixed or elastic is run (rows.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import tools
from tests.support.flight import LLD, marked, wait_for
from tests.support.pool import Pool
from tests.support.rows import rows

if TYPE_CHECKING:
    from tests.support.program import Program
    from tests.support.shim import Shim

ROOT = Path(__file__).resolve().parents[2]

DRIVER = """
import os, signal, sys
sys.path.insert(0, {root!r})
from ldshim import __main__, analysis, entry
from ldshim.warden import handover
from ldshim.reserve import jobserver, source

LINK = os.getpid()

def die():
    os.kill(LINK, signal.SIGKILL)

def then(module, name, before=None, after=None):
    real = getattr(module, name)
    def patched(*args, **more):
        if before:
            before()
        out = real(*args, **more)
        if after:
            after()
        return out
    setattr(module, name, patched)

def between(self, most, grace=0.0, real=jobserver.Jobserver.take):
    # In the warden, which takes the first token, and the link is gone before it takes the second.
    took = real(self, min(most, 1), 0.0)
    die()
    return took + real(self, most - took, 0.0)

def quiet(fork=os.fork):
    pid = fork()
    if os.getppid() == LINK and pid:
        os.kill(os.getpid(), signal.SIGKILL)  # the intermediate child, as soon as the warden is there
    return pid

stage = sys.argv[1]
if stage == "before the analysis":
    then(analysis, "analyse", before=die)
elif stage == "with the jobserver open":
    then(source, "find_jobserver", after=die)
elif stage == "before the fork":
    then(handover, "leave_warden", before=die)
elif stage == "before the acquisition":
    then(jobserver.Jobserver, "take", before=die)
elif stage == "between two acquisitions":
    jobserver.Jobserver.take = between
elif stage == "after the acquisition":
    then(jobserver.Jobserver, "take", after=die)
elif stage == "with the warden's report":
    then(handover, "leave_warden", after=die)
elif stage == "before exec":
    then(handover, "replace_process", before=die)
elif stage == "the intermediate child":
    os.fork = quiet
sys.argv[1:2] = []
def words(argv=[os.fsencode(word) for word in sys.argv]):
    return argv
entry.command_line = words
sys.argv[0] = "ldshim"
words.__defaults__[0][0] = b"ldshim"
__main__.main()
"""

STAGES = [
    "before the analysis",
    "with the jobserver open",
    "before the fork",
    "before the acquisition",
    "between two acquisitions",
    "after the acquisition",
    "with the warden's report",
    "before exec",
]


def start(stage: str, pool: Pool, shim: Shim, program: Program, place: Path, elastic: str) -> subprocess.Popen[bytes]:
    """Start a ThinLTO link by the driver, with a fault at one stage."""
    driver = place / "driver.py"
    driver.write_text(DRIVER.format(root=str(ROOT)))
    objects = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    command = [sys.executable, str(driver), stage, tools.need(LLD), "-r", *objects, "-o", str(place / "out")]
    env = shim.environment(MAKEFLAGS=pool.makeflags, LDSHIM_ELASTIC=elastic, FLIGHT=str(place))
    return subprocess.Popen(command, env=env, pass_fds=pool.pass_fds, start_new_session=True, stderr=subprocess.PIPE)


@pytest.mark.parametrize(("stage", "style", "elastic"), rows(STAGES, ["pipe", "fifo"], ["0", "1"]))
def test_sigkill_at_a_stage_of_the_start_loses_nothing(
    stage: str, style: str, elastic: str, shim: Shim, program: Program, tmp_path: Path
) -> None:
    """C14: every byte is back, unchanged, and no process of ours outlives the shim."""
    with Pool(b"\x00a\xff", style=style) as pool:
        link = start(stage, pool, shim, program, tmp_path, elastic)
        _, said = link.communicate(timeout=60)
        assert (-signal.SIGKILL, b"") == (link.returncode, said)
        wait_for(lambda: marked(tmp_path) == {})


@pytest.mark.parametrize("style", ["pipe", "fifo"])
def test_sigkill_of_the_intermediate_child_is_not_even_seen(style: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C14: the child between shim and warden may die as soon as the warden is there; the link goes on."""
    with Pool(b"\x00a\xff", style=style) as pool:
        link = start("the intermediate child", pool, shim, program, tmp_path, "0")
        _, said = link.communicate(timeout=60)
        assert (0, b"") == (link.returncode, said)
        wait_for(lambda: marked(tmp_path) == {})


CLOSER = "import os, time; os.closerange(3, 4096); open('closed', 'w').close(); open('go').read()"
SERVER = """
import os, subprocess, sys, time
flags = os.environ["MAKEFLAGS"].rpartition("--jobserver-auth=")[2].split()[0]
for fd in ([] if flags.startswith("fifo:") else flags.split(",")):
    os.close(int(fd))  # what a well-behaved server does, and a bare link would need as well
server = subprocess.Popen(["sleep", "300"], close_fds=False, start_new_session=True)
open("server", "w").write(str(server.pid))
"""


def stand_in(place: Path, code: str) -> str:
    """Write a linker that is lld by its --version and runs Python code instead of a link."""
    path = place / "ld.lld"
    (place / "code.py").write_text(code)
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {tools.need(LLD)} --version\nexec {sys.executable} {place}/code.py\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("make", ["make43", "make44"])
def test_a_tool_that_closes_every_descriptor_keeps_its_tokens_to_the_end(make: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C14, C15: below a real make the tokens of a linker that closed everything stay out while it lives, and make finds its pool whole."""
    (tmp_path / "Makefile").write_text("link:\n\t+@$(LINK)\n\t+@: tokens are back\n")
    os.mkfifo(tmp_path / "go")
    objects = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    env = shim.environment(LDSHIM_REAL_LD_LLD=stand_in(tmp_path, CLOSER), LDSHIM_ELASTIC="0", FLIGHT=str(tmp_path))
    command = [getattr(tools, make)(), "-j4", "LINK=" + " ".join([shim.named("ld.lld"), "-r", *objects, "-o", "out"])]
    build = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for((tmp_path / "closed").exists)
    time.sleep(0.3)  # time in which a warden that trusts its life pipe alone would give the tokens back
    wardens = [pid for pid in marked(tmp_path) if Path(f"/proc/{pid}/comm").read_text() == "ldshim-warden\n"]
    with open(tmp_path / "go", "w"):
        pass
    said, _ = build.communicate(timeout=60)
    assert (1, 0, b"") == (len(wardens), build.returncode, said)
    wait_for(lambda: marked(tmp_path) == {})


@pytest.mark.parametrize("make", ["make43", "make44"])
def test_make_ends_although_a_server_keeps_what_we_left_it(make: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C15: a server started under the link holds our life pipe for minutes; make has ended, with every token, while it still runs."""
    (tmp_path / "Makefile").write_text("link:\n\t+@$(LINK)\n")
    objects = program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin")
    env = shim.environment(LDSHIM_REAL_LD_LLD=stand_in(tmp_path, SERVER), LDSHIM_ELASTIC="0", FLIGHT=str(tmp_path))
    command = [getattr(tools, make)(), "-j4", "LINK=" + " ".join([shim.named("ld.lld"), "-r", *objects, "-o", "out"])]
    with open(tmp_path / "said", "wb") as said:  # a pipe would be kept open by the server
        build = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=said, stderr=said)
        status = build.wait(60)
    server = int((tmp_path / "server").read_text())
    try:
        alive = Path(f"/proc/{server}/comm").read_text()
        wait_for(lambda: list(marked(tmp_path)) == [server])
    finally:
        os.kill(server, signal.SIGKILL)
    assert (0, b"", "sleep\n") == (status, (tmp_path / "said").read_bytes(), alive)
