"""Run a command where something that every machine has is missing, refused or wrong.

The problem: containers, sandboxes and build daemons take things away that a program of a few lines never misses: /dev/null, /proc, a clock
that moves, a directory to stand in. The consequence: this file, run as a program, makes a process in which exactly that is so, by mount
namespaces, seccomp filters, limits and preloaded libraries, and execs the command there. The bare tool and ldshim are run in the same
surroundings, and must do the same.

    python3 tests/support/surroundings.py no-proc,no-flock PRELOAD -- gcc -c x.c

PRELOAD: the library that `build_preload` makes. One that this machine cannot give (no root, no faketime) is skipped by `need`, by name.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import resource
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

_CLONE_NEWNS = 0x20000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 38, 22

# machine: AUDIT_ARCH of linux/audit.h, and the numbers of the calls that a filter may refuse.
_CALLS = {
    "x86_64": (0xC000003E, {"flock": 73, "pidfd_open": 434, "faccessat2": 439, "sched_setaffinity": 203, "memfd_create": 319}),
    "aarch64": (0xC00000B7, {"flock": 32, "pidfd_open": 434, "faccessat2": 439, "sched_setaffinity": 122, "memfd_create": 279}),
}

# surroundings: the call that is refused, and with what. Seen: ENOLCK is NFS without a lock daemon, EPERM old versions of Docker.
REFUSED = {
    "no-flock": ("flock", errno.ENOLCK),
    "flock-unknown": ("flock", errno.ENOSYS),
    "no-pidfd": ("pidfd_open", errno.ENOSYS),
    "pidfd-refused": ("pidfd_open", errno.EPERM),
    "no-faccessat2": ("faccessat2", errno.EPERM),
    "no-memfd": ("memfd_create", errno.ENOSYS),
    "no-affinity": ("sched_setaffinity", errno.EPERM),
}
EMPTIED = {"no-dev": b"/dev", "no-dev-pts": b"/dev/pts", "no-proc": b"/proc"}
PRELOADED = {"no-children": "CHILDREN", "jumping-clock": "JUMPS", "frozen-times": "FROZEN"}
FEW = 40  # descriptors
NAMES = (*EMPTIED, *REFUSED, *PRELOADED, "frozen-clock", "cwd-removed", "odd-path", "few-descriptors")

# What no filter can do: a kernel without CONFIG_PROC_CHILDREN, a clock that is set an hour back and forth, a clock that stands.
PRELOAD = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
static int hidden(const char *path) {
    const char *name = path ? strrchr(path, '/') : 0;
    return getenv("SURROUNDED_CHILDREN") && name && !strcmp(name, "/children") && !strncmp(path, "/proc/", 6);
}
#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
        if (hidden(path)) { errno = ENOENT; return -1; } \
        return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); }
OPEN(open)
OPEN(open64)
static long jump(long seconds) {
    static int turn;
    if (getenv("SURROUNDED_JUMPS")) return seconds + (turn++ % 3 - 1) * 3600;
    return seconds;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int status = ((int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime"))(clock, now);
    if (!status && clock >= 0 && clock != CLOCK_PROCESS_CPUTIME_ID) now->tv_sec = jump(now->tv_sec);
    if (!status && clock >= 0 && getenv("SURROUNDED_FROZEN")) now->tv_sec = 1577836800, now->tv_nsec = 0;
    return status;
}
"""


def build_preload(place: Path, compiler: str) -> Path:
    """Compile the library that hides files and moves clocks. place: a directory that exists."""
    source, library = place / "surround.c", place / "surround.so"
    source.write_text(PRELOAD)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def faketime() -> str:
    """Return the path of libfaketime, "" where it is not installed."""
    return next((str(path) for path in sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), "")


@functools.cache
def obstacle(name: str) -> str:
    """Say what this machine lacks to give such surroundings, "" when nothing."""
    if name == "frozen-clock":
        return "" if faketime() else "libfaketime (faketime)"
    if name in REFUSED and platform.machine() not in _CALLS:
        return f"a table of system calls for {platform.machine()}"
    if name in EMPTIED:
        if os.geteuid() != 0:
            return "root, to mount in a namespace"
        if subprocess.run([sys.executable, __file__, name, "", "--", "/bin/true"], capture_output=True, check=False).returncode:
            return "the right to mount in a namespace"
    return ""


def need(names: tuple[str, ...]) -> None:
    """Skip a test, by the name of what this machine cannot give."""
    from tests.support import tools  # noqa: PLC0415  this file is also run as a program, alone

    for lacking in filter(None, map(obstacle, names)):
        tools.missing(lacking)


def variables(name: str) -> dict[str, str]:
    """Return what turns the preloaded library on."""
    if name == "frozen-clock":
        return {"FAKETIME": "2020-01-01 00:00:00"}
    return {f"SURROUNDED_{PRELOADED[name]}": "1"} if name in PRELOADED else {}


def command(names: tuple[str, ...], preload: Path) -> list[str]:
    """Return what to put before a command so that it runs in these surroundings."""
    return [sys.executable, "-I", __file__, ",".join(names), str(preload), "--"]


def enter(names: list[str], preload: str) -> dict[str, str]:
    """Make this process one in those surroundings: the environment for what it execs. preload: of build_preload."""
    environment = dict(os.environ)
    libraries = [preload] if preload and any(name in PRELOADED for name in names) else []
    for name in names:
        environment.update(variables(name))
    if "frozen-clock" in names:
        libraries.append(faketime())
    if "odd-path" in names:
        environment["PATH"] = f":nowhere:{environment['PATH']}:.:"
    if "cwd-removed" in names:
        gone = tempfile.mkdtemp()
        os.chdir(gone)
        os.rmdir(gone)
    emptied = [EMPTIED[name] for name in names if name in EMPTIED]
    if emptied:
        _empty(emptied)
    if "few-descriptors" in names:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW))
    _refuse([REFUSED[name] for name in names if name in REFUSED])
    if libraries:
        environment["LD_PRELOAD"] = ":".join(libraries)
    return environment


def _empty(directories: list[bytes]) -> None:
    """Mount an empty file system over each directory, for this process and what it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = [libc.unshare(_CLONE_NEWNS), libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None)]
    steps += [libc.mount(b"none", directory, b"tmpfs", 0, None) for directory in directories if os.path.isdir(directory)]
    if any(steps):
        raise OSError(ctypes.get_errno(), "unshare and mount")


def _refuse(calls: list[tuple[str, int]]) -> None:
    """Let the kernel refuse system calls from here on, by a classic BPF program (seccomp(2))."""
    if not calls:
        return
    arch, numbers = _CALLS[platform.machine()]
    program = [(0x20, 0, 0, 4), (0x15, 1, 0, arch), (0x06, 0, 0, 0x7FFF0000), (0x20, 0, 0, 0)]  # another ABI is let through
    for name, number in calls:
        program += [(0x15, 0, 1, numbers[name]), (0x06, 0, 0, 0x00050000 | number)]
    program.append((0x06, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    described = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, 2, described, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def main(argv: list[str]) -> None:
    """Enter the surroundings that argv names, and exec the command behind `--`."""
    call = argv[4:]
    os.execvpe(call[0], call, enter([name for name in argv[1].split(",") if name], argv[2]))


if __name__ == "__main__":
    main(sys.argv)
