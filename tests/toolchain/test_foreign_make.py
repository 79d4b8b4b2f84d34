"""Hazard: lto-wrapper's make is none that shares a jobserver, and a link is serial, noisy, or runs more jobs than it was granted.

`$MAKE` names the make, as lto-wrapper reads it. GNU make 4.1 is in no distribution any more: a script stands in for it that obeys the -jN
in MAKEFLAGS and knows no --jobserver-auth. Every pair of make, pin and recorded flag is linked (rows.py).
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ldshim.analysis import find_make
from ldshim.call import lto_make, tool_family
from ldshim.call.banner import NEWEST
from ldshim.call.environment import Environment
from ldshim.command.argv import IN_FILE, Facts, Option
from ldshim.decide import fixed_number, rewrite
from ldshim.inputs.findings import Findings
from tests.support import tools
from tests.support.observe import Gate
from tests.support.pool import Pool
from tests.support.program import PARTITIONS, sha256
from tests.support.rows import rows
from tests.support.shim import handed_over, script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim


def make41(place: Path) -> str:
    """Write a stand-in for GNU make 4.1: its path."""
    return script(
        place / "make41",
        '[ "$1" != --version ] || { echo "GNU Make 4.1"; exit 0; }',
        "jobs=; for word in $MAKEFLAGS; do case $word in -j*) jobs=$word;; --jobserver-auth=*) ;; esac; done",
        f'MAKEFLAGS= exec {tools.make43()} $jobs "$@"',
    )


def value_of_make(kind: str, place: Path) -> str:
    """Spell $MAKE for one kind of make."""
    if kind == "quoted":
        (place / "a place").mkdir()
        (place / "a place" / "make").symlink_to(tools.make43())
        return f"'{place}/a place'\"/make\" --no-print-directory"
    if kind == "eight jobs":
        return f"{tools.make43()} -j8"
    return make41(place) if kind == "make41" else tools.need(kind)


KINDS = ["bmake", "make41", "remake", "quoted", "eight jobs"]


@pytest.mark.parametrize(("kind", "pinned", "recorded"), rows(KINDS, ["1", "3", ""], ["-flto=auto", "-flto=7", "-flto"]))
def test_the_number_holds(kind: str, pinned: str, recorded: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C4, C14, C19: whatever the objects recorded, any make runs as many jobs as were granted at the start, and nothing new is said."""
    gcc = tools.gccs()[-1]
    peak = int(pinned or 3)  # without a pin: two tokens and the implicit slot
    gate, value = Gate(tmp_path / "gate", tools.need(gcc)), value_of_make(kind, tmp_path)
    objects = program.objects(tools.need(gcc), "-O1", recorded)
    line = ["-O1", "-flto=auto", "-frandom-seed=1", *PARTITIONS, *objects, "-o"]
    said = tmp_path / "said"
    with Pool(b"\x00a") as pool, said.open("wb") as stderr:
        env = shim.on(16, MAKEFLAGS=pool.makeflags, MAKE=value, **({"LDSHIM_JOBS": pinned} if pinned else {}))
        command = [shim.named(gcc), gate.flag, *line, str(tmp_path / "shim")]
        link = subprocess.Popen(command, env=env, pass_fds=pool.pass_fds, stderr=stderr)
        status = gate.watch(link, lambda: peak)
    assert [0, peak, b""] == [status, gate.peak(), said.read_bytes()]
    subprocess.run([tools.need(gcc), *line, str(tmp_path / "bare")], env=shim.environment(), check=True)
    assert sha256(tmp_path / "bare") == sha256(tmp_path / "shim")


@pytest.mark.parametrize("gcc", tools.gccs())
def test_a_linker_below_collect2_passes_the_number_too(gcc: str, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C19: an ld that stands in below a bare driver enforces the number for bmake, too, and prints why it is fixed."""
    bmake = tools.need("bmake")
    gate = Gate(tmp_path / "gate", tools.need(gcc))
    linkers = shim.only(tmp_path / "linkers", "ld")
    objects = program.objects(tools.need(gcc), "-O1", "-flto=auto")
    log, said = tmp_path / "log", tmp_path / "said"
    with Pool(b"a") as pool, said.open("wb") as stderr:
        env = shim.on(16, MAKEFLAGS=pool.makeflags, MAKE=bmake, LDSHIM_LOG=str(log))
        command = [tools.need(gcc), gate.flag, f"-B{linkers}/", "-O1", "-flto=auto", *PARTITIONS, *objects, "-o", str(tmp_path / "out")]
        link = subprocess.Popen(command, env=env, pass_fds=pool.pass_fds, stderr=stderr)
        status = gate.watch(link, lambda: 2)
    assert [0, 2, b""] == [status, gate.peak(), said.read_bytes()]
    (record,) = handed_over(log)
    assert ["fixed", 2] == [record["policy"], record["granted"]]
    assert f"{bmake} is no GNU make: the number is fixed" in record["reason"]


def test_bmake_sees_what_it_would_see_bare(shim: Shim, program: Program, tmp_path: Path) -> None:
    """C4: where the link line's number holds by itself, make gets it from GCC as ever, and MAKEFLAGS is empty."""
    gcc = tools.gccs()[0]
    objects = program.objects(tools.need(gcc), "-O1", "-flto=2")
    seen = tmp_path / "seen"
    spy = script(tmp_path / "spymake", f'echo "$MAKEFLAGS|$MFLAGS|$*" >>{seen}', f'exec {tools.need("bmake")} "$@"')
    line = ["-O1", "-flto=2", *PARTITIONS, *objects, "-o", str(tmp_path / "out")]
    lines = []
    for command, env in (([tools.need(gcc)], {}), ([shim.named(gcc)], {"MAKEFLAGS": " -j9 -l2", "LDSHIM_JOBS": "2"})):
        seen.unlink(missing_ok=True)
        subprocess.run([*command, *line], env=shim.environment(MAKE=spy, **env), check=True)
        flags, more, words = seen.read_text().splitlines()[-1].split("|")
        lines.append((flags, more, [word for word in words.split() if not word.startswith("/")]))
    bare, ours = lines
    assert bare == ours == ("", "", ["-f", "-j2", "all"])


BANNERS = [
    ("GNU Make 4.4.1\nBuilt for x86_64-pc-linux-gnu", True, "Fedora 41"),
    ("GNU Make 4.3\nBuilt for x86_64-pc-linux-gnu", True, "Debian 12"),
    ("GNU Make 4.2.1\n", True, "Ubuntu 20.04"),
    ("GNU Make 4.4.0.91\n", True, "a snapshot"),
    ("GNU Make 4.3+dbg-1.6\nBuilt for x86_64-pc-linux-gnu", True, "remake, Debian 12"),
    ("GNU Make UNKNOWN\n", True, "built from a checkout without tags"),
    ("GNU Make 4.1\nBuilt for x86_64-pc-linux-gnu", False, "Ubuntu 18.04"),
    ("GNU Make 4.0\n", False, "openSUSE 13.2"),
    ("GNU Make 3.82\nBuilt for x86_64-redhat-linux-gnu", False, "CentOS 7"),
    ("GNU Make 3.81\nCopyright (C) 2006", False, "macOS"),
    ("\n", False, "bmake 20200710"),
    ("bmake 20240909", False, "pkgsrc"),
    ("pdpmake 1.4.3", False, "Chimera Linux"),
    ("", False, "a script that says nothing"),
]


@pytest.mark.parametrize(("banner", "client"), [row[:2] for row in BANNERS], ids=[row[2] for row in BANNERS])
def test_who_shares_a_jobserver_says_so(banner: str, client: bool) -> None:
    """C19: GNU make from 4.2 on, and one of a version that nobody knows, is a client; nothing else is."""
    assert client == lto_make.Make([b"make"], banner.encode()).client


def test_arguments_in_make_may_hold_a_number() -> None:
    """C19: `make -j8` obeys its own -j, so it is no client."""
    assert lto_make.Make([b"make"], b"GNU Make 4.3").client
    assert not lto_make.Make([b"make", b"-j8"], b"GNU Make 4.3").client


@pytest.mark.parametrize(
    ("value", "major", "words"),
    [
        (None, 12, ["make"]),
        ("make", 12, ["make"]),
        ("  make\t-s ", 12, ["make", "-s"]),
        ("'ma'\"ke\" 'a b'", 12, ["make", "a b"]),
        (r"ma\ke a\ b", 12, ["make", "a b"]),
        (r"make 'a\b'", 12, ["make", "ab"]),
        (r"make 'a\b'", 15, ["make", r"a\b"]),
        ("", 12, None),
        (" ", 12, None),
        ("''", 12, None),
        ("/nowhere/make", 12, None),
        ("a/directory", 12, None),
        (r"make\ x", 12, None),
    ],
)
def test_the_words_of_make(value: str | None, major: int, words: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C19: $MAKE is read as libiberty's buildargv reads it, the version that belongs to this GCC; without a program there is no make."""
    (tmp_path / "a" / "directory").mkdir(parents=True)
    script(tmp_path / "make", 'echo "GNU Make 4.3"')
    monkeypatch.chdir(tmp_path)
    pairs = [(b"PATH", str(tmp_path).encode()), (b"XDG_RUNTIME_DIR", str(tmp_path).encode())]
    make = find_make(Environment([*pairs, *([] if value is None else [(b"MAKE", value.encode())])]), None, major)
    assert words == (None if make is None else [word.decode() for word in make.words])


def test_a_make_that_fails_when_asked_is_none(tmp_path: Path) -> None:
    """C19: lto-wrapper runs no make whose --version fails (kati's does), so nothing is reserved for it."""
    kati = script(tmp_path / "kati", "echo usage; exit 2")
    environment = Environment([(b"MAKE", kati.encode()), (b"PATH", b"/usr/bin:/bin")])
    assert find_make(environment) is None


def test_a_make_is_asked_once_and_a_script_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C24: a make's answer is kept like a tool's; what a script says may change under the same file."""
    asked = []
    run = tool_family.run

    def ask(real: bytes, args: list[bytes], environment: Environment, path: bytes | None = None) -> bytes | None:
        asked.append(real)
        return run(real, args, environment, path)

    monkeypatch.setattr(tool_family, "run", ask)
    tmp_path.chmod(0o700)
    real = tools.make43()
    wrapper = script(tmp_path / "make", f'exec {real} "$@"')
    for program in (real, wrapper):
        environment = Environment([(b"MAKE", program.encode()), (b"XDG_RUNTIME_DIR", str(tmp_path).encode()), (b"PATH", b"/usr/bin:/bin")])
        for _ in range(2):
            make = find_make(environment)
            assert make is not None
            assert make.client
    assert [real.encode(), wrapper.encode(), wrapper.encode()] == asked


def gcc_line(*values: str | None, at: int = 0) -> Facts:
    """Make the facts of a link line with these -flto words."""
    facts = Facts()
    facts.flto = [Option(None if value is None else value.encode(), at, b"-flto") for value in values]
    return facts


def objects(*recorded: str) -> Findings:
    """Make the findings of objects that recorded these words."""
    found = Findings()
    found.gcc_slim, found.recorded = 9, [word.encode() for word in recorded]
    return found


ONLINE = 6
RULES = [
    # link line, recorded, GCC's major, what GCC may start when told 3
    (gcc_line("auto"), ["-flto"], 11, {3}),
    (gcc_line("auto"), ["-flto=auto"], 11, {3}),  # up to 11 the objects have no say
    (gcc_line("auto"), ["-flto=auto"], 12, {3, ONLINE}),  # 12.2 and 12.5
    (gcc_line("8"), ["-flto=5"], 13, {3, 5}),
    (gcc_line("8"), ["-flto=2"], 13, {3}),
    (gcc_line("8", "auto"), ["-flto=5"], 14, {3}),
    (gcc_line(None), ["-flto=5"], 14, {5}),
    (gcc_line(None), ["-flto=5"], 11, {1}),
    (gcc_line(None), ["-flto=3"], 12, {3}),
    (gcc_line(), ["-flto=auto"], 16, {ONLINE}),
    (gcc_line(), ["-flto=jobserver"], 16, {-1}),
    (gcc_line("auto"), ["-flto=auto"], NEWEST, {3, ONLINE}),  # nobody knows which
    (gcc_line("auto", at=IN_FILE), ["-flto"], 14, {ONLINE}),  # what stands in a response file stays
    (gcc_line("1"), ["-flto=5"], 14, {1}),
]


@pytest.mark.parametrize(("facts", "recorded", "major", "numbers"), RULES)
def test_what_gcc_may_choose_by_itself(facts: Facts, recorded: list[str], major: int, numbers: set[int]) -> None:
    """C19: the rules of GCC up to 11, of 12 and 13, and of 14 and later, each where it may hold (lto-wrapper.cc merge_flto_options)."""
    assert numbers == fixed_number.Gcc(facts, objects(*recorded), major, ONLINE).may_choose(3)


def test_auto_wins_over_a_larger_number() -> None:
    """C19: GCC 12 takes a recorded auto, two jobs on two CPUs, where the link line says three."""
    assert {3, 2} == fixed_number.Gcc(gcc_line("auto"), objects("-flto=auto"), 12, 2).may_choose(3)


def test_objects_that_nobody_has_seen_may_have_recorded_anything() -> None:
    """C19: where not every input was read, no recorded number is certain."""
    found = objects("-flto=2")
    found.complete = False
    assert {3, -1} == fixed_number.Gcc(gcc_line("auto"), found, 12, ONLINE).may_choose(3)


@pytest.mark.parametrize("word", [b"make", b"", b"a b", b"it's", b'"', b"back\\slash", b"tab\there"])
def test_the_words_of_make_are_written_as_they_are_read(word: bytes) -> None:
    """C2, C19: what $MAKE said stands in it again, with -jN behind it, for both of libiberty's readers."""
    from ldshim.command.rspfile import split  # noqa: PLC0415  the only test that needs it

    edits = rewrite.Edits()
    fixed_number.show_gcc_only(edits, b"101,102", 3, [b"make", word], Environment([(b"MFLAGS", b"-j4")]))
    value = edits.variables[b"MAKE"]
    assert value is not None
    assert [[b"make", word, b"-j3"]] * 2 == [split(value, dialect) for dialect in ("gnu-old", "gnu-new")]
    assert {b"MFLAGS": b"", b"MAKEFLAGS": b"LDSHIM_JOBSERVER=--jobserver-auth=101,102", b"MAKE": value} == edits.variables
