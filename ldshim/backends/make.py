"""What lto-wrapper starts as $MAKE: `python make.py -f FILE -jN all`.

Where the package cannot be imported, or anything in it fails, the caller's own make gets the call, as it came.
"""

import os
import sys


def main() -> None:
    """Run the jobs and exit, or become the caller's make."""
    try:
        sys.path.append(__file__.rpartition("/ldshim/")[0])
        from ldshim.backends import gcc  # noqa: PLC0415

        gcc.run([os.fsencode(argument) for argument in sys.argv[1:]])
    except Exception as failure:
        print("ldshim: make: internal error, make runs the jobs:", ascii(failure), file=sys.stderr)
    make = os.environ.pop("_LDSHIM_MAKE", "")
    os.environ.pop("MAKE", None)
    if make:
        os.environ["MAKE"] = make
    words = (make or "make").split()
    os.execvp(words[0], [*words, *sys.argv[1:]])


if __name__ == "__main__":
    main()
