"""Where every call begins: a command of ours, or a tool that we stand in for, by prefix (`ldshim gcc …`) or by our own name."""

from __future__ import annotations

import gc
import os
import sys


def _leave_current_directory() -> None:
    """Take the current directory off the path, where `python -m` puts it first: a fcntl.py there is the caller's."""
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
    """Run as the installed command, or as `python -m ldshim`; returns only by an exit."""
    gc.disable()  # nothing that a link does makes garbage in circles, and to look for it costs 1.4 ms (the launchers do it themselves)
    entry.default_interrupt()
    argv, environment = entry.gather()
    name = os.path.basename(argv[0])
    if name not in entry.OWN_NAMES:
        entry.run(name, argv[1:], environment, met=argv[0])
    if len(argv) < 2 or argv[1].startswith(b"-") or argv[1] in entry.COMMANDS:
        from .cli import main as cli  # noqa: PLC0415  argparse costs a link 6 ms

        gc.enable()
        sys.exit(cli.main(argv[1:], environment))
    entry.prefix_form(argv[1:], environment)


if __name__ == "__main__":
    main()
