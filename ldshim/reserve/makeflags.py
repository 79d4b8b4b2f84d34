"""Parse MAKEFLAGS: which jobserver it names, if any, and the number of jobs.

The problem: the variable belongs to make, but many programs read it. It can name a jobserver by two spellings of the option and two of the
value, name it more than once, and withdraw it by `-2,-2`. It ends in variables of the user, whose text may look like any of these. The
consequence: words are split at blanks without a backslash, parsing stops at `--`, and the last auth counts. The last pair of non-negative
descriptors is stored as well, because the make that withheld them from this recipe has them open (recover.py). Pure: jobserver.py checks
whether the named jobserver works.

Observed, each a row of tests/unit/test_makeflags.py:
` -j4 --jobserver-auth=3,4` (make 4.2, 4.3), `... --jobserver-auth=3,4 --jobserver-auth=-2,-2` (4.4, pipe, no `+`), `--jobserver-fds=3,4 -j`
(up to 4.1), ` -j4 --jobserver-auth=fifo:/tmp/GMfifo7` (4.4), `-j --jobserver-fds=6,7 --jobserver-auth=6,7` (cargo), `kn -j4 ...` (-k -n).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call.environment import Environment

# All reasons why a value names no jobserver. With WITHHELD and STYLE there is one, which cannot be used from here.
ABSENT = "no jobserver is named"
WITHHELD = "make withheld the jobserver: the recipe is not marked with +"
MALFORMED = "the jobserver's descriptors are not two numbers"
EMPTY_PATH = "the jobserver's fifo has no name"
STYLE = "the jobserver is of a kind that no tool on Linux supports"

# In the order in which jobserver-rs tries them: the pipe of cargo is the one that is open.
VARIABLES = (b"CARGO_MAKEFLAGS", b"MAKEFLAGS", b"MFLAGS")

_AUTH = (b"--jobserver-auth=", b"--jobserver-fds=")
_VALUED = b"CEIWfjloO"  # one-letter options of make whose value is the rest of the word, or empty
_DIGITS = 9  # a longer number is no descriptor and no useful -j, and would overflow in a system call


class Auth:
    """The contents of a MAKEFLAGS value.

    kind: "pipe" (read_fd, write_fd), "fifo" (path: may be a FIFO or a character device), or "none" with the reason; jobs: N of the last
    -jN, 0 when there is none; dry_run: -n is set; withheld: the last auth was negative, and read_fd, write_fd are an earlier pair.
    read_fd and write_fd are -1 when no pair was named.
    """

    __slots__ = ("dry_run", "jobs", "kind", "path", "read_fd", "reason", "withheld", "write_fd")

    def __init__(self) -> None:
        self.kind = "none"
        self.read_fd = -1
        self.write_fd = -1
        self.path = b""
        self.jobs = 0
        self.dry_run = False
        self.withheld = False
        self.reason = ABSENT


def named_in(environment: Environment) -> list[tuple[str, bytes]]:
    """List the variables that may name a jobserver and are set, in the order in which they are tried."""
    return [(name.decode(), environment.get(name)) for name in VARIABLES if environment.get(name)]


def pool_size(environment: Environment) -> int:
    """Return the largest -jN of the jobservers in the environment, 0 when one has no number (cargo writes a bare -j)."""
    jobs = [parse(value).jobs for _, value in named_in(environment)]
    return max(jobs) if jobs and all(jobs) else 0


def parse(makeflags: bytes) -> Auth:
    """Parse the value of MAKEFLAGS, MFLAGS or CARGO_MAKEFLAGS. Never fails: unknown words are ignored."""
    auth = Auth()
    words = _words(makeflags)
    # The grouped flags are the text before the first blank, which is empty in ` -j4`. Only they may be letters without a dash.
    if words and makeflags[:1] not in (b" ", b"\t") and not words[0].startswith(b"--"):
        _flags(auth, words.pop(0))
    for word in words:
        if word == b"--":
            break
        for option in _AUTH:
            if word.startswith(option):
                _value(auth, word[len(option) :])
        if word.startswith(b"-j"):
            auth.jobs = _number(word[2:])
        elif word.startswith(b"--jobs="):
            auth.jobs = _number(word[7:])
    return auth


def _words(text: bytes) -> list[bytes]:
    """Split at blanks; a backslash quotes the next byte (make quotes blanks and backslashes, and nothing else)."""
    text = text.replace(b"\t", b" ")
    if b"\\" not in text:
        return [word for word in text.split(b" ") if word]
    words: list[bytes] = []
    word = b""
    at, end = 0, len(text)
    while at < end:
        byte = text[at : at + 1]
        if byte == b"\\" and at + 1 < end:
            at += 1
            word += text[at : at + 1]
        elif byte != b" ":
            word += byte
        elif word:
            if word == b"--":
                break  # the variables that follow may be long, and are not needed
            words.append(word)
            word = b""
        at += 1
    return [*words, word] if word else words


def _flags(auth: Auth, word: bytes) -> None:
    """Parse the first word: `kn`, `-kn` in MFLAGS, `-j4`. A letter with a value ends the group (`-Onone` is no -n)."""
    if b"=" in word and not word.startswith(b"-"):
        return  # MAKEFLAGS=V=1, set by a user: make reads it as a variable
    letters = word.lstrip(b"-")
    for at in range(len(letters)):
        letter = letters[at : at + 1]
        if letter in _VALUED:
            if letter == b"j":
                auth.jobs = _number(letters[at + 1 :])
            return
        if letter == b"n":
            auth.dry_run = True


def _value(auth: Auth, value: bytes) -> None:
    """Store one auth in place of the last; a pair of non-negative descriptors stays stored when a later auth withdraws it."""
    auth.kind, auth.withheld, auth.path = "none", False, b""
    if value.startswith(b"fifo:"):
        auth.path = value[5:]
        auth.kind, auth.reason = ("fifo", "") if auth.path else ("none", EMPTY_PATH)
        return
    read_end, comma, write_end = value.partition(b",")
    if not comma:
        auth.reason = STYLE if value and not value.isdigit() else MALFORMED
        return
    if read_end[:1] == b"-" or write_end[:1] == b"-":
        # make writes -2,-2; any other negative number means the same.
        negative = read_end.lstrip(b"-").isdigit() and write_end.lstrip(b"-").isdigit()
        auth.withheld = negative and auth.read_fd >= 0
        auth.reason = WITHHELD if negative else MALFORMED
        return
    if not (_is_number(read_end) and _is_number(write_end)):
        auth.reason = MALFORMED
        return
    auth.kind, auth.reason = "pipe", ""
    auth.read_fd, auth.write_fd = int(read_end), int(write_end)


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _DIGITS


def _number(text: bytes) -> int:
    return int(text) if _is_number(text) else 0
