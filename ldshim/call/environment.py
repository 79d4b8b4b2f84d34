"""Read the environment of the call, as bytes, and every LDSHIM_* variable, once.

The real tool must see the environment of the bare call. But under LANG=C Python exports LC_CTYPE before ldshim's first statement, and
os.environ drops duplicates. So the environment comes from /proc/self/environ, which the kernel wrote at exec. The tool gets the same list
of pairs, with ldshim's edits in it.

A malformed LDSHIM_* value never stops a link. It causes one line that names the variable, the value and what is accepted, and the default
is used.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


# Variables by which the dynamic linker or the C library changes what Python loads, prints or does at its start (ld.so(8), environ of
# glibc's manual). The launchers rename them to ASIDE_PREFIX + name before they start Python, and read_environment restores the names.
ASIDE = (
    *(b"LD_LIBRARY_PATH", b"LD_PRELOAD", b"LD_AUDIT", b"LD_BIND_NOW", b"LD_DEBUG", b"LD_DEBUG_OUTPUT", b"LD_DYNAMIC_WEAK"),
    *(b"LD_HWCAP_MASK", b"LD_ORIGIN_PATH", b"LD_PROFILE", b"LD_PROFILE_OUTPUT", b"LD_SHOW_AUXV", b"LD_VERBOSE", b"LD_WARN"),
    *(b"GLIBC_TUNABLES", b"GCONV_PATH", b"LOCPATH", b"MALLOC_CHECK_", b"MALLOC_PERTURB_", b"MALLOC_ARENA_MAX", b"MALLOC_TRACE"),
)
ASIDE_PREFIX = b"_LDSHIM_ASIDE_"


class Environment:
    """An environment block: ordered (name, value) pairs, duplicates included.

    It is a mapping as far as os.execve needs one (len, keys, values). `get` returns the first of several values, as getenv does. An entry
    without `=` cannot be passed to execve, so it is dropped on reading.
    """

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, name: bytes) -> bytes:
        for key, value in self.pairs:
            if key == name:
                return value
        raise KeyError(name)

    def keys(self) -> list[bytes]:
        """Return the names in order, for execve."""
        return [key for key, _ in self.pairs]

    def values(self) -> list[bytes]:
        """Return the values in the order of keys(), for execve."""
        return [value for _, value in self.pairs]

    def get(self, name: bytes, default: bytes = b"") -> bytes:
        """Return the first value of name, or default."""
        for key, value in self.pairs:
            if key == name:
                return value
        return default

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self.pairs)

    def changed(self, edits: dict[bytes, bytes | None]) -> Environment:
        """Return a copy with edits: a value replaces every entry of that name in place, or is appended; None drops them."""
        left = dict(edits)
        pairs: list[tuple[bytes, bytes]] = []
        for key, value in self.pairs:
            if key not in edits:
                pairs.append((key, value))
                continue
            replacement = left.pop(key, None)
            if replacement is not None:
                pairs.append((key, replacement))
        pairs.extend((key, value) for key, value in left.items() if value is not None)
        return Environment(pairs)


def read_environment(proc: bytes = b"/proc") -> Environment:
    """Read the environment that the kernel gave this process; without /proc, Python's copy of it."""
    try:
        block = slurp(proc + b"/self/environ")
    except OSError:
        return Environment(as_given(_as_it_was(list(os.environb.items()))))
    pairs = []
    for entry in block.split(b"\0"):
        # The search starts at 1, because execve accepts a name that begins with `=`.
        cut = entry.find(b"=", 1)
        if cut > 0:
            pairs.append((entry[:cut], entry[cut + 1 :]))
    return Environment(as_given(pairs))


def as_given(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Restore the names of the variables that a launcher renamed. One that a preloaded library has set again is dropped."""
    renamed = {name[len(ASIDE_PREFIX) :] for name, _ in pairs if name.startswith(ASIDE_PREFIX)}
    if not renamed:
        return pairs
    remaining = [(name, value) for name, value in pairs if name not in renamed]
    return [(name[len(ASIDE_PREFIX) :] if name.startswith(ASIDE_PREFIX) else name, value) for name, value in remaining]


def _as_it_was(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Remove the LC_CTYPE that Python adds at the end where the locale is C (PEP 538): it would change the tool's messages."""
    values = dict(pairs)
    is_c = not values.get(b"LC_ALL") and values.get(b"LANG", b"") in (b"", b"C", b"POSIX")
    added = pairs[-1:] in ([(b"LC_CTYPE", b"C.UTF-8")], [(b"LC_CTYPE", b"C.utf8")], [(b"LC_CTYPE", b"UTF-8")])
    return pairs[:-1] if is_c and added else pairs


def slurp(path: bytes) -> bytes:
    """Read a whole small file (a /proc entry), in as many reads as it takes."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        while True:
            part = os.read(fd, 1 << 16)  # for a larger buffer malloc would call mmap each time
            if not part:
                return b"".join(parts)
            parts.append(part)
    finally:
        os.close(fd)


def count(text: bytes) -> int:
    """Parse a number from another program: plain digits, at most nine; 0 for everything else.

    No pid, descriptor or number of jobs has more, and int() raises for 4300 digits (CPython 3.11).
    """
    return int(text) if text.isdigit() and len(text) < 10 else 0


def _switch(value: bytes) -> bool:
    if value not in (b"0", b"1"):
        raise ValueError
    return value == b"1"


def positive(value: bytes) -> int:
    """Read a whole number from 1 to 999999. Raises ValueError, as the other readers do."""
    # int() accepts b" 8_0 "; the tools that get these numbers do not.
    if not value.isdigit() or len(value) > 6 or int(value) < 1:
        raise ValueError
    return int(value)


def size(value: bytes) -> int:
    """Read a number of bytes, or one with K, M or G."""
    digits, unit = (value[:-1], value[-1:].upper()) if value[-1:].isalpha() else (value, b"")
    if not digits.isdigit() or len(digits) > 18 or unit not in (b"", b"K", b"M", b"G") or int(digits) < 1:
        raise ValueError
    return int(digits) << {b"": 0, b"K": 10, b"M": 20, b"G": 30}[unit]


def _seconds(value: bytes) -> int:
    if not value.isdigit() or len(value) > 6:
        raise ValueError
    return int(value)


def _percent(value: bytes) -> int:
    if value == b"off":
        return 0
    if not value.isdigit() or len(value) > 3 or not 1 <= int(value) <= 100:
        raise ValueError
    return int(value)


def _explicit(value: bytes) -> bool:
    if value != b"keep":
        raise ValueError
    return True


def _backends(value: bytes) -> bool:
    if value != b"process":
        raise ValueError
    return True


def path(value: bytes) -> bytes:
    """Read the path of a file, and make it absolute."""
    if not value:
        raise ValueError
    try:
        return os.path.abspath(value)
    except OSError:  # the current directory was removed
        raise ValueError from None


# variable, attribute of Settings, reader, what is accepted
VARIABLES: tuple[tuple[bytes, str, Callable[[bytes], object], str], ...] = (
    (b"LDSHIM_DISABLE", "disable", _switch, "0 or 1"),
    (b"LDSHIM_JOBS", "jobs", positive, "a whole number from 1 to 999999"),
    (b"LDSHIM_MAX_JOBS", "max_jobs", positive, "a whole number from 1 to 999999"),
    (b"LDSHIM_CPUS", "cpus", positive, "a whole number from 1 to 999999"),
    (b"LDSHIM_MEM_PER_JOB", "mem_per_job", size, "bytes, or a number with K, M or G"),
    (b"LDSHIM_WAIT", "wait", _seconds, "seconds, a whole number from 0 to 999999"),
    (b"LDSHIM_PRESSURE", "pressure", _percent, "a percentage from 1 to 100, or off"),
    (b"LDSHIM_ELASTIC", "elastic", _switch, "0 or 1"),
    (b"LDSHIM_RECOVER", "recover", _switch, "0 or 1"),
    (b"LDSHIM_EXPLICIT", "keep_explicit", _explicit, "keep"),
    (b"LDSHIM_BACKENDS", "processes", _backends, "process"),
    (b"LDSHIM_LOG", "log", path, "the path of a file"),
    (b"LDSHIM_EXPLAIN", "explain", _switch, "0 or 1"),
)


class Settings:
    """The values of the LDSHIM_* variables. complaints: one line for each malformed value, for stderr."""

    __slots__ = (
        "complaints", "cpus", "disable", "elastic", "explain", "jobs", "keep_explicit", "log", "max_jobs", "mem_per_job", "pressure",
        "processes", "recover", "wait",
    )  # fmt: skip

    def __init__(self) -> None:
        self.disable = False
        self.jobs = 0  # 0: not pinned
        self.max_jobs = 0  # 0: no ceiling
        self.cpus = 0  # 0: counted
        self.mem_per_job = 0  # bytes; 0: estimate
        self.wait = 300  # seconds for which a link waits for memory at most
        self.pressure = 10  # percent of time stalled for memory (PSI, some avg10) above which nothing grows; 0: ignored
        self.elastic = True
        self.recover = True
        self.keep_explicit = False
        self.processes = False  # LTO backends as processes of their own
        self.log = b""  # absolute path; b"": no log
        self.explain = False
        self.complaints: list[str] = []


def read_settings(environment: Environment) -> Settings:
    """Read every LDSHIM_* variable once."""
    out = Settings()
    out.complaints = read_variables(out, VARIABLES, environment, "the default is used")
    return out


def read_variables(
    out: object, variables: tuple[tuple[bytes, str, Callable[[bytes], object], str], ...], environment: Environment, instead: str
) -> list[str]:
    """Set the attributes of out that a table of variables names. Return a line for each malformed value; instead: what then happens.

    An empty value counts as unset, as CI systems write it.
    """
    complaints = []
    names = {name for name, _ in environment.pairs if name.startswith(b"LDSHIM_")}
    for variable, attribute, reader, accepted in variables if names else ():
        value = environment.get(variable) if variable in names else b""
        if not value:
            continue
        try:
            setattr(out, attribute, reader(value))
        except ValueError:  # UnicodeDecodeError is one
            shown = value.decode("utf-8", "backslashreplace")
            complaints.append(f"ldshim: {variable.decode()}: not understood, {instead}: {shown!a}; accepted: {accepted}")
    return complaints


# Variables of package builders that are ceilings where no jobserver is found (design §5).
def ceiling_from_builders(environment: Environment) -> tuple[int, str]:
    """Return the lowest of DEB_BUILD_OPTIONS' parallel=N and RPM_BUILD_NCPUS with its origin; (0, "") when neither is set."""
    words = environment.get(b"DEB_BUILD_OPTIONS").replace(b",", b" ").split()
    found = [(count(word[9:]), "DEB_BUILD_OPTIONS") for word in words if word.startswith(b"parallel=")]
    found.append((count(environment.get(b"RPM_BUILD_NCPUS")), "RPM_BUILD_NCPUS"))
    return min(((number, origin) for number, origin in found if number), default=(0, ""))
