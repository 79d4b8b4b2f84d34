"""Real links: compilers and linkers, bare and through ldshim."""
