r"""COLLECT_GCC_OPTIONS, read word by word and rewritten without moving a byte of the rest.

collect2 strips -flto from the line that it gives to ld; what lto-wrapper will obey stands only in this variable. The plugin looks into it
with strstr for words like `'-v'`, and a malformed quote is fatal to lto-wrapper, so its style is kept exactly: words in single quotes,
one space between them, a quote inside as `'\''` (gcc.cc set_collect_gcc_options, opts-common.cc parse_options_from_collect_gcc_options).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

QUOTE = b"'"
ESCAPED_QUOTE = b"'\\''"


def split(value: bytes) -> list[bytes] | None:
    """Return the words; None when the quoting is not the driver's, so that nobody edits what he does not understand."""
    spans = _spans(value)
    return None if spans is None else [_unquote(value[start:end]) for start, end in spans]


def replace(value: bytes, edits: Sequence[tuple[int, bytes]]) -> bytes:
    """Return value with the i-th word replaced for each (i, new word); every other byte stays, and so does a malformed value."""
    spans = _spans(value)
    if spans is None:
        return value
    new_words = dict(edits)
    out: list[bytes] = []
    copied = 0
    for index, (start, end) in enumerate(spans):
        if index in new_words:
            out += [value[copied:start], quote(new_words[index])]
            copied = end
    out.append(value[copied:])
    return b"".join(out)


def quote(word: bytes) -> bytes:
    """Quote one word as the driver does."""
    return QUOTE + word.replace(QUOTE, ESCAPED_QUOTE) + QUOTE


def _unquote(quoted: bytes) -> bytes:
    return quoted[1:-1].replace(ESCAPED_QUOTE, QUOTE)


def _spans(value: bytes) -> list[tuple[int, int]] | None:
    """Return (start, end) of each word, quotes included; None when it is not quoted words with blanks between."""
    spans: list[tuple[int, int]] = []
    at, end = 0, len(value)
    while at < end:
        if value[at : at + 1] == b" ":
            at += 1
            continue
        close = _closing_quote(value, at)
        if close < 0 or (close + 1 < end and value[close + 1 : close + 2] != b" "):
            return None
        spans.append((at, close + 1))
        at = close + 1
    return spans


def _closing_quote(value: bytes, start: int) -> int:
    """Return the index of the quote that closes the word which opens at start, -1 when there is none."""
    if value[start : start + 1] != QUOTE:
        return -1
    at = value.find(QUOTE, start + 1)
    while at >= 0 and value.startswith(ESCAPED_QUOTE, at):
        at = value.find(QUOTE, at + len(ESCAPED_QUOTE))
    return at
