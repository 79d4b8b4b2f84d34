"""Hazards of text that somebody else wrote: numbers of 5000 digits, NUL bytes, variables full of rubbish, logs that are no files.

No such text may cost a link, or an "internal error".
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldshim import record
from ldshim.call.environment import Environment, ceiling_from_builders, count, read_settings
from ldshim.plain_link import is_plain
from ldshim.reserve import makeflags
from ldshim.warden import grant, handover
from tests.support import tools
from tests.support.recorder import Recorder, banner

if TYPE_CHECKING:
    from tests.support.program import Program
    from tests.support.shim import Shim

LONG = b"9" * 5000  # int() refuses more than 4300 digits (CPython 3.11)
TEXT = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [LONG, b"-j" + LONG, b"--jobserver-auth=" + LONG + b"," + LONG, b"parallel=" + LONG, b"1.2:" + LONG + b"." + LONG, b"0x1f"]
    ),
    st.from_regex(rb"[0-9.,:=\- ]{0,60}", fullmatch=True),
)
NAMES = st.sampled_from(
    [b"MAKEFLAGS", b"DEB_BUILD_OPTIONS", b"RPM_BUILD_NCPUS", b"LDSHIM_JOBS", b"LDSHIM_MEM_PER_JOB", b"LDSHIM_MAX_JOBS", b"_LDSHIM_HELD"]
)


@pytest.mark.parametrize(("text", "number"), [(b"7", 7), (b"000000007", 7), (LONG, 0), (b"", 0), (b"-1", 0), (b"1_0", 0), (b" 1", 0)])
def test_a_number_has_nine_digits_at_most(text: bytes, number: int) -> None:
    """What is longer is no number of anything that we count."""
    assert number == count(text)


@given(st.lists(st.tuples(NAMES, TEXT), max_size=4), st.lists(TEXT, max_size=4))
def test_no_environment_and_no_argument_raises(pairs: list[tuple[bytes, bytes]], args: list[bytes]) -> None:
    """C1: whatever stands in a variable or on the line is a number, or none."""
    environment = Environment(pairs)
    read_settings(environment)
    ceiling_from_builders(environment)
    makeflags.parse(environment.get(b"MAKEFLAGS"))
    grant.named_descriptors(value for _, value in pairs)
    assert not handover.is_nested(environment)
    is_plain("mold", [arg.replace(b"\0", b"") for arg in args], [b"%b=%b" % pair for pair in pairs])


@pytest.fixture
def lld(tmp_path: Path) -> Recorder:
    """Provide a recorder that ldshim takes for lld."""
    return Recorder(tmp_path / "tool", "ld.lld", banner("ld.lld-16"))


def link(lld: Recorder, shim: Shim, args: list[str], **variables: str) -> tuple[int, bytes]:
    """Run a link through ldshim: status, stderr."""
    env = shim.environment(LDSHIM_REAL_LD_LLD=lld.path, **variables)
    done = subprocess.run(
        [shim.named("ld.lld"), *args, "-o", "out"], env=env, stderr=subprocess.PIPE, check=False, timeout=60, cwd=lld.place
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {"MAKEFLAGS": f" -j{'9' * 5000} --jobserver-auth={'9' * 5000},{'9' * 5000}"},
        {"DEB_BUILD_OPTIONS": f"parallel={'9' * 5000}"},
        {"RPM_BUILD_NCPUS": "9" * 5000},
        {"_LDSHIM_HELD": f"{'9' * 5000}.1:{'9' * 5000}.{'9' * 5000}"},
        {"_LDSHIM_DEPTH": f"{'9' * 5000}:/x"},
        {"_LDSHIM_VIA": "x" * 100_000},
    ],
    ids=["MAKEFLAGS", "parallel", "NCPUS", "held", "depth", "via"],
)
def test_a_number_of_5000_digits_is_no_internal_error(lld: Recorder, program: Program, shim: Shim, variables: dict[str, str]) -> None:
    """C1: the link runs, and nothing is said."""
    thin = program.objects(tools.clang_of("ld.lld-16"), "-O1", "-fPIC", "-flto=thin")
    for args in (thin, ["x.o"], ["--threads=" + "9" * 5000, *thin], ["--thinlto-jobs=" + "9" * 5000, *thin]):
        assert (0, b"") == link(lld, shim, args, **variables)


def test_a_nul_in_a_name_of_a_response_file_is_no_internal_error(lld: Recorder, program: Program, shim: Shim) -> None:
    """C1 C7: no file has such a name; the tool says so, if anybody does."""
    thin = program.objects(tools.clang_of("ld.lld-16"), "-O1", "-fPIC", "-flto=thin")
    (lld.place / "args.rsp").write_bytes(b"@ne\0sted.rsp -L/li\0b -lna\0me in\0put.o " + " ".join(thin).encode())
    assert (0, b"") == link(lld, shim, ["@args.rsp"])


def full_fifo(path: Path) -> list[int]:
    """Make a FIFO into which nothing more fits, with a reader that never reads."""
    os.mkfifo(path)
    ends = [os.open(path, os.O_RDONLY | os.O_NONBLOCK), os.open(path, os.O_WRONLY | os.O_NONBLOCK)]
    try:
        while True:
            os.write(ends[1], bytes(4096))
    except BlockingIOError:
        return ends


def bound_socket(path: Path) -> list[int]:
    """Make a socket in the file system."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        return [os.dup(bound.fileno())]


PLACES: dict[str, Callable[[Path], object]] = {
    "a FIFO without a reader": os.mkfifo,
    "a full FIFO": full_fifo,
    "a socket": bound_socket,
    "a directory": Path.mkdir,
    "a full device": lambda path: path.symlink_to("/dev/full"),
    "a loop of links": lambda path: path.symlink_to(path.name),
    "below a file": lambda path: path.parent.joinpath("log").symlink_to("/etc/passwd/log"),
}


@pytest.mark.parametrize("kind", list(PLACES))
def test_a_log_that_cannot_be_written_costs_nothing(lld: Recorder, program: Program, shim: Shim, kind: str) -> None:
    """C1 C5: whatever LDSHIM_LOG names, the link runs at once, says nothing, and no warden stays."""
    thin = program.objects(tools.clang_of("ld.lld-16"), "-O1", "-fPIC", "-flto=thin")
    held = PLACES[kind](lld.place / "log")
    assert (0, b"") == link(lld, shim, thin, LDSHIM_LOG=str(lld.place / "log"))
    record.log(os.fsencode(lld.place / "log"), {"event": "end"})
    for fd in held if isinstance(held, list) else ():
        os.close(fd)
