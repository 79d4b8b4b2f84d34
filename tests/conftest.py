"""What all tests share: the installed command, the compiled test program, and the markers that a test has by its folder.

unit, process, toolchain and builds are the folders. `matrix` is what is run once and not for each interpreter: toolchain and builds whole,
and what is marked so in the other two. `smoke` is what an interpreter between the oldest and the newest runs: SMOKE.
"""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.program import Program
from tests.support.shim import Shim

HERE = Path(__file__).parent
ONCE = ("toolchain", "builds")
APART = ("kbuild", "load")  # minutes each: only by their own tox environments
# Where one CPython differs from the next: what it imports, exports, ignores and leaves open at its start, what it gives up at its end, the
# system calls that it has names for, and the syntax of every module.
SMOKE = (
    "unit/test_command_argv.py",
    "unit/test_command_collect.py",
    "unit/test_environ.py",
    "unit/test_findtool.py",
    "unit/test_imports.py",
    "unit/test_ir_imports.py",
    "unit/test_jobserver_lease.py",
    "unit/test_makeflags.py",
    "process/test_commands.py",
    "process/test_fallback.py",
    "process/test_launcher_environment.py",
    "process/test_launcher_processes.py",
    "process/test_processes.py",
    "process/test_startup_modules.py",
)

settings.register_profile("no-deadline", deadline=None)  # no timing thresholds: a busy machine is no defect
settings.load_profile("no-deadline")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Shim:
    """Provide ldshim as a user has it: the command and a directory of links."""
    return Shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Provide the objects of the test program, compiled when first asked for."""
    return Program(tmp_path_factory.mktemp("program"))


def pytest_configure() -> None:
    """Let signals end what the tests start: a shell's `&` and nohup ignore some of them, and that is inherited by all."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our two options."""
    parser.addoption("--update-golden", action="store_true", help="write the answers in tests/golden anew; review the diff")
    parser.addoption("--smoke-between", action="store_true", help="only `smoke`, where an older and a newer CPython are installed as well")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test the markers of its folder."""
    path = item.path.relative_to(HERE)
    folder = path.parts[0]
    item.add_marker(folder)
    if folder in ONCE and not any(item.get_closest_marker(name) for name in APART):
        item.add_marker("matrix")
    if path.as_posix() in SMOKE:
        item.add_marker("smoke")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is only run when it is named, and all but the smoke run where --smoke-between asks for it."""
    unasked = {name for name in APART if name not in config.option.markexpr}
    smoke = config.getoption("--smoke-between") and is_between()

    def is_wanted(item: pytest.Item) -> bool:
        return not any(item.get_closest_marker(name) for name in unasked) and (not smoke or item.get_closest_marker("smoke") is not None)

    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item)])
    items[:] = filter(is_wanted, items)


def is_between() -> bool:
    """Tell whether an older and a newer CPython that we support are installed as well."""
    this = sys.version_info[1]
    installed = [minor for minor in range(9, 30) if minor != this and shutil.which(f"python3.{minor}")]
    return bool(installed) and min(installed) < this < max(installed)
