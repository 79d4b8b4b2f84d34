"""Real processes, jobservers and our own commands, without a compiler or linker being run for what it makes."""
