"""Start here: one of ldshim's commands, or a tool that ldshim stands in for, in prefix form (`ldshim gcc …`) or by its own name."""

from __future__ import annotations

import gc
import os
import sys


def _leave_current_directory() -> None:
    """Remove the current directory from sys.path, where `python -m` puts it first: a fcntl.py there belongs to the caller."""
    try:
        here = os.getcwd()
    except OSError:
        here = ""
    if sys.path[:1] == [here] != [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]:
        del sys.path[0]


if __name__ == "__main__":
    _leave_current_directory()

from . import entry  # noqa: E402


def main() -> None:
    """Run the installed command, or `python -m ldshim`. Never returns."""
    gc.disable()  # a link makes no cyclic garbage, and the search for it takes 1.4 ms (the launchers disable it as well)
    entry.default_interrupt()
    argv, environment = entry.gather()
    name = os.path.basename(argv[0])
    if name not in entry.OWN_NAMES:
        entry.run(name, argv[1:], environment, met=argv[0])
    if len(argv) < 2 or argv[1].startswith(b"-") or argv[1] in entry.COMMANDS:
        from .cli import main as cli  # noqa: PLC0415  argparse takes 6 ms to import

        gc.enable()
        sys.exit(cli.main(argv[1:], environment))
    entry.prefix_form(argv[1:], environment)


if __name__ == "__main__":
    main()
