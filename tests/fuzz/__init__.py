"""Coverage-guided fuzzing, in a tox environment of its own; not collected by pytest."""
