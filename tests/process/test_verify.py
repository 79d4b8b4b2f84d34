"""Hazard: `ldshim verify` calls two different links the same, or writes where the caller's own output is."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import tools
from tests.support.launchers import script
from tests.support.shim import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shim import Shim

# The bare run is the one with LDSHIM_DISABLE. `$out` is the last word, as for a real tool that is given -o twice.
TOOLS = {
    "same": ('echo output > "$out"', 0, ["same: 7 bytes, status and messages"]),
    "bytes": ('echo "${LDSHIM_DISABLE-differs}" > "$out"', 1, ["output: differs from byte 0; bare 2 bytes, through ldshim 8 bytes"]),
    "longer": ('printf 1${LDSHIM_DISABLE-2} | tr -d 1 > "$out"', 1, ["output: differs from byte 0; bare 0 bytes, through ldshim 1 bytes"]),
    "status": ('echo > "$out"; [ "$LDSHIM_DISABLE" ] || exit 7', 1, ["status: bare status 0, through ldshim status 7"]),
    "signal": ('echo > "$out"; [ "$LDSHIM_DISABLE" ] || kill -9 $$', 1, ["status: bare status 0, through ldshim signal 9"]),
    "stdout": ('echo "${LDSHIM_DISABLE-x}"; echo > "$out"', 1, ["stdout: bare '1', through ldshim 'x'"]),
    "stderr": ('echo a >&2; echo "${LDSHIM_DISABLE-x}" >&2; echo > "$out"', 1, ["stderr: bare '1', through ldshim 'x'"]),
    "gcc's names": ('echo "/tmp/cc12345${LDSHIM_DISABLE-x}.o: no" >&2; echo > "$out"', 0, ["same: 1 bytes, status and messages"]),
    "none": ('[ ! "$LDSHIM_DISABLE" ] || echo > "$out"', 1, ["output: bare written, through ldshim none"]),
    "failing": ("echo no >&2; exit 3", 1, ["the bare link fails, so no output was compared: status 3", "no"]),
    "reads stdin": ('cat > "$out"', 0, ["same: 0 bytes, status and messages"]),
}


def verify(shim: Shim, *words: object, cwd: Path, path: str = "/usr/bin:/bin", **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "ldshim", "verify", *map(str, words)],
        env=shim.environment(PYTHONPATH=str(ROOT), PATH=path, **more), cwd=cwd, input="input", capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("case", TOOLS)
def test_what_differs_is_named(shim: Shim, tmp_path: Path, case: str) -> None:
    """Output, status and text of both runs are compared; nothing stays behind, and the caller's own output is untouched."""
    body, status, said = TOOLS[case]
    script(tmp_path / "bin" / "gcc", f"for out; do :; done\n{body}")
    (tmp_path / "x").write_text("mine")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = verify(shim, "--", "gcc", "a.o", "-o", "x", cwd=tmp_path, path=f"{tmp_path}/bin:/usr/bin:/bin", TMPDIR=str(temporary))
    assert (status, said) == (
        done.returncode,
        [line for line in (done.stdout + done.stderr).splitlines() if "through ldshim: " not in line],
    )
    assert "mine" == (tmp_path / "x").read_text()
    assert [] == list(temporary.iterdir())


def test_sections_and_symbols_are_named(shim: Shim, tmp_path: Path) -> None:
    """Of two ELF files that differ, the parts that do; --keep leaves both."""
    gcc = tools.need("gcc")
    (tmp_path / "one.c").write_text("int f(void) { return 1; }")
    (tmp_path / "two.c").write_text("int f(void) { return 2; } int g(void) { return 3; }")
    for name in ("one", "two"):
        subprocess.run([gcc, "-c", f"{name}.c"], cwd=tmp_path, check=True)
    script(
        tmp_path / "bin" / "ld", f'for out; do :; done\n[ "$LDSHIM_DISABLE" ] && cp {tmp_path}/one.o "$out" || cp {tmp_path}/two.o "$out"'
    )
    done = verify(shim, "--keep", "kept", "--", "ld", "a.o", cwd=tmp_path, path=f"{tmp_path}/bin:/usr/bin:/bin")
    assert 1 == done.returncode, done.stderr
    rows = done.stdout.splitlines()
    assert "section .text: differs" in rows
    assert "symbol g: only through ldshim" in rows
    assert "section .comment: differs" not in rows
    for name, kept in (("one", "bare"), ("two", "ldshim")):
        assert (tmp_path / f"{name}.o").read_bytes() == (tmp_path / "kept" / kept).read_bytes()


@pytest.mark.parametrize("options", [[], ["--process"], ["--jobs", "2"]], ids=" ".join)
def test_a_real_link_is_the_same(shim: Shim, tmp_path: Path, options: list[str]) -> None:
    """GCC with LTO: ldshim says what it did to the second link."""
    gcc = tools.need("gcc")
    (tmp_path / "main.c").write_text("int f(void); int main(void) { return f(); }")
    (tmp_path / "f.c").write_text("int f(void) { return 0; }")
    subprocess.run([gcc, "-c", "-flto", "-fPIC", "main.c", "f.c"], cwd=tmp_path, check=True)
    done = verify(shim, *options, "--", "gcc", "-flto=auto", "-nostdlib", "-shared", "main.o", "f.o", "-o", "program", cwd=tmp_path)
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    assert "through ldshim: gcc, LTO gcc, granted " in done.stdout
    assert not (tmp_path / "program").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs a link"),
        (["--"], "needs a link"),
        (["--jobs", "0", "--", "gcc"], "needs a number"),
        (["--jobs", "x", "--", "gcc"], "needs a number"),
    ],
)
def test_a_wrong_command_line_is_one_line(shim: Shim, tmp_path: Path, words: list[str], said: str) -> None:
    """Exit status 2, and a line that names what is wrong."""
    done = verify(shim, *words, cwd=tmp_path)
    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert said in done.stderr


def test_a_directory_that_cannot_be_made_is_named(shim: Shim, tmp_path: Path) -> None:
    """--keep below a file."""
    script(tmp_path / "bin" / "gcc", 'for out; do :; done\necho > "$out"')
    (tmp_path / "file").touch()
    done = verify(shim, "--keep", "file/kept", "--", "gcc", "a.o", cwd=tmp_path, path=f"{tmp_path}/bin:/usr/bin:/bin")
    assert (2, "ldshim: verify: Not a directory: file/kept\n") == (done.returncode, done.stderr)
