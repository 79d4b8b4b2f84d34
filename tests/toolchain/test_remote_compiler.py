"""Hazard: a library taken from where the loader would not take it, a prefix that loses a job, an object of another compiler.

The programs and libraries are real, compiled here; `exec:` runs on this machine. Needs no grpc.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ldshim.backends.remote import compiler
from ldshim.backends.remote.blobs import Digests
from ldshim.call.environment import Environment
from ldshim.inputs.extent import MalformedError
from tests.support import tools
from tests.support.remote_jobs import all_of, here, ltrans, ltrans_job, one, service_of, taken, until, where


def test_a_prefix_runs_jobs_and_judges_them(tmp_path: Path) -> None:
    """C29: a wrapper on this machine gives the bytes of here in a place with blanks; one that leaves nothing, or fails, sends jobs home."""
    place = ltrans(tmp_path / "a link (of ours)").parent
    expected = here(ltrans_job(place, output="here.o"))
    service = service_of("exec: env -- {command}", tmp_path / "run")
    outcomes = all_of(service, [ltrans_job(place, output=f"there{n}.o") for n in range(3)])
    service.close()
    assert ["there"] * 3 == [where(outcome) for outcome in outcomes]
    assert {expected} == {taken(ltrans_job(place, output=f"there{n}.o")) for n in range(3)}
    wrapper = tmp_path / "wrapper"
    for end, reason in (("exit 0", "an output is missing"), ("exit 3", "the command ended with 3"), (': > "$last"', "the output is empty")):
        find_output = "for word; do case $before in -o) last=$word;; esac; before=$word; done"
        wrapper.write_text(f'#!/bin/sh\ncase $1 in *sha256sum) exec "$@";; esac\n{find_output}\n{end}\n')
        wrapper.chmod(0o755)
        service = service_of(f"exec: {wrapper}", tmp_path / "run")
        assert reason == one(service, ltrans_job(place))
        service.close()
    assert [] == [name for name in os.listdir(place) if name.startswith("there")]


def test_a_prefix_with_another_compiler_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """C32: where the other side hashes its compiler to something else, every job comes home, and the log says why, once."""
    place = ltrans(tmp_path / "link").parent
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\ncase $1 in *sha256sum) "$@" | sed s/a/b/;; *) exec "$@";; esac\n')
    wrapper.chmod(0o755)
    service = service_of(f"exec: {wrapper} {{command}}", tmp_path / "run")
    why = f"{tools.need('gcc-12')} there, or a library of it, is another one"
    assert [why] * 3 == all_of(service, [ltrans_job(place)] * 3)
    service.close()
    assert f"remote: there.o runs here: {why}\n" == capsys.readouterr().out


def test_a_prefix_runs_two_compilers(tmp_path: Path) -> None:
    """Each has a trial of its own, and both may be under way at once."""
    places = {gcc: ltrans(tmp_path / gcc, gcc).parent for gcc in ("gcc-11", "gcc-12")}
    service = service_of("exec: env", tmp_path / "run")
    assert ["there"] * 2 == [where(outcome) for outcome in all_of(service, [ltrans_job(place, gcc) for gcc, place in places.items()])]
    service.close()


def test_a_prefix_that_hangs_is_overdue_and_ends_with_the_link(tmp_path: Path) -> None:
    """C31: its jobs are overdue, a cancelled one is not named again, and no process of it is left after close."""
    place = ltrans(tmp_path / "link").parent
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\ncase $1 in *sha256sum) exec "$@";; esac\necho $$ >> {tmp_path}/pids\nsleep 1000\n')
    wrapper.chmod(0o755)
    service = service_of(f"exec: {wrapper}", tmp_path / "run", JOBS="2", PATIENCE="1")
    handles = [service.start(ltrans_job(place, output=f"there{n}.o")) for n in range(3)]
    pids = tmp_path / "pids"
    until(lambda: bool(service.finished(0.05)) or (pids.exists() and len(pids.read_text().split()) == 2))
    until(lambda: service.overdue() == [handles[2], handles[0], handles[1]])
    service.cancel(handles[0])
    assert handles[0] not in service.overdue()
    service.close()
    assert [] == [pid for pid in pids.read_text().split() if Path(f"/proc/{pid}/cwd").exists()]


def test_the_closure_is_what_the_loader_loads() -> None:
    """Library by library, the files are those that ld.so itself names for the programs of gcc and for this Python."""
    for program in (tools.need("gcc"), tools.need("ld"), os.path.realpath(sys.executable)):
        found = compiler.Closure([])
        found.add_program(os.fsencode(program))
        said = subprocess.run([os.fsdecode(found.loader), "--list", program], capture_output=True, check=True).stdout.decode()
        listed = dict(line.split(" => ") for line in said.replace("\t", "").splitlines() if " => /" in line)
        expected = {name: os.path.realpath(path.partition(" (")[0]) for name, path in listed.items()}
        ours = {os.fsdecode(name): os.path.realpath(os.fsdecode(path)) for name, path in found.libraries.items()}
        assert {name: path for name, path in expected.items() if "ld-linux" not in name} == ours


def build(place: Path, name: str, *options: str, source: str = "int f(void) { return 1; }") -> Path:
    """Compile something with a C compiler."""
    (place / f"{name}.c").write_text(source)
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([tools.need_c_library(), "-o", path, place / f"{name}.c", *options], check=True)
    return path


USES = "int f(void); int main(void) { return f(); }"


@pytest.mark.parametrize("tags", ["--enable-new-dtags", "--disable-new-dtags"])
def test_origin_is_expanded(tmp_path: Path, tags: str) -> None:
    """DT_RUNPATH and DT_RPATH with $ORIGIN find a library beside the program, before that of the system."""
    (tmp_path / "lib").mkdir()
    library = build(tmp_path, "lib/libz.so.1", "-shared", "-fPIC", "-Wl,-soname,libz.so.1")
    program = build(tmp_path, "prog", str(library), f"-Wl,-rpath,$ORIGIN/lib,{tags}", source=USES)
    found = compiler.Closure([])
    found.add_program(os.fsencode(program))
    assert os.path.samefile(library, found.libraries[b"libz.so.1"])


def test_an_absolute_rpath_stays_here(tmp_path: Path) -> None:
    """C32: DT_RPATH comes before the library path that we give, so an absolute one could find the worker's own."""
    library = build(tmp_path, "libf.so", "-shared", "-fPIC", "-Wl,-soname,libf.so")
    program = build(tmp_path, "prog", str(library), f"-Wl,-rpath,{tmp_path},--disable-new-dtags", source=USES)
    with pytest.raises(compiler.UnfitError, match="absolute DT_RPATH"):
        compiler.Closure([]).add_program(os.fsencode(program))


def test_the_library_path_counts_and_a_missing_library_is_named(tmp_path: Path) -> None:
    """LD_LIBRARY_PATH is where the local compiler finds its libraries, too; without it, this one is nowhere."""
    library = build(tmp_path, "libf.so", "-shared", "-fPIC", "-Wl,-soname,libf.so")
    program = os.fsencode(build(tmp_path, "prog", str(library), source=USES))
    found = compiler.Closure([os.fsencode(tmp_path)])
    found.add_program(program)
    assert os.fsencode(library) == found.libraries[b"libf.so"]
    with pytest.raises(compiler.UnfitError, match=r"libf\.so is not found"):
        compiler.Closure([]).add_program(program)


def test_a_script_is_no_compiler(tmp_path: Path) -> None:
    """A wrapper named clang cannot be uploaded."""
    script = tmp_path / "clang"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    with pytest.raises(MalformedError):
        compiler.read([os.fsencode(script), b"-fthinlto-index=x"], Environment([]), Digests(lambda _: b""))


def test_ldconfigs_cache_is_read_like_ldconfig_prints_it() -> None:
    """Every library that `ldconfig -p` lists first under its name for plain hardware is in ours, first for its machine."""
    ldconfig = next((path for path in ("/sbin/ldconfig", "/usr/sbin/ldconfig") if os.access(path, os.X_OK)), "")
    if not ldconfig or not os.path.exists(compiler.CACHE):
        tools.missing("ldconfig")
    lines = subprocess.run([ldconfig, "-p"], capture_output=True, check=True).stdout.splitlines()
    listed = [line.strip().partition(b" (")[0::2] for line in lines if b" => " in line and b"hwcap" not in line]
    said = {(name, rest.partition(b" => ")[2]) for name, rest in listed}
    assert said == {(name, path) for name, paths in compiler.read_cache().items() for path in paths}
