"""Real builds: the build systems of the documents, packages, installations."""
