"""Run as `python -m ldshim`, for a checkout that is not installed."""

from .entry import main

if __name__ == "__main__":
    main()
