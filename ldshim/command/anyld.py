"""The words that a driver forwards to a linker which it does not name.

The consequence of not knowing: every option that takes the next word in one of the linkers and is none at all in the others is taken to
take it, because an argument mistaken for an input is a file that does not exist, and an input mistaken for an argument is IR that we
miss. `--threads` alone is a flag, as in gold, mold and wild, unless a number follows, which only lld would accept there.
"""

from __future__ import annotations

from . import gnuld, lld
from .argv import EQUALS_OR_FLAG, EQUALS_OR_SEPARATE, Row, Table, Walk, Words, both_dashes, rows, walk

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


def walk_words(words: Words) -> Walk:
    """Walk what a driver forwards. `--threads 4` is read as `--threads=4`."""
    text, at = list(words.text), list(words.at)
    for index in range(len(text) - 1, 0, -1):
        if text[index - 1] == b"--threads" and text[index].isdigit():
            text[index - 1 : index + 1] = [b"--threads=" + text[index]]
            del at[index]
    return walk(Words(text, at, words.count), TABLE)
