"""`ldshim report LOG…`: show the links of a build, from the log that LDSHIM_LOG names.

A log has two lines for each link, in order of time, which is hard to read. The report joins the two lines (links), adds up the threads
held (usage) and shows the result: as a table, as JSON lines, as a page with a timeline (page, picture), as a trace for Perfetto (trace).

A line that is not ours is reported on stderr and skipped. Exit status: 0; 2 for a wrong command line, and when a log cannot be read; 100
when an output cannot be written.
"""

from __future__ import annotations

import os
import sys

from ...call import descriptors
from .. import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ...call.environment import Environment
    from .links import Link, Reader

_NAMED = 20  # bad lines that are reported; the sum counts all
UNREAD = 2
UNWRITTEN = 100


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Describe the command line."""
    one = commands.add_parser(
        "report",
        help="show the links of a log that LDSHIM_LOG wrote: a table, a page with a timeline, a trace",
        description="Show the links of a log that LDSHIM_LOG wrote. Without an option: as a table.",
    )
    one.add_argument("--json", action="store_true", help="one JSON object a line for each link: both records of the log joined")
    one.add_argument("--html", metavar="FILE", help="write one page with a timeline, for a browser; it needs no network")
    one.add_argument("--trace", metavar="FILE", help="write a trace in Chrome's format, for ui.perfetto.dev")
    one.add_argument("logs", metavar="LOG", nargs="+", help="files that LDSHIM_LOG named; - for standard input")


def run(options: argparse.Namespace, call: list[bytes], environment: Environment) -> int:  # noqa: ARG001  one signature for all
    """Read the logs and write the output; return the exit status."""
    job = Job(environment)
    try:
        return job.run(options)
    except BrokenPipeError:
        # `ldshim report log | head`: the reader is gone, and Python must not flush stdout at its exit.
        os.dup2(descriptors.nowhere(), 1)
        return 0
    finally:
        job.progress.erase()


class Job:
    """One run of the command. failed: the exit status, 0 as long as everything could be read and written."""

    def __init__(self, environment: Environment) -> None:
        from . import links  # noqa: PLC0415  json, which the other commands do not need

        self.environment = environment
        self.progress = terminal.Progress(environment)
        self.failed = 0
        self.reader: Reader
        self._make_reader = links.Reader

    def run(self, options: argparse.Namespace) -> int:
        """Read the logs, write the output, and return the exit status."""
        wants_page = bool(options.html or options.trace)
        self.reader = self._make_reader(self.complain, keep_command=wants_page, keep_raw=options.json)
        if options.json and not wants_page:
            self.write_json(self.read(options.logs))
        else:
            found = sorted(self.read(options.logs), key=lambda link: link.start)
            if options.json:
                self.write_json(found)
            if found or not self.failed:
                self.write_files(options, found)
            if not options.json and not wants_page:
                self.write_table(found)
        if self.reader.bad:
            skipped = f"{self.reader.bad} line" + ("s were" if self.reader.bad > 1 else " was")
            self.say(f"ldshim: report: {skipped} skipped; the rest is shown")
        return self.failed

    def read(self, logs: list[str]) -> Iterator[Link]:
        """Yield the links of all logs."""
        for log in logs:
            name = self.shown(log)
            try:
                stream = open(0, "rb", closefd=False) if log == "-" else open(log, "rb")  # noqa: SIM115  closed by the with below
                with stream:
                    size = os.fstat(stream.fileno()).st_size
                    yield from self.reader.read(stream, name, lambda done: self.show_progress(name, done, size))  # noqa: B023  used up here
            except OSError as error:
                self.fail(UNREAD, name, "cannot be read", error)

    def write_json(self, found: Iterable[Link]) -> None:
        """Print each link as one JSON object a line, as it comes."""
        import json  # noqa: PLC0415

        for link in found:
            try:
                print(json.dumps(link.raw))
            except RecursionError:
                self.reader.bad += 1
                self.complain(f"the link of process {link.pid}", "nested too deeply")
        sys.stdout.flush()

    def write_table(self, found: list[Link]) -> None:
        """Print the table, or a line when there is no link."""
        from . import table  # noqa: PLC0415

        self.progress.erase()
        if found:
            table.write(found, terminal.Screen(sys.stdout, self.environment), self.environment)
        elif not self.failed:
            self.say("ldshim: report: no link in the log: was LDSHIM_LOG set in the environment of the build?")

    def write_files(self, options: argparse.Namespace, found: list[Link]) -> None:
        """Write the page and the trace that were asked for."""
        if options.html:
            from . import page  # noqa: PLC0415

            self.progress.say(f"drawing {len(found)} links")
            self.write(options.html, [page.markup(found, [self.shown(log) for log in options.logs])])
        if options.trace:
            from . import trace  # noqa: PLC0415

            self.write(options.trace, trace.pieces(found))

    def write(self, path: str, pieces: Iterable[str]) -> None:
        """Write a file, `-` for standard output."""
        try:
            with open(1 if path == "-" else path, "w", encoding="utf-8", errors="backslashreplace", closefd=path != "-") as stream:
                stream.writelines(pieces)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.fail(UNWRITTEN, self.shown(path), "cannot be written", error)

    def shown(self, path: str) -> str:
        """Return a file's name for a message."""
        from . import links  # noqa: PLC0415

        return "standard input" if path == "-" else links.text(path)

    def show_progress(self, name: str, done: int, size: int) -> None:
        """Show how much of a log was read. size: 0 for a pipe."""
        part = f"{100 * done // size} %" if size else f"{done >> 20} MB"
        self.progress.say(f"reading {name}: {part}")

    def complain(self, where: str, what: str) -> None:
        """Report a bad line."""
        if self.reader.bad <= _NAMED:
            self.say(f"ldshim: {where}: skipped, this is no line of an ldshim log: {what}")

    def fail(self, status: int, name: str, problem: str, error: OSError) -> None:
        """Report a failure; the first one sets the exit status."""
        self.failed = self.failed or status
        self.say(f"ldshim: {name}: {problem}: {error.strerror or error}")

    def say(self, line: str) -> None:
        """Write a line to stderr, and erase the progress line."""
        self.progress.erase()
        print(line, file=sys.stderr)
