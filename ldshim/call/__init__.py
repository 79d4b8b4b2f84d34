"""What was called: the environment, the real tool and what it is, the processes around this one.

environment.py    the environment as the kernel gave it, and our own variables
real_tool.py      which tool we stand in for, and where the real one is
banner.py         what a tool's --version says: family and version; pure
tool_family.py    what the real tool is: asked once, and kept
lto_make.py       the make that GCC's lto-wrapper will run
processes.py      other processes, read from /proc
prepaid.py        callers that have paid for an explicit number already
own_directory.py  the directory that only we can write: slots, promises, banners
descriptors.py    numbers for descriptors of ours
clock.py          seconds that pass, whatever the clock says
"""
