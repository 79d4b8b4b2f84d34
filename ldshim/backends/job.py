"""One backend of an LTO link: what to run, what it reads and writes, and what came of it.

The feeders turn what a linker hands out into jobs; the executor and the remote service take them. All of them share these two values.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Job:
    """One command.

    argv: as the linker handed it out, argv[0] the compiler; cwd: absolute; inputs, outputs: paths as they stand in argv, relative to cwd or
    absolute, inputs complete (every file that the command reads, the compiler and its libraries apart); remote: whether it may run
    elsewhere at all; name: for people.
    """

    __slots__ = ("argv", "cwd", "inputs", "name", "outputs", "remote")

    def __init__(
        self, argv: Sequence[bytes], cwd: bytes, inputs: Sequence[bytes], outputs: Sequence[bytes], remote: bool = True, name: str = ""
    ) -> None:
        self.argv = list(argv)
        self.cwd = cwd
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.remote = remote
        self.name = name


class Result:
    """What came of one job.

    status: exit status, negative for the number of a signal that ended it; stdout, stderr: as written; where: "here", "there" or "cache";
    queued, ran: seconds; sent: bytes uploaded for it.
    """

    __slots__ = ("queued", "ran", "sent", "status", "stderr", "stdout", "where")

    def __init__(
        self, status: int, stdout: bytes = b"", stderr: bytes = b"", where: str = "here",
        *, queued: float = 0.0, ran: float = 0.0, sent: int = 0,
    ) -> None:  # fmt: skip
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        self.where = where
        self.queued = queued
        self.ran = ran
        self.sent = sent
