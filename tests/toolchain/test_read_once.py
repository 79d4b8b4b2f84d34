"""Hazard: a pipe, FIFO, socket or terminal named by a link is read, or only opened, by us or by a probe, and the tool finds it empty."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from ldshim import plain_link
from ldshim.call import real_tool
from ldshim.call.banner import Tool
from ldshim.command import read
from ldshim.command.argv import Input
from ldshim.decide import mode
from ldshim.inputs import extent, probe, scan
from ldshim.inputs.findings import Findings
from tests.support import tools
from tests.support.observe import Gate
from tests.support.pool import Pool
from tests.support.program import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

CLANG = Tool(b"Debian clang version 16.0.6\n")
GCC = Tool(b"gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022 Free Software Foundation, Inc.\n")


@pytest.fixture
def fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Provide a FIFO `f`, a symbolic link `l` to it and files that name it; who opens it for reading lets a waiting writer go on."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "f"
    os.mkfifo(path)
    (tmp_path / "l").symlink_to("f")
    (tmp_path / "names").write_text("a.o @f\n")
    (tmp_path / "names-names").write_text("@names\n")
    (tmp_path / "config").write_text("@f\n")
    (tmp_path / "plain").write_text("a.o\n")
    (tmp_path / "a.o").write_bytes(b"")
    opened = threading.Event()

    def write() -> None:
        os.close(os.open(path, os.O_WRONLY))
        opened.set()

    writer = threading.Thread(target=write)
    writer.start()
    yield path
    went_on = opened.wait(0.05)
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    writer.join()
    assert went_on is False


def test_what_is_read_once(tmp_path: Path) -> None:
    """C7: pipes, FIFOs, sockets, terminals and devices are read once; files, directories, /dev/null and what is not there are not."""
    master, slave = tools.terminal()
    reader, writer = os.pipe()
    one, two = socket.socketpair()
    os.mkfifo(tmp_path / "f")
    (tmp_path / "l").symlink_to("f")
    (tmp_path / "file").write_text("")
    file = os.open(tmp_path / "file", os.O_RDONLY)
    paths = [
        f"/dev/fd/{reader}",
        f"/proc/self/fd/{reader}",
        f"/dev/fd/{one.fileno()}",
        f"/dev/fd/{slave}",
        str(tmp_path / "f"),
        str(tmp_path / "l"),
    ]
    twice = [str(tmp_path), str(tmp_path / "file"), f"/dev/fd/{file}", "/dev/null", str(tmp_path / "nothing"), "a\0b"]
    try:
        assert [True] * len(paths) == [extent.is_read_once(os.fsencode(path)) for path in paths]
        assert extent.is_read_once(b"/dev/zero")
        assert [False] * len(twice) == [extent.is_read_once(os.fsencode(path)) for path in twice]
    finally:
        for fd in (reader, writer, master, slave, file):
            os.close(fd)
        one.close()
        two.close()


@pytest.mark.parametrize("name", ["f", "l", "@f", "@names", "@names-names"])
def test_our_own_readers_do_not_open_a_fifo(name: str, fifo: Path) -> None:
    """C7: neither the short cut, nor response files, nor the scan of inputs, nor the search for ourselves lets the FIFO's writer go on."""
    word = os.fsencode(name)
    if not name.startswith("@"):
        assert plain_link.is_plain("gcc", [word], []) is False
        assert scan.scan([Input(word), Input(word, library=True)], [b"."]).other == 1
        assert real_tool.is_ldshim(word) is False
    read.read_command(GCC, [word, b"a.o"], b"", extent.read_regular, extent.is_read_once)
    assert fifo.is_fifo()


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("a.o @f", "@f"),
        ("a.o @l", "@l"),
        ("a.o @names", "@f"),
        ("@names-names", "@f"),
        ("a.o -o @f", "@f"),  # a driver expands it wherever it stands
        ("a.o -Xlinker @f", "@f"),
        ("a.o --config f", "f"),
        ("a.o --config=f", "--config=f"),
        ("a.o --config config", "config"),
        ("a.o -fsanitize-ignorelist=f", "-fsanitize-ignorelist=f"),
        ("f", ""),
        ("a.o f", ""),
        ("a.o -T f", ""),
        ("a.o -Tf", ""),
        ("a.o -Wl,-T,f", ""),
        ("a.o -Wl,--version-script=f", ""),
        ("a.o -Wl,@f", ""),
        ("a.o -Xlinker --version-script=f", ""),
        ("a.o -o f", ""),
        ("a.o @plain --config plain -o /dev/null", ""),
    ],
)
def test_what_a_probe_would_read(line: str, word: str, fifo: Path) -> None:
    """C7, C20: clang is not asked which linker it would run where it would read a FIFO; inputs and the linker's files it only looks for."""
    args = [os.fsencode(argument) for argument in line.split()]
    facts = read.read_command(CLANG, args, b"", extent.read_regular, extent.is_read_once).facts
    assert os.fsencode(word) == probe.consumes(CLANG, args, facts)
    assert fifo.is_fifo()


def test_a_stream_is_another_file_in_a_probe(tmp_path: Path) -> None:
    """C7: @/dev/stdin names the caller's file, and /dev/null in a probe, so nobody is asked."""
    (tmp_path / "words").write_text("a.o\n")
    stdin = os.dup(0)
    file = os.open(tmp_path / "words", os.O_RDONLY)
    try:
        os.dup2(file, 0)
        args = [b"--config=/dev/stdin", b"a.o"]
        facts = read.read_command(CLANG, args, b"", extent.read_regular, extent.is_read_once).facts
        assert b"--config=/dev/stdin" == probe.consumes(CLANG, args, facts)
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
        os.close(file)


def test_nothing_is_added_behind_what_nobody_has_read(fifo: Path) -> None:
    """C7: a FIFO's last word may be an option without its value, and inputs that nobody saw may hold IR where -flto is said."""
    args = [b"-flto=auto", b"@f"]
    command = read.read_command(GCC, args, b"", extent.read_regular, extent.is_read_once)
    assert (True, [b"f"]) == (command.facts.pending, command.facts.unread)
    assert mode.decide(command, Findings(), "", 12).demand > 1
    assert fifo.is_fifo()


WAYS = {
    "process substitution": "{clang} -flto=thin -fuse-ld=lld @<(ls {objects}) -o {out}",
    "FIFO": "mkfifo f; (ls {objects} > f) 2>/dev/null >&2 & {clang} -flto=thin -fuse-ld=lld @f -o {out}",
    "FIFO in a file": "mkfifo f; echo @f > names; (ls {objects} > f) 2>/dev/null >&2 & {clang} -flto=thin -fuse-ld=lld @names -o {out}",
    "standard input": "ls {objects} | {clang} -flto=thin -fuse-ld=lld @/dev/stdin -o {out}",
    "here document": "{clang} -flto=thin -fuse-ld=lld @/dev/stdin -o {out} <<< $(ls {objects})",
    "configuration": "{clang} -flto=thin -fuse-ld=lld --config <(echo -O1) {objects} -o {out}",
    "input": "{clang} -flto=thin -fuse-ld=lld {objects} <(cat {first}) -Wl,--allow-multiple-definition -o {out}",
    "version script": "{clang} -flto=thin -fuse-ld=lld -shared {objects} -Wl,--version-script=<(echo '{{local: *;}};') -o {out}",
    "linker script": "{clang} -flto=thin -fuse-ld=lld {objects} -Wl,<(echo 'GROUP({first})') -o {out}",
    "linker's own": "{clang} -flto=thin -fuse-ld=lld {objects} -Wl,@<(echo --gc-sections) -o {out}",
}


@pytest.mark.parametrize("lld", tools.llds())
@pytest.mark.parametrize("way", WAYS)
def test_clang_reads_what_it_would_read_bare(way: str, lld: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C1, C4, C7: a link through pipes and FIFOs ends as the bare one does, with the same bytes."""
    version = lld.rpartition("-")[2]
    clang = tools.clang_of(lld)
    objects = program.objects(clang, "-O1", "-fPIC", "-flto=thin")
    tools.need("bash")
    ends = []
    for name, command in (("bare", clang), ("shim", shim.named(f"clang-{version}"))):
        place = tmp_path / name
        place.mkdir()
        out = place / "out"
        text = WAYS[way].format(clang=command, objects=" ".join(objects), first=objects[1], out=out)
        done = subprocess.run(
            ["bash", "-c", text], cwd=place, env=shim.environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
        ends.append((done.returncode, done.stdout, done.stderr.replace(os.fsencode(str(place)), b""), out.exists() and out.read_bytes()))
    bare, ours = ends
    assert bare == ours


@pytest.mark.parametrize("gcc", tools.gccs())
def test_the_number_holds_for_objects_that_only_the_linker_finds(gcc: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C8, C19: a response file for the linker may name objects with IR, so a link that says -flto is held to what was granted."""
    gate = Gate(tmp_path / "gate", tools.need(gcc))
    names = tmp_path / "names"
    names.write_text("\n".join(program.objects(tools.need(gcc), "-O1", "-flto=7")))
    command = [shim.named(gcc), gate.flag, "-O1", "-flto=7", *PARTITIONS, f"-Wl,@{names}", "-o", str(tmp_path / "out")]
    with Pool(b"a") as pool:
        link = subprocess.Popen(command, env=shim.on(16, MAKEFLAGS=pool.makeflags), pass_fds=pool.pass_fds)
        status = gate.watch(link, lambda: 2)
    assert [0, 2] == [status, gate.peak()]
