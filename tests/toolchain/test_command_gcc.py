"""GCC's own precedence and arities, asked of the real drivers."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest

from ldshim.command import collect, gcc
from tests.support.commandline import plain, run, takes_next, values
from tests.support.tools import gccs

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ["-flto", "-fno-lto", "-flto=2", "-flto=auto", "--lto", "--no-lto"]


def collected(tool: str, line: str, cwd: Path) -> tuple[list[bytes], bool]:
    """Return what the real driver puts into COLLECT_GCC_OPTIONS, and whether it loads the plugin."""
    (cwd / "yyy.o").touch()
    _, said = run(tool, "-###", *line.split(), "yyy.o", cwd=cwd)
    options = collect.split(re.findall(r"^COLLECT_GCC_OPTIONS=(.*)$", said, re.MULTILINE)[-1].encode())
    assert options is not None
    return options, "liblto_plugin" in said.splitlines()[-2] + said.splitlines()[-1]


@pytest.mark.parametrize("tool", gccs())
def test_survivors_are_those_of_the_driver(tool: str, tmp_path: Path) -> None:
    """Of every sequence of three LTO switches exactly those survive that the driver hands on, and -fno-lto takes the plugin out."""
    for line in itertools.chain.from_iterable(itertools.product(WORDS, repeat=length) for length in (1, 2, 3)):
        text = " ".join(line)
        options, plugin = collected(tool, text, tmp_path)
        facts = gcc.facts(plain(text + " yyy.o"))
        real = [option for option in options if option.startswith(b"-flto")]
        assert (text, real, not plugin) == (
            text,
            [b"-flto" + (b"" if value is None else b"=" + value) for value in values(facts.flto)],
            facts.no_lto,
        )
        below = gcc.collect_facts(options)
        assert (real, facts.no_lto) == ([options[said.at] for said in below.flto], below.no_lto)


@pytest.mark.parametrize("tool", gccs())
def test_options_take_the_words_that_the_driver_gives_them(tool: str) -> None:
    """Every option that the table lets take the next word misses one at the end of the real driver's line, or is none to this version."""
    wrong = []
    for option in sorted(takes_next(gcc.TABLE)):
        _, said = run(tool, "-###", option)
        if not re.search(r"missing|argument to|unrecognized|not recognized|must specify", said):
            wrong.append(option)
    assert [] == wrong


@pytest.mark.parametrize("tool", gccs())
def test_inputs_are_those_of_the_driver(tool: str, tmp_path: Path) -> None:
    """No word is taken for an option's argument that the driver links, and none the other way round."""
    for name in ("a.o", "b.o", "c.o"):
        (tmp_path / name).touch()
    links = [row for row in gcc.TABLE.rows if row.meaning not in ("no-link", "-Wl", "-Xlinker")]
    for option in sorted({spelling.decode() for row in links for spelling in row.spellings}):
        _, said = run(tool, "-###", "a.o", option, "b.o", "c.o", cwd=tmp_path)
        line = [text for text in said.splitlines() if "collect2" in text and " c.o" in text]
        if not line or re.search(r"error:", said):
            continue  # refused, or taken for a language
        linked = ["b.o"] if re.search(r"a\.o b\.o c\.o", line[-1]) else []
        names = [given.name.decode() for given in gcc.facts(plain(f"a.o {option} b.o c.o")).inputs if not given.library]
        assert (option, ["a.o", *linked, "c.o"]) == (option, names)


@pytest.mark.parametrize(
    ("line", "flto", "no_lto"),
    [
        ("-fno-lto -flto=3 a.o", [b"3"], True),
        ("-flto=3 -fno-lto -flto a.o", [b"3", None], False),
        ("-o -flto a.o", [], False),
        ("-Xlinker -flto a.o", [], False),
        ("-Wl,-flto a.o", [], False),
        ("-flto= a.o", [b""], False),
    ],
)
def test_flto_counts_where_it_is_an_option(line: str, flto: list[bytes | None], no_lto: bool) -> None:
    """C9: -flto is read only where GCC reads it, unvalidated, in order."""
    facts = gcc.facts(plain(line))
    assert (flto, no_lto) == (values(facts.flto), facts.no_lto)


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("-flto-partition=one -flto-partition=none a.o", "partition", b"none"),
        ("-flinker-output=nolto-rel -r a.o", "linker_output", b"nolto-rel"),
        ("-r a.o", "relocatable", True),
        ("-Wl,-r a.o", "relocatable", True),
        ("-o -r a.o", "relocatable", False),
        ("--param lto-partitions=8 --param=lto-min-partition=100 a.o", "params", {b"lto-partitions": 8, b"lto-min-partition": 100}),
        ("--param lto-partitions=x a.o", "params", {}),
        ("-fuse-ld=gold -fuse-ld=lld a.o", "fuse_ld", b"lld"),
        ("-fno-use-linker-plugin a.o", "linker_plugin", False),
        ("-fno-use-linker-plugin -fuse-linker-plugin a.o", "linker_plugin", True),
        ("-L/a -L /b -Wl,-L/c a.o", "library_dirs", [b"/a", b"/b", b"/c"]),
        ("--sysroot /s --sysroot=/t a.o", "sysroot", b"/t"),
        ("-Wl,@more a.o", "unread", [b"more"]),
        ("a.o b.c", "sources", True),
        ("-x c a.o", "sources", True),
        ("-x c -x none a.o", "sources", False),
        ("a.o -o x.c", "sources", False),
        ("-wrapper strace,-f a.o", "sources", False),
        ("a.o -T", "pending", True),
        ("a.o -Wl,-rpath", "pending", True),
    ],
)
def test_facts_of_a_gcc_line(line: str, name: str, expected: object) -> None:
    """The facts that decide a GCC link, each from where GCC itself reads it."""
    assert expected == getattr(gcc.facts(plain(line)), name)


@pytest.mark.parametrize(
    ("line", "links"),
    [
        ("-c a.c", False),
        ("-o -c a.o", True),
        ("-S a.c", False),
        ("-E -", False),
        ("-v a.o", True),
        ("-v", False),
        ("", False),
        ("-dumpdir x a.o", True),
        ("-dumpversion", False),
        ("-print-prog-name=ld", False),
        ("--help=common", False),
        ("-### a.o", False),
        ("-lm", True),
        ("-Wl,@more", True),
        ("x.h", False),
        ("a.c", True),
        ("-MD -MF x.d a.c", True),
        ("-V -T --help a.c", False),
    ],
)
def test_calls_that_do_not_link_say_why(line: str, links: bool) -> None:
    """C5: a compile or a probe is told from a link, and gives its reason."""
    facts = gcc.facts(plain(line))
    assert (links, not links) == (facts.links, facts.why_not != "")
