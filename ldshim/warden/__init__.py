"""From the reservation to the end of the link: exec of the tool, and the process that stays behind and returns everything.

grant.py              makes the reservation, and returns what was granted
reservation.py        the values that the two processes share
handover.py           forks the warden and execs the tool
watch.py              the warden: takes, reports, watches, returns
private_jobserver.py  the jobserver that GCC sees instead of the build's
gcc_valve.py          moves tokens between the two as a GCC link takes them
confinement.py        lets a linker with a fixed number of threads grow and shrink by CPU affinity
cpu_locks.py          chooses the CPUs of a confined link
history.py            the threads of one link over time, for the log
"""
