"""Hazards of descriptors: few are left, many are taken, and numbers that make 4.3 cannot wait for (C1, C19)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ldshim.call import descriptors
from tests.support import tools
from tests.support.pool import Pool
from tests.support.recorder import Recorder, banner
from tests.support.shim import ROOT
from tests.toolchain.test_surroundings import Bench

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program
    from tests.support.shim import Shim

# Arguments: the limit, the numbers to open, those of them to leave closed; what to do then, and with what.
TAKE = """
import errno, os, resource, sys
limit, taken, free = (eval(word) for word in sys.argv[1:4])
sys.path.insert(0, sys.argv[5])
if sys.argv[4] != EXEC:
    from ldshim.call import descriptors
    from ldshim.warden import private_jobserver
os.closerange(3, 3000)
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
for number in taken:
    if number not in free:
        os.dup2(0, number)
exec(sys.argv[4])
"""
EXEC = "os.execv(sys.argv[5], sys.argv[5:])"
CREATE = """
try:
    made = private_jobserver.create({101, 102})
    print(descriptors.are_scarce(), made.read_fd, made.write_fd, os.get_inheritable(made.read_fd), os.get_blocking(made.read_fd))
except OSError as error:
    print(descriptors.are_scarce(), error.errno)
"""


def taking(limit: int, taken: str = "()", free: str = "()", then: str = EXEC) -> list[str]:
    """Return what to put before a command that is to find so many descriptors possible, and some of them taken."""
    return [sys.executable, "-IS", "-c", TAKE.replace("EXEC", ascii(EXEC)), str(limit), taken, free, then]


@pytest.mark.parametrize("number", [errno.EIO, errno.EOVERFLOW, errno.ENOMEM, errno.ENOSYS, errno.EACCES])
def test_a_number_that_the_kernel_cannot_tell_of_is_not_free(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only EBADF says that nobody has it: what is open on a file system that fails is not ours to close."""

    def fail(_: int) -> None:
        raise OSError(number, "")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", fail)
        found = descriptors.is_free(901)
    assert not found


def test_a_number_that_is_closed_is_free() -> None:
    """The other half: what was closed a moment ago."""
    fd = os.open("/", os.O_RDONLY)
    assert not descriptors.is_free(fd)
    os.close(fd)
    assert descriptors.is_free(fd)


@pytest.mark.parametrize(
    ("limit", "taken", "free", "expected"),
    [
        (1024, "()", "()", "False 103 104 True False"),
        (20000, "range(103, 1030)", "()", "False 20 21 True False"),
        (20000, "range(20, 1030)", "range(500, 550)", "False 500 501 True False"),
        (20000, "range(3, 1030)", "(5, 999)", "True 5 999 True False"),
        (20000, "range(3, 1030)", "(1001, 1002, 1003)", "True 1001 1002 True False"),
        (20000, "range(3, 1030)", "()", f"True {errno.EMFILE}"),
        (256, "()", "()", "False 103 104 True False"),
        (64, "()", "()", "False 20 21 True False"),
        (40, "()", "()", "True 20 21 True False"),
        (16, "()", "()", "True 5 3 True False"),
    ],
)
def test_where_a_private_jobserver_stands(limit: int, taken: str, free: str, expected: str) -> None:
    """C19: above 100 where that is free, lower where it is not, never at FD_SETSIZE or above, and nowhere rather than that."""
    said = subprocess.run([*taking(limit, taken, free, CREATE), str(ROOT)], stdout=subprocess.PIPE, check=True, timeout=60).stdout
    assert expected == said.decode().strip()


@pytest.fixture(scope="module")
def bench(shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Provide small calls of every kind."""
    return Bench(shim, tmp_path_factory.mktemp("bench"))


LINKS = ["plain link", "LTO link", "linker's plain link", "linker's LTO link"]


@pytest.mark.parametrize("form", ["prefix", "symlink", "farm"])
def test_with_few_descriptors_every_link_works_that_works_bare(form: str, bench: Bench) -> None:
    """C1: from the limit at which a shell starts up to one at which all is as usual: status, messages and bytes are the bare link's."""
    for limit in (11, 12, 13, 14, 15, 16, 17, 20, 30, 40, 48, 50, 51, 52, 56, 64, 256):
        for call in LINKS:
            expected = bench.run(call, "bare", taking(limit))
            if expected[0] == 0:
                assert (limit, call, expected) == (limit, call, bench.run(call, form, taking(limit)))


@pytest.mark.parametrize("call", ["LTO link", "linker's LTO link"])
@pytest.mark.parametrize(
    ("taken", "free"), [("range(100, 1030)", "()"), ("range(20, 1030)", "range(500, 548)"), ("range(3, 1030)", "(7, 8, 9)")]
)
def test_where_the_usual_numbers_are_taken(call: str, taken: str, free: str, bench: Bench) -> None:
    """C14, C19: with everything up to 1029 inherited but a few numbers, make does not die of ours, and the tokens are back."""
    expected = bench.run(call, "bare", taking(20000, taken, free))
    assert 0 == expected[0]
    with Pool(style="fifo") as pool:
        assert expected == bench.run(call, "prefix", taking(20000, taken, free), pool)


@pytest.mark.parametrize("limit", [52, 64, 256, 1024, 4096])
def test_what_the_tool_inherits_of_ours(limit: int, shim: Shim, program: Program, tmp_path: Path) -> None:
    """C3, C19: three descriptors and no more, all below FD_SETSIZE, none at 0 to 2; none where few are left."""
    recorder = Recorder(tmp_path / "gcc", "gcc", banner("gcc-12"))
    pin = {"LDSHIM_REAL_GCC": recorder.path}
    objects = program.objects(tools.need("gcc-12"), "-O1", "-flto")
    with Pool(b"abc", style="fifo") as pool:
        env = {**shim.environment(**pin, MAKEFLAGS=pool.makeflags), "LC_ALL": "C.UTF-8"}
        line = [*taking(limit), shim.named("gcc"), "-flto=auto", *objects, "-o", "out"]
        subprocess.run(line, env=env, check=True, timeout=60, stdin=subprocess.DEVNULL)
    _, _, rest = recorder.record.read_bytes().partition(b"\nfds ")
    numbers = [int(row.split()[0]) for row in rest.partition(b"\nstatus ")[0].splitlines()[1:] if row.split()]
    ours = [number for number in numbers if number > 2]
    assert (3, True) == (len(ours), all(number < descriptors.MOST for number in ours))
