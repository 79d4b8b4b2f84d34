"""Fixtures shared by the end-to-end tests: the installed command and the compiled test program, once a session each."""

from __future__ import annotations

import signal

import pytest

from tests.support.program import Program
from tests.support.shim import Shim


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
    """Let `--update-golden` write the answers of tests/golden anew."""
    parser.addoption("--update-golden", action="store_true", help="write the answers in tests/golden anew; review the diff")
