"""Read the arguments that a driver forwards to a linker whose family is not known.

The table holds the options of every linker. Where only some linkers know an option, and it takes the next argument there, it takes the
next argument here as well. A value that is mistaken for an input is only a file that does not exist. `--threads` alone is a flag, as in
gold, mold and wild. Before a number it takes that number, because only lld accepts one there.
"""

from __future__ import annotations

from . import gnuld, lld
from .argv import EQUALS_OR_FLAG, EQUALS_OR_SEPARATE, Arguments, Row, Table, Walk, both_dashes, rows, walk

TABLE = Table(
    [
        Row([b"--threads"], EQUALS_OR_FLAG, "threads", "gold (bare), mold, wild; lld only with a number"),
        *rows(EQUALS_OR_SEPARATE, b"--thinlto-jobs", "jobs", "mold; lld only with ="),
        *rows(EQUALS_OR_SEPARATE, b"--lto-partitions", "partitions", "mold; lld only with ="),
        *both_dashes(EQUALS_OR_SEPARATE, b"thread-count", "threads", "gold, mold, wild"),
        *gnuld.BFD.rows,
        *gnuld.GOLD.rows,
        *lld.TABLE.rows,
    ]
)


def walk_forwarded(arguments: Arguments) -> Walk:
    """Parse the arguments that a driver forwards. `--threads 4` is read as `--threads=4`."""
    text, at = list(arguments.text), list(arguments.at)
    for index in range(len(text) - 1, 0, -1):
        if text[index - 1] == b"--threads" and text[index].isdigit():
            text[index - 1 : index + 1] = [b"--threads=" + text[index]]
            del at[index]
    return walk(Arguments(text, at, arguments.count), TABLE)
