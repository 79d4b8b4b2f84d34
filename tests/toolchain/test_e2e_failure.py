"""When things go wrong: tools that are not there, inputs that are not there, signals; the caller sees what it would see bare.

Linkers are held at a known point, so that a signal meets them there and not some milliseconds later: GCC at the gate with its LTRANS jobs
alive, lld by a stand-in that answers --version as lld does and otherwise waits. Tokens are counted by the pool after every case.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import tools
from tests.support.flight import wait_for
from tests.support.observe import Gate
from tests.support.pool import Pool
from tests.support.program import PARTITIONS, Program, bare_environment
from tests.support.shim import script
from tests.support.ways import session

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.support.shim import Shim

GCC, LLD, CLANG = tools.GCC, tools.LLD, tools.CLANG
SIGNALS = [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
TOKENS = b"\x00a\xff"
MAKES = {"make43": tools.make43, "make44": tools.make44}


def fake_lld(path: Path, *instead: str) -> str:
    """Write a linker that is lld by its --version and does something else when it should link."""
    return script(path, f'[ "$1" = --version ] && exec {tools.need(LLD)} --version', *instead)


def thin_line(program: Program) -> list[str]:
    """Spell a ThinLTO link for lld, up to -o."""
    return ["-r", *program.objects(tools.clang_of(LLD), "-O1", "-fPIC", "-flto=thin"), "-o"]


def test_a_missing_tool_is_127_and_one_line_that_says_where_it_looked(shim: Shim, tmp_path: Path) -> None:
    """Without the real tool the status is 127, stdout is empty, and one line on stderr names the tool and every directory searched (C6)."""
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    path = os.pathsep.join([str(shim.links), *map(str, places)])
    env = shim.environment(PATH=path)
    for command in ([shim.named("wild")], [shim.command, "wild"], [shim.named("gcc"), "-c", "x.c"], [shim.named("ld"), "--version"]):
        done = subprocess.run(command, env=env, capture_output=True, check=False)
        said = done.stderr.decode()
        assert (127, b"", 1) == (done.returncode, done.stdout, said.count("\n"))
        assert [] == [place for place in places if str(place) not in said]


@pytest.mark.parametrize(("what", "status"), [("not executable", 126), ("no such interpreter", 127)])
def test_a_tool_that_cannot_run_is_one_line_too(what: str, status: int, shim: Shim, tmp_path: Path) -> None:
    """A real tool that is there and cannot be executed gives 126 (its interpreter missing: 127), and one line that names it (C6)."""
    tool = tmp_path / "tool"
    tool.write_text("#!/no/such/interpreter\n")
    tool.chmod(0o644 if what == "not executable" else 0o755)
    env = shim.environment(LDSHIM_REAL_GCC=str(tool))
    done = subprocess.run([shim.named("gcc"), "-c", "x.c"], env=env, capture_output=True, check=False)
    assert (status, b"", 1) == (done.returncode, done.stdout, done.stderr.count(b"\n"))
    assert str(tool) in done.stderr.decode()


def test_a_real_tool_that_is_named_wrongly_costs_one_line_and_no_build(shim: Shim, tmp_path: Path) -> None:
    """LDSHIM_REAL_<NAME> naming nothing is a malformed value: one line says so, and the tool on PATH runs (C1 C6)."""
    name = "LDSHIM_REAL_" + GCC.upper().replace("-", "_")
    bare = subprocess.run([tools.need(GCC), "-dumpversion"], stdout=subprocess.PIPE, check=True)
    for wrong in (tmp_path, tmp_path / "nothing"):
        env = shim.environment(**{name: str(wrong)})
        done = subprocess.run([shim.named(GCC), "-dumpversion"], env=env, capture_output=True, check=True)
        assert (bare.stdout, 1) == (done.stdout, done.stderr.count(b"\n"))
        assert done.stderr.startswith(f"ldshim: {name}: ".encode())


@pytest.mark.parametrize("tool", [GCC, LLD, CLANG, "ld.bfd"])
def test_a_missing_object_is_the_linkers_own_business(tool: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """An input that does not exist gives the real tool's message and status, to the byte, and costs no token (C1 C3 C14)."""
    if tool == GCC:
        line = ["-O1", "-flto=auto", *PARTITIONS, *program.objects(tools.need(GCC), "-O1", "-flto")]
    elif tool == CLANG:
        line = ["-flto=thin", "-fuse-ld=lld", *program.objects(tools.need(tool), "-O1", "-fPIC", "-flto=thin")]
    else:
        line = thin_line(program)[:-1]
    line += [str(tmp_path / "missing.o"), "-o", str(tmp_path / "out")]
    bare = subprocess.run([tools.need(tool), *line], env=bare_environment(), capture_output=True, check=False)
    with Pool(TOKENS) as pool:
        env = shim.environment(MAKEFLAGS=pool.makeflags)
        done = subprocess.run([shim.named(tool), *line], env=env, pass_fds=pool.pass_fds, capture_output=True, check=False)
    assert bare.returncode != 0
    assert (bare.returncode, bare.stdout, without_names(bare.stderr)) == (done.returncode, done.stdout, without_names(done.stderr))


def without_names(stderr: bytes) -> list[bytes]:
    """Drop what differs between two bare runs as well: collect2's temporary files and lld's own process."""
    return [line for line in stderr.splitlines() if b"/cc" not in line]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("elastic", ["0", "1"], ids=["fixed", "elastic"])
@pytest.mark.parametrize("whole_group", [False, True], ids=["alone", "group"])
def test_tokens_of_a_killed_lld_come_back(
    whole_group: bool, elastic: str, number: signal.Signals, shim: Shim, program: Program, tmp_path: Path
) -> None:
    """A linker that dies by a signal is seen to die by it, and its tokens are back, whether its whole group was hit or not (C3 C14 C15)."""
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    fake = fake_lld(tmp_path / "ld.lld", f"echo >{ready}", "exec sleep 60")
    command = [shim.named("ld.lld"), *thin_line(program), str(tmp_path / "out")]
    with Pool(TOKENS) as pool:
        larger = {"LDSHIM_CPUS": "8"} if elastic == "0" else {}
        env = shim.environment(MAKEFLAGS=pool.makeflags, LDSHIM_REAL_LD_LLD=fake, LDSHIM_ELASTIC=elastic, **larger)
        with session(command, env=env, pass_fds=pool.pass_fds) as link:
            ready.read_bytes()
            if elastic == "0":  # an elastic one holds no more than there are CPUs, and soon sees that this linker is idle
                held = len(TOKENS) - pool.available()
                assert len(TOKENS) == held
            (os.killpg if whole_group else os.kill)(link.pid, number)
            assert -number == link.wait()


class Gated:
    """A GCC link through ldshim that is held with every LTRANS job alive that it may run. Leaving the `with` on an error ends it.

    first: a directory to put first on PATH; jobs: how many there will be, 0: the tokens of the pool and one; more: for the environment.
    """

    def __init__(self, shim: Shim, program: Program, pool: Pool, place: Path, first: str = "", jobs: int = 0, **more: str) -> None:
        self.gate = Gate(place / "gate", tools.need(GCC))
        objects = program.objects(tools.need(GCC), "-O1", "-flto")
        command = [shim.named(GCC), "-O1", "-flto=auto", *PARTITIONS, self.gate.flag, *objects, "-o", str(place / "out")]
        env = shim.on(8, MAKEFLAGS=pool.makeflags, TMPDIR=str(place), **more)  # killed links leave their temporary files
        env["PATH"] = f"{first}{os.pathsep}{env['PATH']}" if first else env["PATH"]
        with contextlib.ExitStack() as stack:
            self.process = stack.enter_context(session(command, env=env, pass_fds=pool.pass_fds, stderr=subprocess.DEVNULL))
            wait_for(lambda: self.gate.alive() == (jobs or len(pool.tokens) + 1))
            self.stack = stack.pop_all()

    def __enter__(self) -> Gated:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stack.__exit__(kind, error, trace)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("make", MAKES)
def test_tokens_of_a_killed_driver_stay_out_while_its_jobs_live(
    make: str, number: signal.Signals, shim: Shim, program: Program, tmp_path: Path
) -> None:
    """Killing only the driver leaves LTRANS jobs: their tokens stay out until they end, then all are back, below make 4.4 too (C14)."""
    first = tmp_path / "first"
    first.mkdir()
    (first / "make").symlink_to(MAKES[make]())
    with Pool(TOKENS) as pool, Gated(shim, program, pool, tmp_path, str(first)) as link:
        link.process.send_signal(number)
        assert -number == link.process.wait()
        time.sleep(0.5)  # time in which a careless warden would give tokens back that four compilers still use
        still_out = len(TOKENS) - pool.available()
        link.gate.open()
        assert len(TOKENS) == still_out
        assert pool.settled()
        link.gate.shut()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_tokens_of_a_killed_group_come_back(number: signal.Signals, shim: Shim, program: Program, tmp_path: Path) -> None:
    """A signal to the whole group (^C, a closed terminal, an angry person) brings every token back (C14)."""
    with Pool(TOKENS) as pool, Gated(shim, program, pool, tmp_path) as link:
        os.killpg(link.process.pid, number)
        assert -number == link.process.wait()
        assert pool.settled(), "the gate is shut: only the signal can have ended these jobs"


@pytest.mark.parametrize("make", MAKES)
def test_make_sees_the_signal_that_killed_the_linker(make: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """A linker that crashes under make is reported by make as it reports the bare one, and make finds its pool whole (C3 C14)."""
    fake = fake_lld(tmp_path / "ld.lld", "kill -SEGV $$")
    makefile = tmp_path / "Makefile"
    makefile.write_text("link:\n\t+@$(LINK)\n")
    line = " ".join([*thin_line(program), str(tmp_path / "out")])
    said = []
    for linker in (fake, shim.named("ld.lld")):
        env = shim.environment(LDSHIM_REAL_LD_LLD=fake)
        command = [MAKES[make](), "-j4", "-f", str(makefile), f"LINK={linker} {line}"]
        done = subprocess.run(command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        said.append((done.returncode, done.stdout))
    assert said[0] == said[1]
    assert b"Segmentation fault" in said[1][1]


def test_sigkill_at_any_moment_of_the_shim_loses_no_token(shim: Shim, program: Program, tmp_path: Path) -> None:
    """Wherever SIGKILL meets ldshim between its first instruction and the linker's, every token is back (C14)."""
    fake = fake_lld(tmp_path / "ld.lld", "exec sleep 60")
    command = [shim.named("ld.lld"), *thin_line(program), str(tmp_path / "out")]
    for turn in range(60):
        with Pool(TOKENS) as pool:
            env = shim.environment(MAKEFLAGS=pool.makeflags, LDSHIM_REAL_LD_LLD=fake)
            with session(command, env=env, pass_fds=pool.pass_fds) as link:
                time.sleep(turn * 0.0025)
                link.kill()
