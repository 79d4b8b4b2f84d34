"""What one call costs: every way of standing in for a tool, measured in the same run.

    python -m tests.bench.percall [--rounds 60] [--patience 0.2] [--jobserver-exec linux/scripts/jobserver-exec]

The problem: a few milliseconds are what matters here, and a machine's noise is as large. The consequence: every round runs every case once,
in shuffled order, so that a noisy minute hits all; a sample waits until nobody else runs (procs_running in /proc/stat), and
how often that was in vain is printed; medians; and what is promised are ratios of two rows, each the median of the ratios that the rounds
show: a machine whose speed changes between rounds does not change them. The CPU time shows them too when the machine is busy.

The tool behind the stand-ins is a C program that does nothing but answer --version as the tool it plays, so that the table shows the
stand-in and not the compiler. The rows named `gcc` are the real one, for the masquerades will not run another.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.pool import Pool
from tests.support.shim import lay_out
from tests.support.tools import need

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = getattr(sys, "_base_executable", sys.executable)

TOOL = """
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "--version")) puts(BANNER);
    return 0;
}
"""
BANNERS = {
    "gcc": "gcc (Bench) 12.2.0\\nCopyright (C) 2022 Free Software Foundation, Inc.",
    "ld": "GNU ld (GNU Binutils) 2.40",
    "ld.lld": "LLD 16.0.6 (compatible with GNU linkers)",
}

# A compile as kbuild writes it: about a hundred words, -c near the end.
COMPILE = [
    *["-Wp,-MMD,.x.o.d", "-nostdinc", "-I./include", "-include", "a.h", "-D__KERNEL__", "-std=gnu11", "-O2", "-pipe"],
    *(f"-W{name}{number}" for number in range(9) for name in ("all", "error=x", "no-y")),
    *(f"-f{name}{number}" for number in range(8) for name in ("no-strict-x", "y-z=1")),
    *(f"-m{name}{number}" for number in range(8) for name in ("no-a", "b=c")),
    *(f"-D{name}={number}" for number in range(9) for name in ("KBUILD_X", "Y")),
    *["-c", "-o", "x.o", "x.c"],
]


DASH = "a compile: dash exec"
VERSION = "version: dash exec"
ISOLATED = "a link: python3 -IS, two lines, execv"  # what a launcher's own start costs, whatever it then does
SHELL = "a link: sh, then that"
USUAL = "a link: python3, two lines, execv"
THOUSAND = "1000 objects: python3 -IS, two lines, execv"


class Case:
    """One row. argv: what is run; base: the row that it is compared with; target: the ratio promised, 0 for none; pool: has tokens."""

    def __init__(self, name: str, argv: list[str], base: str = "", target: float = 0.0, *, pool: bool = False) -> None:
        self.name = name
        self.argv = argv
        self.base = base
        self.target = target
        self.pool = pool
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.children = 0.0


class Place:
    """A directory with everything that the rows run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {"PATH": f"{root}/tools:{root}/installed/bin:/usr/bin:/bin", "HOME": str(root), "XDG_RUNTIME_DIR": str(root / "run")}
        (root / "run").mkdir(mode=0o700)
        (root / "tools").mkdir()
        for name, banner in BANNERS.items():
            self.compile(root / "tools" / name, TOOL, f'-DBANNER="{banner}"')
        (root / "tools" / "ld").rename(root / "tools" / "ld.bfd")
        (root / "tools" / "ld").symlink_to("ld.bfd")  # as binutils installs it
        self.installed = lay_out(root / "installed")
        self.farm = self.make_farm()
        for name in ("ccache", "distcc", "icecc"):
            if shutil.which(name):
                (root / name).mkdir()
                (root / name / "gcc").symlink_to(need(name))

    def tool(self, name: str) -> str:
        """Return the path of the tool that does nothing."""
        return str(self.root / "tools" / name)

    def compile(self, path: Path, source: str, *flags: str) -> str:
        """Compile one C program."""
        (self.root / "x.c").write_text(source)
        subprocess.run([need("gcc"), "-O2", *flags, str(self.root / "x.c"), "-o", str(path)], check=True)
        return str(path)

    def make_farm(self) -> Path:
        """Let link-farm write launchers for the tools, and one for the real gcc."""
        made = {"gcc": self.tool("gcc"), "ld": self.tool("ld"), "ld.lld": self.tool("ld.lld"), "real-gcc": need("gcc")}
        pins = {"LDSHIM_REAL_" + name.upper().replace(".", "_").replace("-", "_"): path for name, path in made.items()}
        words = [PYTHON, "-m", "ldshim", "link-farm", str(self.root / "farm"), *made]
        subprocess.run(words, cwd=ROOT, env={**self.env, **pins}, check=True, stdout=subprocess.DEVNULL)
        return self.root / "farm"

    def script(self, name: str, first: str, text: str) -> str:
        """Write an executable script."""
        path = self.root / name
        path.write_text(f"#!{first}\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def objects(self) -> dict[str, list[str]]:
        """Make the inputs: one plain object, one slim LTO object, 1000 plain ones, a thin archive of 5000, 10 000 words in a file.

        The slim one has IR enough for eight partitions: less would be a link that reserves nothing.
        """
        plain, slim, many = self.root / "plain.o", self.root / "slim.o", self.root / "many"
        random.seed(1)
        numbers = [[random.randrange(1 << 30) for _ in range(60)] for _ in range(40)]
        stores = ("".join(f"a[{at}] ^= x + {number};" for at, number in enumerate(row)) for row in numbers)
        functions = "\n".join(f"void g{at}(int *a, int x) {{ {text} }}" for at, text in enumerate(stores))
        for path, flag, text in ((plain, "-O1", "int f(int x) { return x + 1; }"), (slim, "-flto", functions)):
            (self.root / "f.c").write_text(text + "\n")
            subprocess.run([need("gcc"), flag, "-c", str(self.root / "f.c"), "-o", str(path)], check=True)
        many.mkdir()
        names = [many / f"o{number}.o" for number in range(5000)]
        for name in names:
            shutil.copy(plain, name)
        (self.root / "members").write_text("\n".join(map(str, names)))
        subprocess.run([need("ar"), "rcST", str(self.root / "thin.a"), f"@{self.root}/members"], check=True)
        (self.root / "words").write_text("\n".join(map(str, [*names, *names])))
        return {
            "plain": [str(plain)], "slim": [str(slim)], "1000": [*map(str, names[:1000])], "archive": [str(self.root / "thin.a")],
            "words": [f"@{self.root}/words"],
        }  # fmt: skip


def cases(place: Place, jobserver_exec: str) -> list[Case]:
    """Write down the rows."""
    gcc, ld, real = place.tool("gcc"), place.tool("ld"), need("gcc")
    farm, inputs = str(place.farm) + "/", place.objects()
    dash, bash = (place.script(shell, need(shell), f'exec {gcc} "$@"') for shell in ("dash", "bash"))
    real_dash = place.script("real-dash", need("dash"), f'exec {real} "$@"')
    execv = "import os, sys\nos.execv({0!r}, [{0!r}, *sys.argv[1:]])"
    isolated, usual = (place.script(f"py{flags}", f"{PYTHON}{flags}", execv.format(ld)) for flags in (" -IS", ""))
    shell = place.script("sh-py", need("dash"), f'exec "{isolated}" "$@"')
    prefix = str(place.installed)
    (place.root / "links").mkdir()
    links = str(place.root / "links") + "/"
    for name in ("gcc", "ld"):
        (place.root / "links" / name).symlink_to(place.installed)
    c = place.compile(place.root / "c-exec", f'#include <unistd.h>\nint main(int c, char **v) {{ v[0] = "{gcc}"; return execv(v[0], v); }}')
    link = ["-o", "out", *inputs["plain"]]
    lto = ["-flto=auto", "-o", "out", *inputs["slim"]]
    rows = [
        Case("a compile: the tool itself", [gcc, *COMPILE]),
        Case("a compile: C exec", [c, *COMPILE], DASH),
        Case(DASH, [dash, *COMPILE]),
        Case("a compile: bash exec", [bash, *COMPILE], DASH),
        Case("a compile: ldshim", [farm + "gcc", *COMPILE], DASH, 1.25),
        Case("a compile: ldshim, prefix form", [prefix, "gcc", *COMPILE], DASH, 1.25),
        Case("a compile: ldshim, prefix form, path", [prefix, gcc, *COMPILE], DASH, 1.25),
        Case("a compile: ldshim, symbolic link", [links + "gcc", *COMPILE], DASH, 1.25),
        Case("version: gcc", [real, "--version"]),
        Case(VERSION, [real_dash, "--version"]),
        Case("version: ldshim", [farm + "real-gcc", "--version"], VERSION, 1.25),
        *(
            Case(f"version: {name} masquerade", [f"{place.root}/{name}/gcc", "--version"], VERSION)
            for name in ("ccache", "distcc", "icecc")
            if shutil.which(name)
        ),
        Case("python3 -c pass", [PYTHON, "-c", "pass"]),
        Case("python3 -IS -c pass", [PYTHON, "-IS", "-c", "pass"]),
        Case("a link: the tool itself", [ld, *link]),
        Case(ISOLATED, [isolated, *link]),
        Case(USUAL, [usual, *link]),
        Case(SHELL, [shell, *link]),
        Case("a link: ldshim, ld", [farm + "ld", *link], SHELL, 1.15),
        Case("a link: ldshim, ld.lld", [farm + "ld.lld", *link], SHELL, 1.15),
        Case("a link: ldshim, gcc", [farm + "gcc", *link], SHELL, 1.15),
        Case("a link: ldshim, prefix form", [prefix, "ld", *link], SHELL, 1.15),
        Case("a link: ldshim, symbolic link", [links + "ld", *link], SHELL, 1.15),
        Case("LTO, nothing to reserve: ldshim, gcc", [farm + "gcc", "-flto-partition=none", *lto], ISOLATED),
        Case("LTO, host's slots: ldshim, gcc", [farm + "gcc", *lto], ISOLATED),
        Case("LTO with tokens: ldshim, gcc", [farm + "gcc", *lto], ISOLATED, 2.0, pool=True),
        Case(THOUSAND, [isolated, "-o", "out", *inputs["1000"]]),
        Case("1000 objects: ldshim, ld.lld", [farm + "ld.lld", "-o", "out", *inputs["1000"]], THOUSAND),
        Case("1000 objects: ldshim, gcc", [farm + "gcc", "-o", "out", *inputs["1000"]], THOUSAND),
        Case("thin archive of 5000: ldshim, ld.lld", [farm + "ld.lld", "-o", "out", "--whole-archive", *inputs["archive"]],
             ISOLATED),
        Case("10 000 words in @file: ldshim, ld.lld", [farm + "ld.lld", "-o", "out", *inputs["words"]], ISOLATED),
    ]  # fmt: skip
    if jobserver_exec:
        rows.append(Case("kernel jobserver-exec", [PYTHON, jobserver_exec, ld, *link], USUAL, pool=True))
    return rows


def calm(patience: float) -> bool:
    """Wait so many seconds until nobody but us runs; False when that did not come."""
    end = time.monotonic() + patience
    while True:
        text = Path("/proc/stat").read_text()
        if int(text.partition("procs_running ")[2].split()[0]) <= 1:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.002)


def sample(case: Case, env: dict[str, str]) -> None:
    """Run one case once, its streams on /dev/null; wall and CPU in milliseconds."""
    actions = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    start = time.perf_counter()
    pid = os.posix_spawn(case.argv[0], case.argv, env, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    case.wall.append((time.perf_counter() - start) * 1000)
    case.cpu.append((usage.ru_utime + usage.ru_stime) * 1000)
    if status:
        raise SystemExit(f"{case.name}: status {status}: {case.argv[:3]}")


def measure(rows: list[Case], place: Place, rounds: int, patience: float) -> int:
    """Run every row in every round; return how many samples had company."""
    company = 0
    os.chdir(place.root)
    with Pool(b"+" * 7, style="fifo") as pool:
        for number in range(rounds + 2):
            for case in random.sample(rows, len(rows)):
                env = {**place.env, "MAKEFLAGS": pool.makeflags} if case.pool else place.env
                company += not calm(patience)
                sample(case, env)
                while case.pool and pool.available() < 7:
                    time.sleep(0.002)  # the warden gives back when the link is over; the next sample is not to pay for it
            if number == 1:  # the first rounds fill caches: .pyc, the tools' families
                company = 0
                for case in rows:
                    case.wall, case.cpu = [], []
    return company


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of what the rounds say."""
    return statistics.median(one / other for one, other in zip(ours, theirs))


def table(rows: list[Case]) -> str:
    """Write the rows as Markdown."""
    by_name = {case.name: case for case in rows}
    lines = ["| call | median ms | p10 | CPU | ratio | CPU ratio | to | target |", "|---|---:|---:|---:|---:|---:|---|---:|"]
    for case in rows:
        wall, cpu = statistics.median(case.wall), statistics.median(case.cpu)
        base = by_name.get(case.base)
        ratios = f"{_ratio(case.wall, base.wall):.2f} | {_ratio(case.cpu, base.cpu):.2f}" if base else " | "
        tenth = sorted(case.wall)[len(case.wall) // 10]
        target = f"{case.target:.2f}" if case.target else ""
        lines.append(f"| {case.name} | {wall:.2f} | {tenth:.2f} | {cpu:.2f} | {ratios} | {case.base} | {target} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--rounds", type=int, default=60)
    reader.add_argument("--patience", type=float, default=0.2, help="seconds to wait for a calm machine, for each sample")
    reader.add_argument("--jobserver-exec", default="", help="the kernel's script, for comparison")
    arguments = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="percall") as root:
        place = Place(Path(root))
        rows = cases(place, os.path.abspath(arguments.jobserver_exec) if arguments.jobserver_exec else "")
        before = os.getcwd()
        company = measure(rows, place, arguments.rounds, arguments.patience)
        os.chdir(before)
    version = ".".join(map(str, sys.version_info[:3]))
    samples = arguments.rounds * len(rows)
    print(f"\n{arguments.rounds} rounds, CPython {version}, {os.cpu_count()} CPUs; {company} of {samples} samples had company\n")
    print(table(rows))


if __name__ == "__main__":
    main()
