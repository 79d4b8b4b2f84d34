"""LTO backends as processes: one executor, three feeders, two places to run (design §1, C28 to C33).

lld and GCC hand the code generation of an LTO link out as separate commands, one for each module or partition, when they are asked to.
ldshim takes them, and runs each here, under one token, or on a remote execution service. Nothing of this is imported for a link that does
not ask for it.

  choice.py       which links get this, and what they need
  job.py          one backend: what to run, what it reads and writes, and what came of it
  executor.py     runs the jobs of one link, here and there
  children.py     the jobs that run here
  progress.py     a line on a terminal
  watched.py      the link above us, and signals
  feeder.py       what the feeders share: tokens, the service, the log
  lld.py          lld's file of jobs; distributor.py is what lld starts
  gcc.py          lto-wrapper's makefile; make.py is what lto-wrapper starts
"""
