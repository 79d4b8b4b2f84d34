"""LTO backends as processes: one executor, three feeders, two places to run (design §1, C28 to C33).

lld and GCC hand the code generation of an LTO link out as separate commands, one for each module or partition, when they are asked to.
ldshim takes them, and runs each here, under one token, or on a remote execution service. Nothing of this is imported for a link that does
not ask for it.

  job.py  one backend: what to run, what it reads and writes, and what came of it
"""
