"""argv as the real tool gets it: random bytes, nothing at all, ten thousand words, and as much as the kernel takes.

Through the recording tool where the way matters (kernel, Python, exec), and through the plan with closed doors where the decision does:
whatever stands on a line, only words about jobs may differ, and none may move.
"""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import golden_records, tools
from tests.support.pool import Pool
from tests.support.recorder import Recorder, banner
from tests.support.shim import PYTHON, ROOT

if TYPE_CHECKING:
    from tests.support.program import Program
    from tests.support.shim import Shim

ANY_BYTE = st.binary(max_size=40).map(lambda word: word.replace(b"\0", b"\1"))
# Words that mean something to one of the tools, so that the tables are walked and not only passed by.
VOCABULARY = st.sampled_from(
    b"""-flto -flto=auto -flto=8 -flto=jobserver -fno-lto -flto=thin -r -o -o/out -x c -Wl,--threads=9 -Wl,-plugin-opt=jobs=3
    -Xlinker --threads=7 --threads --thinlto-jobs=5 --thinlto-jobs=all -plugin /p/LLVMgold.so /p/liblto_plugin.so -plugin-opt=jobs=6
    -plugin-opt jobs=4 -- - @missing.rsp -lm -L -fuse-ld=lld -fuse-ld=gold --whole-archive a.o b.o lib.a -z now
    --thread-count 4 --thread-count=3 -v --no-threads -flto-jobs=2 -static -shared -T -e --param lto-partitions=3 -Wl, -Wl,,""".split()
)
LINE = st.lists(st.one_of(VOCABULARY, ANY_BYTE), max_size=14)
BANNERS = {
    "gcc": "gcc (Debian 12.2.0-14) 12.2.0\nCopyright (C) 2022 Free Software Foundation, Inc.",
    "clang": "Debian clang version 19.1.7 (3)",
    "ld.lld": "LLD 19.1.7 (compatible with GNU linkers)",
    "ld.gold": "GNU gold (GNU Binutils 2.40) 1.16",
    "ld.bfd": "GNU ld (GNU Binutils) 2.40",
    "mold": "mold 1.10.1 (compatible with GNU ld)",
    "wild": "Wild version 0.8.0 (compatible with GNU linkers)",
}
OURS = (b"--threads=", b"--thinlto-jobs=", b"--thread-count=", b"-plugin-opt=jobs=", b"-flto-jobs=", b"-Wl,--th", b"-Wl,-plugin-opt=jobs=")
REPLACED = (b"-flto=", b"-plugin-opt=jobs=", b"--plugin-opt=jobs=", b"jobs=", b"--thinlto-jobs=", b"-thinlto-jobs=", b"-Wl,")


@pytest.mark.parametrize("name", BANNERS)
@given(line=LINE)
@settings(max_examples=300, deadline=None)
def test_whatever_stands_on_a_line_keeps_its_place_and_its_bytes(name: str, line: list[bytes]) -> None:
    """C2: for every family and any line, an answer is the line with words about jobs added or replaced, and every other word in order."""
    record: dict[str, Any] = {
        "tool": [name, BANNERS[name]],
        "argv": [os.fsdecode(word) for word in line],
        "inputs": {"a.o": "thin*3", "b.o": "gcc_slim[-flto=5]*3", "lib.a": "thin*9 native*2"},
        "granted": ["jobserver", "pipe 3,4", 2],
        "linker": ["/usr/bin/ld.lld", BANNERS["ld.lld"]],
    }
    with pytest.MonkeyPatch.context() as patch:
        answer = golden_records.answer(record, patch)
    left = list(line)
    for text in answer["argv"]:
        word = os.fsencode(text)
        if left and (left[0] == word or any(left[0].startswith(stem) and word.startswith(stem) for stem in REPLACED)):
            left.pop(0)
        else:
            assert word.startswith(OURS)
    assert left == []


@pytest.fixture(scope="module")
def gcc(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Compile a recorder that is a gcc."""
    return Recorder(tmp_path_factory.mktemp("gcc"), "gcc", banner(tools.GCC))


@pytest.fixture(scope="module")
def lld(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Compile a recorder that is an lld."""
    return Recorder(tmp_path_factory.mktemp("lld"), "ld.lld", banner(tools.LLD))


@given(line=st.lists(ANY_BYTE, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_arrive(line: list[bytes], gcc: Recorder, shim: Shim) -> None:
    """C2: through kernel, interpreter and exec, in the C locale too: every word arrives as it was sent, empty ones included."""
    env = {"PATH": os.defpath, "LDSHIM_REAL_GCC": gcc.path, "LANG": "C"}
    command = [os.fsencode(shim.named("gcc")), b"-c", *line]
    assert [os.fsencode(gcc.path), b"-c", *line] == gcc.run(command, env=env)["argv"]


@pytest.mark.parametrize("form", ["name", "prefix", "prefix with a path"])
def test_awkward_words_arrive_in_every_form_of_calling(form: str, gcc: Recorder, shim: Shim) -> None:
    """C2: by a link's name, as `ldshim gcc` and as `ldshim /path/gcc`, words that look like ours or like nothing stay the tool's."""
    line = [
        b"",
        b"--json",
        b"explain",
        b"--",
        b"a b",
        b"nl\n",
        b"\xff\xfe.o",
        b"*",
        b"$HOME",
        b"back\\slash",
        b"tab\t",
        b"'",
        b'"',
        b"",
        b"-c",
    ]
    front = {"name": [shim.named("gcc")], "prefix": [shim.command, "gcc"], "prefix with a path": [shim.command, gcc.path]}[form]
    env = {"PATH": os.defpath, "LDSHIM_REAL_GCC": gcc.path}
    assert [os.fsencode(gcc.path), *line] == gcc.run([*map(os.fsencode, front), *line], env=env)["argv"]


def test_ten_thousand_words_of_an_lto_link(lld: Recorder, program: Program, shim: Shim) -> None:
    """C2: a link of ten thousand words has two words more, behind all of its own."""
    thin = program.objects(tools.clang_of(tools.LLD), "-O1", "-fPIC", "-flto=thin")
    line = [*thin, *(f"-u=symbol{number}" for number in range(10000)), "", "-o", "out"]
    env = {"PATH": os.defpath, "LDSHIM_REAL_LD_LLD": lld.path, "LDSHIM_JOBS": "2"}
    said = lld.run([shim.named("ld.lld"), *line], env=env)["argv"]
    assert [*map(os.fsencode, [lld.path, *line]), b"--threads=2", b"--thinlto-jobs=2"] == said


def test_a_line_near_the_systems_limit_runs_unedited(lld: Recorder, program: Program, shim: Shim) -> None:
    """C1 C14: where our words and variables are what would not fit (E2BIG), the tool runs without them, and every token is back.

    The longest line that ldshim itself can be started with is searched for; a tool's path is no longer than interpreter and script.
    """
    thin = program.objects(tools.clang_of(tools.LLD), "-O1", "-fPIC", "-flto=thin")
    with tempfile.TemporaryDirectory(dir="/tmp") as place, Pool(b"ab") as pool:
        short = Path(place) / "ld.lld"
        short.symlink_to(lld.path)
        env = {"PATH": os.defpath, "LDSHIM_REAL_LD_LLD": str(short), "MAKEFLAGS": pool.makeflags, "XDG_RUNTIME_DIR": str(shim.runtime)}
        # Without the shell in front, which leaves room for what is added.
        script = Path(place) / "s" / "ld.lld"
        script.parent.mkdir()
        script.write_text(f"#!{PYTHON} -IS\nimport sys\nsys.path.append({str(ROOT)!r})\nfrom ldshim.__main__ import main\nmain()\n")
        script.chmod(0o755)
        command = [str(script), *thin, "-o", "out"]
        full = ["-L" + "x" * 100_000] * 30
        low, high = 0, 3_000_000
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if starts([*command, *filler(full, middle)], env) else (low, middle)
        unedited, edited = [], 0
        for spare in (0, 1, 40, 200, 1000, 4000):
            line = [*command, *filler(full, low - spare)]
            said = lld.run(line, env=env, pass_fds=pool.pass_fds)["argv"][1:]
            unedited.append(said == list(map(os.fsencode, line[1:])))
            edited += said[-1].startswith(b"--thinlto-jobs=")
    assert (True, False) == (unedited[0], unedited[-1])
    assert len(unedited) == edited + sum(unedited)


def filler(full: list[str], length: int) -> list[str]:
    """Make words of so many bytes in all."""
    whole, rest = divmod(length, 100_002)
    return [*full[:whole], "-L" + "y" * max(0, rest - 2)]


def starts(command: list[str], env: dict[str, str]) -> bool:
    """Tell whether the kernel takes a command line; what is started is a compile-free probe of ldshim's own start."""
    as_long = "/bin/true".rjust(len(env["LDSHIM_REAL_LD_LLD"]), "/")
    try:
        subprocess.run(command, env={**env, "LDSHIM_REAL_LD_LLD": as_long}, check=False, stderr=subprocess.DEVNULL)
    except OSError as error:
        assert error.errno == errno.E2BIG  # noqa: PT017
        return False
    return True
