"""Run ldshim with one function of its own that raises, or list the functions that a call goes through.

    python fault.py trace OUT LINK ARG…              write the functions called in this process, one a line: module:qualified name
    python fault.py module:Class.method OUT LINK ARG…   raise there

It stands in for the console script: sys.argv is the link's.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from types import FrameType, FunctionType, ModuleType

import ldshim
from ldshim import __main__


def everything() -> list[ModuleType]:
    """Import every module of the package that a call may go through: not people's commands, nor what needs the extra `remote`."""
    names = [name for _, name, _ in pkgutil.walk_packages(ldshim.__path__, "ldshim.") if not name.endswith("__main__")]
    return [importlib.import_module(name) for name in names if not name.startswith(("ldshim.cli", "ldshim.backends.remote."))]


def functions(modules: list[ModuleType]) -> dict[str, FunctionType]:
    """Find every function and method: {module:qualified name: function}."""
    found = {}
    for module in modules:
        classes = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
        for owner in [module, *classes]:
            for value in vars(owner).values():
                plain = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                if isinstance(plain, FunctionType) and plain.__module__ == module.__name__ and not plain.__code__.co_freevars:
                    found[f"{module.__name__}:{plain.__qualname__}"] = plain
    return found


def trace(out: str, known: dict[str, FunctionType]) -> None:
    """Write down every known function that is called in this process before it execs the tool."""
    by_code = {function.__code__: name for name, function in known.items()}
    pid = os.getpid()
    seen: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        name = by_code.get(frame.f_code) if event == "call" and os.getpid() == pid else None
        if name and name not in seen:
            seen.add(name)
            with open(out, "a") as file:
                file.write(name + "\n")

    sys.setprofile(note)


def fail(*_: object, **__: object) -> None:
    """Raise, as a mistake would."""
    raise RuntimeError("injected")


def main() -> None:
    """Do what the command line says."""
    what, out, *argv = sys.argv[1:]
    if what == "trace":
        trace(out, functions(everything()))
    else:
        # Its code is replaced, not its name: tables and other modules hold the function itself.
        functions([importlib.import_module(what.partition(":")[0])])[what].__code__ = fail.__code__
    sys.argv = argv
    __main__.main()


if __name__ == "__main__":
    main()
