r"""Split COLLECT_GCC_OPTIONS into options, and replace single options in it.

collect2 removes -flto from ld's arguments, so lto-wrapper takes it from this variable alone. The plugin searches the variable with strstr
for options such as `'-v'`, and a malformed quote is fatal to lto-wrapper. So an edit changes nothing but its option. The format: options in
single quotes, one space between them, a quote inside an option as `'\''` (gcc.cc set_collect_gcc_options, opts-common.cc
parse_options_from_collect_gcc_options).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

QUOTE = b"'"
ESCAPED_QUOTE = b"'\\''"


def split(value: bytes) -> list[bytes] | None:
    """Return the options; None when the quoting is not the driver's, so that a value of unknown form is never edited."""
    spans = _spans(value)
    return None if spans is None else [_unquote(value[start:end]) for start, end in spans]


def replace(value: bytes, edits: Sequence[tuple[int, bytes]]) -> bytes:
    """Return value with the i-th option replaced for each (i, new option). Every other byte stays; a malformed value is not changed."""
    spans = _spans(value)
    if spans is None:
        return value
    replacements = dict(edits)
    out: list[bytes] = []
    copied = 0
    for index, (start, end) in enumerate(spans):
        if index in replacements:
            out += [value[copied:start], quote(replacements[index])]
            copied = end
    out.append(value[copied:])
    return b"".join(out)


def quote(option: bytes) -> bytes:
    """Quote one option as the driver does."""
    return QUOTE + option.replace(QUOTE, ESCAPED_QUOTE) + QUOTE


def _unquote(quoted: bytes) -> bytes:
    return quoted[1:-1].replace(ESCAPED_QUOTE, QUOTE)


def _spans(value: bytes) -> list[tuple[int, int]] | None:
    """Return (start, end) of each option, quotes included; None where the value is anything but quoted options and spaces."""
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
    """Return the index of the quote that closes the option at start, -1 when there is none."""
    if value[start : start + 1] != QUOTE:
        return -1
    at = value.find(QUOTE, start + 1)
    while at >= 0 and value.startswith(ESCAPED_QUOTE, at):
        at = value.find(QUOTE, at + len(ESCAPED_QUOTE))
    return at
