"""A job as an action of the API: a tree of directories, a command, and the digests of both.

The tree is laid out as the file system here: the job's working directory stands in it under its whole path and is the action's
working_directory, because GCC writes it into debug information. A relative path of the job is then right on any worker. An absolute one is
right only on a worker that makes the tree its root, so a job that needs one is marked (`rooted`), and goes only where a trial has shown
that.

The name of an action decides whether the action cache has it, and lld and GCC put process numbers and random names into theirs. So the
names that mean nothing to the compiler are exchanged for `.ldshim/in0`, `.ldshim/out0`: outputs, clang's index, and everything that GCC
reads. The bitcode of clang keeps its name, which is the module's identifier in the index; one with lld's process number in it (an archive's
member, lld before 23) is never found in the cache.
"""

from __future__ import annotations

import hashlib
import os

from . import messages
from .arguments import check, exchanged
from .blobs import Blob, Digest, of_bytes
from .compiler import HOME, PLACE, UnfitError, hash_command, is_gcc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..job import Job
    from .blobs import Digests
    from .compiler import Compiler


class Action:
    """What the service is asked for.

    digest: of the action; blobs: all that it is made of, directories included; outputs: name in the action, path here, absolute; names:
    what text may name, name in the action and name in the job; rooted: it needs a worker that makes the tree its root.
    """

    __slots__ = ("blobs", "digest", "names", "outputs", "rooted")

    def __init__(
        self, digest: Digest, blobs: list[Blob], outputs: list[tuple[str, bytes]], names: list[tuple[bytes, bytes]], rooted: bool
    ) -> None:
        self.digest = digest
        self.blobs = blobs
        self.outputs = outputs
        self.names = names
        self.rooted = rooted


class Offer:
    """What is the same in every action of one service. properties: of the platform, sorted; salt: what else the result depends on."""

    __slots__ = ("cached", "old_outputs", "properties", "salt")

    def __init__(self, properties: Sequence[tuple[str, str]], salt: bytes, cached: bool, old_outputs: bool) -> None:
        self.properties = properties
        self.salt = salt
        self.cached = cached
        self.old_outputs = old_outputs  # of a service older than API 2.1, which knows no output_paths


class Tree:
    """Directories by name, under one root: each a dict of further ones, and of (Digest, executable) for files."""

    def __init__(self, cwd: bytes) -> None:
        self.root: dict[bytes, Any] = {}
        self.cwd = [part for part in cwd.split(b"/") if part]
        self._at(self.cwd)

    def _at(self, parts: Sequence[bytes]) -> dict[bytes, Any]:
        here = self.root
        for part in parts:
            here = here.setdefault(part, {})
            if not isinstance(here, dict):
                raise UnfitError(f"{os.fsdecode(part)} is a file and a directory")
        return here

    def add(self, path: bytes, entry: Any) -> None:
        """Put a file where path, from the working directory, finds it. Raises UnfitError."""
        parts = [] if path.startswith(b"/") else list(self.cwd)
        *before, name = [part for part in path.split(b"/") if part not in (b"", b".")]
        for part in before:
            if part != b"..":
                parts.append(part)
            elif parts:
                self._at(parts)  # the kernel walks through what is named before `..`
                parts.pop()
        there = self._at(parts)
        if name == b".." or there.setdefault(name, entry) != entry:
            raise UnfitError(f"two files are called {os.fsdecode(path)}")

    def digests(self, blobs: list[Blob]) -> Digest:
        """Make the messages of all directories, append them to blobs, and return the root's digest."""
        return self._digest(self.root, blobs)

    def _digest(self, here: dict[bytes, Any], blobs: list[Blob]) -> Digest:
        out = messages.MESSAGES["Directory"]()
        for name in sorted(here):
            entry = here[name]
            if isinstance(entry, tuple):
                node = out.files.add(name=_text(name), is_executable=entry[1])
                digest = entry[0]
            else:
                node = out.directories.add(name=_text(name))
                digest = self._digest(entry, blobs)
            node.digest.hash, node.digest.size_bytes = digest.hash, digest.size
        blob = of_bytes(out.SerializeToString(deterministic=True))
        blobs.append(blob)
        return blob.digest


def prepare(job: Job, compiler: Compiler, digests: Digests, offer: Offer, uploaded: bool = True) -> Action:
    """Make the action of a job. uploaded: the compiler goes with it, else it is the worker's own. Raises UnfitError, OSError."""
    check(job)
    gcc = is_gcc(job.argv)
    renamed = _renamed(job, gcc)
    tree, blobs = Tree(job.cwd), []
    for path in job.inputs:
        blob = digests.of_file(os.path.join(job.cwd, path))
        if blob.digest.size == 0:
            raise UnfitError(f"an input is empty: {os.fsdecode(path)}")  # clang compiles without imports then, and says nothing
        blobs.append(blob)
        tree.add(renamed.get(path, path), (blob.digest, False))
    if uploaded:
        for file in compiler.files:
            blobs.append(file.blob)
            tree.add(HOME + file.name, (file.blob.digest, True))
        start = list(compiler.start)
    else:
        start = [compiler.program]
    if not gcc and b"--no-default-config" not in job.argv:
        start.append(b"--no-default-config")
    argv = start + [exchanged(word, renamed) for word in job.argv[1:]]
    rooted = any(path.startswith(b"/") for path in job.inputs if path not in renamed) or (gcc and _debug(job.argv))
    outputs = [(_text(renamed[path]), os.path.join(job.cwd, path)) for path in job.outputs]
    root = tree.digests(blobs)
    digest = _finish(argv, job.cwd, [name for name, _ in outputs], root, offer, blobs)
    return Action(digest, blobs, outputs, [(new, old) for old, new in renamed.items()], rooted)


def _finish(argv: Sequence[bytes], cwd: bytes, outputs: Sequence[str], root: Digest, offer: Offer, blobs: list[Blob]) -> Digest:
    """Make the command and the action, append both to blobs, and return the action's digest."""
    command = messages.MESSAGES["Command"](arguments=[_text(word) for word in argv], working_directory=_text(cwd.strip(b"/")))
    (command.output_files if offer.old_outputs else command.output_paths).extend(sorted(outputs))
    action = messages.MESSAGES["Action"](do_not_cache=not offer.cached, salt=offer.salt)
    for name, value in offer.properties:
        command.platform.properties.add(name=name, value=value)
        action.platform.properties.add(name=name, value=value)
    made = of_bytes(command.SerializeToString(deterministic=True))
    action.command_digest.hash, action.command_digest.size_bytes = made.digest.hash, made.digest.size
    action.input_root_digest.hash, action.input_root_digest.size_bytes = root.hash, root.size
    whole = of_bytes(action.SerializeToString(deterministic=True))
    blobs += [made, whole]
    return whole.digest


def root_trial(compiler: Compiler, offer: Offer) -> Action:
    """Make the action that succeeds only on a worker that makes the tree its root: the loader looks at itself under an absolute name.

    No worker has that name by itself: it is made of random bytes. `ld.so --verify FILE` ends with 0 for what it could load (ld.so(8)).
    """
    if not compiler.loaded:
        raise UnfitError("whether the worker has a root of its own cannot be told with a static compiler")
    name = b"/.ldshim-" + os.urandom(16).hex().encode()
    tree, blobs = Tree(b"/"), []
    loader = next(file for file in compiler.files if file.name == b"ld.so")
    libc = next((file for file in compiler.files if file.name.startswith(b"lib/libc.so")), loader)
    for path, file in ((HOME + b"ld.so", loader), (name, libc)):
        blobs.append(file.blob)
        tree.add(path, (file.blob.digest, True))
    root = tree.digests(blobs)
    never = Offer(offer.properties, offer.salt, False, offer.old_outputs)
    return Action(_finish([HOME + b"ld.so", b"--verify", name], b"/", [], root, never, blobs), blobs, [], [], False)


def hash_trial(compiler: Compiler, offer: Offer) -> Action:
    """Make the action that has the worker hash its own copy of the compiler."""
    blobs: list[Blob] = []
    root = Tree(b"/").digests(blobs)
    argv = hash_command(compiler)
    never = Offer(offer.properties, offer.salt, False, offer.old_outputs)
    return Action(_finish(argv, b"/", [], root, never, blobs), blobs, [], [], False)


def salt_of(compiler: Compiler) -> bytes:
    """Return what keeps results of one build of a worker's compiler apart from those of another."""
    return hashlib.sha256("".join(file.blob.digest.hash for file in compiler.files).encode()).digest()


def _renamed(job: Job, gcc: bool) -> dict[bytes, bytes]:
    """Choose names of ours: for every output, and for the inputs whose names mean nothing to the compiler."""
    renamed = {path: PLACE + b"out%d" % index for index, path in enumerate(job.outputs)}
    for index, path in enumerate(job.inputs):
        if path in renamed:
            raise UnfitError(f"{os.fsdecode(path)} is input and output")
        if gcc or b"-fthinlto-index=" + path in job.argv:
            renamed[path] = PLACE + b"in%d" % index
    return renamed


def _debug(argv: Sequence[bytes]) -> bool:
    """Tell whether GCC writes debug information: lto-wrapper repeats the -g that the objects recorded."""
    levels = [word for word in argv if word.startswith(b"-g")]
    return bool(levels) and levels != [b"-g0"]


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise UnfitError(f"not UTF-8, which the API demands: {name!r}") from None
