"""Where threads come from, and how they are returned.

Tokens belong to another program. So each source is a client with the same few methods (lease.py: grow, shrink, release). Each has a fixed
set of reasons why it cannot be used, one sentence for each. None waits for a token: the implicit slot of the caller is always enough to
start (C18).

In the order in which a link uses them (C11):
  makeflags.py      parses MAKEFLAGS; pure
  jobserver.py      a client of the jobserver that MAKEFLAGS names, with descriptors of its own (C12, C13)
  parent_make.py    finds the make that runs this recipe, and the MAKEFLAGS that it set
  recover.py        opens the jobserver that this make withheld from the recipe
  slots.py          the slots of the host, for links without a jobserver: flock on files in a directory that only we can write (C16)
  source.py         tries these in order
  lease.py          the common interface of all sources, for the warden (C14)
  wrapped.py        leases that add a condition to another lease
  memory_ledger.py  the memory that links were promised (C17)
  memory.py         the available memory
  cpus.py, cgroups.py, limits.py    the limits on the number: CPUs, cgroups, and variables of other tools
"""
