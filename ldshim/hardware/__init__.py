"""What this machine, and the cgroup we were put in, lets us use: CPUs (cpus.py) and memory (memory.py). Asked, never assumed.

Both are read from files that the kernel writes anew at each read, so nothing is kept; cgroups.py knows where they stand.
"""
