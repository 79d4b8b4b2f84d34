"""Hazard: a short cut for plain links that takes a link for plain which is not, or hands it over otherwise than the long way does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldshim import plain_link
from ldshim.analysis import analyse
from ldshim.call import real_tool
from ldshim.call.environment import Environment, read_settings
from ldshim.launcher import text
from tests.support.launchers import ROOT, Dump, build_dump, call, launcher
from tests.support.tools import CLANG, LLD, need

PYTHON = getattr(sys, "_base_executable", sys.executable)
TOOLS = {"bfd": "ld.bfd", "gold": "ld.gold", "lld": LLD, "mold": "ld.mold", "gcc": "gcc", "clang": CLANG}

FILES = ["plain.o", "slim.o", "thin.o", "plain.a", "thin.a", "script.ld", "words", ".", "missing.o"]
OPTIONS = b"""-flto -flto=2 -fuse-ld=lld -Wl,thin.o -Wl,-plugin,x -Wl,slim.o -x c -Xlinker -Wl,--as-needed -lm
    -r -o -T -l -L. -lplain -lthin --library=thin -plugin --plugin liblto_plugin.so -plugin-opt=jobs=2
    --threads --threads=1 --threads=99 --thread-count --thinlto-jobs=3 --lto-O2 --fat-lto-objects --whole-archive
    --start-lib --end-lib @words -- -m elf_x86_64
    -z now --version --script --no-threads -flavor -L. -fno-lto --lto -Wl,-rpath,.""".split()
VARIABLES = [
    b"MAKEFLAGS= -j1",
    b"MAKEFLAGS= -j64 --jobserver-auth=3,4",
    b"DEB_BUILD_OPTIONS=parallel=1",
    b"LDSHIM_JOBS=1",
    b"RPM_BUILD_NCPUS=1",
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide files of every kind that a link may name."""
    place = tmp_path_factory.mktemp("inputs")
    (place / "f.c").write_text("int f(void) { return 0; }\n")
    for name, words in (("plain", ["gcc"]), ("slim", ["gcc", "-flto"]), ("thin", [CLANG, "-flto=thin"])):
        subprocess.run([need(words[0]), *words[1:], "-c", "f.c", "-o", f"{name}.o"], cwd=place, check=True)
        subprocess.run([need("ar"), "rcS", f"lib{name}.a", f"{name}.o"], cwd=place, check=True)
        (place / f"{name}.a").symlink_to(f"lib{name}.a")
    (place / "script.ld").write_text("INPUT(thin.o)\n")
    (place / "words").write_text("thin.o\n")
    return place


@pytest.mark.parametrize("family", TOOLS)
def test_what_is_plain_has_nothing_to_be_decided(inputs: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C23, C8: whenever the short cut takes a link for plain, the long way finds no LTO, no number to write and no token to take."""
    real = os.fsencode(need(TOOLS[family]))
    monkeypatch.chdir(inputs)
    name = b"gcc" if family in ("gcc", "clang") else b"ld"
    taken = []

    @settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @given(
        st.lists(st.one_of(st.sampled_from([name.encode() for name in FILES]), st.sampled_from(OPTIONS)), max_size=6),
        st.lists(st.sampled_from(VARIABLES), max_size=1),
    )
    def agree(args: list[bytes], variables: list[bytes]) -> None:
        if not plain_link.is_plain(family, args, [b"PATH=/usr/bin", *variables]):
            return
        pairs = [(b"PATH", b"/usr/bin:/bin"), (b"XDG_RUNTIME_DIR", bytes(inputs))]
        environment = Environment([*pairs, *((name, value) for name, _, value in (entry.partition(b"=") for entry in variables))])
        call = real_tool.stand_in(name, args, environment, real)
        found = analyse(call, environment, read_settings(environment), promise_memory=False)
        assert found.family == family
        assert found.decision.number == 0, found.decision.reason
        assert found.decision.lto == "none"
        taken.append(args)

    inputs.chmod(0o700)
    agree()
    assert any(b"plain.o" in args for args in taken)


DOUBTFUL = """bfd a.o -lc @ | bfd --plugin=x a.o | bfd --plug x a.o | gold -plugin x a.o | lld thin.o | lld plain.a | lld script.ld
    | lld plain.o -lc | lld -o thin.o plain.o | lld --threads=4 plain.o | mold --thread-count=4 plain.o | wild plain.o | gcc slim.o
    | gcc plain.a | gcc f.c | gcc -L. -lslim plain.o | gcc -Wl,slim.o plain.o | gcc -Wl,-lslim,-L. plain.o | gcc -Xlinker slim.o
    | clang thin.o | gcc plain.o -fuse-ld=lld | clang -Wl,thin.o plain.o | clang -flto=thin plain.o | gcc -x c plain.o"""


@pytest.mark.parametrize("line", [" ".join(line.split()) for line in DOUBTFUL.split("|")])
def test_what_is_not_certainly_plain(inputs: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """C8: a plugin, a response file, a library, an archive, bitcode under any name, a thread option or an unknown family: the long way."""
    monkeypatch.chdir(inputs)
    family, *args = line.split()
    assert not plain_link.is_plain(family, [arg.encode() for arg in args], [])


@pytest.mark.parametrize("family", TOOLS)
def test_what_a_launcher_does_not_even_ask(inputs: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C23: a word for which a launcher passes the short cut by is one for which the short cut itself would send the link the long way."""
    monkeypatch.chdir(inputs)
    never = text.NEVER_PLAIN["driver" if family in ("gcc", "clang") else "linker"].encode()
    lines = ([never], [never + b"=x"], [b"-o", never + b"x"])
    assert not any(plain_link.is_plain(family, [*words, b"plain.o"], [b"PATH=/usr/bin"]) for words in lines)


def test_what_is_certainly_plain(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C23: objects, a script behind -T, system libraries, and options that say nothing about LTO or threads are let through at once."""
    monkeypatch.chdir(inputs)
    words = b"-m elf_x86_64 -z noexecstack --no-warn-rwx-segments -r -T script.ld plain.o -o x.ko --build-id=sha1".split()
    for family in ("bfd", "lld", "gold"):
        assert plain_link.is_plain(family, words, [b"PATH=/usr/bin", b"MAKEFLAGS=rR -j99 --jobserver-auth=3,4"])
    for family in ("gcc", "clang"):
        assert plain_link.is_plain(family, b"-O2 -pie plain.o -Wl,-rpath,/opt/lib,--as-needed -lm -o x".split(), [])
    assert plain_link.is_plain("clang", [b"slim.o"], [])


def test_a_pipe_is_not_read(inputs: Path) -> None:
    """C7: what a linker is to read out of a pipe or a fifo is left in it, and nobody waits for a writer."""
    os.mkfifo(inputs / "fifo")
    try:
        assert not plain_link.is_plain("lld", [os.fsencode(inputs / "fifo")], [])
    finally:
        (inputs / "fifo").unlink()


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the tool that tells what it was given."""
    return build_dump(tmp_path_factory.mktemp("dump"))


@pytest.mark.parametrize(
    ("file", "words", "plain"),
    [
        ("ld.bfd", "plain.o", True), ("ld.bfd", "-plugin x plain.o", False), ("x86_64-linux-gnu-ld.bfd", "slim.o", True),
        ("ld.gold", "thin.o", True), ("lld", "plain.o", True), ("lld", "thin.o", False), ("ld.lld-16", "plain.o -lc", False),
        ("x86_64-linux-gnu-gcc-12", "plain.o", True), ("x86_64-linux-gnu-gcc-12", "slim.o", False), ("clang-16", "plain.o", True),
        ("clang-16", "thin.o", False), ("ld", "plain.o", False), ("wild", "plain.o", False), ("ccache", "plain.o", False),
    ],
)  # fmt: skip
def test_a_tool_that_was_not_asked_is_judged_by_its_file(
    tmp_path: Path, inputs: Path, dump: Path, file: str, words: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C23: the installed command takes the short cut by the name of the tool's file, symbolic links resolved, and for no other name."""
    (tmp_path / file).write_bytes(dump.read_bytes())
    (tmp_path / file).chmod(0o755)
    (tmp_path / "tool").symlink_to(file)
    monkeypatch.chdir(inputs)
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); from ldshim.plain_link import link_found; link_found({str(tmp_path / 'tool')!r}, 0)"
    )
    said = subprocess.run([PYTHON, "-IS", "-c", code, *words.split()], env={"PATH": "/usr/bin"}, stdout=subprocess.PIPE, check=True).stdout
    assert plain == bool(said)
    assert not said or words.encode().split() == Dump(said).argv[1:]


def test_the_rule_for_gcc_holds_for_clang(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C8: what is plain to the strictest rule for a driver is plain for each of them."""
    monkeypatch.chdir(inputs)

    @settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @given(st.lists(st.one_of(st.sampled_from([name.encode() for name in FILES]), st.sampled_from(OPTIONS)), max_size=4))
    def agree(args: list[bytes]) -> None:
        assert plain_link.is_plain("clang", args, []) or not plain_link.is_plain("gcc", args, [])

    agree()


@pytest.mark.parametrize("path", ["/usr/bin:/bin", "{farm}:/usr/bin", ":{farm}:/nowhere:", None])
def test_both_ways_hand_the_same_call_over(tmp_path: Path, dump: Path, path: str | None) -> None:
    """C2, C3: argv, environment with its order, and ignored signals are the same by the short cut as by the long way."""
    env = {"HOME": "/root", "LANG": "C", "a.b": "odd", "PWD": "/nowhere", "EMPTY": "", **({"PATH": path} if path is not None else {})}
    told = []
    for number, family in enumerate(("", "bfd")):
        made = launcher(tmp_path / "farm", "ld", dump, PYTHON, family=family)
        block = {name: value.format(farm=made.parent) for name, value in env.items()}
        said = Dump(call(made, b"", b"\xff\n", "-o", "x", env=block).stdout)
        stamp = b"%d." % said.pid
        assert stamp == (said.get(b"_LDSHIM_VIA") or b"")[: len(stamp)]
        told.append((said.argv, said.ignored, [entry for entry in said.environment if not entry.startswith(b"_LDSHIM_VIA")]))
        assert (number == 1) == (b"plain_link" in made.read_bytes())
    assert told[0] == told[1]


@pytest.mark.parametrize("change", ["another file", "a variable of ours", "below collect2", "inside a link"])
def test_anything_else_goes_the_long_way(tmp_path: Path, dump: Path, change: str) -> None:
    """C6, C10: a tool that was replaced, a variable of ours, collect2 above us: the short cut steps aside, the call is made."""
    tool = tmp_path / "tool"
    tool.write_bytes(dump.read_bytes())
    tool.chmod(0o755)
    made = launcher(tmp_path / "farm", "ld", tool, PYTHON, family="bfd")
    if change == "another file":
        os.utime(tool, (1, 1))
    more = {"a variable of ours": {"LDSHIM_ELASTIC": "1"}, "below collect2": {"COLLECT_GCC": "gcc"}, "inside a link": {"_LDSHIM_HELD": "1"}}
    env = {"PATH": "/usr/bin", **more.get(change, {})}
    said = subprocess.run([PYTHON, "-IS", "-X", "importtime", str(made), "x.o"], env=env, capture_output=True, check=True)
    assert b"ldshim.entry\n" in said.stderr
    assert b"x.o" == Dump(said.stdout).argv[1]


def test_the_short_cut_imports_nothing(tmp_path: Path, dump: Path) -> None:
    """C23: a plain link loads one module of ours, and not even os; its decision costs less than the os that a bare execv script imports."""
    made = launcher(tmp_path / "farm", "ld", dump, PYTHON, family="bfd")
    imported = []
    for words in (["-c", "pass"], [str(made), "-r", "x.o"]):
        said = subprocess.run([PYTHON, "-IS", "-X", "importtime", *words], env={"PATH": "/usr/bin"}, capture_output=True, check=True).stderr
        imported.append({line.rpartition("|")[2].strip() for line in said.decode().splitlines() if line.startswith("import time:")})
    assert {"ldshim", "ldshim.plain_link"} == imported[1] - imported[0]
