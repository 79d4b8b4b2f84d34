"""LLVM bitcode is told apart as the LLVM tools themselves tell it, for every clang and every kind of target we have."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from ldshim import analysis
from ldshim.call.banner import Tool
from ldshim.call.environment import Environment, read_settings
from ldshim.command.argv import Facts, Input
from ldshim.command.read import Command
from ldshim.inputs import bitcode, summary
from ldshim.reserve import cpus
from tests.support.ir_objects import CLANG, CLANGS, SOURCE, TARGETS, clang, counts, llvm, look, reader, run

if TYPE_CHECKING:
    from pathlib import Path

    from ldshim.inputs.bitstream import Cursor

THIN = ("-flto=thin",)
FULL = ("-flto",)
SPLIT = ("-flto=thin", "-fsplit-lto-unit", "-fvisibility=hidden", "-fwhole-program-vtables")
UNIFIED = ("-flto=thin", "-funified-lto")
UNIFIED_FROM = 17  # the first clang that knows -funified-lto and -ffat-lto-objects


def summaries(version: int, path: Path) -> dict[str, int]:
    """Count modules as llvm-bcanalyzer sees them: by the summary block inside each module block."""
    dump = run(llvm("llvm-bcanalyzer", reader(version)), "-dump", path).decode(errors="replace")
    out = {"thin": 0, "full": 0}
    kind = ""
    for line in dump.splitlines():
        if line.startswith("<MODULE_BLOCK"):
            kind = "full"
        elif line.startswith("  <GLOBALVAL_SUMMARY_BLOCK"):
            kind = "thin"
        elif line.startswith("</MODULE_BLOCK"):
            out[kind] += 1
    return {name: number for name, number in out.items() if number}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("version", CLANGS)
def test_modules_are_counted_as_bcanalyzer_counts_them(version: int, target: str, tmp_path: Path) -> None:
    """C8: thin, full, summary-less and split bitcode give the counts that llvm-bcanalyzer gives."""
    expected = {"thin": {"thin": 1}, "full": {"full": 1}, "plain": {"full": 1}, "split": {"thin": 1, "full": 1}}
    for name, flags in (("thin", THIN), ("full", FULL), ("plain", ("-emit-llvm",)), ("split", SPLIT)):
        path = clang(version, tmp_path, *flags, target=target, name=name)
        found = look(path)
        assert expected[name] == summaries(version, path)
        assert expected[name] == counts(found), name
        assert path.stat().st_size == found.llvm_bytes
        assert (found.split, found.unified) == (name in ("split", "full"), False), name
        assert not found.reasons


@pytest.mark.parametrize("version", [version for version in CLANGS if version >= UNIFIED_FROM])
@pytest.mark.parametrize("target", TARGETS)
def test_unified_bitcode_says_so(version: int, target: str, tmp_path: Path) -> None:
    """C8: the UnifiedLTO flag is seen, whichever -flto it was compiled with."""
    for kind in ("thin", "full"):
        found = look(clang(version, tmp_path, f"-flto={kind}", "-funified-lto", target=target))
        assert found.unified
        assert found.thin == 1


@pytest.mark.parametrize("version", [version for version in CLANGS if version >= UNIFIED_FROM])
@pytest.mark.parametrize("target", [TARGETS[0], TARGETS[1], TARGETS[3], TARGETS[4]])
def test_fat_objects_are_counted_apart(version: int, target: str, tmp_path: Path) -> None:
    """C8: `.llvm.lto` counts as fat, for the caller to judge by --fat-lto-objects, and not as bitcode input."""
    assert counts(look(clang(version, tmp_path, "-ffat-lto-objects", "-flto=thin", target=target))) == {"fat_thin": 1}
    assert counts(look(clang(version, tmp_path, "-ffat-lto-objects", "-flto", target=target))) == {"fat_full": 1}


@pytest.mark.parametrize("target", [TARGETS[0], TARGETS[1], TARGETS[4]])
def test_large_name_tables_are_not_read(target: str, tmp_path: Path) -> None:
    """C24: where symbol names make the name table larger than the section headers, IR is found all the same, by SHF_EXCLUDE."""
    text = "".join(f"int {'long_' * 20}{n};" for n in range(2000))
    for flags, expected in (([], {"native": 1}), (["-ffat-lto-objects", "-flto=thin"], {"fat_thin": 1})):
        path = clang(CLANG, tmp_path, *flags, target=target, text=text)
        found = look(path)
        assert expected == counts(found)
        assert found.bytes_read < 2000 * 100


@pytest.mark.parametrize("version", CLANGS)
def test_embedded_bitcode_never_counts(version: int, tmp_path: Path) -> None:
    """C8: `.llvmbc` (-fembed-bitcode) is native code for every ELF linker."""
    assert counts(look(clang(version, tmp_path, "-fembed-bitcode"))) == {"native": 1}


def test_wrapped_bitcode_is_unwrapped(tmp_path: Path) -> None:
    """C8: bitcode in the 0x0B17C0DE wrapper counts like the stream inside it."""
    plain = clang(CLANG, tmp_path, *THIN).read_bytes()
    wrapped = tmp_path / "wrapped.bc"
    wrapped.write_bytes(struct.pack("<IIIII", 0x0B17C0DE, 0, 20, len(plain), 0x01000007) + plain + b"\0" * 12)
    run(llvm("llvm-dis"), wrapped, "-o", tmp_path / "out.ll")  # LLVM agrees that this is a module
    assert counts(look(wrapped)) == {"thin": 1}


def test_every_module_of_a_file_counts(tmp_path: Path) -> None:
    """C8: `llvm-cat -b` joins modules in one file, and each is one backend."""
    one = clang(CLANG, tmp_path, *THIN, name="one")
    two = clang(CLANG, tmp_path, *FULL, name="two")
    both = tmp_path / "both.bc"
    run(llvm("llvm-cat"), "-b", "-o", both, one, two, one)
    assert summaries(CLANG, both) == {"thin": 2, "full": 1}
    assert counts(look(both)) == {"thin": 2, "full": 1}


def test_large_modules_are_walked_to_their_summary(tmp_path: Path) -> None:
    """C8: thousands of functions, long names and initialisers stand between a module's start and its summary."""
    text = "".join(
        f'int a_rather_long_function_name_{n}(int x) {{ return x * {n * 7919} + {n}; }} const char* s{n} = "text {n}\\377";'
        for n in range(1000)
    )
    for version in (CLANGS[0], CLANG):
        for flags, expected in ((THIN, {"thin": 1}), (FULL, {"full": 1})):
            found = look(clang(version, tmp_path, *flags, text=text))
            assert expected == counts(found)
            assert not found.reasons
            assert found.bytes_read < found.llvm_bytes


def test_lld_runs_as_many_backends_as_we_count(tmp_path: Path) -> None:
    """C8: the thin modules we count are the ones for which lld runs a backend (--save-temps leaves one file each)."""
    objects = [clang(CLANG, tmp_path, *THIN, text=f"int f{n}() {{ return {n}; }}", name=f"m{n}") for n in range(5)]
    objects.append(clang(CLANG, tmp_path, *FULL, text="int full() { return 7; }", name="full"))
    objects.append(clang(CLANG, tmp_path, text="int native() { return 8; }", name="native"))
    run(llvm("ld.lld"), "-shared", "--save-temps", "-o", "out.so", *objects, cwd=tmp_path)
    assert backends_run(tmp_path) == look(*objects).thin == 5
    assert counts(look(*objects)) == {"thin": 5, "full": 1, "native": 1}


def backends_run(directory: Path) -> int:
    """Count the backends of the last link there, by the files that --save-temps left, and remove these; out.*.0 is full LTO's."""
    left = list(directory.rglob("*.5.precodegen.bc"))
    for path in left:
        path.unlink()
    return len([path for path in left if not path.name.startswith("out.so.0.")])


@pytest.mark.parametrize("thin", [[], ["--thin"]])
def test_archives_bound_the_backends_from_above(thin: list[str], tmp_path: Path) -> None:
    """C8: of an archive every member counts, though lld takes only those that are needed, and all with --whole-archive."""
    main = clang(CLANG, tmp_path, *THIN, text='extern "C" int f1(); int g() { return f1(); }', name="main")
    text = 'extern "C" int f{next}(); extern "C" int f{n}() {{ return {body}; }}'
    parts = [
        clang(CLANG, tmp_path, *THIN, text=text.format(n=n, next=n + 1, body=f"f{n + 1}()" if n < 3 else n), name=f"m{n}")
        for n in range(1, 6)
    ]
    archive = tmp_path / "lib.a"
    run(llvm("llvm-ar"), "rcs", *thin, archive, *parts)
    assert look(main, archive).thin == 6
    for flag, ran in ((), 4), (("--whole-archive",), 6):
        run(llvm("ld.lld"), "-shared", "--save-temps", "-o", "out.so", main, *flag, archive, cwd=tmp_path)
        assert ran == backends_run(tmp_path)


def test_a_jobserver_of_unknown_size_does_not_make_us_read_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C11 C24: cargo's jobserver names no number; a module is read for each CPU, and the findings say that there may be more."""
    one = clang(CLANG, tmp_path, *THIN).read_bytes()
    facts = Facts()
    for number in range(20):
        path = tmp_path / f"{number}.o"
        path.write_bytes(one)
        facts.inputs.append(Input(bytes(path)))
    monkeypatch.setattr(cpus, "affinity", lambda: 2)
    cargo = {b"CARGO_MAKEFLAGS": b"-j --jobserver-fds=8,9 --jobserver-auth=8,9"}
    three = {b"LDSHIM_CPUS": b"3"}
    for variables, read in ((cargo, 2), ({}, 2), ({**cargo, **three}, 3)):
        environment = Environment(list(variables.items()))
        found = analysis.look_at_inputs(
            Command("lld", facts), Tool(b"LLD 16.0.6 (compatible with GNU linkers)"), environment, read_settings(environment)
        )
        assert (read, False) == (found.thin, found.complete)


def test_enough_modules_end_the_reading(tmp_path: Path) -> None:
    """C24: once enough ThinLTO modules were seen the rest is not opened, and the findings say that they are not complete."""
    objects = [clang(CLANG, tmp_path, *THIN, text=f"int f{n}() {{ return {n}; }}", name=f"m{n}") for n in range(6)]
    found = look(*objects, enough=2)
    assert (2, False) == (found.thin, found.complete)
    assert found.bytes_read < look(*objects).bytes_read / 2
    assert look(*objects, enough=7).complete


def test_the_last_module_can_make_it_a_thinlto_link(tmp_path: Path) -> None:
    """C8: modules of full LTO, however many, end no reading: one ThinLTO module behind them is found, in bitcode and in FatLTO objects."""
    for fat, kinds in (((), ("full", "thin")), (("-ffat-lto-objects",), ("fat_full", "fat_thin"))):
        full, thin = (clang(CLANG, tmp_path, *flags, *fat, name="one").read_bytes() for flags in (FULL, THIN))
        paths = [tmp_path / f"{number}.o" for number in range(200)]
        for path in paths:
            path.write_bytes(full if path != paths[-1] else thin)
        found = look(*paths, enough=4)
        assert {kinds[0]: 199, kinds[1]: 1} == counts(found)


def walked(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, int], bool, bool]:
    """Scan with the shortcut to the summary closed: every record of the module is skipped."""
    with monkeypatch.context() as patch:
        patch.setattr(bitcode, "quick", lambda *_: None)
        found = look(path)
    return counts(found), found.split, found.unified


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("version", CLANGS)
def test_the_shortcut_agrees_with_the_walk(version: int, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C8: the summary found from the module's end is the one that a walk over all records comes to, flags included, small and large."""
    asked, answered = [], []

    def counted(cursor: Cursor, end: int) -> tuple[int, int] | None:
        answer = summary.quick(cursor, end)
        asked.append(end)
        answered.extend([end] if answer else [])
        return answer

    monkeypatch.setattr(bitcode, "quick", counted)
    large = "".join(f"int f{n}(int x) {{ return x * {n} + f{n}(x - {n + 1}); }}\n" for n in range(300)).replace("int f", 'extern "C" int f')
    kinds = [THIN, FULL, SPLIT, (*THIN, "-g")] + ([UNIFIED] if version >= UNIFIED_FROM else [])
    for text in (SOURCE, "int only;", "", large):
        for flags in kinds:
            path = clang(version, tmp_path, *flags, target=target, text=text)
            found = look(path)
            assert walked(path, monkeypatch) == (counts(found), found.split, found.unified), (flags, text[:40])
    assert answered == asked
    assert len(asked) >= 16


def test_the_size_of_what_is_not_read_is_estimated(tmp_path: Path) -> None:
    """C17: a scan that had enough says how large the rest is: files by a sample, a thin archive by its headers, an archive by its size."""
    one = clang(CLANG, tmp_path, *THIN).read_bytes()
    paths = [tmp_path / f"{number}.o" for number in range(600)]
    for number, path in enumerate(paths):
        path.write_bytes(one + b"\0" * (4 * (number % 50)))
    whole = sum(path.stat().st_size for path in paths)
    run(llvm("llvm-ar"), "rcS", "--thin", tmp_path / "thin.a", *paths)
    run(llvm("llvm-ar"), "rcS", tmp_path / "all.a", *paths)
    for inputs in (paths, [tmp_path / "thin.a"], [tmp_path / "all.a"]):
        found = look(*inputs, enough=8)
        assert (8, False) == (found.thin, found.complete)
        assert found.in_all(found.llvm_bytes) == pytest.approx(whole, rel=0.1)
        assert found.bytes_read < whole / 4
    assert look(*paths).in_all(1) == 1
