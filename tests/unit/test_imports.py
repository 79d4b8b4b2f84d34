"""Hazards: a package that imports from one above it, or in a circle; a pure one that uses the system; a wrong list of packages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ldshim

PACKAGE = Path(ldshim.__file__).parent

# Room: the rooms that it may import from, itself apart; imports for types count as well. Nothing stands in a circle, so nothing climbs.
LAW: dict[str, set[str]] = {
    "call": set(),
    "command": {"call"},
    "inputs": {"call", "command"},
    "decide": {"call", "command", "inputs"},
    "reserve": {"call", "decide"},
    "warden": {"call", "decide", "reserve"},
    "backends": {"call", "command", "decide", "reserve", "inputs"},
    "plain_link": {"reserve"},
    "fallback": set(),
    "launcher": {"call", "command"},
    "analysis": {"call", "command", "inputs", "decide", "reserve", "warden", "backends", "plain_link"},
    "record": {"call", "command", "inputs", "decide", "analysis", "warden"},
    "entry": {"call", "command", "decide", "reserve", "warden", "backends", "analysis", "record", "plain_link", "fallback"},
    "cli": {
        "call",
        "command",
        "inputs",
        "decide",
        "reserve",
        "warden",
        "launcher",
        "backends",
        "analysis",
        "record",
        "entry",
        "plain_link",
        "__version__",
    },
    "__main__": {"entry", "cli"},
    "__init__": set(),
}


def modules() -> dict[str, Path]:
    """Return our modules by their dotted names."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """Return everything that a module imports, anywhere in it: our modules, and top names of others."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import x` means the module x where there is one, else a name of the package.
            found |= {f"{whole}.{alias.name}" if f"{whole}.{alias.name}" in MODULES else whole for alias in node.names}
    return {each for each in found if each != "__future__"}


def room(name: str) -> str:
    """Return the package of one of our modules."""
    return [*name.split("."), "__init__"][1]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_what_the_table_allows(name: str) -> None:
    """No module imports from a package above its own."""
    theirs = {room(each) for each in imports(name) if each.split(".")[0] == "ldshim"} - {room(name), "__init__"}
    assert set() == theirs - LAW[room(name)]


def test_the_table_has_no_circle() -> None:
    """Every package is above those that it imports from."""
    left = {name: set(below) - {"__version__"} for name, below in LAW.items()}
    while left:
        lowest = {name for name, below in left.items() if not below & set(left)}
        assert lowest, left
        left = {name: below for name, below in left.items() if name not in lowest}


def test_no_modules_import_each_other() -> None:
    """No module imports itself through others; imports for types alone do not count."""
    graph = {name: {each for each in imports(name) if each in MODULES} - types_only(name) - {name} for name in MODULES}
    left = dict(graph)
    while left:
        lowest = {name for name, below in left.items() if not below & set(left)}
        assert lowest, sorted(left)
        left = {name: below for name, below in left.items() if name not in lowest}


def types_only(name: str) -> set[str]:
    """Return what a module imports under TYPE_CHECKING."""
    tree = ast.parse(MODULES[name].read_bytes())
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"]
    package = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for block in blocks:
        for node in ast.walk(block):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
                found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names}
    return found


@pytest.mark.parametrize("pure", ["command", "decide"])
def test_a_pure_package_uses_no_system(pure: str) -> None:
    """The pure packages use no file, no process and no clock."""
    for name in MODULES:
        if room(name) == pure:
            foreign = {each for each in imports(name) if each.split(".")[0] != "ldshim"}
            assert set() == foreign - {"typing", "collections.abc"}, name
            calls = {node.id for node in ast.walk(ast.parse(MODULES[name].read_bytes())) if isinstance(node, ast.Name)}
            assert set() == calls & {"open", "exec", "eval", "__import__"}, name


def test_the_package_lists_its_parts() -> None:
    """The docstring has one line for everything at the top of the package, at most sixteen, and no other."""
    said = re.findall(r"^    (\w+) {2,}\S", ldshim.__doc__ or "", re.MULTILINE)
    things = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path.is_dir() and (path / "__init__.py").exists())}
    assert things - {"__init__", "__main__"} == set(said)
    assert len(things - {"__init__"}) <= 16
