"""Hazard: an installed command that does not find its interpreter or its package, or tells calls apart otherwise than Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldshim.call import real_tool
from ldshim.launcher import text
from tests.support import tools
from tests.support.launchers import ROOT, TEMPLATE, Dump, build_dump, call, launcher, script
from tests.support.shim import COMMAND, PYTHON, lay_out
from tests.support.tools import need
from tests.unit import test_launcher_agreement as agreement

VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def test_the_command_in_the_tree_is_what_its_text_says() -> None:
    """C5: the file that setup.cfg installs agrees with launcher.sh and the tables (text.py says how it is written)."""
    assert text.command(TEMPLATE) == COMMAND.read_bytes()
    assert os.access(COMMAND, os.X_OK)


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_shells_and_python_can_read_it(shell: str) -> None:
    """What a packager's checks read as shell is shell to its end, and what Python reads is Python, without a warning."""
    subprocess.run([need(shell), "-n", str(COMMAND)], check=True)
    subprocess.run([sys.executable, "-W", "error", "-c", f"compile(open({str(COMMAND)!r}, 'rb').read(), 'x', 'exec')"], check=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a command whose interpreter and whose tools only say that it was they."""
    root = tmp_path_factory.mktemp("command")
    lay_out(root / "installed", python=str(script(root / "python", "echo python")))
    for name in ("gcc", "ld", "x86_64-linux-gnu-g++-12"):
        script(root / "tools" / name, "echo straight")
    return root


@pytest.mark.parametrize("name", agreement.LISTS)
@pytest.mark.parametrize("shell", agreement.SHELLS, ids=lambda shell: shell[0])
def test_both_sides_agree(place: Path, shell: tuple[str, ...], name: str) -> None:
    """C5, C22: the prefix form tells a compile from a link as a launcher does."""
    run = [os.fsencode(word) for word in (need(shell[0]), *shell[1:], str(place / "installed/bin/ldshim"), name)]

    @settings(max_examples=120, deadline=None, derandomize=True, database=None)
    @given(agreement.arguments(name))
    def agree(args: list[bytes]) -> None:
        said = subprocess.run([*run, *args], env={"PATH": str(place / "tools")}, stdout=subprocess.PIPE, check=True).stdout
        assert agreement.expected(name, args) == (said == b"straight\n")

    agree()


NAMES = [*sorted(real_tool.DRIVERS | real_tool.LINKERS), b"x86_64-linux-gnu-gcc-12", b"gcc-12.3", b"gcc-", b"gcc-x", b"-gcc", b"a.b-ld",
         b"ld.lld-16", b"ld.lld-16-1", b"12", b"x-12", b"gcc-ar", b"mygcc", b"ccache", b"x86_64-w64-mingw32-c++", b"-",
         b"g++-1.", b"gcc13", b"gcc1x", b"c13", b"ld.lld16", b"wasm-ld", b"wasm-ld-16", b"x-gcc-12-posix", b"gcc-win32"]  # fmt: skip


@given(st.one_of(st.sampled_from(NAMES), st.from_regex(rb"[a-z+.0-9_-]{0,4}-?(gcc|ld|clang\+\+)(-[0-9.x]{0,3})?", fullmatch=True)))
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_names_are_known_and_pinned_as_python_does(place: Path, name: bytes) -> None:
    """C6: a name goes straight as what Python takes it for, and a variable that pins it is seen."""
    if name.startswith(b"-") or not name or b"/" in name:
        return
    tool = place / "tools" / os.fsdecode(name)
    if not tool.exists():
        shutil.copy(place / "tools" / "gcc", tool)
    command = str(place / "installed/bin/ldshim")
    env = {"PATH": str(place / "tools")}
    straight = b"straight\n" if real_tool.kind_of(name) else b"python\n"
    assert straight == call(command, name, "--version", env=env).stdout
    assert b"python\n" == call(command, name, "--version", env={**env, real_tool.variable_for(name).decode(): "/x"}).stdout


@pytest.mark.parametrize("line", ["", "--version", "explain -- gcc", "doctor", "nosuchtool -c", "-c", "ccache gcc -c", "./gcc -c"])
def test_our_own_commands_and_strangers_are_pythons(place: Path, line: str) -> None:
    """Everything that is no known tool's name goes to Python with its words."""
    assert b"python\n" == call(place / "installed/bin/ldshim", *line.split(), env={"PATH": str(place / "tools")}).stdout


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the tool that tells what it was given, by two names."""
    place = tmp_path_factory.mktemp("tools")
    built = build_dump(place)
    for name in ("gcc", "ld"):
        shutil.copy(built, place / name)
    return place


@pytest.mark.parametrize("last", ["-c", "x.o"])
@pytest.mark.parametrize("order", ["we first", "farm first", "another first", "old first", "ccache first", "ccache behind"])
def test_path_in_every_order(tmp_path: Path, dump: Path, order: str, last: str) -> None:
    """C6: links to the command, farms, another installation, a console script of old and a masquerade: the call comes out at the tool."""
    command, other = lay_out(tmp_path / "installed"), lay_out(tmp_path / "other")
    launcher(tmp_path / "farm", "gcc", dump / "gcc", PYTHON)
    (tmp_path / "ccache").mkdir()
    script(tmp_path / "ccache" / "ccache", f'PATH=${{PATH#*{tmp_path}/ccache:}}; exec gcc "$@"')
    (tmp_path / "ccache" / "gcc").symlink_to("ccache")
    for directory, target in (("links", command), ("another", other)):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "gcc").symlink_to(target)
    old = f"#!{PYTHON}\nimport sys\nsys.path.append({str(ROOT)!r})\nfrom ldshim.entry import main\n"
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "gcc").write_text(old + "sys.exit('the old one ran')\n")
    (tmp_path / "old" / "gcc").chmod(0o755)
    first = {"we": "links", "farm": "farm", "another": "another", "old": "old", "ccache": "ccache"}[order.split(maxsplit=1)[0]]
    rest = [name for name in ("links", "farm", "another") if name != first]
    names = ["links", "ccache", "farm"] if order == "ccache behind" else [first, *rest]
    path = ":".join([*(str(tmp_path / name) for name in names), str(dump), "/usr/bin", "/bin"])
    for words in ([str(tmp_path / "links" / "gcc")], [str(command), "gcc"]):
        done = subprocess.run([*words, last], env={"PATH": path}, capture_output=True, timeout=60, check=False)
        assert (0, b"") == (done.returncode, done.stderr)
        said = Dump(done.stdout)
        assert ([last.encode()], b"gcc") == (said.argv[1:], said.argv[0].rpartition(b"/")[2])
        assert said.argv[0] == b"gcc" or os.path.samefile(dump / "gcc", said.argv[0])


@pytest.mark.parametrize("last", ["-c", "x.o"])
def test_only_directories_of_ours_leave_the_path(tmp_path: Path, dump: Path, last: str) -> None:
    """C6: a directory of links to the command and nothing else leaves PATH, one with other things in it stays, from shell and Python."""
    command = lay_out(tmp_path / "installed")
    for name, more in (("pure", []), ("mixed", ["make"]), ("hidden", [".x"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gcc").symlink_to(command)
        (tmp_path / name / "ld").symlink_to(command)
        for each in more:
            (tmp_path / name / each).touch()
    path = f"{tmp_path}/pure:{tmp_path}/mixed:{tmp_path}/hidden:{dump}:/usr/bin"
    said = Dump(subprocess.run([str(tmp_path / "pure" / "gcc"), last], env={"PATH": path}, stdout=subprocess.PIPE, check=True).stdout)
    assert os.fsencode(f"{tmp_path}/mixed:{tmp_path}/hidden:{dump}:/usr/bin") == said.get(b"PATH")


@pytest.mark.parametrize("name", ["ld", "gcc"])
def test_a_tool_that_comes_back_ends(tmp_path: Path, name: str) -> None:
    """C6: a tool that runs the command by its path again, in its process or below it, ends with 111."""
    command = lay_out(tmp_path / "installed")
    for at, (line, most) in enumerate((('exec {0} {1} "$@"', 1), ('echo round; {0} {1} "$@"; exit $?', 9))):
        script(tmp_path / f"tools{at}" / name, line.format(command, name))
        for last in ("--version", "x.o"):
            done = call(command, name, last, env={"PATH": f"{tmp_path}/tools{at}:/nowhere"})
            assert 111 == done.returncode
            assert b"loop: the real tool" in done.stderr
            assert done.stdout.count(b"round") <= most


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel that pip would make of this tree."""
    place = tmp_path_factory.mktemp("wheel")
    tree = place / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests", "fixtures", "build", "*.egg-info"))
    pip("wheel", "--wheel-dir", str(place), str(tree))
    (built,) = place.glob("*.whl")
    return built


def pip(*words: str, python: str = sys.executable, **more: str) -> None:
    """Run pip for an interpreter, which need not have one of its own, without dependencies."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, words[0], "--quiet", "--no-deps", "--disable-pip-version-check", *words[1:]],
        env={**os.environ, "PIP_NO_COMPILE": "1", **more}, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        tools.missing(f"a pip that can {words[0]} this: {done.stderr.decode(errors='replace')[-300:]}")


def venv(place: Path) -> str:
    """Make a virtual environment: its interpreter."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(place)], check=True)
    return str(place / "bin" / "python")


def check(command: Path, dump: Path, package: Path, *, cwd: Path) -> None:
    """See that the command runs tools without Python, links with it, and its own commands from that package, by every kind of link."""
    env = {"PATH": f"{dump}:/usr/bin:/bin", "HOME": "/nonexistent", "LDSHIM_EXPLAIN": "1"}
    (cwd / "links").mkdir()
    (cwd / "links" / "gcc").symlink_to(command)
    os.link(command, cwd / "links" / "ld")
    found = {**env, "PATH": f"{dump}:/usr/bin:/bin:{command.parent}"}
    for words, given_env in (
        ([str(command), "gcc"], env),
        ([str(command), "ld"], env),
        ([str(cwd / "links" / "gcc")], env),
        ([str(cwd / "links" / "ld")], found),
    ):
        done = subprocess.run([*words, "x.o"], env=given_env, cwd=cwd, capture_output=True, check=False)
        assert (0, [b"x.o"]) == (done.returncode, Dump(done.stdout).argv[1:]), done.stderr
        assert b"ldshim: tool" in done.stderr  # Python has looked
        assert b"gone" not in done.stderr
        assert b"imported" not in done.stderr
    said = subprocess.run([str(command), "--version"], env=env, cwd=cwd, capture_output=True, check=False)
    assert (0, b"ldshim ") == (said.returncode, said.stdout[:7]), said.stderr
    assert package.is_dir()


def test_pip_into_a_virtual_environment(tmp_path: Path, dump: Path, wheel: Path) -> None:
    """The command finds the interpreter beside it; pip has copied the script as it is, and compiled nothing."""
    pip("install", "--no-compile", str(wheel), python=venv(tmp_path / "venv"))
    command = tmp_path / "venv/bin/ldshim"
    assert COMMAND.read_bytes() == command.read_bytes()
    check(command, dump, tmp_path / "venv/lib" / VERSION / "site-packages/ldshim", cwd=tmp_path)


def _of_the_system() -> str:
    """Find an interpreter where the command looks for one that is not beside it."""
    return next((path for path in ("/usr/local/bin/python3", "/usr/bin/python3") if Path(path).exists()), "") or tools.missing("python3")


def test_pip_with_a_prefix(tmp_path: Path, dump: Path, wheel: Path) -> None:
    """Below a prefix of its own no interpreter stands beside the command; it finds one of the package's version."""
    pip("install", "--ignore-installed", "--prefix", str(tmp_path / "prefix"), str(wheel), python=_of_the_system())
    (command,) = (tmp_path / "prefix").rglob("bin/ldshim")
    (package,) = [path for path in (tmp_path / "prefix").rglob("ldshim") if path.parent.name.endswith("-packages")]
    check(command, dump, package, cwd=tmp_path)


def test_pip_for_a_user(tmp_path: Path, dump: Path, wheel: Path) -> None:
    """~/.local: the command in bin, the package below lib, the interpreter the system's."""
    pip("install", "--user", "--ignore-installed", "--break-system-packages", str(wheel), python=_of_the_system(),
        HOME=str(tmp_path / "home"), PYTHONUSERBASE=str(tmp_path / "home/.local"))  # fmt: skip
    (package,) = (tmp_path / "home/.local/lib").glob("python3*/site-packages/ldshim")
    check(tmp_path / "home/.local/bin/ldshim", dump, package, cwd=tmp_path)


def test_pip_into_a_target(tmp_path: Path, dump: Path, wheel: Path) -> None:
    """`pip install --target DIR` puts the package beside the directory of the command."""
    pip("install", "--target", str(tmp_path / "target"), str(wheel))
    check(tmp_path / "target/bin/ldshim", dump, tmp_path / "target/ldshim", cwd=tmp_path)


@pytest.mark.parametrize("packages", ["python3/dist-packages", f"{VERSION}/site-packages"])
def test_a_distributions_package(tmp_path: Path, dump: Path, packages: str) -> None:
    """usr/bin/ldshim with the modules in Debian's dist-packages, which name no version, or in Fedora's site-packages."""
    package = tmp_path / "usr/lib" / packages / "ldshim"
    shutil.copytree(ROOT / "ldshim", package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "usr/bin").mkdir()
    command = Path(shutil.copy(COMMAND, tmp_path / "usr/bin/ldshim"))
    (tmp_path / "usr/bin/python3").symlink_to(PYTHON)
    check(command, dump, package, cwd=tmp_path)


def test_an_editable_installation(tmp_path: Path, dump: Path) -> None:
    """`pip install -e`: the interpreter beside the command knows where the sources are, and it runs from there."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests", "fixtures", "build", "*.egg-info"))
    python = str(tmp_path / "venv/bin/python")
    subprocess.run([PYTHON, "-m", "venv", str(tmp_path / "venv")], check=True)
    pip("install", "-e", str(tree), python=python)
    check(tmp_path / "venv/bin/ldshim", dump, tree / "ldshim", cwd=tmp_path)
    shutil.rmtree(tree / "ldshim")
    said = call(tmp_path / "venv/bin/ldshim", "gcc", "x.o", env={"PATH": str(dump)})
    assert (0, [b"x.o"]) == (said.returncode, Dump(said.stdout).argv[1:])
    assert b"ldshim: ldshim: the package cannot be imported, the tool runs unchanged: " in said.stderr
