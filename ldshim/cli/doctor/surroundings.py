"""What this process finds around it: jobservers, CPUs, memory, slots, features of the kernel, the installation. For `ldshim doctor`.

Every value comes from the module that a link uses, so the report shows what a link would see. Everything is read-only: a jobserver is
opened and closed and no byte is read, and locks are looked up, not taken. Each function returns one object of the report, ready for JSON;
__init__.py describes the keys.

jobservers() is called first: it checks the descriptors that MAKEFLAGS names, and a file that we open earlier could get such a number.
"""

from __future__ import annotations

import importlib.util
import os
import sys

from ... import __version__, analysis
from ...backends import remote
from ...call import clock, descriptors, own_directory, processes
from ...call.environment import VARIABLES, slurp
from ...call.real_tool import show
from ...decide import budget, memory_estimate, mode
from ...reserve import cpus, jobserver, limits, makeflags, memory, memory_ledger, promises, recover
from ...reserve.lease import Lease
from ...reserve.pressure import Pressure
from . import holders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...call.environment import Environment, Settings
    from .. import terminal

    Report = dict[str, Any]

NOT_SET = "not set"
TURNED_OFF = "turned off by LDSHIM_RECOVER=0"


def jobservers(environment: Environment, settings: Settings) -> list[Report]:
    """Try each jobserver that a link would try, in the same order. Count the tokens, and take none."""
    out = []
    for variable in makeflags.VARIABLES:
        name, value = variable.decode(), environment.get(variable)
        if not value:
            out.append(_candidate(name, NOT_SET))
            continue
        client, reasons = jobserver.find([(name, value)])
        auth = makeflags.parse(value)
        named = auth.kind != "none" or auth.reason != makeflags.ABSENT
        out.append(_candidate(name, client or reasons[0].partition(": ")[2], named=named))
    out.append(_candidate("recovery", recover.recover() if settings.recover else TURNED_OFF))
    return out


def _candidate(name: str, found: jobserver.Jobserver | str, *, named: bool = False) -> Report:
    if isinstance(found, str):
        return {"from": name, "named": named, "usable": False, "jobserver": "", "tokens": 0, "jobs": 0, "reason": found}
    try:
        return {
            "from": name,
            "named": named,
            "usable": True,
            "jobserver": found.name,
            "tokens": found.available(),
            "jobs": found.jobs,
            "reason": "",
        }
    finally:
        found.close()


def processors(settings: Settings) -> Report:
    """Count the CPUs as a link does, and name what limits the count."""
    number, reason = cpus.counted(replaced_by=settings.cpus)
    limit = cpus.quota()
    return {"affinity": cpus.affinity(), "quota": None if limit is None else round(limit, 2), "counted": number, "reason": reason}


def memory_room(environment: Environment) -> Report:
    """Return the available memory, the cgroup limit, what other links were promised and do not use yet, and who waits: bytes."""
    path = own_directory.directory(environment.get)
    directory = own_directory.open_directory(path) if isinstance(path, bytes) else path
    entries = []
    if isinstance(directory, int):
        entries = promises.read(directory)
        os.close(directory)
    limits_set = [each.total for each in memory.ceilings() if each.identity != memory.HOST]
    return {
        "available": memory.available(),
        "cgroup_limit": min(limits_set, default=None),
        "promised": sum(each.needs for each in entries if not each.waits),
        "waiting": [_waiter(each) for each in sorted(entries, key=lambda each: each.since) if each.waits],
        "pressure": Pressure(1).now(),
    }


def _waiter(entry: promises.Entry) -> Report:
    name = os.fsdecode(holders.command(entry.link)) if entry.here else ""
    return {"link": entry.link, "command": name, "wants": entry.wants, "seconds": round(max(0.0, clock.now() - entry.since), 1)}


def slots(environment: Environment, count: int) -> Report:
    """List the links that hold slots. count: how many slots this process may use."""
    path = own_directory.directory(environment.get)
    path = own_directory.why_no_locks(path) or path if isinstance(path, bytes) else path
    held = holders.find(path if isinstance(path, bytes) else b"")
    taken = {slot for each in held for slot in each.slots if slot < count}
    return {
        "directory": os.fsdecode(path) if isinstance(path, bytes) else "",
        "reason": path if isinstance(path, str) else "",
        "count": count,
        "held": len(taken),
        "waiting": sum(each.waits for each in held),
        "links": [
            {
                "warden": each.pid,
                "link": each.link,
                "command": os.fsdecode(holders.command(each.link)) if each.link else "",
                "slots": each.slots,
                "shares": each.shares,
                "waits": each.waits,
            }
            for each in held
        ],
    }


def next_link(environment: Environment, settings: Settings, report: Report) -> Report:
    """Return what an LTO link that can use any number of threads would get now. report: complete except for this part.

    A real link is also bounded by its partitions or modules, and by the memory that is estimated from the size of its IR. `ldshim
    explain` shows those, because it has the arguments of the link.
    """
    if settings.disable:
        return {"threads": None, "most": None, "source": "none", "reason": "LDSHIM_DISABLE=1: every tool runs unchanged"}
    refused = analysis.untouched()
    if refused:
        return {"threads": None, "most": None, "source": "none", "reason": f"{refused}: every tool runs unchanged"}
    bounds = limits.collect(environment, settings)
    if settings.mem_per_job:
        need = memory_estimate.Footprint(0, settings.mem_per_job, " (LDSHIM_MEM_PER_JOB)")
        bounds = bounds.within(memory_ledger.promise(environment.get, need, os.getpid()).ceiling())
    usable = [each for each in report["jobservers"] if each["usable"]]
    lease, jobs = Lease(), 0
    if settings.jobs:
        lease = Lease("pin")
    elif usable:
        lease, jobs = Lease("recovered" if usable[0]["from"] == "recovery" else "jobserver", usable[0]["jobserver"]), usable[0]["jobs"]
    elif report["slots"]["directory"]:
        lease = Lease("slots")
    decided = budget.for_lto(mode.Mode("thin", budget.UNLIMITED, ""), settings, lease, bounds, jobs)
    now = decided.number
    if lease.source in ("jobserver", "recovered"):
        now = 1 + min(usable[0]["tokens"], decided.number - 1)
    elif lease.source == "slots":
        now = max(1, min(decided.number, _free_slots(report["slots"])))
    return {
        "threads": now,
        "most": decided.number,
        "source": decided.source,
        "reason": decided.reason,
    }


def _free_slots(found: Report) -> int:
    """Count the slots that a new link could lock: the free ones, at most an even share while others wait (reserve/slots.py)."""
    free = int(found["count"]) - int(found["held"])
    sharers = sum(each["shares"] for each in found["links"])
    return min(free, found["count"] // (sharers + 1)) if found["waiting"] else free


def kernel(directory: str) -> Report:
    """Try each feature of the system that ldshim uses. directory: of the slots, where flock is tried; "" for none."""
    flock = not own_directory.why_no_locks(os.fsencode(directory or os.path.dirname(os.path.abspath(__file__))))
    return {
        "release": os.uname().release,
        "proc": _own_proc(),
        "children": processes.lists_children() or not processes.is_there(),
        "pidfd": _pidfd(),
        "flock": flock,
        "sched_setaffinity": _affinity(),
        "descriptors": not descriptors.are_scarce(),
        "null": _null(),
        "clock": clock.is_true(),
        "cwd": _cwd(),
    }


def _null() -> bool:
    try:
        os.close(os.open(b"/dev/null", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _cwd() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _own_proc() -> bool:
    try:
        return os.readlink(b"/proc/self") == b"%d" % os.getpid()
    except OSError:
        return False


def _pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _affinity() -> bool:
    try:
        os.sched_setaffinity(0, os.sched_getaffinity(0))
    except OSError:
        return False
    return True


def remote_service(environment: Environment, progress: terminal.Progress) -> Report | None:
    """Ask the service of LDSHIM_REMOTE what it can do, as a link would: at most 1 s. None when it is not set."""
    if not remote.asked(environment):
        return None
    settings = remote.read(environment)
    address = settings.address
    shown = "" if address is None else "exec: " + show(address.prefix) if address.prefix else address.target
    progress.say(f"asking {shown}")
    service = remote.connect(settings, lambda _: None)
    if not isinstance(service, str):
        service.close()
    return {
        "address": shown,
        "jobs": settings.jobs,
        "reason": service.removeprefix("ldshim: LDSHIM_REMOTE: ") if isinstance(service, str) else "",
    }


def settings_in_force(environment: Environment, settings: Settings) -> Report:
    """List the variables of ours that are set, and the malformed ones. names.py checks the values of LDSHIM_REAL_*."""
    names = [name for name, _, _, _ in VARIABLES if environment.get(name)]
    names += [name for name in environment.keys() if name.startswith(b"LDSHIM_REAL_")]  # noqa: SIM118  no dict: it has no __iter__
    complaints = [line.partition(": ")[2] for line in settings.complaints]
    if settings.log and not _can_be_written(settings.log):
        complaints.append(f"LDSHIM_LOG: cannot be written: {show(settings.log)}")
    return {"variables": {os.fsdecode(name): os.fsdecode(environment.get(name)) for name in dict.fromkeys(names)}, "complaints": complaints}


def _can_be_written(path: bytes) -> bool:
    try:
        kind = os.stat(path).st_mode & 0o170000
    except OSError:
        return os.access(os.path.dirname(path), os.W_OK)
    # Not a FIFO: one without a reader gets no line of the log.
    return kind in (0o100000, 0o020000) and os.access(path, os.W_OK)


def installation(environment: Environment) -> Report:
    """Return the interpreter, the package and the state of its .pyc files: without them a link takes four times as long to start."""
    package = os.path.dirname(os.path.abspath(analysis.__file__))
    states = {"fresh": 0, "stale": 0, "missing": 0}
    for top, directories, names in os.walk(package):
        # A link imports nothing from cli.
        directories[:] = [name for name in directories if name not in ("cli", "__pycache__")]
        for name in names:
            if name.endswith(".py"):
                states[_compiled(os.path.join(top, name))] += 1
    return {
        "version": __version__,
        "python": sys.executable,
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "package": package,
        "compiled": {**states, "writable": os.access(package, os.W_OK)},
        "make": analysis.find_make(environment) is not None,
    }


def _compiled(source: str) -> str:
    """Classify the .pyc file of a module as the import system does: fresh, stale or missing."""
    try:
        cached = slurp(os.fsencode(importlib.util.cache_from_source(source)))
        status = os.stat(source)
    except (NotImplementedError, OSError):
        return "missing"
    flags, first, second = (int.from_bytes(cached[at : at + 4], "little") for at in (4, 8, 12))
    if cached[:4] != importlib.util.MAGIC_NUMBER or flags > 3:
        return "stale"
    if flags & 1:  # PEP 552: checked by the hash of the source, and only if bit 1 is set
        fresh = not flags & 2 or cached[8:16] == importlib.util.source_hash(slurp(os.fsencode(source)))
    else:
        fresh = (first, second) == (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    return "fresh" if fresh else "stale"
