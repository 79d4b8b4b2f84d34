"""Decide what one link gets. Everything here is pure: it uses no file, no process and no clock.

mode.py             whether this is an LTO link, of which kind, and how many jobs it can use
budget.py           the number, with its reason and its source
memory_estimate.py  how much memory so many jobs need
rewrite.py          the arguments and variables that pass the number to the tool
fixed_number.py     the same for a make below lto-wrapper that is no jobserver client
distributable.py    whether lld's ThinLTO backends may run as processes
"""
