"""Hazards of the search for the real tool: ldshim finds itself, finds nothing, or changes a name that matters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ldshim.call import real_tool
from ldshim.call.environment import Environment

OURS = b"#!/usr/bin/python3 -IS\n# " + real_tool.MAGIC + b"\n"


def script(path: Path, text: bytes = b"#!/bin/sh\n", mode: int = 0o755) -> bytes:
    """Write an executable and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    path.chmod(mode)
    return os.fsencode(path)


def on_path(*directories: Path | str, **more: str) -> Environment:
    """Return an environment with that PATH."""
    block = {"PATH": ":".join(map(str, directories)), **more}
    return Environment([(name.encode(), value.encode()) for name, value in block.items()])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"gcc", "driver"), (b"x86_64-linux-gnu-gcc-12", "driver"), (b"clang++", "driver"), (b"clang-19", "driver"), (b"g++-4.9", "driver"),
        (b"ld", "linker"), (b"ld.lld-16", "linker"), (b"aarch64-linux-gnu-ld.bfd", "linker"), (b"mold", "linker"), (b"rust-lld", "linker"),
        (b"gcc-ar", ""), (b"x86_64-linux-gnu-gcc-ar-12", ""), (b"ccache", ""), (b"ldd", ""), (b"clang-tidy", ""),
        # GCC's front ends, thread models, digits behind the name; kin with another command line
        (b"gccgo-12", "driver"), (b"gm2", "driver"), (b"gcobol-15", "driver"), (b"gdc", "driver"), (b"c99", "driver"),
        (b"musl-gcc", "driver"), (b"gnatgcc", "driver"), (b"icpx", "driver"), (b"amdclang++", "driver"),
        (b"x86_64-w64-mingw32-gcc-posix", "driver"),
        (b"x86_64-w64-mingw32-g++-12-win32", "driver"), (b"gcc13", "driver"), (b"clang++18", "driver"), (b"ld.lld18", "linker"),
        (b"gcc-12.3", "driver"), (b"clang++-19.1", "driver"), (b"g++48", "driver"), (b"x86_64-w64-mingw32-ld.bfd", "linker"),
        (b"wasm-ld", ""), (b"wasm-ld-16", ""), (b"ld64.lld-16", ""), (b"lld-link", ""), (b"clang-cl", ""), (b"clang-cpp-16", ""),
        (b"ld.musl-clang", ""), (b"gnatmake", ""), (b"cc65", ""), (b"ld65", ""), (b"cc1", ""),
        (b"gcc-posix-tool", ""), (b"", ""), (b"-", ""), (b"-12", ""), (b"posix", ""),
    ],
)  # fmt: skip
def test_names_with_prefix_and_suffix_tell_driver_from_linker(name: bytes, kind: str) -> None:
    """A name with a target prefix and a version suffix is a driver's or a linker's; names of similar programs are neither."""
    assert kind == real_tool.kind_of(name)


def test_variable_for_a_pinned_tool() -> None:
    """C6: the variable is the name in upper case, every other character an underscore."""
    assert real_tool.variable_for(b"x86_64-linux-gnu-gcc-12") == b"LDSHIM_REAL_X86_64_LINUX_GNU_GCC_12"


@pytest.mark.parametrize("how", ["symlink", "hard link", "copy", "two symlinks"])
def test_never_finds_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """C6: a link to ldshim of any kind is skipped, and the real tool after it is found."""
    own = script(tmp_path / "bin" / "ldshim", OURS)
    monkeypatch.setattr("sys.argv", [os.fsdecode(own)])
    shim = tmp_path / "shim"
    shim.mkdir()
    if how == "symlink":
        (shim / "gcc").symlink_to(tmp_path / "bin" / "ldshim")
    elif how == "hard link":
        os.link(own, shim / "gcc")
    elif how == "copy":
        script(shim / "gcc", OURS)
    else:
        (shim / "gcc").symlink_to(tmp_path / "bin" / "again")
        (tmp_path / "bin" / "again").symlink_to("ldshim")
    real = script(tmp_path / "real" / "gcc")
    call = real_tool.stand_in(b"gcc", [b"x.o"], on_path(shim, tmp_path / "real"))
    assert (real, b"gcc") == (call.real, call.argv0)


def test_only_a_directory_of_launchers_leaves_path(tmp_path: Path) -> None:
    """C6: a directory that holds only ldshim leaves the tool's PATH; one with other tools stays."""
    script(tmp_path / "farm" / "gcc", OURS)
    script(tmp_path / "farm" / "ld", OURS)
    script(tmp_path / "mixed" / "gcc", OURS)
    script(tmp_path / "mixed" / "python3")
    script(tmp_path / "marked" / "gcc", OURS)
    script(tmp_path / "marked" / ".ldshim", b"")
    script(tmp_path / "real" / "gcc")
    call = real_tool.stand_in(b"gcc", [], on_path(tmp_path / "farm", tmp_path / "mixed", tmp_path / "marked", tmp_path / "real"))
    assert os.fsencode(f"{tmp_path}/mixed:{tmp_path}/real") == call.path


def test_ccache_after_ldshim_is_the_real_tool(tmp_path: Path) -> None:
    """C6: a masquerade after ldshim on PATH is the tool, and its PATH no longer holds ldshim."""
    script(tmp_path / "farm" / "gcc", OURS)
    masquerade = script(tmp_path / "ccache" / "gcc")
    call = real_tool.stand_in(b"gcc", [], on_path(tmp_path / "farm", tmp_path / "ccache"))
    assert (masquerade, os.fsencode(tmp_path / "ccache")) == (call.real, call.path)


def test_empty_and_relative_path_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C6: an empty entry is the current directory; a tool there is execed by its absolute path."""
    script(tmp_path / "sub" / "ld")
    monkeypatch.chdir(tmp_path / "sub")
    assert os.fsencode(tmp_path / "sub" / "ld") == real_tool.stand_in(b"ld", [], on_path("/nonexistent", "")).real
    monkeypatch.chdir(tmp_path)
    assert os.fsencode(tmp_path / "sub" / "ld") == real_tool.stand_in(b"ld", [], on_path("sub")).real


def test_lld_keeps_a_name_that_tells_its_flavor(tmp_path: Path) -> None:
    """C6: lld takes its flavor from argv[0], so LDSHIM_REAL_* with `lld` keeps the name of the call."""
    script(tmp_path / "bin" / "lld")
    call = real_tool.stand_in(b"ld.lld", [], on_path("/nonexistent", LDSHIM_REAL_LD_LLD=f"{tmp_path}/bin/lld"))
    assert (os.fsencode(tmp_path / "bin/lld"), os.fsencode(tmp_path / "bin/ld.lld")) == (call.real, call.argv0)


def test_a_variable_that_leads_to_ldshim_is_rejected(tmp_path: Path) -> None:
    """C6: LDSHIM_REAL_* that leads to ldshim causes one line, and PATH is searched."""
    ours = os.fsdecode(script(tmp_path / "farm" / "ld", OURS))
    real = script(tmp_path / "real" / "ld")
    call = real_tool.stand_in(b"ld", [], on_path(tmp_path / "real", LDSHIM_REAL_LD=ours))
    assert (real, [f"ldshim: LDSHIM_REAL_LD: leads back to ldshim, PATH is searched instead: {ours}"]) == (call.real, call.complaints)


def test_a_missing_tool_ends_with_the_directories_searched(tmp_path: Path) -> None:
    """Status 127 and one line with every directory searched; 126 where the tool is there and cannot be executed."""
    with pytest.raises(real_tool.UnfoundError) as missing:
        real_tool.stand_in(b"ld", [], on_path("/nonexistent", tmp_path))
    expected = f"ldshim: ld: real tool not found: looked in /nonexistent, {tmp_path}; set LDSHIM_REAL_LD"
    assert (127, expected) == (missing.value.status, str(missing.value))
    script(tmp_path / "ld", mode=0o644)
    with pytest.raises(real_tool.UnfoundError) as blocked:
        real_tool.stand_in(b"ld", [], on_path(tmp_path))
    assert blocked.value.status == 126


def test_same_process_same_tool_is_a_loop(tmp_path: Path) -> None:
    """C6: exec keeps the pid, so a marker with this pid and the same tool is a loop; the marker of another process does not count."""
    script(tmp_path / "gcc")
    call = real_tool.stand_in(b"gcc", [], on_path(tmp_path))
    marker = real_tool.via(call, on_path(tmp_path), b"7.100")
    with pytest.raises(real_tool.UnfoundError) as loop:
        real_tool.via(call, on_path(tmp_path, _LDSHIM_VIA=marker.decode()), b"7.100")
    assert loop.value.status == 111
    assert f"{tmp_path}/gcc" in str(loop.value)
    assert real_tool.via(call, on_path(tmp_path, _LDSHIM_VIA=marker.decode()), b"8.100") == b"8.100:" + os.fsencode(tmp_path / "gcc")


def test_below_collect2_compiler_path_comes_first(tmp_path: Path) -> None:
    """A cross linker is in COMPILER_PATH only; the native one on PATH is the wrong tool."""
    cross = script(tmp_path / "cross" / "ld")
    script(tmp_path / "native" / "ld")
    below = on_path(tmp_path / "native", COLLECT_GCC="gcc", COMPILER_PATH=f"{tmp_path}/none:{tmp_path}/cross")
    assert cross == real_tool.stand_in(b"ld", [], below).real


def wrapper(place: Path, name: str = "gcc", how: str = "symlink") -> bytes:
    """Write a user's wrapper under a compiler's name, as Buildroot's: a link to a program of another name."""
    if how == "script":
        return script(place / name)
    script(place / "toolchain-wrapper")
    (place / name).symlink_to("toolchain-wrapper")
    return os.fsencode(place / name)


@pytest.mark.parametrize("how", ["symlink", "script"])
def test_the_prefix_form_runs_a_wrapper_before_ldshim(tmp_path: Path, how: str) -> None:
    """C6: `ldshim gcc` runs the first gcc on PATH, also where ldshim is in a later directory."""
    first = wrapper(tmp_path / "host", how=how)
    script(tmp_path / "farm" / "gcc", OURS)
    script(tmp_path / "real" / "gcc")
    call = real_tool.stand_in(b"gcc", [], on_path(tmp_path / "host", tmp_path / "farm", tmp_path / "real"))
    assert (first, os.fsencode(f"{tmp_path}/host:{tmp_path}/real")) == (call.real, call.path)


@pytest.mark.parametrize("how", ["symlink", "script"])
@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_wrapper_that_called_ldshim_is_not_called_again(tmp_path: Path, how: str, slashes: str) -> None:
    """C6: ldshim, called by name from a wrapper or ccache, searches PATH from its own place on: the wrapper has run already."""
    wrapper(tmp_path / "host", how=how)
    script(tmp_path / "ours" / "gcc", OURS)
    real = script(tmp_path / "real" / "gcc")
    path = on_path(tmp_path / "host", f"{tmp_path}/ours{slashes[1:]}", tmp_path / "real")
    met = os.fsencode(f"{tmp_path}/ours{slashes}gcc")
    assert real == real_tool.stand_in(b"gcc", [], path, met=met).real
    only = on_path(tmp_path / "host", tmp_path / "ours")
    assert os.fsencode(tmp_path / "host" / "gcc") == real_tool.stand_in(b"gcc", [], only, met=met).real


@pytest.mark.parametrize("how", ["symlink", "hard link", "copy"])
def test_a_compiler_cache_is_recognized_as_link_and_as_copy(tmp_path: Path, how: str) -> None:
    """C6: ccache under a compiler's name is a link of either kind or a copy; a wrapper and a compiler are not recognized as one."""
    cache = script(tmp_path / "bin" / "ccache", b"#!/bin/sh\n# a cache\n")
    masked = tmp_path / "masked" / "gcc"
    masked.parent.mkdir()
    if how == "symlink":
        masked.symlink_to(os.fsdecode(cache))
    elif how == "hard link":
        os.link(cache, masked)
    else:
        masked.write_bytes(Path(os.fsdecode(cache)).read_bytes())
    path = on_path(tmp_path / "bin")
    assert real_tool.is_masquerade(os.fsencode(masked), path)
    assert not real_tool.is_masquerade(wrapper(tmp_path / "host"), path)
    assert not real_tool.is_masquerade(script(tmp_path / "real" / "gcc", b"#!/bin/sh\n# compiles\n"), path)


@pytest.mark.parametrize(
    ("met", "path", "more", "expected"),
    [
        ("", "real", {}, "ld"),  # ldshim ld
        ("ours/ld", "ours:real", {}, "ld"),  # found by name
        ("ours/ld", "real", {}, "real/ld"),  # called by a path
        ("ours/ld", "ours:other:real", {"LDSHIM_REAL_LD": "real/ld"}, "real/ld"),  # the name leads elsewhere
        ("ours/ld", "ours:real", {"LDSHIM_REAL_LD": "other/ld"}, "other/ld"),
        ("mixed/ld", "mixed:real", {}, "real/ld"),  # the name would lead back to us
        ("ours/ld", "ours:real", {"COLLECT_GCC": "gcc"}, "real/ld"),  # collect2 runs its linker by path
    ],
)
def test_argv0_is_the_bare_calls(tmp_path: Path, met: str, path: str, more: dict[str, str], expected: str) -> None:
    """C6: argv[0] is the name where the tool's own search of PATH leads to the same file, else its path."""
    script(tmp_path / "ours" / "ld", OURS)
    script(tmp_path / "mixed" / "ld", OURS)
    script(tmp_path / "mixed" / "other")
    script(tmp_path / "real" / "ld")
    script(tmp_path / "other" / "ld")
    pins = {name: value if name == "COLLECT_GCC" else f"{tmp_path}/{value}" for name, value in more.items()}
    environment = on_path(*(tmp_path / part for part in path.split(":")), **pins)
    call = real_tool.stand_in(b"ld", [], environment, met=os.fsencode(tmp_path / met) if met else b"")
    assert (f"{tmp_path}/{expected}" if "/" in expected else expected).encode() == call.argv0


def test_a_path_given_to_the_prefix_form_is_argv0_as_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C6: `ldshim ../bin/gcc` passes `../bin/gcc` as argv[0], as the bare call does; a path that leads to ldshim is not passed."""
    real = script(tmp_path / "bin" / "gcc")
    ours = script(tmp_path / "ours" / "gcc", OURS)
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path / "build")
    call = real_tool.stand_in(b"gcc", [], on_path(tmp_path / "bin"), tool=b"../bin/gcc")
    assert (real, b"../bin/gcc") == (call.real, call.argv0)
    call = real_tool.stand_in(b"gcc", [], on_path(tmp_path / "bin"), tool=ours)
    assert (real, real) == (call.real, call.argv0)


def test_a_linker_in_compiler_path_keeps_the_path_that_collect2_found(tmp_path: Path) -> None:
    """C6: collect2 names a cross linker with `..` in the path, and the linker's messages begin with that."""
    script(tmp_path / "bin" / "ld")
    (tmp_path / "lib").mkdir()
    below = on_path("/nonexistent", COLLECT_GCC="gcc", COMPILER_PATH=f"{tmp_path}/lib/../bin/")
    assert f"{tmp_path}/lib/../bin/ld".encode() == real_tool.stand_in(b"ld", [], below).argv0
