"""A jobserver that a real make withheld is fetched from it, through whatever stands between; a stranger's pipe never is (C11, C12, C14).

Each recipe is not marked with `+`, so make kept its descriptors. Real makes: 4.3, which knows no other style, and 4.4.1 with
--jobserver-style=pipe. make itself recounts: it complains at its end about every token too few or too many; the output is compared whole.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import pytest

from ldshim.reserve import jobserver, parent_make, recover
from tests.support import tools
from tests.support.program import bare_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
MAKES = [(tools.make43, ()), (tools.make44, ("--jobserver-style=pipe",))]

CLIENT = f"""#!{sys.executable} -IS
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from ldshim.reserve import parent_make, recover
found = recover.recover()
if isinstance(found, str):
    print(found)
else:
    print("recovered", found.take(9))
    found.close()
"""

# Only looks, and takes nothing: which jobserver the words of one variable lead to.
FINDER = f"""#!{sys.executable} -IS
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from ldshim.reserve import jobserver
found, reasons = jobserver.find([(sys.argv[1], os.fsencode(sys.argv[2]))])
print(found.name if found else "; ".join(reasons))
"""

# A program with pipes of its own on 3 and 4, inheritable, with a wake-up byte in them, as an event loop has it.
LOOP = f"""#!{sys.executable} -IS
import os, subprocess, sys
read_fd, write_fd = os.pipe()
os.dup2(read_fd, 13); os.dup2(write_fd, 14)
os.dup2(13, 3); os.dup2(14, 4)
os.write(4, b"wake")
subprocess.run(sys.argv[1:], close_fds=False, check=True)
os.write(4, b"!")
print("loop has", os.read(3, 9).decode())
"""


class Build:
    """A directory with a Makefile and the client in it. make: the program and its options."""

    def __init__(self, place: Path, make: Callable[[], str], options: Sequence[str]) -> None:
        self.place = place
        self.make = make()
        self.options = options
        for name, text in (("client", CLIENT), ("loop", LOOP)):
            path = place / name
            path.write_text(text)
            path.chmod(0o755)

    def run(self, line: str, *arguments: str, prefix: Sequence[str] = (), **files: str) -> str:
        """Run make with one recipe line: all that it prints, without make's own account of directories. files: more makefiles, by name."""
        for name, text in (("Makefile", line), *files.items()):
            (self.place / name).write_text(f"all:\n\t@{text}\n")
        command = [*prefix, self.make, *self.options, "--no-print-directory", *(arguments or ("-j4",))]
        ran = subprocess.run(
            command, cwd=self.place, env=bare_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=60
        )
        return ran.stdout.decode().strip()


@pytest.fixture(params=MAKES, ids=["4.3", "4.4.1"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """Provide a directory to build in, for each make."""
    make, options = request.param
    return Build(tmp_path, make, options)


@pytest.mark.parametrize(
    "line",
    [
        "./client",
        "sh -c 'sh -c \"./client; :\"; :'",
        "env -i ./client",
        "ulimit -n 256; ./client",
        "exec 3</etc/passwd 4>log; ./client",
        "setsid -w ./client",
    ],
)
def test_a_plain_recipe_gets_every_token(build: Build, line: str) -> None:
    """C11, C14: without `+`, all three tokens of -j4 come and go, whatever the shell does with 3 and 4 and the environment."""
    expected = "recovered 3" if line != "env -i ./client" else parent_make.NO_MAKEFLAGS
    assert expected == build.run(line)


def test_a_sub_make_lends_what_it_was_lent(build: Build) -> None:
    """C11: a recipe of a sub-make, which shares its parent's jobserver, asks the sub-make."""
    assert "recovered 3" == build.run("$(MAKE) -f sub", sub="./client")


def test_a_make_with_its_own_number_is_the_one_asked(build: Build) -> None:
    """C11: `make -j3` inside `make -j5` has a jobserver of its own, and its two tokens are what the recipe gets."""
    assert "recovered 2" == build.run("+$(MAKE) -j3 -f sub 2>/dev/null", "-j5", sub="./client")


def test_a_serial_sub_make_means_serial(build: Build) -> None:
    """C11: a sub-make forced to -j1 has no jobserver, and that of its parent is not for its recipes."""
    assert recover.SERIAL == build.run("+$(MAKE) -j1 -f sub 2>/dev/null", sub="./client")


def test_a_sub_make_that_lost_the_jobserver_has_none(build: Build) -> None:
    """C11: a make called without `+` could not use the jobserver, builds with -j1, and passes nothing on to ask for."""
    assert recover.SERIAL == build.run(f"{build.make} -f sub 2>/dev/null", sub="./client")


def test_a_serial_make_has_none(build: Build) -> None:
    """C11: -j1 has no jobserver to give."""
    assert recover.SERIAL == build.run("./client", "-j1")


def test_a_strangers_pipe_on_the_same_numbers_is_not_read(build: Build) -> None:
    """C12: an event loop between make and us owns pipes on 3 and 4: make's tokens come from make, the loop's byte stays where it is."""
    assert "recovered 3\nloop has wake!" == build.run("./loop ./client")


@pytest.mark.parametrize(
    ("variable", "words", "said"),
    [
        ("MAKEFLAGS", "$(MAKEFLAGS)", f"MAKEFLAGS: {jobserver.OTHER_PIPE}"),
        ("MFLAGS", "$(MFLAGS)", f"MFLAGS: {jobserver.OTHER_PIPE}"),
        ("MAKEFLAGS", " -j9 --jobserver-auth=3,4", "pipe 3,4"),  # not make's words: a pool started in the recipe, with its own numbers
        ("CARGO_MAKEFLAGS", "$(MAKEFLAGS)", "pipe 3,4"),
    ],
)
def test_inherited_pipes_that_make_did_not_give_are_not_used(variable: str, words: str, said: str, tmp_path: Path) -> None:
    """C12: the same loop lets us inherit its pipes; make has others under these numbers, so make's words are not about them.

    Words that are somebody else's (another -jN, or cargo's own variable) need no make to confirm them.
    """
    build = Build(tmp_path, tools.make43, ())
    (tmp_path / "client").write_text(FINDER)
    assert f"{said}\nloop has wake!" == build.run(f"./loop ./client {variable} '{words}'")


def test_a_loop_without_a_make_is_left_alone(tmp_path: Path) -> None:
    """C12: stale words and a stranger's pipe, and nobody above who is a make: not a byte is read."""
    Build(tmp_path, lambda: "", ())
    # An orphan's ancestors are known: otherwise this test would find a make that the tests themselves run under.
    orphan = (
        "import os, sys\n"
        "parent = os.getpid()\n"
        "if os.fork() == 0:\n"
        "    while os.getppid() == parent: os.sched_yield()\n"
        "    os.execv('./loop', ['./loop', './client'])\n"
    )
    environment = bare_environment(MAKEFLAGS=" -j4 --jobserver-auth=3,4")
    ran = subprocess.run([sys.executable, "-c", orphan], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True, timeout=60)
    assert f"{parent_make.NO_MAKE}\nloop has wake!\n" == ran.stdout.decode()


def test_a_ccache_between_changes_nothing(build: Build) -> None:
    """C11: ccache in front of a link starts the compiler itself."""
    assert "recovered 3" == build.run(f"CCACHE_DIR=. {tools.need('ccache')} ./client x.o -o x")


def test_fakeroot_between_changes_nothing(build: Build) -> None:
    """C11: fakeroot lies about the user, /proc does not: it is the same one all the way."""
    assert "recovered 3" == build.run(f"{tools.need('fakeroot')} ./client")
    assert "recovered 3" == build.run("./client", prefix=[tools.need("fakeroot")])


def test_a_linker_below_gcc_gets_what_the_driver_deleted(build: Build) -> None:
    """C11: GCC's driver removes the words it cannot use from MAKEFLAGS; a linker below collect2 recovers by what make gave the driver.

    make 4.4 writes two of them, the second with `-2,-2`; GCC 12 removes the first, GCC 14 the last.
    """
    bin_directory = build.place / "bin"
    bin_directory.mkdir()
    (bin_directory / "ld").write_text(CLIENT + "print(os.environ['MAKEFLAGS'].strip())\n")
    (bin_directory / "ld").chmod(0o755)
    (build.place / "x.o").touch()
    said = build.run(f"{tools.need(tools.GCC)} -Bbin -nostdlib x.o")
    assert "recovered 3" == said.split("\n")[0]
    assert said.count("--jobserver-auth=") == build.run('echo "$$MAKEFLAGS"').count("--jobserver-auth=") - 1


def test_another_user_is_not_served(build: Build) -> None:
    """C12: a recipe that became another user asks nobody."""
    if os.geteuid() != 0:
        tools.missing("root, to become another user")
    lines = CLIENT.replace("found = ", "os.setgroups([]); os.setgid(65534); os.setuid(65534)\nfound = ")
    (build.place / "client").write_text(lines)
    assert parent_make.OTHER_USER == build.run("./client")


def may_unshare(*options: str) -> str:
    """Find unshare, where this machine lets it do that: a chroot or a container may not mount a /proc."""
    unshare = tools.need("unshare")
    if subprocess.run([unshare, *options, "true"], capture_output=True, check=False).returncode:
        tools.missing(f"the right to unshare {' '.join(options)}")
    return unshare


def test_hidepid_hides_nothing_from_the_same_user(build: Build) -> None:
    """C11: with /proc mounted hidepid=2, an ordinary user still finds his own make."""
    if os.geteuid() != 0:
        tools.missing("root, to mount a /proc")
    mount = 'mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$@"'
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # not below pytest's, which only its owner may enter
        Path(place).chmod(0o755)
        inner = Build(Path(place), lambda: build.make, build.options)
        sees = "print(os.path.exists('/proc/1/status'))\n"
        (Path(place) / "client").write_text(CLIENT.replace(sys.executable, "/usr/bin/python3") + sees)
        said = inner.run("./client", prefix=[may_unshare("--mount-proc"), "-m", "sh", "-c", mount, "sh"])
    assert "recovered 3\nFalse" == said


def test_a_pid_namespace_under_the_outer_proc_is_not_trusted(build: Build) -> None:
    """C12: in a PID namespace with the outer /proc every number there is a stranger's; with its own /proc the make is out of reach."""
    if os.geteuid() != 0:
        tools.missing("root, to make a PID namespace")
    unshare = may_unshare("--pid", "--fork", "--mount-proc")
    assert parent_make.FOREIGN_PROC == build.run(f"{unshare} --pid --fork ./client")
    assert parent_make.NO_MAKE == build.run(f"{unshare} --pid --fork --mount-proc ./client")


def test_a_make_that_died_is_not_replaced_by_the_next(build: Build) -> None:
    """C12: when the make that ran the recipe is killed, the recipe has no make any more, though another one is running further up."""
    died = (
        "import os, signal, sys, time\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from ldshim.reserve import parent_make, recover\n"
        "make = parent_make.find().make\n"
        "os.kill(make, signal.SIGKILL)\n"
        "while parent_make.find() != parent_make.NO_MAKE: time.sleep(0.001)\n"
        "open('said', 'w').write(str(recover.recover()))\n"
        "os.rename('said', 'done')\n"
    )
    (build.place / "died").write_text(died)
    waits = "+-$(MAKE) -f sub >/dev/null 2>&1; until test -e done; do sleep 0.01; done; cat done"
    said = build.run(waits, sub=f"{sys.executable} died {ROOT}")
    assert parent_make.NO_MAKE == said


def test_makes_own_flags_are_left_alone(build: Build) -> None:
    """C13: O_NONBLOCK and every other flag of make's descriptors are the same before, during and after."""
    looks = (
        "numbers = [3, 4]\n"
        "make = parent_make.find().make\n"
        "look = lambda: [open(f'/proc/{make}/fdinfo/{number}').read().split()[:4] for number in numbers]\n"
        "before = look()\n"
        "found = recover.recover(); found.take(2); during = look(); found.close()\n"
        "print(before == during == look())\n"
    )
    (build.place / "client").write_text(CLIENT.partition("found = ")[0] + looks)
    assert "True" == build.run("./client")
