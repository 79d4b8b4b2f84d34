"""The arguments of a job: which keep it on this machine, and how the names of files in them are exchanged."""

from __future__ import annotations

import os

from .compiler import UnfitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..job import Job

# An argument that starts so: why a job with it stays here. What lld and lto-wrapper hand out is in toolchain.md and distribution.md.
STAYS = (
    (b"@", "a response file is no input of the job"),
    (b"-truncate", "it changes its input"),
    (b"-march=native", "it asks for the CPU of this machine"),
    (b"-mtune=native", "it asks for the CPU of this machine"),
    (b"-mcpu=native", "it asks for the CPU of this machine"),
    (b"-fplugin", "a plugin is no input of the job"),
    (b"-fpass-plugin", "a plugin is no input of the job"),
    (b"-specs", "a specs file is no input of the job"),
    (b"--specs", "a specs file is no input of the job"),
    (b"-wrapper", "it names a program"),
    (b"-fprofile-use=", "a profile is no input of the job"),
    (b"-fauto-profile", "a profile is no input of the job"),
    (b"-save-temps", "it writes more than its output"),
    (b"--save-temps", "it writes more than its output"),
    (b"-fdump", "it writes more than its output"),
    (b"-fstack-usage", "it writes more than its output"),
    (b"-fcallgraph-info", "it writes more than its output"),
    (b"-fsave-optimization-record", "it writes more than its output"),
    (b"-foptimization-record-file", "it writes more than its output"),
    (b"-ftime-report", "it reports times"),
    (b"-ftime-trace", "it reports times"),
)


def check(job: Job) -> None:
    """See whether a job may run elsewhere. Raises UnfitError."""
    for word in job.argv[1:]:
        for start, why in STAYS:
            if word.startswith(start):
                raise UnfitError(f"{os.fsdecode(word)}: {why}")
    for path in job.outputs:
        if not any(word == path or word.endswith(b"=" + path) for word in job.argv):
            raise UnfitError(f"no argument names the output {os.fsdecode(path)}")


def exchanged(word: bytes, renamed: dict[bytes, bytes]) -> bytes:
    """Exchange a path that is the whole argument, or all that stands behind its first `=`."""
    if word in renamed:
        return renamed[word]
    option, equals, path = word.partition(b"=")
    return option + equals + renamed[path] if equals and path in renamed else word
