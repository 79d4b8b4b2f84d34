"""Find the directories of the cgroups that this process is accounted in.

The problem: a limit may be set on any level above us, in one of two file systems (cgroup v1 mounts one hierarchy per controller, v2 one for
all, and a host may have both), mounted wherever somebody liked; and inside a container the path that /proc/self/cgroup tells is often not
the path below the mount. The consequence: the mount points come from mountinfo, which also says which part of the hierarchy is mounted
there, and every directory from our own up to that mount is returned, for the caller to take the tightest.

proc: a /proc (tests bring their own); root: what mount points are relative to, b"" for this system.
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
            continue  # thirty other mounts, of whose words nobody need make a list
        version, shown, point = _mount(line, controller)
        if version in paths:
            below = _below(paths[version], shown)
            # A hierarchy may be mounted several times, and in parts; a mount that shows our own directory is the one to look in.
            if below is not None:
                chosen[version] = point, below
                del paths[version]
            else:
                # A cgroup namespace: we are somewhere that cannot be seen from here, and what the mount shows is the nearest.
                chosen.setdefault(version, (point, b""))
    levels = [(version, level) for version, (point, below) in chosen.items() for level in _upwards(root + point, below)]
    return [(version, level) for version, level in levels if os.path.isdir(level)]


def number(path: bytes) -> int | None:
    """Read one number from a cgroup file; None when it is missing, unreadable or a word (`max`)."""
    try:
        text = slurp(path).strip()
    except OSError:
        return None
    return int(text) if text.lstrip(b"-").isdigit() else None


def _mount(line: bytes, controller: bytes) -> tuple[int, bytes, bytes]:
    """Read one mountinfo line: (1 or 2, the part of the hierarchy that is mounted, where), or (0, b"", b"") for other mounts."""
    front, _, back = line.partition(b" - ")
    fields, kind = front.split(b" "), back.split(b" ")
    if len(fields) < 5 or len(kind) < 3:
        return 0, b"", b""
    version = 2 if kind[0] == b"cgroup2" else 1 if kind[0] == b"cgroup" and controller in kind[2].split(b",") else 0
    return version, _plain(fields[3]), _plain(fields[4])


def _plain(field: bytes) -> bytes:
    """Undo mountinfo's octal escapes (blank, tab, newline, backslash)."""
    if b"\\" not in field:
        return field
    first, *rest = field.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] if part[:3].isdigit() else part for part in rest)


def _below(path: bytes, shown: bytes) -> bytes | None:
    """Say where under a mount our path stands, when the mount shows only the part `shown` of the hierarchy; None: not under it."""
    parts, top = _parts(path), _parts(shown)
    if b".." in parts or parts[: len(top)] != top:
        return None
    return b"/".join(parts[len(top) :])


def _parts(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part]


def _upwards(top: bytes, below: bytes) -> list[bytes]:
    parts = _parts(below)
    return [b"/".join([top.rstrip(b"/"), *parts[:length]]) for length in range(len(parts), -1, -1)]
