"""Hazard: a variable misread, a template that splits a name at its blank, a library taken from where the loader would not take it.

What needs no service and no library of theirs; the tests of the service are in test_remote_faults.py and test_remote_real.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ldshim.backends import remote
from ldshim.backends.job import Job
from ldshim.backends.remote import compiler, judge, prefix, settings
from ldshim.backends.remote.blobs import Digests
from ldshim.backends.remote.draft import Draft
from ldshim.backends.remote.patience import Patience
from ldshim.call.environment import Environment
from ldshim.command import rspfile
from tests.support import remote_jobs

ROOT = Path(__file__).resolve().parents[2]


def environment(**variables: str) -> Environment:
    """Make an environment of LDSHIM_REMOTE and its kin."""
    return Environment([(f"LDSHIM_REMOTE{name}".encode(), value.encode()) for name, value in variables.items()])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("grpc://localhost:8980", ("localhost", 8980, "", False)),
        ("grpcs://farm.example.org:443/main/linux", ("farm.example.org", 443, "main/linux", True)),
        ("grpc://[::1]:50051/", ("::1", 50051, "", False)),
    ],
)
def test_an_address_is_read(value: str, expected: tuple[str, int, str, bool]) -> None:
    """Scheme, host, port and instance."""
    address = remote.read(environment(**{"": value})).address
    assert address is not None
    assert expected == (address.host, address.port, address.instance, address.secure)


@pytest.mark.parametrize(
    "value",
    ["localhost:8980", "http://a:1", "grpc://a", "grpc://a:0", "grpc://a:b", "grpc://:1", "grpc://::1:5", "exec:", "exec:  ", "\udcff"],
)
def test_a_malformed_address_turns_it_off(value: str) -> None:
    """One line names the variable, the value and what is accepted, and nothing runs remotely."""
    read = remote.read(Environment([(b"LDSHIM_REMOTE", os.fsencode(value))]))
    assert read.address is None
    (line,) = read.complaints
    assert line.startswith("ldshim: LDSHIM_REMOTE: not understood, nothing runs remotely: ")
    assert line == remote.connect(read, print)


@pytest.mark.parametrize("name", [name.decode() for name, *_ in settings.VARIABLES if name != b"LDSHIM_REMOTE"])
def test_a_malformed_value_of_any_variable_turns_it_off(name: str) -> None:
    """A certificate, a ceiling or a property that is not understood is not replaced by a default."""
    read = remote.read(Environment([(b"LDSHIM_REMOTE", b"grpc://a:1"), (name.encode(), b"nonsense")]))
    known = name.rpartition("_")[2] in ("CA", "CERT", "KEY", "TOKEN")  # any text is the name of a file
    assert ([] if known else [name]) == [line.split(":")[1].strip() for line in read.complaints]


@pytest.mark.parametrize(("name", "value"), [("CA", b"ca.pem"), ("UPLOAD", b"1" * 19), ("UPLOAD", b"1" * 5000)])
def test_what_the_other_variables_refuse_is_refused_here(name: str, value: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path in a removed directory, and a size that no machine has: a line, and no exception."""
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    read = remote.read(Environment([(b"LDSHIM_REMOTE", b"grpc://a:1"), (b"LDSHIM_REMOTE_" + name.encode(), value)]))
    (line,) = read.complaints
    assert line.startswith(f"ldshim: LDSHIM_REMOTE_{name}: not understood, nothing runs remotely: ")


def test_properties_are_sorted() -> None:
    """The API wants them sorted by name and value; any other order would be another action."""
    read = remote.read(environment(_PROPERTIES="pool=lto,OSFamily=Linux,pool=big", **{"": "grpc://a:1"}))
    assert (("OSFamily", "Linux"), ("pool", "big"), ("pool", "lto")) == read.properties


def test_every_variable_is_in_the_document() -> None:
    """remote.md names each of them."""
    text = (ROOT / "ldshim" / "doc" / "remote.md").read_text()
    assert [] == [name.decode() for name, *_ in settings.VARIABLES if not re.search(rf"`{name.decode()}[=`]", text)]


def test_who_does_not_ask_imports_nothing() -> None:
    """C33: the package itself, its variables read, has imported neither grpc nor a thread nor an event loop."""
    program = (
        "import sys; from ldshim.backends import remote; from ldshim.call.environment import Environment;"
        "remote.read(Environment([])); print(sorted({'grpc', 'google', 'asyncio', 'threading', 'elftools', 'hashlib'} & set(sys.modules)))"
    )
    assert "[]" == subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True).stdout.decode().strip()


ARGV = [b"/opt/my clang", b"-c", b"lib.a(m 0.o at 2)", b"-o", b"it's.o"]
INPUTS = [b"lib.a(m 0.o at 2)", b"{command}"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (b"srun -N1 {command}", [b"srun", b"-N1", *ARGV]),
        (b"srun -N1", [b"srun", b"-N1", *ARGV]),
        (b"'my run' \"a b\" c\\ d {command}", [b"my run", b"a b", b"c d", *ARGV]),
        (
            b"trexe --in={inputs} {outputs} {command}",
            [b"trexe", b"--in=lib.a(m 0.o at 2)", b"--in={command}", b"it's.o", *ARGV],
        ),
        (b"env {inputs} --", [b"env", *INPUTS, b"--", *ARGV]),
        (b"sh -c 'cd /x && {command}'", [b"sh", b"-c", b"cd /x && '/opt/my clang' '-c' 'lib.a(m 0.o at 2)' '-o' 'it'\\''s.o'"]),
    ],
)
def test_a_prefix_is_filled_in(template: bytes, expected: list[bytes]) -> None:
    """Names with blanks, parentheses, quotes and braces stay whole, wherever they are put in."""
    assert expected == prefix.expanded(rspfile.split(template, "gnu-new"), ARGV, INPUTS, [b"it's.o"])


def test_a_shell_finds_the_same_arguments() -> None:
    """What {command} becomes inside an argument is read back by sh as it was."""
    words = prefix.expanded(rspfile.split(b"sh -c \"printf '%s\\0' {command}\"", "gnu-new"), ARGV, [], [])
    assert [*ARGV, b""] == subprocess.run(words, capture_output=True, check=True).stdout.split(b"\0")


def test_a_prefix_that_is_not_installed() -> None:
    """C30: nothing is started for a program that is not there."""
    read = remote.read(environment(**{"": "exec: no-such-runner -n1"}))
    assert "no-such-runner is not found" == remote.connect(read, print)


@pytest.mark.parametrize("data", [b"", b"glibc-ld.so.cache1.1", b"glibc-ld.so.cache1.1" + b"\xff" * 40])
def test_a_cache_that_is_cut_short_is_empty_or_partial(tmp_path: Path, data: bytes) -> None:
    """A broken cache raises nothing."""
    (tmp_path / "cache").write_bytes(data)
    assert {} == compiler.read_cache(os.fsencode(tmp_path / "cache"))


def test_digests_are_kept_by_stat(tmp_path: Path) -> None:
    """A compiler's file is hashed once for all links; changed, it has another digest; a torn line of the cache is ignored."""
    (tmp_path / "run").mkdir(mode=0o700)
    get = {b"XDG_RUNTIME_DIR": os.fsencode(tmp_path / "run")}.get
    path = tmp_path / "lto1"
    path.write_bytes(b"one")
    os.utime(path, (1, 1))
    before = Digests(lambda name: get(name, b"")).of_file(os.fsencode(path), keep=True).digest
    kept = tmp_path / "run" / "ldshim" / "remote-digests"
    assert not kept.exists()  # its ctime is now: it may change within the same tick
    assert (3, before) == (before.size, Digests(lambda name: get(name, b"")).of_file(os.fsencode(path)).digest)
    kept.write_bytes(b"1-2-3-4-5 abc\n6-7-8-9-a " + b"0" * 64)
    path.write_bytes(b"two")
    assert before != Digests(lambda name: get(name, b"")).of_file(os.fsencode(path), keep=True).digest


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """C7: a FIFO among the inputs is neither read nor waited for."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="no regular file"):
        Digests(lambda _: b"").of_file(os.fsencode(tmp_path / "fifo"))


def test_a_draft_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """Nothing stands under the name until it is placed; then what was there is replaced, with the mode that a compiler's file has."""
    path = tmp_path / "an out (put).o"
    path.write_bytes(b"old")
    for place in (False, True):
        draft = Draft(os.fsencode(path))
        draft.write(b"new")
        assert b"old" == path.read_bytes()
        if place:
            draft.place()
        draft.drop()
    assert (b"new", ["an out (put).o"]) == (path.read_bytes(), os.listdir(tmp_path))
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert plain.stat().st_mode == path.stat().st_mode


def test_an_output_whose_directory_is_gone_raises_an_error(tmp_path: Path) -> None:
    """The job then runs here, where the compiler says so itself."""
    with pytest.raises(OSError, match="No such file"):
        Draft(os.fsencode(tmp_path / "none" / "x.o"))


def test_patience_is_three_times_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 s until the first job has come back, then three times the longest, and 5 s at least."""
    now = [0.0]
    monkeypatch.setattr("ldshim.backends.remote.patience.time.monotonic", lambda: now[0])
    patience = Patience(60.0)
    seen = []
    for moment, took in ((59, 0), (60, 0), (61, 1), (65.9, 0), (66, 40), (185.9, 0), (186, 0)):
        now[0] = moment
        seen.append(patience.over())
        if took:
            patience.note(took)
    assert [False, True, True, False, True, False, True] == seen


@pytest.mark.parametrize(
    ("target", "machine"),
    [
        ("x86_64-unknown-linux-gnu", (2, 1, 62)),
        ("aarch64-linux-gnu", (2, 1, 183)),
        ("x86_64-linux-gnux32", (1, 1, 62)),
        ("sparc-sun", None),
    ],
)
def test_the_machine_is_that_of_the_target(target: str, machine: tuple[int, int, int] | None) -> None:
    """Clang compiles for its --target; one whose machine we do not know is not sent."""
    work = remote_jobs.job(["clang", f"--target={target}", "-fthinlto-index=i"], ROOT, ["m.o"], ["o"])
    fake = compiler.Compiler(b"clang", [], [], (2, 1, 62), gcc=False, loaded=True)
    if machine is None:
        with pytest.raises(compiler.UnfitError, match="sparc-sun"):
            judge.expected(work, fake)
    else:
        assert machine == judge.expected(work, fake)


def test_nothing_is_connected_without_an_address() -> None:
    """An environment without LDSHIM_REMOTE asks for nothing."""
    assert not remote.asked(Environment([(b"LDSHIM_REMOTE", b"")]))
    assert "LDSHIM_REMOTE is not set" == remote.connect(remote.read(Environment([])), print)


def test_a_job_is_refused_that_nobody_knows() -> None:
    """A compile that is no backend is not sent."""
    with pytest.raises(compiler.UnfitError):
        compiler.is_gcc(Job([b"gcc", b"-c", b"x.c"], b"/", [b"x.c"], [b"x.o"]).argv)
