"""`ldshim doctor` sees what a link would see, takes nothing of it, and names what is in the way."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ldshim.call.real_tool import MARK
from ldshim.cli import doctor
from ldshim.reserve import jobserver, makeflags, parent_make, promises
from tests.process.test_slots import is_locked
from tests.support import screen, surroundings, tools
from tests.support.pool import Pool
from tests.support.program import bare_environment
from tests.support.shim import ROOT, script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shim import Shim

pytestmark = pytest.mark.matrix

COLUMNS = 80


class Place:
    """A place to call the doctor from: a link farm first on PATH, then the tools. env: of the call; runtime: its XDG_RUNTIME_DIR."""

    def __init__(self, shim: Shim, place: Path) -> None:
        self.shim = shim
        self.place = place
        self.tools = place / "tools"
        self.tools.mkdir()
        for name in ("gcc", "ld", "make", "sh"):
            (self.tools / name).symlink_to(tools.need(name))
        self.farm = place / "farm"
        self.runtime = place / "runtime"
        self.runtime.mkdir(mode=0o700)
        self.env = {
            **bare_environment(XDG_RUNTIME_DIR=str(self.runtime), PATH=str(self.tools), PYTHONPATH=str(ROOT)),
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm",
        }
        subprocess.run([shim.command, "link-farm", str(self.farm), "gcc", "ld"], env=self.env, check=True, stdout=subprocess.DEVNULL)
        self.env["PATH"] = f"{self.farm}{os.pathsep}{self.tools}"

    def ask(self, pass_fds: tuple[int, ...] = (), /, **more: str) -> dict[str, Any]:
        """Call `doctor --json`: its report. The exit status is checked against it."""
        command = [self.shim.command, "doctor", "--json"]
        done = subprocess.run(command, env={**self.env, **more}, stdout=subprocess.PIPE, check=False, timeout=60, pass_fds=pass_fds)
        report: dict[str, Any] = json.loads(done.stdout)
        assert (not report["ready"], not report["ready"]) == (bool(done.returncode), bool(report["attention"]))
        return report

    def files(self) -> set[str]:
        """List every file below, without the cache of the tools' versions, which the doctor may fill."""
        return {str(path) for path in self.place.rglob("*") if not path.name.startswith("tool-") and path != self.runtime / "ldshim"}


@pytest.fixture
def here(shim: Shim, tmp_path: Path) -> Place:
    """Provide a place where links would be helped."""
    return Place(shim, tmp_path)


def tool(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what the report says of one name."""
    return next(each for each in report["tools"] if each["name"] == name)


def candidate(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what the report says of one jobserver."""
    return next(each for each in report["jobservers"] if each["from"] == name)


def about(report: dict[str, Any]) -> list[str]:
    """Name what needs attention."""
    return [name for point in report["attention"] for name in point["about"]]


def test_all_is_well(here: Place) -> None:
    """Behind a farm that stands first, each tool is found with its family; nothing needs attention, and nothing was left behind."""
    before = here.files()
    report = here.ask()
    assert (True, []) == (report["ready"], report["attention"])
    assert ["ldshim", "link farm", str(here.farm / "gcc"), str(here.tools / "gcc"), "gcc"] == [
        tool(report, "gcc")[key] for key in ("way", "through", "first", "real", "family")
    ]
    assert ("absent", "") == (tool(report, "mold")["way"], tool(report, "mold")["real"])
    assert ["slots", report["cpus"]["counted"], len(os.sched_getaffinity(0))] == [
        report["next"]["source"], report["next"]["threads"], report["cpus"]["affinity"]
    ]  # fmt: skip
    assert before == here.files()


def test_the_documented_keys_are_those_of_the_report(here: Place) -> None:
    """--json prints one object with the keys that the module promises, in its words."""
    report = here.ask()
    assert doctor.__doc__
    promised = [
        line.split()[0] for line in doctor.__doc__.partition("--json prints")[2].splitlines() if line[:5] == "    " + line[4:5].strip()
    ]
    assert promised[:] == list(dict.fromkeys(promised))
    assert sorted(promised) == sorted(report)
    for key in ("tools", "jobservers"):
        assert all(f"{name}" in doctor.__doc__ for name in report[key][0])


@pytest.mark.parametrize("style", ["pipe", "fifo"])
def test_tokens_are_counted_and_stay_where_they_are(style: str, here: Place) -> None:
    """C14: three tokens of a jobserver are seen and none is taken: the pool is recounted."""
    with Pool(style=style) as pool:
        report = here.ask(pool.pass_fds, MAKEFLAGS=pool.makeflags, MFLAGS=pool.makeflags.strip(), LDSHIM_CPUS="8")
        assert 3 == pool.available()
    found = candidate(report, "MAKEFLAGS")
    assert (True, 3, 4, style) == (found["usable"], found["tokens"], found["jobs"], found["jobserver"].split()[0])
    assert (True, True) == (candidate(report, "MFLAGS")["usable"], report["ready"])
    assert (4, 4, "jobserver") == tuple(report["next"][key] for key in ("threads", "most", "source"))


def test_what_others_have_taken_is_not_there(here: Place) -> None:
    """A link that starts now gets what lies there now, and may grow to make's -j."""
    with Pool() as pool:
        taken = pool.take(2)
        report = here.ask(pool.pass_fds, MAKEFLAGS=pool.makeflags, LDSHIM_CPUS="8")
        pool.give(taken)
    assert (1, 2, 4) == (candidate(report, "MAKEFLAGS")["tokens"], report["next"]["threads"], report["next"]["most"])


def stale(place: Path, how: str) -> tuple[str, str]:
    """Make a jobserver that works no more: (MAKEFLAGS, the reason)."""
    fifo = place / "fifo"
    if how == "unserved":
        os.mkfifo(fifo)
    return {
        "closed": (" -j4 --jobserver-auth=97,98", jobserver.CLOSED),
        "unserved": (f" -j4 --jobserver-auth=fifo:{fifo}", jobserver.NO_SERVER),
        "missing": (f" -j4 --jobserver-auth=fifo:{fifo}", jobserver.MISSING),
        "withheld": (" -j4 --jobserver-auth=3,4 --jobserver-auth=-2,-2", makeflags.WITHHELD),
    }[how]


@pytest.mark.parametrize("how", ["closed", "unserved", "missing", "withheld"])
def test_a_jobserver_that_works_no_more_is_named(how: str, here: Place) -> None:
    """C11: a stale jobserver has its reason and costs the exit status; a fifo without a server does not hang, and slots take its place."""
    words, reason = stale(here.place, how)
    report = here.ask(MAKEFLAGS=words)
    found = candidate(report, "MAKEFLAGS")
    assert (False, reason) == (found["usable"], found["reason"])
    assert (["MAKEFLAGS"], "slots") == (about(report), report["next"]["source"])
    assert reason == report["attention"][0]["problem"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("grpc://127.0.0.1:1", "127.0.0.1:1: Connection refused"),
        ("exec: nosuchcommand {command}", "nosuchcommand is not found"),
        ("nonsense", "not understood, nothing runs remotely: 'nonsense'"),
    ],
)
def test_a_service_that_is_of_no_use_is_named(here: Place, value: str, reason: str) -> None:
    """C30: every backend would run here; the reason is that of a link."""
    report = here.ask(LDSHIM_REMOTE=value)
    assert (["LDSHIM_REMOTE"], reason) == (about(report), report["remote"]["reason"][: len(reason)])
    assert report["attention"][0]["problem"].startswith(f"all backends run here: {reason}")


def test_no_service_is_asked_for_without_the_variable(here: Place) -> None:
    """An empty value counts as unset, and a command that is there is not run."""
    assert here.ask(LDSHIM_REMOTE="")["remote"] is None
    command = f"exec: {sys.executable} -c 'import os; os.mkdir(\"{here.place}/ran\")' {{command}}"
    found = here.ask(LDSHIM_REMOTE=command, LDSHIM_REMOTE_JOBS="7")["remote"]
    assert {"address": command, "jobs": 7, "reason": ""} == found
    assert not (here.place / "ran").exists()


def test_a_file_under_the_jobservers_number_keeps_its_bytes(here: Place) -> None:
    """C12: descriptors that are a file by now are named as that, and nothing is read from it."""
    with open(here.place / "file", "w+b") as file:
        file.write(b"+++")
        file.flush()
        file.seek(0)
        words = f" -j4 --jobserver-auth={file.fileno()},{file.fileno()}"
        assert jobserver.NOT_PIPE == candidate(here.ask((file.fileno(),), MAKEFLAGS=words), "MAKEFLAGS")["reason"]
        assert 0 == os.lseek(file.fileno(), 0, os.SEEK_CUR)


def test_words_without_a_jobserver_are_no_complaint(here: Place) -> None:
    """A MAKEFLAGS that names none is no defect: links share slots, at most as many as its -j."""
    report = here.ask(MAKEFLAGS=" -j1")
    assert (True, makeflags.ABSENT, 1) == (report["ready"], candidate(report, "MAKEFLAGS")["reason"], report["next"]["most"])


def under_make(here: Place, make: str, line: str, *options: str, **more: str) -> dict[str, Any]:
    """Call the doctor in a recipe of `make -j4`: its report. make complains about every token that it misses."""
    out = here.place / "out"
    (here.place / "Makefile").write_text(f"all:\n\t{line.replace('DOCTOR', f'{here.shim.command} doctor --json >{out}')}\n")
    env = {**here.env, **more, "PATH": f"{here.env['PATH']}{os.pathsep}{os.environ['PATH']}"}
    command = [make, "-s", "-j4", *options, "-C", str(here.place)]
    said = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120)
    assert b"" == said.stdout
    report: dict[str, Any] = json.loads(out.read_bytes())
    return report


def test_a_jobserver_that_make_withheld_is_recovered(here: Place) -> None:
    """C11: in a recipe without +, under make 4.3, MAKEFLAGS is named as not usable, and the recovered jobserver is what counts."""
    report = under_make(here, tools.make43(), "DOCTOR || :", LDSHIM_CPUS="8")
    named, recovered = candidate(report, "MAKEFLAGS"), candidate(report, "recovery")
    assert (False, True, jobserver.CLOSED) == (named["usable"], named["named"], named["reason"])
    assert (True, 3, 4) == (recovered["usable"], recovered["tokens"], recovered["jobs"])
    assert ("recovered", 4, True) == (report["next"]["source"], report["next"]["threads"], report["ready"])


def test_recovery_that_is_turned_off_leaves_it_withheld(here: Place) -> None:
    """C11: with LDSHIM_RECOVER=0 the same recipe needs attention."""
    report = under_make(here, tools.make43(), "DOCTOR || :", LDSHIM_RECOVER="0")
    assert (False, ["MAKEFLAGS"], "slots") == (candidate(report, "recovery")["usable"], about(report), report["next"]["source"])
    assert {"LDSHIM_RECOVER": "0"} == report["settings"]["variables"]


@pytest.mark.parametrize("make", ["make43", "make44"])
def test_a_recipe_that_make_serves(make: str, here: Place) -> None:
    """C11: with +, or with a fifo, the jobserver is usable at once."""
    report = under_make(here, getattr(tools, make)(), "+DOCTOR || :")
    found = candidate(report, "MAKEFLAGS")
    assert (True, 3, "jobserver", True) == (found["usable"], found["tokens"], report["next"]["source"], report["ready"])


LINK = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ldshim.call.environment import read_environment
from ldshim.warden import handover
from ldshim.warden.reservation import Reservation
from ldshim.reserve import slots
environment = read_environment()
lease = slots.connect(environment.get, int(sys.argv[2]))
left = handover.leave_warden(Reservation(lease, int(sys.argv[3]), "fixed", environment))
os.write(1, b"%d\\n" % left.taken)
handover.replace_process(b"/bin/sh", [b"a-link", b"-c", b"read end"], environment)
"""


# What an elastic warden does for a link that got no slot: it goes on waiting for one.
WAITING = LINK.partition("left =")[0] + "os.write(1, b'%d\\n' % lease.grow(int(sys.argv[3]))); sys.stdin.read()"


@contextlib.contextmanager
def link(here: Place, count: int, most: int, program: str = LINK) -> Iterator[tuple[int, int]]:
    """Run a link under a warden that holds slots: (its pid, the tokens it was told). It ends with its stdin."""
    command = [sys.executable, "-c", program, str(ROOT), str(count), str(most)]
    with subprocess.Popen(command, env=here.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield process.pid, int(process.stdout.readline())


def locked(here: Place) -> list[str]:
    """List the slots that are locked, by trying."""
    return sorted(path.name for path in (here.runtime / "ldshim").glob("slot-*") if is_locked(path))


def test_who_holds_the_slots_and_who_waits(here: Place) -> None:
    """C16: a live link is named with its pid, its command and its slots, a second one as waiting; a look changes none of that."""
    count = len(os.sched_getaffinity(0))
    with link(here, count, count - 1) as (first, told), link(here, count, count, WAITING) as (second, nothing):
        assert (count - 1, 0) == (told, nothing)
        held = locked(here)
        report = here.ask()
        assert held == locked(here)
    running, waiting = sorted((each for each in report["slots"]["links"] if each["shares"]), key=lambda each: bool(each["waits"]))
    assert (first, "a-link", list(range(count)), False) == tuple(running[key] for key in ("link", "command", "slots", "waits"))
    assert (second, 0, [], True) == tuple(waiting[key] for key in ("warden", "link", "slots", "waits"))
    assert running["warden"] not in (first, 0)
    assert (count, count, 1, 1) == (
        report["slots"]["count"],
        report["slots"]["held"],
        report["slots"]["waiting"],
        report["next"]["threads"],
    )


def test_slots_of_dead_links_are_free(here: Place) -> None:
    """C16: the files that links leave behind hold nothing."""
    with link(here, 2, 1):
        pass
    (here.runtime / "ldshim" / "link-1").touch()
    report = here.ask()
    assert (0, 0) == (report["slots"]["held"], report["slots"]["waiting"])
    assert not any(each["shares"] for each in report["slots"]["links"])


@contextlib.contextmanager
def promised(here: Place, pid: int, *, waits: bool) -> Iterator[None]:
    """Hold a promise of 8 GB in the name of a process, as its warden would."""
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    with open(here.runtime / "ldshim" / f"memory-{pid}.{started}", "w+b") as book:
        fcntl.flock(book, fcntl.LOCK_EX)
        book.write(promises.render(waits, 1 << 33, 1 << 33, 0.0, ()))
        book.flush()
        yield


def test_a_promise_of_memory_is_told(here: Place) -> None:
    """C17: what a living link was promised and does not use yet is part of the report."""
    with link(here, 2, 1) as (pid, _), promised(here, pid, waits=False):
        found = here.ask()["memory"]
    assert (1 << 33, []) == (found["promised"], found["waiting"])


def test_who_waits_for_memory_is_told(here: Place) -> None:
    """C25: a waiter has been promised nothing; the report says who it is, for how much it waits, and how long it has."""
    with link(here, 2, 1) as (pid, _), promised(here, pid, waits=True):
        found = here.ask()["memory"]
        text = subprocess.run([here.shim.command, "doctor"], env=here.env, capture_output=True, check=False, timeout=60).stdout.decode()
    (waiter,) = found["waiting"]
    assert (0, pid, 1 << 33) == (found["promised"], waiter["link"], waiter["wants"])
    assert f"waits      pid {pid} " in text
    assert "for 8.0 GB of memory" in " ".join(text.split())


def test_a_farm_that_stands_too_far_back(here: Place) -> None:
    """C6: a farm behind the tools is never asked; one point says so for all of them, with what to do."""
    report = here.ask(PATH=f"{here.tools}{os.pathsep}{here.farm}")
    assert ("behind", ["gcc", "ld"], 1) == (tool(report, "gcc")["way"], about(report), len(report["attention"]))
    assert f"put {here.farm} before {here.tools}" == report["attention"][0]["action"]


def test_no_way_to_ldshim(here: Place) -> None:
    """A PATH on which nothing leads to ldshim is named."""
    report = here.ask(PATH=str(here.tools))
    assert ("direct", ["PATH"]) == (tool(report, "gcc")["way"], about(report))


def test_a_link_to_ldshim_is_a_way_as_well(here: Place) -> None:
    """C6: a symlink named like the tool leads to ldshim without a farm."""
    report = here.ask(PATH=f"{here.shim.only(here.place / 'only', 'gcc')}{os.pathsep}{here.tools}")
    assert ("ldshim", "symlink", "direct") == (tool(report, "gcc")["way"], tool(report, "gcc")["through"], tool(report, "ld")["way"])
    assert report["ready"]


def test_a_masquerade_in_front_comes_to_us(here: Place) -> None:
    """C6: ccache before the farm finds the farm behind itself: nothing is wrong, and the real tool is named."""
    masquerade = here.place / "ccache"
    masquerade.mkdir()
    (masquerade / "gcc").symlink_to(tools.need("ccache"))
    report = here.ask(PATH=f"{masquerade}{os.pathsep}{here.env['PATH']}")
    assert ("masquerade", str(here.tools / "gcc"), True) == (tool(report, "gcc")["way"], tool(report, "gcc")["real"], report["ready"])


@pytest.mark.parametrize(("name", "what"), [("ld", "interpreter"), ("gcc", "interpreter"), ("gcc", "package")])
def test_a_launcher_whose_interpreter_or_package_is_gone(name: str, what: str, here: Place) -> None:
    """C1: a path in a launcher that does not exist any more is named, with the command that writes the launcher again."""
    launcher = here.farm / name
    text = launcher.read_text()
    written = re.findall(r"_ldshim_python='(.*)'" if what == "interpreter" else r"sys\.path \+= \['([^']*)'", text)[0]
    launcher.write_text(text.replace(written, "/nowhere"))
    report = here.ask()
    assert ([name], f"run ldshim link-farm --refresh {here.farm}") == (about(report), report["attention"][0]["action"])
    assert "/nowhere" in tool(report, name)["problem"]


def test_what_a_launcher_has_baked_in_is_the_real_tool(here: Place) -> None:
    """C6: the tool a launcher was made for is what runs, also where PATH has another one by now."""
    other = here.place / "other"
    other.mkdir()
    for name in ("gcc", "ld"):
        (other / name).symlink_to(here.tools / name)
    report = here.ask(PATH=os.pathsep.join(map(str, (here.farm, other, here.tools))))
    assert [str(here.tools / name) for name in ("gcc", "ld")] == [tool(report, name)["real"] for name in ("gcc", "ld")]


def test_a_wrapper_in_front_is_no_masquerade(here: Place) -> None:
    """C6: a link to a program that nobody knows may never come to us: the point says that it stands before ldshim."""
    wrapper = here.place / "host"
    wrapper.mkdir()
    (wrapper / "toolchain-wrapper").write_text(f'#!/bin/sh\nexec {tools.need("gcc")} "$@"\n')
    (wrapper / "toolchain-wrapper").chmod(0o755)
    (wrapper / "gcc").symlink_to("toolchain-wrapper")
    report = here.ask(PATH=f"{wrapper}{os.pathsep}{here.env['PATH']}")
    assert ("behind", True) == (tool(report, "gcc")["way"], "gcc" in about(report))


def test_a_tool_that_is_gone_behind_its_launcher(here: Place) -> None:
    """C6: a name that leads to ldshim, and nowhere from there."""
    (here.tools / "ld").unlink()
    report = here.ask()
    assert (["ld"], "") == (about(report), tool(report, "ld")["real"])
    assert "real tool not found" in tool(report, "ld")["problem"]


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"LDSHIM_JOBS": "many"}, "LDSHIM_JOBS"), ({"LDSHIM_DISABLE": "1"}, "LDSHIM_DISABLE"),
        ({"LDSHIM_REAL_GCC": "/nowhere/gcc"}, "gcc"), ({"LDSHIM_LOG": "/proc/no/log"}, "LDSHIM_LOG"), ({"LDSHIM_LOG": "/"}, "LDSHIM_LOG"),
    ],
)  # fmt: skip
def test_a_setting_that_is_in_the_way(env: dict[str, str], named: str, here: Place) -> None:
    """Each variable of ours that is malformed, leads nowhere or turns everything off is named."""
    report = here.ask(**env)
    assert ([named], env) == (about(report), report["settings"]["variables"])


def test_a_pin_needs_no_jobserver(here: Place) -> None:
    """C11: with LDSHIM_JOBS no jobserver is read, so a stale one is no complaint."""
    report = here.ask(LDSHIM_JOBS="7", MAKEFLAGS=" -j4 --jobserver-auth=97,98")
    assert (7, "pin", True) == (report["next"]["threads"], report["next"]["source"], report["ready"])


def test_memory_bounds_what_a_link_gets(here: Place) -> None:
    """C17: with LDSHIM_MEM_PER_JOB the number is what there is memory for, and the reason says so."""
    report = here.ask(LDSHIM_MEM_PER_JOB="900G")
    assert 1 == report["next"]["threads"]
    assert "memory: 1 job of 900.0 GB" in report["next"]["reason"] or report["cpus"]["counted"] == 1


def test_a_directory_that_others_can_write(here: Place) -> None:
    """C16: a slots directory that is not ours alone is named, and nothing is shared."""
    (here.runtime / "ldshim").mkdir(exist_ok=True)
    (here.runtime / "ldshim").chmod(0o777)
    report = here.ask()
    assert (["slots"], "none", "") == (about(report), report["next"]["source"], report["slots"]["directory"])


def test_compiled_files_that_nobody_can_write(here: Place) -> None:
    """C23: each module of the hot path is judged as the import system would: fresh, stale or missing."""
    package = here.place / "copy" / "ldshim"
    shutil.copytree(ROOT / "ldshim", package, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-f", str(package)], check=True)
    code = (
        "from ldshim.cli.doctor.surroundings import installation; from ldshim.call import environment as e; "
        "print(installation(e.read_environment())['compiled'])"
    )

    def counts() -> dict[str, Any]:
        env = {**here.env, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        said = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, check=True, cwd=package.parent).stdout
        found: dict[str, Any] = json.loads(said.replace(b"'", b'"').replace(b"True", b"true").replace(b"False", b"false"))
        return found

    whole = counts()
    assert (0, 0) == (whole["stale"], whole["missing"])
    Path(importlib.util.cache_from_source(package / "analysis.py")).unlink()
    (package / "decide/mode.py").write_text((package / "decide/mode.py").read_text() + "\n")
    assert (whole["fresh"] - 2, 1, 1) == tuple(counts()[state] for state in ("fresh", "stale", "missing"))


def test_a_wrong_command_line(here: Place) -> None:
    """Exit status 2, and nothing on stdout."""
    done = subprocess.run([here.shim.command, "doctor", "--no-such"], env=here.env, capture_output=True, check=False)
    assert (2, b"") == (done.returncode, done.stdout)


def test_a_page_for_a_terminal(here: Place) -> None:
    """On 80 columns no line is longer, nothing of the progress is left, and the last line says that all is well."""
    with Pool(style="fifo") as pool:
        seen = screen.run([here.shim.command, "doctor"], {**here.env, "MAKEFLAGS": pool.makeflags}, COLUMNS)
    assert (0, "ready:") == (seen.status, seen.lines[-1].split()[0])
    assert [] == [line for line in seen.lines if len(line) > COLUMNS]
    assert "asking gcc what it is" in seen.raw
    assert not any("what it is" in line for line in seen.lines if "PATH leads" not in line)
    assert "\x1b[32mldshim\x1b[0m" in seen.raw


def test_what_is_wrong_is_a_word(here: Place) -> None:
    """With NO_COLOR the page has no escape of colour, and a word marks each thing that is wrong; the last line says what to do first."""
    env = {**here.env, "PATH": f"{here.tools}{os.pathsep}{here.farm}", "NO_COLOR": "1", "MAKEFLAGS": stale(here.place, "unserved")[0]}
    seen = screen.run([here.shim.command, "doctor"], env, COLUMNS)
    summary = next(number for number, line in enumerate(seen.lines) if line.startswith("attention: 2 things"))
    last = "".join("".join(seen.lines[summary:]).split())  # it is as many lines as the paths need
    assert (1, True) == (seen.status, last.endswith(f"first:put{here.farm}before{here.tools}"))
    page = "\n".join(seen.lines)
    assert all(word in page for word in ("BEHIND", "NOT USABLE", "Needs attention"))
    assert "\x1b[3" not in seen.raw


def test_a_pipe_gets_the_same_page_whole(here: Place) -> None:
    """In a pipe there is no escape and no word about progress, and no path is cut."""
    done = subprocess.run([here.shim.command, "doctor"], env=here.env, capture_output=True, check=True, timeout=60)
    assert b"" == done.stderr
    assert b"\x1b" not in done.stdout
    assert os.fsencode(here.tools / "gcc") in done.stdout
    assert done.stdout.splitlines()[-1].startswith(b"ready:")


def test_a_tool_that_nobody_knows_is_noted(here: Place) -> None:
    """C20: a tool behind ldshim whose family is not certain runs unchanged, which is said of it and is no defect."""
    directory = here.place / "a\nb\x1b[31m\udcff"
    directory.mkdir()
    script(directory / "ld.lld", "echo something else")
    path = os.pathsep.join(map(str, (here.shim.only(here.place / "only", "ld.lld"), directory, here.env["PATH"])))
    assert (True, "ldshim") == (here.ask(PATH=path)["ready"], tool(here.ask(PATH=path), "ld.lld")["way"])
    done = subprocess.run([here.shim.command, "doctor"], env={**here.env, "PATH": path}, capture_output=True, check=True, timeout=60)
    lines = done.stdout.splitlines()
    row, note = next((row, note) for row, note in zip(lines, lines[1:]) if row.startswith(b"  ld.lld "))
    assert [b"ld.lld", b"ldshim", b"not", b"certain"] == row.split()[:4]
    assert row.endswith(b"/a\\nb\\x1b[31m\\udcff/ld.lld")
    assert b"not certain what it is: runs unchanged" == note.strip()


def test_a_mark_alone_makes_no_way(here: Place) -> None:
    """C6: a directory with our mark and no launcher leads nowhere."""
    empty = here.place / "empty"
    empty.mkdir()
    (empty / os.fsdecode(MARK)).touch()
    assert ["PATH"] == about(here.ask(PATH=f"{empty}{os.pathsep}{here.tools}"))


def test_no_make_among_the_ancestors_is_said(here: Place) -> None:
    """C11: outside a build the reason why nothing is recovered is the one that a link would log."""
    assert candidate(here.ask(), "recovery")["reason"] in (parent_make.NO_MAKE, parent_make.OTHER_USER, parent_make.NO_MAKEFLAGS)


# surroundings: the key of the report that says so, and what it says of a link.
MISSING = {
    "no-proc": ("proc", None),
    "no-children": ("children", "slots"),
    "no-pidfd": ("pidfd", "slots"),
    "no-flock": ("flock", "none"),
    "no-affinity": ("sched_setaffinity", "slots"),
    "few-descriptors": ("descriptors", None),
    "no-dev": ("null", "slots"),
    "frozen-clock": ("clock", "slots"),
    "jumping-clock": ("clock", "slots"),
    "cwd-removed": ("cwd", "slots"),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_around_a_link_is_named(name: str, here: Place, tmp_path: Path) -> None:
    """C1: each facility that a link would miss is one point with a problem of its own, and the page names it; the rest is as usual."""
    surroundings.need((name,))
    key, source = MISSING[name]
    front = surroundings.command((name,), surroundings.build_preload(tmp_path, tools.need_c_library()))
    front += [sys.executable, "-m", "ldshim"]  # the installed command keeps LD_PRELOAD from Python
    done = subprocess.run([*front, "doctor", "--json"], env=here.env, capture_output=True, check=False, timeout=60)
    report: dict[str, Any] = json.loads(done.stdout)
    lacking = [feature for feature, works in report["kernel"].items() if not works]
    assert (1, b"", [key]) == (done.returncode, done.stderr, lacking)
    assert doctor.FEATURES[key] in [point["problem"] for point in report["attention"]]
    assert (source is None, source or "none") == (report["next"]["threads"] is None, report["next"]["source"])
    page = subprocess.run([*front, "doctor"], env=here.env, capture_output=True, check=False, timeout=60)
    assert (1, True, b"") == (page.returncode, f"MISSING: {key}".encode() in page.stdout, page.stderr)
