"""Hazards of the environment: changes by Python, duplicates, and malformed variables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ldshim.call.environment import Environment, Settings, ceiling_from_builders, read_environment, read_settings


def environment(**variables: str) -> Environment:
    """Return an environment block."""
    return Environment([(name.encode(), value.encode()) for name, value in variables.items()])


def test_block_is_the_kernels_not_pythons() -> None:
    """C3: under LANG=C Python exports LC_CTYPE at its start; the tool's environment does not hold it."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from ldshim.call.environment import read_environment; print(read_environment().pairs)"
    )
    root = str(Path(__file__).parents[2])
    said = subprocess.run([sys.executable, "-I", "-c", code, root], env={"LANG": "C"}, stdout=subprocess.PIPE, check=True)
    assert said.stdout == b"[(b'LANG', b'C')]\n"


def test_duplicates_and_order_survive(tmp_path: Path) -> None:
    """C3: every entry reaches the tool in its place; of several values getenv's, the first, is read."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "environ").write_bytes(b"B=1\0A=x=y\0B=2\0no equals sign\0E=\0")
    block = read_environment(str(tmp_path).encode())
    assert [(b"B", b"1"), (b"A", b"x=y"), (b"B", b"2"), (b"E", b"")] == block.pairs
    assert block.get(b"B") == b"1"


def test_edits_keep_their_place() -> None:
    """An edited variable stays in its place, a dropped one is removed, a new one comes last, and the original is not changed."""
    block = environment(A="1", B="2", C="3")
    edited = block.changed({b"B": b"x", b"A": None, b"D": b"4", b"E": None})
    assert [(b"B", b"x"), (b"C", b"3"), (b"D", b"4")] == edited.pairs
    assert [(b"A", b"1"), (b"B", b"2"), (b"C", b"3")] == block.pairs


@pytest.mark.parametrize(
    ("name", "value", "attribute", "expected"),
    [
        ("LDSHIM_JOBS", "4", "jobs", 4), ("LDSHIM_MAX_JOBS", "1", "max_jobs", 1), ("LDSHIM_MEM_PER_JOB", "2G", "mem_per_job", 2 << 30),
        ("LDSHIM_MEM_PER_JOB", "512", "mem_per_job", 512), ("LDSHIM_DISABLE", "1", "disable", True),
        ("LDSHIM_DISABLE", "0", "disable", False),
        ("LDSHIM_ELASTIC", "0", "elastic", False), ("LDSHIM_EXPLICIT", "keep", "keep_explicit", True), ("LDSHIM_JOBS", "", "jobs", 0),
    ],
)  # fmt: skip
def test_settings_are_read(name: str, value: str, attribute: str, expected: object) -> None:
    """Every variable sets its attribute; an empty value counts as unset."""
    settings = read_settings(environment(**{name: value}))
    assert (expected, []) == (getattr(settings, attribute), settings.complaints)


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("LDSHIM_JOBS", "0", "a whole number from 1 to 999999"), ("LDSHIM_JOBS", "-3", "a whole number from 1 to 999999"),
        ("LDSHIM_JOBS", " 4 ", "a whole number from 1 to 999999"), ("LDSHIM_MAX_JOBS", "1_0", "a whole number from 1 to 999999"),
        ("LDSHIM_DISABLE", "yes", "0 or 1"), ("LDSHIM_MEM_PER_JOB", "2X", "bytes, or a number with K, M or G"),
        ("LDSHIM_EXPLICIT", "drop", "keep"),
    ],
)  # fmt: skip
def test_malformed_setting_is_one_line_and_the_default(name: str, value: str, accepted: str) -> None:
    """The line names the variable, the value and what is accepted; the default is used."""
    settings = read_settings(environment(**{name: value}))
    assert [f"ldshim: {name}: not understood, the default is used: {value!a}; accepted: {accepted}"] == settings.complaints
    default = Settings()
    assert all(getattr(default, slot) == getattr(settings, slot) for slot in Settings.__slots__ if slot != "complaints")


def test_package_builders_set_ceilings() -> None:
    """DEB_BUILD_OPTIONS and RPM_BUILD_NCPUS are ceilings: the lower one counts, a malformed one does not."""
    assert ceiling_from_builders(environment(DEB_BUILD_OPTIONS="nocheck parallel=6", RPM_BUILD_NCPUS="4")) == (
        4,
        "RPM_BUILD_NCPUS",
    )
    assert ceiling_from_builders(environment(DEB_BUILD_OPTIONS="parallel=3,nocheck")) == (3, "DEB_BUILD_OPTIONS")
    assert ceiling_from_builders(environment(DEB_BUILD_OPTIONS="parallel=", RPM_BUILD_NCPUS="0")) == (0, "")
