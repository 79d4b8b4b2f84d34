"""What is to be done, decided from values alone: no file, no process and no clock is touched here.

mode.py             is this an LTO link, of which kind, and how many jobs can it use
budget.py           the number, with its reason and its origin
memory_estimate.py  how much memory so many jobs need
rewrite.py          the arguments and variables that pass the number to the tool
fixed_number.py     the same for a make below lto-wrapper that shares no jobserver
"""
