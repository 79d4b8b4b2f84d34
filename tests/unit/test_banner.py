"""Hazards of a banner: nested parentheses, a vendor's version, another tool's text, an incomplete cache entry.

fixtures/banners/banners.json holds banners that real tools print, first lines whole. family, version: what is to be read, "" for nothing
certain; called: the name it was called by; seen: where; licence: whose notice follows (gcc's, binutils'); more: what else follows, where
that decides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldshim.analysis import Analysis
from ldshim.call import tool_family
from ldshim.call.banner import Tool
from ldshim.call.environment import Environment, Settings
from ldshim.command.argv import Facts, Option
from ldshim.command.read import DIALECTS, Command, rsp_dialect
from ldshim.decide import budget, mode
from ldshim.decide.budget import Decision
from ldshim.inputs.findings import Findings
from ldshim.warden import grant
from tests.support.tools import need

ROOT = Path(__file__).parents[2]
ROWS: list[dict[str, str]] = json.loads((ROOT / "fixtures" / "banners" / "banners.json").read_text())
NOTICES = {
    "gcc": "Copyright (C) 2024 Free Software Foundation, Inc.\nThis is free software; see the source for copying conditions.  There is NO\n"
    "warranty; not even for MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.\n",
    "binutils": "Copyright (C) 2024 Free Software Foundation, Inc.\nThis program is free software; you may redistribute it under "
    "the terms of\nthe GNU General Public License version 3 or (at your option) a later version.\nThis program has absolutely "
    "no warranty.\n",
}


def text(row: dict[str, str]) -> bytes:
    """Return the complete banner of a row."""
    return f"{row['banner']}\n{row.get('more', '')}\n{NOTICES.get(row.get('licence', ''), '')}".replace("\n\n", "\n").encode()


@pytest.mark.parametrize("row", ROWS, ids=[row["banner"][:60] for row in ROWS])
def test_a_real_banner_is_read(row: dict[str, str]) -> None:
    """C20: a banner gives the family, none where the tool's options are not certain, and the version, none where that is another's."""
    tool = Tool(text(row))
    assert (row["family"], row["version"]) == (tool.family, ".".join(map(str, tool.numbers)))


def test_the_table_says_where_each_banner_was_seen() -> None:
    """The provenance of every row is named, no row is there twice, and each family has several."""
    assert [] == [row["banner"] for row in ROWS if not row["seen"]]
    assert len(ROWS) == len({row["banner"] for row in ROWS})
    for family in ("gcc", "clang", "lld", "bfd", "gold", "mold", "wild", ""):
        assert [row for row in ROWS if row["family"] == family][2:]


mutated = st.builds(
    lambda row, cut, at, noise: text(row)[:cut][: at % 300] + noise + text(row)[at % 300 : cut],
    st.sampled_from(ROWS), st.integers(0, 400), st.integers(0, 300),
    st.one_of(st.binary(max_size=8), st.text("()[] .0\n", max_size=8).map(str.encode)),
)  # fmt: skip


@given(st.one_of(st.binary(max_size=300), mutated))
def test_no_banner_raises(banner: bytes) -> None:
    """C1: any output gives a family and a version, which can be compared and printed."""
    tool = Tool(banner)
    assert tool.family in ("", "gcc", "clang", "lld", "bfd", "gold", "mold", "wild")
    assert 0 <= tool.major == tool.version[0]
    assert tool.numbers in ((), tool.version)
    if tool.family:
        assert rsp_dialect(tool, []) in {dialect for _, _, dialect in DIALECTS}


UNKNOWN = {
    "gcc": b"gcc (GCC) trunk\n" + NOTICES["gcc"].encode(),
    "bfd": b"GNU ld (GNU Binutils) trunk\n",
    "gold": b"GNU gold (GNU Binutils) 1.16\n",
    "mold": b"mold trunk (compatible with GNU ld)\n",
    "wild": b"Wild 7f5cf00b (compatible with GNU linkers)\n",
    "clang": b"Apple clang version 15.0.0 (clang-1500.3.9.4)\n",
    "lld": b"LLD trunk (compatible with GNU linkers)\n",
}


@pytest.mark.parametrize("family", UNKNOWN)
def test_an_unknown_version_quotes_like_the_newest(family: str) -> None:
    """C7 C8: where the banner has no version, a response file is read by the newest version's rules."""
    tool = Tool(UNKNOWN[family])
    assert (family, ()) == (tool.family, tool.numbers)
    assert rsp_dialect(tool, []) == next(dialect for name, _, dialect in DIALECTS if name == family)


@pytest.mark.parametrize(
    ("first", "dialect"),
    [
        ("gcc (GCC) 15.1.1 20250521 (Red Hat 15.1.1-2)", "gnu-new"),
        ("gcc (GCC) 14.2.1 20250110 (Red Hat 14.2.1-7)", "gnu-old"),
        ("gcc (GCC) 12.2.1 20221121 (Red Hat 12.2.1-7)", "gnu-old"),
        ("riscv64-unknown-linux-gnu-gcc (g5a43bcc73) 16.0.0 20250923 (experimental)", "gnu-new"),
        ("GNU ld version 2.35.2-67.el9_7.1", "gnu-old"),
        ("GNU ld (GNU Binutils; SUSE Linux 16) 2.43.1.20241209-160000.2", "gnu-old"),
        ("GNU ld (GNU Binutils) 2.45.50.20250912", "gnu-new"),
        ("GNU gold (GNU Binutils for Debian 2.40) 1.16", "gnu-old"),
        ("GNU gold (GNU Binutils 2.44) 1.16", "gnu-new"),
    ],
)
def test_a_known_version_quotes_like_itself(first: str, dialect: str) -> None:
    """C7: parentheses after the version, or gold's own number beside its binutils', do not change the version."""
    assert dialect == rsp_dialect(Tool(f"{first}\n{NOTICES['gcc']}".encode()), [])


@pytest.mark.parametrize(("recorded", "asks", "partitions"), [(0, True, 512), (12, False, 128), (15, True, 128)])
@pytest.mark.parametrize("tool", [UNKNOWN["gcc"], UNKNOWN["bfd"], b"GNU ld (GNU Binutils for Debian) 2.40\n"])
def test_a_gcc_of_unknown_version_is_the_objects_or_the_newest(tool: bytes, recorded: int, asks: bool, partitions: int) -> None:
    """C8 C19: without a banner, as below collect2, the objects give the version of GCC; without them the newest one's rules apply."""
    found = Findings()
    found.gcc_slim, found.gcc_bytes, found.gcc_major = 8, 1 << 40, recorded
    link = Analysis(Decision(None, ""), Tool(tool), None, found)
    assert asks == (link.gcc_major >= grant.WPA_ASKS)
    facts = Facts()
    facts.plugins = [Option(b"/usr/libexec/liblto_plugin.so", 0, b"-plugin")]
    command = Command(link.family, facts, facts)
    assert partitions == mode.decide(command, found, "", Tool(tool).gcc_major).demand


@pytest.mark.parametrize(
    ("linker", "obeys"),
    [
        (UNKNOWN["mold"], True),
        (b"mold 1.10.1 (compatible with GNU ld)", False),
        (b"mold 3.0.0 (compatible with GNU ld)", True),
        (UNKNOWN["lld"], True),
        (UNKNOWN["gcc"], False),
    ],
)
def test_what_a_linker_obeys_is_known_by_its_version(linker: bytes, obeys: bool) -> None:
    """C20 C21: mold 3 and a mold of unknown version may be confined, called directly or by a driver; mold 1 may not."""
    assert obeys == budget.may_confine(Tool(linker), Settings())


def entries(place: Path) -> dict[str, bytes]:
    """Return the contents of the banner cache."""
    return {path.name: path.read_bytes() for path in (place / "ldshim").glob("tool-*")}


IDENTIFY = """
import resource, sys
limit = int(sys.argv[1])
if limit >= 0:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.path.insert(0, sys.argv[2])
from ldshim.call import tool_family
from ldshim.call.environment import Environment
environment = Environment([(b"XDG_RUNTIME_DIR", sys.argv[4].encode()), (b"PATH", b"/usr/bin:/bin")])
print(tool_family.identify(sys.argv[3].encode(), environment).family)
"""


def identify(place: Path, limit: int) -> str:
    """Identify gcc in a separate process. limit: bytes that a file of this process may have, -1 for any number."""
    done = subprocess.run(
        [sys.executable, "-c", IDENTIFY, str(limit), str(ROOT), need("gcc"), str(place)], stdout=subprocess.PIPE, check=True
    )
    return done.stdout.decode().strip()


@pytest.mark.parametrize("limit", [0, 10])
def test_a_full_disk_leaves_nothing_in_the_cache(limit: int, tmp_path: Path) -> None:
    """C1: an entry that cannot be written completely is removed; the tool is still identified, and the next call writes the entry."""
    tmp_path.chmod(0o700)
    for _ in range(3):
        assert identify(tmp_path, limit) == "gcc"
        assert {} == entries(tmp_path)
    assert identify(tmp_path, -1) == "gcc"
    assert len(entries(tmp_path)) == 1


def test_an_incomplete_entry_is_no_entry(tmp_path: Path) -> None:
    """C1: where an entry is incomplete the tool is run, and the entry is complete afterwards."""
    tmp_path.chmod(0o700)
    assert identify(tmp_path, -1) == "gcc"
    name, whole = next(iter(entries(tmp_path).items()))
    environment = Environment([(b"XDG_RUNTIME_DIR", os.fsencode(tmp_path))])
    gcc = os.fsencode(need("gcc"))
    assert tool_family.kept(gcc, environment) == "gcc"
    for length in (0, 1, 20, len(whole) - 1):
        (tmp_path / "ldshim" / name).write_bytes(whole[:length])
        assert tool_family.kept(gcc, environment) == ""
        assert identify(tmp_path, -1) == "gcc"
        assert {name: whole} == entries(tmp_path)
