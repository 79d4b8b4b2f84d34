"""What was called: the environment, the real tool and what it is, the processes around this one.

environment.py    the environment from the kernel, and the LDSHIM_* variables
real_tool.py      which tool ldshim stands in for, and where the real one is
prefix.py         programs that run the command after their options, such as nice and ccache
banner.py         family and version from the output of --version; pure
tool_family.py    the family of the real tool, from its banner, which is cached
lto_make.py       the make that GCC's lto-wrapper runs
processes.py      other processes, read from /proc
prepaid.py        callers that have reserved the threads of an explicit number
own_directory.py  the user's private directory: slots, promises, banners
descriptors.py    numbers for ldshim's descriptors
clock.py          elapsed seconds, also under libfaketime
logfile.py        the log that LDSHIM_LOG names
partner.py        the clang of the same build as an lld
"""
