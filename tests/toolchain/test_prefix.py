"""Hazards of words in front of a tool: an option taken for the command, a prefix that is not run, a cache that sees another compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldshim.call import prefix, real_tool
from tests.support import tools
from tests.support.observe import Gate
from tests.support.pool import Pool
from tests.support.program import PARTITIONS, Program, bare_environment, sha256
from tests.support.recorder import Recorder, banner
from tests.support.shim import handed_over, script

if TYPE_CHECKING:
    from tests.support.shim import Shim

GCC = "gcc-12"


@pytest.mark.parametrize(
    ("line", "front", "tool"),
    [
        ("nice gcc a.o", "", "gcc"), ("nice -n 5 gcc", "-n 5", "gcc"), ("nice -n5 gcc", "-n5", "gcc"), ("nice -10 gcc", "-10", "gcc"),
        ("nice --adjustment=5 gcc", "--adjustment=5", "gcc"), ("nice --adjustment 5 ld", "--adjustment 5", "ld"),
        ("env gcc", "", "gcc"), ("env A=1 B= x=/y=z ld.lld-16", "A=1 B= x=/y=z", "ld.lld-16"), ("env -i - A=1 cc", "-i - A=1", "cc"),
        ("env -u A -C /tmp -iuB --unset=C --chdir / gcc", "-u A -C /tmp -iuB --unset=C --chdir /", "gcc"),
        ("env --block-signal=INT --ignore-signal -- gcc", "--block-signal=INT --ignore-signal --", "gcc"),
        ("/usr/bin/env A=1 /opt/bin/arm-linux-gcc", "A=1", "/opt/bin/arm-linux-gcc"),
        ("taskset -c 0 gcc", "-c 0", "gcc"), ("taskset 1 gcc", "1", "gcc"), ("taskset -ac 0-3 gcc", "-ac 0-3", "gcc"),
        ("ionice -c3 -n 7 gcc", "-c3 -n 7", "gcc"), ("ionice -c 2 -t gcc", "-c 2 -t", "gcc"), ("chrt -b 0 gcc", "-b 0", "gcc"),
        ("setarch x86_64 -R gcc", "x86_64 -R", "gcc"), ("setarch -R gcc", "-R", "gcc"), ("linux32 gcc", "", "gcc"),
        ("prlimit --nofile=64 -n --as=1000: gcc", "--nofile=64 -n --as=1000:", "gcc"),
        ("prlimit -n64:64 -o A gcc", "-n64:64 -o A", "gcc"),
        ("timeout -k 5 --signal=INT 60 gcc", "-k 5 --signal=INT 60", "gcc"), ("stdbuf -oL -e 0 gcc", "-oL -e 0", "gcc"),
        ("time -f %e -o t -a gcc", "-f %e -o t -a", "gcc"), ("nohup gcc", "", "gcc"), ("setsid -fw gcc", "-fw", "gcc"),
        ("flock -n -w 3 lock gcc", "-n -w 3 lock", "gcc"), ("numactl -C 0 --membind 1 gcc", "-C 0 --membind 1", "gcc"),
        ("nice -n 5 env A=1 taskset 3 gcc", "-n 5 env A=1 taskset 3", "gcc"),
    ],
)  # fmt: skip
def test_the_tool_is_found_behind_a_prefix_program(line: str, front: str, tool: str) -> None:
    """C1: options with values, clusters, long options and operands are not taken for the command; ldshim goes in front of the tool."""
    name, *args = line.encode().split()
    found = prefix.look(real_tool.program_name(name), args)
    assert isinstance(found, prefix.Behind), found
    assert (front.encode().split(), tool.encode()) == (args[: found.at], args[found.at])
    assert found.at == found.insert


@pytest.mark.parametrize(
    ("line", "at", "insert"),
    [
        ("ccache gcc -c", 0, -1), ("sccache clang", 0, -1), ("distcc g++", 0, -1), ("icecc /usr/bin/gcc", 0, -1),
        ("ccache A=1 b=c gcc", 2, -1),
        ("ccache distcc gcc", 1, -1), ("nice -n 5 ccache gcc", 3, 2), ("env A=1 ccache distcc gcc", 3, 1),
    ],
)  # fmt: skip
def test_a_compiler_cache_is_not_given_another_compiler(line: str, at: int, insert: int) -> None:
    """C1: nothing is put between a cache and its compiler; a program in front of the cache gets ldshim behind itself."""
    name, *args = line.encode().split()
    found = prefix.look(name, args)
    assert isinstance(found, prefix.Behind), found
    assert (at, insert) == (found.at, found.insert)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("make -j4", "make: it is no compiler"), ("python3 -m ziglang cc a.o", "python3: it is no compiler"), ("zig cc a.o", "zig: it "),
        ("nice make", "nice: it runs no tool that ldshim knows by name: make"), ("nice", "nice: no command follows"),
        ("nice -z 5 gcc", "nice: an option that ldshim does not know: -z"), ("env -S gcc", "env: an option"),
        ("env --help", "env: an option that ldshim does not know: --help"), ("taskset -p 1 gcc", "taskset: an option"),
        ("ionice -p 1", "ionice: an option"),
        ("flock lock -c gcc", "flock: it runs no tool that ldshim knows by name: -c"),
        ("nice -n", "nice: no command follows"), ("timeout 5", "timeout: no command follows"), ("env A=1", "env: no command follows"),
        ("ccache -s", "ccache: an option"), ("ccache", "ccache: no command follows"), ("distcc -c x.c", "distcc: an option"),
        ("ccache nice gcc", "nice after a compiler cache"), ("nice ldshim gcc", "nice: it runs ldshim"),
        ("env A=1 /opt/bin/ldshim gcc", "env: it runs ldshim"), ("prlimit --bogus=1 gcc", "prlimit: an option"),
        ("nice --adj=5 gcc", "nice: an option"), ("nice -: gcc", "nice: an option"), ("hipcc x.o", "hipcc: it "),
        ("gnatmake x.adb", "gnatmake: it runs gcc for its links"), ("gnatlink-12 x.ali", "gnatlink-12: it runs gcc for its links"),
        ("flang-new-19 x.o", "flang-new-19: it "),
        ("clang-cl x.obj", "clang-cl: it has the command line of MSVC's compiler"), ("wasm-ld-16 a.o", "wasm-ld-16: it links WebAssembly"),
        ("lld-link a.obj", "lld-link: it has"), ("ld64.lld a.o", "ld64.lld: it has"), ("sudo gcc", "sudo: it is no compiler"),
    ],
)  # fmt: skip
def test_what_is_not_certain_has_a_reason(line: str, why: str) -> None:
    """C1: a program, an option or a command that is not in the table is passed through, and the reason names it."""
    name, *args = line.encode().split()
    said = prefix.look(name, args)
    assert isinstance(said, str)
    assert why == said[: len(why)]


def test_no_word_is_read_twice_and_none_raises() -> None:
    """C1: every prefix program in front of any single word ends in a tool, or in a reason."""
    words = [b"", b"-", b"--", b"-n", b"--x", b"--=", b"gcc", b"-:", b"\xff", b"a=b", b"-" + bytes(range(1, 48))]
    for name in (*prefix.PREFIXES, *real_tool.CACHES):
        for one in words:
            for two in words:
                found = prefix.look(name, [one, two, b"gcc"])
                assert isinstance(found, str) or found.at <= 2


@pytest.fixture(scope="module")
def lto_link(program: Program) -> list[str]:
    """Give the words of a real LTO link behind the driver's name."""
    return ["-O1", "-flto=8", *PARTITIONS, *program.objects(tools.need(GCC), "-O1", "-flto")]


def on_path(shim: Shim, place: Path, **more: str) -> dict[str, str]:
    """Make an environment in which caches keep to this machine and to this test."""
    caches = {"CCACHE_DIR": str(place / "ccache"), "DISTCC_HOSTS": "localhost", "DISTCC_DIR": str(place), "ICECC": "disable"}
    return shim.environment(PATH=os.defpath, **caches, **more)


@pytest.mark.parametrize("number", ["pin", "jobserver"])
@pytest.mark.parametrize("front", ["nice -n 1", "env LC_ALL=C", "ccache", "distcc", "icecc"])
def test_a_real_link_behind_a_prefix_gets_its_number(front: str, number: str, shim: Shim, lto_link: list[str], tmp_path: Path) -> None:
    """C4 C14 C19: as many LTRANS at once as granted, the bare link's bytes, and every token back, whatever stands in front of gcc."""
    tools.need(front.partition(" ")[0])
    bare = subprocess.run([tools.need(GCC), *lto_link, "-o", "bare"], cwd=tmp_path, env=bare_environment(), check=True, capture_output=True)
    gate = Gate(tmp_path / "gate", tools.need(GCC))
    line = [shim.command, *front.split(), GCC, gate.flag, *lto_link, "-o", "ours"]
    with Pool(b"x") as pool:
        more = {"LDSHIM_JOBS": "1"} if number == "pin" else {"MAKEFLAGS": pool.makeflags, "LDSHIM_ELASTIC": "0", "LDSHIM_CPUS": "2"}
        allowed = 1 if number == "pin" else min(2, len(os.sched_getaffinity(0)))
        env = on_path(shim, tmp_path, LDSHIM_LOG=str(tmp_path / "log"), **more)
        with open(tmp_path / "err", "wb") as err:
            link = subprocess.Popen(line, cwd=tmp_path, env=env, stderr=err, pass_fds=pool.pass_fds)
        assert (0, bare.stderr) == (gate.watch(link, lambda: allowed), (tmp_path / "err").read_bytes())
    assert allowed == gate.peak()
    assert sha256(tmp_path / "bare") == sha256(tmp_path / "ours")
    (record,) = handed_over(tmp_path / "log")
    assert (number, allowed) == (record["source"], record["granted"])


def test_a_compile_behind_a_cache_is_called_as_it_was_written(shim: Shim, lto_link: list[str], tmp_path: Path) -> None:
    """C2: the cache sees the very words of a compile, and the compiler that it hashes; only a link's words are edited."""
    (tmp_path / "x.c").write_text("int main(void) { return 0; }\n")
    tool = Recorder(tmp_path / "bin", GCC, banner(GCC))
    cache = Recorder(tmp_path / "cache", "ccache", "ccache version 4.7.5")
    env = on_path(shim, tmp_path, LDSHIM_JOBS="1")
    env["PATH"] = f"{cache.place}:{tool.place}:{env['PATH']}"
    compile_line = [b"ccache", GCC.encode(), b"-c", b"x.c"]
    assert compile_line == cache.run([shim.command, *map(os.fsdecode, compile_line)], env=env, cwd=tmp_path)["argv"]
    link = ["ccache", GCC, *lto_link, "-o", "out"]
    edited = [os.fsencode("-flto=1" if word == "-flto=8" else word) for word in link]
    assert edited == cache.run([shim.command, *link], env=env, cwd=tmp_path)["argv"]


def test_ccache_hits_for_the_same_compile_with_and_without_us(shim: Shim, tmp_path: Path) -> None:
    """C2: what ccache has stored for a bare call it finds again when ldshim stands in front."""
    tools.need("ccache")
    (tmp_path / "x.c").write_text("int main(void) { return 0; }\n")
    env = on_path(shim, tmp_path)
    for front in ([], [shim.command]):
        subprocess.run([*front, "ccache", tools.need(GCC), "-c", "x.c"], cwd=tmp_path, env=env, check=True)
    said = subprocess.run(["ccache", "--print-stats"], env=env, stdout=subprocess.PIPE, check=True).stdout.decode()
    assert "1" == dict(line.split("\t") for line in said.splitlines())["direct_cache_hit"]


@pytest.mark.parametrize("line", ["nice -n 3", "env -u HOME A=1"])
def test_a_prefix_program_runs_before_the_number_is_decided(line: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C1: what nice and env change has been changed when the tool runs, and the pin that env sets is the one that holds."""
    tool = Recorder(tmp_path / "bin", GCC, banner(GCC))
    objects = program.objects(tools.need(GCC), "-O1", "-flto")
    env = on_path(shim, tmp_path, LDSHIM_JOBS="3", HOME="/")
    env["PATH"] = f"{tool.place}:{env['PATH']}"
    pin = ["LDSHIM_JOBS=2"] if line.startswith("env") else []
    command = [shim.command, *line.split(), *pin, GCC, "-flto=8", *PARTITIONS, *objects, "-o", "out"]
    said = tool.run(command, env=env)
    assert f"-flto={2 if pin else 3}".encode() == said["argv"][1]
    if pin:
        assert (True, False) == (b"A=1" in said["environ"], b"HOME=/" in said["environ"])
    else:
        assert str(3 + os.getpriority(os.PRIO_PROCESS, 0)) == said["nice"]


def test_words_too_long_for_ldshim_behind_a_prefix_run_as_they_were(shim: Shim, tmp_path: Path) -> None:
    """C1: what fails is the caller's own command, with its own status, where the tool behind the prefix is not there."""
    env = on_path(shim, tmp_path)
    bare = subprocess.run(["/usr/bin/nice", "no-such-gcc", "a.o"], env=env, capture_output=True, check=False)
    ours = subprocess.run([shim.command, "/usr/bin/nice", "no-such-gcc", "a.o"], env=env, capture_output=True, check=False)
    assert bare.returncode == ours.returncode == 127


@pytest.mark.parametrize("line", ["make --version", "nice -z gcc a.o", "python3 --version", "gnatmake x"])
def test_explain_says_why_a_call_is_passed_through(line: str, shim: Shim, tmp_path: Path) -> None:
    """C1: one line under LDSHIM_EXPLAIN=1 and in `ldshim explain`, with the same reason; nothing without it."""
    words = line.split()
    stand_in = tmp_path / words[0]
    script(stand_in, "exit 0")
    env = on_path(shim, tmp_path)
    env["PATH"] = f"{tmp_path}:{env['PATH']}"
    quiet = subprocess.run([shim.command, *words], env=env, capture_output=True, check=True)
    said = subprocess.run([shim.command, *words], env={**env, "LDSHIM_EXPLAIN": "1"}, capture_output=True, check=True)
    told = subprocess.run([shim.command, "explain", "--", *words], env=env, capture_output=True, check=True).stdout.decode()
    assert (b"", b"") == (quiet.stdout, quiet.stderr)
    assert 1 == said.stderr.count(b"\n")
    reason = said.stderr.decode().removeprefix("ldshim: ").rstrip()
    assert ("reason", True) == (reason[:6], reason.endswith(": passed through"))
    assert reason in told.splitlines()


def test_explain_shows_the_call_behind_a_prefix(shim: Shim, lto_link: list[str], tmp_path: Path) -> None:
    """C1: `explain` of a prefixed link names the prefix and explains the tool's call; a compile behind it stays the prefix's own."""
    env = on_path(shim, tmp_path, LDSHIM_JOBS="1")

    def told(*words: str) -> str:
        return subprocess.run([shim.command, "explain", "--", *words], env=env, stdout=subprocess.PIPE, check=True).stdout.decode()

    plain = told(GCC, *lto_link, "-o", "out")
    nice = told("nice", "-n", "1", GCC, *lto_link, "-o", "out").splitlines()
    assert [f"prefix    nice: runs ldshim, which decides for {GCC}; the changes it makes are not shown here"] == [
        line for line in nice if line not in plain.splitlines()
    ]
    if shutil.which("ccache"):
        ccache = told("ccache", GCC, *lto_link, "-o", "out").splitlines()
        assert ["prefix    ccache: runs the tool with the edited arguments"] == [line for line in ccache if line not in plain.splitlines()]
    assert "prefix " not in told("nice", GCC, "-c", "x.c")
