"""From the reservation to the end of the link: exec of the tool, and the process that stays behind and gives everything back.

handover.py           forks the warden and execs the tool
watch.py              the warden: takes, reports, watches, returns
private_jobserver.py  the jobserver that GCC sees instead of the build's
gcc_valve.py          moves tokens between the two as a GCC link asks for them
confinement.py        lets a linker with a fixed number of threads grow and shrink by CPU affinity
cpu_locks.py          which CPUs a confined link runs on
history.py            the course of one reservation, for the log
"""
