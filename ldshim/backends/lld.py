"""lld's ThinLTO backends as jobs: what lld wrote down for its distributor, from version 21 on.

The file, `<stem>.<pid>.dist-file.json`: `common.args` ([0] is the compiler), `common.inputs`; `jobs[]` with `args`, `inputs` (the bitcode,
its index, then every module that it imports from), `outputs`. A command is common.args + args, in lld's working directory.
"""

from __future__ import annotations

import json
import os

from ..call.environment import read_environment
from . import feeder
from .job import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..call.environment import Environment

# What steers clang from outside, and lld not: without them, a backend does what it would do inside lld.
_STEERS = (b"CCC_", b"CC_PRINT_", b"CC_LOG_", b"CLANG_CONFIG_")


def run(path: str) -> int:
    """Run the jobs of one file: the status for lld. Raises what says that nothing was begun."""
    with open(path, "rb") as stream:
        text = stream.read()
    jobs = jobs_of(text, os.getcwdb())
    environment = without_steering(read_environment())
    outcome = feeder.carry_out(jobs, environment)
    if outcome.link_died:
        for name in (os.fsencode(path), *outputs_and_indexes(jobs)):
            try:
                os.unlink(name)  # lld removes its files when it ends by itself, or by a signal that it can catch
            except OSError:
                continue
    return outcome.end()


def jobs_of(text: bytes, cwd: bytes) -> list[Job]:
    """Read lld's file. Raises ValueError, KeyError, TypeError: not what lld writes."""
    document = json.loads(text.decode("utf-8", "surrogateescape"))
    common, shared = _words(document["common"]["args"]), _words(document["common"].get("inputs", []))
    jobs = []
    for each in document["jobs"]:
        inputs = [*_words(each["inputs"]), *shared]
        name = os.fsdecode(os.path.basename(inputs[0])) if inputs else ""
        jobs.append(Job([*common, *_words(each["args"])], cwd, inputs, _words(each["outputs"]), name=name))
    return jobs


def _words(texts: Sequence[str]) -> list[bytes]:
    return [text.encode("utf-8", "surrogateescape") for text in texts]


def without_steering(environment: Environment) -> Environment:
    """Return the environment without what changes the code that clang makes."""
    return environment.changed({name: None for name, _ in environment.pairs if name.startswith(_STEERS)})


def outputs_and_indexes(jobs: Sequence[Job]) -> list[bytes]:
    """List what lld would have removed: the objects, and the index of each job (its second input)."""
    return [path for job in jobs for path in (*job.outputs, *job.inputs[1:2])]
