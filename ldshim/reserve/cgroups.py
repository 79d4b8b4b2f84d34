"""Find the directories of the cgroups of this process.

The problem: a limit may be set on any level above us, in one of two file systems. cgroup v1 mounts one hierarchy per controller, v2 one
for all, and a host may have both, mounted anywhere. Inside a container the path in /proc/self/cgroup is often not the path below the
mount. The consequence: the mount points come from mountinfo, which also says which part of the hierarchy is mounted there. Every directory
from our own up to that mount is returned, and the caller uses the lowest limit.

proc: a /proc (tests have their own); root: a prefix of the mount points, b"" for this system.
"""

from __future__ import annotations

import os

from ..call.environment import slurp


def directories(controller: bytes, proc: bytes = b"/proc", root: bytes = b"") -> list[tuple[int, bytes]]:
    """List (cgroup version, directory) for one controller (b"cpu", b"memory"), each hierarchy from our own directory upwards.

    A directory that does not exist is left out; without a readable /proc the list is empty.
    """
    try:
        memberships = slurp(proc + b"/self/cgroup").splitlines()
        mounts = slurp(proc + b"/self/mountinfo").splitlines()
    except OSError:
        return []
    paths: dict[int, bytes] = {}  # version -> our path in that hierarchy
    for line in memberships:
        number, _, rest = line.partition(b":")
        controllers, _, path = rest.partition(b":")
        if number == b"0" and not controllers:
            paths[2] = path
        elif controller in controllers.split(b","):
            paths[1] = path
    chosen: dict[int, tuple[bytes, bytes]] = {}  # version -> mount point, our path below it
    for line in mounts:
        if b" - cgroup" not in line:
            continue  # about thirty other mounts, which need no parsing
        version, shown, point = _mount(line, controller)
        if version in paths:
            below = _below(paths[version], shown)
            # A hierarchy may be mounted several times, and in parts; the mount that shows our own directory counts.
            if below is not None:
                chosen[version] = point, below
                del paths[version]
            else:
                # A cgroup namespace: our directory is not visible, and the top of the mount is the nearest one.
                chosen.setdefault(version, (point, b""))
    levels = [(version, level) for version, (point, below) in chosen.items() for level in _upwards(root + point, below)]
    return [(version, level) for version, level in levels if os.path.isdir(level)]


def number(path: bytes) -> int | None:
    """Read one number from a cgroup file; None when it is missing, unreadable or no number (`max`)."""
    try:
        text = slurp(path).strip()
    except OSError:
        return None
    return int(text) if text.lstrip(b"-").isdigit() else None


def _mount(line: bytes, controller: bytes) -> tuple[int, bytes, bytes]:
    """Parse one line of mountinfo: (1 or 2, the mounted part of the hierarchy, the mount point), or (0, b"", b"") for other mounts."""
    front, _, back = line.partition(b" - ")
    fields, kind = front.split(b" "), back.split(b" ")
    if len(fields) < 5 or len(kind) < 3:
        return 0, b"", b""
    version = 2 if kind[0] == b"cgroup2" else 1 if kind[0] == b"cgroup" and controller in kind[2].split(b",") else 0
    return version, _plain(fields[3]), _plain(fields[4])


def _plain(field: bytes) -> bytes:
    """Decode the octal escapes of mountinfo (blank, tab, newline, backslash)."""
    if b"\\" not in field:
        return field
    first, *rest = field.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] if part[:3].isdigit() else part for part in rest)


def _below(path: bytes, shown: bytes) -> bytes | None:
    """Return our path below a mount that shows only the part `shown` of the hierarchy; None if it is not below it."""
    parts, top = _parts(path), _parts(shown)
    if b".." in parts or parts[: len(top)] != top:
        return None
    return b"/".join(parts[len(top) :])


def _parts(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part]


def _upwards(top: bytes, below: bytes) -> list[bytes]:
    parts = _parts(below)
    return [b"/".join([top.rstrip(b"/"), *parts[:length]]) for length in range(len(parts), -1, -1)]
