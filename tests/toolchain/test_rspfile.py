"""Response files: the words we read are those that the real tool reads, whatever the quoting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ldshim.call.banner import Tool
from ldshim.command import argv, gnuld, rspfile
from ldshim.command.read import rsp_dialect
from tests.support.commandline import inputs, run
from tests.support.tools import CLANGS, GCCS, LLDS, gccs, need, version

if TYPE_CHECKING:
    from ldshim.command.argv import Arguments

NEWEST_CLANG = CLANGS[max(CLANGS)]
# tool, how it complains about a file that is missing; its dialect is the one that command/read.py gives to its version
ORACLES = [
    *((gcc, rf"{re.escape(gcc)}: error: ((?s:.*?)): linker input file not found: No such file or directory\n") for gcc in GCCS.values()),
    ("ld.bfd", r"ld\.bfd: cannot find ((?s:.*?)): No such file or directory\n"),
    ("ld.gold", r"ld\.gold: error: cannot open ((?s:.*?)): No such file or directory\n"),
    *((lld, rf"{re.escape(lld)}: error: cannot open ((?s:.*?)): No such file or directory\n") for lld in LLDS.values()),
    (NEWEST_CLANG, rf"{NEWEST_CLANG}: error: no such file or directory: '((?s:.*?))'\n(?={NEWEST_CLANG}: error)"),
]
OPTIONS = {"ld.lld": ["--error-limit=0"], "gcc": ["-c"]}
# Every byte that means something in a dialect, and some that do not; no word can be an option, a response file or an existing file.
text = st.text(alphabet="abcé$`'\"\\ \t\n\r\f\v", max_size=24)


def read_words(path: Path, dialect: str) -> list[bytes]:
    """Return what we make of `@path`."""
    return rspfile.expand([b"@" + bytes(path)], dialect, lambda name: Path(name.decode()).read_bytes()).text


@pytest.mark.parametrize(("tool", "complaint"), ORACLES, ids=[oracle[0] for oracle in ORACLES])
def test_words_are_those_of_the_tool(tool: str, complaint: str, tmp_path: Path) -> None:
    """C7: for any quoting, a tool misses exactly the files that we find named."""
    _, banner = run(tool, "--version")
    dialect = rsp_dialect(Tool(banner.encode()), [])

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(text)
    def check(content: str) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"q0 " + content.encode() + b"\nq1")
        _, said = run(tool, f"@{path}", *OPTIONS.get(tool.partition("-")[0], []))
        real = [name.encode(errors="surrogateescape") for name in re.findall(complaint, said)]
        # gcc indents the lines of a message that has several.
        assert [re.sub(rb"\n *", b"\n", word) for word in real] == [re.sub(rb"\n *", b"\n", word) for word in read_words(path, dialect)]

    check()


@pytest.mark.parametrize(
    ("content", "gnu_old", "gnu_new", "llvm"),
    [
        ("'a\\b'", ["ab"], ["a\\b"], ["ab"]),
        ('"a\\b"', ["ab"], ["a\\b"], ["ab"]),
        ('"a\\"b"', ['a"b'], ['a"b'], ['a"b']),
        ("a\\\nb", ["a\nb"], ["ab"], ["a\nb"]),
        ('a "" b', ["a", "", "b"], ["a", "", "b"], ["a", "b"]),
        ("a\\ b", ["a b"], ["a b"], ["a b"]),
        ("a\\", ["a"], ["a"], ["a\\"]),
        ("'a b", ["a b"], ["a b"], ["a b"]),
        ('x"y z"w', ["xy zw"], ["xy zw"], ["xy zw"]),
        ("a\vb", ["a", "b"], ["a", "b"], ["a\vb"]),
        ("a\0b", ["a"], ["a"], ["a\0b"]),
        ("\ufeffa", ["\ufeffa"], ["\ufeffa"], ["a"]),
        (" \n", [], [], []),
        ("", [], [], []),
    ],
)
def test_dialects_disagree_like_this(content: str, gnu_old: list[str], gnu_new: list[str], llvm: list[str]) -> None:
    """C7: the places where libiberty before and after 2024-07 and LLVM read the same file differently (gnu-new: GCC 16, ld 2.47)."""
    read = [[word.decode() for word in rspfile.split(content.encode(), dialect)] for dialect in ("gnu-old", "gnu-new", "llvm")]
    assert [gnu_old, gnu_new, llvm] == read


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (r'a\b "c d" e', [r"a\b", "c d", "e"]),
        (r'"a\\" b', ["a\\", "b"]),
        (r"a\\\"b", ['a\\"b']),
        ('"a""b"', ['a"b']),
        ("'a b'", ["'a", "b'"]),
        ('""', [""]),
        (r"c:\x\y", [r"c:\x\y"]),
    ],
)
def test_windows_quoting(content: str, expected: list[str]) -> None:
    """C7: with --rsp-quoting=windows a backslash means something only in front of a double quote."""
    assert expected == [word.decode() for word in rspfile.split(content.encode(), "llvm-windows")]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=text)
def test_windows_quoting_as_lld_reads_it(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    """C7: any text is split as lld splits it under --rsp-quoting=windows."""
    path = tmp_path_factory.getbasetemp() / "windows"
    path.write_bytes(b"q0 " + content.encode() + b"\nq1")
    lld = LLDS[max(LLDS)]
    _, said = run(lld, "--rsp-quoting=windows", f"@{path}", "--error-limit=0")
    real = [name.encode(errors="surrogateescape") for name in re.findall(dict(ORACLES)[lld], said)]
    assert real == read_words(path, "llvm-windows")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=text.map(str.strip).filter(bool))
def test_first_word_is_that_of_mold(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    """C7: mold 1.x names only the first file that it misses, and refuses an open quote; what it names is our first word."""
    path = tmp_path_factory.getbasetemp() / "mold"
    path.write_bytes(content.encode() + b" q1")
    _, said = run("ld.mold", "-m", "elf_x86_64", f"@{path}")
    named = re.search(r"mold: fatal: cannot open ((?s:.*?)): No such file or directory\n", said)
    if named is not None:
        assert [named.group(1).encode(errors="surrogateescape")] == read_words(path, "mold-old")[:1]
    else:
        assert "premature end of input" in said or b"" in read_words(path, "mold-old")[:1]


def expand(line: str, dialect: str = "gnu-old", **content: str) -> Arguments:
    """Unfold a line over pretended files."""
    return rspfile.expand(
        line.encode().split(), dialect, lambda path: content[path.decode()].encode() if path.decode() in content else None
    )


def test_words_from_files_have_no_position() -> None:
    """C7: the caller's words keep their index, a word out of a file cannot be edited."""
    words = expand("a @f b", f="x y")
    assert ([b"a", b"x", b"y", b"b"], [0, argv.IN_FILE, argv.IN_FILE, 2], 3) == (words.text, words.at, words.count)


def test_a_missing_file_stays_a_word() -> None:
    """C7: an unreadable response file is the literal argument it was, at its place."""
    words = expand("a @missing", f="")
    assert ([b"a", b"@missing"], [0, 1]) == (words.text, words.at)


def test_files_name_files() -> None:
    """Files nest, and a missing one inside a file stays a word as well."""
    assert [b"1", b"2", b"@none", b"3", b"@"] == expand("@f @", f="1 @g 3", g="2 @none").text


@pytest.mark.parametrize("dialect", sorted(rspfile.RULES))
def test_a_file_that_names_itself_ends(dialect: str) -> None:
    """C7: recursion is bounded in every dialect, and what is left over stays a word."""
    words = expand("@f @f", dialect, f="a @f @f")
    assert b"@f" in words.text
    assert len(words.text) < 10000


def test_mold_1_does_not_look_for_files_in_files(tmp_path: Path) -> None:
    """Mold 1.10 takes an `@` out of a response file for a file's name; mold 2.37 unfolds it."""
    (tmp_path / "f").write_text("@g")
    (tmp_path / "g").write_text("h")
    _, said = run("ld.mold", "-m", "elf_x86_64", "@f", cwd=tmp_path)
    assert ("cannot open @g" if version(need("ld.mold")) < (2,) else "cannot open h") in said
    assert [[b"@g"], [b"h"]] == [expand("@f", dialect, f="@g", g="h").text for dialect in ("mold-old", "mold")]


@pytest.mark.parametrize("tool", gccs())
def test_a_single_file_from_collect2_is_understood(tool: str, tmp_path: Path) -> None:
    """C7: ld below a gcc that was given a response file gets one word, and its line is the same as without."""
    (tmp_path / "ld").write_text('#!/bin/sh\ncase "$#$1" in 1@*) cp "${1#@}" seen;; *) printf "%s\\0" "$@" >seen;; esac\n')
    (tmp_path / "ld").chmod(0o755)
    line = ["a b.o", "-Wl,--whole-archive", "c.a", "-Wl,--no-whole-archive", "-lm", "-Wl,-soname,q'uote", "-Lsome\\where", "-flto"]
    for name in ("a b.o", "c.a"):
        (tmp_path / name).touch()
    seen = []
    (tmp_path / "args").write_text("\n".join('"' + word.replace("\\", "\\\\") + '"' for word in line))
    for args in (line, ["@args"]):
        run(tool, f"-B{tmp_path}", *args, cwd=tmp_path)
        seen.append((tmp_path / "seen").read_bytes())
    direct = gnuld.facts(argv.Arguments.plain(seen[0].rstrip(b"\0").split(b"\0")), gold=False)
    unfolded = gnuld.facts(rspfile.expand([b"@seen"], "gnu-old", lambda _: seen[1]), gold=False)
    assert inputs(direct) == inputs(unfolded)
    assert "a b.o" in inputs(unfolded)
    assert direct.library_dirs == unfolded.library_dirs
    assert ([argv.IN_FILE], 1) == ([said.at for said in unfolded.plugins], unfolded.add_at)


def test_llvm_does_not_read_a_file_inside_itself() -> None:
    """LLVM refuses recursion at the first level, but reads a file twice in a row."""
    assert [b"a", b"@f", b"a", b"@f"] == expand("@f @f", "llvm", f="a @f").text


def test_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that would read more than the bound leaves the rest literal."""
    monkeypatch.setattr(rspfile, "MOST_BYTES", 5)
    assert [b"abc", b"@f"] == expand("@f @f", f="abc").text


def test_ten_thousand_names_and_a_mebibyte() -> None:
    """A line too long for argv is read whole, quoted or not."""
    names = [f"dir with blanks/object{index}.o" for index in range(10000)]
    quoted = "\n".join(f'"{name}"' for name in names)
    escaped = "\n".join(name.replace(" ", "\\ ") for name in names)
    for dialect in ("gnu-old", "gnu-new", "llvm", "mold"):
        assert [name.encode() for name in names] == rspfile.split(quoted.encode(), dialect) == rspfile.split(escaped.encode(), dialect)


@given(st.lists(st.binary(max_size=8).filter(lambda word: b"\0" not in word), max_size=6))
def test_collect2s_own_files_come_back(words: list[bytes]) -> None:
    """What libiberty's writeargv writes is read back in both its dialects, but for newlines, which the new one drops."""
    special = b" \t\n\v\f\r\\'\""
    lines = [b"".join(b"\\" * (byte in special) + bytes([byte]) for byte in word) or b'""' for word in words]
    written = b"".join(line + b"\n" for line in lines)
    assert words == rspfile.split(written, "gnu-old")
    assert [word.replace(b"\n", b"") for word in words] == rspfile.split(written, "gnu-new")
