"""Hazard: a service that fails, lies, dies or sleeps, and a link that takes what it returns, waits for ever, or fails with it.

Our own service (tests/support/remote_service.py) has one fault a run. Whatever it does, a job either has its output in place with the bytes
of here, or is told to run here, and nothing under the output's name.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from ldshim.backends.job import Result
from tests.support import remote_jobs, remote_service, tools
from tests.support.remote_jobs import all_of, connect, here, ltrans, ltrans_job, one, service_of, taken, until, where

pytestmark = pytest.mark.remote


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a directory with the input of an LTRANS job, and the libraries."""
    remote_service.need_grpc()
    where = tmp_path_factory.mktemp("a link (of ours)")
    ltrans(where)
    return where


REFUSED = {
    "empty": "the output is empty",
    "missing": "an output is missing",
    "cut": "the output is cut short",
    "machine": "the output is for another machine",
    "text": "the output is no ELF file",
    "digest": "an output is not what its digest says",
    "sentence": "it says: Error loading imported file",
    "status": "it ended with 1 there",
    "nonsense": "DecodeError: Error parsing message",
    "no-response": "the operation ended without a response",
    "full": "the service says RESOURCE_EXHAUSTED: as asked",
    "property": "the service says INVALID_ARGUMENT: as asked",
    "refuse-uploads": "the service did not store an input",
}


@pytest.mark.parametrize("fault", sorted(REFUSED))
def test_what_cannot_be_believed_is_not_taken(place: Path, tmp_path: Path, fault: str) -> None:
    """C29: the job is told to run here, with the reason, and nothing stands under the output's name."""
    work = ltrans_job(place)
    with remote_service.running(tmp_path, "--fault", fault) as running:
        service = service_of(running.address, tmp_path / "run")
        outcome = one(service, work)
        service.close()
    assert isinstance(outcome, str)
    assert outcome.startswith(REFUSED[fault])
    assert [] == [name for name in os.listdir(place) if "there.o" in name]


@pytest.mark.parametrize("fault", ["poisoned", "poisoned-text", "evicted"])
def test_a_poisoned_cache_is_not_believed_and_is_mended(place: Path, tmp_path: Path, fault: str) -> None:
    """C29: an empty object from the action cache is not taken; the action runs anew, past the cache, and gives the bytes of here."""
    work = ltrans_job(place)
    with remote_service.running(tmp_path, "--fault", fault) as running:
        service = service_of(running.address, tmp_path / "run")
        outcome = one(service, work)
        service.close()
        assert [True] == [event["fresh"] for event in running.events("execute")]
    assert where(outcome) == "there"
    assert here(ltrans_job(place, output="here.o")) == taken(work)


@pytest.mark.parametrize("fault", ["", "drop", "forget", "lost"])
def test_what_can_be_mended_is_mended(place: Path, tmp_path: Path, fault: str) -> None:
    """A broken stream is taken up again by its name, a forgotten name or input is sent again, and the bytes are those of here."""
    work = ltrans_job(place)
    with remote_service.running(tmp_path, "--fault", fault) as running:
        service = service_of(running.address, tmp_path / "run")
        outcome = one(service, work)
        service.close()
        done = (len(running.events("execute")), len(running.events("wait")))
    assert where(outcome) == "there"
    assert {"": (1, 0), "drop": (1, 1), "forget": (2, 1), "lost": (2, 0)}[fault] == done
    assert here(ltrans_job(place, output="here.o")) == taken(work)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("no-exec", "the service executes nothing"),
        ("sha1", "the service does not know SHA-256"),
        ("slow", "the service did not say what it can do: DEADLINE_EXCEEDED"),
    ],
)
def test_a_service_that_cannot_be_used_is_not(tmp_path: Path, fault: str, reason: str) -> None:
    """C30: connecting gives the reason, and leaves no thread behind."""
    remote_service.need_grpc()
    before = threading.active_count()
    with remote_service.running(tmp_path, "--fault", fault) as running:
        assert reason == connect(running.address, tmp_path / "run")
    until(lambda: threading.active_count() <= before)  # grpc's thread ends a moment later


def test_nobody_listens(tmp_path: Path) -> None:
    """C30, C33: a service that is gone is told by one refused connection, without the libraries."""
    port = remote_service.free_port()
    assert f"127.0.0.1:{port}: Connection refused" == connect(f"grpc://127.0.0.1:{port}", tmp_path / "run")


def test_somebody_listens_and_says_nothing(tmp_path: Path) -> None:
    """C30: a port that accepts and never answers is given up."""
    remote_service.need_grpc()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = connect(f"grpc://127.0.0.1:{listener.getsockname()[1]}", tmp_path / "run")
    assert isinstance(said, str)
    assert said.startswith("the service did not")


def test_a_service_that_dies_sends_its_jobs_home(place: Path, tmp_path: Path) -> None:
    """C29: what it had done stays; what it had not comes home, and so does what is started later, at once."""
    jobs = [ltrans_job(place, output=f"there{n}.o") for n in range(6)]
    with remote_service.running(tmp_path, "--fault", "die", "--workers", "1") as running:
        service = service_of(running.address, tmp_path / "run", JOBS="1", CACHE="off")
        outcomes = all_of(service, jobs)
        later = one(service, jobs[0], 5)
        service.close()
    assert ["there", "there"] == [where(outcome) for outcome in outcomes[:2]]
    assert {"the service does not answer any more"} == {*map(where, outcomes[2:]), where(later)}
    for work in jobs[:2]:
        taken(work)


def test_a_stopped_service_is_overdue(place: Path, tmp_path: Path) -> None:
    """A service that hangs makes its jobs overdue, and closing the client does not wait for it."""
    with remote_service.running(tmp_path) as running:
        service = service_of(running.address, tmp_path / "run", PATIENCE="1")
        os.kill(running.process.pid, signal.SIGSTOP)
        handle = service.start(ltrans_job(place))
        assert [] == service.overdue()
        assert [] == service.finished(1.2)
        assert [handle] == service.overdue()
        service.close()


def test_without_a_worker_nothing_waits_for_ever(place: Path, tmp_path: Path) -> None:
    """Jobs that no worker takes are overdue after the link's patience, and are cancelled there when they are cancelled here."""
    with remote_service.running(tmp_path, "--workers", "0") as running:
        service = service_of(running.address, tmp_path / "run", PATIENCE="1", JOBS="2")
        handles = [service.start(ltrans_job(place, output=f"there{n}.o", source="prog.ltrans0.o")) for n in range(3)]
        assert [] == service.finished(2)
        assert [handles[2], handles[0], handles[1]] == service.overdue()  # the one that waits for its turn first
        for handle in handles:
            service.cancel(handle)
        until(lambda: len(running.events("cancel")) >= 2)
        assert [] == service.finished(0)
        assert [] == service.overdue()
        service.close()


def test_closing_cancels_what_runs(place: Path, tmp_path: Path) -> None:
    """C31: the end of the link is told to the service for every operation, and no thread stays."""
    slow = ("--seconds", "60", "--object", str(place / "prog.ltrans0.o"))
    with remote_service.running(tmp_path, *slow) as running:
        service = service_of(running.address, tmp_path / "run", CACHE="off", JOBS="3")
        for n in range(5):
            service.start(ltrans_job(place, output=f"there{n}.o"))
        until(lambda: len(running.events("work")) == 3)
        service.close()
        assert 3 == len(running.events("cancel"))
    assert [] == [thread.name for thread in threading.enumerate() if thread.name.startswith("ldshim")]
    assert [] == [name for name in os.listdir(place) if name.startswith("there")]


def test_a_dropped_connection_costs_no_job(place: Path, tmp_path: Path) -> None:
    """Every job of many is done once, though the connection is dropped again and again."""
    options = ("--seconds", "0.2", "--object", str(place / "prog.ltrans0.o"), "--workers", "16")
    with remote_service.running(tmp_path, *options) as running:
        proxy = remote_service.Proxy(running.port)
        service = service_of(f"grpc://127.0.0.1:{proxy.port}", tmp_path / "run", JOBS="16", CACHE="off")
        handles = [service.start(ltrans_job(place, output=f"there{n}.o")) for n in range(120)]
        found: dict[int, Result | str] = {}
        drops = 0
        end = time.monotonic() + 60
        while len(found) < len(handles) and time.monotonic() < end:
            found.update(service.finished(0.5))
            if len(found) // 30 > drops:
                proxy.drop()
                drops += 1
        service.close()
        proxy.close()
    assert drops >= 3
    assert ["there"] * 120 == [where(found[handle]) for handle in handles]
    for n in range(120):
        (place / f"there{n}.o").unlink()


def test_each_blob_goes_once_a_link(place: Path, tmp_path: Path) -> None:
    """Jobs that start at once and share compiler and input upload both once; a second link sends nothing of them."""
    with remote_service.running(tmp_path) as running:
        for round_ in range(2):
            service = service_of(running.address, tmp_path / "run", CACHE="off")
            jobs = [ltrans_job(place, output=f"there{n}.o") for n in range(4)]
            outcomes = all_of(service, jobs)
            service.close()
            assert ["there"] * 4 == list(map(where, outcomes))
            sent = sum(outcome.sent for outcome in outcomes if isinstance(outcome, Result))
            assert (sent == 0) == (round_ == 1)
            assert len({taken(work) for work in jobs}) == 1
        assert [] == running.events("twice")


def test_the_ceiling_on_uploads_holds(place: Path, tmp_path: Path) -> None:
    """With LDSHIM_REMOTE_UPLOAD=1M a compiler of 40 MB is not sent."""
    with remote_service.running(tmp_path) as running:
        service = service_of(running.address, tmp_path / "run", UPLOAD="1M")
        assert "more than 1048576 bytes would be uploaded" == one(service, ltrans_job(place))
        service.close()
        assert [] == running.events("stream")


@pytest.mark.usefixtures("place")
def test_two_links_share_the_width(tmp_path: Path) -> None:
    """A second link halves the part of the first, and gives it back when it ends."""
    with remote_service.running(tmp_path) as running:
        first = service_of(running.address, tmp_path / "run", JOBS="8")
        assert 8 == first.width
        second = service_of(running.address, tmp_path / "run", JOBS="8")
        until(lambda: first.width == 4)
        assert 4 == second.width
        second.close()
        until(lambda: first.width == 8)
        first.close()


def test_a_worker_without_a_root_gets_no_absolute_names(place: Path, tmp_path: Path) -> None:
    """C32: our service runs actions in a mere directory. Relative jobs run there, with our compiler; debug information stays here."""
    debug = remote_jobs.ltrans(tmp_path / "debug", "gcc-12", "-g").parent
    with remote_service.running(tmp_path) as running:
        service = service_of(running.address, tmp_path / "run")
        assert "there" == where(one(service, ltrans_job(place)))
        taken(ltrans_job(place))
        assert "absolute names would be the worker's own" in where(one(service, ltrans_job(debug, "gcc-12", "-g")))
        service.close()
        assert {".ldshim/cc/ld.so"} == {event["argv"][0] for event in running.events("work")}
        assert [] == [word for event in running.events("work") for word in event["argv"] if "/usr" in word]


def test_the_workers_compiler_is_compared(place: Path, tmp_path: Path) -> None:
    """C32: with LDSHIM_REMOTE_COMPILER=worker no compiler is sent; its hash is compared first, and is part of the action."""
    with remote_service.running(tmp_path) as running:
        service = service_of(running.address, tmp_path / "run", COMPILER="worker")
        assert "there" == where(one(service, ltrans_job(place)))
        service.close()
        trial, work = running.events("work")
        assert "/usr/bin/sha256sum" == trial["argv"][0]
        assert tools.need("gcc-12") == work["argv"][0]
        assert work["salt"]
        assert sum(event["bytes"] for event in [*running.events("batch"), *running.events("stream")]) < 1 << 20
    assert here(ltrans_job(place, output="here.o")) == taken(ltrans_job(place))


def test_the_cache_serves_a_second_link_whose_names_are_others(place: Path, tmp_path: Path) -> None:
    """Random names of inputs and outputs do not defeat the action cache; LDSHIM_REMOTE_CACHE=off asks it nothing."""
    (place / "ccRANDOM.ltrans0.o").write_bytes((place / "prog.ltrans0.o").read_bytes())
    jobs = [ltrans_job(place), ltrans_job(place, output="ccOTHER.o", source="ccRANDOM.ltrans0.o"), ltrans_job(place)]
    with remote_service.running(tmp_path) as running:
        seen = []
        for work, cache in zip(jobs, ("on", "on", "off")):
            service = service_of(running.address, tmp_path / "run", CACHE=cache)
            seen.append((where(one(service, work)), taken(work)))
            service.close()
        assert 1 == len(running.events("hit"))
    assert ["there", "cache", "there"] == [name for name, _ in seen]
    assert 1 == len({data for _, data in seen})


SECRET = "not-for-your-eyes"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a CA, and a pair of key and certificate for 127.0.0.1, with a file that holds a token."""
    openssl = tools.need("openssl")
    where = tmp_path_factory.mktemp("keys")
    (where / "token").write_text(SECRET + "\n")
    (where / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
    for words in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca",
        "req -newkey rsa:2048 -nodes -keyout pair.key -out pair.csr -subj /CN=test",
        "x509 -req -in pair.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out pair.pem -days 2 -extfile extensions",
    ):
        subprocess.run([openssl, *words.split()], cwd=where, check=True, capture_output=True)
    return where


def test_certificates_and_a_token_reach_the_service_and_nobody_else(
    place: Path, keys: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """grpcs:// with CA, certificate, key and token works; the token is in no text of ours, and no key is missed in silence."""
    options = ("--key", str(keys / "pair.key"), "--certificate", str(keys / "pair.pem"), "--ca", str(keys / "ca.pem"))
    secrets = {"CA": keys / "ca.pem", "CERT": keys / "pair.pem", "KEY": keys / "pair.key", "TOKEN": keys / "token"}
    every = {name: str(path) for name, path in secrets.items()}
    with remote_service.running(tmp_path, *options) as running:
        address = running.address.replace("grpc:", "grpcs:")
        service = service_of(address, tmp_path / "run", **every)
        outcome = one(service, ltrans_job(place))
        assert "there" == where(outcome)
        taken(ltrans_job(place))
        assert SECRET not in Path("/proc/self/cmdline").read_text()
        service.close()
        (event,) = running.events("capabilities")
        assert hashlib.sha256(f"Bearer {SECRET}".encode()).hexdigest() == event["authorization"]
        without_ca = {name: value for name, value in every.items() if name != "CA"}
        assert "the service did not say what it can do: UNAVAILABLE" == connect(address, tmp_path / "run", **without_ca)
        assert "LDSHIM_REMOTE_CERT and LDSHIM_REMOTE_KEY need each other" == connect(address, tmp_path / "run", CERT=every["CERT"])
        assert "LDSHIM_REMOTE_TOKEN needs grpcs" in str(connect(running.address, tmp_path / "run", TOKEN=every["TOKEN"]))
        gone = str(keys / "gone")
        said = connect(address, tmp_path / "run", **{**every, "TOKEN": gone})
        assert f"a certificate, key or token cannot be used: {gone}" == said
    out, err = capfd.readouterr()
    assert "" == err
    assert SECRET not in out
